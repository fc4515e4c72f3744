/* From polling to WebSocket: the probe, what is queued meanwhile, what goes wrong without harm. */
#include "unit/engine/engine_rig.h"

#define SEP "\x1e"

static char sid[SID_MAX];
static struct peer *down, *up; /* polling */
static struct peer *ws;

static int set_up_open(void **state)
{
    if (set_up_mounted(state))
        return -1;
    down = new_peer();
    up = new_peer();
    ws = new_peer();
    open_polling(down, sid);
    return 0;
}

static void say(const char *text)
{
    assert_int_equal(rt_eio_send(t.session, false, rt_str_c(text)), 0);
}

static void open_second(struct peer *p)
{
    char query[128];
    snprintf(query, sizeof(query), "sid=%s", sid);
    open_socket(p, query);
}

static void expect_polling_over(struct peer *p)
{
    get(p, sid);
    expect_error(p, 400, 3, "Bad request");
}

static void upgrade(struct peer *p)
{
    probe(p, sid);
    ws_text(p, "5");
    expect_log("transport websocket\n*");
}

static void test_whole(void **state)
{
    (void)state;
    t.echo = true;
    get(down, sid);
    expect_nothing(down);
    probe(ws, sid);
    expect_poll(down, "6"); /* the client stops polling before it sends `5` */
    post(up, sid, "4over polling still");
    expect_ok(up);
    assert_int_equal(rt_eio_transport(t.session), RT_EIO_POLLING);
    ws_text(ws, "5");
    expect_frames(ws, "T 4over polling still\n");
    assert_int_equal(rt_eio_transport(t.session), RT_EIO_WEBSOCKET);
    assert_true(rt_eio_writable(t.session));
    ws_text(ws, "4a");
    send_frame(ws, 0x82, "\1\2", 2);
    expect_frames(ws, "T 4a\nB \1\2\n");
    expect_log("text over polling still\ntransport websocket\ntext a\nbytes \1\2\n");
    expect_polling_over(down);
    post(up, sid, "4x");
    expect_error(up, 400, 3, "Bad request");
    assert_int_equal(metric("session_upgrades_total", NULL), 1);
    assert_int_equal(metric("sessions_opened_total", "polling"), 1);
    assert_int_equal(metric("sessions_opened_total", "websocket"), 0);
    expect_log("");
}

/* The noop ends the client's polling: it does not overtake what the same turn has for it. */
static void test_answer_before_noop(void **state)
{
    char query[128];
    (void)state;
    snprintf(query, sizeof(query), "sid=%s", sid);
    get(down, sid);
    open_socket(ws, query);
    say("ready");
    ws_text(ws, "2probe");
    expect_poll(down, "4ready");
    expect_frames(ws, "T 3probe\n");
    get(down, sid);
    expect_poll(down, "6");
    ws_text(ws, "5");
    expect_log("transport websocket\n");
}

/* What waits is sent over the WebSocket, in order and in its form. */
static void test_queue(void **state)
{
    (void)state;
    probe(ws, sid);
    say("a");
    assert_int_equal(rt_eio_send(t.session, true, RT_STR("\xff\1")), 0);
    for (int i = 0; i < 20; i++)
        say("x");
    assert_int_equal(rt_eio_send(t.session, true, RT_STR("")), 0);
    say("a" SEP "b");
    ws_text(ws, "5");
    say("later");
    expect_frames(ws, "T 4a\nB \xff\1\n"
                      "T 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\n"
                      "T 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\nT 4x\n"
                      "B \nB a" SEP "b\nT 4later\n");
}

static void test_queue_as_text(void **state)
{
    char query[128];
    (void)state;
    snprintf(query, sizeof(query), "b64=1&sid=%s", sid);
    open_socket(ws, query);
    ws_text(ws, "2probe");
    assert_int_equal(rt_eio_send(t.session, true, RT_STR("\xff\1")), 0);
    ws_text(ws, "5");
    assert_int_equal(rt_eio_send(t.session, true, RT_STR("\xff\2")), 0);
    /* What the hub has encoded for everybody. */
    static char large[300];
    struct rt_buf run = RT_BUF_INIT;
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET, true, RT_STR("\xff\3"));
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET, false, RT_STR("t"));
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET, true, rt_str_of(large, sizeof(large)));
    struct rt_bytes *bytes = rt_buf_to_bytes(&run);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, 0, bytes->len), 0);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&run);
    expect_frames(ws, "T 3probe\nT b/wE=\nT b/wI=\nT b/wM=\nT 4t\nT 401 bytes *\n");
}

/* While the probe is under way a held GET still carries what there is. */
static void test_data_meanwhile(void **state)
{
    (void)state;
    probe(ws, sid);
    pass(200);
    say("a");
    get(down, sid);
    expect_poll(down, "4a");
    ws_text(ws, "5");
    expect_log("transport websocket\n");
    say("b");
    expect_frames(ws, "T 4b\n");
}

