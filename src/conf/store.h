/* What stands behind a struct rt_config: its memory, and the tree that it was made from, which knows where each value came from.
 * Internal to conf. Thread: as rt_config. */
#ifndef RT_CONF_STORE_H
#define RT_CONF_STORE_H

#include "conf/arena.h"
#include "conf/config.h"

struct rt_config_store {
    struct rt_config config; /* its `arena` points back here */
    struct rt_arena arena;
    struct rt_node *root;
};

#endif
