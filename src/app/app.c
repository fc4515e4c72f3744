/* See app.h. The stages of start and stop are in the order in which they stand here. */
#include "app/app.h"

#include <signal.h>
#include <stdio.h>

#include "admin/admin.h"
#include "admin/consume.h"
#include "base/alloc.h"
#include "base/log.h"
#include "cluster/cluster.h"
#include "journal/kafka.h"
#include "net/listener.h"
#include "proto/raw/raw.h"
#include "proto/socketio/socketio.h"
#include "store/store.h"
#include "version.h"
#include "worker/trimmer.h"

#define EXIT_LOG_FAILED 70
#define EXIT_NAME_TAKEN 1
#define NAME_MAX_MS     2000u  /* start serving although Redis has not said who is there */
#define CLOSE_MAX       2500u  /* ms for what the protocols have closed to leave the queues */
#define PATIENCE        1000u  /* ms after which the log says what a stop waits for */
#define WARM_MAX        30000u /* ms: start serving although the log has not been read back */

/* One way only: each stage begins when the former is through. */
enum stage { SERVING, DRAINING_CLIENTS, CLOSING_CONNECTIONS, CLOSING_LOG, STOPPED };

struct rt_app {
    const struct rt_config *config;
    struct rt_metrics metrics;
    struct rt_loop *loop;
    struct rt_net *net;
    struct rt_broker *broker;
    struct rt_cluster *cluster; /* NULL: this node is alone */
    struct rt_store *store;     /* rows of the log; NULL: none */
    struct rt_journal *kafka;   /* the broker's journal, when that is Kafka; NULL otherwise */
    struct rt_buf brokers;      /* its addresses, joined by commas */
    struct rt_consume *consume; /* Kafka in; NULL: none */
    struct rt_http_server *http;
    struct rt_ws_pool *pool;
    struct rt_unfinished_set *unfinished;
    struct rt_socketio *socketio;
    struct rt_raw *raw;
    struct rt_admin *admin;
    struct rt_trimmer *trimmer;
    struct rt_listener *listeners[RT_CONF_LISTENERS];
    size_t listener_count;
    enum stage stage;
    int draining;          /* protocols that have not reported yet */
    struct rt_timer timer; /* deadline of the stage, or its next look */
    uint64_t deadline;
    int exit_code;
    char name_taken[256]; /* "" nobody else has this node's name */
};

static const char REFUSAL[] =
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 71\r\n"
    "Retry-After: 5\r\n"
    "Connection: close\r\n\r\n"
    "{\"code\":\"connection_limit\",\"message\":\"the connection limit is "
    "reached\"}";

static size_t count_clients(void *arg)
{
    return rt_net_connections(((struct rt_app *)arg)->net);
}

static bool is_serving(void *arg)
{
    return ((struct rt_app *)arg)->stage == SERVING;
}

/* ---- stop ---- */

static void advance(struct rt_app *app);

static void look_again(struct rt_timer *timer)
{
    advance(RT_CONTAINER(timer, struct rt_app, timer));
}

static void all_closed(void *arg)
{
    struct rt_app *app = arg;
    app->stage = STOPPED;
    rt_timer_stop(app->loop, &app->timer);
    rt_loop_stop(app->loop);
}

static void log_closed(void *arg)
{
    struct rt_app *app = arg;
    if (app->store)
        rt_store_close(app->store, all_closed, app);
    else
        all_closed(app);
}

/* Redis before the log: what that still commits reaches the other nodes through their own tails. */
static void cluster_closed(void *arg)
{
    struct rt_app *app = arg;
    rt_broker_close(app->broker, log_closed, app);
}

static void consume_closed(void *arg)
{
    struct rt_app *app = arg;
    if (app->cluster)
        rt_cluster_close(app->cluster, cluster_closed, app);
    else
        cluster_closed(app);
}

/* Not skipped by any signal: publishers wait for their answers. */
static void tell_of_log(struct rt_timer *timer)
{
    const struct rt_app *app = RT_CONTAINER(timer, struct rt_app, timer);
    rt_log(RT_LOG_INFO, "app", "waiting for the log to store what is in flight",
           rt_kv_u64("at_most_ms", app->config->shutdown.drain),
           rt_kv_c("option", "shutdown.drain"));
}

