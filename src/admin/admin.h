/* What operators and backends meet over HTTP: the server API, health, metrics, and the demo page.
 *
 * POST /api/publish, /api/history, /api/channels, /api/info: shape of Centrifugo's server API (field names of requests and of
 * `result`), with real HTTP status codes and the one JSON error shape of http/server.h. Authentication by `X-API-Key` or `Authorization: apikey KEY`
 * (api.keys); without configured keys only --dev lets requests in.
 * GET /api/stream: a channel as server-sent events.
 * GET /healthz, /readyz, /metrics. All of these move to http.internal when that is set.
 * GET / and its files: the demo chat, only in --dev.
 * Thread: the loop. */
#ifndef RT_ADMIN_ADMIN_H
#define RT_ADMIN_ADMIN_H

#include "http/server.h"
#include "session/broker.h"

struct rt_admin;

struct rt_admin_options {
    const struct rt_config *config;
    struct rt_broker *broker;
    struct rt_http_server *http;
    struct rt_metrics *metrics;
    struct rt_loop *loop;
    /* Clients connected now, for `info`. */
    size_t (*clients)(void *arg);
    /* Serving and not draining. */
    bool (*serving)(void *arg);
    void *arg;
};

int rt_admin_new(const struct rt_admin_options *options, struct rt_admin **ret_admin,
                 struct rt_err *err);
/* Ends the streams, spread over `jitter_ms`; `serving` says no already, and no new one opens. */
void rt_admin_drain(struct rt_admin *admin, uint64_t jitter_ms);
/* No connection may be left. */
void rt_admin_free(struct rt_admin *admin);

#endif
