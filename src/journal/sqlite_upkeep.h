/* What the writer does between batches so that nothing grows without bound.
 *
 * Messages older than the retention and keys older than the window go in chunks, always the oldest of all by order of commit: what is left of a
 * channel has no hole. Their pages are used again, the file does not shrink. Channels without messages go too (only with a
 * retention): their names are chosen by peers. The highest top of those that went is kept as `floor`, and new channels count on from there, so that no offset
 * is ever given twice. `purged` is the highest seq that was deleted.
 * Retention has a clock of its own: it never goes before the machine's, and catches up with it at twice its speed. So a clock that was set ahead by an hour for a minute deletes what is
 * a minute too young, not an hour; one that is set back deletes less. It is kept in the file, so that a restart is no step either. A message from more than an hour ahead of it says
 * nothing about its age, and goes with the first one behind it that is old.
 * The WAL is copied into the database when it has RT_UPKEEP_FRAMES pages, and then written again from its start.
 *
 * With that it measures how full the file is (sqlite_room.h).
 *
 * Thread: the writer's. */
#ifndef RT_JOURNAL_SQLITE_UPKEEP_H
#define RT_JOURNAL_SQLITE_UPKEEP_H

#include "journal/sqlite_room.h"
#include "journal/sqlite_rows.h"

#define RT_UPKEEP_FRAMES 4096 /* 16 MiB */

enum {
    RT_UPKEEP_OLD_MESSAGES,
    RT_UPKEEP_DELETE_MESSAGES,
    RT_UPKEEP_SET_PURGED,
    RT_UPKEEP_OLD_KEYS,
    RT_UPKEEP_DELETE_KEYS,
    RT_UPKEEP_LAST_CHANNEL,
    RT_UPKEEP_EMPTY_TOP,
    RT_UPKEEP_DELETE_CHANNELS,
    RT_UPKEEP_SET_FLOOR,
    RT_UPKEEP_SET_CLOCK,
    RT_UPKEEP_STATEMENTS,
};

struct rt_upkeep {
    sqlite3 *db;
    sqlite3_stmt *statements[RT_UPKEEP_STATEMENTS];
    struct rt_rows *rows;
    uint64_t retention; /* ms, 0: for ever */
    uint64_t clock;     /* wall ms, as retention sees it */
    uint64_t clock_at;  /* monotonic ms when it was set */
    uint64_t saved;     /* the clock in the file; 0 none */
    uint64_t interval;  /* ms between looks for what is old */
    uint64_t due;       /* monotonic ms */
    bool backlog;       /* the last chunk was full: go on at once */
    bool told;          /* the log says that messages are deleted */
    int64_t swept;      /* channels up to this id were looked at */
    struct rt_room room;
    bool measured;     /* the room, since the last rt_upkeep_run() began */
    uint64_t appended; /* frames written to the WAL that the room does not know of */
    int frames;        /* in the WAL after the last commit */
    int checkpoint_at; /* frames */
};

int rt_upkeep_init(struct rt_upkeep *u, sqlite3 *db, struct rt_rows *rows, uint64_t retention,
                   struct rt_err *err);
/* Fine on a zeroed one. */
void rt_upkeep_deinit(struct rt_upkeep *u);
/* Deletes a chunk when it is time to: not much more than a batch of `rows` took, so that it keeps pace and delays nobody for long; and checkpoints.
 * SQLITE_OK, or the code of a fault after which nothing may be written any more. */
int rt_upkeep_run(struct rt_upkeep *u, size_t rows, uint64_t now);
/* Until it wants to run again, ms. */
uint64_t rt_upkeep_wait(const struct rt_upkeep *u, uint64_t now);
/* Could messages be stored? Writes some and takes it back. Codes as SQLite's; `*ret_at_commit`: it was COMMIT that failed. */
int rt_upkeep_probe(struct rt_upkeep *u, bool *ret_at_commit);

#endif
