#include "unit/socketio/sio_test.h"

#include "proto/socketio/rules.h"

/* A section `socketio`, compiled; its tree is kept since the configuration owns it. */
struct fixture {
    struct rt_node *root;
    struct rt_socketio_config config;
    struct rt_sio_rules *rules;
    struct rt_conf_errors errors;
    int status;
};

static void compile(struct fixture *f, const char *yaml)
{
    static const char *names[] = {"/", "/room-*"};
    *f = (struct fixture){.root = sio_yaml(yaml)};
    f->config.namespaces = (struct rt_strings){names, 2};
    f->config.on_connect = rt_node_get(f->root, "on_connect");
    f->config.events = rt_node_get(f->root, "events");
    f->status = rt_sio_rules_new(&f->config, &f->errors, &f->rules);
}

static void release(struct fixture *f)
{
    rt_sio_rules_free(f->rules);
    rt_conf_errors_deinit(&f->errors);
    rt_node_free(f->root);
}

static const char *action_of(const struct rt_sio_rule *rule)
{
    static struct rt_str room;
    if (!rule)
        return "none";
    assert_true(rt_sio_template_constant(rule->actions.items[0].join.items[0], &room));
    return room.ptr;
}

static const char *first_match(struct fixture *f, const char *nsp, const char *event)
{
    struct rt_sio_rule_walk walk;
    rt_sio_rules_event(f->rules, rt_str_c(nsp), rt_str_c(event), &walk);
    return action_of(rt_sio_rule_next(&walk));
}

static void test_matching(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "events:\n"
                "  - {event: exact, namespace: '/n*', do: [{join: exact-n}]}\n"
                "  - {event: 'chat*', do: [{join: glob}]}\n"
                "  - {event: exact, do: [{join: exact}]}\n"
                "  - {event: [one, 'tw?', three], do: [{join: list}]}\n"
                "  - {event: chat-x, do: [{join: shadowed}]}\n"
                "  - {namespace: /any, do: [{join: any}]}\n");
    assert_int_equal(f.status, 0);
    static const char *const cases[][3] = {
        {"/", "exact", "exact"},    {"/n", "exact", "exact-n"}, {"/nope", "exact", "exact-n"},
        {"/", "chat", "glob"},      {"/", "chat-x", "glob"},    {"/", "chatter", "glob"},
        {"/", "one", "list"},       {"/", "two", "list"},       {"/", "twoo", "none"},
        {"/", "three", "list"},     {"/", "", "none"},          {"/any", "whatever", "any"},
        {"/any", "exact", "exact"}, {"/", "exactly", "none"},   {"/any", "", "any"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = first_match(&f, cases[i][0], cases[i][1]);
        if (strcmp(got, cases[i][2]) != 0)
            fail_msg("%s in %s: %s", cases[i][1], cases[i][0], got);
    }
    release(&f);
}

static void test_walk_in_order(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "events:\n"
                "  - {event: a, do: [{join: r1}]}\n"
                "  - {do: [{join: r2}]}\n"
                "  - {event: [b, a], do: [{join: r3}], ack: none}\n");
    assert_int_equal(f.status, 0);
    struct rt_sio_rule_walk walk;
    rt_sio_rules_event(f.rules, RT_STR("/"), RT_STR("a"), &walk);
    const struct rt_sio_rule *rule = rt_sio_rule_next(&walk);
    assert_string_equal(action_of(rule), "r1");
    assert_true(rule->automatic);
    assert_string_equal(action_of(rt_sio_rule_next(&walk)), "r2");
    rule = rt_sio_rule_next(&walk);
    assert_string_equal(action_of(rule), "r3");
    assert_false(rule->automatic);
    assert_null(rt_sio_rule_next(&walk));
    release(&f);
}

static void test_connect(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "on_connect:\n"
                "  - {do: [{join: r1}]}\n"
                "  - {namespace: /b, do: [{join: r2}]}\n"
                "  - {namespace: '/*', do: [{refuse: {message: no, data: {a: $auth}}}]}\n");
    assert_int_equal(f.status, 0);
    size_t pos = 0;
    assert_string_equal(action_of(rt_sio_rules_connect(f.rules, RT_STR("/a"), &pos)), "r1");
    const struct rt_sio_rule *rule = rt_sio_rules_connect(f.rules, RT_STR("/a"), &pos);
    assert_int_equal(rule->actions.items[0].kind, RT_SIO_DO_REFUSE);
    assert_null(rt_sio_rules_connect(f.rules, RT_STR("/a"), &pos));
    assert_true(rt_sio_rules_namespace(f.rules, RT_STR("/")));
    assert_true(rt_sio_rules_namespace(f.rules, RT_STR("/room-1")));
    assert_false(rt_sio_rules_namespace(f.rules, RT_STR("/room")));
    assert_int_equal(rt_sio_rules_uses(f.rules), RT_SIO_USES_AUTH);
    release(&f);
}

