/* WebSocket connections over fake ones: handshake, echo, pings, floods, closing from both sides, the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/http/fake_net.h"
#include "unit/ws/frames.h"

#include "base/alloc.h"
#include "ws/client.h"
#include "ws/handshake.h"

enum { MAX_MESSAGE = 100000 };

static struct {
    struct rt_loop loop;
    struct rt_http_server *server;
    struct rt_ws_pool *pool;
    struct rt_conn *conn;
    struct rt_ws ws;
    struct rt_buf log;
    struct rt_buf stream;
    int closes, drains;
} t;

/* ---- the application ------------------------------------------------------------------------ */

/* Echoes; some words are commands. */
static void on_message(struct rt_ws *ws, bool text, uint8_t *data, size_t len)
{
    struct rt_str s = rt_str_of(data, len);
    struct rt_ws_item item = {.data = data, .len = len, .text = text};
    log_item(&t.log, RT_WS_GOT_MESSAGE, &item);
    if (rt_str_eq(s, RT_STR("close")))
        rt_ws_close(ws, 4000, "as you wish");
    else if (rt_str_eq(s, RT_STR("abort")))
        rt_ws_abort(ws);
    else
        rt_ws_send(ws, text ? RT_WS_TEXT : RT_WS_BINARY, s);
}

static void on_close(struct rt_ws *ws, uint16_t code, enum rt_close_reason reason)
{
    assert_int_equal(ws->conn->depth, 0);
    t.closes++;
    rt_buf_printf(&t.log, "closed %u %d\n", code, (int)reason);
}

static void on_drain(struct rt_ws *ws)
{
    (void)ws;
    t.drains++;
}

static const struct rt_ws_handler handler = {
    .on_message = on_message, .on_close = on_close, .on_drain = on_drain};

static void handle(struct rt_http_request *req, void *arg)
{
    const char *text = NULL;
    int status = rt_ws_check(req, &text);
    (void)arg;
    if (status == 0) {
        rt_ws_accept(req, t.pool, &t.ws, &handler, MAX_MESSAGE, RT_STR("X-Extra: 1\r\n"));
        return;
    }
    assert_non_null(text);
    rt_http_respond(req, status, "text/plain", RT_STR(RT_WS_UPGRADE_HEADERS), rt_str_c(text));
}

static const struct rt_http_route route = {.path = "/ws", .handle = handle};

/* ---- set-up --------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct rt_http_options options = {0};
    (void)state;
    memset(&t, 0, sizeof(t));
    fake_loop_init(&t.loop);
    if (rt_ws_pool_new(&t.loop, &t.pool) != 0 ||
        rt_http_server_new(&t.loop, &options, &t.server, NULL) != 0)
        return -1;
    return rt_http_route_add(t.server, &route, NULL);
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
    assert_int_equal(rt_ws_pool_lent(t.pool), 0);
    rt_http_server_free(t.server);
    rt_ws_pool_free(t.pool);
    rt_buf_deinit(&t.log);
    rt_buf_deinit(&t.stream);
    assert_true(rt_list_empty(&t.loop.timers));
    return 0;
}

static void open_conn(void)
{
    t.conn = fake_conn_new(&t.loop, "192.0.2.1");
    rt_http_accept(t.server, t.conn);
}

#define SHAKE                                                                      \
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static const char switched[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Extra: 1\r\n\r\n";

static void open_ws(void)
{
    open_conn();
    fake_data(t.conn, SHAKE, strlen(SHAKE));
    assert_string_equal(t.conn->out, switched);
    fake_clear_output(t.conn);
}

static void send_stream(void)
{
    fake_data(t.conn, t.stream.data, t.stream.len);
    rt_buf_clear(&t.stream);
}

static void assert_log(const char *wanted)
{
    assert_string_equal(t.log.len ? rt_buf_cstr(&t.log) : "", wanted);
    rt_buf_clear(&t.log);
}

/* What the connection sent, read by a client's receiver. */
static void assert_sent(const char *wanted)
{
    struct rt_buf log = RT_BUF_INIT;
    struct rt_ws_recv r = {.pool = t.pool, .max_message = UINT32_MAX, .from_server = true};
    feed_recv(&r, t.conn->out, t.conn->out_len, &log);
    rt_ws_recv_reset(&r);
    fake_clear_output(t.conn);
    assert_string_equal(log.len ? rt_buf_cstr(&log) : "", wanted);
    rt_buf_deinit(&log);
}

/* ---- handshake ------------------------------------------------------------------------------ */

