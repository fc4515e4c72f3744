#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"

static void test_last_reference_frees(void **state)
{
    (void)state;
    struct rt_bytes *b = rt_bytes_copy("abc", 3);
    assert_int_equal(b->refs, 1);
    assert_int_equal(b->len, 3);
    assert_ptr_equal(rt_bytes_ref(b), b);
    assert_int_equal(b->refs, 2);
    rt_bytes_unref(b);
    assert_memory_equal(rt_bytes_str(b).ptr, "abc", 3);
#ifdef RT_TEST
    long live = rt_alloc_live();
    rt_bytes_unref(b);
    assert_int_equal(rt_alloc_live(), live - 1);
#else
    rt_bytes_unref(b);
#endif
}

static void test_none(void **state)
{
    (void)state;
    assert_null(rt_bytes_ref(NULL));
    rt_bytes_unref(NULL);
    assert_int_equal(rt_bytes_str(NULL).len, 0);
    struct rt_bytes *empty = rt_bytes_copy(NULL, 0);
    assert_non_null(empty);
    assert_int_equal(empty->len, 0);
    rt_bytes_unref(empty);
}

static void test_room(void **state)
{
    (void)state;
    struct rt_bytes *b = rt_bytes_new(100);
    assert_int_equal(b->len, 0);
    assert_int_equal(b->cap, 100);
    memset(b->data, 7, 100); /* all of it is there: ASan looks */
    rt_bytes_unref(b);
    assert_null(rt_bytes_new(((size_t)1 << 30) + 1));
    assert_null(rt_bytes_new(SIZE_MAX));
    assert_null(rt_bytes_copy("x", SIZE_MAX));
}

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    rt_alloc_fail_at(1, 1);
    assert_null(rt_bytes_new(1));
    assert_null(rt_bytes_copy("x", 1));
    rt_alloc_fail_at(0, 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_reference_frees),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_room),
#ifdef RT_TEST
        cmocka_unit_test(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
