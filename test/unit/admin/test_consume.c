/* Kafka in against a mock cluster in this process and a log that the test plays: what records become, order when the log fails, commits, dead
 * letters, rebalances, pauses, closing. */
#include "unit/journal/kafka_test.h"

#include "unit/journal/mock_clock.h"
#include "unit/session/fake_journal.h"

#include "admin/consume.h"
#include "admin/consume_record.h"

#define IN   "in"
#define DEAD "dead"
/* Allocations that fail, one after another. Those of reading and publishing a record are among them; each that makes the member join anew takes seconds. */
#define FAILURES 8

static struct {
    struct mock mock;
    rd_kafka_t *producer;
    struct rt_loop *loop;
    struct rt_config *config;
    struct rt_metrics metrics;
    struct rt_broker *broker;
    struct rt_consume *consume;
    bool closed;
} t;

/* Turns the loop until it holds; fails the test at the deadline. */
#define UNTIL(condition)                                                      \
    do {                                                                      \
        uint64_t until_ms = rt_mono_ms() + DEADLINE_MS;                       \
        while (!(condition)) {                                                \
            rt_loop_turn(t.loop, 10);                                         \
            if (rt_mono_ms() > until_ms)                                      \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition); \
        }                                                                     \
    } while (0)

/* Four seconds for the cluster, which is faster than the clock. It waits for almost that before it rebalances. */
#define SESSION    "40000"
#define GROUP_CONF ", conf: {session.timeout.ms: " SESSION ", heartbeat.interval.ms: 300}"

static rd_kafka_t *client(rd_kafka_type_t type, const char *group)
{
    char text[256] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, no_log);
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", t.mock.brokers, text, 256), 0);
    if (group) {
        assert_int_equal(rd_kafka_conf_set(conf, "group.id", group, text, 256), 0);
        assert_int_equal(rd_kafka_conf_set(conf, "session.timeout.ms", SESSION, text, 256), 0);
        assert_int_equal(rd_kafka_conf_set(conf, "heartbeat.interval.ms", "300", text, 256), 0);
        assert_int_equal(rd_kafka_conf_set(conf, "auto.offset.reset", "earliest", text, 256), 0);
        assert_int_equal(rd_kafka_conf_set(conf, "enable.auto.commit", "false", text, 256), 0);
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof(text));
    assert_non_null(rk);
    return rk;
}

/* It knows the topic: the first record would wait a second for that. */
static void open_producer(void)
{
    const struct rd_kafka_metadata *known;
    t.producer = client(RD_KAFKA_PRODUCER, NULL);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(t.producer, IN, NULL);
    assert_non_null(topic);
    assert_int_equal(rd_kafka_metadata(t.producer, 0, topic, &known, DEADLINE_MS), 0);
    rd_kafka_metadata_destroy(known);
    rd_kafka_topic_destroy(topic);
}

static void on_close(void *arg)
{
    *(bool *)arg = true;
}

