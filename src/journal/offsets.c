#include "journal/offsets.h"

#include "base/alloc.h"
#include "base/err.h"

#define FIRST_CAP 64u

void rt_offsets_init(struct rt_offsets *o)
{
    *o = (struct rt_offsets){.next = -1, .read = -1, .committed = -1};
}

void rt_offsets_deinit(struct rt_offsets *o)
{
    rt_free(o->ring);
    rt_offsets_init(o);
}

static struct rt_offset_mark *at(const struct rt_offsets *o, size_t i)
{
    return &o->ring[(o->head + i) & (o->cap - 1)];
}

static int grow(struct rt_offsets *o)
{
    size_t cap = o->cap ? o->cap * 2 : FIRST_CAP;
    struct rt_offset_mark *ring = rt_calloc(cap, sizeof(*ring));
    if (!ring)
        return RT_ENOMEM;
    for (size_t i = 0; i < o->count; i++)
        ring[i] = *at(o, i);
    rt_free(o->ring);
    o->ring = ring;
    o->cap = cap;
    o->head = 0;
    return 0;
}

int rt_offsets_add(struct rt_offsets *o, int64_t offset)
{
    if (offset <= o->read)
        return RT_EEXIST;
    if (o->count == o->cap && grow(o) < 0)
        return RT_ENOMEM;
    if (o->count == 0)
        o->next = offset; /* what was skipped before it holds no record */
    o->count++;
    *at(o, o->count - 1) = (struct rt_offset_mark){.offset = offset};
    o->read = offset;
    return 0;
}

/* Its place in the ring; count: none. */
static size_t find(const struct rt_offsets *o, int64_t offset)
{
    size_t low = 0, high = o->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at(o, middle)->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < o->count && at(o, low)->offset == offset ? low : o->count;
}

int rt_offsets_done(struct rt_offsets *o, int64_t offset)
{
    size_t i = find(o, offset);
    if (i == o->count)
        return RT_ENOENT;
    at(o, i)->done = true;
    while (o->count > 0 && at(o, 0)->done) {
        o->next = at(o, 0)->offset + 1;
        o->head = (o->head + 1) & (o->cap - 1);
        o->count--;
    }
    if (o->count == 0 && o->read >= o->next)
        o->next = o->read + 1; /* the end was told behind the last record */
    return 0;
}

void rt_offsets_end(struct rt_offsets *o, int64_t offset)
{
    if (offset <= o->read)
        return;
    o->read = offset - 1;
    if (o->count == 0)
        o->next = offset;
}

int64_t rt_offsets_due(const struct rt_offsets *o)
{
    return o->next > o->committed ? o->next : -1;
}
