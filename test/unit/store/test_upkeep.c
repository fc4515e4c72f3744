/* Partitions with dates of our choice: made ahead, filled from the default one, dropped; locks; the thread. With a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "pg_server.h"
#include "store/schema.h"
#include "store/upkeep.h"

#define DAY    86400000ull
#define NOW    1795512345678ull /* 2026-11-24 */
#define SCHEMA "Up \"keep"
#define Q      "\"Up \"\"keep\""

static struct pg_server server;
static PGconn *conn;

static struct rt_pg *open_pg(void)
{
    struct rt_pg *pg = NULL;
    struct rt_err err = {0};
    struct rt_pg_options options = {
        .url = server.url, .statement_timeout = 60000, .lock_timeout = 300};
    if (rt_pg_connect(&options, &pg, NULL, &err) != 0 || rt_schema_migrate(pg, SCHEMA, &err) != 0)
        fail_msg("%s", err.text);
    return pg;
}

static struct rt_pg *fresh(void)
{
    (void)pg_server_query(conn,
                          "SET client_min_messages = warning; DROP SCHEMA IF EXISTS " Q " CASCADE");
    return open_pg();
}

static struct rt_store_upkeep_result round_at(struct rt_pg *pg, uint64_t now, uint64_t retention)
{
    struct rt_store_upkeep_result result;
    struct rt_err err = {0};
    if (rt_store_upkeep_run(pg, SCHEMA, now, retention, &result, &err) != 0)
        fail_msg("%s", err.text);
    assert_false(result.elsewhere);
    assert_int_equal(PQtransactionStatus(pg->conn), PQTRANS_IDLE);
    return result;
}

static void put(const char *epoch, int offset, const char *time)
{
    (void)pg_server_query(conn,
                          "INSERT INTO " Q
                          ".message (epoch, \"offset\", time, channel, id, kind, data) "
                          "VALUES ('%s', %d, '%s', 'c', gen_random_uuid(), 0, '1')",
                          epoch, offset, time);
}

static void check(const char *sql, const char *expected)
{
    const char *value = pg_server_query(conn, "%s", sql);
    if (strcmp(value, expected) != 0)
        fail_msg("%s: %s, not %s", sql, value, expected);
}

#define DAYS                                                                                       \
    "SELECT string_agg(substr(c.relname, 9), ' ' ORDER BY c.relname) FROM pg_inherits i JOIN "     \
    "pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n " \
    "ON n.oid = p.relnamespace WHERE p.relname = 'message' AND n.nspname = 'Up \"keep'"
#define WEEK "20261123 20261124 20261125 20261126 20261127 20261128 20261129 20261130 20261201"

static void test_made_ahead(void **state)
{
    (void)state;
    struct rt_pg *pg = fresh();
    assert_int_equal(round_at(pg, NOW, 0).made, 9);
    check(DAYS, WEEK " default");
    assert_int_equal(round_at(pg, NOW, 0).made, 0);
    assert_int_equal(round_at(pg, NOW + DAY, 0).made, 1);
    check(DAYS, WEEK " 20261202 default");
    /* a day is UTC's, to the microsecond; the session's time zone plays no part */
    put("e", 1, "2026-11-24T00:00:00Z");
    put("e", 2, "2026-11-24T23:59:59.999999Z");
    put("e", 3, "2026-11-25T00:00:00Z");
    check("SELECT count(*) FROM " Q ".message_20261124", "2");
    check("SELECT count(*) FROM " Q ".message_20261125", "1");
    check("SELECT count(*) FROM " Q ".message_default", "0");
    /* the same indexes as the others */
    check(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'Up \"keep' AND tablename = 'message_20261125'",
        "4");
    rt_pg_free(pg);
}

