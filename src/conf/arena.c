#include "conf/arena.h"

#include "base/alloc.h"

#include <stdalign.h>

enum { BLOCK_SIZE = 16 * 1024 };

struct rt_arena_block {
    struct rt_arena_block *next;
    size_t used;
    size_t size;
    alignas(max_align_t) unsigned char data[];
};

static struct rt_arena_block *add_block(struct rt_arena *arena, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct rt_arena_block))
        return NULL;
    struct rt_arena_block *block = rt_malloc(sizeof(*block) + size);
    if (block == NULL)
        return NULL;
    block->used = 0;
    block->size = size;
    block->next = arena->first;
    arena->first = block;
    return block;
}

void *rt_arena_alloc(struct rt_arena *arena, size_t size)
{
    size_t align = alignof(max_align_t);
    if (size > SIZE_MAX - align)
        return NULL;
    size = (size + align - 1) / align * align;

    struct rt_arena_block *block = arena->first;
    if (block == NULL || block->size - block->used < size)
        block = add_block(arena, size > BLOCK_SIZE ? size : BLOCK_SIZE);
    if (block == NULL)
        return NULL;
    void *data = block->data + block->used;
    block->used += size;
    memset(data, 0, size);
    return data;
}

void *rt_arena_array(struct rt_arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    return rt_arena_alloc(arena, count * size);
}

char *rt_arena_copy(struct rt_arena *arena, struct rt_str text)
{
    if (text.len == SIZE_MAX)
        return NULL;
    char *copy = rt_arena_alloc(arena, text.len + 1);
    if (copy != NULL && text.len > 0)
        memcpy(copy, text.ptr, text.len);
    return copy;
}

void rt_arena_deinit(struct rt_arena *arena)
{
    struct rt_arena_block *block = arena->first;
    while (block != NULL) {
        struct rt_arena_block *next = block->next;
        rt_free(block);
        block = next;
    }
    arena->first = NULL;
}
