#include "store/sink_write.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "journal/kafka_message.h"

/* ---- the statements ------------------------------------------------------------------------------------------ */

/* Parameters in their order: the topic, what moves, the rows, and (of the full statement) repetitions and dead letters. */
enum { TOPIC = 1, MOVES = 2, ROWS = 10, REPEATS = 23, DEAD = 31, PARAMS = 39 };
_Static_assert(RT_PG_PARAMS >= PARAMS, "all parameters of the full statement");

struct column {
    const char *name, *cast;
    enum rt_pg_type element;
};

static const struct column moves[] = {
    {"part", "int4", RT_PG_INT4},   {"from", "int8", RT_PG_INT8},  {"to", "int8", RT_PG_INT8},
    {"was", "text", RT_PG_TEXT},    {"epoch", "text", RT_PG_TEXT}, {"epoch_at", "int8", RT_PG_INT8},
    {"purged", "int8", RT_PG_INT8}, {"ticks", "text", RT_PG_TEXT},
};

static const struct column rows[] = {
    {"epoch", "text", RT_PG_TEXT},
    {"offset", "int8", RT_PG_INT8},
    {"time", "timestamptz", RT_PG_TIMESTAMPTZ},
    {"channel", "text", RT_PG_TEXT},
    {"id", "uuid", RT_PG_UUID},
    {"event", "text", RT_PG_TEXT},
    {"kind", "int2", RT_PG_INT2},
    {"flags", "int2", RT_PG_INT2},
    {"data", "bytea", RT_PG_BYTEA},
    {"attachments", "text", RT_PG_TEXT},
    {"publisher", "text", RT_PG_TEXT},
    {"key", "text", RT_PG_TEXT},
    {"except_in", "text", RT_PG_TEXT},
};

static const struct column repeats[] = {
    {"epoch", "text", RT_PG_TEXT},     {"offset", "int8", RT_PG_INT8},
    {"first", "int8", RT_PG_INT8},     {"time", "timestamptz", RT_PG_TIMESTAMPTZ},
    {"channel", "text", RT_PG_TEXT},   {"id", "uuid", RT_PG_UUID},
    {"publisher", "text", RT_PG_TEXT}, {"key", "text", RT_PG_TEXT},
};

