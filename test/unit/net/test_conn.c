#include "net_test.h"

#include <netinet/tcp.h>
#include <sys/resource.h>

#include "net/flush.h"

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
    int nodelay = 0;
    socklen_t size = sizeof(nodelay);
    assert_int_equal(getsockopt(rt_conn_fd(s->conn), IPPROTO_TCP, TCP_NODELAY, &nodelay, &size), 0);
    assert_int_equal(nodelay, 1); /* from the listening socket */
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

/* ---- output: order, short writes, limits ---- */

#define BIG (6u << 20)

/* Queues the stream of the pattern in pieces of every kind: ranges of shared blocks, adjacent and
 * not, small and large copies. */
static size_t send_pattern(struct rt_conn *conn, size_t from, size_t upto)
{
    size_t pos = from;
    for (int kind = 0; pos < upto; kind++) {
        size_t len = (size_t[]){1, 7, 130, 2000, 5000, 70000}[kind % 6];
        if (len > upto - pos)
            len = upto - pos;
        struct rt_bytes *bytes = pattern_bytes(pos, len);
        int r;
        if (kind % 3 == 0) {
            r = rt_conn_send_copy(conn, bytes->data, len);
        } else {
            uint32_t half = (uint32_t)len / 2;
            r = rt_conn_send(conn, bytes, 0, half);
            if (!r)
                r = rt_conn_send(conn, bytes, half, (uint32_t)len - half);
        }
        rt_bytes_unref(bytes);
        assert_int_equal(r, 0);
        pos += len;
    }
    return pos;
}

/* Reads a little each turn and checks every byte. */
static void read_slowly(struct fixture *fx, int fd, size_t from, size_t upto)
{
    static uint8_t chunk[20000];
    uint64_t end = rt_mono_ms() + DEADLINE_MS;
    while (from < upto) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(rt_mono_ms() < end);
            rt_loop_turn(fx->loop, 1);
            continue;
        }
        assert_true(n > 0);
        assert_true(is_pattern(chunk, (size_t)n, from));
        from += (size_t)n;
        rt_loop_turn(fx->loop, 0);
    }
    assert_int_equal(from, upto);
}

static void test_big_output_to_a_slow_reader(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 64u << 20};
    int fd;
    fixture_start(&fx, &options, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 4096);
    size_t queued = send_pattern(s->conn, 0, BIG);
    assert_true(rt_conn_queued(s->conn) >= BIG);
    assert_true(metric(&fx, "send_queue_bytes", NULL) == (double)rt_conn_queued(s->conn));
    rt_loop_turn(fx.loop, 0);
    assert_false(rt_conn_writable(s->conn));
    /* More goes behind it while it waits. */
    queued = send_pattern(s->conn, queued, BIG + 300000);
    read_slowly(&fx, fd, 0, queued);
    WAIT_FOR(fx.loop, s->drains == 1);
    assert_true(rt_conn_writable(s->conn));
    assert_int_equal(rt_conn_queued(s->conn), 0);
    assert_true(metric(&fx, "send_queue_bytes", NULL) == 0);
    /* The next time it is quick again, without a drain. */
    send_pattern(s->conn, queued, queued + 100);
    read_slowly(&fx, fd, queued, queued + 100);
    assert_int_equal(s->drains, 1);
    close(fd);
    fixture_stop(&fx);
}

static void test_more_pieces_than_one_call_takes(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 0);
    for (size_t i = 0; i < 3000; i++) {
        struct rt_bytes *bytes = pattern_bytes(i * 3, 3);
        assert_int_equal(rt_conn_send(s->conn, bytes, 0, 3), 0);
        rt_bytes_unref(bytes);
    }
    assert_int_equal(rt_conn_queued(s->conn), 3000 * 64);
    client_expect(&fx, fd, &got, 9000);
    assert_true(is_pattern(got.data, 9000, 0));
    assert_int_equal(s->drains, 0); /* never had to wait */
    rt_buf_deinit(&got);
    close(fd);
    fixture_stop(&fx);
}

