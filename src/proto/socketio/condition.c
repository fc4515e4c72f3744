#include "proto/socketio/condition.h"

#include <stdlib.h>

#include "json/scan.h"

enum test_kind { TEST_EQUALS, TEST_IN, TEST_IS, TEST_LONGER, TEST_SHORTER, TEST_MATCHES };

enum is_kind {
    IS_STRING,
    IS_NUMBER,
    IS_BOOLEAN,
    IS_OBJECT,
    IS_ARRAY,
    IS_NULL,
    IS_BINARY,
    IS_DEFINED,
    IS_UNDEFINED,
    IS_EMPTY,
};

static const char *const is_names[] = {"string", "number",  "boolean",   "object", "array", "null",
                                       "binary", "defined", "undefined", "empty",  NULL};

struct test {
    enum test_kind kind;
    enum is_kind is;
    uint64_t length;
    struct rt_str glob;
    const struct rt_sio_template *other; /* equals, in */
};

enum condition_kind { CONDITION_ALL, CONDITION_ANY, CONDITION_NOT, CONDITION_TESTS };

struct rt_sio_condition {
    enum condition_kind kind;
    size_t count;
    const struct rt_sio_condition **items; /* all, any, not */
    const struct rt_sio_template *value;   /* tests */
    struct test *tests;
};

/* ---- compiling ---- */

static const struct rt_sio_condition *wrong(struct rt_sio_compile *c, const struct rt_node *node,
                                            const char *format)
{
    char seen[64];
    rt_conf_error(c->errors, &node->mark, "%s, not %s", format, rt_node_seen(node, seen));
    return NULL;
}

static const struct rt_sio_condition *compile_items(struct rt_sio_compile *c,
                                                    enum condition_kind kind,
                                                    struct rt_node *const *items, size_t count)
{
    struct rt_sio_condition *condition = rt_sio_alloc(c, 1, sizeof(*condition));
    if (!condition)
        return NULL;
    condition->kind = kind;
    condition->count = count;
    condition->items = rt_sio_alloc(c, count + 1, sizeof(struct rt_sio_condition *));
    bool bad = condition->items == NULL;
    for (size_t i = 0; condition->items && i < count; i++) {
        condition->items[i] = rt_sio_condition_compile(c, items[i]);
        bad |= condition->items[i] == NULL;
    }
    return bad ? NULL : condition;
}

static bool compile_is(struct rt_sio_compile *c, const struct rt_node *node, struct test *test)
{
    struct rt_str word = node->kind == RT_NODE_SCALAR ? node->text : RT_STR_NONE;
    for (size_t i = 0; is_names[i]; i++) {
        if (rt_str_eq(word, rt_str_c(is_names[i]))) {
            test->is = (enum is_kind)i;
            return true;
        }
    }
    const char *near = rt_conf_suggest(word, is_names);
    char seen[64];
    rt_conf_error(c->errors, &node->mark,
                  "`is` is one of string number boolean object array null binary defined undefined "
                  "empty, not %s%s%s%s",
                  rt_node_seen(node, seen), near ? "; did you mean " : "", near ? near : "",
                  near ? "?" : "");
    return false;
}

static bool compile_length(struct rt_sio_compile *c, const struct rt_node *node, const char *name,
                           struct test *test)
{
    int64_t length;
    char seen[64];
    if (rt_node_i64(node, &length) && length >= 0) {
        test->length = (uint64_t)length;
        return true;
    }
    rt_conf_error(c->errors, &node->mark, "`%s` is a length, a whole number from 0, not %s", name,
                  rt_node_seen(node, seen));
    return false;
}

static bool compile_glob(struct rt_sio_compile *c, const struct rt_node *node, struct test *test)
{
    if (node->kind != RT_NODE_SCALAR || rt_node_is_null(node)) {
        (void)wrong(c, node, "`matches` is a glob");
        return false;
    }
    test->glob = rt_sio_keep(c, node->text);
    return test->glob.ptr != NULL;
}

static bool compile_test(struct rt_sio_compile *c, const char *name, const struct rt_node *node,
                         struct test *test)
{
    switch (test->kind) {
    case TEST_EQUALS:
    case TEST_IN:
        test->other = rt_sio_value_compile(c, node);
        return test->other != NULL;
    case TEST_IS:
        return compile_is(c, node, test);
    case TEST_LONGER:
    case TEST_SHORTER:
        return compile_length(c, node, name, test);
    case TEST_MATCHES:
        return compile_glob(c, node, test);
    }
    return false;
}

