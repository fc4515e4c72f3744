/* The loop's side of the SQLite journal: accounts for what is in flight, hands it to the writer and the history thread, delivers
 * their answers.
 *
 *     loop: append -> queue -> writer thread -> mailbox -> on_wake -> done
 *           read   -> queue -> history thread -> mailbox -> on_wake -> done
 *
 * Closing, in this order: reads end, the history thread is joined; then the writer drains, checkpoints and is joined; then closed(). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "journal/journal.h"
#include "journal/meter.h"
#include "journal/sqlite_lock.h"
#include "journal/sqlite_reader.h"
#include "journal/sqlite_status.h"
#include "journal/sqlite_writer.h"

#define DEFAULT_QUEUE_BYTES ((size_t)64 << 20)
#define READS_MAX           1024u

struct sqlite_journal {
    struct rt_journal base;
    struct rt_loop *loop;
    void (*failed)(void *arg, const char *text);
    void (*relieved)(void *arg);
    void *arg;

    struct rt_db_lock lock;
    struct rt_waker *waker;
    struct rt_sqlite_status status;
    struct rt_queue *appends, *reads;
    struct rt_mailbox *results, *answers;
    struct rt_writer *writer;
    struct rt_reader *reader;
    struct rt_thread *writer_thread, *reader_thread; /* NULL: not running */

    size_t cap; /* bytes of appends in flight */
    size_t in_flight;
    bool congested;    /* passed 80 % of the cap and has not come below half since */
    uint64_t failures; /* number of the last failure that was delivered */
    bool broken;       /* for good; told */
    bool healthy;
    char text[120];

    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;

    struct rt_journal_meter meter;
    struct rt_metric commit, rows, damaged, used, left;
};

static struct sqlite_journal *sqlite_of(const struct rt_journal *j)
{
    return RT_CONTAINER(j, struct sqlite_journal, base);
}

/* ---- handing in -------------------------------------------------------------------------------------------- */

static double read_in_flight(void *arg)
{
    const struct sqlite_journal *s = arg;
    return (double)s->in_flight;
}

static size_t cost_of(const struct rt_append *append)
{
    return sizeof(*append) + append->message->size + append->channel_name.len;
}

static int sqlite_append(struct rt_journal *j, struct rt_append *append)
{
    struct sqlite_journal *s = sqlite_of(j);
    size_t cost = cost_of(append);
    if (s->closing)
        return rt_journal_refuse(&s->meter, append, RT_ECLOSED, "the broker is shutting down");
    if (s->broken)
        return rt_journal_refuse(&s->meter, append, RT_EAGAIN, s->text);
    if (s->in_flight > 0 && s->in_flight + cost > s->cap)
        return rt_journal_refuse(&s->meter, append, RT_EAGAIN,
                                 "too much is waiting to be stored: slow down");
    rt_list_init(&append->task.link);
    append->task.bytes = cost;
    append->failures = s->failures;
    int code = rt_queue_push(s->appends, &append->task);
    if (code < 0)
        return rt_journal_refuse(&s->meter, append, RT_EAGAIN, "the queue of the log is full");
    s->in_flight += cost;
    if (s->in_flight >= s->cap / 10 * 8)
        s->congested = true;
    return RT_PENDING;
}

static int refuse_read(struct rt_read *read, int code, const char *text)
{
    read->status = code;
    snprintf(read->text, sizeof(read->text), "%s", text);
    return code;
}

static int sqlite_read(struct rt_journal *j, struct rt_read *read)
{
    struct sqlite_journal *s = sqlite_of(j);
    if (s->closing)
        return refuse_read(read, RT_ECLOSED, "the broker is shutting down");
    rt_list_init(&read->task.link);
    read->task.bytes = sizeof(*read);
    if (rt_queue_push(s->reads, &read->task) < 0)
        return refuse_read(read, RT_EAGAIN, "too many reads of history are waiting");
    return RT_PENDING;
}

static bool sqlite_congested(const struct rt_journal *j)
{
    return sqlite_of(j)->congested;
}

static bool sqlite_healthy(const struct rt_journal *j, const char **ret_text)
{
    const struct sqlite_journal *s = sqlite_of(j);
    if (ret_text)
        *ret_text = s->text;
    return s->healthy;
}

/* ---- delivering -------------------------------------------------------------------------------------------- */

static void deliver(struct sqlite_journal *s, struct rt_append *append)
{
    s->in_flight -= append->task.bytes;
    if (append->status < 0 && append->failures > s->failures)
        s->failures = append->failures;
    rt_journal_meter_count(&s->meter, append);
    append->done(append);
}

static void deliver_results(struct sqlite_journal *s)
{
    struct rt_list taken;
    rt_list_init(&taken);
    rt_mailbox_take(s->results, &taken);
    for (struct rt_list *node = rt_list_pop(&taken); node; node = rt_list_pop(&taken))
        deliver(s, RT_CONTAINER(node, struct rt_append, task.link));
}

