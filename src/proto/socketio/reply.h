/* The answer that is owed to one event with an acknowledgement id: sent once, by an `ack` action or
 * automatically when everything that the event set off is done.
 *
 * A reply lives as long as somebody may still contribute: the run of the rule, each publish whose
 * fate is open, each client's answer that is awaited. The last one to let go sends the automatic
 * answer. When the socket goes first, nothing is sent. The automatic answer: [] without a publish;
 * the result of the last publish (in order of the actions) when all went well, else the first that
 * did not. The answer of an `ack` action waits for the publishes before it, and gives way to the
 * automatic one when one of them failed. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_REPLY_H
#define RT_PROTO_SOCKETIO_REPLY_H

#include "proto/socketio/internal.h"

struct rt_sio_reply;

/* One reference, the caller's. `id` of at most RT_SIO_ID_MAX digits. NULL: out of memory. */
struct rt_sio_reply *rt_sio_reply_new(struct rt_sio_socket *socket, struct rt_str id,
                                      bool automatic);
void rt_sio_reply_ref(struct rt_sio_reply *reply);
/* NULL is fine. */
void rt_sio_reply_unref(struct rt_sio_reply *reply);
/* The answer of an `ack` action: sent now, or, copied, when the last of the publishes announced so
 * far is done. Nothing when there was one, or it was suppressed. RT_ENOMEM: it cannot be kept. */
int rt_sio_reply_answer(struct rt_sio_reply *reply, struct rt_str items,
                        const struct rt_str *attachments, uint8_t attachment_count);
/* No automatic answer, and no later one of an action. */
void rt_sio_reply_suppress(struct rt_sio_reply *reply);

/* A publish of the event: to be announced before it is made, so that results are told apart. NULL:
 * out of memory. */
struct rt_sio_outcome;
struct rt_sio_outcome *rt_sio_reply_expect(struct rt_sio_reply *reply);
/* Its result, once; frees the outcome and gives back its reference to the reply. Fits
 * rt_publish.done. */
void rt_sio_outcome_done(void *outcome, const struct rt_publish_result *result);
/* Something else that was refused, such as a join: counts as a publish that failed. */
void rt_sio_reply_fail(struct rt_sio_reply *reply, enum rt_publish_status status, const char *text);

/* The socket is gone: no reply of it will be sent. */
void rt_sio_replies_drop(struct rt_sio_socket *socket);

#endif
