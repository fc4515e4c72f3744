/* The Kafka journal against librdkafka's mock cluster: the way of a message, several nodes, injected errors, outages, caps, closing. */
#include "kafka_test.h"

#include "journal/record.h"

/* ---- another producer on the same topic ------------------------------------------------------------------------ */

static rd_kafka_t *client_new(const struct mock *mock)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, no_log);
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", mock->brokers, text, sizeof(text)),
        RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(rk);
    return rk;
}

static void client_produce(rd_kafka_t *rk, const char *key, const char *value,
                           rd_kafka_headers_t *headers)
{
    assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(TOPIC), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_KEY((void *)(uintptr_t)key, strlen(key)),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)),
                                       RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(rk, 10000), 0);
}

static void client_record(rd_kafka_t *rk, const char *key, const char *value, const char *evidence)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    if (evidence)
        rd_kafka_header_add(headers, "rt-epoch", -1, evidence, -1);
    client_produce(rk, key, value, headers);
}

/* The record of an append, as if its request had come through. */
static void client_copy(rd_kafka_t *rk, const struct pub *p)
{
    struct rt_record_header all[RT_RECORD_HEADERS];
    struct rt_buf scratch = RT_BUF_INIT;
    char value[24];
    size_t count = rt_record_headers(&p->append.message->m, &scratch, all);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_header_add(headers, all[i].name, -1, all[i].value.ptr, (ssize_t)all[i].value.len);
    copy_text(value, sizeof(value), p->append.message->m.data);
    client_produce(rk, p->name, value, headers);
    rt_buf_deinit(&scratch);
}

/* ---- the journal alone ---------------------------------------------------------------------------------------- */

static void test_way_of_a_message(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    struct pub p;
    mock_init(&mock, 4);
    node_init(&n, mock.brokers);
    open_node(&n);
    assert_string_equal(rt_journal_name(n.journal), "kafka");
    assert_true(rt_journal_delivers(n.journal));
    assert_true(healthy(&n));
    assert_int_equal(rt_journal_kafka_partitions(n.journal), 4);
    struct rt_message m = {
        .kind = RT_KIND_JSON, .data = RT_STR("{\"a\":1}"), .event = RT_STR("say"), .except = 77};
    append_message(&n, &p, "chat:lobby", &m);
    assert_int_equal(p.answered, 0);
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    assert_true(p.append.position.offset > 0);
    uint32_t partition = rt_partition_of(RT_STR("chat:lobby"), 4);
    assert_string_equal(p.append.position.epoch, rt_journal_kafka_epoch(n.journal, partition));
    WAIT(&n, n.count == 1);
    assert_string_equal(n.got[0].channel, "chat:lobby");
    assert_string_equal(n.got[0].data, "{\"a\":1}");
    assert_string_equal(n.got[0].epoch, p.append.position.epoch);
    assert_int_equal(n.got[0].offset, p.append.position.offset);
    assert_int_equal(n.got[0].except, 77); /* not in the log: it is the object that was appended */
    assert_ptr_equal(n.got[0].message, p.append.message);
    assert_int_equal(n.committed, 1);
    assert_int_equal((int)sample(&n, "rtbroker_journal_appends_total{result=\"ok\"}"), 1);
    assert_int_equal((int)sample(&n, "rtbroker_storage_up"), 1);
    release(&p);
    close_node(&n);
    node_deinit(&n);
    mock_deinit(&mock);
}

static void test_order_and_restart(void **state)
{
    (void)state;
    enum { MANY = 600 };
    static struct pub pubs[MANY];
    struct mock mock;
    struct node n;
    mock_init(&mock, 3);
    node_init(&n, mock.brokers);
    open_node(&n);
    for (unsigned i = 0; i < MANY; i++) {
        char channel[24], data[24];
        snprintf(channel, sizeof(channel), "c%u", i % 7);
        snprintf(data, sizeof(data), "m%u", i);
        append_text(&n, &pubs[i], channel, data);
        assert_int_equal(pubs[i].returned, RT_PENDING);
    }
    WAIT(&n, n.answers == MANY && n.count == MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pubs[i].append.status, RT_OK);
        if (i >= 7)
            assert_true(pubs[i].append.position.offset > pubs[i - 7].append.position.offset);
        release(&pubs[i]);
    }
    expect_order(&n);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(n.journal, 1));
    close_node(&n);
    n.count = 0;
    open_node(&n); /* warm from the log, the same positions */
    assert_int_equal(n.count, MANY);
    expect_order(&n);
    assert_string_equal(rt_journal_kafka_epoch(n.journal, 1), epoch);
    for (unsigned i = 0; i < MANY; i++) {
        char data[24];
        snprintf(data, sizeof(data), "m%u", i);
        assert_true(has(&n, data));
    }
    close_node(&n);
    n.options.warm = 10; /* the window of keys reaches further than that */
    n.options.journal.idempotency_window = 0;
    n.count = 0;
    open_node(&n);
    assert_int_equal(n.count, 30);
    node_deinit(&n);
    mock_deinit(&mock);
}