static void deliver_answers(struct sqlite_journal *s)
{
    struct rt_list taken;
    rt_list_init(&taken);
    rt_mailbox_take(s->answers, &taken);
    for (struct rt_list *node = rt_list_pop(&taken); node; node = rt_list_pop(&taken)) {
        struct rt_read *read = RT_CONTAINER(node, struct rt_read, task.link);
        read->done(read);
    }
}

static void relieve(struct sqlite_journal *s)
{
    if (!s->congested || s->in_flight >= s->cap / 2)
        return;
    s->congested = false;
    if (s->relieved && !s->closing)
        s->relieved(s->arg);
}

static void read_notice(struct sqlite_journal *s, const struct rt_sqlite_notice *notice)
{
    s->healthy = notice->healthy;
    s->meter.up.value = notice->healthy;
    memcpy(s->text, notice->text, sizeof(s->text));
    rt_sqlite_status_add(&s->commit, &notice->commit);
    rt_sqlite_status_add(&s->rows, &notice->rows);
    s->damaged.value += notice->damaged;
    s->used.value = notice->used;
    s->left.value = notice->left;
    if (!notice->failed || s->broken)
        return;
    s->broken = true;
    if (s->failed)
        s->failed(s->arg, s->text);
}

static void join(struct rt_thread **thread)
{
    if (*thread)
        rt_thread_join(*thread);
    *thread = NULL;
}

/* The next step of closing. True when all is done. */
static bool closing_done(struct sqlite_journal *s, const struct rt_sqlite_notice *notice)
{
    if (!s->closing)
        return false;
    if (notice->reader_ended && s->reader_thread) {
        join(&s->reader_thread);
        rt_queue_close(s->appends);
    }
    if (!notice->writer_ended || !s->writer_thread)
        return false;
    join(&s->writer_thread);
    return true;
}

