/* The codec of polling payloads, and JSONP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "proto/socketio/engine_jsonp.h"
#include "proto/socketio/engine_payload.h"

#define S(text)                  \
    {                            \
        (text), sizeof(text) - 1 \
    }

static void test_packets(void **state)
{
    static const struct {
        struct rt_str text;
        enum rt_eio_packet_type type;
        bool binary;
        struct rt_str data;
    } rows[] = {
        {S("0{}"), RT_EIO_OPEN, false, S("{}")},
        {S("1"), RT_EIO_CLOSE, false, S("")},
        {S("2probe"), RT_EIO_PING, false, S("probe")},
        {S("3"), RT_EIO_PONG, false, S("")},
        {S("4"), RT_EIO_MESSAGE, false, S("")},
        {S("4h\xc3\xa9"), RT_EIO_MESSAGE, false, S("h\xc3\xa9")},
        {S("4a\0b"), RT_EIO_MESSAGE, false, S("a\0b")},
        {S("4b"), RT_EIO_MESSAGE, false, S("b")},
        {S("5"), RT_EIO_UPGRADE, false, S("")},
        {S("6"), RT_EIO_NOOP, false, S("")},
        {S("b"), RT_EIO_MESSAGE, true, S("")},
        {S("bAQID"), RT_EIO_MESSAGE, true, S("\1\2\3")},
        {S("bAQ"), RT_EIO_MESSAGE, true, S("\1")},
        {S("b_-8="), RT_EIO_MESSAGE, true, S("\xff\xef")},
        {S("b AQ I\r\nD\n"), RT_EIO_MESSAGE, true, S("\1\2\3")},
    };
    struct rt_buf bytes = RT_BUF_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rt_eio_packet packet = {.type = 0};
        assert_int_equal(rt_eio_packet_parse(rows[i].text, &bytes, &packet), 0);
        assert_int_equal(packet.type, rows[i].type);
        assert_int_equal(packet.binary, rows[i].binary);
        assert_true(rt_str_eq(packet.data, rows[i].data));
    }
    rt_buf_deinit(&bytes);
}

static void test_bad_packets(void **state)
{
    static const struct rt_str rows[] = {
        S(""),   S("7"),      S("/"),     S("a"),
        S("B"),  S("4\xff"),  S("4\xc3"), S("4\xed\xa0\x80"),
        S("bA"), S("bAQID="), S("b!"),    S("b=="),
        S("\0"), S(" 4"),
    };
    struct rt_buf bytes = RT_BUF_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rt_eio_packet packet = {.type = RT_EIO_NOOP};
        assert_int_equal(rt_eio_packet_parse(rows[i], &bytes, &packet), RT_EINVAL);
        assert_int_equal(packet.type, RT_EIO_NOOP); /* untouched */
    }
    rt_buf_deinit(&bytes);
}

static void test_payload(void **state)
{
    static const struct {
        struct rt_str payload;
        size_t count;
        struct rt_str texts[4];
    } rows[] = {
        {S(""), 1, {S("")}},
        {S("4a"), 1, {S("4a")}},
        {S("4a\x1e"
           "b\x1e"
           "6"),
         3,
         {S("4a"), S("b"), S("6")}},
        {S("\x1e\x1e"), 3, {S(""), S(""), S("")}},
        {S("4a\x1e"), 2, {S("4a"), S("")}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rt_str rest = rows[i].payload, text;
        size_t count = 0;
        while (rt_eio_payload_next(&rest, &text)) {
            assert_true(count < rows[i].count);
            assert_true(rt_str_eq(text, rows[i].texts[count]));
            count++;
        }
        assert_int_equal(count, rows[i].count);
    }
    struct rt_str none = RT_STR_NONE, text;
    assert_false(rt_eio_payload_next(&none, &text));
}

/* ---- JSONP ---- */

static void test_index(void **state)
{
    static const struct {
        const char *query, *digits;
    } rows[] = {
        {"EIO=4&j=0", "0"},
        {"j=12&t=x", "12"},
        {"j=1%32", "12"},
        {"j=<s>7", "7"},
        {"j=", ""},
        {"j", ""},
        {"jj=1", NULL},
        {"", NULL},
        {"EIO=4&transport=polling", NULL},
        {"j=1&j=2", "2"},
        {"j=12345678901234567890123", "12345678901234567890"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rt_buf digits = RT_BUF_INIT;
        bool is = rt_eio_jsonp_index(rt_str_c(rows[i].query), &digits);
        assert_int_equal(is, rows[i].digits != NULL);
        if (is)
            assert_true(rt_str_eq(rt_buf_str(&digits), rt_str_c(rows[i].digits)));
        rt_buf_deinit(&digits);
    }
}

static void expect_wrapped(struct rt_str payload, const char *want)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_eio_jsonp_wrap(&out, RT_STR("5"), payload);
    assert_true(rt_str_eq(rt_buf_str(&out), rt_str_c(want)));
    rt_buf_deinit(&out);
}

static void test_wrap(void **state)
{
    (void)state;
    expect_wrapped(RT_STR(""), "___eio[5](\"\");");
    expect_wrapped(RT_STR("4a\x1e"
                          "b"),
                   "___eio[5](\"4a\\u001eb\");");
    expect_wrapped(RT_STR("4\"\\\n\t</script>"), "___eio[5](\"4\\\"\\\\\\n\\t</script>\");");
    expect_wrapped(RT_STR("\xe2\x80\xa8x\xe2\x80\xa9\xe2\x80\xa8\xe2\x80\xaa"),
                   "___eio[5](\"\\u2028x\\u2029\\u2028\xe2\x80\xaa\");");
}

static void expect_unwrapped(const char *form, struct rt_str want)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_eio_jsonp_unwrap(&out, rt_str_c(form));
    assert_true(rt_str_eq(rt_buf_str(&out), want));
    rt_buf_deinit(&out);
}

static void test_unwrap(void **state)
{
    (void)state;
    expect_unwrapped("d=4a", RT_STR("4a"));
    expect_unwrapped("x=1&d=4+b%2B%1E6", RT_STR("4 b+\x1e"
                                                "6"));
    expect_unwrapped("d=4a\\nb", RT_STR("4a\nb"));
    expect_unwrapped("d=4a\\\\nb", RT_STR("4a\\nb"));
    expect_unwrapped("d=4a\\\\\\nb", RT_STR("4a\\\\nb"));
    expect_unwrapped("d=4a\\tb\\", RT_STR("4a\\tb\\"));
    expect_unwrapped("d=", RT_STR(""));
    expect_unwrapped("e=4a", RT_STR(""));
    expect_unwrapped("", RT_STR(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets), cmocka_unit_test(test_bad_packets),
        cmocka_unit_test(test_payload), cmocka_unit_test(test_index),
        cmocka_unit_test(test_wrap),    cmocka_unit_test(test_unwrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
