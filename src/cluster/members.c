#include "cluster/members.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/rand.h"
#include "cluster/wire.h"
#include "json/scan.h"

#define MEMBERS_MAX 1000u
#define ESTABLISHED 1u
#define ECHO_LEN    16u

/* See members.h for the diagram. */
enum state { HEARD, PROVEN, GONE };

struct member {
    struct rt_list link; /* members->by_age or members->gone */
    uint64_t instance, heard;
    uint64_t challenge; /* what it wants to be repeated */
    uint64_t rules;
    enum state state;
    bool stranger;    /* another log under the same cluster.name */
    bool replaced;    /* another instance has announced itself under its name since */
    uint64_t top;     /* number of its last envelope that was taken */
    int64_t ahead[2]; /* its clock, by its last two announcements, ms; INT64_MIN none */
    char *text;       /* name, then JSON */
    size_t name_len, json_len;
};

/* What an announcement says. */
struct hello {
    uint64_t challenge, started, rules, log, asked;
    bool established;
    struct rt_str echoes;
};

static struct rt_str key_of(const void *value)
{
    const struct member *n = value;
    return rt_str_of(&n->instance, sizeof(n->instance));
}

static struct rt_str name_of(const struct member *n)
{
    return rt_str_of(n->text, n->name_len);
}

static struct member *find(const struct rt_members *m, uint64_t instance)
{
    return rt_map_get(&m->by_instance, rt_str_of(&instance, sizeof(instance)));
}

static bool is_node(const struct member *n)
{
    return n->state == PROVEN && !n->replaced && !n->stranger;
}

static bool is_proven(const struct member *n)
{
    return n->state != HEARD;
}

static void set_state(struct member *n, enum state state)
{
    assert(n->state == PROVEN ? state == GONE : state == PROVEN);
    n->state = state;
}

static bool differs(const struct rt_members *m, const struct member *n)
{
    return is_node(n) && n->rules != m->rules;
}

/* ---- life ---- */

static double count_nodes(void *arg)
{
    const struct rt_members *m = arg;
    unsigned count = 1;
    rt_list_for(node, &m->by_age)
        count += is_node(RT_CONTAINER(node, struct member, link));
    return count;
}

static double count_differing(void *arg)
{
    const struct rt_members *m = arg;
    unsigned count = 0;
    rt_list_for(node, &m->by_age)
        count += differs(m, RT_CONTAINER(node, struct member, link));
    return count;
}

static double read_clock(void *arg)
{
    return (double)rt_members_clock(arg) / 1000;
}

bool rt_members_differ(const struct rt_members *m)
{
    return count_differing((void *)(uintptr_t)m) > 0;
}

static uint64_t make_number(void)
{
    uint64_t number = 0;
    while (number == 0)
        rt_random(&number, sizeof(number));
    return number;
}

void rt_members_init(struct rt_members *m, const char *node, uint64_t started)
{
    *m = (struct rt_members){
        .node = node, .instance = make_number(), .challenge = make_number(), .started = started};
    rt_map_init(&m->by_instance, key_of);
    rt_list_init(&m->by_age);
    rt_list_init(&m->gone);
}

void rt_members_register(struct rt_members *m, struct rt_metrics *metrics)
{
    m->count = (struct rt_metric){.name = "cluster_nodes",
                                  .help = "Nodes that are heard, this one included.",
                                  .type = RT_GAUGE,
                                  .read = count_nodes,
                                  .arg = m};
    m->rules_differ =
        (struct rt_metric){.name = "cluster_rules_differ",
                           .help = "Nodes whose rules in `channels` are not this one's.",
                           .type = RT_GAUGE,
                           .read = count_differing,
                           .arg = m};
    m->name_conflicts = (struct rt_metric){
        .name = "cluster_name_conflicts_total",
        .help = "Announcements of processes that use one node.name at the same time.",
        .type = RT_COUNTER};
    rt_metrics_register(metrics, &m->count);
    m->clock = (struct rt_metric){.name = "cluster_clock_ahead_seconds",
                                  .help = "By how much this node's clock is ahead of the other "
                                          "nodes' (their median); below 0: behind.",
                                  .type = RT_GAUGE,
                                  .read = read_clock,
                                  .arg = m};
    rt_metrics_register(metrics, &m->clock);
    rt_metrics_register(metrics, &m->rules_differ);
    rt_metrics_register(metrics, &m->name_conflicts);
}

