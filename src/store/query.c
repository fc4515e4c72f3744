#include "store/query.h"

#include <stdio.h>

#include "base/alloc.h"
#include "store/schema.h"

#define TIME_MAX \
    9000000000000000u /* wall ms, in the year 287169: PostgreSQL has times a little beyond it */

/* Columns of the answer: what is known of the channel stands in every row; without messages there is one row, with NULL for the message. */
enum {
    COMPLETE,
    FLOOR,
    TOP,
    OFFSET,
    TIME,
    ID,
    KIND,
    FLAGS,
    EVENT,
    DATA,
    ATTACHMENTS,
    PUBLISHER,
    KEY,
    EXCEPT_IN,
    SIZE,
    FIRST, /* by time */
    BEFORE,
    COLUMNS,
};

/* $1 topic, $2 partition, $3 epoch, $4 channel, $5 since, or the time, $6 until, $7 limit, $8 bytes. The sum of the sizes ahead ends a page: sizes are known without reading
 * what is stored out of line. */
#define STATE                                                                              \
    "SELECT CASE WHEN p.epoch = $3 THEN p.next - 1"                                        \
    " WHEN EXISTS (SELECT FROM {schema}.message WHERE epoch = $3)"                         \
    " OR EXISTS (SELECT FROM {schema}.purged WHERE epoch = $3) THEN 9223372036854775807"   \
    " ELSE 0 END AS complete,"                                                             \
    " greatest(CASE WHEN p.epoch = $3 THEN p.purged ELSE 0 END,"                           \
    " (SELECT upto FROM {schema}.purged WHERE epoch = $3)) AS floor,"                      \
    " coalesce((SELECT \"offset\" FROM {schema}.message WHERE channel = $4 AND epoch = $3" \
    " ORDER BY \"offset\" DESC LIMIT 1), 0) AS top"                                        \
    " FROM (SELECT 1) AS one LEFT JOIN {schema}.progress p ON p.topic = $1 AND p.part = $2::int4"
/* A time becomes a position: the least of those that are of the time or later. Times rise with offsets but for the skew of clocks (RT_CLOCK_SKEW): it is not far from the
 * first by time. Where a clock was wrong it is further away: looked at are so many of the earliest as cost some 10 ms. The sums keep the planner from walking all positions up to it. */
#define PLACE                                                                                \
    "WITH edge AS MATERIALIZED (SELECT time FROM {schema}.message"                           \
    " WHERE channel = $4 AND epoch = $3 AND time >= $5::timestamptz ORDER BY time LIMIT 1)," \
    " first AS MATERIALIZED (SELECT least((SELECT min(\"offset\" + 0) FROM {schema}.message" \
    " WHERE channel = $4 AND epoch = $3 AND time >= $5::timestamptz"                         \
    " AND time <= (SELECT time FROM edge) + interval '1 minute'),"                           \
    " (SELECT min(x.at) FROM (SELECT \"offset\" + 0 AS at FROM {schema}.message"             \
    " WHERE channel = $4 AND epoch = $3 AND time >= $5::timestamptz"                         \
    " ORDER BY time LIMIT 20000) AS x)) AS at),"                                             \
    " place AS MATERIALIZED (SELECT at, coalesce((SELECT \"offset\" FROM {schema}.message"   \
    " WHERE channel = $4 AND epoch = $3 AND \"offset\" < coalesce(at, 9223372036854775807)"  \
    " ORDER BY \"offset\" DESC LIMIT 1), 0) AS before FROM first) "
#define PAGE(since, until, order)                                                                            \
    "SELECT * FROM (SELECT *, sum(size) OVER (ORDER BY \"offset\"" order                                     \
    " ROWS UNBOUNDED PRECEDING) - size AS ahead FROM ("                                                      \
    "SELECT \"offset\", time, id, kind, flags, event, data, attachments, publisher, key,"                    \
    " except_in, (octet_length(data) + 256 + coalesce((SELECT sum(octet_length(a)) FROM unnest(attachments)" \
    " AS a), 0))::int8 AS size FROM {schema}.message WHERE channel = $4 AND epoch = $3"                      \
    " AND \"offset\" " since " AND \"offset\" " until " $6::int8"                                            \
    " ORDER BY \"offset\"" order " LIMIT $7::int8) AS x) AS y WHERE ahead < $8::int8"
