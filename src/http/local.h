/* What is on this machine: addresses of peers, and the Host and Origin that a browser on it sends. Pure. Thread: any. */
#ifndef RT_HTTP_LOCAL_H
#define RT_HTTP_LOCAL_H

#include "base/str.h"

/* An address as rt_conn_peer() gives it: loopback, or a UNIX socket. */
bool rt_http_is_loopback(struct rt_str address);

#endif
