/* HTTP and WebSocket over real sockets: what only the kernel can break. Half-closed clients, answers to bodies that nobody
 * reads, peers that go away, the end of TCP after the close handshake, large messages both ways. */
#include "unit/net/net_test.h"

#include "http/server.h"
#include "ws/client.h"

enum { MIB = 1024 * 1024, BIG = 16 * MIB };

static struct {
    struct rt_loop *loop;
    struct rt_net *net;
    struct rt_listener *listener;
    struct rt_http_server *server;
    struct rt_ws_pool *pool;
    struct rt_ws ws; /* the server's side */
    struct rt_http_request *held;
    int aborts, closes;
    uint16_t close_code;
    long live_before;
    char dir[64];
} t;

/* ---- the application ------------------------------------------------------------------------ */

static void on_message(struct rt_ws *ws, bool text, uint8_t *data, size_t len)
{
    rt_ws_send(ws, text ? RT_WS_TEXT : RT_WS_BINARY, rt_str_of(data, len));
}

static void on_close(struct rt_ws *ws, uint16_t code, enum rt_close_reason reason)
{
    (void)ws;
    (void)reason;
    t.closes++;
    t.close_code = code;
}

static const struct rt_ws_handler echo = {.on_message = on_message, .on_close = on_close};

static void handle_ws(struct rt_http_request *req, void *arg)
{
    const char *text;
    (void)arg;
    if (rt_ws_check(req, &text) == 0)
        rt_ws_accept(req, t.pool, &t.ws, &echo, BIG, RT_STR_NONE);
    else
        rt_http_error(req, 400, "bad_request", text, NULL);
}

static void handle_remote(struct rt_http_request *req, void *arg)
{
    (void)arg;
    rt_http_respond(req, 200, "text/plain", RT_STR_NONE, rt_str_c(req->remote));
}

static void on_abort(struct rt_http_request *req)
{
    assert_ptr_equal(req, t.held);
    t.held = NULL;
    t.aborts++;
}

static void handle_hold(struct rt_http_request *req, void *arg)
{
    (void)arg;
    t.held = req;
    req->on_abort = on_abort;
}

static const struct rt_http_route routes[] = {
    {.path = "/ws", .handle = handle_ws},
    {.path = "/remote", .body_limit = 1000, .handle = handle_remote},
    {.path = "/hold", .handle = handle_hold},
};

/* ---- set-up --------------------------------------------------------------------------------- */

static int start(const char *address)
{
    static const char *const proxies[] = {"unix:"};
    struct rt_http_options options = {.trusted_proxies = proxies,
                                      .trusted_proxy_count = 1,
                                      .request_timeout = 30000,
                                      .idle_timeout = 30000};
    struct rt_net_options net = {.send_queue = 1 << 20};
    struct rt_err err;
    memset(&t, 0, sizeof(t));
#ifdef RT_TEST
    t.live_before = rt_alloc_live();
#endif
    assert_int_equal(rt_loop_new(&t.loop, &err), 0);
    assert_int_equal(rt_net_new(t.loop, &net, &t.net, &err), 0);
    assert_int_equal(rt_ws_pool_new(t.loop, &t.pool), 0);
    assert_int_equal(rt_http_server_new(t.loop, &options, &t.server, &err), 0);
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        assert_int_equal(rt_http_route_add(t.server, &routes[i], &err), 0);
    if (rt_net_listen(t.net, rt_str_c(address), rt_http_accept, t.server, &t.listener, &err))
        fail_msg("%s", err.text);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return start("127.0.0.1:0");
}

static int tear_down(void **state)
{
    (void)state;
    rt_net_stop_listening(t.net);
    rt_net_close_all(t.net);
    rt_loop_stop(t.loop);
    assert_int_equal(rt_loop_run(t.loop), 0);
    rt_http_server_free(t.server);
    rt_ws_pool_free(t.pool);
    rt_net_free(t.net);
    rt_loop_free(t.loop);
#ifdef RT_TEST
    assert_int_equal(rt_alloc_live(), t.live_before);
#endif
    return 0;
}

/* Reads until the server has closed; what came, to be freed. */
static char *read_all(int fd)
{
    struct rt_buf in = RT_BUF_INIT;
    WAIT_FOR(t.loop, !client_read(fd, &in, NULL));
    char *text = strdup(rt_buf_cstr(&in));
    rt_buf_deinit(&in);
    return text;
}

