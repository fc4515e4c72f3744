/* The hub itself: table of channels, time, expiry, metrics. */
#include "hub/internal.h"

#include <assert.h>

#include "base/alloc.h"

#define CHANNEL_LINGER 60000u /* ms that an unneeded channel stays, with its epoch and top */
#define EXPIRE_BATCH   4000u  /* messages and channels dropped in one call at most: a millisecond */

static struct rt_str key_of_channel(const void *value)
{
    return rt_channel_name(value);
}

static double read_channels(void *arg)
{
    return (double)((const struct rt_hub *)arg)->channels.count;
}

static double read_unused_bytes(void *arg)
{
    return (double)((const struct rt_hub *)arg)->unused_bytes;
}

static double read_kept_bytes(void *arg)
{
    return (double)((const struct rt_hub *)arg)->kept_bytes;
}

static double read_kept_messages(void *arg)
{
    return (double)((const struct rt_hub *)arg)->kept_messages;
}

static void register_metrics(struct rt_hub *hub, struct rt_metrics *metrics)
{
    static const double fanout_bounds[] = {0, 1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10000, 50000};
    struct rt_metric *m = &hub->metrics.published;
    *m = (struct rt_metric){.name = "messages_published_total",
                            .help = "Messages handed to the hub.",
                            .type = RT_COUNTER};
    hub->metrics.delivered =
        (struct rt_metric){.name = "messages_delivered_total",
                           .help = "Messages queued for subscribers of this node.",
                           .type = RT_COUNTER};
    hub->metrics.failed =
        (struct rt_metric){.name = "fanout_failed_total",
                           .help = "Messages that some subscribers did not get or that were not "
                                   "kept, for want of memory.",
                           .type = RT_COUNTER};
    hub->metrics.channels = (struct rt_metric){.name = "channels",
                                               .help = "Channels with subscribers or history.",
                                               .type = RT_GAUGE,
                                               .read = read_channels,
                                               .arg = hub};
    hub->metrics.subscriptions = (struct rt_metric){
        .name = "subscriptions", .help = "Subscriptions of all clients.", .type = RT_GAUGE};
    hub->metrics.kept_bytes = (struct rt_metric){.name = "history_bytes",
                                                 .help = "Memory of recent history.",
                                                 .type = RT_GAUGE,
                                                 .read = read_kept_bytes,
                                                 .arg = hub};
    hub->metrics.kept_messages = (struct rt_metric){.name = "history_messages",
                                                    .help = "Messages of recent history.",
                                                    .type = RT_GAUGE,
                                                    .read = read_kept_messages,
                                                    .arg = hub};
    hub->metrics.unused_bytes =
        (struct rt_metric){.name = "channels_unused_bytes",
                           .help = "Memory of channels without subscribers, beside their history.",
                           .type = RT_GAUGE,
                           .read = read_unused_bytes,
                           .arg = hub};
    hub->metrics.forgotten =
        (struct rt_metric){.name = "channels_forgotten_total",
                           .help = "Channels without subscribers that were forgotten before their "
                                   "time (limits.channels, limits.memory_log).",
                           .type = RT_COUNTER};
    hub->metrics.refused =
        (struct rt_metric){.name = "channels_refused_total",
                           .help = "Channels that were not made, since all others are in use "
                                   "(limits.channels, limits.memory_log).",
                           .type = RT_COUNTER};
    hub->metrics.fanout = (struct rt_metric){.name = "fanout_size",
                                             .help = "Subscribers per published message.",
                                             .type = RT_HISTOGRAM,
                                             .bounds = fanout_bounds,
                                             .bound_count = 12};
    if (!metrics)
        return;
    rt_metrics_register(metrics, &hub->metrics.published);
    rt_metrics_register(metrics, &hub->metrics.delivered);
    rt_metrics_register(metrics, &hub->metrics.failed);
    rt_metrics_register(metrics, &hub->metrics.channels);
    rt_metrics_register(metrics, &hub->metrics.subscriptions);
    rt_metrics_register(metrics, &hub->metrics.kept_bytes);
    rt_metrics_register(metrics, &hub->metrics.kept_messages);
    rt_metrics_register(metrics, &hub->metrics.unused_bytes);
    rt_metrics_register(metrics, &hub->metrics.forgotten);
    rt_metrics_register(metrics, &hub->metrics.refused);
    rt_metrics_register(metrics, &hub->metrics.fanout);
}

