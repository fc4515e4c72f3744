/* Builds streams of WebSocket frames, legal or not, and turns what a receiver makes of them into text. For the tests of ws/.
 * The log has one item a line: "T text", "B bytes", "P ping", "O pong", "C code reason", "E code"; long payloads are cut to
 * their length and a checksum. */
#ifndef RT_TEST_FRAMES_H
#define RT_TEST_FRAMES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "ws/recv.h"

struct frame_spec {
    unsigned first; /* FIN, RSV and opcode as on the wire */
    bool unmasked;
    int length_form; /* 0: the shortest; 16 or 64: that one */
};

static const uint8_t frame_key[4] = {0x37, 0xfa, 0x21, 0x3d};

static void add_frame_as(struct rt_buf *out, struct frame_spec spec, const void *payload,
                         size_t len)
{
    int form = spec.length_form ? spec.length_form : len < 126 ? 7 : len < 65536 ? 16 : 64;
    uint8_t mask = spec.unmasked ? 0 : 0x80;
    rt_buf_add_byte(out, (uint8_t)spec.first);
    rt_buf_add_byte(out, (uint8_t)(mask | (form == 7 ? len : form == 16 ? 126 : 127)));
    for (int shift = form == 7 ? 0 : form; shift > 0; shift -= 8)
        rt_buf_add_byte(out, (uint8_t)((uint64_t)len >> (shift - 8)));
    if (mask)
        rt_buf_add(out, frame_key, 4);
    for (size_t i = 0; i < len; i++)
        rt_buf_add_byte(out, ((const uint8_t *)payload)[i] ^ (mask ? frame_key[i % 4] : 0));
}

/* A masked frame in its shortest form; `first` is the first byte on the wire: 0x81 a whole text. */
__attribute__((unused)) static void add_frame(struct rt_buf *out, unsigned first,
                                              const void *payload, size_t len)
{
    add_frame_as(out, (struct frame_spec){.first = first}, payload, len);
}

__attribute__((unused)) static void add_text(struct rt_buf *out, unsigned first, const char *text)
{
    add_frame(out, first, text, strlen(text));
}

__attribute__((unused)) static void add_close(struct rt_buf *out, unsigned code, const char *reason)
{
    uint8_t payload[200] = {(uint8_t)(code >> 8), (uint8_t)code};
    memcpy(payload + 2, reason, strlen(reason));
    add_frame(out, 0x88, payload, strlen(reason) + 2);
}

static void log_payload(struct rt_buf *log, const uint8_t *data, size_t len)
{
    uint64_t sum = 0xcbf29ce484222325u;
    if (len <= 40) {
        rt_buf_add(log, data, len);
        return;
    }
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ data[i]) * 0x100000001b3u;
    rt_buf_printf(log, "%zu bytes %llx", len, (unsigned long long)sum);
}

static void log_item(struct rt_buf *log, enum rt_ws_got got, const struct rt_ws_item *item)
{
    static const char names[] = {'-', 'B', 'P', 'O', 'C', 'E'};
    rt_buf_add_byte(log, got == RT_WS_GOT_MESSAGE && item->text ? 'T' : (uint8_t)names[got]);
    rt_buf_add_byte(log, ' ');
    if (got == RT_WS_GOT_CLOSE || got == RT_WS_GOT_ERROR)
        rt_buf_printf(log, "%u ", item->code);
    if (got != RT_WS_GOT_ERROR)
        log_payload(log, item->data, item->len);
    rt_buf_add_byte(log, '\n');
}

/* Feeds a copy in a block of exactly its size, which ends right after. */
static void feed_recv(struct rt_ws_recv *r, const void *data, size_t len, struct rt_buf *log)
{
    uint8_t *copy = malloc(len ? len : 1);
    uint8_t *at = copy;
    struct rt_ws_item item;
    enum rt_ws_got got;
    memcpy(copy, data, len);
    while ((got = rt_ws_recv_next(r, &at, &len, &item)) != RT_WS_GOT_NOTHING)
        log_item(log, got, &item);
    free(copy);
}

#endif
