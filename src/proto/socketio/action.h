/* Actions of docs/events.md, compiled: what one `do` list does. Running them is run.h's part.
 *
 * Ownership: the arena of the compiler; nothing changes afterwards. Thread: compiling at start,
 * read on the loop. */
#ifndef RT_PROTO_SOCKETIO_ACTION_H
#define RT_PROTO_SOCKETIO_ACTION_H

#include "proto/socketio/condition.h"

enum rt_sio_action_kind {
    RT_SIO_DO_JOIN,
    RT_SIO_DO_LEAVE,
    RT_SIO_DO_PUBLISH,
    RT_SIO_DO_EMIT,
    RT_SIO_DO_ANSWER, /* `ack` */
    RT_SIO_DO_DROP,
    RT_SIO_DO_DISCONNECT,
    RT_SIO_DO_CLOSE,
    RT_SIO_DO_REFUSE,
    RT_SIO_DO_WHEN,
};

struct rt_sio_actions {
    const struct rt_sio_action *items;
    size_t count;
    /* It may answer the acknowledgement of the incoming event, or publishes: an automatic answer
     * waits for it. */
    bool answers;
};

/* A list of names: rooms, channels. */
struct rt_sio_names {
    const struct rt_sio_template *const *items;
    size_t count;
};

/* The arguments of an event or answer. */
enum rt_sio_args_kind {
    RT_SIO_ARGS_INCOMING, /* those of the incoming event, as they are */
    RT_SIO_ARGS_LIST,     /* one template each */
    RT_SIO_ARGS_SPREAD,   /* the items of one array (or one value that is no array) */
};
struct rt_sio_args {
    enum rt_sio_args_kind kind;
    const struct rt_sio_template *const *items;
    size_t count;
    bool binary; /* constants among them are binary */
};

struct rt_sio_leave {
    struct rt_sio_names rooms;
    bool all;
};

enum rt_sio_target {
    RT_SIO_TO_CHANNELS,
    RT_SIO_TO_ROOMS,      /* of the socket's namespace: who is in several gets it once */
    RT_SIO_TO_NAMESPACES, /* constant globs: those that have sockets here */
};

struct rt_sio_publish {
    struct rt_sio_names targets;
    enum rt_sio_target to;
    struct rt_sio_names except; /* rooms of the namespace that it goes to; none: count 0 */
    bool except_sender;
    bool is_volatile;
    const struct rt_sio_template *event; /* NULL: the incoming event's name */
    const struct rt_sio_template *key;   /* NULL: none */
    struct rt_sio_args args;
};

struct rt_sio_emit {
    const struct rt_sio_template *event; /* NULL: the incoming event's name */
    struct rt_sio_args args;
    bool is_volatile;
    bool awaits; /* an answer of the client */
    uint64_t timeout;
    struct rt_sio_actions answered;
    struct rt_sio_actions timed_out;
};

struct rt_sio_refuse {
    const struct rt_sio_template *message;
    const struct rt_sio_template *data; /* NULL: none */
};

struct rt_sio_when {
    const struct rt_sio_condition *condition;
    struct rt_sio_actions then;
    struct rt_sio_actions otherwise;
};

struct rt_sio_action {
    enum rt_sio_action_kind kind;
    union {
        struct rt_sio_names join;
        struct rt_sio_leave leave;
        struct rt_sio_publish publish;
        struct rt_sio_emit emit;
        struct rt_sio_args answer;
        struct {
            bool close;
        } disconnect;
        struct rt_sio_refuse refuse;
        struct rt_sio_when when;
    };
};

/* Compiles a list of actions in the scope that `c` says; false: errors were recorded, or out of
 * memory. `what` names the key in messages. `node` NULL is an empty list. */
bool rt_sio_actions_compile(struct rt_sio_compile *c, const struct rt_node *node, const char *what,
                            struct rt_sio_actions *ret_actions);

#endif
