#include "store/sink.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "store/sink_worker.h"
#include "worker/queue.h"

#define CLOSE_MS 3000u

enum figure {
    UP,
    ROWS,
    BATCHES,
    DEAD,
    REPEATS,
    RETRIES,
    EPOCHS,
    FENCED,
    OWNED,
    LAG,
    HELD,
    HELD_TRIES,
    FIGURES
};

struct rt_sink {
    struct rt_loop *loop;
    struct rt_waker *waker;
    struct rt_thread *thread;
    struct rt_timer patience;
    uint32_t close_timeout;
    struct rt_sink_status status;
    struct rt_sink_worker worker;
    bool up, closing;
    char text[160];
    void (*closed)(void *arg);
    void *closed_arg;
    struct rt_metric metrics[FIGURES];
    struct rt_metric flush;
};

/* ---- figures ------------------------------------------------------------------------------------------------- */

static const struct rt_metric metrics[FIGURES] = {
    [UP] = {.name = "sink_up",
            .help = "1 while PostgreSQL stores what the log brings.",
            .type = RT_GAUGE},
    [ROWS] = {.name = "sink_rows_total", .help = "Messages stored in PostgreSQL by this node."},
    [BATCHES] = {.name = "sink_batches_total", .help = "Transactions of the sink."},
    [DEAD] = {.name = "sink_dead_letters_total",
              .help = "Records that cannot be stored and went to the dead letters."},
    [REPEATS] = {.name = "sink_repeats_total",
                 .help = "Records skipped since they repeat an idempotency key."},
    [RETRIES] = {.name = "sink_retries_total",
                 .help = "Tries put off since PostgreSQL did not store."},
    [EPOCHS] = {.name = "sink_epochs_total",
                .help = "Partitions that got another epoch: made anew, cut, renamed."},
    [FENCED] = {.name = "sink_fenced_total",
                .help = "Sessions of frozen nodes that this node has ended."},
    [OWNED] = {.name = "sink_partitions",
               .help = "Partitions that this node writes.",
               .type = RT_GAUGE},
    [LAG] = {.name = "sink_lag_records",
             .help = "Records of this node's partitions that are not stored yet.",
             .type = RT_GAUGE},
    [HELD] = {.name = "sink_held_partitions",
              .help = "Partitions that wait: a newer version of rtbroker wrote their next record.",
              .type = RT_GAUGE},
    [HELD_TRIES] = {.name = "sink_held_tries_total",
                    .help = "Looks at a record that a newer version of rtbroker wrote."},
};

static void register_metrics(struct rt_sink *s, struct rt_metrics *registry)
{
    s->flush = rt_sink_flush_metric();
    memcpy(s->metrics, metrics, sizeof(metrics));
    for (int i = 0; registry && i < FIGURES; i++)
        rt_metrics_register(registry, &s->metrics[i]);
    if (registry)
        rt_metrics_register(registry, &s->flush);
}

static void take_figures(struct rt_sink *s, const struct rt_sink_notice *n)
{
    const struct rt_sink_figures *f = &n->figures;
    const uint64_t values[FIGURES] = {
        [UP] = n->up,         [ROWS] = f->rows,       [BATCHES] = f->batches,
        [DEAD] = f->dead,     [REPEATS] = f->repeats, [RETRIES] = f->retries,
        [EPOCHS] = f->epochs, [FENCED] = f->fenced,   [OWNED] = f->owned,
        [LAG] = f->lag,       [HELD] = f->held,       [HELD_TRIES] = f->held_tries,
    };
    for (int i = 0; i < FIGURES; i++)
        s->metrics[i].value = values[i];
    rt_sink_flush_add(&s->flush, &n->flush);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void end(struct rt_sink *s)
{
    rt_timer_stop(s->loop, &s->patience);
    rt_thread_join(s->thread);
    s->thread = NULL;
    rt_waker_close(s->waker);
    s->waker = NULL;
    if (s->closed)
        s->closed(s->closed_arg);
}

static void on_wake(void *arg)
{
    struct rt_sink *s = arg;
    struct rt_sink_notice notice;
    rt_sink_status_take(&s->status, &notice);
    take_figures(s, &notice);
    s->up = notice.up;
    snprintf(s->text, sizeof(s->text), "%s", notice.text);
    if (notice.ended && s->thread)
        end(s);
}

static void on_patience(struct rt_timer *timer)
{
    struct rt_sink *s = RT_CONTAINER(timer, struct rt_sink, patience);
    atomic_store(&s->worker.abort, true);
}

int rt_sink_new(const struct rt_sink_options *options, struct rt_sink **ret_sink,
                struct rt_err *err)
{
    struct rt_sink *s = rt_calloc(1, sizeof(*s));
    if (!s)
        return rt_err_nomem(err);
    s->loop = options->loop;
    s->close_timeout = options->close_timeout ? options->close_timeout : CLOSE_MS;
    snprintf(s->text, sizeof(s->text), "not connected yet");
    int code = rt_waker_new(options->loop, on_wake, s, &s->waker);
    if (code < 0) {
        (void)rt_err_set(err, code, "cannot make the sink's waker");
        goto fail;
    }
    if (rt_sink_status_init(&s->status, rt_waker_wake, s->waker) < 0) {
        code = rt_err_nomem(err);
        goto fail_waker;
    }
    code = rt_sink_worker_init(&s->worker, options, &s->status, err);
    if (code < 0)
        goto fail_status;
    code = rt_thread_start("rt-sink", rt_sink_worker_run, &s->worker, &s->thread, err);
    if (code < 0)
        goto fail_worker;
    register_metrics(s, options->metrics);
    *ret_sink = s;
    return 0;
fail_worker:
    rt_sink_worker_deinit(&s->worker);
fail_status:
    rt_sink_status_deinit(&s->status);
fail_waker:
    rt_waker_close(s->waker);
fail:
    rt_free(s);
    return code;
}

bool rt_sink_healthy(const struct rt_sink *s, const char **ret_text)
{
    if (ret_text)
        *ret_text = s->up ? "" : s->text;
    return s->up;
}

void rt_sink_set_partitions(struct rt_sink *s, uint32_t partitions)
{
    atomic_store(&s->worker.wanted, partitions);
}

void rt_sink_close(struct rt_sink *s, void (*closed)(void *arg), void *arg)
{
    if (s->closing)
        return;
    s->closing = true;
    s->closed = closed;
    s->closed_arg = arg;
    atomic_store(&s->worker.stopping, true);
    rt_timer_start(s->loop, &s->patience, s->close_timeout, on_patience);
}

void rt_sink_free(struct rt_sink *s)
{
    if (!s)
        return;
    rt_sink_worker_deinit(&s->worker);
    rt_sink_status_deinit(&s->status);
    rt_free(s);
}
