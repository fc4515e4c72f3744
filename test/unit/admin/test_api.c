/* The server API: publish, history, channels, info; who may call it; what every error says. */
#include "unit/admin/admin_rig.h"

#include "unit/alloc_loop.h"

#define CONFIG CHANNELS ONE_KEY

/* ---- who may ---- */

static void test_keys(void **state)
{
    static const struct {
        const char *lines;
        int status;
    } rows[] = {
        {"", 401},
        {"X-API-Key: \r\n", 401},
        {"X-API-Key: secret\r\n", 401},
        {"X-API-Key: secret-01234567890\r\n", 401},
        {"X-API-Key: secret-0123456789\r\n", 200},
        {"X-API-Key: other-0123456789\r\n", 200},
        {"Authorization: apikey secret-0123456789\r\n", 200},
        {"Authorization: ApiKey   secret-0123456789 \r\n", 200},
        {"Authorization: Bearer secret-0123456789\r\n", 401},
        {"Authorization: secret-0123456789\r\n", 401},
        {"X-API-Key: wrong\r\nAuthorization: apikey secret-0123456789\r\n", 401},
    };
    (void)state;
    start_with(CONFIG);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *p = new_peer();
        request_raw(p, "POST", "/api/info", rows[i].lines, "{}", 2);
        expect_json(p, rows[i].status, rows[i].status == 200 ? "{\"result\":*" : "*");
        if (rows[i].status != 200) {
            p = new_peer(); /* the body of the first was not awaited */
            request_raw(p, "POST", "/api/info", rows[i].lines, "{}", 2);
            expect_json(p, 401,
                        "{\"code\":\"unauthorized\",\"message\":\"the API key is missing or "
                        "unknown\",\"hint\":\"send one of api.keys as X-API-Key\",\"request_id\":"
                        "\"*\"}");
        }
    }
    assert_int_equal(metric("api_requests_total", "\"ok\""), 4);
    assert_int_equal(metric("api_requests_total", "refused"), 14);
}

static void test_no_keys(void **state)
{
    (void)state;
    start_with(CHANNELS);
    struct peer *p = new_peer();
    call(p, "/api/info", "{}");
    expect_json(p, 403, "{\"code\":\"api_closed\"*\"hint\":\"set api.keys to *");
}

