/* The Socket.IO endpoint over a made-up engine: real loop, hub, broker and configuration, sessions
 * and the log played by the test.
 *
 * Defines every function of engine.h, so that the real one is not linked. What a session is sent is
 * written down, one packet a line: text as it is (without Engine.IO's `4`), binary as <bytes>. The
 * log answers at once, or when the test says so. No cmocka here: the fuzz target uses it too. */
#ifndef TEST_UNIT_SOCKETIO_RIG_H
#define TEST_UNIT_SOCKETIO_RIG_H

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "proto/socketio/engine.h"
#include "proto/socketio/socketio.h"

/* ---- the engine ---- */

struct rt_eio_mount {
    struct rt_eio_options options;
    struct rt_loop *loop;
    struct rt_list sessions;
    size_t count;
};

struct rt_eio_session {
    struct rt_list link;
    struct rt_eio_mount *mount;
    enum rt_eio_transport transport;
    struct rt_buf log;
    bool open, closed, paused, unwritable, eio3;
    char sid[RT_ID_LEN + 8]; /* of revision 3: "node." and what the user has made */
    enum rt_eio_reason reason;
    const struct rt_eio_handshake *handshake;
    void (*on_pong)(struct rt_eio_session *s);
    struct {
        struct rt_eio_session *session;
        _Alignas(16) char user[512];
    } part;
};

static bool rig_send_fails; /* the next send finds no memory */

const char *rt_eio_reason_name(enum rt_eio_reason reason)
{
    return reason == RT_EIO_PARSE_ERROR ? "parse error" : "other";
}

int rt_eio_mount(struct rt_http_server *http, struct rt_loop *loop, struct rt_ws_pool *pool,
                 const struct rt_eio_options *options, struct rt_eio_mount **ret_mount,
                 struct rt_err *err)
{
    (void)http;
    (void)pool;
    struct rt_eio_mount *m = rt_calloc(1, sizeof(*m));
    if (!m)
        return rt_err_nomem(err);
    m->options = *options;
    m->loop = loop;
    rt_list_init(&m->sessions);
    assert(options->user->size <= 512);
    *ret_mount = m;
    return 0;
}

void rt_eio_unmount(struct rt_eio_mount *m)
{
    assert(rt_list_empty(&m->sessions));
    rt_free(m);
}

void rt_eio_drain(struct rt_eio_mount *m, uint64_t jitter_ms, void (*drained)(void *arg), void *arg)
{
    (void)m;
    (void)jitter_ms;
    drained(arg);
}

void *rt_eio_user(struct rt_eio_session *s)
{
    return s->part.user;
}

struct rt_eio_session *rt_eio_of_user(void *user)
{
    return RT_CONTAINER(user, struct rt_eio_session, part.user);
}

void *rt_eio_arg(struct rt_eio_session *s)
{
    return s->mount->options.user_arg;
}

const char *rt_eio_sid(const struct rt_eio_session *s)
{
    return s->eio3 ? s->sid : "engine-sid";
}

enum rt_eio_transport rt_eio_transport(const struct rt_eio_session *s)
{
    return s->transport;
}

unsigned rt_eio_revision(const struct rt_eio_session *s)
{
    return s->eio3 ? 3 : 4;
}

enum rt_eio_form rt_eio_form_on(const struct rt_eio_session *s, enum rt_eio_transport transport)
{
    return (enum rt_eio_form)((int)transport + (s->eio3 ? (int)RT_EIO_FORM_POLLING3 : 0));
}

enum rt_eio_form rt_eio_form(const struct rt_eio_session *s)
{
    return rt_eio_form_on(s, s->transport);
}

const struct rt_eio_handshake *rt_eio_handshake(const struct rt_eio_session *s)
{
    return s->mount->options.keep_handshake ? s->handshake : NULL;
}

struct rt_loop *rt_eio_loop(struct rt_eio_session *s)
{
    return s->mount->loop;
}

size_t rt_eio_sessions(const struct rt_eio_mount *m)
{
    return m->count;
}

bool rt_eio_writable(const struct rt_eio_session *s)
{
    return !s->unwritable;
}

size_t rt_eio_queued(const struct rt_eio_session *s)
{
    (void)s;
    return 0;
}

void rt_eio_pause(struct rt_eio_session *s)
{
    s->paused = true;
}

void rt_eio_resume(struct rt_eio_session *s)
{
    s->paused = false;
}

