/* Reads of the history from a real PostgreSQL: pages, what an answer says about itself, sharing, outages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "pg_server.h"
#include "store/reader.h"
#include "store/schema.h"

#define SCHEMA      "Hist \"ory"
#define QUOTED      "\"Hist \"\"ory\""
#define EPOCH       "abcdefghij.3"
#define DEADLINE_MS 60000

static struct pg_server server;
static PGconn *conn;

struct rig {
    struct rt_loop *loop;
    struct rt_metrics metrics;
    struct rt_history *history;
    bool closed;
};

struct question {
    struct rt_read read; /* first */
    unsigned answers;
    uint64_t took;
};

#define WAIT(rig, condition)                                                                    \
    do {                                                                                        \
        uint64_t wait_until = rt_mono_ms() + DEADLINE_MS;                                       \
        while (!(condition)) {                                                                  \
            rt_loop_turn((rig)->loop, 10);                                                      \
            if (rt_mono_ms() > wait_until)                                                      \
                fail_msg("%s:%d: never: %s (%s)", __FILE__, __LINE__, #condition, health(rig)); \
        }                                                                                       \
    } while (0)

static const char *health(const struct rig *rig)
{
    const char *text = "";
    (void)rt_history_healthy(rig->history, &text);
    return text;
}

static bool healthy(const struct rig *rig)
{
    return rt_history_healthy(rig->history, NULL);
}

static int rig_try(struct rig *rig, const char *url)
{
    memset(rig, 0, sizeof(*rig));
    rt_metrics_init(&rig->metrics);
    assert_int_equal(rt_loop_new(&rig->loop, NULL), 0);
    struct rt_history_options options = {.loop = rig->loop,
                                         .metrics = &rig->metrics,
                                         .url = url,
                                         .schema = SCHEMA,
                                         .topic = "t",
                                         .name = "rtbroker history"};
    return rt_history_new(&options, &rig->history, NULL);
}

static void rig_init(struct rig *rig)
{
    assert_int_equal(rig_try(rig, server.url), 0);
    WAIT(rig, healthy(rig));
}

static void on_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}

static void rig_deinit(struct rig *rig)
{
    rt_history_close(rig->history, on_closed, rig);
    assert_false(rig->closed);
    uint64_t until = rt_mono_ms() + DEADLINE_MS;
    while (!rig->closed && rt_mono_ms() < until)
        rt_loop_turn(rig->loop, 10);
    assert_true(rig->closed);
    rt_history_free(rig->history);
    rt_loop_free(rig->loop);
}

static void on_answer(struct rt_read *read)
{
    struct question *q = (struct question *)read;
    q->answers++;
    q->took = rt_mono_ms() - q->took;
}

static int ask(struct rig *rig, struct question *q, const char *channel, const char *epoch)
{
    q->read.channel_name = rt_str_c(channel);
    snprintf(q->read.epoch, sizeof(q->read.epoch), "%s", epoch);
    q->read.done = on_answer;
    q->answers = 0;
    q->took = rt_mono_ms();
    return rt_history_read(rig->history, &q->read);
}

static void answered(struct rig *rig, struct question *q, const char *channel, const char *epoch)
{
    assert_int_equal(ask(rig, q, channel, epoch), RT_PENDING);
    assert_int_equal(q->answers, 0);
    WAIT(rig, q->answers);
}

static void drop(struct question *q)
{
    for (size_t i = 0; i < q->read.count; i++)
        rt_stored_unref(q->read.messages[i]);
    rt_free(q->read.messages);
    memset(q, 0, sizeof(*q));
}

static void put(const char *epoch, int offset, const char *channel, const char *expression)
{
    (void)pg_server_query(
        conn,
        "INSERT INTO " QUOTED ".message (epoch, \"offset\", time, channel, id, kind, data) "
        "VALUES ('%s', %d, to_timestamp(1795512000 + %d), '%s', gen_random_uuid(), 0, %s)",
        epoch, offset, offset, channel, expression);
}

static void empty(void)
{
    (void)pg_server_query(conn,
                          "TRUNCATE " QUOTED ".message, " QUOTED ".progress, " QUOTED ".purged");
}

static void set_progress(const char *epoch, int next, int purged)
{
    (void)pg_server_query(
        conn,
        "INSERT INTO " QUOTED ".progress VALUES ('t', 3, '%s', %d, %d) ON CONFLICT "
        "(topic, part) DO UPDATE SET epoch = excluded.epoch, next = excluded.next, "
        "purged = excluded.purged",
        epoch, next, purged);
}

