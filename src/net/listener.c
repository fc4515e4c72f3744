/* Listening and accepting. */
#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/listener_sockets.h"
#include "net/net_internal.h"

#define ACCEPTS_PER_TURN 64  /* for one socket: those who are connected want their turn too */
#define ACCEPT_PAUSE_MS  100 /* when descriptors are out */
#define MAX_REFUSED      32  /* that are told at leisure; those beyond get the same in one go */
#define RESERVED         16  /* connections of reserved listeners beyond the cap of all */

struct listen_socket {
    uv_poll_t poll;
    struct rt_listener *listener;
    int fd;
};

struct rt_listener {
    struct rt_net *net;
    struct rt_list link;
    void (*accept)(void *arg, struct rt_conn *conn);
    void *arg;
    bool reserved;            /* see rt_listener_reserve() */
    struct rt_listen_set set; /* owns path and text; the descriptors are those below */
    size_t open;              /* sockets whose handle is not closed */
    struct listen_socket sockets[];
};

/* ---- refusing ---- */

static const char *reject_name(enum rt_reject why)
{
    return why == RT_REJECT_PER_IP ? "too many connections from this address"
                                   : "connection limit reached";
}

/* A connection that only brings the refusal and reads what comes until the peer is done: if it
 * were closed with unread bytes, the kernel would reset it, and the peer might never see why. */
static void refuse_conn(struct rt_net *net, struct rt_conn *conn)
{
    conn->refused = true;
    net->refused++;
    if (net->refusal)
        (void)rt_conn_send(conn, net->refusal, 0, net->refusal->len);
    rt_conn_finish(conn);
    rt_conn_start(conn);
}

