/* What comes out of the log: the tail's batches and early records go through the sequencer, repetitions are skipped, the rest is delivered. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_internal.h"
#include "journal/kafka_stuck.h"

#define MARKER_MS 2000u /* between tries */

/* ---- delivering -------------------------------------------------------------------------------------------- */

/* The append of this node that a record comes from; NULL: none that is awaited. */
static struct rt_append *own_append(struct rt_kafka *k, const struct rt_record *record)
{
    const struct rt_message *m = &record->message->m;
    struct rt_append *own = rt_map_get(&k->by_id, rt_str_of(m->id, sizeof(m->id)));
    return own && rt_str_eq(own->channel_name, record->channel) ? own : NULL;
}

/* Now its position is known: `first`, that of the record that it repeats, or with 0 its own. What is held for that is answered once the sequencer has returned. */
static void resolve(struct rt_kafka *k, struct rt_append *own, const struct rt_kafka_part *part,
                    uint64_t first)
{
    own->duplicate = first != 0;
    rt_kafka_set_position(&own->position, part, first ? first : own->message->m.offset);
    if (own->status != RT_OK)
        return; /* its report comes later than the record itself */
    rt_list_remove(&own->task.link);
    rt_list_push(&k->resolved, &own->task.link);
}

static void on_deliver(void *arg, const struct rt_record *record)
{
    struct rt_kafka *k = arg;
    const struct rt_kafka_part *part = &k->parts[record->partition];
    struct rt_append *own = own_append(k, record);
    /* The tail may be faster than the report: its copy gives way to the message that was appended, which knows more. */
    struct rt_stored *message = own ? own->message : record->message;
    message->m.offset = record->offset;
    uint64_t first = rt_kafka_keys_record(k, record, &message->m);
    if (own)
        resolve(k, own, part, first);
    if (first) {
        k->skipped.value++;
        return;
    }
    rt_stored_ref(message);
    k->options.deliver(k->options.arg, record->channel, part->epoch, message);
    rt_stored_unref(message);
}

/* ---- what the tail says ------------------------------------------------------------------------------------ */

static void set_name(struct rt_kafka *k, struct rt_kafka_part *part, const struct rt_tail_entry *e)
{
    if (part->epoch[0])
        k->epochs.value++;
    part->name = e->name;
    rt_epoch_text(&part->name, e->partition, part->epoch);
}

static void start_other(struct rt_kafka *k, struct rt_kafka_part *part,
                        const struct rt_tail_entry *e)
{
    set_name(k, part, e);
    rt_sequencer_reset(k->sequencer, e->partition);
    rt_dedupe_clear(&part->dedupe);
    part->base = e->position;
    part->tailed = e->position - 1;
    rt_kafka_keys_begin(k, part);
}

void rt_kafka_set_named(struct rt_kafka *k, struct rt_kafka_part *part, bool named)
{
    if (part->named != named)
        k->unnamed += named ? -1u : 1u;
    part->named = named;
    part->left.text[0] = '\0';
}

/* Who is asked for the past of the partition's channels has to say so. */
static void tell_gap(struct rt_kafka *k, const struct rt_tail_entry *e, const char *was,
                     uint64_t tailed)
{
    k->gaps.value++;
    rt_log(RT_LOG_ERROR, "kafka",
           "messages of a partition may not have come to this node: memory is no longer taken for "
           "complete",
           rt_kv_u64("partition", e->partition), rt_kv_c("was", was),
           rt_kv_u64("delivered", tailed), rt_kv_c("is", k->parts[e->partition].epoch),
           rt_kv_u64("from", e->position));
    if (k->options.gap)
        k->options.gap(k->options.arg, e->partition);
}

static void take_start(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    char was[sizeof(part->epoch)];
    uint64_t tailed = part->tailed;
    bool lost = false;
    memcpy(was, part->epoch, sizeof(was));
    k->moved |= e->name.moved;
    if (strcmp(part->name.text, e->name.text) != 0) {
        /* Of a log that is another one, or was cut, nobody knows what was in it when this node did not read. */
        lost = was[0] != '\0';
        start_other(k, part, e);
    } else if (e->position > part->tailed + 1) {
        part->tailed = e->position - 1;
        lost = true;
    }
    rt_kafka_set_named(k, part, true);
    part->marker_at = 0;
    rt_sequencer_start(k->sequencer, e->partition, e->position);
    /* Now that positions tell up to where. */
    if (lost)
        tell_gap(k, e, was, tailed);
}

static void take_nameless(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    rt_kafka_set_named(k, part, false);
    part->marker_known = e->position;
    part->marker_at = 1; /* due */
}

