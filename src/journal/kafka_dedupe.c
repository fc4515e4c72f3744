#include "journal/kafka_dedupe.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/map.h"
#include "base/rand.h"

#define MIN_SLOTS 64u
#define RESERVE   8u /* one of so many bytes is for what is on its way */

struct rt_dedupe_slot {
    uint64_t identity[2]; /* hash of channel, publisher and key */
    uint64_t last;        /* position of the last record with it; 0: the slot is empty */
    uint64_t first;
};

/* 128 bits under a secret: publishers cannot aim at somebody else's. */
static void identify(const struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                     uint64_t out[2])
{
    const struct rt_str parts[] = {channel, m->publisher, m->key};
    out[0] = d->secret[0];
    out[1] = d->secret[1];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const uint64_t a[2] = {out[0], out[1]}, b[2] = {~out[1], out[0]};
        out[0] = rt_siphash13(a, parts[i]);
        out[1] = rt_siphash13(b, parts[i]);
    }
}

/* ---- the table --------------------------------------------------------------------------------------------- */

/* The slot of the identity, or the empty one where it would be. */
static size_t locate(const struct rt_dedupe_slot *slots, size_t size, const uint64_t identity[2])
{
    size_t i = identity[0] & (size - 1);
    while (slots[i].last != 0 &&
           (slots[i].identity[0] != identity[0] || slots[i].identity[1] != identity[1]))
        i = (i + 1) & (size - 1);
    return i;
}

/* NULL: it is not there. */
static struct rt_dedupe_slot *lookup(const struct rt_dedupe *d, const uint64_t identity[2])
{
    if (d->count == 0)
        return NULL;
    struct rt_dedupe_slot *slot = &d->slots[locate(d->slots, d->size, identity)];
    return slot->last != 0 ? slot : NULL;
}

static int resize(struct rt_dedupe *d, size_t size)
{
    struct rt_dedupe_slot *slots = rt_calloc(size, sizeof(*slots));
    if (!slots)
        return RT_ENOMEM;
    for (size_t i = 0; i < d->size; i++)
        if (d->slots[i].last != 0)
            slots[locate(slots, size, d->slots[i].identity)] = d->slots[i];
    rt_free(d->slots);
    d->budget->used += (size - d->size) * sizeof(*slots);
    d->slots = slots;
    d->size = size;
    return 0;
}

static size_t next_size(const struct rt_dedupe *d)
{
    return d->size ? d->size * 2 : MIN_SLOTS;
}

/* Would the next size fit into so many bytes of the budget? */
static bool may_grow(const struct rt_dedupe *d, size_t bytes)
{
    size_t more = (next_size(d) - d->size) * sizeof(*d->slots);
    return d->budget->max == 0 || (more <= bytes && d->budget->used <= bytes - more);
}

static int make_room(struct rt_dedupe *d)
{
    if (d->count + 1 <= d->size / 4 * 3)
        return 0;
    return may_grow(d, d->budget->max) ? resize(d, next_size(d)) : RT_ENOMEM;
}

static void set_count(struct rt_dedupe *d, size_t count)
{
    d->budget->keys += count - d->count;
    d->count = count;
}

/* Backward shift: no slot is left empty between an entry and where it belongs. */
static void empty_slot(struct rt_dedupe *d, size_t hole)
{
    size_t mask = d->size - 1;
    for (size_t i = (hole + 1) & mask; d->slots[i].last != 0; i = (i + 1) & mask) {
        size_t home = d->slots[i].identity[0] & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        d->slots[hole] = d->slots[i];
        hole = i;
    }
    d->slots[hole].last = 0;
}

/* What moves into a slot that was looked at has been looked at itself, or comes from the table's beginning and is looked at again. */
static void drop_before(struct rt_dedupe *d, uint64_t position)
{
    size_t kept = d->count;
    for (size_t i = 0; i < d->size && kept > 0; i++) {
        while (d->slots[i].last != 0 && d->slots[i].last < position) {
            empty_slot(d, i);
            kept--;
        }
    }
    set_count(d, kept);
    size_t size = d->size;
    while (size > MIN_SLOTS && kept <= size / 16 * 3)
        size /= 2;
    if (size < d->size)
        (void)resize(d, size); /* for want of memory it stays as large as it is */
}

/* ---- the rule ---------------------------------------------------------------------------------------------- */

bool rt_dedupe_find(const struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                    uint64_t *ret_first)
{
    uint64_t identity[2];
    if (!m->key.ptr || d->count == 0)
        return false;
    identify(d, channel, m, identity);
    const struct rt_dedupe_slot *slot = lookup(d, identity);
    if (!slot)
        return false;
    *ret_first = slot->first;
    return true;
}

/* A record that is read again repeats nothing but what was before it. */
static void use(struct rt_dedupe_slot *slot, uint64_t position, uint64_t *ret_first)
{
    if (slot->first < position)
        *ret_first = slot->first;
    else
        slot->first = position;
    if (slot->last < position)
        slot->last = position;
}

int rt_dedupe_record(struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                     uint64_t *ret_first)
{
    uint64_t identity[2];
    *ret_first = 0;
    if (!m->key.ptr || !d->on)
        return 0;
    identify(d, channel, m, identity);
    struct rt_dedupe_slot *slot = lookup(d, identity);
    if (slot) {
        use(slot, m->offset, ret_first);
        return 0;
    }
    if (make_room(d) < 0)
        return RT_ENOMEM;
    slot = &d->slots[locate(d->slots, d->size, identity)];
    *slot = (struct rt_dedupe_slot){{identity[0], identity[1]}, m->offset, m->offset};
    set_count(d, d->count + 1);
    return 0;
}

bool rt_dedupe_tick(struct rt_dedupe *d, const struct rt_ticks *known, uint64_t position)
{
    if (!rt_ticks_take(&d->ticks, known, position))
        return false;
    drop_before(d, rt_ticks_oldest(&d->ticks));
    return true;
}

bool rt_dedupe_has_room(const struct rt_dedupe *d)
{
    size_t max = d->budget->max;
    return d->count + 1 <= d->size / 8 * 5 || may_grow(d, max - max / RESERVE);
}

void rt_dedupe_lose(struct rt_dedupe *d, uint64_t position)
{
    d->lost = position;
}

bool rt_dedupe_whole(const struct rt_dedupe *d)
{
    return d->lost == 0 || d->lost < rt_ticks_oldest(&d->ticks);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

void rt_dedupe_init(struct rt_dedupe *d, uint64_t window, struct rt_keys_budget *budget)
{
    *d = (struct rt_dedupe){.on = window > 0, .budget = budget};
    rt_random(d->secret, sizeof(d->secret));
}

void rt_dedupe_clear(struct rt_dedupe *d)
{
    set_count(d, 0);
    if (d->slots)
        d->budget->used -= d->size * sizeof(*d->slots);
    rt_free(d->slots);
    d->slots = NULL;
    d->size = 0;
    d->lost = 0;
    d->ticks = (struct rt_ticks){.at = {0}};
}

void rt_dedupe_deinit(struct rt_dedupe *d)
{
    if (d->budget)
        rt_dedupe_clear(d);
}
