/* Arguments of the command line. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "conf/value.h"

static const char *const COMMANDS[] = {"serve",  "check", "init",   "config", "pub", "sub",
                                       "health", "help",  "schema", "backup", NULL};

/* Options with a value, and where it goes. */
struct option {
    const char *name;
    size_t offset;
};

static const struct option VALUE_OPTIONS[] = {
    {"--config", offsetof(struct rt_cli_args, config.file)},
    {"--url", offsetof(struct rt_cli_args, url)},
    {"--key", offsetof(struct rt_cli_args, key)},
    {"--event", offsetof(struct rt_cli_args, event)},
    {"--idempotency-key", offsetof(struct rt_cli_args, idempotency_key)},
    {"--since", offsetof(struct rt_cli_args, since)},
    {"--schema", offsetof(struct rt_cli_args, schema)},
    {"--to", offsetof(struct rt_cli_args, to)},
};

static const char *const OPTION_NAMES[] = {"--config",  "--listen",    "--set",
                                           "--dev",     "--url",       "--key",
                                           "--event",   "--since",     "--idempotency-key",
                                           "--count",   "--json",      "--help",
                                           "--version", "--effective", "--defaults",
                                           "--env",     "--schema",    "--to",
                                           "--retry",   NULL};

/* Appends to an array that has room for argc + 1 entries. */
static void append(const char ***list, const char *value)
{
    size_t n = 0;
    while ((*list)[n])
        n++;
    (*list)[n] = value;
}

static bool is_command(const char *word)
{
    for (size_t i = 0; COMMANDS[i]; i++)
        if (strcmp(COMMANDS[i], word) == 0)
            return true;
    return false;
}

/* "--name=value" or "--name value": the value, or NULL when `arg` is another option. */
static const char *value_of(const char *name, int argc, char **argv, int *i, bool *ret_missing)
{
    size_t len = strlen(name);
    const char *arg = argv[*i];
    if (strncmp(arg, name, len) != 0 || (arg[len] != '\0' && arg[len] != '='))
        return NULL;
    if (arg[len] == '=')
        return arg + len + 1;
    *ret_missing = *i + 1 >= argc;
    return *ret_missing ? NULL : argv[++*i];
}

static int read_retry(const char *value, struct rt_cli_args *a, struct rt_err *err)
{
    if (rt_duration_parse(rt_str_c(value), &a->retry))
        return rt_err_set(err, RT_EINVAL, "--retry: \"%s\" is no time such as 0 or 30s", value);
    return 0;
}

static int read_count(const char *value, struct rt_cli_args *a, struct rt_err *err)
{
    if (rt_str_to_u64(rt_str_c(value), &a->count))
        return rt_err_set(err, RT_EINVAL, "--count: \"%s\" is no number", value);
    return 0;
}

/* 0: read; RT_ENOENT: no option of this kind. */
static int read_value_option(int argc, char **argv, int *i, struct rt_cli_args *a,
                             struct rt_err *err)
{
    bool missing = false;
    const char *name = argv[*i], *value;
    for (size_t k = 0; k < sizeof(VALUE_OPTIONS) / sizeof(VALUE_OPTIONS[0]); k++) {
        value = value_of(VALUE_OPTIONS[k].name, argc, argv, i, &missing);
        if (value) {
            *(const char **)(void *)((char *)a + VALUE_OPTIONS[k].offset) = value;
            return 0;
        }
        if (missing)
            return rt_err_set(err, RT_EINVAL, "%s needs a value", name);
    }
    if ((value = value_of("--listen", argc, argv, i, &missing)))
        append(&a->config.listen, value);
    else if (!missing && (value = value_of("--set", argc, argv, i, &missing)))
        append(&a->config.set, value);
    else if (!missing && (value = value_of("--count", argc, argv, i, &missing)))
        return read_count(value, a, err);
    else if (!missing && (value = value_of("--retry", argc, argv, i, &missing)))
        return read_retry(value, a, err);
    else
        return missing ? rt_err_set(err, RT_EINVAL, "%s needs a value", name) : RT_ENOENT;
    return 0;
}