/* One section, of group "g" with channel "c:{key}", and what `more` says. */
static void start(int partitions, const char *more)
{
    struct rt_config_args args = {.file = NULL};
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_buf yaml = RT_BUF_INIT;
    memset(&t, 0, sizeof(t));
    rt_log_setup(getenv("KAFKA_TEST_LOG") ? RT_LOG_DEBUG : RT_LOG_OFF, RT_LOG_TEXT, "test");
    mock_init(&t.mock, 1);
    assert_int_equal(rd_kafka_mock_topic_create(t.mock.cluster, IN, partitions, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(t.mock.cluster, DEAD, 1, 1), 0);
    open_producer();
    rt_buf_printf(&yaml,
                  "channels: [{match: 'c:*', log: true}]\nkafka: {consume: [{topics: [" IN
                  "], group: g, brokers: ['%s']%s%s%s}]}\n",
                  t.mock.brokers, strstr(more, "channel:") ? "" : ", channel: 'c:{key}'",
                  strstr(more, "conf:") ? "" : GROUP_CONF, more);
    if (rt_config_load_text(&args, rt_buf_str(&yaml), "f.yaml", &t.config, &errors, &warnings)) {
        struct rt_buf text = RT_BUF_INIT;
        rt_conf_errors_write(&errors, &text);
        fail_msg("%s", rt_buf_cstr(&text));
    }
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
    rt_buf_deinit(&yaml);
    assert_int_equal(rt_loop_new(&t.loop, NULL), 0);
    rt_metrics_init(&t.metrics);
    assert_int_equal(rt_broker_new(t.config, t.loop, &t.metrics, &t.broker, NULL), 0);
    fake_journal_init();
    rt_broker_set_journal(t.broker, &fake.base);
}

static void consume(void)
{
    struct rt_consume_options options = {
        .config = t.config, .broker = t.broker, .loop = t.loop, .metrics = &t.metrics};
    struct rt_err err = {0};
    if (rt_consume_new(&options, &t.consume, &err))
        fail_msg("%s", err.text);
    assert_non_null(t.consume);
}

static void stop_consuming(void)
{
    t.closed = false;
    rt_consume_close(t.consume, on_close, &t.closed);
    assert_false(t.closed);
    UNTIL(t.closed);
    rt_consume_free(t.consume);
    t.consume = NULL;
    rt_metrics_init(&t.metrics);
}

static void finish(void)
{
    bool closed = false;
    if (t.consume)
        stop_consuming();
    fake_journal_finish();
    rt_broker_close(t.broker, on_close, &closed);
    fake.closed(fake.closed_arg);
    assert_true(closed);
    rt_broker_free(t.broker);
    fake_journal_deinit();
    rt_loop_free(t.loop);
    rt_config_free(t.config);
    rd_kafka_destroy(t.producer);
    mock_deinit(&t.mock);
}

/* `header` "name=value" or NULL; `key`, `value` may be NULL. */
static void produce(int partition, const char *key, const char *value, const char *header)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    const char *equals = header ? strchr(header, '=') : NULL;
    if (equals)
        assert_int_equal(rd_kafka_header_add(headers, header, equals - header, equals + 1, -1), 0);
    rd_kafka_resp_err_t e = rd_kafka_producev(
        t.producer, RD_KAFKA_V_TOPIC(IN), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value ? strlen(value) : 0),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    assert_int_equal(e, 0);
}

static void produced(void)
{
    assert_int_equal(rd_kafka_flush(t.producer, DEADLINE_MS), 0);
}

/* What the group has committed; 0 nothing (or that it begins at the beginning). */
static int64_t committed(int partition)
{
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, "g");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, IN, partition);
    assert_int_equal(rd_kafka_committed(rk, list, DEADLINE_MS), 0);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return offset == RD_KAFKA_OFFSET_INVALID ? 0 : offset;
}

static uint64_t count(const char *name, const char *labels)
{
    char text[160];
    snprintf(text, sizeof(text), "rtbroker_%s{group=\"g\"%s}", name, labels);
    struct rt_buf out = RT_BUF_INIT;
    rt_metrics_write(&t.metrics, &out);
    const char *at = strstr(rt_buf_cstr(&out), text);
    if (!at)
        fail_msg("no metric %s", text);
    uint64_t value = strtoull(at + strlen(text), NULL, 10);
    rt_buf_deinit(&out);
    return value;
}

static uint64_t results(const char *result)
{
    char labels[48];
    snprintf(labels, sizeof(labels), ",result=\"%s\"", result);
    return count("consume_records_total", labels);
}

static const struct rt_message *waiting(size_t i)
{
    assert_true(i < fake.append_count);
    return &fake.appends[i]->message->m;
}

static void expect_waiting(const char *const *data, size_t n)
{
    assert_int_equal(fake.append_count, n);
    for (size_t i = 0; i < n; i++) {
        const struct rt_message *m = waiting(i);
        if (!rt_str_eq(m->data, rt_str_c(data[i])))
            fail_msg("%zu is %.*s, not %s", i, RT_STR_ARG(m->data), data[i]);
    }
}

#define EXPECT(...)                                                     \
    do {                                                                \
        static const char *const wanted_[] = {__VA_ARGS__};             \
        UNTIL(fake.append_count >= sizeof(wanted_) / sizeof(*wanted_)); \
        expect_waiting(wanted_, sizeof(wanted_) / sizeof(*wanted_));    \
    } while (0)

/* ---- what a record becomes ---- */

