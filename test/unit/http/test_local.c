/* What is on this machine: peers, and the Host that a browser on it sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/local.h"

static void test_loopback(void **state)
{
    static const char *const yes[] = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "unix:"};
    static const char *const no[] = {"10.0.0.1", "::2",       "::ffff:10.0.0.1", "0.0.0.0",
                                     "",         "localhost", "128.0.0.1"};
    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_true(rt_http_is_loopback(rt_str_c(yes[i])));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_false(rt_http_is_loopback(rt_str_c(no[i])));
}

static void test_hosts(void **state)
{
    static const char *const patterns[] = {"metrics.example.com", "*.internal.example"};
    static const char *const yes[] = {"",
                                      "localhost",
                                      "localhost:8000",
                                      "LOCALHOST",
                                      "127.0.0.1:80",
                                      "192.0.2.7",
                                      "[::1]:8000",
                                      "[2001:db8::1]",
                                      "a.localhost:1",
                                      "rtbroker:9000",
                                      "metrics.example.com:9000",
                                      "n1.internal.example"};
    static const char *const no[] = {
        "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
        "1.2.3.4.5",    "evil.localhost.",   "xmetrics.example.com"};
    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_true(rt_http_is_local_host(rt_str_c(yes[i]), patterns, 2));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_false(rt_http_is_local_host(rt_str_c(no[i]), patterns, 2));
    assert_false(rt_http_is_local_host(RT_STR("metrics.example.com"), NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
