/* The flush: hooks, one write per dirty connection, deferred functions. */
#include "net/flush.h"

#include <assert.h>

#include "base/alloc.h"
#include "net/conn_internal.h"
#include "net/loop_internal.h"

/* Output may make more output (a deferred function that publishes); beyond this many rounds the
 * rest waits for the next turn, so that descriptors get their turn too. */
#define MAX_ROUNDS 8
/* Bytes and calls (RT_WRITE_COST) that one flush writes: some 10 ms. The rest waits for the next turn as well. */
#define FLUSH_WORK  (UINT64_C(8) << 20)
#define PREFETCH    4u
#define WRITE_BATCH 16u /* by which it may be more */

static uint32_t slot_of(const struct rt_loop *loop, uint32_t index)
{
    return (loop->dirty_head + index) & (loop->dirty_cap - 1);
}

int rt_loop_add_flush_hook(struct rt_loop *loop, void (*fn)(void *arg), void *arg)
{
    struct rt_flush_hook *hooks =
        rt_reallocarray(loop->hooks, loop->hook_count + 1, sizeof(*loop->hooks));
    if (!hooks)
        return RT_ENOMEM;
    loop->hooks = hooks;
    loop->hooks[loop->hook_count++] = (struct rt_flush_hook){.fn = fn, .arg = arg};
    return 0;
}

void rt_loop_defer(struct rt_loop *loop, struct rt_deferred *deferred,
                   void (*fn)(struct rt_deferred *))
{
    deferred->fn = fn;
    rt_list_push(&loop->deferred, &deferred->link);
}

/* Those that are there now; what they defer waits for the next round. */
static bool run_deferred(struct rt_loop *loop)
{
    struct rt_list batch;
    rt_list_init(&batch);
    rt_list_splice(&batch, &loop->deferred);
    bool any = !rt_list_empty(&batch);
    for (struct rt_list *node = rt_list_pop(&batch); node; node = rt_list_pop(&batch)) {
        struct rt_deferred *deferred = RT_CONTAINER(node, struct rt_deferred, link);
        deferred->fn(deferred);
    }
    return any;
}

void rt_flush_deferred(struct rt_loop *loop)
{
    while (run_deferred(loop))
        ;
}

int rt_flush_reserve(struct rt_loop *loop)
{
    if (loop->conns < loop->dirty_cap)
        return 0;
    uint32_t cap = loop->dirty_cap ? loop->dirty_cap * 2 : 64;
    struct rt_conn **dirty = rt_calloc(cap, sizeof(struct rt_conn *));
    if (!dirty)
        return RT_ENOMEM;
    for (uint32_t i = 0; i < loop->dirty_count; i++) {
        dirty[i] = loop->dirty[slot_of(loop, i)];
        dirty[i]->dirty = i;
    }
    rt_free(loop->dirty);
    loop->dirty = dirty;
    loop->dirty_head = 0;
    loop->dirty_cap = cap;
    return 0;
}

void rt_flush_add(struct rt_loop *loop, struct rt_conn *conn)
{
    assert(!loop->submitting && loop->dirty_count < loop->dirty_cap);
    conn->dirty = slot_of(loop, loop->dirty_count++);
    loop->dirty[conn->dirty] = conn;
    loop->dirty_fresh++;
}

/* The last one takes its place: nobody has a right to an order. */
static void take_out(struct rt_loop *loop, uint32_t slot)
{
    struct rt_conn *last = loop->dirty[slot_of(loop, --loop->dirty_count)];
    loop->dirty[slot] = last;
    last->dirty = slot;
    if (loop->dirty_fresh > 0)
        loop->dirty_fresh--;
}

void rt_flush_remove(struct rt_loop *loop, struct rt_conn *conn)
{
    /* Those that are being written are in the ring no longer. */
    if (conn->dirty == RT_NOT_DIRTY || loop->submitting)
        return;
    take_out(loop, conn->dirty);
    conn->dirty = RT_NOT_DIRTY;
}

static bool wants_write(const struct rt_conn *conn)
{
    return !conn->closing && !conn->blocked && conn->out.count > 0;
}

static void submit(struct rt_loop *loop, struct rt_conn **conns, size_t count)
{
    loop->submitting = true;
    loop->submit_again = false;
    loop->backend->submit(loop->backend_state, conns, count);
    loop->submitting = false;
}

void rt_flush_now(struct rt_loop *loop, struct rt_conn *conn)
{
    assert(!loop->submitting);
    rt_flush_remove(loop, conn);
    while (wants_write(conn))
        submit(loop, &conn, 1);
}

/* Those that have waited longest. */
static uint32_t pop_first(struct rt_loop *loop, struct rt_conn **conns, uint32_t max)
{
    uint32_t count = loop->dirty_count < max ? loop->dirty_count : max;
    for (uint32_t i = 0; i < count; i++)
        conns[i] = loop->dirty[slot_of(loop, i)];
    loop->dirty_head = slot_of(loop, count);
    loop->dirty_count -= count;
    for (uint32_t i = 0; i < loop->dirty_count && i < PREFETCH; i++)
        rt_conn_prefetch(loop->dirty[slot_of(loop, i)]); /* for the next batch */
    if (loop->dirty_fresh > loop->dirty_count)
        loop->dirty_fresh = loop->dirty_count;
    return count;
}

/* Those that are there since the last flush. */
static uint32_t pop_fresh(struct rt_loop *loop, struct rt_conn **conns, uint32_t max)
{
    if (loop->dirty_fresh == loop->dirty_count)
        return pop_first(loop, conns, max);
    uint32_t first = loop->dirty_count - loop->dirty_fresh;
    uint32_t count = loop->dirty_fresh < max ? loop->dirty_fresh : max;
    for (uint32_t i = 0; i < count; i++)
        conns[i] = loop->dirty[slot_of(loop, first + i)];
    for (uint32_t i = count; i-- > 0;)
        take_out(loop, slot_of(loop, first + i));
    return count;
}

static void write_until(struct rt_loop *loop, uint64_t limit,
                        uint32_t (*pop)(struct rt_loop *, struct rt_conn **, uint32_t))
{
    struct rt_conn *conns[WRITE_BATCH];
    uint32_t count;
    while (loop->written < limit && (count = pop(loop, conns, WRITE_BATCH)) > 0) {
        submit(loop, conns, count);
        if (!loop->submit_again)
            continue;
        for (uint32_t i = 0; i < count; i++)
            if (wants_write(conns[i]))
                rt_flush_add(loop, conns[i]);
    }
}

/* Where former flushes have left something, half of this one is for what is new: an answer does not wait until a flood is
 * written. */
static void write_dirty(struct rt_loop *loop)
{
    bool late = rt_loop_behind(loop);
    write_until(loop, late ? loop->written + (FLUSH_WORK - loop->written) / 2 : FLUSH_WORK,
                pop_fresh);
    write_until(loop, FLUSH_WORK, pop_first);
}

bool rt_loop_behind(const struct rt_loop *loop)
{
    return loop->dirty_count > loop->dirty_fresh;
}

bool rt_flush_all(struct rt_loop *loop)
{
    loop->events = 0;
    loop->written = 0;
    bool more = true;
    for (int round = 0; more && round < MAX_ROUNDS && loop->written < FLUSH_WORK; round++) {
        for (size_t i = 0; i < loop->hook_count; i++)
            loop->hooks[i].fn(loop->hooks[i].arg);
        write_dirty(loop);
        more = run_deferred(loop) || loop->dirty_count > 0;
    }
    loop->dirty_fresh = 0;
    return more;
}
