/* See origin.h. */
#include "http/origin.h"

bool rt_http_origin_matches(struct rt_str origin, const char *const *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rt_glob_match(rt_str_c(patterns[i]), origin))
            return true;
    return false;
}

/* "https://chat.example.com:8443" -> "chat.example.com:8443" */
static struct rt_str host_of(struct rt_str origin)
{
    const char *mark = origin.len > 0 ? memmem(origin.ptr, origin.len, "://", 3) : NULL;
    if (!mark)
        return RT_STR_NONE; /* "null": a sandboxed page, a file */
    size_t scheme = (size_t)(mark - origin.ptr) + 3;
    return rt_str_of(origin.ptr + scheme, origin.len - scheme);
}

bool rt_http_origin_allowed(const struct rt_http_request *req, const char *const *patterns,
                            size_t count)
{
    struct rt_str origin = rt_http_header(req, "origin");
    if (!origin.ptr || rt_http_origin_matches(origin, patterns, count))
        return true;
    struct rt_str host = host_of(origin);
    return host.len > 0 && rt_str_eq_nocase(host, rt_http_header(req, "host"));
}
