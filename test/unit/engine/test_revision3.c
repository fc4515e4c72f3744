/* Clients of Engine.IO 3: what is different on the wire for them, on every transport. */
#include "unit/engine/engine_rig.h"

#define SEP   "\x1e"
#define SMILE "\xf0\x9f\x98\x80" /* U+1F600: two UTF-16 code units */

static char sid[SID_MAX];
static struct peer *down, *up, *ws;

static int set_up_allowed(void **state)
{
    if (set_up(state))
        return -1;
    t.config.allow_eio3 = true;
    if (mount())
        return -1;
    down = new_peer();
    up = new_peer();
    ws = new_peer();
    return 0;
}

static void get3(const char *more)
{
    char query[256];
    snprintf(query, sizeof(query), "EIO=3&transport=polling&sid=%s%s", sid, more);
    request(down, "GET", query, "");
}

static void post3(const char *more, const char *lines, const void *body, size_t len)
{
    char target[256];
    snprintf(target, sizeof(target), "/eio/?EIO=3&transport=polling&sid=%s%s", sid, more);
    request_raw(up, "POST", target, lines, body, len);
}

static void post_text(const char *body)
{
    post3("", "Content-Type: text/plain;charset=UTF-8\r\n", body, strlen(body));
}

#define OCTETS      "application/octet-stream"
#define OCTETS_LINE "Content-Type: " OCTETS "\r\n"

static void open3(const char *more)
{
    char query[64];
    const char *body = "";
    size_t len = 0;
    snprintf(query, sizeof(query), "EIO=3&transport=polling%s", more);
    request(down, "GET", query, "");
    end_turn();
    assert_int_equal(take_answer(down, &body, &len), 200);
    assert_non_null(strstr(answer_head, POLL_TYPE));
    take_sid(body, len, sid);
    char want[256];
    snprintf(want, sizeof(want),
             "0{\"sid\":\"%s\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,"
             "\"pingTimeout\":20000,\"maxPayload\":100000}",
             sid);
    char framed[300];
    int framed_len = snprintf(framed, sizeof(framed), "%zu:%s", strlen(want), want);
    expect_text_at(body, len, framed, "the open packet", __LINE__);
    assert_int_equal(framed_len, len);
    expect_log("open polling\n");
}

static void say(bool binary, struct rt_str text)
{
    assert_int_equal(rt_eio_send(t.session, binary, text), 0);
}

/* ---- who is let in ---- */

static void test_off(void **state)
{
    (void)state;
    t.config.allow_eio3 = false;
    request(down, "GET", "EIO=3&transport=polling", "");
    expect_error(down, 400, 5, "Unsupported protocol version");
    assert_int_equal(metric("sessions_opened_eio3_total", NULL), 0);
}

static void test_others(void **state)
{
    static const char *const queries[] = {"EIO=2&transport=polling", "transport=polling",
                                          "EIO=33&transport=polling", "EIO=&transport=polling"};
    (void)state;
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        request(down, "GET", queries[i], "");
        expect_error(down, 400, 5, "Unsupported protocol version");
    }
}

static void test_one_revision(void **state)
{
    (void)state;
    open3("");
    get(down, sid);
    expect_error(down, 400, 3, "Bad request");
    post(up, sid, "4a");
    expect_error(up, 400, 3, "Bad request");
    open_polling(down, sid);
    get3("");
    expect_error(down, 400, 3, "Bad request");
    assert_int_equal(metric("sessions_opened_eio3_total", NULL), 1);
    assert_int_equal(metric("sessions_opened_total", "polling"), 2);
}

/* ---- polling ---- */

static void test_text(void **state)
{
    (void)state;
    open3("");
    say(false, RT_STR("h\xc3\xa9" SMILE));
    say(false, RT_STR(""));
    get3("");
    expect_poll(down, "5:4h\xc3\xa9" SMILE "1:4");
    expect_log("ready\n");
    post_text("5:4h\xc3\xa9" SMILE "0:1:41:6");
    expect_ok(up);
    expect_log("text h\xc3\xa9" SMILE "\ntext \n");
}

/* The length of a binary answer is no string's: NULs are in it. */
static void expect_octets(const char *want, size_t len)
{
    const char *body = "";
    size_t got = 0;
    end_turn();
    assert_int_equal(take_answer(down, &body, &got), 200);
    assert_non_null(strstr(answer_head, "Content-Type: " OCTETS "\r\n"));
    assert_int_equal(got, len);
    assert_memory_equal(body, want, len);
}

