#include "proto/socketio/scope.h"

#include "base/codec.h"
#include "cluster/mac.h"
#include "json/scan.h"
#include "proto/socketio/recovery.h"
#include "proto/socketio/socket.h"

#define HALF (RT_ID_LEN / 2)
/* Of the hash: two sessions do not meet by chance. */
#define HASH_BYTES 16

/* No secret: it must be the same on all nodes and after any restart. */
#define KEY "rtbroker: scope of idempotency keys"

static bool is_base64url(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

struct rt_str rt_sio_pid_of(struct rt_str auth)
{
    struct rt_str pid = auth.len ? rt_json_get(auth, RT_STR("pid")) : RT_STR_NONE;
    if (rt_json_kind(pid) != RT_JSON_STRING || pid.len != RT_ID_LEN + 2)
        return RT_STR_NONE;
    pid = rt_str_of(pid.ptr + 1, RT_ID_LEN);
    for (size_t i = 0; i < pid.len; i++)
        if (!is_base64url(pid.ptr[i]))
            return RT_STR_NONE;
    return pid;
}

void rt_sio_make_pid(struct rt_str auth, char out[RT_ID_LEN + 1])
{
    struct rt_str before = rt_sio_pid_of(auth);
    rt_random_id(out);
    if (before.len)
        memcpy(out + HALF, before.ptr + HALF, HALF);
}

int rt_sio_scope_new(struct rt_mac **ret_mac)
{
    return rt_mac_new(RT_STR(KEY), ret_mac);
}

/* What only the client knows; where it has nothing of the kind, what nobody else can be. */
static struct rt_str mark_of(const struct rt_sio_socket *socket)
{
    struct rt_str pid = RT_STR_NONE;
    if (socket->track)
        pid = rt_str_of(rt_sio_track_pid(socket->track), RT_ID_LEN);
    else if (socket->auth)
        pid = rt_sio_pid_of(rt_bytes_str(socket->auth));
    return pid.len ? rt_str_of(pid.ptr + HALF, HALF) : rt_sio_socket_sid(socket);
}

struct rt_str rt_sio_scope(struct rt_socketio *s, const struct rt_sio_socket *socket)
{
    struct rt_buf *out = &s->buf.scope;
    const char *user = socket->client.user;
    uint8_t hash[RT_MAC_LEN];
    rt_buf_clear(out);
    if (user && *user) {
        rt_buf_add_c(out, "user:");
        rt_buf_add_c(out, user);
    } else if (rt_mac_make(s->scope_mac, mark_of(socket), RT_STR_NONE, hash)) {
        rt_buf_add_c(out, "session:");
        rt_base64url_encode(out, hash, HASH_BYTES);
    }
    return rt_buf_ok(out) ? rt_buf_str(out) : RT_STR_NONE;
}
