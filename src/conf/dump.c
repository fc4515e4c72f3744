/* `rtbroker config`: what is in force, what the defaults are, what the environment would be. */
#include "conf/option.h"
#include "conf/store.h"
#include "conf/tree.h"
#include "conf/value.h"

enum { SOURCE_COLUMN = 48 };

/* ---- values, as one line of YAML ---- */

static void write_strings(const struct rt_strings *strings, struct rt_buf *out)
{
    rt_buf_add_byte(out, '[');
    for (size_t i = 0; i < strings->count; i++) {
        rt_buf_add_c(out, i == 0 ? "" : ", ");
        rt_tree_write_text(rt_str_c(strings->items[i]), out);
    }
    rt_buf_add_byte(out, ']');
}

bool rt_option_secret_name(struct rt_str name)
{
    static const char *const parts[] = {"password", "secret", ".pem", "oauthbearer.config", NULL};
    for (const char *const *part = parts; *part != NULL; part++) {
        if (memmem(name.ptr, name.len, *part, strlen(*part)) != NULL)
            return true;
    }
    return false;
}

static void write_pairs(const struct rt_strings *pairs, struct rt_buf *out)
{
    rt_buf_add_byte(out, '{');
    for (size_t i = 0; i < pairs->count; i++) {
        struct rt_str value, name = rt_str_split(rt_str_c(pairs->items[i]), '=', &value);
        rt_buf_add_c(out, i == 0 ? "" : ", ");
        rt_tree_write_text(name, out);
        rt_buf_add_c(out, ": ");
        rt_tree_write_text(rt_option_secret_name(name) ? RT_STR("***") : value, out);
    }
    rt_buf_add_byte(out, '}');
}

static void write_string(const struct rt_option *option, const char *text, struct rt_buf *out)
{
    if (option->secret && *text != '\0')
        text = "***";
    rt_tree_write_text(rt_str_c(text), out);
}

static void write_enum(const struct rt_option *option, int value, struct rt_buf *out)
{
    const struct rt_choice *choice = option->choices;
    while (choice->name != NULL && (choice->absent || (int)choice->value != value))
        choice++;
    rt_buf_add_c(out, choice->name != NULL ? choice->name : "?");
}

static void write_set(const struct rt_option *option, const bool *flags, struct rt_buf *out)
{
    bool first = true;
    rt_buf_add_byte(out, '[');
    for (const struct rt_choice *choice = option->choices; choice->name != NULL; choice++) {
        if (!flags[choice->value])
            continue;
        rt_buf_add_c(out, first ? "" : ", ");
        rt_buf_add_c(out, choice->name);
        first = false;
    }
    rt_buf_add_byte(out, ']');
}

static uint64_t u64_at(const unsigned char *field)
{
    uint64_t value;
    memcpy(&value, field, sizeof(value));
    return value;
}

static void write_value(const struct rt_option *option, const unsigned char *base,
                        struct rt_buf *out)
{
    const void *field = base + option->offset;
    const struct rt_node *tree;
    switch (option->type) {
    case RT_OPT_BOOL:
        rt_buf_add_c(out, *(const bool *)field ? "true" : "false");
        break;
    case RT_OPT_INT:
        rt_buf_add_u64(out, *(const uint32_t *)field);
        break;
    case RT_OPT_DURATION:
        rt_duration_write(u64_at(field), out);
        break;
    case RT_OPT_SIZE:
        rt_size_write(u64_at(field), out);
        break;
    case RT_OPT_RATE:
        rt_rate_write(u64_at(field), out);
        break;
    case RT_OPT_STRING:
        write_string(option, *(const char *const *)field, out);
        break;
    case RT_OPT_ENUM:
        write_enum(option, *(const int *)field, out);
        break;
    case RT_OPT_STRINGS:
        write_strings(field, out);
        break;
    case RT_OPT_PAIRS:
        write_pairs(field, out);
        break;
    case RT_OPT_SET:
        write_set(option, field, out);
        break;
    case RT_OPT_SECTIONS: /* written by item */
    case RT_OPT_ABSENT:
        break;
    case RT_OPT_TREE:
        tree = *(const struct rt_node *const *)field;
        if (tree != NULL)
            rt_tree_write(tree, out);
        else
            rt_buf_add_c(out, "[]");
        break;
    }
}

/* ---- lists of sections ---- */

struct items {
    const unsigned char *first;
    size_t count;
};

static struct items items_of(const struct rt_option *option, const unsigned char *base)
{
    struct items items;
    memcpy(&items.first, base + option->offset, sizeof(items.first));
    memcpy(&items.count, base + option->count_offset, sizeof(items.count));
    return items;
}

