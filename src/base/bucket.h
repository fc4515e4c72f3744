/* A token bucket in eight bytes: the time at which it will be full again (the generic cell rate algorithm, as ATM networks use it).
 *
 * All bits zero is a full bucket, and so is one whose time has come: it need not be kept. Time is monotonic, in µs. Thread: the owner's. */
#ifndef RT_BASE_BUCKET_H
#define RT_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct rt_bucket {
    uint64_t full_at;
};

struct rt_bucket_rate {
    uint64_t interval; /* µs between two tokens; 0: no limit */
    uint64_t depth;    /* µs in which an empty bucket fills */
};

/* `per_hour` 0: no limit. `burst` tokens fit, 0: as many as come in a second, at least one. */
static inline struct rt_bucket_rate rt_bucket_rate(uint64_t per_hour, uint32_t burst)
{
    const uint64_t hour = UINT64_C(3600000000);
    uint64_t tokens = burst ? burst : per_hour / 3600;
    if (per_hour == 0)
        return (struct rt_bucket_rate){0, 0};
    uint64_t interval = per_hour < hour ? hour / per_hour : 1;
    return (struct rt_bucket_rate){interval, interval * (tokens ? tokens : 1)};
}

/* µs until a token is there; 0: now. */
static inline uint64_t rt_bucket_wait(const struct rt_bucket *b, const struct rt_bucket_rate *rate,
                                      uint64_t now)
{
    uint64_t full_at = b->full_at + rate->interval;
    return full_at > now + rate->depth ? full_at - now - rate->depth : 0;
}

/* Takes one, also one that is not there: then it is owed, and rt_bucket_wait() says for how long. */
static inline void rt_bucket_take(struct rt_bucket *b, const struct rt_bucket_rate *rate,
                                  uint64_t now)
{
    b->full_at = (b->full_at > now ? b->full_at : now) + rate->interval;
}

#endif
