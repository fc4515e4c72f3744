#include "rtbench_hist.h"

/* Values under 64 have a bucket each; above, the six bits after the leading one choose. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < RT_HIST_SUB)
        return (uint32_t)ns;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(ns) - 6;
    uint32_t bucket = (shift + 1) * RT_HIST_SUB + ((uint32_t)(ns >> shift) - RT_HIST_SUB);
    return bucket < RT_HIST_BUCKETS ? bucket : RT_HIST_BUCKETS - 1;
}

static uint64_t upper_edge(uint32_t bucket)
{
    if (bucket < RT_HIST_SUB)
        return bucket;
    uint32_t shift = bucket / RT_HIST_SUB - 1;
    return ((uint64_t)(bucket % RT_HIST_SUB + RT_HIST_SUB + 1) << shift) - 1;
}

void rt_hist_add(struct rt_hist *hist, uint64_t ns)
{
    hist->buckets[bucket_of(ns)]++;
    hist->count++;
    hist->sum += (double)ns;
    if (ns > hist->max)
        hist->max = ns;
}

uint64_t rt_hist_quantile(const struct rt_hist *hist, double quantile)
{
    double want = quantile * (double)hist->count;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < RT_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (hist->buckets[i] > 0 && (double)seen >= want)
            return upper_edge(i) < hist->max ? upper_edge(i) : hist->max;
    }
    return hist->max;
}
