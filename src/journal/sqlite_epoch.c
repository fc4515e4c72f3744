#include "journal/sqlite_epoch.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/rand.h"

#define EPOCH_LEN     12 /* characters, 72 random bits */
#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

#define STORE "INSERT INTO epoch(name, started, first) VALUES(?1, ?2, ?3)"
#define PRUNE \
    "DELETE FROM epoch WHERE id <= (SELECT max(id) FROM epoch) - " STRINGIFY(RT_EPOCHS_KEPT)
#define COUNT "SELECT count(*) FROM epoch"
/* Above all that was ever given, also when it was deleted or nothing was written. */
#define NEXT_SEQ                                                           \
    "SELECT max((SELECT coalesce(max(seq), 0) + 1 FROM message),"          \
    " (SELECT coalesce(max(value), 0) + 1 FROM meta WHERE name='purged')," \
    " (SELECT coalesce(max(first), 1) FROM epoch))"

/* -1: the last one. */
#define END                                                                   \
    "SELECT coalesce((SELECT first FROM epoch AS next WHERE next.id>epoch.id" \
    " ORDER BY next.id LIMIT 1), -1) FROM epoch WHERE name=?1"

static const char *const statements[RT_EPOCHS_STATEMENTS] = {
    [RT_EPOCHS_LAST] = "SELECT name FROM epoch ORDER BY id DESC LIMIT 1",
    [RT_EPOCHS_END] = END,
    [RT_EPOCHS_SEQ] = "SELECT seq FROM message WHERE channel_id=?1 AND offset=?2",
    [RT_EPOCHS_PURGED] = "SELECT value FROM meta WHERE name='purged'",
};

/* ---- writing ----------------------------------------------------------------------------------------------- */

static int insert(sqlite3 *db, const struct rt_epoch *epoch)
{
    char started[RT_ISO_TIME_LEN + 1];
    sqlite3_stmt *statement = NULL;
    rt_iso_time(rt_wall_ms(), started);
    int code = sqlite3_prepare_v2(db, STORE, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = rt_db_bind_text(statement, 1, rt_str_c(epoch->name));
    if (code == SQLITE_OK)
        code = rt_db_bind_text(statement, 2, rt_str_c(started));
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(statement, 3, epoch->first);
    if (code == SQLITE_OK)
        code = rt_db_run(statement);
    sqlite3_finalize(statement);
    return code;
}

int rt_epoch_store(sqlite3 *db, const struct rt_epoch *epoch)
{
    int code = insert(db, epoch);
    return code == SQLITE_OK ? rt_db_exec(db, PRUNE) : code;
}

/* A file without an epoch has no position to tell. */
static int store_first(sqlite3 *db, struct rt_epoch *epoch)
{
    int64_t count = 0;
    int code = rt_db_query_int(db, COUNT, &count);
    if (code != SQLITE_OK || count > 0)
        return code;
    code = insert(db, epoch);
    epoch->stored = code == SQLITE_OK;
    return code;
}

int rt_epoch_new(sqlite3 *db, struct rt_epoch *ret_epoch, struct rt_err *err)
{
    struct rt_epoch epoch = {.first = 1};
    char id[RT_ID_LEN + 1];
    rt_random_id(id);
    snprintf(epoch.name, sizeof(epoch.name), "%.*s", EPOCH_LEN, id);
    int code = rt_db_query_int(db, NEXT_SEQ, &epoch.first);
    if (code == SQLITE_OK)
        code = store_first(db, &epoch);
    if (code != SQLITE_OK)
        return rt_err_set(err, (code & 0xff) == SQLITE_NOMEM ? RT_ENOMEM : RT_EIO,
                          "cannot begin its epoch: %s", sqlite3_errmsg(db));
    *ret_epoch = epoch;
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

int rt_epochs_init(struct rt_epochs *epochs, sqlite3 *db, struct rt_err *err)
{
    return rt_db_prepare(db, statements, epochs->statements, RT_EPOCHS_STATEMENTS, err);
}

void rt_epochs_deinit(struct rt_epochs *epochs)
{
    rt_db_finalize(epochs->statements, RT_EPOCHS_STATEMENTS);
}

int rt_epochs_last(struct rt_epochs *epochs, char ret_name[RT_EPOCH_MAX + 1])
{
    sqlite3_stmt *last = epochs->statements[RT_EPOCHS_LAST];
    int code = sqlite3_step(last);
    const char *name = code == SQLITE_ROW ? (const char *)sqlite3_column_text(last, 0) : NULL;
    snprintf(ret_name, RT_EPOCH_MAX + 1, "%s", name ? name : "");
    sqlite3_reset(last);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* The first seq behind the epoch; -1: it is the last one; 0: there is none of the name. */
static int find_end(struct rt_epochs *epochs, const char *name, int64_t *ret_end)
{
    sqlite3_stmt *end = epochs->statements[RT_EPOCHS_END];
    *ret_end = 0;
    int code = rt_db_bind_text(end, 1, rt_str_c(name));
    return code == SQLITE_OK ? rt_db_run_int(end, ret_end) : code;
}

/* A seq that the message at the offset has, or that is not below it when the message was deleted. 0: there never was one. */
static int find_seq(struct rt_epochs *epochs, int64_t channel, int64_t offset, int64_t *ret_seq)
{
    sqlite3_stmt *seq = epochs->statements[RT_EPOCHS_SEQ];
    *ret_seq = 0;
    int code = sqlite3_bind_int64(seq, 1, channel);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(seq, 2, offset);
    if (code == SQLITE_OK)
        code = rt_db_run_int(seq, ret_seq);
    if (code == SQLITE_OK && *ret_seq == 0)
        code = rt_db_run_int(epochs->statements[RT_EPOCHS_PURGED], ret_seq);
    return code;
}

int rt_epochs_judge(struct rt_epochs *epochs, const char *name, int64_t channel, int64_t offset,
                    enum rt_known *ret_known)
{
    int64_t end = 0, seq = 0;
    int code = find_end(epochs, name, &end);
    if (code == SQLITE_OK && end > 0 && offset > 0)
        code = find_seq(epochs, channel, offset, &seq);
    if (code != SQLITE_OK)
        return code;
    *ret_known = end == 0 ? RT_KNOWN_NOT : end > 0 && seq >= end ? RT_KNOWN_TO_DIFFER : RT_KNOWN;
    return SQLITE_OK;
}
