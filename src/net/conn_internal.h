/* A connection's inside, for the files of net/ only. Thread: the loop.
 *
 * States, as flags: open -> finishing (no more sends, no more on_data; the queue is written, then
 * `shut`, then the peer's end of file is awaited) -> closing (nothing but on_closed comes). Any
 * state may go to closing. The struct is given back in libuv's close callback and nowhere else, so
 * a function that has called the user looks at `closing` and goes on. */
#ifndef RT_NET_CONN_INTERNAL_H
#define RT_NET_CONN_INTERNAL_H

#include <assert.h>
#include <sys/socket.h>
#include <uv.h>

#include "net/conn.h"
#include "net/outq.h"

#define RT_NOT_DIRTY UINT32_MAX
#define RT_FINISH_MS 2000

struct rt_net;

union rt_peer {
    char text[16]; /* IPv4 and what else fits, with its NUL */
    uint8_t ip6[16];
    char *heap; /* the text of an ip6 that somebody asked for */
};

struct rt_conn {
    uv_poll_t poll; /* its data is the user pointer */
    const struct rt_conn_handler *handler;
    uint64_t received;
    /* What sending and flushing touch: 64 bytes. */
    struct rt_outq out;
    struct rt_net *net;
    union {
        uint32_t limit;        /* of out.queued */
        struct {               /* when finishing */
            uint16_t deadline; /* in ticks of 16 ms, see conn.c */
            uint16_t unacked;  /* KiB in the kernel's send buffer when the deadline was set */
        } finish;
    } u;
    int fd;
    uint32_t dirty; /* index in the loop's array, or RT_NOT_DIRTY */
    uint16_t slab;
    bool closing : 1;
    bool finishing : 1;
    bool shut : 1; /* our side is shut down */
    bool eof : 1;  /* the peer's is */
    bool paused : 1;
    bool blocked : 1; /* waits for writability */
    bool reading : 1; /* what the poll handle is set to */
    bool writing : 1;
    bool refused : 1; /* over a cap: unknown to the user, not counted */
    bool outgoing : 1;
    bool reserved : 1; /* of a reserved listener */
    bool peer_ip6 : 1;
    bool peer_heap : 1;
    unsigned char reason : 3; /* enum rt_close_reason */
    /* Rarely touched. */
    uint64_t id;
    struct rt_list link; /* in net->finishing, when finishing */
    union rt_peer peer;
};

#if defined(__LP64__)
static_assert(sizeof(struct rt_conn) <= 280, "memory of an idle connection");
#endif

/* Takes over `fd`, non-blocking and connected; on failure the caller keeps it. Nothing is read
 * before rt_conn_start(). */
int rt_conn_new(struct rt_net *net, int fd, const struct sockaddr_storage *peer,
                struct rt_conn **ret_conn);
void rt_conn_start(struct rt_conn *conn);
/* Tells libuv what we wait for, if that has changed. */
void rt_conn_update_interest(struct rt_conn *conn);
/* When a finishing connection's queue has been written. */
void rt_conn_shut_down(struct rt_conn *conn);
/* A finishing connection has made progress (or has begun): RT_FINISH_MS from now. */
void rt_conn_extend_deadline(struct rt_conn *conn);
/* The 16 bytes that identify the peer's address; false: it has none (UNIX socket). */
bool rt_conn_peer_key(const struct rt_conn *conn, uint8_t key[16]);

#endif
