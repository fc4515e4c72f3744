/* Texts of the command line: help, and what `serve` prints in --dev. */
#include "cli/cli.h"

#include <stdio.h>

#include "version.h"

static const struct {
    const char *name, *text;
} HELP[] = {
    {"serve",
     "rtbroker [serve] [--config FILE | --dev] [--listen ADDR:PORT].. [--set PATH=VALUE]..\n"
     "Runs the broker. Without --config and --dev it runs like --dev.\n"
     "  --config FILE      YAML or JSON; `rtbroker init` prints a sample\n"
     "  --dev              no file, loopback only, everything allowed, demo chat at /\n"
     "  --listen ADDR      replaces http.listen; repeatable: 127.0.0.1:8000, [::1]:8000,\n"
     "                     *:8000, unix:/path/to/socket\n"
     "  --set PATH=VALUE   any option: --set limits.message=1MiB; repeatable\n"
     "Environment: RTBROKER_<PATH> sets any option, e.g. RTBROKER_LOG_LEVEL=debug.\n"
     "Signals: SIGTERM and SIGINT drain and stop, a second one stops at once.\n"},
    {"check",
     "rtbroker check [--config FILE] [--set PATH=VALUE]..\n"
     "Reads the configuration as `serve` does, and reports every error with its place: wrong\n"
     "values, settings that a library refuses, folders that are missing here. Warns of rules\n"
     "that can never run.\n"},
    {"init", "rtbroker init > rtbroker.yaml\n"
             "Prints a commented sample with every option and its default.\n"},
    {"config", "rtbroker config [--effective | --defaults | --env] [--config FILE]\n"
               "Prints every option with its value and where it comes from; secrets are hidden.\n"},
    {"pub",
     "rtbroker pub CHANNEL [JSON | -] [--event NAME] [--idempotency-key KEY] [--url URL] [--key API_KEY]\n"
     "Publishes over the HTTP API and prints the answer. With -, or without JSON where standard\n"
     "input is no terminal: one message for each line of it, until one is not taken.\n"
     "  --url URL          the broker, default http://127.0.0.1:8000 (or RTBROKER_URL)\n"
     "  --key API_KEY      one of api.keys (or RTBROKER_API_KEY); not needed with --dev\n"},
    {"sub",
     "rtbroker sub CHANNEL.. [--since OFFSET | EPOCH:OFFSET] [--json] [--count N] [--retry TIME]\n"
     "             [--url URL] [--key API_KEY]\n"
     "Prints what is published on channels, a line each, until interrupted; of several with the\n"
     "channel's name in front. Reads GET /api/stream (server-sent events), which takes names of\n"
     "channels, not patterns. After a cut it comes back and goes on where it was, or says that\n"
     "messages are missing.\n"
     "  --since POSITION   first what the log has after this position\n"
     "  --json             one JSON object a message\n"
     "  --count N          ends after N messages\n"
     "  --retry TIME       how long it tries to come back (30s); 0: it ends with the stream\n"},
    {"health", "rtbroker health [--url URL]\n"
               "Exit code 0 when /readyz says ready; for containers and supervisors.\n"},
    {"schema",
     "rtbroker schema [--schema NAME | --config FILE] | psql -v ON_ERROR_STOP=1\n"
     "Prints the tables of the history as SQL, for who makes them by hand; otherwise `serve` does.\n"
     "It may be run again, and does what is missing.\n"
     "  --schema NAME      the schema, default postgres.schema of the configuration\n"},
    {"backup",
     "rtbroker backup --to FILE [--config FILE] [--set storage.path=FILE]\n"
     "Copies the database of the durable log (storage.path), as it is at one moment, while the broker\n"
     "runs or not. FILE must not be there yet; it is complete, checked and synced once it is.\n"},
    {"help", "rtbroker help [COMMAND]\n"},
};

void rt_cli_help(const char *command)
{
    size_t count = sizeof(HELP) / sizeof(HELP[0]);
    for (size_t i = 0; command && i < count; i++)
        if (strcmp(HELP[i].name, command) == 0 && strcmp(command, "serve") != 0) {
            (void)fputs(HELP[i].text, stdout);
            return;
        }
    (void)printf("rtbroker %s: a realtime broker in one process\n\n"
                 "Commands\n"
                 "  serve    run the broker (the default)\n"
                 "  check    validate a configuration\n"
                 "  init     print a commented sample configuration\n"
                 "  config   show the effective configuration and its sources\n"
                 "  pub      publish messages\n"
                 "  sub      print the messages of channels\n"
                 "  health   ask a running broker whether it is ready\n"
                 "  schema   print the SQL of the PostgreSQL history\n"
                 "  backup   copy the database of the durable log while the broker runs\n"
                 "  help     help on a command\n\n"
                 "%s\n"
                 "Other: --help, --version. Exit codes: 0, 1 it failed at run time, 2 usage or\n"
                 "configuration, 70 the disk failed while serving.\n",
                 RT_VERSION, HELP[0].text);
}

void rt_cli_banner(const struct rt_config *config, const char *const *addresses, size_t count)
{
    const char *first = NULL;
    (void)printf("\nrtbroker %s (%s), development mode\n\n", RT_VERSION, RT_COMMIT);
    for (size_t i = 0; i < count; i++) {
        (void)printf("  listening   %s\n", addresses[i]);
        if (!first && strncmp(addresses[i], "unix:", 5) != 0)
            first = addresses[i];
    }
    (void)printf("  log         %s\n\n",
                 config->storage.path[0] ? config->storage.path : "in memory, gone at the end");
    (void)printf(
        "Insecure on purpose: no authentication, every channel open to everybody, the HTTP\n"
        "API without a key, every origin allowed. Only this machine can connect.\n\n");
    if (!first)
        return;
    /* `pub` and `sub` know this one by themselves. */
    bool usual = strcmp(first, "127.0.0.1:8000") == 0;
    const char *flag = usual ? "" : " --url http://", *address = usual ? "" : first;
    (void)printf("  browser     http://%s/\n"
                 "  terminal 2  ./rtbroker sub chat:lobby%s%s\n"
                 "  terminal 3  ./rtbroker pub chat:lobby '{\"text\":\"hi\"}'%s%s\n"
                 "  Socket.IO   io(\"http://%s\")\n"
                 "  WebSocket   ws://%s/raw/chat:lobby\n\n",
                 first, flag, address, flag, address, first, first);
    (void)fflush(stdout);
}
