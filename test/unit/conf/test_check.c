/* What no option can say alone: addresses, paths, limits that contradict each other, settings without effect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "conf/check.h"
#include "unit/conf/conf_load.h"

static void test_public_addresses(void **state)
{
    (void)state;
    assert_errors(
        "http:\n  listen: [\"0.0.0.0:8000\", \"127.0.0.1:1\"]\n  internal: \"*:9\"\n",
        "f.yaml:2:12: http.listen: \"0.0.0.0:8000\" can be reached by others, and this build "
        "cannot authenticate clients: set http.insecure_public: true to accept that, or "
        "listen on 127.0.0.1\n"
        "f.yaml:3:13: http.internal: \"*:9\" can be reached by others, and this build cannot "
        "authenticate clients: set http.insecure_public: true to accept that, or listen on "
        "127.0.0.1\n");
    assert_warnings("http: {listen: [\"0.0.0.0:8000\"], internal: \"*:9\", insecure_public: true}",
                    "");
}

static void test_http_checks(void **state)
{
    (void)state;
    assert_errors(
        "http:\n"
        "  listen: [foo, \"127.0.0.1:1\", \"127.0.0.1:1\"]\n"
        "  internal: \"127.0.0.1:1\"\n"
        "  path_prefix: x/\n"
        "  trusted_proxies: [10.0.0.0/8, 10.0.0.0/33]\n"
        "origins: [\"https://a.b/c\"]\n",
        "f.yaml:2:12: http.listen: \"foo\" is no address: the port is missing: "
        "127.0.0.1:8000\n"
        "f.yaml:2:32: http.listen: \"127.0.0.1:1\" stands there twice\n"
        "f.yaml:3:13: http.internal: \"127.0.0.1:1\" is in http.listen too\n"
        "f.yaml:3:13: http.internal: \"127.0.0.1:1\" is in http.listen too\n"
        "f.yaml:4:16: http.path_prefix: got \"x/\"; allowed: a path that begins with / and "
        "does not end with it\n"
        "f.yaml:5:33: http.trusted_proxies: got \"10.0.0.0/33\"; allowed: an address, a "
        "network like 10.0.0.0/8, or unix:\n"
        "f.yaml:6:11: origins: got \"https://a.b/c\"; allowed: * or an origin like "
        "https://example.com, without a path\n");
    assert_errors("http: {listen: []}\n",
                  "f.yaml:1:16: http.listen: got an empty list; allowed: at least one address\n");
}

static void test_rate_checks(void **state)
{
    (void)state;
    assert_errors(
        "channels:\n"
        "  - {match: a, rate: {burst: 5}}\n"
        "  - {match: b, rate: {publish: 10}}\n"
        "  - {match: c, rate: {publish: 10/d, burst: -1}}\n"
        "limits: {commands: {rate: 1000/s, burst: 9}}\n",
        "f.yaml:2:30: channels[0].rate.burst: got 5; has no meaning without rate.publish\n"
        "f.yaml:3:32: channels[1].rate.publish: got \"10\"; allowed: a rate (like 10/s, 600/m, "
        "5/h) from 0 to 1000000/s\n"
        "f.yaml:4:32: channels[2].rate.publish: got \"10/d\"; allowed: a rate (like 10/s, 600/m, "
        "5/h) from 0 to 1000000/s\n"
        "f.yaml:4:45: channels[2].rate.burst: got \"-1\"; allowed: a whole number from 0 to "
        "1000000\n"
        "f.yaml:5:42: limits.commands.burst: got 9; allowed with this rate: at least 10, what "
        "comes in a hundredth of a second\n");
    assert_errors("limits: {commands: {burst: 9}}\n",
                  "f.yaml:1:28: limits.commands.burst: got 9; has no meaning without "
                  "limits.commands.rate\n");
    assert_warnings("limits: {commands: {rate: 1000/s, burst: 10}}\n"
                    "channels: [{match: a, subscribe: anyone, rate: {publish: 1/h, burst: 1}}]\n",
                    "");
}

static void test_socketio_checks(void **state)
{
    (void)state;
    assert_errors(
        "protocols:\n"
        "  socketio:\n"
        "    path: x\n"
        "    ping_interval: 0\n"
        "    transports: []\n"
        "    cors: {origins: [foo], methods: [GET, 'P OST']}\n"
        "    cookie: a b\n"
        "    cookie_attributes: [Path=/, 'a=b', 'Secure; x', secure, 'Domain=', Httponly]\n"
        "socketio: {namespaces: [chat]}\n",
        "f.yaml:3:11: protocols.socketio.path: got \"x\"; allowed: a path that begins with /, "
        "without {, }, ?, # and spaces\n"
        "f.yaml:4:20: protocols.socketio.ping_interval: got \"0\"; allowed: a duration (like "
        "250ms, 5s, 10m, 1h, 30d) from 1ms to 1d\n"
        "f.yaml:5:17: protocols.socketio.transports: got an empty list; allowed: a list of "
        "polling, websocket\n"
        "f.yaml:6:22: protocols.socketio.cors.origins: got \"foo\"; allowed: * or an origin "
        "like https://example.com, without a path\n"
        "f.yaml:6:43: protocols.socketio.cors.methods: \"P OST\" is no name of a method\n"
        "f.yaml:7:13: protocols.socketio.cookie: \"a b\" is no name for a cookie\n"
        "f.yaml:8:33: protocols.socketio.cookie_attributes: got \"a=b\"; allowed: Path=, Domain=, "
        "Max-Age=, SameSite= and Priority= with a value, Secure, HttpOnly, Partitioned\n"
        "f.yaml:8:40: protocols.socketio.cookie_attributes: got \"Secure; x\"; allowed: Path=, Domain=, "
        "Max-Age=, SameSite= and Priority= with a value, Secure, HttpOnly, Partitioned\n"
        "f.yaml:8:61: protocols.socketio.cookie_attributes: got \"Domain=\"; allowed: Path=, Domain=, "
        "Max-Age=, SameSite= and Priority= with a value, Secure, HttpOnly, Partitioned\n"
        "f.yaml:9:25: socketio.namespaces: got \"chat\"; allowed: globs that begin with / or "
        "*\n");
    assert_errors(
        "protocols: {socketio: {transports: [polling, websockt]}}\n",
        "f.yaml:1:46: protocols.socketio.transports: got \"websockt\"; allowed: a list of "
        "polling, websocket; did you mean websocket?\n");
    assert_warnings(
        "protocols:\n"
        "  socketio: {enforce_origin: true}\n" /* this host's own pages are let in */
        "  raw: [{path: /e/, protocol: engineio, cors: {origins: \"*\", credentials: true}}]\n",
        "f.yaml:3:75: protocols.raw[0].cors.credentials: browsers refuse credentials with "
        "the origin *: list the origins\n");
    assert_warnings(
        "protocols:\n"
        "  socketio: {allow_eio3: true, cors: {origins: [\"http://a\"]}}\n"
        "  raw:\n"
        "    - {path: /a/, protocol: engineio, allow_eio3: true}\n"
        "    - {path: /b/, protocol: engineio, allow_eio3: true, transports: [websocket], "
        "cors: {origins: [\"http://a\"]}}\n"
        "    - {path: /c/, protocol: engineio, allow_eio3: true, "
        "cors: {origins: [\"http://a\"], credentials: true}}\n"
        "    - {path: /d/, allow_eio3: true}\n",
        "f.yaml:2:26: protocols.socketio.allow_eio3: pages of other origins send credentials with "
        "these clients, unless they say `withCredentials: false`: list them in cors.origins, and "
        "set cors.credentials\n"
        "f.yaml:7:31: protocols.raw[3].allow_eio3: has no effect with protocol websocket\n");
}

