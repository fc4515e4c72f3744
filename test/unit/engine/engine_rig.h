/* Engine.IO over the real http/ and ws/ and connections without sockets, with a clock that only the test moves.
 *
 * One mount at /eio/ whose user writes down what it is told, a line each: "open polling", "text hello", "bytes ..", "transport
 * websocket", "pong", "close REASON". A turn is as in net/: timers, then what was deferred, then on_closed of connections.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_ENGINE_ENGINE_RIG_H
#define TEST_UNIT_ENGINE_ENGINE_RIG_H

#include "unit/engine/wire.h"

#include "base/alloc.h"
#include "proto/socketio/engine.h"

enum { SID_MAX = 64 };

static struct {
    struct rt_engineio_config config;
    struct rt_eio_options options;
    struct rt_eio_mount *mount;
    struct rt_buf log;              /* what the user was told */
    struct rt_eio_session *session; /* opened last */
    int open_status;                /* what on_open returns */
    bool echo;                      /* messages are sent back */
    void (*on_open)(struct rt_eio_session *s);
    void (*on_ready)(struct rt_eio_session *s);
    void (*on_text)(struct rt_eio_session *s, struct rt_str text);
    void (*on_transport)(struct rt_eio_session *s);
    int opens, closes;
    bool drained;
    uint64_t request_timeout; /* of HTTP */
    long live;
} t;

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

static void user_ready(struct rt_eio_session *s)
{
    if (rt_eio_revision(s) == 3)
        rt_buf_add_c(&t.log, "ready\n");
    if (t.on_ready)
        t.on_ready(s);
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
    assert_int_not_equal(rt_eio_transport(s), transport);
    if (t.on_transport)
        t.on_transport(s);
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
                                        .on_ready = user_ready,
                                        .on_message = user_message,
                                        .on_transport = user_transport,
                                        .on_close = user_close};

/* ---- life ---- */

static const char *METHODS[] = {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"};
static const char *ATTRIBUTES[] = {"Path=/", "HttpOnly", "SameSite=Lax"};

static void set_defaults(void)
{
    t.config = (struct rt_engineio_config){.ping_interval = 25000,
                                           .ping_timeout = 20000,
                                           .upgrade_timeout = 10000,
                                           .max_payload = 100000,
                                           .polling = true,
                                           .websocket = true,
                                           .upgrades = true,
                                           .cors_methods = {METHODS, 6},
                                           .cookie = "",
                                           .cookie_attributes = {ATTRIBUTES, 3}};
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
    rt_metrics_init(&w.metrics);
    t.options.metrics = &w.metrics;
    int status = wire_start(t.request_timeout);
    if (status == 0)
        status = rt_eio_mount(w.http, &w.loop, w.pool, &t.options, &t.mount, NULL);
    return status;
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
#ifdef RT_TEST
    t.live = rt_alloc_live();
#endif
    wire_init();
    set_defaults();
    return 0;
}

/* For tests that have nothing to change in the configuration. */
static int set_up_mounted(void **state)
{
    return set_up(state) ? -1 : mount();
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
    wire_drop_all();
    if (t.mount && !t.drained) {
        rt_eio_drain(t.mount, 0, on_drained, NULL);
        end_turn();
        assert_true(t.drained);
    }
    assert_int_equal(t.opens, t.closes);
    rt_eio_unmount(t.mount);
    wire_stop();
    rt_buf_deinit(&t.log);
#ifdef RT_TEST
    assert_int_equal(rt_alloc_live(), t.live);
#endif
    return 0;
}

/* ---- expectations ---- */

/* What the user was told since the last look, a line each. */
static void expect_log_at(const char *want, int line)
{
    end_turn();
    expect_text_at((const char *)t.log.data, t.log.len, want, "the user's log", line);
    rt_buf_clear(&t.log);
}
#define expect_log(want) expect_log_at((want), __LINE__)

/* ---- HTTP ---- */

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
