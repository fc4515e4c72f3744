/* Blocking clients of a broker in the same process: one HTTP request, a WebSocket, everything with a deadline. No allocation through
 * base/alloc.h, so that a test that makes those fail hits the broker alone.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_APP_CLIENT_H
#define TEST_UNIT_APP_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"

enum { ANSWER_MAX = 65536 };

static int client_wait_ms = 5000; /* for anything that should come */

static void client_set_wait(int fd)
{
    struct timeval tv = {.tv_sec = client_wait_ms / 1000, .tv_usec = client_wait_ms % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

/* -1: nobody listens. */
static int client_connect(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        close(fd);
        return -1;
    }
    client_set_wait(fd);
    return fd;
}

static bool client_send(int fd, const void *data, size_t len)
{
    return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* All until the end of the stream (or the deadline), as text. */
static size_t client_read_all(int fd, char *out, size_t size)
{
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = recv(fd, out + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    return len;
}

/* Sends a request on a connection of its own, which ends with the answer. */
static int http_begin(uint16_t port, const char *method, const char *target, const char *body)
{
    static char request[8192];
    int fd = client_connect(port);
    if (fd < 0)
        return -1;
    int n = snprintf(request, sizeof(request),
                     "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     method, target, strlen(body), body);
    if (client_send(fd, request, (size_t)n))
        return fd;
    close(fd);
    return -1;
}

/* The status, 0 when there is no answer; the body in `out`. */
static int http_end(int fd, char out[ANSWER_MAX])
{
    out[0] = '\0';
    if (fd < 0)
        return 0;
    size_t len = client_read_all(fd, out, ANSWER_MAX);
    close(fd);
    const char *body = strstr(out, "\r\n\r\n");
    if (len < 12 || memcmp(out, "HTTP/1.1 ", 9) != 0 || !body)
        return 0;
    int status = (int)strtol(out + 9, NULL, 10);
    memmove(out, body + 4, len - (size_t)(body + 4 - out) + 1);
    return status;
}

static int http(uint16_t port, const char *method, const char *target, const char *body,
                char out[ANSWER_MAX])
{
    return http_end(http_begin(port, method, target, body), out);
}

/* ---- WebSocket ---- */

/* -1: refused. */
static int ws_open(uint16_t port, const char *target)
{
    char text[1024];
    int fd = client_connect(port);
    if (fd < 0)
        return -1;
    int n = snprintf(text, sizeof(text),
                     "GET %s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     target);
    size_t len = 0;
    bool ok = client_send(fd, text, (size_t)n);
    /* Byte by byte, so that no frame is read with it. */
    while (ok && (len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0))
        ok = len < sizeof(text) && recv(fd, text + len++, 1, 0) == 1;
    if (ok && memcmp(text, "HTTP/1.1 101", 12) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool ws_send(int fd, const char *text)
{
    unsigned char frame[1024];
    size_t len = strlen(text);
    if (fd < 0 || len > 125)
        return false;
    frame[0] = 0x81;
    frame[1] = (unsigned char)(0x80 | len);
    memset(frame + 2, 0, 4); /* a mask that changes nothing */
    memcpy(frame + 6, text, len);
    return client_send(fd, frame, len + 6);
}

static bool client_read_exactly(int fd, void *out, size_t len)
{
    return len == 0 || recv(fd, out, len, MSG_WAITALL) == (ssize_t)len;
}

/* The next frame's opcode, its payload as text; -1: none came. */
static int ws_next(int fd, char *out, size_t size)
{
    unsigned char head[4];
    out[0] = '\0';
    if (fd < 0 || !client_read_exactly(fd, head, 2))
        return -1;
    size_t len = head[1];
    if (len == 126) {
        if (!client_read_exactly(fd, head + 2, 2))
            return -1;
        len = (size_t)head[2] << 8 | head[3];
    }
    if (len >= size || !client_read_exactly(fd, out, len))
        return -1;
    out[len] = '\0';
    return head[0] & 15;
}

/* Reads frames until one begins with `prefix`. */
static bool ws_expect(int fd, const char *prefix, char *out, size_t size)
{
    int opcode;
    while ((opcode = ws_next(fd, out, size)) >= 0)
        if (opcode == 1 && strncmp(out, prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

static void client_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

#endif
