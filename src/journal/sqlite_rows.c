#include "journal/sqlite_rows.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"

static const char *const statements[RT_ROWS_STATEMENTS] = {
    [RT_ROWS_FIND_KEY] = "SELECT offset, time FROM recent_key"
                         " WHERE channel=?1 AND publisher=?2 AND key=?3",
    [RT_ROWS_SET_KEY] = "INSERT OR REPLACE INTO recent_key(channel, publisher, key, offset, time)"
                        " VALUES(?1, ?2, ?3, ?4, ?5)",
    [RT_ROWS_FIND_CHANNEL] = "SELECT id, top FROM channel WHERE name=?1",
    [RT_ROWS_ADD_CHANNEL] = "INSERT INTO channel(name, top) VALUES(?1, ?2)",
    [RT_ROWS_ADD_MESSAGE] =
        "INSERT INTO message(channel_id, offset, time, id, kind, flags, event, data, attachments,"
        " publisher, key, seq, sum, except_in)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    [RT_ROWS_SET_TOP] = "UPDATE channel SET top=?2 WHERE id=?1",
    [RT_ROWS_NEWEST] = "SELECT time FROM message ORDER BY seq DESC LIMIT 1",
    [RT_ROWS_SET_BACK] = "INSERT OR REPLACE INTO meta(name, value) VALUES('set_back', ?1)",
    [RT_ROWS_SET_BACK_BY] = "INSERT INTO meta(name, value) VALUES('set_back_by', ?1)"
                            " ON CONFLICT(name) DO UPDATE SET value=value+?1",
};

struct channel {
    struct rt_list recent;
    struct rt_list changed; /* points to itself when the row has the same top */
    int64_t id;
    int64_t top;
    struct rt_str name; /* follows this struct */
};

static struct rt_str channel_name(const void *value)
{
    return ((const struct channel *)value)->name;
}

int rt_rows_init(struct rt_rows *rows, sqlite3 *db, const struct rt_epoch *epoch, uint64_t window,
                 struct rt_err *err)
{
    *rows = (struct rt_rows){
        .db = db, .epoch = epoch, .seq = epoch->first, .window = window, .newest = -1};
    rt_map_init(&rows->channels, channel_name);
    rt_list_init(&rows->recent);
    rt_list_init(&rows->changed);
    rt_buf_init(&rows->attachments);
    if (rt_db_query_int(db, "SELECT value FROM meta WHERE name='floor'", &rows->floor) != SQLITE_OK)
        return rt_err_set(err, RT_EIO, "cannot read the floor of offsets: %s", sqlite3_errmsg(db));
    int64_t clock =
        (int64_t)rt_wall_ms(); /* of a file without keys; where it begins does not matter */
    if (rt_db_query_int(db, "SELECT time FROM recent_key ORDER BY seq DESC LIMIT 1", &clock) !=
        SQLITE_OK)
        return rt_err_set(err, RT_EIO, "cannot read the time of keys: %s", sqlite3_errmsg(db));
    rows->ahead = clock - (int64_t)rt_mono_ms();
    return rt_db_prepare(db, statements, rows->statements, RT_ROWS_STATEMENTS, err);
}

uint64_t rt_rows_clock(const struct rt_rows *rows)
{
    return (uint64_t)((int64_t)rt_mono_ms() + rows->ahead);
}

static void drop(struct rt_rows *rows, struct channel *c)
{
    rt_map_remove(&rows->channels, c->name);
    rt_list_remove(&c->recent);
    rt_list_remove(&c->changed);
    rt_free(c);
}

void rt_rows_forget(struct rt_rows *rows)
{
    rows->newest = -1;
    while (!rt_list_empty(&rows->recent))
        drop(rows, RT_CONTAINER(rows->recent.next, struct channel, recent));
}

void rt_rows_deinit(struct rt_rows *rows)
{
    rt_rows_forget(rows);
    rt_map_deinit(&rows->channels);
    rt_buf_deinit(&rows->attachments);
    rt_db_finalize(rows->statements, RT_ROWS_STATEMENTS);
}

/* ---- channels ---------------------------------------------------------------------------------------------- */

/* Room for one more. The least recently used one has nothing to be written: a transaction uses far fewer channels than there is room for. */
static void evict(struct rt_rows *rows)
{
    while (rows->channels.count >= RT_ROWS_CHANNELS) {
        struct channel *oldest = RT_CONTAINER(rows->recent.next, struct channel, recent);
        assert(rt_list_empty(&oldest->changed));
        drop(rows, oldest);
    }
}

