/* Records that another program put into another partition than their channel's (journal/kafka.h): they are appended to the channel's own, once.
 *
 * All nodes see such a record, and each of them appends it, with an idempotency key made of its position (or its own): the first copy in the log counts, for all nodes and the sink. Who sees
 * the copy of another node before its own turn comes finds the key and appends nothing. So that one node has mostly done it before the others begin, each waits a random time.
 * Copies keep publisher, key and time of the record. The list is in the order of arrival; a copy that was not stored is tried again, with the same key, and those behind it wait.
 *
 *     WAITING -> APPENDING -> done      WAITING <- APPENDING     not stored, or not known */
#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "journal/kafka_internal.h"

#define MOST           4096u
#define MOST_BYTES     ((size_t)8 << 20)
#define APPENDING_MOST 64u    /* at a time */
#define PAUSE_MS       400u   /* at random, before the first of a run */
#define LOG_MS         10000u /* between lines */

enum state { WAITING, APPENDING };

struct copy {
    struct rt_append append; /* first */
    struct rt_list link;
    struct rt_kafka *kafka;
    enum state state;
    size_t cost;
    char key[80];
    size_t name_len; /* of the channel's name, which follows this struct */
};

static void set_state(struct copy *c, enum state state)
{
    assert(c->state != state);
    c->state = state;
    c->kafka->copying += state == APPENDING ? 1u : -1u;
}

static void drop(struct copy *c)
{
    rt_list_remove(&c->link);
    c->kafka->copies--;
    c->kafka->copy_bytes -= c->cost;
    rt_stored_unref(c->append.message);
    rt_free(c);
}

/* It will not be found: who comes back to the channel is told. */
static void tell_lost(struct rt_kafka *k, uint32_t home)
{
    k->misplaced_lost.value++;
    if (k->ready && k->options.gap)
        k->options.gap(k->options.arg, home);
}

/* Kafka takes no record of its size. */
static void give_up(struct copy *c)
{
    struct rt_kafka *k = c->kafka;
    rt_log(RT_LOG_ERROR, "kafka", "a record cannot be appended to its channel's partition",
           rt_kv_str("channel", c->append.channel_name), rt_kv_c("text", c->append.text));
    tell_lost(k, rt_partition_of(c->append.channel_name, k->partitions));
    drop(c);
}

static void on_done(struct rt_append *append)
{
    struct copy *c = (struct copy *)append;
    struct rt_kafka *k = c->kafka;
    set_state(c, WAITING);
    if (append->status == RT_OK || k->closing)
        drop(c);
    else if (append->status == RT_ERANGE)
        give_up(c);
    else
        k->copies_at = rt_mono_ms() + PAUSE_MS;
}

/* False: no more now. */
static bool append_copy(struct rt_kafka *k, struct copy *c)
{
    c->append = (struct rt_append){.message = c->append.message,
                                   .channel_name = rt_str_of(c + 1, c->name_len),
                                   .done = on_done};
    set_state(c, APPENDING);
    int code = rt_journal_append(&k->base, &c->append);
    if (code == RT_PENDING)
        return true;
    set_state(c, WAITING);
    if (code == RT_ERANGE)
        give_up(c);
    else if (code != RT_EAGAIN && code != RT_ECLOSED)
        drop(c); /* another node has done it, or nobody can */
    else
        k->copies_at = rt_mono_ms() + PAUSE_MS;
    return code == RT_OK || code == RT_ERANGE;
}

void rt_kafka_misplaced_tick(struct rt_kafka *k)
{
    if (k->copies == 0 || !k->ready || k->closing || rt_mono_ms() < k->copies_at)
        return;
    rt_list_for_safe(node, next, &k->misplaced_list) {
        struct copy *c = RT_CONTAINER(node, struct copy, link);
        if (k->copying >= APPENDING_MOST)
            return;
        if (c->state == WAITING && !append_copy(k, c))
            return;
    }
}

/* ---- what comes ----------------------------------------------------------------------------------------------- */

static void tell(struct rt_kafka *k, const struct rt_tail_entry *e, uint32_t home)
{
    uint64_t now = rt_mono_ms();
    k->misplaced.value++;
    if (k->misplaced_told_at != 0 && now - k->misplaced_told_at < LOG_MS)
        return;
    k->misplaced_told_at = now;
    rt_log(RT_LOG_WARN, "kafka",
           "another program puts records into other partitions than their channels': they are "
           "appended there anew. Its partitioner has to be murmur2 (librdkafka: "
           "partitioner=murmur2_random)",
           rt_kv_str("channel", e->channel), rt_kv_u64("partition", e->partition),
           rt_kv_u64("channels_partition", home), rt_kv_u64("so_far", k->misplaced.value));
}

static void lose(struct rt_kafka *k, const struct rt_tail_entry *e, uint32_t home, const char *why)
{
    rt_log(RT_LOG_ERROR, "kafka",
           "a record in another partition than its channel's is not appended there",
           rt_kv_str("channel", e->channel), rt_kv_u64("partition", e->partition),
           rt_kv_u64("position", e->position), rt_kv_c("text", why));
    tell_lost(k, home);
}

static struct copy *copy_new(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    struct rt_message m = e->message->m;
    struct copy *c = rt_calloc(1, sizeof(*c) + e->channel.len);
    if (!c)
        return NULL;
    memcpy(c + 1, e->channel.ptr, e->channel.len);
    c->name_len = e->channel.len;
    c->kafka = k;
    if (!m.key.ptr) {
        int len = snprintf(c->key, sizeof(c->key), "misplaced %s@%llu",
                           k->parts[e->partition].epoch, (unsigned long long)e->position);
        m.key = rt_str_of(c->key, (size_t)len);
    }
    rt_uuid7(m.time, m.id); /* each node's copy is a record of its own */
    c->append.message = rt_stored_new(&m);
    if (!c->append.message) {
        rt_free(c);
        return NULL;
    }
    rt_list_init(&c->link);
    c->cost = sizeof(*c) + c->append.message->size + c->name_len;
    return c;
}

/* Older ones were appended when they came; whether they were, no key tells any more. */
static const char *reason_to_lose(const struct rt_kafka *k, const struct rt_tail_entry *e)
{
    uint64_t window = k->options.journal.idempotency_window;
    if (window == 0)
        return "storage.idempotency_window is 0: several nodes would do it";
    if (k->copies >= MOST || k->copy_bytes + e->message->size > MOST_BYTES)
        return "too many of them wait";
    return NULL;
}

static bool is_of_the_past(const struct rt_kafka *k, const struct rt_tail_entry *e)
{
    return !k->ready && e->message->m.time + k->options.journal.idempotency_window < rt_wall_ms();
}

void rt_kafka_take_misplaced(struct rt_kafka *k, const struct rt_tail_entry *e)
{
    uint32_t home = rt_partition_of(e->channel, k->partitions);
    if (is_of_the_past(k, e))
        return;
    tell(k, e, home);
    const char *why = reason_to_lose(k, e);
    struct copy *c = why ? NULL : copy_new(k, e);
    if (!c) {
        lose(k, e, home, why ? why : "out of memory");
        return;
    }
    if (k->copies == 0)
        k->copies_at = rt_mono_ms() + rt_random_below(PAUSE_MS);
    rt_list_push(&k->misplaced_list, &c->link);
    k->copies++;
    k->copy_bytes += c->cost;
}

void rt_kafka_misplaced_deinit(struct rt_kafka *k)
{
    rt_list_for_safe(node, next, &k->misplaced_list)
        drop(RT_CONTAINER(node, struct copy, link));
}
