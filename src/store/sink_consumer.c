#include "store/sink_consumer.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_conf.h"

#define QUERY_MS     1000
#define PROBE_MS     2000
#define KBYTES       32768u /* that wait, over all partitions */
#define KBYTES_LEAST 256u
#define FETCH_BYTES  "4194304"

struct rt_sink_consumer {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    char *name;
    uint32_t partitions;
    bool *reading;
};

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct rt_err *err)
{
    char text[200];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return 0;
    return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
}

/* The limit is one of each partition. */
static int limit(rd_kafka_conf_t *conf, uint32_t partitions, struct rt_err *err)
{
    char text[24];
    uint64_t kbytes = KBYTES / (partitions ? partitions : 1);
    uint64_t given = rt_kafka_conf_number(conf, "queued.max.messages.kbytes", kbytes);
    if (kbytes < KBYTES_LEAST)
        kbytes = KBYTES_LEAST;
    if (given < kbytes)
        kbytes = given;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)kbytes);
    int code = set(conf, "queued.max.messages.kbytes", text, err);
    return code < 0 ? code : set(conf, "fetch.max.bytes", FETCH_BYTES, err);
}

static int make_conf(const struct rt_sink_consumer_options *options, rd_kafka_conf_t **ret_conf,
                     struct rt_err *err)
{
    const struct rt_kafka_conf given = {.brokers = options->brokers, .conf = options->conf};
    rd_kafka_conf_t *conf = NULL;
    int code = rt_kafka_conf_make(&given, RT_KAFKA_TAIL, false, &conf, err);
    if (code < 0)
        return code;
    code = limit(conf, options->partitions, err);
    if (code < 0) {
        rd_kafka_conf_destroy(conf);
        return code;
    }
    *ret_conf = conf;
    return 0;
}

static int open_consumer(struct rt_sink_consumer *c, const struct rt_sink_consumer_options *options,
                         struct rt_err *err)
{
    char text[256] = "";
    rd_kafka_conf_t *conf = NULL;
    int code = make_conf(options, &conf, err);
    if (code < 0)
        return code;
    c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!c->rk) {
        rd_kafka_conf_destroy(conf);
        return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
    }
    c->topic = rd_kafka_topic_new(c->rk, options->topic, NULL);
    if (!c->topic)
        return rt_err_set(err, RT_EINVAL, "kafka.topic \"%s\": %s", options->topic,
                          rd_kafka_err2str(rd_kafka_last_error()));
    c->queue = rd_kafka_queue_new(c->rk);
    return 0;
}

int rt_sink_consumer_new(const struct rt_sink_consumer_options *options,
                         struct rt_sink_consumer **ret_consumer, struct rt_err *err)
{
    struct rt_sink_consumer *c = rt_calloc(1, sizeof(*c));
    if (!c)
        return rt_err_nomem(err);
    c->partitions = options->partitions;
    c->name = rt_strdup(options->topic);
    c->reading = rt_calloc(options->partitions ? options->partitions : 1, sizeof(*c->reading));
    int code = c->name && c->reading ? open_consumer(c, options, err) : rt_err_nomem(err);
    if (code < 0) {
        rt_sink_consumer_free(c);
        return code;
    }
    *ret_consumer = c;
    return 0;
}

void rt_sink_consumer_free(struct rt_sink_consumer *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; c->topic && c->reading && i < c->partitions; i++)
        rt_sink_consumer_stop(c, i);
    if (c->queue)
        rd_kafka_queue_destroy(c->queue);
    if (c->topic)
        rd_kafka_topic_destroy(c->topic);
    if (c->rk)
        rd_kafka_destroy(c->rk);
    rt_free(c->reading);
    rt_free(c->name);
    rt_free(c);
}

int rt_sink_consumer_start(struct rt_sink_consumer *c, uint32_t partition, int64_t offset)
{
    rt_sink_consumer_stop(c, partition);
    if (rd_kafka_consume_start_queue(c->topic, (int32_t)partition, offset, c->queue) < 0)
        return RT_EIO;
    c->reading[partition] = true;
    return 0;
}

void rt_sink_consumer_stop(struct rt_sink_consumer *c, uint32_t partition)
{
    if (c->reading[partition])
        (void)rd_kafka_consume_stop(c->topic, (int32_t)partition);
    c->reading[partition] = false;
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

static enum rt_sink_event event_of(rd_kafka_resp_err_t e)
{
    switch (e) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return RT_SINK_RECORD;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        return RT_SINK_END;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        return RT_SINK_MISPLACED;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return RT_SINK_NO_TOPIC;
    default:
        return RT_SINK_SILENCE; /* it tries again by itself */
    }
}