static void test_empty(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "on_connect:\nevents: []\n");
    assert_int_equal(f.status, 0);
    assert_string_equal(first_match(&f, "/", "x"), "none");
    assert_int_equal(rt_sio_rules_uses(f.rules), 0);
    release(&f);
}

/* Every form of every action, and what the compiler notes about it. */
static void test_actions(void **state)
{
    (void)state;
    struct fixture f;
    compile(
        &f,
        "events:\n"
        "  - do:\n"
        "      - join: [a, '{$1}']\n"
        "      - leave: a\n"
        "      - leave: {all: true}\n"
        "      - publish: {channel: [x, y], event: e, data: {a: $1}, volatile: true}\n"
        "      - publish: {room: x, args: [$1, [2]], except: [a, 'b{$1}'], except_sender: true}\n"
        "      - publish: {channel: x, key: $1.id}\n"
        "      - emit: {event: e, args: $args, volatile: true}\n"
        "      - emit: {data: $handshake, ack: {timeout: 250ms, do: [{publish: {channel: x, "
        "event: e}}], on_timeout: [{disconnect: {close: true}}]}}\n"
        "      - emit: {event: e, args: $1.list, ack: {}}\n"
        "      - ack: [1, {$binary: AAEC}]\n"
        "      - when: {if: {value: $1, is: string}, do: [{drop: true}], else: [{ack: "
        "$args}]}\n"
        "      - disconnect: true\n");
    if (f.status != 0)
        fail_msg("%s", f.errors.items[0].text);
    struct rt_sio_rule_walk walk;
    rt_sio_rules_event(f.rules, RT_STR("/"), RT_STR("z"), &walk);
    const struct rt_sio_actions *list = &rt_sio_rule_next(&walk)->actions;
    const struct rt_sio_action *a = list->items;
    assert_int_equal(list->count, 12);
    assert_true(list->answers);
    assert_int_equal(a[0].join.count, 2);
    assert_int_equal(a[1].leave.rooms.count, 1);
    assert_true(a[2].leave.all);
    assert_int_equal(a[3].publish.targets.count, 2);
    assert_true(a[3].publish.is_volatile && a[3].publish.to == RT_SIO_TO_CHANNELS &&
                a[3].publish.event);
    assert_int_equal(a[3].publish.args.kind, RT_SIO_ARGS_LIST);
    assert_true(a[4].publish.to == RT_SIO_TO_ROOMS && a[4].publish.except_sender &&
                !a[4].publish.event);
    assert_int_equal(a[4].publish.args.count, 2);
    assert_int_equal(a[4].publish.except.count, 2);
    assert_int_equal(a[3].publish.except.count, 0);
    assert_int_equal(a[5].publish.args.kind, RT_SIO_ARGS_INCOMING);
    assert_non_null(a[5].publish.key);
    assert_int_equal(a[6].emit.args.kind, RT_SIO_ARGS_INCOMING);
    assert_true(a[6].emit.is_volatile && !a[6].emit.awaits);
    assert_int_equal(a[7].emit.timeout, 250);
    assert_true(a[7].emit.awaits && a[7].emit.answered.answers && !a[7].emit.timed_out.answers);
    assert_true(a[7].emit.timed_out.items[0].disconnect.close);
    assert_int_equal(a[8].emit.args.kind, RT_SIO_ARGS_SPREAD);
    assert_int_equal(a[8].emit.timeout, 10000);
    assert_true(a[9].answer.binary);
    assert_true(a[10].when.then.answers && a[10].when.otherwise.answers);
    assert_false(a[11].disconnect.close);
    assert_int_equal(rt_sio_rules_uses(f.rules),
                     RT_SIO_USES_AUTH | RT_SIO_USES_HANDSHAKE | RT_SIO_USES_KEY);
    release(&f);
}

