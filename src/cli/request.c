/* See request.h. */
#include "cli/request.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BODY_MAX (64u * 1024 * 1024)
#define HEAD_MAX (64u * 1024)

/* Parts of a URL. */
struct target {
    char host[256];
    char port[8];
    char authority[272]; /* for the Host line */
    char prefix[256];
    bool is_unix; /* host is then unused, path in prefix is none: `path` */
    char path[108];
};

static int copy(char *out, size_t size, struct rt_str text, const char *what, struct rt_err *err)
{
    if (text.len >= size)
        return rt_err_set(err, RT_ERANGE, "the %s in the URL is too long", what);
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return 0;
}

static int parse_authority(struct rt_str authority, struct target *t, struct rt_err *err)
{
    struct rt_str host = authority, port = RT_STR("80");
    if (authority.len > 0 && authority.ptr[0] == '[') {
        const char *end = memchr(authority.ptr, ']', authority.len);
        if (!end)
            return rt_err_set(err, RT_EINVAL, "the URL's address lacks its ]");
        host = rt_str_of(authority.ptr + 1, (size_t)(end - authority.ptr) - 1);
        size_t used = (size_t)(end - authority.ptr) + 1;
        if (authority.len > used + 1 && authority.ptr[used] == ':')
            port = rt_str_of(authority.ptr + used + 1, authority.len - used - 1);
    } else {
        struct rt_str rest;
        host = rt_str_split(authority, ':', &rest);
        if (rest.len > 0)
            port = rest;
    }
    int status = copy(t->host, sizeof(t->host), host, "host", err);
    return status ? status : copy(t->port, sizeof(t->port), port, "port", err);
}

static int parse_url(const char *url, struct target *t, struct rt_err *err)
{
    struct rt_str s = rt_str_c(url);
    *t = (struct target){.is_unix = false};
    if (rt_str_starts(s, RT_STR("unix:"))) {
        t->is_unix = true;
        memcpy(t->authority, "localhost", 10);
        return copy(t->path, sizeof(t->path), rt_str_of(s.ptr + 5, s.len - 5), "path", err);
    }
    if (!rt_str_starts(s, RT_STR("http://")))
        return rt_err_set(err, RT_EINVAL,
                          "the URL \"%s\" must begin with http:// or unix: (TLS is nginx's matter)",
                          url);
    s = rt_str_of(s.ptr + 7, s.len - 7);
    struct rt_str rest, authority = rt_str_split(s, '/', &rest);
    int status = parse_authority(authority, t, err);
    if (status == 0)
        status = copy(t->authority, sizeof(t->authority), authority, "address", err);
    if (status || rest.len == 0)
        return status;
    while (rest.len > 0 && rest.ptr[rest.len - 1] == '/')
        rest.len--;
    struct rt_str prefix = rt_str_of(rest.ptr - 1, rest.len + 1);
    return rest.len == 0 ? 0 : copy(t->prefix, sizeof(t->prefix), prefix, "path", err);
}

