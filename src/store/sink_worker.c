#include "store/sink_worker.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "journal/kafka_message.h"
#include "journal/sequencer.h"
#include "store/schema.h"

#define RENEW_MS        1000u
#define HUNGRY_MS       250u /* between tries to take partitions */
#define CHECK_MS        2000u
#define LOCATE_MS       500u
#define HELD_MS         250u
#define HELD_MOST_MS    8000u
#define HELD_LOG_MS     10000u /* between lines */
#define POLL_MS         100
#define NO_MEMORY_MS    20
#define BACKOFF_MS      100u
#define BACKOFF_MOST_MS 5000u
#define STATEMENT_MS    5000u /* in the server; shorter than the lease */
#define LOCK_MS         2000u
#define ANSWER_MS       7000u
#define TRIES           64u /* partitions tried in one go */

/* ---- trouble ------------------------------------------------------------------------------------------------- */

static void healthy(struct rt_sink_worker *w)
{
    w->failures = 0;
    if (!w->trouble[0])
        return;
    w->trouble[0] = '\0';
    rt_sink_status_health(w->status, true, "");
    rt_log(RT_LOG_INFO, "sink", "PostgreSQL stores again");
}

/* The next try is put off, longer each time. */
static void put_off(struct rt_sink_worker *w, const char *text)
{
    uint32_t most = w->failures < 6 ? BACKOFF_MS << w->failures : BACKOFF_MOST_MS;
    w->retry_at = rt_mono_ms() + most / 2 + rt_random_below(most / 2 + 1);
    w->failures++;
    w->figures.retries++;
    if (strcmp(w->trouble, text) == 0)
        return;
    snprintf(w->trouble, sizeof(w->trouble), "%s", text);
    rt_sink_status_health(w->status, false, w->trouble);
    rt_log(RT_LOG_ERROR, "sink", "nothing can be stored now; it is tried again",
           rt_kv_c("text", text));
}

static void drop_part(struct rt_sink_worker *w, struct rt_sink_part *p)
{
    rt_sink_consumer_stop(w->consumer, p->index);
    rt_sink_batch_drop(&w->batch, p->index);
    rt_sink_part_drop(p);
}

static void disconnect(struct rt_sink_worker *w)
{
    for (uint32_t i = 0; i < w->options.partitions; i++)
        if (w->parts[i].state != RT_SINK_AWAY)
            drop_part(w, &w->parts[i]);
    rt_sink_batch_clear(&w->batch);
    rt_pg_free(w->pg);
    w->pg = w->writer.pg = w->owner.pg = w->loader.pg = NULL;
}

/* After a failed call. True: the connection is gone with all that hung on it. */
static bool trouble(struct rt_sink_worker *w, const struct rt_err *err)
{
    put_off(w, err->text);
    if (rt_pg_usable(w->pg))
        return false;
    disconnect(w);
    return true;
}

/* ---- connecting ---------------------------------------------------------------------------------------------- */

static int prepare(struct rt_sink_worker *w, struct rt_err *err)
{
    w->writer.pg = w->owner.pg = w->loader.pg = w->pg;
    int code = rt_schema_migrate(w->pg, w->options.schema, err);
    if (code == 0)
        code = rt_sink_writer_prepare(&w->writer, err);
    return code < 0 ? code : rt_sink_owner_begin(&w->owner, err);
}

static void connect_now(struct rt_sink_worker *w)
{
    struct rt_err err = {0};
    const struct rt_pg_options options = {.url = w->options.url,
                                          .name = "rtbroker sink",
                                          .statement_timeout = STATEMENT_MS,
                                          .lock_timeout = LOCK_MS,
                                          .stop = &w->abort};
    int code = rt_pg_connect(&options, &w->pg, NULL, &err);
    if (code == 0)
        code = prepare(w, &err);
    if (code < 0) {
        put_off(w, err.text);
        disconnect(w);
        return;
    }
    w->renew_at = 0;
    if (!w->trouble[0])
        rt_sink_status_health(w->status, true, "");
    healthy(w);
}

/* ---- where to read ------------------------------------------------------------------------------------------- */

