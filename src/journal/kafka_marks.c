#include "journal/kafka_marks.h"

#include "base/alloc.h"

struct mark {
    struct rt_list link;
    uint64_t failure;
    struct rt_str name; /* follows this struct */
};

static struct rt_str mark_name(const void *value)
{
    return ((const struct mark *)value)->name;
}

void rt_marks_init(struct rt_marks *m)
{
    m->failures = 0;
    m->all = 0;
    rt_map_init(&m->channels, mark_name);
    rt_list_init(&m->list);
}

static void forget(struct rt_marks *m)
{
    for (struct rt_list *node = rt_list_pop(&m->list); node; node = rt_list_pop(&m->list)) {
        struct mark *mark = RT_CONTAINER(node, struct mark, link);
        rt_map_remove(&m->channels, mark->name);
        rt_free(mark);
    }
}

void rt_marks_deinit(struct rt_marks *m)
{
    forget(m);
    rt_map_deinit(&m->channels);
}

static struct mark *mark_new(struct rt_marks *m, struct rt_str channel)
{
    struct mark *mark = rt_malloc(sizeof(*mark) + channel.len);
    if (!mark)
        return NULL;
    memcpy(mark + 1, channel.ptr, channel.len);
    mark->name = rt_str_of(mark + 1, channel.len);
    if (rt_map_put(&m->channels, mark) < 0) {
        rt_free(mark);
        return NULL;
    }
    rt_list_init(&mark->link);
    rt_list_push(&m->list, &mark->link);
    return mark;
}

void rt_marks_add(struct rt_marks *m, struct rt_str channel)
{
    m->failures++;
    struct mark *mark = rt_map_get(&m->channels, channel);
    if (!mark)
        mark = mark_new(m, channel);
    if (mark)
        mark->failure = m->failures;
    else
        m->all = m->failures;
}

bool rt_marks_hit(const struct rt_marks *m, struct rt_str channel, uint64_t failures)
{
    if (failures < m->all)
        return true;
    if (rt_list_empty(&m->list))
        return false;
    const struct mark *mark = rt_map_get(&m->channels, channel);
    return mark && failures < mark->failure;
}

void rt_marks_settle(struct rt_marks *m, uint64_t failures)
{
    if (failures >= m->failures && !rt_list_empty(&m->list))
        forget(m);
}
