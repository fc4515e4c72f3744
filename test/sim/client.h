/* Clients: they publish with and without keys, subscribe, are cut off, and resume on any node from the position that they have.
 *
 * The client's side follows the rules that docs/guarantees.md gives to clients: `retry` is sent again; `unknown`, and what had no answer when the connection ended, is sent again when it has
 * a key, given up otherwise. The server's side (connection.c) is a minimal protocol over session/broker.h: subscribe, hold live messages back, read history from the position, send,
 * go live; a connection whose queue grows over its cap is closed. */
#ifndef TEST_SIM_CLIENT_H
#define TEST_SIM_CLIENT_H

#include "journal/journal.h"
#include "node.h"
#include "sim.h"

#define PUBLICATIONS 8192u
#define CHANNEL_NAME 8u

/* What is published once, however often it is sent within the window of its key. */
struct publication {
    uint32_t channel, client;
    uint32_t key; /* the same on several channels, once on each */
    bool keyed, acked, given_up;
    bool waiting;                /* sent, no answer yet */
    bool again;                  /* to be sent again */
    uint32_t sent;               /* times */
    struct rt_position position; /* of the acknowledgement; offset 0: not told */
};

/* One message as a client got it. */
struct received {
    uint64_t offset;
    uint32_t publication; /* UINT32_MAX: not one of ours */
    uint32_t hash;        /* of its data */
};

/* A piece of a channel that has to be without a hole. */
struct segment {
    char epoch[RT_EPOCH_MAX + 1];
    uint64_t start; /* everything after this position is expected */
    bool told_gap;  /* a hole before it was announced */
    struct received *got;
    size_t count, cap;
};

struct subscription {
    bool wanted, asked, live; /* as the client knows it */
    struct rt_position position;
    struct segment *segments;
    size_t count, cap;
};

struct connection;
struct sim_client {
    uint32_t index;
    char name[8];
    bool slow;
    struct connection *connection; /* NULL: none */
    uint64_t connections;          /* made so far: an answer of an earlier one is stale */
    struct subscription subs[SIM_CHANNELS];
};
extern struct sim_client clients[SIM_CLIENTS];
extern struct publication publications[PUBLICATIONS];
extern uint32_t publication_count;

/* What the server tells. */
struct told {
    enum { TOLD_MESSAGE, TOLD_SUBSCRIBED, TOLD_NOT_NOW, TOLD_ANSWER, TOLD_CLOSED } what;
    uint32_t channel;
    struct rt_position position; /* of the message, or of the subscription's beginning */
    bool recovered;              /* SUBSCRIBED with a position: nothing is missing */
    bool behind; /* not recovered since the node did not come to the position in time */
    uint32_t publication, hash;
    uint32_t status; /* ANSWER: enum rt_publish_status */
    bool duplicate;
};

void clients_begin(void);
void clients_end(void);
/* No further publications; what is open is brought to its end. */
void clients_stop_publishing(void);
void clients_lose_node(struct sim_node *n);
void client_cut(struct sim_client *c);
/* Leaves one of its channels, and comes back to it from where it was. */
void client_leave(struct sim_client *c);
void client_hears(struct sim_client *c, const struct told *told);
/* Something is still awaited: says what. NULL: nothing. */
const char *clients_wait_for(void);
void channel_name(uint32_t channel, char out[CHANNEL_NAME]);
uint32_t channel_of(struct rt_str name);

/* connection.c: the server's side. */
struct connection *connection_open(struct sim_client *c, struct sim_node *n);
/* Nothing of it reaches the client any more. */
void connection_close(struct connection *x);
struct sim_node *connection_node(const struct connection *x);
/* `since` NULL: from now on. */
void connection_subscribe(struct connection *x, uint32_t channel, const struct rt_position *since);
/* The client is told when nothing more will come. */
void connection_unsubscribe(struct connection *x, uint32_t channel);
void connection_publish(struct connection *x, uint32_t publication);
#endif
