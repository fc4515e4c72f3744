/* How fast one client may go: token buckets, `rate` of a channel rule, `limits.commands`. */
#include "base/bucket.h"
#include "session/rates.h"
#include "unit/session/broker_rig.h"

#define SECOND UINT64_C(1000000) /* us */

static void test_bucket(void **state)
{
    (void)state;
    struct rt_bucket b = {0};
    struct rt_bucket_rate rate = rt_bucket_rate(10 * 3600, 3);
    uint64_t now = 5 * SECOND;
    assert_int_equal(rate.interval, SECOND / 10);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rt_bucket_wait(&b, &rate, now), 0);
        rt_bucket_take(&b, &rate, now);
    }
    assert_int_equal(rt_bucket_wait(&b, &rate, now), SECOND / 10);
    rt_bucket_take(&b, &rate, now); /* owed */
    assert_int_equal(rt_bucket_wait(&b, &rate, now), SECOND / 5);
    assert_int_equal(rt_bucket_wait(&b, &rate, now + SECOND / 5), 0);
    /* An hour fills it to its brim and no further. */
    now += 3600 * SECOND;
    for (int i = 0; i < 3; i++)
        rt_bucket_take(&b, &rate, now);
    assert_int_equal(rt_bucket_wait(&b, &rate, now), SECOND / 10);
}

static void test_bucket_ends(void **state)
{
    (void)state;
    struct rt_bucket_rate rate = rt_bucket_rate(0, 7);
    assert_int_equal(rate.interval, 0);
    rate = rt_bucket_rate(UINT64_C(3600000000), 0); /* a million a second */
    assert_int_equal(rate.interval, 1);
    assert_int_equal(rate.depth, SECOND);
    rate = rt_bucket_rate(1, 0); /* one an hour */
    assert_int_equal(rate.interval, 3600 * SECOND);
    assert_int_equal(rate.depth, 3600 * SECOND);
    rate = rt_bucket_rate(1, 1000000);
    assert_true(rate.depth / 1000000 == rate.interval);
    /* At the clock's beginning, too. */
    struct rt_bucket b = {0};
    assert_int_equal(rt_bucket_wait(&b, &rate, 0), 0);
}

/* ---- the table of those who publish ---- */

static void test_rates_apart(void **state)
{
    (void)state;
    struct rt_rates r;
    struct rt_bucket_rate one = rt_bucket_rate(3600, 1), other = one;
    uint64_t wait = 0;
    rt_rates_init(&r);
    assert_int_equal(rt_rates_take(&r, &one, 7, SECOND, &wait), 0);
    assert_int_equal(rt_rates_take(&r, &one, 7, SECOND, &wait), RT_EAGAIN);
    assert_int_equal(wait, SECOND);
    assert_int_equal(rt_rates_take(&r, &other, 7, SECOND, &wait), 0); /* another rule */
    assert_int_equal(rt_rates_take(&r, &one, 8, SECOND, &wait), 0);   /* another client */
    /* What is refused costs nothing. */
    assert_int_equal(rt_rates_take(&r, &one, 7, SECOND * 2, &wait), 0);
    rt_rates_deinit(&r);
}

static void test_rates_memory(void **state)
{
    (void)state;
    struct rt_rates r;
    struct rt_bucket_rate rate = rt_bucket_rate(3600, 1);
    uint64_t wait = 0;
    rt_rates_init(&r);
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(rt_rates_take(&r, &rate, i, SECOND, &wait), 0);
    assert_int_equal(r.by_key.count, 10000);
    /* Whoever comes later takes the place of two whose buckets are full. */
    for (uint64_t i = 10000; i < 15000; i++)
        assert_int_equal(rt_rates_take(&r, &rate, i, 3 * SECOND, &wait), 0);
    assert_int_equal(r.by_key.count, 5000);
    for (int i = 0; i < 3; i++)
        rt_rates_expire(&r, 9 * SECOND);
    assert_int_equal(r.by_key.count, 0);
    rt_rates_deinit(&r);
}

