/* The whole broker in this process: made by the test's thread, served by one of its own, stopped by SIGTERM as in real life.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_APP_APP_RIG_H
#define TEST_UNIT_APP_APP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/app.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

/* Not every program needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"

struct server {
    struct rt_config *config;
    struct rt_app *app;
    pthread_t thread;
    int exit_code;
    char address[128]; /* the first one that it listens on */
    uint16_t port;
};

static struct rt_config *load_config(const char *yaml)
{
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config_args args = {0};
    struct rt_config *config = NULL;
    if (rt_config_load_text(&args, rt_str_c(yaml), "rig.yaml", &config, &errors, &warnings))
        fail_msg("%s", errors.count ? errors.items[0].text : "out of memory");
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
    return config;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    s->exit_code = rt_app_run(s->app);
    rt_app_free(s->app);
    return NULL;
}

/* Serves with a configuration that stays the caller's. What rt_app_new() says. */
static int server_start_with(struct server *s, struct rt_config *config, struct rt_err *err)
{
    *s = (struct server){.config = config, .exit_code = -1};
    (void)signal(SIGPIPE, SIG_IGN);
    int status = rt_app_new(config, &s->app, err);
    if (status)
        return status;
    snprintf(s->address, sizeof(s->address), "%s", rt_app_address(s->app, 0));
    const char *colon = strrchr(s->address, ':');
    s->port = colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    return 0;
}

static void server_start(struct server *s, const char *yaml)
{
    struct rt_err err = {0};
    rt_log_set_level(RT_LOG_OFF);
    if (server_start_with(s, load_config(yaml), &err))
        fail_msg("%s", err.text);
}

/* Waits for the end; its exit code. */
static int server_join(struct server *s)
{
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    return s->exit_code;
}

static int server_stop(struct server *s)
{
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    int code = server_join(s);
    rt_config_free(s->config);
    return code;
}

#endif