#define READ(since, until, order, place)                                                       \
    "SELECT s.complete, s.floor, s.top, m.\"offset\", m.time, m.id, m.kind, m.flags, m.event," \
    " m.data, m.attachments, m.publisher, m.key, m.except_in, m.size, " place " FROM (" STATE  \
    ") AS s LEFT JOIN (" PAGE(since, until, order) ") AS m ON true ORDER BY m.\"offset\"" order

#define PLACED "(SELECT at FROM place), (SELECT before FROM place)"

static const struct {
    const char *name, *text;
} statements[] = {
    {"rt_forward", READ("> $5::int8", "<=", "", "0::int8, 0::int8")},
    {"rt_reverse", READ("< $5::int8", ">=", " DESC", "0::int8, 0::int8")},
    {"rt_forward_time", PLACE READ("> (SELECT before FROM place)", "<=", "", PLACED)},
    {"rt_reverse_time",
     PLACE READ("< (SELECT coalesce(at, 9223372036854775807) FROM place)", ">=", " DESC", PLACED)},
};

int rt_query_prepare(struct rt_pg *pg, const char *schema, uint32_t timeout, struct rt_err *err)
{
    int code = RT_OK;
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]) && code == RT_OK; i++) {
        char *sql = rt_schema_statement(statements[i].text, schema);
        code = sql ? rt_pg_prepare(pg, statements[i].name, sql, timeout, err) : rt_err_nomem(err);
        rt_free(sql);
    }
    return code;
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

/* Positions may come from clients: what cannot be an epoch of ours is one that nobody knows. */
static struct rt_str epoch_of(const struct rt_query *q, int32_t *ret_partition)
{
    for (const char *p = q->epoch; *p; p++) {
        bool plain = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
                     (*p >= 'A' && *p <= 'Z') || *p == '-' || *p == '_' || *p == '.';
        if (!plain)
            return RT_STR("");
    }
    struct rt_str rest;
    uint64_t partition;
    (void)rt_str_split(rt_str_c(q->epoch), '.', &rest);
    if (rt_str_to_u64(rt_str_split(rest, '.', &rest), &partition) == 0 && partition <= INT32_MAX)
        *ret_partition = (int32_t)partition;
    return rt_str_c(q->epoch);
}

static int64_t bound(uint64_t offset, int64_t when_zero)
{
    return offset == 0 ? when_zero : offset > INT64_MAX ? INT64_MAX : (int64_t)offset;
}

static void add_params(struct rt_pg_params *p, const char *topic, const struct rt_query *q)
{
    int32_t partition = -1;
    struct rt_str epoch = epoch_of(q, &partition);
    rt_pg_params_init(p);
    rt_pg_add_text(p, rt_str_c(topic));
    rt_pg_add_i32(p, partition);
    rt_pg_add_text(p, epoch);
    rt_pg_add_text(p, q->channel);
    if (q->by_time)
        rt_pg_add_time(p, q->time < TIME_MAX ? q->time : TIME_MAX);
    else
        rt_pg_add_i64(p, bound(q->since, q->reverse ? INT64_MAX : 0));
    rt_pg_add_i64(p, bound(q->until, q->reverse ? 0 : INT64_MAX));
    rt_pg_add_i64(p, q->limit < RT_QUERY_ROWS ? q->limit : RT_QUERY_ROWS);
    rt_pg_add_i64(p, RT_READ_BYTES);
}

/* ---- rows to messages ---------------------------------------------------------------------------------------- */

static int bad_row(const struct rt_query *q, uint64_t offset, const char *what, struct rt_err *err)
{
    return rt_err_set(err, RT_EIO, "the row %s:%llu is none of ours: %s", q->epoch,
                      (unsigned long long)offset, what);
}

