/* Cross-origin resource sharing (WHATWG Fetch, "CORS protocol"), with the choices that Socket.IO's users know.
 *
 * No configured origin: no headers at all. "*": every origin. One origin: always named. Several, or patterns: the request's own is reflected if it is
 * allowed; otherwise there is no header, and the request is still served, since CORS is the browser's matter. Refusing is `enforce_origin`. */
#include "http/origin.h"
#include "proto/socketio/engine_internal.h"

bool rt_eio_cors_on(const struct rt_engineio_config *config)
{
    return config->cors_origins.count > 0;
}

static bool has_star(const struct rt_engineio_config *config)
{
    for (size_t i = 0; i < config->cors_origins.count; i++)
        if (strcmp(config->cors_origins.items[i], "*") == 0)
            return true;
    return false;
}

static bool matches(const struct rt_engineio_config *config, struct rt_str origin)
{
    return rt_http_origin_matches(origin, config->cors_origins.items, config->cors_origins.count);
}

bool rt_eio_origin_allowed(const struct rt_engineio_config *config,
                           const struct rt_http_request *req)
{
    return !config->enforce_origin ||
           rt_http_origin_allowed(req, config->cors_origins.items, config->cors_origins.count);
}

static void add_list(struct rt_buf *out, const struct rt_strings *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            rt_buf_add_byte(out, ',');
        rt_buf_add_c(out, list->items[i]);
    }
}

void rt_eio_cors_add(const struct rt_engineio_config *config, const struct rt_http_request *req,
                     struct rt_buf *out)
{
    if (!rt_eio_cors_on(config))
        return;
    struct rt_str origin = rt_http_header(req, "origin");
    bool fixed = config->cors_origins.count == 1 && !strpbrk(config->cors_origins.items[0], "*?");
    if (has_star(config) && !config->cors_credentials) {
        rt_buf_add_c(out, "Access-Control-Allow-Origin: *\r\n");
    } else if (fixed) {
        rt_buf_printf(out, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n",
                      config->cors_origins.items[0]);
    } else {
        rt_buf_add_c(out, "Vary: Origin\r\n");
        if (origin.ptr && matches(config, origin)) {
            rt_buf_add_c(out, "Access-Control-Allow-Origin: ");
            rt_buf_add_str(out, origin);
            rt_buf_add_c(out, "\r\n");
        }
    }
    if (config->cors_credentials)
        rt_buf_add_c(out, "Access-Control-Allow-Credentials: true\r\n");
}

void rt_eio_cors_preflight(struct rt_eio_mount *m, struct rt_http_request *req)
{
    const struct rt_engineio_config *config = m->options.config;
    struct rt_buf headers = RT_BUF_INIT;
    rt_eio_cors_add(config, req, &headers);
    if (config->cors_methods.count > 0) {
        rt_buf_add_c(&headers, "Access-Control-Allow-Methods: ");
        add_list(&headers, &config->cors_methods);
        rt_buf_add_c(&headers, "\r\n");
    }
    struct rt_str asked = rt_http_header(req, "access-control-request-headers");
    if (config->cors_headers.count > 0) {
        rt_buf_add_c(&headers, "Access-Control-Allow-Headers: ");
        add_list(&headers, &config->cors_headers);
        rt_buf_add_c(&headers, "\r\n");
    } else {
        rt_buf_add_c(&headers, "Vary: Access-Control-Request-Headers\r\n");
        if (asked.len > 0) {
            rt_buf_add_c(&headers, "Access-Control-Allow-Headers: ");
            rt_buf_add_str(&headers, asked);
            rt_buf_add_c(&headers, "\r\n");
        }
    }
    if (config->cors_max_age > 0)
        rt_buf_printf(&headers, "Access-Control-Max-Age: %llu\r\n",
                      (unsigned long long)(config->cors_max_age / 1000));
    if (rt_buf_ok(&headers))
        rt_http_respond(req, 204, NULL, rt_buf_str(&headers), RT_STR_NONE);
    else
        rt_http_abort(req);
    rt_buf_deinit(&headers);
}
