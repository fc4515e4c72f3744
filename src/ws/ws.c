#include "ws/ws.h"

#include "base/alloc.h"
#include "base/rand.h"
#include "ws/assembly.h"
#include "ws/handshake.h"
#include "ws/internal.h"
#include "ws/mask.h"

enum {
    SENT_CLOSE = 1,
    GOT_CLOSE = 2,
};

enum {
    CONTROL_BURST = 100,  /* control frames at once */
    CONTROL_MS = 20,      /* one more after so many ms: 50 a second */
    CLOSE_TIMEOUT = 5000, /* ms for the peer's Close frame */
    SMALL = 1024,         /* a frame up to this size is built on the stack */
};

struct rt_ws_pong {
    size_t len;
    uint8_t data[RT_WS_CONTROL_MAX];
};

/* ---- sending -------------------------------------------------------------------------------- */

/* Masks through a small block, so that the caller's bytes stay. */
static int send_masked(struct rt_ws *ws, enum rt_ws_opcode opcode, struct rt_str payload)
{
    uint8_t block[SMALL], key[4];
    size_t size = rt_ws_header(opcode, payload.len, block);
    block[1] |= 0x80;
    rt_random(key, sizeof(key));
    memcpy(block + size, key, sizeof(key));
    int rc = rt_conn_send_copy(ws->conn, block, size + sizeof(key));
    for (size_t at = 0; at < payload.len && rc == 0; at += sizeof(block)) {
        size_t n = payload.len - at < sizeof(block) ? payload.len - at : sizeof(block);
        memcpy(block, payload.ptr + at, n);
        rt_ws_mask(block, n, key);
        rc = rt_conn_send_copy(ws->conn, block, n);
    }
    return rc;
}

/* Header and payload in one block: one piece of the queue, so that its limit takes them as one message. */
static int send_large(struct rt_ws *ws, const uint8_t *header, size_t size, struct rt_str payload)
{
    struct rt_bytes *bytes = rt_bytes_new(size + payload.len);
    if (bytes == NULL) {
        rt_conn_close(ws->conn, RT_CLOSE_ERROR); /* as rt_conn_send() does */
        return RT_ENOMEM;
    }
    memcpy(bytes->data, header, size);
    memcpy(bytes->data + size, payload.ptr, payload.len);
    bytes->len = (uint32_t)(size + payload.len);
    int rc = rt_conn_send(ws->conn, bytes, 0, bytes->len);
    rt_bytes_unref(bytes);
    return rc;
}

static int send_frame(struct rt_ws *ws, enum rt_ws_opcode opcode, struct rt_str payload)
{
    uint8_t block[RT_WS_HEADER_MAX + SMALL];
    if (ws->recv.from_server)
        return send_masked(ws, opcode, payload);
    size_t size = rt_ws_header(opcode, payload.len, block);
    if (payload.len > SMALL)
        return send_large(ws, block, size, payload);
    if (payload.len > 0)
        memcpy(block + size, payload.ptr, payload.len);
    return rt_conn_send_copy(ws->conn, block, size + payload.len);
}

bool rt_ws_open(const struct rt_ws *ws)
{
    return (ws->flags & (SENT_CLOSE | GOT_CLOSE)) == 0 && !rt_conn_closing(ws->conn);
}

int rt_ws_send(struct rt_ws *ws, enum rt_ws_opcode opcode, struct rt_str payload)
{
    return rt_ws_open(ws) ? send_frame(ws, opcode, payload) : RT_ECLOSED;
}

int rt_ws_send_frames(struct rt_ws *ws, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    return rt_ws_open(ws) ? rt_conn_send(ws->conn, bytes, off, len) : RT_ECLOSED;
}

/* ---- closing -------------------------------------------------------------------------------- */