void rt_sink_consumer_next(struct rt_sink_consumer *c, int wait_ms, struct rt_sink_news *ret_news)
{
    rd_kafka_message_t *m = rd_kafka_consume_queue(c->queue, wait_ms);
    *ret_news = (struct rt_sink_news){.event = RT_SINK_SILENCE};
    if (!m)
        return;
    if (m->rkt && m->partition >= 0 && (uint32_t)m->partition < c->partitions &&
        c->reading[m->partition]) {
        *ret_news = (struct rt_sink_news){.event = event_of(m->err),
                                          .partition = (uint32_t)m->partition,
                                          .offset = m->offset,
                                          .record = m,
                                          .text = rd_kafka_err2str(m->err)};
        if (ret_news->event == RT_SINK_SILENCE)
            rt_log(RT_LOG_WARN, "sink", "reading is disturbed",
                   rt_kv_i64("partition", m->partition), rt_kv_c("text", rd_kafka_err2str(m->err)));
    }
    if (ret_news->event != RT_SINK_RECORD) {
        rd_kafka_message_destroy(m);
        ret_news->record = NULL;
    }
}

/* ---- questions ---------------------------------------------------------------------------------------------- */

int rt_sink_consumer_bounds(struct rt_sink_consumer *c, uint32_t partition, int64_t *ret_low,
                            int64_t *ret_high, struct rt_err *err)
{
    int64_t low = -1, high = -1;
    rd_kafka_resp_err_t e =
        rd_kafka_query_watermark_offsets(c->rk, c->name, (int32_t)partition, &low, &high, QUERY_MS);
    if (event_of(e) == RT_SINK_NO_TOPIC)
        return rt_err_set(err, RT_ENOENT, "%s", rd_kafka_err2str(e));
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR || low < 0 || high < low)
        return rt_err_set(err, RT_EIO, "%s", rd_kafka_err2str(e));
    *ret_low = low;
    *ret_high = high;
    return 0;
}

int64_t rt_sink_consumer_end(struct rt_sink_consumer *c, uint32_t partition)
{
    int64_t low = -1, high = -1;
    rd_kafka_resp_err_t e =
        rd_kafka_get_watermark_offsets(c->rk, c->name, (int32_t)partition, &low, &high);
    return e == RD_KAFKA_RESP_ERR_NO_ERROR ? high : -1;
}

/* RT_OK: found out. RT_EAGAIN: read on. */
static int judge(rd_kafka_message_t *m, int64_t until,
                 bool (*wanted)(const rd_kafka_message_t *record), rd_kafka_message_t **ret_record)
{
    enum rt_sink_event event = event_of(m->err);
    bool end = event == RT_SINK_END || (event == RT_SINK_RECORD && m->offset >= until);
    if (!end && event == RT_SINK_RECORD && wanted(m)) {
        *ret_record = m;
        return RT_OK;
    }
    rd_kafka_message_destroy(m);
    if (event == RT_SINK_MISPLACED || event == RT_SINK_NO_TOPIC)
        return RT_EIO;
    return end ? RT_OK : RT_EAGAIN;
}

int rt_sink_consumer_probe(struct rt_sink_consumer *c, uint32_t partition, int64_t offset,
                           int64_t until, bool (*wanted)(const rd_kafka_message_t *record),
                           rd_kafka_message_t **ret_record)
{
    int code = RT_EAGAIN;
    uint64_t deadline = rt_mono_ms() + PROBE_MS;
    *ret_record = NULL;
    rt_sink_consumer_stop(c, partition);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    if (rd_kafka_consume_start_queue(c->topic, (int32_t)partition, offset, queue) < 0) {
        rd_kafka_queue_destroy(queue);
        return RT_EIO;
    }
    while (code == RT_EAGAIN) {
        uint64_t now = rt_mono_ms();
        rd_kafka_message_t *m =
            now < deadline ? rd_kafka_consume_queue(queue, (int)(deadline - now)) : NULL;
        code = m ? judge(m, until, wanted, ret_record) : RT_EIO;
    }
    (void)rd_kafka_consume_stop(c->topic, (int32_t)partition);
    rd_kafka_queue_destroy(queue);
    return code;
}
