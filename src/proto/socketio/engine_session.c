/* Life of a session: creation, open packet, heartbeat, packets from the peer, end. */
#include "proto/socketio/engine_internal.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/rand.h"

#define ALIGN 16u
#define OTHER_BYTES \
    512u /* of a session: its id, its place in the table, its queue, what the allocator adds */
/* ms that a closed polling session waits for a last GET: its peer has to learn of our close, or sent its own beside a GET. */
#define LAST_GET_AFTER_OUR_CLOSE 30000u
#define LAST_GET_AFTER_CLOSE     1000u
#define LATE_TURN                20u /* ms of delay from which a turn counts as late */

/* Behind the sid and a pointer back to the session, which stands right in front of the user part. */
static size_t user_offset(size_t sid_len)
{
    size_t end = offsetof(struct rt_eio_session, sid) + sid_len + 1 + sizeof(void *);
    return (end + ALIGN - 1) / ALIGN * ALIGN;
}

void *rt_eio_user(struct rt_eio_session *s)
{
    return (char *)s + user_offset(s->sid_len);
}

struct rt_eio_session *rt_eio_of_user(void *user)
{
    struct rt_eio_session *s;
    memcpy(&s, (char *)user - sizeof(s), sizeof(s));
    return s;
}

static size_t handshake_size(const struct rt_http_request *req)
{
    return sizeof(struct rt_eio_handshake) + req->target.len + req->header_lines.len +
           strlen(req->remote);
}

/* The handshake request in one block: struct, then all text. */
static struct rt_eio_handshake *copy_handshake(const struct rt_http_request *req)
{
    struct rt_str address = rt_str_c(req->remote);
    struct rt_eio_handshake *h = rt_malloc(handshake_size(req));
    if (!h)
        return NULL;
    char *at = (char *)(h + 1);
    struct rt_str parts[] = {req->target, req->header_lines, address};
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].ptr, parts[i].len);
        parts[i].ptr = at;
        at += parts[i].len;
    }
    *h = (struct rt_eio_handshake){.url = parts[0],
                                   .headers = parts[1],
                                   .address = parts[2],
                                   .secure = req->secure,
                                   .xdomain = rt_http_header(req, "origin").ptr != NULL,
                                   .issued = rt_wall_ms()};
    (void)rt_str_split(h->url, '?', &h->query);
    return h;
}

#define SID_CAP 128
_Static_assert(RT_CONF_NODE_NAME + 1 + RT_ID_LEN < SID_CAP, "a node's name and an id fit");

static size_t make_sid(const struct rt_eio_mount *m, bool eio3, char out[SID_CAP])
{
    char id[RT_ID_LEN + 1];
    if (eio3 && m->options.make_id)
        m->options.make_id(id);
    else
        rt_random_id(id);
    const char *node = m->options.node;
    bool prefixed = node && node[0] != '\0';
    int len = snprintf(out, SID_CAP, "%s%s%s", prefixed ? node : "", prefixed ? "." : "", id);
    return len < SID_CAP ? (size_t)len : SID_CAP - 1;
}

size_t rt_eio_session_size(const struct rt_eio_mount *m, const struct rt_http_request *req)
{
    size_t size = user_offset(0) + m->options.user->size + sizeof(struct rt_eio_poll);
    return size + OTHER_BYTES + (m->options.keep_handshake ? handshake_size(req) : 0);
}

static void free_session(struct rt_eio_session *s)
{
    s->mount->alive--;
    if (s->poll)
        rt_eio_poll_free(s->poll);
    rt_free(s->handshake);
    rt_free(s);
}

static int fill(struct rt_eio_session *s, struct rt_http_request *req)
{
    if (s->mount->options.keep_handshake && !(s->handshake = copy_handshake(req)))
        return RT_ENOMEM;
    if (s->transport == RT_EIO_POLLING && rt_eio_poll_new(s, req))
        return RT_ENOMEM;
    return rt_map_put(&s->mount->table, s);
}

