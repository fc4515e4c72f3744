/* The sink's Kafka consumer: no group, positions are given for each partition, nothing is committed to Kafka.
 *
 * What it holds is bounded: 32 MiB of records that wait, over all partitions, and a response of the brokers. Not polled it lets the brokers
 * wait. Everything here may block, for at most the time that is said. Thread: the sink's, but for new. */
#ifndef RT_STORE_SINK_CONSUMER_H
#define RT_STORE_SINK_CONSUMER_H

#include <librdkafka/rdkafka.h>

#include <stdbool.h>

#include "conf/config.h"

struct rt_sink_consumer_options {
    const char *brokers, *topic;
    const struct rt_strings *conf; /* kafka.conf.*; may be NULL */
    uint32_t partitions;
};

enum rt_sink_event {
    RT_SINK_SILENCE,   /* nothing came in time */
    RT_SINK_RECORD,    /* the record is the caller's */
    RT_SINK_END,       /* all that can be read has been, up to (not including) `offset` */
    RT_SINK_MISPLACED, /* the position is not in the log */
    RT_SINK_NO_TOPIC,  /* the topic cannot be read; `text` says why */
};

struct rt_sink_news {
    enum rt_sink_event event;
    uint32_t partition;
    int64_t offset;
    rd_kafka_message_t *record;
    const char *text;
};

struct rt_sink_consumer;

/* Checks the settings; connecting is begun. Creates threads of librdkafka. */
int rt_sink_consumer_new(const struct rt_sink_consumer_options *options,
                         struct rt_sink_consumer **ret_consumer, struct rt_err *err);
/* Gives everything back (may take a second). NULL is fine. */
void rt_sink_consumer_free(struct rt_sink_consumer *c);

/* Reads a partition from `offset` on, wherever it was read before. RT_EIO. */
int rt_sink_consumer_start(struct rt_sink_consumer *c, uint32_t partition, int64_t offset);
void rt_sink_consumer_stop(struct rt_sink_consumer *c, uint32_t partition); /* idempotent */
void rt_sink_consumer_next(struct rt_sink_consumer *c, int wait_ms, struct rt_sink_news *ret_news);
/* Asks for the first offset and the one behind the last. RT_ENOENT: there is no such topic or partition. RT_EIO: no answer within a second. */
int rt_sink_consumer_bounds(struct rt_sink_consumer *c, uint32_t partition, int64_t *ret_low,
                            int64_t *ret_high, struct rt_err *err);
/* The offset behind the last record as the last response had it; -1 not known. Does not block. */
int64_t rt_sink_consumer_end(struct rt_sink_consumer *c, uint32_t partition);
/* The first record in [offset, until) for which `wanted` is true; `*ret_record` is NULL when there is none, else the caller's. The partition may not be read meanwhile, and is
 * not afterwards. RT_EIO: not found out within two seconds. */
int rt_sink_consumer_probe(struct rt_sink_consumer *c, uint32_t partition, int64_t offset,
                           int64_t until, bool (*wanted)(const rd_kafka_message_t *record),
                           rd_kafka_message_t **ret_record);

#endif
