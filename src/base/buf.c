#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

#define SMALLEST ((size_t)64)

void rt_buf_deinit(struct rt_buf *b)
{
    rt_free(b->data);
    *b = RT_BUF_INIT;
}

void rt_buf_clear(struct rt_buf *b)
{
    b->len = 0;
    b->failed = false;
}

static bool grow(struct rt_buf *b, size_t more)
{
    if (more > SIZE_MAX / 2 - b->len)
        return false;
    size_t need = b->len + more;
    size_t cap = b->cap < SMALLEST ? SMALLEST : b->cap;
    while (cap < need)
        cap *= 2;
    uint8_t *data = rt_realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

uint8_t *rt_buf_reserve(struct rt_buf *b, size_t more)
{
    if (b->failed)
        return NULL;
    if ((!b->data || more > b->cap - b->len) && !grow(b, more)) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->len;
}

void rt_buf_add(struct rt_buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    uint8_t *room = rt_buf_reserve(b, len);
    if (!room)
        return;
    memcpy(room, data, len);
    b->len += len;
}

void rt_buf_add_str(struct rt_buf *b, struct rt_str s)
{
    rt_buf_add(b, s.ptr, s.len);
}

void rt_buf_add_c(struct rt_buf *b, const char *text)
{
    rt_buf_add(b, text, strlen(text));
}

void rt_buf_add_byte(struct rt_buf *b, uint8_t byte)
{
    if (b->len < b->cap && !b->failed) {
        b->data[b->len++] = byte;
        return;
    }
    uint8_t *room = rt_buf_reserve(b, 1);
    if (!room)
        return;
    *room = byte;
    b->len++;
}

void rt_buf_add_u64(struct rt_buf *b, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    rt_buf_add(b, digits + at, sizeof(digits) - at);
}

void rt_buf_add_i64(struct rt_buf *b, int64_t value)
{
    if (value >= 0) {
        rt_buf_add_u64(b, (uint64_t)value);
        return;
    }
    rt_buf_add_byte(b, '-');
    rt_buf_add_u64(b, 0 - (uint64_t)value); /* INT64_MIN has no positive int64_t */
}

void rt_buf_printf(struct rt_buf *b, const char *format, ...)
{
    char *room = (char *)rt_buf_reserve(b, SMALLEST);
    if (!room)
        return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(room, b->cap - b->len, format, args);
    if (len < 0) {
        b->failed = true;
    } else if ((size_t)len < b->cap - b->len) {
        b->len += (size_t)len;
    } else {
        room = (char *)rt_buf_reserve(b, (size_t)len + 1);
        if (room && vsnprintf(room, (size_t)len + 1, format, again) == len)
            b->len += (size_t)len;
        else
            b->failed = true;
    }
    va_end(again);
    va_end(args);
}

void rt_buf_consume(struct rt_buf *b, size_t len)
{
    if (len >= b->len) {
        b->len = 0;
        return;
    }
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

struct rt_bytes *rt_buf_to_bytes(const struct rt_buf *b)
{
    return b->failed ? NULL : rt_bytes_copy(b->data, b->len);
}

const char *rt_buf_cstr(struct rt_buf *b)
{
    uint8_t *end = rt_buf_reserve(b, 1);
    if (!end)
        return NULL;
    *end = '\0';
    return (const char *)b->data;
}

char *rt_buf_take_text(struct rt_buf *b)
{
    char *text = rt_buf_cstr(b) ? (char *)b->data : NULL;
    if (text)
        rt_buf_init(b);
    else
        rt_buf_deinit(b);
    return text;
}
