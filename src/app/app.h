/* Builds everything, wires it, and closes it in reverse: the broker as a process.
 *
 * Start: loop, net, broker, HTTP, admin, journal, store, cluster, protocols, listeners. Stop (SIGTERM, SIGINT): not ready, no new connections, clients closed in
 * a way that makes them reconnect (spread over shutdown.jitter), the log drained, everything freed; a second signal stops at once. SIGKILL loses nothing
 * acknowledged.
 * Thread: main; becomes the loop thread. */
#ifndef RT_APP_APP_H
#define RT_APP_APP_H

#include "conf/config.h"

struct rt_app;

/* Everything up to serving. While Kafka does not answer it waits, for as long as that takes, and listens: health, readiness and metrics are served, all else gets 503.
 * Text of the error is for people. RT_ECLOSED: a signal came meanwhile. */
int rt_app_new(const struct rt_config *config, struct rt_app **ret_app, struct rt_err *err);
/* Serves until a signal. Returns the process's exit code: 0, 1, or 70 when the log failed. */
int rt_app_run(struct rt_app *app);
/* Asks for the same as SIGTERM; on the loop thread (tests). */
void rt_app_stop(struct rt_app *app);
void rt_app_free(struct rt_app *app);
/* What it listens on: `index` from 0; NULL past the end. */
const char *rt_app_address(const struct rt_app *app, size_t index);

#endif
