/* Socket.IO protocol 5 over Engine.IO 4: namespaces, events, acknowledgements, binary, rooms, recovery, and the table of actions (docs/events.md).
 * Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_SOCKETIO_H
#define RT_PROTO_SOCKETIO_SOCKETIO_H

#include "conf/check.h"
#include "session/broker.h"
#include "ws/ws.h"

struct rt_socketio;
struct rt_http_server;
struct rt_cluster;

/* Compiles the section `socketio` (namespaces, rules, actions) without starting anything. Warns of rules that never run. 0, RT_EINVAL when it found errors, RT_ENOMEM. */
int rt_socketio_check(const struct rt_check *check);
/* Are the browser's client files in protocols.socketio.client_dir? RT_EINVAL with text that begins with the option. */
int rt_socketio_check_files(const struct rt_config *config, struct rt_err *err);

/* Mounts the endpoint. `broker` must live longer. */
int rt_socketio_new(const struct rt_config *config, struct rt_broker *broker,
                    struct rt_http_server *http, struct rt_ws_pool *pool,
                    struct rt_metrics *metrics, struct rt_socketio **ret_socketio,
                    struct rt_err *err);
/* This node has others beside it: ids reach sockets on all of them, and, where they share a log, sessions come back on any of them. After the journal was
 * set, before the first client. RT_ENOMEM. */
int rt_socketio_join_cluster(struct rt_socketio *s, struct rt_cluster *cluster, struct rt_err *err);
/* The log that nodes share has another number of partitions: tokens name the new ones from now on. Sessions that are being brought over from another node begin anew
 * (`recovered: false`). */
void rt_socketio_log_moved(struct rt_socketio *s);
/* See rt_eio_drain(). */
void rt_socketio_drain(struct rt_socketio *s, uint64_t jitter_ms, void (*drained)(void *arg),
                       void *arg);
void rt_socketio_free(struct rt_socketio *s);
/* Sockets connected to namespaces. */
size_t rt_socketio_sockets(const struct rt_socketio *s);

#endif
