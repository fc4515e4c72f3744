/* Connecting to a server, for the command line: names through libuv's threads, then one address
 * after the other. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/net_internal.h"

#define CONNECT_MS 10000

struct attempt {
    struct rt_net *net;
    struct rt_list link; /* net->connecting */
    void (*done)(void *arg, struct rt_conn *conn, const struct rt_err *err);
    void *arg;
    struct rt_net_address address;
    struct rt_err err; /* why the last address did not work */
    struct rt_timer timer;
    struct rt_deferred start;
    uv_getaddrinfo_t lookup;
    bool looking_up;
    bool over; /* timed out or cancelled: no further address */
    struct addrinfo *all, *next;
    uv_poll_t poll;
    bool polling;
    bool connected;
    int fd;
    struct sockaddr_storage peer;
};

static void try_next(struct attempt *a);

static int note_error(struct attempt *a, int error)
{
    char text[300];
    rt_net_address_print(&a->address, a->address.port, text, sizeof(text));
    return rt_err_set(&a->err, RT_EIO, "cannot connect to %s: %s", text, strerror(error));
}

/* Calls back and ends the attempt. Never from inside rt_net_connect(). */
static void finish(struct attempt *a, struct rt_conn *conn)
{
    rt_list_remove(&a->link);
    rt_timer_stop(a->net->loop, &a->timer);
    if (a->all)
        uv_freeaddrinfo(a->all);
    a->done(a->arg, conn, conn ? NULL : &a->err);
    if (conn)
        rt_conn_start(conn);
    rt_free(a);
}

static void hand_over(struct attempt *a)
{
    struct rt_conn *conn;
    if (rt_conn_new(a->net, a->fd, &a->peer, &conn)) {
        close(a->fd);
        (void)rt_err_nomem(&a->err);
        finish(a, NULL);
        return;
    }
    conn->outgoing = true;
    a->net->open++;
    finish(a, conn);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct attempt *a = RT_CONTAINER(handle, struct attempt, poll);
    rt_loop_closed(a->net->loop);
    a->polling = false;
    if (a->connected && !a->over) {
        hand_over(a);
        return;
    }
    close(a->fd);
    if (a->over)
        finish(a, NULL);
    else
        try_next(a);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
    struct attempt *a = RT_CONTAINER(poll, struct attempt, poll);
    int error = 0;
    socklen_t len = sizeof(error);
    (void)status;
    (void)events;
    rt_loop_enter(a->net->loop);
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len))
        error = errno;
    if (error)
        (void)note_error(a, error);
    a->connected = error == 0;
    rt_loop_close_handle(a->net->loop, (uv_handle_t *)poll, on_poll_closed);
}

/* Starts connecting to a->peer; 0 or errno. */
static int try_one(struct attempt *a, socklen_t len)
{
    int fd = socket(a->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int on = 1;
    if (a->peer.ss_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    int error = connect(fd, (struct sockaddr *)&a->peer, len) ? errno : 0;
    if (error == 0 || error == EINPROGRESS)
        error = -uv_poll_init(&a->net->loop->uv, &a->poll, fd);
    if (error) {
        close(fd);
        return error;
    }
    a->fd = fd;
    a->polling = true;
    (void)uv_poll_start(&a->poll, UV_WRITABLE, on_connected);
    return 0;
}

static void try_next(struct attempt *a)
{
    while (a->next && !a->over) {
        struct addrinfo *one = a->next;
        a->next = one->ai_next;
        memset(&a->peer, 0, sizeof(a->peer));
        memcpy(&a->peer, one->ai_addr, one->ai_addrlen);
        int error = try_one(a, one->ai_addrlen);
        if (error == 0)
            return;
        (void)note_error(a, error);
    }
    finish(a, NULL);
}

static void on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *all)
{
    struct attempt *a = RT_CONTAINER(lookup, struct attempt, lookup);
    rt_loop_enter(a->net->loop);
    a->looking_up = false;
    a->all = a->next = all;
    if (status && !a->over)
        (void)rt_err_set(&a->err, RT_EIO, "cannot resolve \"%s\": %s", a->address.host,
                         uv_strerror(status));
    try_next(a);
}

static void on_start(struct rt_deferred *start)
{
    struct attempt *a = RT_CONTAINER(start, struct attempt, start);
    if (a->over) {
        finish(a, NULL);
        return;
    }
    if (a->address.unix_path) {
        socklen_t len = rt_net_address_unix(&a->address, &a->peer);
        int error = try_one(a, len);
        if (error) {
            (void)note_error(a, error);
            finish(a, NULL);
        }
        return;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)a->address.port);
    int r = uv_getaddrinfo(&a->net->loop->uv, &a->lookup, on_lookup, a->address.host, port, &hints);
    a->looking_up = r == 0;
    if (r) {
        (void)rt_err_set(&a->err, RT_EIO, "cannot resolve \"%s\": %s", a->address.host,
                         uv_strerror(r));
        finish(a, NULL);
    }
}

/* Ends what is under way; finish() comes from its callback. */
static void give_up(struct attempt *a)
{
    if (a->over)
        return;
    a->over = true;
    rt_timer_stop(a->net->loop, &a->timer);
    if (a->looking_up)
        (void)uv_cancel((uv_req_t *)&a->lookup); /* when it runs already, it runs to its end */
    else if (a->polling && !uv_is_closing((uv_handle_t *)&a->poll))
        rt_loop_close_handle(a->net->loop, (uv_handle_t *)&a->poll, on_poll_closed);
}

static void on_timeout(struct rt_timer *timer)
{
    struct attempt *a = RT_CONTAINER(timer, struct attempt, timer);
    (void)note_error(a, ETIMEDOUT);
    give_up(a);
}

void rt_net_cancel_connecting(struct rt_net *net)
{
    rt_list_for(node, &net->connecting) {
        struct attempt *a = RT_CONTAINER(node, struct attempt, link);
        (void)rt_err_set(&a->err, RT_ECLOSED, "cancelled");
        give_up(a);
    }
}

int rt_net_connect(struct rt_net *net, struct rt_str address,
                   void (*done)(void *arg, struct rt_conn *conn, const struct rt_err *err),
                   void *arg, struct rt_err *err)
{
    struct attempt *a = rt_calloc(1, sizeof(*a));
    if (!a)
        return rt_err_nomem(err);
    int r = rt_net_address_parse(address, &a->address, err);
    if (r) {
        rt_free(a);
        return r;
    }
    a->net = net;
    a->done = done;
    a->arg = arg;
    rt_list_push(&net->connecting, &a->link);
    rt_timer_start(net->loop, &a->timer, CONNECT_MS, on_timeout);
    rt_loop_defer(net->loop, &a->start, on_start);
    return 0;
}
