/* The configuration, typed: what the rest of the program reads. `options.c` holds the one table that fills it and that generates
 * environment names, `--help`, the sample file and docs/configuration.md.
 *
 * Order of precedence: flags > environment (RTBROKER_ + path in capitals, dots as underscores) > file > default.
 * Units: durations in milliseconds, sizes in bytes. Strings are NUL-terminated, never NULL ("" when unset).
 * Ownership: everything lives until rt_config_free(). Thread: written at start by the main thread, read-only afterwards. */
#ifndef RT_CONF_CONFIG_H
#define RT_CONF_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include "conf/node.h"

/* Ranges of the option table that formats and tables of other folders rest on; each of them asserts
 * that it holds as much. */
#define RT_CONF_ATTACHMENTS  64   /* binary parts of one message */
#define RT_CONF_CHANNEL_NAME 4096 /* bytes */
#define RT_CONF_NODE_NAME    64   /* bytes */
#define RT_CONF_LISTENERS    64u  /* addresses, with the internal one */

struct rt_strings {
    const char **items;
    size_t count;
};

enum rt_deliver { RT_ON_COMMIT, RT_ON_PUBLISH };
/* Who may: without authentication everybody is anonymous, and only `anyone`, `subscriber` and `nobody` can say yes. */
enum rt_allow { RT_ALLOW_NOBODY, RT_ALLOW_ANYONE, RT_ALLOW_USER, RT_ALLOW_SUBSCRIBER };
enum rt_sync { RT_SYNC_FULL, RT_SYNC_NORMAL };
enum rt_raw_protocol { RT_RAW_WEBSOCKET, RT_RAW_ENGINEIO };
enum rt_unmatched {
    RT_UNMATCHED_IGNORE,
    RT_UNMATCHED_ACK,
    RT_UNMATCHED_PUBLISH,
    RT_UNMATCHED_DISCONNECT
};

/* channels[]: first match wins; none: refused. */
struct rt_channel_rule {
    const char *match; /* glob */
    bool log;
    enum rt_deliver deliver;
    uint32_t history_size; /* messages kept in memory and served as history */
    uint64_t history_ttl;
    enum rt_allow subscribe;
    enum rt_allow publish;
    uint64_t rate_publish; /* of one client, messages an hour; 0: no limit */
    uint32_t rate_burst;   /* messages at once; 0: as many as come to a second */
};

/* Engine.IO settings, shared by protocols.socketio and by raw endpoints of protocol engineio. */
struct rt_engineio_config {
    uint64_t ping_interval, ping_timeout, upgrade_timeout;
    uint64_t connect_timeout;          /* Socket.IO: first CONNECT within */
    uint64_t max_payload;              /* bytes of one packet or polling body */
    bool polling, websocket, upgrades; /* transports offered */
    bool allow_eio3;                   /* revision 3 of the protocol, too */
    uint64_t handshake_delay;          /* wait before the open packet is answered; 0 */
    uint64_t
        packet_gap; /* least time between packets of the handshake phase, for clients that lose coalesced frames; 0 */
    struct rt_strings cors_origins; /* "*" or a list; empty: no CORS headers */
    bool cors_credentials;
    struct rt_strings cors_methods; /* of preflights; empty: no header */
    struct rt_strings cors_headers; /* allowed request headers; empty: echo what is asked */
    uint64_t cors_max_age;
    bool enforce_origin; /* refuse a request or upgrade whose Origin is not allowed, 403 */
    const char *cookie;  /* name of a session cookie for sticky balancing; "" none */
    struct rt_strings cookie_attributes;
};

