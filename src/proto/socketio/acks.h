/* Answers that clients owe us: events emitted with an acknowledgement id (`emit` with `ack`), and
 * the actions that follow the answer or its absence.
 *
 * Ids are given per socket and stay below 2^31, since some clients read them as 32-bit numbers.
 * What is still open when the socket goes is forgotten. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_ACKS_H
#define RT_PROTO_SOCKETIO_ACKS_H

#include "proto/socketio/reply.h"

struct rt_sio_ack {
    struct rt_list link; /* in socket->acks, oldest first */
    struct rt_timer timer;
    struct rt_sio_socket *socket;
    const struct rt_sio_emit *emit;
    void (*timed_out)(struct rt_sio_ack *ack);
    struct rt_sio_reply *reply; /* of the event that led here: waits for us; NULL none */
    uint32_t id;
};

/* Awaits an answer; `timed_out` is called with it when none comes in time, and frees it by
 * rt_sio_ack_free(). Takes its own reference to the reply. RT_ENOMEM; RT_ERANGE: the socket owes
 * as many as it may. */
int rt_sio_ack_new(struct rt_sio_socket *socket, const struct rt_sio_emit *emit,
                   struct rt_sio_reply *reply, void (*timed_out)(struct rt_sio_ack *ack),
                   struct rt_sio_ack **ret_ack);
/* The one that this answer is for, no longer awaited; NULL: unknown. The caller frees it. */
struct rt_sio_ack *rt_sio_ack_take(struct rt_sio_socket *socket, struct rt_str id);
void rt_sio_ack_free(struct rt_sio_ack *ack);
void rt_sio_acks_drop(struct rt_sio_socket *socket);

#endif