static int cache(struct rt_rows *rows, struct rt_str name, int64_t id, int64_t top,
                 struct channel **ret_channel)
{
    evict(rows);
    struct channel *c = rt_malloc(sizeof(*c) + name.len);
    if (!c)
        return SQLITE_NOMEM;
    memcpy(c + 1, name.ptr, name.len);
    c->name = rt_str_of(c + 1, name.len);
    c->id = id;
    c->top = top;
    rt_list_init(&c->changed);
    if (rt_map_put(&rows->channels, c) < 0) {
        rt_free(c);
        return SQLITE_NOMEM;
    }
    rt_list_push(&rows->recent, &c->recent);
    *ret_channel = c;
    return SQLITE_OK;
}

/* SQLITE_ROW when the database has it, SQLITE_DONE when not. */
static int find_channel(struct rt_rows *rows, struct rt_str name, int64_t *ret_id, int64_t *ret_top)
{
    sqlite3_stmt *find = rows->statements[RT_ROWS_FIND_CHANNEL];
    int code = rt_db_bind_text(find, 1, name);
    if (code == SQLITE_OK)
        code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        *ret_id = sqlite3_column_int64(find, 0);
        *ret_top = sqlite3_column_int64(find, 1);
    }
    sqlite3_reset(find);
    sqlite3_clear_bindings(find);
    return code;
}

static int add_channel(struct rt_rows *rows, struct rt_str name, int64_t *ret_id, int64_t *ret_top)
{
    sqlite3_stmt *add = rows->statements[RT_ROWS_ADD_CHANNEL];
    int code = rt_db_bind_text(add, 1, name);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(add, 2, rows->floor);
    if (code == SQLITE_OK)
        code = rt_db_run(add);
    *ret_id = sqlite3_last_insert_rowid(rows->db);
    *ret_top = rows->floor;
    return code;
}

static int get_channel(struct rt_rows *rows, struct rt_str name, struct channel **ret_channel)
{
    struct channel *c = rt_map_get(&rows->channels, name);
    if (c) {
        rt_list_remove(&c->recent);
        rt_list_push(&rows->recent, &c->recent);
        *ret_channel = c;
        return SQLITE_OK;
    }
    int64_t id = 0;
    int64_t top = 0;
    int code = find_channel(rows, name, &id, &top);
    if (code == SQLITE_DONE)
        code = add_channel(rows, name, &id, &top);
    else if (code == SQLITE_ROW)
        code = SQLITE_OK;
    return code == SQLITE_OK ? cache(rows, name, id, top, ret_channel) : code;
}

int rt_rows_finish(struct rt_rows *rows)
{
    sqlite3_stmt *set_top = rows->statements[RT_ROWS_SET_TOP];
    while (!rt_list_empty(&rows->changed)) {
        struct channel *c = RT_CONTAINER(rows->changed.next, struct channel, changed);
        int code = sqlite3_bind_int64(set_top, 1, c->id);
        if (code == SQLITE_OK)
            code = sqlite3_bind_int64(set_top, 2, c->top);
        if (code == SQLITE_OK)
            code = rt_db_run(set_top);
        if (code != SQLITE_OK)
            return code;
        rt_list_remove(&c->changed);
    }
    return SQLITE_OK;
}

/* ---- idempotency keys -------------------------------------------------------------------------------------- */

static int bind_key(sqlite3_stmt *statement, struct rt_str channel, const struct rt_message *m)
{
    struct rt_str publisher = m->publisher.ptr ? m->publisher : RT_STR("");
    int code = rt_db_bind_text(statement, 1, channel);
    if (code == SQLITE_OK)
        code = rt_db_bind_text(statement, 2, publisher);
    return code == SQLITE_OK ? rt_db_bind_text(statement, 3, m->key) : code;
}

/* SQLITE_ROW and the offset when the key was used within the window, SQLITE_DONE when not. */
static int find_key(struct rt_rows *rows, struct rt_str channel, const struct rt_message *m,
                    uint64_t *ret_offset)
{
    if (m->key.len == 0 || rows->window == 0)
        return SQLITE_DONE;
    sqlite3_stmt *find = rows->statements[RT_ROWS_FIND_KEY];
    int code = bind_key(find, channel, m);
    if (code == SQLITE_OK)
        code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        uint64_t time = (uint64_t)sqlite3_column_int64(find, 1), now = rt_rows_clock(rows);
        *ret_offset = (uint64_t)sqlite3_column_int64(find, 0);
        if (now > time && now - time > rows->window)
            code = SQLITE_DONE;
    }
    sqlite3_reset(find);
    sqlite3_clear_bindings(find);
    return code;
}

