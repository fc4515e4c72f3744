/* What Linux tells about another process: CPU time and memory. The program ends when it cannot be read. */
#ifndef RT_BENCH_PROC_H
#define RT_BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rt_proc_cpu {
    uint64_t run_ns;  /* on a CPU, all threads, kernel's work for them included */
    uint64_t wait_ns; /* ready to run, but something else had the CPU */
};

struct rt_proc_memory {
    uint64_t rss, pss; /* bytes */
    uint64_t slab;     /* bytes, of the whole machine: sockets of both ends are in it */
};

/* Sums /proc/PID/task/(all)/schedstat, or takes that of the main thread alone: nanoseconds, where utime and stime are ticks.
 * Zeros for pid 0. */
struct rt_proc_cpu rt_proc_cpu(pid_t pid, bool main_thread);
struct rt_proc_memory rt_proc_memory(pid_t pid);

#endif
