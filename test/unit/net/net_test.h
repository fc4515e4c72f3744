/* What the tests of net/ share: a loop with a listener on a free port, served connections that
 * note what happens to them, and plain client sockets in the same thread. Nothing waits but for a
 * condition, with a deadline. */
#ifndef NET_TEST_H
#define NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/loop.h"

#define DEADLINE_MS 10000

/* Turns the loop until the condition holds. */
#define WAIT_FOR(loop, condition)                                        \
    do {                                                                 \
        uint64_t wait_end_ = rt_mono_ms() + DEADLINE_MS;                 \
        while (!(condition)) {                                           \
            if (rt_mono_ms() > wait_end_)                                \
                fail_msg("deadline passed waiting for: %s", #condition); \
            rt_loop_turn((loop), 2);                                     \
        }                                                                \
    } while (0)

#define MAX_SERVED 256

struct fixture;

/* One accepted connection. */
struct served {
    struct fixture *fx;
    struct rt_conn *conn; /* NULL when closed */
    uint64_t id;
    size_t received;
    struct rt_buf data; /* what came, when fx->keep_data */
    int eofs, drains, closes;
    enum rt_close_reason reason;
    bool in_callback;
};

struct fixture {
    struct rt_loop *loop;
    struct rt_net *net;
    struct rt_listener *listener;
    struct rt_metrics metrics;
    struct served served[MAX_SERVED];
    size_t count;
    bool keep_data;
    /* What the served connection does; NULL: nothing more than to note it. */
    void (*on_accept)(struct served *s);
    void (*on_data)(struct served *s, uint8_t *data, size_t len);
    bool (*on_eof)(struct served *s);
    void (*on_drain)(struct served *s);
    void (*on_closed)(struct served *s);
    void *arg;
    long live_before;
};

static inline void served_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    struct served *s = user;
    assert_ptr_equal(s->conn, conn);
    assert_int_equal(s->closes, 0);
    assert_false(s->in_callback);
    s->in_callback = true;
    s->received += len;
    if (s->fx->keep_data)
        rt_buf_add(&s->data, data, len);
    if (s->fx->on_data)
        s->fx->on_data(s, data, len);
    s->in_callback = false;
}

static inline bool served_eof(struct rt_conn *conn, void *user)
{
    struct served *s = user;
    assert_ptr_equal(s->conn, conn);
    s->eofs++;
    s->in_callback = true;
    bool keep = s->fx->on_eof && s->fx->on_eof(s);
    s->in_callback = false;
    return keep;
}

static inline void served_drain(struct rt_conn *conn, void *user)
{
    struct served *s = user;
    assert_ptr_equal(s->conn, conn);
    assert_int_equal(s->closes, 0);
    s->drains++;
    s->in_callback = true;
    if (s->fx->on_drain)
        s->fx->on_drain(s);
    s->in_callback = false;
}

static inline void served_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    struct served *s = user;
    assert_ptr_equal(s->conn, conn);
    assert_int_equal(s->closes, 0);
    assert_false(s->in_callback);
    assert_int_equal(rt_conn_id(conn), s->id);
    s->closes++;
    s->reason = reason;
    if (s->fx->on_closed)
        s->fx->on_closed(s);
    s->conn = NULL;
}

static const struct rt_conn_handler served_handler = {
    .on_data = served_data,
    .on_eof = served_eof,
    .on_closed = served_closed,
    .on_drain = served_drain,
};

static inline void accept_served(void *arg, struct rt_conn *conn)
{
    struct fixture *fx = arg;
    assert_true(fx->count < MAX_SERVED);
    struct served *s = &fx->served[fx->count++];
    *s = (struct served){.fx = fx, .conn = conn, .id = rt_conn_id(conn)};
    rt_conn_set_handler(conn, &served_handler, s);
    if (fx->on_accept) {
        s->in_callback = true;
        fx->on_accept(s);
        s->in_callback = false;
    }
}

