#include "journal/sqlite_upkeep.h"

#include "base/clock.h"
#include "base/log.h"

#define MIN_CHUNK    256u
#define MAX_CHUNK    2000u
#define SWEEP        1000 /* channels looked at in one go */
#define MIN_INTERVAL 50u
#define MAX_INTERVAL 10000u
#define STRAY        3600000u /* ms ahead of which a time tells nothing */
#define KEEP_CLOCK   600000u  /* ms that it has moved */
#define RETRY_FRAMES 1024     /* when a checkpoint could not finish */
#define ALARM_FRAMES 65536    /* 256 MiB */

#define EMPTY " NOT EXISTS (SELECT 1 FROM message WHERE channel_id=channel.id)"

static const char *const statements[RT_UPKEEP_STATEMENTS] = {
    [RT_UPKEEP_OLD_MESSAGES] = "SELECT seq, time FROM message ORDER BY seq LIMIT ?1",
    [RT_UPKEEP_DELETE_MESSAGES] = "DELETE FROM message WHERE seq<=?1",
    [RT_UPKEEP_SET_PURGED] = "INSERT OR REPLACE INTO meta(name, value) VALUES('purged', ?1)",
    [RT_UPKEEP_OLD_KEYS] = "SELECT seq, time FROM recent_key ORDER BY seq LIMIT ?1",
    [RT_UPKEEP_DELETE_KEYS] = "DELETE FROM recent_key WHERE seq<=?1",
    [RT_UPKEEP_LAST_CHANNEL] =
        "SELECT max(id) FROM (SELECT id FROM channel WHERE id>?1 ORDER BY id LIMIT ?2)",
    [RT_UPKEEP_EMPTY_TOP] = "SELECT max(top) FROM channel WHERE id>?1 AND id<=?2 AND" EMPTY,
    [RT_UPKEEP_DELETE_CHANNELS] = "DELETE FROM channel WHERE id>?1 AND id<=?2 AND" EMPTY,
    [RT_UPKEEP_SET_FLOOR] = "INSERT OR REPLACE INTO meta(name, value) VALUES('floor', ?1)",
    [RT_UPKEEP_SET_CLOCK] = "INSERT OR REPLACE INTO meta(name, value) VALUES('clock', ?1)",
};

/* What a chunk takes away. */
struct chunk {
    int64_t message; /* up to this seq, 0 none */
    int64_t key;
    int64_t channel_from, channel_to; /* those that are empty in (from, to], 0 none */
    int64_t floor;
    int64_t clock; /* to be kept, 0 not now */
    bool full;     /* there may be more */
};

/* ---- the clock of retention -------------------------------------------------------------------------------- */

static void move_clock(struct rt_upkeep *u, uint64_t now)
{
    uint64_t wall = rt_wall_ms(), clock = u->clock + 2 * (now - u->clock_at);
    u->clock = clock < wall ? clock : wall;
    u->clock_at = now;
}

static int read_clock(struct rt_upkeep *u)
{
    int64_t clock = 0;
    int code = rt_db_query_int(u->db, "SELECT value FROM meta WHERE name='clock'", &clock);
    u->saved = clock > 0 ? (uint64_t)clock : 0;
    u->clock = u->saved ? u->saved : rt_wall_ms();
    u->clock_at = rt_mono_ms();
    return code;
}

/* Now and then is enough: what a restart loses is made up for. */
static int64_t clock_to_keep(const struct rt_upkeep *u)
{
    bool due = u->clock >= u->saved + KEEP_CLOCK || u->clock + KEEP_CLOCK <= u->saved;
    return u->retention && due ? (int64_t)u->clock : 0;
}

/* ---- life ------------------------------------------------------------------------------------------------- */

static int on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct rt_upkeep *u = arg;
    (void)db;
    (void)name;
    u->appended += (uint64_t)(frames > u->frames ? frames - u->frames : frames);
    u->frames = frames;
    return SQLITE_OK;
}

int rt_upkeep_init(struct rt_upkeep *u, sqlite3 *db, struct rt_rows *rows, uint64_t retention,
                   struct rt_err *err)
{
    *u = (struct rt_upkeep){
        .db = db, .rows = rows, .retention = retention, .checkpoint_at = RT_UPKEEP_FRAMES};
    u->interval = MAX_INTERVAL;
    if (retention && retention / 4 < MAX_INTERVAL)
        u->interval = retention / 4 > MIN_INTERVAL ? retention / 4 : MIN_INTERVAL;
    if (read_clock(u) != SQLITE_OK)
        return rt_err_set(err, RT_EIO, "cannot read the clock of the retention: %s",
                          sqlite3_errmsg(db));
    sqlite3_wal_hook(db, on_commit, u);
    int code = rt_db_prepare(db, statements, u->statements, RT_UPKEEP_STATEMENTS, err);
    return code == 0 ? rt_room_init(&u->room, db, err) : code;
}

void rt_upkeep_deinit(struct rt_upkeep *u)
{
    if (!u->db)
        return;
    sqlite3_wal_hook(u->db, NULL, NULL);
    rt_db_finalize(u->statements, RT_UPKEEP_STATEMENTS);
    rt_room_deinit(&u->room);
}

