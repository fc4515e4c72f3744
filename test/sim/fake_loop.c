/* What a process asks of its machine: the loop, timers, wakers, clocks, randomness, queues and threads, all on virtual time.
 *
 * A turn comes when a timer is due, when somebody wakes, or after a packet; a little later than asked for, so that processes interleave differently with
 * each seed. A frozen host has no turns and its clock runs on, as with SIGSTOP. */
#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "net/loop.h"
#include "sim.h"
#include "worker/queue.h"

#define HOOKS 4u
/* 2026-11-24, where virtual time begins. */
#define WALL_START 1795478400000u

/* The kernel's randomness is the seed's. Each run begins in a fresh child, so its pools are empty. */
static long sim_getrandom(void *out, size_t len, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)(sim_random() >> 32);
    return (long)len;
}
#define getrandom sim_getrandom
#include "base/rand.c"
#undef getrandom

struct rt_loop {
    struct sim_host *host;
    uint64_t now;
    uint64_t turn_at; /* 0: none is planned */
    struct rt_list timers, wakers, deferred;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } hooks[HOOKS];
    size_t hook_count;
};

struct rt_waker {
    struct rt_loop *loop;
    void (*fn)(void *arg);
    void *arg;
    bool woken, closed;
    struct rt_list link;
};

/* ---- clocks ------------------------------------------------------------------------------------------------- */

uint64_t rt_mono_ns(void)
{
    return sim.now * 1000u;
}

uint64_t rt_mono_ms(void)
{
    return sim.now / SIM_MS;
}

uint64_t rt_wall_ms(void)
{
    int64_t skew = sim.host ? sim.host->skew : 0;
    return (uint64_t)((int64_t)(WALL_START + rt_mono_ms()) + skew);
}

void rt_iso_time(uint64_t wall_ms, char out[RT_ISO_TIME_LEN + 1])
{
    snprintf(out, RT_ISO_TIME_LEN + 1, "%llu", (unsigned long long)wall_ms);
}

/* ---- turns -------------------------------------------------------------------------------------------------- */

struct turn {
    struct sim_host *host;
    uint64_t life;
};

static void fire_timers(struct rt_loop *loop)
{
    struct rt_list due;
    rt_list_init(&due);
    rt_list_for_safe(node, next, &loop->timers) {
        struct rt_timer *t = RT_CONTAINER(node, struct rt_timer, link);
        if (t->expires > loop->now)
            break;
        rt_list_remove(node);
        rt_list_push(&due, node);
    }
    for (struct rt_list *node = rt_list_pop(&due); node; node = rt_list_pop(&due)) {
        struct rt_timer *t = RT_CONTAINER(node, struct rt_timer, link);
        t->active = false;
        t->fn(t);
    }
}

static void fire_wakers(struct rt_loop *loop)
{
    rt_list_for_safe(node, next, &loop->wakers) {
        struct rt_waker *w = RT_CONTAINER(node, struct rt_waker, link);
        if (w->closed) {
            rt_list_remove(node);
            free(w);
        } else if (w->woken) {
            w->woken = false;
            w->fn(w->arg);
        }
    }
}

static void plan_next(struct rt_loop *loop)
{
    if (!rt_list_empty(&loop->timers)) {
        struct rt_timer *t = RT_CONTAINER(loop->timers.next, struct rt_timer, link);
        sim_loop_kick(loop, t->expires > loop->now ? (t->expires - loop->now) * SIM_MS : 0);
    }
}

static void turn(void *payload)
{
    const struct turn *t = payload;
    struct sim_host *host = t->host;
    if (!host->up || t->life != host->life || host->loop->turn_at != sim.now)
        return; /* of a former life, or another turn came earlier */
    struct rt_loop *loop = host->loop;
    loop->turn_at = 0;
    if (host->frozen) {
        sim_loop_kick(loop, 20 * SIM_MS);
        return;
    }
    struct sim_host *former = sim.host;
    sim.host = host;
    loop->now = rt_mono_ms();
    fire_timers(loop);
    fire_wakers(loop);
    for (size_t i = 0; i < loop->hook_count; i++)
        loop->hooks[i].fn(loop->hooks[i].arg);
    for (struct rt_list *node = rt_list_pop(&loop->deferred); node;
         node = rt_list_pop(&loop->deferred)) {
        struct rt_deferred *d = RT_CONTAINER(node, struct rt_deferred, link);
        d->fn(d);
    }
    plan_next(loop);
    sim.host = former;
}

