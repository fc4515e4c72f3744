/* Immutable shared bytes with a reference count: payloads, encoded frames, chunks of a channel's
 * run.
 *
 * Ownership: whoever holds a reference gives it back with rt_bytes_unref(); the last one frees.
 * Thread: the count is not atomic. A block lives on one thread at a time: it may be handed over
 * whole through a queue or mailbox, and a worker may read one that the loop keeps a reference to
 * until the worker has answered, but only the loop calls ref and unref on it meanwhile.
 * "Immutable" has one exception: the sole writer of a chunk may append behind `len`; ranges
 * handed out before stay as they are. */
#ifndef RT_BASE_BYTES_H
#define RT_BASE_BYTES_H

#include "base/str.h"

struct rt_bytes {
    uint32_t refs;
    uint32_t len; /* bytes in use */
    uint32_t cap; /* bytes allocated */
    uint8_t data[];
};

/* A block with `cap` bytes of room and len 0, one reference. NULL: out of memory, or cap over 1
 * GiB. */
struct rt_bytes *rt_bytes_new(size_t cap);
/* A copy of `len` bytes. */
struct rt_bytes *rt_bytes_copy(const void *data, size_t len);
void rt_bytes_free_last(struct rt_bytes *b); /* internal to unref */

static inline struct rt_bytes *rt_bytes_ref(struct rt_bytes *b)
{
    if (b)
        b->refs++;
    return b;
}

/* NULL is fine. */
static inline void rt_bytes_unref(struct rt_bytes *b)
{
    if (b && --b->refs == 0)
        rt_bytes_free_last(b);
}

static inline struct rt_str rt_bytes_str(const struct rt_bytes *b)
{
    return b ? rt_str_of(b->data, b->len) : RT_STR_NONE;
}

#endif
