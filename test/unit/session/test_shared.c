/* A log that nodes share: what it delivers, and history that joins memory with rows which lag behind. */
#include "unit/session/broker_rig.h"

static const char RULES[] =
    "channels:\n"
    "  - {match: 'quiet', log: false, subscribe: anyone, publish: anyone}\n"
    "  - {match: 'now', log: true, deliver: on_publish, subscribe: anyone, publish: anyone}\n"
    "  - {match: 'c*', log: true, subscribe: anyone, publish: anyone, history: {size: 5, ttl: 1h}}\n";

static void start(void)
{
    start_with(RULES);
    fake.base.ops = &FAKE_SHARED_OPS;
}

/* The log has the next message of this channel, `age` ms old. */
static void come_old(const char *channel, const char *data, uint64_t offset, uint64_t age)
{
    struct rt_message m = {
        .data = rt_str_c(data), .kind = RT_KIND_TEXT, .offset = offset, .time = rt_wall_ms() - age};
    struct rt_stored *s = rt_stored_new(&m);
    assert_non_null(s);
    fake.head = offset;
    rt_broker_deliver(t.broker, rt_str_c(channel), fake.epoch, s);
    rt_stored_unref(s);
}

static void come(const char *channel, const char *data, uint64_t offset)
{
    come_old(channel, data, offset, 0);
}

/* ---- delivery ---- */

static void test_deliver(void **state)
{
    (void)state;
    start();
    struct rt_client *client = new_client("p", "");
    assert_int_equal(rt_broker_subscribe(client, RT_STR("c"), false, NULL), 0);
    assert_int_equal(rt_broker_subscribe(client, RT_STR("quiet"), false, NULL), 0);
    assert_true(publish(client, "c", "own"));
    expect_delivered(client, "");
    commit_all();
    expect_answers("own ok E:1\n");
    expect_delivered(client, ""); /* the journal brings it */
    come("c", "own", 1);
    come("c", "other", 2);
    expect_delivered(client, "own@1\nother@2\n");
    come("quiet", "x", 3);
    come("no rule", "x", 4);
    expect_delivered(client, "x\n"); /* another node logs what this one does not */
    assert_int_equal(metric("log_records_unlogged_total", NULL), 2);
}

static void note_occupied(void *arg, struct rt_str channel, bool occupied)
{
    rt_buf_add_byte(arg, occupied ? '+' : '-');
    rt_buf_add_str(arg, channel);
    rt_buf_add_byte(arg, ' ');
}

static void expect_heard(struct rt_buf *heard, const char *want)
{
    assert_string_equal(rt_buf_cstr(heard), want);
    rt_buf_clear(heard);
}

/* Another node does not log what this one does: that is heard while it is so, and reaches who listens. */
static void test_other_rules(void **state)
{
    (void)state;
    start();
    struct rt_buf heard = RT_BUF_INIT;
    struct rt_broker_relay relay = {.occupied = note_occupied, .arg = &heard};
    rt_broker_set_relay(t.broker, &relay);
    struct rt_client *client = new_client("p", "");
    assert_int_equal(rt_broker_subscribe(client, RT_STR("c1"), false, NULL), 0);
    assert_int_equal(rt_broker_subscribe(client, RT_STR("quiet"), false, NULL), 0);
    come("c2", "nobody", 1);
    expect_heard(&heard, "+quiet ");
    rt_broker_set_rules_differ(t.broker, true);
    rt_broker_set_rules_differ(t.broker, true);
    expect_heard(&heard, "+c1 ");
    assert_int_equal(rt_broker_subscribe(client, RT_STR("c3"), false, NULL), 0);
    assert_int_equal(rt_broker_unsubscribe(client, RT_STR("c1")), 0);
    expect_heard(&heard, "+c3 -c1 ");
    struct rt_message m = {.data = RT_STR("live"), .kind = RT_KIND_TEXT, .offset = 5};
    rt_broker_relayed(t.broker, RT_STR("c3"), &m);
    rt_broker_relayed(t.broker, RT_STR("c1"), &m);
    rt_broker_relayed(t.broker, RT_STR("quiet"), &m);
    expect_delivered(client, "live\nlive\n");
    assert_int_equal(metric("relayed_logged_total", NULL), 2);
    come("c3", "logged", 9);
    expect_delivered(client, "logged@9\n"); /* the order of the log is what it was */
    rt_broker_set_rules_differ(t.broker, false);
    expect_heard(&heard, "-c3 ");
    assert_int_equal(rt_broker_unsubscribe(client, RT_STR("c3")), 0);
    assert_int_equal(rt_broker_unsubscribe(client, RT_STR("quiet")), 0);
    expect_heard(&heard, "-quiet ");
    rt_buf_deinit(&heard);
}

