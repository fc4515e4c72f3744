/* Loading: defaults, precedence of the sources, every kind of error with its place and text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "unit/conf/conf_load.h"

static void assert_list(const struct rt_strings *list, const char *const *wanted)
{
    size_t i = 0;
    for (; wanted[i] != NULL; i++) {
        assert_true(i < list->count);
        assert_string_equal(list->items[i], wanted[i]);
    }
    assert_int_equal(list->count, i);
}

static void assert_engine_defaults(const struct rt_engineio_config *engine)
{
    assert_int_equal(engine->ping_interval, 25000);
    assert_int_equal(engine->ping_timeout, 20000);
    assert_int_equal(engine->upgrade_timeout, 10000);
    assert_int_equal(engine->max_payload, 1000000);
    assert_true(engine->polling);
    assert_true(engine->websocket);
    assert_true(engine->upgrades);
    assert_int_equal(engine->handshake_delay, 0);
    assert_int_equal(engine->packet_gap, 0);
    assert_int_equal(engine->cors_origins.count, 0);
    assert_false(engine->cors_credentials);
    assert_int_equal(engine->cors_headers.count, 0);
    assert_int_equal(engine->cors_max_age, 0);
    assert_false(engine->enforce_origin);
    assert_string_equal(engine->cookie, "");
}

static void test_defaults(void **state)
{
    (void)state;
    struct loaded l = load("");
    assert_loaded(&l);
    const struct rt_config *c = l.config;
    assert_string_equal(c->source, "f.yaml");
    assert_false(c->dev);
    assert_list(&c->http.listen, (const char *[]){"127.0.0.1:8000", NULL});
    assert_list(&c->http.trusted_proxies, (const char *[]){"127.0.0.1", "::1", "unix:", NULL});
    assert_string_equal(c->http.internal, "");
    assert_string_equal(c->http.path_prefix, "");
    assert_false(c->http.insecure_public);
    assert_int_equal(c->origins.count, 0);
    assert_true(c->socketio.enabled);
    assert_string_equal(c->socketio.path, "/socket.io/");
    assert_engine_defaults(&c->socketio.engine);
    assert_int_equal(c->socketio.engine.connect_timeout, 45000);
    assert_int_equal(c->socketio.recovery, 0);
    assert_int_equal(c->socketio.max_attachments, 10);
    assert_string_equal(c->socketio.client_dir, "");
    assert_list(&c->socketio.namespaces, (const char *[]){"/", NULL});
    assert_int_equal(c->socketio.unmatched, RT_UNMATCHED_IGNORE);
    assert_null(c->socketio.on_connect);
    assert_null(c->socketio.events);
    assert_int_equal(c->raw_count, 0);
    assert_true(c->api.enabled);
    assert_int_equal(c->api.key_count, 0);
    assert_int_equal(c->channel_count, 0);
    unload(&l);
}

static void test_more_defaults(void **state)
{
    (void)state;
    struct loaded l = load("");
    assert_loaded(&l);
    const struct rt_config *c = l.config;
    assert_string_equal(c->storage.path, "");
    assert_int_equal(c->storage.sync, RT_SYNC_FULL);
    assert_int_equal(c->storage.max_size, UINT64_C(2) << 30);
    assert_int_equal(c->storage.retention, UINT64_C(30) * 86400000);
    assert_int_equal(c->storage.idempotency_window, 600000);
    assert_int_equal(c->limits.connections, 0);
    assert_int_equal(c->limits.connections_per_ip, 0);
    assert_int_equal(c->limits.channels_per_connection, 128);
    assert_int_equal(c->limits.channel_name, 255);
    assert_int_equal(c->limits.message, 1000000);
    assert_int_equal(c->limits.send_queue, 1048576);
    assert_int_equal(c->limits.memory_log, 256 << 20);
    assert_int_equal(c->limits.connect_timeout, 10000);
    assert_int_equal(c->limits.idle_timeout, 75000);
    assert_true(c->metrics.enabled);
    assert_int_equal(c->log.level, RT_LOG_INFO);
    assert_int_equal(c->log.format, RT_LOG_AUTO);
    assert_int_equal(c->shutdown.drain, 20000);
    assert_int_equal(c->shutdown.jitter, 10000);
    unload(&l);
}

static void test_everything_set(void **state)
{
    (void)state;
    struct loaded l = load(
        "http: {listen: [\"localhost:1\", \"unix:/tmp/x\"], internal: \"[::1]:2\", path_prefix: /rt,\n"
        "  trusted_proxies: [10.0.0.0/8]}\n"
        "origins: https://*.example.com\n"
        "protocols:\n"
        "  socketio: {enabled: false, path: /s/, ping_interval: 300ms, transports: [websocket],\n"
        "    recovery: 2m, cors: {origins: [\"*\"], max_age: 1h}, cookie: io}\n"
        "  raw:\n"
        "    - {path: \"/raw/{channel}\"}\n"
        "    - {path: /echo, publish: no, max_message: 16MiB}\n"
        "    - {path: \"/e/{channel}/\", protocol: engineio, channel: \"e:{channel}:{sid}\",\n"
        "       ping_timeout: 200ms, cors: {credentials: true}, max_message: 1KiB}\n"
        "channels:\n"
        "  - {match: \"a*\", log: true, deliver: on_publish, history: {size: 5, ttl: 1m},\n"
        "     subscribe: anyone, publish: nobody}\n"
        "  - {match: b, subscribe: nobody}\n"
        "socketio: {namespaces: [/, \"/x*\"], unmatched: ack, on_connect: [{do: []}], events: []}\n"
        "storage: {path: /tmp/db, sync: normal}\n"
        "limits: {connections: 5, message: 16MiB, send_queue: 32MiB}\n"
        "log: {level: off, format: json}\n");
    assert_loaded(&l);
    const struct rt_config *c = l.config;
    assert_list(&c->http.listen, (const char *[]){"localhost:1", "unix:/tmp/x", NULL});
    assert_string_equal(c->http.internal, "[::1]:2");
    assert_string_equal(c->http.path_prefix, "/rt");
    assert_list(&c->http.trusted_proxies, (const char *[]){"10.0.0.0/8", NULL});
    assert_list(&c->origins, (const char *[]){"https://*.example.com", NULL});
    assert_false(c->socketio.enabled);
    assert_string_equal(c->socketio.path, "/s/");
    assert_int_equal(c->socketio.engine.ping_interval, 300);
    assert_false(c->socketio.engine.polling);
    assert_true(c->socketio.engine.websocket);
    assert_int_equal(c->socketio.recovery, 120000);
    assert_list(&c->socketio.engine.cors_origins, (const char *[]){"*", NULL});
    assert_int_equal(c->socketio.engine.cors_max_age, 3600000);
    assert_string_equal(c->socketio.engine.cookie, "io");
    assert_int_equal(c->raw_count, 3);
    assert_string_equal(c->raw[0].path, "/raw/{channel}");
    assert_string_equal(c->raw[0].channel, "{channel}");
    assert_int_equal(c->raw[0].protocol, RT_RAW_WEBSOCKET);
    assert_int_equal(c->raw[0].max_message, 1048576);
    assert_true(c->raw[0].publish && c->raw[0].subscribe);
    assert_engine_defaults(&c->raw[0].engine);
    assert_string_equal(c->raw[1].channel, "{sid}");
    assert_false(c->raw[1].publish);
    assert_int_equal(c->raw[2].protocol, RT_RAW_ENGINEIO);
    assert_string_equal(c->raw[2].channel, "e:{channel}:{sid}");
    assert_int_equal(c->raw[2].engine.ping_timeout, 200);
    assert_true(c->raw[2].engine.cors_credentials);
    assert_int_equal(c->channel_count, 2);
    assert_string_equal(c->channels[0].match, "a*");
    assert_true(c->channels[0].log);
    assert_int_equal(c->channels[0].deliver, RT_ON_PUBLISH);
    assert_int_equal(c->channels[0].history_size, 5);
    assert_int_equal(c->channels[0].history_ttl, 60000);
    assert_int_equal(c->channels[0].subscribe, RT_ALLOW_ANYONE);
    assert_int_equal(c->channels[0].publish, RT_ALLOW_NOBODY);
    assert_false(c->channels[1].log);
    assert_int_equal(c->channels[1].history_size, 100);
    assert_int_equal(c->channels[1].history_ttl, 86400000);
    assert_int_equal(c->channels[1].subscribe, RT_ALLOW_NOBODY);
    assert_int_equal(c->channels[1].publish, RT_ALLOW_SUBSCRIBER);
    assert_list(&c->socketio.namespaces, (const char *[]){"/", "/x*", NULL});
    assert_int_equal(c->socketio.unmatched, RT_UNMATCHED_ACK);
    assert_int_equal(c->socketio.on_connect->count, 1);
    assert_int_equal(c->socketio.on_connect->items[0]->mark.line, 16);
    assert_int_equal(c->socketio.events->count, 0);
    assert_string_equal(c->storage.path, "/tmp/db");
    assert_int_equal(c->storage.sync, RT_SYNC_NORMAL);
    assert_int_equal(c->limits.connections, 5);
    assert_int_equal(c->log.level, RT_LOG_OFF);
    assert_int_equal(c->log.format, RT_LOG_JSON);
    unload(&l);
}

/* Nothing written is nothing set. */
static void test_null_is_default(void **state)
{
    (void)state;
    struct loaded l = load("http:\n"
                           "origins:\n"
                           "protocols: {socketio: {path: , cors: ~}, raw: null}\n"
                           "channels:\n"
                           "limits: {message: null}\n");
    assert_loaded(&l);
    assert_string_equal(l.config->socketio.path, "/socket.io/");
    assert_int_equal(l.config->limits.message, 1000000);
    assert_int_equal(l.config->channel_count, 0);
    unload(&l);
}

