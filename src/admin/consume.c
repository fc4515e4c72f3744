/* See consume.h. A section of kafka.consume is a `source`; it has a `lane` for each partition, and a `flight` for each publish whose answer is awaited. */
#include "admin/consume.h"

#include <stdio.h>

#include "admin/consume_record.h"
#include "base/alloc.h"
#include "base/log.h"

#define BACKOFF_MIN 100u
#define BACKOFF_MAX 5000u
#define STOPPED_MS  10000u /* on_error stop: a refused record is tried again */
#define ANSWERS_MS  5000u  /* how long a close waits for answers */
#define LABELS      320
#define PUBLISHER   "kafka:"

enum result { OK, DUPLICATE, RETRY, DEAD, SKIPPED, RESULTS };

struct lane {
    struct rt_list link; /* source.lanes; source.stale once its generation is over */
    struct source *source;
    struct rt_list waiting; /* records in order */
    struct rt_list flying;  /* flights */
    struct rt_list failed;  /* records to be published again, in order */
    struct rt_timer timer;  /* end of the backoff */
    uint32_t number, backoff;
    bool held, stopped, stale;
};

struct flight {
    struct rt_list link;
    struct lane *lane; /* NULL: the source has closed without it */
    struct rt_intake_record *record;
};

struct source {
    struct rt_consume *consume;
    const struct rt_consume_config *conf;
    struct rt_intake *intake;
    struct rt_consumed consumed;
    struct rt_buf publisher, brokers;
    struct rt_list lanes, stale;
    struct rt_relief relief;
    struct rt_timer deadline; /* of answers while closing */
    bool closing, rejoining;
    char labels[RESULTS][LABELS], group_label[LABELS];
    struct rt_metric records[RESULTS], lag, in_flight, partitions, paused, dead_letters, burying,
        stopped;
};

