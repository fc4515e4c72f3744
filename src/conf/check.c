#include "conf/check.h"

#include "conf/address.h"
#include "conf/record_template.h"
#include "conf/tree.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    PATH_CAP = 96,
    HOUR_HUNDREDTHS = 360000, /* hundredths of a second */
};

const struct rt_mark *rt_check_place(const struct rt_check *c, const char *path, ...)
{
    char text[PATH_CAP];
    va_list args;
    va_start(args, path);
    vsnprintf(text, sizeof(text), path, args);
    va_end(args);
    return rt_tree_place(c->root, rt_str_c(text));
}

__attribute__((format(printf, 2, 3))) static bool is_set(const struct rt_check *c, const char *path,
                                                         ...)
{
    char text[PATH_CAP];
    va_list args;
    va_start(args, path);
    vsnprintf(text, sizeof(text), path, args);
    va_end(args);
    const struct rt_node *node = rt_tree_at(c->root, rt_str_c(text));
    return node != NULL && !rt_node_is_null(node);
}

static bool has_char(const char *text, char c)
{
    return strchr(text, c) != NULL;
}

/* ---- http ---- */

static void check_address(const struct rt_check *c, const struct rt_mark *mark, const char *path,
                          const char *text)
{
    struct rt_address address;
    struct rt_err err;
    if (rt_address_parse(rt_str_c(text), &address, &err) != 0) {
        rt_conf_error(c->errors, mark, "%s: \"%.80s\" is no address: %s", path, text, err.text);
        return;
    }
    if (!address.loopback && !c->config->http.insecure_public)
        rt_conf_error(c->errors, mark,
                      "%s: \"%.80s\" can be reached by others, and this build cannot authenticate "
                      "clients: set http.insecure_public: true to accept that, or listen on "
                      "127.0.0.1",
                      path, text);
}

static void check_listeners(const struct rt_check *c)
{
    const struct rt_strings *listen = &c->config->http.listen;
    const char *internal = c->config->http.internal;
    if (listen->count == 0)
        rt_conf_error(c->errors, rt_check_place(c, "http.listen"),
                      "http.listen: got an empty list; allowed: at least one address");
    for (size_t i = 0; i < listen->count; i++) {
        const struct rt_mark *mark = rt_check_place(c, "http.listen.%zu", i);
        check_address(c, mark, "http.listen", listen->items[i]);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(listen->items[i], listen->items[j]) == 0)
                rt_conf_error(c->errors, mark, "http.listen: \"%.80s\" stands there twice",
                              listen->items[i]);
        }
        if (strcmp(listen->items[i], internal) == 0)
            rt_conf_error(c->errors, rt_check_place(c, "http.internal"),
                          "http.internal: \"%.80s\" is in http.listen too", internal);
    }
    if (*internal != '\0')
        check_address(c, rt_check_place(c, "http.internal"), "http.internal", internal);
    size_t count = listen->count + (*internal != '\0');
    if (count > RT_CONF_LISTENERS)
        rt_conf_error(c->errors, rt_check_place(c, "http.listen"),
                      "http.listen: %zu addresses with http.internal, allowed are %u", count,
                      RT_CONF_LISTENERS);
}

static void check_http(const struct rt_check *c)
{
    const char *prefix = c->config->http.path_prefix;
    size_t len = strlen(prefix);
    check_listeners(c);
    if (len > 0 && (prefix[0] != '/' || prefix[len - 1] == '/'))
        rt_conf_error(
            c->errors, rt_check_place(c, "http.path_prefix"),
            "http.path_prefix: got \"%.80s\"; allowed: a path that begins with / and does "
            "not end with it",
            prefix);
    const struct rt_strings *proxies = &c->config->http.trusted_proxies;
    for (size_t i = 0; i < proxies->count; i++) {
        if (!rt_address_is_proxy(rt_str_c(proxies->items[i])))
            rt_conf_error(
                c->errors, rt_check_place(c, "http.trusted_proxies.%zu", i),
                "http.trusted_proxies: got \"%.80s\"; allowed: an address, a network like "
                "10.0.0.0/8, or unix:",
                proxies->items[i]);
    }
}

