#include "journal/kafka_tail.h"

#include <poll.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_message.h"
#include "journal/kafka_stuck.h"

#define POLL_MS      100
#define QUERY_MS     1000
#define RETRY_MS     500
#define CHECK_MS     2000
#define STUCK_MS     250
#define TELL_MS      10000 /* between lines of one kind */
#define WINDOW_SLACK 60000 /* ms by which clocks of nodes may differ */
#define NO_MEMORY_MS 20
#define MESSAGE_COST 256u /* of an entry besides its bytes */

enum state {
    LOCATING, /* not consumed: where does the log begin and end? */
    NAMING,   /* consumed for its evidence only */
    READING,
    LEFT,    /* not consumed: its log goes on in another view, which is not complete */
    RESUMED, /* not consumed: that view has come, it is to be read from `start` */
};

struct part {
    enum state state;
    uint64_t retry_at; /* LOCATING: when to try */
    bool consumed;
    int64_t expected; /* Kafka offset of the next record to look at */
    int64_t end; /* the consumer has seen the end of what it can read here, -1 not since it began */
    int64_t low, high;
    int64_t naming;            /* evidence is looked for from here */
    int64_t start;             /* read from here when the name is the one we had */
    int64_t anew;              /* or from here when it is another */
    int64_t frozen;            /* evidence below belongs to what NAMING has seen */
    bool cut;                  /* the end is before what was read: the old name cannot stay */
    bool overtaken;            /* the beginning is behind what was read: the old name may stay */
    bool asked;                /* for a marker */
    bool caught_up;            /* END was told since START */
    int64_t nudged;            /* UNSURE was told here */
    bool whole;                /* it was added: nothing of it may be passed over */
    bool marked;               /* `start` is not before the marker of this view, if there is one */
    struct rt_epoch_name left; /* LEFT was told with this name; "" not */
    int64_t left_at;           /* and up to this Kafka offset */
    struct rt_epoch_fold fold;
    struct rt_ticks ticks; /* NAMING: the newest that are told of */
    int64_t oldest;        /* NAMING: the lowest time of a record, ms; 0 none was read */
    int64_t since; /* NAMING: the marker of another number, behind which reading begins; 0 none */
    struct rt_epoch_name told; /* what the loop knows */
    uint64_t told_at;          /* position of its last confirmation */
    int64_t read;              /* Kafka offset behind the last record handed over; 0 none */
    int64_t time;              /* of the newest record handed over, ms */
};

struct rt_tail {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    char *name;
    uint32_t partitions, warm;
    _Atomic uint32_t wanted; /* partitions, as the cluster says */
    uint64_t window;
    struct rt_batches out;
    void (*ended)(void *arg);
    void *arg;
    atomic_bool stopping;
    rd_kafka_message_t *kept; /* could not be handed over yet */
    uint64_t unreadable, newer;
    uint64_t unreadable_told_at, newer_told_at; /* monotonic ms */
    struct rt_stuck *stuck;
    uint64_t check_at, stuck_at;
    uint32_t checked; /* partitions, one after another */
    struct part *parts;
};

/* ---- entries --------------------------------------------------------------------------------------------------- */

/* There must be room. */
static struct rt_tail_entry *add_entry(struct rt_tail *t, enum rt_tail_kind kind,
                                       uint32_t partition, int64_t position)
{
    struct rt_tail_entry *e = rt_batches_add(&t->out, kind, partition, position);
    e->name = t->parts[partition].fold.name;
    return e;
}

/* ---- where a partition begins and ends ----------------------------------------------------------------------- */

static void stop_consuming(struct rt_tail *t, uint32_t i)
{
    if (t->parts[i].consumed)
        (void)rd_kafka_consume_stop(t->topic, (int32_t)i);
    t->parts[i].consumed = false;
}

static void relocate(struct rt_tail *t, uint32_t i, uint64_t delay_ms)
{
    struct part *p = &t->parts[i];
    stop_consuming(t, i);
    p->state = LOCATING;
    p->left.text[0] = '\0';
    p->retry_at = rt_mono_ms() + delay_ms;
}

