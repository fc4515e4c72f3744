/* The server: connections, what they are waiting for, and when they close. */
#include "http/server.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "http/internal.h"
#include "http/local.h"

enum {
    PENDING_MAX = 64 * 1024, /* bytes of following requests, while one is held */
    FREE_EXCHANGES = 64,     /* kept for reuse */
    TURN_REQUESTS = 32,      /* of one connection, then the others have theirs */
};

static const struct rt_http_refusal late = {408, "request_timeout",
                                            "the request was not complete in time", NULL};
static const struct rt_conn_handler handler;

static const struct rt_http_refusal starting = {
    503, "not_ready", "this node is starting and waits for its log", "/readyz says why"};

static const struct rt_http_refusal crowded = {
    503, "receive_memory", "unfinished requests take too much memory", "limits.receive_memory"};

static void go_idle(struct rt_http_connection *c);
static void on_resume(struct rt_timer *timer);
static void on_timeout(struct rt_timer *timer);

/* ---- pools ---------------------------------------------------------------------------------- */

static struct rt_http_parser *borrow_parser(struct rt_http_server *s)
{
    return s->free_parser_count > 0 ? s->free_parsers[--s->free_parser_count]
                                    : rt_http_parser_new();
}

static void return_parser(struct rt_http_connection *c)
{
    struct rt_http_server *s = c->server;
    if (c->parser == NULL)
        return;
    if (s->free_parser_count < sizeof(s->free_parsers) / sizeof(s->free_parsers[0]))
        s->free_parsers[s->free_parser_count++] = c->parser;
    else
        rt_http_parser_free(c->parser);
    c->parser = NULL;
}

static struct rt_http_exchange *new_exchange(struct rt_http_server *s)
{
    struct rt_http_exchange *ex = s->free_exchanges;
    if (ex != NULL) {
        s->free_exchanges = ex->next_free;
        s->free_exchange_count--;
    } else {
        ex = rt_calloc(1, sizeof(*ex));
        if (ex == NULL)
            return NULL;
    }
    ex->server = s;
    ex->c = NULL;
    ex->route = NULL;
    ex->handled = ex->close_after = false;
    ex->forwarded.trusted = false;
    ex->id[0] = '\0';
    s->open_exchanges++;
    return ex;
}

static void free_exchange(struct rt_http_exchange *ex)
{
    rt_http_message_deinit(&ex->message);
    rt_free(ex);
}

static void recycle_exchange(struct rt_http_exchange *ex)
{
    struct rt_http_server *s = ex->server;
    s->open_exchanges--;
    if (s->free_exchange_count >= FREE_EXCHANGES) {
        free_exchange(ex);
        return;
    }
    rt_http_message_reset(&ex->message);
    ex->next_free = s->free_exchanges;
    s->free_exchanges = ex;
    s->free_exchange_count++;
}

/* ---- ends ----------------------------------------------------------------------------------- */

/* Sends what is queued, then closes. */
static void close_gently(struct rt_http_connection *c)
{
    if (c->closing)
        return;
    c->closing = true;
    rt_timer_stop(c->server->loop, &c->timer);
    rt_buf_deinit(&c->pending);
    rt_conn_finish(c->conn);
}

static void close_hard(struct rt_http_connection *c)
{
    c->closing = true;
    rt_timer_stop(c->server->loop, &c->timer);
    rt_conn_close(c->conn, RT_CLOSE_LOCAL);
}

static void free_connection(struct rt_http_connection *c)
{
    rt_timer_stop(c->server->loop, &c->timer);
    return_parser(c);
    rt_unfinished_end(&c->stashed);
    rt_buf_deinit(&c->pending);
    c->server->connections--;
    rt_list_remove(&c->link);
    rt_free(c);
}

/* Takes the open exchange from its connection. */
static struct rt_http_exchange *detach(struct rt_http_connection *c)
{
    struct rt_http_exchange *ex = c->exchange;
    return_parser(c);
    rt_unfinished_end(&ex->unfinished);
    c->exchange = NULL;
    ex->c = NULL;
    return ex;
}

