#include "conf/apply.h"

#include "conf/tree.h"
#include "conf/value.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <stdio.h>
#include <unistd.h>

enum { PATH_CAP = 160, SECRET_CAP = 64 * 1024, KNOWN_CAP = 160, ITEMS_CAP = 1000 };

/* One value on its way into one field. */
struct target {
    const struct rt_apply *apply;
    const struct rt_option *option;
    unsigned char *base;    /* of the struct */
    const char *path;       /* for people: "channels[0].log" */
    struct rt_buf *scratch; /* cleared by each user */
};

static void *field(const struct target *t)
{
    return t->base + t->option->offset;
}

/* "PATH: got SEEN; allowed: ALLOWED[EXTRA]" */
static void refuse_with(const struct target *t, const struct rt_node *node, const char *extra)
{
    char seen[64];
    rt_buf_clear(t->scratch);
    rt_option_allowed(t->option, false, t->scratch);
    const char *allowed = rt_buf_cstr(t->scratch);
    if (allowed == NULL) {
        t->apply->errors->nomem = true;
        return;
    }
    const char *got = rt_node_seen(node, seen);
    if (t->option->secret && node->kind == RT_NODE_SCALAR)
        got = node->text.len == 0 ? "nothing" : "a secret";
    else if (node->kind == RT_NODE_LIST && node->count == 0)
        got = "an empty list";
    rt_conf_error(t->apply->errors, &node->mark, "%s: got %s; allowed: %s%s", t->path, got, allowed,
                  extra);
}

static int refuse(const struct target *t, const struct rt_node *node)
{
    struct rt_node plain = *node;
    plain.quoted = false;
    bool ignored;
    bool quoted = node->kind == RT_NODE_SCALAR && node->quoted &&
                  (rt_node_is_number(&plain) || rt_node_bool(&plain, &ignored));
    refuse_with(t, node, quoted ? "; written in quotes it is text" : "");
    return 0;
}

static int apply_bool(const struct target *t, const struct rt_node *node)
{
    bool value;
    if (!rt_node_bool(node, &value))
        return refuse(t, node);
    memcpy(field(t), &value, sizeof(value));
    return 0;
}

static int apply_int(const struct target *t, const struct rt_node *node)
{
    int64_t value;
    if (!rt_node_i64(node, &value) || value < 0 || (uint64_t)value < t->option->min ||
        (uint64_t)value > t->option->max)
        return refuse(t, node);
    uint32_t stored = (uint32_t)value;
    memcpy(field(t), &stored, sizeof(stored));
    return 0;
}

static int apply_quantity(const struct target *t, const struct rt_node *node,
                          int (*parse)(struct rt_str, uint64_t *))
{
    uint64_t value;
    if (node->kind != RT_NODE_SCALAR || parse(rt_str_trim(node->text), &value) != 0 ||
        value < t->option->min || value > t->option->max)
        return refuse(t, node);
    memcpy(field(t), &value, sizeof(value));
    return 0;
}

static int apply_duration(const struct target *t, const struct rt_node *node)
{
    return apply_quantity(t, node, rt_duration_parse);
}

static int apply_size(const struct target *t, const struct rt_node *node)
{
    return apply_quantity(t, node, rt_size_parse);
}

static int apply_rate(const struct target *t, const struct rt_node *node)
{
    return apply_quantity(t, node, rt_rate_parse);
}

static int apply_string(const struct target *t, const struct rt_node *node)
{
    if (node->kind != RT_NODE_SCALAR || node->text.len < t->option->min)
        return refuse(t, node);
    memcpy(field(t), &node->text.ptr, sizeof(node->text.ptr));
    return 0;
}

static const struct rt_choice *choose(const struct target *t, const struct rt_node *node)
{
    const struct rt_choice *choice = t->option->choices;
    if (node->kind != RT_NODE_SCALAR)
        return NULL;
    while (choice->name != NULL && !rt_str_eq(node->text, rt_str_c(choice->name)))
        choice++;
    return choice->name == NULL ? NULL : choice;
}

static int refuse_choice(const struct target *t, const struct rt_node *node,
                         const struct rt_choice *absent)
{
    enum { MOST = 16 };
    const char *names[MOST] = {NULL};
    size_t count = 0;
    for (const struct rt_choice *c = t->option->choices; c->name != NULL && count < MOST - 1; c++) {
        if (!c->absent)
            names[count++] = c->name;
    }
    const char *near = node->kind == RT_NODE_SCALAR ? rt_conf_suggest(node->text, names) : NULL;
    char extra[64] = "";
    if (absent != NULL)
        snprintf(extra, sizeof(extra), "; %s is not available in this build", absent->name);
    else if (near != NULL)
        snprintf(extra, sizeof(extra), "; did you mean %s?", near);
    refuse_with(t, node, extra);
    return 0;
}

