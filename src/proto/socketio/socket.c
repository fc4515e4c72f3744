#include "proto/socketio/socket.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/rand.h"
#include "json/scan.h"
#include "proto/socketio/acks.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/recovery.h"
#include "proto/socketio/remote.h"
#include "proto/socketio/reply.h"

#define SEPARATOR '\x1e' /* in front of each packet of a polling run */

struct rt_socketio *rt_sio_socket_endpoint(const struct rt_sio_socket *socket)
{
    return socket->nsp->owner;
}

/* ---- delivery ---- */

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct rt_sio_socket *socket = RT_CONTAINER(self, struct rt_sio_socket, client.subscriber);
    struct rt_eio_session *session = rt_sio_session(socket->owner);
    if (socket->hold)
        rt_buf_add(socket->hold, bytes->data + off, len);
    else
        (void)rt_eio_send_encoded(session, bytes, off, len);
}

static bool writable(struct rt_subscriber *self)
{
    struct rt_sio_socket *socket = RT_CONTAINER(self, struct rt_sio_socket, client.subscriber);
    return rt_eio_writable(rt_sio_session(socket->owner));
}

static const struct rt_subscriber_ops subscriber_ops = {.deliver = deliver, .writable = writable};

/* What is held was written for polling, for a session that has become a WebSocket meanwhile. */
static void convert_hold(struct rt_buf *hold, enum rt_eio_form form)
{
    struct rt_buf converted = RT_BUF_INIT;
    struct rt_str run = rt_buf_str(hold);
    while (run.len) {
        struct rt_str packet = rt_str_split(rt_str_of(run.ptr + 1, run.len - 1), SEPARATOR, &run);
        if (run.ptr) /* the separator belongs to the next packet */
            run = rt_str_of(run.ptr - 1, run.len + 1);
        bool binary = packet.len > 0 && packet.ptr[0] == 'b';
        struct rt_buf bytes = RT_BUF_INIT;
        struct rt_str payload = rt_str_of(packet.ptr + 1, packet.len > 0 ? packet.len - 1 : 0);
        if (binary && rt_base64_decode(&bytes, payload) == 0)
            payload = rt_buf_str(&bytes);
        converted.failed |= bytes.failed;
        rt_eio_encode(&converted, form, binary, payload);
        rt_buf_deinit(&bytes);
    }
    converted.failed |= hold->failed;
    rt_buf_deinit(hold);
    *hold = converted;
}

void rt_sio_client_convert(struct rt_sio_client *client, enum rt_eio_transport transport)
{
    enum rt_eio_form form = rt_eio_form_on(rt_sio_session(client), transport);
    rt_list_for(node, &client->sockets) {
        struct rt_sio_socket *socket = RT_CONTAINER(node, struct rt_sio_socket, link);
        struct rt_encoding *encoding = &socket->nsp->encodings[form].base;
        if (rt_hub_set_encoding(rt_sio_socket_endpoint(socket)->hub, &socket->client.subscriber,
                                encoding) != 0)
            rt_eio_close(rt_sio_session(client), RT_EIO_TRANSPORT_ERROR, 0);
        if (socket->hold)
            convert_hold(socket->hold, form);
    }
}

/* ---- life ---- */

/* With the id that an old client has given itself. */
static struct rt_sio_socket *new_old(struct rt_sio_client *client, const struct rt_sio_nsp *nsp)
{
    const char *engine = rt_eio_sid(rt_sio_session(client));
    int prefix = nsp->name.len > 1 ? (int)nsp->name.len : 0;
    size_t size = (size_t)prefix + 1 + strlen(engine) + 1;
    struct rt_sio_socket *socket = rt_calloc(1, sizeof(*socket) + size);
    if (!socket)
        return NULL;
    socket->is_old = true;
    (void)snprintf((char *)(socket + 1), size, "%.*s%s%s", prefix, nsp->name.ptr,
                   prefix > 0 ? "#" : "", engine);
    return socket;
}

static struct rt_sio_socket *new_with(const char *sid)
{
    struct rt_sio_socket *socket = rt_calloc(1, sizeof(*socket));
    if (socket && sid)
        memcpy(socket->sid, sid, sizeof(socket->sid));
    else if (socket)
        rt_sio_remote_make_id(socket->sid);
    return socket;
}

