#include "base/alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#ifdef RT_TEST
#include <stdatomic.h>

static atomic_bool plan_armed;
static atomic_bool plan_forever;
static atomic_bool plan_failed;
static atomic_long plan_left;
static atomic_long live_blocks;

void rt_alloc_fail_at(unsigned long n, int forever)
{
    atomic_store(&plan_armed, false);
    atomic_store(&plan_failed, false);
    atomic_store(&plan_forever, forever != 0);
    atomic_store(&plan_left, (long)n);
    atomic_store(&plan_armed, n != 0);
}

int rt_alloc_failed(void)
{
    return atomic_load(&plan_failed);
}

long rt_alloc_live(void)
{
    return atomic_load(&live_blocks);
}

/* One step of the plan: does this allocation fail? */
static bool refused(void)
{
    if (!atomic_load(&plan_armed))
        return false;
    long left = atomic_fetch_sub(&plan_left, 1);
    bool fails = left == 1 || (left < 1 && atomic_load(&plan_forever));
    if (fails)
        atomic_store(&plan_failed, true);
    return fails;
}

static void count_live(long change)
{
    atomic_fetch_add(&live_blocks, change);
}
#else
static inline bool refused(void)
{
    return false;
}

static inline void count_live(long change)
{
    (void)change;
}
#endif

/* A size of 0 becomes 1: then NULL always means out of memory, and realloc never frees. */
static inline size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *rt_malloc(size_t size)
{
    if (refused())
        return NULL;
    void *ptr = malloc(at_least_one(size));
    if (ptr)
        count_live(1);
    return ptr;
}

void *rt_calloc(size_t count, size_t size)
{
    if (refused())
        return NULL;
    void *ptr = calloc(at_least_one(count), at_least_one(size));
    if (ptr)
        count_live(1);
    return ptr;
}

void *rt_realloc(void *ptr, size_t size)
{
    if (refused())
        return NULL;
    bool fresh = ptr == NULL;
    void *moved = realloc(ptr, at_least_one(size));
    if (moved && fresh)
        count_live(1);
    return moved;
}

void *rt_reallocarray(void *ptr, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    return rt_realloc(ptr, count * size);
}

void rt_free(void *ptr)
{
    if (!ptr)
        return;
    count_live(-1);
    free(ptr);
}

char *rt_strndup(const char *text, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *copy = rt_malloc(len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *rt_strdup(const char *text)
{
    return rt_strndup(text, strlen(text));
}

#ifdef __GLIBC__
size_t rt_alloc_unused(void)
{
    return mallinfo2().fordblks;
}

void rt_alloc_trim(void)
{
    (void)malloc_trim(0);
}
#else
size_t rt_alloc_unused(void)
{
    return 0;
}

void rt_alloc_trim(void)
{
}
#endif
