#include "proto/socketio/run.h"

#include <stdio.h>

#include "base/log.h"
#include "json/scan.h"
#include "proto/socketio/acks.h"
#include "proto/socketio/nsp.h"
#include "proto/socketio/recovery.h"
#include "proto/socketio/run_internal.h"
#include "proto/socketio/socket.h"

#define BUFFER_KEPT 65536u /* a buffer that grew beyond it for one event is given back */

enum flow { FLOW_NEXT, FLOW_STOP };

static enum flow run_actions(struct rt_sio_run *run, const struct rt_sio_actions *actions);

/* ---- starting and ending ---- */

static void add_rooms(void *arg, struct rt_buf *out)
{
    rt_sio_socket_rooms(arg, out);
}

static void begin(struct rt_sio_run *run, struct rt_sio_socket *socket)
{
    struct rt_socketio *s = rt_sio_socket_endpoint(socket);
    *run = (struct rt_sio_run){.s = s, .socket = socket};
    struct rt_sio_values *v = &run->values;
    v->nsp = socket->nsp->name;
    v->sid = rt_sio_socket_sid(socket);
    v->user = rt_str_c(socket->client.user);
    v->auth = rt_bytes_str(socket->auth);
    v->handshake = rt_eio_handshake(rt_sio_session(socket->owner));
    v->rooms = add_rooms;
    v->rooms_arg = socket;
    v->scratch = &s->buf.scratch;
    rt_sio_socket_ref(socket);
}

static void shrink(struct rt_buf *buf)
{
    if (buf->cap > BUFFER_KEPT)
        rt_buf_deinit(buf);
}

static void end(struct rt_sio_run *run)
{
    struct rt_socketio *s = run->s;
    rt_sio_reply_unref(run->reply);
    if (run->closes && run->socket->state != RT_SIO_DEAD)
        rt_sio_client_close(run->socket->owner, RT_EIO_FORCED_CLOSE);
    rt_sio_socket_unref(run->socket);
    shrink(&s->buf.event);
    shrink(&s->buf.args);
    shrink(&s->buf.name);
    shrink(&s->buf.a);
    shrink(&s->buf.b);
    shrink(&s->buf.scratch);
    shrink(&s->buf.text);
    shrink(&s->buf.hub);
    shrink(&s->buf.targets);
}

/* The client would miss something: its connection cannot go on. */
static void lose_client(struct rt_sio_run *run)
{
    run->status = RT_ENOMEM;
    if (run->socket->state != RT_SIO_DEAD)
        rt_eio_close(rt_sio_session(run->socket->owner), RT_EIO_TRANSPORT_ERROR, 0);
}

void rt_sio_run_failed(struct rt_sio_run *run, enum rt_publish_status status, const char *text)
{
    rt_sio_run_refused(run, RT_REFUSED_ACTION, status, text);
}

void rt_sio_run_refused(struct rt_sio_run *run, enum rt_refusal why, enum rt_publish_status status,
                        const char *text)
{
    run->s->metrics.failed.value++;
    rt_sio_refused(run->s, why, why == RT_REFUSED_ACTION ? run->values.event : RT_STR_NONE, text,
                   NULL);
    if (run->reply)
        rt_sio_reply_fail(run->reply, status, text);
}

void rt_sio_run_too_many(struct rt_sio_run *run)
{
    char text[64];
    snprintf(text, sizeof(text), "more than %d attachments", RT_MAX_ATTACHMENTS);
    rt_sio_run_failed(run, RT_PUBLISH_REFUSED, text);
}

/* ---- names ---- */

bool rt_sio_run_event_name(struct rt_sio_run *run, const struct rt_sio_template *event,
                           struct rt_str *ret_name)
{
    struct rt_buf *buf = &run->s->buf.event;
    struct rt_str name = run->values.event;
    if (event && !rt_sio_template_constant(event, &name)) {
        rt_buf_clear(buf);
        rt_sio_template_eval(event, &run->values, NULL, buf);
        if (!rt_buf_ok(buf)) {
            rt_sio_run_failed(run, RT_PUBLISH_RETRY, "out of memory");
            return false;
        }
        name = rt_buf_str(buf);
    }
    if (name.len == 0 || rt_sio_reserved(name)) {
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED,
                          name.len ? "the name of the event is reserved by Socket.IO"
                                   : "the name of the event is empty");
        return false;
    }
    *ret_name = name;
    return true;
}

