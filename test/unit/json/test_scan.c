#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "json/scan.h"

static void assert_str(struct rt_str got, struct rt_str wanted)
{
    if (!rt_str_eq(got, wanted))
        fail_msg("got %.*s, wanted %.*s", RT_STR_ARG(got), RT_STR_ARG(wanted));
}

static void assert_none(struct rt_str got)
{
    assert_null(got.ptr);
    assert_int_equal(got.len, 0);
}

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        struct rt_str value;
        enum rt_json_kind kind;
        const char *name;
    } cases[] = {
        {RT_STR("null"), RT_JSON_NULL, "null"},     {RT_STR("true"), RT_JSON_BOOL, "boolean"},
        {RT_STR("false"), RT_JSON_BOOL, "boolean"}, {RT_STR("-1"), RT_JSON_NUMBER, "number"},
        {RT_STR("0"), RT_JSON_NUMBER, "number"},    {RT_STR("\"\""), RT_JSON_STRING, "string"},
        {RT_STR("[]"), RT_JSON_ARRAY, "array"},     {RT_STR("{}"), RT_JSON_OBJECT, "object"},
        {RT_STR_NONE, RT_JSON_NONE, "none"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(rt_json_kind(cases[i].value), cases[i].kind);
        assert_string_equal(rt_json_kind_name(cases[i].kind), cases[i].name);
    }
}

static void test_walk_of_an_array(void **state)
{
    (void)state;
    static const struct rt_str wanted[] = {
        RT_STR("1"),      RT_STR("\"a,]\\\"\""), RT_STR("[ [ ] , {} ]"), RT_STR("{\"]\":[\"}\"]}"),
        RT_STR("-1.5e3"), RT_STR("null"),        RT_STR("\"\\\\\"")};
    struct rt_str text = RT_STR("[ 1 ,\"a,]\\\"\",\n[ [ ] , {} ],{\"]\":[\"}\"]}\t, -1.5e3,null ,"
                                "\"\\\\\"]");
    assert_int_equal(rt_json_check(text, RT_JSON_PAYLOAD, NULL, NULL), 0);
    struct rt_json_iter it = rt_json_iter(text);
    size_t i = 0;
    while (rt_json_next(&it)) {
        assert_true(i < 7);
        assert_none(it.key);
        assert_str(it.value, wanted[i]);
        assert_str(rt_json_at(text, i), wanted[i]);
        i++;
    }
    assert_int_equal(i, 7);
    assert_false(rt_json_next(&it));
    assert_none(it.value);
    assert_int_equal(rt_json_count(text), 7);
    assert_none(rt_json_at(text, 7));
}

static void test_walk_of_an_object(void **state)
{
    (void)state;
    struct rt_str text = RT_STR("{ \"a\" : 1 ,\"\":[\"}\"] , \"q\\\"\\\\\":{} }");
    assert_int_equal(rt_json_check(text, RT_JSON_PAYLOAD, NULL, NULL), 0);
    struct rt_json_iter it = rt_json_iter(text);
    assert_true(rt_json_next(&it));
    assert_str(it.key, RT_STR("a"));
    assert_str(it.value, RT_STR("1"));
    assert_true(rt_json_next(&it));
    assert_non_null(it.key.ptr);
    assert_str(it.key, RT_STR(""));
    assert_str(it.value, RT_STR("[\"}\"]"));
    assert_true(rt_json_next(&it));
    assert_str(it.key, RT_STR("q\\\"\\\\"));
    assert_str(it.value, RT_STR("{}"));
    assert_false(rt_json_next(&it));
    assert_int_equal(rt_json_count(text), 3);
}

static void test_walk_of_nothing(void **state)
{
    (void)state;
    static const struct rt_str values[] = {RT_STR("[]"),   RT_STR("{}"),    RT_STR("[ \n]"),
                                           RT_STR("null"), RT_STR("\"[\""), RT_STR("12"),
                                           RT_STR_NONE};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct rt_json_iter it = rt_json_iter(values[i]);
        assert_false(rt_json_next(&it));
        assert_int_equal(rt_json_count(values[i]), 0);
        assert_none(rt_json_at(values[i], 0));
        assert_none(rt_json_get(values[i], RT_STR("a")));
    }
}