/* The request ends without an answer of its handler. An exchange that somebody may hold and who does not want to be told
 * waits for the answer. */
static void abandon(struct rt_http_exchange *ex)
{
    if (ex->message.req.on_abort != NULL)
        ex->message.req.on_abort(&ex->message.req);
    else if (ex->handled)
        return;
    recycle_exchange(ex);
}

bool rt_http_exchange_keeps(const struct rt_http_exchange *ex)
{
    const struct rt_http_connection *c = ex->c;
    const struct rt_http_message *m = &ex->message;
    if (c == NULL || ex->close_after || !m->keep_alive || c->eof || ex->server->draining)
        return false;
    /* A client that asked for an upgrade and gets something else may have sent frames already. */
    if (m->req.upgrade_websocket)
        return false;
    /* Answered from head(): the body, if there is one, is still on its way. */
    return c->parser == NULL || !(m->chunked || m->content_length > 0);
}

void rt_http_exchange_end(struct rt_http_exchange *ex, bool keep_alive)
{
    struct rt_http_connection *c = ex->c;
    if (c != NULL)
        detach(c);
    recycle_exchange(ex);
    if (c == NULL || c->closing)
        return;
    if (!keep_alive)
        close_gently(c);
    else if (!c->serving)
        go_idle(c);
}

void rt_http_close_after(struct rt_http_request *req)
{
    rt_http_exchange_of(req)->close_after = true;
}

void rt_http_abort(struct rt_http_request *req)
{
    struct rt_http_exchange *ex = rt_http_exchange_of(req);
    struct rt_http_connection *c = ex->c;
    if (c != NULL) {
        detach(c);
        close_hard(c);
    }
    recycle_exchange(ex);
}

struct rt_conn *rt_http_conn(struct rt_http_request *req)
{
    struct rt_http_connection *c = rt_http_exchange_of(req)->c;
    return c != NULL ? c->conn : NULL;
}

static bool is_id(struct rt_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || s.ptr[i] == '"' || s.ptr[i] == '\\')
            return false;
    return s.len > 0 && s.len <= RT_HTTP_ID_MAX;
}

const char *rt_http_request_id(struct rt_http_request *req)
{
    struct rt_http_exchange *ex = rt_http_exchange_of(req);
    if (ex->id[0] != '\0')
        return ex->id;
    struct rt_str sent = RT_STR_NONE;
    if (ex->forwarded.trusted)
        sent = rt_http_header(req, "x-request-id");
    if (sent.ptr != NULL && is_id(sent)) {
        memcpy(ex->id, sent.ptr, sent.len);
        ex->id[sent.len] = '\0';
    } else {
        rt_random_id(ex->id);
    }
    return ex->id;
}

void rt_http_take_over(struct rt_http_request *req, const struct rt_conn_handler *other, void *user)
{
    struct rt_http_exchange *ex = rt_http_exchange_of(req);
    struct rt_http_connection *c = ex->c;
    assert(c != NULL && c->parser == NULL);
    struct rt_conn *conn = c->conn;
    struct rt_buf pending = c->pending;
    uint8_t *rest = c->serving ? c->in : pending.data;
    size_t len = c->serving ? c->in_len : pending.len;
    c->pending = RT_BUF_INIT;
    c->in_len = 0;
    c->taken = true;
    detach(c);
    recycle_exchange(ex);
    rt_conn_set_handler(conn, other, user);
    if (c->paused)
        rt_conn_resume(conn);
    if (!c->serving)
        free_connection(c);
    if (len > 0 && !rt_conn_closing(conn))
        other->on_data(conn, user, rest, len);
    rt_buf_deinit(&pending);
}

/* ---- one request ---------------------------------------------------------------------------- */

