/* Wakers of net/loop.h: uv_async_t, which is the one thing of libuv that other threads may
 * touch. */
#include "net/loop_internal.h"

#include "base/alloc.h"

struct rt_waker {
    uv_async_t async;
    void (*fn)(void *arg);
    void *arg;
};

static void on_wake(uv_async_t *async)
{
    struct rt_waker *waker = RT_CONTAINER(async, struct rt_waker, async);
    rt_loop_enter(async->loop->data);
    waker->fn(waker->arg);
}

int rt_waker_new(struct rt_loop *loop, void (*fn)(void *arg), void *arg,
                 struct rt_waker **ret_waker)
{
    struct rt_waker *waker = rt_calloc(1, sizeof(*waker));
    if (!waker)
        return RT_ENOMEM;
    waker->fn = fn;
    waker->arg = arg;
    if (uv_async_init(&loop->uv, &waker->async, on_wake)) {
        rt_free(waker);
        return RT_EIO; /* no descriptor left for libuv's eventfd */
    }
    *ret_waker = waker;
    return 0;
}

void rt_waker_wake(void *waker)
{
    struct rt_waker *w = waker;
    (void)uv_async_send(&w->async);
}

static void on_waker_closed(uv_handle_t *handle)
{
    struct rt_waker *waker = RT_CONTAINER(handle, struct rt_waker, async);
    rt_loop_closed(handle->loop->data);
    rt_free(waker);
}

void rt_waker_close(struct rt_waker *waker)
{
    /* libuv calls no callback of a closing handle, a wake that is on its way included. */
    rt_loop_close_handle(waker->async.loop->data, (uv_handle_t *)&waker->async, on_waker_closed);
}