/* An item of a list of names that the client sent. */
static int each_item(struct rt_sio_run *run, struct rt_str json,
                     int (*each)(struct rt_sio_run *run, struct rt_str name, void *arg), void *arg)
{
    struct rt_buf *buf = &run->s->buf.name;
    rt_buf_clear(buf);
    if (rt_json_kind(json) == RT_JSON_STRING)
        rt_json_unescape(buf, json);
    else
        rt_json_add_compact(buf, json);
    return rt_buf_ok(buf) ? each(run, buf->len ? rt_buf_str(buf) : RT_STR(""), arg) : RT_ENOMEM;
}

/* No more than a socket could be in: one packet shall not set off thousands of publishes. */
static int each_of_list(struct rt_sio_run *run, struct rt_str list,
                        int (*each)(struct rt_sio_run *run, struct rt_str name, void *arg),
                        void *arg)
{
    struct rt_json_iter it = rt_json_iter(list);
    uint32_t left = run->s->config->limits.channels_per_connection;
    int r = 0;
    while (r == 0 && rt_json_next(&it)) {
        if (left-- == 0) {
            rt_sio_run_failed(run, RT_PUBLISH_REFUSED,
                              "the list of names is too long (limits.channels_per_connection)");
            return RT_ERANGE;
        }
        r = each_item(run, it.value, each, arg);
    }
    return r;
}

static int each_of_template(struct rt_sio_run *run, const struct rt_sio_template *t,
                            int (*each)(struct rt_sio_run *run, struct rt_str name, void *arg),
                            void *arg)
{
    struct rt_buf *buf = &run->s->buf.name;
    struct rt_str name, json = RT_STR_NONE;
    if (rt_sio_template_constant(t, &name))
        return each(run, name.len ? name : RT_STR(""), arg);
    bool variable = rt_sio_template_variable(t, &run->values, &run->s->buf.a, &json);
    if (variable && rt_json_kind(json) == RT_JSON_ARRAY)
        return each_of_list(run, json, each, arg);
    bool sent = variable && rt_json_kind(json) == RT_JSON_STRING;
    rt_buf_clear(buf);
    rt_sio_template_eval(t, &run->values, NULL, buf);
    if (!rt_buf_ok(buf))
        return RT_ENOMEM;
    name = sent ? RT_STR("") : RT_STR_NONE; /* when it is empty */
    return each(run, buf->len ? rt_buf_str(buf) : name, arg);
}

int rt_sio_run_names(struct rt_sio_run *run, const struct rt_sio_names *names,
                     int (*each)(struct rt_sio_run *run, struct rt_str name, void *arg), void *arg)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < names->count; i++)
        r = each_of_template(run, names->items[i], each, arg);
    return r;
}

/* ---- join, leave ---- */

static int join_one(struct rt_sio_run *run, struct rt_str room, void *arg)
{
    struct rt_err *err = arg;
    return rt_sio_socket_join(run->socket, room, err);
}

static enum flow run_join(struct rt_sio_run *run, const struct rt_sio_names *rooms)
{
    struct rt_err err = {.code = RT_OK};
    int r = rt_sio_run_names(run, rooms, join_one, &err);
    if (r == 0)
        return FLOW_NEXT;
    rt_sio_run_refused(run, r == RT_ENOMEM ? RT_REFUSED_ACTION : rt_refusal_of(r),
                       r == RT_ENOMEM ? RT_PUBLISH_RETRY : RT_PUBLISH_REFUSED,
                       err.code ? err.text : "out of memory");
    if (!run->connecting)
        return FLOW_NEXT;
    /* A client that would not be where it has to be is not let in. */
    struct rt_buf *buf = &run->s->buf.args;
    rt_buf_clear(buf);
    rt_buf_add_c(buf, "{\"message\":");
    rt_json_add_string(buf, rt_str_c(err.code ? err.text : "out of memory"));
    rt_buf_add_byte(buf, '}');
    run->verdict = RT_SIO_REFUSED;
    run->status = rt_buf_ok(buf) ? 0 : RT_ENOMEM;
    return FLOW_STOP;
}

