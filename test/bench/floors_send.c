#include "bench_ws.h"
#include "floors.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define RUN_MAX (256U << 10)

void rt_floor_send_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

void rt_floor_join(struct rt_floor_channel *channel, int fd)
{
    if (channel->count == channel->cap) {
        channel->cap = channel->cap > 0 ? channel->cap * 2 : 1024;
        channel->fds = rt_bench_grow(channel->fds, channel->cap, sizeof(channel->fds[0]));
    }
    channel->fds[channel->count++] = fd;
}

void rt_floor_leave(struct rt_floor_channel *channel, int fd)
{
    for (size_t i = 0; i < channel->count; i++) {
        if (channel->fds[i] == fd) {
            channel->fds[i] = channel->fds[--channel->count];
            return;
        }
    }
}

void rt_floor_publish(struct rt_floor_channel *channel, enum rt_floor_mode mode,
                      struct rt_floor_uring *ring, const struct rt_bench_template *wrap,
                      const uint8_t *message, size_t len)
{
    size_t text = wrap->prefix_len + len + wrap->suffix_len;
    size_t need = channel->run_len + RT_BENCH_WS_HEADER_MAX + text;
    if (channel->run_cap < need) {
        channel->run_cap = need * 2;
        channel->run = rt_bench_grow(channel->run, channel->run_cap, 1);
    }
    uint8_t *out = channel->run + channel->run_len;
    size_t header = rt_bench_ws_header(out, RT_BENCH_WS_TEXT, text, NULL);
    channel->run_len += header + rt_bench_template_fill(wrap, message, len, out + header);
    if (mode == RT_FLOOR_SEND || channel->run_len >= RUN_MAX)
        rt_floor_flush(channel, ring);
}

void rt_floor_flush(struct rt_floor_channel *channel, struct rt_floor_uring *ring)
{
    size_t len = channel->run_len;
    if (len == 0)
        return;
    if (ring != NULL) {
        rt_floor_uring_send(ring, channel->fds, channel->count, channel->run, len);
    } else {
        for (size_t i = 0; i < channel->count; i++)
            rt_floor_send_all(channel->fds[i], channel->run, len);
    }
    channel->run_len = 0;
}
