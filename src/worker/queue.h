/* Bounded queue from the loop to one worker thread, and unbounded mailbox from workers back to the
 * loop.
 *
 * An item is a struct that embeds `struct rt_task`; it changes owner with the push. The loop only
 * try-pushes (never blocks); the worker takes everything that is there at once, in order. Capacity
 * counts items and bytes; an empty queue takes one item whatever its bytes. A mailbox wakes its
 * loop only when it was empty, and the whole batch is taken per wake.
 * Thread: push on any thread, take on one. new and free: when no other thread uses the object. */
#ifndef RT_WORKER_QUEUE_H
#define RT_WORKER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct rt_task {
    struct rt_list link;
    size_t bytes; /* what it counts for in a queue's limit */
};

struct rt_queue;

int rt_queue_new(size_t max_items, size_t max_bytes, struct rt_queue **ret_queue);
/* The queue must be empty. */
void rt_queue_free(struct rt_queue *q);
/* RT_EAGAIN: full, RT_ECLOSED: closed; then the task still belongs to the caller. */
int rt_queue_push(struct rt_queue *q, struct rt_task *task);
/* Moves all tasks to the end of `out` (an initialised list head of rt_task.link). Waits up to
 * `timeout_ms` (0: not at all, -1: forever) when empty. Returns false when closed and empty: the
 * worker ends. True with nothing taken: time is over. */
bool rt_queue_take(struct rt_queue *q, struct rt_list *out, int64_t timeout_ms);
/* No more pushes; the worker drains what is there, then rt_queue_take returns false. */
void rt_queue_close(struct rt_queue *q);
/* Tasks pushed and not yet taken, and their bytes. */
size_t rt_queue_items(struct rt_queue *q);
size_t rt_queue_bytes(struct rt_queue *q);

/* `wake` is called on the posting thread when the mailbox was empty (rt_waker of net/loop.h does
 * the rest). */
struct rt_mailbox;
int rt_mailbox_new(void (*wake)(void *arg), void *arg, struct rt_mailbox **ret_mailbox);
void rt_mailbox_free(struct rt_mailbox *m);
void rt_mailbox_post(struct rt_mailbox *m, struct rt_task *task);
/* Posts a whole list with one wake at most; `tasks` becomes empty. */
void rt_mailbox_post_all(struct rt_mailbox *m, struct rt_list *tasks);
/* Moves everything to `out`; returns the number. Called on the loop. */
size_t rt_mailbox_take(struct rt_mailbox *m, struct rt_list *out);

/* A named thread (the kernel keeps 15 bytes of the name) with signals blocked. RT_ENOMEM,
 * RT_EIO. */
struct rt_thread;
int rt_thread_start(const char *name, void (*run)(void *arg), void *arg,
                    struct rt_thread **ret_thread, struct rt_err *err);
void rt_thread_join(struct rt_thread *t); /* frees it */

#endif