static bool contains(struct rt_buf *in, const char *text)
{
    return in->len > 0 && strstr(rt_buf_cstr(in), text) != NULL;
}

/* Reads until `text` has come. */
static void read_until(int fd, const char *text)
{
    struct rt_buf in = RT_BUF_INIT;
    WAIT_FOR(t.loop, (client_read(fd, &in, NULL), contains(&in, text)));
    rt_buf_deinit(&in);
}

/* ---- HTTP ----------------------------------------------------------------------------------- */

static void half_closed_clients_get_answers(void **state)
{
    int fd = client_connect(port_of(t.listener), 0);
    (void)state;
    client_send(fd,
                "GET /remote HTTP/1.1\r\nHost: h\r\n\r\nGET /remote HTTP/1.1\r\nHost: h\r\n\r\n");
    shutdown(fd, SHUT_WR);
    char *all = read_all(fd);
    char *first = strstr(all, "127.0.0.1HTTP/1.1 200 OK");
    assert_non_null(first);
    assert_non_null(strstr(first + 9, "\r\n\r\n127.0.0.1"));
    free(all);
    close(fd);
    WAIT_FOR(t.loop, rt_net_connections(t.net) == 0);
}

/* The refusal arrives though the client goes on sending what is never read. */
static void refusals_reach_the_client(void **state)
{
    static char body[200000];
    int fd = client_connect(port_of(t.listener), 0);
    (void)state;
    memset(body, 'x', sizeof(body));
    client_send(fd, "POST /remote HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        (void)!send(fd, body, sizeof(body), MSG_NOSIGNAL);
        rt_loop_turn(t.loop, 0);
    }
    char *all = read_all(fd);
    assert_true(strncmp(all, "HTTP/1.1 413 ", 13) == 0);
    assert_non_null(strstr(all, "at most 1000 bytes"));
    free(all);
    close(fd);
    WAIT_FOR(t.loop, rt_net_connections(t.net) == 0);
}

