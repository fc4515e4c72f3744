/* See cluster.h. */
#include "cluster/cluster.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "cluster/envelope.h"
#include "cluster/generation.h"
#include "cluster/members.h"

#define SOON_MS      20u /* between two announcements, at least */
#define LOG_EVERY_MS 60000u
#define SETTLED_MS   200u /* for an answer to the first announcement, once that has come back */

enum reason { MALFORMED, VERSION, MAC, CLUSTER, PLACE, STRANGER, UNPROVEN, REPLAYED, REASONS };

/* With what to change; in the order of the enum. */
static const struct {
    const char *labels, *text;
} reasons[REASONS] = {
    {"reason=\"malformed\"", "it is malformed: something else writes to this cluster's channels; "
                             "set a redis.prefix or cluster.name of its own"},
    {"reason=\"version\"", "it comes from a node of another version, which is to be updated too"},
    {"reason=\"mac\"",
     "its MAC is missing or wrong: cluster.secret is not the same on all nodes, or "
     "somebody else writes to Redis"},
    {"reason=\"cluster\"", "it is of another cluster: redis.prefix and cluster.name run into each "
                           "other; set another cluster.name"},
    {"reason=\"place\"", "it is not for the channel or key that it was found on"},
    {"reason=\"log\"", "its sender has another log in Kafka: set another cluster.name for each "
                       "cluster on this Redis"},
    {"reason=\"unproven\"", "its sender is not known to be alive yet"},
    {"reason=\"replay\"", "it was taken already: somebody repeats what was sent"},
};

struct rt_cluster {
    struct rt_cluster_options options;
    struct rt_redis *redis;
    struct rt_parcel_keys keys;
    struct rt_members members;
    struct rt_generation generation;
    struct rt_timer announce;
    uint64_t announced, sequence; /* loop time; of the last envelope */
    uint64_t came_back;           /* loop time at which our first announcement did; 0: not yet */
    bool closing, yielded, differ, clock_wrong;
    char clock_text[120];
    char prefix[160];
    struct rt_buf out, name;
    struct rt_metric rejected[REASONS];
    uint64_t rejection_logged[REASONS]; /* loop time */
    void (*on_mail)(void *arg, struct rt_str from, const struct rt_cluster_mail *mail);
    void *mail_arg;
};

/* Counted always, logged once a minute for each reason. */
static void reject(struct rt_cluster *c, enum reason reason, const char *what, struct rt_str from)
{
    uint64_t now = rt_loop_now(c->options.loop);
    c->rejected[reason].value++;
    if (c->rejected[reason].value > 1 && now - c->rejection_logged[reason] < LOG_EVERY_MS)
        return;
    c->rejection_logged[reason] = now;
    rt_log(reason == UNPROVEN ? RT_LOG_INFO : RT_LOG_WARN, "cluster",
           "a message from Redis was not taken", rt_kv_c("err", reasons[reason].text),
           rt_kv_c("what", what), rt_kv_str("peer", from),
           rt_kv_u64("so_far", c->rejected[reason].value));
}

/* ---- sending ---- */

static struct rt_str partition_channel(struct rt_cluster *c, uint32_t partition)
{
    rt_buf_clear(&c->name);
    rt_buf_add_c(&c->name, "p:");
    rt_buf_add_c(&c->name, c->options.topic);
    rt_buf_add_byte(&c->name, ':');
    rt_buf_add_u64(&c->name, partition);
    return rt_buf_str(&c->name);
}

static struct rt_str ephemeral_channel(struct rt_cluster *c, struct rt_str channel)
{
    rt_buf_clear(&c->name);
    rt_buf_add_c(&c->name, "c:");
    rt_buf_add_str(&c->name, channel);
    return rt_buf_str(&c->name);
}

static int send_parcel(struct rt_cluster *c, struct rt_str to, struct rt_parcel *parcel)
{
    rt_buf_clear(&c->out);
    parcel->instance = c->members.instance;
    parcel->sequence = ++c->sequence;
    parcel->cluster = rt_str_c(c->options.name);
    parcel->node = rt_cluster_node(c);
    rt_parcel_encode(&c->out, &c->keys, to, parcel);
    if (!rt_buf_ok(&c->out) || !rt_buf_ok(&c->name))
        return RT_ENOMEM;
    return rt_redis_publish(c->redis, to, rt_buf_str(&c->out));
}

