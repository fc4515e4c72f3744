/* Addresses as people write them: HOST:PORT, [IPV6]:PORT, *:PORT, unix:/path. Thread: any. */
#ifndef RT_NET_ADDRESS_H
#define RT_NET_ADDRESS_H

#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

struct rt_net_address {
    bool unix_path;
    char host[256]; /* "*" for every address; without brackets; or the path */
    bool bracketed; /* the host was written in brackets */
    uint16_t port;
};

/* Whom limits of an address mean: all of an IPv4 address (also one that is mapped into IPv6), the network of 64 bits of an IPv6 address, since one peer has all of
 * that. False: `text` is neither. */
#define RT_NET_OWNER_LEN 16
bool rt_net_address_owner(const char *text, uint8_t ret_key[RT_NET_OWNER_LEN]);
/* Makes the key of an IPv6 address, or a mapped one, out of its bytes. */
void rt_net_address_mask(uint8_t key[RT_NET_OWNER_LEN]);

/* RT_EINVAL with a text that says what is expected. */
int rt_net_address_parse(struct rt_str text, struct rt_net_address *ret_address,
                         struct rt_err *err);
/* The address as text again, with this port. */
void rt_net_address_print(const struct rt_net_address *address, uint16_t port, char *out,
                          size_t size);
/* Of a "unix:" address, whose path has been found to fit. */
socklen_t rt_net_address_unix(const struct rt_net_address *address,
                              struct sockaddr_storage *ret_addr);

#endif