static void test_json_file(void **state)
{
    (void)state;
    struct loaded l =
        load("{\n\t\"http\": {\"listen\": [\"[::1]:9\"]},\n"
             "\t\"protocols\":{\"socketio\":{\"ping_interval\":\"1s\",\"enabled\":true}},\n"
             "\t\"channels\": [{\"match\":\"*\",\"log\":true,\"subscribe\":\"anyone\","
             "\"history\":{\"size\":7}}]\n}\n");
    assert_loaded(&l);
    assert_list(&l.config->http.listen, (const char *[]){"[::1]:9", NULL});
    assert_int_equal(l.config->socketio.engine.ping_interval, 1000);
    assert_int_equal(l.config->channels[0].history_size, 7);
    unload(&l);
}

/* ---- sources ---- */

static void test_precedence(void **state)
{
    (void)state;
    char *environ_[] = {"RTBROKER_LOG_LEVEL=error", "RTBROKER_LIMITS_MESSAGE=3KiB", "OTHER=1",
                        NULL};
    const char *set[] = {"log.level=debug", NULL};
    struct rt_config_args args = {.environ_ = environ_, .set = set};
    struct loaded l = load_with("log: {level: warn, format: json}\n"
                                "limits: {message: 2KiB, channel_name: 9}\n",
                                &args);
    assert_loaded(&l);
    assert_int_equal(l.config->log.level, RT_LOG_DEBUG);
    assert_int_equal(l.config->limits.message, 3072);
    assert_int_equal(l.config->limits.channel_name, 9);
    assert_int_equal(l.config->limits.send_queue, 1048576);
    unload(&l);
    args.set = NULL;
    l = load_with("log: {level: warn}", &args);
    assert_loaded(&l);
    assert_int_equal(l.config->log.level, RT_LOG_ERROR);
    unload(&l);
    args.environ_ = NULL;
    l = load_with("log: {level: warn}", &args);
    assert_loaded(&l);
    assert_int_equal(l.config->log.level, RT_LOG_WARN);
    unload(&l);
}

