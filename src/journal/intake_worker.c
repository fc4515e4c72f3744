/* The member of the group: polls, hands over, takes back, commits. See intake.h. Everything here runs on its thread, but for rt_intake_open() at start. */
#include "journal/intake_internal.h"

#include <poll.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#define POLL_MS        20   /* for records while some are in flight, which come back meanwhile */
#define IDLE_MS        100  /* while none is */
#define GATHER         256u /* records handed over at once */
#define COMMIT_MS      250
#define LAG_MS         1000
#define PAUSE_AFTER_MS 1000 /* full for so long: the partitions are paused */
#define CLOSE_MS       3000 /* each: last commit, leaving the group, dead letters */
#define REOPEN_MIN_MS  250  /* before the next member, twice that after each that commits nothing */
#define REOPEN_MAX_MS  5000
#define MESSAGE_COST   256u

/* ---- records ---- */

void rt_intake_record_free(struct rt_intake *in, struct rt_intake_record *record)
{
    atomic_fetch_sub(&in->bytes, record->task.bytes);
    rd_kafka_message_destroy(record->message);
    rt_free(record);
}

static struct rt_str slice(const void *ptr, size_t len)
{
    return ptr ? rt_str_of(ptr, len) : RT_STR_NONE;
}

/* Takes over the message; NULL: out of memory, it is still the caller's. */
static struct rt_intake_record *make_record(rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers = NULL;
    size_t count = 0;
    if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        count = rd_kafka_header_cnt(headers);
    struct rt_intake_record *r = rt_calloc(1, sizeof(*r) + count * sizeof(r->headers[0]));
    if (!r)
        return NULL;
    r->topic = rd_kafka_topic_name(m->rkt);
    r->partition = (uint32_t)m->partition;
    r->offset = (uint64_t)m->offset;
    r->timestamp = rd_kafka_message_timestamp(m, NULL);
    r->key = slice(m->key, m->key_len);
    r->value = slice(m->payload, m->len);
    r->message = m;
    r->task.bytes = m->len + m->key_len + MESSAGE_COST;
    const char *name;
    const void *value;
    size_t size;
    for (; r->header_count < count; r->header_count++) {
        if (rd_kafka_header_get_all(headers, r->header_count, &name, &value, &size) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        r->headers[r->header_count] = (struct rt_record_header){name, slice(value, size)};
    }
    rt_list_init(&r->task.link);
    return r;
}

static struct rt_intake_part *part_of(struct rt_intake *in, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < in->part_count; i++)
        if (in->parts[i].partition == partition && strcmp(in->parts[i].topic, topic) == 0)
            return &in->parts[i];
    return NULL;
}

void rt_intake_settle(struct rt_intake *in, struct rt_intake_record *record)
{
    if (record->generation == atomic_load(&in->generation) && record->lane < in->part_count)
        (void)rt_offsets_done(&in->parts[record->lane].offsets, (int64_t)record->offset);
    rt_intake_record_free(in, record);
}

/* ---- partitions ---- */

static void forget_parts(struct rt_intake *in)
{
    for (size_t i = 0; i < in->part_count; i++) {
        rt_free(in->parts[i].topic);
        rt_offsets_deinit(&in->parts[i].offsets);
    }
    rt_free(in->parts);
    in->parts = NULL;
    in->part_count = 0;
    in->full_since = 0;
    atomic_store(&in->partitions, 0);
    atomic_store(&in->lag, 0);
    atomic_store(&in->paused, false);
    atomic_fetch_add(&in->generation, 1);
    rt_waker_wake(in->waker);
}

static int remember_parts(struct rt_intake *in, const rd_kafka_topic_partition_list_t *list)
{
    in->parts = rt_calloc((size_t)list->cnt + 1, sizeof(*in->parts));
    if (!in->parts)
        return RT_ENOMEM;
    for (int i = 0; i < list->cnt; i++) {
        struct rt_intake_part *p = &in->parts[in->part_count];
        p->topic = rt_strdup(list->elems[i].topic);
        if (!p->topic)
            return RT_ENOMEM;
        p->partition = list->elems[i].partition;
        rt_offsets_init(&p->offsets);
        in->part_count++;
    }
    atomic_store(&in->partitions, in->part_count);
    return 0;
}

static rd_kafka_topic_partition_list_t *list_parts(struct rt_intake *in)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)in->part_count + 1);
    for (size_t i = 0; i < in->part_count; i++)
        rd_kafka_topic_partition_list_add(list, in->parts[i].topic, in->parts[i].partition);
    return list;
}

/* ---- committing ---- */

