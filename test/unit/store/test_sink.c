/* The sink against a real PostgreSQL and a Kafka in this process (librdkafka's mock cluster): what is stored, by whom, through failures. */
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

static int start_server(void **state)
{
    (void)state;
    return pg_server_start(&server) ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    pg_server_remove(&server);
    return 0;
}

static void open_kafka(struct world *w)
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
static void replace_kafka(struct world *w, const char *name)
{
    rd_kafka_destroy(w->producer);
    mock_deinit(&w->mock);
    open_kafka(w);
    memset(w->sent, 0, sizeof(w->sent));
    w->name = name;
}

static void world_init(struct world *w)
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

static void world_deinit(struct world *w)
{
    PQfinish(w->conn);
    rt_loop_free(w->loop);
    rd_kafka_destroy(w->producer);
    mock_deinit(&w->mock);
}

/* One record; `name` and `header` may be NULL. */
static void send_raw(struct world *w, int part, const void *key, size_t key_len, const char *value,
                     const char *name, const char *header, size_t header_len)
{
    rd_kafka_headers_t *h = rd_kafka_headers_new(4);
    char evidence[64];
    snprintf(evidence, sizeof(evidence), "%s@%" PRId64, w->name, w->sent[part]);
    rd_kafka_header_add(h, "rt-epoch", -1, evidence, -1);
    if (name)
        rd_kafka_header_add(h, name, -1, header, (ssize_t)header_len);
    assert_int_equal(rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC),
                                       RD_KAFKA_V_PARTITION(part),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_KEY((void *)(uintptr_t)key, key_len),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)),
                                       RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END),
                     0);
    w->sent[part]++;
}

static void send_text(struct world *w, int part, const char *value)
{
    send_raw(w, part, "room", 4, value, "rt-kind", "text", 4);
}

/* `count` records, spread over the partitions; each value is "P.N". */
static void send_many(struct world *w, int count)
{
    char value[32];
    for (int i = 0; i < count; i++) {
        int part = i % PARTS;
        snprintf(value, sizeof(value), "%d.%" PRId64, part, w->sent[part]);
        send_text(w, part, value);
    }
    assert_int_equal(rd_kafka_flush(w->producer, 20000), 0);
}

static void open_sink(struct world *w, struct node_sink *s, const char *node)
{
    struct rt_err err = {0};
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
                                            .idempotency_window = 600000};
    if (rt_sink_new(&options, &s->sink, &err) != 0)
        fail_msg("%s", err.text);
}

static void on_closed(void *arg)
{
    ((struct node_sink *)arg)->closed = true;
}

static void close_sink(struct world *w, struct node_sink *s)
{
    rt_sink_close(s->sink, on_closed, s);
    assert_false(s->closed);
    AWAIT(w, s->closed);
    rt_sink_free(s->sink);
}

static long number(struct world *w, const char *sql)
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
static bool caught_up(struct world *w)
{
    long sent = 0;
    for (int i = 0; i < PARTS; i++)
        sent += w->sent[i] + (w->sent[i] > 0);
    return number(w, "SELECT coalesce(sum(next), 0) FROM ~progress") == sent;
}

/* Every record of send_many() is a row once, at its own position. */
static void expect_rows(struct world *w, long count)
{
    assert_int_equal(number(w, "SELECT count(*) FROM ~message"), count);
    assert_int_equal(number(w, "SELECT count(*) FROM ~message WHERE convert_from(data, 'UTF8') = "
                               "split_part(epoch, '.', 2) || '.' || (\"offset\" - 1)"),
                     count);
    assert_int_equal(number(w, "SELECT count(DISTINCT (epoch, \"offset\")) FROM ~message"), count);
}

static long owned(struct node_sink *s)
{
    for (const struct rt_metric *m = s->metrics.first; m; m = m->next)
        if (strcmp(m->name, "sink_partitions") == 0)
            return (long)m->value;
    return -1;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_rows_are_the_log(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    send_many(&w, 1000);
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1000);
    send_many(&w, 500);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1500);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~progress WHERE epoch LIKE '" NAME ".%'"),
                     PARTS);
    assert_true(rt_sink_healthy(s.sink, NULL));
    close_sink(&w, &s);
    send_many(&w, 100); /* while nobody is there */
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1600);
    close_sink(&w, &s);
    world_deinit(&w);
}

static void test_repeats_are_skipped(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    open_sink(&w, &s, "n1");
    for (int i = 0; i < 3; i++)
        send_raw(&w, 0, "room", 4, "once", "rt-key", "k1", 2);
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 1);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~repeat WHERE first = 1"), 2);
    close_sink(&w, &s);
    /* Another node knows the key from PostgreSQL. */
    open_sink(&w, &s, "n2");
    send_raw(&w, 0, "room", 4, "once", "rt-key", "k1", 2);
    send_raw(&w, 0, "room", 4, "twice", "rt-key", "k2", 2);
    send_raw(&w, 0, "hall", 4, "elsewhere", "rt-key", "k1", 2); /* keys are the channel's */
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 3);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~repeat WHERE first = 1"), 3);
    close_sink(&w, &s);
    world_deinit(&w);
}