static void test_slow_consumer_is_closed_others_are_not(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 200000};
    int slow_fd, quick_fd;
    size_t total = 0, sent = 0;
    fixture_start(&fx, &options, "127.0.0.1:0");
    struct served *slow = serve_one(&fx, &slow_fd, 4096);
    struct served *quick = serve_one(&fx, &quick_fd, 0);
    struct rt_bytes *message = pattern_bytes(0, 10000);
    while (slow->conn && sent < (64u << 20)) {
        size_t before = rt_conn_queued(slow->conn);
        int r = rt_conn_send(slow->conn, message, 0, 10000);
        if (r) {
            assert_int_equal(r, RT_ECLOSED);
            assert_true(before + 10000 > 200000); /* not before */
            assert_int_equal(slow->closes, 0);    /* the callback comes later */
            assert_true(rt_conn_closing(slow->conn));
            assert_int_equal(rt_conn_queued(slow->conn), 0);
            assert_int_equal(rt_conn_send_copy(slow->conn, "x", 1), RT_ECLOSED);
        } else {
            assert_true(rt_conn_queued(slow->conn) <= 200000);
        }
        assert_int_equal(rt_conn_send(quick->conn, message, 0, 10000), 0);
        sent += 10000;
        rt_loop_turn(fx.loop, 0);
        assert_true(client_read(quick_fd, NULL, &total));
    }
    assert_int_equal(slow->closes, 1);
    assert_int_equal(slow->reason, RT_CLOSE_SLOW);
    assert_true(metric(&fx, "slow_consumers_total", NULL) == 1);
    assert_true(metric(&fx, "connection_closes_total", "slow") == 1);
    WAIT_FOR(fx.loop, (client_read(quick_fd, NULL, &total), total == sent));
    assert_int_equal(quick->closes, 0);
    assert_int_equal(message->refs, 1);
    rt_bytes_unref(message);
    close(slow_fd);
    close(quick_fd);
    fixture_stop(&fx);
}

static void test_limit_spares_who_keeps_up(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 0);
    rt_conn_set_queue_limit(s->conn, 1000);
    /* One message larger than the limit goes onto an empty queue. */
    struct rt_bytes *message = pattern_bytes(0, 5000);
    assert_int_equal(rt_conn_send(s->conn, message, 0, 5000), 0);
    /* Within one turn, ten times the limit: written at once, since nothing waits. */
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(rt_conn_send(s->conn, message, i * 2, 500), 0);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(rt_conn_send_copy(s->conn, message->data, 150), 0);
    assert_true(rt_conn_queued(s->conn) <= 1500); /* of a block of 5000 */
    client_expect(&fx, fd, &got, 5000 + 20 * 500 + 40 * 150);
    assert_memory_equal(got.data, message->data, 5000);
    for (uint32_t i = 0; i < 20; i++)
        assert_memory_equal(got.data + 5000 + i * 500, message->data + i * 2, 500);
    assert_int_equal(s->closes, 0);
    rt_bytes_unref(message);
    rt_buf_deinit(&got);
    close(fd);
    fixture_stop(&fx);
}