static void test_dev(void **state)
{
    (void)state;
    start_with(NULL);
    struct peer *p = new_peer();
    request_raw(p, "POST", "/api/publish", "", "{\"channel\":\"x\",\"data\":1}", 24);
    assert_true(rt_str_eq(fake.appends[0]->message->m.publisher, RT_STR("api:")));
    commit_all();
    expect_json(p, 200, "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
}

static void test_switched_off(void **state)
{
    (void)state;
    start_with(CHANNELS "api: {enabled: false}\n");
    struct peer *p = new_peer();
    call(p, "/api/info", "{}");
    expect_json(p, 404, "*not_found*");
}

/* On a listener of its own nothing of it is to be found elsewhere. */
static void test_internal(void **state)
{
    static const char *const paths[] = {"/api/info", "/api/nothing", "/healthz", "/readyz",
                                        "/metrics"};
    (void)state;
    load(CONFIG "http: {internal: '127.0.0.1:9'}\n", false);
    w.internal_listener = true;
    assert_int_equal(start(), 0);
    struct peer *p = new_peer(), *inside = &w.peers[w.peer_count++];
    inside->conn = fake_conn_new(&w.loop, "127.0.0.1");
    rt_http_accept_internal(w.http, inside->conn);
    for (size_t i = 0; i < 5; i++) {
        request_raw(p, "GET", paths[i], "", NULL, 0);
        expect_json(p, 404, "{\"code\":\"not_found\"*");
        if (i < 2)
            call(inside, paths[i], "{}");
        else
            request_raw(inside, "GET", paths[i], "", NULL, 0);
        end_turn();
        const char *body;
        size_t len;
        assert_int_equal(take_answer(inside, &body, &len), i == 1 ? 404 : 200);
    }
}

static void test_methods(void **state)
{
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    request_raw(p, "GET", "/api/publish", "X-API-Key: secret-0123456789\r\n", NULL, 0);
    expect_json(p, 405, "{\"code\":\"method_not_allowed\",\"message\":\"use POST\"*");
    assert_non_null(strstr(answer_head, "Allow: POST\r\n"));
    call(p, "/api/presence", "{}");
    expect_json(p, 404, "{\"code\":\"unknown_method\",*publish, history, channels, info*");
}

/* ---- publish ---- */

static void test_publish(void **state)
{
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    call(p, "/api/publish",
         "{\"channel\":\"log:a\",\"data\":{\"text\" : \"h\\u00e9\", \"n\":1.50},\"event\":\"e\","
         "\"idempotency_key\":\"k1\"}");
    expect_nothing(p); /* not before the log has it */
    assert_int_equal(fake.append_count, 1);
    const struct rt_message *m = &fake.appends[0]->message->m;
    assert_int_equal(m->kind, RT_KIND_JSON);
    assert_true(rt_str_eq(m->data, RT_STR("{\"text\":\"h\\u00e9\",\"n\":1.50}"))); /* as written */
    assert_true(rt_str_eq(m->event, RT_STR("e")));
    assert_true(rt_str_eq(m->key, RT_STR("k1")));
    assert_true(rt_str_eq(m->publisher, RT_STR("api:backend")));
    commit_all();
    expect_json(p, 200, "{\"result\":{\"offset\":1,\"epoch\":\"E\"}}");
    call(p, "/api/publish", "{\"channel\":\"log:a\",\"data\":null,\"idempotency_key\":\"k1\"}");
    assert_true(rt_str_eq(fake.appends[0]->message->m.data, RT_STR("null")));
    commit_at(0, 0, true);
    expect_json(p, 200, "{\"result\":{\"offset\":1,\"epoch\":\"E\",\"duplicate\":true}}");
    call(p, "/api/publish", "{\"channel\":\"quiet:a\",\"data\":\"x\"}");
    expect_json(p, 200, "{\"result\":{}}");
    assert_int_equal(metric("api_requests_total", "\"ok\""), 3);
}

static void test_publish_bytes(void **state)
{
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    call(p, "/api/publish", "{\"channel\":\"log:a\",\"b64data\":\"AP8-_w\"}");
    const struct rt_message *m = &fake.appends[0]->message->m;
    assert_int_equal(m->kind, RT_KIND_BYTES);
    assert_true(rt_str_eq(m->data, RT_STR("\0\xff>\xff")));
    commit_all();
    expect_json(p, 200, "{\"result\":*");
    call(p, "/api/publish", "{\"channel\":\"log:a\",\"b64data\":\"\"}");
    assert_int_equal(fake.appends[0]->message->m.data.len, 0);
    commit_all();
    expect_json(p, 200, "{\"result\":*");
}

static void test_publish_errors(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *answer;
    } rows[] = {
        {"", 400, "*either `data` (JSON) or `b64data`*"},
        {"{}", 400, "{\"code\":\"bad_request\",\"message\":\"give either `data`*"},
        {"{\"channel\":\"log:a\"}", 400, "*give either*"},
        {"{\"channel\":\"log:a\",\"data\":1,\"b64data\":\"YQ==\"}", 400, "*give either*"},
        {"{\"channel\":\"log:a\",\"b64data\":\"*\"}", 400, "*field b64data is no base64*"},
        {"{\"data\":1}", 400, "*the channel's name is empty*"},
        {"{\"channel\":7,\"data\":1}", 400, "*field channel must be a string*"},
        {"{\"channel\":\"log:a\",\"data\":1,\"event\":{}}", 400, "*field event must be*"},
        {"{\"channel\":\"log:a\",\"data\":1,\"chanel\":\"x\"}", 400,
         "*unknown field \\\"chanel\\\"*"},
        {"{\"channel\":\"log:a\",\"data\":1} x", 400, "{\"code\":\"bad_request\"*"},
        {"{\"channel\":\"log:a\",\"data\":}", 400, "{\"code\":\"bad_request\"*"},
        {"[]", 400, "{\"code\":\"bad_request\"*"},
        {"nonsense", 400, "{\"code\":\"bad_request\"*"},
        {"{\"channel\":\"other\",\"data\":1}", 404,
         "{\"code\":\"unknown_channel\",\"message\":\"no rule for channel \\\"other\\\"*"},
        {"{\"channel\":\"log:6789012345678901234567890\",\"data\":1}", 413,
         "{\"code\":\"limit_exceeded\",*limits.channel_name*"},
    };
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char body[200];
        snprintf(body, sizeof(body), "%s", rows[i].body);
        if (i == 14) /* one byte too long */
            snprintf(body, sizeof(body), "{\"channel\":\"log:%.*s\",\"data\":1}", 27,
                     "0123456789012345678901234567");
        call(p, "/api/publish", body);
        end_turn();
        expect_json(p, rows[i].status, rows[i].answer);
    }
    assert_int_equal(fake.append_count, 0);
    static char large[1100];
    int n = snprintf(large, sizeof(large), "{\"channel\":\"log:a\",\"data\":\"%01000d\"}", 1);
    assert_true(n > 1000);
    call(p, "/api/publish", large);
    expect_json(p, 413, "{\"code\":\"limit_exceeded\",\"message\":\"the message has 1002 bytes*");
    static char huge[7000];
    memset(huge, ' ', sizeof(huge) - 1);
    call(p, "/api/publish", huge);
    expect_json(p, 413, "*");
}

