/* A client that comes back where nodes share a log: the session is claimed, then brought back from
 * what this node has kept, or from what its former node left in Redis and from the log.
 *
 *   claim -> (waits here: as on one node) | wait until this node has delivered what the client has, and its former node has let go
 *     -> join the channels, live messages held -> read what was missed, channel by channel
 *     -> write the session, if it is still ours -> missed, reply, held
 *
 * Without a log a message comes at most once. What the client has got of such messages its former node had when it let go: published there, or brought by Redis.
 * So all of these have passed Redis before that node's answer, which takes the same way behind them, and have come here before it. The channels are joined
 * after it. A node that nobody listens as is gone, and its connections with it; one that does not answer in time is not waited for any longer: counted, since what it
 * still has to send may come again then.
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
/* The node that had the session by this claim has let it go, and all that it has published is out. */
void rt_sio_resume_former_gone(struct rt_sio_recovery *r, struct rt_str pid, struct rt_str claim);
/* Is the session coming back here, with its former node not gone yet? */
bool rt_sio_resume_awaits(const struct rt_sio_recovery *r, struct rt_str pid);
/* One of its namespaces: it has left. */
void rt_sio_resume_drop(struct rt_sio_client *client, struct rt_str nsp);

#endif
