/* The sink against a real PostgreSQL and a Kafka in this process (librdkafka's mock cluster): what is stored, by whom, through failures. */
#include "unit/store/sink_rig.h"

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_rows_are_the_log(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    send_many(&w, 1000);
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1000);
    store_many(&w, 500);
    expect_rows(&w, 1500);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~progress WHERE epoch LIKE '" NAME ".%'"),
                     PARTS);
    assert_true(rt_sink_healthy(s.sink, NULL));
    close_sink(&w, &s);
    send_many(&w, 100); /* while nobody is there */
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1600);
    send_raw(&w, 0, "room", 4, "not for its publisher", "rt-except", "1", 1);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message WHERE flags = 4"), 1);
    send_raw(&w, 0, "room", 4, "not for those in some rooms", "rt-except-in", "a\nb", 3);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message WHERE except_in = E'a\\nb'"), 1);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message WHERE except_in <> ''"), 1);
    close_world(&w, &s);
}

static void test_repeats_are_skipped(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    for (int i = 0; i < 3; i++)
        send_raw(&w, 0, "room", 4, "once", "rt-key", "k1", 2);
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 1);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~repeat WHERE first = 1"), 2);
    close_sink(&w, &s);
    /* Another node knows the key from PostgreSQL. */
    open_sink(&w, &s, "n2");
    send_raw(&w, 0, "room", 4, "once", "rt-key", "k1", 2);
    send_raw(&w, 0, "room", 4, "twice", "rt-key", "k2", 2);
    send_raw(&w, 0, "hall", 4, "elsewhere", "rt-key", "k1", 2); /* keys are the channel's */
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 3);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~repeat WHERE first = 1"), 3);
    close_world(&w, &s);
}

static void test_poison(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    send_many(&w, 4);
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    /* One that only PostgreSQL knows to refuse. */
    (void)pg_server_query(
        w.conn, "ALTER TABLE %s.message ADD CHECK (event IS DISTINCT FROM 'evil')", w.schema);
    for (int i = 0; i < 30; i++)
        send_text(&w, 0, "fine");
    send_raw(&w, 0, "room", 4, "x", "rt-event", "a\0b", 3);                 /* NUL in text */
    send_raw(&w, 0, "ro\xff", 3, "x", NULL, NULL, 0);                       /* no UTF-8 */
    send_raw(&w, 0, "room", 4, "x", "rt-time", "18446744073709551615", 20); /* no such date */
    send_raw(&w, 0, "room", 4, "x", "rt-time", "tomorrow", 8);              /* none of ours */
    send_raw(&w, 0, "room", 4, "x", "rt-event", "evil", 4);
    send_raw(&w, 0, "room", 4, "\"\\u0000\"", "rt-kind", "json", 4); /* can be stored */
    for (int i = 0; i < 30; i++)
        send_text(&w, 0, "fine");
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 5);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter WHERE sqlstate = '23514'"), 1);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 4 + 61);
    assert_int_equal(number(&w, "SELECT min(\"offset\") FROM ~dead_letter"), 32);
    assert_int_equal(number(&w, "SELECT max(\"offset\") FROM ~dead_letter"), 36);
    close_world(&w, &s);
}