static void test_answers_of_the_log(void **state)
{
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    const char *body = "{\"channel\":\"log:a\",\"data\":1}";
    call(p, "/api/publish", body);
    commit_at(0, RT_EAGAIN, false);
    expect_json(p, 503,
                "{\"code\":\"retry\",\"message\":\"the log said -6\",\"request_id\":\"*\"}");
    assert_non_null(strstr(answer_head, "Retry-After: 1\r\n"));
    call(p, "/api/publish", body);
    commit_at(0, RT_EUNKNOWN, false);
    expect_json(p, 504,
                "{\"code\":\"unknown\",\"message\":\"the log said -10\",\"hint\":\"it may be "
                "stored; send it again with the same idempotency_key\",*");
    fake.refuse = RT_ECLOSED;
    call(p, "/api/publish", body);
    expect_json(p, 503, "{\"code\":\"retry\",*");
    fake.refuse = 0;
    fake.congested = true;
    call(p, "/api/publish", body);
    expect_json(p, 503, "{\"code\":\"retry\",*cannot keep up, nothing was stored*");
    assert_int_equal(fake.append_count, 0);
    fake.congested = false;
    assert_int_equal(metric("api_requests_total", "failed"), 4);
    call(p, "/api/publish", body);
    commit_all();
    expect_json(p, 200, "*");
}

/* The caller has gone: what it asked for happens, the answer goes nowhere. */
static void test_caller_gone(void **state)
{
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer(), *q = new_peer();
    call(p, "/api/publish", "{\"channel\":\"log:a\",\"data\":1}");
    call(q, "/api/history", "{\"channel\":\"log:b\",\"limit\":1}");
    drop(p);
    drop(q);
    commit_all();
    answer_read(0);
    p = new_peer();
    call(p, "/api/history",
         "{\"channel\":\"log:a\",\"limit\":1,\"since\":{\"offset\":0,\"epoch\":\"E\"}}");
    expect_json(p, 200, "{\"result\":{\"publications\":[{\"data\":1,\"offset\":1,*");
}

/* ---- history ---- */

static void publish_all_kinds(struct peer *p)
{
    fake.at_once = true;
    call(p, "/api/publish", "{\"channel\":\"log:a\",\"data\":{\"a\":[1, 2]}}");
    expect_json(p, 200, "*");
    call(p, "/api/publish", "{\"channel\":\"log:a\",\"b64data\":\"AQI=\",\"event\":\"e\"}");
    expect_json(p, 200, "*");
    struct rt_message m = {.data = RT_STR("te\"xt"), .kind = RT_KIND_TEXT, .event = RT_STR("t")};
    struct rt_publish publish = {.channel = RT_STR("log:a"), .message = &m, .trusted = true};
    struct rt_publish_result r;
    assert_int_equal(rt_broker_publish(t.broker, &publish, &r), 0);
    struct rt_str parts[] = {RT_STR("\1"), RT_STR("")};
    m = (struct rt_message){.data = RT_STR("[{\"_placeholder\":true,\"num\":0}]"),
                            .kind = RT_KIND_JSON,
                            .attachments = parts,
                            .attachment_count = 2};
    assert_int_equal(rt_broker_publish(t.broker, &publish, &r), 0);
    m = (struct rt_message){.data = RT_STR("\3"), .kind = RT_KIND_BYTES};
    assert_int_equal(rt_broker_publish(t.broker, &publish, &r), 0);
}

