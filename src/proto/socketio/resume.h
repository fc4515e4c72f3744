/* A client that comes back where nodes share a log: the session is claimed, then brought back from
 * what this node has kept, or from what its former node left in Redis and from the log.
 *
 *   claim -> (waits here: as on one node) | wait until this node has delivered what the client has
 *     -> join the channels, live messages held -> read what was missed, channel by channel
 *     -> write the session, if it is still ours -> missed, reply, held
 *
 * Whatever fails on the way, or takes longer than 8 s: the client starts anew. Meanwhile its
 * namespace counts as not connected. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_RESUME_H
#define RT_PROTO_SOCKETIO_RESUME_H

#include "proto/socketio/internal.h"

/* False: it does not come back with a session, or cannot; then it is connected anew by the caller.
 * True: rt_sio_connect_recovered() or rt_sio_connect_anew() will follow, or the client goes. */
bool rt_sio_resume_start(struct rt_sio_recovery *r, struct rt_sio_client *client, struct rt_str nsp,
                         struct rt_str auth);
/* Is the client coming back to this namespace? */
bool rt_sio_resuming(const struct rt_sio_client *client, struct rt_str nsp);
/* The client goes; what it had stays where it is. */
void rt_sio_resume_drop_all(struct rt_sio_client *client);
/* One of its namespaces: it has left. */
void rt_sio_resume_drop(struct rt_sio_client *client, struct rt_str nsp);

#endif
