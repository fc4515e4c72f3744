/* How dirty connections are written at the end of a turn: one interface, so that an io_uring batch
 * can be a second implementation.
 *
 * The loop collects connections whose queue is not empty and that have no write pending; at each
 * flush it hands them to `submit`, some at a time, until it has written enough for a turn. The backend tries to write each queue with one system
 * call and reports exactly once for each connection through rt_conn_written(): bytes taken (may be
 * short) or a negative errno, -EAGAIN when nothing was taken. A connection whose write was short
 * is not submitted again until its descriptor is writable (then alone, `count` 1). After `submit`
 * returns no backend may touch the connections or what rt_conn_gather() returned (io_uring sends
 * complete inline with MSG_DONTWAIT). Nothing of the user is called from inside `submit`, and
 * nothing of rt_conn_send() either: the queues do not change but through rt_conn_written().
 * Thread: the loop. Internal to net/. */
#ifndef RT_NET_FLUSH_H
#define RT_NET_FLUSH_H

#include <stddef.h>
#include <sys/types.h>

struct rt_conn;

struct rt_flush_backend {
    const char *name;
    void *(*open)(void); /* NULL: not available here, or out of memory */
    void (*submit)(void *state, struct rt_conn **conns, size_t count);
    void (*close)(void *state);
};

extern const struct rt_flush_backend rt_flush_send; /* send(2) / sendmsg(2) per connection */

/* For backends: the queue as an iovec, and the result. `max` should be RT_FLUSH_IOV: with fewer, a
 * write of everything that was gathered counts as short when more is queued, and waits for
 * writability without need. */
#define RT_FLUSH_IOV 256
struct iovec;
size_t rt_conn_gather(struct rt_conn *conn, struct iovec *iov, size_t max);
int rt_conn_fd(const struct rt_conn *conn);
void rt_conn_written(struct rt_conn *conn, ssize_t result);

#endif