static void locate_later(struct rt_sink_worker *w, struct rt_sink_part *p, const char *text)
{
    rt_sink_consumer_stop(w->consumer, p->index);
    p->state = RT_SINK_LOCATE;
    p->retry_at = rt_mono_ms() + LOCATE_MS;
    if (text)
        rt_log(RT_LOG_WARN, "sink", "a partition cannot be read now",
               rt_kv_u64("partition", p->index), rt_kv_c("text", text));
}

static void consume(struct rt_sink_worker *w, struct rt_sink_part *p)
{
    if (rt_sink_consumer_start(w->consumer, p->index, (int64_t)p->expected - 1) < 0)
        locate_later(w, p, "the consumer refuses");
}

/* What is in the batch of a partition has to be stored, or forgotten, before it is read from elsewhere. */
static void read_from(struct rt_sink_worker *w, struct rt_sink_part *p, uint64_t position)
{
    rt_sink_part_read(p, position);
    consume(w, p);
}

/* The log in [low, high) is not what was read: a new incarnation begins where they part. */
static int begin_anew(struct rt_sink_worker *w, struct rt_sink_part *p, int64_t low, int64_t high)
{
    struct rt_err err = {0};
    int64_t offset = 0;
    rt_sink_consumer_stop(w->consumer, p->index);
    int code = rt_sink_load_parting(&w->loader, w->consumer, p->index, low, high, &offset, &err);
    if (code < 0) {
        if (!rt_pg_usable(w->pg))
            (void)trouble(w, &err);
        else
            locate_later(w, p, err.text);
        return code;
    }
    rt_log(
        RT_LOG_ERROR, "sink",
        "a partition is not the one it was: what comes is stored in a new epoch, what was stored stays",
        rt_kv_u64("partition", p->index), rt_kv_c("was", p->epoch),
        rt_kv_u64("stored", p->next - 1), rt_kv_i64("from", offset + 1));
    w->figures.epochs++;
    rt_sink_part_name(p, (uint64_t)offset + 1);
    consume(w, p);
    return 0;
}

/* Retention took records before they were read. */
static void skip_lost(struct rt_sink_part *p, int64_t low)
{
    rt_log(RT_LOG_ERROR, "sink",
           "records are gone before they were stored: retention is shorter than the sink's lag",
           rt_kv_u64("partition", p->index), rt_kv_u64("from", p->next), rt_kv_i64("to", low));
    p->purged = (uint64_t)low;
}

static void locate(struct rt_sink_worker *w, struct rt_sink_part *p)
{
    struct rt_err err = {0};
    int64_t low = 0, high = 0;
    int code = rt_sink_consumer_bounds(w->consumer, p->index, &low, &high, &err);
    if (code < 0) {
        locate_later(w, p, err.text);
    } else if (!p->recorded) {
        rt_sink_part_name(p, (uint64_t)low + 1);
        consume(w, p);
    } else if (high < (int64_t)p->next - 1) {
        (void)begin_anew(w, p, low, high);
    } else if (low > (int64_t)p->next - 1) {
        skip_lost(p, low);
        read_from(w, p, (uint64_t)low + 1);
    } else {
        read_from(w, p, p->next);
    }
}

/* Nothing but time makes a difference to who cannot read a record. What is before it has to be stored first: reading begins where that ends. */
static void try_held(struct rt_sink_worker *w, struct rt_sink_part *p, uint64_t now)
{
    if (now < p->retry_at || rt_sink_batch_has(&w->batch, p->index))
        return;
    w->figures.held_tries++;
    p->state = RT_SINK_LOCATE;
}

static void hold(struct rt_sink_worker *w, struct rt_sink_part *p, uint64_t position,
                 const char *text)
{
    uint64_t now = rt_mono_ms();
    rt_sink_consumer_stop(w->consumer, p->index);
    bool first = rt_sink_part_hold(p, position);
    uint64_t wait = p->held_tries < 6 ? HELD_MS << (p->held_tries - 1) : HELD_MOST_MS;
    p->retry_at = now + wait;
    if (!first || (w->held_told_at != 0 && now - w->held_told_at < HELD_LOG_MS))
        return;
    w->held_told_at = now;
    rt_log(
        RT_LOG_ERROR, "sink",
        "a record was written by a newer version of rtbroker: its partition is stored no further "
        "until such a version stores it",
        rt_kv_u64("partition", p->index), rt_kv_u64("offset", position - 1), rt_kv_c("text", text));
}

