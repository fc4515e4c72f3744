#include "store/sink_owner.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "store/schema.h"

#define TIMEOUT_MS 7000u

static const char ANNOUNCE[] =
    "INSERT INTO {schema}.holder (topic, pid, node, since, lease_until, parts) VALUES ($1, "
    "pg_backend_pid(), $2, clock_timestamp(), clock_timestamp() + $3 * interval '1 ms', $4) "
    "ON CONFLICT (topic, pid) DO UPDATE SET node = excluded.node, "
    "lease_until = excluded.lease_until, parts = excluded.parts, since = CASE WHEN $5 = 1 THEN "
    "excluded.since ELSE holder.since END";

/* A shared lock of the topic's key is the other half of being there. */
static const char LOOK[] =
    "SELECT h.pid::int8, h.lease_until, h.lease_until < clock_timestamp(), l.pid IS NOT NULL, h.pid = "
    "pg_backend_pid(), h.node FROM {schema}.holder h LEFT JOIN pg_locks l ON l.pid = h.pid AND "
    "l.locktype = 'advisory' AND l.granted AND l.mode = 'ShareLock' AND l.objsubid = 1 AND "
    "l.classid::int8 = ($2::int8 >> 32 & 4294967295) AND l.objid::int8 = ($2::int8 & 4294967295) AND "
    "l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "WHERE h.topic = $1 ORDER BY h.since, h.pid";

/* Rows of sessions that are gone. */
static const char CLEAR[] =
    "DELETE FROM {schema}.holder WHERE topic = $1 AND pid = $2 AND lease_until < clock_timestamp()";

/* The same on every node: locks of different schemas and topics of one database do not meet. */
static uint64_t lock_key(const char *schema, const char *topic)
{
    static const uint64_t key[2] = {0x727462726f6b6572u, 0x73696e6b73696e6bu};
    const uint64_t parts[2] = {rt_siphash13(key, rt_str_c(schema)),
                               rt_siphash13(key, rt_str_c(topic))};
    return rt_siphash13(key, rt_str_of(parts, sizeof(parts)));
}

int rt_sink_owner_init(struct rt_sink_owner *o, const char *schema, const char *topic,
                       const char *node, const struct rt_sink_part *parts, uint32_t partitions)
{
    memset(o, 0, sizeof(*o));
    o->topic = topic;
    o->node = node;
    o->parts = parts;
    o->partitions = partitions;
    o->key = lock_key(schema, topic);
    o->announce = rt_schema_statement(ANNOUNCE, schema);
    o->look = rt_schema_statement(LOOK, schema);
    o->clear = rt_schema_statement(CLEAR, schema);
    if (o->announce && o->look && o->clear)
        return 0;
    rt_sink_owner_deinit(o);
    return RT_ENOMEM;
}

void rt_sink_owner_deinit(struct rt_sink_owner *o)
{
    rt_free(o->announce);
    rt_free(o->look);
    rt_free(o->clear);
    o->announce = o->look = o->clear = NULL;
}

/* ---- locks --------------------------------------------------------------------------------------------------- */

static int lock_call(struct rt_sink_owner *o, const char *sql, uint64_t key, bool *ret_yes,
                     struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *result = NULL;
    rt_pg_params_init(&params);
    rt_pg_add_i64(&params, (int64_t)key);
    int code = rt_pg_exec(o->pg, sql, &params, TIMEOUT_MS, &result, err);
    if (code == 0)
        *ret_yes = rt_pg_int(result, 0, 0) != 0;
    PQclear(result);
    return code;
}

int rt_sink_owner_take(struct rt_sink_owner *o, uint32_t partition, struct rt_err *err)
{
    bool yes = false;
    int code = lock_call(o, "SELECT pg_try_advisory_lock($1)", o->key + 1 + partition, &yes, err);
    return code < 0 ? code : yes ? RT_OK : RT_EAGAIN;
}

int rt_sink_owner_give(struct rt_sink_owner *o, uint32_t partition, struct rt_err *err)
{
    bool yes = false;
    return lock_call(o, "SELECT pg_advisory_unlock($1)", o->key + 1 + partition, &yes, err);
}

/* ---- the others ---------------------------------------------------------------------------------------------- */

static int announce(struct rt_sink_owner *o, bool anew, struct rt_err *err)
{
    struct rt_pg_params params;
    struct rt_pg_array held;
    rt_pg_array_init(&held, RT_PG_INT4);
    for (uint32_t i = 0; i < o->partitions; i++)
        if (o->parts[i].state != RT_SINK_AWAY)
            rt_pg_array_add_i32(&held, (int32_t)i);
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(o->topic));
    rt_pg_add_text(&params, rt_str_c(o->node));
    rt_pg_add_i32(&params, RT_SINK_LEASE);
    rt_pg_add_array(&params, &held);
    rt_pg_add_i32(&params, anew);
    int code = rt_buf_ok(&held.buf) ? rt_pg_exec(o->pg, o->announce, &params, TIMEOUT_MS, NULL, err)
                                    : rt_err_nomem(err);
    rt_pg_array_deinit(&held);
    return code;
}