/* We answer instead of the handler, and close: the stream is out of step, or nobody reads the rest. */
static void refuse(struct rt_http_exchange *ex, const struct rt_http_refusal *why)
{
    struct rt_http_request *req = &ex->message.req;
    char limit[64];
    const char *hint = why->hint;
    if (req->on_abort != NULL)
        req->on_abort(req);
    req->on_abort = NULL;
    if (why->status == 413) {
        snprintf(limit, sizeof(limit), "at most %zu bytes are read here", req->body_limit);
        hint = limit;
    }
    ex->close_after = true;
    ex->server->refused.value++;
    rt_http_error(req, why->status, why->code, why->message, hint);
}

/* Cuts the configured prefix off. False: the path lies outside of it. */
static bool strip_prefix(const struct rt_http_server *s, struct rt_str *path)
{
    struct rt_str prefix = rt_str_of(s->prefix, s->prefix_len);
    if (!rt_str_starts(*path, prefix))
        return false;
    struct rt_str rest = rt_str_of(path->ptr + prefix.len, path->len - prefix.len);
    if (prefix.len > 0 && rest.len > 0 && rest.ptr[0] != '/')
        return false;
    *path = rest.len > 0 ? rest : RT_STR("/");
    return true;
}

static const struct rt_http_route *find_route(struct rt_http_exchange *ex)
{
    struct rt_http_request *req = &ex->message.req;
    if (!strip_prefix(ex->server, &req->path))
        return NULL;
    const struct rt_http_route *route = rt_http_routes_find(&ex->server->routes, req->path);
    return route != NULL && route->internal_only && !req->internal ? NULL : route;
}

static void send_continue(struct rt_http_connection *c)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    rt_conn_send_copy(c->conn, line, sizeof(line) - 1);
}

static void ask_head(struct rt_http_connection *c, struct rt_http_exchange *ex)
{
    struct rt_http_request *req = &ex->message.req;
    const struct rt_http_route *route = ex->route;
    if (route->head != NULL) {
        bool go_on = route->head(req, route->arg);
        if (c->exchange != ex)
            return; /* answered */
        if (!go_on) {
            rt_http_error(req, 500, "internal_error", "the request was not answered", NULL);
            return;
        }
    }
    rt_http_parser_limit(c->parser, req->body_limit);
    /* Over the limit: the parser says so next, and nobody is invited to send it. */
    if (ex->message.expect_continue && c->in_len == 0 &&
        ex->message.content_length <= req->body_limit)
        send_continue(c);
}

static void on_head(struct rt_http_connection *c)
{
    struct rt_http_exchange *ex = c->exchange;
    struct rt_http_request *req = &ex->message.req;
    rt_forwarded_resolve(c->server->trusted, rt_conn_peer(c->conn), req, &ex->forwarded);
    req->remote = ex->forwarded.remote;
    req->secure = ex->forwarded.secure;
    req->internal = c->internal;
    const struct rt_http_server *s = c->server;
    if (s->local_hosts &&
        !rt_http_is_local_host(rt_http_header(req, "host"), s->hosts, s->host_count)) {
        rt_http_error(req, 403, "bad_host", "this name is not one of this machine's",
                      "add it to http.hosts");
        return;
    }
    ex->route = find_route(ex);
    if (s->held_back && !(ex->route != NULL && ex->route->always)) {
        refuse(ex, &starting);
        return;
    }
    if (ex->route == NULL) {
        rt_http_error(req, 404, "not_found", "there is nothing at this path", NULL);
        return;
    }
    req->body_limit = ex->route->body_limit;
    ask_head(c, ex);
}

static void on_request(struct rt_http_connection *c)
{
    struct rt_http_exchange *ex = c->exchange;
    return_parser(c);
    rt_timer_stop(c->server->loop, &c->timer);
    ex->handled = true;
    ex->route->handle(&ex->message.req, ex->route->arg);
}

/* ---- a connection's input ------------------------------------------------------------------- */

static void start_timer(struct rt_http_connection *c, uint64_t delay)
{
    if (delay > 0)
        rt_timer_start(c->server->loop, &c->timer, delay, on_timeout);
    else
        rt_timer_stop(c->server->loop, &c->timer);
}

