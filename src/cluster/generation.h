/* Which Redis this is: whether what was kept in it may have been lost, or replaced by something older.
 *
 * A generation is the server's run id, which is another one after each start and on each machine, with a random value under the key "generation", which goes when
 * Redis is emptied. It is asked for as soon as the link is up, before anything else that is written, and once a second. What was written under another generation has to be
 * confirmed by who wrote it. Thread: the loop. */
#ifndef RT_CLUSTER_GENERATION_H
#define RT_CLUSTER_GENERATION_H

#include "cluster/redis.h"

struct rt_generation {
    struct rt_redis *redis;
    struct rt_loop *loop;
    struct rt_timer timer;
    struct rt_redis_call *call; /* NULL: none is awaited */
    char text[128];             /* "" not known */
    char last[128];             /* the one before the link went */
    uint64_t since;             /* loop time at which this one was seen first */
    void (*changed)(void *arg); /* NULL: nobody asks */
    void *arg;
};

void rt_generation_init(struct rt_generation *g, struct rt_loop *loop, struct rt_redis *redis);
/* For rt_redis_options.on_state. */
void rt_generation_link(struct rt_generation *g, bool up);
void rt_generation_stop(struct rt_generation *g);

#endif
