#include "store/sink_load.h"

#include "base/alloc.h"
#include "journal/kafka_message.h"
#include "store/schema.h"
#include "store/sink_batch.h"

#define TIMEOUT_MS      7000u
#define PAGE            10000
#define WINDOW_SLACK_MS 600000u /* of clocks, where the log has no ticks */

static const char PROGRESS[] =
    "SELECT epoch, next, purged, epoch_at, ticks FROM {schema}.progress WHERE "
    "topic = $1 AND part = $2";

/* A page of the keys that count: from $3 on. Without ticks (a young log, or of a version that had none) those of the window before the newest row. */
#define OF_THE_WINDOW                                                                \
    "WHERE epoch = $1 AND \"offset\" < $2 AND \"offset\" >= $3 AND key IS NOT NULL " \
    "AND ($4 = 0 OR time >= (SELECT since FROM newest)) ORDER BY \"offset\" LIMIT $5"
static const char KEYS[] =
    "WITH newest AS MATERIALIZED (SELECT time - $4::bigint * interval '1 ms' AS since FROM {schema}.message "
    "WHERE $4 > 0 AND epoch = $1 AND \"offset\" < $2 ORDER BY \"offset\" DESC LIMIT 1) "
    "SELECT * FROM (SELECT \"offset\", \"offset\" AS first, publisher, key, channel FROM {schema}.message " OF_THE_WINDOW
    ") m UNION ALL "
    "SELECT * FROM (SELECT \"offset\", first, publisher, key, channel FROM {schema}.repeat " OF_THE_WINDOW
    ") r ORDER BY 1 LIMIT $5";

static const char BEGIN[] =
    "INSERT INTO {schema}.progress (topic, part, epoch, next, purged, epoch_at) VALUES ($1, $2, $3, $4, $5, "
    "$6) ON CONFLICT DO NOTHING RETURNING 1";

static const char KNOWN[] =
    "SELECT 1 FROM {schema}.message WHERE channel = $1 AND time = $2 AND \"offset\" = $3 AND id = $4 AND "
    "split_part(epoch, '.', 2) = $5::int::text UNION ALL "
    "SELECT 1 FROM {schema}.repeat WHERE channel = $1 AND time = $2 AND \"offset\" = $3 AND id = $4 AND "
    "split_part(epoch, '.', 2) = $5::int::text UNION ALL "
    "SELECT 1 FROM {schema}.dead_letter WHERE topic = $6 AND part = $5 AND \"offset\" = $3 AND data = $7 "
    "LIMIT 1";

int rt_sink_loader_init(struct rt_sink_loader *l, const char *schema, const char *topic)
{
    l->pg = NULL;
    l->topic = topic;
    l->progress = rt_schema_statement(PROGRESS, schema);
    l->keys = rt_schema_statement(KEYS, schema);
    l->begin = rt_schema_statement(BEGIN, schema);
    l->known = rt_schema_statement(KNOWN, schema);
    if (l->progress && l->keys && l->begin && l->known)
        return 0;
    rt_sink_loader_deinit(l);
    return RT_ENOMEM;
}

void rt_sink_loader_deinit(struct rt_sink_loader *l)
{
    rt_free(l->progress);
    rt_free(l->keys);
    rt_free(l->begin);
    rt_free(l->known);
    l->progress = l->keys = l->begin = l->known = NULL;
}

/* ---- taking over --------------------------------------------------------------------------------------------- */

/* A repetition tells what it repeats, even where that is from before the window. */
static int feed(struct rt_sink_part *p, const PGresult *result, uint64_t *ret_last,
                struct rt_err *err)
{
    for (int i = 0; i < PQntuples(result); i++) {
        struct rt_message m = {.publisher = rt_pg_str(result, i, 2),
                               .key = rt_pg_str(result, i, 3)};
        struct rt_str channel = rt_pg_str(result, i, 4);
        uint64_t first;
        *ret_last = (uint64_t)rt_pg_int(result, i, 0);
        for (int column = 1; column >= 0; column--) {
            m.offset = (uint64_t)rt_pg_int(result, i, column);
            if (rt_dedupe_record(&p->dedupe, channel, &m, &first) < 0)
                return rt_err_nomem(err);
        }
    }
    return 0;
}

static int load_page(struct rt_sink_loader *l, struct rt_sink_part *p, uint64_t *from,
                     int *ret_rows, struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *result = NULL;
    bool ticks = rt_ticks_oldest(&p->dedupe.ticks) > 0;
    uint64_t last = 0;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(p->epoch));
    rt_pg_add_i64(&params, (int64_t)p->next);
    rt_pg_add_i64(&params, (int64_t)*from);
    rt_pg_add_i64(&params, ticks ? 0 : (int64_t)(p->window + WINDOW_SLACK_MS));
    rt_pg_add_i32(&params, PAGE);
    int code = rt_pg_exec(l->pg, l->keys, &params, TIMEOUT_MS, &result, err);
    if (code == 0) {
        *ret_rows = PQntuples(result);
        code = feed(p, result, &last, err);
        *from = last + 1;
    }
    PQclear(result);
    return code;
}

