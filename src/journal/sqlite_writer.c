#include "journal/sqlite_writer.h"

#include <sched.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "journal/sqlite_upkeep.h"

#define PROBE_MS  1000u
#define LINGER_NS 2000000u /* at most; design/durability.md */
#define QUIET_NS  20000u   /* nothing came for so long: nobody is handing in */

/* A channel of which an append failed while others may be on their way. */
struct mark {
    struct rt_list link;
    uint64_t failure;
    struct rt_str name; /* follows this struct */
};

enum { BEGIN, COMMIT, STATEMENTS };
static const char *const statements[STATEMENTS] = {"BEGIN IMMEDIATE", "COMMIT"};

struct rt_writer {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct rt_epoch epoch;
    struct rt_rows rows;
    struct rt_upkeep upkeep;
    struct rt_queue *appends;
    struct rt_mailbox *results;
    struct rt_sqlite_status *status;
    struct rt_list pending; /* taken, not in a batch yet */
    size_t pending_rows;
    size_t last_rows;      /* of the last batch */
    uint64_t failures;     /* number of the last failure */
    uint64_t refuse_below; /* appends that know of fewer failures fail */
    struct rt_map marks;   /* the same for single channels */
    struct rt_list mark_list;
    bool unhealthy;
    bool stopped;
    uint64_t probe_at;
    char text[120]; /* why it is unhealthy or stopped */
};

/* What became of a transaction. */
enum outcome { STORED, ROW_FAILED, NOT_STORED, UNKNOWN };

static struct rt_append *append_of(const struct rt_list *node)
{
    return RT_CONTAINER(node, struct rt_append, task.link);
}

/* ---- failures and order ------------------------------------------------------------------------------------ */

static struct rt_str mark_name(const void *value)
{
    return ((const struct mark *)value)->name;
}

static void forget_marks(struct rt_writer *w)
{
    for (struct rt_list *node = rt_list_pop(&w->mark_list); node;
         node = rt_list_pop(&w->mark_list)) {
        struct mark *mark = RT_CONTAINER(node, struct mark, link);
        rt_map_remove(&w->marks, mark->name);
        rt_free(mark);
    }
}

static void mark_channel(struct rt_writer *w, struct rt_str name)
{
    struct mark *mark = rt_map_get(&w->marks, name);
    if (mark) {
        mark->failure = w->failures;
        return;
    }
    mark = rt_malloc(sizeof(*mark) + name.len);
    if (mark) {
        memcpy(mark + 1, name.ptr, name.len);
        mark->name = rt_str_of(mark + 1, name.len);
        mark->failure = w->failures;
        if (rt_map_put(&w->marks, mark) == 0) {
            rt_list_push(&w->mark_list, &mark->link);
            return;
        }
        rt_free(mark);
    }
    w->refuse_below = w->failures; /* no memory to be precise: all channels */
}

static void fail(const struct rt_writer *w, struct rt_append *append, int status, const char *text)
{
    append->status = status;
    append->duplicate = false;
    append->position = (struct rt_position){.offset = 0};
    append->failures = w->failures;
    snprintf(append->text, sizeof(append->text), "%s", text);
}

static void fail_row(struct rt_writer *w, struct rt_append *append, int code)
{
    char text[sizeof(append->text)];
    snprintf(text, sizeof(text), "the message cannot be stored: %s", sqlite3_errstr(code));
    w->failures++;
    mark_channel(w, append->channel_name);
    fail(w, append, RT_EAGAIN, text);
}

/* Every append of the batch that was to be stored, and whatever is on its way. */
static void fail_batch(struct rt_writer *w, struct rt_list *batch, int status)
{
    w->failures++;
    w->refuse_below = w->failures;
    rt_list_for(node, batch) {
        struct rt_append *append = append_of(node);
        if (append->status >= 0)
            fail(w, append, status, w->text);
    }
}

static void set_unhealthy(struct rt_writer *w, const char *text)
{
    snprintf(w->text, sizeof(w->text), "%s", text);
    w->probe_at = rt_mono_ms() + PROBE_MS;
    if (w->unhealthy)
        return;
    w->unhealthy = true;
    rt_log(RT_LOG_ERROR, "journal", w->text);
    rt_sqlite_status_health(w->status, false, w->text);
}