void rt_eio_on_pong(struct rt_eio_session *s, void (*fn)(struct rt_eio_session *s))
{
    s->on_pong = fn;
}

void rt_eio_close(struct rt_eio_session *s, enum rt_eio_reason reason, uint16_t ws_code)
{
    (void)ws_code;
    if (s->closed)
        return;
    s->closed = true;
    s->reason = reason;
}

/* WebSocket form: 't' or 'b', eight hexadecimal digits of length, the bytes. */
static bool rig_is_websocket(enum rt_eio_form form)
{
    return form == RT_EIO_FORM_WEBSOCKET || form == RT_EIO_FORM_WEBSOCKET3;
}

void rt_eio_encode2(struct rt_buf *out, enum rt_eio_form form, struct rt_str head,
                    struct rt_str tail)
{
    if (rig_is_websocket(form))
        rt_buf_printf(out, "t%08zx", head.len + tail.len);
    else
        rt_buf_add_c(out, "\x1e"
                          "4");
    rt_buf_add_str(out, head);
    rt_buf_add_str(out, tail);
}

void rt_eio_encode(struct rt_buf *out, enum rt_eio_form form, bool binary, struct rt_str payload)
{
    if (!binary) {
        rt_eio_encode2(out, form, payload, RT_STR_NONE);
    } else if (rig_is_websocket(form)) {
        rt_buf_printf(out, "b%08zx", payload.len);
        rt_buf_add_str(out, payload);
    } else {
        rt_buf_add_c(out, "\x1e"
                          "b");
        rt_base64_encode(out, payload.ptr, payload.len);
    }
}

static void rig_log(struct rt_eio_session *s, bool binary, struct rt_str payload)
{
    if (binary)
        rt_buf_add_byte(&s->log, '<');
    rt_buf_add_str(&s->log, payload);
    rt_buf_add_c(&s->log, binary ? ">\n" : "\n");
}

static void rig_log_frames(struct rt_eio_session *s, struct rt_str bytes)
{
    while (bytes.len) {
        assert(bytes.len >= 9 && (bytes.ptr[0] == 't' || bytes.ptr[0] == 'b'));
        char digits[9] = {0};
        memcpy(digits, bytes.ptr + 1, 8);
        size_t len = strtoul(digits, NULL, 16);
        assert(bytes.len - 9 >= len);
        rig_log(s, bytes.ptr[0] == 'b', rt_str_of(bytes.ptr + 9, len));
        bytes = rt_str_of(bytes.ptr + 9 + len, bytes.len - 9 - len);
    }
}

static void rig_log_payload(struct rt_eio_session *s, struct rt_str bytes)
{
    assert(bytes.len && bytes.ptr[0] == '\x1e');
    bytes = rt_str_of(bytes.ptr + 1, bytes.len - 1);
    while (bytes.ptr) {
        struct rt_str packet = rt_str_split(bytes, '\x1e', &bytes);
        assert(packet.len && (packet.ptr[0] == '4' || packet.ptr[0] == 'b'));
        struct rt_str payload = rt_str_of(packet.ptr + 1, packet.len - 1);
        struct rt_buf raw = RT_BUF_INIT;
        if (packet.ptr[0] == 'b' && rt_base64_decode(&raw, payload) == 0)
            payload = rt_buf_str(&raw);
        rig_log(s, packet.ptr[0] == 'b', payload);
        rt_buf_deinit(&raw);
    }
}

static int rig_can_send(struct rt_eio_session *s)
{
    if (s->closed)
        return RT_ECLOSED;
    if (!rig_send_fails)
        return 0;
    rig_send_fails = false;
    rt_eio_close(s, RT_EIO_TRANSPORT_ERROR, 0);
    return RT_ENOMEM;
}

int rt_eio_send(struct rt_eio_session *s, bool binary, struct rt_str payload)
{
    int r = rig_can_send(s);
    if (r == 0)
        rig_log(s, binary, payload);
    return r;
}

int rt_eio_send_encoded(struct rt_eio_session *s, struct rt_bytes *bytes, uint32_t off,
                        uint32_t len)
{
    int r = rig_can_send(s);
    if (r != 0)
        return r;
    assert(off + len <= bytes->len);
    struct rt_str part = rt_str_of(bytes->data + off, len);
    if (s->transport == RT_EIO_WEBSOCKET)
        rig_log_frames(s, part);
    else
        rig_log_payload(s, part);
    return 0;
}

