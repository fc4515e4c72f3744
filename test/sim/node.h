/* One node of the cluster, wired as app/app.c does it: broker, Kafka journal, Redis link, reader of the store, all of them real; and what can happen to its process. */
#ifndef TEST_SIM_NODE_H
#define TEST_SIM_NODE_H

#include "cluster/cluster.h"
#include "conf/config.h"
#include "session/broker.h"
#include "sim.h"

#define NODE_MEMORY (24u * 1024) /* of recent messages: little, so that resumes need the store */

struct rt_producer;

struct sim_node {
    struct sim_host host; /* first */
    struct rt_channel_rule rule;
    struct rt_config config;
    bool draining; /* told to stop, as by SIGTERM */
    struct rt_metrics metrics;
    struct rt_broker *broker;
    struct rt_journal *kafka;
    struct rt_cluster *cluster;
    char name[8];
};
extern struct sim_node nodes[SIM_NODES];

/* Epoch and channel of the message that is being handed to the hub: encodings write them beside the offset. */
extern const char *node_epoch;
extern uint32_t node_channel;

/* Starts the process; it tries again by itself while Kafka cannot be reached. */
void node_start(struct sim_node *n);
/* kill -9: everything in memory is lost. */
void node_crash(struct sim_node *n);
/* SIGTERM: clients are sent away, what is in flight is brought to its end, then the process ends. */
void node_stop(struct sim_node *n);
/* Serves clients: up, not frozen nor draining, the log has been read back. */
bool node_serves(const struct sim_node *n);
/* caps.c: caps of what a peer can grow; sim_fail() when one is passed. */
void node_check_caps(const struct sim_node *n);
/* The producer ends with a fatal error. */
void node_fail_producer(struct sim_node *n);

/* tail_step.c; false: the tail was told to stop, and has ended. */
bool sim_tail_step(void *tail);
/* fake_kafka.c */
void sim_producer_fail(struct rt_producer *p);

#endif
