/* The broker over a real loop and hub, and a log that the test plays: it answers at once, or when told to, in any order, with any
 * result; reads are answered with what the test has put in.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_SESSION_BROKER_RIG_H
#define TEST_UNIT_SESSION_BROKER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "session/broker.h"
#include "unit/session/fake_journal.h"

/* Not every program needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"

enum { CLIENTS_MAX = 8, DEADLINE_MS = 10000 };

/* Turns the loop until the condition holds. */
#define WAIT_FOR(condition)                                              \
    do {                                                                 \
        uint64_t wait_end_ = rt_mono_ms() + DEADLINE_MS;                 \
        while (!(condition)) {                                           \
            if (rt_mono_ms() > wait_end_)                                \
                fail_msg("deadline passed waiting for: %s", #condition); \
            rt_loop_turn(t.loop, 2);                                     \
        }                                                                \
    } while (0)

struct client {
    struct rt_client client;
    struct rt_buf log; /* what it was delivered */
    bool unwritable;
};

static struct {
    struct rt_loop *loop;
    struct rt_config *config;
    struct rt_metrics metrics;
    struct rt_broker *broker;
    struct client clients[CLIENTS_MAX];
    size_t client_count;
    struct rt_buf answers; /* of publishes, a line each */
    struct rt_buf history; /* of history reads, a line each */
    bool closed;
    long live;
} t;

/* ---- clients ---- */

static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    (void)self;
    rt_buf_add_str(out, m->data);
    if (m->offset)
        rt_buf_printf(out, "@%llu", (unsigned long long)m->offset);
    rt_buf_add_byte(out, '\n');
}

static const struct rt_encoding ENCODING = {.encode = encode};

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct client *c = RT_CONTAINER(self, struct client, client.subscriber);
    rt_buf_add(&c->log, bytes->data + off, len);
}

static bool writable(struct rt_subscriber *self)
{
    return !RT_CONTAINER(self, struct client, client.subscriber)->unwritable;
}

static const struct rt_subscriber_ops OPS = {.deliver = deliver, .writable = writable};

static struct rt_client *new_client(const char *publisher, const char *user)
{
    assert_true(t.client_count < CLIENTS_MAX);
    struct client *c = &t.clients[t.client_count++];
    rt_subscriber_init(&c->client.subscriber, &OPS, &ENCODING);
    c->client.broker = t.broker;
    c->client.publisher = publisher;
    c->client.user = user;
    return &c->client;
}

static void expect_delivered_at(struct rt_client *client, const char *want, int line)
{
    struct client *c = RT_CONTAINER(client, struct client, client);
    rt_hub_flush(rt_broker_hub(t.broker));
    struct rt_str got = rt_buf_str(&c->log);
    if (!rt_str_eq(got, rt_str_c(want)))
        fail_msg("line %d: delivered\n%.*sinstead of\n%s", line, RT_STR_ARG(got), want);
    rt_buf_clear(&c->log);
}
#define expect_delivered(c, want) expect_delivered_at((c), (want), __LINE__)

/* ---- publishing ---- */

static const char *const STATUSES[] = {"ok", "retry", "unknown", "refused", "limited"};

static void note_answer(const char *name, const struct rt_publish_result *r)
{
    rt_buf_printf(&t.answers, "%s %s", name, STATUSES[r->status]);
    if (r->logged)
        rt_buf_printf(&t.answers, " %s:%llu", r->position.epoch,
                      (unsigned long long)r->position.offset);
    if (r->duplicate)
        rt_buf_add_c(&t.answers, " duplicate");
    if (r->status != RT_PUBLISH_OK)
        rt_buf_printf(&t.answers, " %d %s", r->code, r->text);
    rt_buf_add_byte(&t.answers, '\n');
}

static void published(void *arg, const struct rt_publish_result *r)
{
    note_answer(arg, r);
}

