/* The server over fake connections: answers, keep-alive and pipelining, held requests, timeouts, refusals, take-over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "unit/http/fake_net.h"

#include "base/alloc.h"
#include "http/server.h"

enum { HELD_MAX = 8, REQUEST_TIMEOUT = 5000, IDLE_TIMEOUT = 60000, BODY_LIMIT = 100000 };

static struct {
    struct rt_loop loop;
    struct rt_metrics metrics;
    struct rt_http_server *server;
    struct rt_conn *conn;
    struct rt_http_request *held[HELD_MAX];
    size_t held_count;
    int aborts, handled, closed;
    char taken[256]; /* what came to the new owner */
} t;

/* ---- handlers ------------------------------------------------------------------------------- */

/* Answers with what it saw. */
static void echo(struct rt_http_request *req, void *arg)
{
    char text[512];
    (void)arg;
    t.handled++;
    int n = snprintf(text, sizeof(text), "%.*s %.*s ?%.*s %zu %s%s%s", RT_STR_ARG(req->method_name),
                     RT_STR_ARG(req->path), RT_STR_ARG(req->query), req->body.len, req->remote,
                     req->secure ? " secure" : "", req->internal ? " internal" : "");
    rt_http_respond(req, 200, "text/plain", RT_STR("X-Extra: 1\r\n"), rt_str_of(text, (size_t)n));
}

static void on_abort(struct rt_http_request *req)
{
    t.aborts++;
    for (size_t i = 0; i < t.held_count; i++)
        if (t.held[i] == req)
            t.held[i] = t.held[--t.held_count];
}

static void hold(struct rt_http_request *req, void *arg)
{
    (void)arg;
    req->on_abort = on_abort;
    assert_true(t.held_count < HELD_MAX);
    t.held[t.held_count++] = req;
}

static void hold_untold(struct rt_http_request *req, void *arg)
{
    hold(req, arg);
    req->on_abort = NULL;
}

/* Wants to know about bodies that are cut off, raises the limit on demand, may answer at once. */
static bool look(struct rt_http_request *req, void *arg)
{
    struct rt_buf mode = RT_BUF_INIT;
    (void)arg;
    rt_http_query(req->query, "mode", &mode);
    struct rt_str m = rt_buf_str(&mode);
    bool go_on = true;
    req->on_abort = on_abort;
    if (rt_str_eq(m, RT_STR("big"))) {
        req->body_limit = 1000000;
    } else if (rt_str_eq(m, RT_STR("lie"))) {
        req->on_abort = NULL;
        go_on = false;
    } else if (rt_str_eq(m, RT_STR("refuse"))) {
        rt_http_error(req, 403, "forbidden", "not \"you\"", "ask");
        go_on = false;
    }
    rt_buf_deinit(&mode);
    return go_on;
}

static void respond_bytes(struct rt_http_request *req, void *arg)
{
    struct rt_bytes *body = rt_bytes_copy("0123456789", 10);
    (void)arg;
    if (body == NULL) {
        rt_http_abort(req);
        return;
    }
    rt_http_respond_bytes(req, 200, "application/octet-stream", RT_STR_NONE, body);
    rt_bytes_unref(body);
}

static void respond_204(struct rt_http_request *req, void *arg)
{
    (void)arg;
    rt_http_respond(req, 204, NULL, RT_STR("Access-Control-Max-Age: 1\r\n"), RT_STR("unseen"));
}

static void respond_400(struct rt_http_request *req, void *arg)
{
    (void)arg;
    rt_http_respond(req, 400, "application/json", RT_STR_NONE, RT_STR("{\"code\":1}"));
}

static void respond_large(struct rt_http_request *req, void *arg)
{
    static char body[50000];
    (void)arg;
    memset(body, 'x', sizeof(body));
    rt_http_close_after(req);
    rt_http_respond(req, 200, "text/plain", RT_STR_NONE, rt_str_of(body, sizeof(body)));
}

static void abort_it(struct rt_http_request *req, void *arg)
{
    (void)arg;
    rt_http_abort(req);
}

static void taken_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    char *text = user;
    (void)conn;
    snprintf(text + strlen(text), sizeof(t.taken) - strlen(text), "[%.*s]", (int)len, (char *)data);
}

static void taken_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    (void)conn;
    (void)user;
    (void)reason;
    t.closed++;
}

static const struct rt_conn_handler new_owner = {.on_data = taken_data, .on_closed = taken_closed};

