#include "proto/socketio/socketio.h"

#include "base/alloc.h"
#include "base/log.h"
#include "cluster/mac.h"
#include "proto/socketio/client.h"
#include "proto/socketio/files.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/recovery.h"
#include "proto/socketio/remote.h"
#include "proto/socketio/scope.h"
#include "proto/socketio/socket.h"

/* A binary packet may be this many times as large as a single message. */
#define BINARY_FACTOR 2u

/* ---- checking ---- */

static void check_namespaces(const struct rt_check *check)
{
    const struct rt_strings *namespaces = &check->config->socketio.namespaces;
    for (size_t i = 0; i < namespaces->count; i++) {
        const char *name = namespaces->items[i];
        if (strchr(name, '#'))
            rt_conf_error(check->errors, rt_check_place(check, "socketio.namespaces.%zu", i),
                          "socketio.namespaces: \"%.80s\" has a #, which separates namespaces from "
                          "rooms in the names of channels",
                          name);
    }
}

static void warn_of_keys(const struct rt_check *check, const struct rt_sio_rules *rules)
{
    if (check->config->socketio.recovery == 0 && (rt_sio_rules_uses(rules) & RT_SIO_USES_KEY))
        rt_conf_error(
            check->warnings, rt_check_place(check, "protocols.socketio.recovery"),
            "protocols.socketio.recovery is 0 and rules publish with a `key`: the keys of "
            "a client count until its connection ends, so what it sends again over a new "
            "one is stored twice, unless it names itself by a `pid` in its auth object");
}

int rt_socketio_check(const struct rt_check *check)
{
    struct rt_sio_rules *rules = NULL;
    struct rt_conf_errors *errors = check->errors;
    size_t before = errors->count + errors->dropped;
    check_namespaces(check);
    int r = rt_sio_rules_new(&check->config->socketio, errors, &rules);
    if (r == 0) {
        rt_sio_rules_warn(rules, check->warnings);
        warn_of_keys(check, rules);
    }
    rt_sio_rules_free(rules);
    return r == 0 && errors->count + errors->dropped > before ? RT_EINVAL : r;
}

/* ---- metrics ---- */

static void add_metric(struct rt_metrics *metrics, struct rt_metric *metric, const char *name,
                       const char *labels, const char *help)
{
    *metric = (struct rt_metric){.name = name, .help = help, .labels = labels, .type = RT_COUNTER};
    if (metrics)
        rt_metrics_register(metrics, metric);
}

