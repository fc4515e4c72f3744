/* Rules, permissions, limits, publishing with every answer of the log, relief, close. */
#include "unit/session/broker_rig.h"

#include "unit/alloc_loop.h"

static const char RULES[] =
    "channels:\n"
    "  - {match: 'open:*', log: false, subscribe: anyone, publish: anyone}\n"
    "  - {match: 'closed:*', log: false, subscribe: nobody, publish: nobody}\n"
    "  - {match: 'members:*', log: false, subscribe: user, publish: user}\n"
    "  - {match: 'room:*', log: false, subscribe: anyone, publish: subscriber}\n"
    "  - {match: 'open:never reached', log: true}\n"
    "  - {match: 'log:*', log: true, subscribe: anyone, publish: anyone, history: {size: 5, ttl: 1h}}\n"
    "  - {match: 'early:*', log: true, subscribe: anyone, publish: anyone, deliver: on_publish,\n"
    "     history: {size: 5, ttl: 1h}}\n"
    "limits: {message: 100, channel_name: 20, channels_per_connection: 3, send_queue: 64KiB}\n";

static int subscribe(struct rt_client *c, const char *channel, bool trusted, struct rt_err *err)
{
    return rt_broker_subscribe(c, rt_str_c(channel), trusted, err);
}

/* ---- rules ---- */

static void test_first_match(void **state)
{
    (void)state;
    start_with(RULES);
    assert_string_equal(rt_broker_rule(t.broker, RT_STR("open:x"))->match, "open:*");
    assert_string_equal(rt_broker_rule(t.broker, RT_STR("open:never reached"))->match, "open:*");
    assert_string_equal(rt_broker_rule(t.broker, RT_STR("log:"))->match, "log:*");
    assert_null(rt_broker_rule(t.broker, RT_STR("other")));
    assert_null(rt_broker_rule(t.broker, RT_STR("")));
    /* A channel that exists keeps its rule. */
    struct rt_client *c = new_client("a", "");
    assert_int_equal(subscribe(c, "open:x", false, NULL), 0);
    assert_string_equal(rt_broker_rule(t.broker, RT_STR("open:x"))->match, "open:*");
    assert_int_equal(subscribe(c, "other", true, NULL), 0);
    assert_null(rt_broker_rule(t.broker, RT_STR("other")));
}

static void test_permissions(void **state)
{
    static const struct {
        const char *channel, *user;
        bool subscribed;
        int subscribe, publish;
    } rows[] = {
        {"open:a", "", false, 0, 0},
        {"closed:a", "bob", false, RT_EPERM, RT_EPERM},
        {"closed:a", "bob", true, RT_EEXIST, RT_EPERM},
        {"members:a", "", false, RT_EPERM, RT_EPERM},
        {"members:a", "bob", false, 0, 0},
        {"room:a", "", false, 0, RT_EPERM},
        {"room:a", "", true, RT_EEXIST, 0},
        {"none", "bob", false, RT_ENOENT, RT_ENOENT},
    };
    (void)state;
    start_with(RULES);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rt_client *c = new_client("p", rows[i].user);
        struct rt_str channel = rt_str_c(rows[i].channel);
        struct rt_err err = {0};
        if (rows[i].subscribed)
            assert_int_equal(subscribe(c, rows[i].channel, true, NULL), 0);
        assert_int_equal(rt_broker_may_publish(t.broker, c, channel, &err), rows[i].publish);
        if (rows[i].publish == RT_EPERM) /* what to change */
            assert_non_null(strstr(err.text, "set `publish` of the rule with match"));
        int status = rt_hub_is_subscribed(rt_broker_hub(t.broker), &c->subscriber, channel)
                         ? RT_EEXIST
                         : subscribe(c, rows[i].channel, false, &err);
        assert_int_equal(status, rows[i].subscribe);
        if (status == RT_ENOENT)
            assert_non_null(strstr(err.text, "no rule for channel \"none\""));
    }
}

