/* Recent history: which messages a channel keeps, and what it knows of those that it does not.
 *
 * Kept messages stand in two orders: by channel in a ring, and by rule in a list of all channels, oldest first. The second one finds
 * what has outlived the rule's ttl and what goes when memory is short, without looking at channels. */
#include "hub/internal.h"

#include "base/alloc.h"

#define RING_FIRST 8u

static struct rt_stored **slot(const struct rt_channel *c, uint32_t index)
{
    return &c->kept[(c->kept_first + index) & c->kept_mask];
}

size_t rt_channel_kept(const struct rt_channel *c)
{
    return c->kept_count;
}

struct rt_stored *rt_channel_kept_at(const struct rt_channel *c, size_t index)
{
    return *slot(c, (uint32_t)index);
}

static int grow(struct rt_channel *c)
{
    uint32_t slots = c->kept ? (c->kept_mask + 1) * 2 : RING_FIRST;
    struct rt_stored **kept = rt_reallocarray(NULL, slots, sizeof(struct rt_stored *));
    if (!kept)
        return RT_ENOMEM;
    for (uint32_t i = 0; i < c->kept_count; i++)
        kept[i] = *slot(c, i);
    rt_free(c->kept);
    c->kept = kept;
    c->kept_first = 0;
    c->kept_mask = slots - 1;
    return 0;
}

int rt_channel_keep(struct rt_channel *c, struct rt_stored *s)
{
    struct rt_hub *hub = c->hub;
    if ((!c->kept || c->kept_count > c->kept_mask) && grow(c))
        return RT_ENOMEM;
    *slot(c, c->kept_count) = rt_stored_ref(s);
    c->kept_count++;
    s->channel = c;
    s->kept_at = hub->now;
    rt_list_push(&c->rule->kept, &s->by_rule);
    hub->kept_bytes += s->size;
    hub->kept_messages++;
    rt_channel_trim(c);
    rt_channel_pin(c); /* the caller goes on with it */
    rt_hub_trim_memory(hub);
    rt_channel_unpin(c);
    return 0;
}

void rt_channel_drop_oldest(struct rt_channel *c)
{
    struct rt_stored *s = *slot(c, 0);
    c->kept_first = (c->kept_first + 1) & c->kept_mask;
    c->kept_count--;
    if (s->m.stamp > c->dropped_stamp)
        c->dropped_stamp = s->m.stamp;
    if (s->m.offset > c->dropped_offset)
        c->dropped_offset = s->m.offset;
    if (s->m.time > c->dropped_time)
        c->dropped_time = s->m.time;
    c->hub->kept_bytes -= s->size;
    c->hub->kept_messages--;
    rt_list_remove(&s->by_rule);
    s->channel = NULL;
    rt_stored_unref(s);
    if (c->kept_count == 0) {
        rt_free(c->kept);
        c->kept = NULL;
        c->kept_mask = c->kept_first = 0;
        rt_channel_review(c);
    }
}

/* Sessions that may be recovered hold messages as long as they may come back. */
bool rt_channel_oldest_is_due(const struct rt_channel *c)
{
    const struct rt_hub_rule *rule = c->rule;
    uint64_t age = c->hub->now - (*slot(c, 0))->kept_at;
    if (c->kept_count <= rule->history_size && age < rule->history_ttl)
        return false;
    bool awaited = rule->shared || c->ordered > 0 || c->hub->now < c->ordered_until;
    return !awaited || age >= rule->recovery;
}

void rt_channel_trim(struct rt_channel *c)
{
    while (c->kept_count > 0 && rt_channel_oldest_is_due(c))
        rt_channel_drop_oldest(c);
}

void rt_channel_drop_all(struct rt_channel *c)
{
    while (c->kept_count > 0)
        rt_channel_drop_oldest(c);
}

const char *rt_channel_epoch(const struct rt_channel *c)
{
    return c->epoch;
}

void rt_channel_set_epoch(struct rt_channel *c, const char *epoch)
{
    size_t len = strlen(epoch);
    if (len >= sizeof(c->epoch))
        len = sizeof(c->epoch) - 1;
    if (len == strlen(c->epoch) && memcmp(c->epoch, epoch, len) == 0)
        return;
    if (c->epoch[0] != '\0') {
        rt_channel_drop_all(c);
        c->top = 0;
        c->dropped_offset = c->dropped_time = 0;
    }
    memcpy(c->epoch, epoch, len);
    c->epoch[len] = '\0';
}

uint64_t rt_channel_top(const struct rt_channel *c)
{
    return c->top;
}

void rt_channel_set_top(struct rt_channel *c, uint64_t offset)
{
    if (offset <= c->top)
        return;
    /* Messages up to it exist that this channel object has never seen. */
    c->dropped_offset = offset;
    c->dropped_time = UINT64_MAX;
    c->top = offset;
}

void rt_channel_set_floor(struct rt_channel *c, uint64_t floor)
{
    c->dropped_offset = floor;
    c->dropped_time = floor > 0 ? UINT64_MAX : 0;
}

void rt_channel_begin(struct rt_channel *c, uint64_t offset)
{
    uint64_t floor = c->rule->shared ? rt_hub_floor(c->hub, c->epoch) : UINT64_MAX;
    if (c->top > 0 || offset == 0)
        return;
    c->top = offset;
    rt_channel_set_floor(c, floor < offset ? floor : offset);
}

void rt_channel_forget(struct rt_channel *c)
{
    rt_channel_drop_all(c);
    c->dropped_offset = c->top;
    c->dropped_time = UINT64_MAX;
    c->dropped_stamp = ++c->hub->stamp; /* the hole comes behind whatever somebody has got */
}

bool rt_channel_covers_offset(const struct rt_channel *c, uint64_t offset)
{
    return c->epoch[0] != '\0' && offset >= c->dropped_offset;
}

uint64_t rt_channel_dropped_time(const struct rt_channel *c)
{
    return c->dropped_offset > 0 ? c->dropped_time : 0;
}

bool rt_channel_covers_stamp(const struct rt_channel *c, uint64_t stamp)
{
    return stamp >= c->dropped_stamp;
}