static int apply_enum(const struct target *t, const struct rt_node *node)
{
    const struct rt_choice *choice = choose(t, node);
    if (choice == NULL || choice->absent)
        return refuse_choice(t, node, choice);
    int value = (int)choice->value;
    memcpy(field(t), &value, sizeof(value));
    return 0;
}

/* A single text stands for a list of one. */
static const struct rt_node *item_of(const struct rt_node *node, size_t i)
{
    return node->kind == RT_NODE_LIST ? node->items[i] : node;
}

static size_t item_count(const struct rt_node *node)
{
    return node->kind == RT_NODE_LIST ? node->count : 1;
}

/* A bound, so that checks may compare every item with every other. */
static bool is_too_long(const struct target *t, const struct rt_node *list)
{
    if (list->kind == RT_NODE_SCALAR || list->count <= ITEMS_CAP)
        return false;
    rt_conf_error(t->apply->errors, &list->mark, "%s: got %zu items; allowed: at most %d", t->path,
                  list->count, ITEMS_CAP);
    return true;
}

static int apply_strings(const struct target *t, const struct rt_node *node)
{
    if (node->kind == RT_NODE_MAP)
        return refuse(t, node);
    if (is_too_long(t, node))
        return 0;
    struct rt_strings strings = {NULL, item_count(node)};
    strings.items = rt_arena_array(t->apply->arena, strings.count, sizeof(*strings.items));
    if (strings.items == NULL)
        return RT_ENOMEM;
    for (size_t i = 0; i < strings.count; i++) {
        const struct rt_node *item = item_of(node, i);
        if (item->kind != RT_NODE_SCALAR || item->text.len == 0 || rt_node_is_null(item))
            return refuse(t, item);
        strings.items[i] = item->text.ptr;
    }
    memcpy(field(t), &strings, sizeof(strings));
    return 0;
}

/* "name=value" in the arena; NULL: out of memory. */
static const char *join_pair(const struct target *t, struct rt_str name, struct rt_str value)
{
    rt_buf_clear(t->scratch);
    rt_buf_add_str(t->scratch, name);
    rt_buf_add_byte(t->scratch, '=');
    rt_buf_add_str(t->scratch, value);
    return rt_buf_ok(t->scratch) ? rt_arena_copy(t->apply->arena, rt_buf_str(t->scratch)) : NULL;
}

/* The i-th pair of a map, or of a list of texts "name=value" (environment and flags). False: it is none, and was refused. */
static bool read_pair(const struct target *t, const struct rt_node *node, size_t i,
                      struct rt_str *ret_name, struct rt_str *ret_value)
{
    const struct rt_node *item = item_of(node, i);
    if (node->kind == RT_NODE_MAP) {
        item = node->items[i];
        *ret_name = node->keys[i]->text;
        *ret_value = item->text;
    } else if (item->kind == RT_NODE_SCALAR) {
        *ret_name = rt_str_trim(rt_str_split(item->text, '=', ret_value));
    }
    bool good = item->kind == RT_NODE_SCALAR && ret_value->ptr != NULL && ret_name->len > 0 &&
                memchr(ret_name->ptr, '=', ret_name->len) == NULL;
    if (!good)
        refuse(t, item);
    return good;
}

static int apply_pairs(const struct target *t, const struct rt_node *node)
{
    if (node->kind == RT_NODE_SCALAR && node->text.len == 0)
        return 0;
    if (is_too_long(t, node))
        return 0;
    struct rt_strings pairs = {NULL, node->kind == RT_NODE_MAP ? node->count : item_count(node)};
    pairs.items = rt_arena_array(t->apply->arena, pairs.count, sizeof(*pairs.items));
    if (pairs.items == NULL)
        return RT_ENOMEM;
    for (size_t i = 0; i < pairs.count; i++) {
        struct rt_str name = RT_STR_NONE, value = RT_STR_NONE;
        if (!read_pair(t, node, i, &name, &value))
            return 0;
        pairs.items[i] = join_pair(t, name, value);
        if (pairs.items[i] == NULL)
            return RT_ENOMEM;
    }
    memcpy(field(t), &pairs, sizeof(pairs));
    return 0;
}

