#include "net/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

static int refuse(struct rt_err *err, struct rt_str text, const char *why)
{
    return rt_err_set(err, RT_EINVAL,
                      "address \"%.*s\": %s; expected HOST:PORT, [IPV6]:PORT, *:PORT or unix:/path",
                      RT_STR_ARG(text), why);
}

static int parse_unix(struct rt_str text, struct rt_net_address *address, struct rt_err *err)
{
    struct rt_str path = rt_str_of(text.ptr + 5, text.len - 5);
    if (path.len == 0)
        return refuse(err, text, "the path is empty");
    if (path.len >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return refuse(err, text, "the path is longer than 107 bytes");
    if (memchr(path.ptr, 0, path.len))
        return refuse(err, text, "the path has a NUL in it");
    address->unix_path = true;
    memcpy(address->host, path.ptr, path.len);
    return 0;
}

/* Splits at the last colon, outside of brackets. */
static int split_port(struct rt_str text, struct rt_str *host, struct rt_str *port)
{
    const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
    if (!colon)
        return RT_EINVAL;
    *host = rt_str_of(text.ptr, (size_t)(colon - text.ptr));
    *port = rt_str_of(colon + 1, text.len - host->len - 1);
    return 0;
}

int rt_net_address_parse(struct rt_str text, struct rt_net_address *ret_address, struct rt_err *err)
{
    struct rt_net_address address = {.port = 0};
    struct rt_str host, port;
    uint64_t number;
    int r;
    if (rt_str_starts(text, RT_STR("unix:"))) {
        r = parse_unix(text, &address, err);
        if (!r)
            *ret_address = address;
        return r;
    }
    if (split_port(text, &host, &port))
        return refuse(err, text, "there is no port");
    if (rt_str_to_u64(port, &number) || number > 65535)
        return refuse(err, text, "the port is not a number from 0 to 65535");
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = rt_str_of(host.ptr + 1, host.len - 2);
        address.bracketed = true;
    } else if (host.len && memchr(host.ptr, ':', host.len)) {
        return refuse(err, text, "an IPv6 address needs brackets");
    }
    if (host.len == 0)
        return refuse(err, text, "the host is empty");
    if (host.len >= sizeof(address.host) || memchr(host.ptr, 0, host.len))
        return refuse(err, text, "the host is too long or has a NUL in it");
    memcpy(address.host, host.ptr, host.len);
    address.port = (uint16_t)number;
    *ret_address = address;
    return 0;
}

void rt_net_address_print(const struct rt_net_address *address, uint16_t port, char *out,
                          size_t size)
{
    if (address->unix_path)
        snprintf(out, size, "unix:%s", address->host);
    else
        snprintf(out, size, address->bracketed ? "[%s]:%u" : "%s:%u", address->host,
                 (unsigned)port);
}

socklen_t rt_net_address_unix(const struct rt_net_address *address,
                              struct sockaddr_storage *ret_addr)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    memcpy(sun.sun_path, address->host, strlen(address->host) + 1);
    memset(ret_addr, 0, sizeof(*ret_addr));
    memcpy(ret_addr, &sun, sizeof(sun));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(address->host) + 1);
}

void rt_net_address_mask(uint8_t key[RT_NET_OWNER_LEN])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(key, mapped, sizeof(mapped)) != 0)
        memset(key + 8, 0, 8);
}

bool rt_net_address_owner(const char *text, uint8_t ret_key[RT_NET_OWNER_LEN])
{
    memset(ret_key, 0, RT_NET_OWNER_LEN);
    ret_key[10] = ret_key[11] = 0xff;
    if (inet_pton(AF_INET, text, ret_key + 12) == 1)
        return true;
    if (inet_pton(AF_INET6, text, ret_key) != 1)
        return false;
    rt_net_address_mask(ret_key);
    return true;
}