/* Between requests: goes on with what came behind the last one, in the next turn, or waits. */
static void go_idle(struct rt_http_connection *c)
{
    if (c->pending.len > 0 || c->paused)
        rt_timer_start(c->server->loop, &c->timer, 0, on_resume);
    else if (c->eof)
        close_gently(c);
    else
        start_timer(c, c->server->idle_timeout);
}

static bool open_exchange(struct rt_http_connection *c)
{
    struct rt_http_server *s = c->server;
    c->parser = borrow_parser(s);
    struct rt_http_exchange *ex = c->parser ? new_exchange(s) : NULL;
    if (ex == NULL) {
        return_parser(c);
        close_hard(c);
        return false;
    }
    ex->c = c;
    c->exchange = ex;
    rt_http_parser_start(c->parser, &ex->message);
    start_timer(c, s->request_timeout);
    return true;
}

/* ---- what has not come to its end ---- */

static void cut_off(struct rt_unfinished *u, enum rt_unfinished_why why)
{
    struct rt_http_exchange *ex = RT_CONTAINER(u, struct rt_http_exchange, unfinished);
    refuse(ex, why == RT_UNFINISHED_LATE ? &late : &crowded);
}

static bool is_paused(const struct rt_unfinished *u)
{
    return RT_CONTAINER(u, const struct rt_http_exchange, unfinished)->c->paused;
}

static const struct rt_unfinished_ops request_ops = {.cut_off = cut_off, .paused = is_paused};

static void hold(struct rt_http_connection *c)
{
    struct rt_http_exchange *ex = c->exchange;
    size_t bytes = sizeof(*ex) + ex->message.head.cap + ex->message.body.cap;
    if (rt_unfinished_hold(c->server->unfinished, &ex->unfinished, &request_ops, bytes) != 0)
        refuse(ex, &crowded);
}

static void cut_off_stash(struct rt_unfinished *u, enum rt_unfinished_why why)
{
    (void)why;
    close_hard(RT_CONTAINER(u, struct rt_http_connection, stashed));
}

/* It waits for our answer. */
static bool waits_for_us(const struct rt_unfinished *u)
{
    (void)u;
    return true;
}

static const struct rt_unfinished_ops stash_ops = {.cut_off = cut_off_stash,
                                                   .paused = waits_for_us};

/* True: to be called again even without input. */
static bool parse(struct rt_http_connection *c)
{
    size_t used;
    enum rt_http_step step = rt_http_parser_feed(c->parser, c->in, c->in_len, &used);
    c->in += used;
    c->in_len -= used;
    switch (step) {
    case RT_HTTP_HEAD:
        on_head(c);
        return c->exchange != NULL;
    case RT_HTTP_DONE:
        rt_unfinished_end(&c->exchange->unfinished);
        on_request(c);
        return false;
    case RT_HTTP_BAD:
        refuse(c->exchange, rt_http_parser_refusal(c->parser));
        return false;
    case RT_HTTP_MORE:
        hold(c);
        break;
    }
    return false;
}

/* Keeps input for later. */
static void stash(struct rt_http_connection *c, const uint8_t *data, size_t len)
{
    rt_buf_add(&c->pending, data, len);
    if (!rt_buf_ok(&c->pending) ||
        rt_unfinished_hold(c->server->unfinished, &c->stashed, &stash_ops, c->pending.cap) != 0) {
        close_hard(c);
    } else if (c->pending.len >= PENDING_MAX && !c->paused) {
        c->paused = true;
        rt_conn_pause(c->conn);
    }
}

static void serve(struct rt_http_connection *c, uint8_t *data, size_t len)
{
    bool again = false;
    unsigned opened = 0;
    c->serving = true;
    c->in = data;
    c->in_len = len;
    while ((again || c->in_len > 0) && !c->closing && !c->taken) {
        if (c->exchange == NULL && (opened++ == TURN_REQUESTS || !open_exchange(c)))
            break;
        if (c->parser == NULL)
            break; /* a handler holds the request */
        again = parse(c);
    }
    c->serving = false;
    if (c->taken) {
        free_connection(c);
        return;
    }
    if (c->closing)
        return;
    if (c->in_len > 0)
        stash(c, c->in, c->in_len);
    if (c->closing)
        return;
    if (c->exchange == NULL) {
        go_idle(c);
    } else if (c->eof && c->parser != NULL) {
        abandon(detach(c)); /* the rest of this request will not come */
        close_gently(c);
    }
}

