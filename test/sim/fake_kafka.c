/* librdkafka as the journal sees it: a consumer's calls (the real kafka_tail.c runs on them), and journal/kafka_producer.h with its neighbours.
 *
 * Producer: records wait in order per partition, one request is under way for each. A request may find no broker, be lost before or after it was stored, or be answered late; then it is
 * sent again, and the broker knows it by its sequence number, until MESSAGE_TIMEOUT is over. So all three outcomes come: stored, not stored, unknown. Reports come in order per partition. */
#include <librdkafka/rdkafka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fake_log.h"
#include "journal/kafka_count.h"
#include "journal/kafka_find.h"
#include "journal/kafka_producer.h"
#include "journal/kafka_retire.h"
#include "journal/kafka_stuck.h"

#define MESSAGE_TIMEOUT (4u * SIM_SECOND)
#define MAX_RECORDS     500u
#define MAX_BYTES       (256u * 1024)

/* ---- producer: what waits ------------------------------------------------------------------------------------- */

struct produced {
    struct rt_list link;
    uint64_t since;
    struct log_record *record; /* NULL: it is in the log */
    void *opaque;
    struct rt_report report;
    bool perhaps; /* a request with it may have come through */
};

struct pipe {
    struct rt_producer *producer;
    uint32_t partition;
    struct rt_list waiting;
    bool sending;
    uint64_t report_at; /* of the last report: they keep their order */
};

struct rt_producer {
    struct sim_host *host;
    uint64_t life;
    uint32_t refs; /* of events under way, and one of the owner */
    bool dead;
    struct rt_producer_options options;
    struct pipe pipes[SIM_PARTS];
    struct rt_list reports; /* to be polled */
    bool fatal, tell_fatal;
};

struct arrival {
    struct pipe *pipe;
    struct produced *item;
};

static void unref(struct rt_producer *p)
{
    if (--p->refs == 0)
        free(p);
}

static void free_item(struct produced *item)
{
    if (item->record)
        log_record_free(item->record);
    free(item);
}

static void send_next(struct pipe *pipe);

static void report_arrives(void *payload)
{
    struct arrival *a = payload;
    struct rt_producer *p = a->pipe->producer;
    if (p->dead) {
        free_item(a->item);
    } else {
        rt_list_push(&p->reports, &a->item->link);
        if (p->options.wake)
            p->options.wake(p->options.arg);
    }
    unref(p);
}

/* The request's outcome is certain: its report is on the way. */
static void finish(struct pipe *pipe, struct produced *item, int status, uint64_t position,
                   uint64_t delay)
{
    uint64_t at = sim.now + delay;
    rt_list_remove(&item->link);
    if (at <= pipe->report_at)
        at = pipe->report_at + 1;
    pipe->report_at = at;
    item->report = (struct rt_report){.opaque = item->opaque,
                                      .status = status,
                                      .partition = pipe->partition,
                                      .position = position,
                                      .text = status ? "the broker did not answer" : ""};
    struct arrival *a = sim_post(at - sim.now, report_arrives, sizeof(*a));
    *a = (struct arrival){pipe, item};
    pipe->producer->refs++;
}

/* The time is over. */
static void give_up(struct pipe *pipe, struct produced *item)
{
    bool stored = item->record == NULL;
    bool unknown = (stored || item->perhaps) && !BUG(UNKNOWN_IS_RETRY);
    sim_trace("kafka: n%u gives up p%u (%s)", pipe->producer->host->index, pipe->partition,
              stored ? "stored" : "not stored");
    finish(pipe, item, unknown ? RT_EUNKNOWN : RT_EAGAIN, 0, 0);
}

