#include "conf/config.h"

#include "base/alloc.h"
#include "base/list.h"
#include "conf/apply.h"
#include "conf/check.h"
#include "conf/expand.h"
#include "conf/option.h"
#include "conf/sources.h"
#include "conf/store.h"
#include "conf/tree.h"
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_PATH_CAP = 96 };

/* One load: what the steps hand on. */
struct load {
    struct rt_config_store *store;
    const struct rt_config_args *args;
    struct rt_conf_errors *errors;
    struct rt_conf_errors *warnings;
    const char *name; /* of the file; NULL: there is none */
    bool open_to_all; /* the file's mode lets every user read it */
};

/* ---- the file ---- */

static int read_all(int fd, struct rt_buf *out)
{
    /* One byte more than is allowed: the reader of the text reports it. */
    while (out->len <= RT_NODE_MAX_BYTES) {
        uint8_t *room = rt_buf_reserve(out, 16384);
        if (room == NULL)
            return RT_ENOMEM;
        ssize_t n = read(fd, room, 16384);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return RT_EIO;
        if (n > 0)
            out->len += (size_t)n;
    }
    return 0;
}

static int read_file(struct load *l, struct rt_buf *out)
{
    const char *name = l->args->file;
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int err = fd < 0 ? RT_EIO : read_all(fd, out);
    if (err == RT_EIO)
        rt_conf_error(l->errors, NULL, "cannot read %.200s: %s", name, strerror(errno));
    if (err == 0)
        l->open_to_all = fstat(fd, &st) == 0 && (st.st_mode & S_IROTH) != 0;
    if (fd >= 0)
        close(fd);
    return err;
}

/* A value that stands in the file itself, neither in another file nor in a variable. */
static bool is_inline(const struct rt_node *node)
{
    return node != NULL && node->kind == RT_NODE_SCALAR && !node->expanded && node->text.len > 0 &&
           node->mark.line > 0;
}

static void warn_of_secret(const struct load *l, const struct rt_mark *mark, const char *path,
                           bool has_twin)
{
    rt_conf_error(l->warnings, mark,
                  "%s: a secret in a file that every user can read: chmod o-r, or use %s", path,
                  has_twin ? "its twin that ends in _file" : "${VAR}");
}

static void warn_of_pairs(const struct load *l, const struct rt_node *map, const char *path)
{
    for (size_t i = 0; map != NULL && map->kind == RT_NODE_MAP && i < map->count; i++)
        if (rt_option_secret_name(map->keys[i]->text) && is_inline(map->items[i]))
            warn_of_secret(l, &map->items[i]->mark, path, false);
}

/* All secrets that the table knows of, in lists too. `where`: the path of `node`, with its dot. */
static void warn_of_inline_secrets(const struct load *l, const struct rt_option_table *table,
                                   const struct rt_node *node, const char *where)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        const struct rt_node *value = rt_tree_at(node, rt_str_c(option->path));
        char path[SECRET_PATH_CAP];
        snprintf(path, sizeof(path), "%s%s", where, option->path);
        if (option->secret && is_inline(value))
            warn_of_secret(l, &value->mark, path, true);
        else if (option->type == RT_OPT_PAIRS)
            warn_of_pairs(l, value, path);
        if (option->type != RT_OPT_SECTIONS || value == NULL || value->kind != RT_NODE_LIST)
            continue;
        for (size_t j = 0; j < value->count; j++) {
            char inner[SECRET_PATH_CAP + 32];
            snprintf(inner, sizeof(inner), "%s[%zu].", path, j);
            warn_of_inline_secrets(l, option->items, value->items[j], inner);
        }
    }
}

/* ---- what is worked out ---- */

static int set_node_name(struct load *l)
{
    struct rt_config *config = &l->store->config;
    struct rt_str name = rt_str_c(config->node.name);
    bool own = name.len > 0;
    if (!own && !(rt_environ_get(l->args->environ_, RT_STR("HOSTNAME"), &name) && name.len > 0))
        name = rt_host_name();
    if (name.len == 0)
        name = RT_STR("node");
    char *clean = rt_arena_copy(
        &l->store->arena,
        rt_str_of(name.ptr, name.len < RT_CONF_NODE_NAME ? name.len : RT_CONF_NODE_NAME));
    if (clean == NULL)
        return RT_ENOMEM;
    for (char *c = clean; *c != '\0'; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        if (!letter && !(*c >= '0' && *c <= '9') && *c != '_')
            *c = '-';
    }
    if (own && !rt_str_eq(rt_str_c(clean), name))
        rt_conf_error(l->warnings, rt_tree_place(l->store->root, RT_STR("node.name")),
                      "node.name: \"%.80s\" is used as %s: letters, digits, _ and -, at most %d",
                      config->node.name, clean, RT_CONF_NODE_NAME);
    config->node.name = clean;
    return 0;
}

static void set_raw_channels(struct rt_config *config)
{
    for (size_t i = 0; i < config->raw_count; i++) {
        struct rt_raw_config *raw = &config->raw[i];
        if (raw->channel[0] == '\0')
            raw->channel = strstr(raw->path, "{channel}") != NULL ? "{channel}" : "{sid}";
    }
}

