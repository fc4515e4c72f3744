/* The live half of recovery: what a socket has been sent and what of it has surely arrived. */
#include "base/alloc.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/remote.h"
#include "proto/socketio/scope.h"
#include "proto/socketio/socket.h"

static struct rt_hub *hub_of(const struct rt_sio_track *t)
{
    return t->r->s->hub;
}

static int add_track(struct rt_sio_recovery *r, struct rt_sio_socket *socket, struct rt_str pid)
{
    struct rt_sio_track *t = rt_calloc(1, sizeof(*t));
    if (!t)
        return RT_ENOMEM;
    t->r = r;
    t->socket = socket;
    t->start = rt_hub_stamp(r->s->hub);
    rt_list_init(&t->kept);
    rt_list_init(&t->unsaved);
    memcpy(t->pid, pid.ptr, RT_ID_LEN);
    if (rt_map_put(&r->pids, t) != 0) {
        rt_free(t);
        return RT_ENOMEM;
    }
    socket->track = t;
    return 0;
}

int rt_sio_track_new(struct rt_sio_recovery *r, struct rt_sio_socket *socket, struct rt_str auth)
{
    char pid[RT_ID_LEN + 1];
    rt_sio_make_pid(auth, pid);
    int status = add_track(r, socket, rt_str_of(pid, RT_ID_LEN));
    if (status != 0)
        return status;
    struct rt_sio_track *t = socket->track;
    t->acked = t->mark = t->start;
    if (r->cluster)
        rt_random_id(t->claim);
    t->claims = 1;
    rt_sio_remote_changed(t);
    return 0;
}

/* What it is sent first is not confirmed: nothing is, until two pongs have come. */
int rt_sio_track_import(struct rt_sio_recovery *r, struct rt_sio_socket *socket, struct rt_str pid)
{
    return add_track(r, socket, pid);
}

const char *rt_sio_track_pid(const struct rt_sio_track *t)
{
    return t->pid;
}

static void drop_kept(struct rt_sio_track *t, struct rt_sio_kept *k)
{
    rt_list_remove(&k->link);
    t->kept_bytes -= k->size;
    t->r->kept_bytes -= k->size;
    rt_free(k);
}

static void drop_all_kept(struct rt_sio_track *t)
{
    while (!rt_list_empty(&t->kept))
        drop_kept(t, RT_CONTAINER(t->kept.next, struct rt_sio_kept, link));
}

void rt_sio_track_forget(struct rt_sio_track *t)
{
    rt_map_remove(&t->r->pids, rt_str_of(t->pid, RT_ID_LEN));
    if (t->waiting)
        rt_sio_waiting_free(t->waiting);
    drop_all_kept(t);
    rt_sio_remote_forget(t);
    rt_free(t->joins);
    rt_free(t);
}

void rt_sio_track_end(struct rt_sio_track *t, bool keep)
{
    struct rt_sio_socket *socket = t->socket;
    t->socket = NULL;
    if (keep && rt_sio_track_wait(t, socket)) {
        rt_sio_remote_park(t);
        return;
    }
    if (!t->moves)
        rt_sio_remote_drop(t);
    rt_sio_track_forget(t);
}

void rt_sio_track_move(struct rt_sio_track *t)
{
    rt_sio_remote_park(t);
    t->moves = true;
}

void rt_sio_track_let_go(struct rt_sio_track *t)
{
    struct rt_sio_socket *socket = t->socket;
    t->moves = true;
    if (socket && socket->state != RT_SIO_CONNECTED)
        return; /* it is on its way back, and looks at this when that is confirmed */
    if (socket) {
        struct rt_sio_client *client = socket->owner;
        rt_sio_socket_destroy(socket, false);
        client->closing = true;
        rt_eio_close(rt_sio_session(client), RT_EIO_FORCED_CLOSE, 0);
    } else {
        rt_sio_track_forget(t);
    }
}

/* ---- what is sent to the socket alone ---- */

