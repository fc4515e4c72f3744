/* Requests of a mount: which session, which transport, or which error. The order of the checks is the reference server's, since clients
 * and suites see the first error only. */
#include "http/origin.h"
#include "proto/socketio/engine_internal.h"

#include "base/alloc.h"

static const struct {
    int status;
    const char *text;
} ERRORS[] = {
    [EIO_UNKNOWN_TRANSPORT] = {400, "Transport unknown"},
    [EIO_UNKNOWN_SID] = {400, "Session ID unknown"},
    [EIO_BAD_METHOD] = {400, "Bad handshake method"},
    [EIO_BAD_REQUEST] = {400, "Bad request"},
    [EIO_FORBIDDEN] = {403, "Forbidden"},
    [EIO_BAD_VERSION] = {400, "Unsupported protocol version"},
};

void rt_eio_respond_with(struct rt_eio_mount *m, struct rt_http_request *req, int status,
                         const char *content_type, struct rt_str headers, struct rt_str body)
{
    struct rt_buf lines = RT_BUF_INIT;
    rt_eio_cors_add(m->options.config, req, &lines);
    rt_buf_add_c(&lines, "Cache-Control: no-store\r\n");
    rt_buf_add_str(&lines, headers);
    if (rt_buf_ok(&lines))
        rt_http_respond(req, status, content_type, rt_buf_str(&lines), body);
    else
        rt_http_abort(req);
    rt_buf_deinit(&lines);
}

void rt_eio_respond(struct rt_eio_mount *m, struct rt_http_request *req, int status,
                    const char *content_type, struct rt_str body)
{
    rt_eio_respond_with(m, req, status, content_type, RT_STR_NONE, body);
}

/* The revision of the protocol that a request names; 0: none that there is. */
static unsigned revision_of(const struct rt_http_request *req)
{
    struct rt_buf value = RT_BUF_INIT;
    unsigned revision = 0;
    if (rt_http_query(req->query, "EIO", &value) && value.len == 1 &&
        (value.data[0] == '3' || value.data[0] == '4'))
        revision = value.data[0] - '0';
    rt_buf_deinit(&value);
    return revision;
}

/* Not of unknown session ids: each restart makes many of them, and clients begin anew. */
static void tell_error(struct rt_eio_mount *m, const struct rt_http_request *req,
                       enum rt_eio_error error)
{
    struct rt_str path = rt_str_c(m->options.path), origin = rt_http_header(req, "origin");
    if (error == EIO_FORBIDDEN && !rt_eio_origin_allowed(m->options.config, req))
        rt_eio_refused(m, RT_REFUSED_ORIGIN, origin, "enforce_origin", "cors.origins");
    else if (error == EIO_UNKNOWN_TRANSPORT)
        rt_eio_refused(m, RT_REFUSED_TRANSPORT, path, NULL, "transports");
    else if (error == EIO_BAD_VERSION)
        rt_eio_refused(m, RT_REFUSED_VERSION, path, NULL,
                       revision_of(req) == 3 ? "allow_eio3" : NULL);
    else if (error == EIO_BAD_METHOD || error == EIO_BAD_REQUEST)
        rt_eio_refused(m, RT_REFUSED_REQUEST, path, ERRORS[error].text, NULL);
}

void rt_eio_error(struct rt_eio_mount *m, struct rt_http_request *req, enum rt_eio_error error)
{
    struct rt_str text = rt_str_c(ERRORS[error].text);
    m->metrics.refused.value++;
    tell_error(m, req, error);
    if (req->upgrade_websocket) {
        /* A WebSocket client reads no JSON; the reference server answers it with the bare text. */
        rt_http_close_after(req);
        rt_eio_respond(m, req, ERRORS[error].status, "text/html", text);
        return;
    }
    struct rt_buf body = RT_BUF_INIT;
    rt_buf_printf(&body, "{\"code\":%d,\"message\":\"%s\"}", (int)error, ERRORS[error].text);
    if (rt_buf_ok(&body))
        rt_eio_respond(m, req, ERRORS[error].status, "application/json", rt_buf_str(&body));
    else
        rt_http_abort(req);
    rt_buf_deinit(&body);
}

static void add_cookie(struct rt_buf *out, const char *name, const char *value,
                       const struct rt_strings *attributes)
{
    rt_buf_printf(out, "Set-Cookie: %s=%s", name, value);
    for (size_t i = 0; i < attributes->count; i++)
        rt_buf_printf(out, "; %s", attributes->items[i]);
    rt_buf_add_c(out, "\r\n");
}

