/* The plain flush backend: one send(2) or sendmsg(2) per connection. */
#include "net/flush.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "net/conn_internal.h"

/* How far ahead connections are fetched into the cache. One send takes microseconds, so a few are
 * enough. */
#define PREFETCH 4

struct send_state {
    struct iovec iov[RT_FLUSH_IOV];
};

static void *send_open(void)
{
    return rt_malloc(sizeof(struct send_state));
}

static void send_close(void *state)
{
    rt_free(state);
}

static ssize_t write_queue(struct send_state *state, struct rt_conn *conn)
{
    size_t count = rt_conn_gather(conn, state->iov, RT_FLUSH_IOV);
    struct msghdr message = {.msg_iov = state->iov, .msg_iovlen = count};
    int fd = rt_conn_fd(conn);
    ssize_t sent;
    do {
        if (count == 1)
            sent = send(fd, state->iov[0].iov_base, state->iov[0].iov_len,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
        else
            sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static void send_submit(void *state, struct rt_conn **conns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i + PREFETCH < count)
            rt_conn_prefetch(conns[i + PREFETCH]);
        rt_conn_written(conns[i], write_queue(state, conns[i]));
    }
}

const struct rt_flush_backend rt_flush_send = {
    .name = "send",
    .open = send_open,
    .submit = send_submit,
    .close = send_close,
};