static int apply_set(const struct target *t, const struct rt_node *node)
{
    if (node->kind == RT_NODE_MAP || item_count(node) == 0)
        return refuse_choice(t, node, NULL);
    for (const struct rt_choice *c = t->option->choices; c->name != NULL; c++)
        t->base[t->option->offset + c->value] = false;
    for (size_t i = 0; i < item_count(node); i++) {
        const struct rt_choice *choice = choose(t, item_of(node, i));
        if (choice == NULL)
            return refuse_choice(t, item_of(node, i), NULL);
        t->base[t->option->offset + choice->value] = true;
    }
    return 0;
}

static int apply_tree(const struct target *t, const struct rt_node *node)
{
    if (node->kind != RT_NODE_LIST)
        return refuse(t, node);
    memcpy(field(t), &node, sizeof(node));
    return 0;
}

static bool is_neutral(const struct rt_option *option, const struct rt_node *node)
{
    if (node->kind != RT_NODE_SCALAR)
        return node->count == 0;
    bool value = true;
    if (rt_node_is_null(node) || node->text.len == 0)
        return true;
    if (option->def != NULL && rt_str_eq(node->text, rt_str_c(option->def)))
        return true;
    return rt_node_bool(node, &value) && !value;
}

static int apply_absent(const struct target *t, const struct rt_node *node)
{
    if (!is_neutral(t->option, node))
        rt_conf_error(
            t->apply->errors, &node->mark,
            "%s: not available in this build: remove it, so that nothing is believed to be "
            "in force that is not",
            t->path);
    return 0;
}

static int apply_map(const struct rt_apply *apply, const struct rt_option_table *table,
                     unsigned char *base, const struct rt_node *tree, const char *where);

static int apply_sections(const struct target *t, const struct rt_node *node)
{
    if (node->kind != RT_NODE_LIST)
        return refuse(t, node);
    if (is_too_long(t, node))
        return 0;
    const struct rt_option_table *table = t->option->items;
    unsigned char *items = rt_arena_array(t->apply->arena, node->count, table->item_size);
    if (items == NULL)
        return RT_ENOMEM;
    for (size_t i = 0; i < node->count; i++) {
        char where[PATH_CAP];
        snprintf(where, sizeof(where), "%s[%zu]", t->path, i);
        unsigned char *item = items + i * table->item_size;
        int err = apply_map(t->apply, table, item, node->items[i], where);
        if (err != 0)
            return err;
    }
    memcpy(field(t), &items, sizeof(items));
    memcpy(t->base + t->option->count_offset, &node->count, sizeof(node->count));
    return 0;
}

static int apply_value(const struct target *t, const struct rt_node *node)
{
    static int (*const appliers[])(const struct target *, const struct rt_node *) = {
        [RT_OPT_BOOL] = apply_bool,         [RT_OPT_INT] = apply_int,
        [RT_OPT_DURATION] = apply_duration, [RT_OPT_SIZE] = apply_size,
        [RT_OPT_RATE] = apply_rate,         [RT_OPT_STRING] = apply_string,
        [RT_OPT_ENUM] = apply_enum,         [RT_OPT_STRINGS] = apply_strings,
        [RT_OPT_PAIRS] = apply_pairs,       [RT_OPT_SET] = apply_set,
        [RT_OPT_SECTIONS] = apply_sections, [RT_OPT_TREE] = apply_tree,
        [RT_OPT_ABSENT] = apply_absent,
    };
    return appliers[t->option->type](t, node);
}

/* ---- secrets in files ---- */

/* At most SECRET_CAP bytes of a file. RT_EIO: errno says why; RT_ERANGE: there is more. `*ret_open`: every user can read it. */
static int read_secret(const char *path, struct rt_buf *out, bool *ret_open)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return RT_EIO;
    int err = 0;
    *ret_open = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0;
    for (;;) {
        uint8_t *room = rt_buf_reserve(out, 4096);
        ssize_t n = room == NULL ? 0 : read(fd, room, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err = room == NULL ? RT_ENOMEM : n < 0 ? RT_EIO : 0;
            break;
        }
        out->len += (size_t)n;
        if (out->len > SECRET_CAP) {
            err = RT_ERANGE;
            break;
        }
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return err;
}