static void test_rules_hash(void **state)
{
    (void)state;
    struct rt_channel_rule rules[] = {{.match = "a", .log = true, .history_size = 5},
                                      {.match = "b", .deliver = RT_ON_PUBLISH}};
    struct rt_config config = {.channels = rules, .channel_count = 2};
    uint64_t hash = rt_broker_rules_hash(&config);
    rules[0].history_size = 6; /* each node's own matter */
    rules[1].deliver = RT_ON_COMMIT;
    assert_true(rt_broker_rules_hash(&config) == hash);
    rules[0].deliver = RT_ON_PUBLISH;
    assert_false(rt_broker_rules_hash(&config) == hash);
    rules[0].deliver = RT_ON_COMMIT;
    rules[1].log = true;
    assert_false(rt_broker_rules_hash(&config) == hash);
    rules[1].log = false;
    rules[1].match = "b*";
    assert_false(rt_broker_rules_hash(&config) == hash);
    config.channel_count = 1;
    assert_false(rt_broker_rules_hash(&config) == hash);
}

/* What was fanned out when it was published is kept when the log brings it, and not sent again. */
static void test_on_publish(void **state)
{
    (void)state;
    start();
    struct rt_client *client = new_client("p", "");
    assert_int_equal(rt_broker_subscribe(client, RT_STR("now"), false, NULL), 0);
    assert_true(publish(client, "now", "own"));
    expect_delivered(client, "own\n");
    struct rt_stored *own = rt_stored_ref(fake.appends[0]->message);
    commit_all();
    own->m.offset = 7;
    fake.head = 7;
    rt_broker_deliver(t.broker, RT_STR("now"), "E", own);
    rt_stored_unref(own);
    come("now", "other's", 8);
    expect_delivered(client, "other's@8\n");
    fake.no_reads = true;
    ask((struct query){.channel = "now", .limit = -1});
    expect_history("own@7 other's@8 top E:8\n");
}

/* The answer was lost, and the log brings another copy of it: kept in its place, and not sent again. Once: what comes behind it is another message. */
static void test_on_publish_unknown(void **state)
{
    (void)state;
    start();
    struct rt_client *client = new_client("p", "");
    assert_int_equal(rt_broker_subscribe(client, RT_STR("now"), false, NULL), 0);
    for (uint64_t i = 0; i < 2; i++) {
        assert_true(publish(client, "now", "own"));
        expect_delivered(client, "own\n");
        struct rt_stored *copy = rt_stored_new(&fake.appends[0]->message->m);
        assert_non_null(copy);
        copy->m.stamp = 0;
        copy->m.offset = 7 + i;
        commit_at(0, i == 0 ? RT_EUNKNOWN : RT_EAGAIN, false);
        fake.head = 7 + i;
        rt_broker_deliver(t.broker, RT_STR("now"), "E", copy);
        rt_stored_unref(copy);
        expect_delivered(client, i == 0 ? "" : "own@8\n");
    }
    fake.no_reads = true;
    ask((struct query){.channel = "now", .limit = -1});
    expect_history("own@7 own@8 top E:8\n");
}

static bool is_c(void *arg, struct rt_str channel)
{
    (void)arg;
    return rt_str_eq(channel, RT_STR("c"));
}

static void test_forget(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    come("c", "a", 1);
    come("c2", "b", 2);
    ask((struct query){.channel = "c", .since = true, .offset = 0, .limit = -1});
    expect_history("a@1 top E:2\n");
    fake.head = 9; /* 3 to 9 never came */
    rt_broker_forget(t.broker, is_c, NULL);
    come("c", "d", 10);
    ask((struct query){.channel = "c", .since = true, .offset = 1, .limit = -1});
    expect_history("d@10 top E:10 gap\n");
    ask((struct query){.channel = "c", .since = true, .offset = 9, .limit = -1});
    expect_history("d@10 top E:10\n");
    ask((struct query){.channel = "c2", .since = true, .offset = 1, .limit = -1});
    expect_history("b@2 top E:10\n");
}

