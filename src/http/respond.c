/* Responses: built in the server's scratch buffer, queued to the connection. */
#include "http/internal.h"
#include "json/scan.h"

/* Bodies up to this size are put behind the head in the scratch buffer. */
enum { INLINE_BODY = 16 * 1024 };

static const struct {
    int status;
    const char *text;
} reasons[] = {
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}

struct response {
    int status;
    const char *content_type;
    struct rt_str headers;
    size_t body_len;
};

static bool has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

static void write_connection(struct rt_buf *out, const struct rt_http_exchange *ex, int status,
                             bool keep)
{
    if (status == 101)
        return; /* the caller's headers have it */
    if (!keep)
        rt_buf_add_str(out, RT_STR("Connection: close\r\n"));
    else if (ex->message.minor == 0)
        rt_buf_add_str(out, RT_STR("Connection: keep-alive\r\n"));
}

static void write_head(struct rt_buf *out, struct rt_http_exchange *ex, const struct response *r,
                       bool keep)
{
    rt_buf_add_str(out, RT_STR("HTTP/1.1 "));
    rt_buf_add_u64(out, (uint64_t)r->status);
    rt_buf_add_byte(out, ' ');
    rt_buf_add_c(out, reason_of(r->status));
    rt_buf_add_str(out, RT_STR("\r\n"));
    if (r->content_type != NULL) {
        rt_buf_add_str(out, RT_STR("Content-Type: "));
        rt_buf_add_c(out, r->content_type);
        rt_buf_add_str(out, RT_STR("\r\n"));
    }
    if (has_body(r->status)) {
        rt_buf_add_str(out, RT_STR("Content-Length: "));
        rt_buf_add_u64(out, r->body_len);
        rt_buf_add_str(out, RT_STR("\r\n"));
    }
    rt_buf_add_str(out, r->headers);
    rt_buf_add_str(out, RT_STR("X-Request-Id: "));
    rt_buf_add_c(out, rt_http_request_id(&ex->message.req));
    rt_buf_add_str(out, RT_STR("\r\n"));
    write_connection(out, ex, r->status, keep);
    rt_buf_add_str(out, RT_STR("\r\n"));
}

static void count(struct rt_http_server *server, int status)
{
    if (status >= 100 && status < 600)
        server->responses[status / 100 - 1].value++;
}

/* Head and body in one block: one piece of the queue, so that its limit takes them as one message. */
static int send_large(struct rt_conn *conn, struct rt_str head, struct rt_str body)
{
    struct rt_bytes *bytes = rt_bytes_new(head.len + body.len);
    if (bytes == NULL)
        return RT_ENOMEM;
    memcpy(bytes->data, head.ptr, head.len);
    memcpy(bytes->data + head.len, body.ptr, body.len);
    bytes->len = (uint32_t)(head.len + body.len);
    rt_conn_send(conn, bytes, 0, bytes->len);
    rt_bytes_unref(bytes);
    return 0;
}

/* The head and `body`. 0, or RT_ENOMEM and nothing was sent. */
static int send_head(struct rt_http_exchange *ex, const struct response *r, struct rt_str body,
                     bool keep)
{
    struct rt_buf *out = &ex->server->scratch;
    rt_buf_clear(out);
    write_head(out, ex, r, keep);
    if (body.len > INLINE_BODY && rt_buf_ok(out))
        return send_large(ex->c->conn, rt_buf_str(out), body);
    rt_buf_add_str(out, body);
    if (!rt_buf_ok(out))
        return RT_ENOMEM;
    rt_conn_send_copy(ex->c->conn, out->data, out->len);
    return 0;
}

void rt_http_respond(struct rt_http_request *req, int status, const char *content_type,
                     struct rt_str headers, struct rt_str body)
{
    struct rt_http_exchange *ex = rt_http_exchange_of(req);
    struct response r = {status, content_type, headers, body.len};
    bool keep = rt_http_exchange_keeps(ex);
    bool bodiless = req->method == RT_HEAD || !has_body(status);
    count(ex->server, status);
    if (ex->c != NULL && send_head(ex, &r, bodiless ? RT_STR_NONE : body, keep) != 0) {
        rt_http_abort(req);
        return;
    }
    rt_http_exchange_end(ex, keep);
}

void rt_http_respond_bytes(struct rt_http_request *req, int status, const char *content_type,
                           struct rt_str headers, struct rt_bytes *body)
{
    struct rt_http_exchange *ex = rt_http_exchange_of(req);
    struct response r = {status, content_type, headers, body->len};
    bool keep = rt_http_exchange_keeps(ex);
    count(ex->server, status);
    if (ex->c != NULL && send_head(ex, &r, RT_STR_NONE, keep) != 0) {
        rt_http_abort(req);
        return;
    }
    if (ex->c != NULL && req->method != RT_HEAD && has_body(status) && body->len > 0)
        rt_conn_send(ex->c->conn, body, 0, body->len);
    rt_http_exchange_end(ex, keep);
}

static void add_member(struct rt_buf *out, const char *name, const char *value)
{
    rt_buf_add_byte(out, out->len == 0 ? '{' : ',');
    rt_json_add_string(out, rt_str_c(name));
    rt_buf_add_byte(out, ':');
    rt_json_add_string(out, rt_str_c(value));
}

void rt_http_error(struct rt_http_request *req, int status, const char *code, const char *message,
                   const char *hint)
{
    struct rt_buf body = RT_BUF_INIT;
    add_member(&body, "code", code);
    add_member(&body, "message", message);
    if (hint != NULL)
        add_member(&body, "hint", hint);
    add_member(&body, "request_id", rt_http_request_id(req));
    rt_buf_add_byte(&body, '}');
    if (rt_buf_ok(&body))
        rt_http_respond(req, status, "application/json",
                        status == 503 ? RT_STR("Retry-After: 5\r\n") : RT_STR_NONE,
                        rt_buf_str(&body));
    else
        rt_http_abort(req);
    rt_buf_deinit(&body);
}