/* The content of the file without white space at its end, as editors and `echo` leave it. */
static int apply_secret_file(const struct target *t, const struct rt_node *node)
{
    if (node->kind != RT_NODE_SCALAR) {
        rt_conf_error(t->apply->errors, &node->mark, "%s_file: got %s; allowed: the name of a file",
                      t->path, rt_node_kind_name(node));
        return 0;
    }
    if (node->text.len == 0)
        return 0;
    struct rt_buf content = RT_BUF_INIT;
    char seen[64];
    bool open_to_all = false;
    int err = read_secret(node->text.ptr, &content, &open_to_all);
    struct rt_str secret = rt_str_trim(rt_buf_str(&content));
    if (open_to_all)
        rt_conf_error(t->apply->warnings, &node->mark, "%s_file: every user can read %s: chmod o-r",
                      t->path, rt_node_seen(node, seen));
    if (err == RT_EIO)
        rt_conf_error(t->apply->errors, &node->mark, "%s_file: cannot read %s: %s", t->path,
                      rt_node_seen(node, seen), strerror(errno));
    else if (err == RT_ERANGE || (secret.len > 0 && memchr(secret.ptr, '\0', secret.len) != NULL))
        rt_conf_error(t->apply->errors, &node->mark,
                      "%s_file: %s holds no secret: it has NUL characters or more than %d bytes",
                      t->path, rt_node_seen(node, seen), SECRET_CAP);
    else if (err == 0 && secret.len == 0)
        rt_conf_error(t->apply->errors, &node->mark, "%s_file: %s is empty", t->path,
                      rt_node_seen(node, seen));
    else if (err == 0) {
        const char *copy = rt_arena_copy(t->apply->arena, secret);
        err = copy == NULL ? RT_ENOMEM : 0;
        memcpy(field(t), &copy, sizeof(copy));
    }
    rt_buf_deinit(&content);
    return err == RT_ENOMEM ? err : 0;
}

/* ---- maps ---- */

static void join_names(const char *const *names, struct rt_buf *out)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        rt_buf_add_c(out, i == 0 ? "" : ", ");
        rt_buf_add_c(out, names[i]);
    }
}

static int refuse_key(const struct target *t, const struct rt_option_table *table,
                      const struct rt_node *key, struct rt_str section)
{
    const char *const *names = rt_option_names(t->apply->arena, table, section, false);
    const char *const *all = rt_option_names(t->apply->arena, table, section, true);
    if (names == NULL || all == NULL)
        return RT_ENOMEM;
    char seen[64], near_text[80] = "";
    const char *near = rt_conf_suggest(key->text, names);
    if (near == NULL)
        near = rt_conf_suggest(key->text, all);
    if (near != NULL)
        snprintf(near_text, sizeof(near_text), "; did you mean %s?", near);
    else if (section.len == 0 && rt_option_find(table, key->text, NULL) != NULL)
        snprintf(near_text, sizeof(near_text), "; write a section for each dot, indented");
    rt_buf_clear(t->scratch);
    join_names(names, t->scratch);
    const char *known = rt_buf_cstr(t->scratch);
    if (known == NULL)
        return RT_ENOMEM;
    bool show = t->scratch->len > 0 && t->scratch->len <= KNOWN_CAP;
    rt_conf_error(t->apply->errors, &key->mark, "unknown key %s%s%s%s%s%s", rt_node_seen(key, seen),
                  t->path[0] != '\0' ? " in " : "", t->path, near_text, show ? "; known: " : "",
                  show ? known : "");
    return 0;
}

/* What stands between the root of a table and the map that is being read. */
struct place {
    const struct rt_option_table *table;
    const char *where;      /* the table: "" or "channels[0]" */
    char section[PATH_CAP]; /* in the table: "" or "history" */
};

/* Cuts what is longer than any option's path: that is unknown anyway. */
static void join_path(char out[PATH_CAP], const char *head, const char *tail)
{
    snprintf(out, PATH_CAP, "%.64s%s%.90s", head, *head != '\0' && *tail != '\0' ? "." : "", tail);
}

static int apply_section(const struct target *t, const struct place *place,
                         const struct rt_node *map);

static int apply_key(const struct target *table_target, const struct place *place,
                     const struct rt_node *key, const struct rt_node *value)
{
    struct target t = *table_target;
    struct place inner = {.table = place->table, .where = place->where};
    char shown[PATH_CAP];
    bool file = false;
    join_path(inner.section, place->section, key->text.ptr);
    bool dotted = key->text.len == 0 || memchr(key->text.ptr, '.', key->text.len) != NULL;
    struct rt_str path = rt_str_c(inner.section);
    join_path(shown, place->where, inner.section);
    t.path = shown;
    t.option = dotted ? NULL : rt_option_find(place->table, path, &file);
    if (t.option != NULL && file) {
        shown[strlen(shown) - strlen("_file")] = '\0';
        return rt_node_is_null(value) ? 0 : apply_secret_file(&t, value);
    }
    if (t.option != NULL)
        return rt_node_is_null(value) ? 0 : apply_value(&t, value);
    if (!dotted && rt_option_is_section(place->table, path))
        return apply_section(&t, &inner, value);
    join_path(shown, place->where, place->section);
    return refuse_key(&t, place->table, key, rt_str_c(place->section));
}

