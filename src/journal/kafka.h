/* Kafka as the log: an idempotent producer that the loop polls, and a tail consumer on a thread of its own.
 *
 * Append: rd_kafka_producev with an explicit partition (rt_partition_of) and the channel as key; no copy of the payload (the append holds the message until its report). Delivery
 * reports are events on the producer's queue, which wakes the loop through a pipe (rd_kafka_queue_io_event_enable); a bounded number is taken a turn. PERSISTED -> RT_OK
 * with position, NOT_PERSISTED -> RT_EAGAIN, POSSIBLY_PERSISTED -> RT_EUNKNOWN; DUPLICATE_SEQUENCE_NUMBER -> RT_OK, position unknown (offset 0; the tail brings the message).
 * Kafka unreachable: when the oldest queued record is older than 5 s, appends are answered RT_EAGAIN at once; healed without a restart. A fatal error: not healthy, reports are drained,
 * the producer is destroyed in a worker and made anew.
 * Positions: offset = Kafka's + 1 (ours begin at 1), epoch = "<topic incarnation>.<partition>" with the incarnation from the topic's id or creation as stored in its first record's
 * timestamp: a topic that was recreated has another one.
 * Tail: assigned to all partitions, from the end minus `warm` records at start; warms the dedupe table before `ready`; every record goes to the loop by mailbox, whole batches, bounded by
 * credits so that a slow loop stops the consumer, not memory.
 * Unlike the other journals this one does not let the broker deliver: whatever is committed, by this node or another, comes through `deliver`, in the order of the partition.
 * Dedupe: a function of the log. Every node fills (publisher, key) -> position from the tail, in record time; a second record of a key within the window is skipped by
 * `deliver` on every node, and by the sink.
 * Thread: the loop calls. Never on the loop: rd_kafka_new, flush, destroy (a helper thread does these). */
#ifndef RT_JOURNAL_KAFKA_H
#define RT_JOURNAL_KAFKA_H

#include "conf/config.h"
#include "journal/journal.h"
#include "journal/sequencer.h"

struct rt_kafka_options {
    struct rt_journal_options journal; /* path, sync and retention are not used */
    const char *brokers;               /* comma separated */
    const char *topic;
    uint32_t partitions; /* of a topic that has to be created; otherwise what the topic has */
    bool
        require_safe_topic; /* replication, min.insync.replicas, unclean election: refuse instead of warn */
    const struct rt_strings *conf; /* kafka.conf.*: "name=value", to librdkafka as it is */
    uint32_t warm;                 /* records per partition read back at start */
    /* A committed message, in partition order; m.offset is set, the epoch is given. */
    void (*deliver)(void *arg, struct rt_str channel, const char *epoch, struct rt_stored *message);
    /* This node's own record was committed: for the fast path to other nodes. */
    void (*committed)(void *arg, const struct rt_record *record);
    /* The tail has caught up with the end that it found at start: serving may begin. */
    void (*ready)(void *arg);
    void *arg;
};

/* Connects (blocking, up to 10 s, before serving): checks or creates the topic. RT_EIO with text when the cluster cannot be reached, RT_EINVAL when the topic does not fit. */
int rt_journal_kafka(const struct rt_kafka_options *options, struct rt_journal **ret_journal,
                     struct rt_err *err);
/* A record that came early from another node (Redis). Takes over the reference. */
void rt_journal_kafka_early(struct rt_journal *j, const struct rt_record *record);
uint32_t rt_journal_kafka_partitions(const struct rt_journal *j);
/* Epoch of a partition. */
const char *rt_journal_kafka_epoch(const struct rt_journal *j, uint32_t partition);

#endif
