/* The request parser: what it accepts and means, what it refuses and with which status, cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "http/parser.h"

enum { LIMIT = 1000 };

struct outcome {
    int status; /* 0: a request; -1: incomplete; else the refusal */
    size_t used;
    char text[6000]; /* the request in one normal form */
};

static void print_request(const struct rt_http_message *m, char *out, size_t size)
{
    const struct rt_http_request *r = &m->req;
    struct rt_buf b = RT_BUF_INIT;
    rt_buf_printf(&b, "%d %.*s %.*s|%.*s|%.*s v%d%s%s%s", r->method, RT_STR_ARG(r->method_name),
                  RT_STR_ARG(r->target), RT_STR_ARG(r->path), RT_STR_ARG(r->query), m->minor,
                  m->keep_alive ? " keep" : "", m->expect_continue ? " expect" : "",
                  r->upgrade_websocket ? " ws" : "");
    for (size_t i = 0; i < r->header_count; i++)
        rt_buf_printf(&b, "\n%.*s=%.*s", RT_STR_ARG(r->headers[i].name),
                      RT_STR_ARG(r->headers[i].value));
    rt_buf_printf(&b, "\nbody %zu %.*s", r->body.len, RT_STR_ARG(r->body));
    snprintf(out, size, "%s", rt_buf_cstr(&b));
    rt_buf_deinit(&b);
}

/* Feeds `len` bytes that are followed by nothing, each piece in a block of its own, so that ASan sees every overrun. */
static bool feed_piece(struct rt_http_parser *p, const char *data, size_t len, size_t *used,
                       enum rt_http_step *ret_step)
{
    uint8_t *copy = malloc(len ? len : 1);
    size_t at = 0;
    enum rt_http_step step = RT_HTTP_MORE;
    memcpy(copy, data, len);
    do {
        size_t n;
        step = rt_http_parser_feed(p, copy + at, len - at, &n);
        assert_true(n <= len - at);
        at += n;
        if (step == RT_HTTP_HEAD)
            rt_http_parser_limit(p, LIMIT);
    } while (step == RT_HTTP_HEAD || (step == RT_HTTP_MORE && at < len));
    free(copy);
    *used += at;
    *ret_step = step;
    return step == RT_HTTP_MORE;
}

/* Cut into pieces that end at `cuts`. */
static void run(const char *data, size_t len, const size_t *cuts, size_t cut_count,
                struct outcome *o)
{
    struct rt_http_message m;
    struct rt_http_parser *p = rt_http_parser_new();
    enum rt_http_step step = RT_HTTP_MORE;
    size_t from = 0;
    memset(&m, 0, sizeof(m));
    memset(o, 0, sizeof(*o));
    assert_non_null(p);
    rt_http_parser_start(p, &m);
    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i < cut_count ? cuts[i] : len;
        if (!feed_piece(p, data + from, to - from, &o->used, &step))
            break;
        from = to;
    }
    o->status = step == RT_HTTP_MORE ? -1 : 0;
    if (step == RT_HTTP_BAD) {
        o->status = rt_http_parser_refusal(p)->status;
        o->used = 0;
    }
    if (step == RT_HTTP_DONE)
        print_request(&m, o->text, sizeof(o->text));
    rt_http_message_deinit(&m);
    rt_http_parser_free(p);
}

static void assert_same(const struct outcome *a, const struct outcome *b, const char *data,
                        size_t x)
{
    if (a->status != b->status || a->used != b->used || strcmp(a->text, b->text) != 0)
        fail_msg("cut at %zu: %d used %zu \"%s\", whole: %d used %zu \"%s\" for:\n%s", x, b->status,
                 b->used, b->text, a->status, a->used, a->text, data);
}

/* Whole, in two pieces cut at every place, in single bytes: always the same. */
static void run_all(const char *data, size_t len, struct outcome *whole)
{
    struct outcome other;
    run(data, len, NULL, 0, whole);
    for (size_t cut = 0; cut <= len && len < 3000; cut++) {
        run(data, len, &cut, 1, &other);
        assert_same(whole, &other, data, cut);
    }
    size_t *cuts = malloc((len + 1) * sizeof(*cuts));
    for (size_t i = 0; i < len; i++)
        cuts[i] = i + 1;
    run(data, len, cuts, len, &other);
    assert_same(whole, &other, data, SIZE_MAX);
    free(cuts);
}

