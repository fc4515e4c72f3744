/* How long a node may act on the number of partitions that it believes in: lease and grace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "journal/kafka_view.h"

#define START 1000u

static void test_lease(void **state)
{
    (void)state;
    struct rt_view v;
    rt_view_init(&v, 16, START - 100, START);
    assert_int_equal(rt_view_state(&v, START), RT_VIEW_CONFIRMED);
    assert_int_equal(rt_view_state(&v, START - 100 + RT_VIEW_LEASE_MS), RT_VIEW_CONFIRMED);
    assert_int_equal(rt_view_state(&v, START - 99 + RT_VIEW_LEASE_MS), RT_VIEW_UNCONFIRMED);
    /* What counts is when it was asked for, not when the answer came. */
    uint64_t late = START + 2 * RT_VIEW_LEASE_MS;
    rt_view_answer(&v, 16, late - RT_VIEW_LEASE_MS - 1, late);
    assert_int_equal(rt_view_state(&v, late), RT_VIEW_UNCONFIRMED);
    rt_view_answer(&v, 16, late, late + 5);
    assert_int_equal(rt_view_state(&v, late + 5), RT_VIEW_CONFIRMED);
}

static void test_another_number(void **state)
{
    (void)state;
    struct rt_view v;
    uint64_t now = START;
    rt_view_init(&v, 16, now, now);
    assert_false(rt_view_is_settled(&v, now));
    now += 20 * RT_VIEW_GRACE_MS;
    rt_view_answer(&v, 16, now, now);
    assert_true(rt_view_is_settled(&v, now)); /* said for long */
    rt_view_answer(&v, 32, now, now);
    assert_int_equal(rt_view_state(&v, now), RT_VIEW_CHANGED);
    assert_false(rt_view_is_settled(&v, now));
    /* A broker that has not heard of it: everything from the start. */
    rt_view_answer(&v, 16, now + 2000, now + 2000);
    assert_int_equal(rt_view_state(&v, now + 2000), RT_VIEW_CONFIRMED);
    assert_false(rt_view_is_settled(&v, now + 2000));
    now += 4000;
    rt_view_answer(&v, 32, now, now);
    uint64_t due = now + RT_VIEW_GRACE_MS;
    for (; now < due; now += 2000) {
        rt_view_answer(&v, 32, now, now);
        assert_false(rt_view_is_settled(&v, now));
    }
    /* Settled means: still said. */
    assert_true(rt_view_is_settled(&v, due));
    assert_false(rt_view_is_settled(&v, due + RT_VIEW_LEASE_MS));
    rt_view_answer(&v, 32, due, due);
    rt_view_move(&v, 32, due + 500);
    assert_int_equal(rt_view_state(&v, due + 500), RT_VIEW_CONFIRMED);
    assert_int_equal(v.began, due + 500);
}

/* Nobody acknowledges in the old view once a marker of the new one can be there: whoever sees the new number first, and whenever the others asked last. */
static void test_grace_outlasts_leases(void **state)
{
    (void)state;
    for (uint64_t asked = 0; asked <= 10000; asked += 500) {
        struct rt_view first, slow;
        uint64_t changed = START + asked; /* who asks from here on is told 32 */
        rt_view_init(&first, 16, START, START);
        rt_view_init(&slow, 16, changed - 1, changed - 1);
        rt_view_answer(&first, 32, changed, changed);
        uint64_t marker = changed;
        while (rt_view_answer(&first, 32, marker, marker), !rt_view_is_settled(&first, marker))
            marker += 100;
        assert_int_not_equal(rt_view_state(&slow, marker), RT_VIEW_CONFIRMED);
    }
}

/* The log went over though this node was told the former number last. */
static void test_the_log_knows_more(void **state)
{
    (void)state;
    struct rt_view v;
    uint64_t now = START + RT_VIEW_GRACE_MS;
    rt_view_init(&v, 16, START, START);
    rt_view_answer(&v, 16, now, now);
    assert_true(rt_view_is_settled(&v, now));
    rt_view_move(&v, 32, now);
    assert_int_equal(rt_view_state(&v, now), RT_VIEW_CHANGED);
    assert_false(rt_view_is_settled(&v, now)); /* 16 is not put into the log at once */
    rt_view_answer(&v, 32, now + 100, now + 100);
    assert_int_equal(rt_view_state(&v, now + 100), RT_VIEW_CONFIRMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_another_number),
        cmocka_unit_test(test_grace_outlasts_leases),
        cmocka_unit_test(test_the_log_knows_more),
    };
    return cmocka_run_group_tests_name("kafka_view", tests, NULL, NULL);
}
