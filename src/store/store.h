/* PostgreSQL as the history: a sink that brings the log into rows, reads, and upkeep of the tables.
 *
 * Three threads, each with a connection of its own: the sink (store/sink.h), the history reader (store/reader.h), and upkeep (store/upkeep.h: daily partitions, retention). The schema
 * (store/schema.h) is made by whoever comes first.
 * postgres.url goes to libpq untouched; PG* variables work.
 * Thread: the loop calls; workers own libpq and the consumer. */
#ifndef RT_STORE_STORE_H
#define RT_STORE_STORE_H

#include "conf/config.h"
#include "journal/journal.h"

struct rt_store;

/* Strings and lists live until rt_store_free(). */
struct rt_store_options {
    struct rt_loop *loop;
    struct rt_metrics *metrics; /* not written after rt_store_free(); may be NULL */
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

/* Starts the workers; connecting is theirs, so an unreachable database is no error here. RT_EINVAL: the URL, the name of the schema, a setting of Kafka. After a failure `metrics` may not be written any more; the loop may have been turned. */
int rt_store_new(const struct rt_store_options *options, struct rt_store **ret_store,
                 struct rt_err *err);
/* What rt_store_new() would refuse of the URL and the schema's name. RT_EINVAL, RT_ENOMEM with text that begins with the option. Connects to nothing. */
int rt_store_check(const char *url, const char *schema, struct rt_err *err);
/* Messages by position, of an epoch. RT_PENDING, or a negative code with text in `read` (see rt_history_read()): then `done` is not called. Down: `done` gets RT_EIO within a second;
 * locked or frozen: within five. All of one answer is of one snapshot. */
int rt_store_read(struct rt_store *s, struct rt_read *read);
/* The fit for rt_broker_set_reader(). */
int rt_store_read_arg(void *store, struct rt_read *read);
/* Reading was answered within the last seconds, and the sink stores; `*ret_text` (may be NULL) says what is wrong, "" nothing. */
bool rt_store_healthy(const struct rt_store *s, const char **ret_text);
/* The topic has another number of partitions: the sink begins anew, with its share of them. */
void rt_store_set_partitions(struct rt_store *s, uint32_t partitions);
/* What waits is answered, the batch in hand is finished, then `closed(arg)` on the loop, never from inside. Once. */
void rt_store_close(struct rt_store *s, void (*closed)(void *arg), void *arg);
/* After closed(). NULL is fine. */
void rt_store_free(struct rt_store *s);
/* Appends the DDL of `rtbroker schema`: all migrations, in order. RT_EINVAL: the name; RT_ENOMEM. */
int rt_store_ddl(const char *schema, struct rt_buf *out, struct rt_err *err);

#endif
