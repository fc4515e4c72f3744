/* A loop and connections without sockets, with a clock that only the test moves: stands in for net/ in the tests of http/ and ws/.
 *
 * It defines the functions of net/loop.h and net/conn.h that those folders use, so net/ itself is not linked. What a
 * connection sends is collected in `out`. Its blocks are not counted by base/alloc.h and never fail.
 * Include it in one file of a program. */
#ifndef RT_TEST_FAKE_NET_H
#define RT_TEST_FAKE_NET_H

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "net/conn.h"

struct rt_loop {
    uint64_t now;
    struct rt_list timers;
};

struct rt_conn {
    struct rt_loop *loop;
    const struct rt_conn_handler *handler;
    void *user;
    char *out; /* all that was sent, NUL-terminated */
    size_t out_len;
    const char *peer;
    bool busy; /* earlier output waits: not writable */
    bool fail_sends;
    bool paused, finished, closing, closed;
    enum rt_close_reason reason;
    int depth; /* callbacks on the stack */
};

static void fake_loop_init(struct rt_loop *loop)
{
    loop->now = 1000000;
    rt_list_init(&loop->timers);
}

static struct rt_conn *fake_conn_new(struct rt_loop *loop, const char *peer)
{
    struct rt_conn *conn = calloc(1, sizeof(*conn));
    conn->loop = loop;
    conn->peer = peer;
    conn->out = calloc(1, 1);
    return conn;
}

static void fake_conn_free(struct rt_conn *conn)
{
    free(conn->out);
    free(conn);
}

/* As net/ does: the last callback comes at the end of a turn. */
static void fake_end_turn(struct rt_conn *conn)
{
    if (!conn->closing || conn->closed)
        return;
    conn->closed = true;
    conn->handler->on_closed(conn, conn->user, conn->reason);
}

/* Delivers a copy in a block of exactly its size. */
static void fake_data(struct rt_conn *conn, const void *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    if (!conn->closing && !conn->finished) {
        conn->depth++;
        conn->handler->on_data(conn, conn->user, copy, len);
        conn->depth--;
    }
    free(copy);
}

static void fake_eof(struct rt_conn *conn)
{
    if (conn->closing)
        return;
    if (conn->finished) {
        rt_conn_close(conn, RT_CLOSE_LOCAL);
        return;
    }
    conn->depth++;
    bool kept = conn->handler->on_eof != NULL && conn->handler->on_eof(conn, conn->user);
    conn->depth--;
    if (!kept)
        rt_conn_close(conn, RT_CLOSE_PEER);
}

__attribute__((unused)) static void fake_drain(struct rt_conn *conn)
{
    conn->busy = false;
    if (conn->handler->on_drain != NULL)
        conn->handler->on_drain(conn, conn->user);
}

static void fake_clear_output(struct rt_conn *conn)
{
    conn->out_len = 0;
    conn->out[0] = '\0';
}

/* Moves the clock, firing timers in order of their time. */
static void fake_advance(struct rt_loop *loop, uint64_t ms)
{
    uint64_t until = loop->now + ms;
    for (;;) {
        struct rt_timer *first = NULL;
        rt_list_for(it, &loop->timers) {
            struct rt_timer *timer = RT_CONTAINER(it, struct rt_timer, link);
            if (timer->expires <= until && (first == NULL || timer->expires < first->expires))
                first = timer;
        }
        if (first == NULL)
            break;
        if (first->expires > loop->now)
            loop->now = first->expires;
        rt_timer_stop(loop, first);
        first->fn(first);
    }
    loop->now = until;
}

/* ---- net/loop.h ----------------------------------------------------------------------------- */

uint64_t rt_loop_now(const struct rt_loop *loop)
{
    return loop->now;
}

void rt_timer_start(struct rt_loop *loop, struct rt_timer *timer, uint64_t delay_ms,
                    void (*fn)(struct rt_timer *))
{
    rt_timer_stop(loop, timer);
    timer->expires = loop->now + delay_ms;
    timer->fn = fn;
    timer->active = true;
    rt_list_push(&loop->timers, &timer->link);
}

void rt_timer_stop(struct rt_loop *loop, struct rt_timer *timer)
{
    (void)loop;
    if (timer->active)
        rt_list_remove(&timer->link);
    timer->active = false;
}

/* ---- net/conn.h ----------------------------------------------------------------------------- */

void rt_conn_set_handler(struct rt_conn *conn, const struct rt_conn_handler *handler, void *user)
{
    conn->handler = handler;
    conn->user = user;
}

void *rt_conn_user(const struct rt_conn *conn)
{
    return conn->user;
}

struct rt_loop *rt_conn_loop(const struct rt_conn *conn)
{
    return conn->loop;
}

int rt_conn_send_copy(struct rt_conn *conn, const void *data, size_t len)
{
    if (conn->closing || conn->finished)
        return RT_ECLOSED;
    if (conn->fail_sends) {
        rt_conn_close(conn, RT_CLOSE_ERROR);
        return RT_ENOMEM;
    }
    conn->out = realloc(conn->out, conn->out_len + len + 1);
    if (len > 0)
        memcpy(conn->out + conn->out_len, data, len);
    conn->out_len += len;
    conn->out[conn->out_len] = '\0';
    return 0;
}

int rt_conn_send(struct rt_conn *conn, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    return rt_conn_send_copy(conn, bytes->data + off, len);
}

size_t rt_conn_queued(const struct rt_conn *conn)
{
    return conn->busy ? 1 : 0;
}

bool rt_conn_writable(const struct rt_conn *conn)
{
    return !conn->busy;
}

bool rt_conn_paused(const struct rt_conn *conn)
{
    return conn->paused;
}

void rt_conn_pause(struct rt_conn *conn)
{
    conn->paused = true;
}

void rt_conn_resume(struct rt_conn *conn)
{
    conn->paused = false;
}

void rt_conn_close(struct rt_conn *conn, enum rt_close_reason reason)
{
    if (conn->closing)
        return;
    conn->closing = true;
    conn->reason = reason;
}

void rt_conn_finish(struct rt_conn *conn)
{
    conn->finished = true;
}

bool rt_conn_closing(const struct rt_conn *conn)
{
    return conn->closing || conn->finished;
}

const char *rt_conn_peer(const struct rt_conn *conn)
{
    return conn->peer;
}

#endif
