#include "proto/socketio/compile.h"

#include "conf/value.h"

#define DURATION_MAX ((uint64_t)24 * 3600 * 1000)

void *rt_sio_alloc(struct rt_sio_compile *c, size_t count, size_t size)
{
    void *memory = rt_arena_array(c->arena, count, size);
    if (!memory)
        c->nomem = true;
    return memory;
}

struct rt_str rt_sio_keep(struct rt_sio_compile *c, struct rt_str text)
{
    char *copy = rt_sio_alloc(c, text.len + 1, 1);
    if (!copy)
        return RT_STR_NONE;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    return rt_str_of(copy, text.len);
}

static bool listed(struct rt_str word, const char *const *names)
{
    for (; *names; names++) {
        if (rt_str_eq(word, rt_str_c(*names)))
            return true;
    }
    return false;
}

bool rt_sio_check_keys(struct rt_sio_compile *c, const struct rt_node *map, const char *what,
                       const char *const *names)
{
    if (map->kind != RT_NODE_MAP) {
        char seen[64];
        rt_conf_error(c->errors, &map->mark, "%s is a map, not %s", what, rt_node_seen(map, seen));
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct rt_node *key = map->keys[i];
        if (listed(key->text, names))
            continue;
        const char *near = rt_conf_suggest(key->text, names);
        char seen[64];
        rt_conf_error(c->errors, &key->mark, "unknown key %s in %s%s%s%s", rt_node_seen(key, seen),
                      what, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    return true;
}

bool rt_sio_flag(struct rt_sio_compile *c, const struct rt_node *map, const char *key,
                 bool fallback)
{
    const struct rt_node *node = rt_node_get(map, key);
    bool value = fallback;
    if (node && !rt_node_bool(node, &value)) {
        char seen[64];
        rt_conf_error(c->errors, &node->mark, "`%s` is true or false, not %s", key,
                      rt_node_seen(node, seen));
    }
    return value;
}

uint64_t rt_sio_duration(struct rt_sio_compile *c, const struct rt_node *node, const char *what,
                         uint64_t fallback)
{
    uint64_t ms;
    if (!node)
        return fallback;
    if (node->kind == RT_NODE_SCALAR && rt_duration_parse(node->text, &ms) == 0 && ms >= 1 &&
        ms <= DURATION_MAX)
        return ms;
    char seen[64];
    rt_conf_error(c->errors, &node->mark, "`%s` is a time from 1ms to 1d, such as 10s, not %s",
                  what, rt_node_seen(node, seen));
    return fallback;
}

size_t rt_sio_items(const struct rt_node *const *single, const struct rt_node *const **ret_items)
{
    const struct rt_node *node = *single;
    if (node->kind != RT_NODE_LIST) {
        *ret_items = single;
        return 1;
    }
    *ret_items = (const struct rt_node *const *)node->items;
    return node->count;
}
