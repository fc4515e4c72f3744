/* What the files of http/ share: the server, its connections, and exchanges (a request and its response).
 *
 * Life of an exchange: opened with the first byte of a request; the connection's parser fills it; head() and handle() of its
 * route get it; it ends with the response, or with on_abort. Then it goes back to the server's free list. While the handler
 * holds it the connection has no parser. An exchange whose connection has gone (`c` NULL) waits for its answer only. */
#ifndef RT_HTTP_INTERNAL_H
#define RT_HTTP_INTERNAL_H

#include "http/forwarded.h"
#include "http/parser.h"
#include "http/route.h"
#include "net/unfinished.h"

#define RT_HTTP_ID_MAX 64

struct rt_http_connection;

struct rt_http_exchange {
    struct rt_http_message message; /* first: a request is its exchange */
    struct rt_http_server *server;
    struct rt_http_connection *c; /* NULL: the peer has gone */
    const struct rt_http_route *route;
    struct rt_http_exchange *next_free;
    struct rt_unfinished unfinished; /* head and body, until they are whole */
    struct rt_forwarded forwarded;
    bool handled; /* handle() was called: somebody may hold it */
    bool close_after;
    char id[RT_HTTP_ID_MAX + 1]; /* "": not made yet */
};

struct rt_http_connection {
    struct rt_http_server *server;
    struct rt_list link; /* server->open */
    struct rt_conn *conn;
    struct rt_http_exchange *exchange; /* NULL between requests */
    struct rt_http_parser *parser;     /* borrowed while bytes of the request are awaited */
    struct rt_timer timer;             /* request, idle, or the turn that goes on with `pending` */
    struct rt_buf pending;             /* what came behind a request that is held */
    struct rt_unfinished stashed;      /* the memory of `pending` */
    uint8_t *in;                       /* input that is being served, not used yet */
    size_t in_len;
    bool internal;
    bool serving; /* serve() is on the stack: it goes on itself */
    bool closing; /* nothing is read any more */
    bool taken;   /* somebody else has the connection */
    bool paused;
    bool eof;
};

struct rt_http_server {
    struct rt_loop *loop;
    char *prefix; /* without a slash at its end */
    size_t prefix_len;
    struct rt_http_routes routes;
    struct rt_trusted *trusted;
    bool internal_listener;
    bool local_hosts;
    const char *const *hosts;
    size_t host_count;
    bool draining;
    bool held_back;
    uint64_t request_timeout, idle_timeout;
    struct rt_unfinished_set *unfinished; /* NULL: no limits */
    struct rt_http_exchange *free_exchanges;
    struct rt_http_parser *free_parsers[4]; /* nearly always one is in use at a time */
    struct rt_list open;                    /* rt_http_connection.link: all that are ours */
    uint32_t free_exchange_count, free_parser_count;
    uint32_t connections, open_exchanges;
    struct rt_buf scratch; /* response heads are built here */
    struct rt_metric responses[5], refused, requests_open;
};

static inline struct rt_http_exchange *rt_http_exchange_of(struct rt_http_request *req)
{
    return RT_CONTAINER(req, struct rt_http_exchange, message.req);
}

/* server.c. The response was queued: the request is gone, the connection goes on or is finished. */
void rt_http_exchange_end(struct rt_http_exchange *ex, bool keep_alive);
/* May the connection be used after this response? */
bool rt_http_exchange_keeps(const struct rt_http_exchange *ex);

#endif
