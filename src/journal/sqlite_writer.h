/* The thread that owns the write connection: takes what is queued, stores it in batches, one transaction each, and posts the answers.
 *
 *     loop --queue--> [ take all | screen | BEGIN, rows, COMMIT | upkeep ] --mailbox--> loop
 *
 * Group commit: a batch is what has gathered while the last one was being committed, at most RT_BATCH_ROWS and RT_BATCH_BYTES. It waits only while more
 * keep coming (see linger()): one append alone is committed at once.
 * Order: an append that fails makes those of its channel fail that were handed in before the loop learned of it. Failures are
 * numbered; an append carries the number that the loop knew (rt_append.failures), the answer the number of the failure. A failed batch does this for all channels.
 * States: healthy; unhealthy after a batch that found no room or no lock: tries go on, with a probe every second while nothing is
 * published; stopped after a fault of the disk: nothing is written any more, all is answered RT_EAGAIN.
 *
 * Thread: made and freed on the loop while the thread does not run. */
#ifndef RT_JOURNAL_SQLITE_WRITER_H
#define RT_JOURNAL_SQLITE_WRITER_H

#include "journal/journal.h"
#include "journal/sqlite_status.h"

#define RT_BATCH_ROWS  1000u
#define RT_BATCH_BYTES ((size_t)1 << 20)

struct rt_writer;

struct rt_writer_options {
    const struct rt_journal_options *journal; /* read during rt_writer_new() only */
    struct rt_queue *appends;
    struct rt_mailbox *results;
    struct rt_sqlite_status *status;
};

/* Opens the database. */
int rt_writer_new(const struct rt_writer_options *options, struct rt_writer **ret_writer,
                  struct rt_err *err);
/* The thread's main: until the queue is closed and empty; closes the database. */
void rt_writer_run(void *writer);
/* Closes the database if that was not done. */
void rt_writer_free(struct rt_writer *w);

#endif