static void check_origins(const struct rt_check *c, const char *path,
                          const struct rt_strings *origins)
{
    for (size_t i = 0; i < origins->count; i++) {
        if (!rt_address_is_origin(rt_str_c(origins->items[i])))
            rt_conf_error(c->errors, rt_check_place(c, "%s.%zu", path, i),
                          "%s: got \"%.80s\"; allowed: * or an origin like https://example.com, "
                          "without a path",
                          path, origins->items[i]);
    }
}

/* ---- protocols ---- */

/* RFC 6265: a token. */
static bool is_token(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c <= 0x20 || c >= 0x7f || has_char("()<>@,;:\\\"/[]?={}", *text))
            return false;
    }
    return true;
}

/* RFC 6265, 4.1.1, and what browsers have added since. */
static bool is_cookie_attribute(const char *text)
{
    static const char *const valued[] = {
        "Path=", "Domain=", "Max-Age=", "SameSite=", "Priority=", NULL};
    static const char *const flags[] = {"Secure", "HttpOnly", "Partitioned", NULL};
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p <= 0x20 || *p == ';' || (unsigned char)*p >= 0x7f)
            return false;
    for (const char *const *name = flags; *name != NULL; name++)
        if (rt_str_eq_nocase(rt_str_c(text), rt_str_c(*name)))
            return true;
    const char *value = strchr(text, '=');
    size_t len = value != NULL ? (size_t)(value - text) + 1 : 0;
    for (const char *const *name = valued; len > 0 && *name != NULL; name++)
        if (value[1] != '\0' && rt_str_eq_nocase(rt_str_of(text, len), rt_str_c(*name)))
            return true;
    return false;
}

static void check_cookie(const struct rt_check *c, const char *where, const char *shown,
                         const struct rt_engineio_config *engine)
{
    const struct rt_strings *attributes = &engine->cookie_attributes;
    if (!is_token(engine->cookie))
        rt_conf_error(c->errors, rt_check_place(c, "%s.cookie", where),
                      "%s.cookie: \"%.80s\" is no name for a cookie", shown, engine->cookie);
    for (size_t i = 0; i < attributes->count; i++) {
        if (!is_cookie_attribute(attributes->items[i]))
            rt_conf_error(c->errors, rt_check_place(c, "%s.cookie_attributes.%zu", where, i),
                          "%s.cookie_attributes: got \"%.80s\"; allowed: Path=, Domain=, Max-Age=, "
                          "SameSite= and Priority= with a value, Secure, HttpOnly, Partitioned",
                          shown, attributes->items[i]);
    }
}

static void check_engine(const struct rt_check *c, const char *where, const char *shown,
                         const struct rt_engineio_config *engine)
{
    char origins[PATH_CAP];
    snprintf(origins, sizeof(origins), "%s.cors.origins", where);
    check_origins(c, origins, &engine->cors_origins);
    check_cookie(c, where, shown, engine);
    for (size_t i = 0; i < engine->cors_methods.count; i++) {
        const char *method = engine->cors_methods.items[i];
        if (!is_token(method))
            rt_conf_error(c->errors, rt_check_place(c, "%s.cors.methods.%zu", where, i),
                          "%s.cors.methods: \"%.80s\" is no name of a method", shown, method);
    }
    bool any = engine->cors_origins.count == 1 && strcmp(engine->cors_origins.items[0], "*") == 0;
    if (engine->cors_credentials && any)
        rt_conf_error(
            c->warnings, rt_check_place(c, "%s.cors.credentials", where),
            "%s.cors.credentials: browsers refuse credentials with the origin *: list the "
            "origins",
            shown);
    if (engine->allow_eio3 && engine->polling && engine->cors_origins.count > 0 &&
        (any || !engine->cors_credentials))
        rt_conf_error(
            c->warnings, rt_check_place(c, "%s.allow_eio3", where),
            "%s.allow_eio3: pages of other origins send credentials with these clients, "
            "unless they say `withCredentials: false`: list them in cors.origins, and set "
            "cors.credentials",
            shown);
}

/* Paths that the broker serves itself, the HTTP API among them. */
static bool is_own_path(const struct rt_config *config, const char *path)
{
    return strcmp(path, "/healthz") == 0 || (config->api.enabled && strcmp(path, "/api") == 0) ||
           strcmp(path, "/readyz") == 0 ||
           (config->metrics.enabled && strcmp(path, "/metrics") == 0) ||
           (config->api.enabled && strncmp(path, "/api/", 5) == 0) ||
           (config->dev && strcmp(path, "/") == 0);
}