static void on_resume(struct rt_timer *timer)
{
    struct rt_http_connection *c = RT_CONTAINER(timer, struct rt_http_connection, timer);
    struct rt_buf input = c->pending;
    c->pending = RT_BUF_INIT;
    rt_unfinished_end(&c->stashed);
    if (c->paused) {
        c->paused = false;
        rt_conn_resume(c->conn);
    }
    serve(c, input.data, input.len);
    rt_buf_deinit(&input);
}

static void on_timeout(struct rt_timer *timer)
{
    struct rt_http_connection *c = RT_CONTAINER(timer, struct rt_http_connection, timer);
    if (c->exchange != NULL && rt_http_parser_started(c->parser)) {
        refuse(c->exchange, &late);
        return;
    }
    /* An idle client, or one that never said anything, is not told: it may be about to send. */
    if (c->exchange != NULL)
        recycle_exchange(detach(c));
    close_gently(c);
}

static void on_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    struct rt_http_connection *c = user;
    (void)conn;
    if (c->closing)
        return;
    bool held = c->exchange != NULL && c->parser == NULL;
    if (held || c->pending.len > 0)
        stash(c, data, len);
    else
        serve(c, data, len);
}

/* The peer has ended its side; it may still read. True keeps the connection. */
static bool on_eof(struct rt_conn *conn, void *user)
{
    struct rt_http_connection *c = user;
    struct rt_http_exchange *ex = c->exchange;
    (void)conn;
    if (c->closing)
        return true;
    c->eof = true;
    if (ex == NULL) {
        if (c->pending.len == 0)
            close_gently(c); /* responses of this turn may be queued */
        return true;
    }
    /* A half request, or a handler that wants to know. */
    if (c->parser != NULL || ex->message.req.on_abort != NULL) {
        abandon(detach(c));
        return false;
    }
    return true;
}

static void on_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    struct rt_http_connection *c = user;
    (void)conn;
    (void)reason;
    if (c->exchange != NULL)
        abandon(detach(c));
    free_connection(c);
}

static const struct rt_conn_handler handler = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_closed = on_closed,
};

static void ignore_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    (void)conn;
    (void)user;
    (void)reason;
}

static const struct rt_conn_handler nobody = {.on_closed = ignore_closed};

static void accept_connection(struct rt_http_server *s, struct rt_conn *conn, bool internal)
{
    struct rt_http_connection *c = rt_calloc(1, sizeof(*c));
    if (c == NULL) {
        rt_conn_set_handler(conn, &nobody, NULL);
        rt_conn_close(conn, RT_CLOSE_LOCAL);
        return;
    }
    c->server = s;
    c->conn = conn;
    c->internal = internal;
    s->connections++;
    rt_list_push(&s->open, &c->link);
    rt_conn_set_handler(conn, &handler, c);
    start_timer(c, s->request_timeout);
}

void rt_http_accept(void *server, struct rt_conn *conn)
{
    struct rt_http_server *s = server;
    accept_connection(s, conn, !s->internal_listener);
}

void rt_http_accept_internal(void *server, struct rt_conn *conn)
{
    accept_connection(server, conn, true);
}

/* ---- the server ----------------------------------------------------------------------------- */

static double read_open(void *arg)
{
    return ((const struct rt_http_server *)arg)->open_exchanges;
}