#define REST ",\"id\":\"*-*-7*-*-*\",\"time\":17*"

static void test_history_forms(void **state)
{
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    fake.no_reads = true;
    publish_all_kinds(p);
    call(p, "/api/history", "{\"channel\":\"log:a\",\"limit\":-1}");
    expect_json(p, 200,
                "{\"result\":{\"publications\":["
                "{\"data\":{\"a\":[1,2]},\"offset\":1" REST "},"
                "{\"data\":\"AQI=\",\"offset\":2" REST
                ",\"tags\":{\"event\":\"e\",\"encoding\":\"base64\"}},"
                "{\"data\":\"te\\\"xt\",\"offset\":3" REST ",\"tags\":{\"event\":\"t\"}},"
                "{\"data\":[{\"_placeholder\":true,\"num\":0}],\"offset\":4" REST
                ",\"attachments\":[\"AQ==\",\"\"]},"
                "{\"data\":\"Aw==\",\"offset\":5" REST ",\"tags\":{\"encoding\":\"base64\"}}"
                "],\"epoch\":\"E\",\"offset\":5}}");
    call(p, "/api/history", "{\"channel\":\"log:a\"}");
    expect_json(p, 200, "{\"result\":{\"publications\":[],\"epoch\":\"E\",\"offset\":5}}");
    call(p, "/api/history", "{\"channel\":\"log:a\",\"limit\":1,\"reverse\":true}");
    expect_json(p, 200, "{\"result\":{\"publications\":[{\"data\":\"Aw==\",\"offset\":5,*}]*");
}

/* Page by page, as a backend would. */
static void test_history_pages(void **state)
{
    char body[200];
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    for (uint64_t i = 1; i <= 7; i++)
        add_row(i, "r", 0);
    for (unsigned since = 0; since < 7; since += 3) {
        snprintf(body, sizeof(body),
                 "{\"channel\":\"log:a\",\"limit\":3,\"since\":{\"offset\":%u,\"epoch\":\"E\"}}",
                 since);
        call(p, "/api/history", body);
        answer_read(0);
        char want[200];
        snprintf(want, sizeof(want),
                 "{\"result\":{\"publications\":[{\"data\":\"r\",\"offset\":%u,*"
                 "],\"epoch\":\"E\",\"offset\":7*}}",
                 since + 1);
        expect_json(p, 200, want);
    }
    call(
        p, "/api/history",
        "{\"channel\":\"log:a\",\"limit\":3,\"since\":{\"publications\":[{\"data\":1}],\"epoch\":\"E\","
        "\"offset\":7,\"gap\":true,\"duplicate\":true}}"); /* a result handed back */
    answer_read(0);
    expect_json(p, 200, "{\"result\":{\"publications\":[],\"epoch\":\"E\",\"offset\":7}}");
    fake.oldest = 4;
    call(p, "/api/history", "{\"channel\":\"log:a\",\"limit\":1,\"since\":{\"offset\":1}}");
    answer_read(0);
    expect_json(p, 200, "{*,\"gap\":true*");
}

