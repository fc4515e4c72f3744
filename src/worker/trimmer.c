#include "worker/trimmer.h"

#include <dirent.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "worker/queue.h"

struct rt_trimmer {
    struct rt_queue *pause; /* nothing comes; its end ends the thread */
    struct rt_thread *thread;
    _Atomic size_t descriptors;
};

static size_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    size_t count = 0;
    while (readdir(dir))
        count++;
    (void)closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the folder itself */
}

size_t rt_trimmer_descriptors(const struct rt_trimmer *t)
{
    return t ? atomic_load(&t->descriptors) : 0;
}

static void run(void *arg)
{
    struct rt_trimmer *t = arg;
    struct rt_list none;
    bool again = false;
    rt_list_init(&none);
    atomic_store(&t->descriptors, count_descriptors());
    while (rt_queue_take(t->pause, &none, RT_TRIM_EVERY_MS)) {
        atomic_store(&t->descriptors, count_descriptors());
        bool much = rt_alloc_unused() > RT_TRIM_SPARE;
        if (much && again)
            rt_alloc_trim();
        again = much && !again;
    }
}

int rt_trimmer_new(struct rt_trimmer **ret_trimmer, struct rt_err *err)
{
    struct rt_trimmer *t = rt_calloc(1, sizeof(*t));
    if (!t)
        return rt_err_nomem(err);
    int code = rt_queue_new(1, 1, &t->pause) < 0 ? rt_err_nomem(err) : 0;
    if (code == 0)
        code = rt_thread_start("trimmer", run, t, &t->thread, err);
    if (code < 0) {
        rt_trimmer_free(t);
        return code;
    }
    *ret_trimmer = t;
    return 0;
}

void rt_trimmer_free(struct rt_trimmer *t)
{
    if (!t)
        return;
    if (t->thread) {
        rt_queue_close(t->pause);
        rt_thread_join(t->thread);
    }
    if (t->pause)
        rt_queue_free(t->pause);
    rt_free(t);
}