/* Also after a start that failed half-way. */
static void close_log(struct rt_app *app)
{
    app->stage = CLOSING_LOG;
    rt_timer_start(app->loop, &app->timer, PATIENCE, tell_of_log);
    if (app->consume)
        rt_consume_close(app->consume, consume_closed, app);
    else
        consume_closed(app);
}

static void drained(void *arg)
{
    struct rt_app *app = arg;
    app->draining--;
}

/* Closes the clients over a time; a second call hurries the first. */
static void drain(struct rt_app *app, uint64_t jitter)
{
    app->draining = (app->socketio ? 1 : 0) + (app->raw ? 1 : 0);
    if (app->socketio)
        rt_socketio_drain(app->socketio, jitter, drained, app);
    if (app->raw)
        rt_raw_drain(app->raw, jitter, drained, app);
    rt_admin_drain(app->admin, jitter);
}

/* Moves on as far as the present state allows. */
static void advance(struct rt_app *app)
{
    bool late = rt_loop_now(app->loop) >= app->deadline;
    if (app->stage == DRAINING_CLIENTS && (app->draining == 0 || late)) {
        app->stage = CLOSING_CONNECTIONS;
        rt_http_server_drain(app->http);
        if (late) /* sessions need no connection: those that are left end in the next turn */
            drain(app, 0);
        uint64_t most = app->config->shutdown.drain;
        app->deadline = rt_loop_now(app->loop) + (late ? 0 : most < CLOSE_MAX ? most : CLOSE_MAX);
    }
    if (app->stage == CLOSING_CONNECTIONS) {
        if (rt_net_connections(app->net) > 0 && rt_loop_now(app->loop) >= app->deadline)
            rt_net_close_all(app->net);
        if (rt_net_connections(app->net) == 0 && app->draining == 0)
            close_log(app);
    }
    if (app->stage == DRAINING_CLIENTS || app->stage == CLOSING_CONNECTIONS)
        rt_timer_start(app->loop, &app->timer, 10, look_again);
}

static void tell_of_stop(const struct rt_app *app)
{
    char waits[160] = "";
    size_t clients = rt_net_connections(app->net);
    if (clients > 0)
        (void)snprintf(
            waits, sizeof(waits),
            "clients are closed within %llu ms (shutdown.jitter), what is left after %llu "
            "ms (shutdown.drain); a second signal skips that",
            (unsigned long long)app->config->shutdown.jitter,
            (unsigned long long)app->config->shutdown.drain);
    rt_log(RT_LOG_INFO, "app", "shutting down", rt_kv_u64("connections", clients),
           rt_kv_c(clients > 0 ? "waits" : NULL, waits));
}

void rt_app_stop(struct rt_app *app)
{
    if (app->stage != SERVING) {
        if (app->stage < CLOSING_LOG && app->deadline > 0)
            rt_log(RT_LOG_INFO, "app", "told a second time to stop: waits no longer",
                   rt_kv_u64("connections", count_clients(app)));
        app->deadline = 0;
        return;
    }
    tell_of_stop(app);
    app->stage = DRAINING_CLIENTS;
    app->deadline = rt_loop_now(app->loop) + app->config->shutdown.drain;
    rt_net_stop_listening(app->net);
    drain(app, app->config->shutdown.jitter);
    rt_timer_start(app->loop, &app->timer, 0, look_again);
}

static void on_signal(void *arg, int signum)
{
    (void)signum;
    rt_app_stop(arg);
}

static void log_failed(void *arg, const char *text)
{
    struct rt_app *app = arg;
    rt_log(RT_LOG_ERROR, "app", "the log has failed, the broker stops", rt_kv_c("err", text));
    app->exit_code = EXIT_LOG_FAILED;
    app->deadline = 0;
    rt_app_stop(app);
    app->deadline = 0; /* nobody waits for clients that could get no answer */
}

/* ---- start ---- */

static void relieved(void *arg)
{
    rt_broker_relieved(((struct rt_app *)arg)->broker);
}

static void log_delivers(void *arg, struct rt_str channel, const char *epoch,
                         struct rt_stored *message)
{
    rt_broker_deliver(((struct rt_app *)arg)->broker, channel, epoch, message);
}

static void log_committed(void *arg, const struct rt_record *record)
{
    struct rt_app *app = arg;
    const char *epoch = rt_journal_kafka_epoch(app->kafka, record->partition);
    if (app->cluster)
        rt_cluster_committed(app->cluster, record, rt_str_c(epoch));
}

struct lost_partition {
    uint32_t partition, partitions;
};