static inline void fixture_start(struct fixture *fx, const struct rt_net_options *options,
                                 const char *address)
{
    struct rt_net_options used = {.send_queue = 1 << 20};
    struct rt_err err = {.code = 0};
    memset(fx, 0, sizeof(*fx));
#ifdef RT_TEST
    fx->live_before = rt_alloc_live();
#endif
    if (options)
        used = *options;
    rt_metrics_init(&fx->metrics);
    used.metrics = &fx->metrics;
    assert_int_equal(rt_loop_new(&fx->loop, &err), 0);
    assert_int_equal(rt_net_new(fx->loop, &used, &fx->net, &err), 0);
    if (rt_net_listen(fx->net, rt_str_c(address), accept_served, fx, &fx->listener, &err))
        fail_msg("%s", err.text);
}

/* Everything closes, nothing is left: neither handles nor memory. */
static inline void fixture_stop(struct fixture *fx)
{
    rt_net_stop_listening(fx->net);
    rt_net_close_all(fx->net);
    rt_loop_stop(fx->loop);
    assert_int_equal(rt_loop_run(fx->loop), 0);
    assert_int_equal(rt_net_connections(fx->net), 0);
    for (size_t i = 0; i < fx->count; i++) {
        assert_int_equal(fx->served[i].closes, 1);
        rt_buf_deinit(&fx->served[i].data);
    }
    rt_net_free(fx->net);
    rt_loop_free(fx->loop);
#ifdef RT_TEST
    assert_int_equal(rt_alloc_live(), fx->live_before);
#endif
}

static inline double metric(const struct fixture *fx, const char *name, const char *labels)
{
    for (const struct rt_metric *m = fx->metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && (!labels || (m->labels && strstr(m->labels, labels))))
            return m->read ? m->read(m->arg) : (double)m->value;
    fail_msg("no metric %s", name);
    return 0;
}

/* ---- client sockets ---- */

/* The port at the end of a listener's address. */
static inline uint16_t port_of(const struct rt_listener *listener)
{
    const char *colon = strrchr(rt_listener_address(listener), ':');
    assert_non_null(colon);
    return (uint16_t)strtoul(colon + 1, NULL, 10);
}

/* A socket whose receive buffer is small when `rcvbuf`, so that a peer that does not read blocks
 * its server soon. */
static inline int client_connect(uint16_t port, int rcvbuf)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (rcvbuf)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Connects and waits until it is served. */
static inline struct served *serve_one(struct fixture *fx, int *ret_fd, int rcvbuf)
{
    size_t before = fx->count;
    *ret_fd = client_connect(port_of(fx->listener), rcvbuf);
    WAIT_FOR(fx->loop, fx->count > before);
    return &fx->served[before];
}

/* Everything that the client can read now; false at the end of the stream. `buf` may be NULL. */
static inline bool client_read(int fd, struct rt_buf *buf, size_t *total)
{
    static uint8_t chunk[65536];
    for (;;) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        if (buf)
            rt_buf_add(buf, chunk, (size_t)n);
        if (total)
            *total += (size_t)n;
    }
}

static inline void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Turns the loop until the client has seen `len` bytes. */
static inline void client_expect(struct fixture *fx, int fd, struct rt_buf *buf, size_t len)
{
    WAIT_FOR(fx->loop, (client_read(fd, buf, NULL), buf->len >= len));
    assert_int_equal(buf->len, len);
}

/* The byte at a position of a stream whose content can be told anywhere. */
static inline uint8_t pattern_at(size_t pos)
{
    return (uint8_t)((pos * 2654435761u) >> 13 ^ pos);
}

static inline struct rt_bytes *pattern_bytes(size_t from, size_t len)
{
    struct rt_bytes *bytes = rt_bytes_new(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes->data[i] = pattern_at(from + i);
    bytes->len = (uint32_t)len;
    return bytes;
}

static inline bool is_pattern(const uint8_t *data, size_t len, size_t from)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] != pattern_at(from + i))
            return false;
    return true;
}

#endif
