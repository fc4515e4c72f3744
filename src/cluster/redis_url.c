/* See redis_url.h. */
#include "cluster/redis_url.h"

#include <arpa/inet.h>

#include "base/codec.h"

#define DEFAULT_PORT 6379u
#define MAX_DB       1000000u

static int copy(char *out, size_t size, struct rt_str text, const char *what, struct rt_err *err)
{
    if (text.len >= size)
        return rt_err_set(err, RT_ERANGE, "the %s in the Redis URL is too long", what);
    if (text.len > 0)
        memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return 0;
}

static int copy_decoded(char *out, size_t size, struct rt_str text, const char *what,
                        struct rt_err *err)
{
    struct rt_buf plain = RT_BUF_INIT;
    rt_path_decode(&plain, text);
    int status =
        rt_buf_ok(&plain) ? copy(out, size, rt_buf_str(&plain), what, err) : rt_err_nomem(err);
    rt_buf_deinit(&plain);
    return status;
}

static int parse_db(struct rt_str text, struct rt_redis_url *u, struct rt_err *err)
{
    uint64_t db = 0;
    if (text.len > 0 && (rt_str_to_u64(text, &db) || db > MAX_DB))
        return rt_err_set(err, RT_EINVAL, "the database in the Redis URL is \"%.*s\", not a number",
                          RT_STR_ARG(text));
    u->db = (uint32_t)db;
    return 0;
}

static int parse_unix(struct rt_str rest, struct rt_redis_url *u, struct rt_err *err)
{
    struct rt_str query, path = rt_str_split(rest, '?', &query);
    if (path.len < 2 || path.ptr[0] != '/')
        return rt_err_set(err, RT_EINVAL,
                          "the Redis URL needs an absolute path: unix:///run/redis/redis.sock");
    int status = copy(u->path, sizeof(u->path), path, "path", err);
    if (status || query.len == 0)
        return status;
    if (!rt_str_starts(query, RT_STR("db=")))
        return rt_err_set(err, RT_EINVAL, "the Redis URL may only have ?db=N behind the path");
    return parse_db(rt_str_of(query.ptr + 3, query.len - 3), u, err);
}

/* The last '@' ends the user part: passwords should be percent-encoded, but often are not. */
static int parse_user(struct rt_str *authority, struct rt_redis_url *u, struct rt_err *err)
{
    size_t at = authority->len;
    while (at > 0 && authority->ptr[at - 1] != '@')
        at--;
    if (at == 0)
        return 0;
    struct rt_str password, user = rt_str_split(rt_str_of(authority->ptr, at - 1), ':', &password);
    *authority = rt_str_of(authority->ptr + at, authority->len - at);
    int status = copy_decoded(u->user, sizeof(u->user), user, "user", err);
    return status ? status
                  : copy_decoded(u->password, sizeof(u->password), password, "password", err);
}

static int parse_host(struct rt_str authority, struct rt_redis_url *u, struct rt_err *err)
{
    struct rt_str host, port;
    if (authority.len > 0 && authority.ptr[0] == '[') {
        host = rt_str_split(rt_str_of(authority.ptr + 1, authority.len - 1), ']', &port);
        if (port.len > 0 && port.ptr[0] == ':')
            port = rt_str_of(port.ptr + 1, port.len - 1);
    } else {
        host = rt_str_split(authority, ':', &port);
    }
    uint64_t number = DEFAULT_PORT;
    if (port.len > 0 && (rt_str_to_u64(port, &number) || number == 0 || number > 65535))
        return rt_err_set(err, RT_EINVAL,
                          "the port in the Redis URL is \"%.*s\", allowed: 1 to 65535",
                          RT_STR_ARG(port));
    u->port = (uint16_t)number;
    return copy(u->host, sizeof(u->host), host.len > 0 ? host : RT_STR("127.0.0.1"), "host", err);
}

int rt_redis_url_parse(struct rt_str url, struct rt_redis_url *ret_url, struct rt_err *err)
{
    static const struct {
        const char *scheme;
        bool tls, is_unix;
    } schemes[] = {
        {"redis://", false, false}, {"rediss://", true, false}, {"unix://", false, true}};
    struct rt_redis_url u = {.port = DEFAULT_PORT};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        struct rt_str scheme = rt_str_c(schemes[i].scheme);
        if (!rt_str_starts(url, scheme))
            continue;
        struct rt_str rest = rt_str_of(url.ptr + scheme.len, url.len - scheme.len), db;
        u.tls = schemes[i].tls;
        int status;
        if (schemes[i].is_unix) {
            status = parse_unix(rest, &u, err);
        } else {
            /* The path begins behind the last '@': a password may hold a slash. */
            size_t at = rest.len;
            while (at > 0 && rest.ptr[at - 1] != '@')
                at--;
            struct rt_str host = rt_str_split(rt_str_of(rest.ptr + at, rest.len - at), '/', &db);
            rest.len = at + host.len;
            status = parse_user(&rest, &u, err);
            if (status == 0)
                status = parse_host(rest, &u, err);
            if (status == 0)
                status = parse_db(db, &u, err);
        }
        if (status == 0)
            *ret_url = u;
        return status;
    }
    /* Never more than the scheme: what stands behind it may be a password. */
    const char *end = url.len ? memmem(url.ptr, url.len, "://", 3) : NULL;
    size_t len = end && end - url.ptr < 20 ? (size_t)(end - url.ptr) + 3 : 0;
    return rt_err_set(
        err, RT_EINVAL,
        "%s%.*s%sallowed: redis://HOST:PORT or unix:///PATH (redis+sentinel:// is not available in "
        "this build)",
        len ? "begins with \"" : "has no scheme; ", (int)len, len ? url.ptr : "",
        len ? "\"; " : "");
}

int rt_redis_url_usable(struct rt_str url, struct rt_redis_url *ret_url, struct rt_err *err)
{
    struct rt_redis_url u;
    int status = rt_redis_url_parse(url, &u, err);
    if (status == 0 && u.tls)
        status = rt_err_set(err, RT_EINVAL,
                            "rediss:// needs hiredis with TLS, which this build's version lacks; "
                            "use redis:// to a local TLS proxy such as stunnel");
    if (status == 0)
        *ret_url = u;
    return status;
}

bool rt_redis_url_is_local(const struct rt_redis_url *url)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (url->path[0] != '\0' || rt_str_eq_nocase(rt_str_c(url->host), RT_STR("localhost")))
        return true;
    if (inet_pton(AF_INET, url->host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, url->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
