#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

static void assert_content(const struct rt_buf *b, const char *wanted)
{
    assert_true(rt_buf_ok(b));
    assert_int_equal(b->len, strlen(wanted));
    assert_memory_equal(b->data, wanted, b->len);
}

static void test_every_adder(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    rt_buf_add(&b, NULL, 0);
    assert_null(b.data);
    rt_buf_add(&b, "ab", 2);
    rt_buf_add_str(&b, RT_STR("cd"));
    rt_buf_add_str(&b, RT_STR_NONE);
    rt_buf_add_c(&b, "ef");
    rt_buf_add_byte(&b, '.');
    rt_buf_printf(&b, "%d-%s", 5, "x");
    assert_content(&b, "abcdef.5-x");
    assert_string_equal(rt_buf_cstr(&b), "abcdef.5-x");
    assert_content(&b, "abcdef.5-x");
    rt_buf_deinit(&b);
    assert_null(b.data);
    rt_buf_add_c(&b, "again");
    assert_content(&b, "again");
    rt_buf_deinit(&b);
}

static void test_numbers(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    rt_buf_add_u64(&b, 0);
    rt_buf_add_byte(&b, ' ');
    rt_buf_add_u64(&b, UINT64_MAX);
    rt_buf_add_byte(&b, ' ');
    rt_buf_add_i64(&b, INT64_MIN);
    rt_buf_add_byte(&b, ' ');
    rt_buf_add_i64(&b, INT64_MAX);
    rt_buf_add_byte(&b, ' ');
    rt_buf_add_i64(&b, -7);
    assert_content(&b, "0 18446744073709551615 -9223372036854775808 9223372036854775807 -7");
    rt_buf_deinit(&b);
}

/* Lengths around every growth. */
static void test_printf_of_any_length(void **state)
{
    (void)state;
    char text[700];
    memset(text, 'p', sizeof(text));
    for (int before = 0; before < 70; before += 3) {
        for (int len = 0; len < 600; len += 7) {
            struct rt_buf b = RT_BUF_INIT;
            rt_buf_add(&b, text, (size_t)before);
            rt_buf_printf(&b, "%.*s", len, text);
            assert_true(rt_buf_ok(&b));
            assert_int_equal(b.len, before + len);
            assert_true(b.len == 0 || memcmp(b.data, text, b.len) == 0);
            rt_buf_deinit(&b);
        }
    }
}

static void test_consume(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    rt_buf_consume(&b, 5);
    rt_buf_add_c(&b, "abcdef");
    rt_buf_consume(&b, 0);
    rt_buf_consume(&b, 2);
    assert_content(&b, "cdef");
    rt_buf_consume(&b, 4);
    assert_int_equal(b.len, 0);
    rt_buf_add_c(&b, "x");
    rt_buf_consume(&b, 100);
    assert_int_equal(b.len, 0);
    rt_buf_deinit(&b);
}

static void test_too_much_fails_and_sticks(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    rt_buf_add_c(&b, "kept");
    assert_null(rt_buf_reserve(&b, SIZE_MAX));
    assert_false(rt_buf_ok(&b));
    rt_buf_add_c(&b, "lost");
    rt_buf_add_byte(&b, 'x');
    rt_buf_printf(&b, "y");
    assert_int_equal(b.len, 4);
    assert_null(rt_buf_cstr(&b));
    assert_null(rt_buf_to_bytes(&b));
    rt_buf_clear(&b);
    assert_true(rt_buf_ok(&b));
    rt_buf_add_c(&b, "new");
    assert_content(&b, "new");
    rt_buf_deinit(&b);
}

static void test_to_bytes(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    struct rt_bytes *none = rt_buf_to_bytes(&b);
    assert_int_equal(none->len, 0);
    rt_bytes_unref(none);
    rt_buf_add_c(&b, "data");
    struct rt_bytes *bytes = rt_buf_to_bytes(&b);
    rt_buf_deinit(&b);
    assert_int_equal(bytes->len, 4);
    assert_memory_equal(bytes->data, "data", 4);
    rt_bytes_unref(bytes);
}

static void test_take_text(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    char *none = rt_buf_take_text(&b);
    assert_string_equal(none, "");
    rt_buf_add_c(&b, "data");
    char *text = rt_buf_take_text(&b);
    assert_true(b.len == 0 && b.data == NULL && rt_buf_ok(&b));
    assert_string_equal(text, "data");
    rt_free(none);
    rt_free(text);
    rt_buf_add_c(&b, "lost");
    assert_null(rt_buf_reserve(&b, SIZE_MAX));
    assert_null(rt_buf_take_text(&b));
    assert_true(b.len == 0 && b.data == NULL && rt_buf_ok(&b));
}

#ifdef RT_TEST
static bool fill(struct rt_buf *b)
{
    for (unsigned i = 0; i < 100; i++) {
        rt_buf_add_u64(b, i);
        rt_buf_printf(b, "%0100u", i);
        rt_buf_add_byte(b, ';');
    }
    return rt_buf_ok(b);
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    unsigned long n = 0;
    bool ok;
    do {
        struct rt_buf b = RT_BUF_INIT;
        rt_alloc_fail_at(++n, 0);
        ok = fill(&b);
        assert_int_equal(ok, !rt_alloc_failed());
        rt_alloc_fail_at(0, 0);
        struct rt_bytes *bytes = rt_buf_to_bytes(&b);
        assert_int_equal(bytes != NULL, ok);
        rt_bytes_unref(bytes);
        rt_buf_deinit(&b);
    } while (!ok);
    assert_true(n > 5);
    assert_int_equal(rt_alloc_live(), live);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_adder),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_printf_of_any_length),
        cmocka_unit_test(test_consume),
        cmocka_unit_test(test_too_much_fails_and_sticks),
        cmocka_unit_test(test_to_bytes),
        cmocka_unit_test(test_take_text),
#ifdef RT_TEST
        cmocka_unit_test(test_each_allocation_fails),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
