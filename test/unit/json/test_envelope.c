#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "json/envelope.h"

static const char *const payloads[] = {"data", "b64data", NULL};

/* The text in a block of exactly its size, so that ASan sees a read past its end. */
struct parsed {
    char *text;
    struct rt_envelope *e;
};

static int parse(struct parsed *p, struct rt_str text, struct rt_err *err)
{
    p->text = rt_malloc(text.len);
    assert_non_null(p->text);
    if (text.len)
        memcpy(p->text, text.ptr, text.len);
    p->e = NULL;
    return rt_envelope_parse(rt_str_of(p->text, text.len), payloads, &p->e, err);
}

static void release(struct parsed *p)
{
    rt_envelope_free(p->e);
    rt_free(p->text);
}

static void parse_legal(struct parsed *p, struct rt_str text)
{
    struct rt_err err;
    if (parse(p, text, &err) != 0)
        fail_msg("%.*s: %s", RT_STR_ARG(text), err.text);
}

static void assert_str(struct rt_str got, const char *wanted)
{
    struct rt_str w = rt_str_c(wanted);
    if (!rt_str_eq(got, w) || (got.ptr == NULL) != (wanted == NULL))
        fail_msg("got %.*s, wanted %.*s", RT_STR_ARG(got), RT_STR_ARG(w));
}

static void test_every_getter(void **state)
{
    (void)state;
    struct parsed p;
    parse_legal(&p,
                RT_STR(" {\"s\":\"a\\u00e4\\n\",\"empty\":\"\",\"n\":42,\"i\":-7,\"t\":true,"
                       "\"f\":false,\"l\":[\"x\",\"\",\"y\"],\"none\":[],\"o\":{\"in\":\"side\"},"
                       "\"data\":{\"big\":12345678901234567890, \"x\" : 1}} "));
    const struct rt_str *items;
    assert_str(rt_envelope_str(p.e, "s"), "a\xc3\xa4\n");
    assert_str(rt_envelope_str(p.e, "empty"), "");
    assert_int_equal(rt_envelope_u64(p.e, "n", 1), 42);
    assert_int_equal(rt_envelope_i64(p.e, "n", 1), 42);
    assert_int_equal(rt_envelope_i64(p.e, "i", 1), -7);
    assert_true(rt_envelope_bool(p.e, "t", false));
    assert_false(rt_envelope_bool(p.e, "f", true));
    assert_int_equal(rt_envelope_strs(p.e, "l", &items), 3);
    assert_str(items[0], "x");
    assert_str(items[1], "");
    assert_str(items[2], "y");
    const struct rt_str *again;
    assert_int_equal(rt_envelope_strs(p.e, "l", &again), 3);
    assert_ptr_equal(again, items);
    assert_int_equal(rt_envelope_strs(p.e, "none", &items), 0);
    struct rt_envelope *o = rt_envelope_object(p.e, "o");
    assert_non_null(o);
    assert_ptr_equal(rt_envelope_object(p.e, "o"), o);
    assert_str(rt_envelope_str(o, "in"), "side");
    assert_str(rt_envelope_raw(p.e, "data"), "{\"big\":12345678901234567890, \"x\" : 1}");
    assert_str(rt_envelope_unread(p.e), NULL);
    assert_int_equal(rt_envelope_error(p.e, NULL), 0);
    release(&p);
}