struct rt_sio_socket *rt_sio_socket_new(struct rt_sio_client *client, struct rt_sio_nsp *nsp,
                                        const char *sid, uint64_t id)
{
    struct rt_socketio *s = nsp->owner;
    struct rt_sio_socket *socket =
        rt_sio_client_is_old(client) ? new_old(client, nsp) : new_with(sid);
    if (!socket)
        return NULL;
    if (rt_map_put(&s->sockets, socket) != 0) {
        rt_free(socket);
        return NULL;
    }
    rt_subscriber_init(&socket->client.subscriber, &subscriber_ops,
                       &nsp->encodings[rt_eio_form(rt_sio_session(client))].base);
    if (id)
        socket->client.subscriber.id = id;
    socket->client.broker = s->broker;
    socket->client.publisher = rt_sio_socket_sid(socket).ptr;
    socket->client.user = "";
    socket->owner = client;
    socket->nsp = nsp;
    socket->refs = 1;
    rt_list_init(&socket->acks);
    rt_list_init(&socket->replies);
    rt_list_push(&client->sockets, &socket->link);
    client->count++;
    s->metrics.sockets.value++;
    return socket;
}

void rt_sio_socket_destroy(struct rt_sio_socket *socket, bool recoverable)
{
    if (socket->state == RT_SIO_DEAD)
        return;
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    bool connected = socket->state == RT_SIO_CONNECTED;
    socket->state = RT_SIO_DEAD;
    if (socket->track)
        rt_sio_track_end(socket->track, recoverable && connected);
    socket->track = NULL;
    rt_hub_remove(s->hub, &socket->client.subscriber);
    rt_map_remove(&s->sockets, rt_sio_socket_sid(socket));
    rt_list_remove(&socket->link);
    socket->owner->count--;
    rt_sio_replies_drop(socket); /* first: what waits for the client is not answered any more */
    rt_sio_acks_drop(socket);
    s->metrics.sockets.value--;
    socket->owner = NULL;
    rt_sio_socket_unref(socket);
}

void rt_sio_socket_unref(struct rt_sio_socket *socket)
{
    if (--socket->refs > 0)
        return;
    assert(socket->state == RT_SIO_DEAD);
    rt_sio_nsp_unref(socket->nsp);
    rt_bytes_unref(socket->auth);
    rt_free(socket);
}

struct rt_sio_socket *rt_sio_socket_of_channel(struct rt_socketio *s, struct rt_str channel)
{
    struct rt_str nsp, id;
    if (s->config->socketio.engine.allow_eio3)
        rt_sio_split_channel(channel, &nsp, &id);
    else if (!rt_sio_split_id(channel, &nsp, &id))
        return NULL;
    struct rt_sio_socket *socket = rt_map_get(&s->sockets, id);
    return socket && !socket->left_id && rt_str_eq(nsp, socket->nsp->name) ? socket : NULL;
}

bool rt_sio_socket_is_excepted(const struct rt_sio_socket *socket, const struct rt_message *m)
{
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    struct rt_str list = m->except_in;
    for (struct rt_str name = rt_excepted_next(&list); name.ptr; name = rt_excepted_next(&list))
        if (rt_sio_socket_of_channel(s, name) == socket ||
            rt_hub_is_subscribed(s->hub, &socket->client.subscriber, name))
            return true;
    return false;
}

/* ---- sending ---- */

static int fail(struct rt_sio_socket *socket)
{
    rt_eio_close(rt_sio_session(socket->owner), RT_EIO_TRANSPORT_ERROR, 0);
    return RT_ENOMEM;
}

static void write_packet(struct rt_sio_socket *socket, const struct rt_sio_outgoing *o,
                         bool stamped, struct rt_buf *text)
{
    rt_buf_clear(text);
    rt_sio_head(text, o->type, o->attachment_count, socket->nsp->name, o->id);
    rt_buf_add_byte(text, '[');
    if (o->type == RT_SIO_EVENT) {
        rt_json_add_string(text, o->event);
        if (o->items.len)
            rt_buf_add_byte(text, ',');
    }
    rt_buf_add_str(text, o->items);
    if (stamped)
        rt_sio_track_add_token(socket->track, !o->is_volatile, text);
    rt_buf_add_byte(text, ']');
}

