/* What /metrics says of the Kafka journal. */
#include "journal/kafka_internal.h"

static double read_bytes(void *arg)
{
    return (double)((const struct rt_kafka *)arg)->bytes;
}

static double read_waiting(void *arg)
{
    return (double)rt_sequencer_stats(((const struct rt_kafka *)arg)->sequencer).waiting;
}

static double read_overflowed(void *arg)
{
    const struct rt_kafka *k = arg;
    return (double)(k->overflowed_before + rt_sequencer_stats(k->sequencer).dropped_as_full);
}

static double read_partitions(void *arg)
{
    return ((const struct rt_kafka *)arg)->partitions;
}

static double read_stuck(void *arg)
{
    return ((const struct rt_kafka *)arg)->stuck;
}

static double read_stuck_age(void *arg)
{
    return (double)rt_kafka_stuck_age(arg, NULL) / 1000;
}

static const double second_bounds[] = {.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 5, 30};

static struct rt_metric counter(const char *name, const char *help)
{
    return (struct rt_metric){.name = name, .help = help, .type = RT_COUNTER};
}

void rt_kafka_init_metrics(struct rt_kafka *k, struct rt_metrics *metrics)
{
    rt_journal_meter_init(&k->meter, metrics);
    rt_keys_init(&k->keys, k->options.journal.idempotency_window, k->options.journal.keys_bytes,
                 metrics); /* nothing has been read yet */
    k->meter.queue_bytes.read = read_bytes;
    k->meter.queue_bytes.arg = k;
    k->meter.up.value = 0;
    k->produce =
        (struct rt_metric){.name = "kafka_produce_seconds",
                           .help = "Time from append to report.",
                           .type = RT_HISTOGRAM,
                           .bounds = second_bounds,
                           .bound_count = sizeof(second_bounds) / sizeof(second_bounds[0])};
    k->tailed = counter("kafka_tail_records_total", "Records read from the log.");
    k->skipped =
        counter("kafka_skipped_total", "Records skipped: their idempotency key had been used.");
    k->epochs =
        counter("kafka_epoch_changes_total", "Partitions that were not the ones they had been.");
    k->restarts = counter("kafka_producer_restarts_total", "Producers made after a fatal error.");
    k->early = counter("kafka_early_records_total", "Records that other nodes brought early.");
    k->waiting = (struct rt_metric){.name = "kafka_reorder_waiting",
                                    .help = "Early records that wait for what is before them.",
                                    .type = RT_GAUGE,
                                    .read = read_waiting,
                                    .arg = k};
    k->overflowed =
        counter("kafka_reorder_dropped_total",
                "Early records given up because too many waited: the tail brings them.");
    k->overflowed.read = read_overflowed;
    k->overflowed.arg = k;
    k->moves = counter("kafka_partition_changes_total",
                       "Changes of the topic's number of partitions that this node has followed.");
    k->misplaced = counter("kafka_misplaced_total",
                           "Records that stood in another partition than their channel's.");
    k->misplaced_lost = counter(
        "kafka_misplaced_lost_total",
        "Records in another partition than their channel's that could not be appended to it.");
    k->too_large = counter("kafka_too_large_total",
                           "Messages refused because the topic takes none of their size.");
    k->unreadable =
        counter("kafka_unreadable_total", "Records of the log that are no message, and skipped.");
    k->newer = counter("kafka_newer_total",
                       "Messages that a newer version of rtbroker wrote: not delivered here.");
    k->gaps = counter("kafka_gaps_total",
                      "Times that messages of a partition may not have come to this node.");
    k->partition_count =
        (struct rt_metric){.name = "kafka_partitions",
                           .help = "Partitions of the topic, as this node goes by.",
                           .type = RT_GAUGE,
                           .read = read_partitions,
                           .arg = k};
    k->stuck_count = (struct rt_metric){
        .name = "kafka_stuck_partitions",
        .help = "Partitions that an open transaction of another program holds back.",
        .type = RT_GAUGE,
        .read = read_stuck,
        .arg = k};
    k->stuck_age = (struct rt_metric){.name = "kafka_stuck_seconds",
                                      .help = "Age of the oldest such transaction.",
                                      .type = RT_GAUGE,
                                      .read = read_stuck_age,
                                      .arg = k};
    struct rt_metric *all[] = {
        &k->waiting,    &k->overflowed,     &k->produce,     &k->tailed,    &k->skipped,
        &k->epochs,     &k->restarts,       &k->early,       &k->moves,     &k->partition_count,
        &k->misplaced,  &k->misplaced_lost, &k->stuck_count, &k->stuck_age, &k->too_large,
        &k->unreadable, &k->newer,          &k->gaps};
    for (size_t i = 0; metrics && i < sizeof(all) / sizeof(all[0]); i++)
        rt_metrics_register(metrics, all[i]);
}
