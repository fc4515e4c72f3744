#include "proto/socketio/remote.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "json/scan.h"
#include "proto/socketio/arguments.h"
#include "proto/socketio/resume.h"
#include "proto/socketio/socket.h"
#include "proto/socketio/socketio.h"

#define SAVES_A_FLUSH 1000
#define SUBJECT       "\1socketio" /* no channel has such a name */

#define CONFIRM_MS \
    5000u /* for each node to notice that Redis has changed, and to write its sessions */

/* KEYS[1] the session. ARGV: owner, ms, generation, claims, version, token or "", state or none. 1: ours, written; 0: another one's, by a later claim; -1: Redis
 * has not what we wrote: write it all. */
static const char SAVE[] =
    "local h=redis.call('HMGET',KEYS[1],'o','c','v','e') "
    "local ours=h[1]==ARGV[1] "
    "if h[1] and not ours and tonumber(h[2] or 0)>=tonumber(ARGV[4]) then return 0 end "
    "if not ARGV[7] and not (ours and h[3]==ARGV[5] and h[4]==ARGV[3]) then return -1 end "
    "redis.call('HMSET',KEYS[1],'o',ARGV[1],'c',ARGV[4],'v',ARGV[5],'e',ARGV[3]) "
    "if ARGV[6]~='' then redis.call('HSET',KEYS[1],'a',ARGV[6]) end "
    "if ARGV[7] then redis.call('HSET',KEYS[1],'s',ARGV[7]) end "
    "redis.call('PEXPIRE',KEYS[1],ARGV[2]) return 1";
/* ARGV: owner, ms, generation. The last item: how many listen to the mail of the owner before, where Redis tells. Mailboxes are named in cluster/cluster.c. */
static const char CLAIM[] = "local v=redis.call('HMGET',KEYS[1],'o','s','a','c','e') "
                            "if not v[1] then return {} end "
                            "if v[5]~=ARGV[3] then return 1 end "
                            "local c=string.format('%d',tonumber(v[4] or 0)+1) "
                            "redis.call('HMSET',KEYS[1],'o',ARGV[1],'c',c) "
                            "redis.call('PEXPIRE',KEYS[1],ARGV[2]) "
                            "local box=string.sub(KEYS[1],1,-23)..'n:'..string.sub(v[1],21) "
                            "local n=redis.pcall('PUBSUB','NUMSUB',box) "
                            "return {v[1],v[2],v[3],c,tostring(n[2] or 1)}";
static const char DROP[] = "if redis.call('HGET',KEYS[1],'o')==ARGV[1] then "
                           "return redis.call('DEL',KEYS[1]) end return 0";

/* A write whose answer is awaited, by the name of what it was about. */
struct save {
    struct rt_list link; /* in recovery->saves */
    struct rt_sio_recovery *r;
    struct rt_redis_call *call;
    char pid[RT_ID_LEN + 1], claim[RT_ID_LEN + 1];
};

struct script {
    struct rt_sio_recovery *r;
    struct rt_str pid;
    const char *claim, *text;
    uint32_t claims, version;
    struct rt_str token, state; /* none: not said */
    void (*done)(void *arg, const struct rt_redis_reply *reply);
    void *arg;
};

static struct rt_redis *redis_of(const struct rt_sio_recovery *r)
{
    return rt_cluster_redis(r->cluster);
}

/* How long a session is kept that says nothing any more. */
static uint64_t lifetime(const struct rt_sio_recovery *r)
{
    const struct rt_socketio_config *c = &r->s->config->socketio;
    return c->recovery + c->engine.ping_interval + c->engine.ping_timeout;
}

