/* HTTP and WebSocket servers over connections without sockets, with a clock that only the test moves, and what a client does with
 * them: requests, answers, frames.
 *
 * A turn is as in net/: timers, then flush hooks, then what was deferred, then on_closed of connections.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_ENGINE_WIRE_H
#define TEST_UNIT_ENGINE_WIRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

/* Not every program needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"

#include "unit/http/fake_net.h"
#include "unit/ws/frames.h"

#include "http/server.h"
#include "ws/ws.h"

enum { PEERS_MAX = 32, TEXT_MAX = 300000 };

/* A client's connection and how much of what it was sent has been looked at. */
struct peer {
    struct rt_conn *conn;
    size_t at;
    uint64_t sent; /* by the client */
};

static struct {
    struct rt_loop loop;
    struct rt_list deferred;
    uint64_t exact; /* how far the clock has gone on since the turn began */
    void (*flush)(void *arg);
    void *flush_arg;
    struct rt_metrics metrics;
    struct rt_http_server *http;
    struct rt_ws_pool *pool;
    struct peer peers[PEERS_MAX];
    size_t peer_count;
    bool internal_listener; /* there is one besides that of new_peer() */
} w;

/* ---- what fake_net.h does not have ---- */

uint64_t rt_loop_now_exact(struct rt_loop *loop)
{
    return loop->now + w.exact;
}

void rt_timer_start_at(struct rt_loop *loop, struct rt_timer *timer, uint64_t at_ms,
                       void (*fn)(struct rt_timer *))
{
    rt_timer_start(loop, timer, 0, fn);
    timer->expires = at_ms;
}

void rt_loop_defer(struct rt_loop *loop, struct rt_deferred *deferred,
                   void (*fn)(struct rt_deferred *))
{
    (void)loop;
    deferred->fn = fn;
    rt_list_push(&w.deferred, &deferred->link);
}

bool rt_loop_behind(const struct rt_loop *loop)
{
    (void)loop;
    return false; /* all is written at once here */
}

int rt_loop_add_flush_hook(struct rt_loop *loop, void (*fn)(void *arg), void *arg)
{
    (void)loop;
    w.flush = fn;
    w.flush_arg = arg;
    return 0;
}

void rt_conn_set_queue_limit(struct rt_conn *conn, size_t bytes)
{
    (void)conn;
    (void)bytes;
}

uint64_t rt_conn_received(const struct rt_conn *conn)
{
    for (size_t i = 0; i < w.peer_count; i++)
        if (w.peers[i].conn == conn)
            return w.peers[i].sent;
    return 0;
}

static bool is_due(void)
{
    rt_list_for(it, &w.loop.timers)
        if (RT_CONTAINER(it, struct rt_timer, link)->expires <= w.loop.now)
            return true;
    return false;
}

/* Everything that this millisecond still owes: turns until nothing more is to be done. */
static void end_turn(void)
{
    struct rt_list *node;
    do {
        fake_advance(&w.loop, 0);
        if (w.flush)
            w.flush(w.flush_arg);
        for (size_t i = 0; i < w.peer_count; i++)
            if (w.peers[i].conn)
                fake_end_turn(w.peers[i].conn);
        while ((node = rt_list_pop(&w.deferred))) {
            struct rt_deferred *d = RT_CONTAINER(node, struct rt_deferred, link);
            d->fn(d);
        }
    } while (is_due() || !rt_list_empty(&w.deferred));
}

/* Moves the clock a millisecond at a time, so that what is due together happens in different turns. */
static void pass(uint64_t ms)
{
    end_turn();
    while (ms-- > 0) {
        fake_advance(&w.loop, 1);
        end_turn();
    }
}

/* ---- life ---- */

static void wire_init(void)
{
    memset(&w, 0, sizeof(w));
    fake_loop_init(&w.loop);
    rt_list_init(&w.deferred);
    rt_metrics_init(&w.metrics);
}

/* 0, or RT_ENOMEM. */
static int wire_start(uint64_t request_timeout)
{
    struct rt_http_options http = {.request_timeout = request_timeout,
                                   .internal_listener = w.internal_listener};
    int status = rt_ws_pool_new(&w.loop, &w.pool);
    return status ? status : rt_http_server_new(&w.loop, &http, &w.http, NULL);
}

/* The client sends. */
static void feed(struct peer *p, const void *data, size_t len)
{
    p->sent += len;
    fake_data(p->conn, data, len);
}

static void drop(struct peer *p)
{
    if (!p->conn)
        return;
    rt_conn_close(p->conn, RT_CLOSE_PEER);
    end_turn();
    fake_conn_free(p->conn);
    p->conn = NULL;
}

/* Every client goes. */
static void wire_drop_all(void)
{
    for (size_t i = 0; i < w.peer_count; i++)
        drop(&w.peers[i]);
}

static void wire_stop(void)
{
    if (w.pool)
        assert_int_equal(rt_ws_pool_lent(w.pool), 0);
    rt_http_server_free(w.http);
    rt_ws_pool_free(w.pool);
    assert_true(rt_list_empty(&w.loop.timers));
}

/* ---- expectations ---- */