int rt_eio_session_new(struct rt_eio_mount *m, struct rt_http_request *req,
                       enum rt_eio_transport transport, unsigned revision,
                       struct rt_eio_session **ret_session)
{
    char sid[SID_CAP];
    bool eio3 = revision == rt_eio_revisions[true].number;
    size_t len = make_sid(m, eio3, sid);
    size_t offset = user_offset(len);
    struct rt_eio_session *s = rt_calloc(1, offset + m->options.user->size);
    if (!s)
        return RT_ENOMEM;
    s->mount = m;
    m->alive++;
    s->sid_len = (uint8_t)len;
    memcpy(s->sid, sid, len);
    memcpy((char *)s + offset - sizeof(s), &s, sizeof(s));
    s->transport = (uint8_t)transport;
    s->eio3 = eio3;
    rt_list_init(&s->all);
    rt_list_init(&s->deferred.link);
    if (fill(s, req)) {
        free_session(s);
        return RT_ENOMEM;
    }
    rt_list_push(&m->sessions, &s->all);
    m->metrics.opened_eio3.value += eio3;
    *ret_session = s;
    return 0;
}

/* ---- heartbeat ---- */

static void beat(struct rt_timer *timer);

/* The answer is overdue, by the clock. If this turn is late itself the answer may be waiting in the socket: it is read first. */
static bool read_before_judging(struct rt_eio_session *s, uint64_t now)
{
    bool late = now - s->deadline > LATE_TURN && !s->reprieved;
    s->reprieved = late;
    return late;
}

/* It is us who do not listen. The peer has answered, perhaps, and takes us for dead when no other ping comes. Its answers come in order: the one that counts is
 * the last ping's. */
static void ping_unheard(struct rt_eio_session *s, uint64_t now)
{
    struct rt_eio_mount *m = s->mount;
    s->deadline = now + m->options.config->ping_interval;
    rt_timer_start_at(m->loop, &s->timer, s->deadline, beat);
    if (s->pongs_owed == UINT16_MAX)
        return;
    s->pongs_owed++;
    (void)rt_eio_session_send(s, RT_EIO_PING, RT_STR_NONE);
}

/* The same in revision 3: the peer's ping waits to be read, and the peer for an answer. Any packet will do. */
static void ping_unread(struct rt_eio_session *s, uint64_t now)
{
    struct rt_eio_mount *m = s->mount;
    uint64_t timeout = m->options.config->ping_timeout;
    s->deadline = now + timeout;
    rt_timer_start_at(m->loop, &s->timer, now + (timeout + 1) / 2, beat);
    (void)rt_eio_session_send(s, RT_EIO_NOOP, RT_STR_NONE);
}

static void beat(struct rt_timer *timer)
{
    struct rt_eio_session *s = RT_CONTAINER(timer, struct rt_eio_session, timer);
    struct rt_eio_mount *m = s->mount;
    uint64_t now = rt_loop_now(m->loop), timeout = m->options.config->ping_timeout;
    if (s->state == EIO_LINGERING) {
        rt_eio_session_end(s, RT_EIO_PING_TIMEOUT);
        return;
    }
    if (s->deadline != 0 && s->paused) {
        if (rt_eio_revision_row(s)->client_pings)
            ping_unread(s, now);
        else
            ping_unheard(s, now);
        return;
    }
    if (s->deadline != 0) {
        if (now < s->deadline) /* revision 3 only */
            rt_timer_start_at(m->loop, &s->timer, s->deadline, beat);
        else if (read_before_judging(s, now))
            rt_timer_start(m->loop, &s->timer, 1, beat);
        else
            rt_eio_session_end(s, RT_EIO_PING_TIMEOUT);
        return;
    }
    /* Deadlines count from when the ping was due, not from when a busy loop came to it: a client that counts from the
     * handshake finds them exact. A loop that was away for long still leaves the peer half of the time. */
    uint64_t due = timer->expires + timeout, fair = now + timeout / 2;
    s->ping_sent = now;
    s->deadline = due > fair ? due : fair;
    rt_timer_start_at(m->loop, &s->timer, s->deadline, beat);
    (void)rt_eio_session_send(s, RT_EIO_PING, RT_STR_NONE);
}