static int run(const struct script *s, struct rt_redis_call **ret_call)
{
    char key[RT_ID_LEN + 3] = "s:", ms[24], claims[12], version[12], owner[RT_ID_LEN + 256];
    struct rt_str node = rt_cluster_node(s->r->cluster);
    struct rt_str generation = rt_cluster_generation(s->r->cluster, NULL);
    if (s->pid.len != RT_ID_LEN)
        return RT_EINVAL;
    if (generation.len == 0)
        return RT_EAGAIN; /* the link is up since this moment */
    memcpy(key + 2, s->pid.ptr, RT_ID_LEN);
    int ms_len = snprintf(ms, sizeof(ms), "%llu", (unsigned long long)lifetime(s->r));
    int owner_len = snprintf(owner, sizeof(owner), "%s%.*s", s->claim,
                             (int)(node.len < 200 ? node.len : 200), node.ptr);
    int claims_len = snprintf(claims, sizeof(claims), "%u", s->claims);
    int version_len = snprintf(version, sizeof(version), "%u", s->version);
    struct rt_str args[] = {rt_str_of(owner, (size_t)owner_len),
                            rt_str_of(ms, (size_t)ms_len),
                            generation,
                            rt_str_of(claims, (size_t)claims_len),
                            rt_str_of(version, (size_t)version_len),
                            s->token.ptr ? s->token : RT_STR(""),
                            s->state};
    struct rt_redis_eval eval = {.script = s->text,
                                 .key = rt_str_of(key, RT_ID_LEN + 2),
                                 .args = args,
                                 .arg_count = s->state.ptr ? 7 : 6,
                                 .done = s->done,
                                 .arg = s->arg};
    return rt_redis_eval(redis_of(s->r), &eval, ret_call);
}

/* ---- what is written ---- */

static void write_place(char kind, const struct rt_sio_place *place, struct rt_str channel,
                        struct rt_buf *out)
{
    rt_buf_add_byte(out, (uint8_t)kind);
    rt_sio_base36_write(out, place->partition);
    rt_buf_add_byte(out, ' ');
    rt_sio_base36_write(out, place->offset);
    rt_buf_add_byte(out, ' ');
    rt_sio_base36_write(out, place->epoch);
    rt_buf_add_byte(out, ' ');
    rt_buf_add_str(out, channel);
    rt_buf_add_byte(out, '\n');
}

static void write_channel(const struct rt_sio_track *t, struct rt_str channel, struct rt_buf *out)
{
    uint64_t hash = rt_hash(channel);
    struct rt_sio_place place = {.partition = 0};
    for (uint32_t i = 0; i < t->joined_count; i++) {
        if (t->joined[i].channel == hash)
            place = t->joined[i].place;
    }
    write_place('j', &place, channel, out);
}

static void write_channels(const struct rt_sio_track *t, struct rt_buf *out)
{
    const struct rt_sio_waiting *w = t->waiting;
    if (w) {
        for (uint32_t i = 0; i < w->room_count; i++)
            write_channel(t, rt_channel_name(w->rooms[i].channel), out);
    } else {
        const struct rt_subscriber *subscriber = &t->socket->client.subscriber;
        for (uint32_t i = 0; i < subscriber->count; i++)
            write_channel(t, rt_subscriber_channel(subscriber, i), out);
    }
    for (uint32_t i = 0; i < t->joined_count; i++) {
        if (t->joined[i].channel == 0)
            write_place('l', &t->joined[i].place, RT_STR(""), out);
    }
}

/* `sid number stamp confirmed`, namespace, then a line for each channel. Names have no control characters. */
static struct rt_str write_state(const struct rt_sio_track *t)
{
    struct rt_sio_recovery *r = t->r;
    struct rt_buf *out = &r->state;
    rt_buf_clear(out);
    rt_buf_add_c(out, t->waiting ? t->waiting->sid : t->socket->sid);
    rt_buf_add_byte(out, ' ');
    rt_sio_base36_write(out, t->number);
    rt_buf_add_byte(out, ' ');
    rt_sio_base36_write(out, t->number_stamp + r->places->base);
    rt_buf_add_byte(out, ' ');
    rt_sio_base36_write(out, t->acked_number);
    rt_buf_add_byte(out, '\n');
    rt_buf_add_str(out, t->waiting ? t->waiting->nsp->name : t->socket->nsp->name);
    rt_buf_add_byte(out, '\n');
    write_channels(t, out);
    rt_buf_clear(&r->sealed);
    if (rt_buf_ok(out))
        rt_cluster_seal(r->cluster, rt_str_of(t->pid, RT_ID_LEN), rt_buf_str(out), &r->sealed);
    return rt_buf_ok(out) && rt_buf_ok(&r->sealed) ? rt_buf_str(&r->sealed) : RT_STR_NONE;
}