static void set_healthy(struct rt_writer *w)
{
    if (!w->unhealthy)
        return;
    w->unhealthy = false;
    w->text[0] = '\0';
    rt_log(RT_LOG_INFO, "journal", "storing works again");
    rt_sqlite_status_health(w->status, true, "");
}

/* The results of the batch are posted after it: the loop is told by the status, which it reads after the results. */
static void stop(struct rt_writer *w, int code)
{
    char text[sizeof(w->text)];
    rt_db_fault_text(w->db, code, text, sizeof(text));
    snprintf(w->text, sizeof(w->text), "%s", text);
    w->stopped = true;
    rt_log(RT_LOG_ERROR, "journal", w->text);
}

static void tell_stopped(struct rt_writer *w)
{
    rt_sqlite_status_fail(w->status, w->text);
}

/* ---- a batch ----------------------------------------------------------------------------------------------- */

/* Why an append may not be stored; NULL: it may. Marks are over once an append comes that knows of all failures, since those behind
 * it know of them too. */
static const char *refusal(struct rt_writer *w, const struct rt_append *append)
{
    if (w->stopped)
        return w->text;
    if (append->failures < w->refuse_below)
        return w->unhealthy ? w->text : "a message before it could not be stored";
    if (rt_list_empty(&w->mark_list))
        return NULL;
    if (append->failures >= w->failures) {
        forget_marks(w);
        return NULL;
    }
    const struct mark *mark = rt_map_get(&w->marks, append->channel_name);
    return mark && append->failures < mark->failure
               ? "a message of the channel before it could not be stored"
               : NULL;
}

/* Answers those that may not be stored; returns the number of others. */
static size_t screen(struct rt_writer *w, struct rt_list *batch)
{
    size_t rows = 0;
    rt_list_for(node, batch) {
        struct rt_append *append = append_of(node);
        const char *why = refusal(w, append);
        append->status = RT_PENDING;
        if (why)
            fail(w, append, RT_EAGAIN, why);
        else
            rows++;
    }
    return rows;
}

/* In a transaction. A row that fails by itself is answered and left out when rows are guarded. */
static int add_rows(struct rt_writer *w, struct rt_list *batch, bool guarded, bool *ret_row_failed)
{
    rt_list_for(node, batch) {
        struct rt_append *append = append_of(node);
        if (append->status < 0)
            continue;
        const char *why = guarded ? refusal(w, append) : NULL;
        if (why) {
            fail(w, append, RT_EAGAIN, why);
            continue;
        }
        int code = rt_rows_add(&w->rows, append, guarded);
        if (code == SQLITE_OK)
            continue;
        *ret_row_failed = rt_db_fault(w->db, code) == RT_FAULT_ROW;
        if (!*ret_row_failed || !guarded)
            return code;
        *ret_row_failed = false;
        fail_row(w, append, code);
    }
    return rt_rows_finish(&w->rows);
}

/* The first transaction begins the epoch. */
static int fill(struct rt_writer *w, struct rt_list *batch, bool guarded, bool *ret_row_failed)
{
    int code = w->epoch.stored ? SQLITE_OK : rt_epoch_store(w->db, &w->epoch);
    if (code == SQLITE_OK)
        code = add_rows(w, batch, guarded, ret_row_failed);
    return code == SQLITE_OK ? rt_db_check_place(w->db) : code;
}

/* One transaction; on a failure it is rolled back, and `*ret_code` says why. */
static enum outcome transact(struct rt_writer *w, struct rt_list *batch, bool guarded,
                             int *ret_code)
{
    bool row_failed = false;
    bool at_commit = false;
    int code = rt_db_run(w->statements[BEGIN]);
    if (code == SQLITE_OK)
        code = fill(w, batch, guarded, &row_failed);
    if (code == SQLITE_OK) {
        at_commit = true;
        code = rt_db_run(w->statements[COMMIT]);
    }
    if (code == SQLITE_OK) {
        w->epoch.stored = true;
        return STORED;
    }
    *ret_code = code;
    enum rt_db_fault fault = at_commit ? rt_db_commit_fault(w->db, code) : rt_db_fault(w->db, code);
    if (fault == RT_FAULT_STOP)
        stop(w, code);
    rt_db_rollback(w->db);
    rt_rows_forget(&w->rows);
    if (row_failed)
        return ROW_FAILED;
    return at_commit && fault == RT_FAULT_STOP ? UNKNOWN : NOT_STORED;
}

