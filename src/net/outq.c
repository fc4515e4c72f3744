#include "net/outq.h"

#include <assert.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/err.h"

#define PINS       (UINT32_C(1) << 31) /* first of its run: counts for what it pins */
#define SCRATCH    (UINT32_C(1) << 30)
#define OFF_MASK   (SCRATCH - 1)
#define RING_FIRST 8u
#define ENTRY_COST 64u /* an entry and a block header on the heap */

static struct rt_out_entry *entry_at(const struct rt_outq *q, uint32_t i)
{
    if (q->count <= RT_OUTQ_INLINE)
        return (struct rt_out_entry *)&q->u.inline_[i];
    return &q->u.ring.slots[(q->u.ring.head + i) & (q->u.ring.cap - 1)];
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* A function of the entry alone, so that sums cannot drift. */
static uint32_t cost_of(const struct rt_out_entry *e)
{
    if (!(e->off & PINS))
        return e->len;
    return larger(e->len, larger(e->bytes->cap / 4, ENTRY_COST));
}

static uint32_t end_of(const struct rt_out_entry *e)
{
    return (e->off & OFF_MASK) + e->len;
}

static struct rt_out_entry *last_of(const struct rt_outq *q)
{
    return q->count ? entry_at(q, q->count - 1) : NULL;
}

static bool continues(const struct rt_out_entry *last, const struct rt_out_entry *e)
{
    return last && last->bytes == e->bytes && end_of(last) == (e->off & OFF_MASK) &&
           (last->off & SCRATCH) == (e->off & SCRATCH);
}

static struct rt_out_entry make_entry(const struct rt_outq *q, struct rt_bytes *bytes, uint32_t off,
                                      uint32_t len, enum rt_out_kind kind)
{
    const struct rt_out_entry *last = last_of(q);
    struct rt_out_entry e = {.bytes = bytes, .off = off, .len = len};
    if (kind == RT_OUT_SCRATCH)
        e.off |= SCRATCH;
    else if (!last || last->bytes != bytes)
        e.off |= PINS;
    return e;
}

uint32_t rt_outq_cost(const struct rt_outq *q, struct rt_bytes *bytes, uint32_t off, uint32_t len,
                      enum rt_out_kind kind)
{
    struct rt_out_entry e = make_entry(q, bytes, off, len, kind);
    const struct rt_out_entry *last = last_of(q);
    if (!continues(last, &e))
        return cost_of(&e);
    struct rt_out_entry merged = *last;
    merged.len += len;
    return cost_of(&merged) - cost_of(last);
}

/* A ring that has room for one entry more. */
static int grow(struct rt_outq *q)
{
    bool inside = q->count <= RT_OUTQ_INLINE;
    if (inside ? q->count < RT_OUTQ_INLINE : q->count < q->u.ring.cap)
        return 0;
    uint32_t cap = inside ? RING_FIRST : q->u.ring.cap * 2;
    struct rt_out_entry *slots = rt_reallocarray(NULL, cap, sizeof(*slots));
    if (!slots)
        return RT_ENOMEM;
    for (uint32_t i = 0; i < q->count; i++)
        slots[i] = *entry_at(q, i);
    if (!inside)
        rt_free(q->u.ring.slots);
    q->u.ring.slots = slots;
    q->u.ring.cap = cap;
    q->u.ring.head = 0;
    return 0;
}

int rt_outq_push(struct rt_outq *q, struct rt_bytes *bytes, uint32_t off, uint32_t len,
                 enum rt_out_kind kind)
{
    struct rt_out_entry e = make_entry(q, bytes, off, len, kind);
    struct rt_out_entry *last = last_of(q);
    if (continues(last, &e)) {
        q->queued -= cost_of(last);
        last->len += len;
        q->queued += cost_of(last);
        return 0;
    }
    int r = grow(q);
    if (r)
        return r;
    q->count++; /* first: it decides where entries lie */
    rt_bytes_ref(bytes);
    *entry_at(q, q->count - 1) = e;
    q->queued += cost_of(&e);
    return 0;
}

bool rt_outq_append(struct rt_outq *q, const void *data, uint32_t len)
{
    struct rt_out_entry *last = last_of(q);
    if (!last || last->bytes->refs != 1 || end_of(last) != last->bytes->len ||
        last->bytes->cap - last->bytes->len < len)
        return false;
    memcpy(last->bytes->data + last->bytes->len, data, len);
    last->bytes->len += len;
    q->queued -= cost_of(last);
    last->len += len;
    q->queued += cost_of(last);
    return true;
}

size_t rt_outq_gather(const struct rt_outq *q, struct iovec *iov, size_t max)
{
    size_t n = q->count < max ? q->count : max;
    for (uint32_t i = 0; i < n; i++) {
        struct rt_out_entry *e = entry_at(q, i);
        iov[i].iov_base = e->bytes->data + (e->off & OFF_MASK);
        iov[i].iov_len = e->len;
    }
    return n;
}

static void pop(struct rt_outq *q)
{
    struct rt_out_entry gone = *entry_at(q, 0);
    q->queued -= cost_of(&gone);
    if (q->count <= RT_OUTQ_INLINE) {
        q->u.inline_[0] = q->u.inline_[1];
        q->count--;
    } else if (q->count == RT_OUTQ_INLINE + 1) {
        struct rt_out_entry *slots = q->u.ring.slots;
        struct rt_out_entry a = *entry_at(q, 1), b = *entry_at(q, 2);
        q->count--;
        q->u.inline_[0] = a;
        q->u.inline_[1] = b;
        rt_free(slots);
    } else {
        q->u.ring.head = (q->u.ring.head + 1) & (q->u.ring.cap - 1);
        q->count--;
    }
    /* What follows in the same block pins it from now on. */
    struct rt_out_entry *next = q->count ? entry_at(q, 0) : NULL;
    if (next && next->bytes == gone.bytes && !(next->off & (PINS | SCRATCH))) {
        q->queued -= cost_of(next);
        next->off |= PINS;
        q->queued += cost_of(next);
    }
    rt_bytes_unref(gone.bytes);
}

bool rt_outq_consume(struct rt_outq *q, size_t len)
{
    while (len > 0) {
        assert(q->count > 0);
        struct rt_out_entry *e = entry_at(q, 0);
        if (len < e->len) {
            q->queued -= cost_of(e);
            e->off += (uint32_t)len;
            e->len -= (uint32_t)len;
            q->queued += cost_of(e);
            return false;
        }
        len -= e->len;
        pop(q);
    }
    return true;
}

static struct rt_bytes *scratch_copy(const struct rt_outq *q)
{
    size_t total = 0;
    for (uint32_t i = 0; i < q->count; i++)
        if (entry_at(q, i)->off & SCRATCH)
            total += entry_at(q, i)->len;
    return total ? rt_bytes_new(total) : NULL;
}

void rt_outq_unpin(struct rt_outq *q)
{
    struct rt_bytes *own = scratch_copy(q);
    if (!own)
        return;
    for (uint32_t i = 0; i < q->count; i++) {
        struct rt_out_entry *e = entry_at(q, i);
        if (!(e->off & SCRATCH))
            continue;
        memcpy(own->data + own->len, e->bytes->data + (e->off & OFF_MASK), e->len);
        rt_bytes_unref(e->bytes);
        e->bytes = rt_bytes_ref(own);
        e->off = own->len;
        own->len += e->len;
    }
    rt_bytes_unref(own);
}

void rt_outq_clear(struct rt_outq *q)
{
    for (uint32_t i = 0; i < q->count; i++)
        rt_bytes_unref(entry_at(q, i)->bytes);
    if (q->count > RT_OUTQ_INLINE)
        rt_free(q->u.ring.slots);
    *q = (struct rt_outq){.count = 0};
}