/* ---- pages --------------------------------------------------------------------------------------------------- */

static void check_offsets(const struct question *q, const char *expected)
{
    char text[400] = "";
    for (size_t i = 0; i < q->read.count; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu", i ? " " : "",
                 (unsigned long long)q->read.messages[i]->m.offset);
    assert_string_equal(text, expected);
}

static void test_pages(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    for (int i = 1; i <= 20; i++)
        put(EPOCH, i, i % 2 ? "a" : "b", "'1'");
    put("abcdefghij.4", 5, "a", "'2'");
    set_progress(EPOCH, 22, 0);
    static const struct {
        uint64_t since, until;
        uint32_t limit;
        bool reverse;
        const char *offsets;
    } cases[] = {
        {0, 0, 100, false, "1 3 5 7 9 11 13 15 17 19"},
        {0, 0, 3, false, "1 3 5"},
        {5, 0, 2, false, "7 9"},
        {5, 9, 100, false, "7 9"},
        {19, 0, 100, false, ""},
        {UINT64_MAX, 0, 100, false, ""},
        {0, 0, 0, false, ""},
        {0, 0, 3, true, "19 17 15"},
        {15, 0, 2, true, "13 11"},
        {15, 11, 9, true, "13 11"},
        {1, 0, 9, true, ""},
        {UINT64_MAX, UINT64_MAX, 9, true, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct question q = {.read = {.since = cases[i].since,
                                      .until = cases[i].until,
                                      .limit = cases[i].limit,
                                      .reverse = cases[i].reverse}};
        answered(&rig, &q, "a", EPOCH);
        assert_int_equal(q.read.status, 0);
        check_offsets(&q, cases[i].offsets);
        assert_false(q.read.more);
        assert_int_equal(q.read.top.offset, 19);
        assert_string_equal(q.read.top.epoch, EPOCH);
        assert_true(q.read.complete == 21 && q.read.floor == 0);
        drop(&q);
    }
    rig_deinit(&rig);
}

/* Message N of "a" (odd offsets) is of second N, but for a node whose clock is behind by 50 s. */
static void test_by_time(void **state)
{
    static const struct {
        int second;
        uint32_t limit;
        bool reverse, found;
        uint64_t since;
        const char *offsets;
    } cases[] = {
        {-99, 3, false, true, 0, "1 3 5"},   {1, 3, false, true, 0, "1 3 5"},
        {2, 3, false, true, 1, "3 5 7"},     {4, 9, false, true, 3, "5 7 9 301 303"},
        {9, 9, false, true, 7, "9 301 303"}, {10, 9, false, true, 9, "301 303"},
        {253, 9, false, true, 9, "301 303"}, /* 303 says 253, 301 is before it */
        {302, 9, false, false, 303, ""},     {2147483647, 9, false, false, 303, ""},
        {4, 2, true, true, 5, "3 1"},        {1, 2, true, true, 1, ""},
        {302, 2, true, false, 0, "303 301"}, {-99, 2, true, true, 1, ""},
    };
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    for (int i = 1; i <= 10; i++)
        put(EPOCH, i, i % 2 ? "a" : "b", "'1'");
    put(EPOCH, 301, "a", "'1'");
    put(EPOCH, 303, "a", "'1'");
    put("abcdefghij.4", 5, "a", "'2'");
    (void)pg_server_query(conn, "UPDATE " QUOTED ".message SET time = time - interval '50 s' "
                                "WHERE \"offset\" = 303");
    set_progress(EPOCH, 304, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t time = (uint64_t)(1795512000 + (int64_t)cases[i].second) * 1000;
        struct question q = {.read = {.by_time = true,
                                      .time = time,
                                      .since = 4, /* means nothing */
                                      .limit = cases[i].limit,
                                      .reverse = cases[i].reverse}};
        answered(&rig, &q, "a", EPOCH);
        assert_int_equal(q.read.status, 0);
        check_offsets(&q, cases[i].offsets);
        assert_int_equal(q.read.found, cases[i].found);
        assert_int_equal(q.read.since, cases[i].since);
        assert_true(q.read.complete == 303 && q.read.top.offset == 303);
        drop(&q);
    }
    struct question q = {.read = {.by_time = true, .time = UINT64_MAX, .limit = 5}};
    answered(&rig, &q, "never", EPOCH);
    assert_true(q.read.status == 0 && !q.read.found && q.read.since == 0 && q.read.count == 0);
    drop(&q);
    rig_deinit(&rig);
}

/* A node's clock is an hour ahead for a while, or an hour back: offset N is of second N, those from 101 on of a clock that is set back, 201 and 203 of one that is ahead. */
static void test_by_time_wrong_clocks(void **state)
{
    static const struct {
        int second;
        const char *offsets;
    } cases[] = {
        {0, "1 3 5"},
        {4, "5 7 9"},     /* also of that time: nothing before 5, much after it */
        {-3590, "1 3 5"}, /* 101 is the first by time, not by place */
        {-3498, "1 3 5"},
        {10, "105 201 203"},   /* 101 and 103 say that they are older */
        {3700, "201 203 205"}, /* behind which there is an older one */
        {3900, ""},
    };
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    for (int i = 1; i <= 9; i += 2)
        put(EPOCH, i, "a", "'1'");
    for (int i = 101; i <= 105; i += 2)
        put(EPOCH, i, "a", "'1'");
    for (int i = 201; i <= 205; i += 2)
        put(EPOCH, i, "a", "'1'");
    (void)pg_server_query(conn, "UPDATE " QUOTED ".message SET time = time - interval '1 hour' "
                                "WHERE \"offset\" IN (101, 103)");
    (void)pg_server_query(conn, "UPDATE " QUOTED ".message SET time = time + interval '1 hour' "
                                "WHERE \"offset\" IN (201, 203)");
    set_progress(EPOCH, 206, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t time = (uint64_t)(1795512000 + (int64_t)cases[i].second) * 1000;
        struct question q = {.read = {.by_time = true, .time = time, .limit = 3}};
        answered(&rig, &q, "a", EPOCH);
        assert_int_equal(q.read.status, 0);
        check_offsets(&q, cases[i].offsets);
        drop(&q);
    }
    rig_deinit(&rig);
}

static void test_message(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    (void)pg_server_query(
        conn,
        "INSERT INTO " QUOTED ".message VALUES ('" EPOCH "', 7, '2026-11-24T09:25:45.678Z', 'c', "
        "'01020304-0506-0708-090a-0b0c0d0e0f10', 'ev', 0, 1, '[1,{}]', "
        "ARRAY['\\x00ff','']::bytea[], 'pub', 'key', E'a\\nb'),"
        "('" EPOCH
        "', 8, '2026-11-24', 'c', gen_random_uuid(), '', 2, 255, '', NULL, NULL, NULL, NULL)");
    struct question q = {.read = {.limit = 10}};
    answered(&rig, &q, "c", EPOCH);
    assert_int_equal(q.read.count, 2);
    const struct rt_message *m = &q.read.messages[0]->m;
    assert_true(m->offset == 7 && m->time == 1795512345678 && m->kind == RT_KIND_JSON);
    assert_true(m->flags == RT_MESSAGE_ARGS && m->id[0] == 1 && m->id[15] == 16);
    assert_true(rt_str_eq(m->event, RT_STR("ev")) && rt_str_eq(m->data, RT_STR("[1,{}]")));
    assert_int_equal(m->attachment_count, 2);
    assert_true(rt_str_eq(m->attachments[0], RT_STR("\0\xff")) && m->attachments[1].len == 0);
    assert_true(rt_str_eq(m->publisher, RT_STR("pub")) && rt_str_eq(m->key, RT_STR("key")));
    assert_true(rt_str_eq(m->except_in, RT_STR("a\nb")));
    m = &q.read.messages[1]->m;
    assert_true(!m->except_in.ptr);
    assert_true(m->kind == RT_KIND_BYTES && m->data.len == 0);
    assert_int_equal(m->flags, RT_MESSAGE_ARGS | RT_MESSAGE_NOT_SENDER | RT_MESSAGE_COPY);
    assert_true(m->event.ptr && m->event.len == 0 && !m->publisher.ptr && !m->key.ptr);
    drop(&q);
    /* A row that nobody of ours has written is told, never left out. */
    (void)pg_server_query(conn, "UPDATE " QUOTED ".message SET kind = 9 WHERE \"offset\" = 8");
    q.read.limit = 10;
    answered(&rig, &q, "c", EPOCH);
    assert_int_equal(q.read.status, RT_EIO);
    assert_non_null(strstr(q.read.text, EPOCH ":8"));
    assert_non_null(strstr(q.read.text, "a newer version"));
    assert_true(q.read.count == 0 && healthy(&rig));
    drop(&q);
    rig_deinit(&rig);
}

static void test_bytes(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    for (int i = 1; i <= 5; i++)
        put(EPOCH, i, "big", "convert_to(repeat('x', 6000000), 'UTF8')");
    struct question q = {.read = {.limit = 10}};
    answered(&rig, &q, "big", EPOCH);
    check_offsets(&q, "1 2 3"); /* the third crosses the line */
    assert_true(q.read.more);
    drop(&q);
    q.read = (struct rt_read){.limit = 10, .since = 3};
    answered(&rig, &q, "big", EPOCH);
    check_offsets(&q, "4 5");
    assert_false(q.read.more);
    drop(&q);
    q.read = (struct rt_read){.limit = 10, .reverse = true};
    answered(&rig, &q, "big", EPOCH);
    check_offsets(&q, "5 4 3");
    assert_true(q.read.more);
    drop(&q);
    rig_deinit(&rig);
}

/* ---- what an answer says about itself ------------------------------------------------------------------------ */

static void check_state(struct rig *rig, const char *channel, const char *epoch, uint64_t complete,
                        uint64_t floor, uint64_t top)
{
    struct question q = {.read = {.limit = 10}};
    answered(rig, &q, channel, epoch);
    if (q.read.status)
        fail_msg("%s", q.read.text);
    assert_true(q.read.complete == complete);
    assert_true(q.read.floor == floor);
    assert_true(q.read.top.offset == top);
    drop(&q);
}

static void test_state(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    check_state(&rig, "a", EPOCH, 0, 0, 0); /* nothing was ever stored */
    set_progress(EPOCH, 1, 0);
    check_state(&rig, "a", EPOCH, 0, 0, 0);
    put(EPOCH, 5, "a", "'1'");
    set_progress(EPOCH, 9, 4);
    check_state(&rig, "a", EPOCH, 8, 4, 5);
    check_state(&rig, "never", EPOCH, 8, 4, 0);
    /* retention is known by epoch too, the higher one counts */
    (void)pg_server_query(conn, "INSERT INTO " QUOTED ".purged VALUES ('" EPOCH
                                "', 3), ('gone______.3', 77)");
    check_state(&rig, "a", EPOCH, 8, 4, 5);
    check_state(&rig, "a", "gone______.3", UINT64_MAX, 77, 0);
    /* the partition has another epoch now: the old one is complete */
    set_progress("newnewnewn.3", 2, 1);
    check_state(&rig, "a", EPOCH, UINT64_MAX, 3, 5);
    check_state(&rig, "a", "newnewnewn.3", 1, 1, 0);
    /* what was never one */
    check_state(&rig, "a", "newnewnewn.4", 0, 0, 0);
    check_state(&rig, "a", "x", 0, 0, 0);
    check_state(&rig, "a", "\xff'.3", 0, 0, 0);
    check_state(&rig, "a", "a.99999999999999999999", 0, 0, 0);
    struct question q = {.read = {.limit = 1}};
    assert_int_equal(ask(&rig, &q, "a", ""), RT_EINVAL);
    rig_deinit(&rig);
}

/* Rows and progress are of one moment: whoever writes both in one transaction is never seen by half. */
static void test_one_snapshot(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    set_progress(EPOCH, 1, 0);
    PGconn *writer = pg_server_connect(&server);
    for (int i = 1; i <= 150; i++) {
        char sql[400];
        snprintf(sql, sizeof(sql),
                 "WITH p AS (UPDATE " QUOTED ".progress SET next = %d) INSERT INTO " QUOTED
                 ".message (epoch, \"offset\", time, channel, id, kind, data) VALUES ('" EPOCH
                 "', %d, now(), 's', gen_random_uuid(), 0, '1')",
                 i + 1, i);
        assert_int_equal(PQsendQuery(writer, sql), 1);
        struct question q = {.read = {.limit = 1000}};
        answered(&rig, &q, "s", EPOCH);
        assert_int_equal(q.read.complete, q.read.count);
        assert_int_equal(q.read.top.offset, q.read.count);
        drop(&q);
        PGresult *result;
        while ((result = PQgetResult(writer)) != NULL) {
            assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
            PQclear(result);
        }
    }
    PQfinish(writer);
    rig_deinit(&rig);
}

/* ---- sharing and caps ---------------------------------------------------------------------------------------- */

static double value_of(const struct rig *rig, const char *name, const char *labels)
{
    for (struct rt_metric *m = rig->metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && (!labels || strcmp(m->labels, labels) == 0))
            return (double)m->value;
    fail_msg("no metric %s", name);
    return 0;
}

static void test_sharing_and_caps(void **state)
{
    (void)state;
    static struct question same[50], others[RT_HISTORY_JOBS + 2];
    static char names[RT_HISTORY_JOBS + 2][8];
    struct rig rig;
    rig_init(&rig);
    empty();
    put(EPOCH, 1, "s", "'1'");
    /* The thread is held by a lock, so that nothing begins meanwhile. */
    (void)pg_server_query(conn, "BEGIN; LOCK TABLE " QUOTED ".message IN ACCESS EXCLUSIVE MODE");
    struct question first = {.read = {.limit = 10}};
    assert_int_equal(ask(&rig, &first, "first", EPOCH), RT_PENDING);
    WAIT(&rig, strcmp(pg_server_query(
                          conn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                "'rtbroker history' AND wait_event_type = 'Lock'"),
                      "1") == 0);
    for (int i = 0; i < 50; i++) {
        same[i] = (struct question){.read = {.limit = 10}};
        assert_int_equal(ask(&rig, &same[i], "s", EPOCH), RT_PENDING);
    }
    assert_true(value_of(&rig, "store_reads_shared_total", NULL) == 49);
    size_t accepted = 0;
    for (size_t i = 0; i < RT_HISTORY_JOBS + 2; i++) {
        snprintf(names[i], sizeof(names[i]), "c%zu", i);
        others[i] = (struct question){.read = {.limit = 10}};
        int code = ask(&rig, &others[i], names[i], EPOCH);
        assert_true(code == RT_PENDING || (code == RT_EAGAIN && others[i].read.text[0]));
        accepted += code == RT_PENDING;
    }
    assert_int_equal(accepted, RT_HISTORY_JOBS - 1);
    (void)pg_server_query(conn, "COMMIT");
    for (int i = 0; i < 50; i++) {
        WAIT(&rig, same[i].answers);
        assert_int_equal(same[i].read.status, 0);
        check_offsets(&same[i], "1");
        assert_true(same[i].read.messages[0] == same[0].read.messages[0]);
    }
    for (int i = 0; i < 50; i++)
        drop(&same[i]);
    WAIT(&rig, first.answers);
    for (size_t i = 0; i < accepted; i++)
        WAIT(&rig, others[i].answers);
    rig_deinit(&rig);
}

/* ---- outages ------------------------------------------------------------------------------------------------- */

static void test_server_stops_and_starts(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    put(EPOCH, 1, "a", "'1'");
    PQfinish(conn);
    pg_server_stop(&server, SIGQUIT);
    struct question q = {.read = {.limit = 10}};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, RT_EIO);
    assert_true(q.read.text[0] != '\0');
    WAIT(&rig, !healthy(&rig));
    for (int i = 0; i < 3; i++) {
        q.read = (struct rt_read){.limit = 10};
        answered(&rig, &q, "a", EPOCH);
        assert_int_equal(q.read.status, RT_EIO);
        assert_true(q.took < 20000); /* within a second on a quiet machine */
    }
    assert_true(pg_server_start(&server));
    conn = pg_server_connect(&server);
    WAIT(&rig, healthy(&rig));
    assert_string_equal(health(&rig), "");
    q.read = (struct rt_read){.limit = 10};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, 0);
    drop(&q);
    rig_deinit(&rig);
}

