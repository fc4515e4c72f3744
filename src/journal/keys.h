/* The memory of idempotency keys: what is counted against `limits.memory_keys`, what is said when it is full, and the metrics that every journal with keys in memory has:
 * journal_keys, journal_keys_bytes, journal_keys_reach_seconds, journal_keys_refused_total, journal_keys_lost_total.
 *
 * The window is a promise: a key is never forgotten to make room for another. While there is no room, messages with keys are refused (`retry`).
 * Thread: the loop; a budget: the thread of its tables. */
#ifndef RT_JOURNAL_KEYS_H
#define RT_JOURNAL_KEYS_H

#include "base/metrics.h"

struct rt_keys_budget {
    size_t used, max; /* bytes; max 0: no cap */
    size_t keys;      /* remembered */
};

struct rt_keys {
    struct rt_keys_budget budget;
    uint64_t window;  /* ms */
    uint64_t lost_at; /* ms of the loop when a key was lost last; 0: the window is whole */
    uint64_t now;     /* ms of the loop */
    uint64_t said_at; /* when it was said that there is no room; 0 never */
    struct rt_metric count, bytes, reach, refused, lost;
};

/* `max`: bytes, 0 no cap. `metrics` may be NULL. */
void rt_keys_init(struct rt_keys *k, uint64_t window, size_t max, struct rt_metrics *metrics);
/* A message with a key is refused, `whole`: for want of room, else since a key was lost. Counts it, says it at most once a minute, returns the text for the publisher. */
const char *rt_keys_refuse(struct rt_keys *k, bool whole, uint64_t now);
/* A key that another node's record brought could not be remembered. */
void rt_keys_lose(struct rt_keys *k, uint64_t now);
/* All of the window is remembered again. */
void rt_keys_heal(struct rt_keys *k);

#endif
