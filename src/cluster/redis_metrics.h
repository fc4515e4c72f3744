/* What the Redis link counts. Thread: the loop. */
#ifndef RT_CLUSTER_REDIS_METRICS_H
#define RT_CLUSTER_REDIS_METRICS_H

#include <stddef.h>

#include "base/metrics.h"

struct rt_redis_metrics {
    struct rt_metric up, reconnects, published, received, dropped, unanswered, foreign_beats;
    struct rt_metric output, rtt;
};

/* `output`: bytes without an answer, read when asked. `registry` NULL: counted only. */
void rt_redis_metrics_init(struct rt_redis_metrics *m, const size_t *output,
                           struct rt_metrics *registry);

#endif
