#include "session/early.h"

#include "base/alloc.h"
#include "base/err.h"

struct sent {
    struct rt_list link;
    uint64_t stamp, at;
    uint8_t id[16];
};

static struct rt_str id_of(const void *value)
{
    const struct sent *s = value;
    return rt_str_of(s->id, sizeof(s->id));
}

static void forget(struct rt_early *e, struct sent *s)
{
    rt_map_remove(&e->by_id, id_of(s));
    rt_list_remove(&s->link);
    rt_free(s);
}

static void make_room(struct rt_early *e, uint64_t now)
{
    while (!rt_list_empty(&e->by_age)) {
        struct sent *oldest = RT_CONTAINER(e->by_age.next, struct sent, link);
        bool over = now - oldest->at > RT_EARLY_MS;
        if (!over && e->by_id.count < RT_EARLY_MAX)
            return;
        e->forgotten.value += !over;
        forget(e, oldest);
    }
}

void rt_early_add(struct rt_early *e, const struct rt_message *m, uint64_t now)
{
    make_room(e, now);
    struct sent *s = rt_calloc(1, sizeof(*s));
    if (!s) {
        e->forgotten.value++;
        return;
    }
    s->stamp = m->stamp;
    s->at = now;
    memcpy(s->id, m->id, sizeof(s->id));
    int code = rt_map_put(&e->by_id, s);
    if (code != 0) {
        e->forgotten.value += code != RT_EEXIST;
        rt_free(s);
        return;
    }
    rt_list_init(&s->link);
    rt_list_push(&e->by_age, &s->link);
}

uint64_t rt_early_take(struct rt_early *e, const struct rt_message *m)
{
    if (e->by_id.count == 0)
        return 0;
    struct sent *s = rt_map_get(&e->by_id, rt_str_of(m->id, sizeof(m->id)));
    if (!s)
        return 0;
    uint64_t stamp = s->stamp;
    forget(e, s);
    return stamp;
}

void rt_early_init(struct rt_early *e, struct rt_metrics *metrics)
{
    rt_map_init(&e->by_id, id_of);
    rt_list_init(&e->by_age);
    e->forgotten =
        (struct rt_metric){.name = "publish_early_forgotten_total",
                           .help = "Messages of `deliver: on_publish` with the answer unknown that "
                                   "may be sent again when the log brings them, for want of room.",
                           .type = RT_COUNTER};
    if (metrics)
        rt_metrics_register(metrics, &e->forgotten);
}

void rt_early_deinit(struct rt_early *e)
{
    while (!rt_list_empty(&e->by_age))
        forget(e, RT_CONTAINER(e->by_age.next, struct sent, link));
    rt_map_deinit(&e->by_id);
}
