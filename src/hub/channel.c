/* Channel objects, their groups of subscribers, and the subscriptions.
 *
 * A subscription is two indexes that point at each other: the subscriber's array says (channel, index in group), the group's dense
 * array says (subscriber, index in subscriber). Removal swaps the last one in on both sides and mends the one pointer that moved. */
#include "hub/internal.h"

#include <assert.h>

#include "base/alloc.h"

#define GROUP_FIRST_CAP 2

struct rt_channel *rt_channel_new(struct rt_hub *hub, struct rt_str name)
{
    struct rt_channel *c = rt_calloc(1, sizeof(*c) + name.len + 1);
    if (!c)
        return NULL;
    c->hub = hub;
    c->name_len = (uint32_t)name.len;
    memcpy(c->name, name.ptr, name.len);
    c->rule = hub->options.rule_of(hub->options.arg, name);
    rt_list_init(&c->dirty);
    rt_list_init(&c->unused);
    if (rt_map_put(&hub->channels, c)) {
        rt_free(c);
        return NULL;
    }
    if (rt_list_empty(&c->rule->link))
        rt_list_push(&hub->rules, &c->rule->link);
    rt_channel_review(c);
    return c;
}

static void free_group(struct rt_group *g)
{
    rt_bytes_unref(g->run);
    rt_group_drop_marks(g);
    rt_free(g->members);
    rt_free(g->marks);
    rt_free(g);
}

void rt_channel_free(struct rt_channel *c)
{
    assert(c->subscribers == 0 && c->pins == 0);
    rt_channel_drop_all(c);
    for (uint32_t i = 0; i < c->group_count; i++)
        free_group(c->groups[i]);
    rt_free(c->groups);
    rt_free(c->kept);
    rt_list_remove(&c->dirty);
    rt_list_remove(&c->unused);
    c->hub->unused_bytes -= c->charged;
    if (c->hub->ordered_dirty == c)
        c->hub->ordered_dirty = NULL;
    rt_free(c);
}

static void set_use(struct rt_channel *c, enum rt_channel_use use)
{
    struct rt_hub *hub = c->hub;
    if (use == RT_CHANNEL_IDLE && c->use == use && !rt_list_empty(&c->unused))
        return;
    c->use = use;
    rt_list_remove(&c->unused);
    if (use == RT_CHANNEL_USED)
        return;
    c->idle_since = hub->now;
    rt_list_push(use == RT_CHANNEL_IDLE ? &hub->idle : &hub->keeping, &c->unused);
}

void rt_channel_review(struct rt_channel *c)
{
    if (c->subscribers > 0 || c->pins > 0)
        set_use(c, RT_CHANNEL_USED);
    else
        set_use(c, c->kept_count > 0 ? RT_CHANNEL_KEEPING : RT_CHANNEL_IDLE);
    uint32_t charge = c->subscribers > 0 ? 0 : rt_channel_cost(c);
    c->hub->unused_bytes += charge;
    c->hub->unused_bytes -= c->charged;
    c->charged = charge;
}

struct rt_str rt_channel_name(const struct rt_channel *c)
{
    return rt_str_of(c->name, c->name_len);
}

struct rt_hub_rule *rt_channel_rule(const struct rt_channel *c)
{
    return c->rule;
}

uint32_t rt_channel_subscribers(const struct rt_channel *c)
{
    return c->subscribers;
}

void rt_channel_pin(struct rt_channel *c)
{
    c->pins++;
    rt_channel_review(c);
}

void rt_channel_unpin(struct rt_channel *c)
{
    assert(c->pins > 0);
    c->pins--;
    rt_channel_review(c);
}

static struct rt_group *find_group(const struct rt_channel *c, const struct rt_encoding *encoding)
{
    for (uint32_t i = 0; i < c->group_count; i++)
        if (c->groups[i]->encoding == encoding)
            return c->groups[i];
    return NULL;
}

