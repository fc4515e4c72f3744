#include "store/sink_status.h"

#include <stdio.h>

static const double bounds[] = {.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5};

struct rt_metric rt_sink_flush_metric(void)
{
    return (struct rt_metric){.name = "sink_flush_seconds",
                              .help = "Time of one transaction of the sink, as it sees it.",
                              .type = RT_HISTOGRAM,
                              .bounds = bounds,
                              .bound_count = sizeof(bounds) / sizeof(bounds[0])};
}

void rt_sink_flush_add(struct rt_metric *to, const struct rt_metric *from)
{
    to->sum += from->sum;
    for (uint32_t i = 0; i <= from->bound_count; i++)
        to->buckets[i] += from->buckets[i];
}

int rt_sink_status_init(struct rt_sink_status *s, void (*wake)(void *arg), void *wake_arg)
{
    if (pthread_mutex_init(&s->lock, NULL))
        return -1;
    s->notice =
        (struct rt_sink_notice){.flush = rt_sink_flush_metric(), .text = "not connected yet"};
    s->pinned = false;
    s->wake = wake;
    s->wake_arg = wake_arg;
    return 0;
}

void rt_sink_status_deinit(struct rt_sink_status *s)
{
    pthread_mutex_destroy(&s->lock);
}

/* The wake comes under the lock: as soon as the loop has seen the end it joins the thread and closes the waker. */
static void pin_and_unlock(struct rt_sink_status *s)
{
    if (!s->pinned)
        s->wake(s->wake_arg);
    s->pinned = true;
    pthread_mutex_unlock(&s->lock);
}

void rt_sink_status_health(struct rt_sink_status *s, bool up, const char *text)
{
    pthread_mutex_lock(&s->lock);
    s->notice.up = up;
    snprintf(s->notice.text, sizeof(s->notice.text), "%s", text);
    pin_and_unlock(s);
}

void rt_sink_status_figures(struct rt_sink_status *s, const struct rt_sink_figures *figures)
{
    pthread_mutex_lock(&s->lock);
    s->notice.figures = *figures;
    pin_and_unlock(s);
}

void rt_sink_status_flush(struct rt_sink_status *s, double seconds)
{
    pthread_mutex_lock(&s->lock);
    rt_metrics_observe(&s->notice.flush, seconds);
    pthread_mutex_unlock(&s->lock);
}

void rt_sink_status_ended(struct rt_sink_status *s)
{
    pthread_mutex_lock(&s->lock);
    s->notice.ended = true;
    s->notice.up = false;
    pin_and_unlock(s);
}

void rt_sink_status_take(struct rt_sink_status *s, struct rt_sink_notice *ret_notice)
{
    pthread_mutex_lock(&s->lock);
    *ret_notice = s->notice;
    s->notice.flush = rt_sink_flush_metric();
    s->pinned = false;
    pthread_mutex_unlock(&s->lock);
}