static bool consume(struct rt_tail *t, uint32_t i, int64_t offset)
{
    struct part *p = &t->parts[i];
    stop_consuming(t, i);
    p->expected = offset;
    p->end = -1;
    if (rd_kafka_consume_start_queue(t->topic, (int32_t)i, offset, t->queue) < 0) {
        relocate(t, i, RETRY_MS);
        return false;
    }
    p->consumed = true;
    return true;
}

/* The first offset whose record is not older than `time`; `high` when there is none. */
static bool offset_of_time(struct rt_tail *t, uint32_t i, int64_t time, int64_t high,
                           int64_t *ret_offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, t->name, (int32_t)i)->offset = time;
    rd_kafka_resp_err_t e = rd_kafka_offsets_for_times(t->rk, list, QUERY_MS);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        e = list->elems[0].err;
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        *ret_offset = list->elems[0].offset >= 0 ? list->elems[0].offset : high;
    rd_kafka_topic_partition_list_destroy(list);
    return e == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Where the window of idempotency keys begins. */
static bool find_window(struct rt_tail *t, uint32_t i, int64_t *ret_offset)
{
    const struct part *p = &t->parts[i];
    int64_t now = (int64_t)rt_wall_ms();
    int64_t from = p->oldest > 0 && p->oldest < now ? p->oldest : now;
    int64_t since = from - (int64_t)t->window - WINDOW_SLACK;
    *ret_offset = p->high;
    if (t->window == 0 || p->high <= p->low)
        return true;
    *ret_offset = (int64_t)rt_ticks_oldest(&p->ticks) - 1;
    if (*ret_offset >= 0)
        return true;
    bool found = offset_of_time(t, i, since < 0 ? 0 : since, p->high, ret_offset);
    if (*ret_offset > p->naming) /* these are at hand, whatever clocks say */
        *ret_offset = p->naming;
    return found;
}

/* At start: the last records, and the window. */
static bool plan_start(struct rt_tail *t, uint32_t i)
{
    struct part *p = &t->parts[i];
    int64_t window, low = p->since > p->low ? p->since : p->low;
    if (!find_window(t, i, &window))
        return false;
    int64_t start = p->high - (int64_t)t->warm;
    p->start = p->whole ? low : clamp(start < window ? start : window, low, p->high);
    p->anew = p->start;
    return true;
}

/* Later: where we were; or, in another log, what is newer than what we had. */
static bool plan_again(struct rt_tail *t, uint32_t i)
{
    struct part *p = &t->parts[i];
    int64_t time = p->time - RT_TAIL_SLACK;
    p->start = clamp(p->read, p->low, p->high);
    p->anew = p->high;
    p->cut = p->high < p->read;
    p->overtaken = p->low > p->read;
    if (p->overtaken)
        rt_log(RT_LOG_ERROR, "kafka",
               "records are gone before they were read: retention is shorter "
               "than this node's lag",
               rt_kv_u64("partition", i), rt_kv_i64("from", p->read), rt_kv_i64("to", p->low));
    return p->high <= p->low || offset_of_time(t, i, time < 0 ? 0 : time, p->high, &p->anew);
}

/* False: not now. */
static bool locate(struct rt_tail *t, uint32_t i)
{
    struct part *p = &t->parts[i];
    bool again = p->told.text[0] != '\0';
    rd_kafka_resp_err_t e =
        rd_kafka_query_watermark_offsets(t->rk, t->name, (int32_t)i, &p->low, &p->high, QUERY_MS);
    bool planned = e == RD_KAFKA_RESP_ERR_NO_ERROR && p->low >= 0 && p->high >= p->low &&
                   (!again || plan_again(t, i));
    if (!planned) {
        if (e != RD_KAFKA_RESP_ERR_NO_ERROR)
            rt_log(RT_LOG_WARN, "kafka", "a partition cannot be read now",
                   rt_kv_u64("partition", i), rt_kv_c("text", rd_kafka_err2str(e)));
        p->retry_at = rt_mono_ms() + RETRY_MS;
        return false;
    }
    p->state = NAMING;
    p->naming = p->whole ? p->low : clamp(p->high - RT_TAIL_NAMING, p->low, p->high);
    if (p->fold.name.text[0])
        p->told_at = p->fold.at;
    p->fold = (struct rt_epoch_fold){.whole = p->naming == 0};
    p->ticks = (struct rt_ticks){.at = {0}};
    p->oldest = p->since = 0;
    p->asked = false;
    p->marked = again || p->whole;
    return consume(t, i, p->naming);
}

