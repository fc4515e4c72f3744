/* Sessions over WebSocket, pacing, and draining of both kinds. */
#include "unit/engine/engine_rig.h"

static char sid[SID_MAX];
static struct peer *ws;

static int set_up_open(void **state)
{
    if (set_up_mounted(state))
        return -1;
    ws = new_peer();
    open_websocket(ws, "", sid);
    return 0;
}

static void say(const char *text)
{
    assert_int_equal(rt_eio_send(t.session, false, rt_str_c(text)), 0);
}

/* ---- packets ---- */

static void test_messages(void **state)
{
    (void)state;
    t.echo = true;
    ws_text(ws, "4hello");
    send_frame(ws, 0x82, "\0\xff", 2);
    ws_text(ws, "bAP8="); /* from a client without binary frames */
    ws_text(ws, "4");
    send_frame(ws, 0x82, "", 0);
    expect_frames(ws, "T 4hello\nB ?\xff\nB ?\xff\nT 4\nB \n");
    /* Ignored on purpose. */
    ws_text(ws, "3");
    ws_text(ws, "5");
    ws_text(ws, "6");
    ws_text(ws, "3probe");
    expect_frames(ws, "");
    expect_log("text hello\nbytes \nbytes \ntext \nbytes \n"); /* up to the NUL */
}

static void test_text_only(void **state)
{
    char id[SID_MAX];
    (void)state;
    t.echo = true;
    struct peer *p = new_peer();
    open_websocket(p, "b64=1", id);
    send_frame(p, 0x82, "\1\2", 2);
    ws_text(p, "4a");
    expect_frames(p, "T bAQI=\nT 4a\n");
}

static void test_bad_packets(void **state)
{
    static const char *const texts[] = {"", "7", "x", "0", "2", "2probe", "bA", "b*", "\1"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct peer *p = new_peer();
        open_websocket(p, "", sid);
        ws_text(p, texts[i]);
        ws_text(p, "4not taken any more");
        expect_frames(p, "C 1005 \n");
        expect_log("close parse error\n");
    }
}

static void test_bad_frames(void **state)
{
    static char large[100001];
    (void)state;
    send_frame(ws, 0x81, "4\xff", 2);
    expect_frames(ws, "C 1007 *\n");
    drop(ws);
    expect_log("close parse error\n");
    struct peer *p = new_peer();
    open_websocket(p, "", sid);
    memset(large, 'x', sizeof(large));
    send_frame(p, 0x82, large, 100000);
    send_frame(p, 0x82, large, 100001);
    expect_frames(p, "C 1009 *\n");
    drop(p);
    expect_log("bytes x*\nclose parse error\n");
    p = new_peer();
    open_websocket(p, "", sid);
    fake_data(p->conn, "\x81\x01x", 3); /* not masked */
    expect_frames(p, "C 1002 *\n");
    drop(p);
    expect_log("close parse error\n");
}

/* ---- ends ---- */

static void test_client_close(void **state)
{
    struct rt_buf out = RT_BUF_INIT;
    (void)state;
    add_text(&out, 0x81, "4a");
    add_text(&out, 0x81, "1");
    add_text(&out, 0x81, "4b");
    fake_data(ws->conn, out.data, out.len);
    rt_buf_deinit(&out);
    expect_frames(ws, "C 1005 \n");
    expect_log("text a\nclose client close\n");
}

static void test_close_frame(void **state)
{
    struct rt_buf out = RT_BUF_INIT;
    (void)state;
    add_close(&out, 1000, "");
    fake_data(ws->conn, out.data, out.len);
    rt_buf_deinit(&out);
    expect_frames(ws, "C 1000 \n");
    drop(ws);
    expect_log("close transport close\n");
}

static void test_gone(void **state)
{
    (void)state;
    drop(ws);
    expect_log("close transport close\n");
    struct peer *p = new_peer();
    open_websocket(p, "", sid);
    rt_conn_close(p->conn, RT_CLOSE_ERROR);
    expect_log("close transport error\n");
    p = new_peer();
    open_websocket(p, "", sid);
    rt_conn_close(p->conn, RT_CLOSE_SLOW);
    expect_log("close slow consumer\n");
    get(new_peer(), sid);
}

