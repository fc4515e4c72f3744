#include "journal/sqlite_db.h"

#include <errno.h>
#include <stdio.h>

#define APPLICATION_ID 1920229490 /* "rtbr" */
#define BUSY_WAIT_MS   2000       /* for another program's lock on the file */
#define INDEX_REGION   32768      /* bytes of a piece of the WAL index */
#define INDEX_REGIONS  4          /* enough for 16,380 frames */
#define MIN_MAX_SIZE   ((uint64_t)64 << 10)
#define BATCH_PAGES    600 /* that a batch may add, about */
#define CACHE_KIB      "16384"
#define WAL_KEEP_BYTES "67108864"
#define STRINGIFY_(x)  #x
#define STRINGIFY(x)   STRINGIFY_(x)

/* Rows that are there have no checksum. */
#define ADD_SUMS                                  \
    "ALTER TABLE message ADD COLUMN sum INTEGER;" \
    "INSERT INTO meta(name, value) SELECT 'unsummed', coalesce(max(seq), 0) FROM message;"

/* Migration i brings user_version from i to i + 1. Never edit one that was released. */
static const char *const migrations[] = {
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE channel(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " top INTEGER NOT NULL);"
    "CREATE TABLE message(seq INTEGER PRIMARY KEY, channel_id INTEGER NOT NULL,"
    " offset INTEGER NOT NULL, time INTEGER NOT NULL, id BLOB NOT NULL, kind INTEGER NOT NULL,"
    " flags INTEGER NOT NULL, event TEXT, data, attachments BLOB, publisher TEXT, key TEXT);"
    "CREATE UNIQUE INDEX message_position ON message(channel_id, offset);"
    "CREATE TABLE recent_key(seq INTEGER PRIMARY KEY, channel TEXT NOT NULL,"
    " publisher TEXT NOT NULL, key TEXT NOT NULL, offset INTEGER NOT NULL, time INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX recent_key_identity ON recent_key(channel, publisher, key);"
    "PRAGMA application_id=" STRINGIFY(APPLICATION_ID) ";",
    /* The one epoch of the file becomes the first of many. */
    "CREATE TABLE epoch(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, started TEXT NOT NULL,"
    " first INTEGER NOT NULL);"
    "INSERT INTO epoch(name, started, first) SELECT value,"
    " coalesce((SELECT value FROM meta WHERE name='created'), ''), 1 FROM meta WHERE name='epoch';"
    "INSERT INTO meta(name, value) SELECT 'purged', coalesce(min(seq), 1) - 1 FROM message;"
    "DELETE FROM meta WHERE name IN ('epoch', 'created', 'unsynced');",
    ADD_SUMS,
    "ALTER TABLE message ADD COLUMN except_in TEXT;",
};
#define SCHEMA_VERSION ((int64_t)(sizeof(migrations) / sizeof(migrations[0])))

/* ---- small helpers ---------------------------------------------------------------------------------------- */

static int error_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return RT_ENOMEM;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return RT_EINVAL;
    default:
        return RT_EIO;
    }
}

/* Of the last call on the write-ahead log that failed. A failed COMMIT does not set sqlite3_system_errno(), which keeps that of some earlier call then. */
static int log_errno(sqlite3 *db)
{
    sqlite3_file *log = NULL;
    int error = 0;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK || !log ||
        !log->pMethods ||
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error) != SQLITE_OK)
        return 0;
    return error;
}

/* A quota and a limit on the size of files are a kind of full disk, but SQLite knows ENOSPC only. */
static bool no_room(int code, int error)
{
    return (code & 0xff) == SQLITE_FULL ||
           (code == SQLITE_IOERR_WRITE && (error == EDQUOT || error == EFBIG));
}

static int last_errno(sqlite3 *db)
{
    int error = sqlite3_system_errno(db);
    return error ? error : log_errno(db);
}

static int open_failed(sqlite3 *db, const char *what, struct rt_err *err)
{
    int code = sqlite3_extended_errcode(db);
    return rt_err_set(err, error_of(code), "%s: %s", what,
                      no_room(code, last_errno(db)) ? "no space left for the database"
                                                    : sqlite3_errmsg(db));
}