static int set_key(struct rt_rows *rows, struct rt_str channel, const struct rt_message *m,
                   int64_t offset)
{
    if (m->key.len == 0 || rows->window == 0)
        return SQLITE_OK;
    sqlite3_stmt *set = rows->statements[RT_ROWS_SET_KEY];
    int code = bind_key(set, channel, m);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(set, 4, offset);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(set, 5, (int64_t)rt_rows_clock(rows));
    return code == SQLITE_OK ? rt_db_run(set) : code;
}

/* ---- messages ---------------------------------------------------------------------------------------------- */

void rt_rows_encode_attachments(struct rt_buf *out, const struct rt_message *m)
{
    for (uint8_t i = 0; i < m->attachment_count; i++) {
        uint32_t len = (uint32_t)m->attachments[i].len;
        uint8_t head[4] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16),
                           (uint8_t)(len >> 24)};
        rt_buf_add(out, head, sizeof(head));
        rt_buf_add_str(out, m->attachments[i]);
    }
}

int rt_rows_decode_attachments(struct rt_str blob, struct rt_str out[RT_MAX_ATTACHMENTS])
{
    int count = 0;
    const uint8_t *p = (const uint8_t *)blob.ptr;
    size_t left = blob.len;
    while (left > 0) {
        if (left < 4 || count == RT_MAX_ATTACHMENTS)
            return -1;
        size_t len = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
        if (len > left - 4)
            return -1;
        out[count++] = rt_str_of(p + 4, len);
        p += 4 + len;
        left -= 4 + len;
    }
    return count;
}

static int bind_data(sqlite3_stmt *add, int index, const struct rt_message *m)
{
    struct rt_str data = m->data.ptr ? m->data : RT_STR("");
    if (m->kind == RT_KIND_BYTES)
        return sqlite3_bind_blob64(add, index, data.ptr, data.len, SQLITE_STATIC);
    return rt_db_bind_text(add, index, data);
}

static int bind_attachments(struct rt_rows *rows, sqlite3_stmt *add, int index,
                            const struct rt_message *m)
{
    if (m->attachment_count == 0)
        return sqlite3_bind_null(add, index);
    rt_buf_clear(&rows->attachments);
    rt_rows_encode_attachments(&rows->attachments, m);
    if (!rt_buf_ok(&rows->attachments))
        return SQLITE_NOMEM;
    return sqlite3_bind_blob64(add, index, rows->attachments.data, rows->attachments.len,
                               SQLITE_STATIC);
}

static uint64_t sum_field(uint64_t sum, struct rt_str field)
{
    const uint64_t key[2] = {sum, field.ptr ? field.len : UINT64_MAX};
    return rt_siphash13(key, field);
}

int64_t rt_rows_sum(int64_t channel, int64_t offset, const struct rt_message *m,
                    struct rt_str attachments)
{
    struct {
        uint64_t channel, offset, time, kind, flags;
        uint8_t id[sizeof(m->id)];
    } head = {(uint64_t)channel, (uint64_t)offset, m->time, m->kind, m->flags, {0}};
    memcpy(head.id, m->id, sizeof(head.id));
    uint64_t sum = sum_field(0, rt_str_of(&head, sizeof(head)));
    sum = sum_field(sum, m->event);
    sum = sum_field(sum, m->data.ptr ? m->data : RT_STR(""));
    sum = sum_field(sum, attachments);
    sum = sum_field(sum, m->publisher);
    sum = sum_field(sum, m->key);
    return (int64_t)(m->except_in.len ? sum_field(sum, m->except_in) : sum);
}

static int bind_message(struct rt_rows *rows, sqlite3_stmt *add, const struct rt_message *m)
{
    int codes[] = {
        sqlite3_bind_int64(add, 3, (int64_t)m->time),
        sqlite3_bind_blob(add, 4, m->id, sizeof(m->id), SQLITE_STATIC),
        sqlite3_bind_int(add, 5, m->kind),
        sqlite3_bind_int(add, 6, m->flags),
        rt_db_bind_text(add, 7, m->event),
        bind_data(add, 8, m),
        bind_attachments(rows, add, 9, m),
        rt_db_bind_text(add, 10, m->publisher),
        rt_db_bind_text(add, 11, m->key),
        rt_db_bind_text(add, 14, m->except_in),
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i] != SQLITE_OK)
            return codes[i];
    return SQLITE_OK;
}

