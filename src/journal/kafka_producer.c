#include "journal/kafka_producer.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"

#define PURGE_MS 5000

struct rt_producer {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    size_t max_bytes, batch_bytes;
    uint32_t max_records;
    void (*wake)(void *arg);
    void *arg;
};

static void on_events(rd_kafka_t *rk, void *opaque)
{
    (void)rk;
    struct rt_producer *p = opaque;
    p->wake(p->arg);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static void cap_batch(struct rt_producer *p, rd_kafka_conf_t *conf, size_t most)
{
    char text[24];
    p->batch_bytes = (size_t)rt_kafka_conf_number(conf, "batch.size", 1000000);
    if (most == 0 || most >= p->batch_bytes)
        return;
    p->batch_bytes = most;
    snprintf(text, sizeof(text), "%zu", most);
    (void)rd_kafka_conf_set(conf, "batch.size", text, NULL, 0);
}

static int open_handle(struct rt_producer *p, const struct rt_producer_options *options,
                       struct rt_err *err)
{
    char text[256] = "";
    rd_kafka_conf_t *conf = NULL;
    int code = rt_kafka_conf_make(&options->conf, RT_KAFKA_PRODUCER, options->warn, &conf, err);
    if (code < 0)
        return code;
    p->max_bytes = (size_t)rt_kafka_conf_number(conf, "queue.buffering.max.kbytes", 65536) * 1024;
    p->max_records = (uint32_t)rt_kafka_conf_number(conf, "queue.buffering.max.messages", 50000);
    if (p->max_records == 0) /* librdkafka's "no limit" */
        p->max_records = UINT32_MAX;
    cap_batch(p, conf, options->batch_bytes);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (p->rk)
        return 0;
    rd_kafka_conf_destroy(conf);
    return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
}

int rt_producer_new(const struct rt_producer_options *options, struct rt_producer **ret_producer,
                    struct rt_err *err)
{
    struct rt_producer *p = rt_calloc(1, sizeof(*p));
    if (!p)
        return rt_err_nomem(err);
    p->wake = options->wake;
    p->arg = options->arg;
    int code = open_handle(p, options, err);
    if (code == 0) {
        p->topic = rd_kafka_topic_new(p->rk, options->topic, NULL);
        if (!p->topic)
            code = rt_err_set(err, RT_EINVAL, "kafka.topic \"%s\": %s", options->topic,
                              rd_kafka_err2str(rd_kafka_last_error()));
    }
    if (code < 0) {
        rt_producer_free(p);
        return code;
    }
    p->queue = rd_kafka_queue_get_main(p->rk);
    rd_kafka_queue_cb_event_enable(p->queue, on_events, p);
    *ret_producer = p;
    return 0;
}

rd_kafka_t *rt_producer_handle(struct rt_producer *p)
{
    return p->rk;
}

uint64_t rt_producer_log_identity(const struct rt_producer *p)
{
    static const uint64_t key[2] = {0x6c6f672069640000u, 0x6b61666b61u}; /* the same on all nodes */
    struct rt_buf text = RT_BUF_INIT;
    char *cluster = rd_kafka_clusterid(p->rk, 0);
    rt_buf_printf(&text, "%s\n%s", cluster ? cluster : "", rd_kafka_topic_name(p->topic));
    uint64_t identity = cluster && rt_buf_ok(&text) ? rt_siphash13(key, rt_buf_str(&text)) : 0;
    if (cluster)
        rd_kafka_mem_free(p->rk, cluster);
    rt_buf_deinit(&text);
    return identity;
}

size_t rt_producer_max_bytes(const struct rt_producer *p)
{
    return p->max_bytes;
}

uint32_t rt_producer_max_records(const struct rt_producer *p)
{
    return p->max_records;
}

size_t rt_producer_batch_bytes(const struct rt_producer *p)
{
    return p->batch_bytes;
}

void rt_producer_flush(struct rt_producer *p, uint32_t timeout_ms)
{
    if (rd_kafka_flush(p->rk, (int)timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(p->rk, PURGE_MS);
}

void rt_producer_detach(struct rt_producer *p)
{
    rd_kafka_queue_cb_event_enable(p->queue, NULL, NULL);
}

void rt_producer_free(struct rt_producer *p)
{
    if (!p)
        return;
    if (p->queue) {
        rt_producer_detach(p);
        rd_kafka_queue_destroy(p->queue);
    }
    if (p->topic)
        rd_kafka_topic_destroy(p->topic);
    if (p->rk)
        rd_kafka_destroy(p->rk);
    rt_free(p);
}

/* ---- producing --------------------------------------------------------------------------------------------- */

static rd_kafka_headers_t *make_headers(const struct rt_produce *r)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(r->header_count);
    for (size_t i = 0; headers && i < r->header_count; i++) {
        struct rt_str value = r->headers[i].value;
        if (rd_kafka_header_add(headers, r->headers[i].name, -1, value.ptr ? value.ptr : "",
                                (ssize_t)value.len) == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        rd_kafka_headers_destroy(headers);
        return NULL;
    }
    return headers;
}

static int refuse(rd_kafka_resp_err_t e, struct rt_err *err)
{
    if (e == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return rt_err_set(err, RT_EAGAIN, "too much is waiting to be stored: slow down");
    if (e == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return rt_err_set(err, RT_ERANGE,
                          "the message is larger than Kafka takes (kafka.conf: message.max.bytes)");
    return rt_err_set(err, RT_EIO, "Kafka's producer refuses: %s", rd_kafka_err2str(e));
}

int rt_producer_produce(struct rt_producer *p, const struct rt_produce *r, struct rt_err *err)
{
    rd_kafka_headers_t *headers = make_headers(r);
    if (!headers)
        return rt_err_nomem(err);
    rd_kafka_resp_err_t e = rd_kafka_producev(
        p->rk, RD_KAFKA_V_RKT(p->topic), RD_KAFKA_V_PARTITION((int32_t)r->partition),
        RD_KAFKA_V_MSGFLAGS(0), RD_KAFKA_V_KEY((void *)(uintptr_t)r->key.ptr, r->key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)r->value.ptr, r->value.len),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_TIMESTAMP((int64_t)r->time),
        RD_KAFKA_V_OPAQUE(r->opaque), RD_KAFKA_V_END);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    rd_kafka_headers_destroy(headers);
    return refuse(e, err);
}

/* ---- reports ----------------------------------------------------------------------------------------------- */

static int status_of(const rd_kafka_message_t *message)
{
    switch (rd_kafka_message_status(message)) {
    case RD_KAFKA_MSG_STATUS_PERSISTED:
        return RT_OK;
    case RD_KAFKA_MSG_STATUS_NOT_PERSISTED:
        return RT_EAGAIN;
    case RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED:
        break;
    }
    return RT_EUNKNOWN;
}

/* `alone`: it was a batch by itself. Kafka refuses a batch that is too large as a whole; only what was alone is surely too large itself. */
static void report(const rd_kafka_message_t *message, bool alone,
                   const struct rt_producer_events *events)
{
    bool too_large = message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    int status = too_large && alone ? RT_ERANGE : status_of(message);
    struct rt_report r = {.opaque = message->_private,
                          .status = status,
                          .batch_too_large = too_large && !alone,
                          .partition = (uint32_t)message->partition,
                          .text = status == RT_OK ? "" : rd_kafka_err2str(message->err)};
    if (status == RT_ERANGE)
        r.text = "the message is larger than the topic takes (its max.message.bytes)";
    /* A repeated request whose first answer was lost is known to be stored, but not where. */
    if (status == RT_OK && message->offset >= 0)
        r.position = (uint64_t)message->offset + 1;
    events->on_report(events->arg, &r);
}

static size_t report_all(rd_kafka_event_t *event, const struct rt_producer_events *events)
{
    size_t count = 0;
    bool alone = rd_kafka_event_message_count(event) == 1; /* an event is the end of one batch */
    const rd_kafka_message_t *message;
    while ((message = rd_kafka_event_message_next(event))) {
        report(message, alone, events);
        count++;
    }
    return count;
}

static void tell_error(struct rt_producer *p, rd_kafka_event_t *event,
                       const struct rt_producer_events *events)
{
    char text[200];
    if (!rd_kafka_event_error_is_fatal(event)) {
        events->on_error(events->arg, rd_kafka_event_error_string(event), false);
        return;
    }
    (void)rd_kafka_fatal_error(p->rk, text, sizeof(text));
    events->on_error(events->arg, text, true);
}

bool rt_producer_poll(struct rt_producer *p, const struct rt_producer_events *events, size_t max)
{
    for (size_t count = 0; count < max;) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(p->queue, 0);
        if (!event)
            return false;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            count += report_all(event, events);
        else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
            tell_error(p, event, events);
        rd_kafka_event_destroy(event);
    }
    return true;
}
