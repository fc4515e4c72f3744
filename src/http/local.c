#include "http/local.h"

#include <arpa/inet.h>

/* IPv4, IPv6 or IPv4 mapped into it. */
static bool is_loopback_ip(const char *text)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

bool rt_http_is_loopback(struct rt_str address)
{
    char text[INET6_ADDRSTRLEN];
    if (rt_str_eq(address, RT_STR("unix:")))
        return true;
    if (address.len >= sizeof(text))
        return false;
    memcpy(text, address.ptr, address.len);
    text[address.len] = '\0';
    return is_loopback_ip(text);
}

/* Without the port. */
static struct rt_str name_of(struct rt_str host)
{
    if (host.len > 0 && host.ptr[0] == '[')
        return host; /* an IPv6 address */
    const char *colon = host.len > 0 ? memrchr(host.ptr, ':', host.len) : NULL;
    return colon ? rt_str_of(host.ptr, (size_t)(colon - host.ptr)) : host;
}

static bool is_ipv4(struct rt_str name)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (name.len >= sizeof(text))
        return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

bool rt_http_is_local_host(struct rt_str host, const char *const *patterns, size_t count)
{
    struct rt_str name = name_of(host);
    if (name.len == 0 || name.ptr[0] == '[' || !memchr(name.ptr, '.', name.len) || is_ipv4(name))
        return true;
    size_t below = sizeof(".localhost") - 1;
    if (name.len > below &&
        rt_str_eq_nocase(rt_str_of(name.ptr + name.len - below, below), RT_STR(".localhost")))
        return true;
    for (size_t i = 0; i < count; i++)
        if (rt_glob_match(rt_str_c(patterns[i]), name))
            return true;
    return false;
}
