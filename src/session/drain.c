/* See drain.h. */
#include "session/drain.h"

#define STEP 10u /* ms between looks */

static void close_some(struct rt_timer *timer)
{
    struct rt_drain *d = RT_CONTAINER(timer, struct rt_drain, timer);
    uint64_t passed = rt_loop_now(d->loop) - d->began;
    size_t due = SIZE_MAX;
    if (d->total > 0 && passed < d->duration)
        due = (size_t)((double)d->total * (double)passed / (double)d->duration);
    bool left = true;
    while (left && d->closed < due) {
        left = d->close_one(d->arg);
        d->closed++;
    }
    if (left)
        rt_timer_start(d->loop, timer, STEP, close_some);
}

void rt_drain_start(struct rt_drain *drain, struct rt_loop *loop, size_t total, uint64_t duration,
                    bool (*close_one)(void *arg), void *arg)
{
    rt_drain_stop(drain);
    *drain = (struct rt_drain){.loop = loop,
                               .began = rt_loop_now(loop),
                               .duration = duration,
                               .total = total,
                               .close_one = close_one,
                               .arg = arg};
    rt_list_init(&drain->timer.link);
    rt_timer_start(loop, &drain->timer, 0, close_some);
}

void rt_drain_stop(struct rt_drain *drain)
{
    if (drain->loop)
        rt_timer_stop(drain->loop, &drain->timer);
}
