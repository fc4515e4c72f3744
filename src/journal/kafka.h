/* Kafka as the log: an idempotent producer that the loop polls, and a tail consumer on a thread of its own.
 *
 *     append -> producer -> report -> done, committed, and early into the sequencer
 *     tail thread -> batches -> sequencer <- early records of other nodes (Redis)
 *                               sequencer -> dedupe -> deliver
 *
 * Append: an explicit partition (rt_partition_of) and the channel as key; the payload is not copied, the append holds the message until its report. Reports: stored -> RT_OK with
 * position; certainly not -> RT_EAGAIN; perhaps -> RT_EUNKNOWN; stored by a request whose first answer was lost -> RT_OK with the position that the tail brings. An append behind a
 * failed one of its channel that was stored all the same is answered RT_EUNKNOWN: the order is broken, but it is in the log; resending it with its key tells.
 * A key that the log had within the window is answered at once, RT_OK and duplicate, as far as the tail has read; otherwise the second record goes to the log, is skipped by every node and by
 * the sink (journal/kafka_dedupe.h), and is answered as a duplicate once everything before it has come. So an append with a key waits for the tail.
 * RT_OK always has a position: the message's own, or that of the one that it repeats. What the tail does not tell within 5 s (2 s when closing) is RT_EUNKNOWN.
 * Unreachable: while the oldest record in flight is older than 5 s, appends are answered RT_EAGAIN at once; so they are until something has been stored again, which a marker record probes
 * when nothing else is in flight. Healed without a restart. A fatal error of the producer: not healthy, reports are drained, it is destroyed by a helper
 * thread that makes another.
 * Caps: librdkafka's queue (kafka.conf queue.buffering.max.kbytes and .messages; 64 MiB, 50,000): full -> RT_EAGAIN; congested from 80 % of either, relieved below half.
 * Positions: offset = Kafka's + 1 (ours begin at 1), epoch = "NAME.PARTITION" where NAME tells the incarnation of the partition (journal/kafka_epoch.h): a partition that was made anew or cut gets
 * another one, is alarmed in the log, and is read on from what is newer than what was delivered.
 * Records of other programs in another partition than their channel's are not delivered from there: each node appends them to the channel's, under one idempotency key, so that the log has
 * them once. What cannot be appended is counted and told by gap().
 * Records that are no message are counted and skipped. A message of a newer version (journal/record.h) is told by hole().
 * Number of partitions: asked for again and again; without an answer for 8 s, or with another number, appends are RT_EAGAIN, and what is stored is RT_EUNKNOWN instead of RT_OK unless the
 * number is confirmed in time. Another number is followed without a restart, with new epochs for all partitions (journal/kafka_view.h); moved() tells.
 * Tail: all partitions, from `warm` records before the end, or what the window of keys needs; deliver() gets these too, so that the hub is warm before ready().
 * This journal delivers by itself (rt_journal_delivers()): whatever is committed, by this node or another, comes through deliver() in the order of the partition. A message of this node comes
 * as the object that was appended (with its `except`), whoever brought it first. rt_journal_read() is RT_ENOENT: the store has what the hub has no more.
 * Thread: the loop calls. Never on the loop: rd_kafka_new, flush, destroy (helper threads do these). */
#ifndef RT_JOURNAL_KAFKA_H
#define RT_JOURNAL_KAFKA_H

#include "conf/config.h"
#include "journal/journal.h"
#include "journal/kafka_find.h"
#include "journal/sequencer.h"

struct rt_kafka_options {
    struct rt_journal_options
        journal; /* path, vfs, sync, size, retention, failed are not used; queue_bytes 0: 64 MiB */
    const char *brokers; /* comma separated */
    const char *topic;
    struct rt_kafka_found found; /* what the topic is; moments ago */
    const struct rt_strings *
        conf; /* kafka.conf.*: "name=value", to librdkafka as it is; like brokers and topic it lives as long as the journal */
    uint32_t warm;          /* records per partition read back at start */
    uint32_t close_timeout; /* ms that rt_journal_close() lets the producer flush; 0: 10 s */
    /* A committed message, in partition order; m.offset is set. Valid during the call (ref to keep). May not append. */
    void (*deliver)(void *arg, struct rt_str channel, const char *epoch, struct rt_stored *message);
    /* This node's own record was committed: for the fast path to other nodes. Valid during the call. May be NULL. */
    void (*committed)(void *arg, const struct rt_record *record);
    /* The tail has caught up with the end that it found at start: serving may begin. Once. May be NULL. */
    void (*ready)(void *arg);
    /* Records of the partition were lost to this node (retention overtook it), or may have been (the log was cut, or is another one): what the hub keeps of its channels has a hole. May be
     * NULL. */
    void (*gap)(void *arg, uint32_t partition);
    /* The channel has a message at `offset` that this version cannot read (RT_ENEWER): everything before it has been delivered, it never will be. May be NULL. */
    void (*hole)(void *arg, struct rt_str channel, const char *epoch, uint64_t offset);
    /* From here on there are `partitions` partitions: channels have other homes, all epochs are new. Everything of before has been delivered. May be NULL. */
    void (*moved)(void *arg, uint32_t partitions);
    void *arg;
};

/* Begins to read the log; waits for nothing: a cluster that has gone meanwhile is as one that goes later. RT_EINVAL: a setting does not fit. */
int rt_journal_kafka(const struct rt_kafka_options *options, struct rt_journal **ret_journal,
                     struct rt_err *err);
/* Asks librdkafka about settings ("name=value") without connecting: RT_EINVAL with its words for what rt_journal_kafka(), or with `member` rt_intake_new(), would
 * refuse. `*ret_index` is then the setting that is wrong, `conf->count` when they do not go together. `base` (may be NULL): set before them, right themselves. Blocks. */
int rt_kafka_check(const struct rt_strings *base, const struct rt_strings *conf, bool member,
                   size_t *ret_index, struct rt_err *err);
/* Does Kafka's producer, with these settings, take what has up to `message` bytes (limits.message)? RT_EINVAL with text. The topic's own limit shows at start (journal/kafka_find.h). */
int rt_kafka_check_size(const struct rt_strings *conf, uint64_t message, struct rt_err *err);
/* A record that came early from another node (Redis), with the epoch that it said: dropped when it is not ours. Takes over the reference. */
void rt_journal_kafka_early(struct rt_journal *j, struct rt_str epoch,
                            const struct rt_record *record);
uint32_t rt_journal_kafka_partitions(const struct rt_journal *j);
/* Epoch of a partition; "" until it is known. */
const char *rt_journal_kafka_epoch(const struct rt_journal *j, uint32_t partition);
/* Which log it is: a number that is the same on all nodes which share it, 0 while it is not known. */
uint64_t rt_journal_kafka_identity(const struct rt_journal *j);
/* The tail has caught up once: see ready(). Appends are RT_EAGAIN before. */
bool rt_journal_kafka_ready(const struct rt_journal *j);

#endif