int rt_sio_socket_send(struct rt_sio_socket *socket, const struct rt_sio_outgoing *o)
{
    if (socket->state == RT_SIO_DEAD)
        return RT_ECLOSED;
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    struct rt_eio_session *session = rt_sio_session(socket->owner);
    if (o->is_volatile && !rt_eio_writable(session))
        return 0;
    rt_hub_catch_up(s->hub, &socket->client.subscriber);
    /* Answers, and events that want one, carry no position: clients do not look for it there. */
    bool stamped = socket->track && o->type == RT_SIO_EVENT && o->id.len == 0;
    struct rt_buf *text = &s->buf.text;
    write_packet(socket, o, stamped, text);
    if (!rt_buf_ok(text))
        return fail(socket);
    if (stamped && !o->is_volatile)
        rt_sio_track_keep(socket->track, rt_buf_str(text), o->attachments, o->attachment_count);
    if (socket->hold) {
        enum rt_eio_form form = rt_eio_form(session);
        rt_eio_encode(socket->hold, form, false, rt_buf_str(text));
        for (size_t i = 0; i < o->attachment_count; i++)
            rt_eio_encode(socket->hold, form, true, o->attachments[i]);
        return 0;
    }
    int r = rt_eio_send(session, false, rt_buf_str(text));
    for (size_t i = 0; r == 0 && i < o->attachment_count; i++)
        r = rt_eio_send(session, true, o->attachments[i]);
    return r;
}

void rt_sio_socket_send_message(struct rt_sio_socket *socket, const struct rt_message *m)
{
    struct rt_sio_outgoing o = {.type = RT_SIO_EVENT,
                                .event = m->event,
                                .items = m->data,
                                .attachments = m->attachments,
                                .attachment_count = m->attachment_count,
                                .is_volatile = (m->flags & RT_MESSAGE_VOLATILE) != 0};
    if (!rt_sio_socket_is_excepted(socket, m))
        (void)rt_sio_socket_send(socket, &o);
}

void rt_sio_client_send(struct rt_sio_client *client, enum rt_sio_type type, struct rt_str nsp,
                        struct rt_str json)
{
    struct rt_eio_session *session = rt_sio_session(client);
    struct rt_socketio *s = rt_eio_arg(session);
    struct rt_buf *text = &s->buf.text;
    rt_buf_clear(text);
    rt_sio_head(text, type, 0, nsp, RT_STR_NONE);
    rt_buf_add_str(text, json);
    if (rt_buf_ok(text))
        (void)rt_eio_send(session, false, rt_buf_str(text));
    else
        rt_eio_close(session, RT_EIO_TRANSPORT_ERROR, 0);
}

/* What JavaScript takes for true. */
static bool is_truthy(struct rt_str json)
{
    return json.ptr && !rt_str_eq(json, RT_STR("null")) && !rt_str_eq(json, RT_STR("false")) &&
           !rt_str_eq(json, RT_STR("0")) && !rt_str_eq(json, RT_STR("\"\""));
}

void rt_sio_client_send_error(struct rt_sio_client *client, struct rt_str nsp, struct rt_str json)
{
    if (rt_sio_client_is_old(client)) {
        struct rt_str data = rt_json_get(json, RT_STR("data"));
        json = is_truthy(data) ? data : rt_json_get(json, RT_STR("message"));
    }
    rt_sio_client_send(client, RT_SIO_CONNECT_ERROR, nsp, json);
}

void rt_sio_client_close(struct rt_sio_client *client, enum rt_eio_reason reason)
{
    client->closing = true;
    rt_list_for(node, &client->sockets) {
        struct rt_sio_socket *socket = RT_CONTAINER(node, struct rt_sio_socket, link);
        rt_hub_catch_up(rt_sio_socket_endpoint(socket)->hub, &socket->client.subscriber);
    }
    rt_eio_close(rt_sio_session(client), reason, 0);
}

/* The reply to CONNECT. An old client has no use for its id. */
static void reply(struct rt_sio_socket *socket)
{
    char json[96] = "";
    if (socket->track)
        (void)snprintf(json, sizeof(json), "{\"sid\":\"%s\",\"pid\":\"%s\"}", socket->sid,
                       rt_sio_track_pid(socket->track));
    else if (!socket->is_old)
        (void)snprintf(json, sizeof(json), "{\"sid\":\"%s\"}", socket->sid);
    rt_sio_client_send(socket->owner, RT_SIO_CONNECT, socket->nsp->name, rt_str_c(json));
}

int rt_sio_socket_open(struct rt_sio_socket *socket)
{
    struct rt_eio_session *session = rt_sio_session(socket->owner);
    rt_hub_catch_up(rt_sio_socket_endpoint(socket)->hub, &socket->client.subscriber);
    reply(socket);
    struct rt_buf *hold = socket->hold;
    socket->hold = NULL;
    socket->state = RT_SIO_CONNECTED;
    if (!hold || (hold->len == 0 && rt_buf_ok(hold)))
        return 0;
    struct rt_bytes *bytes = rt_buf_to_bytes(hold);
    if (!bytes)
        return fail(socket);
    int r = rt_eio_send_encoded(session, bytes, 0, bytes->len);
    rt_bytes_unref(bytes);
    return r == RT_ENOMEM ? r : 0;
}