static void turn_both(struct node *a, struct node *b)
{
    rt_loop_turn(a->loop, 5);
    rt_loop_turn(b->loop, 5);
}

#define WAIT_BOTH(a, b, condition)                                            \
    do {                                                                      \
        uint64_t wait_until = rt_mono_ms() + DEADLINE_MS;                     \
        while (!(condition)) {                                                \
            turn_both(a, b);                                                  \
            if (rt_mono_ms() > wait_until)                                    \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition); \
        }                                                                     \
    } while (0)

/* Two nodes that start at the same time on an empty topic agree on names and order. */
static void test_two_nodes(void **state)
{
    (void)state;
    enum { MANY = 200 };
    static struct pub pubs[2 * MANY];
    struct mock mock;
    struct node a, b;
    mock_init(&mock, 2);
    node_init(&a, mock.brokers);
    node_init(&b, mock.brokers);
    assert_int_equal(try_open(&a), 0);
    assert_int_equal(try_open(&b), 0);
    WAIT_BOTH(&a, &b, a.ready && b.ready);
    for (uint32_t i = 0; i < 2; i++)
        assert_string_equal(rt_journal_kafka_epoch(a.journal, i),
                            rt_journal_kafka_epoch(b.journal, i));
    for (unsigned i = 0; i < 2 * MANY; i++) {
        char channel[24], data[24];
        snprintf(channel, sizeof(channel), "c%u", i / 2 % 5);
        snprintf(data, sizeof(data), "m%u", i);
        append_text(i % 2 ? &a : &b, &pubs[i], channel, data);
        if (i % 20 == 0)
            turn_both(&a, &b);
    }
    WAIT_BOTH(&a, &b, a.count == 2 * MANY && b.count == 2 * MANY);
    expect_order(&a);
    expect_order(&b);
    for (unsigned i = 0; i < 2 * MANY; i++) { /* every partition in the same order */
        bool found = false;
        for (unsigned k = 0; k < 2 * MANY; k++)
            found |= a.got[i].offset == b.got[k].offset &&
                     strcmp(a.got[i].epoch, b.got[k].epoch) == 0 &&
                     strcmp(a.got[i].data, b.got[k].data) == 0;
        assert_true(found);
    }
    WAIT_BOTH(&a, &b, a.answers == MANY && b.answers == MANY);
    for (unsigned i = 0; i < 2 * MANY; i++)
        release(&pubs[i]);
    node_deinit(&a);
    node_deinit(&b);
    mock_deinit(&mock);
}

/* What Redis brings: in order at once, of another epoch not at all, twice once. */
static void test_early_records(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    uint64_t top = store(&n, "c", "first");
    WAIT(&n, n.count == 1);
    const char *epoch = rt_journal_kafka_epoch(n.journal, 0);
    struct rt_message m = {.kind = RT_KIND_TEXT, .data = RT_STR("early"), .offset = top + 1};
    struct rt_record r = {0, top + 1, RT_STR("c"), rt_stored_new(&m)};
    rt_journal_kafka_early(n.journal, RT_STR("another.0"), &r);
    assert_int_equal(n.count, 1);
    r.message = rt_stored_new(&m);
    rt_journal_kafka_early(n.journal, rt_str_c(epoch), &r);
    assert_int_equal(n.count, 2);
    r.message = rt_stored_new(&m);
    rt_journal_kafka_early(n.journal, rt_str_c(epoch), &r);
    r.partition = 9;
    r.message = rt_stored_new(&m);
    rt_journal_kafka_early(n.journal, rt_str_c(epoch), &r);
    assert_int_equal(n.count, 2);
    node_deinit(&n);
    mock_deinit(&mock);
}

