/* Masking of WebSocket payloads (RFC 6455, section 5.3): in place, its own inverse. Internal to ws/. Thread: any. */
#ifndef RT_WS_MASK_H
#define RT_WS_MASK_H

#include <stddef.h>
#include <stdint.h>

void rt_ws_mask(uint8_t *data, size_t len, const uint8_t key[4]);

#endif
