#include "store/reader.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/map.h"
#include "store/link.h"
#include "store/query.h"

#define STATEMENT_MS 3000u /* in the server */
#define ANSWER_MS    4000u /* here, when the server is silent */
#define TICK_MS      100u

/* One statement for any number of identical reads. The loop owns it but for `result`, `status` and `text` until it comes back. */
struct job {
    struct rt_task task;  /* first */
    struct rt_list link;  /* of those in flight; the loop's */
    struct rt_list reads; /* rt_read.task.link; the loop's */
    struct rt_query query;
    uint64_t hash;
    _Atomic bool begun;   /* no more reads may join: its snapshot is taken */
    _Atomic bool dropped; /* nobody waits any more */
    int status;
    struct rt_query_result result;
    char text[120];
    char channel[];
};

struct rt_history {
    struct rt_loop *loop;
    struct rt_waker *waker;
    struct rt_queue *queue;
    struct rt_mailbox *answers;
    struct rt_thread *thread;
    struct rt_timer timer; /* runs while reads wait */
    struct rt_list jobs;
    size_t job_count, waiting;
    char *url, *schema, *topic, *name;
    _Atomic bool stop;
    struct rt_task ended; /* the thread's last post */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct rt_link connection; /* the thread's, but for its state */
    char text[200];            /* of rt_history_healthy() */
    struct rt_metric ok, failed, refused, shared, seconds, up;
};

/* ---- the thread ---------------------------------------------------------------------------------------------- */

static int prepare(struct rt_pg *pg, void *arg, struct rt_err *err)
{
    struct rt_history *h = arg;
    return rt_query_prepare(pg, h->schema, ANSWER_MS, err);
}

static void fail_job(struct job *job, int code, const char *text)
{
    job->status = code;
    snprintf(job->text, sizeof(job->text), "history cannot be read: %.*s", 90, text);
}

/* `*ret_ended`: there was a connection, and it has ended. */
static int query(struct rt_history *h, struct job *job, bool *ret_ended, struct rt_err *err)
{
    *ret_ended = false;
    if (!rt_link_up(&h->connection, prepare, h))
        return rt_err_set(err, h->stop ? RT_ECLOSED : RT_EIO, "%s", h->connection.text);
    int code = rt_query_run(h->connection.pg, h->topic, &job->query, ANSWER_MS, &job->result, err);
    /* A row that is none of ours says nothing about the server. */
    bool answered = code == RT_OK || h->connection.pg->failure == RT_PG_NONE;
    *ret_ended = code < 0 && !rt_pg_usable(h->connection.pg) && !h->connection.pg->silent;
    rt_link_report(&h->connection, answered ? RT_OK : code, err);
    return code;
}

/* A connection that ended while it was idle is noticed by the first statement only: then that is run once more, on a new one. */
static void run_job(struct rt_history *h, struct job *job)
{
    struct rt_err err = {0};
    job->begun = true;
    if (job->dropped) {
        fail_job(job, RT_EIO, "nobody waits");
        return;
    }
    bool ended;
    int code = query(h, job, &ended, &err);
    if (ended) {
        rt_link_hurry(&h->connection);
        code = query(h, job, &ended, &err);
    }
    job->status = code;
    if (code < 0)
        fail_job(job, code, err.text);
}

static void probe(struct rt_history *h)
{
    struct rt_err err = {0};
    if (rt_mono_ms() - h->connection.seen_at < RT_HISTORY_PROBE_MS)
        return;
    int code = rt_pg_run(h->connection.pg, "SELECT 1", ANSWER_MS, &err);
    rt_link_report(&h->connection, code, &err);
}