static void test_octets(void **state)
{
    static const char out[] = "\0\6\xff"
                              "4" SMILE "x\1\4\xff\4a\0b";
    static const char in[] = "\0\1\2\xff"
                             "4hello " SMILE "!\1\3\xff\4\xff\1\0\6\xff"
                             "b4AQID";
    (void)state;
    open3("");
    say(false, RT_STR(SMILE "x"));
    say(true, RT_STR("a\0b"));
    get3("");
    expect_octets(out, sizeof(out) - 1);
    post3("", OCTETS_LINE, in, sizeof(in) - 1);
    expect_ok(up);
    expect_log("ready\ntext hello " SMILE "!\nbytes \xff\1\nbytes \1\2\3\n");
    /* The next body has no bytes in it, and is text again. */
    say(false, RT_STR("t"));
    get3("");
    expect_poll(down, "2:4t");
    post3("", OCTETS_LINE, "", 0);
    expect_ok(up);
}

static void test_base64(void **state)
{
    (void)state;
    open3("&b64=1");
    say(true, RT_STR("\xff\1"));
    say(false, RT_STR("x"));
    get3("");
    expect_poll(down, "6:b4/wE=2:4x");
    post_text("6:b4/wI=");
    expect_ok(up);
    expect_log("ready\nbytes \xff\2\n");
}

static void test_jsonp(void **state)
{
    (void)state;
    open3("");
    say(true, RT_STR("\xff\1"));
    say(false, RT_STR("\""));
    get3("&j=7");
    expect_poll(down, "___eio[7](\"6:b4/wE=2:4\\\"\");");
    post3("&j=7", "", "d=3%3A4%F0%9F%98%80", 19);
    expect_ok(up);
    expect_log("ready\ntext " SMILE "\n");
}

static void refuse(const char *lines, const void *body, size_t len)
{
    open3("");
    post3("", lines, body, len);
    expect_error(up, 400, 3, "Bad request");
    get3("");
    expect_unknown(down);
    expect_log("ready\nclose parse error\n");
}

#define S(text)                  \
    {                            \
        (text), sizeof(text) - 1 \
    }

