#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "check.h"
#include "fake_log.h"
#include "fake_redis.h"
#include "fake_store.h"
#include "journal/kafka.h"

/* ---- what ends by itself ----------------------------------------------------------------------------------------- */

struct later {
    struct sim_node *node;
    uint64_t life;
};

static void later(uint64_t delay, void (*fn)(void *payload), struct sim_node *n)
{
    struct later *l = sim_post(delay, fn, sizeof(*l));
    *l = (struct later){n, n ? n->host.life : 0};
}

static void restart(void *payload)
{
    struct sim_node *n = ((struct later *)payload)->node;
    if (!n->host.up && n->host.life == ((struct later *)payload)->life)
        node_start(n);
}

static void thaw(void *payload)
{
    struct sim_node *n = ((struct later *)payload)->node;
    if (n->host.up && n->host.life == ((struct later *)payload)->life && n->host.frozen)
        sim_trace("n%u: thaws", n->host.index);
    n->host.frozen = false;
}

static void catch_up(void *payload)
{
    ((struct later *)payload)->node->host.lag = 0;
}

static void redis_up(void *payload)
{
    (void)payload;
    fake_redis_down(false);
}

static void kafka_up(void *payload)
{
    (void)payload;
    fake_log.down = false;
    sim_trace("log: up");
}

static void store_up(void *payload)
{
    (void)payload;
    store_down(false);
}

static void store_fast(void *payload)
{
    (void)payload;
    store_slow(20 * SIM_MS);
}

static void old_news(void *payload)
{
    (void)payload;
    for (int i = 0; i < 10; i++)
        fake_redis_replay();
}

static void strange_record(void);

/* Once all nodes have been awake for a while: see other_topic(). */
static void topic_back(void *payload)
{
    static uint32_t looks;
    (void)payload;
    looks++;
    for (uint32_t i = 0; i < SIM_NODES; i++)
        if (nodes[i].host.frozen)
            looks = 0;
    if (!fake_log.gone)
        return;
    if (looks < 2) {
        later(400 * SIM_MS, topic_back, NULL);
        return;
    }
    looks = 0;
    log_create_topic();
    for (uint64_t n = sim_chance(600) ? 12 : 0; n > 0;
         n--) /* other programs may be the first to find it */
        strange_record();
    for (uint64_t i = 1; i < 30; i++) /* Redis brings what it had of the former one */
        later(i * 50 * SIM_MS, old_news, NULL);
}

/* ---- faults -------------------------------------------------------------------------------------------------------- */

static struct sim_node *any_node(void)
{
    return &nodes[sim_below(SIM_NODES)];
}

/* Wrong by two minutes, or by an hour: keys do not care. A topic that is made anew is read from what is newer than the former one, by the
 * clocks of those who wrote, but for RT_TAIL_SLACK. */
static void set_clock(struct sim_node *n)
{
    int64_t most = sim.skewed ? 3600000 : sim.epochs ? 4000 : 120000;
    n->host.skew = (int64_t)sim_below((uint64_t)(2 * most) + 1) - most;
}

static void crash(void)
{
    struct sim_node *n = any_node();
    if (!n->host.up)
        return;
    node_crash(n);
    set_clock(n);
    later(sim_between(100, 2000) * SIM_MS, restart, n);
}

static void stop(void)
{
    node_stop(any_node());
}

static void freeze(void)
{
    struct sim_node *n = any_node();
    if (!n->host.up || n->host.frozen || fake_log.gone)
        return;
    n->host.frozen = true;
    sim_trace("n%u: freezes", n->host.index);
    later(sim_between(50, 2500) * SIM_MS, thaw, n);
}

static void lag(void)
{
    struct sim_node *n = any_node();
    n->host.lag = sim_between(50, 2500) * SIM_MS;
    sim_trace("n%u: its tail lags %llu ms", n->host.index,
              (unsigned long long)(n->host.lag / SIM_MS));
    later(sim_between(500, 3000) * SIM_MS, catch_up, n);
}

static void redis_fault(void)
{
    if (sim_chance(700)) {
        fake_redis_cut((uint32_t)sim_below(SIM_NODES), sim_between(20, 1500) * SIM_MS);
        return;
    }
    fake_redis_down(true);
    later(sim_between(100, 2500) * SIM_MS, redis_up, NULL);
}

static void replay(void)
{
    for (int i = 0; i < 5; i++)
        fake_redis_replay();
}

static void forge(void)
{
    const struct sim_node *n = any_node();
    uint32_t channel = (uint32_t)sim_below(SIM_CHANNELS);
    char name[CHANNEL_NAME];
    channel_name(channel, name);
    uint32_t partition = rt_partition_of(rt_str_c(name), SIM_PARTS);
    if (!n->host.up)
        return;
    const char *epoch = rt_journal_kafka_epoch(n->kafka, partition);
    uint64_t next = (uint64_t)log_part(partition)->end + 1;
    for (uint64_t i = 0; i < 3; i++)
        fake_redis_forge(epoch, partition, next + i, rt_str_c(name));
}