static void test_subscribe_limits(void **state)
{
    struct rt_err err = {0};
    (void)state;
    start_with(RULES);
    struct rt_client *c = new_client("a", "");
    assert_int_equal(subscribe(c, "", true, &err), RT_EINVAL);
    assert_string_equal(err.text, "the channel's name is empty");
    assert_int_equal(subscribe(c, "open:345678901234567890", true, &err), RT_ERANGE);
    assert_string_equal(err.text, "the channel's name has 23 bytes, allowed are 20 "
                                  "(limits.channel_name)");
    assert_int_equal(subscribe(c, "open:\xff", true, &err), RT_EINVAL);
    assert_int_equal(subscribe(c, "open:\n", true, &err), RT_EINVAL);
    assert_int_equal(subscribe(c, "open:\x7f", true, &err), RT_EINVAL);
    assert_int_equal(subscribe(c, "open:345678901234567", false, &err), 0);
    assert_int_equal(subscribe(c, "open:2", false, &err), 0);
    assert_int_equal(subscribe(c, "open:2", false, &err), RT_EEXIST);
    assert_string_equal(err.text, "subscribed to channel \"open:2\" already");
    assert_int_equal(subscribe(c, "other", true, &err), 0); /* from an action, without a rule */
    assert_int_equal(subscribe(c, "open:4", true, &err), RT_ERANGE);
    assert_non_null(strstr(err.text, "limits.channels_per_connection"));
    assert_int_equal(subscribe(c, "open:2", true, &err), RT_EEXIST);
    assert_int_equal(rt_broker_unsubscribe(c, RT_STR("open:2")), 0);
    assert_int_equal(rt_broker_unsubscribe(c, RT_STR("open:2")), RT_ENOENT);
    assert_int_equal(subscribe(c, "open:4", true, &err), 0);
}

/* ---- publishing without a log ---- */

static void test_ephemeral(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", ""), *b = new_client("b", "");
    assert_int_equal(subscribe(b, "open:x", false, NULL), 0);
    assert_int_equal(subscribe(b, "other", true, NULL), 0);
    assert_false(publish(a, "open:x", "one"));
    assert_false(publish(a, "open:nobody there", "two"));
    expect_answers("one ok\ntwo ok\n");
    expect_delivered(b, "one\n");
    assert_int_equal(fake.append_count, 0);
    /* Without a rule: for actions of the configuration only. */
    assert_false(publish(a, "other", "three"));
    assert_false(publish_as((struct rt_publish){.trusted = true, .api = true}, "other", "four"));
    assert_false(publish_as((struct rt_publish){.client = a, .trusted = true}, "other", "five"));
    expect_answers("three refused -4 no rule for channel \"other\": add one to `channels` whose "
                   "`match` fits\nfour refused -4 no rule *\nfive ok\n");
    expect_delivered(b, "five\n");
    assert_int_equal(metric("publishes_total", "\"ok\""), 3);
    assert_int_equal(metric("publishes_total", "refused"), 2);
}

