/* Heartbeats: when exactly pings go and sessions die, also when the loop is late. */
#include "unit/engine/engine_rig.h"

static char sid[SID_MAX];
static struct peer *down, *up, *ws;

static int set_up_open(void **state)
{
    if (set_up_mounted(state))
        return -1;
    down = new_peer();
    up = new_peer();
    ws = new_peer();
    return 0;
}

/* The loop was busy: `ms` have passed, nothing has been looked at. */
static void stall(uint64_t ms)
{
    w.loop.now += ms;
}

/* ---- polling ---- */

static void test_polling(void **state)
{
    (void)state;
    open_polling(down, sid);
    get(down, sid);
    pass(24999);
    expect_nothing(down);
    pass(1);
    expect_poll(down, "2");
    get(down, sid);
    pass(19999);
    post(up, sid, "3");
    expect_ok(up);
    expect_log("pong\n");
    /* The next one counts from the pong. */
    pass(24999);
    expect_nothing(down);
    pass(1);
    expect_poll(down, "2");
    pass(19999);
    get(down, sid);
    expect_nothing(down);
    pass(1);
    expect_poll(down, "1");
    expect_log("close ping timeout\n");
    get(down, sid);
    expect_unknown(down);
    assert_int_equal(metric("session_closes_total", "ping timeout"), 1);
}

/* The suites ask for it to the millisecond. */
static void test_polling_refused_at_deadline(void **state)
{
    (void)state;
    open_polling(down, sid);
    pass(25000);
    w.loop.now += 19999;
    post(up, sid, "4in time");
    expect_ok(up);
    expect_log("text in time\n");
    w.loop.now += 1; /* before any timer has fired */
    get(down, sid);
    expect_unknown(down);
    expect_log("close ping timeout\n");
}

static void test_ping_waits_for_get(void **state)
{
    (void)state;
    open_polling(down, sid);
    assert_int_equal(rt_eio_send(t.session, false, RT_STR("a")), 0);
    pass(40000);
    get(down, sid);
    expect_poll(down, "4a\x1e"
                      "2");
    post(up, sid, "3");
    expect_ok(up);
    expect_log("pong\n");
}

static void test_silent_from_the_start(void **state)
{
    (void)state;
    open_polling(down, sid);
    pass(44999);
    assert_int_equal(rt_eio_sessions(t.mount), 1);
    pass(1);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    expect_log("close ping timeout\n");
}

static void test_unsolicited_pong(void **state)
{
    (void)state;
    open_polling(down, sid);
    pass(20000);
    post(up, sid, "3");
    expect_ok(up);
    expect_log("");
    get(down, sid);
    pass(4999);
    expect_nothing(down);
    pass(1);
    expect_poll(down, "2");
}

/* ---- WebSocket ---- */

static void test_websocket(void **state)
{
    (void)state;
    open_websocket(ws, "", sid);
    pass(24999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "T 2\n");
    ws_text(ws, "3");
    expect_log("pong\n");
    pass(25000);
    expect_frames(ws, "T 2\n");
    ws_text(ws, "4a"); /* a message is no pong */
    pass(19999);
    expect_frames(ws, "");
    expect_log("text a\n");
    pass(1);
    expect_frames(ws, "C 1005 \n");
    expect_log("close ping timeout\n");
}

static void test_round_trip(void **state)
{
    (void)state;
    open_websocket(ws, "", sid);
    pass(25000);
    pass(30);
    ws_text(ws, "3");
    expect_log("pong\n");
    for (const struct rt_metric *m = w.metrics.first; m; m = m->next)
        if (strcmp(m->name, "ping_rtt_seconds") == 0) {
            assert_int_equal(m->buckets[3], 1); /* up to 50 ms */
            assert_true(m->sum > 0.029 && m->sum < 0.031);
            return;
        }
    fail_msg("no such metric");
}

/* ---- across the upgrade ---- */

static void move(void)
{
    probe(ws, sid);
    ws_text(ws, "5");
    expect_log("transport websocket\n");
}

static void test_pong_over_the_other_transport(void **state)
{
    (void)state;
    open_polling(down, sid);
    get(down, sid);
    pass(25000);
    expect_poll(down, "2");
    move();
    ws_text(ws, "3");
    expect_log("pong\n");
    pass(24999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "T 2\n");
}

/* The deadline of a ping that went over polling holds. */
static void test_lost_pong(void **state)
{
    (void)state;
    open_polling(down, sid);
    get(down, sid);
    pass(25000);
    expect_poll(down, "2");
    pass(5000);
    move();
    pass(14999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "C 1005 \n");
    expect_log("close ping timeout\n");
}

static void test_ping_moves(void **state)
{
    (void)state;
    open_polling(down, sid);
    pass(25000);
    probe(ws, sid);
    ws_text(ws, "5");
    expect_frames(ws, "T 2\n"); /* no GET has taken it */
    ws_text(ws, "3");
    expect_log("transport websocket\npong\n");
}

/* ---- a late loop ---- */

/* Deadlines count from when the ping was due. */
static void test_late_ping(void **state)
{
    (void)state;
    open_websocket(ws, "", sid);
    pass(24000);
    stall(1300); /* 300 too late */
    expect_frames(ws, "T 2\n");
    pass(19699);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "C 1005 \n");
}

/* After a long absence the peer still gets half of the time. */
static void test_very_late_ping(void **state)
{
    (void)state;
    open_websocket(ws, "", sid);
    stall(60000);
    expect_frames(ws, "T 2\n");
    pass(9999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "C 1005 \n");
}

/* The pong may be waiting in the socket: it is read before the session is judged. */
static void test_late_judgement(void **state)
{
    (void)state;
    open_websocket(ws, "", sid);
    pass(25000);
    stall(21000);
    fake_advance(&w.loop, 0);
    ws_text(ws, "3");
    expect_log("pong\n");
    pass(25000);
    expect_frames(ws, "T 2\nT 2\n");
    stall(21000);
    pass(0);
    expect_log("");
    pass(1);
    expect_log("close ping timeout\n");
}

static void test_late_judgement_of_post(void **state)
{
    (void)state;
    open_polling(down, sid);
    pass(25000);
    stall(21000);
    fake_advance(&w.loop, 0);
    post(up, sid, "3");
    expect_ok(up);
    expect_log("pong\n");
    /* The same when the request comes before the timer. */
    pass(25000);
    stall(21000);
    post(up, sid, "3");
    expect_ok(up);
    expect_log("pong\n");
    pass(10000);
    expect_log("");
}

#define open_test(f) cmocka_unit_test_setup_teardown(f, set_up_open, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        open_test(test_polling),
        open_test(test_polling_refused_at_deadline),
        open_test(test_ping_waits_for_get),
        open_test(test_silent_from_the_start),
        open_test(test_unsolicited_pong),
        open_test(test_websocket),
        open_test(test_round_trip),
        open_test(test_pong_over_the_other_transport),
        open_test(test_lost_pong),
        open_test(test_ping_moves),
        open_test(test_late_ping),
        open_test(test_very_late_ping),
        open_test(test_late_judgement),
        open_test(test_late_judgement_of_post),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
