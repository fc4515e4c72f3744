/* Long-polling: one GET that is held until there is something, one POST at a time.
 *
 * The queue holds references in polling form (each packet preceded by 0x1e). A body is cut from it: at most 16 packets, since some clients refuse more,
 * and about max_payload bytes. */
#include "proto/socketio/engine_internal.h"
#include "proto/socketio/engine_jsonp.h"

#include "base/alloc.h"
#include "base/codec.h"

#define BODY_PACKETS 16u
#define NOOP_INTERVAL \
    100u /* ms between noops while an upgrade is probed: a stalled client must not spin */

static const char TEXT[] = "text/plain; charset=UTF-8", OCTETS[] = "application/octet-stream";

static void answer_later(struct rt_timer *timer);

int rt_eio_poll_new(struct rt_eio_session *s, const struct rt_http_request *req)
{
    struct rt_eio_mount *m = s->mount;
    const struct rt_eio_options *o = &m->options;
    s->poll = rt_calloc(1, sizeof(*s->poll));
    if (!s->poll)
        return RT_ENOMEM;
    s->poll->session = s;
    s->poll->text_only = rt_eio_wants_text(req);
    uint64_t answered = rt_loop_now(m->loop) + o->config->handshake_delay;
    return rt_eio_quota_take(m, req->remote, rt_eio_session_size(m, req),
                             o->confirm_within ? answered + o->confirm_within : 0, &s->poll->share);
}

static void drop_pieces(struct rt_eio_poll *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        rt_bytes_unref(p->pieces[i].bytes);
    p->count = 0;
    p->bytes = p->cost = 0;
}

void rt_eio_poll_free(struct rt_eio_poll *p)
{
    drop_pieces(p);
    rt_eio_quota_give(&p->share);
    rt_timer_stop(p->session->mount->loop, &p->timer);
    rt_free(p->pieces);
    rt_free(p);
}

/* ---- queue ---- */

static int reserve(struct rt_eio_poll *p)
{
    if (p->count < p->cap)
        return 0;
    uint32_t cap = p->cap ? p->cap * 2 : 4;
    struct rt_eio_piece *pieces = rt_reallocarray(p->pieces, cap, sizeof(*pieces));
    if (!pieces)
        return RT_ENOMEM;
    p->pieces = pieces;
    p->cap = cap;
    return 0;
}

/* What a piece counts, as in net/conn.h: its bytes, at least a quarter of the block that it pins, and its bookkeeping. */
static size_t cost_of(const struct rt_eio_piece *piece)
{
    size_t pinned = piece->bytes->cap / 4, least = 64;
    size_t cost = piece->len > pinned ? piece->len : pinned;
    return cost > least ? cost : least;
}

int rt_eio_poll_queue(struct rt_eio_session *s, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct rt_eio_poll *p = s->poll;
    struct rt_eio_piece *last = p->count > 0 ? &p->pieces[p->count - 1] : NULL;
    if (last && last->bytes == bytes && last->off + last->len == off) {
        p->cost -= cost_of(last);
        last->len += len;
    } else {
        if (reserve(p))
            return RT_ENOMEM;
        last = &p->pieces[p->count++];
        *last = (struct rt_eio_piece){.bytes = rt_bytes_ref(bytes), .off = off, .len = len};
    }
    p->cost += cost_of(last);
    p->bytes += len;
    if (p->cost > s->mount->options.send_queue && p->bytes > len) {
        rt_eio_tell_end(s->mount, RT_EIO_SLOW, NULL);
        rt_eio_session_end(s, RT_EIO_SLOW);
        return RT_ECLOSED;
    }
    if (p->get && !p->timer.active) /* at the end of this turn, with all that comes until then */
        rt_timer_start_at(s->mount->loop, &p->timer, p->not_before, answer_later);
    return 0;
}

/* Where the packet that begins at `at` (at its separator) ends. */
static uint32_t packet_end(const struct rt_eio_piece *piece, uint32_t at)
{
    const uint8_t *data = piece->bytes->data;
    uint32_t end = piece->off + piece->len;
    const uint8_t *next =
        at + 1 < end ? memchr(data + at + 1, RT_EIO_SEPARATOR, end - at - 1) : NULL;
    return next ? (uint32_t)(next - data) : end;
}

