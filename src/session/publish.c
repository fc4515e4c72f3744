/* Publishing: rule, permission and limits, then the log, then the fan-out.
 *
 * Without a log the message goes straight from its buffer into the channel's run. With a log a stored copy is appended; once its position is known
 * that same copy is delivered and kept; where the journal delivers by itself it comes back through rt_broker_deliver(). `deliver: on_publish` turns the two
 * steps round. */
#include "session/internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rand.h"
#include "journal/record.h"

/* An append whose answer is awaited. */
struct pending {
    struct rt_append append; /* first */
    struct rt_broker *broker;
    struct rt_list
        held; /* in broker->held: it has its answer, and waits for its turn to be delivered */
    void (*done)(void *arg, const struct rt_publish_result *result);
    void *arg;
};

static void set_text(struct rt_publish_result *r, const char *text)
{
    size_t len = strlen(text);
    if (len >= sizeof(r->text))
        len = sizeof(r->text) - 1;
    memcpy(r->text, text, len);
    r->text[len] = '\0';
}

static void count(struct rt_broker *b, const struct rt_publish_result *r)
{
    switch (r->status) {
    case RT_PUBLISH_OK:
        b->metrics.ok.value++;
        break;
    case RT_PUBLISH_RETRY:
        b->metrics.retry.value++;
        break;
    case RT_PUBLISH_UNKNOWN:
        b->metrics.unknown.value++;
        break;
    case RT_PUBLISH_LIMITED:
        b->metrics.limited.value++;
        break;
    case RT_PUBLISH_REFUSED:
        b->metrics.refused.value++;
        break;
    }
    if (r->duplicate)
        b->metrics.duplicates.value++;
}

static void refuse(struct rt_publish_result *r, enum rt_refusal why, const struct rt_err *err)
{
    *r = (struct rt_publish_result){.status = RT_PUBLISH_REFUSED, .why = why, .code = err->code};
    set_text(r, err->text);
}

static void retry(struct rt_publish_result *r, const char *text)
{
    *r = (struct rt_publish_result){.status = RT_PUBLISH_RETRY, .code = RT_EAGAIN};
    set_text(r, text);
}

_Static_assert(RT_CONF_ATTACHMENTS <= RT_MAX_ATTACHMENTS, "a message holds what a packet may have");
_Static_assert(RT_CONF_CHANNEL_NAME <= RT_RECORD_CHANNEL, "a record holds the name of its channel");

/* What would be answered `ok` has to come back from every log and from the rows. */
static int check_key(const struct rt_message *m, struct rt_err *err)
{
    return m->key.len > 64
               ? rt_err_set(err, RT_ERANGE, "the idempotency key has %zu bytes, allowed are 64",
                            m->key.len)
               : 0;
}

static int check_size(const struct rt_broker *b, const struct rt_message *m, struct rt_err *err)
{
    uint64_t size = m->data.len + m->event.len + m->except_in.len;
    for (uint8_t i = 0; i < m->attachment_count; i++)
        size += m->attachments[i].len;
    uint64_t max = b->config->limits.message;
    if (size > max)
        return rt_err_set(err, RT_ERANGE,
                          "the message has %llu bytes, allowed are %llu (limits.message)",
                          (unsigned long long)size, (unsigned long long)max);
    if (m->attachment_count > RT_MAX_ATTACHMENTS)
        return rt_err_set(err, RT_ERANGE, "the message has %u attachments, allowed are %d",
                          (unsigned)m->attachment_count, RT_MAX_ATTACHMENTS);
    if (m->key.len > RT_RECORD_KEY)
        return rt_err_set(err, RT_ERANGE, "the idempotency key has %zu bytes, allowed are %d",
                          m->key.len, RT_RECORD_KEY);
    return 0;
}

