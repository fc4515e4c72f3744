#include "ws/header.h"

#include <string.h>

#include "ws/ws.h"

static const struct rt_ws_refusal reserved_bits = {1002, "a reserved bit is set"};
static const struct rt_ws_refusal reserved_opcode = {1002, "the opcode is reserved"};
static const struct rt_ws_refusal not_masked = {1002, "a frame of a client is not masked"};
static const struct rt_ws_refusal masked = {1002, "a frame of a server is masked"};
static const struct rt_ws_refusal cut_control = {1002, "a control frame is fragmented"};
static const struct rt_ws_refusal long_control = {1002, "a control frame is longer than 125 bytes"};
static const struct rt_ws_refusal lost = {1002, "a continuation without a message"};
static const struct rt_ws_refusal interleaved = {1002, "a message inside another"};
static const struct rt_ws_refusal not_minimal = {1002, "the length is not in its shortest form"};
static const struct rt_ws_refusal negative = {1002, "the length has its highest bit set"};
static const struct rt_ws_refusal too_big = {1009, "the message is too big"};

enum {
    FIN = 0x80,
    RSV = 0x70,
    OPCODE = 0x0f,
    MASKED = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127
};

const struct rt_ws_refusal *rt_ws_check_start(const uint8_t *head, const struct rt_ws_context *c)
{
    unsigned opcode = head[0] & OPCODE;
    bool control = rt_ws_is_control(opcode);
    if ((head[0] & RSV) != 0)
        return &reserved_bits;
    if (opcode > (control ? RT_WS_PONG : RT_WS_BINARY))
        return &reserved_opcode;
    if (((head[1] & MASKED) != 0) != c->masked)
        return c->masked ? &not_masked : &masked;
    if (control && (head[0] & FIN) == 0)
        return &cut_control;
    if (control && (head[1] & LENGTH) > 125)
        return &long_control;
    if (!control && opcode == 0 && !c->message_open)
        return &lost;
    if (!control && opcode != 0 && c->message_open)
        return &interleaved;
    return NULL;
}

static size_t length_size(uint8_t second)
{
    unsigned length = second & LENGTH;
    return length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
}

size_t rt_ws_header_size(const uint8_t *head)
{
    return 2 + length_size(head[1]) + ((head[1] & MASKED) != 0 ? 4 : 0);
}

const struct rt_ws_refusal *rt_ws_parse_header(const uint8_t *head, const struct rt_ws_context *c,
                                               struct rt_ws_frame_header *ret_header)
{
    struct rt_ws_frame_header *h = ret_header;
    size_t extended = length_size(head[1]);
    h->fin = (head[0] & FIN) != 0;
    h->opcode = head[0] & OPCODE;
    h->masked = (head[1] & MASKED) != 0;
    h->len = extended > 0 ? 0 : head[1] & LENGTH;
    for (size_t i = 0; i < extended; i++)
        h->len = h->len << 8 | head[2 + i];
    if (h->masked)
        memcpy(h->key, head + 2 + extended, sizeof(h->key));
    if ((extended == 2 && h->len < LENGTH_16) || (extended == 8 && h->len <= UINT16_MAX))
        return &not_minimal;
    if (h->len >> 63 != 0)
        return &negative;
    uint64_t before = c->message_open ? c->message : 0;
    if (!rt_ws_is_control(h->opcode) &&
        (before > c->max_message || h->len > c->max_message - before))
        return &too_big;
    return NULL;
}
