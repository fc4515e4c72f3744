/* The routes of a server: a short list, searched for the longest match. Internal to http/. Thread: the loop. */
#ifndef RT_HTTP_ROUTE_H
#define RT_HTTP_ROUTE_H

#include "http/server.h"

struct rt_http_routes {
    struct rt_http_route **items; /* each allocated alone: requests keep pointers to them */
    size_t count;
};

int rt_http_routes_add(struct rt_http_routes *routes, const struct rt_http_route *route,
                       struct rt_err *err);
/* NULL: nothing matches. */
const struct rt_http_route *rt_http_routes_find(const struct rt_http_routes *routes,
                                                struct rt_str path);
void rt_http_routes_deinit(struct rt_http_routes *routes);

#endif
