/* How much each client has published lately to the channels of one rule: token buckets, there only while they are not full.
 *
 * At most RT_RATES_MAX of them: past that the oldest is forgotten, and its client may publish a burst again. Time is monotonic, in µs. Thread: the loop. */
#ifndef RT_SESSION_RATES_H
#define RT_SESSION_RATES_H

#include "base/bucket.h"
#include "base/list.h"
#include "base/map.h"

#define RT_RATES_MAX 262144u

struct rt_rates {
    struct rt_map by_key;
    struct rt_list by_age; /* those that were not looked at for longest first */
};

void rt_rates_init(struct rt_rates *r);
void rt_rates_deinit(struct rt_rates *r);
/* One publish of a client (by its subscriber's id) under a rule, whose `rate` is no pointer to a copy: it tells the rules apart. 0, or RT_EAGAIN, nothing was
 * taken: `*ret_wait` is how long until it may; RT_ENOMEM. */
int rt_rates_take(struct rt_rates *r, const struct rt_bucket_rate *rate, uint64_t client,
                  uint64_t now, uint64_t *ret_wait);
/* Forgets some of those that are full. To be called now and then. */
void rt_rates_expire(struct rt_rates *r, uint64_t now);

#endif