static void test_poison(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    send_many(&w, 4);
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    /* One that only PostgreSQL knows to refuse. */
    (void)pg_server_query(
        w.conn, "ALTER TABLE %s.message ADD CHECK (event IS DISTINCT FROM 'evil')", w.schema);
    for (int i = 0; i < 30; i++)
        send_text(&w, 0, "fine");
    send_raw(&w, 0, "room", 4, "x", "rt-event", "a\0b", 3);                 /* NUL in text */
    send_raw(&w, 0, "ro\xff", 3, "x", NULL, NULL, 0);                       /* no UTF-8 */
    send_raw(&w, 0, "room", 4, "x", "rt-time", "18446744073709551615", 20); /* no such date */
    send_raw(&w, 0, "room", 4, "x", "rt-time", "tomorrow", 8);              /* none of ours */
    send_raw(&w, 0, "room", 4, "x", "rt-event", "evil", 4);
    send_raw(&w, 0, "room", 4, "\"\\u0000\"", "rt-kind", "json", 4); /* can be stored */
    for (int i = 0; i < 30; i++)
        send_text(&w, 0, "fine");
    assert_int_equal(rd_kafka_flush(w.producer, 20000), 0);
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 5);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter WHERE sqlstate = '23514'"), 1);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 4 + 61);
    assert_int_equal(number(&w, "SELECT min(\"offset\") FROM ~dead_letter"), 32);
    assert_int_equal(number(&w, "SELECT max(\"offset\") FROM ~dead_letter"), 36);
    close_sink(&w, &s);
    world_deinit(&w);
}

static void test_two_share_and_take_over(void **state)
{
    (void)state;
    struct world w;
    struct node_sink a, b;
    world_init(&w);
    send_many(&w, 400);
    open_sink(&w, &a, "a");
    AWAIT(&w, owned(&a) == PARTS);
    open_sink(&w, &b, "b");
    AWAIT(&w, owned(&a) == PARTS / 2 && owned(&b) == PARTS / 2);
    send_many(&w, 400);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 800);
    close_sink(&w, &a);
    AWAIT(&w, owned(&b) == PARTS);
    send_many(&w, 100);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 900);
    close_sink(&w, &b);
    world_deinit(&w);
}

static void test_sessions_are_ended_in_a_loop(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    open_sink(&w, &s, "n1");
    for (int round = 0; round < 10; round++) {
        long before = number(&w, "SELECT count(*) FROM ~message");
        send_many(&w, 400);
        AWAIT(&w, number(&w, "SELECT count(*) FROM ~message") > before);
        (void)number(&w, "SELECT count(pg_terminate_backend(pid)) FROM ~holder");
    }
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 4000);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    close_sink(&w, &s);
    world_deinit(&w);
}

static void test_server_dies_and_table_is_locked(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    open_sink(&w, &s, "n1");
    send_many(&w, 400);
    AWAIT(&w, caught_up(&w));
    PQfinish(w.conn);
    pg_server_stop(&server, SIGQUIT);
    AWAIT(&w, !rt_sink_healthy(s.sink, NULL));
    send_many(&w, 400);
    assert_true(pg_server_start(&server));
    w.conn = pg_server_connect(&server);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 800);
    (void)pg_server_query(w.conn, "BEGIN; LOCK TABLE %s.message", w.schema);
    send_many(&w, 400);
    AWAIT(&w, !rt_sink_healthy(s.sink, NULL));
    (void)pg_server_query(w.conn, "COMMIT");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1200);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    assert_true(rt_sink_healthy(s.sink, NULL));
    close_sink(&w, &s);
    world_deinit(&w);
}

/* Somebody else has written: nothing of the batch is stored by this one, the partition is loaded anew. */
static void test_fenced_by_progress(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    open_sink(&w, &s, "n1");
    send_many(&w, 40);
    AWAIT(&w, caught_up(&w));
    (void)pg_server_query(w.conn, "UPDATE %s.progress SET next = next - 5 WHERE part = 1",
                          w.schema);
    send_many(&w, 40);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 80);
    close_sink(&w, &s);
    world_deinit(&w);
}

/* Records of partition 0 whose ids and times are the same in any cluster; `salt` makes others. */
static void send_known(struct world *w, int count, int salt)
{
    char id[40];
    for (int i = 0; i < count; i++) {
        rd_kafka_headers_t *h = rd_kafka_headers_new(4);
        char evidence[64];
        snprintf(evidence, sizeof(evidence), "%s@%" PRId64, w->name, w->sent[0]);
        snprintf(id, sizeof(id), "%08x-0000-7000-8000-%012x", salt, (unsigned)w->sent[0]);
        rd_kafka_header_add(h, "rt-epoch", -1, evidence, -1);
        rd_kafka_header_add(h, "rt-id", -1, id, -1);
        rd_kafka_header_add(h, "rt-time", -1, "1700000000000", -1);
        assert_int_equal(rd_kafka_producev(w->producer, RD_KAFKA_V_TOPIC(TOPIC),
                                           RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                           RD_KAFKA_V_KEY((void *)(uintptr_t) "room", 4),
                                           RD_KAFKA_V_VALUE((void *)(uintptr_t) "known", 5),
                                           RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END),
                         0);
        w->sent[0]++;
    }
    assert_int_equal(rd_kafka_flush(w->producer, 20000), 0);
}

