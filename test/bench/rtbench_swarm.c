#include "rtbench_swarm.h"

#include "bench_util.h"
#include "bench_ws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define BUFFER_SIZE      (1U << 20)
#define EVENTS_MAX       512
#define OPEN_PATIENCE_NS (20 * RT_BENCH_NS_PER_S)

static const uint8_t mask_key[4] = {0x37, 0xfa, 0x21, 0x3d};

static _Noreturn void fail(const struct rt_client *client, const char *what, const char *detail)
{
    static const char *const states[] = {"upgrade", "Engine.IO open", "Socket.IO connect", "ready"};
    rt_bench_die(RT_BENCH_EXIT_FAILED, "client %u (%s): %s%s%s", client->index,
                 states[client->state], what, detail[0] != '\0' ? ": " : "", detail);
}

static void watch(struct rt_client *client, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = client->index};
    if (epoll_ctl(client->epoll, op, client->fd, &event) != 0)
        fail(client, "epoll_ctl", strerror(errno));
}

void rt_swarm_move(struct rt_client *client, int epoll)
{
    watch(client, EPOLL_CTL_DEL, 0);
    client->epoll = epoll;
    watch(client, EPOLL_CTL_ADD, client->out_len > client->out_at ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Number of bytes that the kernel took. */
static size_t write_some(struct rt_client *client, const uint8_t *data, size_t len)
{
    ssize_t n = send(client->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        fail(client, "send", strerror(errno));
    return n < 0 ? 0 : (size_t)n;
}

void rt_swarm_send(struct rt_swarm *swarm, struct rt_client *client, const uint8_t *data,
                   size_t len)
{
    (void)swarm;
    bool waiting = client->out_len > client->out_at;
    size_t sent = waiting ? 0 : write_some(client, data, len);
    if (sent == len)
        return;
    if (!waiting) {
        client->out_len = client->out_at = 0;
        watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    size_t rest = len - sent;
    if (client->out_cap < client->out_len + rest) {
        client->out_cap = (client->out_len + rest) * 2;
        client->out = rt_bench_grow(client->out, client->out_cap, 1);
    }
    memcpy(client->out + client->out_len, data + sent, rest);
    client->out_len += rest;
}

static void flush(struct rt_client *client)
{
    client->out_at +=
        write_some(client, client->out + client->out_at, client->out_len - client->out_at);
    if (client->out_at < client->out_len)
        return;
    client->out_at = client->out_len = 0;
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

/* A short frame: control, or an Engine.IO packet of the handshake. */
static void send_frame(struct rt_swarm *swarm, struct rt_client *client, uint8_t opcode,
                       const void *payload, size_t len)
{
    uint8_t frame[RT_BENCH_WS_HEADER_MAX + 125];
    if (len > 125)
        fail(client, "control frame too long", "");
    size_t n = rt_bench_ws_header(frame, opcode, len, mask_key);
    memcpy(frame + n, payload, len);
    rt_bench_ws_mask(frame + n, len, mask_key);
    rt_swarm_send(swarm, client, frame, n + len);
}

static uint32_t count_marks(const uint8_t *data, size_t len)
{
    uint32_t n = 0;
    for (const uint8_t *end = data + len, *p = data;
         p < end && (p = memchr(p, RT_SWARM_MARK, (size_t)(end - p))) != NULL; p++)
        n++;
    return n;
}

static void become_ready(struct rt_swarm *swarm, struct rt_client *client)
{
    client->state = RT_CLIENT_READY;
    swarm->ready++;
}

static uint32_t take_messages(struct rt_swarm *swarm, struct rt_client *client,
                              const uint8_t *payload, size_t len)
{
    uint32_t n = count_marks(payload, len);
    if (n == 0)
        swarm->other++;
    else if (swarm->on_payload != NULL)
        swarm->on_payload(swarm->arg, client, payload, len);
    return n;
}

/* An Engine.IO packet; returns messages in it. */
static uint32_t take_packet(struct rt_swarm *swarm, struct rt_client *client,
                            const uint8_t *payload, size_t len)
{
    char shown[81];
    (void)snprintf(shown, sizeof(shown), "%.*s", len < 80 ? (int)len : 80, (const char *)payload);
    if (len == 1 && payload[0] == '2') {
        swarm->pings++;
        send_frame(swarm, client, RT_BENCH_WS_TEXT, "3", 1);
        return 0;
    }
    switch (client->state) {
    case RT_CLIENT_OPENING:
        if (len < 2 || payload[0] != '0' || payload[1] != '{')
            fail(client, "not an open packet", shown);
        client->state = RT_CLIENT_JOINING;
        send_frame(swarm, client, RT_BENCH_WS_TEXT, "40", 2);
        return 0;
    case RT_CLIENT_JOINING:
        if (len < 3 || memcmp(payload, "40{", 3) != 0)
            fail(client, "not a CONNECT reply", shown);
        become_ready(swarm, client);
        return 0;
    default:
        if (len < 2 || payload[0] != '4' || payload[1] == '1' || payload[1] == '4')
            fail(client, "unexpected packet", shown);
        return take_messages(swarm, client, payload, len);
    }
}

static uint32_t take_frame(struct rt_swarm *swarm, struct rt_client *client,
                           const struct rt_bench_frame *frame, const uint8_t *payload)
{
    char code[8] = "";
    switch (frame->opcode) {
    case RT_BENCH_WS_PING:
        swarm->pings++;
        send_frame(swarm, client, RT_BENCH_WS_PONG, payload, frame->payload);
        return 0;
    case RT_BENCH_WS_PONG:
        return 0;
    case RT_BENCH_WS_CLOSE:
        if (frame->payload >= 2)
            (void)snprintf(code, sizeof(code), "%d", payload[0] << 8 | payload[1]);
        fail(client, "server sent a close frame", code);
    case RT_BENCH_WS_TEXT:
    case RT_BENCH_WS_BINARY:
        if (!frame->fin)
            fail(client, "server fragments its messages, which is not supported", "");
        if (swarm->config.protocol == RT_SWARM_SOCKETIO && frame->opcode == RT_BENCH_WS_TEXT)
            return take_packet(swarm, client, payload, frame->payload);
        return take_messages(swarm, client, payload, frame->payload);
    default:
        fail(client, "unknown frame", "");
    }
}

/* The head of the response; returns its length, 0 when it is not whole yet. */
static size_t take_upgrade(struct rt_swarm *swarm, struct rt_client *client, const uint8_t *data,
                           size_t len)
{
    const uint8_t *end = memmem(data, len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - data) + 4;
    if (head < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0) {
        char line[120];
        const uint8_t *eol = memchr(data, '\r', head);
        (void)snprintf(line, sizeof(line), "%.*s", (int)(eol - data), (const char *)data);
        fail(client, "upgrade refused", line);
    }
    if (memmem(data, head, RT_BENCH_WS_ACCEPT, sizeof(RT_BENCH_WS_ACCEPT) - 1) == NULL)
        fail(client, "wrong Sec-WebSocket-Accept", "");
    if (swarm->config.protocol == RT_SWARM_SOCKETIO)
        client->state = RT_CLIENT_OPENING;
    else
        become_ready(swarm, client);
    return head;
}

/* Serves what is whole, returns how much that was. */
static size_t take(struct rt_swarm *swarm, struct rt_client *client, const uint8_t *data,
                   size_t len)
{
    size_t at = 0;
    uint32_t messages = 0;
    if (client->state == RT_CLIENT_UPGRADING) {
        at = take_upgrade(swarm, client, data, len);
        if (at == 0)
            return 0;
    }
    struct rt_bench_frame frame;
    while (rt_bench_ws_peek(data + at, len - at, &frame)) {
        if (frame.masked || frame.payload > BUFFER_SIZE / 2)
            fail(client, "masked or oversized frame from the server", "");
        if (len - at < frame.header + frame.payload)
            break;
        messages += take_frame(swarm, client, &frame, data + at + frame.header);
        at += frame.header + frame.payload;
    }
    client->got += messages;
    swarm->messages += messages;
    if (messages > 0 && swarm->on_read != NULL)
        swarm->on_read(swarm->arg, client, messages);
    return at;
}

static void keep_tail(struct rt_client *client, const uint8_t *data, size_t len)
{
    if (client->tail_cap < len) {
        client->tail_cap = len + 256;
        client->tail = rt_bench_grow(client->tail, client->tail_cap, 1);
    }
    memcpy(client->tail, data, len);
    client->tail_len = len;
}

static void read_client(struct rt_swarm *swarm, struct rt_client *client)
{
    size_t kept = client->tail_len;
    ssize_t n = recv(client->fd, swarm->buffer + kept, swarm->buffer_cap - kept, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fail(client, "connection lost", n == 0 ? "closed by the server" : strerror(errno));
    swarm->reads++;
    swarm->bytes += (uint64_t)n;
    if (kept > 0)
        memcpy(swarm->buffer, client->tail, kept);
    client->tail_len = 0;
    size_t len = kept + (size_t)n, used = take(swarm, client, swarm->buffer, len);
    if (used < len)
        keep_tail(client, swarm->buffer + used, len - used);
}

int rt_swarm_poll(struct rt_swarm *swarm, int epoll, int max, int timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(epoll, events, max < EVENTS_MAX ? max : EVENTS_MAX, timeout_ms);
    if (n < 0 && errno != EINTR)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct rt_client *client = &swarm->clients[events[i].data.u32];
        if ((events[i].events & EPOLLOUT) != 0)
            flush(client);
        if ((events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0)
            read_client(swarm, client);
    }
    return n < 0 ? 0 : n;
}

static void bind_source(const struct rt_swarm *swarm, const struct rt_client *client)
{
    int on = 1;
    struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + client->index % swarm->config.sources),
    };
    /* Without the option bind() takes a port for itself alone, and 28,000 is all there are. */
    if (setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) != 0 ||
        bind(client->fd, (const struct sockaddr *)&source, sizeof(source)) != 0)
        fail(client, "bind", strerror(errno));
}

/* Returns its length. */
static size_t build_request(struct rt_swarm *swarm, uint32_t index, uint16_t port)
{
    static const char format[] = "GET %.*s%s%s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                 "Sec-WebSocket-Key: " RT_BENCH_WS_KEY "\r\n\r\n";
    const struct rt_swarm_config *c = &swarm->config;
    const char *mark = strstr(c->path, "$I");
    char number[16] = "";
    if (mark != NULL)
        (void)snprintf(number, sizeof(number), "%u", index);
    size_t prefix = mark != NULL ? (size_t)(mark - c->path) : strlen(c->path);
    if (swarm->request == NULL) {
        swarm->request_cap =
            sizeof(format) + strlen(c->path) + strlen(c->host) + sizeof(number) + 16;
        swarm->request = rt_bench_alloc(swarm->request_cap, 1);
    }
    return (size_t)snprintf(swarm->request, swarm->request_cap, format, (int)prefix, c->path,
                            number, mark != NULL ? mark + 2 : "", c->host, (unsigned)port);
}

/* connect() blocks, but on loopback only for the kernel's own handshake: the server takes no part in it. */
static void open_client(struct rt_swarm *swarm)
{
    struct rt_client *client = &swarm->clients[swarm->count];
    int on = 1;
    client->index = (uint32_t)swarm->count++;
    client->state = RT_CLIENT_UPGRADING;
    client->epoll = swarm->epoll;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail(client, "socket", strerror(errno));
    if (setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        fail(client, "TCP_NODELAY", strerror(errno));
    if (swarm->config.sources > 0)
        bind_source(swarm, client);
    uint16_t port = swarm->config.ports[client->index % swarm->config.port_count];
    swarm->address.sin_port = htons(port);
    if (connect(client->fd, (const struct sockaddr *)&swarm->address, sizeof(swarm->address)) != 0)
        fail(client, "connect", strerror(errno));
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
    size_t len = build_request(swarm, client->index, port);
    rt_swarm_send(swarm, client, (const uint8_t *)swarm->request, len);
}

static bool may_open(const struct rt_swarm *swarm, size_t opened, size_t count, uint64_t elapsed)
{
    if (opened >= count || swarm->count - swarm->ready >= swarm->config.in_flight)
        return false;
    return !(swarm->config.ramp > 0.0) ||
           (double)opened <= swarm->config.ramp * (double)elapsed / (double)RT_BENCH_NS_PER_S;
}

void rt_swarm_open(struct rt_swarm *swarm, size_t count)
{
    if (swarm->count + count > swarm->capacity)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "more clients than planned");
    uint64_t start = rt_bench_now(), progress = start;
    size_t opened = 0, ready = swarm->ready;
    while (swarm->ready < swarm->count || opened < count) {
        uint64_t now = rt_bench_now();
        while (may_open(swarm, opened, count, now - start)) {
            open_client(swarm);
            opened++;
        }
        rt_swarm_poll(swarm, swarm->epoll, EVENTS_MAX, opened < count ? 1 : 100);
        if (swarm->ready > ready) {
            ready = swarm->ready;
            progress = now;
        } else if (now - progress > OPEN_PATIENCE_NS) {
            rt_bench_die(RT_BENCH_EXIT_FAILED, "%zu of %zu clients ready, no progress for %llu s",
                         ready, swarm->count, OPEN_PATIENCE_NS / RT_BENCH_NS_PER_S);
        }
    }
}

void rt_swarm_init(struct rt_swarm *swarm, const struct rt_swarm_config *config, size_t capacity)
{
    *swarm = (struct rt_swarm){.config = *config, .capacity = capacity, .buffer_cap = BUFFER_SIZE};
    swarm->address.sin_family = AF_INET;
    if (inet_pton(AF_INET, config->host, &swarm->address.sin_addr) != 1)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "--host %s: want an IPv4 address", config->host);
    size_t limit = rt_bench_raise_descriptors();
    if (capacity + 16 > limit)
        rt_bench_die(RT_BENCH_EXIT_USAGE, "%zu clients, but only %zu descriptors: raise ulimit -n",
                     capacity, limit);
    swarm->clients = rt_bench_alloc(capacity, sizeof(swarm->clients[0]));
    swarm->buffer = rt_bench_alloc(swarm->buffer_cap, 1);
    swarm->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (swarm->epoll < 0)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "epoll_create1: %s", strerror(errno));
}
