#include "store/sink_batch.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"

int rt_sink_batch_init(struct rt_sink_batch *b, size_t max)
{
    memset(b, 0, sizeof(*b));
    b->entries = rt_calloc(max, sizeof(*b->entries));
    b->max = max;
    return b->entries ? 0 : RT_ENOMEM;
}

static void release(struct rt_sink_entry *e)
{
    if (e->record)
        rd_kafka_message_destroy(e->record);
    rt_stored_unref(e->message);
    e->record = NULL;
    e->message = NULL;
}

void rt_sink_batch_clear(struct rt_sink_batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        release(&b->entries[i]);
    b->count = b->done = b->bytes = 0;
}

void rt_sink_batch_deinit(struct rt_sink_batch *b)
{
    rt_sink_batch_clear(b);
    rt_free(b->entries);
    b->entries = NULL;
}

void rt_sink_batch_drop(struct rt_sink_batch *b, uint32_t partition)
{
    size_t kept = b->done;
    for (size_t i = b->done; i < b->count; i++) {
        if (b->entries[i].partition == partition)
            release(&b->entries[i]);
        else if (kept++ != i)
            b->entries[kept - 1] = b->entries[i];
    }
    b->count = kept;
    if (b->done == b->count)
        rt_sink_batch_clear(b);
}

bool rt_sink_batch_has(const struct rt_sink_batch *b, uint32_t partition)
{
    for (size_t i = b->done; i < b->count; i++)
        if (b->entries[i].partition == partition)
            return true;
    return false;
}

struct rt_sink_entry *rt_sink_batch_add(struct rt_sink_batch *b, const struct rt_sink_part *p,
                                        uint64_t position, rd_kafka_message_t *record)
{
    struct rt_sink_entry *e = &b->entries[b->count];
    if (b->count++ == 0)
        b->opened_at = rt_mono_ms();
    e->partition = p->index;
    e->kind = RT_SINK_NOTHING;
    e->position = position;
    e->first = 0;
    e->epoch_at = p->fold.at;
    e->purged = p->purged;
    memcpy(e->epoch, p->epoch, sizeof(e->epoch));
    e->ticks = p->dedupe.ticks;
    e->record = record;
    e->message = NULL;
    b->bytes += RT_SINK_ENTRY_COST + (record ? record->len + record->key_len : 0);
    return e;
}

static bool has_nul(struct rt_str s)
{
    return s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL;
}

void rt_sink_entry_row(struct rt_sink_entry *e, struct rt_stored *message)
{
    const struct rt_message *m = &message->m;
    e->message = message;
    if (has_nul(m->event) || has_nul(m->publisher) || has_nul(m->key) || has_nul(m->except_in))
        rt_sink_entry_dead(e, "22021", "a header's text has a NUL, which PostgreSQL cannot store");
    else if (m->time > RT_SINK_TIME_MAX)
        rt_sink_entry_dead(e, "22008", "its time is beyond what PostgreSQL can store");
    else
        e->kind = RT_SINK_ROW;
}

/* Valid UTF-8 without NUL, cut at the end of `to`. */
static void copy_text(char *to, size_t size, const char *from)
{
    size_t at = 0, bad = 0;
    size_t left = strlen(from);
    while (left > 0 && at + 1 < size) {
        size_t good = rt_utf8_prefix(from, left, &bad);
        size_t room = size - 1 - at;
        size_t ignored;
        size_t take = good <= room ? good : rt_utf8_prefix(from, room, &ignored);
        memcpy(to + at, from, take);
        at += take;
        if (take < good)
            break;
        if (bad > 0 && at + 1 < size)
            to[at++] = '?';
        from += good + bad;
        left -= good + bad;
    }
    to[at] = '\0';
}

void rt_sink_entry_dead(struct rt_sink_entry *e, const char *sqlstate, const char *text)
{
    e->kind = RT_SINK_DEAD;
    snprintf(e->sqlstate, sizeof(e->sqlstate), "%.5s", sqlstate);
    copy_text(e->why, sizeof(e->why), text);
}

size_t rt_sink_entry_ticks(const struct rt_sink_entry *e, char out[RT_SINK_TICKS_TEXT + 1])
{
    out[0] = '\0';
    if (e->ticks.at[0] == 0)
        return 0;
    size_t len = strlen(e->epoch);
    memcpy(out, e->epoch, len);
    out[len++] = ' ';
    return len + rt_ticks_write(&e->ticks, out + len);
}

struct rt_ticks rt_sink_ticks_read(struct rt_str text, struct rt_str epoch, uint64_t next)
{
    struct rt_ticks ticks = {.at = {0}};
    struct rt_str rest;
    if (rt_str_eq(rt_str_split(text, ' ', &rest), epoch))
        (void)rt_ticks_read(rest, next, &ticks);
    return ticks;
}
