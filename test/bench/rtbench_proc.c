#include "rtbench_proc.h"

#include "bench_util.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void add_task(pid_t pid, const char *task, struct rt_proc_cpu *sum)
{
    char path[96];
    uint64_t run = 0, wait = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", (int)pid, task);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return; /* a thread that ended while we looked */
    if (fscanf(f, "%" SCNu64 " %" SCNu64, &run, &wait) != 2)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "%s: unknown format", path);
    sum->run_ns += run;
    sum->wait_ns += wait;
    (void)fclose(f);
}

struct rt_proc_cpu rt_proc_cpu(pid_t pid, bool main_thread)
{
    struct rt_proc_cpu sum = {0};
    char path[64];
    if (pid == 0)
        return sum;
    if (main_thread) {
        (void)snprintf(path, sizeof(path), "%d", (int)pid);
        add_task(pid, path, &sum);
        return sum;
    }
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "%s: %s", path, strerror(errno));
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.')
            add_task(pid, e->d_name, &sum);
    closedir(dir);
    return sum;
}

/* The value in bytes of a line `NAME:   123 kB`. */
static uint64_t field(const char *path, const char *name)
{
    char line[256];
    uint64_t kib = 0;
    size_t len = strlen(name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "%s: %s", path, strerror(errno));
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, name, len) != 0 || line[len] != ':')
            continue;
        if (sscanf(line + len + 1, "%" SCNu64, &kib) != 1)
            break;
        (void)fclose(f);
        return kib * 1024;
    }
    rt_bench_die(RT_BENCH_EXIT_FAILED, "%s: no %s", path, name);
}

struct rt_proc_memory rt_proc_memory(pid_t pid)
{
    char path[64];
    struct rt_proc_memory m = {.slab = field("/proc/meminfo", "Slab")};
    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    m.rss = field(path, "Rss");
    m.pss = field(path, "Pss");
    return m;
}