int rt_db_exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int rt_db_prepare(sqlite3 *db, const char *const *sql, sqlite3_stmt **statements, int count,
                  struct rt_err *err)
{
    for (int i = 0; i < count; i++) {
        if (sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &statements[i], NULL) ==
            SQLITE_OK)
            continue;
        int code = open_failed(db, "cannot prepare a statement", err);
        rt_db_finalize(statements, i);
        return code;
    }
    return 0;
}

void rt_db_finalize(sqlite3_stmt **statements, int count)
{
    for (int i = 0; i < count; i++) {
        sqlite3_finalize(statements[i]);
        statements[i] = NULL;
    }
}

/* sqlite3_reset() repeats the error of the last step, extended. */
static int finish(sqlite3_stmt *statement)
{
    int code = sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return code;
}

int rt_db_run(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    int reset = finish(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : reset ? reset : code;
}

int rt_db_run_int(sqlite3_stmt *statement, int64_t *ret_value)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL)
        *ret_value = sqlite3_column_int64(statement, 0);
    int reset = finish(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : reset ? reset : code;
}

int rt_db_query_int(sqlite3 *db, const char *sql, int64_t *ret_value)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = rt_db_run_int(statement, ret_value);
    sqlite3_finalize(statement);
    return code;
}

int rt_db_bind_text(sqlite3_stmt *statement, int index, struct rt_str text)
{
    if (!text.ptr)
        return sqlite3_bind_null(statement, index);
    return sqlite3_bind_text64(statement, index, text.ptr, text.len, SQLITE_STATIC, SQLITE_UTF8);
}

/* ---- what errors mean -------------------------------------------------------------------------------------- */

enum rt_db_fault rt_db_fault(sqlite3 *db, int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return RT_FAULT_BATCH;
    case SQLITE_IOERR:
        return code == SQLITE_IOERR_NOMEM || no_room(code, sqlite3_system_errno(db))
                   ? RT_FAULT_BATCH
                   : RT_FAULT_STOP;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_PERM:
        return RT_FAULT_STOP;
    default:
        return sqlite3_get_autocommit(db) ? RT_FAULT_BATCH : RT_FAULT_ROW;
    }
}

/* A write that found no room left the commit frame incomplete, and a lock was refused before the first write. Anything else may
 * have come after the frame was in the file. */
enum rt_db_fault rt_db_commit_fault(sqlite3 *db, int code)
{
    bool not_stored = (code & 0xff) == SQLITE_BUSY || no_room(code, log_errno(db));
    return not_stored ? RT_FAULT_BATCH : RT_FAULT_STOP;
}

static bool reached_max_size(sqlite3 *db)
{
    int64_t pages = 0;
    int64_t most = INT64_MAX;
    rt_db_query_int(db, "PRAGMA page_count", &pages);
    rt_db_query_int(db, "PRAGMA max_page_count", &most);
    return pages + BATCH_PAGES >= most; /* the batch that did not fit was rolled back already */
}

void rt_db_fault_text(sqlite3 *db, int code, char *out, size_t size)
{
    const char *words = sqlite3_errstr(code);
    int os_error = last_errno(db);
    if ((code & 0xff) == SQLITE_FULL && reached_max_size(db))
        snprintf(out, size, "storage is full: the database has reached storage.max_size");
    else if (no_room(code, os_error) || no_room(code, log_errno(db)))
        snprintf(out, size, "storage is full: no space left for the database");
    else if ((code & 0xff) == SQLITE_BUSY)
        snprintf(out, size, "storage is locked by another program");
    else if (code == SQLITE_READONLY_DBMOVED)
        snprintf(out, size,
                 "storage failed: storage.path is not the open file any more: moved, deleted or "
                 "replaced");
    else if ((code & 0xff) == SQLITE_IOERR && os_error)
        snprintf(out, size, "storage failed: %s (SQLite %d, errno %d)", words, code, os_error);
    else
        snprintf(out, size, "storage failed: %s (SQLite %d)", words, code);
}

