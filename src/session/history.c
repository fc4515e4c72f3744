/* History reads: from the hub's memory where that holds all of the answer, else from what is stored.
 *
 * A journal that keeps what it stores answers for all of the log. Behind one that does not (Kafka) a database follows the log at some distance: its rows reach up to `complete`, and what
 * came later is in memory. So the channel is held in memory from the question on, and rows and memory are put together without a hole; where the database is too far
 * behind for that, it is asked again until it is not, for WAIT_MAX. The same wait is for a position which another node gave and this one has not come to yet. */
#include "session/internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/rand.h"

#define HISTORY_MAX 10000u
#define WAIT_STEP   20u   /* ms */
#define WAIT_MAX    3000u /* ms */

/* A question that memory alone did not answer. */
struct reading {
    struct rt_read read; /* first */
    struct rt_list link; /* in broker->readings */
    struct rt_history query;
    struct rt_broker *broker;
    const struct rt_channel_rule *rule;
    struct rt_channel
        *channel; /* pinned: remembers what comes meanwhile; NULL: the journal keeps all */
    struct rt_timer again;
    uint64_t deadline; /* of waiting; 0 not yet */
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

static void position_of(const struct rt_broker *b, const struct rt_channel *c,
                        struct rt_position *ret_position)
{
    if (rt_journal_position(b->journal, rt_channel_name(c), ret_position))
        return;
    memcpy(ret_position->epoch, rt_channel_epoch(c), sizeof(ret_position->epoch));
    ret_position->offset = rt_channel_top(c);
}

/* Is it on the side of the position that the question is about? */
static bool is_asked_for(const struct rt_history *q, const struct rt_stored *s)
{
    if (!q->has_since)
        return true;
    return q->reverse ? s->m.offset < q->since.offset : s->m.offset > q->since.offset;
}

static bool is_forward(const struct rt_history *q)
{
    return (q->has_since || q->by_time) && !q->reverse;
}

/* From here on the question is about a position. */
static void place_at(struct rt_history *q, uint64_t offset)
{
    q->has_since = true;
    q->since.offset = offset;
}

/* Are all messages of the channel that are not kept older than the time? A clock that was set back makes later ones say less. */
static bool rest_is_older(const struct rt_channel *c, uint64_t time)
{
    uint64_t dropped = rt_channel_dropped_time(c);
    if (dropped != UINT64_MAX)
        return dropped < time;
    return rt_channel_kept(c) > 0 && rt_channel_kept_at(c, 0)->m.time + RT_CLOCK_JUMP < time;
}

/* A time becomes the position of the first message of that time or later among what is kept above `above`, up to which there is none; `before` is the last message up to there, 0: none. */
static void place(struct rt_history *q, const struct rt_channel *c, uint64_t above, uint64_t before,
                  uint64_t top)
{
    for (size_t i = 0; i < rt_channel_kept(c); i++) {
        const struct rt_stored *s = rt_channel_kept_at(c, i);
        if (s->m.offset <= above)
            continue;
        if (s->m.time >= q->time) {
            place_at(q, q->reverse ? s->m.offset : before);
            return;
        }
        before = s->m.offset;
    }
    place_at(q, q->reverse ? top + 1 : before > 0 ? top : 0);
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
        if (is_asked_for(q, s))
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

static void answer_from_memory(const struct rt_broker *b, const struct rt_channel *c,
                               const struct rt_history *query, const struct rt_channel_rule *rule)
{
    size_t count = 0;
    struct rt_history placed = *query;
    const struct rt_history *q = &placed;
    struct rt_history_result r = {.status = 0};
    position_of(b, c, &r.top);
    if (q->by_time && !q->has_since && wanted(q) > 0 && is_forward(q) && !rest_is_older(c, q->time))
        place_at(&placed, 0); /* the first of the time may be gone */
    else if (q->by_time && !q->has_since && wanted(q) > 0)
        place(&placed, c, 0, 0, r.top.offset);
    struct rt_stored **messages = collect(c, q, rule, &count);
    if (!messages) {
        fail(q, RT_ENOMEM, "out of memory");
        return;
    }
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
    /* A journal may know how far positions of an earlier epoch are still good. */
    if (q->has_since && q->since.epoch[0] != '\0' &&
        strcmp(q->since.epoch, rt_channel_epoch(c)) != 0)
        return false;
    if (wanted(q) == 0)
        return true;
    if (q->has_since && !q->reverse)
        return rt_channel_covers_offset(c, q->since.offset);
    if (is_forward(q) && rest_is_older(c, q->time))
        return true;
    if (q->has_since || q->by_time)
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

/* ---- rows ---- */

static void drop_rows(struct rt_read *read)
{
    for (size_t i = 0; i < read->count; i++)
        rt_stored_unref(read->messages[i]);
    rt_free(read->messages);
    read->messages = NULL;
    read->count = 0;
}

static void close_reading(struct reading *r)
{
    drop_rows(&r->read);
    if (r->channel)
        rt_channel_unpin(r->channel);
    rt_timer_stop(r->broker->loop, &r->again);
    rt_list_remove(&r->link);
    rt_free(r);
}

/* Rows alone are the answer, or its first page. */
static void answer_rows(struct reading *r, const struct rt_position *top, bool more)
{
    const struct rt_history *q = &r->query;
    struct rt_read *read = &r->read;
    size_t start = q->has_since ? 0 : window_start(read->messages, read->count, r->rule);
    bool gap = read->damaged || (is_forward(q) && q->since.offset < read->floor);
    struct rt_history_result result = {.top = *top, .gap = gap, .more = more};
    answer(q, read->messages + start, read->count - start, &result);
}

/* The kept messages behind `complete` that the question is about, behind the rows; all of them held. NULL: out of memory. */
static struct rt_stored **join(const struct reading *r, size_t *ret_count)
{
    const struct rt_read *read = &r->read;
    const struct rt_history *q = &r->query;
    size_t kept = rt_channel_kept(r->channel), count = read->count;
    struct rt_stored **all = rt_reallocarray(NULL, count + kept + 1, sizeof(struct rt_stored *));
    if (!all)
        return NULL;
    if (count)
        memcpy(all, read->messages, count * sizeof(struct rt_stored *));
    for (size_t i = 0; i < kept; i++) {
        struct rt_stored *s = rt_channel_kept_at(r->channel, i);
        if (s->m.offset > read->complete && is_asked_for(q, s))
            all[count++] = s;
    }
    for (size_t i = 0; i < count; i++)
        rt_stored_ref(all[i]);
    *ret_count = count;
    return all;
}

static void answer_joined(struct reading *r, const struct rt_position *top)
{
    const struct rt_history *q = &r->query;
    size_t count = 0;
    struct rt_stored **all = join(r, &count);
    if (!all) {
        fail(q, RT_ENOMEM, "out of memory");
        return;
    }
    struct rt_stored **window = all;
    size_t left = count;
    if (!q->has_since) {
        size_t start = window_start(all, count, r->rule);
        window += start;
        left -= start;
    }
    struct rt_history_result result = {.top = *top,
                                       .gap = is_forward(q) && q->since.offset < r->read.floor};
    answer(q, window, left, &result);
    for (size_t i = 0; i < count; i++)
        rt_stored_unref(all[i]);
    rt_free(all);
}

/* The store cannot be read, or is too far behind. What memory has is the newest part of a window, without a hole; behind a position it would be one. */
static void answer_without_rows(struct reading *r, int status, const char *text)
{
    bool window = !r->query.has_since && !r->query.by_time;
    if (r->channel && window && rt_channel_kept(r->channel) > 0)
        answer_from_memory(r->broker, r->channel, &r->query, r->rule);
    else
        fail(&r->query, status, text);
}

static void look_again(struct reading *r);

static void on_again(struct rt_timer *timer)
{
    look_again(RT_CONTAINER(timer, struct reading, again));
}

/* False: it has waited long enough. */
static bool wait_on(struct reading *r)
{
    struct rt_broker *b = r->broker;
    uint64_t now = rt_loop_now(b->loop);
    if (r->deadline == 0)
        r->deadline = now + WAIT_MAX;
    if (now >= r->deadline || b->closing)
        return false;
    rt_timer_start(b->loop, &r->again, WAIT_STEP, on_again);
    return true;
}

/* Is this page all that is asked for, so that what follows it does not matter yet? */
static bool is_full(const struct reading *r)
{
    const struct rt_read *read = &r->read;
    return is_forward(&r->query) && (read->more || (read->count > 0 && read->count == read->limit));
}

/* The store may be ahead of this node. What lies above the position that is told comes live: it may not come here as well. Rows are oldest first. */
static void drop_above(struct rt_read *read, uint64_t top)
{
    while (read->count > 0 && read->messages[read->count - 1]->m.offset > top) {
        rt_stored_unref(read->messages[--read->count]);
        read->more = false; /* all up to the top is here */
    }
}

/* A time becomes a position, once it is known that no message before it is of that time or later. */
static void place_by_rows(struct reading *r, const struct rt_position *top)
{
    struct rt_history *q = &r->query;
    const struct rt_read *read = &r->read;
    if (!q->by_time || q->has_since)
        return;
    bool all = !r->channel || read->complete >= top->offset;
    if (q->reverse && (read->found || all))
        place_at(q, read->found ? read->since : top->offset + 1);
    else if (read->found || all)
        place_at(q, read->since < top->offset ? read->since : top->offset);
    else if (rt_channel_covers_offset(r->channel, read->complete))
        place(q, r->channel, read->complete, read->since, top->offset);
}

static void rows_came(struct reading *r)
{
    struct rt_history *q = &r->query;
    struct rt_read *read = &r->read;
    struct rt_position top = read->top;
    if (!r->channel) /* the journal has looked at the epoch of the position */
        memcpy(q->since.epoch, top.epoch, sizeof(q->since.epoch));
    if (r->channel && rt_journal_position(r->broker->journal, q->channel, &top))
        drop_above(read, top.offset);
    place_by_rows(r, &top);
    const char *fault = fault_of(q, &top);
    if (fault) {
        fail(q, RT_ERANGE, fault);
    } else if (!r->channel || is_full(r) || read->complete >= top.offset) {
        /* A full page may be the last one: then the next is empty. */
        answer_rows(r, &top,
                    read->more || (q->has_since && read->count > 0 && read->count == wanted(q)));
    } else if (rt_channel_covers_offset(r->channel, read->complete)) {
        answer_joined(r, &top);
    } else if (wait_on(r)) {
        drop_rows(read);
        return;
    } else if (is_forward(q) && read->count > 0) {
        answer_rows(r, &top, true);
    } else {
        answer_without_rows(r, RT_EAGAIN, "the history lags behind the log: try again");
    }
    close_reading(r);
}

static void read_done(struct rt_read *read)
{
    struct reading *r = RT_CONTAINER(read, struct reading, read);
    if (read->reverse)
        reverse(read->messages, read->count);
    if (read->status == 0) {
        rows_came(r);
        return;
    }
    answer_without_rows(r, read->status, read->text);
    close_reading(r);
}

static void fill_read(struct reading *r)
{
    const struct rt_history *q = &r->query;
    uint32_t want = wanted(q);
    struct rt_read *read = &r->read;
    *read = (struct rt_read){.channel_name = q->channel, .done = read_done, .limit = want};
    if (q->has_since) {
        read->since = q->since.offset;
        read->reverse = q->reverse;
        if (q->reverse && q->since.offset == 0)
            read->limit = 0; /* nothing precedes it; to the journal 0 is the top */
    } else if (q->by_time && want > 0) {
        read->by_time = true;
        read->time = q->time;
        read->reverse = q->reverse;
    } else if (want > 0) {
        read->limit = r->rule->history_size < HISTORY_MAX ? r->rule->history_size : HISTORY_MAX;
        read->reverse = true;
    }
    const char *epoch = r->channel ? rt_channel_epoch(r->channel) : q->since.epoch;
    memcpy(read->epoch, epoch, sizeof(read->epoch));
}

static int ask_store(struct reading *r)
{
    struct rt_broker *b = r->broker;
    fill_read(r);
    if (!b->read)
        return rt_journal_read(b->journal, &r->read);
    return b->read(b->read_arg, &r->read);
}

static struct reading *new_reading(struct rt_broker *b, const struct rt_history *q,
                                   const struct rt_channel_rule *rule)
{
    struct reading *r = rt_calloc(1, sizeof(*r) + q->channel.len);
    if (!r)
        return NULL;
    memcpy(r->name, q->channel.ptr, q->channel.len);
    r->query = *q;
    r->query.channel = rt_str_of(r->name, q->channel.len);
    r->broker = b;
    r->rule = rule;
    rt_list_push(&b->readings, &r->link);
    return r;
}

/* RT_ENOENT: nothing is stored beyond memory. */
static int ask_journal(struct rt_broker *b, const struct rt_history *q,
                       const struct rt_channel_rule *rule)
{
    struct reading *r = new_reading(b, q, rule);
    if (!r)
        return RT_ENOMEM;
    int status = ask_store(r);
    if (status == RT_PENDING)
        return 0;
    close_reading(r);
    return status;
}

/* ---- a log that nodes share ---- */

/* From here on the channel's object knows all that this node delivers. NULL: there is none, with the reason. */
static struct rt_channel *hold_channel(struct rt_broker *b, struct rt_str name,
                                       const struct rt_position *top, struct rt_err *err)
{
    struct rt_channel *c;
    if (rt_broker_open_channel(b, name, &c, err))
        return NULL;
    rt_channel_set_epoch(c, top->epoch);
    rt_channel_begin(c, top->offset);
    rt_channel_pin(c);
    return c;
}

/* Nothing is stored beyond memory, which has seen nothing of the channel. */
static void answer_nothing(const struct rt_history *q, const struct rt_position *top)
{
    struct rt_history_result result = {
        .top = *top, .gap = is_forward(q) && q->since.offset < top->offset, .text = ""};
    q->done(q->arg, &result);
}

/* What can be said now; false: the question has to wait. */
static bool answer_shared(struct reading *r)
{
    struct rt_broker *b = r->broker;
    const struct rt_history *q = &r->query;
    struct rt_position top;
    if (!rt_journal_position(b->journal, q->channel, &top)) {
        if (wait_on(r))
            return false;
        fail(q, RT_EAGAIN, "the log has not been reached yet: try again");
        return true;
    }
    bool ahead = is_forward(q) && q->since.offset > top.offset &&
                 (q->since.epoch[0] == '\0' || strcmp(q->since.epoch, top.epoch) == 0);
    if (ahead && wait_on(r))
        return false;
    /* Another incarnation of the log would have another epoch: the position is good, and this node far behind. */
    if (ahead && q->since.epoch[0] != '\0') {
        fail(q, RT_EAGAIN, "this node has not come to the position yet: try again");
        return true;
    }
    const char *fault = fault_of(q, &top);
    if (fault) {
        fail(q, RT_ERANGE, fault);
        return true;
    }
    struct rt_channel *c = rt_hub_channel(b->hub, q->channel, false);
    if (c && rt_channel_top(c) > 0)
        rt_channel_set_epoch(c, top.epoch);
    if (covered(c, q, r->rule) || wanted(q) == 0) {
        if (c)
            answer_from_memory(b, c, q, r->rule);
        else
            answer_nothing(q, &top);
        return true;
    }
    struct rt_err err = {0};
    if (!r->channel && !(r->channel = hold_channel(b, q->channel, &top, &err))) {
        fail(q, RT_EAGAIN, err.text);
        return true;
    }
    if (covered(r->channel, q, r->rule)) { /* it has had nothing, as the hub knows */
        answer_from_memory(b, r->channel, q, r->rule);
        return true;
    }
    int status = ask_store(r);
    if (status == RT_PENDING)
        return false;
    if (status == RT_ENOENT && rt_channel_kept(r->channel) > 0)
        answer_from_memory(b, r->channel, q, r->rule);
    else if (status == RT_ENOENT)
        answer_nothing(q, &top);
    else
        answer_without_rows(r, status, rt_err_name(status));
    return true;
}

static void look_again(struct reading *r)
{
    if (answer_shared(r))
        close_reading(r);
}

void rt_broker_stop_waiting(struct rt_broker *b)
{
    rt_list_for_safe(node, next, &b->readings) {
        struct reading *r = RT_CONTAINER(node, struct reading, link);
        if (!r->again.active)
            continue; /* whoever reads for it answers */
        fail(&r->query, RT_EAGAIN, "the broker is shutting down");
        close_reading(r);
    }
}

/* ---- */

/* With nothing but memory a channel that was never seen has a position as well: a fresh epoch. */
static struct rt_channel *known_channel(struct rt_broker *b, struct rt_str name, struct rt_err *err)
{
    struct rt_channel *c;
    if (rt_broker_open_channel(b, name, &c, err))
        return NULL;
    if (rt_channel_epoch(c)[0] == '\0') {
        char epoch[RT_ID_LEN + 1];
        rt_random_id(epoch);
        epoch[8] = '\0';
        rt_channel_set_epoch(c, epoch);
    }
    return c;
}

static void answer_local(struct rt_broker *b, const struct rt_history *q,
                         const struct rt_channel_rule *rule)
{
    struct rt_channel *c = rt_hub_channel(b->hub, q->channel, false);
    if (!covered(c, q, rule)) {
        int status = ask_journal(b, q, rule);
        if (status == 0)
            return;
        if (status != RT_ENOENT) {
            fail(q, status, rt_err_name(status));
            return;
        }
        struct rt_err err = {0};
        c = known_channel(b, q->channel, &err);
        if (!c) {
            fail(q, RT_EAGAIN, err.text);
            return;
        }
    }
    struct rt_position top;
    position_of(b, c, &top);
    const char *fault = fault_of(q, &top);
    if (fault)
        fail(q, RT_ERANGE, fault);
    else
        answer_from_memory(b, c, q, rule);
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
    if (!rt_journal_delivers(b->journal)) {
        answer_local(b, q, rule);
        return;
    }
    struct reading *r = new_reading(b, q, rule);
    if (!r)
        fail(q, RT_ENOMEM, "out of memory");
    else
        look_again(r);
}