static void test_record(void **state)
{
    (void)state;
    start(1, ", event: '{header:type}', key_header: id");
    consume();
    produce(0, "a", " {\"n\": 1}", "type=made");
    produce(0, "b", "plain", "id=own-key");
    produce(0, "b", "\xff\xfe", NULL);
    produced();
    UNTIL(fake.append_count == 3);
    const struct rt_message *m = waiting(0);
    assert_true(rt_str_eq(fake.appends[0]->channel_name, RT_STR("c:a")));
    assert_true(rt_str_eq(m->data, RT_STR("{\"n\":1}")));
    assert_int_equal(m->kind, RT_KIND_JSON);
    assert_true(rt_str_eq(m->event, RT_STR("made")));
    assert_true(rt_str_eq(m->publisher, RT_STR("kafka:g")));
    assert_true(rt_str_starts(m->key, RT_STR("in-0-0-")));
    m = waiting(1);
    assert_true(rt_str_eq(fake.appends[1]->channel_name, RT_STR("c:b")));
    assert_int_equal(m->kind, RT_KIND_TEXT);
    assert_true(rt_str_eq(m->key, RT_STR("own-key")));
    assert_int_equal(m->event.len, 0);
    assert_int_equal(waiting(2)->kind, RT_KIND_BYTES);
    assert_int_equal(committed(0), 0);
    /* The second is done first: nothing behind the first may be committed. */
    commit_at(1, 0, false);
    commit_at(1, 0, true);
    UNTIL(count("consume_in_flight_records", "") == 1);
    assert_int_equal(committed(0), 0);
    commit_at(0, 0, false);
    UNTIL(committed(0) == 3);
    assert_int_equal(results("ok"), 2);
    assert_int_equal(results("duplicate"), 1);
    finish();
}

static void test_commands(void **state)
{
    (void)state;
    start(1, ", mode: command, dead_letter: " DEAD);
    consume();
    produce(
        0, NULL,
        "{\"method\":\"publish\",\"payload\":{\"channel\":\"c:x\",\"data\":{\"n\":12345678901234567890},"
        "\"event\":\"e\",\"idempotency_key\":\"k\"}}",
        NULL);
    produce(0, NULL,
            "{\"method\":\"publish\",\"payload\":{\"channel\":\"c:x\",\"b64data\":\"AQI=\"}}",
            NULL);
    produce(0, NULL, "{\"method\":\"explode\",\"payload\":{}}", NULL);
    produce(0, NULL, "{\"method\":\"publish\",\"payload\":{\"channel\":\"c:x\"}}", NULL);
    produce(0, NULL,
            "{\"method\":\"publish\",\"payload\":{\"channel\":\"c:x\",\"data\":1,\"x\":1}}", NULL);
    produce(0, NULL, "{\"method\":\"publish\",\"payload\":{\"channel\":\"no\",\"data\":1}}", NULL);
    produce(0, NULL, "not JSON", NULL);
    produce(0, NULL, NULL, NULL);
    produced();
    UNTIL(results("dead_letter") == 6);
    assert_int_equal(fake.append_count, 2);
    assert_true(rt_str_eq(waiting(0)->data, RT_STR("{\"n\":12345678901234567890}")));
    assert_true(rt_str_eq(waiting(0)->event, RT_STR("e")));
    assert_true(rt_str_eq(waiting(0)->key, RT_STR("k")));
    assert_true(rt_str_eq(waiting(1)->data, RT_STR("\x01\x02")));
    assert_true(rt_str_starts(waiting(1)->key, RT_STR("in-0-1-")));
    commit_all();
    UNTIL(committed(0) == 8);
    finish();
}

static void test_keys(void **state)
{
    (void)state;
    char topic[250], key[RT_RECORD_KEY + 1], other[RT_RECORD_KEY + 1];
    memset(topic, 'x', sizeof(topic) - 1);
    topic[249] = '\0';
    struct rt_intake_record r = {.topic = "orders", .partition = 7, .offset = 42, .timestamp = 255};
    rt_consumed_key(&r, key);
    assert_string_equal(key, "orders-7-42-ff");
    r = (struct rt_intake_record){
        .topic = topic, .partition = UINT32_MAX, .offset = INT64_MAX, .timestamp = -1};
    rt_consumed_key(&r, key);
    assert_int_equal(strlen(key), RT_RECORD_KEY);
    topic[248] = 'y';
    rt_consumed_key(&r, other);
    assert_string_not_equal(key, other);
    assert_string_equal(key + 16, other + 16);
}

/* ---- the log fails ---- */

