/* The way back from workers to the loop. */
#include <assert.h>
#include <pthread.h>

#include "base/alloc.h"
#include "worker/queue.h"

struct rt_mailbox {
    pthread_mutex_t lock;
    struct rt_list tasks;
    void (*wake)(void *arg);
    void *arg;
};

int rt_mailbox_new(void (*wake)(void *arg), void *arg, struct rt_mailbox **ret_mailbox)
{
    struct rt_mailbox *m = rt_calloc(1, sizeof(*m));
    if (!m)
        return RT_ENOMEM;
    if (pthread_mutex_init(&m->lock, NULL)) {
        rt_free(m);
        return RT_ENOMEM;
    }
    rt_list_init(&m->tasks);
    m->wake = wake;
    m->arg = arg;
    *ret_mailbox = m;
    return 0;
}

void rt_mailbox_free(struct rt_mailbox *m)
{
    assert(rt_list_empty(&m->tasks));
    pthread_mutex_destroy(&m->lock);
    rt_free(m);
}

/* Outside of the lock, so that the loop does not wake up only to wait for it. The poster is alive,
 * so the mailbox and what wakes are, too (see the header). */
static void wake_if(const struct rt_mailbox *m, bool was_empty)
{
    if (was_empty)
        m->wake(m->arg);
}

void rt_mailbox_post(struct rt_mailbox *m, struct rt_task *task)
{
    pthread_mutex_lock(&m->lock);
    bool was_empty = rt_list_empty(&m->tasks);
    rt_list_push(&m->tasks, &task->link);
    pthread_mutex_unlock(&m->lock);
    wake_if(m, was_empty);
}

void rt_mailbox_post_all(struct rt_mailbox *m, struct rt_list *tasks)
{
    if (rt_list_empty(tasks))
        return;
    pthread_mutex_lock(&m->lock);
    bool was_empty = rt_list_empty(&m->tasks);
    rt_list_splice(&m->tasks, tasks);
    pthread_mutex_unlock(&m->lock);
    wake_if(m, was_empty);
}

size_t rt_mailbox_take(struct rt_mailbox *m, struct rt_list *out)
{
    struct rt_list batch;
    size_t count = 0;
    rt_list_init(&batch);
    pthread_mutex_lock(&m->lock);
    rt_list_splice(&batch, &m->tasks);
    pthread_mutex_unlock(&m->lock);
    rt_list_for(node, &batch)
        count++;
    rt_list_splice(out, &batch);
    return count;
}
