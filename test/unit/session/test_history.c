/* History: windows, positions, gaps; answered from memory where that is enough, else from the log. */
#include "unit/session/broker_rig.h"

static const char RULES[] =
    "channels:\n"
    "  - {match: 'quiet:*', log: false, subscribe: anyone, publish: anyone}\n"
    "  - {match: 'short:*', log: true, publish: anyone, history: {size: 100, ttl: 1s}}\n"
    "  - {match: 'c*', log: true, subscribe: anyone, publish: anyone, history: {size: 5, ttl: 1h}}\n";

static struct rt_client *someone;

/* `count` messages "1", "2", .. are published and stored. */
static void fill(const char *channel, int count)
{
    static const char *const names[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
    fake.at_once = true;
    if (!someone)
        someone = new_client("p", "");
    for (int i = 0; i < count; i++)
        publish(someone, channel, names[i]);
    rt_buf_clear(&t.answers);
}

static void start(void)
{
    someone = NULL;
    start_with(RULES);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    start();
    ask((struct query){.channel = "quiet:x", .limit = 1});
    expect_history("-4 the channel has no history: its rule in `channels` says `log: false`\n");
    ask((struct query){.channel = "other", .limit = 1});
    expect_history("-4 no rule for this channel*\n");
    ask((struct query){.channel = "", .limit = 1});
    expect_history("-2 the channel's name is empty\n");
    ask((struct query){.channel = "c\xff", .limit = 1});
    expect_history("-2 *\n");
    char name[400];
    memset(name, 'c', sizeof(name));
    name[399] = '\0';
    ask((struct query){.channel = name, .limit = 1});
    expect_history("-2 *limits.channel_name)\n");
    assert_int_equal(fake.read_count, 0);
}

/* ---- memory alone ---- */

static void test_window(void **state)
{
    static const struct {
        int64_t limit;
        bool reverse;
        const char *want;
    } rows[] = {
        {0, false, "top E:3\n"},
        {-1, false, "1@1 2@2 3@3 top E:3\n"},
        {2, false, "1@1 2@2 top E:3 more\n"},
        {3, false, "1@1 2@2 3@3 top E:3\n"},
        {99, false, "1@1 2@2 3@3 top E:3\n"},
        {-1, true, "3@3 2@2 1@1 top E:3\n"},
        {2, true, "3@3 2@2 top E:3 more\n"},
        {0, true, "top E:3\n"},
        {INT64_MAX, false, "1@1 2@2 3@3 top E:3\n"},
        {INT64_MIN, false, "1@1 2@2 3@3 top E:3\n"},
    };
    (void)state;
    start();
    fake.no_reads = true;
    fill("c", 3);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ask((struct query){.channel = "c", .limit = rows[i].limit, .reverse = rows[i].reverse});
        expect_history(rows[i].want);
    }
}

/* Not more than the rule's size. */
static void test_size(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    fill("c", 8);
    ask((struct query){.channel = "c", .limit = -1});
    expect_history("4@4 5@5 6@6 7@7 8@8 top E:8\n");
    ask((struct query){.channel = "c", .limit = 2});
    expect_history("4@4 5@5 top E:8 more\n");
    ask((struct query){.channel = "c", .limit = 2, .reverse = true});
    expect_history("8@8 7@7 top E:8 more\n");
}

