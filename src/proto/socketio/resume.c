#include "proto/socketio/resume.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "json/scan.h"
#include "proto/socketio/client.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/once.h"
#include "proto/socketio/remote.h"
#include "proto/socketio/socket.h"
#include "proto/socketio/socketio.h"

#define WHOLE_MS 8000u
#define WAIT_MS \
    2000u /* for this node to deliver what the client has seen on another one, and for that to let go */
#define LOOK_MS   10u
#define CLAIM_MS  100u  /* until a claim is tried again */
#define NOTICE_MS 2000u /* for this node to see that Redis has changed */
#define PAGE      1000

/* A channel of the log that has to be read: (from, until]. */
struct room {
    uint64_t from, until;
    uint32_t partition;
    uint32_t name; /* in resume->names */
    uint32_t name_len;
};

struct missed {
    struct rt_stored *message;
    uint64_t order; /* its time, or that of one before it in its partition */
    uint32_t partition;
};

struct rt_sio_resume {
    struct rt_list link;      /* in recovery->resumes */
    struct rt_list of_client; /* in client->resumes */
    struct rt_sio_recovery *r;
    struct rt_sio_client *client; /* NULL: given up, a read is still to be answered */
    struct rt_sio_socket *socket; /* NULL: not made yet */
    struct rt_redis_call *call;   /* NULL: none is awaited */
    struct rt_timer timer;
    uint64_t deadline; /* of all of it */
    uint64_t wait_deadline;
    uint64_t unconfirmed; /* since when its owner is waited for; 0: it is not */
    uint32_t claims;      /* how often the session has been claimed, by us the last time */
    struct rt_bytes *auth, *nsp, *state; /* copies; state as Redis had it, sealed */
    struct rt_sio_position position;     /* places points into auth */
    struct rt_buf hold, names, rooms, missed;
    uint64_t *offsets; /* what the client has, by partition */
    size_t next_room, bytes;
    bool reading, read_now; /* a read is open; answered before the call returned */
    char pid[RT_ID_LEN + 1], claim[RT_ID_LEN + 1];
    char former[RT_ID_LEN + 1]; /* the claim of the node that has not let go yet; "": none */
};

static struct rt_str pid_of(const struct rt_sio_resume *m)
{
    return rt_str_of(m->pid, RT_ID_LEN);
}

static struct room *rooms_of(const struct rt_sio_resume *m)
{
    return (struct room *)(void *)m->rooms.data;
}

static size_t room_count(const struct rt_sio_resume *m)
{
    return m->rooms.len / sizeof(struct room);
}

/* ---- end ---- */

static void free_resume(struct rt_sio_resume *m)
{
    struct missed *missed = (struct missed *)(void *)m->missed.data;
    for (size_t i = 0; i < m->missed.len / sizeof(*missed); i++)
        rt_stored_unref(missed[i].message);
    rt_bytes_unref(m->auth);
    rt_bytes_unref(m->nsp);
    rt_bytes_unref(m->state);
    rt_buf_deinit(&m->hold);
    rt_buf_deinit(&m->names);
    rt_buf_deinit(&m->rooms);
    rt_buf_deinit(&m->missed);
    rt_free(m->offsets);
    rt_free(m);
}

/* Out of every list. A read that is open frees it when it is answered. */
static void detach(struct rt_sio_resume *m)
{
    if (m->call)
        rt_redis_forget(m->call);
    rt_timer_stop(m->r->s->loop, &m->timer);
    rt_list_remove(&m->link);
    rt_list_remove(&m->of_client);
    m->call = NULL;
    m->client = NULL;
}

static void release(struct rt_sio_resume *m)
{
    detach(m);
    if (!m->reading)
        free_resume(m);
}

/* The socket goes without a trace; what Redis has stays. */
static void undo_socket(struct rt_sio_resume *m)
{
    struct rt_sio_socket *socket = m->socket;
    m->socket = NULL;
    if (!socket)
        return;
    socket->hold = NULL;
    if (socket->track)
        rt_sio_track_forget(socket->track);
    socket->track = NULL;
    rt_sio_socket_destroy(socket, false);
}