static const struct {
    const char *input;
    const char *text; /* of the outcome */
    size_t rest;      /* bytes that are not this request's */
} good[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "0 GET /|/| v1 keep\nhost=a\nbody 0 ", 0},
    {"GET /a/b?c=d&e HTTP/1.1\r\nHOST:a\r\nX-Y:  z \t\r\n\r\n",
     "0 GET /a/b?c=d&e|/a/b|c=d&e v1 keep\nhost=a\nx-y=z\nbody 0 ", 0},
    {"\r\n\r\nHEAD /x HTTP/1.0\r\n\r\nGET", "1 HEAD /x|/x| v0\nbody 0 ", 3},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     "0 GET /|/| v0 keep\nconnection=keep-alive\nbody 0 ", 0},
    {"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
     "0 GET /|/| v1\nhost=\nconnection=close\nbody 0 ", 0},
    {"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPOST",
     "2 POST /p|/p| v1 keep\nhost=a\ncontent-length=5\nbody 5 hello", 4},
    {"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nx",
     "2 POST /p|/p| v1 keep\nhost=a\ncontent-length=0\nbody 0 ", 1},
    {"PUT /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n1;x=\"y\"\r\n!\r\n0\r\n\r\nG",
     "3 PUT /p|/p| v1 keep\nhost=a\ntransfer-encoding=Chunked\nbody 6 hello!", 1},
    {"PATCH /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0A\r\n0123456789\r\n000\r\n"
     "Trailer: t\r\n\r\n",
     "6 PATCH /p|/p| v1 keep\nhost=a\ntransfer-encoding=chunked\nbody 10 0123456789", 0},
    {"DELETE /p HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
     "4 DELETE /p|/p| v1 keep\nhost=[::1]:80\nbody 0 ", 0},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "5 OPTIONS *|*| v1 keep\nhost=a\nbody 0 ", 0},
    {"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", "7 PROPFIND /|/| v1 keep\nhost=a\nbody 0 ", 0},
    {"GET http://h:1/a?b HTTP/1.1\r\nHost: h:1\r\n\r\n",
     "0 GET http://h:1/a?b|/a|b v1 keep\nhost=h:1\nbody 0 ", 0},
    {"GET HTTPS://h HTTP/1.1\r\nHost: h\r\n\r\n", "0 GET HTTPS://h|/| v1 keep\nhost=h\nbody 0 ", 0},
    {"GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "0 GET http://h?q|/|q v1 keep\nhost=h\nbody 0 ",
     0},
    /* bytes over 0x7f are legal in values, RFC 9110 section 5.5 */
    {"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\r\n\r\n",
     "0 GET /|/| v1 keep\nhost=a\nx=\xc3\xa9\nbody 0 ", 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nX: 2\r\n\r\n",
     "0 GET /|/| v1 keep\nhost=a\nx=\nx=2\nbody 0 ", 0},
    {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
     "2 POST /|/| v1 keep expect\nhost=a\nexpect=100-Continue\ncontent-length=1\nbody 1 x", 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
     "0 GET /|/| v1 keep\nhost=a\nexpect=100-continue\nbody 0 ", 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n\x81",
     "0 GET /|/| v1 keep ws\nhost=a\nconnection=keep-alive, Upgrade\nupgrade=WebSocket\nbody 0 ",
     1},
    /* Java's client offers HTTP/2 with every first request, also with a body */
    {"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
     "Content-Length: 2\r\n\r\nhiX",
     "2 POST /|/| v1 keep\nhost=a\nconnection=Upgrade, HTTP2-Settings\nupgrade=h2c\n"
     "content-length=2\nbody 2 hi",
     1},
    /* no upgrade: a body, another method, the wrong protocol, no Connection header */
    {"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
     "2 POST /|/| v1 keep\nhost=a\nconnection=Upgrade\nupgrade=websocket\nbody 0 ", 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
     "0 GET /|/| v1 keep\nhost=a\nupgrade=websocket\nbody 0 ", 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
     "0 GET /|/| v1 keep\nhost=a\nconnection=Upgrade\nupgrade=websocket\ncontent-length=1\n"
     "body 1 x",
     0},
};

