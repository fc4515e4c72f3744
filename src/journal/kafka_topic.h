/* The topic at boot: waits for the cluster, makes the topic when it is not there, checks that what it promises can be kept.
 *
 * A topic that we make has as many replicas as there are brokers up to 3, min.insync.replicas 2 when there are 3 (else 1), no unclean election. One that is there is only looked at: each
 * weakness is a warning with its promise, or an error with `require_safe`. When the cluster does not tell (no permission, an old version) that is a weakness itself.
 * Blocks. Thread: any but the serving loop. */
#ifndef RT_JOURNAL_KAFKA_TOPIC_H
#define RT_JOURNAL_KAFKA_TOPIC_H

#include <librdkafka/rdkafka.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define RT_KAFKA_FOR_EVER UINT32_MAX

struct rt_kafka_topic {
    const char *name;
    const char *brokers; /* for texts */
    uint32_t partitions; /* when it has to be made; 0: 16 */
    bool require_safe;
    uint64_t message;           /* limits.message, which has to fit; 0: it need not */
    uint32_t timeout_ms;        /* for all of it; 0: 10 s; RT_KAFKA_FOR_EVER */
    bool own_handle;            /* nobody else takes its events: errors among them go into texts */
    const atomic_bool *stopped; /* set by another thread: gives up within a second; may be NULL */
    /* A question had no answer: why, in words that name the brokers. May be NULL. */
    void (*missed)(void *arg, const char *text);
    void *arg;
};

struct rt_kafka_topic_answer {
    uint32_t partitions;
    uint64_t asked_at;  /* monotonic ms */
    uint64_t max_batch; /* max.message.bytes; 0: the cluster does not tell */
};

/* RT_EIO: the cluster does not answer; RT_EPERM: it does not make the topic; RT_EINVAL: the topic does not fit. */
int rt_kafka_topic_check(rd_kafka_t *rk, const struct rt_kafka_topic *topic,
                         struct rt_kafka_topic_answer *ret_answer, struct rt_err *err);

#endif
