/* Mounts, the user's API, draining. See engine.h. */
#include "proto/socketio/engine_internal.h"

#include <assert.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/codec.h"

static const char *const REASONS[] = {
    [RT_EIO_TRANSPORT_CLOSE] = "transport close",
    [RT_EIO_TRANSPORT_ERROR] = "transport error",
    [RT_EIO_PING_TIMEOUT] = "ping timeout",
    [RT_EIO_PARSE_ERROR] = "parse error",
    [RT_EIO_CLIENT_CLOSE] = "client close",
    [RT_EIO_FORCED_CLOSE] = "forced close",
    [RT_EIO_SLOW] = "slow consumer",
    [RT_EIO_ABANDONED] = "no request followed",
    [RT_EIO_SHUTDOWN] = "server shutting down",
};

static const char *const QUOTAS[] = {
    [RT_EIO_MANY] = "limit",
    [RT_EIO_MANY_OF_IP] = "per_ip",
    [RT_EIO_UNCONFIRMED] = "unconfirmed",
    [RT_EIO_BYTES] = "memory",
};

const char *rt_eio_reason_name(enum rt_eio_reason reason)
{
    return REASONS[reason];
}

/* ---- metrics ---- */

static void add_metric(struct rt_eio_mount *m, struct rt_metric *metric, const char *name,
                       const char *help, size_t label)
{
    *metric = (struct rt_metric){
        .name = name, .help = help, .labels = m->metrics.labels[label], .type = RT_COUNTER};
    if (m->options.metrics)
        rt_metrics_register(m->options.metrics, metric);
}

/* `path="<path>",name="value"`, or without the second; owned by the mount. */
static int add_label(struct rt_eio_mount *m, size_t *count, const char *name, const char *value)
{
    struct rt_buf *out = &m->scratch;
    rt_buf_clear(out);
    rt_buf_add_c(out, "path=\"");
    for (const char *c = m->options.path; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            rt_buf_add_byte(out, '\\');
        rt_buf_add_byte(out, (uint8_t)*c);
    }
    rt_buf_printf(out, "\",%s=\"%s\"", name, value);
    char *label = rt_buf_ok(out) ? rt_strndup((const char *)out->data, out->len) : NULL;
    m->metrics.labels[(*count)++] = label;
    return label ? 0 : RT_ENOMEM;
}

static int make_labels(struct rt_eio_mount *m)
{
    size_t count = 0;
    int status = 0;
    for (int i = 0; i <= RT_EIO_SHUTDOWN; i++)
        status |= add_label(m, &count, "reason", REASONS[i]);
    status |= add_label(m, &count, "transport", "polling");
    status |= add_label(m, &count, "transport", "websocket");
    status |= add_label(m, &count, "protocol", m->options.protocol);
    for (int i = RT_EIO_MANY; i <= RT_EIO_BYTES; i++)
        status |= add_label(m, &count, "reason", QUOTAS[i]);
    return status ? RT_ENOMEM : 0;
}

static double count_sessions(void *arg)
{
    return (double)((const struct rt_eio_mount *)arg)->table.count;
}

static void register_metrics(struct rt_eio_mount *m)
{
    static const double rtt[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20};
    size_t label = 0;
    for (int i = 0; i <= RT_EIO_SHUTDOWN; i++)
        add_metric(m, &m->metrics.closes[i], "session_closes_total",
                   "Engine.IO sessions that ended, by reason.", label++);
    add_metric(m, &m->metrics.opened_polling, "sessions_opened_total",
               "Engine.IO sessions opened, by first transport.", label++);
    add_metric(m, &m->metrics.opened_websocket, "sessions_opened_total",
               "Engine.IO sessions opened, by first transport.", label++);
    add_metric(m, &m->metrics.opened_eio3, "sessions_opened_eio3_total",
               "Engine.IO sessions opened by clients of revision 3.", label);
    add_metric(m, &m->metrics.upgrades, "session_upgrades_total",
               "Sessions that moved from polling to WebSocket.", label);
    add_metric(m, &m->metrics.refused, "session_requests_refused_total",
               "Requests answered with an Engine.IO error.", label);
    add_metric(m, &m->metrics.ping_rtt, "ping_rtt_seconds", "Time from ping to pong.", label);
    m->metrics.ping_rtt.type = RT_HISTOGRAM;
    m->metrics.ping_rtt.bounds = rtt;
    m->metrics.ping_rtt.bound_count = 12;
    add_metric(m, &m->metrics.sessions, "sessions", "Engine.IO sessions now.", label);
    m->metrics.sessions.type = RT_GAUGE;
    m->metrics.sessions.read = count_sessions;
    m->metrics.sessions.arg = m;
    for (int i = RT_EIO_MANY; i <= RT_EIO_BYTES; i++)
        add_metric(m, &m->quotas.rejected[i], "sessions_rejected_total",
                   "Engine.IO sessions refused, since there were too many.", ++label);
}