void sim_loop_kick(struct rt_loop *loop, uint64_t delay)
{
    uint64_t at = sim.now + delay + sim_below(500) + 1;
    if (loop->turn_at != 0 && loop->turn_at <= at)
        return;
    loop->turn_at = at;
    struct turn *t = sim_post(at - sim.now, turn, sizeof(*t));
    *t = (struct turn){loop->host, loop->host->life};
}

struct sim_host *sim_enter(struct sim_host *host)
{
    struct sim_host *former = sim.host;
    sim.host = host;
    host->loop->now = rt_mono_ms();
    sim_loop_kick(host->loop, 0);
    return former;
}

void sim_leave(struct sim_host *former)
{
    sim.host = former;
}

struct rt_loop *sim_loop_new(struct sim_host *host)
{
    struct rt_loop *loop = sim_alloc(sizeof(*loop));
    loop->host = host;
    loop->now = rt_mono_ms();
    rt_list_init(&loop->timers);
    rt_list_init(&loop->wakers);
    rt_list_init(&loop->deferred);
    return loop;
}

void sim_loop_free(struct rt_loop *loop)
{
    if (!rt_list_empty(&loop->timers))
        sim_fail("a timer is still active when its process ends");
    rt_list_for_safe(node, next, &loop->wakers) {
        struct rt_waker *w = RT_CONTAINER(node, struct rt_waker, link);
        if (!w->closed)
            sim_fail("a waker is still open when its process ends");
        free(w);
    }
    free(loop);
}

/* ---- net/loop.h --------------------------------------------------------------------------------------------- */

uint64_t rt_loop_now(const struct rt_loop *loop)
{
    return loop->now;
}

uint64_t rt_loop_now_exact(struct rt_loop *loop)
{
    (void)loop;
    return rt_mono_ms();
}

void rt_timer_stop(struct rt_loop *loop, struct rt_timer *timer)
{
    (void)loop;
    if (timer->active)
        rt_list_remove(&timer->link);
    timer->active = false;
}

void rt_timer_start_at(struct rt_loop *loop, struct rt_timer *timer, uint64_t at_ms,
                       void (*fn)(struct rt_timer *))
{
    rt_timer_stop(loop, timer);
    timer->active = true;
    timer->fn = fn;
    timer->expires = at_ms;
    struct rt_list *place = loop->timers.prev;
    while (place != &loop->timers &&
           RT_CONTAINER(place, struct rt_timer, link)->expires > timer->expires)
        place = place->prev;
    rt_list_init(&timer->link);
    rt_list_push_front(place, &timer->link);
    sim_loop_kick(loop, at_ms > rt_mono_ms() ? (at_ms - rt_mono_ms()) * SIM_MS : 0);
}

void rt_timer_start(struct rt_loop *loop, struct rt_timer *timer, uint64_t delay_ms,
                    void (*fn)(struct rt_timer *))
{
    rt_timer_start_at(loop, timer, rt_mono_ms() + delay_ms, fn);
}

bool rt_loop_behind(const struct rt_loop *loop)
{
    (void)loop;
    return false; /* all is written at once here */
}

int rt_loop_add_flush_hook(struct rt_loop *loop, void (*fn)(void *arg), void *arg)
{
    assert(loop->hook_count < HOOKS);
    loop->hooks[loop->hook_count].fn = fn;
    loop->hooks[loop->hook_count++].arg = arg;
    return 0;
}

void rt_loop_defer(struct rt_loop *loop, struct rt_deferred *deferred,
                   void (*fn)(struct rt_deferred *))
{
    deferred->fn = fn;
    rt_list_init(&deferred->link);
    rt_list_push(&loop->deferred, &deferred->link);
    sim_loop_kick(loop, 0);
}