static void check_own_path(const struct rt_check *c, const struct rt_mark *mark, const char *shown,
                           const char *path)
{
    if (is_own_path(c->config, path))
        rt_conf_error(
            c->errors, mark,
            "%s.path: \"%.80s\" is a path of the broker's own (health, metrics, API, demo "
            "page); allowed: another one",
            shown, path);
}

/* The length without a slash at the end. */
static size_t stem_of(const char *path)
{
    size_t len = strlen(path);
    return len > 1 && path[len - 1] == '/' ? len - 1 : len;
}

/* Engine.IO: served with a slash at its end as well. */
static bool is_both(const char *path, bool engineio)
{
    return engineio && path[stem_of(path)] == '\0' && strcmp(path, "/") != 0;
}

static bool same_path(const char *a, bool a_engineio, const char *b, bool b_engineio)
{
    if (!is_both(a, a_engineio) && !is_both(b, b_engineio))
        return strcmp(a, b) == 0;
    return stem_of(a) == stem_of(b) && strncmp(a, b, stem_of(a)) == 0;
}

static void check_socketio(const struct rt_check *c)
{
    const struct rt_socketio_config *sio = &c->config->socketio;
    check_engine(c, "protocols.socketio", "protocols.socketio", &sio->engine);
    if (sio->path[0] != '/' || strpbrk(sio->path, "{}?# ") != NULL)
        rt_conf_error(
            c->errors, rt_check_place(c, "protocols.socketio.path"),
            "protocols.socketio.path: got \"%.80s\"; allowed: a path that begins with /, without "
            "{, }, ?, # and spaces",
            sio->path);
    if (sio->enabled)
        check_own_path(c, rt_check_place(c, "protocols.socketio.path"), "protocols.socketio",
                       sio->path);
    for (size_t i = 0; i < sio->namespaces.count; i++) {
        const char *name = sio->namespaces.items[i];
        if (name[0] != '/' && name[0] != '*')
            rt_conf_error(
                c->errors, rt_check_place(c, "socketio.namespaces.%zu", i),
                "socketio.namespaces: got \"%.80s\"; allowed: globs that begin with / or *", name);
    }
}

/* Says what is wrong with the path of a raw endpoint; NULL: nothing. */
static const char *fault_of_path(const char *path, bool engineio)
{
    static const char placeholder[] = "{channel}";
    if (path[0] != '/')
        return "it must begin with /";
    if (strpbrk(path, "?# ") != NULL)
        return "it may not hold ?, # or spaces";
    const char *at = strstr(path, placeholder);
    const char *behind = at != NULL ? at + strlen(placeholder) : path;
    if (at != NULL && (at[-1] != '/' || (*behind != '\0' && *behind != '/')))
        return "{channel} must be a whole segment";
    for (const char *p = path; *p != '\0'; p++) {
        if ((*p == '{' || *p == '}') && (at == NULL || p < at || p >= behind))
            return "only one {channel} may stand in it, and no other { or }";
    }
    if (engineio && at != NULL && path[strlen(path) - 1] != '/')
        return "with {channel} and protocol engineio it must end with /";
    return NULL;
}

/* Texts of the channel: {channel} and {sid}, as far as they are known. */
static const char *fault_of_channel(const struct rt_raw_config *raw)
{
    bool has_channel = strstr(raw->path, "{channel}") != NULL;
    const char *open = raw->channel;
    while ((open = strchr(open, '{')) != NULL) {
        bool sid = strncmp(open, "{sid}", 5) == 0;
        bool channel = strncmp(open, "{channel}", 9) == 0;
        if (!sid && !channel)
            return "only {channel} and {sid} may stand in it";
        if (channel && !has_channel)
            return "the path has no {channel}";
        open++;
    }
    return NULL;
}

