/* Runs the actions of rules for one socket: an event, a client that connects, the answer to an
 * `emit` or its absence.
 *
 * A run is synchronous but for what publishes wait for (the reply object lives on, see reply.h).
 * Out of memory within an action counts as "not stored" for a publish and closes the connection
 * where the client would miss something. Runs do not nest and share the endpoint's buffers. Thread:
 * the loop. */
#ifndef RT_PROTO_SOCKETIO_RUN_H
#define RT_PROTO_SOCKETIO_RUN_H

#include "proto/socketio/internal.h"

/* An event of the client. The socket may be gone afterwards. */
void rt_sio_run_event(struct rt_sio_socket *socket, const struct rt_sio_packet *packet,
                      const struct rt_str *attachments);
/* An answer of the client to one of our events; unknown ids are ignored. The socket may be gone
 * afterwards. */
void rt_sio_run_answer(struct rt_sio_socket *socket, const struct rt_sio_packet *packet,
                       const struct rt_str *attachments);

/* What on_connect decided. */
enum rt_sio_verdict {
    RT_SIO_WELCOME,
    RT_SIO_REFUSED,
    RT_SIO_SEND_AWAY,
    RT_SIO_SEND_AWAY_WHOLLY,
    RT_SIO_CLOSE
};
/* The socket is CONNECTING and in its namespace's channel; `recovered`: and where it was before. RT_SIO_REFUSED: `ret_json` is the
 * payload of the CONNECT_ERROR, in a buffer of the endpoint; the SEND_AWAY ones are to be carried
 * out by rt_sio_socket_disconnect() after the reply, RT_SIO_CLOSE by rt_sio_client_close(). RT_ENOMEM. */
int rt_sio_run_connect(struct rt_sio_socket *socket, bool recovered,
                       enum rt_sio_verdict *ret_verdict, struct rt_str *ret_json);

#endif