/* One that this node cannot deliver: who has what was before it is told, who knows of it is not; other channels are whole. */
static void test_skip(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    come("c", "a", 1);
    come("c2", "b", 2);
    fake.head = 3;
    rt_broker_skip(t.broker, RT_STR("c"), "E", 3);
    rt_broker_skip(t.broker, RT_STR("c3"), "E", 3);
    come("c", "d", 4);
    ask((struct query){.channel = "c", .since = true, .offset = 1, .limit = -1});
    expect_history("d@4 top E:4 gap\n");
    ask((struct query){.channel = "c", .since = true, .offset = 3, .limit = -1});
    expect_history("d@4 top E:4\n");
    ask((struct query){.channel = "c3", .since = true, .offset = 2, .limit = -1});
    expect_history("top E:4 gap\n");
    ask((struct query){.channel = "c2", .since = true, .offset = 1, .limit = -1});
    expect_history("b@2 top E:4\n");
}

/* Another incarnation of the log: what is kept of the former goes, its positions are refused. */
static void test_other_epoch(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    come("c", "a", 5);
    snprintf(fake.epoch, sizeof(fake.epoch), "F");
    fake.head = 0;
    ask((struct query){.channel = "c", .since = true, .offset = 4, .epoch = "E", .limit = -1});
    expect_history("-3 the position is of another epoch\n");
    ask((struct query){.channel = "c", .limit = -1});
    expect_history("top F:0\n");
    come("c", "b", 1);
    ask((struct query){.channel = "c", .limit = -1});
    expect_history("b@1 top F:1\n");
}

/* ---- history: memory alone ---- */

static void test_memory(void **state)
{
    static const struct {
        struct query q;
        const char *want;
    } rows[] = {
        {{.since = true, .offset = 3, .limit = -1}, "d@4 f@6 top E:9\n"},
        {{.since = true, .offset = 4, .limit = -1, .epoch = "E"}, "f@6 top E:9\n"},
        {{.since = true, .offset = 9, .limit = -1}, "top E:9\n"},
        {{.since = true, .offset = 3, .limit = 1}, "d@4 top E:9 more\n"},
        {{.since = true, .offset = 3, .limit = -1, .epoch = "X"},
         "-3 the position is of another epoch\n"},
        {{.since = true, .offset = 1, .limit = -1}, "d@4 f@6 top E:9 gap\n"},
        {{.limit = -1}, "d@4 f@6 top E:9\n"},
        {{.limit = 1, .reverse = true}, "f@6 top E:9 more\n"},
        {{.limit = 0}, "top E:9\n"},
        {{.since = true, .offset = 6, .limit = -1, .reverse = true}, "d@4 top E:9\n"},
    };
    (void)state;
    start();
    fake.no_reads = true;
    come("c", "d", 4);
    come("c", "f", 6);
    fake.head = 9;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query q = rows[i].q;
        q.channel = "c";
        ask(q);
        expect_history(rows[i].want);
    }
}

/* Memory has seen nothing of the channel, and there are no rows. */
static void test_unseen(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    fake.head = 9;
    ask((struct query){.channel = "c", .limit = -1});
    expect_history("top E:9\n");
    ask((struct query){.channel = "c", .since = true, .offset = 9, .limit = -1});
    expect_history("top E:9\n");
    ask((struct query){.channel = "c", .since = true, .offset = 8, .limit = -1});
    expect_history("top E:9 gap\n"); /* it cannot know */
}

/* ---- history: rows and memory ---- */

/* Rows 1 to 6 of which the store has come to 4; memory has 5 to 8. */
static void start_joined(void)
{
    start();
    for (int i = 1; i <= 8; i++) {
        static const char *const names[] = {"", "1", "2", "3", "4", "5", "6", "7", "8"};
        if (i <= 4)
            add_row((uint64_t)i, names[i], 0);
        if (i >= 4)
            come("c", names[i], (uint64_t)i);
    }
    fake.complete = 4;
}

