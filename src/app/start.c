/* How the broker starts: the parts are opened in the order in which they stand here, from what answers while the log is waited for to who listens. */
#include <signal.h>
#include <stdio.h>

#include "app/internal.h"
#include "base/log.h"
#include "journal/kafka_find.h"

#define EXIT_LOG_FAILED 70
#define EXIT_NAME_TAKEN 1
#define NAME_MAX_MS     2000u  /* start serving although Redis has not said who is there */
#define WARM_MAX        30000u /* ms: start serving although the log has not been read back */
#define ANSWER_MAX      3000u  /* ms for Kafka: then it is told, and who asks can hear why */
#define TELL_AGAIN      10000u

static const char REFUSAL[] =
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 71\r\n"
    "Retry-After: 5\r\n"
    "Connection: close\r\n\r\n"
    "{\"code\":\"connection_limit\",\"message\":\"the connection limit is "
    "reached\"}";
static const char starting_text[] = "this node is starting";

static bool uses_kafka(const struct rt_config *config)
{
    return config->kafka.brokers.count > 0;
}

static size_t count_clients(void *arg)
{
    return rt_net_connections(((struct rt_app *)arg)->net);
}

static bool is_serving(void *arg)
{
    return ((struct rt_app *)arg)->stage == SERVING;
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

/* ---- the log ---- */

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

static void log_has_hole(void *arg, struct rt_str channel, const char *epoch, uint64_t offset)
{
    rt_broker_skip(((struct rt_app *)arg)->broker, channel, epoch, offset);
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
    while (!rt_journal_kafka_ready(app->kafka) && app->stage == STARTING &&
           rt_loop_now(app->loop) < deadline)
        rt_loop_turn(app->loop, 10);
    if (!rt_journal_kafka_ready(app->kafka) && app->stage == STARTING)
        rt_log(RT_LOG_WARN, "app",
               "the log has not been read back yet: publishes get `retry` until it is",
               rt_kv_c("topic", app->config->kafka.topic));
}

static struct rt_journal_options log_options(struct rt_app *app)
{
    const struct rt_config *config = app->config;
    return (struct rt_journal_options){.loop = app->loop,
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
}

static int open_kafka(struct rt_app *app, const struct rt_kafka_found *found, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    struct rt_kafka_options options = {.journal = log_options(app),
                                       .brokers = rt_buf_cstr(&app->brokers),
                                       .topic = config->kafka.topic,
                                       .found = *found,
                                       .conf = &config->kafka.conf,
                                       .warm = config->kafka.warm,
                                       .close_timeout = (uint32_t)config->shutdown.drain,
                                       .deliver = log_delivers,
                                       .committed = log_committed,
                                       .gap = log_has_gap,
                                       .hole = log_has_hole,
                                       .moved = log_moved,
                                       .arg = app};
    int status = rt_journal_kafka(&options, &app->kafka, err);
    if (status == 0)
        rt_broker_set_journal(app->broker, app->kafka);
    return status;
}

static int open_log(struct rt_app *app, struct rt_err *err)
{
    const struct rt_journal_options options = log_options(app);
    struct rt_journal *journal = NULL;
    int status = options.path[0] != '\0' ? rt_journal_sqlite(&options, &journal, err)
                                         : rt_journal_memory(&options, &journal, err);
    if (status == 0)
        rt_broker_set_journal(app->broker, journal);
    return status;
}

static bool log_up(void *arg, const char **ret_text)
{
    const struct rt_app *app = arg;
    const struct rt_journal *journal = rt_broker_journal(app->broker);
    *ret_text = app->awaited[0] ? app->awaited : starting_text;
    return journal && rt_journal_healthy(journal, ret_text);
}

static int read_store(void *arg, struct rt_read *read)
{
    return rt_store_read(((struct rt_app *)arg)->store, read);
}

/* Nothing rests on it but the times of messages: it is told, and fails nothing. */
static bool clock_right(void *arg, const char **ret_text)
{
    const struct rt_app *app = arg;
    *ret_text = starting_text;
    return app->cluster && rt_cluster_clock_right(app->cluster, ret_text);
}

static bool store_up(void *arg, const char **ret_text)
{
    const struct rt_app *app = arg;
    *ret_text = starting_text;
    return app->store && rt_store_healthy(app->store, ret_text);
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
    const struct rt_app *app = arg;
    const struct rt_redis *redis = app->cluster ? rt_cluster_redis(app->cluster) : NULL;
    *ret_text = redis ? rt_redis_error(redis) : starting_text;
    return redis && rt_redis_up(redis);
}

/* At start rt_app_new() fails with it; while serving, clients are led away as at any end. */
static void name_taken(void *arg, const char *text)
{
    struct rt_app *app = arg;
    if (app->name_taken[0] != '\0')
        return;
    (void)snprintf(app->name_taken, sizeof(app->name_taken), "%s", text);
    if (app->stage < SERVING)
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
           app->stage == STARTING && rt_redis_error(redis)[0] == '\0' &&
           rt_loop_now(app->loop) < deadline)
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
    rt_http_server_hold_back(app->http, true);
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
    return status;
}

static const char *log_kind(const struct rt_config *config)
{
    return uses_kafka(config) ? "kafka" : config->storage.path[0] != '\0' ? "sqlite" : "memory";
}

/* A node without Redis or PostgreSQL still serves: Redis is the fast way only, and history reaches back as far as memory. */
static size_t list_backends(struct rt_app *app, struct rt_backend *backends)
{
    const struct rt_config *config = app->config;
    size_t count = 0;
    backends[count++] = (struct rt_backend){
        .name = "log", .kind = log_kind(config), .required = true, .up = log_up, .arg = app};
    if (config->redis.url[0] != '\0') {
        backends[count++] =
            (struct rt_backend){.name = "redis", .kind = "redis", .up = redis_up, .arg = app};
        backends[count++] =
            (struct rt_backend){.name = "clock", .kind = "clock", .up = clock_right, .arg = app};
    }
    if (config->postgres.url[0] != '\0')
        backends[count++] =
            (struct rt_backend){.name = "postgres", .kind = "postgres", .up = store_up, .arg = app};
    return count;
}

static int open_admin(struct rt_app *app, struct rt_err *err)
{
    struct rt_backend backends[RT_BACKENDS_MAX];
    size_t backend_count = list_backends(app, backends);
    struct rt_admin_options options = {.config = app->config,
                                       .broker = app->broker,
                                       .http = app->http,
                                       .metrics = &app->metrics,
                                       .loop = app->loop,
                                       .clients = count_clients,
                                       .serving = is_serving,
                                       .descriptors = count_descriptors,
                                       .each_node =
                                           app->config->redis.url[0] != '\0' ? each_node : NULL,
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

/* ---- waiting for Kafka ---- */

static int check_interrupted(const struct rt_app *app, struct rt_err *err)
{
    if (app->stage != INTERRUPTED)
        return 0;
    return app->exit_code ? rt_err_set(err, RT_EIO, "the log has failed")
                          : rt_err_set(err, RT_ECLOSED, "told to stop while starting");
}

/* Somebody may want to know why nothing is served. */
static int tell_wait(struct rt_app *app, struct rt_err *err)
{
    rt_log(RT_LOG_WARN, "app", "waits for Kafka; clients are refused (503) until it answers",
           rt_kv_c("err", app->awaited), rt_kv_c("option", "kafka.brokers"));
    return app->listener_count == 0 ? open_listeners(app, err) : 0;
}

static int await_kafka(struct rt_app *app, struct rt_find *find, struct rt_kafka_found *ret_found,
                       struct rt_err *err)
{
    struct rt_err why;
    enum rt_find_state state;
    uint64_t tell_at = rt_loop_now(app->loop) + ANSWER_MAX;
    while ((state = rt_find_look(find, ret_found, &why)) == RT_FIND_ASKING) {
        int status = 0;
        (void)snprintf(app->awaited, sizeof(app->awaited), "%.*s", (int)sizeof(app->awaited) - 1,
                       why.text);
        if (rt_loop_now(app->loop) >= tell_at) {
            status = tell_wait(app, err);
            tell_at = rt_loop_now(app->loop) + TELL_AGAIN;
        }
        rt_loop_turn(app->loop, 20);
        if (status == 0)
            status = check_interrupted(app, err);
        if (status)
            return status;
    }
    app->awaited[0] = '\0';
    if (state == RT_FIND_FOUND)
        return 0;
    *err = why;
    return why.code;
}

static int find_kafka(struct rt_app *app, struct rt_kafka_found *ret_found, struct rt_err *err)
{
    const struct rt_config *config = app->config;
    rt_strings_join(&config->kafka.brokers, &app->brokers);
    struct rt_find_options options = {.brokers = rt_buf_cstr(&app->brokers),
                                      .topic = config->kafka.topic,
                                      .conf = &config->kafka.conf,
                                      .partitions = config->kafka.partitions,
                                      .require_safe_topic = config->kafka.require_safe_topic,
                                      .message = config->limits.message};
    if (!options.brokers)
        return rt_err_nomem(err);
    struct rt_find *find = NULL;
    int status = rt_find_start(&options, &find, err);
    if (status == 0)
        status = await_kafka(app, find, ret_found, err);
    rt_find_free(find);
    if (status == 0 && app->listener_count > 0)
        rt_log(RT_LOG_INFO, "app", "Kafka answers");
    return status;
}

/* ---- the start as a whole ---- */

/* Before anybody can see that we listen, who may ask us to stop; behind what blocks. */
static int watch_signals(struct rt_app *app, struct rt_err *err)
{
    if (rt_loop_on_signal(app->loop, SIGTERM, on_signal, app) ||
        rt_loop_on_signal(app->loop, SIGINT, on_signal, app))
        return rt_err_set(err, RT_EIO, "cannot watch for signals");
    return 0;
}

/* What answers while the log is waited for. */
static int open_front(struct rt_app *app, struct rt_err *err)
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
        status = rt_trimmer_new(&app->trimmer, err);
    if (status == 0)
        status = open_http(app, err);
    return status ? status : open_admin(app, err);
}

static int open_journal(struct rt_app *app, struct rt_err *err)
{
    struct rt_kafka_found found;
    if (!uses_kafka(app->config)) {
        int status = open_log(app, err);
        return status ? status : watch_signals(app, err);
    }
    int status = watch_signals(app, err);
    if (status == 0)
        status = find_kafka(app, &found, err);
    return status ? status : open_kafka(app, &found, err);
}

static int open_services(struct rt_app *app, struct rt_err *err)
{
    int status = open_store(app, err);
    if (status == 0)
        status = open_cluster(app, err);
    if (status == 0)
        status = open_protocols(app, err);
    if (status == 0 && app->kafka)
        warm_up(app);
    if (status == 0 && app->cluster)
        status = await_name(app, err);
    return status ? status : open_consume(app, err);
}

int rt_app_start(struct rt_app *app, struct rt_err *err)
{
    int status = open_front(app, err);
    if (status == 0)
        status = open_journal(app, err);
    if (status == 0)
        status = open_services(app, err);
    if (status == 0)
        status = check_interrupted(app, err);
    if (status == 0 && app->listener_count == 0)
        status = open_listeners(app, err);
    if (status)
        return status;
    rt_http_server_hold_back(app->http, false);
    return 0;
}
