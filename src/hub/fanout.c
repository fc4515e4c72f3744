/* Publishing into runs, and flushing runs to the members of their groups. */
#include "hub/internal.h"

#include <assert.h>

#include "base/alloc.h"

#define RUN_MIN      256u
#define RUN_MAX      (64u * 1024)
#define RUN_MESSAGES 256u
#define PREFETCH     8u

/* Delivers [from, to) of the run, but for the marked messages that this member does not get. */
static void deliver_marked(struct rt_group *g, struct rt_subscriber *s, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < g->mark_count && from < to; i++) {
        const struct rt_mark *m = &g->marks[i];
        if (m->off < from || m->off >= to)
            continue;
        if (m->except != s->id && !(m->is_volatile && !s->ops->writable(s)) &&
            !(m->copies && rt_copies_had(m->copies, m->stamp, s)) &&
            !(m->excepted && rt_excepted_has(m->excepted, m->stamp, s)))
            continue;
        if (m->off > from)
            s->ops->deliver(s, g->run, from, m->off - from);
        from = m->off + m->len;
    }
    if (from < to)
        s->ops->deliver(s, g->run, from, to - from);
}

/* Before a walk: nothing is published during it. */
static void prepare_marks(const struct rt_hub *hub, struct rt_group *g)
{
    for (uint32_t i = 0; i < g->mark_count; i++) {
        struct rt_mark *m = &g->marks[i];
        if (m->is_copy)
            m->copies = rt_hub_find_copies(hub, m->copy_id);
        if (m->excepted)
            rt_excepted_find(m->excepted, hub);
    }
}

void rt_group_drop_marks(struct rt_group *g)
{
    for (uint32_t i = 0; i < g->mark_count; i++)
        rt_free(g->marks[i].excepted);
    g->mark_count = 0;
}

static void close_holes(struct rt_group *g)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        struct rt_member m = g->members[i];
        if (!m.subscriber)
            continue;
        if (kept != i) {
            g->members[kept] = m;
            m.subscriber->subs[m.sub].index = kept;
        }
        kept++;
    }
    g->count = kept;
    g->holes = 0;
}

static void flush_group(struct rt_hub *hub, struct rt_group *g)
{
    struct rt_bytes *run = g->run;
    if (!run)
        return;
    uint32_t to = run->len, count = g->count;
    prepare_marks(hub, g);
    g->walking = hub->walking = true;
    for (uint32_t i = 0; i < count; i++) {
        if (i + PREFETCH < count)
            __builtin_prefetch(g->members[i + PREFETCH].subscriber);
        struct rt_member *m = &g->members[i];
        struct rt_subscriber *s = m->subscriber;
        uint32_t from = m->from;
        if (from > 0)
            m->from = 0;
        if (!s || from >= to)
            continue;
        if (g->mark_count == 0)
            s->ops->deliver(s, run, from, to - from);
        else
            deliver_marked(g, s, from, to);
    }
    g->walking = hub->walking = false;
    if (g->holes > 0)
        close_holes(g);
    hub->metrics.delivered.value += (uint64_t)count * g->messages;
    g->hint = to;
    g->run = NULL;
    g->messages = 0;
    rt_group_drop_marks(g);
    rt_bytes_unref(run);
}

void rt_channel_flush(struct rt_channel *c)
{
    assert(!c->hub->walking);
    rt_list_remove(&c->dirty);
    if (c->hub->ordered_dirty == c)
        c->hub->ordered_dirty = NULL;
    for (uint32_t i = 0; i < c->group_count; i++)
        flush_group(c->hub, c->groups[i]);
}

void rt_hub_flush(struct rt_hub *hub)
{
    struct rt_list *node;
    while ((node = rt_list_pop(&hub->dirty)))
        rt_channel_flush(RT_CONTAINER(node, struct rt_channel, dirty));
}

bool rt_hub_dirty(const struct rt_hub *hub)
{
    return !rt_list_empty(&hub->dirty);
}

void rt_hub_catch_up(struct rt_hub *hub, struct rt_subscriber *s)
{
    assert(!hub->walking);
    if (rt_list_empty(&hub->dirty))
        return;
    hub->walking = true; /* the same rules as in a flush */
    for (uint32_t i = 0; i < s->count; i++) {
        struct rt_channel *c = s->subs[i].channel;
        if (rt_list_empty(&c->dirty))
            continue;
        for (uint32_t j = 0; j < c->group_count; j++) {
            struct rt_group *g = c->groups[j];
            if (g->encoding != s->encoding || !g->run)
                continue;
            struct rt_member *m = &g->members[s->subs[i].index];
            uint32_t from = m->from;
            m->from = g->run->len;
            if (from >= m->from)
                continue;
            prepare_marks(hub, g);
            deliver_marked(g, s, from, m->from);
        }
    }
    hub->walking = false;
}

/* Room for `len` bytes in the group's run. A full run is delivered first. */
static int reserve_run(struct rt_channel *c, struct rt_group *g, size_t len)
{
    if (g->run && (g->run->cap - g->run->len < len || g->messages >= RUN_MESSAGES)) {
        uint32_t size = g->run->len;
        flush_group(c->hub, g);
        g->hint = size < RUN_MAX / 2 ? size * 2 : RUN_MAX; /* a busy turn: larger pieces */
    }
    if (g->run)
        return 0;
    size_t cap = RUN_MIN;
    while (cap < g->hint && cap < RUN_MAX)
        cap *= 2;
    g->run = rt_bytes_new(cap < len ? len : cap);
    return g->run ? 0 : RT_ENOMEM;
}