static void test_join(void **state)
{
    static const struct {
        struct query q;
        const char *want;
    } rows[] = {
        {{.since = true, .offset = 1, .limit = -1}, "2@2 3@3 4@4 5@5 6@6 7@7 8@8 top E:8\n"},
        {{.since = true, .offset = 1, .limit = 4}, "2@2 3@3 4@4 5@5 top E:8 more\n"},
        {{.since = true, .offset = 1, .limit = 3}, "2@2 3@3 4@4 top E:8 more\n"},
        {{.since = true, .offset = 1, .limit = 2}, "2@2 3@3 top E:8 more\n"},
        {{.since = true, .offset = 6, .limit = -1, .reverse = true},
         "5@5 4@4 3@3 2@2 1@1 top E:8\n"},
        {{.since = true, .offset = 6, .limit = 2, .reverse = true}, "5@5 4@4 top E:8 more\n"},
    };
    (void)state;
    start_joined();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query q = rows[i].q;
        q.channel = "c";
        ask(q);
        expect_history("");
        answer_read(0);
        expect_history(rows[i].want);
    }
    /* Not more than the rule's size: memory has that. */
    ask((struct query){.channel = "c", .limit = -1});
    expect_history("4@4 5@5 6@6 7@7 8@8 top E:8\n");
    assert_int_equal(fake.read_count, 0);
}

/* Message N is 900 s - N * 100 s old. Rows 1 to 4, memory has 5 to 8 (and 4, of which it cannot know that it is the first of its time). */
static void start_aged(void)
{
    start();
    for (uint64_t i = 1; i <= 8; i++) {
        const char *name = (const char *[]){"1", "2", "3", "4", "5", "6", "7", "8"}[i - 1];
        if (i <= 4)
            add_row(i, name, 60 * (900000 - i * 100000));
        if (i >= 4)
            come_old("c", name, i, 60 * (900000 - i * 100000));
    }
    fake.complete = 4;
}

static void test_join_time(void **state)
{
    static const struct {
        uint64_t age; /* minutes */
        struct query q;
        const char *want;
    } rows[] = {
        {700, {.limit = -1}, "2@2 3@3 4@4 5@5 6@6 7@7 8@8 top E:8\n"},
        {650, {.limit = -1}, "3@3 4@4 5@5 6@6 7@7 8@8 top E:8\n"},
        {650, {.limit = 1}, "3@3 top E:8 more\n"},
        {550, {.limit = 2}, "4@4 5@5 top E:8 more\n"},
        {450,
         {.limit = -1},
         "5@5 6@6 7@7 8@8 top E:8\n"}, /* in memory, but by less than a clock may be wrong */
        {5000, {.limit = 1}, "1@1 top E:8 more\n"},
        {650, {.limit = -1, .reverse = true}, "2@2 1@1 top E:8\n"},
        {350, {.limit = 4, .reverse = true}, "5@5 4@4 3@3 2@2 top E:8 more\n"},
        {0, {.limit = 2, .reverse = true}, "8@8 7@7 top E:8 more\n"},
        {5000, {.limit = -1, .reverse = true}, "top E:8\n"},
    };
    (void)state;
    start_aged();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query q = rows[i].q;
        q.channel = "c";
        q.time = rt_wall_ms() - 60 * (rows[i].age * 1000 + 20000);
        ask(q);
        expect_history("");
        answer_read(0);
        expect_history(rows[i].want);
    }
    /* What memory has is older by more than a clock may be wrong. */
    ask((struct query){.channel = "c", .time = rt_wall_ms() - 60 * 320000, .limit = -1});
    expect_history("6@6 7@7 8@8 top E:8\n");
    ask((struct query){.channel = "c", .time = rt_wall_ms(), .limit = -1});
    expect_history("top E:8\n");
    assert_int_equal(fake.read_count, 0);
}

/* The rows lag: nobody knows yet which message is the first of the time. */
static void test_lag_time(void **state)
{
    (void)state;
    start_aged();
    fake.complete = 2;
    fake.row_count = 2;
    struct query q = {.channel = "c", .time = rt_wall_ms() - 60 * 620000, .limit = -1};
    ask(q);
    answer_read(0);
    expect_history("");
    WAIT_FOR(fake.read_count == 1);
    assert_true(fake.reads[0]->by_time);
    fake.complete = 4;
    fake.row_count = 4;
    answer_read(0);
    expect_history("3@3 4@4 5@5 6@6 7@7 8@8 top E:8\n");
    /* For long: no part of the answer is right. */
    fake.complete = 2;
    fake.row_count = 2;
    ask(q);
    WAIT_FOR(fake.read_count == 0 || (answer_read(0), t.history.len > 0));
    WAIT_FOR(t.history.len > 0 || (fake.read_count > 0 && (answer_read(0), t.history.len > 0)));
    expect_history("-6 the history lags behind the log: try again\n");
    fake.row_count = 4;
}

