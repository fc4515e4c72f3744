/* The action `publish`: to channels through the broker, to a socket's own id directly.
 *
 * A socket's id is a room that only it is in, without a channel of its own in the hub. Others who
 * have joined a room of that name are reached through the hub as well. A publish to several rooms is
 * one message with a copy for each (RT_MESSAGE_COPY): a socket gets the first that comes to it. */
#include "base/clock.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/recovery.h"
#include "proto/socketio/remote.h"
#include "proto/socketio/run_internal.h"
#include "proto/socketio/scope.h"
#include "proto/socketio/socket.h"

/* What is the same for all channels of one action. */
struct job {
    struct rt_message message;
    struct rt_sio_arguments args;
    bool except_sender;
    uint32_t count; /* of channels */
};

#define ONE_KEY "`key` names one message: `publish` with it goes to one channel only"

static size_t size_of(const struct rt_sio_arguments *a)
{
    size_t size = a->items.len;
    for (uint8_t i = 0; i < a->attachment_count; i++)
        size += a->attachments[i].len;
    return size;
}

/* True: the channel is the id of a socket that is not here, on another node perhaps. */
static bool publish_elsewhere(struct rt_sio_run *run, struct rt_str channel,
                              const struct rt_message *m, struct rt_publish_result *result)
{
    struct rt_socketio *s = run->s;
    const struct rt_channel *c = rt_hub_channel(s->hub, channel, false);
    if (!s->cluster || (c && rt_channel_subscribers(c) > 0) || !rt_sio_remote_is_id_room(channel))
        return false;
    if (rt_sio_remote_send(s, channel, m) != 0)
        *result = (struct rt_publish_result){.status = RT_PUBLISH_RETRY,
                                             .code = RT_EAGAIN,
                                             .text = "the other nodes cannot be reached"};
    return true;
}

/* True: the channel is the id of a socket, connected or expected back, and of nobody else;
 * `*result` is filled. */
static bool publish_to_socket(struct rt_sio_run *run, const struct job *job, struct rt_str channel,
                              struct rt_publish_result *result)
{
    struct rt_socketio *s = run->s;
    const struct rt_sio_arguments *a = &job->args;
    struct rt_sio_socket *socket = rt_sio_socket_of_channel(s, channel);
    struct rt_message m = {.event = job->message.event,
                           .data = a->items,
                           .attachments = a->attachments,
                           .attachment_count = a->attachment_count,
                           .flags = job->message.flags & RT_MESSAGE_VOLATILE,
                           .except_in = job->message.except_in};
    *result = (struct rt_publish_result){.status = RT_PUBLISH_OK};
    if (size_of(a) + m.except_in.len > s->config->limits.message)
        return false; /* the broker says it better */
    if (socket) {
        if (socket != run->socket || !job->except_sender)
            rt_sio_socket_send_message(socket, &m);
    } else if (!s->recovery || m.flags || !rt_sio_recovery_offline(s->recovery, channel, &m)) {
        return publish_elsewhere(run, channel, &m, result);
    }
    const struct rt_channel *c = rt_hub_channel(s->hub, channel, false);
    return !c || rt_channel_subscribers(c) == 0;
}

static void note_position(struct rt_sio_run *run, const struct rt_publish_result *result)
{
    run->values.has_position = result->status == RT_PUBLISH_OK && result->logged;
    run->values.position = result->position;
}

