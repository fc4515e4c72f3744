/* Engine.IO over the real http/ and ws/ and connections without sockets, with a clock that only the test moves.
 *
 * One mount at /eio/ whose user writes down what it is told, a line each: "open polling", "text hello", "bytes ..", "transport
 * websocket", "pong", "close REASON". A turn is as in net/: timers, then what was deferred, then on_closed of connections.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_ENGINE_ENGINE_RIG_H
#define TEST_UNIT_ENGINE_ENGINE_RIG_H

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

#include "base/alloc.h"
#include "proto/socketio/engine.h"

enum { PEERS_MAX = 32, TEXT_MAX = 300000, SID_MAX = 64 };

/* A client's connection and how much of what it was sent has been looked at. */
struct peer {
    struct rt_conn *conn;
    size_t at;
};

static struct {
    struct rt_loop loop;
    struct rt_list deferred;
    uint64_t exact; /* how far the clock has gone on since the turn began */
    struct rt_engineio_config config;
    struct rt_eio_options options;
    struct rt_metrics metrics;
    struct rt_http_server *http;
    struct rt_ws_pool *pool;
    struct rt_eio_mount *mount;
    struct peer peers[PEERS_MAX];
    size_t peer_count;
    struct rt_buf log;              /* what the user was told */
    struct rt_eio_session *session; /* opened last */
    int open_status;                /* what on_open returns */
    bool echo;                      /* messages are sent back */
    void (*on_open)(struct rt_eio_session *s);
    void (*on_text)(struct rt_eio_session *s, struct rt_str text);
    int opens, closes;
    bool drained;
    uint64_t request_timeout; /* of HTTP */
    long live;
} t;

/* ---- what fake_net.h does not have ---- */

uint64_t rt_loop_now_exact(struct rt_loop *loop)
{
    return loop->now + t.exact;
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
    rt_list_push(&t.deferred, &deferred->link);
}

void rt_conn_set_queue_limit(struct rt_conn *conn, size_t bytes)
{
    (void)conn;
    (void)bytes;
}

/* Everything that a turn still owes, without moving the clock. */
static void end_turn(void)
{
    struct rt_list *node;
    do {
        fake_advance(&t.loop, 0);
        for (size_t i = 0; i < t.peer_count; i++)
            if (t.peers[i].conn)
                fake_end_turn(t.peers[i].conn);
        while ((node = rt_list_pop(&t.deferred))) {
            struct rt_deferred *d = RT_CONTAINER(node, struct rt_deferred, link);
            d->fn(d);
        }
    } while (!rt_list_empty(&t.deferred));
}

/* Moves the clock a millisecond at a time, so that what is due together happens in different turns. */
static void pass(uint64_t ms)
{
    end_turn();
    while (ms-- > 0) {
        fake_advance(&t.loop, 1);
        end_turn();
    }
}

/* ---- the user ---- */

static const char *const TRANSPORTS[] = {"polling", "websocket"};

static void user_pong(struct rt_eio_session *s)
{
    (void)s;
    rt_buf_add_c(&t.log, "pong\n");
}

static int user_open(struct rt_eio_session *s)
{
    assert_ptr_equal(rt_eio_of_user(rt_eio_user(s)), s);
    assert_int_equal((uintptr_t)rt_eio_user(s) % 16, 0);
    assert_ptr_equal(rt_eio_arg(s), &t);
    rt_buf_printf(&t.log, "open %s\n", TRANSPORTS[rt_eio_transport(s)]);
    t.opens++;
    t.session = s;
    rt_eio_on_pong(s, user_pong);
    if (t.on_open)
        t.on_open(s);
    return t.open_status;
}

static void user_message(struct rt_eio_session *s, bool binary, uint8_t *data, size_t len)
{
    struct rt_str message = rt_str_of(data, len);
    rt_buf_printf(&t.log, "%s %.*s\n", binary ? "bytes" : "text", RT_STR_ARG(message));
    if (t.echo)
        (void)rt_eio_send(s, binary, message);
    if (t.on_text && !binary)
        t.on_text(s, message);
}

static void user_transport(struct rt_eio_session *s, enum rt_eio_transport transport)
{
    assert_int_equal(rt_eio_transport(s), transport);
    rt_buf_printf(&t.log, "transport %s\n", TRANSPORTS[transport]);
}

