#include "rtbench.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CORES_MAX = 64 };
#define HOLE_NS 500000

struct holes {
    int core;
    uint64_t count, sum, max, wall;
};

/* Looks at the clock without end: whenever two looks are further apart than HOLE_NS, something else had the core. */
static struct holes spin(int core, double seconds)
{
    struct holes h = {.core = core};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "core %d: %s", core, strerror(errno));
    uint64_t start = rt_bench_now(), last = start, end = start + (uint64_t)(seconds * 1e9);
    while (last < end) {
        uint64_t now = rt_bench_now(), gap = now - last;
        if (gap > HOLE_NS) {
            h.count++;
            h.sum += gap;
            if (gap > h.max)
                h.max = gap;
        }
        last = now;
    }
    h.wall = last - start;
    return h;
}

static size_t parse_cores(const char *text, int cores[CORES_MAX])
{
    size_t n = 0;
    for (const char *p = text;;) {
        char *end = NULL;
        unsigned long core = strtoul(p, &end, 10);
        if (end == p || core >= CPU_SETSIZE || n == CORES_MAX || (*end != ',' && *end != '\0'))
            rt_bench_die(RT_BENCH_EXIT_USAGE, "--cores %s: want a list such as 0,1", text);
        cores[n++] = (int)core;
        if (*end == '\0')
            return n;
        p = end + 1;
    }
}

/* All cores at the same time, one process each; each writes its struct into the pipe, which is atomic at this size. */
static void spin_all(const int *cores, size_t n, double seconds, struct holes *ret_holes)
{
    int fds[2];
    if (pipe(fds) != 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "pipe: %s", strerror(errno));
    for (size_t i = 0; i < n; i++) {
        pid_t child = fork();
        if (child < 0)
            rt_bench_die(RT_BENCH_EXIT_FAILED, "fork: %s", strerror(errno));
        if (child > 0)
            continue;
        struct holes h = spin(cores[i], seconds);
        _exit(write(fds[1], &h, sizeof(h)) == (ssize_t)sizeof(h) ? 0 : RT_BENCH_EXIT_FAILED);
    }
    close(fds[1]);
    for (size_t i = 0; i < n; i++)
        if (read(fds[0], &ret_holes[i], sizeof(ret_holes[i])) != (ssize_t)sizeof(ret_holes[i]))
            rt_bench_die(RT_BENCH_EXIT_FAILED, "a spinner ended early");
    close(fds[0]);
    while (wait(NULL) > 0)
        continue;
}

int rt_bench_gap(const struct rt_bench_options *options)
{
    int cores[CORES_MAX];
    struct holes holes[CORES_MAX];
    size_t n = parse_cores(options->cores, cores);
    double worst = 0;
    spin_all(cores, n, options->time, holes);
    printf("%-5s %9s %8s %10s %10s\n", "core", "seconds", "holes", "max ms", "share");
    for (size_t i = 0; i < n; i++) {
        double share = (double)holes[i].sum / (double)holes[i].wall;
        worst = share > worst ? share : worst;
        printf("%-5d %9.2f %8llu %10.2f %9.1f%%\n", holes[i].core, (double)holes[i].wall / 1e9,
               (unsigned long long)holes[i].count, (double)holes[i].max / 1e6, 100 * share);
    }
    if (options->json)
        printf("{\"mode\":\"gap\",\"cores\":%zu,\"worst_share\":%.4f}\n", n, worst);
    return 0;
}
