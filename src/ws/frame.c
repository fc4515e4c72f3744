/* Encoding of server frames: final, not masked. */
#include "ws/ws.h"

size_t rt_ws_header(enum rt_ws_opcode opcode, uint64_t payload_len, uint8_t out[RT_WS_HEADER_MAX])
{
    out[0] = (uint8_t)(0x80 | opcode);
    if (payload_len < 126) {
        out[1] = (uint8_t)payload_len;
        return 2;
    }
    unsigned bytes = payload_len <= UINT16_MAX ? 2 : 8;
    out[1] = bytes == 2 ? 126 : 127;
    for (unsigned i = 0; i < bytes; i++)
        out[2 + i] = (uint8_t)(payload_len >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

void rt_ws_frame(struct rt_buf *out, enum rt_ws_opcode opcode, struct rt_str payload)
{
    uint8_t header[RT_WS_HEADER_MAX];
    size_t len = rt_ws_header(opcode, payload.len, header);
    if (rt_buf_reserve(out, len + payload.len) == NULL)
        return;
    rt_buf_add(out, header, len);
    rt_buf_add_str(out, payload);
}
