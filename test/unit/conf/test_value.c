/* Durations, sizes, addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "conf/address.h"
#include "conf/value.h"

struct sample {
    const char *text;
    uint64_t value;
    const char *written; /* NULL: as `text` */
};

static void check_quantity(const struct sample *s, int (*parse)(struct rt_str, uint64_t *),
                           void (*write)(uint64_t, struct rt_buf *))
{
    uint64_t value = 1;
    struct rt_buf out = RT_BUF_INIT;
    assert_int_equal(parse(rt_str_c(s->text), &value), 0);
    assert_int_equal(value, s->value);
    write(value, &out);
    assert_string_equal(rt_buf_cstr(&out), s->written != NULL ? s->written : s->text);
    assert_int_equal(parse(rt_buf_str(&out), &value), 0);
    assert_int_equal(value, s->value);
    rt_buf_deinit(&out);
}

static void test_rates(void **state)
{
    (void)state;
    static const struct sample good[] = {
        {"0", 0, NULL},
        {"0/s", 0, "0"},
        {"10/s", 36000, NULL},
        {"600/m", 36000, "10/s"},
        {"7/m", 420, NULL},
        {"5/h", 5, NULL},
        {"1000000/s", UINT64_C(3600000000), NULL},
    };
    static const char *const bad[] = {"",     "10",    "/s",   "10/", "10 /s",
                                      "-1/s", "1.5/s", "10/d", NULL};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        check_quantity(&good[i], rt_rate_parse, rt_rate_write);
    for (const char *const *text = bad; *text != NULL; text++) {
        uint64_t value = 77;
        assert_int_equal(rt_rate_parse(rt_str_c(*text), &value), RT_EINVAL);
        assert_int_equal(value, 77);
    }
    uint64_t value;
    assert_int_equal(rt_rate_parse(RT_STR("18446744073709551615/s"), &value), RT_ERANGE);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct sample good[] = {
        {"0", 0, NULL},
        {"0s", 0, "0"},
        {"250ms", 250, NULL},
        {"5s", 5000, NULL},
        {"1500ms", 1500, NULL},
        {"60s", 60000, "1m"},
        {"90s", 90000, NULL},
        {"10m", 600000, NULL},
        {"1h", 3600000, NULL},
        {"24h", 86400000, "1d"},
        {"30d", UINT64_C(2592000000), NULL},
        {"18446744073709551615ms", UINT64_MAX, NULL},
    };
    static const char *const bad[] = {"",     "5",     "s",    "5 s", "-5s", "1.5s", "5S",
                                      "5sec", "1h30m", "0x5s", "5s ", "ms",  NULL};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        check_quantity(&good[i], rt_duration_parse, rt_duration_write);
    for (const char *const *text = bad; *text != NULL; text++) {
        uint64_t value = 77;
        assert_int_equal(rt_duration_parse(rt_str_c(*text), &value), RT_EINVAL);
        assert_int_equal(value, 77);
    }
    uint64_t value;
    assert_int_equal(rt_duration_parse(RT_STR("18446744073709551615d"), &value), RT_ERANGE);
    assert_int_equal(rt_duration_parse(RT_STR("18446744073709551616ms"), &value), RT_ERANGE);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct sample good[] = {
        {"0", 0, NULL},
        {"512", 512, "512B"},
        {"512B", 512, NULL},
        {"1KB", 1000, NULL},
        {"64KiB", 65536, NULL},
        {"64kib", 65536, "64KiB"},
        {"1MB", 1000000, NULL},
        {"1mb", 1000000, "1MB"},
        {"1MiB", 1048576, NULL},
        {"2GiB", UINT64_C(2147483648), NULL},
        {"3GB", UINT64_C(3000000000), NULL},
        {"1TB", UINT64_C(1000000000000), NULL},
        {"16TiB", UINT64_C(17592186044416), NULL},
        {"1025", 1025, "1025B"},
        {"18446744073709551615", UINT64_MAX, "18446744073709551615B"},
    };
    static const char *const bad[] = {"",   "KiB", "1 MiB", "-1",  "1.5MiB",
                                      "1K", "1M",  "1KiBB", "1b2", NULL};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        check_quantity(&good[i], rt_size_parse, rt_size_write);
    for (const char *const *text = bad; *text != NULL; text++) {
        uint64_t value = 77;
        assert_int_equal(rt_size_parse(rt_str_c(*text), &value), RT_EINVAL);
        assert_int_equal(value, 77);
    }
    uint64_t value;
    assert_int_equal(rt_size_parse(RT_STR("16777216TiB"), &value), RT_ERANGE);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        unsigned port;
        bool local, loopback;
    } good[] = {
        {"127.0.0.1:8000", "127.0.0.1", 8000, false, true},
        {"127.9.9.9:1", "127.9.9.9", 1, false, true},
        {"[::1]:8000", "::1", 8000, false, true},
        {"localhost:0", "localhost", 0, false, true},
        {"LocalHost:65535", "LocalHost", 65535, false, true},
        {"unix:/run/x.sock", "/run/x.sock", 0, true, true},
        {"0.0.0.0:80", "0.0.0.0", 80, false, false},
        {"*:80", "*", 80, false, false},
        {"[::]:80", "::", 80, false, false},
        {"[fe80::1]:80", "fe80::1", 80, false, false},
        /* Reached through IPv4, but not a loopback address of IPv6: said to be public rather than missed. */
        {"[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, false, false},
        {"10.1.2.3:80", "10.1.2.3", 80, false, false},
        {"broker.example.com:80", "broker.example.com", 80, false, false},
        {"127.0.0.1.example.com:80", "127.0.0.1.example.com", 80, false, false},
        {"localhost.example.com:80", "localhost.example.com", 80, false, false},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct rt_address a;
        assert_int_equal(rt_address_parse(rt_str_c(good[i].text), &a, NULL), 0);
        assert_true(rt_str_eq(a.host, rt_str_c(good[i].host)));
        assert_int_equal(a.port, good[i].port);
        assert_int_equal(a.local, good[i].local);
        assert_int_equal(a.loopback, good[i].loopback);
    }
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const char port[] = "the port is not a number from 0 to 65535";
    static const char missing[] = "the port is missing: 127.0.0.1:8000";
    static const char host[] = "no host stands before the port; * means all addresses";
    static const struct {
        const char *text;
        const char *why;
    } bad[] = {
        {"", missing},
        {"8000", missing},
        {"localhost", missing},
        {"localhost:", port},
        {"localhost:x", port},
        {"localhost:-1", port},
        {"localhost:65536", port},
        {":8000", host},
        {"a b:8000", host},
        {"http//x:80", host},
        {"http://x:80", "an IPv6 address stands in brackets: [::1]:8000"},
        {"::1:8000", "an IPv6 address stands in brackets: [::1]:8000"},
        {"[::1]", "the port is missing: [::1]:8000"},
        {"[::1]8000", "the port is missing: [::1]:8000"},
        {"[::1:8000", "the closing ] is missing: [::1]:8000"},
        {"[]:80", "no IPv6 address stands between the brackets"},
        {"[127.0.0.1]:80", "no IPv6 address stands between the brackets"},
        {"[", "the closing ] is missing: [::1]:8000"},
        {"unix:", "unix: takes an absolute path"},
        {"unix:x", "unix: takes an absolute path"},
        {"unix:/"
         "0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456",
         "the path of a UNIX socket has at most 107 bytes"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rt_address a = {.port = 7};
        struct rt_err err;
        assert_int_equal(rt_address_parse(rt_str_c(bad[i].text), &a, &err), RT_EINVAL);
        assert_string_equal(err.text, bad[i].why);
        assert_int_equal(a.port, 7);
    }
}

static void test_proxies_and_origins(void **state)
{
    (void)state;
    static const char *const proxies[] = {"127.0.0.1", "::1",      "unix:",   "10.0.0.0/8",
                                          "0.0.0.0/0", "fd00::/8", "::1/128", NULL};
    static const char *const no_proxies[] = {"",          "x",          "10.0.0.0/33", "::/129",
                                             "10.0.0.0/", "10.0.0.0/x", "10.0.0",      "unix:/x",
                                             "*",         NULL};
    static const char *const origins[] = {"*",
                                          "null",
                                          "https://example.com",
                                          "https://*.example.com",
                                          "http://localhost:3000",
                                          "http://[::1]:3000",
                                          "*://example.com:*",
                                          "capacitor://localhost",
                                          NULL};
    static const char *const no_origins[] = {"",           "example.com", "https://",
                                             "https://a/", "https://a/b", "https:a",
                                             "//a",        "https://a b", NULL};
    for (const char *const *text = proxies; *text != NULL; text++)
        assert_true(rt_address_is_proxy(rt_str_c(*text)));
    for (const char *const *text = no_proxies; *text != NULL; text++)
        assert_false(rt_address_is_proxy(rt_str_c(*text)));
    for (const char *const *text = origins; *text != NULL; text++)
        assert_true(rt_address_is_origin(rt_str_c(*text)));
    for (const char *const *text = no_origins; *text != NULL; text++)
        assert_false(rt_address_is_origin(rt_str_c(*text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),         cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_addresses), cmocka_unit_test(test_proxies_and_origins),
    };
    return cmocka_run_group_tests_name("conf/value", tests, NULL, NULL);
}