static void test_publish_limits(void **state)
{
    static const char hundred[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
        "890123456789";
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    assert_false(publish(a, "open:x", hundred));
    expect_answers("* ok\n");
    struct rt_message m = {.data = rt_str_c(hundred), .event = RT_STR("e"), .kind = RT_KIND_TEXT};
    publish_as((struct rt_publish){.client = a, .message = &m}, "open:x", "event counts");
    expect_answers("event counts refused -3 the message has 101 bytes, allowed are 100 "
                   "(limits.message)\n");
    const struct rt_str parts[] = {RT_STR("12345"), RT_STR("6")};
    m = (struct rt_message){.data = rt_str_of(hundred, 95),
                            .kind = RT_KIND_JSON,
                            .attachments = parts,
                            .attachment_count = 2};
    publish_as((struct rt_publish){.client = a, .message = &m}, "open:x", "attachments count");
    expect_answers("attachments count refused -3 the message has 101 bytes*");
    struct rt_str many[RT_MAX_ATTACHMENTS + 1];
    for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
        many[i] = RT_STR("");
    m = (struct rt_message){.data = RT_STR("[]"),
                            .kind = RT_KIND_JSON,
                            .attachments = many,
                            .attachment_count = RT_MAX_ATTACHMENTS + 1};
    publish_as((struct rt_publish){.client = a, .message = &m}, "open:x", "too many");
    publish_as((struct rt_publish){.client = a, .message = &m}, "log:x", "too many, logged");
    expect_answers("too many refused -3 the message has 65 attachments, allowed are 64\n"
                   "too many, logged refused -3 the message has 65 attachments, allowed are 64\n");
    assert_null(rt_stored_new(&m));
    m = (struct rt_message){.data = RT_STR("x"), .key = rt_str_of(hundred, 65)};
    publish_as((struct rt_publish){.client = a, .message = &m}, "log:x", "long key");
    expect_answers("long key refused -3 the idempotency key has 65 bytes, allowed are 64\n");
    publish_as((struct rt_publish){.trusted = true}, "", "no name");
    publish_as((struct rt_publish){.trusted = true}, "a\xff", "bad name");
    publish_as((struct rt_publish){.trusted = true}, "long:6789012345678901", "long name");
    expect_answers("no name refused -2 *empty\nbad name refused -2 *UTF-8\n"
                   "long name refused -3 *21 bytes*\n");
    publish(a, "closed:x", "not allowed");
    expect_answers("not allowed refused -8 not allowed to publish on channel \"closed:x\": set "
                   "`publish` of the rule with match \"closed:*\" in `channels`\n");
}

/* ---- publishing with a log ---- */

static void test_at_once(void **state)
{
    (void)state;
    start_with(RULES);
    fake.at_once = true;
    struct rt_client *a = new_client("a", ""), *b = new_client("b", "");
    assert_int_equal(subscribe(b, "log:x", false, NULL), 0);
    assert_false(publish(a, "log:x", "one"));
    expect_answers("one ok E:1\n");
    expect_delivered(b, "one@1\n");
    fake.refuse = RT_EAGAIN;
    assert_false(publish(a, "log:x", "two"));
    expect_answers("two retry -6 the log said -6\n");
    fake.refuse = RT_EINVAL;
    assert_false(publish(a, "log:x", "three"));
    expect_answers("three refused -2 the log said -2\n");
    fake.refuse = RT_ERANGE;
    assert_false(publish(a, "log:x", "three"));
    expect_answers("three refused -3 the log said -3\n");
    fake.refuse = RT_EUNKNOWN;
    assert_false(publish(a, "log:x", "four"));
    expect_answers("four unknown -10 the log said -10\n");
    expect_delivered(b, "");
    assert_int_equal(metric("publishes_total", "unknown"), 1);
    assert_int_equal(metric("publishes_total", "retry"), 1);
}

/* Nothing is delivered on a logged channel before the log has it. */
static void test_on_commit(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    assert_int_equal(subscribe(a, "log:x", false, NULL), 0);
    assert_true(publish(a, "log:x", "one"));
    assert_true(publish(a, "log:x", "two"));
    expect_answers("");
    expect_delivered(a, "");
    commit_at(0, 0, false);
    expect_answers("one ok E:1\n");
    expect_delivered(a, "one@1\n");
    commit_at(0, RT_EAGAIN, false);
    expect_answers("two retry -6 *\n");
    expect_delivered(a, "");
    assert_true(publish(a, "log:x", "three"));
    assert_true(publish(a, "log:x", "four"));
    commit_at(0, RT_EUNKNOWN, false);
    commit_at(0, 0, false);
    expect_answers("three unknown -10 *\nfour ok E:2\n");
    expect_delivered(a, "four@2\n");
}

static void test_on_publish(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    assert_int_equal(subscribe(a, "early:x", false, NULL), 0);
    assert_true(publish(a, "early:x", "one"));
    expect_delivered(a, "one\n");
    commit_at(0, 0, false);
    expect_answers("one ok E:1\n");
    expect_delivered(a, ""); /* not twice */
    assert_true(publish(a, "early:x", "two"));
    expect_delivered(a, "two\n");
    commit_at(0, RT_EAGAIN, false);
    expect_answers("two retry*\n");
    fake.no_reads = true;
    ask((struct query){.channel = "early:x", .limit = -1});
    expect_history("one@1 top E:1\n");
    fake.at_once = true; /* a log that answers at once: delivered once too */
    assert_false(publish(a, "early:x", "three"));
    expect_delivered(a, "three@2\n");
}

static void test_duplicate(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    struct rt_message m = {.data = RT_STR("x"), .kind = RT_KIND_TEXT, .key = RT_STR("k")};
    assert_int_equal(subscribe(a, "log:x", false, NULL), 0);
    publish_as((struct rt_publish){.client = a, .message = &m}, "log:x", "first");
    publish_as((struct rt_publish){.client = a, .message = &m}, "log:x", "again");
    assert_true(rt_str_eq(fake.appends[1]->message->m.publisher, RT_STR("a")));
    assert_true(rt_str_eq(fake.appends[1]->message->m.key, RT_STR("k")));
    commit_at(0, 0, false);
    commit_at(0, 0, true);
    expect_answers("first ok E:1\nagain ok E:1 duplicate\n");
    expect_delivered(a, "x@1\n");
    assert_int_equal(metric("publish_duplicates_total", NULL), 1);
}

/* What the broker fills in. */
static void test_stamps(void **state)
{
    static const uint8_t none[16];
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    uint64_t before = rt_wall_ms();
    struct rt_message m = {.data = RT_STR("x"), .publisher = RT_STR("somebody"), .offset = 7};
    publish_as((struct rt_publish){.client = a, .message = &m}, "log:x", "x");
    publish(a, "log:x", "y");
    const struct rt_message *first = &fake.appends[0]->message->m;
    const struct rt_message *second = &fake.appends[1]->message->m;
    assert_int_equal(first->offset, 0);
    assert_true(first->time >= before && first->time <= rt_wall_ms());
    assert_true(rt_str_eq(first->publisher, RT_STR("somebody")));
    assert_true(rt_str_eq(second->publisher, RT_STR("a")));
    assert_memory_not_equal(first->id, none, 16);
    assert_true(memcmp(first->id, second->id, 16) < 0);
}

/* The channel of an append lives until its answer, whoever leaves meanwhile. */
static void test_channel_pinned(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    assert_true(publish(a, "log:x", "one"));
    struct rt_hub *hub = rt_broker_hub(t.broker);
    rt_hub_set_time(hub, rt_loop_now(t.loop) + 3600000);
    rt_hub_expire(hub);
    assert_non_null(rt_hub_channel(hub, RT_STR("log:x"), false));
    commit_all();
    expect_answers("one ok E:1\n");
}

/* All channels are in use: whoever needs one more is told which option that is. */
static void test_channels_limit(void **state)
{
    char name[16];
    (void)state;
    start_with("channels: [{match: 'log:*', log: true, publish: anyone},"
               " {match: '*', subscribe: anyone, publish: anyone}]\n"
               "limits: {channels: 1000, channels_per_connection: 2000}\n");
    struct rt_client *a = new_client("a", "");
    struct rt_err err = {0};
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "c%u", i);
        assert_int_equal(subscribe(a, name, false, &err), 0);
    }
    assert_int_equal(subscribe(a, "more", false, &err), RT_EAGAIN);
    assert_non_null(strstr(err.text, "limits.channels"));
    publish(a, "log:x", "x");
    expect_answers("x retry -6 *1000 channels*limits.channels*\n");
    assert_int_equal(metric("channels_refused_total", NULL), 2);
    assert_int_equal(rt_broker_unsubscribe(a, RT_STR("c0")), 0);
    assert_int_equal(subscribe(a, "more", false, &err), 0);
    assert_int_equal(metric("channels_forgotten_total", NULL), 1);
}