void rt_cluster_committed(struct rt_cluster *c, const struct rt_record *record, struct rt_str epoch)
{
    struct rt_parcel parcel = {.purpose = RT_FOR_RECORD,
                               .channel = record->channel,
                               .partition = record->partition,
                               .epoch = epoch,
                               .message = record->message->m};
    /* Not sent: the tail brings it, a little later. The link counts it. */
    (void)send_parcel(c, partition_channel(c, record->partition), &parcel);
}

int rt_cluster_publish(struct rt_cluster *c, struct rt_str channel,
                       const struct rt_message *message)
{
    struct rt_parcel parcel = {.purpose = RT_FOR_RELAY, .channel = channel, .message = *message};
    return send_parcel(c, ephemeral_channel(c, channel), &parcel);
}

void rt_cluster_occupied(struct rt_cluster *c, struct rt_str channel, bool occupied)
{
    struct rt_str name = ephemeral_channel(c, channel);
    if (!rt_buf_ok(&c->name))
        return;
    if (!occupied)
        rt_redis_unsubscribe(c->redis, name);
    else if (rt_redis_subscribe(c->redis, name))
        rt_log(RT_LOG_ERROR, "cluster", "no memory for a subscription: a channel is cut off",
               rt_kv_str("channel", channel));
}

static struct rt_str mailbox(struct rt_cluster *c, struct rt_str node)
{
    rt_buf_clear(&c->name);
    rt_buf_add_c(&c->name, "n:");
    rt_buf_add_str(&c->name, node);
    return rt_buf_str(&c->name);
}

int rt_cluster_send(struct rt_cluster *c, struct rt_str node, const struct rt_cluster_mail *mail)
{
    struct rt_parcel parcel = {
        .purpose = RT_FOR_MAIL, .channel = mail->subject, .message = *mail->message};
    return send_parcel(c, mailbox(c, node), &parcel);
}

void rt_cluster_on_mail(struct rt_cluster *c,
                        void (*fn)(void *arg, struct rt_str from,
                                   const struct rt_cluster_mail *mail),
                        void *arg)
{
    c->on_mail = fn;
    c->mail_arg = arg;
}

struct rt_str rt_cluster_node(const struct rt_cluster *c)
{
    return rt_str_c(c->options.node);
}

/* ---- membership ---- */

static void compare_rules(struct rt_cluster *c)
{
    bool differ = rt_members_differ(&c->members);
    if (differ == c->differ)
        return;
    c->differ = differ;
    if (!differ)
        rt_log(RT_LOG_INFO, "cluster", "all nodes have the same rules in `channels` again");
    if (c->options.rules_differ)
        c->options.rules_differ(c->options.arg, differ);
}

static void announce(struct rt_timer *timer)
{
    struct rt_cluster *c = RT_CONTAINER(timer, struct rt_cluster, announce);
    struct rt_buf text = RT_BUF_INIT, hello = RT_BUF_INIT;
    rt_members_expire(&c->members, rt_loop_now(c->options.loop));
    compare_rules(c);
    c->members.established = rt_cluster_settled(c);
    uint64_t log = c->options.log_identity ? c->options.log_identity(c->options.arg) : 0;
    if (log != 0) /* once known it stays: a producer that is replaced knows nothing for a moment */
        c->members.log = log;
    rt_buf_add_byte(&text, '{');
    c->options.describe(c->options.arg, &text);
    rt_buf_add_byte(&text, '}');
    rt_members_write(&c->members, &hello);
    struct rt_parcel parcel = {.purpose = RT_FOR_NODES,
                               .message = {.data = rt_buf_str(&text),
                                           .key = rt_buf_str(&hello),
                                           .time = rt_wall_ms(),
                                           .kind = RT_KIND_JSON}};
    if (rt_buf_ok(&text) && rt_buf_ok(&hello) && rt_redis_up(c->redis) && !c->yielded)
        (void)send_parcel(c, RT_STR("nodes"), &parcel);
    rt_buf_deinit(&text);
    rt_buf_deinit(&hello);
    c->announced = rt_loop_now(c->options.loop);
    rt_timer_start(c->options.loop, timer, RT_CLUSTER_ANNOUNCE_MS, announce);
}

/* Somebody waits for it: not more often than that whoever repeats old announcements could make us busy. */
static void announce_soon(struct rt_cluster *c)
{
    if (!c->closing)
        rt_timer_start_at(c->options.loop, &c->announce, c->announced + SOON_MS, announce);
}