int rt_sink_owner_begin(struct rt_sink_owner *o, struct rt_err *err)
{
    struct rt_pg_params params;
    memset(o->suspects, 0, sizeof(o->suspects));
    o->live = o->share = 0;
    rt_pg_params_init(&params);
    rt_pg_add_i64(&params, (int64_t)o->key);
    int code =
        rt_pg_exec(o->pg, "SELECT pg_advisory_lock_shared($1)", &params, TIMEOUT_MS, NULL, err);
    return code < 0 ? code : announce(o, true, err);
}

static int end_session(struct rt_sink_owner *o, int64_t pid, struct rt_str node, struct rt_err *err)
{
    struct rt_pg_params params;
    rt_pg_params_init(&params);
    rt_pg_add_i32(&params, (int32_t)pid);
    int code = rt_pg_exec(o->pg, "SELECT pg_terminate_backend($1)", &params, TIMEOUT_MS, NULL, err);
    if (code == 0)
        o->fenced++;
    rt_log(RT_LOG_WARN, "sink",
           code == 0 ? "a node that is frozen or cut off is fenced: its session is ended"
                     : "a node that is frozen or cut off cannot be fenced",
           rt_kv_str("node", node), rt_kv_i64("pid", pid), rt_kv_c("text", code ? err->text : ""));
    return rt_pg_usable(o->pg) ? 0 : code;
}

static int clear_row(struct rt_sink_owner *o, int64_t pid, struct rt_err *err)
{
    struct rt_pg_params params;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(o->topic));
    rt_pg_add_i32(&params, (int32_t)pid);
    return rt_pg_exec(o->pg, o->clear, &params, TIMEOUT_MS, NULL, err);
}

/* True: it has been watched for long enough. */
static bool watch(struct rt_sink_owner *o, int64_t pid, int64_t lease)
{
    uint64_t now = rt_mono_ms();
    struct rt_sink_suspect *slot = NULL;
    for (uint32_t i = 0; i < RT_SINK_SUSPECTS; i++) {
        struct rt_sink_suspect *s = &o->suspects[i];
        if (s->since && s->pid == pid && s->lease == lease)
            return now - s->since >= RT_SINK_DOUBT;
        /* One that has not been seen again for long, or the same one's lease before this. */
        if (!slot && (!s->since || s->pid == pid || now - s->since > 2 * RT_SINK_LEASE))
            slot = s;
    }
    if (slot)
        *slot = (struct rt_sink_suspect){pid, lease, now ? now : 1};
    return false;
}

static int judge(struct rt_sink_owner *o, const PGresult *result, int row, struct rt_err *err)
{
    int64_t pid = rt_pg_int(result, row, 0);
    if (rt_pg_int(result, row, 3) == 0) /* no such session */
        return clear_row(o, pid, err);
    if (!watch(o, pid, rt_pg_int(result, row, 1)))
        return 0;
    return end_session(o, pid, rt_pg_str(result, row, 5), err);
}

static int look(struct rt_sink_owner *o, const PGresult *result, struct rt_err *err)
{
    int code = 0;
    uint32_t live = 0, rank = 0;
    for (int i = 0; i < PQntuples(result) && code == 0; i++) {
        bool expired = rt_pg_int(result, i, 2) != 0;
        bool mine = rt_pg_int(result, i, 4) != 0;
        if (mine)
            rank = live;
        if (mine || (!expired && rt_pg_int(result, i, 3) != 0))
            live++;
        else if (expired)
            code = judge(o, result, i, err);
    }
    o->live = live ? live : 1;
    o->rank = rank;
    o->share = o->partitions / o->live + (rank < o->partitions % o->live);
    return code;
}

int rt_sink_owner_renew(struct rt_sink_owner *o, struct rt_err *err)
{
    struct rt_pg_params params;
    PGresult *result = NULL;
    int code = announce(o, false, err);
    if (code < 0)
        return code;
    rt_pg_params_init(&params);
    rt_pg_add_text(&params, rt_str_c(o->topic));
    rt_pg_add_i64(&params, (int64_t)o->key);
    code = rt_pg_exec(o->pg, o->look, &params, TIMEOUT_MS, &result, err);
    if (code == 0)
        code = look(o, result, err);
    PQclear(result);
    return code;
}

bool rt_sink_owner_meant(const struct rt_sink_owner *o, uint32_t partition)
{
    return o->live > 0 && partition % o->live == o->rank;
}
