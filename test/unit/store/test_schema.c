/* The schema: from nothing, again, from several at once, by psql, by a DBA; the view over whatever may be stored. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "pg_server.h"
#include "store/schema.h"

#define VERSION "3" /* RT_SCHEMA_VERSION */

static struct pg_server server;
static PGconn *conn;

static int migrate_as(const char *url, const char *schema, struct rt_err *err)
{
    struct rt_pg *pg = NULL;
    struct rt_pg_options options = {.url = url};
    int code = rt_pg_connect(&options, &pg, NULL, err);
    if (code == 0)
        code = rt_schema_migrate(pg, schema, err);
    if (code == 0 && PQtransactionStatus(pg->conn) != PQTRANS_IDLE)
        code = rt_err_set(err, RT_EUNKNOWN, "a transaction was left open");
    rt_pg_free(pg);
    return code;
}

static void migrate(const char *schema)
{
    struct rt_err err = {0};
    if (migrate_as(server.url, schema, &err) != 0)
        fail_msg("%s", err.text);
}

static void test_from_nothing_and_again(void **state)
{
    (void)state;
    static const char *const names[] = {"rtbroker", "Odd \"na'me\\ {schema}", "ünï"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        migrate(names[i]);
        char *quoted = PQescapeIdentifier(conn, names[i], strlen(names[i]));
        assert_string_equal(pg_server_query(conn, "SELECT count(*) FROM %s.migration", quoted),
                            VERSION);
        (void)pg_server_query(conn, "INSERT INTO %s.purged VALUES ('e', 1)", quoted);
        migrate(names[i]);
        assert_string_equal(pg_server_query(conn, "SELECT count(*) FROM %s.purged", quoted), "1");
        /* a newer rtbroker was here: fine */
        (void)pg_server_query(conn, "INSERT INTO %s.migration VALUES (1000)", quoted);
        migrate(names[i]);
        PQfreemem(quoted);
    }
}

struct racer {
    pthread_t thread;
    int code;
    struct rt_err err;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    r->code = migrate_as(server.url, "race", &r->err);
    return NULL;
}

static void test_at_the_same_time(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        static struct racer racers[6];
        (void)pg_server_query(conn, "DROP SCHEMA IF EXISTS race CASCADE");
        for (int i = 0; i < 6; i++)
            assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        for (int i = 0; i < 6; i++)
            assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
        for (int i = 0; i < 6; i++)
            if (racers[i].code)
                fail_msg("%s", racers[i].err.text);
        assert_string_equal(pg_server_query(conn, "SELECT count(*) FROM race.migration"), VERSION);
    }
}