static void test_since(void **state)
{
    static const struct {
        struct query q;
        const char *want;
    } rows[] = {
        {{.offset = 3, .limit = -1}, "4@4 5@5 6@6 7@7 8@8 top E:8\n"},
        {{.offset = 6, .limit = -1}, "7@7 8@8 top E:8\n"},
        {{.offset = 6, .limit = 1}, "7@7 top E:8 more\n"},
        {{.offset = 6, .limit = 0}, "top E:8\n"},
        {{.offset = 8, .limit = -1}, "top E:8\n"},
        {{.offset = 2, .limit = -1}, "4@4 5@5 6@6 7@7 8@8 top E:8 gap\n"},
        {{.offset = 0, .limit = 1}, "4@4 top E:8 gap more\n"},
        {{.offset = 6, .limit = -1, .epoch = "E"}, "7@7 8@8 top E:8\n"},
        {{.offset = 6, .limit = -1, .epoch = "F"}, "-3 the position is of another epoch\n"},
        {{.offset = 9, .limit = -1}, "-3 the position lies ahead of the log\n"},
        {{.offset = UINT64_MAX, .limit = -1}, "-3 the position lies ahead of the log\n"},
        {{.offset = 7, .limit = -1, .reverse = true}, "6@6 5@5 4@4 top E:8\n"},
        {{.offset = 7, .limit = 2, .reverse = true}, "6@6 5@5 top E:8 more\n"},
        {{.offset = UINT64_MAX, .limit = 1, .reverse = true}, "8@8 top E:8 more\n"},
        {{.offset = 4, .limit = -1, .reverse = true}, "top E:8\n"},
        {{.offset = 0, .limit = -1, .reverse = true}, "top E:8\n"},
    };
    (void)state;
    start();
    fake.no_reads = true;
    fill("c", 8);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query q = rows[i].q;
        q.channel = "c";
        q.since = true;
        ask(q);
        expect_history(rows[i].want);
    }
}

static void test_ttl(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    fill("short:x", 2);
    ask((struct query){.channel = "short:x", .limit = -1});
    expect_history("1@1 2@2 top E:2\n");
    WAIT_FOR((rt_buf_clear(&t.history), ask((struct query){.channel = "short:x", .limit = -1}),
              rt_str_eq(rt_buf_str(&t.history), RT_STR("top E:2\n"))));
    rt_buf_clear(&t.history);
    ask((struct query){.channel = "short:x", .limit = -1, .since = true, .offset = 2});
    expect_history("top E:2\n");
}

/* Asks for what was published `age` ms ago and later. */
static void ask_age(uint64_t now, uint64_t age, struct query q)
{
    q.channel = "c";
    q.time = now - age;
    ask(q);
}

/* The time of a message that is kept, once the clock has gone on. */
static uint64_t time_of(size_t index)
{
    const struct rt_channel *c = rt_hub_channel(rt_broker_hub(t.broker), RT_STR("c"), false);
    uint64_t time = rt_channel_kept_at(c, index)->m.time;
    WAIT_FOR(rt_wall_ms() > time);
    return time;
}

static void test_time(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    fill("c", 1);
    fake.offset += 3;
    uint64_t first = time_of(0);
    fill("c", 1);
    uint64_t second = time_of(1);
    assert_true(second > first);
    ask((struct query){.channel = "c", .time = first, .limit = -1});
    expect_history("1@1 1@5 top E:5\n");
    ask((struct query){.channel = "c", .time = 1, .limit = 1});
    expect_history("1@1 top E:5 more\n");
    ask((struct query){.channel = "c", .time = first + 1, .limit = -1});
    expect_history("1@5 top E:5\n");
    ask((struct query){.channel = "c", .time = second, .limit = -1});
    expect_history("1@5 top E:5\n");
    ask((struct query){.channel = "c", .time = second + 1, .limit = -1});
    expect_history("top E:5\n");
    ask((struct query){.channel = "c", .time = second, .limit = 0});
    expect_history("top E:5\n");
    ask((struct query){.channel = "c", .time = first, .limit = -1, .reverse = true});
    expect_history("top E:5\n");
    ask((struct query){.channel = "c", .time = second, .limit = -1, .reverse = true});
    expect_history("1@1 top E:5\n");
    ask((struct query){.channel = "c", .time = UINT64_MAX, .limit = 1, .reverse = true});
    expect_history("1@5 top E:5 more\n");
    ask((struct query){.channel = "c9", .time = first, .limit = -1}); /* never seen */
    expect_history("top *:0\n");
    /* Memory alone, and it has not kept what would be first. */
    fill("c", 5);
    ask((struct query){.channel = "c", .time = first, .limit = 1});
    expect_history("1@6 top E:10 gap more\n");
}

/* A channel that was never seen has a position: whoever comes back with it gets what follows, or is told of a new epoch. */
static void test_unseen(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    ask((struct query){.channel = "c", .limit = -1});
    expect_history("top ????????:0\n");
    ask((struct query){.channel = "c2", .limit = -1, .since = true, .epoch = "E"});
    expect_history("-3 the position is of another epoch\n");
}

