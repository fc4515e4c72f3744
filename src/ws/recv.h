/* Receiving WebSocket frames: bytes in, messages and control frames out. Pure: no socket, no clock.
 *
 * Frames that are final and lie whole in the input are unmasked in place and given out without any state (the fast path).
 * Everything else goes through an assembly: a wslay frame context and a contiguous buffer for the message, borrowed from the
 * pool while a frame or message is open. The rules are checked by us with the first bytes that show them: reserved bits and
 * opcodes, masking, control frames, order of fragments with two bytes; the limit with the length, before any payload; UTF-8
 * with the first impossible byte. Fragments are not counted: they cost nothing but their bytes.
 * After a Close frame or an error whatever follows is ignored.
 * Ownership: embedded by its user, who calls rt_ws_recv_reset() in the end. Thread: the loop. */
#ifndef RT_WS_RECV_H
#define RT_WS_RECV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rt_ws_pool;
struct rt_ws_assembly;

struct rt_ws_recv {
    struct rt_ws_pool *pool;
    struct rt_ws_assembly *assembly; /* NULL when idle */
    uint32_t max_message;            /* bytes, all fragments together */
    bool from_server;                /* we are the client: frames are not masked */
    bool ended;
};

enum rt_ws_got {
    RT_WS_GOT_NOTHING, /* all input was used */
    RT_WS_GOT_MESSAGE,
    RT_WS_GOT_PING,
    RT_WS_GOT_PONG,
    RT_WS_GOT_CLOSE,
    RT_WS_GOT_ERROR, /* close the connection with `code` */
};

/* Valid until the next call; `data` is never NULL but for RT_WS_GOT_ERROR. */
struct rt_ws_item {
    uint8_t *data; /* message, payload of a ping or pong, reason of a Close frame */
    size_t len;
    bool text;
    uint16_t
        code; /* of a Close frame, 1005: it has none; or of an error: 1002, 1007, 1009, 1011 (out of memory) */
    const char *why; /* of an error: constant text */
};

/* Takes from the input up to the next item. Call it until RT_WS_GOT_NOTHING, or reset. The input is unmasked in place. */
enum rt_ws_got rt_ws_recv_next(struct rt_ws_recv *r, uint8_t **data, size_t *len,
                               struct rt_ws_item *item);
/* Gives borrowed memory back and ignores whatever follows. */
void rt_ws_recv_reset(struct rt_ws_recv *r);

/* May this code stand in a Close frame? RFC 6455, section 7.4, and the codes registered since. */
bool rt_ws_close_code_valid(unsigned code);

#endif
