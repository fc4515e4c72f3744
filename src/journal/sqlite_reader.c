#include "journal/sqlite_reader.h"

#include <stdio.h>

#include "base/alloc.h"
#include "journal/sqlite_epoch.h"
#include "journal/sqlite_page.h"

#define UNSUMMED "SELECT value FROM meta WHERE name='unsummed'"

enum {
    BEGIN,
    END,
    FLOOR,
    CHANNEL,
    OLDEST,
    FORWARD,
    REVERSE,
    TIME_AT,
    FROM_TIME,
    SEQ_BEHIND,
    SET_BACK,
    SET_BACK_BY,
    STATEMENTS
};

#define SEQ_OF_NEXT \
    "SELECT seq FROM message WHERE channel_id=?1 AND offset>?2 ORDER BY offset LIMIT 1"
#define FIND_TIME                                                               \
    "SELECT offset FROM message WHERE channel_id=?1 AND offset>?2 AND time>=?3" \
    " ORDER BY offset LIMIT 1"

static const char *const statements[STATEMENTS] = {
    [BEGIN] = "BEGIN",
    [END] = "COMMIT",
    [FLOOR] = "SELECT value FROM meta WHERE name='floor'",
    [CHANNEL] = "SELECT id, top FROM channel WHERE name=?1",
    [OLDEST] = "SELECT min(offset) FROM message WHERE channel_id=?1",
    [FORWARD] =
        "SELECT " RT_PAGE_COLUMNS " FROM message WHERE channel_id=?1 AND offset>?2 AND offset<=?3"
        " ORDER BY offset",
    [REVERSE] =
        "SELECT " RT_PAGE_COLUMNS " FROM message WHERE channel_id=?1 AND offset<?2 AND offset>=?3"
        " ORDER BY offset DESC",
    [TIME_AT] = "SELECT " RT_PAGE_COLUMNS " FROM message WHERE channel_id=?1 AND offset>=?2"
                " ORDER BY offset LIMIT 1",
    [FROM_TIME] = FIND_TIME,
    [SEQ_BEHIND] = SEQ_OF_NEXT,
    [SET_BACK] = "SELECT value FROM meta WHERE name='set_back'",
    [SET_BACK_BY] = "SELECT value FROM meta WHERE name='set_back_by'",
};

struct rt_reader {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct rt_epochs epochs;
    int64_t unsummed; /* see sqlite_page.h */
    struct rt_queue *reads;
    struct rt_mailbox *answers;
    struct rt_sqlite_status *status;
};

/* ---- one read ---------------------------------------------------------------------------------------------- */

static int64_t bound(uint64_t offset, int64_t when_zero)
{
    return offset == 0 ? when_zero : offset > INT64_MAX ? INT64_MAX : (int64_t)offset;
}

