#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

static void test_zero_sizes_are_blocks(void **state)
{
    (void)state;
    void *a = rt_malloc(0);
    void *b = rt_calloc(0, 8);
    void *c = rt_realloc(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    c = rt_realloc(c, 0);
    assert_non_null(c);
    rt_free(a);
    rt_free(b);
    rt_free(c);
    rt_free(NULL);
}

static void test_overflow_is_refused(void **state)
{
    (void)state;
    volatile size_t half = SIZE_MAX / 2 + 1;
    char *old = rt_strdup("kept");
    assert_null(rt_reallocarray(old, half, 2));
    assert_null(rt_reallocarray(NULL, 3, half));
    assert_string_equal(old, "kept");
    old = rt_reallocarray(old, 100, 8);
    assert_non_null(old);
    assert_string_equal(old, "kept");
    rt_free(old);
}

static void test_copies_end_with_nul(void **state)
{
    (void)state;
    char *cut = rt_strndup("abcdef", 3);
    char *none = rt_strndup(NULL, 0);
    char *zero = rt_strndup("a\0b", 3);
    assert_string_equal(cut, "abc");
    assert_string_equal(none, "");
    assert_memory_equal(zero, "a\0b", 4);
    rt_free(cut);
    rt_free(none);
    rt_free(zero);
    unsigned char *cleared = rt_calloc(4, 25);
    for (int i = 0; i < 100; i++)
        assert_int_equal(cleared[i], 0);
    rt_free(cleared);
}

#ifdef RT_TEST
static void test_nth_fails_once(void **state)
{
    (void)state;
    rt_alloc_fail_at(2, 0);
    void *first = rt_malloc(1);
    assert_false(rt_alloc_failed());
    void *second = rt_malloc(1);
    assert_true(rt_alloc_failed());
    void *third = rt_malloc(1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    rt_alloc_fail_at(0, 0);
    assert_false(rt_alloc_failed());
    rt_free(first);
    rt_free(third);
}

static void test_fails_forever(void **state)
{
    (void)state;
    char *old = rt_strdup("old");
    rt_alloc_fail_at(1, 1);
    assert_null(rt_malloc(1));
    assert_null(rt_calloc(1, 1));
    assert_null(rt_realloc(old, 1000));
    assert_null(rt_strdup("x"));
    rt_alloc_fail_at(0, 0);
    assert_string_equal(old, "old");
    rt_free(old);
}

static void test_live_blocks(void **state)
{
    (void)state;
    long before = rt_alloc_live();
    void *a = rt_malloc(1);
    void *b = rt_realloc(NULL, 1);
    b = rt_realloc(b, 100);
    assert_int_equal(rt_alloc_live(), before + 2);
    rt_alloc_fail_at(1, 0);
    assert_null(rt_malloc(1));
    assert_int_equal(rt_alloc_live(), before + 2);
    rt_free(a);
    rt_free(b);
    rt_free(NULL);
    assert_int_equal(rt_alloc_live(), before);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_sizes_are_blocks), cmocka_unit_test(test_overflow_is_refused),
        cmocka_unit_test(test_copies_end_with_nul),
#ifdef RT_TEST
        cmocka_unit_test(test_nth_fails_once),        cmocka_unit_test(test_fails_forever),
        cmocka_unit_test(test_live_blocks),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
