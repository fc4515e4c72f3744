#include "rtbench.h"
#include "rtbench_hist.h"
#include "rtbench_message.h"

#include <signal.h>
#include <stdio.h>

#define EVENTS      512
#define PATIENCE_NS (30 * RT_BENCH_NS_PER_S)
#define TURN_NS     (100 * (RT_BENCH_NS_PER_S / 1000))

/* The upper bits of a message's sequence number say whose it is: where all are on one channel, everybody gets everything. */
enum { INDEX_SHIFT = 24, NUMBER_MAX = 1 << INDEX_SHIFT };

struct sender {
    uint32_t issued, answered;
    uint32_t expected; /* number of the next that should come back */
};

struct ingest {
    const struct rt_bench_options *options;
    struct rt_swarm swarm;
    struct rt_publisher publisher;
    struct sender *senders;
    uint32_t each; /* publishes of one sender */
    uint32_t next; /* pace: whose turn it is */
    uint64_t begin, last;
    uint64_t issued, answered, disorder;
    struct rt_hist latency;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static void issue(struct ingest *in, struct rt_client *client, uint32_t count)
{
    struct sender *s = &in->senders[client->index];
    uint32_t sequence = client->index << INDEX_SHIFT | s->issued;
    size_t len = 0;
    const uint8_t *frames =
        rt_publisher_encode(&in->publisher, sequence, count, rt_bench_now(), &len);
    s->issued += count;
    in->issued += count;
    rt_swarm_send(&in->swarm, client, frames, len);
}

static uint32_t room(const struct ingest *in, const struct sender *s)
{
    uint32_t window = in->options->window - (s->issued - s->answered), rest = in->each - s->issued;
    return window < rest ? window : rest;
}

static void received(void *arg, struct rt_client *client, uint32_t messages)
{
    struct ingest *in = arg;
    (void)messages;
    uint32_t n = room(in, &in->senders[client->index]);
    if (n > 0 && stopping == 0)
        issue(in, client, n);
}

static void take(void *arg, struct rt_client *client, const uint8_t *payload, size_t len)
{
    struct ingest *in = arg;
    struct sender *s = &in->senders[client->index];
    struct rt_message message;
    uint64_t now = rt_bench_now();
    for (const uint8_t *p = payload, *end = payload + len;
         (p = rt_message_decode(p, (size_t)(end - p), in->options->size, &message)) != NULL;) {
        if (message.sequence >> INDEX_SHIFT != client->index)
            continue;
        uint32_t number = message.sequence % NUMBER_MAX;
        if (number != s->expected)
            in->disorder++;
        s->expected = number + 1;
        s->answered++;
        in->answered++;
        in->last = now;
        rt_hist_add(&in->latency, now - message.time);
    }
    if (s->answered > s->issued)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "client %u got %u of its messages, it sent %u",
                     client->index, s->answered, s->issued);
}

/* What is due by now, one sender after the other. A sender whose window is full is passed over; when all are, the rest is late. */
static void issue_due(struct ingest *in, uint64_t now)
{
    uint64_t due = (uint64_t)((double)(now - in->begin) / 1e9 * in->options->pace);
    for (uint32_t full = 0; in->issued < due && full < in->options->senders;) {
        struct rt_client *client = &in->swarm.clients[in->next];
        in->next = (in->next + 1) % in->options->senders;
        if (room(in, &in->senders[client->index]) == 0) {
            full++;
            continue;
        }
        issue(in, client, 1);
        full = 0;
    }
}

static void serve(struct ingest *in, uint64_t until)
{
    rt_bench_wait(&in->swarm.epoll, 1, until);
    rt_swarm_poll(&in->swarm, in->swarm.epoll, EVENTS, 0);
}

static void run_paced(struct ingest *in)
{
    uint64_t end = in->begin + (uint64_t)(in->options->time * 1e9);
    /* Not more often than this: at high rates a wake-up for each would be most of the work. */
    uint64_t gap = RT_BENCH_NS_PER_S / 1000, now;
    while ((now = rt_bench_now()) < end && stopping == 0) {
        issue_due(in, now);
        serve(in, now + gap < end ? now + gap : end);
    }
    stopping = 1;
}