/* Takes packets from the front of the queue into `body`, joined by separators. */
static void take_packets(struct rt_eio_session *s, struct rt_buf *body, uint32_t max)
{
    struct rt_eio_poll *p = s->poll;
    uint64_t limit = s->mount->options.config->max_payload;
    uint32_t taken = 0, i = 0;
    while (i < p->count && taken < max) {
        struct rt_eio_piece *piece = &p->pieces[i];
        uint32_t end = packet_end(piece, piece->off);
        uint32_t skip = body->len == 0 ? 1 : 0; /* no separator in front of the first */
        if (taken > 0 && body->len + (end - piece->off) > limit)
            break;
        rt_buf_add(body, piece->bytes->data + piece->off + skip, end - piece->off - skip);
        p->bytes -= end - piece->off;
        p->cost -= cost_of(piece);
        piece->len -= end - piece->off;
        piece->off = end;
        taken++;
        if (piece->len == 0)
            rt_bytes_unref(p->pieces[i++].bytes);
        else
            p->cost += cost_of(piece);
    }
    p->count -= i;
    memmove(p->pieces, p->pieces + i, p->count * sizeof(*p->pieces));
}

/* ---- GET ---- */

/* The held GET, which is held no longer. */
static struct rt_http_request *take_get(struct rt_eio_poll *p)
{
    struct rt_http_request *req = p->get;
    p->get = NULL;
    req->on_abort = NULL;
    req->user = NULL;
    return req;
}

/* `packets` as the queue has them, joined by separators: the body is made of them as revision and request want it. */
static void answer_get(struct rt_eio_session *s, struct rt_http_request *req, struct rt_str packets)
{
    const struct rt_eio_revision *revision = rt_eio_revision_row(s);
    struct rt_buf headers = RT_BUF_INIT, digits = RT_BUF_INIT;
    struct rt_buf body = RT_BUF_INIT, script = RT_BUF_INIT;
    bool is_script = rt_eio_jsonp_index(req->query, &digits), octets = false;
    struct rt_str all = packets;
    if (s->state == EIO_OPEN && packets.len > 0 && packets.ptr[0] == RT_EIO_OPEN)
        rt_eio_add_cookie(s, &headers);
    if (revision->body) {
        octets = revision->body(&body, packets, is_script || s->poll->text_only);
        all = rt_buf_str(&body);
    }
    if (is_script) {
        rt_eio_jsonp_wrap(&script, rt_buf_str(&digits), all);
        all = rt_buf_str(&script);
    }
    if (rt_buf_ok(&headers) && rt_buf_ok(&digits) && rt_buf_ok(&body) && rt_buf_ok(&script))
        rt_eio_respond_with(s->mount, req, 200, octets ? OCTETS : TEXT, rt_buf_str(&headers), all);
    else
        rt_http_abort(req);
    rt_buf_deinit(&headers);
    rt_buf_deinit(&digits);
    rt_buf_deinit(&body);
    rt_buf_deinit(&script);
}

void rt_eio_poll_flush(struct rt_eio_session *s)
{
    struct rt_eio_poll *p = s->poll;
    if (!p->get || p->count == 0)
        return;
    if (rt_loop_now(s->mount->loop) < p->not_before) {
        rt_timer_start_at(s->mount->loop, &p->timer, p->not_before, answer_later);
        return;
    }
    struct rt_buf body = RT_BUF_INIT;
    take_packets(s, &body, BODY_PACKETS);
    struct rt_http_request *req = take_get(p);
    if (rt_buf_ok(&body)) {
        answer_get(s, req, rt_buf_str(&body));
    } else {
        rt_http_abort(req);
        rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR);
    }
    rt_buf_deinit(&body);
}

void rt_eio_poll_release(struct rt_eio_session *s)
{
    struct rt_eio_poll *p = s->poll;
    if (!p->get)
        return;
    rt_timer_stop(s->mount->loop, &p->timer);
    p->not_before = rt_loop_now(s->mount->loop) + NOOP_INTERVAL;
    answer_get(s, take_get(p), RT_STR("6"));
}

static bool is_probing(const struct rt_eio_session *s)
{
    return s->link && s->link->probing && s->link->probed;
}

static void answer_later(struct rt_timer *timer)
{
    struct rt_eio_poll *p = RT_CONTAINER(timer, struct rt_eio_poll, timer);
    if (p->count > 0)
        rt_eio_poll_flush(p->session);
    else if (is_probing(p->session))
        rt_eio_poll_release(p->session);
}

void rt_eio_poll_probed(struct rt_eio_session *s)
{
    struct rt_eio_poll *p = s->poll;
    if (p->get && !p->timer.active)
        rt_timer_start_at(s->mount->loop, &p->timer, p->not_before, answer_later);
}

static void get_aborted(struct rt_http_request *req)
{
    struct rt_eio_session *s = req->user;
    s->poll->get = NULL;
    rt_eio_session_end(s, RT_EIO_TRANSPORT_CLOSE);
}

