/* The WebSocket side: handshake without polling, upgrade of a polling session, frames in both directions. */
#include "proto/socketio/engine_internal.h"

#include "base/alloc.h"
#include "base/codec.h"

/* ---- sending ---- */

static void send_next_paced(struct rt_timer *timer)
{
    struct rt_eio_link *l = RT_CONTAINER(timer, struct rt_eio_link, timer);
    struct rt_list *node = rt_list_pop(&l->paced);
    if (!node)
        return;
    struct rt_eio_paced *p = RT_CONTAINER(node, struct rt_eio_paced, link);
    (void)rt_ws_send_frames(&l->ws, p->bytes, p->off, p->len);
    l->paced_bytes -= p->len;
    rt_bytes_unref(p->bytes);
    rt_free(p);
    l->next_send = rt_loop_now(l->mount->loop) + l->mount->options.config->packet_gap;
    if (!rt_list_empty(&l->paced))
        rt_timer_start_at(l->mount->loop, &l->timer, l->next_send, send_next_paced);
}

static int send_paced(struct rt_eio_link *l, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    if (l->paced_bytes > 0 && l->paced_bytes + len > l->mount->options.send_queue) {
        rt_conn_close(l->ws.conn, RT_CLOSE_SLOW);
        return RT_ECLOSED;
    }
    struct rt_eio_paced *p = rt_malloc(sizeof(*p));
    if (!p)
        return RT_ENOMEM;
    l->paced_bytes += len;
    *p = (struct rt_eio_paced){.bytes = rt_bytes_ref(bytes), .off = off, .len = len};
    rt_list_push(&l->paced, &p->link);
    if (!l->timer.active)
        rt_timer_start_at(l->mount->loop, &l->timer, l->next_send, send_next_paced);
    return 0;
}

static void drop_paced(struct rt_eio_link *l)
{
    struct rt_list *node;
    while ((node = rt_list_pop(&l->paced))) {
        struct rt_eio_paced *p = RT_CONTAINER(node, struct rt_eio_paced, link);
        rt_bytes_unref(p->bytes);
        rt_free(p);
    }
}

/* Pacing is for the suites' sake and per session; a probing link is not paced: its timer is the upgrade's. */
static bool is_paced(const struct rt_eio_link *l)
{
    return l->mount->options.config->packet_gap > 0 && !l->probing;
}

int rt_eio_ws_send(struct rt_eio_link *l, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    return is_paced(l) ? send_paced(l, bytes, off, len)
                       : rt_ws_send_frames(&l->ws, bytes, off, len);
}

/* The frame at `data`, binary as text. Returns its length; frames are our own, and whole. */
static size_t add_as_text(const struct rt_eio_revision *revision, struct rt_buf *out,
                          const uint8_t *data)
{
    size_t head = 2, len = data[1];
    if (len >= 126) {
        size_t bytes = len == 126 ? 2 : 8;
        len = 0;
        for (size_t i = 0; i < bytes; i++)
            len = len << 8 | data[head++];
    }
    size_t type = revision->binary_type.len;
    if ((data[0] & 15) == RT_WS_BINARY)
        rt_eio_encode_base64(out, revision, rt_str_of(data + head + type, len - type));
    else
        rt_buf_add(out, data, head + len);
    return head + len;
}

int rt_eio_ws_send_as_text(struct rt_eio_session *s, struct rt_str frames)
{
    struct rt_buf out = RT_BUF_INIT;
    for (size_t at = 0; at < frames.len;)
        at += add_as_text(rt_eio_revision_row(s), &out, (const uint8_t *)frames.ptr + at);
    int status = rt_buf_ok(&out) ? rt_eio_ws_send_copy(s->link, rt_buf_str(&out)) : RT_ENOMEM;
    rt_buf_deinit(&out);
    return status;
}

int rt_eio_ws_send_copy(struct rt_eio_link *l, struct rt_str frames)
{
    if (!is_paced(l))
        return rt_conn_send_copy(l->ws.conn, frames.ptr, frames.len);
    struct rt_bytes *bytes = rt_bytes_copy(frames.ptr, frames.len);
    int status = bytes ? send_paced(l, bytes, 0, bytes->len) : RT_ENOMEM;
    rt_bytes_unref(bytes);
    return status;
}

void rt_eio_link_release(struct rt_eio_link *l, uint16_t code)
{
    /* What is paced still goes out, at once now. */
    rt_timer_stop(l->mount->loop, &l->timer);
    while (!rt_list_empty(&l->paced)) {
        rt_timer_stop(l->mount->loop, &l->timer);
        send_next_paced(&l->timer);
    }
    rt_timer_stop(l->mount->loop, &l->timer);
    rt_ws_close(&l->ws, code, NULL);
    rt_conn_resume(
        l->ws.conn); /* the peer's answer has to be read, also of a session that is paused */
}