static int mark(struct rt_group *g, const struct rt_message *m, uint32_t len, bool is_copy)
{
    if (g->mark_count == g->mark_cap) {
        uint32_t cap = g->mark_cap ? g->mark_cap * 2 : 4;
        struct rt_mark *marks = rt_reallocarray(g->marks, cap, sizeof(*marks));
        if (!marks)
            return RT_ENOMEM;
        g->marks = marks;
        g->mark_cap = cap;
    }
    bool leaves_out = m->except_in.len > 0 && g->encoding->rooms;
    struct rt_excepted *excepted = leaves_out ? rt_excepted_new(m) : NULL;
    if (leaves_out && !excepted)
        return RT_ENOMEM;
    struct rt_mark *mark = &g->marks[g->mark_count++];
    *mark = (struct rt_mark){.off = g->run->len,
                             .len = len,
                             .except = m->except,
                             .is_volatile = (m->flags & RT_MESSAGE_VOLATILE) != 0,
                             .is_copy = is_copy,
                             .stamp = m->stamp,
                             .excepted = excepted};
    memcpy(mark->copy_id, m->id, sizeof(mark->copy_id));
    return 0;
}

static int append_to_group(struct rt_channel *c, struct rt_group *g, const struct rt_message *m)
{
    struct rt_buf *scratch = &c->hub->scratch;
    rt_buf_clear(scratch);
    g->encoding->encode(g->encoding, m, scratch);
    if (!rt_buf_ok(scratch))
        return RT_ENOMEM;
    if (scratch->len == 0)
        return 0;
    if (reserve_run(c, g, scratch->len))
        return RT_ENOMEM;
    bool is_copy = (m->flags & RT_MESSAGE_COPY) && g->encoding->rooms &&
                   rt_hub_find_copies(c->hub, m->id) != NULL;
    bool special =
        is_copy || m->except != 0 || m->except_in.len > 0 || (m->flags & RT_MESSAGE_VOLATILE);
    if (special && mark(g, m, (uint32_t)scratch->len, is_copy))
        return RT_ENOMEM;
    memcpy(g->run->data + g->run->len, scratch->data, scratch->len);
    g->run->len += (uint32_t)scratch->len;
    g->messages++;
    return 0;
}

static int fan_out(struct rt_channel *c, const struct rt_message *m)
{
    struct rt_hub *hub = c->hub;
    int status = 0;
    if (c->ordered > 0) {
        if (hub->ordered_dirty && hub->ordered_dirty != c)
            rt_channel_flush(hub->ordered_dirty);
        hub->ordered_dirty = c;
    }
    for (uint32_t i = 0; i < c->group_count; i++)
        if (c->groups[i]->count > 0 && append_to_group(c, c->groups[i], m))
            status = RT_ENOMEM;
    if (rt_list_empty(&c->dirty))
        rt_list_push(&hub->dirty, &c->dirty);
    rt_metrics_observe(&hub->metrics.fanout, c->subscribers);
    return status;
}

/* Notes the position and keeps the message where the rule says so. */
static int record(struct rt_channel *c, const struct rt_message *m, struct rt_stored *stored)
{
    uint64_t floor =
        c->rule->shared ? rt_hub_note_floor(c->hub, c->epoch, m->offset) : m->offset - 1;
    if (m->offset > c->top) {
        if (c->top == 0 && c->kept_count == 0)
            rt_channel_set_floor(c, floor);
        c->top = m->offset;
    }
    struct rt_stored *copy = NULL;
    if (c->rule->keep && !stored)
        stored = copy = rt_stored_new(m);
    int status = 0;
    if (!c->rule->keep || !stored || rt_channel_keep(c, stored)) {
        rt_channel_drop_all(c); /* no hole between kept messages */
        c->dropped_stamp = m->stamp;
        c->dropped_offset = m->offset;
        if (m->time > c->dropped_time)
            c->dropped_time = m->time;
        status = c->rule->keep ? RT_ENOMEM : 0;
    }
    rt_stored_unref(copy);
    return status;
}

static int publish(struct rt_hub *hub, struct rt_str name, struct rt_message *m,
                   struct rt_stored *stored)
{
    assert(!hub->walking);
    m->stamp = ++hub->stamp;
    hub->metrics.published.value++;
    struct rt_channel *c = rt_hub_channel(hub, name, false);
    if (!c && m->offset == 0)
        return 0; /* nobody listens, nothing to keep */
    int status = c ? 0 : rt_hub_open_channel(hub, name, &c);
    if (c && c->subscribers > 0)
        status = fan_out(c, m);
    if (status == 0 && c && c->subscribers > 0 && (m->flags & RT_MESSAGE_COPY))
        rt_hub_note_copy(hub, c, m);
    if (c && m->offset != 0 && record(c, m, stored))
        status = RT_ENOMEM;
    if (status)
        hub->metrics.failed.value++;
    return status;
}

int rt_hub_publish(struct rt_hub *hub, struct rt_str channel, struct rt_message *message)
{
    return publish(hub, channel, message, NULL);
}

int rt_hub_publish_stored(struct rt_hub *hub, struct rt_str channel, struct rt_stored *stored)
{
    return publish(hub, channel, &stored->m, stored);
}

int rt_hub_keep_stored(struct rt_hub *hub, struct rt_str channel, struct rt_stored *stored)
{
    struct rt_channel *c;
    int status = rt_hub_open_channel(hub, channel, &c);
    if (status == 0)
        status = record(c, &stored->m, stored);
    if (status)
        hub->metrics.failed.value++;
    return status;
}
