#include "floors.h"

#include "bench_ws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE (1U << 20)
#define OPEN_PACKET                                                              \
    "0{\"sid\":\"AAAAAAAAAAAAAAAAAAAA\",\"upgrades\":[],\"pingInterval\":25000," \
    "\"pingTimeout\":20000,\"maxPayload\":1000000}"
#define CONNECT_REPLY "40{\"sid\":\"BBBBBBBBBBBBBBBBBBBB\"}"

static const char usage[] =
    "usage: floors --mode A|B|C [--host 127.0.0.1] [--port 0]\n"
    "              [--sio-in TEMPLATE] [--sio-out TEMPLATE]\n"
    "Prints `port N`. Any path is a plain WebSocket, /socket.io/ speaks Socket.IO; all of one\n"
    "kind are one channel. Templates have $M where the message stands.\n";

enum kind { KIND_NEW, KIND_RAW, KIND_JOINING, KIND_SOCKETIO };

struct connection {
    enum kind kind;
    uint8_t *tail; /* begin of what has not come whole */
    size_t tail_len;
};

struct server {
    enum rt_floor_mode mode;
    struct rt_floor_uring *ring;
    int epoll, listener;
    struct connection *connections; /* by descriptor */
    struct rt_floor_channel raw, socketio;
    struct rt_bench_template in, out, plain;
    uint8_t *buffer;
};

static void send_frame(int fd, uint8_t opcode, const void *payload, size_t len)
{
    uint8_t frame[RT_BENCH_WS_HEADER_MAX + 256];
    if (len > 256)
        return;
    size_t n = rt_bench_ws_header(frame, opcode, len, NULL);
    memcpy(frame + n, payload, len);
    rt_floor_send_all(fd, frame, n + len);
}

static void drop(struct server *server, int fd)
{
    struct connection *c = &server->connections[fd];
    if (c->kind == KIND_RAW)
        rt_floor_leave(&server->raw, fd);
    if (c->kind == KIND_SOCKETIO)
        rt_floor_leave(&server->socketio, fd);
    rt_bench_free(c->tail);
    *c = (struct connection){0};
    close(fd);
}

/* The value of Sec-WebSocket-Key, NULL when there is none. */
static const char *find_key(const char *head, size_t len, size_t *ret_len)
{
    static const char name[] = "sec-websocket-key:";
    const char *end = head + len;
    for (const char *line = head; line < end;) {
        const char *eol = memchr(line, '\r', (size_t)(end - line));
        if (eol == NULL)
            return NULL;
        if ((size_t)(eol - line) > sizeof(name) && strncasecmp(line, name, sizeof(name) - 1) == 0) {
            const char *value = line + sizeof(name) - 1;
            while (value < eol && *value == ' ')
                value++;
            *ret_len = (size_t)(eol - value);
            return value;
        }
        line = eol + 2;
    }
    return NULL;
}

/* Returns the length of the head, 0 when it is not whole, -1 when it is no upgrade. */
static ssize_t take_upgrade(struct server *server, int fd, const uint8_t *data, size_t len)
{
    static const char first[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\nSec-WebSocket-Accept: ";
    static const char sio_path[] = "GET /socket.io/";
    uint8_t out[512];
    size_t key_len = 0, n = sizeof(first) - 1;
    const uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - data) + 4;
    const char *key = find_key((const char *)data, head, &key_len);
    if (key == NULL)
        return -1;
    memcpy(out, first, n);
    rt_bench_ws_accept(key, key_len, (char *)out + n);
    n += RT_BENCH_WS_ACCEPT_LEN;
    memcpy(out + n, "\r\n\r\n", 4);
    n += 4;
    struct connection *c = &server->connections[fd];
    if (memcmp(data, sio_path, sizeof(sio_path) - 1) == 0) {
        c->kind = KIND_JOINING;
        n += rt_bench_ws_header(out + n, RT_BENCH_WS_TEXT, sizeof(OPEN_PACKET) - 1, NULL);
        memcpy(out + n, OPEN_PACKET, sizeof(OPEN_PACKET) - 1);
        n += sizeof(OPEN_PACKET) - 1;
    } else {
        c->kind = KIND_RAW;
        rt_floor_join(&server->raw, fd);
    }
    rt_floor_send_all(fd, out, n);
    return (ssize_t)head;
}

static void take_socketio(struct server *server, int fd, const uint8_t *text, size_t len)
{
    struct connection *c = &server->connections[fd];
    size_t message_len = 0;
    const uint8_t *message = rt_bench_template_match(&server->in, text, len, &message_len);
    if (message != NULL && c->kind == KIND_SOCKETIO) {
        rt_floor_publish(&server->socketio, server->mode, server->ring, &server->out, message,
                         message_len);
    } else if (len == 2 && memcmp(text, "40", 2) == 0 && c->kind == KIND_JOINING) {
        c->kind = KIND_SOCKETIO;
        rt_floor_join(&server->socketio, fd);
        send_frame(fd, RT_BENCH_WS_TEXT, CONNECT_REPLY, sizeof(CONNECT_REPLY) - 1);
    }
}

