/* The rows of the option table. A section's rows stand together; the order is that of the sample file and of the reference. */
#include "conf/option.h"

#define KIB      UINT64_C(1024)
#define MIB      (1024 * KIB)
#define GIB      (1024 * MIB)
#define TIB      (1024 * GIB)
#define SECOND   UINT64_C(1000)
#define MINUTE   (60 * SECOND)
#define HOUR     (60 * MINUTE)
#define DAY      (24 * HOUR)
#define RATE_MAX (UINT64_C(1000000) * 3600) /* a million a second */

#define ROW(type_, path_, base_, member_, def_, doc_, ...)               \
    {                                                                    \
        .path = path_, .doc = doc_, .def = def_, .type = RT_OPT_##type_, \
        .offset = offsetof(base_, member_), ##__VA_ARGS__                \
    }
/* Of struct rt_config. */
#define TOP(type_, path_, member_, def_, doc_, ...) \
    ROW(type_, path_, struct rt_config, member_, def_, doc_, ##__VA_ARGS__)
#define RANGE(min_, max_) .min = (min_), .max = (max_)
/* `neutral_` is accepted besides "", [], {}, false and nothing. */
#define ABSENT(path_, neutral_)                                          \
    {                                                                    \
        .path = path_, .doc = "", .def = neutral_, .type = RT_OPT_ABSENT \
    }

static const struct rt_choice log_levels[] = {
    {.name = "debug", .value = RT_LOG_DEBUG}, {.name = "info", .value = RT_LOG_INFO},
    {.name = "warn", .value = RT_LOG_WARN},   {.name = "error", .value = RT_LOG_ERROR},
    {.name = "off", .value = RT_LOG_OFF},     {.name = NULL},
};

static const struct rt_choice log_formats[] = {
    {.name = "auto", .value = RT_LOG_AUTO},
    {.name = "text", .value = RT_LOG_TEXT},
    {.name = "json", .value = RT_LOG_JSON},
    {.name = NULL},
};

static const struct rt_choice syncs[] = {
    {.name = "full", .value = RT_SYNC_FULL},
    {.name = "normal", .value = RT_SYNC_NORMAL},
    {.name = NULL},
};

static const struct rt_choice unmatched[] = {
    {.name = "ignore", .value = RT_UNMATCHED_IGNORE},
    {.name = "ack", .value = RT_UNMATCHED_ACK},
    {.name = "publish", .value = RT_UNMATCHED_PUBLISH},
    {.name = "disconnect", .value = RT_UNMATCHED_DISCONNECT},
    {.name = NULL},
};

static const struct rt_choice raw_protocols[] = {
    {.name = "websocket", .value = RT_RAW_WEBSOCKET},
    {.name = "engineio", .value = RT_RAW_ENGINEIO},
    {.name = NULL},
};

static const struct rt_choice deliver[] = {
    {.name = "on_commit", .value = RT_ON_COMMIT},
    {.name = "on_publish", .value = RT_ON_PUBLISH},
    {.name = NULL},
};

static const struct rt_choice may_subscribe[] = {
    {.name = "anyone", .value = RT_ALLOW_ANYONE},
    {.name = "user", .value = RT_ALLOW_USER},
    {.name = "nobody", .value = RT_ALLOW_NOBODY},
    {.name = "token", .absent = true},
    {.name = "hook", .absent = true},
    {.name = NULL},
};

static const struct rt_choice may_publish[] = {
    {.name = "anyone", .value = RT_ALLOW_ANYONE},
    {.name = "user", .value = RT_ALLOW_USER},
    {.name = "subscriber", .value = RT_ALLOW_SUBSCRIBER},
    {.name = "nobody", .value = RT_ALLOW_NOBODY},
    {.name = "token", .absent = true},
    {.name = "hook", .absent = true},
    {.name = NULL},
};

/* Values are offsets within the engine's settings. */
static const struct rt_choice transports[] = {
    {.name = "polling", .value = offsetof(struct rt_engineio_config, polling)},
    {.name = "websocket", .value = offsetof(struct rt_engineio_config, websocket)},
    {.name = NULL},
};

/* Engine.IO settings in front of and behind those that only protocols.socketio has; `engine_` is where `base_` holds them. */
#define ENGINE_TIMES(prefix_, base_, engine_)                                                       \
    ROW(DURATION, prefix_ "ping_interval", base_, engine_.ping_interval, "25s",                     \
        "How often the server pings.", RANGE(1, DAY)),                                              \
        ROW(DURATION, prefix_ "ping_timeout", base_, engine_.ping_timeout, "20s",                   \
            "How long it waits for the answer before it closes the session.", RANGE(1, DAY)),       \
        ROW(DURATION, prefix_ "upgrade_timeout", base_, engine_.upgrade_timeout, "10s",             \
            "How long an upgrade from polling to WebSocket may take; the session stays on polling " \
            "after that.",                                                                          \
            RANGE(1, HOUR)),                                                                        \
        ROW(SIZE, prefix_ "max_payload", base_, engine_.max_payload, "1MB",                         \
            "Largest packet or polling body that a client may send.", RANGE(16, GIB / 4))
#define ENGINE_REST(prefix_, base_, engine_)                                                            \
    ROW(SET, prefix_ "transports", base_, engine_, "polling, websocket",                                \
        "Transports that are offered.", .choices = transports),                                         \
        ROW(BOOL, prefix_ "upgrades", base_, engine_.upgrades, "true",                                  \
            "Offer the upgrade from polling to WebSocket."),                                            \
        ROW(BOOL, prefix_ "allow_eio3", base_, engine_.allow_eio3, "false",                             \
            "Let in clients of Engine.IO 3, too, which Socket.IO 2 speaks. A client's id is then the "  \
            "secret of its connection."),                                                               \
        ROW(DURATION, prefix_ "handshake_delay", base_, engine_.handshake_delay, "0",                   \
            "Wait before the open packet is sent.", RANGE(0, MINUTE)),                                  \
        ROW(DURATION, prefix_ "packet_gap", base_, engine_.packet_gap, "0",                             \
            "Least time between the packets of the handshake, for clients that lose the second of two " \
            "frames which arrive together.",                                                            \
            RANGE(0, MINUTE)),                                                                          \
        ROW(STRINGS, prefix_ "cors.origins", base_, engine_.cors_origins, NULL,                         \
            "Origins whose pages may use HTTP polling: `*`, or a list in which `*` is a wildcard "      \
            "(`https://*.example.com`). Empty: no CORS headers."),                                      \
        ROW(BOOL, prefix_ "cors.credentials", base_, engine_.cors_credentials, "false",                 \
            "Let pages send cookies (`Access-Control-Allow-Credentials`)."),                            \
        ROW(STRINGS, prefix_ "cors.methods", base_, engine_.cors_methods,                               \
            "GET, HEAD, PUT, PATCH, POST, DELETE",                                                      \
            "Methods that a preflight is answered with. Empty: it says nothing about them."),           \
        ROW(STRINGS, prefix_ "cors.headers", base_, engine_.cors_headers, NULL,                         \
            "Request headers that pages may send. Empty: those that the preflight asks for."),          \
        ROW(DURATION, prefix_ "cors.max_age", base_, engine_.cors_max_age, "0",                         \
            "How long browsers may remember a preflight; 0 says nothing about it.",                     \
            RANGE(0, 30 * DAY)),                                                                        \
        ROW(BOOL, prefix_ "enforce_origin", base_, engine_.enforce_origin, "false",                     \
            "Refuse requests and upgrades of pages from elsewhere with 403: their Origin is neither "   \
            "this host nor in `cors.origins`. CORS alone does not protect WebSockets."),                \
        ROW(STRING, prefix_ "cookie", base_, engine_.cookie, NULL,                                      \
            "Name of a cookie that carries the session id, for sticky load balancing; empty: none."),   \
        ROW(STRINGS, prefix_ "cookie_attributes", base_, engine_.cookie_attributes,                     \
            "Path=/, HttpOnly, SameSite=Lax",                                                           \
            "What stands behind it: `Path=`, `Domain=`, `Max-Age=`, `SameSite=`, `Secure`, "            \
            "`HttpOnly`, `Partitioned`, `Priority=`.")

static const struct rt_option raw_rows[] = {
    ROW(STRING, "path", struct rt_raw_config, path, NULL,
        "Where it is served: begins with `/`; one `{channel}` may stand for a whole segment, or "
        "for the rest of the path at its end. With protocol `engineio` everything below is served when it "
        "ends with `/`, else it with and without one.",
        .min = 1),
    ROW(STRING, "channel", struct rt_raw_config, channel, NULL,
        "The channel: text with `{channel}` (from the path) and `{sid}` (the session's id). Empty: "
        "`{channel}`, or `{sid}` when the path has none: an echo."),
    ROW(ENUM, "protocol", struct rt_raw_config, protocol, "websocket",
        "Plain WebSocket, each message a frame; or bare Engine.IO.", .choices = raw_protocols),
    ROW(SIZE, "max_message", struct rt_raw_config, max_message, "1MiB",
        "Largest message that is taken from the peer. What is published must also fit "
        "`limits.message`.",
        RANGE(1, GIB / 4)),
    ROW(BOOL, "publish", struct rt_raw_config, publish, "true",
        "What the peer sends is published to the channel; false: it is ignored."),
    ROW(BOOL, "subscribe", struct rt_raw_config, subscribe, "true",
        "The peer receives what is published to the channel."),
    ENGINE_TIMES("", struct rt_raw_config, engine),
    ENGINE_REST("", struct rt_raw_config, engine),
};

static const struct rt_option_table raw_table = {
    .options = raw_rows,
    .count = sizeof(raw_rows) / sizeof(raw_rows[0]),
    .item_size = sizeof(struct rt_raw_config),
    .example = "- path: /raw/{channel}\n"
               "  protocol: websocket\n",
};

static const struct rt_option key_rows[] = {
    ROW(STRING, "name", struct rt_api_key, name, NULL, "Names the key's holder in logs; unique.",
        .min = 1),
    ROW(STRING, "key", struct rt_api_key, key, NULL,
        "What the header `X-API-Key` must be. Better in a file: `key_file`.", .min = 1,
        .secret = true),
};

static const struct rt_option_table key_table = {
    .options = key_rows,
    .count = sizeof(key_rows) / sizeof(key_rows[0]),
    .item_size = sizeof(struct rt_api_key),
    .example = "- name: backend\n"
               "  key_file: /etc/rtbroker/api.key\n",
};

static const struct rt_option channel_rows[] = {
    ROW(STRING, "match", struct rt_channel_rule, match, NULL,
        "Glob over the channel's name: `*` is any run of characters, `?` one.", .min = 1),
    ROW(BOOL, "log", struct rt_channel_rule, log, "false",
        "Messages are logged: a publish is acknowledged with a position once it is stored, and "
        "clients that were away catch up. In memory, or durable with `storage.path`."),
    ROW(ENUM, "deliver", struct rt_channel_rule, deliver, "on_commit",
        "When subscribers get a logged message: once it is stored, or at once (it may then be lost "
        "although it was seen; nothing can be recovered).",
        .choices = deliver),
    ROW(INT, "history.size", struct rt_channel_rule, history_size, "100",
        "Messages of a logged channel that are kept in memory and served as history.",
        RANGE(0, 1000000)),
    ROW(DURATION, "history.ttl", struct rt_channel_rule, history_ttl, "24h",
        "Age at which a message leaves the history.", RANGE(1, 3650 * DAY)),
    ABSENT("presence", NULL),
    ABSENT("join_leave", NULL),
    ROW(ENUM, "subscribe", struct rt_channel_rule, subscribe, "user",
        "Which clients may subscribe. Without authentication nobody is a `user`.",
        .choices = may_subscribe),
    ROW(ENUM, "publish", struct rt_channel_rule, publish, "subscriber",
        "Which clients may publish; `subscriber`: whoever is subscribed. The actions of `socketio` "
        "and the API may always.",
        .choices = may_publish),
    ROW(RATE, "rate.publish", struct rt_channel_rule, rate_publish, "0",
        "Messages that one client may publish to the channels of this rule, in any way; what is "
        "above is answered `rate_limited`. 0: no limit. The API is not limited.",
        RANGE(0, RATE_MAX)),
    ROW(INT, "rate.burst", struct rt_channel_rule, rate_burst, "0",
        "How many of them may come at once; 0: as many as `rate.publish` allows in a second.",
        RANGE(0, 1000000)),
};

static const struct rt_option_table channel_table = {
    .options = channel_rows,
    .count = sizeof(channel_rows) / sizeof(channel_rows[0]),
    .item_size = sizeof(struct rt_channel_rule),
    .example = "- match: \"chat:*\"\n"
               "  log: true\n"
               "  history: {size: 100, ttl: 24h}\n"
               "  subscribe: anyone\n"
               "  publish: subscriber\n",
};

static const struct rt_choice consume_modes[] = {
    {.name = "publish", .value = RT_CONSUME_PUBLISH},
    {.name = "command", .value = RT_CONSUME_COMMAND},
    {.name = NULL},
};

static const struct rt_choice consume_kinds[] = {
    {.name = "auto", .value = RT_CONSUME_AUTO},
    {.name = "json", .value = RT_CONSUME_JSON},
    {.name = "text", .value = RT_CONSUME_TEXT},
    {.name = "bytes", .value = RT_CONSUME_BYTES},
    {.name = NULL},
};

static const struct rt_choice consume_from[] = {
    {.name = "earliest", .value = RT_CONSUME_EARLIEST},
    {.name = "latest", .value = RT_CONSUME_LATEST},
    {.name = NULL},
};

static const struct rt_choice consume_errors[] = {
    {.name = "skip", .value = RT_CONSUME_SKIP},
    {.name = "stop", .value = RT_CONSUME_STOP},
    {.name = NULL},
};

static const struct rt_option consume_rows[] = {
    ROW(STRINGS, "topics", struct rt_consume_config, topics, NULL,
        "Topics whose records become publishes. At least one; not `kafka.topic`."),
    ROW(STRING, "group", struct rt_consume_config, group, "rtbroker",
        "Consumer group: nodes with the same one share the partitions, and it remembers how far "
        "they are. Each section has its own. Letters, digits, `.`, `_` and `-`.",
        .min = 1),
    ROW(ENUM, "mode", struct rt_consume_config, mode, "publish",
        "`publish`: the value is what is published. `command`: it is a call of the HTTP API, "
        "`{\"method\":\"publish\",\"payload\":{...}}`.",
        .choices = consume_modes),
    ROW(STRING, "channel", struct rt_consume_config, channel, "{key}",
        "Mode `publish`: the channel; text with `{key}`, `{topic}` and `{header:NAME}`. A record that "
        "lacks one of these is refused.",
        .min = 1),
    ROW(STRING, "event", struct rt_consume_config, event, NULL,
        "Mode `publish`: the event's name, made likewise; what the record lacks is left out. Empty: "
        "none."),
    ROW(ENUM, "kind", struct rt_consume_config, kind, "auto",
        "Mode `publish`: what values are. Others are refused; `auto` takes JSON for JSON, other "
        "UTF-8 for text, the rest for bytes.",
        .choices = consume_kinds),
    ROW(STRING, "key_header", struct rt_consume_config, key_header, NULL,
        "Mode `publish`: header with the idempotency key. Without it, or where a record lacks it, the "
        "key is made of topic, partition, offset and timestamp: a record that comes again is "
        "published once."),
    ROW(ENUM, "from", struct rt_consume_config, from, "earliest",
        "Where a group begins that has committed nothing yet.", .choices = consume_from),
    ROW(ENUM, "on_error", struct rt_consume_config, on_error, "skip",
        "A record that cannot be published: `skip` it (see `dead_letter`), or `stop` its partition "
        "and try it every 10 s.",
        .choices = consume_errors),
    ROW(STRING, "dead_letter", struct rt_consume_config, dead_letter, NULL,
        "Topic for skipped records, with the reason in the header `rt-error`; created when it is not "
        "there. Empty: they are logged and counted only."),
    ROW(STRINGS, "brokers", struct rt_consume_config, brokers, NULL,
        "Brokers of the Kafka cluster with these topics, `HOST:PORT`. Empty: `kafka.brokers`, with "
        "`kafka.conf`."),
    ROW(PAIRS, "conf", struct rt_consume_config, conf, NULL,
        "More settings of librdkafka, for this section alone."),
};

static const struct rt_option_table consume_table = {
    .options = consume_rows,
    .count = sizeof(consume_rows) / sizeof(consume_rows[0]),
    .item_size = sizeof(struct rt_consume_config),
    .example = "- topics: [orders]\n"
               "  brokers: [\"127.0.0.1:9092\"]\n"
               "  group: rtbroker-orders\n"
               "  channel: \"orders:{key}\"\n"
               "  event: \"{header:type}\"\n"
               "  dead_letter: orders.dead\n",
};

static const struct rt_option rows[] = {
    TOP(STRING, "node.name", node.name, NULL,
        "Name of this process, one of its own in a cluster: a second one does not start. Prefix of "
        "session ids, so unique among the nodes behind one address. Letters, digits, `_` and `-`; "
        "others become `-`. Empty: the system's host name."),

    TOP(STRINGS, "http.listen", http.listen, "127.0.0.1:8000",
        "Addresses: `HOST:PORT`, `[::1]:PORT`, `*:PORT` (all), `unix:/path`. `--listen` replaces "
        "them."),
    TOP(STRING, "http.internal", http.internal, NULL,
        "Address that takes over API, metrics and health; the public ones then refuse these. "
        "Empty: none; metrics are for this machine then."),
    TOP(BOOL, "http.insecure_public", http.insecure_public, "false",
        "Accept a TCP address that others can reach, although this build cannot authenticate "
        "clients: whoever reaches it may do what `channels` and `socketio` allow."),
    TOP(STRING, "http.path_prefix", http.path_prefix, NULL,
        "Everything is served below this path, so that a proxy need not rewrite: `/rt`."),
    TOP(STRINGS, "http.trusted_proxies", http.trusted_proxies, "127.0.0.1, ::1, unix:",
        "Peers whose `X-Forwarded-For` is believed: addresses, networks (`10.0.0.0/8`), `unix:`."),
    TOP(STRINGS, "http.hosts", http.hosts, NULL,
        "Names (`Host`) under which metrics and the details of `/readyz` are asked for, with `--dev` "
        "everything, beside addresses, `localhost` and names without a dot: others may be a page's in "
        "some browser that lets its own name point here. `*` is a wildcard."),
    ABSENT("http.proxy_protocol", NULL),
    ABSENT("http.tls.cert_file", NULL),
    ABSENT("http.tls.key_file", NULL),

    TOP(STRINGS, "origins", origins, NULL,
        "Origins whose pages may connect to raw endpoints: `https://example.com`, with `*` "
        "as a wildcard (`https://*.example.com`), or `*`. Empty: pages of the same origin only."),

    ABSENT("protocols.centrifuge.enabled", NULL),
    ABSENT("protocols.centrifuge.path", "/connection/websocket"),
    TOP(BOOL, "protocols.socketio.enabled", socketio.enabled, "true",
        "Serve Socket.IO 5 over Engine.IO 4 (clients of version 3 and 4)."),
    TOP(STRING, "protocols.socketio.path", socketio.path, "/socket.io/",
        "Where; begins with `/`. Without one at its end it is served with and without it.",
        .min = 1),
    ENGINE_TIMES("protocols.socketio.", struct rt_config, socketio.engine),
    TOP(DURATION, "protocols.socketio.connect_timeout", socketio.engine.connect_timeout, "45s",
        "A session that has not connected to a namespace by then is closed.", RANGE(1, HOUR)),
    TOP(DURATION, "protocols.socketio.recovery", socketio.recovery, "0",
        "How long a lost session can be recovered with its rooms and what it missed; 0: off. With "
        "it every event carries one more argument, a text, which handlers with a fixed number of "
        "parameters (Python) must expect; `2m` is what Socket.IO's documentation suggests.",
        RANGE(0, 7 * DAY)),
    TOP(BOOL, "protocols.socketio.skip_middlewares", socketio.skip_middlewares, "true",
        "A session that is recovered does not pass the rules of `on_connect` again. false: it does, "
        "before it gets what it missed, and may be refused; `$recovered` tells them."),
    TOP(INT, "protocols.socketio.max_attachments", socketio.max_attachments, "10",
        "Binary attachments of one packet.", RANGE(0, RT_CONF_ATTACHMENTS)),
    TOP(INT, "protocols.socketio.max_acks", socketio.max_acks, "256",
        "Answers that one client may owe to `emit` with `ack`. What would ask for one more is not "
        "sent.",
        RANGE(1, 4096)),
    ENGINE_REST("protocols.socketio.", struct rt_config, socketio.engine),
    TOP(STRING, "protocols.socketio.client_dir", socketio.client_dir, NULL,
        "Folder with `socket.io.js` and its kin, served below `path`; empty: none."),
    TOP(SECTIONS, "protocols.raw", raw, NULL,
        "Endpoints without an SDK: plain WebSocket or bare Engine.IO, bound to a channel.",
        .count_offset = offsetof(struct rt_config, raw_count), .items = &raw_table),

    ABSENT("auth.anonymous", NULL),
    ABSENT("auth.hmac_secret", NULL),
    ABSENT("auth.hmac_secret_file", NULL),
    ABSENT("auth.public_key_file", NULL),
    ABSENT("auth.jwks.url", NULL),
    ABSENT("auth.jwks.refresh", "5m"),
    ABSENT("auth.issuer", NULL),
    ABSENT("auth.audience", NULL),
    ABSENT("auth.leeway", "30s"),

    TOP(BOOL, "api.enabled", api.enabled, "true", "Serve the HTTP API below `/api/`."),
    TOP(SECTIONS, "api.keys", api.keys, NULL,
        "Keys that open it. Without any it is closed, with `--dev` open.",
        .count_offset = offsetof(struct rt_config, api.key_count), .items = &key_table),

    TOP(SECTIONS, "channels", channels, NULL,
        "Rules for channels by name. The first that matches counts; a channel without a rule is "
        "refused.",
        .count_offset = offsetof(struct rt_config, channel_count), .items = &channel_table),

    TOP(STRINGS, "socketio.namespaces", socketio.namespaces, "/",
        "Globs of the namespaces that clients may connect to."),
    TOP(ENUM, "socketio.unmatched", socketio.unmatched, "ignore",
        "What happens with an event that no rule matches.", .choices = unmatched),
    TOP(TREE, "socketio.on_connect", socketio.on_connect, NULL,
        "Rules that run when a client connects to a namespace; see `events.md`."),
    TOP(TREE, "socketio.events", socketio.events, NULL,
        "Rules for events, the first that matches runs; see `events.md`."),

    TOP(STRING, "storage.path", storage.path, NULL,
        "SQLite file that keeps logged messages across restarts; empty: in memory only."),
    TOP(ENUM, "storage.sync", storage.sync, "full",
        "`full`: what is acknowledged survives a power failure; `normal`: a crash of rtbroker, but "
        "the last moments may be lost with the machine.",
        .choices = syncs),
    TOP(SIZE, "storage.max_size", storage.max_size, "2GiB",
        "Size of the database past which publishes are answered `retry`.", RANGE(MIB, 16 * TIB)),
    TOP(DURATION, "storage.retention", storage.retention, "30d",
        "Age at which stored messages are deleted; 0: never, the file then grows up to "
        "`storage.max_size`.",
        RANGE(0, 3650 * DAY)),
    TOP(DURATION, "storage.idempotency_window", storage.idempotency_window, "10m",
        "How long a publish with the same idempotency key is recognised as a repetition.",
        RANGE(0, 30 * DAY)),

    TOP(STRING, "redis.url", redis.url, NULL,
        "Redis that joins several nodes: `redis://[[user]:password@]host[:port][/db]` or "
        "`unix:///path[?db=N]`. Empty: this node is alone.",
        .secret = true),
    TOP(STRING, "redis.prefix", redis.prefix, "rtb:",
        "Stands in front of every Redis key and channel; the same on all nodes of a cluster."),
    TOP(STRINGS, "kafka.brokers", kafka.brokers, NULL,
        "Brokers of the Kafka cluster that is the log, `HOST:PORT`. Empty: the log is in memory, or "
        "in `storage.path`."),
    TOP(STRING, "kafka.topic", kafka.topic, "rtbroker",
        "Topic of the log; created when it is not there. Its partitions are the order.", .min = 1),
    TOP(INT, "kafka.partitions", kafka.partitions, "16",
        "Partitions of a topic that has to be created. A topic that exists keeps its own.",
        RANGE(1, 1024)),
    TOP(BOOL, "kafka.require_safe_topic", kafka.require_safe_topic, "false",
        "Refuse to start, instead of a warning, when the topic can lose what is acknowledged: fewer "
        "than 3 replicas, min.insync.replicas below 2, or unclean leader election."),
    TOP(INT, "kafka.warm", kafka.warm, "1000",
        "Records of each partition that are read back at start, so that history and reconnecting "
        "clients are served from memory.",
        RANGE(0, 1000000)),
    TOP(PAIRS, "kafka.conf", kafka.conf, NULL,
        "Settings of librdkafka, handed on as they are: `{security.protocol: SASL_SSL}`. Those that "
        "the promises rest on cannot be changed."),
    TOP(SECTIONS, "kafka.consume", kafka.consume, NULL,
        "Kafka in: topics whose records are published. Works with every kind of log.",
        .count_offset = offsetof(struct rt_config, kafka.consume_count), .items = &consume_table),
    TOP(STRING, "postgres.url", postgres.url, NULL,
        "Connection string of the database that keeps the log as rows and serves older history; to "
        "libpq as it is, `PG*` variables count. `service=` or `dbname=` alone are fine. Empty: none.",
        .secret = true),
    TOP(STRING, "postgres.schema", postgres.schema, "rtbroker",
        "Schema of the tables; created when it is not there.", .min = 1),
    TOP(INT, "postgres.batch.rows", postgres.batch_rows, "1000", "Most rows of one transaction.",
        RANGE(1, 100000)),
    TOP(DURATION, "postgres.batch.linger", postgres.batch_linger, "20ms",
        "How long a batch waits for more rows.", RANGE(0, 10 * SECOND)),
    TOP(DURATION, "postgres.retention", postgres.retention, "30d",
        "Age at which stored messages go, by whole days; 0: never.", RANGE(0, 3650 * DAY)),
    TOP(STRING, "cluster.name", cluster.name, "rtbroker",
        "Names the cluster; the same on all its nodes. Stands behind `redis.prefix` in every Redis key "
        "and channel: several clusters on one Redis need names of their own, since database numbers "
        "do not separate channels. Letters, digits, `.`, `_` and `-`.",
        .min = 1),
    TOP(STRING, "cluster.secret", cluster.secret, NULL,
        "Signs what nodes send each other through Redis and keep there, so that nobody else can "
        "speak to clients or for the log; the same on all nodes. Required when Redis is on another "
        "machine.",
        .secret = true),
    TOP(STRING, "cluster.second_secret", cluster.second_secret, NULL,
        "Accepted beside `cluster.secret`, while one secret is replaced by another.",
        .secret = true),
    TOP(BOOL, "cluster.insecure", cluster.insecure, "false",
        "Accept a Redis on another machine without `cluster.secret`: whoever can write to it speaks "
        "to all clients and for the log."),

    TOP(INT, "limits.connections", limits.connections, "0",
        "Connections at once, more get 503; 0: as many as the descriptor limit allows.",
        RANGE(0, 10000000)),
    TOP(INT, "limits.connections_per_ip", limits.connections_per_ip, "0",
        "The same from one address; 0: no limit.", RANGE(0, 10000000)),
    TOP(INT, "limits.sessions_per_ip", limits.sessions_per_ip, "0",
        "Sessions over HTTP polling of one address, which need no connection of their own; half of "
        "them as long as no request has followed their handshake. 0: as many as "
        "`limits.connections_per_ip`, without it a quarter of `limits.connections`.",
        RANGE(0, 10000000)),
    TOP(SIZE, "limits.session_memory", limits.session_memory, "256MiB",
        "Bytes of the sessions over HTTP polling of one endpoint, with what rules read of their "
        "handshakes; one address may take a quarter.",
        RANGE(MIB, TIB)),
    TOP(INT, "limits.channels", limits.channels, "1000000",
        "Channels that this node has in memory: with subscribers, with recent messages, or used in "
        "the last minute. Past it those without subscribers are forgotten, with their messages.",
        RANGE(1000, 100000000)),
    TOP(INT, "limits.channels_per_connection", limits.channels_per_connection, "128",
        "Channels (rooms) of one client.", RANGE(1, 1000000)),
    TOP(INT, "limits.channel_name", limits.channel_name, "255", "Longest channel name, in bytes.",
        RANGE(1, RT_CONF_CHANNEL_NAME)),
    TOP(RATE, "limits.commands.rate", limits.commands_rate, "0",
        "Messages that are read from one client, whatever they do; one that sends more is read "
        "more slowly. 0: no limit.",
        RANGE(0, RATE_MAX)),
    TOP(INT, "limits.commands.burst", limits.commands_burst, "0",
        "How many of them may come at once; 0: as many as `limits.commands.rate` allows in a "
        "second.",
        RANGE(0, 1000000)),
    TOP(SIZE, "limits.message", limits.message, "1MB",
        "Largest message that can be published. Clients also need `max_payload` or `max_message` of "
        "their endpoint for it.",
        RANGE(1, GIB / 4)),
    TOP(DURATION, "limits.message_timeout", limits.message_timeout, "60s",
        "From the first byte of a WebSocket message, or of a packet with attachments, to its last.",
        RANGE(1, HOUR)),
    TOP(SIZE, "limits.receive_memory", limits.receive_memory, "256MiB",
        "Bytes of all messages and requests that have not come to their end; past it those that "
        "have begun first are cut off.",
        RANGE(MIB, TIB)),
    TOP(SIZE, "limits.send_queue", limits.send_queue, "1MiB",
        "Bytes that may wait for one client; a slower one is closed.", RANGE(4 * KIB, GIB)),
    TOP(SIZE, "limits.memory_log", limits.memory_log, "256MiB",
        "Bytes of the recent messages of all channels together, and of channels without "
        "subscribers; the oldest go first.",
        RANGE(MIB, TIB)),
    TOP(SIZE, "limits.memory_keys", limits.memory_keys, "64MiB",
        "Bytes of the idempotency keys in memory (with Kafka or without `storage.path`); while they "
        "are full, messages with a new key are answered `retry`.",
        RANGE(64 * KIB, TIB)),
    TOP(DURATION, "limits.connect_timeout", limits.connect_timeout, "10s",
        "From a connection's first byte to its complete request, and from the handshake of a "
        "session over HTTP polling to the request that follows.",
        RANGE(1, HOUR)),
    TOP(DURATION, "limits.idle_timeout", limits.idle_timeout, "75s",
        "Idle HTTP connections are closed after this.", RANGE(1, DAY)),

    TOP(BOOL, "metrics.enabled", metrics.enabled, "true",
        "Serve `/metrics` in Prometheus' text format."),

    TOP(ENUM, "log.level", log.level, "info", "Least level that is logged.", .choices = log_levels),
    TOP(ENUM, "log.format", log.format, "auto", "`auto`: text on a terminal, JSON otherwise.",
        .choices = log_formats),

    TOP(DURATION, "shutdown.drain", shutdown.drain, "20s",
        "How long what is in flight may take to be stored when the process is told to stop.",
        RANGE(0, HOUR)),
    TOP(DURATION, "shutdown.jitter", shutdown.jitter, "10s",
        "Clients are disconnected spread over this time, so that they do not come back all at once.",
        RANGE(0, HOUR)),
};

static const struct rt_section sections[] = {
    {"node", "This process."},
    {"http", "Listeners and what stands in front of them."},
    {"origins", "Browsers."},
    {"protocols.socketio", "Socket.IO. What events do is in `socketio`."},
    {"protocols.raw", "Raw endpoints."},
    {"api", "The HTTP API."},
    {"channels", "Channels: log, history, permissions."},
    {"socketio", "What Socket.IO events do."},
    {"storage", "The durable log."},
    {"redis", "The link between nodes."},
    {"kafka", "The log that several nodes share."},
    {"postgres", "The history as rows."},
    {"cluster", "Several nodes as one."},
    {"limits", "What one client, and all of them, may take."},
    {"metrics", "Metrics."},
    {"log", "The log of the process, on standard error."},
    {"shutdown", "SIGTERM and SIGINT."},
    {NULL, NULL},
};

static const struct rt_option_table table = {
    .options = rows,
    .count = sizeof(rows) / sizeof(rows[0]),
    .item_size = sizeof(struct rt_config),
    .sections = sections,
};

const struct rt_option_table *rt_options(void)
{
    return &table;
}