static void held_requests_notice(void **state)
{
    (void)state;
    for (int reset = 0; reset <= 1; reset++) {
        struct linger linger = {.l_onoff = reset};
        int fd = client_connect(port_of(t.listener), 0);
        client_send(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
        WAIT_FOR(t.loop, t.held != NULL);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(fd);
        WAIT_FOR(t.loop, t.aborts == 1 + reset);
        assert_null(t.held);
    }
    /* and closing the server aborts what is left */
    int fd = client_connect(port_of(t.listener), 0);
    client_send(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_FOR(t.loop, t.held != NULL);
    rt_net_close_all(t.net);
    WAIT_FOR(t.loop, t.aborts == 3);
    close(fd);
}

static void held_requests_are_answered(void **state)
{
    int fd = client_connect(port_of(t.listener), 0);
    (void)state;
    for (int i = 0; i < 3; i++) {
        client_send(fd,
                    "GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /remote HTTP/1.1\r\nHost: h\r\n\r\n");
        WAIT_FOR(t.loop, t.held != NULL);
        struct rt_http_request *req = t.held;
        t.held = NULL;
        rt_http_respond(req, 200, "text/plain", RT_STR_NONE, RT_STR("at last"));
        read_until(fd, "\r\n\r\n127.0.0.1");
    }
    assert_int_equal(t.aborts, 0);
    close(fd);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void unix_proxies_are_believed(void **state)
{
    char dir[] = "/tmp/rt-http-XXXXXX", address[64];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(address, sizeof(address), "unix:%s/s", dir);
    start(address);
    int fd = connect_unix(address + 5);
    client_send(fd, "GET /remote HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
    read_until(fd, "\r\n\r\n198.51.100.1");
    client_send(fd, "GET /remote HTTP/1.1\r\nHost: h\r\n\r\n");
    read_until(fd, "\r\n\r\nunix:");
    close(fd);
    tear_down(NULL);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- WebSocket ------------------------------------------------------------------------------ */

#define SHAKE                                                                      \
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* The client reads its Close frame, then the end: the server closes TCP, not the client. */
static void server_ends_tcp(void **state)
{
    static const char frames[] = "\x81\x82\1\2\3\4ik\x88\x82\1\2\3\4\x02\xea";
    int fd = client_connect(port_of(t.listener), 0);
    (void)state;
    client_send(fd, SHAKE);
    assert_int_equal(send(fd, frames, sizeof(frames) - 1, MSG_NOSIGNAL), sizeof(frames) - 1);
    char *all = read_all(fd);
    assert_non_null(strstr(all, "\r\n\r\n\x81\x02hi\x88\x02\x03\xe8"));
    free(all);
    assert_int_equal(t.closes, 0);
    close(fd);
    WAIT_FOR(t.loop, t.closes == 1);
    assert_int_equal(t.close_code, 1000);
}

static struct {
    struct rt_conn *conn;
    struct rt_ws ws;
    int opened, failed, closed;
    uint16_t close_code;
    size_t received;
    bool intact;
} client;

static void client_message(struct rt_ws *ws, bool text, uint8_t *data, size_t len)
{
    (void)ws;
    (void)text;
    for (size_t i = 0; i < len; i++)
        client.intact &= data[i] == (uint8_t)(' ' + (i * 7 + i / 999) % 90);
    client.received += len;
}

static void client_closed(struct rt_ws *ws, uint16_t code, enum rt_close_reason reason)
{
    (void)ws;
    (void)reason;
    client.closed++;
    client.close_code = code;
}

static const struct rt_ws_handler client_handler = {.on_message = client_message,
                                                    .on_close = client_closed};

static void client_opened(struct rt_ws *ws, const struct rt_err *err)
{
    (void)ws;
    client.opened += err == NULL;
    client.failed += err != NULL;
}

static void connected(void *arg, struct rt_conn *conn, const struct rt_err *err)
{
    struct rt_ws_client_options options = {.host = RT_STR("localhost"),
                                           .target = rt_str_c(arg),
                                           .max_message = BIG,
                                           .timeout = 10000,
                                           .handler = &client_handler,
                                           .opened = client_opened};
    if (conn == NULL)
        fail_msg("%s", err->text);
    client.conn = conn;
    rt_conn_set_queue_limit(conn, 2 * BIG);
    assert_int_equal(rt_ws_connect(conn, t.pool, &client.ws, &options, NULL), 0);
}

static void connect_client(char *target)
{
    struct rt_err err;
    memset(&client, 0, sizeof(client));
    client.intact = true;
    if (rt_net_connect(t.net, rt_str_c(rt_listener_address(t.listener)), connected, target, &err))
        fail_msg("%s", err.text);
    WAIT_FOR(t.loop, client.opened || client.closed);
}

static void messages_of_every_size(void **state)
{
    static const size_t sizes[] = {0, 1, 125, 126, 5000, 65535, 65536, 70000, MIB, BIG};
    char *payload = malloc(BIG);
    size_t total = 0;
    (void)state;
    for (size_t i = 0; i < BIG; i++)
        payload[i] = (char)(' ' + (i * 7 + i / 999) % 90);
    connect_client("/ws");
    assert_int_equal(client.opened, 1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        total += sizes[i];
        enum rt_ws_opcode opcode = i % 2 ? RT_WS_TEXT : RT_WS_BINARY;
        assert_int_equal(rt_ws_send(&client.ws, opcode, rt_str_of(payload, sizes[i])), 0);
        WAIT_FOR(t.loop, client.received == total);
    }
    assert_true(client.intact);
    assert_int_equal(rt_ws_pool_lent(t.pool), 0);
    free(payload);
    rt_ws_close(&client.ws, 3001, "done");
    WAIT_FOR(t.loop, client.closed && t.closes);
    assert_int_equal(client.close_code, 3001);
    assert_int_equal(t.close_code, 3001);
}

static void server_closes(void **state)
{
    (void)state;
    connect_client("/ws");
    rt_ws_close(&t.ws, 1001, "going away");
    WAIT_FOR(t.loop, client.closed && t.closes);
    assert_int_equal(client.close_code, 1001);
    assert_int_equal(t.close_code, 1001);
    connect_client("/ws");
    rt_ws_abort(&t.ws);
    WAIT_FOR(t.loop, client.closed && t.closes == 2);
    assert_int_equal(client.close_code, 1006);
    connect_client("/remote");
    WAIT_FOR(t.loop, client.closed);
    assert_int_equal(client.failed, 1);
    assert_int_equal(client.opened, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(half_closed_clients_get_answers),
        TEST(refusals_reach_the_client),
        TEST(held_requests_notice),
        TEST(held_requests_are_answered),
        cmocka_unit_test(unix_proxies_are_believed),
        TEST(server_ends_tcp),
        TEST(messages_of_every_size),
        TEST(server_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
