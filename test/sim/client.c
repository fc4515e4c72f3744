#include "client.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "fake_log.h"

#define OUTSTANDING 4u

struct sim_client clients[SIM_CLIENTS];
struct publication publications[PUBLICATIONS];
uint32_t publication_count;
static bool stopped;

void channel_name(uint32_t channel, char out[CHANNEL_NAME])
{
    snprintf(out, CHANNEL_NAME, "ch%u", channel);
}

uint32_t channel_of(struct rt_str name)
{
    bool ours = name.len == 3 && rt_str_starts(name, RT_STR("ch"));
    return ours ? (uint32_t)(name.ptr[2] - '0') : UINT32_MAX;
}

/* ---- what the client hears ------------------------------------------------------------------------------------ */

static struct segment *new_segment(struct subscription *s, const char *epoch, uint64_t start,
                                   bool told_gap)
{
    s->segments = sim_grow(s->segments, s->count, &s->cap, sizeof(*s->segments));
    struct segment *g = &s->segments[s->count++];
    *g = (struct segment){.start = start, .told_gap = told_gap};
    snprintf(g->epoch, sizeof(g->epoch), "%s", epoch);
    return g;
}

static void hear_message(struct sim_client *c, const struct told *t)
{
    struct subscription *s = &c->subs[t->channel];
    struct segment *g = s->count > 0 ? &s->segments[s->count - 1] : NULL;
    check_delivery(c, t);
    if (!g) {
        sim_fail("c%u: a message of #%u before the subscription stands", c->index, t->channel);
        return;
    }
    if (strcmp(g->epoch, t->position.epoch) != 0) {
        /* The message tells that its positions are another log's. In the same log nothing may be missing between. */
        uint64_t start = check_same_log(g->epoch, t->position.epoch) ? s->position.offset : 0;
        g = new_segment(s, t->position.epoch, start, false);
    } else if (t->position.offset <= s->position.offset) {
        sim_fail("c%u: #%u has %s@%llu, and got %llu after it (P%u)", c->index, t->channel,
                 g->epoch, (unsigned long long)s->position.offset,
                 (unsigned long long)t->position.offset, t->publication);
        return;
    }
    s->position = t->position;
    g->got = sim_grow(g->got, g->count, &g->cap, sizeof(*g->got));
    g->got[g->count++] = (struct received){t->position.offset, t->publication, t->hash};
}

static void hear_subscribed(struct sim_client *c, const struct told *t)
{
    struct subscription *s = &c->subs[t->channel];
    s->live = true;
    sim_trace("c%u: #%u live from %s@%llu%s", c->index, t->channel, t->position.epoch,
              (unsigned long long)t->position.offset, t->recovered ? "" : ", not recovered");
    if (!t->recovered && !t->behind && !sim.epochs)
        sim_fail("c%u: #%u was not recovered, though nothing is gone", c->index, t->channel);
    if (s->count > 0 && t->recovered && t->position.offset < s->position.offset && !BUG(LIVE_EARLY))
        sim_fail("c%u: #%u is put back from %llu to %llu", c->index, t->channel,
                 (unsigned long long)s->position.offset, (unsigned long long)t->position.offset);
    if (s->count == 0 || !t->recovered)
        (void)new_segment(s, t->position.epoch, t->position.offset, !t->recovered);
    if (!BUG(LIVE_EARLY) || t->position.offset > s->position.offset)
        s->position = t->position;
}

static void hear_answer(struct sim_client *c, const struct told *t)
{
    struct publication *p = &publications[t->publication];
    p->waiting = false;
    switch ((enum rt_publish_status)t->status) {
    case RT_PUBLISH_OK:
        p->acked = true;
        p->position = t->position;
        check_acknowledged(t->publication, t);
        break;
    case RT_PUBLISH_RETRY:
        p->again = true;
        break;
    case RT_PUBLISH_UNKNOWN:
        p->again = p->keyed;
        p->given_up = !p->keyed;
        break;
    case RT_PUBLISH_LIMITED: /* no rule has a rate here */
    case RT_PUBLISH_REFUSED:
        sim_fail("c%u: P%u was refused", c->index, t->publication);
        break;
    }
}

void client_hears(struct sim_client *c, const struct told *t)
{
    switch (t->what) {
    case TOLD_MESSAGE:
        hear_message(c, t);
        break;
    case TOLD_SUBSCRIBED:
        hear_subscribed(c, t);
        break;
    case TOLD_NOT_NOW:
        c->subs[t->channel].asked = c->subs[t->channel].live = false;
        break;
    case TOLD_ANSWER:
        hear_answer(c, t);
        break;
    case TOLD_CLOSED:
        client_cut(c);
        break;
    }
}

/* ---- its connection --------------------------------------------------------------------------------------------- */

void client_cut(struct sim_client *c)
{
    if (!c->connection)
        return;
    connection_close(c->connection);
    c->connection = NULL;
    for (uint32_t i = 0; i < SIM_CHANNELS; i++)
        c->subs[i].asked = c->subs[i].live = false;
    for (uint32_t i = 0; i < publication_count; i++) {
        struct publication *p = &publications[i];
        if (p->client != c->index || !p->waiting)
            continue;
        p->waiting = false;
        p->again = p->keyed;
        p->given_up = !p->keyed;
    }
}

