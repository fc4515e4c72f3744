/* The demo chat: files embedded at build time, served in --dev only. */
#include "admin/internal.h"

#include <stdio.h>

#include "admin/web.h"

#define DEMO "demo/"

/* No inline script or style, no other origin; the page talks to its own host. */
static const char POLICY[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cache-Control: no-cache\r\n";

static const struct rt_web_file *find(struct rt_str path)
{
    struct rt_str name = rt_str_of(path.ptr + 1, path.len - 1);
    if (name.len == 0)
        name = RT_STR("index.html");
    for (const struct rt_web_file *f = rt_web_files; f->path; f++) {
        struct rt_str own = rt_str_c(f->path);
        if (rt_str_starts(own, RT_STR(DEMO)) &&
            rt_str_eq(rt_str_of(own.ptr + sizeof(DEMO) - 1, own.len - (sizeof(DEMO) - 1)), name))
            return f;
    }
    return NULL;
}

static void handle_page(struct rt_http_request *req, void *arg)
{
    (void)arg;
    const struct rt_web_file *f = find(req->path);
    char headers[768];
    if (!f) {
        rt_http_error(req, 404, "not_found", "there is nothing at this path", NULL);
        return;
    }
    if (req->method != RT_GET && req->method != RT_HEAD) {
        rt_http_error(req, 405, "method_not_allowed", "use GET", NULL);
        return;
    }
    int len = snprintf(headers, sizeof(headers), "%sETag: %s\r\n", POLICY, f->etag);
    struct rt_str lines = rt_str_of(headers, (size_t)len);
    if (rt_str_eq(rt_http_header(req, "if-none-match"), rt_str_c(f->etag)))
        rt_http_respond(req, 304, NULL, lines, RT_STR_NONE);
    else
        rt_http_respond(req, 200, f->content_type, lines, rt_str_of(f->data, f->len));
}

int rt_admin_mount_pages(struct rt_admin *a, struct rt_err *err)
{
    struct rt_http_route route = {.path = "/", .handle = handle_page, .arg = a};
    return a->options.config->dev ? rt_http_route_add(a->options.http, &route, err) : 0;
}
