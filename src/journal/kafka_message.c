#include "journal/kafka_message.h"

void rt_kafka_headers_read(const rd_kafka_message_t *record, struct rt_kafka_headers *ret_headers)
{
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t size;
    size_t count = 0;
    ret_headers->count = 0;
    if (rd_kafka_message_headers(record, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    while (count < RT_KAFKA_HEADERS && rd_kafka_header_get_all(headers, count, &name, &value,
                                                               &size) == RD_KAFKA_RESP_ERR_NO_ERROR)
        ret_headers->items[count++] = (struct rt_record_header){name, rt_str_of(value, size)};
    ret_headers->count = count;
}

struct rt_str rt_kafka_evidence(const struct rt_kafka_headers *headers)
{
    return rt_record_header(headers->items, headers->count, RT_HEADER_EPOCH);
}

int rt_kafka_message_read(const rd_kafka_message_t *record, const struct rt_kafka_headers *headers,
                          struct rt_stored **ret_message, struct rt_err *err)
{
    struct rt_stored *message = NULL;
    int64_t time = rd_kafka_message_timestamp(record, NULL);
    int code =
        rt_record_read(rt_str_of(record->payload, record->len), headers->items, headers->count,
                       (uint64_t)record->offset + 1, time > 0 ? (uint64_t)time : 0, &message, err);
    if (code < 0)
        return code;
    if (!rt_record_channel_valid(rt_str_of(record->key, record->key_len))) {
        rt_stored_unref(message);
        return rt_err_set(err, RT_EINVAL, "its key is no channel's name");
    }
    *ret_message = message;
    return 0;
}