static int leave_one(struct rt_sio_run *run, struct rt_str room, void *arg)
{
    (void)arg;
    rt_sio_socket_leave(run->socket, room);
    return 0;
}

static void run_leave(struct rt_sio_run *run, const struct rt_sio_leave *leave)
{
    if (leave->all)
        rt_sio_socket_leave_all(run->socket);
    else if (rt_sio_run_names(run, &leave->rooms, leave_one, NULL) != 0)
        rt_sio_run_failed(run, RT_PUBLISH_RETRY, "out of memory");
}

/* ---- emit, ack ---- */

/* Starts a run for what follows an answer, or its absence. */
static void continue_after(struct rt_sio_ack *ack, const struct rt_sio_actions *actions,
                           const struct rt_sio_packet *packet, const struct rt_str *attachments)
{
    struct rt_sio_run run;
    begin(&run, ack->socket);
    run.reply = ack->reply; /* the reference goes with it */
    ack->reply = NULL;
    rt_sio_ack_free(ack);
    if (packet && packet->data.len) {
        run.values.array = packet->data;
        run.values.attachments = attachments;
        run.values.attachment_count = (uint8_t)packet->attachments;
    }
    (void)run_actions(&run, actions);
    end(&run);
}

/* Arguments for the client itself. A negative code: told to the reply, or the client is lost. */
static int eval_args(struct rt_sio_run *run, const struct rt_sio_args *args,
                     struct rt_sio_arguments *ret)
{
    int r = rt_sio_arguments_eval(args, &run->values, &run->s->buf.args, ret);
    if (r == RT_ERANGE)
        rt_sio_run_too_many(run);
    else if (r != 0)
        lose_client(run);
    return r;
}

static void timed_out(struct rt_sio_ack *ack)
{
    continue_after(ack, &ack->emit->timed_out, NULL, NULL);
}

/* The client could not answer: the event is not sent, and counts as one that nobody answered. */
static void run_unasked(struct rt_sio_run *run, const struct rt_sio_emit *emit, int status)
{
    unsigned max = run->s->config->socketio.max_acks;
    char text[96];
    if (status == RT_ERANGE) {
        run->s->metrics.over_acks.value++;
        rt_log(RT_LOG_WARN, "socketio", "an event was not sent: its client owes too many answers",
               rt_kv_u64("owed", max), rt_kv_c("option", "protocols.socketio.max_acks"));
        snprintf(text, sizeof(text),
                 "the client owes %u answers already (protocols.socketio.max_acks)", max);
        rt_sio_run_failed(run, RT_PUBLISH_REFUSED, text);
    } else {
        rt_sio_run_failed(run, RT_PUBLISH_RETRY, "out of memory");
    }
    (void)run_actions(run, &emit->timed_out);
}

/* Awaits the answer and writes its id. False: it cannot be awaited, which is dealt with. */
static bool await(struct rt_sio_run *run, const struct rt_sio_emit *emit, char id[16],
                  struct rt_str *ret_id)
{
    bool waits = emit->answered.answers || emit->timed_out.answers;
    struct rt_sio_ack *ack;
    int status = rt_sio_ack_new(run->socket, emit, waits ? run->reply : NULL, timed_out, &ack);
    if (status != 0) {
        run_unasked(run, emit, status);
        return false;
    }
    *ret_id = rt_str_of(id, (size_t)snprintf(id, 16, "%u", (unsigned)ack->id));
    return true;
}

static void run_emit(struct rt_sio_run *run, const struct rt_sio_emit *emit)
{
    struct rt_sio_arguments args;
    struct rt_sio_outgoing o = {.type = RT_SIO_EVENT, .is_volatile = emit->is_volatile};
    char id[16];
    if (!rt_sio_run_event_name(run, emit->event, &o.event) ||
        eval_args(run, &emit->args, &args) != 0)
        return;
    if (emit->awaits && !await(run, emit, id, &o.id))
        return;
    o.items = args.items;
    o.attachments = args.attachments;
    o.attachment_count = args.attachment_count;
    (void)rt_sio_socket_send(run->socket, &o);
}

