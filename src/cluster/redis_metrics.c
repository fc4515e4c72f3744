#include "cluster/redis_metrics.h"

static double read_output(void *arg)
{
    return (double)*(const size_t *)arg;
}

static void add(struct rt_metrics *registry, struct rt_metric *m, const char *name,
                const char *help, enum rt_metric_type type)
{
    *m = (struct rt_metric){.name = name, .help = help, .type = type};
    if (registry)
        rt_metrics_register(registry, m);
}

void rt_redis_metrics_init(struct rt_redis_metrics *m, const size_t *output,
                           struct rt_metrics *registry)
{
    static const double bounds[] = {0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3};
    add(registry, &m->up, "redis_up", "Heartbeats come back through Redis.", RT_GAUGE);
    add(registry, &m->reconnects, "redis_reconnects_total", "Attempts after a failure.",
        RT_COUNTER);
    add(registry, &m->published, "redis_published_total", "Messages handed to Redis.", RT_COUNTER);
    add(registry, &m->received, "redis_received_total", "Messages from Redis.", RT_COUNTER);
    add(registry, &m->dropped, "redis_dropped_total",
        "Messages not handed over: the link was down or full.", RT_COUNTER);
    add(registry, &m->unanswered, "redis_unanswered_total",
        "Messages handed over without an answer when the link went: they may be lost.", RT_COUNTER);
    add(registry, &m->foreign_beats, "redis_foreign_beats_total",
        "Heartbeats on this node's channel that it has not sent: somebody else writes to it.",
        RT_COUNTER);
    add(registry, &m->output, "redis_output_bytes", "Commands without an answer.", RT_GAUGE);
    m->output.read = read_output;
    m->output.arg = (void *)(uintptr_t)output;
    add(registry, &m->rtt, "redis_heartbeat_seconds",
        "Time of a heartbeat through both connections.", RT_HISTOGRAM);
    m->rtt.bounds = bounds;
    m->rtt.bound_count = sizeof(bounds) / sizeof(bounds[0]);
}
