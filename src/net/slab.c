#include "net/slab.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"

#define WORDS (sizeof(((struct rt_slab *)0)->taken) / sizeof(uint64_t))

void rt_slabs_init(struct rt_slabs *s, size_t size)
{
    assert(size >= 64 && size <= RT_SLAB_BYTES && size % 8 == 0);
    *s = (struct rt_slabs){.size = size, .per_slab = (uint32_t)(RT_SLAB_BYTES / size)};
}

void rt_slabs_deinit(struct rt_slabs *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        assert(s->slabs[i].used == 0);
        rt_free(s->slabs[i].memory);
    }
    rt_free(s->slabs);
    *s = (struct rt_slabs){.count = 0};
}

static struct rt_slab *append_slab(struct rt_slabs *s)
{
    if (s->count == RT_SLAB_MAX)
        return NULL;
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 8;
        struct rt_slab *slabs = rt_reallocarray(s->slabs, cap, sizeof(*slabs));
        if (!slabs)
            return NULL;
        s->slabs = slabs;
        s->cap = cap;
    }
    s->slabs[s->count] = (struct rt_slab){.used = 0};
    return &s->slabs[s->count++];
}

static struct rt_slab *slab_with_room(struct rt_slabs *s)
{
    while (s->first_room < s->count && s->slabs[s->first_room].used == s->per_slab)
        s->first_room++;
    struct rt_slab *slab = s->first_room < s->count ? &s->slabs[s->first_room] : append_slab(s);
    if (!slab)
        return NULL;
    if (!slab->memory) {
        slab->memory = rt_malloc(RT_SLAB_BYTES);
        if (!slab->memory)
            return NULL;
        s->empty++;
    }
    return slab;
}

/* The lowest free object of a slab that has one. */
static uint32_t take_bit(struct rt_slab *slab)
{
    size_t word = 0;
    while (slab->taken[word] == UINT64_MAX)
        word++;
    unsigned bit = (unsigned)__builtin_ctzll(~slab->taken[word]);
    slab->taken[word] |= UINT64_C(1) << bit;
    return (uint32_t)(word * 64 + bit);
}

void *rt_slabs_take(struct rt_slabs *s, uint16_t *ret_slab)
{
    struct rt_slab *slab = slab_with_room(s);
    if (!slab)
        return NULL;
    if (slab->used++ == 0)
        s->empty--;
    void *object = slab->memory + take_bit(slab) * s->size;
    memset(object, 0, s->size);
    *ret_slab = (uint16_t)(slab - s->slabs);
    return object;
}

void rt_slabs_give(struct rt_slabs *s, void *object, uint16_t number)
{
    struct rt_slab *slab = &s->slabs[number];
    size_t index = (size_t)((unsigned char *)object - slab->memory) / s->size;
    assert(slab->taken[index / 64] >> (index % 64) & 1);
    slab->taken[index / 64] &= ~(UINT64_C(1) << (index % 64));
    slab->used--;
    if (number < s->first_room)
        s->first_room = number;
    if (slab->used > 0)
        return;
    if (s->empty == 0) {
        s->empty = 1; /* kept, for those who come and go at the edge of a slab */
        return;
    }
    rt_free(slab->memory);
    slab->memory = NULL;
}

void *rt_slabs_next(const struct rt_slabs *s, size_t *pos)
{
    for (;;) {
        size_t number = *pos / (WORDS * 64), index = *pos % (WORDS * 64);
        if (number >= s->count)
            return NULL;
        const struct rt_slab *slab = &s->slabs[number];
        uint64_t rest = slab->taken[index / 64] >> (index % 64);
        if (rest == 0) {
            *pos += 64 - index % 64;
            continue;
        }
        index += (size_t)__builtin_ctzll(rest);
        *pos = number * WORDS * 64 + index + 1;
        return slab->memory + index * s->size;
    }
}
