#include "conf/tree.h"

struct rt_node *rt_tree_scalar(struct rt_arena *arena, const struct rt_mark *mark,
                               struct rt_str text, bool quoted)
{
    struct rt_node *node = rt_tree_new(arena, mark, RT_NODE_SCALAR);
    char *copy = rt_arena_copy(arena, text);
    if (node == NULL || copy == NULL)
        return NULL;
    node->text = rt_str_of(copy, text.len);
    node->quoted = quoted;
    return node;
}

struct rt_node *rt_tree_new(struct rt_arena *arena, const struct rt_mark *mark,
                            enum rt_node_kind kind)
{
    struct rt_node *node = rt_arena_alloc(arena, sizeof(*node));
    if (node == NULL)
        return NULL;
    node->kind = kind;
    node->mark = *mark;
    return node;
}

static struct rt_node **grown(struct rt_arena *arena, struct rt_node **old, size_t count)
{
    struct rt_node **array = rt_arena_array(arena, count == 0 ? 1 : count * 2, sizeof(*array));
    if (array != NULL && count > 0)
        memcpy(array, old, count * sizeof(*array));
    return array;
}

int rt_tree_add(struct rt_arena *arena, struct rt_node *parent, struct rt_node *key,
                struct rt_node *item)
{
    size_t count = parent->count;
    /* The room is the next power of two, so that no capacity has to be stored. */
    if ((count & (count - 1)) == 0) {
        struct rt_node **items = grown(arena, parent->items, count);
        struct rt_node **keys = key != NULL ? grown(arena, parent->keys, count) : NULL;
        if (items == NULL || (key != NULL && keys == NULL))
            return RT_ENOMEM;
        parent->items = items;
        parent->keys = keys;
    }
    parent->items[count] = item;
    if (key != NULL)
        parent->keys[count] = key;
    parent->count++;
    return 0;
}

/* Where in `parent` a path's segment stands: an index below count, count when absent, SIZE_MAX when it cannot be there. */
static size_t index_of(const struct rt_node *parent, struct rt_str segment)
{
    if (parent->kind == RT_NODE_MAP) {
        size_t i = 0;
        while (i < parent->count && !rt_str_eq(parent->keys[i]->text, segment))
            i++;
        return i;
    }
    uint64_t index;
    if (parent->kind == RT_NODE_LIST && rt_str_to_u64(segment, &index) == 0 &&
        index <= parent->count)
        return (size_t)index;
    return SIZE_MAX;
}

static int put_at(struct rt_arena *arena, struct rt_node *parent, struct rt_str segment,
                  struct rt_node *item)
{
    size_t i = index_of(parent, segment);
    if (i == SIZE_MAX)
        return RT_ENOENT;
    if (i < parent->count) {
        parent->items[i] = item;
        return 0;
    }
    if (parent->kind == RT_NODE_LIST)
        return rt_tree_add(arena, parent, NULL, item);
    struct rt_node *key = rt_tree_scalar(arena, &item->mark, segment, false);
    return key == NULL ? RT_ENOMEM : rt_tree_add(arena, parent, key, item);
}

int rt_tree_put(struct rt_arena *arena, struct rt_node *root, struct rt_str path,
                struct rt_node *item)
{
    struct rt_node *node = root;
    struct rt_str rest = path;
    struct rt_str segment = rt_str_split(rest, '.', &rest);
    while (rest.len > 0) {
        size_t i = index_of(node, segment);
        if (i == SIZE_MAX)
            return RT_ENOENT;
        struct rt_node *next = i < node->count ? node->items[i] : NULL;
        if (next == NULL || rt_node_is_null(next)) {
            uint64_t number;
            struct rt_str after, child = rt_str_split(rest, '.', &after);
            bool list = rt_str_to_u64(child, &number) == 0;
            next = rt_tree_new(arena, &item->mark, list ? RT_NODE_LIST : RT_NODE_MAP);
            int err = next == NULL ? RT_ENOMEM : put_at(arena, node, segment, next);
            if (err != 0)
                return err;
        }
        node = next;
        segment = rt_str_split(rest, '.', &rest);
    }
    return put_at(arena, node, segment, item);
}

/* Follows `path` as far as it goes; `*ret_whole` says whether that was to its end. */
static struct rt_node *follow(const struct rt_node *root, struct rt_str path, bool *ret_whole)
{
    struct rt_node *node = (struct rt_node *)root;
    while (path.len > 0) {
        struct rt_str segment = rt_str_split(path, '.', &path);
        size_t i = index_of(node, segment);
        if (i >= node->count) {
            *ret_whole = false;
            return node;
        }
        node = node->items[i];
    }
    *ret_whole = true;
    return node;
}

struct rt_node *rt_tree_at(const struct rt_node *root, struct rt_str path)
{
    bool whole;
    struct rt_node *node = follow(root, path, &whole);
    return whole ? node : NULL;
}

const struct rt_mark *rt_tree_place(const struct rt_node *root, struct rt_str path)
{
    bool whole;
    const struct rt_node *node = follow(root, path, &whole);
    return node == root ? NULL : &node->mark;
}

void rt_tree_write_text(struct rt_str text, struct rt_buf *out)
{
    rt_buf_add_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"' || c == '\\') {
            rt_buf_add_byte(out, '\\');
            rt_buf_add_byte(out, c);
        } else if (c == '\n') {
            rt_buf_add_c(out, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            rt_buf_printf(out, "\\u%04x", (unsigned)c);
        } else {
            rt_buf_add_byte(out, c);
        }
    }
    rt_buf_add_byte(out, '"');
}

static void write_scalar(const struct rt_node *node, struct rt_buf *out)
{
    bool ignored;
    if (rt_node_is_null(node))
        rt_buf_add_c(out, "null");
    else if (rt_node_is_number(node) || rt_node_bool(node, &ignored))
        rt_buf_add_str(out, node->text);
    else
        rt_tree_write_text(node->text, out);
}

static bool is_plain_key(struct rt_str key)
{
    for (size_t i = 0; i < key.len; i++) {
        char c = key.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9' && i > 0) || c == '_' ||
              (c == '$' && i == 0)))
            return false;
    }
    return key.len > 0;
}

void rt_tree_write(const struct rt_node *node, struct rt_buf *out)
{
    if (node->kind == RT_NODE_SCALAR) {
        write_scalar(node, out);
        return;
    }
    bool map = node->kind == RT_NODE_MAP;
    rt_buf_add_byte(out, map ? '{' : '[');
    for (size_t i = 0; i < node->count; i++) {
        if (i > 0)
            rt_buf_add_c(out, ", ");
        if (map && is_plain_key(node->keys[i]->text))
            rt_buf_add_str(out, node->keys[i]->text);
        else if (map)
            rt_tree_write_text(node->keys[i]->text, out);
        if (map)
            rt_buf_add_c(out, ": ");
        rt_tree_write(node->items[i], out);
    }
    rt_buf_add_byte(out, map ? '}' : ']');
}
