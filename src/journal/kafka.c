/* The loop's side of the Kafka journal: appends and their reports, outages, the change of producers, closing. What comes out of the log is in kafka_order.c.
 *
 * Closing, in this order: the producer flushes on a helper thread while reports are polled here, and is destroyed; the tail ends, its thread is
 * joined; then closed(). */
#include "journal/kafka.h"

#include <assert.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_internal.h"

#define OUTAGE_NS      5000000000u
#define HELD_NS        5000000000u /* for the tail to bring what is stored */
#define LAST_HELD_NS   2000000000u /* the same while closing */
#define TICK_MS        200u
#define REPORTS_A_TURN 10000u
#define CLOSE_MS       10000u
#define RENEW_MS       5000u /* for what a producer has that is replaced without need */
#define FREE_TRIES     500   /* of 10 ms */
#define BARE_RECORDS   64u   /* of this node that do not tell the ticks, at most */

/* ---- records in flight -------------------------------------------------------------------------------------- */

static struct rt_str id_of(const void *value)
{
    const struct rt_append *a = value;
    return rt_str_of(a->message->m.id, sizeof(a->message->m.id));
}

static struct rt_append *oldest(const struct rt_kafka *k)
{
    return rt_list_empty(&k->in_flight)
               ? NULL
               : RT_CONTAINER(k->in_flight.next, struct rt_append, task.link);
}

static size_t cost_of(const struct rt_append *append)
{
    return sizeof(*append) + append->message->size + append->channel_name.len;
}

static void put_in_flight(struct rt_kafka *k, struct rt_append *a)
{
    a->failures = k->marks.failures;
    a->handed_in = rt_mono_ns();
    rt_list_init(&a->task.link);
    rt_list_push(&k->in_flight, &a->task.link);
    k->records++;
    k->bytes += a->task.bytes;
    if (k->bytes >= k->max_bytes / 10 * 8 || k->records >= k->max_records / 10 * 8)
        k->congested = true;
}

static void unindex(struct rt_kafka *k, struct rt_append *a)
{
    if (rt_map_get(&k->by_id, id_of(a)) == a)
        rt_map_remove(&k->by_id, id_of(a));
}

static void relieve(struct rt_kafka *k)
{
    if (!k->congested || k->bytes >= k->max_bytes / 2 || k->records >= k->max_records / 2)
        return;
    k->congested = false;
    if (k->options.journal.relieved && !k->closing)
        k->options.journal.relieved(k->options.journal.arg);
}

/* ---- health ------------------------------------------------------------------------------------------------- */

static void set_text(struct rt_kafka *k, const char *text)
{
    snprintf(k->text, sizeof(k->text), "%s", text);
}

static bool able(const struct rt_kafka *k)
{
    return k->ready && k->unnamed == 0 && k->stuck == 0 && !k->down && !k->fatal && k->producer &&
           !k->closing && rt_view_state(&k->view, rt_mono_ms()) == RT_VIEW_CONFIRMED;
}

static const char reading_text[] = "the log is still being read";
static const char another_text[] =
    "the log cannot be read, or is another one: it is being looked at";

static bool kafka_healthy(const struct rt_journal *j, const char **ret_text)
{
    struct rt_kafka *k = rt_kafka_of(j);
    bool is_able = able(k);
    if (!ret_text)
        return is_able;
    const char *view = k->text[0] || is_able ? NULL : rt_kafka_view_refusal(k);
    *ret_text = k->text[0] || is_able ? k->text
                : view                ? view
                : k->stuck > 0        ? rt_kafka_stuck_text(k)
                : k->ready            ? another_text
                                      : reading_text;
    return is_able;
}

static void go_down(struct rt_kafka *k)
{
    if (k->down)
        return;
    k->down = true;
    if (!k->text[0])
        set_text(k, "Kafka does not answer");
    rt_log(RT_LOG_ERROR, "kafka", "nothing was stored for 5 s: publishes get \"retry\"",
           rt_kv_u64("waiting", k->records), rt_kv_c("text", k->text));
}

/* Something was stored. */
static void come_up(struct rt_kafka *k)
{
    k->suspect = false;
    const struct rt_append *a = oldest(k);
    if (a && rt_mono_ns() - a->handed_in > OUTAGE_NS)
        return; /* of another partition, which is still stuck */
    if (!k->fatal)
        k->text[0] = '\0';
    if (k->down)
        rt_log(RT_LOG_INFO, "kafka", "storing works again");
    k->down = false;
}