static void user_close(struct rt_eio_session *s, enum rt_eio_reason reason)
{
    rt_buf_printf(&t.log, "close %s\n", rt_eio_reason_name(reason));
    t.closes++;
    if (t.session == s)
        t.session = NULL;
}

static const struct rt_eio_user USER = {.size = 48,
                                        .on_open = user_open,
                                        .on_message = user_message,
                                        .on_transport = user_transport,
                                        .on_close = user_close};

/* ---- life ---- */

static void set_defaults(void)
{
    t.config = (struct rt_engineio_config){.ping_interval = 25000,
                                           .ping_timeout = 20000,
                                           .upgrade_timeout = 10000,
                                           .max_payload = 100000,
                                           .polling = true,
                                           .websocket = true,
                                           .upgrades = true,
                                           .cookie = ""};
    t.options = (struct rt_eio_options){.path = "/eio/",
                                        .config = &t.config,
                                        .user = &USER,
                                        .user_arg = &t,
                                        .send_queue = 200000,
                                        .protocol = "test"};
}

/* 0, or RT_ENOMEM with nothing left behind but what tear_down() takes. */
static int mount(void)
{
    struct rt_http_options http = {.request_timeout = t.request_timeout};
    rt_metrics_init(&t.metrics);
    t.options.metrics = &t.metrics;
    int status = rt_ws_pool_new(&t.loop, &t.pool);
    if (status == 0)
        status = rt_http_server_new(&t.loop, &http, &t.http, NULL);
    if (status == 0)
        status = rt_eio_mount(t.http, &t.loop, t.pool, &t.options, &t.mount, NULL);
    return status;
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
#ifdef RT_TEST
    t.live = rt_alloc_live();
#endif
    fake_loop_init(&t.loop);
    rt_list_init(&t.deferred);
    set_defaults();
    return 0;
}

/* For tests that have nothing to change in the configuration. */
static int set_up_mounted(void **state)
{
    return set_up(state) ? -1 : mount();
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

static void on_drained(void *arg)
{
    (void)arg;
    assert_int_equal(t.opens, t.closes);
    t.drained = true;
}

/* Nothing may be left: no session, no timer, no block. */
static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < t.peer_count; i++)
        drop(&t.peers[i]);
    if (t.mount && !t.drained) {
        rt_eio_drain(t.mount, 0, on_drained, NULL);
        end_turn();
        assert_true(t.drained);
    }
    assert_int_equal(t.opens, t.closes);
    rt_eio_unmount(t.mount);
    if (t.pool)
        assert_int_equal(rt_ws_pool_lent(t.pool), 0);
    rt_http_server_free(t.http);
    rt_ws_pool_free(t.pool);
    rt_buf_deinit(&t.log);
    assert_true(rt_list_empty(&t.loop.timers));
#ifdef RT_TEST
    assert_int_equal(rt_alloc_live(), t.live);
#endif
    return 0;
}

/* ---- expectations ---- */

static void expect_text_at(const char *got, size_t len, const char *want, const char *what,
                           int line)
{
    if (!rt_glob_match(rt_str_c(want), rt_str_of(got, len)))
        fail_msg("line %d: %s: got\n%.*s\ninstead of\n%s", line, what, (int)len, got, want);
}

/* What the user was told since the last look, a line each. */
static void expect_log_at(const char *want, int line)
{
    end_turn();
    expect_text_at((const char *)t.log.data, t.log.len, want, "the user's log", line);
    rt_buf_clear(&t.log);
}
#define expect_log(want) expect_log_at((want), __LINE__)

static double metric(const char *name, const char *labels)
{
    for (const struct rt_metric *m = t.metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && (!labels || strstr(m->labels, labels)))
            return m->read ? m->read(m->arg) : (double)m->value;
    fail_msg("no metric %s", name);
    return 0;
}

/* ---- HTTP ---- */

static struct peer *new_peer(void)
{
    assert_true(t.peer_count < PEERS_MAX);
    struct peer *p = &t.peers[t.peer_count++];
    p->conn = fake_conn_new(&t.loop, "192.0.2.1");
    rt_http_accept(t.http, p->conn);
    return p;
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
    fake_data(p->conn, text, (size_t)n + len);
}