/* The same in one go, as far as that goes. */
static void tell_quickly(struct rt_net *net, int fd)
{
    (void)recv(fd, net->loop->read_buffer, RT_READ_BUFFER, MSG_DONTWAIT);
    if (net->refusal)
        (void)send(fd, net->refusal->data, net->refusal->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
}

static void count_refusal(struct rt_net *net, const struct rt_conn *conn, enum rt_reject why)
{
    net->m.rejected[why].value++;
    rt_log(RT_LOG_WARN, "net", reject_name(why),
           rt_kv_u64("limit", why == RT_REJECT_PER_IP ? net->max_per_ip : net->max_connections),
           rt_kv_c(conn ? "peer" : NULL, conn ? rt_conn_peer(conn) : NULL));
}

static void refuse(struct rt_net *net, int fd, const struct sockaddr_storage *peer)
{
    struct rt_conn *conn = NULL;
    if (net->refused < MAX_REFUSED)
        (void)rt_conn_new(net, fd, peer, &conn);
    count_refusal(net, conn, RT_REJECT_CAP);
    if (conn) {
        refuse_conn(net, conn);
        return;
    }
    tell_quickly(net, fd);
    close(fd);
}

/* Of an address that has its share: a few are told at leisure, none of the others keeps a descriptor. */
static void refuse_address(struct rt_net *net, struct rt_conn *conn)
{
    count_refusal(net, conn, RT_REJECT_PER_IP);
    if (net->refused < MAX_REFUSED) {
        refuse_conn(net, conn);
        return;
    }
    conn->refused = true;
    net->refused++;
    tell_quickly(net, conn->fd);
    rt_conn_close(conn, RT_CLOSE_LOCAL);
}

/* ---- accepting ---- */

static bool is_full(const struct rt_listener *listener)
{
    const struct rt_net *net = listener->net;
    uint32_t beyond = net->reserved < RESERVED ? net->reserved : RESERVED;
    if (listener->reserved && beyond < RESERVED)
        return false;
    return net->open - beyond >= net->max_connections;
}

static void admit(struct rt_listener *listener, int fd, const struct sockaddr_storage *peer)
{
    struct rt_net *net = listener->net;
    struct rt_conn *conn;
    if (is_full(listener)) {
        refuse(net, fd, peer);
        return;
    }
    if (rt_conn_new(net, fd, peer, &conn)) {
        net->m.rejected[RT_REJECT_MEMORY].value++;
        rt_log(RT_LOG_WARN, "net", "no memory for a new connection");
        close(fd);
        return;
    }
    if (!listener->reserved && !rt_net_ip_take(net, conn)) {
        refuse_address(net, conn);
        return;
    }
    conn->reserved = listener->reserved;
    net->reserved += listener->reserved;
    net->open++;
    net->m.accepted.value++;
    listener->accept(listener->arg, conn);
    rt_conn_start(conn);
}

static void on_listen(uv_poll_t *poll, int status, int events);

static void each_socket(struct rt_net *net, void (*fn)(struct listen_socket *socket))
{
    rt_list_for(node, &net->listeners) {
        struct rt_listener *listener = RT_CONTAINER(node, struct rt_listener, link);
        for (size_t i = 0; i < listener->set.count; i++)
            fn(&listener->sockets[i]);
    }
}

static void start_socket(struct listen_socket *socket)
{
    if (!uv_is_closing((uv_handle_t *)&socket->poll))
        (void)uv_poll_start(&socket->poll, UV_READABLE, on_listen);
}

static void stop_socket(struct listen_socket *socket)
{
    if (!uv_is_closing((uv_handle_t *)&socket->poll))
        (void)uv_poll_stop(&socket->poll);
}

static void on_pause_over(struct rt_timer *timer)
{
    each_socket(RT_CONTAINER(timer, struct rt_net, accept_pause), start_socket);
}

/* The client stays in the backlog, so polling on would spin. */
static void pause_accepting(struct rt_net *net, int error)
{
    net->m.rejected[RT_REJECT_DESCRIPTORS].value++;
    if (!net->descriptors_out)
        rt_log(RT_LOG_ERROR, "net", "cannot accept connections for now",
               rt_kv_c("error", strerror(error)), rt_kv_u64("connections", net->open),
               rt_kv_u64("retry_ms", ACCEPT_PAUSE_MS));
    net->descriptors_out = true;
    each_socket(net, stop_socket);
    rt_timer_start(net->loop, &net->accept_pause, ACCEPT_PAUSE_MS, on_pause_over);
}

static bool out_of_resources(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_listen(uv_poll_t *poll, int status, int events)
{
    struct listen_socket *socket = RT_CONTAINER(poll, struct listen_socket, poll);
    struct rt_listener *listener = socket->listener;
    struct rt_net *net = listener->net;
    (void)events;
    rt_loop_enter(net->loop);
    if (status < 0)
        start_socket(socket); /* libuv stops a handle on POLLERR */
    /* A callback may stop listening (also for this turn's rest). */
    for (int i = 0; i < ACCEPTS_PER_TURN && uv_is_active((uv_handle_t *)poll); i++) {
        struct sockaddr_storage peer = {.ss_family = AF_UNIX};
        socklen_t len = sizeof(peer);
        int fd = accept4(socket->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            net->descriptors_out = false;
            admit(listener, fd, &peer);
        } else if (errno == EAGAIN) {
            return;
        } else if (out_of_resources(errno)) {
            pause_accepting(net, errno);
            return;
        }
        /* Anything else belongs to one client that has gone already. */
    }
}

/* ---- life ---- */

static void on_socket_closed(uv_handle_t *handle)
{
    struct listen_socket *socket = RT_CONTAINER(handle, struct listen_socket, poll);
    struct rt_listener *listener = socket->listener;
    rt_loop_closed(listener->net->loop);
    close(socket->fd);
    if (--listener->open > 0)
        return;
    rt_list_remove(&listener->link);
    rt_free(listener);
}

static void close_listener(struct rt_listener *listener)
{
    rt_listen_set_unlink(&listener->set);
    for (size_t i = 0; i < listener->set.count; i++) {
        uv_handle_t *handle = (uv_handle_t *)&listener->sockets[i].poll;
        if (!uv_is_closing(handle))
            rt_loop_close_handle(listener->net->loop, handle, on_socket_closed);
    }
}

void rt_net_stop_listening(struct rt_net *net)
{
    rt_timer_stop(net->loop, &net->accept_pause);
    rt_list_for(node, &net->listeners)
        close_listener(RT_CONTAINER(node, struct rt_listener, link));
}

/* Hands the descriptors of listener->set over to poll handles. */
static int start_listener(struct rt_listener *listener, struct rt_err *err)
{
    struct rt_net *net = listener->net;
    for (size_t i = 0; i < listener->set.count; i++) {
        struct listen_socket *socket = &listener->sockets[i];
        socket->listener = listener;
        socket->fd = listener->set.fds[i];
        int r = uv_poll_init(&net->loop->uv, &socket->poll, socket->fd);
        if (r) {
            for (size_t k = i; k < listener->set.count; k++)
                close(listener->set.fds[k]);
            listener->set.count = i;
            return rt_err_set(err, RT_EIO, "cannot watch a listening socket: %s", uv_strerror(r));
        }
        listener->open++;
        start_socket(socket);
    }
    return 0;
}

int rt_net_listen(struct rt_net *net, struct rt_str address,
                  void (*accept)(void *arg, struct rt_conn *conn), void *arg,
                  struct rt_listener **ret_listener, struct rt_err *err)
{
    struct rt_listen_set set;
    int r = rt_listen_set_open(address, &set, err);
    if (r)
        return r;
    struct rt_listener *listener =
        rt_calloc(1, sizeof(*listener) + set.count * sizeof(struct listen_socket));
    if (!listener) {
        rt_listen_set_close(&set);
        return rt_err_nomem(err);
    }
    listener->net = net;
    listener->accept = accept;
    listener->arg = arg;
    listener->set = set;
    rt_list_push(&net->listeners, &listener->link);
    r = start_listener(listener, err);
    if (r && listener->open > 0) {
        close_listener(listener);
    } else if (r) {
        rt_listen_set_unlink(&listener->set);
        rt_list_remove(&listener->link);
        rt_free(listener);
    } else {
        *ret_listener = listener;
    }
    return r;
}

void rt_listener_reserve(struct rt_listener *listener)
{
    listener->reserved = true;
}

const char *rt_listener_address(const struct rt_listener *listener)
{
    return listener->set.text;
}
