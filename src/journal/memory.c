/* The log that stores nothing: positions live in the hub's channels, idempotency keys in a table.
 *
 * The position is the one behind the channel's top, which moves when the caller hands the message to the hub: before the next append.
 *
 * The table holds what came within the window, at most `keys_bytes` of it: while it is full, messages with another key are refused. Time is the
 * loop's, so that a stepped clock changes nothing. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/rand.h"
#include "journal/journal.h"
#include "journal/keys.h"
#include "journal/meter.h"

#define SLOT_BYTES (sizeof(struct rt_map_slot) * 2) /* a map is half full on average */
#define EPOCH_LEN  12                               /* 72 random bits */

struct key {
    struct rt_list link; /* oldest first */
    uint64_t time;       /* of the loop, ms */
    struct rt_position position;
    struct rt_str identity; /* channel and publisher with their lengths, key; follows this struct */
};

struct memory {
    struct rt_journal base;
    struct rt_loop *loop;
    struct rt_hub *hub;
    uint64_t window;
    struct rt_map keys;
    struct rt_list by_age;
    struct rt_buf identity; /* scratch */
    struct rt_journal_meter meter;
    struct rt_keys memory; /* what they take, and may take */
    bool closing;
    struct rt_timer closed_timer;
    void (*closed)(void *arg);
    void *closed_arg;
};

static struct memory *memory_of(struct rt_journal *j)
{
    return RT_CONTAINER(j, struct memory, base);
}

static struct rt_str key_identity(const void *value)
{
    return ((const struct key *)value)->identity;
}

static size_t key_cost(struct rt_str identity)
{
    return sizeof(struct key) + identity.len + SLOT_BYTES;
}

static void forget(struct memory *m, struct key *key)
{
    rt_map_remove(&m->keys, key->identity);
    rt_list_remove(&key->link);
    m->memory.budget.used -= key_cost(key->identity);
    m->memory.budget.keys--;
    rt_free(key);
}

static void forget_expired(struct memory *m, uint64_t now)
{
    while (!rt_list_empty(&m->by_age)) {
        struct key *oldest = RT_CONTAINER(m->by_age.next, struct key, link);
        if (now - oldest->time <= m->window)
            return;
        forget(m, oldest);
    }
}

static bool has_room(const struct memory *m, struct rt_str identity)
{
    const struct rt_keys_budget *b = &m->memory.budget;
    return b->max == 0 || b->used + key_cost(identity) <= b->max;
}

static void add_name(struct rt_buf *out, struct rt_str name)
{
    uint32_t len = (uint32_t)name.len;
    rt_buf_add(out, &len, sizeof(len));
    rt_buf_add_str(out, name);
}

/* The name under which a message is found again: none when it has no key. False: out of memory. */
static bool make_identity(struct memory *m, const struct rt_append *append,
                          struct rt_str *ret_identity)
{
    const struct rt_message *message = &append->message->m;
    *ret_identity = RT_STR_NONE;
    if (message->key.len == 0 || m->window == 0)
        return true;
    rt_buf_clear(&m->identity);
    add_name(&m->identity, append->channel_name);
    add_name(&m->identity, message->publisher);
    rt_buf_add_str(&m->identity, message->key);
    *ret_identity = rt_buf_str(&m->identity);
    return rt_buf_ok(&m->identity);
}

/* NULL: out of memory. */
static struct key *remember(struct memory *m, struct rt_str identity, uint64_t now)
{
    struct key *key = rt_malloc(sizeof(*key) + identity.len);
    if (!key)
        return NULL;
    memcpy(key + 1, identity.ptr, identity.len);
    key->identity = rt_str_of(key + 1, identity.len);
    key->time = now;
    if (rt_map_put(&m->keys, key) < 0) {
        rt_free(key);
        return NULL;
    }
    rt_list_push(&m->by_age, &key->link);
    m->memory.budget.used += key_cost(identity);
    m->memory.budget.keys++;
    return key;
}

static void new_epoch(struct rt_channel *channel)
{
    char id[RT_ID_LEN + 1];
    rt_random_id(id);
    id[EPOCH_LEN] = '\0';
    rt_channel_set_epoch(channel, id);
}