/* The one who asks may publish from inside: what was found stays valid. */
static void publish_inside(void *arg, const struct rt_history_result *r)
{
    (void)arg;
    fill("c", 8);
    note_history(NULL, r);
}

static void test_publish_inside(void **state)
{
    (void)state;
    start();
    fake.no_reads = true;
    fill("c", 3);
    struct rt_history h = {.channel = RT_STR("c"), .limit = -1, .done = publish_inside};
    rt_broker_history(t.broker, &h);
    expect_history("1@1 2@2 3@3 top E:3\n");
}

/* ---- the log ---- */

static void fill_log(void)
{
    for (int i = 0; i < 8; i++)
        add_row((uint64_t)i * 10 + 10, "r", 1000);
}

static void expect_read(uint64_t since, bool reverse, uint32_t limit)
{
    assert_int_equal(fake.read_count, 1);
    const struct rt_read *read = fake.reads[0];
    assert_int_equal(read->since, since);
    assert_int_equal(read->reverse, reverse);
    assert_int_equal(read->limit, limit);
    expect_history("");
}

static void test_log_window(void **state)
{
    (void)state;
    start();
    fill_log();
    ask((struct query){.channel = "c", .limit = -1});
    expect_read(0, true, 5); /* the newest ones that the rule allows */
    answer_read(0);
    expect_history("r@40 r@50 r@60 r@70 r@80 top E:80\n");
    ask((struct query){.channel = "c", .limit = 2});
    answer_read(0);
    expect_history("r@40 r@50 top E:80 more\n");
    ask((struct query){.channel = "c", .limit = 2, .reverse = true});
    answer_read(0);
    expect_history("r@80 r@70 top E:80 more\n");
    ask((struct query){.channel = "c", .limit = 0});
    expect_read(0, false, 0);
    answer_read(0);
    expect_history("top E:80\n");
}

static void test_log_ttl(void **state)
{
    (void)state;
    start();
    add_row(1, "old", 3600001);
    add_row(2, "young", 3000000);
    ask((struct query){.channel = "c", .limit = -1});
    answer_read(0);
    expect_history("young@2 top E:2\n");
    /* With a position the log's own retention counts. */
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 0});
    answer_read(0);
    expect_history("old@1 young@2 top E:2\n");
}

static void test_log_since(void **state)
{
    (void)state;
    start();
    fill_log();
    ask((struct query){.channel = "c", .limit = 2, .since = true, .offset = 20, .epoch = "E"});
    expect_read(20, false, 2);
    answer_read(0);
    expect_history("r@30 r@40 top E:80 more\n");
    ask((struct query){.channel = "c", .limit = 5, .since = true, .offset = 50});
    answer_read(0);
    expect_history("r@60 r@70 r@80 top E:80\n");
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 50});
    expect_read(50, false, 10000);
    answer_read(0);
    expect_history("r@60 r@70 r@80 top E:80\n");
    ask((struct query){.channel = "c", .limit = 2, .since = true, .offset = 50, .reverse = true});
    expect_read(50, true, 2);
    answer_read(0);
    expect_history("r@40 r@30 top E:80 more\n");
    ask((struct query){.channel = "c", .limit = 2, .since = true, .offset = 0, .reverse = true});
    answer_read(0);
    expect_history("top E:80\n");
    ask((struct query){.channel = "c", .limit = 2, .since = true, .offset = 20, .epoch = "F"});
    answer_read(0);
    expect_history("-3 the position is of another epoch\n");
    ask((struct query){.channel = "c", .limit = 2, .since = true, .offset = 81, .epoch = "E"});
    answer_read(0);
    expect_history("-3 the position lies ahead of the log\n");
}

