/* Which records of a consumed partition are done, and up to where that may be committed.
 *
 *     add 5 6 7 8, done 5 6 8  ->  next 7: what is below is done without a hole
 *
 * Records are added in the order in which they were read (offsets rise, with holes: compaction, transactions) and are done in any order.
 * Memory: 16 bytes for each record that is not done or stands behind one that is not. Pure. Thread: one at a time. */
#ifndef RT_JOURNAL_OFFSETS_H
#define RT_JOURNAL_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rt_offset_mark {
    int64_t offset;
    bool done;
};

struct rt_offsets {
    struct rt_offset_mark *ring;
    size_t cap, head, count; /* cap: 0 or a power of two */
    int64_t next;            /* everything below is done; -1: nothing is known */
    int64_t read;            /* the highest that was added or told as the end; -1 none */
    int64_t committed;       /* the last `next` that was taken for committing; -1 none */
};

void rt_offsets_init(struct rt_offsets *o);
void rt_offsets_deinit(struct rt_offsets *o);
/* RT_EEXIST: it was read before (nothing changes); RT_ENOMEM. */
int rt_offsets_add(struct rt_offsets *o, int64_t offset);
/* RT_ENOENT: it is not in flight. Several times is fine. */
int rt_offsets_done(struct rt_offsets *o, int64_t offset);
/* The partition has nothing below `offset` that was not read: holes at the end count as done once all before them is. */
void rt_offsets_end(struct rt_offsets *o, int64_t offset);
/* The offset to commit (that of the next record to read), -1: none, or not more than was taken before. */
int64_t rt_offsets_due(const struct rt_offsets *o);

#endif
