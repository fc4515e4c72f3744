/* Messages of other nodes that did not come out of the log here, and nodes whose rules are others: while they are restarted with new rules, one node logs a
 * channel and another one does not. Nothing is lost then that both know how to carry: it is delivered as on a channel without a log. */
#include "session/internal.h"

#include "base/map.h"

void rt_broker_set_relay(struct rt_broker *b, const struct rt_broker_relay *relay)
{
    b->relay = *relay;
}

void rt_broker_pass_on(struct rt_broker *b, struct rt_str channel, const struct rt_message *message)
{
    struct rt_message view = *message;
    const struct rt_channel *c = rt_hub_channel(b->hub, channel, false);
    view.offset = view.stamp = 0;
    if (!c || rt_channel_subscribers(c) == 0)
        return;
    rt_broker_find_sender(b, &view);
    rt_hub_set_time(b->hub, rt_loop_now(b->loop));
    (void)rt_hub_publish(b->hub, channel, &view); /* the hub counts what fails */
}

void rt_broker_relayed(struct rt_broker *b, struct rt_str channel, struct rt_message *message)
{
    const struct rt_channel_rule *rule = rt_broker_rule(b, channel);
    if (rule && rule->log)
        b->metrics.unexpected.value++;
    rt_broker_pass_on(b, channel, message);
}

void rt_broker_set_rules_differ(struct rt_broker *b, bool differ)
{
    struct rt_channel *c;
    if (b->rules_differ == differ)
        return;
    b->rules_differ = differ;
    for (size_t pos = 0; (c = rt_hub_next_channel(b->hub, &pos));) {
        const struct rt_channel_rule *rule = rt_broker_rule(b, rt_channel_name(c));
        if (b->relay.occupied && rule && rule->log && rt_channel_subscribers(c) > 0)
            b->relay.occupied(b->relay.arg, rt_channel_name(c), differ);
    }
}

uint64_t rt_broker_rules_hash(const struct rt_config *config)
{
    static const uint64_t key[2] = {0x72756c6573u, 0}; /* the same on all nodes */
    uint64_t hash = 0;
    for (size_t i = 0; i < config->channel_count; i++) {
        const struct rt_channel_rule *rule = &config->channels[i];
        uint64_t of[4] = {hash, rt_siphash13(key, rt_str_c(rule->match)), rule->log,
                          rule->log ? (uint64_t)rule->deliver : 0};
        hash = rt_siphash13(key, rt_str_of(of, sizeof(of)));
    }
    return hash;
}
