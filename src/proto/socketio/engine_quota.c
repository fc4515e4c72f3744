#include "proto/socketio/engine_quota.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "net/address.h"
#include "proto/socketio/engine_internal.h"

struct rt_eio_address {
    uint8_t key[RT_NET_OWNER_LEN];
    uint32_t sessions, unconfirmed;
    size_t bytes;
};

static struct rt_str key_of(const void *value)
{
    const struct rt_eio_address *a = value;
    return rt_str_of(a->key, sizeof(a->key));
}

static void expire(struct rt_timer *timer);

void rt_eio_quotas_init(struct rt_eio_mount *m)
{
    rt_map_init(&m->quotas.addresses, key_of);
    rt_list_init(&m->quotas.unconfirmed);
}

void rt_eio_quotas_deinit(struct rt_eio_mount *m)
{
    assert(m->quotas.addresses.count == 0 && m->quotas.bytes == 0);
    rt_timer_stop(m->loop, &m->quotas.timer);
    rt_map_deinit(&m->quotas.addresses);
}

/* ---- asking ---- */

static const struct {
    const char *text, *option, *answer;
} TEXTS[] = {
    [RT_EIO_FITS] = {"", "", ""},
    [RT_EIO_MANY] = {"too many sessions", "limits.connections",
                     "Too many sessions (limits.connections)"},
    [RT_EIO_MANY_OF_IP] = {"too many sessions of this address", "limits.sessions_per_ip",
                           "Too many sessions of this address (limits.sessions_per_ip)"},
    [RT_EIO_UNCONFIRMED] = {"too many handshakes of this address that no request has followed",
                            "limits.sessions_per_ip",
                            "Too many handshakes of this address that no request has followed "
                            "(limits.sessions_per_ip)"},
    [RT_EIO_BYTES] = {"sessions take too much memory", "limits.session_memory",
                      "Sessions take too much memory (limits.session_memory)"},
};

const char *rt_eio_quota_text(enum rt_eio_quota why)
{
    return TEXTS[why].answer;
}

static enum rt_eio_quota of_address(const struct rt_eio_mount *m, const char *remote, size_t bytes)
{
    const struct rt_eio_options *o = &m->options;
    uint8_t key[RT_NET_OWNER_LEN];
    if (!rt_net_address_owner(remote, key))
        return RT_EIO_FITS;
    const struct rt_eio_address *a = rt_map_get(&m->quotas.addresses, rt_str_of(key, sizeof(key)));
    size_t most = o->max_polling_per_ip;
    if (!a)
        return RT_EIO_FITS;
    if (a->sessions >= most)
        return RT_EIO_MANY_OF_IP;
    if (a->unconfirmed >= (most + 1) / 2)
        return RT_EIO_UNCONFIRMED;
    return o->max_polling_bytes > 0 && a->bytes + bytes > o->max_polling_bytes / 4 ? RT_EIO_BYTES
                                                                                   : RT_EIO_FITS;
}

static enum rt_eio_quota judge(const struct rt_eio_mount *m, const char *remote, size_t bytes)
{
    const struct rt_eio_options *o = &m->options;
    if (m->table.count >= o->max_sessions)
        return RT_EIO_MANY;
    enum rt_eio_quota why = of_address(m, remote, bytes);
    if (why == RT_EIO_FITS && o->max_polling_bytes > 0 &&
        m->quotas.bytes + bytes > o->max_polling_bytes)
        return RT_EIO_BYTES;
    return why;
}

enum rt_eio_quota rt_eio_quota_refuses(struct rt_eio_mount *m, const char *remote, size_t bytes)
{
    enum rt_eio_quota why = judge(m, remote, bytes);
    if (why == RT_EIO_FITS)
        return why;
    m->quotas.rejected[why].value++;
    char text[160];
    (void)snprintf(text, sizeof(text), "%s%s%s", TEXTS[why].text, remote[0] ? ": " : "", remote);
    const struct rt_refusal_note note = {.why = RT_REFUSED_LIMIT,
                                         .protocol = m->options.protocol,
                                         .text = text,
                                         .option = TEXTS[why].option};
    if (m->options.refusals)
        rt_refused(m->options.refusals, &note);
    return why;
}

/* ---- taking ---- */

/* NULL: out of memory. */
static struct rt_eio_address *open_address(struct rt_eio_quotas *q, const uint8_t *key)
{
    struct rt_eio_address *a = rt_map_get(&q->addresses, rt_str_of(key, RT_NET_OWNER_LEN));
    if (a)
        return a;
    a = rt_calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    memcpy(a->key, key, sizeof(a->key));
    if (rt_map_put(&q->addresses, a)) {
        rt_free(a);
        return NULL;
    }
    return a;
}

static void await_request(struct rt_eio_share *share, uint64_t confirm_by)
{
    struct rt_eio_quotas *q = &share->mount->quotas;
    share->confirm_by = confirm_by;
    rt_list_push(&q->unconfirmed, &share->unconfirmed);
    if (share->address)
        share->address->unconfirmed++;
    if (!q->timer.active)
        rt_timer_start_at(share->mount->loop, &q->timer, confirm_by, expire);
}

int rt_eio_quota_take(struct rt_eio_mount *m, const char *remote, size_t bytes, uint64_t confirm_by,
                      struct rt_eio_share *share)
{
    uint8_t key[RT_NET_OWNER_LEN];
    struct rt_eio_address *a = NULL;
    if (rt_net_address_owner(remote, key) && !(a = open_address(&m->quotas, key)))
        return RT_ENOMEM;
    *share = (struct rt_eio_share){.mount = m, .address = a, .bytes = bytes};
    rt_list_init(&share->unconfirmed);
    m->quotas.bytes += bytes;
    if (a) {
        a->sessions++;
        a->bytes += bytes;
    }
    if (confirm_by > 0)
        await_request(share, confirm_by);
    return 0;
}

void rt_eio_quota_confirm(struct rt_eio_share *share)
{
    if (rt_list_empty(&share->unconfirmed))
        return;
    rt_list_remove(&share->unconfirmed);
    if (share->address)
        share->address->unconfirmed--;
}

void rt_eio_quota_give(struct rt_eio_share *share)
{
    if (share->bytes == 0)
        return;
    struct rt_eio_quotas *q = &share->mount->quotas;
    struct rt_eio_address *a = share->address;
    rt_eio_quota_confirm(share);
    q->bytes -= share->bytes;
    if (a) {
        a->bytes -= share->bytes;
        if (--a->sessions == 0)
            rt_free(rt_map_remove(&q->addresses, key_of(a)));
    }
    share->address = NULL;
    share->bytes = 0;
}

/* Ends the sessions that nobody has asked for in time. They came in this order. */
static void expire(struct rt_timer *timer)
{
    struct rt_eio_mount *m = RT_CONTAINER(timer, struct rt_eio_mount, quotas.timer);
    uint64_t now = rt_loop_now(m->loop);
    while (!rt_list_empty(&m->quotas.unconfirmed)) {
        struct rt_eio_share *share =
            RT_CONTAINER(m->quotas.unconfirmed.next, struct rt_eio_share, unconfirmed);
        if (share->confirm_by > now) {
            rt_timer_start_at(m->loop, timer, share->confirm_by, expire);
            return;
        }
        rt_eio_quota_confirm(share);
        rt_eio_session_end(RT_CONTAINER(share, struct rt_eio_poll, share)->session,
                           RT_EIO_ABANDONED);
    }
}
