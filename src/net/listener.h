/* Listening sockets and the set of all connections.
 *
 * Addresses: "127.0.0.1:8000", "[::1]:8000", "localhost:8000" (every address it resolves to),
 * "*:8000" (dual stack), "unix:/path" (a stale socket file is replaced, a live one is an error).
 * Port 0 picks one, the same for every address of a name. TCP_NODELAY is set on the listening
 * socket, accepted ones inherit it. At most 64 connections are accepted from one socket a turn.
 * Cap: when the number of connections has reached the cap, a new one gets `refusal` (a canned HTTP
 * 503) and is closed; the cap lies below the descriptor limit, so accept never fails for want of
 * descriptors (and if it does, accepting pauses for 100 ms, the clients wait in the backlog, and
 * one log line says so). With `max_per_ip` the same for one address; UNIX sockets have none and
 * are not counted. Refused connections are finished as rt_conn_finish() does, so that the peer
 * sees the refusal (32 at a time, those beyond are told in one go); they are not in rt_net_connections() and nothing of the user is called for
 * them.
 * Metrics: connections, connections_accepted_total,
 * connections_rejected_total{reason="limit"|"per_ip"|"descriptors"|"memory"},
 * connection_closes_total{reason}, slow_consumers_total, bytes_received_total, bytes_sent_total,
 * send_queue_bytes, loop_utilisation, loop_longest_turn_seconds,
 * loop_turn_seconds.
 * Thread: the loop. */
#ifndef RT_NET_LISTENER_H
#define RT_NET_LISTENER_H

#include "base/metrics.h"
#include "base/str.h"
#include "net/conn.h"

struct rt_net; /* all listeners and connections of the process */
struct rt_listener;

struct rt_net_options {
    uint32_t max_connections;   /* 0, or more than it: descriptor limit (raised) minus 80 */
    uint32_t max_per_ip;        /* 0: no limit */
    size_t send_queue;          /* default queue limit of a connection */
    struct rt_str refusal;      /* bytes sent to a connection over the cap; constant memory */
    struct rt_metrics *metrics; /* NULL: none; not to be written after rt_net_free() */
};

int rt_net_new(struct rt_loop *loop, const struct rt_net_options *options, struct rt_net **ret_net,
               struct rt_err *err);
/* All listeners and connections must have closed, and attempts to connect have called back: after
 * rt_net_stop_listening() and rt_net_close_all() that is so when rt_loop_run() has returned after
 * rt_loop_stop(). */
void rt_net_free(struct rt_net *net);

/* `accept` is called with each new connection; it sets the handler, and may send and close.
 * RT_EINVAL: malformed, or a file that is not a socket is in the way; RT_EEXIST: somebody else
 * listens there; RT_EIO. The listener lives until rt_net_stop_listening(). Names are resolved here
 * and now, which may block: meant for the start. */
int rt_net_listen(struct rt_net *net, struct rt_str address,
                  void (*accept)(void *arg, struct rt_conn *conn), void *arg,
                  struct rt_listener **ret_listener, struct rt_err *err);
/* For those who look after the process: 16 of its connections are beyond the cap of all (descriptors are kept for them), and none counts for an address. */
void rt_listener_reserve(struct rt_listener *listener);
/* "127.0.0.1:41873", "unix:/path": what it really listens on. */
const char *rt_listener_address(const struct rt_listener *listener);
/* Stops accepting on all listeners, removes UNIX socket files (those that are still ours).
 * Idempotent. */
void rt_net_stop_listening(struct rt_net *net);
/* Closes every connection (drops queues) and cancels attempts to connect. */
void rt_net_close_all(struct rt_net *net);
size_t rt_net_connections(const struct rt_net *net);
/* Calls `fn` for each connection that is open (or finishing); `fn` may close any. */
void rt_net_each(struct rt_net *net, void (*fn)(void *arg, struct rt_conn *conn), void *arg);

/* Client side, for the command line: connects to a host and port (every address of a name in turn,
 * 10 s in all) or "unix:/path", then `done` gets the connection, and sets its handler, or NULL and
 * an error. `done` is called exactly once when 0 was returned, never from inside this call.
 * Counted in rt_net_connections(), but not against caps. */
int rt_net_connect(struct rt_net *net, struct rt_str address,
                   void (*done)(void *arg, struct rt_conn *conn, const struct rt_err *err),
                   void *arg, struct rt_err *err);

#endif