static void request_arrives(void *payload)
{
    struct arrival *a = payload;
    struct pipe *pipe = a->pipe;
    struct rt_producer *p = pipe->producer;
    struct produced *item = a->item;
    pipe->sending = false;
    if (p->dead || p->fatal || rt_list_empty(&pipe->waiting) || pipe->waiting.next != &item->link) {
        unref(p);
        return;
    }
    if (fake_log.down || fake_log.gone || sim_fault(20)) {
        item->perhaps |= fake_log.down && sim_chance(200);
    } else {
        uint64_t position = 0; /* a repeated request is answered without one */
        if (item->record) {
            position = (uint64_t)log_append(pipe->partition, item->record) + 1;
            item->record = NULL;
        }
        item->perhaps = true;
        bool lost = sim_fault(item->opaque ? 25 : 5);
        if (!lost) {
            finish(pipe, item, RT_OK, position, sim_between(200, 6000));
            item = NULL;
        }
    }
    if (item && sim.now - item->since > MESSAGE_TIMEOUT)
        give_up(pipe, item);
    else if (item && item->record == NULL && sim_fault(300))
        give_up(pipe, item); /* what an idempotent producer does when it has lost its place */
    send_next(pipe);
    unref(p);
}

static void wait_for_thaw(void *payload)
{
    struct pipe *pipe = ((struct arrival *)payload)->pipe;
    pipe->sending = false;
    send_next(pipe);
    unref(pipe->producer);
}

static void send_next(struct pipe *pipe)
{
    struct rt_producer *p = pipe->producer;
    if (pipe->sending || rt_list_empty(&pipe->waiting) || p->dead || p->fatal)
        return;
    struct produced *item = RT_CONTAINER(pipe->waiting.next, struct produced, link);
    bool again = item->perhaps || fake_log.down || fake_log.gone, frozen = p->host->frozen;
    uint64_t delay = again || frozen ? 100 * SIM_MS : sim_between(100, 2500);
    struct arrival *a = sim_post(delay, frozen ? wait_for_thaw : request_arrives, sizeof(*a));
    *a = (struct arrival){pipe, item};
    pipe->sending = true;
    p->refs++;
}

int rt_producer_produce(struct rt_producer *p, const struct rt_produce *r, struct rt_err *err)
{
    struct pipe *pipe = &p->pipes[r->partition];
    if (p->fatal)
        return rt_err_set(err, RT_EIO, "the producer has failed");
    struct produced *item = sim_alloc(sizeof(*item));
    item->since = sim.now;
    item->opaque = r->opaque;
    item->record = log_record_new(r->key, r->value, r->time, r->headers, r->header_count);
    rt_list_init(&item->link);
    if (BUG(ACK_EARLY) &&
        r->opaque) { /* answered here with a guess, stored when it comes to that */
        struct produced *told = sim_alloc(sizeof(*told));
        rt_list_init(&told->link);
        told->opaque = r->opaque;
        finish(pipe, told, RT_OK, (uint64_t)log_part(r->partition)->end + 1, 100);
        item->opaque = NULL;
    }
    rt_list_push(&pipe->waiting, &item->link);
    send_next(pipe);
    return 0;
}

/* ---- producer: its life ----------------------------------------------------------------------------------------- */

int rt_producer_new(const struct rt_producer_options *options, struct rt_producer **ret_producer,
                    struct rt_err *err)
{
    (void)err;
    struct rt_producer *p = sim_alloc(sizeof(*p));
    p->host = sim.host;
    p->life = sim.host->life;
    p->refs = 1;
    p->options = *options;
    rt_list_init(&p->reports);
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        p->pipes[i].producer = p;
        p->pipes[i].partition = i;
        rt_list_init(&p->pipes[i].waiting);
    }
    *ret_producer = p;
    return 0;
}

rd_kafka_t *rt_producer_handle(struct rt_producer *p)
{
    (void)p;
    return NULL;
}

uint64_t rt_producer_log_identity(const struct rt_producer *p)
{
    (void)p;
    return 0;
}

size_t rt_producer_max_bytes(const struct rt_producer *p)
{
    (void)p;
    return MAX_BYTES;
}

size_t rt_producer_batch_bytes(const struct rt_producer *p)
{
    (void)p;
    return MAX_BYTES; /* no batch is refused */
}

uint32_t rt_producer_max_records(const struct rt_producer *p)
{
    (void)p;
    return MAX_RECORDS;
}

