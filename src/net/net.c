/* The set of all connections: life, limits, metrics. */
#include <assert.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/net_internal.h"

#define SPARE_DESCRIPTORS \
    80 /* for files, listeners, backends, clients that are being refused, and those of reserved listeners */

/* ---- connections per address ---- */

struct ip_entry {
    uint8_t key[16];
    uint32_t count;
};

static struct rt_str ip_key_of(const void *value)
{
    const struct ip_entry *entry = value;
    return rt_str_of(entry->key, sizeof(entry->key));
}

bool rt_net_ip_take(struct rt_net *net, const struct rt_conn *conn)
{
    uint8_t key[16];
    if (net->max_per_ip == 0 || !rt_conn_peer_key(conn, key))
        return true;
    struct ip_entry *entry = rt_map_get(&net->ips, rt_str_of(key, sizeof(key)));
    if (entry) {
        if (entry->count >= net->max_per_ip)
            return false;
        entry->count++;
        return true;
    }
    entry = rt_malloc(sizeof(*entry));
    if (!entry)
        return false;
    memcpy(entry->key, key, sizeof(key));
    entry->count = 1;
    if (rt_map_put(&net->ips, entry)) {
        rt_free(entry);
        return false;
    }
    return true;
}

void rt_net_ip_give(struct rt_net *net, const struct rt_conn *conn)
{
    uint8_t key[16];
    if (net->max_per_ip == 0 || conn->outgoing || conn->reserved || !rt_conn_peer_key(conn, key))
        return;
    struct ip_entry *entry = rt_map_get(&net->ips, rt_str_of(key, sizeof(key)));
    assert(entry && entry->count > 0);
    if (--entry->count == 0)
        rt_free(rt_map_remove(&net->ips, rt_str_of(key, sizeof(key))));
}

/* ---- metrics ---- */

static double read_open(void *arg)
{
    const struct rt_net *net = arg;
    return net->open;
}

static double read_utilisation(void *arg)
{
    struct rt_net *net = arg;
    return rt_loop_utilisation(net->loop);
}

static double read_longest_turn(void *arg)
{
    const struct rt_net *net = arg;
    return (double)rt_meter_longest(&net->loop->meter, rt_mono_ns()) / 1e9;
}

static struct rt_metric counter(const char *name, const char *labels, const char *help)
{
    return (struct rt_metric){.name = name, .help = help, .labels = labels, .type = RT_COUNTER};
}

static struct rt_metric gauge(struct rt_net *net, const char *name, double (*read)(void *arg),
                              const char *help)
{
    return (struct rt_metric){
        .name = name, .help = help, .type = RT_GAUGE, .read = read, .arg = net};
}

static void fill_metrics(struct rt_net *net)
{
    static const char *const rejects[RT_REJECT_COUNT] = {
        "reason=\"limit\"", "reason=\"per_ip\"", "reason=\"descriptors\"", "reason=\"memory\""};
    static const char *const closes[RT_CLOSE_COUNT] = {"reason=\"local\"", "reason=\"peer\"",
                                                       "reason=\"error\"", "reason=\"slow\"",
                                                       "reason=\"timeout\""};
    struct rt_net_metrics *m = &net->m;
    for (int i = 0; i < RT_REJECT_COUNT; i++)
        m->rejected[i] = counter("connections_rejected_total", rejects[i],
                                 "Connections refused, or that could not be accepted.");
    for (int i = 0; i < RT_CLOSE_COUNT; i++)
        m->closes[i] = counter("connection_closes_total", closes[i], "Connections that ended.");
    m->accepted = counter("connections_accepted_total", NULL, "Connections accepted.");
    m->slow = counter("slow_consumers_total", NULL,
                      "Connections closed because their send queue passed its limit.");
    m->received = counter("bytes_received_total", NULL, "Bytes read from connections.");
    m->sent = counter("bytes_sent_total", NULL, "Bytes written to connections.");
    m->connections = gauge(net, "connections", read_open, "Open connections.");
    m->queued = gauge(net, "send_queue_bytes", NULL, "Bytes that send queues hold.");
    m->utilisation = gauge(net, "loop_utilisation", read_utilisation,
                           "Share of the last second that the loop was busy.");
    m->longest_turn = gauge(net, "loop_longest_turn_seconds", read_longest_turn,
                            "Longest turn of the loop in the last minute.");
}

