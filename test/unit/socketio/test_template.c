#include "unit/socketio/sio_test.h"

#include "json/scan.h"
#include "proto/socketio/template.h"

static struct rt_arena arena;
static struct rt_buf scratch, operand_buf;

static void list_rooms(void *arg, struct rt_buf *out)
{
    (void)arg;
    rt_buf_add_c(out, "[\"SID\",\"lobby\"]");
}

#define TEXT(literal)                  \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }

static const struct rt_eio_handshake handshake = {
    .url = TEXT("/socket.io/?EIO=4&a&b=x%20y&a=2&c+d=%C3%BC"),
    .query = TEXT("EIO=4&a&b=x%20y&a=2&c+d=%C3%BC"),
    .headers = TEXT("host: h:1\r\ncookie: a=1\r\ncookie: b=2\r\nx-me: \"q\"\r\n"),
    .address = TEXT("10.0.0.1"),
    .secure = true,
    .issued = 1764000000123u,
};

static struct rt_sio_values values(const char *array)
{
    return (struct rt_sio_values){
        .event = RT_STR("ev"),
        .array = rt_str_c(array),
        .skip = 1,
        .nsp = RT_STR("/n"),
        .sid = RT_STR("SID"),
        .auth = RT_STR("{\"token\":\"t\",\"n\":1.50,\"list\":[1,{\"x\":null}],\"s\":\"a\\\"b\"}"),
        .handshake = &handshake,
        .rooms = list_rooms,
        .scratch = &scratch,
    };
}

static const struct rt_sio_template *compile(const char *yaml, bool text, struct rt_node **ret_node)
{
    struct rt_conf_errors errors = {0};
    struct rt_sio_compile c = {
        .errors = &errors, .arena = &arena, .has_event = true, .has_args = true};
    *ret_node = sio_yaml(yaml);
    const struct rt_sio_template *t =
        text ? rt_sio_text_compile(&c, *ret_node) : rt_sio_value_compile(&c, *ret_node);
    if (!t)
        fail_msg("%s: %s", yaml, errors.count ? errors.items[0].text : "?");
    assert_int_equal(errors.count, 0);
    rt_conf_errors_deinit(&errors);
    return t;
}

static void check(const char *yaml, bool text, struct rt_sio_values v, const char *expected)
{
    struct rt_node *node;
    struct rt_buf out = RT_BUF_INIT;
    const struct rt_sio_template *t = compile(yaml, text, &node);
    rt_node_free(node); /* templates keep nothing of it */
    rt_buf_add_c(&out, ">");
    rt_sio_template_eval(t, &v, NULL, &out);
    assert_true(rt_buf_ok(&out));
    struct rt_str got = rt_str_of(out.data + 1, out.len - 1);
    if (!rt_str_eq(got, rt_str_c(expected)))
        fail_msg("%s: %.*s instead of %s", yaml, RT_STR_ARG(got), expected);
    if (!text)
        assert_int_equal(rt_json_check(got, RT_JSON_PAYLOAD, NULL, NULL), 0);
    rt_buf_deinit(&out);
}

#define ARRAY                                                                                   \
    "[\"ev\", {\"message\":\"h\\u0069 \\\"x\\\"\",\"deep\":{\"list\":[10,20]}}, 1e2, \"two\", " \
    "[1, 2], null, false, \"\\ud83d\\ude00\"]"