/* What a higher source replaces is not looked at: it has no effect. */
static void test_replaced_errors(void **state)
{
    (void)state;
    const char *set[] = {"log.level=info", NULL};
    struct rt_config_args args = {.set = set};
    struct loaded l = load_with("log: {level: nonsense}", &args);
    assert_loaded(&l);
    unload(&l);
}

static void test_environment_values(void **state)
{
    (void)state;
    char *environ_[] = {
        "RTBROKER_HTTP_LISTEN=[::1]:1, 127.0.0.1:2 ,unix:/x",
        "RTBROKER_ORIGINS=[\"https://a\", 'https://b']",
        "RTBROKER_HTTP_TRUSTED_PROXIES=",
        "RTBROKER_PROTOCOLS_SOCKETIO_TRANSPORTS=polling",
        "RTBROKER_PROTOCOLS_SOCKETIO_CLIENT_DIR=/a${B}: # [c",
        "RTBROKER_STORAGE_PATH=null",
        "RTBROKER_METRICS_ENABLED=off",
        "RTBROKER_LIMITS_CONNECTIONS=7",
        "RTBROKER_CHANNELS=[{match: \"${MATCH}\", subscribe: anyone}, {\"match\":\"b\",\"subscribe\":\"nobody\"}]",
        "RTBROKER_SOCKETIO_EVENTS=[{event: x, do: [{drop: true}]}]",
        "RTBROKER_SOCKETIO_ON_CONNECT=",
        "RTBROKER_AUTH_ANONYMOUS=false",
        "RTBROKER_REDIS_URL=",
        "RTBROKER_KAFKA_BROKERS=[]",
        "MATCH=m*",
        NULL,
    };
    struct rt_config_args args = {.environ_ = environ_};
    struct loaded l = load_with("", &args);
    assert_loaded(&l);
    assert_reported(&l.warnings, "");
    const struct rt_config *c = l.config;
    assert_list(&c->http.listen, (const char *[]){"[::1]:1", "127.0.0.1:2", "unix:/x", NULL});
    assert_list(&c->origins, (const char *[]){"https://a", "https://b", NULL});
    assert_int_equal(c->http.trusted_proxies.count, 0);
    assert_true(c->socketio.engine.polling);
    assert_false(c->socketio.engine.websocket);
    assert_string_equal(c->socketio.client_dir, "/a${B}: # [c");
    assert_string_equal(c->storage.path, "null");
    assert_false(c->metrics.enabled);
    assert_int_equal(c->limits.connections, 7);
    assert_int_equal(c->channel_count, 2);
    assert_string_equal(c->channels[0].match, "m*");
    assert_string_equal(c->channels[1].match, "b");
    assert_int_equal(c->socketio.events->count, 1);
    assert_int_equal(c->socketio.on_connect->count, 0);
    unload(&l);
}

static void test_environment_errors(void **state)
{
    (void)state;
    char *environ_[] = {"RTBROKER_LOG_LEVEL=loud",
                        "RTBROKER_LIMITS_CONNECTIONS=",
                        "RTBROKER_CHANNELS=[{match: a, lgo: true, subscribe: anyone}]",
                        "RTBROKER_ORIGINS=[a b",
                        "RTBROKER_HTTP_LISTEN=[::1]",
                        "RTBROKER_AUTH_ANONYMOUS=true",
                        "RTBROKER_AUTH_ISSUER=[a]",
                        "RTBROKER_LOG_LEVLE=info",
                        "RTBROKER_PORT=tcp://10.0.0.1:80",
                        NULL};
    struct rt_config_args args = {.environ_ = environ_};
    struct loaded l = load_with("log: {format: xml}", &args);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(
        &l.errors,
        "f.yaml:1:15: log.format: got \"xml\"; allowed: one of auto, text, json\n"
        "environment RTBROKER_HTTP_LISTEN, character 2: not valid YAML: did not find expected node "
        "content while parsing a flow node; hint: inside [...] an IPv6 address must be quoted, as in "
        "[\"::1\"] or [\"[::1]:8000\"]\n"
        "environment RTBROKER_LOG_LEVEL: log.level: got \"loud\"; allowed: one of debug, info, warn, "
        "error, off\n"
        "environment RTBROKER_AUTH_ANONYMOUS: auth.anonymous: not available in this build: remove it, "
        "so that nothing is believed to be in force that is not\n"
        "environment RTBROKER_AUTH_ISSUER, character 1: auth.issuer: not available in this build: remove "
        "it, so that nothing is believed to be in force that is not\n"
        "environment RTBROKER_CHANNELS, character 13: unknown key \"lgo\" in channels[0]; did you mean "
        "log?; known: match, log, deliver, history, subscribe, publish, rate\n"
        "environment RTBROKER_LIMITS_CONNECTIONS: limits.connections: got \"\"; allowed: a whole "
        "number from 0 to 10000000\n"
        "environment RTBROKER_ORIGINS: origins: got \"[a b\"; allowed: * or an origin like "
        "https://example.com, without a path\n");
    assert_reported(&l.warnings,
                    "environment RTBROKER_LOG_LEVLE: names no option and is ignored; did you mean "
                    "RTBROKER_LOG_LEVEL?\n"
                    "environment RTBROKER_PORT: names no option and is ignored\n");
    unload(&l);
}