static bool is_in_partition(void *arg, struct rt_str channel)
{
    const struct lost_partition *lost = arg;
    return rt_partition_of(channel, lost->partitions) == lost->partition;
}

static void log_has_gap(void *arg, uint32_t partition)
{
    struct rt_app *app = arg;
    uint64_t offset;
    struct lost_partition lost = {partition, rt_journal_kafka_partitions(app->kafka)};
    rt_broker_forget(app->broker, is_in_partition, &lost);
    (void)rt_journal_delivered(app->kafka, partition, &offset);
    rt_hub_raise_floor(rt_broker_hub(app->broker), rt_journal_kafka_epoch(app->kafka, partition),
                       offset);
}

/* Who is connected has got all of before, in order, and gets what comes; only what counts partitions has to follow. */
static void log_moved(void *arg, uint32_t partitions)
{
    struct rt_app *app = arg;
    if (app->cluster && rt_cluster_set_partitions(app->cluster, partitions) < 0)
        rt_log(RT_LOG_WARN, "app",
               "no memory for a subscription: records of a partition come by the log only");
    if (app->store)
        rt_store_set_partitions(app->store, partitions);
    if (app->socketio)
        rt_socketio_log_moved(app->socketio);
}

/* Reads back the end of the log, so that the first clients find it and the first publishes are taken. */
static void warm_up(struct rt_app *app)
{
    uint64_t deadline = rt_loop_now(app->loop) + WARM_MAX;
    while (!rt_journal_kafka_ready(app->kafka) && rt_loop_now(app->loop) < deadline)
        rt_loop_turn(app->loop, 10);
    if (!rt_journal_kafka_ready(app->kafka))
        rt_log(RT_LOG_WARN, "app",
               "the log has not been read back yet: publishes get `retry` until it is",
               rt_kv_c("topic", app->config->kafka.topic));
}

static int open_kafka(struct rt_app *app, const struct rt_journal_options *journal,
                      struct rt_err *err)
{
    const struct rt_config *config = app->config;
    rt_strings_join(&config->kafka.brokers, &app->brokers);
    const char *brokers = rt_buf_cstr(&app->brokers);
    if (!brokers)
        return rt_err_nomem(err);
    struct rt_kafka_options options = {.journal = *journal,
                                       .brokers = brokers,
                                       .topic = config->kafka.topic,
                                       .partitions = config->kafka.partitions,
                                       .require_safe_topic = config->kafka.require_safe_topic,
                                       .conf = &config->kafka.conf,
                                       .warm = config->kafka.warm,
                                       .close_timeout = (uint32_t)config->shutdown.drain,
                                       .deliver = log_delivers,
                                       .committed = log_committed,
                                       .gap = log_has_gap,
                                       .moved = log_moved,
                                       .arg = app};
    int status = rt_journal_kafka(&options, &app->kafka, err);
    if (status == 0)
        rt_broker_set_journal(app->broker, app->kafka);
    return status;
}

static int open_log(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    struct rt_journal_options options = {.loop = app->loop,
                                         .hub = rt_broker_hub(app->broker),
                                         .metrics = &app->metrics,
                                         .idempotency_window = config->storage.idempotency_window,
                                         .keys_bytes = (size_t)config->limits.memory_keys,
                                         .path = config->storage.path,
                                         .sync_full = config->storage.sync == RT_SYNC_FULL,
                                         .max_size = config->storage.max_size,
                                         .retention = config->storage.retention,
                                         .failed = log_failed,
                                         .relieved = relieved,
                                         .arg = app};
    if (config->kafka.brokers.count > 0)
        return open_kafka(app, &options, err);
    struct rt_journal *journal = NULL;
    int status = config->storage.path[0] != '\0' ? rt_journal_sqlite(&options, &journal, err)
                                                 : rt_journal_memory(&options, &journal, err);
    if (status == 0)
        rt_broker_set_journal(app->broker, journal);
    return status;
}

static int read_store(void *arg, struct rt_read *read)
{
    return rt_store_read(((struct rt_app *)arg)->store, read);
}

/* Nothing rests on it but the times of messages: it is told, and fails nothing. */
static bool clock_right(void *arg, const char **ret_text)
{
    return rt_cluster_clock_right(((struct rt_app *)arg)->cluster, ret_text);
}

static bool store_up(void *arg, const char **ret_text)
{
    return rt_store_healthy(((struct rt_app *)arg)->store, ret_text);
}

