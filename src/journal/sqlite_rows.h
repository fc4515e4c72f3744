/* Writes messages as rows inside the transaction that the writer has open: gives positions, answers known idempotency keys.
 *
 * The top of each channel in use is cached (at most RT_ROWS_CHANNELS channels, the least recently used one goes) and written once a
 * transaction, which may not use more channels than that. After a rollback the cache is forgotten, since it is ahead of the database.
 * The window of keys is measured by a clock of the file (rt_rows_clock): monotonic time while a process has it open, and no step between two. A clock that is set moves nothing;
 * the time during which nobody runs does not count.
 * Where times of messages go back by more than RT_CLOCK_SKEW, meta has it: who looks for a time has to know (sqlite_reader.c).
 *
 * Thread: the writer's. Codes are SQLite's; SQLITE_NOMEM also for allocations of our own. */
#ifndef RT_JOURNAL_SQLITE_ROWS_H
#define RT_JOURNAL_SQLITE_ROWS_H

#include "base/buf.h"
#include "base/map.h"
#include "journal/sqlite_epoch.h"

#define RT_ROWS_CHANNELS 16384u

enum {
    RT_ROWS_FIND_KEY,
    RT_ROWS_SET_KEY,
    RT_ROWS_FIND_CHANNEL,
    RT_ROWS_ADD_CHANNEL,
    RT_ROWS_ADD_MESSAGE,
    RT_ROWS_SET_TOP,
    RT_ROWS_NEWEST,
    RT_ROWS_SET_BACK,
    RT_ROWS_SET_BACK_BY,
    RT_ROWS_STATEMENTS,
};

struct rt_rows {
    sqlite3 *db;
    sqlite3_stmt *statements[RT_ROWS_STATEMENTS];
    const struct rt_epoch *epoch;
    int64_t seq;     /* of the next message */
    uint64_t window; /* ms, 0: keys are ignored */
    int64_t ahead;   /* of the monotonic clock, the clock of keys, ms */
    int64_t newest;  /* time of the latest message since a clock was set back; -1 to be read */
    int64_t floor;   /* top of a new channel: not below what a purged one had */
    struct rt_map channels;
    struct rt_list recent;     /* channels, least recently used first */
    struct rt_list changed;    /* channels whose top is to be written */
    struct rt_buf attachments; /* scratch */
};

/* `epoch` lives as long as `rows`. */
int rt_rows_init(struct rt_rows *rows, sqlite3 *db, const struct rt_epoch *epoch, uint64_t window,
                 struct rt_err *err);
void rt_rows_deinit(struct rt_rows *rows);
/* ms, of the clock that recent_key.time is measured by. */
uint64_t rt_rows_clock(const struct rt_rows *rows);

/* Stores one message: status RT_OK, duplicate and position are filled, to count once the transaction is committed. On a failure nothing is
 * filled; with `guarded` (a savepoint) nothing of the message is left in the transaction either, otherwise it must be rolled back. */
int rt_rows_add(struct rt_rows *rows, struct rt_append *append, bool guarded);
/* Writes the tops; before COMMIT. */
int rt_rows_finish(struct rt_rows *rows);
/* After a rollback, and after channels were deleted. */
void rt_rows_forget(struct rt_rows *rows);

/* The checksum of a row, of all its columns but seq. `attachments` as stored, NULL without; those of `m` and its offset do not count. SipHash, for errors of the disk: whoever can write
 * the file can make it. */
int64_t rt_rows_sum(int64_t channel, int64_t offset, const struct rt_message *m,
                    struct rt_str attachments);

/* Attachments as stored: each a length (32 bits, little endian) and its bytes. */
void rt_rows_encode_attachments(struct rt_buf *out, const struct rt_message *m);
/* Slices point into `blob`. Returns the number, -1 when the blob is malformed. */
int rt_rows_decode_attachments(struct rt_str blob, struct rt_str out[RT_MAX_ATTACHMENTS]);

#endif