static void locate_due(struct rt_tail *t)
{
    uint64_t now = rt_mono_ms();
    for (uint32_t i = 0; i < t->partitions && !atomic_load(&t->stopping); i++)
        if (t->parts[i].state == LOCATING && now >= t->parts[i].retry_at && !locate(t, i))
            break; /* the others are being read meanwhile */
}

/* ---- naming ------------------------------------------------------------------------------------------------- */

static bool same_name(const struct rt_epoch_name *a, const struct rt_epoch_name *b)
{
    return strcmp(a->text, b->text) == 0;
}

static void begin_reading(struct rt_tail *t, uint32_t i, int64_t end)
{
    struct part *p = &t->parts[i];
    bool other = !same_name(&p->fold.name, &p->told);
    if (!p->told.text[0] && !plan_start(t, i)) {
        relocate(t, i, RETRY_MS);
        return;
    }
    int64_t from = other ? p->anew : p->start;
    if (other && p->told.text[0] && !p->left.text[0])
        rt_log(RT_LOG_ERROR, "kafka", "a partition is not the one it was: its positions begin anew",
               rt_kv_u64("partition", i), rt_kv_c("was", p->told.text),
               rt_kv_c("is", p->fold.name.text), rt_kv_i64("from", from));
    if (!consume(t, i, from))
        return;
    p->state = READING;
    p->caught_up = false;
    p->frozen = end;
    p->nudged = end;
    p->told = p->fold.name;
    p->read = from;
    p->left.text[0] = '\0';
    p->whole = false;
    (void)add_entry(t, RT_TAIL_START, i, from);
}

/* ---- another number of partitions --------------------------------------------------------------------------- */

static bool is_other_view(const struct rt_tail *t, const struct rt_epoch_name *name)
{
    return name->partitions != 0 && name->partitions != t->partitions;
}

static void tell_left(struct rt_tail *t, uint32_t i, int64_t end)
{
    struct part *p = &t->parts[i];
    if (same_name(&p->left, &p->fold.name) && p->left_at >= end)
        return;
    p->left = p->fold.name;
    p->left_at = end;
    (void)add_entry(t, RT_TAIL_LEFT, i, end - 1);
}

/* The marker at `offset` ends what this view has of the partition. */
static void leave(struct rt_tail *t, uint32_t i, int64_t offset)
{
    struct part *p = &t->parts[i];
    stop_consuming(t, i);
    p->state = LEFT;
    p->start = p->anew = offset;
    p->read = offset + 1;
    tell_left(t, i, offset + 1);
}

/* The number for which all partitions that stay have been left; 0: not all, or not the same. `*ret_held`: all of them at a marker. */
static uint32_t left_for(const struct rt_tail *t, bool *ret_held)
{
    uint32_t count = t->parts[0].left.text[0] ? t->parts[0].left.partitions : 0;
    *ret_held = true;
    for (uint32_t i = 0; i < count && i < t->partitions; i++) {
        const struct part *p = &t->parts[i];
        if (!p->left.text[0] || p->left.partitions != count)
            return 0;
        *ret_held &= p->state == LEFT;
    }
    return count;
}

/* Not all nodes have come to the view for which these were left, and the number has changed again. */
static void follow_on(struct rt_tail *t)
{
    uint32_t wanted = atomic_load(&t->wanted);
    for (uint32_t i = 0; i < t->partitions && i < wanted; i++)
        if (!t->parts[i].left.text[0])
            return;
    for (uint32_t i = 0; i < t->partitions; i++) {
        struct part *p = &t->parts[i];
        if (p->state != LEFT || p->left.partitions == wanted)
            continue;
        p->state = NAMING;
        p->high = p->start + 1;
        p->cut = false;
        (void)consume(t, i, p->start + 1);
    }
}

