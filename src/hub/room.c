/* What channels take, and which go when that is too much.
 *
 * Two budgets: the bytes of kept messages and of channels without subscribers (`memory`), and the number of objects (`channels`), which also bounds those that
 * have subscribers. Whoever makes a channel frees what it takes, so that the work of forgetting follows that of making. */
#include "hub/internal.h"

#define BLOCK_OVERHEAD 16u /* of the allocator, for each block */

/* Its place in the table, which is half full on average, and the object itself. */
static uint32_t cost_of_name(size_t name_len)
{
    return (uint32_t)(sizeof(struct rt_channel) + name_len + 1 + BLOCK_OVERHEAD +
                      2 * sizeof(struct rt_map_slot));
}

uint32_t rt_channel_cost(const struct rt_channel *c)
{
    uint32_t cost = cost_of_name(c->name_len);
    for (uint32_t i = 0; i < c->group_count; i++) {
        const struct rt_group *g = c->groups[i];
        cost += (uint32_t)(sizeof(struct rt_group *) + sizeof(*g) + g->cap * sizeof(*g->members) +
                           g->mark_cap * sizeof(*g->marks) + 3 * BLOCK_OVERHEAD);
    }
    if (c->kept)
        cost += (uint32_t)((c->kept_mask + 1) * sizeof(struct rt_stored *) + BLOCK_OVERHEAD);
    return cost;
}

void rt_channel_forget_object(struct rt_channel *c)
{
    struct rt_hub *hub = c->hub;
    rt_map_remove(&hub->channels, rt_channel_name(c));
    if (c->rule->shared)
        rt_hub_raise_floor(hub, c->epoch, c->top);
    rt_channel_free(c);
}

/* The one that has been unused for longest; false: there is none in the list. */
static bool forget_first(struct rt_hub *hub, struct rt_list *list)
{
    if (rt_list_empty(list))
        return false;
    rt_channel_forget_object(RT_CONTAINER(list->next, struct rt_channel, unused));
    hub->metrics.forgotten.value++;
    return true;
}

static bool drop_oldest_message(struct rt_hub *hub)
{
    struct rt_stored *oldest = NULL;
    rt_list_for(node, &hub->rules) {
        struct rt_hub_rule *rule = RT_CONTAINER(node, struct rt_hub_rule, link);
        if (rt_list_empty(&rule->kept))
            continue;
        struct rt_stored *s = RT_CONTAINER(rule->kept.next, struct rt_stored, by_rule);
        if (!oldest || s->m.stamp < oldest->m.stamp)
            oldest = s;
    }
    if (!oldest)
        return false;
    rt_channel_drop_oldest(oldest->channel);
    return true;
}

/* False: what is left is in use. */
static bool trim_to(struct rt_hub *hub, uint64_t limit)
{
    while (hub->kept_bytes + hub->unused_bytes > limit)
        if (!forget_first(hub, &hub->idle) && !drop_oldest_message(hub))
            return false;
    return true;
}

void rt_hub_trim_memory(struct rt_hub *hub)
{
    (void)trim_to(hub, hub->options.memory);
}

int rt_hub_make_room(struct rt_hub *hub, struct rt_str name)
{
    uint32_t most = hub->options.channels, cost = cost_of_name(name.len);
    while (most > 0 && hub->channels.count >= most)
        if (!forget_first(hub, &hub->idle) && !forget_first(hub, &hub->keeping))
            return RT_ERANGE;
    uint64_t memory = hub->options.memory;
    return trim_to(hub, memory > cost ? memory - cost : 0) ? 0 : RT_EAGAIN;
}
