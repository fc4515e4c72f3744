#include "http/head.h"

static const struct rt_http_refusal bare_line_end = {
    400, "bad_request", "a line of the request head does not end with CR LF",
    "RFC 9112, section 2.2: CR and LF only together, at the end of a line"};
static const struct rt_http_refusal bad_request_line = {
    400, "bad_request", "the request line is malformed",
    "it must be METHOD, one space, target, one space, HTTP/1.1"};
static const struct rt_http_refusal bad_version = {
    505, "http_version_not_supported", "only HTTP/1.1 and HTTP/1.0 are served here", NULL};
static const struct rt_http_refusal folded_line = {
    400, "bad_request", "a header line starts with white space",
    "folded header lines are obsolete, RFC 9112, section 5.2"};
static const struct rt_http_refusal bad_header_line = {
    400, "bad_request", "a header line is malformed",
    "it must be Name: value, no space before ':'"};
static const struct rt_http_refusal no_host = {400, "bad_request", "the Host header is missing",
                                               "RFC 9112, section 3.2: exactly one"};
static const struct rt_http_refusal two_hosts = {
    400, "bad_request", "there is more than one Host header", "RFC 9112, section 3.2: exactly one"};
static const struct rt_http_refusal bad_host = {400, "bad_request", "the Host header is malformed",
                                                "it must be HOST or HOST:PORT"};
static const struct rt_http_refusal bad_target = {
    400, "bad_request", "the request target is malformed",
    "it must be a path, or an absolute http:// or https:// address"};
static const struct rt_http_refusal no_connect = {
    501, "not_implemented", "CONNECT is not implemented: this is no proxy", NULL};
static const struct rt_http_refusal length_and_coding = {
    400, "bad_request", "there are a Content-Length and a Transfer-Encoding header",
    "RFC 9112, section 6.1: one or the other"};
static const struct rt_http_refusal two_lengths = {
    400, "bad_request", "there is more than one Content-Length header", NULL};
static const struct rt_http_refusal coding_in_1_0 = {400, "bad_request",
                                                     "Transfer-Encoding needs HTTP/1.1", NULL};
static const struct rt_http_refusal bad_coding = {
    501, "not_implemented", "the only transfer coding that is implemented is chunked", NULL};
static const struct rt_http_refusal bad_expectation = {
    417, "expectation_failed", "the only expectation that can be met is 100-continue", NULL};

/* Without its CR LF; ptr NULL when it does not end so or holds a CR, LF or NUL elsewhere. */
static struct rt_str strip_line_end(struct rt_str line)
{
    size_t len = line.len;
    if (len < 2 || line.ptr[len - 1] != '\n' || line.ptr[len - 2] != '\r')
        return RT_STR_NONE;
    len -= 2;
    if (memchr(line.ptr, '\r', len) != NULL || memchr(line.ptr, '\0', len) != NULL)
        return RT_STR_NONE;
    return rt_str_of(line.ptr, len);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* llhttp has accepted the line by now, so only what it is lenient about is left: HTTP/0.9 (no version), other protocols
 * of the same shape (RTSP, ICE), HTTP/2.0, more than one space. */
const struct rt_http_refusal *rt_http_check_request_line(struct rt_str line)
{
    struct rt_str rest, version;
    struct rt_str text = strip_line_end(line);
    if (text.ptr == NULL)
        return &bare_line_end;
    struct rt_str method = rt_str_split(text, ' ', &rest);
    struct rt_str target = rt_str_split(rest, ' ', &version);
    if (method.len == 0 || target.len == 0 || version.len != 8 ||
        !rt_str_starts(version, RT_STR("HTTP/")) || !is_digit(version.ptr[5]) ||
        version.ptr[6] != '.' || !is_digit(version.ptr[7]))
        return &bad_request_line;
    if (version.ptr[5] != '1' || version.ptr[7] > '1')
        return &bad_version;
    return NULL;
}

const struct rt_http_refusal *rt_http_check_header_line(struct rt_str line)
{
    struct rt_str text = strip_line_end(line);
    if (text.ptr == NULL)
        return &bare_line_end;
    if (text.len == 0)
        return NULL; /* the end of the head */
    if (text.ptr[0] == ' ' || text.ptr[0] == '\t')
        return &folded_line;
    const char *colon = memchr(text.ptr, ':', text.len);
    if (colon == NULL || colon == text.ptr || colon[-1] == ' ' || colon[-1] == '\t')
        return &bad_header_line;
    return NULL;
}

bool rt_http_list_has(struct rt_str list, struct rt_str token)
{
    while (list.len > 0) {
        struct rt_str item = rt_str_trim(rt_str_split(list, ',', &list));
        if (rt_str_eq_nocase(item, token))
            return true;
    }
    return false;
}

/* Characters of RFC 3986 hosts and ports. An empty Host is legal. */
static bool host_is_valid(struct rt_str host)
{
    static const char others[] = "-._~:[]%!$&'()*+,;=";
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
        if (!alnum && memchr(others, c, sizeof(others) - 1) == NULL)
            return false;
    }
    return true;
}