#define MINE " FROM pg_stat_activity WHERE application_name = 'rtbroker history'"

/* Between two reads, while the thread has no reason to look at its connection. */
static void test_idle_connection_ends(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    put(EPOCH, 1, "a", "'1'");
    WAIT(&rig, healthy(&rig));
    assert_string_equal(pg_server_query(conn, "SELECT pg_terminate_backend(pid)" MINE), "t");
    WAIT(&rig, strcmp(pg_server_query(conn, "SELECT count(*)" MINE), "0") == 0);
    struct question q = {.read = {.limit = 10}};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, 0);
    check_offsets(&q, "1");
    drop(&q);
    PQfinish(conn);
    pg_server_stop(&server, SIGQUIT);
    assert_true(pg_server_start(&server));
    conn = pg_server_connect(&server);
    q.read = (struct rt_read){.limit = 10};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, 0);
    drop(&q);
    rig_deinit(&rig);
}

static void test_lock_and_frozen(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    empty();
    (void)pg_server_query(conn, "BEGIN; LOCK TABLE " QUOTED ".message IN ACCESS EXCLUSIVE MODE");
    struct question q = {.read = {.limit = 10}};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, RT_EIO);
    (void)pg_server_query(conn, "COMMIT");
    q.read = (struct rt_read){.limit = 10};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, 0);
    drop(&q);
    int pid = (int)strtol(
        pg_server_query(
            conn, "SELECT pid FROM pg_stat_activity WHERE application_name = 'rtbroker history'"),
        NULL, 10);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    q.read = (struct rt_read){.limit = 10};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, RT_EIO);
    /* Another connection takes over, though the first one's backend is frozen still. */
    WAIT(&rig, healthy(&rig));
    q.read = (struct rt_read){.limit = 10};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, 0);
    drop(&q);
    assert_int_equal(kill(pid, SIGCONT), 0);
    rig_deinit(&rig);
}

