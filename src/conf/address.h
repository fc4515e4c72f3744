/* Addresses and patterns of the configuration, checked by syntax alone: nothing is resolved. Thread: any. */
#ifndef RT_CONF_ADDRESS_H
#define RT_CONF_ADDRESS_H

#include "base/err.h"
#include "base/str.h"

struct rt_address {
    bool local;         /* a UNIX socket */
    bool loopback;      /* only this machine reaches it: UNIX socket, 127.0.0.0/8, ::1, localhost */
    struct rt_str host; /* without brackets; "*" all; the path of a UNIX socket */
    uint16_t port;      /* 0: any free one */
};

/* HOST:PORT, [IPV6]:PORT, *:PORT, unix:/path. RT_EINVAL with text. The slices point into `text`. */
int rt_address_parse(struct rt_str text, struct rt_address *ret_address, struct rt_err *err);
/* An IPv4 or IPv6 address, a network like 10.0.0.0/8, or "unix:". */
bool rt_address_is_proxy(struct rt_str text);
/* "*", "null", or SCHEME://HOST[:PORT] where `*` may stand for a part of it. */
bool rt_address_is_origin(struct rt_str text);

#endif
