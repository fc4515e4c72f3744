/* Which offsets of a consumed partition may be committed: examples, and random orders against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "journal/offsets.h"

static void test_contiguous(void **state)
{
    (void)state;
    struct rt_offsets o;
    rt_offsets_init(&o);
    assert_int_equal(rt_offsets_due(&o), -1);
    for (int64_t i = 5; i < 9; i++)
        assert_int_equal(rt_offsets_add(&o, i), 0);
    /* Where it begins is where the group was: committing that changes nothing. */
    assert_int_equal(o.next, 5);
    assert_int_equal(rt_offsets_done(&o, 6), 0);
    assert_int_equal(rt_offsets_done(&o, 8), 0);
    assert_int_equal(o.next, 5);
    assert_int_equal(rt_offsets_done(&o, 5), 0);
    assert_int_equal(rt_offsets_due(&o), 7);
    o.committed = 7;
    assert_int_equal(rt_offsets_due(&o), -1);
    assert_int_equal(rt_offsets_done(&o, 7), 0);
    assert_int_equal(rt_offsets_due(&o), 9);
    assert_int_equal(rt_offsets_done(&o, 7), RT_ENOENT);
    assert_int_equal(rt_offsets_done(&o, 100), RT_ENOENT);
    rt_offsets_deinit(&o);
}

static void test_holes(void **state)
{
    (void)state;
    struct rt_offsets o;
    rt_offsets_init(&o);
    assert_int_equal(rt_offsets_add(&o, 10), 0);
    assert_int_equal(rt_offsets_add(&o, 10), RT_EEXIST);
    assert_int_equal(rt_offsets_add(&o, 9), RT_EEXIST);
    assert_int_equal(rt_offsets_add(&o, 20), 0);
    rt_offsets_end(&o, 24); /* records that are not seen: markers of transactions */
    assert_int_equal(rt_offsets_done(&o, 20), 0);
    assert_int_equal(o.next, 10);
    assert_int_equal(rt_offsets_done(&o, 10), 0);
    assert_int_equal(rt_offsets_due(&o), 24);
    rt_offsets_end(&o, 30);
    assert_int_equal(rt_offsets_due(&o), 30);
    rt_offsets_end(&o, 7); /* told late */
    assert_int_equal(rt_offsets_due(&o), 30);
    assert_int_equal(rt_offsets_add(&o, 29), RT_EEXIST);
    assert_int_equal(rt_offsets_add(&o, 30), 0);
    assert_int_equal(rt_offsets_due(&o), 30);
    rt_offsets_deinit(&o);
}

/* 20 rounds of 500 records, done in any order: `next` is the lowest that is not done. */
static void test_any_order(void **state)
{
    enum { COUNT = 500 };
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 20; round++) {
        struct rt_offsets o;
        int64_t offsets[COUNT];
        bool done[COUNT] = {false};
        size_t added = 0, finished = 0;
        rt_offsets_init(&o);
        for (int64_t i = 0, at = 1000; i < COUNT; i++, at += 1 + (int64_t)(seed >> 30)) {
            offsets[i] = at;
            seed = seed * 1664525u + 1013904223u;
        }
        while (finished < COUNT) {
            seed = seed * 1664525u + 1013904223u;
            if (added < COUNT && (seed >> 31 || added == finished)) {
                assert_int_equal(rt_offsets_add(&o, offsets[added++]), 0);
                continue;
            }
            size_t at = (seed >> 8) % added;
            while (done[at])
                at = (at + 1) % added;
            done[at] = true;
            finished++;
            assert_int_equal(rt_offsets_done(&o, offsets[at]), 0);
            size_t lowest = 0;
            while (lowest < added && done[lowest])
                lowest++;
            int64_t wanted = lowest < added ? offsets[lowest] : offsets[added - 1] + 1;
            /* A hole behind the last one done may or may not count yet. */
            assert_true(o.next <= wanted);
            assert_true(lowest == 0 || o.next > offsets[lowest - 1]);
        }
        assert_int_equal(o.next, offsets[COUNT - 1] + 1);
        rt_offsets_deinit(&o);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    struct rt_offsets o;
    rt_offsets_init(&o);
    rt_alloc_fail_at(1, 0);
    assert_int_equal(rt_offsets_add(&o, 3), RT_ENOMEM);
    assert_true(rt_alloc_failed());
    rt_alloc_fail_at(0, 0);
    assert_int_equal(rt_offsets_due(&o), -1);
    assert_int_equal(rt_offsets_add(&o, 3), 0);
    rt_offsets_deinit(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contiguous),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
