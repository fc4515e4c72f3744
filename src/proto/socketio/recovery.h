/* Connection state recovery: a client whose connection was lost comes back with its session's
 * secret id (pid) and the position of the last event it has seen (offset), and gets the same socket
 * id, its rooms, and exactly what it missed, before the reply to its CONNECT.
 *
 * Position. Every event to a recoverable client ends with one more argument, a token: the hub's
 * stamp in base 36, and for what was sent to this socket alone ".n", its number. Events reach such
 * a client in the order of their stamps. What the client has is known from its token, and from
 * heartbeats: all that was queued before a ping has arrived when the pong is there. So a client
 * that never got an event (and has no token) can come back too, and one that was silent for long
 * does not lose its place. Source of what was missed: the hub's kept messages of its rooms (from
 * the time it joined each), and a small ring of what was sent to it alone. Never a silent gap: when
 * any part is not kept any more, the session is not recovered and the client is told by a new
 * socket id.
 *
 * Kept per waiting session: id, subscriber id, rooms (their channels pinned, so that they remember
 * what they dropped). At most RT_SIO_WAITING_MAX of them and RT_SIO_WAITING_BYTES; the oldest
 * goes first. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_RECOVERY_H
#define RT_PROTO_SOCKETIO_RECOVERY_H

#include "proto/socketio/internal.h"

#define RT_SIO_WAITING_MAX   100000u
#define RT_SIO_WAITING_BYTES ((size_t)64 << 20)
#define RT_SIO_RING_BYTES    ((size_t)32 << 10) /* of what was sent to one socket alone */
#define RT_SIO_RING_ALL      ((size_t)64 << 20) /* of all sockets */
#define RT_SIO_MAX_JOINS     64u                /* whose time is remembered */

int rt_sio_recovery_new(struct rt_socketio *s, struct rt_sio_recovery **ret_recovery);
/* Forgets all waiting sessions. No track of a live socket may be left. */
void rt_sio_recovery_free(struct rt_sio_recovery *r);

/* What a new socket needs to come back one day; sets socket->track. The socket is in no channel
 * yet. `auth`: what it connects with, for rt_sio_make_pid(). RT_ENOMEM. */
int rt_sio_track_new(struct rt_sio_recovery *r, struct rt_sio_socket *socket, struct rt_str auth);
/* The socket goes: keeps its state when `keep`, else forgets it. */
void rt_sio_track_end(struct rt_sio_track *t, bool keep);
/* The node stops: what nodes share keeps the session. */
void rt_sio_track_move(struct rt_sio_track *t);
const char *rt_sio_track_pid(const struct rt_sio_track *t);

/* Appends `,"token"` for an event sent to the socket alone; `counted` gives it the next number. */
void rt_sio_track_add_token(struct rt_sio_track *t, bool counted, struct rt_buf *out);
/* Keeps the packet that got the last token. Without memory or room recovery past it fails; nothing
 * else does. */
void rt_sio_track_keep(struct rt_sio_track *t, struct rt_str text, const struct rt_str *attachments,
                       size_t attachment_count);
/* The socket has just joined / is about to leave this channel. */
void rt_sio_track_joined(struct rt_sio_track *t, struct rt_str channel);
void rt_sio_track_leaves(struct rt_sio_track *t, struct rt_str channel);
/* A pong has come. */
void rt_sio_track_pong(struct rt_sio_track *t);

/* A client connects with an auth object that has a pid. On success it is subscribed as before and
 * CONNECTING; `*ret_missed` is what it is to be sent before the reply, NULL nothing, else the
 * caller's reference. NULL: not recovered, whatever the reason (counted); then it is connected
 * anew. */
struct rt_sio_socket *rt_sio_recover(struct rt_sio_recovery *r, struct rt_sio_client *client,
                                     struct rt_str nsp, struct rt_str auth,
                                     struct rt_bytes **ret_missed);
/* Sessions are shared with other nodes, see remote.h: then resume.h is asked instead. */
bool rt_sio_recovery_shared(const struct rt_sio_recovery *r);
/* The channel is the id room of a session that waits: keeps the event for it, unless it was in a room that this leaves out. The data of `m` are items as in
 * rt_sio_outgoing. False: it is none. */
bool rt_sio_recovery_offline(struct rt_sio_recovery *r, struct rt_str channel,
                             const struct rt_message *m);

#endif
