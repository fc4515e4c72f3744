/* Namespaces: joining, refusing, leaving, what breaks the protocol. */
#include "unit/socketio/layer.h"

#define NO_RECOVERY "protocols: {socketio: {recovery: 0s}}\n"

static const char plain[] =
    "protocols: {socketio: {recovery: 0s, connect_timeout: 50ms}}\n"
    "socketio:\n"
    "  namespaces: [/, /custom, '/room-*', '/x*']\n"
    "  on_connect:\n"
    "    - {do: [{emit: {event: auth, data: $auth}}]}\n"
    "  events:\n"
    "    - {namespace: /, event: message, do: [{emit: {event: message-back, args: $args}}]}\n"
    "    - {namespace: /, event: message-with-ack, do: [{ack: $args}]}\n";

static void test_connect(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, plain);
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(s, "0");
    expect(&rig, s, "0{\"sid\":\"" ID "\"}\n2[\"auth\",{}]\n");
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 1);
    rig_in(s, "0/custom,{\"token\":\"abc\"}");
    expect(&rig, s, "0/custom,{\"sid\":\"" ID "\"}\n2/custom,[\"auth\",{\"token\":\"abc\"}]\n");
    rig_in(s, "0/room-5");
    expect(&rig, s, "0/room-5,{\"sid\":\"" ID "\"}\n2/room-5,[\"auth\",{}]\n");
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 3);
    rig_in(s, "0/random");
    expect(&rig, s, "4/random,{\"message\":\"Invalid namespace\"}\n");
    rig_in(s, "0/xa#b");
    expect(&rig, s, "4/xa#b,{\"message\":\"Invalid namespace\"}\n");
    assert_false(s->closed);
    rig_in(s, "1/custom");
    expect(&rig, s, "");
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 2);
    rig_in(s, "2[\"message\",\"still here\"]");
    expect(&rig, s, "2[\"message-back\",\"still here\"]\n");
    rig_in(s, "0/custom");
    expect(&rig, s, "0/custom,{\"sid\":\"" ID "\"}\n2/custom,[\"auth\",{}]\n");
    rig_release(&rig, s, RT_EIO_TRANSPORT_CLOSE);
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 0);
    rig_deinit(&rig);
}

static void test_polling(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, plain);
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_POLLING);
    rig_in(s, "0{\"a\":1}");
    expect(&rig, s, "0{\"sid\":\"" ID "\"}\n2[\"auth\",{\"a\":1}]\n");
    rig_in(s, "2[\"message\",1]");
    rig_upgrade(s);
    rig_in(s, "2[\"message\",2]");
    expect(&rig, s, "2[\"message-back\",1]\n2[\"message-back\",2]\n");
    rig_deinit(&rig);
}

static void test_suite_messages(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, plain);
    struct rt_eio_session *s = connected(&rig);
    rig_in(s, "2[\"message\",1,\"2\",{\"3\":[true]}]");
    expect(&rig, s, "2[\"message-back\",1,\"2\",{\"3\":[true]}]\n");
    rig_in(s,
           "52-[\"message\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]");
    rig_binary_in(s, "abc");
    rig_binary_in(s, "def");
    expect(&rig, s,
           "52-[\"message-back\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,"
           "\"num\":1}]\n<abc>\n<def>\n");
    rig_in(s, "2456[\"message-with-ack\",1,\"2\",{\"3\":[false]}]");
    expect(&rig, s, "3456[1,\"2\",{\"3\":[false]}]\n");
    rig_in(s, "52-789[\"message-with-ack\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":"
              "true,\"num\":1}]");
    rig_binary_in(s, "1");
    rig_binary_in(s, "");
    expect(
        &rig, s,
        "62-789[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\n<1>\n<>\n");
    rig_in(s, "20[\"message-with-ack\"]");
    expect(&rig, s, "30[]\n");
    rig_in(s, "2");
    rig_in(s, "29");
    rig_in(s, "27[\"unknown\",1]");
    rig_in(s, "312[]");
    rig_in(s, "3");
    expect(&rig, s, "");
    assert_false(s->closed);
    rig_deinit(&rig);
}

/* Each of these closes the whole connection. */
static void test_breaches(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "abc",
        "2{}",
        "2abc[\"message-with-ack\",1]",
        "0",
        "0/random,[]",
        "2/custom,[\"x\"]",
        "1/custom",
        "3/custom,1[]",
        "1{}",
        "4{\"message\":\"x\"}",
        "51-[\"message\",{\"_placeholder\":true,\"num\":1}]",
        "2[\"connect\"]",
    };
    struct rig rig;
    rig_init(&rig, plain);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_eio_session *s = connected(&rig);
        rig_in(s, cases[i]);
        expect_closed(&rig, s, RT_EIO_PARSE_ERROR);
        expect(&rig, s, "");
        rig_release(&rig, s, RT_EIO_TRANSPORT_CLOSE);
    }
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 0);
    rig_deinit(&rig);
}

