#include "conf/sources.h"

#include "conf/dev_profile.h"
#include "conf/expand.h"
#include "conf/tree.h"
#include "conf/yaml.h"

enum { ENV_PREFIX_LEN = sizeof("RTBROKER_") - 1 };

/* ---- text of one option to a node ---- */

static int read_yaml(const struct rt_sources *s, struct rt_str text, const struct rt_mark *mark,
                     struct rt_node **ret_node)
{
    struct rt_yaml_input input = {.arena = s->arena,
                                  .text = text,
                                  .source = mark->source,
                                  .environ_ = s->args->environ_,
                                  .errors = s->errors};
    int err = rt_yaml_read(&input, ret_node);
    if (err != RT_EINVAL)
        return err;
    *ret_node = NULL; /* reported; the option stays as it was */
    return 0;
}

static int split_list(const struct rt_sources *s, struct rt_str text, const struct rt_mark *mark,
                      struct rt_node **ret_node)
{
    struct rt_node *list = rt_tree_new(s->arena, mark, RT_NODE_LIST);
    if (list == NULL)
        return RT_ENOMEM;
    struct rt_str rest = rt_str_trim(text);
    while (rest.len > 0) {
        struct rt_str item = rt_str_trim(rt_str_split(rest, ',', &rest));
        struct rt_node *node = rt_tree_scalar(s->arena, mark, item, true);
        if (node == NULL || rt_tree_add(s->arena, list, NULL, node) != 0)
            return RT_ENOMEM;
    }
    *ret_node = list;
    return 0;
}

static bool is_enclosed(struct rt_str text, char open, char close)
{
    return text.len >= 2 && text.ptr[0] == open && text.ptr[text.len - 1] == close;
}

static int read_value(const struct rt_sources *s, const struct rt_option *option,
                      struct rt_str text, const struct rt_mark *mark, struct rt_node **ret_node)
{
    struct rt_str trimmed = rt_str_trim(text);
    bool flow = is_enclosed(trimmed, '[', ']') || is_enclosed(trimmed, '{', '}');
    switch (option->type) {
    case RT_OPT_STRINGS:
    case RT_OPT_PAIRS:
    case RT_OPT_SET:
        return flow ? read_yaml(s, text, mark, ret_node) : split_list(s, text, mark, ret_node);
    case RT_OPT_SECTIONS:
    case RT_OPT_TREE:
        return trimmed.len == 0 ? split_list(s, text, mark, ret_node)
                                : read_yaml(s, text, mark, ret_node);
    case RT_OPT_ABSENT:
        if (flow)
            return read_yaml(s, text, mark, ret_node);
        break;
    default:
        break;
    }
    /* A plain number or boolean must not count as quoted; text must, or "null" would be nothing. */
    bool quoted = option->type == RT_OPT_STRING || option->type == RT_OPT_ENUM || text.len == 0;
    *ret_node = rt_tree_scalar(s->arena, mark, text, quoted);
    return *ret_node == NULL ? RT_ENOMEM : 0;
}

/* Where the tree has no room for the path because a section is something else there, that is reported when it is applied. */
static int put(const struct rt_sources *s, struct rt_node *root, struct rt_str path,
               struct rt_node *node)
{
    int err = rt_tree_put(s->arena, root, path, node);
    return err == RT_ENOENT ? 0 : err;
}

/* A source's name in the arena: "--set " and what is set. */
static int make_mark(const struct rt_sources *s, const char *kind, struct rt_str what,
                     struct rt_mark *ret_mark)
{
    struct rt_buf name = RT_BUF_INIT;
    rt_buf_add_c(&name, kind);
    rt_buf_add_str(&name, what);
    const char *copy = rt_buf_ok(&name) ? rt_arena_copy(s->arena, rt_buf_str(&name)) : NULL;
    rt_buf_deinit(&name);
    *ret_mark = (struct rt_mark){.source = copy, .line = 0, .column = 0};
    return copy == NULL ? RT_ENOMEM : 0;
}

/* ---- environment ---- */

static int merge_variable(const struct rt_sources *s, struct rt_node *root,
                          const struct rt_option *option, const char *variable)
{
    struct rt_str value;
    if (!rt_environ_get(s->args->environ_, rt_str_c(variable), &value))
        return 0;
    struct rt_mark mark;
    struct rt_node *node = NULL;
    int err = make_mark(s, RT_SOURCE_ENVIRONMENT, rt_str_c(variable), &mark);
    if (err == 0)
        err = read_value(s, option, value, &mark, &node);
    return err != 0 || node == NULL ? err : put(s, root, rt_str_c(option->path), node);
}