static void forget(struct rt_members *m, struct member *n)
{
    if (is_proven(n)) /* or what it said once would count again */
        m->challenge = make_number();
    rt_map_remove(&m->by_instance, key_of(n));
    rt_list_remove(&n->link);
    rt_free(n->text);
    rt_free(n);
}

static void forget_all(struct rt_members *m, struct rt_list *list)
{
    while (!rt_list_empty(list))
        forget(m, RT_CONTAINER(list->next, struct member, link));
}

void rt_members_deinit(struct rt_members *m)
{
    forget_all(m, &m->by_age);
    forget_all(m, &m->gone);
    rt_map_deinit(&m->by_instance);
}

static void leave(struct rt_members *m, struct member *n, enum rt_log_level level, const char *msg)
{
    if (n->state == GONE)
        return; /* it was not heard for long, and says goodbye now */
    if (is_node(n))
        rt_log(level, "cluster", msg, rt_kv_str("peer", name_of(n)));
    n->replaced = false;
    if (!is_proven(n)) {
        forget(m, n);
        return;
    }
    set_state(n, GONE);
    rt_list_remove(&n->link);
    rt_list_push(&m->gone, &n->link);
}

void rt_members_expire(struct rt_members *m, uint64_t now)
{
    while (!rt_list_empty(&m->by_age)) {
        struct member *n = RT_CONTAINER(m->by_age.next, struct member, link);
        if (now - n->heard < RT_MEMBER_GONE_MS)
            return;
        leave(m, n, RT_LOG_WARN, "a node is no longer heard");
    }
}

/* ---- announcements ---- */

void rt_members_write(const struct rt_members *m, struct rt_buf *out)
{
    rt_wire_add_u64(out, m->challenge);
    rt_wire_add_u64(out, m->started);
    rt_wire_add_u64(out, m->rules);
    rt_wire_add_u64(out, m->log);
    rt_buf_add_byte(out, m->established ? ESTABLISHED : 0);
    rt_wire_add_u64(out, m->asked);
    rt_list_for(node, &m->by_age) {
        const struct member *n = RT_CONTAINER(node, struct member, link);
        rt_wire_add_u64(out, n->instance);
        rt_wire_add_u64(out, n->challenge);
    }
}

static bool read_hello(struct rt_str bytes, struct hello *ret)
{
    struct rt_wire r = rt_wire_of(bytes);
    struct hello h = {.challenge = rt_wire_read_u64(&r)};
    h.started = rt_wire_read_u64(&r);
    h.rules = rt_wire_read_u64(&r);
    h.log = rt_wire_read_u64(&r);
    h.established = rt_wire_read_u8(&r) & ESTABLISHED;
    h.asked = rt_wire_read_u64(&r);
    h.echoes = rt_str_of(r.at, r.left);
    *ret = h;
    return !r.bad && r.left % ECHO_LEN == 0;
}

static bool repeats_ours(const struct rt_members *m, const struct hello *h)
{
    struct rt_wire r = rt_wire_of(h->echoes);
    while (r.left > 0) {
        bool us = rt_wire_read_u64(&r) == m->instance;
        if (rt_wire_read_u64(&r) == m->challenge && us)
            return true;
    }
    return false;
}

/* False: it was taken already, or overtaken. */
static bool take_number(struct member *n, uint64_t sequence)
{
    if (sequence <= n->top)
        return false;
    n->top = sequence;
    return true;
}

