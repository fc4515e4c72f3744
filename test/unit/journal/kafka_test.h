/* What the tests of the Kafka journal share: a mock cluster in this process, nodes (a loop, a journal, what it delivered), waiting with a deadline. */
#ifndef TEST_KAFKA_TEST_H
#define TEST_KAFKA_TEST_H

#include "tsan_c11.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "journal/kafka.h"

#define DEADLINE_MS 40000
#define UNUSED      __attribute__((unused))
#define TOPIC       "rt.test"
#define API_PRODUCE 0 /* request types of the Kafka protocol */
#define API_FETCH   1

/* One delivered message. */
struct got {
    char channel[24];
    char epoch[RT_EPOCH_MAX + 1];
    char data[24];
    uint64_t offset;
    uint64_t except;
    struct rt_stored *message; /* identity only */
};

struct node {
    struct rt_loop *loop;
    struct rt_metrics metrics;
    struct rt_kafka_options options;
    struct rt_find_options find; /* brokers, topic and conf are those of `options` */
    struct rt_journal *journal;
    struct got *got;
    size_t count, cap;
    unsigned answers, ready, relieved, gaps, committed, moves, holes;
    struct got
        hole; /* the last one, its offset, channel and epoch; `except` is the count of what was delivered before it */
    bool closed;
    char error[600];
};

struct pub {
    struct rt_append append; /* first */
    struct node *node;
    unsigned answered; /* 0 not yet, else its number */
    int returned;
    char name[24];
};

/* Turns the loop until it holds; fails the test at the deadline. */
#define WAIT(node, condition)                                                                    \
    do {                                                                                         \
        uint64_t wait_until = rt_mono_ms() + DEADLINE_MS;                                        \
        while (!(condition)) {                                                                   \
            rt_loop_turn((node)->loop, 10);                                                      \
            if (rt_mono_ms() > wait_until)                                                       \
                fail_msg("%s:%d: never: %s (%s)", __FILE__, __LINE__, #condition, health(node)); \
        }                                                                                        \
    } while (0)

UNUSED static const char *health(const struct node *n)
{
    const char *text = "closed";
    if (n->journal)
        (void)rt_journal_healthy(n->journal, &text);
    return text;
}

UNUSED static bool healthy(const struct node *n)
{
    return rt_journal_healthy(n->journal, NULL);
}

/* ---- a cluster in this process ------------------------------------------------------------------------------- */

struct mock {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    const char *brokers;
};

UNUSED static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

UNUSED static void mock_init(struct mock *m, int partitions)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, no_log);
    m->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(m->rk);
    m->cluster = rd_kafka_mock_cluster_new(m->rk, 1);
    assert_non_null(m->cluster);
    m->brokers = rd_kafka_mock_cluster_bootstraps(m->cluster);
    assert_int_equal(rd_kafka_mock_topic_create(m->cluster, TOPIC, partitions, 1), 0);
}

UNUSED static void mock_deinit(struct mock *m)
{
    rd_kafka_mock_cluster_destroy(m->cluster);
    rd_kafka_destroy(m->rk);
}

/* ---- nodes ---------------------------------------------------------------------------------------------------- */