/* Polls are answered during the probe, but a client that stalls does not spin. */
static void test_noops(void **state)
{
    (void)state;
    get(down, sid);
    probe(ws, sid);
    expect_poll(down, "6");
    get(down, sid);
    pass(99);
    expect_nothing(down);
    pass(1);
    expect_poll(down, "6");
    pass(50);
    get(down, sid);
    pass(49);
    expect_nothing(down);
    pass(1);
    expect_poll(down, "6");
    pass(500);
    get(down, sid);
    expect_poll(down, "6");
    /* One that is held when `5` comes. */
    get(down, sid);
    ws_text(ws, "5");
    expect_poll(down, "6");
    expect_frames(ws, "");
}

static void test_before_probe(void **state)
{
    (void)state;
    get(down, sid);
    open_second(ws);
    pass(1000);
    expect_nothing(down); /* a WebSocket that has not asked yet changes nothing */
    say("a");
    expect_poll(down, "4a");
}

/* Everything at once, and messages right behind. */
static void test_in_one_piece(void **state)
{
    struct rt_buf out = RT_BUF_INIT;
    (void)state;
    t.echo = true;
    open_second(ws);
    add_text(&out, 0x81, "2probe");
    add_text(&out, 0x81, "5");
    add_text(&out, 0x81, "4a");
    add_text(&out, 0x82, "b");
    fake_data(ws->conn, out.data, out.len);
    rt_buf_deinit(&out);
    expect_frames(ws, "T 3probe\nT 4a\nB b\n");
    expect_log("transport websocket\ntext a\nbytes b\n");
}

/* ---- more than one WebSocket ---- */

static void test_second_while_probing(void **state)
{
    (void)state;
    struct peer *other = new_peer();
    probe(ws, sid);
    open_second(other);
    expect_frames(other, "C 1005 \n");
    ws_text(other, "2probe");
    expect_frames(other, "");
    drop(other);
    ws_text(ws, "5");
    expect_log("transport websocket\n");
    say("a");
    expect_frames(ws, "T 4a\n");
}

static void test_second_afterwards(void **state)
{
    (void)state;
    struct peer *other = new_peer();
    upgrade(ws);
    open_second(other);
    expect_frames(other, "C 1005 \n");
    pass(5000); /* it does not answer the close */
    assert_true(other->conn->closed);
    say("a");
    expect_frames(ws, "T 4a\n");
    expect_log("");
}

static void test_second_of_websocket(void **state)
{
    (void)state;
    struct peer *first = new_peer();
    open_websocket(first, "", sid);
    open_second(ws);
    expect_frames(ws, "C 1005 \n");
    ws_text(first, "4a");
    expect_log("text a\n");
}

/* ---- probes that fail ---- */

static void test_wrong_probes(void **state)
{
    static const struct {
        unsigned first;
        const char *text;
    } rows[] = {
        {0x81, "4probe"}, {0x81, "2"},      {0x81, "2prob"}, {0x81, "2probes"}, {0x81, "5"},
        {0x81, "3probe"}, {0x82, "2probe"}, {0x81, ""},      {0x82, ""},        {0x81, "1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *p = new_peer();
        open_second(p);
        send_frame(p, rows[i].first, rows[i].text, strlen(rows[i].text));
        expect_frames(p, "C 1005 \n");
        post(up, sid, "4on");
        expect_ok(up);
        expect_log("text on\n");
    }
    upgrade(ws); /* at once, though the others are still closing */
    say("a");
    expect_frames(ws, "T 4a\n");
}

static void test_wrong_after_probe(void **state)
{
    static const char *const texts[] = {"2probe", "4a", "6", "1", ""};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct peer *p = new_peer();
        probe(p, sid);
        ws_text(p, texts[i]);
        expect_frames(p, "C 1005 \n");
        pass(100);
        get(down, sid);
        expect_nothing(down); /* no noops any more */
        say("b");
        expect_poll(down, "4b");
    }
    expect_log("");
}

static void test_timeout(void **state)
{
    (void)state;
    probe(ws, sid);
    pass(9999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "C 1005 \n");
    get(down, sid);
    say("a");
    expect_poll(down, "4a");
    struct peer *again = new_peer();
    upgrade(again);
}

static void test_timeout_unprobed(void **state)
{
    (void)state;
    open_second(ws);
    pass(10000);
    expect_frames(ws, "C 1005 \n");
    expect_log("");
}

static void test_prober_gone(void **state)
{
    (void)state;
    probe(ws, sid);
    drop(ws);
    get(down, sid);
    pass(200);
    expect_nothing(down);
    say("a");
    expect_poll(down, "4a");
    struct peer *again = new_peer();
    upgrade(again);
}

static void test_bad_frames_of_prober(void **state)
{
    (void)state;
    open_second(ws);
    send_frame(ws, 0x81, "\xff", 1);
    expect_frames(ws, "C 1007 *\n");
    post(up, sid, "4on");
    expect_ok(up);
    expect_log("text on\n");
}