/* What may be committed and is not yet, taken; NULL: nothing. */
static rd_kafka_topic_partition_list_t *take_due(struct rt_intake *in)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)in->part_count + 1);
    for (size_t i = 0; i < in->part_count; i++) {
        struct rt_intake_part *p = &in->parts[i];
        int64_t due = rt_offsets_due(&p->offsets);
        if (due < 0)
            continue;
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = due;
        p->offsets.committed = due;
    }
    if (list->cnt > 0)
        return list;
    rd_kafka_topic_partition_list_destroy(list);
    return NULL;
}

/* What could not be committed is due again. */
static void on_committed(rd_kafka_t *rk, rd_kafka_resp_err_t e,
                         rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
    (void)rk;
    struct rt_intake *in = opaque;
    if (!e)
        in->reopen_ms = REOPEN_MIN_MS;
    for (int i = 0; offsets && i < offsets->cnt; i++) {
        const rd_kafka_topic_partition_t *o = &offsets->elems[i];
        rd_kafka_resp_err_t failed = e ? e : o->err;
        struct rt_intake_part *p = failed ? part_of(in, o->topic, o->partition) : NULL;
        if (!p || p->offsets.committed != o->offset)
            continue;
        p->offsets.committed = -1;
        rt_log(RT_LOG_WARN, "kafka-in", "an offset is not committed yet",
               rt_kv_c("topic", o->topic), rt_kv_i64("partition", o->partition),
               rt_kv_i64("offset", o->offset), rt_kv_c("text", rd_kafka_err2str(failed)));
    }
}

static void commit(struct rt_intake *in)
{
    uint64_t now = rt_mono_ms();
    if (now < in->commit_at)
        return;
    in->commit_at = now + COMMIT_MS;
    rd_kafka_topic_partition_list_t *list = take_due(in);
    if (!list)
        return;
    rd_kafka_resp_err_t e = rd_kafka_commit(in->rk, list, 1);
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        on_committed(in->rk, e, list, in);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Before the partitions go: waits a bounded time for Kafka's answer. */
static void commit_last(struct rt_intake *in)
{
    rd_kafka_topic_partition_list_t *list = take_due(in);
    if (!list)
        return;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(in->rk);
    rd_kafka_resp_err_t e = rd_kafka_commit_queue(in->rk, list, queue, NULL, NULL);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CLOSE_MS);
        e = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (event)
            rd_kafka_event_destroy(event);
    }
    if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
        rt_log(RT_LOG_WARN, "kafka-in",
               "offsets could not be committed: their records will come again",
               rt_kv_c("group", in->options.group), rt_kv_c("text", rd_kafka_err2str(e)));
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- rebalances ---- */

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t e,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct rt_intake *in = opaque;
    bool assigned = e == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    if (!assigned && in->part_count > 0 && !rd_kafka_assignment_lost(rk))
        commit_last(in);
    forget_parts(in);
    if (assigned && remember_parts(in, list) < 0) {
        forget_parts(in);
        in->fatal = true; /* left and joined again, when there is memory */
        assigned = false;
    }
    rt_log(RT_LOG_INFO, "kafka-in", assigned ? "partitions assigned" : "partitions revoked",
           rt_kv_c("group", in->options.group), rt_kv_i64("partitions", list ? list->cnt : 0));
    rd_kafka_resp_err_t failed = rd_kafka_assign(rk, assigned ? list : NULL);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        rt_log(RT_LOG_WARN, "kafka-in", "partitions are not taken",
               rt_kv_c("group", in->options.group), rt_kv_c("text", rd_kafka_err2str(failed)));
}

/* ---- taking back ---- */

static void take_back(struct rt_intake *in, int64_t wait_ms)
{
    struct rt_list records;
    rt_list_init(&records);
    (void)rt_queue_take(in->returned, &records, wait_ms);
    struct rt_list *node;
    while ((node = rt_list_pop(&records))) {
        struct rt_intake_record *r = RT_CONTAINER(node, struct rt_intake_record, task.link);
        atomic_fetch_sub(&in->in_flight, 1);
        if (r->verdict == RT_INTAKE_DROPPED)
            rt_intake_record_free(in, r);
        else if (r->verdict == RT_INTAKE_REFUSED && in->options.dead_letter[0] != '\0')
            rt_bury_add(&in->bury, r);
        else
            rt_intake_settle(in, r);
    }
}

/* ---- handing over ---- */

/* Once paused, until half of it has gone: fetching begins anew then. */
static bool is_full(struct rt_intake *in)
{
    unsigned part = atomic_load(&in->paused) ? 2 : 1;
    return atomic_load(&in->in_flight) + atomic_load(&in->burying) >= RT_INTAKE_RECORDS / part ||
           atomic_load(&in->bytes) >= RT_INTAKE_BYTES / part;
}

