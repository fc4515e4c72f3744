/* Thin shims around functions of src/. The linker sends calls of NAME to __wrap_NAME (Makefile, SIM_WRAPPED); each passes on to the real one, but for its planted bug. */
#include "bugs.h"

#include "cluster/envelope.h"
#include "fake_store.h"
#include "journal/kafka.h"
#include "journal/kafka_dedupe.h"
#include "journal/kafka_epoch.h"
#include "journal/kafka_tail.h"
#include "session/broker.h"
#include "sim.h"

#define WRAP(type, name, ...)        \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

WRAP(int, rt_sequencer_new, const struct rt_sequencer_options *options, struct rt_sequencer **ret)
{
    struct rt_sequencer_options o = *options;
    o.max_entries = BUG(UNBOUNDED) ? 1u << 20 : SIM_REORDER; /* small, so that it fills */
    return __real_rt_sequencer_new(&o, ret);
}

WRAP(void, rt_sequencer_reset, struct rt_sequencer *s, uint32_t partition)
{
    if (!BUG(RESET_FORGOTTEN))
        __real_rt_sequencer_reset(s, partition);
}

/* Has Redis brought this record to this process? Notes it when it does now. */
static bool seen(enum rt_source source, const struct rt_record *r)
{
    static uint64_t lives[SIM_NODES][SIM_PARTS][1u << 14];
    uint64_t *life = &lives[sim.host->index][r->partition][r->offset & 0x3fff];
    if (source == RT_FROM_PEER)
        *life = sim.host->life;
    return *life == sim.host->life;
}

WRAP(int, rt_sequencer_push, struct rt_sequencer *s, enum rt_source source,
     const struct rt_record *record)
{
    uint64_t next = rt_sequencer_next(s, record->partition);
    if (BUG(SKIP_AHEAD) && source == RT_FROM_PEER && next > 0 && record->offset > next &&
        sim_chance(100))
        rt_sequencer_start(s, record->partition, record->offset);
    bool drop = BUG(SEEN_IS_DONE) && record->partition < SIM_PARTS && seen(source, record) &&
                source == RT_FROM_TAIL;
    if (drop || (BUG(TAIL_LOSES) && source == RT_FROM_TAIL && sim_chance(20))) {
        rt_stored_unref(record->message);
        return 0;
    }
    return __real_rt_sequencer_push(s, source, record);
}

/* What the rule of repetitions takes for the channel. */
static struct rt_str channel_of_key(struct rt_str channel)
{
    return BUG(KEYS_GLOBAL) ? RT_STR_NONE : channel;
}

/* The table is emptied when a record says that a window is over since it was emptied last. */
static void trust_clocks(struct rt_dedupe *d, const struct rt_message *m)
{
    static struct {
        const struct rt_dedupe *table;
        uint64_t since;
    } known[SIM_PARTS * (SIM_NODES + 2)];
    size_t i = 0;
    while (i + 1 < sizeof(known) / sizeof(known[0]) && known[i].table && known[i].table != d)
        i++;
    bool over = known[i].table == d && m->time > known[i].since + STORE_WINDOW;
    if (over) {
        struct rt_ticks ticks = d->ticks;
        rt_dedupe_clear(d);
        d->ticks = ticks;
    }
    if (over || known[i].table != d)
        known[i].since = m->time;
    known[i].table = d;
}

WRAP(int, rt_dedupe_record, struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
     uint64_t *ret_first)
{
    if (BUG(CLOCKS_TRUSTED))
        trust_clocks(d, m);
    int status = __real_rt_dedupe_record(d, channel_of_key(channel), m, ret_first);
    if (BUG(DEDUPE_FORGETS) && sim.host) /* the store's writer is no host */
        *ret_first = 0;
    return status;
}

WRAP(bool, rt_dedupe_find, const struct rt_dedupe *d, struct rt_str channel,
     const struct rt_message *m, uint64_t *ret_first)
{
    return !BUG(DEDUPE_FORGETS) && __real_rt_dedupe_find(d, channel_of_key(channel), m, ret_first);
}

WRAP(int, rt_tail_new, const struct rt_tail_options *options, struct rt_tail **ret_tail,
     struct rt_err *err)
{
    struct rt_tail_options o = *options;
    if (BUG(DEDUPE_COLD))
        o.window = o.warm = 0;
    return __real_rt_tail_new(&o, ret_tail, err);
}

WRAP(void, rt_broker_history, struct rt_broker *b, const struct rt_history *history)
{
    struct rt_history h = *history;
    if (BUG(RESUME_SKIPS) && h.has_since)
        h.since.offset++;
    if (BUG(RESUME_REPEATS) && h.has_since && h.since.offset > 0)
        h.since.offset--;
    __real_rt_broker_history(b, &h);
}

WRAP(bool, rt_channel_covers_offset, const struct rt_channel *c, uint64_t offset)
{
    return __real_rt_channel_covers_offset(c, offset) || BUG(MEMORY_TRUSTED);
}

WRAP(int, rt_parcel_decode, struct rt_str bytes, const struct rt_parcel_keys *keys,
     struct rt_str place, struct rt_str attachments[RT_MAX_ATTACHMENTS],
     struct rt_parcel *ret_parcel, struct rt_err *err)
{
    static const struct rt_parcel_keys none = {.mac = NULL};
    return __real_rt_parcel_decode(bytes, BUG(MAC_UNCHECKED) ? &none : keys, place, attachments,
                                   ret_parcel, err);
}

WRAP(void, rt_journal_kafka_early, struct rt_journal *j, struct rt_str epoch,
     const struct rt_record *record)
{
    if (BUG(EPOCH_IGNORED))
        epoch = rt_str_c(rt_journal_kafka_epoch(j, record->partition));
    __real_rt_journal_kafka_early(j, epoch, record);
}

WRAP(enum rt_epoch_change, rt_epoch_read, struct rt_epoch_fold *fold, struct rt_str evidence,
     uint64_t position)
{
    if (BUG(NAME_KEPT)) {
        fold->whole = false;
        fold->barred_count = 0;
    }
    return __real_rt_epoch_read(fold, evidence, position);
}