/* The client is told by a new id. */
static void fail(struct rt_sio_resume *m)
{
    struct rt_sio_client *client = m->client;
    if (client->closing) { /* on_close is to come: what Redis has stays for the next time */
        undo_socket(m);
        release(m);
        return;
    }
    struct rt_bytes *nsp = rt_bytes_ref(m->nsp), *auth = rt_bytes_ref(m->auth);
    m->r->s->metrics.not_recovered.value++;
    undo_socket(m);
    rt_sio_remote_give_up(m->r, pid_of(m), m->claim);
    release(m);
    rt_sio_connect_anew(client, rt_bytes_str(nsp), rt_bytes_str(auth));
    rt_bytes_unref(nsp);
    rt_bytes_unref(auth);
}

static void on_late(struct rt_timer *timer)
{
    fail(RT_CONTAINER(timer, struct rt_sio_resume, timer));
}

/* ---- sending ---- */

static int by_order(const void *a, const void *b)
{
    const struct missed *x = a, *y = b;
    uint64_t ox = x->message->m.offset, oy = y->message->m.offset;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return ox < oy ? -1 : ox > oy;
}

static int by_offset(const void *a, const void *b)
{
    const struct missed *x = a, *y = b;
    uint64_t ox = x->message->m.offset, oy = y->message->m.offset;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return ox < oy ? -1 : ox > oy;
}

/* Each partition in its order, the partitions mixed by time. */
static void sort_missed(struct missed *missed, size_t count)
{
    if (count == 0)
        return;
    qsort(missed, count, sizeof(*missed), by_offset);
    for (size_t i = 0; i < count; i++) {
        missed[i].order = missed[i].message->m.time;
        if (i > 0 && missed[i].partition == missed[i - 1].partition &&
            missed[i].order < missed[i - 1].order)
            missed[i].order = missed[i - 1].order;
    }
    qsort(missed, count, sizeof(*missed), by_order);
}

/* Everything in wire form, each with the token that says what the client has then; NULL: nothing.
 * False: too much, or no memory. */
static bool encode_missed(struct rt_sio_resume *m, struct rt_bytes **ret_missed)
{
    struct rt_eio_session *session = rt_sio_session(m->client);
    const struct rt_encoding *encoding = &m->socket->nsp->encodings[rt_eio_form(session)].base;
    struct missed *missed = (struct missed *)(void *)m->missed.data;
    size_t count = m->missed.len / sizeof(*missed), max = m->r->s->config->limits.send_queue;
    struct rt_buf out = RT_BUF_INIT;
    struct rt_sio_once once;
    rt_sio_once_init(&once);
    sort_missed(missed, count);
    for (size_t i = 0; i < count && rt_buf_ok(&out) && out.len <= max; i++) {
        struct rt_message view = missed[i].message->m;
        m->offsets[missed[i].partition] = view.offset;
        if (rt_sio_once_seen(&once, &missed[i].message->m))
            continue;
        view.stamp = 0;
        m->r->replaying = m->offsets;
        encoding->encode(encoding, &view, &out);
        m->r->replaying = NULL;
    }
    rt_sio_once_deinit(&once);
    bool good = rt_buf_ok(&out) && out.len <= max;
    struct rt_bytes *bytes = good && out.len ? rt_buf_to_bytes(&out) : NULL;
    good = good && (bytes || out.len == 0);
    *ret_missed = bytes;
    rt_buf_deinit(&out);
    return good;
}

static void on_confirmed(void *arg, const struct rt_redis_reply *reply)
{
    struct rt_sio_resume *m = arg;
    struct rt_bytes *missed = NULL;
    m->call = NULL;
    bool lost = m->socket->track->moves; /* claimed by another node since */
    if (reply->status != 0 || reply->number != 1 || lost || !rt_buf_ok(&m->hold) ||
        !encode_missed(m, &missed)) {
        fail(m);
        return;
    }
    struct rt_sio_socket *socket = m->socket;
    struct rt_bytes *auth = rt_bytes_ref(m->auth);
    struct rt_buf hold = m->hold;
    rt_buf_init(&m->hold);
    release(m);
    socket->hold = &hold;
    rt_sio_connect_recovered(socket, rt_bytes_str(auth), missed);
    rt_bytes_unref(missed);
    rt_bytes_unref(auth);
    rt_buf_deinit(&hold);
}

