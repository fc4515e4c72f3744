/* Clients of Socket.IO 2: what is different for them, beside clients of today. */
#include "unit/socketio/layer.h"

#include "proto/socketio/remote.h"

static const char yaml[] =
    "protocols: {socketio: {recovery: 2m, connect_timeout: 50ms, allow_eio3: true}}\n"
    "socketio:\n"
    "  namespaces: ['/', '/n*']\n"
    "  on_connect:\n"
    "    - {if: {value: $auth.no, equals: data}, do: [{refuse: {message: m, data: {code: 1}}}]}\n"
    "    - {if: {value: $auth.no, equals: empty}, do: [{refuse: {message: m, data: ''}}]}\n"
    "    - {if: {value: $auth.no, is: defined}, do: [{refuse: {message: 'not \"{$auth.no}\"'}}]}\n"
    "    - {do: [{join: room}, {emit: {event: auth, data: $auth}}]}\n"
    "  events:\n"
    "    - {event: say, do: [{publish: {room: $1, event: said, args: $args.1}}]}\n"
    "    - {event: rooms, do: [{ack: [$sid, $rooms]}]}\n"
    "    - {event: leave, do: [{leave: $1}]}\n"
    "    - {event: kick, do: [{disconnect: {close: true}}]}\n"
    "    - {event: ask, do: [{emit: {event: q, ack: {do: [{ack: $args}]}}}]}\n";

static void test_connect(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, yaml);
    struct rt_eio_session *s = rig_open_old(&rig, RT_EIO_WEBSOCKET);
    expect(&rig, s, "0\n2[\"auth\",{}]\n");
    rig_in(s, "0/n1?a=b%20c&d=1,");
    expect(&rig, s, "0/n1,\n2/n1,[\"auth\",{\"a\":\"b c\",\"d\":\"1\"}]\n");
    rig_in(s, "0/n2,{\"a\":1}"); /* no auth object of theirs */
    expect(&rig, s, "0/n2,\n2/n2,[\"auth\",{}]\n");
    rig_in(s, "1/n1?a=b,");
    rig_in(s, "0/x?y");
    expect(&rig, s, "4/x,{\"message\":\"Invalid namespace\"}\n");
    assert_int_equal(rt_socketio_sockets(rig.endpoint), 2);
    rig_in(s, "0"); /* they are in "/" already */
    expect_closed(&rig, s, RT_EIO_PARSE_ERROR);
    rig_deinit(&rig);
}

static void test_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, yaml);
    struct rt_eio_session *s = rig_open_old(&rig, RT_EIO_POLLING);
    expect(&rig, s, "0\n2[\"auth\",{}]\n");
    rig_in(s, "0/n?no=data");
    expect(&rig, s, "4/n,{\"code\":1}\n");
    rig_in(s, "0/n?no=empty");
    expect(&rig, s, "4/n,\"m\"\n");
    rig_in(s, "0/n?no=%F0%9F%98%80");
    expect(&rig, s, "4/n,\"not \\\"\xf0\x9f\x98\x80\\\"\"\n");
    assert_int_equal(rig.endpoint->metrics.refused.value, 3);
    rig_deinit(&rig);
}

/* Nobody has asked for "/", and nobody is let in: who joins nothing else goes. */
static void test_root_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, "protocols: {socketio: {connect_timeout: 50ms, allow_eio3: true}}\n"
                   "socketio: {namespaces: [/n]}\n");
    struct rt_eio_session *s = rig_open_old(&rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *stays = rig_open_old(&rig, RT_EIO_WEBSOCKET);
    expect(&rig, s, "4{\"message\":\"Invalid namespace\"}\n");
    rig_in(stays, "0/n");
    wait_until(&rig, s->closed);
    assert_int_equal(s->reason, RT_EIO_FORCED_CLOSE);
    assert_false(stays->closed);
    rig_deinit(&rig);
}

