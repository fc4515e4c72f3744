#include "session/rates.h"

#include "base/alloc.h"
#include "base/err.h"

enum {
    LOOKS_A_PUT = 2, /* more than one is added, so that full ones do not gather */
    LOOKS_A_SWEEP = 4096,
};

struct key {
    uint64_t client;
    const struct rt_bucket_rate *rate;
};

struct entry {
    struct rt_list link;
    struct key key;
    struct rt_bucket bucket;
};

static struct rt_str key_of(const void *value)
{
    const struct entry *e = value;
    return rt_str_of(&e->key, sizeof(e->key));
}

void rt_rates_init(struct rt_rates *r)
{
    rt_map_init(&r->by_key, key_of);
    rt_list_init(&r->by_age);
}

static void forget(struct rt_rates *r, struct entry *e)
{
    rt_map_remove(&r->by_key, key_of(e));
    rt_list_remove(&e->link);
    rt_free(e);
}

void rt_rates_deinit(struct rt_rates *r)
{
    struct rt_list *node;
    while ((node = rt_list_pop(&r->by_age)))
        rt_free(RT_CONTAINER(node, struct entry, link));
    rt_map_deinit(&r->by_key);
}

static void sweep(struct rt_rates *r, uint64_t now, size_t looks)
{
    size_t max = r->by_key.count < looks ? r->by_key.count : looks;
    for (size_t i = 0; i < max; i++) {
        struct entry *e = RT_CONTAINER(r->by_age.next, struct entry, link);
        if (e->bucket.full_at <= now || r->by_key.count >= RT_RATES_MAX) {
            forget(r, e);
        } else {
            rt_list_remove(&e->link);
            rt_list_push(&r->by_age, &e->link);
        }
    }
}

void rt_rates_expire(struct rt_rates *r, uint64_t now)
{
    sweep(r, now, LOOKS_A_SWEEP);
}

static struct entry *add(struct rt_rates *r, const struct key *key)
{
    struct entry *e = rt_calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->key = *key;
    rt_list_init(&e->link);
    if (rt_map_put(&r->by_key, e) != 0) {
        rt_free(e);
        return NULL;
    }
    rt_list_push(&r->by_age, &e->link);
    return e;
}

int rt_rates_take(struct rt_rates *r, const struct rt_bucket_rate *rate, uint64_t client,
                  uint64_t now, uint64_t *ret_wait)
{
    const struct key key = {.client = client, .rate = rate};
    struct entry *e = rt_map_get(&r->by_key, rt_str_of(&key, sizeof(key)));
    if (!e) {
        sweep(r, now, LOOKS_A_PUT);
        e = add(r, &key);
    }
    if (!e)
        return RT_ENOMEM;
    uint64_t wait = rt_bucket_wait(&e->bucket, rate, now);
    if (wait > 0) {
        *ret_wait = wait;
        return RT_EAGAIN;
    }
    rt_bucket_take(&e->bucket, rate, now);
    return 0;
}
