#include "worker/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/alloc.h"

struct rt_queue {
    pthread_mutex_t lock;
    pthread_cond_t filled; /* or closed */
    struct rt_list tasks;
    size_t items, bytes;
    size_t max_items, max_bytes;
    bool closed;
    bool waiting; /* the worker waits: only then a push has to wake it */
};

/* Time limits are on the monotonic clock, so that setting the wall clock does not stop a worker. */
static int init_sync(struct rt_queue *q)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr))
        return RT_ENOMEM;
    int r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (!r)
        r = pthread_cond_init(&q->filled, &attr);
    pthread_condattr_destroy(&attr);
    if (r)
        return RT_ENOMEM;
    if (pthread_mutex_init(&q->lock, NULL)) {
        pthread_cond_destroy(&q->filled);
        return RT_ENOMEM;
    }
    return 0;
}

int rt_queue_new(size_t max_items, size_t max_bytes, struct rt_queue **ret_queue)
{
    struct rt_queue *q = rt_calloc(1, sizeof(*q));
    if (!q)
        return RT_ENOMEM;
    if (init_sync(q)) {
        rt_free(q);
        return RT_ENOMEM;
    }
    rt_list_init(&q->tasks);
    q->max_items = max_items;
    q->max_bytes = max_bytes;
    *ret_queue = q;
    return 0;
}

void rt_queue_free(struct rt_queue *q)
{
    assert(rt_list_empty(&q->tasks));
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->filled);
    rt_free(q);
}

static bool has_room(const struct rt_queue *q, size_t bytes)
{
    if (q->items >= q->max_items)
        return false;
    return q->items == 0 || (q->bytes <= q->max_bytes && bytes <= q->max_bytes - q->bytes);
}

int rt_queue_push(struct rt_queue *q, struct rt_task *task)
{
    int r = 0;
    bool wake = false;
    pthread_mutex_lock(&q->lock);
    if (q->closed) {
        r = RT_ECLOSED;
    } else if (!has_room(q, task->bytes)) {
        r = RT_EAGAIN;
    } else {
        rt_list_push(&q->tasks, &task->link);
        q->items++;
        q->bytes += task->bytes;
        wake = q->waiting;
        q->waiting = false; /* one wake is enough: the worker takes everything */
    }
    pthread_mutex_unlock(&q->lock);
    if (wake)
        pthread_cond_signal(&q->filled);
    return r;
}

static struct timespec deadline_after(int64_t timeout_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(timeout_ms / 1000);
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

static void wait_filled(struct rt_queue *q, int64_t timeout_ms)
{
    struct timespec deadline = deadline_after(timeout_ms > 0 ? timeout_ms : 0);
    int r = 0;
    while (rt_list_empty(&q->tasks) && !q->closed && r != ETIMEDOUT && timeout_ms != 0) {
        q->waiting = true;
        r = timeout_ms < 0 ? pthread_cond_wait(&q->filled, &q->lock)
                           : pthread_cond_timedwait(&q->filled, &q->lock, &deadline);
    }
    q->waiting = false;
}

bool rt_queue_take(struct rt_queue *q, struct rt_list *out, int64_t timeout_ms)
{
    pthread_mutex_lock(&q->lock);
    wait_filled(q, timeout_ms);
    bool more = !q->closed || !rt_list_empty(&q->tasks);
    rt_list_splice(out, &q->tasks);
    q->items = 0;
    q->bytes = 0;
    pthread_mutex_unlock(&q->lock);
    return more;
}

void rt_queue_close(struct rt_queue *q)
{
    /* Signalled under the lock: once the worker sees `closed` it may end, and its owner free the
     * queue. */
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

size_t rt_queue_items(struct rt_queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t items = q->items;
    pthread_mutex_unlock(&q->lock);
    return items;
}

size_t rt_queue_bytes(struct rt_queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t bytes = q->bytes;
    pthread_mutex_unlock(&q->lock);
    return bytes;
}