static void test_missing_and_null(void **state)
{
    (void)state;
    static const struct rt_str texts[] = {
        RT_STR("{}"), RT_STR("{\"s\":null,\"n\":null,\"b\":null,\"l\":null,\"o\":null}"),
        RT_STR("{\"S\":\"x\",\"N\":1,\"B\":true,\"L\":[\"x\"],\"O\":{}}"), /* exact names only */
    };
    for (size_t i = 0; i < 3; i++) {
        struct parsed p;
        const struct rt_str *items = (const struct rt_str *)&p;
        parse_legal(&p, texts[i]);
        assert_str(rt_envelope_str(p.e, "s"), NULL);
        assert_int_equal(rt_envelope_u64(p.e, "n", 9), 9);
        assert_int_equal(rt_envelope_i64(p.e, "n", -9), -9);
        assert_true(rt_envelope_bool(p.e, "b", true));
        assert_false(rt_envelope_bool(p.e, "b", false));
        assert_int_equal(rt_envelope_strs(p.e, "l", &items), 0);
        assert_null(rt_envelope_object(p.e, "o"));
        assert_str(rt_envelope_raw(p.e, "data"), NULL);
        assert_int_equal(rt_envelope_error(p.e, NULL), 0);
        release(&p);
    }
}

static void test_wrong_types_are_recorded(void **state)
{
    (void)state;
    static const char *const values[] = {"1",    "\"x\"", "[1]", "{}",
                                         "true", "-1",    "1.5", "[\"x\",null]"};
    /* which of str, u64, i64, bool, strs, object accepts the value */
    static const char *const accepts[] = {"ui", "s", "", "o", "b", "i", "", ""};
    static const char *const messages[] = {
        "field f must be a string",
        "field f must be an integer from 0 to 2^53",
        "field f must be an integer from -2^53 to 2^53",
        "field f must be true or false",
        "field f must be an array of strings",
        "field f must be an object",
    };
    for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
        for (size_t getter = 0; getter < 6; getter++) {
            struct parsed p;
            struct rt_err err = {0};
            const struct rt_str *items;
            char text[64];
            snprintf(text, sizeof(text), "{\"f\":%s}", values[v]);
            parse_legal(&p, rt_str_c(text));
            if (getter == 0)
                rt_envelope_str(p.e, "f");
            else if (getter == 1)
                rt_envelope_u64(p.e, "f", 0);
            else if (getter == 2)
                rt_envelope_i64(p.e, "f", 0);
            else if (getter == 3)
                rt_envelope_bool(p.e, "f", false);
            else if (getter == 4)
                rt_envelope_strs(p.e, "f", &items);
            else
                rt_envelope_object(p.e, "f");
            bool accepted = strchr(accepts[v], "suibao"[getter]) != NULL;
            int r = rt_envelope_error(p.e, &err);
            assert_int_equal(r, accepted ? 0 : RT_EINVAL);
            if (!accepted)
                assert_string_equal(err.text, messages[getter]);
            release(&p);
        }
    }
}

static void test_first_error_stays(void **state)
{
    (void)state;
    struct parsed p;
    struct rt_err err;
    parse_legal(&p, RT_STR("{\"a\":1,\"b\":2,\"c\":\"fine\"}"));
    assert_str(rt_envelope_str(p.e, "a"), NULL);
    assert_true(rt_envelope_bool(p.e, "b", true)); /* the fallback */
    assert_str(rt_envelope_str(p.e, "c"), "fine");
    assert_int_equal(rt_envelope_error(p.e, &err), RT_EINVAL);
    assert_string_equal(err.text, "field a must be a string");
    release(&p);
}

