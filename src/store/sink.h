/* The sink: brings the log into rows. One thread per node with a Kafka consumer and a PostgreSQL connection of its own.
 *
 *     Kafka -> part (which incarnation, which order) -> batch (row | repetition | dead letter) -> one statement -> PostgreSQL
 *
 * Each record of the topic becomes exactly one of: a row of message, a row of repeat, a dead letter, or (a marker) nothing, in one transaction with its partition's progress
 * (store/sink_write.h). Which partitions are this node's: store/sink_owner.h. Reading begins where progress says, never where Kafka thinks.
 * A record in another partition than its channel's is a dead letter, too: nodes append it to that one (journal/kafka.h), where it becomes a row.
 * A record of a newer version of rtbroker (journal/record.h) is not put aside, or its message would never be a row: its partition waits in front of it, the others go on.
 * Failures: a record that cannot be stored is a dead letter. Everything else is an outage: nothing is read meanwhile (Kafka keeps it), tried again after 0.1 to 5 s with jitter. After a lost
 * connection all partitions are given up and taken over anew from progress, which tells how a COMMIT ended whose answer was lost.
 * Retention that overtakes the sink is an alarm in the log, and `purged` moves up. A topic that was made anew or cut: the first record that is not stored at its position is found
 * (store/sink_load.h), what comes from there on is stored in a new epoch, what was stored stays.
 * Thread: the loop calls; the thread owns libpq and the consumer. */
#ifndef RT_STORE_SINK_H
#define RT_STORE_SINK_H

#include "conf/config.h"
#include "net/loop.h"

struct rt_metrics;

struct rt_sink_options {
    struct rt_loop *loop;
    struct rt_metrics *metrics; /* not written after rt_sink_free(); may be NULL */
    const char *url, *schema;
    const char *node;
    const char *brokers, *topic;
    const struct rt_strings *kafka_conf; /* may be NULL */
    uint32_t partitions;
    uint32_t batch_rows;         /* most records of a batch; 0: 1000 */
    uint64_t batch_linger;       /* ms that a batch waits to become full */
    uint64_t idempotency_window; /* ms */
    uint32_t close_timeout;      /* ms that close() lets the batch in hand finish; 0: 3 s */
};

struct rt_sink;

/* Strings and lists are borrowed until rt_sink_free(). Connecting is the thread's: an unreachable service is no error. RT_EINVAL: a setting of Kafka. */
int rt_sink_new(const struct rt_sink_options *options, struct rt_sink **ret_sink,
                struct rt_err *err);
/* Connected and storing; `*ret_text` (may be NULL) says what is wrong, "" nothing. */
bool rt_sink_healthy(const struct rt_sink *s, const char **ret_text);
/* The topic has another number of partitions: the batch in hand is finished, locks are given back, and the thread begins anew with its share of the partitions that there are now. */
void rt_sink_set_partitions(struct rt_sink *s, uint32_t partitions);
/* The batch in hand is finished (for at most close_timeout), locks are given back, then `closed(arg)` is called on the loop, never from inside. */
void rt_sink_close(struct rt_sink *s, void (*closed)(void *arg), void *arg);
/* After closed(). NULL is fine. */
void rt_sink_free(struct rt_sink *s);

#endif