static void move(struct rt_tail *t, uint32_t count)
{
    if (rt_stuck_reset(t->stuck, count) < 0)
        return; /* the next turn tries again */
    for (uint32_t i = count; i < t->partitions; i++)
        stop_consuming(t, i);
    struct part *parts = rt_reallocarray(t->parts, count, sizeof(*parts));
    if (!parts)
        return;
    t->parts = parts;
    for (uint32_t i = t->partitions; i < count; i++)
        parts[i] = (struct part){.state = LOCATING, .whole = true};
    for (uint32_t i = 0; i < t->partitions && i < count; i++) {
        stop_consuming(t, i);
        parts[i].state = RESUMED;
    }
    t->partitions = count;
    (void)add_entry(t, RT_TAIL_MOVED, 0, 0);
    t->out.batch->entries[t->out.batch->count - 1].partition = count;
}

static void resume(struct rt_tail *t)
{
    for (uint32_t i = 0; i < t->partitions && !rt_batches_full(&t->out); i++)
        if (t->parts[i].state == RESUMED)
            begin_reading(t, i, t->parts[i].start + 1);
}

static void move_due(struct rt_tail *t)
{
    bool held = false;
    uint32_t count = left_for(t, &held);
    if (count != 0 && count != t->partitions && (held || count == atomic_load(&t->wanted)))
        move(t, count);
    else
        follow_on(t);
    resume(t);
}

/* ---- naming, at its end -------------------------------------------------------------------------------------- */

/* The end of what can tell a name. */
static void named_or_asking(struct rt_tail *t, uint32_t i, int64_t end)
{
    struct part *p = &t->parts[i];
    /* The evidence of a log that was cut is from before; it must not be called the same. */
    if (p->cut && p->told.text[0])
        rt_epoch_bar(&p->fold, &p->told);
    /* All evidence may be gone with the records. A log that was made anew begins at 0, so this is the one that was read: nobody needs another name for it. */
    if (p->overtaken && !p->fold.name.text[0]) {
        p->fold.name = p->told;
        p->fold.at = p->told_at;
    }
    if (p->fold.name.text[0] && is_other_view(t, &p->fold.name)) {
        tell_left(t, i, end);
    } else if (p->fold.name.text[0]) {
        begin_reading(t, i, end);
    } else if (!p->asked) {
        p->asked = true;
        (void)add_entry(t, RT_TAIL_NAMELESS, i, end - 1);
    }
}

/* The evidence at `offset` contradicts the log: it has to be named anew, and read from here. */
static void name_anew(struct part *p, int64_t offset)
{
    p->state = NAMING;
    p->start = p->anew = p->high = offset;
    p->cut = true;
    p->asked = false;
}

/* ---- records ------------------------------------------------------------------------------------------------ */

/* Is it time for the next line? */
static bool may_tell(uint64_t *told_at)
{
    uint64_t now = rt_mono_ms();
    if (*told_at != 0 && now - *told_at < TELL_MS)
        return false;
    *told_at = now;
    return true;
}

static void tell_unreadable(struct rt_tail *t, const rd_kafka_message_t *m, const char *text)
{
    t->unreadable++;
    if (may_tell(&t->unreadable_told_at))
        rt_log(RT_LOG_WARN, "kafka", "a record is no message and is skipped",
               rt_kv_i64("partition", m->partition), rt_kv_i64("offset", m->offset),
               rt_kv_c("text", text), rt_kv_u64("so_far", t->unreadable));
}

static void tell_newer(struct rt_tail *t, const rd_kafka_message_t *m, const char *text)
{
    t->newer++;
    if (may_tell(&t->newer_told_at))
        rt_log(RT_LOG_ERROR, "kafka",
               "a record was written by a newer version of rtbroker: clients of this node do not "
               "get it, and who comes back to its channel is told of a gap",
               rt_kv_i64("partition", m->partition), rt_kv_i64("offset", m->offset),
               rt_kv_c("text", text), rt_kv_u64("so_far", t->newer));
}

