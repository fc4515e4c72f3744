#include "rtbench.h"
#include "rtbench_message.h"
#include "rtbench_proc.h"

#include <stdio.h>

#define EVENTS       512
#define PATIENCE_NS  (10 * RT_BENCH_NS_PER_S)
#define PACE_TURN_NS (RT_BENCH_NS_PER_S / 100)

/* A publish is done when every receiver has it. To know the least of all counts without looking at every client: `at[c % ring]`
 * is how many receivers have exactly c messages, and the least moves on when its place is empty. The counts of all lie within
 * [done, issued], which is at most `window` wide, so a ring suffices. */
struct load {
    const struct rt_bench_options *options;
    struct rt_swarm swarm;
    struct rt_publisher publisher;
    struct rt_client *source;
    uint32_t *at;
    uint64_t ring; /* power of two, minus one */
    uint64_t issued, done, limit;
    uint64_t due; /* pace: when the next publish may go */
    size_t receivers;
    uint32_t *expected; /* verify: next sequence number of each client */
};

/* With a pace a publish also waits for its time. One that is late by its forerunners is not made up for: never two at once. */
static bool too_early(struct load *load)
{
    uint64_t now = rt_bench_now();
    if (!(load->options->pace > 0))
        return false;
    if (now < load->due)
        return true;
    load->due += (uint64_t)(1e9 / load->options->pace);
    if (load->due < now)
        load->due = now;
    return false;
}

static void publish(struct load *load)
{
    if (load->issued - load->done >= load->options->window || too_early(load))
        return;
    uint64_t n = load->options->window - (load->issued - load->done);
    if (n > load->limit - load->issued)
        n = load->limit - load->issued;
    if (load->options->pace > 0 && n > 1)
        n = 1;
    if (n == 0)
        return;
    size_t len = 0;
    const uint8_t *frames = rt_publisher_encode(&load->publisher, (uint32_t)load->issued,
                                                (uint32_t)n, rt_bench_now(), &len);
    load->issued += n;
    rt_swarm_send(&load->swarm, load->source, frames, len);
}

static void received(void *arg, struct rt_client *client, uint32_t messages)
{
    struct load *load = arg;
    if (client == load->source && !load->options->echo)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "the publisher got its own message (--no-echo)");
    if (client->got > load->issued)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "client %u has %llu messages, published were %llu",
                     client->index, (unsigned long long)client->got,
                     (unsigned long long)load->issued);
    load->at[(client->got - messages) & load->ring]--;
    load->at[client->got & load->ring]++;
    if (load->at[load->done & load->ring] > 0)
        return;
    while (load->at[load->done & load->ring] == 0)
        load->done++;
    publish(load);
}

static void check(void *arg, struct rt_client *client, const uint8_t *payload, size_t len)
{
    struct load *load = arg;
    struct rt_message message;
    for (const uint8_t *p = payload, *end = payload + len;
         (p = rt_message_decode(p, (size_t)(end - p), load->options->size, &message)) != NULL;) {
        if (message.sequence != load->expected[client->index])
            rt_bench_die(RT_BENCH_EXIT_FAILED, "client %u: message %u came, expected was %u",
                         client->index, message.sequence, load->expected[client->index]);
        load->expected[client->index]++;
    }
}

/* The publisher comes last, so its place in the server's list is the least favourable for its own echo. */
static void load_start(struct load *load, const struct rt_bench_options *options)
{
    *load = (struct load){.options = options, .limit = UINT32_MAX, .ring = 1};
    rt_publisher_init(&load->publisher, options->publish, options->size, options->window);
    rt_swarm_init(&load->swarm, &options->target, options->subscribers + 1);
    rt_swarm_open(&load->swarm, options->subscribers + 1);
    load->source = &load->swarm.clients[options->subscribers];
    load->receivers = options->subscribers + (options->echo ? 1 : 0);
    while (load->ring < (uint64_t)options->window + 1)
        load->ring *= 2;
    load->at = rt_bench_alloc(load->ring, sizeof(load->at[0]));
    load->ring--;
    load->at[0] = (uint32_t)load->receivers;
    load->swarm.arg = load;
    load->swarm.on_read = received;
}

static void stalled(const struct load *load)
{
    for (size_t i = 0; i < load->receivers; i++) {
        const struct rt_client *c = &load->swarm.clients[i];
        if (c->got < load->issued)
            rt_bench_die(RT_BENCH_EXIT_FAILED,
                         "stalled: client %zu has %llu of %llu messages after %llu s", i,
                         (unsigned long long)c->got, (unsigned long long)load->issued,
                         PATIENCE_NS / RT_BENCH_NS_PER_S);
    }
}

