#include "conf/node.h"

#include "base/alloc.h"
#include "base/list.h"
#include "conf/arena.h"
#include "conf/yaml.h"

/* What rt_node_parse() returns: the root and the memory of everything below it. */
struct tree {
    struct rt_node root;
    struct rt_arena arena;
};

int rt_node_parse(struct rt_str text, const char *source, char *const *environ_,
                  struct rt_node **ret_root, struct rt_conf_errors *errors)
{
    struct tree *tree = rt_calloc(1, sizeof(*tree));
    if (tree == NULL)
        return RT_ENOMEM;
    struct rt_yaml_input input = {.arena = &tree->arena,
                                  .text = text,
                                  .source = source,
                                  .lines = true,
                                  .environ_ = environ_,
                                  .errors = errors};
    size_t errors_before = errors->count + errors->dropped;
    struct rt_node *root;
    int err = rt_yaml_read(&input, &root);
    if (err == 0 && errors->nomem)
        err = RT_ENOMEM;
    if (err == 0 && errors->count + errors->dropped > errors_before)
        err = RT_EINVAL;
    if (err != 0) {
        rt_arena_deinit(&tree->arena);
        rt_free(tree);
        return err;
    }
    tree->root = *root;
    *ret_root = &tree->root;
    return 0;
}

void rt_node_free(struct rt_node *root)
{
    if (root == NULL)
        return;
    struct tree *tree = RT_CONTAINER(root, struct tree, root);
    rt_arena_deinit(&tree->arena);
    rt_free(tree);
}

const struct rt_node *rt_node_get(const struct rt_node *map, const char *key)
{
    if (map == NULL || map->kind != RT_NODE_MAP)
        return NULL;
    struct rt_str name = rt_str_c(key);
    for (size_t i = 0; i < map->count; i++) {
        if (rt_str_eq(map->keys[i]->text, name))
            return map->items[i];
    }
    return NULL;
}

static bool is_plain(const struct rt_node *n)
{
    return n->kind == RT_NODE_SCALAR && !n->quoted;
}

static bool is_one_of(struct rt_str text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (rt_str_eq(text, rt_str_c(*words)))
            return true;
    }
    return false;
}

bool rt_node_is_null(const struct rt_node *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
    return is_plain(n) && is_one_of(n->text, words);
}

bool rt_node_bool(const struct rt_node *n, bool *ret_value)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes",
                                      "YES",  "on",   "On",   "ON",  NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no",  "No",
                                     "NO",    "off",   "Off",   "OFF", NULL};
    if (!is_plain(n))
        return false;
    bool value = is_one_of(n->text, yes);
    if (!value && !is_one_of(n->text, no))
        return false;
    *ret_value = value;
    return true;
}

/* Digits of base 8, 10 or 16 up to 2^64-1. */
static bool parse_digits(struct rt_str digits, uint64_t base, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.ptr[i];
        uint64_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint64_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = (uint64_t)(c - 'A' + 10);
        else
            return false;
        if (digit >= base || value > (UINT64_MAX - digit) / base)
            return false;
        value = value * base + digit;
    }
    *ret_value = value;
    return digits.len > 0;
}

bool rt_node_i64(const struct rt_node *n, int64_t *ret_value)
{
    if (!is_plain(n))
        return false;
    struct rt_str digits = n->text;
    bool negative = rt_str_starts(digits, RT_STR("-"));
    uint64_t base = 10;
    if (negative || rt_str_starts(digits, RT_STR("+"))) {
        digits = rt_str_of(digits.ptr + 1, digits.len - 1);
    } else if (rt_str_starts(digits, RT_STR("0x")) || rt_str_starts(digits, RT_STR("0o"))) {
        base = digits.ptr[1] == 'x' ? 16 : 8;
        digits = rt_str_of(digits.ptr + 2, digits.len - 2);
    }
    uint64_t value;
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (!parse_digits(digits, base, &value) || value > limit)
        return false;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static size_t skip_digits(struct rt_str s, size_t i)
{
    while (i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9')
        i++;
    return i;
}

bool rt_node_is_number(const struct rt_node *n)
{
    if (!is_plain(n))
        return false;
    /* RFC 8259, section 6 */
    struct rt_str s = n->text;
    size_t start = s.len > 0 && s.ptr[0] == '-' ? 1 : 0;
    size_t i = skip_digits(s, start);
    if (i == start || (s.ptr[start] == '0' && i > start + 1))
        return false;
    if (i < s.len && s.ptr[i] == '.') {
        size_t fraction = i + 1;
        i = skip_digits(s, fraction);
        if (i == fraction)
            return false;
    }
    if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        size_t exponent = i + 1;
        if (exponent < s.len && (s.ptr[exponent] == '+' || s.ptr[exponent] == '-'))
            exponent++;
        i = skip_digits(s, exponent);
        if (i == exponent)
            return false;
    }
    return i == s.len;
}

const char *rt_node_kind_name(const struct rt_node *n)
{
    bool ignored;
    if (n->kind == RT_NODE_LIST)
        return "a list";
    if (n->kind == RT_NODE_MAP)
        return "a map";
    if (rt_node_is_null(n))
        return "nothing";
    if (rt_node_bool(n, &ignored))
        return "a boolean";
    return rt_node_is_number(n) ? "a number" : "a string";
}

const char *rt_node_seen(const struct rt_node *n, char out[64])
{
    if (n->kind != RT_NODE_SCALAR || rt_node_is_null(n))
        return rt_node_kind_name(n);

    enum { ROOM = 64 - sizeof("\"...\"") };
    size_t len = n->text.len < ROOM ? n->text.len : ROOM;
    /* Not in the middle of a character. */
    while (len < n->text.len && len > 0 && ((unsigned char)n->text.ptr[len] & 0xc0u) == 0x80u)
        len--;
    size_t at = 0;
    out[at++] = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)n->text.ptr[i];
        out[at++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    if (len < n->text.len) {
        memcpy(out + at, "...", 3);
        at += 3;
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}
