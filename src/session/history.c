/* History reads: from the hub's memory where that holds all of the answer, else from the journal. */
#include "session/internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/rand.h"

#define HISTORY_MAX 10000u

/* A read of the journal on its way. */
struct reading {
    struct rt_read read; /* first */
    struct rt_history query;
    struct rt_broker *broker;
    const struct rt_channel_rule *rule;
    char name[];
};

static void fail(const struct rt_history *q, int status, const char *text)
{
    struct rt_history_result r = {.status = status, .text = text};
    q->done(q->arg, &r);
}

/* The number of messages asked for. */
static uint32_t wanted(const struct rt_history *q)
{
    if (q->limit == 0)
        return 0;
    return q->limit < 0 || q->limit > HISTORY_MAX ? HISTORY_MAX : (uint32_t)q->limit;
}

static bool outlived(const struct rt_stored *s, const struct rt_channel_rule *rule, uint64_t now)
{
    return s->m.time + rule->history_ttl <= now;
}

/* Keeps the newest `size` that are within ttl: moves the window's start. Messages are oldest first. */
static size_t window_start(struct rt_stored *const *messages, size_t count,
                           const struct rt_channel_rule *rule)
{
    size_t start = count > rule->history_size ? count - rule->history_size : 0;
    uint64_t now = rt_wall_ms();
    while (start < count && outlived(messages[start], rule, now))
        start++;
    return start;
}

static void reverse(struct rt_stored **messages, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct rt_stored *swap = messages[i];
        messages[i] = messages[count - 1 - i];
        messages[count - 1 - i] = swap;
    }
}

/* Cuts [from, to) of messages in log order to the limit, in the asked direction, and answers. */
static void answer(const struct rt_history *q, struct rt_stored **messages, size_t count,
                   struct rt_history_result *r)
{
    size_t want = wanted(q), skip = 0;
    if (q->reverse && count > want)
        skip = count - want;
    size_t take = count - skip < want ? count - skip : want;
    if (q->reverse)
        reverse(messages + skip, take);
    r->more |= take < count && take > 0;
    r->messages = messages + skip;
    r->count = take;
    r->text = "";
    q->done(q->arg, r);
}

static void position_of(const struct rt_channel *c, struct rt_position *ret_position)
{
    memcpy(ret_position->epoch, rt_channel_epoch(c), sizeof(ret_position->epoch));
    ret_position->offset = rt_channel_top(c);
}

/* The kept messages of the asked range, in log order, as an array of the caller's (rt_free). */
static struct rt_stored **collect(const struct rt_channel *c, const struct rt_history *q,
                                  const struct rt_channel_rule *rule, size_t *ret_count)
{
    size_t kept = rt_channel_kept(c), count = 0;
    struct rt_stored **all = rt_reallocarray(NULL, kept + 1, sizeof(struct rt_stored *));
    if (!all)
        return NULL;
    for (size_t i = 0; i < kept; i++) {
        struct rt_stored *s = rt_channel_kept_at(c, i);
        bool in = !q->has_since ||
                  (q->reverse ? s->m.offset < q->since.offset : s->m.offset > q->since.offset);
        if (in)
            all[count++] = s;
    }
    if (!q->has_since) {
        size_t start = window_start(all, count, rule);
        count -= start;
        memmove(all, all + start, count * sizeof(struct rt_stored *));
    }
    *ret_count = count;
    return all;
}

static void answer_from_memory(const struct rt_channel *c, const struct rt_history *q,
                               const struct rt_channel_rule *rule)
{
    size_t count = 0;
    struct rt_stored **messages = collect(c, q, rule, &count);
    if (!messages) {
        fail(q, RT_ENOMEM, "out of memory");
        return;
    }
    struct rt_history_result r = {.status = 0};
    position_of(c, &r.top);
    r.gap = q->has_since && !q->reverse && !rt_channel_covers_offset(c, q->since.offset);
    /* `done` may publish, and so drop kept messages: hold them. */
    for (size_t i = 0; i < count; i++)
        rt_stored_ref(messages[i]);
    struct rt_stored **held = messages;
    answer(q, messages, count, &r);
    for (size_t i = 0; i < count; i++)
        rt_stored_unref(held[i]);
    rt_free(messages);
}

/* Does memory hold everything that the question is about? */
static bool covered(const struct rt_channel *c, const struct rt_history *q,
                    const struct rt_channel_rule *rule)
{
    /* An object that has seen no message knows nothing of the log, even where a reader has told it
     * the epoch. */
    if (!c || rt_channel_epoch(c)[0] == '\0' || rt_channel_top(c) == 0)
        return false;
    if (wanted(q) == 0)
        return true;
    if (q->has_since && !q->reverse)
        return rt_channel_covers_offset(c, q->since.offset);
    if (q->has_since)
        return rt_channel_covers_offset(c, 0);
    return rt_channel_kept(c) >= rule->history_size || rt_channel_covers_offset(c, 0);
}