/* RT_ENOMEM, or 0: `*ret_message` stays NULL when the record holds none; `*ret_kind` says why. */
static int make_message(struct rt_tail *t, const rd_kafka_message_t *m,
                        const struct rt_kafka_headers *h, struct rt_stored **ret_message,
                        enum rt_tail_kind *ret_kind)
{
    struct rt_err err = {0};
    int code = rt_kafka_message_read(m, h, ret_message, &err);
    *ret_kind = RT_TAIL_RECORD;
    if (code == RT_EINVAL) {
        *ret_kind = RT_TAIL_UNREADABLE;
        tell_unreadable(t, m, err.text);
    } else if (code == RT_ENEWER) {
        *ret_kind = RT_TAIL_NEWER;
        tell_newer(t, m, err.text);
    }
    return code == RT_ENOMEM ? code : 0;
}

/* Who reads from within the window may read what stands before the marker, where homes were others. */
static bool is_of_view(const struct rt_tail *t, const rd_kafka_message_t *m,
                       const struct rt_kafka_headers *h)
{
    const struct part *p = &t->parts[m->partition];
    bool behind_marker = p->marked || !p->fold.name.moved || m->offset >= p->frozen;
    return behind_marker && !rt_epoch_is_of_other_number(rt_kafka_evidence(h), t->partitions);
}

/* A record in another partition than its channel's has no place in the channel's order, and makes no hole in it. */
static enum rt_tail_kind kind_of(const struct rt_tail *t, const rd_kafka_message_t *m,
                                 const struct rt_kafka_headers *h, enum rt_tail_kind kind,
                                 struct rt_stored **message)
{
    struct rt_str channel = rt_str_of(m->key, m->key_len);
    if (kind == RT_TAIL_UNREADABLE || (kind == RT_TAIL_RECORD && !*message))
        return kind;
    if (rt_partition_of(channel, t->partitions) == (uint32_t)m->partition)
        return kind == RT_TAIL_NEWER && !rt_record_channel_valid(channel) ? RT_TAIL_RECORD : kind;
    if (kind == RT_TAIL_NEWER)
        return RT_TAIL_RECORD;
    if (is_of_view(t, m, h))
        return RT_TAIL_MISPLACED;
    rt_stored_unref(*message);
    *message = NULL;
    return RT_TAIL_RECORD;
}

static void read_tick(const rd_kafka_message_t *m, const struct rt_kafka_headers *h,
                      struct rt_ticks *ret_ticks)
{
    struct rt_str tick = rt_record_header(h->items, h->count, RT_HEADER_TICK);
    (void)rt_ticks_read(tick, (uint64_t)m->offset + 1, ret_ticks);
}

/* RT_ENOMEM: nothing was done. */
static int hand_over(struct rt_tail *t, const rd_kafka_message_t *m,
                     const struct rt_kafka_headers *h)
{
    struct part *p = &t->parts[m->partition];
    struct rt_stored *message = NULL;
    enum rt_tail_kind kind;
    int code = make_message(t, m, h, &message, &kind);
    if (code < 0)
        return code;
    kind = kind_of(t, m, h, kind, &message);
    bool has_channel = message || kind == RT_TAIL_NEWER;
    if (has_channel && rt_batches_add_channel(&t->out, rt_str_of(m->key, m->key_len)) < 0) {
        rt_stored_unref(message);
        return RT_ENOMEM;
    }
    struct rt_tail_entry *e = add_entry(t, kind, (uint32_t)m->partition, m->offset);
    e->channel.len = has_channel ? m->key_len : 0;
    e->message = message;
    if (!message)
        read_tick(m, h, &e->ticks);
    t->out.batch->bytes += m->len + m->key_len + MESSAGE_COST;
    p->read = m->offset + 1;
    int64_t time = rd_kafka_message_timestamp(m, NULL);
    if (time > p->time)
        p->time = time;
    return 0;
}

static void tell_end(struct rt_tail *t, uint32_t i)
{
    struct part *p = &t->parts[i];
    p->caught_up = true;
    p->read = p->expected;
    (void)add_entry(t, RT_TAIL_END, i, p->expected - 1);
}

/* Other producers may fill a partition for long without saying its name: who starts then has to find it. */
static void tell_unsure(struct rt_tail *t, uint32_t i, int64_t offset)
{
    struct part *p = &t->parts[i];
    int64_t last = (int64_t)p->fold.at > p->nudged ? (int64_t)p->fold.at : p->nudged;
    if (offset - last < RT_TAIL_UNSURE_AFTER)
        return;
    p->nudged = offset;
    (void)add_entry(t, RT_TAIL_UNSURE, i, offset);
}

