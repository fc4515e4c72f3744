/* What sessions over polling may take: of one address, of all; and how long a handshake is waited on. */
#include "unit/engine/engine_rig.h"

static void test_abandoned(void **state)
{
    char gone[SID_MAX], later[SID_MAX], kept[SID_MAX];
    (void)state;
    t.options.confirm_within = 10000;
    assert_int_equal(mount(), 0);
    struct peer *p = new_peer(), *q = new_peer();
    open_polling(p, gone);
    open_polling(p, kept);
    post(q, kept, "4hello");
    expect_ok(q);
    expect_log("text hello\n");
    pass(6000);
    open_polling(p, later);
    pass(5000);
    expect_log("close no request followed\n");
    get(q, gone);
    expect_answer(q, 400, "application/json", "*Session ID unknown*");
    post(q, kept, "4again");
    expect_ok(q);
    post(q, later, "4in time");
    expect_ok(q);
    pass(10000);
    expect_log("text again\ntext in time\n");
    assert_int_equal(metric("session_closes_total", "no request followed"), 1);
}

static void test_per_address(void **state)
{
    char sids[4][SID_MAX];
    (void)state;
    t.options.max_polling_per_ip = 4;
    t.options.confirm_within = 10000;
    assert_int_equal(mount(), 0);
    struct peer *p = new_peer(), *q = new_peer();
    for (int i = 0; i < 4; i++) {
        open_polling(p, sids[i]);
        if (i == 1) { /* half of them without a request that follows */
            request(q, "GET", "EIO=4&transport=polling", "");
            expect_answer(q, 503, "application/json", "*handshakes*limits.sessions_per_ip*");
            q = new_peer();
            post(q, sids[0], "4a");
            expect_ok(q);
            post(q, sids[1], "4b");
            expect_ok(q);
            expect_log("text a\ntext b\n");
        }
    }
    post(q, sids[3], "4c");
    expect_ok(q);
    request(p, "GET", "EIO=4&transport=polling", "");
    expect_answer(p, 503, "application/json", "*of this address (limits.sessions_per_ip)*");
    assert_int_equal(metric("sessions_rejected_total", "per_ip"), 1);
    assert_int_equal(metric("sessions_rejected_total", "unconfirmed"), 1);
    /* A WebSocket has a connection of its own, which other limits see. */
    p = new_peer();
    open_socket(p, "");
    end_turn();
    /* One that goes makes room. */
    post(q, sids[3], "1");
    expect_ok(q);
    get(q, sids[3]);
    expect_poll(q, "6");
    request(q, "GET", "EIO=4&transport=polling", "");
    expect_poll(q, "0{*}");
}

static void test_other_addresses(void **state)
{
    (void)state;
    t.options.max_polling_per_ip = 1;
    assert_int_equal(mount(), 0);
    static const struct {
        const char *address;
        bool fits;
    } rows[] = {
        {"10.0.0.1", true},         {"10.0.0.1", false},   {"10.0.0.2", true},
        {"::ffff:10.0.0.2", false}, {"2001:db8::1", true}, {"2001:db8::ffff:2", false},
        {"2001:db8:0:1::1", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *p = new_peer_from(rows[i].address);
        request(p, "GET", "EIO=4&transport=polling", "");
        if (rows[i].fits)
            expect_poll(p, "0{*}");
        else
            expect_answer(p, 503, "application/json", "*of this address*");
    }
}

/* How many sessions it gets until the memory is said to be too little. */
static int open_until_refused(struct peer *p)
{
    for (int count = 0;; count++) {
        const char *body = "";
        size_t len = 0;
        request(p, "GET", "EIO=4&transport=polling", "");
        end_turn();
        int status = take_answer(p, &body, &len);
        if (status == 200)
            continue;
        assert_int_equal(status, 503);
        expect_text_at(body, len, "*limits.session_memory*", "body", __LINE__);
        return count;
    }
}

static void test_memory(void **state)
{
    (void)state;
    t.options.max_polling_bytes = 64000;
    t.options.keep_handshake = true;
    assert_int_equal(mount(), 0);
    int opened = 0;
    for (int i = 0; i < 8; i++) {
        char address[32];
        (void)snprintf(address, sizeof(address), "10.0.0.%d", i);
        int own = open_until_refused(new_peer_from(address));
        assert_true(own < 20);
        opened += own;
    }
    assert_true(opened > 30 && opened < 64); /* a session takes more than 1,000 bytes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_abandoned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_per_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
