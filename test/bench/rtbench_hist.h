/* Histogram of times with logarithmic buckets: 64 to each power of two, so a value is off by 1.6 % at most; 0 to 2^40 ns (18 min).
 * Fixed memory, no allocation, adding takes a few nanoseconds. */
#ifndef RT_BENCH_HIST_H
#define RT_BENCH_HIST_H

#include <stdint.h>

enum { RT_HIST_SUB = 64, RT_HIST_POWERS = 41, RT_HIST_BUCKETS = RT_HIST_SUB * RT_HIST_POWERS };

struct rt_hist {
    uint64_t count, max;
    double sum;
    uint64_t buckets[RT_HIST_BUCKETS];
};

void rt_hist_add(struct rt_hist *hist, uint64_t ns);
/* The least value (upper edge of its bucket, `max` at most) that `quantile` (0..1) of all do not exceed; 0 when empty. */
uint64_t rt_hist_quantile(const struct rt_hist *hist, double quantile);

#endif
