/* HTTP requests: an input is a stream of pipelined requests. Parsed whole and in pieces (cut at places that its own bytes
 * choose), the outcome must be the same, and every slice must lie in memory of the message. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "http/parser.h"
#include "fuzz/must.h"

enum { BODY_LIMIT = 5000, REQUESTS_MAX = 20 };

/* What became of the stream, as one number. */
struct digest {
    uint64_t hash;
};

static void mix(struct digest *d, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        d->hash = (d->hash ^ bytes[i]) * 0x100000001b3u;
    d->hash = (d->hash ^ len) * 0x100000001b3u;
}

static bool inside(struct rt_str s, const struct rt_buf *b)
{
    const char *start = (const char *)b->data;
    return s.len == 0 || (s.ptr >= start && s.ptr + s.len <= start + b->len) ||
           rt_str_eq(s, RT_STR("/"));
}

static void check(const struct rt_http_message *m, struct digest *d)
{
    const struct rt_http_request *r = &m->req;
    struct rt_str all[] = {r->method_name, r->target, r->path, r->query, r->header_lines};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        MUST(inside(all[i], &m->head));
        mix(d, all[i].ptr, all[i].len);
    }
    MUST(r->header_count <= RT_HTTP_HEADERS_MAX && m->head.len <= RT_HTTP_HEAD_MAX);
    for (size_t i = 0; i < r->header_count; i++) {
        MUST(inside(r->headers[i].name, &m->head) && inside(r->headers[i].value, &m->head));
        MUST(r->headers[i].name.len > 0);
        mix(d, r->headers[i].name.ptr, r->headers[i].name.len);
        mix(d, r->headers[i].value.ptr, r->headers[i].value.len);
    }
    MUST(r->body.len <= BODY_LIMIT && (m->chunked || r->body.len == m->content_length));
    mix(d, r->body.ptr, r->body.len);
    mix(d, &r->method, sizeof(r->method));
    MUST(!r->upgrade_websocket || (r->method == RT_GET && r->body.len == 0));
    struct rt_buf out = RT_BUF_INIT;
    if (rt_http_query(r->query, "a", &out))
        MUST(rt_utf8_valid(out.data, out.len));
    rt_buf_deinit(&out);
}

struct stream {
    struct rt_http_parser *parser;
    struct rt_http_message message;
    struct digest digest;
    int requests;
    bool bad;
};

static void feed(struct stream *s, const uint8_t *data, size_t len)
{
    size_t at = 0, used;
    bool again = false;
    while ((at < len || again) && !s->bad && s->requests < REQUESTS_MAX) {
        enum rt_http_step step = rt_http_parser_feed(s->parser, data + at, len - at, &used);
        MUST(used <= len - at);
        at += used;
        again = step == RT_HTTP_HEAD;
        if (step == RT_HTTP_HEAD) {
            rt_http_parser_limit(s->parser, BODY_LIMIT);
        } else if (step == RT_HTTP_DONE) {
            check(&s->message, &s->digest);
            rt_http_message_reset(&s->message);
            rt_http_parser_start(s->parser, &s->message);
            s->requests++;
        } else if (step == RT_HTTP_BAD) {
            int status = rt_http_parser_refusal(s->parser)->status;
            MUST(status >= 400 && status < 600);
            mix(&s->digest, &status, sizeof(status));
            s->bad = true;
        } else {
            MUST(at == len);
        }
    }
}

static uint64_t run(const uint8_t *data, size_t size, uint64_t cuts)
{
    struct stream s;
    memset(&s, 0, sizeof(s));
    s.parser = rt_http_parser_new();
    MUST(s.parser != NULL);
    rt_http_parser_start(s.parser, &s.message);
    for (size_t at = 0; at < size;) {
        size_t n = cuts == 0 ? size : 1 + (cuts >> 33) % 97;
        cuts = cuts * 6364136223846793005u + (cuts != 0);
        n = n < size - at ? n : size - at;
        uint8_t *piece = malloc(n);
        MUST(piece != NULL);
        memcpy(piece, data + at, n);
        feed(&s, piece, n);
        free(piece);
        at += n;
    }
    rt_http_message_deinit(&s.message);
    rt_http_parser_free(s.parser);
    return s.digest.hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest seed = {0xcbf29ce484222325u};
    mix(&seed, data, size);
    MUST(run(data, size, 0) == run(data, size, seed.hash | 1));
    return 0;
}
