/* Reading the header of a WebSocket frame (RFC 6455, section 5.2) and what is forbidden in it. Internal to ws/. Pure. */
#ifndef RT_WS_HEADER_H
#define RT_WS_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_WS_HEADER_LIMIT 14 /* a client's longest header */

struct rt_ws_frame_header {
    bool fin, masked;
    uint8_t opcode;
    uint8_t key[4];
    uint64_t len; /* of the payload */
};

/* Why a peer is closed; `why` is constant text. */
struct rt_ws_refusal {
    uint16_t code;
    const char *why;
};

/* What the reader knows. */
struct rt_ws_context {
    bool masked;       /* frames must be masked (we are the server), or must not */
    bool message_open; /* a continuation is due */
    uint64_t message;  /* bytes of it so far */
    uint32_t max_message;
};

static inline bool rt_ws_is_control(unsigned opcode)
{
    return (opcode & 8) != 0;
}

/* Of the first two bytes. NULL: fine. */
const struct rt_ws_refusal *rt_ws_check_start(const uint8_t *head, const struct rt_ws_context *c);
/* Bytes of the header that begins with these two. */
size_t rt_ws_header_size(const uint8_t *head);
/* Of a whole header whose start is fine. NULL: fine. */
const struct rt_ws_refusal *rt_ws_parse_header(const uint8_t *head, const struct rt_ws_context *c,
                                               struct rt_ws_frame_header *ret_header);

#endif