/* `*ret_why` says more than the code, which several checks share. */
static int check(struct rt_broker *b, const struct rt_publish *p,
                 const struct rt_channel_rule *rule, enum rt_refusal *ret_why, struct rt_err *err)
{
    *ret_why = RT_REFUSED_INVALID;
    int status = rt_broker_check_name(b, p->channel, err);
    if (status || (status = check_key(p->message, err)))
        return status;
    *ret_why = RT_REFUSED_MESSAGE;
    if ((status = check_size(b, p->message, err)))
        return status;
    if (!rule && (p->api || !p->trusted))
        status = rt_broker_no_rule(p->channel, err);
    else if (!p->trusted)
        status = rt_broker_may_publish(b, p->client, p->channel, err);
    *ret_why = rt_refusal_of(status);
    return status;
}

/* False: the client has published more than its rule allows, and `*r` says so. Actions are bound by it as well: a client makes them run. */
static bool within_rate(struct rt_broker *b, const struct rt_publish *p,
                        const struct rt_channel_rule *rule, struct rt_publish_result *r)
{
    if (!rule || rule->rate_publish == 0 || !p->client)
        return true;
    uint64_t wait = 0;
    int status = rt_rates_take(&b->rates, &b->rules[rule - b->config->channels].rate,
                               rt_hub_identify(b->hub, &p->client->subscriber),
                               rt_loop_now(b->loop) * 1000, &wait);
    if (status == 0)
        return true;
    if (status == RT_ENOMEM) {
        retry(r, "out of memory");
        return false;
    }
    struct rt_err err;
    rt_err_set(&err, RT_EAGAIN,
               "a client may publish less here (`rate` of the rule with match \"%s\" in "
               "`channels`): again in %llu ms",
               rule->match, (unsigned long long)(wait + 999) / 1000);
    *r = (struct rt_publish_result){
        .status = RT_PUBLISH_LIMITED, .why = RT_REFUSED_RATE, .code = err.code};
    set_text(r, err.text);
    return false;
}

static uint64_t output_of(const struct rt_channel *c, const struct rt_message *m)
{
    return (uint64_t)rt_channel_subscribers(c) * (m->data.len + RT_COPY_OVERHEAD);
}

static void deliver(struct rt_broker *b, const struct rt_append *a)
{
    b->committed += output_of(a->channel, &a->message->m);
    a->message->m.offset = a->position.offset;
    rt_broker_hand_over(b, a->channel, a->channel_name, a->position.epoch, a->message);
}

static void result_of(const struct rt_append *a, struct rt_publish_result *r)
{
    *r = (struct rt_publish_result){.status = RT_PUBLISH_OK,
                                    .logged = true,
                                    .duplicate = a->duplicate,
                                    .position = a->position};
    if (a->status == 0)
        return;
    r->logged = false;
    r->code = a->status;
    r->why = RT_REFUSED_MESSAGE; /* the log refuses what is too large for it alone */
    bool refused = a->status == RT_EINVAL || a->status == RT_ERANGE;
    r->status = a->status == RT_EUNKNOWN ? RT_PUBLISH_UNKNOWN
                : refused                ? RT_PUBLISH_REFUSED
                                         : RT_PUBLISH_RETRY;
    set_text(r, a->text[0] ? a->text : rt_err_name(a->status));
}

/* The append has its answer: deliver, release. The result is valid afterwards, the pending is not. */
static void complete(struct pending *p, struct rt_publish_result *r)
{
    struct rt_append *a = &p->append;
    if (a->status == 0 && !a->duplicate && !rt_journal_delivers(p->broker->journal))
        deliver(p->broker, a);
    if (a->status == RT_EUNKNOWN && a->message->m.stamp != 0)
        rt_early_add(&p->broker->early, &a->message->m, rt_loop_now(p->broker->loop));
    result_of(a, r);
    count(p->broker, r);
    rt_stored_unref(a->message);
    rt_channel_unpin(a->channel);
    rt_free(p);
}

static void finish(struct pending *p)
{
    void (*done)(void *, const struct rt_publish_result *) = p->done;
    void *arg = p->arg;
    struct rt_publish_result result;
    complete(p, &result);
    if (done)
        done(arg, &result);
}

/* A batch of the log may fan out to more than a turn can write. */
static void appended(struct rt_append *append)
{
    struct pending *p = RT_CONTAINER(append, struct pending, append);
    if (!rt_journal_delivers(p->broker->journal) && rt_broker_is_behind(p->broker))
        rt_list_push(&p->broker->held, &p->held);
    else
        finish(p);
}

