/* How full the database is, so that it is said before publishes are refused.
 *
 * Its room is what it holds and what it may still grow by: up to storage.max_size, or as far as the disk has space, whichever is less. A warning is logged when 80 % and when 90 % of it
 * are used, once each until less than that (by 5 %) is used again. It is measured now and then, and by what was written, often enough not to miss a level: a measurement
 * is due when a sixteenth of what was free may have been taken.
 *
 * Thread: the writer's. */
#ifndef RT_JOURNAL_SQLITE_ROOM_H
#define RT_JOURNAL_SQLITE_ROOM_H

#include "journal/sqlite_db.h"

enum { RT_ROOM_PAGES, RT_ROOM_FREE_PAGES, RT_ROOM_STATEMENTS };

struct rt_room {
    sqlite3 *db;
    sqlite3_stmt *statements[RT_ROOM_STATEMENTS];
    uint64_t page_size, max_pages;
    uint64_t used, left; /* bytes, at the last measurement */
    uint64_t written;    /* bytes since */
    unsigned level;      /* percent that was warned of; 0: none */
};

int rt_room_init(struct rt_room *room, sqlite3 *db, struct rt_err *err);
/* Fine on a zeroed one. */
void rt_room_deinit(struct rt_room *room);
/* `pages` were written; true: measure. */
bool rt_room_wrote(struct rt_room *room, uint64_t pages);
/* Fills `used` and `left`, warns. Where it cannot be measured they stay as they are. */
void rt_room_measure(struct rt_room *room);

#endif