static void test_errors(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"events: {a: b}", "socketio.events is a list of rules"},
        {"events: [x]", "a rule is a map"},
        {"events: [{evnt: x, do: []}]", "did you mean \"event\"?"},
        {"events: [{event: x}]", "a rule wants a list of actions"},
        {"events: [{event: [], do: []}]", "`event` is a name"},
        {"events: [{event: [[a]], do: []}]", "`event` is a name"},
        {"events: [{namespace: [a], do: []}]", "`namespace` is a name"},
        {"events: [{ack: maybe, do: []}]", "auto or none"},
        {"events: [{do: {join: x}}]", "`do` is a list of actions"},
        {"events: [{do: [join]}]", "an action is a map with one key"},
        {"events: [{do: [{join: a, leave: b}]}]", "an action is a map with one key"},
        {"events: [{do: [{jon: a}]}]", "did you mean join?"},
        {"events: [{do: [{join: []}]}]", "`join` is a name or a list"},
        {"events: [{do: [{join: }]}]", "`join` is a name or a list"},
        {"events: [{do: [{leave: {all: false}}]}]", "{all: true}"},
        {"events: [{do: [{leave: {al: true}}]}]", "did you mean \"all\"?"},
        {"events: [{do: [{publish: x}]}]", "`publish` is a map"},
        {"events: [{do: [{publish: {data: 1}}]}]", "one of `channel`, `room`"},
        {"events: [{do: [{publish: {channel: a, room: b}}]}]", "one of `channel`, `room`"},
        {"events: [{do: [{publish: {namespaces: $1}}]}]", "`namespaces` are globs"},
        {"events: [{do: [{publish: {room: a, except: []}}]}]", "`except` is a name or a list"},
        {"events: [{do: [{publish: {except: a}}]}]", "`publish` wants one of"},
        {"events: [{do: [{publish: {room: a, except: [b, \"c\\n\"]}}]}]", "a control character"},
        {"events: [{do: [{emit: {event: e, except: a}}]}]", "unknown key \"except\" in `emit`"},
        {"events: [{do: [{publish: {namespaces: [/a, '/{$1}*']}}]}]", "`namespaces` are globs"},
        {"events: [{do: [{publish: {namespaces: x*}}]}]", "begin with /"},
        {"events: [{do: [{publish: {channel: a, data: 1, args: []}}]}]", "exclude each other"},
        {"events: [{do: [{publish: {channel: a, args: 5}}]}]", "`args` is a list of values"},
        {"events: [{do: [{publish: {channel: a, volatile: 5}}]}]", "true or false"},
        {"events: [{do: [{publish: {channel: a, event: connect}}]}]", "reserved"},
        {"events: [{do: [{emit: {event: disconnect}}]}]", "reserved"},
        {"events: [{do: [{emit: {ack: {timeout: 5}}}]}]", "a time from 1ms"},
        {"events: [{do: [{emit: {ack: {timeout: 0s}}}]}]", "a time from 1ms"},
        {"events: [{do: [{emit: {ack: {}, volatile: true}}]}]", "volatile cannot await"},
        {"events: [{do: [{emit: {ack: {do: [{emit: {}}]}}}]}]", "`event` is missing"},
        {"events: [{do: [{emit: {ack: {do: [{emit: {event: $event}}]}}}]}]", "no meaning here"},
        {"events: [{do: [{emit: {ack: {on_timeout: [{ack: $args}]}}}]}]", "no meaning here"},
        {"events: [{do: [{ack: 5}]}]", "`ack` is a list of values"},
        {"events: [{do: [{drop: false}]}]", "`drop` is true"},
        {"events: [{do: [{disconnect: 1}]}]", "`disconnect` is true"},
        {"events: [{do: [{refuse: {message: x}}]}]", "on_connect only"},
        {"events: [{do: [{when: {do: []}}]}]", "wants a condition"},
        {"events: [{if: {value: $1}, do: []}]", "a condition is {value"},
        {"on_connect: [{event: x, do: []}]", "unknown key"},
        {"on_connect: [{do: [{ack: []}]}]", "nothing to answer"},
        {"on_connect: [{do: [{refuse: {}}]}]", "wants a `message`"},
        {"on_connect: [{do: [{refuse: {message: x, data: {$binary: AAEC}}}]}]", "cannot be binary"},
        {"on_connect: [{do: [{emit: {data: 1}}]}]", "`event` is missing"},
        {"on_connect: [{do: [{publish: {channel: a, event: e, data: $1}}]}]", "in on_connect"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        compile(&f, cases[i][0]);
        assert_int_equal(f.status, RT_EINVAL);
        assert_null(f.rules);
        char *all = sio_errors(&f.errors);
        if (!strstr(all, cases[i][1]) || strncmp(all, "test.yaml:1:", 12) != 0)
            fail_msg("%s: %s", cases[i][0], all);
        rt_free(all);
        release(&f);
    }
}

static void test_all_errors_at_once(void **state)
{
    (void)state;
    struct fixture f;
    compile(&f, "on_connect:\n  - do: [{jon: a}, {emit: {evnt: x}}]\n"
                "events:\n  - {evnt: x, do: []}\n  - do: [{join: $zz}, {drop: 5}]\n");
    assert_int_equal(f.status, RT_EINVAL);
    assert_int_equal(f.errors.count, 6);
    release(&f);
}

