/* The server's side of a client: a minimal protocol over session/broker.h, with the rules of resuming that every protocol follows. */
#include <stdio.h>
#include <stdlib.h>

#include "client.h"
#include "fake_log.h"

#define QUEUE_CAP 60u /* messages on their way to a client */
#define PAGE      15
/* The history waits so long, nearly, for a position that the node has not come to. */
#define HISTORY_WAIT (2900u * SIM_MS)

/* A message as it is encoded for these clients. */
struct wire {
    struct rt_position position;
    uint32_t channel, publication, hash;
};

/* One channel of a connection. */
struct served {
    bool on;
    bool reading; /* live messages are held back */
    bool resumes;
    uint64_t asked_at; /* when the history was asked */
    bool behind;       /* and the node had not come to the position in time */
    uint64_t times;    /* subscribed so far: an earlier question's answer is stale */
    struct rt_position since;
    struct wire *held;
    size_t count, cap;
};

struct connection {
    struct rt_client client; /* first */
    struct sim_client *owner;
    struct sim_node *node;
    uint64_t number;
    uint64_t last_at; /* when the newest message reaches the client: they keep their order */
    uint32_t queued;
    bool closing;
    struct served served[SIM_CHANNELS];
};

struct sim_node *connection_node(const struct connection *x)
{
    return x->node;
}

static uint32_t hash_of(struct rt_str s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (uint8_t)s.ptr[i]) * 16777619u;
    return h;
}

/* ---- to the client ------------------------------------------------------------------------------------------- */

struct packet {
    struct sim_client *client;
    uint64_t connection;
    struct told told;
};

static void packet_arrives(void *payload)
{
    const struct packet *p = payload;
    struct sim_client *c = p->client;
    if (!c->connection || c->connections != p->connection)
        return;
    c->connection->queued--;
    client_hears(c, &p->told);
}

static void tell(struct connection *x, const struct told *told)
{
    uint64_t delay =
        x->owner->slow && !sim.calm ? sim_between(50, 200) * SIM_MS : sim_between(200, 4000);
    uint64_t at = sim.now + delay / 8;
    if (x->closing)
        return;
    if (x->queued >= QUEUE_CAP && told->what == TOLD_MESSAGE) {
        sim_trace("c%u: too slow, closed", x->owner->index);
        x->closing = true; /* not from inside the hub's flush */
    }
    at = at > x->last_at ? at : x->last_at + (x->owner->slow && !sim.calm ? 20 * SIM_MS : 1);
    x->last_at = at;
    x->queued++;
    struct packet *p = sim_post(at - sim.now, packet_arrives, sizeof(*p));
    *p = (struct packet){x->owner, x->number, *told};
    if (x->closing)
        p->told.what = TOLD_CLOSED;
}

static void tell_message(struct connection *x, const struct wire *w)
{
    const struct told told = {.what = TOLD_MESSAGE,
                              .channel = w->channel,
                              .position = w->position,
                              .publication = w->publication,
                              .hash = w->hash};
    tell(x, &told);
}

/* ---- from the hub -------------------------------------------------------------------------------------------- */

static struct wire wire_of(const struct rt_message *m, const char *epoch, uint32_t channel)
{
    struct wire w = {
        .channel = channel, .publication = log_publication(m->data), .hash = hash_of(m->data)};
    w.position.offset = m->offset;
    snprintf(w.position.epoch, sizeof(w.position.epoch), "%s", epoch);
    return w;
}

static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    (void)self;
    struct wire w = wire_of(m, node_epoch, node_channel);
    rt_buf_add(out, &w, sizeof(w));
}

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct connection *x = (struct connection *)self;
    for (; len >= sizeof(struct wire); off += sizeof(struct wire), len -= sizeof(struct wire)) {
        struct wire w;
        memcpy(&w, bytes->data + off, sizeof(w));
        struct served *s = &x->served[w.channel];
        if (!s->reading || BUG(LIVE_EARLY)) {
            tell_message(x, &w);
            continue;
        }
        s->held = sim_grow(s->held, s->count, &s->cap, sizeof(*s->held));
        s->held[s->count++] = w;
    }
}

static bool writable(struct rt_subscriber *self)
{
    (void)self;
    return true;
}

/* ---- subscribing ----------------------------------------------------------------------------------------------- */

/* A question to the history, which may be answered when the connection is gone. */
struct question {
    struct sim_client *client;
    uint64_t connection, times;
    uint32_t channel;
    bool position_only;
};

static void ask(struct connection *x, uint32_t channel, bool position_only);

/* Everything up to `top` has been sent, or is announced as missing: what was held goes out, the rest is live. */
static void go_live(struct connection *x, uint32_t channel, const struct rt_position *top,
                    bool recovered)
{
    struct served *s = &x->served[channel];
    const struct told told = {.what = TOLD_SUBSCRIBED,
                              .channel = channel,
                              .position = *top,
                              .recovered = recovered,
                              .behind = s->behind};
    tell(x, &told);
    for (size_t i = 0; i < s->count; i++) {
        const struct rt_position *p = &s->held[i].position;
        if (strcmp(p->epoch, top->epoch) == 0 && p->offset > top->offset)
            tell_message(x, &s->held[i]);
    }
    s->count = 0;
    s->reading = false;
}

