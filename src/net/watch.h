/* Watching a descriptor that a library owns (hiredis' socket, a pipe that librdkafka writes to).
 *
 * The descriptor must be non-blocking, and stay open until `closed`, since libuv still knows it.
 * Thread: the loop. */
#ifndef RT_NET_WATCH_H
#define RT_NET_WATCH_H

#include "net/loop.h"

struct rt_watch;

#define RT_WATCH_READ  1
#define RT_WATCH_WRITE 2

/* `ready` is called with what the descriptor is ready for; an error or hang-up counts as everything that is asked for. Nothing is
 * watched until rt_watch_set(). RT_ENOMEM, RT_EIO (not a descriptor that can be polled). */
int rt_watch_new(struct rt_loop *loop, int fd, void (*ready)(void *arg, int events), void *arg,
                 struct rt_watch **ret_watch);
/* What to watch for from now on: RT_WATCH_*, 0 nothing. Cheap when it does not change. */
void rt_watch_set(struct rt_watch *watch, int events);
int rt_watch_events(const struct rt_watch *watch);
/* `ready` is not called any more; `closed` (may be NULL) later, once the descriptor may be closed. The struct is freed then. */
void rt_watch_close(struct rt_watch *watch, void (*closed)(void *arg), void *arg);

#endif
