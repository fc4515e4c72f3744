/* Delivers each partition of the log strictly by offset, from two sources: peers (Redis) bring records early and unreliably, the tail
 * consumer brings all of them, in order, later.
 *
 * Pure: no sockets, no Kafka; time is not needed, since nothing is decided by waiting.
 * Rules. The tail decides what comes next: its offsets rise strictly, but need not be contiguous (control records, compaction). A record from a peer is
 * delivered at once when it is the next one (last delivered + 1); otherwise it waits in the partition's reorder buffer until what is before it has come. First arrival wins;
 * what has been delivered is dropped. What waits and is passed over by the tail is not in the log, and is dropped too. A full buffer (entries or
 * bytes) is emptied: the tail brings its records again.
 * A peer's record of a partition whose first position is not known waits until rt_sequencer_start() has said it (or the tail has brought a record).
 * Ownership: the sequencer owns a record's payload from push until deliver or drop. Thread: the loop. */
#ifndef RT_JOURNAL_SEQUENCER_H
#define RT_JOURNAL_SEQUENCER_H

#include "base/str.h"
#include "hub/message.h"

struct rt_sequencer;

enum rt_source { RT_FROM_TAIL, RT_FROM_PEER };

struct rt_record {
    uint32_t partition;
    uint64_t offset;       /* from 1: Kafka's + 1 */
    struct rt_str channel; /* copied where it must be kept */
    struct rt_stored *
        message; /* its m.offset is set; one reference is handed over with the push. NULL: the record holds
                                  no message, only the position moves on */
};

struct rt_sequencer_options {
    uint32_t partitions;
    uint32_t max_entries; /* waiting in one partition; 0: 4096 */
    size_t max_bytes;     /* waiting in one partition; 0: 4 MiB */
    /* In order of offset within each partition; not called for records without a message. Record and message are valid during the
     * call (ref to keep). May not call the sequencer but for reading. */
    void (*deliver)(void *arg, const struct rt_record *record);
    void *arg;
};

int rt_sequencer_new(const struct rt_sequencer_options *options,
                     struct rt_sequencer **ret_sequencer);
/* NULL is fine. */
void rt_sequencer_free(struct rt_sequencer *s);
/* Nothing of the partition lies below `offset` any more (where the tail begins, or the end that it has reached). Drops what waits below it,
 * delivers what waits at it. Never moves back. */
void rt_sequencer_start(struct rt_sequencer *s, uint32_t partition, uint64_t offset);
/* The partition was made anew: its first position is unknown again, and what waits is dropped. */
void rt_sequencer_reset(struct rt_sequencer *s, uint32_t partition);
/* Takes over the reference in record->message, also on an error. RT_ENOMEM: a record from a peer was dropped (the tail brings it); never for
 * one from the tail, which needs no memory. RT_EINVAL: no such partition, or offset 0. */
int rt_sequencer_push(struct rt_sequencer *s, enum rt_source source,
                      const struct rt_record *record);
/* The offset that would be delivered next; 0 before start. */
uint64_t rt_sequencer_next(const struct rt_sequencer *s, uint32_t partition);

struct rt_sequencer_stats {
    uint64_t delivered_from_tail, delivered_from_peer;
    uint64_t dropped_as_seen;   /* came when it had been delivered or was waiting */
    uint64_t dropped_as_full;   /* the buffer was emptied, or no memory */
    uint64_t dropped_as_absent; /* the tail passed it over, or the partition was reset */
    size_t waiting, waiting_bytes;
};
struct rt_sequencer_stats rt_sequencer_stats(const struct rt_sequencer *s);

/* Partition of a channel: stable over versions and nodes (murmur2 as Kafka's default partitioner has it, so that other producers find the same).
 * `partitions` > 0. */
uint32_t rt_partition_of(struct rt_str channel, uint32_t partitions);

#endif
