/* floors: the smallest servers that can do the benchmark's job, as limits to measure against. They parse whole frames and nothing
 * else, have no limits, no timers, no pings, and trust their one client, the load generator.
 *
 *     A  send() for each message and each socket, at once
 *     B  messages of a loop turn put together, then one send() a socket
 *     C  as B, but the sends of all sockets go to the kernel in batches through io_uring
 *
 * Thread: one. Ownership: a channel owns its array and its run; the sockets are the caller's. */
#ifndef RT_BENCH_FLOORS_H
#define RT_BENCH_FLOORS_H

#include "bench_util.h"

enum rt_floor_mode { RT_FLOOR_SEND, RT_FLOOR_CONCAT, RT_FLOOR_URING };

/* Everybody in it gets everything published to it. */
struct rt_floor_channel {
    int *fds;
    size_t count, cap;
    uint8_t *run; /* frames of this turn */
    size_t run_len, run_cap;
};

struct rt_floor_uring;

/* Ends the program with RT_BENCH_EXIT_UNSUPPORTED where the kernel lacks what is needed. */
struct rt_floor_uring *rt_floor_uring_new(void);
/* One send of the same bytes for each socket. Everything is with the kernel on return; what it did not take at once was sent
 * by waiting for the socket. A socket whose peer is gone is left for its read to find. */
void rt_floor_uring_send(struct rt_floor_uring *ring, const int *fds, size_t count,
                         const uint8_t *data, size_t len);

void rt_floor_join(struct rt_floor_channel *channel, int fd);
void rt_floor_leave(struct rt_floor_channel *channel, int fd);
/* Header and payload become a frame: sent at once in mode A, else put into the run, which is flushed early when it is large. */
void rt_floor_publish(struct rt_floor_channel *channel, enum rt_floor_mode mode,
                      struct rt_floor_uring *ring, const struct rt_bench_template *wrap,
                      const uint8_t *message, size_t len);
/* Modes B and C: sends the run. */
void rt_floor_flush(struct rt_floor_channel *channel, struct rt_floor_uring *ring);
/* All of it, waiting where the socket is full: nobody else is served meanwhile, which is fair enough for a limit. Errors are
 * left for the read to find. */
void rt_floor_send_all(int fd, const uint8_t *data, size_t len);

#endif
