/* The tail: a thread with a consumer of its own that reads all partitions in order and hands them to the loop in batches.
 *
 *     [ locate -> name -> read ]  per partition      --batches by mailbox-->  loop
 *                                                    <--the same batches by queue, emptied--
 *
 * Credits: there are RT_TAIL_BATCHES batches of RT_TAIL_RECORDS records (and about RT_TAIL_BYTES); a loop that does not give them back stops the tail,
 * and librdkafka's bounded queue stops the brokers.
 * No consumer group: positions are ours alone, nothing is committed.
 *
 * A partition is located (where its log begins and ends), then named
 * (evidence of the last RT_TAIL_NAMING records, see kafka_epoch.h; the loop is asked for a marker when there is none), then read: from `warm` records before the end, or from
 * the oldest tick that these records tell of (kafka_ticks.h), which is where the window of idempotency keys begins. A log without ticks (a young one, or of a version that did not have
 * them) is read from the window before the oldest of these records, or before now, whichever is earlier. When the
 * log contradicts what has been read (an offset that is gone, an end before our position, evidence that was broken), it is located again: what
 * the loop gets then is START with another name, and records that are newer than what it got before (by their time, less RT_TAIL_SLACK).
 * Of a topic that was made anew this is all; of a log whose end was cut off, what came after the cut.
 *
 * All partitions are read in one view of their number (kafka_view.h). A partition whose log goes over to another number (a marker's name says it) is left there: LEFT. When all have been
 * left for the same number, the tail goes over itself: MOVED, then START of each partition behind its marker; a partition that is new is read from its beginning. In the log of
 * another number that was not read before (this node starts), LEFT is told at its end, and again as the end moves on, until a marker comes.
 *
 * Thread: new, stop, free on the loop; run is the thread's main. */
#ifndef RT_JOURNAL_KAFKA_TAIL_H
#define RT_JOURNAL_KAFKA_TAIL_H

#include "journal/kafka_conf.h"
#include "journal/kafka_epoch.h"
#include "journal/kafka_ticks.h"
#include "journal/sequencer.h"
#include "worker/queue.h"

#define RT_TAIL_BATCHES      8u
#define RT_TAIL_RECORDS      512u
#define RT_TAIL_BYTES        ((size_t)1 << 20)
#define RT_TAIL_NAMING       2048
#define RT_TAIL_UNSURE_AFTER 1024  /* records */
#define RT_TAIL_SLACK        10000 /* ms */

enum rt_tail_kind {
    RT_TAIL_RECORD,    /* `message`, NULL when it holds none (a marker, unreadable) */
    RT_TAIL_MISPLACED, /* `message` stands in another partition than its channel's */
    RT_TAIL_START,     /* reading begins at `position`, in the incarnation `name` */
    RT_TAIL_NAMED,     /* from here on the incarnation is called `name` */
    RT_TAIL_LOST,      /* the partition cannot be read, or is not what it was: START will follow */
    RT_TAIL_GONE,      /* the same of all partitions: the topic is not there */
    RT_TAIL_NAMELESS,  /* a marker is needed: the log was read up to `position` and has no name */
    RT_TAIL_UNSURE, /* a marker with the name that it has would be good: nobody of ours has appended for long */
    RT_TAIL_LEFT, /* up to `position` the log was read, or is not of our number; `name` says which number comes, or is there */
    RT_TAIL_MOVED, /* from here on there are `partition` partitions; START of each will follow */
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
};

struct rt_tail_batch {
    struct rt_task task;
    size_t count;
    struct rt_tail_entry entries[RT_TAIL_RECORDS];
    struct rt_buf names; /* channels of the entries */
    size_t bytes;
};

struct rt_tail_options {
    struct rt_kafka_conf conf;
    const char *topic;
    uint32_t partitions;
    uint32_t warm;              /* records */
    uint64_t window;            /* ms back from now that have to be read at start */
    struct rt_mailbox *batches; /* to the loop: struct rt_tail_batch */
    /* From the tail's thread, its last act; it may only signal. */
    void (*ended)(void *arg);
    void *arg;
};

struct rt_tail;

int rt_tail_new(const struct rt_tail_options *options, struct rt_tail **ret_tail,
                struct rt_err *err);
/* The thread's main. */
void rt_tail_run(void *tail);
/* The number of partitions that the cluster says; rt_tail_options has the first one. */
void rt_tail_want(struct rt_tail *t, uint32_t partitions);
/* Lives until run() ends. */
rd_kafka_t *rt_tail_handle(struct rt_tail *t);
/* The loop gives a batch back, its messages taken or unreferenced. */
void rt_tail_return(struct rt_tail *t, struct rt_tail_batch *batch);
/* Lets run() end soon (within about a second). */
void rt_tail_stop(struct rt_tail *t);
/* After run() has returned or was never called, and with every batch given back. NULL is fine. */
void rt_tail_free(struct rt_tail *t);

#endif
