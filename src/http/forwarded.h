/* Who the client is when reverse proxies stand between: X-Forwarded-For and X-Forwarded-Proto, believed only from trusted
 * peers. Internal to http/. Pure; thread: any. */
#ifndef RT_HTTP_FORWARDED_H
#define RT_HTTP_FORWARDED_H

#include "http/server.h"

#define RT_HTTP_REMOTE_MAX 64 /* an address with its NUL */

struct rt_trusted;

/* "10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "unix:". IPv4-mapped IPv6 addresses are IPv4. RT_EINVAL names the entry. */
int rt_trusted_new(const char *const *items, size_t count, struct rt_trusted **ret_trusted,
                   struct rt_err *err);
void rt_trusted_free(struct rt_trusted *t); /* NULL is fine */
bool rt_trusted_has(const struct rt_trusted *t, struct rt_str address);

struct rt_forwarded {
    char remote[RT_HTTP_REMOTE_MAX];
    bool trusted; /* the peer is a proxy of ours */
    bool secure;
};
/* `peer` as rt_conn_peer() gives it. The client is the rightmost address of X-Forwarded-For that is no trusted proxy; reading
 * ends at the first item that is no address. The scheme is the last item of X-Forwarded-Proto; for a WebSocket
 * Traefik writes wss. */
void rt_forwarded_resolve(const struct rt_trusted *t, const char *peer,
                          const struct rt_http_request *req, struct rt_forwarded *ret_forwarded);

#endif