/* ---- reading ---- */

static bool is_for(const struct rt_sio_resume *m, const struct room *room,
                   const struct rt_message *v)
{
    if (v->offset <= room->from || v->offset > room->until || (v->flags & RT_MESSAGE_VOLATILE))
        return false;
    bool own =
        (v->flags & RT_MESSAGE_NOT_SENDER) && rt_str_eq(v->publisher, rt_sio_socket_sid(m->socket));
    return !own && !rt_sio_socket_is_excepted(m->socket, v);
}

static bool take_page(struct rt_sio_resume *m, struct room *room,
                      const struct rt_history_result *result)
{
    if (result->status != 0 || result->gap)
        return false;
    for (size_t i = 0; i < result->count; i++) {
        struct rt_stored *s = result->messages[i];
        struct missed item = {.message = s, .partition = room->partition};
        if (!is_for(m, room, &s->m))
            continue;
        m->bytes += s->size;
        rt_buf_add(&m->missed, &item, sizeof(item));
        if (!rt_buf_ok(&m->missed))
            return false;
        rt_stored_ref(s);
    }
    uint64_t last = result->count ? result->messages[result->count - 1]->m.offset : 0;
    if (result->more && last > room->from && last < room->until)
        room->from = last; /* the next page */
    else
        m->next_room++;
    return m->bytes <= m->r->s->config->limits.send_queue;
}

static void read_on(struct rt_sio_resume *m);

static void on_page(void *arg, const struct rt_history_result *result)
{
    struct rt_sio_resume *m = arg;
    m->reading = false;
    if (!m->client) {
        free_resume(m); /* given up meanwhile */
        return;
    }
    bool good = take_page(m, &rooms_of(m)[m->next_room], result);
    if (m->read_now) /* the caller's loop goes on */
        m->next_room = good ? m->next_room : SIZE_MAX;
    else if (good)
        read_on(m);
    else
        fail(m);
}

/* Has the channel had nothing since, for sure? */
static bool is_quiet(const struct rt_sio_resume *m, const struct room *room, struct rt_str name)
{
    struct rt_hub *hub = m->r->s->hub;
    const struct rt_channel *c = rt_hub_channel(hub, name, false);
    uint64_t offset;
    if (room->from >= room->until)
        return true;
    if (c && rt_channel_top(c) > 0)
        return rt_channel_top(c) <= room->from && rt_channel_covers_offset(c, room->from);
    return room->from >=
           rt_hub_floor(hub, rt_journal_delivered(m->r->places->journal, room->partition, &offset));
}

static void read_room(struct rt_sio_resume *m, const struct room *room, struct rt_str name)
{
    uint64_t offset;
    struct rt_history q = {.channel = name,
                           .has_since = true,
                           .since = {.offset = room->from},
                           .limit = PAGE,
                           .done = on_page,
                           .arg = m};
    const char *epoch = rt_journal_delivered(m->r->places->journal, room->partition, &offset);
    size_t len = strlen(epoch);
    memcpy(q.since.epoch, epoch, len < RT_EPOCH_MAX ? len : RT_EPOCH_MAX);
    m->reading = m->read_now = true;
    rt_broker_history(m->r->s->broker, &q);
    m->read_now =
        false; /* the answer frees it only when it is given up, which nobody does in here */
}

static void read_on(struct rt_sio_resume *m)
{
    while (m->next_room < room_count(m)) {
        const struct room *room = &rooms_of(m)[m->next_room];
        struct rt_str name = rt_str_of(m->names.data + room->name, room->name_len);
        if (is_quiet(m, room, name)) {
            m->next_room++;
            continue;
        }
        read_room(m, room, name);
        if (m->reading)
            return;
    }
    if (m->next_room == SIZE_MAX ||
        rt_sio_remote_save(m->socket->track, on_confirmed, m, &m->call) != 0)
        fail(m);
}

