#include "proto/socketio/client.h"

#include "proto/socketio/recovery.h"
#include "proto/socketio/resume.h"
#include "proto/socketio/run.h"
#include "proto/socketio/socket.h"

static struct rt_socketio *endpoint(struct rt_sio_client *client)
{
    return rt_eio_arg(rt_sio_session(client));
}

/* `option`: what would allow it, NULL nothing. */
static void breach_of(struct rt_sio_client *client, const char *what, const char *option)
{
    endpoint(client)->metrics.invalid.value++;
    rt_sio_refused(endpoint(client), RT_REFUSED_PROTOCOL, RT_STR_NONE, what, option);
    rt_sio_client_close(client, RT_EIO_PARSE_ERROR);
}

static void breach(struct rt_sio_client *client, const char *what)
{
    breach_of(client, what, NULL);
}

/* ---- backpressure ---- */

static void relieved(struct rt_relief *relief)
{
    struct rt_sio_client *client = RT_CONTAINER(relief, struct rt_sio_client, relief);
    rt_eio_resume(rt_sio_session(client));
}

/* One message was handled. It has sent too much, or the journal cannot keep up: no more from this connection until that has passed. */
static void check_pressure(struct rt_sio_client *client)
{
    struct rt_broker *broker = endpoint(client)->broker;
    if (client->closing)
        return;
    bool wait = rt_broker_handled(broker, &client->relief);
    if (rt_broker_congested(broker)) {
        rt_broker_on_relief(broker, &client->relief);
        wait = true;
    }
    if (wait)
        rt_eio_pause(rt_sio_session(client));
}

/* ---- packets ---- */

static struct rt_sio_socket *find_socket(struct rt_sio_client *client, struct rt_str nsp)
{
    rt_list_for(node, &client->sockets) {
        struct rt_sio_socket *socket = RT_CONTAINER(node, struct rt_sio_socket, link);
        if (rt_str_eq(socket->nsp->name, nsp))
            return socket;
    }
    return NULL;
}

static void dispatch(struct rt_sio_client *client, const struct rt_sio_packet *packet,
                     const struct rt_str *attachments)
{
    bool returns = rt_sio_resuming(client, packet->nsp);
    struct rt_sio_socket *socket = returns ? NULL : find_socket(client, packet->nsp);
    if (packet->type == RT_SIO_CONNECT) {
        if (socket || returns)
            breach(client, "CONNECT to a namespace that is connected");
        else if (rt_sio_client_is_old(client))
            rt_sio_connect_old(client, packet->nsp, packet->data);
        else
            rt_sio_connect(client, packet);
        return;
    }
    if (returns && packet->type == RT_SIO_DISCONNECT) {
        rt_sio_resume_drop(client, packet->nsp);
        return;
    }
    if (!socket) {
        if (!client->sent_away)
            breach(client, "packet for a namespace that is not connected");
        return;
    }
    switch (packet->type) {
    case RT_SIO_DISCONNECT:
        rt_sio_socket_destroy(socket, false);
        break;
    case RT_SIO_EVENT:
    case RT_SIO_BINARY_EVENT:
        rt_sio_run_event(socket, packet, attachments);
        break;
    default:
        rt_sio_run_answer(socket, packet, attachments);
    }
}

static void cut_off(struct rt_unfinished *u, enum rt_unfinished_why why)
{
    struct rt_sio_client *client = RT_CONTAINER(u, struct rt_sio_pending, unfinished)->owner;
    rt_sio_assembly_free(client->assembly);
    client->assembly = NULL;
    breach_of(client, "attachments did not come to their end",
              why == RT_UNFINISHED_LATE ? "limits.message_timeout" : "limits.receive_memory");
}

static bool is_paused(const struct rt_unfinished *u)
{
    const struct rt_sio_client *client =
        RT_CONTAINER(u, const struct rt_sio_pending, unfinished)->owner;
    return !rt_list_empty(&client->relief.link);
}

/* The packet waits for attachments: it counts as what has not come to its end. */
static void hold(struct rt_sio_client *client)
{
    static const struct rt_unfinished_ops ops = {.cut_off = cut_off, .paused = is_paused};
    struct rt_sio_pending *pending = rt_sio_assembly_pending(client->assembly);
    pending->owner = client;
    if (rt_unfinished_hold(endpoint(client)->unfinished, &pending->unfinished, &ops,
                           rt_sio_assembly_size(client->assembly)) != 0)
        breach_of(client, "attachments take too much memory", "limits.receive_memory");
}

/* Old clients write "<namespace>?<query>", and nothing else in a CONNECT. */
static void read_query(struct rt_sio_packet *packet)
{
    struct rt_str query;
    packet->nsp = rt_str_split(packet->nsp, '?', &query);
    if (packet->type == RT_SIO_CONNECT)
        packet->data = query;
}

