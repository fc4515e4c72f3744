/* Query parameters and what proxies say about the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/forwarded.h"

static void reads_parameters(void **state)
{
    static const struct {
        const char *query, *name, *value; /* NULL: absent */
    } cases[] = {
        {"a=1&b=2", "a", "1"},
        {"a=1&b=2", "b", "2"},
        {"a=1&b=2", "c", NULL},
        {"a=1&a=2", "a", "2"},
        {"a", "a", ""},
        {"a=", "a", ""},
        {"a=1&a", "a", ""},
        {"", "a", NULL},
        {"&&a=1&&", "a", "1"},
        {"a=b=c", "a", "b=c"},
        {"a=x+y%20z%21", "a", "x y z!"},
        {"%61b=1", "ab", "1"},
        {"a+b=1", "a b", "1"},
        {"=1", "", "1"},
        {"a=%zz%", "a", "%zz%"},
        {"a=%ff", "a", "\xef\xbf\xbd"},
        {"EIO=4&sid=x&transport=polling", "transport", "polling"},
        {"aa=1&a=2", "a", "2"},
        {"A=1", "a", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_buf out = RT_BUF_INIT;
        bool found = rt_http_query(rt_str_c(cases[i].query), cases[i].name, &out);
        assert_int_equal(found, cases[i].value != NULL);
        if (found)
            assert_string_equal(rt_buf_cstr(&out), cases[i].value);
        rt_buf_deinit(&out);
    }
    struct rt_buf out = RT_BUF_INIT;
    assert_false(rt_http_query(RT_STR_NONE, "a", &out));
    rt_buf_deinit(&out);
}

static void walks_parameters(void **state)
{
    struct rt_str rest = RT_STR("a=1&&b&=3&c="), name, value;
    char text[64] = "";
    (void)state;
    while (rt_http_query_next(&rest, &name, &value)) {
        assert_non_null(value.ptr);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "(%.*s,%.*s)", RT_STR_ARG(name),
                 RT_STR_ARG(value));
    }
    assert_string_equal(text, "(a,1)(b,)(,3)(c,)");
}

static struct rt_trusted *trust(const char *const *items, size_t count)
{
    struct rt_trusted *t = NULL;
    assert_int_equal(rt_trusted_new(items, count, &t, NULL), 0);
    return t;
}

static void matches_blocks(void **state)
{
    static const char *const items[] = {"127.0.0.1", "10.0.0.0/8", " 192.168.4.0/22 ",
                                        "::1",       "fd00::/8",   "2001:db8::/33"};
    static const char *const in[] = {"127.0.0.1", "10.255.0.1",       "192.168.7.255",  "::1",
                                     "fdff::1",   "2001:db8:7fff::1", "::ffff:10.1.1.1"};
    static const char *const out[] = {
        "127.0.0.2", "11.0.0.1", "192.168.8.0", "::2",       "fe00::1",
        "unix:",     "",         "10.0.0",      "10.0.0.1x", "2001:db8:8000::1"};
    struct rt_trusted *t = trust(items, 6);
    (void)state;
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        if (!rt_trusted_has(t, rt_str_c(in[i])))
            fail_msg("%s is not trusted", in[i]);
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
        if (rt_trusted_has(t, rt_str_c(out[i])))
            fail_msg("%s is trusted", out[i]);
    rt_trusted_free(t);
    static const char *const all[] = {"0.0.0.0/0", "unix:"};
    t = trust(all, 2);
    assert_true(rt_trusted_has(t, RT_STR("8.8.8.8")));
    assert_false(rt_trusted_has(t, RT_STR("2001::1")));
    assert_true(rt_trusted_has(t, RT_STR("unix:")));
    rt_trusted_free(t);
    t = trust(NULL, 0);
    assert_false(rt_trusted_has(t, RT_STR("127.0.0.1")));
    rt_trusted_free(t);
}

static void refuses_blocks(void **state)
{
    static const char *const bad[] = {"",           "localhost", "10.0.0.0/33", "10.0.0.0/",
                                      "10.0.0.0/x", "::1/129",   "10.0.0",      "10.0.0.0/-1",
                                      "/8",         "unix:/x"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rt_trusted *t = NULL;
        struct rt_err err;
        char quoted[32];
        snprintf(quoted, sizeof(quoted), "\"%s\"", bad[i]);
        assert_int_equal(rt_trusted_new(&bad[i], 1, &t, &err), RT_EINVAL);
        assert_null(t);
        assert_non_null(strstr(err.text, quoted));
    }
}

struct headers {
    struct rt_http_header items[4];
    size_t count;
};