static void test_raw_checks(void **state)
{
    (void)state;
    assert_errors(
        "protocols:\n"
        "  raw:\n"
        "    - {path: x}\n"
        "    - {path: \"/{channel}x\", channel: \"{foo}\"}\n"
        "    - {path: \"/{channel}/{channel}\"}\n"
        "    - {path: \"/a?b\"}\n"
        "    - {path: /a, channel: \"{channel}\"}\n"
        "    - {path: /a}\n"
        "    - {path: /socket.io/}\n"
        "    - {path: \"/e/{channel}\", protocol: engineio}\n"
        "    - {protocol: mqtt}\n",
        "f.yaml:3:14: protocols.raw[0].path: got \"x\"; it must begin with /\n"
        "f.yaml:4:14: protocols.raw[1].path: got \"/{channel}x\"; {channel} must be a whole "
        "segment\n"
        "f.yaml:4:38: protocols.raw[1].channel: got \"{foo}\"; only {channel} and {sid} may "
        "stand in it\n"
        "f.yaml:5:14: protocols.raw[2].path: got \"/{channel}/{channel}\"; only one {channel} "
        "may stand in it, and no other { or }\n"
        "f.yaml:6:14: protocols.raw[3].path: got \"/a?b\"; it may not hold ?, # or spaces\n"
        "f.yaml:7:27: protocols.raw[4].channel: got \"{channel}\"; the path has no "
        "{channel}\n"
        "f.yaml:8:14: protocols.raw[5].path: \"/a\" is the path of protocols.raw[4] too\n"
        "f.yaml:9:14: protocols.raw[6].path: \"/socket.io/\" is protocols.socketio.path too\n"
        "f.yaml:10:14: protocols.raw[7].path: got \"/e/{channel}\"; with {channel} and "
        "protocol engineio it must end with /\n"
        "f.yaml:11:7: protocols.raw[8].path is missing\n"
        "f.yaml:11:18: protocols.raw[8].protocol: got \"mqtt\"; allowed: one of websocket, "
        "engineio\n");
    /* Without a slash at its end Engine.IO is served with one as well. */
    assert_errors(
        "protocols:\n"
        "  socketio: {path: /socket.io}\n"
        "  raw:\n"
        "    - {path: /socket.io/, protocol: engineio}\n"
        "    - {path: /e, protocol: engineio}\n"
        "    - {path: /e/, protocol: engineio}\n"
        "    - {path: /f/, protocol: engineio}\n"
        "    - {path: /f}\n"
        "    - {path: /api, protocol: engineio}\n",
        "f.yaml:4:14: protocols.raw[0].path: \"/socket.io/\" is protocols.socketio.path "
        "too\n"
        "f.yaml:6:14: protocols.raw[2].path: \"/e/\" is the path of protocols.raw[1] too\n"
        "f.yaml:9:14: protocols.raw[5].path: \"/api\" is a path of the broker's own "
        "(health, metrics, API, demo page); allowed: another one\n");
    assert_warnings(
        "protocols:\n"
        "  raw:\n"
        "    - {path: /a, max_payload: 1kB, cors: {max_age: 1s}}\n"
        "    - {path: /b, publish: false, subscribe: false}\n"
        "    - {path: /c, max_message: 1001kB}\n"
        "    - {path: /d, max_message: 1MB}\n",
        "f.yaml:3:31: protocols.raw[0].max_payload: has no effect with protocol "
        "websocket\n"
        "f.yaml:3:42: protocols.raw[0].cors: has no effect with protocol websocket\n"
        "f.yaml:4:7: protocols.raw[1]: with publish and subscribe false it does nothing\n"
        "f.yaml:5:31: protocols.raw[2].max_message: larger than limits.message: what is "
        "over that is taken, but not published\n");
    /* Where Socket.IO is off, its path is free. */
    assert_warnings("protocols: {socketio: {enabled: false}, raw: [{path: /socket.io/}]}\n", "");
}