int rt_sio_remote_save(struct rt_sio_track *t,
                       void (*done)(void *arg, const struct rt_redis_reply *reply), void *arg,
                       struct rt_redis_call **ret_call)
{
    struct script script = {.r = t->r,
                            .pid = rt_str_of(t->pid, RT_ID_LEN),
                            .claim = t->claim,
                            .claims = t->claims,
                            .version = ++t->version,
                            .text = SAVE,
                            .state = write_state(t),
                            .done = done,
                            .arg = arg};
    return script.state.ptr ? run(&script, ret_call) : RT_ENOMEM;
}

static void free_save(struct save *save)
{
    rt_list_remove(&save->link);
    rt_free(save);
}

static void on_saved(void *arg, const struct rt_redis_reply *reply)
{
    struct save *save = arg;
    struct rt_sio_recovery *r = save->r;
    struct rt_sio_track *t = rt_map_get(&r->pids, rt_str_of(save->pid, RT_ID_LEN));
    bool ours = t && memcmp(t->claim, save->claim, RT_ID_LEN) == 0;
    free_save(save);
    if (!ours)
        return;
    if (reply->status != 0 || reply->number < 0)
        rt_sio_remote_changed(t); /* unknown, or Redis has lost it, or an older one */
    else if (reply->number == 0)
        rt_sio_track_let_go(t); /* another node has claimed it */
}

static struct save *new_save(struct rt_sio_track *t)
{
    struct save *save = rt_calloc(1, sizeof(*save));
    if (!save)
        return NULL;
    save->r = t->r;
    memcpy(save->pid, t->pid, sizeof(save->pid));
    memcpy(save->claim, t->claim, sizeof(save->claim));
    rt_list_init(&save->link);
    rt_list_push(&t->r->saves, &save->link);
    return save;
}

/* False: Redis takes no more now. */
static bool save_now(struct rt_sio_track *t)
{
    struct save *save = new_save(t);
    if (!save)
        return false;
    int r = rt_sio_remote_save(t, on_saved, save, &save->call);
    if (r != 0)
        free_save(save);
    return r == 0;
}

static void on_flush(void *arg)
{
    struct rt_sio_recovery *r = arg;
    if (!r->cluster || rt_list_empty(&r->unsaved) || !rt_redis_up(redis_of(r)))
        return;
    for (int i = 0; i < SAVES_A_FLUSH && !rt_list_empty(&r->unsaved); i++) {
        struct rt_sio_track *t = RT_CONTAINER(r->unsaved.next, struct rt_sio_track, unsaved);
        if (!save_now(t))
            break;
        rt_list_remove(&t->unsaved);
    }
    rt_redis_flush(redis_of(r)); /* before what clients get in this turn */
}

void rt_sio_remote_changed(struct rt_sio_track *t)
{
    if (t->r->cluster && rt_list_empty(&t->unsaved))
        rt_list_push(&t->r->unsaved, &t->unsaved);
}

void rt_sio_remote_park(struct rt_sio_track *t)
{
    if (t->r->cluster && !save_now(t))
        rt_sio_remote_changed(t);
}