/* Behind bind_message(), which has encoded the attachments. */
static int64_t sum_of(const struct rt_rows *rows, const struct channel *c,
                      const struct rt_message *m)
{
    struct rt_str attachments = RT_STR_NONE;
    if (m->attachment_count > 0)
        attachments = rt_str_of(rows->attachments.data, rows->attachments.len);
    return rt_rows_sum(c->id, c->top + 1, m, attachments);
}

static int add_message(struct rt_rows *rows, const struct channel *c, const struct rt_message *m)
{
    sqlite3_stmt *add = rows->statements[RT_ROWS_ADD_MESSAGE];
    int64_t offset = c->top + 1;
    int code = bind_message(rows, add, m);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(add, 1, c->id);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(add, 2, offset);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(add, 12, rows->seq);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(add, 13, sum_of(rows, c, m));
    if (code == SQLITE_OK)
        code = rt_db_run(add);
    else
        sqlite3_clear_bindings(add);
    return code == SQLITE_OK ? set_key(rows, c->name, m, offset) : code;
}

/* On the way of a batch in which some row failed. What cannot be undone alone is undone with the whole transaction. */
static int add_guarded(struct rt_rows *rows, const struct channel *c, const struct rt_message *m)
{
    int code = rt_db_exec(rows->db, "SAVEPOINT one");
    if (code != SQLITE_OK)
        return code;
    code = add_message(rows, c, m);
    if (sqlite3_get_autocommit(rows->db))
        return code;
    const char *end = code == SQLITE_OK ? "RELEASE one" : "ROLLBACK TO one; RELEASE one";
    int ended = rt_db_exec(rows->db, end);
    if (ended == SQLITE_OK)
        return code;
    rt_db_rollback(rows->db);
    return ended;
}

static void answer(const struct rt_rows *rows, struct rt_append *append, uint64_t offset,
                   bool duplicate)
{
    append->status = RT_OK;
    append->duplicate = duplicate;
    append->position.offset = offset;
    snprintf(append->position.epoch, sizeof(append->position.epoch), "%s", rows->epoch->name);
}

/* The next message is of a time before that of one which is there. */
static int note_set_back(struct rt_rows *rows, int64_t by)
{
    sqlite3_stmt *set = rows->statements[RT_ROWS_SET_BACK];
    int code = sqlite3_bind_int64(set, 1, rows->seq);
    if (code == SQLITE_OK)
        code = rt_db_run(set);
    set = rows->statements[RT_ROWS_SET_BACK_BY];
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(set, 1, by);
    return code == SQLITE_OK ? rt_db_run(set) : code;
}

static int note_time(struct rt_rows *rows, const struct rt_message *m)
{
    int64_t time = (int64_t)m->time;
    int code = SQLITE_OK;
    if (rows->newest < 0) {
        rows->newest = 0;
        code = rt_db_run_int(rows->statements[RT_ROWS_NEWEST], &rows->newest);
    }
    if (code == SQLITE_OK && time + RT_CLOCK_SKEW < rows->newest) {
        code = note_set_back(rows, rows->newest - time);
        rows->newest = time;
    }
    if (code != SQLITE_OK)
        rows->newest = -1;
    else if (time > rows->newest)
        rows->newest = time;
    return code;
}

int rt_rows_add(struct rt_rows *rows, struct rt_append *append, bool guarded)
{
    const struct rt_message *m = &append->message->m;
    uint64_t known = 0;
    int code = find_key(rows, append->channel_name, m, &known);
    if (code == SQLITE_ROW) {
        answer(rows, append, known, true);
        return SQLITE_OK;
    }
    struct channel *c = NULL;
    if (code == SQLITE_DONE)
        code = note_time(rows, m);
    if (code == SQLITE_OK)
        code = get_channel(rows, append->channel_name, &c);
    if (code == SQLITE_OK)
        code = guarded ? add_guarded(rows, c, m) : add_message(rows, c, m);
    if (code != SQLITE_OK)
        return code;
    c->top++;
    rows->seq++;
    if (rt_list_empty(&c->changed))
        rt_list_push(&rows->changed, &c->changed);
    answer(rows, append, (uint64_t)c->top, false);
    return SQLITE_OK;
}