static int read_page(struct rt_reader *r, struct rt_read *read, struct rt_page *page)
{
    sqlite3_stmt *rows = r->statements[read->reverse ? REVERSE : FORWARD];
    int64_t since = bound(read->since, read->reverse ? INT64_MAX : 0);
    int64_t until = bound(read->until, read->reverse ? 0 : INT64_MAX);
    int code = sqlite3_bind_int64(rows, 1, page->channel);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(rows, 2, since);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(rows, 3, until);
    while (code == SQLITE_OK && !page->full) {
        code = sqlite3_step(rows);
        if (code == SQLITE_ROW)
            code = rt_page_add(page, rows);
    }
    sqlite3_reset(rows);
    if (code == SQLITE_DONE)
        rt_page_end(page);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* ---- by time ----------------------------------------------------------------------------------------------- */

/* The first message at or behind an offset; `*ret_offset` stays when there is none, or when it is damaged: nobody knows its time. */
static int time_at(struct rt_reader *r, const struct rt_page *page, int64_t offset,
                   int64_t *ret_offset, int64_t *ret_time)
{
    sqlite3_stmt *row = r->statements[TIME_AT];
    int code = sqlite3_bind_int64(row, 1, page->channel);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(row, 2, offset);
    if (code == SQLITE_OK)
        code = sqlite3_step(row);
    if (code == SQLITE_ROW && rt_page_row_is_good(page, row)) {
        *ret_offset = sqlite3_column_int64(row, 0);
        *ret_time = sqlite3_column_int64(row, 1);
    }
    sqlite3_reset(row);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* `*from` is an offset up to which all messages are older than the time: moves it on to not far from the first that is not. Times rise with offsets but for `skew`: where a message
 * is older by more than that, so is what comes before it. There is no index by time: halving needs some twenty reads. */
static int search(struct rt_reader *r, const struct rt_read *read, const struct rt_page *page,
                  uint64_t skew, int64_t *from)
{
    int64_t low = *from, high = (int64_t)read->top.offset + 1;
    int64_t limit = bound(read->time > skew ? read->time - skew : 0, 0);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2, offset = high, time = 0;
        int code = time_at(r, page, middle, &offset, &time);
        if (code != SQLITE_OK)
            return code;
        if (offset < high && time < limit)
            low = offset;
        else
            high = middle;
    }
    *from = low;
    return SQLITE_OK;
}

/* Do times behind the offset rise with offsets, but for the skew of clocks? */
static int is_steady(struct rt_reader *r, const struct rt_page *page, int64_t offset,
                     int64_t set_back, bool *ret_steady)
{
    sqlite3_stmt *row = r->statements[SEQ_BEHIND];
    int64_t seq = INT64_MAX;
    int code = sqlite3_bind_int64(row, 1, page->channel);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(row, 2, offset);
    if (code == SQLITE_OK)
        code = rt_db_run_int(row, &seq);
    *ret_steady = seq >= set_back;
    return code;
}

/* An offset up to which all messages are older than the time. Where a clock was set back, halving may not rely on times around that: they are looked at one by one. */
static int find_older(struct rt_reader *r, const struct rt_read *read, const struct rt_page *page,
                      int64_t oldest, int64_t *ret_offset)
{
    int64_t set_back = 0, by = 0, low = oldest - 1;
    bool steady = false;
    int code = rt_db_run_int(r->statements[SET_BACK], &set_back);
    if (code == SQLITE_OK)
        code = rt_db_run_int(r->statements[SET_BACK_BY], &by);
    if (code == SQLITE_OK)
        code = search(r, read, page, (uint64_t)by + RT_CLOCK_SKEW, &low);
    if (code == SQLITE_OK && by > 0)
        code = is_steady(r, page, low, set_back, &steady);
    if (code == SQLITE_OK && steady)
        code = search(r, read, page, RT_CLOCK_SKEW, &low);
    *ret_offset = low;
    return code;
}

/* Damaged messages right before what was found may be of the time: the page begins with them, and so tells of them. */
static int take_in_damage(struct rt_reader *r, struct rt_read *read, const struct rt_page *page,
                          int64_t oldest)
{
    int code = SQLITE_OK;
    for (; code == SQLITE_OK && (int64_t)read->since >= oldest; read->since--) {
        int64_t offset = 0, time;
        code = time_at(r, page, (int64_t)read->since, &offset, &time);
        if (offset == (int64_t)read->since)
            break;
    }
    return code;
}

/* See rt_read: the time becomes a position. */
static int find_time(struct rt_reader *r, struct rt_read *read, const struct rt_page *page,
                     int64_t oldest)
{
    int64_t older = 0;
    sqlite3_stmt *row = r->statements[FROM_TIME];
    int code = find_older(r, read, page, oldest, &older);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(row, 1, page->channel);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(row, 2, older);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(row, 3, bound(read->time, 0));
    if (code == SQLITE_OK)
        code = sqlite3_step(row);
    read->found = code == SQLITE_ROW;
    read->since = read->reverse || oldest == 0 ? 0 : read->top.offset;
    if (read->found) {
        int64_t first = sqlite3_column_int64(row, 0);
        read->since = (uint64_t)(read->reverse ? first : first == oldest ? 0 : first - 1);
    }
    sqlite3_reset(row);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return code;
    return read->reverse || oldest == 0 ? SQLITE_OK : take_in_damage(r, read, page, oldest);
}

/* `*ret_id` is 0 for a channel that is not there. */
static int read_channel(struct rt_reader *r, struct rt_read *read, int64_t *ret_id)
{
    sqlite3_stmt *channel = r->statements[CHANNEL];
    int code = rt_db_bind_text(channel, 1, read->channel_name);
    if (code == SQLITE_OK)
        code = sqlite3_step(channel);
    bool found = code == SQLITE_ROW;
    if (found) {
        *ret_id = sqlite3_column_int64(channel, 0);
        read->top.offset = (uint64_t)sqlite3_column_int64(channel, 1);
    }
    sqlite3_reset(channel);
    sqlite3_clear_bindings(channel);
    if (!found && code != SQLITE_DONE)
        return code;
    int64_t floor = 0;
    code = found ? SQLITE_OK : rt_db_run_int(r->statements[FLOOR], &floor);
    if (!found)
        read->top.offset = (uint64_t)floor;
    return code;
}

/* Is `since` of another epoch still a position of what is stored? `read->status` says so. In reverse it says what comes before it. */
static int judge_since(struct rt_reader *r, struct rt_read *read, int64_t channel)
{
    if (read->epoch[0] == '\0' || strcmp(read->epoch, read->top.epoch) == 0)
        return SQLITE_OK;
    enum rt_known known = RT_KNOWN;
    int64_t offset = bound(read->since, 0);
    if (read->reverse && offset > 0)
        offset--;
    int code = rt_epochs_judge(&r->epochs, read->epoch, channel, offset, &known);
    if (code != SQLITE_OK || known == RT_KNOWN)
        return code;
    read->status = RT_ERANGE;
    snprintf(read->text, sizeof(read->text), "%s",
             known == RT_KNOWN_NOT ? "the position is of another epoch"
                                   : "the position is of a part of the log that is gone");
    return SQLITE_OK;
}

static int read_messages(struct rt_reader *r, struct rt_read *read, int64_t channel, int64_t oldest)
{
    int code = SQLITE_OK;
    struct rt_page page = {.channel = channel, .unsummed = r->unsummed};
    if (read->by_time)
        code = find_time(r, read, &page, oldest);
    if (code != SQLITE_OK || read->limit == 0 || oldest == 0)
        return code;
    rt_page_begin(&page, read, channel, oldest, r->unsummed);
    code = read_page(r, read, &page);
    if (page.damaged > 0)
        rt_sqlite_status_damaged(r->status);
    return code;
}

static int read_all(struct rt_reader *r, struct rt_read *read)
{
    int64_t channel = 0;
    int64_t oldest = 0;
    if (read->by_time)
        read->since = 0; /* of a channel that is not there */
    int code = rt_epochs_last(&r->epochs, read->top.epoch);
    if (code == SQLITE_OK)
        code = read_channel(r, read, &channel);
    read->floor = read->top.offset; /* nothing is stored: what there was is gone */
    if (code == SQLITE_OK)
        code = judge_since(r, read, channel);
    if (code != SQLITE_OK || read->status != RT_OK || channel == 0)
        return code;
    code = sqlite3_bind_int64(r->statements[OLDEST], 1, channel);
    if (code == SQLITE_OK)
        code = rt_db_run_int(r->statements[OLDEST], &oldest);
    if (oldest > 0)
        read->floor = (uint64_t)oldest - 1;
    if (code != SQLITE_OK)
        return code;
    return read_messages(r, read, channel, oldest);
}

static void drop_messages(struct rt_read *read)
{
    for (size_t i = 0; i < read->count; i++)
        rt_stored_unref(read->messages[i]);
    rt_free(read->messages);
    read->messages = NULL;
    read->count = 0;
    read->more = false;
}

static void answer(struct rt_reader *r, struct rt_read *read)
{
    read->status = RT_OK;
    int code = rt_db_run(r->statements[BEGIN]);
    if (code == SQLITE_OK)
        code = read_all(r, read);
    /* Always: a snapshot that stays open holds the WAL back. */
    if (!sqlite3_get_autocommit(r->db))
        (void)rt_db_run(r->statements[END]);
    if (code == SQLITE_OK)
        return;
    drop_messages(read);
    read->status = (code & 0xff) == SQLITE_NOMEM ? RT_ENOMEM : RT_EIO;
    snprintf(read->text, sizeof(read->text), "history cannot be read: %s", sqlite3_errstr(code));
}

/* ---- the thread -------------------------------------------------------------------------------------------- */

static void close_database(struct rt_reader *r)
{
    rt_epochs_deinit(&r->epochs);
    rt_db_finalize(r->statements, STATEMENTS);
    sqlite3_close(r->db);
    r->db = NULL;
}

void rt_reader_run(void *reader)
{
    struct rt_reader *r = reader;
    struct rt_list taken;
    rt_list_init(&taken);
    while (rt_queue_take(r->reads, &taken, -1)) {
        for (struct rt_list *node = rt_list_pop(&taken); node; node = rt_list_pop(&taken)) {
            struct rt_read *read = RT_CONTAINER(node, struct rt_read, task.link);
            answer(r, read);
            rt_mailbox_post(r->answers, &read->task);
        }
    }
    close_database(r);
    rt_sqlite_status_reader_ended(r->status);
}

int rt_reader_new(const struct rt_reader_options *options, struct rt_reader **ret_reader,
                  struct rt_err *err)
{
    struct rt_reader *r = rt_calloc(1, sizeof(*r));
    if (!r)
        return rt_err_nomem(err);
    r->reads = options->reads;
    r->answers = options->answers;
    r->status = options->status;
    int code = rt_db_open_reader(options->journal, &r->db, err);
    if (code == 0)
        code = rt_db_prepare(r->db, statements, r->statements, STATEMENTS, err);
    if (code == 0)
        code = rt_epochs_init(&r->epochs, r->db, err);
    if (code == 0 && rt_db_query_int(r->db, UNSUMMED, &r->unsummed) != SQLITE_OK)
        code = rt_err_set(err, RT_EIO, "cannot read its settings: %s", sqlite3_errmsg(r->db));
    if (code < 0) {
        rt_reader_free(r);
        return code;
    }
    *ret_reader = r;
    return 0;
}

void rt_reader_free(struct rt_reader *r)
{
    if (!r)
        return;
    if (r->db)
        close_database(r);
    rt_free(r);
}