static void test_rates_cap(void **state)
{
    (void)state;
    struct rt_rates r;
    struct rt_bucket_rate rate = rt_bucket_rate(1, 1);
    uint64_t wait = 0;
    rt_rates_init(&r);
    for (uint64_t i = 0; i <= RT_RATES_MAX; i++)
        assert_int_equal(rt_rates_take(&r, &rate, i, SECOND, &wait), 0);
    assert_int_equal(r.by_key.count, RT_RATES_MAX);
    assert_int_equal(rt_rates_take(&r, &rate, RT_RATES_MAX, SECOND, &wait), RT_EAGAIN);
    rt_rates_deinit(&r);
}

/* ---- publishing ---- */

#define LIMITED                                                                            \
    "channels:\n"                                                                          \
    "  - {match: \"log:*\", log: true, publish: anyone, rate: {publish: 1/h, burst: 2}}\n" \
    "  - {match: \"live:*\", publish: anyone, rate: {publish: 1/h, burst: 1}}\n"           \
    "  - {match: \"soon\", publish: anyone, rate: {publish: 50/s, burst: 1}}\n"            \
    "  - {match: \"*\", publish: anyone}\n"

static void test_publish_limited(void **state)
{
    (void)state;
    start_with(LIMITED);
    struct rt_client *a = new_client("a", ""), *b = new_client("b", "");
    for (int i = 0; i < 4; i++)
        publish(a, "free", "f");
    expect_answers("f ok\nf ok\nf ok\nf ok\n");
    publish(a, "live:1", "1");
    publish(a, "live:2", "2"); /* the same rule */
    expect_answers("1 ok\n2 limited -6 a client may publish less here (`rate` of the rule with "
                   "match \"live:?\" in `channels`): again in 36* ms\n");
    publish(b, "live:1", "3");
    expect_answers("3 ok\n");
    fake.at_once = true;
    publish(a, "log:1", "l1");
    publish(a, "log:1", "l2");
    expect_answers("l1 ok *:1\nl2 ok *:2\n");
    publish(a, "log:1", "l3");
    expect_answers("l3 limited *");
    assert_int_equal(metric("publishes_total", "rate_limited"), 2);
    /* An action binds its client as well; who is no client is free. */
    assert_false(publish_as((struct rt_publish){.client = a, .trusted = true}, "live:1", "t"));
    expect_answers("t limited *");
    publish_as((struct rt_publish){.trusted = true, .api = true}, "live:1", "api");
    expect_answers("api ok\n");
}

static void test_publish_again(void **state)
{
    (void)state;
    start_with(LIMITED);
    struct rt_client *a = new_client("a", "");
    publish(a, "soon", "1");
    rt_buf_clear(&t.answers);
    bool ok = false;
    uint64_t end = rt_mono_ms() + DEADLINE_MS;
    while (!ok && rt_mono_ms() < end) {
        rt_loop_turn(t.loop, 2);
        publish(a, "soon", "2");
        ok = rt_glob_match(RT_STR("2 ok*"), rt_buf_str(&t.answers));
        rt_buf_clear(&t.answers);
    }
    assert_true(ok);
}

static void publish_in_short_memory(void)
{
    struct rt_client *a = t.client_count ? &t.clients[0].client : new_client("a", "");
    publish(a, "live:x", "m");
}

static void test_publish_no_memory(void **state)
{
    (void)state;
    start_with(LIMITED);
    new_client("a", "");
    rt_alloc_fail_at(1, 0);
    publish_in_short_memory();
    rt_alloc_fail_at(0, 0);
    expect_answers("m retry -6 out of memory\n");
    publish_in_short_memory(); /* nothing was taken */
    expect_answers("m ok\n");
}

/* ---- commands ---- */

struct reader {
    struct rt_relief relief;
    int resumed;
};

static void on_relief(struct rt_relief *relief)
{
    RT_CONTAINER(relief, struct reader, relief)->resumed++;
}

static void init_reader(struct reader *r)
{
    *r = (struct reader){.relief.fn = on_relief};
    rt_list_init(&r->relief.link);
}

