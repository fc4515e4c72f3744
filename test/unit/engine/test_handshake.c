/* Handshakes: which request gets what, the open packet, and who is turned away. */
#include "unit/engine/engine_rig.h"

#define BOTH(sid_, upgrades_)                                                     \
    "0{\"sid\":\"" sid_ "\",\"upgrades\":[" upgrades_ "],\"pingInterval\":25000," \
    "\"pingTimeout\":20000,\"maxPayload\":100000}"
#define ANY_SID "????????????????????"

static void mounted(void)
{
    assert_int_equal(mount(), 0);
}

/* ---- errors ---- */

static void test_error_table(void **state)
{
    static const struct {
        const char *method, *query;
        int status;
        const char *body;
    } rows[] = {
        {"GET", "", 400, "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4", 400, "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4&transport=", 400, "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4&transport=tcp", 400, "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4&transport=Polling", 400, "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4&transport=webtransport", 400,
         "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4&transport=constructor", 400,
         "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"POST", "transport=tcp&sid=x", 400, "{\"code\":0,\"message\":\"Transport unknown\"}"},
        {"GET", "EIO=4&transport=polling&sid=x", 400,
         "{\"code\":1,\"message\":\"Session ID unknown\"}"},
        {"POST", "EIO=4&transport=polling&sid=x", 400,
         "{\"code\":1,\"message\":\"Session ID unknown\"}"},
        {"GET", "EIO=3&transport=polling&sid=x", 400,
         "{\"code\":1,\"message\":\"Session ID unknown\"}"},
        {"GET", "EIO=4&transport=websocket&sid=x", 400,
         "{\"code\":1,\"message\":\"Session ID unknown\"}"},
        {"POST", "EIO=4&transport=polling", 400,
         "{\"code\":2,\"message\":\"Bad handshake method\"}"},
        {"PUT", "EIO=4&transport=polling", 400,
         "{\"code\":2,\"message\":\"Bad handshake method\"}"},
        {"DELETE", "EIO=4&transport=polling", 400,
         "{\"code\":2,\"message\":\"Bad handshake method\"}"},
        {"OPTIONS", "EIO=4&transport=polling", 400,
         "{\"code\":2,\"message\":\"Bad handshake method\"}"},
        {"GET", "EIO=4&transport=websocket", 400, "{\"code\":3,\"message\":\"Bad request\"}"},
        {"GET", "EIO=3&transport=polling", 400,
         "{\"code\":5,\"message\":\"Unsupported protocol version\"}"},
        {"GET", "transport=polling", 400,
         "{\"code\":5,\"message\":\"Unsupported protocol version\"}"},
        {"GET", "EIO=04&transport=polling", 400,
         "{\"code\":5,\"message\":\"Unsupported protocol version\"}"},
        {"GET", "EIO=&transport=polling", 400,
         "{\"code\":5,\"message\":\"Unsupported protocol version\"}"},
        {"GET", "EIO=4&EIO=3&transport=polling", 400,
         "{\"code\":5,\"message\":\"Unsupported protocol version\"}"},
    };
    (void)state;
    struct peer *p = new_peer();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        request(p, rows[i].method, rows[i].query, "");
        expect_answer(p, rows[i].status, "application/json", rows[i].body);
    }
    assert_int_equal(metric("session_requests_refused_total", NULL),
                     sizeof(rows) / sizeof(rows[0]));
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    expect_log("");
}

static void test_methods_of_a_session(void **state)
{
    static const char *const methods[] = {"HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"};
    char sid[SID_MAX], query[128];
    (void)state;
    struct peer *p = new_peer();
    open_polling(p, sid);
    snprintf(query, sizeof(query), "EIO=4&transport=polling&sid=%s", sid);
    for (size_t i = 0; i < 5; i++) {
        request(p, methods[i], query, "");
        expect_answer(p, 500, "", "");
    }
    post(p, sid, "4still here");
    expect_ok(p);
    expect_log("text still here\n");
}

