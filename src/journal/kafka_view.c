#include "journal/kafka_view.h"

void rt_view_init(struct rt_view *v, uint32_t partitions, uint64_t asked_at, uint64_t now)
{
    *v = (struct rt_view){.partitions = partitions,
                          .said = partitions,
                          .asked_at = asked_at,
                          .since = now,
                          .began = now};
}

void rt_view_answer(struct rt_view *v, uint32_t partitions, uint64_t asked_at, uint64_t now)
{
    if (partitions != v->said)
        v->since = now;
    v->said = partitions;
    v->asked_at = asked_at;
}

void rt_view_move(struct rt_view *v, uint32_t partitions, uint64_t now)
{
    v->partitions = partitions;
    v->began = now;
    if (v->said != partitions)
        v->since = now; /* the log knows more than the broker that was asked */
}

static bool has_lease(const struct rt_view *v, uint64_t now)
{
    return now - v->asked_at <= RT_VIEW_LEASE_MS;
}

enum rt_view_state rt_view_state(const struct rt_view *v, uint64_t now)
{
    if (v->said != v->partitions)
        return RT_VIEW_CHANGED;
    return has_lease(v, now) ? RT_VIEW_CONFIRMED : RT_VIEW_UNCONFIRMED;
}

bool rt_view_is_settled(const struct rt_view *v, uint64_t now)
{
    return has_lease(v, now) && now - v->since >= RT_VIEW_GRACE_MS;
}
