/* What the scenario does to Redis; the nodes see cluster/redis.h. */
#ifndef TEST_SIM_FAKE_REDIS_H
#define TEST_SIM_FAKE_REDIS_H

#include "sim.h"

void fake_redis_down(bool down);
/* The link of one node, for a time. */
void fake_redis_cut(uint32_t node, uint64_t time);
/* Something that was published before comes once more, with its right MAC. */
void fake_redis_replay(void);
/* Somebody without the secret speaks. */
void fake_redis_forge(const char *epoch, uint32_t partition, uint64_t offset,
                      struct rt_str channel);
void fake_redis_end(void);

#endif