uint64_t rt_upkeep_wait(const struct rt_upkeep *u, uint64_t now)
{
    if (u->backlog || u->due <= now)
        return 0;
    return u->due - now;
}

/* ---- what is old ------------------------------------------------------------------------------------------- */

/* The last of the oldest rows that are all from before `cutoff`, or from a clock that was ahead of `horizon`; `*ret_full`: as many as were asked for. */
static int find_old(sqlite3_stmt *oldest, int64_t limit, const int64_t bounds[2], int64_t *ret_last,
                    bool *ret_full)
{
    int64_t found = 0;
    int code = sqlite3_bind_int64(oldest, 1, limit);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(oldest);
        int64_t time = code == SQLITE_ROW ? sqlite3_column_int64(oldest, 1) : 0;
        if (code != SQLITE_ROW || (time >= bounds[0] && time <= bounds[1]))
            break;
        if (time < bounds[0])
            *ret_last = sqlite3_column_int64(oldest, 0);
        found++;
    }
    sqlite3_reset(oldest);
    if (found == limit)
        *ret_full = true;
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

static int find_messages(struct rt_upkeep *u, int64_t limit, struct chunk *chunk)
{
    if (u->retention == 0 || u->clock <= u->retention)
        return SQLITE_OK;
    const int64_t bounds[] = {(int64_t)(u->clock - u->retention), (int64_t)(u->clock + STRAY)};
    return find_old(u->statements[RT_UPKEEP_OLD_MESSAGES], limit, bounds, &chunk->message,
                    &chunk->full);
}

static int find_keys(struct rt_upkeep *u, int64_t limit, struct chunk *chunk)
{
    uint64_t window = u->rows->window, now = rt_rows_clock(u->rows);
    const int64_t bounds[] = {window ? (int64_t)(now - window) : INT64_MAX, INT64_MAX};
    if (window > now)
        return SQLITE_OK;
    return find_old(u->statements[RT_UPKEEP_OLD_KEYS], limit, bounds, &chunk->key, &chunk->full);
}

static int bind_two(sqlite3_stmt *statement, int64_t first, int64_t second)
{
    int code = sqlite3_bind_int64(statement, 1, first);
    return code == SQLITE_OK ? sqlite3_bind_int64(statement, 2, second) : code;
}

/* Looks at the next channels in turn; after the last of them it starts again. */
static int find_channels(struct rt_upkeep *u, struct chunk *chunk)
{
    if (u->retention == 0)
        return SQLITE_OK;
    sqlite3_stmt *last = u->statements[RT_UPKEEP_LAST_CHANNEL];
    sqlite3_stmt *empty = u->statements[RT_UPKEEP_EMPTY_TOP];
    int64_t from = u->swept;
    int64_t to = 0;
    int64_t top = -1;
    int code = bind_two(last, from, SWEEP);
    if (code == SQLITE_OK)
        code = rt_db_run_int(last, &to);
    u->swept = to;
    if (code != SQLITE_OK || to == 0)
        return code;
    code = bind_two(empty, from, to);
    if (code == SQLITE_OK)
        code = rt_db_run_int(empty, &top);
    if (code != SQLITE_OK || top < 0)
        return code;
    chunk->channel_from = from;
    chunk->channel_to = to;
    chunk->floor = top > u->rows->floor ? top : u->rows->floor;
    return SQLITE_OK;
}

/* ---- deleting ---------------------------------------------------------------------------------------------- */

/* Nothing with 0. */
static int run_with(sqlite3_stmt *statement, int64_t value)
{
    if (value == 0)
        return SQLITE_OK;
    int code = sqlite3_bind_int64(statement, 1, value);
    return code == SQLITE_OK ? rt_db_run(statement) : code;
}

static int delete_channels(struct rt_upkeep *u, const struct chunk *chunk)
{
    sqlite3_stmt *delete = u->statements[RT_UPKEEP_DELETE_CHANNELS];
    sqlite3_stmt *set_floor = u->statements[RT_UPKEEP_SET_FLOOR];
    if (chunk->channel_to == 0)
        return SQLITE_OK;
    int code = sqlite3_bind_int64(set_floor, 1, chunk->floor);
    if (code == SQLITE_OK)
        code = rt_db_run(set_floor);
    if (code == SQLITE_OK)
        code = bind_two(delete, chunk->channel_from, chunk->channel_to);
    return code == SQLITE_OK ? rt_db_run(delete) : code;
}