static int connect_unix(const struct target *t)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, t->path, sizeof(address.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static int connect_tcp(const struct target *t, struct rt_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int code = getaddrinfo(t->host, t->port, &hints, &list);
    if (code) {
        rt_err_set(err, RT_EIO, "%s: %s", t->host, gai_strerror(code));
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static int send_all(int fd, struct rt_str text, struct rt_err *err)
{
    while (text.len > 0) {
        ssize_t n = send(fd, text.ptr, text.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rt_err_set(err, RT_EIO, "cannot send: %s", strerror(errno));
        text = rt_str_of(text.ptr + n, text.len - (size_t)n);
    }
    return 0;
}

static const char *base_url(const struct rt_request *r)
{
    if (r->url)
        return r->url;
    const char *env = getenv("RTBROKER_URL");
    return env && env[0] != '\0' ? env : "http://127.0.0.1:8000";
}

static int send_request(int fd, const struct rt_request *r, const struct target *t,
                        struct rt_err *err)
{
    const char *key = r->key ? r->key : getenv("RTBROKER_API_KEY");
    struct rt_buf out = RT_BUF_INIT;
    rt_buf_printf(&out, "%s %s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", r->method,
                  t->prefix, r->target, t->authority);
    if (key && key[0] != '\0')
        rt_buf_printf(&out, "X-API-Key: %s\r\n", key);
    if (r->body.len > 0)
        rt_buf_printf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                      r->body.len);
    rt_buf_add_c(&out, "\r\n");
    rt_buf_add_str(&out, r->body);
    int status = rt_buf_ok(&out) ? send_all(fd, rt_buf_str(&out), err) : rt_err_nomem(err);
    rt_buf_deinit(&out);
    return status;
}

int rt_request_open(const struct rt_request *r, int *ret_fd, struct rt_err *err)
{
    struct target t;
    int status = parse_url(base_url(r), &t, err);
    if (status)
        return status;
    err->text[0] = '\0';
    int fd = t.is_unix ? connect_unix(&t) : connect_tcp(&t, err);
    if (fd < 0) {
        if (err->text[0] == '\0')
            rt_err_set(err, RT_EIO, "%s: %s; is the broker running? (--url names another one)",
                       base_url(r), strerror(errno));
        return RT_EIO;
    }
    struct timeval limit = {.tv_sec = r->timeout / 1000, .tv_usec = r->timeout % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)); /* 0: none */
    status = send_request(fd, r, &t, err);
    if (status)
        (void)close(fd);
    else
        *ret_fd = fd;
    return status;
}

ssize_t rt_request_receive(int fd, struct rt_buf *in)
{
    uint8_t *room = rt_buf_reserve(in, 16384);
    ssize_t n;
    if (!room)
        return -1;
    do
        n = recv(fd, room, 16384, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        in->len += (size_t)n;
    return n;
}

int rt_request_head(struct rt_buf *in, int *ret_status, struct rt_err *err)
{
    const uint8_t *end = in->len ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL;
    if (!end && in->len <= HEAD_MAX)
        return RT_EAGAIN;
    struct rt_str rest;
    uint64_t status = 0;
    struct rt_str version = rt_str_split(rt_buf_str(in), ' ', &rest);
    if (!end || !rt_str_starts(version, RT_STR("HTTP/1.")) || rest.len < 3 ||
        rt_str_to_u64(rt_str_of(rest.ptr, 3), &status))
        return rt_err_set(err, RT_EIO, "the answer is no HTTP response");
    *ret_status = (int)status;
    rt_buf_consume(in, (size_t)(end - in->data) + 4);
    return 0;
}

/* Reads the head; what follows it stays in `in`. */
static int read_head(int fd, struct rt_buf *in, int *ret_status, struct rt_err *err)
{
    int status;
    while ((status = rt_request_head(in, ret_status, err)) == RT_EAGAIN)
        if (rt_request_receive(fd, in) <= 0)
            return rt_err_set(err, RT_EIO, "the answer is no HTTP response");
    return status;
}

static int read_rest(int fd, struct rt_buf *in, struct rt_err *err)
{
    ssize_t n;
    while ((n = rt_request_receive(fd, in)) > 0)
        if (in->len > BODY_MAX)
            return rt_err_set(err, RT_ERANGE, "the answer is larger than 64 MiB");
    return n < 0 ? rt_err_set(err, RT_EIO, "the connection broke: %s", strerror(errno)) : 0;
}

int rt_request_send(const struct rt_request *request, int *ret_status, struct rt_buf *body,
                    struct rt_err *err)
{
    int fd = -1;
    int status = rt_request_open(request, &fd, err);
    if (status)
        return status;
    /* We said "Connection: close": the body ends with the connection. */
    status = read_head(fd, body, ret_status, err);
    if (status == 0)
        status = read_rest(fd, body, err);
    (void)close(fd);
    return status;
}