/* RT_ENOMEM: to be tried again. */
static int read_record(struct rt_tail *t, const rd_kafka_message_t *m,
                       const struct rt_kafka_headers *h)
{
    uint32_t i = (uint32_t)m->partition;
    struct part *p = &t->parts[i];
    struct rt_epoch_fold before = p->fold;
    enum rt_epoch_change change = RT_EPOCH_SAME;
    if (m->offset >= p->frozen)
        change = rt_epoch_read(&p->fold, rt_kafka_evidence(h), (uint64_t)m->offset + 1);
    if (change == RT_EPOCH_BROKEN) {
        name_anew(p, m->offset);
        return 0;
    }
    if (change == RT_EPOCH_NAMED && is_other_view(t, &p->fold.name)) {
        leave(t, i, m->offset);
        return 0;
    }
    if (change == RT_EPOCH_NAMED) {
        (void)add_entry(t, RT_TAIL_NAMED, i, m->offset);
        p->told = p->fold.name;
    }
    int code = hand_over(t, m, h);
    if (code < 0)
        p->fold = before;
    return code;
}

/* NAMING: what the record tells of the name. What stands before a marker of another number belongs to a view that is over. */
static enum rt_epoch_change name_record(struct part *p, const struct rt_kafka_headers *h,
                                        int64_t offset)
{
    uint32_t before = p->fold.name.text[0] ? p->fold.name.partitions : 0;
    bool had = p->fold.name.text[0] != '\0';
    enum rt_epoch_change change =
        rt_epoch_read(&p->fold, rt_kafka_evidence(h), (uint64_t)offset + 1);
    if (change != RT_EPOCH_NAMED || !had || p->fold.name.partitions == before)
        return change;
    p->marked = true;
    p->since = offset;
    if (p->start < offset)
        p->start = offset;
    if (p->anew < offset)
        p->anew = offset;
    return change;
}

/* NAMING: what it tells of the ticks. A tick counts once somebody tells of it, since another one may have been before it. */
static void look_at(struct part *p, const rd_kafka_message_t *m, const struct rt_kafka_headers *h)
{
    uint64_t position = (uint64_t)m->offset + 1;
    int64_t time = rd_kafka_message_timestamp(m, NULL);
    struct rt_ticks ticks = {.at = {0}};
    if (name_record(p, h, m->offset) != RT_EPOCH_SAME)
        p->ticks = ticks;
    if (!rt_ticks_read(rt_record_header(h->items, h->count, RT_HEADER_TICKS), position, &ticks))
        read_tick(m, h, &ticks);
    if (ticks.at[0] > p->ticks.at[0])
        p->ticks = ticks;
    if (time > 0 && (p->oldest == 0 || time < p->oldest))
        p->oldest = time;
}

/* A partition that was added is read from its first name on: it may have gone on to a further number, which has to wait for its turn. */
static bool has_first_name(const struct rt_tail *t, const struct part *p)
{
    return p->whole && p->fold.name.text[0] && !is_other_view(t, &p->fold.name);
}

static int take_record(struct rt_tail *t, const rd_kafka_message_t *m)
{
    uint32_t i = (uint32_t)m->partition;
    struct part *p = &t->parts[i];
    struct rt_kafka_headers h;
    if ((p->state != NAMING && p->state != READING) || m->offset < p->expected)
        return 0; /* fetched before */
    rt_kafka_headers_read(m, &h);
    if (p->state == NAMING)
        look_at(p, m, &h);
    else if (read_record(t, m, &h) < 0)
        return RT_ENOMEM;
    p->expected = m->offset + 1;
    if (p->state == NAMING) {
        if (p->expected >= p->high || has_first_name(t, p))
            named_or_asking(t, i, p->expected);
        return 0;
    }
    if (p->state != READING)
        return 0;
    if (!p->caught_up && p->expected >= p->frozen)
        tell_end(t, i);
    tell_unsure(t, i, m->offset);
    return 0;
}