#ifdef RT_TEST
static void test_small_copies_share_blocks(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 64u << 20};
    struct served *s[8];
    int fds[8];
    fixture_start(&fx, &options, "127.0.0.1:0");
    for (int i = 0; i < 8; i++)
        s[i] = serve_one(&fx, &fds[i], 4096);
    assert_int_equal(rt_conn_send_copy(s[0]->conn, "warm", 4), 0);
    rt_loop_turn(fx.loop, 0);
    long live = rt_alloc_live();
    for (int i = 0; i < 800; i++)
        assert_int_equal(rt_conn_send_copy(s[i / 100]->conn, "acknowledged", 12), 0);
    assert_int_equal(rt_conn_queued(s[1]->conn), 1200);
    assert_int_equal(rt_alloc_live(), live);
    rt_loop_turn(fx.loop, 0);
    for (int i = 1; i < 8; i++) {
        struct rt_buf got = RT_BUF_INIT;
        client_expect(&fx, fds[i], &got, 1200);
        for (int k = 0; k < 100; k++)
            assert_memory_equal(got.data + k * 12, "acknowledged", 12);
        rt_buf_deinit(&got);
    }
    /* One that waits gathers them in blocks of its own, and pins nothing of the others'. */
    send_pattern(s[0]->conn, 0, 4u << 20);
    assert_int_equal(rt_conn_send_copy(s[0]->conn, "tail", 4), 0);
    rt_loop_turn(fx.loop, 0);
    assert_false(rt_conn_writable(s[0]->conn));
    live = rt_alloc_live();
    for (int i = 0; i < 6 * 1000; i++) {
        assert_int_equal(rt_conn_send_copy(s[1]->conn, "acknowledged", 12), 0);
        if (i % 1000 == 999) {
            size_t seen = 0;
            WAIT_FOR(fx.loop, (client_read(fds[1], NULL, &seen), seen == 12000));
        }
    }
    assert_int_equal(rt_alloc_live(), live);
    for (int i = 0; i < 800; i++)
        assert_int_equal(rt_conn_send_copy(s[0]->conn, "acknowledged", 12), 0);
    assert_true(rt_alloc_live() - live <= 12);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    fixture_stop(&fx);
}
#endif

/* ---- closing ---- */

static void test_finish_delivers_everything(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 64u << 20};
    int fd;
    uint8_t byte;
    fixture_start(&fx, &options, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 4096);
    send_pattern(s->conn, 0, BIG);
    rt_conn_finish(s->conn);
    rt_conn_finish(s->conn);
    assert_true(rt_conn_closing(s->conn));
    assert_false(rt_conn_writable(s->conn));
    assert_int_equal(rt_conn_send_copy(s->conn, "x", 1), RT_ECLOSED);
    client_send(fd, "what comes now is discarded");
    read_slowly(&fx, fd, 0, BIG);
    ssize_t n = 1;
    WAIT_FOR(fx.loop, (n = recv(fd, &byte, 1, 0)) >= 0);
    assert_int_equal(n, 0); /* FIN, not a reset */
    assert_int_equal(s->closes, 0);
    assert_int_equal(s->received, 0);
    assert_int_equal(s->drains, 0);
    close(fd);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_LOCAL);
    assert_int_equal(s->eofs, 0);
    fixture_stop(&fx);
}

static void test_finish_with_an_empty_queue(void **state)
{
    (void)state;
    struct fixture fx;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 0);
    rt_conn_pause(s->conn);
    rt_conn_finish(s->conn); /* reads nevertheless, to see the end */
    WAIT_FOR(fx.loop, !client_read(fd, NULL, NULL));
    assert_int_equal(s->closes, 0);
    close(fd);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_LOCAL);
    fixture_stop(&fx);
}

