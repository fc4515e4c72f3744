#include "http/parser.h"

#include <llhttp.h>

#include "base/alloc.h"
#include "http/head.h"

enum {
    KEEP_CAP = 4096,           /* buffers up to this size stay with a message that is reset */
    FRAMING_SLACK = 64 * 1024, /* of a chunked body: bytes that are no content */
    FRAMING_FACTOR = 8,        /* "1\r\nx\r\n" is six bytes for one */
    EMPTY_LINES_MAX = 64, /* bytes of CR and LF skipped before a request, RFC 9112, section 2.2 */
    HEADERS_FIRST = 16,
};

enum phase { PHASE_BEFORE, PHASE_HEAD, PHASE_BODY, PHASE_DONE, PHASE_BAD };

/* A header line as offsets into the head, which moves while it grows. */
struct field {
    uint32_t name, name_len;
    uint32_t value, value_len;
};

struct rt_http_parser {
    llhttp_t ll;
    struct rt_http_message *message;
    enum phase phase;
    bool head_seen; /* llhttp's callbacks came */
    bool complete_seen;
    bool field_open; /* the span of a name may go on */
    bool value_open;
    uint32_t line_count; /* complete ones */
    uint32_t skipped;    /* empty lines */
    size_t line_start;   /* of the line that is not complete, in the head */
    uint32_t target, target_len;
    size_t body_limit;
    uint64_t body_raw; /* bytes of the body with its framing */
    uint8_t last;      /* of them */
    uint32_t field_count;
    const struct rt_http_refusal *refusal;
    struct field fields[RT_HTTP_HEADERS_MAX];
};

static const struct rt_http_refusal no_memory = {503, "out_of_memory",
                                                 "the server is out of memory", "try again later"};
static const struct rt_http_refusal malformed = {400, "bad_request", "the request is malformed",
                                                 NULL};
static const struct rt_http_refusal unknown_method = {
    501, "not_implemented", "the request method is not implemented", NULL};
static const struct rt_http_refusal bad_version = {
    505, "http_version_not_supported", "only HTTP/1.1 and HTTP/1.0 are served here", NULL};
static const struct rt_http_refusal bad_url = {
    400, "bad_request", "the request target is malformed", "everything but ASCII must be escaped"};
static const struct rt_http_refusal bad_header = {400, "bad_request", "a header line is malformed",
                                                  NULL};
static const struct rt_http_refusal bad_length = {
    400, "bad_request", "the Content-Length header is malformed, or conflicts with another", NULL};
static const struct rt_http_refusal bad_coding = {
    400, "bad_request", "the Transfer-Encoding header is malformed, or conflicts with another",
    NULL};
static const struct rt_http_refusal bad_chunk = {400, "bad_request",
                                                 "the chunked body is malformed", NULL};
static const struct rt_http_refusal long_target = {
    414, "target_too_long", "the request target is too long", "at most 32 KiB of head are read"};
static const struct rt_http_refusal long_head = {
    431, "head_too_large", "the request head is too long", "at most 32 KiB are read"};
static const struct rt_http_refusal many_headers = {
    431, "head_too_large", "there are too many header lines", "at most 100 are read"};
static const struct rt_http_refusal long_body = {
    413, "body_too_large", "the request body is over the limit of this path", NULL};

void rt_http_message_deinit(struct rt_http_message *m)
{
    rt_buf_deinit(&m->head);
    rt_buf_deinit(&m->body);
    rt_free(m->req.headers);
    memset(m, 0, sizeof(*m));
}

static void reset_buf(struct rt_buf *b)
{
    if (b->cap > KEEP_CAP)
        rt_buf_deinit(b);
    else
        rt_buf_clear(b);
}

void rt_http_message_reset(struct rt_http_message *m)
{
    struct rt_http_message kept = {.head = m->head, .body = m->body};
    kept.req.headers = m->req.headers;
    kept.header_cap = m->header_cap;
    reset_buf(&kept.head);
    reset_buf(&kept.body);
    *m = kept;
}

/* ---- llhttp's callbacks --------------------------------------------------------------------- */

static int refuse(struct rt_http_parser *p, const struct rt_http_refusal *why)
{
    if (p->refusal == NULL)
        p->refusal = why;
    return HPE_USER;
}

static uint32_t offset_of(const struct rt_http_parser *p, const char *at)
{
    return (uint32_t)(at - (const char *)p->message->head.data);
}

/* Spans come in pieces, but all pieces lie in the head: only start and end matter. */
static void extend(const struct rt_http_parser *p, uint32_t start, uint32_t *len, const char *end)
{
    *len = offset_of(p, end) - start;
}

