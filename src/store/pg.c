#include "store/pg.h"

#include <errno.h>
#include <poll.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#define SLICE_MS 50 /* how long a stop may go unnoticed */

/* ---- kinds of failures --------------------------------------------------------------------------------------- */

enum rt_pg_failure rt_pg_classify(const char *sqlstate)
{
    static const char *const data[] = {"22", "23", "54", NULL};
    static const char *const outage[] = {"08", "40", "53", "57", "58", "25006", "55P03", NULL};
    if (!sqlstate || sqlstate[0] == '\0')
        return RT_PG_OUTAGE;
    for (int i = 0; data[i]; i++)
        if (strncmp(sqlstate, data[i], strlen(data[i])) == 0)
            return RT_PG_DATA;
    for (int i = 0; outage[i]; i++)
        if (strncmp(sqlstate, outage[i], strlen(outage[i])) == 0)
            return RT_PG_OUTAGE;
    return RT_PG_PROGRAM;
}

static void succeeded(struct rt_pg *pg)
{
    pg->failure = RT_PG_NONE;
    pg->sqlstate[0] = '\0';
}

static int failed(struct rt_pg *pg, enum rt_pg_failure failure, int code)
{
    pg->failure = failure;
    pg->sqlstate[0] = '\0';
    return code;
}

/* libpq's text of a connection: a line per host tried, each followed by hints that begin with a tab. */
static void add_lines(struct rt_buf *out, const char *text)
{
    struct rt_str rest = rt_str_c(text);
    while (rest.len > 0) {
        struct rt_str line = rt_str_trim(rt_str_split(rest, '\n', &rest));
        bool hint = rest.len > 0 && rest.ptr[0] == '\t';
        if (line.len > 0) {
            if (out->len > 0)
                rt_buf_add_c(out, "; ");
            rt_buf_add_str(out, line);
        }
        if (hint)
            (void)rt_str_split(rest, '\n', &rest);
    }
}

static int connection_error(const PGconn *conn, const char *what, struct rt_err *err)
{
    struct rt_buf lines = RT_BUF_INIT;
    add_lines(&lines, PQerrorMessage(conn));
    struct rt_str text = lines.len > 0 ? rt_buf_str(&lines) : RT_STR("the connection is gone");
    int code = rt_err_set(err, RT_EIO, "%s%.*s", what, RT_STR_ARG(text));
    rt_buf_deinit(&lines);
    return code;
}

int rt_pg_fail(struct rt_pg *pg, const PGresult *result, struct rt_err *err)
{
    const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    if (!sqlstate) {
        /* Not of the server: no connection, no memory in libpq, a state of the protocol that nobody expects. */
        pg->broken = true;
        failed(pg, RT_PG_OUTAGE, RT_EIO);
        return connection_error(pg->conn, "", err);
    }
    pg->failure = rt_pg_classify(sqlstate);
    memset(pg->sqlstate, 0, sizeof(pg->sqlstate));
    memcpy(pg->sqlstate, sqlstate, strnlen(sqlstate, sizeof(pg->sqlstate) - 1));
    if (PQstatus(pg->conn) != CONNECTION_OK)
        pg->broken = true;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    return rt_err_set(err, RT_EIO, "%s (SQLSTATE %s)", text ? text : "no message", pg->sqlstate);
}

