/* The helper around libpq: kinds of failures, what texts show, values in binary, deadlines. With a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "pg_server.h"
#include "store/pg.h"

static struct pg_server server;

static struct rt_pg *connect_to(const char *url)
{
    struct rt_pg *pg = NULL;
    struct rt_err err = {0};
    struct rt_pg_options options = {.url = url, .name = "rtbroker test"};
    if (rt_pg_connect(&options, &pg, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return pg;
}

/* ---- without a server ---------------------------------------------------------------------------------------- */

static void test_classes(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum rt_pg_failure failure;
    } cases[] = {
        {NULL, RT_PG_OUTAGE},     {"", RT_PG_OUTAGE},       {"22021", RT_PG_DATA},
        {"22P05", RT_PG_DATA},    {"23505", RT_PG_DATA},    {"54000", RT_PG_DATA},
        {"08006", RT_PG_OUTAGE},  {"40001", RT_PG_OUTAGE},  {"40P01", RT_PG_OUTAGE},
        {"53100", RT_PG_OUTAGE},  {"53300", RT_PG_OUTAGE},  {"57014", RT_PG_OUTAGE},
        {"57P01", RT_PG_OUTAGE},  {"57P03", RT_PG_OUTAGE},  {"58030", RT_PG_OUTAGE},
        {"25006", RT_PG_OUTAGE},  {"55P03", RT_PG_OUTAGE},  {"25P02", RT_PG_PROGRAM},
        {"42501", RT_PG_PROGRAM}, {"42P01", RT_PG_PROGRAM}, {"28P01", RT_PG_PROGRAM},
        {"XX000", RT_PG_PROGRAM}, {"55006", RT_PG_PROGRAM}, {"2", RT_PG_PROGRAM},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(rt_pg_classify(cases[i].sqlstate), cases[i].failure);
}

static void check_bad_url(const char *url, const char *shown)
{
    struct rt_err err = {0};
    assert_int_equal(rt_pg_check_url(url, &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "postgres.url"));
    assert_null(strstr(err.text, "s3cret"));
    if (shown && !strstr(err.text, shown))
        fail_msg("%s: %s", url, err.text);
}

static void test_bad_urls(void **state)
{
    (void)state;
    check_bad_url("postgresql://u:s3cret@h/db?nonsense=1", "nonsense");
    check_bad_url("postgresql://u:s3cret%zz@h/db", NULL);
    check_bad_url("postgresql://u:s3cret@[::1/db", NULL);
    check_bad_url("postgresql://u:s3cret@h:1x2/?a", NULL);
    check_bad_url("host=h password='s3cret", NULL);
    check_bad_url("password=x s3cret", NULL);
    check_bad_url("hast=h password=s3cret", "hast");
    static const char *const good[] = {NULL,
                                       "",
                                       "name_of_a_database",
                                       "host=/tmp",
                                       "postgresql://",
                                       "postgres://u:p@a:1,b:2/d?sslmode=require"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(rt_pg_check_url(good[i], NULL), 0);
    struct rt_pg *pg = NULL;
    struct rt_err err = {0};
    enum rt_pg_failure failure = RT_PG_NONE;
    struct rt_pg_options options = {.url = "postgresql://u:s3cret@h/db?nonsense=1"};
    assert_int_equal(rt_pg_connect(&options, &pg, &failure, &err), RT_EINVAL);
    assert_int_equal(failure, RT_PG_PROGRAM);
    assert_null(strstr(err.text, "s3cret"));
}

static void test_array_items(void **state)
{
    (void)state;
    struct rt_pg_array a;
    struct rt_pg_params p;
    struct rt_str items[4];
    rt_pg_params_init(&p);
    rt_pg_array_init(&a, RT_PG_BYTEA);
    rt_pg_add_array(&p, &a);
    assert_int_equal(rt_pg_array_items(rt_str_of(p.values[0], (size_t)p.lengths[0]), items, 4), 0);
    rt_pg_array_clear(&a);
    rt_pg_array_add(&a, RT_STR("one"));
    rt_pg_array_add(&a, RT_STR_NONE);
    rt_pg_array_add(&a, RT_STR(""));
    rt_pg_add_array(&p, &a);
    struct rt_str whole = rt_str_of(p.values[1], (size_t)p.lengths[1]);
    assert_int_equal(rt_pg_array_items(whole, items, 4), 3);
    assert_true(rt_str_eq(items[0], RT_STR("one")));
    assert_null(items[1].ptr);
    assert_true(items[2].ptr && items[2].len == 0);
    assert_int_equal(rt_pg_array_items(whole, items, 2), -1); /* more than there is room for */
    for (size_t cut = 0; cut < whole.len; cut++)
        assert_int_equal(rt_pg_array_items(rt_str_of(whole.ptr, cut), items, 4), -1);
    char longer[64] = {0};
    memcpy(longer, whole.ptr, whole.len);
    assert_int_equal(rt_pg_array_items(rt_str_of(longer, whole.len + 1), items, 4), -1);
    longer[3] = 2; /* dimensions */
    assert_int_equal(rt_pg_array_items(rt_str_of(longer, whole.len), items, 4), -1);
    rt_pg_array_deinit(&a);
}

static void test_array_without_memory(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct rt_pg_array a;
        struct rt_pg_params p;
        rt_pg_params_init(&p);
        rt_pg_array_init(&a, RT_PG_TEXT);
        rt_alloc_fail_at(n, 0);
        for (int i = 0; i < 100; i++)
            rt_pg_array_add(&a, RT_STR("an item of some length"));
        rt_pg_add_array(&p, &a);
        bool failed = rt_alloc_failed() != 0;
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_buf_ok(&a.buf), !failed);
        assert_int_equal(p.count, failed ? 0 : 1);
        rt_pg_array_deinit(&a);
        if (!failed)
            return;
    }
}