/* ---- refusals ---- */

void rt_eio_refused(struct rt_eio_mount *m, enum rt_refusal why, struct rt_str what,
                    const char *text, const char *key)
{
    char option[96];
    const struct rt_eio_options *o = &m->options;
    if (!o->refusals)
        return;
    (void)snprintf(option, sizeof(option), "%s.%s", o->section, key ? key : "");
    const struct rt_refusal_note note = {.why = why,
                                         .protocol = o->protocol,
                                         .what = what,
                                         .text = text,
                                         .option = key ? option : NULL};
    rt_refused(o->refusals, &note);
}

void rt_eio_tell_end(struct rt_eio_mount *m, enum rt_eio_reason reason, const char *text)
{
    if (reason == RT_EIO_SLOW)
        rt_eio_refused(m, RT_REFUSED_SLOW, rt_str_c(m->options.path), text, NULL);
    else if (reason == RT_EIO_PARSE_ERROR)
        rt_eio_refused(m, RT_REFUSED_PROTOCOL, rt_str_c(m->options.path), text, NULL);
}

/* ---- mount ---- */

static struct rt_str key_of_session(const void *value)
{
    const struct rt_eio_session *s = value;
    return rt_str_of(s->sid, s->sid_len);
}

static void free_mount(struct rt_eio_mount *m)
{
    rt_map_deinit(&m->table);
    rt_eio_quotas_deinit(m);
    rt_buf_deinit(&m->scratch);
    for (size_t i = 0; i < sizeof(m->metrics.labels) / sizeof(m->metrics.labels[0]); i++)
        rt_free(m->metrics.labels[i]);
    rt_free(m);
}

/* What is 0 in the options: a session has a connection most of the time. */
static size_t default_sessions(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)limit.rlim_cur : SIZE_MAX;
}

int rt_eio_mount(struct rt_http_server *http, struct rt_loop *loop, struct rt_ws_pool *pool,
                 const struct rt_eio_options *options, struct rt_eio_mount **ret_mount,
                 struct rt_err *err)
{
    struct rt_eio_mount *m = rt_calloc(1, sizeof(*m));
    if (!m)
        return rt_err_nomem(err);
    m->options = *options;
    m->http = http;
    m->loop = loop;
    m->pool = pool;
    rt_map_init(&m->table, key_of_session);
    rt_list_init(&m->sessions);
    rt_eio_quotas_init(m);
    rt_buf_init(&m->scratch);
    if (m->options.max_sessions == 0)
        m->options.max_sessions = default_sessions();
    if (m->options.max_polling_per_ip == 0)
        m->options.max_polling_per_ip = m->options.max_sessions / 4 + 1;
    int status = make_labels(m) ? rt_err_nomem(err) : rt_eio_mount_route(m, err);
    if (status) {
        free_mount(m);
        return status;
    }
    register_metrics(m);
    *ret_mount = m;
    return 0;
}

void rt_eio_unmount(struct rt_eio_mount *m)
{
    if (!m)
        return;
    assert(m->alive == 0 && m->links == 0);
    rt_drain_stop(&m->drain);
    free_mount(m);
}

/* ---- drain ---- */

void rt_eio_drain_check(struct rt_eio_mount *m)
{
    if (!m->drained || m->alive > 0 || m->links > 0)
        return;
    void (*drained)(void *) = m->drained;
    m->drained = NULL;
    rt_drain_stop(&m->drain);
    drained(m->drained_arg);
}