UNUSED static void copy_text(char *to, size_t size, struct rt_str from)
{
    snprintf(to, size, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

UNUSED static void on_deliver(void *arg, struct rt_str channel, const char *epoch,
                              struct rt_stored *message)
{
    struct node *n = arg;
    if (n->count == n->cap) {
        n->cap = n->cap ? n->cap * 2 : 256;
        n->got = realloc(n->got, n->cap * sizeof(*n->got));
        assert_non_null(n->got);
    }
    struct got *g = &n->got[n->count++];
    copy_text(g->channel, sizeof(g->channel), channel);
    copy_text(g->epoch, sizeof(g->epoch), rt_str_c(epoch));
    copy_text(g->data, sizeof(g->data), message->m.data);
    g->offset = message->m.offset;
    g->except = message->m.except;
    g->message = message;
}

UNUSED static void on_committed(void *arg, const struct rt_record *record)
{
    struct node *n = arg;
    assert_true(record->offset > 0 && record->message->m.offset == record->offset);
    n->committed++;
}
UNUSED static void on_ready(void *arg)
{
    ((struct node *)arg)->ready++;
}
UNUSED static void on_gap(void *arg, uint32_t partition)
{
    (void)partition;
    ((struct node *)arg)->gaps++;
}
UNUSED static void on_hole(void *arg, struct rt_str channel, const char *epoch, uint64_t offset)
{
    struct node *n = arg;
    n->holes++;
    n->hole = (struct got){.offset = offset, .except = n->count};
    copy_text(n->hole.channel, sizeof(n->hole.channel), channel);
    copy_text(n->hole.epoch, sizeof(n->hole.epoch), rt_str_c(epoch));
}
UNUSED static void on_moved(void *arg, uint32_t partitions)
{
    struct node *n = arg;
    n->moves++;
    assert_int_equal(rt_journal_kafka_partitions(n->journal), partitions);
}
UNUSED static void on_relieved(void *arg)
{
    ((struct node *)arg)->relieved++;
}
UNUSED static void on_journal_closed(void *arg)
{
    ((struct node *)arg)->closed = true;
}

UNUSED static void node_init(struct node *n, const char *brokers)
{
    memset(n, 0, sizeof(*n));
    rt_log_setup(getenv("KAFKA_TEST_LOG") ? RT_LOG_DEBUG : RT_LOG_OFF, RT_LOG_TEXT, "test");
    assert_int_equal(rt_loop_new(&n->loop, NULL), 0);
    rt_metrics_init(&n->metrics);
    n->options = (struct rt_kafka_options){
        .journal = {.loop = n->loop,
                    .metrics = &n->metrics,
                    .idempotency_window = 600000,
                    .relieved = on_relieved,
                    .arg = n},
        .brokers = brokers,
        .topic = TOPIC,
        .warm = 1000,
        .close_timeout = 3000,
        .deliver = on_deliver,
        .committed = on_committed,
        .ready = on_ready,
        .gap = on_gap,
        .hole = on_hole,
        .moved = on_moved,
        .arg = n,
    };
}

UNUSED static int try_open(struct node *n)
{
    struct rt_err err = {0};
    rt_metrics_init(&n->metrics);
    n->journal = NULL;
    n->closed = false;
    n->ready = 0;
    n->find.brokers = n->options.brokers;
    n->find.topic = n->options.topic;
    n->find.conf = n->options.conf;
    int code = rt_kafka_find(&n->find, &n->options.found, &err);
    if (code == 0)
        code = rt_journal_kafka(&n->options, &n->journal, &err);
    snprintf(n->error, sizeof(n->error), "%s", err.text);
    return code;
}

UNUSED static void open_node(struct node *n)
{
    if (try_open(n) != 0)
        fail_msg("cannot open: %s", n->error);
    assert_int_equal(n->ready, 0); /* never from inside */
    WAIT(n, n->ready);
}

UNUSED static void close_node(struct node *n)
{
    rt_journal_close(n->journal, on_journal_closed, n);
    assert_false(n->closed); /* never from inside */
    WAIT(n, n->closed);
    rt_journal_free(n->journal);
    n->journal = NULL;
}

UNUSED static void node_deinit(struct node *n)
{
    if (n->journal)
        close_node(n);
    rt_loop_free(n->loop);
    free(n->got);
    n->got = NULL;
    n->count = n->cap = 0;
}

/* ---- appending ------------------------------------------------------------------------------------------------ */

UNUSED static void on_append(struct rt_append *append)
{
    struct pub *p = (struct pub *)append;
    assert_int_equal(p->answered, 0);
    p->answered = ++p->node->answers;
}

UNUSED static void append_message(struct node *n, struct pub *p, const char *channel,
                                  struct rt_message *m)
{
    memset(p, 0, sizeof(*p));
    p->node = n;
    snprintf(p->name, sizeof(p->name), "%s", channel);
    m->time = m->time ? m->time : rt_wall_ms();
    rt_uuid7(m->time, m->id);
    p->append.channel_name = rt_str_c(p->name);
    p->append.message = rt_stored_new(m);
    assert_non_null(p->append.message);
    p->append.done = on_append;
    p->returned = rt_journal_append(n->journal, &p->append);
}

UNUSED static void append_text(struct node *n, struct pub *p, const char *channel, const char *data)
{
    struct rt_message m = {.kind = RT_KIND_TEXT, .data = rt_str_c(data)};
    append_message(n, p, channel, &m);
}

UNUSED static void append_key(struct node *n, struct pub *p, const char *channel, const char *data,
                              const char *key)
{
    struct rt_message m = {.kind = RT_KIND_TEXT,
                           .data = rt_str_c(data),
                           .publisher = RT_STR("anna"),
                           .key = rt_str_c(key)};
    append_message(n, p, channel, &m);
}

UNUSED static void release(struct pub *p)
{
    rt_stored_unref(p->append.message);
    p->append.message = NULL;
}

UNUSED static void await(struct pub *p)
{
    assert_int_equal(p->returned, RT_PENDING);
    WAIT(p->node, p->answered);
}

/* Appends, waits, expects it stored; returns the offset. */
UNUSED static uint64_t store(struct node *n, const char *channel, const char *data)
{
    struct pub p;
    append_text(n, &p, channel, data);
    if (p.returned != RT_PENDING)
        fail_msg("refused: %d %s", p.returned, p.append.text);
    await(&p);
    if (p.append.status != RT_OK)
        fail_msg("not stored: %d %s", p.append.status, p.append.text);
    release(&p);
    return p.append.position.offset;
}

UNUSED static bool has(const struct node *n, const char *data)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->got[i].data, data) == 0)
            return true;
    return false;
}

/* Offsets of a channel and epoch rise, nothing came twice. */
UNUSED static void expect_order(const struct node *n)
{
    for (size_t i = 1; i < n->count; i++)
        for (size_t k = i; k > 0; k--) {
            const struct got *a = &n->got[k - 1];
            const struct got *b = &n->got[i];
            if (strcmp(a->epoch, b->epoch) != 0)
                continue;
            assert_true(a->offset < b->offset);
            break;
        }
}

/* The value of a sample line of the metrics; -1 when there is none. */
UNUSED static double sample(struct node *n, const char *name)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_metrics_write(&n->metrics, &out);
    const char *text = rt_buf_cstr(&out);
    assert_non_null(text);
    double value = -1;
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name))
        if ((at == text || at[-1] == '\n') && at[strlen(name)] == ' ')
            value = strtod(at + strlen(name), NULL);
    rt_buf_deinit(&out);
    return value;
}

#endif
