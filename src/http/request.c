/* Reading a request: headers and query parameters. */
#include "base/codec.h"
#include "http/server.h"

struct rt_str rt_http_header(const struct rt_http_request *req, const char *lower_name)
{
    struct rt_str name = rt_str_c(lower_name);
    for (size_t i = 0; i < req->header_count; i++)
        if (rt_str_eq(req->headers[i].name, name))
            return req->headers[i].value;
    return RT_STR_NONE;
}

bool rt_http_query_next(struct rt_str *rest, struct rt_str *name, struct rt_str *value)
{
    while (rest->len > 0) {
        struct rt_str pair = rt_str_split(*rest, '&', rest);
        if (pair.len == 0)
            continue; /* "a=1&&b=2" */
        *name = rt_str_split(pair, '=', value);
        if (value->ptr == NULL)
            *value = rt_str_of(pair.ptr + pair.len, 0);
        return true;
    }
    return false;
}

/* Most names carry no escape. */
static bool name_is(struct rt_str raw, struct rt_str name, struct rt_buf *scratch)
{
    if (raw.len == 0)
        return name.len == 0;
    if (memchr(raw.ptr, '%', raw.len) == NULL && memchr(raw.ptr, '+', raw.len) == NULL)
        return rt_str_eq(raw, name);
    rt_buf_clear(scratch);
    rt_url_decode(scratch, raw);
    return rt_buf_ok(scratch) && rt_str_eq(rt_buf_str(scratch), name);
}

bool rt_http_query(struct rt_str query, const char *name, struct rt_buf *out)
{
    struct rt_buf scratch = RT_BUF_INIT;
    struct rt_str key, value, found = RT_STR_NONE, wanted = rt_str_c(name);
    bool seen = false;
    while (rt_http_query_next(&query, &key, &value)) {
        if (!name_is(key, wanted, &scratch))
            continue;
        seen = true;
        found = value;
    }
    rt_buf_deinit(&scratch);
    if (seen)
        rt_url_decode(out, found);
    return seen;
}
