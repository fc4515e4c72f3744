/* Long-polling: one GET that is held, one POST at a time, what breaks the session and what does not. */
#include "unit/engine/engine_rig.h"

#define SEP "\x1e"

static char sid[SID_MAX];
static struct peer *down, *up; /* the connection of GETs, that of POSTs */

static int set_up_open(void **state)
{
    if (set_up_mounted(state))
        return -1;
    down = new_peer();
    up = new_peer();
    open_polling(down, sid);
    return 0;
}

static void say(const char *text)
{
    assert_int_equal(rt_eio_send(t.session, false, rt_str_c(text)), 0);
}

static void expect_gone(const char *reason)
{
    char line[64];
    snprintf(line, sizeof(line), "close %s\n", reason);
    expect_log(line);
    assert_null(t.session);
    struct peer *p = new_peer();
    get(p, sid);
    expect_unknown(p);
}

/* ---- GET ---- */

static void test_held(void **state)
{
    (void)state;
    get(down, sid);
    pass(10000);
    expect_nothing(down);
    assert_true(rt_eio_writable(t.session));
    assert_int_equal(rt_eio_queued(t.session), 0);
    /* What one turn sends goes in one answer. */
    say("a");
    assert_false(rt_eio_writable(t.session));
    assert_int_equal(rt_eio_queued(t.session), 3);
    say("b");
    assert_int_equal(rt_eio_send(t.session, true, RT_STR("\xff\0x")), 0);
    expect_poll(down, "4a" SEP "4b" SEP "b/wB4");
    assert_false(rt_eio_writable(t.session)); /* nobody asks */
    say("c");
    say("d");
    pass(100);
    get(down, sid);
    expect_poll(down, "4c" SEP "4d");
    get(down, sid);
    expect_nothing(down);
}

/* Some clients refuse more packets than this in a body. */
static void test_sixteen(void **state)
{
    struct rt_buf run = RT_BUF_INIT;
    (void)state;
    for (int i = 0; i < 20; i++)
        say("x");
    /* A run of the hub, cut wherever a body is full. */
    for (int i = 0; i < 15; i++)
        rt_eio_encode2(&run, RT_EIO_FORM_POLLING, RT_STR("he"), RT_STR("ad"));
    struct rt_bytes *bytes = rt_buf_to_bytes(&run);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, 0, bytes->len / 3), 0);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, bytes->len / 3, bytes->len / 3), 0);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, bytes->len / 3 * 2, bytes->len / 3), 0);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&run);
    say("last");
    size_t want[] = {16, 16, 4};
    for (int i = 0; i < 3; i++) {
        const char *body = "";
        size_t len = 0, packets = 1;
        get(down, sid);
        end_turn();
        assert_int_equal(take_answer(down, &body, &len), 200);
        for (size_t at = 0; at < len; at++)
            packets += body[at] == '\x1e';
        assert_int_equal(packets, want[i]);
        if (i == 1)
            expect_text_at(body, len, "4x" SEP "4x" SEP "4x" SEP "4x" SEP "4head" SEP "*4head",
                           "body", __LINE__);
        if (i == 2)
            expect_text_at(body, len, "4head" SEP "4head" SEP "4head" SEP "4last", "body",
                           __LINE__);
    }
    assert_int_equal(rt_eio_queued(t.session), 0);
    get(down, sid);
    expect_nothing(down);
}

/* A body stays near the payload that the client has agreed to; one message is never cut. */
static void test_body_bytes(void **state)
{
    static char text[150000];
    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(rt_eio_send(t.session, false, rt_str_of(text, 60000)), 0);
    assert_int_equal(rt_eio_send(t.session, false, rt_str_of(text, 60000)), 0);
    say("small");
    const char *body = "";
    size_t len = 0;
    get(down, sid);
    end_turn();
    assert_int_equal(take_answer(down, &body, &len), 200);
    assert_int_equal(len, 60001);
    get(down, sid);
    end_turn();
    assert_int_equal(take_answer(down, &body, &len), 200);
    assert_int_equal(len, 60001 + 1 + 6);
    assert_int_equal(rt_eio_send(t.session, false, rt_str_of(text, 150000)), 0);
    get(down, sid);
    end_turn();
    assert_int_equal(take_answer(down, &body, &len), 200);
    assert_int_equal(len, 150001);
}

