#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "json/scan.h"

/* In a block of exactly its size, so that ASan sees a read past the end. */
static int check(struct rt_str text, struct rt_json_limits limits, struct rt_err *err)
{
    char *copy = rt_malloc(text.len);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    struct rt_str value = RT_STR_NONE;
    int r = rt_json_check(rt_str_of(copy, text.len), limits, &value, err);
    if (r == 0) {
        assert_true(value.len > 0);
        assert_true(value.ptr >= copy && value.ptr + value.len <= copy + text.len);
    } else {
        assert_null(value.ptr);
    }
    rt_free(copy);
    return r;
}

static const struct rt_str legal_texts[] = {
    /* every kind, alone */
    RT_STR("null"),
    RT_STR("true"),
    RT_STR("false"),
    RT_STR("0"),
    RT_STR("\"\""),
    RT_STR("[]"),
    RT_STR("{}"),
    /* white space where it may be */
    RT_STR(" \t\r\n1 \t\r\n"),
    RT_STR("[ ]"),
    RT_STR("{\n}"),
    RT_STR(" [ 1 , 2 ] "),
    RT_STR("{ \"a\" : 1 , \"b\" : [ ] }"),
    RT_STR("\n{\"a\"\t:\r{}}"),
    /* numbers */
    RT_STR("-0"),
    RT_STR("-1"),
    RT_STR("10"),
    RT_STR("0.0"),
    RT_STR("1.5"),
    RT_STR("-0.25"),
    RT_STR("1e1"),
    RT_STR("1E1"),
    RT_STR("1e+1"),
    RT_STR("1e-1"),
    RT_STR("0e0"),
    RT_STR("1.5E-300"),
    RT_STR("1e999999"),
    RT_STR("123456789012345678901234567890"),
    RT_STR("0.00000000000000000000000000000000000000000000000001"),
    RT_STR("1e00"),
    /* strings: escapes, all of them; surrogates paired, alone, the wrong way round */
    RT_STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u00e4\\uABCD\\uabcd\""),
    RT_STR("\"\\ud83d\\ude00\""),
    RT_STR("\"\\ud83d\""),
    RT_STR("\"\\ude00\\ud83d\""),
    RT_STR("\"\\ud83dx\""),
    RT_STR("\"\\uffff\""),
    RT_STR("\"/\""),
    RT_STR("\"'\""),
    /* raw: DEL, all lengths of UTF-8, separators, noncharacters */
    RT_STR("\"\x7f\""),
    RT_STR("\"\xc2\x80\xdf\xbf\""),
    RT_STR("\"\xe0\xa0\x80\xef\xbf\xbf\""),
    RT_STR("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
    RT_STR("\"\xe2\x80\xa8\xe2\x80\xa9\""),
    RT_STR("\"\xed\x9f\xbf\xee\x80\x80\""),
    RT_STR("\"\xef\xbb\xbf\""),
    /* names: empty, twice the same, escaped */
    RT_STR("{\"\":1}"),
    RT_STR("{\"a\":1,\"a\":2}"),
    RT_STR("{\"\\u0061\":1,\"a\":2}"),
    RT_STR("{\"\\u0000\":0}"),
    /* nesting and the look of structure inside strings */
    RT_STR("[[[],{}],{\"a\":{\"b\":[{}]}}]"),
    RT_STR("[\"]\",\"}\",\"[{\",\",\",\":\"]"),
    RT_STR("{\"a\\\"]\":\"}\"}"),
    RT_STR("[null,true,false,0,\"\"]"),
};

static void test_legal_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(legal_texts) / sizeof(legal_texts[0]); i++) {
        struct rt_err err;
        if (check(legal_texts[i], RT_JSON_PAYLOAD, &err) != 0)
            fail_msg("%.*s: %s", RT_STR_ARG(legal_texts[i]), err.text);
    }
}