/* Why nothing can be read from the position that is asked for; NULL: it can. */
static const char *fault_of(const struct rt_history *q, const struct rt_position *top)
{
    if (q->has_since && q->since.epoch[0] != '\0' && strcmp(q->since.epoch, top->epoch) != 0)
        return "the position is of another epoch";
    /* A log that was put back to an earlier state would say that there is nothing new, and give these positions again. */
    if (q->has_since && !q->reverse && q->since.offset > top->offset)
        return "the position lies ahead of the log";
    return NULL;
}

/* Is something that followed `since` gone? */
static bool is_gap(const struct rt_read *read, uint64_t since)
{
    if (read->oldest == 0)
        return read->top.offset > since;
    return read->oldest - 1 > since;
}

static void read_done(struct rt_read *read)
{
    struct reading *r = RT_CONTAINER(read, struct reading, read);
    const struct rt_history *q = &r->query;
    const char *fault = read->status ? read->text : fault_of(q, &read->top);
    if (fault) {
        fail(q, read->status ? read->status : RT_ERANGE, fault);
    } else {
        size_t start = 0;
        if (read->reverse)
            reverse(read->messages, read->count);
        if (!q->has_since)
            start = window_start(read->messages, read->count, r->rule);
        /* A full page may be the last one: then the next is empty. */
        struct rt_history_result result = {
            .top = read->top,
            .gap = q->has_since && !q->reverse && is_gap(read, q->since.offset),
            .more = read->more || (q->has_since && read->count > 0 && read->count == wanted(q))};
        answer(q, read->messages + start, read->count - start, &result);
    }
    for (size_t i = 0; i < read->count; i++)
        rt_stored_unref(read->messages[i]);
    rt_free(read->messages);
    rt_free(r);
}

/* RT_ENOENT: the journal has nothing beyond memory. */
static int ask_journal(struct rt_broker *b, const struct rt_history *q,
                       const struct rt_channel_rule *rule)
{
    struct reading *r = rt_calloc(1, sizeof(*r) + q->channel.len);
    if (!r)
        return RT_ENOMEM;
    memcpy(r->name, q->channel.ptr, q->channel.len);
    r->query = *q;
    r->query.channel = rt_str_of(r->name, q->channel.len);
    r->broker = b;
    r->rule = rule;
    uint32_t want = wanted(q);
    r->read = (struct rt_read){.channel_name = r->query.channel, .done = read_done, .limit = want};
    if (q->has_since) {
        r->read.since = q->since.offset;
        r->read.reverse = q->reverse;
        if (q->reverse && q->since.offset == 0)
            r->read.limit = 0; /* nothing precedes it; to the journal 0 is the top */
    } else if (want > 0) {
        r->read.limit = rule->history_size < HISTORY_MAX ? rule->history_size : HISTORY_MAX;
        r->read.reverse = true;
    }
    int status = rt_journal_read(b->journal, &r->read);
    if (status == RT_PENDING)
        return 0;
    rt_free(r);
    return status;
}

/* With nothing but memory a channel that was never seen has a position as well: a fresh epoch. */
static struct rt_channel *known_channel(struct rt_broker *b, struct rt_str name)
{
    struct rt_channel *c = rt_hub_channel(b->hub, name, true);
    if (c && rt_channel_epoch(c)[0] == '\0') {
        char epoch[RT_ID_LEN + 1];
        rt_random_id(epoch);
        epoch[8] = '\0';
        rt_channel_set_epoch(c, epoch);
    }
    return c;
}

void rt_broker_history(struct rt_broker *b, const struct rt_history *q)
{
    struct rt_err err = {0};
    const struct rt_channel_rule *rule = rt_broker_rule(b, q->channel);
    if (rt_broker_check_name(b, q->channel, &err)) {
        fail(q, RT_EINVAL, err.text);
        return;
    }
    if (!rule || !rule->log) {
        fail(q, RT_ENOENT,
             rule ? "the channel has no history: its rule in `channels` says `log: false`"
                  : "no rule for this channel: add one to `channels` whose `match` fits");
        return;
    }
    struct rt_channel *c = rt_hub_channel(b->hub, q->channel, false);
    if (!covered(c, q, rule)) {
        int status = ask_journal(b, q, rule);
        if (status == 0)
            return;
        if (status != RT_ENOENT) {
            fail(q, status, rt_err_name(status));
            return;
        }
        c = known_channel(b, q->channel);
        if (!c) {
            fail(q, RT_ENOMEM, "out of memory");
            return;
        }
    }
    struct rt_position top;
    position_of(c, &top);
    const char *fault = fault_of(q, &top);
    if (fault)
        fail(q, RT_ERANGE, fault);
    else
        answer_from_memory(c, q, rule);
}
