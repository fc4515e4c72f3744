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

#include "journal/kafka_batch.h"
#include "journal/kafka_conf.h"

#define RT_TAIL_NAMING       2048
#define RT_TAIL_UNSURE_AFTER 1024  /* records */
#define RT_TAIL_SLACK        10000 /* ms */

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
