/* What is on this machine: addresses of peers, and the Host and Origin that a browser on it sends. Pure. Thread: any. */
#ifndef RT_HTTP_LOCAL_H
#define RT_HTTP_LOCAL_H

#include "base/str.h"

/* An address as rt_conn_peer() gives it: loopback, or a UNIX socket. */
bool rt_http_is_loopback(struct rt_str address);
/* A Host that no stranger's page can have: an address, `localhost` and what is below it, a name without a dot, or one that a pattern (glob) matches. A page
 * elsewhere can let its own name point at this machine (DNS rebinding), but then its requests say that name. No Host at all (no browser) is fine. */
bool rt_http_is_local_host(struct rt_str host, const char *const *patterns, size_t count);

#endif