void rt_sio_remote_pong(struct rt_sio_track *t)
{
    struct rt_sio_recovery *r = t->r;
    struct save *save = r->cluster && rt_list_empty(&t->unsaved) ? new_save(t) : NULL;
    if (!r->cluster)
        return;
    struct script script = {.r = r,
                            .pid = rt_str_of(t->pid, RT_ID_LEN),
                            .claim = t->claim,
                            .claims = t->claims,
                            .version = t->version,
                            .text = SAVE,
                            .token = rt_bytes_str(t->mark_token),
                            .done = on_saved,
                            .arg = save};
    if (save && run(&script, &save->call) != 0) {
        free_save(save);
        rt_sio_remote_changed(t);
    }
    rt_bytes_unref(t->mark_token);
    rt_buf_clear(&r->state);
    rt_sio_token_write(r, rt_hub_stamp(r->s->hub), true, t->number, &r->state);
    t->mark_token = rt_buf_to_bytes(&r->state); /* NULL: not confirmed then */
}

void rt_sio_remote_give_up(struct rt_sio_recovery *r, struct rt_str pid, const char *claim)
{
    struct script script = {.r = r, .pid = pid, .claim = claim, .text = DROP};
    (void)run(&script, NULL); /* else it expires */
}

void rt_sio_remote_drop(struct rt_sio_track *t)
{
    if (t->r->cluster)
        rt_sio_remote_give_up(t->r, rt_str_of(t->pid, RT_ID_LEN), t->claim);
}

void rt_sio_remote_forget(struct rt_sio_track *t)
{
    rt_list_remove(&t->unsaved);
    rt_bytes_unref(t->mark_token);
    rt_free(t->joined);
}

int rt_sio_remote_claim(struct rt_sio_recovery *r, struct rt_str pid, const char *claim,
                        void (*done)(void *arg, const struct rt_redis_reply *reply), void *arg,
                        struct rt_redis_call **ret_call)
{
    struct script script = {
        .r = r, .pid = pid, .claim = claim, .text = CLAIM, .done = done, .arg = arg};
    return run(&script, ret_call);
}

/* ---- what is read ---- */

bool rt_sio_state_read(struct rt_sio_recovery *r, struct rt_str pid, struct rt_str sealed,
                       struct rt_sio_stored *ret)
{
    struct rt_str number, stamp, confirmed;
    struct rt_str text = rt_cluster_unseal(r->cluster, pid, sealed);
    struct rt_str line = rt_str_split(text, '\n', &text);
    ret->sid = rt_str_split(line, ' ', &number);
    number = rt_str_split(number, ' ', &stamp);
    stamp = rt_str_split(stamp, ' ', &confirmed);
    ret->nsp = rt_str_split(text, '\n', &ret->rooms);
    return ret->sid.len == RT_ID_LEN && rt_sio_base36_read(number, &ret->number) &&
           rt_sio_base36_read(stamp, &ret->number_stamp) &&
           rt_sio_base36_read(confirmed, &ret->confirmed) && ret->nsp.len > 0;
}

int rt_sio_state_next(struct rt_str *rooms, struct rt_str *ret_channel,
                      struct rt_sio_place *ret_place)
{
    uint64_t partition, epoch;
    struct rt_str offset, rest;
    if (rooms->len == 0)
        return 0;
    struct rt_str line = rt_str_split(*rooms, '\n', rooms);
    if (line.len < 2)
        return RT_EINVAL;
    struct rt_str first = rt_str_split(rt_str_of(line.ptr + 1, line.len - 1), ' ', &rest);
    offset = rt_str_split(rest, ' ', &rest);
    struct rt_str check = rt_str_split(rest, ' ', &rest);
    if (!rt_sio_base36_read(first, &partition) || !rt_sio_base36_read(check, &epoch) ||
        !rt_sio_base36_read(offset, &ret_place->offset))
        return RT_EINVAL;
    ret_place->partition = (uint32_t)partition;
    ret_place->epoch = (uint32_t)epoch;
    *ret_channel = line.ptr[0] == 'j' ? rest : RT_STR_NONE;
    return 1;
}

/* ---- mail ---- */