/* ---- the log ---- */

struct rig_journal {
    struct rt_journal base;
    struct rt_append *waiting[1024];
    size_t count;
    uint64_t offset;
    bool delayed; /* answers come with rig_commit() */
    bool congested;
    int fails; /* status of the next appends; 0: stored */
};

static void rig_store(struct rig_journal *j, struct rt_append *a)
{
    a->status = j->fails;
    if (j->fails) {
        snprintf(a->text, sizeof(a->text), "the log says %d", j->fails);
        return;
    }
    snprintf(a->position.epoch, sizeof(a->position.epoch), "E");
    a->position.offset = ++j->offset;
}

static int rig_append(struct rt_journal *base, struct rt_append *a)
{
    struct rig_journal *j = RT_CONTAINER(base, struct rig_journal, base);
    if (j->delayed && j->count < 1024) {
        j->waiting[j->count++] = a;
        return RT_PENDING;
    }
    rig_store(j, a);
    return a->status;
}

static int rig_read(struct rt_journal *base, struct rt_read *read)
{
    (void)base;
    (void)read;
    return RT_ENOENT;
}

static bool rig_congested(const struct rt_journal *base)
{
    return RT_CONTAINER(base, struct rig_journal, base)->congested;
}

static bool rig_healthy(const struct rt_journal *base, const char **ret_text)
{
    (void)base;
    if (ret_text)
        *ret_text = "";
    return true;
}

static void rig_close_journal(struct rt_journal *base, void (*closed)(void *arg), void *arg)
{
    (void)base;
    closed(arg);
}

static void rig_free_journal(struct rt_journal *base)
{
    rt_free(RT_CONTAINER(base, struct rig_journal, base));
}

static const struct rt_journal_ops rig_journal_ops = {
    .name = "rig",
    .append = rig_append,
    .read = rig_read,
    .congested = rig_congested,
    .healthy = rig_healthy,
    .close = rig_close_journal,
    .free = rig_free_journal,
};

/* ---- all together ---- */

struct rig {
    struct rt_loop *loop;
    struct rt_config *config;
    struct rt_broker *broker;
    struct rig_journal *journal;
    struct rt_socketio *endpoint;
    struct rt_metrics metrics;
};

#define RIG_CHANNELS                                                              \
    "channels: [{match: 'quiet*', log: false}, {match: '*', log: true, history: " \
    "{size: 100, ttl: 1h}}]\n"

/* `yaml`: what stands in the file besides RIG_CHANNELS (when it has no `channels`). Aborts on a
 * mistake in it. */
static inline void rig_configure(struct rig *rig, const char *yaml)
{
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config_args args = {0};
    struct rt_buf text = RT_BUF_INIT, out = RT_BUF_INIT;
    if (!strstr(yaml, "channels:"))
        rt_buf_add_c(&text, RIG_CHANNELS);
    rt_buf_add_c(&text, yaml);
    args.check = rt_socketio_check;
    if (rt_config_load_text(&args, rt_buf_str(&text), "rig.yaml", &rig->config, &errors,
                            &warnings) != 0) {
        rt_conf_errors_write(&errors, &out);
        fprintf(stderr, "%.*s", (int)out.len, (const char *)out.data);
        abort();
    }
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
    rt_buf_deinit(&text);
}

/* The parts that a test may want to fail: 0, or RT_ENOMEM with nothing left. */
static inline int rig_start(struct rig *rig)
{
    rt_metrics_init(&rig->metrics);
    rig->broker = NULL;
    rig->endpoint = NULL;
    int r = rt_broker_new(rig->config, rig->loop, NULL, &rig->broker, NULL);
    if (r != 0)
        return r;
    rig->journal = rt_calloc(1, sizeof(*rig->journal));
    if (rig->journal) {
        rig->journal->base.ops = &rig_journal_ops;
        rt_broker_set_journal(rig->broker, &rig->journal->base);
        r = rt_socketio_new(rig->config, rig->broker, NULL, NULL, NULL, &rig->endpoint, NULL);
    }
    return rig->journal ? r : RT_ENOMEM;
}

static inline void rig_init(struct rig *rig, const char *yaml)
{
    *rig = (struct rig){0};
    if (rt_loop_new(&rig->loop, NULL) != 0)
        abort();
    rig_configure(rig, yaml);
    if (rig_start(rig) != 0)
        abort();
}

