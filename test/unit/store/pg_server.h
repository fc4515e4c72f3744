/* A real PostgreSQL for tests: on a UNIX socket in a folder of its own, so that no port can be taken. The server refuses root: then it runs as nobody. */
#ifndef RT_TEST_PG_SERVER_H
#define RT_TEST_PG_SERVER_H

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "base/alloc.h"
#include "base/clock.h"

#define PG_SERVER_WAIT_MS 60000
#define PG_SERVER_NOBODY  65534

struct pg_server {
    pid_t pid; /* 0: not running */
    char dir[64], url[160], bin[160];
};

static inline bool pg_server_find(struct pg_server *s)
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) != 0)
        return false;
    const char *last = found.gl_pathv[found.gl_pathc - 1];
    (void)snprintf(s->bin, sizeof(s->bin), "%.*s", (int)(strlen(last) - strlen("/postgres")), last);
    globfree(&found);
    return true;
}

/* Runs a program of PostgreSQL's, its output into a file of the folder; returns the process. */
static inline pid_t pg_server_spawn(const struct pg_server *s, const char *program, char **argv)
{
    char path[200];
    char log[100];
    (void)snprintf(path, sizeof(path), "%s/%s", s->bin, program);
    (void)snprintf(log, sizeof(log), "%s/log", s->dir);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (geteuid() == 0 && (setgid(PG_SERVER_NOBODY) != 0 || setuid(PG_SERVER_NOBODY) != 0))
        _exit(126);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(s->dir) != 0)
        _exit(126);
    argv[0] = path; /* they look for each other beside themselves */
    execv(path, argv);
    _exit(127);
}

static inline bool pg_server_answers(const struct pg_server *s)
{
    return PQping(s->url) == PQPING_OK;
}

static inline bool pg_server_init(struct pg_server *s)
{
    static const char template[] = "/tmp/rt-pg-XXXXXX";
    memcpy(s->dir, template, sizeof(template));
    if (!mkdtemp(s->dir) ||
        (geteuid() == 0 && chown(s->dir, PG_SERVER_NOBODY, PG_SERVER_NOBODY) != 0))
        return false;
    (void)snprintf(s->url, sizeof(s->url), "host=%s user=rt dbname=postgres", s->dir);
    char data[80];
    (void)snprintf(data, sizeof(data), "%s/data", s->dir);
    char *argv[] = {"initdb", "-D", data,   "-A",         "trust",     "-U",
                    "rt",     "-E", "UTF8", "--locale=C", "--no-sync", NULL};
    int status = -1;
    pid_t pid = pg_server_spawn(s, "initdb", argv);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* False: there is no PostgreSQL on this machine, or it does not come up. Starts again what was stopped. */
static inline bool pg_server_start(struct pg_server *s)
{
    if (s->dir[0] == '\0' && (!pg_server_find(s) || !pg_server_init(s)))
        return false;
    char data[80];
    (void)snprintf(data, sizeof(data), "%s/data", s->dir);
    char *argv[] = {"postgres",
                    "-D",
                    data,
                    "-k",
                    s->dir,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                    "-c",
                    "shared_buffers=16MB",
                    "-c",
                    "max_connections=40",
                    NULL};
    s->pid = pg_server_spawn(s, "postgres", argv);
    uint64_t end = rt_mono_ms() + PG_SERVER_WAIT_MS;
    while (s->pid > 0 && rt_mono_ms() < end) {
        int status;
        if (pg_server_answers(s))
            return true;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid)
            return false;
    }
    return false;
}

/* SIGINT: rolls back and ends; SIGQUIT: as if the machine had lost power. */
static inline void pg_server_stop(struct pg_server *s, int signum)
{
    if (s->pid > 0) {
        (void)kill(s->pid, signum);
        (void)waitpid(s->pid, NULL, 0);
    }
    s->pid = 0;
}

static inline void pg_server_remove(struct pg_server *s)
{
    pg_server_stop(s, SIGQUIT);
    char command[100];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
    if (s->dir[0] && system(command) != 0)
        (void)fprintf(stderr, "cannot remove %s\n", s->dir);
}

/* ---- a connection of the test's own ---------------------------------------------------------------------------- */

static inline PGconn *pg_server_connect(const struct pg_server *s)
{
    PGconn *conn = PQconnectdb(s->url);
    if (PQstatus(conn) != CONNECTION_OK) {
        (void)fprintf(stderr, "%s", PQerrorMessage(conn));
        abort();
    }
    return conn;
}

/* What a group of tests begins and ends with: a server, and a connection to it. */
static inline int pg_server_begin(struct pg_server *s, PGconn **ret_conn)
{
    if (!pg_server_start(s))
        return -1;
    *ret_conn = pg_server_connect(s);
    return 0;
}

/* Non-zero: something that was allocated is left. */
static inline int pg_server_end(struct pg_server *s, PGconn *conn)
{
    PQfinish(conn);
    pg_server_remove(s);
    return rt_alloc_live() == 0 ? 0 : -1;
}

/* Runs statements, which must succeed; the first value of the last one ("" none), valid until the next call. */
static inline const char *pg_server_query(PGconn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline const char *pg_server_query(PGconn *conn, const char *format, ...)
{
    static char value[4096];
    char sql[8192];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(sql, sizeof(sql), format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(sql))
        abort();
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        (void)fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
        abort();
    }
    bool any = PQntuples(result) > 0 && PQnfields(result) > 0;
    (void)snprintf(value, sizeof(value), "%s", any ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return value;
}

#endif