static struct rt_group *make_group(struct rt_channel *c, const struct rt_encoding *encoding)
{
    struct rt_group *g = find_group(c, encoding);
    if (g)
        return g;
    /* A group that has lost all its members may serve another encoding. */
    for (uint32_t i = 0; i < c->group_count; i++) {
        g = c->groups[i];
        if (g->count == 0 && !g->run && !g->walking) {
            g->encoding = encoding;
            return g;
        }
    }
    struct rt_group **groups = rt_reallocarray(c->groups, c->group_count + 1, sizeof(*groups));
    if (!groups)
        return NULL;
    c->groups = groups;
    g = rt_calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->encoding = encoding;
    c->groups[c->group_count++] = g;
    return g;
}

static int reserve_member(struct rt_group *g)
{
    if (g->count < g->cap)
        return 0;
    uint32_t cap = g->cap ? g->cap * 2 : GROUP_FIRST_CAP;
    struct rt_member *members = rt_reallocarray(g->members, cap, sizeof(*members));
    if (!members)
        return RT_ENOMEM;
    g->members = members;
    g->cap = cap;
    return 0;
}

static int reserve_subscription(struct rt_subscriber *s)
{
    if (s->count < s->cap)
        return 0;
    uint32_t cap = s->cap * 2 < 4 ? 4 : s->cap * 2;
    struct rt_subscription *subs;
    if (s->subs == &s->one) {
        subs = rt_reallocarray(NULL, cap, sizeof(*subs));
        if (subs)
            subs[0] = s->one;
    } else {
        subs = rt_reallocarray(s->subs, cap, sizeof(*subs));
    }
    if (!subs)
        return RT_ENOMEM;
    s->subs = subs;
    s->cap = cap;
    return 0;
}

/* Adds `s`, whose subs[sub] is this channel's, to a group that has room. */
static void add_member(struct rt_channel *c, struct rt_group *g, struct rt_subscriber *s,
                       uint32_t sub)
{
    s->subs[sub].channel = c;
    s->subs[sub].index = g->count;
    g->members[g->count++] =
        (struct rt_member){.subscriber = s, .from = g->run ? g->run->len : 0, .sub = sub};
    c->subscribers++;
    if (g->encoding->ordered)
        c->ordered++;
}

static void remove_member(struct rt_channel *c, struct rt_group *g, uint32_t index)
{
    if (g->walking) {
        g->members[index].subscriber = NULL; /* the walk closes the hole at its end */
        g->holes++;
    } else {
        struct rt_member *last = &g->members[--g->count];
        if (index != g->count) {
            g->members[index] = *last;
            last->subscriber->subs[last->sub].index = index;
        }
        if (g->cap > 16 && g->count < g->cap / 4) {
            struct rt_member *less = rt_reallocarray(g->members, g->cap / 2, sizeof(*less));
            if (less) {
                g->members = less;
                g->cap /= 2;
            }
        }
    }
    c->subscribers--;
    if (g->encoding->ordered) {
        c->ordered--;
        c->ordered_until = c->hub->now + c->rule->recovery;
    }
}

/* Takes subs[sub] out of the subscriber's array and mends the member that pointed at the moved one. */
static void remove_subscription(struct rt_subscriber *s, uint32_t sub)
{
    uint32_t last = --s->count;
    if (sub != last) {
        s->subs[sub] = s->subs[last];
        struct rt_group *g = find_group(s->subs[sub].channel, s->encoding);
        g->members[s->subs[sub].index].sub = sub;
    }
}

static void tell_occupied(struct rt_channel *c, bool occupied)
{
    const struct rt_hub_options *options = &c->hub->options;
    if (occupied)
        c->hub->occupied++;
    else
        c->hub->occupied--;
    if (options->occupied)
        options->occupied(options->arg, c, occupied);
}