static void locate_due(struct rt_sink_worker *w)
{
    uint64_t now = rt_mono_ms();
    for (uint32_t i = 0; i < w->options.partitions; i++)
        if (w->parts[i].state == RT_SINK_HELD)
            try_held(w, &w->parts[i], now);
    for (uint32_t i = 0; i < w->options.partitions && w->pg; i++)
        if (w->parts[i].state == RT_SINK_LOCATE && now >= w->parts[i].retry_at &&
            !atomic_load(&w->stopping)) {
            locate(w, &w->parts[i]);
            if (w->parts[i].state == RT_SINK_LOCATE)
                break; /* the others are served meanwhile */
        }
}

/* An end before our position shows in no record. One partition at a time is asked for. */
static void check(struct rt_sink_worker *w)
{
    uint64_t now = rt_mono_ms();
    int64_t low, high;
    if (now < w->check_at)
        return;
    w->check_at = now + CHECK_MS;
    struct rt_sink_part *p = &w->parts[w->checked++ % w->options.partitions];
    if (p->state < RT_SINK_NAMING)
        return;
    int code = rt_sink_consumer_bounds(w->consumer, p->index, &low, &high, NULL);
    if (code == RT_ENOENT || (code == 0 && high < (int64_t)p->expected - 1)) {
        rt_sink_batch_drop(&w->batch, p->index);
        locate_later(w, p, code ? "the topic is not there" : NULL);
    }
}

/* ---- which partitions ---------------------------------------------------------------------------------------- */

static uint32_t count_owned(const struct rt_sink_worker *w)
{
    uint32_t owned = 0;
    for (uint32_t i = 0; i < w->options.partitions; i++)
        owned += w->parts[i].state != RT_SINK_AWAY;
    return owned;
}

static int take(struct rt_sink_worker *w, struct rt_sink_part *p, struct rt_err *err)
{
    int code = rt_sink_owner_take(&w->owner, p->index, err);
    if (code < 0)
        return code;
    code = rt_sink_load(&w->loader, p, err);
    if (code < 0 && rt_pg_usable(w->pg))
        (void)rt_sink_owner_give(&w->owner, p->index, NULL);
    return code;
}

/* Those that are meant for us first. */
static int take_more(struct rt_sink_worker *w, uint32_t owned, struct rt_err *err)
{
    uint32_t tries = 0;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < w->options.partitions; i++) {
            struct rt_sink_part *p = &w->parts[i];
            if (owned >= w->owner.share || tries >= TRIES)
                return 0;
            if (p->state != RT_SINK_AWAY || rt_sink_owner_meant(&w->owner, i) != (round == 0))
                continue;
            int code = take(w, p, err);
            if (code < 0 && code != RT_EAGAIN)
                return code;
            owned += code == 0;
            tries++;
        }
    }
    return 0;
}

/* Its part of the batch is read again by who takes it. */
static int give_back(struct rt_sink_worker *w, uint32_t owned, struct rt_err *err)
{
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = w->options.partitions; i > 0 && owned > w->owner.share; i--) {
            struct rt_sink_part *p = &w->parts[i - 1];
            if (p->state == RT_SINK_AWAY || rt_sink_owner_meant(&w->owner, i - 1) != (round == 1))
                continue;
            drop_part(w, p);
            int code = rt_sink_owner_give(&w->owner, i - 1, err);
            if (code < 0)
                return code;
            owned--;
        }
    }
    return 0;
}

static void post_figures(struct rt_sink_worker *w)
{
    w->figures.owned = count_owned(w);
    w->figures.lag = w->figures.held = 0;
    for (uint32_t i = 0; i < w->options.partitions; i++) {
        const struct rt_sink_part *p = &w->parts[i];
        bool known = p->state >= RT_SINK_NAMING || p->held_at != 0;
        int64_t end = known ? rt_sink_consumer_end(w->consumer, i) : -1;
        w->figures.held += p->held_at != 0;
        if (end >= 0 && (uint64_t)end + 1 > p->next)
            w->figures.lag += (uint64_t)end + 1 - (p->next ? p->next : 1);
    }
    w->figures.rows = w->before.rows + w->writer.rows;
    w->figures.repeats = w->before.repeats + w->writer.repeats;
    w->figures.dead = w->before.dead + w->writer.dead;
    w->figures.batches = w->before.batches + w->writer.batches;
    w->figures.fenced = w->before.fenced + w->owner.fenced;
    rt_sink_status_figures(w->status, &w->figures);
}

