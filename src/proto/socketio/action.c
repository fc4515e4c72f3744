#include "proto/socketio/action.h"

#include "proto/socketio/nsp.h"
#include "proto/socketio/packet.h"

#define EMIT_TIMEOUT 10000u /* ms, when `ack` names none */

static bool wrong(struct rt_sio_compile *c, const struct rt_node *node, const char *text)
{
    char seen[64];
    rt_conf_error(c->errors, &node->mark, "%s, not %s", text, rt_node_seen(node, seen));
    return false;
}

/* A list of templates, or one. */
static bool compile_templates(struct rt_sio_compile *c, const struct rt_node *node, bool text,
                              struct rt_sio_names *ret_names)
{
    const struct rt_node *const *nodes;
    size_t count = rt_sio_items(&node, &nodes);
    const struct rt_sio_template **items = rt_sio_alloc(c, count + 1, sizeof(*items));
    bool good = items != NULL;
    for (size_t i = 0; items && i < count; i++) {
        items[i] = text ? rt_sio_text_compile(c, nodes[i]) : rt_sio_value_compile(c, nodes[i]);
        good &= items[i] != NULL;
    }
    ret_names->items = items;
    ret_names->count = count;
    return good;
}

static bool compile_names(struct rt_sio_compile *c, const struct rt_node *node, const char *what,
                          struct rt_sio_names *ret_names)
{
    bool empty = node->kind == RT_NODE_LIST ? node->count == 0 : rt_node_is_null(node);
    if (!empty)
        return compile_templates(c, node, true, ret_names);
    rt_conf_error(c->errors, &node->mark, "`%s` is a name or a list of names", what);
    return false;
}

static bool compile_one(struct rt_sio_compile *c, const struct rt_node *node,
                        struct rt_sio_args *args)
{
    const struct rt_sio_template **items = rt_sio_alloc(c, 1, sizeof(*items));
    if (items)
        items[0] = rt_sio_value_compile(c, node);
    args->items = items;
    args->count = 1;
    return items && items[0];
}

/* A list of values, or `$args` (or another variable: the items of an array). */
static bool compile_args(struct rt_sio_compile *c, const struct rt_node *node, const char *what,
                         struct rt_sio_args *args)
{
    bool good;
    if (node->kind == RT_NODE_LIST) {
        struct rt_sio_names names;
        args->kind = RT_SIO_ARGS_LIST;
        /* One item may be a list itself: it is a value. */
        const struct rt_sio_template **items = rt_sio_alloc(c, node->count + 1, sizeof(*items));
        good = items != NULL;
        for (size_t i = 0; items && i < node->count; i++) {
            items[i] = rt_sio_value_compile(c, node->items[i]);
            good &= items[i] != NULL;
        }
        names = (struct rt_sio_names){items, node->count};
        args->items = names.items;
        args->count = names.count;
    } else if (node->kind == RT_NODE_SCALAR && rt_str_eq(node->text, RT_STR("$args")) &&
               c->has_args) {
        args->kind = RT_SIO_ARGS_INCOMING;
        good = true;
    } else if (node->kind == RT_NODE_SCALAR && node->text.len && node->text.ptr[0] == '$') {
        args->kind = RT_SIO_ARGS_SPREAD;
        good = compile_one(c, node, args);
    } else {
        rt_conf_error(c->errors, &node->mark, "`%s` is a list of values, or $args", what);
        good = false;
    }
    for (size_t i = 0; good && i < args->count; i++)
        args->binary |= rt_sio_template_binary(args->items[i]);
    return good;
}

/* `data` is one argument, `args` any number; without both those of the incoming event. */
static bool compile_data(struct rt_sio_compile *c, const struct rt_node *map,
                         struct rt_sio_args *args)
{
    const struct rt_node *data = rt_node_get(map, "data"), *list = rt_node_get(map, "args");
    if (data && list) {
        rt_conf_error(c->errors, &list->mark, "`args` and `data` exclude each other");
        return false;
    }
    if (list)
        return compile_args(c, list, "args", args);
    if (data) {
        args->kind = RT_SIO_ARGS_LIST;
        bool good = compile_one(c, data, args);
        args->binary = good && rt_sio_template_binary(args->items[0]);
        return good;
    }
    args->kind = c->has_args ? RT_SIO_ARGS_INCOMING : RT_SIO_ARGS_LIST;
    return true;
}

