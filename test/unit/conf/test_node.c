/* Trees from YAML: what is read, where it stands, what is refused; scalars; reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "conf/node.h"

static char *const no_environ[] = {NULL};

static struct rt_node *parse_with(const char *text, char *const *environ_)
{
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    int err = rt_node_parse(rt_str_c(text), "t", environ_, &root, &errors);
    assert_int_equal(errors.count, 0);
    assert_int_equal(err, 0);
    rt_conf_errors_deinit(&errors);
    return root;
}

static struct rt_node *parse(const char *text)
{
    return parse_with(text, no_environ);
}

static void assert_refused_len(const char *text, size_t len, const char *wanted)
{
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    struct rt_buf report = RT_BUF_INIT;
    int err = rt_node_parse(rt_str_of(text, len), "t", no_environ, &root, &errors);
    rt_conf_errors_sort(&errors);
    rt_conf_errors_write(&errors, &report);
    assert_string_equal(rt_buf_cstr(&report), wanted);
    assert_int_equal(err, RT_EINVAL);
    assert_null(root);
    rt_buf_deinit(&report);
    rt_conf_errors_deinit(&errors);
}

static void assert_refused(const char *text, const char *wanted)
{
    assert_refused_len(text, strlen(text), wanted);
}

static void assert_text(const struct rt_node *node, const char *wanted)
{
    assert_non_null(node);
    assert_int_equal(node->kind, RT_NODE_SCALAR);
    assert_int_equal(node->text.len, strlen(wanted));
    assert_string_equal(node->text.ptr, wanted);
}

static void assert_mark(const struct rt_node *node, unsigned line, unsigned column)
{
    assert_string_equal(node->mark.source, "t");
    assert_int_equal(node->mark.line, line);
    assert_int_equal(node->mark.column, column);
}

static void test_kinds_and_marks(void **state)
{
    (void)state;
    struct rt_node *root = parse("a: 1\n"
                                 "b:\n"
                                 "  - x\n"
                                 "  - {c: 'y', é: z}\n"
                                 "d: |\n"
                                 "  two\n"
                                 "  lines\n");
    assert_int_equal(root->kind, RT_NODE_MAP);
    assert_int_equal(root->count, 3);
    assert_text(root->keys[1], "b");
    assert_mark(root->keys[1], 2, 1);
    assert_text(rt_node_get(root, "a"), "1");
    assert_false(rt_node_get(root, "a")->quoted);
    const struct rt_node *list = rt_node_get(root, "b");
    assert_int_equal(list->kind, RT_NODE_LIST);
    assert_int_equal(list->count, 2);
    assert_text(list->items[0], "x");
    assert_mark(list->items[0], 3, 5);
    assert_text(rt_node_get(list->items[1], "c"), "y");
    assert_true(rt_node_get(list->items[1], "c")->quoted);
    /* Columns count characters, not bytes. */
    assert_mark(rt_node_get(list->items[1], "é"), 4, 17);
    assert_text(rt_node_get(root, "d"), "two\nlines\n");
    assert_true(rt_node_get(root, "d")->quoted);
    assert_null(rt_node_get(root, "nope"));
    assert_null(rt_node_get(list, "a"));
    assert_null(rt_node_get(NULL, "a"));
    rt_node_free(root);
    rt_node_free(NULL);
}

static void test_empty_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# only a comment\n", "\n\n", "\xef\xbb\xbf", NULL};
    for (const char *const *text = texts; *text != NULL; text++) {
        struct rt_node *root = parse(*text);
        assert_int_equal(root->kind, RT_NODE_MAP);
        assert_int_equal(root->count, 0);
        rt_node_free(root);
    }
    struct rt_node *root = parse("\xef\xbb\xbf---\na: b\n...\n");
    assert_text(rt_node_get(root, "a"), "b");
    assert_mark(rt_node_get(root, "a"), 2, 4);
    rt_node_free(root);
}