bool rt_producer_poll(struct rt_producer *p, const struct rt_producer_events *events, size_t max)
{
    if (p->tell_fatal) {
        p->tell_fatal = false;
        events->on_error(events->arg, "fatal: out of order sequence", true);
    }
    for (size_t i = 0; i < max; i++) {
        struct rt_list *node = rt_list_pop(&p->reports);
        if (!node)
            return false;
        struct produced *item = RT_CONTAINER(node, struct produced, link);
        if (item->opaque || item->report.status == 0)
            events->on_report(events->arg, &item->report);
        free_item(item);
    }
    return true;
}

/* Gives up what waits; its reports can be polled at once. */
static void purge(struct rt_producer *p)
{
    p->fatal = true;
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        struct pipe *pipe = &p->pipes[i];
        for (struct rt_list *node = rt_list_pop(&pipe->waiting); node;
             node = rt_list_pop(&pipe->waiting)) {
            struct produced *item = RT_CONTAINER(node, struct produced, link);
            bool unknown = !item->record || item->perhaps || pipe->sending;
            item->report = (struct rt_report){.opaque = item->opaque,
                                              .status = unknown ? RT_EUNKNOWN : RT_EAGAIN,
                                              .partition = i,
                                              .text = "the producer was purged"};
            rt_list_push(&p->reports, node);
        }
    }
}

void rt_producer_detach(struct rt_producer *p)
{
    p->options.wake = NULL;
}

void rt_producer_free(struct rt_producer *p)
{
    if (!p)
        return;
    /* A request that is under way when a process dies may come through all the same. */
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        struct pipe *pipe = &p->pipes[i];
        bool through = pipe->sending && !fake_log.down && !fake_log.gone;
        for (struct rt_list *node = rt_list_pop(&pipe->waiting); node;
             node = rt_list_pop(&pipe->waiting)) {
            struct produced *item = RT_CONTAINER(node, struct produced, link);
            through = through && sim_chance(600);
            if (through && item->record) {
                (void)log_append(i, item->record);
                item->record = NULL;
            }
            free_item(item);
        }
    }
    for (struct rt_list *node = rt_list_pop(&p->reports); node; node = rt_list_pop(&p->reports))
        free_item(RT_CONTAINER(node, struct produced, link));
    p->dead = true;
    unref(p);
}

void sim_producer_fail(struct rt_producer *p)
{
    sim_trace("kafka: the producer of n%u fails for good", p->host->index);
    p->fatal = p->tell_fatal = true;
    if (p->options.wake)
        p->options.wake(p->options.arg);
}

/* ---- journal/kafka_retire.h, without its thread ----------------------------------------------------------------- */

struct rt_retire {
    struct rt_retire_options options;
    struct rt_producer *next;
    uint64_t deadline; /* of the flush */
    bool cancelled, drained, ended;
};

static void drain(struct rt_retire *r)
{
    if (!r->drained)
        purge(r->options.old);
    r->drained = true;
}

int rt_retire_start(const struct rt_retire_options *options, struct rt_retire **ret_retire,
                    struct rt_err *err)
{
    (void)err;
    struct rt_retire *r = sim_alloc(sizeof(*r));
    r->options = *options;
    r->deadline = sim.now + options->flush_ms * SIM_MS;
    options->wake(options->arg);
    *ret_retire = r;
    return 0;
}

enum rt_retire_stage rt_retire_stage(struct rt_retire *r)
{
    bool empty = true;
    for (uint32_t i = 0; i < SIM_PARTS && !r->drained; i++)
        empty = empty && rt_list_empty(&r->options.old->pipes[i].waiting);
    if (empty || sim.now >= r->deadline)
        drain(r);
    return r->ended ? RT_RETIRE_ENDED : r->drained ? RT_RETIRE_DRAINED : RT_RETIRE_DRAINING;
}

void rt_retire_release(struct rt_retire *r)
{
    if (r->ended)
        return;
    if (r->options.next && !r->cancelled)
        (void)rt_producer_new(r->options.next, &r->next, NULL);
    rt_producer_free(r->options.old);
    r->ended = true;
    r->options.wake(r->options.arg);
}

