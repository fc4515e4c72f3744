/* The arguments of one outgoing event or answer, evaluated: from the templates of an action, or
 * taken over from what came in.
 *
 * What came in is not copied. Slices live until the buffer given is used again, or as long as the
 * incoming packet. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_ARGUMENTS_H
#define RT_PROTO_SOCKETIO_ARGUMENTS_H

#include "proto/socketio/action.h"

struct rt_sio_arguments {
    struct rt_str items; /* JSON values separated by commas; empty: no arguments */
    bool single;         /* exactly one */
    const struct rt_str *attachments;
    uint8_t attachment_count;
    struct rt_sio_output output; /* internal: where the attachments are listed */
};

/* `buf` is overwritten. RT_ENOMEM; RT_ERANGE: more than RT_MAX_ATTACHMENTS come together. */
int rt_sio_arguments_eval(const struct rt_sio_args *args, struct rt_sio_values *v,
                          struct rt_buf *buf, struct rt_sio_arguments *ret);
/* Kind, flags, data and attachments of a message with these arguments: one binary argument is a
 * message of bytes, any other single one its JSON, several an array. `buf` takes the array; it may
 * be the one that they were evaluated into. RT_ENOMEM. */
int rt_sio_arguments_message(const struct rt_sio_arguments *a, struct rt_buf *buf,
                             struct rt_message *message);

#endif