/* What this version cannot read is no dead letter: the partition waits in front of it, the others go on. An operator may pass over it. */
static void test_newer_version(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    store_many(&w, 40);
    send_text(&w, 1, "1.10");
    send_raw(&w, 1, "room", 4, "\xa0", "rt-kind", "cbor", 4);
    send_text(&w, 1, "1.12");
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, metric(&s, "sink_held_partitions") == 1);
    AWAIT(&w, number(&w, "SELECT next FROM ~progress WHERE part = 1") == 12);
    for (int i = 0; i < 20; i++)
        send_text(&w, 2, "2");
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, number(&w, "SELECT next FROM ~progress WHERE part = 2") == 31);
    AWAIT(&w, metric(&s, "sink_lag_records") == 2);
    assert_true(rt_sink_healthy(s.sink, NULL));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 61);
    /* It stays so: through tries, and a node that begins anew. */
    AWAIT(&w, metric(&s, "sink_held_tries_total") >= 3);
    assert_int_equal(metric(&s, "sink_held_partitions"), 1);
    close_sink(&w, &s);
    open_sink(&w, &s, "n2");
    AWAIT(&w, metric(&s, "sink_held_partitions") == 1);
    assert_int_equal(number(&w, "SELECT next FROM ~progress WHERE part = 1"), 12);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 61);
    close_sink(&w, &s);
    (void)pg_server_query(
        w.conn, "UPDATE %s.progress SET next = next + 1, purged = next WHERE part = 1", w.schema);
    open_sink(&w, &s, "n3");
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 62);
    assert_int_equal(metric(&s, "sink_held_partitions"), 0);
    close_world(&w, &s);
}

static void test_two_share_and_take_over(void **state)
{
    (void)state;
    struct world w;
    struct node_sink a, b;
    world_init(&w);
    send_many(&w, 400);
    open_sink(&w, &a, "a");
    AWAIT(&w, owned(&a) == PARTS);
    open_sink(&w, &b, "b");
    AWAIT(&w, owned(&a) == PARTS / 2 && owned(&b) == PARTS / 2);
    store_many(&w, 400);
    expect_rows(&w, 800);
    close_sink(&w, &a);
    AWAIT(&w, owned(&b) == PARTS);
    store_many(&w, 100);
    expect_rows(&w, 900);
    close_sink(&w, &b);
    world_deinit(&w);
}

static void test_sessions_are_ended_in_a_loop(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    for (int round = 0; round < 10; round++) {
        long before = number(&w, "SELECT count(*) FROM ~message");
        send_many(&w, 400);
        AWAIT(&w, number(&w, "SELECT count(*) FROM ~message") > before);
        (void)number(&w, "SELECT count(pg_terminate_backend(pid)) FROM ~holder");
    }
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 4000);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    close_world(&w, &s);
}

static void test_server_dies_and_table_is_locked(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    store_many(&w, 400);
    PQfinish(w.conn);
    pg_server_stop(&server, SIGQUIT);
    AWAIT(&w, !rt_sink_healthy(s.sink, NULL));
    send_many(&w, 400);
    assert_true(pg_server_start(&server));
    w.conn = pg_server_connect(&server);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 800);
    (void)pg_server_query(w.conn, "BEGIN; LOCK TABLE %s.message", w.schema);
    send_many(&w, 400);
    AWAIT(&w, !rt_sink_healthy(s.sink, NULL));
    (void)pg_server_query(w.conn, "COMMIT");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1200);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    assert_true(rt_sink_healthy(s.sink, NULL));
    close_world(&w, &s);
}

/* Somebody else has written: nothing of the batch is stored by this one, the partition is loaded anew. */
static void test_fenced_by_progress(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    store_many(&w, 40);
    (void)pg_server_query(w.conn, "UPDATE %s.progress SET next = next - 5 WHERE part = 1",
                          w.schema);
    store_many(&w, 40);
    expect_rows(&w, 80);
    close_world(&w, &s);
}

/* Records of partition 0 whose ids and times are the same in any cluster; `salt` makes others. */
static void send_known(struct world *w, int count, int salt)
{
    char id[40];
    for (int i = 0; i < count; i++) {
        rd_kafka_headers_t *h = rd_kafka_headers_new(4);
        char evidence[64];
        snprintf(evidence, sizeof(evidence), "%s@%" PRId64, w->name, w->sent[0]);
        snprintf(id, sizeof(id), "%08x-0000-7000-8000-%012x", salt, (unsigned)w->sent[0]);
        rd_kafka_header_add(h, "rt-epoch", -1, evidence, -1);
        rd_kafka_header_add(h, "rt-id", -1, id, -1);
        rd_kafka_header_add(h, "rt-time", -1, "1700000000000", -1);
        assert_int_equal(rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC),
                                           RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                           RD_KAFKA_V_KEY((void *)(uintptr_t) "room", 4),
                                           RD_KAFKA_V_VALUE((void *)(uintptr_t) "known", 5),
                                           RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END),
                         0);
        w->sent[0]++;
    }
    assert_int_equal(rd_kafka_flush(w->producer, 20000), 0);
}