/* ---- joining ---- */

static bool is_logged(const struct rt_socketio *s, struct rt_str channel)
{
    const struct rt_channel_rule *rule = rt_broker_rule(s->broker, channel);
    return rule && rule->log && rule->deliver == RT_ON_COMMIT;
}

static bool add_room(struct rt_sio_resume *m, struct rt_str name, const struct rt_sio_place *place)
{
    struct rt_sio_recovery *r = m->r;
    uint64_t has = m->offsets[place->partition];
    struct room room = {.from = has > place->offset ? has : place->offset,
                        .until = rt_sio_places_delivered(r->places, place->partition),
                        .partition = place->partition,
                        .name = (uint32_t)m->names.len,
                        .name_len = (uint32_t)name.len};
    if (!is_logged(r->s, name))
        return true;
    rt_buf_add_str(&m->names, name);
    rt_buf_add(&m->rooms, &room, sizeof(room));
    return rt_buf_ok(&m->names) && rt_buf_ok(&m->rooms);
}

static bool join_rooms(struct rt_sio_resume *m, const struct rt_sio_stored *state)
{
    struct rt_sio_socket *socket = m->socket;
    struct rt_str rooms = state->rooms, name;
    struct rt_sio_place place;
    int more;
    while ((more = rt_sio_state_next(&rooms, &name, &place)) > 0) {
        if (!rt_sio_track_note_place(socket->track, name, &place))
            return false;
        if (!name.ptr)
            continue;
        if (rt_broker_subscribe(&socket->client, name, true, NULL) != 0 ||
            !add_room(m, name, &place))
            return false;
        rt_sio_places_use(m->r->places, name);
    }
    return more == 0;
}

static bool make_socket(struct rt_sio_resume *m, const struct rt_sio_stored *state)
{
    struct rt_socketio *s = m->r->s;
    char sid[RT_ID_LEN + 1] = "";
    memcpy(sid, state->sid.ptr, RT_ID_LEN);
    struct rt_sio_nsp *nsp = rt_sio_nsp_get(s, rt_bytes_str(m->nsp));
    if (!nsp)
        return false;
    m->socket = rt_sio_socket_new(m->client, nsp, sid, 0);
    if (!m->socket) {
        rt_sio_nsp_unref(nsp);
        return false;
    }
    m->socket->hold = &m->hold;
    if (rt_sio_track_import(m->r, m->socket, pid_of(m)) != 0)
        return false;
    struct rt_sio_track *t = m->socket->track;
    memcpy(t->claim, m->claim, sizeof(t->claim));
    t->claims = m->claims;
    t->number = (uint32_t)state->number; /* all of them have arrived: has_own_events() */
    if (m->position.has_number && m->position.number > t->number)
        t->number = m->position.number;
    t->acked_number = t->mark_number = t->number;
    return join_rooms(m, state);
}

/* ---- checking ---- */

/* What the client has cannot be less than the session's floor, and not of another log. Whether this
 * node has delivered as much: `*ret_behind`. */
static bool check_rooms(const struct rt_sio_resume *m, const struct rt_sio_stored *state,
                        bool *ret_behind)
{
    struct rt_sio_recovery *r = m->r;
    struct rt_str rooms = state->rooms, name;
    struct rt_sio_place place;
    int more;
    *ret_behind = false;
    while ((more = rt_sio_state_next(&rooms, &name, &place)) > 0) {
        if (place.partition >= r->places->count)
            return false;
        if (!name.ptr && m->offsets[place.partition] < place.offset)
            return false; /* a channel that was left before all of it had arrived */
        if (!name.ptr || !is_logged(r->s, name))
            continue;
        struct rt_sio_place now = rt_sio_places_of(r->places, name);
        if (now.partition != place.partition || now.epoch != place.epoch)
            return false;
        *ret_behind |= now.offset < m->offsets[now.partition] || now.offset < place.offset;
    }
    return more == 0;
}