/* Beyond the last record may be others that a consumer does not see. */
static void take_end(struct rt_tail *t, uint32_t i, int64_t offset)
{
    struct part *p = &t->parts[i];
    if ((p->state != NAMING && p->state != READING) || offset < p->expected)
        return;
    bool further = offset > p->expected;
    p->expected = p->end = offset;
    if (p->state == NAMING)
        named_or_asking(t, i, offset);
    else if (offset >= p->frozen && (further || !p->caught_up))
        tell_end(t, i);
}

static void lose(struct rt_tail *t, uint32_t i)
{
    struct part *p = &t->parts[i];
    if (p->told.text[0] && p->state != LOCATING)
        (void)add_entry(t, RT_TAIL_LOST, i, p->read);
    relocate(t, i, 0);
}

/* What comes back under its name may be another topic, whatever its length. */
static void lose_topic(struct rt_tail *t, const char *text)
{
    rt_log(RT_LOG_ERROR, "kafka", "the topic cannot be read: is it gone?",
           rt_kv_c("topic", t->name), rt_kv_c("text", text));
    for (uint32_t i = 0; i < t->partitions; i++)
        relocate(t, i, RETRY_MS);
    (void)add_entry(t, RT_TAIL_GONE, 0, 0);
}

static void take_error(struct rt_tail *t, const rd_kafka_message_t *m)
{
    uint32_t i = (uint32_t)m->partition;
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        take_end(t, i, m->offset);
        break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        lose(t, i);
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        lose_topic(t, rd_kafka_err2str(m->err));
        break;
    default: /* it tries again by itself */
        rt_log(RT_LOG_WARN, "kafka", "reading is disturbed", rt_kv_u64("partition", i),
               rt_kv_c("text", rd_kafka_message_errstr(m)));
        break;
    }
}

/* A topic that is gone, or shorter than what was read, shows in no record: the consumer waits for it in silence. One partition
 * at a time is asked for. */
static void check(struct rt_tail *t)
{
    uint64_t now = rt_mono_ms();
    int64_t low, high;
    if (now < t->check_at)
        return;
    t->check_at = now + CHECK_MS;
    uint32_t i = t->checked++ % t->partitions;
    struct part *p = &t->parts[i];
    if (p->state != READING)
        return;
    rd_kafka_resp_err_t e =
        rd_kafka_query_watermark_offsets(t->rk, t->name, (int32_t)i, &low, &high, QUERY_MS);
    bool gone = e == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                e == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || e == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    if (gone)
        lose_topic(t, rd_kafka_err2str(e));
    else if (e == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 && high < p->expected)
        lose(t, i);
}

/* Behind an open transaction nothing is read, and no error says so. */
static void look_for_stuck(struct rt_tail *t)
{
    uint64_t now = rt_mono_ms();
    if (now < t->stuck_at)
        return;
    t->stuck_at = now + STUCK_MS;
    for (uint32_t i = 0; i < t->partitions && !rt_batches_full(&t->out); i++) {
        const struct part *p = &t->parts[i];
        struct rt_stuck_place place = {.offset = p->expected, .high = -1};
        int64_t low;
        uint64_t time = 0;
        place.at_end = p->consumed && p->end == p->expected;
        if (place.at_end)
            (void)rd_kafka_get_watermark_offsets(t->rk, t->name, (int32_t)i, &low, &place.high);
        enum rt_stuck_change change = rt_stuck_look(t->stuck, i, &place, &time);
        if (change == RT_STUCK_BEGAN)
            add_entry(t, RT_TAIL_STUCK, i, p->expected)->time = time;
        else if (change == RT_STUCK_ENDED)
            (void)add_entry(t, RT_TAIL_FREED, i, p->expected);
    }
}

/* ---- the thread --------------------------------------------------------------------------------------------- */

static rd_kafka_message_t *next_message(struct rt_tail *t, int wait_ms)
{
    rd_kafka_message_t *m = t->kept;
    t->kept = NULL;
    return m ? m : rd_kafka_consume_queue(t->queue, wait_ms);
}

/* False: no memory, try again later. */
static bool take_message(struct rt_tail *t, rd_kafka_message_t *m)
{
    if (m->rkt && m->partition >= 0 && (uint32_t)m->partition < t->partitions) {
        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            take_error(t, m);
        } else if (take_record(t, m) < 0) {
            t->kept = m;
            return false;
        }
    }
    rd_kafka_message_destroy(m);
    return true;
}

