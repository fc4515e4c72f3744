#include "net/unfinished.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/log.h"

struct rt_unfinished_set {
    struct rt_loop *loop;
    struct rt_unfinished_options options;
    struct rt_list all; /* by `since` */
    struct rt_timer timer;
    struct rt_metric bytes, late, crowded;
};

static void look(struct rt_timer *timer);

static void register_metrics(struct rt_unfinished_set *s, struct rt_metrics *metrics)
{
    static const char help[] =
        "Messages that were cut off before their end, with their connection.";
    s->bytes = (struct rt_metric){.name = "receive_buffer_bytes",
                                  .help = "Memory of messages that have not come to their end.",
                                  .type = RT_GAUGE};
    s->late = (struct rt_metric){.name = "messages_cut_off_total",
                                 .help = help,
                                 .labels = "reason=\"late\"",
                                 .type = RT_COUNTER};
    s->crowded = s->late;
    s->crowded.labels = "reason=\"memory\"";
    if (!metrics)
        return;
    rt_metrics_register(metrics, &s->bytes);
    rt_metrics_register(metrics, &s->late);
    rt_metrics_register(metrics, &s->crowded);
}

int rt_unfinished_new(struct rt_loop *loop, const struct rt_unfinished_options *options,
                      struct rt_unfinished_set **ret_set)
{
    struct rt_unfinished_set *s = rt_calloc(1, sizeof(*s));
    if (!s)
        return RT_ENOMEM;
    s->loop = loop;
    s->options = *options;
    rt_list_init(&s->all);
    register_metrics(s, options->metrics);
    *ret_set = s;
    return 0;
}

void rt_unfinished_free(struct rt_unfinished_set *set)
{
    if (!set)
        return;
    assert(rt_list_empty(&set->all) && set->bytes.value == 0);
    rt_timer_stop(set->loop, &set->timer);
    rt_free(set);
}

const char *rt_unfinished_text(enum rt_unfinished_why why)
{
    return why == RT_UNFINISHED_LATE
               ? "the message did not end in time (limits.message_timeout)"
               : "unfinished messages take too much memory (limits.receive_memory)";
}

static void cut_off(struct rt_unfinished *u, enum rt_unfinished_why why)
{
    struct rt_unfinished_set *s = u->set;
    struct rt_metric *count = why == RT_UNFINISHED_LATE ? &s->late : &s->crowded;
    count->value++;
    rt_log(RT_LOG_WARN, "net", "a client was cut off in the middle of a message",
           rt_kv_c("reason", rt_unfinished_text(why)), rt_kv_u64("bytes", u->bytes));
    rt_unfinished_end(u);
    u->ops->cut_off(u, why);
}

static struct rt_unfinished *first(const struct rt_unfinished_set *s)
{
    return rt_list_empty(&s->all) ? NULL : RT_CONTAINER(s->all.next, struct rt_unfinished, link);
}

static void append(struct rt_unfinished_set *s, struct rt_unfinished *u)
{
    u->since = rt_loop_now(s->loop);
    rt_list_push(&s->all, &u->link);
    if (!s->timer.active && s->options.timeout > 0)
        rt_timer_start(s->loop, &s->timer, s->options.timeout, look);
}

static void look(struct rt_timer *timer)
{
    struct rt_unfinished_set *s = RT_CONTAINER(timer, struct rt_unfinished_set, timer);
    uint64_t now = rt_loop_now(s->loop);
    struct rt_unfinished *u;
    while ((u = first(s)) && u->since + s->options.timeout <= now) {
        if (!u->ops->paused(u)) {
            cut_off(u, RT_UNFINISHED_LATE);
            continue;
        }
        rt_list_remove(&u->link);
        append(s, u);
    }
    if (u && !timer->active)
        rt_timer_start(s->loop, timer, u->since + s->options.timeout - now, look);
}

/* Of the others, those that have begun first. */
static void make_room(struct rt_unfinished_set *s, const struct rt_unfinished *but)
{
    struct rt_unfinished *u;
    while (s->bytes.value > s->options.memory && (u = first(s)) && u != but)
        cut_off(u, RT_UNFINISHED_CROWDED);
}

int rt_unfinished_hold(struct rt_unfinished_set *set, struct rt_unfinished *u,
                       const struct rt_unfinished_ops *ops, size_t bytes)
{
    if (!set)
        return 0;
    if (!u->set) {
        u->set = set;
        u->ops = ops;
        u->bytes = 0;
        append(set, u);
    }
    set->bytes.value += bytes;
    set->bytes.value -= u->bytes;
    u->bytes = bytes;
    if (set->options.memory == 0 || set->bytes.value <= set->options.memory)
        return 0;
    make_room(set, u);
    if (set->bytes.value <= set->options.memory)
        return 0;
    set->crowded.value++;
    return RT_ERANGE; /* it is the oldest itself */
}

void rt_unfinished_end(struct rt_unfinished *u)
{
    if (!u->set)
        return;
    u->set->bytes.value -= u->bytes;
    rt_list_remove(&u->link);
    u->set = NULL;
}