static void test_channel_checks(void **state)
{
    (void)state;
    assert_warnings(
        "channels:\n"
        "  - match: a\n"
        "  - {match: b, subscribe: user, publish: user}\n"
        "  - {match: a, subscribe: anyone, history: {size: 1}}\n"
        "  - {match: \"*\", subscribe: nobody}\n"
        "  - {match: c, log: true, subscribe: anyone, history: {size: 1}}\n",
        "f.yaml:2:5: channels[0].subscribe: user (the default): without authentication "
        "nobody is a user, so every client is refused; anyone would let them in\n"
        "f.yaml:3:27: channels[1].subscribe: user: without authentication nobody is a user, "
        "so every client is refused; anyone would let them in\n"
        "f.yaml:3:42: channels[1].publish: user: without authentication nobody is a user, "
        "so every client is refused; subscriber or anyone would let them in\n"
        "f.yaml:4:13: channels[2].match: never reached, channels[0] matches the same before "
        "it\n"
        "f.yaml:4:44: channels[2].history: has no effect with log: false\n"
        "f.yaml:6:13: channels[4].match: never reached, channels[3] matches the same before "
        "it\n");
}

static void test_cluster_checks(void **state)
{
    (void)state;
    assert_errors("redis: {url: \"redis://h\"}\n"
                  "channels:\n"
                  "  - {match: a, log: false, subscribe: anyone, publish: anyone}\n"
                  "  - {match: b, log: true, subscribe: anyone, publish: anyone}\n",
                  "f.yaml:4:21: channels[1].log: true with redis.url needs a log that the nodes "
                  "share: set kafka.brokers, or log: false\n");
    assert_errors("kafka: {brokers: [\"h:9092\", \"a b\", \"http://x\"]}\n"
                  "storage: {path: x.db}\n",
                  "f.yaml:1:29: kafka.brokers: got \"a b\"; allowed: HOST:PORT\n"
                  "f.yaml:1:36: kafka.brokers: got \"http://x\"; allowed: HOST:PORT\n"
                  "f.yaml:2:17: storage.path: the log is in Kafka (kafka.brokers); allowed: one of "
                  "the two\n");
    assert_errors("postgres: {url: \"host=x\"}\n",
                  "f.yaml:1:17: postgres.url: rows are made from the log in Kafka: set "
                  "kafka.brokers; without it history is kept in storage.path\n");
    assert_errors("kafka: {brokers: [\"h:9092\"]}\n"
                  "postgres: {url: \"host=x\"}\n"
                  "limits: {channel_name: 2049}\n",
                  "f.yaml:3:24: limits.channel_name: got 2049; allowed with postgres.url: at most "
                  "2048, longer names could not be stored\n");
    assert_warnings("kafka: {brokers: [\"h:9092\"]}\n",
                    "f.yaml:1:18: kafka.brokers: without redis.url other nodes get logged messages "
                    "through Kafka alone (slower), and those of channels with log: false not at "
                    "all\n");
    assert_warnings("kafka: {brokers: [\"h:9092\"]}\nredis: {url: \"redis://h\"}\n"
                    "postgres: {url: \"host=x\"}\n"
                    "channels: [{match: a, log: true, subscribe: anyone}]\n",
                    "");
}