/* The store is ahead of this node, and only there is a message of the time. */
static void test_time_ahead(void **state)
{
    (void)state;
    start_aged();
    fake.head = 2;
    fake.complete = 4;
    ask((struct query){.channel = "cx", .time = rt_wall_ms() - 60 * 620000, .limit = -1});
    answer_read(0);
    expect_history("top E:2\n");
}

static void test_join_gap(void **state)
{
    (void)state;
    start_joined();
    fake.oldest = 3; /* 1 and 2 went by retention */
    ask((struct query){.channel = "c", .since = true, .offset = 1, .limit = -1});
    answer_read(0);
    expect_history("2@2 3@3 4@4 5@5 6@6 7@7 8@8 top E:8 gap\n");
    ask((struct query){.channel = "c", .since = true, .offset = 2, .limit = -1});
    answer_read(0);
    expect_history("3@3 4@4 5@5 6@6 7@7 8@8 top E:8\n");
}

/* Messages that come between the question and the rows are not missed. */
static void test_join_meanwhile(void **state)
{
    (void)state;
    start_joined();
    ask((struct query){.channel = "c", .since = true, .offset = 2, .limit = -1});
    come("c", "9", 9);
    answer_read(0);
    expect_history("3@3 4@4 5@5 6@6 7@7 8@8 9@9 top E:9\n");
}

/* The store is ahead of this node: what it has above the position that is told will come live. */
static void test_rows_ahead(void **state)
{
    static const struct {
        struct query q;
        const char *want;
    } rows[] = {
        {{.since = true, .offset = 1, .limit = -1}, "2@2 top E:2\n"},
        {{.since = true, .offset = 0, .limit = 3}, "1@1 2@2 top E:2\n"},
        {{.limit = -1}, "1@1 2@2 top E:2\n"},
    };
    (void)state;
    start();
    for (uint64_t i = 1; i <= 4; i++)
        add_row(i, (const char *[]){"1", "2", "3", "4"}[i - 1], 0);
    fake.head = 2;
    fake.complete = 4;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query q = rows[i].q;
        q.channel = "c";
        ask(q);
        answer_read(0);
        expect_history(rows[i].want);
    }
}

/* The rows do not reach what memory has: it asks again until they do. */
static void test_lag(void **state)
{
    (void)state;
    start_joined();
    fake.complete = 2;
    ask((struct query){.channel = "c", .since = true, .offset = 1, .limit = -1});
    answer_read(0);
    expect_history("");
    WAIT_FOR(fake.read_count == 1);
    fake.complete = 4;
    answer_read(0);
    expect_history("2@2 3@3 4@4 5@5 6@6 7@7 8@8 top E:8\n");
}

/* A channel that memory has not seen is held from the question on, so that rows need only reach that point. */
static void test_lag_unseen(void **state)
{
    (void)state;
    start();
    add_row(3, "3", 0);
    fake.head = 6;
    fake.complete = 4;
    ask((struct query){.channel = "c", .since = true, .offset = 2, .limit = -1});
    answer_read(0);
    expect_history("");
    come("c", "7", 7);
    WAIT_FOR(fake.read_count == 1);
    fake.complete = 6;
    answer_read(0);
    expect_history("3@3 7@7 top E:7\n");
}

/* They never do: what there is comes as a page that is not the last one; behind a position nothing is left out. */
static void test_lag_for_long(void **state)
{
    (void)state;
    start_joined();
    fake.complete = 2;
    for (size_t i = 0; i < 2; i++) {
        ask((struct query){.channel = "c", .since = true, .offset = i == 0 ? 0 : 2, .limit = -1});
        while (t.history.len == 0) {
            WAIT_FOR(fake.read_count == 1 || t.history.len > 0);
            if (fake.read_count == 1) {
                fake.row_count = 2;
                answer_read(0);
            }
        }
        fake.row_count = 4;
        expect_history(i == 0 ? "1@1 2@2 top E:8 more\n"
                              : "-6 the history lags behind the log: try again\n");
    }
}