static void test_json(void **state)
{
    (void)state;
    struct rt_node *root = parse("{\n\t\"a\": [1, -2.5e3, true, null, \"x\\u00e9\\n\\/\"],\n"
                                 "\t\"b\":{\"c\":{}},\"d\":\"\"\n}\n");
    const struct rt_node *a = rt_node_get(root, "a");
    int64_t number;
    bool flag;
    assert_int_equal(a->count, 5);
    assert_true(rt_node_i64(a->items[0], &number));
    assert_int_equal(number, 1);
    assert_true(rt_node_is_number(a->items[1]));
    assert_true(rt_node_bool(a->items[2], &flag));
    assert_true(flag);
    assert_true(rt_node_is_null(a->items[3]));
    assert_text(a->items[4], "xé\n/");
    assert_int_equal(rt_node_get(rt_node_get(root, "b"), "c")->kind, RT_NODE_MAP);
    assert_false(rt_node_is_null(rt_node_get(root, "d")));
    rt_node_free(root);
}

static void test_variables(void **state)
{
    (void)state;
    char *const environ_[] = {"A=one", "EMPTY=", "N=8000", "B=x: [y], #z", NULL};
    struct rt_node *root =
        parse_with("flow: {a: ${A}, b: [${N}, ${NONE:-p, q: {r}, \"${A}-${A}\", '${B}']}\n"
                   "empty: ${EMPTY}\n"
                   "fallback: ${EMPTY:-d}\n"
                   "literal: \"$${A} $A {$1.x} $$ 5$\"\n"
                   "${A}: key\n"
                   "tail: a${A}b\n",
                   environ_);
    const struct rt_node *flow = rt_node_get(root, "flow");
    assert_text(rt_node_get(flow, "a"), "one");
    assert_true(rt_node_get(flow, "a")->expanded);
    const struct rt_node *b = rt_node_get(flow, "b");
    assert_int_equal(b->count, 4);
    int64_t port;
    assert_true(rt_node_i64(b->items[0], &port));
    assert_int_equal(port, 8000);
    assert_text(b->items[1], "p, q: {r");
    assert_text(b->items[2], "one-one");
    assert_text(b->items[3], "x: [y], #z");
    /* Variables do not move what stands behind them. */
    assert_mark(b->items[3], 1, 59);
    /* An empty variable is an empty text; nothing set is something else. */
    assert_text(rt_node_get(root, "empty"), "");
    assert_false(rt_node_is_null(rt_node_get(root, "empty")));
    assert_text(rt_node_get(root, "fallback"), "d");
    assert_text(rt_node_get(root, "literal"), "${A} $A {$1.x} $$ 5$");
    assert_false(rt_node_get(root, "literal")->expanded);
    assert_text(rt_node_get(root, "${A}"), "key");
    assert_text(rt_node_get(root, "tail"), "aoneb");
    assert_mark(rt_node_get(root, "tail"), 6, 7);
    rt_node_free(root);
}

static void test_host_name(void **state)
{
    (void)state;
    char name[256] = "";
    assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
    struct rt_node *root = parse_with("a: ${HOSTNAME}", NULL);
    assert_text(rt_node_get(root, "a"), name);
    rt_node_free(root);
    char *const environ_[] = {"HOSTNAME=own", NULL};
    root = parse_with("a: ${HOSTNAME}", environ_);
    assert_text(rt_node_get(root, "a"), "own");
    rt_node_free(root);
}

static void test_variables_refused(void **state)
{
    (void)state;
    assert_refused(
        "a: ${NOPE}\nb: x${NOPE_2}y\n",
        "t:1:4: the environment variable NOPE is not set; ${NOPE:-x} would give a default\n"
        "t:2:4: the environment variable NOPE_2 is not set; ${NOPE_2:-x} would give a "
        "default\n");
    assert_refused(
        "a: ${1X}",
        "t:1:4: ${1X} names no variable: write ${NAME} or ${NAME:-default}, and $${ for a "
        "literal ${\n");
    assert_refused("a: ${}", "t:1:4: ${} names no variable: write ${NAME} or ${NAME:-default}, and "
                             "$${ for a literal ${\n");
    assert_refused("a: ${X-y}", "t:1:4: ${X-y} names no variable: write ${NAME} or "
                                "${NAME:-default}, and $${ for a literal ${\n");
    assert_refused("a: \"${X\"", "t:1:4: ${ without a closing }; write $${ for a literal ${\n");
    assert_refused("a: ${A:-${B}}", "t:1:4: the default of ${A} cannot hold another ${\n");
    assert_refused("a: \xf4\x8f\x91\x81",
                   "t:1:4: the private characters U+10F400 to U+10F47F are not allowed\n");
    char *const environ_[] = {"BAD=\xff", NULL};
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    assert_int_equal(rt_node_parse(RT_STR("a: ${BAD}"), "t", environ_, &root, &errors), RT_EINVAL);
    assert_string_equal(errors.items[0].text, "the environment variable BAD is not UTF-8");
    rt_conf_errors_deinit(&errors);
}