static void test_commands_unlimited(void **state)
{
    (void)state;
    start_with("channels: []");
    struct reader r;
    init_reader(&r);
    for (int i = 0; i < 1000; i++)
        assert_false(rt_broker_handled(t.broker, &r.relief));
    assert_int_equal(r.relief.commands.full_at, 0);
}

static void test_commands(void **state)
{
    (void)state;
    start_with("limits: {commands: {rate: 100/s, burst: 5}}");
    struct reader slow, quick;
    init_reader(&slow);
    init_reader(&quick);
    for (int i = 0; i < 4; i++)
        assert_false(rt_broker_handled(t.broker, &slow.relief));
    /* The last token, and what was read with it. */
    for (int i = 0; i < 11; i++)
        assert_true(rt_broker_handled(t.broker, &slow.relief));
    assert_int_equal(metric("commands_throttled_total", NULL), 1);
    assert_false(rt_broker_handled(t.broker, &quick.relief));
    uint64_t start = rt_mono_ms();
    WAIT_FOR(slow.resumed == 1);
    assert_true(rt_mono_ms() - start >=
                100); /* 15 - 5 + 1 tokens later, from a time that may be a turn old */
    assert_false(rt_broker_handled(t.broker, &quick.relief));
    assert_int_equal(quick.resumed, 0);
}

static void test_commands_and_log(void **state)
{
    (void)state;
    start_with("limits: {commands: {rate: 100/s, burst: 2}}");
    struct reader r;
    init_reader(&r);
    /* Waits for the log, then for tokens. */
    fake.congested = true;
    rt_broker_on_relief(t.broker, &r.relief);
    for (int i = 0; i < 10; i++)
        rt_broker_handled(t.broker, &r.relief);
    fake.congested = false;
    rt_broker_relieved(t.broker);
    assert_int_equal(r.resumed, 0);
    WAIT_FOR(r.resumed == 1);
    /* Waits for tokens, then for the log. */
    while (!rt_broker_handled(t.broker, &r.relief))
        ;
    fake.congested = true;
    uint64_t end = rt_mono_ms() + 60;
    while (rt_mono_ms() < end)
        rt_loop_turn(t.loop, 2);
    assert_int_equal(r.resumed, 1);
    fake.congested = false;
    rt_broker_relieved(t.broker);
    assert_int_equal(r.resumed, 2);
}

/* Gone while it waits: nothing is called. */
static void test_commands_gone(void **state)
{
    (void)state;
    start_with("limits: {commands: {rate: 100/s, burst: 1}}");
    struct reader gone, other;
    init_reader(&gone);
    init_reader(&other);
    assert_true(rt_broker_handled(t.broker, &gone.relief));
    assert_true(rt_broker_handled(t.broker, &other.relief));
    rt_list_remove(&gone.relief.link);
    WAIT_FOR(other.resumed == 1);
    assert_int_equal(gone.resumed, 0);
    assert_true(rt_broker_handled(t.broker, &other.relief)); /* waits when the broker goes */
    rt_list_remove(&other.relief.link);
}

/* ---- output ---- */

#define LARGE                                                                                   \
    "limits: {message: 4MiB, send_queue: 16MiB}\n"                                              \
    "channels:\n"                                                                               \
    "  - {match: \"log\", log: true, subscribe: anyone, publish: anyone, history: {size: 1}}\n" \
    "  - {match: \"*\", subscribe: anyone, publish: anyone}\n"

enum { LARGE_LEN = 2 << 20 }; /* to six subscribers more than a turn's share */

static struct client *start_large(const char *channel)
{
    start_with(LARGE);
    for (int i = 0; i < 6; i++) {
        struct rt_client *c = new_client("s", "");
        assert_int_equal(rt_broker_subscribe(c, rt_str_c(channel), false, NULL), 0);
    }
    return &t.clients[0];
}

static char *large_text(char first)
{
    char *text = malloc(LARGE_LEN + 1);
    assert_non_null(text);
    memset(text, first, LARGE_LEN);
    text[LARGE_LEN] = '\0';
    return text;
}

