#include "bench_util.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "clock_gettime: %s", strerror(errno));
    return (uint64_t)ts.tv_sec * RT_BENCH_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t rt_bench_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t rt_bench_cpu(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void rt_bench_die(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(code);
}

void *rt_bench_alloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);
    if (p == NULL)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

void *rt_bench_grow(void *ptr, size_t count, size_t size)
{
    void *p = reallocarray(ptr, count, size);
    if (p == NULL)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

void rt_bench_free(void *ptr)
{
    free(ptr);
}

void rt_bench_wait(const int *fds, size_t count, uint64_t until)
{
    struct pollfd polled[4];
    uint64_t now = rt_bench_now();
    if (now >= until || count > sizeof(polled) / sizeof(polled[0]))
        return;
    for (size_t i = 0; i < count; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    struct timespec rest = {.tv_sec = (time_t)((until - now) / RT_BENCH_NS_PER_S),
                            .tv_nsec = (long)((until - now) % RT_BENCH_NS_PER_S)};
    if (ppoll(polled, count, &rest, NULL) < 0 && errno != EINTR)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "ppoll: %s", strerror(errno));
}

size_t rt_bench_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "setrlimit: %s", strerror(errno));
    return (size_t)limit.rlim_cur;
}

uint64_t rt_bench_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < min || value > max)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "--%s %s: want a whole number from %llu to %llu", option,
                     text, (unsigned long long)min, (unsigned long long)max);
    return value;
}

double rt_bench_decimal(const char *option, const char *text, double min, double max)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= min && value <= max))
        rt_bench_die(RT_BENCH_EXIT_USAGE, "--%s %s: want a number from %g to %g", option, text, min,
                     max);
    return value;
}

struct rt_bench_template rt_bench_template(const char *option, const char *text)
{
    const char *mark = strstr(text, "$M");
    if (mark == NULL)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "--%s %s: want $M where the message stands", option,
                     text);
    return (struct rt_bench_template){
        .prefix = text,
        .prefix_len = (size_t)(mark - text),
        .suffix = mark + 2,
        .suffix_len = strlen(mark + 2),
    };
}

size_t rt_bench_template_fill(const struct rt_bench_template *t, const uint8_t *message, size_t len,
                              uint8_t *out)
{
    memcpy(out, t->prefix, t->prefix_len);
    memcpy(out + t->prefix_len, message, len);
    memcpy(out + t->prefix_len + len, t->suffix, t->suffix_len);
    return t->prefix_len + len + t->suffix_len;
}

const uint8_t *rt_bench_template_match(const struct rt_bench_template *t, const uint8_t *text,
                                       size_t len, size_t *ret_len)
{
    if (len < t->prefix_len + t->suffix_len || memcmp(text, t->prefix, t->prefix_len) != 0 ||
        memcmp(text + len - t->suffix_len, t->suffix, t->suffix_len) != 0)
        return NULL;
    *ret_len = len - t->prefix_len - t->suffix_len;
    return text + t->prefix_len;
}
