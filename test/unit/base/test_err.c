#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/err.h"

static void test_set(void **state)
{
    (void)state;
    struct rt_err err = {0};
    assert_int_equal(rt_err_set(&err, RT_ENOENT, "no %s number %d", "thing", 7), RT_ENOENT);
    assert_int_equal(err.code, RT_ENOENT);
    assert_string_equal(err.text, "no thing number 7");
    assert_int_equal(rt_err_nomem(&err), RT_ENOMEM);
    assert_string_equal(err.text, "out of memory");
}

static void test_wrap_keeps_the_code(void **state)
{
    (void)state;
    struct rt_err err;
    rt_err_set(&err, RT_EIO, "disk full");
    assert_int_equal(rt_err_wrap(&err, "file %s", "a.db"), RT_EIO);
    assert_int_equal(rt_err_wrap(&err, "storage"), RT_EIO);
    assert_string_equal(err.text, "storage: file a.db: disk full");
}

static void test_without_an_err(void **state)
{
    (void)state;
    assert_int_equal(rt_err_set(NULL, RT_ERANGE, "x"), RT_ERANGE);
    assert_int_equal(rt_err_nomem(NULL), RT_ENOMEM);
    assert_true(rt_err_wrap(NULL, "x") < 0);
}

static void test_present_text_as_argument(void **state)
{
    (void)state;
    struct rt_err err;
    rt_err_set(&err, RT_EINVAL, "inner");
    rt_err_set(&err, RT_ERANGE, "<%s>", err.text);
    assert_string_equal(err.text, "<inner>");
    rt_err_wrap(&err, "again %s", err.text);
    assert_string_equal(err.text, "again <inner>: <inner>");
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    char text[600];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct rt_err err;
    rt_err_set(&err, RT_EINVAL, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    rt_err_wrap(&err, "where");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_memory_equal(err.text, "where: xxx", 10);
    rt_err_set(&err, RT_EINVAL, "short");
    rt_err_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    rt_err_set(&err, RT_EINVAL, "short");
    rt_err_wrap(&err, "%.*s", (int)sizeof(err.text) - 3, text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_string_equal(err.text + sizeof(err.text) - 3, ": ");
}

static void test_names_differ(void **state)
{
    (void)state;
    for (int a = RT_OK; a >= RT_EUNKNOWN - 1; a--) {
        assert_non_null(rt_err_name(a));
        for (int b = RT_OK; b > a; b--)
            assert_string_not_equal(rt_err_name(a), rt_err_name(b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_wrap_keeps_the_code),
        cmocka_unit_test(test_without_an_err),
        cmocka_unit_test(test_present_text_as_argument),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_names_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