int rt_db_check_place(sqlite3 *db)
{
    int moved = 0;
    int code = sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return code == SQLITE_OK && moved ? SQLITE_READONLY_DBMOVED : SQLITE_OK;
}

void rt_db_rollback(sqlite3 *db)
{
    if (!sqlite3_get_autocommit(db))
        rt_db_exec(db, "ROLLBACK");
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

static int open_connection(const struct rt_journal_options *options, sqlite3 **ret_db,
                           struct rt_err *err)
{
    if (!sqlite3_threadsafe())
        return rt_err_set(err, RT_EIO, "the SQLite library was built without threads");
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(options->path, &db, flags, options->vfs);
    if (code != SQLITE_OK) {
        int ret = db ? open_failed(db, "cannot open it", err) : rt_err_nomem(err);
        sqlite3_close(db);
        return ret;
    }
    sqlite3_busy_timeout(db, BUSY_WAIT_MS);
    if (sqlite3_db_readonly(db, "main") == 1) {
        sqlite3_close(db);
        return rt_err_set(err, RT_EIO, "the file is read-only");
    }
    *ret_db = db;
    return 0;
}

int rt_db_identify(sqlite3 *db, int64_t *ret_version, struct rt_err *err)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t tables = 0;
    if (rt_db_query_int(db, "PRAGMA application_id", &application) != SQLITE_OK ||
        rt_db_query_int(db, "PRAGMA user_version", &version) != SQLITE_OK ||
        rt_db_query_int(db, "SELECT count(*) FROM sqlite_schema", &tables) != SQLITE_OK)
        return open_failed(db, "cannot read it", err);
    bool empty = application == 0 && version == 0 && tables == 0;
    if (application != APPLICATION_ID && !empty)
        return rt_err_set(err, RT_EINVAL, "the file is a database of another program");
    if (version < 0 || version > SCHEMA_VERSION)
        return rt_err_set(err, RT_EINVAL,
                          "the database was written by a newer rtbroker (schema %lld, this one "
                          "knows up to %lld)",
                          (long long)version, (long long)SCHEMA_VERSION);
    *ret_version = version;
    return 0;
}

static int set_wal(sqlite3 *db, struct rt_err *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    const char *mode = code == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    bool wal = mode && strcmp(mode, "wal") == 0;
    int ret = 0;
    if (!wal && code == SQLITE_ROW)
        ret = rt_err_set(err, RT_EIO, "its file system cannot hold a write-ahead log");
    else if (!wal)
        ret = open_failed(db, "cannot start its write-ahead log", err);
    sqlite3_finalize(statement);
    return ret;
}

int rt_db_quick_check(sqlite3 *db, struct rt_err *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    const char *found = code == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    int ret = 0;
    if (!found)
        ret = open_failed(db, "cannot check it", err);
    else if (strcmp(found, "ok") != 0)
        ret = rt_err_set(err, RT_EINVAL,
                         "the database is damaged (or a -wal lies beside it that belongs to "
                         "another file, as when a backup is put back without moving it away): %s",
                         found);
    sqlite3_finalize(statement);
    return ret;
}

static int migrate_one(sqlite3 *db, int64_t version)
{
    char set_version[64];
    snprintf(set_version, sizeof(set_version), "PRAGMA user_version=%lld",
             (long long)(version + 1));
    int code = rt_db_exec(db, "BEGIN IMMEDIATE");
    if (code == SQLITE_OK)
        code = rt_db_exec(db, migrations[version]);
    if (code == SQLITE_OK)
        code = rt_db_exec(db, set_version);
    if (code == SQLITE_OK)
        code = rt_db_exec(db, "COMMIT");
    return code;
}

static int migrate(sqlite3 *db, int64_t version, struct rt_err *err)
{
    for (; version < SCHEMA_VERSION; version++) {
        if (migrate_one(db, version) == SQLITE_OK)
            continue;
        int ret = open_failed(db, "cannot bring its schema up to date", err);
        rt_db_rollback(db);
        return ret;
    }
    return 0;
}