static void run(void *arg)
{
    struct rt_history *h = arg;
    struct rt_list taken;
    rt_list_init(&taken);
    int64_t wait = 0;
    while (rt_queue_take(h->queue, &taken, wait)) {
        for (struct rt_list *node = rt_list_pop(&taken); node; node = rt_list_pop(&taken)) {
            struct job *job = RT_CONTAINER(node, struct job, task.link);
            run_job(h, job);
            rt_mailbox_post(h->answers, &job->task);
        }
        if (!h->stop && rt_link_up(&h->connection, prepare, h))
            probe(h);
        uint64_t next = h->connection.pg ? RT_HISTORY_PROBE_MS : rt_link_wait(&h->connection) + 1;
        wait = (int64_t)next;
    }
    rt_pg_free(h->connection.pg);
    h->connection.pg = NULL;
    rt_mailbox_post(h->answers, &h->ended);
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

static void answer(struct rt_history *h, struct rt_read *read, int status, const char *text)
{
    rt_list_remove(&read->task.link);
    h->waiting--;
    read->status = status;
    if (status != RT_OK)
        snprintf(read->text, sizeof(read->text), "%s", text);
    (status == RT_OK ? &h->ok : &h->failed)->value++;
    rt_metrics_observe(&h->seconds, (double)(rt_mono_ms() - read->task.bytes) / 1000);
    read->done(read);
}

/* `last`: nobody else needs the array. */
static int give_messages(struct rt_read *read, struct rt_query_result *result, bool last)
{
    read->more = result->more;
    read->top = result->top;
    read->floor = result->floor;
    read->complete = result->complete;
    if (read->by_time) {
        read->since = result->since;
        read->found = result->found;
    }
    if (last || result->count == 0) {
        read->messages = result->messages;
        read->count = result->count;
        result->messages = NULL;
        result->count = 0;
        return RT_OK;
    }
    read->messages = rt_calloc(result->count, sizeof(struct rt_stored *));
    if (!read->messages)
        return RT_ENOMEM;
    for (size_t i = 0; i < result->count; i++)
        read->messages[i] = rt_stored_ref(result->messages[i]);
    read->count = result->count;
    return RT_OK;
}

static void answer_job(struct rt_history *h, struct job *job)
{
    rt_list_remove(&job->link);
    h->job_count--;
    while (!rt_list_empty(&job->reads)) {
        struct rt_read *read = RT_CONTAINER(job->reads.next, struct rt_read, task.link);
        bool last = job->reads.next->next == &job->reads;
        int status = job->status;
        if (status == RT_OK)
            status = give_messages(read, &job->result, last);
        answer(h, read, status, job->status == RT_OK ? "out of memory" : job->text);
    }
    rt_query_result_deinit(&job->result);
    rt_free(job);
}

/* All reads of all jobs that have waited as long as they may. The job itself comes back by and by. */
static void answer_late(struct rt_history *h)
{
    uint64_t seen_at;
    char text[200], words[120];
    bool up = rt_link_state(&h->connection, &seen_at, text);
    uint64_t limit = up ? RT_HISTORY_SLOW_MS : RT_HISTORY_DOWN_MS;
    snprintf(words, sizeof(words), "history cannot be read: %.90s",
             up ? "PostgreSQL does not answer" : text);
    uint64_t now = rt_mono_ms();
    struct rt_list late;
    rt_list_init(&late);
    rt_list_for(node, &h->jobs) {
        struct job *job = RT_CONTAINER(node, struct job, link);
        rt_list_for_safe(it, next, &job->reads) {
            struct rt_read *read = RT_CONTAINER(it, struct rt_read, task.link);
            if (!h->closing && now - read->task.bytes < limit)
                continue;
            rt_list_remove(it);
            rt_list_push(&late, it);
        }
        job->dropped = rt_list_empty(&job->reads);
    }
    while (!rt_list_empty(&late)) {
        struct rt_read *read = RT_CONTAINER(late.next, struct rt_read, task.link);
        answer(h, read, h->closing ? RT_ECLOSED : RT_EIO, h->closing ? "closing" : words);
    }
}

static void on_tick(struct rt_timer *timer)
{
    struct rt_history *h = RT_CONTAINER(timer, struct rt_history, timer);
    answer_late(h);
    if (h->waiting > 0)
        rt_timer_start(h->loop, &h->timer, TICK_MS, on_tick);
}

static void finish(struct rt_history *h)
{
    rt_thread_join(h->thread);
    h->thread = NULL;
    rt_timer_stop(h->loop, &h->timer);
    rt_waker_close(h->waker);
    h->waker = NULL;
    h->closed(h->closed_arg);
}

static void on_wake(void *arg)
{
    struct rt_history *h = arg;
    struct rt_list done;
    rt_list_init(&done);
    (void)rt_mailbox_take(h->answers, &done);
    bool ended = false;
    for (struct rt_list *node = rt_list_pop(&done); node; node = rt_list_pop(&done)) {
        struct rt_task *task = RT_CONTAINER(node, struct rt_task, link);
        if (task == &h->ended)
            ended = true;
        else
            answer_job(h, RT_CONTAINER(node, struct job, task.link));
    }
    if (ended)
        finish(h);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static bool same(const struct job *job, const struct rt_read *read, uint64_t hash)
{
    const struct rt_query *q = &job->query;
    return job->hash == hash && !job->begun && !job->dropped &&
           rt_str_eq(q->channel, read->channel_name) && strcmp(q->epoch, read->epoch) == 0 &&
           q->since == read->since && q->until == read->until && q->limit == read->limit &&
           q->reverse == read->reverse && q->by_time == read->by_time && q->time == read->time;
}

static struct job *find_job(const struct rt_history *h, const struct rt_read *read, uint64_t hash)
{
    rt_list_for(node, &h->jobs) {
        struct job *job = RT_CONTAINER(node, struct job, link);
        if (same(job, read, hash))
            return job;
    }
    return NULL;
}

static struct job *new_job(const struct rt_read *read, uint64_t hash)
{
    struct job *job = rt_calloc(1, sizeof(*job) + read->channel_name.len + 1);
    if (!job)
        return NULL;
    memcpy(job->channel, read->channel_name.ptr, read->channel_name.len);
    job->query = (struct rt_query){.channel = rt_str_of(job->channel, read->channel_name.len),
                                   .since = read->since,
                                   .until = read->until,
                                   .limit = read->limit,
                                   .reverse = read->reverse,
                                   .by_time = read->by_time,
                                   .time = read->time};
    memcpy(job->query.epoch, read->epoch, sizeof(job->query.epoch));
    job->hash = hash;
    rt_list_init(&job->reads);
    rt_list_init(&job->link);
    return job;
}

static int refuse(struct rt_history *h, struct rt_read *read, int code, const char *text)
{
    h->refused.value++;
    read->status = code;
    snprintf(read->text, sizeof(read->text), "%s", text);
    return code;
}

int rt_history_read(struct rt_history *h, struct rt_read *read)
{
    if (h->closing)
        return refuse(h, read, RT_ECLOSED, "history is closing");
    if (read->epoch[0] == '\0' || !read->channel_name.ptr)
        return refuse(h, read, RT_EINVAL, "history needs a channel and an epoch");
    if (h->waiting >= RT_HISTORY_READS)
        return refuse(h, read, RT_EAGAIN, "too many reads of the history wait");
    uint64_t hash = rt_hash(read->channel_name);
    struct job *job = find_job(h, read, hash);
    if (job) {
        h->shared.value++;
    } else {
        job = new_job(read, hash);
        if (!job)
            return refuse(h, read, RT_ENOMEM, "out of memory");
        int code = rt_queue_push(h->queue, &job->task);
        if (code < 0) {
            rt_free(job);
            return refuse(h, read, code, "too many different reads of the history wait");
        }
        rt_list_push(&h->jobs, &job->link);
        h->job_count++;
    }
    read->messages = NULL;
    read->count = 0;
    read->task.bytes = rt_mono_ms();
    rt_list_push(&job->reads, &read->task.link);
    if (h->waiting++ == 0)
        rt_timer_start(h->loop, &h->timer, TICK_MS, on_tick);
    return RT_PENDING;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static double read_up(void *arg)
{
    return rt_history_healthy(arg, NULL) ? 1 : 0;
}

static void init_metrics(struct rt_history *h, struct rt_metrics *metrics)
{
    static const double bounds[] = {0.001, 0.005, 0.02, 0.1, 0.5, 1, 5};
    static const char *const help = "Reads of the history in PostgreSQL, by result.";
    const char *const labels[] = {"result=\"ok\"", "result=\"failed\"", "result=\"refused\""};
    struct rt_metric *const counters[] = {&h->ok, &h->failed, &h->refused};
    for (int i = 0; i < 3; i++)
        *counters[i] = (struct rt_metric){
            .name = "store_reads_total", .help = help, .labels = labels[i], .type = RT_COUNTER};
    h->shared = (struct rt_metric){.name = "store_reads_shared_total",
                                   .help = "Reads that were answered by the statement of another.",
                                   .type = RT_COUNTER};
    h->seconds = (struct rt_metric){.name = "store_read_seconds",
                                    .help = "From the question to its answer.",
                                    .type = RT_HISTOGRAM,
                                    .bounds = bounds,
                                    .bound_count = sizeof(bounds) / sizeof(bounds[0])};
    h->up = (struct rt_metric){.name = "store_reader_up",
                               .help = "1 while history can be read from PostgreSQL.",
                               .type = RT_GAUGE,
                               .read = read_up,
                               .arg = h};
    struct rt_metric *const all[] = {&h->ok,     &h->failed,  &h->refused,
                                     &h->shared, &h->seconds, &h->up};
    for (size_t i = 0; metrics && i < sizeof(all) / sizeof(all[0]); i++)
        rt_metrics_register(metrics, all[i]);
}

static int start(struct rt_history *h, struct rt_err *err)
{
    int code = rt_waker_new(h->loop, on_wake, h, &h->waker);
    if (code == RT_OK)
        code = rt_mailbox_new(rt_waker_wake, h->waker, &h->answers);
    if (code == RT_OK)
        code = rt_queue_new(RT_HISTORY_JOBS, SIZE_MAX, &h->queue);
    if (code < 0)
        return rt_err_set(err, code, "history: %s", rt_err_name(code));
    return rt_thread_start("history", run, h, &h->thread, err);
}

int rt_history_new(const struct rt_history_options *options, struct rt_history **ret_history,
                   struct rt_err *err)
{
    struct rt_history *h = rt_calloc(1, sizeof(*h));
    if (!h)
        return rt_err_nomem(err);
    h->loop = options->loop;
    h->url = rt_strdup(options->url ? options->url : "");
    h->schema = rt_strdup(options->schema);
    h->topic = rt_strdup(options->topic);
    h->name = rt_strdup(options->name);
    rt_list_init(&h->jobs);
    struct rt_pg_options pg = {.url = h->url,
                               .name = h->name,
                               .statement_timeout = STATEMENT_MS,
                               .lock_timeout = STATEMENT_MS,
                               .stop = &h->stop};
    rt_link_init(&h->connection, &pg, h->schema);
    bool copied = h->url && h->schema && h->topic && h->name;
    int code = copied ? start(h, err) : rt_err_nomem(err);
    if (code < 0) {
        rt_history_free(h);
        return code;
    }
    init_metrics(h, options->metrics);
    *ret_history = h;
    return RT_OK;
}

bool rt_history_healthy(const struct rt_history *h, const char **ret_text)
{
    struct rt_history *mine = (struct rt_history *)(uintptr_t)h; /* the text is a cache */
    uint64_t seen_at;
    bool up = rt_link_state(&mine->connection, &seen_at, mine->text);
    if (up && rt_mono_ms() - seen_at > 3 * RT_HISTORY_PROBE_MS) {
        up = false;
        snprintf(mine->text, sizeof(mine->text), "PostgreSQL has not answered for %llu ms",
                 (unsigned long long)(rt_mono_ms() - seen_at));
    }
    if (ret_text)
        *ret_text = mine->text;
    return up;
}

static void on_closing(struct rt_timer *timer)
{
    answer_late(RT_CONTAINER(timer, struct rt_history, timer));
}

void rt_history_close(struct rt_history *h, void (*closed)(void *arg), void *arg)
{
    if (h->closing)
        return;
    h->closing = true;
    h->closed = closed;
    h->closed_arg = arg;
    h->stop = true;
    rt_timer_start(h->loop, &h->timer, 0, on_closing);
    rt_queue_close(h->queue);
}

void rt_history_free(struct rt_history *h)
{
    if (!h)
        return;
    if (h->waker)
        rt_waker_close(h->waker);
    if (h->queue)
        rt_queue_free(h->queue);
    if (h->answers)
        rt_mailbox_free(h->answers);
    rt_link_deinit(&h->connection);
    rt_free(h->url);
    rt_free(h->schema);
    rt_free(h->topic);
    rt_free(h->name);
    rt_free(h);
}
