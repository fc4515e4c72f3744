/* Partitions that an open transaction of another program holds back: the log is read with `read_committed`, so nothing behind the transaction's first record is seen until it ends, though it is
 * stored and acknowledged.
 *
 * Noticed by this: for RT_STUCK_MS the consumer has seen the end, at an offset that does not move, while Kafka's own end (the high watermark) is further. That offset is the transaction's
 * first record. librdkafka cannot ask who its producer is; what can be known is that record itself. It is read by a consumer that is made for that (`read_uncommitted`).
 * Thread: the tail's. Never waits, but for librdkafka making and destroying a handle (milliseconds). */
#ifndef RT_JOURNAL_KAFKA_STUCK_H
#define RT_JOURNAL_KAFKA_STUCK_H

#include "journal/kafka_conf.h"

#define RT_STUCK_MS      2500u /* until it is looked at */
#define RT_STUCK_LAST_MS 4000u /* until it is told without the record */

struct rt_stuck;

/* Where a partition's consumer stands. */
struct rt_stuck_place {
    bool at_end;    /* it saw the end of what can be read, and nothing since */
    int64_t offset; /* of the record that it wants next */
    int64_t high;   /* Kafka's end of the partition; below 0 not known */
};

enum rt_stuck_change { RT_STUCK_SAME, RT_STUCK_BEGAN, RT_STUCK_ENDED };

/* `topic` and what `conf` points to are not copied. */
int rt_stuck_new(const struct rt_kafka_conf *conf, const char *topic, uint32_t partitions,
                 struct rt_stuck **ret_stuck, struct rt_err *err);
/* Another number of partitions: begins anew. RT_ENOMEM: there are as many as before. */
int rt_stuck_reset(struct rt_stuck *s, uint32_t partitions);
/* To be called a few times a second for each partition. With RT_STUCK_BEGAN `*ret_time` is the time of the transaction's first record, ms; 0 not known. Changes are
 * logged. */
enum rt_stuck_change rt_stuck_look(struct rt_stuck *s, uint32_t partition,
                                   const struct rt_stuck_place *place, uint64_t *ret_time);
/* NULL is fine. */
void rt_stuck_free(struct rt_stuck *s);

#endif
