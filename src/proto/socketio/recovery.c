/* The waiting half of recovery: sessions without a connection, and how they come back. */
#include <stdlib.h>

#include "base/alloc.h"
#include "json/scan.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/once.h"
#include "proto/socketio/remote.h"
#include "proto/socketio/socket.h"

/* ---- waiting ---- */

static struct rt_str key_of_pid(const void *value)
{
    return rt_str_of(((const struct rt_sio_track *)value)->pid, RT_ID_LEN);
}

static struct rt_str key_of_sid(const void *value)
{
    return rt_str_of(((const struct rt_sio_waiting *)value)->sid, RT_ID_LEN);
}

int rt_sio_recovery_new(struct rt_socketio *s, struct rt_sio_recovery **ret_recovery)
{
    struct rt_sio_recovery *r = rt_calloc(1, sizeof(*r));
    if (!r)
        return RT_ENOMEM;
    r->s = s;
    rt_map_init(&r->pids, key_of_pid);
    rt_map_init(&r->sids, key_of_sid);
    rt_list_init(&r->waiting);
    rt_list_init(&r->unsaved);
    rt_list_init(&r->saves);
    rt_list_init(&r->resumes);
    *ret_recovery = r;
    return 0;
}

static struct rt_sio_waiting *first_waiting(struct rt_sio_recovery *r)
{
    return rt_list_empty(&r->waiting) ? NULL
                                      : RT_CONTAINER(r->waiting.next, struct rt_sio_waiting, link);
}

void rt_sio_recovery_free(struct rt_sio_recovery *r)
{
    if (!r)
        return;
    struct rt_sio_waiting *w;
    while ((w = first_waiting(r)))
        rt_sio_track_forget(w->track);
    rt_timer_stop(r->s->loop, &r->timer);
    rt_sio_remote_stop(r);
    rt_map_deinit(&r->pids);
    rt_map_deinit(&r->sids);
    rt_free(r);
}

static void expire(struct rt_timer *timer)
{
    struct rt_sio_recovery *r = RT_CONTAINER(timer, struct rt_sio_recovery, timer);
    uint64_t now = rt_loop_now(r->s->loop);
    struct rt_sio_waiting *w;
    while ((w = first_waiting(r)) && w->expires <= now)
        rt_sio_track_forget(w->track);
    if (w)
        rt_timer_start_at(r->s->loop, &r->timer, w->expires, expire);
}

static void make_room(struct rt_sio_recovery *r)
{
    struct rt_sio_waiting *w;
    while ((r->sids.count > RT_SIO_WAITING_MAX || r->waiting_bytes > RT_SIO_WAITING_BYTES) &&
           (w = first_waiting(r))) {
        r->s->metrics.evicted.value++;
        rt_sio_track_forget(w->track);
    }
}

static void fill_rooms(struct rt_sio_waiting *w, const struct rt_subscriber *subscriber)
{
    for (uint32_t i = 0; i < subscriber->count; i++) {
        struct rt_str name = rt_subscriber_channel(subscriber, i);
        struct rt_channel *channel = rt_hub_channel(w->track->r->s->hub, name, false);
        if (!channel)
            continue;
        rt_channel_pin(channel);
        w->rooms[w->room_count++] = (struct rt_sio_waiting_room){
            .channel = channel, .joined = rt_sio_track_joined_at(w->track, name)};
    }
}

bool rt_sio_track_wait(struct rt_sio_track *t, struct rt_sio_socket *socket)
{
    struct rt_sio_recovery *r = t->r;
    const struct rt_subscriber *subscriber = &socket->client.subscriber;
    size_t size =
        sizeof(struct rt_sio_waiting) + subscriber->count * sizeof(struct rt_sio_waiting_room);
    struct rt_sio_waiting *w = rt_calloc(1, size);
    if (!w)
        return false;
    w->track = t;
    w->size = size + sizeof(*t);
    w->subscriber = subscriber->id;
    w->expires = rt_loop_now(r->s->loop) + r->s->config->socketio.recovery;
    memcpy(w->sid, socket->sid, sizeof(w->sid));
    w->left_id = socket->left_id;
    if (rt_map_put(&r->sids, w) != 0) {
        rt_free(w);
        return false;
    }
    fill_rooms(w, subscriber);
    w->nsp = socket->nsp;
    rt_sio_nsp_ref(w->nsp);
    t->waiting = w;
    r->waiting_bytes += w->size;
    r->s->metrics.waiting.value++;
    rt_list_push(&r->waiting, &w->link);
    if (!r->timer.active)
        rt_timer_start_at(r->s->loop, &r->timer, w->expires, expire);
    make_room(r);
    return true;
}

