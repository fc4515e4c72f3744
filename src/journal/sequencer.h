/* Delivers each partition of the log strictly by offset, from two sources: Redis brings records early and unreliably, the tail consumer
 * brings all of them, in order, later.
 *
 * Pure: no sockets, no Kafka; time is not needed, since nothing is decided by waiting.
 * Rules. The tail decides what comes next: offsets rise strictly in it, but need not be contiguous (control records, compaction). A record from Redis is delivered at
 * once when it is the next one (last delivered + 1); otherwise it waits in the partition's reorder buffer until the tail or Redis has brought what is before it. First arrival
 * wins; what has been delivered is dropped. A full buffer (entries or bytes) is emptied: the tail brings its records again.
 * A record with an unknown first position waits until rt_sequencer_start() has said where the partition begins.
 * Ownership: the sequencer owns a record's payload from push until deliver or drop. Thread: the loop. */
#ifndef RT_JOURNAL_SEQUENCER_H
#define RT_JOURNAL_SEQUENCER_H

#include "base/str.h"
#include "hub/message.h"

struct rt_sequencer;

enum rt_source { RT_FROM_TAIL, RT_FROM_PEER };

struct rt_record {
    uint32_t partition;
    uint64_t offset;
    struct rt_str channel;     /* copied where it must be kept */
    struct rt_stored *message; /* its m.offset is set; one reference is handed over with the push */
};

struct rt_sequencer_options {
    uint32_t partitions;
    uint32_t max_entries; /* waiting in one partition: 4096 */
    size_t max_bytes;     /* waiting in one partition: 4 MiB */
    /* In order of offset within each partition. The message is valid during the call (ref to keep). `skipped`: from this source's point of view nothing
     * lies between the former one and this. May not push. */
    void (*deliver)(void *arg, const struct rt_record *record);
    void *arg;
};

int rt_sequencer_new(const struct rt_sequencer_options *options,
                     struct rt_sequencer **ret_sequencer);
void rt_sequencer_free(struct rt_sequencer *s);
/* The next record of the partition is at `offset` or above (where the tail begins). Drops what waits below it. */
void rt_sequencer_start(struct rt_sequencer *s, uint32_t partition, uint64_t offset);
/* Takes over the reference in record->message, also on an error. RT_ENOMEM: a record from a peer was dropped (the tail brings it); for one
 * from the tail the caller must not lose it: it was delivered, since the tail needs no memory. */
int rt_sequencer_push(struct rt_sequencer *s, enum rt_source source,
                      const struct rt_record *record);
/* The offset that would be delivered next; 0 before start. */
uint64_t rt_sequencer_next(const struct rt_sequencer *s, uint32_t partition);

struct rt_sequencer_stats {
    uint64_t delivered_from_tail, delivered_from_peer, dropped_as_seen, dropped_as_full;
    size_t waiting, waiting_bytes;
};
struct rt_sequencer_stats rt_sequencer_stats(const struct rt_sequencer *s);

/* Partition of a channel: stable over versions and nodes (murmur2 as Kafka's default partitioner has it, so that other producers find the same). */
uint32_t rt_partition_of(struct rt_str channel, uint32_t partitions);

#endif
