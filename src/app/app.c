/* See app.h: the stages, how it stops, and its life. How it starts is in start.c. The stages of the stop are in the order in which they stand here. */
#include "app/app.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>

#include "app/internal.h"
#include "base/alloc.h"
#include "base/log.h"

#define CLOSE_MAX 2500u /* ms for what the protocols have closed to leave the queues */
#define PATIENCE  1000u /* ms after which the log says what a stop waits for */

static void set_stage(struct rt_app *app, enum stage stage)
{
    assert(stage > app->stage && (stage != INTERRUPTED || app->stage == STARTING));
    assert(app->stage != INTERRUPTED || stage >= CLOSING_LOG);
    app->stage = stage;
}

/* ---- stop ---- */

static void advance(struct rt_app *app);

static void look_again(struct rt_timer *timer)
{
    advance(RT_CONTAINER(timer, struct rt_app, timer));
}

static void all_closed(void *arg)
{
    struct rt_app *app = arg;
    set_stage(app, STOPPED);
    rt_timer_stop(app->loop, &app->timer);
    rt_loop_stop(app->loop);
}

static void log_closed(void *arg)
{
    struct rt_app *app = arg;
    if (app->store)
        rt_store_close(app->store, all_closed, app);
    else
        all_closed(app);
}

/* Redis before the log: what that still commits reaches the other nodes through their own tails. */
static void cluster_closed(void *arg)
{
    struct rt_app *app = arg;
    rt_broker_close(app->broker, log_closed, app);
}

static void consume_closed(void *arg)
{
    struct rt_app *app = arg;
    if (app->cluster)
        rt_cluster_close(app->cluster, cluster_closed, app);
    else
        cluster_closed(app);
}

/* Not skipped by any signal: publishers wait for their answers. */
static void tell_of_log(struct rt_timer *timer)
{
    const struct rt_app *app = RT_CONTAINER(timer, struct rt_app, timer);
    rt_log(RT_LOG_INFO, "app", "waiting for the log to store what is in flight",
           rt_kv_u64("at_most_ms", app->config->shutdown.drain),
           rt_kv_c("option", "shutdown.drain"));
}

/* Also after a start that failed half-way. */
static void close_log(struct rt_app *app)
{
    set_stage(app, CLOSING_LOG);
    rt_timer_start(app->loop, &app->timer, PATIENCE, tell_of_log);
    if (app->consume)
        rt_consume_close(app->consume, consume_closed, app);
    else
        consume_closed(app);
}

static void drained(void *arg)
{
    struct rt_app *app = arg;
    app->draining--;
}

/* Closes the clients over a time; a second call hurries the first. */
static void drain(struct rt_app *app, uint64_t jitter)
{
    app->draining = (app->socketio ? 1 : 0) + (app->raw ? 1 : 0);
    if (app->socketio)
        rt_socketio_drain(app->socketio, jitter, drained, app);
    if (app->raw)
        rt_raw_drain(app->raw, jitter, drained, app);
    rt_admin_drain(app->admin, jitter);
}

/* Moves on as far as the present state allows. */
static void advance(struct rt_app *app)
{
    bool late = rt_loop_now(app->loop) >= app->deadline;
    if (app->stage == DRAINING_CLIENTS && (app->draining == 0 || late)) {
        set_stage(app, CLOSING_CONNECTIONS);
        rt_http_server_drain(app->http);
        if (late) /* sessions need no connection: those that are left end in the next turn */
            drain(app, 0);
        uint64_t most = app->config->shutdown.drain;
        app->deadline = rt_loop_now(app->loop) + (late ? 0 : most < CLOSE_MAX ? most : CLOSE_MAX);
    }
    if (app->stage == CLOSING_CONNECTIONS) {
        if (rt_net_connections(app->net) > 0 && rt_loop_now(app->loop) >= app->deadline)
            rt_net_close_all(app->net);
        if (rt_net_connections(app->net) == 0 && app->draining == 0)
            close_log(app);
    }
    if (app->stage == DRAINING_CLIENTS || app->stage == CLOSING_CONNECTIONS)
        rt_timer_start(app->loop, &app->timer, 10, look_again);
}