/* Runs until `end` (0: until every publish up to the limit is done). */
static void run(struct load *load, uint64_t end)
{
    uint64_t now = rt_bench_now(), progress = now, done = load->done;
    bool paced = load->options->pace > 0;
    while (end > 0 ? now < end : load->done < load->limit) {
        if (paced) {
            rt_bench_wait(&load->swarm.epoll, 1, now < load->due ? load->due : now + PACE_TURN_NS);
            publish(load);
        }
        rt_swarm_poll(&load->swarm, load->swarm.epoll, EVENTS, paced ? 0 : 100);
        now = rt_bench_now();
        if (load->done > done) {
            done = load->done;
            progress = now;
        } else if (now - progress > PATIENCE_NS) {
            stalled(load);
        }
    }
}

struct reading {
    uint64_t wall, client_cpu, messages, reads, done;
    struct rt_proc_cpu server;
};

static struct reading take_reading(const struct load *load)
{
    return (struct reading){
        .server = rt_proc_cpu(load->options->pid, load->options->main_thread),
        .wall = rt_bench_now(),
        .client_cpu = rt_bench_cpu(),
        .messages = load->swarm.messages,
        .reads = load->swarm.reads,
        .done = load->done,
    };
}

static void report(const struct load *load, const struct reading *a, const struct reading *b)
{
    const struct rt_bench_options *o = load->options;
    double wall = (double)(b->wall - a->wall) / 1e9;
    double cpu = (double)(b->server.run_ns - a->server.run_ns) / 1e9;
    double delivered = (double)(b->messages - a->messages);
    double client = (double)(b->client_cpu - a->client_cpu) / 1e9 / wall;
    double waited = (double)(b->server.wait_ns - a->server.wait_ns) / 1e9 / wall;
    double per_cpu = cpu > 0 ? delivered / cpu : 0;
    double per_read = b->reads > a->reads ? delivered / (double)(b->reads - a->reads) : 0;
    const char *protocol = o->target.protocol == RT_SWARM_RAW ? "raw" : "sio";
    printf("%-5s %6s %6s %5s %12s %12s %9s %7s %7s %7s %10s\n", "proto", "N", "bytes", "W",
           "deliv/s", "d/cpu-s", "us/deliv", "srv cpu", "waited", "cli cpu", "msgs/read");
    printf("%-5s %6zu %6zu %5u %12.0f %12.0f %9.3f %6.1f%% %6.1f%% %6.1f%% %10.2f\n", protocol,
           o->subscribers, o->size, o->window, delivered / wall, per_cpu,
           per_cpu > 0 ? 1e6 / per_cpu : 0, 100 * cpu / wall, 100 * waited, 100 * client, per_read);
    if (client >= 0.95)
        printf("client at its limit: only d/cpu-s says something about the server\n");
    if (o->json)
        printf("{\"mode\":\"fanout\",\"protocol\":\"%s\",\"subscribers\":%zu,\"size\":%zu,"
               "\"window\":%u,\"seconds\":%.3f,\"deliveries\":%.0f,\"per_second\":%.1f,"
               "\"per_cpu_second\":%.1f,\"us_per_delivery\":%.4f,\"server_cpu\":%.4f,"
               "\"server_waited\":%.4f,\"client_cpu\":%.4f,\"messages_per_read\":%.3f,"
               "\"publishes\":%llu}\n",
               protocol, o->subscribers, o->size, o->window, wall, delivered, delivered / wall,
               per_cpu, per_cpu > 0 ? 1e6 / per_cpu : 0, cpu / wall, waited, client, per_read,
               (unsigned long long)(b->done - a->done));
}

int rt_bench_fanout(const struct rt_bench_options *options)
{
    static struct load load;
    load_start(&load, options);
    publish(&load);
    run(&load, rt_bench_now() + (uint64_t)(options->warmup * 1e9));
    struct reading before = take_reading(&load);
    run(&load, rt_bench_now() + (uint64_t)(options->time * 1e9));
    struct reading after = take_reading(&load);
    report(&load, &before, &after);
    return 0;
}

int rt_bench_verify(const struct rt_bench_options *options)
{
    static struct load load;
    load_start(&load, options);
    load.expected = rt_bench_alloc(options->subscribers + 1, sizeof(load.expected[0]));
    load.swarm.on_payload = check;
    load.limit = options->count;
    publish(&load);
    run(&load, 0);
    /* One more: what came twice at the end would come before it and be out of order. */
    load.limit++;
    publish(&load);
    run(&load, 0);
    printf("verified: %zu receivers got each of %llu messages once, in order, unchanged\n",
           load.receivers, (unsigned long long)load.done);
    if (options->json)
        printf("{\"mode\":\"verify\",\"subscribers\":%zu,\"window\":%u,\"messages\":%llu,"
               "\"other_frames\":%llu}\n",
               options->subscribers, options->window, (unsigned long long)load.done,
               (unsigned long long)load.swarm.other);
    return 0;
}