static int load_keys(struct rt_sink_loader *l, struct rt_sink_part *p, struct rt_err *err)
{
    uint64_t from = rt_ticks_oldest(&p->dedupe.ticks);
    int rows = p->dedupe.on ? PAGE : 0;
    int code = 0;
    while (code == 0 && rows == PAGE)
        code = load_page(l, p, &from, &rows, err);
    return code;
}

static int take_progress(struct rt_sink_part *p, const PGresult *result, struct rt_err *err)
{
    if (PQntuples(result) == 0) {
        rt_sink_part_load_nothing(p);
        return 0;
    }
    struct rt_str epoch = rt_pg_str(result, 0, 0);
    int code =
        rt_sink_part_load(p, epoch, (uint64_t)rt_pg_int(result, 0, 3),
                          (uint64_t)rt_pg_int(result, 0, 1), (uint64_t)rt_pg_int(result, 0, 2));
    if (code < 0)
        return rt_err_set(err, code,
                          "progress of partition %u has the epoch \"%.*s\" and next %lld", p->index,
                          RT_STR_ARG(epoch), (long long)rt_pg_int(result, 0, 1));
    p->dedupe.ticks = rt_sink_ticks_read(rt_pg_str(result, 0, 4), epoch, p->next);
    return 0;
}

int rt_sink_load(struct rt_sink_loader *l, struct rt_sink_part *p, struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *result = NULL;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(l->topic));
    rt_pg_add_i32(&params, (int32_t)p->index);
    int code = rt_pg_exec(l->pg, l->progress, &params, TIMEOUT_MS, &result, err);
    if (code == 0)
        code = take_progress(p, result, err);
    PQclear(result);
    if (code == 0 && p->recorded)
        code = load_keys(l, p, err);
    if (code < 0)
        rt_sink_part_drop(p);
    return code;
}

int rt_sink_load_begin(struct rt_sink_loader *l, struct rt_sink_part *p, struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *result = NULL;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(l->topic));
    rt_pg_add_i32(&params, (int32_t)p->index);
    rt_pg_add_text(&params, rt_str_c(p->epoch));
    rt_pg_add_i64(&params, (int64_t)p->begin);
    rt_pg_add_i64(&params, (int64_t)p->purged);
    rt_pg_add_i64(&params, (int64_t)p->fold.at);
    int code = rt_pg_exec(l->pg, l->begin, &params, TIMEOUT_MS, &result, err);
    if (code == 0 && PQntuples(result) == 0)
        code = rt_err_set(err, RT_EEXIST, "somebody else has begun with this partition");
    PQclear(result);
    if (code == 0) {
        p->recorded = true;
        rt_sink_part_stored(p, p->begin, p->epoch);
    }
    return code;
}

/* ---- where the log and what is stored part ------------------------------------------------------------------- */

static bool holds_message(const rd_kafka_message_t *record)
{
    struct rt_kafka_headers h;
    struct rt_stored *message = NULL;
    rt_kafka_headers_read(record, &h);
    if (rt_kafka_message_read(record, &h, &message, NULL) < 0)
        return false;
    rt_stored_unref(message);
    return true;
}

static int is_stored(struct rt_sink_loader *l, uint32_t partition, const rd_kafka_message_t *record,
                     bool *ret_stored, struct rt_err *err)
{
    struct rt_kafka_headers h;
    struct rt_pg_params params;
    struct rt_stored *message = NULL;
    PGresult *result = NULL;
    rt_kafka_headers_read(record, &h);
    int code = rt_kafka_message_read(record, &h, &message, err);
    if (code < 0)
        return code;
    const struct rt_message *m = &message->m;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_of(record->key, record->key_len));
    rt_pg_add_time(&params, m->time);
    rt_pg_add_i64(&params, (int64_t)m->offset);
    rt_pg_add_uuid(&params, m->id);
    rt_pg_add_i32(&params, (int32_t)partition);
    rt_pg_add_text(&params, rt_str_c(l->topic));
    rt_pg_add_bytes(&params, rt_str_of(record->payload ? record->payload : "", record->len));
    code = rt_pg_exec(l->pg, l->known, &params, TIMEOUT_MS, &result, err);
    if (code == 0)
        *ret_stored = PQntuples(result) > 0;
    PQclear(result);
    rt_stored_unref(message);
    return code;
}

int rt_sink_load_parting(struct rt_sink_loader *l, struct rt_sink_consumer *c, uint32_t partition,
                         int64_t low, int64_t high, int64_t *ret_offset, struct rt_err *err)
{
    int parts = 0;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        bool stored = false;
        rd_kafka_message_t *record = NULL;
        int code = rt_sink_consumer_probe(c, partition, middle, high, holds_message, &record);
        if (code < 0)
            return rt_err_set(err, code, "Kafka does not give a record at or behind %lld",
                              (long long)middle);
        if (record)
            code = is_stored(l, partition, record, &stored, err);
        int64_t at = record ? record->offset : high;
        parts |= record && !stored;
        if (record)
            rd_kafka_message_destroy(record);
        if (code < 0)
            return code;
        if (stored)
            low = at + 1;
        else
            high = middle;
    }
    *ret_offset = low;
    return parts;
}