static void test_history_errors(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *answer;
    } rows[] = {
        {"{\"channel\":\"other\"}", 404, "{\"code\":\"unknown_channel\"*"},
        {"{\"channel\":\"quiet:a\"}", 404, "{\"code\":\"unknown_channel\",*`log: false`*"},
        {"{}", 400, "*the channel's name is empty*"},
        {"{\"channel\":\"log:0123456789012345678901234567\"}", 400, "*limits.channel_name*"},
        {"{\"channel\":\"log:a\",\"limit\":\"x\"}", 400, "*field limit must be*"},
        {"{\"channel\":\"log:a\",\"limit\":1.5}", 400, "*field limit must be*"},
        {"{\"channel\":\"log:a\",\"reverse\":1}", 400, "*field reverse must be*"},
        {"{\"channel\":\"log:a\",\"since\":5}", 400, "*field since must be*"},
        {"{\"channel\":\"log:a\",\"since\":{\"offset\":-1}}", 400, "*field since.offset must be*"},
        {"{\"channel\":\"log:a\",\"since\":{\"offset\":1,\"x\":1}}", 400, "*since.x*"},
        {"{\"channel\":\"log:a\",\"since\":{\"epoch\":\"012345678901234567890123\"}}", 400,
         "*field since.epoch is longer than 23 bytes*"},
        {"{\"channel\":\"log:a\",\"data\":1}", 400, "*"},
        {"{\"channel\":\"log:a\",\"since_time\":\"2026-11-24\"}", 400,
         "*field since_time must be*"},
        {"{\"channel\":\"log:a\",\"since_time\":-1}", 400, "*field since_time must be*"},
        {"{\"channel\":\"log:a\",\"since_time\":1.5}", 400, "*field since_time must be*"},
        {"{\"channel\":\"log:a\",\"since_time\":1,\"since\":{\"offset\":1}}", 400,
         "*either `since` (a position) or `since_time`*"},
    };
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        call(p, "/api/history", rows[i].body);
        end_turn();
        if (fake.read_count > 0)
            fail_msg("row %zu was read", i);
        expect_json(p, rows[i].status, rows[i].answer);
    }
    add_row(1, "r", 0);
    call(p, "/api/history", "{\"channel\":\"log:a\",\"since\":{\"offset\":1,\"epoch\":\"F\"}}");
    answer_read(0);
    expect_json(p, 416, "{\"code\":\"unrecoverable_position\",*another epoch*");
    call(p, "/api/history", "{\"channel\":\"log:a\",\"since\":{\"offset\":2,\"epoch\":\"E\"}}");
    answer_read(0);
    expect_json(p, 416, "{\"code\":\"unrecoverable_position\",*ahead of the log*");
    call(p, "/api/history", "{\"channel\":\"log:a\"}");
    answer_read(RT_EIO);
    expect_json(p, 500, "{\"code\":\"internal\",\"message\":\"the disk is gone\",*");
}

/* ---- channels, info ---- */

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    (void)self;
    (void)bytes;
    (void)off;
    (void)len;
}

static bool writable(struct rt_subscriber *self)
{
    (void)self;
    return true;
}

static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    (void)self;
    rt_buf_add_str(out, m->data);
}

static void test_channels(void **state)
{
    static const struct rt_subscriber_ops ops = {.deliver = deliver, .writable = writable};
    static const struct rt_encoding encoding = {.encode = encode};
    struct rt_client clients[3];
    (void)state;
    start_with(CONFIG);
    struct peer *p = new_peer();
    call(p, "/api/channels", "{}");
    expect_json(p, 200, "{\"result\":{\"channels\":{}}}");
    for (int i = 0; i < 3; i++) {
        clients[i] = (struct rt_client){.broker = t.broker};
        rt_subscriber_init(&clients[i].subscriber, &ops, &encoding);
        assert_int_equal(rt_broker_subscribe(&clients[i], RT_STR("log:\"a\""), true, NULL), 0);
    }
    assert_int_equal(rt_broker_subscribe(&clients[0], RT_STR("quiet:b"), true, NULL), 0);
    assert_non_null(rt_hub_channel(rt_broker_hub(t.broker), RT_STR("log:empty"), true));
    call(p, "/api/channels", "{\"pattern\":\"log:*\"}");
    expect_json(p, 200, "{\"result\":{\"channels\":{\"log:\\\"a\\\"\":{\"num_clients\":3}}}}");
    call(p, "/api/channels", "{\"pattern\":\"nothing\"}");
    expect_json(p, 200, "{\"result\":{\"channels\":{}}}");
    call(p, "/api/channels", "");
    end_turn();
    const char *body;
    size_t len;
    assert_int_equal(take_answer(p, &body, &len), 200);
    assert_non_null(memmem(body, len, "\"quiet:b\":{\"num_clients\":1}", 27));
    call(p, "/api/channels", "{\"pattern\":5}");
    expect_json(p, 400, "*field pattern must be a string*");
    t.clients = 42;
    pass(61000);
    call(p, "/api/info", "");
    expect_json(p, 200,
                "{\"result\":{\"nodes\":[{\"uid\":\"*\",\"name\":\"*\",\"version\":\"*\","
                "\"num_clients\":42,\"num_channels\":2,\"num_subs\":4,\"uptime\":61}]}}");
    call(p, "/api/info", "{\"x\":1}");
    expect_json(p, 400, "*unknown field*");
    for (int i = 0; i < 3; i++)
        rt_hub_remove(rt_broker_hub(t.broker), &clients[i].subscriber);
}