static void test_never_there(void **state)
{
    (void)state;
    struct rig rig;
    assert_int_equal(rig_try(&rig, "host=/nowhere"), 0);
    struct question q = {.read = {.limit = 10}};
    answered(&rig, &q, "a", EPOCH);
    assert_int_equal(q.read.status, RT_EIO);
    WAIT(&rig, strstr(health(&rig), "/nowhere"));
    assert_false(healthy(&rig));
    rig_deinit(&rig);
}

static void test_close_with_reads(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    (void)pg_server_query(conn, "BEGIN; LOCK TABLE " QUOTED ".message IN ACCESS EXCLUSIVE MODE");
    struct question q[3] = {
        {.read = {.limit = 10}}, {.read = {.limit = 10}}, {.read = {.limit = 9}}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&rig, &q[i], "a", EPOCH), RT_PENDING);
    rig_deinit(&rig);
    for (int i = 0; i < 3; i++)
        assert_true(q[i].answers == 1 && q[i].read.status == RT_ECLOSED);
    (void)pg_server_query(conn, "COMMIT");
}

static void test_without_memory(void **state)
{
    (void)state;
    for (unsigned long n = 1; n < 60; n++) {
        struct rig rig;
        rig.closed = false;
        memset(&rig, 0, sizeof(rig));
        rt_metrics_init(&rig.metrics);
        assert_int_equal(rt_loop_new(&rig.loop, NULL), 0);
        struct rt_history_options options = {
            .loop = rig.loop, .url = "host=/nowhere", .schema = SCHEMA, .topic = "t", .name = "x"};
        struct rt_err err = {0};
        rt_alloc_fail_at(n, 0);
        int code = rt_history_new(&options, &rig.history, &err);
        bool failed = rt_alloc_failed() != 0;
        rt_alloc_fail_at(0, 0);
        assert_true(code == 0 || (code == RT_ENOMEM && failed));
        if (code == 0)
            rig_deinit(&rig);
        else
            rt_loop_turn(rig.loop, 0), rt_loop_free(rig.loop);
        if (code == 0 && !failed)
            return;
    }
    fail_msg("no end");
}

static int setup(void **state)
{
    (void)state;
    if (!pg_server_start(&server))
        return -1;
    struct rt_pg *pg = NULL;
    struct rt_pg_options options = {.url = server.url};
    if (rt_pg_connect(&options, &pg, NULL, NULL) != 0 || rt_schema_migrate(pg, SCHEMA, NULL) != 0)
        return -1;
    rt_pg_free(pg);
    conn = pg_server_connect(&server);
    return 0;
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
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_by_time),
        cmocka_unit_test(test_by_time_wrong_clocks),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_one_snapshot),
        cmocka_unit_test(test_sharing_and_caps),
        cmocka_unit_test(test_server_stops_and_starts),
        cmocka_unit_test(test_idle_connection_ends),
        cmocka_unit_test(test_lock_and_frozen),
        cmocka_unit_test(test_never_there),
        cmocka_unit_test(test_close_with_reads),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