/* Rooms whose messages come from other nodes at once, and are not in the log. */
static bool has_unlogged(const struct rt_sio_resume *m, const struct rt_sio_stored *state)
{
    struct rt_str rooms = state->rooms, name;
    struct rt_sio_place place;
    while (rt_sio_state_next(&rooms, &name, &place) > 0)
        if (name.ptr && !is_logged(m->r->s, name))
            return true;
    return false;
}

/* Events to the socket alone were on its former node only: none may be known to be missing. */
static bool has_own_events(const struct rt_sio_position *p, const struct rt_sio_position *acked,
                           const struct rt_sio_stored *state)
{
    if (state->number <= state->confirmed || (acked->has_number && acked->number >= state->number))
        return true;
    if (p->has_number)
        return p->number >= state->number;
    return p->stamp > state->number_stamp && p->stamp - state->number_stamp < (uint64_t)1 << 36;
}

static void go_on(struct rt_timer *timer)
{
    struct rt_sio_resume *m = RT_CONTAINER(timer, struct rt_sio_resume, timer);
    struct rt_loop *loop = m->r->s->loop;
    struct rt_sio_stored state;
    bool behind;
    if (!rt_sio_state_read(m->r, pid_of(m), rt_bytes_str(m->state), &state) ||
        !check_rooms(m, &state, &behind)) {
        fail(m);
        return;
    }
    bool awaits = m->former[0] != '\0' && has_unlogged(m, &state);
    if ((behind || awaits) && rt_loop_now(loop) < m->wait_deadline) {
        rt_timer_start(loop, &m->timer, LOOK_MS, go_on);
        return;
    }
    if (awaits)
        m->r->s->metrics.unanswered.value++;
    m->former[0] = '\0';
    rt_timer_start_at(loop, &m->timer, m->deadline, on_late);
    if (behind || !make_socket(m, &state))
        fail(m);
    else
        read_on(m);
}

/* From what Redis has. */
static void bring_over(struct rt_sio_resume *m, const struct rt_redis_reply *reply)
{
    struct rt_sio_recovery *r = m->r;
    struct rt_sio_position acked = {.stamp = 0};
    struct rt_sio_stored state;
    struct rt_str sealed = reply->items[1], token = reply->items[2];
    m->state = rt_bytes_copy(sealed.ptr, sealed.len);
    m->offsets = rt_calloc(r->places->count, sizeof(*m->offsets));
    bool good = m->state && m->offsets && rt_sio_state_read(r, pid_of(m), sealed, &state) &&
                rt_str_eq(state.nsp, rt_bytes_str(m->nsp)) &&
                rt_sio_places_read(r->places, m->position.places, m->offsets);
    if (good && token.ptr)
        good = rt_sio_token_read(token, &acked) &&
               rt_sio_places_read(r->places, acked.places, m->offsets);
    if (!good || !has_own_events(&m->position, &acked, &state)) {
        fail(m);
        return;
    }
    m->wait_deadline = rt_loop_now(r->s->loop) + WAIT_MS;
    go_on(&m->timer);
}

/* It has waited here all the time: then also what was sent to it alone is here. */
static bool revive(struct rt_sio_resume *m, struct rt_sio_track *t)
{
    memcpy(t->claim, m->claim, sizeof(t->claim));
    t->claims = m->claims;
    struct rt_str auth = rt_bytes_str(m->auth);
    struct rt_bytes *missed = NULL;
    struct rt_sio_socket *socket =
        rt_sio_recovery_revive(t, m->client, rt_json_get(auth, RT_STR("offset")), &missed);
    if (!socket)
        return false;
    struct rt_bytes *kept = rt_bytes_ref(m->auth);
    rt_sio_remote_changed(t);
    release(m);
    rt_sio_connect_recovered(socket, rt_bytes_str(kept), missed);
    rt_bytes_unref(kept);
    rt_bytes_unref(missed);
    return true;
}

/* On this node, too, the last one wins. */
static void end_others(const struct rt_sio_resume *m)
{
    struct rt_list *node = m->r->resumes.next;
    while (node != &m->r->resumes) {
        struct rt_sio_resume *other = RT_CONTAINER(node, struct rt_sio_resume, link);
        if (other == m || !other->state || !rt_str_eq(pid_of(other), pid_of(m))) {
            node = node->next;
            continue;
        }
        fail(other);
        node = m->r->resumes.next;
    }
}

