/* The file that `rtbroker init` prints. */
#include "conf/option.h"

enum { WIDTH = 100, STEP = 2 };

/* Text as comment lines, broken between words. Each begins with `indent` spaces and "# "; all but the first have `hang` more behind
 * the "# ". */
static void write_comment(struct rt_str text, size_t indent, size_t hang, struct rt_buf *out)
{
    size_t column = 0, hanging = 0;
    while (text.len > 0) {
        struct rt_str word = rt_str_split(text, ' ', &text);
        if (column > 0 && column + 1 + word.len > WIDTH) {
            rt_buf_add_byte(out, '\n');
            column = 0;
        }
        if (column == 0) {
            rt_buf_printf(out, "%*s#%*s", (int)indent, "", (int)hanging, "");
            column = indent + 1 + hanging;
            hanging = hang;
        }
        rt_buf_add_byte(out, ' ');
        rt_buf_add_str(out, word);
        column += 1 + word.len;
    }
    rt_buf_add_byte(out, '\n');
}

static void write_c_comment(const char *text, size_t indent, struct rt_buf *out)
{
    write_comment(rt_str_c(text), indent, 0, out);
}

/* "DOC (ALLOWED)" as one comment. */
static void write_doc(const struct rt_option *option, size_t indent, struct rt_buf *out)
{
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_printf(&text, "%s (", option->doc);
    rt_option_allowed(option, true, &text);
    rt_buf_add_byte(&text, ')');
    write_comment(rt_buf_str(&text), indent, 0, out);
    out->failed = out->failed || !rt_buf_ok(&text);
    rt_buf_deinit(&text);
}

/* "NAME: DEFAULT (ALLOWED) DOC" of an option inside a list, as one comment. */
static void write_item_option(const struct rt_option *option, size_t indent, struct rt_buf *out)
{
    struct rt_buf text = RT_BUF_INIT;
    bool required = option->type == RT_OPT_STRING && option->min > 0 && option->def == NULL;
    rt_buf_printf(&text, "  %s: ", option->path);
    if (!required)
        rt_option_default(option, &text);
    rt_buf_add_c(&text, required ? "(required, " : " (");
    if (option->secret)
        rt_buf_printf(&text, "or %s_file, ", option->path);
    rt_option_allowed(option, true, &text);
    rt_buf_printf(&text, ") %s", option->doc);
    write_comment(rt_buf_str(&text), indent, 6, out);
    out->failed = out->failed || !rt_buf_ok(&text);
    rt_buf_deinit(&text);
}

static void write_items(const struct rt_option_table *table, size_t indent, struct rt_buf *out)
{
    struct rt_str rest = rt_str_c(table->example);
    while (rest.len > 0) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        rt_buf_printf(out, "%*s#  %.*s\n", (int)indent, "", RT_STR_ARG(line));
    }
    write_c_comment("Options of an item, with their defaults:", indent, out);
    for (size_t i = 0; i < table->count; i++) {
        if (table->options[i].type != RT_OPT_ABSENT)
            write_item_option(&table->options[i], indent, out);
    }
}

static void write_option(const struct rt_option *option, struct rt_str name, size_t indent,
                         struct rt_buf *out)
{
    write_doc(option, indent, out);
    rt_buf_printf(out, "%*s%.*s: ", (int)indent, "", RT_STR_ARG(name));
    rt_option_default(option, out);
    rt_buf_add_byte(out, '\n');
    if (option->type == RT_OPT_SECTIONS)
        write_items(option->items, indent, out);
}

static const char *doc_of(const struct rt_option_table *table, struct rt_str path)
{
    for (const struct rt_section *s = table->sections; s->path != NULL; s++) {
        if (rt_str_eq(rt_str_c(s->path), path))
            return s->doc;
    }
    return NULL;
}

/* The keys of sections on the way to `option` that the option before did not open; returns the depth of the option itself. */
static size_t open_sections(const struct rt_option_table *table, const char *before,
                            const struct rt_option *option, struct rt_str *ret_name,
                            struct rt_buf *out)
{
    struct rt_str rest = rt_str_c(option->path), old = rt_str_c(before);
    struct rt_str segment = rt_str_split(rest, '.', &rest);
    size_t depth = 0;
    bool open = true;
    while (rest.len > 0) {
        struct rt_str old_segment = rt_str_split(old, '.', &old);
        open = open && old.len > 0 && rt_str_eq(segment, old_segment);
        if (!open) {
            size_t end = (size_t)(segment.ptr - option->path) + segment.len;
            const char *doc = doc_of(table, rt_str_of(option->path, end));
            if (depth == 0)
                rt_buf_add_byte(out, '\n');
            if (doc != NULL)
                write_c_comment(doc, depth * STEP, out);
            rt_buf_printf(out, "%*s%.*s:\n", (int)(depth * STEP), "", RT_STR_ARG(segment));
        }
        depth++;
        segment = rt_str_split(rest, '.', &rest);
    }
    if (depth == 0)
        rt_buf_add_byte(out, '\n');
    *ret_name = segment;
    return depth;
}

void rt_config_sample(struct rt_buf *out)
{
    const struct rt_option_table *table = rt_options();
    write_c_comment(
        "Configuration of rtbroker: every option with its default, so that each line can "
        "go that is not changed.",
        0, out);
    write_c_comment("Flags win over the environment (RTBROKER_ and the path in capitals, dots as "
                    "underscores: RTBROKER_HTTP_LISTEN), that over this file, this file over the "
                    "defaults.",
                    0, out);
    write_c_comment(
        "Texts take ${VAR} and ${VAR:-default}; $${ is a literal ${. A missing variable is "
        "an error.",
        0, out);
    write_c_comment(
        "Durations: 250ms 5s 10m 1h 30d. Sizes: 512 64KiB 1MB 2GiB (KB is 1000, KiB 1024). Rates: 10/s 600/m 5/h.",
        0, out);
    write_c_comment("`rtbroker check --config FILE` finds every mistake at once.", 0, out);
    const char *before = "";
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (option->type == RT_OPT_ABSENT)
            continue;
        struct rt_str name;
        size_t depth = open_sections(table, before, option, &name, out);
        write_option(option, name, depth * STEP, out);
        before = option->path;
    }
}