static void run_ack(struct rt_sio_run *run, const struct rt_sio_args *answer)
{
    struct rt_sio_arguments args;
    int r = run->reply ? eval_args(run, answer, &args) : RT_ENOENT;
    if (r == RT_ERANGE) /* the reply knows already what went wrong, and says that instead */
        args = (struct rt_sio_arguments){.attachment_count = 0};
    else if (r != 0)
        return;
    if (rt_sio_reply_answer(run->reply, args.items, args.attachments, args.attachment_count) != 0)
        lose_client(run);
}

/* ---- the rest ---- */

static enum flow run_disconnect(struct rt_sio_run *run, bool close)
{
    if (run->connecting)
        run->verdict = close ? RT_SIO_SEND_AWAY_WHOLLY : RT_SIO_SEND_AWAY;
    else
        rt_sio_socket_disconnect(run->socket, close);
    return FLOW_STOP;
}

/* The answer that the event may still get goes first. */
static enum flow run_close(struct rt_sio_run *run)
{
    run->verdict = RT_SIO_CLOSE;
    run->closes = !run->connecting;
    return FLOW_STOP;
}

static enum flow run_refuse(struct rt_sio_run *run, const struct rt_sio_refuse *refuse)
{
    struct rt_buf *buf = &run->s->buf.args, *text = &run->s->buf.name;
    rt_buf_clear(text);
    rt_sio_template_eval(refuse->message, &run->values, NULL, text);
    rt_buf_clear(buf);
    rt_buf_add_c(buf, "{\"message\":");
    rt_json_add_string(buf, rt_buf_str(text));
    if (refuse->data) {
        rt_buf_add_c(buf, ",\"data\":");
        rt_sio_template_eval(refuse->data, &run->values, NULL, buf);
    }
    rt_buf_add_byte(buf, '}');
    run->verdict = RT_SIO_REFUSED;
    run->status = rt_buf_ok(text) && rt_buf_ok(buf) ? 0 : RT_ENOMEM;
    return FLOW_STOP;
}

static enum flow run_when(struct rt_sio_run *run, const struct rt_sio_when *when)
{
    int holds =
        rt_sio_condition_holds(when->condition, &run->values, &run->s->buf.a, &run->s->buf.b);
    if (holds < 0) {
        lose_client(run);
        return FLOW_STOP;
    }
    return run_actions(run, holds ? &when->then : &when->otherwise);
}

static enum flow run_action(struct rt_sio_run *run, const struct rt_sio_action *action)
{
    switch (action->kind) {
    case RT_SIO_DO_JOIN:
        return run_join(run, &action->join);
    case RT_SIO_DO_LEAVE:
        run_leave(run, &action->leave);
        break;
    case RT_SIO_DO_PUBLISH:
        rt_sio_run_publish(run, &action->publish);
        break;
    case RT_SIO_DO_EMIT:
        run_emit(run, &action->emit);
        break;
    case RT_SIO_DO_ANSWER:
        run_ack(run, &action->answer);
        break;
    case RT_SIO_DO_DROP:
        if (run->reply)
            rt_sio_reply_suppress(run->reply);
        return FLOW_STOP;
    case RT_SIO_DO_DISCONNECT:
        return run_disconnect(run, action->disconnect.close);
    case RT_SIO_DO_CLOSE:
        return run_close(run);
    case RT_SIO_DO_REFUSE:
        return run_refuse(run, &action->refuse);
    case RT_SIO_DO_WHEN:
        return run_when(run, &action->when);
    }
    return FLOW_NEXT;
}

static enum flow run_actions(struct rt_sio_run *run, const struct rt_sio_actions *actions)
{
    for (size_t i = 0; i < actions->count; i++) {
        if (run_action(run, &actions->items[i]) == FLOW_STOP || run->socket->state == RT_SIO_DEAD ||
            run->status != 0)
            return FLOW_STOP;
    }
    return FLOW_NEXT;
}

/* ---- events ---- */

/* The event's name as text. */
static bool read_name(struct rt_socketio *s, struct rt_str json, struct rt_str *ret_name)
{
    *ret_name = json;
    if (rt_json_kind(json) != RT_JSON_STRING)
        return true; /* a number */
    *ret_name = rt_str_of(json.ptr + 1, json.len - 2);
    if (!memchr(json.ptr, '\\', json.len))
        return true;
    rt_buf_clear(&s->buf.incoming);
    rt_json_unescape(&s->buf.incoming, json);
    *ret_name = rt_buf_str(&s->buf.incoming);
    return rt_buf_ok(&s->buf.incoming);
}

