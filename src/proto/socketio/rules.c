#include "proto/socketio/rules.h"

#include "base/alloc.h"
#include "base/map.h"
#include "proto/socketio/packet.h"

/* The rules that can match events of one name. */
struct entry {
    struct rt_str name;
    const struct rt_sio_rule **rules;
    size_t count;
};

struct rt_sio_rules {
    struct rt_arena arena;
    const struct rt_socketio_config *config;
    unsigned uses;
    struct rt_sio_rule *connect;
    size_t connect_count;
    struct rt_sio_rule *events;
    size_t event_count;
    struct rt_map names; /* of struct entry */
    struct entry others; /* for names that no rule has exactly: the rules with globs */
};

static struct rt_str name_of_entry(const void *value)
{
    return ((const struct entry *)value)->name;
}

static bool is_glob(struct rt_str name)
{
    return name.len && (memchr(name.ptr, '*', name.len) || memchr(name.ptr, '?', name.len));
}

/* ---- compiling ---- */

static struct rt_str compile_name(struct rt_sio_compile *c, const struct rt_node *node,
                                  const char *what)
{
    if (node->kind == RT_NODE_SCALAR && !rt_node_is_null(node))
        return rt_sio_keep(c, node->text);
    char seen[64];
    rt_conf_error(c->errors, &node->mark, "`%s` is a name, in which * and ? are wildcards, not %s",
                  what, rt_node_seen(node, seen));
    return RT_STR_NONE;
}

static bool compile_events(struct rt_sio_compile *c, const struct rt_node *node,
                           struct rt_sio_rule *rule)
{
    static const struct rt_str any = {"*", 1};
    if (!node) {
        rule->events = &any;
        rule->event_count = 1;
        return true;
    }
    const struct rt_node *const *items;
    size_t count = rt_sio_items(&node, &items);
    struct rt_str *names = rt_sio_alloc(c, count + 1, sizeof(*names));
    bool good = names != NULL;
    for (size_t i = 0; names && i < count; i++) {
        names[i] = compile_name(c, items[i], "event");
        good &= names[i].ptr != NULL;
    }
    if (count == 0)
        rt_conf_error(c->errors, &node->mark, "`event` is a name or a list of names");
    rule->events = names;
    rule->event_count = count;
    return good && count > 0;
}

static bool compile_ack(struct rt_sio_compile *c, const struct rt_node *node, bool *ret_automatic)
{
    *ret_automatic = true;
    if (!node || (node->kind == RT_NODE_SCALAR && rt_str_eq(node->text, RT_STR("auto"))))
        return true;
    *ret_automatic = false;
    if (node->kind == RT_NODE_SCALAR && rt_str_eq(node->text, RT_STR("none")))
        return true;
    char seen[64];
    rt_conf_error(c->errors, &node->mark, "`ack` of a rule is auto or none, not %s",
                  rt_node_seen(node, seen));
    return false;
}

static void compile_rule(struct rt_sio_compile *c, const struct rt_node *node,
                         struct rt_sio_rule *rule)
{
    static const char *const event_keys[] = {"namespace", "event", "if", "do", "ack", NULL};
    static const char *const connect_keys[] = {"namespace", "if", "do", NULL};
    if (!rt_sio_check_keys(c, node, "a rule", c->connecting ? connect_keys : event_keys))
        return;
    rule->mark = node->mark;
    const struct rt_node *nsp = rt_node_get(node, "namespace");
    rule->nsp = nsp ? compile_name(c, nsp, "namespace") : RT_STR("*");
    rule->any_nsp = rt_str_eq(rule->nsp, RT_STR("*"));
    if (!c->connecting) {
        (void)compile_events(c, rt_node_get(node, "event"), rule);
        (void)compile_ack(c, rt_node_get(node, "ack"), &rule->automatic);
    }
    const struct rt_node *condition = rt_node_get(node, "if"), *list = rt_node_get(node, "do");
    if (condition)
        rule->condition = rt_sio_condition_compile(c, condition);
    if (!list)
        rt_conf_error(c->errors, &node->mark, "a rule wants a list of actions in `do`");
    else
        (void)rt_sio_actions_compile(c, list, "do", &rule->actions);
}