static void request(struct peer *p, const char *method, const char *query, const char *lines)
{
    char target[1024];
    snprintf(target, sizeof(target), "/eio/?%s", query);
    request_raw(p, method, target, lines, NULL, 0);
}

static void get(struct peer *p, const char *sid)
{
    char query[256];
    snprintf(query, sizeof(query), "EIO=4&transport=polling&t=abc&sid=%s", sid);
    request(p, "GET", query, "");
}

static void post_bytes(struct peer *p, const char *sid, const void *body, size_t len)
{
    char target[256];
    snprintf(target, sizeof(target), "/eio/?EIO=4&transport=polling&sid=%s", sid);
    request_raw(p, "POST", target, "Content-Type: text/plain;charset=UTF-8\r\n", body, len);
}

static void post(struct peer *p, const char *sid, const char *body)
{
    post_bytes(p, sid, body, strlen(body));
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

#define POLL_TYPE "text/plain; charset=UTF-8"

static void expect_poll_at(struct peer *p, const char *body, int line)
{
    expect_answer_at(p, 200, POLL_TYPE, body, line);
    assert_non_null(strstr(answer_head, "Cache-Control: no-store\r\n"));
}
#define expect_poll(p, body) expect_poll_at((p), (body), __LINE__)
#define expect_ok(p)         expect_answer((p), 200, "text/html", "ok")
#define expect_error(p, status, number, text)        \
    expect_answer((p), (status), "application/json", \
                  "{\"code\":" #number ",\"message\":\"" text "\"}")
#define expect_unknown(p) expect_error((p), 400, 1, "Session ID unknown")

static void expect_nothing_at(struct peer *p, int line)
{
    end_turn();
    if (p->conn->out_len != p->at)
        fail_msg("line %d: unexpected: %s", line, p->conn->out + p->at);
}
#define expect_nothing(p) expect_nothing_at((p), __LINE__)

/* ---- sessions ---- */

static void take_sid(const char *packet, size_t len, char sid[SID_MAX])
{
    const char *from = memmem(packet, len, "{\"sid\":\"", 8);
    assert_non_null(from);
    from += 8;
    const char *end = memchr(from, '"', len - (size_t)(from - packet));
    assert_non_null(end);
    assert_true(end - from < SID_MAX);
    memcpy(sid, from, (size_t)(end - from));
    sid[end - from] = '\0';
}

/* Opens a session over polling. */
static void open_polling(struct peer *p, char sid[SID_MAX])
{
    const char *body = "";
    size_t len = 0;
    request(p, "GET", "EIO=4&transport=polling", "");
    end_turn();
    assert_int_equal(take_answer(p, &body, &len), 200);
    assert_true(len > 0 && body[0] == '0');
    take_sid(body, len, sid);
    expect_log("open polling\n");
}

/* ---- WebSocket ---- */

#define UPGRADE                                                                  \
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* Sends the request and takes the 101. */
static void open_socket(struct peer *p, const char *query)
{
    const char *body = "";
    size_t len = 0;
    char all[512];
    snprintf(all, sizeof(all), "EIO=4&transport=websocket%s%s", *query ? "&" : "", query);
    request(p, "GET", all, UPGRADE);
    assert_int_equal(take_answer(p, &body, &len), 101);
}

static void send_frame(struct peer *p, unsigned first, const void *data, size_t len)
{
    struct rt_buf out = RT_BUF_INIT;
    add_frame(&out, first, data, len);
    if (rt_buf_ok(&out)) /* unless a test makes allocations fail */
        fake_data(p->conn, out.data, out.len);
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

/* Opens a session over a WebSocket. */
static void open_websocket(struct peer *p, const char *query, char sid[SID_MAX])
{
    open_socket(p, query);
    end_turn();
    take_sid(p->conn->out + p->at, p->conn->out_len - p->at, sid);
    p->at = p->conn->out_len;
    expect_log("open websocket\n");
}

/* A second connection probes for an upgrade of the session; its answer is taken. */
static void probe(struct peer *p, const char *sid)
{
    char query[128];
    snprintf(query, sizeof(query), "sid=%s", sid);
    open_socket(p, query);
    ws_text(p, "2probe");
    expect_frames(p, "T 3probe\n");
}

#endif
