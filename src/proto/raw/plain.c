/* Plain WebSocket endpoints. */
#include "base/alloc.h"
#include "base/codec.h"
#include "http/origin.h"
#include "proto/raw/internal.h"

struct rt_raw_plain {
    struct rt_raw_peer peer; /* first */
    struct rt_ws ws;
    struct rt_list all;
    struct rt_timer idle; /* next look at a silent peer */
    uint64_t seen;        /* bytes received at the last look */
    bool pinged;          /* nothing since then, a ping is out */
    char sid[RT_ID_LEN + 1];
    char channel[];
};

static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    (void)self;
    rt_ws_frame(out, m->kind == RT_KIND_BYTES ? RT_WS_BINARY : RT_WS_TEXT, m->data);
}

static const struct rt_encoding ENCODING = {.encode = encode};

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct rt_raw_plain *p = RT_CONTAINER(self, struct rt_raw_plain, peer.client.subscriber);
    /* Whatever fails here closes the connection, and on_close follows. */
    (void)rt_ws_send_frames(&p->ws, bytes, off, len);
}

static bool writable(struct rt_subscriber *self)
{
    struct rt_raw_plain *p = RT_CONTAINER(self, struct rt_raw_plain, peer.client.subscriber);
    return rt_conn_writable(p->ws.conn);
}

static const struct rt_subscriber_ops SUBSCRIBER = {.deliver = deliver, .writable = writable};

static void fail(struct rt_raw_peer *peer, uint16_t code, const char *reason)
{
    struct rt_raw_plain *p = RT_CONTAINER(peer, struct rt_raw_plain, peer);
    rt_hub_catch_up(rt_broker_hub(peer->client.broker), &peer->client.subscriber);
    rt_ws_close(&p->ws, code, reason);
    rt_conn_resume(p->ws.conn); /* its answer has to be read, whatever the log does */
}

static void set_paused(struct rt_raw_peer *peer, bool paused)
{
    struct rt_raw_plain *p = RT_CONTAINER(peer, struct rt_raw_plain, peer);
    if (paused)
        rt_conn_pause(p->ws.conn);
    else if (rt_ws_open(&p->ws))
        rt_conn_resume(p->ws.conn);
}

static void on_message(struct rt_ws *ws, bool text, uint8_t *data, size_t len)
{
    struct rt_raw_plain *p = RT_CONTAINER(ws, struct rt_raw_plain, ws);
    rt_raw_peer_message(&p->peer, text, rt_str_of(data, len));
}

/* Why a connection ends that its peer would not want to end. */
static void tell_end(const struct rt_raw_peer *peer, uint16_t code, enum rt_close_reason reason)
{
    struct rt_raw *raw = peer->endpoint->raw;
    struct rt_str path = rt_str_c(peer->endpoint->config->path);
    if (reason == RT_CLOSE_SLOW)
        rt_raw_refused(raw, RT_REFUSED_SLOW, path, NULL, NULL);
    else if (code == 1009 && !peer->failed && !peer->refused)
        rt_raw_refused(raw, RT_REFUSED_PACKET, path, "close 1009", "protocols.raw[].max_message");
    else if (code == 1002 || code == 1007)
        rt_raw_refused(raw, RT_REFUSED_PROTOCOL, path, NULL, NULL);
}

static void on_close(struct rt_ws *ws, uint16_t code, enum rt_close_reason reason)
{
    struct rt_raw_plain *p = RT_CONTAINER(ws, struct rt_raw_plain, ws);
    struct rt_raw *raw = p->peer.endpoint->raw;
    tell_end(&p->peer, code, reason);
    rt_timer_stop(raw->loop, &p->idle);
    rt_raw_peer_deinit(&p->peer);
    rt_list_remove(&p->all);
    rt_free(p);
    raw->plain_count--;
    rt_raw_drain_check(raw);
}

