/* Every allocation of a whole scenario fails once, and from some point on all of them: nobody
 * crashes, nothing leaks, and what was promised holds. */
#include "unit/socketio/layer.h"

#include "proto/socketio/recovery.h"

static const char yaml[] =
    "protocols: {socketio: {recovery: 2m, allow_eio3: true}}\n"
    "socketio:\n"
    "  namespaces: [/, '/n*']\n"
    "  on_connect:\n"
    "    - do:\n"
    "        - join: ['{$auth.room}', two, three]\n"
    "        - publish: {channel: /, event: joined, data: {$json: {who: $sid, h: $handshake}}}\n"
    "        - emit: {event: hello, args: [$auth, $rooms, $query.x]}\n"
    "    - {if: {value: $auth.room, equals: bad}, do: [{refuse: {message: 'no {$auth.room}'}}]}\n"
    "  events:\n"
    "    - {event: say, if: {value: $1.text, matches: '*'}, do: [{publish: {room: [room, two], "
    "event: '{$event}!', data: {t: $1.text, b: $1.b}}}]}\n"
    "    - {event: to, do: [{publish: {room: $1, event: dm, key: k}}, {ack: $args}]}\n"
    "    - {event: ask, do: [{emit: {event: q, ack: {do: [{ack: [$args, '{$1}']}]}}}]}\n"
    "    - {event: leave, do: [{leave: $1}, {leave: {all: true}}, {join: $1}]}\n"
    "    - {event: bye, do: [{disconnect: {close: true}}]}\n";

/* One run; sessions may be closed at any point by the failures. */
static void scenario(struct rig *rig)
{
    static const struct rt_eio_handshake handshake = {.query = {"x=1&y=2", 7},
                                                      .headers = {"a: b\r\n", 6}};
    struct rt_eio_session *a = rig_open(rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *b = rig_open(rig, RT_EIO_POLLING);
    a->handshake = b->handshake = &handshake;
    rig_in(a, "0{\"room\":\"room\"}");
    rig_in(b, "0{\"room\":\"room\"}");
    rig_in(b, "0/n1,{\"room\":\"bad\"}");
    rig_turn(rig);
    struct rt_eio_session *old = rig_open_old(rig, RT_EIO_POLLING);
    rig_in(old, "0/n1?room=room"); /* "/" has refused it: there is no room */
    rig_turn(rig);
    rig_release(rig, old, RT_EIO_TRANSPORT_CLOSE);
    rig_in(a, "21[\"say\",{\"text\":\"h\\u0069\"}]");
    rig_in(b, "51-2[\"say\",{\"text\":\"x\",\"b\":{\"_placeholder\":true,\"num\":0}}]");
    if (!b->closed)
        rig_binary_in(b, "bin");
    rig_in(b, "23[\"ask\"]");
    rig_in(b, "30[1,{\"a\":2}]");
    rig_in(a, "24[\"ask\"]");
    rig_turn(rig);
    if (!b->closed)
        rig_upgrade(b);
    rig_in(a, "2[\"leave\",[\"two\",\"four\"]]");
    rig_in(a, "25[\"unknown\",1]");
    rig_commit(rig);
    rig_turn(rig);
    for (int i = 0; i < 2 && a->on_pong && !a->closed; i++)
        a->on_pong(a);
    /* One loses its connection and comes back. */
    struct rt_sio_client *client = rt_eio_user(a);
    char text[200] = "0{\"pid\":\"none\"}", sid[21] = "none";
    if (!rt_list_empty(&client->sockets)) {
        struct rt_sio_socket *socket =
            RT_CONTAINER(client->sockets.next, struct rt_sio_socket, link);
        snprintf(sid, sizeof(sid), "%s", socket->sid);
        snprintf(text, sizeof(text), "0{\"pid\":\"%s\",\"offset\":\"0.1\",\"room\":\"room\"}",
                 rt_sio_track_pid(socket->track));
    }
    rig_release(rig, a, RT_EIO_TRANSPORT_CLOSE);
    rig_in(b, "26[\"say\",{\"text\":\"missed\"}]");
    char dm[100];
    snprintf(dm, sizeof(dm), "2[\"to\",\"%s\",1]", sid);
    rig_in(b, dm);
    a = rig_open(rig, RT_EIO_WEBSOCKET);
    a->handshake = &handshake;
    rig_in(a, text);
    rig_in(b, dm);
    rig_turn(rig);
    rig_in(a, "27[\"bye\"]");
    rig_turn(rig);
    rig_release(rig, b, RT_EIO_PING_TIMEOUT);
}

static bool run(struct rt_config *config, unsigned long n, int forever, bool delayed)
{
    struct rig rig = {.config = config};
    assert_int_equal(rt_loop_new(&rig.loop, NULL), 0);
    rt_alloc_fail_at(n, forever);
    int r = rig_start(&rig);
    if (r == 0) {
        rig.journal->delayed = delayed;
        scenario(&rig);
    }
    bool failed = rt_alloc_failed();
    rt_alloc_fail_at(0, 0);
    if (!failed) { /* the scenario is what it is meant to be */
        assert_int_equal(r, 0);
        assert_int_equal(rig.endpoint->metrics.recovered.value, 1);
        assert_int_equal(rig.endpoint->metrics.refused.value, 2);
        assert_int_equal(rig.endpoint->metrics.events.value, 10);
        assert_int_equal(rig.endpoint->metrics.failed.value, 1); /* the old one had no room */
        assert_int_equal(rig.endpoint->metrics.answers.value, delayed ? 3 : 4);
    }
    rig_stop(&rig);
    rt_loop_free(rig.loop);
    return failed;
}

static void run_all(int forever, bool delayed)
{
    struct rig rig = {0};
    rig_configure(&rig, yaml);
    long before = rt_alloc_live();
    unsigned long n = 1;
    while (run(rig.config, n, forever, delayed)) {
        if (rt_alloc_live() != before)
            fail_msg("allocation %lu: %ld blocks leaked", n, rt_alloc_live() - before);
        n++;
    }
    assert_int_equal(rt_alloc_live(), before);
    assert_true(n > 100);
    print_message("%lu allocations\n", n - 1);
    rt_config_free(rig.config);
}

static void test_each_once(void **state)
{
    (void)state;
    run_all(0, false);
}

static void test_each_once_with_a_slow_log(void **state)
{
    (void)state;
    run_all(0, true);
}

static void test_all_from_some_point(void **state)
{
    (void)state;
    run_all(1, false);
}

static int teardown(void **state)
{
    (void)state;
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once),
        cmocka_unit_test(test_each_once_with_a_slow_log),
        cmocka_unit_test(test_all_from_some_point),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