static void test_values(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"text", "\"text\""},
        {"\"quo\\\"te\"", "\"quo\\\"te\""},
        {"5", "5"},
        {"-0.5e3", "-0.5e3"},
        {"'5'", "\"5\""},
        {"true", "true"},
        {"'true'", "\"true\""},
        {"yes", "\"yes\""},
        {"0x10", "\"0x10\""},
        {"null", "null"},
        {"~", "null"},
        {"''", "\"\""},
        {"[1, a, [b], {c: d}]", "[1,\"a\",[\"b\"],{\"c\":\"d\"}]"},
        {"{}", "{}"},
        {"[]", "[]"},
        {"$1", "{\"message\":\"h\\u0069 \\\"x\\\"\",\"deep\":{\"list\":[10,20]}}"},
        {"$1.message", "\"h\\u0069 \\\"x\\\"\""},
        {"$1.deep.list.1", "20"},
        {"$1.nothing", "null"},
        {"$1.deep.list.9", "null"},
        {"$2", "1e2"},
        {"$4", "[1,2]"},
        {"$5", "null"},
        {"$9", "null"},
        {"$args.3.0", "1"},
        {"$args.x", "null"},
        {"$event", "\"ev\""},
        {"$namespace", "\"/n\""},
        {"$sid", "\"SID\""},
        {"$user", "\"\""},
        {"$auth.token", "\"t\""},
        {"$auth.n", "1.50"},
        {"$auth.list", "[1,{\"x\":null}]"},
        {"$auth.none", "null"},
        {"$query.a", "\"2\""},
        {"$query.b", "\"x y\""},
        {"$query.c d", "\"\xc3\xbc\""},
        {"$query.zz", "null"},
        {"$query", "{\"EIO\":\"4\",\"b\":\"x y\",\"a\":\"2\",\"c d\":\"\xc3\xbc\"}"},
        {"$headers.Cookie", "\"a=1; b=2\""},
        {"$headers.x-me", "\"\\\"q\\\"\""},
        {"$headers.none", "null"},
        {"$headers", "{\"host\":\"h:1\",\"cookie\":\"a=1; b=2\",\"x-me\":\"\\\"q\\\"\"}"},
        {"$address", "\"10.0.0.1\""},
        {"$rooms", "[\"SID\",\"lobby\"]"},
        {"$rooms.1", "\"lobby\""},
        {"$rooms.5", "null"},
        {"$handshake.query.b", "\"x y\""},
        {"$handshake.secure", "true"},
        {"$handshake.xdomain", "false"},
        {"$handshake.auth.token", "\"t\""},
        {"$handshake.issued", "1764000000123"},
        {"$handshake.time", "\"Mon Nov 24 2025 16:00:00 GMT+0000 (Coordinated Universal Time)\""},
        {"$handshake.url", "\"/socket.io/?EIO=4&a&b=x%20y&a=2&c+d=%C3%BC\""},
        {"$epoch", "null"},
        {"$offset", "null"},
        {"$$1", "\"$1\""},
        {"$$$", "\"$$\""},
        {"'a {$1.message} b'", "\"a hi \\\"x\\\" b\""},
        {"'{$1.deep}|{$2}|{$5}|{$9}|{$7}'",
         "\"{\\\"list\\\":[10,20]}|1e2|null||\xf0\x9f\x98\x80\""},
        {"'{{$1} {x} }'", "\"{$1} {x} }\""},
        {"'$$ {$3}'", "\"$ two\""},
        {"'US$50, US$$5, $$2 and $username, $ {$3}'", "\"US$50, US$5, $2 and $username, $ two\""},
        {"'a$$1$$user.x'", "\"a$1$user.x\""},
        {"'$$1:$$2'", "\"$1:$2\""},
        {"'^a$'", "\"^a$\""},
        {"'{$rooms} {$rooms.0}'", "\"[\\\"SID\\\",\\\"lobby\\\"] SID\""},
        {"{$json: {message: $1.message}}",
         "\"{\\\"message\\\":\\\"h\\\\u0069 \\\\\\\"x\\\\\\\"\\\"}\""},
        {"{$json: {$json: [1, $3]}}", "\"\\\"[1,\\\\\\\"two\\\\\\\"]\\\"\""},
        {"{$json: $9}", "\"null\""},
        {"{$parse: '[1, {\"a\": 2}]'}", "[1,{\"a\":2}]"},
        {"{$parse: {$json: $1.deep}}", "{\"list\":[10,20]}"},
        {"{$parse: '{$4}'}", "[1,2]"},
        {"{$parse: 'no json'}", "null"},
        {"{$parse: ''}", "null"},
        {"{$parse: $2}", "null"},
        {"{$default: [$9, $5, x]}", "\"x\""},
        {"{$default: [$3, x]}", "\"two\""},
        {"{$default: [$9, $8]}", "null"},
        {"{$default: [{$default: [$9, $1.none]}, {a: $2}]}", "{\"a\":1e2}"},
        {"{$default: [{$default: [$9, $2]}, 3]}", "1e2"},
        {"[{$default: [$9, 1]}, {$default: [2, $9]}]", "[1,2]"},
        {"{a: {$json: {b: '{$3}'}}, $$c: $2}", "{\"a\":\"{\\\"b\\\":\\\"two\\\"}\",\"$c\":1e2}"},
        {"{$binary: AAEC}", "null"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(cases[i][0], false, values(ARRAY), cases[i][1]);
    check("$args", false, values("[\"ev\", 1,[ 2 ] ]"), "[1,[2]]");
    check("$args", false, values("[\"ev\"]"), "[]");
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"lobby", "lobby"},
        {"5", "5"},
        {"true", "true"},
        {"$1.message", "hi \"x\""},
        {"$2", "1e2"},
        {"$4", "[1,2]"},
        {"$9", ""},
        {"$5", "null"},
        {"$7", "\xf0\x9f\x98\x80"},
        {"$sid", "SID"},
        {"room-{$3}-{$query.a}", "room-two-2"},
        {"'{{a'", "{a"},
        {"$$x", "$x"},
        {"{$default: [$9, lobby]}", "lobby"},
        {"{$default: [$1.message, lobby]}", "hi \"x\""},
        {"{$json: {a: 1}}", "{\"a\":1}"},
        {"[1, a]", "[1,\"a\"]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(cases[i][0], true, values(ARRAY), cases[i][1]);
}