void rt_hub_rule_init(struct rt_hub_rule *rule)
{
    *rule = (struct rt_hub_rule){.keep = false};
    rt_list_init(&rule->kept);
    rt_list_init(&rule->link);
}

int rt_hub_new(const struct rt_hub_options *options, struct rt_hub **ret_hub)
{
    struct rt_hub *hub = rt_calloc(1, sizeof(*hub));
    if (!hub)
        return RT_ENOMEM;
    hub->options = *options;
    rt_map_init(&hub->channels, key_of_channel);
    rt_map_init(&hub->floors, rt_hub_key_of_floor);
    rt_map_init(&hub->copied, rt_hub_key_of_copies);
    rt_list_init(&hub->copies);
    rt_list_init(&hub->dirty);
    rt_list_init(&hub->keeping);
    rt_list_init(&hub->idle);
    rt_list_init(&hub->rules);
    rt_buf_init(&hub->scratch);
    register_metrics(hub, options->metrics);
    *ret_hub = hub;
    return 0;
}

void rt_hub_free(struct rt_hub *hub)
{
    if (!hub)
        return;
    size_t pos = 0;
    struct rt_channel *c;
    rt_hub_free_copies(hub);
    while ((c = rt_map_next(&hub->channels, &pos)))
        rt_channel_free(c);
    struct rt_list *node;
    while ((node = rt_list_pop(&hub->rules)))
        ;
    rt_map_deinit(&hub->channels);
    rt_hub_free_floors(hub);
    rt_buf_deinit(&hub->scratch);
    rt_free(hub);
}

void rt_hub_set_time(struct rt_hub *hub, uint64_t now_ms)
{
    hub->now = now_ms;
}

size_t rt_hub_occupied(const struct rt_hub *hub)
{
    return hub->occupied;
}

size_t rt_hub_subscriptions(const struct rt_hub *hub)
{
    return (size_t)hub->metrics.subscriptions.value;
}

uint64_t rt_hub_stamp(const struct rt_hub *hub)
{
    return hub->stamp;
}

/* True: all that is due is gone. */
static bool expire_messages(struct rt_hub_rule *rule, uint32_t *budget)
{
    while (!rt_list_empty(&rule->kept)) {
        struct rt_stored *s = RT_CONTAINER(rule->kept.next, struct rt_stored, by_rule);
        if (!rt_channel_oldest_is_due(s->channel))
            return true;
        if (*budget == 0)
            return false;
        rt_channel_drop_oldest(s->channel);
        (*budget)--;
    }
    return true;
}

static bool expire_channels(struct rt_hub *hub, uint32_t *budget)
{
    while (!rt_list_empty(&hub->idle)) {
        struct rt_channel *c = RT_CONTAINER(hub->idle.next, struct rt_channel, unused);
        if (hub->now - c->idle_since < CHANNEL_LINGER)
            return true;
        if (*budget == 0)
            return false;
        rt_channel_forget_object(c);
        (*budget)--;
    }
    return true;
}

bool rt_hub_expire(struct rt_hub *hub)
{
    uint32_t budget = EXPIRE_BATCH;
    bool all = true;
    rt_hub_expire_copies(hub);
    rt_list_for(node, &hub->rules) {
        all &= expire_messages(RT_CONTAINER(node, struct rt_hub_rule, link), &budget);
    }
    return !(expire_channels(hub, &budget) && all);
}

struct rt_channel *rt_hub_channel(struct rt_hub *hub, struct rt_str name, bool create)
{
    struct rt_channel *c = rt_map_get(&hub->channels, name);
    if (!c && create)
        (void)rt_hub_open_channel(hub, name, &c);
    return c;
}

int rt_hub_open_channel(struct rt_hub *hub, struct rt_str name, struct rt_channel **ret_channel)
{
    struct rt_channel *c = rt_map_get(&hub->channels, name);
    if (!c) {
        int status = rt_hub_make_room(hub, name);
        if (status) {
            hub->metrics.refused.value++;
            return status;
        }
        c = rt_channel_new(hub, name);
    }
    if (!c)
        return RT_ENOMEM;
    *ret_channel = c;
    return 0;
}

uint64_t rt_hub_forgotten(const struct rt_hub *hub)
{
    return hub->metrics.forgotten.value;
}

struct rt_channel *rt_hub_next_channel(const struct rt_hub *hub, size_t *pos)
{
    return rt_map_next(&hub->channels, pos);
}