void rt_eio_add_cookie(const struct rt_eio_session *s, struct rt_buf *out)
{
    const char *name = s->mount->options.config->cookie;
    if (name && name[0] != '\0')
        add_cookie(out, name, s->sid, &s->mount->options.config->cookie_attributes);
}

/* What the query says. */
struct params {
    bool has_sid, has_transport, polling, websocket;
    unsigned revision;
    struct rt_eio_session *session; /* of the sid; NULL: unknown */
};

static struct rt_eio_session *find(const struct rt_eio_mount *m, struct rt_str sid)
{
    return sid.len > 0 ? rt_map_get(&m->table, sid) : NULL;
}

static void read_params(const struct rt_eio_mount *m, const struct rt_http_request *req,
                        struct params *p)
{
    struct rt_buf value = RT_BUF_INIT;
    *p = (struct params){.revision = revision_of(req)};
    if (rt_http_query(req->query, "transport", &value)) {
        p->has_transport = true;
        p->polling = rt_str_eq(rt_buf_str(&value), RT_STR("polling"));
        p->websocket = rt_str_eq(rt_buf_str(&value), RT_STR("websocket"));
    }
    rt_buf_clear(&value);
    if (rt_http_query(req->query, "sid", &value)) {
        p->has_sid = true;
        p->session = find(m, rt_buf_str(&value));
    }
    rt_buf_deinit(&value);
}

/* A header value that the reference server refuses: control characters in Origin. */
static bool bad_origin(const struct rt_http_request *req)
{
    struct rt_str origin = rt_http_header(req, "origin");
    for (size_t i = 0; i < origin.len; i++) {
        unsigned char c = (unsigned char)origin.ptr[i];
        if (c < 0x20 || c == 0x7f)
            return true;
    }
    return false;
}

/* Checks in the reference server's order. Returns -1 when the request is fine. */
static int verify(struct rt_eio_mount *m, const struct rt_http_request *req, const struct params *p)
{
    const struct rt_engineio_config *config = m->options.config;
    if (!(p->polling && config->polling) && !(p->websocket && config->websocket))
        return EIO_UNKNOWN_TRANSPORT;
    if (bad_origin(req))
        return EIO_BAD_REQUEST;
    if (p->has_sid) {
        if (!p->session || rt_eio_session_overdue(p->session))
            return EIO_UNKNOWN_SID;
        if (p->session->poll)
            rt_eio_quota_confirm(&p->session->poll->share);
        bool upgraded = p->session->transport == RT_EIO_WEBSOCKET;
        if (!req->upgrade_websocket && (p->websocket || upgraded))
            return EIO_BAD_REQUEST;
        if (p->revision != rt_eio_revision(p->session))
            return EIO_BAD_REQUEST;
        return req->upgrade_websocket && !p->websocket ? EIO_BAD_REQUEST : -1;
    }
    if (req->method != RT_GET)
        return EIO_BAD_METHOD;
    if (p->websocket != req->upgrade_websocket)
        return EIO_BAD_REQUEST;
    if (!rt_eio_origin_allowed(config, req))
        return EIO_FORBIDDEN;
    bool spoken = p->revision == 4 || (p->revision == 3 && config->allow_eio3);
    return spoken ? -1 : EIO_BAD_VERSION;
}

static void unavailable(struct rt_eio_mount *m, struct rt_http_request *req, const char *message)
{
    struct rt_buf body = RT_BUF_INIT;
    m->metrics.refused.value++;
    rt_http_close_after(req);
    rt_buf_printf(&body, "{\"code\":%d,\"message\":\"%s\"}", EIO_BAD_REQUEST, message);
    if (rt_buf_ok(&body))
        rt_eio_respond_with(m, req, 503, "application/json", RT_STR("Retry-After: 1\r\n"),
                            rt_buf_str(&body));
    else
        rt_http_abort(req);
    rt_buf_deinit(&body);
}

/* A browser hides what is answered from a page that no CORS header names, whatever we do: the page only sees that it failed. Requests of the same
 * origin, and of what is no browser, have no need of them. */
static void tell_cors(struct rt_eio_mount *m, const struct rt_http_request *req)
{
    const struct rt_strings *origins = &m->options.config->cors_origins;
    if (!rt_http_origin_allowed(req, origins->items, origins->count))
        rt_eio_refused(m, RT_REFUSED_CORS, rt_http_header(req, "origin"), NULL, "cors.origins");
}