static void tell_of_stop(const struct rt_app *app)
{
    char waits[160] = "";
    size_t clients = rt_net_connections(app->net);
    if (clients > 0)
        (void)snprintf(
            waits, sizeof(waits),
            "clients are closed within %llu ms (shutdown.jitter), what is left after %llu "
            "ms (shutdown.drain); a second signal skips that",
            (unsigned long long)app->config->shutdown.jitter,
            (unsigned long long)app->config->shutdown.drain);
    rt_log(RT_LOG_INFO, "app", "shutting down", rt_kv_u64("connections", clients),
           rt_kv_c(clients > 0 ? "waits" : NULL, waits));
}

void rt_app_stop(struct rt_app *app)
{
    if (app->stage == STARTING)
        set_stage(app, INTERRUPTED);
    if (app->stage == INTERRUPTED)
        return; /* rt_app_new() ends */
    if (app->stage != SERVING) {
        if (app->stage < CLOSING_LOG && app->deadline > 0)
            rt_log(RT_LOG_INFO, "app", "told a second time to stop: waits no longer",
                   rt_kv_u64("connections", rt_net_connections(app->net)));
        app->deadline = 0;
        return;
    }
    tell_of_stop(app);
    set_stage(app, DRAINING_CLIENTS);
    app->deadline = rt_loop_now(app->loop) + app->config->shutdown.drain;
    rt_net_stop_listening(app->net);
    drain(app, app->config->shutdown.jitter);
    rt_timer_start(app->loop, &app->timer, 0, look_again);
}

int rt_app_new(const struct rt_config *config, struct rt_app **ret_app, struct rt_err *err)
{
    struct rt_app *app = rt_calloc(1, sizeof(*app));
    if (!app)
        return rt_err_nomem(err);
    app->config = config;
    rt_metrics_init(&app->metrics);
    int status = rt_app_start(app, err);
    if (status) {
        rt_app_free(app);
        return status;
    }
    set_stage(app, SERVING);
    *ret_app = app;
    return 0;
}

/* What is left does not wait for anybody: a further signal must not replace the exit code. */
static void block_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int rt_app_run(struct rt_app *app)
{
    if (rt_loop_run(app->loop) && app->exit_code == 0)
        app->exit_code = 1;
    block_signals();
    rt_log(RT_LOG_INFO, "app", "stopped");
    return app->exit_code;
}

/* Of who asked while it was starting. */
static void close_connections(struct rt_app *app)
{
    rt_net_stop_listening(app->net);
    if (app->http)
        rt_http_server_drain(app->http);
    rt_net_close_all(app->net);
    do
        rt_loop_turn(app->loop, 0); /* listeners need it as well */
    while (rt_net_connections(app->net) > 0);
}

static void unwind(struct rt_app *app)
{
    if (app->net)
        close_connections(app);
    if (!app->broker || !rt_broker_journal(app->broker) || app->stage == STOPPED)
        return;
    close_log(app); /* a log that fails now has nobody to stop */
    while (app->stage != STOPPED)
        rt_loop_turn(app->loop, 10);
}

void rt_app_free(struct rt_app *app)
{
    if (!app)
        return;
    unwind(app);
    rt_trimmer_free(app->trimmer);
    rt_consume_free(app->consume);
    rt_admin_free(app->admin);
    rt_raw_free(app->raw);
    rt_socketio_free(app->socketio);
    rt_ws_pool_free(app->pool);
    rt_http_server_free(app->http);
    rt_unfinished_free(app->unfinished);
    rt_broker_free(app->broker);
    rt_cluster_free(app->cluster);
    rt_store_free(app->store);
    rt_buf_deinit(&app->brokers);
    if (app->net)
        rt_net_free(app->net);
    if (app->loop)
        rt_loop_free(app->loop);
    rt_free(app);
}

const char *rt_app_address(const struct rt_app *app, size_t index)
{
    return index < app->listener_count ? rt_listener_address(app->listeners[index]) : NULL;
}
