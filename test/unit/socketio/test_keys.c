/* Under whom the idempotency keys of a client count: its session, also after it was cut, moved or
 * lost; never somebody else's. */
#include "unit/socketio/layer.h"

#include "proto/socketio/socket.h"

#define RULES     \
    "socketio:\n" \
    "  events:\n" \
    "    - {event: keyed, do: [{publish: {channel: r, event: e, key: $1}}]}\n"

static const char recovering[] = "protocols: {socketio: {recovery: 2m}}\n" RULES;
static const char alone[] = "protocols: {socketio: {recovery: 0s}}\n" RULES;

struct peer {
    struct rt_eio_session *s;
    char sid[21], pid[21];
    char scope[64];
};

/* Publishes with a key and notes under whom it counts. */
static void note_scope(struct rig *rig, struct peer *p, const char *packet)
{
    rig->journal->delayed = true;
    rig_in(p->s, packet);
    assert_int_equal(rig->journal->count, 1);
    const struct rt_message *m = &rig->journal->waiting[0]->message->m;
    assert_str(m->key, "k1");
    snprintf(p->scope, sizeof(p->scope), "%.*s", RT_STR_ARG(m->publisher));
    rig_commit(rig);
    rig_turn(rig);
}

static void join_as(struct rig *rig, struct peer *p, const char *auth, bool recovering_)
{
    char packet[128];
    snprintf(packet, sizeof(packet), "0%s", auth);
    p->s = rig_open(rig, RT_EIO_WEBSOCKET);
    join_namespace(rig, p->s, packet, p->sid, recovering_ ? p->pid : NULL);
    note_scope(rig, p, "2[\"keyed\",\"k1\"]");
}

static void auth_of(const char *pid, char auth[64])
{
    snprintf(auth, 64, "{\"pid\":\"%s\"}", pid);
}

static void test_two_sessions(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a, b;
    rig_init(&rig, recovering);
    join_as(&rig, &a, "", true);
    join_as(&rig, &b, "", true);
    assert_string_not_equal(a.scope, b.scope);
    char first[64];
    memcpy(first, a.scope, sizeof(first));
    note_scope(&rig, &a, "2[\"keyed\",\"k1\"]");
    assert_string_equal(a.scope, first);
    rig_deinit(&rig);
}

/* Whoever reads the log learns nothing that brings a session back, and no name that others know. */
static void test_what_the_log_shows(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a;
    rig_init(&rig, recovering);
    join_as(&rig, &a, "", true);
    assert_int_equal(strlen(a.scope), strlen("session:") + 22);
    assert_memory_equal(a.scope, "session:", 8);
    for (size_t i = 0; i + 5 <= 20; i++) {
        char part[6] = {0};
        memcpy(part, a.pid + i, 5);
        assert_null(strstr(a.scope, part));
        memcpy(part, a.sid + i, 5);
        assert_null(strstr(a.scope, part));
    }
    rig_deinit(&rig);
}

static void test_recovered(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a, b;
    char auth[64];
    rig_init(&rig, recovering);
    join_as(&rig, &a, "", true);
    rig_release(&rig, a.s, RT_EIO_TRANSPORT_CLOSE);
    auth_of(a.pid, auth);
    join_as(&rig, &b, auth, true);
    assert_string_equal(b.sid, a.sid); /* recovered */
    assert_string_equal(b.scope, a.scope);
    rig_deinit(&rig);
}

/* The broker was killed, or the session has waited too long: a new session of the same client. */
static void test_lost(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a, b, c;
    char auth[64];
    rig_init(&rig, recovering);
    join_as(&rig, &a, "", true);
    auth_of(a.pid, auth);
    rig_deinit(&rig);
    rig_init(&rig, recovering);
    join_as(&rig, &b, auth, true);
    assert_string_not_equal(b.sid, a.sid);
    assert_memory_not_equal(b.pid, a.pid, 10); /* what brings it back is new */
    assert_string_equal(b.scope, a.scope);
    auth_of(b.pid, auth);
    rig_deinit(&rig);
    rig_init(&rig, recovering);
    join_as(&rig, &c, auth, true);
    assert_string_not_equal(c.pid, b.pid);
    assert_string_equal(c.scope, a.scope);
    rig_deinit(&rig);
}

