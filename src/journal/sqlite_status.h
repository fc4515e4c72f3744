/* What the database threads tell the loop besides answers: health, end, figures of batches. A notice board under a mutex: the
 * writer pins up, the loop takes down; the last state counts, nothing is allocated. Wakes the loop where nothing else would. */
#ifndef RT_JOURNAL_SQLITE_STATUS_H
#define RT_JOURNAL_SQLITE_STATUS_H

#include <pthread.h>

#include "base/metrics.h"

struct rt_sqlite_notice {
    bool healthy;
    bool failed;       /* for good */
    bool writer_ended; /* the thread has nothing more to post */
    bool reader_ended;
    uint64_t used, left; /* bytes of the database, see sqlite_room.h */
    unsigned damaged;    /* reads that met damage, since the last take */
    char text[120];      /* the last error, "" while healthy */
    struct rt_metric commit,
        rows; /* histograms: seconds of a transaction, its rows; since the last take */
};

struct rt_sqlite_status {
    pthread_mutex_t lock;
    struct rt_sqlite_notice notice;
    void (*wake)(void *arg);
    void *wake_arg;
};

void rt_sqlite_status_init(struct rt_sqlite_status *s, void (*wake)(void *arg), void *wake_arg);
void rt_sqlite_status_deinit(struct rt_sqlite_status *s);

/* Database threads. A batch does not wake: its results do. */
void rt_sqlite_status_batch(struct rt_sqlite_status *s, size_t rows, double seconds);
void rt_sqlite_status_health(struct rt_sqlite_status *s, bool healthy, const char *text);
void rt_sqlite_status_fail(struct rt_sqlite_status *s, const char *text);
void rt_sqlite_status_room(struct rt_sqlite_status *s, uint64_t used, uint64_t left);
void rt_sqlite_status_damaged(struct rt_sqlite_status *s); /* the answer wakes */
void rt_sqlite_status_writer_ended(struct rt_sqlite_status *s);
void rt_sqlite_status_reader_ended(struct rt_sqlite_status *s);

/* The loop: copies the notice and sets the figures back to nothing. */
void rt_sqlite_status_take(struct rt_sqlite_status *s, struct rt_sqlite_notice *ret_notice);
/* Adds the figures of a notice to a registered histogram of the same bounds. */
void rt_sqlite_status_add(struct rt_metric *to, const struct rt_metric *from);
/* The two histograms, empty. */
struct rt_metric rt_sqlite_commit_metric(void);
struct rt_metric rt_sqlite_rows_metric(void);

#endif