void rt_sio_waiting_free(struct rt_sio_waiting *w)
{
    struct rt_sio_recovery *r = w->track->r;
    for (uint32_t i = 0; i < w->room_count; i++)
        rt_channel_unpin(w->rooms[i].channel);
    rt_map_remove(&r->sids, rt_str_of(w->sid, RT_ID_LEN));
    rt_list_remove(&w->link);
    rt_sio_nsp_unref(w->nsp);
    w->track->waiting = NULL;
    r->waiting_bytes -= w->size;
    r->s->metrics.waiting.value--;
    rt_free(w);
}

/* Where it stands in rooms was written down as its connection went. */
static bool is_excepted(const struct rt_sio_waiting *w, const struct rt_message *m)
{
    struct rt_str list = m->except_in, nsp, id;
    for (struct rt_str name = rt_excepted_next(&list); name.ptr; name = rt_excepted_next(&list)) {
        bool own = !w->left_id && rt_sio_split_id(name, &nsp, &id) &&
                   rt_str_eq(id, rt_str_of(w->sid, RT_ID_LEN)) && rt_str_eq(nsp, w->nsp->name);
        if (own)
            return true;
        for (uint32_t i = 0; i < w->room_count; i++)
            if (rt_str_eq(rt_channel_name(w->rooms[i].channel), name) &&
                (m->stamp == 0 || w->rooms[i].joined < m->stamp))
                return true;
    }
    return false;
}

bool rt_sio_recovery_offline(struct rt_sio_recovery *r, struct rt_str channel,
                             const struct rt_message *m)
{
    struct rt_str nsp, id;
    if (r->sids.count == 0 || !rt_sio_split_id(channel, &nsp, &id))
        return false;
    const struct rt_sio_waiting *w = rt_map_get(&r->sids, id);
    if (!w || w->left_id || !rt_str_eq(nsp, w->nsp->name))
        return false;
    if (is_excepted(w, m))
        return true;
    struct rt_buf *text = &r->s->buf.text;
    rt_buf_clear(text);
    rt_sio_head(text, RT_SIO_EVENT, m->attachment_count, w->nsp->name, RT_STR_NONE);
    rt_buf_add_byte(text, '[');
    rt_json_add_string(text, m->event);
    if (m->data.len)
        rt_buf_add_byte(text, ',');
    rt_buf_add_str(text, m->data);
    rt_sio_track_add_token(w->track, true, text);
    rt_buf_add_byte(text, ']');
    if (rt_buf_ok(text))
        rt_sio_track_keep(w->track, rt_buf_str(text), m->attachments, m->attachment_count);
    else
        rt_sio_track_forget(w->track); /* no gap */
    return true;
}

/* ---- coming back ---- */

void rt_sio_token_write(const struct rt_sio_recovery *r, uint64_t stamp, bool alone,
                        uint32_t number, struct rt_buf *out)
{
    bool again = r->replaying != NULL; /* stamps of this node say nothing there */
    uint64_t base = r->places && !again ? r->places->base : 0;
    rt_sio_base36_write(out, again ? 0 : stamp + base);
    if (alone) {
        rt_buf_add_byte(out, '.');
        rt_sio_base36_write(out, number);
    }
    if (r->places)
        rt_sio_places_write(r->places, r->replaying, out);
}

bool rt_sio_token_read(struct rt_str text, struct rt_sio_position *ret)
{
    struct rt_str number;
    const char *places = memchr(text.ptr, '~', text.len);
    size_t len = places ? (size_t)(places - text.ptr) : text.len;
    uint64_t n = 0;
    *ret = (struct rt_sio_position){.places = rt_str_of(places, text.len - len)};
    struct rt_str stamp = rt_str_split(rt_str_of(text.ptr, len), '.', &number);
    if (!rt_sio_base36_read(stamp, &ret->stamp) ||
        (number.ptr && (!rt_sio_base36_read(number, &n) || n > UINT32_MAX)))
        return false;
    ret->has_number = number.ptr != NULL;
    ret->number = (uint32_t)n;
    return true;
}

/* False: a token that we did not give to this session. */
static bool read_offset(const struct rt_sio_track *t, struct rt_str json,
                        struct rt_sio_position *ret)
{
    uint64_t base = t->r->places ? t->r->places->base : 0;
    *ret = (struct rt_sio_position){.stamp = t->start};
    if (json.len == 0 || rt_json_kind(json) == RT_JSON_NULL)
        return true; /* it has not got any event */
    if (rt_json_kind(json) != RT_JSON_STRING ||
        !rt_sio_token_read(rt_str_of(json.ptr + 1, json.len - 2), ret) || ret->stamp < base)
        return false;
    ret->stamp -= base;
    return ret->stamp >= t->start && ret->stamp <= rt_hub_stamp(t->r->s->hub) &&
           ret->number <= t->number && (t->r->places || ret->places.len == 0);
}

