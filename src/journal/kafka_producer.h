/* One idempotent producer: an rd_kafka_t, its topic and its queue of delivery reports. A fatal error ends it; its owner makes another.
 *
 * Values and keys are not copied by produce (they must live until the report), headers are.
 * Thread: new, flush, free on any thread but the serving loop (they block); produce and poll on the loop; flush may run on a helper thread while the loop
 * polls. `wake` is called on a thread of librdkafka when there is something to poll: it may only signal. */
#ifndef RT_JOURNAL_KAFKA_PRODUCER_H
#define RT_JOURNAL_KAFKA_PRODUCER_H

#include "journal/kafka_conf.h"
#include "journal/record.h"

struct rt_producer;

struct rt_producer_options {
    struct rt_kafka_conf conf;
    const char *topic;
    bool warn;          /* about settings that are not taken */
    size_t batch_bytes; /* cap of a batch of several records; 0: as set */
    void (*wake)(void *arg);
    void *arg;
};

/* RT_EINVAL: the settings; RT_EIO. */
int rt_producer_new(const struct rt_producer_options *options, struct rt_producer **ret_producer,
                    struct rt_err *err);
rd_kafka_t *rt_producer_handle(struct rt_producer *p);
/* A number made of the Kafka cluster's own id and the topic, the same wherever it is asked; 0 until the cluster has told. Does not wait. */
uint64_t rt_producer_log_identity(const struct rt_producer *p);
/* Caps of what waits, as set. */
size_t rt_producer_max_bytes(const struct rt_producer *p);
uint32_t rt_producer_max_records(const struct rt_producer *p);
size_t rt_producer_batch_bytes(const struct rt_producer *p);

struct rt_produce {
    uint32_t partition;
    struct rt_str key, value; /* not copied */
    const struct rt_record_header *headers;
    size_t header_count;
    uint64_t time; /* ms */
    void *opaque;  /* comes back with the report; NULL: nobody waits for it */
};
/* RT_EAGAIN: full; RT_ERANGE: larger than a record may be; RT_EIO: fatal, or refused otherwise; RT_ENOMEM. Text in err. */
int rt_producer_produce(struct rt_producer *p, const struct rt_produce *record, struct rt_err *err);

struct rt_report {
    void *opaque;
    int status; /* RT_OK, RT_EAGAIN certainly not stored, RT_ERANGE likewise, and never will be: too large; RT_EUNKNOWN */
    bool
        batch_too_large; /* EAGAIN: it stood in a batch of several that is larger than the topic takes */
    uint32_t partition;
    uint64_t position; /* Kafka's offset + 1; 0 unknown though stored */
    const char *text;  /* why not */
};
struct rt_producer_events {
    void (*on_report)(void *arg, const struct rt_report *report);
    /* Not of a record: brokers are gone, ... `fatal`: this producer will store nothing more. */
    void (*on_error)(void *arg, const char *text, bool fatal);
    void *arg;
};
/* Serves at most about `max` reports; true: there may be more. */
bool rt_producer_poll(struct rt_producer *p, const struct rt_producer_events *events, size_t max);

/* Waits until all is reported (the loop must poll) or the time is over; then gives up what is left, whose reports come too. */
void rt_producer_flush(struct rt_producer *p, uint32_t timeout_ms);
/* No wake from now on. Thread: any. */
void rt_producer_detach(struct rt_producer *p);
/* All reports must have been polled, else their messages leak. NULL is fine. */
void rt_producer_free(struct rt_producer *p);

#endif
