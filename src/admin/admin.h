/* What operators and backends meet over HTTP: the server API, health, metrics, and the demo page.
 *
 * POST /api/publish, /api/history, /api/channels, /api/info: shape of Centrifugo's server API (field names of requests and of
 * `result`), with real HTTP status codes and the one JSON error shape of http/server.h. Authentication by `X-API-Key` or `Authorization: apikey KEY`
 * (api.keys); without configured keys only --dev lets requests in.
 * GET /api/stream: a channel as server-sent events.
 * GET /healthz, /readyz (`backends`, each with its state), /metrics, also while the server is held back. All of these move to http.internal when that is set;
 * without it metrics, and the details of /readyz, are for peers on this machine alone that no proxy stands in front of.
 * GET / and its files: the demo chat, only in --dev.
 * Thread: the loop. */
#ifndef RT_ADMIN_ADMIN_H
#define RT_ADMIN_ADMIN_H

#include "http/server.h"
#include "session/broker.h"

struct rt_admin;

/* A service that this node uses, as /readyz shows it. */
struct rt_backend {
    const char *name; /* in "backends"; lives as long as the admin, as `kind` does */
    const char *kind;
    bool required; /* while it is down this node is not ready: nobody should send it traffic */
    /* Does it answer, end to end? From a probe that runs anyway: this is asked once a second and does not wait. `*ret_text` gets what is wrong or "". */
    bool (*up)(void *arg, const char **ret_text);
    void *arg;
};
#define RT_BACKENDS_MAX 8

struct rt_admin_options {
    const struct rt_config *config;
    struct rt_broker *broker;
    struct rt_http_server *http;
    struct rt_metrics *metrics;
    struct rt_loop *loop;
    /* Clients connected now, for `info`. */
    size_t (*clients)(void *arg);
    /* Open descriptors, for the metrics; not counted for each question. NULL: unknown. */
    size_t (*descriptors)(void *arg);
    /* Serving and not draining. */
    bool (*serving)(void *arg);
    /* Calls `fn` for every other node that is alive, with its name and what its rt_admin_describe() said, as a JSON object. NULL: this node is alone. */
    void (*each_node)(void *arg, void (*fn)(void *fn_arg, struct rt_str name, struct rt_str json),
                      void *fn_arg);
    void *arg;
    /* The log among them; copied. At most RT_BACKENDS_MAX. */
    const struct rt_backend *backends;
    size_t backend_count;
};

int rt_admin_new(const struct rt_admin_options *options, struct rt_admin **ret_admin,
                 struct rt_err *err);
/* This node as `info` shows it: members of a JSON object without braces and without its name. */
void rt_admin_describe(const struct rt_admin *admin, struct rt_buf *out);
/* Ends the streams, spread over `jitter_ms`; `serving` says no already, and no new one opens. */
void rt_admin_drain(struct rt_admin *admin, uint64_t jitter_ms);
/* No connection may be left. */
void rt_admin_free(struct rt_admin *admin);

#endif