static void test_keys(void **state)
{
    (void)state;
    struct mock mock;
    struct node a, b;
    struct pub first, again, other;
    mock_init(&mock, 1);
    node_init(&a, mock.brokers);
    node_init(&b, mock.brokers);
    open_node(&a);
    append_key(&a, &first, "c", "one", "k1");
    await(&first);
    assert_int_equal(first.append.status, RT_OK);
    assert_false(first.append.duplicate);
    append_key(&a, &again, "c", "one", "k1"); /* known: at once */
    assert_int_equal(again.returned, RT_OK);
    assert_int_equal(again.answered, 0);
    assert_true(again.append.duplicate);
    assert_int_equal(again.append.position.offset, first.append.position.offset);
    assert_string_equal(again.append.position.epoch, first.append.position.epoch);
    release(&again);
    open_node(&b); /* another node knows it from the log */
    append_key(&b, &again, "c", "one", "k1");
    assert_int_equal(again.returned, RT_OK);
    assert_true(again.append.duplicate);
    append_key(&b, &other, "c", "two", "k2");
    await(&other);
    assert_int_equal(other.append.status, RT_OK);
    release(&first);
    release(&again);
    release(&other);
    /* Two at once: both are stored, one is delivered, by both nodes the same. */
    append_key(&a, &first, "c", "three", "k3");
    append_key(&b, &again, "c", "3", "k3");
    WAIT_BOTH(&a, &b, first.answered && again.answered);
    assert_int_equal(first.append.status, RT_OK);
    assert_int_equal(again.append.status, RT_OK);
    assert_true(first.append.duplicate != again.append.duplicate);
    assert_int_equal(first.append.position.offset, again.append.position.offset);
    release(&first);
    release(&again);
    append_text(&a, &first, "c", "end");
    WAIT_BOTH(&a, &b, first.answered && has(&a, "end") && has(&b, "end"));
    release(&first);
    assert_int_equal(a.count, 4);
    assert_int_equal(b.count, 4);
    assert_string_equal(a.got[2].data, b.got[2].data);
    assert_int_equal((int)sample(&a, "rtbroker_kafka_skipped_total"), 1);
    assert_int_equal((int)sample(&b, "rtbroker_kafka_skipped_total"), 1);
    node_deinit(&a);
    node_deinit(&b);
    mock_deinit(&mock);
}

/* A resend to another node that has not read the first one yet, and several on one node at once. */
static void test_keys_in_flight(void **state)
{
    (void)state;
    enum { MANY = 40 };
    static struct pub pubs[MANY];
    struct mock mock;
    struct node a, b;
    struct pub first, again;
    mock_init(&mock, 1);
    node_init(&a, mock.brokers);
    node_init(&b, mock.brokers);
    open_node(&a);
    open_node(&b);
    append_key(&b, &first, "c", "one", "k");
    await(&first); /* the loop of a stands still */
    append_key(&a, &again, "c", "one", "k");
    await(&again);
    assert_int_equal(again.append.status, RT_OK);
    assert_true(again.append.duplicate);
    assert_int_equal(again.append.position.offset, first.append.position.offset);
    release(&first);
    release(&again);
    for (int i = 0; i < MANY; i++)
        append_key(&a, &pubs[i], "c", "many", "k2");
    WAIT(&a, a.answers == MANY + 1);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(pubs[i].append.status, RT_OK);
        assert_int_equal(pubs[i].append.duplicate, i > 0);
        assert_int_equal(pubs[i].append.position.offset, pubs[0].append.position.offset);
        release(&pubs[i]);
    }
    assert_int_equal(a.count, 2);
    node_deinit(&a);
    node_deinit(&b);
    mock_deinit(&mock);
}

