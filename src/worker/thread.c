#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "worker/queue.h"

struct rt_thread {
    pthread_t id;
    char name[16]; /* what the kernel keeps, with its NUL */
    void (*run)(void *arg);
    void *arg;
};

static void *run_thread(void *arg)
{
    struct rt_thread *t = arg;
    (void)pthread_setname_np(pthread_self(), t->name);
    t->run(t->arg);
    return NULL;
}

int rt_thread_start(const char *name, void (*run)(void *arg), void *arg,
                    struct rt_thread **ret_thread, struct rt_err *err)
{
    sigset_t all, before;
    struct rt_thread *t = rt_calloc(1, sizeof(*t));
    if (!t)
        return rt_err_nomem(err);
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->run = run;
    t->arg = arg;
    /* The new thread inherits the mask: signals go to the loop's thread only. */
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&t->id, NULL, run_thread, t);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r) {
        rt_free(t);
        return rt_err_set(err, RT_EIO, "cannot start thread \"%s\": %s", name, strerror(r));
    }
    *ret_thread = t;
    return 0;
}

void rt_thread_join(struct rt_thread *t)
{
    (void)pthread_join(t->id, NULL);
    rt_free(t);
}
