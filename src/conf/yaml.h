/* YAML (and JSON) text to a node tree with marks, through libyaml's events. The only user of libyaml.
 *
 * Accepted is the part that a configuration needs: one document of maps, lists and scalars. Anchors, aliases, tags, directives,
 * duplicate keys, keys that are not text and NUL characters are errors at their place; so is what exceeds RT_NODE_MAX_*.
 * libyaml allocates by itself: its memory lives only during the call. Thread: the main thread. */
#ifndef RT_CONF_YAML_H
#define RT_CONF_YAML_H

#include "conf/arena.h"
#include "conf/node.h"

struct rt_yaml_input {
    struct rt_arena *arena; /* gets the tree */
    struct rt_str text;
    const char *source;    /* copied */
    bool lines;            /* false: one line of a flag or variable, marks have a column only */
    char *const *environ_; /* for ${VAR}; may be NULL */
    struct rt_conf_errors *errors;
};

/* 0: there is a tree; errors that leave one (a tag, a duplicate key, a missing variable) are only in `errors`.
 * RT_EINVAL: no tree (syntax, limits), reason in `errors`. RT_ENOMEM. */
int rt_yaml_read(const struct rt_yaml_input *input, struct rt_node **ret_root);

#endif
