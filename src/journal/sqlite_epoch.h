/* Epochs: which run of the broker wrote which messages.
 *
 * A run that writes has an epoch of its own, a random word, and never goes on with that of another. Table `epoch` has a row for each of them: `first` is the first `seq` that
 * it could give, so that its messages are those from there up to the `first` of the next row. Table `message` counts on from there, whatever was deleted (see `purged`).
 *
 * So a position says in which run it was given, and is still good while the file has what that run wrote up to there. Where the file is an earlier state of itself (a backup
 * was put back, the write-ahead log was lost), what the lost part had given is beyond the end of its run, or of a run that the file does not know: it is never taken for
 * something else that has the same offset now.
 *
 *     run 1, epoch A      run 2, epoch B        file put back to here, run 3, epoch C
 *     seq 1 .. 60         seq 61 .. 100         |  seq 81 ..
 *                                               80
 *     A: all is good      B: up to seq 80       C: all is good
 *
 * The row is stored with the first messages of the run: a broker starts, reads and tells positions on a disk that is full, until then under the last epoch of the file.
 *
 * Thread: that of the connection. Codes are SQLite's. */
#ifndef RT_JOURNAL_SQLITE_EPOCH_H
#define RT_JOURNAL_SQLITE_EPOCH_H

#include "journal/sqlite_db.h"

#define RT_EPOCHS_KEPT 10000 /* positions of older ones are refused */

struct rt_epoch {
    char name[RT_EPOCH_MAX + 1];
    int64_t first;
    bool stored; /* its row is committed */
};

/* A new epoch for this run of the writer; stored at once when the file has none yet. RT_EIO or RT_ENOMEM. */
int rt_epoch_new(sqlite3 *db, struct rt_epoch *ret_epoch, struct rt_err *err);
/* Adds its row, inside the transaction that is open; the caller notes `stored` after the commit. Rows before the newest RT_EPOCHS_KEPT go. */
int rt_epoch_store(sqlite3 *db, const struct rt_epoch *epoch);

/* For readers. */
enum {
    RT_EPOCHS_LAST,
    RT_EPOCHS_END,
    RT_EPOCHS_SEQ,
    RT_EPOCHS_PURGED,
    RT_EPOCHS_STATEMENTS,
};

struct rt_epochs {
    sqlite3_stmt *statements[RT_EPOCHS_STATEMENTS];
};

int rt_epochs_init(struct rt_epochs *epochs, sqlite3 *db, struct rt_err *err);
/* Fine on a zeroed one. */
void rt_epochs_deinit(struct rt_epochs *epochs);

/* The name of the last epoch in the file, "" without one. */
int rt_epochs_last(struct rt_epochs *epochs, char ret_name[RT_EPOCH_MAX + 1]);

/* What a position is to the file. */
enum rt_known {
    RT_KNOWN,           /* what was written up to it is what it says */
    RT_KNOWN_NOT,       /* of an epoch that the file does not have */
    RT_KNOWN_TO_DIFFER, /* the file has something else at this offset, or may have */
};
/* `offset` 0 is before all messages, and good in each epoch that is known. `channel` is the row's id, 0 for a channel without one. The caller compares with the channel's top. */
int rt_epochs_judge(struct rt_epochs *epochs, const char *name, int64_t channel, int64_t offset,
                    enum rt_known *ret_known);

#endif