/* Every environment name, NULL-terminated. */
static const char **variable_names(const struct rt_sources *s)
{
    const struct rt_option_table *table = rt_options();
    const char **names = rt_arena_array(s->arena, table->count + 1, sizeof(*names));
    for (size_t i = 0; names != NULL && i < table->count; i++) {
        struct rt_buf name = RT_BUF_INIT;
        rt_option_env_name(&table->options[i], &name);
        names[i] = rt_buf_ok(&name) ? rt_arena_copy(s->arena, rt_buf_str(&name)) : NULL;
        rt_buf_deinit(&name);
        if (names[i] == NULL)
            return NULL;
    }
    return names;
}

/* A warning only: container platforms set variables of their own, such as RTBROKER_PORT for a service named rtbroker. */
static int warn_unknown(const struct rt_sources *s, const char *const *names)
{
    for (char *const *e = s->args->environ_; *e != NULL; e++) {
        struct rt_str value, name = rt_str_split(rt_str_c(*e), '=', &value);
        if (!rt_str_starts(name, RT_STR("RTBROKER_")))
            continue;
        const char *const *known = names;
        while (*known != NULL && !rt_str_eq(name, rt_str_c(*known)))
            known++;
        if (*known != NULL)
            continue;
        const char *near = rt_conf_suggest(name, names);
        struct rt_mark mark;
        int err = make_mark(s, RT_SOURCE_ENVIRONMENT, name, &mark);
        if (err != 0)
            return err;
        rt_conf_error(s->warnings, &mark, "names no option and is ignored%s%s%s",
                      near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                      near != NULL ? "?" : "");
    }
    return 0;
}

/* Nearly always there is none, and the names of all options need not be made. */
static bool has_variables(const struct rt_sources *s)
{
    char *const *e = s->args->environ_;
    while (e != NULL && *e != NULL && !rt_str_starts(rt_str_c(*e), RT_STR("RTBROKER_")))
        e++;
    return e != NULL && *e != NULL;
}

static int merge_environment(const struct rt_sources *s, struct rt_node *root)
{
    if (!has_variables(s))
        return 0;
    const struct rt_option_table *table = rt_options();
    const char **names = variable_names(s);
    if (names == NULL)
        return RT_ENOMEM;
    for (size_t i = 0; i < table->count; i++) {
        int err = merge_variable(s, root, &table->options[i], names[i]);
        if (err != 0)
            return err;
    }
    return warn_unknown(s, names);
}

/* ---- flags ---- */

/* Is it the path of an item of a list, "channels.0.log"? Splits it into the list and what follows the index. */
static const struct rt_option *find_indexed(struct rt_str path, struct rt_str *ret_rest)
{
    const struct rt_option_table *table = rt_options();
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        struct rt_str list = rt_str_c(option->path);
        if (option->type != RT_OPT_SECTIONS || !rt_str_starts(path, list) ||
            path.len <= list.len + 1 || path.ptr[list.len] != '.')
            continue;
        struct rt_str index = rt_str_of(path.ptr + list.len + 1, path.len - list.len - 1);
        uint64_t number;
        index = rt_str_split(index, '.', ret_rest);
        if (ret_rest->len > 0 && rt_str_to_u64(index, &number) == 0)
            return option;
    }
    return NULL;
}

/* The option that `path` names, also inside an item; a text for the _file twin of a secret. */
static const struct rt_option *find_path(struct rt_str path, bool *ret_indexed)
{
    static const struct rt_option file_name = {.path = "file", .type = RT_OPT_STRING};
    struct rt_str rest;
    bool file = false;
    const struct rt_option *option = rt_option_find(rt_options(), path, &file);
    *ret_indexed = false;
    if (option == NULL) {
        const struct rt_option *list = find_indexed(path, &rest);
        *ret_indexed = list != NULL;
        option = list == NULL ? NULL : rt_option_find(list->items, rest, &file);
    }
    return option != NULL && file ? &file_name : option;
}