static int publish_to(struct rt_sio_run *run, const struct job *job, struct rt_str channel)
{
    struct rt_publish_result result;
    struct rt_sio_outcome *outcome = NULL;
    struct rt_message message = job->message; /* the broker writes to it */
    if (run->reply && !(outcome = rt_sio_reply_expect(run->reply))) {
        rt_sio_run_failed(run, RT_PUBLISH_RETRY, "out of memory");
        return RT_EAGAIN;
    }
    struct rt_publish publish = {.channel = channel,
                                 .message = &message,
                                 .client = &run->socket->client,
                                 .trusted = true,
                                 .done = outcome ? rt_sio_outcome_done : NULL,
                                 .arg = outcome};
    if (!publish_to_socket(run, job, channel, &result) &&
        rt_broker_publish(run->s->broker, &publish, &result) == RT_PENDING) {
        run->values.has_position = false;
        return 0;
    }
    note_position(run, &result);
    if (outcome)
        rt_sio_outcome_done(outcome, &result);
    if (result.status != RT_PUBLISH_OK)
        run->s->metrics.failed.value++;
    if (result.status == RT_PUBLISH_REFUSED || result.status == RT_PUBLISH_LIMITED)
        rt_sio_refused(run->s, result.why, channel, result.text, NULL);
    return 0;
}

static int each_channel(struct rt_sio_run *run, struct rt_str name, void *arg)
{
    struct job *job = arg;
    if (job->message.key.len && job->count++) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, ONE_KEY);
        return RT_EINVAL;
    }
    return publish_to(run, job, name);
}

/* ---- rooms that are left out ---- */

struct excepting {
    const struct rt_sio_nsp *nsp;
    struct rt_message list; /* its except_in, as far as it is known */
    uint32_t count;
};

/* Adds the room's channel to the list, once. A name that no room can have leaves nobody out. */
static int each_excepted(struct rt_sio_run *run, struct rt_str room, void *arg)
{
    struct excepting *e = arg;
    struct rt_buf *out = &run->s->buf.except;
    if (!room.ptr) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, "the name of a room of `except` is missing");
        return RT_EINVAL;
    }
    struct rt_str channel = rt_sio_channel_of(e->nsp, room, &run->s->buf.channel);
    e->list.except_in = rt_buf_str(out);
    if (!rt_sio_room_can_be(room) || channel.len > run->s->config->limits.channel_name ||
        rt_message_excepts(&e->list, channel))
        return 0;
    if (e->count++ == RT_MAX_EXCEPTED) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, "more than 64 rooms in `except`");
        return RT_ERANGE;
    }
    if (out->len)
        rt_buf_add_byte(out, '\n');
    rt_buf_add_str(out, channel);
    return rt_buf_ok(out) && rt_buf_ok(&run->s->buf.channel) ? 0 : RT_ENOMEM;
}

_Static_assert(RT_MAX_EXCEPTED == 64, "the texts say so");

/* With a key the publisher is a name that says nothing of the socket: then its own room is what leaves it out, wherever it comes back. */
static bool leaves_out_own_room(const struct job *job)
{
    return job->except_sender && job->message.key.len > 0;
}

/* Nothing is published when it is not known to whom it may not go: RT_ENOMEM, or a code that was told. */
static int eval_except(struct rt_sio_run *run, struct job *job, const struct rt_sio_nsp *nsp,
                       const struct rt_sio_names *names)
{
    struct excepting e = {.nsp = nsp};
    rt_buf_clear(&run->s->buf.except);
    int r = rt_sio_run_names(run, names, each_excepted, &e);
    if (r == 0 && leaves_out_own_room(job))
        r = each_excepted(run, rt_sio_socket_sid(run->socket), &e);
    job->message.except_in = rt_buf_str(&run->s->buf.except);
    return r;
}

/* ---- lists that are known before anything is published ---- */

/* The channel at `*pos` of the list, which moves on; none at its end. */
static struct rt_str next_target(const struct rt_buf *list, size_t *pos)
{
    uint32_t len;
    if (*pos >= list->len)
        return RT_STR_NONE;
    memcpy(&len, list->data + *pos, sizeof(len));
    struct rt_str name = rt_str_of(list->data + *pos + sizeof(len), len);
    *pos += sizeof(len) + len;
    return name;
}

static void add_target(struct rt_buf *list, struct rt_str channel)
{
    uint32_t len = (uint32_t)channel.len;
    rt_buf_add(list, &len, sizeof(len));
    rt_buf_add_str(list, channel);
}

