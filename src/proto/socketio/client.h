/* One connection (an Engine.IO session): its packets, and the sockets of the namespaces that it has
 * joined.
 *
 * Whatever breaks the protocol closes the whole connection, as the reference server does. One
 * tolerance: after *we* have sent a socket away, packets for a namespace that is not connected are
 * ignored, since they may have been on their way. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_CLIENT_H
#define RT_PROTO_SOCKETIO_CLIENT_H

#include "proto/socketio/internal.h"

/* For rt_eio_options. */
extern const struct rt_eio_user rt_sio_client_user;

/* A CONNECT for a namespace that the connection is not in. */
void rt_sio_connect(struct rt_sio_client *client, const struct rt_sio_packet *packet);

#endif
