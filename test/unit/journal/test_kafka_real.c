/* The Kafka journal against a real Kafka (scripts/kafka.sh): the topic at boot, other producers, SIGKILL and SIGSTOP of the broker, a topic
 * that is made anew while nodes run. Left out with the reason where Kafka cannot be had. */
#include "kafka_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    char dir[64];
    char brokers[64];
    char why[200]; /* left out because of this; "" it runs */
} kafka;

#define REQUIRE_KAFKA()                                 \
    do {                                                \
        if (kafka.why[0]) {                             \
            print_message("left out: %s\n", kafka.why); \
            skip();                                     \
        }                                               \
    } while (0)

/* Runs the script; returns its exit status, the last line of both outputs in `out`. */
static int script(const char *verb, char *out, size_t size)
{
    char command[160], line[256];
    snprintf(command, sizeof(command), "scripts/kafka.sh %s %s 2>&1", verb, kafka.dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    out[0] = '\0';
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, size, "%.*s", (int)size - 1, line);
    }
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int start_kafka(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    char out[200];
    snprintf(kafka.dir, sizeof(kafka.dir), "%.40s/kafka.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(kafka.dir))
        return -1;
    int code = script("start", out, sizeof(out));
    if (code == 77)
        snprintf(kafka.why, sizeof(kafka.why), "%s", out);
    else if (code == 0)
        snprintf(kafka.brokers, sizeof(kafka.brokers), "%.*s", (int)sizeof(kafka.brokers) - 1, out);
    else
        fprintf(stderr, "kafka.sh: %d %s\n", code, out);
    return code == 77 ? 0 : code;
}

static int stop_kafka(void **state)
{
    (void)state;
    char out[200], command[100];
    (void)script("kill", out, sizeof(out));
    snprintf(command, sizeof(command), "rm -rf %s", kafka.dir);
    return system(command);
}

static pid_t kafka_pid(void)
{
    char path[80];
    int pid = 0;
    snprintf(path, sizeof(path), "%s/pid", kafka.dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    assert_true(pid > 1);
    return pid;
}

/* Each test has a topic of its own. */
static void open_on(struct node *n, const char *topic, uint32_t partitions)
{
    node_init(n, kafka.brokers);
    n->options.topic = topic;
    n->find.partitions = partitions;
    n->find.timeout_ms = 30000;
    open_node(n);
}

#define WAIT_ALL(a, b, condition)                                                                \
    do {                                                                                         \
        uint64_t all_until = rt_mono_ms() + DEADLINE_MS;                                         \
        while (!(condition)) {                                                                   \
            rt_loop_turn((a)->loop, 5);                                                          \
            rt_loop_turn((b)->loop, 5);                                                          \
            if (rt_mono_ms() > all_until)                                                        \
                fail_msg("%s:%d: never: %s (%s; %s)", __FILE__, __LINE__, #condition, health(a), \
                         health(b));                                                             \
        }                                                                                        \
    } while (0)

/* ---- a client of the cluster beside the journal ---------------------------------------------------------------- */

static rd_kafka_t *client_new(void)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, no_log);
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", kafka.brokers, text, sizeof(text)),
        RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(rk);
    return rk;
}