struct rt_socketio_config {
    bool enabled;
    const char *path; /* begins with '/'; without one at its end it is served with and without */
    struct rt_engineio_config engine;
    uint64_t recovery;     /* how long a session can be recovered; 0 switches it off */
    bool skip_middlewares; /* recovered sessions do not pass on_connect again */
    uint32_t max_attachments;
    uint32_t max_acks;      /* answers that one socket may owe */
    const char *client_dir; /* folder with socket.io.js and its kin; "" none */
    /* section `socketio`: compiled by proto/socketio */
    struct rt_strings namespaces;
    enum rt_unmatched unmatched;
    const struct rt_node *on_connect; /* list or NULL */
    const struct rt_node *events;     /* list or NULL */
};

/* protocols.raw[] */
struct rt_raw_config {
    const char *path; /* "/raw/{channel}": one {channel} may stand for a whole segment or rest */
    const char *
        channel; /* text with {channel} and {sid}; default "{channel}", or "{sid}" when the path has no {channel} */
    enum rt_raw_protocol protocol;
    uint64_t max_message;
    bool publish;   /* what the peer sends is published to the channel; false: ignored */
    bool subscribe; /* the peer receives the channel */
    struct rt_engineio_config engine; /* protocol engineio */
};

struct rt_api_key {
    const char *name;
    const char *key;
};

/* kafka.consume[] */
enum rt_consume_mode { RT_CONSUME_PUBLISH, RT_CONSUME_COMMAND };
enum rt_consume_kind { RT_CONSUME_AUTO, RT_CONSUME_JSON, RT_CONSUME_TEXT, RT_CONSUME_BYTES };
enum rt_consume_from { RT_CONSUME_EARLIEST, RT_CONSUME_LATEST };
enum rt_consume_error { RT_CONSUME_SKIP, RT_CONSUME_STOP };

struct rt_consume_config {
    struct rt_strings topics;
    const char *group;
    enum rt_consume_mode mode;
    const char *channel; /* conf/record_template.h */
    const char *event;   /* likewise; "" none */
    enum rt_consume_kind kind;
    const char *key_header; /* "": keys are derived from the record's place */
    enum rt_consume_from from;
    enum rt_consume_error on_error;
    const char *dead_letter;   /* a topic; "" none */
    struct rt_strings brokers; /* empty: kafka.brokers, with kafka.conf */
    struct rt_strings conf;    /* "name=value" */
};

struct rt_config {
    const char *source; /* file name or "" */
    bool dev;           /* --dev, or no file at all: everything allowed, loopback only */
    struct {
        const char *name;
    } node;
    struct {
        struct rt_strings listen;
        const char *internal; /* address that takes over api, metrics, health; "" none */
        bool
            insecure_public; /* a TCP listener off loopback is accepted though nobody has to authenticate */
        const char *path_prefix;
        struct rt_strings trusted_proxies;
        struct rt_strings hosts; /* names that pages of this machine may have */
    } http;
    struct rt_strings origins;
    struct rt_socketio_config socketio;
    struct rt_raw_config *raw;
    size_t raw_count;
    struct {
        struct rt_api_key *keys;
        size_t key_count;
        bool enabled;
    } api;
    struct rt_channel_rule *channels;
    size_t channel_count;
    struct {
        const char *path; /* SQLite file; "": memory */
        enum rt_sync sync;
        uint64_t max_size;  /* bytes of the database; past it publishes get `retry` */
        uint64_t retention; /* age after which rows go; 0: never */
        uint64_t idempotency_window;
    } storage;
    struct {
        const char *url; /* "": one node */
        const char *prefix;
    } redis;
    struct {
        struct rt_strings brokers; /* empty: the log is local */
        const char *topic;
        uint32_t partitions; /* of a topic that is created */
        bool require_safe_topic;
        uint32_t warm;          /* records per partition read back at start */
        struct rt_strings conf; /* "name=value" for librdkafka */
        struct rt_consume_config *consume;
        size_t consume_count;
    } kafka;
    struct {
        const char *url; /* "": none */
        const char *schema;
        uint32_t batch_rows;
        uint64_t batch_linger;
        uint64_t retention; /* 0: never */
    } postgres;
    struct {
        const char *name;   /* in front of every key and channel in Redis, behind redis.prefix */
        const char *secret; /* "": envelopes between nodes have no MAC */
        const char *second_secret; /* accepted beside it; "" none */
        bool insecure;             /* without a secret though others can reach Redis */
    } cluster;
    struct {
        uint32_t connections; /* 0: derived from the descriptor limit */
        uint32_t connections_per_ip;
        uint32_t sessions_per_ip; /* over polling; 0: connections_per_ip, or a quarter of all */
        uint64_t session_memory;  /* bytes of sessions over polling */
        uint32_t channels;
        uint32_t channels_per_connection;
        uint32_t channel_name;
        uint64_t message;
        uint64_t message_timeout; /* ms from the first byte of a message to its last */
        uint64_t receive_memory;  /* bytes of messages and requests that are not whole yet */
        uint64_t send_queue;      /* bytes waiting for one connection */
        uint64_t memory_log;      /* bytes of all channels' recent messages together */
        uint64_t memory_keys;     /* bytes of idempotency keys in memory */
        uint64_t commands_rate;   /* messages of one client an hour; 0: no limit */
        uint32_t commands_burst;  /* at once; 0: as many as come to a second */
        uint64_t connect_timeout; /* first byte to complete request or upgrade */
        uint64_t idle_timeout;    /* HTTP keep-alive */
    } limits;
    struct {
        bool enabled;
    } metrics;
    struct {
        enum rt_log_level level;
        enum rt_log_format format;
    } log;
    struct {
        uint64_t drain, jitter;
    } shutdown;
    void *arena; /* internal: owns strings, arrays and the node tree */
};