static void check_age(struct rt_kafka *k)
{
    uint64_t now = rt_mono_ns();
    const struct rt_append *a = oldest(k);
    if ((a && now - a->handed_in > OUTAGE_NS) || (k->probe_at && now - k->probe_at > OUTAGE_NS))
        go_down(k);
    if ((k->down || k->suspect) && !a && k->probe_at == 0 && k->producer && !k->fatal &&
        rt_view_state(&k->view, now / 1000000) != RT_VIEW_CHANGED) {
        uint32_t partition = (uint32_t)(now % k->partitions);
        if (k->parts[partition].named && rt_kafka_append_confirmation(k, partition, true) == 0)
            k->probe_at = now;
    }
}

/* ---- appending ---------------------------------------------------------------------------------------------- */

static bool can_produce(const struct rt_kafka *k)
{
    return k->producer && !k->fatal && !k->renewing;
}

/* Why nothing can be appended now; NULL: it can. */
static const char *refusal(struct rt_kafka *k, const struct rt_kafka_part *part, size_t cost)
{
    const char *view = rt_kafka_view_refusal(k);
    if (!k->ready)
        return view ? view : reading_text;
    if (!can_produce(k))
        return "Kafka's producer is being replaced";
    if (k->down)
        return k->text[0] ? k->text : "Kafka does not answer";
    if (view)
        return view;
    if (!part->named)
        return another_text;
    if (k->records > 0 && (k->bytes + cost > k->max_bytes || k->records >= k->max_records))
        return "too much is waiting to be stored: slow down";
    return NULL;
}

void rt_kafka_set_position(struct rt_position *position, const struct rt_kafka_part *part,
                           uint64_t offset)
{
    _Static_assert(sizeof(position->epoch) >= sizeof(part->epoch), "an epoch fits");
    memcpy(position->epoch, part->epoch, sizeof(part->epoch));
    position->offset = offset;
}
static int answer_duplicate(struct rt_kafka *k, const struct rt_kafka_part *part,
                            struct rt_append *a, uint64_t first)
{
    a->status = RT_OK;
    a->duplicate = true;
    rt_kafka_set_position(&a->position, part, first);
    rt_journal_meter_count(&k->meter, a);
    return RT_OK;
}

/* Who begins to read looks for the ticks in the newest records: those with a key tell them, and of the others enough. */
static bool tells_ticks(struct rt_kafka_part *part, const struct rt_message *m)
{
    if (part->dedupe.ticks.at[0] == 0 || (!m->key.ptr && ++part->bare < BARE_RECORDS))
        return false;
    part->bare = 0;
    return true;
}

static int produce(struct rt_kafka *k, uint32_t partition, struct rt_append *a, struct rt_err *err)
{
    struct rt_record_header headers[RT_RECORD_HEADERS];
    char evidence[RT_EVIDENCE_TEXT + 1], ticks[RT_TICKS_TEXT + 1];
    struct rt_kafka_part *part = &k->parts[partition];
    const struct rt_message *m = &a->message->m;
    size_t count = rt_record_headers(m, &k->scratch, headers);
    if (count == 0)
        return rt_err_nomem(err);
    size_t len = rt_epoch_evidence(&part->name, part->tailed, false, evidence);
    headers[count++] = (struct rt_record_header){RT_HEADER_EPOCH, rt_str_of(evidence, len)};
    if (tells_ticks(part, m)) {
        len = rt_ticks_write(&part->dedupe.ticks, ticks);
        headers[count++] = (struct rt_record_header){RT_HEADER_TICKS, rt_str_of(ticks, len)};
    }
    const struct rt_produce record = {.partition = partition,
                                      .key = a->channel_name,
                                      .value = m->data,
                                      .headers = headers,
                                      .header_count = count,
                                      .time = m->time,
                                      .opaque = a};
    return rt_producer_produce(k->producer, &record, err);
}

