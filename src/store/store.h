/* PostgreSQL as the history: a sink that brings the log into rows, and reads.
 *
 * Sink: one worker thread with a Kafka consumer and a libpq connection of its own. It owns a partition while it holds pg_try_advisory_lock in the session that writes, then assigns
 * the consumer at the offset that PostgreSQL has. A batch (rows, bytes or time) is one transaction: INSERT .. SELECT unnest(binary arrays) ON CONFLICT DO NOTHING, and
 * UPDATE offset SET next = $to WHERE next = $from, which must hit one row: otherwise roll back, give the partition up and reload. A lease row fences holders that were frozen.
 * Data errors (SQLSTATE class 22, 23): the batch is bisected to the record, which goes to the dead letters in the same transaction as its neighbours go to the messages. Classes 08, 53, 57, 40 and lock
 * timeouts are outages: roll back, pause, retry with backoff and jitter; never a dead letter.
 * Idempotency: a second record of (publisher, key) within the window is skipped (unique index), as the nodes skip it.
 * Reads: a worker thread with its own connection; by position and by time; bounded pages; results as rt_read.
 * Schema: numbered migrations under an advisory lock; daily range partitions by time made ahead plus a default one; retention detaches and drops. `messages(id, text, created_at)` is a view
 * for applications of the classic stack.
 * postgres.url goes to libpq untouched; PG* variables work.
 * Thread: the loop calls; workers own libpq and the consumer. */
#ifndef RT_STORE_STORE_H
#define RT_STORE_STORE_H

#include "conf/config.h"
#include "journal/journal.h"

struct rt_store;

struct rt_store_options {
    struct rt_loop *loop;
    struct rt_metrics *metrics;
    const char *url;
    const char *schema;
    uint32_t batch_rows;         /* 1000 */
    uint64_t batch_linger;       /* ms, 20 */
    uint64_t retention;          /* ms, 0 never */
    uint64_t idempotency_window; /* ms */
    const char *node;
    const char *brokers, *topic;
    const struct rt_strings *kafka_conf;
    uint32_t partitions;
};

/* Starts the workers; connecting is theirs, so an unreachable database is no error here. */
int rt_store_new(const struct rt_store_options *options, struct rt_store **ret_store,
                 struct rt_err *err);
/* RT_PENDING or a negative code; see rt_read. Down: `done` gets RT_EIO within a second. */
int rt_store_read(struct rt_store *s, struct rt_read *read);
bool rt_store_healthy(const struct rt_store *s, const char **ret_text);
void rt_store_close(struct rt_store *s, void (*closed)(void *arg), void *arg);
void rt_store_free(struct rt_store *s);
/* The DDL of `rtbroker schema`: all migrations, in order. */
int rt_store_ddl(const char *schema, struct rt_buf *out, struct rt_err *err);

#endif