static const struct column dead[] = {
    {"part", "int4", RT_PG_INT4},      {"offset", "int8", RT_PG_INT8},
    {"epoch", "text", RT_PG_TEXT},     {"time", "timestamptz", RT_PG_TIMESTAMPTZ},
    {"channel", "bytea", RT_PG_BYTEA}, {"headers", "bytea", RT_PG_BYTEA},
    {"data", "bytea", RT_PG_BYTEA},    {"sqlstate", "text", RT_PG_TEXT},
    {"error", "text", RT_PG_TEXT},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum {
    PLAIN_ARRAYS = COUNT(moves) + COUNT(rows),
    ARRAYS = PLAIN_ARRAYS + COUNT(repeats) + COUNT(dead)
};
_Static_assert(ROWS == MOVES + COUNT(moves), "parameters follow each other");
_Static_assert(REPEATS == ROWS + COUNT(rows), "parameters follow each other");
_Static_assert(DEAD == REPEATS + COUNT(repeats), "parameters follow each other");
_Static_assert(PARAMS == DEAD + COUNT(dead) - 1, "parameters follow each other");

static const char *const names[] = {"rt_sink_plain", "rt_sink_full"};

static void add_table(struct rt_buf *out, const char *schema, const char *table)
{
    rt_pg_add_identifier(out, schema);
    rt_buf_add_byte(out, '.');
    rt_buf_add_c(out, table);
}

/* unnest($2::int4[], ...) AS alias("part", ...) */
static void add_unnest(struct rt_buf *out, const struct column *columns, size_t count, int first,
                       const char *alias)
{
    rt_buf_add_c(out, "unnest(");
    for (size_t i = 0; i < count; i++)
        rt_buf_printf(out, "%s$%d::%s[]", i ? ", " : "", first + (int)i, columns[i].cast);
    rt_buf_printf(out, ") AS %s(", alias);
    for (size_t i = 0; i < count; i++)
        rt_buf_printf(out, "%s\"%s\"", i ? ", " : "", columns[i].name);
    rt_buf_add_byte(out, ')');
}

static void add_names(struct rt_buf *out, const struct column *columns, size_t count,
                      bool cast_attachments)
{
    for (size_t i = 0; i < count; i++) {
        bool cast = cast_attachments && strcmp(columns[i].name, "attachments") == 0;
        rt_buf_printf(out, "%s\"%s\"%s", i ? ", " : "", columns[i].name, cast ? "::bytea[]" : "");
    }
}

/* alias AS (INSERT INTO table (...) SELECT ... FROM unnest(...) WHERE all is as it was) */
static void add_insert(struct rt_buf *out, const char *schema, const char *table,
                       const struct column *columns, size_t count, int first)
{
    bool topic = columns == dead;
    rt_buf_printf(out, ", to_%s AS (INSERT INTO ", table);
    add_table(out, schema, table);
    rt_buf_add_c(out, topic ? " (topic, " : " (");
    add_names(out, columns, count, false);
    rt_buf_add_c(out, topic ? ") SELECT $1, " : ") SELECT ");
    add_names(out, columns, count, true);
    rt_buf_add_c(out, " FROM ");
    add_unnest(out, columns, count, first, "r");
    rt_buf_add_c(out, " WHERE (SELECT yes FROM agreed) ON CONFLICT DO NOTHING)");
}

static void add_statement(struct rt_buf *out, const char *schema, bool full)
{
    rt_buf_add_c(out, "WITH move AS MATERIALIZED (SELECT * FROM ");
    add_unnest(out, moves, COUNT(moves), MOVES, "m");
    rt_buf_add_c(out, "), held AS MATERIALIZED (SELECT p.part FROM ");
    add_table(out, schema, "progress");
    rt_buf_add_c(
        out, " p JOIN move m ON m.part = p.part WHERE p.topic = $1 AND p.next = m.\"from\" AND "
             "p.epoch = m.was ORDER BY p.part FOR UPDATE OF p), "
             "agreed AS MATERIALIZED (SELECT count(*) = cardinality($2::int4[]) AS yes FROM held), "
             "moved AS (UPDATE ");
    add_table(out, schema, "progress");
    rt_buf_add_c(
        out,
        " p SET next = m.\"to\", epoch = m.epoch, epoch_at = m.epoch_at, ticks = m.ticks, purged = CASE WHEN "
        "p.epoch = m.epoch THEN greatest(p.purged, m.purged) ELSE m.purged END FROM move m "
        "WHERE p.topic = $1 AND p.part = m.part AND (SELECT yes FROM agreed))");
    add_insert(out, schema, "message", rows, COUNT(rows), ROWS);
    if (full) {
        add_insert(out, schema, "repeat", repeats, COUNT(repeats), REPEATS);
        add_insert(out, schema, "dead_letter", dead, COUNT(dead), DEAD);
    }
    rt_buf_add_c(out, " SELECT part FROM held");
}

static char *make_statement(const char *schema, bool full)
{
    struct rt_buf out = RT_BUF_INIT;
    add_statement(&out, schema, full);
    return rt_buf_take_text(&out);
}

int rt_sink_writer_prepare(struct rt_sink_writer *w, struct rt_err *err)
{
    int code = rt_pg_prepare(w->pg, names[0], w->plain, w->timeout, err);
    return code < 0 ? code : rt_pg_prepare(w->pg, names[1], w->full, w->timeout, err);
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

/* {"\\x0102","\\x03"}: unnest() would flatten an array of arrays. */
static void add_attachments(struct rt_pg_array *to, const struct rt_message *m, struct rt_buf *text)
{
    static const char digits[] = "0123456789abcdef";
    if (m->attachment_count == 0) {
        rt_pg_array_add(to, RT_STR_NONE);
        return;
    }
    rt_buf_clear(text);
    rt_buf_add_byte(text, '{');
    for (uint8_t i = 0; i < m->attachment_count; i++) {
        struct rt_str a = m->attachments[i];
        rt_buf_add_c(text, i ? ",\"\\\\x" : "\"\\\\x");
        uint8_t *hex = rt_buf_reserve(text, 2 * a.len);
        for (size_t k = 0; hex && k < a.len; k++) {
            hex[2 * k] = (uint8_t)digits[(uint8_t)a.ptr[k] >> 4];
            hex[2 * k + 1] = (uint8_t)digits[(uint8_t)a.ptr[k] & 15];
        }
        text->len += hex ? 2 * a.len : 0;
        rt_buf_add_byte(text, '"');
    }
    rt_buf_add_byte(text, '}');
    to->buf.failed |= !rt_buf_ok(text);
    rt_pg_array_add(to, rt_buf_str(text));
}

static struct rt_str channel_of(const struct rt_sink_entry *e)
{
    return rt_str_of(e->record->key ? e->record->key : "", e->record->key_len);
}

static void add_row(struct rt_pg_array *a, const struct rt_sink_entry *e, struct rt_buf *text)
{
    const struct rt_message *m = &e->message->m;
    rt_pg_array_add(&a[0], rt_str_c(e->epoch));
    rt_pg_array_add_i64(&a[1], (int64_t)e->position);
    rt_pg_array_add_time(&a[2], m->time);
    rt_pg_array_add(&a[3], channel_of(e));
    rt_pg_array_add(&a[4], rt_str_of(m->id, sizeof(m->id)));
    rt_pg_array_add(&a[5], m->event);
    rt_pg_array_add_i16(&a[6], m->kind);
    rt_pg_array_add_i16(&a[7], m->flags);
    rt_pg_array_add(&a[8], m->data.ptr ? m->data : RT_STR(""));
    add_attachments(&a[9], m, text);
    rt_pg_array_add(&a[10], m->publisher);
    rt_pg_array_add(&a[11], m->key);
    rt_pg_array_add(&a[12], m->except_in);
}

static void add_repeat(struct rt_pg_array *a, const struct rt_sink_entry *e)
{
    const struct rt_message *m = &e->message->m;
    rt_pg_array_add(&a[0], rt_str_c(e->epoch));
    rt_pg_array_add_i64(&a[1], (int64_t)e->position);
    rt_pg_array_add_i64(&a[2], (int64_t)e->first);
    rt_pg_array_add_time(&a[3], m->time);
    rt_pg_array_add(&a[4], channel_of(e));
    rt_pg_array_add(&a[5], rt_str_of(m->id, sizeof(m->id)));
    rt_pg_array_add(&a[6], m->publisher);
    rt_pg_array_add(&a[7], m->key);
}

/* NAME: VALUE lines; a line feed and a backslash of a value are "\n" and "\\". */
static void write_headers(const rd_kafka_message_t *record, struct rt_buf *out)
{
    struct rt_kafka_headers h;
    rt_kafka_headers_read(record, &h);
    rt_buf_clear(out);
    for (size_t i = 0; i < h.count; i++) {
        struct rt_str v = h.items[i].value;
        rt_buf_add_c(out, h.items[i].name);
        rt_buf_add_c(out, ": ");
        for (size_t k = 0; k < v.len; k++) {
            if (v.ptr[k] == '\n' || v.ptr[k] == '\\')
                rt_buf_add_byte(out, '\\');
            rt_buf_add_byte(out, (uint8_t)(v.ptr[k] == '\n' ? 'n' : v.ptr[k]));
        }
        rt_buf_add_byte(out, '\n');
    }
}

static void add_dead(struct rt_pg_array *a, const struct rt_sink_entry *e, struct rt_buf *text)
{
    int64_t time = rd_kafka_message_timestamp(e->record, NULL);
    write_headers(e->record, text);
    a[5].buf.failed |= !rt_buf_ok(text);
    rt_pg_array_add_i32(&a[0], (int32_t)e->partition);
    rt_pg_array_add_i64(&a[1], (int64_t)e->position);
    rt_pg_array_add(&a[2], rt_str_c(e->epoch));
    rt_pg_array_add_time(&a[3],
                         time > 0 && (uint64_t)time <= RT_SINK_TIME_MAX ? (uint64_t)time : 0);
    rt_pg_array_add(&a[4], channel_of(e));
    rt_pg_array_add(&a[5], rt_buf_str(text));
    rt_pg_array_add(&a[6], rt_str_of(e->record->payload ? e->record->payload : "", e->record->len));
    rt_pg_array_add(&a[7], rt_str_c(e->sqlstate));
    rt_pg_array_add(&a[8], rt_str_c(e->why));
}

/* ---- one transaction ----------------------------------------------------------------------------------------- */

/* Entries [begin, end) of a batch. */
struct range {
    size_t begin, end;
    uint64_t rows, repeats, dead;
};

static void add_entry(struct rt_sink_writer *w, const struct rt_sink_entry *e, struct range *r,
                      struct rt_buf *text)
{
    struct rt_pg_array *a = w->arrays + COUNT(moves);
    switch (e->kind) {
    case RT_SINK_ROW:
        add_row(a, e, text);
        r->rows++;
        break;
    case RT_SINK_REPEAT:
        add_repeat(a + COUNT(rows), e);
        r->repeats++;
        break;
    case RT_SINK_DEAD:
        add_dead(a + COUNT(rows) + COUNT(repeats), e, text);
        r->dead++;
        break;
    case RT_SINK_NOTHING:
        break;
    }
}

static void add_move(struct rt_sink_writer *w, const struct rt_sink_entry *last)
{
    const struct rt_sink_part *p = &w->parts[last->partition];
    char ticks[RT_SINK_TICKS_TEXT + 1];
    rt_pg_array_add_i32(&w->arrays[0], (int32_t)last->partition);
    rt_pg_array_add_i64(&w->arrays[1], (int64_t)p->next);
    rt_pg_array_add_i64(&w->arrays[2], (int64_t)last->position + 1);
    rt_pg_array_add(&w->arrays[3], rt_str_c(p->stored_epoch));
    rt_pg_array_add(&w->arrays[4], rt_str_c(last->epoch));
    rt_pg_array_add_i64(&w->arrays[5], (int64_t)last->epoch_at);
    rt_pg_array_add_i64(&w->arrays[6], (int64_t)last->purged);
    rt_pg_array_add(&w->arrays[7], rt_str_of(ticks, rt_sink_entry_ticks(last, ticks)));
}

/* Arrays of the range; `last` of each touched partition is its last entry. */
static bool build(struct rt_sink_writer *w, const struct rt_sink_batch *b, struct range *r)
{
    struct rt_buf text = RT_BUF_INIT;
    bool ok = true;
    w->touched_count = 0;
    for (size_t i = 0; i < ARRAYS; i++)
        rt_pg_array_clear(&w->arrays[i]);
    for (uint32_t i = 0; i < w->partitions; i++)
        w->last[i] = NULL;
    for (size_t i = r->begin; i < r->end; i++) {
        const struct rt_sink_entry *e = &b->entries[i];
        if (!w->last[e->partition])
            w->touched[w->touched_count++] = e->partition;
        w->last[e->partition] = e;
        add_entry(w, e, r, &text);
    }
    for (uint32_t i = 0; i < w->touched_count; i++)
        add_move(w, w->last[w->touched[i]]);
    rt_buf_deinit(&text);
    for (size_t i = 0; i < ARRAYS; i++)
        ok = ok && rt_buf_ok(&w->arrays[i].buf);
    return ok;
}

static void settle(struct rt_sink_writer *w, const struct range *r)
{
    for (uint32_t i = 0; i < w->touched_count; i++) {
        const struct rt_sink_entry *last = w->last[w->touched[i]];
        rt_sink_part_stored(&w->parts[w->touched[i]], last->position + 1, last->epoch);
    }
    w->rows += r->rows;
    w->repeats += r->repeats;
    w->dead += r->dead;
    w->batches++;
}

/* Which ones of the touched partitions were not as we left them? */
static bool agreed(struct rt_sink_writer *w, const PGresult *result)
{
    int held = PQntuples(result);
    if ((uint32_t)held == w->touched_count)
        return true;
    for (uint32_t i = 0; i < w->touched_count; i++)
        w->lost[w->touched[i]] = true;
    for (int i = 0; i < held; i++)
        w->lost[rt_pg_int(result, i, 0)] = false;
    return false;
}

enum tried { TRIED_STORED, TRIED_FENCED, TRIED_DATA, TRIED_OUTAGE, TRIED_GONE };

static enum tried try_range(struct rt_sink_writer *w, const struct rt_sink_batch *b,
                            struct range *r, struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *result = NULL;
    if (!build(w, b, r))
        return rt_err_nomem(err), TRIED_OUTAGE;
    bool full = r->repeats + r->dead > 0;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(w->topic));
    for (size_t i = 0; i < (full ? ARRAYS : PLAIN_ARRAYS); i++)
        rt_pg_add_array(&params, &w->arrays[i]);
    if (rt_pg_exec_prepared(w->pg, names[full], &params, w->timeout, &result, err) < 0) {
        if (!rt_pg_usable(w->pg))
            return TRIED_GONE;
        return w->pg->failure == RT_PG_DATA ? TRIED_DATA : TRIED_OUTAGE;
    }
    bool stored = agreed(w, result);
    PQclear(result);
    if (!stored)
        return TRIED_FENCED;
    settle(w, r);
    return TRIED_STORED;
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

/* The server refuses this one record. False: it refuses what has been made of it. */
static bool bury(struct rt_sink_writer *w, struct rt_sink_entry *e, const struct rt_err *err)
{
    if (e->kind == RT_SINK_DEAD || e->kind == RT_SINK_NOTHING)
        return false;
    rt_sink_entry_dead(e, w->pg->sqlstate, err->text);
    rt_log(RT_LOG_WARN, "sink", "a record cannot be stored and goes to the dead letters",
           rt_kv_u64("partition", e->partition), rt_kv_c("epoch", e->epoch),
           rt_kv_u64("offset", e->position), rt_kv_c("text", e->why));
    return true;
}

static enum rt_sink_outcome outcome_of(enum tried tried)
{
    return tried == TRIED_FENCED ? RT_SINK_FENCED
           : tried == TRIED_GONE ? RT_SINK_GONE
                                 : RT_SINK_OUTAGE;
}

enum rt_sink_outcome rt_sink_writer_store(struct rt_sink_writer *w, struct rt_sink_batch *b,
                                          struct rt_err *err)
{
    while (b->done < b->count) {
        size_t left = b->count - b->done;
        size_t size = w->size < left ? w->size : left;
        struct range r = {.begin = b->done, .end = b->done + size};
        enum tried tried = try_range(w, b, &r, err);
        if (tried == TRIED_STORED) {
            b->done += size;
            w->size = w->size > SIZE_MAX / 2 ? SIZE_MAX : w->size * 2;
            continue;
        }
        bool slow = tried == TRIED_OUTAGE && strcmp(w->pg->sqlstate, "57014") == 0;
        if ((tried == TRIED_DATA || slow) && size > 1)
            w->size = size / 2;
        if (tried != TRIED_DATA || (size == 1 && !bury(w, &b->entries[b->done], err)))
            return outcome_of(tried);
    }
    rt_sink_batch_clear(b);
    return RT_SINK_STORED;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void init_arrays(struct rt_pg_array *a, const struct column *columns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rt_pg_array_init(&a[i], columns[i].element);
}

int rt_sink_writer_init(struct rt_sink_writer *w, const char *schema, const char *topic,
                        struct rt_sink_part *parts, uint32_t partitions)
{
    memset(w, 0, sizeof(*w));
    w->topic = topic;
    w->parts = parts;
    w->partitions = partitions;
    w->size = SIZE_MAX;
    w->plain = make_statement(schema, false);
    w->full = make_statement(schema, true);
    w->touched = rt_calloc(partitions, sizeof(*w->touched));
    w->last = rt_calloc(partitions, sizeof(*w->last));
    w->lost = rt_calloc(partitions, sizeof(*w->lost));
    w->arrays = rt_calloc(ARRAYS, sizeof(*w->arrays));
    if (!w->plain || !w->full || !w->touched || !w->last || !w->lost || !w->arrays) {
        rt_sink_writer_deinit(w);
        return RT_ENOMEM;
    }
    init_arrays(w->arrays, moves, COUNT(moves));
    init_arrays(w->arrays + COUNT(moves), rows, COUNT(rows));
    init_arrays(w->arrays + PLAIN_ARRAYS, repeats, COUNT(repeats));
    init_arrays(w->arrays + PLAIN_ARRAYS + COUNT(repeats), dead, COUNT(dead));
    return 0;
}

void rt_sink_writer_deinit(struct rt_sink_writer *w)
{
    for (size_t i = 0; w->arrays && i < ARRAYS; i++)
        rt_pg_array_deinit(&w->arrays[i]);
    rt_free(w->arrays);
    rt_free(w->lost);
    rt_free(w->last);
    rt_free(w->touched);
    rt_free(w->full);
    rt_free(w->plain);
    memset(w, 0, sizeof(*w));
}
