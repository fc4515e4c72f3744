/* `${VAR}` and `${VAR:-default}` in configuration text; `$${` is a literal `${`.
 *
 * In YAML's flow style the braces of `{name: ${HOSTNAME}}` would be a map, so the text is prepared before libyaml sees it: the ASCII
 * characters of each `${...}` (within one line) are moved to a block of private code points, one for one, which keeps lines
 * and columns. The reader's scalars are then moved back and expanded. Thread: any. */
#ifndef RT_CONF_EXPAND_H
#define RT_CONF_EXPAND_H

#include "base/buf.h"
#include "base/err.h"

/* Appends `text` with every `${...}` moved. RT_EINVAL: the text itself uses one of the private code points; `*ret_at` is where. */
int rt_expand_prepare(struct rt_str text, struct rt_buf *out, size_t *ret_at);
/* Appends a scalar of a prepared text with its variables moved back but not expanded: for keys. */
void rt_expand_restore(struct rt_str text, struct rt_buf *out);
/* Appends a scalar of a prepared text with its variables replaced; `*ret_expanded` becomes true when there was one. `environ_` may be
 * NULL. HOSTNAME, which shells often do not export, falls back to the system's name. RT_EINVAL with text: missing variable, bad syntax;
 * RT_ERANGE: more than `room` bytes. `out` then holds a part. */
int rt_expand(struct rt_str text, char *const *environ_, size_t room, struct rt_buf *out,
              bool *ret_expanded, struct rt_err *err);
/* The value of a variable; false when it is not set. */
bool rt_environ_get(char *const *environ_, struct rt_str name, struct rt_str *ret_value);
/* The system's name, "" when it has none. Constant memory of the process: the main thread only. */
struct rt_str rt_host_name(void);

#endif