static void test_breaches_of_order(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, plain);
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(s, "2[\"message\"]"); /* the first packet is a CONNECT */
    expect_closed(&rig, s, RT_EIO_PARSE_ERROR);
    s = connected(&rig);
    rig_binary_in(s, "x"); /* nothing announced it */
    expect_closed(&rig, s, RT_EIO_PARSE_ERROR);
    s = connected(&rig);
    rig_in(s, "51-[\"message\",{\"_placeholder\":true,\"num\":0}]");
    rig_in(s, "2[\"message\",1]"); /* between the attachments */
    expect_closed(&rig, s, RT_EIO_PARSE_ERROR);
    s = connected(&rig);
    rig_in(s, "abc");
    rig_in(s, "2[\"message\",1]"); /* what comes behind is not looked at */
    expect(&rig, s, "");
    rig_deinit(&rig);
}

static void test_attachment_size(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, "protocols: {socketio: {recovery: 0s, max_payload: 1KB}}\n");
    struct rt_eio_session *s = connected(&rig);
    char big[1001];
    memset(big, 'x', 1000);
    big[1000] = 0;
    rig_in(s, "53-[\"message\"]");
    rig_binary_in(s, big);
    assert_false(s->closed);
    rig_binary_in(s, big);
    expect_closed(&rig, s, RT_EIO_PARSE_ERROR);
    rig_deinit(&rig);
}

static void test_connect_timeout(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, plain);
    struct rt_eio_session *silent = rig_open(&rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *refused = rig_open(&rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *joined = connected(&rig);
    rig_in(refused, "0/random");
    wait_until(&rig, silent->closed && refused->closed);
    assert_int_equal(silent->reason, RT_EIO_FORCED_CLOSE);
    assert_false(joined->closed);
    rig_deinit(&rig);
}

static void test_refuse(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, NO_RECOVERY
             "socketio:\n"
             "  on_connect:\n"
             "    - {do: [{join: lobby}, {emit: {event: never}}]}\n"
             "    - if: {not: {value: $auth.room, is: string}}\n"
             "      do: [{refuse: {message: 'Invalid {$namespace}', data: {got: $auth}}}]\n"
             "    - {do: [{join: $auth.room}, {emit: {event: rooms, data: $rooms}}]}\n");
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(s, "0{\"x\":1}");
    expect(&rig, s, "4{\"message\":\"Invalid /\",\"data\":{\"got\":{\"x\":1}}}\n");
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 0);
    assert_false(s->closed);
    rig_in(s, "0{\"room\":\"r1\"}");
    expect(&rig, s,
           "0{\"sid\":\"" ID "\"}\n2[\"never\"]\n2[\"rooms\",[\"" ID "\",\"lobby\",\"r1\"]]\n");
    /* A join that fails keeps the client out. */
    struct rt_eio_session *t = rig_open(&rig, RT_EIO_WEBSOCKET);
    struct rt_buf long_name = RT_BUF_INIT;
    rt_buf_add_c(&long_name, "0{\"room\":\"");
    for (int i = 0; i < 256; i++)
        rt_buf_add_byte(&long_name, 'x');
    rt_buf_add(&long_name, "\"}", 3);
    rig_in(t, (const char *)long_name.data);
    rt_buf_deinit(&long_name);
    expect(&rig, t, "4{\"message\":\"the channel's name has 256 bytes*\n");
    rig_deinit(&rig);
}

static void test_publish_on_connect(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, NO_RECOVERY "socketio:\n"
                               "  on_connect:\n"
                               "    - do:\n"
                               "        - publish: {channel: /, event: joined, data: $sid}\n"
                               "        - emit: {event: hello}\n");
    struct rt_eio_session *first = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(first, "0");
    expect(&rig, first, "0{\"sid\":\"" ID "\"}\n2[\"joined\",\"" ID "\"]\n2[\"hello\"]\n");
    struct rt_eio_session *second = rig_open(&rig, RT_EIO_POLLING);
    rig_in(second, "0");
    expect(&rig, second, "0{\"sid\":\"" ID "\"}\n2[\"joined\",\"" ID "\"]\n2[\"hello\"]\n");
    expect(&rig, first, "2[\"joined\",\"" ID "\"]\n");
    rig_deinit(&rig);
}