/* The others as they announced themselves, under the names that the cluster knows them by. */
static void test_nodes(void **state)
{
    (void)state;
    t.alone = false;
    start_with(CONFIG "node: {name: n1}\n");
    struct peer *p = new_peer();
    call(p, "/api/info", "{}");
    expect_json(p, 200,
                "{\"result\":{\"nodes\":[{\"uid\":\"n1\",\"name\":\"n1\",*\"uptime\":0},"
                "{\"uid\":\"n\\\"2\",\"name\":\"n\\\"2\",\"version\":\"9\",\"num_clients\":5},"
                "{\"uid\":\"n3\",\"name\":\"n3\"}]}}");
}

/* ---- allocations ---- */

static void play(void)
{
    struct peer *p = new_peer(), *q = new_peer();
    call(p, "/api/publish",
         "{\"channel\":\"log:a\",\"data\":{\"a\":1},\"idempotency_key\":\"k\",\"event\":\"e\"}");
    call(q, "/api/publish", "{\"channel\":\"log:a\",\"b64data\":\"AQI=\"}");
    commit_all();
    end_turn();
    p = new_peer();
    call(p, "/api/history", "{\"channel\":\"log:a\",\"limit\":5,\"since\":{\"offset\":0}}");
    if (fake.read_count > 0)
        answer_read(0);
    call(new_peer(), "/api/channels", "{\"pattern\":\"*\"}");
    call(new_peer(), "/api/info", "{}");
    call(new_peer(), "/api/publish", "{\"channel\":\"other\",\"data\":1}");
    call(new_peer(), "/api/publish", "{}");
    request_raw(new_peer(), "GET", "/readyz", "", NULL, 0);
    request_raw(new_peer(), "GET", "/metrics", "", NULL, 0);
    request_raw(new_peer(), "GET", "/api/info", "", NULL, 0);
    end_turn();
}

/* Every answer is whole, and what was answered with 200 is stored. */
static void check_answers(void)
{
    bool stored = false;
    for (size_t i = 0; i < w.peer_count; i++) {
        const char *body;
        size_t len;
        int status;
        while ((status = take_answer(&w.peers[i], &body, &len)) != 0) {
            if (strstr(answer_head, "application/json"))
                assert_true(len > 1 && (body[len - 1] == '}' || body[len - 2] == '}'));
            if (i == 0 && status == 200)
                stored = true;
        }
        assert_int_equal(w.peers[i].at, w.peers[i].conn->out_len);
    }
    if (stored)
        assert_true(fake.offset > 0);
}

static void prepare(void)
{
    load(CONFIG, false);
}

static void test_allocations(void **state)
{
    static const struct alloc_loop loop = {.set_up = set_up,
                                           .prepare = prepare,
                                           .start = start,
                                           .play = play,
                                           .check = check_answers,
                                           .tear_down = tear_down};
    (void)state;
    assert_true(fail_each_allocation(&loop) > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_keys),
        rig_test(test_no_keys),
        rig_test(test_dev),
        rig_test(test_switched_off),
        rig_test(test_internal),
        rig_test(test_methods),
        rig_test(test_publish),
        rig_test(test_publish_bytes),
        rig_test(test_publish_errors),
        rig_test(test_answers_of_the_log),
        rig_test(test_caller_gone),
        rig_test(test_history_forms),
        rig_test(test_history_pages),
        rig_test(test_history_errors),
        rig_test(test_channels),
        rig_test(test_nodes),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