static void foreign_record_in(rd_kafka_t *rk, const char *topic, uint32_t partition,
                              const char *key, const char *value)
{
    assert_int_equal(rd_kafka_producev(
                         rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION((int32_t)partition),
                         RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                         RD_KAFKA_V_KEY((void *)(uintptr_t)key, key ? strlen(key) : 0),
                         RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(rk, 10000), 0);
}

static void foreign_record(rd_kafka_t *rk, const char *topic, const char *key, const char *value)
{
    foreign_record_in(rk, topic, 0, key, value);
}

static void delete_topic(rd_kafka_t *rk, const char *topic)
{
    rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopics(rk, &t, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(t);
}

/* RT_OK, or the error of the only topic. */
static rd_kafka_resp_err_t create_topic(rd_kafka_t *rk, const char *topic, int partitions)
{
    char text[200];
    size_t count = 0;
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, partitions, 1, text, sizeof(text));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &t, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    rd_kafka_resp_err_t e =
        count == 1 ? rd_kafka_topic_result_error(results[0]) : rd_kafka_event_error(event);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(t);
    return e;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_topic_at_boot(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    open_on(&n, "boot", 5); /* made by it */
    assert_int_equal(rt_journal_kafka_partitions(n.journal), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(strlen(rt_journal_kafka_epoch(n.journal, i)) > 5);
    close_node(&n);
    n.find.partitions = 9; /* it is there with 5 */
    open_node(&n);
    assert_int_equal(rt_journal_kafka_partitions(n.journal), 5);
    close_node(&n);
    n.find.require_safe_topic = true;
    assert_int_equal(try_open(&n), RT_EINVAL);
    assert_non_null(strstr(n.error, "1 replica"));
    assert_non_null(strstr(n.error, "acknowledged means stored"));
    n.find.require_safe_topic = false;
    n.options.topic = "not/a/topic";
    assert_int_equal(try_open(&n), RT_EINVAL);
    assert_non_null(strstr(n.error, "kafka.topic"));
    rt_loop_turn(n.loop, 0);
    node_deinit(&n);
}

static void test_many_and_restart(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    enum { MANY = 3000 };
    struct pub *pubs = calloc(MANY, sizeof(*pubs));
    struct node n;
    open_on(&n, "many", 3);
    for (unsigned i = 0; i < MANY; i++) {
        char channel[24], data[24];
        snprintf(channel, sizeof(channel), "c%u", i % 11);
        snprintf(data, sizeof(data), "m%u", i);
        append_text(&n, &pubs[i], channel, data);
        assert_int_equal(pubs[i].returned, RT_PENDING);
    }
    WAIT(&n, n.answers == MANY && n.count == MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pubs[i].append.status, RT_OK);
        assert_true(pubs[i].append.position.offset > 0);
        if (i >= 11)
            assert_true(pubs[i].append.position.offset > pubs[i - 11].append.position.offset);
        release(&pubs[i]);
    }
    assert_int_equal(n.committed, MANY);
    expect_order(&n);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(n.journal, 2));
    close_node(&n);
    n.count = 0;
    open_node(&n);
    assert_int_equal(n.count, MANY);
    expect_order(&n);
    assert_string_equal(rt_journal_kafka_epoch(n.journal, 2), epoch);
    node_deinit(&n);
    free(pubs);
}

static void test_other_producers(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    open_on(&n, "foreign", 1);
    rd_kafka_t *rk = client_new();
    foreign_record(rk, "foreign", "news", "{\"a\": 1}");
    foreign_record(rk, "foreign", NULL, "no channel");
    foreign_record(rk, "foreign", "news", "plain");
    WAIT(&n, has(&n, "plain"));
    assert_int_equal(n.count, 2);
    assert_string_equal(n.got[0].channel, "news");
    assert_string_equal(n.got[0].data, "{\"a\": 1}");
    assert_int_equal(store(&n, "news", "ours"), n.got[1].offset + 1);
    /* Long runs of theirs do not hide the partition's name. */
    for (int i = 0; i < 1200; i++)
        assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("foreign"), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                           RD_KAFKA_V_KEY("news", 4), RD_KAFKA_V_VALUE("f", 1),
                                           RD_KAFKA_V_END),
                         0);
    assert_int_equal(rd_kafka_flush(rk, 10000), 0);
    foreign_record(rk, "foreign", "news", "last");
    WAIT(&n, has(&n, "last"));
    expect_order(&n);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(n.journal, 0));
    close_node(&n);
    open_node(&n);
    assert_string_equal(rt_journal_kafka_epoch(n.journal, 0), epoch);
    rd_kafka_destroy(rk);
    node_deinit(&n);
}

