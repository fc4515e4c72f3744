#include "store/store.h"

#include <stdio.h>

#include "base/alloc.h"
#include "store/reader.h"
#include "store/schema.h"
#include "store/sink.h"
#include "store/upkeep.h"

struct rt_store {
    struct rt_loop *loop;
    struct rt_sink *sink;
    struct rt_history *history;
    struct rt_store_upkeep *upkeep;
    unsigned open; /* of the three, still to be closed */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    char names[2][80];
};

static int start_reading(struct rt_store *s, const struct rt_store_options *o, struct rt_err *err)
{
    snprintf(s->names[0], sizeof(s->names[0]), "rtbroker %s history", o->node);
    struct rt_history_options options = {.loop = o->loop,
                                         .metrics = o->metrics,
                                         .url = o->url,
                                         .schema = o->schema,
                                         .topic = o->topic,
                                         .name = s->names[0]};
    return rt_history_new(&options, &s->history, err);
}

static int start_upkeep(struct rt_store *s, const struct rt_store_options *o, struct rt_err *err)
{
    snprintf(s->names[1], sizeof(s->names[1]), "rtbroker %s upkeep", o->node);
    struct rt_store_upkeep_options options = {.loop = o->loop,
                                              .metrics = o->metrics,
                                              .url = o->url,
                                              .schema = o->schema,
                                              .name = s->names[1],
                                              .retention = o->retention};
    return rt_store_upkeep_new(&options, &s->upkeep, err);
}

static int start_sink(struct rt_store *s, const struct rt_store_options *o, struct rt_err *err)
{
    struct rt_sink_options options = {.loop = o->loop,
                                      .metrics = o->metrics,
                                      .url = o->url,
                                      .schema = o->schema,
                                      .node = o->node,
                                      .brokers = o->brokers,
                                      .topic = o->topic,
                                      .kafka_conf = o->kafka_conf,
                                      .partitions = o->partitions,
                                      .batch_rows = o->batch_rows,
                                      .batch_linger = o->batch_linger,
                                      .idempotency_window = o->idempotency_window};
    return rt_sink_new(&options, &s->sink, err);
}

/* ---- closing ------------------------------------------------------------------------------------------------- */

static void on_closed(void *arg)
{
    struct rt_store *s = arg;
    if (--s->open == 0 && s->closed)
        s->closed(s->closed_arg);
}

static void close_all(struct rt_store *s)
{
    s->closing = true;
    s->open = (s->sink ? 1u : 0) + (s->history ? 1u : 0) + (s->upkeep ? 1u : 0);
    if (s->sink)
        rt_sink_close(s->sink, on_closed, s);
    if (s->history)
        rt_history_close(s->history, on_closed, s);
    if (s->upkeep)
        rt_store_upkeep_close(s->upkeep, on_closed, s);
}

void rt_store_close(struct rt_store *s, void (*closed)(void *arg), void *arg)
{
    if (s->closing)
        return;
    s->closed = closed;
    s->closed_arg = arg;
    close_all(s);
}

void rt_store_free(struct rt_store *s)
{
    if (!s)
        return;
    rt_sink_free(s->sink);
    rt_history_free(s->history);
    rt_store_upkeep_free(s->upkeep);
    rt_free(s);
}

/* What was started before the rest failed. Nothing serves yet, so the loop is turned here. */
static void undo(struct rt_store *s)
{
    close_all(s);
    while (s->open > 0)
        rt_loop_turn(s->loop, 10);
    rt_store_free(s);
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

/* What a start should not leave to a worker that tries for ever. */
int rt_store_check(const char *url, const char *schema, struct rt_err *err)
{
    int code = rt_pg_check_url(url, err);
    return code < 0 ? code : rt_schema_check(schema, err);
}

int rt_store_new(const struct rt_store_options *options, struct rt_store **ret_store,
                 struct rt_err *err)
{
    int code = rt_store_check(options->url, options->schema, err);
    if (code < 0)
        return code;
    struct rt_store *s = rt_calloc(1, sizeof(*s));
    if (!s)
        return rt_err_nomem(err);
    s->loop = options->loop;
    /* Last what changes most if it is undone. */
    code = start_reading(s, options, err);
    if (code == RT_OK)
        code = start_upkeep(s, options, err);
    if (code == RT_OK)
        code = start_sink(s, options, err);
    if (code < 0) {
        undo(s);
        return code;
    }
    *ret_store = s;
    return RT_OK;
}

void rt_store_set_partitions(struct rt_store *s, uint32_t partitions)
{
    rt_sink_set_partitions(s->sink, partitions);
}

int rt_store_read(struct rt_store *s, struct rt_read *read)
{
    return rt_history_read(s->history, read);
}

int rt_store_read_arg(void *store, struct rt_read *read)
{
    return rt_store_read(store, read);
}

bool rt_store_healthy(const struct rt_store *s, const char **ret_text)
{
    return rt_history_healthy(s->history, ret_text) && rt_sink_healthy(s->sink, ret_text);
}
