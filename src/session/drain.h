/* Closing many clients evenly over a time, so that they do not all come back at once. Embed by value; zero-initialised.
 * Thread: the loop. */
#ifndef RT_SESSION_DRAIN_H
#define RT_SESSION_DRAIN_H

#include <stddef.h>

#include "net/loop.h"

struct rt_drain {
    struct rt_timer timer;
    struct rt_loop *loop;
    uint64_t began, duration; /* loop time, ms */
    size_t total, closed;
    /* Closes one client; false when none is left. */
    bool (*close_one)(void *arg);
    void *arg;
};

/* Begins with the next turn, and closes `total` clients within `duration` ms, and whoever is left then. May be called again, to
 * hurry. */
void rt_drain_start(struct rt_drain *drain, struct rt_loop *loop, size_t total, uint64_t duration,
                    bool (*close_one)(void *arg), void *arg);
void rt_drain_stop(struct rt_drain *drain); /* idempotent; also for one that never started */

#endif
