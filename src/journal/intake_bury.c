/* Dead letters: what was refused, with the reason, into a topic of its own; tried until it is stored. Thread: the intake's. */
#include "journal/intake_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_topic.h"

#define RETRY_MS      1000
#define REPORTS       256
#define CHECK_MS      5000 /* for Kafka to make the topic */
#define QUEUE_BYTES   ((size_t)16 << 20)
#define OUR_HEADERS   6
#define HEADER_NUMBER 24

void rt_bury_init(struct rt_bury *b, struct rt_intake *in)
{
    *b = (struct rt_bury){.in = in};
    rt_list_init(&b->waiting);
}

void rt_bury_add(struct rt_bury *b, struct rt_intake_record *record)
{
    atomic_fetch_add(&b->in->burying, 1);
    record->retry_at = 0;
    rt_list_push(&b->waiting, &record->task.link);
}

bool rt_bury_idle(const struct rt_bury *b)
{
    return rt_list_empty(&b->waiting) && b->handed == 0;
}

/* ---- the producer ---- */

static void no_wake(void *arg)
{
    (void)arg; /* it is polled in turns */
}

static int make_producer(const struct rt_intake_options *o, struct rt_producer **ret_producer,
                         struct rt_err *err)
{
    struct rt_producer_options options = {.conf = {.brokers = o->brokers,
                                                   .conf = o->conf,
                                                   .more = o->more,
                                                   .queue_bytes = QUEUE_BYTES},
                                          .topic = o->dead_letter,
                                          .wake = no_wake};
    return rt_producer_new(&options, ret_producer, err);
}

int rt_bury_check(const struct rt_intake_options *options, struct rt_err *err)
{
    struct rt_producer *producer = NULL;
    if (options->dead_letter[0] == '\0')
        return 0;
    int code = make_producer(options, &producer, err);
    rt_producer_free(producer);
    return code;
}

static void tell_wait(const struct rt_bury *b, const char *text)
{
    rt_log(RT_LOG_ERROR, "kafka-in", "dead letters cannot be stored now: tries again",
           rt_kv_c("topic", b->in->options.dead_letter), rt_kv_c("text", text));
}

/* Made with the first dead letter, and again when it was broken. False: not now. */
static bool have_producer(struct rt_bury *b)
{
    struct rt_err err = {0};
    struct rt_kafka_topic_answer answer;
    if (b->producer && b->topic_checked)
        return true;
    if (rt_mono_ms() < b->open_at)
        return false;
    b->open_at = rt_mono_ms() + RETRY_MS;
    int code = b->producer ? 0 : make_producer(&b->in->options, &b->producer, &err);
    const struct rt_kafka_topic topic = {.name = b->in->options.dead_letter,
                                         .brokers = b->in->options.brokers,
                                         .partitions = 1,
                                         .timeout_ms = CHECK_MS};
    if (code == 0)
        code = rt_kafka_topic_check(rt_producer_handle(b->producer), &topic, &answer, &err);
    b->topic_checked = code == 0;
    if (code < 0)
        tell_wait(b, err.text);
    return code == 0;
}

/* ---- reports ---- */

static void again(struct rt_bury *b, struct rt_intake_record *record, const char *text)
{
    tell_wait(b, text);
    record->retry_at = rt_mono_ms() + RETRY_MS;
    rt_list_push(&b->waiting, &record->task.link);
}

static void on_report(void *arg, const struct rt_report *report)
{
    struct rt_bury *b = arg;
    struct rt_intake_record *record = report->opaque;
    b->handed--;
    if (report->status != RT_OK) { /* perhaps it is stored: twice is better than never */
        again(b, record, report->text);
        return;
    }
    atomic_fetch_sub(&b->in->burying, 1);
    atomic_fetch_add(&b->in->dead_letters, 1);
    rt_intake_settle(b->in, record);
}

static void on_error(void *arg, const char *text, bool fatal)
{
    struct rt_bury *b = arg;
    b->fatal |= fatal;
    if (fatal)
        tell_wait(b, text);
}