static int refuse_path(const struct rt_sources *s, struct rt_str path)
{
    const struct rt_option_table *table = rt_options();
    const char **names = rt_arena_array(s->arena, table->count + 1, sizeof(*names));
    struct rt_mark mark;
    int err = make_mark(s, RT_SOURCE_SET, path, &mark);
    if (names == NULL || err != 0)
        return RT_ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < table->count; i++) {
        if (table->options[i].type != RT_OPT_ABSENT)
            names[count++] = table->options[i].path;
    }
    const char *near = rt_conf_suggest(path, names);
    if (path.len > 0 && rt_option_is_section(table, path))
        rt_conf_error(s->errors, &mark, "is a section: set one of its options");
    else
        rt_conf_error(s->errors, &mark, "unknown option%s%s%s",
                      near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                      near != NULL ? "?" : "");
    return 0;
}

/* One --set. Items of lists are set in a pass of their own, after the demo profile may have brought the list. */
static int merge_set(const struct rt_sources *s, struct rt_node *root, const char *text,
                     bool indexed_pass)
{
    struct rt_str value, path = rt_str_trim(rt_str_split(rt_str_c(text), '=', &value));
    struct rt_mark mark;
    bool indexed;
    if (value.ptr == NULL) {
        int err = indexed_pass ? 0 : make_mark(s, RT_SOURCE_SET, path, &mark);
        if (err == 0 && !indexed_pass)
            rt_conf_error(s->errors, &mark, "has no value; allowed: path=value");
        return err;
    }
    const struct rt_option *option = find_path(path, &indexed);
    if (indexed != indexed_pass)
        return 0;
    if (option == NULL)
        return refuse_path(s, path);
    struct rt_node *node = NULL;
    int err = make_mark(s, RT_SOURCE_SET, path, &mark);
    if (err == 0)
        err = read_value(s, option, value, &mark, &node);
    if (err != 0 || node == NULL)
        return err;
    err = rt_tree_put(s->arena, root, path, node);
    if (err != RT_ENOENT)
        return err;
    rt_conf_error(s->errors, &mark, "there is no such item; lists can grow by one at their end");
    return 0;
}

static int merge_sets(const struct rt_sources *s, struct rt_node *root, bool indexed_pass)
{
    for (const char **set = s->args->set; set != NULL && *set != NULL; set++) {
        int err = merge_set(s, root, *set, indexed_pass);
        if (err != 0)
            return err;
    }
    return 0;
}

static int merge_listen(const struct rt_sources *s, struct rt_node *root)
{
    const char **address = s->args->listen;
    if (address == NULL || *address == NULL)
        return 0;
    const struct rt_mark mark = {.source = RT_SOURCE_LISTEN, .line = 0, .column = 0};
    struct rt_node *list = rt_tree_new(s->arena, &mark, RT_NODE_LIST);
    if (list == NULL)
        return RT_ENOMEM;
    for (; *address != NULL; address++) {
        struct rt_node *node = rt_tree_scalar(s->arena, &mark, rt_str_c(*address), true);
        if (node == NULL || rt_tree_add(s->arena, list, NULL, node) != 0)
            return RT_ENOMEM;
    }
    return put(s, root, RT_STR("http.listen"), list);
}

/* ---- demo profile ---- */

/* Each of these comes as a whole, and only when the tree has nothing there. */
static const char *const dev_parts[] = {"origins",
                                        "channels",
                                        "protocols.raw",
                                        "protocols.socketio.cors.origins",
                                        "protocols.socketio.enforce_origin",
                                        "protocols.socketio.recovery",
                                        "socketio",
                                        "shutdown.drain",
                                        "shutdown.jitter",
                                        NULL};

static int merge_dev(const struct rt_sources *s, struct rt_node *root)
{
    struct rt_yaml_input input = {.arena = s->arena,
                                  .text = rt_str_c(rt_dev_profile()),
                                  .source = RT_SOURCE_DEV,
                                  .lines = true,
                                  .errors = s->errors};
    struct rt_node *profile;
    int err = rt_yaml_read(&input, &profile);
    for (const char *const *part = dev_parts; *part != NULL && err == 0; part++) {
        struct rt_str path = rt_str_c(*part);
        struct rt_node *own = rt_tree_at(root, path), *theirs = rt_tree_at(profile, path);
        if (own == NULL || rt_node_is_null(own))
            err = put(s, root, path, theirs);
    }
    return err;
}

int rt_sources_merge(const struct rt_sources *sources, struct rt_node *root)
{
    int err = merge_environment(sources, root);
    if (err == 0)
        err = merge_sets(sources, root, false);
    if (err == 0 && sources->dev)
        err = merge_dev(sources, root);
    if (err == 0)
        err = merge_sets(sources, root, true);
    return err == 0 ? merge_listen(sources, root) : err;
}