static bool compile_event(struct rt_sio_compile *c, const struct rt_node *map,
                          const struct rt_sio_template **ret_event)
{
    const struct rt_node *node = rt_node_get(map, "event");
    if (!node) {
        if (!c->has_event)
            rt_conf_error(c->errors, &map->mark,
                          "`event` is missing: no event has come in here "
                          "whose name could be taken");
        return c->has_event;
    }
    struct rt_str name;
    *ret_event = rt_sio_text_compile(c, node);
    if (*ret_event && rt_sio_template_constant(*ret_event, &name) && rt_sio_reserved(name)) {
        rt_conf_error(c->errors, &node->mark,
                      "\"%.*s\" is reserved by Socket.IO and cannot be an event", RT_STR_ARG(name));
        return false;
    }
    return *ret_event != NULL;
}

static bool compile_leave(struct rt_sio_compile *c, const struct rt_node *node,
                          struct rt_sio_leave *leave)
{
    static const char *const keys[] = {"all", NULL};
    if (node->kind != RT_NODE_MAP)
        return compile_names(c, node, "leave", &leave->rooms);
    bool good = rt_sio_check_keys(c, node, "`leave`", keys);
    leave->all = rt_sio_flag(c, node, "all", false);
    if (good && !leave->all) {
        rt_conf_error(c->errors, &node->mark, "`leave` is a room, a list of rooms or {all: true}");
        return false;
    }
    return good;
}

/* A client shall not choose whom it reaches by a glob of its own. */
static bool are_constant(struct rt_sio_compile *c, const struct rt_node *node,
                         const struct rt_sio_names *names)
{
    struct rt_str text;
    for (size_t i = 0; i < names->count; i++) {
        if (rt_sio_template_constant(names->items[i], &text) && text.len && text.ptr[0] == '/')
            continue;
        rt_conf_error(c->errors, &node->mark,
                      "`namespaces` are globs that are written out and begin with /");
        return false;
    }
    return true;
}

/* Where a publish goes: exactly one of these keys. */
static bool compile_targets(struct rt_sio_compile *c, const struct rt_node *map,
                            struct rt_sio_publish *p)
{
    static const struct {
        const char *name;
        enum rt_sio_target to;
    } keys[] = {{"channel", RT_SIO_TO_CHANNELS},
                {"room", RT_SIO_TO_ROOMS},
                {"rooms", RT_SIO_TO_ROOMS},
                {"namespaces", RT_SIO_TO_NAMESPACES}};
    const struct rt_node *names = NULL;
    size_t key = 0, count = 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct rt_node *node = rt_node_get(map, keys[i].name);
        if (!node)
            continue;
        names = node;
        key = i;
        count++;
    }
    p->to = keys[key].to;
    if (count == 1)
        return compile_names(c, names, keys[key].name, &p->targets) &&
               (p->to != RT_SIO_TO_NAMESPACES || are_constant(c, names, &p->targets));
    rt_conf_error(c->errors, &map->mark,
                  "`publish` wants one of `channel`, `room` and `rooms` (of the socket's "
                  "namespace), `namespaces`");
    return false;
}

/* Rooms whose sockets are left out. */
static bool compile_except(struct rt_sio_compile *c, const struct rt_node *node,
                           struct rt_sio_names *ret_except)
{
    struct rt_str text;
    if (!compile_names(c, node, "except", ret_except))
        return false;
    if (ret_except->count > RT_MAX_EXCEPTED) {
        rt_conf_error(c->errors, &node->mark, "`except` has %zu rooms, allowed are %d",
                      ret_except->count, RT_MAX_EXCEPTED);
        return false;
    }
    for (size_t i = 0; i < ret_except->count; i++) {
        if (!rt_sio_template_constant(ret_except->items[i], &text) || rt_sio_room_can_be(text))
            continue;
        rt_conf_error(c->errors, &node->mark,
                      "`except` names a room with a control character: no room has one");
        return false;
    }
    return true;
}

static bool compile_publish(struct rt_sio_compile *c, const struct rt_node *node,
                            struct rt_sio_publish *p)
{
    static const char *const keys[] = {"channel",       "room", "rooms",    "namespaces",
                                       "event",         "data", "args",     "except",
                                       "except_sender", "key",  "volatile", NULL};
    if (!rt_sio_check_keys(c, node, "`publish`", keys))
        return false;
    bool good = compile_targets(c, node, p);
    good &= compile_event(c, node, &p->event);
    good &= compile_data(c, node, &p->args);
    const struct rt_node *key = rt_node_get(node, "key");
    if (key) {
        c->uses |= RT_SIO_USES_KEY;
        good &= (p->key = rt_sio_text_compile(c, key)) != NULL;
    }
    const struct rt_node *except = rt_node_get(node, "except");
    if (except)
        good &= compile_except(c, except, &p->except);
    p->except_sender = rt_sio_flag(c, node, "except_sender", false);
    p->is_volatile = rt_sio_flag(c, node, "volatile", false);
    return good;
}