static int on_url(llhttp_t *ll, const char *at, size_t len)
{
    struct rt_http_parser *p = ll->data;
    if (p->target_len == 0)
        p->target = offset_of(p, at);
    extend(p, p->target, &p->target_len, at + len);
    return 0;
}

static int on_header_field(llhttp_t *ll, const char *at, size_t len)
{
    struct rt_http_parser *p = ll->data;
    if (p->head_seen || p->line_count > RT_HTTP_HEADERS_MAX)
        return 0; /* trailers are read over; one line too many is refused when it is complete */
    if (!p->field_open) {
        if (p->field_count == RT_HTTP_HEADERS_MAX)
            return refuse(p, &malformed); /* two names in one line */
        p->fields[p->field_count++] = (struct field){.name = offset_of(p, at)};
        p->field_open = true;
        p->value_open = false;
    }
    struct field *f = &p->fields[p->field_count - 1];
    extend(p, f->name, &f->name_len, at + len);
    return 0;
}

static int on_header_value(llhttp_t *ll, const char *at, size_t len)
{
    struct rt_http_parser *p = ll->data;
    if (p->head_seen || p->line_count > RT_HTTP_HEADERS_MAX)
        return 0;
    if (p->field_count == 0)
        return refuse(p, &malformed);
    struct field *f = &p->fields[p->field_count - 1];
    if (!p->value_open) {
        f->value = offset_of(p, at);
        p->value_open = true;
        p->field_open = false;
    }
    extend(p, f->value, &f->value_len, at + len);
    return 0;
}

static int on_headers_complete(llhttp_t *ll)
{
    struct rt_http_parser *p = ll->data;
    struct rt_http_message *m = p->message;
    p->head_seen = true;
    m->chunked = (ll->flags & F_CHUNKED) != 0;
    m->content_length = m->chunked ? 0 : ll->content_length;
    m->minor = ll->http_minor;
    m->keep_alive = llhttp_should_keep_alive(ll) != 0;
    return 0;
}

static int on_body(llhttp_t *ll, const char *at, size_t len)
{
    struct rt_http_parser *p = ll->data;
    struct rt_buf *body = &p->message->body;
    if (len > p->body_limit - body->len)
        return refuse(p, &long_body);
    rt_buf_add(body, at, len);
    return rt_buf_ok(body) ? 0 : refuse(p, &no_memory);
}

/* Known before a byte of it has come. */
static int on_chunk_header(llhttp_t *ll)
{
    struct rt_http_parser *p = ll->data;
    if (ll->content_length > p->body_limit - p->message->body.len)
        return refuse(p, &long_body);
    return 0;
}

static int on_message_complete(llhttp_t *ll)
{
    struct rt_http_parser *p = ll->data;
    p->complete_seen = true;
    return HPE_PAUSED; /* what follows is not ours to read yet */
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_message_complete = on_message_complete,
};

/* ---- errors --------------------------------------------------------------------------------- */

static const struct rt_http_refusal *refusal_of(const struct rt_http_parser *p, llhttp_errno_t code)
{
    if (p->refusal != NULL)
        return p->refusal;
    switch (code) {
    case HPE_INVALID_METHOD:
        return &unknown_method;
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE:
        return &bad_version;
    case HPE_INVALID_URL:
        return &bad_url;
    case HPE_INVALID_HEADER_TOKEN:
        return &bad_header;
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return &bad_length;
    case HPE_INVALID_TRANSFER_ENCODING:
        return &bad_coding;
    case HPE_INVALID_CHUNK_SIZE:
        return &bad_chunk;
    default:
        return p->phase == PHASE_BODY ? &bad_chunk : &malformed;
    }
}

