/* The client side of a WebSocket, for the command line: the handshake over a connection of rt_net_connect(), then a
 * `struct rt_ws` as on the server, with masked sends. Thread: the loop. */
#ifndef RT_WS_CLIENT_H
#define RT_WS_CLIENT_H

#include "ws/ws.h"

struct rt_ws_client_options {
    struct rt_str host;    /* for the Host header */
    struct rt_str target;  /* "/path?query" */
    struct rt_str headers; /* extra lines, each with CR LF */
    uint32_t max_message;
    uint64_t timeout; /* ms for the handshake */
    const struct rt_ws_handler *handler;
    /* Once: with NULL when the connection is open, or why it is not (on_close follows, with 1006). Never from inside of
     * rt_ws_connect(). */
    void (*opened)(struct rt_ws *ws, const struct rt_err *err);
};

/* Sends the request. `options` may go afterwards. RT_ENOMEM: nothing was done, the connection is still the caller's. */
int rt_ws_connect(struct rt_conn *conn, struct rt_ws_pool *pool, struct rt_ws *ws,
                  const struct rt_ws_client_options *options, struct rt_err *err);

#endif
