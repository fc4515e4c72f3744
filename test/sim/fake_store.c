#include "fake_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fake_log.h"
#include "journal/kafka_dedupe.h"
#include "journal/kafka_epoch.h"
#include "journal/sequencer.h"

#define WRITERS 2u
#define BATCH   40u
#define READS   64u

/* One batch on its way into the database. */
struct writer {
    uint32_t partition;
    bool fresh; /* keys must be read back before the next batch */
    bool busy;
    struct rt_dedupe dedupe;
    struct rt_epoch_fold fold;
    size_t incarnation;
    uint64_t from, to;
    uint64_t named_to; /* the evidence up to here has been read */
    char epoch[RT_EPOCH_MAX + 1];
    struct store_row *rows;
    size_t count, cap;
    uint64_t dead;
};

struct pending {
    struct rt_read *read; /* NULL: taken back */
    struct sim_host *host;
};

struct store_part fake_store[SIM_PARTS];
static struct writer writers[SIM_PARTS][WRITERS];
static struct {
    bool down;
    uint64_t pause;
    uint32_t owner[SIM_PARTS];
    struct pending reads[READS];
    struct rt_keys_budget keys;
} store;

/* ---- the writer ------------------------------------------------------------------------------------------------- */

static void free_rows(struct store_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((void *)rows[i].channel.ptr);
        rt_stored_unref(rows[i].message);
    }
}

static void roll_back(struct writer *w)
{
    free_rows(w->rows, w->count);
    w->count = 0;
    w->dead = 0;
    w->fresh = true;
}

/* Begins where the database is: position, epoch, keys of the window. */
static void load(struct writer *w)
{
    const struct store_part *p = &fake_store[w->partition];
    uint64_t first;
    rt_dedupe_clear(&w->dedupe);
    w->dedupe.ticks = p->ticks;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->rows[i].epoch, p->epoch) == 0 &&
            p->rows[i].message->m.offset >= rt_ticks_oldest(&p->ticks))
            (void)rt_dedupe_record(&w->dedupe, p->rows[i].channel, &p->rows[i].message->m, &first);
    w->from = w->to = p->next;
    w->incarnation = p->incarnation;
    memcpy(w->epoch, p->epoch, sizeof(w->epoch));
    memset(&w->fold, 0, sizeof(w->fold));
    if (p->epoch[0])
        memcpy(w->fold.name.text, p->epoch, RT_EPOCH_NAME);
    w->fold.at = p->epoch_at;
    w->named_to = p->named_to;
    w->fresh = false;
}

/* Another topic of this name: from its beginning, under the name that its evidence gives it. False: nobody has named it yet. */
static bool begin_anew(struct writer *w)
{
    const struct log_part *log = log_part(w->partition);
    struct rt_epoch_fold fold = {.whole = true};
    for (size_t i = 0; i < log->count; i++) {
        const struct log_record *r = log->records[i];
        struct rt_str evidence = rt_record_header(r->headers, r->header_count, RT_HEADER_EPOCH);
        (void)rt_epoch_read(&fold, evidence, (uint64_t)r->offset + 1);
    }
    if (fold.name.text[0] == '\0')
        return false;
    sim_trace("store: p%u is another log, %s", w->partition, fold.name.text);
    rt_dedupe_clear(&w->dedupe);
    w->incarnation = fake_log.incarnations - 1;
    w->to = 1;
    w->fold = fold;
    w->named_to = (uint64_t)log->end;
    rt_epoch_text(&fold.name, w->partition, w->epoch);
    return true;
}

