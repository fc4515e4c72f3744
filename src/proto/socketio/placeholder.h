/* Placeholders of binary data in the JSON of Socket.IO packets of types 5 and 6:
 * {"_placeholder":true,"num":N}, anywhere in the arguments; attachment N takes its place. Source:
 * the Socket.IO protocol v5, section "Packet encoding".
 *
 * A decoder of the reference takes *any* object with `_placeholder: true` for one, and drops the
 * connection when its number is out of range. So no such object may reach a client that we did not
 * number ourselves: every other shape of it is an error here. Pure; all text must have passed
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
/* All placeholders are well-formed and below `count`: 0 or RT_EINVAL. */
int rt_sio_placeholder_check(struct rt_str text, uint32_t count);
/* Puts `null` in place of every placeholder of the text from `start` to the end of `out` (the whole
 * text becomes `null` when one is malformed). */
void rt_sio_placeholder_remove(struct rt_buf *out, size_t start);

#endif