static void test_set(void **state)
{
    (void)state;
    const char *set[] = {"protocols.raw=[{path: /echo}]",
                         "channels.0.log=false",
                         "channels.1.match=b",
                         "channels.1.history.size=3",
                         "channels.1.subscribe=anyone",
                         "http.path_prefix=/a=b",
                         "limits.message=1KiB",
                         "limits.message=2KiB",
                         "api.keys=[{name: a, key: b}]",
                         "api.keys.0.name=c",
                         NULL};
    struct rt_config_args args = {.set = set};
    struct loaded l = load_with("channels: [{match: a, log: true, subscribe: anyone}]", &args);
    assert_loaded(&l);
    const struct rt_config *c = l.config;
    assert_int_equal(c->raw_count, 1);
    assert_string_equal(c->raw[0].path, "/echo");
    assert_int_equal(c->channel_count, 2);
    assert_false(c->channels[0].log);
    assert_string_equal(c->channels[0].match, "a");
    assert_string_equal(c->channels[1].match, "b");
    assert_int_equal(c->channels[1].history_size, 3);
    assert_string_equal(c->http.path_prefix, "/a=b");
    assert_int_equal(c->limits.message, 2048);
    assert_string_equal(c->api.keys[0].name, "c");
    unload(&l);
}

static void test_set_errors(void **state)
{
    (void)state;
    const char *set[] = {"foo=1",
                         "http.lisen=x",
                         "http=1",
                         "log.level",
                         "log.format=xml",
                         "channels.2.match=x",
                         "channels.x.log=true",
                         "channels.0=x",
                         "channels.0.lgo=true",
                         "protocols.raw=[{path: /raw/{channel}}]",
                         "auth.issuer=x",
                         "=1",
                         NULL};
    struct rt_config_args args = {.set = set};
    struct loaded l = load_with("", &args);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(
        &l.errors,
        "--set foo: unknown option\n"
        "--set http.lisen: unknown option; did you mean http.listen?\n"
        "--set http: is a section: set one of its options\n"
        "--set log.level: has no value; allowed: path=value\n"
        "--set channels.x.log: unknown option\n"
        "--set channels.0: unknown option; did you mean channels?\n"

        "--set protocols.raw, character 14: not valid YAML: did not find expected ',' or '}' while "
        "parsing a flow mapping; hint: text that holds { or } must be quoted, as in "
        "\"/raw/{channel}\"\n"
        "--set : unknown option\n"
        "--set channels.2.match: there is no such item; lists can grow by one at their end\n"
        "--set channels.0.lgo: unknown option\n"
        "--set log.format: log.format: got \"xml\"; allowed: one of auto, text, json\n"
        "--set auth.issuer: auth.issuer: not available in this build: remove it, so that nothing is "
        "believed to be in force that is not\n");
    unload(&l);
}

static void test_listen_flag(void **state)
{
    (void)state;
    const char *listen[] = {"127.0.0.1:3000", "[::1]:3000", NULL};
    const char *set[] = {"http.listen=127.0.0.1:1", NULL};
    struct rt_config_args args = {.listen = listen, .set = set};
    struct loaded l = load_with("http: {listen: [\"127.0.0.1:8000\"]}", &args);
    assert_loaded(&l);
    assert_list(&l.config->http.listen, (const char *[]){"127.0.0.1:3000", "[::1]:3000", NULL});
    unload(&l);
    listen[0] = "3000";
    listen[1] = NULL;
    l = load_with("", &args);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(&l.errors,
                    "--listen: http.listen: \"3000\" is no address: the port is missing: "
                    "127.0.0.1:8000\n");
    unload(&l);
}

static void test_node_name(void **state)
{
    (void)state;
    char *environ_[] = {"HOSTNAME=web-1.example.com", NULL};
    struct rt_config_args args = {.environ_ = environ_};
    struct loaded l = load_with("", &args);
    assert_loaded(&l);
    assert_string_equal(l.config->node.name, "web-1-example-com");
    assert_reported(&l.warnings, "");
    unload(&l);
    l = load_with("node: {name: \"${HOSTNAME}/é\"}", &args);
    assert_loaded(&l);
    assert_string_equal(l.config->node.name, "web-1-example-com---");
    assert_reported(&l.warnings, "f.yaml:1:14: node.name: \"web-1.example.com/é\" is used as "
                                 "web-1-example-com---: letters, digits, _ and -, at most 64\n");
    unload(&l);
    l = load_with("node: {name: n_1}", &args);
    assert_loaded(&l);
    assert_string_equal(l.config->node.name, "n_1");
    unload(&l);
    char host[256] = "";
    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    l = load("");
    assert_loaded(&l);
    assert_true(strlen(l.config->node.name) > 0);
    assert_int_equal(strlen(l.config->node.name), strlen(host) < 64 ? strlen(host) : 64);
    unload(&l);
}

/* ---- demo profile ---- */

static bool has_rule(const struct rt_node *rules, const char *event)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (strcmp(rt_node_get(rules->items[i], "event")->text.ptr, event) == 0)
            return true;
    }
    return false;
}

static void test_dev(void **state)
{
    (void)state;
    struct rt_config_args args = {.dev = true};
    struct loaded l = load_with(NULL, &args);
    assert_loaded(&l);
    assert_reported(&l.warnings, "");
    const struct rt_config *c = l.config;
    assert_string_equal(c->source, "");
    assert_true(c->dev);
    static const char *const pages[] = {"http://localhost:*",  "http://127.0.0.1:*",
                                        "http://[::1]:*",      "http://localhost",
                                        "https://localhost:*", NULL};
    assert_list(&c->origins, pages);
    /* Whatever comes before it, the last rule lets in all that is left. */
    const struct rt_channel_rule *last = &c->channels[c->channel_count - 1];
    assert_string_equal(last->match, "*");
    assert_true(last->log);
    assert_int_equal(last->subscribe, RT_ALLOW_ANYONE);
    assert_int_equal(last->publish, RT_ALLOW_ANYONE);
    assert_int_equal(c->raw_count, 1);
    assert_string_equal(c->raw[0].path, "/raw/{channel}");
    assert_list(&c->socketio.engine.cors_origins, pages);
    assert_true(c->socketio.engine.enforce_origin);
    assert_list(&c->socketio.namespaces, (const char *[]){"/", NULL});
    static const char *const events[] = {"join", "chat", "event:message"};
    for (size_t i = 0; i < 3; i++)
        assert_true(has_rule(c->socketio.events, events[i]));
    unload(&l);
}