static void on_claimed(void *arg, const struct rt_redis_reply *reply);

static void claim_again(struct rt_timer *timer)
{
    struct rt_sio_resume *m = RT_CONTAINER(timer, struct rt_sio_resume, timer);
    rt_timer_start_at(m->r->s->loop, &m->timer, m->deadline, on_late);
    if (rt_sio_remote_claim(m->r, pid_of(m), m->claim, on_claimed, m, &m->call) != 0)
        fail(m);
}

/* Redis has changed, and has a state that its owner has not confirmed: if that lives, it will. Or the owner knows of the change, and this node is still to
 * notice. */
static void await_owner(struct rt_sio_resume *m)
{
    uint64_t now = rt_loop_now(m->r->s->loop), next = now + CLAIM_MS;
    if (m->unconfirmed == 0)
        m->unconfirmed = now;
    bool noticed = now - m->unconfirmed >= NOTICE_MS;
    if ((noticed && rt_sio_remote_confirmed(m->r)) || next >= m->deadline)
        fail(m);
    else
        rt_timer_start_at(m->r->s->loop, &m->timer, next, claim_again);
}

static bool read_claims(struct rt_sio_resume *m, struct rt_str text)
{
    uint64_t claims;
    if (rt_str_to_u64(text, &claims) || claims > UINT32_MAX)
        return false;
    m->claims = (uint32_t)claims;
    return true;
}

static void on_claimed(void *arg, const struct rt_redis_reply *reply)
{
    struct rt_sio_resume *m = arg;
    struct rt_sio_recovery *r = m->r;
    m->call = NULL;
    if (reply->status == 0 && reply->count == 0 && reply->number == 1) {
        await_owner(m);
        return;
    }
    if (reply->status != 0 || reply->count < 4 || reply->items[0].len < RT_ID_LEN ||
        !reply->items[1].ptr || !read_claims(m, reply->items[3])) {
        fail(m);
        return;
    }
    end_others(m);
    struct rt_str owner = reply->items[0];
    struct rt_sio_track *t = rt_sio_recovery_find(r, m->client, rt_bytes_str(m->nsp), pid_of(m));
    struct rt_str claim = rt_str_of(owner.ptr, RT_ID_LEN);
    bool here = t && rt_str_eq(claim, rt_str_of(t->claim, RT_ID_LEN));
    if (here && revive(m, t))
        return;
    if (t)
        rt_sio_track_forget(t); /* another node has had it since, or this one has not kept enough */
    if (!here && rt_sio_remote_ask(r, pid_of(m), owner) && !rt_str_eq(reply->items[4], RT_STR("0")))
        memcpy(m->former, claim.ptr, RT_ID_LEN);
    bring_over(m, reply);
}

static struct rt_sio_resume *awaiting(const struct rt_sio_recovery *r, struct rt_str pid)
{
    rt_list_for(node, &r->resumes) {
        struct rt_sio_resume *m = RT_CONTAINER(node, struct rt_sio_resume, link);
        if (m->former[0] != '\0' && rt_str_eq(pid_of(m), pid))
            return m;
    }
    return NULL;
}

bool rt_sio_resume_awaits(const struct rt_sio_recovery *r, struct rt_str pid)
{
    return awaiting(r, pid) != NULL;
}

void rt_sio_resume_former_gone(struct rt_sio_recovery *r, struct rt_str pid, struct rt_str claim)
{
    struct rt_sio_resume *m = awaiting(r, pid);
    if (m && rt_str_eq(rt_str_c(m->former), claim))
        m->former[0] = '\0'; /* go_on() sees it */
}

/* ---- beginning ---- */