/* About the session that somebody had by the claim. */
static void send_word(struct rt_sio_recovery *r, struct rt_str node, struct rt_str word,
                      struct rt_str pid, struct rt_str claim)
{
    struct rt_message m = {.event = word, .publisher = pid, .data = claim};
    struct rt_cluster_mail mail = {.subject = RT_STR(SUBJECT), .message = &m};
    (void)rt_cluster_send(r->cluster, node, &mail);
}

bool rt_sio_remote_ask(struct rt_sio_recovery *r, struct rt_str pid, struct rt_str owner)
{
    struct rt_str node = rt_str_of(owner.ptr + RT_ID_LEN, owner.len - RT_ID_LEN);
    if (rt_str_eq(node, rt_cluster_node(r->cluster)))
        return false;
    /* When it does not come there, the node notices as it next writes. */
    send_word(r, node, RT_STR("let go"), pid, rt_str_of(owner.ptr, RT_ID_LEN));
    return true;
}

/* Our answer takes the way of everything that we have published, behind it. While the session is coming back to us the node before us has not answered, perhaps. */
static void take_let_go(struct rt_sio_recovery *r, struct rt_str from, const struct rt_message *m)
{
    struct rt_sio_track *t = rt_map_get(&r->pids, m->publisher);
    if (t && rt_str_eq(m->data, rt_str_of(t->claim, RT_ID_LEN)))
        rt_sio_track_let_go(t);
    if (!rt_sio_resume_awaits(r, m->publisher))
        send_word(r, from, RT_STR("gone"), m->publisher, m->data);
}

/* For a socket that is, or waits, here perhaps; `key` is its id room. */
static void take_event(struct rt_socketio *s, const struct rt_message *m)
{
    struct rt_sio_socket *socket = rt_sio_socket_of_channel(s, m->key);
    struct rt_str json;
    if (rt_json_check(m->data, (struct rt_json_limits){1024, 0}, &json, NULL) ||
        rt_json_kind(json) != RT_JSON_ARRAY)
        return;
    struct rt_message event = *m;
    event.data = rt_sio_items_after(json, 0);
    bool is_volatile = m->flags & RT_MESSAGE_VOLATILE;
    if (socket)
        rt_sio_socket_send_message(socket, &event);
    else if (!s->recovery || is_volatile || !rt_sio_recovery_offline(s->recovery, m->key, &event))
        return;
    s->metrics.mailed_in.value++;
}

static void on_mail(void *arg, struct rt_str from, const struct rt_cluster_mail *mail)
{
    struct rt_socketio *s = arg;
    const struct rt_message *m = mail->message;
    if (!rt_str_eq(mail->subject, RT_STR(SUBJECT)))
        return;
    if (m->key.len)
        take_event(s, m);
    else if (s->recovery && s->recovery->cluster && rt_str_eq(m->event, RT_STR("let go")))
        take_let_go(s->recovery, from, m);
    else if (s->recovery && rt_str_eq(m->event, RT_STR("gone")))
        rt_sio_resume_former_gone(s->recovery, m->publisher, m->data);
}

int rt_sio_remote_send(struct rt_socketio *s, struct rt_str channel, const struct rt_message *m)
{
    struct rt_message copy = *m;
    struct rt_buf array = RT_BUF_INIT;
    struct rt_cluster_mail mail = {.subject = RT_STR(SUBJECT), .message = &copy};
    rt_buf_add_byte(&array, '[');
    rt_buf_add_str(&array, m->data);
    rt_buf_add_byte(&array, ']');
    copy.data = rt_buf_str(&array);
    copy.key = channel;
    copy.publisher = RT_STR_NONE;
    int r = rt_buf_ok(&array) ? rt_cluster_send(s->cluster, RT_STR_NONE, &mail) : RT_ENOMEM;
    rt_buf_deinit(&array);
    if (r == 0)
        s->metrics.mailed.value++;
    return r;
}

/* ---- ids ---- */

#define ID_FREE 16 /* characters of an id that are random; the rest is made of them */