static void test_integers_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
        bool legal;
    } cases[] = {
        {"0", 0, true},
        {"-0", 0, true},
        {"9007199254740991", 9007199254740991, true},
        {"9007199254740992", 9007199254740992, true},
        {"9007199254740993", 0, false}, /* as a double it would be the one before */
        {"-9007199254740992", -9007199254740992, true},
        {"-9007199254740993", 0, false},
        {"18446744073709551616", 0, false},
        {"3.0", 3, true},
        {"-3.0", -3, true},
        {"3e2", 300, true},
        {"1.5e1", 15, true},
        {"1e-1", 0, false},
        {"0.5", 0, false},
        {"1e15", 1000000000000000, true},
        {"1e16", 0, false},
        {"1e300", 0, false},
        {"1e999", 0, false},
        {"-1e999", 0, false},
        {"-0.0", 0, true},
        {"0.00000000000000000000000000000000000000000000000000000000000e5", 0, true}, /* 63 */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct parsed p;
        char text[80];
        snprintf(text, sizeof(text), "{\"n\":%s}", cases[i].text);
        parse_legal(&p, rt_str_c(text));
        int64_t got = rt_envelope_i64(p.e, "n", 77);
        assert_int_equal(rt_envelope_error(p.e, NULL), cases[i].legal ? 0 : RT_EINVAL);
        assert_true(got == (cases[i].legal ? cases[i].value : 77));
        release(&p);
        parse_legal(&p, rt_str_c(text));
        bool legal = cases[i].legal && cases[i].value >= 0;
        uint64_t u = rt_envelope_u64(p.e, "n", 77);
        assert_int_equal(rt_envelope_error(p.e, NULL), legal ? 0 : RT_EINVAL);
        assert_true(u == (legal ? (uint64_t)cases[i].value : 77));
        release(&p);
    }
}

static void test_nested_errors_have_a_path(void **state)
{
    (void)state;
    struct parsed p;
    struct rt_err err;
    parse_legal(&p, RT_STR("{\"a\":{\"b\":{\"n\":\"x\",\"ok\":1},\"other\":null}}"));
    struct rt_envelope *a = rt_envelope_object(p.e, "a");
    struct rt_envelope *b = rt_envelope_object(a, "b");
    assert_int_equal(rt_envelope_u64(b, "ok", 0), 1);
    assert_str(rt_envelope_unread(b), "n");
    assert_str(rt_envelope_raw(b, "n"), "\"x\"");
    assert_int_equal(rt_envelope_u64(b, "n", 5), 5);
    assert_str(rt_envelope_unread(a), "other");
    assert_int_equal(rt_envelope_error(p.e, &err), RT_EINVAL);
    assert_string_equal(err.text, "field a.b.n must be an integer from 0 to 2^53");
    assert_int_equal(rt_envelope_error(b, &err), RT_EINVAL);
    release(&p);

    parse_legal(&p, RT_STR("{\"a\":{\"x\":1,\"\\u0078\":2}}"));
    assert_null(rt_envelope_object(p.e, "a"));
    assert_int_equal(rt_envelope_error(p.e, &err), RT_EINVAL);
    assert_string_equal(err.text, "field a: field x is there twice");
    release(&p);
}

