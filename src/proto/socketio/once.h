/* Copies of one message (RT_MESSAGE_COPY) among what a session has missed: the first is enough.
 *
 * Messages must outlive it. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_ONCE_H
#define RT_PROTO_SOCKETIO_ONCE_H

#include "base/map.h"
#include "hub/message.h"

struct rt_sio_once {
    struct rt_map seen; /* one message of each family */
};

void rt_sio_once_init(struct rt_sio_once *once);
void rt_sio_once_deinit(struct rt_sio_once *once);
/* Has a copy of it been asked for before? Without memory the answer is no. */
bool rt_sio_once_seen(struct rt_sio_once *once, const struct rt_message *message);

#endif
