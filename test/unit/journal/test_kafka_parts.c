/* The pure parts of the Kafka journal: repeated keys, and channels that had a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "journal/kafka_dedupe.h"
#include "journal/kafka_marks.h"

static struct rt_keys_budget budget;

static struct rt_message keyed(const char *publisher, const char *key, uint64_t offset)
{
    return (struct rt_message){
        .publisher = rt_str_c(publisher), .key = rt_str_c(key), .offset = offset};
}

/* The first position, 0 when the record is no duplicate. */
static uint64_t record_on(struct rt_dedupe *d, const char *channel, const char *publisher,
                          const char *key, uint64_t offset)
{
    struct rt_message m = keyed(publisher, key, offset);
    uint64_t first = 0;
    uint64_t found = 0;
    bool would = rt_dedupe_find(d, rt_str_c(channel), &m, &found);
    assert_int_equal(rt_dedupe_record(d, rt_str_c(channel), &m, &first), 0);
    assert_int_equal(would, first != 0);
    assert_int_equal(found, first);
    return first;
}

static uint64_t record(struct rt_dedupe *d, const char *publisher, const char *key, uint64_t offset)
{
    return record_on(d, "room", publisher, key, offset);
}

/* A tick of somebody who knows them all. */
static void tick(struct rt_dedupe *d, uint64_t position)
{
    struct rt_ticks known = d->ticks.at[0] ? d->ticks : rt_ticks_begin(1);
    assert_true(rt_dedupe_tick(d, &known, position));
}

static void test_keys(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct rt_dedupe d;
    rt_dedupe_init(&d, 1000, &budget);
    assert_int_equal(record(&d, "a", "k", 1), 0);
    assert_int_equal(record(&d, "a", "k", 2), 1);
    assert_int_equal(record(&d, "b", "k", 3), 0); /* another publisher */
    assert_int_equal(record(&d, "a", "k2", 4), 0);
    assert_int_equal(record(&d, "ak", "", 5), 0); /* an empty key is one */
    assert_int_equal(record(&d, "ak", "", 6), 5);
    assert_int_equal(record(&d, "a", NULL, 7), 0);
    assert_int_equal(record(&d, "a", NULL, 8), 0);
    assert_int_equal(record_on(&d, "rooma", "", "k", 9), 0); /* another channel */
    assert_int_equal(record_on(&d, "other", "a", "k", 10), 0);
    assert_int_equal(record_on(&d, "other", "a", "k", 11), 10);
    assert_int_equal(budget.keys, 6);
    rt_dedupe_clear(&d);
    assert_int_equal(record(&d, "a", "k", 13), 0);
    rt_dedupe_deinit(&d);
    rt_dedupe_init(&d, 0, &budget);
    assert_int_equal(record(&d, "a", "k", 1), 0);
    assert_int_equal(record(&d, "a", "k", 2), 0);
    rt_dedupe_deinit(&d);
    assert_int_equal(budget.keys, 0);
    assert_int_equal(budget.used, 0);
    assert_int_equal(rt_alloc_live(), live);
}

/* A key counts until five ticks have come behind its last use; what records say of their time changes nothing. */
static void test_window(void **state)
{
    (void)state;
    struct rt_dedupe d;
    struct rt_message late = keyed("a", "from a clock that is ahead", 20);
    uint64_t first = 0;
    rt_dedupe_init(&d, 1000, &budget);
    assert_int_equal(record(&d, "a", "old", 10), 0);
    late.time = UINT64_MAX;
    assert_int_equal(rt_dedupe_record(&d, RT_STR("room"), &late, &first), 0);
    assert_int_equal(record(&d, "a", "used", 11), 0);
    for (uint64_t i = 0; i < RT_TICKS - 1; i++) {
        tick(&d, 30 + i);
        assert_int_equal(d.count, 3);
    }
    assert_int_equal(record(&d, "a", "used", 40), 11); /* the window slides with each use */
    tick(&d, 50);
    assert_int_equal(d.count, 1);
    assert_int_equal(record(&d, "a", "old", 51), 0);
    for (uint64_t i = 0; i < RT_TICKS - 1; i++)
        tick(&d, 60 + i);
    assert_int_equal(record(&d, "a", "used", 70), 0);
    rt_dedupe_deinit(&d);
}

/* Records that are read again, after a reader had to go back, repeat nothing but what they did before. */
static void test_read_again(void **state)
{
    (void)state;
    struct rt_dedupe d;
    rt_dedupe_init(&d, 1000, &budget);
    for (int round = 0; round < 2; round++) {
        struct rt_message m = keyed("a", "k", 5);
        uint64_t first = 0;
        assert_int_equal(rt_dedupe_record(&d, RT_STR("room"), &m, &first), 0);
        assert_int_equal(first, 0);
        m.offset = 9;
        assert_int_equal(rt_dedupe_record(&d, RT_STR("room"), &m, &first), 0);
        assert_int_equal(first, 5);
    }
    rt_dedupe_deinit(&d);
}

