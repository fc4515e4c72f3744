/* The broker: the hub, the journal and the channel rules put together; permissions and subscriptions. */
#include "session/internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"

#define EXPIRY_INTERVAL 1000u  /* ms between sweeps of what has outlived its ttl */
#define EXPIRY_GOES_ON  2u     /* ms until the rest of a sweep that has much to drop */
#define TELL_INTERVAL   60000u /* ms between warnings that channels are forgotten early */

static struct rt_broker_rule *match_rule(const struct rt_broker *b, struct rt_str channel)
{
    size_t count = b->config->channel_count;
    for (size_t i = 0; i < count; i++)
        if (rt_glob_match(rt_str_c(b->config->channels[i].match), channel))
            return &b->rules[i];
    return &b->rules[count];
}

static struct rt_hub_rule *hub_rule_of(void *arg, struct rt_str channel)
{
    return &match_rule(arg, channel)->hub;
}

static const struct rt_broker_rule *rule_of(const struct rt_channel *c)
{
    return (const struct rt_broker_rule *)(void *)rt_channel_rule(c);
}

const struct rt_channel_rule *rt_broker_rule_of(const struct rt_broker *b,
                                                const struct rt_channel *c, struct rt_str name)
{
    return c ? rule_of(c)->conf : match_rule(b, name)->conf;
}

const struct rt_channel_rule *rt_broker_rule(const struct rt_broker *b, struct rt_str channel)
{
    return rt_broker_rule_of(b, rt_hub_channel(b->hub, channel, false), channel);
}

static void on_occupied(void *arg, struct rt_channel *c, bool occupied)
{
    const struct rt_broker *b = arg;
    const struct rt_channel_rule *conf = rule_of(c)->conf;
    if (b->relay.occupied && (b->rules_differ || !(conf && conf->log)))
        b->relay.occupied(b->relay.arg, rt_channel_name(c), occupied);
}

static uint64_t hub_member_of(void *arg, struct rt_str channel)
{
    const struct rt_broker *b = arg;
    return b->member_of ? b->member_of(b->member_arg, channel) : 0;
}

static int make_rules(struct rt_broker *b)
{
    size_t count = b->config->channel_count;
    b->rules = rt_calloc(count + 1, sizeof(*b->rules));
    if (!b->rules)
        return RT_ENOMEM;
    for (size_t i = 0; i <= count; i++) {
        rt_hub_rule_init(&b->rules[i].hub);
        if (i == count)
            break;
        const struct rt_channel_rule *conf = &b->config->channels[i];
        b->rules[i].conf = conf;
        b->rules[i].rate = rt_bucket_rate(conf->rate_publish, conf->rate_burst);
        b->rules[i].hub.keep = conf->log;
        b->rules[i].hub.history_size = conf->history_size;
        b->rules[i].hub.history_ttl = conf->history_ttl;
        b->rules[i].hub.recovery = b->config->socketio.enabled ? b->config->socketio.recovery : 0;
    }
    return 0;
}

static void flush_hub(void *arg)
{
    struct rt_broker *b = arg;
    rt_broker_turn(b);
    rt_hub_set_time(b->hub, rt_loop_now(b->loop));
    rt_hub_flush(b->hub);
}

static void tell_forgotten(struct rt_broker *b)
{
    uint64_t forgotten = rt_hub_forgotten(b->hub) - b->told_forgotten, now = rt_loop_now(b->loop);
    if (forgotten == 0 || now < b->tell_again)
        return;
    rt_log(RT_LOG_WARN, "broker",
           "channels without subscribers are forgotten before their time, with their recent "
           "messages: raise limits.channels or limits.memory_log",
           rt_kv_u64("count", forgotten));
    b->told_forgotten += forgotten;
    b->tell_again = now + TELL_INTERVAL;
}

static void expire(struct rt_timer *timer)
{
    struct rt_broker *b = RT_CONTAINER(timer, struct rt_broker, expiry);
    rt_hub_set_time(b->hub, rt_loop_now(b->loop));
    bool more = rt_hub_expire(b->hub);
    rt_rates_expire(&b->rates, rt_loop_now(b->loop) * 1000);
    tell_forgotten(b);
    rt_timer_start(b->loop, timer, more ? EXPIRY_GOES_ON : EXPIRY_INTERVAL, expire);
}

static void register_result(struct rt_metrics *metrics, struct rt_metric *m, const char *labels)
{
    *m = (struct rt_metric){.name = "publishes_total",
                            .help = "Publishes by their answer.",
                            .labels = labels,
                            .type = RT_COUNTER};
    if (metrics)
        rt_metrics_register(metrics, m);
}