static struct rt_sio_resume *new_resume(struct rt_sio_recovery *r, struct rt_str nsp,
                                        struct rt_str auth)
{
    struct rt_sio_resume *m = rt_calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->r = r;
    rt_list_init(&m->link);
    rt_list_init(&m->of_client);
    m->auth = rt_bytes_copy(auth.ptr, auth.len);
    m->nsp = rt_bytes_copy(nsp.ptr, nsp.len);
    rt_random_id(m->claim);
    if (m->auth && m->nsp)
        return m;
    free_resume(m);
    return NULL;
}

/* The token of the auth object; false: what is there is none. */
static bool read_position(struct rt_sio_resume *m)
{
    struct rt_str offset = rt_json_get(rt_bytes_str(m->auth), RT_STR("offset"));
    if (offset.len == 0 || rt_json_kind(offset) == RT_JSON_NULL)
        return true; /* it has not got any event */
    return rt_json_kind(offset) == RT_JSON_STRING &&
           rt_sio_token_read(rt_str_of(offset.ptr + 1, offset.len - 2), &m->position);
}

bool rt_sio_resume_start(struct rt_sio_recovery *r, struct rt_sio_client *client, struct rt_str nsp,
                         struct rt_str auth)
{
    struct rt_str pid = rt_json_get(auth, RT_STR("pid"));
    if (rt_json_kind(pid) != RT_JSON_STRING || pid.len != RT_ID_LEN + 2)
        return false;
    struct rt_sio_resume *m = new_resume(r, nsp, auth);
    if (!m)
        return false;
    memcpy(m->pid, pid.ptr + 1, RT_ID_LEN);
    if (!read_position(m) ||
        rt_sio_remote_claim(r, pid_of(m), m->claim, on_claimed, m, &m->call) != 0) {
        r->s->metrics.not_recovered.value++;
        free_resume(m);
        return false;
    }
    m->client = client;
    m->deadline = rt_loop_now(r->s->loop) + WHOLE_MS;
    rt_timer_start_at(r->s->loop, &m->timer, m->deadline, on_late);
    rt_list_push(&r->resumes, &m->link);
    rt_list_push(&client->resumes, &m->of_client);
    return true;
}

static struct rt_sio_resume *find_resume(const struct rt_sio_client *client, struct rt_str nsp)
{
    rt_list_for(node, &client->resumes) {
        struct rt_sio_resume *m = RT_CONTAINER(node, struct rt_sio_resume, of_client);
        if (rt_str_eq(rt_bytes_str(m->nsp), nsp))
            return m;
    }
    return NULL;
}

bool rt_sio_resuming(const struct rt_sio_client *client, struct rt_str nsp)
{
    return find_resume(client, nsp) != NULL;
}

void rt_sio_resume_drop(struct rt_sio_client *client, struct rt_str nsp)
{
    struct rt_sio_resume *m = find_resume(client, nsp);
    if (!m)
        return;
    undo_socket(m);
    rt_sio_remote_give_up(m->r, pid_of(m), m->claim);
    release(m);
}

void rt_sio_resume_drop_all(struct rt_sio_client *client)
{
    while (!rt_list_empty(&client->resumes)) {
        struct rt_sio_resume *m =
            RT_CONTAINER(client->resumes.next, struct rt_sio_resume, of_client);
        undo_socket(m);
        release(m);
    }
}

/* ---- another number of partitions ---- */

/* Partitions that matter are those of channels with subscribers. */
static void use_occupied(struct rt_sio_places *places, const struct rt_hub *hub)
{
    size_t pos = 0;
    for (struct rt_channel *c = rt_hub_next_channel(hub, &pos); c;
         c = rt_hub_next_channel(hub, &pos))
        if (rt_channel_subscribers(c) > 0)
            rt_sio_places_use(places, rt_channel_name(c));
}

void rt_socketio_log_moved(struct rt_socketio *s)
{
    struct rt_sio_recovery *r = s->recovery;
    if (!r || !r->places)
        return;
    rt_list_for_safe(node, next, &r->resumes) {
        struct rt_sio_resume *m = RT_CONTAINER(node, struct rt_sio_resume, link);
        if (m->offsets)
            fail(m);
    }
    rt_sio_places_recount(r->places);
    use_occupied(r->places, s->hub);
}
