/* A stream connection (TCP or UNIX socket) and its output queue.
 *
 * Reading: all connections share one 64 KiB buffer of the loop; `on_data` gets a mutable view of
 * it, valid during the call only (and not across a turn of the loop). What a user cannot finish it
 * keeps itself. At most 256 KiB are read from one connection a turn.
 * Writing: sends only queue (a reference to shared bytes, or a copy); the flush at the end of the
 * turn, or of a later one when there is much to write, writes the whole queue of each dirty
 * connection with one system call. At most one write is
 * in flight. What the kernel does not take waits for writability.
 * Backpressure: queued bytes are counted. A range counts its length; when its block differs from
 * that of the range before it, at least a quarter of the block (which it pins) and at least 64
 * (bookkeeping); small copies of a turn count their length. A send that takes the queue over its
 * limit closes the connection with RT_CLOSE_SLOW and returns RT_ECLOSED; the callback comes after
 * the current call chain. The limit is on what waits: output of this turn alone, to a connection
 * that keeps up, is written at once where it would pass the limit; and a single message to an
 * empty queue is never cut off.
 * Closing: rt_conn_close() drops the queue; rt_conn_finish() sends what is queued first, then
 * shuts our side down and reads (and discards) until the peer's end of file. It gives up
 * (RT_CLOSE_TIMEOUT) when the peer has taken nothing for 2 s and not ended. Finished in time, the
 * reason is RT_CLOSE_LOCAL. Both are idempotent; close also ends a finish early. `on_closed` is
 * the last callback, exactly once, never from inside another callback of this connection or of a
 * rt_conn_* call: it comes at the end of the turn; when many are closed in one turn, of a later
 * one. After close or finish no other callback comes.
 * Ownership: the net layer owns the struct and frees it right after on_closed; until then every
 * function here may be called, in any state. Thread: the loop. */
#ifndef RT_NET_CONN_H
#define RT_NET_CONN_H

#include "base/bytes.h"
#include "net/loop.h"

struct rt_conn;

enum rt_close_reason {
    RT_CLOSE_LOCAL,   /* we closed it */
    RT_CLOSE_PEER,    /* end of file or reset by the peer */
    RT_CLOSE_ERROR,   /* read or write error, or out of memory while queueing */
    RT_CLOSE_SLOW,    /* its queue passed the limit */
    RT_CLOSE_TIMEOUT, /* the peer let a finish wait for 2 s */
};
const char *rt_close_reason_name(enum rt_close_reason reason);

struct rt_conn_handler {
    /* len > 0. NULL: what comes is discarded. */
    void (*on_data)(struct rt_conn *conn, void *user, uint8_t *data, size_t len);
    /* The peer ended its side. NULL, or false: the connection is closed with RT_CLOSE_PEER, unless
     * the handler has called rt_conn_finish(). True keeps it: output still goes out, nothing more
     * is read. Then it is up to the user to end it: a peer that disappears meanwhile shows only
     * when a write fails. */
    bool (*on_eof)(struct rt_conn *conn, void *user);
    void (*on_closed)(struct rt_conn *conn, void *user, enum rt_close_reason reason);
    /* The queue has become empty after a write that could not be finished at once. Comes from the
     * poll, not from a flush, so it may send. May be NULL. */
    void (*on_drain)(struct rt_conn *conn, void *user);
};

/* Who gets the callbacks from now on; `handler` is constant memory. May be called from inside a
 * callback (HTTP hands over to WebSocket). Without a handler data is discarded. */
void rt_conn_set_handler(struct rt_conn *conn, const struct rt_conn_handler *handler, void *user);
void *rt_conn_user(const struct rt_conn *conn);
struct rt_loop *rt_conn_loop(const struct rt_conn *conn);

/* Queues bytes [off, off+len) of `bytes`; takes a reference of its own. A range that continues the
 * one queued before is merged with it. RT_ECLOSED when closing or finishing, or when the limit
 * closed it now; RT_ENOMEM (then the connection is being closed with RT_CLOSE_ERROR, since its
 * stream has a hole). len 0: nothing happens. */
int rt_conn_send(struct rt_conn *conn, struct rt_bytes *bytes, uint32_t off, uint32_t len);
/* Queues a copy, at most 1 GiB. Small copies (up to 4 KiB) of a turn share one block of the loop,
 * those for a connection that waits share a block of its own: no allocation for each. */
int rt_conn_send_copy(struct rt_conn *conn, const void *data, size_t len);
/* Fetches what a send touches into the cache: for loops over many connections, a few ahead. No
 * effect otherwise. */
void rt_conn_prefetch(const struct rt_conn *conn);
/* What the queue counts against its limit; 0 exactly when it is empty. */
size_t rt_conn_queued(const struct rt_conn *conn);
/* True when nothing waits for the peer: "writable" in the sense of volatile messages. */
bool rt_conn_writable(const struct rt_conn *conn);
/* Capped at 2 GiB. */
void rt_conn_set_queue_limit(struct rt_conn *conn, size_t bytes);

/* Stops and continues reading (backpressure on a publisher). While stopped the end of the stream
 * is not seen. */
void rt_conn_pause(struct rt_conn *conn);
void rt_conn_resume(struct rt_conn *conn);
bool rt_conn_paused(const struct rt_conn *conn);

void rt_conn_close(struct rt_conn *conn, enum rt_close_reason reason);
void rt_conn_finish(struct rt_conn *conn);
/* True after close or finish, and after whatever else closed it. */
bool rt_conn_closing(const struct rt_conn *conn);

/* Peer address as text: "127.0.0.1", "::1", "unix:". Lives as long as the connection. */
const char *rt_conn_peer(const struct rt_conn *conn);
uint64_t rt_conn_id(const struct rt_conn *conn); /* rises within a rt_net, from 1; for logs */
/* Bytes received so far. */
uint64_t rt_conn_received(const struct rt_conn *conn);

#endif