static void register_metrics(struct rt_broker *b, struct rt_metrics *metrics)
{
    rt_early_init(&b->early, metrics);
    register_result(metrics, &b->metrics.ok, "result=\"ok\"");
    register_result(metrics, &b->metrics.retry, "result=\"retry\"");
    register_result(metrics, &b->metrics.unknown, "result=\"unknown\"");
    register_result(metrics, &b->metrics.limited, "result=\"rate_limited\"");
    register_result(metrics, &b->metrics.refused, "result=\"refused\"");
    b->metrics.duplicates = (struct rt_metric){
        .name = "publish_duplicates_total",
        .help = "Publishes answered with the position of an earlier one of the same key.",
        .type = RT_COUNTER};
    b->metrics.unlogged = (struct rt_metric){
        .name = "log_records_unlogged_total",
        .help = "Records of the shared log on channels that no rule logs here: delivered "
                "without a position, if anybody listens.",
        .type = RT_COUNTER};
    b->metrics.unexpected = (struct rt_metric){
        .name = "relayed_logged_total",
        .help = "Messages of nodes that do not log a channel which is logged here: delivered "
                "without a position.",
        .type = RT_COUNTER};
    b->metrics.throttled = (struct rt_metric){
        .name = "commands_throttled_total",
        .help = "Times that a client was not read from for a while, since it had sent more than "
                "limits.commands allows.",
        .type = RT_COUNTER};
    b->metrics.behind = (struct rt_metric){
        .name = "publishers_put_behind_total",
        .help = "Times that a client was not read from until the output of what it had published "
                "was written.",
        .type = RT_COUNTER};
    if (metrics) {
        rt_metrics_register(metrics, &b->metrics.throttled);
        rt_metrics_register(metrics, &b->metrics.behind);
        rt_metrics_register(metrics, &b->metrics.unexpected);
        rt_metrics_register(metrics, &b->metrics.duplicates);
        rt_metrics_register(metrics, &b->metrics.unlogged);
    }
}

int rt_broker_new(const struct rt_config *config, struct rt_loop *loop, struct rt_metrics *metrics,
                  struct rt_broker **ret_broker, struct rt_err *err)
{
    struct rt_broker *b = rt_calloc(1, sizeof(*b));
    if (!b)
        return rt_err_nomem(err);
    b->config = config;
    b->loop = loop;
    rt_list_init(&b->relief);
    rt_list_init(&b->slowed);
    rt_list_init(&b->behind);
    rt_list_init(&b->held);
    b->commands = rt_bucket_rate(config->limits.commands_rate, config->limits.commands_burst);
    rt_rates_init(&b->rates);
    rt_list_init(&b->readings);
    struct rt_hub_options options = {.memory = config->limits.memory_log,
                                     .channels = config->limits.channels,
                                     .rule_of = hub_rule_of,
                                     .occupied = on_occupied,
                                     .member_of = hub_member_of,
                                     .arg = b,
                                     .metrics = metrics};
    if (make_rules(b) || rt_hub_new(&options, &b->hub))
        goto fail;
    rt_hub_set_time(b->hub, rt_loop_now(loop));
    if (rt_loop_add_flush_hook(loop, flush_hub, b))
        goto fail;
    register_metrics(b, metrics);
    rt_refusals_init(&b->refusals, metrics);
    rt_timer_start(loop, &b->expiry, EXPIRY_INTERVAL, expire);
    *ret_broker = b;
    return 0;

fail:
    rt_hub_free(b->hub);
    rt_free(b->rules);
    rt_free(b);
    return rt_err_nomem(err);
}

void rt_broker_set_journal(struct rt_broker *b, struct rt_journal *journal)
{
    b->journal = journal;
    for (size_t i = 0; i <= b->config->channel_count; i++)
        b->rules[i].hub.shared = b->rules[i].hub.recovery > 0 && rt_journal_delivers(journal);
}

void rt_broker_set_sender_of(struct rt_broker *b,
                             uint64_t (*fn)(void *arg, struct rt_str publisher), void *arg)
{
    b->sender_of = fn;
    b->sender_arg = arg;
}

void rt_broker_set_member_of(struct rt_broker *b, uint64_t (*fn)(void *arg, struct rt_str channel),
                             void *arg)
{
    b->member_of = fn;
    b->member_arg = arg;
}

void rt_broker_find_sender(const struct rt_broker *b, struct rt_message *m)
{
    if (m->except == 0 && (m->flags & RT_MESSAGE_NOT_SENDER) && b->sender_of)
        m->except = b->sender_of(b->sender_arg, m->publisher);
}

