#include "journal_test.h"

#include "hub/hub.h"

static struct rt_hub_rule rule;
static size_t keys_bytes; /* for the next init() */

static struct rt_hub_rule *rule_of(void *arg, struct rt_str channel)
{
    (void)arg;
    (void)channel;
    return &rule;
}

struct memory_world {
    struct world w;
    struct rt_hub *hub;
};

static void init(struct memory_world *m, uint64_t window)
{
    world_init(&m->w);
    rt_hub_rule_init(&rule);
    rule.keep = true;
    rule.history_size = 10;
    rule.history_ttl = 60000;
    struct rt_hub_options hub = {.memory = 1 << 20, .rule_of = rule_of};
    assert_int_equal(rt_hub_new(&hub, &m->hub), 0);
    m->w.options.hub = m->hub;
    m->w.options.idempotency_window = window;
    m->w.options.keys_bytes = keys_bytes;
    assert_int_equal(rt_journal_memory(&m->w.options, &m->w.journal, NULL), 0);
}

static void deinit(struct memory_world *m)
{
    world_deinit(&m->w);
    rt_hub_free(m->hub);
}

/* As the broker does it: appended, and handed to the hub with its position. */
static int publish(struct memory_world *m, const char *channel, const char *publisher,
                   const char *key, struct pub *p)
{
    struct rt_message message = text_message("x", publisher, key);
    memset(p, 0, sizeof(*p));
    p->append.channel = rt_hub_channel(m->hub, rt_str_c(channel), true);
    p->append.channel_name = rt_channel_name(p->append.channel);
    p->append.message = rt_stored_new(&message);
    p->returned = rt_journal_append(m->w.journal, &p->append);
    if (p->returned == 0 && !p->append.duplicate) {
        p->append.message->m.offset = p->append.position.offset;
        assert_int_equal(rt_hub_publish(m->hub, p->append.channel_name, &p->append.message->m), 0);
    }
    release(p);
    return p->returned;
}

static void test_positions(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub a;
    struct pub b;
    init(&m, 1000);
    assert_string_equal(rt_journal_name(m.w.journal), "memory");
    for (uint64_t i = 1; i <= 20; i++) {
        assert_int_equal(publish(&m, "a", NULL, NULL, &a), RT_OK);
        assert_int_equal(a.append.status, RT_OK);
        assert_int_equal(a.append.position.offset, i);
        assert_false(a.append.duplicate);
    }
    assert_int_equal(publish(&m, "b", NULL, NULL, &b), RT_OK);
    assert_int_equal(b.append.position.offset, 1);
    assert_int_equal(strlen(a.append.position.epoch), 12);
    assert_string_not_equal(a.append.position.epoch, b.append.position.epoch);
    assert_string_equal(a.append.position.epoch,
                        rt_channel_epoch(rt_hub_channel(m.hub, RT_STR("a"), false)));
    assert_int_equal(rt_channel_top(rt_hub_channel(m.hub, RT_STR("a"), false)), 20);
    /* What the hub keeps is the last ten without a hole. */
    assert_true(rt_channel_covers_offset(rt_hub_channel(m.hub, RT_STR("a"), false), 10));
    assert_int_equal((int)sample(&m.w, "rtbroker_journal_appends_total{result=\"ok\"}"), 21);
    deinit(&m);
}

static void test_duplicates(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub p;
    init(&m, 600000);
    publish(&m, "a", "anna", "k1", &p);
    assert_int_equal(p.append.position.offset, 1);
    publish(&m, "a", "anna", "k2", &p);
    assert_int_equal(p.append.position.offset, 2);
    publish(&m, "a", "anna", "k1", &p);
    assert_true(p.append.duplicate);
    assert_int_equal(p.append.position.offset, 1);
    assert_string_equal(p.append.position.epoch,
                        rt_channel_epoch(rt_hub_channel(m.hub, RT_STR("a"), false)));
    /* Another publisher's key is another key, however the two texts are cut. */
    publish(&m, "a", "bert", "k1", &p);
    assert_false(p.append.duplicate);
    publish(&m, "a", "annak", "1", &p);
    assert_false(p.append.duplicate);
    publish(&m, "a", NULL, "k1", &p);
    assert_false(p.append.duplicate);
    publish(&m, "a", NULL, "k1", &p);
    assert_true(p.append.duplicate);
    /* Nor is it the same key on another channel. */
    publish(&m, "b", "anna", "k1", &p);
    assert_false(p.append.duplicate);
    assert_int_equal(p.append.position.offset, 1);
    /* No key: never a duplicate. */
    publish(&m, "a", "anna", NULL, &p);
    publish(&m, "a", "anna", NULL, &p);
    assert_false(p.append.duplicate);
    assert_int_equal(p.append.position.offset, 7);
    assert_int_equal((int)sample(&m.w, "rtbroker_journal_duplicates_total"), 2);
    deinit(&m);
}

