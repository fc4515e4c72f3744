/* Heartbeats that only this process can have sent: each has a number and its SipHash under a key of the process. So nobody else who writes to Redis can
 * make a link look alive, by a guess or by a repetition. Pure but for the key. Thread: one at a time. */
#ifndef RT_CLUSTER_BEAT_H
#define RT_CLUSTER_BEAT_H

#include "base/str.h"

struct rt_beat {
    uint64_t key[2];
    uint64_t sent, heard; /* numbers */
};

#define RT_BEAT_LEN 16u

void rt_beat_init(struct rt_beat *b);
/* The next one. */
void rt_beat_write(struct rt_beat *b, uint8_t out[RT_BEAT_LEN]);
/* False: it is not ours, or not later than the last one. */
bool rt_beat_take(struct rt_beat *b, struct rt_str payload);

#endif