void rt_eio_poll_get(struct rt_eio_session *s, struct rt_http_request *req)
{
    struct rt_eio_poll *p = s->poll;
    if (p->get) {
        /* Two GETs at once: neither the client nor we could tell which one carries what. */
        struct rt_eio_mount *m = s->mount;
        rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR);
        rt_eio_error(m, req, 3);
        return;
    }
    p->get = req;
    req->user = s;
    req->on_abort = get_aborted;
    if (p->count > 0)
        rt_eio_poll_flush(s);
    else if (is_probing(s))
        rt_eio_poll_probed(s);
}

void rt_eio_poll_last(struct rt_eio_session *s, struct rt_http_request *req)
{
    struct rt_buf body = RT_BUF_INIT;
    if (s->reason == RT_EIO_CLIENT_CLOSE) { /* it wants nothing more */
        answer_get(s, req, RT_STR("6"));
        rt_eio_session_end(s, RT_EIO_CLIENT_CLOSE);
        return;
    }
    /* The close goes alone: clients act on it at once, on the packets before it in the same body a moment later, and so would miss
     * why they are sent away. */
    if (s->poll->count == 0) {
        answer_get(s, req,
                   RT_STR("6\x1e"
                          "1"));
        rt_eio_session_end(s, RT_EIO_FORCED_CLOSE);
        return;
    }
    take_packets(s, &body, BODY_PACKETS);
    if (rt_buf_ok(&body))
        answer_get(s, req, rt_buf_str(&body));
    else
        rt_http_abort(req);
    rt_buf_deinit(&body);
}

/* ---- POST ---- */

static void post_aborted(struct rt_http_request *req)
{
    struct rt_eio_session *s = req->user;
    s->poll->post = NULL;
    if (rt_http_conn(req))
        return; /* HTTP refuses the body (413, 408) and says so: the session goes on */
    rt_eio_session_end(s, RT_EIO_TRANSPORT_CLOSE);
}

static struct rt_http_request *take_post(struct rt_eio_poll *p)
{
    struct rt_http_request *req = p->post;
    p->post = NULL;
    req->on_abort = NULL;
    req->user = NULL;
    return req;
}

static void answer_post(struct rt_eio_mount *m, struct rt_http_request *req)
{
    rt_eio_respond(m, req, 200, "text/html", RT_STR("ok"));
}

static bool is_octet_stream(const struct rt_http_request *req)
{
    struct rt_str rest, type = rt_str_split(rt_http_header(req, "content-type"), ';', &rest);
    return rt_str_eq_nocase(rt_str_trim(type), rt_str_c(OCTETS));
}

static bool too_large(const struct rt_eio_session *s, const struct rt_http_request *req)
{
    uint64_t len = 0;
    struct rt_str text = rt_http_header(req, "content-length");
    return text.ptr && rt_str_to_u64(text, &len) == 0 &&
           len > s->mount->options.config->max_payload;
}

bool rt_eio_poll_post_head(struct rt_eio_session *s, struct rt_http_request *req)
{
    struct rt_eio_mount *m = s->mount;
    if (s->state == EIO_LINGERING) {
        rt_eio_error(m, req, EIO_UNKNOWN_SID);
        return false;
    }
    if (too_large(s, req)) {
        rt_eio_refused(m, RT_REFUSED_PACKET, rt_str_c(m->options.path), "413", "max_payload");
        rt_eio_respond(m, req, 413, NULL, RT_STR_NONE); /* the session goes on */
        return false;
    }
    if (s->poll->post || (is_octet_stream(req) && !s->eio3)) {
        rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR);
        rt_eio_error(m, req, EIO_BAD_REQUEST);
        return false;
    }
    s->poll->post = req;
    req->user = s;
    req->on_abort = post_aborted;
    return true;
}

/* All packets of a payload. A negative code: the session has ended for it. */
static int take_payload(struct rt_eio_session *s, struct rt_str payload, bool octets)
{
    const struct rt_eio_revision *revision = rt_eio_revision_row(s);
    struct rt_eio_reader reader = {.rest = payload.ptr ? payload : RT_STR(""), .octets = octets};
    struct rt_buf bytes = RT_BUF_INIT;
    struct rt_eio_packet packet;
    int status, taken = 0;
    while (taken == 0 && (status = revision->next(&reader, &bytes, &packet)) != 0) {
        taken = status < 0 ? status : rt_eio_session_packet(s, &packet);
        if (status < 0) {
            rt_eio_tell_end(s->mount, rt_eio_reason_of_parse(status), "no payload of Engine.IO");
            rt_eio_session_end(s, rt_eio_reason_of_parse(status));
        }
    }
    rt_buf_deinit(&bytes);
    return taken;
}

