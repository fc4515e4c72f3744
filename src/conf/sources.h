/* One tree out of all sources of options: the file, the environment, flags, and in dev mode the built-in demo profile for what
 * nobody has set. Each node's mark says where it comes from.
 *
 * Values of single options in the environment and in --set are taken literally; lists and sections are read as YAML (lists of
 * texts also separated by commas). Thread: the main thread. */
#ifndef RT_CONF_SOURCES_H
#define RT_CONF_SOURCES_H

#include "conf/apply.h"

struct rt_sources {
    struct rt_arena *arena;
    const struct rt_config_args *args;
    bool dev; /* fill in the demo profile */
    struct rt_conf_errors *errors;
    struct rt_conf_errors *warnings;
};

/* Names of the marks that are no file. */
#define RT_SOURCE_ENVIRONMENT "environment "
#define RT_SOURCE_SET         "--set "
#define RT_SOURCE_LISTEN      "--listen"
#define RT_SOURCE_DEV         "demo profile"

/* Puts everything into `root`, the map of the file. 0 (errors may have been added) or RT_ENOMEM. */
int rt_sources_merge(const struct rt_sources *sources, struct rt_node *root);

#endif