static void handshake(struct rt_eio_mount *m, struct rt_http_request *req, const struct params *p)
{
    if (m->draining) {
        unavailable(m, req, "Server is shutting down");
        return;
    }
    enum rt_eio_quota why = rt_eio_quota_refuses(m, p->websocket ? "" : req->remote,
                                                 p->websocket ? 0 : rt_eio_session_size(m, req));
    if (why != RT_EIO_FITS) {
        unavailable(m, req, rt_eio_quota_text(why));
        return;
    }
    if (p->websocket) {
        rt_eio_ws_handshake(m, req, p->revision);
        return;
    }
    struct rt_eio_session *s = NULL;
    tell_cors(m, req);
    if (rt_eio_session_new(m, req, RT_EIO_POLLING, p->revision, &s)) {
        unavailable(m, req, "Out of memory");
        return;
    }
    s->poll->not_before = rt_loop_now(m->loop) + m->options.config->handshake_delay;
    m->metrics.opened_polling.value++;
    int status = rt_eio_session_open(s);
    if (s->state != EIO_CLOSED)
        rt_eio_poll_get(s, req);
    else if (status == RT_ENOMEM)
        unavailable(m, req, "Out of memory");
    else
        rt_eio_error(m, req, EIO_FORBIDDEN);
}

static void with_session(struct rt_eio_mount *m, struct rt_http_request *req,
                         struct rt_eio_session *s)
{
    rt_eio_session_ready(s);
    if (s->state == EIO_CLOSED)
        rt_eio_error(m, req, EIO_UNKNOWN_SID);
    else if (req->upgrade_websocket)
        rt_eio_ws_upgrade(s, req);
    else if (req->method == RT_GET && s->state == EIO_LINGERING)
        rt_eio_poll_last(s, req);
    else if (req->method == RT_GET)
        rt_eio_poll_get(s, req);
    else if (req->method == RT_POST)
        rt_eio_poll_post(s, req);
    else
        rt_eio_respond(m, req, 500, NULL, RT_STR_NONE);
}

static bool is_file(const struct rt_eio_mount *m, struct rt_http_request *req)
{
    return m->options.file && req->method <= RT_HEAD && !req->upgrade_websocket &&
           req->path.len > strlen(m->options.path) && m->options.file(req, m->options.user_arg);
}

static void handle(struct rt_http_request *req, void *arg)
{
    struct rt_eio_mount *m = arg;
    if (req->method == RT_OPTIONS && rt_eio_cors_on(m->options.config)) {
        rt_eio_cors_preflight(m, req);
        return;
    }
    struct params p;
    read_params(m, req, &p);
    if (!p.has_transport && !p.has_sid && is_file(m, req))
        return;
    /* A POST was attached to its session with its head, and is let go when the session ends. */
    if (req->user)
        rt_eio_session_ready(req->user);
    if (req->user) {
        rt_eio_poll_post(req->user, req);
        return;
    }
    int error = verify(m, req, &p);
    if (error >= 0)
        rt_eio_error(m, req, (enum rt_eio_error)error);
    else if (p.has_sid)
        with_session(m, req, p.session);
    else
        handshake(m, req, &p);
}

/* Before the body of a POST: the session must know that one is on its way. */
static bool head(struct rt_http_request *req, void *arg)
{
    struct rt_eio_mount *m = arg;
    if (req->method != RT_POST)
        return true;
    struct params p;
    read_params(m, req, &p);
    int error = verify(m, req, &p);
    if (error >= 0) {
        rt_eio_error(m, req, (enum rt_eio_error)error);
        return false;
    }
    return rt_eio_poll_post_head(p.session, req);
}

int rt_eio_mount_route(struct rt_eio_mount *m, struct rt_err *err)
{
    struct rt_http_route route = {.path = m->options.path,
                                  .body_limit = m->options.config->max_payload,
                                  .handle = handle,
                                  .head = head,
                                  .arg = m};
    int status = rt_http_route_add(m->http, &route, err);
    size_t len = strlen(m->options.path);
    if (status || m->options.path[len - 1] == '/')
        return status;
    /* What the reference does with `addTrailingSlash: false`: the path itself, and what is below it. */
    struct rt_buf below = RT_BUF_INIT;
    rt_buf_printf(&below, "%s/", m->options.path);
    route.path = rt_buf_cstr(&below);
    status = rt_buf_ok(&below) ? rt_http_route_add(m->http, &route, err) : rt_err_nomem(err);
    rt_buf_deinit(&below);
    return status;
}
