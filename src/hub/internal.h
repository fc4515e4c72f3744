/* What the files of the hub share: the shapes of hub, channel and group. Not for other folders. */
#ifndef RT_HUB_INTERNAL_H
#define RT_HUB_INTERNAL_H

#include "base/map.h"
#include "hub/hub.h"

/* A subscriber within a group. 16 bytes: a flush walks these. */
struct rt_member {
    struct rt_subscriber *subscriber; /* NULL: removed while the group was being walked */
    uint32_t from;                    /* the part of the run before it is not for this one */
    uint32_t sub;                     /* index in subscriber->subs */
};

/* A message of the run that not everybody gets. */
struct rt_mark {
    uint32_t off, len;
    uint64_t except; /* subscriber id, 0 none */
    bool is_volatile;
    bool is_copy; /* others of its copies have come before */
    uint8_t copy_id[RT_MESSAGE_COPY_ID];
    uint64_t stamp;
    const struct rt_copies *copies; /* during a walk; NULL: none are known any more */
    struct rt_excepted *excepted;   /* owned; NULL: no channel is left out */
};

/* The subscribers of a channel that share an encoding, and what is pending for them. */
struct rt_group {
    const struct rt_encoding *encoding;
    struct rt_member *members;
    uint32_t count, cap;
    uint32_t holes;       /* members removed during a walk */
    bool walking;         /* deliver callbacks are running */
    uint32_t hint;        /* bytes of the last run: first size of the next */
    struct rt_bytes *run; /* NULL: nothing pending */
    uint32_t messages;
    struct rt_mark *marks;
    uint32_t mark_count, mark_cap;
};

/* Who needs a channel. From each to each other, but never from IDLE to itself: `idle_since` stays.
 *
 *      subscribe, pin          the last message goes
 *     USED <----> KEEPING <------> IDLE ----> forgotten (a minute later, or for want of room)
 *       ^---------------------------^
 */
enum rt_channel_use {
    RT_CHANNEL_USED,    /* it has subscribers or pins; in no list */
    RT_CHANNEL_KEEPING, /* it has messages alone; in hub->keeping, moves to the end with each */
    RT_CHANNEL_IDLE,    /* it has nothing but its epoch and top; in hub->idle */
};

struct rt_channel {
    struct rt_hub *hub;
    struct rt_hub_rule *rule;
    struct rt_list dirty;  /* in hub->dirty while something is pending */
    struct rt_list unused; /* in hub->keeping or hub->idle */
    enum rt_channel_use use;
    uint32_t charged; /* what it adds to hub->unused_bytes */
    uint64_t idle_since;
    struct rt_group **groups;
    uint32_t group_count;
    uint32_t subscribers;
    uint32_t ordered; /* subscribers whose encoding is ordered */
    uint32_t pins;
    uint64_t ordered_until; /* time up to which recoverable sessions may come back */

    /* recent history: a ring of stored messages, oldest at `first` */
    struct rt_stored **kept;
    uint32_t kept_count, kept_first, kept_mask; /* mask: slots - 1, 0 when none */
    uint64_t dropped_stamp, dropped_offset;     /* highest that is not kept any more */
    uint64_t dropped_time;                      /* likewise; UINT64_MAX: not known */
    uint64_t top;
    char epoch[24];

    uint32_t name_len;
    char name[];
};

struct rt_hub {
    struct rt_map channels;
    struct rt_map floors;  /* of epochs, rules that are shared only */
    struct rt_map copied;  /* struct rt_copies, by what the ids share */
    struct rt_list copies; /* the same, oldest first */
    size_t copy_count;     /* of all of them */
    struct rt_list dirty;
    struct rt_list keeping, idle;     /* channels by use; what was used longest ago first */
    struct rt_channel *ordered_dirty; /* the one dirty channel with ordered subscribers */
    struct rt_list rules;             /* rules seen so far */
    struct rt_hub_options options;
    struct rt_buf scratch; /* one encoded message */
    uint64_t now;
    uint64_t stamp;
    uint64_t kept_bytes;
    uint64_t kept_messages;
    uint64_t unused_bytes; /* channel objects without subscribers */
    uint64_t next_id;
    bool walking;
    size_t occupied; /* channels with subscribers */
    struct {
        struct rt_metric published, delivered, failed, channels, subscriptions, kept_bytes,
            kept_messages, unused_bytes, forgotten, refused, fanout;
    } metrics;
};