struct rt_check;

struct rt_config_args {
    const char *file;    /* --config, NULL none */
    bool dev;            /* --dev */
    const char **listen; /* --listen, NULL-terminated or NULL */
    const char **set;    /* --set path=value, NULL-terminated or NULL */
    char **environ_;     /* NULL: environment is not read */
    /* What other modules know of the configuration (rules, settings of libraries, folders), so that their errors come together
     * with the others (conf/check.h). Called once, unless the file is no YAML; where options had errors, their defaults stand.
     * Returns 0 or RT_ENOMEM. NULL: nothing. */
    int (*check)(const struct rt_check *check);
};

/* Reads all sources, checks everything and returns the configuration; on RT_EINVAL `errors` holds every error found, in file
 * order. RT_EIO: the file cannot be read (one error in `errors`). RT_ENOMEM. Options without meaning in this mode get a warning in
 * `warnings`, also when the call fails. Both lists are the caller's, also after rt_config_free(). */
int rt_config_load(const struct rt_config_args *args, struct rt_config **ret_config,
                   struct rt_conf_errors *errors, struct rt_conf_errors *warnings);
/* The same with the file's text given; `name` stands for the file in messages. `args->file` is not read. */
int rt_config_load_text(const struct rt_config_args *args, struct rt_str text, const char *name,
                        struct rt_config **ret_config, struct rt_conf_errors *errors,
                        struct rt_conf_errors *warnings);
void rt_config_free(struct rt_config *config);
/* What is configured for sessions over polling of one address; 0: nothing is. */
uint32_t rt_config_sessions_per_ip(const struct rt_config *config);
/* Appends the texts with commas between them. */
void rt_strings_join(const struct rt_strings *strings, struct rt_buf *out);

/* The commented sample of `rtbroker init`. */
void rt_config_sample(struct rt_buf *out);
/* docs/configuration.md, generated. */
void rt_config_reference(struct rt_buf *out);
/* `rtbroker config --effective|--defaults|--env`: one line an option, secrets redacted, with the source of each value. */
enum rt_config_dump { RT_DUMP_EFFECTIVE, RT_DUMP_DEFAULTS, RT_DUMP_ENV };
void rt_config_dump(const struct rt_config *config, enum rt_config_dump what, struct rt_buf *out);

#endif