/* A position of an earlier epoch: the journal says whether it is good, also where memory has what follows. */
static void test_former_epoch(void **state)
{
    (void)state;
    start();
    fill_log();
    fake.offset = 80;
    fill("c", 2);
    struct query q = {.channel = "c", .limit = -1, .since = true, .offset = 80};
    ask(q);
    expect_history("1@81 2@82 top E:82\n"); /* from memory */
    q.epoch = "D";
    ask(q);
    answer_read(0);
    expect_history("-3 the position is of another epoch\n");
    snprintf(fake.former_epoch, sizeof(fake.former_epoch), "D");
    q.offset = 70;
    ask(q);
    expect_read(70, false, 10000);
    answer_read(0);
    expect_history("r@80 top E:80\n");
    q.offset = 81; /* more than the log has */
    ask(q);
    answer_read(0);
    expect_history("-3 the position lies ahead of the log\n");
}

/* What memory has begins with messages from a clock that was set back by an hour; those before them say a later time, and are not there. */
static void test_time_set_back(void **state)
{
    (void)state;
    start();
    fill("c", 2);
    struct rt_channel *c = rt_hub_channel(rt_broker_hub(t.broker), RT_STR("c"), false);
    uint64_t before = rt_channel_kept_at(c, 1)->m.time, hour = 3600000;
    fill("c", 5); /* as many as are kept: the first two are gone */
    assert_int_equal(rt_channel_kept(c), 5);
    for (size_t i = 0; i < 4; i++)
        rt_channel_kept_at(c, i)->m.time -= hour;
    ask((struct query){.channel = "c", .time = before, .limit = -1});
    assert_int_equal(fake.read_count,
                     1); /* memory does not say that the last one is the first of the time */
    answer_read(0);
    rt_buf_clear(&t.history);
    uint64_t after = rt_channel_kept_at(c, 4)->m.time + 1;
    ask((struct query){.channel = "c", .time = after, .limit = -1});
    assert_int_equal(fake.read_count, 0);
    expect_history("top E:7\n");
    /* Without anything behind it memory says that there was more. */
    fake.no_reads = true;
    ask((struct query){.channel = "c", .time = before, .limit = 1});
    expect_history("1@3 top E:7 gap more\n");
}

static void test_log_time(void **state)
{
    (void)state;
    start();
    uint64_t now = rt_wall_ms();
    for (uint64_t i = 1; i <= 6; i++)
        add_row(i * 10, "r", (now = rt_wall_ms(), 7000 - i * 1000));
    fake.oldest = 1;
    fake.rows[3]->m.time = fake.rows[1]->m.time; /* a clock was set back */
    ask_age(now, 4500, (struct query){.limit = 2});
    assert_true(fake.reads[0]->by_time && fake.reads[0]->time == now - 4500);
    assert_false(fake.reads[0]->reverse);
    answer_read(0);
    expect_history("r@30 r@40 top E:60 more\n");
    ask_age(now, 2500, (struct query){.limit = -1});
    answer_read(0);
    expect_history("r@50 r@60 top E:60\n");
    ask_age(now, 60000, (struct query){.limit = -1});
    answer_read(0);
    expect_history("r@10 r@20 r@30 r@40 r@50 r@60 top E:60\n");
    ask_age(now, 0, (struct query){.limit = -1});
    answer_read(0);
    expect_history("top E:60\n");
    ask_age(now, 4500, (struct query){.limit = 1, .reverse = true});
    answer_read(0);
    expect_history("r@20 top E:60 more\n");
    ask_age(now, 60000, (struct query){.limit = -1, .reverse = true});
    answer_read(0);
    expect_history("top E:60\n");
    ask_age(now, 0, (struct query){.limit = 2, .reverse = true});
    answer_read(0);
    expect_history("r@60 r@50 top E:60 more\n");
    /* Retention has removed what came before the first that is there: some of that may have been of the time. */
    fake.oldest = 10;
    ask_age(now, 60000, (struct query){.limit = 1});
    answer_read(0);
    expect_history("r@10 top E:60 gap more\n");
    ask_age(now, 4500, (struct query){.limit = 1});
    answer_read(0);
    expect_history("r@30 top E:60 more\n");
}