static void test_quoting(void **state)
{
    (void)state;
    struct rt_buf out = RT_BUF_INIT;
    rt_pg_add_identifier(&out, "a\"b");
    rt_pg_add_literal(&out, "it's");
    rt_pg_add_literal(&out, "a\\'b");
    assert_true(rt_str_eq(rt_buf_str(&out), RT_STR("\"a\"\"b\"'it''s'E'a\\\\''b'")));
    rt_buf_deinit(&out);
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct rt_pg *pg = NULL;
    struct rt_err err = {0};
    enum rt_pg_failure failure = RT_PG_NONE;
    struct rt_pg_options options = {.url =
                                        "host=/nowhere,/neither user=u password=s3cret dbname=d"};
    assert_int_equal(rt_pg_connect(&options, &pg, &failure, &err), RT_EIO);
    assert_int_equal(failure, RT_PG_OUTAGE);
    assert_non_null(strstr(err.text, "cannot connect to PostgreSQL: "));
    assert_non_null(strstr(err.text, "/nowhere"));
    assert_non_null(strstr(err.text, "/neither"));
    assert_null(strchr(err.text, '\n'));
    assert_null(strstr(err.text, "s3cret"));
}

/* ---- with one ------------------------------------------------------------------------------------------------ */

static void test_values(void **state)
{
    (void)state;
    struct rt_pg *pg = connect_to(server.url);
    struct rt_pg_params p;
    struct rt_pg_array a[4];
    uint8_t uuid[16] = {1, 2, 3, 0xff};
    rt_pg_params_init(&p);
    rt_pg_add_text(&p, RT_STR("h\xc3\xa4"));
    rt_pg_add_text(&p, RT_STR_NONE);
    rt_pg_add_bytes(&p, RT_STR("\0\xff"));
    rt_pg_add_uuid(&p, uuid);
    rt_pg_add_i16(&p, -2);
    rt_pg_add_i32(&p, -70000);
    rt_pg_add_i64(&p, INT64_MIN);
    rt_pg_add_time(&p, 1795512345678);
    rt_pg_array_init(&a[0], RT_PG_TEXT);
    rt_pg_array_add(&a[0], RT_STR("x"));
    rt_pg_array_add(&a[0], RT_STR_NONE);
    rt_pg_array_init(&a[1], RT_PG_INT8);
    rt_pg_array_add_i64(&a[1], 1LL << 40);
    rt_pg_array_init(&a[2], RT_PG_TIMESTAMPTZ);
    rt_pg_array_add_time(&a[2], 0);
    rt_pg_array_init(&a[3], RT_PG_INT2);
    rt_pg_array_add_i16(&a[3], -1);
    for (int i = 0; i < 4; i++)
        rt_pg_add_array(&p, &a[i]);
    PGresult *r = NULL;
    struct rt_err err = {0};
    const char *sql =
        "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::text, $10::text, $11::text, $12::text, "
        "$8 = '2026-11-24T09:25:45.678Z', 'infinity'::timestamptz, '-infinity'::timestamptz";
    if (rt_pg_exec(pg, sql, &p, 10000, &r, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(rt_str_eq(rt_pg_str(r, 0, 0), RT_STR("h\xc3\xa4")));
    assert_true(rt_pg_is_null(r, 0, 1) && !rt_pg_str(r, 0, 1).ptr);
    assert_true(rt_str_eq(rt_pg_str(r, 0, 2), RT_STR("\0\xff")));
    assert_true(rt_str_eq(rt_pg_str(r, 0, 3), rt_str_of(uuid, 16)));
    assert_int_equal(rt_pg_int(r, 0, 4), -2);
    assert_int_equal(rt_pg_int(r, 0, 5), -70000);
    assert_true(rt_pg_int(r, 0, 6) == INT64_MIN);
    assert_true(rt_pg_time(r, 0, 7) == 1795512345678);
    assert_true(rt_str_eq(rt_pg_str(r, 0, 8), RT_STR("{x,NULL}")));
    assert_true(rt_str_eq(rt_pg_str(r, 0, 9), RT_STR("{1099511627776}")));
    assert_true(rt_str_starts(rt_pg_str(r, 0, 10), RT_STR("{\"1970-01-01 00:00:00")));
    assert_true(rt_str_eq(rt_pg_str(r, 0, 11), RT_STR("{-1}")));
    assert_int_equal(rt_pg_int(r, 0, 12), 1);
    assert_true(rt_pg_time(r, 0, 13) == INT64_MAX / 1000);
    assert_true(rt_pg_time(r, 0, 14) == 0);
    PQclear(r);
    for (int i = 0; i < 4; i++)
        rt_pg_array_deinit(&a[i]);
    rt_pg_free(pg);
}

static void test_failures(void **state)
{
    (void)state;
    struct rt_pg *pg = connect_to(server.url);
    struct rt_err err = {0};
    assert_int_equal(rt_pg_run(pg, "CREATE TEMP TABLE t (a text PRIMARY KEY)", 10000, &err), 0);
    const char *twice =
        "INSERT INTO t VALUES ('s3cret'); INSERT INTO t VALUES ('s3cret'); SELECT 1";
    assert_int_equal(rt_pg_run(pg, twice, 10000, &err), RT_EIO);
    assert_int_equal(pg->failure, RT_PG_DATA);
    assert_string_equal(pg->sqlstate, "23505");
    assert_non_null(strstr(err.text, "23505"));
    assert_null(strstr(err.text, "s3cret")); /* it is in the DETAIL */
    assert_true(rt_pg_usable(pg));
    assert_int_equal(rt_pg_exec(pg, "SELECT nothing", NULL, 10000, NULL, &err), RT_EIO);
    assert_int_equal(pg->failure, RT_PG_PROGRAM);
    assert_int_equal(rt_pg_prepare(pg, "s", "SELECT $1::int + 1", 10000, &err), 0);
    struct rt_pg_params p;
    PGresult *r = NULL;
    rt_pg_params_init(&p);
    rt_pg_add_i32(&p, 41);
    assert_int_equal(rt_pg_exec_prepared(pg, "s", &p, 10000, &r, &err), 0);
    assert_int_equal(rt_pg_int(r, 0, 0), 42);
    assert_int_equal(pg->failure, RT_PG_NONE);
    assert_string_equal(pg->sqlstate, "");
    PQclear(r);
    rt_pg_free(pg);
}

static void test_lost_connection(void **state)
{
    (void)state;
    struct rt_pg *pg = connect_to(server.url);
    PGconn *other = pg_server_connect(&server);
    struct rt_err err = {0};
    assert_string_equal(pg_server_query(other, "SELECT count(*) FROM pg_stat_activity WHERE "
                                               "application_name = 'rtbroker test'"),
                        "1");
    assert_string_equal(
        pg_server_query(other, "SELECT pg_terminate_backend(%d)", PQbackendPID(pg->conn)), "t");
    assert_int_equal(rt_pg_exec(pg, "SELECT pg_sleep(30)", NULL, 20000, NULL, &err), RT_EIO);
    assert_int_equal(pg->failure, RT_PG_OUTAGE);
    assert_false(rt_pg_usable(pg));
    assert_int_equal(rt_pg_exec(pg, "SELECT 1", NULL, 1000, NULL, &err), RT_EIO);
    rt_pg_free(pg);
    PQfinish(other);
}

static void test_deadlines(void **state)
{
    (void)state;
    struct rt_pg *pg = NULL;
    struct rt_err err = {0};
    _Atomic bool stop = false;
    struct rt_pg_options options = {.url = server.url,
                                    .name = "x",
                                    .statement_timeout = 100,
                                    .lock_timeout = 70,
                                    .stop = &stop};
    assert_int_equal(rt_pg_connect(&options, &pg, NULL, &err), 0);
    PGresult *r = NULL;
    assert_int_equal(
        rt_pg_exec(pg, "SELECT current_setting('lock_timeout')", NULL, 10000, &r, &err), 0);
    assert_true(rt_str_eq(rt_pg_str(r, 0, 0), RT_STR("70ms")));
    PQclear(r);
    /* the server ends it, the connection lives on */
    assert_int_equal(rt_pg_exec(pg, "SELECT pg_sleep(30)", NULL, 20000, NULL, &err), RT_EIO);
    assert_int_equal(pg->failure, RT_PG_OUTAGE);
    assert_string_equal(pg->sqlstate, "57014");
    assert_true(rt_pg_usable(pg));
    /* the server is silent */
    assert_int_equal(kill(PQbackendPID(pg->conn), SIGSTOP), 0);
    assert_int_equal(rt_pg_exec(pg, "SELECT 1", NULL, 200, NULL, &err), RT_EIO);
    assert_non_null(strstr(err.text, "200 ms"));
    assert_int_equal(pg->failure, RT_PG_OUTAGE);
    assert_false(rt_pg_usable(pg));
    assert_int_equal(kill(PQbackendPID(pg->conn), SIGCONT), 0);
    rt_pg_free(pg);
    /* told to stop */
    assert_int_equal(rt_pg_connect(&options, &pg, NULL, &err), 0);
    stop = true;
    assert_int_equal(rt_pg_exec(pg, "SELECT pg_sleep(30)", NULL, 20000, NULL, &err), RT_ECLOSED);
    rt_pg_free(pg);
    assert_int_equal(rt_pg_connect(&options, &pg, NULL, &err), RT_ECLOSED);
}

/* PG* fill in what the URL leaves open, the URL counts first. */
static void test_environment(void **state)
{
    (void)state;
    setenv("PGHOST", server.dir, 1);
    setenv("PGUSER", "rt", 1);
    setenv("PGDATABASE", "postgres", 1);
    setenv("PGAPPNAME", "from the environment", 1);
    setenv("PGCLIENTENCODING", "LATIN1", 1);
    static const char *const urls[] = {NULL, "", "postgresql://", "postgres"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct rt_pg *pg = connect_to(urls[i]);
        PGresult *r = NULL;
        assert_int_equal(rt_pg_exec(pg, "SHOW application_name", NULL, 10000, &r, NULL), 0);
        assert_true(rt_str_eq(rt_pg_str(r, 0, 0), RT_STR("from the environment")));
        PQclear(r);
        assert_string_equal(PQparameterStatus(pg->conn, "client_encoding"), "UTF8");
        rt_pg_free(pg);
    }
    struct rt_pg *pg = connect_to("application_name=mine keepalives_idle=77");
    assert_string_equal(PQparameterStatus(pg->conn, "application_name"), "mine");
    rt_pg_free(pg);
    static const char *const names[] = {"PGHOST", "PGUSER", "PGDATABASE", "PGAPPNAME",
                                        "PGCLIENTENCODING"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
}

static int setup(void **state)
{
    (void)state;
    return pg_server_start(&server) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pg_server_remove(&server);
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),         cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_array_items),     cmocka_unit_test(test_array_without_memory),
        cmocka_unit_test(test_quoting),         cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_values),          cmocka_unit_test(test_failures),
        cmocka_unit_test(test_lost_connection), cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