static int apply_section(const struct target *t, const struct place *place,
                         const struct rt_node *map)
{
    if (map->kind != RT_NODE_MAP) {
        char seen[64], shown[PATH_CAP];
        join_path(shown, place->where, place->section);
        if (!rt_node_is_null(map))
            rt_conf_error(t->apply->errors, &map->mark,
                          "%s%sgot %s; allowed: a section (a map of options)", shown,
                          *shown != '\0' ? ": " : "", rt_node_seen(map, seen));
        return 0;
    }
    for (size_t i = 0; i < map->count; i++) {
        int err = apply_key(t, place, map->keys[i], map->items[i]);
        if (err != 0)
            return err;
    }
    return 0;
}

static int apply_default(struct target *t)
{
    struct rt_mark nowhere = {NULL, 0, 0};
    struct rt_str def = rt_str_c(t->option->def);
    if (t->option->type != RT_OPT_STRINGS && t->option->type != RT_OPT_SET) {
        const struct rt_node scalar = {.kind = RT_NODE_SCALAR, .mark = nowhere, .text = def};
        return apply_value(t, &scalar);
    }
    struct rt_node *node = rt_tree_new(t->apply->arena, &nowhere, RT_NODE_LIST);
    if (node == NULL)
        return RT_ENOMEM;
    while (def.len > 0) {
        struct rt_str text = rt_str_trim(rt_str_split(def, ',', &def));
        struct rt_node *item = rt_tree_scalar(t->apply->arena, &nowhere, text, true);
        if (item == NULL || rt_tree_add(t->apply->arena, node, NULL, item) != 0)
            return RT_ENOMEM;
    }
    return apply_value(t, node);
}

static int apply_defaults(struct target *t, const struct rt_option_table *table)
{
    static const char *const empty = "";
    for (size_t i = 0; i < table->count; i++) {
        t->option = &table->options[i];
        t->path = t->option->path;
        if (t->option->type == RT_OPT_STRING)
            memcpy(field(t), &empty, sizeof(empty));
        if (t->option->type == RT_OPT_ABSENT || t->option->def == NULL)
            continue;
        int err = apply_default(t);
        if (err != 0)
            return err;
    }
    return 0;
}

static const struct rt_node *value_at(const struct rt_node *map, const char *path)
{
    const struct rt_node *node = rt_tree_at(map, rt_str_c(path));
    return node == NULL || rt_node_is_null(node) ? NULL : node;
}

/* Texts that must be there, and secrets that are there twice. */
static void check_texts(const struct target *t, const struct rt_option_table *table,
                        const struct rt_node *map, const char *where)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (option->type != RT_OPT_STRING)
            continue;
        char twin[PATH_CAP], shown[PATH_CAP];
        snprintf(twin, sizeof(twin), "%s_file", option->path);
        join_path(shown, where, option->path);
        const struct rt_node *value = value_at(map, option->path);
        const struct rt_node *file = option->secret ? value_at(map, twin) : NULL;
        if (value != NULL && file != NULL && value->text.len > 0 && file->text.len > 0)
            rt_conf_error(t->apply->errors, &file->mark,
                          "%s and %s_file are both set: remove one of them", shown, shown);
        else if (value == NULL && file == NULL && option->min > 0 && option->def == NULL)
            rt_conf_error(t->apply->errors, &map->mark, "%s is missing%s%s%s", shown,
                          option->secret ? "; set it or " : "", option->secret ? shown : "",
                          option->secret ? "_file" : "");
    }
}

static int apply_map(const struct rt_apply *apply, const struct rt_option_table *table,
                     unsigned char *base, const struct rt_node *tree, const char *where)
{
    struct rt_buf scratch = RT_BUF_INIT;
    struct target t = {.apply = apply, .base = base, .scratch = &scratch};
    const struct place top = {.table = table, .where = where};
    int err = apply_defaults(&t, table);
    if (err == 0 && rt_node_is_null(tree))
        rt_conf_error(apply->errors, &tree->mark, "%s: got nothing; allowed: a section", where);
    else if (err == 0)
        err = apply_section(&t, &top, tree);
    if (err == 0 && tree->kind == RT_NODE_MAP)
        check_texts(&t, table, tree, where);
    rt_buf_deinit(&scratch);
    return err;
}

int rt_apply(const struct rt_apply *apply, const struct rt_option_table *table, void *base,
             const struct rt_node *tree)
{
    return apply_map(apply, table, base, tree, "");
}
