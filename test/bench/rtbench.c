#include "rtbench.h"

#include "rtbench_message.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: rtbench MODE --port LIST [options]\n"
    "modes\n"
    "  fanout    deliveries of one publisher to N subscribers, closed loop\n"
    "  latency   publish to delivery at a fixed rate, open loop\n"
    "  ingest    publishes of several clients; each is answered when it comes back\n"
    "  idle      memory and CPU of idle connections (needs --pid)\n"
    "  gap       how long each core was taken away (needs no server)\n"
    "target\n"
    "  --host A          IPv4 address (127.0.0.1)\n"
    "  --port LIST       of one server, or of several that the clients go to in turn\n"
    "  --protocol P      raw (plain WebSocket) or sio (Socket.IO) (raw)\n"
    "  --path PATH       (/raw/bench; sio: /socket.io/?EIO=4&transport=websocket);\n"
    "                    $I in it is the client's number\n"
    "  --publish T       what is sent, $M is the message (raw: $M;\n"
    "                    sio: 42[\"event:message\",{\"message\":\"$M\"}])\n"
    "  --no-echo         the publisher does not receive what it publishes\n"
    "  --pid N           the server's process: CPU time and memory\n"
    "  --main-thread     CPU time of its main thread alone: the loop of rtbroker\n"
    "load\n"
    "  --subscribers N   (1000)\n"
    "  --size N          bytes of a message, 26 at least (64)\n"
    "  --window N        publishes outstanding; ingest: of each sender (1)\n"
    "  --rate N          latency: publishes a second (30)\n"
    "  --sleep           latency: do not spin, others need the core\n"
    "  --senders N       ingest: clients (12)\n"
    "  --count N         ingest: publishes of all together (2000)\n"
    "  --pace N          ingest: publishes a second of all together, for --time or until\n"
    "                    SIGTERM; fanout: at most as many; 0: the next as soon as one is\n"
    "                    answered (0)\n"
    "  --probes N        latency: subscribers that are timed (32)\n"
    "  --warmup S        seconds before measuring (0.7)\n"
    "  --time S          seconds of measuring (2; gap too)\n"
    "  --verify          fanout: check --count messages at every receiver instead (2000)\n"
    "  --hold S          idle: seconds of pings (30)\n"
    "  --settle S        idle: seconds before memory is read (1)\n"
    "  --warm N          idle: connections before the first reading (100)\n"
    "  --no-message      idle: send nothing\n"
    "connecting\n"
    "  --in-flight N     handshakes at once (64)\n"
    "  --ramp N          connections a second, 0 no limit (0)\n"
    "  --sources N       spread clients over 127.0.0.2 .. (0: one address)\n"
    "output\n"
    "  --json            one line of JSON after the table\n"
    "  --cores LIST      gap: cores (0,1)\n";