/* ---- backpressure ---- */

struct relief {
    struct rt_relief relief;
    int count;
    struct relief *cancels;
    bool again;
};

static void relieved(struct rt_relief *self)
{
    struct relief *r = RT_CONTAINER(self, struct relief, relief);
    r->count++;
    if (r->cancels)
        rt_list_remove(&r->cancels->relief.link);
    if (r->again)
        rt_broker_on_relief(t.broker, self);
}

static void test_relief(void **state)
{
    struct relief r[4];
    (void)state;
    start_with(RULES);
    assert_false(rt_broker_congested(t.broker));
    fake.congested = true;
    assert_true(rt_broker_congested(t.broker));
    for (int i = 0; i < 4; i++) {
        r[i] = (struct relief){.relief.fn = relieved};
        rt_list_init(&r[i].relief.link);
        rt_broker_on_relief(t.broker, &r[i].relief);
        rt_broker_on_relief(t.broker, &r[i].relief); /* idempotent */
    }
    rt_list_remove(&r[1].relief.link); /* its client went away */
    r[0].cancels = &r[2];
    r[3].again = true;
    rt_broker_relieved(t.broker);
    assert_int_equal(r[0].count, 1);
    assert_int_equal(r[1].count, 0);
    assert_int_equal(r[2].count, 0);
    assert_int_equal(r[3].count, 1); /* not for ever */
    r[3].again = false;
    rt_broker_relieved(t.broker);
    assert_int_equal(r[0].count, 1);
    assert_int_equal(r[3].count, 2);
    rt_broker_relieved(t.broker);
    assert_int_equal(r[3].count, 2);
}

/* ---- close ---- */

static void on_closed(void *arg)
{
    assert_ptr_equal(arg, &t);
    t.closed = true;
}

