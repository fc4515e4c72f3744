/* Idempotency keys in the Kafka journal: the log's clock that this node hears and makes tick, and the memory of the keys. */
#include "base/rand.h"
#include "journal/kafka_internal.h"

#define TRY_MS 2000u /* until a tick that did not come is tried again */
#define JITTER \
    8u /* a tick comes later by up to one of so many parts: most often one node is first */

/* ---- the log's clock ---------------------------------------------------------------------------------------- */

void rt_kafka_keys_begin(struct rt_kafka *k, struct rt_kafka_part *part)
{
    uint64_t interval = rt_ticks_interval(k->options.journal.idempotency_window);
    uint64_t most = interval / JITTER < UINT32_MAX ? interval / JITTER : UINT32_MAX - 1;
    part->news = false;
    part->tick_at = rt_loop_now(k->loop) + interval + rt_random_below((uint32_t)most + 1);
}

static void check_whole(struct rt_kafka *k)
{
    for (uint32_t i = 0; i < k->partitions; i++)
        if (!rt_dedupe_whole(&k->parts[i].dedupe))
            return;
    rt_keys_heal(&k->keys);
}

void rt_kafka_keys_hear(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_kafka_part *part = &k->parts[e->partition];
    if (!rt_dedupe_tick(&part->dedupe, &e->ticks, e->position))
        return;
    rt_kafka_keys_begin(k, part);
    check_whole(k);
}

/* While nothing comes and no key is remembered there is nothing to be measured. One that was appended and is not in the log yet is tried again like the next one: when both come, the second
 * does not count. */
void rt_kafka_keys_tick(struct rt_kafka *k, uint32_t partition, uint64_t now)
{
    struct rt_kafka_part *part = &k->parts[partition];
    k->keys.now = now;
    if (!part->dedupe.on || !part->named || !part->caught_up || now < part->tick_at ||
        (!part->news && part->dedupe.count == 0))
        return;
    const struct rt_ticks begin = rt_ticks_begin(part->base);
    bool first = part->dedupe.ticks.at[0] == 0;
    const struct rt_kafka_marker marker = {.partition = partition,
                                           .name = &part->name,
                                           .known = part->tailed,
                                           .ticks = first ? &begin : &part->dedupe.ticks,
                                           .tick = true};
    if (rt_kafka_append_marker(k, &marker) == 0)
        part->tick_at = now + TRY_MS + rt_random_below(TRY_MS);
}

/* ---- the keys ----------------------------------------------------------------------------------------------- */

uint64_t rt_kafka_keys_record(struct rt_kafka *k, const struct rt_record *record,
                              const struct rt_message *m)
{
    struct rt_kafka_part *part = &k->parts[record->partition];
    uint64_t first = 0;
    part->news = true;
    if (rt_dedupe_record(&part->dedupe, record->channel, m, &first) < 0) {
        rt_dedupe_lose(&part->dedupe, record->offset);
        rt_keys_lose(&k->keys, rt_loop_now(k->loop));
    }
    return first;
}

const char *rt_kafka_keys_refusal(struct rt_kafka *k, const struct rt_kafka_part *part,
                                  const struct rt_message *m)
{
    if (!m->key.ptr || !part->dedupe.on)
        return NULL;
    bool whole = rt_dedupe_whole(&part->dedupe);
    if (whole && rt_dedupe_has_room(&part->dedupe))
        return NULL;
    return rt_keys_refuse(&k->keys, whole, rt_loop_now(k->loop));
}
