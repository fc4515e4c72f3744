/* The set of raw endpoints: see raw.h. */
#include "base/alloc.h"
#include "proto/raw/internal.h"

static double count_plain(void *arg)
{
    return (double)((const struct rt_raw *)arg)->plain_count;
}

static void register_metrics(struct rt_raw *raw, struct rt_metrics *metrics)
{
    raw->connections = (struct rt_metric){.name = "raw_connections",
                                          .help = "Plain WebSocket clients of raw endpoints.",
                                          .type = RT_GAUGE,
                                          .read = count_plain,
                                          .arg = raw};
    raw->opened = (struct rt_metric){
        .name = "raw_opened_total", .help = "Clients of raw endpoints so far.", .type = RT_COUNTER};
    if (!metrics)
        return;
    rt_metrics_register(metrics, &raw->connections);
    rt_metrics_register(metrics, &raw->opened);
}

int rt_raw_new(const struct rt_config *config, struct rt_broker *broker,
               struct rt_http_server *http, struct rt_ws_pool *pool, struct rt_metrics *metrics,
               struct rt_raw **ret_raw, struct rt_err *err)
{
    struct rt_raw *raw = rt_calloc(1, sizeof(*raw));
    if (!raw)
        return rt_err_nomem(err);
    raw->config = config;
    raw->broker = broker;
    raw->loop = rt_broker_loop(broker);
    raw->pool = pool;
    rt_list_init(&raw->peers);
    raw->endpoints = rt_calloc(config->raw_count + 1, sizeof(*raw->endpoints));
    int status = raw->endpoints ? 0 : rt_err_nomem(err);
    for (size_t i = 0; status == 0 && i < config->raw_count; i++) {
        struct rt_raw_endpoint *e = &raw->endpoints[i];
        e->raw = raw;
        e->config = &config->raw[i];
        e->chosen = strstr(e->config->channel, "{channel}") != NULL;
        status = e->config->protocol == RT_RAW_WEBSOCKET ? rt_raw_plain_mount(e, http, err)
                                                         : rt_raw_bare_mount(e, http, metrics, err);
        raw->endpoint_count++;
    }
    if (status) {
        rt_raw_free(raw);
        return status;
    }
    register_metrics(raw, metrics);
    *ret_raw = raw;
    return 0;
}

/* ---- drain ---- */

static void part_drained(struct rt_raw *raw)
{
    if (--raw->undrained > 0)
        return;
    raw->drained(raw->drained_arg);
}

static void mount_drained(void *arg)
{
    part_drained(arg);
}

void rt_raw_drain_check(struct rt_raw *raw)
{
    if (!raw->draining || raw->plain_count > 0 || !raw->drain.close_one)
        return;
    raw->drain.close_one = NULL; /* reported once */
    rt_drain_stop(&raw->drain);
    part_drained(raw);
}

static bool close_one(void *arg)
{
    struct rt_raw *raw = arg;
    bool closed = rt_raw_plain_close_one(raw);
    if (!closed)
        rt_raw_drain_check(raw);
    return closed;
}

void rt_raw_drain(struct rt_raw *raw, uint64_t jitter_ms, void (*drained)(void *arg), void *arg)
{
    raw->draining = true;
    raw->drained = drained;
    raw->drained_arg = arg;
    raw->undrained = 1;
    for (size_t i = 0; i < raw->endpoint_count; i++)
        if (raw->endpoints[i].mount)
            raw->undrained++;
    rt_drain_start(&raw->drain, raw->loop, raw->plain_count, jitter_ms, close_one, raw);
    for (size_t i = 0; i < raw->endpoint_count; i++)
        if (raw->endpoints[i].mount)
            rt_eio_drain(raw->endpoints[i].mount, jitter_ms, mount_drained, raw);
}

void rt_raw_free(struct rt_raw *raw)
{
    if (!raw)
        return;
    rt_drain_stop(&raw->drain);
    for (size_t i = 0; i < raw->endpoint_count; i++)
        rt_eio_unmount(raw->endpoints[i].mount);
    rt_free(raw->endpoints);
    rt_free(raw);
}