/* `ack: {timeout: 10s, do: [..], on_timeout: [..]}`: what runs later has its own scope. */
static bool compile_await(struct rt_sio_compile *c, const struct rt_node *node,
                          struct rt_sio_emit *emit)
{
    static const char *const keys[] = {"timeout", "do", "on_timeout", NULL};
    if (!rt_sio_check_keys(c, node, "`ack` of `emit`", keys))
        return false;
    emit->awaits = true;
    emit->timeout = rt_sio_duration(c, rt_node_get(node, "timeout"), "timeout", EMIT_TIMEOUT);
    struct rt_sio_compile outer = *c;
    c->has_event = c->connecting = false;
    c->has_args = true;
    bool good = rt_sio_actions_compile(c, rt_node_get(node, "do"), "do", &emit->answered);
    c->has_args = false;
    good &=
        rt_sio_actions_compile(c, rt_node_get(node, "on_timeout"), "on_timeout", &emit->timed_out);
    c->has_event = outer.has_event;
    c->has_args = outer.has_args;
    c->connecting = outer.connecting;
    return good;
}

static bool compile_emit(struct rt_sio_compile *c, const struct rt_node *node,
                         struct rt_sio_emit *emit)
{
    static const char *const keys[] = {"event", "data", "args", "volatile", "ack", NULL};
    if (!rt_sio_check_keys(c, node, "`emit`", keys))
        return false;
    bool good = compile_event(c, node, &emit->event);
    good &= compile_data(c, node, &emit->args);
    emit->is_volatile = rt_sio_flag(c, node, "volatile", false);
    const struct rt_node *ack = rt_node_get(node, "ack");
    if (ack)
        good &= compile_await(c, ack, emit);
    if (emit->is_volatile && emit->awaits) {
        rt_conf_error(c->errors, &node->mark, "what is volatile cannot await an answer");
        good = false;
    }
    return good;
}

static bool compile_disconnect(struct rt_sio_compile *c, const struct rt_node *node,
                               bool *ret_close)
{
    static const char *const keys[] = {"close", NULL};
    bool value = false;
    if (node->kind == RT_NODE_MAP) {
        *ret_close = rt_sio_flag(c, node, "close", false);
        return rt_sio_check_keys(c, node, "`disconnect`", keys);
    }
    if (!rt_node_bool(node, &value) || !value)
        return wrong(c, node, "`disconnect` is true or {close: true}");
    return true;
}

static bool compile_refuse(struct rt_sio_compile *c, const struct rt_node *node,
                           struct rt_sio_refuse *refuse)
{
    static const char *const keys[] = {"message", "data", NULL};
    if (!c->connecting) {
        rt_conf_error(c->errors, &node->mark,
                      "`refuse` is for on_connect only: a socket that is "
                      "connected is sent away by `disconnect`");
        return false;
    }
    if (!rt_sio_check_keys(c, node, "`refuse`", keys))
        return false;
    const struct rt_node *message = rt_node_get(node, "message"), *data = rt_node_get(node, "data");
    if (!message) {
        rt_conf_error(c->errors, &node->mark, "`refuse` wants a `message`");
        return false;
    }
    refuse->message = rt_sio_text_compile(c, message);
    refuse->data = data ? rt_sio_value_compile(c, data) : NULL;
    if (refuse->data && rt_sio_template_binary(refuse->data)) {
        rt_conf_error(c->errors, &data->mark, "`data` of `refuse` cannot be binary");
        return false;
    }
    return refuse->message && (!data || refuse->data);
}

static bool compile_when(struct rt_sio_compile *c, const struct rt_node *node,
                         struct rt_sio_when *when)
{
    static const char *const keys[] = {"if", "do", "else", NULL};
    if (!rt_sio_check_keys(c, node, "`when`", keys))
        return false;
    const struct rt_node *condition = rt_node_get(node, "if");
    if (!condition) {
        rt_conf_error(c->errors, &node->mark, "`when` wants a condition in `if`");
        return false;
    }
    when->condition = rt_sio_condition_compile(c, condition);
    bool good = when->condition != NULL;
    good &= rt_sio_actions_compile(c, rt_node_get(node, "do"), "do", &when->then);
    good &= rt_sio_actions_compile(c, rt_node_get(node, "else"), "else", &when->otherwise);
    return good;
}