bool rt_pg_usable(const struct rt_pg *pg)
{
    return pg && !pg->broken && PQstatus(pg->conn) == CONNECTION_OK;
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static bool stopped(const _Atomic bool *stop)
{
    return stop && *stop;
}

/* Until the socket is ready for `events`, an error included. RT_EAGAIN: time is over. RT_ECLOSED. */
static int wait_socket(const PGconn *conn, short events, uint64_t until, const _Atomic bool *stop)
{
    for (;;) {
        if (stopped(stop))
            return RT_ECLOSED;
        uint64_t now = rt_mono_ms();
        if (now >= until)
            return RT_EAGAIN;
        uint64_t left = until - now;
        struct pollfd fd = {.fd = PQsocket(conn), .events = events};
        int ready = poll(&fd, 1, left < SLICE_MS ? (int)left : SLICE_MS);
        if (ready > 0 || (ready < 0 && errno != EINTR))
            return RT_OK;
    }
}

static int no_answer(struct rt_pg *pg, int code, uint32_t timeout, struct rt_err *err)
{
    pg->broken = true; /* the answer may still come, and nobody could tell whose it is */
    pg->silent = true;
    failed(pg, RT_PG_OUTAGE, code);
    if (code == RT_ECLOSED)
        return rt_err_set(err, RT_ECLOSED, "told to stop");
    return rt_err_set(err, RT_EIO, "PostgreSQL has not answered within %u ms", timeout);
}

int rt_pg_wait(struct rt_pg *pg, uint32_t timeout, struct rt_err *err)
{
    uint64_t until = rt_mono_ms() + timeout;
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent < 0 || !PQconsumeInput(pg->conn))
            return rt_pg_fail(pg, NULL, err);
        /* What came in may have made room for what goes out. */
        if (unsent > 0 && (unsent = PQflush(pg->conn)) < 0)
            return rt_pg_fail(pg, NULL, err);
        if (!PQisBusy(pg->conn))
            return RT_OK;
        short events = unsent > 0 ? POLLIN | POLLOUT : POLLIN;
        int code = wait_socket(pg->conn, events, until, pg->stop);
        if (code < 0)
            return no_answer(pg, code, timeout, err);
    }
}

/* ---- connecting ---------------------------------------------------------------------------------------------- */

/* The words of libpq about a bad URL quote it, and with it perhaps a password. Only names of parameters are shown. */
static int url_error(const char *text, struct rt_err *err)
{
    static const char *const named[] = {
        "invalid URI query parameter:", "invalid connection option \"", NULL};
    struct rt_str line = rt_str_trim(rt_str_c(text));
    for (int i = 0; named[i]; i++)
        if (rt_str_starts(line, rt_str_c(named[i])) && line.len < 120)
            return rt_err_set(err, RT_EINVAL, "postgres.url: %.*s", RT_STR_ARG(line));
    struct rt_str head = rt_str_split(line, '"', &line);
    return rt_err_set(err, RT_EINVAL, "postgres.url: %.*s...; it is a URI or key=value pairs",
                      RT_STR_ARG(head));
}

/* As PQconnectdbParams() does it: what is neither a URI nor has a "=" is a database's name. */
static bool is_conninfo(const char *url)
{
    return strchr(url, '=') || strncmp(url, "postgresql://", 13) == 0 ||
           strncmp(url, "postgres://", 11) == 0;
}

int rt_pg_check_url(const char *url, struct rt_err *err)
{
    if (!url || !is_conninfo(url))
        return RT_OK;
    char *text = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &text);
    int code = options ? RT_OK : text ? url_error(text, err) : rt_err_nomem(err);
    PQconninfoFree(options);
    PQfreemem(text);
    return code;
}

static PGconn *start(const struct rt_pg_options *options)
{
    /* What stands before dbname is overridden by it, what stands behind overrides it. */
    const char *const names[] = {
        "keepalives",       "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "fallback_application_name",
        "dbname",           "client_encoding",  NULL};
    const char *const values[] = {"1",          "10",   "5",
                                  "3",          "9000", options->name ? options->name : "rtbroker",
                                  options->url, "UTF8", NULL};
    return PQconnectStartParams(names, values, 1);
}

static uint64_t count_hosts(const char *list)
{
    uint64_t count = 1;
    for (const char *p = list; p && *p; p++)
        count += *p == ',';
    return count;
}

