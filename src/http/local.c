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
