/* A message, and a stored message.
 *
 * `struct rt_message` is a view: its slices point into somebody's buffer (a read buffer, an API body, a stored message), so that
 * a message which nobody keeps is never copied but into the channel's run. rt_stored_new() makes an immutable ref-counted copy, one allocation.
 * Thread: a stored message belongs to the loop; a worker may read one while the loop holds a reference for it (see base/bytes.h). */
#ifndef RT_HUB_MESSAGE_H
#define RT_HUB_MESSAGE_H

#include "base/list.h"
#include "base/str.h"

enum rt_kind {
    RT_KIND_JSON,  /* data is one JSON value, valid and compact enough to embed */
    RT_KIND_TEXT,  /* data is UTF-8 text */
    RT_KIND_BYTES, /* data is bytes */
};

enum rt_message_flags {
    RT_MESSAGE_ARGS =
        1, /* JSON data is an array whose items are the arguments of the event (a Socket.IO event with other than one) */
    RT_MESSAGE_VOLATILE = 2, /* may be dropped for a subscriber that is not writable */
    /* Not for its publisher (`publisher`, a Socket.IO socket's id), wherever that is by the time it is delivered: stored with the message, while `except`
     * is of this process. With a key the publisher's name is another one, and nobody is meant. */
    RT_MESSAGE_NOT_SENDER = 4,
    /* One of the copies of a message that went to several channels at once; their ids are the same but for the last byte. Who is in several of the
     * channels gets one of them, where its protocol says so (rt_encoding.rooms). */
    RT_MESSAGE_COPY = 8,
};
#define RT_MESSAGE_COPY_ID 15  /* bytes of the id that all copies share */
#define RT_MAX_COPIES      256 /* channels that one message may go to so */
#define RT_MAX_EXCEPTED    64  /* channels whose subscribers one message leaves out */

/* Binary parts of one message: what every log, the envelope and the rows can hold and give back. */
#define RT_MAX_ATTACHMENTS 64
_Static_assert(RT_MAX_ATTACHMENTS <= UINT8_MAX, "they are counted in 8 bits");

struct rt_message {
    struct rt_str event; /* event name as text; none: the protocol's default ("message") */
    struct rt_str data;
    const struct rt_str *
        attachments; /* binary parts that JSON data refers to as {"_placeholder":true,"num":i}, in order */
    uint8_t attachment_count;
    uint8_t kind;    /* enum rt_kind */
    uint8_t flags;   /* enum rt_message_flags */
    uint8_t id[16];  /* UUIDv7; all zero: none given (not logged, nobody asked) */
    uint64_t time;   /* wall clock, ms */
    uint64_t offset; /* position within the channel's epoch; 0: not logged */
    uint64_t stamp;  /* order of delivery on this node, given by the hub */
    uint64_t except; /* id of a subscriber that does not get it; 0: none. Not stored in the log */
    struct rt_str publisher; /* who: "api:NAME", a client id; none: unknown */
    struct rt_str key;       /* idempotency key; none */
    /* Channels whose subscribers do not get it, where their protocol says so (rt_encoding.rooms): names in order of mention, joined by line feeds, which no
     * name has. A channel may be the own room of one subscriber (rt_hub_options.member_of). None: it is for all. Stored with the message. */
    struct rt_str except_in;
};

/* Takes the first name off the list; RT_STR_NONE at its end. */
static inline struct rt_str rt_excepted_next(struct rt_str *list)
{
    return list->len ? rt_str_split(*list, '\n', list) : RT_STR_NONE;
}
/* Is the channel one of those that the message leaves out? */
bool rt_message_excepts(const struct rt_message *m, struct rt_str channel);

struct rt_stored {
    struct rt_message m; /* slices point behind this struct */
    uint32_t refs;
    uint32_t size;          /* bytes of the allocation, for caps */
    uint64_t kept_at;       /* hub: its time when it was kept */
    struct rt_list by_rule; /* hub: all kept messages of one rule, oldest first */
    void *channel;          /* hub: back pointer while kept */
};

/* Copies the view. NULL: out of memory, or more than RT_MAX_ATTACHMENTS (who makes messages asks before). */
struct rt_stored *rt_stored_new(const struct rt_message *view);
void rt_stored_free_last(struct rt_stored *s); /* internal to unref */

static inline struct rt_stored *rt_stored_ref(struct rt_stored *s)
{
    s->refs++;
    return s;
}
static inline void rt_stored_unref(struct rt_stored *s)
{
    if (s && --s->refs == 0)
        rt_stored_free_last(s);
}

#endif