void clients_lose_node(struct sim_node *n)
{
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        if (clients[i].connection && connection_node(clients[i].connection) == n)
            client_cut(&clients[i]);
}

static void connect(struct sim_client *c)
{
    struct sim_node *n = &nodes[sim_below(SIM_NODES)];
    if (!node_serves(n))
        return;
    c->connection = connection_open(c, n);
    sim_trace("c%u: on n%u", c->index, n->host.index);
}

/* ---- what the client does ----------------------------------------------------------------------------------------- */

static uint32_t outstanding(const struct sim_client *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < publication_count; i++)
        count += publications[i].client == c->index && publications[i].waiting;
    return count;
}

static void send(struct sim_client *c, uint32_t number)
{
    struct publication *p = &publications[number];
    p->waiting = true;
    p->again = false;
    p->sent++;
    connection_publish(c->connection, number);
}

/* Something that is long acknowledged, once more: within the window it is the same message, behind it another one. */
static bool repeat(struct sim_client *c)
{
    uint32_t number = publication_count ? (uint32_t)sim_below(publication_count) : 0;
    const struct publication *p = &publications[number];
    if (stopped || publication_count == 0 || p->client != c->index || !p->keyed || !p->acked ||
        p->waiting)
        return false;
    send(c, number);
    return true;
}

static void publish(struct sim_client *c)
{
    if (sim_chance(300) && repeat(c))
        return;
    for (uint32_t i = 0; i < publication_count; i++) {
        if (publications[i].client != c->index || !publications[i].again)
            continue;
        send(c, i);
        return;
    }
    if (stopped || publication_count == PUBLICATIONS || outstanding(c) >= OUTSTANDING)
        return;
    static uint32_t keys[SIM_CHANNELS]; /* used so far */
    uint32_t number = publication_count++, channel = (uint32_t)sim_below(SIM_CHANNELS);
    if (number == 0)
        memset(keys, 0, sizeof(keys));
    publications[number] = (struct publication){
        .channel = channel, .client = c->index, .key = keys[channel]++, .keyed = sim_chance(700)};
    send(c, number);
}

static void subscribe(struct sim_client *c)
{
    for (uint32_t i = 0; i < SIM_CHANNELS; i++) {
        struct subscription *s = &c->subs[i];
        if (!s->wanted || s->asked)
            continue;
        s->asked = true;
        connection_subscribe(c->connection, i, s->count > 0 ? &s->position : NULL);
    }
}

static void acts(void *payload)
{
    struct sim_client *c = *(struct sim_client **)payload;
    if (!c->connection && sim_chance(300))
        connect(c);
    struct connection *x = c->connection;
    if (x && !connection_node(x)->host.frozen) {
        struct sim_host *former = sim_enter(&connection_node(x)->host);
        subscribe(c);
        publish(c);
        sim_leave(former);
    } else if (x && sim_chance(20)) {
        client_cut(c); /* its pings are not answered */
    }
    struct sim_client **again = sim_post(sim_between(10, 50) * SIM_MS, acts, sizeof(*again));
    *again = c;
}

void client_leave(struct sim_client *c)
{
    uint32_t channel = (uint32_t)sim_below(SIM_CHANNELS);
    if (!c->subs[channel].live || connection_node(c->connection)->host.frozen)
        return;
    c->subs[channel].live = false;
    struct sim_host *former = sim_enter(&connection_node(c->connection)->host);
    connection_unsubscribe(c->connection, channel);
    sim_leave(former);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

void clients_begin(void)
{
    for (uint32_t i = 0; i < SIM_CLIENTS; i++) {
        struct sim_client *c = &clients[i];
        c->index = i;
        c->slow = i == 0;
        snprintf(c->name, sizeof(c->name), "c%u", i);
        for (uint32_t j = 0; j < SIM_CHANNELS; j++)
            c->subs[j].wanted = (i + j) % 3 == 0;
        struct sim_client **payload = sim_post(sim_below(SIM_SECOND), acts, sizeof(*payload));
        *payload = c;
    }
}

void clients_end(void)
{
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        for (uint32_t j = 0; j < SIM_CHANNELS; j++) {
            struct subscription *s = &clients[i].subs[j];
            for (size_t k = 0; k < s->count; k++)
                free(s->segments[k].got);
            free(s->segments);
        }
}

void clients_stop_publishing(void)
{
    stopped = true;
}

const char *clients_wait_for(void)
{
    static char text[80];
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        for (uint32_t j = 0; j < SIM_CHANNELS; j++)
            if (clients[i].subs[j].wanted && !clients[i].subs[j].live) {
                snprintf(text, sizeof(text), "c%u is not subscribed to #%u", i, j);
                return text;
            }
    for (uint32_t i = 0; i < publication_count; i++)
        if (!publications[i].acked && !publications[i].given_up) {
            snprintf(text, sizeof(text), "P%u of c%u has no answer", i, publications[i].client);
            return text;
        }
    return NULL;
}