static void store_known(struct world *w, int count, int salt)
{
    struct node_sink s;
    open_sink(w, &s, "n1");
    send_known(w, count, salt);
    AWAIT(w, number(w, "SELECT next FROM ~progress WHERE part = 0") == count + 1);
    close_sink(w, &s);
}

/* Shorter than what was stored: all of it is new. */
static void test_topic_made_anew(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    store_known(&w, 100, 1);
    replace_kafka(&w, "BBBBBBBBBB");
    send_known(&w, 40, 2);
    open_sink(&w, &s, "n1");
    AWAIT(&w, number(&w, "SELECT count(*) FROM ~message WHERE epoch = 'BBBBBBBBBB.0'") == 40);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 140);
    AWAIT(&w, number(&w, "SELECT next FROM ~progress WHERE part = 0") == 41);
    close_world(&w, &s);
}

/* Longer than what was stored already when the sink comes back: only the evidence tells. */
static void test_topic_made_anew_and_grown(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    store_known(&w, 50, 1);
    replace_kafka(&w, "BBBBBBBBBB");
    send_known(&w, 200, 2);
    open_sink(&w, &s, "n1");
    AWAIT(&w, number(&w, "SELECT next FROM ~progress WHERE part = 0") == 201);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message WHERE epoch = 'BBBBBBBBBB.0'"), 200);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 250);
    close_world(&w, &s);
}

/* The end was cut off: what is there still is stored already, what follows is new. */
static void test_log_cut(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    store_known(&w, 100, 1);
    replace_kafka(&w, NAME);
    send_known(&w, 60, 1);
    w.name = "BBBBBBBBBB";
    send_known(&w, 20, 2);
    open_sink(&w, &s, "n1");
    AWAIT(&w, number(&w, "SELECT count(*) FROM ~message WHERE epoch = 'BBBBBBBBBB.0'") == 20);
    assert_int_equal(
        number(&w, "SELECT min(\"offset\") FROM ~message WHERE epoch = 'BBBBBBBBBB.0'"), 61);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 120);
    close_world(&w, &s);
}

static void test_frozen_node_is_fenced(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    pid_t child = spawn_node(&w);
    store_many(&w, 400);
    open_sink(&w, &s, "b");
    AWAIT(&w, owned(&s) == PARTS / 2);
    assert_int_equal(kill(child, SIGSTOP), 0);
    uint64_t frozen = rt_mono_ms();
    send_many(&w, 400);
    AWAIT(&w, owned(&s) == PARTS);
    AWAIT(&w, caught_up(&w));
    print_message("taken over %llu ms after the freeze\n",
                  (unsigned long long)(rt_mono_ms() - frozen));
    expect_rows(&w, 800);
    thaw_node(&w, &s, child, 800);
    end_node(child);
    AWAIT(&w, owned(&s) == PARTS);
    close_world(&w, &s);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "node") == 0)
        return run_node(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_the_log),
        cmocka_unit_test(test_repeats_are_skipped),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_newer_version),
        cmocka_unit_test(test_two_share_and_take_over),
        cmocka_unit_test(test_sessions_are_ended_in_a_loop),
        cmocka_unit_test(test_server_dies_and_table_is_locked),
        cmocka_unit_test(test_fenced_by_progress),
        cmocka_unit_test(test_topic_made_anew),
        cmocka_unit_test(test_topic_made_anew_and_grown),
        cmocka_unit_test(test_log_cut),
        cmocka_unit_test(test_frozen_node_is_fenced),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
