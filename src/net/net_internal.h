/* The set of all connections, for the files of net/ only. Thread: the loop. */
#ifndef RT_NET_NET_INTERNAL_H
#define RT_NET_NET_INTERNAL_H

#include "base/map.h"
#include "net/conn_internal.h"
#include "net/listener.h"
#include "net/loop_internal.h"
#include "net/slab.h"

enum rt_reject { RT_REJECT_CAP, RT_REJECT_PER_IP, RT_REJECT_DESCRIPTORS, RT_REJECT_MEMORY };
#define RT_REJECT_COUNT 4
#define RT_CLOSE_COUNT  (RT_CLOSE_TIMEOUT + 1)

struct rt_net_metrics {
    struct rt_metric connections;
    struct rt_metric accepted;
    struct rt_metric rejected[RT_REJECT_COUNT];
    struct rt_metric closes[RT_CLOSE_COUNT];
    struct rt_metric slow;
    struct rt_metric received;
    struct rt_metric sent;
    struct rt_metric queued;
    struct rt_metric utilisation;
    struct rt_metric longest_turn;
};

struct rt_net {
    struct rt_loop *loop;
    struct rt_slabs slabs; /* of struct rt_conn */
    uint32_t max_connections;
    uint32_t max_per_ip;
    size_t send_queue;
    struct rt_bytes *refusal; /* NULL: close without a word */
    uint32_t open;            /* connections, without refused ones */
    uint32_t reserved;        /* of `open`: those of reserved listeners */
    uint32_t refused;         /* refused ones that are being told */
    uint64_t last_id;
    struct rt_map ips; /* address -> number of connections, when max_per_ip */

    struct rt_list finishing; /* connections, by deadline */
    struct rt_timer finish_timer;

    struct rt_list listeners;
    struct rt_timer accept_pause;
    bool descriptors_out; /* has been logged, no accept since */
    struct rt_list connecting;

    struct rt_net_metrics m;
};

/* Counts one connection of this address; false: it has `max_per_ip` already, or memory is out. */
bool rt_net_ip_take(struct rt_net *net, const struct rt_conn *conn);
void rt_net_ip_give(struct rt_net *net, const struct rt_conn *conn);
/* connect.c: ends every attempt with RT_ECLOSED. */
void rt_net_cancel_connecting(struct rt_net *net);

#endif