static void test_rows_of_the_default(void **state)
{
    (void)state;
    struct rt_pg *pg = fresh();
    put("e", 1, "2026-11-24T10:00:00Z");
    put("e", 2, "2026-11-26T10:00:00Z");
    put("e", 3, "2026-11-10T10:00:00Z"); /* late, within the retention */
    put("e", 4, "2027-11-24T10:00:00Z"); /* a clock that is wrong */
    put("e", 5, "infinity");
    put("e", 6, "-infinity");
    struct rt_store_upkeep_result result = round_at(pg, NOW, 0);
    assert_int_equal(result.made, 10);
    check(DAYS, "20261110 " WEEK " default");
    check("SELECT string_agg(\"offset\"::text, ' ' ORDER BY \"offset\") FROM " Q ".message_default",
          "4 5 6");
    check("SELECT string_agg(\"offset\"::text, ' ' ORDER BY \"offset\") FROM " Q
          ".message_20261110",
          "3");
    check("SELECT count(*) FROM " Q ".message", "6");
    /* its day comes */
    (void)round_at(pg, 1827000000000ull, 0); /* 2027-11-24 */
    check("SELECT string_agg(\"offset\"::text, ' ' ORDER BY \"offset\") FROM " Q
          ".message_20271124",
          "4");
    rt_pg_free(pg);
}

/* By so much the wall clock of this process is wrong. */
static time_t wrong_s;

/* It stands in front of the C library's, before a sanitizer is ready as well. */
__attribute__((no_sanitize("thread", "address", "undefined"))) int clock_gettime(
    clockid_t clock, struct timespec *ret_time)
{
    long status = syscall(SYS_clock_gettime, clock, ret_time);
    if (status == 0 && clock == CLOCK_REALTIME)
        ret_time->tv_sec += wrong_s;
    return (int)status;
}

/* A node whose clock is ahead goes by the server's. */
static void test_earlier_clock(void **state)
{
    (void)state;
    struct rt_pg *pg = fresh();
    struct rt_err err = {0};
    uint64_t right = rt_wall_ms(), now = 0;
    wrong_s = 48 * 3600;
    assert_int_equal(rt_store_upkeep_now(pg, &now, &err), 0);
    assert_in_range(now, right - 1000, right + 60000);
    wrong_s = -48 * 3600;
    assert_int_equal(rt_store_upkeep_now(pg, &now, &err), 0);
    assert_in_range(now, right - 48 * 3600000 - 1000, right - 48 * 3600000 + 60000);
    wrong_s = 0;
    rt_pg_free(pg);
}

static void test_retention(void **state)
{
    (void)state;
    struct rt_pg *pg = fresh();
    (void)round_at(pg, NOW - 10 * DAY, 0); /* from the 13th on */
    (void)pg_server_query(conn,
                          "INSERT INTO " Q
                          ".progress VALUES ('t', 0, 'a.0', 100, 0), ('t', 1, 'b.1', 100, 50), "
                          "('u', 0, 'x.0', 7, 1)");
    put("a.0", 5, "2026-11-13T10:00:00Z");
    put("a.0", 9, "2026-11-13T09:00:00Z"); /* out of order in time */
    put("a.0", 8, "2026-11-14T10:00:00Z");
    put("a.0", 30, "2026-11-24T10:00:00Z");
    put("b.1", 40, "2026-11-13T10:00:00Z"); /* below what is known */
    put("old.0", 70, "2026-11-14T10:00:00Z");
    put("old.0", 60, "2026-11-20T10:00:00Z");
    put("late.0", 3, "2020-01-01"); /* in the default partition, and over */
    (void)pg_server_query(
        conn,
        "INSERT INTO " Q ".repeat SELECT 'a.0', i, 1, t, NULL, 'k', 'c', gen_random_uuid() FROM "
        "unnest(ARRAY['2026-11-13', '2026-11-24']::timestamptz[]) WITH ORDINALITY AS u(t, i)");
    /* 2026-11-24 less 9 days and a bit: the 15th is partly within */
    struct rt_store_upkeep_result result = round_at(pg, NOW, 9 * DAY);
    assert_int_equal(result.dropped, 2);
    check(DAYS, "20261115 20261116 20261117 20261118 20261119 20261120 20261121 " WEEK " default");
    check("SELECT string_agg(epoch || \"offset\", ' ' ORDER BY \"offset\") FROM " Q ".message",
          "a.030 old.060");
    check("SELECT string_agg(epoch || purged, ' ' ORDER BY epoch) FROM " Q ".progress",
          "a.09 b.150 x.01");
    check("SELECT string_agg(epoch || upto, ' ' ORDER BY epoch) FROM " Q ".purged",
          "a.09 b.140 late.03 old.070");
    check("SELECT string_agg(\"offset\"::text, ' ') FROM " Q ".repeat", "2");
    /* dropped, not only detached */
    check(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = "
        "'Up \"keep' AND relname = 'message_20261113'",
        "0");
    assert_int_equal(round_at(pg, NOW, 9 * DAY).dropped, 0);
    /* The 15th is wholly older from midnight on; within an hour behind that a clock may be wrong. */
    uint64_t midnight = NOW - NOW % DAY;
    assert_int_equal(round_at(pg, midnight + 3599000, 8 * DAY).dropped, 0);
    assert_int_equal(round_at(pg, midnight + 3601000, 8 * DAY).dropped, 1);
    /* longer than there has been time; never */
    assert_int_equal(round_at(pg, NOW, NOW + DAY).dropped, 0);
    assert_int_equal(round_at(pg, NOW, 0).dropped, 0);
    rt_pg_free(pg);
}