static void test_retry_keeps_order(void **state)
{
    (void)state;
    start(1, "");
    consume();
    produce(0, "a", "1", NULL);
    produce(0, "b", "2", NULL);
    produce(0, "a", "3", NULL);
    produce(0, "a", "4", NULL);
    produced();
    EXPECT("1", "2", "3", "4");
    char key[RT_RECORD_KEY + 1];
    snprintf(key, sizeof(key), "%.*s", RT_STR_ARG(waiting(2)->key));
    /* Answers in another order: 2 is stored, the others are not, and come again in theirs. */
    commit_at(2, RT_EUNKNOWN, false);
    produce(0, "a", "5", NULL);
    produced();
    UNTIL(count("consume_in_flight_records", "") == 5);
    commit_at(2, RT_EAGAIN, false);
    commit_at(1, 0, false);
    assert_int_equal(fake.append_count, 1); /* what follows waits for all answers */
    commit_at(0, RT_EAGAIN, false);
    assert_int_equal(fake.append_count, 0);
    EXPECT("1", "3", "4", "5");
    assert_true(rt_str_eq(waiting(1)->key, rt_str_c(key)));
    commit_at(0, 0, false);
    commit_at(0, 0, true);
    commit_at(0, 0, false);
    commit_at(0, 0, false);
    UNTIL(committed(0) == 5);
    assert_int_equal(results("retry"), 3);
    assert_int_equal(results("ok"), 4);
    assert_int_equal(results("duplicate"), 1);
    finish();
}

static void test_refused_at_once(void **state)
{
    (void)state;
    start(2, "");
    consume();
    fake.refuse = RT_EAGAIN;
    produce(0, "a", "1", NULL);
    produce(0, "a", "2", NULL);
    produced();
    UNTIL(results("retry") >= 3);
    fake.refuse = 0;
    EXPECT("1", "2");
    commit_all();
    UNTIL(committed(0) == 2);
    assert_int_equal(results("ok"), 2);
    finish();
}

/* ---- dead letters ---- */

static rd_kafka_message_t *read_dead(rd_kafka_t *rk)
{
    uint64_t deadline = rt_mono_ms() + DEADLINE_MS;
    for (;;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
        rt_loop_turn(t.loop, 0);
        if (m && !m->err)
            return m;
        if (m)
            rd_kafka_message_destroy(m);
        assert_true(rt_mono_ms() < deadline);
    }
}

static void expect_header(const rd_kafka_message_t *m, const char *name, const char *value)
{
    rd_kafka_headers_t *headers;
    const void *got;
    size_t size;
    assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
    if (rd_kafka_header_get_last(headers, name, &got, &size))
        fail_msg("no header %s", name);
    if (size != strlen(value) || memcmp(got, value, size) != 0)
        fail_msg("header %s is %.*s, not %s", name, (int)size, (const char *)got, value);
}