struct rt_consume {
    struct rt_consume_options options;
    struct source *sources;
    size_t count, open;
    struct rt_timer timer; /* closed() never comes from inside */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void pump(struct lane *lane);

static struct rt_loop *loop_of(const struct source *s)
{
    return s->consume->options.loop;
}

static struct rt_intake_record *record_of(struct rt_list *node)
{
    return RT_CONTAINER(node, struct rt_intake_record, task.link);
}

/* ---- lanes ---- */

static struct lane *lane_of(struct source *s, uint32_t number)
{
    rt_list_for(it, &s->lanes) {
        struct lane *lane = RT_CONTAINER(it, struct lane, link);
        if (lane->number == number)
            return lane;
    }
    struct lane *lane = rt_calloc(1, sizeof(*lane));
    if (!lane)
        return NULL;
    lane->source = s;
    lane->number = number;
    lane->backoff = BACKOFF_MIN;
    rt_list_init(&lane->waiting);
    rt_list_init(&lane->flying);
    rt_list_init(&lane->failed);
    rt_list_push(&s->lanes, &lane->link);
    return lane;
}

static void drop(struct source *s, struct rt_list *records)
{
    struct rt_list *node;
    while ((node = rt_list_pop(records)))
        rt_intake_done(s->intake, record_of(node), RT_INTAKE_DROPPED, NULL);
}

/* A stale lane goes with its last flight. */
static void free_idle(struct lane *lane)
{
    if (!lane->stale || !rt_list_empty(&lane->flying))
        return;
    rt_list_remove(&lane->link);
    rt_free(lane);
}

/* Its records are another member's, or this one's again: what is not being published goes back. */
static void retire(struct lane *lane)
{
    struct source *s = lane->source;
    drop(s, &lane->failed);
    drop(s, &lane->waiting);
    rt_timer_stop(loop_of(s), &lane->timer);
    lane->stale = true;
    rt_list_remove(&lane->link);
    rt_list_push(&s->stale, &lane->link);
    free_idle(lane);
}

static void retire_all(struct source *s)
{
    rt_list_for_safe(it, next, &s->lanes)
        retire(RT_CONTAINER(it, struct lane, link));
}

/* ---- closing ---- */

static void on_all_closed(struct rt_timer *timer)
{
    struct rt_consume *c = RT_CONTAINER(timer, struct rt_consume, timer);
    c->closed(c->closed_arg);
}

static void on_intake_closed(void *arg)
{
    struct source *s = arg;
    rt_timer_stop(loop_of(s), &s->deadline);
    if (--s->consume->open == 0)
        rt_timer_start(loop_of(s), &s->consume->timer, 0, on_all_closed);
}

/* The answers come too late to count: their records will come again, and be told by their keys. */
static void give_up(struct rt_timer *timer)
{
    struct source *s = RT_CONTAINER(timer, struct source, deadline);
    rt_list_for_safe(it, next, &s->stale) {
        struct lane *lane = RT_CONTAINER(it, struct lane, link);
        struct rt_list *node;
        while ((node = rt_list_pop(&lane->flying))) {
            struct flight *f = RT_CONTAINER(node, struct flight, link);
            f->lane = NULL;
            rt_intake_done(s->intake, f->record, RT_INTAKE_DROPPED, NULL);
        }
        free_idle(lane);
    }
}

static void close_source(struct source *s)
{
    s->closing = true;
    rt_list_remove(&s->relief.link);
    retire_all(s);
    rt_timer_start(loop_of(s), &s->deadline, ANSWERS_MS, give_up);
    rt_intake_close(s->intake, on_intake_closed, s);
}

/* ---- answers ---- */

static void hold(struct lane *lane, struct rt_intake_record *record)
{
    struct rt_list *at = lane->failed.next;
    while (at != &lane->failed && record_of(at)->offset < record->offset)
        at = at->next;
    rt_list_push(at, &record->task.link);
    lane->held = true;
}

static void resume(struct rt_timer *timer)
{
    struct lane *lane = RT_CONTAINER(timer, struct lane, timer);
    lane->held = lane->stopped = false;
    pump(lane);
}

/* All that was in flight is answered: what failed stands before what waits, and is tried after a while. */
static void back_off(struct lane *lane)
{
    if (!lane->held || !rt_list_empty(&lane->flying) || rt_list_empty(&lane->failed))
        return;
    rt_list_splice(&lane->failed, &lane->waiting);
    rt_list_splice(&lane->waiting, &lane->failed);
    rt_timer_start(loop_of(lane->source), &lane->timer, lane->backoff, resume);
    lane->backoff = lane->backoff * 2 < BACKOFF_MAX ? lane->backoff * 2 : BACKOFF_MAX;
}

static void count(struct source *s, enum result result)
{
    s->records[result].value++;
}

static void refused(struct lane *lane, struct rt_intake_record *record, const char *reason)
{
    struct source *s = lane->source;
    bool stop = s->conf->on_error == RT_CONSUME_STOP, dead = s->conf->dead_letter[0] != '\0';
    rt_log(stop ? RT_LOG_ERROR : RT_LOG_WARN, "kafka-in",
           stop   ? "a record cannot be published: its partition waits for it"
           : dead ? "a record cannot be published: it goes to the dead letters"
                  : "a record cannot be published and is skipped",
           rt_kv_c("topic", record->topic), rt_kv_u64("partition", record->partition),
           rt_kv_u64("offset", record->offset), rt_kv_c("text", reason));
    if (stop && !lane->stale) {
        lane->stopped = true;
        lane->backoff = STOPPED_MS;
        hold(lane, record);
        return;
    }
    if (stop) {
        rt_intake_done(s->intake, record, RT_INTAKE_DROPPED, NULL);
        return;
    }
    count(s, dead ? DEAD : SKIPPED);
    rt_intake_done(s->intake, record, RT_INTAKE_REFUSED, reason);
}

/* One record has its answer. */
static void settle(struct lane *lane, struct rt_intake_record *record,
                   const struct rt_publish_result *r)
{
    struct source *s = lane->source;
    if (r->status == RT_PUBLISH_OK) {
        lane->backoff = BACKOFF_MIN;
        count(s, r->duplicate ? DUPLICATE : OK);
        rt_intake_done(s->intake, record, RT_INTAKE_DONE, NULL);
    } else if (r->status == RT_PUBLISH_REFUSED) {
        refused(lane, record, r->text);
    } else {
        count(s, RETRY);
        rt_log(RT_LOG_WARN, "kafka-in", "a record is not stored yet: tries again",
               rt_kv_c("topic", record->topic), rt_kv_u64("partition", record->partition),
               rt_kv_u64("offset", record->offset), rt_kv_c("text", r->text));
        if (lane->stale)
            rt_intake_done(s->intake, record, RT_INTAKE_DROPPED, NULL);
        else
            hold(lane, record);
    }
}

static void on_published(void *arg, const struct rt_publish_result *result)
{
    struct flight *f = arg;
    struct lane *lane = f->lane;
    if (lane) {
        rt_list_remove(&f->link);
        settle(lane, f->record, result);
        if (lane->stale)
            free_idle(lane);
        else
            back_off(lane);
    }
    rt_free(f);
}

/* ---- publishing ---- */

static void out_of_memory(struct rt_publish_result *r)
{
    *r = (struct rt_publish_result){.status = RT_PUBLISH_RETRY, .code = RT_ENOMEM};
    snprintf(r->text, sizeof(r->text), "out of memory");
}

/* RT_PENDING, or 0 with the result. */
static int publish(struct lane *lane, struct rt_intake_record *record,
                   struct rt_publish_result *result)
{
    struct source *s = lane->source;
    struct rt_err err = {0};
    int code = rt_consumed_read(&s->consumed, s->conf, record, &err);
    struct flight *f = code == 0 ? rt_malloc(sizeof(*f)) : NULL;
    if (code == RT_ENOMEM || (code == 0 && !f)) {
        out_of_memory(result);
        return 0;
    }
    if (code < 0) {
        *result = (struct rt_publish_result){.status = RT_PUBLISH_REFUSED, .code = code};
        snprintf(result->text, sizeof(result->text), "%.*s", (int)sizeof(result->text) - 1,
                 err.text);
        return 0;
    }
    *f = (struct flight){.lane = lane, .record = record};
    rt_list_push(&lane->flying, &f->link);
    s->consumed.message.publisher = rt_buf_str(&s->publisher);
    s->consumed.publish.done = on_published;
    s->consumed.publish.arg = f;
    code = rt_broker_publish(s->consume->options.broker, &s->consumed.publish, result);
    if (code == RT_PENDING)
        return code;
    rt_list_remove(&f->link);
    rt_free(f);
    return 0;
}

/* As much as may be published now. */
static void pump(struct lane *lane)
{
    struct source *s = lane->source;
    struct rt_broker *broker = s->consume->options.broker;
    while (!lane->held && !s->closing && !rt_list_empty(&lane->waiting)) {
        struct rt_publish_result result;
        if (rt_broker_congested(broker)) {
            rt_broker_on_relief(broker, &s->relief);
            return;
        }
        struct rt_intake_record *record = record_of(rt_list_pop(&lane->waiting));
        if (publish(lane, record, &result) != RT_PENDING)
            settle(lane, record, &result);
    }
    back_off(lane);
}

static void pump_all(struct source *s)
{
    rt_list_for_safe(it, next, &s->lanes)
        pump(RT_CONTAINER(it, struct lane, link));
}

static void on_relief(struct rt_relief *relief)
{
    pump_all(RT_CONTAINER(relief, struct source, relief));
}

/* What cannot be kept may not be overtaken by what follows it: all of it is read again. */
static void begin_anew(struct source *s, struct rt_list *records)
{
    rt_log(RT_LOG_ERROR, "kafka-in", "out of memory: what is not committed is read again",
           rt_kv_c("group", s->conf->group));
    s->rejoining = true;
    drop(s, records);
    retire_all(s);
    rt_intake_rejoin(s->intake);
}

static void on_records(void *arg, struct rt_list *records)
{
    struct source *s = arg;
    struct rt_list *node;
    if (s->rejoining)
        drop(s, records);
    while ((node = rt_list_pop(records))) {
        struct rt_intake_record *record = record_of(node);
        struct lane *lane = lane_of(s, record->lane);
        if (lane) {
            rt_list_push(&lane->waiting, node);
            continue;
        }
        rt_list_push_front(records, node);
        begin_anew(s, records);
    }
    pump_all(s);
}

static void on_revoked(void *arg)
{
    struct source *s = arg;
    s->rejoining = false;
    retire_all(s);
}

/* ---- metrics ---- */

static struct rt_intake_status status_of(void *arg)
{
    struct rt_intake_status status = {0};
    const struct source *s = arg;
    if (s->intake)
        rt_intake_status(s->intake, &status);
    return status;
}

static double read_lag(void *arg)
{
    return (double)status_of(arg).lag;
}
static double read_in_flight(void *arg)
{
    return (double)status_of(arg).in_flight;
}
static double read_partitions(void *arg)
{
    return (double)status_of(arg).partitions;
}
static double read_paused(void *arg)
{
    return status_of(arg).paused ? 1 : 0;
}
static double read_dead_letters(void *arg)
{
    return (double)status_of(arg).dead_letters;
}
static double read_burying(void *arg)
{
    return (double)status_of(arg).burying;
}
static double read_stopped(void *arg)
{
    unsigned stopped = 0;
    const struct source *s = arg;
    rt_list_for(it, &s->lanes)
        stopped += RT_CONTAINER(it, struct lane, link)->stopped;
    return stopped;
}

static void make_metric(struct source *s, struct rt_metric *m, const struct rt_metric *with)
{
    *m = *with;
    m->arg = s;
    if (!m->labels)
        m->labels = s->group_label;
    if (s->consume->options.metrics)
        rt_metrics_register(s->consume->options.metrics, m);
}

#define METRIC(field, name_, type_, read_, help_) \
    make_metric(                                  \
        s, &s->field,                             \
        &(struct rt_metric){.name = (name_), .help = (help_), .type = (type_), .read = (read_)})

static void make_metrics(struct source *s)
{
    static const char *const results[RESULTS] = {"ok", "duplicate", "retry", "dead_letter",
                                                 "skipped"};
    /* A group's name has nothing that a label would have to escape. */
    snprintf(s->group_label, LABELS, "group=\"%s\"", s->conf->group);
    for (size_t i = 0; i < RESULTS; i++) {
        snprintf(s->labels[i], LABELS, "group=\"%s\",result=\"%s\"", s->conf->group, results[i]);
        make_metric(s, &s->records[i],
                    &(struct rt_metric){.name = "consume_records_total",
                                        .help = "Records of Kafka in, by what became of them; "
                                                "`retry` counts tries.",
                                        .labels = s->labels[i],
                                        .type = RT_COUNTER});
    }
    METRIC(lag, "consume_lag_records", RT_GAUGE, read_lag,
           "Records of the partitions that this node consumes which are not done.");
    METRIC(in_flight, "consume_in_flight_records", RT_GAUGE, read_in_flight,
           "Records that were read and are not done.");
    METRIC(partitions, "consume_partitions", RT_GAUGE, read_partitions,
           "Partitions that this node consumes.");
    METRIC(paused, "consume_paused", RT_GAUGE, read_paused,
           "1 while reading is paused because the log is behind.");
    METRIC(stopped, "consume_stopped_partitions", RT_GAUGE, read_stopped,
           "Partitions that a refused record holds (`on_error: stop`).");
    METRIC(dead_letters, "consume_dead_letters_total", RT_COUNTER, read_dead_letters,
           "Dead letters that are stored in their topic.");
    METRIC(burying, "consume_dead_letters_waiting", RT_GAUGE, read_burying,
           "Dead letters that are not stored yet.");
}

/* ---- life ---- */

static int open_source(struct rt_consume *c, size_t i, struct rt_err *err)
{
    const struct rt_config *config = c->options.config;
    struct source *s = &c->sources[i];
    bool own = s->conf->brokers.count > 0;
    rt_buf_add_c(&s->publisher, PUBLISHER);
    rt_buf_add_c(&s->publisher, s->conf->group);
    rt_strings_join(own ? &s->conf->brokers : &config->kafka.brokers, &s->brokers);
    if (!rt_buf_cstr(&s->brokers) || !rt_buf_ok(&s->publisher))
        return rt_err_nomem(err);
    struct rt_intake_options options = {.loop = c->options.loop,
                                        .brokers = (const char *)s->brokers.data,
                                        .conf = own ? NULL : &config->kafka.conf,
                                        .more = &s->conf->conf,
                                        .topics = &s->conf->topics,
                                        .group = s->conf->group,
                                        .dead_letter = s->conf->dead_letter,
                                        .from_latest = s->conf->from == RT_CONSUME_LATEST,
                                        .records = on_records,
                                        .revoked = on_revoked,
                                        .arg = s};
    int code = rt_intake_new(&options, &s->intake, err);
    if (code < 0)
        (void)rt_err_wrap(err, "kafka.consume[%zu]", i);
    return code;
}

static void init_source(struct rt_consume *c, size_t i)
{
    struct source *s = &c->sources[i];
    s->consume = c;
    s->conf = &c->options.config->kafka.consume[i];
    s->relief.fn = on_relief;
    rt_list_init(&s->relief.link);
    rt_list_init(&s->lanes);
    rt_list_init(&s->stale);
    rt_consumed_init(&s->consumed);
    make_metrics(s);
}

static void note_closed(void *arg)
{
    *(bool *)arg = true;
}

/* Those that run already: nobody serves yet, so that turning the loop here is fine. */
static void unwind(struct rt_consume *c)
{
    bool closed = false;
    rt_consume_close(c, note_closed, &closed);
    while (!closed)
        rt_loop_turn(c->options.loop, 10);
    rt_consume_free(c);
}

int rt_consume_new(const struct rt_consume_options *options, struct rt_consume **ret_consume,
                   struct rt_err *err)
{
    size_t sections = options->config->kafka.consume_count;
    *ret_consume = NULL;
    if (sections == 0)
        return 0;
    struct rt_consume *c = rt_calloc(1, sizeof(*c));
    struct source *sources = rt_calloc(sections, sizeof(*sources));
    if (!c || !sources) {
        rt_free(c);
        rt_free(sources);
        return rt_err_nomem(err);
    }
    c->options = *options;
    c->sources = sources;
    int code = 0;
    for (; code == 0 && c->count < sections; c->count++) {
        init_source(c, c->count);
        code = open_source(c, c->count, err);
    }
    if (code < 0) {
        unwind(c);
        return code;
    }
    *ret_consume = c;
    return 0;
}

void rt_consume_close(struct rt_consume *c, void (*closed)(void *arg), void *arg)
{
    c->closed = closed;
    c->closed_arg = arg;
    for (size_t i = 0; i < c->count; i++)
        c->open += c->sources[i].intake != NULL;
    if (c->open == 0)
        rt_timer_start(c->options.loop, &c->timer, 0, on_all_closed);
    for (size_t i = 0; i < c->count; i++)
        if (c->sources[i].intake)
            close_source(&c->sources[i]);
}

void rt_consume_free(struct rt_consume *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        struct source *s = &c->sources[i];
        rt_intake_free(s->intake);
        rt_consumed_deinit(&s->consumed);
        rt_buf_deinit(&s->publisher);
        rt_buf_deinit(&s->brokers);
    }
    rt_free(c->sources);
    rt_free(c);
}
