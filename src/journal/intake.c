/* The loop's side of Kafka in. See intake.h. */
#include "journal/intake_internal.h"

#include <stdio.h>

#include "base/alloc.h"

static void finish(struct rt_intake *in)
{
    rt_thread_join(in->thread);
    in->thread = NULL;
    rt_waker_close(in->waker);
    in->waker = NULL;
    in->closed(in->closed_arg);
}

static void drop_all(struct rt_intake *in, struct rt_list *records)
{
    struct rt_list *node;
    while ((node = rt_list_pop(records)))
        rt_intake_done(in, RT_CONTAINER(node, struct rt_intake_record, task.link),
                       RT_INTAKE_DROPPED, NULL);
}

/* Those that are void go back at once. */
static void drop_void(struct rt_intake *in, struct rt_list *records)
{
    rt_list_for_safe(it, next, records) {
        struct rt_intake_record *r = RT_CONTAINER(it, struct rt_intake_record, task.link);
        if (r->generation == in->seen)
            continue;
        rt_list_remove(it);
        rt_intake_done(in, r, RT_INTAKE_DROPPED, NULL);
    }
}

static void on_wake(void *arg)
{
    struct rt_intake *in = arg;
    struct rt_list records;
    rt_list_init(&records);
    (void)rt_mailbox_take(in->inbox, &records);
    if (in->closed) {
        drop_all(in, &records);
        if (atomic_load(&in->ended))
            finish(in);
        return;
    }
    /* A record is posted after its generation has begun: read after the mailbox, none looks newer than it is. */
    uint32_t generation = atomic_load(&in->generation);
    if (generation != in->seen) {
        in->seen = generation;
        in->options.revoked(in->options.arg);
    }
    drop_void(in, &records);
    if (!rt_list_empty(&records))
        in->options.records(in->options.arg, &records);
}

struct rt_str rt_intake_header(const struct rt_intake_record *record, struct rt_str name)
{
    for (size_t i = record->header_count; i > 0; i--) {
        const struct rt_record_header *h = &record->headers[i - 1];
        if (rt_str_eq(rt_str_c(h->name), name))
            return h->value.ptr ? h->value : RT_STR("");
    }
    return RT_STR_NONE;
}

void rt_intake_done(struct rt_intake *in, struct rt_intake_record *record,
                    enum rt_intake_verdict verdict, const char *reason)
{
    record->verdict = verdict;
    snprintf(record->reason, sizeof(record->reason), "%s", reason ? reason : "");
    rt_list_init(&record->task.link);
    (void)rt_queue_push(in->returned, &record->task); /* has no bound: what is in flight has one */
}

void rt_intake_rejoin(struct rt_intake *in)
{
    atomic_store(&in->rejoin, true);
}

void rt_intake_status(const struct rt_intake *in, struct rt_intake_status *ret_status)
{
    *ret_status = (struct rt_intake_status){.lag = atomic_load(&in->lag),
                                            .in_flight = atomic_load(&in->in_flight),
                                            .partitions = atomic_load(&in->partitions),
                                            .dead_letters = atomic_load(&in->dead_letters),
                                            .burying = atomic_load(&in->burying),
                                            .paused = atomic_load(&in->paused)};
}

/* ---- life ---- */

static int start(struct rt_intake *in, struct rt_err *err)
{
    if (rt_queue_new(SIZE_MAX, SIZE_MAX, &in->returned) < 0)
        return rt_err_nomem(err);
    int code = rt_waker_new(in->options.loop, on_wake, in, &in->waker);
    if (code < 0)
        return rt_err_set(err, code, "%s", rt_err_name(code));
    if (rt_mailbox_new(rt_waker_wake, in->waker, &in->inbox) < 0)
        return rt_err_nomem(err);
    code = rt_bury_check(&in->options, err);
    if (code == 0)
        code = rt_intake_open(in, true, err);
    return code < 0 ? code : rt_thread_start("kafka-in", rt_intake_run, in, &in->thread, err);
}

int rt_intake_new(const struct rt_intake_options *options, struct rt_intake **ret_intake,
                  struct rt_err *err)
{
    struct rt_intake *in = rt_calloc(1, sizeof(*in));
    if (!in)
        return rt_err_nomem(err);
    in->options = *options;
    rt_bury_init(&in->bury, in);
    int code = start(in, err);
    if (code < 0) {
        if (in->waker)
            rt_waker_close(in->waker);
        rt_intake_free(in);
        return code;
    }
    *ret_intake = in;
    return 0;
}

void rt_intake_close(struct rt_intake *in, void (*closed)(void *arg), void *arg)
{
    if (in->closed)
        return;
    in->closed = closed;
    in->closed_arg = arg;
    atomic_store(&in->stopping, true);
    rt_waker_wake(in->waker); /* what is in the mailbox goes back */
}

void rt_intake_free(struct rt_intake *in)
{
    if (!in)
        return;
    if (in->inbox)
        rt_mailbox_free(in->inbox);
    if (in->returned)
        rt_queue_free(in->returned);
    if (in->rk) /* never ran */
        rd_kafka_destroy(in->rk);
    rt_free(in);
}
