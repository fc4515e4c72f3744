/* Namespaces that have sockets, and the encodings through which the hub writes messages for them.
 *
 * Namespaces come and go with their sockets, but the hub may hold on to an encoding as long as it
 * lives: one that nobody uses any more keeps its memory and is given to the next namespace that
 * comes up. So their number is bounded by the most that were ever in use at once. Thread: the
 * loop. */
#ifndef RT_PROTO_SOCKETIO_NSP_H
#define RT_PROTO_SOCKETIO_NSP_H

#include "proto/socketio/internal.h"

/* Finds or makes it and takes a reference. NULL: out of memory. */
struct rt_sio_nsp *rt_sio_nsp_get(struct rt_socketio *s, struct rt_str name);
void rt_sio_nsp_ref(struct rt_sio_nsp *nsp);
void rt_sio_nsp_unref(struct rt_sio_nsp *nsp);
/* At the end, when no namespace is in use: frees the spare ones. The hub must not publish any
 * more. */
void rt_sio_nsp_free_all(struct rt_socketio *s);

/* The channel of a room, written to `out` (cleared before): of namespace "/n" "/n#room", of "/" the
 * room's name, or "/#room" where that is empty or begins with "/" as the channels of namespaces
 * do. */
struct rt_str rt_sio_channel_of(const struct rt_sio_nsp *nsp, struct rt_str room,
                                struct rt_buf *out);
/* Can somebody be in a room of this name? Not with control characters: no channel has them. */
bool rt_sio_room_can_be(struct rt_str room);
/* The room whose channel it is; none when it is the namespace's own channel or not of this
 * namespace. */
struct rt_str rt_sio_room_of(const struct rt_sio_nsp *nsp, struct rt_str channel);

/* Namespace and room of a channel of Socket.IO. */
void rt_sio_split_channel(struct rt_str channel, struct rt_str *ret_nsp, struct rt_str *ret_room);
/* Splits the channel of a room that has the form of a socket id into namespace and id. False: it
 * has not. */
bool rt_sio_split_id(struct rt_str channel, struct rt_str *ret_nsp, struct rt_str *ret_id);

#endif