static void register_metrics(struct rt_net *net, struct rt_metrics *metrics)
{
    struct rt_net_metrics *m = &net->m;
    struct rt_metric *single[] = {&m->connections, &m->accepted, &m->slow,        &m->received,
                                  &m->sent,        &m->queued,   &m->utilisation, &m->longest_turn};
    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
        rt_metrics_register(metrics, single[i]);
    rt_metrics_register(metrics, &net->loop->turns);
    for (int i = 0; i < RT_REJECT_COUNT; i++)
        rt_metrics_register(metrics, &m->rejected[i]);
    for (int i = 0; i < RT_CLOSE_COUNT; i++)
        rt_metrics_register(metrics, &m->closes[i]);
}

/* ---- life ---- */

/* The number of connections that the descriptor limit (raised as far as it goes) leaves room
 * for. */
static uint32_t descriptor_cap(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return 1024 - SPARE_DESCRIPTORS;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    if (limit.rlim_cur > INT32_MAX)
        return INT32_MAX;
    uint32_t descriptors = (uint32_t)limit.rlim_cur;
    return descriptors >= 2 * SPARE_DESCRIPTORS ? descriptors - SPARE_DESCRIPTORS : descriptors / 2;
}

static void set_cap(struct rt_net *net, uint32_t wanted)
{
    uint32_t possible = descriptor_cap();
    net->max_connections = wanted == 0 || wanted > possible ? possible : wanted;
    if (wanted > possible)
        rt_log(RT_LOG_WARN, "net", "connection limit lowered to what the descriptor limit allows",
               rt_kv_u64("wanted", wanted), rt_kv_u64("limit", possible));
}

int rt_net_new(struct rt_loop *loop, const struct rt_net_options *options, struct rt_net **ret_net,
               struct rt_err *err)
{
    struct rt_net *net = rt_calloc(1, sizeof(*net));
    if (!net)
        return rt_err_nomem(err);
    if (options->refusal.len) {
        net->refusal = rt_bytes_copy(options->refusal.ptr, options->refusal.len);
        if (!net->refusal) {
            rt_free(net);
            return rt_err_nomem(err);
        }
    }
    net->loop = loop;
    net->max_per_ip = options->max_per_ip;
    net->send_queue = options->send_queue;
    rt_slabs_init(&net->slabs, sizeof(struct rt_conn));
    rt_map_init(&net->ips, ip_key_of);
    rt_list_init(&net->finishing);
    rt_list_init(&net->listeners);
    rt_list_init(&net->connecting);
    set_cap(net, options->max_connections);
    fill_metrics(net);
    if (options->metrics)
        register_metrics(net, options->metrics);
    *ret_net = net;
    return 0;
}

void rt_net_free(struct rt_net *net)
{
    assert(net->open == 0 && net->refused == 0);
    assert(rt_list_empty(&net->listeners) && rt_list_empty(&net->connecting));
    rt_timer_stop(net->loop, &net->finish_timer);
    rt_timer_stop(net->loop, &net->accept_pause);
    rt_slabs_deinit(&net->slabs);
    rt_map_deinit(&net->ips);
    rt_bytes_unref(net->refusal);
    rt_free(net);
}

size_t rt_net_connections(const struct rt_net *net)
{
    return net->open;
}

void rt_net_each(struct rt_net *net, void (*fn)(void *arg, struct rt_conn *conn), void *arg)
{
    size_t pos = 0;
    for (struct rt_conn *conn = rt_slabs_next(&net->slabs, &pos); conn;
         conn = rt_slabs_next(&net->slabs, &pos))
        if (!conn->closing && !conn->refused)
            fn(arg, conn);
}

void rt_net_close_all(struct rt_net *net)
{
    size_t pos = 0;
    for (struct rt_conn *conn = rt_slabs_next(&net->slabs, &pos); conn;
         conn = rt_slabs_next(&net->slabs, &pos))
        rt_conn_close(conn, RT_CLOSE_LOCAL);
    rt_net_cancel_connecting(net);
}