static void test_malformed(void **state)
{
    static const struct rt_str texts[] = {
        S(""),
        S(":2"),
        S("1"),
        S("2:2"),
        S("-1:2"),
        S("+1:2"),
        S(" 1:2"),
        S("1.0:2"),
        S("99999999999999999999:2"),
        S("18446744073709551617:2"),
        S("00000000001:2"),
        S("3:4x" SMILE),
        S("1:7"),
        S("1:2x"),
        S("2:4\xff"),
        S("1:\xf0\x9f"),
        S("4:b2AQ"),
        S("1:b"),
        S("4:b4!!"),
        S("hello"),
        S("4a" SEP "4b"),
    };
    static const struct rt_str octets[] = {
        S("\2\1\xff\62"), S("\0\xff\62"),       S("\0"),
        S("\0\1"),        S("\0\12\xff\62"),    S("\0\2\xff\64"),
        S("\0\0\xff"),    S("\1\0\xff"),        S("\1\1\xff\62"),
        S("\1\1\xff\11"), S("\0\2\xff\64\xff"), S("\0\1\1\1\1\1\1\1\1\1\1\1\xff\62"),
        S("1:2"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        refuse("Content-Type: text/plain\r\n", texts[i].ptr, texts[i].len);
    for (size_t i = 0; i < sizeof(octets) / sizeof(octets[0]); i++)
        refuse(OCTETS_LINE, octets[i].ptr, octets[i].len);
    assert_int_equal(metric("session_closes_total", "parse error"),
                     sizeof(texts) / sizeof(texts[0]) + sizeof(octets) / sizeof(octets[0]));
}

static void close_now(struct rt_eio_session *s)
{
    rt_eio_close(s, RT_EIO_FORCED_CLOSE, 0);
}

static void say_and_close(struct rt_eio_session *s)
{
    (void)rt_eio_send(s, false, RT_STR("bye"));
    rt_eio_close(s, RT_EIO_FORCED_CLOSE, 0);
}

static void end_now(struct rt_eio_session *s)
{
    rt_eio_close(s, RT_EIO_TRANSPORT_ERROR, 0);
}

static void test_end(void **state)
{
    (void)state;
    open3("");
    get3("");
    expect_nothing(down);
    rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
    expect_poll(down, "1:1");
    expect_log("ready\nclose forced close\n");
    open3("");
    post_text("1:1");
    expect_ok(up);
    get3("");
    expect_poll(down, "1:6");
    expect_log("ready\nclose client close\n");
}

/* Whatever the user does when the peer is there for the first time, the request is answered. */
static void test_end_when_ready(void **state)
{
    static const struct {
        void (*act)(struct rt_eio_session *s);
        const char *get;
    } rows[] = {{say_and_close, "4:4bye"}, {close_now, "1:61:1"}, {end_now, NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        t.on_ready = rows[i].act;
        open3("");
        get3("");
        if (rows[i].get)
            expect_poll(down, rows[i].get);
        else
            expect_unknown(down);
        rt_buf_clear(&t.log);
        open3("");
        post_text("2:4a");
        expect_unknown(up);
        pass(30000);
        assert_int_equal(t.closes, t.opens);
        rt_buf_clear(&t.log);
    }
}

static void test_ready_once(void **state)
{
    (void)state;
    open3("");
    post_text("2:4a2:4b");
    expect_ok(up);
    expect_log("ready\ntext a\ntext b\n");
    get3("");
    expect_nothing(down);
    expect_log("");
}

/* ---- WebSocket ---- */

static void open_ws3(const char *more)
{
    char query[256];
    const char *body = "";
    size_t len = 0;
    snprintf(query, sizeof(query), "EIO=3&transport=websocket%s", more);
    request(ws, "GET", query, UPGRADE);
    assert_int_equal(take_answer(ws, &body, &len), 101);
    end_turn();
}

static void test_websocket(void **state)
{
    struct rt_buf run = RT_BUF_INIT;
    (void)state;
    open_ws3("");
    ws->at = ws->conn->out_len;
    expect_log("open websocket\nready\n");
    send_frame(ws, 0x82, "\4\1\2", 3);
    ws_text(ws, "b4/wE=");
    ws_text(ws, "4" SMILE);
    expect_log("bytes \1\2\nbytes \xff\1\ntext " SMILE "\n");
    say(true, RT_STR("\1\2"));
    say(true, RT_STR(""));
    say(false, RT_STR("x"));
    rt_eio_encode(&run, rt_eio_form(t.session), true, RT_STR("run"));
    struct rt_bytes *bytes = rt_buf_to_bytes(&run);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, 0, bytes->len), 0);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&run);
    expect_frames(ws, "B \4\1\2\nB \4\nT 4x\nB \4run\n");
}

static void test_websocket_base64(void **state)
{
    static char large[300];
    struct rt_buf run = RT_BUF_INIT;
    (void)state;
    open_ws3("&b64=1");
    ws->at = ws->conn->out_len;
    say(true, RT_STR("\xff\1"));
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET3, true, RT_STR("\xff\3"));
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET3, true, RT_STR(""));
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET3, false, RT_STR("t"));
    rt_eio_encode(&run, RT_EIO_FORM_WEBSOCKET3, true, rt_str_of(large, sizeof(large)));
    struct rt_bytes *bytes = rt_buf_to_bytes(&run);
    assert_int_equal(rt_eio_send_encoded(t.session, bytes, 0, bytes->len), 0);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&run);
    expect_frames(ws, "T b4/wE=\nT b4/wM=\nT b4\nT 4t\nT 402 bytes *\n");
}

static void test_bad_frames(void **state)
{
    static const struct {
        uint8_t head;
        struct rt_str bytes;
    } rows[] = {{0x82, S("")},   {0x82, S("\2")}, {0x82, S("4x")}, {0x81, S("3")},
                {0x81, S("b2")}, {0x81, S("b")},  {0x81, S("0")},  {0x81, S("")}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ws = new_peer();
        open_ws3("");
        rt_buf_clear(&t.log);
        send_frame(ws, rows[i].head, rows[i].bytes.ptr, rows[i].bytes.len);
        expect_log("close parse error\n");
    }
}

/* ---- upgrade ---- */