/* Is the option set in this item of the tree, or one that every item has? */
static bool is_written(const struct rt_option *option, const struct rt_node *node)
{
    if (option->type == RT_OPT_ABSENT)
        return false;
    const struct rt_node *value = rt_tree_at(node, rt_str_c(option->path));
    return (option->min > 0 && option->def == NULL) || (value != NULL && !rt_node_is_null(value));
}

/* As one would write it: `{match: "*", history: {size: 100}}`. Sections open and close as the paths go. */
static void write_item(const struct rt_option_table *table, const unsigned char *item,
                       const struct rt_node *node, struct rt_buf *out)
{
    struct rt_str open = RT_STR_NONE;
    bool first = true;
    rt_buf_add_byte(out, '{');
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (!is_written(option, node))
            continue;
        struct rt_str name, section = rt_str_split(rt_str_c(option->path), '.', &name);
        if (name.len == 0) {
            name = section;
            section = RT_STR_NONE;
        }
        if (!rt_str_eq(section, open) && open.len > 0)
            rt_buf_add_byte(out, '}');
        rt_buf_add_c(out, first ? "" : ", ");
        if (!rt_str_eq(section, open) && section.len > 0)
            rt_buf_printf(out, "%.*s: {", RT_STR_ARG(section));
        first = false;
        open = section;
        rt_buf_printf(out, "%.*s: ", RT_STR_ARG(name));
        write_value(option, item, out);
    }
    rt_buf_add_c(out, open.len > 0 ? "}}" : "}");
}

static void write_list(const struct rt_option *option, const unsigned char *base,
                       const struct rt_node *list, struct rt_buf *out)
{
    struct items items = items_of(option, base);
    rt_buf_add_byte(out, '[');
    for (size_t i = 0; i < items.count; i++) {
        rt_buf_add_c(out, i == 0 ? "" : ", ");
        write_item(option->items, items.first + i * option->items->item_size, list->items[i], out);
    }
    rt_buf_add_byte(out, ']');
}

/* ---- where values come from ---- */

static void write_mark(const struct rt_mark *mark, struct rt_buf *out)
{
    rt_buf_add_c(out, mark->source);
    if (mark->line > 0)
        rt_buf_printf(out, ":%u:%u", (unsigned)mark->line, (unsigned)mark->column);
}

/* `path` as in the tree: "channels.0.log". The twin with _file counts for a secret. */
static void write_source(const struct rt_node *root, const struct rt_option *option,
                         const char *path, struct rt_buf *out)
{
    const struct rt_node *node = rt_tree_at(root, rt_str_c(path));
    struct rt_buf twin = RT_BUF_INIT;
    if (option->secret && (node == NULL || rt_node_is_null(node))) {
        rt_buf_printf(&twin, "%s_file", path);
        const char *text = rt_buf_cstr(&twin);
        node = text != NULL ? rt_tree_at(root, rt_str_c(text)) : NULL;
        out->failed = out->failed || text == NULL;
    }
    rt_buf_deinit(&twin);
    if (node == NULL || rt_node_is_null(node))
        rt_buf_add_c(out, "default");
    else
        write_mark(&node->mark, out);
}

static void pad(struct rt_buf *out, size_t line_start)
{
    size_t width = out->len - line_start;
    rt_buf_printf(out, "%*s  # ", (int)(width < SOURCE_COLUMN ? SOURCE_COLUMN - width : 0), "");
}

/* ---- the three dumps ---- */

static void write_effective(const struct rt_node *root, const struct rt_option *option,
                            const unsigned char *base, const char *path, struct rt_buf *out);

static void write_effective_items(const struct rt_node *root, const struct rt_option *option,
                                  const unsigned char *base, const char *path, struct rt_buf *out)
{
    struct items items = items_of(option, base);
    for (size_t i = 0; i < items.count; i++) {
        const unsigned char *item = items.first + i * option->items->item_size;
        for (size_t j = 0; j < option->items->count; j++) {
            struct rt_buf inner = RT_BUF_INIT;
            rt_buf_printf(&inner, "%s.%zu.%s", path, i, option->items->options[j].path);
            const char *text = rt_buf_cstr(&inner);
            if (text != NULL)
                write_effective(root, &option->items->options[j], item, text, out);
            out->failed = out->failed || text == NULL;
            rt_buf_deinit(&inner);
        }
    }
}