/* NULL: there are too many, or no memory; it announces itself again. */
static struct member *add(struct rt_members *m, uint64_t instance)
{
    if (m->by_instance.count >= MEMBERS_MAX && !rt_list_empty(&m->gone))
        forget(m, RT_CONTAINER(m->gone.next, struct member, link));
    struct member *n = m->by_instance.count < MEMBERS_MAX ? rt_calloc(1, sizeof(*n)) : NULL;
    if (!n)
        return NULL;
    n->instance = instance;
    n->ahead[0] = n->ahead[1] = INT64_MIN;
    rt_list_init(&n->link);
    if (rt_map_put(&m->by_instance, n)) {
        rt_free(n);
        return NULL;
    }
    return n;
}

/* False: no memory, what it had stays. */
static bool set_text(struct member *n, struct rt_str name, struct rt_str json)
{
    char *text = rt_malloc(name.len + json.len);
    if (!text)
        return false;
    memcpy(text, name.ptr, name.len);
    memcpy(text + name.len, json.ptr, json.len);
    rt_free(n->text);
    n->text = text;
    n->name_len = name.len;
    n->json_len = json.len;
    return true;
}

/* By what it says now; it may come to another answer by what it has heard of us. */
static bool is_first(const struct rt_members *m, const struct member *n, const struct hello *h)
{
    if (m->established != h->established)
        return m->established;
    return m->started != h->started ? m->started < h->started : m->instance < n->instance;
}

/* Another living process has this node's name. */
static enum rt_hearing share_name(struct rt_members *m, struct member *n, const struct hello *h)
{
    n->replaced = true; /* no node beside this one */
    m->name_conflicts.value++;
    if (h->asked == m->instance && (m->asked != n->instance || m->instance > n->instance))
        return RT_HEARD_TAKEN;
    if (m->asked == n->instance || !is_first(m, n, h))
        return RT_HEARD;
    m->asked = n->instance;
    rt_log(RT_LOG_WARN, "cluster", "another process has this node's name: it is asked to stop");
    return RT_HEARD_NEWS;
}

/* The one that spoke last counts; when the other one speaks again both are alive. */
static void look_for_name(struct rt_members *m, struct member *n)
{
    if (n->replaced) {
        m->name_conflicts.value++;
        rt_log(RT_LOG_WARN, "cluster",
               "two processes have one node.name: messages of channels with log: false get lost "
               "between their clients; set a name of its own on each",
               rt_kv_str("peer", name_of(n)));
    }
    n->replaced = false;
    rt_list_for(node, &m->by_age) {
        struct member *other = RT_CONTAINER(node, struct member, link);
        if (other != n && is_proven(other) && rt_str_eq(name_of(other), name_of(n)))
            other->replaced = true;
    }
}

static void look_at_rules(const struct rt_members *m, const struct member *n, uint64_t rules)
{
    if (rules != m->rules && (n->rules != rules || !is_proven(n)))
        rt_log(
            RT_LOG_WARN, "cluster",
            "a node has other rules in `channels` (match, log, deliver): messages between it and "
            "this one on channels that only one of them logs come without a position, and are in "
            "no history or not in all; give all nodes the same rules",
            rt_kv_str("peer", name_of(n)));
}

/* A proven instance says how it is. */
static enum rt_hearing update(struct rt_members *m, struct member *n, const struct hello *h)
{
    n->stranger = h->log != 0 && m->log != 0 && h->log != m->log;
    if (n->stranger)
        return RT_HEARD;
    n->rules = h->rules;
    if (!rt_str_eq(name_of(n), rt_str_c(m->node))) {
        look_for_name(m, n);
        return RT_HEARD;
    }
    return share_name(m, n, h);
}

static void prove(struct rt_members *m, struct member *n, const struct rt_parcel *p,
                  const struct hello *h)
{
    n->top = p->sequence;
    look_at_rules(m, n, h->rules);
    n->rules = h->rules;
    set_state(n, PROVEN);
    if (!rt_str_eq(p->node, rt_str_c(m->node)))
        rt_log(RT_LOG_INFO, "cluster", "a node joined", rt_kv_str("peer", p->node));
}

