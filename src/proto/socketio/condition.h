/* Conditions of docs/events.md: `if: {value: VALUE, equals: VALUE}` and the like, compiled at
 * start.
 *
 * Several tests in one map must all hold, and so must the items of a list. A missing value is
 * undefined, and equal to null. Strings are compared by their characters, numbers by their value,
 * objects and arrays by their compact JSON text. Lengths are counted as JavaScript does (UTF-16
 * units); of binary data in bytes. Ownership: the arena of the compiler. Thread: compiling at
 * start, evaluation on the loop. */
#ifndef RT_PROTO_SOCKETIO_CONDITION_H
#define RT_PROTO_SOCKETIO_CONDITION_H

#include "proto/socketio/template.h"

struct rt_sio_condition;

/* NULL: an error was recorded, or out of memory. */
const struct rt_sio_condition *rt_sio_condition_compile(struct rt_sio_compile *c,
                                                        const struct rt_node *node);
/* `a` and `b` are overwritten. 1 holds, 0 does not, RT_ENOMEM. `condition` NULL holds. */
int rt_sio_condition_holds(const struct rt_sio_condition *condition, struct rt_sio_values *v,
                           struct rt_buf *a, struct rt_buf *b);

#endif
