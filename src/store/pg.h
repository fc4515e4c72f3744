/* A connection to PostgreSQL as the workers of store/ use it: every wait has a deadline and ends when the worker is told to stop.
 *
 * Connecting: postgres.url goes to libpq as it is (URI or key=value, several hosts, sslmode, service, ...), so what it leaves open comes from PG* variables and unknown parameters are libpq's
 * errors. Ours are only defaults that the URL overrides (keepalives, tcp_user_timeout, application_name), and client_encoding, which is always UTF8. `connect_timeout` counts per host as libpq documents it; without
 * it RT_PG_CONNECT_TIMEOUT does.
 * Failures: functions return RT_OK or a code (RT_EIO, RT_ENOMEM, RT_ECLOSED: told to stop) with text; `failure` and `sqlstate` say which kind of failure it was. Texts carry the server's
 * message and SQLSTATE, never its DETAIL (which quotes rows) and never the URL.
 * After a failure of the connection itself rt_pg_usable() is false: free it and connect anew.
 * Thread: one worker's; never the loop (names are resolved synchronously). */
#ifndef RT_STORE_PG_H
#define RT_STORE_PG_H

#include "base/err.h"
#include "store/pg_value.h"

#define RT_PG_CONNECT_TIMEOUT 10000u /* ms, per host */

enum rt_pg_failure {
    RT_PG_NONE,
    RT_PG_DATA,    /* this data cannot be stored: SQLSTATE classes 22, 23, 54 */
    RT_PG_OUTAGE,  /* not now: 08, 40, 53, 57, 58, 25006, 55P03, no answer, no connection */
    RT_PG_PROGRAM, /* the rest: rights, a schema that is not ours, mistakes */
};

struct rt_pg_options {
    const char *url;            /* "" and NULL: all from PG* */
    const char *name;           /* application_name, unless it is set otherwise */
    uint32_t statement_timeout; /* ms, in the server; 0: as the server has it */
    uint32_t lock_timeout;      /* likewise */
    const _Atomic bool *stop;   /* true: waiting ends; may be NULL */
};

struct rt_pg {
    PGconn *conn; /* non-blocking */
    const _Atomic bool *stop;
    bool silent;                /* it was given up because no answer came in time */
    enum rt_pg_failure failure; /* of the last call */
    char sqlstate[6];           /* of the last call; "" when the server said none */
    bool broken;
};

/* The class of a SQLSTATE; none ("" or NULL) is an outage. */
enum rt_pg_failure rt_pg_classify(const char *sqlstate);
/* Only parses: RT_EINVAL with libpq's words, without what may be secret. */
int rt_pg_check_url(const char *url, struct rt_err *err);

/* Connects, all in all within the connect timeout times the number of hosts. RT_EIO, RT_ENOMEM, RT_ECLOSED. `*ret_failure` (may be NULL) gets the kind. */
int rt_pg_connect(const struct rt_pg_options *options, struct rt_pg **ret_pg,
                  enum rt_pg_failure *ret_failure, struct rt_err *err);
void rt_pg_free(struct rt_pg *pg); /* NULL is fine */
/* The connection stands, as far as is known. */
bool rt_pg_usable(const struct rt_pg *pg);

/* One statement with parameters (may be NULL), results in binary. `timeout` in ms. `*ret_result` (may be NULL) is the caller's: PQclear(). */
int rt_pg_exec(struct rt_pg *pg, const char *sql, const struct rt_pg_params *params,
               uint32_t timeout, PGresult **ret_result, struct rt_err *err);
/* The same of a statement made by rt_pg_prepare(). */
int rt_pg_exec_prepared(struct rt_pg *pg, const char *name, const struct rt_pg_params *params,
                        uint32_t timeout, PGresult **ret_result, struct rt_err *err);
int rt_pg_prepare(struct rt_pg *pg, const char *name, const char *sql, uint32_t timeout,
                  struct rt_err *err);
/* Any number of statements without parameters and results, until the first failure. */
int rt_pg_run(struct rt_pg *pg, const char *sql, uint32_t timeout, struct rt_err *err);

/* For who sends by himself (pipelines): flushes and waits until a result can be taken by PQgetResult() without blocking. */
int rt_pg_wait(struct rt_pg *pg, uint32_t timeout, struct rt_err *err);
/* Records what a failed result (NULL: the connection) says; always returns a negative code. */
int rt_pg_fail(struct rt_pg *pg, const PGresult *result, struct rt_err *err);

/* Appends an identifier, a string literal, quoted. (Without NUL, as C strings are.) */
void rt_pg_add_identifier(struct rt_buf *out, const char *name);
void rt_pg_add_literal(struct rt_buf *out, const char *text);

#endif
