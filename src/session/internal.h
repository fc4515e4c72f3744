/* What the files of the broker share. Not for other folders. */
#ifndef RT_SESSION_INTERNAL_H
#define RT_SESSION_INTERNAL_H

#include "session/broker.h"
#include "session/early.h"
#include "session/rates.h"

/* A configured channel rule and what the hub knows of it. */
struct rt_broker_rule {
    struct rt_hub_rule hub;             /* first: the hub hands it back */
    struct rt_bucket_rate rate;         /* of one client's publishes */
    const struct rt_channel_rule *conf; /* NULL: the rule of channels that no rule matches */
};

/* What a copy of a message costs besides its bytes, in bytes. */
#define RT_COPY_OVERHEAD 32u

struct rt_broker {
    const struct rt_config *config;
    struct rt_loop *loop;
    struct rt_hub *hub;
    struct rt_journal *journal;
    struct rt_broker_relay relay;                 /* all NULL: one node */
    bool rules_differ;                            /* some node logs what others do not */
    int (*read)(void *arg, struct rt_read *read); /* of what memory has no more */
    void *read_arg;
    uint64_t (*sender_of)(void *arg, struct rt_str publisher); /* NULL: nobody knows */
    void *sender_arg;
    uint64_t (*member_of)(void *arg,
                          struct rt_str channel); /* NULL: nobody has a room of its own */
    void *member_arg;
    struct rt_list readings;      /* reading.link: history that is being read */
    struct rt_broker_rule *rules; /* config->channel_count, then the one for unmatched channels */
    struct rt_list relief;        /* rt_relief.link: who waits for the journal's queue to empty */
    struct rt_list slowed;        /* rt_relief.link: who waits for tokens of `commands` */
    struct rt_list behind;        /* rt_relief.link: who has caused its share of output for now */
    struct rt_list held;          /* struct pending: stored, and not delivered yet */
    uint64_t committed;           /* bytes of output of what was delivered in this turn */
    struct rt_timer again;        /* a turn for those that wait for one */
    struct rt_bucket_rate commands;
    struct rt_relief *reader; /* whose messages were handled last in this turn; never followed */
    uint64_t reader_output;   /* bytes that they fan out to */
    uint64_t output;          /* those of the message that is being handled */
    struct rt_timer look;     /* at those that are slowed */
    struct rt_rates rates;    /* of those who publish */
    struct rt_early early;    /* sent, and perhaps not stored */
    struct rt_timer expiry;
    uint64_t told_forgotten,
        tell_again; /* channels that a warning has told of; when to warn again */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct rt_refusals refusals;
    struct {
        struct rt_metric ok, retry, unknown, limited, refused, throttled, behind, duplicates,
            unlogged, unexpected;
    } metrics;
};

/* A message that the log has, with its position, to the hub: to subscribers and to what is kept; kept only when it was fanned out as it was published. `c` is the
 * channel of that name, NULL: out of memory. */
void rt_broker_hand_over(struct rt_broker *b, struct rt_channel *c, struct rt_str name,
                         const char *epoch, struct rt_stored *message);
/* A message of another node: the sender may have come here since. */
void rt_broker_find_sender(const struct rt_broker *b, struct rt_message *m);
/* relay.c: to those who listen here, without a position; nothing of it is kept. */
void rt_broker_pass_on(struct rt_broker *b, struct rt_str channel,
                       const struct rt_message *message);
/* history.c: answers what waits for time to pass; nothing waits any more. */
void rt_broker_stop_waiting(struct rt_broker *b);
/* Says why there is no channel, from the code of rt_hub_open_channel() or rt_hub_subscribe(), to `err` and to the log. RT_EAGAIN or RT_ENOMEM. */
int rt_broker_no_channel(const struct rt_broker *b, int status, struct rt_err *err);
/* rt_hub_open_channel(), with the reason. */
int rt_broker_open_channel(struct rt_broker *b, struct rt_str name, struct rt_channel **ret_channel,
                           struct rt_err *err);
/* A channel that exists remembers its rule; `c` NULL: it does not. */
const struct rt_channel_rule *rt_broker_rule_of(const struct rt_broker *b,
                                                const struct rt_channel *c, struct rt_str name);
/* relief.c: is there as much output as a turn should have, or more than the last one could write? */
bool rt_broker_has_output(const struct rt_broker *b);
/* The same, or does something stored wait for that to pass? */
bool rt_broker_is_behind(const struct rt_broker *b);
/* publish.c: delivers what is held, as far as the turn has room; `all`: all of it. */
void rt_broker_release(struct rt_broker *b, bool all);
/* relief.c: at each flush, before the hub's. */
void rt_broker_turn(struct rt_broker *b);
/* Sets the text of a channel that no rule matches; RT_ENOENT. */
int rt_broker_no_rule(struct rt_str channel, struct rt_err *err);
/* Name and length limits of a channel. */
int rt_broker_check_name(const struct rt_broker *b, struct rt_str channel, struct rt_err *err);

#endif
