#include "http/route.h"

#include "base/alloc.h"

/* A route whose pattern matches by prefix, and the prefix itself ("/api/" stays whole, of "/api*" the star goes). */
static bool prefix_of(struct rt_str pattern, struct rt_str *ret_prefix)
{
    char last = pattern.ptr[pattern.len - 1];
    *ret_prefix = rt_str_of(pattern.ptr, last == '*' ? pattern.len - 1 : pattern.len);
    return last == '*' || last == '/';
}

int rt_http_routes_add(struct rt_http_routes *routes, const struct rt_http_route *route,
                       struct rt_err *err)
{
    struct rt_str path = rt_str_c(route->path);
    if (path.len == 0 || (path.ptr[0] != '/' && !rt_str_eq(path, RT_STR("*"))))
        return rt_err_set(err, RT_EINVAL, "route \"%.*s\": must begin with '/'", RT_STR_ARG(path));
    for (size_t i = 0; i < routes->count; i++)
        if (rt_str_eq(rt_str_c(routes->items[i]->path), path))
            return rt_err_set(err, RT_EEXIST, "route \"%.*s\" is there already", RT_STR_ARG(path));
    void *grown = rt_reallocarray(routes->items, routes->count + 1, sizeof(*routes->items));
    if (grown == NULL)
        return rt_err_nomem(err);
    routes->items = grown;
    struct rt_http_route *copy = rt_malloc(sizeof(*copy));
    char *path_copy = rt_strndup(path.ptr, path.len);
    if (copy == NULL || path_copy == NULL) {
        rt_free(copy);
        rt_free(path_copy);
        return rt_err_nomem(err);
    }
    *copy = *route;
    copy->path = path_copy;
    routes->items[routes->count++] = copy;
    return 0;
}

const struct rt_http_route *rt_http_routes_find(const struct rt_http_routes *routes,
                                                struct rt_str path)
{
    const struct rt_http_route *best = NULL;
    size_t best_len = 0;
    for (size_t i = 0; i < routes->count; i++) {
        const struct rt_http_route *route = routes->items[i];
        struct rt_str prefix, pattern = rt_str_c(route->path);
        if (!prefix_of(pattern, &prefix)) {
            if (rt_str_eq(pattern, path))
                return route;
        } else if (rt_str_starts(path, prefix) && (best == NULL || prefix.len > best_len)) {
            best = route;
            best_len = prefix.len;
        }
    }
    return best;
}

void rt_http_routes_deinit(struct rt_http_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++) {
        rt_free((char *)routes->items[i]->path);
        rt_free(routes->items[i]);
    }
    rt_free(routes->items);
    routes->items = NULL;
    routes->count = 0;
}