enum option_id {
    OPT_HOST = 1,
    OPT_PORT,
    OPT_PROTOCOL,
    OPT_PATH,
    OPT_PUBLISH,
    OPT_NO_ECHO,
    OPT_PID,
    OPT_MAIN_THREAD,
    OPT_SUBSCRIBERS,
    OPT_SIZE,
    OPT_WINDOW,
    OPT_RATE,
    OPT_SLEEP,
    OPT_SENDERS,
    OPT_PACE,
    OPT_PROBES,
    OPT_WARMUP,
    OPT_TIME,
    OPT_VERIFY,
    OPT_COUNT,
    OPT_HOLD,
    OPT_SETTLE,
    OPT_WARM,
    OPT_NO_MESSAGE,
    OPT_IN_FLIGHT,
    OPT_RAMP,
    OPT_SOURCES,
    OPT_JSON,
    OPT_CORES,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"host", required_argument, NULL, OPT_HOST},
    {"port", required_argument, NULL, OPT_PORT},
    {"protocol", required_argument, NULL, OPT_PROTOCOL},
    {"path", required_argument, NULL, OPT_PATH},
    {"publish", required_argument, NULL, OPT_PUBLISH},
    {"no-echo", no_argument, NULL, OPT_NO_ECHO},
    {"pid", required_argument, NULL, OPT_PID},
    {"main-thread", no_argument, NULL, OPT_MAIN_THREAD},
    {"subscribers", required_argument, NULL, OPT_SUBSCRIBERS},
    {"size", required_argument, NULL, OPT_SIZE},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"rate", required_argument, NULL, OPT_RATE},
    {"sleep", no_argument, NULL, OPT_SLEEP},
    {"senders", required_argument, NULL, OPT_SENDERS},
    {"pace", required_argument, NULL, OPT_PACE},
    {"probes", required_argument, NULL, OPT_PROBES},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"time", required_argument, NULL, OPT_TIME},
    {"verify", no_argument, NULL, OPT_VERIFY},
    {"count", required_argument, NULL, OPT_COUNT},
    {"hold", required_argument, NULL, OPT_HOLD},
    {"settle", required_argument, NULL, OPT_SETTLE},
    {"warm", required_argument, NULL, OPT_WARM},
    {"no-message", no_argument, NULL, OPT_NO_MESSAGE},
    {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"ramp", required_argument, NULL, OPT_RAMP},
    {"sources", required_argument, NULL, OPT_SOURCES},
    {"json", no_argument, NULL, OPT_JSON},
    {"cores", required_argument, NULL, OPT_CORES},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static enum rt_swarm_protocol parse_protocol(const char *text)
{
    if (strcmp(text, "raw") == 0)
        return RT_SWARM_RAW;
    if (strcmp(text, "sio") == 0)
        return RT_SWARM_SOCKETIO;
    rt_bench_die(RT_BENCH_EXIT_USAGE, "--protocol %s: want raw or sio", text);
}

/* One port, or several with commas between. */
static void parse_ports(struct rt_swarm_config *target, const char *text)
{
    for (const char *p = text;; p++) {
        char one[8] = "";
        size_t len = strcspn(p, ",");
        if (len >= sizeof(one) || target->port_count == RT_SWARM_PORTS)
            rt_bench_die(RT_BENCH_EXIT_USAGE,
                         "--port %s: want at most %d ports with commas between", text,
                         RT_SWARM_PORTS);
        memcpy(one, p, len);
        target->ports[target->port_count++] = (uint16_t)rt_bench_number("port", one, 1, 65535);
        p += len;
        if (*p == '\0')
            return;
    }
}

/* Where to, and how. False when the option is not one of these. */
static bool take_target_option(struct rt_bench_options *o, int id, const char *arg)
{
    struct rt_swarm_config *t = &o->target;
    switch (id) {
    case OPT_HOST:
        t->host = arg;
        return true;
    case OPT_PORT:
        parse_ports(t, arg);
        return true;
    case OPT_PROTOCOL:
        t->protocol = parse_protocol(arg);
        return true;
    case OPT_PATH:
        t->path = arg;
        return true;
    case OPT_IN_FLIGHT:
        t->in_flight = (uint32_t)rt_bench_number("in-flight", arg, 1, 4096);
        return true;
    case OPT_RAMP:
        t->ramp = (double)rt_bench_number("ramp", arg, 0, 1000000);
        return true;
    case OPT_SOURCES:
        t->sources = (uint32_t)rt_bench_number("sources", arg, 0, 250);
        return true;
    case OPT_PUBLISH:
        o->publish = arg;
        return true;
    case OPT_NO_ECHO:
        o->echo = false;
        return true;
    case OPT_PID:
        o->pid = (pid_t)rt_bench_number("pid", arg, 1, INT32_MAX);
        return true;
    case OPT_MAIN_THREAD:
        o->main_thread = true;
        return true;
    default:
        return false;
    }
}

static bool take_idle_option(struct rt_bench_options *o, int id, const char *arg)
{
    switch (id) {
    case OPT_HOLD:
        o->hold = rt_bench_decimal("hold", arg, 0, 3600);
        return true;
    case OPT_SETTLE:
        o->settle = rt_bench_decimal("settle", arg, 0, 60);
        return true;
    case OPT_WARM:
        o->warm = (size_t)rt_bench_number("warm", arg, 1, 10000);
        return true;
    case OPT_NO_MESSAGE:
        o->message = false;
        return true;
    default:
        return false;
    }
}

