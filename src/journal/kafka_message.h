/* What a consumed record says: its headers, and the message that it holds. Used by the nodes' tail and by the sink alike, so that both come to the same answer.
 *
 * Headers point into the record and live as long as it does. Thread: any. */
#ifndef RT_JOURNAL_KAFKA_MESSAGE_H
#define RT_JOURNAL_KAFKA_MESSAGE_H

#include <librdkafka/rdkafka.h>

#include "journal/record.h"

#define RT_KAFKA_HEADERS 128 /* further ones are not looked at */

struct rt_kafka_headers {
    struct rt_record_header items[RT_KAFKA_HEADERS];
    size_t count;
};

void rt_kafka_headers_read(const rd_kafka_message_t *record, struct rt_kafka_headers *ret_headers);
/* The evidence of the partition's incarnation (journal/kafka_epoch.h); none when there is none. */
struct rt_str rt_kafka_evidence(const struct rt_kafka_headers *headers);
/* A new message, its offset is Kafka's + 1. RT_ENOENT: the record is a marker. RT_EINVAL with text: it is no message, or its key is no channel's name. RT_ENEWER: a newer version's, with text. RT_ENOMEM. */
int rt_kafka_message_read(const rd_kafka_message_t *record, const struct rt_kafka_headers *headers,
                          struct rt_stored **ret_message, struct rt_err *err);

#endif