/* Others come back with a position in each event; the old ones get none, and no session. */
static void test_no_position(void **state)
{
    (void)state;
    struct rig rig;
    char sid[21];
    rig_init(&rig, yaml);
    struct rt_eio_session *old = rig_open_old(&rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *poll = rig_open_old(&rig, RT_EIO_POLLING);
    struct rt_eio_session *new = rig_open(&rig, RT_EIO_WEBSOCKET);
    join_namespace(&rig, new, "0", sid, NULL);
    expect(&rig, old, "0\n2[\"auth\",{}]\n");
    expect(&rig, poll, "0\n2[\"auth\",{}]\n");
    rig_in(old, "2[\"say\",\"room\",1]");
    rig_in(new, "51-[\"say\",\"room\",{\"_placeholder\":true,\"num\":0}]");
    rig_binary_in(new, "bin");
#define SAID "2[\"said\",1]\n51-[\"said\",{\"_placeholder\":true,\"num\":0}]\n<bin>\n"
    expect(&rig, old, SAID);
    expect(&rig, poll, SAID);
    expect(&rig, new,
           "2[\"said\",1,\"*\"]\n51-[\"said\",{\"_placeholder\":true,\"num\":0},\"*\"]\n<bin>\n");
    rig_in(old, "20[\"ask\"]");
    expect(&rig, old, "20[\"q\"]\n");
    rig_in(old, "30[1,2]");
    expect(&rig, old, "30[1,2]\n");
    rig_in(poll, "2[\"say\",\"room\",2]");
    rig_upgrade(poll);
    rig_in(poll, "2[\"say\",\"room\",3]");
    expect(&rig, poll, "2[\"said\",2]\n2[\"said\",3]\n");
    rig_release(&rig, old, RT_EIO_TRANSPORT_CLOSE);
    assert_int_equal(rig.endpoint->metrics.waiting.value, 0);
    rig_in(poll, "0/n?pid=x&offset=y");
    expect(&rig, poll, "0/n,\n2/n,[\"auth\",{\"pid\":\"x\",\"offset\":\"y\"}]\n");
    rig_deinit(&rig);
}

static void send(struct rt_eio_session *s, const char *nsp, const char *room)
{
    char text[200];
    snprintf(text, sizeof(text), "2%s[\"say\",\"%s\",1]", nsp, room);
    rig_in(s, text);
}

static void test_id(void **state)
{
    (void)state;
    struct rig rig;
    char want[300], id[64];
    rig_init(&rig, yaml);
    struct rt_eio_session *a = rig_open_old(&rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *b = rig_open_old(&rig, RT_EIO_POLLING);
    rig_in(a, "0/n");
    rig_in(b, "0/n");
    expect(&rig, a, "*");
    expect(&rig, b, "*");
    rig_in(a, "2/n,7[\"rooms\"]");
    snprintf(want, sizeof(want), "3/n,7[\"/n#%s\",[\"/n#%s\",\"room\"]]\n", a->sid, a->sid);
    expect(&rig, a, want);
    send(b, "", a->sid);
    expect(&rig, a, "2[\"said\",1]\n");
    snprintf(id, sizeof(id), "/n#%s", a->sid);
    send(b, "/n,", id);
    expect(&rig, a, "2/n,[\"said\",1]\n");
    send(b, "", id); /* of another namespace */
    send(b, "/n,", a->sid);
    expect(&rig, a, "");
    rig_in(a, "2/n,[\"leave\",\"room\"]");
    snprintf(want, sizeof(want), "2/n,[\"leave\",\"/n#%s\"]", a->sid);
    rig_in(a, want);
    rig_in(a, "2/n,8[\"rooms\"]");
    expect(&rig, a, "3/n,8[\"/n#node.*\",[]]\n");
    send(b, "/n,", id);
    expect(&rig, a, "");
    rig_in(a, "2[\"kick\"]");
    expect(&rig, a, "1\n1/n,\n");
    expect_closed(&rig, a, RT_EIO_FORCED_CLOSE);
    rig_deinit(&rig);
}

/* Every node knows the id room of a socket by its name. */
static void test_id_rooms(void **state)
{
    (void)state;
    char id[RT_ID_LEN + 1], name[64];
    static const struct {
        const char *prefix;
        bool is;
    } rows[] = {{"", true},       {"/n#", true}, {"node.", true},  {"/n#/n#node.", true},
                {"/n#/n#", true}, {"x", false},  {"room-", false}, {"/n#x", false}};
    rt_sio_remote_make_id(id);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(name, sizeof(name), "%s%s", rows[i].prefix, id);
        assert_int_equal(rt_sio_remote_is_id_room(rt_str_c(name)), rows[i].is);
    }
    assert_false(rt_sio_remote_is_id_room(RT_STR("")));
    assert_false(rt_sio_remote_is_id_room(RT_STR("node.AAAAAAAAAAAAAAAAAAAA")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_root_refused), cmocka_unit_test(test_no_position),
        cmocka_unit_test(test_id),           cmocka_unit_test(test_id_rooms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