static void register_metrics(struct rt_http_server *s, struct rt_metrics *metrics)
{
    static const char *const classes[] = {"code=\"1xx\"", "code=\"2xx\"", "code=\"3xx\"",
                                          "code=\"4xx\"", "code=\"5xx\""};
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        s->responses[i] = (struct rt_metric){.name = "http_responses_total",
                                             .help = "Responses by class of their status.",
                                             .labels = classes[i],
                                             .type = RT_COUNTER};
        rt_metrics_register(metrics, &s->responses[i]);
    }
    s->refused = (struct rt_metric){.name = "http_requests_refused_total",
                                    .help = "Requests refused as malformed, too large or late.",
                                    .type = RT_COUNTER};
    s->requests_open = (struct rt_metric){.name = "http_requests_open",
                                          .help = "Requests that wait for their rest or their "
                                                  "response (long-polling).",
                                          .type = RT_GAUGE,
                                          .read = read_open,
                                          .arg = s};
    rt_metrics_register(metrics, &s->refused);
    rt_metrics_register(metrics, &s->requests_open);
}

static int set_prefix(struct rt_http_server *s, const char *prefix, struct rt_err *err)
{
    struct rt_str p = rt_str_c(prefix);
    while (p.len > 0 && p.ptr[p.len - 1] == '/')
        p.len--;
    if (p.len > 0 && (p.ptr[0] != '/' || memchr(p.ptr, '?', p.len) != NULL))
        return rt_err_set(err, RT_EINVAL, "path prefix \"%s\": must begin with '/', have no '?'",
                          prefix);
    s->prefix = rt_strndup(p.len > 0 ? p.ptr : "", p.len);
    s->prefix_len = p.len;
    return s->prefix != NULL ? 0 : rt_err_nomem(err);
}

int rt_http_server_new(struct rt_loop *loop, const struct rt_http_options *options,
                       struct rt_http_server **ret_server, struct rt_err *err)
{
    struct rt_http_server *s = rt_calloc(1, sizeof(*s));
    if (s == NULL)
        return rt_err_nomem(err);
    s->loop = loop;
    s->internal_listener = options->internal_listener;
    s->request_timeout = options->request_timeout;
    rt_list_init(&s->open);
    s->idle_timeout = options->idle_timeout;
    s->unfinished = options->unfinished;
    s->local_hosts = options->local_hosts;
    s->hosts = options->hosts;
    s->host_count = options->host_count;
    int rc = set_prefix(s, options->path_prefix, err);
    if (rc == 0)
        rc = rt_trusted_new(options->trusted_proxies, options->trusted_proxy_count, &s->trusted,
                            err);
    if (rc != 0) {
        rt_http_server_free(s);
        return rc;
    }
    if (options->metrics != NULL)
        register_metrics(s, options->metrics);
    *ret_server = s;
    return 0;
}

int rt_http_route_add(struct rt_http_server *server, const struct rt_http_route *route,
                      struct rt_err *err)
{
    return rt_http_routes_add(&server->routes, route, err);
}

/* There is nothing of the peer's to read, so that a plain close loses nothing. */
static void close_idle(struct rt_http_connection *c)
{
    if (rt_conn_queued(c->conn) == 0) {
        close_hard(c);
        return;
    }
    c->closing = true;
    rt_timer_stop(c->server->loop, &c->timer);
    rt_conn_finish(c->conn);
}

void rt_http_server_hold_back(struct rt_http_server *server, bool held_back)
{
    server->held_back = held_back;
}

void rt_http_server_drain(struct rt_http_server *server)
{
    server->draining = true;
    rt_list_for(node, &server->open) {
        struct rt_http_connection *c = RT_CONTAINER(node, struct rt_http_connection, link);
        if (c->exchange == NULL && c->parser == NULL && !c->taken && !c->closing)
            close_idle(c);
    }
}

void rt_http_server_free(struct rt_http_server *server)
{
    if (server == NULL)
        return;
    assert(server->connections == 0 && server->open_exchanges == 0);
    while (server->free_exchanges != NULL) {
        struct rt_http_exchange *ex = server->free_exchanges;
        server->free_exchanges = ex->next_free;
        free_exchange(ex);
    }
    while (server->free_parser_count > 0)
        rt_http_parser_free(server->free_parsers[--server->free_parser_count]);
    rt_http_routes_deinit(&server->routes);
    rt_trusted_free(server->trusted);
    rt_buf_deinit(&server->scratch);
    rt_free(server->prefix);
    rt_free(server);
}