/* What the URL and PG* say, per host, times the hosts. PQconnectPoll() leaves this to us. */
static uint64_t connect_timeout(PGconn *conn)
{
    uint64_t timeout = RT_PG_CONNECT_TIMEOUT;
    uint64_t hosts = 1;
    PQconninfoOption *options = PQconninfo(conn);
    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        uint64_t value;
        bool is_hosts = strcmp(o->keyword, "host") == 0 || strcmp(o->keyword, "hostaddr") == 0;
        if (is_hosts && o->val && count_hosts(o->val) > hosts)
            hosts = count_hosts(o->val);
        if (strcmp(o->keyword, "connect_timeout") == 0 && o->val &&
            rt_str_to_u64(rt_str_c(o->val), &value) == 0 && value > 0 && value < 3600)
            timeout = (value < 2 ? 2 : value) * 1000; /* less than 2 is 2 for libpq */
    }
    PQconninfoFree(options);
    return timeout * hosts;
}

static int finish_connecting(struct rt_pg *pg, struct rt_err *err)
{
    uint64_t timeout = connect_timeout(pg->conn);
    uint64_t until = rt_mono_ms() + timeout;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED)
            return connection_error(pg->conn, "", err);
        short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        int code = wait_socket(pg->conn, events, until, pg->stop);
        if (code == RT_ECLOSED)
            return rt_err_set(err, code, "told to stop");
        if (code < 0)
            return rt_err_set(err, RT_EIO, "no connection within %llu ms",
                              (unsigned long long)timeout);
        status = PQconnectPoll(pg->conn);
    }
    if (PQsetnonblocking(pg->conn, 1) != 0)
        return connection_error(pg->conn, "", err);
    return RT_OK;
}

static int set_timeouts(struct rt_pg *pg, const struct rt_pg_options *options, struct rt_err *err)
{
    char sql[120];
    int len = 0;
    if (options->statement_timeout > 0)
        len = snprintf(sql, sizeof(sql), "SET statement_timeout = %u;", options->statement_timeout);
    if (options->lock_timeout > 0)
        len += snprintf(sql + len, sizeof(sql) - (size_t)len, "SET lock_timeout = %u;",
                        options->lock_timeout);
    return len > 0 ? rt_pg_run(pg, sql, RT_PG_CONNECT_TIMEOUT, err) : RT_OK;
}

static void on_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    rt_log(RT_LOG_DEBUG, "store", "PostgreSQL says", rt_kv_c("text", text ? text : ""));
}

static int connect_with(struct rt_pg *pg, const struct rt_pg_options *options, struct rt_err *err)
{
    int code = rt_pg_check_url(options->url, err);
    if (code < 0) {
        pg->failure = RT_PG_PROGRAM;
        return code;
    }
    pg->failure = RT_PG_OUTAGE;
    pg->conn = start(options);
    if (!pg->conn)
        return rt_err_nomem(err);
    if (PQstatus(pg->conn) == CONNECTION_BAD)
        return connection_error(pg->conn, "", err);
    PQsetNoticeReceiver(pg->conn, on_notice, NULL);
    code = finish_connecting(pg, err);
    return code < 0 ? code : set_timeouts(pg, options, err);
}

int rt_pg_connect(const struct rt_pg_options *options, struct rt_pg **ret_pg,
                  enum rt_pg_failure *ret_failure, struct rt_err *err)
{
    if (ret_failure)
        *ret_failure = RT_PG_OUTAGE;
    struct rt_pg *pg = rt_calloc(1, sizeof(*pg));
    if (!pg)
        return rt_err_nomem(err);
    pg->stop = options->stop;
    int code = connect_with(pg, options, err);
    if (ret_failure)
        *ret_failure = pg->failure;
    if (code < 0) {
        rt_pg_free(pg);
        (void)rt_err_wrap(err, "cannot connect to PostgreSQL");
        return code;
    }
    *ret_pg = pg;
    return RT_OK;
}

void rt_pg_free(struct rt_pg *pg)
{
    if (!pg)
        return;
    PQfinish(pg->conn);
    rt_free(pg);
}