static void test_share(void **state)
{
    (void)state;
    struct client *s = start_large("room");
    struct rt_client *a = new_client("a", "");
    struct reader loud, other, quiet;
    char *text = large_text('x');
    init_reader(&loud);
    init_reader(&other);
    init_reader(&quiet);
    publish(a, "room", "small");
    assert_false(rt_broker_handled(t.broker, &quiet.relief));
    publish(a, "room", text);
    assert_true(rt_broker_handled(t.broker, &loud.relief));
    assert_true(rt_broker_handled(t.broker, &loud.relief)); /* the rest of what was read */
    publish(a, "empty", text);
    assert_false(rt_broker_handled(t.broker, &quiet.relief));
    publish(a, "room", text);
    assert_true(rt_broker_handled(t.broker, &other.relief));
    assert_int_equal(metric("publishers_put_behind_total", NULL), 2);
    WAIT_FOR(loud.resumed == 1 && other.resumed == 1);
    assert_int_equal(s->log.len, 6 + 2 * (LARGE_LEN + 1));
    assert_false(rt_broker_handled(t.broker, &loud.relief)); /* in another turn */
    free(text);
}

static void test_share_of_api(void **state)
{
    (void)state;
    start_large("room");
    struct reader quiet;
    char *text = large_text('x');
    init_reader(&quiet);
    publish_as((struct rt_publish){.trusted = true, .api = true}, "room", text);
    assert_false(rt_broker_handled(t.broker, &quiet.relief)); /* it was not this one */
    free(text);
}

/* What the log has stored at once goes out over several turns, in order. */
static void test_commits_are_spread(void **state)
{
    (void)state;
    struct client *s = start_large("log");
    struct rt_client *a = new_client("a", "");
    char *texts[3];
    for (int i = 0; i < 3; i++) {
        texts[i] = large_text((char)('a' + i));
        assert_true(publish(a, "log", texts[i]));
    }
    for (int i = 0; i < 3; i++) {
        fake_store(&fake, fake.appends[i], 0);
        fake.appends[i]->done(fake.appends[i]);
    }
    fake.append_count = 0;
    rt_hub_flush(rt_broker_hub(t.broker));
    size_t one = LARGE_LEN + sizeof("@1\n") - 1;
    assert_int_equal(s->log.len, one); /* the others are held */
    WAIT_FOR(s->log.len == 3 * one);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(s->log.data[i * one], 'a' + i);
    assert_int_equal(metric("publishes_total", "\"ok\""), 3);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}

static void note_closed(void *arg)
{
    *(bool *)arg = true;
}

static void test_commits_and_close(void **state)
{
    (void)state;
    start_large("log");
    struct rt_client *a = new_client("a", "");
    char *text = large_text('x');
    bool closed = false;
    for (int i = 0; i < 3; i++)
        assert_true(publish(a, "log", text));
    for (int i = 0; i < 3; i++) {
        fake_store(&fake, fake.appends[i], 0);
        fake.appends[i]->done(fake.appends[i]);
    }
    fake.append_count = 0;
    assert_int_equal(metric("publishes_total", "\"ok\""), 1);
    rt_broker_close(t.broker, note_closed, &closed);
    fake.closed(fake.closed_arg);
    assert_true(closed);
    assert_int_equal(metric("publishes_total", "\"ok\""), 3); /* nobody is left without an answer */
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_bucket_ends),
        cmocka_unit_test(test_rates_apart),
        cmocka_unit_test(test_rates_memory),
        cmocka_unit_test(test_rates_cap),
        rig_test(test_publish_limited),
        rig_test(test_publish_again),
        rig_test(test_publish_no_memory),
        rig_test(test_commands_unlimited),
        rig_test(test_commands),
        rig_test(test_commands_and_log),
        rig_test(test_commands_gone),
        rig_test(test_share),
        rig_test(test_share_of_api),
        rig_test(test_commits_are_spread),
        rig_test(test_commits_and_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