/* A short file may not become gigabytes. */
static void test_variables_are_bounded(void **state)
{
    (void)state;
    enum { LONG = 64 * 1024, USES = 40 };
    char *variable = rt_malloc(LONG + 1);
    struct rt_buf text = RT_BUF_INIT;
    memset(variable, 'x', LONG);
    variable[0] = 'V';
    variable[1] = '=';
    variable[LONG] = '\0';
    char *const environ_[] = {variable, NULL};
    for (int i = 0; i < USES; i++)
        rt_buf_add_c(&text, "- ${V}\n");
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    int err = rt_node_parse(rt_buf_str(&text), "t", environ_, &root, &errors);
    assert_int_equal(err, RT_EINVAL);
    assert_string_equal(errors.items[0].text, "the values of all variables together are too long");
    assert_int_equal(errors.items[0].mark.line, 1024 * 1024 / LONG + 1);
    rt_conf_errors_deinit(&errors);
    rt_buf_deinit(&text);
    rt_free(variable);
}

static void test_refused_yaml(void **state)
{
    (void)state;
    assert_refused(
        "a: &x 1\nb: *x\nc: !t 2\nd: !!str 3\n",
        "t:1:4: anchor &x: anchors and aliases are not supported; text that begins with & "
        "must be quoted\n"
        "t:2:4: alias *x: anchors and aliases are not supported; text that begins with * "
        "must be quoted, as in \"*x\"\n"
        "t:3:4: tag !t: tags are not supported; text that begins with ! must be quoted\n"
        "t:4:4: tag tag:yaml.org,2002:str: tags are not supported; text that begins with ! "
        "must be quoted\n");
    assert_refused(
        "a: &x {b: 1}\nc: !m [2]\n",
        "t:1:4: anchor &x: anchors and aliases are not supported; text that begins with & "
        "must be quoted\n"
        "t:2:4: tag !m: tags are not supported; text that begins with ! must be quoted\n");
    assert_refused("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n",
                   "t:4:3: key \"c\" stands here a second time, first on line 3\n"
                   "t:5:1: key \"a\" stands here a second time, first on line 1\n");
    assert_refused("a: 1\n---\nb: 2\n", "t:2:1: a second document begins here; only one is read\n");
    assert_refused("%YAML 1.1\n---\na: 1\n", "t:1:1: directives (%YAML, %TAG) are not supported\n");
    assert_refused("? [a, b]\n: c\n", "t:1:3: a key must be text\n");
    assert_refused("a: \"x\\0y\"\n", "t:1:4: a NUL character (\\0) is not allowed\n");
    assert_refused("ab: \xff\n", "t:1:5: not valid text: invalid leading UTF-8 octet (0xff)\n");
    assert_refused_len("a\n\0b", 4,
                       "t:2:1: not valid text: control characters are not allowed (0x0)\n");
    assert_refused("a:\n  b: 1\n c: 2\n",
                   "t:3:2: not valid YAML: did not find expected key while parsing a block mapping "
                   "that begins on line 1\n");
}

static void test_hints(void **state)
{
    (void)state;
    static const char ipv6[] = "t:1:5: not valid YAML: did not find expected node content while "
                               "parsing a flow node; hint: inside [...] an IPv6 address must be "
                               "quoted, as in [\"::1\"] or [\"[::1]:8000\"]\n";
    assert_refused("a: [::1]", ipv6);
    assert_refused("a: [::1]:8000", ipv6);
    assert_refused(
        "a: *\n",
        "t:1:5: not valid YAML: did not find expected alphabetic or numeric character "
        "while scanning an alias; hint: text that begins with * & or ! must be quoted, as "
        "in \"*\"\n");
    assert_refused(
        "a: {p: /raw/{channel}}",
        "t:1:13: not valid YAML: did not find expected ',' or '}' while parsing a flow "
        "mapping; hint: text that holds { or } must be quoted, as in \"/raw/{channel}\"\n");
    assert_refused(
        "a:\n\tb: 1\n",
        "t:2:1: not valid YAML: found character that cannot start any token while scanning "
        "for the next token; hint: indent with spaces, not with tabs\n");
    assert_refused(
        "a: @b\n",
        "t:1:4: not valid YAML: found character that cannot start any token while scanning "
        "for the next token; hint: text that begins with @, ` or % must be quoted\n");
    /* No hint for what is quoted or a comment. */
    assert_refused("a: [\"::1\", '*' }\n",
                   "t:1:16: not valid YAML: did not find expected ',' or ']' while parsing a flow "
                   "sequence\n");
}

