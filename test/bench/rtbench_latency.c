#include "rtbench.h"
#include "rtbench_hist.h"
#include "rtbench_message.h"
#include "rtbench_proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define DRAIN_NS (5 * RT_BENCH_NS_PER_S)

/* Reading a socket costs about as much as the server's send to it, so a client that read all of them in turn would time itself.
 * The probes, spread evenly over the order of connecting, are looked at first and before every few reads of the rest. The
 * client never sleeps: a wake-up would be part of what is timed. With --sleep it does, since others want its core, and then it is. */
enum { PROBE_EVENTS = 64, REST_EVENTS = 4 };

struct timing {
    const struct rt_bench_options *options;
    struct rt_swarm swarm;
    struct rt_publisher publisher;
    struct rt_client *source;
    int probes;          /* epoll set */
    uint64_t start;      /* messages due earlier are warm-up */
    uint64_t begin, gap; /* when the first is due, and time between two */
    uint64_t issued, busy;
    size_t receivers;
    struct rt_hist latency, late;
};

static void timed(void *arg, struct rt_client *client, const uint8_t *payload, size_t len)
{
    struct timing *t = arg;
    if (client->epoll != t->probes)
        return; /* the publisher itself, or one of the rest */
    uint64_t now = rt_bench_now();
    struct rt_message message;
    for (const uint8_t *p = payload, *end = payload + len;
         (p = rt_message_decode(p, (size_t)(end - p), t->options->size, &message)) != NULL;)
        if (message.time >= t->start)
            rt_hist_add(&t->latency, now - message.time);
}

static void timing_start(struct timing *t, const struct rt_bench_options *options)
{
    size_t n = options->subscribers;
    uint32_t probes = options->probes < n ? options->probes : (uint32_t)n;
    *t = (struct timing){.options = options, .receivers = n + (options->echo ? 1 : 0)};
    rt_publisher_init(&t->publisher, options->publish, options->size, 1);
    rt_swarm_init(&t->swarm, &options->target, n + 1);
    rt_swarm_open(&t->swarm, n + 1);
    t->source = &t->swarm.clients[n];
    t->probes = epoll_create1(EPOLL_CLOEXEC);
    if (t->probes < 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "epoll_create1: %s", strerror(errno));
    for (uint32_t i = 0; i < probes; i++)
        rt_swarm_move(&t->swarm.clients[((2 * (size_t)i + 1) * n) / (2 * (size_t)probes)],
                      t->probes);
    t->swarm.arg = t;
    t->swarm.on_payload = timed;
}

static void publish_due(struct timing *t, uint64_t now, uint64_t end)
{
    uint64_t due;
    while ((due = t->begin + t->issued * t->gap) <= now && due < end) {
        size_t len = 0;
        const uint8_t *frame =
            rt_publisher_encode(&t->publisher, (uint32_t)t->issued, 1, due, &len);
        rt_swarm_send(&t->swarm, t->source, frame, len);
        t->issued++;
        if (due >= t->start)
            rt_hist_add(&t->late, rt_bench_now() - due);
    }
}

static void turn(struct timing *t, uint64_t now)
{
    int n = rt_swarm_poll(&t->swarm, t->probes, PROBE_EVENTS, 0);
    if (n == 0)
        n = rt_swarm_poll(&t->swarm, t->swarm.epoll, REST_EVENTS, 0);
    if (n > 0 && now >= t->start)
        t->busy += rt_bench_now() - now;
}

/* Until the next publish is due or something has come. */
static void rest(const struct timing *t, uint64_t end)
{
    const int fds[] = {t->probes, t->swarm.epoll};
    uint64_t due = t->begin + t->issued * t->gap;
    if (t->options->sleep)
        rt_bench_wait(fds, 2, due < end ? due : end);
}

static double ms(const struct rt_hist *hist, double quantile)
{
    return (double)rt_hist_quantile(hist, quantile) / 1e6;
}

static void report(const struct timing *t, double wall, uint64_t server_ns, uint64_t missing)
{
    const struct rt_bench_options *o = t->options;
    const struct rt_hist *h = &t->latency;
    double server = (double)server_ns / 1e9 / wall, busy = (double)t->busy / 1e9 / wall;
    double mean = h->count > 0 ? h->sum / (double)h->count / 1e6 : 0;
    const char *protocol = o->target.protocol == RT_SWARM_RAW ? "raw" : "sio";
    printf("%-5s %6s %6s %8s %8s %8s %8s %8s %8s %9s %7s %7s %8s\n", "proto", "N", "bytes", "pub/s",
           "p50 ms", "p99", "p99.9", "max", "mean", "late p99", "srv cpu", "cli bsy", "missing");
    printf("%-5s %6zu %6zu %8.0f %8.3f %8.3f %8.3f %8.3f %8.3f %9.3f %6.1f%% %6.1f%% %8llu\n",
           protocol, o->subscribers, o->size, o->rate, ms(h, 0.5), ms(h, 0.99), ms(h, 0.999),
           (double)h->max / 1e6, mean, ms(&t->late, 0.99), 100 * server, 100 * busy,
           (unsigned long long)missing);
    if (o->json)
        printf("{\"mode\":\"latency\",\"protocol\":\"%s\",\"subscribers\":%zu,\"size\":%zu,"
               "\"rate\":%.1f,\"samples\":%llu,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"p999_ms\":%.4f,"
               "\"max_ms\":%.4f,\"mean_ms\":%.4f,\"late_p99_ms\":%.4f,\"server_cpu\":%.4f,"
               "\"client_busy\":%.4f,\"missing\":%llu}\n",
               protocol, o->subscribers, o->size, o->rate, (unsigned long long)h->count, ms(h, 0.5),
               ms(h, 0.99), ms(h, 0.999), (double)h->max / 1e6, mean, ms(&t->late, 0.99), server,
               busy, (unsigned long long)missing);
}

int rt_bench_latency(const struct rt_bench_options *options)
{
    static struct timing t;
    timing_start(&t, options);
    uint64_t now = rt_bench_now();
    t.gap = (uint64_t)(1e9 / options->rate);
    t.begin = now;
    t.start = now + (uint64_t)(options->warmup * 1e9);
    uint64_t end = t.start + (uint64_t)(options->time * 1e9);
    for (; now < t.start; now = rt_bench_now()) {
        publish_due(&t, now, t.start);
        turn(&t, now);
        rest(&t, t.start);
    }
    struct rt_proc_cpu before = rt_proc_cpu(options->pid, options->main_thread);
    for (; now < end; now = rt_bench_now()) {
        publish_due(&t, now, end);
        turn(&t, now);
        rest(&t, end);
    }
    struct rt_proc_cpu after = rt_proc_cpu(options->pid, options->main_thread);
    uint64_t busy = t.busy, wanted = t.issued * t.receivers;
    while (t.swarm.messages < wanted && now < end + DRAIN_NS) {
        turn(&t, now);
        now = rt_bench_now();
    }
    t.busy = busy;
    report(&t, (double)(end - t.start) / 1e9, after.run_ns - before.run_ns,
           wanted - t.swarm.messages);
    return t.swarm.messages == wanted ? 0 : RT_BENCH_EXIT_FAILED;
}