/* channel.c */
/* NULL: out of memory. */
struct rt_channel *rt_channel_new(struct rt_hub *hub, struct rt_str name);
/* The caller takes it out of the hub's table. */
void rt_channel_free(struct rt_channel *c);
/* Something changed in who needs the channel, or in its size: sets its use and what it is charged. */
void rt_channel_review(struct rt_channel *c);

/* room.c */
/* Room for a channel of this name: as rt_hub_open_channel(). */
int rt_hub_make_room(struct rt_hub *hub, struct rt_str name);
/* Forgets idle channels and drops the oldest kept messages until the hub is within its memory. */
void rt_hub_trim_memory(struct rt_hub *hub);
/* Takes an unused channel out of the hub and frees it. */
void rt_channel_forget_object(struct rt_channel *c);
/* What an object without subscribers takes, with its place in the table. */
uint32_t rt_channel_cost(const struct rt_channel *c);

/* history.c */
int rt_channel_keep(struct rt_channel *c, struct rt_stored *s);
/* What is past the rule's size and ttl goes. */
void rt_channel_trim(struct rt_channel *c);
void rt_channel_drop_all(struct rt_channel *c);
/* Of an object that has seen no message: what came up to `floor` is not in memory, and nothing is known of its times. */
void rt_channel_set_floor(struct rt_channel *c, uint64_t floor);
/* Drops the channel's oldest kept message. */
void rt_channel_drop_oldest(struct rt_channel *c);
/* May the oldest one go, by size and age? */
bool rt_channel_oldest_is_due(const struct rt_channel *c);

/* floor.c */
struct rt_str rt_hub_key_of_floor(const void *value);
/* A message of the epoch at `offset` (> 0) comes by: the floor, from what comes first. */
uint64_t rt_hub_note_floor(struct rt_hub *hub, const char *epoch, uint64_t offset);
void rt_hub_free_floors(struct rt_hub *hub);

/* copies.c */
struct rt_copies;
struct rt_str rt_hub_key_of_copies(const void *value);
/* NULL: no copy with this id has come. Valid until the next note, expiry or publish. */
const struct rt_copies *rt_hub_find_copies(const struct rt_hub *hub, const uint8_t *id);
/* Has the subscriber been given one with a stamp below `before`? */
bool rt_copies_had(const struct rt_copies *copies, uint64_t before, const struct rt_subscriber *s);
/* The channel's subscribers have been given this copy. Without memory it is forgotten: they may get another one. */
void rt_hub_note_copy(struct rt_hub *hub, struct rt_channel *c, const struct rt_message *m);
void rt_hub_expire_copies(struct rt_hub *hub);
void rt_hub_free_copies(struct rt_hub *hub);

/* except.c: the channels that one message leaves out */
struct rt_excepted;
/* NULL: out of memory, or more than RT_MAX_EXCEPTED names. */
struct rt_excepted *rt_excepted_new(const struct rt_message *m);
/* Before a walk: finds the channels, and the subscribers whose own rooms they are. */
void rt_excepted_find(struct rt_excepted *e, const struct rt_hub *hub);
/* During it: was the subscriber in one of them when the message with this stamp was published, a moment ago? */
bool rt_excepted_has(const struct rt_excepted *e, uint64_t stamp, const struct rt_subscriber *s);

/* fanout.c */
/* Forgets the marks of a run that is delivered, or that nobody will get. */
void rt_group_drop_marks(struct rt_group *g);
void rt_channel_flush(struct rt_channel *c);

#endif
