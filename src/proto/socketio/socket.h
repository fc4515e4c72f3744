/* A client in one namespace: what it has joined, what is sent to it.
 *
 * A socket is CONNECTING while the rules of on_connect run (what would be sent is held, so that the
 * reply comes first), then CONNECTED, then DEAD: out of every list, but its memory stays until the
 * last reference is gone, so that a run of rules may disconnect its own socket. Everything sent
 * directly follows what was published before: the hub catches up first. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_SOCKET_H
#define RT_PROTO_SOCKETIO_SOCKET_H

#include "proto/socketio/internal.h"

/* A new socket, CONNECTING, in the namespace's encoding but in no channel yet; takes over the
 * reference to `nsp` when it succeeds. `sid` NULL: a new id. `id` 0: a new subscriber id, else that
 * of the session that comes back. NULL: out of memory. */
struct rt_sio_socket *rt_sio_socket_new(struct rt_sio_client *client, struct rt_sio_nsp *nsp,
                                        const char *sid, uint64_t id);
/* Leaves everything. With `recoverable` its track is kept for a later recovery. Idempotent. */
void rt_sio_socket_destroy(struct rt_sio_socket *socket, bool recoverable);
static inline void rt_sio_socket_ref(struct rt_sio_socket *socket)
{
    socket->refs++;
}
void rt_sio_socket_unref(struct rt_sio_socket *socket);

struct rt_socketio *rt_sio_socket_endpoint(const struct rt_sio_socket *socket);
/* Its id, with a NUL behind it. That of an old client is what the client makes of its connection's:
 * "[<namespace>#]<Engine.IO's session id>". */
static inline struct rt_str rt_sio_socket_sid(const struct rt_sio_socket *socket)
{
    return socket->is_old ? rt_str_c((const char *)(socket + 1))
                          : rt_str_of(socket->sid, RT_ID_LEN);
}
/* The socket of this id room: a connected socket's own id is a room that only it is in, until it
 * leaves it. NULL: the channel is none. */
struct rt_sio_socket *rt_sio_socket_of_channel(struct rt_socketio *s, struct rt_str channel);
/* The event to this socket alone, unless it is in a room that this leaves out. The data are items as in rt_sio_outgoing. */
void rt_sio_socket_send_message(struct rt_sio_socket *socket, const struct rt_message *m);
/* Is it in a room that the message leaves out? */
bool rt_sio_socket_is_excepted(const struct rt_sio_socket *socket, const struct rt_message *m);

/* One packet to this socket. */
struct rt_sio_outgoing {
    enum rt_sio_type type; /* EVENT or ACK */
    struct rt_str event;   /* EVENT: its name as text */
    struct rt_str items;   /* arguments as JSON, separated by commas; may be empty */
    struct rt_str id;      /* ack id; none */
    const struct rt_str *attachments;
    size_t attachment_count;
    bool is_volatile; /* dropped when the client cannot take it now */
};
/* 0 also for a dropped volatile one; RT_ECLOSED, RT_ENOMEM (the connection is being closed). */
int rt_sio_socket_send(struct rt_sio_socket *socket, const struct rt_sio_outgoing *o);
/* A packet without event or acknowledgement: `0{..}`, `4{..}`, `1`. Never held. */
void rt_sio_client_send(struct rt_sio_client *client, enum rt_sio_type type, struct rt_str nsp,
                        struct rt_str json);
/* Closes the connection without a DISCONNECT, behind everything that was published and sent: the
 * client takes it for a lost one and comes back. What it still sends is ignored. */
void rt_sio_client_close(struct rt_sio_client *client, enum rt_eio_reason reason);
/* A CONNECT_ERROR; old clients get the error's `data`, or else its `message`, alone. */
void rt_sio_client_send_error(struct rt_sio_client *client, struct rt_str nsp, struct rt_str json);
/* Connected: sends the reply and what was held. */
int rt_sio_socket_open(struct rt_sio_socket *socket);
/* Sends `41` and leaves the namespace; `close`: all namespaces, then the connection. The client
 * does not come back by itself. */
void rt_sio_socket_disconnect(struct rt_sio_socket *socket, bool close);

/* Rooms. Codes and text as rt_broker_subscribe(); being in it already is fine, and so is leaving
 * what it is not in. Its own id is one of them; leaving all keeps it. */
int rt_sio_socket_join(struct rt_sio_socket *socket, struct rt_str room, struct rt_err *err);
void rt_sio_socket_leave(struct rt_sio_socket *socket, struct rt_str room);
void rt_sio_socket_leave_all(struct rt_sio_socket *socket);
/* JSON array of its rooms, its own id first, unless it has left that. */
void rt_sio_socket_rooms(struct rt_sio_socket *socket, struct rt_buf *out);
/* Any text is the name of a room, the empty one too; RT_EINVAL: there is none (RT_STR_NONE), since
 * what it was to be made of is missing. */
int rt_sio_room_check(struct rt_str room, struct rt_err *err);

/* The session has moved from polling to WebSocket: all its sockets change their encoding. */
void rt_sio_client_convert(struct rt_sio_client *client, enum rt_eio_transport transport);

#endif