static void test_paths_of_our_own(void **state)
{
    (void)state;
#define OWN \
    "is a path of the broker's own (health, metrics, API, demo page); allowed: another one\n"
    assert_errors("protocols:\n"
                  "  socketio: {path: /api/}\n"
                  "  raw:\n"
                  "    - {path: /metrics}\n"
                  "    - {path: \"/x/{channel}\"}\n"
                  "    - {path: \"/x/{channel}/y\", channel: z}\n",
                  "f.yaml:2:20: protocols.socketio.path: \"/api/\" " OWN
                  "f.yaml:4:14: protocols.raw[0].path: \"/metrics\" " OWN
                  "f.yaml:6:14: protocols.raw[2].path: \"/x/{channel}/y\" is the path of "
                  "protocols.raw[1] too\n");
    assert_warnings("metrics: {enabled: false}\napi: {enabled: false}\n"
                    "protocols: {raw: [{path: /metrics}, {path: /api/x}, {path: /}]}\n",
                    "");
}

/* Rules let their clients in without a permission. */
static void test_users_with_rules(void **state)
{
    (void)state;
    assert_warnings("channels: [{match: a}]\nsocketio: {events: [{do: [{join: a}]}]}\n", "");
    assert_warnings(
        "channels: [{match: a, subscribe: anyone, publish: user}]\n"
        "protocols: {raw: [{path: /r}]}\nsocketio: {on_connect: [{do: [{join: a}]}]}\n",
        "f.yaml:1:51: channels[0].publish: user: without authentication nobody is a user, "
        "so every client of protocols.raw is refused (rules of socketio need no "
        "permission); subscriber or anyone would let them in\n");
    assert_warnings(
        "channels: [{match: a}]\nprotocols: {socketio: {enabled: false}}\n"
        "socketio: {events: [{do: [{join: a}]}]}\n",
        "f.yaml:1:12: channels[0].subscribe: user (the default): without authentication "
        "nobody is a user, so every client is refused; anyone would let them in\n");
}

static void test_limit_checks(void **state)
{
    (void)state;
    assert_errors(
        "limits: {message: 2MiB, memory_log: 1MiB}\n",
        "f.yaml:1:19: limits.send_queue (1048576 bytes) may not be less than limits.message "
        "(2097152 bytes)\n"
        "f.yaml:1:37: limits.memory_log (1048576 bytes) may not be less than limits.message "
        "(2097152 bytes)\n");
    assert_warnings("limits: {message: 1MiB, memory_log: 1MiB}\n", "");
    assert_warnings("limits: {receive_memory: 2MiB}\n", "");
    assert_warnings("protocols: {socketio: {max_payload: 2MiB}}\n"
                    "limits: {receive_memory: 2MiB}\n",
                    "f.yaml:1:37: protocols.socketio.max_payload (2097152 bytes): more than half "
                    "of limits.receive_memory (2097152 bytes): what is so large is cut off in the "
                    "middle\n");
}

