#include "journal/kafka_retire.h"

#include <pthread.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "worker/queue.h"

struct rt_retire {
    struct rt_retire_options options;
    struct rt_thread *thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    enum rt_retire_stage stage;
    bool released, cancelled;
    struct rt_producer *made;
};

/* The wake comes under the lock: as soon as the loop has seen the end it may free what it wakes. */
static void set_stage(struct rt_retire *r, enum rt_retire_stage stage)
{
    pthread_mutex_lock(&r->lock);
    r->stage = stage;
    r->options.wake(r->options.arg);
    pthread_mutex_unlock(&r->lock);
}

static void await_release(struct rt_retire *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->released)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

/* True: go on trying. */
static bool pause_between_tries(struct rt_retire *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&r->lock);
    if (!r->cancelled)
        (void)pthread_cond_timedwait(&r->changed, &r->lock, &until);
    bool on = !r->cancelled;
    pthread_mutex_unlock(&r->lock);
    return on;
}

static bool is_cancelled(struct rt_retire *r)
{
    pthread_mutex_lock(&r->lock);
    bool cancelled = r->cancelled;
    pthread_mutex_unlock(&r->lock);
    return cancelled;
}

static void make_next(struct rt_retire *r)
{
    struct rt_producer *next = NULL;
    struct rt_err err = {0};
    bool on = r->options.next && !is_cancelled(r);
    while (on && rt_producer_new(r->options.next, &next, &err) < 0) {
        rt_log(RT_LOG_ERROR, "kafka", "no new producer: tries again", rt_kv_c("text", err.text));
        on = pause_between_tries(r);
    }
    pthread_mutex_lock(&r->lock);
    r->made = next;
    pthread_mutex_unlock(&r->lock);
}

static void run(void *arg)
{
    struct rt_retire *r = arg;
    rt_producer_flush(r->options.old, r->options.flush_ms);
    set_stage(r, RT_RETIRE_DRAINED);
    await_release(r);
    make_next(r);
    set_stage(r, RT_RETIRE_MADE);
    rt_producer_free(r->options.old);
    set_stage(r, RT_RETIRE_ENDED);
}

int rt_retire_start(const struct rt_retire_options *options, struct rt_retire **ret_retire,
                    struct rt_err *err)
{
    struct rt_retire *r = rt_calloc(1, sizeof(*r));
    if (!r)
        return rt_err_nomem(err);
    r->options = *options;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    int code = rt_thread_start("kafka-retire", run, r, &r->thread, err);
    if (code < 0) {
        rt_retire_free(r);
        return code;
    }
    *ret_retire = r;
    return 0;
}

enum rt_retire_stage rt_retire_stage(struct rt_retire *r)
{
    pthread_mutex_lock(&r->lock);
    enum rt_retire_stage stage = r->stage;
    pthread_mutex_unlock(&r->lock);
    return stage;
}

static void set_flag(struct rt_retire *r, bool *flag)
{
    pthread_mutex_lock(&r->lock);
    *flag = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void rt_retire_release(struct rt_retire *r)
{
    set_flag(r, &r->released);
}

void rt_retire_cancel(struct rt_retire *r)
{
    set_flag(r, &r->cancelled);
}

struct rt_producer *rt_retire_take(struct rt_retire *r)
{
    pthread_mutex_lock(&r->lock);
    struct rt_producer *made = r->made;
    r->made = NULL;
    pthread_mutex_unlock(&r->lock);
    return made;
}

void rt_retire_free(struct rt_retire *r)
{
    if (!r)
        return;
    if (r->thread)
        rt_thread_join(r->thread);
    rt_producer_free(r->made);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    rt_free(r);
}
