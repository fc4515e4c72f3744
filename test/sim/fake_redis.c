/* cluster/redis.h: what is published reaches every link that subscribes, or not: dropped, late (and so overtaken), twice, long after; a link may be cut for a while, or all
 * of Redis be down. And whoever can reach Redis can publish there: forged envelopes come from here too. */
#include "cluster/redis.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster/envelope.h"
#include "fake_redis.h"

#define TOPICS 16u
#define KEPT   64u

struct rt_redis {
    struct sim_host *host;
    uint64_t life;
    struct rt_redis_options options;
    struct rt_str topics[TOPICS];
    size_t topic_count;
};

static struct {
    bool down;
    struct rt_redis *links[SIM_NODES];
    uint64_t cut_until[SIM_NODES];
    struct kept { /* payloads that may come again much later */
        struct rt_str channel, payload;
    } kept[KEPT];
    size_t kept_count;
    uint64_t overheard; /* the instance that was the last to publish */
} redis;

struct delivery {
    uint32_t to;
    uint64_t life;
    uint32_t channel_len, payload_len;
    char bytes[];
};

static bool cut(uint32_t node)
{
    return redis.down || sim.now < redis.cut_until[node];
}

static bool subscribed(const struct rt_redis *r, struct rt_str channel)
{
    for (size_t i = 0; i < r->topic_count; i++)
        if (rt_str_eq(r->topics[i], channel))
            return true;
    return false;
}

static void send_to(uint32_t node, uint64_t delay, struct rt_str channel, struct rt_str payload);

static void arrives(void *payload)
{
    const struct delivery *d = payload;
    struct rt_redis *r = redis.links[d->to];
    if (!r || r->life != d->life || r->host->life != d->life || cut(d->to))
        return;
    struct rt_str channel = rt_str_of(d->bytes, d->channel_len);
    struct rt_str content = rt_str_of(d->bytes + d->channel_len, d->payload_len);
    if (r->host->frozen) { /* in its socket's buffer */
        send_to(d->to, 50 * SIM_MS, channel, content);
        return;
    }
    struct sim_host *former = sim_enter(r->host);
    r->options.on_message(r->options.arg, channel, content);
    sim_leave(former);
}

static void send_to(uint32_t node, uint64_t delay, struct rt_str channel, struct rt_str payload)
{
    const struct rt_redis *r = redis.links[node];
    if (!r || !subscribed(r, channel))
        return;
    struct delivery *d = sim_post(delay, arrives, sizeof(*d) + channel.len + payload.len);
    d->to = node;
    d->life = r->life;
    d->channel_len = (uint32_t)channel.len;
    d->payload_len = (uint32_t)payload.len;
    memcpy(d->bytes, channel.ptr, channel.len);
    memcpy(d->bytes + channel.len, payload.ptr, payload.len);
}

static void keep_for_later(struct rt_str channel, struct rt_str payload)
{
    struct kept *k = &redis.kept[sim_below(KEPT)];
    free((void *)k->channel.ptr);
    free((void *)k->payload.ptr);
    k->channel = rt_str_of(sim_copy(channel), channel.len);
    k->payload = rt_str_of(sim_copy(payload), payload.len);
}

static void broadcast(struct rt_str channel, struct rt_str payload)
{
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        uint64_t delay = sim_between(100, 3000);
        if (cut(i) || sim_fault(30))
            continue;
        if (sim_fault(40))
            delay += sim_below(400 * SIM_MS);
        send_to(i, delay, channel, payload);
        if (sim_fault(30))
            send_to(i, delay + sim_below(200 * SIM_MS), channel, payload);
    }
}

/* ---- cluster/redis.h ------------------------------------------------------------------------------------------- */

int rt_redis_new(const struct rt_redis_options *options, struct rt_redis **ret_redis,
                 struct rt_err *err)
{
    (void)err;
    struct rt_redis *r = sim_alloc(sizeof(*r));
    r->host = sim.host;
    r->life = sim.host->life;
    r->options = *options;
    redis.links[r->host->index] = r;
    *ret_redis = r;
    return 0;
}