static const struct rt_str illegal_texts[] = {
    /* nothing */
    RT_STR(""),
    RT_STR(" "),
    RT_STR("\n\t"),
    RT_STR("\0"),
    /* words */
    RT_STR("nul"),
    RT_STR("nulll"),
    RT_STR("Null"),
    RT_STR("TRUE"),
    RT_STR("tru"),
    RT_STR("fals"),
    RT_STR("undefined"),
    RT_STR("NaN"),
    RT_STR("Infinity"),
    RT_STR("-Infinity"),
    RT_STR("n"),
    RT_STR("null\0"),
    RT_STR("truefalse"),
    /* numbers */
    RT_STR("-"),
    RT_STR("+1"),
    RT_STR("01"),
    RT_STR("-01"),
    RT_STR("00"),
    RT_STR("1."),
    RT_STR(".5"),
    RT_STR("-.5"),
    RT_STR("1.e1"),
    RT_STR("1e"),
    RT_STR("1e+"),
    RT_STR("1e1.5"),
    RT_STR("0x10"),
    RT_STR("1_000"),
    RT_STR("1,5"),
    RT_STR("--1"),
    RT_STR("1-"),
    RT_STR("1 2"),
    RT_STR("1e1e1"),
    RT_STR("\xd9\xa1"),
    RT_STR("1\0"),
    RT_STR("- 1"),
    RT_STR("[-]"),
    RT_STR("[1.]"),
    RT_STR("[01]"),
    RT_STR("1a"),
    /* strings */
    RT_STR("\""),
    RT_STR("\"a"),
    RT_STR("\"\\\""),
    RT_STR("\"\\"),
    RT_STR("\"\\a\""),
    RT_STR("\"\\'\""),
    RT_STR("\"\\0\""),
    RT_STR("\"\\x41\""),
    RT_STR("\"\\u\""),
    RT_STR("\"\\u12\""),
    RT_STR("\"\\u123\""),
    RT_STR("\"\\u123g\""),
    RT_STR("\"\\u 123\""),
    RT_STR("\"\\U0041\""),
    RT_STR("\"\\u00"),
    RT_STR("\"\\u{41}\""),
    RT_STR("'a'"),
    RT_STR("\"a\"b"),
    RT_STR("\"a\" \"b\""),
    RT_STR("\"\n\""),
    RT_STR("\"\t\""),
    RT_STR("\"\0\""),
    RT_STR("\"\x1f\""),
    RT_STR("\"\r\""),
    RT_STR("a"),
    RT_STR("\\u0022a\""),
    /* UTF-8 */
    RT_STR("\"\x80\""),
    RT_STR("\"\xc0\x80\""),
    RT_STR("\"\xc3\""),
    RT_STR("\"\xc3(\""),
    RT_STR("\"\xe2\x82\""),
    RT_STR("\"\xed\xa0\x80\""),
    RT_STR("\"\xf4\x90\x80\x80\""),
    RT_STR("\"\xf8\x88\x80\x80\x80\""),
    RT_STR("\"\xe4\""),
    RT_STR("\"\xff\""),
    RT_STR("{\"\xff\":1}"),
    RT_STR("\"\xf0\x9f\x98"),
    /* before and behind: other white space, byte order mark, comments, garbage */
    RT_STR("\xef\xbb\xbf{}"),
    RT_STR("\f1"),
    RT_STR("\v1"),
    RT_STR("\xc2\xa0"
           "1"),
    RT_STR("1\f"),
    RT_STR("[1,\xe2\x80\xa8 2]"),
    RT_STR("// x\n1"),
    RT_STR("1 /* x */"),
    RT_STR("{}{}"),
    RT_STR("[]]"),
    RT_STR("{}}"),
    RT_STR("[] ,"),
    RT_STR("{} x"),
    RT_STR("\xff\xfe[\0]\0"),
    /* arrays */
    RT_STR("["),
    RT_STR("]"),
    RT_STR("[1"),
    RT_STR("[1,"),
    RT_STR("[1,]"),
    RT_STR("[,1]"),
    RT_STR("[,]"),
    RT_STR("[1,,2]"),
    RT_STR("[1 2]"),
    RT_STR("[1:2]"),
    RT_STR("[\"a\":1]"),
    RT_STR("[1}"),
    RT_STR("[[]"),
    RT_STR("[1;2]"),
    RT_STR("[a]"),
    RT_STR("[\"a"),
    RT_STR("[\"a\""),
    RT_STR("(1)"),
    RT_STR("<1>"),
    RT_STR("[..]"),
    /* objects */
    RT_STR("{"),
    RT_STR("}"),
    RT_STR("{\"a\""),
    RT_STR("{\"a\":"),
    RT_STR("{\"a\":1"),
    RT_STR("{\"a\":1,"),
    RT_STR("{\"a\":1,}"),
    RT_STR("{,}"),
    RT_STR("{\"a\"}"),
    RT_STR("{\"a\":}"),
    RT_STR("{\"a\" 1}"),
    RT_STR("{\"a\",1}"),
    RT_STR("{\"a\"::1}"),
    RT_STR("{\"a\":1 \"b\":2}"),
    RT_STR("{\"a\":1]"),
    RT_STR("{a:1}"),
    RT_STR("{'a':1}"),
    RT_STR("{1:1}"),
    RT_STR("{null:1}"),
    RT_STR("{[]:1}"),
    RT_STR("{:1}"),
    RT_STR("{\"a\":1,,}"),
    RT_STR("{\"a\":1:2}"),
    RT_STR("{\"a\"=1}"),
    RT_STR("{\"a\":[}"),
    RT_STR("[{\"a\":1}"),
    RT_STR("{{}}"),
    RT_STR("{[]}"),
    RT_STR("{\"a\":1,2}"),
    RT_STR("{\"a"),
    RT_STR("{]"),
    RT_STR("[}"),
};