static enum rt_http_step fail(struct rt_http_parser *p, const struct rt_http_refusal *why)
{
    p->phase = PHASE_BAD;
    p->refusal = why;
    return RT_HTTP_BAD;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token_char(char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
           memchr(others, c, sizeof(others) - 1) != NULL;
}

/* Is this request line one of HTTP, but not of 1.0 or 1.1? */
static bool is_other_version(struct rt_str line)
{
    struct rt_str rest, version;
    rt_str_split(line, ' ', &rest);
    rt_str_split(rest, ' ', &version);
    if (version.len < 8 || !rt_str_starts(version, RT_STR("HTTP/")))
        return false;
    const char *v = version.ptr + 5;
    return is_digit(v[0]) && v[1] == '.' && is_digit(v[2]) && (v[0] != '1' || v[2] > '1');
}

/* Gives llhttp what was appended to the head from `from` on. */
static const struct rt_http_refusal *run_head(struct rt_http_parser *p, size_t from)
{
    struct rt_buf *head = &p->message->head;
    const char *at = (const char *)head->data + from;
    llhttp_errno_t code = llhttp_execute(&p->ll, at, head->len - from);
    if (code == HPE_OK || code == HPE_PAUSED || code == HPE_PAUSED_UPGRADE)
        return NULL;
    const struct rt_http_refusal *why = refusal_of(p, code);
    /* Noise (a TLS handshake, say) is no method or version that we do not know. */
    const char *pos = llhttp_get_error_pos(&p->ll);
    bool known_place = pos >= at && pos < (const char *)head->data + head->len;
    if (why == &unknown_method && known_place && !is_token_char(*pos))
        return &malformed;
    if (code == HPE_INVALID_VERSION && !is_other_version(rt_buf_str(head)))
        return &malformed;
    return why;
}

/* ---- the head ------------------------------------------------------------------------------- */

static enum rt_http_method method_of(unsigned method)
{
    switch (method) {
    case HTTP_GET:
        return RT_GET;
    case HTTP_HEAD:
        return RT_HEAD;
    case HTTP_POST:
        return RT_POST;
    case HTTP_PUT:
        return RT_PUT;
    case HTTP_DELETE:
        return RT_DELETE;
    case HTTP_OPTIONS:
        return RT_OPTIONS;
    case HTTP_PATCH:
        return RT_PATCH;
    default:
        return RT_OTHER_METHOD;
    }
}

static bool reserve_headers(struct rt_http_message *m, size_t count)
{
    size_t cap = m->header_cap ? m->header_cap : HEADERS_FIRST;
    if (count <= m->header_cap)
        return true;
    while (cap < count)
        cap *= 2;
    void *grown = rt_reallocarray(m->req.headers, cap, sizeof(*m->req.headers));
    if (grown == NULL)
        return false;
    m->req.headers = grown;
    m->header_cap = cap;
    return true;
}

static void lower(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] + ('a' - 'A'));
}

/* The head does not move any more: offsets become slices. */
static const struct rt_http_refusal *finish_head(struct rt_http_parser *p)
{
    struct rt_http_message *m = p->message;
    struct rt_http_request *req = &m->req;
    char *base = (char *)m->head.data;
    struct rt_str all = rt_buf_str(&m->head);
    struct rt_str lines, rest;
    if (!reserve_headers(m, p->field_count))
        return &no_memory;
    for (uint32_t i = 0; i < p->field_count; i++) {
        const struct field *f = &p->fields[i];
        lower(base + f->name, f->name_len);
        req->headers[i].name = rt_str_of(base + f->name, f->name_len);
        req->headers[i].value = rt_str_trim(rt_str_of(base + f->value, f->value_len));
    }
    req->header_count = p->field_count;
    req->method = method_of(p->ll.method);
    rt_str_split(all, '\n', &lines);
    req->method_name = rt_str_split(all, ' ', &rest);
    req->header_lines = rt_str_of(lines.ptr, lines.len - 2); /* without the empty line */
    req->target = rt_str_of(base + p->target, p->target_len);
    return rt_http_check_head(m);
}

/* A line is complete: our own checks, after llhttp's, so that the answer does not depend on how the bytes were cut. */
static const struct rt_http_refusal *check_line(struct rt_http_parser *p, bool *ret_last)
{
    const struct rt_buf *head = &p->message->head;
    struct rt_str line = rt_str_of(head->data + p->line_start, head->len - p->line_start);
    p->line_start = head->len;
    if (p->line_count++ == 0)
        return rt_http_check_request_line(line);
    *ret_last = line.len == 2 && line.ptr[0] == '\r';
    if (!*ret_last && p->line_count > RT_HTTP_HEADERS_MAX + 1)
        return &many_headers;
    return rt_http_check_header_line(line);
}

/* One line or the piece of one, with its LF if it is there. */
static enum rt_http_step take_line(struct rt_http_parser *p, const uint8_t *data, size_t len)
{
    struct rt_buf *head = &p->message->head;
    size_t before = head->len;
    size_t room = RT_HTTP_HEAD_MAX - before;
    size_t n = len < room ? len : room;
    bool last = false;
    rt_buf_add(head, data, n);
    if (!rt_buf_ok(head))
        return fail(p, &no_memory);
    const struct rt_http_refusal *why = run_head(p, before);
    if (why == NULL && n < len)
        why = p->line_count > 0 ? &long_head : &long_target;
    if (why == NULL && data[n - 1] == '\n')
        why = check_line(p, &last);
    if (why == NULL && last != p->head_seen)
        why = &malformed; /* llhttp and we disagree where the head ends */
    if (why == NULL && last)
        why = finish_head(p);
    if (why != NULL)
        return fail(p, why);
    if (!last)
        return RT_HTTP_MORE;
    p->phase = PHASE_BODY;
    return RT_HTTP_HEAD;
}