static void test_second_get(void **state)
{
    (void)state;
    get(down, sid);
    expect_nothing(down);
    get(up, sid);
    expect_poll(down, "1");
    expect_error(up, 400, 3, "Bad request");
    expect_gone("transport error");
}

static void test_get_aborted(void **state)
{
    (void)state;
    get(down, sid);
    expect_nothing(down);
    fake_eof(down->conn);
    expect_gone("transport close");
}

static void test_get_reset(void **state)
{
    (void)state;
    get(down, sid);
    drop(down);
    expect_gone("transport close");
}

/* An answered GET's connection may go. */
static void test_idle_connection_closed(void **state)
{
    (void)state;
    fake_eof(down->conn);
    end_turn();
    expect_log("");
    get(up, sid);
    say("a");
    expect_poll(up, "4a");
}

static void test_separator_in_text(void **state)
{
    struct rt_buf out = RT_BUF_INIT;
    (void)state;
    say("a" SEP "b");
    rt_eio_encode(&out, RT_EIO_FORM_POLLING, false, RT_STR(SEP));
    struct rt_bytes *bytes = rt_buf_to_bytes(&out);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, 0, bytes->len), 0);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&out);
    get(down, sid);
    expect_poll(down, "bYR5i" SEP "bHg==");
}

/* ---- POST ---- */