/* False when the connection is over. */
static bool take_frame(struct server *server, int fd, const struct rt_bench_frame *frame,
                       uint8_t *payload)
{
    rt_bench_ws_mask(payload, frame->payload, frame->mask);
    switch (frame->opcode) {
    case RT_BENCH_WS_TEXT:
        if (server->connections[fd].kind == KIND_RAW)
            rt_floor_publish(&server->raw, server->mode, server->ring, &server->plain, payload,
                             frame->payload);
        else
            take_socketio(server, fd, payload, frame->payload);
        return true;
    case RT_BENCH_WS_PING:
        send_frame(fd, RT_BENCH_WS_PONG, payload, frame->payload);
        return true;
    case RT_BENCH_WS_PONG:
        return true;
    default:
        return false;
    }
}

/* Serves what is whole; returns how much that was, -1 when the connection is over. */
static ssize_t take(struct server *server, int fd, uint8_t *data, size_t len)
{
    ssize_t at = 0;
    if (server->connections[fd].kind == KIND_NEW) {
        at = take_upgrade(server, fd, data, len);
        if (at <= 0)
            return at;
    }
    struct rt_bench_frame frame;
    while (rt_bench_ws_peek(data + at, len - (size_t)at, &frame)) {
        if (!frame.masked || !frame.fin || frame.payload > BUFFER_SIZE / 2)
            return -1;
        size_t whole = frame.header + frame.payload;
        if (len - (size_t)at < whole)
            break;
        if (!take_frame(server, fd, &frame, data + at + frame.header))
            return -1;
        at += (ssize_t)whole;
    }
    return at;
}

static void serve(struct server *server, int fd)
{
    struct connection *c = &server->connections[fd];
    size_t kept = c->tail_len;
    ssize_t n = recv(fd, server->buffer + kept, BUFFER_SIZE - kept, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(server, fd);
        return;
    }
    if (kept > 0)
        memcpy(server->buffer, c->tail, kept);
    c->tail_len = 0;
    size_t len = kept + (size_t)n;
    ssize_t used = take(server, fd, server->buffer, len);
    if (used < 0) {
        drop(server, fd);
    } else if ((size_t)used < len) {
        c->tail_len = len - (size_t)used;
        c->tail = rt_bench_grow(c->tail, c->tail_len, 1);
        memcpy(c->tail, server->buffer + used, c->tail_len);
    }
}

static void accept_all(struct server *server)
{
    int fd;
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            rt_bench_die(RT_BENCH_EXIT_FAILED, "epoll_ctl: %s", strerror(errno));
    }
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "accept: %s", strerror(errno));
}

static _Noreturn void run(struct server *server)
{
    struct epoll_event events[1024];
    for (;;) {
        int n = epoll_wait(server->epoll, events, 1024, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == server->listener)
                accept_all(server);
            else
                serve(server, events[i].data.fd);
        }
        rt_floor_flush(&server->raw, server->ring);
        rt_floor_flush(&server->socketio, server->ring);
    }
}

/* TCP_NODELAY on the listener is inherited by what it accepts: one system call less a connection. */
static void start(struct server *server, const char *host, uint16_t port)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(address);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "--host %s: want an IPv4 address", host);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = server->listener};
    if (server->listener < 0 || server->epoll < 0 ||
        setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(server->listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        bind(server->listener, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(server->listener, 4096) != 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &event) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &len) != 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "cannot listen on %s:%u: %s", host, (unsigned)port,
                     strerror(errno));
    printf("port %u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
}

struct arguments {
    const char *mode, *host, *in, *out;
    uint16_t port;
};

static struct arguments parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"mode", required_argument, NULL, 'm'},    {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},    {"sio-in", required_argument, NULL, 'i'},
        {"sio-out", required_argument, NULL, 'o'}, {NULL, 0, NULL, 0},
    };
    struct arguments a = {
        .mode = "",
        .host = "127.0.0.1",
        .in = "42[\"event:message\",{\"message\":\"$M\"}]",
        .out = "42[\"message\",\"{\\\"message\\\":\\\"$M\\\"}\"]",
    };
    int id;
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (id == 'm')
            a.mode = optarg;
        else if (id == 'h')
            a.host = optarg;
        else if (id == 'p')
            a.port = (uint16_t)rt_bench_number("port", optarg, 0, 65535);
        else if (id == 'i')
            a.in = optarg;
        else if (id == 'o')
            a.out = optarg;
        else
            rt_bench_die(RT_BENCH_EXIT_USAGE, "%s", usage);
    }
    if (optind != argc || strlen(a.mode) != 1 || a.mode[0] < 'A' || a.mode[0] > 'C')
        rt_bench_die(RT_BENCH_EXIT_USAGE, "%s", usage);
    return a;
}

int main(int argc, char **argv)
{
    static struct server server;
    struct arguments a = parse(argc, argv);
    server.mode = (enum rt_floor_mode)(a.mode[0] - 'A');
    server.in = rt_bench_template("sio-in", a.in);
    server.out = rt_bench_template("sio-out", a.out);
    server.plain = rt_bench_template("plain", "$M");
    server.buffer = rt_bench_alloc(BUFFER_SIZE, 1);
    server.connections =
        rt_bench_alloc(rt_bench_raise_descriptors(), sizeof(server.connections[0]));
    if (server.mode == RT_FLOOR_URING)
        server.ring = rt_floor_uring_new();
    start(&server, a.host, a.port);
    run(&server);
}
