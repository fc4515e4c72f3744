/* What ws.c and client.c share. Internal to ws/. */
#ifndef RT_WS_INTERNAL_H
#define RT_WS_INTERNAL_H

#include "ws/ws.h"

/* All members for an open connection; callbacks go to rt_ws_conn_handler once it is set. */
void rt_ws_init(struct rt_ws *ws, struct rt_conn *conn, struct rt_ws_pool *pool,
                const struct rt_ws_handler *handler, uint32_t max_message);
extern const struct rt_conn_handler rt_ws_conn_handler;

#endif