static void test_posts(void **state)
{
    static const struct {
        const char *body, *log;
    } rows[] = {
        {"4hello", "text hello\n"},
        {"4", "text \n"},
        {"4a" SEP "4b" SEP "4c", "text a\ntext b\ntext c\n"},
        {"4\xc3\xa9\xf0\x9f\x98\x80", "text \xc3\xa9\xf0\x9f\x98\x80\n"},
        {"bAQIDBA==", "bytes \1\2\3\4\n"},
        {"bAQIDBA", "bytes \1\2\3\4\n"},
        {"b-_8", "bytes \xfb\xff\n"},              /* the other alphabet */
        {"bAQ\nIDB\r\nA==\n", "bytes \1\2\3\4\n"}, /* lines of 76 columns, on some platforms */
        {"b", "bytes \n"},
        {"4a" SEP "bAQ==" SEP "4b", "text a\nbytes \1\ntext b\n"},
        {"3", ""},
        {"5", ""},
        {"6", ""},
        {"6" SEP "4a", "text a\n"},
        {"3probe", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        post(up, sid, rows[i].body);
        expect_ok(up);
        expect_log(rows[i].log);
    }
}

static void test_bad_posts(void **state)
{
    static const struct {
        const char *body;
        size_t len;
        const char *log;
    } rows[] = {
        {"", 0, "close parse error\n"},
        {"x", 1, "close parse error\n"},
        {"7", 1, "close parse error\n"},
        {"abc", 3, "close parse error\n"},
        {"4a" SEP, 3, "text a\nclose parse error\n"},
        {SEP "4a", 3, "close parse error\n"},
        {"4a" SEP SEP "4b", 6, "text a\nclose parse error\n"},
        {"2", 1, "close parse error\n"},
        {"2probe", 6, "close parse error\n"},
        {"0", 1, "close parse error\n"},
        {"4\xff", 2, "close parse error\n"},
        {"4\xed\xa0\x80", 4, "close parse error\n"},
        {"4\xc3", 2, "close parse error\n"},
        {"bA", 2, "close parse error\n"},
        {"b*", 2, "close parse error\n"},
        {"\0", 1, "close parse error\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        post_bytes(up, sid, rows[i].body, rows[i].len);
        expect_error(up, 400, 3, "Bad request");
        expect_log(rows[i].log);
        post(up, sid, "4a");
        expect_unknown(up);
        assert_true(up->conn->finished); /* the body was not read */
        up = new_peer();
        open_polling(up, sid);
    }
}

/* Whoever holds a GET hears of it. */
static void test_bad_post_with_get(void **state)
{
    (void)state;
    get(down, sid);
    post(up, sid, "abc");
    expect_error(up, 400, 3, "Bad request");
    expect_poll(down, "1");
    expect_gone("parse error");
}

static void test_echo_order(void **state)
{
    (void)state;
    t.echo = true;
    get(down, sid);
    post(up, sid, "4a" SEP "bAQ==" SEP "4b");
    expect_ok(up);
    expect_poll(down, "4a" SEP "bAQ==" SEP "4b");
}

static void begin_post(struct peer *p, const char *lines, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof(text),
                     "POST /eio/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: h\r\n%s\r\n%s",
                     sid, lines, body);
    fake_data(p->conn, text, (size_t)n);
}

static void test_second_post(void **state)
{
    (void)state;
    begin_post(up, "Content-Length: 4\r\n", "4a");
    struct peer *p = new_peer();
    post(p, sid, "4b");
    expect_error(p, 400, 3, "Bad request");
    assert_true(p->conn->finished); /* its body was not read */
    fake_data(up->conn, "bc", 2);
    expect_unknown(up);
    expect_gone("transport error");
}

static void test_octet_stream(void **state)
{
    static const char *const types[] = {"application/octet-stream",
                                        "Application/Octet-Stream; charset=x"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char lines[200];
        snprintf(lines, sizeof(lines), "Content-Type: %s\r\nContent-Length: 2\r\n", types[i]);
        struct peer *p = new_peer();
        begin_post(p, lines, "4a");
        expect_error(p, 400, 3, "Bad request");
        expect_log("close transport error\n");
        p = new_peer();
        open_polling(p, sid);
    }
}

static void test_too_large(void **state)
{
    (void)state;
    begin_post(up, "Content-Length: 100001\r\n", "4a");
    expect_answer(up, 413, "", "");
    assert_true(up->conn->finished);
    up = new_peer();
    begin_post(up, "Transfer-Encoding: chunked\r\n", "186a1\r\n4a");
    expect_answer(up, 413, "application/json", "*");
    expect_log("");
    up = new_peer();
    static char body[100000];
    memset(body, 'x', sizeof(body));
    body[0] = '4';
    post_bytes(up, sid, body, sizeof(body));
    expect_ok(up);
    expect_log("text xxx*xxx\n");
}

/* A body that does not come in time is refused by HTTP; the client may try again. */
static void test_late_body(void **state)
{
    (void)state;
    t.request_timeout = 5000;
    assert_int_equal(mount(), 0);
    down = new_peer();
    up = new_peer();
    open_polling(down, sid);
    begin_post(up, "Content-Length: 4\r\n", "4a");
    pass(5000);
    expect_answer(up, 408, "application/json", "*");
    expect_log("");
    up = new_peer();
    post(up, sid, "4b");
    expect_ok(up);
    expect_log("text b\n");
}

static void test_post_aborted(void **state)
{
    (void)state;
    begin_post(up, "Content-Length: 4\r\n", "4a");
    fake_eof(up->conn);
    expect_gone("transport close");
}

static void test_post_reset_with_get(void **state)
{
    (void)state;
    get(down, sid);
    begin_post(up, "Content-Length: 4\r\n", "4a");
    drop(up);
    expect_poll(down, "1");
    expect_gone("transport close");
}

static void test_chunked_post(void **state)
{
    (void)state;
    begin_post(up, "Transfer-Encoding: chunked\r\n", "2\r\n4a\r\n");
    fake_data(up->conn, "1\r\nb\r\n0\r\n\r\n", 11);
    expect_ok(up);
    expect_log("text ab\n");
}

/* ---- the client's close ---- */

static void test_client_close(void **state)
{
    (void)state;
    get(down, sid);
    post(up, sid, "4a" SEP "1" SEP "4b");
    expect_ok(up);
    expect_poll(down, "6");
    expect_log("text a\nclose client close\n");
    get(down, sid);
    expect_unknown(down);
}

/* It sends both at once: the GET may come second. */
static void test_client_close_before_get(void **state)
{
    (void)state;
    post(up, sid, "1");
    expect_ok(up);
    expect_log("close client close\n");
    pass(999);
    get(down, sid);
    expect_poll(down, "6");
    get(down, sid);
    expect_unknown(down);
    assert_int_equal(metric("session_closes_total", "client close"), 1);
    assert_int_equal(metric("session_closes_total", "ping timeout"), 0);
}

static void test_client_close_alone(void **state)
{
    (void)state;
    post(up, sid, "1");
    expect_ok(up);
    post(up, sid, "4a");
    expect_unknown(up);
    pass(1000);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    get(down, sid);
    expect_unknown(down);
    expect_log("close client close\n");
}

/* ---- our close ---- */

static void close_forced(void)
{
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
}

static void test_close_with_get(void **state)
{
    (void)state;
    get(down, sid);
    close_forced();
    expect_poll(down, "1");
    expect_gone("forced close");
}

/* What was sent before goes first, in an answer of its own. */
static void test_close_after_messages(void **state)
{
    (void)state;
    get(down, sid);
    for (int i = 0; i < 18; i++)
        say("x");
    close_forced();
    assert_int_equal(rt_eio_send(t.session, false, RT_STR("y")), RT_ECLOSED);
    expect_poll(down, "4x" SEP "*4x");
    expect_log("close forced close\n");
    get(down, sid);
    expect_poll(down, "4x" SEP "4x");
    get(down, sid);
    expect_poll(down, "6" SEP "1");
    get(down, sid);
    expect_unknown(down);
}

static void test_close_lingers(void **state)
{
    (void)state;
    say("a");
    close_forced();
    expect_log("close forced close\n");
    pass(29999);
    get(down, sid);
    expect_poll(down, "4a");
    get(down, sid);
    expect_poll(down, "6" SEP "1");
    assert_int_equal(rt_eio_sessions(t.mount), 0);
}

static void test_close_forgotten(void **state)
{
    (void)state;
    close_forced();
    post(up, sid, "4a");
    expect_unknown(up);
    pass(30000);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    get(down, sid);
    expect_unknown(down);
    expect_log("close forced close\n");
    assert_int_equal(metric("session_closes_total", "forced close"), 1);
}

/* The user is gone when the body arrives. */
static void test_close_with_post(void **state)
{
    (void)state;
    begin_post(up, "Content-Length: 4\r\n", "4a");
    close_forced();
    expect_log("close forced close\n");
    fake_data(up->conn, "bc", 2);
    expect_unknown(up);
    expect_log("");
    get(down, sid);
    expect_poll(down, "6" SEP "1");
}

static void test_close_with_post_aborted(void **state)
{
    (void)state;
    begin_post(up, "Content-Length: 4\r\n", "4a");
    close_forced();
    end_turn();
    drop(up);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
    expect_log("close forced close\n");
}

static void close_on_text(struct rt_eio_session *s, struct rt_str text)
{
    if (rt_str_eq(text, RT_STR("close")))
        rt_eio_close(s, RT_EIO_FORCED_CLOSE, 0);
    else if (rt_str_eq(text, RT_STR("wrong")))
        rt_eio_close(s, RT_EIO_PARSE_ERROR, 0);
}

static void test_closed_by_message(void **state)
{
    (void)state;
    t.on_text = close_on_text;
    post(up, sid, "4close" SEP "4more");
    expect_ok(up);
    expect_log("text close\nclose forced close\n");
    get(down, sid);
    expect_poll(down, "6" SEP "1");
    open_polling(down, sid);
    get(down, sid);
    post(up, sid, "4wrong" SEP "4more");
    expect_ok(up);
    expect_poll(down, "1");
    expect_log("text wrong\nclose parse error\n");
}

/* Who breaks the protocol of the user still gets what was queued for it, and then the close. */
static void test_breach_after_messages(void **state)
{
    (void)state;
    t.on_text = close_on_text;
    say("a");
    post(up, sid, "4wrong");
    expect_ok(up);
    expect_log("text wrong\nclose parse error\n");
    get(down, sid);
    expect_poll(down, "4a");
    get(down, sid);
    expect_poll(down, "6" SEP "1");
    get(down, sid);
    expect_unknown(down);
    assert_int_equal(metric("session_closes_total", "parse error"), 1);
    assert_int_equal(metric("session_closes_total", "forced close"), 0);
}

/* ---- backpressure ---- */

static void pause_on_text(struct rt_eio_session *s, struct rt_str text)
{
    if (rt_str_eq(text, RT_STR("pause")))
        rt_eio_pause(s);
}

static void test_pause(void **state)
{
    (void)state;
    t.on_text = pause_on_text;
    get(down, sid);
    post(up, sid, "4pause" SEP "4rest of the body");
    expect_nothing(up);
    expect_log("text pause\ntext rest of the body\n");
    say("down goes on");
    expect_poll(down, "4down goes on");
    rt_eio_pause(t.session); /* idempotent */
    rt_eio_resume(t.session);
    expect_ok(up);
    rt_eio_resume(t.session);
    post(up, sid, "4next");
    expect_ok(up);
    expect_log("text next\n");
}

/* A peer that is kept waiting cannot send its pong, but goes when no other ping comes. It gets half of the time once it can, and what counts is
 * the answer to the last of them. */
static void test_pause_and_heartbeat(void **state)
{
    (void)state;
    t.on_text = pause_on_text;
    post(up, sid, "4pause");
    get(down, sid);
    pass(25000);
    expect_poll(down, "2");
    pass(100000);
    get(down, sid); /* not refused */
    expect_poll(down, "2" SEP "2" SEP "2" SEP "2");
    expect_log("text pause\n");
    rt_eio_resume(t.session);
    expect_ok(up);
    pass(9999);
    expect_log("");
    post(up, sid, "3" SEP "3" SEP "3" SEP "3");
    expect_ok(up);
    expect_log("");
    post(up, sid, "3");
    expect_ok(up);
    expect_log("pong\n");
    rt_eio_pause(t.session);
    pass(100000);
    rt_eio_resume(t.session);
    pass(20000);
    expect_log("close ping timeout\n");
}

static void test_pause_then_end(void **state)
{
    (void)state;
    t.on_text = pause_on_text;
    post(up, sid, "4pause");
    close_forced();
    expect_ok(up); /* nobody is left who could resume */
    expect_log("text pause\nclose forced close\n");
    open_polling(down, sid);
    post(up, sid, "4pause");
    expect_nothing(up);
    drop(up);
    expect_log("text pause\nclose transport close\n");
    up = new_peer();
    open_polling(down, sid);
    post(up, sid, "4pause");
    rt_eio_close(t.session, RT_EIO_SLOW, 0);
    expect_ok(up);
    expect_log("text pause\nclose slow consumer\n");
}

/* ---- slow consumers ---- */

static int say_much(size_t len)
{
    static char text[300000];
    memset(text, 'x', sizeof(text));
    return rt_eio_send(t.session, false, rt_str_of(text, len));
}

static void test_slow(void **state)
{
    (void)state;
    assert_int_equal(say_much(100000), 0);
    assert_int_equal(say_much(90000), 0);
    assert_int_equal(say_much(20000), RT_ECLOSED);
    assert_int_equal(rt_eio_queued(t.session), 0);
    expect_gone("slow consumer");
}

/* A message that is larger than the limit on its own is no sign of a slow client. */
static void test_large_but_not_slow(void **state)
{
    (void)state;
    assert_int_equal(say_much(250000), 0);
    const char *body = "";
    size_t len = 0;
    get(down, sid);
    end_turn();
    assert_int_equal(take_answer(down, &body, &len), 200);
    assert_int_equal(len, 250001);
    assert_int_equal(say_much(250000), 0);
    assert_int_equal(say_much(1), RT_ECLOSED);
    expect_gone("slow consumer");
}

/* Small packets count what they really take. */
static void test_slow_in_small_steps(void **state)
{
    int count = 0;
    (void)state;
    while (rt_eio_send(t.session, false, RT_STR("x")) == 0)
        assert_true(++count < 10000);
    assert_true(count > 1000);
    expect_gone("slow consumer");
}

/* Whoever takes what is queued may get more of it, for ever. */
static void test_not_slow(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 16; k++)
            assert_int_equal(say_much(5000), 0);
        const char *body = "";
        size_t len = 0;
        get(down, sid);
        end_turn();
        assert_int_equal(take_answer(down, &body, &len), 200);
        assert_int_equal(len, 16 * 5001 + 15);
    }
}

