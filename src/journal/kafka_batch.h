/* What the tail hands to the loop: batches of entries, a fixed number of them, which come back emptied. So a loop that does not give them back stops the tail.
 *
 * Thread: the tail's; rt_batches_return() on the loop; init and deinit on the loop, while there is no thread. */
#ifndef RT_JOURNAL_KAFKA_BATCH_H
#define RT_JOURNAL_KAFKA_BATCH_H

#include "base/buf.h"
#include "journal/kafka_epoch.h"
#include "journal/kafka_ticks.h"
#include "journal/sequencer.h"
#include "worker/queue.h"

#define RT_TAIL_BATCHES 8u
#define RT_TAIL_RECORDS 512u
#define RT_TAIL_BYTES   ((size_t)1 << 20)

enum rt_tail_kind {
    RT_TAIL_RECORD,     /* `message`, NULL when it holds none (a marker) */
    RT_TAIL_UNREADABLE, /* a record that is no message */
    RT_TAIL_NEWER,      /* a message on `channel` that only a newer version can read */
    RT_TAIL_MISPLACED,  /* `message` stands in another partition than its channel's */
    RT_TAIL_START,      /* reading begins at `position`, in the incarnation `name` */
    RT_TAIL_NAMED,      /* from here on the incarnation is called `name` */
    RT_TAIL_LOST,       /* the partition cannot be read, or is not what it was: START will follow */
    RT_TAIL_GONE,       /* the same of all partitions: the topic is not there */
    RT_TAIL_NAMELESS,   /* a marker is needed: the log was read up to `position` and has no name */
    RT_TAIL_UNSURE, /* a marker with the name that it has would be good: nobody of ours has appended for long */
    RT_TAIL_LEFT, /* up to `position` the log was read, or is not of our number; `name` says which number comes, or is there */
    RT_TAIL_MOVED, /* from here on there are `partition` partitions; START of each will follow */
    RT_TAIL_STUCK, /* nothing is read behind the record at `position`, the first one of an open transaction; `channel` is its key and `time` its time, where known */
    RT_TAIL_FREED, /* the partition is read on */
    RT_TAIL_END, /* nothing of the partition lies below `position` any more, and this was its end */
};

struct rt_tail_entry {
    enum rt_tail_kind kind;
    uint32_t partition;
    uint64_t position; /* Kafka's offset + 1 */
    struct rt_str channel;
    struct rt_stored *message; /* one reference, the taker's */
    struct rt_ticks ticks;     /* RECORD: at[0] != 0: it is a tick behind these */
    struct rt_epoch_name name;
    uint64_t time; /* ms; STUCK only */
};

struct rt_tail_batch {
    struct rt_task task;
    size_t count;
    struct rt_tail_entry entries[RT_TAIL_RECORDS];
    struct rt_buf names; /* channels of the entries */
    size_t bytes;
};

struct rt_batches {
    struct rt_mailbox *mailbox; /* to the loop: struct rt_tail_batch */
    struct rt_queue *returned;
    struct rt_tail_batch *batch; /* being filled; NULL none */
};

int rt_batches_init(struct rt_batches *b, struct rt_mailbox *mailbox, struct rt_err *err);
/* With every batch given back. */
void rt_batches_deinit(struct rt_batches *b);
/* True: there is one to fill. Waits a little for one to come back. */
bool rt_batches_have(struct rt_batches *b);
/* What one record can bring has no room any more. */
bool rt_batches_full(const struct rt_batches *b);
/* There must be room. `offset` is Kafka's. */
struct rt_tail_entry *rt_batches_add(struct rt_batches *b, enum rt_tail_kind kind,
                                     uint32_t partition, int64_t offset);
/* Copies the channel of the entry that is added next, which sets its length. RT_ENOMEM: what is there was posted, there is no batch now. */
int rt_batches_add_channel(struct rt_batches *b, struct rt_str channel);
/* Hands over what is there. */
void rt_batches_post(struct rt_batches *b);
/* From the loop: its messages are taken or unreferenced. */
void rt_batches_return(struct rt_batches *b, struct rt_tail_batch *batch);

#endif