static bool is_target(const struct rt_buf *list, struct rt_str channel)
{
    size_t pos = 0;
    for (struct rt_str name = next_target(list, &pos); name.ptr; name = next_target(list, &pos))
        if (rt_str_eq(name, channel))
            return true;
    return false;
}

/* Notes the room's channel, once. */
static int each_room(struct rt_sio_run *run, struct rt_str name, void *arg)
{
    struct job *job = arg;
    struct rt_buf *list = &run->s->buf.targets;
    struct rt_err err;
    if (rt_sio_room_check(name, &err) != 0) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, err.text);
        return 0;
    }
    struct rt_str channel = rt_sio_channel_of(run->socket->nsp, name, &run->s->buf.channel);
    if (!rt_buf_ok(&run->s->buf.channel))
        return RT_ENOMEM;
    if (is_target(list, channel))
        return 0;
    if (job->count == RT_MAX_COPIES) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, "more than 256 rooms");
        return RT_ERANGE;
    }
    add_target(list, channel);
    job->count++;
    return rt_buf_ok(list) ? 0 : RT_ENOMEM;
}

/* A socket that is also in another room of the list gets the message there. */
static bool is_reached(const struct rt_sio_run *run, struct rt_str id_room)
{
    const struct rt_sio_socket *socket = rt_sio_socket_of_channel(run->s, id_room);
    const struct rt_channel *others = rt_hub_channel(run->s->hub, id_room, false);
    const struct rt_buf *list = &run->s->buf.targets;
    size_t pos = 0;
    if (!socket || (others && rt_channel_subscribers(others) > 0))
        return false;
    for (struct rt_str name = next_target(list, &pos); name.ptr; name = next_target(list, &pos))
        if (rt_hub_is_subscribed(run->s->hub, &socket->client.subscriber, name))
            return true;
    return false;
}

static int publish_to_rooms(struct rt_sio_run *run, struct job *job)
{
    const struct rt_buf *list = &run->s->buf.targets;
    size_t pos = 0;
    if (job->message.key.len && job->count > 1) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, ONE_KEY);
        return 0;
    }
    if (job->count > 1) {
        job->message.flags |= RT_MESSAGE_COPY;
        rt_uuid7(rt_wall_ms(), job->message.id);
    }
    _Static_assert(RT_MAX_COPIES <= UINT8_MAX + 1, "the last byte of the id counts them");
    for (uint32_t i = 0; i < job->count; i++) {
        struct rt_str channel = next_target(list, &pos);
        if (job->count > 1)
            job->message.id[RT_MESSAGE_COPY_ID] = (uint8_t)i;
        if (job->count == 1 || !is_reached(run, channel))
            (void)publish_to(run, job, channel);
    }
    return 0;
}

/* Those that have sockets here: others nobody knows of. */
static int find_namespaces(struct rt_sio_run *run, struct job *job,
                           const struct rt_sio_names *globs)
{
    struct rt_buf *list = &run->s->buf.targets;
    const struct rt_sio_nsp *nsp;
    struct rt_str glob;
    size_t pos = 0;
    uint32_t max = run->s->config->limits.channels_per_connection;
    while ((nsp = rt_map_next(&run->s->namespaces, &pos))) {
        size_t i = 0;
        while (i < globs->count && !(rt_sio_template_constant(globs->items[i], &glob) &&
                                     rt_glob_match(glob, nsp->name)))
            i++;
        if (i == globs->count)
            continue;
        if (job->count++ == max) {
            rt_sio_run_failed(run, RT_PUBLISH_REFUSED,
                              "too many namespaces match (limits.channels_per_connection)");
            return RT_ERANGE;
        }
        add_target(list, nsp->name);
    }
    if (!rt_buf_ok(list))
        return RT_ENOMEM;
    if (job->message.key.len && job->count > 1) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, ONE_KEY);
        return RT_EINVAL;
    }
    return 0;
}

