/* The hub: channels, subscriptions, fan-out, recent history. Pure C: no sockets, no libuv, no JSON library; time is passed in.
 *
 * Fan-out. Subscribers of a channel are grouped by encoding (a protocol's way of writing a message: Socket.IO over WebSocket in namespace "/", raw
 * WebSocket, ...). A publish encodes the message once per group that has members, appends the bytes to the group's run (one contiguous
 * ref-counted chunk) and marks the channel dirty; O(1), not O(subscribers). rt_hub_flush(), once a turn, hands every subscriber of a
 * dirty channel the range [from, end) of the run: one reference, no copy, no allocation per delivery.
 * A run is flushed at once when its chunk is full or holds 256 messages.
 *
 * Order. Per channel one order for all. Per subscriber: messages of one channel in order; what is sent to a subscriber directly must follow what was published before,
 * so protocols call rt_hub_catch_up() first. Subscribers that are `ordered` (recoverable sessions) also get messages of different channels in the order of their
 * stamps: at most one channel with ordered subscribers is dirty at a time, the former is flushed first.
 *
 * Copies. A message for several channels is published to each, with ids that differ in the last byte (RT_MESSAGE_COPY). A subscriber whose encoding says `rooms` gets the
 * first copy that comes to a channel while it is in it. One that leaves the channel between two copies may get both; none gets no copy.
 *
 * Exceptions. A message may leave out the subscribers of other channels (rt_message.except_in). What counts is who is in them when it is published; a subscriber that leaves
 * one has been handed before what was published until then.
 *
 * Recent history. Messages with an offset are kept per channel within the rule's size and ttl, or as long as `recovery` says where ordered subscribers may come back
 * for them; all channels together within `memory`: the oldest message goes first. Every channel remembers the highest stamp and offset that it
 * has dropped, so that a gap is never silent.
 *
 * Channels. The object of a channel without subscribers is part of `memory` as well, and there are at most `channels` objects. Whoever makes one more finds
 * room: what was used longest ago is forgotten, first channels that keep nothing, then those that keep messages (only for the count; for the memory the oldest
 * messages go). Channels with subscribers or pins are never forgotten. So an unpinned channel without subscribers lives until the next call that
 * may make a channel or keep a message: pin what has to be held for longer.
 *
 * Iteration is safe: a deliver callback may unsubscribe or remove any subscriber, also the current
 * one. It must not publish, subscribe, flush or catch up (asserted): it only queues bytes.
 * Ownership: the hub owns channels; subscribers are embedded by their owners, who call rt_hub_remove() before freeing. Thread: the loop. */
#ifndef RT_HUB_HUB_H
#define RT_HUB_HUB_H

#include "base/buf.h"
#include "base/err.h"
#include "base/metrics.h"
#include "hub/message.h"

struct rt_hub;
struct rt_channel;
struct rt_subscriber;

/* How a group of subscribers has messages written. Identity is the pointer; lives as long as a subscriber has it. */
struct rt_encoding {
    /* Appends the complete wire form: frames of a WebSocket, a packet of a polling payload. May append nothing: this group does not see the message. */
    void (*encode)(const struct rt_encoding *self, const struct rt_message *message,
                   struct rt_buf *out);
    bool ordered; /* subscribers of this encoding are ordered by stamp across channels */
    /* Its channels are the rooms of one client: of copies of one message (RT_MESSAGE_COPY) it gets one, whichever comes first, and none of what leaves
     * out a channel that it is in (rt_message.except_in). */
    bool rooms;
};

/* Options of the channels that one rule matches. */
struct rt_hub_rule {
    bool keep;             /* logged: keep recent history */
    uint32_t history_size; /* messages */
    uint64_t history_ttl;  /* ms */
    uint64_t
        recovery; /* ms that messages stay for ordered subscribers whatever the size; 0: none */
    bool
        shared; /* ordered subscribers may come from other nodes: messages stay for `recovery` whether any were here or not */
    struct rt_list kept; /* internal: kept messages of all its channels, oldest first */
    struct rt_list link; /* internal: in the hub's list of rules */
};
void rt_hub_rule_init(struct rt_hub_rule *rule);

