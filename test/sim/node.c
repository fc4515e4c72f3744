#include "node.h"

#include <stdio.h>

#include "client.h"
#include "fake_log.h"
#include "fake_store.h"
#include "journal/kafka.h"
#include "session/internal.h"

#define DRAIN_MS   3000u
#define DRAIN_MOST (8u * SIM_SECOND)

struct sim_node nodes[SIM_NODES];
const char *node_epoch = "";
uint32_t node_channel;

/* ---- the wiring of app/app.c -------------------------------------------------------------------------------- */

static void log_delivers(void *arg, struct rt_str channel, const char *epoch,
                         struct rt_stored *message)
{
    const struct sim_node *n = arg;
    node_epoch = epoch;
    node_channel = channel_of(channel);
    if (node_channel >= SIM_CHANNELS) {
        sim_fail("n%u: delivered on channel %.*s", n->host.index, RT_STR_ARG(channel));
        return;
    }
    rt_broker_deliver(n->broker, channel, epoch, message);
}

static void log_committed(void *arg, const struct rt_record *record)
{
    const struct sim_node *n = arg;
    const char *epoch = rt_journal_kafka_epoch(n->kafka, record->partition);
    if (n->cluster)
        rt_cluster_committed(n->cluster, record, rt_str_c(epoch));
}

static bool is_in_partition(void *arg, struct rt_str channel)
{
    return rt_partition_of(channel, SIM_PARTS) == *(const uint32_t *)arg;
}

static void log_has_gap(void *arg, uint32_t partition)
{
    const struct sim_node *n = arg;
    sim_trace("n%u: a gap in p%u", n->host.index, partition);
    rt_broker_forget(n->broker, is_in_partition, &partition);
}

static void early(void *arg, const struct rt_record *record, struct rt_str epoch)
{
    rt_journal_kafka_early(((const struct sim_node *)arg)->kafka, epoch, record);
}

static void relayed(void *arg, struct rt_str channel, struct rt_message *message)
{
    rt_broker_relayed(((const struct sim_node *)arg)->broker, channel, message);
}

static void name_taken(void *arg, const char *text)
{
    sim_fail("n%u: %s", ((const struct sim_node *)arg)->host.index, text);
}

static void describe(void *arg, struct rt_buf *out)
{
    (void)arg;
    rt_buf_add_c(out, "\"num_clients\":1");
}

static void relieved(void *arg)
{
    rt_broker_relieved(((const struct sim_node *)arg)->broker);
}

static int open_log(struct sim_node *n)
{
    struct rt_err err = {0};
    struct rt_kafka_options options = {
        .journal = {.loop = n->host.loop,
                    .hub = rt_broker_hub(n->broker),
                    .metrics = &n->metrics,
                    .idempotency_window = STORE_WINDOW,
                    .relieved = relieved,
                    .arg = n},
        .brokers = "sim",
        .topic = "sim",
        .warm = 5,
        .close_timeout = DRAIN_MS,
        .deliver = log_delivers,
        .committed = log_committed,
        .gap = log_has_gap,
        .arg = n,
    };
    const struct rt_find_options find = {.brokers = "sim", .topic = "sim"};
    int status = rt_kafka_find(&find, &options.found, &err);
    if (status == 0)
        status = rt_journal_kafka(&options, &n->kafka, &err);
    if (status == 0)
        rt_broker_set_journal(n->broker, n->kafka);
    return status;
}

static int open_cluster(struct sim_node *n)
{
    struct rt_err err = {0};
    struct rt_cluster_options options = {.loop = n->host.loop,
                                         .metrics = &n->metrics,
                                         .redis_url = "redis://sim",
                                         .prefix = "",
                                         .name = "sim",
                                         .node = n->name,
                                         .secret = SIM_SECRET,
                                         .second_secret = "",
                                         .topic = "sim",
                                         .partitions = SIM_PARTS,
                                         .early = early,
                                         .deliver = relayed,
                                         .name_taken = name_taken,
                                         .describe = describe,
                                         .arg = n};
    return rt_cluster_new(&options, &n->cluster, &err);
}

