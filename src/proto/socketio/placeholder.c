#include "proto/socketio/placeholder.h"

#include "base/err.h"
#include "json/scan.h"

#define KEY RT_STR("_placeholder")
#define NUM RT_STR("num")

static size_t skip_space(struct rt_str text, size_t at)
{
    while (at < text.len && (text.ptr[at] == ' ' || text.ptr[at] == '\t' || text.ptr[at] == '\n' ||
                             text.ptr[at] == '\r'))
        at++;
    return at;
}

/* `at` is at an opening quote; returns the place behind the closing one. */
static size_t skip_string(struct rt_str text, size_t at)
{
    for (at++; at < text.len && text.ptr[at] != '"'; at++) {
        if (text.ptr[at] == '\\')
            at++;
    }
    return at < text.len ? at + 1 : text.len;
}

/* One character between tokens; 0 when it is another. */
static size_t take(struct rt_str text, size_t at, char c)
{
    at = skip_space(text, at);
    return at < text.len && text.ptr[at] == c ? at + 1 : 0;
}

/* A key of this name and its colon; 0 when it is another. */
static size_t take_key(struct rt_str text, size_t at, struct rt_str name)
{
    at = skip_space(text, at);
    if (at >= text.len || text.ptr[at] != '"')
        return 0;
    size_t end = skip_string(text, at);
    if (!rt_json_string_is(rt_str_of(text.ptr + at, end - at), name))
        return 0;
    return take(text, end, ':');
}

static size_t take_true(struct rt_str text, size_t at)
{
    at = skip_space(text, at);
    return text.len - at >= 4 && memcmp(text.ptr + at, "true", 4) == 0 ? at + 4 : 0;
}

static size_t take_number(struct rt_str text, size_t at, uint32_t *ret_num)
{
    at = skip_space(text, at);
    size_t start = at;
    uint32_t value = 0;
    while (at < text.len && at - start < 5 && text.ptr[at] >= '0' && text.ptr[at] <= '9')
        value = value * 10 + (uint32_t)(text.ptr[at++] - '0');
    *ret_num = value;
    return at > start && value < 65536 ? at : 0;
}

/* Behind the object when the brace at `at` opens a placeholder, else 0. */
static size_t match(struct rt_str text, size_t at, uint32_t *ret_num)
{
    size_t p = take_key(text, at + 1, KEY);
    if (p) {
        (void)((p = take_true(text, p)) && (p = take(text, p, ',')) &&
               (p = take_key(text, p, NUM)) && (p = take_number(text, p, ret_num)));
    } else {
        p = take_key(text, at + 1, NUM);
        (void)(p && (p = take_number(text, p, ret_num)) && (p = take(text, p, ',')) &&
               (p = take_key(text, p, KEY)) && (p = take_true(text, p)));
    }
    return p ? take(text, p, '}') : 0;
}

int rt_sio_placeholder_next(struct rt_str text, size_t *pos, struct rt_sio_placeholder *ret_found)
{
    size_t at = *pos;
    while (at < text.len) {
        if (text.ptr[at] == '{') {
            uint32_t num;
            size_t end = match(text, at, &num);
            if (end) {
                *ret_found = (struct rt_sio_placeholder){at, end, num};
                *pos = end;
                return 1;
            }
        } else if (text.ptr[at] == '"') {
            size_t value = take_key(text, at, KEY);
            if (value && take_true(text, value))
                return RT_EINVAL;
            at = skip_string(text, at);
            continue;
        }
        at++;
    }
    *pos = at;
    return 0;
}

bool rt_sio_placeholder_is(struct rt_str value, uint32_t *ret_num)
{
    return value.len && value.ptr[0] == '{' && match(value, 0, ret_num) == value.len;
}

void rt_sio_placeholder_add(struct rt_buf *out, uint32_t num)
{
    rt_buf_add_c(out, "{\"_placeholder\":true,\"num\":");
    rt_buf_add_u64(out, num);
    rt_buf_add_byte(out, '}');
}

int rt_sio_placeholder_check(struct rt_str text, uint32_t count)
{
    size_t pos = 0;
    struct rt_sio_placeholder found;
    int r;
    while ((r = rt_sio_placeholder_next(text, &pos, &found)) == 1) {
        if (found.num >= count)
            return RT_EINVAL;
    }
    return r;
}

void rt_sio_placeholder_remove(struct rt_buf *out, size_t start)
{
    if (!rt_buf_ok(out) || out->len <= start)
        return;
    char *base = (char *)out->data + start;
    struct rt_str text = rt_str_of(base, out->len - start);
    size_t pos = 0, from = 0, to = 0;
    struct rt_sio_placeholder found;
    int r;
    /* What is written is shorter than what it replaces, so it never overtakes the reader. */
    while ((r = rt_sio_placeholder_next(text, &pos, &found)) == 1) {
        memmove(base + to, base + from, found.start - from);
        to += found.start - from;
        memcpy(base + to, "null", 4);
        to += 4;
        from = found.end;
    }
    if (r < 0) {
        to = 0;
        from = text.len;
        memcpy(base, "null", 4); /* a malformed one is longer than this */
        to = 4;
    }
    memmove(base + to, base + from, text.len - from);
    out->len = start + to + (text.len - from);
}
