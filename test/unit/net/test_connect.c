#include "net_test.h"

struct outcome {
    int calls;
    struct rt_conn *conn;
    struct rt_err err;
    struct rt_buf data;
    int closes;
    bool returned; /* rt_net_connect() has */
};

static void on_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    struct outcome *o = user;
    assert_ptr_equal(conn, o->conn);
    rt_buf_add(&o->data, data, len);
}

static void on_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    struct outcome *o = user;
    (void)conn;
    (void)reason;
    o->closes++;
}

static const struct rt_conn_handler handler = {.on_data = on_data, .on_closed = on_closed};

static void done(void *arg, struct rt_conn *conn, const struct rt_err *err)
{
    struct outcome *o = arg;
    assert_true(o->returned);
    assert_true((conn == NULL) != (err == NULL));
    o->calls++;
    o->conn = conn;
    if (err)
        o->err = *err;
    else
        rt_conn_set_handler(conn, &handler, o);
}

static void start(struct fixture *fx, struct outcome *o, const char *address)
{
    *o = (struct outcome){.calls = 0};
    assert_int_equal(rt_net_connect(fx->net, rt_str_c(address), done, o, NULL), 0);
    o->returned = true;
}

static void greet(struct served *s)
{
    assert_int_equal(rt_conn_send_copy(s->conn, "welcome", 7), 0);
}

static void talk(const char *listen_on, const char *connect_to)
{
    struct fixture fx;
    struct outcome o;
    char address[300];
    fixture_start(&fx, NULL, listen_on);
    fx.on_accept = greet;
    fx.keep_data = true;
    snprintf(address, sizeof(address), connect_to, port_of(fx.listener));
    start(&fx, &o, address);
    WAIT_FOR(fx.loop, o.calls == 1);
    if (!o.conn)
        fail_msg("%s: %s", address, o.err.text);
    assert_int_equal(rt_conn_send_copy(o.conn, "hello", 5), 0);
    WAIT_FOR(fx.loop, o.data.len == 7 && fx.served[0].data.len == 5);
    assert_memory_equal(o.data.data, "welcome", 7);
    assert_int_equal(rt_net_connections(fx.net), 2);
    rt_conn_finish(o.conn);
    WAIT_FOR(fx.loop, o.closes == 1 && fx.served[0].closes == 1);
    rt_buf_deinit(&o.data);
    fixture_stop(&fx);
    assert_int_equal(o.calls, 1);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void test_tcp(void **state)
{
    (void)state;
    talk("127.0.0.1:0", "127.0.0.1:%u");
    talk("*:0", "localhost:%u");
    /* A name with two addresses, of which only one answers. */
    talk("127.0.0.1:0", "localhost:%u");
}
#pragma GCC diagnostic pop

static void test_unix(void **state)
{
    (void)state;
    char dir[] = "/tmp/rt-connect-test-XXXXXX", address[64];
    struct fixture fx;
    struct outcome o;
    assert_non_null(mkdtemp(dir));
    snprintf(address, sizeof(address), "unix:%s/s", dir);
    fixture_start(&fx, NULL, address);
    fx.on_accept = greet;
    start(&fx, &o, address);
    WAIT_FOR(fx.loop, o.data.len == 7);
    assert_string_equal(rt_conn_peer(o.conn), "unix:");
    rt_buf_deinit(&o.data);
    fixture_stop(&fx);
    assert_int_equal(o.closes, 1);
    assert_int_equal(rmdir(dir), 0);
}

static void test_failures(void **state)
{
    (void)state;
    struct fixture fx;
    struct outcome refused, missing, nobody;
    struct rt_err err;
    char address[64];
    /* A port that was free a moment ago: bound, but not listening. */
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    fixture_start(&fx, NULL, "127.0.0.1:0");
    assert_int_equal(rt_net_connect(fx.net, RT_STR("nonsense"), done, NULL, &err), RT_EINVAL);
    snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(addr.sin_port));
    start(&fx, &refused, address);
    start(&fx, &missing, "unix:/no/such/socket");
    start(&fx, &nobody, "no-such-host.invalid:80");
    WAIT_FOR(fx.loop, refused.calls && missing.calls && nobody.calls);
    assert_true(!refused.conn && !missing.conn && !nobody.conn);
    assert_non_null(strstr(refused.err.text, address));
    assert_non_null(strstr(refused.err.text, "refused"));
    assert_non_null(strstr(missing.err.text, "/no/such/socket"));
    assert_non_null(strstr(nobody.err.text, "no-such-host.invalid"));
    assert_int_equal(nobody.err.code, RT_EIO);
    close(fd);
    fixture_stop(&fx);
}

static void test_cancelled(void **state)
{
    (void)state;
    struct fixture fx;
    struct outcome early, later, unix_path;
    char address[64];
    fixture_start(&fx, NULL, "127.0.0.1:0");
    snprintf(address, sizeof(address), "127.0.0.1:%u", port_of(fx.listener));
    start(&fx, &later, address);
    rt_loop_turn(fx.loop, 0); /* it is looking up, or further */
    start(&fx, &early, address);
    start(&fx, &unix_path, "unix:/no/such/socket");
    rt_net_close_all(fx.net);
    rt_net_close_all(fx.net);
    WAIT_FOR(fx.loop, early.calls && later.calls && unix_path.calls);
    assert_null(early.conn);
    assert_int_equal(early.err.code, RT_ECLOSED);
    assert_null(unix_path.conn);
    fixture_stop(&fx);
    assert_int_equal(early.calls + later.calls + unix_path.calls, 3);
}

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        struct fixture fx;
        struct outcome o = {.calls = 0};
        char address[64];
        fixture_start(&fx, NULL, "127.0.0.1:0");
        snprintf(address, sizeof(address), "127.0.0.1:%u", port_of(fx.listener));
        rt_alloc_fail_at(n, 0);
        int r = rt_net_connect(fx.net, rt_str_c(address), done, &o, NULL);
        o.returned = true;
        assert_true(r == 0 || r == RT_ENOMEM);
        if (!r)
            WAIT_FOR(fx.loop, o.calls == 1);
        assert_true(r || o.conn || o.err.code == RT_ENOMEM);
        if (o.conn)
            WAIT_FOR(fx.loop, rt_alloc_failed() || fx.count == 1);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        fixture_stop(&fx);
    }
}
#endif

int main(void)
{
    rt_log_set_level(RT_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),           cmocka_unit_test(test_unix),
        cmocka_unit_test(test_failures),      cmocka_unit_test(test_cancelled),
#ifdef RT_TEST
        cmocka_unit_test(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