/* The longest prefix of `text` that fits into a Close frame and ends between characters. */
static size_t reason_len(const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    if (len <= RT_WS_CONTROL_MAX - 2)
        return len;
    len = RT_WS_CONTROL_MAX - 2;
    while (len > 0 && ((uint8_t)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

static void send_close(struct rt_ws *ws, uint16_t code, const char *reason)
{
    uint8_t payload[RT_WS_CONTROL_MAX];
    size_t len = 0;
    if (code != 0) {
        size_t n = reason_len(reason);
        payload[0] = (uint8_t)(code >> 8);
        payload[1] = (uint8_t)code;
        if (n > 0)
            memcpy(payload + 2, reason, n);
        len = n + 2;
    }
    ws->flags |= SENT_CLOSE;
    ws->close_code = code != 0 ? code : 1005;
    send_frame(ws, RT_WS_CLOSE, rt_str_of(payload, len));
}

static void on_close_timeout(struct rt_timer *timer)
{
    struct rt_ws *ws = RT_CONTAINER(timer, struct rt_ws, timer);
    rt_conn_close(ws->conn, RT_CLOSE_TIMEOUT);
}

/* Nothing more is read; what is queued is sent, then TCP is closed. */
static void finish(struct rt_ws *ws)
{
    rt_timer_stop(rt_conn_loop(ws->conn), &ws->timer);
    rt_conn_finish(ws->conn);
}

void rt_ws_close(struct rt_ws *ws, uint16_t code, const char *reason)
{
    if (!rt_ws_open(ws))
        return;
    send_close(ws, code, reason);
    rt_timer_start(rt_conn_loop(ws->conn), &ws->timer, CLOSE_TIMEOUT, on_close_timeout);
}

void rt_ws_abort(struct rt_ws *ws)
{
    rt_conn_close(ws->conn, RT_CLOSE_LOCAL);
}

/* A Close frame of our own accord, unless one was sent. */
static void answer_close(struct rt_ws *ws, uint16_t code, const char *why)
{
    if ((ws->flags & SENT_CLOSE) != 0)
        return;
    if (ws->handler->on_closing != NULL)
        ws->handler->on_closing(ws);
    send_close(ws, code, why);
}

/* The peer broke the rules: there is nothing to wait for. */
static void fail(struct rt_ws *ws, uint16_t code, const char *why)
{
    answer_close(ws, code, why);
    finish(ws);
}

static void on_peer_close(struct rt_ws *ws, uint16_t code)
{
    answer_close(ws, code == 1005 ? 0 : code, NULL);
    ws->flags |= GOT_CLOSE;
    finish(ws);
}

/* A message that does not come to its end. */
static void cut_off(struct rt_unfinished *u, enum rt_unfinished_why why)
{
    struct rt_ws_assembly *a = RT_CONTAINER(u, struct rt_ws_assembly, unfinished);
    struct rt_ws *ws = RT_CONTAINER(a->owner, struct rt_ws, recv);
    rt_ws_recv_reset(&ws->recv);
    fail(ws, why == RT_UNFINISHED_LATE ? 1008 : 1013, rt_unfinished_text(why));
}

static bool is_paused(const struct rt_unfinished *u)
{
    const struct rt_ws_assembly *a = RT_CONTAINER(u, const struct rt_ws_assembly, unfinished);
    return rt_conn_paused(RT_CONTAINER(a->owner, const struct rt_ws, recv)->conn);
}

void rt_ws_pool_limit(struct rt_ws_pool *pool, struct rt_unfinished_set *unfinished)
{
    static const struct rt_unfinished_ops ops = {.cut_off = cut_off, .paused = is_paused};
    pool->unfinished = unfinished;
    pool->unfinished_ops = &ops;
}

struct rt_unfinished_set *rt_ws_pool_unfinished(const struct rt_ws_pool *pool)
{
    return pool != NULL ? pool->unfinished : NULL;
}

/* ---- control frames ------------------------------------------------------------------------- */

static bool take_token(struct rt_ws *ws)
{
    uint32_t now = (uint32_t)rt_loop_now(rt_conn_loop(ws->conn));
    uint32_t earned = (now - ws->control_time) / CONTROL_MS;
    if (earned >= CONTROL_BURST) {
        ws->control_tokens = CONTROL_BURST;
        ws->control_time = now;
    } else {
        uint32_t tokens = ws->control_tokens + earned;
        ws->control_tokens = (uint16_t)(tokens < CONTROL_BURST ? tokens : CONTROL_BURST);
        ws->control_time += earned * CONTROL_MS;
    }
    if (ws->control_tokens == 0)
        return false;
    ws->control_tokens--;
    return true;
}

/* Answers now, or when the peer has read what was sent before; then only the last of its pings, RFC 6455, section 5.5.3. */
static void on_ping(struct rt_ws *ws, const struct rt_ws_item *item)
{
    if (!rt_ws_open(ws))
        return;
    if (rt_conn_writable(ws->conn)) {
        send_frame(ws, RT_WS_PONG, rt_str_of(item->data, item->len));
        return;
    }
    if (ws->pong == NULL)
        ws->pong = rt_malloc(sizeof(*ws->pong));
    if (ws->pong == NULL)
        return; /* a ping that is not answered harms less than a connection that ends */
    memcpy(ws->pong->data, item->data, item->len);
    ws->pong->len = item->len;
}

static void drop_pong(struct rt_ws *ws)
{
    rt_free(ws->pong);
    ws->pong = NULL;
}

/* ---- the connection's callbacks ------------------------------------------------------------- */

static void on_item(struct rt_ws *ws, enum rt_ws_got got, const struct rt_ws_item *item)
{
    switch (got) {
    case RT_WS_GOT_MESSAGE:
        if (rt_ws_open(ws))
            ws->handler->on_message(ws, item->text, item->data, item->len);
        break;
    case RT_WS_GOT_PING:
    case RT_WS_GOT_PONG:
        if (!take_token(ws))
            fail(ws, 1008, "too many control frames");
        else if (got == RT_WS_GOT_PING)
            on_ping(ws, item);
        break;
    case RT_WS_GOT_CLOSE:
        on_peer_close(ws, item->code);
        break;
    case RT_WS_GOT_ERROR:
        fail(ws, item->code, item->why);
        break;
    case RT_WS_GOT_NOTHING:
        break;
    }
}

static void on_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    struct rt_ws *ws = user;
    struct rt_ws_item item;
    enum rt_ws_got got;
    while ((got = rt_ws_recv_next(&ws->recv, &data, &len, &item)) != RT_WS_GOT_NOTHING) {
        on_item(ws, got, &item);
        if (rt_conn_closing(conn)) {
            rt_ws_recv_reset(&ws->recv);
            return;
        }
    }
}

static void on_drain(struct rt_conn *conn, void *user)
{
    struct rt_ws *ws = user;
    (void)conn;
    if (ws->pong != NULL) {
        rt_ws_send(ws, RT_WS_PONG, rt_str_of(ws->pong->data, ws->pong->len));
        drop_pong(ws);
    }
    if (ws->handler->on_drain != NULL)
        ws->handler->on_drain(ws);
}

static void on_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    struct rt_ws *ws = user;
    rt_timer_stop(rt_conn_loop(conn), &ws->timer);
    rt_ws_recv_reset(&ws->recv);
    drop_pong(ws);
    ws->handler->on_close(ws, ws->close_code != 0 ? ws->close_code : 1006, reason);
}

const struct rt_conn_handler rt_ws_conn_handler = {
    .on_data = on_data,
    .on_closed = on_closed,
    .on_drain = on_drain,
};

/* ---- opening -------------------------------------------------------------------------------- */

void rt_ws_init(struct rt_ws *ws, struct rt_conn *conn, struct rt_ws_pool *pool,
                const struct rt_ws_handler *handler, uint32_t max_message)
{
    *ws = (struct rt_ws){.conn = conn, .handler = handler};
    ws->recv.pool = pool;
    ws->recv.max_message = max_message;
    ws->control_tokens = CONTROL_BURST;
    ws->control_time = (uint32_t)rt_loop_now(rt_conn_loop(conn));
}

static void send_101(struct rt_conn *conn, const char *accept, struct rt_str headers)
{
    static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               "Connection: Upgrade\r\nSec-WebSocket-Accept: ";
    char block[sizeof(head) + RT_WS_ACCEPT_LEN + 2];
    size_t len = sizeof(head) - 1;
    memcpy(block, head, len);
    memcpy(block + len, accept, RT_WS_ACCEPT_LEN);
    memcpy(block + len + RT_WS_ACCEPT_LEN, "\r\n", 2);
    rt_conn_send_copy(conn, block, len + RT_WS_ACCEPT_LEN + 2);
    rt_conn_send_copy(conn, headers.ptr, headers.len);
    rt_conn_send_copy(conn, "\r\n", 2);
}

void rt_ws_accept(struct rt_http_request *req, struct rt_ws_pool *pool, struct rt_ws *ws,
                  const struct rt_ws_handler *handler, uint32_t max_message, struct rt_str headers)
{
    char accept[RT_WS_ACCEPT_LEN + 1];
    struct rt_conn *conn = rt_http_conn(req);
    rt_ws_init(ws, conn, pool, handler, max_message);
    if (rt_ws_accept_value(rt_http_header(req, "sec-websocket-key"), accept) == 0)
        send_101(conn, accept, headers);
    else
        rt_conn_close(conn, RT_CLOSE_ERROR);
    rt_http_take_over(req, &rt_ws_conn_handler, ws);
}
