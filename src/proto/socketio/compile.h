/* What compiling the section `socketio` of the configuration shares: memory of the compiled table,
 * errors with their place, the scope that variables are used in.
 *
 * Everything compiled (templates, conditions, actions, rules) lives in one arena and is freed with
 * it; nothing in it changes afterwards. Errors do not stop the compiler: it returns NULL for the
 * part and goes on, so that all are found; `errors` or `nomem` then says that the result may not be
 * used. Thread: the main thread at start. */
#ifndef RT_PROTO_SOCKETIO_COMPILE_H
#define RT_PROTO_SOCKETIO_COMPILE_H

#include "conf/arena.h"
#include "conf/node.h"

/* What the compiled table needs to be kept per connection. */
enum rt_sio_uses {
    RT_SIO_USES_AUTH = 1,      /* the auth object of CONNECT */
    RT_SIO_USES_HANDSHAKE = 2, /* request line, headers, address */
    RT_SIO_USES_KEY = 4,       /* whose idempotency keys they are */
};

struct rt_sio_compile {
    struct rt_conf_errors *errors;
    struct rt_arena *arena;
    unsigned uses;   /* enum rt_sio_uses, collected */
    bool nomem;      /* an allocation failed: the result is incomplete */
    bool connecting; /* scope: on_connect, where `refuse` is allowed */
    bool has_event;  /* scope: there is an incoming event: $event, defaults for `event`, `ack` */
    bool has_args;   /* scope: there are arguments: $args, $1 .. */
    unsigned depth;  /* nested lists of actions and conditions */
};

#define RT_SIO_MAX_DEPTH 16u

/* Zeroed, aligned for any type; NULL when out of memory (`nomem` is set). */
void *rt_sio_alloc(struct rt_sio_compile *c, size_t count, size_t size);
/* A copy with a NUL behind it; none when out of memory. */
struct rt_str rt_sio_keep(struct rt_sio_compile *c, struct rt_str text);
/* Reports keys of `map` that are not in `names` (NULL-terminated), with a suggestion; `what` is "a
 * rule", "`publish`". False (and an error) when `map` is no map. */
bool rt_sio_check_keys(struct rt_sio_compile *c, const struct rt_node *map, const char *what,
                       const char *const *names);
/* The member as a boolean, `fallback` when absent or wrong (which is an error). */
bool rt_sio_flag(struct rt_sio_compile *c, const struct rt_node *map, const char *key,
                 bool fallback);
/* "250ms", "10s", "5m", "1h" in milliseconds, 1 ms to 1 day; `fallback` when `node` is NULL or
 * wrong (which is an error). */
uint64_t rt_sio_duration(struct rt_sio_compile *c, const struct rt_node *node, const char *what,
                         uint64_t fallback);
/* A list, or a single node as a list of one: `*ret_items` points into the tree (or to
 * `*single`). */
size_t rt_sio_items(const struct rt_node *const *single, const struct rt_node *const **ret_items);

#endif
