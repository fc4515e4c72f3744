/* Dispatch of commands, loading of the configuration, help. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>

#include "journal/sqlite_backup.h"
#include "store/store.h"
#include "version.h"

static void print_place(const struct rt_mark *mark)
{
    if (mark->source && mark->line > 0)
        (void)fprintf(stderr, "%s:%u:%u: ", mark->source, mark->line, mark->column);
    else if (mark->source)
        (void)fprintf(stderr, "%s: ", mark->source);
}

static void print_all(const struct rt_conf_errors *errors, const char *kind)
{
    for (size_t i = 0; i < errors->count; i++) {
        print_place(&errors->items[i].mark);
        (void)fprintf(stderr, "%s: %s\n", kind, errors->items[i].text);
    }
    if (errors->dropped > 0)
        (void)fprintf(stderr, "%s: and %zu more\n", kind, errors->dropped);
    if (errors->nomem)
        (void)fprintf(stderr, "%s: out of memory, not all messages are shown\n", kind);
}

struct rt_config *rt_cli_load(const struct rt_cli_args *args, bool to_serve, int *ret_exit)
{
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config *config = NULL;
    struct rt_config_args config_args = args->config;
    config_args.check = to_serve ? rt_cli_check_machine : rt_cli_check_modules;
    int status = rt_config_load(&config_args, &config, &errors, &warnings);
    print_all(&warnings, "warning");
    print_all(&errors, "error");
    if (status == RT_ENOMEM)
        (void)fprintf(stderr, "error: out of memory\n");
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
    if (status == 0)
        return config;
    *ret_exit = status == RT_ENOMEM ? RT_EXIT_RUNTIME : RT_EXIT_USAGE;
    return NULL;
}

static void print_buf(struct rt_buf *out)
{
    (void)fwrite(out->data, 1, out->len, stdout);
    rt_buf_deinit(out);
}

int rt_cli_check(const struct rt_cli_args *args)
{
    int code = RT_EXIT_OK;
    struct rt_config *config = rt_cli_load(args, true, &code);
    if (!config)
        return code;
    (void)printf("%s: ok\n", args->config.file ? args->config.file : "configuration");
    rt_config_free(config);
    return RT_EXIT_OK;
}

int rt_cli_init(const struct rt_cli_args *args)
{
    (void)args;
    struct rt_buf out = RT_BUF_INIT;
    rt_config_sample(&out);
    bool ok = rt_buf_ok(&out);
    print_buf(&out);
    return ok ? RT_EXIT_OK : RT_EXIT_RUNTIME;
}

int rt_cli_config(const struct rt_cli_args *args)
{
    int code = RT_EXIT_OK;
    struct rt_config *config = rt_cli_load(args, false, &code);
    if (!config)
        return code;
    const char *dump = args->dump ? args->dump : "effective";
    struct rt_buf out = RT_BUF_INIT;
    rt_config_dump(config,
                   strcmp(dump, "defaults") == 0 ? RT_DUMP_DEFAULTS
                   : strcmp(dump, "env") == 0    ? RT_DUMP_ENV
                                                 : RT_DUMP_EFFECTIVE,
                   &out);
    rt_config_free(config);
    bool ok = rt_buf_ok(&out);
    print_buf(&out);
    return ok ? RT_EXIT_OK : RT_EXIT_RUNTIME;
}

/* With --schema no configuration is read. */
int rt_cli_schema(const struct rt_cli_args *args)
{
    int code = RT_EXIT_OK;
    struct rt_config *config = args->schema ? NULL : rt_cli_load(args, false, &code);
    if (!args->schema && !config)
        return code;
    struct rt_err err = {0};
    struct rt_buf out = RT_BUF_INIT;
    int status = rt_store_ddl(args->schema ? args->schema : config->postgres.schema, &out, &err);
    if (status)
        (void)fprintf(stderr, "error: %s\n", err.text);
    else
        (void)fwrite(out.data, 1, out.len, stdout);
    rt_buf_deinit(&out);
    rt_config_free(config);
    return status == RT_EINVAL ? RT_EXIT_USAGE : status ? RT_EXIT_RUNTIME : RT_EXIT_OK;
}