int rt_waker_new(struct rt_loop *loop, void (*fn)(void *arg), void *arg,
                 struct rt_waker **ret_waker)
{
    struct rt_waker *w = sim_alloc(sizeof(*w));
    *w = (struct rt_waker){.loop = loop, .fn = fn, .arg = arg};
    rt_list_init(&w->link);
    rt_list_push(&loop->wakers, &w->link);
    *ret_waker = w;
    return 0;
}

void rt_waker_wake(void *waker)
{
    struct rt_waker *w = waker;
    w->woken = true;
    sim_loop_kick(w->loop, 0);
}

void rt_waker_close(struct rt_waker *waker)
{
    waker->closed = true;
}

/* ---- worker/queue.h: nobody waits, since nobody else runs ------------------------------------------------------ */

struct rt_queue {
    struct rt_list tasks;
    size_t items, bytes, max_items, max_bytes;
    bool closed;
};

int rt_queue_new(size_t max_items, size_t max_bytes, struct rt_queue **ret_queue)
{
    struct rt_queue *q = sim_alloc(sizeof(*q));
    *q = (struct rt_queue){.max_items = max_items, .max_bytes = max_bytes};
    rt_list_init(&q->tasks);
    *ret_queue = q;
    return 0;
}

void rt_queue_free(struct rt_queue *q)
{
    free(q);
}

int rt_queue_push(struct rt_queue *q, struct rt_task *task)
{
    bool room =
        q->items == 0 || (q->items < q->max_items && q->bytes + task->bytes <= q->max_bytes);
    if (q->closed || !room)
        return q->closed ? RT_ECLOSED : RT_EAGAIN;
    q->items++;
    q->bytes += task->bytes;
    rt_list_push(&q->tasks, &task->link);
    return 0;
}

bool rt_queue_take(struct rt_queue *q, struct rt_list *out, int64_t timeout_ms)
{
    (void)timeout_ms;
    bool any = q->items > 0;
    rt_list_splice(out, &q->tasks);
    q->items = q->bytes = 0;
    return any || !q->closed;
}

struct rt_mailbox {
    struct rt_list tasks;
    void (*wake)(void *arg);
    void *arg;
};

int rt_mailbox_new(void (*wake)(void *arg), void *arg, struct rt_mailbox **ret_mailbox)
{
    struct rt_mailbox *m = sim_alloc(sizeof(*m));
    rt_list_init(&m->tasks);
    m->wake = wake;
    m->arg = arg;
    *ret_mailbox = m;
    return 0;
}

void rt_mailbox_free(struct rt_mailbox *m)
{
    free(m);
}

void rt_mailbox_post(struct rt_mailbox *m, struct rt_task *task)
{
    bool empty = rt_list_empty(&m->tasks);
    rt_list_push(&m->tasks, &task->link);
    if (empty)
        m->wake(m->arg);
}

size_t rt_mailbox_take(struct rt_mailbox *m, struct rt_list *out)
{
    size_t count = 0;
    for (struct rt_list *node = m->tasks.next; node != &m->tasks; node = node->next)
        count++;
    rt_list_splice(out, &m->tasks);
    return count;
}

struct rt_thread {
    void (*run)(void *arg);
    void *arg;
};

/* The only thread of this code is the tail; node.c takes its steps. */
int rt_thread_start(const char *name, void (*run)(void *arg), void *arg,
                    struct rt_thread **ret_thread, struct rt_err *err)
{
    (void)name;
    (void)err;
    assert(sim.host && !sim.host->tail);
    struct rt_thread *t = sim_alloc(sizeof(*t));
    *t = (struct rt_thread){run, arg};
    sim.host->tail = arg;
    *ret_thread = t;
    return 0;
}

/* It was told to stop: what is left of its run ends at once. */
void rt_thread_join(struct rt_thread *t)
{
    if (sim.host->tail) {
        sim.host->tail = NULL;
        t->run(t->arg);
    }
    free(t);
}