static void test_close(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    assert_int_equal(subscribe(a, "log:x", false, NULL), 0);
    assert_true(publish(a, "log:x", "in flight"));
    rt_broker_close(t.broker, on_closed, &t);
    assert_false(t.closed);
    assert_false(publish(a, "log:x", "too late"));
    assert_false(publish(a, "open:x", "too late"));
    expect_answers("too late retry -6 the broker is shutting down\ntoo late retry*\n");
    commit_all();
    expect_answers("in flight ok E:1\n");
    expect_delivered(a, "in flight@1\n");
    fake.closed(fake.closed_arg);
    assert_true(t.closed);
}

/* The client is gone when the answer comes: it comes all the same. */
static void test_client_gone(void **state)
{
    (void)state;
    start_with(RULES);
    struct rt_client *a = new_client("a", "");
    assert_int_equal(subscribe(a, "log:x", false, NULL), 0);
    assert_true(publish(a, "log:x", "one"));
    rt_hub_remove(rt_broker_hub(t.broker), &a->subscriber);
    memset(&a->publisher, 0, sizeof(a->publisher));
    commit_all();
    expect_answers("one ok E:1\n");
    expect_delivered(a, "");
}

static void test_nobody_listens(void **state)
{
    struct rt_message m = {.data = RT_STR("x"), .kind = RT_KIND_TEXT};
    struct rt_publish p = {.channel = RT_STR("log:x"), .message = &m, .trusted = true};
    struct rt_publish_result result;
    (void)state;
    start_with(RULES);
    assert_int_equal(rt_broker_publish(t.broker, &p, &result), RT_PENDING);
    commit_all(); /* `done` is NULL */
    assert_int_equal(metric("publishes_total", "\"ok\""), 1);
    assert_ptr_equal(rt_broker_config(t.broker), t.config);
    assert_ptr_equal(rt_broker_journal(t.broker), &fake.base);
    assert_ptr_equal(rt_broker_loop(t.broker), t.loop);
}

/* ---- allocations ---- */

static void play(void)
{
    struct rt_client *a = new_client("a", ""), *b = new_client("b", "");
    (void)subscribe(a, "log:x", false, NULL);
    (void)subscribe(b, "early:x", false, NULL);
    publish(a, "log:x", "one");
    publish(b, "early:x", "two");
    publish(b, "open:x", "three");
    commit_all();
    fake.no_reads = true;
    ask((struct query){.channel = "log:x", .limit = -1});
    ask((struct query){.channel = "log:new", .limit = -1});
    fake.no_reads = false;
    ask((struct query){.channel = "log:other", .limit = 10, .since = true, .offset = 1});
    rt_hub_flush(rt_broker_hub(t.broker));
}

/* Whoever was told `ok` finds the message, once. */
static void check_played(void)
{
    struct rt_str answers = rt_buf_str(&t.answers);
    bool ok = rt_buf_ok(&t.answers) && answers.len > 0 &&
              memmem(answers.ptr, answers.len, "one ok E:", 9) != NULL;
    if (!ok)
        return;
    rt_buf_clear(&t.history);
    fake.no_reads = true;
    ask((struct query){.channel = "log:x", .limit = -1, .since = true, .offset = 0});
    struct rt_str h = rt_buf_str(&t.history);
    bool found = memmem(h.ptr, h.len, "one@", 4) != NULL;
    bool told = memmem(h.ptr, h.len, " gap", 4) != NULL; /* it did not fit into memory */
    assert_true(found || told);
}

static void prepare(void)
{
    load(RULES);
}

static void test_allocations(void **state)
{
    static const struct alloc_loop loop = {.set_up = set_up,
                                           .prepare = prepare,
                                           .start = start_broker,
                                           .play = play,
                                           .check = check_played,
                                           .tear_down = tear_down};
    (void)state;
    assert_true(fail_each_allocation(&loop) > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_first_match),
        rig_test(test_permissions),
        rig_test(test_subscribe_limits),
        rig_test(test_ephemeral),
        rig_test(test_publish_limits),
        rig_test(test_at_once),
        rig_test(test_on_commit),
        rig_test(test_on_publish),
        rig_test(test_duplicate),
        rig_test(test_stamps),
        rig_test(test_channel_pinned),
        rig_test(test_channels_limit),
        rig_test(test_relief),
        rig_test(test_close),
        rig_test(test_client_gone),
        rig_test(test_nobody_listens),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
