/* Many WebSocket clients of one server in one thread over epoll, as cheap as reading gets: one shared buffer, one recv() a
 * readable socket, messages counted and never copied. Each message carries RT_SWARM_MARK once; marks are counted in payloads
 * only, so a length byte cannot be mistaken for one, and servers that put several messages in a frame are counted right.
 *
 * Protocols: plain WebSocket, or Socket.IO 5 over Engine.IO 4 (handshake to the CONNECT reply, pings answered).
 * Whatever a server does that a benchmark cannot go on with (refuses, closes, sends nonsense) ends the program with a message.
 *
 * Ownership: the caller's struct; clients live as long as the swarm. Callbacks fire inside rt_swarm_poll(), and may call
 * rt_swarm_send(). Thread: one. */
#ifndef RT_BENCH_SWARM_H
#define RT_BENCH_SWARM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_SWARM_MARK  '^'
#define RT_SWARM_PORTS 16

enum rt_swarm_protocol { RT_SWARM_RAW, RT_SWARM_SOCKETIO };

enum rt_client_state {
    RT_CLIENT_UPGRADING, /* request sent, awaits 101 */
    RT_CLIENT_OPENING,   /* Socket.IO: awaits the open packet `0{` */
    RT_CLIENT_JOINING,   /* Socket.IO: sent `40`, awaits `40{` */
    RT_CLIENT_READY,
};

struct rt_swarm_config {
    const char *host;               /* IPv4 address */
    uint16_t ports[RT_SWARM_PORTS]; /* servers that the clients go to in turn */
    uint32_t port_count;
    const char *path; /* `$I` in it stands for the number of the client, from 0 */
    enum rt_swarm_protocol protocol;
    uint32_t
        sources; /* clients take 127.0.0.2, .3 .. in turn as their address; 0: the kernel's choice */
    uint32_t in_flight; /* handshakes at once */
    double ramp;        /* connections a second; 0: as fast as handshakes go */
};

struct rt_client {
    int fd;
    uint32_t index;
    enum rt_client_state state;
    int epoll; /* the set that it is in */
    uint64_t got;
    uint8_t *tail; /* begin of a frame whose end has not come */
    size_t tail_len, tail_cap;
    uint8_t *out; /* what the kernel did not take yet */
    size_t out_len, out_at, out_cap;
};

struct rt_swarm {
    struct rt_swarm_config config;
    struct sockaddr_in address;
    char *request; /* of the upgrade of the client that is opened */
    size_t request_cap;
    struct rt_client *clients;
    size_t count, capacity, ready;
    int epoll;
    uint8_t *buffer; /* tail and what is read after it */
    size_t buffer_cap;
    uint64_t messages, bytes, reads, pings, other;
    void *arg;
    /* A socket was read and held `messages` > 0 of them; client->got is counted up already. NULL: not wanted. */
    void (*on_read)(void *arg, struct rt_client *client, uint32_t messages);
    /* One payload with messages in it, before on_read. NULL: not wanted. */
    void (*on_payload)(void *arg, struct rt_client *client, const uint8_t *payload, size_t len);
};

/* `capacity` clients at most. */
void rt_swarm_init(struct rt_swarm *swarm, const struct rt_swarm_config *config, size_t capacity);
/* Opens `count` more clients and returns when all are ready. */
void rt_swarm_open(struct rt_swarm *swarm, size_t count);
/* Waits for at most `max` events of an epoll set (swarm->epoll or one of the caller's), serves them, returns how many. */
int rt_swarm_poll(struct rt_swarm *swarm, int epoll, int max, int timeout_ms);
/* Sends bytes that are frames already; what does not fit the kernel is kept and sent later. */
void rt_swarm_send(struct rt_swarm *swarm, struct rt_client *client, const uint8_t *data,
                   size_t len);
/* Moves a client to another epoll set. */
void rt_swarm_move(struct rt_client *client, int epoll);

#endif