static bool read_flag(const char *arg, struct rt_cli_args *a)
{
    if (strcmp(arg, "--dev") == 0)
        a->config.dev = true;
    else if (strcmp(arg, "--json") == 0)
        a->json = true;
    else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        a->help = true;
    else if (strcmp(arg, "--version") == 0)
        a->version = true;
    else if (strcmp(arg, "--effective") == 0 || strcmp(arg, "--defaults") == 0 ||
             strcmp(arg, "--env") == 0)
        a->dump = arg + 2;
    else
        return false;
    return true;
}

static int unknown_option(const char *arg, struct rt_err *err)
{
    struct rt_str name = rt_str_c(arg), rest;
    name = rt_str_split(name, '=', &rest);
    const char *near = rt_conf_suggest(name, OPTION_NAMES);
    return rt_err_set(err, RT_EINVAL, "unknown option %.*s%s%s%s", RT_STR_ARG(name),
                      near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static void take_word(const char *word, struct rt_cli_args *a)
{
    if (!a->command && a->positional_count == 0 && is_command(word)) {
        a->command = word;
        return;
    }
    append(&a->positional, word);
    a->positional_count++;
}

static int read_argument(int argc, char **argv, int *i, struct rt_cli_args *a, struct rt_err *err)
{
    const char *arg = argv[*i];
    if (arg[0] != '-' || arg[1] == '\0') {
        take_word(arg, a);
        return 0;
    }
    if (read_flag(arg, a))
        return 0;
    int status = read_value_option(argc, argv, i, a, err);
    return status == RT_ENOENT ? unknown_option(arg, err) : status;
}

/* All of them; behind "--" there are no options. */
static int read_arguments(int argc, char **argv, struct rt_cli_args *a, struct rt_err *err)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                take_word(argv[i], a);
            return 0;
        }
        int status = read_argument(argc, argv, &i, a, err);
        if (status)
            return status;
    }
    return 0;
}

static int unknown_command(const char *word, struct rt_err *err)
{
    const char *near = rt_conf_suggest(rt_str_c(word), COMMANDS);
    return rt_err_set(err, RT_EINVAL, "unknown command \"%s\"%s%s%s", word,
                      near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* `is_default`: no command was given. */
static int check_positional(const struct rt_cli_args *a, bool is_default, struct rt_err *err)
{
    static const struct {
        const char *command, *usage;
        size_t min, max;
    } rules[] = {{"pub", "rtbroker pub CHANNEL [JSON | -]", 1, 2},
                 {"sub", "rtbroker sub CHANNEL..", 1, SIZE_MAX},
                 {"help", "rtbroker help [COMMAND]", 0, 1}};
    if (a->help || a->version)
        return 0;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strcmp(rules[i].command, a->command) == 0) {
            if (a->positional_count >= rules[i].min && a->positional_count <= rules[i].max)
                return strcmp(a->command, "help") == 0 && a->positional_count == 1 &&
                               !is_command(a->positional[0])
                           ? unknown_command(a->positional[0], err)
                           : 0;
            return rt_err_set(err, RT_EINVAL, "usage: %s", rules[i].usage);
        }
    if (a->positional_count == 0)
        return 0;
    if (!is_default)
        return rt_err_set(err, RT_EINVAL,
                          "unexpected argument \"%s\" of %s; a configuration is named by --config",
                          a->positional[0], a->command);
    return unknown_command(a->positional[0], err);
}

int rt_cli_parse(int argc, char **argv, struct rt_cli_args *ret_args, struct rt_err *err)
{
    struct rt_cli_args a = {.retry = UINT64_MAX};
    size_t room = (size_t)argc + 1;
    a.config.listen = rt_calloc(room, sizeof(char *));
    a.config.set = rt_calloc(room, sizeof(char *));
    a.positional = rt_calloc(room, sizeof(char *));
    int status = a.config.listen && a.config.set && a.positional ? 0 : rt_err_nomem(err);
    if (status == 0)
        status = read_arguments(argc, argv, &a, err);
    bool is_default = a.command == NULL;
    if (is_default)
        a.command = "serve";
    if (status == 0)
        status = check_positional(&a, is_default, err);
    if (status) {
        rt_cli_args_deinit(&a);
        return status;
    }
    *ret_args = a;
    return 0;
}

void rt_cli_args_deinit(struct rt_cli_args *args)
{
    rt_free(args->config.listen);
    rt_free(args->config.set);
    rt_free(args->positional);
}