void rt_broker_set_reader(struct rt_broker *b, int (*read)(void *arg, struct rt_read *read),
                          void *arg)
{
    b->read = read;
    b->read_arg = arg;
}

void rt_broker_hand_over(struct rt_broker *b, struct rt_channel *c, struct rt_str name,
                         const char *epoch, struct rt_stored *message)
{
    if (c)
        rt_channel_set_epoch(c, epoch);
    else if (match_rule(b, name)->hub.shared)
        rt_hub_raise_floor(b->hub, epoch, message->m.offset); /* nobody will know of it */
    rt_hub_set_time(b->hub, rt_loop_now(b->loop));
    /* A failure is counted by the hub, and later found as a gap by whoever recovers. */
    if (message->m.stamp != 0) /* fanned out when it was published */
        (void)rt_hub_keep_stored(b->hub, name, message);
    else
        (void)rt_hub_publish_stored(b->hub, name, message);
}

void rt_broker_deliver(struct rt_broker *b, struct rt_str channel, const char *epoch,
                       struct rt_stored *message)
{
    const struct rt_channel_rule *rule = rt_broker_rule(b, channel);
    if (!rule || !rule->log) { /* another program's, or the nodes' rules differ */
        b->metrics.unlogged.value++;
        rt_broker_pass_on(b, channel, &message->m);
        return;
    }
    rt_broker_find_sender(b, &message->m);
    if (message->m.stamp == 0)
        message->m.stamp = rt_early_take(&b->early, &message->m);
    rt_broker_hand_over(b, rt_hub_channel(b->hub, channel, true), channel, epoch, message);
}

/* What was lost lies between the channel's top and where the log goes on. */
static void forget(struct rt_broker *b, struct rt_channel *c)
{
    struct rt_position position;
    rt_channel_forget(c);
    if (rt_journal_position(b->journal, rt_channel_name(c), &position))
        rt_channel_set_top(c, position.offset);
}

void rt_broker_forget(struct rt_broker *b, bool (*lost)(void *arg, struct rt_str channel),
                      void *arg)
{
    struct rt_channel *c;
    for (size_t pos = 0; (c = rt_hub_next_channel(b->hub, &pos));)
        if (lost(arg, rt_channel_name(c)))
            forget(b, c);
}

void rt_broker_skip(struct rt_broker *b, struct rt_str channel, const char *epoch, uint64_t offset)
{
    const struct rt_channel_rule *rule = rt_broker_rule(b, channel);
    if (!rule || !rule->log)
        return;
    struct rt_channel *c = rt_hub_channel(b->hub, channel, true);
    if (!c) {
        rt_hub_raise_floor(b->hub, epoch, offset);
        return;
    }
    rt_channel_set_epoch(c, epoch);
    rt_channel_set_top(c, offset);
    rt_channel_forget(c);
}

static void journal_closed(void *arg)
{
    struct rt_broker *b = arg;
    rt_broker_release(b, true);
    rt_timer_stop(b->loop, &b->expiry);
    rt_timer_stop(b->loop, &b->look);
    rt_timer_stop(b->loop, &b->again);
    b->closed(b->closed_arg);
}

void rt_broker_close(struct rt_broker *b, void (*closed)(void *arg), void *arg)
{
    b->closing = true;
    b->closed = closed;
    b->closed_arg = arg;
    rt_broker_stop_waiting(b);
    rt_journal_close(b->journal, journal_closed, b);
}

void rt_broker_free(struct rt_broker *b)
{
    if (!b)
        return;
    rt_timer_stop(b->loop, &b->expiry);
    rt_timer_stop(b->loop, &b->look);
    rt_timer_stop(b->loop, &b->again);
    if (b->journal)
        rt_journal_free(b->journal);
    rt_early_deinit(&b->early);
    rt_rates_deinit(&b->rates);
    rt_hub_free(b->hub);
    rt_free(b->rules);
    rt_free(b);
}

struct rt_refusals *rt_broker_refusals(struct rt_broker *b)
{
    return &b->refusals;
}

struct rt_hub *rt_broker_hub(struct rt_broker *b)
{
    return b->hub;
}

struct rt_journal *rt_broker_journal(struct rt_broker *b)
{
    return b->journal;
}

const struct rt_config *rt_broker_config(const struct rt_broker *b)
{
    return b->config;
}

struct rt_loop *rt_broker_loop(struct rt_broker *b)
{
    return b->loop;
}