static int open_store(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    if (config->postgres.url[0] == '\0')
        return 0;
    struct rt_store_options options = {.loop = app->loop,
                                       .metrics = &app->metrics,
                                       .url = config->postgres.url,
                                       .schema = config->postgres.schema,
                                       .batch_rows = config->postgres.batch_rows,
                                       .batch_linger = config->postgres.batch_linger,
                                       .retention = config->postgres.retention,
                                       .idempotency_window = config->storage.idempotency_window,
                                       .node = config->node.name,
                                       .brokers = rt_buf_cstr(&app->brokers),
                                       .topic = config->kafka.topic,
                                       .kafka_conf = &config->kafka.conf,
                                       .partitions = rt_journal_kafka_partitions(app->kafka)};
    int status = rt_store_new(&options, &app->store, err);
    if (status == 0)
        rt_broker_set_reader(app->broker, read_store, app);
    return status;
}

/* ---- cluster ---- */

static int relay_publish(void *arg, struct rt_str channel, const struct rt_message *message)
{
    return rt_cluster_publish(((struct rt_app *)arg)->cluster, channel, message);
}

static void relay_occupied(void *arg, struct rt_str channel, bool occupied)
{
    struct rt_app *app = arg;
    if (app->cluster)
        rt_cluster_occupied(app->cluster, channel, occupied);
}

static void relayed(void *arg, struct rt_str channel, struct rt_message *message)
{
    rt_broker_relayed(((struct rt_app *)arg)->broker, channel, message);
}

static void early_record(void *arg, const struct rt_record *record, struct rt_str epoch)
{
    struct rt_app *app = arg;
    if (app->kafka)
        rt_journal_kafka_early(app->kafka, epoch, record);
    else
        rt_stored_unref(record->message); /* this node shares no log */
}

static void describe_node(void *arg, struct rt_buf *out)
{
    struct rt_app *app = arg;
    if (app->admin) /* last to come */
        rt_admin_describe(app->admin, out);
}

static void rules_differ(void *arg, bool differ)
{
    rt_broker_set_rules_differ(((struct rt_app *)arg)->broker, differ);
}

static uint64_t log_identity(void *arg)
{
    const struct rt_app *app = arg;
    return app->kafka ? rt_journal_kafka_identity(app->kafka) : 0;
}

static size_t count_descriptors(void *arg)
{
    return rt_trimmer_descriptors(((struct rt_app *)arg)->trimmer);
}

static void each_node(void *arg, void (*fn)(void *fn_arg, struct rt_str name, struct rt_str json),
                      void *fn_arg)
{
    rt_cluster_each_node(((struct rt_app *)arg)->cluster, fn, fn_arg);
}

/* Not required: without it logged messages come by the log's tail, and a node that nobody is sent to helps nobody. */
static bool redis_up(void *arg, const char **ret_text)
{
    const struct rt_redis *redis = rt_cluster_redis(((struct rt_app *)arg)->cluster);
    *ret_text = rt_redis_error(redis);
    return rt_redis_up(redis);
}

/* At start rt_app_new() fails with it; while serving, clients are led away as at any end. */
static void name_taken(void *arg, const char *text)
{
    struct rt_app *app = arg;
    if (app->name_taken[0] != '\0')
        return;
    (void)snprintf(app->name_taken, sizeof(app->name_taken), "%s", text);
    if (app->listener_count == 0)
        return;
    rt_log(RT_LOG_ERROR, "app", "another node has this one's name, the broker stops",
           rt_kv_c("err", text));
    app->exit_code = EXIT_NAME_TAKEN;
    rt_app_stop(app);
}

/* Who has this name already says so within moments. Without Redis nobody can. */
static int await_name(struct rt_app *app, struct rt_err *err)
{
    uint64_t deadline = rt_loop_now(app->loop) + NAME_MAX_MS;
    const struct rt_redis *redis = rt_cluster_redis(app->cluster);
    while (!rt_cluster_settled(app->cluster) && app->name_taken[0] == '\0' &&
           rt_redis_error(redis)[0] == '\0' && rt_loop_now(app->loop) < deadline)
        rt_loop_turn(app->loop, 10);
    return app->name_taken[0] ? rt_err_set(err, RT_EEXIST, "%s", app->name_taken) : 0;
}

