/* Records that are larger than the topic takes (its max.message.bytes).
 *
 * At start limits.message has to fit (journal/kafka_topic.h), so this is for a topic whose limit was lowered since, or whose settings the cluster does not tell. Kafka refuses a batch as a
 * whole, without a word on which of its records is too large. So one that was sent alone is refused for good; of the others all are certainly not stored and may come again, but in
 * smaller batches: these end with one record each, if need be. */
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_internal.h"

#define LOG_MS 10000u /* between lines */

void rt_kafka_tell_too_large(struct rt_kafka *k, const struct rt_append *a)
{
    uint64_t now = rt_mono_ms();
    k->too_large.value++;
    if (k->too_large_told_at != 0 && now - k->too_large_told_at < LOG_MS)
        return;
    k->too_large_told_at = now;
    rt_log(RT_LOG_ERROR, "kafka",
           "a message is larger than the topic takes and is refused: raise the topic's "
           "max.message.bytes, or lower limits.message",
           rt_kv_c("topic", k->options.topic), rt_kv_str("channel", a->channel_name),
           rt_kv_u64("bytes", a->task.bytes), rt_kv_u64("so_far", k->too_large.value));
}

void rt_kafka_shrink_batches(struct rt_kafka *k)
{
    size_t most = rt_producer_batch_bytes(k->producer);
    size_t batch = k->refused < most ? k->refused : most;
    k->refused = 0;
    k->producer_options.batch_bytes = batch > 1 ? batch / 2 : 1;
    k->renewing = true;
    rt_log(RT_LOG_WARN, "kafka",
           "a batch is larger than the topic's max.message.bytes: from here on they are smaller. "
           "What was in it got \"retry\"",
           rt_kv_c("topic", k->options.topic),
           rt_kv_u64("batch_bytes", k->producer_options.batch_bytes));
}
