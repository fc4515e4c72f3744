/* Counters, gauges and histograms, and their Prometheus text (exposition format 0.0.4).
 *
 * A module embeds its `struct rt_metric`s by value, fills name, help and labels, and registers
 * them once; the registry keeps pointers. Several metrics of one name (different labels) form
 * one family: HELP and TYPE are written once, whatever the order of registration. Names lack the
 * prefix "rtbroker_", which the writer adds; counters end in _total, units are base units
 * (seconds, bytes). Labels come from code or configuration only, never from peers: `labels` is
 * the inside of the braces, e.g. `reason="slow"`, already escaped. Thread: the loop. Workers
 * report through mailboxes. */
#ifndef RT_BASE_METRICS_H
#define RT_BASE_METRICS_H

#include "base/buf.h"

enum rt_metric_type { RT_COUNTER, RT_GAUGE, RT_HISTOGRAM };

#define RT_HISTOGRAM_BUCKETS 12

struct rt_metric {
    const char *name;
    const char *help;
    const char *labels; /* NULL: none */
    enum rt_metric_type type;
    uint64_t value;            /* counter; gauge without `read` */
    double (*read)(void *arg); /* gauge or counter computed when scraped; NULL: `value` */
    void *arg;
    /* histogram: upper bounds rising, in the unit of the name; counts are per bucket, the last
     * (+Inf) in overflow */
    const double *bounds;
    uint32_t bound_count; /* <= RT_HISTOGRAM_BUCKETS */
    uint64_t buckets[RT_HISTOGRAM_BUCKETS + 1];
    double sum;
    struct rt_metric *next;
};

struct rt_metrics {
    struct rt_metric *first;
};

void rt_metrics_init(struct rt_metrics *m);
void rt_metrics_register(struct rt_metrics *m, struct rt_metric *metric);
void rt_metrics_observe(struct rt_metric *histogram, double value);
/* All families, sorted by name. */
void rt_metrics_write(const struct rt_metrics *m, struct rt_buf *out);

#endif