static void accepts(void **state)
{
    struct outcome o;
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t len = strlen(good[i].input);
        run_all(good[i].input, len, &o);
        if (o.status != 0)
            fail_msg("status %d for:\n%s", o.status, good[i].input);
        assert_string_equal(o.text, good[i].text);
        assert_int_equal(o.used, len - good[i].rest);
    }
}

#define GET1   "GET / HTTP/1.1\r\n"
#define HOSTED GET1 "Host: a\r\n"
#define POSTED "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKS POSTED "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    int status;
    const char *input;
} bad[] = {
    /* the request line */
    {400, "GET /\r\n"}, /* HTTP/0.9 */
    {400, "GET / \r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
    {400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\nHost: a\r\n\r\n"}, /* bare LF */
    {400, "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {400, "OPTIONS / RTSP/1.0\r\nHost: a\r\n\r\n"},
    {400, "SOURCE / ICE/1.0\r\nHost: a\r\n\r\n"},
    {400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "\x16\x03\x01\x02"}, /* a TLS handshake */
    {400, "{\"a\":1}"},
    {501, "FOO / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "GETX / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"},
    {400, "GET / HTTP/x.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/11.1\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"},
    {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    /* header lines */
    {400, HOSTED "X: a\r\n b\r\n\r\n"}, /* folded */
    {400, HOSTED "X: a\r\n\tb\r\n\r\n"},
    {400, GET1 " Host: a\r\n\r\n"},
    {400, HOSTED "X : a\r\n\r\n"},
    {400, HOSTED "X\t: a\r\n\r\n"},
    {400, HOSTED ": a\r\n\r\n"},
    {400, HOSTED "X\r\n\r\n"},
    {400, HOSTED "X Y: a\r\n\r\n"},
    {400, HOSTED "X(: a\r\n\r\n"},
    {400, HOSTED "X\xc3\xa9: a\r\n\r\n"},
    {400, HOSTED "X: a\nY: b\r\n\r\n"},
    {400, HOSTED "X: a\rY: b\r\n\r\n"},
    {400, HOSTED "X:\rTransfer-Encoding: chunked\r\n\r\n"},
    {400, HOSTED "X: \x01\r\n\r\n"},
    {400, HOSTED "X: \x7f\r\n\r\n"},
    {400, HOSTED "\n"},
    {400, HOSTED "\r\r\n"},
    /* Host */
    {400, GET1 "\r\n"},
    {400, GET1 "X: a\r\n\r\n"},
    {400, HOSTED "Host: a\r\n\r\n"},
    {400, HOSTED "hOST: b\r\n\r\n"},
    {400, GET1 "Host: a b\r\n\r\n"},
    {400, GET1 "Host: a/b\r\n\r\n"},
    {400, GET1 "Host: u@a\r\n\r\n"},
    /* framing */
    {400, POSTED "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"},
    {400, POSTED "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"},
    {400, POSTED "Content-Length: 1, 1\r\n\r\nx"},
    {400, POSTED "Content-Length: +1\r\n\r\nx"},
    {400, POSTED "Content-Length: -1\r\n\r\nx"},
    {400, POSTED "Content-Length: 0x1\r\n\r\nx"},
    {400, POSTED "Content-Length: 1 1\r\n\r\nx"},
    {400, POSTED "Content-Length:\r\n\r\n"},
    {400, POSTED "Content-Length: 99999999999999999999999\r\n\r\nx"},
    {400, POSTED "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: gzip\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: chunked, gzip\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: xchunked\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {501, POSTED "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, POSTED "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
    {413, POSTED "Content-Length: 1001\r\n\r\n"},
    {413, POSTED "Content-Length: 18446744073709551615\r\n\r\n"},
    {417, POSTED "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx"},
    /* chunks */
    {413, CHUNKS "3e9\r\n"},
    {413, CHUNKS "1\r\nx\r\n3e8\r\n"},
    {413, CHUNKS "ffffffffffffffff\r\n"},
    {400, CHUNKS "10000000000000000\r\n"}, /* 2^64 */
    {400, CHUNKS "x\r\n"},
    {400, CHUNKS "-1\r\n"},
    {400, CHUNKS "+1\r\nx\r\n"},
    {400, CHUNKS "0x1\r\nx\r\n"},
    {400, CHUNKS " 1\r\nx\r\n"},
    {400, CHUNKS "1 \r\nx\r\n"},
    {400, CHUNKS "\r\n"},
    {400, CHUNKS "1\nx\r\n"},
    {400, CHUNKS "1\rx\r\n"},
    {400, CHUNKS "1\r\nxy\r\n"},
    {400, CHUNKS "1\r\nx\n1\r\n"},
    {400, CHUNKS "0\r\n\n"},
    {400, CHUNKS "0\r\nX: y\n\r\n"},
    {400, CHUNKS "0\r\nX: y\r\n\n"},
    {400, CHUNKS "0\r\nX : y\r\n\r\n"},
    {400, CHUNKS "0;a\n\r\n"},
    {400, CHUNKS "1;a\nx\r\n0\r\n\r\n"},
    {400, CHUNKS "1;a\rx\r\n0\r\n\r\n"},
};

static void refuses(void **state)
{
    struct outcome o;
    int wrong = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        run_all(bad[i].input, strlen(bad[i].input), &o);
        if (o.status != bad[i].status) {
            wrong++;
            print_error("status %d, not %d, for:\n%s\n", o.status, bad[i].status, bad[i].input);
        }
    }
    assert_int_equal(wrong, 0);
}

static void refuses_nul(void **state)
{
    static const char in_line[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char in_header[] = HOSTED "X: a\0b\r\n\r\n";
    struct outcome o;
    (void)state;
    run_all(in_line, sizeof(in_line) - 1, &o);
    assert_int_equal(o.status, 400);
    run_all(in_header, sizeof(in_header) - 1, &o);
    assert_int_equal(o.status, 400);
}

static char *repeat(const char *before, const char *part, size_t times, const char *after,
                    size_t *ret_len)
{
    size_t a = strlen(before), b = strlen(part), c = strlen(after);
    char *text = malloc(a + b * times + c);
    memcpy(text, before, a);
    for (size_t i = 0; i < times; i++)
        memcpy(text + a + i * b, part, b);
    memcpy(text + a + b * times, after, c);
    *ret_len = a + b * times + c;
    return text;
}

static int status_of_repeat(const char *before, const char *part, size_t times, const char *after)
{
    struct outcome o;
    size_t len;
    char *text = repeat(before, part, times, after, &len);
    run_all(text, len, &o);
    free(text);
    return o.status;
}

static void heads_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(status_of_repeat(HOSTED, "X: y\r\n", 99, "\r\n"), 0);
    assert_int_equal(status_of_repeat(HOSTED, "X: y\r\n", 100, "\r\n"), 431);
    size_t fits = RT_HTTP_HEAD_MAX - strlen(HOSTED "X: \r\n\r\n");
    assert_int_equal(status_of_repeat(HOSTED "X: ", "y", fits, "\r\n\r\n"), 0);
    assert_int_equal(status_of_repeat(HOSTED "X: ", "y", fits + 1, "\r\n\r\n"), 431);
    fits = RT_HTTP_HEAD_MAX - strlen("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(status_of_repeat("GET /", "y", fits, " HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_int_equal(status_of_repeat("GET /", "y", fits + 30, " HTTP/1.1\r\nHost: a\r\n\r\n"),
                     414);
    assert_int_equal(status_of_repeat("", "\r\n", 32, HOSTED "\r\n"), 0);
    assert_int_equal(status_of_repeat("", "\r\n", 33, HOSTED "\r\n"), 400);
}

static void bodies_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(status_of_repeat(POSTED "Content-Length: 1000\r\n\r\n", "x", 1000, ""), 0);
    assert_int_equal(status_of_repeat(CHUNKS, "1\r\nx\r\n", 1000, "0\r\n\r\n"), 0);
    assert_int_equal(status_of_repeat(CHUNKS, "1\r\nx\r\n", 1001, "0\r\n\r\n"), 413);
    /* framing that never becomes content */
    assert_int_equal(status_of_repeat(CHUNKS "1;", "x", 1000, "\r\nx\r\n0\r\n\r\n"), 0);
    assert_int_equal(status_of_repeat(CHUNKS "1;", "x", 70000, "\r\nx\r\n0\r\n\r\n"), 400);
    assert_int_equal(status_of_repeat(CHUNKS "0\r\n", "X: y\r\n", 20000, "\r\n"), 400);
}

static void keeps_what_it_read(void **state)
{
    static const char text[] =
        "POST /a HTTP/1.1\r\nHost: a\r\nX-Long-Name: Some Value \r\nContent-Length: 2\r\n\r\nhi";
    struct rt_http_message m;
    struct rt_http_parser *p = rt_http_parser_new();
    size_t used, headers = 0;
    (void)state;
    memset(&m, 0, sizeof(m));
    for (int round = 0; round < 3; round++) {
        rt_http_message_reset(&m);
        rt_http_parser_start(p, &m);
        assert_false(rt_http_parser_started(p));
        assert_int_equal(rt_http_parser_feed(p, (const uint8_t *)"\r\n", 2, &used), RT_HTTP_MORE);
        assert_false(rt_http_parser_started(p));
        assert_int_equal(rt_http_parser_feed(p, (const uint8_t *)text, sizeof(text) - 1, &used),
                         RT_HTTP_HEAD);
        assert_true(rt_http_parser_started(p));
        headers = used;
        assert_int_equal(m.content_length, 2);
        assert_int_equal(rt_http_parser_feed(p, (const uint8_t *)text + used, 2, &used),
                         RT_HTTP_DONE);
        assert_int_equal(headers + used, sizeof(text) - 1);
        assert_true(
            rt_str_eq(m.req.header_lines,
                      RT_STR("host: a\r\nx-long-name: Some Value \r\ncontent-length: 2\r\n")));
        assert_true(rt_str_eq(rt_http_header(&m.req, "x-long-name"), RT_STR("Some Value")));
        assert_null(rt_http_header(&m.req, "x-long").ptr);
        assert_int_equal(rt_http_parser_feed(p, (const uint8_t *)"x", 1, &used), RT_HTTP_DONE);
        assert_int_equal(used, 0);
    }
    rt_http_message_deinit(&m);
    rt_http_parser_free(p);
}

#ifdef RT_TEST
static void out_of_memory(void **state)
{
    struct outcome o;
    size_t len;
    char *text = repeat(POSTED "Content-Length: 900\r\n", "X-Header: value\r\n", 60, "\r\n", &len);
    (void)state;
    text = realloc(text, len + 900);
    memset(text + len, 'x', 900);
    for (unsigned long n = 1;; n++) {
        long live = rt_alloc_live();
        struct rt_http_parser *p = rt_http_parser_new();
        struct rt_http_message m;
        memset(&m, 0, sizeof(m));
        rt_http_parser_start(p, &m);
        enum rt_http_step step = RT_HTTP_MORE;
        o.used = 0;
        rt_alloc_fail_at(n, 0);
        feed_piece(p, text, len + 900, &o.used, &step);
        bool failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(step, failed ? RT_HTTP_BAD : RT_HTTP_DONE);
        if (failed)
            assert_int_equal(rt_http_parser_refusal(p)->status, 503);
        rt_http_message_deinit(&m);
        rt_http_parser_free(p);
        assert_int_equal(rt_alloc_live(), live);
        if (!failed) {
            assert_true(n > 3);
            break;
        }
    }
    free(text);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_nul),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(bodies_are_bounded),
        cmocka_unit_test(keeps_what_it_read),
#ifdef RT_TEST
        cmocka_unit_test(out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
