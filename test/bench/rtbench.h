/* rtbench, the load generator: its options and its modes. One thread, raw epoll.
 * Every mode returns an exit code (0 or RT_BENCH_EXIT_*) and prints its result to standard output. */
#ifndef RT_BENCH_RTBENCH_H
#define RT_BENCH_RTBENCH_H

#include "bench_util.h"
#include "rtbench_swarm.h"

#include <sys/types.h>

struct rt_bench_options {
    struct rt_swarm_config target;
    const char *publish; /* template around a message */
    size_t subscribers;  /* publisher not counted */
    size_t size;         /* bytes of a message, template not counted */
    uint32_t window;     /* publishes outstanding */
    bool echo;           /* the publisher receives what it publishes */
    double warmup, time; /* seconds */
    pid_t pid;           /* server to account for; 0 none */
    bool main_thread;    /* CPU time of its main thread, not of all */
    bool json;
    bool verify;
    uint32_t count;      /* verify: messages */
    double rate;         /* latency: publishes a second */
    bool sleep;          /* latency: between events, for a client that shares its core */
    uint32_t senders;    /* ingest: clients */
    double pace;         /* ingest, fanout: publishes a second; 0: as answers come */
    uint32_t probes;     /* latency: subscribers that are timed */
    double hold, settle; /* idle: seconds with pings; seconds before memory is read */
    size_t warm;         /* idle: connections opened before the first reading */
    bool message;        /* idle: send one message to all */
    const char *cores;   /* gap: list */
};

/* N subscribers, one publisher, `window` publishes outstanding; deliveries counted by time and by the server's CPU time. */
int rt_bench_fanout(const struct rt_bench_options *options);
/* The same load for `count` messages: every subscriber must get each once, in order, unchanged. */
int rt_bench_verify(const struct rt_bench_options *options);
/* Publishes at fixed times, timed at `probes` subscribers from the time when each was due. */
int rt_bench_latency(const struct rt_bench_options *options);
/* Clients that publish and do nothing else: messages a second until each is answered, which is when it comes back. */
int rt_bench_ingest(const struct rt_bench_options *options);
/* Memory and CPU that idle connections cost the server. */
int rt_bench_idle(const struct rt_bench_options *options);
/* A spinning process on each core records the times when it did not run. */
int rt_bench_gap(const struct rt_bench_options *options);

#endif