static void warn_of_mode(const struct load *l)
{
    if (l->name == NULL && !l->args->dev)
        rt_conf_error(l->warnings, NULL,
                      "no --config: everything is allowed, on loopback, as with --dev; `rtbroker "
                      "init` prints a file to start from");
    if (l->open_to_all)
        warn_of_inline_secrets(l, rt_options(), l->store->root, "");
}

/* ---- the whole ---- */

static int build(struct load *l, struct rt_str text)
{
    struct rt_config_store *store = l->store;
    struct rt_yaml_input input = {.arena = &store->arena,
                                  .text = text,
                                  .source = l->name != NULL ? l->name : "",
                                  .lines = true,
                                  .environ_ = l->args->environ_,
                                  .errors = l->errors};
    int err = rt_yaml_read(&input, &store->root);
    if (err == 0 && store->root->kind != RT_NODE_MAP && !rt_node_is_null(store->root)) {
        rt_conf_error(l->errors, &store->root->mark, "got %s; allowed: a map of sections",
                      rt_node_kind_name(store->root));
        err = RT_EINVAL;
    }
    bool readable = err == 0;
    if (err == RT_ENOMEM)
        return err;
    if (!readable || store->root->kind != RT_NODE_MAP) {
        const struct rt_mark start = {.source = input.source, .line = 1, .column = 1};
        store->root = rt_tree_new(&store->arena, &start, RT_NODE_MAP);
    }
    struct rt_sources sources = {.arena = &store->arena,
                                 .args = l->args,
                                 .dev = store->config.dev,
                                 .errors = l->errors,
                                 .warnings = l->warnings};
    struct rt_apply apply = {.arena = &store->arena, .errors = l->errors, .warnings = l->warnings};
    err = store->root == NULL ? RT_ENOMEM : rt_sources_merge(&sources, store->root);
    if (err == 0)
        err = rt_apply(&apply, rt_options(), &store->config, store->root);
    if (err == 0)
        err = set_node_name(l);
    if (err != 0)
        return err;
    set_raw_channels(&store->config);
    struct rt_check check = {&store->config, store->root, l->errors, l->warnings};
    /* Without its file the rest would contradict what nobody wrote. */
    if (readable) {
        rt_check_config(&check);
        if (l->args->check != NULL && l->args->check(&check) == RT_ENOMEM)
            return RT_ENOMEM;
    }
    warn_of_mode(l);
    return 0;
}

static int load(struct load *l, struct rt_str text, struct rt_config **ret_config)
{
    struct rt_config_store *store = rt_calloc(1, sizeof(*store));
    if (store == NULL)
        return RT_ENOMEM;
    size_t errors_before = l->errors->count + l->errors->dropped;
    l->store = store;
    store->config.arena = store;
    store->config.dev = l->args->dev || l->name == NULL;
    store->config.source = rt_arena_copy(&store->arena, rt_str_c(l->name != NULL ? l->name : ""));
    int err = store->config.source == NULL ? RT_ENOMEM : build(l, text);
    if (err == 0 && (l->errors->nomem || l->warnings->nomem))
        err = RT_ENOMEM;
    if (err == 0 && l->errors->count + l->errors->dropped > errors_before)
        err = RT_EINVAL;
    rt_conf_errors_sort(l->errors);
    rt_conf_errors_sort(l->warnings);
    if (err != 0)
        rt_config_free(&store->config);
    else
        *ret_config = &store->config;
    return err;
}

int rt_config_load_text(const struct rt_config_args *args, struct rt_str text, const char *name,
                        struct rt_config **ret_config, struct rt_conf_errors *errors,
                        struct rt_conf_errors *warnings)
{
    struct load l = {.args = args, .errors = errors, .warnings = warnings, .name = name};
    return load(&l, text, ret_config);
}

int rt_config_load(const struct rt_config_args *args, struct rt_config **ret_config,
                   struct rt_conf_errors *errors, struct rt_conf_errors *warnings)
{
    struct load l = {.args = args, .errors = errors, .warnings = warnings, .name = args->file};
    struct rt_buf text = RT_BUF_INIT;
    int err = args->file != NULL ? read_file(&l, &text) : 0;
    if (err == 0)
        err = load(&l, rt_buf_str(&text), ret_config);
    rt_buf_deinit(&text);
    return err;
}

void rt_config_free(struct rt_config *config)
{
    if (config == NULL)
        return;
    struct rt_config_store *store = RT_CONTAINER(config, struct rt_config_store, config);
    rt_arena_deinit(&store->arena);
    rt_free(store);
}

void rt_strings_join(const struct rt_strings *strings, struct rt_buf *out)
{
    for (size_t i = 0; i < strings->count; i++) {
        rt_buf_add_c(out, i > 0 ? "," : "");
        rt_buf_add_c(out, strings->items[i]);
    }
}

uint32_t rt_config_sessions_per_ip(const struct rt_config *config)
{
    return config->limits.sessions_per_ip ? config->limits.sessions_per_ip
                                          : config->limits.connections_per_ip;
}