static void register_metrics(struct rt_socketio *s, struct rt_metrics *metrics)
{
    static const char connects[] = "Socket.IO clients that asked for a namespace, by answer.";
    static const char recoveries[] = "Socket.IO clients that came back with a session, by result.";
    static const char mailed[] =
        "Events to the id of a Socket.IO socket that is not on this node: sent on (out); brought "
        "by others to one that is (in).";
    struct rt_sio_metrics *m = &s->metrics;
    add_metric(metrics, &m->sockets, "socketio_sockets", NULL,
               "Socket.IO clients in namespaces now.");
    m->sockets.type = RT_GAUGE;
    add_metric(metrics, &m->connects, "socketio_connects_total", "result=\"ok\"", connects);
    add_metric(metrics, &m->refused, "socketio_connects_total", "result=\"refused\"", connects);
    add_metric(metrics, &m->invalid, "socketio_invalid_packets_total", NULL,
               "Socket.IO connections closed for a packet that breaks the protocol.");
    add_metric(metrics, &m->events, "socketio_events_total", NULL,
               "Socket.IO events received from clients.");
    add_metric(metrics, &m->unmatched, "socketio_events_unmatched_total", NULL,
               "Socket.IO events that no rule matched.");
    add_metric(metrics, &m->failed, "socketio_actions_failed_total", NULL,
               "Actions of Socket.IO rules that were refused or failed.");
    add_metric(metrics, &m->answers, "socketio_acks_sent_total", NULL,
               "Acknowledgements sent to Socket.IO clients.");
    add_metric(metrics, &m->timeouts, "socketio_ack_timeouts_total", NULL,
               "Acknowledgements that Socket.IO clients did not send in time.");
    add_metric(metrics, &m->over_acks, "socketio_acks_over_limit_total", NULL,
               "Events that were not sent since the client owed `protocols.socketio.max_acks` "
               "answers.");
    add_metric(metrics, &m->recovered, "socketio_recoveries_total", "result=\"ok\"", recoveries);
    add_metric(metrics, &m->not_recovered, "socketio_recoveries_total", "result=\"gone\"",
               recoveries);
    add_metric(metrics, &m->unanswered, "socketio_former_node_silent_total", NULL,
               "Sessions that came back from a node which did not let them go in time: what it "
               "still sends without a log may come twice.");
    add_metric(metrics, &m->waiting, "socketio_recoverable_sessions", NULL,
               "Sessions without a connection that may come back.");
    m->waiting.type = RT_GAUGE;
    add_metric(metrics, &m->mailed, "socketio_mailed_total", "direction=\"out\"", mailed);
    add_metric(metrics, &m->rewritten, "socketio_sessions_rewritten_total", NULL,
               "Sessions written to Redis again since it was started again, emptied or replaced.");
    add_metric(metrics, &m->mailed_in, "socketio_mailed_total", "direction=\"in\"", mailed);
    add_metric(metrics, &m->evicted, "socketio_recoverable_sessions_evicted_total", NULL,
               "Sessions forgotten before their time since there were too many.");
}

/* ---- life ---- */

static bool serve_file(struct rt_http_request *req, void *arg)
{
    const struct rt_socketio *s = arg;
    struct rt_buf cors = RT_BUF_INIT;
    rt_eio_cors_add(&s->config->socketio.engine, req, &cors);
    bool served =
        rt_buf_ok(&cors) &&
        rt_sio_files_serve(s->files, rt_str_c(s->config->socketio.path), rt_buf_str(&cors), req);
    rt_buf_deinit(&cors);
    return served;
}

static int mount(struct rt_socketio *s, struct rt_http_server *http, struct rt_ws_pool *pool,
                 struct rt_metrics *metrics, struct rt_err *err)
{
    struct rt_eio_options options = {
        .path = s->config->socketio.path,
        .config = &s->config->socketio.engine,
        .user = &rt_sio_client_user,
        .user_arg = s,
        .keep_handshake = (s->uses & RT_SIO_USES_HANDSHAKE) != 0,
        .node = s->config->node.name,
        .send_queue = (size_t)s->config->limits.send_queue,
        .max_sessions = s->config->limits.connections,
        .max_polling_per_ip = rt_config_sessions_per_ip(s->config),
        .max_polling_bytes = s->config->limits.session_memory,
        .confirm_within = s->config->limits.connect_timeout,
        .metrics = metrics,
        .protocol = "socketio",
        .section = "protocols.socketio",
        .refusals = rt_broker_refusals(s->broker),
        .file = s->files ? serve_file : NULL,
        .make_id = rt_sio_remote_make_id,
    };
    return rt_eio_mount(http, s->loop, pool, &options, &s->mount, err);
}

static int compile(struct rt_socketio *s, struct rt_err *err)
{
    struct rt_conf_errors errors = {.items = NULL};
    int r = rt_sio_rules_new(&s->config->socketio, &errors, &s->rules);
    if (r == RT_ENOMEM)
        (void)rt_err_nomem(err);
    else if (r != 0)
        (void)rt_err_set(err, r, "socketio: %s", errors.count ? errors.items[0].text : "");
    rt_conf_errors_deinit(&errors);
    if (r == 0)
        s->uses = rt_sio_rules_uses(s->rules);
    return r;
}