static void handshakes_are_checked(void **state)
{
    static const char start[] = "GET /ws HTTP/1.1\r\nHost: h\r\n";
    static const struct {
        int status;
        const char *headers;
    } cases[] = {
        {426, ""},
        {426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"},
        {426, "Connection: Upgrade\r\nUpgrade: h2c\r\n"},
        {426, "Connection: Upgrade\r\nUpgrade: websocket\r\n"},
        {426, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"},
        {400, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"},
        {400, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"},
        {400, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=A\r\n"},
        {400, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
              "Sec-WebSocket-Key: d!hlIHNhbXBsZSBub25jZQ==\r\n"},
        {101,
         "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n"
         "Sec-WebSocket-Extensions: permessage-deflate\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[32];
        snprintf(line, sizeof(line), "HTTP/1.1 %d ", cases[i].status);
        rt_buf_add_c(&t.stream, start);
        rt_buf_add_c(&t.stream, cases[i].headers);
        rt_buf_add_c(&t.stream, "\r\n");
        open_conn();
        send_stream();
        if (strncmp(t.conn->out, line, strlen(line)) != 0)
            fail_msg("not %d for:\n%s\nbut:\n%s", cases[i].status, cases[i].headers, t.conn->out);
        assert_null(strstr(t.conn->out, "Sec-WebSocket-Protocol"));
        assert_null(strstr(t.conn->out, "Sec-WebSocket-Extensions"));
        assert_int_equal(strstr(t.conn->out, "Sec-WebSocket-Version: 13\r\n") != NULL,
                         cases[i].status != 101);
        close_conn();
    }
}

static void early_frames_are_not_lost(void **state)
{
    (void)state;
    rt_buf_add_c(&t.stream, SHAKE);
    add_text(&t.stream, 0x81, "early");
    add_text(&t.stream, 0x01, "in ");
    add_text(&t.stream, 0x80, "pieces");
    for (size_t cut = 1; cut < t.stream.len; cut++) {
        open_conn();
        fake_data(t.conn, t.stream.data, cut);
        fake_data(t.conn, t.stream.data + cut, t.stream.len - cut);
        assert_true(strncmp(t.conn->out, switched, sizeof(switched) - 1) == 0);
        close_conn();
        assert_log("T early\nT in pieces\nclosed 1006 1\n");
    }
}

static void keys_are_random(void **state)
{
    char a[RT_WS_KEY_LEN + 1], b[RT_WS_KEY_LEN + 1], accept[RT_WS_ACCEPT_LEN + 1];
    (void)state;
    rt_ws_random_key(a);
    rt_ws_random_key(b);
    assert_int_equal(strlen(a), RT_WS_KEY_LEN);
    assert_string_not_equal(a, b);
    assert_int_equal(rt_ws_accept_value(RT_STR("short"), accept), RT_EINVAL);
}

/* ---- messages ------------------------------------------------------------------------------- */

static void echoes(void **state)
{
    static const size_t sizes[] = {0, 1, 125, 126, 1024, 1025, 65535, 65536, 100000};
    static char payload[100001];
    (void)state;
    memset(payload, 'e', sizeof(payload));
    open_ws();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        add_frame(&t.stream, i % 2 ? 0x81 : 0x82, payload, sizes[i]);
        send_stream();
        assert_true(t.log.len > 0);
        char *wanted = strdup(rt_buf_cstr(&t.log));
        rt_buf_clear(&t.log);
        assert_sent(wanted);
        free(wanted);
    }
    add_frame(&t.stream, 0x82, payload, 100001);
    send_stream();
    assert_sent("C 1009 the message is too big\n");
    assert_true(t.conn->finished);
    close_conn();
    assert_log("closed 1009 1\n");
}

static void shared_frames(void **state)
{
    struct rt_bytes *bytes = rt_bytes_new(100);
    struct rt_buf frame = RT_BUF_INIT;
    (void)state;
    open_ws();
    rt_ws_frame(&frame, RT_WS_TEXT, RT_STR("one"));
    rt_ws_frame(&frame, RT_WS_BINARY, RT_STR_NONE);
    memcpy(bytes->data, frame.data, frame.len);
    bytes->len = (uint32_t)frame.len;
    assert_int_equal(rt_ws_send_frames(&t.ws, bytes, 0, bytes->len), 0);
    assert_sent("T one\nB \n");
    rt_ws_close(&t.ws, 0, NULL);
    assert_int_equal(rt_ws_send_frames(&t.ws, bytes, 0, bytes->len), RT_ECLOSED);
    assert_int_equal(rt_ws_send(&t.ws, RT_WS_TEXT, RT_STR("x")), RT_ECLOSED);
    assert_sent("C 1005 \n");
    rt_bytes_unref(bytes);
    rt_buf_deinit(&frame);
}

static void headers_are_minimal(void **state)
{
    static const struct {
        uint64_t len;
        size_t size;
        uint8_t bytes[RT_WS_HEADER_MAX];
    } cases[] = {
        {0, 2, {0x81, 0}},
        {125, 2, {0x81, 125}},
        {126, 4, {0x81, 126, 0, 126}},
        {65535, 4, {0x81, 126, 255, 255}},
        {65536, 10, {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
        {0x0102030405060708u, 10, {0x81, 127, 1, 2, 3, 4, 5, 6, 7, 8}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t out[RT_WS_HEADER_MAX];
        assert_int_equal(rt_ws_header(RT_WS_TEXT, cases[i].len, out), cases[i].size);
        assert_memory_equal(out, cases[i].bytes, cases[i].size);
    }
}

/* ---- control frames ------------------------------------------------------------------------- */

static void pings_are_answered(void **state)
{
    (void)state;
    open_ws();
    add_text(&t.stream, 0x89, "1");
    add_text(&t.stream, 0x8a, "unsolicited");
    add_text(&t.stream, 0x89, "");
    add_text(&t.stream, 0x01, "a");
    add_text(&t.stream, 0x89, "3");
    add_text(&t.stream, 0x80, "b");
    send_stream();
    assert_sent("O 1\nO \nO 3\nT ab\n");
}

static void one_pong_waits(void **state)
{
    (void)state;
    open_ws();
    t.conn->busy = true;
    for (int i = 0; i < 20; i++) {
        char payload[16];
        snprintf(payload, sizeof(payload), "%d", i);
        add_text(&t.stream, 0x89, payload);
    }
    send_stream();
    assert_sent("");
    fake_drain(t.conn);
    assert_int_equal(t.drains, 1);
    assert_sent("O 19\n");
    fake_drain(t.conn);
    assert_sent("");
    /* one that waits for ever */
    t.conn->busy = true;
    add_text(&t.stream, 0x89, "x");
    send_stream();
}

static void ping_pong(unsigned count)
{
    while (count-- > 0)
        add_text(&t.stream, count % 2 ? 0x89 : 0x8a, "");
    send_stream();
}

static void floods_end(void **state)
{
    (void)state;
    open_ws();
    ping_pong(100);
    assert_false(rt_conn_closing(t.conn));
    fake_advance(&t.loop, 1000);
    ping_pong(50);
    assert_false(rt_conn_closing(t.conn));
    fake_advance(&t.loop, 19);
    fake_advance(&t.loop, 1);
    ping_pong(1);
    assert_false(rt_conn_closing(t.conn));
    fake_clear_output(t.conn);
    ping_pong(1);
    assert_sent("C 1008 too many control frames\n");
    assert_true(t.conn->finished);
    close_conn();
    assert_log("closed 1008 1\n");
    /* a patient one may go on for ever, and gets its burst back */
    open_ws();
    for (int i = 0; i < 500; i++) {
        ping_pong(1);
        fake_advance(&t.loop, 20);
    }
    fake_advance(&t.loop, 3600 * 1000);
    ping_pong(100);
    assert_false(rt_conn_closing(t.conn));
}

/* ---- closing -------------------------------------------------------------------------------- */

static void peer_closes(void **state)
{
    (void)state;
    open_ws();
    add_text(&t.stream, 0x81, "last");
    add_close(&t.stream, 1001, "going");
    add_text(&t.stream, 0x81, "ignored");
    send_stream();
    assert_sent("T last\nC 1001 \n");
    assert_true(t.conn->finished);
    assert_false(rt_ws_open(&t.ws));
    rt_ws_close(&t.ws, 1000, "too late");
    assert_sent("");
    close_conn();
    assert_log("T last\nclosed 1001 1\n");
    /* without a code */
    open_ws();
    add_text(&t.stream, 0x88, "");
    send_stream();
    assert_sent("C 1005 \n");
    close_conn();
    assert_log("closed 1005 1\n");
    /* a bad one */
    open_ws();
    add_close(&t.stream, 1006, "");
    send_stream();
    assert_sent("C 1002 the close code is not allowed\n");
    close_conn();
    assert_log("closed 1002 1\n");
    /* no Close frame at all */
    open_ws();
    fake_eof(t.conn);
    assert_true(t.conn->closing);
    close_conn();
    assert_log("closed 1006 1\n");
}

static void we_close(void **state)
{
    (void)state;
    open_ws();
    add_text(&t.stream, 0x81, "close");
    add_text(&t.stream, 0x81, "dropped");
    add_text(&t.stream, 0x89, "dropped");
    send_stream();
    assert_sent("C 4000 as you wish\n");
    assert_false(rt_conn_closing(t.conn));
    assert_false(rt_ws_open(&t.ws));
    add_close(&t.stream, 4000, "");
    send_stream();
    assert_sent("");
    assert_true(t.conn->finished);
    close_conn();
    assert_log("T close\nclosed 4000 1\n");
    /* the peer's never comes */
    open_ws();
    rt_ws_close(&t.ws, 1000, NULL);
    rt_ws_close(&t.ws, 1001, NULL);
    assert_sent("C 1000 \n");
    fake_advance(&t.loop, 4999);
    assert_false(t.conn->closing);
    fake_advance(&t.loop, 1);
    assert_true(t.conn->closing);
    close_conn();
    assert_log("closed 1000 4\n");
    /* instead of it comes nonsense: no second Close frame */
    open_ws();
    rt_ws_close(&t.ws, 1000, NULL);
    fake_clear_output(t.conn);
    add_text(&t.stream, 0x83, "");
    send_stream();
    assert_sent("");
    assert_true(t.conn->finished);
    close_conn();
    assert_log("closed 1000 1\n");
}

static void aborts(void **state)
{
    (void)state;
    open_ws();
    add_text(&t.stream, 0x01, "held by a fragment");
    add_text(&t.stream, 0x89, "");
    add_text(&t.stream, 0x80, "");
    add_text(&t.stream, 0x81, "abort");
    add_text(&t.stream, 0x81, "dropped");
    send_stream();
    assert_true(t.conn->closing);
    assert_int_equal(t.closes, 0);
    close_conn();
    assert_log("T held by a fragment\nT abort\nclosed 1006 0\n");
}

static void long_reasons_are_cut(void **state)
{
    char reason[200], wanted[200];
    (void)state;
    memset(reason, 'r', sizeof(reason));
    memcpy(reason + 121, "\xf0\x9f\x98\x80", 5);
    open_ws();
    rt_ws_close(&t.ws, 1000, reason);
    assert_int_equal(t.conn->out_len, 2 + 2 + 121);
    struct rt_buf log = RT_BUF_INIT;
    struct rt_ws_item item = {.data = (uint8_t *)reason, .len = 121, .code = 1000};
    log_item(&log, RT_WS_GOT_CLOSE, &item);
    snprintf(wanted, sizeof(wanted), "%s", rt_buf_cstr(&log));
    rt_buf_deinit(&log);
    assert_sent(wanted);
}

/* ---- the client ----------------------------------------------------------------------------- */

static struct {
    struct rt_conn *conn;
    struct rt_ws ws;
    int opened, failed;
    char why[512];
} client;

static void on_opened(struct rt_ws *ws, const struct rt_err *err)
{
    if (err == NULL) {
        client.opened++;
        rt_ws_send(ws, RT_WS_TEXT, RT_STR("hi"));
    } else {
        client.failed++;
        snprintf(client.why, sizeof(client.why), "%s", err->text);
    }
}

static void connect_client(void)
{
    struct rt_ws_client_options options = {.host = RT_STR("h:1"),
                                           .target = RT_STR("/ws"),
                                           .headers = RT_STR("X-Client: 1\r\n"),
                                           .max_message = MAX_MESSAGE,
                                           .timeout = 3000,
                                           .handler = &handler,
                                           .opened = on_opened};
    memset(&client, 0, sizeof(client));
    client.conn = fake_conn_new(&t.loop, "127.0.0.1");
    assert_int_equal(rt_ws_connect(client.conn, t.pool, &client.ws, &options, NULL), 0);
}

static void drop_client(void)
{
    rt_conn_close(client.conn, RT_CLOSE_PEER);
    fake_end_turn(client.conn);
    fake_conn_free(client.conn);
}

/* Moves what one sent to the other, in pieces. */
static void carry(struct rt_conn *from, struct rt_conn *to, size_t piece)
{
    char *data = malloc(from->out_len + 1);
    size_t len = from->out_len;
    memcpy(data, from->out, len);
    fake_clear_output(from);
    for (size_t at = 0; at < len; at += piece)
        fake_data(to, data + at, piece < len - at ? piece : len - at);
    free(data);
}

static void client_talks_to_server(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 300; piece += 13) {
        open_conn();
        connect_client();
        carry(client.conn, t.conn, piece);
        carry(t.conn, client.conn, piece);
        assert_int_equal(client.opened, 1);
        assert_log("");
        carry(client.conn, t.conn, piece);
        assert_log("T hi\n");
        /* long, so that masking goes through several blocks */
        char *large = calloc(1, 5000);
        memset(large, 'l', 5000);
        rt_ws_send(&client.ws, RT_WS_BINARY, rt_str_of(large, 5000));
        free(large);
        carry(client.conn, t.conn, piece);
        assert_non_null(strstr(rt_buf_cstr(&t.log), "B 5000 bytes"));
        rt_buf_clear(&t.log);
        rt_ws_close(&client.ws, 1000, "done");
        carry(client.conn, t.conn, piece);
        carry(t.conn, client.conn, piece);
        assert_true(t.conn->finished && client.conn->finished);
        close_conn();
        drop_client();
        /* the client had two echoes and echoed them, as it has the same handler */
        assert_non_null(strstr(rt_buf_cstr(&t.log), "closed 1000 1\n"));
        rt_buf_clear(&t.log);
    }
}

static void client_refuses(void **state)
{
    static const struct {
        const char *response, *why;
    } cases[] = {
        {"HTTP/1.1 403 Forbidden\r\n\r\n{\"code\":4}", "{\"code\":4}"},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "something else"},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "Accept is wrong"},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         "Accept is wrong"},
        {"\x15\x03\x01", "ended before the handshake: peer"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        connect_client();
        assert_non_null(strstr(client.conn->out, "GET /ws HTTP/1.1\r\nHost: h:1\r\n"));
        assert_non_null(strstr(client.conn->out, "\r\nX-Client: 1\r\n\r\n"));
        fake_data(client.conn, cases[i].response, strlen(cases[i].response));
        drop_client();
        assert_int_equal(client.opened, 0);
        assert_int_equal(client.failed, 1);
        if (strstr(client.why, cases[i].why) == NULL)
            fail_msg("\"%s\" for:\n%s", client.why, cases[i].response);
    }
    connect_client();
    fake_advance(&t.loop, 3000);
    drop_client();
    assert_non_null(strstr(client.why, "in time"));
    connect_client();
    for (int i = 0; i < 20; i++) {
        char block[1024];
        memset(block, 'x', sizeof(block));
        fake_data(client.conn, block, sizeof(block));
    }
    drop_client();
    assert_non_null(strstr(client.why, "too long"));
}

const char *rt_close_reason_name(enum rt_close_reason reason)
{
    return reason == RT_CLOSE_PEER ? "peer" : "other";
}

#ifdef RT_TEST
/* The frames are built before, so that only the code under test meets the failure. */
static void scenario(void)
{
    static const uint8_t half_and_ping[] = {0x01, 0x84, 1,    2, 3, 4, 'i', 'c', 'o',
                                            'b',  0x89, 0x80, 1, 2, 3, 4,   0x81};
    open_conn();
    fake_data(t.conn, SHAKE, strlen(SHAKE));
    t.conn->busy = true;
    fake_data(t.conn, half_and_ping, sizeof(half_and_ping));
    close_conn();
}

static void out_of_memory(void **state)
{
    bool failed = true;
    unsigned long n;
    (void)state;
    tear_down(NULL);
    for (n = 1; failed; n++) {
        long live = rt_alloc_live();
        rt_alloc_fail_at(n, 0);
        if (set_up(NULL) == 0) {
            scenario();
            tear_down(NULL);
        } else {
            rt_http_server_free(t.server);
            rt_ws_pool_free(t.pool);
        }
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_alloc_live(), live);
    }
    assert_true(n > 15);
    assert_int_equal(set_up(NULL), 0);
}
#endif

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(handshakes_are_checked),
        TEST(early_frames_are_not_lost),
        TEST(keys_are_random),
        TEST(echoes),
        TEST(shared_frames),
        cmocka_unit_test(headers_are_minimal),
        TEST(pings_are_answered),
        TEST(one_pong_waits),
        TEST(floods_end),
        TEST(peer_closes),
        TEST(we_close),
        TEST(aborts),
        TEST(long_reasons_are_cut),
        TEST(client_talks_to_server),
        TEST(client_refuses),
#ifdef RT_TEST
        TEST(out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