void rt_retire_cancel(struct rt_retire *r)
{
    r->cancelled = true;
    drain(r);
}

struct rt_producer *rt_retire_take(struct rt_retire *r)
{
    struct rt_producer *p = r->next;
    r->next = NULL;
    return p;
}

void rt_retire_free(struct rt_retire *r)
{
    if (!r)
        return;
    rt_producer_free(r->next);
    free(r);
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

int rt_kafka_find(const struct rt_find_options *options, struct rt_kafka_found *ret_found,
                  struct rt_err *err)
{
    (void)options;
    if (fake_log.down || fake_log.gone)
        return rt_err_set(err, RT_EIO, "no broker answers");
    *ret_found = (struct rt_kafka_found){.partitions = SIM_PARTS, .asked_at = rt_mono_ms()};
    return 0;
}

int rt_kafka_conf_make(const struct rt_kafka_conf *c, enum rt_kafka_role role, bool warn,
                       rd_kafka_conf_t **ret_conf, struct rt_err *err)
{
    (void)c;
    (void)role;
    (void)warn;
    (void)err;
    *ret_conf = NULL;
    return 0;
}

/* ---- journal/kafka_count.h, without its thread ------------------------------------------------------------------- */

struct rt_count {
    struct rt_count_options options;
    struct sim_host *host;
    uint64_t number; /* a question of a former one is stale */
    bool stopped, answered;
    struct rt_count_answer answer;
};

static struct rt_count *counts[SIM_NODES]; /* of the hosts */

struct question {
    uint32_t host;
    uint64_t number;
    uint64_t asked_at; /* ms; 0: none yet */
};

static void ask(struct rt_count *c, uint64_t delay_ms, uint64_t asked_at);

static void question_arrives(void *payload)
{
    const struct question *q = payload;
    struct rt_count *c = counts[q->host];
    if (!c || c->number != q->number || c->stopped)
        return;
    bool lost = fake_log.down || fake_log.gone || c->host->frozen || sim_fault(50);
    if (!lost && q->asked_at > 0) {
        c->answered = true;
        c->answer = (struct rt_count_answer){q->asked_at, SIM_PARTS};
        c->options.wake(c->options.arg);
    }
    ask(c, lost ? RT_COUNT_AGAIN_MS : RT_COUNT_MS, sim.now / SIM_MS);
}

static void ask(struct rt_count *c, uint64_t delay_ms, uint64_t asked_at)
{
    struct question *q = sim_post(delay_ms * SIM_MS, question_arrives, sizeof(*q));
    *q = (struct question){c->host->index, c->number, asked_at};
}

int rt_count_new(const struct rt_count_options *options, struct rt_count **ret_count,
                 struct rt_err *err)
{
    (void)err;
    static uint64_t number;
    struct rt_count *c = sim_alloc(sizeof(*c));
    *c = (struct rt_count){.options = *options, .host = sim.host, .number = ++number};
    counts[c->host->index] = c;
    ask(c, 1, 0);
    *ret_count = c;
    return 0;
}

bool rt_count_take(struct rt_count *c, struct rt_count_answer *ret_answer)
{
    bool answered = c->answered;
    if (answered)
        *ret_answer = c->answer;
    c->answered = false;
    return answered;
}

void rt_count_stop(struct rt_count *c)
{
    c->stopped = true;
}

bool rt_count_ended(const struct rt_count *c)
{
    return c->stopped;
}

void rt_count_free(struct rt_count *c)
{
    if (c && counts[c->host->index] == c)
        counts[c->host->index] = NULL;
    free(c);
}

/* ---- consumer --------------------------------------------------------------------------------------------------- */

struct fetch {
    bool on, end_told;
    int64_t next;
};

struct rd_kafka_s {
    struct sim_host *host;
    struct fetch fetches[SIM_PARTS];
    uint32_t turn;
};
struct rd_kafka_topic_s {
    rd_kafka_t *rk;
};
struct rd_kafka_queue_s {
    rd_kafka_t *rk;
};

rd_kafka_t *rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *text, size_t size)
{
    (void)type;
    (void)conf;
    (void)text;
    (void)size;
    rd_kafka_t *rk = sim_alloc(sizeof(*rk));
    rk->host = sim.host;
    return rk;
}