static bool close_one(void *arg)
{
    struct rt_eio_mount *m = arg;
    if (rt_list_empty(&m->sessions))
        return false;
    struct rt_eio_session *s = RT_CONTAINER(m->sessions.next, struct rt_eio_session, all);
    if (s->state == EIO_LINGERING)
        rt_eio_session_end(s, RT_EIO_SHUTDOWN);
    else
        rt_eio_close(s, RT_EIO_SHUTDOWN, 1001);
    return true;
}

/* Also with nobody to close the report comes later, never from inside. */
static bool close_next(void *arg)
{
    bool closed = close_one(arg);
    if (!closed)
        rt_eio_drain_check(arg);
    return closed;
}

void rt_eio_drain(struct rt_eio_mount *m, uint64_t jitter_ms, void (*drained)(void *arg), void *arg)
{
    m->draining = true;
    m->drained = drained;
    m->drained_arg = arg;
    rt_drain_start(&m->drain, m->loop, m->table.count, jitter_ms, close_next, m);
}

/* ---- the user's side ---- */

void *rt_eio_arg(struct rt_eio_session *s)
{
    return s->mount->options.user_arg;
}

const char *rt_eio_sid(const struct rt_eio_session *s)
{
    return s->sid;
}

enum rt_eio_transport rt_eio_transport(const struct rt_eio_session *s)
{
    return (enum rt_eio_transport)s->transport;
}

unsigned rt_eio_revision(const struct rt_eio_session *s)
{
    return rt_eio_revision_row(s)->number;
}

/* Of a form: its transport, its revision. */
static enum rt_eio_transport transport_of(enum rt_eio_form form)
{
    return form % 2 == RT_EIO_FORM_WEBSOCKET ? RT_EIO_WEBSOCKET : RT_EIO_POLLING;
}

static const struct rt_eio_revision *revision_of(enum rt_eio_form form)
{
    return &rt_eio_revisions[form >= RT_EIO_FORM_POLLING3];
}

enum rt_eio_form rt_eio_form_on(const struct rt_eio_session *s, enum rt_eio_transport transport)
{
    bool websocket = transport == RT_EIO_WEBSOCKET;
    if (s->eio3)
        return websocket ? RT_EIO_FORM_WEBSOCKET3 : RT_EIO_FORM_POLLING3;
    return websocket ? RT_EIO_FORM_WEBSOCKET : RT_EIO_FORM_POLLING;
}

enum rt_eio_form rt_eio_form(const struct rt_eio_session *s)
{
    return rt_eio_form_on(s, rt_eio_transport(s));
}

const struct rt_eio_handshake *rt_eio_handshake(const struct rt_eio_session *s)
{
    return s->handshake;
}

struct rt_loop *rt_eio_loop(struct rt_eio_session *s)
{
    return s->mount->loop;
}

size_t rt_eio_sessions(const struct rt_eio_mount *m)
{
    return m->table.count;
}

void rt_eio_encode_packet(struct rt_buf *out, enum rt_eio_transport transport, struct rt_str head,
                          struct rt_str tail)
{
    if (transport == RT_EIO_WEBSOCKET) {
        uint8_t header[RT_WS_HEADER_MAX];
        rt_buf_add(out, header, rt_ws_header(RT_WS_TEXT, head.len + tail.len, header));
    } else {
        rt_buf_add_byte(out, RT_EIO_SEPARATOR);
    }
    rt_buf_add_str(out, head);
    rt_buf_add_str(out, tail);
}

void rt_eio_encode2(struct rt_buf *out, enum rt_eio_form form, struct rt_str head,
                    struct rt_str tail)
{
    if (transport_of(form) == RT_EIO_WEBSOCKET) {
        uint8_t header[RT_WS_HEADER_MAX];
        rt_buf_add(out, header, rt_ws_header(RT_WS_TEXT, 1 + head.len + tail.len, header));
    } else {
        rt_buf_add_byte(out, RT_EIO_SEPARATOR);
    }
    rt_buf_add_byte(out, RT_EIO_MESSAGE);
    rt_buf_add_str(out, head);
    rt_buf_add_str(out, tail);
}