static int take_body(struct rt_eio_session *s, const struct rt_http_request *req)
{
    struct rt_buf digits = RT_BUF_INIT, payload = RT_BUF_INIT;
    int status;
    if (rt_eio_jsonp_index(req->query, &digits)) {
        rt_eio_jsonp_unwrap(&payload, req->body);
        status = rt_buf_ok(&payload) ? take_payload(s, rt_buf_str(&payload), false) : RT_ENOMEM;
        if (!rt_buf_ok(&payload))
            rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR);
    } else {
        status = take_payload(s, req->body, is_octet_stream(req));
    }
    rt_buf_deinit(&digits);
    rt_buf_deinit(&payload);
    return status;
}

void rt_eio_poll_post(struct rt_eio_session *s, struct rt_http_request *req)
{
    struct rt_eio_mount *m = s->mount;
    /* While the packets are taken the request is in our hands: nobody answers it behind our back. */
    (void)take_post(s->poll);
    if (s->state != EIO_OPEN) { /* closed by us while the body was on its way: its user is gone */
        rt_eio_error(m, req, EIO_UNKNOWN_SID);
        return;
    }
    int status = take_body(s, req);
    if (status == RT_EINVAL || status == RT_ENOMEM) {
        rt_eio_error(m, req, EIO_BAD_REQUEST);
    } else if (s->state == EIO_OPEN && s->paused) {
        s->poll->post = req;
        s->poll->post_held = true;
        req->user = s;
        req->on_abort = post_aborted;
    } else {
        answer_post(m, req);
    }
}

void rt_eio_poll_resume(struct rt_eio_session *s)
{
    if (!s->poll || !s->poll->post_held)
        return;
    s->poll->post_held = false;
    answer_post(s->mount, take_post(s->poll));
}

/* ---- end, upgrade ---- */

void rt_eio_poll_end(struct rt_eio_session *s, char final)
{
    struct rt_eio_poll *p = s->poll;
    rt_timer_stop(s->mount->loop, &p->timer);
    if (p->get) {
        struct rt_buf body = RT_BUF_INIT;
        take_packets(s, &body, BODY_PACKETS - 1);
        if (body.len > 0)
            rt_buf_add_byte(&body, RT_EIO_SEPARATOR);
        rt_buf_add_byte(&body, (uint8_t) final);
        struct rt_http_request *req = take_get(p);
        if (rt_buf_ok(&body))
            answer_get(s, req, rt_buf_str(&body));
        else
            rt_http_abort(req);
        rt_buf_deinit(&body);
    }
    if (p->post) {
        bool held = p->post_held;
        struct rt_http_request *req = take_post(p);
        p->post_held = false;
        if (held)
            answer_post(s->mount, req);
        /* Otherwise its body is still on its way, and it will find the session unknown. */
    }
    drop_pieces(p);
}

/* One packet in polling form as a frame. */
static int to_frame(struct rt_eio_session *s, struct rt_str packet, struct rt_buf *out,
                    struct rt_buf *bytes)
{
    if (packet.ptr[0] != 'b') {
        rt_ws_frame(out, RT_WS_TEXT, packet);
        return 0;
    }
    rt_buf_clear(bytes);
    int status = rt_base64_decode(bytes, rt_str_of(packet.ptr + 1, packet.len - 1));
    if (s->text_only)
        rt_eio_encode_base64(out, rt_eio_revision_row(s), rt_buf_str(bytes));
    else
        rt_eio_encode(out, rt_eio_form_on(s, RT_EIO_WEBSOCKET), true, rt_buf_str(bytes));
    return status;
}

int rt_eio_poll_to_websocket(struct rt_eio_session *s)
{
    struct rt_buf packet = RT_BUF_INIT, frames = RT_BUF_INIT, bytes = RT_BUF_INIT;
    int status = 0;
    while (s->poll->count > 0 && status == 0) {
        rt_buf_clear(&packet);
        take_packets(s, &packet, 1);
        if (rt_buf_ok(&packet))
            status = to_frame(s, rt_buf_str(&packet), &frames, &bytes);
        else
            status = RT_ENOMEM;
    }
    if (!rt_buf_ok(&frames) || !rt_buf_ok(&bytes))
        status = RT_ENOMEM;
    if (status == 0 && frames.len > 0)
        status = rt_eio_ws_send_copy(s->link, rt_buf_str(&frames));
    rt_buf_deinit(&packet);
    rt_buf_deinit(&frames);
    rt_buf_deinit(&bytes);
    return status;
}