static int open_cluster(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    if (config->redis.url[0] == '\0')
        return 0;
    uint32_t partitions = app->kafka ? rt_journal_kafka_partitions(app->kafka) : 0;
    struct rt_cluster_options options = {.loop = app->loop,
                                         .metrics = &app->metrics,
                                         .redis_url = config->redis.url,
                                         .prefix = config->redis.prefix,
                                         .name = config->cluster.name,
                                         .node = config->node.name,
                                         .secret = config->cluster.secret,
                                         .second_secret = config->cluster.second_secret,
                                         .topic = app->kafka ? config->kafka.topic : "",
                                         .partitions = partitions,
                                         .early = early_record,
                                         .deliver = relayed,
                                         .rules = rt_broker_rules_hash(config),
                                         .rules_differ = rules_differ,
                                         .log_identity = log_identity,
                                         .name_taken = name_taken,
                                         .describe = describe_node,
                                         .arg = app};
    struct rt_broker_relay relay = {
        .publish = relay_publish, .occupied = relay_occupied, .arg = app};
    int status = rt_cluster_new(&options, &app->cluster, err);
    if (status == 0)
        rt_broker_set_relay(app->broker, &relay);
    return status;
}

static int open_http(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    struct rt_http_options options = {.path_prefix = config->http.path_prefix,
                                      .trusted_proxies = config->http.trusted_proxies.items,
                                      .trusted_proxy_count = config->http.trusted_proxies.count,
                                      .local_hosts = config->dev,
                                      .hosts = config->http.hosts.items,
                                      .host_count = config->http.hosts.count,
                                      .internal_listener = config->http.internal[0] != '\0',
                                      .request_timeout = config->limits.connect_timeout,
                                      .idle_timeout = config->limits.idle_timeout,
                                      .metrics = &app->metrics};
    struct rt_unfinished_options unfinished = {.timeout = config->limits.message_timeout,
                                               .memory = config->limits.receive_memory,
                                               .metrics = &app->metrics};
    if (rt_unfinished_new(app->loop, &unfinished, &app->unfinished))
        return rt_err_nomem(err);
    options.unfinished = app->unfinished;
    int status = rt_http_server_new(app->loop, &options, &app->http, err);
    if (status)
        return status;
    if (rt_ws_pool_new(app->loop, &app->pool))
        return rt_err_nomem(err);
    rt_ws_pool_limit(app->pool, app->unfinished);
    return 0;
}

static int open_protocols(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    int status = 0;
    if (config->socketio.enabled)
        status = rt_socketio_new(config, app->broker, app->http, app->pool, &app->metrics,
                                 &app->socketio, err);
    if (status == 0 && app->socketio && app->cluster)
        status = rt_socketio_join_cluster(app->socketio, app->cluster, err);
    if (status == 0 && config->raw_count > 0)
        status =
            rt_raw_new(config, app->broker, app->http, app->pool, &app->metrics, &app->raw, err);
    if (status)
        return status;
    /* A node without either still serves: Redis is the fast way only, and history reaches back as far as memory. */
    struct rt_backend backends[3];
    size_t backend_count = 0;
    if (app->cluster)
        backends[backend_count++] =
            (struct rt_backend){.name = "redis", .kind = "redis", .up = redis_up, .arg = app};
    if (app->cluster)
        backends[backend_count++] =
            (struct rt_backend){.name = "clock", .kind = "clock", .up = clock_right, .arg = app};
    if (app->store)
        backends[backend_count++] =
            (struct rt_backend){.name = "postgres", .kind = "postgres", .up = store_up, .arg = app};
    struct rt_admin_options options = {.config = config,
                                       .broker = app->broker,
                                       .http = app->http,
                                       .metrics = &app->metrics,
                                       .loop = app->loop,
                                       .clients = count_clients,
                                       .serving = is_serving,
                                       .descriptors = count_descriptors,
                                       .each_node = app->cluster ? each_node : NULL,
                                       .backends = backends,
                                       .backend_count = backend_count,
                                       .arg = app};
    return rt_admin_new(&options, &app->admin, err);
}

static int open_consume(struct rt_app *app, struct rt_err *err)
{
    struct rt_consume_options options = {
        .config = app->config, .broker = app->broker, .loop = app->loop, .metrics = &app->metrics};
    return rt_consume_new(&options, &app->consume, err);
}