/* A permanent error: certainly not stored, and what was behind it in its channel is not simply "ok". */
static void test_failed_append(void **state)
{
    (void)state;
    const char *const conf[] = {"batch.num.messages=1", "max.in.flight=1"};
    const struct rt_strings strings = {(const char **)(uintptr_t)conf, 2};
    struct mock mock;
    struct node n;
    struct pub one, two, other;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    n.options.conf = &strings;
    open_node(&n);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    append_text(&n, &one, "a", "1");
    append_text(&n, &other, "b", "x");
    append_text(&n, &two, "a", "2");
    WAIT(&n, one.answered && two.answered && other.answered);
    assert_int_equal(one.append.status, RT_EAGAIN);
    assert_true(one.append.text[0] != '\0');
    assert_int_equal(other.append.status, RT_OK);
    assert_int_equal(two.append.status, RT_EUNKNOWN); /* it says that it may be stored, and it is */
    WAIT(&n, has(&n, "2"));
    assert_false(has(&n, "1"));
    release(&one);
    release(&two);
    release(&other);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* A repeated request of which Kafka says that it has it: stored, but only the log tells where, and whether the message repeats another one. What it does not tell in
 * time is unknown. */
static void test_duplicate_sequence(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    struct pub plain, first, again, lost;
    struct pub *const repeated[] = {&plain, &first, &again, &lost};
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    rd_kafka_t *rk = client_new(&mock);
    append_key(&n, &first, "c", "1", "k");
    append_key(&n, &again, "c", "2", "k");
    await(&again); /* behind the first */
    uint64_t known = first.append.position.offset;
    release(&first);
    release(&again);
    rt_loop_turn(n.loop, 0);
    for (size_t i = 0; i < 4; i++) {
        struct pub *p = repeated[i];
        char key[8];
        snprintf(key, sizeof(key), "k%zu", i == 2 ? 1 : i);
        rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                          RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER);
        if (p == &plain)
            append_text(&n, p, "c", "plain");
        else
            append_key(&n, p, "c", "keyed", key);
        assert_int_equal(p->returned, RT_PENDING);
        WAIT(&n, sample(&n, "rtbroker_kafka_produce_seconds_count") == 3 + (double)i);
        assert_int_equal(p->answered, 0); /* it is stored, but where? */
    }
    for (size_t i = 0; i < 3; i++)
        client_copy(rk, repeated[i]);
    WAIT(&n, plain.answered && first.answered && again.answered);
    assert_int_equal(plain.append.status, RT_OK);
    assert_int_equal(plain.append.position.offset, known + 2);
    assert_string_equal(plain.append.position.epoch, rt_journal_kafka_epoch(n.journal, 0));
    assert_int_equal(first.append.status, RT_OK);
    assert_false(first.append.duplicate);
    assert_int_equal(first.append.position.offset, known + 3);
    assert_int_equal(again.append.status, RT_OK);
    assert_true(again.append.duplicate);
    assert_int_equal(again.append.position.offset, known + 3);
    await(&lost);
    assert_int_equal(lost.append.status, RT_EUNKNOWN);
    assert_int_equal(lost.append.position.offset, 0);
    assert_non_null(strstr(lost.append.text, "position"));
    assert_int_equal((int)sample(&n, "rtbroker_journal_queue_bytes"), 0);
    assert_true(store(&n, "c", "next") > known);
    for (size_t i = 0; i < 4; i++)
        release(repeated[i]);
    rd_kafka_destroy(rk);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* Errors that pass are only latency. */
static void test_passing_errors(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    mock_init(&mock, 2);
    node_init(&n, mock.brokers);
    open_node(&n);
    rd_kafka_mock_push_request_errors(
        mock.cluster, API_PRODUCE, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR__TRANSPORT);
    rd_kafka_mock_push_request_errors(mock.cluster, API_FETCH, 2,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR__TRANSPORT);
    for (int i = 0; i < 20; i++) {
        char data[24];
        snprintf(data, sizeof(data), "m%d", i);
        store(&n, "c", data);
        WAIT(&n, has(&n, data));
    }
    assert_true(healthy(&n));
    expect_order(&n);
    assert_int_equal((int)sample(&n, "rtbroker_kafka_producer_restarts_total"), 0);
    node_deinit(&n);
    mock_deinit(&mock);
}

static void test_fatal_error(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    struct pub p;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    store(&n, "c", "before");
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    append_text(&n, &p, "c", "lost");
    await(&p);
    assert_true(p.append.status == RT_EUNKNOWN || p.append.status == RT_EAGAIN);
    release(&p);
    uint64_t since = rt_mono_ms();
    WAIT(&n, sample(&n, "rtbroker_kafka_producer_restarts_total") == 1);
    assert_true(rt_mono_ms() - since < 5000);
    WAIT(&n, healthy(&n));
    store(&n, "c", "after");
    WAIT(&n, has(&n, "after"));
    node_deinit(&n);
    mock_deinit(&mock);
}

/* The brokers are gone: "retry" at once after 5 s, also when nothing is waiting any more; it heals by itself. */
static void test_outage(void **state)
{
    (void)state;
    const char *const conf[] = {"message.timeout.ms=8000"};
    const struct rt_strings strings = {(const char **)(uintptr_t)conf, 1};
    struct mock mock;
    struct node n;
    struct pub first, p;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    n.options.conf = &strings;
    open_node(&n);
    store(&n, "c", "before");
    assert_int_equal(rd_kafka_mock_broker_set_down(mock.cluster, -1), 0);
    append_text(&n, &first, "c", "during");
    assert_int_equal(first.returned, RT_PENDING);
    uint64_t since = rt_mono_ms();
    WAIT(&n, !healthy(&n));
    assert_in_range(rt_mono_ms() - since, 4000, 15000);
    append_text(&n, &p, "c", "no");
    assert_int_equal(p.returned, RT_EAGAIN);
    assert_true(p.append.text[0] != '\0');
    release(&p);
    WAIT(&n, first.answered);
    assert_true(first.append.status == RT_EAGAIN || first.append.status == RT_EUNKNOWN);
    release(&first);
    append_text(&n, &p, "c", "still no");
    assert_int_equal(p.returned, RT_EAGAIN);
    release(&p);
    assert_int_equal(rd_kafka_mock_broker_set_up(mock.cluster, -1), 0);
    WAIT(&n, healthy(&n));
    store(&n, "c", "after");
    WAIT(&n, has(&n, "after"));
    expect_order(&n);
    node_deinit(&n);
    mock_deinit(&mock);
}

static void test_caps(void **state)
{
    (void)state;
    enum { MOST = 200 };
    static struct pub pubs[MOST];
    const char *const conf[] = {"queue.buffering.max.messages=100"};
    const struct rt_strings strings = {(const char **)(uintptr_t)conf, 1};
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    n.options.conf = &strings;
    open_node(&n);
    rd_kafka_mock_broker_set_rtt(mock.cluster, -1, 300);
    int count = 0;
    for (int code = RT_PENDING; code == RT_PENDING && count < MOST; count++) {
        append_text(&n, &pubs[count], "c", "x");
        code = pubs[count].returned;
        if (count + 1 < 80)
            assert_false(rt_journal_congested(n.journal));
    }
    count--;
    assert_in_range(count, 95, 100);
    assert_int_equal(pubs[count].returned, RT_EAGAIN);
    release(&pubs[count]);
    assert_true(rt_journal_congested(n.journal));
    assert_int_equal(n.relieved, 0);
    WAIT(&n, n.answers == (unsigned)count);
    assert_int_equal(n.relieved, 1);
    assert_false(rt_journal_congested(n.journal));
    assert_int_equal((int)sample(&n, "rtbroker_journal_queue_bytes"), 0);
    for (int i = 0; i < count; i++)
        release(&pubs[i]);
    rd_kafka_mock_broker_set_rtt(mock.cluster, -1, 0);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* Closing waits for what is in flight, but not longer than told; then all is answered. */
static void test_close(void **state)
{
    (void)state;
    enum { MANY = 100 };
    static struct pub pubs[MANY];
    struct mock mock;
    struct node n;
    struct pub late;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    for (int i = 0; i < MANY; i++)
        append_text(&n, &pubs[i], "c", "x");
    rt_journal_close(n.journal, on_journal_closed, &n);
    append_text(&n, &late, "c", "late");
    assert_int_equal(late.returned, RT_ECLOSED);
    release(&late);
    WAIT(&n, n.closed);
    rt_journal_free(n.journal);
    n.journal = NULL;
    assert_int_equal(n.answers, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(pubs[i].append.status, RT_OK);
        release(&pubs[i]);
    }
    n.options.close_timeout = 500;
    open_node(&n);
    rd_kafka_mock_broker_set_down(mock.cluster, -1);
    for (int i = 0; i < MANY; i++)
        append_text(&n, &pubs[i], "c", "y");
    n.answers = 0;
    uint64_t since = rt_mono_ms();
    close_node(&n);
    assert_true(rt_mono_ms() - since < 8000);
    assert_int_equal(n.answers, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_true(pubs[i].append.status == RT_EAGAIN || pubs[i].append.status == RT_EUNKNOWN);
        release(&pubs[i]);
    }
    node_deinit(&n);
    mock_deinit(&mock);
}

/* rt_journal_free() without rt_journal_close(): all is answered, nothing leaks. */
static void test_free_without_close(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct mock mock;
    struct node n;
    struct pub p;
    mock_init(&mock, 2);
    node_init(&n, mock.brokers);
    open_node(&n);
    append_text(&n, &p, "c", "x");
    rt_journal_free(n.journal);
    n.journal = NULL;
    assert_int_equal(p.answered, 1);
    release(&p);
    assert_int_equal(try_open(&n), 0); /* and before it is ready */
    append_text(&n, &p, "c", "x");
    assert_int_equal(p.returned, RT_EAGAIN);
    release(&p);
    assert_false(healthy(&n));
    rt_journal_free(n.journal);
    n.journal = NULL;
    rt_loop_turn(n.loop, 0);
    node_deinit(&n);
    mock_deinit(&mock);
    assert_int_equal(rt_alloc_live(), live);
}

static void expect_open(struct node *n, int code, const char *text)
{
    assert_int_equal(try_open(n), code);
    if (!strstr(n->error, text))
        fail_msg("\"%s\" is not in \"%s\"", text, n->error);
    rt_loop_turn(n->loop, 0);
}

static void test_refusals_at_boot(void **state)
{
    (void)state;
    const char *const wrong[] = {"no.such.setting=1", "linger.ms=abc", "nothing"};
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    for (size_t i = 0; i < 3; i++) {
        struct rt_strings strings = {(const char **)(uintptr_t)&wrong[i], 1};
        n.options.conf = &strings;
        expect_open(&n, RT_EINVAL, "kafka.conf");
    }
    n.options.conf = NULL;
    n.find.require_safe_topic = true;
    n.find.timeout_ms = 1500;
    expect_open(&n, RT_EINVAL, "replica");
    n.find.require_safe_topic = false;
    n.find.timeout_ms = 1500;
    n.options.brokers = "127.0.0.1:1";
    uint64_t since = rt_mono_ms();
    expect_open(&n, RT_EIO, "Kafka at 127.0.0.1:1 does not answer");
    assert_true(rt_mono_ms() - since < 5000);
    node_deinit(&n);
    mock_deinit(&mock);
}

static enum rt_find_state await_find(struct rt_find *f, struct rt_kafka_found *found,
                                     struct rt_err *err)
{
    enum rt_find_state state;
    uint64_t until = rt_mono_ms() + DEADLINE_MS;
    do
        state = rt_find_look(f, found, err);
    while (state == RT_FIND_ASKING && !err->text[0] && rt_mono_ms() < until);
    return state;
}

/* The same by a thread, which does not give up while nobody answers, and can be stopped then. */
static void test_find(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct mock mock;
    struct rt_find *f;
    struct rt_kafka_found found = {0};
    struct rt_err err;
    mock_init(&mock, 4);
    struct rt_find_options options = {.brokers = mock.brokers, .topic = TOPIC};
    assert_int_equal(rt_find_start(&options, &f, NULL), 0);
    assert_int_equal(await_find(f, &found, &err), RT_FIND_FOUND);
    assert_int_equal(found.partitions, 4);
    assert_true(rt_mono_ms() - found.asked_at < DEADLINE_MS);
    rt_find_free(f);

    options.require_safe_topic = true;
    assert_int_equal(rt_find_start(&options, &f, NULL), 0);
    assert_int_equal(await_find(f, &found, &err), RT_FIND_REFUSED);
    assert_int_equal(err.code, RT_EINVAL);
    assert_non_null(strstr(err.text, "replica"));
    rt_find_free(f);

    options.brokers = "127.0.0.1:1";
    assert_int_equal(rt_find_start(&options, &f, NULL), 0);
    assert_int_equal(await_find(f, &found, &err), RT_FIND_ASKING);
    assert_true(rt_str_starts(rt_str_c(err.text),
                              RT_STR("Kafka at 127.0.0.1:1 does not answer: 127.0.0.1:1")));
    assert_non_null(strstr(err.text, "refused"));
    uint64_t since = rt_mono_ms();
    rt_find_free(f);
    assert_true(rt_mono_ms() - since < 5000);
    rt_find_free(NULL);
    mock_deinit(&mock);
    assert_int_equal(rt_alloc_live(), live);
}

/* Settings that a promise rests on stay ours. */
static void test_kept_settings(void **state)
{
    (void)state;
    const char *const conf[] = {"enable.idempotence=false",
                                "acks=1",
                                "auto.offset.reset=latest",
                                "acks=all",
                                "linger.ms=3",
                                "bootstrap.servers=127.0.0.1:1"};
    const struct rt_strings strings = {(const char **)(uintptr_t)conf, 6};
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    n.options.conf = &strings;
    open_node(&n);
    store(&n, "c", "x");
    WAIT(&n, n.count == 1);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* ---- evidence of others --------------------------------------------------------------------------------------- */

static void client_kind(rd_kafka_t *rk, const char *key, const char *kind, const char *evidence)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(2);
    rd_kafka_header_add(headers, "rt-kind", -1, kind, -1);
    if (evidence)
        rd_kafka_header_add(headers, "rt-epoch", -1, evidence, -1);
    client_produce(rk, key, "1", headers);
}

/* A message that this version cannot read is told where it stands, while starting too; a stranger's mistake is counted only. */
static void test_newer_version(void **state)
{
    (void)state;
    char evidence[40];
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    rd_kafka_t *rk = client_new(&mock);
    uint64_t before = store(&n, "c", "before");
    snprintf(evidence, sizeof(evidence), "%.10s@1", rt_journal_kafka_epoch(n.journal, 0));
    client_kind(rk, "c", "xml", NULL);
    client_kind(rk, "c", "cbor", evidence);
    client_kind(rk, "c\n", "cbor", evidence);
    uint64_t after = store(&n, "c", "after");
    WAIT(&n, has(&n, "after"));
    assert_int_equal(after, before + 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(n.count, 2);
        assert_int_equal(n.holes, 1);
        assert_string_equal(n.hole.channel, "c");
        assert_string_equal(n.hole.epoch, rt_journal_kafka_epoch(n.journal, 0));
        assert_int_equal(n.hole.offset, before + 2);
        assert_int_equal(n.hole.except, 1);
        assert_int_equal(n.gaps, 0);
        assert_true(sample(&n, "rtbroker_kafka_newer_total") == 1);
        assert_true(sample(&n, "rtbroker_kafka_unreadable_total") == 1);
        close_node(&n);
        n.count = n.holes = 0;
        open_node(&n);
        WAIT(&n, has(&n, "after"));
    }
    rd_kafka_destroy(rk);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* Evidence that contradicts the log: somebody had read further than it goes. Whoever reads that begins a new epoch; nothing is lost or
 * delivered twice. */
static void test_broken_evidence(void **state)
{
    (void)state;
    char epoch[RT_EPOCH_MAX + 1];
    char evidence[40];
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    rd_kafka_t *rk = client_new(&mock);
    uint64_t before = store(&n, "c", "before");
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(n.journal, 0));
    snprintf(evidence, sizeof(evidence), "%.10s@99999", epoch);
    client_record(rk, "c", "beyond", evidence);
    WAIT(&n, has(&n, "beyond") && healthy(&n));
    assert_string_not_equal(rt_journal_kafka_epoch(n.journal, 0), epoch);
    uint64_t after = store(&n, "c", "after");
    WAIT(&n, has(&n, "after"));
    assert_true(after > before);
    assert_int_equal(n.count, 3);
    assert_string_equal(n.got[0].epoch, epoch);
    assert_string_equal(n.got[1].data, "beyond");
    assert_string_equal(n.got[1].epoch, n.got[2].epoch);
    assert_string_not_equal(n.got[1].epoch, epoch);
    assert_int_equal((int)sample(&n, "rtbroker_kafka_epoch_changes_total"), 1);
    rd_kafka_destroy(rk);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* Somebody who has read our name says another one: we follow. Somebody who has not: we do not. */
static void test_other_names(void **state)
{
    (void)state;
    char epoch[RT_EPOCH_MAX + 1];
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    rd_kafka_t *rk = client_new(&mock);
    store(&n, "c", "before");
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(n.journal, 0));
    client_record(rk, "c", "void", "zzzzzzzzzz@0");
    WAIT(&n, has(&n, "void"));
    assert_string_equal(rt_journal_kafka_epoch(n.journal, 0), epoch);
    client_record(rk, "c", "real", "zzzzzzzzzz@3");
    WAIT(&n, has(&n, "real"));
    assert_string_equal(rt_journal_kafka_epoch(n.journal, 0), "zzzzzzzzzz.0");
    assert_string_equal(n.got[n.count - 1].epoch, "zzzzzzzzzz.0");
    store(&n, "c", "after");
    WAIT(&n, has(&n, "after"));
    close_node(&n);
    open_node(&n);
    assert_string_equal(rt_journal_kafka_epoch(n.journal, 0), "zzzzzzzzzz.0");
    rd_kafka_destroy(rk);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* Memory is out for a while: appends are refused, what others publish comes when there is memory again. */
static void test_memory_out(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    open_node(&n);
    rd_kafka_t *rk = client_new(&mock);
    rt_alloc_fail_at(1, 1);
    for (int i = 0; i < 50; i++) {
        char value[24];
        snprintf(value, sizeof(value), "m%d", i);
        client_record(rk, "c", value, NULL);
        rt_loop_turn(n.loop, 1);
    }
    uint64_t until = rt_mono_ms() + 300;
    while (rt_mono_ms() < until)
        rt_loop_turn(n.loop, 20);
    assert_int_equal(n.count, 0);
    rt_alloc_fail_at(0, 0);
    WAIT(&n, n.count == 50);
    expect_order(&n);
    rd_kafka_destroy(rk);
    node_deinit(&n);
    mock_deinit(&mock);
}

/* The n-th allocation fails: opening, storing and closing work or fail cleanly, nothing leaks. */
static void test_allocation_failures(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct mock mock;
    mock_init(&mock, 1);
    for (unsigned i = 1; i <= 36; i++) {
        struct node n;
        struct pub p;
        node_init(&n, mock.brokers);
        n.find.timeout_ms = 300;
        n.options.close_timeout = 2000;
        rt_alloc_fail_at(i, 0);
        int code = try_open(&n);
        if (code == 0) {
            uint64_t until = rt_mono_ms() + DEADLINE_MS;
            while (!n.ready && rt_mono_ms() < until)
                rt_loop_turn(n.loop, 10);
            assert_int_equal(n.ready, 1);
            struct rt_message m = {.kind = RT_KIND_TEXT, .data = RT_STR("x"), .time = 1};
            memset(&p, 0, sizeof(p));
            p.node = &n;
            p.append.channel_name = RT_STR("c");
            p.append.message = rt_stored_new(&m);
            p.append.done = on_append;
            if (p.append.message && rt_journal_append(n.journal, &p.append) == RT_PENDING)
                WAIT(&n, p.answered);
            rt_stored_unref(p.append.message);
        } else {
            assert_true(code == RT_ENOMEM || code == RT_EIO);
            rt_loop_turn(n.loop, 0);
        }
        rt_alloc_fail_at(0, 0);
        node_deinit(&n);
    }
    mock_deinit(&mock);
    assert_int_equal(rt_alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_way_of_a_message),
        cmocka_unit_test(test_order_and_restart),
        cmocka_unit_test(test_two_nodes),
        cmocka_unit_test(test_early_records),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_in_flight),
        cmocka_unit_test(test_failed_append),
        cmocka_unit_test(test_duplicate_sequence),
        cmocka_unit_test(test_passing_errors),
        cmocka_unit_test(test_fatal_error),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_free_without_close),
        cmocka_unit_test(test_newer_version),
        cmocka_unit_test(test_broken_evidence),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_memory_out),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_refusals_at_boot),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_kept_settings),
    };
    return cmocka_run_group_tests_name("kafka_mock", tests, NULL, NULL);
}
