/* The output queue of one connection: ranges of shared bytes, in order.
 *
 * Two entries lie inside the struct, more in a ring on the heap that goes away as soon as two
 * suffice again: an idle or a quick connection owns nothing. A range that continues the last one
 * in the same block is merged into it. `queued` is what the entries pin: the first entry of each
 * run of entries of one block counts its bytes, or a quarter of the block, or 64 for bookkeeping,
 * whichever is most; the others of the run count their bytes. Ranges pushed as RT_OUT_SCRATCH
 * (copies in a block that all connections share) count their bytes only, because rt_outq_unpin()
 * moves them out before they wait.
 * Ownership: the queue holds one reference per entry. Thread: the loop. Internal to net/. */
#ifndef RT_NET_OUTQ_H
#define RT_NET_OUTQ_H

#include "base/bytes.h"

#define RT_OUTQ_INLINE 2

struct rt_out_entry {
    struct rt_bytes *bytes;
    uint32_t off; /* with two flags in the highest bits; rt_bytes ends below them */
    uint32_t len;
};

struct rt_outq {
    union {
        struct rt_out_entry inline_[RT_OUTQ_INLINE]; /* while count <= RT_OUTQ_INLINE */
        struct {
            struct rt_out_entry *slots;
            uint32_t cap; /* power of two */
            uint32_t head;
        } ring;
    } u;
    uint32_t count;
    uint32_t queued;
};

enum rt_out_kind { RT_OUT_SHARED, RT_OUT_SCRATCH };

/* All bits zero is an empty queue. */
/* What a push of this range would add to `queued`. */
uint32_t rt_outq_cost(const struct rt_outq *q, struct rt_bytes *bytes, uint32_t off, uint32_t len,
                      enum rt_out_kind kind);
/* len > 0. Takes a reference of its own. RT_ENOMEM: unchanged. */
int rt_outq_push(struct rt_outq *q, struct rt_bytes *bytes, uint32_t off, uint32_t len,
                 enum rt_out_kind kind);
/* Copies into the last entry's block if only this queue holds it and it has room. False: nothing
 * was done. */
bool rt_outq_append(struct rt_outq *q, const void *data, uint32_t len);
struct iovec;
size_t rt_outq_gather(const struct rt_outq *q, struct iovec *iov, size_t max);
/* Removes `len` bytes (at most what is there) from the front. True: it ended at the end of an
 * entry. */
bool rt_outq_consume(struct rt_outq *q, size_t len);
/* Moves what lies in scratch blocks to a block of its own. Out of memory: leaves them, which is
 * correct but pins. */
void rt_outq_unpin(struct rt_outq *q);
void rt_outq_clear(struct rt_outq *q);

#endif