/* Requests are told apart by what stands before {channel}. */
static bool same_route(const struct rt_raw_config *x, const struct rt_raw_config *y)
{
    const char *a = x->path, *b = y->path;
    const char *end_a = strstr(a, "{channel}"), *end_b = strstr(b, "{channel}");
    if ((end_a == NULL) != (end_b == NULL))
        return false;
    if (end_a == NULL)
        return same_path(a, x->protocol == RT_RAW_ENGINEIO, b, y->protocol == RT_RAW_ENGINEIO);
    return end_a - a == end_b - b && strncmp(a, b, (size_t)(end_a - a)) == 0;
}

/* A buffer is up to twice as large as what is in it. */
static void check_fits_receive(const struct rt_check *c, uint64_t largest, const char *path)
{
    uint64_t memory = c->config->limits.receive_memory;
    if (largest > memory / 2)
        rt_conf_error(c->warnings, rt_check_place(c, "%s", path),
                      "%s (%llu bytes): more than half of limits.receive_memory (%llu bytes): what "
                      "is so large is cut off in the middle",
                      path, (unsigned long long)largest, (unsigned long long)memory);
}

static void check_raw_limits(const struct rt_check *c, size_t i, const struct rt_raw_config *raw)
{
    if (raw->publish && raw->max_message > c->config->limits.message &&
        is_set(c, "protocols.raw.%zu.max_message", i))
        rt_conf_error(
            c->warnings, rt_check_place(c, "protocols.raw.%zu.max_message", i),
            "protocols.raw[%zu].max_message: larger than limits.message: what is over that "
            "is taken, but not published",
            i);
    char path[64];
    (void)snprintf(path, sizeof(path), "protocols.raw.%zu.max_message", i);
    if (raw->protocol == RT_RAW_WEBSOCKET)
        check_fits_receive(c, raw->max_message, path);
    if (!raw->publish && !raw->subscribe)
        rt_conf_error(c->warnings, rt_check_place(c, "protocols.raw.%zu", i),
                      "protocols.raw[%zu]: with publish and subscribe false it does nothing", i);
    static const char *const engine_options[] = {
        "upgrade_timeout",   "max_payload", "transports",     "upgrades", "allow_eio3",
        "handshake_delay",   "packet_gap",  "enforce_origin", "cookie",   "cors",
        "cookie_attributes", NULL};
    for (const char *const *name = engine_options;
         raw->protocol != RT_RAW_ENGINEIO && *name != NULL; name++) {
        if (is_set(c, "protocols.raw.%zu.%s", i, *name))
            rt_conf_error(c->warnings, rt_check_place(c, "protocols.raw.%zu.%s", i, *name),
                          "protocols.raw[%zu].%s: has no effect with protocol websocket", i, *name);
    }
}

/* Does something else have the path of this endpoint? */
static void check_taken(const struct rt_check *c, size_t i, const struct rt_mark *mark)
{
    const char *path = c->config->raw[i].path;
    char shown[PATH_CAP];
    snprintf(shown, sizeof(shown), "protocols.raw[%zu]", i);
    check_own_path(c, mark, shown, path);
    if (c->config->socketio.enabled &&
        same_path(path, c->config->raw[i].protocol == RT_RAW_ENGINEIO, c->config->socketio.path,
                  true))
        rt_conf_error(c->errors, mark, "%s.path: \"%.80s\" is protocols.socketio.path too", shown,
                      path);
    for (size_t j = 0; j < i; j++) {
        if (same_route(&c->config->raw[i], &c->config->raw[j]))
            rt_conf_error(c->errors, mark,
                          "%s.path: \"%.80s\" is the path of protocols.raw[%zu] too", shown, path,
                          j);
    }
}

static void check_raw(const struct rt_check *c, size_t i)
{
    const struct rt_raw_config *raw = &c->config->raw[i];
    char where[PATH_CAP], shown[PATH_CAP];
    snprintf(where, sizeof(where), "protocols.raw.%zu", i);
    snprintf(shown, sizeof(shown), "protocols.raw[%zu]", i);
    check_engine(c, where, shown, &raw->engine);
    check_raw_limits(c, i, raw);
    if (raw->path[0] == '\0')
        return; /* reported as missing */
    const char *fault = fault_of_path(raw->path, raw->protocol == RT_RAW_ENGINEIO);
    if (fault != NULL)
        rt_conf_error(c->errors, rt_check_place(c, "%s.path", where), "%s.path: got \"%.80s\"; %s",
                      shown, raw->path, fault);
    else
        check_taken(c, i, rt_check_place(c, "%s.path", where));
    fault = fault_of_channel(raw);
    if (fault != NULL)
        rt_conf_error(c->errors, rt_check_place(c, "%s.channel", where),
                      "%s.channel: got \"%.80s\"; %s", shown, raw->channel, fault);
}