static void check_id(const char *id, char out[5])
{
    static const uint64_t key[2] = {0x736f636b65742069u, 0x6473u};
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t hash = rt_siphash13(key, rt_str_of(id, ID_FREE));
    for (int i = 0; i < 4; i++)
        out[i] = digits[hash >> (6 * i) & 63];
    out[4] = '\0';
}

void rt_sio_remote_make_id(char out[RT_ID_LEN + 1])
{
    rt_random_id(out);
    check_id(out, out + ID_FREE);
}

bool rt_sio_remote_is_id(struct rt_str id)
{
    char check[5];
    if (id.len != RT_ID_LEN)
        return false;
    check_id(id.ptr, check);
    return memcmp(check, id.ptr + ID_FREE, 4) == 0;
}

bool rt_sio_remote_is_id_room(struct rt_str channel)
{
    if (channel.len < RT_ID_LEN)
        return false;
    size_t prefix = channel.len - RT_ID_LEN;
    const char *at = channel.ptr + prefix;
    bool stands_alone = prefix == 0 || at[-1] == '#' || at[-1] == '.'; /* NODE.ID of old clients */
    return stands_alone && rt_sio_remote_is_id(rt_str_of(at, RT_ID_LEN));
}

/* ---- life ---- */

static uint64_t sender_of(void *arg, struct rt_str publisher)
{
    const struct rt_socketio *s = arg;
    const struct rt_sio_socket *socket = rt_map_get(&s->sockets, publisher);
    if (socket)
        return socket->client.subscriber.id;
    const struct rt_sio_waiting *w = s->recovery ? rt_map_get(&s->recovery->sids, publisher) : NULL;
    return w ? w->subscriber : 0;
}

/* Redis was started again, emptied, or is another one. */
static void on_generation(void *arg)
{
    struct rt_sio_recovery *r = arg;
    size_t pos = 0;
    for (struct rt_sio_track *t; (t = rt_map_next(&r->pids, &pos));)
        rt_sio_remote_changed(t);
    r->s->metrics.rewritten.value += r->pids.count;
    if (r->pids.count > 0)
        rt_log(
            RT_LOG_INFO, "socketio",
            "Redis has changed: it was started again or emptied, or is another one; all sessions "
            "are written again",
            rt_kv_u64("sessions", r->pids.count));
}

bool rt_sio_remote_confirmed(const struct rt_sio_recovery *r)
{
    uint64_t since, now = rt_loop_now(r->s->loop);
    return rt_cluster_generation(r->cluster, &since).len > 0 && now - since >= CONFIRM_MS;
}

int rt_sio_remote_start(struct rt_sio_recovery *r, struct rt_cluster *cluster)
{
    int status = rt_sio_places_new(rt_broker_journal(r->s->broker), &r->places);
    if (status == 0 && rt_loop_add_flush_hook(r->s->loop, on_flush, r))
        status = RT_ENOMEM;
    if (status == 0) {
        r->cluster = cluster;
        rt_cluster_on_generation(cluster, on_generation, r);
    }
    return status;
}

void rt_sio_remote_stop(struct rt_sio_recovery *r)
{
    while (!rt_list_empty(&r->saves)) {
        struct save *save = RT_CONTAINER(r->saves.next, struct save, link);
        rt_redis_forget(save->call);
        free_save(save);
    }
    r->cluster = NULL;
    rt_sio_places_free(r->places);
    rt_buf_deinit(&r->state);
    rt_buf_deinit(&r->sealed);
}

int rt_socketio_join_cluster(struct rt_socketio *s, struct rt_cluster *cluster, struct rt_err *err)
{
    s->cluster = cluster;
    rt_cluster_on_mail(cluster, on_mail, s);
    rt_broker_set_sender_of(s->broker, sender_of, s);
    if (!s->recovery || rt_journal_partitions(rt_broker_journal(s->broker)) == 0)
        return 0;
    return rt_sio_remote_start(s->recovery, cluster) ? rt_err_nomem(err) : 0;
}