static void take_over(struct rt_http_request *req, void *arg)
{
    static const char reply[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    (void)arg;
    assert_true(req->upgrade_websocket);
    assert_ptr_equal(rt_http_conn(req), t.conn);
    rt_conn_send_copy(rt_http_conn(req), reply, sizeof(reply) - 1);
    rt_http_take_over(req, &new_owner, t.taken);
}

/* ---- set-up --------------------------------------------------------------------------------- */

static const struct rt_http_route routes[] = {
    {.path = "/echo", .body_limit = BODY_LIMIT, .handle = echo},
    {.path = "/tree/", .body_limit = BODY_LIMIT, .handle = echo},
    {.path = "/inside", .body_limit = BODY_LIMIT, .internal_only = true, .handle = echo},
    {.path = "/hold", .body_limit = BODY_LIMIT, .handle = hold},
    {.path = "/untold", .body_limit = BODY_LIMIT, .handle = hold_untold},
    {.path = "/look", .body_limit = 10, .handle = echo, .head = look},
    {.path = "/bytes", .handle = respond_bytes},
    {.path = "/204", .handle = respond_204},
    {.path = "/400", .handle = respond_400},
    {.path = "/large", .handle = respond_large},
    {.path = "/abort", .handle = abort_it},
    {.path = "/ws", .handle = take_over},
};

static const char *const proxies[] = {"10.0.0.0/8", "unix:"};

static int start(struct rt_http_options *options)
{
    memset(&t, 0, sizeof(t));
    fake_loop_init(&t.loop);
    rt_metrics_init(&t.metrics);
    options->request_timeout = REQUEST_TIMEOUT;
    options->idle_timeout = IDLE_TIMEOUT;
    options->metrics = &t.metrics;
    int rc = rt_http_server_new(&t.loop, options, &t.server, NULL);
    for (size_t i = 0; rc == 0 && i < sizeof(routes) / sizeof(routes[0]); i++) {
        rc = rt_http_route_add(t.server, &routes[i], NULL);
        if (rc != 0) {
            rt_http_server_free(t.server);
            t.server = NULL;
        }
    }
    return rc;
}

static int set_up(void **state)
{
    struct rt_http_options options = {.trusted_proxies = proxies, .trusted_proxy_count = 2};
    (void)state;
    return start(&options);
}

static void open_conn(const char *peer)
{
    t.conn = fake_conn_new(&t.loop, peer);
    rt_http_accept(t.server, t.conn);
}

static void close_conn(void)
{
    rt_conn_close(t.conn, RT_CLOSE_PEER);
    fake_end_turn(t.conn);
    fake_conn_free(t.conn);
    t.conn = NULL;
}

static int tear_down(void **state)
{
    (void)state;
    if (t.conn != NULL)
        close_conn();
    rt_http_server_free(t.server);
    assert_true(rt_list_empty(&t.loop.timers));
    return 0;
}

static void send_text(const char *text)
{
    fake_data(t.conn, text, strlen(text));
}

/* How many responses with this status line are in the output? */
static int count_status(int status)
{
    char line[32];
    int count = 0;
    snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
    for (const char *at = t.conn->out; (at = strstr(at, line)) != NULL; at++)
        count++;
    return count;
}

static void assert_out(const char *text)
{
    if (strstr(t.conn->out, text) == NULL)
        fail_msg("no \"%s\" in:\n%s", text, t.conn->out);
}

static void assert_not_out(const char *text)
{
    if (strstr(t.conn->out, text) != NULL)
        fail_msg("\"%s\" in:\n%s", text, t.conn->out);
}

/* Opens a connection, sends, expects one response with this status and the connection kept or finished. */
static void expect(const char *request, int status, bool kept)
{
    if (t.conn != NULL)
        close_conn();
    open_conn("192.0.2.1");
    send_text(request);
    if (count_status(status) != 1)
        fail_msg("no single %d for:\n%s\nbut:\n%s", status, request, t.conn->out);
    if (rt_conn_closing(t.conn) != !kept)
        fail_msg("%s after:\n%s", kept ? "closed" : "kept", request);
    if (kept)
        assert_not_out("Connection: close");
    else
        assert_out("Connection: close\r\n");
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void answers(void **state)
{
    (void)state;
    expect("GET /echo?a=b HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 35\r\nX-Extra: 1\r\n");
    assert_out("X-Request-Id: ");
    assert_out("\r\n\r\nGET /echo ?a=b 0 192.0.2.1 internal");
    expect("HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out("Content-Length: 33\r\n");
    assert_string_equal(t.conn->out + t.conn->out_len - 4, "\r\n\r\n");
    expect("POST /tree/x/y HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 200, true);
    assert_out("POST /tree/x/y ? 3 ");
    expect("GET /bytes HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out("Content-Length: 10\r\n");
    assert_out("\r\n\r\n0123456789");
    expect("HEAD /bytes HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_not_out("0123456789");
    expect("OPTIONS /204 HTTP/1.1\r\nHost: h\r\n\r\n", 204, true);
    assert_not_out("Content-Length");
    assert_not_out("unseen");
    expect("GET /400 HTTP/1.1\r\nHost: h\r\n\r\n", 400, true);
    expect("GET /large HTTP/1.1\r\nHost: h\r\n\r\n", 200, false);
    assert_true(t.conn->out_len > 50000);
    expect("GET /echo HTTP/1.0\r\n\r\n", 200, false);
    expect("GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200, false);
    expect("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, true);
    assert_out("Connection: keep-alive\r\n");
}

static void refuses(void **state)
{
    (void)state;
    expect("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    assert_out(
        "{\"code\":\"not_found\",\"message\":\"there is nothing at this path\",\"request_id\":\"");
    expect("GET /tree HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    expect("GET /echo/ HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    expect("POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", 404, false);
    expect("GET /\r\n", 400, false);
    expect("GET /echo HTTP/1.1\r\n\r\n", 400, false);
    expect("BREW / HTTP/1.1\r\n", 501, false);
    expect("GET / HTTP/2.0\r\n", 505, false);
    expect("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n", 413, false);
    assert_out("at most 100000 bytes");
    expect(
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n",
        413, false);
    assert_not_out("100 Continue");
    expect("POST /look HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n", 413, false);
    assert_int_equal(t.aborts, 1);
    /* what comes later is ignored */
    size_t before = t.conn->out_len;
    t.conn->finished = false;
    send_text("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(t.conn->out_len, before);
}

static void heads_may_answer(void **state)
{
    (void)state;
    expect("GET /look?mode=refuse HTTP/1.1\r\nHost: h\r\n\r\n", 403, true);
    assert_out("{\"code\":\"forbidden\",\"message\":\"not \\\"you\\\"\",\"hint\":\"ask\",");
    expect("POST /look?mode=refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n", 403, false);
    expect("GET /look?mode=lie HTTP/1.1\r\nHost: h\r\n\r\n", 500, true);
    expect("POST /look HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", 413, false);
    expect("POST /look?mode=big HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n01234567890", 200,
           true);
    assert_int_equal(t.aborts, 1);
}

static void continues(void **state)
{
    (void)state;
    open_conn("192.0.2.1");
    send_text(
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_string_equal(t.conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
    send_text("ab");
    assert_int_equal(count_status(200), 1);
    /* it did not wait: no invitation */
    fake_clear_output(t.conn);
    send_text(
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\na");
    assert_string_equal(t.conn->out, "");
    send_text("b");
    assert_int_equal(count_status(200), 1);
}

static void pipelines(void **state)
{
    static const char two[] = "POST /echo?1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
                              "GET /echo?2 HTTP/1.1\r\nHost: h\r\n\r\n";
    (void)state;
    for (size_t cut = 0; cut <= sizeof(two) - 1; cut++) {
        open_conn("192.0.2.1");
        fake_data(t.conn, two, cut);
        fake_data(t.conn, two + cut, sizeof(two) - 1 - cut);
        assert_int_equal(count_status(200), 2);
        assert_true(strstr(t.conn->out, "?1") < strstr(t.conn->out, "?2"));
        close_conn();
    }
    assert_int_equal(t.handled, 2 * sizeof(two));
}

static void respond_held(void)
{
    assert_true(t.held_count > 0);
    struct rt_http_request *req = t.held[0];
    memmove(t.held, t.held + 1, --t.held_count * sizeof(t.held[0]));
    rt_http_respond(req, 200, "text/plain", RT_STR_NONE, RT_STR("held"));
}

static void holds(void **state)
{
    (void)state;
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /ec");
    assert_int_equal(t.held_count, 1);
    /* as long as it takes */
    fake_advance(&t.loop, 10 * IDLE_TIMEOUT);
    assert_int_equal(t.conn->out_len, 0);
    send_text("ho?x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(t.held_count, 1);
    respond_held();
    assert_int_equal(count_status(200), 1);
    assert_int_equal(t.held_count, 0); /* not from inside of the answer */
    send_text("GET /echo?last HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_advance(&t.loop, 0);
    assert_int_equal(t.held_count, 1);
    respond_held();
    fake_advance(&t.loop, 0);
    assert_int_equal(count_status(200), 4);
    assert_out("GET /echo ?x ");
    assert_out("GET /echo ?last ");
    assert_int_equal(t.aborts, 0);
    assert_false(rt_conn_closing(t.conn));
}

static void bounds_what_follows(void **state)
{
    static char many[65536];
    static const char get[] = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
    size_t len = 0;
    (void)state;
    while (len + sizeof(get) - 1 <= sizeof(many)) {
        memcpy(many + len, get, sizeof(get) - 1);
        len += sizeof(get) - 1;
    }
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_data(t.conn, many, 60000);
    assert_false(t.conn->paused);
    fake_data(t.conn, many + 60000, len - 60000);
    assert_false(t.conn->paused);
    fake_data(t.conn, many, len);
    assert_true(t.conn->paused);
    respond_held();
    fake_advance(&t.loop, 0);
    assert_false(t.conn->paused);
    assert_int_equal(count_status(200), 1 + 2 * (int)(len / (sizeof(get) - 1)));
}

static void notices_the_end(void **state)
{
    (void)state;
    /* held: told, once */
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_eof(t.conn);
    assert_int_equal(t.aborts, 1);
    assert_int_equal(t.held_count, 0);
    assert_true(t.conn->closing);
    close_conn();
    assert_int_equal(t.aborts, 1);
    /* reset instead of an end */
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    close_conn();
    assert_int_equal(t.aborts, 2);
    /* in the middle of a body */
    open_conn("192.0.2.1");
    send_text("POST /look HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    fake_eof(t.conn);
    assert_int_equal(t.aborts, 3);
    close_conn();
    /* in the middle of a head */
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHo");
    fake_eof(t.conn);
    assert_true(t.conn->closing);
    close_conn();
    assert_int_equal(t.aborts, 3);
    assert_int_equal(t.handled, 0);
}

static void answers_after_the_end(void **state)
{
    (void)state;
    /* a client that ends its side and waits: printf ... | nc */
    open_conn("192.0.2.1");
    send_text(
        "GET /untold HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\nGET /un");
    fake_eof(t.conn);
    assert_false(rt_conn_closing(t.conn));
    respond_held();
    assert_int_equal(count_status(200), 1);
    assert_out("Connection: close");
    assert_true(t.conn->finished);
    close_conn();
    /* answered in the same turn */
    open_conn("192.0.2.1");
    send_text("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_eof(t.conn);
    assert_true(t.conn->finished);
    assert_false(t.conn->closing);
    assert_int_equal(count_status(200), 1);
    close_conn();
    /* gone altogether: the answer goes nowhere */
    open_conn("192.0.2.1");
    send_text("GET /untold HTTP/1.1\r\nHost: h\r\n\r\n");
    close_conn();
    assert_int_equal(t.held_count, 1);
    assert_null(rt_http_conn(t.held[0]));
    assert_true(rt_str_eq(t.held[0]->path, RT_STR("/untold")));
    assert_string_equal(t.held[0]->remote, "192.0.2.1");
    respond_held();
    assert_int_equal(t.aborts, 0);
}

static void times_out(void **state)
{
    (void)state;
    /* nothing: closed without a word */
    open_conn("192.0.2.1");
    fake_advance(&t.loop, REQUEST_TIMEOUT - 1);
    assert_false(rt_conn_closing(t.conn));
    fake_advance(&t.loop, 1);
    assert_true(rt_conn_closing(t.conn));
    assert_int_equal(t.conn->out_len, 0);
    close_conn();
    open_conn("192.0.2.1");
    send_text("\r\n");
    fake_advance(&t.loop, REQUEST_TIMEOUT);
    assert_true(rt_conn_closing(t.conn));
    assert_int_equal(t.conn->out_len, 0);
    close_conn();
    /* a slow head, a slow body: one byte a second does not help */
    open_conn("192.0.2.1");
    send_text("GET /echo HTTP/1.1\r\n");
    for (int i = 0; i < 4; i++) {
        send_text("X");
        assert_false(rt_conn_closing(t.conn));
        fake_advance(&t.loop, REQUEST_TIMEOUT / 4);
    }
    assert_int_equal(count_status(408), 1);
    assert_true(t.conn->finished);
    close_conn();
    open_conn("192.0.2.1");
    send_text("POST /look HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
    fake_advance(&t.loop, REQUEST_TIMEOUT);
    assert_int_equal(count_status(408), 1);
    assert_int_equal(t.aborts, 1);
    close_conn();
    /* between requests */
    open_conn("192.0.2.1");
    send_text("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_advance(&t.loop, IDLE_TIMEOUT - 1);
    send_text("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_advance(&t.loop, IDLE_TIMEOUT - 1);
    assert_false(rt_conn_closing(t.conn));
    fake_advance(&t.loop, 1);
    assert_true(t.conn->finished);
    assert_int_equal(count_status(200), 2);
    assert_int_equal(count_status(408), 0);
}

#define UPGRADE "GET %s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

static void hands_over(void **state)
{
    char request[200];
    (void)state;
    int len = snprintf(request, sizeof(request), UPGRADE "early", "/ws");
    for (int cut = 1; cut <= len; cut++) {
        t.taken[0] = '\0';
        open_conn("192.0.2.1");
        fake_data(t.conn, request, (size_t)cut);
        fake_data(t.conn, request + cut, (size_t)(len - cut));
        send_text("late");
        assert_int_equal(count_status(101), 1);
        assert_non_null(strstr(t.taken, "y]"));
        assert_non_null(strstr(t.taken, "[late]"));
        assert_true(rt_list_empty(&t.loop.timers));
        close_conn();
    }
    assert_int_equal(t.closed, len);
}

static void hands_over_later(void **state)
{
    char request[200];
    (void)state;
    snprintf(request, sizeof(request), UPGRADE "early", "/hold");
    open_conn("192.0.2.1");
    send_text(request);
    send_text(" birds");
    struct rt_http_request *req = t.held[0];
    t.held_count = 0;
    take_over(req, NULL);
    assert_string_equal(t.taken, "[early birds]");
    assert_int_equal(count_status(101), 1);
    assert_int_equal(t.aborts, 0);
}

static void refuses_upgrades(void **state)
{
    char request[200];
    (void)state;
    snprintf(request, sizeof(request), UPGRADE "\x81\x85", "/400");
    expect(request, 400, false);
    assert_out("{\"code\":1}");
}

static void aborts(void **state)
{
    (void)state;
    open_conn("192.0.2.1");
    send_text("GET /abort HTTP/1.1\r\nHost: h\r\n\r\nGET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(t.conn->closing);
    assert_int_equal(t.conn->out_len, 0);
    assert_int_equal(t.handled, 0);
    close_conn();
    /* sending fails: the connection dies, nothing else */
    open_conn("192.0.2.1");
    t.conn->fail_sends = true;
    send_text("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(t.conn->closing);
}

static void drains(void **state)
{
    (void)state;
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    rt_http_server_drain(t.server);
    respond_held();
    assert_out("Connection: close\r\n");
    assert_true(t.conn->finished);
}

static void believes_proxies(void **state)
{
    static const char forwarded[] =
        "GET /echo HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.7\r\n"
        "X-Forwarded-Proto: https\r\nX-Request-Id: from-outside\r\n\r\n";
    (void)state;
    open_conn("10.1.2.3");
    send_text(forwarded);
    assert_out("198.51.100.7 secure");
    assert_out("X-Request-Id: from-outside\r\n");
    close_conn();
    open_conn("192.0.2.1");
    send_text(forwarded);
    assert_out("192.0.2.1");
    assert_not_out("secure");
    assert_not_out("from-outside");
}

static void counts(void **state)
{
    struct rt_buf text = RT_BUF_INIT;
    (void)state;
    expect("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    expect("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    expect("GET /\r\n", 400, false);
    send_text("x");
    close_conn();
    open_conn("192.0.2.1");
    send_text("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    rt_metrics_write(&t.metrics, &text);
    const char *all = rt_buf_cstr(&text);
    assert_non_null(strstr(all, "rtbroker_http_responses_total{code=\"2xx\"} 1\n"));
    assert_non_null(strstr(all, "rtbroker_http_responses_total{code=\"4xx\"} 2\n"));
    assert_non_null(strstr(all, "rtbroker_http_requests_refused_total 1\n"));
    assert_non_null(strstr(all, "rtbroker_http_requests_open 1\n"));
    rt_buf_deinit(&text);
}

static void serves_below_a_prefix(void **state)
{
    struct rt_http_options options = {.path_prefix = "/rt/", .internal_listener = true};
    (void)state;
    assert_int_equal(start(&options), 0);
    expect("GET /rt/echo HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out("GET /echo ? 0 192.0.2.1");
    assert_not_out("internal");
    expect("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    expect("GET /rtecho HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    expect("GET /rt HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    /* internal routes */
    expect("GET /rt/inside HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
    close_conn();
    t.conn = fake_conn_new(&t.loop, "192.0.2.1");
    rt_http_accept_internal(t.server, t.conn);
    send_text("GET /rt/inside HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(count_status(200), 1);
    assert_out(" internal");
    struct rt_err err;
    struct rt_http_route twice = {.path = "/echo", .handle = echo};
    assert_int_equal(rt_http_route_add(t.server, &twice, &err), RT_EEXIST);
    struct rt_http_route relative = {.path = "echo", .handle = echo};
    assert_int_equal(rt_http_route_add(t.server, &relative, &err), RT_EINVAL);
    tear_down(NULL);
    struct rt_http_server *server;
    options.path_prefix = "rt";
    assert_int_equal(rt_http_server_new(&t.loop, &options, &server, &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "\"rt\""));
}

static void prefers_long_routes(void **state)
{
    struct rt_http_route any = {.path = "*", .handle = respond_204};
    struct rt_http_route api = {.path = "/api*", .handle = echo};
    struct rt_http_route sub = {.path = "/api/x/", .handle = respond_bytes};
    (void)state;
    assert_int_equal(rt_http_route_add(t.server, &any, NULL), 0);
    assert_int_equal(rt_http_route_add(t.server, &api, NULL), 0);
    assert_int_equal(rt_http_route_add(t.server, &sub, NULL), 0);
    expect("GET /other HTTP/1.1\r\nHost: h\r\n\r\n", 204, true);
    expect("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 204, true);
    expect("GET /api HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out("GET /api ");
    expect("GET /api/x HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out("GET /api/x ");
    expect("GET /api/x/ HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    assert_out("0123456789");
}

/* While the server is held back only what is `always` there is served; nobody's handler is called. */
static void holds_back(void **state)
{
    struct rt_http_route health = {.path = "/health", .always = true, .handle = respond_204};
    (void)state;
    assert_int_equal(rt_http_route_add(t.server, &health, NULL), 0);
    rt_http_server_hold_back(t.server, true);
    expect("GET /health HTTP/1.1\r\nHost: h\r\n\r\n", 204, true);
    static const char *const others[] = {
        "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /look HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        expect(others[i], 503, false);
        assert_out("\r\nRetry-After: 5\r\n");
        assert_out("{\"code\":\"not_ready\"");
    }
    assert_int_equal(t.handled, 0);
    rt_http_server_hold_back(t.server, false);
    expect("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", 200, true);
    expect("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, true);
}

#ifdef RT_TEST
/* A session that goes through everything; where memory runs out the connection may be dropped, nothing else. */
static void scenario(void)
{
    open_conn("10.0.0.1");
    send_text("POST /echo?a=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
              "GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /bytes HTTP/1.1\r\nHost: h\r\n\r\n");
    if (t.held_count > 0) {
        respond_held();
        fake_advance(&t.loop, 0);
    }
    send_text("GET /untold HTTP/1.1\r\nHost: h\r\n\r\n");
    send_text("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n");
    close_conn();
    while (t.held_count > 0)
        respond_held();
}

static void out_of_memory(void **state)
{
    struct rt_http_options options = {.trusted_proxies = proxies, .trusted_proxy_count = 2};
    (void)state;
    unsigned long n = 1;
    for (bool failed = true; failed; n++) {
        long live = rt_alloc_live();
        rt_alloc_fail_at(n, 0);
        if (start(&options) == 0) {
            scenario();
            tear_down(NULL);
        }
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_alloc_live(), live);
    }
    assert_true(n > 20);
}
#endif

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers),
        TEST(refuses),
        TEST(heads_may_answer),
        TEST(continues),
        TEST(pipelines),
        TEST(holds),
        TEST(bounds_what_follows),
        TEST(notices_the_end),
        TEST(answers_after_the_end),
        TEST(times_out),
        TEST(hands_over),
        TEST(hands_over_later),
        TEST(refuses_upgrades),
        TEST(aborts),
        TEST(drains),
        TEST(believes_proxies),
        TEST(counts),
        TEST(prefers_long_routes),
        TEST(holds_back),
        cmocka_unit_test(serves_below_a_prefix),
#ifdef RT_TEST
        cmocka_unit_test(out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