/* Another partitioner than ours: what stands elsewhere is found all the same, once, in the order of the channel's partition, by who starts later too. */
static void test_misplaced(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    enum { MANY = 200 };
    struct node a, b;
    char data[24];
    open_on(&a, "misplaced", 4);
    open_on(&b, "misplaced", 4);
    uint32_t home = rt_partition_of(RT_STR("c"), 4);
    store(&a, "c", "before");
    rd_kafka_t *rk = client_new();
    for (int i = 0; i < MANY; i++) {
        snprintf(data, sizeof(data), "m%d", i);
        foreign_record_in(rk, "misplaced", (home + 1) % 4, "c", data);
    }
    foreign_record_in(rk, "misplaced", home, "c", "at home");
    WAIT_ALL(&a, &b, has(&a, "m199") && has(&b, "m199") && has(&a, "at home"));
    store(&a, "c", "after");
    WAIT_ALL(&a, &b, has(&a, "after") && has(&b, "after"));
    assert_int_equal(a.count, MANY + 3);
    assert_int_equal(b.count, MANY + 3);
    int next = 0;
    for (size_t i = 0; i < a.count; i++) {
        assert_string_equal(a.got[i].data, b.got[i].data);
        assert_string_equal(a.got[i].epoch, rt_journal_kafka_epoch(a.journal, home));
        snprintf(data, sizeof(data), "m%d", next);
        next += strcmp(a.got[i].data, data) == 0;
    }
    assert_int_equal(next, MANY);
    expect_order(&a);
    expect_order(&b);
    assert_true(sample(&a, "rtbroker_kafka_misplaced_total") == MANY);
    assert_true(sample(&a, "rtbroker_kafka_misplaced_lost_total") == 0);
    assert_int_equal(a.gaps, 0);
    /* Who starts reads them back, and finds that they are there. */
    close_node(&b);
    b.count = 0;
    open_node(&b);
    WAIT_ALL(&a, &b, has(&b, "after"));
    uint64_t last = store(&b, "c", "last");
    WAIT_ALL(&a, &b, has(&a, "last") && has(&b, "last"));
    assert_int_equal(b.count, MANY + 4);
    assert_int_equal(a.got[a.count - 1].offset, last);
    rd_kafka_destroy(rk);
    node_deinit(&a);
    node_deinit(&b);
}

/* Without a window of keys nobody could tell whether it was done: it is counted, and the channel's partition has a gap. */
static void test_misplaced_and_lost(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    node_init(&n, kafka.brokers);
    n.options.topic = "misplaced.lost";
    n.find.partitions = 4;
    n.find.timeout_ms = 30000;
    n.options.journal.idempotency_window = 0;
    open_node(&n);
    uint32_t home = rt_partition_of(RT_STR("c"), 4);
    rd_kafka_t *rk = client_new();
    foreign_record_in(rk, "misplaced.lost", (home + 1) % 4, "c", "elsewhere");
    WAIT(&n, n.gaps == 1);
    store(&n, "c", "after");
    WAIT(&n, has(&n, "after"));
    assert_int_equal(n.count, 1);
    assert_true(sample(&n, "rtbroker_kafka_misplaced_lost_total") == 1);
    rd_kafka_destroy(rk);
    node_deinit(&n);
}

/* ---- records that are too large ---------------------------------------------------------------------------------- */