static void drain(struct ingest *in)
{
    uint64_t now = rt_bench_now(), progress = now, answered = in->answered;
    while (stopping != 0 ? in->answered < in->issued
                         : in->answered < (uint64_t)in->each * in->options->senders) {
        serve(in, now + TURN_NS);
        now = rt_bench_now();
        if (in->answered > answered) {
            answered = in->answered;
            progress = now;
        } else if (now - progress > PATIENCE_NS) {
            rt_bench_die(RT_BENCH_EXIT_FAILED,
                         "stalled: %llu of %llu publishes answered, none for %llu s",
                         (unsigned long long)answered, (unsigned long long)in->issued,
                         PATIENCE_NS / RT_BENCH_NS_PER_S);
        }
    }
}

static void ingest_start(struct ingest *in, const struct rt_bench_options *options)
{
    uint32_t each = (options->count + options->senders - 1) / options->senders;
    bool paced = options->pace > 0;
    if (!paced && each > NUMBER_MAX)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "--count %u: more than %d for each of %u senders",
                     options->count, NUMBER_MAX, options->senders);
    *in = (struct ingest){.options = options, .each = paced ? NUMBER_MAX : each};
    rt_publisher_init(&in->publisher, options->publish, options->size, options->window);
    rt_swarm_init(&in->swarm, &options->target, options->senders);
    rt_swarm_open(&in->swarm, options->senders);
    in->senders = rt_bench_alloc(options->senders, sizeof(in->senders[0]));
    in->swarm.arg = in;
    in->swarm.on_payload = take;
    in->swarm.on_read = paced ? NULL : received;
    (void)signal(SIGTERM, on_signal);
    in->begin = in->last = rt_bench_now();
}

static void report(const struct ingest *in, double client_cpu)
{
    const struct rt_bench_options *o = in->options;
    double seconds = (double)(in->last - in->begin) / 1e9;
    double rate = seconds > 0 ? (double)in->answered / seconds : 0;
    double p50 = (double)rt_hist_quantile(&in->latency, 0.5) / 1e6;
    double p99 = (double)rt_hist_quantile(&in->latency, 0.99) / 1e6;
    printf(
        "%u senders, %llu publishes of %zu bytes in %.3f s: %.0f answered/s, p50 %.2f ms, p99 %.2f ms\n",
        o->senders, (unsigned long long)in->answered, o->size, seconds, rate, p50, p99);
    if (in->disorder > 0)
        printf("out of order: %llu\n", (unsigned long long)in->disorder);
    if (o->json)
        printf("{\"mode\":\"ingest\",\"senders\":%u,\"size\":%zu,\"window\":%u,\"publishes\":%llu,"
               "\"seconds\":%.6f,\"per_second\":%.1f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,"
               "\"max_ms\":%.4f,\"disorder\":%llu,\"client_cpu\":%.4f,\"begin_ns\":%llu,"
               "\"end_ns\":%llu}\n",
               o->senders, o->size, o->window, (unsigned long long)in->answered, seconds, rate, p50,
               p99, (double)in->latency.max / 1e6, (unsigned long long)in->disorder, client_cpu,
               (unsigned long long)in->begin, (unsigned long long)in->last);
}

int rt_bench_ingest(const struct rt_bench_options *options)
{
    static struct ingest in;
    ingest_start(&in, options);
    uint64_t cpu = rt_bench_cpu();
    if (options->pace > 0) {
        run_paced(&in);
    } else {
        for (uint32_t i = 0; i < options->senders; i++)
            received(&in, &in.swarm.clients[i], 0);
    }
    drain(&in);
    double wall = (double)(rt_bench_now() - in.begin) / 1e9;
    report(&in, (double)(rt_bench_cpu() - cpu) / 1e9 / wall);
    return 0;
}
