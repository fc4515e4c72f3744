/* Every allocation fails once, in scenarios that use all of the engine: nothing may crash or stay behind, and what was taken from a
 * peer as a whole message was one. */
#include "unit/engine/engine_rig.h"

#define SEP "\x1e"

static char sid[SID_MAX];

/* The sid of the open packet in what the peer was sent; false: there is none. */
static bool opened(struct peer *p)
{
    end_turn();
    const char *from = p->conn->out + p->at;
    const char *packet = memmem(from, p->conn->out_len - p->at, "{\"sid\":\"", 8);
    p->at = p->conn->out_len;
    if (!packet)
        packet = memmem(from, p->conn->out_len, "{\\\"sid\\\":\\\"", 11);
    if (!packet)
        return false;
    const char *end = strchr(packet + 8, '"');
    if (!end || end - (packet + 8) >= SID_MAX)
        return false;
    memcpy(sid, packet + 8, (size_t)(end - (packet + 8)));
    sid[end - (packet + 8)] = '\0';
    return true;
}

static void turn(struct peer *p)
{
    end_turn();
    p->at = p->conn->out_len;
}

static bool handshake(struct peer *p)
{
    request(p, "GET", "EIO=4&transport=polling", "Origin: http://a\r\n");
    return opened(p);
}

static void send_all_kinds(void)
{
    if (!t.session)
        return;
    (void)rt_eio_send(t.session, false, RT_STR("text"));
    if (t.session)
        (void)rt_eio_send(t.session, true, RT_STR("bytes"));
    struct rt_buf run = RT_BUF_INIT;
    if (t.session) {
        rt_eio_encode(&run, rt_eio_form(t.session), false, RT_STR("x"));
        rt_eio_encode(&run, rt_eio_form(t.session), true, RT_STR("y"));
    }
    struct rt_bytes *bytes = rt_buf_to_bytes(&run);
    if (bytes && t.session)
        (void)rt_eio_send_encoded(t.session, bytes, 0, bytes->len);
    rt_bytes_unref(bytes);
    rt_buf_deinit(&run);
}

static void play_polling(void)
{
    struct peer *down = new_peer(), *up = new_peer(), *late = new_peer();
    request(down, "OPTIONS", "EIO=4", "Access-Control-Request-Headers: a\r\n");
    request(down, "GET", "EIO=4&transport=nothing", "");
    if (handshake(down)) {
        get(down, sid);
        post(up, sid, "4a" SEP "bAQID" SEP "3");
        send_all_kinds();
        turn(down);
        get(late, sid);
        pass(25000);
        post(late, sid, "1");
    }
    request(late, "GET", "EIO=4&transport=polling&j=1", "");
    end_turn();
    if (t.session)
        rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 0);
    pass(100);
}

static void play_jsonp(void)
{
    char target[256];
    struct peer *p = new_peer();
    if (!handshake(p))
        return;
    snprintf(target, sizeof(target), "/eio/?EIO=4&transport=polling&j=17&sid=%s", sid);
    send_all_kinds();
    request_raw(p, "GET", target, "", NULL, 0);
    turn(p);
    request_raw(p, "POST", target, "", "d=4whole%1E4whole", 17);
    turn(p);
}

static void play_upgrade(void)
{
    struct peer *down = new_peer(), *ws = new_peer(), *second = new_peer();
    char query[128];
    if (!handshake(down))
        return;
    snprintf(query, sizeof(query), "EIO=4&transport=websocket&b64=1&sid=%s", sid);
    get(down, sid);
    request(ws, "GET", query, UPGRADE);
    request(second, "GET", query, UPGRADE);
    turn(ws);
    ws_text(ws, "2probe");
    turn(ws);
    send_all_kinds();
    ws_text(ws, "5");
    ws_text(ws, "4whole");
    ws_text(ws, "bAQID");
    send_all_kinds();
    turn(ws);
}

static void play_websocket(void)
{
    struct peer *p = new_peer();
    request(p, "GET", "EIO=4&transport=websocket", UPGRADE);
    end_turn();
    ws_text(p, "4whole");
    send_frame(p, 0x82, "bytes", 5);
    ws_text(p, "bAQID");
    send_all_kinds();
    pass(10);
    if (t.session)
        rt_eio_close(t.session, RT_EIO_FORCED_CLOSE, 4000);
    pass(5001);
}

/* Revision 3: both framings, and the upgrade. */
static void play_revision3(void)
{
    static const char octets[] = "\0\6\xff"
                                 "4whole\1\3\xff\4ab";
    struct peer *down = new_peer(), *up = new_peer(), *ws = new_peer();
    char target[256];
    request(down, "GET", "EIO=3&transport=polling", "Origin: http://a\r\n");
    if (!opened(down))
        return;
    snprintf(target, sizeof(target), "/eio/?EIO=3&transport=polling&sid=%s", sid);
    request_raw(up, "POST", target, "Content-Type: application/octet-stream\r\n", octets,
                sizeof(octets) - 1);
    turn(up);
    request_raw(up, "POST", target, "", "6:4whole1:2", 11);
    send_all_kinds();
    request_raw(down, "GET", target, "", NULL, 0);
    turn(down);
    snprintf(target, sizeof(target), "/eio/?EIO=3&transport=websocket&b64=1&sid=%s", sid);
    request_raw(ws, "GET", target, UPGRADE, NULL, 0);
    turn(ws);
    ws_text(ws, "2probe");
    send_all_kinds();
    ws_text(ws, "5");
    ws_text(ws, "b4AQID");
    send_frame(ws, 0x82, "\4bytes", 6);
    send_all_kinds();
    turn(ws);
}

/* Nobody was told half a message. */
static void check_log(void)
{
    struct rt_str rest = rt_buf_str(&t.log), line;
    if (!rt_buf_ok(&t.log))
        return;
    while (rest.len > 0) {
        line = rt_str_split(rest, '\n', &rest);
        if (rt_str_starts(line, RT_STR("text ")) && !rt_str_eq(line, RT_STR("text whole")))
            assert_true(rt_str_eq(line, RT_STR("text a")));
    }
}

static void run(void (*play)(void), uint64_t gap)
{
    static const char *origins[] = {"http://a", "http://b"};
    unsigned long n = 0;
    bool failed = true;
    while (failed) {
        assert_int_equal(set_up(NULL), 0);
        t.options.keep_handshake = true;
        t.options.node = "node";
        t.config.cookie = "io";
        t.config.packet_gap = gap;
        t.config.cors_origins = (struct rt_strings){origins, 2};
        t.config.allow_eio3 = true;
        t.echo = true;
        rt_alloc_fail_at(++n, 0);
        if (mount() == 0)
            play();
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        check_log();
        tear_down(NULL);
        assert_true(n < 2000);
    }
    assert_true(n > 20); /* it did allocate */
}

static void test_polling(void **state)
{
    (void)state;
    run(play_polling, 0);
}

static void test_jsonp(void **state)
{
    (void)state;
    run(play_jsonp, 0);
}

static void test_upgrade(void **state)
{
    (void)state;
    run(play_upgrade, 0);
}

static void test_websocket(void **state)
{
    (void)state;
    run(play_websocket, 0);
}

static void test_paced(void **state)
{
    (void)state;
    run(play_websocket, 3);
}

static void test_revision3(void **state)
{
    (void)state;
    run(play_revision3, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_polling), cmocka_unit_test(test_jsonp),
        cmocka_unit_test(test_upgrade), cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_paced),   cmocka_unit_test(test_revision3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
