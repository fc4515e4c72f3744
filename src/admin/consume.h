/* Kafka in, published: what the sections of kafka.consume read becomes publishes on this node.
 *
 *     journal/intake.h --records--> lanes, one a partition --rt_broker_publish--> answer --done|refused--> intake
 *
 * mode publish: channel, event and idempotency key from the record, its value is the data. mode command: the value is a call of the HTTP API,
 * {"method":"publish","payload":{...}}. The publisher is "kafka:GROUP"; a record without a key of its own has one made of topic, partition, offset and timestamp, so that a record
 * that comes again within storage.idempotency_window is one message in the log.
 * Order: a lane publishes in the order of its partition. `retry` and `unknown` stop the lane until all its publishes are answered; then those without success
 * are published again, in order, with the same key, before what follows. A refused record is a dead letter, or with on_error `stop` is tried again and holds the lane.
 * Backpressure: while the log is congested nothing is published; the intake's bound stops the reading.
 * Thread: the loop. */
#ifndef RT_ADMIN_CONSUME_H
#define RT_ADMIN_CONSUME_H

#include "session/broker.h"

struct rt_consume;

struct rt_consume_options {
    const struct rt_config *config;
    struct rt_broker *broker;
    struct rt_loop *loop;
    struct rt_metrics *metrics;
};

/* Starts all sections; `*ret_consume` is NULL when there are none. Does not wait for Kafka. RT_EINVAL: settings, text says which section's. */
int rt_consume_new(const struct rt_consume_options *options, struct rt_consume **ret_consume,
                   struct rt_err *err);
/* Publishes nothing more, waits a bounded time for the answers that are due, commits, leaves the groups: then `closed(arg)`, never from inside. The broker closes after it. */
void rt_consume_close(struct rt_consume *c, void (*closed)(void *arg), void *arg);
/* After closed(). NULL is fine. The metrics may not be written after it. */
void rt_consume_free(struct rt_consume *c);

#endif
