/* What nodes do together over Redis: records of the log early, ephemeral channels, and knowing of each other.
 *
 * Redis channels (behind redis.prefix, cluster.name and a colon): "p:<topic>:<partition>" carries committed records; every node subscribes to all partitions. "c:<channel>" carries
 * one ephemeral channel (log: false), subscribed only while somebody listens on this node. "n:<node>" is a node's mailbox, "n:" the one of all. "nodes" carries each node's
 * announcement, every 3 s, an empty one when it leaves (cluster/members.h); a node that has not been heard for 10 s is gone.
 * What is not taken is counted by reason (cluster_rejected_total), and logged with what to change. With a secret nothing is taken that was recorded: neither from the
 * past of a process that is gone, nor twice, nor on another channel.
 * Losing Redis costs latency on logged channels, since the tail of the log brings everything, and messages on ephemeral ones, which are counted (redis_dropped_total).
 * Thread: the loop. */
#ifndef RT_CLUSTER_CLUSTER_H
#define RT_CLUSTER_CLUSTER_H

#include "base/buf.h"
#include "cluster/redis.h"
#include "journal/sequencer.h"

struct rt_cluster;

struct rt_cluster_options {
    struct rt_loop *loop;
    struct rt_metrics *metrics;
    const char *redis_url;
    const char *prefix;
    const char *name;          /* of the cluster: others on the same Redis have other ones */
    const char *node;          /* unique in the cluster */
    const char *secret;        /* "" none: envelopes have no MAC */
    const char *second_secret; /* accepted beside it; "" none */
    const char *topic;
    uint32_t partitions; /* 0: no log is shared */
    uint64_t rules;      /* hash of what has to be the same on all nodes */
    /* Another node's committed record. Takes over the reference in record->message. */
    void (*early)(void *arg, const struct rt_record *record, struct rt_str epoch);
    /* Another node's message on an ephemeral channel: a view, valid during the call. */
    void (*deliver)(void *arg, struct rt_str channel, struct rt_message *message);
    /* From now on there is a node whose rules are others, or none any more. NULL: nobody asks. */
    void (*rules_differ)(void *arg, bool differ);
    /* Which log this node has, a number that is the same on all nodes of a cluster; 0 none, or not known yet. NULL: none. */
    uint64_t (*log_identity)(void *arg);
    /* Another living process has this node's name, and this one has to stop: `text` says so, valid during the call. May come more than once. */
    void (*name_taken)(void *arg, const char *text);
    /* This node's announcement: a JSON object's members without braces, e.g. `"num_clients":3`. */
    void (*describe)(void *arg, struct rt_buf *out);
    void *arg;
};

int rt_cluster_new(const struct rt_cluster_options *options, struct rt_cluster **ret_cluster,
                   struct rt_err *err);
/* The log that is shared has another number of partitions. RT_ENOMEM: records of some will come by the log only. */
int rt_cluster_set_partitions(struct rt_cluster *c, uint32_t partitions);
/* This node's record was committed: tells the others, as far as Redis is there. */
void rt_cluster_committed(struct rt_cluster *c, const struct rt_record *record,
                          struct rt_str epoch);
/* A message on an ephemeral channel was published here. RT_EAGAIN: the others will not get it. */
int rt_cluster_publish(struct rt_cluster *c, struct rt_str channel,
                       const struct rt_message *message);
/* An ephemeral channel has listeners here, or has none any more. */
void rt_cluster_occupied(struct rt_cluster *c, struct rt_str channel, bool occupied);

/* Mail: what modules of the nodes say to each other, at most once, in envelopes as everything else. `subject` tells the receiver whose it is; the message's
 * data, event, publisher, key, attachments, kind and flags are carried. */
struct rt_cluster_mail {
    struct rt_str subject;
    const struct rt_message *message;
};
/* To one node, or to all others when `node` is none. RT_EAGAIN: not sent (counted). */
int rt_cluster_send(struct rt_cluster *c, struct rt_str node, const struct rt_cluster_mail *mail);
/* Who gets the mail of all subjects; slices are valid during the call. NULL fn: nobody. */
void rt_cluster_on_mail(struct rt_cluster *c,
                        void (*fn)(void *arg, struct rt_str from,
                                   const struct rt_cluster_mail *mail),
                        void *arg);
/* Seals text that is kept in Redis under `key` (MAC as in envelopes, bound to the key), appended to `out`. */
void rt_cluster_seal(struct rt_cluster *c, struct rt_str key, struct rt_str text,
                     struct rt_buf *out);
/* The text inside, a slice; none: it was not sealed, or for another key (counted). */
struct rt_str rt_cluster_unseal(struct rt_cluster *c, struct rt_str key, struct rt_str sealed);
/* Which Redis this is (cluster/generation.h), a text that changes when what it keeps may have been lost or set back; none: not known now. `*ret_since` (may be NULL): loop
 * time since when. */
struct rt_str rt_cluster_generation(const struct rt_cluster *c, uint64_t *ret_since);
/* `fn` is called when that has changed, also for the first one. NULL: nobody. */
void rt_cluster_on_generation(struct rt_cluster *c, void (*fn)(void *arg), void *arg);
#define RT_CLUSTER_ANNOUNCE_MS 3000u /* a living node is heard about as often */
/* Has this node been in the cluster for so long that an owner of its name would have answered? */
bool rt_cluster_settled(const struct rt_cluster *c);
struct rt_str rt_cluster_node(const struct rt_cluster *c); /* this node's name */

/* Calls `fn` for every other node that is alive, with its name and announcement (JSON object). */
void rt_cluster_each_node(const struct rt_cluster *c,
                          void (*fn)(void *arg, struct rt_str name, struct rt_str json), void *arg);
/* Is this node's clock like the others' (RT_CLOCK_APART_MS)? `*ret_text` gets how it is not, or "". For /readyz. */
bool rt_cluster_clock_right(struct rt_cluster *c, const char **ret_text);
struct rt_redis *rt_cluster_redis(struct rt_cluster *c);
void rt_cluster_close(struct rt_cluster *c, void (*closed)(void *arg), void *arg);
void rt_cluster_free(struct rt_cluster *c);

#endif