/* A WebSocket client reads no JSON, and never sees a 101 before the refusal. */
static void test_websocket_errors(void **state)
{
    static const struct {
        const char *query;
        int status;
        const char *body;
    } rows[] = {
        {"EIO=4&transport=polling", 400, "Bad request"},
        {"EIO=3&transport=websocket", 400, "Unsupported protocol version"},
        {"transport=websocket", 400, "Unsupported protocol version"},
        {"EIO=4&transport=abc", 400, "Transport unknown"},
        {"EIO=4", 400, "Transport unknown"},
        {"EIO=4&transport=websocket&sid=abc", 400, "Session ID unknown"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *p = new_peer();
        request(p, "GET", rows[i].query, UPGRADE);
        expect_answer(p, rows[i].status, "text/html", rows[i].body);
        assert_true(p->conn->finished);
        drop(p);
    }
    struct peer *p = new_peer();
    request(p, "GET", "EIO=4&transport=websocket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    expect_answer(p, 426, "text/html", "*");
    assert_non_null(strstr(answer_head, "Sec-WebSocket-Version: 13\r\n"));
    p = new_peer();
    request(p, "GET", "EIO=4&transport=websocket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: short\r\n");
    expect_answer(p, 400, "text/html", "*");
    expect_log("");
}

static void test_transports_off(void **state)
{
    (void)state;
    t.config.polling = false;
    mounted();
    struct peer *p = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_error(p, 400, 0, "Transport unknown");
    char sid[SID_MAX];
    open_websocket(p, "", sid);
}

static void test_no_websocket(void **state)
{
    (void)state;
    t.config.websocket = false;
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_poll(p, BOTH(ANY_SID, ""));
    request(q, "GET", "EIO=4&transport=websocket", UPGRADE);
    expect_answer(q, 400, "text/html", "Transport unknown");
}

static void test_paths(void **state)
{
    (void)state;
    struct peer *p = new_peer();
    request_raw(p, "GET", "/eio/xyz?EIO=4&transport=polling", "", NULL, 0);
    expect_poll(p, BOTH(ANY_SID, "\"websocket\""));
    request_raw(p, "GET", "/eio?EIO=4&transport=polling", "", NULL, 0);
    expect_answer(p, 404, "application/json", "*not_found*");
}

/* ---- the open packet ---- */

static void test_open_packet(void **state)
{
    (void)state;
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling&t=xyz&token=a%20b", "");
    expect_poll(p, BOTH(ANY_SID, "\"websocket\""));
    char length[64];
    snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
             strlen(BOTH(ANY_SID, "\"websocket\"")));
    assert_non_null(strstr(answer_head, length));
    assert_null(strstr(answer_head, "Set-Cookie"));
    assert_null(strstr(answer_head, "Access-Control"));
    open_socket(q, "");
    expect_frames(q, "T * bytes *\n");
    expect_log("open polling\nopen websocket\n");
    assert_int_equal(metric("sessions_opened_total", "transport=\"polling\""), 1);
    assert_int_equal(metric("sessions_opened_total", "transport=\"websocket\""), 1);
    assert_int_equal(metric("sessions", NULL), 2);
}

/* Over a WebSocket there is nothing left to upgrade to. */
static void test_open_packet_of_websocket(void **state)
{
    (void)state;
    struct peer *p = new_peer();
    open_socket(p, "");
    end_turn();
    const char *frame = p->conn->out + p->at;
    assert_int_equal((uint8_t)frame[0], 0x81);
    size_t len = (uint8_t)frame[1];
    assert_true(len < 126);
    expect_text_at(frame + 2, len, BOTH(ANY_SID, ""), "open packet", __LINE__);
    p->at = p->conn->out_len;
}

static void test_ids(void **state)
{
    char a[SID_MAX], b[SID_MAX];
    (void)state;
    t.options.node = "node-1";
    mounted();
    struct peer *p = new_peer();
    open_polling(p, a);
    open_polling(p, b);
    assert_int_equal(strlen(a), 7 + 20);
    assert_memory_equal(a, "node-1.", 7);
    assert_string_not_equal(a, b);
    for (const char *c = a + 7; *c; c++)
        assert_non_null(
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", *c));
    post(p, a, "4to the first");
    expect_ok(p);
    expect_log("text to the first\n");
    post(p, a + 7, "4without the prefix");
    expect_unknown(p);
}

static void test_no_upgrades(void **state)
{
    char sid[SID_MAX], query[128];
    (void)state;
    t.config.upgrades = false;
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    end_turn();
    take_sid(p->conn->out, p->conn->out_len, sid);
    expect_poll(p, BOTH(ANY_SID, ""));
    snprintf(query, sizeof(query), "sid=%s", sid);
    open_socket(q, query);
    expect_frames(q, "C 1005 \n");
    post(p, sid, "4on");
    expect_ok(p);
}

static void test_cookie(void **state)
{
    char sid[SID_MAX], cookie[128];
    (void)state;
    t.config.cookie = "io";
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    open_polling(p, sid);
    snprintf(cookie, sizeof(cookie), "Set-Cookie: io=%s; Path=/; HttpOnly; SameSite=Lax\r\n", sid);
    assert_non_null(strstr(answer_head, cookie));
    get(p, sid);
    (void)rt_eio_send(t.session, false, RT_STR("x"));
    expect_poll(p, "4x");
    assert_null(strstr(answer_head, "Set-Cookie"));
    open_socket(q, "");
    assert_non_null(strstr(answer_head, "Set-Cookie: io="));
}

static void test_cookie_attributes(void **state)
{
    static const char *attributes[] = {"Secure", "SameSite=None", "Domain=a.example"};
    char sid[SID_MAX], cookie[128];
    (void)state;
    t.config.cookie = "c";
    t.config.cookie_attributes = (struct rt_strings){attributes, 3};
    mounted();
    open_polling(new_peer(), sid);
    snprintf(cookie, sizeof(cookie),
             "Set-Cookie: c=%s; Secure; SameSite=None; Domain=a.example\r\n", sid);
    assert_non_null(strstr(answer_head, cookie));
}

/* The path itself, and what is below it; nothing that only begins so. */
static void test_path_without_slash(void **state)
{
    static const char *const paths[] = {"/eio", "/eio/", "/eio/below"};
    (void)state;
    t.options.path = "/eio";
    mounted();
    for (size_t i = 0; i < 3; i++) {
        char target[64];
        struct peer *p = new_peer();
        snprintf(target, sizeof(target), "%s?EIO=4&transport=polling", paths[i]);
        request_raw(p, "GET", target, "", NULL, 0);
        expect_poll(p, "0{*}");
        expect_log("open polling\n");
    }
    struct peer *p = new_peer();
    request_raw(p, "GET", "/eiox?EIO=4&transport=polling", "", NULL, 0);
    expect_answer(p, 404, "application/json", "*");
}

/* With data of the user's in the first body. */
static void greet(struct rt_eio_session *s)
{
    assert_int_equal(rt_eio_send(s, false, RT_STR("hello")), 0);
    assert_int_equal(rt_eio_send(s, true, RT_STR("\1\2\3")), 0);
}

static void test_greeting(void **state)
{
    (void)state;
    t.on_open = greet;
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_poll(p, BOTH(ANY_SID, "\"websocket\"") "\x1e"
                                                  "4hello\x1e"
                                                  "bAQID");
    open_socket(q, "");
    expect_frames(q, "T * bytes *\nT 4hello\nB \1\2\3\n");
}

static void test_delay(void **state)
{
    (void)state;
    t.config.handshake_delay = 50;
    t.on_open = greet;
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    open_socket(q, "");
    pass(49);
    expect_nothing(p);
    expect_nothing(q);
    pass(1);
    expect_poll(p, "0{*}\x1e"
                   "4hello\x1e"
                   "bAQID");
    expect_frames(q, "T * bytes *\nT 4hello\nB \1\2\3\n");
    expect_log("open polling\nopen websocket\n");
}

/* A peer that does not wait for the open packet gets it before its message is taken. */
static void test_delay_overtaken(void **state)
{
    (void)state;
    t.config.handshake_delay = 50;
    t.echo = true;
    mounted();
    struct peer *p = new_peer();
    open_socket(p, "");
    ws_text(p, "4now");
    expect_frames(p, "T * bytes *\nT 4now\n");
    pass(100);
    expect_nothing(p);
    expect_log("open websocket\ntext now\n");
}

static void test_gone_before_delay(void **state)
{
    (void)state;
    t.config.handshake_delay = 50;
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    open_socket(q, "");
    drop(p);
    drop(q);
    pass(100);
    expect_log("open polling\nclose transport close\n");
    assert_int_equal(rt_eio_sessions(t.mount), 0);
}

/* ---- refusals of the user ---- */

static void test_refused(void **state)
{
    (void)state;
    t.open_status = RT_EPERM;
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_error(p, 403, 4, "Forbidden");
    open_socket(q, "");
    expect_frames(q, "T * bytes *\nC 1005 \n");
    expect_log("open polling\nclose forced close\nopen websocket\nclose forced close\n");
    t.open_status = RT_ENOMEM;
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_answer(p, 503, "application/json", "{\"code\":3,\"message\":\"Out of memory\"}");
    assert_non_null(strstr(answer_head, "Retry-After: 1\r\n"));
    expect_log("open polling\nclose transport error\n");
}

static void close_at_once(struct rt_eio_session *s)
{
    rt_eio_close(s, RT_EIO_FORCED_CLOSE, 0);
}

static void test_closed_in_open(void **state)
{
    char sid[SID_MAX];
    (void)state;
    t.on_open = close_at_once;
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "");
    end_turn();
    take_sid(p->conn->out, p->conn->out_len, sid);
    expect_poll(p, BOTH(ANY_SID, "\"websocket\""));
    get(p, sid);
    expect_poll(p, "6\x1e"
                   "1");
    get(p, sid);
    expect_unknown(p);
    open_socket(q, "");
    expect_frames(q, "T * bytes *\nC 1005 \n");
    expect_log("open polling\nclose forced close\nopen websocket\nclose forced close\n");
}

/* The 101 cannot be sent: the user never hears of the session. */
static void test_broken_at_once(void **state)
{
    (void)state;
    struct peer *p = new_peer();
    p->conn->fail_sends = true;
    request(p, "GET", "EIO=4&transport=websocket", UPGRADE);
    end_turn();
    expect_log("");
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    t.open_status = RT_EPERM;
    p = new_peer();
    p->conn->fail_sends = true;
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_log("open polling\nclose forced close\n");
}

static void test_enforced_origin(void **state)
{
    static const char *origins[] = {"https://a.example", "https://*.b.example"};
    (void)state;
    t.config.cors_origins = (struct rt_strings){origins, 2};
    t.config.enforce_origin = true;
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    request(p, "GET", "EIO=4&transport=polling", "Origin: https://c.example\r\n");
    expect_error(p, 403, 4, "Forbidden");
    request(p, "GET", "EIO=4&transport=polling", "Origin: https://x.b.example\r\n");
    expect_poll(p, "0{*}");
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_poll(p, "0{*}"); /* no browser */
    request(q, "GET", "EIO=4&transport=websocket", UPGRADE "Origin: https://c.example\r\n");
    expect_answer(q, 403, "text/html", "Forbidden");
}

static void test_cap(void **state)
{
    char sid[SID_MAX];
    (void)state;
    t.options.max_sessions = 2;
    t.options.max_polling_per_ip = 10;
    mounted();
    struct peer *p = new_peer(), *q = new_peer();
    open_polling(p, sid);
    open_polling(p, sid);
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_answer(p, 503, "application/json",
                  "{\"code\":3,\"message\":\"Too many sessions (limits.connections)\"}");
    request(q, "GET", "EIO=4&transport=websocket", UPGRADE);
    expect_answer(q, 503, "application/json", "*Too many*");
    p = new_peer();
    post(p, sid, "1");
    expect_ok(p);
    get(p, sid);
    expect_poll(p, "6");
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_poll(p, "0{*}");
}

static void test_draining(void **state)
{
    (void)state;
    struct peer *p = new_peer(), *q = new_peer();
    rt_eio_drain(t.mount, 0, on_drained, NULL);
    assert_false(t.drained); /* never from inside */
    end_turn();
    assert_true(t.drained);
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_answer(p, 503, "application/json", "*Server is shutting down*");
    request(q, "GET", "EIO=4&transport=websocket", UPGRADE);
    expect_answer(q, 503, "application/json", "*Server is shutting down*");
}

/* ---- what stands around ---- */

static bool serve_file(struct rt_http_request *req, void *arg)
{
    assert_ptr_equal(arg, &t);
    if (!rt_str_eq(req->path, RT_STR("/eio/client.js")))
        return false;
    rt_http_respond(req, 200, "text/javascript", RT_STR_NONE, RT_STR("code"));
    return true;
}

static void test_file(void **state)
{
    (void)state;
    t.options.file = serve_file;
    mounted();
    struct peer *p = new_peer();
    request_raw(p, "GET", "/eio/client.js", "", NULL, 0);
    expect_answer(p, 200, "text/javascript", "code");
    request_raw(p, "GET", "/eio/client.js?EIO=4&transport=polling", "", NULL, 0);
    expect_poll(p, "0{*}");
    request_raw(p, "GET", "/eio/other.js", "", NULL, 0);
    expect_error(p, 400, 0, "Transport unknown");
    request_raw(p, "POST", "/eio/client.js", "", "x", 1);
    expect_error(p, 400, 0, "Transport unknown");
}

static void check_handshake(struct rt_eio_session *s)
{
    const struct rt_eio_handshake *h = rt_eio_handshake(s);
    assert_non_null(h);
    assert_true(rt_str_eq(h->url, RT_STR("/eio/?EIO=4&transport=polling&token=x")));
    assert_true(rt_str_eq(h->query, RT_STR("EIO=4&transport=polling&token=x")));
    assert_true(rt_str_eq(h->headers, RT_STR("host: h\r\norigin: http://o\r\nx-custom: A\r\n")));
    assert_true(rt_str_eq(h->address, RT_STR("192.0.2.1")));
    assert_true(h->xdomain);
    assert_false(h->secure);
    assert_true(h->issued > 0);
    assert_ptr_equal(rt_eio_loop(s), &w.loop);
}

static void test_kept_handshake(void **state)
{
    (void)state;
    t.options.keep_handshake = true;
    t.on_open = check_handshake;
    mounted();
    struct peer *p = new_peer();
    request(p, "GET", "EIO=4&transport=polling&token=x", "Origin: http://o\r\nX-Custom: A\r\n");
    expect_poll(p, "0{*}");
    t.options.keep_handshake = false;
}

static void test_labels(void **state)
{
    char path[300] = "/";
    (void)state;
    memset(path + 1, 'p', 250);
    memcpy(path + 251, "\"\\/", 4);
    t.options.path = path;
    mounted();
    struct rt_buf out = RT_BUF_INIT;
    rt_metrics_write(&w.metrics, &out);
    char want[400];
    snprintf(want, sizeof(want), "{path=\"/%.*s\\\"\\\\/\",protocol=\"test\"} 0\n", 250, path + 1);
    assert_non_null(memmem(out.data, out.len, want, strlen(want)));
    rt_buf_deinit(&out);
}

#define mounted_test(f)   cmocka_unit_test_setup_teardown(f, set_up_mounted, tear_down)
#define own_mount_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        mounted_test(test_error_table),
        mounted_test(test_methods_of_a_session),
        mounted_test(test_websocket_errors),
        own_mount_test(test_transports_off),
        own_mount_test(test_no_websocket),
        mounted_test(test_paths),
        mounted_test(test_open_packet),
        mounted_test(test_open_packet_of_websocket),
        own_mount_test(test_ids),
        own_mount_test(test_no_upgrades),
        own_mount_test(test_cookie),
        own_mount_test(test_cookie_attributes),
        own_mount_test(test_path_without_slash),
        mounted_test(test_greeting),
        own_mount_test(test_delay),
        own_mount_test(test_delay_overtaken),
        own_mount_test(test_gone_before_delay),
        mounted_test(test_refused),
        mounted_test(test_closed_in_open),
        mounted_test(test_broken_at_once),
        own_mount_test(test_enforced_origin),
        own_mount_test(test_cap),
        mounted_test(test_draining),
        own_mount_test(test_file),
        own_mount_test(test_kept_handshake),
        own_mount_test(test_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
