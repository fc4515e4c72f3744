#include "net_test.h"

static void echo(struct served *s, uint8_t *data, size_t len)
{
    assert_int_equal(rt_conn_send_copy(s->conn, data, len), 0);
}

static void test_echo(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_data = echo;
    struct served *s = serve_one(&fx, &fd, 0);
    assert_string_equal(rt_conn_peer(s->conn), "127.0.0.1");
    assert_true(rt_conn_writable(s->conn));
    for (int i = 0; i < 100; i++) {
        rt_buf_clear(&got);
        client_send(fd, "hello over there");
        client_expect(&fx, fd, &got, 16);
        assert_memory_equal(got.data, "hello over there", 16);
    }
    assert_int_equal(rt_conn_received(s->conn), 1600);
    assert_int_equal(rt_conn_queued(s->conn), 0);
    assert_int_equal(s->drains, 0);
    close(fd);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_PEER);
    assert_int_equal(s->eofs, 1);
    assert_true(metric(&fx, "bytes_received_total", NULL) == 1600);
    assert_true(metric(&fx, "bytes_sent_total", NULL) == 1600);
    assert_true(metric(&fx, "connection_closes_total", "peer") == 1);
    rt_buf_deinit(&got);
    fixture_stop(&fx);
}

int main(void)
{
    rt_log_set_level(RT_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
