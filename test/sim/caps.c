/* Caps of what a peer can make grow, judged from the inside of hub and journal. */
#include "journal/kafka_internal.h"
#include "node.h"

static uint64_t metric(const struct rt_metrics *metrics, const char *name)
{
    for (const struct rt_metric *m = metrics->first; m; m = m->next)
        if (strcmp(m->name, name) == 0)
            return m->read ? (uint64_t)m->read(m->arg) : m->value;
    sim_fail("there is no metric %s", name);
    return 0;
}

void node_check_caps(const struct sim_node *n)
{
    if (!n->host.up)
        return;
    const struct rt_kafka *k = rt_kafka_of(n->kafka);
    struct rt_sequencer_stats stats = rt_sequencer_stats(k->sequencer);
    uint64_t kept = metric(&n->metrics, "history_bytes");
    if (stats.waiting > (size_t)SIM_REORDER * SIM_PARTS)
        sim_fail("n%u: %zu records in the reorder buffers, allowed are %u each", n->host.index,
                 stats.waiting, SIM_REORDER);
    if (kept > NODE_MEMORY)
        sim_fail("n%u: %llu bytes of recent messages, allowed are %u", n->host.index,
                 (unsigned long long)kept, NODE_MEMORY);
    if (k->bytes > k->max_bytes + 4096 || k->records > k->max_records)
        sim_fail("n%u: %zu records with %zu bytes wait for Kafka", n->host.index, k->records,
                 k->bytes);
}

void node_fail_producer(struct sim_node *n)
{
    struct rt_kafka *k = n->host.up ? rt_kafka_of(n->kafka) : NULL;
    if (k && k->producer && !k->retire)
        sim_producer_fail(k->producer);
}