struct rt_subscriber_ops {
    /* Bytes of this subscriber's encoding, to be sent as they are; whole messages. Takes its own
     * reference where it keeps them. */
    void (*deliver)(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len);
    /* Is a volatile message worth sending now? */
    bool (*writable)(struct rt_subscriber *self);
};

/* One subscription: where the subscriber stands in the channel's group. Internal; kept in the subscriber's array. */
struct rt_subscription {
    struct rt_channel *channel;
    uint32_t index; /* in the group's dense array */
    uint32_t
        joined; /* the hub's stamp then, its low bits: what came up to it is not for this one */
};

struct rt_subscriber {
    const struct rt_subscriber_ops *ops;
    const struct rt_encoding *encoding;
    uint64_t id;                  /* unique in the process, not 0: for `except` */
    struct rt_subscription *subs; /* points to `one` while there is a single one */
    struct rt_subscription one;
    uint32_t count;
    uint32_t cap;
};

struct rt_hub_options {
    uint64_t memory;   /* bytes of kept messages, and of channels without subscribers */
    uint32_t channels; /* objects at most; 0: no limit */
    /* Which rule a channel of this name has. Called once per channel object. Never NULL. */
    struct rt_hub_rule *(*rule_of)(void *arg, struct rt_str channel);
    /* The channel got its first subscriber, or lost its last one. May not change subscriptions. NULL: nobody asks. */
    void (*occupied)(void *arg, struct rt_channel *channel, bool occupied);
    /* Whose own room has this channel's name: the id of a subscriber that is not subscribed to it; 0: nobody's. Asked for excepted channels alone. NULL: nobody
     * has one. */
    uint64_t (*member_of)(void *arg, struct rt_str channel);
    void *arg;
    struct rt_metrics *metrics; /* NULL: none */
};

int rt_hub_new(const struct rt_hub_options *options, struct rt_hub **ret_hub);
/* No subscriber may be left. */
void rt_hub_free(struct rt_hub *hub);
/* Loop time in ms, monotonic; drives ttl. Called once a turn. */
void rt_hub_set_time(struct rt_hub *hub, uint64_t now_ms);
/* Drops what has outlived its ttl and channels that nobody needs; bounded work. Called about once a second; true: there is more to drop, call it again soon. */
bool rt_hub_expire(struct rt_hub *hub);

void rt_subscriber_init(struct rt_subscriber *s, const struct rt_subscriber_ops *ops,
                        const struct rt_encoding *encoding);
/* Delivers what is pending, then moves all its subscriptions to another encoding (long-polling becomes WebSocket). RT_ENOMEM: it stays as it was. */
int rt_hub_set_encoding(struct rt_hub *hub, struct rt_subscriber *s,
                        const struct rt_encoding *encoding);
/* Its id, which it gets now if it has none; the first subscription gives one as well. */
uint64_t rt_hub_identify(struct rt_hub *hub, struct rt_subscriber *s);
/* It gets what is published from now on. RT_EEXIST, or as rt_hub_open_channel(). */
int rt_hub_subscribe(struct rt_hub *hub, struct rt_subscriber *s, struct rt_str channel);
/* Delivers what is pending first. RT_ENOENT. */
int rt_hub_unsubscribe(struct rt_hub *hub, struct rt_subscriber *s, struct rt_str channel);
/* Leaves every channel; nothing is delivered any more. Idempotent. */
void rt_hub_remove(struct rt_hub *hub, struct rt_subscriber *s);
bool rt_hub_is_subscribed(const struct rt_hub *hub, const struct rt_subscriber *s,
                          struct rt_str channel);
/* The i-th channel's name, i < s->count. */
struct rt_str rt_subscriber_channel(const struct rt_subscriber *s, uint32_t i);
/* Hands this subscriber what its channels have pending now. */
void rt_hub_catch_up(struct rt_hub *hub, struct rt_subscriber *s);

/* Fan-out, and history when the message has an offset and the rule keeps. Sets message->stamp.
 * RT_ENOMEM, or as rt_hub_open_channel(): some group's subscribers did not get it or it was not kept; counted in
 * `rtbroker_fanout_failed_total`, and the channel counts it as dropped, so that a recovery tells. */
