/* The command line: `rtbroker [COMMAND] [OPTIONS]`.
 *
 * Commands print results to standard output and errors to standard error. Exit codes: 0, 1 (it failed at run time), 2 (usage or configuration). `serve` is in app's hands and
 * is passed in, since cli/ stands above app/.
 * Thread: main. */
#ifndef RT_CLI_CLI_H
#define RT_CLI_CLI_H

#include "conf/check.h"

#define RT_EXIT_OK      0
#define RT_EXIT_RUNTIME 1
#define RT_EXIT_USAGE   2

/* What was said on the command line. Arrays end with NULL. */
struct rt_cli_args {
    const char *command; /* "serve" when none was given */
    struct rt_config_args config;
    const char **positional;
    size_t positional_count;
    /* options of single commands */
    const char *url;             /* --url: pub, sub, health */
    const char *key;             /* --key: API key of pub */
    const char *event;           /* --event: pub */
    const char *idempotency_key; /* --idempotency-key: pub */
    const char *since;           /* --since: sub; offset, or EPOCH:OFFSET */
    const char *schema;          /* --schema: schema; NULL: postgres.schema of the configuration */
    const char *to;              /* --to: backup */
    const char *dump;            /* config: "effective", "defaults", "env" */
    uint64_t count;              /* --count: sub ends after so many messages; 0: never */
    uint64_t
        retry; /* --retry: sub, ms for which it tries to come back after a cut; UINT64_MAX: for ever */
    bool json; /* --json: sub */
    bool help, version;
};

/* The whole program; a command that cannot write to standard output fails. `serve` runs the broker with a loaded configuration and returns an exit code. */
int rt_cli_main(int argc, char **argv, char **environ_,
                int (*serve)(const struct rt_config *config));

/* Reads the arguments; behind "--" there are no options. RT_EINVAL with text, RT_ENOMEM. The arrays in `ret_args` are freed by rt_cli_args_deinit(). */
int rt_cli_parse(int argc, char **argv, struct rt_cli_args *ret_args, struct rt_err *err);
void rt_cli_args_deinit(struct rt_cli_args *args);

/* For rt_config_args.check: what other modules refuse of a configuration, whatever the machine is. */
int rt_cli_check_modules(const struct rt_check *check);
/* That, and the files and folders that `serve` needs on this machine. */
int rt_cli_check_machine(const struct rt_check *check);
/* Loads the configuration, prints errors and warnings. NULL: `*ret_exit` is the exit code. `to_serve`: everything is checked, as
 * rt_cli_check_machine() does, else rt_cli_check_modules(). */
struct rt_config *rt_cli_load(const struct rt_cli_args *args, bool to_serve, int *ret_exit);

void rt_cli_help(const char *command); /* to standard output */

/* One function per command; returns an exit code. */
int rt_cli_check(const struct rt_cli_args *args);
int rt_cli_init(const struct rt_cli_args *args);
int rt_cli_config(const struct rt_cli_args *args);
int rt_cli_pub(const struct rt_cli_args *args);
int rt_cli_sub(const struct rt_cli_args *args);
/* Prints the message and hint of an error of the API; returns an exit code. */
int rt_cli_refused(int status, const struct rt_buf *body);
int rt_cli_health(const struct rt_cli_args *args);
int rt_cli_schema(const struct rt_cli_args *args);
int rt_cli_backup(const struct rt_cli_args *args);
/* What `serve` prints once it listens in --dev: listeners, what is insecure, what to open and type. */
void rt_cli_banner(const struct rt_config *config, const char *const *addresses, size_t count);

#endif
