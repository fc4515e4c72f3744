/* HTTP/1.1 server: parsing (llhttp, strict), routing, responses, upgrade. RFC 9112.
 *
 * A connection carries one request after the other; the next is parsed after the response to the former was queued. The parser state is borrowed only while a request is open,
 * an idle keep-alive or upgraded connection has none. A handler may answer later (long-polling): it keeps the request, and `on_abort` tells it
 * when the peer has gone. Bodies are buffered up to the route's limit: 413, the connection is closed after it.
 * Refused with 400 and a close: what llhttp lets through and RFC 9112 does not: two or no Host headers, folded header lines, HTTP/0.9, empty header names, whitespace before a colon,
 * Content-Length together with Transfer-Encoding, over 100 headers or 32 KiB of head (431). Unknown methods 501, other versions 505.
 * Errors of our own are JSON {"code","message","hint","request_id"}.
 * Thread: the loop. */
#ifndef RT_HTTP_SERVER_H
#define RT_HTTP_SERVER_H

#include "base/buf.h"
#include "base/metrics.h"
#include "net/conn.h"

enum rt_http_method {
    RT_GET,
    RT_HEAD,
    RT_POST,
    RT_PUT,
    RT_DELETE,
    RT_OPTIONS,
    RT_PATCH,
    RT_OTHER_METHOD
};

struct rt_http_header {
    struct rt_str name; /* lower case */
    struct rt_str value;
};

struct rt_http_request {
    enum rt_http_method method;
    struct rt_str method_name;
    struct rt_str target; /* as received: path and query */
    struct rt_str
        path; /* decoded? no: as received, without the query and without the configured prefix */
    struct rt_str query; /* without '?' */
    struct rt_http_header *headers;
    size_t header_count;
    struct rt_str body;
    bool
        upgrade_websocket; /* a well-formed WebSocket upgrade (Connection: upgrade, Upgrade: websocket, GET) */
    const char
        *remote;   /* client address, through X-Forwarded-For where the peer is a trusted proxy */
    bool secure;   /* X-Forwarded-Proto: https from a trusted proxy */
    bool internal; /* came in on the internal listener, or there is none */
    /* for the handler that keeps the request */
    void *user;
    void (*on_abort)(
        struct rt_http_request
            *req); /* the peer went away before the response; the request is freed after it */
};

struct rt_http_server;

struct rt_http_options {
    const char *path_prefix;            /* "" none */
    const char *const *trusted_proxies; /* addresses, CIDR blocks, "unix:" */
    size_t trusted_proxy_count;
    uint64_t
        request_timeout;   /* ms from the first byte (or the accept) to the complete request: 408 */
    uint64_t idle_timeout; /* ms between requests */
    struct rt_metrics *metrics;
};

int rt_http_server_new(struct rt_loop *loop, const struct rt_http_options *options,
                       struct rt_http_server **ret_server);
void rt_http_server_free(struct rt_http_server *server);
/* For rt_net_listen(): serves this connection. */
void rt_http_accept(void *server, struct rt_conn *conn);
void rt_http_accept_internal(void *server, struct rt_conn *conn);

/* Routes: the longest match wins. A path that ends in '/' or '*' matches by prefix, otherwise exactly ("/socket.io/" also serves
 * "/socket.io/x"). `body_limit` may be raised per request by `limit` in the route. Handlers are called with the whole body. */
struct rt_http_route {
    const char *path; /* copied */
    size_t body_limit;
    bool internal_only; /* 404 on a public listener */
    void (*handle)(struct rt_http_request *req, void *arg);
    /* Called as soon as the head is complete, before the body: may answer at once (then return false), e.g. 413 or 400. May be NULL. */
    bool (*head)(struct rt_http_request *req, void *arg);
    void *arg;
};
int rt_http_route_add(struct rt_http_server *server, const struct rt_http_route *route,
                      struct rt_err *err);

struct rt_str rt_http_header(const struct rt_http_request *req,
                             const char *lower_name); /* first; none: ptr NULL */
/* A parameter of the query, decoded into `out`: false when absent. The last of equal names wins. "a" and "a=" are empty. */
bool rt_http_query(struct rt_str query, const char *name, struct rt_buf *out);
/* Walks all parameters: raw name and value slices, to be decoded by rt_url_decode(). */
bool rt_http_query_next(struct rt_str *rest, struct rt_str *name, struct rt_str *value);

/* Responses. `headers`: extra lines, each "Name: value\r\n". Content-Length, Date-free; Connection as needed. After it the request is gone.
 * Exactly one response per request. */
void rt_http_respond(struct rt_http_request *req, int status, const char *content_type,
                     struct rt_str headers, struct rt_str body);
/* The body by reference: [off, off+len) of shared bytes. */
void rt_http_respond_bytes(struct rt_http_request *req, int status, const char *content_type,
                           struct rt_str headers, struct rt_bytes *body);
/* Our JSON error; `hint` may be NULL. `code` is a constant word such as "unknown_channel". */
void rt_http_error(struct rt_http_request *req, int status, const char *code, const char *message,
                   const char *hint);
/* Answers and closes after it. */
void rt_http_close_after(struct rt_http_request *req);
/* Closes the connection without an answer. */
void rt_http_abort(struct rt_http_request *req);
struct rt_conn *rt_http_conn(struct rt_http_request *req);
const char *rt_http_request_id(struct rt_http_request *req);

/* Takes the connection over after a 101 (or anything else) was queued by the caller: the request is freed, HTTP forgets the connection, `handler`
 * gets its callbacks, bytes that came behind the request are delivered to handler->on_data before this returns. */
void rt_http_take_over(struct rt_http_request *req, const struct rt_conn_handler *handler,
                       void *user);

#endif