void rt_sio_track_add_token(struct rt_sio_track *t, bool counted, struct rt_buf *out)
{
    if (counted)
        t->number++;
    t->number_stamp = rt_hub_stamp(hub_of(t));
    rt_buf_add_c(out, ",\"");
    rt_sio_token_write(t->r, t->number_stamp, true, t->number, out);
    rt_buf_add_byte(out, '"');
}

/* What is not kept makes a gap; what stands before a gap is of no use. */
static void lose(struct rt_sio_track *t, uint32_t number, uint64_t stamp)
{
    t->dropped_number = number;
    t->dropped_stamp = stamp;
}

static struct rt_sio_kept *copy_packet(struct rt_str text, const struct rt_str *attachments,
                                       size_t count)
{
    size_t size = sizeof(struct rt_sio_kept) + count * sizeof(uint32_t) + text.len;
    for (size_t i = 0; i < count; i++)
        size += attachments[i].len;
    struct rt_sio_kept *k = size <= RT_SIO_RING_BYTES ? rt_malloc(size) : NULL;
    if (!k)
        return NULL;
    *k = (struct rt_sio_kept){
        .text_len = (uint32_t)text.len, .count = (uint32_t)count, .size = size};
    char *at = (char *)(k->lens + count);
    memcpy(at, text.ptr, text.len);
    at += text.len;
    for (size_t i = 0; i < count; i++) {
        k->lens[i] = (uint32_t)attachments[i].len;
        if (attachments[i].len)
            memcpy(at, attachments[i].ptr, attachments[i].len);
        at += attachments[i].len;
    }
    return k;
}

void rt_sio_track_keep(struct rt_sio_track *t, struct rt_str text, const struct rt_str *attachments,
                       size_t attachment_count)
{
    uint64_t stamp = rt_hub_stamp(hub_of(t));
    struct rt_sio_kept *k = copy_packet(text, attachments, attachment_count);
    if (!k || t->r->kept_bytes + k->size > RT_SIO_RING_ALL) {
        rt_free(k);
        drop_all_kept(t);
        lose(t, t->number, stamp);
        return;
    }
    k->stamp = stamp;
    k->number = t->number;
    rt_list_push(&t->kept, &k->link);
    t->kept_bytes += k->size;
    t->r->kept_bytes += k->size;
    while (t->kept_bytes > RT_SIO_RING_BYTES) {
        struct rt_sio_kept *oldest = RT_CONTAINER(t->kept.next, struct rt_sio_kept, link);
        lose(t, oldest->number, oldest->stamp);
        drop_kept(t, oldest);
    }
}

/* ---- channels ---- */

static void remove_join(struct rt_sio_track *t, uint64_t channel)
{
    for (uint32_t i = 0; i < t->join_count; i++) {
        if (t->joins[i].channel == channel)
            t->joins[i--] = t->joins[--t->join_count];
    }
}

static void trim_joins(struct rt_sio_track *t, uint64_t stamp)
{
    for (uint32_t i = 0; i < t->join_count; i++) {
        if (t->joins[i].stamp <= stamp)
            t->joins[i--] = t->joins[--t->join_count];
    }
    if (t->join_count == 0) {
        rt_free(t->joins);
        t->joins = NULL;
        t->join_cap = 0;
    }
}

static bool grow_joins(struct rt_sio_track *t)
{
    if (t->join_count < t->join_cap)
        return true;
    uint32_t cap = t->join_cap ? t->join_cap * 2 : 4;
    if (cap > RT_SIO_MAX_JOINS)
        return false;
    struct rt_sio_join *joins = rt_reallocarray(t->joins, cap, sizeof(*joins));
    if (!joins)
        return false;
    t->joins = joins;
    t->join_cap = cap;
    return true;
}