static void configure(struct sim_node *n)
{
    snprintf(n->name, sizeof(n->name), "n%u", n->host.index);
    n->rule = (struct rt_channel_rule){.match = "*",
                                       .log = true,
                                       .history_size = 30,
                                       .history_ttl = 20000,
                                       .subscribe = RT_ALLOW_ANYONE,
                                       .publish = RT_ALLOW_ANYONE};
    memset(&n->config, 0, sizeof(n->config));
    n->config.node.name = n->name;
    n->config.channels = &n->rule;
    n->config.channel_count = 1;
    n->config.limits.channels_per_connection = 100;
    n->config.limits.channel_name = 100;
    n->config.limits.message = 1000;
    n->config.limits.memory_log = NODE_MEMORY;
}

/* ---- the process ----------------------------------------------------------------------------------------------- */

struct life {
    struct sim_node *node;
    uint64_t life;
};

static void post_life(struct sim_node *n, uint64_t delay, void (*fn)(void *payload))
{
    struct life *l = sim_post(delay, fn, sizeof(*l));
    *l = (struct life){n, n->host.life};
}

/* The tail's thread. */
static void tail_runs(void *payload)
{
    struct sim_node *n = ((struct life *)payload)->node;
    if (n->host.life != ((struct life *)payload)->life || !n->host.tail)
        return;
    if (!n->host.frozen) {
        struct sim_host *former = sim.host;
        sim.host = &n->host;
        if (!sim_tail_step(n->host.tail))
            n->host.tail = NULL;
        sim.host = former;
    }
    post_life(n, sim_between(500, 8000), tail_runs);
}

static void release(struct sim_node *n)
{
    struct sim_host *former = sim.host;
    sim.host = &n->host;
    store_forget_host(&n->host);
    if (n->kafka && !n->draining)
        rt_broker_stop_waiting(n->broker);
    rt_broker_free(n->broker); /* and the journal */
    rt_cluster_free(n->cluster);
    sim_loop_free(n->host.loop);
    n->broker = NULL;
    n->kafka = NULL;
    n->cluster = NULL;
    n->host.loop = NULL;
    sim.host = former;
}

static void try_again(void *payload)
{
    struct sim_node *n = ((struct life *)payload)->node;
    if (n->host.life == ((struct life *)payload)->life && !n->host.up)
        node_start(n);
}

void node_start(struct sim_node *n)
{
    n->host.index = (uint32_t)(n - nodes);
    n->host.life++;
    n->host.up = true;
    n->host.frozen = n->draining = false;
    n->host.loop = sim_loop_new(&n->host);
    configure(n);
    rt_metrics_init(&n->metrics);
    struct sim_host *former = sim_enter(&n->host);
    struct rt_err err = {0};
    int status = rt_broker_new(&n->config, n->host.loop, &n->metrics, &n->broker, &err);
    if (status == 0)
        status = open_log(n);
    if (status == 0)
        status = open_cluster(n);
    sim_leave(former);
    sim_trace("n%u: %s", n->host.index, status ? "cannot start" : "starts");
    if (status) {
        n->host.up = false;
        release(n);
        post_life(n, SIM_SECOND, try_again);
        return;
    }
    rt_broker_set_reader(n->broker, store_read, &n->host);
    post_life(n, 0, tail_runs);
}

void node_crash(struct sim_node *n)
{
    if (!n->host.up)
        return;
    sim_trace("n%u: crashes", n->host.index);
    n->host.up = false;
    n->host.life++;
    clients_lose_node(n);
    release(n);
}

static void has_drained(void *payload)
{
    struct sim_node *n = ((struct life *)payload)->node;
    if (n->host.life != ((struct life *)payload)->life)
        return;
    sim_trace("n%u: has drained", n->host.index);
    n->host.up = false;
    n->host.life++;
    release(n);
    node_start(n);
}

static void log_closed(void *arg)
{
    post_life(arg, sim_below(200 * SIM_MS), has_drained);
}

static void drains_too_long(void *payload)
{
    const struct sim_node *n = ((struct life *)payload)->node;
    if (n->host.life == ((struct life *)payload)->life)
        sim_fail("n%u: does not come to its end", n->host.index);
}

void node_stop(struct sim_node *n)
{
    if (!node_serves(n))
        return;
    sim_trace("n%u: is told to stop", n->host.index);
    clients_lose_node(n);
    n->draining = true;
    post_life(n, DRAIN_MOST, drains_too_long);
    struct sim_host *former = sim_enter(&n->host);
    rt_broker_close(n->broker, log_closed, n);
    sim_leave(former);
}

bool node_serves(const struct sim_node *n)
{
    return n->host.up && !n->host.frozen && !n->draining && rt_journal_kafka_ready(n->kafka);
}