static void test_nothing_known(void **state)
{
    (void)state;
    struct rt_sio_values v = {.scratch = &scratch};
    check("[$1, $args, $args.0, $auth, $query, $query.x, $headers, $headers.x, $address, $rooms]",
          false, v, "[null,[],null,{},{},null,{},null,\"\",[]]");
    check("$handshake.headers", false, v, "{}");
    check("{a: $handshake.query, b: $handshake.auth}", false, v, "{\"a\":{},\"b\":{}}");
}

static void test_time_and_ids(void **state)
{
    (void)state;
    struct rt_node *node;
    struct rt_buf out = RT_BUF_INIT;
    struct rt_sio_values v = values(ARRAY);
    const struct rt_sio_template *t = compile("[$now, $now_ms, $uuid, $uuid, $now]", false, &node);
    rt_sio_template_eval(t, &v, NULL, &out);
    struct rt_str all = rt_buf_str(&out);
    assert_int_equal(rt_json_check(all, RT_JSON_PAYLOAD, NULL, NULL), 0);
    assert_int_equal(rt_json_at(all, 0).len, 26);
    assert_true(rt_str_eq(rt_json_at(all, 0), rt_json_at(all, 4)));
    assert_int_equal(rt_json_kind(rt_json_at(all, 1)), RT_JSON_NUMBER);
    assert_int_equal(rt_json_at(all, 2).len, 38);
    assert_true(rt_str_eq(rt_json_at(all, 2), rt_json_at(all, 3)));
    rt_buf_deinit(&out);
    rt_node_free(node);
    v.has_position = true;
    v.position = (struct rt_position){.epoch = "E1", .offset = 77};
    check("{e: $epoch, o: $offset}", false, v, "{\"e\":\"E1\",\"o\":77}");
}

static void test_query_bounds(void **state)
{
    (void)state;
    struct rt_buf query = RT_BUF_INIT;
    for (int i = 0; i < 1000; i++)
        rt_buf_printf(&query, "%sk%d=%d", i ? "&" : "", i % 300, i);
    struct rt_eio_handshake h = {.query = rt_buf_str(&query)};
    struct rt_sio_values v = {.scratch = &scratch, .handshake = &h};
    struct rt_node *node;
    struct rt_buf out = RT_BUF_INIT;
    rt_sio_template_eval(compile("$query", false, &node), &v, NULL, &out);
    assert_int_equal(rt_json_count(rt_buf_str(&out)), 256);
    rt_node_free(node);
    rt_buf_clear(&out);
    rt_sio_template_eval(compile("$query.k7", true, &node), &v, NULL, &out);
    assert_str(rt_buf_str(&out), "907");
    rt_node_free(node);
    rt_buf_deinit(&out);
    rt_buf_deinit(&query);
}

#define PH(n) "{\"_placeholder\":true,\"num\":" #n "}"

/* Evaluates with attachments collected. */
static void check_binary(const char *yaml, struct rt_sio_values v, bool binary,
                         const char *expected, const char *expected_attachments)
{
    struct rt_node *node;
    struct rt_buf out = RT_BUF_INIT, list = RT_BUF_INIT;
    struct rt_sio_output o;
    const struct rt_sio_template *t = compile(yaml, false, &node);
    rt_sio_output_init(&o, binary || v.attachment_count > 0 || rt_sio_template_binary(t));
    rt_sio_template_eval(t, &v, &o, &out);
    assert_true(rt_buf_ok(&out));
    assert_str(rt_buf_str(&out), expected);
    for (uint8_t i = 0; i < o.count; i++) {
        rt_buf_add_str(&list, o.list[i]);
        rt_buf_add_byte(&list, ' ');
    }
    assert_str(rt_buf_str(&list), expected_attachments);
    rt_buf_deinit(&out);
    rt_buf_deinit(&list);
    rt_node_free(node);
}