static void test_our_close(void **state)
{
    (void)state;
    say("before");
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 4001);
    assert_int_equal(rt_eio_send(t.session, false, RT_STR("after")), RT_ECLOSED);
    assert_int_equal(rt_eio_queued(t.session), 0);
    assert_false(rt_eio_writable(t.session));
    rt_eio_close(t.session, RT_EIO_SLOW, 0); /* idempotent */
    ws_text(ws, "4too late");
    expect_frames(ws, "T 4before\nC 4001 \n");
    expect_log("close forced close\n");
    pass(4999);
    assert_false(ws->conn->closed);
    pass(1);
    assert_true(ws->conn->closed);
}

static void test_send_fails(void **state)
{
    (void)state;
    ws->conn->fail_sends = true;
    assert_int_equal(rt_eio_send(t.session, false, RT_STR("a")), RT_ENOMEM);
    assert_int_equal(rt_eio_send(t.session, false, RT_STR("b")), RT_ECLOSED);
    expect_log("close transport error\n");
}

static void test_pause(void **state)
{
    (void)state;
    rt_eio_pause(t.session);
    assert_true(ws->conn->paused);
    pass(100000); /* who is not read cannot answer pings, but waits for the next one */
    expect_frames(ws, "T 2\nT 2\nT 2\nT 2\n");
    rt_eio_resume(t.session);
    assert_false(ws->conn->paused);
    pass(9999);
    for (int i = 0; i < 3; i++)
        ws_text(ws, "3"); /* they came before what was sent since */
    expect_log("");
    ws_text(ws, "3");
    expect_log("pong\n");
    rt_eio_pause(t.session);
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
    expect_log("close forced close\n");
}

/* ---- pacing ---- */

static void set_up_paced(void)
{
    t.config.packet_gap = 5;
    assert_int_equal(mount(), 0);
    ws = new_peer();
    open_socket(ws, "");
    expect_log("open websocket\n");
}

static void test_paced(void **state)
{
    (void)state;
    set_up_paced();
    expect_frames(ws, "");
    pass(5);
    expect_frames(ws, "T * bytes *\n"); /* the open packet keeps its distance from the 101 too */
    say("a");
    assert_int_equal(rt_eio_send(t.session, true, RT_STR("b")), 0);
    assert_false(rt_eio_writable(t.session));
    assert_int_equal(rt_eio_queued(t.session), 4 + 3);
    pass(4);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "T 4a\n");
    assert_int_equal(rt_eio_queued(t.session), 3);
    pass(5);
    expect_frames(ws, "B b\n");
    assert_true(rt_eio_writable(t.session));
    pass(100);
    say("c");
    expect_frames(ws, "T 4c\n"); /* long enough after the last one */
}

static void test_paced_close(void **state)
{
    (void)state;
    set_up_paced();
    say("a");
    say("b");
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
    expect_frames(ws, "T * bytes *\nT 4a\nT 4b\nC 1005 \n");
    expect_log("close forced close\n");
}

static void test_paced_gone(void **state)
{
    (void)state;
    set_up_paced();
    say("a");
    drop(ws);
    expect_log("close transport close\n");
}

static void test_paced_slow(void **state)
{
    static char text[90000];
    (void)state;
    set_up_paced();
    memset(text, 'x', sizeof(text));
    struct rt_str message = rt_str_of(text, sizeof(text));
    assert_int_equal(rt_eio_send(t.session, false, message), 0);
    assert_int_equal(rt_eio_send(t.session, false, message), 0);
    assert_int_equal(rt_eio_send(t.session, false, message), RT_ECLOSED);
    expect_log("close slow consumer\n");
}

/* ---- drain ---- */

static void open_some(struct peer *peers[], char ids[][SID_MAX], int count)
{
    for (int i = 0; i < count; i++) {
        peers[i] = new_peer();
        if (i % 2)
            open_websocket(peers[i], "", ids[i]);
        else
            open_polling(peers[i], ids[i]);
    }
}

