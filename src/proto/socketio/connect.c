/* CONNECT: which namespace, recovery, the rules of on_connect, the reply. */
#include "proto/socketio/client.h"
#include "proto/socketio/handshake.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/recovery.h"
#include "proto/socketio/resume.h"
#include "proto/socketio/run.h"
#include "proto/socketio/scope.h"
#include "proto/socketio/socket.h"

#define AUTH_MAX 65536u /* bytes: it may be kept for as long as the socket lives */

static void count_refused(struct rt_sio_client *client)
{
    struct rt_socketio *s = rt_eio_arg(rt_sio_session(client));
    s->metrics.refused.value++;
}

/* NULL: welcome so far. `#` separates a namespace from its rooms in the names of channels. */
static const char *objection(struct rt_socketio *s, const struct rt_sio_client *client,
                             const struct rt_sio_packet *packet)
{
    if (packet->nsp.len > s->config->limits.channel_name ||
        memchr(packet->nsp.ptr, '#', packet->nsp.len) ||
        !rt_sio_rules_namespace(s->rules, packet->nsp)) {
        rt_sio_refused(s, RT_REFUSED_NAMESPACE, packet->nsp, NULL, NULL);
        return "{\"message\":\"Invalid namespace\"}";
    }
    size_t coming = 0;
    rt_list_for(node, &client->resumes)
        coming++;
    if (client->count + coming >= s->config->limits.channels_per_connection) {
        rt_sio_refused(s, RT_REFUSED_LIMIT, packet->nsp, "too many namespaces",
                       "limits.channels_per_connection");
        return "{\"message\":\"Too many namespaces (limits.channels_per_connection)\"}";
    }
    if (packet->data.len > AUTH_MAX || packet->data.len > s->config->limits.message) {
        rt_sio_refused(s, RT_REFUSED_LIMIT, packet->nsp,
                       "an auth object over 64 KiB, or over limits.message", NULL);
        return "{\"message\":\"The auth object is too large (64 KiB, or limits.message)\"}";
    }
    return NULL;
}

static struct rt_sio_socket *make_socket(struct rt_socketio *s, struct rt_sio_client *client,
                                         struct rt_str name, struct rt_str auth)
{
    struct rt_sio_nsp *nsp = rt_sio_nsp_get(s, name);
    if (!nsp)
        return NULL;
    struct rt_sio_socket *socket = rt_sio_socket_new(client, nsp, NULL, 0);
    if (!socket) {
        rt_sio_nsp_unref(nsp);
        return NULL;
    }
    int r = s->recovery && !socket->is_old ? rt_sio_track_new(s->recovery, socket, auth) : 0;
    if (r == 0)
        r = rt_broker_subscribe(&socket->client, name, true, NULL);
    if (r == 0 && socket->track)
        rt_sio_track_joined(socket->track, name);
    if (r == 0)
        return socket;
    rt_sio_socket_destroy(socket, false);
    return NULL;
}

static int set_auth(struct rt_socketio *s, struct rt_sio_socket *socket, struct rt_str auth)
{
    bool names_keys = (s->uses & RT_SIO_USES_KEY) && !socket->track && rt_sio_pid_of(auth).len;
    if (auth.len == 0 || !((s->uses & RT_SIO_USES_AUTH) || names_keys))
        return 0;
    socket->auth = rt_bytes_copy(auth.ptr, auth.len);
    return socket->auth ? 0 : RT_ENOMEM;
}

static void welcome(struct rt_sio_socket *socket)
{
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    struct rt_sio_client *client = socket->owner;
    s->metrics.connects.value++;
    rt_timer_stop(s->loop, &client->timer);
    (void)rt_sio_socket_open(socket);
}

static void out_of_memory(struct rt_sio_client *client)
{
    client->closing = true;
    rt_eio_close(rt_sio_session(client), RT_EIO_TRANSPORT_ERROR, 0);
}