/* ---- JSONP ---- */

static void test_jsonp(void **state)
{
    char query[256];
    (void)state;
    snprintf(query, sizeof(query), "EIO=4&transport=polling&j=12a3&sid=%s", sid);
    say("\"a\\b\n\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa");
    say("c");
    request(down, "GET", query, "");
    expect_poll(down, "___eio[123](\"4\\\"a\\\\b\\n\\u2028\\u2029\xe2\x80\xaa\\u001e4c\");");
    char target[300];
    snprintf(target, sizeof(target), "/eio/?%s", query);
    const char *body = "d=4a%5Cnb%5C%5Cnc%0a%1E4%2B+%26%E2%82%AC";
    request_raw(up, "POST", target, "Content-Type: application/x-www-form-urlencoded\r\n", body,
                strlen(body));
    expect_ok(up);
    expect_log("text a\nb\\nc\n\ntext + &\xe2\x82\xac\n");
    body = "e=4a";
    request_raw(up, "POST", target, "", body, strlen(body));
    expect_error(up, 400, 3, "Bad request");
    expect_log("close parse error\n");
    request(down, "GET", "EIO=4&transport=polling&j=7", "");
    expect_poll(down, "___eio[7](\"0{\\\"sid\\\":*}\");");
    take_sid("{\"sid\":\"\"", 10, sid);
}