static void take_record(struct writer *w, const struct log_record *r)
{
    struct rt_stored *message = NULL;
    uint64_t position = (uint64_t)r->offset + 1, first;
    struct rt_str evidence = rt_record_header(r->headers, r->header_count, RT_HEADER_EPOCH);
    if (position > w->named_to && rt_epoch_read(&w->fold, evidence, position) == RT_EPOCH_NAMED)
        rt_epoch_text(&w->fold.name, w->partition, w->epoch);
    struct rt_ticks ticks;
    struct rt_str tick = rt_record_header(r->headers, r->header_count, RT_HEADER_TICK);
    if (rt_ticks_read(tick, position, &ticks) && !BUG(SINK_TIMELESS))
        (void)rt_dedupe_tick(&w->dedupe, &ticks, position);
    int code =
        rt_record_read(r->value, r->headers, r->header_count, position, r->time, &message, NULL);
    w->dead += code == RT_EINVAL;
    if (code)
        return;
    w->rows = sim_grow(w->rows, w->count, &w->cap, sizeof(*w->rows));
    struct store_row *row = &w->rows[w->count++];
    *row =
        (struct store_row){.channel = rt_str_of(sim_copy(r->key), r->key.len), .message = message};
    memcpy(row->epoch, w->epoch, sizeof(row->epoch));
    (void)rt_dedupe_record(&w->dedupe, row->channel, &message->m, &first);
    row->repeated = first && !BUG(SINK_REPEATS);
}

static void commit(void *payload)
{
    struct writer *w = *(struct writer **)payload;
    struct store_part *p = &fake_store[w->partition];
    bool stands = p->next == w->from;
    w->busy = false;
    if (store.down || (!stands && !BUG(SINK_UNFENCED)) || sim_fault(20)) {
        sim_trace("store: p%u rolls back at %llu", w->partition, (unsigned long long)w->from);
        roll_back(w);
        return;
    }
    for (size_t i = 0; i < w->count; i++) {
        p->rows = sim_grow(p->rows, p->count, &p->cap, sizeof(*p->rows));
        p->rows[p->count++] = w->rows[i];
    }
    w->count = 0;
    p->next = w->from = w->to;
    p->incarnation = w->incarnation;
    p->dead += w->dead;
    p->epoch_at = w->fold.at;
    p->named_to = w->named_to;
    p->ticks = w->dedupe.ticks;
    memcpy(p->epoch, w->epoch, sizeof(p->epoch));
    w->dead = 0;
    if (sim_fault(20)) /* the answer to COMMIT is lost: the outcome is read again */
        w->fresh = true;
}

static void begin_batch(struct writer *w)
{
    if (w->fresh)
        load(w);
    bool other = w->incarnation != fake_log.incarnations - 1;
    if ((other || w->epoch[0] == '\0') && !begin_anew(w))
        return;
    const struct log_part *log = log_part(w->partition);
    uint32_t count = 0;
    for (size_t i = log_find(log, (int64_t)w->to - 1); i < log->count && count < BATCH; i++) {
        take_record(w, log->records[i]);
        w->to = (uint64_t)log->records[i]->offset + 2;
        count++;
    }
    if (count < BATCH && w->to < (uint64_t)log->end + 1)
        w->to = (uint64_t)log->end + 1; /* control records at the end */
    if (w->to == w->from && w->incarnation == fake_store[w->partition].incarnation)
        return;
    bool frozen = sim_fault(15); /* in the middle of its transaction */
    uint64_t delay = sim_between(500, 8000) + (frozen ? sim_below(400 * SIM_MS) : 0);
    struct writer **payload = sim_post(delay, commit, sizeof(struct writer *));
    w->busy = true;
    *payload = w;
    if (frozen)
        store_take_over(w->partition);
}

static void step(void *payload)
{
    uint32_t partition = *(uint32_t *)payload;
    struct writer *w = &writers[partition][store.owner[partition]];
    if (!w->busy && !store.down && !fake_log.down && !fake_log.gone)
        begin_batch(w);
    uint32_t *again = sim_post(store.pause + sim_below(4000), step, sizeof(*again));
    *again = partition;
}

void store_take_over(uint32_t partition)
{
    store.owner[partition] = (store.owner[partition] + 1) % WRITERS;
    struct writer *w = &writers[partition][store.owner[partition]];
    w->fresh |= !w->busy; /* the one that was frozen does not know that it was */
    sim_trace("store: another writer takes p%u", partition);
}

/* ---- reads ------------------------------------------------------------------------------------------------------ */

static bool asked_for(const struct rt_read *read, const struct store_row *row)
{
    uint64_t offset = row->message->m.offset;
    if (row->repeated || !rt_str_eq(row->channel, read->channel_name) ||
        (read->epoch[0] && strcmp(row->epoch, read->epoch) != 0))
        return false;
    if (read->reverse)
        return (read->since == 0 || offset < read->since) && offset >= read->until;
    return offset > read->since && (read->until == 0 || offset <= read->until);
}

