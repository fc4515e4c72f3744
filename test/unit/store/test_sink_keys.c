/* Idempotency keys in the sink: the log's clock through a takeover, and memory that is short. */
#include "unit/store/sink_rig.h"

#include "journal/kafka_ticks.h"

/* A record with a key, by a node whose clock is wrong by `ahead` ms. */
static void send_key(struct world *w, const char *key, int64_t ahead)
{
    char time[24];
    rd_kafka_headers_t *h = rd_kafka_headers_new(4);
    snprintf(time, sizeof(time), "%" PRId64, (int64_t)rt_wall_ms() + ahead);
    rd_kafka_header_add(h, "rt-key", -1, key, -1);
    rd_kafka_header_add(h, "rt-time", -1, time, -1);
    send_headers(w, 0, "room", 4, key, h);
}

/* The log's clock ticks, by somebody who has read all. */
static void send_tick(struct world *w, struct rt_ticks *ticks)
{
    char text[RT_TICKS_TEXT + 1];
    rd_kafka_headers_t *h = rd_kafka_headers_new(4);
    const struct rt_ticks known = ticks->at[0] ? *ticks : rt_ticks_begin(1);
    (void)rt_ticks_write(&known, text);
    rd_kafka_header_add(h, "rt-marker", -1, "1", -1);
    rd_kafka_header_add(h, RT_HEADER_TICK, -1, text, -1);
    send_headers(w, 0, "", 0, "", h);
    assert_true(rt_ticks_take(ticks, &known, (uint64_t)w->sent[0]));
}

static void flush_all(struct world *w)
{
    assert_int_equal(rd_kafka_flush(w->producer, 20000), 0);
    AWAIT(w, caught_up(w));
}

static long rows_of(struct world *w, const char *table, const char *key)
{
    char sql[100];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM ~%s WHERE key = '%s'", table, key);
    return number(w, sql);
}

/* Who takes over has the window that the log says, not the one that clocks say. */
static void test_window_through_take_over(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    struct rt_ticks ticks = {.at = {0}};
    open_world(&w, &s);
    send_key(&w, "over", 0);
    send_tick(&w, &ticks);
    send_key(&w, "counts", -86400000); /* its clock is a day behind */
    send_key(&w, "ahead", 86400000);
    for (uint32_t i = 1; i < RT_TICKS; i++)
        send_tick(&w, &ticks);
    flush_all(&w);
    close_sink(&w, &s);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~progress WHERE ticks <> ''"), 1);
    open_sink(&w, &s, "n2");
    for (int i = 0; i < 2; i++) {
        send_key(&w, "counts", 0);
        send_key(&w, "ahead", 0);
        send_key(&w, "over", 0);
        flush_all(&w);
    }
    assert_int_equal(rows_of(&w, "message", "counts"), 1);
    assert_int_equal(rows_of(&w, "repeat", "counts"), 2);
    assert_int_equal(rows_of(&w, "message", "ahead"), 1);
    assert_int_equal(rows_of(&w, "message", "over"), 2);
    assert_int_equal(rows_of(&w, "repeat", "over"), 1);
    /* A repetition that the takeover reads keeps its key alive, and tells the first one. */
    for (uint32_t i = 0; i < RT_TICKS - 1; i++)
        send_tick(&w, &ticks);
    flush_all(&w);
    close_sink(&w, &s);
    open_sink(&w, &s, "n1");
    send_key(&w, "counts", 0);
    flush_all(&w);
    assert_int_equal(rows_of(&w, "message", "counts"), 1);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~repeat WHERE key = 'counts' AND first = 3"),
                     3);
    close_world(&w, &s);
}

/* Keys of the last window go, and the table is as small as it gets: the next but one key makes it grow. */
static void fill_table(struct world *w, struct rt_ticks *ticks, unsigned long round)
{
    enum { SMALL = 48 };
    char key[24];
    for (uint32_t i = 0; i < RT_TICKS; i++)
        send_tick(w, ticks);
    for (int i = 0; i < SMALL; i++) {
        snprintf(key, sizeof(key), "%lu.%d", round, i);
        send_key(w, key, 0);
    }
    flush_all(w);
}

/* Each allocation fails on the way of a record and its repetition: the sink waits for memory, and knows both for what they are. */
static void test_allocation_failures(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    struct rt_ticks ticks = {.at = {0}};
    unsigned long round = 0;
    bool failed = true;
    open_world(&w, &s);
    while (failed) {
        char key[24];
        fill_table(&w, &ticks, ++round);
        snprintf(key, sizeof(key), "grows %lu", round);
        rt_alloc_fail_at(round, 0);
        send_key(&w, key, 0);
        send_key(&w, key, 0);
        flush_all(&w);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rows_of(&w, "message", key), 1);
        assert_int_equal(rows_of(&w, "repeat", key), 1);
        assert_true(round < 200);
    }
    assert_true(round >= 4); /* both messages, and the table between them */
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    close_world(&w, &s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_through_take_over),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
