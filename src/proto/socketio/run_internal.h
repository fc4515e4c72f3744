/* One run of a rule's actions: what run.c and publish.c share. Only for those two. The run lives on
 * the stack of whoever starts it and does not outlive the call. */
#ifndef RT_PROTO_SOCKETIO_RUN_INTERNAL_H
#define RT_PROTO_SOCKETIO_RUN_INTERNAL_H

#include "proto/socketio/arguments.h"
#include "proto/socketio/reply.h"
#include "proto/socketio/run.h"

struct rt_sio_run {
    struct rt_socketio *s;
    struct rt_sio_socket *socket;
    struct rt_sio_values values;
    struct rt_sio_reply *reply; /* the answer that the event wants; NULL: none */
    bool connecting;
    bool closes;                 /* the connection, when the run is over */
    int status;                  /* connecting: RT_ENOMEM, or a join that was refused */
    enum rt_sio_verdict verdict; /* connecting */
};

/* Nothing of the action was done, and this is why. */
void rt_sio_run_failed(struct rt_sio_run *run, enum rt_publish_status status, const char *text);
/* The same, for a reason of its own. */
void rt_sio_run_refused(struct rt_sio_run *run, enum rt_refusal why, enum rt_publish_status status,
                        const char *text);
/* The same for arguments with more attachments than a message can have. */
void rt_sio_run_too_many(struct rt_sio_run *run);
/* The name that an event gets, in a buffer of the endpoint. False: none that may be sent (counted,
 * told to the reply). */
bool rt_sio_run_event_name(struct rt_sio_run *run, const struct rt_sio_template *event,
                           struct rt_str *ret_name);
/* Calls `each` for the names: texts, or the items of a variable that is an array. A text that comes out empty, since a value is
 * missing, is RT_STR_NONE. Stops at a code
 * other than 0, which it returns. RT_ENOMEM. */
int rt_sio_run_names(struct rt_sio_run *run, const struct rt_sio_names *names,
                     int (*each)(struct rt_sio_run *run, struct rt_str name, void *arg), void *arg);

void rt_sio_run_publish(struct rt_sio_run *run, const struct rt_sio_publish *p);
/* The incoming event, as it is, to the namespace's own channel. */
void rt_sio_run_forward(struct rt_sio_run *run);

#endif