static void text_key(char key[16], uint64_t number)
{
    snprintf(key, 16, "%llu", (unsigned long long)number);
}

/* As the flood: 70,000 keys, and the first is still known; then the window is over, and the memory is free. */
static void test_all_of_the_window(void **state)
{
    (void)state;
    struct rt_dedupe d;
    char key[16];
    enum { FLOOD = 70000 };
    rt_dedupe_init(&d, 1000, &budget);
    for (uint64_t i = 1; i <= FLOOD; i++) {
        text_key(key, i);
        assert_int_equal(record(&d, "a", key, i), 0);
    }
    assert_int_equal(budget.keys, FLOOD);
    assert_in_range(budget.used, FLOOD * 32, FLOOD * 96);
    for (uint64_t i = 1; i <= FLOOD; i += 999) {
        text_key(key, i);
        assert_int_equal(record(&d, "a", key, FLOOD + i), i);
    }
    for (uint64_t i = 0; i < RT_TICKS; i++)
        tick(&d, (uint64_t)3 * FLOOD + i);
    assert_int_equal(budget.keys, 0);
    assert_int_equal(budget.used, 64 * 32);
    rt_dedupe_deinit(&d);
}

/* A table out of which most go finds all that are left, wherever they stood. */
static void test_dropping(void **state)
{
    (void)state;
    for (uint64_t kept = 1; kept < 40; kept += 3) {
        struct rt_dedupe d;
        char key[16];
        rt_dedupe_init(&d, 1000, &budget);
        for (uint64_t i = 1; i <= 46; i++) {
            text_key(key, i * 7 + kept);
            assert_int_equal(record(&d, "a", key, i), 0);
        }
        struct rt_ticks known = rt_ticks_begin(46 - kept + 1);
        assert_true(rt_dedupe_tick(&d, &known, 50));
        assert_int_equal(d.count, kept);
        for (uint64_t i = 1; i <= 46; i++) {
            struct rt_message m;
            uint64_t first = 0;
            text_key(key, i * 7 + kept);
            m = keyed("a", key, 0);
            assert_int_equal(rt_dedupe_find(&d, RT_STR("room"), &m, &first), i > 46 - kept);
        }
        rt_dedupe_deinit(&d);
    }
}

/* Publishers are refused while there is room for what is on its way; a key that finds none all the same is lost until the window is over. */
static void test_budget(void **state)
{
    (void)state;
    struct rt_keys_budget small = {.max = 160 * 32};
    struct rt_dedupe d, other;
    char key[16];
    uint64_t first = 0, position = 1;
    rt_dedupe_init(&d, 1000, &small);
    rt_dedupe_init(&other, 1000, &small);
    assert_int_equal(record(&other, "a", "k", 1), 0);
    for (; rt_dedupe_has_room(&d); position++) {
        text_key(key, position);
        assert_int_equal(record(&d, "a", key, position), 0);
    }
    assert_int_equal(d.count, 40);
    int code = 0;
    for (; code == 0; position++) {
        text_key(key, position);
        struct rt_message m = keyed("a", key, position);
        code = rt_dedupe_record(&d, RT_STR("room"), &m, &first);
    }
    assert_int_equal(code, RT_ENOMEM);
    assert_int_equal(d.count, 48);
    assert_true(rt_dedupe_whole(&d));
    rt_dedupe_lose(&d, position);
    for (uint64_t i = 0; i < RT_TICKS; i++) {
        assert_false(rt_dedupe_whole(&d));
        tick(&d, position + 1 + i);
    }
    assert_true(rt_dedupe_whole(&d));
    assert_true(rt_dedupe_has_room(&d));
    rt_dedupe_deinit(&other);
    rt_dedupe_deinit(&d);
    assert_int_equal(small.used, 0);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    struct rt_dedupe d;
    char key[16];
    rt_dedupe_init(&d, 1000, &budget);
    for (uint64_t i = 1; i <= 200; i++) {
        text_key(key, i);
        struct rt_message m = keyed("a", key, i);
        uint64_t first = 0;
        rt_alloc_fail_at(1, 1);
        int code = rt_dedupe_record(&d, RT_STR("room"), &m, &first);
        bool failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(code, failed ? RT_ENOMEM : 0);
        if (failed)
            assert_int_equal(record(&d, "a", key, i), 0);
    }
    rt_alloc_fail_at(1, 1); /* what is over goes without memory, too */
    for (uint64_t i = 0; i < RT_TICKS; i++)
        tick(&d, 300 + i);
    rt_alloc_fail_at(0, 0);
    assert_int_equal(d.count, 0);
    assert_int_equal(record(&d, "a", "1", 400), 0);
    rt_dedupe_deinit(&d);
    assert_int_equal(budget.used, 0);
}