static void check_ready(struct rt_kafka *k)
{
    for (uint32_t i = 0; i < k->partitions; i++)
        if (!k->parts[i].caught_up)
            return;
    k->ready = true;
    if (k->options.ready)
        k->options.ready(k->options.arg);
}

static void take_record(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    const struct rt_record record = {e->partition, e->position, e->channel, e->message};
    k->parts[e->partition].tailed = e->position;
    k->tailed.value++;
    /* Whatever is before it has been delivered: markers come by the tail alone, so nothing could pass this one. */
    if (e->ticks.at[0] != 0)
        rt_kafka_keys_hear(k, e);
    (void)rt_sequencer_push(k->sequencer, RT_FROM_TAIL, &record);
}

/* Its position is all that is known: what was before it has been delivered, and its channel has a hole here. */
static void take_newer(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    k->newer.value++;
    if (k->options.hole)
        k->options.hole(k->options.arg, e->channel, k->parts[e->partition].epoch, e->position);
    take_record(k, e);
}

/* Here it is no more than a position. */
static void take_misplaced(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_tail_entry place = *e;
    place.message = NULL;
    take_record(k, &place);
    rt_kafka_take_misplaced(k, e);
    rt_stored_unref(e->message);
}

static void take_end(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    if (e->position > part->tailed)
        part->tailed = e->position;
    rt_sequencer_start(k->sequencer, e->partition, e->position + 1);
    part->caught_up = true;
    if (!k->ready)
        check_ready(k);
}

static void take_stuck(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    uint64_t now = rt_mono_ms(), wall = rt_wall_ms();
    uint64_t age = e->time > 0 && e->time < wall ? wall - e->time : RT_STUCK_MS;
    k->stuck += !part->stuck;
    part->stuck = true;
    part->stuck_since = age < now ? now - age : 0;
    part->stuck_at = e->position;
}

static void take_freed(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    k->stuck -= part->stuck;
    part->stuck = false;
}

uint64_t rt_kafka_stuck_age(const struct rt_kafka *k, const struct rt_kafka_part **ret_part)
{
    const struct rt_kafka_part *oldest = NULL;
    for (uint32_t i = 0; k->stuck > 0 && i < k->partitions; i++)
        if (k->parts[i].stuck && (!oldest || k->parts[i].stuck_since < oldest->stuck_since))
            oldest = &k->parts[i];
    if (ret_part)
        *ret_part = oldest;
    return oldest ? rt_mono_ms() - oldest->stuck_since : 0;
}

const char *rt_kafka_stuck_text(struct rt_kafka *k)
{
    const struct rt_kafka_part *part;
    uint64_t age = rt_kafka_stuck_age(k, &part);
    if (part)
        snprintf(k->stuck_text, sizeof(k->stuck_text),
                 "an open transaction of another program holds %u partition(s) back: the oldest is "
                 "%llu s old, in partition %u at offset %llu",
                 k->stuck, (unsigned long long)(age / 1000), (unsigned)(part - k->parts),
                 (unsigned long long)(part->stuck_at - 1));
    return k->stuck_text;
}

/* RT_ENOMEM: to be tried again. */
static int take_entry(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    if (e->kind == RT_TAIL_MOVED)
        return rt_kafka_take_moved(k, e->partition);
    struct rt_kafka_part *part = &k->parts[e->partition];
    switch (e->kind) {
    case RT_TAIL_RECORD:
        take_record(k, e);
        break;
    case RT_TAIL_UNREADABLE:
        k->unreadable.value++;
        take_record(k, e);
        break;
    case RT_TAIL_NEWER:
        take_newer(k, e);
        break;
    case RT_TAIL_MISPLACED:
        take_misplaced(k, e);
        break;
    case RT_TAIL_START:
        take_start(k, e);
        break;
    case RT_TAIL_NAMED:
        rt_log(RT_LOG_ERROR, "kafka", "a partition's positions go by another name from here on",
               rt_kv_u64("partition", e->partition), rt_kv_c("was", part->name.text),
               rt_kv_c("is", e->name.text));
        set_name(k, part, e);
        break;
    case RT_TAIL_LOST:
        rt_kafka_set_named(k, part, false);
        break;
    case RT_TAIL_GONE:
        for (uint32_t i = 0; i < k->partitions; i++)
            rt_kafka_set_named(k, &k->parts[i], false);
        break;
    case RT_TAIL_NAMELESS:
        take_nameless(k, e);
        break;
    case RT_TAIL_UNSURE:
        (void)rt_kafka_append_confirmation(k, e->partition, false);
        break;
    case RT_TAIL_END:
        take_end(k, e);
        break;
    case RT_TAIL_LEFT:
        rt_kafka_take_left(k, e);
        break;
    case RT_TAIL_STUCK:
        take_stuck(k, e);
        break;
    case RT_TAIL_FREED:
        take_freed(k, e);
        break;
    case RT_TAIL_MOVED: /* see above */
        break;
    }
    return 0;
}