/* A peer that has said nothing for ping_interval is pinged, and taken for dead when nothing comes for ping_timeout
 * after that. Whoever talks is never pinged. */
static void look(struct rt_timer *timer)
{
    struct rt_raw_plain *p = RT_CONTAINER(timer, struct rt_raw_plain, idle);
    struct rt_raw_endpoint *e = p->peer.endpoint;
    uint64_t received = rt_conn_received(p->ws.conn);
    bool silent = received == p->seen && !p->peer.paused; /* then it is us who do not listen */
    p->seen = received;
    if (silent && p->pinged) {
        rt_ws_abort(&p->ws);
        return;
    }
    p->pinged = silent;
    if (silent)
        (void)rt_ws_send(&p->ws, RT_WS_PING, RT_STR_NONE);
    rt_timer_start(e->raw->loop, timer,
                   silent ? e->config->engine.ping_timeout : e->config->engine.ping_interval, look);
}

/* What came before the peer's Close frame was published, but is on its way until the end of the turn. */
static void on_closing(struct rt_ws *ws)
{
    struct rt_raw_plain *p = RT_CONTAINER(ws, struct rt_raw_plain, ws);
    rt_hub_catch_up(rt_broker_hub(p->peer.client.broker), &p->peer.client.subscriber);
}

static const struct rt_ws_handler HANDLER = {
    .on_message = on_message, .on_close = on_close, .on_closing = on_closing};

/* What the path has in place of {channel}: one segment, or at the end of the pattern the rest. False: it is no path of this
 * endpoint. */
static bool match_path(const struct rt_raw_config *config, struct rt_str path,
                       struct rt_str *ret_chosen)
{
    const char *mark = strstr(config->path, "{channel}");
    *ret_chosen = RT_STR_NONE;
    if (!mark)
        return true; /* the route has compared it */
    size_t prefix = (size_t)(mark - config->path);
    struct rt_str tail = rt_str_c(mark + 9);
    if (path.len < prefix + tail.len)
        return false;
    struct rt_str chosen = rt_str_of(path.ptr + prefix, path.len - prefix - tail.len);
    if (!rt_str_eq(rt_str_of(chosen.ptr + chosen.len, tail.len), tail))
        return false;
    if (tail.len > 0 && chosen.len > 0 && memchr(chosen.ptr, '/', chosen.len))
        return false;
    *ret_chosen = chosen;
    return true;
}

static struct rt_raw_plain *new_plain(struct rt_raw_endpoint *e, struct rt_str segment)
{
    struct rt_buf chosen = RT_BUF_INIT, channel = RT_BUF_INIT;
    char sid[RT_ID_LEN + 1];
    rt_random_id(sid);
    rt_path_decode(&chosen, segment);
    rt_raw_channel(e->config, sid, rt_buf_str(&chosen), &channel);
    struct rt_raw_plain *p = NULL;
    if (rt_buf_ok(&chosen) && rt_buf_ok(&channel))
        p = rt_calloc(1, sizeof(*p) + channel.len);
    if (p) {
        memcpy(p->sid, sid, sizeof(sid));
        if (channel.len > 0)
            memcpy(p->channel, channel.data, channel.len);
        rt_raw_peer_init(&p->peer, e, p->sid, &SUBSCRIBER, &ENCODING);
        p->peer.channel = rt_str_of(p->channel, channel.len);
        p->peer.fail = fail;
        p->peer.pause = set_paused;
        rt_list_init(&p->all);
    }
    rt_buf_deinit(&chosen);
    rt_buf_deinit(&channel);
    return p;
}

static void bad_handshake(struct rt_http_request *req, int status, const char *text)
{
    struct rt_str headers = status == 426 ? RT_STR(RT_WS_UPGRADE_HEADERS) : RT_STR_NONE;
    struct rt_buf body = RT_BUF_INIT;
    rt_buf_printf(&body, "{\"code\":\"bad_handshake\",\"message\":\"%s\"}", text);
    rt_http_close_after(req);
    if (rt_buf_ok(&body))
        rt_http_respond(req, status, "application/json", headers, rt_buf_str(&body));
    else
        rt_http_abort(req);
    rt_buf_deinit(&body);
}

