#include "rtbench.h"
#include "rtbench_message.h"
#include "rtbench_proc.h"

#include <stdio.h>

#define MESSAGE_PATIENCE_NS (20 * RT_BENCH_NS_PER_S)

struct stage {
    const char *name, *key;
    struct rt_proc_memory memory;
};

/* Serves pings meanwhile. */
static void serve_for(struct rt_swarm *swarm, double seconds)
{
    uint64_t end = rt_bench_now() + (uint64_t)(seconds * 1e9);
    for (uint64_t now; (now = rt_bench_now()) < end;)
        rt_swarm_poll(swarm, swarm->epoll, 512, (int)((end - now) / 1000000) + 1);
}

static void message_to_all(struct rt_swarm *swarm, const struct rt_bench_options *options)
{
    struct rt_publisher publisher;
    size_t len = 0, receivers = swarm->count - (options->echo ? 0 : 1);
    rt_publisher_init(&publisher, options->publish, options->size, 1);
    const uint8_t *frame = rt_publisher_encode(&publisher, 0, 1, rt_bench_now(), &len);
    rt_swarm_send(swarm, &swarm->clients[0], frame, len);
    uint64_t start = rt_bench_now();
    while (swarm->messages < receivers) {
        rt_swarm_poll(swarm, swarm->epoll, 512, 100);
        if (rt_bench_now() - start > MESSAGE_PATIENCE_NS)
            rt_bench_die(RT_BENCH_EXIT_FAILED, "%llu of %zu clients got the message",
                         (unsigned long long)swarm->messages, receivers);
    }
}

static double per_connection(const struct stage *from, const struct stage *to, size_t n, bool pss)
{
    const struct rt_proc_memory *a = &from->memory, *b = &to->memory;
    return pss ? ((double)b->pss - (double)a->pss) / (double)n
               : ((double)b->rss - (double)a->rss) / (double)n;
}

static void report(const struct rt_bench_options *o, const struct stage *stages, size_t count,
                   double connect_us, const struct rt_swarm *swarm)
{
    size_t n = o->subscribers;
    const char *protocol = o->target.protocol == RT_SWARM_RAW ? "raw" : "sio";
    double slab = ((double)stages[1].memory.slab - (double)stages[0].memory.slab) / (double)n;
    printf("%s: %zu connections on top of %zu, %.1f us of server CPU each to connect\n", protocol,
           n, o->warm, connect_us);
    printf("%-26s %12s %12s %12s %12s\n", "stage", "RSS KiB", "PSS KiB", "RSS B/conn",
           "PSS B/conn");
    for (size_t i = 0; i < count; i++)
        printf("%-26s %12.0f %12.0f %12.0f %12.0f\n", stages[i].name,
               (double)stages[i].memory.rss / 1024, (double)stages[i].memory.pss / 1024,
               per_connection(&stages[0], &stages[i], n, false),
               per_connection(&stages[0], &stages[i], n, true));
    printf("kernel slab (both ends)    %.0f B/conn; pings answered %llu\n", slab,
           (unsigned long long)swarm->pings);
    if (!o->json)
        return;
    printf("{\"mode\":\"idle\",\"protocol\":\"%s\",\"connections\":%zu,\"connect_us\":%.2f,"
           "\"base_rss\":%llu,\"slab\":%.0f,\"pings\":%llu",
           protocol, n, connect_us, (unsigned long long)stages[0].memory.rss, slab,
           (unsigned long long)swarm->pings);
    for (size_t i = 1; i < count; i++)
        printf(",\"rss_%s\":%.1f,\"pss_%s\":%.1f", stages[i].key,
               per_connection(&stages[0], &stages[i], n, false), stages[i].key,
               per_connection(&stages[0], &stages[i], n, true));
    printf("}\n");
}

static void read_stage(struct stage *stages, size_t *count, const char *name, const char *key,
                       const struct rt_bench_options *options)
{
    stages[(*count)++] = (struct stage){name, key, rt_proc_memory(options->pid)};
}

int rt_bench_idle(const struct rt_bench_options *options)
{
    static struct rt_swarm swarm;
    struct stage stages[4];
    size_t count = 0;
    if (options->pid == 0)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "idle: --pid is needed");
    rt_swarm_init(&swarm, &options->target, options->warm + options->subscribers);
    /* The first connections bring code and tables into memory that are no connection's own. */
    rt_swarm_open(&swarm, options->warm);
    serve_for(&swarm, options->settle);
    read_stage(stages, &count, "before", "before", options);
    struct rt_proc_cpu before = rt_proc_cpu(options->pid, options->main_thread);
    rt_swarm_open(&swarm, options->subscribers);
    struct rt_proc_cpu after = rt_proc_cpu(options->pid, options->main_thread);
    serve_for(&swarm, options->settle);
    read_stage(stages, &count, "connected", "connected", options);
    if (options->message) {
        message_to_all(&swarm, options);
        serve_for(&swarm, options->settle);
        read_stage(stages, &count, "after one message to each", "message", options);
    }
    if (options->hold > 0) {
        serve_for(&swarm, options->hold);
        read_stage(stages, &count, "after holding", "held", options);
    }
    report(options, stages, count,
           (double)(after.run_ns - before.run_ns) / 1e3 / (double)options->subscribers, &swarm);
    return 0;
}
