/* A channel as server-sent events: live, replayed, both at once, and how it ends. */
#include "unit/admin/admin_rig.h"

#include "unit/alloc_loop.h"

#define HEAD_LINES \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n*\r\n\r\n"

static int set_up_dev(void **state)
{
    if (set_up(state))
        return -1;
    load(CHANNELS ONE_KEY, false);
    return start();
}

static void open_stream(struct peer *p, const char *query, const char *lines)
{
    char target[300], all[300];
    snprintf(target, sizeof(target), "/api/stream?%s", query);
    snprintf(all, sizeof(all), "X-API-Key: secret-0123456789\r\n%s", lines);
    request_raw(p, "GET", target, all, NULL, 0);
}

static size_t count_events(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t at = 0; at + 6 <= len; at++)
        count += memcmp(text + at, "data: ", 6) == 0;
    return count;
}

/* A pattern must not hide an event between two others, unless it has a `*` of its own there. */
static void expect_out_at(struct peer *p, const char *want, int line)
{
    end_turn();
    size_t events = count_events(p->conn->out + p->at, p->conn->out_len - p->at);
    if (!strstr(want, "\n\n*") && events != count_events(want, strlen(want)))
        fail_msg("line %d: %zu events: %s", line, events, p->conn->out + p->at);
    expect_text_at(p->conn->out + p->at, p->conn->out_len - p->at, want, "stream", line);
    p->at = p->conn->out_len;
}
#define expect_out(p, want) expect_out_at((p), (want), __LINE__)

static struct peer *new_stream(const char *query, const char *lines)
{
    struct peer *p = new_peer();
    open_stream(p, query, lines);
    expect_out(p, HEAD_LINES);
    return p;
}

/* Stored by the log, and handed to the hub. */
static void publish(const char *channel, const char *json)
{
    struct rt_message m = {.data = rt_str_c(json), .kind = RT_KIND_JSON, .event = RT_STR("e")};
    struct rt_publish p = {.channel = rt_str_c(channel), .message = &m, .trusted = true};
    struct rt_publish_result r;
    fake.at_once = true;
    assert_int_equal(rt_broker_publish(t.broker, &p, &r), 0);
}

#define EVENT(n, json) "id: E:" #n "\ndata: {\"data\":" json ",\"offset\":" #n ",*}\n\n"
/* Of a row in the log, which is text. */
#define ROW(n) "id: E:" #n "\ndata: {\"data\":\"r\",\"offset\":" #n ",*}\n\n"

/* ---- live ---- */

static void test_live(void **state)
{
    (void)state;
    struct peer *p = new_stream("channel=log:a", ""), *q = new_stream("channel=quiet:%20x", "");
    publish("log:a", "{\"x\": 1}");
    publish("log:a", "\"a\\nb\"");
    publish("log:b", "0");
    publish("quiet: x", "2");
    expect_out(p, EVENT(1, "{\"x\":1}") EVENT(2, "\"a\\nb\""));
    /* No position, so no id: an EventSource would come back with it. */
    expect_out(
        q,
        "data: {\"data\":2,\"offset\":0,\"id\":\"*\",\"time\":*,\"tags\":{\"event\":\"e\"}}\n\n");
    assert_int_equal(rt_hub_channel(rt_broker_hub(t.broker), RT_STR("log:a"), false) != NULL, 1);
    drop(p);
    publish("log:a", "4");
    expect_out(q, "");
}

static void test_keep_alive(void **state)
{
    (void)state;
    struct peer *p = new_stream("channel=log:a", "");
    pass(14999);
    expect_out(p, "");
    pass(1);
    expect_out(p, ":\n\n");
    pass(15000);
    expect_out(p, ":\n\n");
}

static void test_volatile(void **state)
{
    (void)state;
    struct peer *p = new_stream("channel=quiet:a", "");
    struct rt_message m = {.data = RT_STR("1"), .kind = RT_KIND_JSON, .flags = RT_MESSAGE_VOLATILE};
    struct rt_publish publish = {.channel = RT_STR("quiet:a"), .message = &m, .trusted = true};
    struct rt_publish_result r;
    p->conn->busy = true;
    assert_int_equal(rt_broker_publish(t.broker, &publish, &r), 0);
    expect_out(p, "");
    p->conn->busy = false;
    assert_int_equal(rt_broker_publish(t.broker, &publish, &r), 0);
    expect_out(p, "data: *\n\n");
}

/* ---- errors ---- */

