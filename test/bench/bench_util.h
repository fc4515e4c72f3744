/* What the benchmark programs share: clocks, memory, descriptors, message templates. They link nothing of the broker, so that
 * a fault there cannot hide in the instrument that measures it.
 *
 * Thread: one. Errors: these are command line programs; what cannot go on says why on standard error and exits. */
#ifndef RT_BENCH_UTIL_H
#define RT_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_BENCH_NS_PER_S 1000000000ULL

enum {
    RT_BENCH_EXIT_FAILED = 1,      /* the run went wrong: lost messages, closed connections */
    RT_BENCH_EXIT_USAGE = 2,       /* options */
    RT_BENCH_EXIT_UNSUPPORTED = 3, /* this kernel cannot (io_uring) */
};

/* CLOCK_MONOTONIC; one clock for all processes of the machine. */
uint64_t rt_bench_now(void);
/* CPU time of this process. */
uint64_t rt_bench_cpu(void);
/* Sleeps until one of `count` (at most 4) descriptors is readable or the time has come; nanoseconds, not milliseconds as in
 * epoll_wait(). */
void rt_bench_wait(const int *fds, size_t count, uint64_t until);

_Noreturn void rt_bench_die(int code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Zeroed memory; never NULL: the program ends when memory is out. */
void *rt_bench_alloc(size_t count, size_t size);
/* Grows to `count` elements; what is new is not zeroed; never NULL. */
void *rt_bench_grow(void *ptr, size_t count, size_t size);
void rt_bench_free(void *ptr);

/* Raises the soft limit of descriptors to the hard one and returns it. */
size_t rt_bench_raise_descriptors(void);

/* Whole string as a number within the bounds, or the program ends naming `option`. */
uint64_t rt_bench_number(const char *option, const char *text, uint64_t min, uint64_t max);
double rt_bench_decimal(const char *option, const char *text, double min, double max);

/* A text with one `$M` in it, which stands for the message. Points into the text. */
struct rt_bench_template {
    const char *prefix, *suffix;
    size_t prefix_len, suffix_len;
};
/* The program ends when `$M` does not occur. */
struct rt_bench_template rt_bench_template(const char *option, const char *text);
/* Writes prefix, message, suffix and returns the length; `out` holds prefix_len + len + suffix_len. */
size_t rt_bench_template_fill(const struct rt_bench_template *t, const uint8_t *message, size_t len,
                              uint8_t *out);
/* The message inside a filled template, NULL when `text` is not one. */
const uint8_t *rt_bench_template_match(const struct rt_bench_template *t, const uint8_t *text,
                                       size_t len, size_t *ret_len);

#endif
