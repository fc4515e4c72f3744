/* What plain.c and bare.c share: endpoints, peers, publishing. Not for other folders. */
#ifndef RT_PROTO_RAW_INTERNAL_H
#define RT_PROTO_RAW_INTERNAL_H

#include "base/rand.h"
#include "proto/raw/raw.h"
#include "proto/socketio/engine.h"
#include "session/drain.h"

struct rt_raw_endpoint {
    struct rt_raw *raw;
    const struct rt_raw_config *config;
    bool chosen; /* the peer names the channel in the path: the channel's rule decides */
    struct rt_eio_mount *mount; /* protocol engineio */
};

struct rt_raw {
    const struct rt_config *config;
    struct rt_broker *broker;
    struct rt_loop *loop;
    struct rt_ws_pool *pool;
    struct rt_raw_endpoint *endpoints;
    size_t endpoint_count;
    struct rt_list peers; /* plain WebSocket: rt_raw_plain.all */
    size_t plain_count;
    size_t undrained; /* mounts, and 1 for the plain ones */
    bool draining;
    struct rt_drain drain;
    void (*drained)(void *arg);
    void *drained_arg;
    struct rt_metric connections, opened;
};

/* What both kinds of peers have. */
struct rt_raw_peer {
    struct rt_client client; /* first */
    struct rt_raw_endpoint *endpoint;
    struct rt_list publishing; /* rt_raw_publish.link */
    struct rt_relief relief;
    struct rt_str channel; /* points into memory of the peer */
    bool paused;           /* the log cannot keep up: nothing is read from it */
    bool refused;          /* what it sends is ignored */
    bool failed;           /* we have closed it, and said why */
    /* Refused or failed: the peer is closed with this WebSocket code. */
    void (*fail)(struct rt_raw_peer *peer, uint16_t code, const char *reason);
    void (*pause)(struct rt_raw_peer *peer, bool paused);
};

/* A publish whose answer is awaited; survives its peer. */
struct rt_raw_publish {
    struct rt_list link;
    struct rt_raw_peer *peer; /* NULL: gone */
};

/* The channel's name for a peer: `{sid}` and `{channel}` put in. */
void rt_raw_channel(const struct rt_raw_config *config, const char *sid, struct rt_str chosen,
                    struct rt_buf *out);
void rt_raw_peer_init(struct rt_raw_peer *peer, struct rt_raw_endpoint *endpoint, const char *sid,
                      const struct rt_subscriber_ops *ops, const struct rt_encoding *encoding);
/* Subscribes as configured. A code with text: refused. */
int rt_raw_peer_join(struct rt_raw_peer *peer, struct rt_err *err);
void rt_raw_peer_deinit(struct rt_raw_peer *peer);
void rt_raw_peer_message(struct rt_raw_peer *peer, bool text, struct rt_str data);
/* Counted, and told in the log. */
void rt_raw_refused(struct rt_raw *raw, enum rt_refusal why, struct rt_str what, const char *text,
                    const char *option);
/* The WebSocket close code for an error of ours. */
uint16_t rt_raw_close_code(int code);
void rt_raw_drain_check(struct rt_raw *raw);

int rt_raw_plain_mount(struct rt_raw_endpoint *endpoint, struct rt_http_server *http,
                       struct rt_err *err);
bool rt_raw_plain_close_one(struct rt_raw *raw);
int rt_raw_bare_mount(struct rt_raw_endpoint *endpoint, struct rt_http_server *http,
                      struct rt_metrics *metrics, struct rt_err *err);

#endif
