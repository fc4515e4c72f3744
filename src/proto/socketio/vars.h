/* Variables of templates and conditions: `$NAME` and `$NAME.path`. The table of names is
 * docs/events.md.
 *
 * There are three kinds: raw ones are slices of JSON that is there already (arguments, auth), text
 * ones are plain text (ids, names, times), built ones are JSON that is written on demand (the
 * handshake, rooms). What is raw is copied byte for byte. Thread: compiling at start, evaluation on
 * the loop. */
#ifndef RT_PROTO_SOCKETIO_VARS_H
#define RT_PROTO_SOCKETIO_VARS_H

#include "journal/journal.h"
#include "proto/socketio/compile.h"
#include "proto/socketio/engine.h"

enum rt_sio_var {
    RT_SIO_VAR_ARGS, /* path: first the index */
    RT_SIO_VAR_ARG,  /* $1 .. $9 */
    RT_SIO_VAR_AUTH,
    RT_SIO_VAR_EVENT,
    RT_SIO_VAR_NAMESPACE,
    RT_SIO_VAR_SID,
    RT_SIO_VAR_ADDRESS,
    RT_SIO_VAR_USER,
    RT_SIO_VAR_NOW,
    RT_SIO_VAR_NOW_MS,
    RT_SIO_VAR_UUID,
    RT_SIO_VAR_EPOCH,
    RT_SIO_VAR_OFFSET,
    RT_SIO_VAR_QUERY,
    RT_SIO_VAR_HEADERS,
    RT_SIO_VAR_HANDSHAKE,
    RT_SIO_VAR_ROOMS,
    RT_SIO_VAR_RECOVERED,
};

/* A use of a variable, compiled. */
struct rt_sio_ref {
    enum rt_sio_var var;
    uint32_t index;     /* $1: 0 */
    struct rt_str path; /* without the first dot; query and headers: the whole name */
};

/* What the variables are during one run of a rule. The caller fills it in; slices live through the
 * run. */
struct rt_sio_values {
    struct rt_str event;
    struct rt_str array; /* JSON array with the arguments behind `skip` items; none: no arguments */
    uint32_t skip;
    const struct rt_str *attachments; /* of the arguments */
    uint8_t attachment_count;
    struct rt_str nsp, sid, user, auth;        /* auth: JSON; none: {} */
    const struct rt_eio_handshake *handshake;  /* NULL: nothing known */
    void (*rooms)(void *arg, struct rt_buf *); /* appends a JSON array; NULL: [] */
    void *rooms_arg;
    bool recovered;    /* the session has come back, just now */
    bool has_position; /* of the last publish */
    struct rt_position position;
    struct rt_buf *scratch; /* overwritten by evaluations */
    /* made at first use, the same within the run */
    uint64_t now;
    bool has_uuid;
    char uuid[37];
};

/* Compiles what stands behind the `$`: "1.text", "auth.user.name". Unknown names, and names that
 * the scope does not have, are errors at `mark`. */
bool rt_sio_ref_compile(struct rt_sio_compile *c, const struct rt_mark *mark, struct rt_str text,
                        struct rt_sio_ref *ret_ref);

/* May this character stand in a variable's name? */
bool rt_sio_ref_char(char c);
/* Does `text` begin with the whole name of a variable ("1", "user", "user.x", "1:a"; not "50", "username")? */
bool rt_sio_ref_begins(struct rt_str text);

enum rt_sio_var_kind { RT_SIO_RAW, RT_SIO_TEXT, RT_SIO_BUILT };
enum rt_sio_var_kind rt_sio_ref_kind(const struct rt_sio_ref *ref);
/* Raw ones: the value, none when missing. */
struct rt_str rt_sio_ref_raw(const struct rt_sio_ref *ref, const struct rt_sio_values *v);
/* Text ones: appends it; false when missing. */
bool rt_sio_ref_text(const struct rt_sio_ref *ref, struct rt_sio_values *v, struct rt_buf *out);
/* Built ones: appends JSON; false when missing. */
bool rt_sio_ref_build(const struct rt_sio_ref *ref, struct rt_sio_values *v, struct rt_buf *out);
/* Is it one of the arguments, so that placeholders in it are binary data? */
bool rt_sio_ref_is_arg(const struct rt_sio_ref *ref);

#endif
