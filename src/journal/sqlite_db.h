/* The database file of the SQLite journal: opening, schema, settings, and what an error of SQLite means to us.
 *
 * Schema (PRAGMA user_version 4, application_id "rtbr"):
 *     meta(name, value)            floor, purged (see sqlite_upkeep.h), unsummed (see sqlite_page.h), clock; set_back: the seq from which on times of
 *                                  messages are behind those before it, the last such one, set_back_by: by how many ms at most, all in all
 *     epoch(id, name, started, first)
 *                                  runs of the broker that wrote (see sqlite_epoch.h)
 *     channel(id, name, top)       top: highest offset given
 *     message(seq, channel_id, offset, time, id, kind, flags, event, data, attachments, publisher, key, sum, except_in)
 *                                  unique index (channel_id, offset); data is TEXT for JSON and text, BLOB for bytes
 *     recent_key(seq, channel, publisher, key, offset, time)
 *                                  idempotency keys of the window; unique index (channel, publisher, key)
 * Rows of message and recent_key are in order of commit by seq, so that the oldest are found without an index on time. No seq of a message is given twice, also when it was deleted.
 *
 * Thread: a connection is used by one thread at a time; it may be opened on one and handed to another before use. */
#ifndef RT_JOURNAL_SQLITE_DB_H
#define RT_JOURNAL_SQLITE_DB_H

#include <sqlite3.h>
#include <stdbool.h>

#include "journal/journal.h"

/* Opens for the writer: checks, makes the tables, migrates. The caller holds the lock (sqlite_lock.h), which has made the file. */
int rt_db_open_writer(const struct rt_journal_options *options, sqlite3 **ret_db,
                      struct rt_err *err);
/* Opens for reading; after the writer. Its close never checkpoints. */
int rt_db_open_reader(const struct rt_journal_options *options, sqlite3 **ret_db,
                      struct rt_err *err);
/* Closes after the last statement is finalized. `clean`: everything that was committed is synced, so that the WAL is folded into
 * the file and removed; otherwise the WAL stays as it is, for the next start to read. */
void rt_db_close_writer(sqlite3 *db, bool clean);

/* Is it ours, and of a version that we know? 0: an empty file. The first access, which also reads a WAL that was left behind. */
int rt_db_identify(sqlite3 *db, int64_t *ret_version, struct rt_err *err);
/* Looks at the structure of the whole file. RT_EINVAL: damaged, and how. */
int rt_db_quick_check(sqlite3 *db, struct rt_err *err);

/* All statements of `sql`, results ignored. Returns SQLite's extended code. */
int rt_db_exec(sqlite3 *db, const char *sql);
/* Prepares `count` statements; RT_EIO or RT_ENOMEM, none is prepared then. */
int rt_db_prepare(sqlite3 *db, const char *const *sql, sqlite3_stmt **statements, int count,
                  struct rt_err *err);
void rt_db_finalize(sqlite3_stmt **statements, int count);
/* Steps a statement that returns no row, and resets it and its bindings. SQLITE_OK or the extended code. */
int rt_db_run(sqlite3_stmt *statement);
/* The first column of the first row; `*ret_value` is untouched without a row or with NULL there. Resets. SQLITE_OK or the extended code. */
int rt_db_run_int(sqlite3_stmt *statement, int64_t *ret_value);
/* The same for text of a statement that is used once. */
int rt_db_query_int(sqlite3 *db, const char *sql, int64_t *ret_value);
/* Binds a slice as text (or NULL when it has no pointer); the memory must live until the statement is reset. */
int rt_db_bind_text(sqlite3_stmt *statement, int index, struct rt_str text);

/* What a failed call means. */
enum rt_db_fault {
    RT_FAULT_ROW, /* this row only; the transaction goes on */
    RT_FAULT_BATCH, /* the transaction is lost, nothing of it stored; later ones may work (disk full, locked) */
    RT_FAULT_STOP, /* the database cannot be trusted to store any more */
};
enum rt_db_fault rt_db_fault(sqlite3 *db, int code);
/* The same for a failed COMMIT: RT_FAULT_BATCH when certainly nothing was stored, else RT_FAULT_STOP. */
enum rt_db_fault rt_db_commit_fault(sqlite3 *db, int code);
/* For people: what failed and, for a full database, what to do. */
void rt_db_fault_text(sqlite3 *db, int code, char *out, size_t size);
/* SQLITE_READONLY_DBMOVED when PATH is not the open file any more (moved, deleted, replaced): what is written is not found at the next start. SQLITE_OK otherwise. */
int rt_db_check_place(sqlite3 *db);
/* Ends the transaction if one is open. */
void rt_db_rollback(sqlite3 *db);

#endif