static void set_paused(struct rt_intake *in, bool paused)
{
    if (atomic_load(&in->paused) == paused || in->part_count == 0)
        return;
    rd_kafka_topic_partition_list_t *list = list_parts(in);
    rd_kafka_resp_err_t e =
        paused ? rd_kafka_pause_partitions(in->rk, list) : rd_kafka_resume_partitions(in->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        atomic_store(&in->paused, paused);
}

static void tell_error(struct rt_intake *in, const rd_kafka_message_t *m)
{
    in->fatal |= m->err == RD_KAFKA_RESP_ERR__FATAL;
    rt_log(in->fatal ? RT_LOG_ERROR : RT_LOG_WARN, "kafka-in",
           in->fatal ? "the member of the group has failed, another one follows"
                     : "reading is disturbed",
           rt_kv_c("group", in->options.group),
           rt_kv_c("topic", m->rkt ? rd_kafka_topic_name(m->rkt) : ""),
           rt_kv_i64("partition", m->partition), rt_kv_c("text", rd_kafka_message_errstr(m)));
}

/* False: no memory. Nothing was taken then; the partitions are taken anew, from what was committed. */
static bool take_message(struct rt_intake *in, rd_kafka_message_t *m, struct rt_list *out)
{
    struct rt_intake_part *p =
        m->rkt ? part_of(in, rd_kafka_topic_name(m->rkt), m->partition) : NULL;
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (p)
            rt_offsets_end(&p->offsets, m->offset);
    } else if (m->err) {
        tell_error(in, m);
    } else if (p) {
        struct rt_intake_record *r = make_record(m);
        int code = r ? rt_offsets_add(&p->offsets, m->offset) : RT_ENOMEM;
        if (code == 0) {
            r->lane = (uint32_t)(p - in->parts);
            r->generation = atomic_load(&in->generation);
            atomic_fetch_add(&in->in_flight, 1);
            atomic_fetch_add(&in->bytes, r->task.bytes);
            rt_list_push(out, &r->task.link);
            return true;
        }
        rt_free(r);
        rd_kafka_message_destroy(m);
        return code != RT_ENOMEM;
    }
    rd_kafka_message_destroy(m);
    return true;
}

static void gather(struct rt_intake *in)
{
    struct rt_list records;
    rt_list_init(&records);
    uint32_t before = atomic_load(&in->generation);
    int wait_ms = atomic_load(&in->in_flight) + atomic_load(&in->burying) > 0 ? POLL_MS : IDLE_MS;
    for (size_t i = 0; i < GATHER && !is_full(in); i++, wait_ms = 0) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(in->rk, wait_ms);
        if (!m)
            break;
        if (!take_message(in, m, &records)) {
            in->fatal = true;
            break;
        }
        if (in->fatal || atomic_load(&in->generation) != before)
            break;
    }
    if (!rt_list_empty(&records))
        rt_mailbox_post_all(in->inbox, &records);
}

/* Full: waits for records to come back. For long: pauses, and stays a member by polling. */
static void hold(struct rt_intake *in)
{
    uint64_t now = rt_mono_ms();
    if (in->full_since == 0)
        in->full_since = now;
    take_back(in, POLL_MS);
    if (now - in->full_since < PAUSE_AFTER_MS)
        return;
    set_paused(in, true);
    struct rt_list records;
    rt_list_init(&records);
    rd_kafka_message_t *m = rd_kafka_consumer_poll(in->rk, 0);
    if (m && !take_message(in, m, &records))
        in->fatal = true;
    if (!rt_list_empty(&records))
        rt_mailbox_post_all(in->inbox, &records);
}

static void measure(struct rt_intake *in)
{
    uint64_t now = rt_mono_ms(), lag = 0;
    if (now < in->lag_at)
        return;
    in->lag_at = now + LAG_MS;
    for (size_t i = 0; i < in->part_count; i++) {
        const struct rt_intake_part *p = &in->parts[i];
        int64_t low = -1, high = -1;
        if (p->offsets.next >= 0 &&
            rd_kafka_get_watermark_offsets(in->rk, p->topic, p->partition, &low, &high) ==
                RD_KAFKA_RESP_ERR_NO_ERROR &&
            high > p->offsets.next)
            lag += (uint64_t)(high - p->offsets.next);
    }
    atomic_store(&in->lag, lag);
}

/* ---- the thread ---- */

static int set_own(rd_kafka_conf_t *conf, const char *name, const char *value, struct rt_err *err)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return 0;
    return rt_err_set(err, RT_EINVAL, "%s", text);
}