static void store_known(struct world *w, int count, int salt)
{
    struct node_sink s;
    open_sink(w, &s, "n1");
    send_known(w, count, salt);
    AWAIT(w, number(w, "SELECT next FROM ~progress WHERE part = 0") == count + 1);
    close_sink(w, &s);
}

/* Shorter than what was stored: all of it is new. */
static void test_topic_made_anew(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    store_known(&w, 100, 1);
    replace_kafka(&w, "BBBBBBBBBB");
    send_known(&w, 40, 2);
    open_sink(&w, &s, "n1");
    AWAIT(&w, number(&w, "SELECT count(*) FROM ~message WHERE epoch = 'BBBBBBBBBB.0'") == 40);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 140);
    AWAIT(&w, number(&w, "SELECT next FROM ~progress WHERE part = 0") == 41);
    close_sink(&w, &s);
    world_deinit(&w);
}

/* Longer than what was stored already when the sink comes back: only the evidence tells. */
static void test_topic_made_anew_and_grown(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    store_known(&w, 50, 1);
    replace_kafka(&w, "BBBBBBBBBB");
    send_known(&w, 200, 2);
    open_sink(&w, &s, "n1");
    AWAIT(&w, number(&w, "SELECT next FROM ~progress WHERE part = 0") == 201);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message WHERE epoch = 'BBBBBBBBBB.0'"), 200);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 250);
    close_sink(&w, &s);
    world_deinit(&w);
}

/* The end was cut off: what is there still is stored already, what follows is new. */
static void test_log_cut(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    store_known(&w, 100, 1);
    replace_kafka(&w, NAME);
    send_known(&w, 60, 1);
    w.name = "BBBBBBBBBB";
    send_known(&w, 20, 2);
    open_sink(&w, &s, "n1");
    AWAIT(&w, number(&w, "SELECT count(*) FROM ~message WHERE epoch = 'BBBBBBBBBB.0'") == 20);
    assert_int_equal(
        number(&w, "SELECT min(\"offset\") FROM ~message WHERE epoch = 'BBBBBBBBBB.0'"), 61);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 120);
    close_sink(&w, &s);
    world_deinit(&w);
}

/* This program once more, as a node of its own that can be frozen. */
static pid_t spawn_node(struct world *w)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_sink", "node", w->mock.brokers, server.url, w->schema, NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static int run_node(char **argv)
{
    struct rt_loop *loop;
    struct rt_sink *sink;
    const struct rt_sink_options options = {.loop = NULL,
                                            .url = argv[3],
                                            .schema = argv[4],
                                            .node = "frozen",
                                            .brokers = argv[2],
                                            .topic = TOPIC,
                                            .partitions = PARTS,
                                            .batch_linger = 5};
    struct rt_sink_options given = options;
    pid_t parent = getppid();
    if (rt_loop_new(&loop, NULL) < 0)
        return 1;
    given.loop = loop;
    if (rt_sink_new(&given, &sink, NULL) < 0)
        return 1;
    while (getppid() == parent)
        rt_loop_turn(loop, 100);
    return 0;
}

static void test_frozen_node_is_fenced(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    pid_t child = spawn_node(&w);
    send_many(&w, 400);
    AWAIT(&w, caught_up(&w));
    open_sink(&w, &s, "b");
    AWAIT(&w, owned(&s) == PARTS / 2);
    assert_int_equal(kill(child, SIGSTOP), 0);
    uint64_t frozen = rt_mono_ms();
    send_many(&w, 400);
    AWAIT(&w, owned(&s) == PARTS);
    AWAIT(&w, caught_up(&w));
    print_message("taken over %llu ms after the freeze\n",
                  (unsigned long long)(rt_mono_ms() - frozen));
    expect_rows(&w, 800);
    assert_int_equal(kill(child, SIGCONT), 0);
    AWAIT(&w, owned(&s) == PARTS / 2); /* it is back, as a new session */
    send_many(&w, 400);
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 1200);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    AWAIT(&w, owned(&s) == PARTS);
    close_sink(&w, &s);
    world_deinit(&w);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "node") == 0)
        return run_node(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_the_log),
        cmocka_unit_test(test_repeats_are_skipped),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_two_share_and_take_over),
        cmocka_unit_test(test_sessions_are_ended_in_a_loop),
        cmocka_unit_test(test_server_dies_and_table_is_locked),
        cmocka_unit_test(test_fenced_by_progress),
        cmocka_unit_test(test_topic_made_anew),
        cmocka_unit_test(test_topic_made_anew_and_grown),
        cmocka_unit_test(test_log_cut),
        cmocka_unit_test(test_frozen_node_is_fenced),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