/* Fills a batch with what is there. */
static void fill(struct rt_tail *t)
{
    int wait_ms = t->out.batch->count > 0 ? 0 : POLL_MS;
    while (t->out.batch && !rt_batches_full(&t->out)) {
        rd_kafka_message_t *m = next_message(t, wait_ms);
        if (!m)
            break;
        if (!take_message(t, m)) {
            (void)poll(NULL, 0, NO_MEMORY_MS);
            break;
        }
        wait_ms = 0;
    }
    rt_batches_post(&t->out);
}

void rt_tail_run(void *tail)
{
    struct rt_tail *t = tail;
    while (!atomic_load(&t->stopping)) {
        if (!rt_batches_have(&t->out))
            continue;
        locate_due(t);
        check(t);
        move_due(t);
        look_for_stuck(t);
        fill(t);
    }
    if (t->kept)
        rd_kafka_message_destroy(t->kept);
    t->kept = NULL;
    for (uint32_t i = 0; i < t->partitions; i++)
        stop_consuming(t, i);
    rd_kafka_queue_destroy(t->queue);
    t->queue = NULL;
    rd_kafka_topic_destroy(t->topic);
    t->topic = NULL;
    rd_kafka_destroy(t->rk);
    t->rk = NULL;
    t->ended(t->arg);
}

void rt_tail_return(struct rt_tail *t, struct rt_tail_batch *batch)
{
    rt_batches_return(&t->out, batch);
}

void rt_tail_want(struct rt_tail *t, uint32_t partitions)
{
    atomic_store(&t->wanted, partitions);
}

rd_kafka_t *rt_tail_handle(struct rt_tail *t)
{
    return t->rk;
}

void rt_tail_stop(struct rt_tail *t)
{
    atomic_store(&t->stopping, true);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static int open_consumer(struct rt_tail *t, const struct rt_tail_options *options,
                         struct rt_err *err)
{
    char text[256] = "";
    rd_kafka_conf_t *conf = NULL;
    int code = rt_kafka_conf_make(&options->conf, RT_KAFKA_TAIL, false, &conf, err);
    if (code < 0)
        return code;
    t->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!t->rk) {
        rd_kafka_conf_destroy(conf);
        return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
    }
    t->topic = rd_kafka_topic_new(t->rk, options->topic, NULL);
    if (!t->topic)
        return rt_err_set(err, RT_EINVAL, "kafka.topic \"%s\": %s", options->topic,
                          rd_kafka_err2str(rd_kafka_last_error()));
    t->queue = rd_kafka_queue_new(t->rk);
    return 0;
}

int rt_tail_new(const struct rt_tail_options *options, struct rt_tail **ret_tail,
                struct rt_err *err)
{
    struct rt_tail *t = rt_calloc(1, sizeof(*t));
    if (!t)
        return rt_err_nomem(err);
    t->partitions = options->partitions;
    t->warm = options->warm;
    t->window = options->window;
    t->ended = options->ended;
    t->arg = options->arg;
    atomic_init(&t->stopping, false);
    atomic_init(&t->wanted, options->partitions);
    t->name = rt_strdup(options->topic);
    t->parts = rt_calloc(options->partitions, sizeof(*t->parts));
    int code =
        t->name && t->parts ? rt_batches_init(&t->out, options->batches, err) : rt_err_nomem(err);
    if (code == 0)
        code = open_consumer(t, options, err);
    if (code == 0)
        code = rt_stuck_new(&options->conf, t->name, t->partitions, &t->stuck, err);
    if (code < 0) {
        rt_tail_free(t);
        return code;
    }
    *ret_tail = t;
    return 0;
}

void rt_tail_free(struct rt_tail *t)
{
    if (!t)
        return;
    rt_batches_deinit(&t->out);
    rt_stuck_free(t->stuck);
    if (t->queue)
        rd_kafka_queue_destroy(t->queue);
    if (t->topic)
        rd_kafka_topic_destroy(t->topic);
    if (t->rk)
        rd_kafka_destroy(t->rk);
    rt_free(t->name);
    rt_free(t->parts);
    rt_free(t);
}