/* Actions without settings: `text` says so. */
static bool compile_true(struct rt_sio_compile *c, const struct rt_node *node, const char *text)
{
    bool value = false;
    if (!rt_node_bool(node, &value) || !value)
        return wrong(c, node, text);
    return true;
}

static const char *const action_names[] = {"join",       "leave", "publish", "emit", "ack", "drop",
                                           "disconnect", "close", "refuse",  "when", NULL};

static bool compile_kind(struct rt_sio_compile *c, const struct rt_node *key,
                         const struct rt_node *node, struct rt_sio_action *a)
{
    switch (a->kind) {
    case RT_SIO_DO_JOIN:
        return compile_names(c, node, "join", &a->join);
    case RT_SIO_DO_LEAVE:
        return compile_leave(c, node, &a->leave);
    case RT_SIO_DO_PUBLISH:
        return compile_publish(c, node, &a->publish);
    case RT_SIO_DO_EMIT:
        return compile_emit(c, node, &a->emit);
    case RT_SIO_DO_ANSWER:
        if (c->connecting) {
            rt_conf_error(c->errors, &key->mark, "`ack` has nothing to answer in on_connect");
            return false;
        }
        return compile_args(c, node, "ack", &a->answer);
    case RT_SIO_DO_DROP:
        return compile_true(c, node, "`drop` is true");
    case RT_SIO_DO_CLOSE:
        return compile_true(c, node, "`close` is true");
    case RT_SIO_DO_DISCONNECT:
        return compile_disconnect(c, node, &a->disconnect.close);
    case RT_SIO_DO_REFUSE:
        return compile_refuse(c, node, &a->refuse);
    case RT_SIO_DO_WHEN:
        return compile_when(c, node, &a->when);
    }
    return false;
}

static bool answers(const struct rt_sio_action *a)
{
    switch (a->kind) {
    case RT_SIO_DO_PUBLISH:
    case RT_SIO_DO_ANSWER:
    case RT_SIO_DO_DROP:
        return true;
    case RT_SIO_DO_EMIT:
        return a->emit.answered.answers || a->emit.timed_out.answers;
    case RT_SIO_DO_WHEN:
        return a->when.then.answers || a->when.otherwise.answers;
    default:
        return false;
    }
}

static bool compile_action(struct rt_sio_compile *c, const struct rt_node *node,
                           struct rt_sio_action *action)
{
    if (node->kind != RT_NODE_MAP || node->count != 1)
        return wrong(c, node, "an action is a map with one key, such as `join: ROOM`");
    const struct rt_node *key = node->keys[0];
    for (size_t i = 0; action_names[i]; i++) {
        if (rt_str_eq(key->text, rt_str_c(action_names[i]))) {
            action->kind = (enum rt_sio_action_kind)i;
            return compile_kind(c, key, node->items[0], action);
        }
    }
    const char *near = rt_conf_suggest(key->text, action_names);
    char seen[64];
    rt_conf_error(c->errors, &key->mark,
                  "unknown action %s%s%s%s; there are join leave publish emit ack drop disconnect "
                  "close refuse when",
                  rt_node_seen(key, seen), near ? ": did you mean " : "", near ? near : "",
                  near ? "?" : "");
    return false;
}

bool rt_sio_actions_compile(struct rt_sio_compile *c, const struct rt_node *node, const char *what,
                            struct rt_sio_actions *ret_actions)
{
    if (!node)
        return true;
    if (node->kind != RT_NODE_LIST) {
        char seen[64];
        rt_conf_error(c->errors, &node->mark, "`%s` is a list of actions, not %s", what,
                      rt_node_seen(node, seen));
        return false;
    }
    if (c->depth >= RT_SIO_MAX_DEPTH)
        return wrong(c, node, "actions are nested too deeply");
    struct rt_sio_action *items = rt_sio_alloc(c, node->count + 1, sizeof(*items));
    bool good = items != NULL;
    c->depth++;
    for (size_t i = 0; items && i < node->count; i++) {
        good &= compile_action(c, node->items[i], &items[i]);
        ret_actions->answers |= answers(&items[i]);
    }
    c->depth--;
    ret_actions->items = items;
    ret_actions->count = node->count;
    return good;
}