/* What a configuration allows never exceeds what messages, records and this process can hold. */
static void test_ranges_of_formats(void **state)
{
    (void)state;
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_add_c(&text, "protocols: {socketio: {max_attachments: 65}}\n"
                        "limits: {channel_name: 4097}\n"
                        "http:\n"
                        "  internal: 127.0.0.1:1\n"
                        "  listen: [");
    for (int i = 0; i < 64; i++)
        rt_buf_printf(&text, "%s'127.0.0.1:%d'", i ? ", " : "", 2000 + i);
    rt_buf_add_c(&text, "]\n");
    rt_buf_add_byte(&text, 0);
    struct loaded l = load((const char *)text.data);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(
        &l.errors, "f.yaml:1:41: protocols.socketio.max_attachments: got \"65\"; allowed: a whole "
                   "number from 0 to 64\n"
                   "f.yaml:2:24: limits.channel_name: got \"4097\"; allowed: a whole number from 1 "
                   "to 4096\n"
                   "f.yaml:5:11: http.listen: 65 addresses with http.internal, allowed are 64\n");
    unload(&l);
    rt_buf_deinit(&text);
}

static int refuse_one(const struct rt_check *check)
{
    const struct rt_node *events = check->config->socketio.events;
    if (events == NULL || events->count == 0)
        return 0;
    rt_conf_error(check->errors, rt_check_place(check, "socketio.events.%d", 0), "refused");
    return RT_EINVAL;
}

static int without_memory(const struct rt_check *check)
{
    (void)check;
    return RT_ENOMEM;
}

/* `channels` twice: an error of the second one; what looks at the items must not take them for those of the first. */
static void test_channels_twice(void **state)
{
    (void)state;
    assert_errors("channels:\nchannels: [{match: a}]\n",
                  "f.yaml:2:1: key \"channels\" stands here a second time, first on line 1\n");
    assert_errors("channels: a\nchannels: [{match: a}, {match: b}]\n",
                  "f.yaml:1:11: channels: got \"a\"; allowed: a list of sections\n"
                  "f.yaml:2:1: key \"channels\" stands here a second time, first on line 1\n");
}

/* What another module finds comes in the same list, at its place. */
static void test_further_check(void **state)
{
    (void)state;
    struct rt_config_args args = {.check = refuse_one};
    struct loaded l =
        load_with("log: {lvel: x}\nsocketio: {events: [1]}\nlimits: {message: x}\n", &args);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(&l.errors,
                    "f.yaml:1:7: unknown key \"lvel\" in log; did you mean level?; known: "
                    "level, format\n"
                    "f.yaml:2:21: refused\n"
                    "f.yaml:3:19: limits.message: got \"x\"; allowed: a size (like 512, "
                    "64KiB, 1MB, 2GiB) from 1B to 256MiB\n");
    unload(&l);
    l = load_with("socketio: {events: [1]}\n", &args);
    assert_int_equal(l.code, RT_EINVAL);
    assert_reported(&l.errors, "f.yaml:1:21: refused\n");
    unload(&l);
    l = load_with("socketio: {events: []}\n", &args);
    assert_loaded(&l);
    unload(&l);
    args.check = without_memory;
    l = load_with("", &args);
    assert_int_equal(l.code, RT_ENOMEM);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_public_addresses),  cmocka_unit_test(test_http_checks),
        cmocka_unit_test(test_rate_checks),       cmocka_unit_test(test_socketio_checks),
        cmocka_unit_test(test_raw_checks),        cmocka_unit_test(test_channel_checks),
        cmocka_unit_test(test_cluster_checks),    cmocka_unit_test(test_limit_checks),
        cmocka_unit_test(test_ranges_of_formats), cmocka_unit_test(test_paths_of_our_own),
        cmocka_unit_test(test_users_with_rules),  cmocka_unit_test(test_further_check),
        cmocka_unit_test(test_channels_twice),
    };
    return cmocka_run_group_tests_name("conf/check", tests, NULL, NULL);
}