/* Something to be sent again. */
struct missed {
    uint64_t stamp;
    uint32_t number;
    const struct rt_stored *message; /* of a channel, or NULL */
    const struct rt_sio_kept *kept;
};

static int by_order(const void *a, const void *b)
{
    const struct missed *x = a, *y = b;
    if (x->stamp != y->stamp)
        return x->stamp < y->stamp ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Did the session get a copy of the message in another of its rooms, before the connection went? */
static bool has_copy(const struct rt_sio_waiting *w, const struct rt_message *m, uint64_t from)
{
    const struct rt_hub *hub = w->nsp->owner->hub;
    for (uint32_t i = 0; (m->flags & RT_MESSAGE_COPY) && i < w->room_count; i++) {
        uint64_t stamp = rt_hub_copy_stamp(hub, m, w->rooms[i].channel);
        if (stamp > w->rooms[i].joined && stamp <= from)
            return true;
    }
    return false;
}

/* What one room has had since; false: not all of it is kept. */
static bool collect_room(const struct rt_sio_waiting *w, const struct rt_sio_waiting_room *room,
                         uint64_t position, struct rt_buf *out)
{
    uint64_t from = room->joined > position ? room->joined : position;
    if (!rt_channel_covers_stamp(room->channel, from))
        return false;
    for (size_t i = rt_channel_kept(room->channel); i-- > 0;) {
        const struct rt_stored *message = rt_channel_kept_at(room->channel, i);
        if (message->m.stamp <= from)
            break;
        bool own = message->m.except == w->subscriber ||
                   ((message->m.flags & RT_MESSAGE_NOT_SENDER) &&
                    rt_str_eq(message->m.publisher, rt_str_of(w->sid, RT_ID_LEN)));
        if (own || (message->m.flags & RT_MESSAGE_VOLATILE) || has_copy(w, &message->m, position) ||
            is_excepted(w, &message->m))
            continue;
        struct missed item = {.stamp = message->m.stamp, .message = message};
        rt_buf_add(out, &item, sizeof(item));
    }
    return true;
}

static bool collect_kept(const struct rt_sio_track *t, const struct rt_sio_position *p,
                         struct rt_buf *out)
{
    bool lost = t->dropped_number > t->acked_number &&
                (p->has_number ? t->dropped_number > p->number : t->dropped_stamp >= p->stamp);
    if (lost)
        return false;
    rt_list_for(node, &t->kept) {
        const struct rt_sio_kept *k = RT_CONTAINER(node, struct rt_sio_kept, link);
        bool has = k->number <= t->acked_number ||
                   (p->has_number ? k->number <= p->number : k->stamp < p->stamp);
        struct missed item = {.stamp = k->stamp, .number = k->number, .kept = k};
        if (!has)
            rt_buf_add(out, &item, sizeof(item));
    }
    return true;
}

static bool collect(const struct rt_sio_track *t, const struct rt_sio_position *p,
                    struct rt_buf *out)
{
    const struct rt_sio_waiting *w = t->waiting;
    uint64_t from = p->stamp > t->acked ? p->stamp : t->acked;
    if (from < t->floor || !collect_kept(t, p, out))
        return false;
    for (uint32_t i = 0; i < w->room_count; i++) {
        if (!collect_room(w, &w->rooms[i], from, out))
            return false;
    }
    return rt_buf_ok(out);
}

static void encode_kept(const struct rt_sio_kept *k, enum rt_eio_form form, struct rt_buf *out)
{
    const char *at = (const char *)(k->lens + k->count);
    rt_eio_encode(out, form, false, rt_str_of(at, k->text_len));
    at += k->text_len;
    for (uint32_t i = 0; i < k->count; i++) {
        rt_eio_encode(out, form, true, rt_str_of(at, k->lens[i]));
        at += k->lens[i];
    }
}

/* Everything in wire form. NULL with `*ret_good`: nothing was missed. */
static struct rt_bytes *encode_missed(const struct rt_sio_waiting *w, struct rt_buf *items,
                                      enum rt_eio_form form, bool *ret_good)
{
    struct rt_buf out = RT_BUF_INIT;
    struct rt_bytes *bytes = NULL;
    const struct missed *list = (const struct missed *)(void *)items->data;
    const struct rt_encoding *encoding = &w->nsp->encodings[form].base;
    size_t count = items->len / sizeof(*list), max = w->nsp->owner->config->limits.send_queue;
    struct rt_sio_once once;
    rt_sio_once_init(&once);
    if (count)
        qsort(items->data, count, sizeof(*list), by_order);
    for (size_t i = 0; i < count && rt_buf_ok(&out) && out.len <= max; i++) {
        if (list[i].message && rt_sio_once_seen(&once, &list[i].message->m))
            continue;
        if (list[i].message)
            encoding->encode(encoding, &list[i].message->m, &out);
        else
            encode_kept(list[i].kept, form, &out);
    }
    *ret_good = rt_buf_ok(&out) && out.len <= max;
    if (*ret_good && out.len) {
        bytes = rt_buf_to_bytes(&out);
        *ret_good = bytes != NULL;
    }
    rt_sio_once_deinit(&once);
    rt_buf_deinit(&out);
    return bytes;
}

static bool subscribe_again(struct rt_sio_socket *socket, const struct rt_sio_waiting *w)
{
    for (uint32_t i = 0; i < w->room_count; i++) {
        struct rt_str name = rt_channel_name(w->rooms[i].channel);
        if (rt_broker_subscribe(&socket->client, name, true, NULL) != 0)
            return false;
    }
    return true;
}

/* The new socket, with the track of the old one. NULL: out of memory, or a limit. */
static struct rt_sio_socket *revive(struct rt_sio_track *t, struct rt_sio_client *client)
{
    struct rt_sio_waiting *w = t->waiting;
    rt_sio_nsp_ref(w->nsp);
    struct rt_sio_socket *socket = rt_sio_socket_new(client, w->nsp, w->sid, w->subscriber);
    if (!socket) {
        rt_sio_nsp_unref(w->nsp);
        return NULL;
    }
    if (!subscribe_again(socket, w)) {
        rt_sio_socket_destroy(socket, false);
        return NULL;
    }
    socket->track = t;
    t->socket = socket;
    t->mark = t->acked;
    t->mark_number = t->acked_number;
    t->join_count = 0;
    for (uint32_t i = 0; i < w->room_count; i++) {
        if (w->rooms[i].joined)
            rt_sio_track_note_join(t, rt_channel_name(w->rooms[i].channel), w->rooms[i].joined);
    }
    rt_sio_waiting_free(w);
    return socket;
}

/* The last one wins. */
struct rt_sio_track *rt_sio_recovery_find(struct rt_sio_recovery *r, struct rt_sio_client *client,
                                          struct rt_str nsp, struct rt_str pid)
{
    struct rt_sio_track *t = rt_map_get(&r->pids, pid);
    if (!t)
        return NULL;
    const struct rt_sio_nsp *own = t->waiting ? t->waiting->nsp : t->socket->nsp;
    if (!rt_str_eq(own->name, nsp))
        return NULL;
    if (t->waiting)
        return t;
    struct rt_sio_client *other = t->socket->owner;
    if (other == client)
        return NULL;
    rt_sio_socket_destroy(t->socket, true);
    other->closing = true;
    rt_eio_close(rt_sio_session(other), RT_EIO_FORCED_CLOSE, 0);
    return rt_map_get(&r->pids, pid); /* it may not have been kept */
}

struct rt_sio_socket *rt_sio_recovery_revive(struct rt_sio_track *t, struct rt_sio_client *client,
                                             struct rt_str offset, struct rt_bytes **ret_missed)
{
    struct rt_sio_recovery *r = t->r;
    struct rt_eio_session *session = rt_sio_session(client);
    struct rt_buf items = RT_BUF_INIT;
    struct rt_bytes *missed = NULL;
    struct rt_sio_socket *socket = NULL;
    struct rt_sio_position position;
    bool good = read_offset(t, offset, &position) && collect(t, &position, &items);
    if (good)
        missed = encode_missed(t->waiting, &items, rt_eio_form(session), &good);
    if (good)
        socket = revive(t, client);
    rt_buf_deinit(&items);
    if (!socket) {
        rt_bytes_unref(missed);
        return NULL;
    }
    r->s->metrics.recovered.value++;
    *ret_missed = missed;
    return socket;
}

struct rt_sio_socket *rt_sio_recover(struct rt_sio_recovery *r, struct rt_sio_client *client,
                                     struct rt_str nsp, struct rt_str auth,
                                     struct rt_bytes **ret_missed)
{
    struct rt_str pid = rt_json_get(auth, RT_STR("pid"));
    if (rt_json_kind(pid) != RT_JSON_STRING)
        return NULL;
    struct rt_sio_track *t =
        rt_sio_recovery_find(r, client, nsp, rt_str_of(pid.ptr + 1, pid.len - 2));
    struct rt_sio_socket *socket =
        t ? rt_sio_recovery_revive(t, client, rt_json_get(auth, RT_STR("offset")), ret_missed)
          : NULL;
    if (!socket)
        r->s->metrics.not_recovered.value++;
    if (t && !socket)
        rt_sio_track_forget(t);
    return socket;
}

bool rt_sio_recovery_shared(const struct rt_sio_recovery *r)
{
    return r->cluster != NULL;
}
