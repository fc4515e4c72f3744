#include "unit/socketio/sio_test.h"

#include "proto/socketio/condition.h"

static struct rt_arena arena;
static struct rt_buf scratch, a, b;

static const struct rt_str attachments[] = {{"12345", 5}};

#define PH "{\"_placeholder\":true,\"num\":0}"

static struct rt_sio_values values(bool binary)
{
    return (struct rt_sio_values){
        .event = RT_STR("ev"),
        .array = RT_STR("[\"ev\",{\"kind\":\"\\u0061dmin\",\"n\":1.0,\"list\":[1,{\"a\" : 2}],"
                        "\"t\":\"\\ud83d\\ude00\xf0\x9f\x98\x80\xc3\xbc\\n\",\"e\":\"\",\"z\":null,"
                        "\"no\":false,\"o\":{},\"l\":[]}, " PH ", \"room-7\"]"),
        .skip = 1,
        .attachments = binary ? attachments : NULL,
        .attachment_count = binary ? 1 : 0,
        .nsp = RT_STR("/"),
        .sid = RT_STR("SID"),
        .auth = RT_STR("{\"roles\":[\"user\",\"admin\"],\"n\":1}"),
        .scratch = &scratch,
    };
}

static void check(const char *yaml, int expected)
{
    struct rt_conf_errors errors = {0};
    struct rt_sio_compile c = {
        .errors = &errors, .arena = &arena, .has_event = true, .has_args = true};
    struct rt_node *node = sio_yaml(yaml);
    const struct rt_sio_condition *condition = rt_sio_condition_compile(&c, node);
    if (!condition)
        fail_msg("%s: %s", yaml, errors.count ? errors.items[0].text : "?");
    rt_node_free(node);
    struct rt_sio_values v = values(true);
    if (rt_sio_condition_holds(condition, &v, &a, &b) != expected)
        fail_msg("%s is not %d", yaml, expected);
}

static void test_holds(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{value: $1.kind, equals: admin}",
        "{value: $1.kind, equals: '{$auth.roles.1}'}",
        "{value: $1.n, equals: 1}",
        "{value: $1.list, equals: [1, {a: 2}]}",
        "{value: $1.z, equals: null}",
        "{value: $1.missing, equals: null}",
        "{value: $1.no, equals: false}",
        "{value: '{$sid}!', equals: 'SID!'}",
        "{value: $1.kind, in: [x, admin]}",
        "{value: $1.kind, in: $auth.roles}",
        "{value: $1.n, in: [0, 1]}",
        "{value: $1.list, in: [[1], {a: 2}, [1, {a: 2}]]}",
        "{value: $1, equals: $args.0}",
        "{value: $1.kind, is: string}",
        "{value: $1.n, is: number}",
        "{value: $1.no, is: boolean}",
        "{value: $1, is: object}",
        "{value: $1.list, is: array}",
        "{value: $1.z, is: null}",
        "{value: $2, is: binary}",
        "{value: $1.z, is: defined}",
        "{value: $1.missing, is: undefined}",
        "{value: $1.e, is: empty}",
        "{value: $1.z, is: empty}",
        "{value: $1.o, is: empty}",
        "{value: $1.l, is: empty}",
        "{value: $1.missing, is: empty}",
        "{value: $args, is: array, longer: 2}",
        "{value: $1.t, longer: 5}",
        "{value: $1.t, shorter: 7}",
        "{value: $2, longer: 4, shorter: 6}",
        "{value: $1.list, longer: 1}",
        "{value: $3, matches: 'room-*'}",
        "{value: $1.kind, matches: '?dmin'}",
        "{value: $1.n, matches: '1*'}",
        "{not: {value: $auth.token, is: defined}}",
        "{any: [{value: $3, is: number}, {value: $3, is: string}]}",
        "[{value: $3, is: string}, {not: [{value: $3, is: string}, {value: $3, equals: x}]}]",
        "[]",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(cases[i], 1);
}

