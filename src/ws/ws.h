/* WebSocket (RFC 6455), server side and client side (for the command line).
 *
 * Receiving (ws/recv.h): complete, unfragmented frames that lie whole in the read buffer are unmasked in place and delivered
 * without any state. Everything else (partial frames, fragments, control frames inside a message) goes through a wslay frame
 * context that is borrowed from a pool while a frame or message is open, and given back at the boundary: an idle connection
 * holds none. Text is UTF-8 checked, failing at the first impossible byte.
 * Sending: data frames are encoded once (rt_ws_frame_*) and shared; control frames are queued between them. Pings are answered
 * in order; while earlier output waits for the peer, one pong waits with it: newer pings replace it. Control frames pass a
 * token bucket (100, 50/s; beyond it: close 1008).
 * Close: rt_ws_close() queues a Close frame last, waits for the peer's (5 s), then closes TCP; the peer's Close is answered with
 * its code, then TCP is closed by us. Codes: 1002 protocol, 1007 bad UTF-8, 1009 too big, 1008 flood, 1011 out of memory.
 * Callbacks: on_message any number of times, on_close once and last (never from inside a call of this API; it comes at the
 * end of the turn).
 * Ownership: `struct rt_ws` is embedded in its user's struct, which must live until on_close. Thread: the loop. */
#ifndef RT_WS_WS_H
#define RT_WS_WS_H

#include "http/server.h"
#include "net/unfinished.h"
#include "ws/recv.h"

struct rt_ws;
struct rt_ws_pong;

struct rt_ws_handler {
    /* One whole message. `data` is valid and may be changed during the call, and never NULL. May call rt_ws_close(). */
    void (*on_message)(struct rt_ws *ws, bool text, uint8_t *data, size_t len);
    /* The connection is gone. `code` is the peer's or our close code, 1005 for a Close frame without, 1006 without one. */
    void (*on_close)(struct rt_ws *ws, uint16_t code, enum rt_close_reason reason);
    void (*on_drain)(struct rt_ws *ws); /* see rt_conn; may be NULL */
    /* A Close frame that nobody asked for by rt_ws_close() comes next: the answer to the peer's, or its refusal. What the
     * user has not handed over yet, although its cause came before, is sent now. May be NULL. */
    void (*on_closing)(struct rt_ws *ws);
};

/* All members are internal; rt_ws_accept() and rt_ws_connect() set them. */
struct rt_ws {
    struct rt_conn *conn;
    const struct rt_ws_handler *handler;
    struct rt_ws_recv recv;
    struct rt_ws_pong *pong; /* waits for the peer to read; NULL: none */
    uint16_t close_code;
    uint16_t control_tokens;
    uint32_t control_time; /* loop time of the last refill, ms */
    uint8_t flags;
    struct rt_timer timer; /* close handshake */
};

/* Pool of assemblies and the loop-wide state; one per loop. */
struct rt_ws_pool;
int rt_ws_pool_new(struct rt_loop *loop, struct rt_ws_pool **ret_pool);
/* Every connection must have closed. */
void rt_ws_pool_free(struct rt_ws_pool *pool);
/* Messages that have begun count there from now on; it outlives the pool. Close code 1008 for what takes too long, 1013 for too much memory. */
void rt_ws_pool_limit(struct rt_ws_pool *pool, struct rt_unfinished_set *unfinished);
/* NULL: none was set, or no pool. */
struct rt_unfinished_set *rt_ws_pool_unfinished(const struct rt_ws_pool *pool);
/* Connections in the middle of a frame or message. */
uint32_t rt_ws_pool_lent(const struct rt_ws_pool *pool);

/* Is the request acceptable as a WebSocket handshake (version 13, a key of 16 bytes)? 0, or a status to answer with (400, 426)
 * and a text. An answer with 426 needs RT_WS_UPGRADE_HEADERS. */
int rt_ws_check(const struct rt_http_request *req, const char **ret_text);
#define RT_WS_UPGRADE_HEADERS "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
/* Answers 101 (with extra header lines) and takes the connection over, of a request that rt_ws_check() accepts. Messages may
 * arrive before this returns. Never a subprotocol or extension, unless `headers` names one. rt_http_conn(req) must not be
 * NULL. When memory is out the connection is closed, and on_close comes as always. */
void rt_ws_accept(struct rt_http_request *req, struct rt_ws_pool *pool, struct rt_ws *ws,
                  const struct rt_ws_handler *handler, uint32_t max_message, struct rt_str headers);

/* Whole frames: FIN, not masked (server). Appends header and payload. */
enum rt_ws_opcode {
    RT_WS_TEXT = 1,
    RT_WS_BINARY = 2,
    RT_WS_CLOSE = 8,
    RT_WS_PING = 9,
    RT_WS_PONG = 10
};
#define RT_WS_HEADER_MAX 10
/* Writes the header of a server frame and returns its length (2, 4 or 10). */
size_t rt_ws_header(enum rt_ws_opcode opcode, uint64_t payload_len, uint8_t out[RT_WS_HEADER_MAX]);
void rt_ws_frame(struct rt_buf *out, enum rt_ws_opcode opcode, struct rt_str payload);

/* Queues one message of our own to this connection (encoded now; masked when we are the client). RT_ECLOSED after a Close
 * frame in either direction; else as rt_conn_send(). */
int rt_ws_send(struct rt_ws *ws, enum rt_ws_opcode opcode, struct rt_str payload);
/* Queues frames that are encoded already (server side). */
int rt_ws_send_frames(struct rt_ws *ws, struct rt_bytes *bytes, uint32_t off, uint32_t len);
/* code 0: an empty Close frame. Idempotent; messages that arrive after it are dropped. */
void rt_ws_close(struct rt_ws *ws, uint16_t code, const char *reason);
/* Drops the connection without a close handshake. */
void rt_ws_abort(struct rt_ws *ws);
bool rt_ws_open(const struct rt_ws *ws); /* neither side has closed */

#endif