/* `*ret_files` becomes NULL when there is no folder. */
static int load_files(const struct rt_socketio_config *config, struct rt_sio_files **ret_files,
                      struct rt_err *err)
{
    *ret_files = NULL;
    return config->client_dir[0] ? rt_sio_files_new(config->client_dir, ret_files, err) : 0;
}

int rt_socketio_check_files(const struct rt_config *config, struct rt_err *err)
{
    struct rt_sio_files *files = NULL;
    int r = load_files(&config->socketio, &files, err);
    rt_sio_files_free(files);
    return r;
}

static int start_recovery(struct rt_socketio *s, struct rt_err *err)
{
    if (s->config->socketio.recovery == 0)
        return 0;
    return rt_sio_recovery_new(s, &s->recovery) == 0 ? 0 : rt_err_nomem(err);
}

static struct rt_str sid_of(const void *value)
{
    return rt_sio_socket_sid(value);
}

static struct rt_str name_of(const void *value)
{
    return ((const struct rt_sio_nsp *)value)->name;
}

static uint64_t member_of(void *arg, struct rt_str channel)
{
    const struct rt_sio_socket *socket = rt_sio_socket_of_channel(arg, channel);
    return socket ? socket->client.subscriber.id : 0;
}

int rt_socketio_new(const struct rt_config *config, struct rt_broker *broker,
                    struct rt_http_server *http, struct rt_ws_pool *pool,
                    struct rt_metrics *metrics, struct rt_socketio **ret_socketio,
                    struct rt_err *err)
{
    struct rt_socketio *s = rt_calloc(1, sizeof(*s));
    if (!s)
        return rt_err_nomem(err);
    s->config = config;
    s->broker = broker;
    s->hub = rt_broker_hub(broker);
    s->loop = rt_broker_loop(broker);
    s->unfinished = rt_ws_pool_unfinished(pool);
    s->binary_max = (size_t)config->socketio.engine.max_payload * BINARY_FACTOR;
    rt_map_init(&s->sockets, sid_of);
    rt_map_init(&s->namespaces, name_of);
    rt_list_init(&s->spare);
    int r = compile(s, err);
    if (r == 0)
        r = load_files(&config->socketio, &s->files, err);
    if (r == 0)
        r = start_recovery(s, err);
    if (r == 0 && (s->uses & RT_SIO_USES_KEY) && rt_sio_scope_new(&s->scope_mac) != 0)
        r = rt_err_nomem(err);
    if (r == 0)
        r = mount(s, http, pool, metrics, err);
    if (r != 0) {
        rt_socketio_free(s);
        return r;
    }
    rt_broker_set_member_of(broker, member_of, s);
    register_metrics(s, metrics);
    *ret_socketio = s;
    return 0;
}

void rt_socketio_drain(struct rt_socketio *s, uint64_t jitter_ms, void (*drained)(void *arg),
                       void *arg)
{
    rt_eio_drain(s->mount, jitter_ms, drained, arg);
}

void rt_socketio_free(struct rt_socketio *s)
{
    if (!s)
        return;
    if (s->mount)
        rt_eio_unmount(s->mount);
    rt_sio_recovery_free(s->recovery);
    if (s->cluster) {
        rt_cluster_on_mail(s->cluster, NULL, NULL);
        rt_broker_set_sender_of(s->broker, NULL, NULL);
    }
    rt_broker_set_member_of(s->broker, NULL, NULL);
    rt_sio_nsp_free_all(s);
    rt_map_deinit(&s->sockets);
    rt_map_deinit(&s->namespaces);
    rt_sio_rules_free(s->rules);
    rt_sio_files_free(s->files);
    rt_mac_free(s->scope_mac);
    struct rt_buf *bufs = (struct rt_buf *)(void *)&s->buf;
    for (size_t i = 0; i < sizeof(s->buf) / sizeof(*bufs); i++)
        rt_buf_deinit(&bufs[i]);
    rt_free(s);
}

size_t rt_socketio_sockets(const struct rt_socketio *s)
{
    return s->sockets.count;
}
