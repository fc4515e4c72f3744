#include "net_test.h"

#include "net/meter.h"

#define MS UINT64_C(1000000)

static void turn(struct rt_meter *m, uint64_t from_ms, uint64_t to_ms)
{
    rt_meter_begin(m, from_ms * MS);
    rt_meter_begin(m, to_ms * MS); /* later events of the turn change nothing */
    rt_meter_end(m, to_ms * MS);
}

static void test_share_of_the_last_second(void **state)
{
    (void)state;
    struct rt_meter m;
    rt_meter_init(&m, 10000 * MS);
    assert_true(rt_meter_utilisation(&m, 10000 * MS) == 0);
    for (uint64_t t = 10000; t < 12000; t += 100)
        turn(&m, t, t + 25);
    double share = rt_meter_utilisation(&m, 12000 * MS - 1);
    assert_true(share > 0.249 && share < 0.251);
    /* Idle since then: it goes down to nothing within a second. */
    share = rt_meter_utilisation(&m, 12500 * MS - 1);
    assert_true(share > 0.12 && share < 0.13);
    assert_true(rt_meter_utilisation(&m, 13100 * MS) == 0);
    assert_int_equal(rt_meter_longest(&m, 13100 * MS), 25 * MS);
}

/* Asking changes nothing; a long turn is seen for a minute, then those that came after it. */
static void test_longest_of_the_last_minute(void **state)
{
    (void)state;
    struct rt_meter m;
    rt_meter_init(&m, 0);
    turn(&m, 1000, 1300);
    turn(&m, 31000, 31020);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rt_meter_longest(&m, 59999 * MS), 300 * MS);
    assert_int_equal(rt_meter_longest(&m, 61000 * MS), 20 * MS);
    assert_int_equal(rt_meter_longest(&m, 91000 * MS), 0);
    turn(&m, 91000, 91007); /* into the place of an older one */
    assert_int_equal(rt_meter_longest(&m, 91100 * MS), 7 * MS);
}

static void test_young_and_busy(void **state)
{
    (void)state;
    struct rt_meter m;
    rt_meter_init(&m, 5050 * MS);
    rt_meter_begin(&m, 5050 * MS);
    /* The turn that runs counts. */
    double share = rt_meter_utilisation(&m, 5060 * MS);
    assert_true(share > 0.999 && share <= 1);
    rt_meter_end(&m, 5060 * MS);
    share = rt_meter_utilisation(&m, 5070 * MS);
    assert_true(share > 0.49 && share < 0.51);
}

static void test_turn_longer_than_the_window(void **state)
{
    (void)state;
    struct rt_meter m;
    rt_meter_init(&m, 0);
    turn(&m, 100, 60100);
    assert_int_equal(rt_meter_longest(&m, 70000 * MS), 60000 * MS);
    assert_true(rt_meter_utilisation(&m, 60100 * MS) > 0.99);
    double share = rt_meter_utilisation(&m, 60600 * MS - 1);
    assert_true(share > 0.49 && share < 0.51);
    rt_meter_end(&m, 70000 * MS); /* not running: nothing */
    assert_int_equal(rt_meter_longest(&m, 70000 * MS), 60000 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_of_the_last_second),
        cmocka_unit_test(test_longest_of_the_last_minute),
        cmocka_unit_test(test_young_and_busy),
        cmocka_unit_test(test_turn_longer_than_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
