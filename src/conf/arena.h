/* Memory that is freed at once: the node trees, strings and arrays of one configuration.
 *
 * Ownership: whoever embeds the arena; everything allocated lives until rt_arena_deinit(). Thread: one at a time.
 * Allocation returns NULL when memory is out. */
#ifndef RT_CONF_ARENA_H
#define RT_CONF_ARENA_H

#include "base/str.h"

struct rt_arena_block;

struct rt_arena {
    struct rt_arena_block *first;
};

/* Zeroed and aligned for any type. */
void *rt_arena_alloc(struct rt_arena *arena, size_t size);
/* `count * size` zeroed bytes; the product is checked for overflow. */
void *rt_arena_array(struct rt_arena *arena, size_t count, size_t size);
/* A copy with a NUL behind it. */
char *rt_arena_copy(struct rt_arena *arena, struct rt_str text);
void rt_arena_deinit(struct rt_arena *arena);

#endif