static void test_disconnect(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, NO_RECOVERY
             "socketio:\n"
             "  namespaces: [/, /a, /out, /off]\n"
             "  on_connect:\n"
             "    - {namespace: /out, do: [{emit: {event: bye}}, {disconnect: true}]}\n"
             "    - {namespace: /off, do: [{disconnect: {close: true}}]}\n"
             "  events:\n"
             "    - {event: leave, do: [{ack: [1]}, {disconnect: true}, {emit: {event: no}}]}\n"
             "    - {event: close, do: [{disconnect: {close: true}}]}\n");
    struct rt_eio_session *s = connected(&rig);
    rig_in(s, "0/a");
    rig_in(s, "0/out");
    expect(&rig, s,
           "0/a,{\"sid\":\"" ID "\"}\n0/out,{\"sid\":\"" ID "\"}\n2/out,[\"bye\"]\n1/out,\n");
    rig_in(s, "2/a,5[\"leave\"]");
    expect(&rig, s, "3/a,5[1]\n1/a,\n");
    /* It may have been on its way. */
    rig_in(s, "2/a,[\"leave\"]");
    rig_in(s, "1/a");
    expect(&rig, s, "");
    assert_false(s->closed);
    rig_in(s, "0/a");
    rig_in(s, "2[\"close\"]");
    expect(&rig, s, "0/a,{\"sid\":\"" ID "\"}\n1\n1/a,\n");
    expect_closed(&rig, s, RT_EIO_FORCED_CLOSE);
    s = connected(&rig);
    rig_in(s, "0/off");
    expect(&rig, s, "0/off,{\"sid\":\"" ID "\"}\n1/off,\n1\n");
    expect_closed(&rig, s, RT_EIO_FORCED_CLOSE);
    rig_deinit(&rig);
}

static void test_limits(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, NO_RECOVERY "socketio: {namespaces: ['*']}\n"
                               "limits: {channels_per_connection: 2, message: 1KiB, "
                               "channel_name: 20}\n");
    struct rt_eio_session *s = connected(&rig);
    rig_in(s, "0/a");
    rig_in(s, "0/b");
    expect(&rig, s, "0/a,{\"sid\":\"" ID "\"}\n4/b,{\"message\":\"Too many namespaces *\n");
    struct rt_eio_session *t = rig_open(&rig, RT_EIO_WEBSOCKET);
    struct rt_buf packet = RT_BUF_INIT;
    rt_buf_printf(&packet, "0{\"a\":\"%01100d\"}", 0);
    rig_bytes_in(t, false, packet.data, packet.len);
    expect(&rig, t, "4{\"message\":\"The auth object is too large*\n");
    rig_in(t, "0/this-namespace-has-a-long-name");
    expect(&rig, t, "4/this-namespace-has-a-long-name,{\"message\":\"Invalid namespace\"}\n");
    rt_buf_deinit(&packet);
    rig_deinit(&rig);
}

static void test_namespaces_are_reused(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, NO_RECOVERY "socketio: {namespaces: ['*'], unmatched: publish}\n");
    struct rt_eio_session *s = connected(&rig);
    for (int i = 0; i < 50; i++) {
        char text[64];
        snprintf(text, sizeof(text), "0/n%d", i);
        rig_in(s, text);
        snprintf(text, sizeof(text), "2/n%d,[\"e\",%d]", i, i);
        rig_in(s, text);
        rig_turn(&rig);
        char expected[100];
        snprintf(expected, sizeof(expected), "0/n%d,{\"sid\":\"%s\"}\n2/n%d,[\"e\",%d]\n", i, ID, i,
                 i);
        expect(&rig, s, expected);
        snprintf(text, sizeof(text), "1/n%d", i);
        rig_in(s, text);
    }
    /* One is spare now, the others were never made. */
    size_t spare = 0;
    rt_list_for(node, &rig.endpoint->spare)
        spare++;
    assert_int_equal(spare, 1);
    rig_deinit(&rig);
}

static void test_handshake(void **state)
{
    (void)state;
    static const struct rt_eio_handshake handshake = {.query = {"EIO=4&userInfo=x", 16},
                                                      .headers = {"room: r7\r\n", 10},
                                                      .address = {"1.2.3.4", 7}};
    struct rig rig;
    rig_init(&rig, NO_RECOVERY
             "socketio:\n"
             "  on_connect:\n"
             "    - do: [{emit: {event: who, args: [$query.userInfo, $headers.room, $address, "
             "$handshake.query]}}]\n");
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
    s->handshake = &handshake;
    rig_in(s, "0");
    expect(&rig, s, "0*\n2[\"who\",\"x\",\"r7\",\"1.2.3.4\",{\"EIO\":\"4\",\"userInfo\":\"x\"}]\n");
    rig_deinit(&rig);
}

static void test_auth_is_kept_only_when_used(void **state)
{
    (void)state;
    struct rig rig;
    char sid[21];
    rig_init(&rig, NO_RECOVERY);
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
    join_namespace(&rig, s, "0{\"token\":\"secret\"}", sid, NULL);
    struct rt_sio_socket *socket = rt_map_get(&rig.endpoint->sockets, rt_str_c(sid));
    assert_null(socket->auth);
    assert_true(sizeof(struct rt_sio_socket) + sizeof(struct rt_sio_client) <= 400);
    rig_deinit(&rig);
}

static int teardown(void **state)
{
    (void)state;
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_polling),
        cmocka_unit_test(test_suite_messages),
        cmocka_unit_test(test_breaches),
        cmocka_unit_test(test_breaches_of_order),
        cmocka_unit_test(test_attachment_size),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_publish_on_connect),
        cmocka_unit_test(test_disconnect),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_namespaces_are_reused),
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_auth_is_kept_only_when_used),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
