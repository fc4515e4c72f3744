#include "store/upkeep.h"

#include <stdio.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/link.h"
#include "store/schema.h"
#include "worker/queue.h"

#define DAY_MS       86400000
#define STATEMENT_MS 120000u
#define ANSWER_MS    130000u
#define LOCK_MS      2000u
#define DAYS_A_ROUND 200 /* of rows in the default partition */
#define CLOCK_SLACK \
    3600000u /* ms by which clocks may be wrong before retention takes what it should not */
#define APART_MS 5000u

/* ---- statements ---------------------------------------------------------------------------------------------- */

/* A day as YYYYMMDD, and its first moment for SQL. */
struct day {
    char name[16];
    char begins[32];
};

static struct day day_of(int64_t day)
{
    struct day d;
    struct tm tm;
    time_t seconds = (time_t)(day * (DAY_MS / 1000));
    gmtime_r(&seconds, &tm);
    (void)strftime(d.name, sizeof(d.name), "%Y%m%d", &tm);
    (void)strftime(d.begins, sizeof(d.begins), "%Y-%m-%d 00:00:00+00", &tm);
    return d;
}

/* Replaces {day}, {from} and {to} of `text`, then what rt_schema_sql() does. NULL: out of memory. */
static const char *statement(struct rt_buf *out, const char *text, const char *schema, int64_t day)
{
    struct day d = day_of(day), next = day_of(day + 1);
    const struct {
        const char *token, *value;
    } tokens[] = {{"{day}", d.name}, {"{from}", d.begins}, {"{to}", next.begins}};
    struct rt_buf dated = RT_BUF_INIT;
    while (*text) {
        size_t plain = strcspn(text, "{");
        rt_buf_add(&dated, text, plain);
        text += plain;
        size_t i = 0;
        while (i < 3 && strncmp(text, tokens[i].token, strlen(tokens[i].token)) != 0)
            i++;
        if (i < 3) {
            rt_buf_add_c(&dated, tokens[i].value);
            text += strlen(tokens[i].token);
        } else if (*text) {
            rt_buf_add_byte(&dated, (uint8_t)*text++);
        }
    }
    const char *whole = rt_buf_cstr(&dated);
    rt_buf_clear(out);
    if (whole)
        rt_schema_sql(out, whole, schema);
    rt_buf_deinit(&dated);
    return whole ? rt_buf_cstr(out) : NULL;
}

struct round {
    struct rt_pg *pg;
    const char *schema;
    struct rt_buf sql;
};

static int query(struct round *r, const char *text, int64_t day, PGresult **ret_rows,
                 struct rt_err *err)
{
    const char *sql = statement(&r->sql, text, r->schema, day);
    return sql ? rt_pg_exec(r->pg, sql, NULL, ANSWER_MS, ret_rows, err) : rt_err_nomem(err);
}

/* Statements as one transaction. */
static int transaction(struct round *r, const char *text, int64_t day, struct rt_err *err)
{
    const char *sql = statement(&r->sql, text, r->schema, day);
    if (!sql)
        return rt_err_nomem(err);
    /* Sent as one, they are one transaction by themselves: a failure undoes all. */
    return rt_pg_run(r->pg, sql, ANSWER_MS, err);
}

/* Marks of what goes: `gone` is a query of epoch and highest offset. */
#define MARKS                                                                                 \
    " kept AS (INSERT INTO {schema}.purged AS old (epoch, upto) SELECT epoch, upto FROM gone" \
    " ON CONFLICT (epoch) DO UPDATE SET upto = greatest(old.upto, excluded.upto))"            \
    " UPDATE {schema}.progress p SET purged = greatest(p.purged, gone.upto) FROM gone"        \
    " WHERE p.epoch = gone.epoch"

static const char MAKE[] =
    "CREATE TABLE {schema}.message_{day} (LIKE {schema}.message INCLUDING DEFAULTS INCLUDING STORAGE);"
    "ALTER TABLE {schema}.message ATTACH PARTITION {schema}.message_{day}"
    " FOR VALUES FROM ('{from}') TO ('{to}')";

