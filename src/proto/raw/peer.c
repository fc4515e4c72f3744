/* What a raw peer does with its channel, whatever carries it. */
#include "proto/raw/internal.h"

#include "base/alloc.h"

void rt_raw_channel(const struct rt_raw_config *config, const char *sid, struct rt_str chosen,
                    struct rt_buf *out)
{
    struct rt_str rest = rt_str_c(config->channel);
    while (rest.len > 0) {
        if (rt_str_starts(rest, RT_STR("{sid}"))) {
            rt_buf_add_c(out, sid);
            rest = rt_str_of(rest.ptr + 5, rest.len - 5);
        } else if (rt_str_starts(rest, RT_STR("{channel}"))) {
            rt_buf_add_str(out, chosen);
            rest = rt_str_of(rest.ptr + 9, rest.len - 9);
        } else {
            rt_buf_add_byte(out, (uint8_t)rest.ptr[0]);
            rest = rt_str_of(rest.ptr + 1, rest.len - 1);
        }
    }
}

static void relieved(struct rt_relief *relief)
{
    struct rt_raw_peer *peer = RT_CONTAINER(relief, struct rt_raw_peer, relief);
    peer->paused = false;
    peer->pause(peer, false);
}

void rt_raw_peer_init(struct rt_raw_peer *peer, struct rt_raw_endpoint *endpoint, const char *sid,
                      const struct rt_subscriber_ops *ops, const struct rt_encoding *encoding)
{
    rt_subscriber_init(&peer->client.subscriber, ops, encoding);
    peer->client.broker = endpoint->raw->broker;
    peer->client.publisher = sid;
    peer->client.user = "";
    peer->endpoint = endpoint;
    rt_list_init(&peer->publishing);
    rt_list_init(&peer->relief.link);
    peer->relief.fn = relieved;
}

void rt_raw_refused(struct rt_raw *raw, enum rt_refusal why, struct rt_str what, const char *text,
                    const char *option)
{
    const struct rt_refusal_note note = {
        .why = why, .protocol = "raw", .what = what, .text = text, .option = option};
    rt_refused(rt_broker_refusals(raw->broker), &note);
}

int rt_raw_peer_join(struct rt_raw_peer *peer, struct rt_err *err)
{
    const struct rt_raw_endpoint *e = peer->endpoint;
    if (!e->config->subscribe)
        return 0;
    int status = rt_broker_subscribe(&peer->client, peer->channel, !e->chosen, err);
    if (status && status != RT_ENOMEM)
        rt_raw_refused(e->raw, rt_refusal_of(status), peer->channel, err->text, NULL);
    return status;
}

void rt_raw_peer_deinit(struct rt_raw_peer *peer)
{
    rt_hub_remove(rt_broker_hub(peer->client.broker), &peer->client.subscriber);
    rt_list_remove(&peer->relief.link);
    struct rt_list *node;
    while ((node = rt_list_pop(&peer->publishing)))
        RT_CONTAINER(node, struct rt_raw_publish, link)->peer = NULL;
}

uint16_t rt_raw_close_code(int code)
{
    switch (code) {
    case RT_ENOENT:
        return 4404;
    case RT_EPERM:
        return 4403;
    case RT_ERANGE:
        return 1009;
    case RT_EINVAL:
        return 1008;
    default:
        return 1013;
    }
}

static void answer(struct rt_raw_peer *peer, const struct rt_publish_result *r)
{
    if (r->status == RT_PUBLISH_OK)
        return;
    if (r->status == RT_PUBLISH_REFUSED || r->status == RT_PUBLISH_LIMITED)
        rt_raw_refused(peer->endpoint->raw, r->why, peer->channel, r->text, NULL);
    peer->failed = true;
    peer->fail(peer, rt_raw_close_code(r->code), r->text);
}

static void published(void *arg, const struct rt_publish_result *result)
{
    struct rt_raw_publish *p = arg;
    struct rt_raw_peer *peer = p->peer;
    rt_list_remove(&p->link);
    rt_free(p);
    if (peer)
        answer(peer, result);
}

/* RT_PENDING: the log has it. 0: it was answered. RT_ENOMEM: the peer is sent away. */
static int publish_message(struct rt_raw_peer *peer, const struct rt_message *view)
{
    struct rt_raw_publish *p = rt_malloc(sizeof(*p));
    if (!p) {
        peer->fail(peer, 1013, "out of memory");
        return RT_ENOMEM;
    }
    p->peer = peer;
    rt_list_push(&peer->publishing, &p->link);
    struct rt_message m = *view;
    struct rt_publish publish = {.channel = peer->channel,
                                 .message = &m,
                                 .client = &peer->client,
                                 .trusted = !peer->endpoint->chosen,
                                 .done = published,
                                 .arg = p};
    struct rt_publish_result result;
    if (rt_broker_publish(peer->client.broker, &publish, &result) == RT_PENDING)
        return RT_PENDING;
    rt_list_remove(&p->link);
    rt_free(p);
    answer(peer, &result);
    return 0;
}

/* A message was handled: the peer has sent too much, or the log cannot keep up with what it publishes. */
static void check_pressure(struct rt_raw_peer *peer, bool logged)
{
    struct rt_broker *broker = peer->client.broker;
    if (peer->failed || peer->refused)
        return;
    bool wait = rt_broker_handled(broker, &peer->relief);
    if (logged && rt_broker_congested(broker)) {
        rt_broker_on_relief(broker, &peer->relief);
        wait = true;
    }
    if (!wait)
        return;
    peer->paused = true;
    peer->pause(peer, true);
}

void rt_raw_peer_message(struct rt_raw_peer *peer, bool text, struct rt_str data)
{
    const struct rt_message m = {.data = data, .kind = text ? RT_KIND_TEXT : RT_KIND_BYTES};
    int status = 0;
    if (!peer->endpoint->config->publish)
        rt_raw_refused(peer->endpoint->raw, RT_REFUSED_UNWANTED,
                       rt_str_c(peer->endpoint->config->path), NULL, NULL);
    else if (!peer->refused)
        status = publish_message(peer, &m);
    if (status != RT_ENOMEM)
        check_pressure(peer, status == RT_PENDING);
}
