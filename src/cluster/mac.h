/* A message authentication code with one key: HMAC-SHA256 (RFC 2104, FIPS 180-4), 32 bytes.
 *
 * The key is prepared once; a MAC costs its hash and no allocation (HMAC() of OpenSSL 3 costs three times as much for an envelope).
 * Thread: one at a time. */
#ifndef RT_CLUSTER_MAC_H
#define RT_CLUSTER_MAC_H

#include "base/str.h"

#define RT_MAC_LEN 32u

struct rt_mac;

/* `secret` is copied; it must not be empty. RT_ENOMEM: or the library has no such algorithm. */
int rt_mac_new(struct rt_str secret, struct rt_mac **ret_mac);
/* NULL is fine. The key is wiped. */
void rt_mac_free(struct rt_mac *mac);
/* Over `data` and, behind it, `context` (may be none). False: the library failed; `out` is not to be used. */
bool rt_mac_make(struct rt_mac *mac, struct rt_str data, struct rt_str context,
                 uint8_t out[RT_MAC_LEN]);

#endif