/* Our own session that ended without our knowledge shows here too. */
static void renew_due(struct rt_sink_worker *w)
{
    struct rt_err err = {0};
    uint64_t now = rt_mono_ms();
    if (now < w->renew_at)
        return;
    int code = rt_sink_owner_renew(&w->owner, &err);
    uint32_t owned = count_owned(w);
    if (code == 0 && owned < w->owner.share)
        code = take_more(w, owned, &err);
    else if (code == 0 && owned > w->owner.share)
        code = give_back(w, owned, &err);
    if (code < 0 && trouble(w, &err))
        return;
    owned = count_owned(w);
    w->renew_at = rt_mono_ms() + (owned < w->owner.share ? HUNGRY_MS : RENEW_MS);
    post_figures(w);
}

/* ---- storing ------------------------------------------------------------------------------------------------- */

static void give_lost(struct rt_sink_worker *w)
{
    for (uint32_t i = 0; i < w->options.partitions && w->pg; i++) {
        struct rt_err err = {0};
        if (!w->writer.lost[i])
            continue;
        w->writer.lost[i] = false;
        rt_log(RT_LOG_ERROR, "sink", "somebody else has written: the partition is given up",
               rt_kv_u64("partition", i), rt_kv_c("epoch", w->parts[i].stored_epoch),
               rt_kv_u64("next", w->parts[i].next));
        drop_part(w, &w->parts[i]);
        if (rt_sink_owner_give(&w->owner, i, &err) < 0)
            (void)trouble(w, &err);
    }
}

/* False: something is left in the batch, or it is gone. */
static bool flush(struct rt_sink_worker *w)
{
    struct rt_err err = {0};
    uint64_t begin = rt_mono_ns();
    if (w->batch.count == 0)
        return true;
    switch (rt_sink_writer_store(&w->writer, &w->batch, &err)) {
    case RT_SINK_STORED:
        rt_sink_status_flush(w->status, (double)(rt_mono_ns() - begin) / 1e9);
        healthy(w);
        return true;
    case RT_SINK_FENCED:
        give_lost(w);
        return false;
    case RT_SINK_OUTAGE:
    case RT_SINK_GONE:
        (void)trouble(w, &err);
        return false;
    }
    return false;
}