static void repeat(struct rt_buf *out, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        rt_buf_add_c(out, text);
}

static void assert_built(struct rt_buf *text, const char *wanted)
{
    struct rt_conf_errors errors = {0};
    struct rt_node *root = NULL;
    int err = rt_node_parse(rt_buf_str(text), "t", NULL, &root, &errors);
    assert_int_equal(err, wanted == NULL ? 0 : RT_EINVAL);
    assert_int_equal(errors.count, wanted == NULL ? 0 : 1);
    if (wanted != NULL)
        assert_string_equal(errors.items[0].text, wanted);
    rt_node_free(root);
    rt_conf_errors_deinit(&errors);
    rt_buf_deinit(text);
}

static void test_limits(void **state)
{
    (void)state;
    struct rt_buf text = RT_BUF_INIT;
    repeat(&text, "[", RT_NODE_MAX_DEPTH);
    repeat(&text, "]", RT_NODE_MAX_DEPTH);
    assert_built(&text, NULL);
    repeat(&text, "[", RT_NODE_MAX_DEPTH + 1);
    repeat(&text, "]", RT_NODE_MAX_DEPTH + 1);
    assert_built(&text, "nested deeper than 32 levels");
    repeat(&text, "[", 100000);
    assert_built(&text, "nested deeper than 32 levels");

    repeat(&text, "- x\n", RT_NODE_MAX_COUNT - 1);
    assert_built(&text, NULL);
    repeat(&text, "- x\n", RT_NODE_MAX_COUNT);
    assert_built(&text, "more than 100000 values, keys and lists");

    rt_buf_add_c(&text, "#");
    repeat(&text, "x", RT_NODE_MAX_BYTES - 1);
    assert_built(&text, NULL);
    rt_buf_add_c(&text, "#");
    repeat(&text, "x", RT_NODE_MAX_BYTES);
    assert_built(&text, "longer than 1048576 bytes");
}

/* The keys of one map are compared by hash: this would take minutes otherwise. */
static void test_many_keys(void **state)
{
    (void)state;
    struct rt_buf text = RT_BUF_INIT;
    for (int i = 0; i < 49000; i++)
        rt_buf_printf(&text, "k%d: 1\n", i);
    rt_buf_add_c(&text, "k7: 2\n");
    assert_built(&text, "key \"k7\" stands here a second time, first on line 8");
}

/* Each would look for its end through the whole line. */
static void test_many_open_variables(void **state)
{
    (void)state;
    struct rt_buf text = RT_BUF_INIT;
    repeat(&text, "${", RT_NODE_MAX_BYTES / 2);
    assert_built(&text, "${ without a closing }; write $${ for a literal ${");
    repeat(&text, "${A:-${", RT_NODE_MAX_BYTES / 8);
    rt_buf_add_c(&text, "}");
    assert_built(&text, "the default of ${A} cannot hold another ${");
}

static struct rt_node scalar(const char *text, bool quoted)
{
    struct rt_node n = {.kind = RT_NODE_SCALAR, .text = rt_str_c(text), .quoted = quoted};
    return n;
}