static void test_finish_gives_up(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 64u << 20};
    static uint8_t chunk[500];
    int deaf, mute, chatty, slow, large = 200000;
    size_t got = 0;
    fixture_start(&fx, &options, "127.0.0.1:0");
    struct served *a = serve_one(&fx, &deaf, 4096);
    struct served *b = serve_one(&fx, &mute, 0);
    struct served *c = serve_one(&fx, &chatty, 0);
    struct served *d = serve_one(&fx, &slow, 4096);
    send_pattern(a->conn, 0, BIG); /* a peer that does not read */
    /* One that does, but so slowly that for longer than 2 s the kernel wants nothing more of us: a
     * third of a large buffer has to become free before it does. */
    assert_int_equal(setsockopt(rt_conn_fd(d->conn), SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)),
                     0);
    send_pattern(d->conn, 0, BIG);
    rt_loop_turn(fx.loop, 0);
    uint64_t begin = rt_mono_ms();
    rt_conn_finish(a->conn);
    rt_conn_finish(b->conn); /* one that does not end */
    rt_conn_finish(c->conn); /* one that goes on sending */
    rt_conn_finish(d->conn);
    while (!a->closes || !b->closes || !c->closes) {
        (void)send(chatty, "more", 4, MSG_NOSIGNAL);
        if (got < (rt_mono_ms() - begin) * 20) { /* 20 KB a second */
            ssize_t n = recv(slow, chunk, sizeof(chunk), 0);
            assert_true(n < 0 || is_pattern(chunk, (size_t)n, got));
            got += n > 0 ? (size_t)n : 0;
        }
        rt_loop_turn(fx.loop, 10);
        assert_true(rt_mono_ms() - begin < DEADLINE_MS);
    }
    assert_true(rt_mono_ms() - begin >= 2000);
    assert_int_equal(a->reason, RT_CLOSE_TIMEOUT);
    assert_int_equal(b->reason, RT_CLOSE_TIMEOUT);
    assert_int_equal(c->reason, RT_CLOSE_TIMEOUT);
    assert_int_equal(c->received, 0);
    assert_true(metric(&fx, "connection_closes_total", "timeout") == 3);
    assert_int_equal(d->closes, 0);
    read_slowly(&fx, slow, got, BIG);
    WAIT_FOR(fx.loop, !client_read(slow, NULL, NULL));
    close(slow);
    WAIT_FOR(fx.loop, d->closes == 1);
    assert_int_equal(d->reason, RT_CLOSE_LOCAL);
    close(deaf);
    close(mute);
    close(chatty);
    fixture_stop(&fx);
}

static void test_close_cuts_a_finish_short(void **state)
{
    (void)state;
    struct fixture fx;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 0);
    rt_conn_finish(s->conn);
    rt_conn_close(s->conn, RT_CLOSE_ERROR);
    rt_conn_close(s->conn, RT_CLOSE_LOCAL); /* the first one counts */
    rt_conn_finish(s->conn);
    assert_int_equal(s->closes, 0);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_ERROR);
    close(fd);
    fixture_stop(&fx);
}

static void close_in_data(struct served *s, uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    rt_conn_close(s->conn, RT_CLOSE_LOCAL);
    assert_int_equal(s->closes, 0);
    rt_conn_resume(s->conn); /* nothing of this wakes the dead */
    rt_conn_pause(s->conn);
    rt_conn_finish(s->conn);
    assert_string_equal(rt_conn_peer(s->conn), "127.0.0.1");
}

static void test_close_in_on_data(void **state)
{
    (void)state;
    struct fixture fx;
    int fd;
    static char flood[300000];
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_data = close_in_data;
    struct served *s = serve_one(&fx, &fd, 0);
    (void)send(fd, flood, sizeof(flood), MSG_NOSIGNAL | MSG_DONTWAIT);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_LOCAL);
    assert_in_range(s->received, 1, 65536); /* one call and no more */
    close(fd);
    fixture_stop(&fx);
}

static void close_in_drain(struct served *s)
{
    assert_int_equal(rt_conn_send_copy(s->conn, "never seen", 10), 0);
    rt_conn_close(s->conn, RT_CLOSE_LOCAL);
}

static void test_close_in_on_drain(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 64u << 20};
    int fd;
    fixture_start(&fx, &options, "127.0.0.1:0");
    fx.on_drain = close_in_drain;
    struct served *s = serve_one(&fx, &fd, 4096);
    send_pattern(s->conn, 0, BIG);
    read_slowly(&fx, fd, 0, BIG);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->drains, 1);
    WAIT_FOR(fx.loop, !client_read(fd, NULL, NULL));
    close(fd);
    fixture_stop(&fx);
}

static void send_more_in_drain(struct served *s)
{
    size_t *sent = s->fx->arg;
    if (*sent < 3 * BIG)
        *sent = send_pattern(s->conn, *sent, *sent + BIG);
}

static void test_drain_keeps_a_stream_going(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 64u << 20};
    int fd;
    size_t sent;
    fixture_start(&fx, &options, "127.0.0.1:0");
    fx.on_drain = send_more_in_drain;
    fx.arg = &sent;
    struct served *s = serve_one(&fx, &fd, 4096);
    sent = send_pattern(s->conn, 0, BIG);
    read_slowly(&fx, fd, 0, 3 * BIG);
    WAIT_FOR(fx.loop, rt_conn_queued(s->conn) == 0);
    assert_in_range(s->drains, 2, 3);
    close(fd);
    fixture_stop(&fx);
}

