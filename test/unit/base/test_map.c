#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/map.h"

struct entry {
    char name[24];
    bool in; /* in the map, as the test believes */
    bool seen;
};

static struct rt_str entry_name(const void *value)
{
    return rt_str_c(((const struct entry *)value)->name);
}

#define ENTRIES 2000

static struct entry entries[ENTRIES];

static void make_entries(void)
{
    for (int i = 0; i < ENTRIES; i++) {
        entries[i] = (struct entry){.in = false};
        snprintf(entries[i].name, sizeof(entries[i].name), "name-%d", i);
    }
}

static void test_hash_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t key[2];
        const char *text;
        uint64_t hash;
    } cases[] = {
        /* as CPython 3.11 hashes bytes with PYTHONHASHSEED=0 */
        {{0, 0}, "a", 0x407448d2b89b1813u},
        {{0, 0}, "abc", 0xc03bc3a0042630f2u},
        {{0, 0}, "abcdefg", 0x6db12aae9070f506u},
        {{0, 0}, "abcdefgh", 0x3f7b849c0b8e35eau},
        {{0, 0}, "the quick brown fox jumps", 0x00c98b97e4f70042u},
        /* the first vector of the reference key 00 01 02 ... */
        {{0x0706050403020100u, 0x0f0e0d0c0b0a0908u}, "", 0xabac0158050fc4dcu},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_true(rt_siphash13(cases[i].key, rt_str_c(cases[i].text)) == cases[i].hash);
    assert_true(rt_hash(RT_STR("x")) == rt_hash(RT_STR("x")));
    assert_true(rt_hash(RT_STR("x")) != rt_hash(RT_STR("x\0")));
}

static void test_empty_map(void **state)
{
    (void)state;
    struct rt_map m;
    size_t pos = 0;
    rt_map_init(&m, entry_name);
    assert_null(rt_map_get(&m, RT_STR("a")));
    assert_null(rt_map_remove(&m, RT_STR("a")));
    assert_null(rt_map_next(&m, &pos));
    rt_map_deinit(&m);
}

static void test_put_get_remove(void **state)
{
    (void)state;
    make_entries();
    struct rt_map m;
    rt_map_init(&m, entry_name);
    assert_int_equal(rt_map_put(&m, &entries[0]), 0);
    struct entry twin = entries[0];
    assert_int_equal(rt_map_put(&m, &twin), RT_EEXIST);
    assert_ptr_equal(rt_map_get(&m, RT_STR("name-0")), &entries[0]);
    assert_null(rt_map_get(&m, RT_STR("name-")));
    assert_null(rt_map_get(&m, RT_STR("name-0\0")));
    assert_ptr_equal(rt_map_remove(&m, RT_STR("name-0")), &entries[0]);
    assert_null(rt_map_remove(&m, RT_STR("name-0")));
    assert_int_equal(m.count, 0);
    assert_int_equal(rt_map_put(&m, &twin), 0);
    rt_map_deinit(&m);
    assert_int_equal(m.count, 0);
    assert_null(rt_map_get(&m, RT_STR("name-0")));
}

static void assert_agrees(struct rt_map *m, size_t wanted)
{
    size_t pos = 0, count = 0;
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *found = rt_map_get(m, rt_str_c(entries[i].name));
        assert_ptr_equal(found, entries[i].in ? &entries[i] : NULL);
        entries[i].seen = false;
    }
    for (struct entry *e = rt_map_next(m, &pos); e; e = rt_map_next(m, &pos)) {
        assert_true(e->in && !e->seen);
        e->seen = true;
        count++;
    }
    assert_int_equal(count, wanted);
    assert_int_equal(m->count, wanted);
}

/* Compared with flags in the entries; in phases, so that the map grows and shrinks. */
static void test_random_operations(void **state)
{
    (void)state;
    make_entries();
    struct rt_map m;
    rt_map_init(&m, entry_name);
    uint32_t random = 12345;
    size_t count = 0, largest = 0;
    for (int step = 0; step < 60000; step++) {
        random = random * 1664525u + 1013904223u;
        struct entry *e = &entries[(random >> 8) % ENTRIES];
        bool growing = step / 10000 % 2 == 0;
        if ((random >> 4) % 10 < (growing ? 7u : 2u)) {
            assert_int_equal(rt_map_put(&m, e), e->in ? RT_EEXIST : 0);
            count += !e->in;
            e->in = true;
        } else {
            assert_ptr_equal(rt_map_remove(&m, entry_name(e)), e->in ? e : NULL);
            count -= e->in;
            e->in = false;
        }
        largest = m.mask > largest ? m.mask : largest;
        if (step % 5000 == 0)
            assert_agrees(&m, count);
    }
    for (int i = 0; i < ENTRIES; i++) {
        rt_map_remove(&m, rt_str_c(entries[i].name));
        entries[i].in = false;
    }
    assert_agrees(&m, 0);
    assert_true(largest >= 2047 && m.mask <= 15);
    rt_map_deinit(&m);
}

#ifdef RT_TEST
static void test_each_allocation_fails(void **state)
{
    (void)state;
    make_entries();
    long live = rt_alloc_live();
    for (unsigned long n = 1;; n++) {
        struct rt_map m;
        size_t count = 0;
        rt_map_init(&m, entry_name);
        rt_alloc_fail_at(n, 0);
        for (int i = 0; i < 200; i++) {
            int r = rt_map_put(&m, &entries[i]);
            assert_true(r == 0 || (r == RT_ENOMEM && rt_alloc_failed()));
            entries[i].in = r == 0;
            count += r == 0;
        }
        bool put_failed = rt_alloc_failed();
        assert_int_equal(count, put_failed ? 199 : 200);
        assert_agrees(&m, count);
        for (int i = 0; i < 200; i++) {
            assert_ptr_equal(rt_map_remove(&m, entry_name(&entries[i])),
                             entries[i].in ? &entries[i] : NULL);
            entries[i].in = false;
        }
        bool failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_agrees(&m, 0);
        rt_map_deinit(&m);
        if (!failed) {
            assert_true(n > 8);
            break;
        }
    }
    assert_int_equal(rt_alloc_live(), live);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_known_answers),    cmocka_unit_test(test_empty_map),
        cmocka_unit_test(test_put_get_remove),        cmocka_unit_test(test_random_operations),
#ifdef RT_TEST
        cmocka_unit_test(test_each_allocation_fails),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
