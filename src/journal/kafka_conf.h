/* The settings of librdkafka: ours, then `kafka.conf.*` as it is, but for those that a promise rests on.
 *
 * Such a setting is not taken when it differs from ours; a warning names the promise. An unknown name or a bad value is an error in librdkafka's own words.
 * Its log lines go to rt_log. Thread: any but the loop while it serves (it may read files). */
#ifndef RT_JOURNAL_KAFKA_CONF_H
#define RT_JOURNAL_KAFKA_CONF_H

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "conf/config.h"

enum rt_kafka_role {
    RT_KAFKA_PRODUCER,
    RT_KAFKA_TAIL,
    RT_KAFKA_INTAKE, /* a member of a group; the caller sets group.id and auto.offset.reset */
};

struct rt_kafka_conf {
    const char *brokers;           /* NULL: none, for a handle that shall not connect */
    const struct rt_strings *conf; /* "name=value"; may be NULL */
    size_t queue_bytes;            /* producer: cap of what waits; 0: 64 MiB */
    const struct rt_strings *more; /* as conf, set after it */
};

/* A handle's whole configuration; warns about what is not taken when `warn`. */
int rt_kafka_conf_make(const struct rt_kafka_conf *c, enum rt_kafka_role role, bool warn,
                       rd_kafka_conf_t **ret_conf, struct rt_err *err);
/* The value of a number that was set; `fallback` when it is none. */
uint64_t rt_kafka_conf_number(const rd_kafka_conf_t *conf, const char *name, uint64_t fallback);

#endif
