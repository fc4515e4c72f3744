/* What one turn does for many connections is bounded: bytes written, connections closed. */
#include "net_test.h"

enum { PEERS = 200, LEN = 300000 };

struct peers {
    struct fixture fx;
    int fds[PEERS];
};

static void connect_peers(struct peers *p)
{
    fixture_start(&p->fx, NULL, "127.0.0.1:0");
    for (int i = 0; i < PEERS; i++)
        serve_one(&p->fx, &p->fds[i], 0);
}

static void disconnect_peers(struct peers *p)
{
    for (int i = 0; i < PEERS; i++)
        close(p->fds[i]);
    fixture_stop(&p->fx);
}

/* Reads what is there and checks it. The position after it. */
static size_t read_pattern(int fd, size_t from)
{
    static uint8_t chunk[65536];
    ssize_t n;
    while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
        assert_true(is_pattern(chunk, (size_t)n, from));
        from += (size_t)n;
    }
    assert_true(n == 0 || errno == EAGAIN);
    return from;
}

static void send_to_all_but_last(struct peers *p, size_t from)
{
    struct rt_bytes *bytes = pattern_bytes(from, LEN);
    for (int i = 0; i < PEERS - 1; i++)
        assert_int_equal(rt_conn_send(p->fx.served[i].conn, bytes, 0, LEN), 0);
    rt_bytes_unref(bytes);
}

static void read_all(struct peers *p, size_t *at, size_t upto)
{
    for (int i = 0; i < PEERS - 1; i++)
        WAIT_FOR(p->fx.loop, (at[i] = read_pattern(p->fds[i], at[i])) == upto);
}

/* A flood is written over several turns, and what is new meanwhile does not wait for its end. */
static void test_flood_and_answer(void **state)
{
    (void)state;
    static struct peers p;
    static size_t at[PEERS];
    struct rt_buf got = RT_BUF_INIT;
    memset(at, 0, sizeof(at));
    connect_peers(&p);
    struct served *last = &p.fx.served[PEERS - 1];
    assert_false(rt_loop_behind(p.fx.loop));
    send_to_all_but_last(&p, 0);
    assert_false(rt_loop_behind(p.fx.loop)); /* nothing is late yet */
    rt_loop_turn(p.fx.loop, 0);
    assert_true(rt_loop_behind(p.fx.loop));
    double sent = metric(&p.fx, "bytes_sent_total", NULL);
    assert_true(sent < 2.0 * LEN * PEERS / 3);
    assert_int_equal(rt_conn_send_copy(last->conn, "answer", 6), 0);
    rt_loop_turn(p.fx.loop, 0);
    assert_true(client_read(p.fds[PEERS - 1], &got, NULL));
    assert_int_equal(got.len, 6);
    assert_true(rt_loop_behind(p.fx.loop));
    /* More for those that wait, one that goes, one that finishes: each stream stays whole. */
    send_to_all_but_last(&p, LEN);
    rt_conn_finish(p.fx.served[PEERS - 2].conn);
    read_all(&p, at, 2 * (size_t)LEN);
    WAIT_FOR(p.fx.loop, !rt_loop_behind(p.fx.loop));
    assert_true(metric(&p.fx, "send_queue_bytes", NULL) == 0);
    rt_buf_deinit(&got);
    disconnect_peers(&p);
}

/* Those that are closed or written at once while they are late leave the others as they are. */
static void test_closed_while_late(void **state)
{
    (void)state;
    static struct peers p;
    static size_t at[PEERS];
    memset(at, 0, sizeof(at));
    connect_peers(&p);
    send_to_all_but_last(&p, 0);
    rt_loop_turn(p.fx.loop, 0);
    assert_true(rt_loop_behind(p.fx.loop));
    for (int i = 0; i < PEERS - 1; i += 2)
        rt_conn_close(p.fx.served[i].conn, RT_CLOSE_LOCAL);
    for (int i = 1; i < PEERS - 1; i += 2)
        WAIT_FOR(p.fx.loop, (at[i] = read_pattern(p.fds[i], at[i])) == LEN);
    assert_false(rt_loop_behind(p.fx.loop));
    assert_true(metric(&p.fx, "send_queue_bytes", NULL) == 0);
    disconnect_peers(&p);
}

/* The ring of those with output grows while some are late. */
static void test_connections_while_late(void **state)
{
    (void)state;
    static struct peers p;
    static size_t at[PEERS];
    int more[40];
    memset(at, 0, sizeof(at));
    connect_peers(&p);
    send_to_all_but_last(&p, 0);
    rt_loop_turn(p.fx.loop, 0);
    assert_true(rt_loop_behind(p.fx.loop));
    for (int i = 0; i < 40; i++)
        more[i] = client_connect(port_of(p.fx.listener), 0);
    read_all(&p, at, LEN);
    WAIT_FOR(p.fx.loop, p.fx.count == PEERS + 40);
    for (int i = 0; i < 40; i++)
        close(more[i]);
    disconnect_peers(&p);
}

static int count_closed(const struct peers *p)
{
    int closed = 0;
    for (int i = 0; i < PEERS; i++)
        closed += p->fx.served[i].closes;
    return closed;
}

static void test_closes(void **state)
{
    (void)state;
    static struct peers p;
    connect_peers(&p);
    for (int i = 0; i < PEERS; i++)
        rt_conn_close(p.fx.served[i].conn, RT_CLOSE_SLOW);
    int before = 0, turns = 0;
    while (before < PEERS) {
        rt_loop_turn(p.fx.loop, DEADLINE_MS);
        int closed = count_closed(&p);
        assert_true(closed > before && closed - before <= 128);
        before = closed;
        turns++;
    }
    assert_true(turns >= 2);
    for (int i = 0; i < PEERS; i++)
        assert_int_equal(p.fx.served[i].reason, RT_CLOSE_SLOW);
    disconnect_peers(&p);
}

/* The loop stops while most are still to be closed: fixture_stop() looks. */
static void test_stop_while_closing(void **state)
{
    (void)state;
    static struct peers p;
    connect_peers(&p);
    send_to_all_but_last(&p, 0);
    for (int i = 0; i < PEERS; i++)
        rt_conn_close(p.fx.served[i].conn, RT_CLOSE_LOCAL);
    rt_conn_close(p.fx.served[7].conn, RT_CLOSE_LOCAL); /* idempotent, also then */
    rt_conn_finish(p.fx.served[PEERS - 1].conn);
    assert_int_equal(rt_conn_send_copy(p.fx.served[PEERS - 1].conn, "x", 1), RT_ECLOSED);
    disconnect_peers(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flood_and_answer),       cmocka_unit_test(test_closed_while_late),
        cmocka_unit_test(test_connections_while_late), cmocka_unit_test(test_closes),
        cmocka_unit_test(test_stop_while_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
