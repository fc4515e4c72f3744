/* Who may see what is not for everybody. */
#include <stdio.h>

#include "admin/internal.h"
#include "http/local.h"
#include "http/origin.h"

/* A proxy on this machine has a peer on this machine, too, but speaks for somebody else. */
static bool is_forwarded(const struct rt_http_request *req)
{
    static const char *const names[] = {"x-forwarded-for", "forwarded", "x-real-ip", "via"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (rt_http_header(req, names[i]).ptr)
            return true;
    return false;
}

/* Of a page elsewhere that some browser shows, whose name points here or that just asks. */
static bool is_of_page(const struct rt_admin *admin, const struct rt_http_request *req)
{
    const struct rt_config *config = admin->options.config;
    return !rt_http_is_local_host(rt_http_header(req, "host"), config->http.hosts.items,
                                  config->http.hosts.count) ||
           !rt_http_origin_allowed(req, config->origins.items, config->origins.count);
}

bool rt_admin_is_trusted(const struct rt_admin *admin, struct rt_http_request *req)
{
    if (is_of_page(admin, req))
        return false;
    if (admin->options.config->http.internal[0] != '\0')
        return req->internal; /* the address says who reaches it */
    const struct rt_conn *conn = rt_http_conn(req);
    return conn && rt_http_is_loopback(rt_str_c(rt_conn_peer(conn))) && !is_forwarded(req);
}

bool rt_admin_refuses_page(const struct rt_admin *admin, struct rt_http_request *req)
{
    if (!is_of_page(admin, req))
        return false;
    rt_http_error(req, 403, "bad_origin", "this is not for pages of other origins",
                  "see origins and http.hosts");
    return true;
}

void rt_admin_refuse_stranger(struct rt_http_request *req, const char *what)
{
    char text[160];
    (void)snprintf(text, sizeof(text),
                   "%s for this machine only, and not through a proxy, as long as there is no "
                   "address for them",
                   what);
    rt_http_error(req, 403, "internal", text, "set http.internal");
}
