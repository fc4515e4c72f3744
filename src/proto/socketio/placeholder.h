/* Placeholders of binary data in the JSON of Socket.IO packets of types 5 and 6:
 * {"_placeholder":true,"num":N}, anywhere in the arguments; attachment N takes its place. Source:
 * the Socket.IO protocol v5, section "Packet encoding".
 *
 * A decoder of the reference takes *any* object with `_placeholder: true` for one, whatever else is
 * in it, and drops the connection when its number is out of range. So packets of clients are brought
 * into the one shape above (rt_sio_placeholder_normalise), and no other may reach a client: where
 * it is looked for afterwards, every other shape is an error. Pure; all text must have passed
 * rt_json_check(). One pass, no recursion. Thread: any. */
#ifndef RT_PROTO_SOCKETIO_PLACEHOLDER_H
#define RT_PROTO_SOCKETIO_PLACEHOLDER_H

#include "base/buf.h"

struct rt_sio_placeholder {
    size_t start, end; /* bytes of the object within the text */
    uint32_t num;
};

/* Finds the next placeholder at or behind `*pos`, and moves `*pos` behind it. 1 found, 0 no more,
 * RT_EINVAL: an object with `_placeholder: true` that is not exactly that member and `num`, a plain
 * number below 65,536. */
int rt_sio_placeholder_next(struct rt_str text, size_t *pos, struct rt_sio_placeholder *ret_found);
/* Is this value a placeholder, and of which attachment? */
bool rt_sio_placeholder_is(struct rt_str value, uint32_t *ret_num);
void rt_sio_placeholder_add(struct rt_buf *out, uint32_t num);
/* Every object with `_placeholder: true` that is not inside another one has a `num`, a plain number
 * below `count`: 0 or RT_EINVAL. Of equal keys the last counts, as in JSON.parse(). */
int rt_sio_placeholder_check(struct rt_str text, uint32_t count);
/* Writes all of them in the one shape, with white space in place of what goes: the length stays.
 * The text has passed rt_sio_placeholder_check() with this `count`, at most RT_MAX_ATTACHMENTS. */
void rt_sio_placeholder_normalise(char *text, size_t len, uint32_t count);
/* Puts `null` in place of every placeholder of the text from `start` to the end of `out` (the whole
 * text becomes `null` when one is malformed). */
void rt_sio_placeholder_remove(struct rt_buf *out, size_t start);

#endif
