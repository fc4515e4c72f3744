/* The `history` thread: answers reads from PostgreSQL with a connection of its own.
 *
 *     rt_reader_read -> jobs (identical reads share one that has not begun) --queue--> thread
 *                       loop: answers, deadlines                       <--mailbox--
 *
 * A read waits RT_HISTORY_DOWN_MS while there is no connection, RT_HISTORY_SLOW_MS in any case; then it is answered RT_EIO by the loop, whatever libpq, the network or a
 * lock holds the thread. The thread gives a statement up a little earlier, and connects anew with a backoff when the connection is gone.
 * Health is what the thread has seen last: an answered read or, when there was none for RT_HISTORY_PROBE_MS, an answered SELECT 1; and not older than three such times.
 * Caps: RT_HISTORY_JOBS different reads and RT_HISTORY_READS reads wait at once, more are RT_EAGAIN.
 * Thread: the loop calls; the thread owns libpq. The callers' rt_read is never touched by the thread. */
#ifndef RT_STORE_READER_H
#define RT_STORE_READER_H

#include "journal/journal.h"

#define RT_HISTORY_JOBS     512u
#define RT_HISTORY_READS    16384u
#define RT_HISTORY_DOWN_MS  800u
#define RT_HISTORY_SLOW_MS  5000u
#define RT_HISTORY_PROBE_MS 3000u

struct rt_history;

/* Strings are copied. */
struct rt_history_options {
    struct rt_loop *loop;
    struct rt_metrics *metrics; /* may be NULL; not written after rt_history_free() */
    const char *url, *schema, *topic;
    const char *name; /* application_name */
};

int rt_history_new(const struct rt_history_options *options, struct rt_history **ret_history,
                   struct rt_err *err);
/* RT_PENDING; or RT_EAGAIN (full), RT_EINVAL (no epoch), RT_ECLOSED, RT_ENOMEM with text in `read`: `done` is not called then. */
int rt_history_read(struct rt_history *h, struct rt_read *read);
bool rt_history_healthy(const struct rt_history *h, const char **ret_text);
/* What waits is answered RT_ECLOSED from a later turn, then `closed(arg)`. Once. */
void rt_history_close(struct rt_history *h, void (*closed)(void *arg), void *arg);
/* After `closed`. NULL is fine. */
void rt_history_free(struct rt_history *h);

#endif
