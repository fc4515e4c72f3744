/* What the files of the Socket.IO endpoint share: the endpoint, its namespaces, connections and
 * sockets. Not for other folders.
 *
 *   rt_socketio 1 --- n rt_sio_client   an Engine.IO session's user part: its sockets
 *                 1 --- n rt_sio_nsp    a namespace that has sockets: its name, its encodings
 *   rt_sio_client 1 - n rt_sio_socket   a client in one namespace: rooms, acknowledgements
 *   rt_sio_socket 1 - 1 rt_sio_track    only with recovery on: what it takes to come back
 *
 * Who calls whom: client -> connect, run, acks -> socket -> engine and hub; nothing below calls
 * back into what stands above, and the engine and the broker report only from the loop, so runs of
 * rules never nest and share the buffers below. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_INTERNAL_H
#define RT_PROTO_SOCKETIO_INTERNAL_H

#include "base/map.h"
#include "base/rand.h"
#include "cluster/cluster.h"
#include "proto/socketio/engine.h"
#include "proto/socketio/packet.h"
#include "proto/socketio/rules.h"
#include "session/broker.h"

struct rt_sio_recovery;
struct rt_sio_track;
struct rt_sio_files;
struct rt_mac;

struct rt_sio_metrics {
    struct rt_metric sockets; /* gauge */
    struct rt_metric connects, refused, invalid;
    struct rt_metric events, unmatched, failed;
    struct rt_metric answers, timeouts, over_acks;
    struct rt_metric recovered, not_recovered, unanswered, waiting, evicted;
    struct rt_metric mailed, mailed_in, rewritten;
};

struct rt_socketio {
    const struct rt_config *config;
    struct rt_broker *broker;
    struct rt_hub *hub;
    struct rt_loop *loop;
    struct rt_eio_mount *mount;
    struct rt_sio_rules *rules;
    unsigned uses;                    /* enum rt_sio_uses */
    struct rt_map namespaces;         /* in use */
    struct rt_list spare;             /* namespaces that are not: encodings outlive their users */
    struct rt_map sockets;            /* connected or connecting, by id */
    struct rt_sio_recovery *recovery; /* NULL: off */
    struct rt_cluster *cluster;       /* NULL: this node is alone */
    struct rt_sio_files *files;       /* NULL: none */
    struct rt_mac *scope_mac;         /* NULL: no rule publishes with a key */
    struct rt_unfinished_set *unfinished; /* where packets count that wait for attachments; NULL */
    size_t binary_max;                    /* bytes of one binary packet with its attachments */
    /* Reused by every run of a rule, in turn. */
    struct {
        struct rt_buf event, args, name, key, a, b, scratch;
        struct rt_buf text; /* one packet on its way out */
        struct rt_buf hub;  /* one packet of an encoding */
        struct rt_buf channel;
        struct rt_buf targets;  /* channels of one publish: a length and the name, each */
        struct rt_buf except;   /* those that it leaves out: rt_message.except_in */
        struct rt_buf incoming; /* name of the event that came in */
        struct rt_buf scope;    /* under whom a key counts */
    } buf;
    struct rt_sio_metrics metrics;
};

/* How the hub writes messages for one namespace and form. */
struct rt_sio_encoding {
    struct rt_encoding base; /* first */
    struct rt_sio_nsp *nsp;
    enum rt_eio_form form;
};

struct rt_sio_nsp {
    struct rt_socketio *owner;
    uint32_t refs;
    struct rt_list link; /* in owner->spare when nobody uses it */
    struct rt_str name;  /* owned */
    struct rt_sio_encoding encodings[RT_EIO_FORMS];
};

struct rt_sio_client {
    struct rt_list sockets;
    struct rt_list resumes;           /* namespaces that it is coming back to */
    struct rt_sio_assembly *assembly; /* a binary packet whose attachments are on their way */
    struct rt_timer timer;            /* no namespace joined yet */
    struct rt_relief relief;          /* paused: the journal is congested, or it sends too much */
    uint32_t count;                   /* sockets */
    bool closing;                     /* what comes now is ignored */
    bool sent_away; /* from some namespace, by us: packets for it may be on their way */
};

enum rt_sio_state { RT_SIO_CONNECTING, RT_SIO_CONNECTED, RT_SIO_DEAD };

struct rt_sio_socket {
    struct rt_client client;     /* first */
    struct rt_sio_client *owner; /* NULL once dead */
    struct rt_buf *hold;         /* while connecting: what is to follow the reply, in wire form */
    struct rt_sio_nsp *nsp;
    struct rt_list link;        /* in owner->sockets */
    struct rt_sio_track *track; /* NULL: recovery is off */
    struct rt_bytes *auth;      /* NULL: none, or nothing asks for it */
    struct rt_list acks;        /* struct rt_sio_ack: answers that the client owes us */
    struct rt_list replies;     /* struct rt_sio_reply: answers that we owe the client */
    uint32_t ack_count;
    uint32_t next_ack;
    uint16_t refs;
    uint8_t state : 6;   /* enum rt_sio_state */
    uint8_t left_id : 1; /* the room of its own id */
    uint8_t is_old : 1;  /* of an old client: its id stands behind this struct */
    char sid[RT_ID_LEN + 1];
};

/* Counted, and told in the log. */
static inline void rt_sio_refused(struct rt_socketio *s, enum rt_refusal why, struct rt_str what,
                                  const char *text, const char *option)
{
    const struct rt_refusal_note note = {
        .why = why, .protocol = "socketio", .what = what, .text = text, .option = option};
    rt_refused(rt_broker_refusals(s->broker), &note);
}

static inline struct rt_eio_session *rt_sio_session(struct rt_sio_client *client)
{
    return rt_eio_of_user(client);
}

/* One of Socket.IO 2 and before (revision 3 of Engine.IO). */
static inline bool rt_sio_client_is_old(struct rt_sio_client *client)
{
    return rt_eio_revision(rt_sio_session(client)) == 3;
}

#endif