/* A batch of duplicates writes nothing, which proves nothing. */
static bool wrote(const struct rt_list *batch)
{
    rt_list_for(node, batch) {
        const struct rt_append *append = append_of(node);
        if (append->status == RT_OK && !append->duplicate)
            return true;
    }
    return false;
}

static void store(struct rt_writer *w, struct rt_list *batch)
{
    int code = SQLITE_OK;
    enum outcome outcome = transact(w, batch, false, &code);
    if (outcome == ROW_FAILED)
        outcome = transact(w, batch, true, &code);
    if (outcome == STORED) {
        if (w->unhealthy && wrote(batch))
            set_healthy(w);
        return;
    }
    if (!w->stopped) {
        char text[sizeof(w->text)];
        rt_db_fault_text(w->db, code, text, sizeof(text));
        set_unhealthy(w, text);
    }
    fail_batch(w, batch, outcome == UNKNOWN ? RT_EUNKNOWN : RT_EAGAIN);
}

static void do_batch(struct rt_writer *w, struct rt_list *batch)
{
    bool was_stopped = w->stopped;
    size_t rows = screen(w, batch);
    if (rows > 0) {
        uint64_t start = rt_mono_ns();
        store(w, batch);
        rt_sqlite_status_batch(w->status, rows, (double)(rt_mono_ns() - start) / 1e9);
    }
    rt_mailbox_post_all(w->results, batch);
    if (w->stopped && !was_stopped)
        tell_stopped(w);
}

/* Moves the next batch out of what is pending; returns its size. */
static size_t next_batch(struct rt_writer *w, struct rt_list *batch)
{
    size_t rows = 0;
    size_t bytes = 0;
    while (!rt_list_empty(&w->pending) && rows < RT_BATCH_ROWS) {
        struct rt_append *append = append_of(w->pending.next);
        if (rows > 0 && bytes + append->task.bytes > RT_BATCH_BYTES)
            break;
        bytes += append->task.bytes;
        rows++;
        rt_list_remove(&append->task.link);
        rt_list_push(batch, &append->task.link);
    }
    w->pending_rows -= rows;
    w->last_rows = rows;
    return rows;
}

/* False: closed, and nothing came. */
static bool take(struct rt_writer *w, int64_t wait_ms)
{
    struct rt_list taken;
    rt_list_init(&taken);
    bool open = rt_queue_take(w->appends, &taken, wait_ms);
    rt_list_for(node, &taken)
        w->pending_rows++;
    rt_list_splice(&w->pending, &taken);
    return open;
}

/* The first append of a turn of the loop wakes us while the loop is still handing in the others: those who got the answers of the last
 * batch, most likely. Without waiting for them every batch would be cut in two (measured with 16 to 1,000 in flight: a third to a
 * half less rows a second). So, while the last batch had more rows, and as long as they keep coming. One that is alone does not wait. */
static void linger(struct rt_writer *w)
{
    uint64_t now = rt_mono_ns();
    uint64_t end = now + LINGER_NS;
    uint64_t quiet = now + QUIET_NS;
    while (w->pending_rows < w->last_rows && now < quiet && now < end) {
        size_t before = w->pending_rows;
        sched_yield();
        (void)take(w, 0);
        now = rt_mono_ns();
        if (w->pending_rows > before)
            quiet = now + QUIET_NS;
    }
}

/* ---- between batches --------------------------------------------------------------------------------------- */

