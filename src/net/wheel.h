/* A hierarchical timer wheel: eleven levels of 64 slots, the lowest of one millisecond, a bitmap
 * per level.
 *
 * A timer lies in the level of the highest six-bit digit in which its deadline differs from the
 * wheel's present, so its slot always lies ahead and the lowest slot of the lowest level in use
 * comes next. When the time of a slot of a higher level comes, its timers move down. Start and
 * stop take constant time, a timer moves at most ten times, and the wheel is exact: nothing fires
 * early, and nothing later than the caller advances it. Knows no clock and no libuv: time is
 * passed in. Internal to net/. Thread: the loop. */
#ifndef RT_NET_WHEEL_H
#define RT_NET_WHEEL_H

#include "net/loop.h"

#define RT_WHEEL_LEVELS 11
#define RT_WHEEL_SLOTS  64
#define RT_WHEEL_NEVER  UINT64_MAX

struct rt_wheel {
    uint64_t now; /* everything up to here has fired */
    size_t count;
    uint64_t used[RT_WHEEL_LEVELS]; /* bit s: slots[level][s] is not empty */
    struct rt_list due;             /* fire at the next advance, whatever the time */
    struct rt_list slots[RT_WHEEL_LEVELS][RT_WHEEL_SLOTS];
};

void rt_wheel_init(struct rt_wheel *w, uint64_t now);
/* `timer->expires` and `timer->fn` are set; the timer is not active. */
void rt_wheel_add(struct rt_wheel *w, struct rt_timer *timer);
/* Idempotent. */
void rt_wheel_remove(struct rt_wheel *w, struct rt_timer *timer);
/* When rt_wheel_advance() has something to do: not later than the earliest deadline,
 * RT_WHEEL_NEVER without timers. */
uint64_t rt_wheel_next(const struct rt_wheel *w);
/* Fires what expires up to `now`, in the order of deadlines. A callback may add and remove any
 * timer; what it adds with a deadline that has passed fires in the next advance. */
void rt_wheel_advance(struct rt_wheel *w, uint64_t now);

#endif