static void test_illegal_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(illegal_texts) / sizeof(illegal_texts[0]); i++) {
        struct rt_err err = {0};
        if (check(illegal_texts[i], RT_JSON_PAYLOAD, &err) != RT_EINVAL || err.code != RT_EINVAL)
            fail_msg("number %zu: %.*s", i, RT_STR_ARG(illegal_texts[i]));
    }
    assert_int_equal(rt_json_check(RT_STR_NONE, RT_JSON_PAYLOAD, NULL, NULL), RT_EINVAL);
}

/* A legal text of all kinds with one byte left out, changed or doubled is never read past its
 * end, and cut anywhere it is never legal. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1.5e-3,\"\\u00e4\xc3\xa4 long enough for sixteen bytes\",{}],"
        "\"b\":{\"c\":null,\"d\":[true,false,[]]}}";
    assert_int_equal(check(rt_str_c(text), RT_JSON_PAYLOAD, NULL), 0);
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        assert_int_equal(check(rt_str_of(text, len), RT_JSON_PAYLOAD, NULL), RT_EINVAL);
    for (size_t at = 0; at < sizeof(text) - 1; at++) {
        char changed[sizeof(text)];
        for (int byte = 0; byte < 256; byte++) {
            memcpy(changed, text, sizeof(text));
            changed[at] = (char)byte;
            int r = check(rt_str_of(changed, sizeof(text) - 1), RT_JSON_PAYLOAD, NULL);
            assert_true(r == 0 || r == RT_EINVAL);
        }
    }
}

/* The fast path takes 16 bytes at once: each special byte at each distance from the quote and
 * the end. */
