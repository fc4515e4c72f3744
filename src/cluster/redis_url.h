/* URLs of Redis: redis://[[user]:password@]host[:port][/db], rediss:// (the same with TLS), unix:///path[?db=N]
 * (as the redis-cli and client libraries know them; user and password percent-encoded). Pure. Thread: any. */
#ifndef RT_CLUSTER_REDIS_URL_H
#define RT_CLUSTER_REDIS_URL_H

#include "base/err.h"
#include "base/str.h"

struct rt_redis_url {
    char host[256];
    uint16_t port;
    char path[108]; /* UNIX socket; "" none */
    char user[128]; /* "" none */
    char password[512];
    uint32_t db;
    bool tls;
};

/* RT_EINVAL, RT_ERANGE with text; the text never holds the password. */
int rt_redis_url_parse(struct rt_str url, struct rt_redis_url *ret_url, struct rt_err *err);
/* The same, but what this build cannot connect to (TLS) is RT_EINVAL too. */
int rt_redis_url_usable(struct rt_str url, struct rt_redis_url *ret_url, struct rt_err *err);
/* Only this machine reaches it, as far as the URL says: a UNIX socket, 127.0.0.0/8, ::1, localhost. */
bool rt_redis_url_is_local(const struct rt_redis_url *url);

#endif
