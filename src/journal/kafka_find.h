/* The topic at start: waits for the cluster, makes the topic or checks what is there (journal/kafka_topic.h), by a handle of its own. What it finds is what rt_journal_kafka() begins
 * with, which then waits for nothing.
 *
 * A cluster that does not answer may come at any time, so that is tried again and again, also when it refuses our credentials or does not let us see the topic: others can mend that. What it says of
 * the topic itself, and a setting that librdkafka does not take, stays as it is until somebody changes it: an error.
 *
 *     ASKING -> FOUND | REFUSED
 *
 * Thread: rt_find_* on one thread; the cluster is asked on another one, "kafka-find". rt_kafka_find() blocks. */
#ifndef RT_JOURNAL_KAFKA_FIND_H
#define RT_JOURNAL_KAFKA_FIND_H

#include "conf/config.h"

enum rt_find_state { RT_FIND_ASKING, RT_FIND_FOUND, RT_FIND_REFUSED };

/* Strings and lists live until rt_find_free(). */
struct rt_find_options {
    const char *brokers; /* comma separated */
    const char *topic;
    const struct rt_strings *conf; /* kafka.conf.*; may be NULL */
    uint32_t partitions;           /* of a topic that has to be made (0: 16) */
    bool require_safe_topic; /* refuse a topic on which promises cannot rest instead of warn */
    uint32_t timeout_ms;     /* of rt_kafka_find(); 0: 10 s */
    uint64_t
        message; /* limits.message: refuse a topic that does not take it; 0: whatever it takes */
};

struct rt_kafka_found {
    uint32_t partitions;
    uint64_t asked_at;  /* monotonic ms: what was found was true then or later */
    uint64_t max_batch; /* the topic's max.message.bytes; 0 not known */
};

/* RT_EIO: the cluster does not answer in time; RT_EINVAL: the topic or a setting does not fit; RT_EPERM: the cluster does not make the topic. */
int rt_kafka_find(const struct rt_find_options *options, struct rt_kafka_found *ret_found,
                  struct rt_err *err);

struct rt_find;

int rt_find_start(const struct rt_find_options *options, struct rt_find **ret_find,
                  struct rt_err *err);
/* FOUND: `*ret_found` is set. REFUSED: `err` says why, as rt_kafka_find() does. ASKING: its text is what the last try met, "" before the first has ended. */
enum rt_find_state rt_find_look(struct rt_find *f, struct rt_kafka_found *ret_found,
                                struct rt_err *err);
/* Ends the thread, in the worst case after a second. NULL is fine. */
void rt_find_free(struct rt_find *f);

#endif