int rt_redis_publish(struct rt_redis *r, struct rt_str channel, struct rt_str payload)
{
    if (cut(r->host->index))
        return RT_EAGAIN;
    redis.overheard = rt_parcel_instance(payload);
    broadcast(channel, payload);
    if (sim_fault(100))
        keep_for_later(channel, payload);
    return 0;
}

int rt_redis_subscribe(struct rt_redis *r, struct rt_str channel)
{
    if (subscribed(r, channel))
        return 0;
    if (r->topic_count == TOPICS)
        return RT_ENOMEM;
    r->topics[r->topic_count++] = rt_str_of(sim_copy(channel), channel.len);
    return 0;
}

void rt_redis_unsubscribe(struct rt_redis *r, struct rt_str channel)
{
    for (size_t i = 0; i < r->topic_count; i++) {
        if (!rt_str_eq(r->topics[i], channel))
            continue;
        free((void *)r->topics[i].ptr);
        r->topics[i] = r->topics[--r->topic_count];
        return;
    }
}

/* No sessions wait here, so the state of this Redis is nobody's: a script finds its queue full each time. */
int rt_redis_eval(struct rt_redis *r, const struct rt_redis_eval *eval,
                  struct rt_redis_call **ret_call)
{
    (void)r;
    (void)eval;
    (void)ret_call;
    return RT_EAGAIN;
}

void rt_redis_forget(struct rt_redis_call *call)
{
    (void)call;
}

bool rt_redis_up(const struct rt_redis *r)
{
    return !cut(r->host->index);
}

const char *rt_redis_error(const struct rt_redis *r)
{
    return cut(r->host->index) ? "down" : "";
}

void rt_redis_close(struct rt_redis *r, void (*closed)(void *arg), void *arg)
{
    (void)r;
    closed(arg);
}

void rt_redis_free(struct rt_redis *r)
{
    if (!r)
        return;
    redis.links[r->host->index] = NULL;
    for (size_t i = 0; i < r->topic_count; i++)
        free((void *)r->topics[i].ptr);
    free(r);
}

/* ---- faults -------------------------------------------------------------------------------------------------------- */

void fake_redis_down(bool down)
{
    redis.down = down;
    sim_trace("redis: %s", down ? "down" : "up");
}

void fake_redis_cut(uint32_t node, uint64_t time)
{
    redis.cut_until[node] = sim.now + time;
    sim_trace("redis: the link of n%u is cut for %llu ms", node,
              (unsigned long long)(time / SIM_MS));
}

void fake_redis_replay(void)
{
    const struct kept *k = &redis.kept[sim_below(KEPT)];
    if (k->payload.ptr && !redis.down)
        broadcast(k->channel, k->payload);
}

void fake_redis_forge(const char *epoch, uint32_t partition, uint64_t offset, struct rt_str channel)
{
    struct rt_buf out = RT_BUF_INIT;
    char to[32];
    /* It has listened: it speaks for a process that is known, and in its cluster. */
    struct rt_parcel parcel = {
        .purpose = RT_FOR_RECORD,
        .instance = redis.overheard,
        .sequence = UINT64_C(1) << 40 | sim_below(1u << 30),
        .cluster = RT_STR("sim"),
        .node = RT_STR("intruder"),
        .channel = channel,
        .partition = partition,
        .epoch = rt_str_c(epoch),
        .message = {.data = RT_STR("FORGED"), .kind = RT_KIND_TEXT, .offset = offset}};
    struct rt_parcel_keys guess = {.mac = NULL};
    if (sim_chance(500) && rt_mac_new(RT_STR("a guess"), &guess.mac))
        abort();
    snprintf(to, sizeof(to), "p:sim:%u", partition);
    rt_parcel_encode(&out, &guess, rt_str_c(to), &parcel);
    rt_mac_free(guess.mac);
    for (uint32_t i = 0; i < SIM_NODES; i++)
        send_to(i, sim_below(2000), rt_str_c(to), rt_buf_str(&out));
    rt_buf_deinit(&out);
}

void fake_redis_end(void)
{
    for (size_t i = 0; i < KEPT; i++) {
        free((void *)redis.kept[i].channel.ptr);
        free((void *)redis.kept[i].payload.ptr);
    }
}