static int apply(struct rt_upkeep *u, const struct chunk *chunk, bool *ret_at_commit)
{
    int code = rt_db_exec(u->db, "BEGIN IMMEDIATE");
    /* Channels first: those that this chunk makes empty are not in its floor. */
    if (code == SQLITE_OK)
        code = delete_channels(u, chunk);
    if (code == SQLITE_OK)
        code = run_with(u->statements[RT_UPKEEP_DELETE_MESSAGES], chunk->message);
    if (code == SQLITE_OK)
        code = run_with(u->statements[RT_UPKEEP_SET_PURGED], chunk->message);
    if (code == SQLITE_OK)
        code = run_with(u->statements[RT_UPKEEP_DELETE_KEYS], chunk->key);
    if (code == SQLITE_OK)
        code = run_with(u->statements[RT_UPKEEP_SET_CLOCK], chunk->clock);
    *ret_at_commit = code == SQLITE_OK;
    if (code == SQLITE_OK)
        code = rt_db_exec(u->db, "COMMIT");
    if (code == SQLITE_OK && chunk->channel_to) {
        u->rows->floor = chunk->floor;
        rt_rows_forget(u->rows);
    }
    return code;
}

/* SQLITE_OK when the fault may pass: it is tried again after the interval. */
static int judge(struct rt_upkeep *u, int code, bool at_commit)
{
    if (code == SQLITE_OK)
        return SQLITE_OK;
    enum rt_db_fault fault = at_commit ? rt_db_commit_fault(u->db, code) : rt_db_fault(u->db, code);
    if (fault == RT_FAULT_STOP)
        return code;
    rt_log(RT_LOG_WARN, "journal", "cannot delete what is older than the retention",
           rt_kv_c("err", sqlite3_errstr(code)));
    rt_db_rollback(u->db);
    u->backlog = false;
    return SQLITE_OK;
}

/* Once: who relied on another default, or set too short a time, is to see why messages go. */
static void tell_deletion(struct rt_upkeep *u)
{
    if (!u->told)
        rt_log(RT_LOG_INFO, "journal",
               "messages older than storage.retention are being deleted (0 keeps them)",
               rt_kv_u64("retention_s", u->retention / 1000));
    u->told = true;
}

static int expire(struct rt_upkeep *u, size_t rows)
{
    struct chunk chunk = {.clock = clock_to_keep(u)};
    size_t limit = rows * 2 < MIN_CHUNK ? MIN_CHUNK : rows * 2 > MAX_CHUNK ? MAX_CHUNK : rows * 2;
    int code = find_messages(u, (int64_t)limit, &chunk);
    if (code == SQLITE_OK)
        code = find_keys(u, (int64_t)limit, &chunk);
    if (code == SQLITE_OK)
        code = find_channels(u, &chunk);
    u->backlog = chunk.full;
    bool at_commit = false;
    if (code == SQLITE_OK && (chunk.message || chunk.key || chunk.channel_to || chunk.clock))
        code = apply(u, &chunk, &at_commit);
    if (code == SQLITE_OK && chunk.message)
        tell_deletion(u);
    if (code == SQLITE_OK && chunk.clock)
        u->saved = (uint64_t)chunk.clock;
    return judge(u, code, at_commit);
}

/* ---- checkpoint -------------------------------------------------------------------------------------------- */

/* A failure of the operating system here is as final as one at commit: after it a later fsync may succeed without the data being on
 * the disk, and the WAL, which has it, would be overwritten. */
static int checkpoint(struct rt_upkeep *u)
{
    int frames = 0;
    int copied = 0;
    int code = sqlite3_wal_checkpoint_v2(u->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    if (code != SQLITE_OK && rt_db_fault(u->db, code) == RT_FAULT_STOP)
        return code;
    if (code == SQLITE_OK && copied == frames) {
        u->checkpoint_at = RT_UPKEEP_FRAMES;
        u->frames = 0;
        return SQLITE_OK;
    }
    u->checkpoint_at = u->frames + RETRY_FRAMES; /* a reader holds it back, or the disk is full */
    if (u->frames > ALARM_FRAMES)
        rt_log(RT_LOG_WARN, "journal",
               "the write-ahead log grows: another program keeps a read transaction open",
               rt_kv_u64("pages", (uint64_t)u->frames));
    return SQLITE_OK;
}

static void measure(struct rt_upkeep *u, bool due)
{
    bool wrote_much = rt_room_wrote(&u->room, u->appended);
    u->appended = 0;
    u->measured = due || wrote_much;
    if (u->measured)
        rt_room_measure(&u->room);
}

int rt_upkeep_run(struct rt_upkeep *u, size_t rows, uint64_t now)
{
    int code = SQLITE_OK;
    bool due = u->due <= now;
    if (u->backlog || due) {
        move_clock(u, now);
        code = expire(u, rows);
        u->due = now + u->interval;
    }
    measure(u, due);
    if (code == SQLITE_OK && u->frames >= u->checkpoint_at)
        code = checkpoint(u);
    return code;
}

int rt_upkeep_probe(struct rt_upkeep *u, bool *ret_at_commit)
{
    *ret_at_commit = false;
    int code = rt_db_exec(u->db, "BEGIN IMMEDIATE");
    if (code == SQLITE_OK)
        code = rt_db_exec(u->db, "INSERT OR REPLACE INTO meta(name, value)"
                                 " VALUES('probe', zeroblob(65536));"
                                 "DELETE FROM meta WHERE name='probe'");
    *ret_at_commit = code == SQLITE_OK;
    if (code == SQLITE_OK)
        code = rt_db_exec(u->db, "COMMIT");
    return code;
}