static int listen_on(struct rt_app *app, const char *address, bool internal, struct rt_err *err)
{
    if (app->listener_count == RT_CONF_LISTENERS)
        return rt_err_set(err, RT_ERANGE, "http.listen has more than %u addresses",
                          RT_CONF_LISTENERS);
    struct rt_listener *listener = NULL;
    int status = rt_net_listen(app->net, rt_str_c(address),
                               internal ? rt_http_accept_internal : rt_http_accept, app->http,
                               &listener, err);
    if (status)
        return status;
    app->listeners[app->listener_count++] = listener;
    if (internal)
        rt_listener_reserve(listener);
    rt_log(RT_LOG_INFO, "app", internal ? "listening (internal)" : "listening",
           rt_kv_c("address", rt_listener_address(listener)));
    return 0;
}

static int open_listeners(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    for (size_t i = 0; i < config->http.listen.count; i++) {
        int status = listen_on(app, config->http.listen.items[i], false, err);
        if (status)
            return status;
    }
    return config->http.internal[0] != '\0' ? listen_on(app, config->http.internal, true, err) : 0;
}

static int start(struct rt_app *app, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    int status = rt_loop_new(&app->loop, err);
    if (status)
        return status;
    struct rt_net_options net = {.max_connections = config->limits.connections,
                                 .max_per_ip = config->limits.connections_per_ip,
                                 .send_queue = config->limits.send_queue,
                                 .refusal = RT_STR(REFUSAL),
                                 .metrics = &app->metrics};
    status = rt_net_new(app->loop, &net, &app->net, err);
    if (status == 0)
        status = rt_broker_new(config, app->loop, &app->metrics, &app->broker, err);
    if (status == 0)
        status = open_log(app, err);
    if (status == 0)
        status = open_store(app, err);
    if (status == 0)
        status = open_cluster(app, err);
    if (status == 0)
        status = open_http(app, err);
    if (status == 0)
        status = open_protocols(app, err);
    if (status == 0 && app->kafka)
        warm_up(app);
    if (status == 0 && app->cluster)
        status = await_name(app, err);
    if (status == 0)
        status = open_consume(app, err);
    if (status == 0)
        status = rt_trimmer_new(&app->trimmer, err);
    /* Before the listeners: who sees that we listen may ask us to stop. */
    if (status == 0 && (rt_loop_on_signal(app->loop, SIGTERM, on_signal, app) ||
                        rt_loop_on_signal(app->loop, SIGINT, on_signal, app)))
        status = rt_err_set(err, RT_EIO, "cannot watch for signals");
    return status ? status : open_listeners(app, err);
}

int rt_app_new(const struct rt_config *config, struct rt_app **ret_app, struct rt_err *err)
{
    struct rt_app *app = rt_calloc(1, sizeof(*app));
    if (!app)
        return rt_err_nomem(err);
    app->config = config;
    rt_metrics_init(&app->metrics);
    int status = start(app, err);
    if (status) {
        rt_app_free(app);
        return status;
    }
    *ret_app = app;
    return 0;
}

/* What is left does not wait for anybody: a further signal must not replace the exit code. */
static void block_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int rt_app_run(struct rt_app *app)
{
    if (rt_loop_run(app->loop) && app->exit_code == 0)
        app->exit_code = 1;
    block_signals();
    rt_log(RT_LOG_INFO, "app", "stopped");
    return app->exit_code;
}

static void unwind(struct rt_app *app)
{
    if (app->net)
        rt_net_stop_listening(app->net);
    if (!app->broker || !rt_broker_journal(app->broker) || app->stage == STOPPED)
        return;
    close_log(app); /* a log that fails now has nobody to stop */
    while (app->stage != STOPPED)
        rt_loop_turn(app->loop, 10);
}

void rt_app_free(struct rt_app *app)
{
    if (!app)
        return;
    unwind(app);
    rt_trimmer_free(app->trimmer);
    rt_consume_free(app->consume);
    rt_admin_free(app->admin);
    rt_raw_free(app->raw);
    rt_socketio_free(app->socketio);
    rt_ws_pool_free(app->pool);
    rt_http_server_free(app->http);
    rt_unfinished_free(app->unfinished);
    rt_broker_free(app->broker);
    rt_cluster_free(app->cluster);
    rt_store_free(app->store);
    rt_buf_deinit(&app->brokers);
    if (app->net)
        rt_net_free(app->net);
    if (app->loop)
        rt_loop_free(app->loop);
    rt_free(app);
}

const char *rt_app_address(const struct rt_app *app, size_t index)
{
    return index < app->listener_count ? rt_listener_address(app->listeners[index]) : NULL;
}