static void write_effective(const struct rt_node *root, const struct rt_option *option,
                            const unsigned char *base, const char *path, struct rt_buf *out)
{
    if (option->type == RT_OPT_ABSENT)
        return;
    if (option->type == RT_OPT_SECTIONS && items_of(option, base).count > 0) {
        write_effective_items(root, option, base, path, out);
        return;
    }
    size_t start = out->len;
    rt_buf_printf(out, "%s = ", path);
    if (option->type == RT_OPT_SECTIONS)
        rt_buf_add_c(out, "[]");
    else
        write_value(option, base, out);
    pad(out, start);
    write_source(root, option, path, out);
    rt_buf_add_byte(out, '\n');
}

static void write_defaults(const struct rt_option_table *table, const char *where,
                           struct rt_buf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (option->type == RT_OPT_ABSENT)
            continue;
        rt_buf_printf(out, "%s%s = ", where, option->path);
        rt_option_default(option, out);
        rt_buf_add_byte(out, '\n');
        if (option->type != RT_OPT_SECTIONS)
            continue;
        struct rt_buf inner = RT_BUF_INIT;
        rt_buf_printf(&inner, "%s%s[].", where, option->path);
        const char *text = rt_buf_cstr(&inner);
        if (text != NULL)
            write_defaults(option->items, text, out);
        out->failed = out->failed || text == NULL;
        rt_buf_deinit(&inner);
    }
}

/* A shell's single quotes: nothing inside them is special but the quote itself. */
static void write_shell_quoted(struct rt_str text, struct rt_buf *out)
{
    rt_buf_add_byte(out, '\'');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\'')
            rt_buf_add_c(out, "'\\''");
        else
            rt_buf_add_byte(out, (uint8_t)text.ptr[i]);
    }
    rt_buf_add_byte(out, '\'');
}

static bool hides_any(const struct rt_option *option, const unsigned char *base);

/* Is there a secret in the value, which is shown as "***"? */
static bool hides(const struct rt_option *option, const unsigned char *base)
{
    const void *field = base + option->offset;
    if (option->type == RT_OPT_SECTIONS)
        return hides_any(option, base);
    if (option->type == RT_OPT_STRING)
        return option->secret && **(const char *const *)field != '\0';
    const struct rt_strings *pairs = option->type == RT_OPT_PAIRS ? field : NULL;
    for (size_t i = 0; pairs != NULL && i < pairs->count; i++) {
        struct rt_str value, name = rt_str_split(rt_str_c(pairs->items[i]), '=', &value);
        if (rt_option_secret_name(name))
            return true;
    }
    return false;
}

static bool hides_any(const struct rt_option *option, const unsigned char *base)
{
    struct items items = items_of(option, base);
    const struct rt_option_table *table = option->items;
    for (size_t i = 0; i < items.count * table->count; i++) {
        const unsigned char *item = items.first + i / table->count * table->item_size;
        const struct rt_option *inner = &table->options[i % table->count];
        if (inner->type != RT_OPT_ABSENT && hides(inner, item))
            return true;
    }
    return false;
}

/* A text of the environment is taken as it is, without YAML's quotes. A line without its secret is a comment: a shell that reads it shall not set "***". */
static void write_env(const struct rt_node *root, const struct rt_option *option,
                      const unsigned char *base, struct rt_buf *out)
{
    struct rt_buf value = RT_BUF_INIT;
    size_t start = out->len;
    bool hidden = hides(option, base);
    rt_buf_add_c(out, hidden ? "# " : "");
    if (hidden && option->type == RT_OPT_STRING)
        rt_buf_add_c(&value, "***");
    else if (option->type == RT_OPT_STRING)
        rt_buf_add_c(&value, *(const char *const *)(const void *)(base + option->offset));
    else if (option->type == RT_OPT_SECTIONS)
        write_list(option, base, rt_tree_at(root, rt_str_c(option->path)), &value);
    else
        write_value(option, base, &value);
    rt_option_env_name(option, out);
    rt_buf_add_byte(out, '=');
    write_shell_quoted(rt_buf_str(&value), out);
    pad(out, start);
    write_source(root, option, option->path, out);
    rt_buf_add_byte(out, '\n');
    out->failed = out->failed || !rt_buf_ok(&value);
    rt_buf_deinit(&value);
}

void rt_config_dump(const struct rt_config *config, enum rt_config_dump what, struct rt_buf *out)
{
    const struct rt_config_store *store = config->arena;
    const struct rt_option_table *table = rt_options();
    const unsigned char *base = (const unsigned char *)config;
    if (what == RT_DUMP_DEFAULTS) {
        write_defaults(table, "", out);
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (what == RT_DUMP_EFFECTIVE)
            write_effective(store->root, option, base, option->path, out);
        else if (option->type != RT_OPT_ABSENT)
            write_env(store->root, option, base, out);
    }
}
