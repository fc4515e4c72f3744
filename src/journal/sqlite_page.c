#include "journal/sqlite_page.h"

#include "base/alloc.h"
#include "base/log.h"

enum {
    OFFSET,
    TIME,
    ID,
    KIND,
    FLAGS,
    EVENT,
    DATA,
    ATTACHMENTS,
    PUBLISHER,
    KEY,
    SUM,
    SEQ,
    EXCEPT_IN,
};

static struct rt_str column(sqlite3_stmt *row, int index)
{
    if (sqlite3_column_type(row, index) == SQLITE_NULL)
        return RT_STR_NONE;
    const void *bytes = sqlite3_column_blob(row, index);
    size_t len = (size_t)sqlite3_column_bytes(row, index);
    return bytes ? rt_str_of(bytes, len) : RT_STR("");
}

/* ---- is it what was stored? -------------------------------------------------------------------------------- */

/* Fills all but the attachments. False: no message has these values. */
static bool read_fields(sqlite3_stmt *row, struct rt_message *ret_m)
{
    struct rt_str id = column(row, ID);
    int64_t kind = sqlite3_column_int64(row, KIND), flags = sqlite3_column_int64(row, FLAGS);
    if (id.len != sizeof(ret_m->id) || kind < RT_KIND_JSON || kind > RT_KIND_BYTES || flags < 0 ||
        flags > UINT8_MAX)
        return false;
    *ret_m = (struct rt_message){
        .offset = (uint64_t)sqlite3_column_int64(row, OFFSET),
        .time = (uint64_t)sqlite3_column_int64(row, TIME),
        .kind = (uint8_t)kind,
        .flags = (uint8_t)flags,
        .event = column(row, EVENT),
        .data = column(row, DATA),
        .publisher = column(row, PUBLISHER),
        .key = column(row, KEY),
        .except_in = column(row, EXCEPT_IN),
    };
    memcpy(ret_m->id, id.ptr, sizeof(ret_m->id));
    return true;
}

static bool sum_is_right(const struct rt_page *page, sqlite3_stmt *row, const struct rt_message *m)
{
    if (sqlite3_column_type(row, SUM) == SQLITE_NULL)
        return sqlite3_column_int64(row, SEQ) <= page->unsummed;
    return sqlite3_column_int64(row, SUM) ==
           rt_rows_sum(page->channel, (int64_t)m->offset, m, column(row, ATTACHMENTS));
}

/* Fills all; attachments go to `attachments`. */
static bool read_row(const struct rt_page *page, sqlite3_stmt *row, struct rt_message *ret_m,
                     struct rt_str attachments[RT_MAX_ATTACHMENTS])
{
    if (!read_fields(row, ret_m) || !sum_is_right(page, row, ret_m))
        return false;
    int count = rt_rows_decode_attachments(column(row, ATTACHMENTS), attachments);
    if (count < 0)
        return false;
    ret_m->attachments = attachments;
    ret_m->attachment_count = (uint8_t)count;
    return true;
}

bool rt_page_row_is_good(const struct rt_page *page, sqlite3_stmt *row)
{
    struct rt_message m;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    return read_row(page, row, &m, attachments);
}

/* ---- a page ------------------------------------------------------------------------------------------------ */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t bound(uint64_t offset)
{
    return offset > INT64_MAX ? INT64_MAX : (int64_t)offset;
}

void rt_page_begin(struct rt_page *page, struct rt_read *read, int64_t channel, int64_t oldest,
                   int64_t unsummed)
{
    int64_t since = bound(read->since), until = bound(read->until), top = bound(read->top.offset);
    *page = (struct rt_page){.read = read, .channel = channel, .unsummed = unsummed};
    if (read->reverse) {
        page->next = since == 0 ? top : least(since - 1, top);
        page->last = most(oldest, until);
    } else {
        page->next = most(since < INT64_MAX ? since + 1 : since, oldest);
        page->last = until == 0 ? top : least(until, top);
    }
}

static void log_damage(const struct rt_page *page, int64_t from, int64_t to)
{
    rt_log(RT_LOG_ERROR, "journal",
           "stored messages are damaged and not served; who reads over them is told of a gap",
           rt_kv_str("channel", page->read->channel_name),
           rt_kv_u64("from", (uint64_t)least(from, to)), rt_kv_u64("to", (uint64_t)most(from, to)));
}

/* Offsets from `next` up to (or down to) this one cannot be served. False: the page ends in front of them. */
static bool pass_damage(struct rt_page *page, int64_t to)
{
    struct rt_read *read = page->read;
    if (!read->reverse && read->count > 0) {
        read->more = page->full = true;
        return false;
    }
    log_damage(page, page->next, to);
    page->damaged++;
    if (read->reverse) {
        read->damaged = true;
        page->next = to - 1;
    } else {
        read->floor = (uint64_t)to;
        page->next = to + 1;
    }
    return true;
}

static int keep(struct rt_page *page, const struct rt_message *m)
{
    struct rt_read *read = page->read;
    if (read->count == page->cap) {
        size_t more = page->cap ? page->cap * 2 : 64;
        struct rt_stored **messages =
            rt_reallocarray(read->messages, more, sizeof(struct rt_stored *));
        if (!messages)
            return SQLITE_NOMEM;
        read->messages = messages;
        page->cap = more;
    }
    struct rt_stored *message = rt_stored_new(m);
    if (!message)
        return SQLITE_NOMEM;
    page->bytes += message->size;
    read->messages[read->count++] = message;
    page->next += read->reverse ? -1 : 1;
    page->full = read->count >= read->limit;
    return SQLITE_OK;
}

/* What lies behind already is at this place by mistake. */
static bool is_ahead(const struct rt_page *page, int64_t offset)
{
    return page->read->reverse ? offset <= page->next : offset >= page->next;
}

int rt_page_add(struct rt_page *page, sqlite3_stmt *row)
{
    struct rt_message m;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    if (page->bytes >= RT_READ_BYTES) {
        page->read->more = page->full = true;
        return SQLITE_OK;
    }
    if (!read_row(page, row, &m, attachments) || !is_ahead(page, (int64_t)m.offset))
        return SQLITE_OK; /* the next good one, or the end, shows what is missing */
    int64_t offset = (int64_t)m.offset;
    if (offset != page->next && !pass_damage(page, offset + (page->read->reverse ? 1 : -1)))
        return SQLITE_OK;
    return keep(page, &m);
}

void rt_page_end(struct rt_page *page)
{
    if (!page->full && is_ahead(page, page->last))
        (void)pass_damage(page, page->last);
}