static void test_foreign_partitions_stay(void **state)
{
    (void)state;
    struct rt_pg *pg = fresh();
    (void)pg_server_query(conn, "CREATE TABLE " Q ".message_y2020 PARTITION OF " Q
                                ".message FOR VALUES FROM "
                                "('2020-01-01 00:00:00+00') TO ('2021-01-01 00:00:00+00')");
    put("e", 1, "2020-05-05");
    assert_int_equal(round_at(pg, NOW, 9 * DAY).dropped, 0);
    check("SELECT count(*) FROM " Q ".message_y2020", "1");
    rt_pg_free(pg);
}

static void test_one_at_a_time_and_locks(void **state)
{
    (void)state;
    struct rt_pg *pg = fresh();
    struct rt_store_upkeep_result result;
    struct rt_err err = {0};
    (void)pg_server_query(
        conn, "SELECT pg_advisory_lock(hashtextextended('rtbroker upkeep Up \"keep', 0))");
    assert_int_equal(rt_store_upkeep_run(pg, SCHEMA, NOW, 0, &result, &err), 0);
    assert_true(result.elsewhere && result.made == 0);
    (void)pg_server_query(conn, "SELECT pg_advisory_unlock_all()");
    assert_int_equal(round_at(pg, NOW, 0).made, 9);
    /* Somebody reads for long: given up soon, tried again later. */
    put("e", 1, "2026-11-24");
    (void)pg_server_query(conn, "INSERT INTO " Q
                                ".progress VALUES ('t', 0, 'e', 5, 0); BEGIN; SELECT * FROM " Q
                                ".message");
    assert_int_equal(rt_store_upkeep_run(pg, SCHEMA, NOW + 5 * DAY, DAY, &result, &err), RT_EIO);
    assert_int_equal(pg->failure, RT_PG_OUTAGE);
    assert_non_null(strstr(err.text, "55P03"));
    assert_int_equal(PQtransactionStatus(pg->conn), PQTRANS_IDLE);
    check("SELECT purged FROM " Q ".progress", "0");
    (void)pg_server_query(conn, "COMMIT");
    assert_true(round_at(pg, NOW + 5 * DAY, DAY).dropped > 0);
    check("SELECT purged FROM " Q ".progress", "1");
    check("SELECT pg_try_advisory_lock(hashtextextended('rtbroker upkeep Up \"keep', 0))", "t");
    (void)pg_server_query(conn, "SELECT pg_advisory_unlock_all()");
    rt_pg_free(pg);
}