static void leave(struct rt_subscriber *s, uint32_t sub)
{
    struct rt_channel *c = s->subs[sub].channel;
    struct rt_group *g = find_group(c, s->encoding);
    remove_member(c, g, s->subs[sub].index);
    remove_subscription(s, sub);
    c->hub->metrics.subscriptions.value--;
    if (c->subscribers == 0)
        tell_occupied(c, false);
    rt_channel_review(c);
}

static int find_subscription(const struct rt_hub *hub, const struct rt_subscriber *s,
                             struct rt_str channel)
{
    if (s->count == 0)
        return -1;
    const struct rt_channel *c = rt_map_get(&hub->channels, channel);
    if (!c)
        return -1;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->subs[i].channel == c)
            return (int)i;
    return -1;
}

void rt_subscriber_init(struct rt_subscriber *s, const struct rt_subscriber_ops *ops,
                        const struct rt_encoding *encoding)
{
    *s = (struct rt_subscriber){.ops = ops, .encoding = encoding, .cap = 1};
    s->subs = &s->one;
}

uint64_t rt_hub_identify(struct rt_hub *hub, struct rt_subscriber *s)
{
    if (s->id == 0)
        s->id = ++hub->next_id;
    return s->id;
}

struct rt_str rt_subscriber_channel(const struct rt_subscriber *s, uint32_t i)
{
    return rt_channel_name(s->subs[i].channel);
}

bool rt_hub_is_subscribed(const struct rt_hub *hub, const struct rt_subscriber *s,
                          struct rt_str channel)
{
    return find_subscription(hub, s, channel) >= 0;
}

int rt_hub_subscribe(struct rt_hub *hub, struct rt_subscriber *s, struct rt_str channel)
{
    assert(!hub->walking);
    if (find_subscription(hub, s, channel) >= 0)
        return RT_EEXIST;
    struct rt_channel *c;
    int status = rt_hub_open_channel(hub, channel, &c);
    if (status)
        return status;
    if (reserve_subscription(s))
        return RT_ENOMEM;
    struct rt_group *g = make_group(c, s->encoding);
    if (!g || reserve_member(g))
        return RT_ENOMEM;
    (void)rt_hub_identify(hub, s);
    s->subs[s->count].joined = (uint32_t)hub->stamp;
    add_member(c, g, s, s->count++);
    hub->metrics.subscriptions.value++;
    if (c->subscribers == 1)
        tell_occupied(c, true);
    rt_channel_review(c);
    return 0;
}

int rt_hub_unsubscribe(struct rt_hub *hub, struct rt_subscriber *s, struct rt_str channel)
{
    int sub = find_subscription(hub, s, channel);
    if (sub < 0)
        return RT_ENOENT;
    if (!hub->walking)
        rt_hub_catch_up(hub, s);
    /* Catching up may have cost the subscriber its subscriptions. */
    sub = find_subscription(hub, s, channel);
    if (sub >= 0)
        leave(s, (uint32_t)sub);
    return 0;
}

void rt_hub_remove(struct rt_hub *hub, struct rt_subscriber *s)
{
    (void)hub;
    while (s->count > 0)
        leave(s, s->count - 1);
    if (s->subs != &s->one)
        rt_free(s->subs);
    s->subs = &s->one;
    s->cap = 1;
}

int rt_hub_set_encoding(struct rt_hub *hub, struct rt_subscriber *s,
                        const struct rt_encoding *encoding)
{
    assert(!hub->walking);
    if (s->encoding == encoding)
        return 0;
    rt_hub_catch_up(hub, s);
    /* First everything that can fail, then the move. */
    for (uint32_t i = 0; i < s->count; i++) {
        struct rt_group *g = make_group(s->subs[i].channel, encoding);
        if (!g || reserve_member(g))
            return RT_ENOMEM;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        struct rt_channel *c = s->subs[i].channel;
        remove_member(c, find_group(c, s->encoding), s->subs[i].index);
        struct rt_group *g = find_group(c, encoding);
        add_member(c, g, s, i);
    }
    s->encoding = encoding;
    return 0;
}
