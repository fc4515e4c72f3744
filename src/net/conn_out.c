/* Connections: the sending side, between rt_conn_send() and the flush backend. */
#include <errno.h>
#include <sys/uio.h>

#include "net/net_internal.h"

#define BIG_COPY      (RT_SCRATCH_SIZE / 4) /* gets a block of its own */
#define WAITING_BLOCK 1024u                 /* where copies for a blocked connection gather */

size_t rt_conn_queued(const struct rt_conn *conn)
{
    return conn->out.queued;
}

bool rt_conn_writable(const struct rt_conn *conn)
{
    return !conn->blocked && !conn->closing && !conn->finishing;
}

void rt_conn_set_queue_limit(struct rt_conn *conn, size_t bytes)
{
    /* Half of the range: a queue that was empty takes any one message, which is at most a quarter
     * of it. */
    if (!conn->finishing)
        conn->u.limit = bytes < INT32_MAX ? (uint32_t)bytes : INT32_MAX;
}

/* ---- queueing ---- */

static bool fits(const struct rt_conn *conn, size_t cost)
{
    return conn->out.queued == 0 || conn->out.queued + cost <= conn->u.limit;
}

/* A connection that keeps up is written at once when this turn's output alone would take it over
 * its limit; one that waits for its peer is closed. */
static bool make_room(struct rt_conn *conn, size_t cost)
{
    if (fits(conn, cost))
        return true;
    if (!conn->blocked)
        rt_flush_now(conn->net->loop, conn);
    if (conn->closing)
        return false;
    if (fits(conn, cost))
        return true;
    conn->net->m.slow.value++;
    rt_conn_close(conn, RT_CLOSE_SLOW);
    return false;
}

/* After a queue was (or could not be) extended. */
static int queued_more(struct rt_conn *conn, uint32_t before, int result)
{
    if (result) {
        rt_conn_close(conn, RT_CLOSE_ERROR); /* its stream would have a hole */
        return RT_ENOMEM;
    }
    conn->net->m.queued.value += conn->out.queued - before;
    if (!conn->blocked && conn->dirty == RT_NOT_DIRTY)
        rt_flush_add(conn->net->loop, conn);
    return 0;
}

static int push(struct rt_conn *conn, struct rt_bytes *bytes, uint32_t off, uint32_t len,
                enum rt_out_kind kind)
{
    if (!make_room(conn, rt_outq_cost(&conn->out, bytes, off, len, kind)))
        return RT_ECLOSED;
    uint32_t before = conn->out.queued;
    return queued_more(conn, before, rt_outq_push(&conn->out, bytes, off, len, kind));
}

int rt_conn_send(struct rt_conn *conn, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    assert(off <= bytes->len && len <= bytes->len - off);
    if (conn->closing || conn->finishing)
        return RT_ECLOSED;
    if (len == 0)
        return 0;
    return push(conn, bytes, off, len, RT_OUT_SHARED);
}

/* A copy in a block with `room` bytes of its own. */
static int push_copy(struct rt_conn *conn, const void *data, size_t len, size_t room)
{
    struct rt_bytes *own = rt_bytes_new(room);
    if (!own)
        return queued_more(conn, 0, RT_ENOMEM);
    memcpy(own->data, data, len);
    own->len = (uint32_t)len;
    int r = push(conn, own, 0, own->len, RT_OUT_SHARED);
    rt_bytes_unref(own);
    return r;
}

/* For a connection that waits: into a block that only it holds. */
static int send_copy_waiting(struct rt_conn *conn, const void *data, size_t len)
{
    if (!make_room(conn, len))
        return RT_ECLOSED;
    uint32_t before = conn->out.queued;
    if (rt_outq_append(&conn->out, data, (uint32_t)len))
        return queued_more(conn, before, 0);
    return push_copy(conn, data, len, len > WAITING_BLOCK ? len : WAITING_BLOCK);
}

/* Room for `len` bytes in the block that all connections share in a turn. Used from its beginning
 * again when no queue refers to it, which is the case after each flush, unless a write was short
 * while memory was out. */
static struct rt_bytes *scratch_with_room(struct rt_loop *loop, size_t len)
{
    struct rt_bytes *scratch = loop->scratch;
    if (scratch && scratch->refs == 1)
        scratch->len = 0;
    if (scratch && scratch->cap - scratch->len >= len)
        return scratch;
    struct rt_bytes *fresh = rt_bytes_new(RT_SCRATCH_SIZE);
    if (!fresh)
        return NULL;
    rt_bytes_unref(scratch);
    loop->scratch = fresh;
    return fresh;
}

static int send_copy_scratch(struct rt_conn *conn, const void *data, size_t len)
{
    if (!make_room(conn, len))
        return RT_ECLOSED;
    if (conn->blocked) /* since make_room() */
        return send_copy_waiting(conn, data, len);
    struct rt_bytes *scratch = scratch_with_room(conn->net->loop, len);
    if (!scratch)
        return queued_more(conn, 0, RT_ENOMEM);
    uint32_t off = scratch->len;
    memcpy(scratch->data + off, data, len);
    scratch->len += (uint32_t)len;
    return push(conn, scratch, off, (uint32_t)len, RT_OUT_SCRATCH);
}

int rt_conn_send_copy(struct rt_conn *conn, const void *data, size_t len)
{
    if (conn->closing || conn->finishing)
        return RT_ECLOSED;
    if (len == 0)
        return 0;
    if (len > BIG_COPY)
        return push_copy(conn, data, len, len);
    return conn->blocked ? send_copy_waiting(conn, data, len) : send_copy_scratch(conn, data, len);
}

/* ---- writing, for the backends ---- */

size_t rt_conn_gather(struct rt_conn *conn, struct iovec *iov, size_t max)
{
    return rt_outq_gather(&conn->out, iov, max);
}

int rt_conn_fd(const struct rt_conn *conn)
{
    return conn->fd;
}

void rt_conn_prefetch(const struct rt_conn *conn)
{
    /* Two lines, since the struct is not aligned to them. */
    __builtin_prefetch(&conn->out, 1);
    __builtin_prefetch(&conn->slab, 1);
}

static void block(struct rt_conn *conn)
{
    conn->blocked = true;
    if (conn->writing)
        return;
    rt_outq_unpin(&conn->out);
    rt_conn_update_interest(conn);
}

static void write_failed(struct rt_conn *conn, ssize_t error)
{
    if (error == -EAGAIN || error == -ENOBUFS)
        block(conn);
    else if (error == -EPIPE || error == -ECONNRESET)
        rt_conn_close(conn, RT_CLOSE_PEER);
    else
        rt_conn_close(conn, RT_CLOSE_ERROR);
}

void rt_conn_written(struct rt_conn *conn, ssize_t result)
{
    conn->dirty = RT_NOT_DIRTY;
    conn->net->loop->written += RT_WRITE_COST;
    if (result <= 0) {
        write_failed(conn, result ? result : -EAGAIN);
        return;
    }
    struct rt_net *net = conn->net;
    uint32_t queued = conn->out.queued, entries = conn->out.count;
    bool whole = rt_outq_consume(&conn->out, (size_t)result);
    net->m.queued.value -= queued - conn->out.queued;
    net->m.sent.value += (uint64_t)result;
    net->loop->written += (uint64_t)result;
    if (conn->out.count == 0) {
        if (conn->finishing)
            rt_conn_shut_down(conn);
        return;
    }
    if (conn->finishing)
        rt_conn_extend_deadline(conn);
    if (whole && entries - conn->out.count == RT_FLUSH_IOV)
        net->loop->submit_again = true; /* it was not short, there was more than fits a call */
    else
        block(conn);
}