static void test_no_file_is_dev(void **state)
{
    (void)state;
    struct rt_config_args args = {.dev = false};
    struct loaded l = load_with(NULL, &args);
    assert_loaded(&l);
    assert_true(l.config->dev);
    assert_true(l.config->channel_count > 0);
    assert_reported(
        &l.warnings,
        "no --config: everything is allowed, on loopback, as with --dev; `rtbroker init` "
        "prints a file to start from\n");
    unload(&l);
}

/* Each part of the profile gives way as a whole. */
static void test_dev_with_own(void **state)
{
    (void)state;
    const char *set[] = {"channels.0.history.size=7", NULL};
    struct rt_config_args args = {.dev = true, .set = set};
    struct loaded l = load_with("socketio: {unmatched: publish}\nprotocols: {raw: []}\n", &args);
    assert_loaded(&l);
    assert_true(l.config->dev);
    assert_null(l.config->socketio.events);
    assert_int_equal(l.config->socketio.unmatched, RT_UNMATCHED_PUBLISH);
    assert_int_equal(l.config->raw_count, 0);
    assert_true(l.config->channel_count > 0);
    assert_int_equal(l.config->channels[0].history_size, 7);
    unload(&l);

    const char *own[] = {"channels=[{match: x, subscribe: anyone}]",
                         "socketio.events=[{event: a, do: []}]", NULL};
    args.set = own;
    l = load_with(NULL, &args);
    assert_loaded(&l);
    assert_int_equal(l.config->channel_count, 1);
    assert_string_equal(l.config->channels[0].match, "x");
    assert_int_equal(l.config->socketio.events->count, 1);
    unload(&l);

    const char *listen[] = {"0.0.0.0:8000", NULL};
    args = (struct rt_config_args){.dev = true, .listen = listen};
    l = load_with(NULL, &args);
    assert_int_equal(l.code, RT_EINVAL);
    unload(&l);
}

/* ---- errors of values ---- */

static void test_all_errors_at_once(void **state)
{
    (void)state;
    assert_errors(
        "log:\n"
        "  level: verbose\n"
        "  fromat: json\n"
        "limits: {connections: -1, channel_name: \"5\", message: 64 KiB, send_queue: 5,\n"
        "  idle_timeout: 25, channels_per_connection: 1.5, connections_per_ip: many}\n"
        "metrics: {enabled: \"true\"}\n"
        "shutdown: [1]\n"
        "htp: {}\n"
        "storage: {path: {a: b}, sync: [full], max_size: 1KiB}\n"
        "origins: {a: b}\n"
        "http: {trusted_proxies: [[a]], listen: [\"\"]}\n",
        "f.yaml:2:10: log.level: got \"verbose\"; allowed: one of debug, info, warn, error, "
        "off\n"
        "f.yaml:3:3: unknown key \"fromat\" in log; did you mean format?; known: level, "
        "format\n"
        "f.yaml:4:23: limits.connections: got \"-1\"; allowed: a whole number from 0 to "
        "10000000\n"
        "f.yaml:4:41: limits.channel_name: got \"5\"; allowed: a whole number from 1 to 4096; "
        "written in quotes it is text\n"
        "f.yaml:4:55: limits.message: got \"64 KiB\"; allowed: a size (like 512, 64KiB, 1MB, "
        "2GiB) from 1B to 256MiB\n"
        "f.yaml:4:75: limits.send_queue: got \"5\"; allowed: a size (like 512, 64KiB, 1MB, "
        "2GiB) from 4KiB to 1GiB\n"
        "f.yaml:5:17: limits.idle_timeout: got \"25\"; allowed: a duration (like 250ms, 5s, "
        "10m, 1h, 30d) from 1ms to 1d\n"
        "f.yaml:5:46: limits.channels_per_connection: got \"1.5\"; allowed: a whole number "
        "from 1 to 1000000\n"
        "f.yaml:5:71: limits.connections_per_ip: got \"many\"; allowed: a whole number from 0 "
        "to 10000000\n"
        "f.yaml:6:20: metrics.enabled: got \"true\"; allowed: true or false; written in quotes "
        "it is text\n"
        "f.yaml:7:11: shutdown: got a list; allowed: a section (a map of options)\n"
        "f.yaml:8:1: unknown key \"htp\"; did you mean http?; known: node, http, origins, "
        "protocols, api, channels, socketio, storage, redis, kafka, postgres, cluster, limits, metrics, log, shutdown\n"
        "f.yaml:9:17: storage.path: got a map; allowed: text\n"
        "f.yaml:9:31: storage.sync: got a list; allowed: one of full, normal\n"
        "f.yaml:9:49: storage.max_size: got \"1KiB\"; allowed: a size (like 512, 64KiB, 1MB, "
        "2GiB) from 1MiB to 16TiB\n"
        "f.yaml:10:10: origins: got a map; allowed: a list of texts\n"
        "f.yaml:11:26: http.trusted_proxies: got a list; allowed: a list of texts\n"
        "f.yaml:11:41: http.listen: got \"\"; allowed: a list of texts\n");
}