/* ---- statements ---------------------------------------------------------------------------------------------- */

/* All results of what was sent: the first failure, or else the last one; NULL: there was none. */
static int take_results(struct rt_pg *pg, uint32_t timeout, PGresult **ret_kept, struct rt_err *err)
{
    PGresult *kept = NULL;
    for (;;) {
        int code = rt_pg_wait(pg, timeout, err);
        if (code < 0) {
            PQclear(kept);
            return code;
        }
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            break;
        if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
            PQclear(result);
            continue;
        }
        PQclear(kept);
        kept = result;
    }
    *ret_kept = kept;
    return RT_OK;
}

static int take_result(struct rt_pg *pg, uint32_t timeout, PGresult **ret_result,
                       struct rt_err *err)
{
    PGresult *result = NULL;
    int code = take_results(pg, timeout, &result, err);
    if (code < 0)
        return code;
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY) {
        code = rt_pg_fail(pg, result, err);
        PQclear(result);
        return code;
    }
    succeeded(pg);
    if (ret_result)
        *ret_result = result;
    else
        PQclear(result);
    return RT_OK;
}

int rt_pg_exec(struct rt_pg *pg, const char *sql, const struct rt_pg_params *params,
               uint32_t timeout, PGresult **ret_result, struct rt_err *err)
{
    static const struct rt_pg_params none;
    const struct rt_pg_params *p = params ? params : &none;
    if (!PQsendQueryParams(pg->conn, sql, p->count, p->types, p->values, p->lengths, p->formats, 1))
        return rt_pg_fail(pg, NULL, err);
    return take_result(pg, timeout, ret_result, err);
}

int rt_pg_exec_prepared(struct rt_pg *pg, const char *name, const struct rt_pg_params *params,
                        uint32_t timeout, PGresult **ret_result, struct rt_err *err)
{
    static const struct rt_pg_params none;
    const struct rt_pg_params *p = params ? params : &none;
    if (!PQsendQueryPrepared(pg->conn, name, p->count, p->values, p->lengths, p->formats, 1))
        return rt_pg_fail(pg, NULL, err);
    return take_result(pg, timeout, ret_result, err);
}

int rt_pg_prepare(struct rt_pg *pg, const char *name, const char *sql, uint32_t timeout,
                  struct rt_err *err)
{
    if (!PQsendPrepare(pg->conn, name, sql, 0, NULL))
        return rt_pg_fail(pg, NULL, err);
    return take_result(pg, timeout, NULL, err);
}

int rt_pg_run(struct rt_pg *pg, const char *sql, uint32_t timeout, struct rt_err *err)
{
    if (!PQsendQuery(pg->conn, sql))
        return rt_pg_fail(pg, NULL, err);
    return take_result(pg, timeout, NULL, err);
}

/* ---- text of statements -------------------------------------------------------------------------------------- */

static void add_quoted(struct rt_buf *out, const char *text, char quote)
{
    rt_buf_add_byte(out, (uint8_t)quote);
    for (const char *p = text; *p; p++) {
        if (*p == quote)
            rt_buf_add_byte(out, (uint8_t)quote);
        rt_buf_add_byte(out, (uint8_t)*p);
    }
    rt_buf_add_byte(out, (uint8_t)quote);
}

void rt_pg_add_identifier(struct rt_buf *out, const char *name)
{
    add_quoted(out, name, '"');
}

void rt_pg_add_literal(struct rt_buf *out, const char *text)
{
    /* A backslash means what standard_conforming_strings says, unless the literal says E. */
    if (!strchr(text, '\\')) {
        add_quoted(out, text, '\'');
        return;
    }
    rt_buf_add_c(out, "E'");
    for (const char *p = text; *p; p++) {
        if (*p == '\'' || *p == '\\')
            rt_buf_add_byte(out, (uint8_t)*p);
        rt_buf_add_byte(out, (uint8_t)*p);
    }
    rt_buf_add_byte(out, '\'');
}