/* The notice is taken first and looked at last: what it says is about results that are in the mailbox by then. */
static void on_wake(void *arg)
{
    struct sqlite_journal *s = arg;
    struct rt_sqlite_notice notice;
    rt_sqlite_status_take(&s->status, &notice);
    deliver_results(s);
    deliver_answers(s);
    relieve(s);
    read_notice(s, &notice);
    if (!closing_done(s, &notice))
        return;
    rt_waker_close(s->waker);
    s->waker = NULL;
    if (s->closed)
        s->closed(s->closed_arg); /* last: it may free the journal */
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static void sqlite_close(struct rt_journal *j, void (*closed)(void *arg), void *arg)
{
    struct sqlite_journal *s = sqlite_of(j);
    if (s->closing)
        return;
    s->closing = true;
    s->closed = closed;
    s->closed_arg = arg;
    rt_queue_close(s->reads);
}

/* Without rt_journal_close() before: waits for the threads here. */
static void stop_threads(struct sqlite_journal *s)
{
    s->closing = true;
    if (s->reads)
        rt_queue_close(s->reads);
    if (s->appends)
        rt_queue_close(s->appends);
    join(&s->reader_thread);
    join(&s->writer_thread);
    if (s->results)
        deliver_results(s);
    if (s->answers)
        deliver_answers(s);
}

static void sqlite_free(struct rt_journal *j)
{
    struct sqlite_journal *s = sqlite_of(j);
    stop_threads(s);
    assert(s->in_flight == 0);
    rt_reader_free(s->reader);
    rt_writer_free(s->writer);
    if (s->waker)
        rt_waker_close(s->waker);
    if (s->appends)
        rt_queue_free(s->appends);
    if (s->reads)
        rt_queue_free(s->reads);
    if (s->results)
        rt_mailbox_free(s->results);
    if (s->answers)
        rt_mailbox_free(s->answers);
    rt_sqlite_status_deinit(&s->status);
    rt_db_unlock(&s->lock); /* the last one: see sqlite_lock.h */
    rt_free(s);
}

static int make_channels(struct sqlite_journal *s, struct rt_err *err)
{
    int code = rt_waker_new(s->loop, on_wake, s, &s->waker);
    if (code == 0)
        code = rt_queue_new(SIZE_MAX, SIZE_MAX, &s->appends);
    if (code == 0)
        code = rt_queue_new(READS_MAX, SIZE_MAX, &s->reads);
    if (code == 0)
        code = rt_mailbox_new(rt_waker_wake, s->waker, &s->results);
    if (code == 0)
        code = rt_mailbox_new(rt_waker_wake, s->waker, &s->answers);
    return code < 0 ? rt_err_set(err, code, "cannot start the journal: %s", rt_err_name(code)) : 0;
}

static int open_database(struct sqlite_journal *s, const struct rt_journal_options *options,
                         struct rt_err *err)
{
    const struct rt_writer_options writer = {options, s->appends, s->results, &s->status};
    const struct rt_reader_options reader = {options, s->reads, s->answers, &s->status};
    int code = rt_db_lock(options->path, &s->lock, err);
    if (code == 0)
        code = rt_writer_new(&writer, &s->writer, err);
    if (code == 0)
        code = rt_reader_new(&reader, &s->reader, err);
    if (code == 0)
        rt_db_lock_sign(&s->lock);
    return code;
}

static int start_threads(struct sqlite_journal *s, struct rt_err *err)
{
    int code = rt_thread_start("journal", rt_writer_run, s->writer, &s->writer_thread, err);
    if (code == 0)
        code = rt_thread_start("history", rt_reader_run, s->reader, &s->reader_thread, err);
    return code;
}

static void init(struct sqlite_journal *s, const struct rt_journal_options *options)
{
    s->loop = options->loop;
    s->failed = options->failed;
    s->relieved = options->relieved;
    s->arg = options->arg;
    s->lock = (struct rt_db_lock)RT_DB_LOCK_INIT;
    s->cap = options->queue_bytes ? options->queue_bytes : DEFAULT_QUEUE_BYTES;
    s->healthy = true;
}

static void init_metrics(struct sqlite_journal *s, struct rt_metrics *metrics)
{
    rt_journal_meter_init(&s->meter, metrics);
    s->meter.queue_bytes.read = read_in_flight;
    s->meter.queue_bytes.arg = s;
    s->commit = rt_sqlite_commit_metric();
    s->rows = rt_sqlite_rows_metric();
    s->damaged = (struct rt_metric){.name = "storage_damaged_reads_total",
                                    .help = "Reads of history that met damaged messages.",
                                    .type = RT_COUNTER};
    s->used = (struct rt_metric){
        .name = "storage_used_bytes",
        .help = "What the database holds, without pages that wait to be used again.",
        .type = RT_GAUGE};
    s->left = (struct rt_metric){
        .name = "storage_left_bytes",
        .help = "What it can still take: up to storage.max_size, or what the disk has.",
        .type = RT_GAUGE};
    struct rt_metric *all[] = {&s->commit, &s->rows, &s->damaged, &s->used, &s->left};
    for (size_t i = 0; metrics && i < sizeof(all) / sizeof(all[0]); i++)
        rt_metrics_register(metrics, all[i]);
}

int rt_journal_sqlite(const struct rt_journal_options *options, struct rt_journal **ret_journal,
                      struct rt_err *err)
{
    static const struct rt_journal_ops ops = {
        .name = "sqlite",
        .append = sqlite_append,
        .read = sqlite_read,
        .congested = sqlite_congested,
        .healthy = sqlite_healthy,
        .close = sqlite_close,
        .free = sqlite_free,
    };
    struct sqlite_journal *s = rt_calloc(1, sizeof(*s));
    if (!s)
        return rt_err_nomem(err);
    s->base.ops = &ops;
    init(s, options);
    int code = make_channels(s, err);
    rt_sqlite_status_init(&s->status, rt_waker_wake, s->waker);
    if (code == 0)
        code = open_database(s, options, err);
    if (code == 0)
        code = start_threads(s, err);
    if (code < 0) {
        sqlite_free(&s->base);
        return code;
    }
    init_metrics(s, options->metrics);
    *ret_journal = &s->base;
    return 0;
}

/* ---- checking without opening ---- */

static int refuse_path(const char *path, const char *what, int error, struct rt_err *err)
{
    return rt_err_set(err, RT_EINVAL, "storage.path: \"%s\": %s%s%s", path, what, error ? ": " : "",
                      error ? strerror(error) : "");
}

static int check_folder(const char *path, const char *folder, struct rt_err *err)
{
    struct stat st;
    if (stat(folder, &st) < 0)
        return refuse_path(path, "its folder cannot be reached", errno, err);
    if (!S_ISDIR(st.st_mode))
        return refuse_path(path, "it does not lie in a folder", 0, err);
    if (access(folder, W_OK | X_OK) < 0)
        return refuse_path(path, "its folder, which also gets files beside it, cannot be written",
                           errno, err);
    return 0;
}

int rt_journal_sqlite_check(const char *path, struct rt_err *err)
{
    struct stat st;
    struct rt_buf folder = RT_BUF_INIT;
    const char *slash = strrchr(path, '/');
    rt_buf_add(&folder, slash ? path : ".", slash && slash > path ? (size_t)(slash - path) : 1);
    const char *text = rt_buf_cstr(&folder);
    int code = text ? check_folder(path, text, err) : rt_err_nomem(err);
    rt_buf_deinit(&folder);
    if (code < 0 || stat(path, &st) < 0)
        return code;
    if (S_ISDIR(st.st_mode))
        return refuse_path(path, "is a folder; a file in it has to be named", 0, err);
    return access(path, R_OK | W_OK) < 0 ? refuse_path(path, "cannot be written", errno, err) : 0;
}