/* The first rule that matches and whose condition holds; NULL none. RT_ENOMEM in run->status. */
static const struct rt_sio_rule *find_rule(struct rt_sio_run *run)
{
    struct rt_sio_rule_walk walk;
    const struct rt_sio_rule *rule;
    rt_sio_rules_event(run->s->rules, run->values.nsp, run->values.event, &walk);
    while ((rule = rt_sio_rule_next(&walk))) {
        int holds =
            rt_sio_condition_holds(rule->condition, &run->values, &run->s->buf.a, &run->s->buf.b);
        if (holds < 0)
            run->status = holds;
        if (holds != 0)
            return holds < 0 ? NULL : rule;
    }
    return NULL;
}

static void run_unmatched(struct rt_sio_run *run)
{
    run->s->metrics.unmatched.value++;
    if (run->s->config->socketio.unmatched != RT_UNMATCHED_PUBLISH)
        rt_sio_refused(run->s, RT_REFUSED_EVENT, run->values.event, NULL, NULL);
    switch (run->s->config->socketio.unmatched) {
    case RT_UNMATCHED_IGNORE:
    case RT_UNMATCHED_ACK: /* by the reply itself */
        break;
    case RT_UNMATCHED_PUBLISH:
        rt_sio_run_forward(run);
        break;
    case RT_UNMATCHED_DISCONNECT:
        rt_sio_socket_disconnect(run->socket, false);
        break;
    }
}

static void run_event(struct rt_sio_run *run, const struct rt_sio_packet *packet)
{
    const struct rt_sio_rule *rule = find_rule(run);
    bool automatic =
        rule ? rule->automatic : run->s->config->socketio.unmatched != RT_UNMATCHED_IGNORE;
    if (run->status == 0 && packet->id.len && (rule || automatic) &&
        !(run->reply = rt_sio_reply_new(run->socket, packet->id, automatic)))
        run->status = RT_ENOMEM;
    if (run->status != 0)
        lose_client(run);
    else if (rule)
        (void)run_actions(run, &rule->actions);
    else
        run_unmatched(run);
}

void rt_sio_run_event(struct rt_sio_socket *socket, const struct rt_sio_packet *packet,
                      const struct rt_str *attachments)
{
    struct rt_sio_run run;
    rt_sio_socket_endpoint(socket)->metrics.events.value++;
    if (packet->data.len == 0)
        return; /* an event without anything, not even a name */
    begin(&run, socket);
    run.values.array = packet->data;
    run.values.skip = 1;
    run.values.attachments = attachments;
    run.values.attachment_count = (uint8_t)packet->attachments;
    if (read_name(run.s, packet->event, &run.values.event))
        run_event(&run, packet);
    else
        lose_client(&run);
    end(&run);
}

void rt_sio_run_answer(struct rt_sio_socket *socket, const struct rt_sio_packet *packet,
                       const struct rt_str *attachments)
{
    struct rt_sio_ack *ack = packet->id.len ? rt_sio_ack_take(socket, packet->id) : NULL;
    if (ack)
        continue_after(ack, &ack->emit->answered, packet, attachments);
}

int rt_sio_run_connect(struct rt_sio_socket *socket, bool recovered,
                       enum rt_sio_verdict *ret_verdict, struct rt_str *ret_json)
{
    struct rt_sio_run run;
    const struct rt_sio_rule *rule;
    enum flow flow = FLOW_NEXT;
    size_t pos = 0;
    begin(&run, socket);
    run.connecting = true;
    run.values.recovered = recovered;
    while (flow == FLOW_NEXT && run.status == 0 &&
           (rule = rt_sio_rules_connect(run.s->rules, run.values.nsp, &pos))) {
        int holds =
            rt_sio_condition_holds(rule->condition, &run.values, &run.s->buf.a, &run.s->buf.b);
        if (holds < 0)
            run.status = holds;
        else if (holds)
            flow = run_actions(&run, &rule->actions);
    }
    *ret_verdict = run.verdict;
    *ret_json = rt_buf_str(&run.s->buf.args);
    int status = run.status;
    /* What is returned lies in a buffer that ending the run might give back. */
    rt_sio_socket_unref(socket);
    return status;
}