void rt_broker_release(struct rt_broker *b, bool all)
{
    struct rt_list *node;
    while ((all || !rt_broker_has_output(b)) && (node = rt_list_pop(&b->held)))
        finish(RT_CONTAINER(node, struct pending, held));
}

static struct pending *prepare(struct rt_broker *b, const struct rt_publish *publish,
                               struct rt_err *err)
{
    struct rt_channel *channel;
    if (rt_broker_open_channel(b, publish->channel, &channel, err))
        return NULL;
    struct pending *p = rt_calloc(1, sizeof(*p));
    if (!p) {
        rt_err_nomem(err);
        return NULL;
    }
    p->broker = b;
    rt_list_init(&p->held);
    p->done = publish->done;
    p->arg = publish->arg;
    p->append.done = appended;
    p->append.channel = channel;
    p->append.message = rt_stored_new(publish->message);
    if (!p->append.message) {
        rt_err_nomem(err);
        rt_free(p);
        return NULL;
    }
    p->append.channel_name = rt_channel_name(p->append.channel);
    rt_channel_pin(p->append.channel);
    return p;
}

static int publish_logged(struct rt_broker *b, const struct rt_publish *publish,
                          const struct rt_channel_rule *rule, struct rt_publish_result *result)
{
    struct rt_err err = {0};
    if (!(publish->message->flags & RT_MESSAGE_COPY)) /* whose id says which others are its like */
        rt_uuid7(publish->message->time, publish->message->id);
    struct pending *p = prepare(b, publish, &err);
    if (!p) {
        retry(result, err.text);
        count(b, result);
        return 0;
    }
    int status = rt_journal_append(b->journal, &p->append);
    if (status != RT_PENDING) {
        p->append.status = status;
        complete(p, result);
        return 0;
    }
    if (rule->deliver == RT_ON_PUBLISH) {
        rt_hub_set_time(b->hub, rt_loop_now(b->loop));
        (void)rt_hub_publish_stored(b->hub, p->append.channel_name, p->append.message);
    }
    return RT_PENDING;
}

static void publish_ephemeral(struct rt_broker *b, const struct rt_publish *publish,
                              struct rt_publish_result *result)
{
    *result = (struct rt_publish_result){.status = RT_PUBLISH_OK};
    if (rt_hub_publish(b->hub, publish->channel, publish->message) != 0)
        retry(result, "out of memory");
    else if (b->relay.publish)
        (void)b->relay.publish(b->relay.arg, publish->channel, publish->message);
}

/* To the log, or to subscribers. What it fans out to is somebody's share of the turn (relief.c), wherever it goes first. */
static int hand_on(struct rt_broker *b, const struct rt_publish *publish,
                   const struct rt_channel *c, const struct rt_channel_rule *rule,
                   struct rt_publish_result *result)
{
    if (c && publish->client)
        b->output += output_of(c, publish->message);
    if (rule && rule->log)
        return publish_logged(b, publish, rule, result);
    publish_ephemeral(b, publish, result);
    count(b, result);
    return 0;
}

int rt_broker_publish(struct rt_broker *b, const struct rt_publish *publish,
                      struct rt_publish_result *result)
{
    struct rt_err err = {0};
    enum rt_refusal why;
    const struct rt_channel *c = rt_hub_channel(b->hub, publish->channel, false);
    const struct rt_channel_rule *rule = rt_broker_rule_of(b, c, publish->channel);
    struct rt_message *m = publish->message;
    m->offset = 0;
    m->time = rt_wall_ms();
    if (!m->publisher.ptr && publish->client && publish->client->publisher)
        m->publisher = rt_str_c(publish->client->publisher);
    if (b->closing)
        retry(result, "the broker is shutting down");
    else if (check(b, publish, rule, &why, &err))
        refuse(result, why, &err);
    else if (within_rate(b, publish, rule, result))
        return hand_on(b, publish, c, rule, result);
    count(b, result);
    return 0;
}