static void test_scalars(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_i64;
        int64_t value;
        bool is_number;
    } numbers[] = {
        {"0", true, 0, true},
        {"-0", true, 0, true},
        {"42", true, 42, true},
        {"+42", true, 42, false},
        {"-42", true, -42, true},
        {"007", true, 7, false},
        {"0x1F", true, 31, false},
        {"0o17", true, 15, false},
        {"9223372036854775807", true, INT64_MAX, true},
        {"9223372036854775808", false, 0, true},
        {"-9223372036854775808", true, INT64_MIN, true},
        {"-9223372036854775809", false, 0, true},
        {"99999999999999999999999", false, 0, true},
        {"1.5", false, 0, true},
        {"-1.5e+10", false, 0, true},
        {"1e5", false, 0, true},
        {"1.", false, 0, false},
        {".5", false, 0, false},
        {"1e", false, 0, false},
        {"-", false, 0, false},
        {"+", false, 0, false},
        {"0x", false, 0, false},
        {"0xg", false, 0, false},
        {"1_000", false, 0, false},
        {"1 ", false, 0, false},
        {"", false, 0, false},
        {".inf", false, 0, false},
        {"a", false, 0, false},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct rt_node plain = scalar(numbers[i].text, false),
                       quoted = scalar(numbers[i].text, true);
        int64_t value = 77;
        assert_int_equal(rt_node_i64(&plain, &value), numbers[i].is_i64);
        assert_int_equal(value, numbers[i].is_i64 ? numbers[i].value : 77);
        assert_int_equal(rt_node_is_number(&plain), numbers[i].is_number);
        assert_false(rt_node_i64(&quoted, &value));
        assert_false(rt_node_is_number(&quoted));
    }
}

static void test_booleans_and_null(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "on", NULL};
    static const char *const no[] = {"false", "no", "No", "off", "OFF", NULL};
    static const char *const neither[] = {"tRue", "y", "1", "0", "", "null", NULL};
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    bool value = false;
    for (const char *const *text = yes; *text != NULL; text++) {
        struct rt_node plain = scalar(*text, false), quoted = scalar(*text, true);
        value = false;
        assert_true(rt_node_bool(&plain, &value));
        assert_true(value);
        assert_false(rt_node_bool(&quoted, &value));
    }
    for (const char *const *text = no; *text != NULL; text++) {
        struct rt_node plain = scalar(*text, false);
        value = true;
        assert_true(rt_node_bool(&plain, &value));
        assert_false(value);
    }
    for (const char *const *text = neither; *text != NULL; text++) {
        struct rt_node plain = scalar(*text, false);
        assert_false(rt_node_bool(&plain, &value));
    }
    for (const char *const *text = nulls; *text != NULL; text++) {
        struct rt_node plain = scalar(*text, false), quoted = scalar(*text, true);
        assert_true(rt_node_is_null(&plain));
        assert_false(rt_node_is_null(&quoted));
    }
    struct rt_node list = {.kind = RT_NODE_LIST};
    int64_t number;
    assert_false(rt_node_is_null(&list));
    assert_false(rt_node_bool(&list, &value));
    assert_false(rt_node_i64(&list, &number));
    assert_false(rt_node_is_number(&list));
}

static void assert_seen(const struct rt_node *node, const char *kind, const char *seen)
{
    char out[64];
    memset(out, '#', sizeof(out));
    assert_string_equal(rt_node_kind_name(node), kind);
    assert_string_equal(rt_node_seen(node, out), seen);
}

static void test_seen(void **state)
{
    (void)state;
    struct rt_node n = {.kind = RT_NODE_LIST};
    assert_seen(&n, "a list", "a list");
    n.kind = RT_NODE_MAP;
    assert_seen(&n, "a map", "a map");
    n = scalar("", false);
    assert_seen(&n, "nothing", "nothing");
    n = scalar("", true);
    assert_seen(&n, "a string", "\"\"");
    n = scalar("true", false);
    assert_seen(&n, "a boolean", "\"true\"");
    n = scalar("12", false);
    assert_seen(&n, "a number", "\"12\"");
    n = scalar("a\nb\x7f", true);
    assert_seen(&n, "a string", "\"a?b?\"");
    n = scalar("0123456789012345678901234567890123456789012345678901234567", true);
    assert_seen(&n, "a string", "\"0123456789012345678901234567890123456789012345678901234567\"");
    n = scalar("01234567890123456789012345678901234567890123456789012345678", true);
    assert_seen(&n, "a string",
                "\"0123456789012345678901234567890123456789012345678901234567...\"");
    /* Not cut inside of a character. */
    n = scalar("012345678901234567890123456789012345678901234567890123456éé", true);
    assert_seen(&n, "a string", "\"012345678901234567890123456789012345678901234567890123456...\"");
}