void rt_sio_socket_disconnect(struct rt_sio_socket *socket, bool close)
{
    struct rt_sio_client *client = socket->owner;
    rt_hub_catch_up(rt_sio_socket_endpoint(socket)->hub, &socket->client.subscriber);
    rt_sio_client_send(client, RT_SIO_DISCONNECT, socket->nsp->name, RT_STR_NONE);
    rt_sio_socket_destroy(socket, false);
    client->sent_away = true;
    if (!close)
        return;
    while (!rt_list_empty(&client->sockets)) {
        socket = RT_CONTAINER(client->sockets.next, struct rt_sio_socket, link);
        rt_sio_client_send(client, RT_SIO_DISCONNECT, socket->nsp->name, RT_STR_NONE);
        rt_sio_socket_destroy(socket, false);
    }
    client->closing = true;
    rt_eio_close(rt_sio_session(client), RT_EIO_FORCED_CLOSE, 0);
}

/* ---- rooms ---- */

int rt_sio_room_check(struct rt_str room, struct rt_err *err)
{
    if (!room.ptr)
        return rt_err_set(err, RT_EINVAL, "the name of the room is missing");
    return 0;
}

int rt_sio_socket_join(struct rt_sio_socket *socket, struct rt_str room, struct rt_err *err)
{
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    int r = rt_sio_room_check(room, err);
    if (r != 0)
        return r;
    if (rt_str_eq(room, rt_sio_socket_sid(socket))) {
        socket->left_id = false;
        return 0;
    }
    struct rt_str channel = rt_sio_channel_of(socket->nsp, room, &s->buf.channel);
    if (!rt_buf_ok(&s->buf.channel))
        return rt_err_nomem(err);
    r = rt_broker_subscribe(&socket->client, channel, true, err);
    if (r == RT_EEXIST)
        return 0;
    if (r == 0 && socket->track)
        rt_sio_track_joined(socket->track, channel);
    return r;
}

static void leave_channel(struct rt_sio_socket *socket, struct rt_str channel)
{
    if (socket->track)
        rt_sio_track_leaves(socket->track, channel);
    (void)rt_broker_unsubscribe(&socket->client, channel);
}

void rt_sio_socket_leave(struct rt_sio_socket *socket, struct rt_str room)
{
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    if (!room.ptr)
        return;
    if (rt_str_eq(room, rt_sio_socket_sid(socket))) {
        socket->left_id = true;
        return;
    }
    struct rt_str channel = rt_sio_channel_of(socket->nsp, room, &s->buf.channel);
    bool own = rt_str_eq(channel, socket->nsp->name);
    if (rt_buf_ok(&s->buf.channel) && !own &&
        rt_hub_is_subscribed(s->hub, &socket->client.subscriber, channel))
        leave_channel(socket, channel);
}

void rt_sio_socket_leave_all(struct rt_sio_socket *socket)
{
    struct rt_subscriber *subscriber = &socket->client.subscriber;
    uint32_t i = 0;
    while (i < subscriber->count) {
        struct rt_str channel = rt_subscriber_channel(subscriber, i);
        uint32_t before = subscriber->count;
        if (!rt_str_eq(channel, socket->nsp->name))
            leave_channel(socket, channel);
        /* Another one stands in the place of the one that was left. */
        if (subscriber->count == before)
            i++;
    }
}

static void add_room(struct rt_buf *out, struct rt_str room, bool *first)
{
    if (!*first)
        rt_buf_add_byte(out, ',');
    *first = false;
    rt_json_add_string(out, room);
}

void rt_sio_socket_rooms(struct rt_sio_socket *socket, struct rt_buf *out)
{
    struct rt_subscriber *subscriber = &socket->client.subscriber;
    rt_buf_add_byte(out, '[');
    bool first = true;
    if (!socket->left_id)
        add_room(out, rt_sio_socket_sid(socket), &first);
    for (uint32_t i = 0; i < subscriber->count; i++) {
        struct rt_str room = rt_sio_room_of(socket->nsp, rt_subscriber_channel(subscriber, i));
        if (room.ptr)
            add_room(out, room, &first);
    }
    rt_buf_add_byte(out, ']');
}
