#include "conf/option.h"

#include "conf/tree.h"
#include "conf/value.h"

static bool is_file_twin(const struct rt_option *option, struct rt_str path)
{
    struct rt_str own = rt_str_c(option->path), suffix = RT_STR("_file");
    return option->secret && path.len == own.len + suffix.len && rt_str_starts(path, own) &&
           rt_str_eq(rt_str_of(path.ptr + own.len, suffix.len), suffix);
}

const struct rt_option *rt_option_find(const struct rt_option_table *table, struct rt_str path,
                                       bool *ret_is_file)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        bool file = is_file_twin(option, path);
        if (!file && !rt_str_eq(path, rt_str_c(option->path)))
            continue;
        if (ret_is_file != NULL)
            *ret_is_file = file;
        return option;
    }
    return NULL;
}

/* What follows `section` and its dot in `path`; none when it does not stand below. */
static struct rt_str below(const char *path, struct rt_str section)
{
    struct rt_str whole = rt_str_c(path);
    if (section.len == 0)
        return whole;
    if (!rt_str_starts(whole, section) || whole.len <= section.len || whole.ptr[section.len] != '.')
        return RT_STR_NONE;
    return rt_str_of(whole.ptr + section.len + 1, whole.len - section.len - 1);
}

bool rt_option_is_section(const struct rt_option_table *table, struct rt_str path)
{
    for (size_t i = 0; i < table->count; i++) {
        if (below(table->options[i].path, path).len > 0)
            return true;
    }
    return false;
}

/* Adds a name unless it is the last one added: a section's options stand together. */
static int add_name(struct rt_arena *arena, const char **names, size_t *count, struct rt_str name)
{
    if (*count > 0 && rt_str_eq(rt_str_c(names[*count - 1]), name))
        return 0;
    names[*count] = rt_arena_copy(arena, name);
    return names[(*count)++] == NULL ? RT_ENOMEM : 0;
}

const char *const *rt_option_names(struct rt_arena *arena, const struct rt_option_table *table,
                                   struct rt_str section, bool absent)
{
    /* A secret brings two names; one more for the end. */
    const char **names = rt_arena_array(arena, table->count * 2 + 1, sizeof(*names));
    size_t count = 0;
    if (names == NULL)
        return NULL;
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        struct rt_str rest, path = below(option->path, section);
        if (path.len == 0 || (option->type == RT_OPT_ABSENT && !absent))
            continue;
        struct rt_str name = rt_str_split(path, '.', &rest);
        if (add_name(arena, names, &count, name) != 0)
            return NULL;
        if (!option->secret || rest.len > 0)
            continue;
        struct rt_buf twin = RT_BUF_INIT;
        rt_buf_add_str(&twin, name);
        rt_buf_add_c(&twin, "_file");
        int err = rt_buf_ok(&twin) ? add_name(arena, names, &count, rt_buf_str(&twin)) : RT_ENOMEM;
        rt_buf_deinit(&twin);
        if (err != 0)
            return NULL;
    }
    names[count] = NULL;
    return names;
}

void rt_option_env_name(const struct rt_option *option, struct rt_buf *out)
{
    rt_buf_add_c(out, "RTBROKER_");
    for (const char *c = option->path; *c != '\0'; c++) {
        if (*c == '.')
            rt_buf_add_byte(out, '_');
        else
            rt_buf_add_byte(out, (uint8_t)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c));
    }
}

static void write_choices(const struct rt_choice *choices, struct rt_buf *out)
{
    bool first = true;
    for (; choices->name != NULL; choices++) {
        if (choices->absent)
            continue;
        rt_buf_add_c(out, first ? "" : ", ");
        rt_buf_add_c(out, choices->name);
        first = false;
    }
}

static void write_number(uint64_t value, struct rt_buf *out)
{
    rt_buf_add_u64(out, value);
}

/* What the values of a type are, in full and in brief, and how the ends of a range are written. */
static const struct kind {
    const char *full;
    const char *brief;
    void (*write)(uint64_t, struct rt_buf *);
} kinds[] = {
    [RT_OPT_BOOL] = {"true or false", "true or false", NULL},
    [RT_OPT_INT] = {"a whole number from ", "number, ", write_number},
    [RT_OPT_DURATION] = {"a duration (like 250ms, 5s, 10m, 1h, 30d) from ", "duration, ",
                         rt_duration_write},
    [RT_OPT_SIZE] = {"a size (like 512, 64KiB, 1MB, 2GiB) from ", "size, ", rt_size_write},
    [RT_OPT_RATE] = {"a rate (like 10/s, 600/m, 5/h) from ", "rate, ", rt_rate_write},
    [RT_OPT_STRING] = {"text", "text", NULL},
    [RT_OPT_ENUM] = {"one of ", "", NULL},
    [RT_OPT_STRINGS] = {"a list of texts", "list of texts", NULL},
    [RT_OPT_PAIRS] = {"a map of texts (name: value)", "map of texts", NULL},
    [RT_OPT_SET] = {"a list of ", "list of ", NULL},
    [RT_OPT_SECTIONS] = {"a list of sections", "list of sections", NULL},
    [RT_OPT_TREE] = {"a list of rules", "list of rules", NULL},
    [RT_OPT_ABSENT] = {"nothing", "nothing", NULL},
};

void rt_option_allowed(const struct rt_option *option, bool brief, struct rt_buf *out)
{
    const struct kind *kind = &kinds[option->type];
    if (option->secret)
        rt_buf_add_c(out, brief ? "secret " : "a secret ");
    rt_buf_add_c(out, brief ? kind->brief : kind->full);
    if (kind->write != NULL) {
        kind->write(option->min, out);
        rt_buf_add_c(out, " to ");
        kind->write(option->max, out);
    }
    if (option->choices != NULL)
        write_choices(option->choices, out);
    if (option->type == RT_OPT_STRING && option->min > 0)
        rt_buf_add_c(out, ", not empty");
}

void rt_option_default(const struct rt_option *option, struct rt_buf *out)
{
    struct rt_str def = option->def == NULL ? RT_STR("") : rt_str_c(option->def);
    switch (option->type) {
    case RT_OPT_STRING:
        rt_tree_write_text(def, out);
        break;
    case RT_OPT_STRINGS:
    case RT_OPT_SET:
    case RT_OPT_SECTIONS:
    case RT_OPT_TREE:
        rt_buf_add_byte(out, '[');
        for (bool first = true; def.len > 0; first = false) {
            struct rt_str item = rt_str_split(def, ',', &def);
            rt_buf_add_c(out, first ? "" : ", ");
            if (option->type == RT_OPT_SET)
                rt_buf_add_str(out, rt_str_trim(item));
            else
                rt_tree_write_text(rt_str_trim(item), out);
        }
        rt_buf_add_byte(out, ']');
        break;
    case RT_OPT_PAIRS:
        rt_buf_add_c(out, "{}");
        break;
    default:
        rt_buf_add_str(out, def);
        break;
    }
}
