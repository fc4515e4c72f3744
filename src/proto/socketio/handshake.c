#include "proto/socketio/handshake.h"

#include <time.h>

#include "base/codec.h"
#include "base/map.h"
#include "json/scan.h"

static bool needs_decoding(struct rt_str text)
{
    return text.len &&
           (memchr(text.ptr, '%', text.len) != NULL || memchr(text.ptr, '+', text.len) != NULL);
}

/* The decoded text, in `scratch` when it had to be changed. */
static struct rt_str decoded(struct rt_str text, struct rt_buf *scratch)
{
    if (!needs_decoding(text))
        return text;
    rt_buf_clear(scratch);
    rt_url_decode(scratch, text);
    return rt_buf_str(scratch);
}

bool rt_sio_query_text(struct rt_str query, struct rt_str name, struct rt_buf *scratch,
                       struct rt_buf *out)
{
    struct rt_str found = RT_STR_NONE, rest = query, key, value;
    bool any = false;
    while (rt_http_query_next(&rest, &key, &value)) {
        if (rt_str_eq(decoded(key, scratch), name)) {
            found = value;
            any = true;
        }
    }
    if (any)
        rt_url_decode(out, found);
    return any;
}

/* Which of the parameters is the last one of its name? Compared by hash, so that a long query costs
 * little. */
struct seen {
    uint64_t hashes[RT_SIO_QUERY_MAX];
    size_t count;
};

static bool comes_again(const struct seen *seen, size_t i)
{
    for (size_t j = i + 1; j < seen->count; j++) {
        if (seen->hashes[j] == seen->hashes[i])
            return true;
    }
    return false;
}

void rt_sio_query_json(struct rt_str query, struct rt_buf *scratch, struct rt_buf *out)
{
    struct seen seen = {.count = 0};
    struct rt_str rest = query, key, value;
    while (seen.count < RT_SIO_QUERY_MAX && rt_http_query_next(&rest, &key, &value))
        seen.hashes[seen.count++] = rt_hash(decoded(key, scratch));
    rest = query;
    rt_buf_add_byte(out, '{');
    bool first = true;
    for (size_t i = 0; i < seen.count && rt_http_query_next(&rest, &key, &value); i++) {
        if (comes_again(&seen, i))
            continue;
        if (!first)
            rt_buf_add_byte(out, ',');
        first = false;
        rt_json_add_string(out, decoded(key, scratch));
        rt_buf_add_byte(out, ':');
        rt_json_add_string(out, decoded(value, scratch));
    }
    rt_buf_add_byte(out, '}');
}

/* One line "name: value\r\n" of the headers. */
static bool next_header(struct rt_str *rest, struct rt_str *name, struct rt_str *value)
{
    if (rest->len == 0)
        return false;
    struct rt_str line = rt_str_split(*rest, '\n', rest);
    *name = rt_str_split(line, ':', value);
    *value = rt_str_trim(*value);
    return true;
}

bool rt_sio_header_text(struct rt_str headers, struct rt_str name, struct rt_buf *out)
{
    struct rt_str rest = headers, key, value;
    bool any = false;
    while (next_header(&rest, &key, &value)) {
        if (!rt_str_eq(key, name))
            continue;
        if (any)
            rt_buf_add_c(out, rt_str_eq(name, RT_STR("cookie")) ? "; " : ", ");
        rt_buf_add_str(out, value);
        any = true;
    }
    return any;
}

static bool came_before(struct rt_str headers, struct rt_str name)
{
    struct rt_str rest = headers, key, value;
    while (next_header(&rest, &key, &value)) {
        if (key.ptr == name.ptr)
            return false;
        if (rt_str_eq(key, name))
            return true;
    }
    return false;
}

void rt_sio_headers_json(struct rt_str headers, struct rt_buf *scratch, struct rt_buf *out)
{
    struct rt_str rest = headers, name, value;
    bool first = true;
    rt_buf_add_byte(out, '{');
    while (next_header(&rest, &name, &value)) {
        if (name.len == 0 || came_before(headers, name))
            continue;
        if (!first)
            rt_buf_add_byte(out, ',');
        first = false;
        rt_json_add_string(out, name);
        rt_buf_add_byte(out, ':');
        rt_buf_clear(scratch);
        rt_sio_header_text(headers, name, scratch);
        rt_json_add_string(out, rt_buf_str(scratch));
        out->failed |= scratch->failed;
    }
    rt_buf_add_byte(out, '}');
}

/* As JavaScript shows a date in UTC. */
static void add_time(struct rt_buf *out, uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[80] = "";
    if (gmtime_r(&seconds, &tm))
        (void)strftime(text, sizeof(text), "%a %b %d %Y %H:%M:%S GMT+0000", &tm);
    rt_buf_add_byte(out, '"');
    rt_buf_add_c(out, text);
    rt_buf_add_c(out, " (Coordinated Universal Time)\"");
}

static void add_member(struct rt_buf *out, const char *name)
{
    rt_buf_add_c(out, ",\"");
    rt_buf_add_c(out, name);
    rt_buf_add_c(out, "\":");
}

void rt_sio_handshake_json(const struct rt_eio_handshake *h, struct rt_str auth,
                           struct rt_buf *scratch, struct rt_buf *out)
{
    static const struct rt_eio_handshake unknown = {.secure = false};
    if (!h)
        h = &unknown;
    rt_buf_add_c(out, "{\"headers\":");
    rt_sio_headers_json(h->headers, scratch, out);
    add_member(out, "time");
    add_time(out, h->issued);
    add_member(out, "address");
    rt_json_add_string(out, h->address);
    add_member(out, "xdomain");
    rt_buf_add_c(out, h->xdomain ? "true" : "false");
    add_member(out, "secure");
    rt_buf_add_c(out, h->secure ? "true" : "false");
    add_member(out, "issued");
    rt_buf_add_u64(out, h->issued);
    add_member(out, "url");
    rt_json_add_string(out, h->url);
    add_member(out, "query");
    rt_sio_query_json(h->query, scratch, out);
    add_member(out, "auth");
    if (auth.len)
        rt_json_add_compact(out, auth);
    else
        rt_buf_add_c(out, "{}");
    rt_buf_add_byte(out, '}');
}