static void test_special_byte_anywhere_in_a_string(void **state)
{
    (void)state;
    char text[80];
    for (size_t len = 1; len < 70; len++) {
        for (size_t at = 1; at <= len; at++) {
            memset(text, 'x', sizeof(text));
            text[0] = text[len + 1] = '"';
            struct rt_str s = rt_str_of(text, len + 2);
            assert_int_equal(check(s, RT_JSON_PAYLOAD, NULL), 0);
            static const char refused[] = {'\x1f', '\0', '\n', '"', '\x80', '\xff', '\xc3'};
            for (size_t i = 0; i < sizeof(refused); i++) {
                text[at] = refused[i];
                assert_int_equal(check(s, RT_JSON_PAYLOAD, NULL), RT_EINVAL);
            }
            text[at] = '\x7f';
            assert_int_equal(check(s, RT_JSON_PAYLOAD, NULL), 0);
            text[at] = '\\';
            assert_int_equal(check(s, RT_JSON_PAYLOAD, NULL), RT_EINVAL);
            if (at == len)
                continue;
            text[at + 1] = 'n';
            assert_int_equal(check(s, RT_JSON_PAYLOAD, NULL), 0);
            memcpy(text + at, "\xc3\xa4", 2);
            assert_int_equal(check(s, RT_JSON_PAYLOAD, NULL), 0);
        }
    }
}

static void add_nested(struct rt_buf *b, size_t depth, const char *open, const char *inner,
                       const char *close)
{
    rt_buf_clear(b);
    for (size_t i = 0; i < depth; i++)
        rt_buf_add_c(b, open);
    rt_buf_add_c(b, inner);
    for (size_t i = 0; i < depth; i++)
        rt_buf_add_c(b, close);
}

static void test_depth_limit(void **state)
{
    (void)state;
    struct rt_buf b = RT_BUF_INIT;
    static const struct {
        const char *open, *inner, *close;
    } kinds[] = {{"[", "1", "]"}, {"{\"a\":", "1", "}"}, {"[{\"a\":", "[]", "}]"}};
    for (size_t i = 0; i < 3; i++) {
        size_t per_open = i == 2 ? 2 : 1;
        size_t inner = i == 2 ? 1 : 0;
        for (size_t depth = 1; depth < 1100 / per_open; depth += 9) {
            add_nested(&b, depth, kinds[i].open, kinds[i].inner, kinds[i].close);
            uint32_t total = (uint32_t)(depth * per_open + inner);
            int wanted = total <= 1024 ? 0 : RT_ERANGE;
            assert_int_equal(check(rt_buf_str(&b), (struct rt_json_limits){total, 0}, NULL),
                             wanted);
            assert_int_equal(check(rt_buf_str(&b), (struct rt_json_limits){total - 1, 0}, NULL),
                             RT_ERANGE);
        }
    }
    struct rt_json_limits none = {0, 0};
    assert_int_equal(check(RT_STR("\"a\""), none, NULL), 0);
    assert_int_equal(check(RT_STR("[]"), none, NULL), RT_ERANGE);
    add_nested(&b, 1000000, "[", "", "");
    assert_int_equal(check(rt_buf_str(&b), RT_JSON_PAYLOAD, NULL), RT_ERANGE);
    rt_buf_deinit(&b);
}

/* Closed with the wrong bracket at each level: the kind of every open container is remembered. */
static void test_wrong_bracket_at_any_depth(void **state)
{
    (void)state;
    enum { DEPTH = 200 };
    struct rt_json_limits limits = {DEPTH, 0};
    for (unsigned pattern = 0; pattern < 8; pattern++) {
        for (size_t wrong = 0; wrong <= DEPTH; wrong++) {
            struct rt_buf b = RT_BUF_INIT;
            for (size_t i = 0; i < DEPTH; i++)
                rt_buf_add_c(&b, pattern >> (i % 3) & 1 ? "{\"\":" : "[");
            rt_buf_add_byte(&b, '0');
            for (size_t i = DEPTH; i-- > 0;)
                rt_buf_add_byte(&b, ((pattern >> (i % 3) & 1) != 0) != (i == wrong) ? '}' : ']');
            assert_int_equal(check(rt_buf_str(&b), limits, NULL), wrong == DEPTH ? 0 : RT_EINVAL);
            rt_buf_deinit(&b);
        }
    }
}