static const struct rt_sio_condition *compile_tests(struct rt_sio_compile *c,
                                                    const struct rt_node *map)
{
    static const char *const names[] = {"equals", "in", "is", "longer", "shorter", "matches", NULL};
    static const char *const keys[] = {"value",   "equals",  "in",  "is",  "longer",
                                       "shorter", "matches", "not", "any", NULL};
    bool bad = !rt_sio_check_keys(c, map, "a condition", keys);
    const struct rt_node *value = rt_node_get(map, "value");
    struct rt_sio_condition *condition = rt_sio_alloc(c, 1, sizeof(*condition));
    if (bad || !condition)
        return NULL;
    if (!value || map->count < 2) {
        rt_conf_error(c->errors, &map->mark,
                      "a condition is {value: VALUE, TEST: ..} with one of equals in is longer "
                      "shorter matches, or {not: ..}, or {any: [..]}");
        return NULL;
    }
    condition->kind = CONDITION_TESTS;
    condition->value = rt_sio_value_compile(c, value);
    condition->tests = rt_sio_alloc(c, map->count, sizeof(struct test));
    bad = !condition->value || !condition->tests;
    for (size_t i = 0; names[i] && condition->tests; i++) {
        const struct rt_node *node = rt_node_get(map, names[i]);
        if (!node)
            continue;
        struct test *test = &condition->tests[condition->count++];
        test->kind = (enum test_kind)i;
        bad |= !compile_test(c, names[i], node, test);
    }
    return bad || condition->count == 0 ? NULL : condition;
}

static const struct rt_sio_condition *compile_map(struct rt_sio_compile *c,
                                                  const struct rt_node *map)
{
    const struct rt_node *negated = rt_node_get(map, "not"), *any = rt_node_get(map, "any");
    if (!negated && !any)
        return compile_tests(c, map);
    if (map->count != 1) {
        rt_conf_error(c->errors, &map->mark,
                      "`%s` stands alone in its map: a list of conditions is `and`",
                      negated ? "not" : "any");
        return NULL;
    }
    if (negated)
        return compile_items(c, CONDITION_NOT, map->items, 1);
    if (any->kind != RT_NODE_LIST || any->count == 0)
        return wrong(c, any, "`any` is a list of conditions");
    return compile_items(c, CONDITION_ANY, any->items, any->count);
}

const struct rt_sio_condition *rt_sio_condition_compile(struct rt_sio_compile *c,
                                                        const struct rt_node *node)
{
    if (c->depth >= RT_SIO_MAX_DEPTH)
        return wrong(c, node, "conditions are nested too deeply");
    const struct rt_sio_condition *condition = NULL;
    c->depth++;
    if (node->kind == RT_NODE_MAP)
        condition = compile_map(c, node);
    else if (node->kind == RT_NODE_LIST)
        condition = compile_items(c, CONDITION_ALL, node->items, node->count);
    else
        condition = wrong(c, node,
                          "a condition is a map such as {value: $1, is: string} or a list "
                          "of them");
    c->depth--;
    return condition;
}

/* ---- evaluating ---- */

static double number_of(struct rt_str json)
{
    char text[64];
    size_t len = json.len < sizeof(text) ? json.len : sizeof(text) - 1;
    memcpy(text, json.ptr, len);
    text[len] = '\0';
    return strtod(text, NULL);
}

/* Strings that are written differently ("\u0061" and "a"): `buf` gets the text of one. */
static int same_string(struct rt_str a, struct rt_str b, struct rt_buf *buf)
{
    size_t start = buf->len;
    rt_json_unescape(buf, b);
    if (!rt_buf_ok(buf))
        return RT_ENOMEM;
    int same = rt_json_string_is(a, rt_str_of((char *)buf->data + start, buf->len - start));
    buf->len = start;
    return same;
}

/* `buf` holds the compact text of one and gets that of the other. */
static int same_compact(struct rt_str b, struct rt_buf *buf)
{
    size_t len = buf->len;
    rt_json_add_compact(buf, b);
    if (!rt_buf_ok(buf))
        return RT_ENOMEM;
    int same = rt_str_eq(rt_str_of(buf->data, len), rt_str_of(buf->data + len, buf->len - len));
    buf->len = len;
    return same;
}

static bool is_container(struct rt_str json)
{
    enum rt_json_kind kind = rt_json_kind(json);
    return kind == RT_JSON_ARRAY || kind == RT_JSON_OBJECT;
}

/* Neither of the two may lie in `buf`, which takes copies; of a container it holds the compact text
 * already, so that a long list to compare it with costs no more than the list. */
static int same_json(struct rt_str a, struct rt_str b, struct rt_buf *buf)
{
    if (rt_json_kind(a) != rt_json_kind(b))
        return 0;
    if (is_container(a))
        return same_compact(b, buf);
    if (rt_str_eq(a, b))
        return 1;
    if (rt_json_kind(a) == RT_JSON_NUMBER)
        return number_of(a) == number_of(b);
    return rt_json_kind(a) == RT_JSON_STRING ? same_string(a, b, buf) : 0;
}

static bool is_empty(const struct rt_sio_operand *o)
{
    if (o->binary)
        return o->bytes.len == 0;
    switch (rt_json_kind(o->json)) {
    case RT_JSON_STRING:
        return o->json.len == 2;
    case RT_JSON_ARRAY:
    case RT_JSON_OBJECT: {
        struct rt_json_iter it = rt_json_iter(o->json);
        return !rt_json_next(&it);
    }
    case RT_JSON_NULL:
    case RT_JSON_NONE:
        return true;
    default:
        return false;
    }
}

