#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/str.h"

static void assert_str(struct rt_str s, const char *wanted)
{
    assert_int_equal(s.len, strlen(wanted));
    if (s.len)
        assert_memory_equal(s.ptr, wanted, s.len);
}

static void test_equality(void **state)
{
    (void)state;
    assert_true(rt_str_eq(RT_STR_NONE, RT_STR("")));
    assert_true(rt_str_eq(RT_STR("a\0b"), rt_str_of("a\0b", 3)));
    assert_false(rt_str_eq(RT_STR("a\0b"), RT_STR("a\0c")));
    assert_false(rt_str_eq(RT_STR("ab"), RT_STR("abc")));
    assert_true(rt_str_eq_nocase(RT_STR("Content-Length"), RT_STR("cONTENT-lENGTH")));
    assert_false(rt_str_eq_nocase(RT_STR("@"), RT_STR("`")));
    assert_false(rt_str_eq_nocase(RT_STR("["), RT_STR("{")));
    assert_false(rt_str_eq_nocase(RT_STR("\xc4"), RT_STR("\xe4")));
    assert_true(rt_str_eq_nocase(RT_STR_NONE, RT_STR("")));
    assert_true(rt_str_starts(RT_STR("abc"), RT_STR("ab")));
    assert_true(rt_str_starts(RT_STR_NONE, RT_STR_NONE));
    assert_false(rt_str_starts(RT_STR("a"), RT_STR("ab")));
}

static void test_secret_equality(void **state)
{
    (void)state;
    assert_true(rt_str_eq_secret(RT_STR("key-1"), RT_STR("key-1")));
    assert_false(rt_str_eq_secret(RT_STR("key-1"), RT_STR("key-2")));
    assert_false(rt_str_eq_secret(RT_STR("Key-1"), RT_STR("key-1")));
    assert_false(rt_str_eq_secret(RT_STR("key-1"), RT_STR("key-11")));
    /* Differences that cancel out when they are added up. */
    assert_false(rt_str_eq_secret(RT_STR("\x01\x01"), RT_STR("\x00\x00")));
    assert_true(rt_str_eq_secret(RT_STR_NONE, RT_STR("")));
}

static void test_split_walks(void **state)
{
    (void)state;
    const char *parts[] = {"a", "", "bc", ""};
    struct rt_str rest = RT_STR("a,,bc,");
    size_t count = 0;
    while (rest.ptr) {
        struct rt_str part = rt_str_split(rest, ',', &rest);
        assert_true(count < 4);
        assert_str(part, parts[count++]);
    }
    assert_int_equal(count, 4);
    assert_str(rt_str_split(RT_STR_NONE, ',', &rest), "");
    assert_null(rest.ptr);
}