static void answer(struct rt_read *read)
{
    uint32_t partition = rt_partition_of(read->channel_name, SIM_PARTS);
    const struct store_part *p = &fake_store[partition];
    bool same = read->epoch[0] == '\0' || strcmp(read->epoch, p->epoch) == 0;
    read->messages = rt_reallocarray(NULL, read->limit + 1u, sizeof(struct rt_stored *));
    for (size_t i = 0; i < p->count && read->count < read->limit; i++) {
        const struct store_row *row = &p->rows[read->reverse ? p->count - 1 - i : i];
        if (asked_for(read, row))
            read->messages[read->count++] = rt_stored_ref(row->message);
    }
    for (size_t i = 0; i < p->count; i++)
        if (rt_str_eq(p->rows[i].channel, read->channel_name) && !p->rows[i].repeated &&
            (!read->epoch[0] || strcmp(p->rows[i].epoch, read->epoch) == 0)) {
            read->top.offset = p->rows[i].message->m.offset;
            memcpy(read->top.epoch, p->rows[i].epoch, sizeof(read->top.epoch));
        }
    read->complete = same && p->next > 0 ? p->next - 1 : 0;
    if (BUG(LAG_TRUSTED))
        read->complete = UINT64_MAX;
}

static void read_is_over(void *payload)
{
    struct pending *pending = *(struct pending **)payload;
    struct rt_read *read = pending->read;
    struct sim_host *host = pending->host;
    if (!read)
        return;
    if (host->frozen) {
        struct pending **again = sim_post(50 * SIM_MS, read_is_over, sizeof(struct pending *));
        *again = pending;
        return;
    }
    pending->read = NULL;
    struct sim_host *former = sim_enter(host);
    if (store.down) {
        read->status = RT_EIO;
        snprintf(read->text, sizeof(read->text), "the database does not answer");
    } else {
        answer(read);
    }
    read->done(read);
    sim_leave(former);
}

int store_read(void *host, struct rt_read *read)
{
    struct pending *free_one = NULL;
    for (size_t i = 0; i < READS && !free_one; i++)
        if (!store.reads[i].read)
            free_one = &store.reads[i];
    if (!free_one)
        return RT_EAGAIN;
    *free_one = (struct pending){read, host};
    read->messages = NULL;
    read->count = 0;
    read->more = false;
    read->status = 0;
    read->top = (struct rt_position){.offset = 0};
    read->floor = 0;
    struct pending **payload =
        sim_post(sim_between(500, 20000), read_is_over, sizeof(struct pending *));
    *payload = free_one;
    return RT_PENDING;
}

void store_forget_host(struct sim_host *host)
{
    for (size_t i = 0; i < READS; i++) {
        struct rt_read *read = store.reads[i].read;
        if (!read || store.reads[i].host != host)
            continue;
        store.reads[i].read = NULL;
        read->status = RT_EIO;
        read->done(read);
    }
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

void store_down(bool down)
{
    store.down = down;
    sim_trace("store: %s", down ? "down" : "up");
}

void store_slow(uint64_t pause)
{
    store.pause = pause;
}

void store_begin(void)
{
    store.pause = 20 * SIM_MS;
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        fake_store[i].next = 1;
        for (uint32_t j = 0; j < WRITERS; j++) {
            writers[i][j].partition = i;
            writers[i][j].fresh = true;
            rt_dedupe_init(&writers[i][j].dedupe, STORE_WINDOW, &store.keys);
        }
        uint32_t *payload = sim_post(0, step, sizeof(*payload));
        *payload = i;
    }
}

void store_end(void)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        free_rows(fake_store[i].rows, fake_store[i].count);
        free(fake_store[i].rows);
        for (uint32_t j = 0; j < WRITERS; j++) {
            free_rows(writers[i][j].rows, writers[i][j].count);
            free(writers[i][j].rows);
            rt_dedupe_deinit(&writers[i][j].dedupe);
        }
    }
}