/* Resolves for a peer and up to four headers: "for", value, "proto", value... */
static struct rt_forwarded resolve(const struct rt_trusted *t, const char *peer,
                                   const char *const *pairs)
{
    struct headers h = {.count = 0};
    struct rt_forwarded f;
    for (; *pairs != NULL; pairs += 2) {
        bool is_for = strcmp(pairs[0], "for") == 0;
        h.items[h.count].name = is_for ? RT_STR("x-forwarded-for") : RT_STR("x-forwarded-proto");
        h.items[h.count++].value = rt_str_c(pairs[1]);
    }
    struct rt_http_request req = {.headers = h.items, .header_count = h.count};
    rt_forwarded_resolve(t, peer, &req, &f);
    return f;
}

static void finds_the_client(void **state)
{
    static const char *const items[] = {"10.0.0.0/8", "fd00::/8", "unix:"};
    static const struct {
        const char *peer;
        const char *pairs[9];
        const char *remote;
        bool secure;
    } cases[] = {
        {"192.0.2.1", {"for", "1.1.1.1", "proto", "https", NULL}, "192.0.2.1", false},
        {"10.0.0.1", {NULL}, "10.0.0.1", false},
        {"10.0.0.1", {"for", "1.1.1.1", "proto", "https", NULL}, "1.1.1.1", true},
        {"unix:", {"for", "1.1.1.1", "proto", "http", NULL}, "1.1.1.1", false},
        {"unix:", {NULL}, "unix:", false},
        /* what the client itself sent stands on the left */
        {"10.0.0.1", {"for", "6.6.6.6, 1.1.1.1", "proto", "https, http", NULL}, "1.1.1.1", false},
        {"10.0.0.1", {"for", "6.6.6.6, 1.1.1.1,10.0.0.2 , fd00::3", NULL}, "1.1.1.1", false},
        {"10.0.0.1", {"for", "6.6.6.6", "for", "1.1.1.1, 10.0.0.2", NULL}, "1.1.1.1", false},
        {"10.0.0.1", {"for", "1.1.1.1", "for", "10.0.0.2", NULL}, "1.1.1.1", false},
        {"10.0.0.1", {"for", "10.0.0.3, 10.0.0.2", NULL}, "10.0.0.3", false},
        /* what is no address ends the walk */
        {"10.0.0.1", {"for", "1.1.1.1, unknown, 10.0.0.2", NULL}, "10.0.0.2", false},
        {"10.0.0.1", {"for", "", NULL}, "10.0.0.1", false},
        {"10.0.0.1", {"for", "1.1.1.1,", NULL}, "10.0.0.1", false},
        /* forms */
        {"10.0.0.1", {"for", "1.1.1.1:99", NULL}, "1.1.1.1", false},
        {"10.0.0.1", {"for", "[2001:DB8::1]:99", NULL}, "2001:db8::1", false},
        {"10.0.0.1", {"for", "[2001:db8::1]", NULL}, "2001:db8::1", false},
        {"10.0.0.1", {"for", "2001:db8:0:0::1", NULL}, "2001:db8::1", false},
        {"10.0.0.1", {"for", "::ffff:1.1.1.1", NULL}, "1.1.1.1", false},
        {"::ffff:10.0.0.1", {"proto", "HTTPS", NULL}, "10.0.0.1", true},
        {"10.0.0.1", {"proto", "wss", NULL}, "10.0.0.1", true}, /* Traefik's, for WebSockets */
        {"10.0.0.1", {"proto", "ws", NULL}, "10.0.0.1", false},
    };
    struct rt_trusted *t = trust(items, 3);
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_forwarded f = resolve(t, cases[i].peer, cases[i].pairs);
        if (strcmp(f.remote, cases[i].remote) != 0 || f.secure != cases[i].secure)
            fail_msg("case %zu: %s %d", i, f.remote, f.secure);
    }
    rt_trusted_free(t);
}

#ifdef RT_TEST
static void out_of_memory(void **state)
{
    static const char *const items[] = {"10.0.0.0/8"};
    (void)state;
    for (unsigned long n = 1; n <= 3; n++) {
        struct rt_trusted *t = NULL;
        struct rt_err err;
        long live = rt_alloc_live();
        rt_alloc_fail_at(n, 0);
        int rc = rt_trusted_new(items, 1, &t, &err);
        assert_int_equal(rc, rt_alloc_failed() ? RT_ENOMEM : 0);
        rt_alloc_fail_at(0, 0);
        rt_trusted_free(t);
        assert_int_equal(rt_alloc_live(), live);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_parameters), cmocka_unit_test(walks_parameters),
        cmocka_unit_test(matches_blocks),   cmocka_unit_test(refuses_blocks),
        cmocka_unit_test(finds_the_client),
#ifdef RT_TEST
        cmocka_unit_test(out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