void rd_kafka_conf_destroy(rd_kafka_conf_t *conf)
{
    (void)conf;
}

void rd_kafka_destroy(rd_kafka_t *rk)
{
    free(rk);
}

rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *rk, const char *name, rd_kafka_topic_conf_t *conf)
{
    (void)name;
    (void)conf;
    rd_kafka_topic_t *topic = sim_alloc(sizeof(*topic));
    topic->rk = rk;
    return topic;
}

void rd_kafka_topic_destroy(rd_kafka_topic_t *topic)
{
    free(topic);
}

rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk)
{
    rd_kafka_queue_t *queue = sim_alloc(sizeof(*queue));
    queue->rk = rk;
    return queue;
}

void rd_kafka_queue_destroy(rd_kafka_queue_t *queue)
{
    free(queue);
}

rd_kafka_resp_err_t rd_kafka_last_error(void)
{
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

const char *rd_kafka_err2str(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ? "unknown topic or partition" : "error";
}

int rd_kafka_consume_start_queue(rd_kafka_topic_t *topic, int32_t partition, int64_t offset,
                                 rd_kafka_queue_t *queue)
{
    (void)queue;
    topic->rk->fetches[partition] = (struct fetch){.on = true, .next = offset};
    return 0;
}

int rd_kafka_consume_stop(rd_kafka_topic_t *topic, int32_t partition)
{
    topic->rk->fetches[partition].on = false;
    return 0;
}

rd_kafka_resp_err_t rd_kafka_query_watermark_offsets(rd_kafka_t *rk, const char *topic,
                                                     int32_t partition, int64_t *low, int64_t *high,
                                                     int timeout_ms)
{
    (void)rk;
    (void)topic;
    (void)timeout_ms;
    if (fake_log.down)
        return RD_KAFKA_RESP_ERR__TRANSPORT;
    if (fake_log.gone)
        return RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    *low = 0;
    *high = log_part((uint32_t)partition)->end;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t rd_kafka_get_watermark_offsets(rd_kafka_t *rk, const char *topic,
                                                   int32_t partition, int64_t *low, int64_t *high)
{
    return rd_kafka_query_watermark_offsets(rk, topic, partition, low, high, 0);
}

rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int size)
{
    rd_kafka_topic_partition_list_t *list = sim_alloc(sizeof(*list));
    list->elems = sim_alloc((size_t)size * sizeof(*list->elems));
    return list;
}

rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *list,
                                                              const char *topic, int32_t partition)
{
    (void)topic;
    list->elems[0].partition = partition;
    list->cnt = 1;
    return &list->elems[0];
}

void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *list)
{
    free(list->elems);
    free(list);
}