static void test_unknown_keys(void **state)
{
    (void)state;
    assert_errors(
        "http: {lisen: 1, zzz: 2, Path-Prefix: /x}\n",
        "f.yaml:1:8: unknown key \"lisen\" in http; did you mean listen?; known: listen, "
        "internal, insecure_public, path_prefix, trusted_proxies, hosts\n"
        "f.yaml:1:18: unknown key \"zzz\" in http; known: listen, internal, insecure_public, "
        "path_prefix, trusted_proxies, hosts\n"
        "f.yaml:1:26: unknown key \"Path-Prefix\" in http; did you mean path_prefix?; known: "
        "listen, internal, insecure_public, path_prefix, trusted_proxies, hosts\n");
    /* A long list of what is known helps nobody. */
    assert_errors("protocols: {socketio: {pong: 1}}\n",
                  "f.yaml:1:24: unknown key \"pong\" in protocols.socketio\n");
    assert_errors(
        "http.listen: [a]\n",
        "f.yaml:1:1: unknown key \"http.listen\"; write a section for each dot, indented; "
        "known: node, http, origins, protocols, api, channels, socketio, storage, redis, kafka, postgres, cluster, limits, "
        "metrics, log, shutdown\n");
    assert_errors(
        "channels: [{match: a, subscribe: anyone, history: {sise: 1}}]\n",
        "f.yaml:1:52: unknown key \"sise\" in channels[0].history; did you mean size?; known: "
        "size, ttl\n");
    assert_errors(
        "\"\": 1\n",
        "f.yaml:1:1: unknown key \"\"; known: node, http, origins, protocols, "
        "api, channels, socketio, storage, redis, kafka, postgres, cluster, limits, metrics, log, "
        "shutdown\n");
    assert_errors(
        "postgres: {ulr: x}\n",
        "f.yaml:1:12: unknown key \"ulr\" in postgres; did you mean url?; known: url, url_file, "
        "schema, batch, retention\n");
}

static void test_whole_file_errors(void **state)
{
    (void)state;
    assert_errors("[1]\n", "f.yaml:1:1: got a list; allowed: a map of sections\n");
    assert_errors("text\n", "f.yaml:1:1: got a string; allowed: a map of sections\n");
    /* A syntax error comes alone: what else would be said about an empty file is not. */
    assert_errors(
        "http: {listen: [\"0.0.0.0:1\"]\n",
        "f.yaml:2:1: not valid YAML: did not find expected ',' or '}' while parsing a flow "
        "mapping that begins on line 1\n");
    assert_errors("node: {name: ${NOPE}}\n",
                  "f.yaml:1:14: the environment variable NOPE is not set; ${NOPE:-x} would give a "
                  "default\n");
}

static void test_sections(void **state)
{
    (void)state;
    assert_errors("channels: {match: a}\n",
                  "f.yaml:1:11: channels: got a map; allowed: a list of sections\n");
    assert_errors(
        "channels: [5, {log: true, subscribe: anyone}, ~, {match: \"\", subscribe: nobody}]\n",
        "f.yaml:1:12: channels[0]: got \"5\"; allowed: a section (a map of options)\n"
        "f.yaml:1:15: channels[1].match is missing\n"
        "f.yaml:1:47: channels[2]: got nothing; allowed: a section\n"
        "f.yaml:1:58: channels[3].match: got \"\"; allowed: text, not empty\n");
    assert_errors(
        "socketio: {events: {a: b}, on_connect: x, unmatched: drop}\n",
        "f.yaml:1:20: socketio.events: got a map; allowed: a list of rules\n"
        "f.yaml:1:40: socketio.on_connect: got \"x\"; allowed: a list of rules\n"
        "f.yaml:1:54: socketio.unmatched: got \"drop\"; allowed: one of ignore, ack, publish, "
        "disconnect\n");
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_add_c(&text, "channels:\n");
    for (int i = 0; i < 1001; i++)
        rt_buf_add_c(&text, "- {match: a}\n");
    assert_errors(rt_buf_cstr(&text),
                  "f.yaml:2:1: channels: got 1001 items; allowed: at most 1000\n");
    rt_buf_deinit(&text);
}

#define ABSENT                                                                                      \
    ": not available in this build: remove it, so that nothing is believed to be in force that is " \
    "not\n"

static void test_absent_options(void **state)
{
    (void)state;
    assert_errors(
        "auth: {anonymous: true, jwks: {url: https://x, refresh: 5m}}\n"
        "protocols: {centrifuge: {enabled: true}}\n"
        "http: {tls: {cert_file: /x}, proxy_protocol: true}\n"
        "channels:\n"
        "  - {match: a, presence: true, subscribe: token, publish: hook}\n",
        "f.yaml:1:19: auth.anonymous" ABSENT "f.yaml:1:37: auth.jwks.url" ABSENT
        "f.yaml:2:35: protocols.centrifuge.enabled" ABSENT "f.yaml:3:25: http.tls.cert_file" ABSENT
        "f.yaml:3:46: http.proxy_protocol" ABSENT "f.yaml:5:26: channels[0].presence" ABSENT
        "f.yaml:5:43: channels[0].subscribe: got \"token\"; allowed: one of anyone, user, "
        "nobody; token is not available in this build\n"
        "f.yaml:5:59: channels[0].publish: got \"hook\"; allowed: one of anyone, user, "
        "subscriber, nobody; hook is not available in this build\n");
    assert_warnings(
        "auth: {anonymous: false, hmac_secret_file: \"\", jwks: {url: \"\", refresh: 5m}}\n"
        "redis: {url: \"\", prefix: \"rtb:\"}\n"
        "kafka: {brokers: [], topic: rtbroker, partitions: 16, conf: {}, consume: []}\n"
        "postgres: {url: \"\", schema: rtbroker, batch: {rows: 1000, linger: 20ms}}\n"
        "protocols: {centrifuge: {enabled: false, path: /connection/websocket}}\n"
        "cluster:\n"
        "channels: [{match: a, presence: false, join_leave: no, subscribe: anyone}]\n",
        "");
}