static const char MOVE[] =
    "LOCK TABLE {schema}.message IN ACCESS EXCLUSIVE MODE;"
    "CREATE TABLE {schema}.message_{day} (LIKE {schema}.message INCLUDING DEFAULTS INCLUDING STORAGE);"
    "WITH moved AS (DELETE FROM {schema}.message_default WHERE time >= '{from}' AND time < '{to}'"
    " RETURNING *) INSERT INTO {schema}.message_{day} SELECT * FROM moved;"
    "ALTER TABLE {schema}.message ATTACH PARTITION {schema}.message_{day}"
    " FOR VALUES FROM ('{from}') TO ('{to}')";

/* Highest offsets by a walk over the primary key from epoch to epoch. */
static const char DROP[] =
    "LOCK TABLE {schema}.message IN ACCESS EXCLUSIVE MODE;"
    "WITH RECURSIVE walk AS ((SELECT epoch FROM {schema}.message_{day} ORDER BY epoch LIMIT 1)"
    " UNION ALL SELECT (SELECT m.epoch FROM {schema}.message_{day} m WHERE m.epoch > walk.epoch"
    " ORDER BY m.epoch LIMIT 1) FROM walk WHERE walk.epoch IS NOT NULL),"
    " gone AS MATERIALIZED (SELECT epoch, (SELECT m.\"offset\" FROM {schema}.message_{day} m"
    " WHERE m.epoch = walk.epoch ORDER BY m.\"offset\" DESC LIMIT 1) AS upto"
    " FROM walk WHERE epoch IS NOT NULL)," MARKS ";"
    "ALTER TABLE {schema}.message DETACH PARTITION {schema}.message_{day};"
    "DROP TABLE {schema}.message_{day}";

static const char EXPIRE[] =
    "WITH deleted AS (DELETE FROM {schema}.message_default WHERE time < '{from}'"
    " RETURNING epoch, \"offset\"), gone AS MATERIALIZED (SELECT epoch, max(\"offset\") AS upto"
    " FROM deleted GROUP BY epoch)," MARKS ";"
    "DELETE FROM {schema}.repeat WHERE time < '{from}'";

static const char TRY_LOCK[] =
    "SELECT pg_try_advisory_lock(hashtextextended('rtbroker upkeep ' || {name}, 0))";
static const char UNLOCK[] =
    "SELECT pg_advisory_unlock(hashtextextended('rtbroker upkeep ' || {name}, 0))";

/* Days since 1970 of the partitions that we have made; others are not ours. */
static const char PARTITIONS[] =
    "SELECT (to_date(substr(c.relname, 9), 'YYYYMMDD') - date '1970-01-01')::int8"
    " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = (quote_ident({name}) || '.message')::regclass"
    " AND c.relname ~ '^message_[0-9]{8}$' ORDER BY 1";

static const char STRAYS[] =
    "SELECT floor(extract(epoch FROM time) / 86400)::int8 AS day FROM {schema}.message_default"
    " WHERE isfinite(time) GROUP BY 1 ORDER BY 1";

/* ---- a round ------------------------------------------------------------------------------------------------- */

static bool has_day(const PGresult *days, int64_t day)
{
    for (int i = 0; i < PQntuples(days); i++)
        if (rt_pg_int(days, i, 0) == day)
            return true;
    return false;
}

static int make_ahead(struct round *r, int64_t today, const PGresult *partitions,
                      const PGresult *strays, struct rt_store_upkeep_result *result,
                      struct rt_err *err)
{
    for (int64_t day = today - 1; day <= today + RT_STORE_UPKEEP_AHEAD; day++) {
        if (has_day(partitions, day) || has_day(strays, day))
            continue;
        int code = transaction(r, MAKE, day, err);
        if (code < 0)
            return code;
        result->made++;
    }
    return RT_OK;
}

static int move_strays(struct round *r, int64_t from, int64_t to, const PGresult *partitions,
                       const PGresult *strays, struct rt_store_upkeep_result *result,
                       struct rt_err *err)
{
    int moved = 0;
    for (int i = 0; i < PQntuples(strays) && moved < DAYS_A_ROUND; i++) {
        int64_t day = rt_pg_int(strays, i, 0);
        if (day < from || day > to || has_day(partitions, day))
            continue;
        int code = transaction(r, MOVE, day, err);
        if (code < 0)
            return code;
        moved++;
        result->made++;
    }
    return RT_OK;
}

static int expire(struct round *r, int64_t first_kept, const PGresult *partitions,
                  struct rt_store_upkeep_result *result, struct rt_err *err)
{
    int code = transaction(r, EXPIRE, first_kept, err);
    for (int i = 0; i < PQntuples(partitions) && code == RT_OK; i++) {
        int64_t day = rt_pg_int(partitions, i, 0);
        if (day >= first_kept)
            break;
        code = transaction(r, DROP, day, err);
        result->dropped += code == RT_OK;
    }
    return code;
}