static void test_dead_letters(void **state)
{
    (void)state;
    start(1, ", kind: json, dead_letter: " DEAD);
    consume();
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, "reader");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, DEAD, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(rd_kafka_assign(rk, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
    produce(0, "a", "1", NULL);
    produce(0, "a", "{", "type=x");
    produce(0, NULL, "2", NULL);
    produce(0, "a", "3", NULL);
    produced();
    EXPECT("1", "3");
    commit_all();
    rd_kafka_message_t *m = read_dead(rk);
    assert_int_equal(m->len, 1);
    assert_memory_equal(m->payload, "{", 1);
    assert_memory_equal(m->key, "a", 1);
    expect_header(m, "type", "x");
    expect_header(m, "rt-topic", IN);
    expect_header(m, "rt-partition", "0");
    expect_header(m, "rt-offset", "1");
    expect_header(m, "rt-group", "g");
    rd_kafka_message_destroy(m);
    m = read_dead(rk);
    assert_null(m->key);
    expect_header(m, "rt-error", "the record has no key for \"c:{key}\"");
    rd_kafka_message_destroy(m);
    UNTIL(committed(0) == 4);
    UNTIL(count("consume_dead_letters_total", "") == 2);
    assert_int_equal(count("consume_dead_letters_waiting", ""), 0);
    rd_kafka_destroy(rk);
    finish();
}

static void test_dead_letter_is_tried_again(void **state)
{
    (void)state;
    start(1, ", kind: json, dead_letter: " DEAD);
    consume();
    produce(0, "a", "{", NULL);
    produced();
    /* Until the dead letter is stored its offset is not committed. The reason stands in no report: a record that is too large. */
    rd_kafka_mock_push_request_errors(t.mock.cluster, API_PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    UNTIL(count("consume_dead_letters_waiting", "") == 1);
    assert_int_equal(committed(0), 0);
    UNTIL(count("consume_dead_letters_total", "") == 1);
    UNTIL(committed(0) == 1);
    finish();
}

static void test_skip_without_topic(void **state)
{
    (void)state;
    start(1, ", channel: 'nowhere'");
    consume();
    produce(0, "a", "1", NULL);
    produced();
    UNTIL(results("skipped") == 1);
    UNTIL(committed(0) == 1);
    finish();
}

static void test_stop(void **state)
{
    (void)state;
    start(2, ", kind: json, on_error: stop");
    consume();
    produce(0, "a", "{", NULL);
    produce(0, "a", "1", NULL);
    produce(1, "a", "2", NULL);
    produced();
    EXPECT("2");
    UNTIL(count("consume_stopped_partitions", "") == 1);
    commit_all();
    UNTIL(committed(1) == 1);
    assert_int_equal(committed(0), 0);
    stop_consuming();
    assert_int_equal(committed(0), 0);
    finish();
}

/* ---- bounds ---- */

static int next_number;

/* Stores at once, and wants each number once and in order, whatever was fetched anew after a pause. */
static int append_number(struct rt_journal *j, struct rt_append *a)
{
    char wanted[16];
    snprintf(wanted, sizeof(wanted), "%d", next_number++);
    assert_true(rt_str_eq(a->message->m.data, rt_str_c(wanted)));
    return fake_append(j, a);
}

static void test_slow_log(void **state)
{
    enum { COUNT = 3000 };
    (void)state;
    start(1, "");
    struct rt_journal_ops ops = FAKE_OPS;
    ops.append = append_number;
    fake.base.ops = &ops;
    fake.at_once = fake.congested = true;
    next_number = 0;
    for (int i = 0; i < COUNT; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        produce(0, "a", value, NULL);
    }
    produced();
    consume();
    UNTIL(count("consume_paused", "") == 1);
    assert_true(count("consume_in_flight_records", "") <= RT_INTAKE_RECORDS + 64);
    assert_int_equal(next_number, 0);
    fake.congested = false;
    rt_broker_relieved(t.broker);
    UNTIL(next_number == COUNT);
    UNTIL(committed(0) == COUNT);
    UNTIL(count("consume_lag_records", "") == 0);
    assert_int_equal(count("consume_paused", ""), 0);
    fake.base.ops = &FAKE_OPS;
    finish();
}

/* ---- partitions come and go, closing ---- */

/* A slow machine may have more rebalances than one, after each of which what is not committed comes once more. */
static bool answered_and_committed(int partition)
{
    while (fake.append_count > 0)
        commit_at(0, 0, true);
    return committed(partition) == 1;
}

static rd_kafka_t *join_group(void)
{
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, "g");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, IN, RD_KAFKA_PARTITION_UA);
    assert_int_equal(rd_kafka_subscribe(rk, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

/* The other member has read from one of the two partitions, and what is in flight of the other one has come here anew. */
static bool is_shared(rd_kafka_t *other, int *theirs)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(other, 20);
    if (m && !m->err)
        *theirs = m->partition;
    if (m)
        rd_kafka_message_destroy(m);
    if (*theirs < 0 || count("consume_partitions", "") != 1 || fake.append_count < 3)
        return false;
    return rt_str_eq(waiting(fake.append_count - 1)->data, rt_str_c(*theirs == 0 ? "p1" : "p0"));
}

static void test_rebalance(void **state)
{
    (void)state;
    start(2, "");
    consume();
    produce(0, "a", "p0", NULL);
    produce(1, "b", "p1", NULL);
    produced();
    UNTIL(fake.append_count == 2);
    /* Another member takes one of the partitions. What is in flight here is not committed for anybody. */
    rd_kafka_t *other = join_group();
    int theirs = -1;
    UNTIL(is_shared(other, &theirs));
    /* The one that stayed came with the same key; the answers of before count no more. */
    const struct rt_message *last = waiting(fake.append_count - 1);
    size_t first = rt_str_eq(waiting(0)->data, last->data) ? 0 : 1;
    assert_true(rt_str_eq(waiting(first)->data, last->data));
    assert_true(rt_str_eq(waiting(first)->key, last->key));
    while (fake.append_count > 1)
        commit_at(0, 0, false);
    UNTIL(count("consume_in_flight_records", "") == 1);
    assert_int_equal(committed(1 - theirs), 0);
    UNTIL(answered_and_committed(1 - theirs));
    assert_int_equal(committed(theirs), 0);
    (void)rd_kafka_consumer_close(other);
    rd_kafka_destroy(other);
    finish();
}

static void test_close_waits_for_answers(void **state)
{
    (void)state;
    start(1, "");
    consume();
    produce(0, "a", "1", NULL);
    produce(0, "a", "2", NULL);
    produced();
    UNTIL(fake.append_count == 2);
    t.closed = false;
    rt_consume_close(t.consume, on_close, &t.closed);
    rt_loop_turn(t.loop, 20);
    assert_false(t.closed);
    commit_at(0, 0, false);
    commit_at(0, RT_EAGAIN, false);
    UNTIL(t.closed);
    rt_consume_free(t.consume);
    t.consume = NULL;
    rt_metrics_init(&t.metrics);
    assert_int_equal(committed(0), 1);
    /* And what was not stored comes again. */
    consume();
    EXPECT("2");
    commit_all();
    finish();
}

static void test_close_does_not_wait_forever(void **state)
{
    (void)state;
    start(1, "");
    consume();
    produce(0, "a", "1", NULL);
    produced();
    UNTIL(fake.append_count == 1);
    stop_consuming();
    assert_int_equal(committed(0), 0);
    commit_all(); /* the answer finds nobody */
    finish();
}

/* Its member waits for its own session's end. */
static void test_without_kafka(void **state)
{
    (void)state;
    mock_speed = 1;
    start(1, ", conf: {session.timeout.ms: 4000, heartbeat.interval.ms: 300, "
             "reconnect.backoff.max.ms: 500}");
    mock_speed = MOCK_SPEED;
    rd_kafka_mock_broker_set_down(t.mock.cluster, 1);
    consume();
    rt_loop_turn(t.loop, 50);
    assert_int_equal(count("consume_partitions", ""), 0);
    rd_kafka_mock_broker_set_up(t.mock.cluster, 1);
    produce(0, "a", "1", NULL);
    produced();
    EXPECT("1");
    rd_kafka_mock_broker_set_down(t.mock.cluster, 1);
    commit_all();
    uint64_t at = rt_mono_ms();
    stop_consuming();
    assert_true(rt_mono_ms() - at < 20000);
    finish();
}

/* One allocation fails while a record is on its way, on whatever thread: it arrives all the same, and what follows it comes behind it. */
static void test_no_memory(void **state)
{
    enum { LAST = FAILURES };
    (void)state;
    start(
        LAST,
        ""); /* a partition for each: what is allocated for the first record of one is among them */
    consume();
    UNTIL(count("consume_partitions", "") == LAST);
    for (unsigned long n = 1; n <= LAST; n++) {
        char first[16], second[16];
        snprintf(first, sizeof(first), "a%lu", n);
        snprintf(second, sizeof(second), "b%lu", n);
        int partition = (int)n - 1;
        produce(partition, "a", first, NULL);
        produce(partition, "a", second, NULL);
        produced();
        uint64_t deadline = rt_mono_ms() + DEADLINE_MS;
        rt_alloc_fail_at(n, 0);
        bool seen = false;
        while (committed(partition) != 2) {
            assert_true(rt_mono_ms() < deadline);
            rt_loop_turn(t.loop, 10);
            for (; fake.append_count > 0; commit_at(0, 0, false)) {
                seen |= rt_str_eq(waiting(0)->data, rt_str_c(first));
                assert_true(seen);
            }
        }
        rt_alloc_fail_at(0, 0);
    }
    finish();
}

static void test_bad_setting(void **state)
{
    (void)state;
    start(1, ", conf: {no.such: '1'}");
    struct rt_consume_options options = {
        .config = t.config, .broker = t.broker, .loop = t.loop, .metrics = &t.metrics};
    struct rt_err err = {0};
    assert_int_equal(rt_consume_new(&options, &t.consume, &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "kafka.consume[0]"));
    assert_non_null(strstr(err.text, "no.such"));
    rt_metrics_init(&t.metrics);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_retry_keeps_order),
        cmocka_unit_test(test_refused_at_once),
        cmocka_unit_test(test_dead_letters),
        cmocka_unit_test(test_dead_letter_is_tried_again),
        cmocka_unit_test(test_skip_without_topic),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_slow_log),
        cmocka_unit_test(test_rebalance),
        cmocka_unit_test(test_close_waits_for_answers),
        cmocka_unit_test(test_close_does_not_wait_forever),
        cmocka_unit_test(test_without_kafka),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_bad_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