static void close_in_accept(struct served *s)
{
    assert_int_equal(rt_conn_send_copy(s->conn, "bye", 3), 0);
    rt_conn_close(s->conn, RT_CLOSE_LOCAL);
}

static void finish_in_accept(struct served *s)
{
    assert_int_equal(rt_conn_send_copy(s->conn, "bye", 3), 0);
    rt_conn_finish(s->conn);
}

static void test_close_and_finish_in_accept(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_accept = close_in_accept;
    struct served *s = serve_one(&fx, &fd, 0);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_false(client_read(fd, &got, NULL));
    assert_int_equal(got.len, 0);
    close(fd);
    fx.on_accept = finish_in_accept;
    s = serve_one(&fx, &fd, 0);
    WAIT_FOR(fx.loop, !client_read(fd, &got, NULL));
    assert_int_equal(got.len, 3);
    close(fd);
    WAIT_FOR(fx.loop, s->closes == 1);
    rt_buf_deinit(&got);
    fixture_stop(&fx);
}

static void test_close_while_dirty(void **state)
{
    (void)state;
    struct fixture fx;
    int fds[20];
    static const int order[] = {19, 0, 18, 1, 10, 2, 17, 9, 16, 5};
    fixture_start(&fx, NULL, "127.0.0.1:0");
    for (int i = 0; i < 20; i++)
        serve_one(&fx, &fds[i], 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(rt_conn_send_copy(fx.served[i].conn, &"abcdefghijklmnopqrst"[i], 1), 0);
    for (int i = 0; i < 10; i++)
        rt_conn_close(fx.served[order[i]].conn, RT_CLOSE_LOCAL);
    WAIT_FOR(fx.loop, rt_net_connections(fx.net) == 10);
    for (int i = 0; i < 20; i++) {
        struct rt_buf got = RT_BUF_INIT;
        bool open = client_read(fds[i], &got, NULL);
        assert_int_equal(open, fx.served[i].closes == 0);
        assert_int_equal(got.len, open); /* those that stay have theirs, and only theirs */
        assert_true(!open || got.data[0] == 'a' + i);
        rt_buf_deinit(&got);
        close(fds[i]);
    }
    fixture_stop(&fx);
}

/* One connection's callback closes another that has events waiting in the same turn. */
static void close_the_others(struct served *s, uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    for (size_t i = 0; i < s->fx->count; i++)
        if (&s->fx->served[i] != s && s->fx->served[i].conn)
            rt_conn_close(s->fx->served[i].conn, RT_CLOSE_LOCAL);
}

static void test_closing_others_with_events_pending(void **state)
{
    (void)state;
    struct fixture fx;
    int fds[20];
    size_t spoke = 0;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    for (int i = 0; i < 20; i++)
        serve_one(&fx, &fds[i], 0);
    fx.on_data = close_the_others;
    for (int i = 0; i < 20; i++)
        client_send(fds[i], "me first");
    WAIT_FOR(fx.loop, rt_net_connections(fx.net) == 1);
    for (size_t i = 0; i < fx.count; i++)
        spoke += fx.served[i].received > 0;
    assert_int_equal(spoke, 1);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

/* ---- the peer's end ---- */

static bool keep_open(struct served *s)
{
    assert_int_equal(rt_conn_send_copy(s->conn, "answer", 6), 0);
    return true;
}

static void test_half_close(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_eof = keep_open;
    struct served *s = serve_one(&fx, &fd, 0);
    client_send(fd, "question");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    client_expect(&fx, fd, &got, 6);
    assert_int_equal(s->received, 8);
    for (int i = 0; i < 20; i++)
        rt_loop_turn(fx.loop, 0);
    assert_int_equal(s->eofs, 1); /* told once, not again and again */
    assert_int_equal(rt_conn_send_copy(s->conn, " and more", 9), 0);
    rt_conn_finish(s->conn);
    client_expect(&fx, fd, &got, 15);
    /* Both sides have ended: nothing is waited for. */
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_LOCAL);
    assert_false(client_read(fd, NULL, NULL));
    close(fd);
    rt_buf_deinit(&got);
    fixture_stop(&fx);
}

static bool finish_in_eof(struct served *s)
{
    assert_int_equal(rt_conn_send_copy(s->conn, "last words", 10), 0);
    rt_conn_finish(s->conn);
    return false;
}

static void test_finish_in_on_eof(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_eof = finish_in_eof;
    struct served *s = serve_one(&fx, &fd, 0);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    WAIT_FOR(fx.loop, s->closes == 1);
    assert_int_equal(s->reason, RT_CLOSE_LOCAL);
    assert_false(client_read(fd, &got, NULL));
    assert_int_equal(got.len, 10);
    close(fd);
    rt_buf_deinit(&got);
    fixture_stop(&fx);
}

static void test_reset(void **state)
{
    (void)state;
    struct fixture fx;
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int a, b, c;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *reading = serve_one(&fx, &a, 0);
    struct served *writing = serve_one(&fx, &b, 0);
    struct served *waiting = serve_one(&fx, &c, 4096);
    rt_conn_set_queue_limit(waiting->conn, 64u << 20);
    /* One is seen by a read, with what came before it; one, paused, by a write; one while it waits
     * for writability. */
    rt_conn_pause(writing->conn);
    rt_conn_pause(waiting->conn);
    send_pattern(waiting->conn, 0, BIG);
    client_send(a, "still there");
    rt_loop_turn(fx.loop, 0);
    for (int i = 0; i < 3; i++) {
        int fd = (int[]){a, b, c}[i];
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
        close(fd);
    }
    WAIT_FOR(fx.loop, reading->closes && waiting->closes);
    assert_int_equal(reading->received, 11);
    assert_int_equal(writing->closes, 0); /* paused: not seen */
    assert_int_equal(rt_conn_send_copy(writing->conn, "anyone?", 7), 0);
    WAIT_FOR(fx.loop, writing->closes);
    assert_int_equal(reading->reason, RT_CLOSE_PEER);
    assert_int_equal(writing->reason, RT_CLOSE_PEER);
    assert_int_equal(waiting->reason, RT_CLOSE_PEER);
    fixture_stop(&fx);
}

/* ---- reading ---- */

static void pause_in_data(struct served *s, uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    rt_conn_pause(s->conn);
}

static void test_pause_and_resume(void **state)
{
    (void)state;
    struct fixture fx;
    int fd;
    static char part[200000];
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_data = pause_in_data;
    struct served *s = serve_one(&fx, &fd, 0);
    size_t sent = 0;
    ssize_t n = send(fd, part, sizeof(part), MSG_NOSIGNAL);
    assert_true(n > 65536);
    sent += (size_t)n;
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    WAIT_FOR(fx.loop, s->received > 0);
    size_t seen = s->received;
    for (int i = 0; i < 20; i++)
        rt_loop_turn(fx.loop, 0);
    assert_int_equal(s->received, seen);
    assert_int_equal(s->eofs, 0); /* the end is not seen either */
    /* Turned on and off without effect in between. */
    rt_conn_resume(s->conn);
    rt_conn_pause(s->conn);
    for (int i = 0; i < 20; i++)
        rt_loop_turn(fx.loop, 0);
    assert_int_equal(s->received, seen);
    while (s->eofs == 0) {
        rt_conn_resume(s->conn);
        rt_loop_turn(fx.loop, 1);
    }
    assert_int_equal(s->received, sent);
    WAIT_FOR(fx.loop, s->closes == 1);
    close(fd);
    fixture_stop(&fx);
}

static size_t turn_reads;

static void count_turn(struct served *s, uint8_t *data, size_t len)
{
    (void)data;
    if (s == &s->fx->served[0])
        turn_reads += len;
    assert_true(turn_reads <= 256 * 1024);
}

/* A flood is read in shares, so that somebody else's byte comes through at once. */
static void test_read_budget(void **state)
{
    (void)state;
    struct fixture fx;
    int flood, quiet;
    static char part[1 << 20];
    int size = 4 << 20;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &flood, 0);
    (void)setsockopt(flood, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    struct served *q = serve_one(&fx, &quiet, 0);
    fx.on_data = count_turn;
    size_t sent = 0;
    int turns_with_much = 0;
    while (sent < (16u << 20)) {
        ssize_t n = send(flood, part, sizeof(part), MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        client_send(quiet, "x");
        size_t before = q->received;
        turn_reads = 0;
        rt_loop_turn(fx.loop, 0);
        assert_int_equal(q->received, before + 1);
        turns_with_much += turn_reads > 200 * 1024;
    }
    assert_true(turns_with_much > 5);
    fx.on_data = NULL;
    WAIT_FOR(fx.loop, s->received == sent);
    close(flood);
    close(quiet);
    fixture_stop(&fx);
}

#define MANY 1300

static size_t events, most_events, all_events;

static void count_event(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    (void)conn;
    (void)user;
    (void)data;
    events += len;
    all_events += len;
}

static void note_flush(void *arg)
{
    (void)arg;
    if (events > most_events)
        most_events = events;
    events = 0;
}

static void accept_counted(void *arg, struct rt_conn *conn)
{
    static const struct rt_conn_handler handler = {.on_data = count_event};
    (void)arg;
    rt_conn_set_handler(conn, &handler, NULL);
}

/* libuv polls again and again while its array of 1024 events comes back full: output must not wait
 * for all of it. */
static void test_many_events_are_flushed_in_between(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_listener *other;
    static int fds[MANY];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < 2 * MANY + 100)
        skip();
    fixture_start(&fx, NULL, "127.0.0.1:0");
    assert_int_equal(
        rt_net_listen(fx.net, RT_STR("127.0.0.1:0"), accept_counted, NULL, &other, NULL), 0);
    assert_int_equal(rt_loop_add_flush_hook(fx.loop, note_flush, NULL), 0);
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = client_connect(port_of(other), 0);
        WAIT_FOR(fx.loop, rt_net_connections(fx.net) == i + 1);
    }
    events = most_events = all_events = 0;
    for (int i = 0; i < MANY; i++)
        client_send(fds[i], "x");
    WAIT_FOR(fx.loop, all_events == MANY);
    assert_in_range(most_events, 512, 1024);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

static int second_data, second_closed;

static void on_second_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    assert_ptr_equal(user, &second_data);
    assert_ptr_equal(rt_conn_user(conn), &second_data);
    assert_int_equal(len, 6);
    assert_memory_equal(data, "second", 6);
    second_data++;
}