static bool refuse(struct rt_raw_endpoint *e, struct rt_http_request *req, struct rt_str *chosen)
{
    const char *text = NULL;
    int status;
    if (!match_path(e->config, req->path, chosen)) {
        rt_http_error(req, 404, "not_found", "there is nothing at this path", NULL);
    } else if (e->raw->draining) {
        rt_http_close_after(req);
        rt_http_error(req, 503, "shutting_down", "the broker is shutting down", NULL);
    } else if (!req->upgrade_websocket) {
        rt_http_respond(req, 426, "application/json", RT_STR(RT_WS_UPGRADE_HEADERS),
                        RT_STR("{\"code\":\"upgrade_required\",\"message\":\"this is a WebSocket "
                               "endpoint\"}"));
    } else if (!rt_http_origin_allowed(req, e->raw->config->origins.items,
                                       e->raw->config->origins.count)) {
        rt_raw_refused(e->raw, RT_REFUSED_ORIGIN, rt_http_header(req, "origin"), NULL, NULL);
        rt_http_close_after(req);
        rt_http_error(req, 403, "origin_refused", "pages of this origin may not connect",
                      "add the origin to `origins`");
    } else if ((status = rt_ws_check(req, &text))) {
        bad_handshake(req, status, text);
    } else {
        return false;
    }
    return true;
}

static void handle(struct rt_http_request *req, void *arg)
{
    struct rt_raw_endpoint *e = arg;
    struct rt_raw *raw = e->raw;
    struct rt_err err = {0};
    struct rt_str chosen;
    if (refuse(e, req, &chosen))
        return;
    struct rt_raw_plain *p = new_plain(e, chosen);
    if (!p) {
        rt_http_error(req, 503, "out_of_memory", "out of memory", NULL);
        return;
    }
    rt_list_push(&raw->peers, &p->all);
    raw->plain_count++;
    raw->opened.value++;
    /* Joined before the 101: what is published from now on is not missed. A refusal is told by a close frame, which browsers show,
     * unlike an HTTP status. */
    int status = rt_raw_peer_join(&p->peer, &err);
    p->peer.refused = status != 0;
    uint64_t max = e->config->max_message;
    rt_ws_accept(req, raw->pool, &p->ws, &HANDLER, max > UINT32_MAX ? UINT32_MAX : (uint32_t)max,
                 RT_STR_NONE);
    p->seen = rt_conn_received(p->ws.conn); /* the request */
    rt_timer_start(raw->loop, &p->idle, e->config->engine.ping_interval, look);
    if (status)
        rt_ws_close(&p->ws, rt_raw_close_code(status), err.text);
}

bool rt_raw_plain_close_one(struct rt_raw *raw)
{
    struct rt_list *node = rt_list_pop(&raw->peers);
    if (!node)
        return false;
    struct rt_raw_plain *p = RT_CONTAINER(node, struct rt_raw_plain, all);
    fail(&p->peer, 1001, "the broker is shutting down");
    return true;
}

int rt_raw_plain_mount(struct rt_raw_endpoint *e, struct rt_http_server *http, struct rt_err *err)
{
    const char *path = e->config->path;
    const char *mark = strstr(path, "{channel}");
    struct rt_http_route route = {.handle = handle, .arg = e};
    struct rt_buf prefix = RT_BUF_INIT;
    if (mark) {
        rt_buf_add(&prefix, path, (size_t)(mark - path));
        rt_buf_add_byte(&prefix, '*');
        path = rt_buf_cstr(&prefix);
    }
    route.path = path;
    int status = path ? rt_http_route_add(http, &route, err) : rt_err_nomem(err);
    rt_buf_deinit(&prefix);
    return status;
}
