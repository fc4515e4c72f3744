/* Bare Engine.IO endpoints: a session without Socket.IO on top. */
#include "base/alloc.h"
#include "proto/raw/internal.h"

struct rt_raw_bare {
    struct rt_raw_peer peer; /* first */
    char *channel;
};

/* One per form: see rt_encoding. */
struct bare_encoding {
    struct rt_encoding base; /* first */
    enum rt_eio_form form;
};

static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    const struct bare_encoding *e = RT_CONTAINER(self, const struct bare_encoding, base);
    rt_eio_encode(out, e->form, m->kind == RT_KIND_BYTES, m->data);
}

#define ENCODING(form_) [form_] = {.base = {.encode = encode}, .form = (form_)}
static const struct bare_encoding ENCODINGS[RT_EIO_FORMS] = {
    ENCODING(RT_EIO_FORM_POLLING), ENCODING(RT_EIO_FORM_WEBSOCKET), ENCODING(RT_EIO_FORM_POLLING3),
    ENCODING(RT_EIO_FORM_WEBSOCKET3)};

static struct rt_eio_session *session_of(struct rt_raw_peer *peer)
{
    return rt_eio_of_user(RT_CONTAINER(peer, struct rt_raw_bare, peer));
}

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct rt_raw_peer *peer = RT_CONTAINER(self, struct rt_raw_peer, client.subscriber);
    (void)rt_eio_send_encoded(session_of(peer), bytes, off, len);
}

static bool writable(struct rt_subscriber *self)
{
    return rt_eio_writable(session_of(RT_CONTAINER(self, struct rt_raw_peer, client.subscriber)));
}

static const struct rt_subscriber_ops SUBSCRIBER = {.deliver = deliver, .writable = writable};

static void fail(struct rt_raw_peer *peer, uint16_t code, const char *reason)
{
    (void)reason; /* Engine.IO has no place for it */
    rt_hub_catch_up(rt_broker_hub(peer->client.broker), &peer->client.subscriber);
    rt_eio_close(session_of(peer), RT_EIO_FORCED_CLOSE, code);
}

static void set_paused(struct rt_raw_peer *peer, bool paused)
{
    if (paused)
        rt_eio_pause(session_of(peer));
    else
        rt_eio_resume(session_of(peer));
}

static int on_open(struct rt_eio_session *s)
{
    struct rt_raw_bare *b = rt_eio_user(s);
    struct rt_raw_endpoint *e = rt_eio_arg(s);
    struct rt_buf channel = RT_BUF_INIT;
    rt_raw_peer_init(&b->peer, e, rt_eio_sid(s), &SUBSCRIBER, &ENCODINGS[rt_eio_form(s)].base);
    b->peer.fail = fail;
    b->peer.pause = set_paused;
    e->raw->opened.value++;
    rt_raw_channel(e->config, rt_eio_sid(s), RT_STR_NONE, &channel);
    if (rt_buf_ok(&channel) && (b->channel = rt_malloc(channel.len + 1)))
        memcpy(b->channel, channel.data, channel.len);
    b->peer.channel = rt_str_of(b->channel, b->channel ? channel.len : 0);
    rt_buf_deinit(&channel);
    struct rt_err err = {0};
    return b->channel ? rt_raw_peer_join(&b->peer, &err) : RT_ENOMEM;
}

static void on_message(struct rt_eio_session *s, bool binary, uint8_t *data, size_t len)
{
    struct rt_raw_bare *b = rt_eio_user(s);
    rt_raw_peer_message(&b->peer, !binary, rt_str_of(data, len));
}

static void on_transport(struct rt_eio_session *s, enum rt_eio_transport transport)
{
    struct rt_raw_bare *b = rt_eio_user(s);
    struct rt_hub *hub = rt_broker_hub(b->peer.client.broker);
    const struct rt_encoding *encoding = &ENCODINGS[rt_eio_form_on(s, transport)].base;
    if (rt_hub_set_encoding(hub, &b->peer.client.subscriber, encoding))
        rt_eio_close(s, RT_EIO_TRANSPORT_ERROR, 1011);
}

static void on_close(struct rt_eio_session *s, enum rt_eio_reason reason)
{
    struct rt_raw_bare *b = rt_eio_user(s);
    (void)reason;
    rt_raw_peer_deinit(&b->peer);
    rt_free(b->channel);
}

static const struct rt_eio_user USER = {.size = sizeof(struct rt_raw_bare),
                                        .on_open = on_open,
                                        .on_message = on_message,
                                        .on_transport = on_transport,
                                        .on_close = on_close};

int rt_raw_bare_mount(struct rt_raw_endpoint *e, struct rt_http_server *http,
                      struct rt_metrics *metrics, struct rt_err *err)
{
    const struct rt_raw *raw = e->raw;
    struct rt_eio_options options = {.path = e->config->path,
                                     .config = &e->config->engine,
                                     .user = &USER,
                                     .user_arg = e,
                                     .node = raw->config->node.name,
                                     .send_queue = raw->config->limits.send_queue,
                                     .max_sessions = raw->config->limits.connections,
                                     .max_polling_per_ip = rt_config_sessions_per_ip(raw->config),
                                     .max_polling_bytes = raw->config->limits.session_memory,
                                     .confirm_within = raw->config->limits.connect_timeout,
                                     .metrics = metrics,
                                     .protocol = "raw",
                                     .section = "protocols.raw[]",
                                     .refusals = rt_broker_refusals(raw->broker)};
    return rt_eio_mount(http, raw->loop, raw->pool, &options, &e->mount, err);
}