static void on_second_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    (void)conn;
    assert_ptr_equal(user, &second_data);
    assert_int_equal(reason, RT_CLOSE_PEER);
    second_closed++;
}

static const struct rt_conn_handler second_handler = {.on_data = on_second_data,
                                                      .on_closed = on_second_closed};

static void hand_over(struct served *s, uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    rt_conn_set_handler(s->conn, &second_handler, &second_data);
}

static void test_handler_is_replaced_inside_its_callback(void **state)
{
    (void)state;
    struct fixture fx;
    int fd;
    second_data = second_closed = 0;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_data = hand_over;
    struct served *s = serve_one(&fx, &fd, 0);
    client_send(fd, "first");
    WAIT_FOR(fx.loop, s->received == 5);
    client_send(fd, "second");
    WAIT_FOR(fx.loop, second_data == 1);
    close(fd);
    WAIT_FOR(fx.loop, second_closed == 1);
    s->closes = 1; /* not told any more, for fixture_stop() */
    fixture_stop(&fx);
}

static void test_without_a_handler_data_is_discarded(void **state)
{
    (void)state;
    struct fixture fx;
    int fd;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    struct served *s = serve_one(&fx, &fd, 0);
    rt_conn_set_handler(s->conn, NULL, NULL);
    client_send(fd, "hello?");
    close(fd);
    WAIT_FOR(fx.loop, rt_net_connections(fx.net) == 0);
    s->closes = 1;
    fixture_stop(&fx);
}

