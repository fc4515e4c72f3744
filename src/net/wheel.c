#include "net/wheel.h"

#define DIGIT_BITS 6

void rt_wheel_init(struct rt_wheel *w, uint64_t now)
{
    *w = (struct rt_wheel){.now = now};
    rt_list_init(&w->due);
    for (size_t level = 0; level < RT_WHEEL_LEVELS; level++)
        for (size_t slot = 0; slot < RT_WHEEL_SLOTS; slot++)
            rt_list_init(&w->slots[level][slot]);
}

static void place(struct rt_wheel *w, struct rt_timer *timer)
{
    if (timer->expires <= w->now) {
        rt_list_push(&w->due, &timer->link);
        return;
    }
    unsigned highest = 63u - (unsigned)__builtin_clzll(timer->expires ^ w->now);
    unsigned level = highest / DIGIT_BITS;
    unsigned slot = (unsigned)(timer->expires >> (level * DIGIT_BITS)) & (RT_WHEEL_SLOTS - 1);
    rt_list_push(&w->slots[level][slot], &timer->link);
    w->used[level] |= UINT64_C(1) << slot;
}

void rt_wheel_add(struct rt_wheel *w, struct rt_timer *timer)
{
    place(w, timer);
    timer->active = true;
    w->count++;
}

void rt_wheel_remove(struct rt_wheel *w, struct rt_timer *timer)
{
    if (!timer->active)
        return;
    /* The last one of a ring: then both neighbours are its head, which may be a slot, `due` or a
     * ring that is being fired, on somebody's stack. Compared as numbers, since pointers into
     * different objects have no order. */
    uintptr_t head = timer->link.prev == timer->link.next ? (uintptr_t)timer->link.prev : 0;
    uintptr_t first = (uintptr_t)&w->slots[0][0];
    if (head >= first && head < first + sizeof(w->slots)) {
        size_t index = (head - first) / sizeof(struct rt_list);
        w->used[index / RT_WHEEL_SLOTS] &= ~(UINT64_C(1) << (index % RT_WHEEL_SLOTS));
    }
    rt_list_remove(&timer->link);
    timer->active = false;
    w->count--;
}

/* The next slot in use and the time at which it begins; false: none. */
static bool next_slot(const struct rt_wheel *w, unsigned *ret_level, unsigned *ret_slot,
                      uint64_t *ret_time)
{
    unsigned level = 0;
    while (level < RT_WHEEL_LEVELS && w->used[level] == 0)
        level++;
    if (level == RT_WHEEL_LEVELS)
        return false;
    unsigned slot = (unsigned)__builtin_ctzll(w->used[level]);
    unsigned above = (level + 1) * DIGIT_BITS;
    uint64_t base = above < 64 ? w->now >> above << above : 0;
    *ret_level = level;
    *ret_slot = slot;
    *ret_time = base | (uint64_t)slot << (level * DIGIT_BITS);
    return true;
}

uint64_t rt_wheel_next(const struct rt_wheel *w)
{
    if (!rt_list_empty(&w->due))
        return w->now;
    unsigned level, slot;
    uint64_t time;
    return next_slot(w, &level, &slot, &time) ? time : RT_WHEEL_NEVER;
}

/* Moves what expires up to `now` to `due`. */
static void collect(struct rt_wheel *w, uint64_t now)
{
    unsigned level, slot;
    uint64_t time;
    while (next_slot(w, &level, &slot, &time) && time <= now) {
        struct rt_list moving;
        rt_list_init(&moving);
        rt_list_splice(&moving, &w->slots[level][slot]);
        w->used[level] &= ~(UINT64_C(1) << slot);
        w->now = time;
        for (struct rt_list *node = rt_list_pop(&moving); node; node = rt_list_pop(&moving))
            place(w, RT_CONTAINER(node, struct rt_timer, link));
    }
    if (now > w->now)
        w->now = now;
}

void rt_wheel_advance(struct rt_wheel *w, uint64_t now)
{
    collect(w, now);
    struct rt_list firing;
    rt_list_init(&firing);
    rt_list_splice(&firing, &w->due);
    for (struct rt_list *node = rt_list_pop(&firing); node; node = rt_list_pop(&firing)) {
        struct rt_timer *timer = RT_CONTAINER(node, struct rt_timer, link);
        timer->active = false;
        w->count--;
        timer->fn(timer);
    }
}