static void expect_text_at(const char *got, size_t len, const char *want, const char *what,
                           int line)
{
    if (!rt_glob_match(rt_str_c(want), rt_str_of(got, len)))
        fail_msg("line %d: %s: got\n%.*s\ninstead of\n%s", line, what, (int)len, got, want);
}

static double metric(const char *name, const char *labels)
{
    for (const struct rt_metric *m = w.metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && (!labels || (m->labels && strstr(m->labels, labels))))
            return m->read ? m->read(m->arg) : (double)m->value;
    fail_msg("no metric %s", name);
    return 0;
}

/* ---- HTTP ---- */

static struct peer *new_peer_from(const char *address)
{
    assert_true(w.peer_count < PEERS_MAX);
    struct peer *p = &w.peers[w.peer_count++];
    p->conn = fake_conn_new(&w.loop, address);
    rt_http_accept(w.http, p->conn);
    return p;
}

#ifndef PEER_ADDRESS
#define PEER_ADDRESS "192.0.2.1"
#endif

static struct peer *new_peer(void)
{
    return new_peer_from(PEER_ADDRESS);
}

/* One request; `lines` end with CR LF each. `body` NULL: no Content-Length. */
static void request_raw(struct peer *p, const char *method, const char *target, const char *lines,
                        const void *body, size_t len)
{
    static char text[TEXT_MAX];
    int n = snprintf(text, 4096, "%s %s HTTP/1.1\r\nHost: h\r\n%s", method, target, lines);
    if (body)
        n += snprintf(text + n, 100, "Content-Length: %zu\r\n", len);
    n += snprintf(text + n, 3, "\r\n");
    if (len > 0)
        memcpy(text + n, body, len);
    feed(p, text, (size_t)n + len);
}

static char answer_head[8192]; /* of the answer looked at last: status line and header lines */

/* The next answer: its status; head and body into buffers. 0: none is there. Consumes it. */
static int take_answer(struct peer *p, const char **ret_body, size_t *ret_len)
{
    const char *from = p->conn->out + p->at;
    size_t left = p->conn->out_len - p->at;
    const char *end = left ? memmem(from, left, "\r\n\r\n", 4) : NULL;
    if (!end)
        return 0;
    size_t head = (size_t)(end - from) + 4;
    assert_true(head < sizeof(answer_head));
    memcpy(answer_head, from, head);
    answer_head[head] = '\0';
    const char *field = strstr(answer_head, "Content-Length: ");
    size_t len = field ? strtoul(field + 16, NULL, 10) : 0;
    assert_true(left >= head + len);
    *ret_body = from + head;
    *ret_len = len;
    p->at += head + len;
    return (int)strtol(answer_head + 9, NULL, 10);
}

/* `type`: what Content-Type must be; "" none. */
static void expect_answer_at(struct peer *p, int status, const char *type, const char *body,
                             int line)
{
    const char *got = "";
    size_t len = 0;
    end_turn();
    int seen = take_answer(p, &got, &len);
    if (seen != status)
        fail_msg("line %d: status %d instead of %d: %.*s", line, seen, status, (int)len, got);
    expect_text_at(got, len, body, "body", line);
    char field[200];
    snprintf(field, sizeof(field), "Content-Type: %s\r\n", type);
    if (*type ? !strstr(answer_head, field) : strstr(answer_head, "Content-Type:") != NULL)
        fail_msg("line %d: content type: %s", line, answer_head);
}
#define expect_answer(p, status, type, body) \
    expect_answer_at((p), (status), (type), (body), __LINE__)

static void expect_nothing_at(struct peer *p, int line)
{
    end_turn();
    if (p->conn->out_len != p->at)
        fail_msg("line %d: unexpected: %s", line, p->conn->out + p->at);
}
#define expect_nothing(p) expect_nothing_at((p), __LINE__)

/* ---- WebSocket ---- */

#define UPGRADE                                                                  \
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static void send_frame(struct peer *p, unsigned first, const void *data, size_t len)
{
    struct rt_buf out = RT_BUF_INIT;
    add_frame(&out, first, data, len);
    if (rt_buf_ok(&out)) /* unless a test makes allocations fail */
        feed(p, out.data, out.len);
    rt_buf_deinit(&out);
}

static void ws_text(struct peer *p, const char *text)
{
    send_frame(p, 0x81, text, strlen(text));
}

/* What came since the last look, a line each as in unit/ws/frames.h: "T text", "B bytes", "C code reason". */
static void expect_frames_at(struct peer *p, const char *want, int line)
{
    struct rt_buf log = RT_BUF_INIT;
    struct rt_ws_pool *pool = NULL;
    end_turn();
    assert_int_equal(rt_ws_pool_new(NULL, &pool), 0);
    struct rt_ws_recv r = {.pool = pool, .max_message = TEXT_MAX, .from_server = true};
    feed_recv(&r, p->conn->out + p->at, p->conn->out_len - p->at, &log);
    p->at = p->conn->out_len;
    rt_ws_recv_reset(&r);
    rt_ws_pool_free(pool);
    expect_text_at(log.data ? (const char *)log.data : "", log.len, want, "frames", line);
    rt_buf_deinit(&log);
}
#define expect_frames(p, want) expect_frames_at((p), (want), __LINE__)

#endif
