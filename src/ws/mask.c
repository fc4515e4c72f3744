#include "ws/mask.h"

#include <string.h>

/* GCC's and clang's portable vectors: SSE2 on x86-64, NEON on ARM64. */
typedef uint8_t block __attribute__((vector_size(16)));

enum { BLOCK = sizeof(block) };

static inline void mask_block(uint8_t *at, const block *key)
{
    block b;
    memcpy(&b, at, BLOCK);
    b ^= *key;
    memcpy(at, &b, BLOCK);
}

void rt_ws_mask(uint8_t *data, size_t len, const uint8_t key[4])
{
    block keys;
    for (size_t i = 0; i < BLOCK; i += 4)
        memcpy((uint8_t *)&keys + i, key, 4);
    size_t at = 0;
    for (; at + 2 * BLOCK <= len; at += 2 * BLOCK) {
        mask_block(data + at, &keys);
        mask_block(data + at + BLOCK, &keys);
    }
    if (at + BLOCK <= len) {
        mask_block(data + at, &keys);
        at += BLOCK;
    }
    for (; at < len; at++)
        data[at] ^= key[at % 4];
}