static void test_binary(void **state)
{
    (void)state;
    static const struct rt_str list[] = {{"zero", 4}, {"one", 3}, {"two", 3}};
    struct rt_sio_values v = values("[\"ev\", " PH(2) ", {\"a\": " PH(0) ", \"b\":" PH(2) "}, 7]");
    v.attachments = list;
    v.attachment_count = 3;
    check_binary("$1", v, false, PH(0), "two ");
    check_binary("$2", v, false, "{\"a\":" PH(0) ",\"b\":" PH(1) "}", "zero two ");
    check_binary("$args", v, false, "[" PH(0) ",{\"a\":" PH(1) ",\"b\":" PH(0) "},7]", "two zero ");
    check_binary("[$3, {$binary: YWJj}, $1, $1]", v, false, "[7," PH(0) "," PH(1) "," PH(1) "]",
                 "abc two ");
}

static void test_binary_constant(void **state)
{
    (void)state;
    struct rt_sio_values v = values("[\"ev\", " PH(0) "]");
    /* What looks like a placeholder in an event without attachments must not become one. */
    v.auth = RT_STR("{\"x\":" PH(5) "}");
    check_binary("[$1, {$binary: YWJj}, $auth, $args, $handshake.auth]", v, false,
                 "[null," PH(0) ",{\"x\":null},[null],{\"x\":null}]", "abc ");
    check_binary("{$parse: '" PH(0) "'}", values("[\"ev\"]"), true, "null", "");
    check_binary("[$1]", v, false, "[" PH(0) "]", "");
}

static void test_binary_in_text(void **state)
{
    (void)state;
    static const struct rt_str list[] = {{"zero", 4}};
    struct rt_sio_values v = values("[\"ev\", " PH(0) ", {\"a\":" PH(0) "}]");
    v.attachments = list;
    v.attachment_count = 1;
    check_binary("['{$1} {$2}', {$json: $2}, $1]", v, false,
                 "[\"null {\\\"a\\\":null}\",\"{\\\"a\\\":null}\"," PH(0) "]", "zero ");
    check_binary("{$default: [$1, 2]}", v, false, PH(0), "zero ");
}

static void check_error(const char *yaml, bool text, const char *part)
{
    struct rt_conf_errors errors = {0};
    struct rt_sio_compile c = {.errors = &errors, .arena = &arena, .connecting = true};
    struct rt_node *node = sio_yaml(yaml);
    const struct rt_sio_template *t =
        text ? rt_sio_text_compile(&c, node) : rt_sio_value_compile(&c, node);
    assert_null(t);
    assert_false(c.nomem);
    assert_true(errors.count > 0);
    char *all = sio_errors(&errors);
    if (!strstr(all, part) || strncmp(all, "test.yaml:1:", 12) != 0)
        fail_msg("%s: %s", yaml, all);
    rt_free(all);
    rt_node_free(node);
}

static void test_errors(void **state)
{
    (void)state;
    check_error("$querry.x", false, "did you mean \"$query\"?");
    check_error("$zzz", false, "unknown variable \"$zzz\"");
    check_error("'$auth and more'", false, "{$name}");
    check_error("'x {$evnt} y'", false, "did you mean \"$event\"?");
    check_error("'x {$now y'", false, "without the \"}\"");
    check_error("'x:$1'", true, "write {$1} for its value, or $$1 for these characters");
    check_error("'x:$auth.user.id/y'", false, "write {$auth.user.id} for its value");
    check_error("'{$now}$now_ms'", true, "write {$now_ms}");
    check_error("[{a: '-$event'}]", false, "write {$event}");
    check_error("$sid.x", false, "\"$sid\" is no object");
    check_error("$1", false, "no meaning in on_connect");
    check_error("$event", false, "no meaning in on_connect");
    check_error("{$jsn: 1}", false, "did you mean $json?");
    check_error("{$json: 1, b: 2}", false, "stands alone");
    check_error("{$default: x}", false, "list of values");
    check_error("{$default: []}", false, "list of values");
    check_error("{$binary: '%%'}", false, "base64");
    check_error("{$1.x}", false, "stands alone ($1)");
    check_error("~", true, "a text is missing");
    check_error("[a, $zzz, $yyy]", true, "test.yaml:1:11");
}