static void test_refused_texts(void **state)
{
    (void)state;
    static const struct {
        struct rt_str text;
        const char *message;
    } cases[] = {
        {RT_STR("[]"), "a JSON object is expected, not array"},
        {RT_STR("\"x\""), "a JSON object is expected, not string"},
        {RT_STR(""), "JSON, byte 0: a value is missing"},
        {RT_STR("{} x"), "JSON, byte 3: something follows the value"},
        {RT_STR("{\"a\":\"\xff\"}"), "JSON, byte 6: not valid UTF-8"},
        {RT_STR("{\"a\":1,\"b\":2,\"a\":3}"), "field a is there twice"},
        {RT_STR("{\"a\":1,\"\\u0061\":3}"), "field a is there twice"},
        {RT_STR("{\"data\":1,\"b\":2,\"d\\u0061ta\":3}"), "field data is there twice"},
        {RT_STR("{\"a\":\"x\\u0000y\"}"), "\\u0000 is not allowed outside of payloads"},
        {RT_STR("{\"\\u0000\":1}"), "\\u0000 is not allowed outside of payloads"},
        {RT_STR("{\"data\":1,\"o\":[\"\\u0000\"]}"), "\\u0000 is not allowed outside of payloads"},
        {RT_STR("{\"a\":\"\\\\\\u0000\"}"), "\\u0000 is not allowed outside of payloads"},
        {RT_STR("{\"a\":\"\\ud800\"}"), "an escaped surrogate without its partner"},
        {RT_STR("{\"a\":\"\\udc00\"}"), "an escaped surrogate without its partner"},
        {RT_STR("{\"a\":\"\\ud800\\n\"}"), "an escaped surrogate without its partner"},
        {RT_STR("{\"a\":\"\\ud800\\ud800\\udc00\"}"), "an escaped surrogate without its partner"},
        {RT_STR("{\"a\":1234567890123456789012345678901234567890123456789012345678901234}"),
         "a number has more than 63 characters"},
        {RT_STR(
             "{\"a\":[\"\\\"\",-0.12345678901234567890123456789012345678901234567890123456789e+1]}"),
         "a number has more than 63 characters"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct parsed p;
        struct rt_err err = {0};
        assert_int_equal(parse(&p, cases[i].text, &err), RT_EINVAL);
        assert_string_equal(err.text, cases[i].message);
        assert_null(p.e);
        release(&p);
        assert_int_equal(rt_envelope_parse(cases[i].text, payloads, &p.e, NULL), RT_EINVAL);
    }
}

/* What cJSON cannot hold is fine in a payload, which comes back byte for byte. */
static void test_payloads_are_raw(void **state)
{
    (void)state;
    static const char *const values[] = {
        "1234567890123456789012345678901234567890123456789012345678901234",
        "\"\\u0000\\ud800\"",
        "[1.0, 1e400,\t-0]",
        "{\"a\":1,\"a\":2}",
        "null",
        "\"\\\\\"",
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct parsed p;
        struct rt_buf text = RT_BUF_INIT;
        rt_buf_printf(&text, "{ \"data\" :%s,\"a\":\"x\",\"b64dat\\u0061\": %s }", values[i],
                      values[i]);
        parse_legal(&p, rt_buf_str(&text));
        assert_str(rt_envelope_raw(p.e, "data"), values[i]);
        assert_str(rt_envelope_raw(p.e, "b64data"), values[i]);
        assert_str(rt_envelope_str(p.e, "a"), "x");
        assert_str(rt_envelope_unread(p.e), NULL);
        release(&p);
        rt_buf_clear(&text);
        rt_buf_printf(&text, "{\"b64data\":%s}", values[i]);
        parse_legal(&p, rt_buf_str(&text));
        assert_str(rt_envelope_raw(p.e, "data"), NULL);
        assert_str(rt_envelope_raw(p.e, "b64data"), values[i]);
        release(&p);
        rt_buf_deinit(&text);
    }
}

static void add_ones(struct rt_buf *b, size_t count)
{
    rt_buf_add_byte(b, '[');
    for (size_t i = 0; i < count; i++)
        rt_buf_add_c(b, i ? ",1" : "1");
    rt_buf_add_byte(b, ']');
}

static int parse_with(const char *before, size_t ones, const char *behind)
{
    struct rt_buf b = RT_BUF_INIT;
    struct parsed p;
    rt_buf_add_c(&b, before);
    add_ones(&b, ones);
    rt_buf_add_c(&b, behind);
    int r = parse(&p, rt_buf_str(&b), NULL);
    release(&p);
    rt_buf_deinit(&b);
    return r;
}

static void test_limits(void **state)
{
    (void)state;
    /* object, name, array and 4,093 values */
    assert_int_equal(parse_with("{\"a\":", 4093, "}"), 0);
    assert_int_equal(parse_with("{\"a\":", 4094, "}"), RT_ERANGE);
    assert_int_equal(parse_with("{\"a\":", 500000, "}"), RT_ERANGE);
    assert_int_equal(parse_with("{\"x\":1,\"data\":", 500000, "}"), 0);
    assert_int_equal(parse_with("{\"x\":{\"data\":", 5000, "}}"), RT_ERANGE);

    for (int depth = 30; depth <= 66; depth++) {
        struct rt_buf b = RT_BUF_INIT;
        struct parsed p;
        for (int as_payload = 0; as_payload < 2; as_payload++) {
            rt_buf_clear(&b);
            rt_buf_add_c(&b, as_payload ? "{\"data\":" : "{\"a\":");
            for (int i = 0; i < depth; i++)
                rt_buf_add_byte(&b, '[');
            for (int i = 0; i < depth; i++)
                rt_buf_add_byte(&b, ']');
            rt_buf_add_byte(&b, '}');
            bool legal = depth <= (as_payload ? 64 : 31);
            assert_int_equal(parse(&p, rt_buf_str(&b), NULL), legal ? 0 : RT_ERANGE);
            release(&p);
        }
        rt_buf_deinit(&b);
    }
}

static void test_unread_fields(void **state)
{
    (void)state;
    struct parsed p;
    parse_legal(&p, RT_STR("{\"data\":1,\"chanel\":\"typo\",\"channel\":\"c\"}"));
    assert_str(rt_envelope_unread(p.e), "chanel");
    rt_envelope_str(p.e, "chanel");
    assert_str(rt_envelope_unread(p.e), "channel");
    rt_envelope_str(p.e, "channel");
    assert_str(rt_envelope_unread(p.e), NULL);
    release(&p);
}

static void test_without_payload_names(void **state)
{
    (void)state;
    struct rt_envelope *e = NULL;
    assert_int_equal(rt_envelope_parse(RT_STR("{\"data\":[1]}"), NULL, &e, NULL), 0);
    assert_str(rt_envelope_unread(e), "data");
    assert_str(rt_envelope_raw(e, "data"), "[1]");
    assert_str(rt_envelope_unread(e), NULL);
    rt_envelope_free(e);
    rt_envelope_free(NULL);
}

#ifdef RT_TEST
/* Parses and reads everything; an error must be lack of memory. */
static bool read_all(void)
{
    static const char text[] = "{\"channel\":\"c\",\"data\":{\"x\":[1,2]},\"list\":[\"a\",\"b\"],"
                               "\"o\":{\"p\":{\"q\":\"deep\"}},\"n\":5}";
    struct rt_envelope *e = NULL;
    struct rt_err err = {0};
    int r = rt_envelope_parse(rt_str_c(text), payloads, &e, &err);
    if (r < 0) {
        assert_int_equal(r, RT_ENOMEM);
        assert_int_equal(err.code, RT_ENOMEM);
        assert_null(e);
        return false;
    }
    const struct rt_str *items;
    size_t count = rt_envelope_strs(e, "list", &items);
    struct rt_envelope *o = rt_envelope_object(e, "o");
    struct rt_envelope *inner = o ? rt_envelope_object(o, "p") : NULL;
    r = rt_envelope_error(e, &err);
    if (r == 0) {
        assert_int_equal(count, 2);
        assert_str(rt_envelope_str(inner, "q"), "deep");
        assert_str(rt_envelope_str(e, "channel"), "c");
        assert_str(rt_envelope_raw(e, "data"), "{\"x\":[1,2]}");
    } else {
        assert_int_equal(r, RT_ENOMEM);
    }
    rt_envelope_free(e);
    return r == 0;
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    for (int forever = 0; forever < 2; forever++) {
        unsigned long n = 0;
        bool done;
        do {
            rt_alloc_fail_at(++n, forever);
            done = read_all();
            assert_int_equal(done, !rt_alloc_failed());
            rt_alloc_fail_at(0, 0);
            assert_int_equal(rt_alloc_live(), live);
        } while (!done);
        assert_true(n > 30);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_getter),
        cmocka_unit_test(test_missing_and_null),
        cmocka_unit_test(test_wrong_types_are_recorded),
        cmocka_unit_test(test_first_error_stays),
        cmocka_unit_test(test_integers_are_exact),
        cmocka_unit_test(test_nested_errors_have_a_path),
        cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_payloads_are_raw),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_unread_fields),
        cmocka_unit_test(test_without_payload_names),
#ifdef RT_TEST
        cmocka_unit_test(test_each_allocation_fails),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