/* Kafka's answer: the first record whose timestamp is not below the one asked for. */
rd_kafka_resp_err_t rd_kafka_offsets_for_times(rd_kafka_t *rk,
                                               rd_kafka_topic_partition_list_t *list,
                                               int timeout_ms)
{
    (void)rk;
    (void)timeout_ms;
    if (fake_log.down || fake_log.gone)
        return RD_KAFKA_RESP_ERR__TRANSPORT;
    const struct log_part *p = log_part((uint32_t)list->elems[0].partition);
    int64_t time = list->elems[0].offset;
    list->elems[0].offset = -1;
    list->elems[0].err = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (size_t i = 0; i < p->count && list->elems[0].offset < 0; i++)
        if ((int64_t)p->records[i]->time >= time)
            list->elems[0].offset = p->records[i]->offset;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_message_t *message_new(rd_kafka_queue_t *queue, uint32_t partition, int64_t offset,
                                       rd_kafka_resp_err_t err)
{
    rd_kafka_message_t *m = sim_alloc(sizeof(*m));
    m->rkt = (rd_kafka_topic_t *)queue; /* only its being there is looked at */
    m->partition = (int32_t)partition;
    m->offset = offset;
    m->err = err;
    return m;
}

/* What this partition has for its reader now; NULL nothing. */
static rd_kafka_message_t *fetch(rd_kafka_queue_t *queue, uint32_t i)
{
    struct fetch *f = &queue->rk->fetches[i];
    const struct log_part *p = log_part(i);
    if (!f->on)
        return NULL;
    if (fake_log.gone)
        return sim_chance(100)
                   ? message_new(queue, i, f->next, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
                   : NULL;
    if (f->next > p->end) /* often it waits in silence */
        return sim_chance(5) ? message_new(queue, i, f->next, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
                             : NULL;
    size_t at = log_find(p, f->next);
    if (at == p->count) {
        if (f->end_told && f->next == p->end)
            return NULL;
        f->end_told = true;
        f->next = p->end;
        return message_new(queue, i, p->end, RD_KAFKA_RESP_ERR__PARTITION_EOF);
    }
    struct log_record *r = p->records[at];
    if (sim.now < r->at + queue->rk->host->lag)
        return NULL;
    f->next = r->offset + 1;
    f->end_told = false;
    rd_kafka_message_t *m = message_new(queue, i, r->offset, RD_KAFKA_RESP_ERR_NO_ERROR);
    m->payload = (void *)r->value.ptr;
    m->len = r->value.len;
    m->key = (void *)r->key.ptr;
    m->key_len = r->key.len;
    m->_private = r;
    return m;
}

rd_kafka_message_t *rd_kafka_consume_queue(rd_kafka_queue_t *queue, int timeout_ms)
{
    (void)timeout_ms;
    if (fake_log.down)
        return NULL;
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        rd_kafka_message_t *m = fetch(queue, (queue->rk->turn + i) % SIM_PARTS);
        if (!m)
            continue;
        if (sim_chance(300))
            queue->rk->turn++;
        return m;
    }
    return NULL;
}

void rd_kafka_message_destroy(rd_kafka_message_t *m)
{
    free(m);
}

const char *rd_kafka_message_errstr(const rd_kafka_message_t *m)
{
    return rd_kafka_err2str(m->err);
}

int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *m, rd_kafka_timestamp_type_t *type)
{
    if (type)
        *type = RD_KAFKA_TIMESTAMP_CREATE_TIME;
    return (int64_t)((const struct log_record *)m->_private)->time;
}

rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *m,
                                             rd_kafka_headers_t **ret_headers)
{
    struct log_record *r = m->_private;
    *ret_headers = (rd_kafka_headers_t *)r;
    return r->header_count > 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__NOENT;
}

rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *headers, size_t index,
                                            const char **name, const void **value, size_t *size)
{
    const struct log_record *r = (const struct log_record *)headers;
    if (index >= r->header_count)
        return RD_KAFKA_RESP_ERR__NOENT;
    *name = r->headers[index].name;
    *value = r->headers[index].value.ptr;
    *size = r->headers[index].value.len;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- journal/kafka_stuck.h: there are no transactions ------------------------------------------------------------ */

int rt_stuck_new(const struct rt_kafka_conf *conf, const char *topic, uint32_t partitions,
                 struct rt_stuck **ret_stuck, struct rt_err *err)
{
    (void)conf;
    (void)topic;
    (void)partitions;
    (void)err;
    *ret_stuck = NULL;
    return 0;
}

int rt_stuck_reset(struct rt_stuck *s, uint32_t partitions)
{
    (void)s;
    (void)partitions;
    return 0;
}

enum rt_stuck_change rt_stuck_look(struct rt_stuck *s, uint32_t partition,
                                   const struct rt_stuck_place *place, uint64_t *ret_time)
{
    (void)s;
    (void)partition;
    (void)place;
    (void)ret_time;
    return RT_STUCK_SAME;
}

void rt_stuck_free(struct rt_stuck *s)
{
    (void)s;
}