static int kafka_append(struct rt_journal *j, struct rt_append *a)
{
    struct rt_kafka *k = rt_kafka_of(j);
    uint32_t partition = rt_partition_of(a->channel_name, k->partitions);
    const struct rt_kafka_part *part = &k->parts[partition];
    struct rt_err err = {0};
    uint64_t first;
    a->task.bytes = cost_of(a);
    if (k->closing)
        return rt_journal_refuse(&k->meter, a, RT_ECLOSED, "the broker is shutting down");
    const char *why = refusal(k, part, a->task.bytes);
    if (why)
        return rt_journal_refuse(&k->meter, a, RT_EAGAIN, why);
    if (rt_dedupe_find(&part->dedupe, a->channel_name, &a->message->m, &first))
        return answer_duplicate(k, part, a, first);
    if ((why = rt_kafka_keys_refusal(k, part, &a->message->m)))
        return rt_journal_refuse(&k->meter, a, RT_EAGAIN, why);
    int indexed = rt_map_put(&k->by_id, a);
    int code = indexed == RT_ENOMEM ? rt_err_nomem(&err) : produce(k, partition, a, &err);
    if (code < 0) {
        if (indexed == 0)
            rt_map_remove(&k->by_id, id_of(a));
        if (code == RT_ERANGE)
            rt_kafka_tell_too_large(k, a);
        return rt_journal_refuse(&k->meter, a, code == RT_ERANGE ? code : RT_EAGAIN, err.text);
    }
    put_in_flight(k, a);
    return RT_PENDING;
}

int rt_kafka_append_marker(struct rt_kafka *k, const struct rt_kafka_marker *marker)
{
    char evidence[RT_EVIDENCE_TEXT + 1], ticks[RT_TICKS_TEXT + 1];
    if (!can_produce(k) || k->closing)
        return RT_EAGAIN;
    bool begins = strcmp(marker->name->text, k->parts[marker->partition].name.text) != 0;
    size_t len = rt_epoch_evidence(marker->name, marker->known, begins, evidence);
    struct rt_record_header headers[] = {
        {RT_HEADER_MARKER, RT_STR("1")},
        {RT_HEADER_EPOCH, rt_str_of(evidence, len)},
        {marker->tick ? RT_HEADER_TICK : RT_HEADER_TICKS, RT_STR_NONE}};
    if (marker->ticks)
        headers[2].value = rt_str_of(ticks, rt_ticks_write(marker->ticks, ticks));
    const struct rt_produce record = {.partition = marker->partition,
                                      .headers = headers,
                                      .header_count = marker->ticks ? 3 : 2,
                                      .time = rt_wall_ms(),
                                      .opaque = marker->probe ? k : NULL};
    return rt_producer_produce(k->producer, &record, NULL);
}

int rt_kafka_append_confirmation(struct rt_kafka *k, uint32_t partition, bool probe)
{
    const struct rt_kafka_part *part = &k->parts[partition];
    const struct rt_ticks *ticks = &part->dedupe.ticks;
    const struct rt_kafka_marker marker = {.partition = partition,
                                           .name = &part->name,
                                           .known = part->tailed,
                                           .ticks = ticks->at[0] ? ticks : NULL,
                                           .probe = probe};
    return rt_kafka_append_marker(k, &marker);
}

static const char *kafka_delivered(const struct rt_journal *j, uint32_t partition,
                                   uint64_t *ret_offset)
{
    const struct rt_kafka *k = rt_kafka_of(j);
    uint64_t next = rt_sequencer_next(k->sequencer, partition);
    *ret_offset = next > 0 ? next - 1 : 0;
    return rt_journal_kafka_epoch(j, partition);
}

static int kafka_read(struct rt_journal *j, struct rt_read *read)
{
    (void)j;
    read->status = RT_ENOENT;
    snprintf(read->text, sizeof(read->text),
             "the log itself is not read: the store has its history");
    return RT_ENOENT;
}

static bool kafka_position(const struct rt_journal *j, struct rt_str channel,
                           struct rt_position *ret_position)
{
    const struct rt_kafka *k = rt_kafka_of(j);
    uint32_t partition = rt_partition_of(channel, k->partitions);
    uint64_t next = rt_sequencer_next(k->sequencer, partition);
    const struct rt_kafka_part *part = &k->parts[partition];
    if (part->epoch[0] == '\0' || next == 0)
        return false;
    rt_kafka_set_position(ret_position, part, next - 1);
    return true;
}