/* ---- memory ---- */

#ifdef RT_TEST
/* Accept, echo, a queue that waits, copies behind it, a finish: with each allocation failing in
 * turn, everything ends well for somebody and is freed. */
static void scenario(unsigned long fail_at, bool *ret_failed)
{
    struct fixture fx;
    struct rt_net_options options = {
        .send_queue = 64u << 20, .refusal = RT_STR("no"), .max_per_ip = 3};
    struct rt_bytes *big = pattern_bytes(0, 3u << 20);
    int fds[4];
    fixture_start(&fx, &options, "127.0.0.1:0");
    fx.live_before--; /* big was there before and will not be after */
    rt_alloc_fail_at(fail_at, 0);
    for (int i = 0; i < 4; i++)
        fds[i] = client_connect(port_of(fx.listener), 4096);
    WAIT_FOR(fx.loop, metric(&fx, "connections_accepted_total", NULL) +
                              metric(&fx, "connections_rejected_total", "memory") +
                              metric(&fx, "connections_rejected_total", "per_ip") ==
                          4);
    for (size_t i = 0; i < fx.count; i++) {
        struct served *s = &fx.served[i];
        int r = rt_conn_send_copy(s->conn, "hello", 5);
        for (uint32_t k = 0; k < 5 && !r; k++)
            r = rt_conn_send(s->conn, big, 0, big->len - k);
        if (!r)
            r = rt_conn_send_copy(s->conn, "world", 5);
        rt_loop_turn(fx.loop, 0);
        for (int k = 0; k < 300 && !r; k++)
            r = rt_conn_send_copy(s->conn, "small copies", 12);
        if (!r)
            r = rt_conn_send_copy(s->conn, big->data, 100000);
        if (r) {
            assert_int_equal(r, RT_ENOMEM);
            assert_true(!s->conn || rt_conn_closing(s->conn));
        } else if (i == 0) {
            rt_conn_finish(s->conn);
        }
    }
    for (int i = 0; i < 5; i++)
        rt_loop_turn(fx.loop, 0);
    *ret_failed = rt_alloc_failed();
    rt_alloc_fail_at(0, 0);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    rt_bytes_unref(big);
    for (size_t i = 0; i < fx.count; i++)
        WAIT_FOR(fx.loop, fx.served[i].closes == 1);
    WAIT_FOR(fx.loop, metric(&fx, "send_queue_bytes", NULL) == 0);
    fixture_stop(&fx);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        scenario(n, &failed);
        assert_true(n < 1000);
    }
}
#endif