/* ---- channels, keys, limits ---- */

/* Is it `user` because that was written, or because nothing was? (Not because what was written is an error, such as a second `channels`.) */
static bool is_user(const struct rt_check *c, size_t i, const char *key, bool by_default)
{
    const struct rt_node *channels = rt_tree_at(c->root, RT_STR("channels"));
    if (channels == NULL || channels->kind != RT_NODE_LIST || i >= channels->count)
        return false;
    const struct rt_node *item = channels->items[i];
    const struct rt_node *node = rt_node_get(item, key);
    if (node == NULL || rt_node_is_null(node))
        return by_default && item->kind == RT_NODE_MAP;
    return rt_str_eq(node->text, RT_STR("user"));
}

static bool has_rules(const struct rt_node *list)
{
    return list != NULL && list->kind == RT_NODE_LIST && list->count > 0;
}

/* Whom `user` keeps out: rules of `socketio` need no permission. NULL: nobody. */
static const char *who_is_refused(const struct rt_config *config)
{
    const struct rt_socketio_config *sio = &config->socketio;
    if (!sio->enabled || !(has_rules(sio->on_connect) || has_rules(sio->events)))
        return "every client is refused";
    return config->raw_count > 0
               ? "every client of protocols.raw is refused (rules of socketio need no permission)"
               : NULL;
}

static void warn_of_user(const struct rt_check *c, size_t i)
{
    const char *who = who_is_refused(c->config);
    if (who == NULL)
        return;
    if (is_user(c, i, "subscribe", true))
        rt_conf_error(
            c->warnings, rt_check_place(c, "channels.%zu.subscribe", i),
            "channels[%zu].subscribe: user%s: without authentication nobody is a user, so "
            "%s; anyone would let them in",
            i, is_set(c, "channels.%zu.subscribe", i) ? "" : " (the default)", who);
    if (is_user(c, i, "publish", false))
        rt_conf_error(c->warnings, rt_check_place(c, "channels.%zu.publish", i),
                      "channels[%zu].publish: user: without authentication nobody is a user, so "
                      "%s; subscriber or anyone would let them in",
                      i, who);
}

static void check_rate(const struct rt_check *c, size_t i)
{
    const struct rt_channel_rule *rule = &c->config->channels[i];
    if (rule->rate_burst > 0 && rule->rate_publish == 0)
        rt_conf_error(c->errors, rt_check_place(c, "channels.%zu.rate.burst", i),
                      "channels[%zu].rate.burst: got %u; has no meaning without rate.publish", i,
                      rule->rate_burst);
}

static void check_channel(const struct rt_check *c, size_t i)
{
    const struct rt_channel_rule *rule = &c->config->channels[i];
    warn_of_user(c, i);
    check_rate(c, i);
    if (!rule->log && is_set(c, "channels.%zu.history", i))
        rt_conf_error(c->warnings, rt_check_place(c, "channels.%zu.history", i),
                      "channels[%zu].history: has no effect with log: false", i);
    for (size_t j = 0; j < i && rule->match[0] != '\0'; j++) {
        const char *before = c->config->channels[j].match;
        if (strcmp(before, "*") != 0 && strcmp(before, rule->match) != 0)
            continue;
        rt_conf_error(
            c->warnings, rt_check_place(c, "channels.%zu.match", i),
            "channels[%zu].match: never reached, channels[%zu] matches the same before it", i, j);
        break;
    }
}

static void check_keys(const struct rt_check *c)
{
    const struct rt_api_key *keys = c->config->api.keys;
    for (size_t i = 0; i < c->config->api.key_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (keys[i].name[0] != '\0' && strcmp(keys[i].name, keys[j].name) == 0)
                rt_conf_error(c->errors, rt_check_place(c, "api.keys.%zu.name", i),
                              "api.keys[%zu].name: \"%.80s\" is the name of api.keys[%zu] too", i,
                              keys[i].name, j);
            if (keys[i].key[0] != '\0' &&
                rt_str_eq_secret(rt_str_c(keys[i].key), rt_str_c(keys[j].key)))
                rt_conf_error(c->errors, rt_check_place(c, "api.keys.%zu", i),
                              "api.keys[%zu].key: the same as that of api.keys[%zu]", i, j);
        }
    }
}

