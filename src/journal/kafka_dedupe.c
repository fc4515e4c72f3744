#include "journal/kafka_dedupe.h"

#include "base/alloc.h"
#include "base/rand.h"

struct entry {
    uint64_t identity[2]; /* hash of channel, publisher and key */
    uint64_t time;        /* of the last record with it */
    uint64_t first;       /* position of the first */
    struct rt_list link;
};

static struct rt_str identity_of(const void *value)
{
    const struct entry *e = value;
    return rt_str_of(e->identity, sizeof(e->identity));
}

/* 128 bits under a secret: publishers cannot aim at somebody else's. */
static void identify(const struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                     uint64_t out[2])
{
    const struct rt_str parts[] = {channel, m->publisher, m->key};
    out[0] = d->secret[0];
    out[1] = d->secret[1];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const uint64_t a[2] = {out[0], out[1]}, b[2] = {~out[1], out[0]};
        out[0] = rt_siphash13(a, parts[i]);
        out[1] = rt_siphash13(b, parts[i]);
    }
}

void rt_dedupe_init(struct rt_dedupe *d, uint64_t window, uint32_t max_entries)
{
    rt_map_init(&d->entries, identity_of);
    rt_list_init(&d->by_use);
    d->window = window;
    d->max_entries = max_entries;
    rt_random(d->secret, sizeof(d->secret));
}

static void drop(struct rt_dedupe *d, struct entry *e)
{
    rt_map_remove(&d->entries, identity_of(e));
    rt_list_remove(&e->link);
    rt_free(e);
}

void rt_dedupe_clear(struct rt_dedupe *d)
{
    while (!rt_list_empty(&d->by_use))
        drop(d, RT_CONTAINER(d->by_use.next, struct entry, link));
}

void rt_dedupe_deinit(struct rt_dedupe *d)
{
    rt_dedupe_clear(d);
    rt_map_deinit(&d->entries);
}

static bool within(const struct rt_dedupe *d, const struct entry *e, uint64_t time)
{
    return time <= e->time || time - e->time <= d->window;
}

static struct entry *lookup(const struct rt_dedupe *d, struct rt_str channel,
                            const struct rt_message *m, uint64_t out[2])
{
    identify(d, channel, m, out);
    return rt_map_get(&d->entries, rt_str_of(out, 2 * sizeof(out[0])));
}

bool rt_dedupe_find(const struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                    uint64_t *ret_first)
{
    uint64_t identity[2];
    if (!m->key.ptr || d->window == 0 || d->entries.count == 0)
        return false;
    const struct entry *e = lookup(d, channel, m, identity);
    if (!e || !within(d, e, m->time))
        return false;
    *ret_first = e->first;
    return true;
}

static void make_room(struct rt_dedupe *d, uint64_t now)
{
    while (!rt_list_empty(&d->by_use)) {
        struct entry *e = RT_CONTAINER(d->by_use.next, struct entry, link);
        bool old = now > e->time && now - e->time > d->window + RT_DEDUPE_SKEW;
        if (!old && d->entries.count < d->max_entries)
            break;
        drop(d, e);
    }
}

static void remember(struct rt_dedupe *d, const struct rt_message *m, const uint64_t identity[2])
{
    make_room(d, m->time);
    struct entry *e = rt_malloc(sizeof(*e));
    if (!e)
        return;
    *e = (struct entry){{identity[0], identity[1]}, m->time, m->offset, {NULL, NULL}};
    if (rt_map_put(&d->entries, e) < 0) {
        rt_free(e);
        return;
    }
    rt_list_init(&e->link);
    rt_list_push(&d->by_use, &e->link);
}

bool rt_dedupe_record(struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                      uint64_t *ret_first)
{
    uint64_t identity[2];
    if (!m->key.ptr || d->window == 0)
        return false;
    struct entry *e = lookup(d, channel, m, identity);
    if (!e) {
        remember(d, m, identity);
        return false;
    }
    bool duplicate = within(d, e, m->time);
    if (duplicate)
        *ret_first = e->first;
    else
        e->first = m->offset;
    if (m->time > e->time)
        e->time = m->time;
    rt_list_remove(&e->link);
    rt_list_push(&d->by_use, &e->link);
    return duplicate;
}
