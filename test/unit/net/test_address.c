#include "net_test.h"

#include "net/address.h"

static void expect(const char *text, const char *host, unsigned port, const char *printed)
{
    struct rt_net_address a;
    struct rt_err err;
    char out[300];
    if (rt_net_address_parse(rt_str_c(text), &a, &err))
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(a.host, host);
    assert_int_equal(a.port, port);
    rt_net_address_print(&a, a.port, out, sizeof(out));
    assert_string_equal(out, printed);
}

static void test_good(void **state)
{
    (void)state;
    expect("127.0.0.1:8000", "127.0.0.1", 8000, "127.0.0.1:8000");
    expect("localhost:0", "localhost", 0, "localhost:0");
    expect("*:65535", "*", 65535, "*:65535");
    expect("[::1]:80", "::1", 80, "[::1]:80");
    expect("[::]:8", "::", 8, "[::]:8");
    expect("unix:/run/x.sock", "/run/x.sock", 0, "unix:/run/x.sock");
    expect("unix:relative:name", "relative:name", 0, "unix:relative:name");
}

static void refuse(struct rt_str text, const char *why)
{
    struct rt_net_address a = {.port = 4711};
    struct rt_err err = {.code = 0};
    assert_int_equal(rt_net_address_parse(text, &a, &err), RT_EINVAL);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    assert_non_null(strstr(err.text, "HOST:PORT")); /* what is expected */
    assert_int_equal(a.port, 4711);                 /* untouched */
    assert_int_equal(rt_net_address_parse(text, &a, NULL), RT_EINVAL);
}

static void test_bad(void **state)
{
    (void)state;
    char path[200];
    memset(path, 'a', sizeof(path));
    memcpy(path, "unix:", 5);
    refuse(RT_STR(""), "no port");
    refuse(RT_STR("localhost"), "no port");
    refuse(RT_STR("localhost:"), "port is not a number");
    refuse(RT_STR("localhost:http"), "port is not a number");
    refuse(RT_STR("localhost:65536"), "port is not a number");
    refuse(RT_STR("localhost:-1"), "port is not a number");
    refuse(RT_STR(":8000"), "host is empty");
    refuse(RT_STR("[]:8000"), "host is empty");
    refuse(RT_STR("::1:8000"), "brackets");
    refuse(RT_STR("a\0b:8000"), "NUL");
    refuse(RT_STR("unix:"), "path is empty");
    refuse(RT_STR("unix:/a\0b"), "NUL");
    refuse(rt_str_of(path, 5 + 108), "longer than 107");
    refuse(RT_STR_NONE, "no port");
    struct rt_net_address a;
    assert_int_equal(rt_net_address_parse(rt_str_of(path, 5 + 107), &a, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
