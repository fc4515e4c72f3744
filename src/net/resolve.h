/* Names to addresses through libuv's threads, for libraries that take addresses only. Thread: the loop. */
#ifndef RT_NET_RESOLVE_H
#define RT_NET_RESOLVE_H

#include "net/loop.h"

struct rt_resolve;

/* `done` is called later, exactly once unless cancelled: with the first address as text ("127.0.0.1", "::1"), or NULL and the reason. */
int rt_resolve_start(struct rt_loop *loop, const char *host,
                     void (*done)(void *arg, const char *address, const char *reason), void *arg,
                     struct rt_resolve **ret_resolve);
/* `done` is not called any more. A lookup that runs already ends by itself, in its own time: the loop waits for it. */
void rt_resolve_cancel(struct rt_resolve *resolve);

#endif