/* Who waits is looked at every hundredth of a second: less than comes meanwhile would be a lower rate than the one that was asked for. */
static void check_commands(const struct rt_check *c)
{
    uint64_t rate = c->config->limits.commands_rate, least = rate / HOUR_HUNDREDTHS;
    uint32_t burst = c->config->limits.commands_burst;
    if (burst > 0 && rate == 0)
        rt_conf_error(c->errors, rt_check_place(c, "limits.commands.burst"),
                      "limits.commands.burst: got %u; has no meaning without "
                      "limits.commands.rate",
                      burst);
    else if (burst > 0 && burst < least)
        rt_conf_error(c->errors, rt_check_place(c, "limits.commands.burst"),
                      "limits.commands.burst: got %u; allowed with this rate: at least %llu, what "
                      "comes in a hundredth of a second",
                      burst, (unsigned long long)least);
}

static void check_limits(const struct rt_check *c)
{
    uint64_t message = c->config->limits.message;
    check_commands(c);
    const struct {
        const char *path;
        uint64_t value;
    } others[] = {{"limits.send_queue", c->config->limits.send_queue},
                  {"limits.memory_log", c->config->limits.memory_log}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i].value >= message)
            continue;
        bool own = is_set(c, "%s", others[i].path);
        rt_conf_error(c->errors, rt_check_place(c, "%s", own ? others[i].path : "limits.message"),
                      "%s (%llu bytes) may not be less than limits.message (%llu bytes)",
                      others[i].path, (unsigned long long)others[i].value,
                      (unsigned long long)message);
    }
}

/* Without a shared log each node would have one of its own, and a client's history would depend on where it landed. */
static void check_shared_log(const struct rt_check *c)
{
    const struct rt_config *config = c->config;
    if (config->kafka.brokers.count > 0)
        return;
    for (size_t i = 0; i < config->channel_count; i++)
        if (config->channels[i].log)
            rt_conf_error(
                c->errors, rt_check_place(c, "channels.%zu.log", i),
                "channels[%zu].log: true with redis.url needs a log that the nodes share: "
                "set kafka.brokers, or log: false",
                i);
}

#define TOPIC "a topic: up to 249 letters, digits, ., _ and -"

