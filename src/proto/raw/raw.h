/* Raw endpoints: a plain WebSocket or a bare Engine.IO session bound to one channel; each frame or packet is a message, text and binary kept apart.
 * No SDK, no envelope. What the peer sends is published (text as RT_KIND_TEXT, binary as RT_KIND_BYTES); what it receives is `data` alone: JSON messages as their text,
 * bytes as a binary frame. `{sid}` in the channel is the session's own id, which makes an echo; `{channel}` is what the path has there (percent-decoded).
 * A refused subscribe or publish closes with 4403 / 4404 and the reason (WebSocket); `retry` closes with 1013.
 * Thread: the loop. */
#ifndef RT_PROTO_RAW_RAW_H
#define RT_PROTO_RAW_RAW_H

#include "session/broker.h"
#include "ws/ws.h"

struct rt_raw;

/* Mounts all endpoints of protocols.raw. */
int rt_raw_new(const struct rt_config *config, struct rt_broker *broker,
               struct rt_http_server *http, struct rt_ws_pool *pool, struct rt_metrics *metrics,
               struct rt_raw **ret_raw, struct rt_err *err);
/* Closes all (1001), spread over `jitter_ms`; `drained` once none is left. */
void rt_raw_drain(struct rt_raw *raw, uint64_t jitter_ms, void (*drained)(void *arg), void *arg);
void rt_raw_free(struct rt_raw *raw);

#endif
