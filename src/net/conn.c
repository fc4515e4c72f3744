/* Connections: life and reading. Output is in conn_out.c. */
#include "net/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "net/address.h"
#include "net/net_internal.h"

#define READ_PER_TURN (4 * RT_READ_BUFFER)
/* The kernel gives back what it holds for a connection that is closed: up to a millisecond for one whose peer has not read. A
 * flood makes thousands of them slow at the same moment. */
#define CLOSES_PER_TURN 64u

const char *rt_close_reason_name(enum rt_close_reason reason)
{
    static const char *const names[] = {"local", "peer", "error", "slow", "timeout"};
    return names[reason];
}

/* ---- peer address ---- */

static void set_peer(struct rt_conn *conn, const struct sockaddr_storage *peer)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (peer->ss_family == AF_INET) {
        memcpy(&v4, peer, sizeof(v4));
        (void)inet_ntop(AF_INET, &v4.sin_addr, conn->peer.text, sizeof(conn->peer.text));
    } else if (peer->ss_family == AF_INET6) {
        memcpy(&v6, peer, sizeof(v6));
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            (void)inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], conn->peer.text,
                            sizeof(conn->peer.text));
            return;
        }
        char text[INET6_ADDRSTRLEN];
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
        if (strlen(text) < sizeof(conn->peer.text)) {
            memcpy(conn->peer.text, text, strlen(text) + 1);
            return;
        }
        conn->peer_ip6 = true;
        memcpy(conn->peer.ip6, &v6.sin6_addr, sizeof(conn->peer.ip6));
    } else {
        memcpy(conn->peer.text, "unix:", sizeof("unix:"));
    }
}

const char *rt_conn_peer(const struct rt_conn *conn)
{
    if (conn->peer_heap)
        return conn->peer.heap;
    if (!conn->peer_ip6)
        return conn->peer.text;
    /* Cached in the connection, which the contract calls const: what it means does not change. */
    struct rt_conn *self = (struct rt_conn *)(uintptr_t)conn;
    char text[INET6_ADDRSTRLEN];
    (void)inet_ntop(AF_INET6, conn->peer.ip6, text, sizeof(text));
    char *heap = rt_strdup(text);
    if (!heap)
        return "unknown";
    self->peer.heap = heap;
    self->peer_heap = true;
    return heap;
}

bool rt_conn_peer_key(const struct rt_conn *conn, uint8_t key[16])
{
    if (conn->peer_ip6 && !conn->peer_heap) {
        memcpy(key, conn->peer.ip6, 16);
        rt_net_address_mask(key);
        return true;
    }
    return rt_net_address_owner(conn->peer_heap ? conn->peer.heap : conn->peer.text, key);
}

/* ---- reading ---- */

static void close_on_error(struct rt_conn *conn, int error)
{
    bool reset = error == ECONNRESET || error == EPIPE;
    rt_conn_close(conn, reset ? RT_CLOSE_PEER : RT_CLOSE_ERROR);
}

static void handle_eof(struct rt_conn *conn)
{
    conn->eof = true;
    if (conn->finishing) {
        if (conn->shut)
            rt_conn_close(conn, RT_CLOSE_LOCAL);
        return;
    }
    const struct rt_conn_handler *handler = conn->handler;
    bool keep = handler && handler->on_eof && handler->on_eof(conn, conn->poll.data);
    if (!keep && !conn->finishing)
        rt_conn_close(conn, RT_CLOSE_PEER);
}

static void handle_data(struct rt_conn *conn, uint8_t *data, size_t len)
{
    conn->received += len;
    conn->net->m.received.value += len;
    if (!conn->finishing && conn->handler && conn->handler->on_data)
        conn->handler->on_data(conn, conn->poll.data, data, len);
}

static bool may_read(const struct rt_conn *conn)
{
    return !conn->closing && !conn->paused && !conn->eof;
}

/* Until a read comes back short: one system call less than until EAGAIN, and what comes later
 * polls readable again. */
static void read_ready(struct rt_conn *conn)
{
    uint8_t *buffer = conn->net->loop->read_buffer;
    size_t total = 0, got = RT_READ_BUFFER;
    while (may_read(conn) && got == RT_READ_BUFFER && total < READ_PER_TURN) {
        ssize_t n = recv(conn->fd, buffer, RT_READ_BUFFER, MSG_DONTWAIT);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                close_on_error(conn, errno);
            return;
        }
        if (n == 0) {
            handle_eof(conn);
            return;
        }
        got = (size_t)n;
        total += got;
        handle_data(conn, buffer, got);
    }
}

