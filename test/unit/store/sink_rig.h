/* What the tests of the sink share: a real PostgreSQL, a Kafka in this process (librdkafka's mock cluster), sinks, and nodes of their own processes.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_STORE_SINK_RIG_H
#define TEST_UNIT_STORE_SINK_RIG_H

#include "unit/journal/kafka_test.h"

#include "unit/store/pg_server.h"

#include "store/sink.h"

#define PARTS 4
#define NAME  "AAAAAAAAAA"

static struct pg_server server;

struct world {
    const char *name; /* of the incarnation, in the evidence */
    struct mock mock;
    rd_kafka_t *producer;
    struct rt_loop *loop;
    PGconn *conn;
    char schema[32];
    int64_t sent[PARTS]; /* records in each partition */
    uint32_t close_timeout;
};

struct node_sink {
    struct rt_sink *sink;
    struct rt_metrics metrics;
    bool closed;
};

#define AWAIT(w, condition)                                                   \
    do {                                                                      \
        uint64_t await_until = rt_mono_ms() + DEADLINE_MS;                    \
        while (!(condition)) {                                                \
            rt_loop_turn((w)->loop, 10);                                      \
            if (rt_mono_ms() > await_until)                                   \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition); \
        }                                                                     \
    } while (0)

UNUSED static int start_server(void **state)
{
    (void)state;
    return pg_server_start(&server) ? 0 : -1;
}

UNUSED static int stop_server(void **state)
{
    (void)state;
    pg_server_remove(&server);
    return 0;
}

UNUSED static void open_kafka(struct world *w)
{
    char text[200];
    mock_init(&w->mock, PARTS);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, no_log);
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", w->mock.brokers, text, sizeof(text));
    w->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(w->producer);
}

/* Another cluster with a topic of the same name: nothing of the old log is there. */
UNUSED static void replace_kafka(struct world *w, const char *name)
{
    rd_kafka_destroy(w->producer);
    mock_deinit(&w->mock);
    open_kafka(w);
    memset(w->sent, 0, sizeof(w->sent));
    w->name = name;
}

UNUSED static void world_init(struct world *w)
{
    static int number;
    memset(w, 0, sizeof(*w));
    w->name = NAME;
    rt_log_setup(getenv("KAFKA_TEST_LOG") ? RT_LOG_DEBUG : RT_LOG_OFF, RT_LOG_TEXT, "test");
    snprintf(w->schema, sizeof(w->schema), "s%d", ++number);
    open_kafka(w);
    assert_int_equal(rt_loop_new(&w->loop, NULL), 0);
    w->conn = pg_server_connect(&server);
}

UNUSED static void world_deinit(struct world *w)
{
    PQfinish(w->conn);
    rt_loop_free(w->loop);
    rd_kafka_destroy(w->producer);
    mock_deinit(&w->mock);
}

/* With the evidence; `h` is taken over. */
UNUSED static void send_headers(struct world *w, int part, const void *key, size_t key_len,
                                const char *value, rd_kafka_headers_t *h)
{
    char evidence[64];
    snprintf(evidence, sizeof(evidence), "%s@%" PRId64, w->name, w->sent[part]);
    rd_kafka_header_add(h, "rt-epoch", -1, evidence, -1);
    assert_int_equal(rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC),
                                       RD_KAFKA_V_PARTITION(part),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_KEY((void *)(uintptr_t)key, key_len),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)),
                                       RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END),
                     0);
    w->sent[part]++;
}

/* One record; `name` and `header` may be NULL. */
UNUSED static void send_raw(struct world *w, int part, const void *key, size_t key_len,
                            const char *value, const char *name, const char *header,
                            size_t header_len)
{
    rd_kafka_headers_t *h = rd_kafka_headers_new(4);
    if (name)
        rd_kafka_header_add(h, name, -1, header, (ssize_t)header_len);
    send_headers(w, part, key, key_len, value, h);
}

UNUSED static void send_text(struct world *w, int part, const char *value)
{
    send_raw(w, part, "room", 4, value, "rt-kind", "text", 4);
}

/* `count` records, spread over the partitions; each value is "P.N". */
UNUSED static void send_many(struct world *w, int count)
{
    char value[32];
    for (int i = 0; i < count; i++) {
        int part = i % PARTS;
        snprintf(value, sizeof(value), "%d.%" PRId64, part, w->sent[part]);
        send_text(w, part, value);
    }
    assert_int_equal(rd_kafka_flush(w->producer, 20000), 0);
}

