#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/err.h"
#include "base/rand.h"

static struct rt_buf out;

static int reset(void **state)
{
    (void)state;
    rt_buf_deinit(&out);
    return 0;
}

static void assert_out(const char *wanted)
{
    assert_true(rt_buf_ok(&out));
    assert_int_equal(out.len, strlen(wanted));
    if (out.len)
        assert_memory_equal(out.data, wanted, out.len);
    rt_buf_clear(&out);
}

/* The vectors of RFC 4648 section 10. */
static void test_base64_vectors(void **state)
{
    (void)state;
    static const char *const padded[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                         "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    static const char *const bare[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    for (size_t len = 0; len <= 6; len++) {
        rt_base64_encode(&out, "foobar", len);
        assert_out(padded[len]);
        rt_base64url_encode(&out, "foobar", len);
        assert_out(bare[len]);
    }
    rt_base64_encode(&out, "\xfb\xff\xfe", 3);
    assert_out("+//+");
    rt_base64url_encode(&out, "\xfb\xff\xfe", 3);
    assert_out("-__-");
}

static void test_base64_is_lenient(void **state)
{
    (void)state;
    static const char *const forms[] = {"Zm9vYg==",     "Zm9vYg",        "Zm9vYg=",     " Zm9v Yg ",
                                        "Zm9\r\nvYg==", "Z\tm9vYg = = ", "\nZm9vYg==\n"};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        assert_int_equal(rt_base64_decode(&out, rt_str_c(forms[i])), 0);
        assert_out("foob");
    }
    assert_int_equal(rt_base64_decode(&out, RT_STR("-_+/")), 0);
    assert_out("\xfb\xff\xbf");
    assert_int_equal(rt_base64_decode(&out, RT_STR_NONE), 0);
    assert_out("");
}

static void test_base64_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",    "Zm9vY",   "Zg===", "Zm8==", "Zm9v=", "=",      "Zg==Zg", "Zg=g",
        "Zm9?", "Zm9\x80", "Z*==",  "Zg==.", "\xff",  "Zm\vg=", "Z="};
    rt_buf_add_c(&out, "before");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(rt_base64_decode(&out, rt_str_c(bad[i])), RT_EINVAL);
        assert_int_equal(out.len, 6);
    }
    assert_int_equal(rt_base64_decode(&out, RT_STR("Zg\0=")), RT_EINVAL);
    assert_out("before");
}

static void test_base64_round_trip(void **state)
{
    (void)state;
    uint8_t data[200];
    rt_random(data, sizeof(data));
    for (size_t len = 0; len <= sizeof(data); len++) {
        struct rt_buf text = RT_BUF_INIT;
        rt_base64_encode(&text, data, len);
        assert_int_equal(text.len, (len + 2) / 3 * 4);
        assert_int_equal(rt_base64_decode(&out, rt_buf_str(&text)), 0);
        assert_int_equal(out.len, len);
        assert_true(len == 0 || memcmp(out.data, data, len) == 0);
        rt_buf_clear(&out);
        rt_buf_clear(&text);
        rt_base64url_encode(&text, data, len);
        assert_int_equal(rt_base64_decode(&out, rt_buf_str(&text)), 0);
        assert_true(out.len == len && (len == 0 || memcmp(out.data, data, len) == 0));
        rt_buf_clear(&out);
        rt_buf_deinit(&text);
    }
}

static void test_path_decode(void **state)
{
    (void)state;
    rt_path_decode(&out, RT_STR("a+b%2Bc%20d%"));
    assert_true(rt_str_eq(rt_buf_str(&out), RT_STR("a+b+c d%")));
}

static void test_url_decode(void **state)
{
    (void)state;
    static const struct {
        struct rt_str in;
        const char *out;
    } cases[] = {
        {RT_STR("a+b%20c"), "a b c"},
        {RT_STR("%2B%2b"), "++"},
        {RT_STR("%"), "%"},
        {RT_STR("%4"), "%4"},
        {RT_STR("%4x%zz%%41"), "%4x%zz%A"},
        {RT_STR("%C3%A4 \xc3\xa4"), "\xc3\xa4 \xc3\xa4"},
        /* not UTF-8: one U+FFFD for each maximal part */
        {RT_STR("a%FFb"), "a\xef\xbf\xbd"
                          "b"},
        {RT_STR("%E2%82"), "\xef\xbf\xbd"},
        {RT_STR("%E2%82x\xff\xfe"), "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd"},
        {RT_STR("%ED%A0%80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {RT_STR_NONE, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rt_buf_add_c(&out, "<\xff");
        rt_url_decode(&out, cases[i].in);
        assert_memory_equal(out.data, "<\xff", 2); /* what was there is not touched */
        rt_buf_consume(&out, 2);
        assert_out(cases[i].out);
    }
    rt_url_decode(&out, RT_STR("a%00b"));
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "a\0b", 3);
}

static void test_url_encode(void **state)
{
    (void)state;
    rt_url_encode(&out, RT_STR("AZaz09-._~ +/%\xc3\xa4\x7f"));
    assert_out("AZaz09-._~%20%2B%2F%25%C3%A4%7F");
    struct rt_buf text = RT_BUF_INIT;
    char all[127];
    for (int i = 0; i < 127; i++)
        all[i] = (char)(i + 1);
    rt_url_encode(&text, rt_str_of(all, sizeof(all)));
    rt_url_decode(&out, rt_buf_str(&text));
    assert_int_equal(out.len, sizeof(all));
    assert_memory_equal(out.data, all, sizeof(all));
    rt_buf_deinit(&text);
}

static void test_hex(void **state)
{
    (void)state;
    rt_hex_encode(&out, "\x00\x0f\xa0\xff", 4);
    assert_out("000fa0ff");
    rt_hex_encode(&out, NULL, 0);
    assert_out("");
}

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    rt_alloc_fail_at(1, 1);
    assert_int_equal(rt_base64_decode(&out, RT_STR("Zg==")), RT_ENOMEM);
    rt_alloc_fail_at(0, 0);
    rt_buf_clear(&out);
    void (*encoders[])(struct rt_buf *, const void *,
                       size_t) = {rt_base64_encode, rt_base64url_encode, rt_hex_encode};
    for (size_t i = 0; i < 3; i++) {
        rt_alloc_fail_at(1, 0);
        encoders[i](&out, "abc", 3);
        assert_false(rt_buf_ok(&out));
        rt_buf_deinit(&out);
    }
    for (unsigned long n = 1; n <= 3; n++) { /* the output, the copy while repairing, done */
        rt_alloc_fail_at(n, 0);
        rt_url_decode(&out, RT_STR("%FF%FF"));
        assert_int_equal(rt_buf_ok(&out), n == 3);
        rt_buf_deinit(&out);
    }
    rt_alloc_fail_at(0, 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_base64_vectors, reset),
        cmocka_unit_test_teardown(test_base64_is_lenient, reset),
        cmocka_unit_test_teardown(test_base64_refuses, reset),
        cmocka_unit_test_teardown(test_base64_round_trip, reset),
        cmocka_unit_test_teardown(test_url_decode, reset),
        cmocka_unit_test_teardown(test_path_decode, reset),
        cmocka_unit_test_teardown(test_url_encode, reset),
        cmocka_unit_test_teardown(test_hex, reset),
#ifdef RT_TEST
        cmocka_unit_test_teardown(test_out_of_memory, reset),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