static void test_window_ends(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub p;
    init(&m, 20);
    publish(&m, "a", "anna", "k", &p);
    uint64_t first = rt_loop_now(m.w.loop);
    publish(&m, "a", "anna", "k", &p);
    assert_true(p.append.duplicate);
    WAIT(&m.w, rt_loop_now(m.w.loop) > first + 20);
    publish(&m, "a", "anna", "k", &p);
    assert_false(p.append.duplicate);
    assert_int_equal(p.append.position.offset, 2);
    deinit(&m);
}

static void test_no_window(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub p;
    init(&m, 0);
    publish(&m, "a", "anna", "k", &p);
    publish(&m, "a", "anna", "k", &p);
    assert_false(p.append.duplicate);
    deinit(&m);
}

/* Keys are bounded by memory: what was accepted is remembered for its window, and what finds no room is refused. */
static void test_keys_are_bounded(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub p;
    char key[65];
    int stored = 0, status = RT_OK;
    keys_bytes = 100000;
    init(&m, 600000);
    keys_bytes = 0;
    for (; status == RT_OK && stored < 10000; stored += status == RT_OK) {
        snprintf(key, sizeof(key), "%064d", stored);
        status = publish(&m, "a", "a publisher with a name", key, &p);
    }
    assert_int_equal(status, RT_EAGAIN);
    assert_non_null(strstr(p.append.text, "limits.memory_keys"));
    assert_in_range(stored, 300, 1000);
    assert_int_equal(sample(&m.w, "rtbroker_journal_keys"), stored);
    assert_in_range(sample(&m.w, "rtbroker_journal_keys_bytes"), 99000, 100000);
    assert_int_equal(sample(&m.w, "rtbroker_journal_keys_refused_total"), 1);
    assert_int_equal(sample(&m.w, "rtbroker_journal_keys_reach_seconds"), 600);
    snprintf(key, sizeof(key), "%064d", 0);
    assert_int_equal(publish(&m, "a", "a publisher with a name", key, &p), RT_OK);
    assert_true(p.append.duplicate);
    assert_int_equal(publish(&m, "a", NULL, NULL, &p),
                     RT_OK); /* without a key there is no question */
    deinit(&m);
}

static void test_close(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub p;
    struct rt_read read = {.channel_name = RT_STR("a")};
    init(&m, 1000);
    const char *text = "?";
    assert_true(rt_journal_healthy(m.w.journal, &text));
    assert_string_equal(text, "");
    assert_false(rt_journal_congested(m.w.journal));
    assert_int_equal(rt_journal_read(m.w.journal, &read), RT_ENOENT);
    rt_journal_close(m.w.journal, on_journal_closed, &m.w);
    rt_journal_close(m.w.journal, on_journal_closed, &m.w);
    assert_false(m.w.closed);
    assert_int_equal(publish(&m, "a", NULL, NULL, &p), RT_ECLOSED);
    assert_true(p.append.text[0] != '\0');
    WAIT(&m.w, m.w.closed);
    rt_journal_free(m.w.journal);
    m.w.journal = NULL;
    deinit(&m);
}

/* The n-th allocation fails: nothing is given away, the next try works and finds the order intact. */
static void test_allocation_failures(void **state)
{
    (void)state;
    struct memory_world m;
    struct pub p;
    init(&m, 600000);
    struct rt_channel *c = rt_hub_channel(m.hub, RT_STR("a"), true);
    unsigned failures = 0;
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        for (unsigned long n = 1;; n++) {
            struct rt_message message = text_message("x", "anna", key);
            memset(&p, 0, sizeof(p));
            p.append.channel = c;
            p.append.channel_name = rt_channel_name(c);
            p.append.message = rt_stored_new(&message);
            assert_non_null(p.append.message);
            rt_alloc_fail_at(n, 0);
            int code = rt_journal_append(m.w.journal, &p.append);
            int hit = rt_alloc_failed();
            rt_alloc_fail_at(0, 0);
            uint64_t offset = p.append.position.offset;
            if (code == 0) {
                assert_false(p.append.duplicate);
                p.append.message->m.offset = offset;
                rt_hub_publish(m.hub, p.append.channel_name, &p.append.message->m);
            } else {
                assert_int_equal(code, RT_ENOMEM);
                failures++;
            }
            release(&p);
            if (!hit) {
                assert_int_equal(offset, i + 1);
                break;
            }
            if (code == 0)
                fail_msg("an allocation failed and nobody noticed");
        }
    }
    assert_true(failures >= 100);
    deinit(&m);
}

static void test_open_without_memory(void **state)
{
    (void)state;
    struct world w;
    struct rt_err err = {0};
    world_init(&w);
    rt_alloc_fail_at(1, 0);
    assert_int_equal(rt_journal_memory(&w.options, &w.journal, &err), RT_ENOMEM);
    rt_alloc_fail_at(0, 0);
    assert_null(w.journal);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions),           cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_window_ends),         cmocka_unit_test(test_no_window),
        cmocka_unit_test(test_keys_are_bounded),    cmocka_unit_test(test_close),
        cmocka_unit_test(test_allocation_failures), cmocka_unit_test(test_open_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