static void test_constant(void **state)
{
    (void)state;
    struct rt_node *node;
    struct rt_str result;
    assert_true(rt_sio_template_constant(compile("lobby", true, &node), &result));
    assert_str(result, "lobby");
    rt_node_free(node);
    assert_true(rt_sio_template_constant(compile("{a: [1]}", false, &node), &result));
    assert_str(result, "{\"a\":[1]}");
    rt_node_free(node);
    assert_false(rt_sio_template_constant(compile("'{$sid}'", true, &node), &result));
    rt_node_free(node);
    assert_true(rt_sio_template_constant(compile("''", true, &node), &result));
    assert_int_equal(result.len, 0);
    rt_node_free(node);
}

static void test_operand(void **state)
{
    (void)state;
    static const struct rt_str list[] = {{"zero", 4}};
    struct rt_sio_values v = values("[\"ev\", " PH(0) ", null]");
    struct rt_sio_operand o;
    struct rt_node *node;
    v.attachments = list;
    v.attachment_count = 1;
    assert_int_equal(rt_sio_template_operand(compile("$1", false, &node), &v, &operand_buf, &o), 0);
    assert_true(o.binary && !o.missing);
    assert_str(o.bytes, "zero");
    rt_node_free(node);
    assert_int_equal(rt_sio_template_operand(compile("$2", false, &node), &v, &operand_buf, &o), 0);
    assert_true(!o.binary && !o.missing);
    rt_node_free(node);
    assert_int_equal(rt_sio_template_operand(compile("$3", false, &node), &v, &operand_buf, &o), 0);
    assert_true(!o.binary && o.missing);
    assert_str(o.json, "null");
    rt_node_free(node);
    assert_int_equal(
        rt_sio_template_operand(compile("$query.zz", false, &node), &v, &operand_buf, &o), 0);
    assert_true(o.missing);
    rt_node_free(node);
    assert_int_equal(
        rt_sio_template_operand(compile("'{$sid}!'", false, &node), &v, &operand_buf, &o), 0);
    assert_str(o.json, "\"SID!\"");
    rt_node_free(node);
}

/* Every allocation fails once, while compiling and while evaluating. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const char yaml[] = "{a: {$json: {m: $1.message, l: [$4, '{$auth.s} {$query.b}']}}, "
                               "b: {$default: [$9, $handshake]}, c: {$parse: '{$4}'}, d: $args, "
                               "e: {$binary: AAEC}}";
    struct rt_node *node = sio_yaml(yaml);
    bool failed = true;
    for (unsigned long n = 1; failed && n < 1000; n++) {
        struct rt_arena own = {0};
        struct rt_conf_errors errors = {0};
        struct rt_sio_compile c = {
            .errors = &errors, .arena = &own, .has_event = true, .has_args = true};
        struct rt_sio_values v = values(ARRAY);
        struct rt_buf out = RT_BUF_INIT;
        rt_buf_deinit(&scratch);
        rt_alloc_fail_at(n, 0);
        const struct rt_sio_template *t = rt_sio_value_compile(&c, node);
        if (t) {
            rt_sio_template_eval(t, &v, NULL, &out);
            if (rt_buf_ok(&out))
                assert_int_equal(rt_json_check(rt_buf_str(&out), RT_JSON_PAYLOAD, NULL, NULL), 0);
        } else {
            assert_true(c.nomem || errors.nomem || errors.count);
        }
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        if (!failed)
            assert_true(t && rt_buf_ok(&out));
        rt_buf_deinit(&out);
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
    rt_buf_deinit(&operand_buf);
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),          cmocka_unit_test(test_texts),
        cmocka_unit_test(test_nothing_known),   cmocka_unit_test(test_time_and_ids),
        cmocka_unit_test(test_query_bounds),    cmocka_unit_test(test_binary),
        cmocka_unit_test(test_binary_constant), cmocka_unit_test(test_binary_in_text),
        cmocka_unit_test(test_errors),          cmocka_unit_test(test_constant),
        cmocka_unit_test(test_operand),         cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