/* Rooms are those of each namespace. */
static int publish_to_each(struct rt_sio_run *run, struct job *job, const struct rt_sio_publish *p)
{
    const struct rt_buf *list = &run->s->buf.targets;
    size_t pos = 0;
    int r = find_namespaces(run, job, &p->targets);
    for (uint32_t i = 0; r == 0 && i < job->count; i++) {
        struct rt_str channel = next_target(list, &pos);
        const struct rt_sio_nsp *nsp = rt_map_get(&run->s->namespaces, channel);
        if (nsp && (r = eval_except(run, job, nsp, &p->except)) == 0)
            (void)publish_to(run, job, channel);
    }
    return r;
}

/* The message of the job, from the arguments evaluated. RT_ENOMEM; RT_ERANGE was told. */
static int prepare(struct rt_sio_run *run, struct job *job, const struct rt_sio_args *args)
{
    struct rt_buf *buf = &run->s->buf.args;
    int r = rt_sio_arguments_eval(args, &run->values, buf, &job->args);
    if (r == 0)
        r = rt_sio_arguments_message(&job->args, buf, &job->message);
    if (r == RT_ERANGE)
        rt_sio_run_too_many(run);
    if (r != 0)
        return r;
    if (job->message.flags & RT_MESSAGE_ARGS) /* the items may have moved */
        job->args.items = rt_sio_items_after(job->message.data, 0);
    if (job->except_sender) {
        job->message.except = run->socket->client.subscriber.id;
        job->message.flags |= RT_MESSAGE_NOT_SENDER;
    }
    return 0;
}

/* The key, and under whom it counts; without one the publisher is the socket. */
static int eval_key(struct rt_sio_run *run, const struct rt_sio_template *t, struct rt_message *m)
{
    struct rt_buf *buf = &run->s->buf.key;
    if (!t)
        return 0;
    rt_buf_clear(buf);
    rt_sio_template_eval(t, &run->values, NULL, buf);
    if (!rt_buf_ok(buf))
        return RT_ENOMEM;
    m->key = rt_buf_str(buf);
    if (m->key.len)
        m->publisher = rt_sio_scope(run->s, run->socket);
    return m->key.len == 0 || m->publisher.ptr ? 0 : RT_ENOMEM;
}

static int publish_all(struct rt_sio_run *run, struct job *job, const struct rt_sio_publish *p)
{
    rt_buf_clear(&run->s->buf.targets);
    if (p->to == RT_SIO_TO_NAMESPACES)
        return publish_to_each(run, job, p);
    int r = eval_except(run, job, run->socket->nsp, &p->except);
    if (r != 0)
        return r;
    if (p->to == RT_SIO_TO_CHANNELS)
        return rt_sio_run_names(run, &p->targets, each_channel, job);
    r = rt_sio_run_names(run, &p->targets, each_room, job);
    return r == 0 ? publish_to_rooms(run, job) : r;
}

void rt_sio_run_publish(struct rt_sio_run *run, const struct rt_sio_publish *p)
{
    struct job job = {.except_sender = p->except_sender};
    job.message.flags = p->is_volatile ? RT_MESSAGE_VOLATILE : 0;
    if (!rt_sio_run_event_name(run, p->event, &job.message.event))
        return;
    int r = eval_key(run, p->key, &job.message);
    if (r == 0)
        r = prepare(run, &job, &p->args);
    if (r == 0)
        r = publish_all(run, &job, p);
    if (r == RT_ENOMEM)
        rt_sio_run_failed(run, RT_PUBLISH_RETRY, "out of memory");
}

void rt_sio_run_forward(struct rt_sio_run *run)
{
    static const struct rt_sio_args incoming = {.kind = RT_SIO_ARGS_INCOMING};
    struct job job = {.message = {.event = run->values.event}};
    if (prepare(run, &job, &incoming) != 0)
        rt_sio_run_failed(run, RT_PUBLISH_RETRY, "out of memory");
    else
        (void)publish_to(run, &job, run->socket->nsp->name);
}