static int backup(const char *path, const char *to)
{
    struct rt_err err = {0};
    uint64_t bytes = 0;
    if (path[0] == '\0') {
        (void)fprintf(stderr, "error: storage.path is empty: the log of this configuration is in "
                              "memory or in Kafka, there is no file to copy\n");
        return RT_EXIT_USAGE;
    }
    if (rt_db_backup(path, to, &bytes, &err)) {
        (void)fprintf(stderr, "error: %s\n", err.text);
        return RT_EXIT_RUNTIME;
    }
    (void)printf("%s: a copy of %s, %llu bytes\n", to, path, (unsigned long long)bytes);
    return RT_EXIT_OK;
}

int rt_cli_backup(const struct rt_cli_args *args)
{
    int code = RT_EXIT_OK;
    if (!args->to || args->to[0] == '\0') {
        (void)fprintf(stderr, "rtbroker: usage: rtbroker backup --to FILE [--config FILE]\n");
        return RT_EXIT_USAGE;
    }
    struct rt_config *config = rt_cli_load(args, false, &code);
    if (!config)
        return code;
    code = backup(config->storage.path, args->to);
    rt_config_free(config);
    return code;
}

static void print_version(void)
{
    (void)printf("rtbroker %s (%s)\nbuilt with %s\n", RT_VERSION, RT_COMMIT, RT_LIBRARIES);
}

struct command {
    const char *name;
    int (*run)(const struct rt_cli_args *args);
};

static int run_command(const struct rt_cli_args *args, int (*serve)(const struct rt_config *config))
{
    static const struct command commands[] = {
        {"check", rt_cli_check},   {"init", rt_cli_init},     {"config", rt_cli_config},
        {"pub", rt_cli_pub},       {"sub", rt_cli_sub},       {"health", rt_cli_health},
        {"schema", rt_cli_schema}, {"backup", rt_cli_backup},
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, args->command) == 0)
            return commands[i].run(args);
    int code = RT_EXIT_OK;
    struct rt_config *config = rt_cli_load(args, true, &code);
    if (!config)
        return code;
    code = serve(config);
    rt_config_free(config);
    return code;
}

/* A full disk behind `rtbroker init > file` is a failure. A reader that has seen enough (head) knows why it went. */
static int check_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno != EPIPE)
        (void)fprintf(stderr, "rtbroker: cannot write to standard output: %s\n", strerror(errno));
    return code == RT_EXIT_OK ? RT_EXIT_RUNTIME : code;
}

int rt_cli_main(int argc, char **argv, char **environ_,
                int (*serve)(const struct rt_config *config))
{
    struct rt_cli_args args;
    struct rt_err err = {0};
    int status = rt_cli_parse(argc, argv, &args, &err);
    if (status == RT_ENOMEM) {
        (void)fprintf(stderr, "rtbroker: %s\n", err.text);
        return RT_EXIT_RUNTIME;
    }
    if (status) {
        (void)fprintf(stderr, "rtbroker: %s\nTry `rtbroker --help`.\n", err.text);
        return RT_EXIT_USAGE;
    }
    args.config.environ_ = environ_;
    int code = RT_EXIT_OK;
    bool serves = !args.version && !args.help && strcmp(args.command, "serve") == 0;
    if (args.version)
        print_version();
    else if (strcmp(args.command, "help") == 0)
        rt_cli_help(args.positional_count > 0 ? args.positional[0] : NULL);
    else if (args.help)
        rt_cli_help(args.command);
    else
        code = run_command(&args, serve);
    rt_cli_args_deinit(&args);
    return serves ? code : check_output(code);
}