bool rt_cluster_settled(const struct rt_cluster *c)
{
    return c->came_back != 0 && rt_loop_now(c->options.loop) - c->came_back >= SETTLED_MS;
}

/* The others need not wait until they miss us. */
static void say_goodbye(struct rt_cluster *c)
{
    struct rt_parcel parcel = {.purpose = RT_FOR_NODES, .message = {.kind = RT_KIND_JSON}};
    if (rt_redis_up(c->redis))
        (void)send_parcel(c, RT_STR("nodes"), &parcel);
}

void rt_cluster_each_node(const struct rt_cluster *c,
                          void (*fn)(void *arg, struct rt_str name, struct rt_str json), void *arg)
{
    rt_members_each(&c->members, fn, arg);
}

static void name_taken(struct rt_cluster *c)
{
    char text[256];
    c->yielded = true; /* it ends, and has nobody to ask to go any more */
    (void)snprintf(
        text, sizeof(text),
        "node.name: \"%s\" is the name of another node that is running in cluster \"%s\"; "
        "set one of its own for each (empty: the host's name)",
        c->options.node, c->options.name);
    c->options.name_taken(c->options.arg, text);
}

bool rt_cluster_clock_right(struct rt_cluster *c, const char **ret_text)
{
    int64_t ahead = rt_members_clock(&c->members);
    bool right = ahead >= -RT_CLOCK_APART_MS && ahead <= RT_CLOCK_APART_MS;
    c->clock_text[0] = '\0';
    if (!right)
        (void)snprintf(c->clock_text, sizeof(c->clock_text),
                       "this node's clock is %lld s %s the other nodes': set it (NTP)",
                       (long long)(ahead < 0 ? -ahead : ahead) / 1000,
                       ahead < 0 ? "behind" : "ahead of");
    *ret_text = c->clock_text;
    return right;
}

static void compare_clocks(struct rt_cluster *c, const struct rt_parcel *p)
{
    const char *text;
    rt_members_note_clock(&c->members, p, rt_wall_ms());
    bool wrong = !rt_cluster_clock_right(c, &text);
    if (wrong && !c->clock_wrong)
        rt_log(RT_LOG_WARN, "cluster", text);
    else if (!wrong && c->clock_wrong)
        rt_log(RT_LOG_INFO, "cluster", "this node's clock is like the other nodes' again");
    c->clock_wrong = wrong;
}

static void hear(struct rt_cluster *c, const struct rt_parcel *p)
{
    enum rt_hearing heard = rt_members_hear(&c->members, p, rt_loop_now(c->options.loop));
    switch (heard) {
    case RT_HEARD:
        break;
    case RT_HEARD_NEWS:
        announce_soon(c);
        break;
    case RT_HEARD_TAKEN:
        name_taken(c);
        break;
    case RT_HEARD_AGAIN:
        reject(c, REPLAYED, "nodes", p->node);
        break;
    case RT_HEARD_NOTHING:
        reject(c, MALFORMED, "nodes", p->node);
    }
    compare_rules(c);
    if (heard != RT_HEARD_AGAIN && heard != RT_HEARD_NOTHING)
        compare_clocks(c, p);
}

/* Our own announcement has come back. One with a number that we have not come to is not ours: this process was copied while it ran. */
static void hear_ourselves(struct rt_cluster *c, const struct rt_parcel *p)
{
    if (p->sequence > c->sequence)
        name_taken(c);
    else if (c->came_back == 0)
        c->came_back = rt_loop_now(c->options.loop);
}

/* ---- what is kept in Redis ---- */

void rt_cluster_seal(struct rt_cluster *c, struct rt_str key, struct rt_str text,
                     struct rt_buf *out)
{
    struct rt_parcel parcel = {.purpose = RT_FOR_STATE,
                               .instance = c->members.instance,
                               .cluster = rt_str_c(c->options.name),
                               .node = rt_cluster_node(c),
                               .channel = key,
                               .message = {.data = text}};
    rt_parcel_encode(out, &c->keys, key, &parcel);
}

static enum reason reason_of(int code)
{
    return code == RT_EPERM ? MAC : code == RT_ENOENT ? VERSION : MALFORMED;
}