static void test_token_limit(void **state)
{
    (void)state;
    static const struct {
        struct rt_str text;
        uint32_t tokens;
    } cases[] = {
        {RT_STR("1"), 1},          {RT_STR("[]"), 1},
        {RT_STR("[1,2]"), 3},      {RT_STR("{\"a\":1}"), 3},
        {RT_STR("{\"a\":[]}"), 3}, {RT_STR("{\"a\":{\"b\":[1,2]},\"c\":\"d,e\"}"), 9},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_json_limits limits = {10, cases[i].tokens};
        assert_int_equal(check(cases[i].text, limits, NULL), 0);
        if (--limits.tokens > 0)
            assert_int_equal(check(cases[i].text, limits, NULL), RT_ERANGE);
    }
}

static void test_value_and_rest(void **state)
{
    (void)state;
    static const struct {
        struct rt_str text, value, rest;
    } cases[] = {
        {RT_STR(" [1] tail"), RT_STR("[1]"), RT_STR(" tail")},
        {RT_STR("{}{}"), RT_STR("{}"), RT_STR("{}")},
        {RT_STR("12,3"), RT_STR("12"), RT_STR(",3")},
        {RT_STR("\"a\"b"), RT_STR("\"a\""), RT_STR("b")},
        {RT_STR("null"), RT_STR("null"), RT_STR("")},
        {RT_STR("\r\n1.5e3"), RT_STR("1.5e3"), RT_STR("")},
        {RT_STR("[]\xff\0"), RT_STR("[]"), RT_STR("\xff\0")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_str value, rest;
        struct rt_str text = cases[i].text;
        assert_int_equal(rt_json_check_prefix(text, RT_JSON_PAYLOAD, &value, &rest, NULL), 0);
        assert_true(rt_str_eq(value, cases[i].value));
        assert_true(rt_str_eq(rest, cases[i].rest));
        assert_ptr_equal(value.ptr + value.len, rest.ptr);
        assert_ptr_equal(rest.ptr + rest.len, text.ptr + text.len);
        assert_int_equal(rt_json_check_prefix(text, RT_JSON_PAYLOAD, NULL, NULL, NULL), 0);
    }
    struct rt_str value;
    assert_int_equal(rt_json_check(RT_STR(" \t{ } \n"), RT_JSON_PAYLOAD, &value, NULL), 0);
    assert_true(rt_str_eq(value, RT_STR("{ }")));
}

static void test_messages(void **state)
{
    (void)state;
    static const struct {
        struct rt_str text;
        const char *message;
    } cases[] = {
        {RT_STR("[1,]"),
         "JSON, byte 3: a value must be one of {, [, a string, a number, true, false, null"},
        {RT_STR("{\"a\" 1}"), "JSON, byte 5: a colon is missing behind a member name"},
        {RT_STR("[1 2]"), "JSON, byte 3: ',' or ']' is missing"},
        {RT_STR("\"ab\xff\""), "JSON, byte 3: not valid UTF-8"},
        {RT_STR("{} ]"), "JSON, byte 3: something follows the value"},
        {RT_STR("  "), "JSON, byte 2: a value is missing"},
        {RT_STR("-x"), "JSON, byte 1: a digit is missing in a number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_err err;
        assert_int_equal(rt_json_check(cases[i].text, RT_JSON_PAYLOAD, NULL, &err), RT_EINVAL);
        assert_string_equal(err.text, cases[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legal_texts),
        cmocka_unit_test(test_illegal_texts),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_special_byte_anywhere_in_a_string),
        cmocka_unit_test(test_depth_limit),
        cmocka_unit_test(test_wrong_bracket_at_any_depth),
        cmocka_unit_test(test_token_limit),
        cmocka_unit_test(test_value_and_rest),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