/* The session ends first: the probing WebSocket goes too. */
static void test_end_while_probing(void **state)
{
    (void)state;
    probe(ws, sid);
    post(up, sid, "1");
    expect_ok(up);
    expect_frames(ws, "C 1005 \n");
    ws_text(ws, "5");
    expect_log("close client close\n");
    struct peer *other = new_peer();
    open_second(other); /* while it waits for its last GET */
    expect_frames(other, "C 1005 \n");
    open_polling(down, sid);
    struct peer *third = new_peer();
    probe(third, sid);
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
    expect_frames(third, "C 1005 \n");
    expect_log("close forced close\n");
}

/* ---- POSTs in between ---- */

static void begin_post(struct peer *p, const char *body)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "POST /eio/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: h\r\n"
                     "Content-Length: 4\r\n\r\n%s",
                     sid, body);
    fake_data(p->conn, text, (size_t)n);
}

/* One whose body comes when the session has moved. */
static void test_post_across(void **state)
{
    (void)state;
    begin_post(up, "4a");
    upgrade(ws);
    fake_data(up->conn, "bc", 2);
    expect_ok(up);
    ws_text(ws, "4d");
    expect_log("text abc\ntext d\n");
    ws_text(ws, "1");
    expect_frames(ws, "C 1005 \n");
    expect_log("close client close\n");
}

static void test_post_lost_across(void **state)
{
    (void)state;
    begin_post(up, "4a");
    upgrade(ws);
    drop(up);
    expect_log("close transport close\n");
    expect_frames(ws, "C 1005 \n");
}

/* A client exists that ends its polling with a noop. */
static void test_noop_posted(void **state)
{
    (void)state;
    probe(ws, sid);
    post(up, sid, "6");
    expect_ok(up);
    ws_text(ws, "5");
    expect_log("transport websocket\n");
}

static void test_pause_across(void **state)
{
    (void)state;
    rt_eio_pause(t.session);
    post(up, sid, "4a");
    expect_nothing(up);
    expect_log("text a\n");
    upgrade(ws);
    assert_true(ws->conn->paused);
    rt_eio_resume(t.session);
    assert_false(ws->conn->paused);
    expect_ok(up);
    say("x");
    expect_frames(ws, "T 4x\n");
}

/* The user hands over what it had pending in the former form. */
static void send_pending(struct rt_eio_session *s)
{
    struct rt_buf run = RT_BUF_INIT;
    rt_eio_encode(&run, RT_EIO_FORM_POLLING, false, RT_STR("pending"));
    rt_eio_encode(&run, RT_EIO_FORM_POLLING, true, RT_STR("\1"));
    struct rt_bytes *bytes = rt_buf_to_bytes(&run);
    assert_int_equal(rt_eio_send_encoded(s, bytes, 0, bytes->len), 0);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&run);
    assert_int_equal(rt_eio_send(s, false, RT_STR("direct")), 0);
}

static void test_pending_of_user(void **state)
{
    (void)state;
    t.on_transport = send_pending;
    say("queued");
    upgrade(ws);
    say("later");
    expect_frames(ws, "T 4queued\nT 4pending\nB \1\nT 4direct\nT 4later\n");
}

static void close_it(struct rt_eio_session *s)
{
    rt_eio_close(s, RT_EIO_TRANSPORT_ERROR, 0);
}

static void test_closed_in_between(void **state)
{
    (void)state;
    t.on_transport = close_it;
    upgrade(ws);
    expect_frames(ws, "C 1005 \n");
    get(down, sid);
    expect_unknown(down);
    assert_int_equal(metric("session_closes_total", "transport error"), 1);
}

static void test_gone_after(void **state)
{
    (void)state;
    upgrade(ws);
    drop(ws);
    expect_log("close transport close\n");
    get(down, sid);
    expect_unknown(down);
}

#define open_test(f) cmocka_unit_test_setup_teardown(f, set_up_open, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        open_test(test_whole),
        open_test(test_answer_before_noop),
        open_test(test_queue),
        open_test(test_queue_as_text),
        open_test(test_data_meanwhile),
        open_test(test_noops),
        open_test(test_before_probe),
        open_test(test_in_one_piece),
        open_test(test_second_while_probing),
        open_test(test_second_afterwards),
        open_test(test_second_of_websocket),
        open_test(test_wrong_probes),
        open_test(test_wrong_after_probe),
        open_test(test_timeout),
        open_test(test_timeout_unprobed),
        open_test(test_prober_gone),
        open_test(test_bad_frames_of_prober),
        open_test(test_end_while_probing),
        open_test(test_post_across),
        open_test(test_post_lost_across),
        open_test(test_noop_posted),
        open_test(test_pause_across),
        open_test(test_pending_of_user),
        open_test(test_closed_in_between),
        open_test(test_gone_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
