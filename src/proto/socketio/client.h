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
/* The same for an old client: the query that it wrote behind the namespace is its auth object. */
void rt_sio_connect_old(struct rt_sio_client *client, struct rt_str nsp, struct rt_str query);
/* How it goes on: with a session that has come back (its socket CONNECTING, perhaps holding what
 * follows the reply; `missed`: what comes before it, in wire form, NULL nothing), or with a new one.
 * `auth` is JSON or none. */
void rt_sio_connect_recovered(struct rt_sio_socket *socket, struct rt_str auth,
                              struct rt_bytes *missed);
void rt_sio_connect_anew(struct rt_sio_client *client, struct rt_str nsp, struct rt_str auth);

#endif