static void test_get(void **state)
{
    (void)state;
    struct rt_str text = RT_STR("{\"a\":1,\"b\":{\"a\":2},\"\\u0061\\u0062\":3,\"a\":4,\"\":5,"
                                "\"\\\\u0061\":6,\"A\":7,\"x\\u0000y\":8,\"\\ud83d\\ude00\":9}");
    assert_int_equal(rt_json_check(text, RT_JSON_PAYLOAD, NULL, NULL), 0);
    assert_str(rt_json_get(text, RT_STR("a")), RT_STR("4")); /* the last one counts */
    assert_str(rt_json_get(text, RT_STR("ab")), RT_STR("3"));
    assert_str(rt_json_get(text, RT_STR("")), RT_STR("5"));
    assert_str(rt_json_get(text, RT_STR_NONE), RT_STR("5"));
    assert_str(rt_json_get(text, RT_STR("\\u0061")), RT_STR("6"));
    assert_str(rt_json_get(text, RT_STR("A")), RT_STR("7"));
    assert_str(rt_json_get(text, RT_STR("x\0y")), RT_STR("8"));
    assert_str(rt_json_get(text, RT_STR("\xf0\x9f\x98\x80")), RT_STR("9"));
    assert_none(rt_json_get(text, RT_STR("x")));
    assert_none(rt_json_get(text, RT_STR("\\u0061\\u0062")));
    assert_none(rt_json_get(RT_STR("[\"a\",1]"), RT_STR("a")));
    assert_none(rt_json_at(text, 0));
}

