/* See cluster.h. */
#include "cluster/cluster.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "cluster/envelope.h"
#include "json/scan.h"

#define GONE_MS   10000u
#define NODES_MAX 1000u

/* Another node, as it announced itself. */
struct node {
    struct rt_list link; /* oldest announcement first */
    uint64_t heard;      /* loop time */
    size_t name_len, json_len;
    char text[]; /* name, then JSON */
};

struct rt_cluster {
    struct rt_cluster_options options;
    struct rt_redis *redis;
    struct rt_mac *mac; /* NULL: there is no secret */
    struct rt_map nodes;
    struct rt_list by_age;
    struct rt_timer announce;
    bool closing;
    struct rt_buf out, name;
    struct rt_metric rejected, node_count;
    void (*on_mail)(void *arg, struct rt_str from, const struct rt_cluster_mail *mail);
    void *mail_arg;
};

static struct rt_str key_of_node(const void *value)
{
    const struct node *n = value;
    return rt_str_of(n->text, n->name_len);
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

static int send_parcel(struct rt_cluster *c, struct rt_str to, const struct rt_parcel *parcel)
{
    rt_buf_clear(&c->out);
    rt_parcel_encode(&c->out, c->mac, parcel);
    if (!rt_buf_ok(&c->out) || !rt_buf_ok(&c->name))
        return RT_ENOMEM;
    return rt_redis_publish(c->redis, to, rt_buf_str(&c->out));
}

void rt_cluster_committed(struct rt_cluster *c, const struct rt_record *record, struct rt_str epoch)
{
    struct rt_parcel parcel = {.node = rt_str_c(c->options.node),
                               .channel = record->channel,
                               .logged = true,
                               .partition = record->partition,
                               .epoch = epoch,
                               .message = record->message->m};
    /* Not sent: the tail brings it, a little later. The link counts it. */
    (void)send_parcel(c, partition_channel(c, record->partition), &parcel);
}

int rt_cluster_publish(struct rt_cluster *c, struct rt_str channel,
                       const struct rt_message *message)
{
    struct rt_parcel parcel = {
        .node = rt_str_c(c->options.node), .channel = channel, .message = *message};
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
        .node = rt_cluster_node(c), .channel = mail->subject, .message = *mail->message};
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

static void forget_node(struct rt_cluster *c, struct node *n)
{
    rt_map_remove(&c->nodes, key_of_node(n));
    rt_list_remove(&n->link);
    rt_free(n);
}

static void expire_nodes(struct rt_cluster *c)
{
    uint64_t now = rt_loop_now(c->options.loop);
    while (!rt_list_empty(&c->by_age)) {
        struct node *n = RT_CONTAINER(c->by_age.next, struct node, link);
        if (now - n->heard < GONE_MS)
            return;
        rt_log(RT_LOG_WARN, "cluster", "a node is no longer heard",
               rt_kv_str("peer", key_of_node(n)));
        forget_node(c, n);
    }
}

static void announce(struct rt_timer *timer)
{
    struct rt_cluster *c = RT_CONTAINER(timer, struct rt_cluster, announce);
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_add_byte(&text, '{');
    c->options.describe(c->options.arg, &text);
    rt_buf_add_byte(&text, '}');
    struct rt_parcel parcel = {
        .node = rt_str_c(c->options.node),
        .message = {.data = rt_buf_str(&text), .kind = RT_KIND_JSON},
    };
    if (rt_buf_ok(&text) && rt_redis_up(c->redis))
        (void)send_parcel(c, RT_STR("nodes"), &parcel);
    rt_buf_deinit(&text);
    expire_nodes(c);
    rt_timer_start(c->options.loop, timer, RT_CLUSTER_ANNOUNCE_MS, announce);
}

/* The others need not wait until they miss us. */
static void say_goodbye(struct rt_cluster *c)
{
    struct rt_parcel parcel = {.node = rt_str_c(c->options.node),
                               .message = {.kind = RT_KIND_JSON}};
    if (rt_redis_up(c->redis))
        (void)send_parcel(c, RT_STR("nodes"), &parcel);
}

static void heard(struct rt_cluster *c, const struct rt_parcel *p)
{
    struct rt_str json = p->message.data;
    struct node *old = rt_map_get(&c->nodes, p->node);
    if (json.len == 0 && old) {
        rt_log(RT_LOG_INFO, "cluster", "a node left", rt_kv_str("peer", p->node));
        forget_node(c, old);
        return;
    }
    if (rt_json_check(json, RT_JSON_ENVELOPE, &json, NULL) || rt_json_kind(json) != RT_JSON_OBJECT)
        return;
    if (old)
        forget_node(c, old);
    if (c->nodes.count >= NODES_MAX)
        return;
    struct node *n = rt_malloc(sizeof(*n) + p->node.len + json.len);
    if (!n)
        return; /* it announces itself again */
    *n = (struct node){
        .heard = rt_loop_now(c->options.loop), .name_len = p->node.len, .json_len = json.len};
    memcpy(n->text, p->node.ptr, p->node.len);
    memcpy(n->text + p->node.len, json.ptr, json.len);
    if (rt_map_put(&c->nodes, n)) {
        rt_free(n);
        return;
    }
    rt_list_push(&c->by_age, &n->link);
    if (!old)
        rt_log(RT_LOG_INFO, "cluster", "a node joined", rt_kv_str("peer", p->node));
}

void rt_cluster_each_node(const struct rt_cluster *c,
                          void (*fn)(void *arg, struct rt_str name, struct rt_str json), void *arg)
{
    rt_list_for(node, &c->by_age) {
        const struct node *n = RT_CONTAINER(node, struct node, link);
        fn(arg, rt_str_of(n->text, n->name_len), rt_str_of(n->text + n->name_len, n->json_len));
    }
}

void rt_cluster_seal(struct rt_cluster *c, struct rt_str subject, struct rt_str text,
                     struct rt_buf *out)
{
    struct rt_parcel parcel = {
        .node = rt_cluster_node(c), .channel = subject, .message = {.data = text}};
    rt_parcel_encode(out, c->mac, &parcel);
}

struct rt_str rt_cluster_unseal(struct rt_cluster *c, struct rt_str subject, struct rt_str sealed)
{
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_parcel parcel;
    if (rt_parcel_decode(sealed, c->mac, attachments, &parcel, NULL) ||
        !rt_str_eq(parcel.channel, subject))
        return RT_STR_NONE;
    return parcel.message.data;
}

uint64_t rt_cluster_silence(const struct rt_cluster *c, struct rt_str node)
{
    const struct node *n = rt_map_get(&c->nodes, node);
    return n ? rt_loop_now(c->options.loop) - n->heard : UINT64_MAX;
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

static void on_message(void *arg, struct rt_str channel, struct rt_str payload)
{
    struct rt_cluster *c = arg;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_parcel parcel;
    struct rt_err err = {0};
    if (rt_str_eq(rt_parcel_sender(payload), rt_cluster_node(c)))
        return; /* our own */
    if (rt_parcel_decode(payload, c->mac, attachments, &parcel, &err)) {
        c->rejected.value++;
        rt_log(RT_LOG_WARN, "cluster", "a message from Redis was refused",
               rt_kv_c("err", err.text));
        return;
    }
    if (rt_str_eq(channel, RT_STR("nodes")))
        heard(c, &parcel);
    else if (rt_str_starts(channel, RT_STR("n:")))
        receive_mail(c, &parcel);
    else if (parcel.logged)
        receive_record(c, &parcel);
    else
        c->options.deliver(c->options.arg, parcel.channel, &parcel.message);
}

/* ---- life ---- */

/* Nobody has heard us meanwhile. */
static void on_state(void *arg, bool up)
{
    struct rt_cluster *c = arg;
    if (up && !c->closing)
        rt_timer_start(c->options.loop, &c->announce, 0, announce);
}

static double count_nodes(void *arg)
{
    return (double)((const struct rt_cluster *)arg)->nodes.count + 1;
}

static void register_metrics(struct rt_cluster *c)
{
    c->rejected = (struct rt_metric){.name = "cluster_rejected_total",
                                     .help = "Messages from Redis that were malformed or had a "
                                             "wrong MAC.",
                                     .type = RT_COUNTER};
    c->node_count = (struct rt_metric){.name = "cluster_nodes",
                                       .help = "Nodes that are heard, this one included.",
                                       .type = RT_GAUGE,
                                       .read = count_nodes,
                                       .arg = c};
    if (!c->options.metrics)
        return;
    rt_metrics_register(c->options.metrics, &c->rejected);
    rt_metrics_register(c->options.metrics, &c->node_count);
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
    rt_map_init(&c->nodes, key_of_node);
    rt_list_init(&c->by_age);
    struct rt_redis_options redis = {.loop = options->loop,
                                     .url = options->redis_url,
                                     .node = options->node,
                                     .prefix = options->prefix,
                                     .metrics = options->metrics,
                                     .on_message = on_message,
                                     .on_state = on_state,
                                     .arg = c};
    int status = rt_redis_new(&redis, &c->redis, err);
    if (status == 0 && ((*options->secret && rt_mac_new(rt_str_c(options->secret), &c->mac)) ||
                        subscribe_partitions(c)))
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
    say_goodbye(c);
    rt_redis_close(c->redis, closed, arg);
}

void rt_cluster_free(struct rt_cluster *c)
{
    if (!c)
        return;
    rt_timer_stop(c->options.loop, &c->announce);
    rt_redis_free(c->redis);
    rt_mac_free(c->mac);
    while (!rt_list_empty(&c->by_age))
        forget_node(c, RT_CONTAINER(c->by_age.next, struct node, link));
    rt_map_deinit(&c->nodes);
    rt_buf_deinit(&c->out);
    rt_buf_deinit(&c->name);
    rt_free(c);
}
