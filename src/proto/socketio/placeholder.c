#include "proto/socketio/placeholder.h"

#include <stdio.h>

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

/* ---- what clients send ---- */

#define DEPTH 64 /* of RT_JSON_PAYLOAD */

/* An object that is not closed yet. */
struct object {
    size_t start;
    bool marked;  /* `_placeholder` is true */
    bool has_num; /* `num` is a plain number */
    bool bad;     /* a placeholder in it is wrong */
    uint32_t num;
};

struct walk {
    struct rt_str text;
    uint32_t count; /* attachments */
    char *out;      /* the same bytes, to be written to; NULL: only checked */
    size_t depth;
    bool bad; /* of all that stands in no object */
    struct object open[DEPTH];
};

/* A whole number below 65,536, with nothing more behind it. */
static bool take_whole(struct rt_str text, size_t at, uint32_t *ret_num)
{
    size_t end = take_number(text, at, ret_num);
    return end && (end == text.len || !memchr("0123456789.eE", text.ptr[end], 13));
}

/* The string from `at` to `end`, which may be a key of the innermost object. */
static void note_key(struct walk *w, size_t at, size_t end)
{
    size_t value = w->depth ? take(w->text, end, ':') : 0;
    if (!value)
        return;
    struct object *o = &w->open[w->depth - 1];
    struct rt_str key = rt_str_of(w->text.ptr + at, end - at);
    if (rt_json_string_is(key, KEY))
        o->marked = take_true(w->text, value) != 0;
    else if (rt_json_string_is(key, NUM))
        o->has_num = take_whole(w->text, value, &o->num);
}

/* Never longer than what it replaces, which has both keys, `true` and the number in it. */
static void rewrite(char *out, size_t size, uint32_t num)
{
    char text[48];
    size_t len =
        (size_t)snprintf(text, sizeof(text), "{\"_placeholder\":true,\"num\":%u}", (unsigned)num);
    if (len > size)
        return;
    memcpy(out, text, len);
    memset(out + len, ' ', size - len);
}

/* What was in a placeholder goes with it, be it right or wrong. */
static void close_object(struct walk *w, size_t end)
{
    const struct object *o = &w->open[--w->depth];
    bool bad = o->marked ? !o->has_num || o->num >= w->count : o->bad;
    if (bad)
        *(w->depth ? &w->open[w->depth - 1].bad : &w->bad) = true;
    else if (o->marked && w->out)
        rewrite(w->out + o->start, end - o->start, o->num);
}

static int walk(struct rt_str text, uint32_t count, char *out)
{
    struct walk w;
    w.text = text;
    w.count = count;
    w.out = out;
    w.depth = 0;
    w.bad = false;
    for (size_t at = 0; at < text.len; at++) {
        if (text.ptr[at] == '"') {
            size_t end = skip_string(text, at);
            note_key(&w, at, end);
            at = end - 1;
        } else if (text.ptr[at] == '{') {
            if (w.depth == DEPTH)
                return RT_EINVAL;
            w.open[w.depth++] = (struct object){.start = at};
        } else if (text.ptr[at] == '}' && w.depth) {
            close_object(&w, at + 1);
        }
    }
    return w.bad ? RT_EINVAL : 0;
}

int rt_sio_placeholder_check(struct rt_str text, uint32_t count)
{
    return walk(text, count, NULL);
}

void rt_sio_placeholder_normalise(char *text, size_t len, uint32_t count)
{
    (void)walk(rt_str_of(text, len), count, text);
}

/* ---- taking them out ---- */

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