static bool take_timing_option(struct rt_bench_options *o, int id, const char *arg)
{
    switch (id) {
    case OPT_RATE:
        o->rate = rt_bench_decimal("rate", arg, 0.1, 1e6);
        return true;
    case OPT_PACE:
        o->pace = rt_bench_decimal("pace", arg, 0, 1e6);
        return true;
    case OPT_PROBES:
        o->probes = (uint32_t)rt_bench_number("probes", arg, 1, 1000);
        return true;
    case OPT_SLEEP:
        o->sleep = true;
        return true;
    case OPT_WARMUP:
        o->warmup = rt_bench_decimal("warmup", arg, 0, 600);
        return true;
    case OPT_TIME:
        o->time = rt_bench_decimal("time", arg, 0.1, 3600);
        return true;
    default:
        return false;
    }
}

static bool take_load_option(struct rt_bench_options *o, int id, const char *arg)
{
    switch (id) {
    case OPT_SUBSCRIBERS:
        o->subscribers = (size_t)rt_bench_number("subscribers", arg, 1, 1000000);
        return true;
    case OPT_SIZE:
        o->size = (size_t)rt_bench_number("size", arg, RT_MESSAGE_MIN, RT_MESSAGE_MAX);
        return true;
    case OPT_WINDOW:
        o->window = (uint32_t)rt_bench_number("window", arg, 1, 65536);
        return true;
    case OPT_SENDERS:
        o->senders = (uint32_t)rt_bench_number("senders", arg, 1, 255);
        return true;
    case OPT_COUNT:
        o->count = (uint32_t)rt_bench_number("count", arg, 1, 100000000);
        return true;
    case OPT_VERIFY:
        o->verify = true;
        return true;
    case OPT_JSON:
        o->json = true;
        return true;
    case OPT_CORES:
        o->cores = arg;
        return true;
    default:
        return false;
    }
}

static void parse_options(struct rt_bench_options *o, int argc, char **argv)
{
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (id == OPT_HELP) {
            fputs(usage, stdout);
            exit(0);
        }
        if (!take_target_option(o, id, optarg) && !take_load_option(o, id, optarg) &&
            !take_timing_option(o, id, optarg) && !take_idle_option(o, id, optarg))
            rt_bench_die(RT_BENCH_EXIT_USAGE, "rtbench --help lists the options");
    }
    bool sio = o->target.protocol == RT_SWARM_SOCKETIO;
    if (o->target.path == NULL)
        o->target.path = sio ? "/socket.io/?EIO=4&transport=websocket" : "/raw/bench";
    if (o->publish == NULL)
        o->publish = sio ? "42[\"event:message\",{\"message\":\"$M\"}]" : "$M";
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct rt_bench_options *options);
        bool needs_server;
    } modes[] = {
        {"fanout", rt_bench_fanout, true}, {"latency", rt_bench_latency, true},
        {"ingest", rt_bench_ingest, true}, {"idle", rt_bench_idle, true},
        {"gap", rt_bench_gap, false},
    };
    struct rt_bench_options options = {
        .target = {.host = "127.0.0.1", .in_flight = 64},
        .subscribers = 1000,
        .size = 64,
        .window = 1,
        .echo = true,
        .warmup = 0.7,
        .time = 2,
        .count = 2000,
        .rate = 30,
        .senders = 12,
        .probes = 32,
        .hold = 30,
        .settle = 1,
        .warm = 100,
        .message = true,
        .cores = "0,1",
    };
    parse_options(&options, argc, argv);
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        return RT_BENCH_EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(argv[optind], modes[i].name) != 0)
            continue;
        if (modes[i].needs_server && options.target.port_count == 0)
            rt_bench_die(RT_BENCH_EXIT_USAGE, "%s: --port is needed", modes[i].name);
        return options.verify && modes[i].run == rt_bench_fanout ? rt_bench_verify(&options)
                                                                 : modes[i].run(&options);
    }
    rt_bench_die(RT_BENCH_EXIT_USAGE, "unknown mode %s (fanout, latency, ingest, idle, gap)",
                 argv[optind]);
}