/* What is no pid names nobody, so that two who send it are not one. */
static void test_no_pids(void **state)
{
    (void)state;
    static const char *const auths[] = {"{\"pid\":\"\"}",
                                        "{\"pid\":\"abcdefghijklmnopqrs\"}",
                                        "{\"pid\":\"abcdefghijklmnopqrstu\"}",
                                        "{\"pid\":\"abcdefghijklmnopqrs.\"}",
                                        "{\"pid\":\"abcdefghijklmnop\\u0041\"}",
                                        "{\"pid\":12345678901234567890}",
                                        "{\"pid\":null}",
                                        "{\"pid\":[\"abcdefghijklmnopqrst\"]}",
                                        "{\"id\":\"abcdefghijklmnopqrst\"}"};
    for (int on = 0; on < 2; on++) {
        struct rig rig;
        rig_init(&rig, on ? recovering : alone);
        for (size_t i = 0; i < sizeof(auths) / sizeof(auths[0]); i++) {
            struct peer a, b;
            join_as(&rig, &a, auths[i], on);
            join_as(&rig, &b, auths[i], on);
            assert_string_not_equal(a.scope, b.scope);
        }
        rig_deinit(&rig);
    }
}

/* Without recovery a session ends with its connection, unless the client names it. */
static void test_without_recovery(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a, b, c, d;
    char auth[64];
    rig_init(&rig, alone);
    join_as(&rig, &a, "", false);
    join_as(&rig, &b, "", false);
    assert_string_not_equal(a.scope, b.scope);
    auth_of(a.sid, auth); /* others know it */
    join_as(&rig, &b, auth, false);
    assert_string_not_equal(a.scope, b.scope);
    join_as(&rig, &c, "{\"pid\":\"0123456789-secret-01\"}", false);
    join_as(&rig, &d, "{\"pid\":\"0123456789-secret-01\"}", false);
    assert_string_equal(c.scope, d.scope);
    rig_deinit(&rig);
    rig_init(&rig, recovering);
    join_as(&rig, &d, "{\"pid\":\"0123456789-secret-01\"}", true);
    assert_string_equal(c.scope, d.scope); /* nor does it matter where recovery is on */
    rig_deinit(&rig);
}

/* A user is one from wherever it comes, and nobody can take the name of another kind. */
static void test_users(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a, b;
    rig_init(&rig, recovering);
    join_as(&rig, &a, "", true);
    join_as(&rig, &b, "", true);
    rt_sio_socket_of_channel(rig.endpoint, rt_str_c(a.sid))->client.user = "api:backend";
    rt_sio_socket_of_channel(rig.endpoint, rt_str_c(b.sid))->client.user = "api:backend";
    note_scope(&rig, &a, "2[\"keyed\",\"k1\"]");
    note_scope(&rig, &b, "2[\"keyed\",\"k1\"]");
    assert_string_equal(a.scope, "user:api:backend");
    assert_string_equal(b.scope, "user:api:backend");
    rig_deinit(&rig);
}

/* Without a key the publisher is the socket. */
static void test_without_a_key(void **state)
{
    (void)state;
    struct rig rig;
    struct peer a;
    rig_init(&rig, recovering);
    join_as(&rig, &a, "", true);
    rig_in(a.s, "2[\"keyed\"]");
    const struct rt_message *m = &rig.journal->waiting[0]->message->m;
    assert_int_equal(m->key.len, 0);
    assert_str(m->publisher, a.sid);
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
        cmocka_unit_test(test_two_sessions), cmocka_unit_test(test_what_the_log_shows),
        cmocka_unit_test(test_recovered),    cmocka_unit_test(test_lost),
        cmocka_unit_test(test_no_pids),      cmocka_unit_test(test_without_recovery),
        cmocka_unit_test(test_users),        cmocka_unit_test(test_without_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
