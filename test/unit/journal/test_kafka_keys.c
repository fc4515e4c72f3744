/* Idempotency keys of nodes that share a log: clocks that are wrong, the log's own clock, the memory that keys may take. */
#include "kafka_test.h"

struct pair {
    struct mock mock;
    struct node a, b;
};

static void open_pair(struct pair *p, uint64_t window)
{
    mock_init(&p->mock, 1);
    node_init(&p->a, p->mock.brokers);
    node_init(&p->b, p->mock.brokers);
    p->a.options.journal.idempotency_window = p->b.options.journal.idempotency_window = window;
    open_node(&p->a);
    open_node(&p->b);
}

static void close_pair(struct pair *p)
{
    node_deinit(&p->a);
    node_deinit(&p->b);
    mock_deinit(&p->mock);
}

/* What became of a message with a key, once the answer is there. `ahead`: by so much the node's clock is wrong, ms. */
static struct rt_append publish(struct node *n, const char *key, uint64_t ahead)
{
    struct pub p;
    struct rt_message m = {.kind = RT_KIND_TEXT,
                           .data = rt_str_c(key),
                           .publisher = RT_STR("anna"),
                           .key = rt_str_c(key),
                           .time = rt_wall_ms() + ahead};
    append_message(n, &p, "room", &m);
    if (p.returned == RT_PENDING)
        await(&p);
    struct rt_append result = p.append;
    release(&p);
    return result;
}

static void expect_new(struct node *n, const char *key)
{
    struct rt_append a = publish(n, key, 0);
    if (a.status != RT_OK)
        fail_msg("%s: %s", key, a.text);
    assert_false(a.duplicate);
}

static void expect_repeated(struct node *n, const char *key, uint64_t first)
{
    struct rt_append a = publish(n, key, 0);
    assert_int_equal(a.status, RT_OK);
    assert_true(a.duplicate);
    assert_int_equal(a.position.offset, first);
}

static void expect_refused(struct node *n, const char *key, const char *why)
{
    struct rt_append a = publish(n, key, 0);
    assert_int_equal(a.status, RT_EAGAIN);
    if (!strstr(a.text, why))
        fail_msg("\"%s\" does not say %s", a.text, why);
}

/* One message of a node whose clock is far ahead: nobody forgets anything, nor does who starts afterwards with what its log says. */
static void test_clock_ahead(void **state)
{
    (void)state;
    struct pair p;
    struct node late;
    open_pair(&p, 600000);
    uint64_t first = publish(&p.a, "order 1", 0).position.offset;
    for (uint64_t minutes = 20; minutes < 2000; minutes *= 10)
        assert_int_equal(publish(&p.b, minutes == 20 ? "ahead" : "further", minutes * 60000).status,
                         RT_OK);
    WAIT(&p.a, has(&p.a, "further"));
    expect_repeated(&p.a, "order 1", first);
    expect_repeated(&p.b, "order 1", first);
    node_init(&late, p.mock.brokers);
    late.options.warm = 0;
    open_node(&late);
    expect_repeated(&late, "order 1", first);
    node_deinit(&late);
    close_pair(&p);
}

/* The log's clock ticks while something comes, by two nodes and no faster; keys are over after the window, and their memory is free. */
static void test_window_ends(void **state)
{
    (void)state;
    struct pair p;
    enum { WINDOW = 600 };
    open_pair(&p, WINDOW);
    uint64_t begin = rt_mono_ms();
    uint64_t first = publish(&p.a, "k", 0).position.offset;
    WAIT(&p.a, sample(&p.a, "rtbroker_journal_keys") == 0 || (rt_loop_turn(p.b.loop, 0), false));
    uint64_t took = rt_mono_ms() - begin;
    if (took < WINDOW)
        fail_msg("the key was over after %llu ms", (unsigned long long)took);
    WAIT(&p.b, sample(&p.b, "rtbroker_journal_keys") == 0);
    expect_new(&p.b, "k");
    struct rt_append again = publish(&p.b, "k", 0);
    assert_true(again.duplicate);
    assert_true(again.position.offset > first + 5); /* the ticks stand between them */
    close_pair(&p);
}

/* Who starts reads from the oldest tick: it knows what counts, and not what is over. */
static void test_start_behind_ticks(void **state)
{
    (void)state;
    struct pair p;
    struct node late;
    open_pair(&p, 1200);
    uint64_t first = publish(&p.a, "k", 0).position.offset;
    WAIT(&p.a, sample(&p.a, "rtbroker_journal_keys") == 0);
    uint64_t second = publish(&p.a, "k", 0).position.offset;
    assert_true(second > first);
    node_init(&late, p.mock.brokers);
    late.options.warm = 0;
    late.options.journal.idempotency_window = 1200;
    open_node(&late);
    expect_repeated(&late, "k", second);
    assert_int_equal(late.count, 1); /* the first one is from before the window */
    node_deinit(&late);
    close_pair(&p);
}

/* Full: new keys are refused with the option's name; old ones, and messages without a key, are not. */
static void test_memory_is_full(void **state)
{
    (void)state;
    struct mock mock;
    struct node n;
    char key[16] = "0";
    int stored = 0;
    mock_init(&mock, 1);
    node_init(&n, mock.brokers);
    n.options.journal.keys_bytes = 8192;
    open_node(&n);
    uint64_t first = 0;
    for (struct rt_append a = publish(&n, key, 0); a.status == RT_OK; a = publish(&n, key, 0)) {
        first = first ? first : a.position.offset;
        snprintf(key, sizeof(key), "%d", ++stored);
        assert_true(stored < 1000);
    }
    assert_in_range(stored, 64, 128);
    expect_refused(&n, key, "limits.memory_keys");
    assert_true(sample(&n, "rtbroker_journal_keys_refused_total") == 2);
    assert_true(sample(&n, "rtbroker_journal_keys") == stored);
    assert_true(sample(&n, "rtbroker_journal_keys_bytes") <= 8192);
    assert_true(sample(&n, "rtbroker_journal_keys_reach_seconds") == 600);
    expect_repeated(&n, "0", first);
    (void)store(&n, "room", "without a key");
    node_deinit(&n);
    mock_deinit(&mock);
}

/* What another node with more memory brings cannot be refused: the window has a hole, which is told, until it is over. */
static void test_memory_is_exhausted(void **state)
{
    (void)state;
    struct pair p;
    char key[16];
    mock_init(&p.mock, 1);
    node_init(&p.a, p.mock.brokers);
    node_init(&p.b, p.mock.brokers);
    p.a.options.journal.idempotency_window = p.b.options.journal.idempotency_window = 3000;
    p.b.options.journal.keys_bytes = 2048;
    open_node(&p.a);
    open_node(&p.b);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "%d", i);
        expect_new(&p.a, key);
    }
    WAIT(&p.b, has(&p.b, "59"));
    assert_true(sample(&p.b, "rtbroker_journal_keys_lost_total") == 12);
    assert_true(sample(&p.b, "rtbroker_journal_keys_reach_seconds") < 3);
    expect_refused(&p.b, "another", "lost");
    expect_new(&p.a, "another");
    WAIT(&p.b, publish(&p.b, "after the window", 0).status == RT_OK);
    assert_true(sample(&p.b, "rtbroker_journal_keys_reach_seconds") == 3);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_ahead),         cmocka_unit_test(test_window_ends),
        cmocka_unit_test(test_start_behind_ticks),  cmocka_unit_test(test_memory_is_full),
        cmocka_unit_test(test_memory_is_exhausted),
    };
    return cmocka_run_group_tests_name("kafka_keys", tests, NULL, NULL);
}