/* Revision 3: the next ping has to come before its time, and that for the answer, have passed. It is overdue in the middle of the latter: then we look
 * whether it is us who do not read. */
static void await_ping(struct rt_eio_session *s)
{
    struct rt_eio_mount *m = s->mount;
    const struct rt_engineio_config *c = m->options.config;
    s->deadline = rt_loop_now(m->loop) + c->ping_interval + c->ping_timeout;
    s->reprieved = false;
    rt_timer_start_at(m->loop, &s->timer, s->deadline - c->ping_timeout / 2, beat);
}

static void start_heartbeat(struct rt_eio_session *s)
{
    if (rt_eio_revision_row(s)->client_pings)
        await_ping(s);
    else
        rt_timer_start(s->mount->loop, &s->timer, s->mount->options.config->ping_interval, beat);
}

static void pong(struct rt_eio_session *s)
{
    struct rt_eio_mount *m = s->mount;
    if (s->deadline == 0)
        return; /* unsolicited: ignored, as the reference server does */
    if (s->pongs_owed > 0) {
        s->pongs_owed--;
        return;
    }
    uint64_t now = rt_loop_now(m->loop);
    rt_metrics_observe(&m->metrics.ping_rtt, (double)(now - s->ping_sent) / 1000);
    s->deadline = 0;
    s->reprieved = false;
    rt_timer_start(m->loop, &s->timer, m->options.config->ping_interval, beat);
    if (s->on_pong)
        s->on_pong(s);
}

/* Judged by the time at which this turn's bytes were there to be read. In a late turn the request may bring the pong: the timer
 * judges then. */
bool rt_eio_session_overdue(struct rt_eio_session *s)
{
    uint64_t now = rt_loop_now(s->mount->loop);
    if (s->deadline == 0 || now < s->deadline || s->paused || now - s->deadline > LATE_TURN)
        return false;
    rt_eio_session_end(s, RT_EIO_PING_TIMEOUT);
    return true;
}

void rt_eio_session_resumed(struct rt_eio_session *s)
{
    const struct rt_eio_mount *m = s->mount;
    uint64_t fair = rt_loop_now(m->loop) + m->options.config->ping_timeout / 2;
    if (s->deadline == 0 || s->deadline >= fair)
        return;
    s->deadline = fair;
    rt_timer_start_at(m->loop, &s->timer, fair, beat);
}

/* ---- open, packets ---- */

int rt_eio_session_open(struct rt_eio_session *s)
{
    struct rt_eio_mount *m = s->mount;
    const struct rt_engineio_config *c = m->options.config;
    bool upgrade = s->transport == RT_EIO_POLLING && c->websocket && c->upgrades;
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_printf(&text,
                  "{\"sid\":\"%s\",\"upgrades\":[%s],\"pingInterval\":%llu,\"pingTimeout\":%llu,"
                  "\"maxPayload\":%llu}",
                  s->sid, upgrade ? "\"websocket\"" : "", (unsigned long long)c->ping_interval,
                  (unsigned long long)c->ping_timeout, (unsigned long long)c->max_payload);
    int status =
        rt_buf_ok(&text) ? rt_eio_session_send(s, RT_EIO_OPEN, rt_buf_str(&text)) : RT_ENOMEM;
    rt_buf_deinit(&text);
    if (s->state == EIO_OPENING) {
        s->state = EIO_OPEN;
        start_heartbeat(s);
    }
    if (status == 0) {
        s->user_open = true; /* from here on on_close is owed */
        status = m->options.user->on_open(s);
    }
    if (status)
        rt_eio_session_end(s, status == RT_ENOMEM ? RT_EIO_TRANSPORT_ERROR : RT_EIO_FORCED_CLOSE);
    else if (s->transport == RT_EIO_WEBSOCKET)
        rt_eio_session_ready(s);
    return status;
}