static int message_of(const PGresult *rows, int row, const struct rt_query *q,
                      struct rt_stored **ret_message, struct rt_err *err)
{
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    uint64_t offset = (uint64_t)rt_pg_int(rows, row, OFFSET);
    struct rt_str id = rt_pg_str(rows, row, ID);
    int64_t kind = rt_pg_int(rows, row, KIND);
    int count = 0;
    if (!rt_pg_is_null(rows, row, ATTACHMENTS))
        count =
            rt_pg_array_items(rt_pg_str(rows, row, ATTACHMENTS), attachments, RT_MAX_ATTACHMENTS);
    if (kind < RT_KIND_JSON || kind > RT_KIND_BYTES)
        return bad_row(q, offset, "its kind is not known, as when a newer version wrote it", err);
    if (count < 0)
        return bad_row(q, offset, "attachments", err);
    if (id.len != 16)
        return bad_row(q, offset, "id", err);
    struct rt_message m = {
        .offset = offset,
        .time = rt_pg_time(rows, row, TIME),
        .kind = (uint8_t)kind,
        .flags = (uint8_t)rt_pg_int(rows, row, FLAGS) &
                 (RT_MESSAGE_ARGS | RT_MESSAGE_NOT_SENDER | RT_MESSAGE_COPY),
        .event = rt_pg_str(rows, row, EVENT),
        .data = rt_pg_str(rows, row, DATA),
        .attachments = attachments,
        .attachment_count = (uint8_t)count,
        .publisher = rt_pg_str(rows, row, PUBLISHER),
        .key = rt_pg_str(rows, row, KEY),
        .except_in = rt_pg_str(rows, row, EXCEPT_IN),
    };
    memcpy(m.id, id.ptr, sizeof(m.id));
    *ret_message = rt_stored_new(&m);
    return *ret_message ? RT_OK : rt_err_nomem(err);
}

void rt_query_result_deinit(struct rt_query_result *result)
{
    for (size_t i = 0; i < result->count; i++)
        rt_stored_unref(result->messages[i]);
    rt_free(result->messages);
    result->messages = NULL;
    result->count = 0;
}

static int take_messages(const PGresult *rows, const struct rt_query *q,
                         struct rt_query_result *result, struct rt_err *err)
{
    int count = PQntuples(rows);
    if (rt_pg_is_null(rows, 0, OFFSET))
        return RT_OK;
    result->messages = rt_calloc((size_t)count, sizeof(struct rt_stored *));
    if (!result->messages)
        return rt_err_nomem(err);
    uint64_t bytes = 0;
    for (int row = 0; row < count; row++) {
        int code = message_of(rows, row, q, &result->messages[row], err);
        if (code < 0)
            return code;
        result->count++;
        bytes += (uint64_t)rt_pg_int(rows, row, SIZE);
    }
    /* The last one may have been the last of all: then the caller finds an empty page. */
    result->more = (uint32_t)count < q->limit && (bytes >= RT_READ_BYTES || count == RT_QUERY_ROWS);
    return RT_OK;
}

static int take_rows(const PGresult *rows, const struct rt_query *q,
                     struct rt_query_result *ret_result, struct rt_err *err)
{
    struct rt_query_result result = {0};
    if (PQntuples(rows) < 1 || PQnfields(rows) != COLUMNS)
        return rt_err_set(err, RT_EIO, "an answer of another form than was asked for");
    int64_t complete = rt_pg_int(rows, 0, COMPLETE);
    result.complete = complete == INT64_MAX ? UINT64_MAX : complete > 0 ? (uint64_t)complete : 0;
    result.floor = (uint64_t)rt_pg_int(rows, 0, FLOOR);
    result.top.offset = (uint64_t)rt_pg_int(rows, 0, TOP);
    result.found = q->by_time && !rt_pg_is_null(rows, 0, FIRST);
    if (result.found || !q->reverse)
        result.since = (uint64_t)rt_pg_int(rows, 0, q->reverse ? FIRST : BEFORE);
    snprintf(result.top.epoch, sizeof(result.top.epoch), "%s", q->epoch);
    int code = take_messages(rows, q, &result, err);
    if (code < 0) {
        rt_query_result_deinit(&result);
        return code;
    }
    *ret_result = result;
    return RT_OK;
}

int rt_query_run(struct rt_pg *pg, const char *topic, const struct rt_query *query,
                 uint32_t timeout, struct rt_query_result *ret_result, struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *rows = NULL;
    add_params(&params, topic, query);
    const char *name = statements[(query->reverse ? 1 : 0) + (query->by_time ? 2 : 0)].name;
    int code = rt_pg_exec_prepared(pg, name, &params, timeout, &rows, err);
    if (code == RT_OK)
        code = take_rows(rows, query, ret_result, err);
    PQclear(rows);
    return code;
}