static inline struct rt_eio_mount *rig_mount(struct rig *rig);

/* Ends sessions that were closed. Then everything published has been flushed. */
static inline void rig_turn(struct rig *rig)
{
    rt_hub_flush(rt_broker_hub(rig->broker));
    struct rt_eio_mount *m = rig_mount(rig);
    rt_list_for(node, &m->sessions) {
        struct rt_eio_session *s = RT_CONTAINER(node, struct rt_eio_session, link);
        if (s->closed && s->open) {
            s->open = false;
            m->options.user->on_close(s, s->reason);
        }
    }
    rt_loop_turn(rig->loop, 0);
}

static inline struct rt_eio_session *rig_open_as(struct rig *rig, enum rt_eio_transport transport,
                                                 bool eio3)
{
    struct rt_eio_mount *m = rig_mount(rig);
    struct rt_eio_session *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->mount = m;
    s->transport = transport;
    s->eio3 = eio3;
    memcpy(s->sid, "node.", 5);
    m->options.make_id(s->sid + 5);
    s->part.session = s;
    s->open = true;
    rt_list_push(&m->sessions, &s->link);
    m->count++;
    if (m->options.user->on_open(s) != 0)
        rt_eio_close(s, RT_EIO_FORCED_CLOSE, 0);
    if (!s->closed)
        m->options.user->on_ready(s);
    return s;
}

static inline struct rt_eio_session *rig_open(struct rig *rig, enum rt_eio_transport transport)
{
    return rig_open_as(rig, transport, false);
}

/* A client of Socket.IO 2. */
static inline struct rt_eio_session *rig_open_old(struct rig *rig, enum rt_eio_transport transport)
{
    return rig_open_as(rig, transport, true);
}

/* The session is over and what it was sent forgotten. */
static inline void rig_release(struct rig *rig, struct rt_eio_session *s, enum rt_eio_reason reason)
{
    rt_eio_close(s, reason, 0);
    rig_turn(rig);
    rt_list_remove(&s->link);
    s->mount->count--;
    rt_buf_deinit(&s->log);
    free(s);
}

static inline void rig_bytes_in(struct rt_eio_session *s, bool binary, const void *data, size_t len)
{
    if (s->closed)
        return;
    uint8_t *copy = malloc(len ? len : 1); /* so that ASan sees a read past it */
    if (!copy)
        abort();
    if (len)
        memcpy(copy, data, len);
    s->mount->options.user->on_message(s, binary, copy, len);
    free(copy);
}

static inline void rig_in(struct rt_eio_session *s, const char *text)
{
    rig_bytes_in(s, false, text, strlen(text));
}

static inline void rig_binary_in(struct rt_eio_session *s, const char *bytes)
{
    rig_bytes_in(s, true, bytes, strlen(bytes));
}

static inline void rig_upgrade(struct rt_eio_session *s)
{
    s->mount->options.user->on_transport(s, RT_EIO_WEBSOCKET);
    s->transport = RT_EIO_WEBSOCKET; /* what came until here is in the form of polling */
}

/* The log answers what waits, in order. */
static inline void rig_commit(struct rig *rig)
{
    struct rig_journal *j = rig->journal;
    size_t count = j->count;
    j->count = 0;
    for (size_t i = 0; i < count; i++) {
        rig_store(j, j->waiting[i]);
        j->waiting[i]->done(j->waiting[i]);
    }
}

static inline void rig_stop(struct rig *rig)
{
    if (rig->journal && rig->broker) {
        rig_commit(rig);
        rt_broker_set_journal(rig->broker, &rig->journal->base);
    }
    if (rig->endpoint) {
        struct rt_eio_mount *m = rig_mount(rig);
        while (!rt_list_empty(&m->sessions))
            rig_release(rig, RT_CONTAINER(m->sessions.next, struct rt_eio_session, link),
                        RT_EIO_SHUTDOWN);
    }
    rt_socketio_free(rig->endpoint);
    rt_broker_free(rig->broker);
    rig->endpoint = NULL;
    rig->broker = NULL;
    rig->journal = NULL;
}

static inline void rig_deinit(struct rig *rig)
{
    rig_stop(rig);
    rt_config_free(rig->config);
    rt_loop_free(rig->loop);
}

#include "proto/socketio/internal.h"

static inline struct rt_eio_mount *rig_mount(struct rig *rig)
{
    return rig->endpoint->mount;
}

#endif
