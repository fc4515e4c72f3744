/* The loop thread: one uv_loop_t, timers by a wheel, the flush hook, wakers for other threads,
 * signals.
 *
 * A turn: timers -> flush -> poll -> every ready descriptor's callback and wake-ups -> flush ->
 * on_closed of what closed. "Flush" calls the flush hooks in order of registration (the hub moves
 * channel runs into connection queues), then writes each dirty connection once (net/flush.h), then
 * frees what died this turn; again, up to 8 times, while that makes new output. After each 1024
 * callbacks of one poll there is a flush in between. A flush never comes from inside a callback.
 * One flush writes some 8 MiB, counting 4 KiB for each call. What it does not come to is late: the
 * next turn follows at once, and half of its flush is for what is new. Of the connections that a turn
 * closes 64 are closed with it, the others in the turns that follow.
 * Thread: everything here is for the loop thread, except rt_waker_wake(). uv.h stays inside
 * net/. */
#ifndef RT_NET_LOOP_H
#define RT_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct rt_loop;

int rt_loop_new(struct rt_loop **ret_loop, struct rt_err *err);
/* Runs until rt_loop_stop(), then until everything that was told to close by then (or by its
 * on_closed) has closed. Returns 0. May be called again. */
int rt_loop_run(struct rt_loop *loop);
/* Runs one turn without waiting longer than `max_wait_ms` (tests). */
void rt_loop_turn(struct rt_loop *loop, uint32_t max_wait_ms);
/* Lets rt_loop_run() return after this turn. */
void rt_loop_stop(struct rt_loop *loop);
/* Every timer stopped, every waker, listener and connection closed before: aborts when a handle or
 * timer is left alive, and logs which. What was deferred is still called, hooks are not. */
void rt_loop_free(struct rt_loop *loop);

/* Monotonic milliseconds (rt_mono_ms()), read once a turn, after the poll; and exact, read now. */
uint64_t rt_loop_now(const struct rt_loop *loop);
uint64_t rt_loop_now_exact(struct rt_loop *loop);

/* Timers: hierarchical wheel of one millisecond resolution (O(1) start and stop); never early,
 * late only by the loop's own delay and the clock's tick. Embed by value, zero-initialised. The
 * callback may start or stop any timer, itself too, and free the object that holds it. */
struct rt_timer {
    struct rt_list link;
    uint64_t expires; /* loop time, ms */
    void (*fn)(struct rt_timer *timer);
    bool active;
};
/* `delay_ms` counts from now, not from the beginning of the turn; 0: in the next turn. Starting an
 * active timer moves it. */
void rt_timer_start(struct rt_loop *loop, struct rt_timer *timer, uint64_t delay_ms,
                    void (*fn)(struct rt_timer *));
/* At an absolute loop time; a time that has passed fires in the next turn. */
void rt_timer_start_at(struct rt_loop *loop, struct rt_timer *timer, uint64_t at_ms,
                       void (*fn)(struct rt_timer *));
void rt_timer_stop(struct rt_loop *loop, struct rt_timer *timer); /* idempotent */

/* Is there output that the last flush did not come to, since it had enough to write? */
bool rt_loop_behind(const struct rt_loop *loop);

/* Called at each flush, before connections are written. `fn` stays registered until the loop is
 * freed. */
int rt_loop_add_flush_hook(struct rt_loop *loop, void (*fn)(void *arg), void *arg);

/* Frees after this turn's flush: `fn(self)`. For objects that die inside their own callback chain.
 * The node is embedded in the object, and may be deferred once at a time. */
struct rt_deferred {
    struct rt_list link;
    void (*fn)(struct rt_deferred *self);
};
void rt_loop_defer(struct rt_loop *loop, struct rt_deferred *deferred,
                   void (*fn)(struct rt_deferred *));

/* Lets another thread call `fn(arg)` on the loop; calls coalesce. RT_ENOMEM, RT_EIO (no
 * descriptor). */
struct rt_waker;
int rt_waker_new(struct rt_loop *loop, void (*fn)(void *arg), void *arg,
                 struct rt_waker **ret_waker);
void rt_waker_wake(void *waker); /* any thread; the type fits rt_mailbox_new() */
/* After it `fn` is not called any more; the waker is freed at the end of the turn. The thread that
 * wakes must have ended before. */
void rt_waker_close(struct rt_waker *waker);

/* SIGTERM and SIGINT (and others) as callbacks on the loop. Closed with the loop. RT_ENOMEM,
 * RT_EIO. */
int rt_loop_on_signal(struct rt_loop *loop, int signum, void (*fn)(void *arg, int signum),
                      void *arg);

/* Time spent outside of poll in the last second, 0..1, and the longest turn since the last call,
 * in ms. (The metrics of net/listener.h have a longest turn of their own, of the last
 * minute.) */
double rt_loop_utilisation(struct rt_loop *loop);
uint64_t rt_loop_longest_turn(struct rt_loop *loop);

#endif