UNUSED static int try_sink(struct world *w, struct node_sink *s, const char *node,
                           struct rt_err *err)
{
    memset(s, 0, sizeof(*s));
    rt_metrics_init(&s->metrics);
    const struct rt_sink_options options = {.loop = w->loop,
                                            .metrics = &s->metrics,
                                            .url = server.url,
                                            .schema = w->schema,
                                            .node = node,
                                            .brokers = w->mock.brokers,
                                            .topic = TOPIC,
                                            .partitions = PARTS,
                                            .batch_rows = 100,
                                            .batch_linger = 5,
                                            .idempotency_window = 600000,
                                            .close_timeout = w->close_timeout};
    return rt_sink_new(&options, &s->sink, err);
}

UNUSED static void open_sink(struct world *w, struct node_sink *s, const char *node)
{
    struct rt_err err = {0};
    if (try_sink(w, s, node, &err) != 0)
        fail_msg("%s", err.text);
}

UNUSED static void on_closed(void *arg)
{
    ((struct node_sink *)arg)->closed = true;
}

UNUSED static void close_sink(struct world *w, struct node_sink *s)
{
    rt_sink_close(s->sink, on_closed, s);
    assert_false(s->closed);
    AWAIT(w, s->closed);
    rt_sink_free(s->sink);
}

/* A world with one sink in it. */
UNUSED static void open_world(struct world *w, struct node_sink *s)
{
    world_init(w);
    open_sink(w, s, "n1");
}

UNUSED static void close_world(struct world *w, struct node_sink *s)
{
    close_sink(w, s);
    world_deinit(w);
}

UNUSED static long number(struct world *w, const char *sql)
{
    char text[600];
    const char *at;
    size_t len = 0;
    for (; (at = strchr(sql, '~')); sql = at + 1)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s%s.", (int)(at - sql), sql,
                                w->schema);
    snprintf(text + len, sizeof(text) - len, "%s", sql);
    PGresult *r = PQexec(w->conn, text);
    long value = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1
                     ? strtol(PQgetvalue(r, 0, 0), NULL, 10)
                     : -1;
    PQclear(r);
    return value;
}

/* All that was sent has been looked at. */
UNUSED static bool caught_up(struct world *w)
{
    long sent = 0;
    for (int i = 0; i < PARTS; i++)
        sent += w->sent[i] + (w->sent[i] > 0);
    return number(w, "SELECT coalesce(sum(next), 0) FROM ~progress") == sent;
}

/* Every record of send_many() is a row once, at its own position. */
UNUSED static void expect_rows(struct world *w, long count)
{
    assert_int_equal(number(w, "SELECT count(*) FROM ~message"), count);
    assert_int_equal(number(w, "SELECT count(*) FROM ~message WHERE convert_from(data, 'UTF8') = "
                               "split_part(epoch, '.', 2) || '.' || (\"offset\" - 1)"),
                     count);
    assert_int_equal(number(w, "SELECT count(DISTINCT (epoch, \"offset\")) FROM ~message"), count);
}

/* send_many(), until all of it is stored. */
UNUSED static void store_many(struct world *w, int count)
{
    send_many(w, count);
    AWAIT(w, caught_up(w));
}

/* -1: there is none of this name. */
UNUSED static long metric(const struct node_sink *s, const char *name)
{
    for (const struct rt_metric *m = s->metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0)
            return (long)m->value;
    return -1;
}

UNUSED static long owned(const struct node_sink *s)
{
    return metric(s, "sink_partitions");
}

/* This program once more, as a node of its own that can be frozen. */
UNUSED static pid_t spawn_node(struct world *w)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test", "node", w->mock.brokers, server.url, w->schema, NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

/* The frozen node goes on: as a new session it gets its share back from `s`, and nothing is stored twice. `rows` are stored so far. */
UNUSED static void thaw_node(struct world *w, const struct node_sink *s, pid_t child, long rows)
{
    assert_int_equal(kill(child, SIGCONT), 0);
    AWAIT(w, owned(s) == PARTS / 2);
    store_many(w, 400);
    expect_rows(w, rows + 400);
}

UNUSED static void end_node(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

UNUSED static int run_node(char **argv)
{
    struct rt_loop *loop;
    struct rt_sink *sink;
    pid_t parent = getppid();
    if (rt_loop_new(&loop, NULL) < 0)
        return 1;
    const struct rt_sink_options options = {.loop = loop,
                                            .url = argv[3],
                                            .schema = argv[4],
                                            .node = "frozen",
                                            .brokers = argv[2],
                                            .topic = TOPIC,
                                            .partitions = PARTS,
                                            .batch_linger = 5};
    if (rt_sink_new(&options, &sink, NULL) < 0)
        return 1;
    while (getppid() == parent)
        rt_loop_turn(loop, 100);
    return 0;
}

#endif