static void test_pairs(void **state)
{
    (void)state;
    const char *set[] = {"kafka.conf=linger.ms=5, sasl.password = a=b", NULL};
    struct rt_config_args args = {.set = set};
    struct loaded l = load_with("kafka: {conf: {acks: all}}\n", &args);
    assert_int_equal(l.code, 0);
    assert_int_equal(l.config->kafka.conf.count, 2);
    assert_string_equal(l.config->kafka.conf.items[0], "linger.ms=5");
    assert_string_equal(l.config->kafka.conf.items[1], "sasl.password= a=b");
    unload(&l);

    l = load("kafka: {conf: {linger.ms: 5, sasl.password: \"x y\"}}\n");
    assert_int_equal(l.code, 0);
    assert_int_equal(l.config->kafka.conf.count, 2);
    assert_string_equal(l.config->kafka.conf.items[0], "linger.ms=5");
    assert_string_equal(l.config->kafka.conf.items[1], "sasl.password=x y");
    struct rt_buf dump = RT_BUF_INIT;
    rt_config_dump(l.config, RT_DUMP_EFFECTIVE, &dump);
    assert_non_null(memmem(dump.data, dump.len, "kafka.conf = {\"linger.ms\": \"5\", ", 32));
    assert_null(memmem(dump.data, dump.len, "x y", 3));
    rt_buf_deinit(&dump);
    unload(&l);

    assert_errors("kafka: {conf: {a: [b], \"\": c}}\n",
                  "f.yaml:1:19: kafka.conf: got a list; allowed: a map of texts (name: value)\n");
    assert_errors("kafka: {conf: {a=b: c}}\n",
                  "f.yaml:1:21: kafka.conf: got \"c\"; allowed: a map of texts (name: value)\n");
    assert_errors(
        "kafka: {conf: linger.ms}\n",
        "f.yaml:1:15: kafka.conf: got \"linger.ms\"; allowed: a map of texts (name: value)\n");
}

/* ---- files ---- */

/* A file that exists during one test. */
struct file {
    char path[64];
};