/* Room for what comes first; then what is over; moving, which needs the strongest lock, last. */
static int run_locked(struct round *r, uint64_t now, uint64_t retention,
                      struct rt_store_upkeep_result *result, struct rt_err *err)
{
    int64_t today = (int64_t)(now / DAY_MS);
    bool forever = retention == 0 || retention >= now;
    int64_t first_kept = forever ? today - RT_STORE_UPKEEP_PAST
                                 : ((int64_t)(now - retention) - (int64_t)CLOCK_SLACK) / DAY_MS;
    PGresult *partitions = NULL, *strays = NULL;
    int code = query(r, PARTITIONS, today, &partitions, err);
    if (code == RT_OK)
        code = query(r, STRAYS, today, &strays, err);
    if (code == RT_OK)
        code = make_ahead(r, today, partitions, strays, result, err);
    if (code == RT_OK && !forever)
        code = expire(r, first_kept, partitions, result, err);
    if (code == RT_OK)
        code = move_strays(r, first_kept > 0 ? first_kept : 0, today + RT_STORE_UPKEEP_AHEAD,
                           partitions, strays, result, err);
    PQclear(partitions);
    PQclear(strays);
    return code;
}

int rt_store_upkeep_run(struct rt_pg *pg, const char *schema, uint64_t now, uint64_t retention,
                        struct rt_store_upkeep_result *result, struct rt_err *err)
{
    struct round r = {.pg = pg, .schema = schema};
    *result = (struct rt_store_upkeep_result){0};
    PGresult *locked = NULL;
    int code = query(&r, TRY_LOCK, 0, &locked, err);
    if (code == RT_OK && !rt_pg_int(locked, 0, 0))
        result->elsewhere = true;
    else if (code == RT_OK)
        code = run_locked(&r, now, retention, result, err);
    if (locked && !result->elsewhere && rt_pg_usable(pg)) {
        enum rt_pg_failure failure = pg->failure;
        (void)query(&r, UNLOCK, 0, NULL, NULL);
        pg->failure = failure;
    }
    PQclear(locked);
    rt_buf_deinit(&r.sql);
    return code;
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

struct rt_store_upkeep {
    struct rt_loop *loop;
    struct rt_waker *waker; /* the thread has ended */
    struct rt_queue *pause; /* never has anything: its end is the thread's */
    struct rt_thread *thread;
    char *url, *schema, *name;
    uint64_t retention;
    _Atomic bool stop;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct rt_link connection;
    _Atomic uint64_t made, dropped, failures;
    struct rt_metric made_metric, dropped_metric, failed_metric;
};

int rt_store_upkeep_now(struct rt_pg *pg, uint64_t *ret_now, struct rt_err *err)
{
    PGresult *rows = NULL;
    int code = rt_pg_exec(pg, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8", NULL,
                          ANSWER_MS, &rows, err);
    uint64_t own = rt_wall_ms(), server = code == RT_OK ? (uint64_t)rt_pg_int(rows, 0, 0) : own;
    PQclear(rows);
    if (own > server + APART_MS || server > own + APART_MS)
        rt_log(RT_LOG_WARN, "store",
               "the clocks of this node and of PostgreSQL are apart: the earlier one says what the "
               "retention takes",
               rt_kv_i64("node_ahead_ms", (int64_t)(own - server)));
    *ret_now = own < server ? own : server;
    return code;
}

/* ms until the next look. */
static uint64_t look_after(struct rt_store_upkeep *u)
{
    if (!rt_link_up(&u->connection, NULL, NULL))
        return rt_link_wait(&u->connection) + 1;
    struct rt_store_upkeep_result result = {0};
    struct rt_err err = {0};
    uint64_t now;
    int code = rt_store_upkeep_now(u->connection.pg, &now, &err);
    if (code == RT_OK)
        code = rt_store_upkeep_run(u->connection.pg, u->schema, now, u->retention, &result, &err);
    u->made += result.made;
    u->dropped += result.dropped;
    if (result.made || result.dropped)
        rt_log(RT_LOG_INFO, "store", "partitions", rt_kv_u64("made", result.made),
               rt_kv_u64("dropped", result.dropped));
    if (code < 0 && code != RT_ECLOSED) {
        u->failures++;
        (void)rt_err_wrap(&err, "upkeep of partitions");
    }
    rt_link_report(&u->connection, code, &err);
    /* A lock that was not to be had, a server that goes: sooner. */
    bool again = code < 0 && u->connection.pg && u->connection.pg->failure == RT_PG_OUTAGE;
    return again || !u->connection.pg ? RT_STORE_UPKEEP_EVERY_MS / 20 : RT_STORE_UPKEEP_EVERY_MS;
}

static void run(void *arg)
{
    struct rt_store_upkeep *u = arg;
    struct rt_list none;
    rt_list_init(&none);
    int64_t wait = 0;
    while (rt_queue_take(u->pause, &none, wait))
        wait = (int64_t)look_after(u);
    rt_pg_free(u->connection.pg);
    u->connection.pg = NULL;
    rt_waker_wake(u->waker);
}

static void on_ended(void *arg)
{
    struct rt_store_upkeep *u = arg;
    rt_thread_join(u->thread);
    u->thread = NULL;
    rt_waker_close(u->waker);
    u->waker = NULL;
    u->closed(u->closed_arg);
}

static double read_counter(void *arg)
{
    return (double)*(_Atomic uint64_t *)arg;
}

static void init_metrics(struct rt_store_upkeep *u, struct rt_metrics *metrics)
{
    struct rt_metric *const all[] = {&u->made_metric, &u->dropped_metric, &u->failed_metric};
    static const char *const names[] = {"store_partitions_made_total",
                                        "store_partitions_dropped_total",
                                        "store_upkeep_failures_total"};
    static const char *const help[] = {"Daily partitions of the history that this node has made.",
                                       "Daily partitions that this node has dropped (retention).",
                                       "Rounds of looking after the partitions that failed."};
    _Atomic uint64_t *const counters[] = {&u->made, &u->dropped, &u->failures};
    for (int i = 0; i < 3; i++) {
        *all[i] = (struct rt_metric){.name = names[i],
                                     .help = help[i],
                                     .type = RT_COUNTER,
                                     .read = read_counter,
                                     .arg = (void *)counters[i]};
        if (metrics)
            rt_metrics_register(metrics, all[i]);
    }
}

static int start(struct rt_store_upkeep *u, struct rt_err *err)
{
    int code = rt_waker_new(u->loop, on_ended, u, &u->waker);
    if (code == RT_OK)
        code = rt_queue_new(1, 1, &u->pause);
    if (code < 0)
        return rt_err_set(err, code, "upkeep: %s", rt_err_name(code));
    return rt_thread_start("upkeep", run, u, &u->thread, err);
}

int rt_store_upkeep_new(const struct rt_store_upkeep_options *options,
                        struct rt_store_upkeep **ret_upkeep, struct rt_err *err)
{
    struct rt_store_upkeep *u = rt_calloc(1, sizeof(*u));
    if (!u)
        return rt_err_nomem(err);
    u->loop = options->loop;
    u->retention = options->retention;
    u->url = rt_strdup(options->url ? options->url : "");
    u->schema = rt_strdup(options->schema);
    u->name = rt_strdup(options->name);
    struct rt_pg_options pg = {.url = u->url,
                               .name = u->name,
                               .statement_timeout = STATEMENT_MS,
                               .lock_timeout = LOCK_MS,
                               .stop = &u->stop};
    rt_link_init(&u->connection, &pg, u->schema);
    int code = u->url && u->schema && u->name ? start(u, err) : rt_err_nomem(err);
    if (code < 0) {
        rt_store_upkeep_free(u);
        return code;
    }
    init_metrics(u, options->metrics);
    *ret_upkeep = u;
    return RT_OK;
}

void rt_store_upkeep_close(struct rt_store_upkeep *u, void (*closed)(void *arg), void *arg)
{
    if (u->closing)
        return;
    u->closing = true;
    u->closed = closed;
    u->closed_arg = arg;
    u->stop = true;
    rt_queue_close(u->pause);
}

void rt_store_upkeep_free(struct rt_store_upkeep *u)
{
    if (!u)
        return;
    if (u->waker)
        rt_waker_close(u->waker);
    if (u->pause)
        rt_queue_free(u->pause);
    rt_link_deinit(&u->connection);
    rt_free(u->url);
    rt_free(u->schema);
    rt_free(u->name);
    rt_free(u);
}
