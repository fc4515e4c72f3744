#include "bench_ws.h"

#include <string.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

static uint32_t rotate(uint32_t x, unsigned bits)
{
    return (x << bits) | (x >> (32 - bits));
}

/* One block of SHA-1, FIPS 180-4 section 6.1.2. */
static void sha1_block(uint32_t h[5], const uint8_t block[64])
{
    uint32_t w[80];
    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (t < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (t < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + f + e + k + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* For at most 119 bytes, which two blocks hold; a key and the GUID are 60. */
static void sha1_short(const uint8_t *data, size_t len, uint8_t out[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    memcpy(blocks, data, len);
    blocks[len] = 0x80;
    size_t total = len < 56 ? 64 : 128;
    blocks[total - 2] = (uint8_t)((len * 8) >> 8);
    blocks[total - 1] = (uint8_t)(len * 8);
    for (size_t at = 0; at < total; at += 64)
        sha1_block(h, blocks + at);
    for (size_t i = 0; i < 20; i++)
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

void rt_bench_ws_accept(const char *key, size_t len, char out[RT_BENCH_WS_ACCEPT_LEN])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t text[119], digest[21] = {0};
    size_t room = sizeof(text) - (sizeof(GUID) - 1);
    if (len > room)
        len = room;
    memcpy(text, key, len);
    memcpy(text + len, GUID, sizeof(GUID) - 1);
    sha1_short(text, len + sizeof(GUID) - 1, digest);
    /* 20 bytes and a zero are seven groups of three; the last character of the last group becomes the padding. */
    for (size_t i = 0; i < 7; i++) {
        uint32_t bits =
            (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (size_t j = 0; j < 4; j++)
            out[4 * i + j] = alphabet[(bits >> (18 - 6 * j)) & 63];
    }
    out[RT_BENCH_WS_ACCEPT_LEN - 1] = '=';
}

size_t rt_bench_ws_header(uint8_t out[RT_BENCH_WS_HEADER_MAX], uint8_t opcode, size_t len,
                          const uint8_t *mask)
{
    uint8_t masked = mask != NULL ? 0x80 : 0;
    size_t n = 2;
    out[0] = (uint8_t)(0x80 | opcode);
    if (len < 126) {
        out[1] = (uint8_t)(masked | len);
    } else {
        size_t bytes = len < 65536 ? 2 : 8;
        out[1] = (uint8_t)(masked | (bytes == 2 ? 126 : 127));
        for (size_t i = 0; i < bytes; i++)
            out[n++] = (uint8_t)(len >> (8 * (bytes - 1 - i)));
    }
    if (mask != NULL) {
        memcpy(out + n, mask, 4);
        n += 4;
    }
    return n;
}

bool rt_bench_ws_peek(const uint8_t *data, size_t len, struct rt_bench_frame *ret_frame)
{
    if (len < 2)
        return false;
    size_t payload = data[1] & 0x7f, header = 2;
    if (payload >= 126) {
        size_t bytes = payload == 126 ? 2 : 8;
        if (len < header + bytes)
            return false;
        payload = 0;
        for (size_t i = 0; i < bytes; i++)
            payload = payload << 8 | data[header++];
    }
    bool masked = (data[1] & 0x80) != 0;
    if (masked) {
        if (len < header + 4)
            return false;
        memcpy(ret_frame->mask, data + header, 4);
        header += 4;
    }
    ret_frame->opcode = data[0] & 0x0f;
    ret_frame->fin = (data[0] & 0x80) != 0;
    ret_frame->masked = masked;
    ret_frame->header = header;
    ret_frame->payload = payload;
    return true;
}

void rt_bench_ws_mask(uint8_t *data, size_t len, const uint8_t mask[4])
{
    uint32_t word;
    uint64_t wide;
    memcpy(&word, mask, 4);
    wide = (uint64_t)word << 32 | word;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t bytes;
        memcpy(&bytes, data + i, 8);
        bytes ^= wide;
        memcpy(data + i, &bytes, 8);
    }
    for (; i < len; i++)
        data[i] = (uint8_t)(data[i] ^ mask[i & 3]);
}
