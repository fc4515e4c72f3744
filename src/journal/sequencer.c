#include "journal/sequencer.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

#define MAX_ENTRIES 4096u
#define MAX_BYTES   ((size_t)4 << 20)

struct waiting {
    struct rt_record record; /* the channel's name follows this struct */
    size_t cost;
};

/* Waiting records are sorted by offset. They come nearly in order, so that inserting is mostly appending. */
struct partition {
    uint64_t next; /* 0: unknown */
    struct waiting **items;
    uint32_t first, count, cap; /* items[first .. first + count) */
    size_t bytes;
};

struct rt_sequencer {
    uint32_t partitions, max_entries;
    size_t max_bytes;
    void (*deliver)(void *arg, const struct rt_record *record);
    void *arg;
    bool delivering;
    struct rt_sequencer_stats stats;
    struct partition parts[];
};

/* ---- the reorder buffer ------------------------------------------------------------------------------------ */

static void free_waiting(struct waiting *w)
{
    rt_stored_unref(w->record.message);
    rt_free(w);
}

static struct waiting *take_first(struct rt_sequencer *s, struct partition *p)
{
    struct waiting *w = p->items[p->first++];
    p->count--;
    p->bytes -= w->cost;
    if (p->count == 0)
        p->first = 0;
    s->stats.waiting--;
    s->stats.waiting_bytes -= w->cost;
    return w;
}

static void drop_below(struct rt_sequencer *s, struct partition *p, uint64_t offset)
{
    while (p->count > 0 && p->items[p->first]->record.offset < offset) {
        free_waiting(take_first(s, p));
        s->stats.dropped_as_absent++;
    }
}

static uint32_t drop_all(struct rt_sequencer *s, struct partition *p)
{
    uint32_t count = p->count;
    while (p->count > 0)
        free_waiting(take_first(s, p));
    return count;
}