void rt_sio_track_note_join(struct rt_sio_track *t, struct rt_str channel, uint64_t stamp)
{
    if (stamp <= t->acked || stamp <= t->floor)
        return; /* a recovery never starts before it */
    if (!grow_joins(t)) {
        t->floor = stamp;
        trim_joins(t, stamp);
        return;
    }
    t->joins[t->join_count++] = (struct rt_sio_join){.channel = rt_hash(channel), .stamp = stamp};
}

void rt_sio_track_joined(struct rt_sio_track *t, struct rt_str channel)
{
    rt_sio_track_note_join(t, channel, rt_hub_stamp(hub_of(t)));
    if (!t->r->places)
        return;
    struct rt_sio_place place = rt_sio_places_of(t->r->places, channel);
    rt_sio_places_use(t->r->places, channel);
    if (rt_sio_track_note_place(t, channel, &place))
        rt_sio_remote_changed(t);
    else
        rt_sio_remote_drop(t); /* no memory: nobody else may believe it complete */
}

bool rt_sio_track_note_place(struct rt_sio_track *t, struct rt_str channel,
                             const struct rt_sio_place *place)
{
    if (t->joined_count == t->joined_cap) {
        uint32_t cap = t->joined_cap ? t->joined_cap * 2 : 2;
        struct rt_sio_joined *joined = rt_reallocarray(t->joined, cap, sizeof(*joined));
        if (!joined)
            return false;
        t->joined = joined;
        t->joined_cap = cap;
    }
    t->joined[t->joined_count++] =
        (struct rt_sio_joined){.channel = channel.ptr ? rt_hash(channel) : 0, .place = *place};
    return true;
}

/* Of the channels of a partition that were left, the last one says it. */
static void leave_place(struct rt_sio_track *t, struct rt_str channel, bool open)
{
    uint64_t hash = rt_hash(channel);
    struct rt_sio_place place = rt_sio_places_of(t->r->places, channel);
    for (uint32_t i = 0; i < t->joined_count; i++) {
        struct rt_sio_joined *j = &t->joined[i];
        if (j->channel == hash ||
            (open && j->channel == 0 && j->place.partition == place.partition))
            t->joined[i--] = t->joined[--t->joined_count];
    }
    if (open) /* there is room: that of the channel itself */
        (void)rt_sio_track_note_place(t, RT_STR_NONE, &place);
    rt_sio_remote_changed(t);
}

uint64_t rt_sio_track_joined_at(const struct rt_sio_track *t, struct rt_str channel)
{
    uint64_t hash = t->join_count ? rt_hash(channel) : 0;
    for (uint32_t i = 0; i < t->join_count; i++) {
        if (t->joins[i].channel == hash)
            return t->joins[i].stamp;
    }
    return 0;
}

/* Whatever this channel has sent that may not have arrived cannot be sent again once it is left. */
void rt_sio_track_leaves(struct rt_sio_track *t, struct rt_str channel)
{
    const struct rt_channel *c = rt_hub_channel(hub_of(t), channel, false);
    size_t count = c ? rt_channel_kept(c) : 0;
    bool open = (count && rt_channel_kept_at(c, count - 1)->m.stamp > t->acked) ||
                (c && !rt_channel_covers_stamp(c, t->acked));
    if (open)
        t->floor = rt_hub_stamp(hub_of(t));
    if (t->join_count)
        remove_join(t, rt_hash(channel));
    if (t->r->places)
        leave_place(t, channel, open);
}

void rt_sio_track_pong(struct rt_sio_track *t)
{
    struct rt_hub *hub = hub_of(t);
    rt_hub_catch_up(hub, &t->socket->client.subscriber);
    t->acked = t->mark;
    t->acked_number = t->mark_number;
    t->mark = rt_hub_stamp(hub);
    t->mark_number = t->number;
    while (!rt_list_empty(&t->kept)) {
        struct rt_sio_kept *k = RT_CONTAINER(t->kept.next, struct rt_sio_kept, link);
        if (k->number > t->acked_number)
            break;
        drop_kept(t, k);
    }
    if (t->join_count)
        trim_joins(t, t->acked);
    rt_sio_remote_pong(t);
}