static void write_ready(struct rt_conn *conn)
{
    conn->blocked = false;
    rt_flush_now(conn->net->loop, conn);
    if (conn->closing || conn->blocked)
        return;
    rt_conn_update_interest(conn);
    if (!conn->finishing && conn->handler && conn->handler->on_drain)
        conn->handler->on_drain(conn, conn->poll.data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct rt_conn *conn = RT_CONTAINER(poll, struct rt_conn, poll);
    rt_loop_enter(conn->net->loop);
    if (conn->closing)
        return; /* by the flush that enter may have made */
    if (status < 0) {
        /* An error is pending on the socket, and libuv has stopped the handle: the system calls
         * below will find it, after what the peer sent before it. */
        events = (conn->reading ? UV_READABLE : 0) | (conn->writing ? UV_WRITABLE : 0);
        conn->reading = conn->writing = false;
    }
    if ((events & UV_WRITABLE) && conn->blocked)
        write_ready(conn);
    if (events & UV_READABLE)
        read_ready(conn);
    rt_conn_update_interest(conn);
}

void rt_conn_update_interest(struct rt_conn *conn)
{
    if (conn->closing)
        return;
    bool reading = !conn->paused && !conn->eof, writing = conn->blocked;
    if (reading == conn->reading && writing == conn->writing)
        return;
    conn->reading = reading;
    conn->writing = writing;
    int events = (reading ? UV_READABLE : 0) | (writing ? UV_WRITABLE : 0);
    int r = events ? uv_poll_start(&conn->poll, events, on_poll) : uv_poll_stop(&conn->poll);
    assert(r == 0);
    (void)r;
}

/* ---- life ---- */

int rt_conn_new(struct rt_net *net, int fd, const struct sockaddr_storage *peer,
                struct rt_conn **ret_conn)
{
    uint16_t slab;
    if (rt_flush_reserve(net->loop))
        return RT_ENOMEM;
    struct rt_conn *conn = rt_slabs_take(&net->slabs, &slab);
    if (!conn)
        return RT_ENOMEM;
    if (uv_poll_init(&net->loop->uv, &conn->poll, fd)) {
        rt_slabs_give(&net->slabs, conn, slab);
        return RT_EIO;
    }
    conn->poll.data = NULL;
    conn->net = net;
    conn->slab = slab;
    conn->fd = fd;
    conn->dirty = RT_NOT_DIRTY;
    conn->id = ++net->last_id;
    rt_list_init(&conn->link);
    rt_conn_set_queue_limit(conn, net->send_queue);
    set_peer(conn, peer);
    net->loop->conns++;
    *ret_conn = conn;
    return 0;
}

void rt_conn_start(struct rt_conn *conn)
{
    rt_conn_update_interest(conn);
}

static void free_conn(struct rt_conn *conn)
{
    struct rt_net *net = conn->net;
    if (conn->peer_heap)
        rt_free(conn->peer.heap);
    net->loop->conns--;
    rt_slabs_give(&net->slabs, conn, conn->slab);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct rt_conn *conn = RT_CONTAINER(handle, struct rt_conn, poll);
    struct rt_net *net = conn->net;
    rt_loop_closed(net->loop);
    close(conn->fd);
    if (conn->refused) {
        net->refused--;
    } else {
        net->open--;
        if (conn->reserved)
            net->reserved--;
        rt_net_ip_give(net, conn);
        net->m.closes[conn->reason].value++;
        if (conn->handler && conn->handler->on_closed)
            conn->handler->on_closed(conn, conn->poll.data, conn->reason);
    }
    free_conn(conn);
}

void rt_conn_close(struct rt_conn *conn, enum rt_close_reason reason)
{
    if (conn->closing)
        return;
    conn->closing = true;
    conn->reason = (unsigned char)reason & 7u;
    struct rt_net *net = conn->net;
    rt_flush_remove(net->loop, conn);
    rt_list_remove(&conn->link);
    net->m.queued.value -= conn->out.queued;
    rt_outq_clear(&conn->out);
    if (net->loop->closes++ < CLOSES_PER_TURN) {
        rt_loop_close_handle(net->loop, (uv_handle_t *)&conn->poll, on_poll_closed);
        return;
    }
    (void)uv_poll_stop(&conn->poll);
    rt_list_push(&net->loop->closing_late, &conn->link);
}

void rt_conn_close_late(struct rt_loop *loop, bool all)
{
    loop->closes = 0;
    while (!rt_list_empty(&loop->closing_late) && (all || loop->closes < CLOSES_PER_TURN)) {
        struct rt_list *node = rt_list_pop(&loop->closing_late);
        struct rt_conn *conn = RT_CONTAINER(node, struct rt_conn, link);
        loop->closes++;
        rt_loop_close_handle(loop, (uv_handle_t *)&conn->poll, on_poll_closed);
    }
}

/* ---- finishing ---- */

/* Deadlines are kept in 16 bits: ticks of 16 ms, compared as a difference, which is right for
 * minutes. */
#define TICK_MS 16u

static uint16_t tick_of(uint64_t ms)
{
    return (uint16_t)(ms / TICK_MS);
}

/* Whole KiB that the kernel holds and the peer has not acknowledged. */
static uint16_t unacked(const struct rt_conn *conn)
{
    int bytes = 0;
    if (ioctl(conn->fd, SIOCOUTQ, &bytes) || bytes < 0)
        return 0;
    unsigned kib = (unsigned)bytes / 1024;
    return kib < UINT16_MAX ? (uint16_t)kib : UINT16_MAX;
}

static void on_finish_timer(struct rt_timer *timer)
{
    struct rt_net *net = RT_CONTAINER(timer, struct rt_net, finish_timer);
    uint64_t now = rt_mono_ms();
    rt_list_for_safe(node, next, &net->finishing) {
        struct rt_conn *conn = RT_CONTAINER(node, struct rt_conn, link);
        int16_t left = (int16_t)(conn->u.finish.deadline - tick_of(now));
        if (left > 0) {
            uint64_t at = (now / TICK_MS + (uint64_t)left) * TICK_MS;
            rt_timer_start_at(net->loop, timer, at, on_finish_timer);
            return;
        }
        /* A slow peer may read for long before the kernel wants more of us, and in a flood it may
         * take us long to come to it. */
        if (conn->dirty != RT_NOT_DIRTY || unacked(conn) < conn->u.finish.unacked)
            rt_conn_extend_deadline(conn);
        else
            rt_conn_close(conn, RT_CLOSE_TIMEOUT);
    }
}

void rt_conn_extend_deadline(struct rt_conn *conn)
{
    struct rt_net *net = conn->net;
    uint64_t deadline = rt_mono_ms() + RT_FINISH_MS + TICK_MS; /* both clocks round down */
    conn->u.finish.deadline = tick_of(deadline);
    conn->u.finish.unacked = unacked(conn);
    rt_list_remove(&conn->link);
    rt_list_push(&net->finishing, &conn->link);
    if (!net->finish_timer.active)
        rt_timer_start_at(net->loop, &net->finish_timer, deadline, on_finish_timer);
}

void rt_conn_shut_down(struct rt_conn *conn)
{
    conn->shut = true;
    if (shutdown(conn->fd, SHUT_WR))
        rt_conn_close(conn, RT_CLOSE_PEER); /* reset already */
    else if (conn->eof)
        rt_conn_close(conn, RT_CLOSE_LOCAL);
    else
        rt_conn_extend_deadline(conn);
}

void rt_conn_finish(struct rt_conn *conn)
{
    if (conn->closing || conn->finishing)
        return;
    conn->finishing = true;
    conn->paused = false;
    if (conn->out.count > 0)
        rt_conn_extend_deadline(conn);
    else
        rt_conn_shut_down(conn);
    rt_conn_update_interest(conn);
}

/* ---- the rest of the contract ---- */

void rt_conn_set_handler(struct rt_conn *conn, const struct rt_conn_handler *handler, void *user)
{
    conn->handler = handler;
    conn->poll.data = user;
}

void *rt_conn_user(const struct rt_conn *conn)
{
    return conn->poll.data;
}

struct rt_loop *rt_conn_loop(const struct rt_conn *conn)
{
    return conn->net->loop;
}

void rt_conn_pause(struct rt_conn *conn)
{
    /* The poll handle is changed by the next event, if one comes before rt_conn_resume(). */
    if (!conn->finishing)
        conn->paused = true;
}

bool rt_conn_paused(const struct rt_conn *conn)
{
    return conn->paused;
}

void rt_conn_resume(struct rt_conn *conn)
{
    conn->paused = false;
    rt_conn_update_interest(conn);
}

bool rt_conn_closing(const struct rt_conn *conn)
{
    return conn->closing || conn->finishing;
}

uint64_t rt_conn_id(const struct rt_conn *conn)
{
    return conn->id;
}

uint64_t rt_conn_received(const struct rt_conn *conn)
{
    return conn->received;
}