static void test_deep_nesting(void **state)
{
    (void)state;
    struct rt_buf yaml = RT_BUF_INIT;
    rt_buf_add_c(&yaml, "events: [{do: [");
    for (int i = 0; i < 20; i++)
        rt_buf_add_c(&yaml, "{when: {if: [], do: [");
    rt_buf_add_c(&yaml, "{drop: true}");
    for (int i = 0; i < 20; i++)
        rt_buf_add_c(&yaml, "]}}");
    rt_buf_add_c(&yaml, "]}]");
    rt_buf_add_byte(&yaml, 0);
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    /* The tree has a limit of its own. */
    assert_int_equal(rt_node_parse(rt_str_c((char *)yaml.data), "t", NULL, &root, &errors),
                     RT_EINVAL);
    rt_conf_errors_deinit(&errors);
    rt_buf_deinit(&yaml);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const char yaml[] =
        "on_connect: [{do: [{refuse: {message: 'a {$sid}', data: $auth}}]}]\n"
        "events:\n"
        "  - {event: [a, 'b*'], do: [{publish: {channel: ['{$1}'], data: {$json: $1}}}]}\n"
        "  - {event: c, if: {value: $1, equals: x}, do: [{emit: {ack: {do: [{join: $1}]}}}]}\n";
    struct fixture f;
    compile(&f, yaml);
    assert_int_equal(f.status, 0);
    bool failed = true;
    for (unsigned long n = 1; failed && n < 1000; n++) {
        struct rt_sio_rules *rules = NULL;
        struct rt_conf_errors errors = {0};
        rt_alloc_fail_at(n, 0);
        int r = rt_sio_rules_new(&f.config, &errors, &rules);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(r, failed ? RT_ENOMEM : 0);
        rt_sio_rules_free(rules);
        rt_conf_errors_deinit(&errors);
    }
    assert_false(failed);
    release(&f);
}

static void check_warnings(const char *yaml, const char *wanted)
{
    struct fixture f;
    struct rt_conf_errors warnings = {0};
    struct rt_buf text = RT_BUF_INIT;
    compile(&f, yaml);
    assert_int_equal(f.status, 0);
    rt_sio_rules_warn(f.rules, &warnings);
    rt_conf_errors_write(&warnings, &text);
    assert_string_equal(rt_buf_cstr(&text), wanted);
    rt_buf_deinit(&text);
    rt_conf_errors_deinit(&warnings);
    release(&f);
}

#define RULE(line, column) \
    "test.yaml:" line ":" column ": socketio.events: this rule never runs for "

static void test_rules_that_never_run(void **state)
{
    (void)state;
    check_warnings(
        "events:\n"
        "  - {event: [disconnect, x], do: []}\n"
        "  - {event: y, if: {value: $1, is: string}, do: []}\n"
        "  - {event: y, namespace: /room-1, do: []}\n"
        "  - {event: y, do: []}\n"
        "  - {event: 'a*', do: []}\n"
        "  - {event: [ab, y, z], do: []}\n"
        "  - {event: 'a*', namespace: /, do: []}\n"
        "  - {event: 'b*', do: []}\n"
        "  - do: []\n"
        "  - {event: 'c*', do: []}\n",
        RULE(
            "2",
            "5") "\"disconnect\": the name is Socket.IO's own, and clients cannot "
                 "send such an event\n" RULE(
                     "7",
                     "5") "\"ab\": the rule in line 6 takes all of these events; put the "
                          "special one first\n" RULE(
                              "7",
                              "5") "\"y\": the rule in line 5 takes all of these events; put the "
                                   "special one first\n" RULE(
                                       "8",
                                       "5") "\"a*\": the rule in line 6 takes all of these events; put the "
                                            "special one first\n" RULE(
                                                "11",
                                                "5") "\"c*\": the rule in line 10 takes all of these events; put the "
                                                     "special one first\n");
    check_warnings(
        "on_connect:\n"
        "  - {namespace: /other, do: []}\n"
        "  - {namespace: '/o*', do: []}\n"
        "events:\n"
        "  - {namespace: /room-x, do: []}\n"
        "  - {namespace: /else, do: []}\n",
        "test.yaml:2:5: this rule never runs: nobody gets into the namespace \"/other\"; add "
        "it to socketio.namespaces\n"
        "test.yaml:6:5: this rule never runs: nobody gets into the namespace \"/else\"; add "
        "it to socketio.namespaces\n");
}

static int teardown(void **state)
{
    (void)state;
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_walk_in_order),
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_rules_that_never_run),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