static void page_came(struct connection *x, const struct question *q,
                      const struct rt_history_result *r)
{
    struct served *s = &x->served[q->channel];
    struct rt_position last = s->since;
    if (last.epoch[0] == '\0')
        memcpy(last.epoch, r->top.epoch, sizeof(last.epoch));
    for (size_t i = 0; i < r->count; i++) {
        struct wire w = wire_of(&r->messages[i]->m, r->top.epoch, q->channel);
        tell_message(x, &w);
        last = w.position;
    }
    s->since = last;
    if (r->more)
        ask(x, q->channel, false);
    else
        go_live(x, q->channel, &r->top, true);
}

static void history_came(void *arg, const struct rt_history_result *r)
{
    struct question q = *(struct question *)arg;
    free(arg);
    struct connection *x = q.client->connection;
    if (!x || x->number != q.connection || !x->node->host.up || !x->served[q.channel].on)
        return;
    struct served *s = &x->served[q.channel];
    if (s->times != q.times)
        return;
    /* What is pending in the hub goes to what is held: it lies before the position that is told now. */
    rt_hub_catch_up(rt_broker_hub(x->node->broker), &x->client.subscriber);
    if (q.position_only && r->status == 0) {
        go_live(x, q.channel, &r->top, !s->resumes);
    } else if (r->status == RT_ERANGE || (r->status == 0 && r->gap)) {
        sim_trace("c%u: #%u not recovered: %s", q.client->index, q.channel, r->text);
        s->behind = r->status == RT_ERANGE && sim.now - s->asked_at > HISTORY_WAIT;
        ask(x, q.channel, true);
    } else if (r->status) {
        connection_unsubscribe(x, q.channel);
    } else {
        page_came(x, &q, r);
    }
}

static void ask(struct connection *x, uint32_t channel, bool position_only)
{
    char name[CHANNEL_NAME];
    struct question *q = sim_alloc(sizeof(*q));
    channel_name(channel, name);
    *q = (struct question){x->owner, x->number, x->served[channel].times, channel, position_only};
    struct rt_history history = {.channel = rt_str_c(name),
                                 .has_since = !position_only,
                                 .since = x->served[channel].since,
                                 .limit = position_only ? 0 : PAGE,
                                 .done = history_came,
                                 .arg = q};
    rt_broker_history(x->node->broker, &history);
}

void connection_subscribe(struct connection *x, uint32_t channel, const struct rt_position *since)
{
    char name[CHANNEL_NAME];
    struct rt_err err = {0};
    struct served *s = &x->served[channel];
    channel_name(channel, name);
    if (s->on || rt_broker_subscribe(&x->client, rt_str_c(name), false, &err))
        return;
    s->on = s->reading = true;
    s->times++;
    s->count = 0;
    s->behind = false;
    s->asked_at = sim.now;
    s->resumes = since != NULL;
    s->since = since ? *since : (struct rt_position){.offset = 0};
    ask(x, channel, since == NULL);
}

void connection_unsubscribe(struct connection *x, uint32_t channel)
{
    char name[CHANNEL_NAME];
    channel_name(channel, name);
    (void)rt_broker_unsubscribe(&x->client, rt_str_c(name));
    x->served[channel].on = x->served[channel].reading = false;
    x->served[channel].count = 0;
    const struct told told = {.what = TOLD_NOT_NOW, .channel = channel};
    tell(x, &told);
}

/* ---- publishing ------------------------------------------------------------------------------------------------ */

struct attempt {
    struct sim_client *client;
    uint64_t connection;
    struct sim_node *node;
    uint64_t life;
    uint32_t publication;
};

static void answered(void *arg, const struct rt_publish_result *r)
{
    struct attempt a = *(struct attempt *)arg;
    free(arg);
    struct connection *x = a.client->connection;
    if (!x || x->number != a.connection || a.life != a.node->host.life)
        return;
    const struct told told = {.what = TOLD_ANSWER,
                              .publication = a.publication,
                              .status = r->status,
                              .position = r->position,
                              .duplicate = r->duplicate};
    tell(x, &told);
}

void connection_publish(struct connection *x, uint32_t number)
{
    const struct publication *p = &publications[number];
    char data[16], key[16], name[CHANNEL_NAME];
    struct rt_publish_result result;
    channel_name(p->channel, name);
    snprintf(data, sizeof(data), "P%u", number);
    snprintf(key, sizeof(key), "k%u", p->key);
    struct rt_message m = {.data = rt_str_c(data),
                           .kind = RT_KIND_TEXT,
                           .key = p->keyed ? rt_str_c(key) : RT_STR_NONE};
    struct attempt *a = sim_alloc(sizeof(*a));
    *a = (struct attempt){x->owner, x->number, x->node, x->node->host.life, number};
    struct rt_publish publish = {
        .channel = rt_str_c(name), .message = &m, .client = &x->client, .done = answered, .arg = a};
    if (rt_broker_publish(x->node->broker, &publish, &result) != RT_PENDING)
        answered(a, &result);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct connection *connection_open(struct sim_client *c, struct sim_node *n)
{
    static const struct rt_subscriber_ops ops = {.deliver = deliver, .writable = writable};
    static const struct rt_encoding encoding = {.encode = encode};
    struct connection *x = sim_alloc(sizeof(*x));
    x->owner = c;
    x->node = n;
    x->number = ++c->connections;
    rt_subscriber_init(&x->client.subscriber, &ops, &encoding);
    x->client.broker = n->broker;
    x->client.publisher = c->name;
    x->client.user = "";
    return x;
}

void connection_close(struct connection *x)
{
    rt_hub_remove(rt_broker_hub(x->node->broker), &x->client.subscriber);
    for (uint32_t i = 0; i < SIM_CHANNELS; i++)
        free(x->served[i].held);
    free(x);
}
