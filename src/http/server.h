/* HTTP/1.1 server: parsing (llhttp, strict), routing, responses, upgrade. RFC 9112.
 *
 * A connection carries one request after the other; the next is parsed after the response to the former was queued. The
 * parser state is borrowed only while bytes of a request are awaited, an idle keep-alive or upgraded connection has none.
 * A handler may answer later (long-polling): it keeps the request, and `on_abort` tells it when the peer has gone.
 * Meanwhile up to 64 KiB of following requests are buffered, then reading pauses, and the end of the stream is not seen.
 * Bodies are buffered up to the route's limit: 413, as early as Content-Length or a chunk size shows it.
 * Refused with 400 and a close: what llhttp lets through and RFC 9112 does not: two or no Host headers, folded header
 * lines, HTTP/0.9, empty header names, whitespace before a colon, Content-Length together with Transfer-Encoding. Over 100
 * headers or 32 KiB of head 431, a target of that size 414; unknown methods 501, other versions 505, other expectations
 * than 100-continue 417. A request that is not complete in time 408, nothing at all in time: closed silently.
 * Errors of our own are JSON {"code","message","hint","request_id"}, a 503 among them has Retry-After; every response has X-Request-Id.
 * Thread: the loop. */
#ifndef RT_HTTP_SERVER_H
#define RT_HTTP_SERVER_H

#include "base/buf.h"
#include "base/metrics.h"
#include "net/conn.h"
#include "net/unfinished.h"

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
    /* Not decoded, without the query, without scheme and authority, without the configured prefix. */
    struct rt_str path;
    struct rt_str query; /* without '?' */
    struct rt_http_header *headers;
    size_t header_count;
    struct rt_str header_lines; /* the same as received, each with its CR LF; names in lower case */
    struct rt_str body;
    size_t body_limit; /* the route's; its head() may change it */
    /* A GET with Connection: upgrade and Upgrade: websocket; the rest is up to rt_ws_check(). */
    bool upgrade_websocket;
    const char
        *remote;   /* client address, through X-Forwarded-For where the peer is a trusted proxy */
    bool secure;   /* X-Forwarded-Proto: https from a trusted proxy */
    bool internal; /* came in on the internal listener, or there is none */
    /* For the handler that keeps the request. `on_abort` may be set from head() on: it comes when the request ends without
     * the handler's answer (the peer went away, the rest of the body is bad, too long or late). The request is freed after
     * it; it may not be answered. While it is NULL, a request whose peer has gone stays valid until it is answered, and
     * the answer goes nowhere. */
    void *user;
    void (*on_abort)(struct rt_http_request *req);
};

struct rt_http_server;

struct rt_http_options {
    const char *path_prefix;            /* "" or NULL none, else "/x"; copied */
    const char *const *trusted_proxies; /* addresses, CIDR blocks, "unix:"; copied */
    size_t trusted_proxy_count;
    bool local_hosts;         /* a Host that is not local (http/local.h) gets 403, at every path */
    const char *const *hosts; /* patterns of names that are local as well; used as they are */
    size_t host_count;
    bool internal_listener; /* there is one: public connections do not get internal routes */
    uint64_t
        request_timeout; /* ms from the first byte (or the accept) to the complete request: 408; 0 none */
    uint64_t idle_timeout;                /* ms between requests; 0 none */
    struct rt_unfinished_set *unfinished; /* where requests count until they are whole; NULL none */
    struct rt_metrics *metrics;           /* NULL: none */
};

/* RT_EINVAL names the option that is malformed. */
int rt_http_server_new(struct rt_loop *loop, const struct rt_http_options *options,
                       struct rt_http_server **ret_server, struct rt_err *err);
/* Every connection must have closed. A request that was aborted without on_abort and never answered must have been. */
void rt_http_server_free(struct rt_http_server *server);
/* From now on every response closes its connection, and those between requests are closed (draining). */
void rt_http_server_drain(struct rt_http_server *server);
/* While it is held back, only routes that are `always` there are served; all else gets 503 with Retry-After (starting). */
void rt_http_server_hold_back(struct rt_http_server *server, bool held_back);
/* For rt_net_listen(): serves this connection. */
void rt_http_accept(void *server, struct rt_conn *conn);
void rt_http_accept_internal(void *server, struct rt_conn *conn);

/* Routes: the longest match wins. A path that ends in '/' or '*' (which is cut off) matches by prefix, otherwise exactly
 * ("/socket.io/" also serves "/socket.io/x"; "/" and "*" serve whatever has no other route). Nothing matches: 404.
 * Handlers are called with the whole body, for every method. */
struct rt_http_route {
    const char *path; /* copied */
    size_t body_limit;
    bool internal_only; /* 404 on a public listener */
    bool always;        /* also while the server is held back */
    void (*handle)(struct rt_http_request *req, void *arg);
    /* Called as soon as the head is complete, before the body: may answer at once (then returns false; the connection is
     * closed after it if there is a body). May be NULL. */
    bool (*head)(struct rt_http_request *req, void *arg);
    void *arg;
};
/* RT_EEXIST when the path has a route, RT_EINVAL when it does not begin with '/' or is not "*". */
int rt_http_route_add(struct rt_http_server *server, const struct rt_http_route *route,
                      struct rt_err *err);

/* The first of this name; none: ptr NULL. */
struct rt_str rt_http_header(const struct rt_http_request *req, const char *lower_name);
/* A parameter of the query, decoded into `out`: false when absent. The last of equal names wins. "a" and "a=" are empty. */
bool rt_http_query(struct rt_str query, const char *name, struct rt_buf *out);
/* Walks all parameters: raw name and value slices, to be decoded by rt_url_decode(). */
bool rt_http_query_next(struct rt_str *rest, struct rt_str *name, struct rt_str *value);

/* Responses. `headers`: extra lines, each "Name: value\r\n"; content_type NULL: none. We add Content-Length, X-Request-Id and
 * Connection as needed, no Date. HEAD gets everything but the body; 1xx, 204 and 304 have neither body nor length.
 * After it the request is gone. Exactly one response per request. */
void rt_http_respond(struct rt_http_request *req, int status, const char *content_type,
                     struct rt_str headers, struct rt_str body);
/* The body by reference; takes a reference of its own. */
void rt_http_respond_bytes(struct rt_http_request *req, int status, const char *content_type,
                           struct rt_str headers, struct rt_bytes *body);
/* Our JSON error; `hint` may be NULL. `code` is a constant word such as "unknown_channel". */
void rt_http_error(struct rt_http_request *req, int status, const char *code, const char *message,
                   const char *hint);
/* To be called before the answer: the connection is closed after it. */
void rt_http_close_after(struct rt_http_request *req);
/* Closes the connection without an answer; the request is gone. */
void rt_http_abort(struct rt_http_request *req);
/* NULL when the peer has gone already. */
struct rt_conn *rt_http_conn(struct rt_http_request *req);
/* Random, or what a trusted proxy sent. Lives as long as the request. */
const char *rt_http_request_id(struct rt_http_request *req);

/* Takes the connection over after a 101 (or anything else) was queued by the caller: the request is freed, HTTP forgets the
 * connection, `handler` gets its callbacks, bytes that came behind the request are delivered to handler->on_data before this
 * returns. From handle() or later, not from head(); rt_http_conn() must not be NULL. */
void rt_http_take_over(struct rt_http_request *req, const struct rt_conn_handler *handler,
                       void *user);

#endif