/* A binary message as a WebSocket frame. */
static void encode_frame(struct rt_buf *out, struct rt_str type, struct rt_str payload)
{
    uint8_t header[RT_WS_HEADER_MAX];
    rt_buf_add(out, header, rt_ws_header(RT_WS_BINARY, type.len + payload.len, header));
    rt_buf_add_str(out, type);
    rt_buf_add_str(out, payload);
}

void rt_eio_encode(struct rt_buf *out, enum rt_eio_form form, bool binary, struct rt_str payload)
{
    enum rt_eio_transport transport = transport_of(form);
    if (!binary && transport == RT_EIO_POLLING && payload.len > 0 &&
        memchr(payload.ptr, RT_EIO_SEPARATOR, payload.len))
        binary = true; /* as text it would fall apart into packets */
    if (!binary) {
        rt_eio_encode2(out, form, payload, RT_STR_NONE);
    } else if (transport == RT_EIO_WEBSOCKET) {
        encode_frame(out, revision_of(form)->binary_type, payload);
    } else {
        rt_buf_add_byte(out, RT_EIO_SEPARATOR);
        rt_buf_add_byte(out, 'b');
        rt_base64_encode(out, payload.ptr, payload.len);
    }
}

void rt_eio_encode_base64(struct rt_buf *out, const struct rt_eio_revision *revision,
                          struct rt_str payload)
{
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_add_str(&text, revision->base64_type);
    rt_base64_encode(&text, payload.ptr, payload.len);
    rt_ws_frame(out, RT_WS_TEXT, rt_buf_str(&text));
    out->failed |= text.failed;
    rt_buf_deinit(&text);
}

int rt_eio_send(struct rt_eio_session *s, bool binary, struct rt_str payload)
{
    if (s->state != EIO_OPEN)
        return RT_ECLOSED;
    struct rt_buf *out = &s->mount->scratch;
    rt_buf_clear(out);
    if (binary && s->text_only && s->transport == RT_EIO_WEBSOCKET)
        rt_eio_encode_base64(out, rt_eio_revision_row(s), payload);
    else
        rt_eio_encode(out, rt_eio_form(s), binary, payload);
    return rt_eio_session_send_scratch(s);
}

int rt_eio_send_encoded(struct rt_eio_session *s, struct rt_bytes *bytes, uint32_t off,
                        uint32_t len)
{
    if (s->state != EIO_OPEN)
        return RT_ECLOSED;
    int status;
    if (s->transport == RT_EIO_POLLING)
        status = rt_eio_poll_queue(s, bytes, off, len);
    else if (s->text_only)
        status = rt_eio_ws_send_as_text(s, rt_str_of(bytes->data + off, len));
    else
        status = rt_eio_ws_send(s->link, bytes, off, len);
    if (status == RT_ENOMEM)
        rt_eio_session_end(s, RT_EIO_TRANSPORT_ERROR);
    return status;
}

bool rt_eio_writable(const struct rt_eio_session *s)
{
    if (s->state != EIO_OPEN)
        return false;
    if (s->transport == RT_EIO_WEBSOCKET)
        return rt_conn_writable(s->link->ws.conn) && rt_list_empty(&s->link->paced);
    return s->poll->get != NULL && s->poll->count == 0;
}

size_t rt_eio_queued(const struct rt_eio_session *s)
{
    if (s->state != EIO_OPEN)
        return 0;
    return s->transport == RT_EIO_WEBSOCKET
               ? rt_conn_queued(s->link->ws.conn) + s->link->paced_bytes
               : s->poll->bytes;
}

void rt_eio_pause(struct rt_eio_session *s)
{
    if (s->paused || s->state != EIO_OPEN)
        return;
    s->paused = true;
    if (s->transport == RT_EIO_WEBSOCKET)
        rt_conn_pause(s->link->ws.conn);
}

void rt_eio_resume(struct rt_eio_session *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    if (s->state != EIO_OPEN)
        return;
    if (s->link && s->transport == RT_EIO_WEBSOCKET)
        rt_conn_resume(s->link->ws.conn);
    rt_eio_poll_resume(s);
    rt_eio_session_resumed(s);
}

void rt_eio_on_pong(struct rt_eio_session *s, void (*fn)(struct rt_eio_session *s))
{
    s->on_pong = fn;
}
