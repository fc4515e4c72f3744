/* The rules of the section `socketio`: which actions an event, or a client that connects to a
 * namespace, sets off.
 *
 * The first rule that matches an event wins. Exact names are found through a table whose entries
 * list, in file order, only the rules that can match that name (rules with globs among them), so
 * that the length of the file does not matter to an event. Ownership: rt_sio_rules_free(). Thread:
 * compiled at start, read on the loop. */
#ifndef RT_PROTO_SOCKETIO_RULES_H
#define RT_PROTO_SOCKETIO_RULES_H

#include "conf/config.h"
#include "proto/socketio/action.h"

struct rt_sio_rule {
    struct rt_str nsp; /* glob */
    bool any_nsp;
    bool automatic;              /* ack: auto */
    const struct rt_str *events; /* globs; on_connect: none */
    size_t event_count;
    const struct rt_sio_condition *condition; /* NULL: none */
    struct rt_sio_actions actions;
    struct rt_mark mark; /* its place in the file; the source's name lives as long as the tree */
};

struct rt_sio_rules;

/* Compiles namespaces, on_connect and events. All errors go to `errors`; RT_EINVAL when there are
 * any, RT_ENOMEM. */
int rt_sio_rules_new(const struct rt_socketio_config *config, struct rt_conf_errors *errors,
                     struct rt_sio_rules **ret_rules);
/* Warns of rules that can never run: an event whose name clients cannot send, a namespace that
 * nobody gets into, a rule behind one that takes all its events. */
void rt_sio_rules_warn(const struct rt_sio_rules *rules, struct rt_conf_errors *warnings);
void rt_sio_rules_free(struct rt_sio_rules *rules);
/* enum rt_sio_uses: what the rules need to know of a connection. */
unsigned rt_sio_rules_uses(const struct rt_sio_rules *rules);
/* May clients connect to this namespace? */
bool rt_sio_rules_namespace(const struct rt_sio_rules *rules, struct rt_str nsp);

/* Walks the rules that may match, in file order; conditions are the caller's to ask. Start with
 * `*pos` 0; NULL at the end. */
const struct rt_sio_rule *rt_sio_rules_connect(const struct rt_sio_rules *rules, struct rt_str nsp,
                                               size_t *pos);
struct rt_sio_rule_walk {
    const struct rt_sio_rule *const *items;
    size_t count;
    size_t at;
    bool matched; /* the names of these rules match already */
    struct rt_str nsp, event;
};
void rt_sio_rules_event(const struct rt_sio_rules *rules, struct rt_str nsp, struct rt_str event,
                        struct rt_sio_rule_walk *ret_walk);
const struct rt_sio_rule *rt_sio_rule_next(struct rt_sio_rule_walk *walk);

#endif
