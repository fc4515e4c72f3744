/* Under whom the idempotency keys of a client count, so that no client can use up a key of another.
 *
 * A user's count under its name. A client without one is known by the second half of its session's
 * pid, which only it has seen: a client that comes back has the pid of before, and where its session
 * is lost (the broker was killed, recovery took too long) the new pid keeps that half of the one that
 * it came with. So a publish that got no answer is the same one when it is sent again. Any client may
 * choose the half: whoever wants to share a key with another must know it, 60 random bits.
 * With recovery off there is a session for each connection: its socket's id, unless the client has
 * sent a pid of its own.
 *
 * What is written to the log is a hash: those who read it can neither bring a session back nor
 * publish under its name. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_SCOPE_H
#define RT_PROTO_SOCKETIO_SCOPE_H

#include "proto/socketio/internal.h"

/* The pid in the auth object of CONNECT: 20 characters of base64url; none: there is no such. */
struct rt_str rt_sio_pid_of(struct rt_str auth);
/* A new pid; its second half is that of the pid in `auth`, when there is one. */
void rt_sio_make_pid(struct rt_str auth, char out[RT_ID_LEN + 1]);

/* RT_ENOMEM. */
int rt_sio_scope_new(struct rt_mac **ret_mac);
/* The name, in a buffer of the endpoint; none: out of memory. */
struct rt_str rt_sio_scope(struct rt_socketio *s, const struct rt_sio_socket *socket);

#endif