static void test_errors(void **state)
{
    static const struct {
        const char *query, *lines;
        int status;
        const char *body;
    } rows[] = {
        {"", "", 400, "*the query has no channel*"},
        {"channel=", "", 400, "*the query has no channel*"},
        {"channel=other", "", 404, "{\"code\":\"unknown_channel\"*"},
        {"channel=log:%00", "", 400, "{\"code\":\"bad_channel\"*control character*"},
        {"channel=log:012345678901234567890123456789", "", 400,
         "{\"code\":\"bad_channel\"*limits.channel_name*"},
        {"channel=log:a&since=x", "", 400, "*since must be OFFSET or EPOCH:OFFSET*"},
        {"channel=log:a&since=", "", 400, "*since must be*"},
        {"channel=log:a&since=-1", "", 400, "*since must be*"},
        {"channel=log:a&since=E:", "", 400, "*since must be*"},
        {"channel=log:a&since=E:1:2", "", 400, "*since must be*"},
        {"channel=log:a&since=012345678901234567890123:1", "", 400, "*since must be*"},
        {"channel=log:a&since=99999999999999999999999", "", 400, "*since must be*"},
        {"channel=log:a", "Last-Event-ID: nonsense\r\n", 400, "*since must be*"},
    };
    (void)state;
    struct peer *p = new_peer();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        open_stream(p, rows[i].query, rows[i].lines);
        expect_json(p, rows[i].status, rows[i].body);
    }
    request_raw(p, "POST", "/api/stream?channel=log:a", "X-API-Key: secret-0123456789\r\n", NULL,
                0);
    expect_json(p, 405, "*use GET*");
    request_raw(p, "GET", "/api/stream?channel=log:a", "", NULL, 0);
    expect_json(p, 401, "*");
    t.stopping = true;
    open_stream(p, "channel=log:a", "");
    expect_json(p, 503, "{\"code\":\"shutting_down\"*");
}

/* ---- replay ---- */

static void test_replay_from_memory(void **state)
{
    static const char *const positions[] = {"since=1", "since=E:1", "since=0&since=1"};
    (void)state;
    fake.no_reads = true;
    for (int i = 0; i < 3; i++)
        publish("log:a", "1");
    for (size_t i = 0; i < 3; i++) {
        char query[100];
        snprintf(query, sizeof(query), "channel=log:a&%s", positions[i]);
        struct peer *p = new_peer();
        open_stream(p, query, "");
        expect_out(p, HEAD_LINES EVENT(2, "1") EVENT(3, "1"));
    }
    struct peer *p = new_peer(), *q = new_peer();
    open_stream(p, "channel=log:a&since=0", "Last-Event-ID: E:2\r\n"); /* the newer one */
    expect_out(p, HEAD_LINES EVENT(3, "1"));
    open_stream(q, "channel=log:a&since=3", "");
    expect_out(q, HEAD_LINES);
    publish("log:a", "2");
    expect_out(p, EVENT(4, "2"));
    expect_out(q, EVENT(4, "2"));
}

static void test_gaps(void **state)
{
    (void)state;
    fake.no_reads = true;
    for (int i = 0; i < 12; i++) /* the rule keeps ten */
        publish("log:a", "1");
    struct peer *p = new_peer();
    open_stream(p, "channel=log:a&since=1", "");
    expect_out(p, HEAD_LINES
               "event: gap\ndata: {\"reason\":\"*\"}\n\n" EVENT(3, "1") "*" EVENT(12, "1"));
    p = new_peer();
    open_stream(p, "channel=log:a&since=F:12", ""); /* another log */
    expect_out(p, HEAD_LINES "event: gap\ndata: {*}\n\n");
    publish("log:a", "2");
    expect_out(p, EVENT(13, "2"));
    p = new_peer();
    open_stream(p, "channel=log:a&since=E:99", ""); /* a log that was put back */
    expect_out(p, HEAD_LINES "event: gap\ndata: {*}\n\n");
}

static void test_not_logged(void **state)
{
    (void)state;
    struct peer *p = new_stream("channel=quiet:a&since=5", "");
    assert_int_equal(fake.read_count, 0);
    publish("quiet:a", "1");
    expect_out(p, "data: *\n\n");
}

/* What comes while the log is read is neither lost nor told twice, and comes last. */
static void test_replay_and_live(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++)
        add_row(i, "r", 0);
    fake.offset = 3;
    struct peer *p = new_stream("channel=log:a&since=1", "");
    assert_int_equal(fake.read_count, 1);
    publish("log:a", "\"r\""); /* 4: after the snapshot of the read */
    publish("log:a", "\"r\""); /* 5: and one that the read finds too */
    end_turn();
    add_row(4, "r", 0);
    add_row(5, "r", 0);
    publish("log:a", "6");
    expect_out(p, "");
    answer_read(0);
    expect_out(p, ROW(2) ROW(3) ROW(4) ROW(5) EVENT(6, "6"));
    publish("log:a", "7");
    expect_out(p, EVENT(7, "7"));
}

static void test_replay_of_nothing(void **state)
{
    (void)state;
    add_row(1, "r", 0);
    fake.offset = 1;
    struct peer *p = new_stream("channel=log:a&since=1", "");
    publish("log:a", "2");
    end_turn();
    answer_read(0);
    expect_out(p, EVENT(2, "2"));
}