int rt_hub_publish(struct rt_hub *hub, struct rt_str channel, struct rt_message *message);
/* The same for a message that is stored already: keeps a reference instead of a copy. */
int rt_hub_publish_stored(struct rt_hub *hub, struct rt_str channel, struct rt_stored *stored);
/* Keeps a message that was fanned out before it had its position (its stamp stays), nobody gets it. */
int rt_hub_keep_stored(struct rt_hub *hub, struct rt_str channel, struct rt_stored *stored);
void rt_hub_flush(struct rt_hub *hub);
bool rt_hub_dirty(const struct rt_hub *hub);
/* Channels that have subscribers, and the subscriptions of all of them. */
size_t rt_hub_occupied(const struct rt_hub *hub);
size_t rt_hub_subscriptions(const struct rt_hub *hub);
/* The last stamp given. */
uint64_t rt_hub_stamp(const struct rt_hub *hub);
/* When this channel's subscribers were given their copy of the message; 0: never, or not known any more (5 minutes, 4,096 messages). */
uint64_t rt_hub_copy_stamp(const struct rt_hub *hub, const struct rt_message *m,
                           const struct rt_channel *c);

/* Positions and recent history. A channel object exists while it has subscribers or kept messages, and for a minute after if there is room. */
struct rt_channel *rt_hub_channel(struct rt_hub *hub, struct rt_str name,
                                  bool create); /* NULL: none / as rt_hub_open_channel() */
/* Finds or makes it. RT_ENOMEM; RT_ERANGE: there are `channels`, RT_EAGAIN: `memory` is full, and none of them can be forgotten. */
int rt_hub_open_channel(struct rt_hub *hub, struct rt_str name, struct rt_channel **ret_channel);
/* Channels that were forgotten before their time, for want of room. */
uint64_t rt_hub_forgotten(const struct rt_hub *hub);
struct rt_str rt_channel_name(const struct rt_channel *c);
struct rt_hub_rule *rt_channel_rule(const struct rt_channel *c);
uint32_t rt_channel_subscribers(const struct rt_channel *c);
/* "" until set. At most 23 characters. A change of epoch drops the kept messages. */
const char *rt_channel_epoch(const struct rt_channel *c);
void rt_channel_set_epoch(struct rt_channel *c, const char *epoch);
uint64_t rt_channel_top(const struct rt_channel *c); /* highest offset seen; 0 none */
void rt_channel_set_top(struct rt_channel *c, uint64_t offset);
/* Its epoch has come to `offset`. If it has seen no message, that is its top, and it covers what the hub knows of channels without an object, see rt_hub_floor(). */
void rt_channel_begin(struct rt_channel *c, uint64_t offset);
/* Messages of the channel were lost before they came here: what is kept goes, since there is a hole in it. */
void rt_channel_forget(struct rt_channel *c);
/* Rules that are `shared`, whose channels share epochs and offsets: a channel without an object has had no message above this offset of the epoch. UINT64_MAX: not known.
 * Raised when a channel is forgotten, and by whoever has lost messages of the epoch before they came here. */
uint64_t rt_hub_floor(const struct rt_hub *hub, const char *epoch);
void rt_hub_raise_floor(struct rt_hub *hub, const char *epoch, uint64_t offset);
/* Keeps the channel object from being expired while > 0 (pending appends). */
void rt_channel_pin(struct rt_channel *c);
void rt_channel_unpin(struct rt_channel *c);
/* Kept messages, oldest first: index 0 .. count-1. */
size_t rt_channel_kept(const struct rt_channel *c);
struct rt_stored *rt_channel_kept_at(const struct rt_channel *c, size_t index);
/* Are all messages with an offset above `offset` (and up to top) still kept? */
bool rt_channel_covers_offset(const struct rt_channel *c, uint64_t offset);
/* The latest time of messages up to top that are not kept any more: 0 there are none, UINT64_MAX not known. */
uint64_t rt_channel_dropped_time(const struct rt_channel *c);
/* Have no messages with a stamp above `stamp` been dropped? */
bool rt_channel_covers_stamp(const struct rt_channel *c, uint64_t stamp);

/* Walks all channels (`*pos` from 0). No changes in between. */
struct rt_channel *rt_hub_next_channel(const struct rt_hub *hub, size_t *pos);

#endif
