/* The one place that allocates. Every function returns NULL when memory is out, and only then (a
 * size of 0 gives a block of its own); callers handle it. rt_free(NULL) is fine.
 *
 * Thread: any. Built with -DRT_TEST the n-th allocation can be made to fail (per process,
 * counted over all threads), which drives the allocation-failure loops of the tests, and live
 * blocks are counted, which finds leaks. */
#ifndef RT_BASE_ALLOC_H
#define RT_BASE_ALLOC_H

#include <stddef.h>

void *rt_malloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *rt_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* `count * size` is checked for overflow. On failure the old block is untouched. */
void *rt_reallocarray(void *ptr, size_t count, size_t size);
void *rt_realloc(void *ptr, size_t size);
void rt_free(void *ptr);
/* Copies `len` bytes and adds a NUL. */
char *rt_strndup(const char *text, size_t len);
char *rt_strdup(const char *text);
/* Bytes that are free, and still this process's; 0 where the C library does not tell. */
size_t rt_alloc_unused(void);
/* Gives them back to the system where it can. Other threads' allocations wait meanwhile. */
void rt_alloc_trim(void);

#ifdef RT_TEST
/* The `n`-th allocation from now (1 = the next) fails, once; 0 switches it off. With `forever`
 * all later ones fail too. */
void rt_alloc_fail_at(unsigned long n, int forever);
/* True when the planned failure has happened since rt_alloc_fail_at(). */
int rt_alloc_failed(void);
/* Blocks allocated and not freed. */
long rt_alloc_live(void);
#endif

#endif
