/* One HTTP/1.x request from bytes, in pieces of any size. Pure: no socket, no clock.
 *
 * llhttp (strict, no lenient flag) does the grammar and the framing of the body; http/head.c adds what RFC 9112 asks for
 * and llhttp lets through. Bounded: 32 KiB of head, 100 header lines, the body up to `body_limit`, and framing of a chunked
 * body (sizes, extensions, trailers) up to 64 KiB more than eight times its content.
 * The head is kept in one block as received, with header names in lower case; the request's slices point into it.
 *
 * A parser is needed only while bytes of a message are awaited; the message outlives it.
 * Ownership: the message belongs to the caller, and must stay in place until the parser is done with it. Thread: any. */
#ifndef RT_HTTP_PARSER_H
#define RT_HTTP_PARSER_H

#include "http/server.h"

#define RT_HTTP_HEAD_MAX    (32 * 1024)
#define RT_HTTP_HEADERS_MAX 100

/* Why a request is refused: constants. */
struct rt_http_refusal {
    int status;
    const char *code;
    const char *message;
    const char *hint; /* may be NULL */
};

struct rt_http_message {
    struct rt_http_request
        req; /* method, target, path, query, headers, body, upgrade_websocket; the rest is the server's */
    struct rt_buf head;
    struct rt_buf body;
    size_t header_cap;       /* allocated in req.headers */
    uint64_t content_length; /* 0 when there is none, or chunked */
    uint8_t minor;           /* HTTP/1.x */
    bool chunked;
    bool keep_alive;
    bool expect_continue;
};

/* Zeroed memory is a fresh message. */
void rt_http_message_deinit(struct rt_http_message *m);
/* Ready for another request; keeps small buffers. */
void rt_http_message_reset(struct rt_http_message *m);

enum rt_http_step {
    RT_HTTP_MORE, /* all input was used, the message is incomplete */
    RT_HTTP_HEAD, /* the head is complete; set limits and feed on, even if nothing is left (there may be no body) */
    RT_HTTP_DONE, /* the message is complete; what was not used belongs to whatever follows */
    RT_HTTP_BAD,  /* refused, see rt_http_parser_refusal(); the stream is out of step, close it */
};

struct rt_http_parser;

/* NULL: out of memory. */
struct rt_http_parser *rt_http_parser_new(void);
void rt_http_parser_free(struct rt_http_parser *p);
/* Begins a message, which must be fresh or reset. Bodies are unlimited until rt_http_parser_limit(). */
void rt_http_parser_start(struct rt_http_parser *p, struct rt_http_message *m);
/* Longer bodies are refused with 413 as soon as they are seen. Call it at RT_HTTP_HEAD. */
void rt_http_parser_limit(struct rt_http_parser *p, size_t body_limit);
enum rt_http_step rt_http_parser_feed(struct rt_http_parser *p, const uint8_t *data, size_t len,
                                      size_t *ret_used);
/* Has any byte of a message arrived (empty lines before it do not count)? */
bool rt_http_parser_started(const struct rt_http_parser *p);
const struct rt_http_refusal *rt_http_parser_refusal(const struct rt_http_parser *p);

#endif