/* Names that Kafka takes for topics; groups are held to the same, so that they can be labels of metrics. */
static bool is_topic(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= 249 && strcmp(text, ".") != 0 && strcmp(text, "..") != 0 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

static bool is_broker_address(const char *text)
{
    return text[0] != '\0' && strpbrk(text, ", \t/") == NULL;
}

static void check_kafka(const struct rt_check *c)
{
    const struct rt_config *config = c->config;
    for (size_t i = 0; i < config->kafka.brokers.count; i++)
        if (!is_broker_address(config->kafka.brokers.items[i]))
            rt_conf_error(c->errors, rt_check_place(c, "kafka.brokers.%zu", i),
                          "kafka.brokers: got \"%.80s\"; allowed: HOST:PORT",
                          config->kafka.brokers.items[i]);
    if (config->kafka.brokers.count > 0 && !is_topic(config->kafka.topic))
        rt_conf_error(c->errors, rt_check_place(c, "kafka.topic"),
                      "kafka.topic: got \"%.80s\"; allowed: " TOPIC, config->kafka.topic);
    if (config->kafka.brokers.count > 0 && config->storage.path[0] != '\0')
        rt_conf_error(c->errors, rt_check_place(c, "storage.path"),
                      "storage.path: the log is in Kafka (kafka.brokers); allowed: one of the two");
    if (config->postgres.url[0] != '\0' && config->kafka.brokers.count == 0)
        rt_conf_error(
            c->errors, rt_check_place(c, "postgres.url"),
            "postgres.url: rows are made from the log in Kafka: set kafka.brokers; without "
            "it history is kept in storage.path");
    /* An entry of an index holds some 2,700 bytes. */
    if (config->postgres.url[0] != '\0' && config->limits.channel_name > 2048)
        rt_conf_error(
            c->errors, rt_check_place(c, "limits.channel_name"),
            "limits.channel_name: got %u; allowed with postgres.url: at most 2048, longer "
            "names could not be stored",
            config->limits.channel_name);
    if (strlen(config->postgres.schema) > 63)
        rt_conf_error(c->errors, rt_check_place(c, "postgres.schema"),
                      "postgres.schema: has %zu bytes; allowed: at most 63",
                      strlen(config->postgres.schema));
}

/* ---- kafka.consume ---- */

static bool has_text(const struct rt_strings *strings, const char *text)
{
    for (size_t i = 0; i < strings->count; i++)
        if (strcmp(strings->items[i], text) == 0)
            return true;
    return false;
}

/* Does the section read from the cluster that the log is in? As far as the addresses tell. */
static bool is_own_cluster(const struct rt_check *c, const struct rt_consume_config *consume)
{
    const struct rt_strings *own = &c->config->kafka.brokers;
    bool same = consume->brokers.count == 0;
    for (size_t i = 0; i < consume->brokers.count; i++)
        same |= has_text(own, consume->brokers.items[i]);
    return own->count > 0 && same;
}

static void check_consume_topics(const struct rt_check *c, size_t i)
{
    static const char allowed[] = TOPIC;
    const struct rt_consume_config *consume = &c->config->kafka.consume[i];
    const char *own = is_own_cluster(c, consume) ? c->config->kafka.topic : "";
    if (consume->topics.count == 0)
        rt_conf_error(c->errors, rt_check_place(c, "kafka.consume.%zu.topics", i),
                      "kafka.consume[%zu].topics: got an empty list; allowed: at least one topic",
                      i);
    for (size_t j = 0; j < consume->topics.count; j++) {
        const char *topic = consume->topics.items[j];
        const struct rt_mark *mark = rt_check_place(c, "kafka.consume.%zu.topics.%zu", i, j);
        if (!is_topic(topic))
            rt_conf_error(c->errors, mark, "kafka.consume[%zu].topics: got \"%.80s\"; allowed: %s",
                          i, topic, allowed);
        else if (strcmp(topic, own) == 0)
            rt_conf_error(
                c->errors, mark,
                "kafka.consume[%zu].topics: \"%.80s\" is kafka.topic, the log itself: its "
                "messages are delivered anyway",
                i, topic);
    }
    const char *dead = consume->dead_letter;
    const struct rt_mark *mark = rt_check_place(c, "kafka.consume.%zu.dead_letter", i);
    if (dead[0] != '\0' && !is_topic(dead))
        rt_conf_error(c->errors, mark, "kafka.consume[%zu].dead_letter: got \"%.80s\"; allowed: %s",
                      i, dead, allowed);
    else if (dead[0] != '\0' && (has_text(&consume->topics, dead) || strcmp(dead, own) == 0))
        rt_conf_error(c->errors, mark,
                      "kafka.consume[%zu].dead_letter: \"%.80s\" is %s too; allowed: a topic of "
                      "its own",
                      i, dead, strcmp(dead, own) == 0 ? "kafka.topic" : "in topics");
}

static void check_consume_texts(const struct rt_check *c, size_t i)
{
    const struct rt_consume_config *consume = &c->config->kafka.consume[i];
    const struct {
        const char *name, *text;
    } texts[] = {{"channel", consume->channel}, {"event", consume->event}};
    for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
        const char *fault = rt_record_template_fault(rt_str_c(texts[j].text));
        if (fault != NULL)
            rt_conf_error(c->errors, rt_check_place(c, "kafka.consume.%zu.%s", i, texts[j].name),
                          "kafka.consume[%zu].%s: got \"%.80s\"; %s", i, texts[j].name,
                          texts[j].text, fault);
    }
    static const char *const raw[] = {"channel", "event", "kind", "key_header", NULL};
    for (const char *const *name = raw; consume->mode == RT_CONSUME_COMMAND && *name; name++)
        if (is_set(c, "kafka.consume.%zu.%s", i, *name))
            rt_conf_error(c->warnings, rt_check_place(c, "kafka.consume.%zu.%s", i, *name),
                          "kafka.consume[%zu].%s: has no effect with mode command", i, *name);
    if (consume->on_error == RT_CONSUME_STOP && consume->dead_letter[0] != '\0')
        rt_conf_error(c->warnings, rt_check_place(c, "kafka.consume.%zu.dead_letter", i),
                      "kafka.consume[%zu].dead_letter: has no effect with on_error stop", i);
}

