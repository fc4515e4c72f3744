/* The answer to a WebSocket key (RFC 6455, section 4.2.2). Internal to ws/. Thread: any. */
#ifndef RT_WS_HANDSHAKE_H
#define RT_WS_HANDSHAKE_H

#include "base/str.h"

#define RT_WS_KEY_LEN    24
#define RT_WS_ACCEPT_LEN 28

/* Base64 of the SHA-1 of the key and a constant, with a NUL. RT_EINVAL when the key has not RT_WS_KEY_LEN characters, RT_EIO
 * when libcrypto fails. */
int rt_ws_accept_value(struct rt_str key, char out[RT_WS_ACCEPT_LEN + 1]);
/* A random key, with a NUL. */
void rt_ws_random_key(char out[RT_WS_KEY_LEN + 1]);

#endif
