/* How busy the loop is: time between the first event of a turn and the moment before the next
 * poll. Internal to net/. Knows no clock: times are monotonic nanoseconds, passed in. Thread: the
 * loop. */
#ifndef RT_NET_METER_H
#define RT_NET_METER_H

#include <stdbool.h>
#include <stdint.h>

#define RT_METER_BUCKETS 10 /* of 100 ms each: the last second */
#define RT_METER_LONGEST 12 /* of 5 s each: the last minute */

struct rt_meter {
    bool running;
    uint64_t start;                          /* of the present turn, when running */
    uint64_t created;                        /* utilisation of a young loop is that of its life */
    uint64_t longest[RT_METER_LONGEST];      /* turns that ended in these 5 s, ns */
    uint64_t longest_when[RT_METER_LONGEST]; /* which 5 s since boot */
    uint64_t bucket[RT_METER_BUCKETS];       /* busy nanoseconds */
    uint64_t number[RT_METER_BUCKETS];       /* which 100 ms since boot the bucket holds */
};

void rt_meter_init(struct rt_meter *m, uint64_t now);
/* The first event of a turn; further calls until the end are ignored. */
void rt_meter_begin(struct rt_meter *m, uint64_t now);
void rt_meter_end(struct rt_meter *m, uint64_t now);
/* Busy share of the last second, 0..1; the running turn counts. */
double rt_meter_utilisation(const struct rt_meter *m, uint64_t now);

/* The longest turn that ended in the last minute (or up to 5 s less), ns. */
uint64_t rt_meter_longest(const struct rt_meter *m, uint64_t now);

#endif
