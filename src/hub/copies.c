/* Messages that went to several channels at once, each with a copy of its own: which channels have had theirs, and when, so that
 * a subscriber of several gets one of them.
 *
 * The log brings the copies of one message at different moments, and subscribers come and go in between. So what counts is not who is
 * in which channel, but what a subscriber was given: it has the message when it is in a channel whose copy came while it was in it. Who
 * left that channel since may get another copy; nobody gets none. Bounded by number and age; what was forgotten comes once more. */
#include "hub/internal.h"

#include "base/alloc.h"

#define COPIES_AGE   300000u /* ms */
#define MESSAGES_MAX 4096u
#define COPIES_MAX   65536u

struct rt_copy {
    struct rt_channel *channel; /* pinned */
    uint64_t stamp;
};

struct rt_copies {
    struct rt_list link; /* in hub->copies, oldest first */
    uint64_t since;
    uint8_t id[RT_MESSAGE_COPY_ID];
    uint32_t count, cap;
    struct rt_copy *list; /* by address of the channel */
};

struct rt_str rt_hub_key_of_copies(const void *value)
{
    return rt_str_of(((const struct rt_copies *)value)->id, RT_MESSAGE_COPY_ID);
}

static void drop_copies(struct rt_hub *hub, struct rt_copies *copies)
{
    for (uint32_t i = 0; i < copies->count; i++)
        rt_channel_unpin(copies->list[i].channel);
    hub->copy_count -= copies->count;
    rt_map_remove(&hub->copied, rt_hub_key_of_copies(copies));
    rt_list_remove(&copies->link);
    rt_free(copies->list);
    rt_free(copies);
}

static struct rt_copies *oldest(const struct rt_hub *hub)
{
    return rt_list_empty(&hub->copies) ? NULL
                                       : RT_CONTAINER(hub->copies.next, struct rt_copies, link);
}

void rt_hub_expire_copies(struct rt_hub *hub)
{
    struct rt_copies *first;
    while ((first = oldest(hub)) && hub->now - first->since >= COPIES_AGE)
        drop_copies(hub, first);
}

void rt_hub_free_copies(struct rt_hub *hub)
{
    struct rt_copies *first;
    while ((first = oldest(hub)))
        drop_copies(hub, first);
    rt_map_deinit(&hub->copied);
}

const struct rt_copies *rt_hub_find_copies(const struct rt_hub *hub, const uint8_t *id)
{
    return hub->copied.count ? rt_map_get(&hub->copied, rt_str_of(id, RT_MESSAGE_COPY_ID)) : NULL;
}

/* Where the channel's copy stands, or would. */
static uint32_t place_of(const struct rt_copies *copies, const struct rt_channel *c)
{
    uint32_t low = 0, high = copies->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uintptr_t)copies->list[middle].channel < (uintptr_t)c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t stamp_in(const struct rt_copies *copies, const struct rt_channel *c)
{
    uint32_t i = place_of(copies, c);
    return i < copies->count && copies->list[i].channel == c ? copies->list[i].stamp : 0;
}

bool rt_copies_had(const struct rt_copies *copies, uint64_t before, const struct rt_subscriber *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t stamp = stamp_in(copies, s->subs[i].channel);
        /* Joined before: the difference is right for as long as copies are remembered. */
        if (stamp > 0 && stamp < before && (int32_t)((uint32_t)stamp - s->subs[i].joined) > 0)
            return true;
    }
    return false;
}

uint64_t rt_hub_copy_stamp(const struct rt_hub *hub, const struct rt_message *m,
                           const struct rt_channel *c)
{
    const struct rt_copies *copies =
        m->flags & RT_MESSAGE_COPY ? rt_hub_find_copies(hub, m->id) : NULL;
    return copies ? stamp_in(copies, c) : 0;
}

static struct rt_copies *make_copies(struct rt_hub *hub, const struct rt_message *m)
{
    struct rt_copies *copies = rt_calloc(1, sizeof(*copies));
    if (!copies)
        return NULL;
    memcpy(copies->id, m->id, RT_MESSAGE_COPY_ID);
    copies->since = hub->now;
    if (rt_map_put(&hub->copied, copies) != 0) {
        rt_free(copies);
        return NULL;
    }
    rt_list_push(&hub->copies, &copies->link);
    return copies;
}

static bool reserve(struct rt_copies *copies)
{
    if (copies->count < copies->cap)
        return true;
    uint32_t cap = copies->cap ? copies->cap * 2 : 4;
    struct rt_copy *list = rt_reallocarray(copies->list, cap, sizeof(*list));
    if (!list)
        return false;
    copies->list = list;
    copies->cap = cap;
    return true;
}

void rt_hub_note_copy(struct rt_hub *hub, struct rt_channel *c, const struct rt_message *m)
{
    struct rt_copies *copies = rt_map_get(&hub->copied, rt_str_of(m->id, RT_MESSAGE_COPY_ID));
    if (!copies && !(copies = make_copies(hub, m)))
        return;
    uint32_t at = place_of(copies, c);
    if ((at < copies->count && copies->list[at].channel == c) || !reserve(copies))
        return;
    memmove(copies->list + at + 1, copies->list + at,
            (copies->count - at) * sizeof(copies->list[0]));
    copies->list[at] = (struct rt_copy){.channel = c, .stamp = m->stamp};
    copies->count++;
    hub->copy_count++;
    rt_channel_pin(c);
    struct rt_copies *first;
    while ((hub->copy_count > COPIES_MAX || hub->copied.count > MESSAGES_MAX) &&
           (first = oldest(hub)) != copies)
        drop_copies(hub, first);
}
