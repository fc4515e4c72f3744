/* Which channels had an append that failed while others were on their way: those fail too, or the order of the channel breaks unseen.
 *
 * Failures are numbered. An append carries the number that was current when it was handed in (rt_append.failures). Marks are over once the oldest append in
 * flight knows of all failures. Thread: the loop. */
#ifndef RT_JOURNAL_KAFKA_MARKS_H
#define RT_JOURNAL_KAFKA_MARKS_H

#include "base/map.h"
#include "base/list.h"

struct rt_marks {
    uint64_t failures; /* number of the last one */
    uint64_t all;      /* every channel is marked up to this number */
    struct rt_map channels;
    struct rt_list list;
};

void rt_marks_init(struct rt_marks *m);
void rt_marks_deinit(struct rt_marks *m);
/* An append of the channel failed. Without memory for one mark all channels are marked. */
void rt_marks_add(struct rt_marks *m, struct rt_str channel);
/* Did an append of the channel fail after the one that was handed in at `failures`? */
bool rt_marks_hit(const struct rt_marks *m, struct rt_str channel, uint64_t failures);
/* The oldest append in flight was handed in at `failures` (with none in flight: the current number). */
void rt_marks_settle(struct rt_marks *m, uint64_t failures);

#endif