static void test_without_rights(void **state)
{
    (void)state;
    struct rt_pg *owner = fresh();
    rt_pg_free(owner);
    (void)pg_server_query(conn, "CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA " Q
                                " TO poor; GRANT SELECT, INSERT, "
                                "UPDATE, DELETE ON ALL TABLES IN SCHEMA " Q " TO poor");
    char url[200];
    snprintf(url, sizeof(url), "host=%s user=poor dbname=postgres", server.dir);
    struct rt_pg *pg = NULL;
    struct rt_err err = {0};
    struct rt_store_upkeep_result result;
    assert_int_equal(rt_pg_connect(&(struct rt_pg_options){.url = url}, &pg, NULL, &err), 0);
    assert_int_equal(rt_store_upkeep_run(pg, SCHEMA, NOW, 0, &result, &err), RT_EIO);
    assert_int_equal(pg->failure, RT_PG_PROGRAM);
    assert_non_null(strstr(err.text, "42501"));
    rt_pg_free(pg);
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static void close_upkeep(struct rt_loop *loop, struct rt_store_upkeep *u)
{
    bool closed = false;
    rt_store_upkeep_close(u, on_closed, &closed);
    assert_false(closed);
    uint64_t until = rt_mono_ms() + 60000;
    while (!closed && rt_mono_ms() < until)
        rt_loop_turn(loop, 10);
    assert_true(closed);
    rt_store_upkeep_free(u);
}

static void test_thread(void **state)
{
    (void)state;
    rt_pg_free(fresh());
    struct rt_loop *loop = NULL;
    struct rt_store_upkeep *u = NULL;
    struct rt_metrics metrics;
    rt_metrics_init(&metrics);
    assert_int_equal(rt_loop_new(&loop, NULL), 0);
    struct rt_store_upkeep_options options = {.loop = loop,
                                              .metrics = &metrics,
                                              .url = server.url,
                                              .schema = SCHEMA,
                                              .name = "rtbroker upkeep",
                                              .retention = DAY};
    assert_int_equal(rt_store_upkeep_new(&options, &u, NULL), 0);
    uint64_t until = rt_mono_ms() + 60000;
    while (
        strcmp(pg_server_query(conn, "SELECT count(*) >= 10 FROM pg_inherits WHERE inhparent = '" Q
                                     ".message'::regclass"),
               "t") != 0 &&
        rt_mono_ms() < until)
        rt_loop_turn(loop, 10);
    bool counted = false;
    while (!counted && rt_mono_ms() < until) {
        struct rt_buf text = RT_BUF_INIT;
        rt_metrics_write(&metrics, &text);
        counted = strstr(rt_buf_cstr(&text), "rtbroker_store_partitions_made_total 9") != NULL;
        rt_buf_deinit(&text);
    }
    assert_true(counted);
    close_upkeep(loop, u);
    /* nobody there: it ends all the same */
    options.url = "host=/nowhere";
    options.metrics = NULL;
    assert_int_equal(rt_store_upkeep_new(&options, &u, NULL), 0);
    close_upkeep(loop, u);
    rt_loop_free(loop);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct rt_loop *loop = NULL;
    assert_int_equal(rt_loop_new(&loop, NULL), 0);
    struct rt_store_upkeep_options options = {
        .loop = loop, .url = "host=/nowhere", .schema = "s", .name = "n"};
    for (unsigned long n = 1;; n++) {
        struct rt_store_upkeep *u = NULL;
        rt_alloc_fail_at(n, 0);
        int code = rt_store_upkeep_new(&options, &u, NULL);
        bool failed = rt_alloc_failed() != 0;
        rt_alloc_fail_at(0, 0);
        assert_true(code == 0 || (code == RT_ENOMEM && failed));
        if (code == 0)
            close_upkeep(loop, u);
        if (code == 0 && !failed)
            break;
        assert_true(n < 100);
    }
    rt_loop_turn(loop, 0);
    rt_loop_free(loop);
}

static int setup(void **state)
{
    (void)state;
    return pg_server_begin(&server, &conn);
}

static int teardown(void **state)
{
    (void)state;
    return pg_server_end(&server, conn);
}

int main(void)
{
    rt_log_setup(RT_LOG_OFF, RT_LOG_TEXT, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_ahead),
        cmocka_unit_test(test_rows_of_the_default),
        cmocka_unit_test(test_earlier_clock),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_foreign_partitions_stay),
        cmocka_unit_test(test_one_at_a_time_and_locks),
        cmocka_unit_test(test_without_rights),
        cmocka_unit_test(test_thread),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