/* Retention has removed what followed the position. */
static void test_log_gap(void **state)
{
    (void)state;
    start();
    fake.oldest = 6;
    add_row(6, "r", 0);
    add_row(7, "r", 0);
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 5});
    answer_read(0);
    expect_history("r@6 r@7 top E:7\n");
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 4});
    answer_read(0);
    expect_history("r@6 r@7 top E:7 gap\n");
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 4, .reverse = true});
    answer_read(0);
    expect_history("top E:7\n");
    /* All of it. */
    rt_stored_unref(fake.rows[0]);
    rt_stored_unref(fake.rows[1]);
    fake.row_count = 0;
    fake.oldest = 0;
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 6});
    answer_read(0);
    expect_history("top E:7 gap\n");
    ask((struct query){.channel = "c", .limit = -1, .since = true, .offset = 7});
    answer_read(0);
    expect_history("top E:7\n");
}

static void test_log_page(void **state)
{
    (void)state;
    start();
    fill_log();
    fake.page_cut = true; /* by bytes */
    ask((struct query){.channel = "c", .limit = 4, .since = true, .offset = 60});
    answer_read(0);
    expect_history("r@70 r@80 top E:80 more\n");
}

static void test_log_errors(void **state)
{
    (void)state;
    start();
    fill_log();
    ask((struct query){.channel = "c", .limit = -1});
    answer_read(RT_EIO);
    expect_history("-7 the disk is gone\n");
}

/* Memory is asked first, and only where it knows all of the answer. */
static void test_which_source(void **state)
{
    static const struct {
        struct query q;
        bool memory;
    } rows[] = {
        {{.limit = 0}, true},
        {{.limit = -1}, true}, /* as many as the window has */
        {{.limit = -1, .since = true, .offset = 3}, true},
        {{.limit = -1, .since = true, .offset = 2}, false},
        {{.limit = -1, .since = true, .offset = 7, .reverse = true}, false},
        {{.limit = -1, .time = 1}, false},
        {{.limit = -1, .time = UINT64_MAX - 1}, true}, /* all that it has is far older */
        {{.limit = -1, .time = UINT64_MAX - 1, .reverse = true}, false},
        {{.limit = 0, .time = 1}, true},
    };
    (void)state;
    start();
    fill("c", 8);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct query q = rows[i].q;
        q.channel = "c";
        ask(q);
        assert_int_equal(fake.read_count, rows[i].memory ? 0 : 1);
        if (!rows[i].memory)
            answer_read(0);
        rt_buf_clear(&t.history);
    }
    /* Three messages since the start say nothing of what was before. */
    fill("c2", 3);
    ask((struct query){.channel = "c2", .limit = -1});
    assert_int_equal(fake.read_count, 1);
}

/* After a restart, with somebody subscribed before the first message. */
static void test_fresh_object(void **state)
{
    (void)state;
    start();
    fill_log();
    someone = new_client("p", "");
    assert_int_equal(rt_broker_subscribe(someone, RT_STR("c"), false, NULL), 0);
    struct rt_channel *c = rt_hub_channel(rt_broker_hub(t.broker), RT_STR("c"), false);
    rt_channel_set_epoch(c, "E");
    ask((struct query){.channel = "c", .limit = 1, .since = true, .offset = 70, .epoch = "E"});
    answer_read(0);
    expect_history("r@80 top E:80 more\n");
}

/* Reads are answered each for itself, also when several are under way. */
static void test_several(void **state)
{
    (void)state;
    start();
    fill_log();
    ask((struct query){.channel = "c", .limit = 1, .since = true, .offset = 10});
    ask((struct query){.channel = "c", .limit = 1, .since = true, .offset = 30});
    answer_read(0);
    answer_read(0);
    expect_history("r@20 top E:80 more\nr@40 top E:80 more\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_refusals),       rig_test(test_window),        rig_test(test_size),
        rig_test(test_since),          rig_test(test_ttl),           rig_test(test_unseen),
        rig_test(test_publish_inside), rig_test(test_log_window),    rig_test(test_log_ttl),
        rig_test(test_log_since),      rig_test(test_former_epoch),  rig_test(test_log_gap),
        rig_test(test_log_page),       rig_test(test_log_errors),    rig_test(test_which_source),
        rig_test(test_fresh_object),   rig_test(test_several),       rig_test(test_time),
        rig_test(test_log_time),       rig_test(test_time_set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