/* SQLite keeps the limit at the present size when that is already larger. */
static int limit_size(sqlite3 *db, uint64_t max_size, struct rt_err *err)
{
    if (max_size == 0)
        return 0;
    int64_t page_size = 4096;
    int code = rt_db_query_int(db, "PRAGMA page_size", &page_size);
    uint64_t size = max_size < MIN_MAX_SIZE ? MIN_MAX_SIZE : max_size;
    uint64_t pages = size / (uint64_t)page_size;
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count=%llu",
             (unsigned long long)(pages > 0xfffffffe ? 0xfffffffe : pages));
    if (code == SQLITE_OK)
        code = rt_db_exec(db, sql);
    return code == SQLITE_OK ? 0 : open_failed(db, "cannot limit its size", err);
}

/* Gives the WAL index its memory now. Growing it later, in the middle of a commit and on a full disk, would fail after the commit
 * frame was written: "unknown" and the end of this process, where "retry" is the truth that clients should get. Best effort. */
static void reserve_wal_index(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file ||
        !file->pMethods || file->pMethods->iVersion < 2)
        return;
    for (int i = 0; i < INDEX_REGIONS; i++) {
        void volatile *region = NULL;
        if (file->pMethods->xShmMap(file, i, INDEX_REGION, 1, &region) != SQLITE_OK)
            return;
    }
}

/* ---- the two connections ----------------------------------------------------------------------------------- */

/* Checkpoints are the writer's own (sqlite_upkeep.h). Deleted rows are overwritten where that costs no extra write. */
#define SETTINGS                        \
    "PRAGMA wal_autocheckpoint=0;"      \
    "PRAGMA secure_delete=FAST;"        \
    "PRAGMA temp_store=MEMORY;"         \
    "PRAGMA cache_size=-" CACHE_KIB ";" \
    "PRAGMA journal_size_limit=" WAL_KEEP_BYTES ";"

static int prepare_writer(sqlite3 *db, const struct rt_journal_options *options, struct rt_err *err)
{
    int64_t version = 0;
    const char *sync = options->sync_full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL";
    int ret = rt_db_identify(db, &version, err);
    if (ret == 0)
        ret = set_wal(db, err);
    if (ret == 0 && (rt_db_exec(db, SETTINGS) != SQLITE_OK || rt_db_exec(db, sync) != SQLITE_OK))
        ret = open_failed(db, "cannot set it up", err);
    if (ret == 0)
        ret = rt_db_quick_check(db, err);
    if (ret == 0)
        ret = migrate(db, version, err);
    if (ret == 0)
        ret = limit_size(db, options->max_size, err);
    return ret;
}

int rt_db_open_writer(const struct rt_journal_options *options, sqlite3 **ret_db,
                      struct rt_err *err)
{
    sqlite3 *db = NULL;
    int ret = open_connection(options, &db, err);
    if (ret == 0)
        ret = prepare_writer(db, options, err);
    if (ret < 0) {
        if (db)
            rt_db_close_writer(db, false);
        rt_err_wrap(err, "storage.path %s", options->path);
        return ret;
    }
    reserve_wal_index(db);
    *ret_db = db;
    return 0;
}

int rt_db_open_reader(const struct rt_journal_options *options, sqlite3 **ret_db,
                      struct rt_err *err)
{
    sqlite3 *db = NULL;
    int ret = open_connection(options, &db, err);
    if (ret == 0 &&
        rt_db_exec(db, "PRAGMA query_only=1; PRAGMA wal_autocheckpoint=0;") != SQLITE_OK)
        ret = open_failed(db, "cannot set up reading", err);
    if (ret < 0) {
        sqlite3_close(db);
        rt_err_wrap(err, "storage.path %s", options->path);
        return ret;
    }
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    *ret_db = db;
    return 0;
}

void rt_db_close_writer(sqlite3 *db, bool clean)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, clean ? 0 : 1, NULL);
    sqlite3_close(db);
}
