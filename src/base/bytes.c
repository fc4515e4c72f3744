#include "base/bytes.h"

#include "base/alloc.h"

#define BYTES_MAX ((size_t)1 << 30)

struct rt_bytes *rt_bytes_new(size_t cap)
{
    if (cap > BYTES_MAX)
        return NULL;
    struct rt_bytes *b = rt_malloc(sizeof(*b) + cap);
    if (!b)
        return NULL;
    b->refs = 1;
    b->len = 0;
    b->cap = (uint32_t)cap;
    return b;
}

struct rt_bytes *rt_bytes_copy(const void *data, size_t len)
{
    struct rt_bytes *b = rt_bytes_new(len);
    if (!b)
        return NULL;
    if (len)
        memcpy(b->data, data, len);
    b->len = (uint32_t)len;
    return b;
}

void rt_bytes_free_last(struct rt_bytes *b)
{
    rt_free(b);
}
