/* The few parts of WebSocket (RFC 6455) that both ends of a benchmark need. Whole frames only, no fragments, no extensions.
 * Pure functions: no memory, no I/O. */
#ifndef RT_BENCH_WS_H
#define RT_BENCH_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every client of the benchmark uses this key, so that it knows the answer. */
#define RT_BENCH_WS_KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define RT_BENCH_WS_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum {
    RT_BENCH_WS_TEXT = 1,
    RT_BENCH_WS_BINARY = 2,
    RT_BENCH_WS_CLOSE = 8,
    RT_BENCH_WS_PING = 9,
    RT_BENCH_WS_PONG = 10,
    RT_BENCH_WS_HEADER_MAX = 14,
    RT_BENCH_WS_ACCEPT_LEN = 28,
};

struct rt_bench_frame {
    uint8_t opcode;
    bool fin, masked;
    uint8_t mask[4];
    size_t header;  /* bytes before the payload */
    size_t payload; /* bytes of it */
};

/* Sec-WebSocket-Accept for a key; no NUL is written. */
void rt_bench_ws_accept(const char *key, size_t len, char out[RT_BENCH_WS_ACCEPT_LEN]);

/* Writes the header of a final frame, masked when `mask` is not NULL, and returns its length. */
size_t rt_bench_ws_header(uint8_t out[RT_BENCH_WS_HEADER_MAX], uint8_t opcode, size_t len,
                          const uint8_t *mask);

/* Reads a header. False when `len` bytes do not hold it whole; whether the payload is there is the caller's to check. */
bool rt_bench_ws_peek(const uint8_t *data, size_t len, struct rt_bench_frame *ret_frame);

/* In place; masking and unmasking are the same. */
void rt_bench_ws_mask(uint8_t *data, size_t len, const uint8_t mask[4]);

#endif