static void poll_reports(struct rt_bury *b)
{
    const struct rt_producer_events events = {on_report, on_error, b};
    while (b->producer && rt_producer_poll(b->producer, &events, REPORTS))
        ;
}

/* All that was handed over is reported, as stored or not. */
static void drop_producer(struct rt_bury *b)
{
    if (!b->producer)
        return;
    (void)rd_kafka_purge(rt_producer_handle(b->producer),
                         RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (b->handed > 0) {
        poll_reports(b);
        if (b->handed > 0)
            (void)rd_kafka_flush(rt_producer_handle(b->producer), 10);
    }
    rt_producer_free(b->producer);
    b->producer = NULL;
    b->topic_checked = b->fatal = false;
}

/* ---- producing ---- */

/* The record's headers and ours behind them, which a reader takes when one stands there twice. */
static size_t describe(const struct rt_bury *b, const struct rt_intake_record *r,
                       char numbers[3][HEADER_NUMBER], struct rt_record_header *headers)
{
    size_t n = r->header_count;
    if (n > 0)
        memcpy(headers, r->headers, n * sizeof(*headers));
    snprintf(numbers[0], HEADER_NUMBER, "%" PRIu32, r->partition);
    snprintf(numbers[1], HEADER_NUMBER, "%" PRIu64, r->offset);
    snprintf(numbers[2], HEADER_NUMBER, "%" PRId64, r->timestamp);
    headers[n++] = (struct rt_record_header){"rt-error", rt_str_c(r->reason)};
    headers[n++] = (struct rt_record_header){"rt-topic", rt_str_c(r->topic)};
    headers[n++] = (struct rt_record_header){"rt-partition", rt_str_c(numbers[0])};
    headers[n++] = (struct rt_record_header){"rt-offset", rt_str_c(numbers[1])};
    headers[n++] = (struct rt_record_header){"rt-group", rt_str_c(b->in->options.group)};
    if (r->timestamp >= 0)
        headers[n++] = (struct rt_record_header){"rt-timestamp", rt_str_c(numbers[2])};
    return n;
}

static int produce(struct rt_bury *b, struct rt_intake_record *r, struct rt_err *err)
{
    char numbers[3][HEADER_NUMBER];
    struct rt_record_header *headers = rt_calloc(r->header_count + OUR_HEADERS, sizeof(*headers));
    if (!headers)
        return rt_err_nomem(err);
    struct rt_produce p = {.partition = (uint32_t)RD_KAFKA_PARTITION_UA,
                           .key = r->key,
                           .value = r->value,
                           .headers = headers,
                           .header_count = describe(b, r, numbers, headers),
                           .time = r->timestamp > 0 ? (uint64_t)r->timestamp : 0,
                           .opaque = r};
    int code = rt_producer_produce(b->producer, &p, err);
    rt_free(headers);
    return code;
}

void rt_bury_turn(struct rt_bury *b)
{
    struct rt_list due;
    struct rt_err err = {0};
    poll_reports(b);
    if (b->fatal)
        drop_producer(b);
    if (rt_list_empty(&b->waiting) || !have_producer(b))
        return;
    uint64_t now = rt_mono_ms();
    rt_list_init(&due);
    rt_list_splice(&due, &b->waiting);
    struct rt_list *node;
    while ((node = rt_list_pop(&due))) {
        struct rt_intake_record *r = RT_CONTAINER(node, struct rt_intake_record, task.link);
        if (now < r->retry_at)
            rt_list_push(&b->waiting, node);
        else if (produce(b, r, &err) < 0)
            again(b, r, err.text);
        else
            b->handed++;
    }
}

void rt_bury_close(struct rt_bury *b)
{
    drop_producer(b);
    struct rt_list *node;
    while ((node = rt_list_pop(&b->waiting))) {
        struct rt_intake_record *r = RT_CONTAINER(node, struct rt_intake_record, task.link);
        atomic_fetch_sub(&b->in->burying, 1);
        rt_intake_record_free(b->in, r);
    }
}