/* Who begins to read at the oldest tick comes to the same answers as who has read everything, and to the same ticks. */
static void test_function_of_the_log(void **state)
{
    (void)state;
    uint64_t seed = 7, begin = 0;
    struct rt_dedupe all, late;
    rt_dedupe_init(&all, 1000, &budget);
    rt_dedupe_init(&late, 1000, &budget);
    for (uint64_t i = 1; i <= 20000; i++) {
        char key[16];
        struct rt_ticks known = all.ticks.at[0] ? all.ticks : rt_ticks_begin(1);
        if (i == 9900)
            begin = i; /* the marker below: the reader starts there */
        if (i % 30 == 0) {
            bool counts =
                i % 60 != 0; /* two nodes at a time: the second had not read the first's */
            struct rt_ticks stale = known;
            if (!counts)
                memmove(stale.at, stale.at + 1, (RT_TICKS - 1) * sizeof(stale.at[0]));
            assert_int_equal(rt_dedupe_tick(&all, &stale, i), counts || i < 60);
            if (begin && i >= 9930) {
                (void)rt_dedupe_tick(&late, &stale, i);
                assert_int_equal(late.ticks.at[0], all.ticks.at[0]);
            }
            continue;
        }
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        text_key(key, (seed >> 33) % 300);
        uint64_t a = record(&all, "p", key, i);
        if (!begin)
            continue;
        uint64_t b = record(&late, "p", key, i);
        if (i > 10300)
            assert_int_equal(a != 0, b != 0);
    }
    rt_dedupe_deinit(&all);
    rt_dedupe_deinit(&late);
}

static void test_ticks(void **state)
{
    (void)state;
    struct rt_ticks t = {.at = {0}}, read = rt_ticks_begin(3);
    char text[RT_TICKS_TEXT + 1];
    struct rt_ticks begin = rt_ticks_begin(4);
    assert_true(rt_ticks_take(&t, &begin, 10));
    assert_false(rt_ticks_take(&t, &begin, 11)); /* at the same time */
    struct rt_ticks known = t;
    assert_true(rt_ticks_take(&t, &known, 20));
    assert_false(rt_ticks_take(&t, &known, 21));
    assert_false(rt_ticks_take(&t, &t, 20)); /* read again */
    assert_int_equal(rt_ticks_oldest(&t), 4);
    size_t len = rt_ticks_write(&t, text);
    assert_string_equal(text, "20.10.4.4.4");
    assert_true(rt_ticks_read(rt_str_of(text, len), 21, &read));
    assert_memory_equal(&read, &t, sizeof(t));
    static const char *const wrong[] = {"",          "1.1.1.1",   "1.1.1.1.1.1", "20.10.4.4.5",
                                        "0.0.0.0.0", "9.8.7.6.0", "9.8.7.6.x",   "9..7.6.5",
                                        "-9.8.7.6.5"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(rt_ticks_read(rt_str_c(wrong[i]), 100, &read));
    assert_false(rt_ticks_read(rt_str_of(text, len), 20, &read)); /* of another log */
    for (size_t i = 0; i < RT_TICKS; i++)
        t.at[i] = UINT64_MAX;
    assert_int_equal(rt_ticks_write(&t, text), RT_TICKS_TEXT - 1);
    assert_int_equal(rt_ticks_interval(600000), 150000);
    assert_int_equal(rt_ticks_interval(1), 1);
}

static void test_marks(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct rt_marks m;
    rt_marks_init(&m);
    assert_false(rt_marks_hit(&m, RT_STR("a"), 0));
    rt_marks_add(&m, RT_STR("a")); /* failure 1 */
    assert_true(rt_marks_hit(&m, RT_STR("a"), 0));
    assert_false(rt_marks_hit(&m, RT_STR("a"), 1)); /* handed in with the knowledge */
    assert_false(rt_marks_hit(&m, RT_STR("b"), 0));
    rt_marks_add(&m, RT_STR("b"));
    rt_marks_add(&m, RT_STR("a")); /* 3 */
    assert_true(rt_marks_hit(&m, RT_STR("a"), 2));
    assert_false(rt_marks_hit(&m, RT_STR("b"), 2));
    rt_marks_settle(&m, 2); /* somebody is still on the way */
    assert_true(rt_marks_hit(&m, RT_STR("a"), 2));
    rt_marks_settle(&m, 3);
    assert_false(rt_marks_hit(&m, RT_STR("a"), 2));
    for (unsigned n = 1; n <= 2; n++) { /* without memory: all channels */
        rt_alloc_fail_at(1, 1);
        rt_marks_add(&m, RT_STR("c"));
        rt_alloc_fail_at(0, 0);
        assert_true(rt_marks_hit(&m, RT_STR("other"), m.failures - 1));
        assert_false(rt_marks_hit(&m, RT_STR("other"), m.failures));
    }
    rt_marks_add(&m, RT_STR("freed"));
    rt_marks_deinit(&m);
    assert_int_equal(rt_alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_read_again),
        cmocka_unit_test(test_all_of_the_window),
        cmocka_unit_test(test_dropping),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_function_of_the_log),
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_marks),
    };
    return cmocka_run_group_tests_name("kafka_parts", tests, NULL, NULL);
}
