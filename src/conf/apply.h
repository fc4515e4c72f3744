/* A node tree to a struct, by an option table: every value checked, every unknown key reported.
 *
 * Defaults come first, so that after errors the struct still holds something valid for the checks that follow.
 * Strings and arrays live in the arena or in the tree, which must live as long. Thread: the main thread. */
#ifndef RT_CONF_APPLY_H
#define RT_CONF_APPLY_H

#include "conf/option.h"

struct rt_apply {
    struct rt_arena *arena;
    struct rt_conf_errors *errors;
    struct rt_conf_errors *warnings; /* of files with secrets that everybody can read */
};

/* Fills the struct at `base` from the map `tree`. 0 (errors may have been added) or RT_ENOMEM. */
int rt_apply(const struct rt_apply *apply, const struct rt_option_table *table, void *base,
             const struct rt_node *tree);

#endif