/* Index of the first item whose offset is not below `offset`, from p->first. */
static uint32_t find(const struct partition *p, uint64_t offset)
{
    uint32_t low = 0;
    uint32_t high = p->count;
    if (high > 0 && p->items[p->first + high - 1]->record.offset < offset)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (p->items[p->first + middle]->record.offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room(struct partition *p)
{
    if (p->first + p->count < p->cap)
        return 0;
    if (p->first > 0) {
        memmove(p->items, p->items + p->first, p->count * sizeof(struct waiting *));
        p->first = 0;
        return 0;
    }
    uint32_t cap = p->cap > 0 ? p->cap * 2 : 16;
    struct waiting **items = rt_reallocarray(p->items, cap, sizeof(struct waiting *));
    if (!items)
        return RT_ENOMEM;
    p->items = items;
    p->cap = cap;
    return 0;
}

static size_t cost_of(const struct rt_record *record)
{
    return sizeof(struct waiting) + record->channel.len +
           (record->message ? record->message->size : 0);
}

static struct waiting *waiting_new(const struct rt_record *record)
{
    struct waiting *w = rt_malloc(sizeof(*w) + record->channel.len);
    if (!w)
        return NULL;
    w->record = *record;
    w->cost = cost_of(record);
    if (record->channel.len > 0)
        memcpy(w + 1, record->channel.ptr, record->channel.len);
    w->record.channel = rt_str_of(w + 1, record->channel.len);
    return w;
}

/* Takes over the reference. */
static int keep(struct rt_sequencer *s, struct partition *p, const struct rt_record *record)
{
    uint32_t at = find(p, record->offset);
    if (at < p->count && p->items[p->first + at]->record.offset == record->offset) {
        s->stats.dropped_as_seen++;
        rt_stored_unref(record->message);
        return 0;
    }
    if (p->count >= s->max_entries || p->bytes + cost_of(record) > s->max_bytes) {
        s->stats.dropped_as_full += drop_all(s, p) + 1u;
        rt_stored_unref(record->message);
        return 0;
    }
    struct waiting *w = make_room(p) == 0 ? waiting_new(record) : NULL;
    if (!w) {
        s->stats.dropped_as_full++;
        rt_stored_unref(record->message);
        return RT_ENOMEM;
    }
    struct waiting **slot = p->items + p->first + at;
    memmove(slot + 1, slot, (p->count - at) * sizeof(struct waiting *));
    *slot = w;
    p->count++;
    p->bytes += w->cost;
    s->stats.waiting++;
    s->stats.waiting_bytes += w->cost;
    return 0;
}

/* ---- delivering -------------------------------------------------------------------------------------------- */

/* The record is the next one. Gives the reference back. */
static void deliver(struct rt_sequencer *s, struct partition *p, const struct rt_record *record)
{
    p->next = record->offset + 1;
    if (!record->message)
        return;
    s->delivering = true;
    s->deliver(s->arg, record);
    s->delivering = false;
    rt_stored_unref(record->message);
}

static void deliver_waiting(struct rt_sequencer *s, struct partition *p)
{
    while (p->count > 0 && p->items[p->first]->record.offset == p->next) {
        struct waiting *w = take_first(s, p);
        s->stats.delivered_from_peer++;
        deliver(s, p, &w->record);
        rt_free(w);
    }
}

static void push_tail(struct rt_sequencer *s, struct partition *p, const struct rt_record *record)
{
    if (record->offset < p->next) {
        s->stats.dropped_as_seen++;
        rt_stored_unref(record->message);
        return;
    }
    drop_below(s, p, record->offset);
    if (p->count > 0 && p->items[p->first]->record.offset == record->offset) {
        p->next = record->offset; /* the one that waits was first */
        s->stats.dropped_as_seen++;
        rt_stored_unref(record->message);
    } else {
        s->stats.delivered_from_tail++;
        deliver(s, p, record);
    }
    deliver_waiting(s, p);
}

static int push_peer(struct rt_sequencer *s, struct partition *p, const struct rt_record *record)
{
    if (p->next != 0 && record->offset < p->next) {
        s->stats.dropped_as_seen++;
        rt_stored_unref(record->message);
        return 0;
    }
    if (record->offset != p->next)
        return keep(s, p, record);
    s->stats.delivered_from_peer++;
    deliver(s, p, record);
    deliver_waiting(s, p);
    return 0;
}

int rt_sequencer_push(struct rt_sequencer *s, enum rt_source source, const struct rt_record *record)
{
    assert(!s->delivering);
    if (record->partition >= s->partitions || record->offset == 0) {
        rt_stored_unref(record->message);
        return RT_EINVAL;
    }
    struct partition *p = &s->parts[record->partition];
    if (source == RT_FROM_PEER)
        return push_peer(s, p, record);
    push_tail(s, p, record);
    return 0;
}

void rt_sequencer_start(struct rt_sequencer *s, uint32_t partition, uint64_t offset)
{
    assert(!s->delivering && partition < s->partitions);
    struct partition *p = &s->parts[partition];
    if (offset <= p->next)
        return;
    drop_below(s, p, offset);
    p->next = offset;
    deliver_waiting(s, p);
}

void rt_sequencer_reset(struct rt_sequencer *s, uint32_t partition)
{
    assert(!s->delivering && partition < s->partitions);
    struct partition *p = &s->parts[partition];
    s->stats.dropped_as_absent += drop_all(s, p);
    p->next = 0;
}

uint64_t rt_sequencer_next(const struct rt_sequencer *s, uint32_t partition)
{
    return partition < s->partitions ? s->parts[partition].next : 0;
}

struct rt_sequencer_stats rt_sequencer_stats(const struct rt_sequencer *s)
{
    return s->stats;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

int rt_sequencer_new(const struct rt_sequencer_options *options,
                     struct rt_sequencer **ret_sequencer)
{
    struct rt_sequencer *s =
        rt_calloc(1, sizeof(*s) + options->partitions * sizeof(struct partition));
    if (!s)
        return RT_ENOMEM;
    s->partitions = options->partitions;
    s->max_entries = options->max_entries ? options->max_entries : MAX_ENTRIES;
    s->max_bytes = options->max_bytes ? options->max_bytes : MAX_BYTES;
    s->deliver = options->deliver;
    s->arg = options->arg;
    *ret_sequencer = s;
    return 0;
}

void rt_sequencer_free(struct rt_sequencer *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->partitions; i++) {
        drop_all(s, &s->parts[i]);
        rt_free(s->parts[i].items);
    }
    rt_free(s);
}

/* ---- partitions -------------------------------------------------------------------------------------------- */

/* MurmurHash2 of 32 bits with the seed that org.apache.kafka.common.utils.Utils has. */
static uint32_t murmur2(struct rt_str text)
{
    const uint32_t m = 0x5bd1e995;
    const uint8_t *p = (const uint8_t *)text.ptr;
    size_t left = text.len;
    uint32_t h = 0x9747b28cu ^ (uint32_t)text.len;
    for (; left >= 4; left -= 4, p += 4) {
        uint32_t k =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = (h * m) ^ (k * m);
    }
    if (left >= 3)
        h ^= (uint32_t)p[2] << 16;
    if (left >= 2)
        h ^= (uint32_t)p[1] << 8;
    if (left >= 1)
        h = (h ^ p[0]) * m;
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

uint32_t rt_partition_of(struct rt_str channel, uint32_t partitions)
{
    return (murmur2(channel) & 0x7fffffffu) % partitions;
}
