/* VALUE and TEXT of docs/events.md: compiled at start from the configuration's nodes to a flat
 * program, evaluated into a buffer.
 *
 * A VALUE yields one JSON value, a TEXT yields text. Raw JSON (arguments, auth) is copied byte for
 * byte but for white space between tokens, so numbers stay what they were. Binary arguments stay
 * binary in a VALUE: their placeholders are numbered anew and the attachments collected in an
 * `rt_sio_output`; inside a text they are `null`. What looks like a placeholder but is none (in
 * auth, in arguments without attachments) becomes `null` in an output that has attachments, so that
 * a client cannot make others read attachments that are not there.
 *
 * Evaluation allocates nothing but room in `out` and in the scratch buffer of the values; out of
 * memory shows in rt_buf_ok(out). Ownership: templates live in the arena of the compiler. Thread:
 * the loop. */
#ifndef RT_PROTO_SOCKETIO_TEMPLATE_H
#define RT_PROTO_SOCKETIO_TEMPLATE_H

#include "proto/socketio/vars.h"

struct rt_sio_template;

/* NULL: an error was recorded, or out of memory. */
const struct rt_sio_template *rt_sio_value_compile(struct rt_sio_compile *c,
                                                   const struct rt_node *node);
const struct rt_sio_template *rt_sio_text_compile(struct rt_sio_compile *c,
                                                  const struct rt_node *node);

/* Attachments of what is being put together, over several templates (the arguments of an event). */
struct rt_sio_output {
    bool binary;   /* there may be attachments: placeholders are looked at */
    bool overflow; /* there were more than RT_MAX_ATTACHMENTS: what was written lacks some */
    uint8_t count;
    uint8_t number_of[RT_MAX_ATTACHMENTS]; /* attachment of the values -> its number here + 1 */
    struct rt_str list[RT_MAX_ATTACHMENTS];
};
/* `binary`: one of the templates has binary constants, or the values have attachments. */
void rt_sio_output_init(struct rt_sio_output *output, bool binary);

/* `output` NULL: binary values become null. */
void rt_sio_template_eval(const struct rt_sio_template *t, struct rt_sio_values *v,
                          struct rt_sio_output *output, struct rt_buf *out);
/* Appends a JSON value of the arguments (`is_arg`) or of another origin as a VALUE does. */
void rt_sio_output_add(struct rt_sio_output *output, struct rt_sio_values *v, bool is_arg,
                       struct rt_str value, struct rt_buf *out);
/* Does it have binary constants? */
bool rt_sio_template_binary(const struct rt_sio_template *t);
/* The result when it is always the same. */
bool rt_sio_template_constant(const struct rt_sio_template *t, struct rt_str *ret_result);

/* A value to be looked at rather than sent. */
struct rt_sio_operand {
    struct rt_str json; /* "null" when missing */
    bool missing;
    bool binary;         /* a binary argument: `json` is its placeholder */
    struct rt_str bytes; /* then: the attachment */
};
/* `t` is a VALUE; `buf` is overwritten where the value has to be made. RT_ENOMEM. */
int rt_sio_template_operand(const struct rt_sio_template *t, struct rt_sio_values *v,
                            struct rt_buf *buf, struct rt_sio_operand *ret_operand);
/* The same of a TEXT that is one variable: lets an array stand for several texts. False when it is
 * something else. */
bool rt_sio_template_variable(const struct rt_sio_template *t, struct rt_sio_values *v,
                              struct rt_buf *buf, struct rt_str *ret_json);

#endif