static void test_jsonp_close(void **state)
{
    char query[256];
    (void)state;
    snprintf(query, sizeof(query), "EIO=4&transport=polling&j=1&sid=%s", sid);
    request(down, "GET", query, "");
    post(up, sid, "1");
    expect_ok(up);
    expect_poll(down, "___eio[1](\"6\");");
}

#define open_test(f) cmocka_unit_test_setup_teardown(f, set_up_open, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        open_test(test_held),
        open_test(test_sixteen),
        open_test(test_body_bytes),
        open_test(test_second_get),
        open_test(test_get_aborted),
        open_test(test_get_reset),
        open_test(test_idle_connection_closed),
        open_test(test_separator_in_text),
        open_test(test_posts),
        open_test(test_bad_posts),
        open_test(test_bad_post_with_get),
        open_test(test_echo_order),
        open_test(test_second_post),
        open_test(test_octet_stream),
        open_test(test_too_large),
        cmocka_unit_test_setup_teardown(test_late_body, set_up, tear_down),
        open_test(test_post_aborted),
        open_test(test_post_reset_with_get),
        open_test(test_chunked_post),
        open_test(test_client_close),
        open_test(test_client_close_before_get),
        open_test(test_client_close_alone),
        open_test(test_close_with_get),
        open_test(test_close_after_messages),
        open_test(test_close_lingers),
        open_test(test_close_forgotten),
        open_test(test_close_with_post),
        open_test(test_close_with_post_aborted),
        open_test(test_closed_by_message),
        open_test(test_breach_after_messages),
        open_test(test_pause),
        open_test(test_pause_and_heartbeat),
        open_test(test_pause_then_end),
        open_test(test_slow),
        open_test(test_large_but_not_slow),
        open_test(test_slow_in_small_steps),
        open_test(test_not_slow),
        open_test(test_jsonp),
        open_test(test_jsonp_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