static enum rt_http_step feed_head(struct rt_http_parser *p, const uint8_t *data, size_t len,
                                   size_t *used)
{
    while (*used < len) {
        const uint8_t *at = data + *used;
        const uint8_t *lf = memchr(at, '\n', len - *used);
        size_t n = lf ? (size_t)(lf - at) + 1 : len - *used;
        *used += n;
        enum rt_http_step step = take_line(p, at, n);
        if (step != RT_HTTP_MORE)
            return step;
    }
    return RT_HTTP_MORE;
}

/* Empty lines before the request line are skipped, RFC 9112, section 2.2. */
static enum rt_http_step feed_before(struct rt_http_parser *p, const uint8_t *data, size_t len,
                                     size_t *used)
{
    while (*used < len && (data[*used] == '\r' || data[*used] == '\n')) {
        ++*used;
        if (++p->skipped > EMPTY_LINES_MAX)
            return fail(p, &malformed);
    }
    if (*used == len)
        return RT_HTTP_MORE;
    p->phase = PHASE_HEAD;
    return feed_head(p, data, len, used);
}

/* ---- the body ------------------------------------------------------------------------------- */

static enum rt_http_step finish_message(struct rt_http_parser *p)
{
    p->phase = PHASE_DONE;
    p->message->req.body = rt_buf_str(&p->message->body);
    return RT_HTTP_DONE;
}

static enum rt_http_step feed_body(struct rt_http_parser *p, const uint8_t *data, size_t len,
                                   size_t *used)
{
    const char *at = (const char *)data;
    if (p->complete_seen)
        return finish_message(p); /* no body: llhttp saw that with the head */
    if (p->message->content_length > p->body_limit)
        return fail(p, &long_body);
    if (len == 0)
        return RT_HTTP_MORE;
    llhttp_errno_t code = llhttp_execute(&p->ll, at, len);
    if (code != HPE_OK && code != HPE_PAUSED && code != HPE_PAUSED_UPGRADE)
        return fail(p, refusal_of(p, code));
    *used = code == HPE_OK ? len : (size_t)(llhttp_get_error_pos(&p->ll) - at);
    p->body_raw += *used;
    if (p->body_raw > FRAMING_SLACK + FRAMING_FACTOR * (uint64_t)p->message->body.len)
        return fail(p, &bad_chunk);
    /* llhttp takes LF alone for the end of the trailers. */
    if (p->complete_seen && p->message->chunked && (*used > 1 ? data[*used - 2] : p->last) != '\r')
        return fail(p, &bad_chunk);
    if (*used > 0)
        p->last = data[*used - 1];
    return p->complete_seen ? finish_message(p) : RT_HTTP_MORE;
}

/* ---- interface ------------------------------------------------------------------------------ */

struct rt_http_parser *rt_http_parser_new(void)
{
    return rt_calloc(1, sizeof(struct rt_http_parser));
}

void rt_http_parser_free(struct rt_http_parser *p)
{
    rt_free(p);
}

void rt_http_parser_start(struct rt_http_parser *p, struct rt_http_message *m)
{
    memset(p, 0, offsetof(struct rt_http_parser, fields));
    llhttp_init(&p->ll, HTTP_REQUEST, &settings);
    p->ll.data = p;
    p->message = m;
    p->body_limit = SIZE_MAX;
}

void rt_http_parser_limit(struct rt_http_parser *p, size_t body_limit)
{
    p->body_limit = body_limit;
}

enum rt_http_step rt_http_parser_feed(struct rt_http_parser *p, const uint8_t *data, size_t len,
                                      size_t *ret_used)
{
    *ret_used = 0;
    switch (p->phase) {
    case PHASE_BEFORE:
        return feed_before(p, data, len, ret_used);
    case PHASE_HEAD:
        return feed_head(p, data, len, ret_used);
    case PHASE_BODY:
        return feed_body(p, data, len, ret_used);
    case PHASE_DONE:
        return RT_HTTP_DONE;
    case PHASE_BAD:
        break;
    }
    return RT_HTTP_BAD;
}

bool rt_http_parser_started(const struct rt_http_parser *p)
{
    return p->phase != PHASE_BEFORE;
}

const struct rt_http_refusal *rt_http_parser_refusal(const struct rt_http_parser *p)
{
    return p->refusal;
}
