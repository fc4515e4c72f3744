/* ThreadSanitizer does not know C11's threads, which librdkafka uses: a thread that comes into being unseen crashes it. A test program that includes this
 * replaces them by POSIX ones (glibc's types are the same underneath), so that the library's threads and locks are seen. */
#ifndef TEST_TSAN_C11_H
#define TEST_TSAN_C11_H

#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif

#ifdef TEST_TSAN
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mtx_t holds a POSIX mutex");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a cnd_t holds a POSIX condition");

static int c11(int r)
{
    return r == 0           ? thrd_success
           : r == ETIMEDOUT ? thrd_timedout
           : r == EBUSY     ? thrd_busy
                            : thrd_error;
}

struct c11_start {
    thrd_start_t run;
    void *arg;
};

static void *c11_run(void *arg)
{
    struct c11_start start = *(struct c11_start *)arg;
    free(arg);
    return (void *)(intptr_t)start.run(start.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
    struct c11_start *start = malloc(sizeof(*start));
    if (!start)
        return thrd_nomem;
    *start = (struct c11_start){run, arg};
    return c11(pthread_create(thread, NULL, c11_run, start));
}
int thrd_join(thrd_t thread, int *result)
{
    void *value = NULL;
    int r = pthread_join(thread, &value);
    if (result)
        *result = (int)(intptr_t)value;
    return c11(r);
}
int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    int r = pthread_mutex_init((pthread_mutex_t *)m, &attr);
    pthread_mutexattr_destroy(&attr);
    return c11(r);
}
void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy((pthread_mutex_t *)m);
}
int mtx_lock(mtx_t *m)
{
    return c11(pthread_mutex_lock((pthread_mutex_t *)m));
}
int mtx_trylock(mtx_t *m)
{
    return c11(pthread_mutex_trylock((pthread_mutex_t *)m));
}
int mtx_unlock(mtx_t *m)
{
    return c11(pthread_mutex_unlock((pthread_mutex_t *)m));
}
int cnd_init(cnd_t *c)
{
    return c11(pthread_cond_init((pthread_cond_t *)c, NULL));
}
void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy((pthread_cond_t *)c);
}
int cnd_signal(cnd_t *c)
{
    return c11(pthread_cond_signal((pthread_cond_t *)c));
}
int cnd_broadcast(cnd_t *c)
{
    return c11(pthread_cond_broadcast((pthread_cond_t *)c));
}
int cnd_wait(cnd_t *c, mtx_t *m)
{
    return c11(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}
int cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *until)
{
    return c11(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}

/* Its reference counts are atomics that the sanitizer does not see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:librdkafka.so\nmutex:librdkafka.so\ndeadlock:librdkafka.so\nthread:librdkafka.so\n";
}
#endif

#endif
