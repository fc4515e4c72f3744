/* The number of partitions that this node goes by: what may be appended and acknowledged in it, and how the node goes over to another one. The rules are in
 * kafka_view.h. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/kafka_internal.h"

#define MARKER_MS   2000u  /* between tries */
#define PATIENCE_MS 20000u /* that what is stored waits for the view to be confirmed */

/* ---- what may be done ---------------------------------------------------------------------------------------- */

/* The number that some partition's log goes on with, when it is not ours; 0 none. */
static uint32_t left_number(const struct rt_kafka *k)
{
    for (uint32_t i = 0; k->unnamed > 0 && i < k->partitions; i++)
        if (k->parts[i].left.text[0])
            return k->parts[i].left.partitions;
    return 0;
}

const char *rt_kafka_view_refusal(struct rt_kafka *k)
{
    enum rt_view_state state = rt_view_state(&k->view, rt_mono_ms());
    uint32_t left = left_number(k);
    if (state == RT_VIEW_CHANGED)
        snprintf(k->view_text, sizeof(k->view_text),
                 "the topic has %u partitions now, this node still goes by %u: it follows in %u s",
                 k->view.said, k->partitions, RT_VIEW_GRACE_MS / 1000);
    else if (left != 0)
        snprintf(k->view_text, sizeof(k->view_text),
                 "the log was written for %u partitions, this node goes by %u: it is being settled",
                 left, k->partitions);
    else if (state == RT_VIEW_UNCONFIRMED)
        snprintf(k->view_text, sizeof(k->view_text),
                 "Kafka has not said for %u s that the topic still has %u partitions",
                 RT_VIEW_LEASE_MS / 1000, k->partitions);
    else
        return NULL;
    return k->view_text;
}

int rt_kafka_view_verdict(const struct rt_kafka *k, const struct rt_append *a, const char **ret_why)
{
    uint64_t now = rt_mono_ms();
    *ret_why = "stored while the topic's number of partitions changed: it may be behind that";
    if (a->handed_in < k->view.began * 1000000 || k->move_failed)
        return RT_EUNKNOWN;
    switch (rt_view_state(&k->view, now)) {
    case RT_VIEW_CONFIRMED:
        return RT_OK;
    case RT_VIEW_CHANGED:
        return RT_EUNKNOWN;
    case RT_VIEW_UNCONFIRMED:
        break;
    }
    *ret_why = "stored, but Kafka does not say whether the topic still has as many partitions";
    return k->closing || now - k->view.asked_at > PATIENCE_MS ? RT_EUNKNOWN : RT_EAGAIN;
}

bool rt_kafka_may_name(const struct rt_kafka *k, bool *ret_moved)
{
    *ret_moved = k->moved;
    if (rt_view_state(&k->view, rt_mono_ms()) != RT_VIEW_CONFIRMED)
        return false;
    /* Whether others have names, and which, tells what kind this one is to get. */
    for (uint32_t i = 0; i < k->partitions; i++)
        if (!k->parts[i].named && k->parts[i].marker_at == 0)
            return false;
    return true;
}

/* ---- markers for another number ------------------------------------------------------------------------------ */

static bool is_of_other_number(const struct rt_kafka *k, const struct rt_kafka_part *part)
{
    uint32_t number = part->left.text[0] ? part->left.partitions : part->name.partitions;
    if (!part->left.text[0] && !part->named)
        return false; /* it is being looked at */
    /* A name without a number is one of the number that it was found with. */
    return number != k->view.said && (number != 0 || k->view.said != k->partitions);
}

static void mark(struct rt_kafka *k, uint32_t partition, uint64_t now)
{
    struct rt_kafka_part *part = &k->parts[partition];
    struct rt_epoch_name made;
    if (part->moved_at != 0 && now < part->moved_at + MARKER_MS)
        return;
    rt_epoch_make(&made, k->view.said, true);
    const struct rt_kafka_marker marker = {
        .partition = partition, .name = &made, .known = part->tailed};
    if (rt_kafka_append_marker(k, &marker) == 0)
        part->moved_at = now;
}