static void set_max_message(rd_kafka_t *rk, const char *topic, const char *bytes)
{
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    assert_int_equal(rd_kafka_ConfigResource_set_config(resource, "max.message.bytes", bytes), 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AlterConfigs(rk, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
}

/* Bytes that do not compress. */
static void append_bytes(struct node *n, struct pub *p, const char *channel, size_t size)
{
    uint8_t *data = malloc(size);
    assert_non_null(data);
    rt_random(data, size);
    struct rt_message m = {.kind = RT_KIND_BYTES, .data = rt_str_of(data, size)};
    append_message(n, p, channel, &m);
    free(data);
}

/* At once, 4,000 bytes each; how many were stored. */
static int append_many(struct node *n, struct pub *pubs, int count)
{
    int stored = 0;
    for (int i = 0; i < count; i++)
        append_bytes(n, &pubs[i], "c", 4000);
    for (int i = 0; i < count; i++) {
        if (pubs[i].returned == RT_PENDING)
            await(&pubs[i]);
        stored += pubs[i].append.status == RT_OK;
        release(&pubs[i]);
    }
    return stored;
}

/* The producer may just be replaced. */
static void store_soon(struct node *n, const char *channel, const char *data)
{
    struct pub p;
    WAIT(n, (append_text(n, &p, channel, data), p.returned == RT_PENDING) || (release(&p), false));
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    release(&p);
}

/* The operator lowers the topic's limit while a node runs. What is too large is refused for good; all else is stored, in order, also what shared its batch with it. */
static void test_too_large(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    enum { ROUNDS = 20, SMALL = 40 };
    struct node n;
    struct pub large, small[SMALL];
    open_on(&n, "large", 1);
    rd_kafka_t *rk = client_new();
    append_bytes(&n, &large, "c", 300000);
    await(&large);
    assert_int_equal(large.append.status, RT_OK);
    release(&large);
    set_max_message(rk, "large", "100000");
    /* The broker learns it in its own time. */
    do {
        append_bytes(&n, &large, "c", 300000);
        if (large.returned == RT_PENDING)
            await(&large);
        release(&large);
    } while (large.append.status == RT_OK);
    assert_int_equal(large.append.status, RT_ERANGE);
    assert_non_null(strstr(large.append.text, "max.message.bytes"));
    store(&n, "c", "after");
    assert_true(healthy(&n));
    /* In the middle of others: these get `ok`, or `retry` for all of a batch, which makes some behind them `unknown`. */
    bool refused = false;
    for (int round = 0; round < ROUNDS || !refused; round++) {
        assert_true(round < 1000);
        rt_loop_turn(n.loop, 10); /* the producer may just be replaced */
        for (int i = 0; i < SMALL; i++) {
            if (i == SMALL / 2)
                append_bytes(&n, &large, "d", 150000);
            append_bytes(&n, &small[i], "c", 4000);
        }
        for (int i = 0; i < SMALL; i++) {
            if (small[i].returned == RT_PENDING)
                await(&small[i]);
            assert_true(small[i].append.status == RT_OK || small[i].append.status == RT_EAGAIN ||
                        strstr(small[i].append.text, "before it was not"));
            release(&small[i]);
        }
        if (large.returned == RT_PENDING)
            await(&large);
        assert_true(large.append.status == RT_ERANGE || large.append.status == RT_EAGAIN);
        refused = large.append.status == RT_ERANGE;
        release(&large);
    }
    /* Soon batches fit: who sends again is not refused for ever because others do. */
    for (int round = 0, fitting = 0; fitting < 5; round++) {
        assert_true(round < 20);
        store_soon(&n, "e", "ready");
        fitting = append_many(&n, small, SMALL) == SMALL ? fitting + 1 : 0;
    }
    assert_true(sample(&n, "rtbroker_kafka_too_large_total") >= 2);
    assert_true(sample(&n, "rtbroker_journal_appends_total{result=\"refused\"}") ==
                sample(&n, "rtbroker_kafka_too_large_total"));
    store(&n, "c", "last");
    WAIT(&n, has(&n, "last"));
    expect_order(&n);
    /* What cannot fit is refused at start. */
    close_node(&n);
    n.find.message = 90000;
    assert_int_equal(try_open(&n), RT_EINVAL);
    assert_non_null(strstr(n.error, "max.message.bytes is 100000, but limits.message is 90000"));
    n.find.message = 80000;
    open_node(&n);
    assert_int_equal(append_many(&n, small, SMALL), SMALL); /* it knows from the start */
    rd_kafka_destroy(rk);
    node_deinit(&n);
}

/* SIGKILL under load: "retry" after 5 s, healed after the restart, everything acknowledged is there, once. */
static void test_broker_killed(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    enum { MOST = 5000 };
    struct pub *pubs = calloc(MOST, sizeof(*pubs));
    struct node n;
    char out[200];
    int count = 0;
    open_on(&n, "killed", 2);
    for (; count < 500; count++) {
        char data[24];
        snprintf(data, sizeof(data), "m%d", count);
        append_text(&n, &pubs[count], "c", data);
        if (count % 50 == 0)
            rt_loop_turn(n.loop, 1);
        if (count == 400)
            assert_int_equal(script("kill", out, sizeof(out)), 0);
    }
    WAIT(&n, !healthy(&n));
    append_text(&n, &pubs[count], "c", "refused");
    assert_int_equal(pubs[count].returned, RT_EAGAIN);
    release(&pubs[count]);
    assert_int_equal(script("start", out, sizeof(out)), 0);
    assert_string_equal(out, kafka.brokers);
    WAIT(&n, healthy(&n));
    store(&n, "c", "after");
    for (int i = 0; i < count; i++)
        if (pubs[i].returned == RT_PENDING)
            WAIT(&n, pubs[i].answered);
    WAIT(&n, has(&n, "after"));
    int stored = 0;
    for (int i = 0; i < count; i++) {
        char data[24];
        int times = 0;
        snprintf(data, sizeof(data), "m%d", i);
        for (size_t k = 0; k < n.count; k++)
            times += strcmp(n.got[k].data, data) == 0;
        if (pubs[i].append.status == RT_OK && pubs[i].returned == RT_PENDING)
            assert_int_equal(times, 1);
        else if (pubs[i].append.status == RT_EAGAIN)
            assert_int_equal(times, 0);
        assert_true(times <= 1);
        stored += times;
        release(&pubs[i]);
    }
    assert_true(stored >= 300);
    expect_order(&n);
    node_deinit(&n);
    free(pubs);
}

/* Its answers come late: only latency. */
static void test_broker_frozen(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    struct pub p;
    open_on(&n, "frozen", 1);
    store(&n, "c", "before");
    pid_t pid = kafka_pid();
    assert_int_equal(kill(pid, SIGSTOP), 0);
    append_text(&n, &p, "c", "during");
    uint64_t until = rt_mono_ms() + 2000;
    while (rt_mono_ms() < until)
        rt_loop_turn(n.loop, 50);
    assert_int_equal(p.answered, 0);
    assert_true(healthy(&n));
    assert_int_equal(kill(pid, SIGCONT), 0);
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    release(&p);
    WAIT(&n, has(&n, "during"));
    assert_int_equal(n.count, 2);
    node_deinit(&n);
}

/* The topic is deleted and made anew while two nodes run: a new epoch, the same on both; nothing of the new log is missing, nothing of the old
 * comes again. */
static void test_topic_made_anew(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    enum { OLD = 300, NEW = 50 };
    struct node a, b;
    open_on(&a, "anew", 2);
    open_on(&b, "anew", 2);
    uint32_t partition = rt_partition_of(RT_STR("c"), 2);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(a.journal, partition));
    for (int i = 0; i < OLD; i++)
        store(&a, "c", "old");
    WAIT(&a, a.count == OLD);
    WAIT(&b, b.count == OLD);
    rd_kafka_t *rk = client_new();
    delete_topic(rk, "anew");
    uint64_t until = rt_mono_ms() + DEADLINE_MS;
    while (create_topic(rk, "anew", 2) != 0) /* still being deleted */
        assert_true(rt_mono_ms() < until);
    rd_kafka_destroy(rk);
    /* Nobody tells it; they find out. Publishes are refused or fail meanwhile. */
    while (strcmp(rt_journal_kafka_epoch(a.journal, partition), epoch) == 0 ||
           strcmp(rt_journal_kafka_epoch(b.journal, partition), epoch) == 0) {
        rt_loop_turn(a.loop, 10);
        rt_loop_turn(b.loop, 10);
        assert_true(rt_mono_ms() < until);
    }
    WAIT(&a, healthy(&a));
    int stored = 0;
    for (int i = 0; stored < NEW; i++) {
        struct pub p;
        char data[24];
        snprintf(data, sizeof(data), "new%d", stored);
        append_text(&a, &p, "c", data);
        if (p.returned == RT_PENDING)
            await(&p);
        stored += p.append.status == RT_OK;
        release(&p);
        rt_loop_turn(a.loop, 5);
        assert_true(rt_mono_ms() < until);
    }
    WAIT(&a, has(&a, "new49"));
    WAIT(&b, has(&b, "new49"));
    assert_string_equal(rt_journal_kafka_epoch(a.journal, partition),
                        rt_journal_kafka_epoch(b.journal, partition));
    assert_string_not_equal(rt_journal_kafka_epoch(a.journal, partition), epoch);
    struct node *nodes[] = {&a, &b};
    for (int k = 0; k < 2; k++) {
        size_t old = 0;
        for (size_t i = 0; i < nodes[k]->count; i++) {
            bool is_old = strcmp(nodes[k]->got[i].data, "old") == 0;
            old += is_old;
            assert_int_equal(strcmp(nodes[k]->got[i].epoch, epoch) == 0, is_old);
        }
        assert_int_equal(old, OLD);
        for (int i = 0; i < NEW; i++) {
            char data[24];
            snprintf(data, sizeof(data), "new%d", i);
            assert_true(has(nodes[k], data));
        }
        expect_order(nodes[k]);
        assert_true(sample(nodes[k], "rtbroker_kafka_epoch_changes_total") >= 1);
        /* The end of the old log may have had what this node did not read. */
        assert_true(nodes[k]->gaps >= 1);
        assert_true(sample(nodes[k], "rtbroker_kafka_gaps_total") == nodes[k]->gaps);
    }
    node_deinit(&a);
    node_deinit(&b);
}

/* ---- partitions that are added ---------------------------------------------------------------------------------- */

static void add_partitions(rd_kafka_t *rk, const char *topic, size_t total)
{
    char text[200];
    size_t count = 0;
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(topic, total, text, sizeof(text));
    assert_non_null(more);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreatePartitions(rk, &more, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    const rd_kafka_topic_result_t **results = rd_kafka_CreatePartitions_result_topics(
        rd_kafka_event_CreatePartitions_result(event), &count);
    assert_int_equal(count, 1);
    assert_int_equal(rd_kafka_topic_result_error(results[0]), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewPartitions_destroy(more);
}

#define ROOMS 12u

/* One message a room, each surely stored; `number` tells its place in the order of the room. */
static void store_in_rooms(struct node *n, int number)
{
    for (unsigned i = 0; i < ROOMS; i++) {
        char room[24], data[24];
        snprintf(room, sizeof(room), "room%u", i);
        snprintf(data, sizeof(data), "%u/%d", i, number);
        store(n, room, data);
    }
}

/* All of the rooms' messages from `first` to `last`, in the order in which they were acknowledged, each once. */
static void expect_rooms(const struct node *n, int first, int last)
{
    int next[ROOMS];
    for (unsigned i = 0; i < ROOMS; i++)
        next[i] = first;
    for (size_t k = 0; k < n->count; k++) {
        unsigned room;
        int number;
        if (sscanf(n->got[k].data, "%u/%d", &room, &number) != 2)
            continue;
        assert_int_equal(number, next[room]);
        next[room]++;
    }
    for (unsigned i = 0; i < ROOMS; i++)
        assert_int_equal(next[i], last + 1);
}

/* Nodes follow without a restart; nothing acknowledged is missing or out of order, and a node that starts then comes to the same. */
static void test_partitions_added(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node a, b;
    struct pub p, late;
    open_on(&a, "added", 2);
    open_on(&b, "added", 2);
    store_in_rooms(&a, 0);
    store_in_rooms(&b, 1);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(a.journal, 1));
    rd_kafka_t *rk = client_new();
    add_partitions(rk, "added", 5);
    uint64_t began = rt_mono_ms();
    /* Both see it within 10 s, refuse, and say why. */
    WAIT_ALL(&a, &b, !healthy(&a) && !healthy(&b));
    assert_true(rt_mono_ms() - began < 10000);
    assert_non_null(strstr(health(&a), "5 partitions"));
    append_text(&a, &p, "room1", "no");
    assert_int_equal(p.returned, RT_EAGAIN);
    assert_non_null(strstr(p.append.text, "still goes by 2"));
    release(&p);
    /* They follow, once nobody can go by the former number any more. */
    WAIT_ALL(&a, &b, a.moves == 1 && b.moves == 1 && healthy(&a) && healthy(&b));
    assert_true(rt_mono_ms() - began >= 15000);
    assert_int_equal(rt_journal_kafka_partitions(a.journal), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_string_equal(rt_journal_kafka_epoch(a.journal, i),
                            rt_journal_kafka_epoch(b.journal, i));
    assert_string_not_equal(rt_journal_kafka_epoch(a.journal, 1), epoch);
    store_in_rooms(&b, 2);
    store_in_rooms(&a, 3);
    append_text(&a, &late, "room1", "last");
    await(&late);
    assert_int_equal(late.append.status, RT_OK);
    WAIT_ALL(&a, &b, has(&a, "last") && has(&b, "last"));
    release(&late);
    expect_rooms(&a, 0, 3);
    expect_rooms(&b, 0, 3);
    assert_int_equal(a.gaps + b.gaps, 0);
    /* Who starts now has what the new epochs have, and not what is of former ones. */
    close_node(&b);
    b.count = 0;
    open_node(&b);
    WAIT(&b, has(&b, "last"));
    expect_rooms(&b, 2, 3);
    assert_string_equal(rt_journal_kafka_epoch(a.journal, 4), rt_journal_kafka_epoch(b.journal, 4));
    rd_kafka_destroy(rk);
    node_deinit(&a);
    node_deinit(&b);
}

/* They were added while no node ran: who starts waits until nobody can go by the former number, then begins new epochs. */
static void test_partitions_added_before_start(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    open_on(&n, "added.before", 2);
    store_in_rooms(&n, 0);
    close_node(&n);
    rd_kafka_t *rk = client_new();
    add_partitions(rk, "added.before", 3);
    rd_kafka_destroy(rk);
    n.count = 0;
    uint64_t began = rt_mono_ms();
    open_node(&n);
    assert_true(rt_mono_ms() - began >= 15000);
    WAIT(&n, healthy(&n));
    store_in_rooms(&n, 1);
    WAIT(&n, n.count == ROOMS);
    expect_rooms(&n, 1, 1);
    for (size_t i = 0; i < n.count; i++)
        assert_true(n.got[i].offset > 1); /* at 1 is what was there, or the marker */
    node_deinit(&n);
}

static void delete_records(rd_kafka_t *rk, const char *topic, int64_t before)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = before;
    rd_kafka_DeleteRecords_t *records = rd_kafka_DeleteRecords_new(list);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteRecords(rk, &records, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteRecords_destroy(records);
    rd_kafka_topic_partition_list_destroy(list);
}

/* So much that the tail of a loop that stands still has no credits left. */
static void flood(rd_kafka_t *rk, const char *topic, int count)
{
    char value[800];
    memset(value, 'x', sizeof(value));
    for (int i = 0; i < count; i++) {
        rd_kafka_resp_err_t e;
        while (
            (e = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY("c", 1),
                                   RD_KAFKA_V_VALUE(value, sizeof(value)), RD_KAFKA_V_END)) ==
            RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(rk, 50);
        assert_int_equal(e, 0);
    }
    assert_int_equal(rd_kafka_flush(rk, 30000), 0);
}

/* The loop stands still: the tail stops by its credits, and retention overtakes it. The node goes on behind the hole, tells it, and the epoch is the
 * same: other nodes have no hole. So it is when nothing at all is left that tells the name, and nothing comes again. */
static void test_overtaken_by_retention(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    enum { MANY = 60000 };
    struct node n;
    open_on(&n, "overtaken", 1);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", rt_journal_kafka_epoch(n.journal, 0));
    rd_kafka_t *rk = client_new();
    for (unsigned round = 1; round <= 2; round++) {
        bool all = round == 2;
        store(&n, "c", all ? "again" : "before");
        WAIT(&n, has(&n, all ? "again" : "before"));
        n.count = 0;
        flood(rk, "overtaken", MANY);
        delete_records(rk, "overtaken", all ? -1 : MANY - 100); /* -1: up to the end */
        if (!all)
            foreign_record(rk, "overtaken", "c", "after");
        WAIT(&n, n.gaps == round);
        WAIT(&n, healthy(&n));
        store(&n, "c", all ? "goes on" : "on");
        WAIT(&n, has(&n, all ? "goes on" : "on"));
        assert_in_range(n.count, all ? 1 : 100, MANY / 2);
        assert_string_equal(rt_journal_kafka_epoch(n.journal, 0), epoch);
        assert_int_equal(n.gaps, round);
        assert_true(sample(&n, "rtbroker_kafka_gaps_total") == round);
        assert_true(sample(&n, "rtbroker_kafka_epoch_changes_total") == 0);
        expect_order(&n);
    }
    rd_kafka_destroy(rk);
    node_deinit(&n);
}

/* A topic that is gone: not ready, publishes get "retry"; it is made anew by somebody, and all goes on. */
static void test_topic_gone(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    struct pub p;
    open_on(&n, "gone", 1);
    store(&n, "c", "before");
    rd_kafka_t *rk = client_new();
    delete_topic(rk, "gone");
    WAIT(&n, !healthy(&n));
    append_text(&n, &p, "c", "no");
    assert_int_equal(p.returned, RT_EAGAIN);
    release(&p);
    uint64_t until = rt_mono_ms() + DEADLINE_MS;
    while (create_topic(rk, "gone", 1) != 0)
        assert_true(rt_mono_ms() < until);
    WAIT(&n, healthy(&n));
    WAIT(&n, (append_text(&n, &p, "c", "after"), p.returned == RT_PENDING) || (release(&p), false));
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    release(&p);
    WAIT(&n, has(&n, "after"));
    rd_kafka_destroy(rk);
    node_deinit(&n);
}

/* ---- an open transaction of another program -------------------------------------------------------------------- */

static rd_kafka_t *transaction_begin(const char *topic, const char *key)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, no_log);
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", kafka.brokers, text, sizeof(text)), 0);
    assert_int_equal(rd_kafka_conf_set(conf, "transactional.id", topic, text, sizeof(text)), 0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(rk);
    assert_null(rd_kafka_init_transactions(rk, DEADLINE_MS));
    assert_null(rd_kafka_begin_transaction(rk));
    foreign_record(rk, topic, key, "in the transaction");
    return rk;
}

static void transaction_end(rd_kafka_t *rk, bool abort)
{
    assert_null(abort ? rd_kafka_abort_transaction(rk, DEADLINE_MS)
                      : rd_kafka_commit_transaction(rk, DEADLINE_MS));
    rd_kafka_destroy(rk);
}

/* Stored and acknowledged, but nobody sees it: noticed within 5 s, with what is known of the transaction. What has a key cannot be called stored for good: whether it
 * repeats another one stands behind the transaction. All heals once it ends. */
static void test_open_transaction(void **state)
{
    (void)state;
    REQUIRE_KAFKA();
    struct node n;
    struct pub keyed;
    open_on(&n, "stuck", 2);
    uint32_t partition = rt_partition_of(RT_STR("c"), 2);
    assert_int_equal(partition, 0); /* where foreign_record() puts its records */
    uint64_t before = store(&n, "c", "before");
    WAIT(&n, has(&n, "before"));
    for (int round = 0; round < 2; round++) {
        const char *name = round ? "second" : "first";
        rd_kafka_t *rk = transaction_begin("stuck", "of another");
        uint64_t at = store(&n, "c", name), since = rt_mono_ms();
        append_key(&n, &keyed, "c", "keyed", name);
        assert_true(healthy(&n));
        WAIT(&n, !healthy(&n));
        assert_in_range(rt_mono_ms() - since, 2000, 8000); /* 5 s, and a busy machine */
        char expected[80];
        snprintf(expected, sizeof(expected), "partition 0 at offset %" PRIu64, at - 2);
        assert_non_null(strstr(health(&n), "an open transaction of another program"));
        assert_non_null(strstr(health(&n), expected)); /* Kafka's, of the record before ours */
        assert_int_equal((int)sample(&n, "rtbroker_kafka_stuck_partitions"), 1);
        assert_in_range((int)sample(&n, "rtbroker_kafka_stuck_seconds"), 2, 20);
        assert_int_equal((int)sample(&n, "rtbroker_storage_up"), 0);
        assert_false(has(&n, name));
        assert_true(at > before);
        await(&keyed);
        assert_int_equal(keyed.append.status, RT_EUNKNOWN);
        release(&keyed);
        transaction_end(rk, round == 1);
        WAIT(&n, healthy(&n) && has(&n, name) && has(&n, "keyed"));
        assert_int_equal((int)sample(&n, "rtbroker_kafka_stuck_partitions"), 0);
        assert_int_equal((int)sample(&n, "rtbroker_kafka_stuck_seconds"), 0);
        before = store(&n, "c", "goes on");
        n.count = 0;
    }
    node_deinit(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topic_at_boot),
        cmocka_unit_test(test_many_and_restart),
        cmocka_unit_test(test_other_producers),
        cmocka_unit_test(test_misplaced),
        cmocka_unit_test(test_misplaced_and_lost),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_broker_killed),
        cmocka_unit_test(test_broker_frozen),
        cmocka_unit_test(test_topic_made_anew),
        cmocka_unit_test(test_overtaken_by_retention),
        cmocka_unit_test(test_topic_gone),
        cmocka_unit_test(test_open_transaction),
        cmocka_unit_test(test_partitions_added),
        cmocka_unit_test(test_partitions_added_before_start),
    };
    return cmocka_run_group_tests_name("kafka_real", tests, start_kafka, stop_kafka);
}