/* Until the batch is stored; false: it is gone. Only while a change of a partition has to wait for it. */
static bool flush_now(struct rt_sink_worker *w)
{
    while (w->pg && !flush(w)) {
        if (w->batch.count == 0)
            return w->pg != NULL;
        if (atomic_load(&w->stopping))
            return false;
        (void)poll(NULL, 0, POLL_MS);
        renew_due(w);
    }
    return w->pg != NULL;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* False: the thread has to stop, nothing was done. */
static bool read_message(struct rt_sink_worker *w, const rd_kafka_message_t *record,
                         const struct rt_kafka_headers *h, struct rt_stored **ret_message,
                         int *ret_code, struct rt_err *err)
{
    for (;;) {
        *ret_code = rt_kafka_message_read(record, h, ret_message, err);
        if (*ret_code != RT_ENOMEM)
            return true;
        if (atomic_load(&w->stopping))
            return false;
        (void)poll(NULL, 0, NO_MEMORY_MS);
    }
}

/* Where the channel's order is. A name that does not say its number of partitions does not tell. */
static uint32_t home_of(const struct rt_sink_part *p, struct rt_str channel)
{
    uint32_t partitions = p->fold.name.partitions;
    return partitions > 0 ? rt_partition_of(channel, partitions) : p->index;
}

/* As read_message(). */
static bool look_for_key(struct rt_sink_worker *w, struct rt_sink_part *p, struct rt_str channel,
                         const struct rt_message *m, uint64_t *ret_first)
{
    while (rt_dedupe_record(&p->dedupe, channel, m, ret_first) < 0) {
        if (atomic_load(&w->stopping))
            return false;
        (void)poll(NULL, 0, NO_MEMORY_MS);
    }
    return true;
}

static void read_tick(struct rt_sink_part *p, uint64_t position, const struct rt_kafka_headers *h)
{
    struct rt_ticks known;
    struct rt_str tick = rt_record_header(h->items, h->count, RT_HEADER_TICK);
    if (rt_ticks_read(tick, position, &known))
        (void)rt_dedupe_tick(&p->dedupe, &known, position);
}

/* Of a record that can be read: 0, RT_EINVAL when it has no place here, RT_ECLOSED when the thread has to stop. */
static int look_at_message(struct rt_sink_worker *w, struct rt_sink_part *p, struct rt_str channel,
                           const struct rt_message *m, uint64_t *ret_first, struct rt_err *err)
{
    uint32_t home = home_of(p, channel);
    if (home != p->index)
        return rt_err_set(err, RT_EINVAL,
                          "it is in partition %u, its channel's is %u: nodes append it there",
                          p->index, home);
    return look_for_key(w, p, channel, m, ret_first) ? 0 : RT_ECLOSED;
}

/* The record counts as read; it becomes an entry. */
static void add_record(struct rt_sink_worker *w, struct rt_sink_part *p, rd_kafka_message_t *record,
                       const struct rt_kafka_headers *h)
{
    struct rt_err err = {0};
    struct rt_stored *message = NULL;
    uint64_t position = (uint64_t)record->offset + 1, first = 0;
    struct rt_str channel = rt_str_of(record->key, record->key_len);
    int code = 0;
    if (!read_message(w, record, h, &message, &code, &err))
        code = RT_ECLOSED;
    if (code == 0)
        code = look_at_message(w, p, channel, &message->m, &first, &err);
    if (code < 0)
        rt_stored_unref(message);
    if (code == RT_ECLOSED || code == RT_ENEWER) {
        rd_kafka_message_destroy(record);
        if (code == RT_ENEWER)
            hold(w, p, position, err.text);
        else
            locate_later(w, p, NULL);
        return;
    }
    if (code == RT_ENOENT)
        read_tick(p, position, h);
    struct rt_sink_entry *e = rt_sink_batch_add(&w->batch, p, position, record);
    if (code == RT_EINVAL)
        rt_sink_entry_dead(e, "", err.text);
    if (code < 0)
        return;
    rt_sink_entry_row(e, message);
    e->first = first;
    if (first && e->kind == RT_SINK_ROW)
        e->kind = RT_SINK_REPEAT;
}

/* There is a name. The row of a new partition is written; of another, the first batch writes it. */
static void found_name(struct rt_sink_worker *w, struct rt_sink_part *p)
{
    struct rt_err err = {0};
    int code = p->recorded ? 0 : rt_sink_load_begin(&w->loader, p, &err);
    if (code == RT_EEXIST) {
        w->writer.lost[p->index] = true;
        give_lost(w);
    } else if (code < 0) {
        if (!trouble(w, &err)) {
            rt_sink_part_load_nothing(p);
            locate_later(w, p, NULL);
        }
    } else {
        consume(w, p);
    }
}

/* The record says that the partition goes by another name, or that the log is another one. */
static bool other_name(struct rt_sink_worker *w, struct rt_sink_part *p, bool broken,
                       uint64_t position)
{
    int64_t low = 0, high = 0, parting = 0;
    struct rt_err err = {0};
    if (!flush_now(w) || p->state != RT_SINK_READING)
        return false;
    int code = rt_sink_consumer_bounds(w->consumer, p->index, &low, &high, &err);
    if (code == 0 && broken)
        return (void)begin_anew(w, p, low, (int64_t)position - 1), false;
    rt_sink_consumer_stop(w->consumer, p->index);
    if (code == 0)
        code = rt_sink_load_parting(&w->loader, w->consumer, p->index, low, (int64_t)position - 1,
                                    &parting, &err);
    if (code < 0) {
        if (!rt_pg_usable(w->pg))
            (void)trouble(w, &err);
        else
            locate_later(w, p, err.text);
        return false;
    }
    if (code > 0) /* messages of another log; markers alone tell nothing */
        return (void)begin_anew(w, p, low, (int64_t)position - 1), false;
    rt_log(RT_LOG_WARN, "sink", "a partition's positions go by another name from here on",
           rt_kv_u64("partition", p->index), rt_kv_c("was", p->epoch),
           rt_kv_c("is", p->changed.name.text));
    w->figures.epochs++;
    rt_sink_part_adopt(p, position);
    consume(w, p);
    return true;
}

static void take_record(struct rt_sink_worker *w, rd_kafka_message_t *record)
{
    struct rt_sink_part *p = &w->parts[record->partition];
    struct rt_kafka_headers h;
    uint64_t position = (uint64_t)record->offset + 1;
    bool reading = p->state == RT_SINK_READING;
    rt_kafka_headers_read(record, &h);
    enum rt_sink_step step = rt_sink_part_look(p, rt_kafka_evidence(&h), position);
    if ((step == RT_SINK_NAMED || step == RT_SINK_BROKEN) &&
        other_name(w, p, step == RT_SINK_BROKEN, position))
        step = RT_SINK_TAKEN;
    if (step == RT_SINK_FOUND)
        found_name(w, p);
    if (step == RT_SINK_TAKEN && reading)
        add_record(w, p, record, &h);
    else
        rd_kafka_message_destroy(record);
}

static void take_news(struct rt_sink_worker *w, const struct rt_sink_news *news)
{
    struct rt_sink_part *p = &w->parts[news->partition];
    switch (news->event) {
    case RT_SINK_RECORD:
        take_record(w, news->record);
        break;
    case RT_SINK_END: /* beyond the last record may be others that a consumer does not see */
        if (p->state == RT_SINK_READING && (uint64_t)news->offset + 1 > p->expected) {
            p->expected = (uint64_t)news->offset + 1;
            (void)rt_sink_batch_add(&w->batch, p, (uint64_t)news->offset, NULL);
        }
        break;
    case RT_SINK_MISPLACED:
        rt_sink_batch_drop(&w->batch, p->index);
        locate_later(w, p, NULL);
        break;
    case RT_SINK_NO_TOPIC:
        rt_sink_batch_drop(&w->batch, p->index);
        locate_later(w, p, news->text);
        break;
    case RT_SINK_SILENCE:
        break;
    }
}

static bool full(const struct rt_sink_batch *b)
{
    return b->count >= b->max || b->bytes >= RT_SINK_BATCH_BYTES;
}

/* Until the batch is full, or has waited for long enough, or nothing comes for a while. */
static void fill(struct rt_sink_worker *w)
{
    uint64_t until = 0;
    while (w->pg && !full(&w->batch) && !atomic_load(&w->stopping)) {
        struct rt_sink_news news;
        uint64_t now = rt_mono_ms();
        if (w->batch.count > 0)
            until = w->batch.opened_at + w->options.batch_linger;
        if (w->batch.count > 0 && now >= until)
            return;
        rt_sink_consumer_next(w->consumer, w->batch.count > 0 ? (int)(until - now) : POLL_MS,
                              &news);
        if (news.event == RT_SINK_SILENCE && w->batch.count == 0)
            return;
        take_news(w, &news);
        if (w->retry_at > now) /* something failed */
            return;
    }
}

/* ---- the partitions that there are ------------------------------------------------------------------------------ */

static int init_parts(struct rt_sink_worker *w)
{
    uint32_t count = w->options.partitions;
    w->parts = rt_calloc(count, sizeof(*w->parts));
    for (uint32_t i = 0; w->parts && i < count; i++)
        rt_sink_part_init(&w->parts[i], i, w->options.idempotency_window, &w->keys);
    return w->parts ? 0 : RT_ENOMEM;
}

static void close_parts(struct rt_sink_worker *w)
{
    rt_sink_batch_deinit(&w->batch);
    rt_sink_consumer_free(w->consumer);
    w->consumer = NULL;
    rt_sink_loader_deinit(&w->loader);
    rt_sink_owner_deinit(&w->owner);
    rt_sink_writer_deinit(&w->writer);
    for (uint32_t i = 0; w->parts && i < w->options.partitions; i++)
        rt_sink_part_deinit(&w->parts[i]);
    rt_free(w->parts);
    w->parts = NULL;
    w->options.partitions = 0;
}

static int open_parts(struct rt_sink_worker *w, uint32_t partitions, struct rt_err *err)
{
    const struct rt_sink_options *o = &w->options;
    const struct rt_sink_consumer_options consumer = {
        .brokers = o->brokers, .topic = o->topic, .conf = o->kafka_conf, .partitions = partitions};
    w->options.partitions = partitions;
    bool ok =
        init_parts(w) == 0 && rt_sink_batch_init(&w->batch, o->batch_rows) == 0 &&
        rt_sink_writer_init(&w->writer, o->schema, o->topic, w->parts, partitions) == 0 &&
        rt_sink_owner_init(&w->owner, o->schema, o->topic, o->node, w->parts, partitions) == 0 &&
        rt_sink_loader_init(&w->loader, o->schema, o->topic) == 0;
    w->writer.timeout = ANSWER_MS;
    int code = ok ? rt_sink_consumer_new(&consumer, &w->consumer, err) : rt_err_nomem(err);
    if (code < 0)
        close_parts(w);
    return code;
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static void give_all_back(struct rt_sink_worker *w)
{
    struct rt_err err = {0};
    if (w->pg)
        (void)flush(w);
    /* The end of the session gives all locks back; the row tells the others at once. */
    for (uint32_t i = 0; i < w->options.partitions && w->pg; i++)
        if (w->parts[i].state != RT_SINK_AWAY && rt_sink_owner_give(&w->owner, i, &err) < 0)
            break;
    if (w->options.partitions > 0)
        post_figures(w);
    disconnect(w);
}

/* The topic has another number of partitions. */
static void begin_again(struct rt_sink_worker *w, uint32_t partitions)
{
    struct rt_err err = {0};
    uint32_t was = w->options.partitions;
    give_all_back(w);
    w->before = w->figures;
    close_parts(w);
    w->failures = 0;
    if (open_parts(w, partitions, &err) < 0)
        put_off(w, err.text);
    else
        rt_log(RT_LOG_INFO, "sink", "the topic has another number of partitions",
               rt_kv_u64("partitions", partitions), rt_kv_u64("was", was));
}

static void turn(struct rt_sink_worker *w)
{
    uint64_t now = rt_mono_ms();
    uint32_t wanted = atomic_load(&w->wanted);
    if (w->options.partitions != wanted && (now >= w->retry_at || w->options.partitions > 0)) {
        begin_again(w, wanted);
        return;
    }
    if (w->pg)
        renew_due(w);
    if (now < w->retry_at) {
        uint64_t left = w->retry_at - now;
        (void)poll(NULL, 0, left < POLL_MS ? (int)left : POLL_MS);
        return;
    }
    if (!w->pg) {
        connect_now(w);
        return;
    }
    if (w->batch.count > 0 && !flush(w)) /* what is left of a failure */
        return;
    locate_due(w);
    check(w);
    fill(w);
    if (w->pg)
        (void)flush(w);
}

static void finish(struct rt_sink_worker *w)
{
    give_all_back(w);
    rt_sink_consumer_free(w->consumer);
    w->consumer = NULL;
}

void rt_sink_worker_run(void *worker)
{
    struct rt_sink_worker *w = worker;
    while (!atomic_load(&w->stopping))
        turn(w);
    finish(w);
    rt_sink_status_ended(w->status);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

int rt_sink_worker_init(struct rt_sink_worker *w, const struct rt_sink_options *options,
                        struct rt_sink_status *status, struct rt_err *err)
{
    memset(w, 0, sizeof(*w));
    w->options = *options;
    w->status = status;
    atomic_init(&w->wanted, options->partitions);
    if (options->batch_rows == 0)
        w->options.batch_rows = 1000;
    if (options->partitions == 0)
        return rt_err_set(err, RT_EINVAL, "the topic has no partitions");
    return open_parts(w, options->partitions, err);
}

void rt_sink_worker_deinit(struct rt_sink_worker *w)
{
    close_parts(w);
}