static void mark_due(struct rt_kafka *k, uint64_t now)
{
    if (!rt_view_is_settled(&k->view, now))
        return;
    if (k->view.said == k->partitions && k->unnamed == 0)
        return;
    for (uint32_t i = 0; i < k->partitions && i < k->view.said; i++)
        if (is_of_other_number(k, &k->parts[i]))
            mark(k, i, now);
}

static void take_answer(struct rt_kafka *k, uint64_t now)
{
    struct rt_count_answer answer;
    if (!k->count || !rt_count_take(k->count, &answer))
        return;
    bool other = answer.partitions != k->view.said;
    rt_view_answer(&k->view, answer.partitions, answer.asked_at, now);
    rt_tail_want(k->tail, answer.partitions);
    if (other)
        rt_log(RT_LOG_ERROR, "kafka",
               answer.partitions == k->partitions
                   ? "the topic has as many partitions as before: publishes are taken again"
                   : "the topic has another number of partitions: publishes get \"retry\" until "
                     "all nodes follow",
               rt_kv_u64("partitions", answer.partitions), rt_kv_u64("was", k->partitions),
               rt_kv_u64("grace_s", RT_VIEW_GRACE_MS / 1000));
}

void rt_kafka_view_tick(struct rt_kafka *k)
{
    uint64_t now = rt_mono_ms();
    take_answer(k, now);
    mark_due(k, now);
    rt_kafka_answer_unsure(k);
}

/* ---- going over ----------------------------------------------------------------------------------------------- */

void rt_kafka_take_left(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    if (!part->left.text[0] && e->name.partitions != k->view.said)
        rt_log(RT_LOG_WARN, "kafka",
               "the log was written for another number of partitions: it gets new epochs once no "
               "node can go by that",
               rt_kv_u64("partition", e->partition), rt_kv_u64("was", e->name.partitions),
               rt_kv_u64("partitions", k->view.said),
               rt_kv_u64("grace_s", RT_VIEW_GRACE_MS / 1000));
    rt_kafka_set_named(k, part, false);
    part->left = e->name;
    part->marker_at = 0;
    k->moved = true;
    if (e->position > part->tailed)
        part->tailed = e->position;
    rt_sequencer_start(k->sequencer, e->partition, e->position + 1);
}

static void note_failure(struct rt_kafka *k, uint32_t partitions)
{
    if (k->move_failed != partitions)
        rt_log(RT_LOG_ERROR, "kafka", "no memory to follow the topic's number of partitions",
               rt_kv_u64("partitions", partitions), rt_kv_u64("was", k->partitions));
    k->move_failed = partitions;
}

int rt_kafka_take_moved(struct rt_kafka *k, uint32_t partitions)
{
    struct rt_kafka_part *parts = k->parts;
    struct rt_sequencer *sequencer = k->sequencer;
    uint32_t was = k->partitions, unnamed = k->unnamed, stuck = k->stuck;
    k->partitions = partitions;
    if (rt_kafka_order_init(k) < 0) {
        rt_kafka_order_deinit(k);
        k->parts = parts;
        k->sequencer = sequencer;
        k->partitions = was;
        k->unnamed = unnamed;
        k->stuck = stuck;
        note_failure(k, partitions);
        return RT_ENOMEM;
    }
    k->overflowed_before += rt_sequencer_stats(sequencer).dropped_as_full;
    rt_sequencer_free(sequencer);
    for (uint32_t i = 0; i < was; i++)
        rt_dedupe_deinit(&parts[i].dedupe);
    rt_free(parts);
    k->move_failed = 0;
    k->moved = true;
    k->moves.value++;
    rt_view_move(&k->view, partitions, rt_mono_ms());
    rt_log(RT_LOG_WARN, "kafka",
           "this node follows the topic's number of partitions: all positions have new epochs",
           rt_kv_u64("partitions", partitions), rt_kv_u64("was", was));
    if (k->options.moved)
        k->options.moved(k->options.arg, partitions);
    return 0;
}