static void test_suggest(void **state)
{
    (void)state;
    static const char *const names[] = {"listen", "path_prefix", "log", "ttl", "match", NULL};
    assert_string_equal(rt_conf_suggest(RT_STR("lisen"), names), "listen");
    assert_string_equal(rt_conf_suggest(RT_STR("Listen"), names), "listen");
    assert_string_equal(rt_conf_suggest(RT_STR("litsen"), names), "listen");
    assert_string_equal(rt_conf_suggest(RT_STR("path-prefix"), names), "path_prefix");
    assert_string_equal(rt_conf_suggest(RT_STR("pathprefix"), names), "path_prefix");
    assert_string_equal(rt_conf_suggest(RT_STR("lo"), names), "log");
    assert_string_equal(rt_conf_suggest(RT_STR("mathc"), names), "match");
    assert_null(rt_conf_suggest(RT_STR("x"), names));
    assert_null(rt_conf_suggest(RT_STR("xy"), names));
    assert_null(rt_conf_suggest(RT_STR("something"), names));
    assert_null(rt_conf_suggest(RT_STR(""), names));
    assert_null(
        rt_conf_suggest(RT_STR("listenlistenlistenlistenlistenlistenlistenlistenlisten"), names));
}

static void test_errors_in_order(void **state)
{
    (void)state;
    struct rt_conf_errors errors = {0};
    struct rt_buf text = RT_BUF_INIT;
    char name[] = "f";
    const struct rt_mark at_2 = {name, 2, 1}, at_1_9 = {name, 1, 9}, at_1_2 = {name, 1, 2};
    const struct rt_mark env = {"environment X", 0, 0}, set = {"--set a", 0, 5};
    rt_conf_error(&errors, NULL, "nowhere");
    rt_conf_error(&errors, &env, "env %d", 1);
    rt_conf_error(&errors, &at_2, "second line");
    rt_conf_error(&errors, &set, "set");
    rt_conf_error(&errors, &at_1_9, "later");
    rt_conf_error(&errors, &env, "env %d", 2);
    rt_conf_error(&errors, &at_1_2, "first");
    rt_conf_errors_sort(&errors);
    name[0] = '?'; /* the list has its own copy */
    rt_conf_errors_write(&errors, &text);
    assert_string_equal(rt_buf_cstr(&text), "f:1:2: first\n"
                                            "f:1:9: later\n"
                                            "f:2:1: second line\n"
                                            "environment X: env 1\n"
                                            "environment X: env 2\n"
                                            "--set a, character 5: set\n"
                                            "nowhere\n");
    rt_buf_deinit(&text);
    rt_conf_errors_deinit(&errors);
    assert_int_equal(errors.count, 0);
}

static void test_errors_are_bounded(void **state)
{
    (void)state;
    struct rt_conf_errors errors = {0};
    struct rt_buf text = RT_BUF_INIT;
    for (unsigned i = 0; i < RT_CONF_ERRORS_MAX + 3; i++)
        rt_conf_error(&errors, NULL, "error %u", i);
    assert_int_equal(errors.count, RT_CONF_ERRORS_MAX);
    assert_int_equal(errors.dropped, 3);
    rt_conf_errors_write(&errors, &text);
    static const char end[] = "error 199\n... and 3 more\n";
    assert_string_equal(rt_buf_cstr(&text) + text.len - strlen(end), end);
    rt_buf_deinit(&text);
    rt_conf_errors_deinit(&errors);
}

/* Every allocation of ours fails once: either nothing is returned, or all of it. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const char text[] = "a: {b: [1, ${V}, 'x'], c: d}\na: 2\ne: ${NOPE}\n";
    char *const environ_[] = {"V=value", NULL};
    long live = rt_alloc_live();
    bool failed = true;
    unsigned long n;
    for (n = 1; failed; n++) {
        struct rt_conf_errors errors = {0};
        struct rt_node *root = NULL;
        rt_alloc_fail_at(n, 0);
        int err = rt_node_parse(RT_STR(text), "t", environ_, &root, &errors);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(err, failed ? RT_ENOMEM : RT_EINVAL);
        assert_null(root);
        rt_conf_errors_deinit(&errors);
        assert_int_equal(rt_alloc_live(), live);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_and_marks),
        cmocka_unit_test(test_empty_texts),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_host_name),
        cmocka_unit_test(test_variables_refused),
        cmocka_unit_test(test_variables_are_bounded),
        cmocka_unit_test(test_refused_yaml),
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_many_open_variables),
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_booleans_and_null),
        cmocka_unit_test(test_seen),
        cmocka_unit_test(test_suggest),
        cmocka_unit_test(test_errors_in_order),
        cmocka_unit_test(test_errors_are_bounded),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("conf/node", tests, NULL, NULL);
}