/* The headers that decide framing and routing, counted in one walk. */
struct census {
    uint32_t hosts, lengths, codings, expects;
    struct rt_str host, coding, expect;
    bool connection_upgrade, upgrade_websocket;
};

static void count_header(struct census *c, const struct rt_http_header *h)
{
    if (rt_str_eq(h->name, RT_STR("host"))) {
        c->hosts++;
        c->host = h->value;
    } else if (rt_str_eq(h->name, RT_STR("content-length"))) {
        c->lengths++;
    } else if (rt_str_eq(h->name, RT_STR("transfer-encoding"))) {
        c->codings++;
        c->coding = h->value;
    } else if (rt_str_eq(h->name, RT_STR("expect"))) {
        c->expects++;
        c->expect = h->value;
    } else if (rt_str_eq(h->name, RT_STR("connection"))) {
        c->connection_upgrade |= rt_http_list_has(h->value, RT_STR("upgrade"));
    } else if (rt_str_eq(h->name, RT_STR("upgrade"))) {
        c->upgrade_websocket |= rt_http_list_has(h->value, RT_STR("websocket"));
    }
}

static const struct rt_http_refusal *check_host(const struct census *c, unsigned minor)
{
    if (c->hosts == 0)
        return minor == 0 ? NULL : &no_host;
    if (c->hosts > 1)
        return &two_hosts;
    return host_is_valid(c->host) ? NULL : &bad_host;
}

static const struct rt_http_refusal *check_framing(const struct census *c, unsigned minor)
{
    if (c->lengths > 1)
        return &two_lengths;
    if (c->codings == 0)
        return NULL;
    if (c->lengths > 0)
        return &length_and_coding;
    if (minor == 0)
        return &coding_in_1_0;
    if (c->codings > 1 || !rt_str_eq_nocase(c->coding, RT_STR("chunked")))
        return &bad_coding;
    return NULL;
}

/* Cuts scheme and authority off the absolute form, RFC 9112, section 3.2.2. False: it is no such thing. */
static bool strip_authority(struct rt_str *target)
{
    size_t skip = 0;
    if (target->len >= 7 && rt_str_eq_nocase(rt_str_of(target->ptr, 7), RT_STR("http://")))
        skip = 7;
    else if (target->len >= 8 && rt_str_eq_nocase(rt_str_of(target->ptr, 8), RT_STR("https://")))
        skip = 8;
    if (skip == 0)
        return false;
    size_t at = skip;
    while (at < target->len && target->ptr[at] != '/' && target->ptr[at] != '?')
        at++;
    *target = rt_str_of(target->ptr + at, target->len - at);
    return at > skip;
}

static const struct rt_http_refusal *split_target(struct rt_http_request *req)
{
    struct rt_str target = req->target;
    if (memchr(target.ptr, '#', target.len) != NULL)
        return &bad_target;
    if (rt_str_eq(target, RT_STR("*"))) {
        req->path = target;
        req->query = RT_STR_NONE;
        return req->method == RT_OPTIONS ? NULL : &bad_target;
    }
    if (target.ptr[0] != '/' && !strip_authority(&target))
        return &bad_target;
    req->path = rt_str_split(target, '?', &req->query);
    if (req->path.len == 0)
        req->path = RT_STR("/");
    return NULL;
}

const struct rt_http_refusal *rt_http_check_head(struct rt_http_message *m)
{
    struct census c = {0};
    struct rt_http_request *req = &m->req;
    for (size_t i = 0; i < req->header_count; i++)
        count_header(&c, &req->headers[i]);
    if (rt_str_eq(req->method_name, RT_STR("CONNECT")))
        return &no_connect;
    const struct rt_http_refusal *why = check_host(&c, m->minor);
    if (why == NULL)
        why = check_framing(&c, m->minor);
    if (why == NULL)
        why = split_target(req);
    if (why != NULL)
        return why;
    bool body = m->chunked || m->content_length > 0;
    req->upgrade_websocket = req->method == RT_GET && m->minor >= 1 && !body &&
                             c.connection_upgrade && c.upgrade_websocket;
    /* An expectation in HTTP/1.0 is ignored, RFC 9110, section 10.1.1. */
    if (c.expects > 0 && m->minor >= 1) {
        if (c.expects > 1 || !rt_str_eq_nocase(c.expect, RT_STR("100-continue")))
            return &bad_expectation;
        m->expect_continue = body;
    }
    return NULL;
}