static void act_on(struct rt_sio_socket *socket, enum rt_sio_verdict verdict, struct rt_str json,
                   struct rt_bytes *missed)
{
    if (verdict == RT_SIO_REFUSED) {
        count_refused(socket->owner);
        rt_sio_client_send_error(socket->owner, socket->nsp->name, json);
        rt_sio_socket_destroy(socket, false);
        return;
    }
    if (missed)
        (void)rt_eio_send_encoded(rt_sio_session(socket->owner), missed, 0, missed->len);
    welcome(socket);
    if (verdict == RT_SIO_CLOSE)
        rt_sio_client_close(socket->owner, RT_EIO_FORCED_CLOSE);
    else if (verdict != RT_SIO_WELCOME)
        rt_sio_socket_disconnect(socket, verdict == RT_SIO_SEND_AWAY_WHOLLY);
}

/* The rules of on_connect, where they are asked, and what follows from them. The socket holds what it
 * is sent; `missed` (NULL: nothing) is what a session that is `recovered` gets before the reply. */
static void pass_rules(struct rt_sio_socket *socket, struct rt_str auth, bool recovered,
                       struct rt_bytes *missed)
{
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    struct rt_sio_client *client = socket->owner;
    enum rt_sio_verdict verdict = RT_SIO_WELCOME;
    struct rt_str json = RT_STR_NONE;
    int r = set_auth(s, socket, auth);
    if (r == 0 && !(recovered && s->config->socketio.skip_middlewares))
        r = rt_sio_run_connect(socket, recovered, &verdict, &json);
    if (r == 0) {
        act_on(socket, verdict, json, missed);
    } else {
        rt_sio_socket_destroy(socket, false);
        out_of_memory(client);
    }
}

void rt_sio_connect_anew(struct rt_sio_client *client, struct rt_str nsp, struct rt_str auth)
{
    struct rt_socketio *s = rt_eio_arg(rt_sio_session(client));
    struct rt_sio_socket *socket = make_socket(s, client, nsp, auth);
    if (!socket) {
        out_of_memory(client);
        return;
    }
    /* What the rules send is held until the reply has gone. */
    struct rt_buf hold = RT_BUF_INIT;
    socket->hold = &hold;
    pass_rules(socket, auth, false, NULL);
    rt_buf_deinit(&hold);
}

void rt_sio_connect_recovered(struct rt_sio_socket *socket, struct rt_str auth,
                              struct rt_bytes *missed)
{
    struct rt_buf hold = RT_BUF_INIT;
    if (!socket->hold)
        socket->hold = &hold;
    pass_rules(socket, auth, true, missed);
    rt_buf_deinit(&hold);
}

void rt_sio_connect(struct rt_sio_client *client, const struct rt_sio_packet *packet)
{
    struct rt_socketio *s = rt_eio_arg(rt_sio_session(client));
    const char *no = objection(s, client, packet);
    if (no) {
        /* The reference server sends the object to old clients, too. */
        count_refused(client);
        rt_sio_client_send(client, RT_SIO_CONNECT_ERROR, packet->nsp, rt_str_c(no));
        return;
    }
    struct rt_sio_socket *socket = NULL;
    struct rt_bytes *missed = NULL;
    if (s->recovery && packet->data.len && !rt_sio_client_is_old(client)) {
        if (!rt_sio_recovery_shared(s->recovery))
            socket = rt_sio_recover(s->recovery, client, packet->nsp, packet->data, &missed);
        else if (rt_sio_resume_start(s->recovery, client, packet->nsp, packet->data))
            return;
    }
    if (socket)
        rt_sio_connect_recovered(socket, packet->data, missed);
    else
        rt_sio_connect_anew(client, packet->nsp, packet->data);
    rt_bytes_unref(missed);
}

void rt_sio_connect_old(struct rt_sio_client *client, struct rt_str nsp, struct rt_str query)
{
    struct rt_sio_packet packet = {.type = RT_SIO_CONNECT, .nsp = nsp};
    struct rt_buf auth = RT_BUF_INIT, scratch = RT_BUF_INIT;
    if (query.len > 0) {
        rt_sio_query_json(query, &scratch, &auth);
        packet.data = rt_buf_str(&auth);
    }
    if (rt_buf_ok(&auth) && rt_buf_ok(&scratch))
        rt_sio_connect(client, &packet);
    else
        out_of_memory(client);
    rt_buf_deinit(&auth);
    rt_buf_deinit(&scratch);
}