static void test_drain(void **state)
{
    struct peer *peers[4];
    char ids[4][SID_MAX];
    (void)state;
    open_some(peers, ids, 4);
    get(peers[2], ids[2]);
    rt_eio_drain(t.mount, 0, on_drained, NULL);
    assert_int_equal(t.closes, 0);
    /* A `1` would be final for some clients: they shall come back. */
    expect_poll(peers[2], "6");
    get(peers[2], ids[2]);
    expect_unknown(peers[2]);
    get(peers[0], ids[0]);
    expect_unknown(peers[0]);
    expect_frames(ws, "C 1001 \n");
    expect_frames(peers[1], "C 1001 \n");
    expect_frames(peers[3], "C 1001 \n");
    assert_int_equal(t.closes, 5);
    assert_false(t.drained);
    send_frame(ws, 0x88, "\3\xe9", 2);
    assert_true(ws->conn->finished);
    drop(ws);
    drop(peers[1]);
    assert_false(t.drained);
    pass(5000); /* the last one does not answer */
    assert_true(t.drained);
    expect_log("close server shutting down\nclose server shutting down\nclose server shutting "
               "down\nclose server shutting down\nclose server shutting down\n");
    assert_int_equal(metric("session_closes_total", "server shutting down"), 5);
}

static void test_drain_spread(void **state)
{
    struct peer *peers[9];
    char ids[9][SID_MAX];
    (void)state;
    open_some(peers, ids, 9);
    rt_eio_drain(t.mount, 1000, on_drained, NULL);
    pass(50);
    int before = t.closes;
    assert_true(before <= 1);
    for (int i = 1; i <= 9; i++) {
        pass(100);
        assert_true(t.closes >= i - 1 && t.closes <= i + 1);
    }
    pass(110);
    assert_int_equal(t.closes, 10);
    for (size_t i = 0; i < w.peer_count; i++)
        drop(&w.peers[i]);
    assert_true(t.drained);
}

/* Those that wait for their last GET are let go at once, and a handshake that is under way too. */
static void test_drain_rest(void **state)
{
    (void)state;
    t.config.handshake_delay = 100000;
    assert_int_equal(mount(), 0);
    ws = new_peer();
    open_socket(ws, "");
    t.config.handshake_delay = 0;
    struct peer *p = new_peer();
    open_polling(p, sid);
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
    expect_log("close forced close\n");
    rt_eio_drain(t.mount, 0, on_drained, NULL);
    expect_frames(ws, "C 1001 \n");
    expect_log("");
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    drop(ws);
    assert_true(t.drained);
    assert_int_equal(metric("session_closes_total", "forced close"), 1);
}

/* The end of a session in the turn of the drain is told before the drain's. */
static void test_drain_after_end(void **state)
{
    (void)state;
    struct peer *p = new_peer();
    drop(ws);
    expect_log("close transport close\n");
    open_polling(p, sid);
    rt_eio_close(t.session, RT_EIO_PARSE_ERROR, 0);
    rt_eio_drain(t.mount, 0, on_drained, NULL);
    fake_advance(&w.loop, 0);
    assert_false(t.drained); /* on_drained() compares opens with closes */
    end_turn();
    assert_true(t.drained);
}

/* A second call hurries the first one. */
static void test_drain_twice(void **state)
{
    struct peer *peers[4];
    char ids[4][SID_MAX];
    (void)state;
    open_some(peers, ids, 4);
    rt_eio_drain(t.mount, 60000, on_drained, NULL);
    pass(20);
    assert_true(t.closes <= 1);
    rt_eio_drain(t.mount, 0, on_drained, NULL);
    end_turn();
    assert_int_equal(t.closes, 5);
    for (size_t i = 0; i < w.peer_count; i++)
        drop(&w.peers[i]);
    assert_true(t.drained);
}

#define open_test(f) cmocka_unit_test_setup_teardown(f, set_up_open, tear_down)
#define bare_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        open_test(test_messages),     open_test(test_text_only),    open_test(test_bad_packets),
        open_test(test_bad_frames),   open_test(test_client_close), open_test(test_close_frame),
        open_test(test_gone),         open_test(test_our_close),    open_test(test_send_fails),
        open_test(test_pause),        bare_test(test_paced),        bare_test(test_paced_close),
        bare_test(test_paced_gone),   bare_test(test_paced_slow),   open_test(test_drain),
        open_test(test_drain_spread), bare_test(test_drain_rest),   open_test(test_drain_after_end),
        open_test(test_drain_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