static void kafka_fault(void)
{
    if (fake_log.down || fake_log.gone || sim_chance(400))
        return;
    fake_log.down = true;
    sim_trace("log: down");
    bool longer = sim_chance(150);
    later(sim_between(50, longer ? 6500 : 800) * SIM_MS, kafka_up, NULL);
}

static void producer_fault(void)
{
    node_fail_producer(any_node());
}

static void store_fault(void)
{
    if (sim_chance(400)) {
        store_down(true);
        later(sim_between(50, 2000) * SIM_MS, store_up, NULL);
    } else if (sim_chance(500)) {
        store_slow(sim_between(100, 900) * SIM_MS);
        later(sim_between(500, 3000) * SIM_MS, store_fast, NULL);
    } else {
        store_take_over((uint32_t)sim_below(SIM_PARTS));
    }
}

static void client_fault(void)
{
    client_cut(&clients[sim_below(SIM_CLIENTS)]);
    client_leave(&clients[sim_below(SIM_CLIENTS)]);
}

/* Records of others: a plain one, one that is no message, one that a consumer does not see. */
static void strange_record(void)
{
    static uint32_t number;
    char name[CHANNEL_NAME], value[16];
    const struct rt_record_header poison = {"rt-kind", RT_STR("nonsense")};
    channel_name((uint32_t)sim_below(SIM_CHANNELS), name);
    snprintf(value, sizeof(value), "F%u", number++);
    uint32_t partition = rt_partition_of(rt_str_c(name), SIM_PARTS);
    if (fake_log.gone || fake_log.down)
        return;
    if (sim_chance(300)) {
        log_skip(partition);
        return;
    }
    size_t headers = sim_chance(300) ? 1 : 0;
    (void)log_append(
        partition, log_record_new(rt_str_c(name), rt_str_c(value), rt_wall_ms(), &poison, headers));
}

/* Every node sees that the topic is gone before there is another one. A report does not say of which topic it is: a node that slept over the change takes its first positions for
 * ones of the former topic. */
static void other_topic(void)
{
    static uint64_t next;
    if (!sim.epochs || fake_log.gone || fake_log.down || sim.now < next ||
        sim.now > SIM_LOAD - 3 * SIM_SECOND)
        return;
    log_delete_topic();
    next = sim.now + 5 * SIM_SECOND;
    later(sim_between(400, 1500) * SIM_MS, topic_back, NULL);
}

/* A topic that ends after a few records: what waits for it may fill the next one up to just the position where it ended. */
static void short_topic(void *payload)
{
    (void)payload;
    other_topic();
}

static void step(void *payload)
{
    static void (*const faults[])(void) = {
        crash,        stop,           freeze,         freeze,         lag,
        lag,          redis_fault,    redis_fault,    replay,         forge,
        kafka_fault,  producer_fault, store_fault,    store_fault,    client_fault,
        client_fault, client_fault,   strange_record, strange_record, other_topic};
    (void)payload;
    if (sim.calm)
        return;
    faults[sim_below(sizeof(faults) / sizeof(faults[0]))]();
    (void)sim_post(sim_between(20, 250) * SIM_MS, step, 0);
}

/* ---- the run --------------------------------------------------------------------------------------------------------- */

static void watch(void *payload)
{
    (void)payload;
    for (uint32_t i = 0; i < SIM_NODES; i++)
        node_check_caps(&nodes[i]);
    (void)sim_post(20 * SIM_MS, watch, 0);
}

/* Everything works again. */
static void calm_down(void)
{
    sim.calm = true;
    clients_stop_publishing();
    fake_redis_down(false);
    fake_log.down = false;
    store_down(false);
    store_slow(20 * SIM_MS);
    if (fake_log.gone)
        log_create_topic();
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        nodes[i].host.frozen = false;
        nodes[i].host.lag = 0;
        if (!nodes[i].host.up)
            node_start(&nodes[i]);
    }
    sim_trace("all faults end");
}

static void settle(void)
{
    uint64_t deadline = sim.now + SIM_SETTLE;
    const char *wrong = "";
    while (!sim.failure[0] && wrong && sim.now < deadline) {
        sim_run(sim.now + 100 * SIM_MS);
        wrong = check_all();
    }
    if (wrong && !sim.failure[0])
        sim_fail("%u s after the last fault: %s", SIM_SETTLE / SIM_SECOND, wrong);
}

static void begin(void)
{
    sim.skewed = sim_chance(250);
    sim.epochs = !sim.skewed && sim_chance(450);
    log_begin();
    store_begin();
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        set_clock(&nodes[i]);
        node_start(&nodes[i]);
    }
    clients_begin();
    (void)sim_post(2 * SIM_SECOND, step, 0);
    (void)sim_post(sim_between(250, 700) * SIM_MS, short_topic, 0);
    (void)sim_post(0, watch, 0);
}

static void end(void)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        node_crash(&nodes[i]);
    sim_run(sim.now + 300 * SIM_MS); /* requests that are under way hold their producer */
    sim_end();
    clients_end();
    store_end();
    fake_redis_end();
    log_end();
}

void world_run(uint64_t seed, enum bug bug, bool verbose)
{
    sim_begin(seed, bug, verbose);
    begin();
    sim_run(SIM_LOAD);
    if (!sim.failure[0]) {
        calm_down();
        settle();
    }
    end();
}