/* ---- receiving ---- */

static int switch_transport(struct rt_eio_session *s, struct rt_eio_link *l)
{
    struct rt_eio_mount *m = s->mount;
    rt_timer_stop(m->loop, &l->timer);
    l->probing = false;
    /* A GET that is still held gets its noop; what is queued, and what the user still had pending in the form of polling, goes over the
     * new transport, in order. */
    rt_eio_poll_release(s);
    if (s->user_open)
        m->options.user->on_transport(s, RT_EIO_WEBSOCKET);
    if (s->state != EIO_OPEN)
        return RT_ECLOSED;
    s->transport = RT_EIO_WEBSOCKET;
    int status = rt_eio_poll_to_websocket(s);
    if (status) {
        rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR);
        return status;
    }
    m->metrics.upgrades.value++;
    if (!s->poll->post) {
        rt_eio_poll_free(s->poll);
        s->poll = NULL;
    }
    if (s->paused)
        rt_conn_pause(l->ws.conn);
    return 0;
}

/* The session goes on over polling, and another WebSocket may try while this one is still closing. */
static void fail_probe(struct rt_eio_link *l)
{
    rt_timer_stop(l->mount->loop, &l->timer);
    if (l->session)
        l->session->link = NULL;
    l->session = NULL;
    rt_ws_close(&l->ws, 0, NULL);
}

static void on_probe(struct rt_eio_link *l, struct rt_str text)
{
    struct rt_eio_session *s = l->session;
    if (!s) {
        rt_ws_close(&l->ws, 0, NULL);
    } else if (!l->probed && rt_str_eq(text, RT_STR("2probe"))) {
        l->probed = true;
        (void)rt_ws_send(&l->ws, RT_WS_TEXT, RT_STR("3probe"));
        rt_eio_poll_probed(s);
    } else if (l->probed && rt_str_eq(text, RT_STR("5"))) {
        (void)switch_transport(s, l);
    } else {
        fail_probe(l);
    }
}

static void open_if_new(struct rt_eio_session *s)
{
    if (s->state == EIO_OPENING)
        (void)rt_eio_session_open(s);
}

static void on_message(struct rt_ws *ws, bool text, uint8_t *data, size_t len)
{
    struct rt_eio_link *l = RT_CONTAINER(ws, struct rt_eio_link, ws);
    struct rt_str message = rt_str_of(data, len);
    if (l->probing && text) {
        on_probe(l, message);
        return;
    }
    if (!l->session || l->probing) {
        fail_probe(l);
        return;
    }
    open_if_new(l->session); /* the peer did not wait for the open packet */
    if (!l->session)
        return;
    const struct rt_eio_revision *revision = rt_eio_revision_row(l->session);
    struct rt_eio_packet packet;
    struct rt_buf bytes = RT_BUF_INIT;
    int status = text ? revision->parse_text(message, &bytes, &packet)
                      : revision->parse_bytes(message, &packet);
    if (status) {
        rt_eio_tell_end(l->mount, rt_eio_reason_of_parse(status), "no packet of Engine.IO");
        rt_eio_session_end(l->session, rt_eio_reason_of_parse(status));
    } else {
        (void)rt_eio_session_packet(l->session, &packet);
    }
    rt_buf_deinit(&bytes);
}

static enum rt_eio_reason reason_of(uint16_t code, enum rt_close_reason reason)
{
    if (reason == RT_CLOSE_SLOW)
        return RT_EIO_SLOW;
    if (code == 1002 || code == 1007 || code == 1008 || code == 1009)
        return RT_EIO_PARSE_ERROR;
    return reason == RT_CLOSE_ERROR ? RT_EIO_TRANSPORT_ERROR : RT_EIO_TRANSPORT_CLOSE;
}

/* 1009 is what our own side closes with, too. */
static void tell_end(struct rt_eio_mount *m, uint16_t code, enum rt_eio_reason reason)
{
    if (code == 1009)
        rt_eio_refused(m, RT_REFUSED_PACKET, rt_str_c(m->options.path), "close 1009",
                       "max_payload");
    else
        rt_eio_tell_end(m, reason, NULL);
}