static void probe(struct rt_writer *w)
{
    bool at_commit;
    int code = rt_upkeep_probe(&w->upkeep, &at_commit);
    if (code == SQLITE_OK) {
        set_healthy(w);
        return;
    }
    enum rt_db_fault fault = at_commit ? rt_db_commit_fault(w->db, code) : rt_db_fault(w->db, code);
    if (fault == RT_FAULT_STOP) {
        stop(w, code);
        tell_stopped(w);
    }
    rt_db_rollback(w->db);
    w->probe_at = rt_mono_ms() + PROBE_MS;
}

static void upkeep(struct rt_writer *w, size_t rows)
{
    if (w->stopped)
        return;
    uint64_t now = rt_mono_ms();
    int code = rt_upkeep_run(&w->upkeep, rows, now);
    if (code != SQLITE_OK) {
        stop(w, code);
        rt_db_rollback(w->db);
        tell_stopped(w);
    } else if (w->unhealthy && now >= w->probe_at) {
        probe(w);
    }
    if (w->upkeep.measured)
        rt_sqlite_status_room(w->status, w->upkeep.room.used, w->upkeep.room.left);
}

static int64_t idle_time(const struct rt_writer *w)
{
    if (w->stopped)
        return -1;
    uint64_t now = rt_mono_ms();
    uint64_t wait = rt_upkeep_wait(&w->upkeep, now);
    if (w->unhealthy) {
        uint64_t until_probe = w->probe_at > now ? w->probe_at - now : 0;
        wait = until_probe < wait ? until_probe : wait;
    }
    return (int64_t)wait;
}

static void close_database(struct rt_writer *w)
{
    rt_rows_deinit(&w->rows);
    rt_upkeep_deinit(&w->upkeep);
    rt_db_finalize(w->statements, STATEMENTS);
    rt_db_close_writer(w->db, !w->stopped);
    w->db = NULL;
}

static void do_pending(struct rt_writer *w)
{
    do {
        struct rt_list batch;
        rt_list_init(&batch);
        if (w->pending_rows > 0)
            linger(w);
        size_t rows = next_batch(w, &batch);
        if (rows > 0)
            do_batch(w, &batch);
        upkeep(w, rows);
        (void)take(w, 0);
    } while (w->pending_rows > 0);
}

void rt_writer_run(void *writer)
{
    struct rt_writer *w = writer;
    while (take(w, idle_time(w)))
        do_pending(w);
    close_database(w);
    rt_sqlite_status_writer_ended(w->status);
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static int open_database(struct rt_writer *w, const struct rt_journal_options *journal,
                         struct rt_err *err)
{
    int code = rt_db_open_writer(journal, &w->db, err);
    if (code == 0 && (code = rt_epoch_new(w->db, &w->epoch, err)) < 0) {
        rt_err_wrap(err, "storage.path %s", journal->path);
        rt_db_close_writer(w->db, false);
        w->db = NULL;
    }
    return code;
}

int rt_writer_new(const struct rt_writer_options *options, struct rt_writer **ret_writer,
                  struct rt_err *err)
{
    const struct rt_journal_options *journal = options->journal;
    struct rt_writer *w = rt_calloc(1, sizeof(*w));
    if (!w)
        return rt_err_nomem(err);
    w->appends = options->appends;
    w->results = options->results;
    w->status = options->status;
    rt_list_init(&w->pending);
    rt_map_init(&w->marks, mark_name);
    rt_list_init(&w->mark_list);
    int code = open_database(w, journal, err);
    if (code < 0)
        goto opened_not;
    code = rt_rows_init(&w->rows, w->db, &w->epoch, journal->idempotency_window, err);
    if (code == 0)
        code = rt_db_prepare(w->db, statements, w->statements, STATEMENTS, err);
    if (code == 0)
        code = rt_upkeep_init(&w->upkeep, w->db, &w->rows, journal->retention, err);
    if (code < 0) {
        close_database(w);
        goto opened_not;
    }
    *ret_writer = w;
    return 0;
opened_not:
    rt_writer_free(w);
    return code;
}

void rt_writer_free(struct rt_writer *w)
{
    if (!w)
        return;
    if (w->db)
        close_database(w);
    forget_marks(w);
    rt_map_deinit(&w->marks);
    rt_free(w);
}