void rt_eio_session_ready(struct rt_eio_session *s)
{
    if (s->ready || s->state != EIO_OPEN)
        return;
    s->ready = true;
    if (s->mount->options.user->on_ready)
        s->mount->options.user->on_ready(s);
}

/* The half of the heartbeat that is the peer's. */
static int heard(struct rt_eio_session *s, enum rt_eio_packet_type type)
{
    bool pings = rt_eio_revision_row(s)->client_pings;
    if (pings != (type == RT_EIO_PING))
        return RT_EINVAL;
    if (pings) {
        await_ping(s);
        (void)rt_eio_session_send(s, RT_EIO_PONG, RT_STR_NONE);
    } else {
        pong(s);
    }
    return s->state == EIO_OPEN ? 0 : RT_ECLOSED;
}

int rt_eio_session_packet(struct rt_eio_session *s, const struct rt_eio_packet *packet)
{
    int status;
    switch (packet->type) {
    case RT_EIO_MESSAGE:
        /* Text is a slice of a buffer of ours; handlers may change it in place. */
        s->mount->options.user->on_message(
            s, packet->binary, (uint8_t *)(uintptr_t)packet->data.ptr, packet->data.len);
        return s->state == EIO_OPEN ? 0 : RT_ECLOSED;
    case RT_EIO_PING:
    case RT_EIO_PONG:
        status = heard(s, packet->type);
        if (status != RT_EINVAL)
            return status;
        break;
    case RT_EIO_CLOSE:
        rt_eio_session_client_close(s);
        return RT_ECLOSED;
    case RT_EIO_UPGRADE:
    case RT_EIO_NOOP:
        return 0; /* nothing to do outside of a probe */
    case RT_EIO_OPEN:
        break; /* the server's alone */
    }
    rt_eio_tell_end(s->mount, RT_EIO_PARSE_ERROR, "a packet that only servers send");
    rt_eio_session_end(s, RT_EIO_PARSE_ERROR);
    return RT_EINVAL;
}

int rt_eio_session_send(struct rt_eio_session *s, enum rt_eio_packet_type type, struct rt_str data)
{
    struct rt_buf *out = &s->mount->scratch;
    struct rt_str head = rt_str_of((const char[]){(char)type}, 1);
    rt_buf_clear(out);
    rt_eio_encode_packet(out, (enum rt_eio_transport)s->transport, head, data);
    return rt_eio_session_send_scratch(s);
}

int rt_eio_session_send_scratch(struct rt_eio_session *s)
{
    struct rt_buf *out = &s->mount->scratch;
    int status = RT_ENOMEM;
    if (rt_buf_ok(out) && s->transport == RT_EIO_WEBSOCKET) {
        status = rt_eio_ws_send_copy(s->link, rt_buf_str(out));
    } else if (rt_buf_ok(out)) {
        struct rt_bytes *bytes = rt_buf_to_bytes(out);
        if (bytes)
            status = rt_eio_poll_queue(s, bytes, 0, bytes->len);
        rt_bytes_unref(bytes);
    }
    if (status == RT_ENOMEM)
        rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR); /* its stream has a hole */
    return status;
}

/* ---- end ---- */

static void finish(struct rt_deferred *deferred)
{
    struct rt_eio_session *s = RT_CONTAINER(deferred, struct rt_eio_session, deferred);
    struct rt_eio_mount *m = s->mount;
    if (s->user_open) {
        s->user_open = false;
        m->options.user->on_close(s, (enum rt_eio_reason)s->reason);
    }
    if (s->state != EIO_CLOSED)
        return; /* lingers without its user */
    rt_timer_stop(m->loop, &s->timer);
    free_session(s);
    rt_eio_drain_check(m);
}

