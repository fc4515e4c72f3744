/* Building and changing node trees inside an arena; node.h is what readers see.
 *
 * Every function that allocates returns NULL or RT_ENOMEM when memory is out. A path is written with dots, as options are:
 * "http.listen"; a number picks an item of a list: "channels.0.match". Thread: one at a time. */
#ifndef RT_CONF_TREE_H
#define RT_CONF_TREE_H

#include "conf/arena.h"
#include "conf/node.h"

struct rt_node *rt_tree_scalar(struct rt_arena *arena, const struct rt_mark *mark,
                               struct rt_str text, bool quoted);
/* An empty list or map. */
struct rt_node *rt_tree_new(struct rt_arena *arena, const struct rt_mark *mark,
                            enum rt_node_kind kind);
/* Appends to a list (`key` NULL) or a map. The key is not searched. */
int rt_tree_add(struct rt_arena *arena, struct rt_node *parent, struct rt_node *key,
                struct rt_node *item);
/* Puts `item` under `path`, which makes the maps on the way and replaces what was there. Where the way leads through something
 * that cannot hold it (a text, an index past the end) nothing changes: RT_ENOENT. An index one past the end appends. */
int rt_tree_put(struct rt_arena *arena, struct rt_node *root, struct rt_str path,
                struct rt_node *item);
/* NULL: nothing there. */
struct rt_node *rt_tree_at(const struct rt_node *root, struct rt_str path);
/* The mark of what stands at `path` or, where it is absent, of the nearest node around it; NULL when that is the root. */
const struct rt_mark *rt_tree_place(const struct rt_node *root, struct rt_str path);
/* One line of YAML that is JSON too, but for plain keys: `{match: "chat:*", log: true}`. */
void rt_tree_write(const struct rt_node *node, struct rt_buf *out);
/* Text in double quotes with JSON's escapes. */
void rt_tree_write_text(struct rt_str text, struct rt_buf *out);

#endif
