/* The pure parts of the Kafka journal: repeated keys, and channels that had a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "journal/kafka_dedupe.h"
#include "journal/kafka_marks.h"

static struct rt_message keyed(const char *publisher, const char *key, uint64_t time,
                               uint64_t offset)
{
    return (struct rt_message){
        .publisher = rt_str_c(publisher), .key = rt_str_c(key), .time = time, .offset = offset};
}

/* The first position, 0 when the record is no duplicate. */
static uint64_t record_on(struct rt_dedupe *d, const char *channel, const char *publisher,
                          const char *key, uint64_t time, uint64_t offset)
{
    struct rt_message m = keyed(publisher, key, time, offset);
    uint64_t first = 0;
    uint64_t found = 0;
    bool would = rt_dedupe_find(d, rt_str_c(channel), &m, &found);
    bool is = rt_dedupe_record(d, rt_str_c(channel), &m, &first);
    assert_int_equal(would, is);
    assert_int_equal(found, first);
    return first;
}

static uint64_t record(struct rt_dedupe *d, const char *publisher, const char *key, uint64_t time,
                       uint64_t offset)
{
    return record_on(d, "room", publisher, key, time, offset);
}

static void test_keys(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct rt_dedupe d;
    rt_dedupe_init(&d, 1000, 100);
    assert_int_equal(record(&d, "a", "k", 5000, 1), 0);
    assert_int_equal(record(&d, "a", "k", 5900, 2), 1);
    assert_int_equal(record(&d, "b", "k", 5900, 3), 0); /* another publisher */
    assert_int_equal(record(&d, "a", "k2", 5900, 4), 0);
    assert_int_equal(record(&d, "ak", "", 5900, 5), 0); /* an empty key is one */
    assert_int_equal(record(&d, "ak", "", 5900, 6), 5);
    assert_int_equal(record(&d, "a", NULL, 5900, 7), 0);
    assert_int_equal(record(&d, "a", NULL, 5900, 8), 0);
    assert_int_equal(record_on(&d, "rooma", "", "k", 5900, 8), 0); /* another channel */
    assert_int_equal(record_on(&d, "other", "a", "k", 5900, 8), 0);
    assert_int_equal(record_on(&d, "other", "a", "k", 5900, 9), 8);
    assert_int_equal(record(&d, "a", "k", 6900, 9), 1);  /* the window slides with each use */
    assert_int_equal(record(&d, "a", "k", 7901, 10), 0); /* over */
    assert_int_equal(record(&d, "a", "k", 100, 11), 10); /* a clock that is behind */
    assert_int_equal(record(&d, "a", "k", 8900, 12), 10);
    rt_dedupe_clear(&d);
    assert_int_equal(record(&d, "a", "k", 8900, 13), 0);
    rt_dedupe_deinit(&d);
    rt_dedupe_init(&d, 0, 100);
    assert_int_equal(record(&d, "a", "k", 1, 1), 0);
    assert_int_equal(record(&d, "a", "k", 1, 2), 0);
    rt_dedupe_deinit(&d);
    assert_int_equal(rt_alloc_live(), live);
}

static void test_cap_and_age(void **state)
{
    (void)state;
    struct rt_dedupe d;
    char key[16];
    rt_dedupe_init(&d, 1000, 10);
    for (unsigned i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "%u", i);
        assert_int_equal(record(&d, "a", key, 1000, i + 1), 0);
        assert_true(d.entries.count <= 10);
    }
    assert_int_equal(record(&d, "a", "20", 1000, 31), 21); /* the last ten */
    assert_int_equal(record(&d, "a", "19", 1000, 32), 0);
    assert_int_equal(record(&d, "a", "20", 1000, 33), 21); /* used: it stayed */
    assert_int_equal(record(&d, "a", "new", 1000 + 1000 + RT_DEDUPE_SKEW + 1, 34), 0);
    assert_int_equal(d.entries.count, 1);
    rt_alloc_fail_at(1, 0);
    assert_int_equal(record(&d, "a", "starved", 302002, 35), 0);
    rt_alloc_fail_at(0, 0);
    assert_int_equal(record(&d, "a", "starved", 302002, 36), 0);
    assert_int_equal(record(&d, "a", "starved", 302002, 37), 36);
    rt_dedupe_deinit(&d);
}

/* Who begins to read anywhere comes to the same answers as who has read everything, once it has read a window. */
static void test_function_of_the_log(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct rt_dedupe all, late;
    rt_dedupe_init(&all, 1000, 1000);
    rt_dedupe_init(&late, 1000, 1000);
    for (uint64_t i = 1; i <= 20000; i++) {
        char key[16];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        snprintf(key, sizeof(key), "%u", (unsigned)(seed >> 33) % 300);
        uint64_t time = 10000 + i * 10;
        uint64_t a = record(&all, "p", key, time, i);
        if (i <= 9900)
            continue; /* the window before 10,000 has 100 records */
        uint64_t b = record(&late, "p", key, time, i);
        if (i > 10001)
            assert_int_equal(a != 0, b != 0);
    }
    rt_dedupe_deinit(&all);
    rt_dedupe_deinit(&late);
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
        cmocka_unit_test(test_cap_and_age),
        cmocka_unit_test(test_function_of_the_log),
        cmocka_unit_test(test_marks),
    };
    return cmocka_run_group_tests_name("kafka_parts", tests, NULL, NULL);
}