/* False: without memory the next entry cannot be taken now. */
static bool take_entries(struct rt_kafka *k, const struct rt_tail_batch *batch)
{
    for (; k->taken_at < batch->count; k->taken_at++)
        if (take_entry(k, &batch->entries[k->taken_at]) < 0)
            return false;
    k->taken_at = 0;
    return true;
}

void rt_kafka_take_batches(struct rt_kafka *k)
{
    rt_mailbox_take(k->batches, &k->taken);
    while (!rt_list_empty(&k->taken)) {
        struct rt_tail_batch *batch = RT_CONTAINER(k->taken.next, struct rt_tail_batch, task.link);
        if (!take_entries(k, batch))
            return;
        rt_list_remove(&batch->task.link);
        rt_tail_return(k->tail, batch);
    }
}

void rt_kafka_drop_batches(struct rt_kafka *k)
{
    rt_mailbox_take(k->batches, &k->taken);
    for (struct rt_list *node = rt_list_pop(&k->taken); node; node = rt_list_pop(&k->taken)) {
        struct rt_tail_batch *batch = RT_CONTAINER(node, struct rt_tail_batch, task.link);
        for (size_t i = k->taken_at; i < batch->count; i++)
            rt_stored_unref(batch->entries[i].message);
        k->taken_at = 0;
        rt_tail_return(k->tail, batch);
    }
}

/* A name for a partition that has none, when it is time to. */
static void give_name(struct rt_kafka *k, uint32_t partition, uint64_t now, bool moved)
{
    struct rt_kafka_part *part = &k->parts[partition];
    struct rt_epoch_name made;
    if (part->marker_at == 0 || (part->marker_at > 1 && now < part->marker_at + MARKER_MS))
        return;
    rt_epoch_make(&made, k->partitions, moved);
    const struct rt_kafka_marker marker = {
        .partition = partition, .name = &made, .known = part->marker_known};
    if (rt_kafka_append_marker(k, &marker) == 0)
        part->marker_at = now > 1 ? now : 2;
}

void rt_kafka_order_tick(struct rt_kafka *k)
{
    uint64_t now = rt_loop_now(k->loop);
    bool moved = false;
    bool may_name = k->unnamed > 0 && rt_kafka_may_name(k, &moved);
    for (uint32_t i = 0; i < k->partitions; i++) {
        if (may_name)
            give_name(k, i, now, moved);
        rt_kafka_keys_tick(k, i, now);
    }
}

/* ---- own and early records ---------------------------------------------------------------------------------- */

void rt_kafka_own_record(struct rt_kafka *k, struct rt_append *append, uint64_t position)
{
    struct rt_record record = {.partition = rt_partition_of(append->channel_name, k->partitions),
                               .offset = position,
                               .channel = append->channel_name,
                               .message = append->message};
    append->message->m.offset = position;
    if (k->options.committed)
        k->options.committed(k->options.arg, &record);
    rt_stored_ref(append->message);
    (void)rt_sequencer_push(k->sequencer, RT_FROM_PEER, &record);
}

void rt_journal_kafka_early(struct rt_journal *j, struct rt_str epoch,
                            const struct rt_record *record)
{
    struct rt_kafka *k = rt_kafka_of(j);
    if (record->partition >= k->partitions ||
        !rt_str_eq(epoch, rt_str_c(k->parts[record->partition].epoch))) {
        rt_stored_unref(record->message);
        return;
    }
    k->early.value++;
    (void)rt_sequencer_push(k->sequencer, RT_FROM_PEER, record);
    if (!rt_list_empty(&k->resolved))
        rt_waker_wake(k->waker);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

int rt_kafka_order_init(struct rt_kafka *k)
{
    const struct rt_sequencer_options options = {
        .partitions = k->partitions, .deliver = on_deliver, .arg = k};
    k->sequencer = NULL;
    k->parts = rt_calloc(k->partitions, sizeof(*k->parts));
    if (!k->parts)
        return RT_ENOMEM;
    k->unnamed = k->partitions;
    k->stuck = 0;
    for (uint32_t i = 0; i < k->partitions; i++)
        rt_dedupe_init(&k->parts[i].dedupe, k->options.journal.idempotency_window, &k->keys.budget);
    return rt_sequencer_new(&options, &k->sequencer);
}

void rt_kafka_order_deinit(struct rt_kafka *k)
{
    rt_sequencer_free(k->sequencer);
    for (uint32_t i = 0; k->parts && i < k->partitions; i++)
        rt_dedupe_deinit(&k->parts[i].dedupe);
    rt_free(k->parts);
}