/* Pages follow each other as fast as the peer takes them. */
static void test_pages(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 4; i++)
        add_row(i, "r", 0);
    fake.offset = 4;
    fake.page_cut = true;
    struct peer *p = new_stream("channel=log:a&since=0", "");
    assert_int_equal(fake.reads[0]->since, 0);
    fake.row_count = 2;
    fake.top = 4;
    p->conn->busy = true; /* from now on it takes nothing */
    answer_read(0);
    expect_out(p, ROW(1) ROW(2));
    pass(1000);
    assert_int_equal(fake.read_count, 0);
    publish("log:a", "\"r\""); /* 5: the next page has it */
    pass(20000);               /* a keep-alive in between changes nothing */
    p->at = p->conn->out_len;
    fake.row_count = 4;
    add_row(5, "r", 0);
    fake_drain(p->conn);
    end_turn();
    assert_int_equal(fake.read_count, 1);
    assert_int_equal(fake.reads[0]->since, 2);
    fake.page_cut = false;
    answer_read(0);
    expect_out(p, ROW(3) ROW(4) ROW(5));
    publish("log:a", "6");
    expect_out(p, EVENT(6, "6"));
}

/* A keep-alive that is queued in the turn of the next page does not stop the replay. */
static void test_page_beside_keep_alive(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 2; i++)
        add_row(i, "r", 0);
    fake.page_cut = true;
    struct peer *p = new_stream("channel=log:a&since=0", "");
    pass(14999);
    w.loop.now++;
    answer_read(0); /* both timers fire in the next turn */
    expect_out(p, ROW(1) ROW(2) "*:\n\n*");
    assert_int_equal(fake.read_count, 1);
    assert_int_equal(fake.reads[0]->since, 2);
}

static void test_held_has_a_cap(void **state)
{
    (void)state;
    add_row(1, "r", 0);
    fake.offset = 1;
    struct peer *p = new_stream("channel=log:a&since=0", "");
    for (int i = 0; i < 60; i++) {
        publish("log:a", "\"0123456789\"");
        end_turn();
    }
    assert_true(p->conn->closed);
    assert_int_equal(p->conn->reason, RT_CLOSE_SLOW);
    answer_read(0); /* nobody is there any more */
}

static void test_read_fails(void **state)
{
    (void)state;
    struct peer *p = new_stream("channel=log:a&since=0", "");
    answer_read(RT_EIO);
    expect_out(p, "");
    assert_true(p->conn->finished);
}

static void test_gone_while_reading(void **state)
{
    (void)state;
    add_row(1, "r", 0);
    struct peer *p = new_stream("channel=log:a&since=0", ""),
                *q = new_stream("channel=log:a&since=0", "");
    publish("log:a", "2");
    drop(p);
    answer_read(0);
    answer_read(RT_EIO);
    assert_true(q->conn->finished);
    /* Between two pages. */
    fake.page_cut = true;
    p = new_stream("channel=log:b&since=0", "");
    p->conn->busy = true;
    answer_read(0);
    end_turn();
    drop(p);
    pass(100);
    assert_int_equal(fake.read_count, 0);
}

/* ---- drain ---- */

static void test_drain(void **state)
{
    (void)state;
    struct peer *p = new_stream("channel=log:a", ""), *q = new_stream("channel=log:a&since=0", "");
    publish("log:a", "1");
    t.stopping = true;
    rt_admin_drain(t.admin, 0);
    assert_false(p->conn->finished);
    expect_out(p, EVENT(1, "1")); /* what was published before is sent before */
    assert_true(p->conn->finished);
    assert_true(q->conn->finished);
    rt_admin_drain(t.admin, 0);
    end_turn();
}

/* ---- allocations ---- */

static void play(void)
{
    struct peer *p = new_peer(), *q = new_peer();
    open_stream(p, "channel=log:a", "");
    open_stream(q, "channel=log:a&since=0", "");
    end_turn();
    fake.at_once = true;
    struct rt_message m = {.data = RT_STR("1"), .kind = RT_KIND_JSON};
    struct rt_publish publish = {.channel = RT_STR("log:a"), .message = &m, .trusted = true};
    struct rt_publish_result r;
    (void)rt_broker_publish(t.broker, &publish, &r);
    end_turn();
    if (fake.read_count > 0)
        answer_read(0);
    end_turn();
}

static void prepare(void)
{
    load(CHANNELS ONE_KEY, false);
}

static void test_allocations(void **state)
{
    static const struct alloc_loop loop = {
        .set_up = set_up, .prepare = prepare, .start = start, .play = play, .tear_down = tear_down};
    (void)state;
    assert_true(fail_each_allocation(&loop) > 30);
}

#define stream_test(f) cmocka_unit_test_setup_teardown(f, set_up_dev, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        stream_test(test_live),
        stream_test(test_keep_alive),
        stream_test(test_volatile),
        stream_test(test_errors),
        stream_test(test_replay_from_memory),
        stream_test(test_gaps),
        stream_test(test_not_logged),
        stream_test(test_replay_and_live),
        stream_test(test_replay_of_nothing),
        stream_test(test_pages),
        stream_test(test_page_beside_keep_alive),
        stream_test(test_held_has_a_cap),
        stream_test(test_read_fails),
        stream_test(test_gone_while_reading),
        stream_test(test_drain),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