static struct file write_file(const char *text, mode_t mode)
{
    struct file f = {"/tmp/rt-conf-XXXXXX"};
    int fd = mkstemp(f.path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return f;
}

static struct loaded load_file(const char *path)
{
    struct rt_config_args args = {.file = path};
    struct loaded l = {.config = NULL};
    l.code = rt_config_load(&args, &l.config, &l.errors, &l.warnings);
    return l;
}

static void test_file(void **state)
{
    (void)state;
    struct file f = write_file("log: {level: warn, x: 1}\n", 0600);
    struct loaded l = load_file(f.path);
    struct rt_buf wanted = RT_BUF_INIT;
    rt_buf_printf(&wanted, "%s:1:20: unknown key \"x\" in log; known: level, format\n", f.path);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(&l.errors, rt_buf_cstr(&wanted));
    unload(&l);
    unlink(f.path);
    rt_buf_deinit(&wanted);

    f = write_file("log: {level: warn}\n", 0600);
    l = load_file(f.path);
    assert_loaded(&l);
    assert_string_equal(l.config->source, f.path);
    assert_false(l.config->dev);
    unload(&l);
    unlink(f.path);
}

static void test_unreadable_files(void **state)
{
    (void)state;
    struct loaded l = load_file("/nonexistent/rtbroker.yaml");
    assert_int_equal(l.code, RT_EIO);
    assert_reported(&l.errors,
                    "cannot read /nonexistent/rtbroker.yaml: No such file or directory\n");
    unload(&l);
    l = load_file("/tmp");
    assert_int_equal(l.code, RT_EIO);
    assert_reported(&l.errors, "cannot read /tmp: Is a directory\n");
    unload(&l);
    l = load_file("/dev/zero");
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(&l.errors, "/dev/zero:1:1: longer than 1048576 bytes\n");
    unload(&l);
}

static void test_secrets(void **state)
{
    (void)state;
    struct file good = write_file("  s3cret \n\n", 0600), empty = write_file(" \n", 0600);
    struct rt_buf text = RT_BUF_INIT, wanted = RT_BUF_INIT;
    rt_buf_printf(&text, "api: {keys: [{name: a, key_file: %s}, {name: b, key: inline}]}\n",
                  good.path);
    struct loaded l = load(rt_buf_cstr(&text));
    assert_loaded(&l);
    assert_string_equal(l.config->api.keys[0].key, "s3cret");
    assert_string_equal(l.config->api.keys[1].key, "inline");
    unload(&l);

    rt_buf_clear(&text);
    rt_buf_printf(&text,
                  "api:\n  keys:\n"
                  "    - {name: a, key: x, key_file: %s}\n"
                  "    - {name: a, key: s3cret}\n"
                  "    - {name: b, key_file: %s}\n"
                  "    - {name: c, key_file: /nonexistent}\n"
                  "    - {name: d}\n"
                  "    - {name: e, key: [x]}\n"
                  "    - {name: f, key_file: {}}\n"
                  "    - {name: g, key: \"\"}\n",
                  good.path, empty.path);
    rt_buf_printf(
        &wanted,
        "f.yaml:3:35: api.keys[0].key and api.keys[0].key_file are both set: remove one of "
        "them\n"
        "f.yaml:4:7: api.keys[1].key: the same as that of api.keys[0]\n"
        "f.yaml:4:14: api.keys[1].name: \"a\" is the name of api.keys[0] too\n"
        "f.yaml:5:27: api.keys[2].key_file: \"%s\" is empty\n"
        "f.yaml:6:27: api.keys[3].key_file: cannot read \"/nonexistent\": No such file or "
        "directory\n"
        "f.yaml:7:7: api.keys[4].key is missing; set it or api.keys[4].key_file\n"
        "f.yaml:8:22: api.keys[5].key: got a list; allowed: a secret text, not empty\n"
        "f.yaml:9:27: api.keys[6].key_file: got a map; allowed: the name of a file\n"
        "f.yaml:10:22: api.keys[7].key: got nothing; allowed: a secret text, not empty\n",
        empty.path);
    assert_errors(rt_buf_cstr(&text), rt_buf_cstr(&wanted));
    unlink(good.path);
    unlink(empty.path);
    rt_buf_deinit(&text);
    rt_buf_deinit(&wanted);
}

static void test_world_readable_secrets(void **state)
{
    (void)state;
    static const char secret[] =
        "api: {keys: [{name: a, key: inline}, {name: b, key: \"${K:-y}\"}]}\n"
        "redis: {url: \"redis://:pw@127.0.0.1\"}\n"
        "cluster: {secret: 0123456789abcdef0123}\n"
        "postgres: {url: \"postgres://u:pw@h/db\"}\n"
        "kafka: {brokers: [\"h:1\"], conf: {sasl.password: pw, linger.ms: 5},\n"
        "        consume: [{topics: [t], conf: {ssl.key.password: pw}}]}\n";
    static const char no_secret[] = "api: {keys: [{name: a, key: \"${K:-x}\"}]}\n";
    struct file f = write_file(secret, 0604);
    struct rt_buf wanted = RT_BUF_INIT;
    static const struct {
        const char *place, *path, *instead;
    } rows[] = {{"1:29", "api.keys[0].key", "its twin that ends in _file"},
                {"2:14", "redis.url", "its twin that ends in _file"},
                {"3:19", "cluster.secret", "its twin that ends in _file"},
                {"4:17", "postgres.url", "its twin that ends in _file"},
                {"5:49", "kafka.conf", "${VAR}"},
                {"6:58", "kafka.consume[0].conf", "${VAR}"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        rt_buf_printf(&wanted,
                      "%s:%s: %s: a secret in a file that every user can read: chmod o-r, or use "
                      "%s\n",
                      f.path, rows[i].place, rows[i].path, rows[i].instead);
    struct loaded l = load_file(f.path);
    assert_loaded(&l);
    assert_reported(&l.warnings, rt_buf_cstr(&wanted));
    unload(&l);
    rt_buf_deinit(&wanted);
    assert_int_equal(chmod(f.path, 0640), 0);
    l = load_file(f.path);
    assert_loaded(&l);
    assert_reported(&l.warnings, "");
    unload(&l);
    unlink(f.path);
    f = write_file(no_secret, 0644);
    l = load_file(f.path);
    assert_loaded(&l);
    assert_reported(&l.warnings, "");
    unload(&l);
    unlink(f.path);
}

/* The other file as well, which holds nothing else. */
static void test_world_readable_secret_files(void **state)
{
    (void)state;
    struct file f = write_file("s3cret\n", 0644);
    struct rt_buf text = RT_BUF_INIT, wanted = RT_BUF_INIT;
    rt_buf_printf(&text, "cluster: {secret_file: %s}\n", f.path);
    rt_buf_printf(&wanted,
                  "f.yaml:1:24: cluster.secret_file: every user can read \"%s\": chmod o-r\n",
                  f.path);
    assert_warnings(rt_buf_cstr(&text), rt_buf_cstr(&wanted));
    assert_int_equal(chmod(f.path, 0640), 0);
    assert_warnings(rt_buf_cstr(&text), "");
    unlink(f.path);
    rt_buf_deinit(&text);
    rt_buf_deinit(&wanted);
}

/* ---- memory ---- */

/* Every allocation of ours fails once: the load says so, or had what it needed; nothing is left behind. */
static void load_without_memory(const char *yaml, const struct rt_config_args *args, int wanted)
{
    long live = rt_alloc_live();
    bool failed = true;
    unsigned long n;
    for (n = 1; failed; n++) {
        rt_alloc_fail_at(n, 0);
        struct loaded l = load_with(yaml, args);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(l.code, failed ? RT_ENOMEM : wanted);
        assert_int_equal(l.config == NULL, l.code != 0);
        unload(&l);
        assert_int_equal(rt_alloc_live(), live);
    }
    assert_true(n > 20);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    char *environ_[] = {"RTBROKER_HTTP_LISTEN=127.0.0.1:1, [::1]:1",
                        "RTBROKER_ORIGINS=[\"https://a\"]", "RTBROKER_X=y", "V=value", NULL};
    const char *set[] = {"channels.0.log=false", "protocols.raw=[{path: /x}]", NULL};
    const char *listen[] = {"127.0.0.1:3", NULL};
    struct rt_config_args args = {.dev = true, .environ_ = environ_, .set = set, .listen = listen};
    load_without_memory("api: {keys: [{name: a, key: \"${V}\"}]}\nnode: {name: a.b}\n", &args, 0);
    load_without_memory("api: {keys: [{name: a, key_file: /nonexistent}]}\nhtp: 1\n"
                        "log: {level: infoo}\nhttp: {listen: 5}\nkafka: {conf: {a: [b]}}\n",
                        &args, RT_EINVAL);
    load_without_memory("a: [", &args, RT_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_more_defaults),
        cmocka_unit_test(test_everything_set),
        cmocka_unit_test(test_null_is_default),
        cmocka_unit_test(test_json_file),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_replaced_errors),
        cmocka_unit_test(test_environment_values),
        cmocka_unit_test(test_environment_errors),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_errors),
        cmocka_unit_test(test_listen_flag),
        cmocka_unit_test(test_node_name),
        cmocka_unit_test(test_dev),
        cmocka_unit_test(test_no_file_is_dev),
        cmocka_unit_test(test_dev_with_own),
        cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_whole_file_errors),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_absent_options),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_world_readable_secrets),
        cmocka_unit_test(test_world_readable_secret_files),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("conf/config", tests, NULL, NULL);
}
