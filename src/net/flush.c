/* The flush: hooks, one write per dirty connection, deferred functions. */
#include "net/flush.h"

#include <assert.h>

#include "base/alloc.h"
#include "net/conn_internal.h"
#include "net/loop_internal.h"

/* Output may make more output (a deferred function that publishes); beyond this many rounds the
 * rest waits for the next turn, so that descriptors get their turn too. */
#define MAX_ROUNDS 8

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
    struct rt_conn **dirty = rt_reallocarray(loop->dirty, cap, sizeof(struct rt_conn *));
    if (!dirty)
        return RT_ENOMEM;
    loop->dirty = dirty;
    loop->dirty_cap = cap;
    return 0;
}

void rt_flush_add(struct rt_loop *loop, struct rt_conn *conn)
{
    assert(!loop->submitting && loop->dirty_count < loop->dirty_cap);
    conn->dirty = loop->dirty_count;
    loop->dirty[loop->dirty_count++] = conn;
}

void rt_flush_remove(struct rt_loop *loop, struct rt_conn *conn)
{
    /* While the array is being written it stays as it is; the loop below looks at each connection
     * again. */
    if (conn->dirty == RT_NOT_DIRTY || loop->submitting)
        return;
    struct rt_conn *last = loop->dirty[--loop->dirty_count];
    loop->dirty[conn->dirty] = last;
    last->dirty = conn->dirty;
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

static void write_dirty(struct rt_loop *loop)
{
    uint32_t count = loop->dirty_count;
    if (count == 0)
        return;
    submit(loop, loop->dirty, count);
    loop->dirty_count = 0;
    if (!loop->submit_again)
        return;
    for (uint32_t i = 0; i < count; i++)
        if (wants_write(loop->dirty[i]))
            rt_flush_add(loop, loop->dirty[i]);
}

bool rt_flush_all(struct rt_loop *loop)
{
    loop->events = 0;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        for (size_t i = 0; i < loop->hook_count; i++)
            loop->hooks[i].fn(loop->hooks[i].arg);
        write_dirty(loop);
        if (!run_deferred(loop) && loop->dirty_count == 0)
            return false;
    }
    return true;
}