static void test_path(void **state)
{
    (void)state;
    struct rt_str v = RT_STR("{\"a\":{\"b\":[10,{\"c\":\"x\"},[null]],\"\":7},\"0\":{\"1\":2}}");
    static const struct {
        const char *path, *wanted;
    } cases[] = {
        {"a.b.0", "10"},     {"a.b.1.c", "\"x\""},
        {"a.b.2.0", "null"}, {"0.1", "2"},
        {"a.", "7"},         {"a.b.3", NULL},
        {"a.b.00", NULL},    {"a.b.01", NULL},
        {"a.b.-1", NULL},    {"a.b.x", NULL},
        {"a.b.", NULL},      {"a.b.0.x", NULL},
        {"a.b.1.c.0", NULL}, {"b", NULL},
        {".", NULL},         {"a..b", NULL},
        {"a.b.2.0.0", NULL}, {" a", NULL},
        {"A.b", NULL},       {"a.b.18446744073709551616", NULL},
    };
    assert_int_equal(rt_json_check(v, RT_JSON_PAYLOAD, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_str got = rt_json_path(v, rt_str_c(cases[i].path));
        if (!cases[i].wanted)
            assert_none(got);
        else
            assert_str(got, rt_str_c(cases[i].wanted));
    }
    assert_str(rt_json_path(v, RT_STR_NONE), v);
    assert_str(rt_json_path(v, RT_STR("")), v);
    assert_none(rt_json_path(RT_STR_NONE, RT_STR("a")));
}

static void test_unescape(void **state)
{
    (void)state;
#define BAD RT_UTF8_REPLACEMENT
    static const struct {
        struct rt_str value, text;
    } cases[] = {
        {RT_STR("\"\""), RT_STR("")},
        {RT_STR("\"plain \xc3\xa4\""), RT_STR("plain \xc3\xa4")},
        {RT_STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), RT_STR("\"\\/\b\f\n\r\t")},
        {RT_STR("\"a\\u0000b\""), RT_STR("a\0b")},
        {RT_STR("\"\\u007f\\u0080\\u07ff\\u0800\\uFFFF\""),
         RT_STR("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf")},
        {RT_STR("\"\\ud83d\\ude00\""), RT_STR("\xf0\x9f\x98\x80")},
        {RT_STR("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""), RT_STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
        {RT_STR("\"\\ud83d\""), RT_STR(BAD)},
        {RT_STR("\"\\ude00\""), RT_STR(BAD)},
        {RT_STR("\"\\ude00\\ud83d\""), RT_STR(BAD BAD)},
        {RT_STR("\"\\ud83dx\""), RT_STR(BAD "x")},
        {RT_STR("\"\\ud83d\\n\""), RT_STR(BAD "\n")},
        {RT_STR("\"\\ud83d\\u0041\""), RT_STR(BAD "A")},
        {RT_STR("\"\\ud83d\\ud83d\\ude00\""), RT_STR(BAD "\xf0\x9f\x98\x80")},
        {RT_STR("\"\\ud7ff\\ue000\""), RT_STR("\xed\x9f\xbf\xee\x80\x80")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_buf out = RT_BUF_INIT;
        assert_int_equal(rt_json_check(cases[i].value, RT_JSON_PAYLOAD, NULL, NULL), 0);
        rt_json_unescape(&out, cases[i].value);
        assert_str(rt_buf_str(&out), cases[i].text);
        assert_true(rt_json_string_is(cases[i].value, cases[i].text));
        rt_buf_add_byte(&out, 'x');
        assert_false(rt_json_string_is(cases[i].value, rt_buf_str(&out)));
        if (cases[i].text.len) {
            out.len -= 2;
            assert_false(rt_json_string_is(cases[i].value, rt_buf_str(&out)));
            out.data[0] ^= 1;
            out.len++;
            assert_false(rt_json_string_is(cases[i].value, rt_buf_str(&out)));
        }
        rt_buf_deinit(&out);
    }
    assert_false(rt_json_string_is(RT_STR("1"), RT_STR("1")));
    assert_false(rt_json_string_is(RT_STR_NONE, RT_STR_NONE));
}

static void test_u64(void **state)
{
    (void)state;
    uint64_t n = 3;
    assert_true(rt_json_u64(RT_STR("0"), &n));
    assert_int_equal(n, 0);
    assert_true(rt_json_u64(RT_STR("18446744073709551615"), &n));
    assert_true(n == UINT64_MAX);
    static const struct rt_str bad[] = {RT_STR("18446744073709551616"),
                                        RT_STR("-1"),
                                        RT_STR("-0"),
                                        RT_STR("1.0"),
                                        RT_STR("1e2"),
                                        RT_STR("\"1\""),
                                        RT_STR("null"),
                                        RT_STR("[]"),
                                        RT_STR_NONE};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(rt_json_u64(bad[i], &n));
    assert_true(n == UINT64_MAX);
}

static void test_written_strings(void **state)
{
    (void)state;
    static const struct {
        struct rt_str text, value;
    } cases[] = {
        {RT_STR_NONE, RT_STR("\"\"")},
        {RT_STR("a/b'<\x7f\xc3\xa4\xe2\x80\xa8"), RT_STR("\"a/b'<\x7f\xc3\xa4\xe2\x80\xa8\"")},
        {RT_STR("\"\\\b\f\n\r\t"), RT_STR("\"\\\"\\\\\\b\\f\\n\\r\\t\"")},
        {RT_STR("\0\x1f"), RT_STR("\"\\u0000\\u001f\"")},
        {RT_STR("x\xff\xfey"), RT_STR("\"x" BAD BAD "y\"")},
        {RT_STR("\xe2\x82"), RT_STR("\"" BAD "\"")},
        {RT_STR("\xed\xa0\x80"), RT_STR("\"" BAD BAD BAD "\"")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_buf out = RT_BUF_INIT;
        rt_json_add_string(&out, cases[i].text);
        assert_str(rt_buf_str(&out), cases[i].value);
        rt_buf_deinit(&out);
    }
}

/* Whatever the bytes: what is written is legal; when they were UTF-8 it reads back as the same. */
static void test_written_strings_read_back(void **state)
{
    (void)state;
    for (int round = 0; round < 3000; round++) {
        uint8_t text[60];
        size_t len = rt_random_below(sizeof(text));
        bool ascii = round % 2 == 0;
        rt_random(text, sizeof(text));
        for (size_t i = 0; ascii && i < len; i++)
            text[i] &= 0x7f;
        struct rt_buf value = RT_BUF_INIT, back = RT_BUF_INIT, again = RT_BUF_INIT;
        rt_json_add_string(&value, rt_str_of(text, len));
        assert_int_equal(rt_json_check(rt_buf_str(&value), RT_JSON_PAYLOAD, NULL, NULL), 0);
        rt_json_unescape(&back, rt_buf_str(&value));
        assert_true(rt_utf8_valid(back.data, back.len));
        if (rt_utf8_valid(text, len))
            assert_str(rt_buf_str(&back), rt_str_of(text, len));
        rt_json_add_string(&again, rt_buf_str(&back));
        assert_str(rt_buf_str(&again), rt_buf_str(&value));
        rt_buf_deinit(&value);
        rt_buf_deinit(&back);
        rt_buf_deinit(&again);
    }
}

static void test_compact(void **state)
{
    (void)state;
    static const struct {
        struct rt_str value, compact;
    } cases[] = {
        {RT_STR("1"), RT_STR("1")},
        {RT_STR("{ \"a b\" : [ 1 ,\t2 ] ,\r\n\"c\":\" \\\" \" }"),
         RT_STR("{\"a b\":[1,2],\"c\":\" \\\" \"}")},
        {RT_STR(" [ 12345678901234567890 , 1.0e+5 , -0 ] "),
         RT_STR("[12345678901234567890,1.0e+5,-0]")},
        {RT_STR("\" \\\\\" "), RT_STR("\" \\\\\"")},
        {RT_STR_NONE, RT_STR("")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_buf out = RT_BUF_INIT;
        rt_json_add_compact(&out, cases[i].value);
        assert_str(rt_buf_str(&out), cases[i].compact);
        rt_buf_deinit(&out);
    }
}

/* Nothing legal about it, in a block of its own size: every function ends and stays inside. */
static void test_garbage_is_safe(void **state)
{
    (void)state;
    static const char alphabet[] = "{}[]\",:\\u0dn1 \xff";
    for (int round = 0; round < 20000; round++) {
        size_t len = 1 + rt_random_below(24);
        char *text = rt_malloc(len);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[rt_random_below(sizeof(alphabet) - 1)];
        if (round % 2)
            text[0] = round % 4 == 1 ? '{' : '"';
        struct rt_str s = rt_str_of(text, len);
        struct rt_buf out = RT_BUF_INIT;
        struct rt_json_iter it = rt_json_iter(s);
        size_t steps = 0;
        while (rt_json_next(&it)) {
            assert_true(it.value.ptr >= text && it.value.ptr + it.value.len <= text + len);
            assert_true(++steps <= len);
        }
        assert_true(rt_json_count(s) <= len);
        struct rt_str found = rt_json_path(s, RT_STR("u.0"));
        assert_true(found.len <= len);
        found = rt_json_get(s, RT_STR("\"u"));
        assert_true(found.len <= len);
        rt_json_unescape(&out, s);
        rt_json_add_compact(&out, s);
        (void)rt_json_string_is(s, RT_STR("u0"));
        (void)rt_json_string_is(s, RT_STR_NONE);
        assert_true(rt_buf_ok(&out) && out.len <= 4 * len);
        rt_buf_deinit(&out);
        rt_free(text);
    }
}

/* Long strings and arrays around the 16 bytes that the walk takes at once. */
static void test_walk_over_long_values(void **state)
{
    (void)state;
    for (size_t len = 0; len < 70; len++) {
        struct rt_buf b = RT_BUF_INIT;
        rt_buf_add_c(&b, "[[");
        for (size_t i = 0; i < len; i++)
            rt_buf_add_c(&b, "0,");
        rt_buf_add_c(&b, "1],\"");
        for (size_t i = 0; i < len; i++)
            rt_buf_add_byte(&b, i + 2 < len ? '[' : '\\');
        if (len == 1)
            rt_buf_add_byte(&b, '\\');
        rt_buf_add_c(&b, "\",7]");
        assert_int_equal(rt_json_check(rt_buf_str(&b), RT_JSON_PAYLOAD, NULL, NULL), 0);
        assert_int_equal(rt_json_count(rt_buf_str(&b)), 3);
        assert_int_equal(rt_json_count(rt_json_at(rt_buf_str(&b), 0)), len + 1);
        assert_int_equal(rt_json_at(rt_buf_str(&b), 1).len, 2 + len + (len == 1));
        assert_str(rt_json_at(rt_buf_str(&b), 2), RT_STR("7"));
        rt_buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_walk_of_an_array),
        cmocka_unit_test(test_walk_of_an_object),
        cmocka_unit_test(test_walk_of_nothing),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_u64),
        cmocka_unit_test(test_written_strings),
        cmocka_unit_test(test_written_strings_read_back),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_garbage_is_safe),
        cmocka_unit_test(test_walk_over_long_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