struct rt_str rt_cluster_unseal(struct rt_cluster *c, struct rt_str key, struct rt_str sealed)
{
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_parcel p;
    int status = rt_parcel_decode(sealed, &c->keys, key, attachments, &p, NULL);
    if (status)
        reject(c, reason_of(status), "what is kept in Redis", RT_STR_NONE);
    else if (!rt_str_eq(p.channel, key) || p.purpose != RT_FOR_STATE ||
             !rt_str_eq(p.cluster, rt_str_c(c->options.name)))
        reject(c, PLACE, "what is kept in Redis", p.node);
    else
        return p.message.data;
    return RT_STR_NONE;
}

struct rt_str rt_cluster_generation(const struct rt_cluster *c, uint64_t *ret_since)
{
    if (ret_since)
        *ret_since = c->generation.since;
    return rt_str_c(c->generation.text);
}

void rt_cluster_on_generation(struct rt_cluster *c, void (*fn)(void *arg), void *arg)
{
    c->generation.changed = fn;
    c->generation.arg = arg;
    if (fn && c->generation.text[0] != '\0')
        fn(arg);
}

/* ---- receiving ---- */

static void receive_mail(struct rt_cluster *c, const struct rt_parcel *p)
{
    struct rt_cluster_mail mail = {.subject = p->channel, .message = &p->message};
    if (c->on_mail)
        c->on_mail(c->mail_arg, p->node, &mail);
}

static void receive_record(struct rt_cluster *c, const struct rt_parcel *p)
{
    if (p->partition >= c->options.partitions || p->message.offset == 0)
        return;
    struct rt_record record = {.partition = p->partition,
                               .offset = p->message.offset,
                               .channel = p->channel,
                               .message = rt_stored_new(&p->message)};
    if (record.message) /* otherwise the tail brings it */
        c->options.early(c->options.arg, &record, p->epoch);
}

/* What a channel carries. */
static enum rt_purpose purpose_of(struct rt_str channel)
{
    if (rt_str_eq(channel, RT_STR("nodes")))
        return RT_FOR_NODES;
    return rt_str_starts(channel, RT_STR("n:"))   ? RT_FOR_MAIL
           : rt_str_starts(channel, RT_STR("p:")) ? RT_FOR_RECORD
                                                  : RT_FOR_RELAY;
}

static bool admit(struct rt_cluster *c, struct rt_str channel, const struct rt_parcel *p)
{
    static const enum reason of[] = {
        [RT_UNPROVEN] = UNPROVEN, [RT_REPLAYED] = REPLAYED, [RT_STRANGER] = STRANGER};
    static const char *const kinds[] = {[RT_FOR_RECORD] = "records of the log",
                                        [RT_FOR_RELAY] = "channels with log: false",
                                        [RT_FOR_NODES] = "nodes",
                                        [RT_FOR_MAIL] = "mail",
                                        [RT_FOR_STATE] = "what is kept in Redis"};
    if (!rt_str_eq(p->cluster, rt_str_c(c->options.name))) {
        reject(c, CLUSTER, kinds[p->purpose], p->node);
        return false;
    }
    if (p->purpose != purpose_of(channel)) {
        reject(c, PLACE, kinds[p->purpose], p->node);
        return false;
    }
    if (p->purpose == RT_FOR_NODES)
        return true; /* looked at by the members themselves */
    enum rt_admission admission = rt_members_admit(&c->members, p, c->keys.mac != NULL);
    if (admission != RT_ADMITTED)
        reject(c, of[admission], kinds[p->purpose], p->node);
    return admission == RT_ADMITTED;
}

static void take(struct rt_cluster *c, const struct rt_parcel *p)
{
    switch (p->purpose) {
    case RT_FOR_RECORD:
        receive_record(c, p);
        break;
    case RT_FOR_RELAY: {
        struct rt_message message = p->message;
        c->options.deliver(c->options.arg, p->channel, &message);
        break;
    }
    case RT_FOR_NODES:
        hear(c, p);
        break;
    case RT_FOR_MAIL:
        receive_mail(c, p);
        break;
    case RT_FOR_STATE:
        break; /* on no channel */
    }
}

static void on_message(void *arg, struct rt_str channel, struct rt_str payload)
{
    struct rt_cluster *c = arg;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_parcel parcel;
    struct rt_err err = {0};
    bool own = rt_parcel_instance(payload) == c->members.instance;
    if (own && !rt_str_eq(channel, RT_STR("nodes")))
        return;
    int status = rt_parcel_decode(payload, &c->keys, channel, attachments, &parcel, &err);
    if (status)
        reject(c, reason_of(status), err.text, RT_STR_NONE);
    else if (!admit(c, channel, &parcel))
        return;
    else if (own)
        hear_ourselves(c, &parcel);
    else
        take(c, &parcel);
}