static void check_consume(const struct rt_check *c, size_t i)
{
    const struct rt_config *config = c->config;
    const struct rt_consume_config *consume = &config->kafka.consume[i];
    check_consume_topics(c, i);
    check_consume_texts(c, i);
    if (!is_topic(consume->group))
        rt_conf_error(
            c->errors, rt_check_place(c, "kafka.consume.%zu.group", i),
            "kafka.consume[%zu].group: got \"%.80s\"; allowed: up to 249 letters, digits, "
            "., _ and -",
            i, consume->group);
    for (size_t j = 0; j < i; j++)
        if (strcmp(consume->group, config->kafka.consume[j].group) == 0)
            rt_conf_error(c->errors, rt_check_place(c, "kafka.consume.%zu.group", i),
                          "kafka.consume[%zu].group: \"%.80s\" is the group of kafka.consume[%zu] "
                          "too: set another one, or put the topics into one section",
                          i, consume->group, j);
    if (consume->brokers.count == 0 && config->kafka.brokers.count == 0)
        rt_conf_error(c->errors, rt_check_place(c, "kafka.consume.%zu.brokers", i),
                      "kafka.consume[%zu].brokers is missing: set it, or kafka.brokers if the log "
                      "shall be in Kafka too",
                      i);
    for (size_t j = 0; j < consume->brokers.count; j++)
        if (!is_broker_address(consume->brokers.items[j]))
            rt_conf_error(c->errors, rt_check_place(c, "kafka.consume.%zu.brokers.%zu", i, j),
                          "kafka.consume[%zu].brokers: got \"%.80s\"; allowed: HOST:PORT", i,
                          consume->brokers.items[j]);
}

/* It stands between colons in the names of keys and channels. */
static void check_cluster_name(const struct rt_check *c)
{
    const char *name = c->config->cluster.name;
    if (!is_topic(name) || strlen(name) > 64)
        rt_conf_error(c->errors, rt_check_place(c, "cluster.name"),
                      "cluster.name: got \"%.80s\"; allowed: up to 64 letters, digits, ., _ and -",
                      name);
}

static void check_redis(const struct rt_check *c)
{
    const struct rt_config *config = c->config;
    if (config->redis.url[0] == '\0') {
        if (config->kafka.brokers.count > 0)
            rt_conf_error(
                c->warnings, rt_check_place(c, "kafka.brokers"),
                "kafka.brokers: without redis.url other nodes get logged messages through "
                "Kafka alone (slower), and those of channels with log: false not at all");
        return;
    }
    if (strlen(config->redis.prefix) > 64)
        rt_conf_error(c->errors, rt_check_place(c, "redis.prefix"),
                      "redis.prefix: has %zu bytes; allowed: at most 64",
                      strlen(config->redis.prefix));
    check_cluster_name(c);
    if (config->cluster.second_secret[0] != '\0' && config->cluster.secret[0] == '\0')
        rt_conf_error(c->errors, rt_check_place(c, "cluster.second_secret"),
                      "cluster.second_secret: needs cluster.secret, beside which it is accepted");
    check_shared_log(c);
}

void rt_check_config(const struct rt_check *check)
{
    const struct rt_config *config = check->config;
    check_http(check);
    check_origins(check, "origins", &config->origins);
    check_socketio(check);
    for (size_t i = 0; i < config->raw_count; i++)
        check_raw(check, i);
    for (size_t i = 0; i < config->channel_count; i++)
        check_channel(check, i);
    check_keys(check);
    check_limits(check);
    if (config->socketio.enabled)
        check_fits_receive(check, config->socketio.engine.max_payload,
                           "protocols.socketio.max_payload");
    check_redis(check);
    check_kafka(check);
    for (size_t i = 0; i < config->kafka.consume_count; i++)
        check_consume(check, i);
}