static bool test_is(enum is_kind is, const struct rt_sio_operand *o)
{
    static const enum rt_json_kind kinds[] = {RT_JSON_STRING, RT_JSON_NUMBER, RT_JSON_BOOL,
                                              RT_JSON_OBJECT, RT_JSON_ARRAY,  RT_JSON_NULL};
    switch (is) {
    case IS_BINARY:
        return o->binary;
    case IS_DEFINED:
        return !o->missing;
    case IS_UNDEFINED:
        return o->missing;
    case IS_EMPTY:
        return is_empty(o);
    default:
        return !o->missing && !o->binary && rt_json_kind(o->json) == kinds[is];
    }
}

/* UTF-16 units of a JSON string, counted without unescaping it. */
static uint64_t string_length(struct rt_str json)
{
    uint64_t units = 0;
    for (size_t i = 1; i + 1 < json.len; i++) {
        unsigned char c = (unsigned char)json.ptr[i];
        if (c == '\\') {
            i++;
            if (json.ptr[i] == 'u')
                i += 4;
            units++;
        } else if ((c & 0xc0) != 0x80) {
            units += c >= 0xf0 ? 2 : 1;
        }
    }
    return units;
}

static bool length_of(const struct rt_sio_operand *o, uint64_t *ret_length)
{
    enum rt_json_kind kind = rt_json_kind(o->json);
    if (o->binary)
        *ret_length = o->bytes.len;
    else if (kind == RT_JSON_STRING)
        *ret_length = string_length(o->json);
    else if (kind == RT_JSON_ARRAY)
        *ret_length = rt_json_count(o->json);
    else
        return false;
    return true;
}

static int test_matches(struct rt_str glob, const struct rt_sio_operand *o, struct rt_buf *b)
{
    if (o->missing || o->binary)
        return 0;
    if (rt_json_kind(o->json) != RT_JSON_STRING)
        return rt_glob_match(glob, o->json);
    rt_buf_clear(b);
    rt_json_unescape(b, o->json);
    return rt_buf_ok(b) ? rt_glob_match(glob, rt_buf_str(b)) : RT_ENOMEM;
}

/* equals and in: the other side is evaluated into `b`, or stands somewhere else. */
static int test_other(const struct test *test, struct rt_sio_values *v,
                      const struct rt_sio_operand *o, struct rt_buf *b)
{
    struct rt_sio_operand other;
    int r = rt_sio_template_operand(test->other, v, b, &other);
    if (r < 0)
        return r;
    if (o->binary)
        return 0;
    /* Comparing must not move what it compares: the scratch buffer takes the copies. */
    rt_buf_clear(v->scratch);
    if (is_container(o->json))
        rt_json_add_compact(v->scratch, o->json);
    if (!rt_buf_ok(v->scratch))
        return RT_ENOMEM;
    if (test->kind == TEST_EQUALS)
        return same_json(o->json, other.json, v->scratch);
    struct rt_json_iter it = rt_json_iter(other.json);
    bool list = rt_json_kind(other.json) == RT_JSON_ARRAY;
    for (r = 0; list && r == 0 && rt_json_next(&it);)
        r = same_json(o->json, it.value, v->scratch);
    return r;
}

static int run_test(const struct test *test, struct rt_sio_values *v,
                    const struct rt_sio_operand *o, struct rt_buf *b)
{
    uint64_t length;
    switch (test->kind) {
    case TEST_EQUALS:
    case TEST_IN:
        return test_other(test, v, o, b);
    case TEST_IS:
        return test_is(test->is, o);
    case TEST_LONGER:
        return length_of(o, &length) && length > test->length;
    case TEST_SHORTER:
        return length_of(o, &length) && length < test->length;
    case TEST_MATCHES:
        return test_matches(test->glob, o, b);
    }
    return 0;
}

static int run_tests(const struct rt_sio_condition *condition, struct rt_sio_values *v,
                     struct rt_buf *a, struct rt_buf *b)
{
    struct rt_sio_operand operand;
    int r = rt_sio_template_operand(condition->value, v, a, &operand);
    if (r < 0)
        return r;
    r = 1;
    for (size_t i = 0; r == 1 && i < condition->count; i++)
        r = run_test(&condition->tests[i], v, &operand, b);
    return r;
}

int rt_sio_condition_holds(const struct rt_sio_condition *condition, struct rt_sio_values *v,
                           struct rt_buf *a, struct rt_buf *b)
{
    if (!condition)
        return 1;
    if (condition->kind == CONDITION_TESTS)
        return run_tests(condition, v, a, b);
    /* The first item that decides: one that does not hold of `all`, one that does of `any`. */
    bool any = condition->kind == CONDITION_ANY;
    int r = !any;
    for (size_t i = 0; i < condition->count; i++) {
        r = rt_sio_condition_holds(condition->items[i], v, a, b);
        if (r < 0 || (r == 1) == any)
            break;
    }
    return r >= 0 && condition->kind == CONDITION_NOT ? !r : r;
}