static int psql(const char *script, size_t len)
{
    char path[100], out[100], url[200];
    snprintf(path, sizeof(path), "%s/script.sql", server.dir);
    snprintf(out, sizeof(out), "--output=%s/out", server.dir);
    snprintf(url, sizeof(url), "--dbname=%s", server.url);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(script, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0644), 0);
    char *argv[] = {"psql", "-X", "-v", "ON_ERROR_STOP=1", url, out, "-f", path, NULL};
    int status = -1;
    pid_t pid = pg_server_spawn(&server, "psql", argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_by_psql(void **state)
{
    (void)state;
    struct rt_buf out = RT_BUF_INIT;
    struct rt_err err = {0};
    assert_int_equal(rt_store_ddl("by psql", &out, &err), 0);
    assert_int_equal(psql((const char *)out.data, out.len), 0);
    assert_int_equal(psql((const char *)out.data, out.len), 0);
    assert_string_equal(pg_server_query(conn, "SELECT count(*) FROM \"by psql\".migration"),
                        VERSION);
    assert_int_equal(psql("SELECT nothing", 14), 3); /* psql does tell */
    rt_buf_deinit(&out);
    /* Who connects afterwards needs few rights. */
    (void)pg_server_query(conn,
                          "CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA \"by psql\" TO poor; "
                          "GRANT SELECT ON \"by psql\".migration TO poor");
    char url[200];
    snprintf(url, sizeof(url), "host=%s user=poor dbname=postgres", server.dir);
    if (migrate_as(url, "by psql", &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(migrate_as(url, "another", &err), RT_EIO);
    assert_non_null(strstr(err.text, "permission denied"));
    assert_non_null(strstr(err.text, "42501"));
}

static void test_refused(void **state)
{
    (void)state;
    struct rt_err err = {0};
    char longest[RT_SCHEMA_NAME + 2];
    memset(longest, 'x', sizeof(longest));
    longest[RT_SCHEMA_NAME] = '\0';
    assert_int_equal(rt_schema_check(longest, &err), 0);
    migrate(longest);
    longest[RT_SCHEMA_NAME] = 'x';
    longest[RT_SCHEMA_NAME + 1] = '\0';
    const char *const bad[] = {longest, "", "pg_x", "a$rtbroker$b", "a\nb", "\xff", NULL};
    struct rt_buf out = RT_BUF_INIT;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err.text[0] = '\0';
        assert_int_equal(rt_schema_check(bad[i], &err), RT_EINVAL);
        assert_non_null(strstr(err.text, "postgres.schema"));
        assert_int_equal(rt_store_ddl(bad[i], &out, &err), RT_EINVAL);
    }
    assert_int_equal(out.len, 0);
    (void)pg_server_query(conn, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    char url[200];
    snprintf(url, sizeof(url), "host=%s user=rt dbname=latin", server.dir);
    assert_int_equal(migrate_as(url, "rtbroker", &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "LATIN1"));
    assert_non_null(strstr(err.text, "UTF8"));
}

/* A failure in the middle leaves nothing behind, and says what it was. */
static void test_half_way(void **state)
{
    (void)state;
    (void)pg_server_query(conn, "CREATE SCHEMA half; CREATE TABLE half.progress (a int)");
    struct rt_err err = {0};
    assert_int_equal(migrate_as(server.url, "half", &err), RT_EIO);
    assert_non_null(strstr(err.text, "schema \"half\""));
    assert_non_null(strstr(err.text, "progress"));
    assert_string_equal(
        pg_server_query(conn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'half'"), "1");
    (void)pg_server_query(conn, "DROP TABLE half.progress");
    migrate("half");
}

static void test_view(void **state)
{
    (void)state;
    static const struct {
        int kind;
        const char *data, *text; /* SQL expressions */
    } cases[] = {
        {0, "'{\"a\":\"\\\\u0000\"}'", "'{\"a\":\"\\u0000\"}'"},
        {0, "''", "''"},
        {1, "'\\x68c3a4'", "U&'h\\00E4'"},
        {1, "'\\x6100ff'", "'YQD/'"}, /* no UTF-8: base64 */
        {1, "'\\x00'", "U&'\\FFFD'"},
        {1, "'\\x610062c3a400'", "U&'a\\FFFDb\\00E4\\FFFD'"},
        {1, "'\\x5c3030300031'", "U&'\\005c000\\FFFD1'"}, /* a backslash and 000, then NUL */
        {1, "'\\x5c5c005c'", "U&'\\005c\\005c\\FFFD\\005c'"},
        {1, "'\\xedA080'", "'7aCA'"}, /* a surrogate */
        {2, "'\\x00ff'", "'AP8='"},
        {2, "''", "''"},
        {7, "'\\x41'", "'QQ=='"}, /* a kind of the future */
        {-1, "'\\x41'", "'QQ=='"},
    };
    migrate("v");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        (void)pg_server_query(
            conn,
            "INSERT INTO v.message (epoch, \"offset\", time, channel, id, kind, data) "
            "VALUES ('e', %zu, '2026-11-24T09:25:45.678Z', 'c', "
            "'01020304-0506-0708-090a-0b0c0d0e0f%02zx', %d, %s)",
            i, i, cases[i].kind, cases[i].data);
    /* U&'' needs this one, which is the default */
    (void)pg_server_query(conn, "SET standard_conforming_strings = on");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(pg_server_query(conn,
                                   "SELECT text = %s FROM v.messages WHERE id = "
                                   "'01020304-0506-0708-090a-0b0c0d0e0f%02zx'",
                                   cases[i].text, i),
                   "t") != 0)
            fail_msg(
                "case %zu: %s", i,
                pg_server_query(conn, "SELECT text FROM v.messages WHERE id LIKE '%%0f%02zx'", i));
    (void)pg_server_query(conn, "SET TimeZone = 'Asia/Tokyo'");
    assert_string_equal(pg_server_query(conn, "SELECT created_at::text FROM v.messages LIMIT 1"),
                        "2026-11-24 09:25:45.678");
    (void)pg_server_query(
        conn,
        "SET TimeZone = 'UTC'; INSERT INTO v.message SELECT 'e', 100 + i, t, 'c', "
        "gen_random_uuid(), NULL, 2, 0, decode(repeat('00', 3000000), 'hex') FROM "
        "unnest(ARRAY['infinity', '-infinity', '0001-01-01 BC', '294276-01-01']::timestamptz[]) "
        "WITH ORDINALITY AS u(t, i)");
    assert_string_equal(
        pg_server_query(conn,
                        "SELECT count(*) FROM (SELECT id, text, created_at::text FROM v.messages "
                        "WHERE length(text) >= 4000000) AS x"),
        "4");
    (void)pg_server_query(conn, "UPDATE v.message SET kind = 1 WHERE \"offset\" > 100");
    assert_string_equal(pg_server_query(conn, "SELECT max(length(text)) FROM v.messages"),
                        "3000000");
}

static void test_text_without_memory(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct rt_buf out = RT_BUF_INIT;
        struct rt_err err = {0};
        rt_alloc_fail_at(n, 1);
        int code = rt_store_ddl("x", &out, &err);
        bool failed = rt_alloc_failed() != 0;
        rt_alloc_fail_at(0, 0);
        rt_buf_deinit(&out);
        assert_int_equal(code, failed ? RT_ENOMEM : 0);
        if (!failed)
            return;
    }
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
        cmocka_unit_test(test_from_nothing_and_again),
        cmocka_unit_test(test_at_the_same_time),
        cmocka_unit_test(test_by_psql),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_half_way),
        cmocka_unit_test(test_view),
        cmocka_unit_test(test_text_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
