#include "ws/client.h"

#include "base/alloc.h"
#include "ws/handshake.h"
#include "ws/internal.h"

enum { RESPONSE_MAX = 16 * 1024, SHOWN_MAX = 200 };

/* Lives until the response is complete. */
struct client {
    struct rt_ws *ws;
    struct rt_conn *conn;
    void (*opened)(struct rt_ws *ws, const struct rt_err *err);
    struct rt_buf in;
    struct rt_err err; /* why it failed */
    char accept[RT_WS_ACCEPT_LEN + 1];
};

static void free_client(struct client *c)
{
    rt_buf_deinit(&c->in);
    rt_free(c);
}

/* The connection is closed; on_closed tells why. */
static void give_up(struct client *c, const char *what, struct rt_str seen)
{
    if (seen.len > SHOWN_MAX)
        seen.len = SHOWN_MAX;
    rt_err_set(&c->err, RT_EIO, "%s%s%.*s", what, seen.len > 0 ? ": " : "", RT_STR_ARG(seen));
    rt_conn_close(c->conn, RT_CLOSE_LOCAL);
}

/* Length of the head with its empty line; 0: it is not complete. */
static size_t head_size(const struct rt_buf *in)
{
    const uint8_t *end = in->len ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL;
    return end != NULL ? (size_t)(end - in->data) + 4 : 0;
}

struct findings {
    bool upgrade, accept, extension;
};

static struct findings read_headers(struct rt_str lines, const char *accept)
{
    struct findings f = {0};
    while (lines.len > 0) {
        struct rt_str value, line = rt_str_split(lines, '\n', &lines);
        struct rt_str name = rt_str_trim(rt_str_split(line, ':', &value));
        value = rt_str_trim(value);
        if (rt_str_eq_nocase(name, RT_STR("upgrade")))
            f.upgrade = rt_str_eq_nocase(value, RT_STR("websocket"));
        else if (rt_str_eq_nocase(name, RT_STR("sec-websocket-accept")))
            f.accept = rt_str_eq(value, rt_str_c(accept));
        else if (rt_str_eq_nocase(name, RT_STR("sec-websocket-extensions")))
            f.extension = true;
    }
    return f;
}

/* NULL: the server switched. */
static const char *check_response(const struct client *c, size_t size)
{
    struct rt_str lines, head = rt_str_of(c->in.data, size);
    struct rt_str status = rt_str_split(head, '\n', &lines);
    if (!rt_str_starts(status, RT_STR("HTTP/1.1 101 ")))
        return "the server does not speak WebSocket here";
    struct findings f = read_headers(lines, c->accept);
    if (!f.upgrade)
        return "the server switched to something else than WebSocket";
    if (!f.accept)
        return "Sec-WebSocket-Accept is wrong";
    return f.extension ? "the server chose an extension that was not offered" : NULL;
}

static void switch_over(struct client *c, size_t head)
{
    struct rt_conn *conn = c->conn;
    struct rt_ws *ws = c->ws;
    struct rt_buf in = c->in;
    void (*opened)(struct rt_ws *, const struct rt_err *) = c->opened;
    c->in = RT_BUF_INIT;
    free_client(c);
    rt_timer_stop(rt_conn_loop(conn), &ws->timer);
    rt_conn_set_handler(conn, &rt_ws_conn_handler, ws);
    opened(ws, NULL);
    if (in.len > head && !rt_conn_closing(conn))
        rt_ws_conn_handler.on_data(conn, ws, in.data + head, in.len - head);
    rt_buf_deinit(&in);
}

static void on_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    struct client *c = user;
    if (rt_conn_closing(conn))
        return;
    rt_buf_add(&c->in, data, len);
    size_t size = head_size(&c->in);
    if (!rt_buf_ok(&c->in)) {
        give_up(c, "out of memory", RT_STR_NONE);
    } else if (size > RESPONSE_MAX || (size == 0 && c->in.len > RESPONSE_MAX)) {
        give_up(c, "the response head is too long", RT_STR_NONE);
    } else if (size > 0) {
        const char *why = check_response(c, size);
        if (why == NULL)
            switch_over(c, size);
        else
            give_up(c, why, rt_str_trim(rt_buf_str(&c->in)));
    }
}

static void on_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    struct client *c = user;
    if (c->err.code == 0)
        rt_err_set(&c->err, RT_EIO, "the connection ended before the handshake: %s",
                   rt_close_reason_name(reason));
    c->opened(c->ws, &c->err);
    rt_ws_conn_handler.on_closed(conn, c->ws, reason);
    free_client(c);
}

static const struct rt_conn_handler handshake_handler = {.on_data = on_data,
                                                         .on_closed = on_closed};

static void on_timeout(struct rt_timer *timer)
{
    struct rt_ws *ws = RT_CONTAINER(timer, struct rt_ws, timer);
    give_up(rt_conn_user(ws->conn), "the server did not answer in time", RT_STR_NONE);
}

static int build_request(struct rt_buf *out, const struct rt_ws_client_options *o, const char *key)
{
    rt_buf_printf(out,
                  "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
                  RT_STR_ARG(o->target), RT_STR_ARG(o->host), key);
    rt_buf_add_str(out, o->headers);
    rt_buf_add_c(out, "\r\n");
    return rt_buf_ok(out) ? 0 : RT_ENOMEM;
}

int rt_ws_connect(struct rt_conn *conn, struct rt_ws_pool *pool, struct rt_ws *ws,
                  const struct rt_ws_client_options *options, struct rt_err *err)
{
    char key[RT_WS_KEY_LEN + 1];
    struct rt_buf request = RT_BUF_INIT;
    struct client *c = rt_calloc(1, sizeof(*c));
    rt_ws_random_key(key);
    if (c == NULL || rt_ws_accept_value(rt_str_c(key), c->accept) != 0 ||
        build_request(&request, options, key) != 0) {
        rt_buf_deinit(&request);
        rt_free(c);
        return rt_err_nomem(err);
    }
    rt_ws_init(ws, conn, pool, options->handler, options->max_message);
    ws->recv.from_server = true;
    c->ws = ws;
    c->conn = conn;
    c->opened = options->opened;
    rt_conn_set_handler(conn, &handshake_handler, c);
    rt_timer_start(rt_conn_loop(conn), &ws->timer, options->timeout, on_timeout);
    rt_conn_send_copy(conn, request.data, request.len);
    rt_buf_deinit(&request);
    return 0;
}