static void test_rows_fail(void **state)
{
    (void)state;
    start_joined();
    ask((struct query){.channel = "c", .since = true, .offset = 1, .limit = -1});
    answer_read(RT_EIO);
    expect_history("-7 the disk is gone\n");
    /* A window is served from memory as far as that goes. */
    come("c3", "x", 9);
    ask((struct query){.channel = "c3", .limit = -1});
    answer_read(RT_EIO);
    expect_history("x@9 top E:9\n");
    ask((struct query){.channel = "c4", .limit = -1});
    answer_read(RT_EIO);
    expect_history("-7 the disk is gone\n");
}

/* Of a channel that has had nothing, memory knows that, even after somebody has asked for what it cannot know. */
static void test_rows_fail_unseen(void **state)
{
    (void)state;
    start_with("protocols: {socketio: {recovery: 2m}}\n"
               "channels: [{match: 'c*', log: true, subscribe: anyone, publish: anyone}]\n");
    fake.base.ops = &FAKE_SHARED_OPS;
    rt_broker_set_journal(t.broker, &fake.base); /* its rules are shared */
    come("c1", "x", 5);
    fake.head = 9;
    ask((struct query){.channel = "c2", .since = true, .offset = 3, .limit = -1});
    answer_read(RT_EIO);
    expect_history("-7 the disk is gone\n");
    ask((struct query){.channel = "c2", .since = true, .offset = 4, .limit = -1});
    expect_history("top E:9\n");
    ask((struct query){.channel = "c3", .since = true, .offset = 4, .limit = -1});
    expect_history("top E:9\n");
    assert_int_equal(fake.read_count, 0);
}

/* ---- positions of other nodes ---- */

static void test_ahead(void **state)
{
    (void)state;
    start();
    come("c", "a", 3);
    ask((struct query){.channel = "c", .since = true, .offset = 5, .epoch = "E", .limit = -1});
    expect_history("");
    come("c", "b", 5);
    come("c", "c", 6);
    WAIT_FOR(t.history.len > 0);
    expect_history("c@6 top E:6\n");
    ask((struct query){.channel = "c", .since = true, .offset = 50, .limit = -1});
    WAIT_FOR(t.history.len > 0);
    expect_history("-3 the position lies ahead of the log\n");
    ask((struct query){.channel = "c", .since = true, .offset = 50, .epoch = "E", .limit = -1});
    WAIT_FOR(t.history.len > 0);
    expect_history("-6 this node has not come to the position yet: try again\n");
}

static void test_not_reached(void **state)
{
    (void)state;
    start();
    fake.epoch[0] = '\0';
    ask((struct query){.channel = "c", .limit = 0});
    expect_history("");
    snprintf(fake.epoch, sizeof(fake.epoch), "E");
    WAIT_FOR(t.history.len > 0);
    expect_history("top E:0\n");
    fake.epoch[0] = '\0';
    ask((struct query){.channel = "c", .limit = 0});
    WAIT_FOR(t.history.len > 0);
    expect_history("-6 the log has not been reached yet: try again\n");
}

static void closed(void *arg)
{
    (void)arg;
    t.closed = true;
}

/* What waits is answered when the broker closes, nothing is left behind. */
static void test_close(void **state)
{
    (void)state;
    start();
    ask((struct query){.channel = "c", .since = true, .offset = 5, .limit = -1});
    rt_broker_close(t.broker, closed, NULL);
    expect_history("-6 the broker is shutting down\n");
    fake.closed(fake.closed_arg);
    assert_true(t.closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_deliver),
        rig_test(test_other_rules),
        rig_test(test_rules_hash),
        rig_test(test_on_publish),
        rig_test(test_on_publish_unknown),
        rig_test(test_forget),
        rig_test(test_skip),
        rig_test(test_other_epoch),
        rig_test(test_memory),
        rig_test(test_unseen),
        rig_test(test_join),
        rig_test(test_join_gap),
        rig_test(test_join_meanwhile),
        rig_test(test_rows_ahead),
        rig_test(test_lag),
        rig_test(test_lag_unseen),
        rig_test(test_lag_for_long),
        rig_test(test_rows_fail),
        rig_test(test_rows_fail_unseen),
        rig_test(test_ahead),
        rig_test(test_not_reached),
        rig_test(test_close),
        rig_test(test_join_time),
        rig_test(test_lag_time),
        rig_test(test_time_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