/* b64=1 of the probe is about the WebSocket: until the upgrade polling goes on as its own handshake said. */
static void test_upgrade(void **state)
{
    static const char octets[] = "\1\3\xff\4\xff\1";
    char query[128];
    (void)state;
    open3("");
    get3("");
    snprintf(query, sizeof(query), "&b64=1&sid=%s", sid);
    open_ws3(query);
    ws_text(ws, "2probe");
    expect_frames(ws, "T 3probe\n");
    expect_poll(down, "1:6");
    say(true, RT_STR("\xff\1"));
    get3("");
    pass(200);
    expect_octets(octets, sizeof(octets) - 1);
    say(true, RT_STR("\xff\2"));
    say(false, RT_STR("t"));
    ws_text(ws, "5");
    say(true, RT_STR("\xff\3"));
    expect_frames(ws, "T b4/wI=\nT 4t\nT b4/wM=\n");
    expect_log("ready\ntransport websocket\n");
}

static void test_upgrade_binary(void **state)
{
    char query[128];
    (void)state;
    open3("&b64=1");
    snprintf(query, sizeof(query), "&sid=%s", sid);
    open_ws3(query);
    ws_text(ws, "2probe");
    say(true, RT_STR("\xff\1"));
    get3("");
    pass(200);
    expect_poll(down, "6:b4/wE=");
    say(true, RT_STR("\xff\2"));
    ws_text(ws, "5");
    expect_frames(ws, "T 3probe\nB \4\xff\2\n");
    pass(44799); /* the upgrade is no ping */
    ws_text(ws, "2");
    expect_frames(ws, "T 3\n");
    pass(44999);
    assert_int_equal(rt_eio_sessions(t.mount), 1);
    pass(1);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
}

/* ---- heartbeat ---- */

static void test_heartbeat(void **state)
{
    (void)state;
    open3("");
    get3("");
    pass(44999);
    expect_nothing(down);
    post_text("1:2");
    expect_ok(up);
    expect_poll(down, "1:3");
    get3("");
    pass(44999);
    post_text("2:4a"); /* a message is no ping */
    expect_ok(up);
    expect_nothing(down);
    expect_log("ready\ntext a\n");
    pass(1);
    expect_poll(down, "1:1");
    expect_log("close ping timeout\n");
    assert_int_equal(metric("session_closes_total", "ping timeout"), 1);
}

static void test_heartbeat_websocket(void **state)
{
    (void)state;
    open_ws3("");
    ws->at = ws->conn->out_len;
    pass(44999);
    ws_text(ws, "2data");
    expect_frames(ws, "T 3\n");
    pass(44999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "C 1005 \n");
    expect_log("open websocket\nready\nclose ping timeout\n");
}

/* While we do not read nobody dies for it, on either side: the peer hears something before its time for an answer has passed. */
static void test_heartbeat_paused(void **state)
{
    (void)state;
    open_ws3("");
    ws->at = ws->conn->out_len;
    rt_eio_pause(t.session);
    pass(34999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "T 6\n");
    pass(9999);
    expect_frames(ws, "");
    pass(1);
    expect_frames(ws, "T 6\n");
    pass(200000);
    ws->at = ws->conn->out_len;
    rt_eio_resume(t.session);
    ws_text(ws, "2");
    expect_frames(ws, "T 3\n");
    pass(44999);
    assert_int_equal(rt_eio_sessions(t.mount), 1);
    pass(1);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
}

/* Who was not there when we read again is closed. */
static void test_heartbeat_resumed(void **state)
{
    (void)state;
    open3("");
    get3("");
    expect_nothing(down);
    rt_eio_pause(t.session);
    pass(35000);
    expect_poll(down, "1:6");
    pass(5000);
    rt_eio_resume(t.session);
    pass(14999);
    assert_int_equal(rt_eio_sessions(t.mount), 1);
    pass(1);
    assert_int_equal(rt_eio_sessions(t.mount), 0);
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up_allowed, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_off),
        TEST(test_others),
        TEST(test_one_revision),
        TEST(test_text),
        TEST(test_octets),
        TEST(test_base64),
        TEST(test_jsonp),
        TEST(test_malformed),
        TEST(test_end),
        TEST(test_end_when_ready),
        TEST(test_ready_once),
        TEST(test_websocket),
        TEST(test_websocket_base64),
        TEST(test_bad_frames),
        TEST(test_upgrade),
        TEST(test_upgrade_binary),
        TEST(test_heartbeat),
        TEST(test_heartbeat_websocket),
        TEST(test_heartbeat_paused),
        TEST(test_heartbeat_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
