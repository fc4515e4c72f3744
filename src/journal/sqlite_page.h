/* Rows of a channel as messages, one page of them, with what a flipped bit on the disk has made of the file kept out.
 *
 * Each row has a checksum of all that it says (rt_rows_sum()), and offsets of a channel rise by one. A row whose sum is another, and one that is not there, are *damage*: never served, but
 * counted, logged and told to the reader. Forwards a page ends in front of damage (`more`), and one that begins with it has `floor` behind it, so that the gap is told where it
 * is. In reverse damage is left out, and `damaged` says so. Rows from before there were sums ("unsummed") are taken as they are.
 *
 * Thread: the reader's. Codes are SQLite's. */
#ifndef RT_JOURNAL_SQLITE_PAGE_H
#define RT_JOURNAL_SQLITE_PAGE_H

#include "journal/sqlite_rows.h"

/* What a statement selects for rt_page_add() and rt_page_row_is_good(). */
#define RT_PAGE_COLUMNS \
    "offset, time, id, kind, flags, event, data, attachments, publisher, key, sum, seq, except_in"

struct rt_page {
    struct rt_read *read;
    int64_t channel;  /* its id */
    int64_t unsummed; /* rows up to this seq have no sum */
    int64_t next;     /* the offset that has to come; in reverse it goes down */
    int64_t last;     /* where it ends */
    size_t cap, bytes;
    unsigned damaged; /* places that were met */
    bool full;        /* nothing more may be added */
};

/* `since` of `read` within a channel that has its messages from `oldest` up to the top of `read`. */
void rt_page_begin(struct rt_page *page, struct rt_read *read, int64_t channel, int64_t oldest,
                   int64_t unsummed);
/* The row that a statement stands on, the next one of the page. SQLITE_OK or SQLITE_NOMEM. */
int rt_page_add(struct rt_page *page, sqlite3_stmt *row);
/* There are no more rows: what has not come is damage. */
void rt_page_end(struct rt_page *page);
/* Is it what was stored? */
bool rt_page_row_is_good(const struct rt_page *page, sqlite3_stmt *row);

#endif