static void test_trim(void **state)
{
    (void)state;
    assert_str(rt_str_trim(RT_STR(" \t a b\r\n ")), "a b");
    assert_str(rt_str_trim(RT_STR(" \r\n\t")), "");
    assert_str(rt_str_trim(RT_STR_NONE), "");
    assert_str(rt_str_trim(RT_STR("\va\f")), "\va\f");
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t n = 5;
    assert_int_equal(rt_str_to_u64(RT_STR("0"), &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(rt_str_to_u64(RT_STR("18446744073709551615"), &n), 0);
    assert_true(n == UINT64_MAX);
    assert_int_equal(rt_str_to_u64(RT_STR("0000000000000000000000000000012"), &n), 0);
    assert_int_equal(n, 12);
    assert_int_equal(rt_str_to_u64(RT_STR("18446744073709551616"), &n), RT_ERANGE);
    assert_int_equal(rt_str_to_u64(RT_STR("99999999999999999999999"), &n), RT_ERANGE);
    assert_int_equal(rt_str_to_u64(RT_STR("184467440737095516150"), &n), RT_ERANGE);
    const struct rt_str bad[] = {RT_STR(""),
                                 RT_STR(" 1"),
                                 RT_STR("1 "),
                                 RT_STR("+1"),
                                 RT_STR("-1"),
                                 RT_STR("1.0"),
                                 RT_STR("x"),
                                 RT_STR("1\0"),
                                 RT_STR("0x1"),
                                 RT_STR_NONE,
                                 RT_STR(":"),
                                 RT_STR("/"),
                                 RT_STR("99999999999999999999999x")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(rt_str_to_u64(bad[i], &n), RT_EINVAL);
    assert_int_equal(n, 12);
}

/* By definition, exponential; for short texts only. */
static bool glob_reference(const char *p, const char *pe, const char *s, const char *se)
{
    if (p == pe)
        return s == se;
    if (*p == '*')
        return glob_reference(p + 1, pe, s, se) || (s < se && glob_reference(p, pe, s + 1, se));
    return s < se && (*p == '?' || *p == *s) && glob_reference(p + 1, pe, s + 1, se);
}

/* Writes the `n`-th text of `len` letters out of `letters`. */
static void nth_text(char *out, unsigned n, int len, const char *letters)
{
    unsigned base = (unsigned)strlen(letters);
    for (int i = 0; i < len; i++, n /= base)
        out[i] = letters[n % base];
}

static unsigned power(unsigned base, int exponent)
{
    unsigned result = 1;
    while (exponent-- > 0)
        result *= base;
    return result;
}

static void test_glob_all_short_ones(void **state)
{
    (void)state;
    unsigned long matches = 0;
    for (int plen = 0; plen <= 5; plen++) {
        for (unsigned i = 0; i < power(4, plen); i++) {
            char p[5], s[5];
            nth_text(p, i, plen, "ab*?");
            for (int slen = 0; slen <= 4; slen++) {
                for (unsigned j = 0; j < power(2, slen); j++) {
                    nth_text(s, j, slen, "ab");
                    bool wanted = glob_reference(p, p + plen, s, s + slen);
                    bool got = rt_glob_match(rt_str_of(p, plen), rt_str_of(s, slen));
                    if (wanted != got)
                        fail_msg("pattern %.*s, text %.*s", plen, p, slen, s);
                    matches += got;
                }
            }
        }
    }
    assert_true(matches > 1000);
}

static void test_glob_names(void **state)
{
    (void)state;
    assert_true(rt_glob_match(RT_STR("chat:*"), RT_STR("chat:")));
    assert_true(rt_glob_match(RT_STR("*"), RT_STR_NONE));
    assert_true(rt_glob_match(RT_STR_NONE, RT_STR_NONE));
    assert_false(rt_glob_match(RT_STR_NONE, RT_STR("a")));
    assert_true(rt_glob_match(RT_STR("*:room:*:x"), RT_STR("a:room:room:b:x")));
    assert_false(rt_glob_match(RT_STR("chat:?"), RT_STR("chat:ab")));
    assert_true(rt_glob_match(RT_STR("a*"), RT_STR("a\0b\xff")));
}

/* Takes 2^40 steps or more when every star is tried again. */
static void test_glob_worst_case_ends(void **state)
{
    (void)state;
    char pattern[81];
    for (int i = 0; i < 80; i += 2)
        memcpy(pattern + i, "*a", 2);
    pattern[80] = 'b';
    size_t len = 20000;
    char *text = rt_malloc(len);
    memset(text, 'a', len);
    assert_false(rt_glob_match(rt_str_of(pattern, 81), rt_str_of(text, len)));
    assert_true(rt_glob_match(rt_str_of(pattern, 80), rt_str_of(text, len)));
    text[len - 1] = 'b';
    assert_true(rt_glob_match(rt_str_of(pattern, 81), rt_str_of(text, len)));
    rt_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equality),    cmocka_unit_test(test_secret_equality),
        cmocka_unit_test(test_split_walks), cmocka_unit_test(test_trim),
        cmocka_unit_test(test_numbers),     cmocka_unit_test(test_glob_all_short_ones),
        cmocka_unit_test(test_glob_names),  cmocka_unit_test(test_glob_worst_case_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
