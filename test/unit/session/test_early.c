/* What was sent before it was known to be stored: found once, within bounds, and without memory counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "session/early.h"

static struct rt_message sent(uint32_t number, uint64_t stamp)
{
    struct rt_message m = {.stamp = stamp};
    memcpy(m.id, &number, sizeof(number));
    return m;
}

static void test_once_and_within_bounds(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct rt_early e;
    rt_early_init(&e, NULL);
    for (uint32_t i = 0; i <= RT_EARLY_MAX; i++) {
        struct rt_message m = sent(i, i + 1);
        rt_early_add(&e, &m, 1000);
        if (i == 0)
            rt_early_add(&e, &m, 1000); /* an id is there once */
    }
    assert_int_equal(e.by_id.count, RT_EARLY_MAX);
    struct rt_message first = sent(0, 0), second = sent(1, 0);
    assert_int_equal(rt_early_take(&e, &first), 0);
    assert_int_equal(rt_early_take(&e, &second), 2);
    assert_int_equal(rt_early_take(&e, &second), 0);
    uint64_t forgotten = (uint64_t)e.forgotten.value;
    rt_early_add(&e, &first, 1000 + RT_EARLY_MS + 1); /* the others are over */
    assert_int_equal(e.by_id.count, 1);
    assert_int_equal(e.forgotten.value, forgotten);
    rt_early_deinit(&e);
    assert_int_equal(rt_alloc_live(), live);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    struct rt_early e;
    struct rt_message m = sent(7, 9);
    unsigned long n = 0;
    for (bool failed = true; failed;) {
        rt_early_init(&e, NULL);
        rt_alloc_fail_at(++n, 0);
        rt_early_add(&e, &m, 0);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(e.forgotten.value, failed);
        assert_int_equal(rt_early_take(&e, &m), failed ? 0 : 9);
        rt_early_deinit(&e);
    }
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_and_within_bounds),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests_name("early", tests, NULL, NULL);
}