static void on_close(struct rt_ws *ws, uint16_t code, enum rt_close_reason reason)
{
    struct rt_eio_link *l = RT_CONTAINER(ws, struct rt_eio_link, ws);
    struct rt_eio_session *s = l->session;
    struct rt_eio_mount *m = l->mount;
    rt_timer_stop(m->loop, &l->timer);
    drop_paced(l);
    l->session = NULL;
    bool probing = l->probing;
    if (s) {
        s->link = NULL;
        if (!probing) {
            tell_end(m, code, reason_of(code, reason));
            rt_eio_session_end(s, reason_of(code, reason));
        }
    }
    rt_free(l);
    m->links--;
    rt_eio_drain_check(m);
}

static const struct rt_ws_handler HANDLER = {.on_message = on_message, .on_close = on_close};

/* ---- handshake and upgrade ---- */

static struct rt_eio_link *new_link(struct rt_eio_mount *m, struct rt_eio_session *s)
{
    struct rt_eio_link *l = rt_calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->mount = m;
    l->session = s;
    rt_list_init(&l->paced);
    return l;
}

/* Answers 101 and takes the connection over. The link is freed in on_close, which never comes from inside. */
static void accept_link(struct rt_eio_mount *m, struct rt_http_request *req, struct rt_eio_link *l,
                        struct rt_str headers)
{
    m->links++;
    l->next_send = rt_loop_now(m->loop) + m->options.config->packet_gap;
    rt_ws_accept(req, m->pool, &l->ws, &HANDLER, (uint32_t)m->options.config->max_payload, headers);
    rt_conn_set_queue_limit(l->ws.conn, m->options.send_queue);
}

bool rt_eio_wants_text(const struct rt_http_request *req)
{
    struct rt_buf value = RT_BUF_INIT;
    bool wants = rt_http_query(req->query, "b64", &value) && value.len > 0;
    rt_buf_deinit(&value);
    return wants;
}

static bool refuse_bad_upgrade(struct rt_eio_mount *m, struct rt_http_request *req)
{
    const char *text = NULL;
    int status = rt_ws_check(req, &text);
    if (status == 0)
        return false;
    rt_http_close_after(req);
    rt_eio_respond_with(m, req, status, "text/html",
                        status == 426 ? RT_STR(RT_WS_UPGRADE_HEADERS) : RT_STR_NONE,
                        rt_str_c(text));
    return true;
}

/* handshake_delay: the open packet comes later, the 101 at once. */
static void open_later(struct rt_timer *timer)
{
    struct rt_eio_session *s = RT_CONTAINER(timer, struct rt_eio_session, timer);
    open_if_new(s);
}

void rt_eio_ws_handshake(struct rt_eio_mount *m, struct rt_http_request *req, unsigned revision)
{
    struct rt_eio_session *s = NULL;
    struct rt_buf headers = RT_BUF_INIT;
    if (refuse_bad_upgrade(m, req))
        return;
    struct rt_eio_link *l = new_link(m, NULL);
    if (!l || rt_eio_session_new(m, req, RT_EIO_WEBSOCKET, revision, &s)) {
        rt_free(l);
        rt_http_error(req, 503, "out_of_memory", "out of memory", NULL);
        return;
    }
    s->text_only = rt_eio_wants_text(req);
    l->session = s;
    s->link = l;
    rt_eio_add_cookie(s, &headers);
    m->metrics.opened_websocket.value++;
    accept_link(m, req, l, rt_buf_str(&headers));
    rt_buf_deinit(&headers);
    uint64_t delay = m->options.config->handshake_delay;
    if (delay > 0 && s->state == EIO_OPENING)
        rt_timer_start(m->loop, &s->timer, delay, open_later);
    else
        open_if_new(s);
}

static void upgrade_timeout(struct rt_timer *timer)
{
    fail_probe(RT_CONTAINER(timer, struct rt_eio_link, timer));
}

void rt_eio_ws_upgrade(struct rt_eio_session *s, struct rt_http_request *req)
{
    struct rt_eio_mount *m = s->mount;
    if (refuse_bad_upgrade(m, req))
        return;
    /* A second WebSocket of a session is accepted and closed: clients take a 400 here for a broken server. */
    bool refused = s->link || s->state != EIO_OPEN || !m->options.config->upgrades;
    struct rt_eio_link *l = new_link(m, refused ? NULL : s);
    if (!l) {
        rt_http_error(req, 503, "out_of_memory", "out of memory", NULL);
        return;
    }
    l->probing = true;
    if (!refused) {
        s->link = l;
        /* What the handshake of a polling session said about it is about polling. */
        s->text_only = rt_eio_wants_text(req);
    }
    accept_link(m, req, l, RT_STR_NONE);
    if (refused)
        rt_ws_close(&l->ws, 0, NULL);
    else if (l->session)
        rt_timer_start(m->loop, &l->timer, m->options.config->upgrade_timeout, upgrade_timeout);
}
