/* Channels that one message leaves out (rt_message.except_in), as its mark in a run holds them: their names, and during a walk the
 * channels themselves. A channel may go between publish and flush, so that only names last; nobody is in it then. */
#include "hub/internal.h"

#include "base/alloc.h"

struct excepted_room {
    struct rt_str name;
    const struct rt_channel *channel; /* NULL: there is none */
    uint64_t member;                  /* 0: nobody's own room */
};

struct rt_excepted {
    uint32_t count;
    uint64_t last; /* the hub's stamp when they were looked up */
    struct excepted_room rooms[];
};

static uint32_t count_names(struct rt_str list)
{
    uint32_t count = 0;
    while (rt_excepted_next(&list).ptr)
        count++;
    return count;
}

struct rt_excepted *rt_excepted_new(const struct rt_message *m)
{
    uint32_t count = count_names(m->except_in);
    if (count > RT_MAX_EXCEPTED)
        return NULL;
    size_t size = sizeof(struct rt_excepted) + count * sizeof(struct excepted_room);
    struct rt_excepted *e = rt_calloc(1, size + m->except_in.len);
    if (!e)
        return NULL;
    char *copy = (char *)e + size;
    memcpy(copy, m->except_in.ptr, m->except_in.len);
    struct rt_str list = rt_str_of(copy, m->except_in.len);
    for (struct rt_str name = rt_excepted_next(&list); name.ptr; name = rt_excepted_next(&list))
        e->rooms[e->count++].name = name;
    return e;
}

void rt_excepted_find(struct rt_excepted *e, const struct rt_hub *hub)
{
    const struct rt_hub_options *o = &hub->options;
    e->last = hub->stamp;
    for (uint32_t i = 0; i < e->count; i++) {
        struct excepted_room *room = &e->rooms[i];
        room->channel = rt_map_get(&hub->channels, room->name);
        room->member = o->member_of ? o->member_of(o->arg, room->name) : 0;
    }
}

/* It joined after the message was published, in the same turn. Stamps are compared by their low bits: the message's is a recent one. */
static bool joined_since(const struct rt_excepted *e, uint64_t stamp,
                         const struct rt_subscription *sub)
{
    return sub->joined - (uint32_t)stamp <= (uint32_t)(e->last - stamp);
}

static bool is_in(const struct rt_excepted *e, const struct rt_channel *channel, uint64_t stamp,
                  const struct rt_subscriber *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->subs[i].channel == channel)
            return !joined_since(e, stamp, &s->subs[i]);
    return false;
}

bool rt_excepted_has(const struct rt_excepted *e, uint64_t stamp, const struct rt_subscriber *s)
{
    for (uint32_t i = 0; i < e->count; i++) {
        const struct excepted_room *room = &e->rooms[i];
        if ((room->member && room->member == s->id) ||
            (room->channel && is_in(e, room->channel, stamp, s)))
            return true;
    }
    return false;
}