static int subscribe(struct rt_intake *in, struct rt_err *err)
{
    const struct rt_strings *topics = in->options.topics;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)topics->count);
    for (size_t i = 0; i < topics->count; i++)
        rd_kafka_topic_partition_list_add(list, topics->items[i], RD_KAFKA_PARTITION_UA);
    (void)rd_kafka_poll_set_consumer(in->rk);
    rd_kafka_resp_err_t e = rd_kafka_subscribe(in->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e ? rt_err_set(err, RT_EINVAL, "topics: %s", rd_kafka_err2str(e)) : 0;
}

int rt_intake_open(struct rt_intake *in, bool warn, struct rt_err *err)
{
    const struct rt_intake_options *o = &in->options;
    struct rt_kafka_conf given = {.brokers = o->brokers, .conf = o->conf, .more = o->more};
    rd_kafka_conf_t *conf = NULL;
    char text[256] = "";
    int code = rt_kafka_conf_make(&given, RT_KAFKA_INTAKE, warn, &conf, err);
    if (code < 0)
        return code;
    code = set_own(conf, "group.id", o->group, err);
    if (code == 0)
        code = set_own(conf, "auto.offset.reset", o->from_latest ? "latest" : "earliest", err);
    if (code < 0) {
        rd_kafka_conf_destroy(conf);
        return code;
    }
    rd_kafka_conf_set_opaque(conf, in);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_committed);
    in->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!in->rk) {
        rd_kafka_conf_destroy(conf);
        return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
    }
    return subscribe(in, err);
}

static void serve(struct rt_intake *in)
{
    while (!in->fatal && !atomic_load(&in->stopping)) {
        in->fatal |= atomic_exchange(&in->rejoin, false);
        take_back(in, 0);
        rt_bury_turn(&in->bury);
        commit(in);
        measure(in);
        if (is_full(in)) {
            hold(in);
            continue;
        }
        in->full_since = 0;
        set_paused(in, false);
        gather(in);
    }
}

/* The loop gives back what it has; dead letters get some time. */
static void await_records(struct rt_intake *in)
{
    uint64_t deadline = 0;
    for (;;) {
        take_back(in, POLL_MS);
        rt_bury_turn(&in->bury);
        if (atomic_load(&in->in_flight) > 0)
            continue;
        if (deadline == 0)
            deadline = rt_mono_ms() + CLOSE_MS;
        if (rt_bury_idle(&in->bury) || rt_mono_ms() >= deadline)
            return;
    }
}

static void leave(struct rt_intake *in)
{
    uint64_t deadline = rt_mono_ms() + CLOSE_MS;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(in->rk);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(in->rk, queue);
    if (error)
        rd_kafka_error_destroy(error);
    else
        while (!rd_kafka_consumer_closed(in->rk) && rt_mono_ms() < deadline) {
            rd_kafka_event_t *event = rd_kafka_queue_poll(queue, POLL_MS);
            if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
                (void)rd_kafka_assign(in->rk, NULL);
            if (event)
                rd_kafka_event_destroy(event);
        }
    rd_kafka_queue_destroy(queue);
}

static void shut(struct rt_intake *in)
{
    if (in->fatal && !atomic_load(&in->stopping))
        forget_parts(in);
    await_records(in);
    rt_bury_close(&in->bury);
    if (in->part_count > 0)
        commit_last(in);
    forget_parts(in);
    leave(in);
    rd_kafka_destroy_flags(in->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    in->rk = NULL;
}

/* When a member that replaces one may be opened. */
static uint64_t next_open(struct rt_intake *in)
{
    uint64_t wait = in->reopen_ms > 0 ? in->reopen_ms : REOPEN_MIN_MS;
    in->reopen_ms = wait * 2 < REOPEN_MAX_MS ? wait * 2 : REOPEN_MAX_MS;
    return rt_mono_ms() + wait;
}

static bool reopen(struct rt_intake *in)
{
    uint64_t at = next_open(in);
    struct rt_err err = {0};
    while (!atomic_load(&in->stopping)) {
        if (rt_mono_ms() < at) {
            (void)poll(NULL, 0, IDLE_MS);
            continue;
        }
        if (rt_intake_open(in, false, &err) == 0) {
            in->fatal = false;
            return true;
        }
        rt_log(RT_LOG_ERROR, "kafka-in", "no new member of the group: tries again",
               rt_kv_c("group", in->options.group), rt_kv_c("text", err.text));
        if (in->rk)
            rd_kafka_destroy(in->rk);
        in->rk = NULL;
        at = next_open(in);
    }
    return false;
}

void rt_intake_run(void *intake)
{
    struct rt_intake *in = intake;
    do {
        serve(in);
        shut(in);
    } while (!atomic_load(&in->stopping) && reopen(in));
    atomic_store(&in->ended, true);
    rt_waker_wake(in->waker);
}
