#include "conf/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

enum { HOST_CAP = 253 };

/* inet_pton() wants a NUL. */
static bool is_ip(int family, struct rt_str text, unsigned char out[16])
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return inet_pton(family, copy, out) == 1;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_made_of(struct rt_str text, const char *others)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!is_alnum(c) && (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    return text.len > 0;
}

static int parse_port(struct rt_str text, uint16_t *ret_port, struct rt_err *err)
{
    uint64_t port;
    if (rt_str_to_u64(text, &port) != 0 || port > UINT16_MAX)
        return rt_err_set(err, RT_EINVAL, "the port is not a number from 0 to 65535");
    *ret_port = (uint16_t)port;
    return 0;
}

static int parse_unix(struct rt_str path, struct rt_address *a, struct rt_err *err)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return rt_err_set(err, RT_EINVAL, "unix: takes an absolute path");
    if (path.len >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return rt_err_set(err, RT_EINVAL, "the path of a UNIX socket has at most %zu bytes",
                          sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
    *a = (struct rt_address){.local = true, .loopback = true, .host = path};
    return 0;
}

static int parse_ipv6(struct rt_str text, struct rt_address *a, struct rt_err *err)
{
    static const unsigned char loopback[16] = {[15] = 1};
    unsigned char ip[16];
    struct rt_str port, host = rt_str_split(rt_str_of(text.ptr + 1, text.len - 1), ']', &port);
    if (port.ptr == NULL)
        return rt_err_set(err, RT_EINVAL, "the closing ] is missing: [::1]:8000");
    if (!is_ip(AF_INET6, host, ip))
        return rt_err_set(err, RT_EINVAL, "no IPv6 address stands between the brackets");
    if (!rt_str_starts(port, RT_STR(":")))
        return rt_err_set(err, RT_EINVAL, "the port is missing: [::1]:8000");
    a->host = host;
    a->loopback = memcmp(ip, loopback, sizeof(ip)) == 0;
    return parse_port(rt_str_of(port.ptr + 1, port.len - 1), &a->port, err);
}

static int parse_host(struct rt_str text, struct rt_address *a, struct rt_err *err)
{
    unsigned char ip[16];
    struct rt_str port, host = rt_str_split(text, ':', &port);
    if (port.len > 0 && memchr(port.ptr, ':', port.len) != NULL)
        return rt_err_set(err, RT_EINVAL, "an IPv6 address stands in brackets: [::1]:8000");
    if (port.ptr == NULL)
        return rt_err_set(err, RT_EINVAL, "the port is missing: 127.0.0.1:8000");
    bool numbers = is_ip(AF_INET, host, ip);
    bool all = rt_str_eq(host, RT_STR("*"));
    if (!numbers && !all && (!is_made_of(host, ".-") || host.len > HOST_CAP))
        return rt_err_set(err, RT_EINVAL, "no host stands before the port; * means all addresses");
    a->host = host;
    a->loopback = (numbers && ip[0] == 127) || rt_str_eq_nocase(host, RT_STR("localhost"));
    return parse_port(port, &a->port, err);
}

int rt_address_parse(struct rt_str text, struct rt_address *ret_address, struct rt_err *err)
{
    struct rt_address a = {.port = 0};
    int failed;
    if (rt_str_starts(text, RT_STR("unix:")))
        failed = parse_unix(rt_str_of(text.ptr + 5, text.len - 5), &a, err);
    else if (rt_str_starts(text, RT_STR("[")))
        failed = parse_ipv6(text, &a, err);
    else
        failed = parse_host(text, &a, err);
    if (failed == 0)
        *ret_address = a;
    return failed;
}

bool rt_address_is_proxy(struct rt_str text)
{
    unsigned char ip[16];
    struct rt_str bits_text, address = rt_str_split(text, '/', &bits_text);
    uint64_t bits = 0;
    if (rt_str_eq(text, RT_STR("unix:")))
        return true;
    if (bits_text.ptr != NULL && rt_str_to_u64(bits_text, &bits) != 0)
        return false;
    return (is_ip(AF_INET, address, ip) && bits <= 32) ||
           (is_ip(AF_INET6, address, ip) && bits <= 128);
}

bool rt_address_is_origin(struct rt_str text)
{
    if (rt_str_eq(text, RT_STR("*")) || rt_str_eq(text, RT_STR("null")))
        return true;
    struct rt_str rest, scheme = rt_str_split(text, ':', &rest);
    if (!is_made_of(scheme, "+-.*") || !rt_str_starts(rest, RT_STR("//")))
        return false;
    return is_made_of(rt_str_of(rest.ptr + 2, rest.len - 2), ".-_:*?[]");
}