/* Publishes `data` as text; its name in the answers is `data` too. True: the answer comes later. */
static bool publish_as(struct rt_publish p, const char *channel, const char *data)
{
    struct rt_message m = {.data = rt_str_c(data), .kind = RT_KIND_TEXT};
    struct rt_publish_result result;
    if (p.message)
        m = *p.message;
    p.channel = rt_str_c(channel);
    p.message = &m;
    p.done = published;
    p.arg = (void *)(uintptr_t)data;
    int status = rt_broker_publish(t.broker, &p, &result);
    if (status == RT_PENDING)
        return true;
    assert_int_equal(status, 0);
    note_answer(data, &result);
    return false;
}

static bool publish(struct rt_client *client, const char *channel, const char *data)
{
    return publish_as((struct rt_publish){.client = client}, channel, data);
}

static void expect_text_at(struct rt_buf *got, const char *want, const char *what, int line)
{
    if (!rt_glob_match(rt_str_c(want), rt_buf_str(got)))
        fail_msg("line %d: %s: got\n%.*sinstead of\n%s", line, what, RT_STR_ARG(rt_buf_str(got)),
                 want);
    rt_buf_clear(got);
}
#define expect_answers(want) expect_text_at(&t.answers, (want), "answers", __LINE__)
#define expect_history(want) expect_text_at(&t.history, (want), "history", __LINE__)

static uint64_t metric(const char *name, const char *labels)
{
    for (const struct rt_metric *m = t.metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && (!labels || strstr(m->labels, labels)))
            return m->value;
    fail_msg("no metric %s", name);
    return 0;
}

/* ---- history ---- */

static void note_history(void *arg, const struct rt_history_result *r)
{
    (void)arg;
    if (r->status) {
        rt_buf_printf(&t.history, "%d %s\n", r->status, r->text);
        return;
    }
    for (size_t i = 0; i < r->count; i++)
        rt_buf_printf(&t.history, "%s%.*s@%llu", i ? " " : "", RT_STR_ARG(r->messages[i]->m.data),
                      (unsigned long long)r->messages[i]->m.offset);
    rt_buf_printf(&t.history, "%stop %s:%llu%s%s\n", r->count ? " " : "", r->top.epoch,
                  (unsigned long long)r->top.offset, r->gap ? " gap" : "", r->more ? " more" : "");
}

struct query {
    const char *channel;
    int64_t limit;
    bool since;
    uint64_t offset;
    const char *epoch;
    bool reverse;
    uint64_t time; /* since_time; 0: none */
};

static void ask(struct query q)
{
    struct rt_history h = {.channel = rt_str_c(q.channel),
                           .limit = q.limit,
                           .has_since = q.since,
                           .reverse = q.reverse,
                           .by_time = q.time > 0,
                           .time = q.time,
                           .done = note_history};
    h.since.offset = q.offset;
    if (q.epoch)
        snprintf(h.since.epoch, sizeof(h.since.epoch), "%s", q.epoch);
    rt_broker_history(t.broker, &h);
}

/* ---- life ---- */

static void load(const char *yaml)
{
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config_args args = {0};
    if (rt_config_load_text(&args, rt_str_c(yaml), "rig.yaml", &t.config, &errors, &warnings))
        fail_msg("%s", errors.count ? errors.items[0].text : "out of memory");
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
}

static int start_broker(void)
{
    rt_metrics_init(&t.metrics);
    int status = rt_broker_new(t.config, t.loop, &t.metrics, &t.broker, NULL);
    if (status)
        return status;
    fake_journal_init();
    rt_broker_set_journal(t.broker, &fake.base);
    return 0;
}

static void start_with(const char *yaml)
{
    load(yaml);
    assert_int_equal(start_broker(), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
#ifdef RT_TEST
    t.live = rt_alloc_live();
#endif
    return rt_loop_new(&t.loop, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < t.client_count; i++) {
        rt_hub_remove(rt_broker_hub(t.broker), &t.clients[i].client.subscriber);
        rt_buf_deinit(&t.clients[i].log);
    }
    fake_journal_finish();
    rt_broker_free(t.broker);
    assert_true(!t.broker || fake.freed);
    fake_journal_deinit();
    rt_config_free(t.config);
    rt_loop_free(t.loop);
    rt_buf_deinit(&t.answers);
    rt_buf_deinit(&t.history);
#ifdef RT_TEST
    assert_int_equal(rt_alloc_live(), t.live);
#endif
    return 0;
}

#define rig_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
