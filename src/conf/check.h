/* What no single option can say: addresses, paths, limits that contradict each other, options that do nothing in this mode.
 * Thread: the main thread. */
#ifndef RT_CONF_CHECK_H
#define RT_CONF_CHECK_H

#include "conf/config.h"

struct rt_check {
    const struct rt_config *config;
    const struct rt_node *root; /* the merged tree, for the places */
    struct rt_conf_errors *errors;
    struct rt_conf_errors *warnings;
};

void rt_check_config(const struct rt_check *check);

/* The place of `path` (printf style: "channels.%zu.log") in its source, else of what is around it; NULL: no source has any of it. */
__attribute__((format(printf, 2, 3))) const struct rt_mark *rt_check_place(
    const struct rt_check *check, const char *path, ...);

#endif
