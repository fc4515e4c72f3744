/* A stream connection (TCP or UNIX socket) and its output queue.
 *
 * Reading: all connections share one 64 KiB buffer of the loop; `on_data` gets a mutable view of it, valid during the call only. What a user
 * cannot finish it keeps itself. At most 256 KiB are read from one connection a turn.
 * Writing: sends only queue (a reference to shared bytes, or a copy); the flush at the end of the turn writes the whole queue of each
 * dirty connection with one system call. At most one write is in flight. What the kernel does not take waits for writability.
 * Backpressure: queued bytes are counted (a small piece of a large shared chunk counts for at least a quarter of the chunk, since it pins it). A send that takes the queue over its
 * limit closes the connection with RT_CLOSE_SLOW; the callback comes after the current call chain. The limit never cuts off a single
 * message to an empty queue.
 * Closing: rt_conn_close() drops the queue; rt_conn_finish() sends what is queued first, then shuts down and waits (up to 2 s) for the peer. Both are
 * idempotent. `on_closed` is the last callback, exactly once, never from inside another callback of this connection or of a
 * rt_conn_* call: it comes at the end of the turn. After close or finish no on_data comes.
 * Ownership: the net layer owns the struct and frees it after on_closed. Thread: the loop. */
#ifndef RT_NET_CONN_H
#define RT_NET_CONN_H

#include "base/bytes.h"
#include "net/loop.h"

struct rt_conn;

enum rt_close_reason {
    RT_CLOSE_LOCAL,   /* we closed it */
    RT_CLOSE_PEER,    /* end of file or reset by the peer */
    RT_CLOSE_ERROR,   /* read or write error */
    RT_CLOSE_SLOW,    /* its queue passed the limit */
    RT_CLOSE_TIMEOUT, /* finish did not complete in time */
};
const char *rt_close_reason_name(enum rt_close_reason reason);

struct rt_conn_handler {
    void (*on_data)(struct rt_conn *conn, void *user, uint8_t *data, size_t len);
    /* The peer ended its side. NULL, or not handled: the connection is closed with RT_CLOSE_PEER. A handler that returns true keeps it. */
    bool (*on_eof)(struct rt_conn *conn, void *user);
    void (*on_closed)(struct rt_conn *conn, void *user, enum rt_close_reason reason);
    /* The queue has become empty after a write that could not be finished at once. May be NULL. */
    void (*on_drain)(struct rt_conn *conn, void *user);
};

/* Who gets the callbacks from now on. May be called from inside a callback (HTTP hands over to WebSocket). */
void rt_conn_set_handler(struct rt_conn *conn, const struct rt_conn_handler *handler, void *user);
void *rt_conn_user(const struct rt_conn *conn);
struct rt_loop *rt_conn_loop(const struct rt_conn *conn);

/* Queues bytes [off, off+len) of `bytes`; takes a reference of its own. RT_ECLOSED when closing, RT_ENOMEM (then the connection is being closed, since its
 * stream has a hole). */
int rt_conn_send(struct rt_conn *conn, struct rt_bytes *bytes, uint32_t off, uint32_t len);
/* Queues a copy. Small copies that follow each other share a block. */
int rt_conn_send_copy(struct rt_conn *conn, const void *data, size_t len);
size_t rt_conn_queued(const struct rt_conn *conn);
/* True when nothing waits from earlier turns: "writable" in the sense of volatile messages. */
bool rt_conn_writable(const struct rt_conn *conn);
void rt_conn_set_queue_limit(struct rt_conn *conn, size_t bytes);

/* Stops and continues reading (backpressure on a publisher). While stopped the end of the stream is not seen. */
void rt_conn_pause(struct rt_conn *conn);
void rt_conn_resume(struct rt_conn *conn);

void rt_conn_close(struct rt_conn *conn, enum rt_close_reason reason);
void rt_conn_finish(struct rt_conn *conn);
bool rt_conn_closing(const struct rt_conn *conn);

/* Peer address as text: "127.0.0.1", "::1", "unix:". Lives as long as the connection. */
const char *rt_conn_peer(const struct rt_conn *conn);
uint64_t rt_conn_id(const struct rt_conn *conn); /* rises, for logs */
/* Bytes received so far. */
uint64_t rt_conn_received(const struct rt_conn *conn);

#endif