int main(void)
{
    rt_log_set_level(RT_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_big_output_to_a_slow_reader),
        cmocka_unit_test(test_more_pieces_than_one_call_takes),
        cmocka_unit_test(test_slow_consumer_is_closed_others_are_not),
        cmocka_unit_test(test_limit_spares_who_keeps_up),
        cmocka_unit_test(test_finish_delivers_everything),
        cmocka_unit_test(test_finish_with_an_empty_queue),
        cmocka_unit_test(test_finish_gives_up),
        cmocka_unit_test(test_close_cuts_a_finish_short),
        cmocka_unit_test(test_close_in_on_data),
        cmocka_unit_test(test_close_in_on_drain),
        cmocka_unit_test(test_drain_keeps_a_stream_going),
        cmocka_unit_test(test_close_and_finish_in_accept),
        cmocka_unit_test(test_close_while_dirty),
        cmocka_unit_test(test_closing_others_with_events_pending),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_finish_in_on_eof),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_read_budget),
        cmocka_unit_test(test_many_events_are_flushed_in_between),
        cmocka_unit_test(test_handler_is_replaced_inside_its_callback),
        cmocka_unit_test(test_without_a_handler_data_is_discarded),
#ifdef RT_TEST
        cmocka_unit_test(test_small_copies_share_blocks),
        cmocka_unit_test(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
