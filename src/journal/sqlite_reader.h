/* The `history` thread: answers reads from a connection of its own, one after the other, each in one snapshot.
 * Thread: made and freed on the loop while the thread does not run. */
#ifndef RT_JOURNAL_SQLITE_READER_H
#define RT_JOURNAL_SQLITE_READER_H

#include "journal/journal.h"
#include "journal/sqlite_status.h"

struct rt_reader;

struct rt_reader_options {
    const struct rt_journal_options *journal; /* read during rt_reader_new() only */
    struct rt_queue *reads;
    struct rt_mailbox *answers;
    struct rt_sqlite_status *status;
};

/* Opens the database, which the writer has opened before. */
int rt_reader_new(const struct rt_reader_options *options, struct rt_reader **ret_reader,
                  struct rt_err *err);
/* The thread's main: until the queue is closed and empty; closes the database. */
void rt_reader_run(void *reader);
/* Closes the database if that was not done. */
void rt_reader_free(struct rt_reader *r);

#endif
