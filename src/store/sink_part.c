#include "store/sink_part.h"

#include <stdio.h>

#include "base/err.h"

void rt_sink_part_init(struct rt_sink_part *p, uint32_t index, uint64_t window,
                       struct rt_keys_budget *keys)
{
    memset(p, 0, sizeof(*p));
    p->index = index;
    p->window = window;
    rt_dedupe_init(&p->dedupe, window, keys);
}

void rt_sink_part_deinit(struct rt_sink_part *p)
{
    rt_dedupe_deinit(&p->dedupe);
}

static void forget(struct rt_sink_part *p)
{
    rt_dedupe_clear(&p->dedupe);
    p->fold = p->changed = (struct rt_epoch_fold){.at = 0};
    p->epoch[0] = p->stored_epoch[0] = '\0';
    p->expected = p->frozen = p->begin = p->purged = p->next = 0;
    p->recorded = false;
    p->retry_at = p->held_at = 0;
    p->held_tries = 0;
}

void rt_sink_part_drop(struct rt_sink_part *p)
{
    forget(p);
    p->state = RT_SINK_AWAY;
}

static void set_epoch(char to[RT_EPOCH_TEXT + 1], const char *from)
{
    snprintf(to, RT_EPOCH_TEXT + 1, "%s", from);
}

int rt_sink_part_load(struct rt_sink_part *p, struct rt_str epoch, uint64_t epoch_at, uint64_t next,
                      uint64_t purged)
{
    struct rt_epoch_name name;
    uint32_t index;
    if (rt_epoch_parse(epoch, &name, &index) < 0 || index != p->index || next == 0)
        return RT_EINVAL;
    forget(p);
    p->fold.name = name;
    p->fold.at = epoch_at;
    /* Evidence was looked at further than records were stored while it was NAMING. */
    p->frozen = epoch_at + 1;
    rt_epoch_text(&p->fold.name, p->index, p->epoch);
    set_epoch(p->stored_epoch, p->epoch);
    p->recorded = true;
    p->next = next;
    p->purged = purged;
    p->state = RT_SINK_LOCATE;
    return 0;
}

void rt_sink_part_load_nothing(struct rt_sink_part *p)
{
    forget(p);
    p->state = RT_SINK_LOCATE;
}

static void release(struct rt_sink_part *p)
{
    p->held_at = 0;
    p->held_tries = 0;
}

void rt_sink_part_read(struct rt_sink_part *p, uint64_t position)
{
    if (position > p->held_at)
        release(p);
    p->expected = position;
    p->state = RT_SINK_READING;
}

void rt_sink_part_name(struct rt_sink_part *p, uint64_t position)
{
    struct rt_epoch_name former = p->fold.name;
    p->fold = (struct rt_epoch_fold){.whole = position == 1};
    if (former.text[0])
        rt_epoch_bar(&p->fold, &former);
    release(p);
    p->begin = p->expected = position;
    p->state = RT_SINK_NAMING;
}

/* Up to where nothing is stored of what begins at `position`. That is at least one position where messages of before may stand under former names: who asks from
 * the beginning is told so. Position 1 of such a partition is its marker. */
static uint64_t begins_at(const struct rt_epoch_name *name, uint64_t position)
{
    return name->moved && position == 1 ? 1 : position - 1;
}

static enum rt_sink_step look_for_name(struct rt_sink_part *p, struct rt_str evidence,
                                       uint64_t position)
{
    p->expected = position + 1;
    (void)rt_epoch_read(&p->fold, evidence, position);
    if (!p->fold.name.text[0])
        return RT_SINK_TAKEN;
    rt_epoch_text(&p->fold.name, p->index, p->epoch);
    rt_dedupe_clear(&p->dedupe);
    p->frozen = position + 1;
    p->purged = begins_at(&p->fold.name, p->begin);
    rt_sink_part_read(p, p->begin);
    return RT_SINK_FOUND;
}

bool rt_sink_part_hold(struct rt_sink_part *p, uint64_t position)
{
    bool first = p->held_at != position;
    if (first)
        release(p);
    p->held_at = p->expected = position;
    p->held_tries++;
    p->state = RT_SINK_HELD;
    return first;
}

enum rt_sink_step rt_sink_part_look(struct rt_sink_part *p, struct rt_str evidence,
                                    uint64_t position)
{
    if (p->state < RT_SINK_NAMING || p->state == RT_SINK_HELD || position < p->expected)
        return RT_SINK_STALE;
    if (p->state == RT_SINK_NAMING)
        return look_for_name(p, evidence, position);
    p->changed = p->fold;
    if (position >= p->frozen) {
        enum rt_epoch_change change = rt_epoch_read(&p->changed, evidence, position);
        if (change != RT_EPOCH_SAME)
            return change == RT_EPOCH_NAMED ? RT_SINK_NAMED : RT_SINK_BROKEN;
    }
    p->fold = p->changed;
    p->expected = position + 1;
    return RT_SINK_TAKEN;
}

void rt_sink_part_adopt(struct rt_sink_part *p, uint64_t position)
{
    if (p->fold.name.partitions != p->changed.name.partitions)
        rt_dedupe_clear(&p->dedupe); /* channels have other homes: keys begin anew */
    p->fold = p->changed;
    rt_epoch_text(&p->fold.name, p->index, p->epoch);
    p->purged = begins_at(&p->fold.name, position);
    p->expected = position + 1;
}

void rt_sink_part_stored(struct rt_sink_part *p, uint64_t next, const char *epoch)
{
    p->next = next;
    set_epoch(p->stored_epoch, epoch);
}
