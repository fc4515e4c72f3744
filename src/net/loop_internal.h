/* The loop's inside, for the files of net/ only. Thread: the loop. */
#ifndef RT_NET_LOOP_INTERNAL_H
#define RT_NET_LOOP_INTERNAL_H

#include <uv.h>

#include "base/bytes.h"
#include "base/metrics.h"
#include "net/flush.h"
#include "net/loop.h"
#include "net/meter.h"
#include "net/wheel.h"

#define RT_READ_BUFFER  65536u
#define RT_SCRATCH_SIZE 16384u

/* The work of a system call, in bytes that could be copied meanwhile. */
#define RT_WRITE_COST 4096u

struct rt_flush_hook {
    void (*fn)(void *arg);
    void *arg;
};

struct rt_loop {
    uv_loop_t uv; /* its data is this struct */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t alarm;      /* wakes the poll for the wheel */
    uv_timer_t turn_limit; /* bounds rt_loop_turn() */
    uint64_t armed;        /* what `alarm` is set to, RT_WHEEL_NEVER: not set */
    bool running;          /* inside rt_loop_run() */
    bool stopped;
    size_t closing;              /* handles whose close callback is still to come */
    size_t events;               /* callbacks since the last flush */
    uint32_t closes;             /* connections that were closed in this turn */
    struct rt_list closing_late; /* rt_conn.link: those past the turn's share, oldest first */

    struct rt_wheel wheel;
    struct rt_meter meter;
    uint64_t longest_turn;  /* ns, for rt_loop_longest_turn(); the meter's is for the metric */
    struct rt_metric turns; /* histogram of their length, registered by rt_net_new() */
    struct rt_list signals;

    struct rt_flush_hook *hooks;
    size_t hook_count;
    struct rt_list deferred;

    /* Connections with output and no write pending, a ring: first those that former flushes did not
     * come to, at its end `dirty_fresh` that are there since. Room for all that exist, so that
     * adding cannot fail. */
    struct rt_conn **dirty;
    uint32_t dirty_head; /* slot of the first */
    uint32_t dirty_count;
    uint32_t dirty_fresh;
    uint32_t dirty_cap; /* power of two, or 0 */
    uint64_t written;   /* what the present flush has done, as RT_WRITE_COST says */
    uint32_t conns;     /* structs alive */
    bool submitting;    /* inside backend->submit() */
    bool submit_again;  /* a queue had more entries than one call takes */
    const struct rt_flush_backend *backend;
    void *backend_state;

    uint8_t *read_buffer;     /* RT_READ_BUFFER bytes, shared by all connections */
    struct rt_bytes *scratch; /* where small copies of this turn go; NULL at first */
};

/* To be called first in every callback from libuv: notes that the turn is busy, and after many
 * events flushes, since libuv may go on polling for a long time before it comes to the check
 * phase. */
void rt_loop_enter(struct rt_loop *loop);

/* Every uv_close() of net/ goes through this; `done` must call rt_loop_closed(). */
void rt_loop_close_handle(struct rt_loop *loop, uv_handle_t *handle, uv_close_cb done);
void rt_loop_closed(struct rt_loop *loop);

/* conn.c: closes as many of `closing_late` as a turn may, or all. */
void rt_conn_close_late(struct rt_loop *loop, bool all);

/* flush.c */
/* Room in the dirty array for one connection more; RT_ENOMEM. */
int rt_flush_reserve(struct rt_loop *loop);
void rt_flush_add(struct rt_loop *loop, struct rt_conn *conn);
void rt_flush_remove(struct rt_loop *loop, struct rt_conn *conn);
/* Writes the queue of this connection until it is empty or the kernel takes no more. Calls nothing
 * of the user. */
void rt_flush_now(struct rt_loop *loop, struct rt_conn *conn);
/* Hooks, dirty connections, deferred functions, until nothing is left (or after some rounds: then
 * true). */
bool rt_flush_all(struct rt_loop *loop);
void rt_flush_deferred(struct rt_loop *loop);

#endif