static void test_does_not_hold(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{value: $1.kind, equals: Admin}",
        "{value: $1.n, equals: '1'}",
        "{value: $1.n, equals: 2}",
        "{value: $1.list, in: [[1], {a: 2}, [1, {a: 3}], 1]}",
        "{value: $1.list, equals: [1, {a: 3}]}",
        "{value: $1.e, equals: null}",
        "{value: $1.kind, in: [x, y]}",
        "{value: $1.kind, in: admin}",
        "{value: $1.kind, in: []}",
        "{value: $1.z, is: undefined}",
        "{value: $1.missing, is: 'null'}",
        "{value: $2, is: object}",
        "{value: $2, equals: {_placeholder: true, num: 0}}",
        "{value: $1, is: binary}",
        "{value: $1.n, is: empty}",
        "{value: $1.t, longer: 6}",
        "{value: $1.n, longer: 0}",
        "{value: $1, longer: 0}",
        "{value: $1.missing, shorter: 5}",
        "{value: $3, matches: 'room'}",
        "{value: $2, matches: '*'}",
        "{value: $1.missing, matches: '*'}",
        "{value: $3, is: string, equals: x}",
        "{any: [{value: $3, is: number}, {value: $3, is: null}]}",
        "{not: {value: $3, is: string}}",
        "[{value: $3, is: string}, {value: $3, is: number}]",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(cases[i], 0);
}

static void test_not_binary_without_attachments(void **state)
{
    (void)state;
    struct rt_conf_errors errors = {0};
    struct rt_sio_compile c = {.errors = &errors, .arena = &arena, .has_args = true};
    struct rt_node *node = sio_yaml("{value: $2, is: binary}");
    const struct rt_sio_condition *condition = rt_sio_condition_compile(&c, node);
    struct rt_sio_values v = values(false);
    assert_int_equal(rt_sio_condition_holds(condition, &v, &a, &b), 0);
    assert_int_equal(rt_sio_condition_holds(NULL, &v, &a, &b), 1);
    rt_node_free(node);
}

static void test_errors(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"x", "a condition is a map"},
        {"{value: $1}", "a condition is {value"},
        {"{equals: 1}", "a condition is {value"},
        {"{value: $1, is: strin}", "did you mean string?"},
        {"{value: $1, is: [string]}", "`is` is one of"},
        {"{value: $1, equal: 1}", "did you mean \"equals\"?"},
        {"{value: $1, longer: x}", "whole number"},
        {"{value: $1, shorter: -1}", "whole number"},
        {"{value: $1, matches: [a]}", "glob"},
        {"{not: {value: $1, is: string}, value: $1}", "stands alone"},
        {"{any: {value: $1, is: string}}", "list of conditions"},
        {"{any: []}", "list of conditions"},
        {"[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]", "too deeply"},
        {"{value: $zz, is: string}", "unknown variable"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_conf_errors errors = {0};
        struct rt_sio_compile c = {.errors = &errors, .arena = &arena, .has_args = true};
        struct rt_node *node = sio_yaml(cases[i][0]);
        assert_null(rt_sio_condition_compile(&c, node));
        assert_int_equal(c.depth, 0);
        char *all = sio_errors(&errors);
        if (!strstr(all, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], all);
        rt_free(all);
        rt_node_free(node);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct rt_node *node = sio_yaml("[{value: $1.kind, equals: '{$auth.roles.1}'}, {any: [{value: "
                                    "$1.list, in: [1, [1, {a: 2}]]}, {value: $3, matches: r*}]}]");
    bool failed = true;
    for (unsigned long n = 1; failed && n < 1000; n++) {
        struct rt_arena own = {0};
        struct rt_conf_errors errors = {0};
        struct rt_sio_compile c = {.errors = &errors, .arena = &own, .has_args = true};
        struct rt_sio_values v = values(true);
        rt_buf_deinit(&scratch);
        rt_buf_deinit(&a);
        rt_buf_deinit(&b);
        rt_alloc_fail_at(n, 0);
        const struct rt_sio_condition *condition = rt_sio_condition_compile(&c, node);
        int r = condition ? rt_sio_condition_holds(condition, &v, &a, &b) : RT_ENOMEM;
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(r, failed ? RT_ENOMEM : 1);
        rt_conf_errors_deinit(&errors);
        rt_arena_deinit(&own);
    }
    assert_false(failed);
    rt_node_free(node);
}

static int teardown(void **state)
{
    (void)state;
    rt_arena_deinit(&arena);
    rt_buf_deinit(&scratch);
    rt_buf_deinit(&a);
    rt_buf_deinit(&b);
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_does_not_hold),
        cmocka_unit_test(test_not_binary_without_attachments),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
