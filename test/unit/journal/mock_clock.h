/* The mock cluster of librdkafka lets the first member of a group wait for three seconds, which nothing can set in 2.0.2, and looks at its timers once a second. In a
 * program that includes this its thread lives MOCK_SPEED times faster: its clock runs ahead and its waits are shorter. Every other thread has the time that it is.
 * So what the cluster is told to wait (session.timeout.ms) has to be MOCK_SPEED times longer. */
#ifndef TEST_MOCK_CLOCK_H
#define TEST_MOCK_CLOCK_H

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOCK_SPEED 10

/* These stand in front of the C library's, before a sanitizer is ready as well. */
#define MOCK_PLAIN __attribute__((no_sanitize("thread", "address", "undefined")))

/* Of clusters made from now on. */
static int mock_speed = MOCK_SPEED;
static __thread int mock_own_speed;

/* By its name it tells what thread it is. */
MOCK_PLAIN int pthread_setname_np(pthread_t thread, const char *name)
{
    if (!pthread_equal(thread, pthread_self()))
        return 0;
    mock_own_speed = strcmp(name, "rdk:mock") == 0 ? mock_speed : 0;
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    return 0;
}

MOCK_PLAIN int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    long status = syscall(SYS_clock_gettime, clock, ret_time);
    if (status == 0 && mock_own_speed > 0 && clock == CLOCK_MONOTONIC) {
        long ns = ret_time->tv_nsec * mock_own_speed;
        ret_time->tv_sec = ret_time->tv_sec * mock_own_speed + ns / 1000000000;
        ret_time->tv_nsec = ns % 1000000000;
    }
    return (int)status;
}

MOCK_PLAIN int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    long ns = timeout_ms * 1000000L / (mock_own_speed > 0 ? mock_own_speed : 1);
    struct timespec wait = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return (int)syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? NULL : &wait, NULL, 0);
}

#endif
