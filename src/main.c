/* rtbroker: see README.md. Everything of substance is in app/ and cli/. */
#include <signal.h>
#include <stdio.h>

#include "app/app.h"
#include "cli/cli.h"

#define MAX_SHOWN 16u

extern char **environ;

static void show_banner(const struct rt_config *config, const struct rt_app *app)
{
    const char *addresses[MAX_SHOWN];
    size_t count = 0;
    while (count < MAX_SHOWN && (addresses[count] = rt_app_address(app, count)))
        count++;
    rt_cli_banner(config, addresses, count);
}

static int serve(const struct rt_config *config)
{
    struct rt_app *app = NULL;
    struct rt_err err = {0};
    rt_log_setup(config->log.level, config->log.format, config->node.name);
    if (rt_app_new(config, &app, &err)) {
        if (err.code == RT_ECLOSED)
            return RT_EXIT_OK;
        (void)fprintf(stderr, "rtbroker: %s\n", err.text);
        return RT_EXIT_RUNTIME;
    }
    if (config->dev)
        show_banner(config, app);
    int code = rt_app_run(app);
    rt_app_free(app);
    return code;
}

int main(int argc, char **argv)
{
    /* Writes to closed sockets and pipes are answered by EPIPE. */
    (void)signal(SIGPIPE, SIG_IGN);
    /* Writes past a limit on the size of files by EFBIG: a full disk, see journal/sqlite_db.h. */
    (void)signal(SIGXFSZ, SIG_IGN);
    return rt_cli_main(argc, argv, environ, serve);
}
