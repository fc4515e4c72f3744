/* What every protocol and the HTTP API do with channels: publish, subscribe, history; rules, permissions and limits applied in one place.
 *
 *     client --publish--> rt_broker_publish: rule, permission, size --(log)--> journal --committed--> hub --> subscribers
 *
 * Thread: the loop. */
#ifndef RT_SESSION_BROKER_H
#define RT_SESSION_BROKER_H

#include "base/bucket.h"
#include "conf/config.h"
#include "hub/hub.h"
#include "journal/journal.h"
#include "session/refusals.h"

struct rt_broker;

/* One client, whatever its transport: a Socket.IO socket of one namespace, a raw connection. Embedded by the protocol. */
struct rt_client {
    struct rt_subscriber subscriber; /* must be first */
    struct rt_broker *broker;
    const char *publisher; /* name under which idempotency keys count: the client's id */
    const char *user;      /* "" anonymous */
};

enum rt_publish_status {
    RT_PUBLISH_OK,
    RT_PUBLISH_RETRY,   /* certainly not stored */
    RT_PUBLISH_UNKNOWN, /* may be stored: resend with the same idempotency key */
    RT_PUBLISH_REFUSED, /* not allowed or not valid: resending does not help */
    RT_PUBLISH_LIMITED, /* certainly not stored: the client has published more than the rule's `rate` allows, later it may again */
};

struct rt_publish_result {
    enum rt_publish_status status;
    enum rt_refusal why; /* refused, limited */
    int code; /* refused: RT_ENOENT no rule for this channel, RT_EPERM, RT_ERANGE too large or too long a name, RT_EINVAL */
    bool logged; /* position is set */
    bool duplicate;
    struct rt_position position;
    char text[200]; /* for people: what, and the configuration key to change; "" when ok */
};

struct rt_publish {
    struct rt_str channel;
    struct rt_message *
        message; /* a view, read during the call only; time and id (but of an RT_MESSAGE_COPY) are filled in by the broker */
    struct rt_client *client; /* NULL: the API or the broker itself */
    bool
        trusted; /* from configuration (an action) or the API: the rule's permissions are not asked; a channel without rule is ephemeral for actions */
    bool api;    /* a channel without a rule is refused (RT_ENOENT) */
    /* Called later on the loop, once, when rt_broker_publish() returned RT_PENDING. May be NULL. */
    void (*done)(void *arg, const struct rt_publish_result *result);
    void *arg;
};

int rt_broker_new(const struct rt_config *config, struct rt_loop *loop, struct rt_metrics *metrics,
                  struct rt_broker **ret_broker, struct rt_err *err);
/* The journal is opened by app and handed in before the first publish; the broker closes it. */
void rt_broker_set_journal(struct rt_broker *b, struct rt_journal *journal);
/* Where history is read that memory has no more, behind a journal that keeps nothing itself (rt_journal_delivers): rt_store_read(). To be set before
 * the first question. */
void rt_broker_set_reader(struct rt_broker *b, int (*read)(void *arg, struct rt_read *read),
                          void *arg);
/* Who a message that is not for its publisher (RT_MESSAGE_NOT_SENDER) means on this node: `fn` names the subscriber of a publisher, 0 when it is not here.
 * Asked for what other nodes have published. */
void rt_broker_set_sender_of(struct rt_broker *b,
                             uint64_t (*fn)(void *arg, struct rt_str publisher), void *arg);
/* Channels that are the own room of one client, without a subscription: as rt_hub_options.member_of. */
void rt_broker_set_member_of(struct rt_broker *b, uint64_t (*fn)(void *arg, struct rt_str channel),
                             void *arg);
/* For a journal that delivers: the next message of the log on this channel, in order. On channels that no rule logs here (counted) subscribers get it without a position. */
void rt_broker_deliver(struct rt_broker *b, struct rt_str channel, const char *epoch,
                       struct rt_stored *message);
/* For a journal that delivers: messages were lost to this node on all channels for which `lost` says so; what is kept of them has a hole. */
void rt_broker_forget(struct rt_broker *b, bool (*lost)(void *arg, struct rt_str channel),
                      void *arg);
/* For a journal that delivers: the channel has a message at this position which this node cannot deliver; all before it have been. */
void rt_broker_skip(struct rt_broker *b, struct rt_str channel, const char *epoch, uint64_t offset);