static void defer_finish(struct rt_eio_session *s)
{
    if (rt_list_empty(&s->deferred.link))
        rt_loop_defer(s->mount->loop, &s->deferred, finish);
}

static void leave_table(struct rt_eio_session *s)
{
    rt_map_remove(&s->mount->table, rt_str_of(s->sid, s->sid_len));
    rt_list_remove(&s->all);
}

static void note_end(struct rt_eio_session *s, enum rt_eio_reason reason)
{
    if (s->state == EIO_LINGERING)
        return; /* counted when it began to linger */
    s->reason = (uint8_t)reason;
    s->mount->metrics.closes[reason].value++;
}

/* What a held GET gets as its last packet. */
static char last_packet(enum rt_eio_reason reason)
{
    switch (reason) {
    case RT_EIO_CLIENT_CLOSE:
    case RT_EIO_SHUTDOWN: /* a `1` would be final for some clients: they shall come back */
        return RT_EIO_NOOP;
    default:
        return RT_EIO_CLOSE;
    }
}

void rt_eio_session_end(struct rt_eio_session *s, enum rt_eio_reason reason)
{
    if (s->state == EIO_CLOSED)
        return;
    note_end(s, reason);
    s->state = EIO_CLOSED;
    rt_timer_stop(s->mount->loop, &s->timer);
    leave_table(s);
    if (s->link) {
        s->link->session = NULL;
        rt_eio_link_release(s->link, 0);
        s->link = NULL;
    }
    if (s->poll)
        rt_eio_poll_end(s, last_packet(reason));
    defer_finish(s);
}

/* A polling session that ends while no GET is held: its user is gone, the next GET within `ms` gets the rest. */
static void linger(struct rt_eio_session *s, enum rt_eio_reason reason, uint64_t ms)
{
    note_end(s, reason);
    s->state = EIO_LINGERING;
    if (s->link) {
        s->link->session = NULL;
        rt_eio_link_release(s->link, 0);
        s->link = NULL;
    }
    s->deadline = 0;
    rt_timer_start(s->mount->loop, &s->timer, ms, beat);
    rt_eio_poll_resume(s); /* nobody is left who could */
    defer_finish(s);
}

/* Clients send `1` and their last GET at once, on two connections: where the GET arrives second it still gets its noop. */
void rt_eio_session_client_close(struct rt_eio_session *s)
{
    if (s->transport == RT_EIO_POLLING && s->poll && !s->poll->get)
        linger(s, RT_EIO_CLIENT_CLOSE, LAST_GET_AFTER_CLOSE);
    else
        rt_eio_session_end(s, RT_EIO_CLIENT_CLOSE);
}

void rt_eio_close(struct rt_eio_session *s, enum rt_eio_reason reason, uint16_t ws_code)
{
    if (s->state == EIO_CLOSED || s->state == EIO_LINGERING)
        return;
    if (s->transport == RT_EIO_WEBSOCKET && s->link) {
        struct rt_eio_link *l = s->link;
        s->link = NULL;
        l->session = NULL;
        rt_eio_link_release(l, ws_code);
    }
    bool polling = s->transport == RT_EIO_POLLING && s->poll;
    bool orderly = polling && (reason == RT_EIO_FORCED_CLOSE || reason == RT_EIO_PARSE_ERROR);
    if (orderly && s->poll->count > 0)
        rt_eio_poll_flush(s); /* the close does not share a body with other packets */
    if (s->state == EIO_CLOSED)
        return;
    if (orderly && (!s->poll->get || s->poll->count > 0))
        linger(s, reason, LAST_GET_AFTER_OUR_CLOSE);
    else
        rt_eio_session_end(s, reason);
}
