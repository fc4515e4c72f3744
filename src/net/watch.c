/* See watch.h. */
#include "net/watch.h"

#include "base/alloc.h"
#include "net/loop_internal.h"

struct rt_watch {
    uv_poll_t poll;
    int events;
    void (*ready)(void *arg, int events);
    void *arg;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct rt_watch *w = RT_CONTAINER(poll, struct rt_watch, poll);
    rt_loop_enter(poll->loop->data);
    int ready =
        (events & UV_READABLE ? RT_WATCH_READ : 0) | (events & UV_WRITABLE ? RT_WATCH_WRITE : 0);
    if (status < 0) {
        /* libuv has stopped the handle. Whoever owns the descriptor finds the error by reading or writing. */
        ready = w->events;
        w->events = 0;
    }
    w->ready(w->arg, ready);
}

int rt_watch_new(struct rt_loop *loop, int fd, void (*ready)(void *arg, int events), void *arg,
                 struct rt_watch **ret_watch)
{
    struct rt_watch *w = rt_calloc(1, sizeof(*w));
    if (!w)
        return RT_ENOMEM;
    w->ready = ready;
    w->arg = arg;
    if (uv_poll_init(&loop->uv, &w->poll, fd)) {
        rt_free(w);
        return RT_EIO;
    }
    *ret_watch = w;
    return 0;
}

void rt_watch_set(struct rt_watch *w, int events)
{
    if (events == w->events || uv_is_closing((uv_handle_t *)&w->poll))
        return;
    w->events = events;
    int uv =
        (events & RT_WATCH_READ ? UV_READABLE : 0) | (events & RT_WATCH_WRITE ? UV_WRITABLE : 0);
    if (uv)
        (void)uv_poll_start(&w->poll, uv, on_poll);
    else
        (void)uv_poll_stop(&w->poll);
}

int rt_watch_events(const struct rt_watch *w)
{
    return w->events;
}

static void on_closed(uv_handle_t *handle)
{
    struct rt_watch *w = RT_CONTAINER(handle, struct rt_watch, poll);
    rt_loop_closed(handle->loop->data);
    if (w->closed)
        w->closed(w->closed_arg);
    rt_free(w);
}

void rt_watch_close(struct rt_watch *w, void (*closed)(void *arg), void *arg)
{
    w->closed = closed;
    w->closed_arg = arg;
    rt_loop_close_handle(w->poll.loop->data, (uv_handle_t *)&w->poll, on_closed);
}