static void on_text(struct rt_sio_client *client, struct rt_str text)
{
    struct rt_sio_packet packet;
    struct rt_err err;
    if (client->assembly) {
        breach(client, "text while attachments are awaited");
        return;
    }
    if (rt_sio_parse(text, endpoint(client)->config->socketio.max_attachments, &packet, &err) !=
        0) {
        breach(client, err.text);
        return;
    }
    if (rt_sio_client_is_old(client))
        read_query(&packet);
    if (packet.attachments == 0) {
        dispatch(client, &packet, NULL);
    } else {
        client->assembly = rt_sio_assembly_new(text, &packet);
        if (client->assembly)
            hold(client);
        else
            rt_sio_client_close(client, RT_EIO_TRANSPORT_ERROR);
    }
}

static void on_binary(struct rt_sio_client *client, struct rt_str bytes)
{
    struct rt_sio_assembly *assembly = client->assembly;
    if (!assembly) {
        breach(client, "binary data that no packet has announced");
        return;
    }
    int r = rt_sio_assembly_add(assembly, bytes, endpoint(client)->binary_max);
    if (r == 0) {
        hold(client);
        return;
    }
    rt_unfinished_end(&rt_sio_assembly_pending(assembly)->unfinished);
    client->assembly = NULL;
    if (r == 1) {
        const struct rt_str *attachments;
        const struct rt_sio_packet *packet = rt_sio_assembly_packet(assembly, &attachments);
        dispatch(client, packet, attachments);
    } else if (r == RT_ERANGE) {
        breach_of(client, "attachments are too large", "protocols.socketio.max_payload");
    } else {
        rt_sio_client_close(client, RT_EIO_TRANSPORT_ERROR);
    }
    rt_sio_assembly_free(assembly);
}

/* ---- callbacks of the engine ---- */

static void on_pong(struct rt_eio_session *session)
{
    struct rt_sio_client *client = rt_eio_user(session);
    rt_list_for(node, &client->sockets) {
        struct rt_sio_socket *socket = RT_CONTAINER(node, struct rt_sio_socket, link);
        if (socket->track)
            rt_sio_track_pong(socket->track);
    }
}

static void not_joined(struct rt_timer *timer)
{
    struct rt_sio_client *client = RT_CONTAINER(timer, struct rt_sio_client, timer);
    rt_sio_refused(endpoint(client), RT_REFUSED_SILENT, RT_STR_NONE, NULL, NULL);
    rt_sio_client_close(client, RT_EIO_FORCED_CLOSE);
}

static int on_open(struct rt_eio_session *session)
{
    struct rt_sio_client *client = rt_eio_user(session);
    struct rt_socketio *s = rt_eio_arg(session);
    rt_list_init(&client->sockets);
    rt_list_init(&client->resumes);
    rt_list_init(&client->relief.link);
    client->relief.fn = relieved;
    uint64_t timeout = s->config->socketio.engine.connect_timeout;
    if (timeout)
        rt_timer_start(s->loop, &client->timer, timeout, not_joined);
    if (s->recovery)
        rt_eio_on_pong(session, on_pong);
    return 0;
}

/* Old clients do not ask for the namespace "/": they are in it. */
static void on_ready(struct rt_eio_session *session)
{
    struct rt_sio_client *client = rt_eio_user(session);
    if (!rt_sio_client_is_old(client) || client->closing)
        return;
    rt_sio_connect_old(client, RT_STR("/"), RT_STR_NONE);
    check_pressure(client);
}

static void on_message(struct rt_eio_session *session, bool binary, uint8_t *data, size_t len)
{
    struct rt_sio_client *client = rt_eio_user(session);
    if (client->closing)
        return;
    if (binary)
        on_binary(client, rt_str_of(data, len));
    else
        on_text(client, rt_str_of(data, len));
    check_pressure(client);
}

static void on_transport(struct rt_eio_session *session, enum rt_eio_transport transport)
{
    rt_sio_client_convert(rt_eio_user(session), transport);
}

/* Those that may come back: whoever lost the connection, not whoever left or broke the rules. */
static bool is_recoverable(enum rt_eio_reason reason)
{
    return reason != RT_EIO_PARSE_ERROR && reason != RT_EIO_SHUTDOWN;
}

static void on_close(struct rt_eio_session *session, enum rt_eio_reason reason)
{
    struct rt_sio_client *client = rt_eio_user(session);
    struct rt_socketio *s = rt_eio_arg(session);
    client->closing = true;
    rt_timer_stop(s->loop, &client->timer);
    rt_list_remove(&client->relief.link);
    rt_sio_assembly_free(client->assembly);
    client->assembly = NULL;
    rt_sio_resume_drop_all(client);
    rt_list_for(node, &client->sockets) {
        struct rt_sio_socket *socket = RT_CONTAINER(node, struct rt_sio_socket, link);
        if (reason == RT_EIO_SHUTDOWN && socket->track && socket->state == RT_SIO_CONNECTED)
            rt_sio_track_move(socket->track);
    }
    while (!rt_list_empty(&client->sockets))
        rt_sio_socket_destroy(RT_CONTAINER(client->sockets.next, struct rt_sio_socket, link),
                              is_recoverable(reason));
}

const struct rt_eio_user rt_sio_client_user = {
    .size = sizeof(struct rt_sio_client),
    .on_open = on_open,
    .on_ready = on_ready,
    .on_message = on_message,
    .on_transport = on_transport,
    .on_close = on_close,
};