static size_t compile_rules(struct rt_sio_compile *c, const struct rt_node *list, const char *what,
                            struct rt_sio_rule **ret_rules)
{
    if (!list || rt_node_is_null(list))
        return 0;
    if (list->kind != RT_NODE_LIST) {
        char seen[64];
        rt_conf_error(c->errors, &list->mark, "%s is a list of rules, not %s", what,
                      rt_node_seen(list, seen));
        return 0;
    }
    struct rt_sio_rule *rules = rt_sio_alloc(c, list->count + 1, sizeof(*rules));
    for (size_t i = 0; rules && i < list->count; i++)
        compile_rule(c, list->items[i], &rules[i]);
    *ret_rules = rules;
    return rules ? list->count : 0;
}

static bool matches_name(const struct rt_sio_rule *rule, struct rt_str event)
{
    for (size_t i = 0; i < rule->event_count; i++) {
        if (rt_glob_match(rule->events[i], event))
            return true;
    }
    return false;
}

static bool has_glob(const struct rt_sio_rule *rule)
{
    for (size_t i = 0; i < rule->event_count; i++) {
        if (is_glob(rule->events[i]))
            return true;
    }
    return false;
}

static bool belongs(const struct rt_sio_rule *rule, struct rt_str name)
{
    return name.ptr ? matches_name(rule, name) : has_glob(rule);
}

/* Lists the rules for `name`, or, without one, those with globs. */
static bool fill_entry(struct rt_sio_compile *c, struct rt_sio_rules *r, struct rt_str name,
                       struct entry *entry)
{
    size_t count = 0;
    for (size_t i = 0; i < r->event_count; i++)
        count += belongs(&r->events[i], name);
    entry->name = name;
    entry->rules = rt_sio_alloc(c, count + 1, sizeof(*entry->rules));
    for (size_t i = 0; entry->rules && i < r->event_count; i++) {
        if (belongs(&r->events[i], name))
            entry->rules[entry->count++] = &r->events[i];
    }
    return entry->rules != NULL;
}

static int index_name(struct rt_sio_compile *c, struct rt_sio_rules *r, struct rt_str name)
{
    if (is_glob(name) || rt_map_get(&r->names, name))
        return 0;
    struct entry *entry = rt_sio_alloc(c, 1, sizeof(*entry));
    if (!entry || !fill_entry(c, r, name, entry))
        return RT_ENOMEM;
    return rt_map_put(&r->names, entry);
}

static int index_rules(struct rt_sio_compile *c, struct rt_sio_rules *r)
{
    if (!fill_entry(c, r, RT_STR_NONE, &r->others))
        return RT_ENOMEM;
    for (size_t i = 0; i < r->event_count; i++) {
        for (size_t j = 0; j < r->events[i].event_count; j++) {
            if (index_name(c, r, r->events[i].events[j]) != 0)
                return RT_ENOMEM;
        }
    }
    return 0;
}

int rt_sio_rules_new(const struct rt_socketio_config *config, struct rt_conf_errors *errors,
                     struct rt_sio_rules **ret_rules)
{
    struct rt_sio_rules *r = rt_calloc(1, sizeof(*r));
    if (!r)
        return RT_ENOMEM;
    r->config = config;
    rt_map_init(&r->names, name_of_entry);
    struct rt_sio_compile c = {.errors = errors, .arena = &r->arena, .connecting = true};
    size_t before = errors->count + errors->dropped;
    r->connect_count = compile_rules(&c, config->on_connect, "socketio.on_connect", &r->connect);
    c.connecting = false;
    c.has_event = c.has_args = true;
    r->event_count = compile_rules(&c, config->events, "socketio.events", &r->events);
    r->uses = c.uses;
    int status = c.nomem || errors->nomem                   ? RT_ENOMEM
                 : errors->count + errors->dropped > before ? RT_EINVAL
                                                            : index_rules(&c, r);
    if (status != 0) {
        rt_sio_rules_free(r);
        return status;
    }
    *ret_rules = r;
    return 0;
}

void rt_sio_rules_free(struct rt_sio_rules *rules)
{
    if (!rules)
        return;
    rt_map_deinit(&rules->names);
    rt_arena_deinit(&rules->arena);
    rt_free(rules);
}

unsigned rt_sio_rules_uses(const struct rt_sio_rules *rules)
{
    return rules->uses;
}

/* ---- rules that never run ---- */

/* Does `glob` match whatever `name`, itself a glob perhaps, does? Only what is plain to see counts. */
static bool covers(struct rt_str glob, struct rt_str name)
{
    return rt_str_eq(glob, RT_STR("*")) || rt_str_eq(glob, name) ||
           (!is_glob(name) && rt_glob_match(glob, name));
}