static void next_position(struct rt_channel *channel, struct rt_position *ret_position)
{
    if (rt_channel_epoch(channel)[0] == '\0')
        new_epoch(channel);
    snprintf(ret_position->epoch, sizeof(ret_position->epoch), "%s", rt_channel_epoch(channel));
    ret_position->offset = rt_channel_top(channel) + 1;
}

static int memory_append(struct rt_journal *j, struct rt_append *append)
{
    struct memory *m = memory_of(j);
    if (m->closing)
        return rt_journal_refuse(&m->meter, append, RT_ECLOSED, "the broker is shutting down");
    uint64_t now = rt_loop_now(m->loop);
    forget_expired(m, now);

    struct rt_str identity;
    if (!make_identity(m, append, &identity))
        return rt_journal_refuse(&m->meter, append, RT_ENOMEM, "out of memory");
    struct key *key = identity.len ? rt_map_get(&m->keys, identity) : NULL;
    append->duplicate = key != NULL;
    if (!key && identity.len && !has_room(m, identity))
        return rt_journal_refuse(&m->meter, append, RT_EAGAIN,
                                 rt_keys_refuse(&m->memory, true, now));
    if (!key && identity.len && !(key = remember(m, identity, now)))
        return rt_journal_refuse(&m->meter, append, RT_ENOMEM, "out of memory");

    if (!append->duplicate)
        next_position(append->channel, &append->position);
    else
        append->position = key->position;
    if (key)
        key->position = append->position;
    append->status = RT_OK;
    rt_journal_meter_count(&m->meter, append);
    return RT_OK;
}

static int memory_read(struct rt_journal *j, struct rt_read *read)
{
    (void)j;
    read->status = RT_ENOENT;
    snprintf(read->text, sizeof(read->text), "nothing is stored (storage.path is not set)");
    return RT_ENOENT;
}

static bool memory_congested(const struct rt_journal *j)
{
    (void)j;
    return false;
}

static bool memory_healthy(const struct rt_journal *j, const char **ret_text)
{
    (void)j;
    if (ret_text)
        *ret_text = "";
    return true;
}

static void on_closed(struct rt_timer *timer)
{
    struct memory *m = RT_CONTAINER(timer, struct memory, closed_timer);
    m->closed(m->closed_arg);
}

static void memory_close(struct rt_journal *j, void (*closed)(void *arg), void *arg)
{
    struct memory *m = memory_of(j);
    if (m->closing)
        return;
    m->closing = true;
    m->closed = closed;
    m->closed_arg = arg;
    rt_timer_start(m->loop, &m->closed_timer, 0, on_closed);
}

static void memory_free(struct rt_journal *j)
{
    struct memory *m = memory_of(j);
    rt_timer_stop(m->loop, &m->closed_timer);
    while (!rt_list_empty(&m->by_age))
        forget(m, RT_CONTAINER(m->by_age.next, struct key, link));
    rt_map_deinit(&m->keys);
    rt_buf_deinit(&m->identity);
    rt_free(m);
}

int rt_journal_memory(const struct rt_journal_options *options, struct rt_journal **ret_journal,
                      struct rt_err *err)
{
    static const struct rt_journal_ops ops = {
        .name = "memory",
        .append = memory_append,
        .read = memory_read,
        .congested = memory_congested,
        .healthy = memory_healthy,
        .close = memory_close,
        .free = memory_free,
    };
    struct memory *m = rt_calloc(1, sizeof(*m));
    if (!m)
        return rt_err_nomem(err);
    m->base.ops = &ops;
    m->loop = options->loop;
    m->window = options->idempotency_window;
    rt_map_init(&m->keys, key_identity);
    rt_list_init(&m->by_age);
    rt_buf_init(&m->identity);
    rt_journal_meter_init(&m->meter, options->metrics);
    rt_keys_init(&m->memory, options->idempotency_window, options->keys_bytes, options->metrics);
    *ret_journal = &m->base;
    return 0;
}