/* How channels without a log reach other nodes. */
struct rt_broker_relay {
    /* A message that was published here. A failure is counted by the relay: such channels promise no more. */
    int (*publish)(void *arg, struct rt_str channel, const struct rt_message *message);
    /* A channel without a log (any channel while rules differ) has listeners here, or has none any more. */
    void (*occupied)(void *arg, struct rt_str channel, bool occupied);
    void *arg;
};
/* To be set before anybody subscribes; copied. */
void rt_broker_set_relay(struct rt_broker *b, const struct rt_broker_relay *relay);
/* A message of another node on a channel without a log: to this node's subscribers. Where this node logs the channel (counted) they get it without a position. */
void rt_broker_relayed(struct rt_broker *b, struct rt_str channel, struct rt_message *message);
/* Do other nodes log other channels than this one? Then logged channels, too, are heard by the relay. */
void rt_broker_set_rules_differ(struct rt_broker *b, bool differ);
/* A hash of which channels are logged, and how; the same for the same rules on every node. */
uint64_t rt_broker_rules_hash(const struct rt_config *config);
/* Waits for what is in flight, then `closed(arg)`. New publishes are answered `retry` from now on. */
void rt_broker_close(struct rt_broker *b, void (*closed)(void *arg), void *arg);
void rt_broker_free(struct rt_broker *b);
struct rt_hub *rt_broker_hub(struct rt_broker *b);
struct rt_refusals *rt_broker_refusals(struct rt_broker *b);
struct rt_journal *rt_broker_journal(struct rt_broker *b);
const struct rt_config *rt_broker_config(const struct rt_broker *b);
struct rt_loop *rt_broker_loop(struct rt_broker *b);

/* Returns 0 with `*result` filled, or RT_PENDING: `done` gets the result later. A client that goes away meanwhile is the protocol's matter (`done` still comes). */
int rt_broker_publish(struct rt_broker *b, const struct rt_publish *publish,
                      struct rt_publish_result *result);

/* Backpressure: a client that is not to be read from for a while waits here, and is told when reading goes on. It waits for one reason at
 * a time; when that has passed the others are looked at again. */
struct rt_relief {
    struct rt_list link; /* initialise with rt_list_init(); remove to cancel */
    void (*fn)(struct rt_relief *self);
    struct rt_bucket commands; /* of limits.commands; zero-initialised */
};
/* One message of the client was handled, of whatever kind. True: it has sent more than limits.commands allows, or in this turn what fans out to more than its
 * share of output; its protocol stops reading until `fn` comes. What was read already is handled, and counts. */
bool rt_broker_handled(struct rt_broker *b, struct rt_relief *relief);
/* For rt_journal_options.relieved, with the broker as its argument. */
void rt_broker_relieved(void *broker);
/* Journal queue over 80 %: a protocol that publishes pauses reading its connection and registers to be told. */
bool rt_broker_congested(const struct rt_broker *b);
void rt_broker_on_relief(struct rt_broker *b, struct rt_relief *relief);

/* The rule of a channel; NULL: none. */
const struct rt_channel_rule *rt_broker_rule(const struct rt_broker *b, struct rt_str channel);
/* Subscribes: limits (count, name), and unless `trusted` the rule's permission. RT_ENOENT, RT_EPERM, RT_ERANGE, RT_EEXIST, RT_EAGAIN (limits.channels), RT_ENOMEM with text. */
int rt_broker_subscribe(struct rt_client *client, struct rt_str channel, bool trusted,
                        struct rt_err *err);
int rt_broker_unsubscribe(struct rt_client *client, struct rt_str channel);
/* May this client publish to / subscribe to it? 0 or a code with text. */
int rt_broker_may_publish(struct rt_broker *b, struct rt_client *client, struct rt_str channel,
                          struct rt_err *err);

/* History. Where nodes share the log, an answer joins memory and rows, and waits (up to 3 s) for a position that this node has not come to yet, or for rows that lag.
 * Without `since`: the channel's window (the newest history.size messages within history.ttl), from its oldest one, or
 * from its newest with `reverse`. With `since`: what follows that position in the log (precedes it with `reverse`), as far as it is stored.
 * `by_time` instead of `since`: what was published at `time` or later, that is from the first such message on in the order of the log (with `reverse` what precedes it).
 * Answers from memory when that covers it, else from the journal. */
struct rt_history_result {
    int status; /* 0; RT_EINVAL bad name; RT_ENOENT no rule or not logged; RT_ERANGE since.epoch is another, or since lies ahead of the log; RT_EAGAIN the log or its rows are behind; RT_EIO, RT_ENOMEM */
    struct rt_stored *const *messages;
    size_t count;
    struct rt_position top;
    bool
        gap; /* messages right after `since`, or of `time` on, are no longer stored, or damaged; without a position or in reverse: some of the asked are damaged */
    bool more; /* the page is full: there is more behind its last message */
    const char *text;
};
struct rt_history {
    struct rt_str channel;
    bool has_since;
    struct rt_position since; /* epoch "": any */
    bool by_time;             /* not with has_since */
    uint64_t time;            /* wall ms */
    int64_t limit;            /* 0: position only; -1: all, capped at 10,000 */
    bool reverse;
    /* Called exactly once, possibly before rt_broker_history() returns. Messages are valid during the call (ref to keep). */
    void (*done)(void *arg, const struct rt_history_result *result);
    void *arg;
};
void rt_broker_history(struct rt_broker *b, const struct rt_history *history);

#endif