static bool takes_all(const struct rt_sio_rule *rule, struct rt_str nsp, struct rt_str event)
{
    if (rule->condition || !covers(rule->nsp, nsp))
        return false;
    for (size_t i = 0; i < rule->event_count; i++) {
        if (covers(rule->events[i], event))
            return true;
    }
    return false;
}

/* The rule before `rule` that leaves it nothing of this event; NULL: there is none. */
static const struct rt_sio_rule *taker_of(const struct rt_sio_rules *rules,
                                          const struct rt_sio_rule *rule, struct rt_str event)
{
    const struct entry *entry = is_glob(event) ? NULL : rt_map_get(&rules->names, event);
    if (!entry)
        entry = &rules->others;
    for (size_t i = 0; i < entry->count && entry->rules[i] < rule; i++) {
        if (takes_all(entry->rules[i], rule->nsp, event))
            return entry->rules[i];
    }
    return NULL;
}

static void warn_of_event(const struct rt_sio_rules *rules, const struct rt_sio_rule *rule,
                          struct rt_str event, struct rt_conf_errors *warnings)
{
    const struct rt_sio_rule *taker = taker_of(rules, rule, event);
    if (rt_sio_reserved(event))
        rt_conf_error(warnings, &rule->mark,
                      "socketio.events: this rule never runs for \"%.*s\": the name is Socket.IO's "
                      "own, and clients cannot send such an event",
                      RT_STR_ARG(event));
    else if (taker)
        rt_conf_error(
            warnings, &rule->mark,
            "socketio.events: this rule never runs for \"%.*s\": the rule in line %u takes "
            "all of these events; put the special one first",
            (int)(event.len < 80 ? event.len : 80), event.ptr, (unsigned)taker->mark.line);
}

static void warn_of_namespace(const struct rt_sio_rules *rules, const struct rt_sio_rule *rule,
                              struct rt_conf_errors *warnings)
{
    if (!is_glob(rule->nsp) && !rt_sio_rules_namespace(rules, rule->nsp))
        rt_conf_error(warnings, &rule->mark,
                      "this rule never runs: nobody gets into the namespace \"%.*s\"; add it to "
                      "socketio.namespaces",
                      (int)(rule->nsp.len < 80 ? rule->nsp.len : 80), rule->nsp.ptr);
}

void rt_sio_rules_warn(const struct rt_sio_rules *rules, struct rt_conf_errors *warnings)
{
    for (size_t i = 0; i < rules->connect_count; i++)
        warn_of_namespace(rules, &rules->connect[i], warnings);
    for (size_t i = 0; i < rules->event_count; i++) {
        const struct rt_sio_rule *rule = &rules->events[i];
        warn_of_namespace(rules, rule, warnings);
        for (size_t j = 0; j < rule->event_count; j++)
            warn_of_event(rules, rule, rule->events[j], warnings);
    }
}

/* ---- matching ---- */

bool rt_sio_rules_namespace(const struct rt_sio_rules *rules, struct rt_str nsp)
{
    const struct rt_strings *globs = &rules->config->namespaces;
    for (size_t i = 0; i < globs->count; i++) {
        if (rt_glob_match(rt_str_c(globs->items[i]), nsp))
            return true;
    }
    return false;
}

static bool matches_namespace(const struct rt_sio_rule *rule, struct rt_str nsp)
{
    return rule->any_nsp || rt_glob_match(rule->nsp, nsp);
}

const struct rt_sio_rule *rt_sio_rules_connect(const struct rt_sio_rules *rules, struct rt_str nsp,
                                               size_t *pos)
{
    while (*pos < rules->connect_count) {
        const struct rt_sio_rule *rule = &rules->connect[(*pos)++];
        if (matches_namespace(rule, nsp))
            return rule;
    }
    return NULL;
}

void rt_sio_rules_event(const struct rt_sio_rules *rules, struct rt_str nsp, struct rt_str event,
                        struct rt_sio_rule_walk *ret_walk)
{
    const struct entry *entry = rt_map_get(&rules->names, event);
    bool known = entry != NULL;
    if (!known)
        entry = &rules->others;
    *ret_walk = (struct rt_sio_rule_walk){
        .items = entry->rules, .count = entry->count, .matched = known, .nsp = nsp, .event = event};
}

const struct rt_sio_rule *rt_sio_rule_next(struct rt_sio_rule_walk *walk)
{
    while (walk->at < walk->count) {
        const struct rt_sio_rule *rule = walk->items[walk->at++];
        if (matches_namespace(rule, walk->nsp) &&
            (walk->matched || matches_name(rule, walk->event)))
            return rule;
    }
    return NULL;
}