int rt_broker_check_name(const struct rt_broker *b, struct rt_str channel, struct rt_err *err)
{
    uint32_t max = b->config->limits.channel_name;
    if (channel.len == 0)
        return rt_err_set(err, RT_EINVAL, "the channel's name is empty");
    if (channel.len > max)
        return rt_err_set(err, RT_ERANGE,
                          "the channel's name has %zu bytes, allowed are %u (limits.channel_name)",
                          channel.len, max);
    if (!rt_utf8_valid(channel.ptr, channel.len))
        return rt_err_set(err, RT_EINVAL, "the channel's name is no valid UTF-8");
    for (size_t i = 0; i < channel.len; i++)
        if ((unsigned char)channel.ptr[i] < 0x20 || channel.ptr[i] == 0x7f)
            return rt_err_set(err, RT_EINVAL, "the channel's name has a control character");
    return 0;
}

int rt_broker_open_channel(struct rt_broker *b, struct rt_str name, struct rt_channel **ret_channel,
                           struct rt_err *err)
{
    return rt_broker_no_channel(b, rt_hub_open_channel(b->hub, name, ret_channel), err);
}

int rt_broker_no_channel(const struct rt_broker *b, int status, struct rt_err *err)
{
    if (status == 0)
        return 0;
    if (status == RT_ENOMEM)
        return rt_err_nomem(err);
    struct rt_err why;
    if (status == RT_ERANGE)
        rt_err_set(&why, RT_EAGAIN,
                   "all %u channels that this node may have are in use (limits.channels)",
                   b->config->limits.channels);
    else
        rt_err_set(&why, RT_EAGAIN, "no memory is left for another channel (limits.memory_log)");
    rt_log(RT_LOG_WARN, "broker", "a channel is refused", rt_kv_c("reason", why.text));
    return rt_err_set(err, why.code, "%s", why.text);
}

int rt_broker_no_rule(struct rt_str channel, struct rt_err *err)
{
    return rt_err_set(err, RT_ENOENT,
                      "no rule for channel \"%.*s\": add one to `channels` whose `match` fits",
                      RT_STR_ARG(channel));
}

/* Applies subscribe or publish of a rule to a client. */
static int allow(struct rt_broker *b, struct rt_client *client, struct rt_str channel,
                 const char *what, struct rt_err *err)
{
    const struct rt_channel_rule *rule = rt_broker_rule(b, channel);
    if (!rule)
        return rt_broker_no_rule(channel, err);
    bool publish = what[0] == 'p';
    switch (publish ? rule->publish : rule->subscribe) {
    case RT_ALLOW_ANYONE:
        return 0;
    case RT_ALLOW_USER:
        if (client->user && client->user[0] != '\0')
            return 0;
        break;
    case RT_ALLOW_SUBSCRIBER:
        if (rt_hub_is_subscribed(b->hub, &client->subscriber, channel))
            return 0;
        break;
    case RT_ALLOW_NOBODY:
        break;
    }
    return rt_err_set(err, RT_EPERM,
                      "not allowed to %s on channel \"%.*s\": set `%s` of the rule with match "
                      "\"%s\" in `channels`",
                      what, RT_STR_ARG(channel), what, rule->match);
}

int rt_broker_may_publish(struct rt_broker *b, struct rt_client *client, struct rt_str channel,
                          struct rt_err *err)
{
    return allow(b, client, channel, "publish", err);
}

int rt_broker_subscribe(struct rt_client *client, struct rt_str channel, bool trusted,
                        struct rt_err *err)
{
    struct rt_broker *b = client->broker;
    int status = rt_broker_check_name(b, channel, err);
    if (status)
        return status;
    if (!trusted && (status = allow(b, client, channel, "subscribe", err)))
        return status;
    uint32_t max = b->config->limits.channels_per_connection;
    if (client->subscriber.count >= max &&
        !rt_hub_is_subscribed(b->hub, &client->subscriber, channel))
        return rt_err_set(err, RT_ERANGE,
                          "subscribed to %u channels already, no more are allowed "
                          "(limits.channels_per_connection)",
                          max);
    status = rt_hub_subscribe(b->hub, &client->subscriber, channel);
    if (status == RT_EEXIST)
        return rt_err_set(err, status, "subscribed to channel \"%.*s\" already",
                          RT_STR_ARG(channel));
    return rt_broker_no_channel(b, status, err);
}

int rt_broker_unsubscribe(struct rt_client *client, struct rt_str channel)
{
    return rt_hub_unsubscribe(client->broker->hub, &client->subscriber, channel);
}