static bool kafka_congested(const struct rt_journal *j)
{
    return rt_kafka_of(j)->congested;
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

static void fail(struct rt_append *a, int status, const char *text)
{
    a->status = status;
    a->position = (struct rt_position){.offset = 0};
    snprintf(a->text, sizeof(a->text), "%s", text);
}

/* An append was stored; `position` 0: the report does not say where. True: its position is known now. Otherwise the tail will tell: whether a key repeats another one shows once
 * everything before it has come. That is soon, and the others wait for nothing. */
static bool find_position(struct rt_kafka *k, struct rt_append *a, uint64_t position)
{
    uint32_t partition = rt_partition_of(a->channel_name, k->partitions);
    const struct rt_kafka_part *part = &k->parts[partition];
    /* A position that the tail has brought already, with another record: the log has been cut or made anew. The tail has to find out first by which name
     * positions go now. */
    bool other = position <= part->tailed && a->message->m.offset != position;
    bool sure = position > 0 && part->named && !other;
    if (sure)
        rt_kafka_own_record(k, a, position);
    if (a->position.offset > 0)
        return true; /* it was delivered */
    if (!sure || a->message->m.key.ptr)
        return false;
    rt_kafka_set_position(&a->position, part, position);
    return true;
}

static void answer(struct rt_kafka *k, struct rt_append *a)
{
    const char *why;
    int verdict = a->status == RT_OK ? rt_kafka_view_verdict(k, a, &why) : RT_OK;
    if (verdict == RT_EAGAIN) {
        rt_list_push(&k->unsure, &a->task.link);
        return;
    }
    if (verdict == RT_EUNKNOWN)
        fail(a, verdict, why);
    unindex(k, a);
    k->records--;
    k->bytes -= a->task.bytes;
    rt_journal_meter_count(&k->meter, a);
    a->done(a);
}

static void answer_resolved(struct rt_kafka *k)
{
    for (struct rt_list *node = rt_list_pop(&k->resolved); node; node = rt_list_pop(&k->resolved))
        answer(k, RT_CONTAINER(node, struct rt_append, task.link));
}

/* Those for which nothing came in time. */
static void give_up_held(struct rt_kafka *k, uint64_t age_ns)
{
    uint64_t now = rt_mono_ns();
    while (!rt_list_empty(&k->held)) {
        struct rt_append *a = RT_CONTAINER(k->held.next, struct rt_append, task.link);
        if (now - a->handed_in < age_ns)
            break;
        rt_list_remove(&a->task.link);
        fail(a, RT_EUNKNOWN, "stored, but the log was not read back in time to tell its position");
        answer(k, a);
    }
}

static void hold(struct rt_kafka *k, struct rt_append *a)
{
    a->handed_in = rt_mono_ns();
    rt_list_push(&k->held, &a->task.link);
}

void rt_kafka_answer_unsure(struct rt_kafka *k)
{
    struct rt_list waiting;
    rt_list_init(&waiting);
    rt_list_splice(&waiting, &k->unsure);
    for (struct rt_list *node = rt_list_pop(&waiting); node; node = rt_list_pop(&waiting))
        answer(k, RT_CONTAINER(node, struct rt_append, task.link));
}

static void settle(struct rt_kafka *k, struct rt_append *a, const struct rt_report *r)
{
    bool known = true;
    rt_list_remove(&a->task.link);
    rt_metrics_observe(&k->produce, (double)(rt_mono_ns() - a->handed_in) / 1e9);
    if (r->status == RT_OK && a->handed_in < k->view.began * 1000000) {
        a->status = RT_OK; /* of a former view: answer() tells */
        come_up(k);
    } else if (r->status == RT_OK) {
        known = find_position(
            k, a, r->position); /* while it is indexed: the tail's copy gives way to it */
        a->status = RT_OK;      /* not before: in what is delivered this means that it is held */
        come_up(k);
    } else if (r->status == RT_ERANGE) {
        fail(a, r->status, r->text); /* for good: those behind it in its channel are in order */
        rt_kafka_tell_too_large(k, a);
    } else {
        fail(a, r->status, r->text);
        rt_marks_add(&k->marks, a->channel_name);
        k->refused += r->batch_too_large ? a->task.bytes : 0;
    }
    if (r->status == RT_OK && rt_marks_hit(&k->marks, a->channel_name, a->failures)) {
        fail(a, RT_EUNKNOWN, "stored, but a message of the channel before it was not");
        known = true;
    }
    const struct rt_append *next = oldest(k);
    rt_marks_settle(&k->marks, next ? next->failures : k->marks.failures);
    if (known)
        answer(k, a);
    else
        hold(k, a);
}

static void on_report(void *arg, const struct rt_report *r)
{
    struct rt_kafka *k = arg;
    if (r->opaque && r->opaque != k) {
        settle(k, r->opaque, r);
        return;
    }
    if (r->opaque == k)
        k->probe_at = 0;
    if (r->status == RT_OK)
        come_up(k);
}

static void on_error(void *arg, const char *text, bool fatal)
{
    struct rt_kafka *k = arg;
    k->suspect = true;
    set_text(k, text);
    if (fatal && !k->fatal) {
        k->fatal = true;
        rt_log(RT_LOG_ERROR, "kafka", "the producer has failed and is replaced",
               rt_kv_c("text", text));
    }
}

/* True: there is more. */
static bool poll_reports(struct rt_kafka *k)
{
    const struct rt_producer_events events = {on_report, on_error, k};
    return k->producer && rt_producer_poll(k->producer, &events, REPORTS_A_TURN);
}

/* What has no report after all: it may be stored. */
static void give_up_in_flight(struct rt_kafka *k)
{
    const struct rt_report r = {.status = RT_EUNKNOWN,
                                .text = "the producer ended without a report"};
    for (struct rt_append *a = oldest(k); a; a = oldest(k))
        settle(k, a, &r);
    k->probe_at = 0;
}

/* ---- changing the producer ---------------------------------------------------------------------------------- */

static void start_retiring(struct rt_kafka *k, uint32_t flush_ms, bool another)
{
    const struct rt_retire_options options = {.old = k->producer,
                                              .flush_ms = flush_ms,
                                              .next = another ? &k->producer_options : NULL,
                                              .wake = rt_waker_wake,
                                              .arg = k->waker};
    struct rt_err err = {0};
    k->released = false;
    if (rt_retire_start(&options, &k->retire, &err) < 0)
        rt_log(RT_LOG_ERROR, "kafka", "cannot replace the producer now", rt_kv_c("text", err.text));
}

static void release_old(struct rt_kafka *k)
{
    while (poll_reports(k))
        ;
    rt_producer_detach(k->producer);
    k->producer = NULL;
    k->released = true;
    give_up_in_flight(k);
    rt_retire_release(k->retire);
}

static void take_made(struct rt_kafka *k)
{
    struct rt_producer *made = rt_retire_take(k->retire);
    if (!made)
        return;
    k->producer = made;
    k->fatal = k->renewing = false;
    k->text[0] = '\0';
    k->restarts.value++;
    rt_log(RT_LOG_INFO, "kafka", "another producer has taken over");
}

/* Looks how far the helper thread is. */
static void go_on_retiring(struct rt_kafka *k)
{
    enum rt_retire_stage stage = rt_retire_stage(k->retire);
    if (stage >= RT_RETIRE_DRAINED && !k->released)
        release_old(k);
    if (stage >= RT_RETIRE_MADE)
        take_made(k);
    if (stage == RT_RETIRE_ENDED) {
        rt_retire_free(k->retire);
        k->retire = NULL;
    }
}

/* ---- the loop's turns --------------------------------------------------------------------------------------- */

static void finish_tail(struct rt_kafka *k)
{
    rt_kafka_take_batches(k);
    if (k->tail_thread)
        rt_thread_join(k->tail_thread);
    k->tail_thread = NULL;
    rt_kafka_take_batches(k);
    rt_kafka_drop_batches(k);
}

/* The next step of closing. */
static void go_on_closing(struct rt_kafka *k)
{
    if (k->retire)
        return;
    if (k->producer) {
        start_retiring(k, k->options.close_timeout ? k->options.close_timeout : CLOSE_MS, false);
        return;
    }
    if (!rt_list_empty(&k->held))
        return; /* the tail tells, or their time is over */
    rt_kafka_answer_unsure(k);
    if (k->count && !rt_count_ended(k->count)) {
        rt_count_stop(k->count); /* it uses the tail's handle */
        return;
    }
    rt_count_free(k->count);
    k->count = NULL;
    rt_tail_stop(k->tail);
    if (!atomic_load(&k->tail_ended))
        return;
    finish_tail(k);
    rt_timer_stop(k->loop, &k->tick);
    rt_waker_close(k->waker);
    k->waker = NULL;
    if (k->closed)
        k->closed(k->closed_arg); /* last: it may free the journal */
}

static void on_wake(void *arg)
{
    struct rt_kafka *k = arg;
    if (poll_reports(k))
        rt_waker_wake(k->waker);
    rt_kafka_take_batches(k);
    answer_resolved(k);
    relieve(k);
    if (k->refused > 0 && can_produce(k) && !k->retire)
        rt_kafka_shrink_batches(k);
    if (k->retire)
        go_on_retiring(k);
    else if ((k->fatal || k->renewing) && !k->closing)
        start_retiring(k, k->fatal ? 0 : RENEW_MS, true);
    k->meter.up.value = able(k);
    if (k->closing)
        go_on_closing(k);
}

static void on_tick(struct rt_timer *timer)
{
    struct rt_kafka *k = RT_CONTAINER(timer, struct rt_kafka, tick);
    rt_timer_start(k->loop, &k->tick, TICK_MS, on_tick);
    check_age(k);
    give_up_held(k, k->closing ? LAST_HELD_NS : HELD_NS);
    rt_kafka_view_tick(k);
    rt_kafka_order_tick(k);
    rt_kafka_misplaced_tick(k);
    on_wake(k); /* last: it may close */
}

static void on_tail_ended(void *arg)
{
    struct rt_kafka *k = arg;
    void *waker = k->waker;
    rt_waker_wake(
        waker); /* before: once the loop has seen the end, it joins the thread and closes the waker */
    atomic_store(&k->tail_ended, true);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void kafka_close(struct rt_journal *j, void (*closed)(void *arg), void *arg)
{
    struct rt_kafka *k = rt_kafka_of(j);
    if (k->closing)
        return;
    k->closing = true;
    k->closed = closed;
    k->closed_arg = arg;
    if (k->retire)
        rt_retire_cancel(k->retire);
    rt_waker_wake(k->waker);
}

/* Without rt_journal_close() before: waits for the threads here. */
static void stop_now(struct rt_kafka *k)
{
    k->closing = true;
    if (k->producer && !k->retire)
        start_retiring(k, 0, false);
    if (k->retire)
        rt_retire_cancel(k->retire);
    for (int i = 0; k->retire && i < FREE_TRIES && rt_retire_stage(k->retire) < RT_RETIRE_DRAINED;
         i++) {
        while (poll_reports(k))
            ;
        (void)poll(NULL, 0, 10);
    }
    if (k->retire && !k->released)
        release_old(k);
    rt_retire_free(k->retire);
    k->retire = NULL;
    if (k->producer)
        rt_producer_free(k->producer);
    k->producer = NULL;
    give_up_in_flight(k);
    rt_count_free(k->count);
    k->count = NULL;
    if (k->tail)
        rt_tail_stop(k->tail);
    if (k->tail_thread)
        finish_tail(k);
    answer_resolved(k);
    give_up_held(k, 0);
    rt_kafka_answer_unsure(k);
}

static void kafka_free(struct rt_journal *j)
{
    struct rt_kafka *k = rt_kafka_of(j);
    stop_now(k);
    if (k->tick.active)
        rt_timer_stop(k->loop, &k->tick);
    if (k->waker)
        rt_waker_close(k->waker);
    rt_tail_free(k->tail);
    if (k->batches)
        rt_mailbox_free(k->batches);
    rt_kafka_misplaced_deinit(k);
    rt_kafka_order_deinit(k);
    rt_marks_deinit(&k->marks);
    rt_map_deinit(&k->by_id);
    rt_buf_deinit(&k->scratch);
    rt_free(k);
}

static void init(struct rt_kafka *k, const struct rt_kafka_options *options)
{
    k->options = *options;
    k->loop = options->journal.loop;
    rt_list_init(&k->in_flight);
    rt_list_init(&k->held);
    rt_list_init(&k->resolved);
    rt_list_init(&k->unsure);
    rt_list_init(&k->misplaced_list);
    rt_list_init(&k->taken);
    rt_map_init(&k->by_id, id_of);
    rt_marks_init(&k->marks);
    atomic_init(&k->tail_ended, false);
}

static int open_producer(struct rt_kafka *k, struct rt_err *err)
{
    const struct rt_kafka_options *o = &k->options;
    k->producer_options = (struct rt_producer_options){
        .conf = {.brokers = o->brokers, .conf = o->conf, .queue_bytes = o->journal.queue_bytes},
        .topic = o->topic,
        .warn = true,
        .batch_bytes = (size_t)o->found.max_batch,
        .wake = rt_waker_wake,
        .arg = k->waker,
    };
    int code = rt_producer_new(&k->producer_options, &k->producer, err);
    if (code < 0)
        return code;
    k->producer_options.warn = false;
    k->max_bytes = rt_producer_max_bytes(k->producer);
    k->max_records = rt_producer_max_records(k->producer);
    k->partitions = o->found.partitions;
    rt_view_init(&k->view, k->partitions, o->found.asked_at, rt_mono_ms());
    return 0;
}

static int open_count(struct rt_kafka *k, struct rt_err *err)
{
    const struct rt_count_options options = {.rk = rt_tail_handle(k->tail),
                                             .topic = k->options.topic,
                                             .wake = rt_waker_wake,
                                             .arg = k->waker};
    return rt_count_new(&options, &k->count, err);
}

static int open_tail(struct rt_kafka *k, struct rt_err *err)
{
    const struct rt_kafka_options *o = &k->options;
    const struct rt_tail_options options = {
        .conf = {.brokers = o->brokers, .conf = o->conf},
        .topic = o->topic,
        .partitions = k->partitions,
        .warm = o->warm,
        .window = o->journal.idempotency_window,
        .batches = k->batches,
        .ended = on_tail_ended,
        .arg = k,
    };
    int code = rt_tail_new(&options, &k->tail, err);
    if (code == 0)
        code = rt_thread_start("kafka-tail", rt_tail_run, k->tail, &k->tail_thread, err);
    return code;
}

static int open_all(struct rt_kafka *k, struct rt_err *err)
{
    int code = rt_waker_new(k->loop, on_wake, k, &k->waker);
    if (code == 0)
        code = rt_mailbox_new(rt_waker_wake, k->waker, &k->batches);
    if (code < 0)
        return rt_err_set(err, code, "cannot start the journal: %s", rt_err_name(code));
    code = open_producer(k, err);
    if (code == 0 && rt_kafka_order_init(k) < 0)
        code = rt_err_nomem(err);
    if (code == 0)
        code = open_tail(k, err);
    return code == 0 ? open_count(k, err) : code;
}

int rt_journal_kafka(const struct rt_kafka_options *options, struct rt_journal **ret_journal,
                     struct rt_err *err)
{
    static const struct rt_journal_ops ops = {
        .name = "kafka",
        .delivers = true,
        .append = kafka_append,
        .read = kafka_read,
        .position = kafka_position,
        .partitions = rt_journal_kafka_partitions,
        .delivered = kafka_delivered,
        .congested = kafka_congested,
        .healthy = kafka_healthy,
        .close = kafka_close,
        .free = kafka_free,
    };
    struct rt_kafka *k = rt_calloc(1, sizeof(*k));
    if (!k)
        return rt_err_nomem(err);
    k->base.ops = &ops;
    init(k, options);
    int code = open_all(k, err);
    if (code < 0) {
        kafka_free(&k->base);
        return code;
    }
    rt_kafka_init_metrics(k, options->journal.metrics);
    rt_timer_start(k->loop, &k->tick, TICK_MS, on_tick);
    *ret_journal = &k->base;
    return 0;
}

uint32_t rt_journal_kafka_partitions(const struct rt_journal *j)
{
    return rt_kafka_of(j)->partitions;
}

const char *rt_journal_kafka_epoch(const struct rt_journal *j, uint32_t partition)
{
    const struct rt_kafka *k = rt_kafka_of(j);
    return partition < k->partitions ? k->parts[partition].epoch : "";
}

uint64_t rt_journal_kafka_identity(const struct rt_journal *j)
{
    const struct rt_kafka *k = rt_kafka_of(j);
    return k->producer ? rt_producer_log_identity(k->producer) : 0;
}

bool rt_journal_kafka_ready(const struct rt_journal *j)
{
    return rt_kafka_of(j)->ready;
}