enum rt_hearing rt_members_hear(struct rt_members *m, const struct rt_parcel *p, uint64_t now)
{
    struct rt_str json = p->message.data;
    struct member *n = find(m, p->instance);
    struct hello h;
    if (n && is_proven(n) && !take_number(n, p->sequence))
        return RT_HEARD_AGAIN;
    if (json.len == 0) {
        if (n)
            leave(m, n, RT_LOG_INFO, "a node left");
        return RT_HEARD;
    }
    if (!read_hello(p->message.key, &h) || p->node.len == 0 ||
        rt_json_check(json, RT_JSON_ENVELOPE, &json, NULL) || rt_json_kind(json) != RT_JSON_OBJECT)
        return RT_HEARD_NOTHING;
    if (!n && !(n = add(m, p->instance)))
        return RT_HEARD;
    bool news = n->challenge != h.challenge;
    if (!set_text(n, p->node, json) && !n->text) {
        forget(m, n);
        return RT_HEARD;
    }
    n->challenge = h.challenge;
    n->heard = now;
    if (n->state == GONE) {
        rt_log(RT_LOG_INFO, "cluster", "a node is heard again", rt_kv_str("peer", p->node));
        set_state(n, PROVEN);
    }
    rt_list_remove(&n->link);
    rt_list_push(&m->by_age, &n->link);
    if (is_proven(n))
        look_at_rules(m, n, h.rules);
    else if (repeats_ours(m, &h))
        prove(m, n, p, &h);
    enum rt_hearing heard = is_proven(n) ? update(m, n, &h) : RT_HEARD;
    return heard == RT_HEARD && news ? RT_HEARD_NEWS : heard;
}

/* ---- clocks ---- */

static int64_t ahead_of(const struct member *n)
{
    return n->ahead[0] > n->ahead[1] ? n->ahead[0] : n->ahead[1];
}

static bool has_clock(const struct member *n)
{
    return is_node(n) && n->ahead[0] != INT64_MIN;
}

void rt_members_note_clock(struct rt_members *m, const struct rt_parcel *p, uint64_t wall)
{
    struct member *n = find(m, p->instance);
    if (!n || p->message.time == 0)
        return;
    n->ahead[1] = n->ahead[0];
    n->ahead[0] = (int64_t)(p->message.time - wall);
}

/* How many nodes' clocks are ahead of this one by less than `ms`, or by no more. */
static void rank(const struct rt_members *m, int64_t ms, unsigned *ret_less, unsigned *ret_most)
{
    *ret_less = *ret_most = 0;
    rt_list_for(node, &m->by_age) {
        const struct member *n = RT_CONTAINER(node, struct member, link);
        *ret_less += has_clock(n) && ahead_of(n) < ms;
        *ret_most += has_clock(n) && ahead_of(n) <= ms;
    }
}

int64_t rt_members_clock(const struct rt_members *m)
{
    unsigned less, most, count;
    rank(m, INT64_MAX, &less, &count);
    rt_list_for(node, &m->by_age) {
        const struct member *n = RT_CONTAINER(node, struct member, link);
        if (!has_clock(n))
            continue;
        rank(m, ahead_of(n), &less, &most);
        if (less <= (count - 1) / 2 && (count - 1) / 2 < most)
            return -ahead_of(n);
    }
    return 0;
}

enum rt_admission rt_members_admit(struct rt_members *m, const struct rt_parcel *p, bool strict)
{
    struct member *n = find(m, p->instance);
    if (n && n->stranger)
        return RT_STRANGER;
    if (!strict)
        return RT_ADMITTED;
    if (!n || !is_proven(n))
        return RT_UNPROVEN;
    return take_number(n, p->sequence) ? RT_ADMITTED : RT_REPLAYED;
}

void rt_members_each(const struct rt_members *m,
                     void (*fn)(void *arg, struct rt_str name, struct rt_str json), void *arg)
{
    rt_list_for(node, &m->by_age) {
        const struct member *n = RT_CONTAINER(node, struct member, link);
        if (is_node(n))
            fn(arg, name_of(n), rt_str_of(n->text + n->name_len, n->json_len));
    }
}