/* ---- life ---- */

/* Nobody has heard us meanwhile. */
static void on_state(void *arg, bool up)
{
    struct rt_cluster *c = arg;
    c->came_back = 0;
    rt_generation_link(&c->generation, up && !c->closing);
    if (up && !c->closing)
        rt_timer_start(c->options.loop, &c->announce, 0, announce);
}

static void register_metrics(struct rt_cluster *c)
{
    for (int i = 0; i < REASONS; i++) {
        c->rejected[i] =
            (struct rt_metric){.name = "cluster_rejected_total",
                               .help = "Messages from Redis that were not taken, by reason.",
                               .labels = reasons[i].labels,
                               .type = RT_COUNTER};
        if (c->options.metrics)
            rt_metrics_register(c->options.metrics, &c->rejected[i]);
    }
    if (c->options.metrics)
        rt_members_register(&c->members, c->options.metrics);
}

static int make_key(const char *secret, struct rt_mac **ret_mac)
{
    return *secret ? rt_mac_new(rt_str_c(secret), ret_mac) : 0;
}

static int subscribe_partitions(struct rt_cluster *c)
{
    int status = rt_redis_subscribe(c->redis, RT_STR("nodes"));
    if (status == 0)
        status = rt_redis_subscribe(c->redis, mailbox(c, RT_STR_NONE));
    if (status == 0)
        status = rt_redis_subscribe(c->redis, mailbox(c, rt_cluster_node(c)));
    for (uint32_t i = 0; status == 0 && i < c->options.partitions; i++)
        status = rt_redis_subscribe(c->redis, partition_channel(c, i));
    return status;
}

int rt_cluster_set_partitions(struct rt_cluster *c, uint32_t partitions)
{
    int status = 0;
    for (uint32_t i = partitions; i < c->options.partitions; i++)
        rt_redis_unsubscribe(c->redis, partition_channel(c, i));
    for (uint32_t i = c->options.partitions; i < partitions; i++)
        if (rt_redis_subscribe(c->redis, partition_channel(c, i)))
            status = RT_ENOMEM;
    c->options.partitions = partitions;
    return status;
}

int rt_cluster_new(const struct rt_cluster_options *options, struct rt_cluster **ret_cluster,
                   struct rt_err *err)
{
    struct rt_cluster *c = rt_calloc(1, sizeof(*c));
    if (!c)
        return rt_err_nomem(err);
    c->options = *options;
    rt_members_init(&c->members, options->node, rt_wall_ms());
    c->members.rules = options->rules;
    (void)snprintf(c->prefix, sizeof(c->prefix), "%s%s:", options->prefix, options->name);
    struct rt_redis_options redis = {.loop = options->loop,
                                     .url = options->redis_url,
                                     .node = options->node,
                                     .prefix = c->prefix,
                                     .metrics = options->metrics,
                                     .on_message = on_message,
                                     .on_state = on_state,
                                     .arg = c};
    int status = rt_redis_new(&redis, &c->redis, err);
    rt_generation_init(&c->generation, options->loop, c->redis);
    if (status == 0 &&
        (make_key(options->secret, &c->keys.mac) ||
         make_key(options->second_secret, &c->keys.second) || subscribe_partitions(c)))
        status = rt_err_nomem(err);
    if (status) {
        rt_cluster_free(c);
        return status;
    }
    register_metrics(c);
    rt_timer_start(options->loop, &c->announce, 0, announce);
    *ret_cluster = c;
    return 0;
}

struct rt_redis *rt_cluster_redis(struct rt_cluster *c)
{
    return c->redis;
}

void rt_cluster_close(struct rt_cluster *c, void (*closed)(void *arg), void *arg)
{
    rt_timer_stop(c->options.loop, &c->announce);
    c->closing = true;
    rt_generation_stop(&c->generation);
    say_goodbye(c);
    rt_redis_close(c->redis, closed, arg);
}

void rt_cluster_free(struct rt_cluster *c)
{
    if (!c)
        return;
    rt_timer_stop(c->options.loop, &c->announce);
    rt_generation_stop(&c->generation);
    rt_redis_free(c->redis);
    rt_mac_free(c->keys.mac);
    rt_mac_free(c->keys.second);
    rt_members_deinit(&c->members);
    rt_buf_deinit(&c->out);
    rt_buf_deinit(&c->name);
    rt_free(c);
}
