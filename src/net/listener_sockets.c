#include "net/listener_sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT_TRIES 16 /* to find one that is free on all addresses of a name */

static int fail(struct rt_err *err, const struct rt_net_address *address, int error)
{
    char text[300];
    rt_net_address_print(address, address->port, text, sizeof(text));
    return rt_err_set(err, error == EADDRINUSE ? RT_EEXIST : RT_EIO, "cannot listen on %s: %s",
                      text, strerror(error));
}

/* ---- TCP ---- */

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value));
}

/* A listening socket, or -1 and errno. `dual`: an IPv6 one that takes IPv4 as well. */
static int open_tcp(const struct sockaddr *addr, socklen_t len, bool dual)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* Accepted sockets inherit TCP_NODELAY: one system call less for each. */
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 &&
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) == 0 &&
        (addr->sa_family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual) == 0) &&
        bind(fd, addr, len) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage addr;
    struct sockaddr_in6 v6; /* the port lies where an IPv4 address has it */
    socklen_t len = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &len))
        return 0;
    memcpy(&v6, &addr, sizeof(v6));
    return ntohs(v6.sin6_port);
}

static void set_port(struct sockaddr_storage *addr, uint16_t port)
{
    uint16_t network = htons(port);
    memcpy((char *)addr + offsetof(struct sockaddr_in6, sin6_port), &network, sizeof(network));
}

static int open_any(const struct rt_net_address *address, struct rt_listen_set *set,
                    struct rt_err *err)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    int fd = open_tcp((struct sockaddr *)&v6, sizeof(v6), true);
    if (fd < 0 && errno != EADDRINUSE && errno != EACCES) /* no IPv6 here */
        fd = open_tcp((struct sockaddr *)&v4, sizeof(v4), false);
    if (fd < 0)
        return fail(err, address, errno);
    set->fds[set->count++] = fd;
    return 0;
}

/* /etc/hosts may say the same address twice. */
static bool seen_before(const struct addrinfo *all, const struct addrinfo *one)
{
    for (const struct addrinfo *a = all; a != one; a = a->ai_next)
        if (a->ai_addrlen == one->ai_addrlen && !memcmp(a->ai_addr, one->ai_addr, a->ai_addrlen))
            return true;
    return false;
}

static void close_fds(struct rt_listen_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        close(set->fds[i]);
    set->count = 0;
}

/* One socket for each address. Returns 0 or errno. An address that this machine does not have
 * (IPv6 switched off) is left out as long as there is another. */
static int open_all(const struct addrinfo *all, uint16_t port, struct rt_listen_set *set)
{
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *a = all; a && set->count < RT_LISTEN_MAX; a = a->ai_next) {
        struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
        if (seen_before(all, a) || (a->ai_family != AF_INET && a->ai_family != AF_INET6))
            continue;
        memcpy(&addr, a->ai_addr, a->ai_addrlen);
        set_port(&addr, port || set->count == 0 ? port : port_of(set->fds[0]));
        int fd = open_tcp((struct sockaddr *)&addr, a->ai_addrlen, false);
        if (fd >= 0) {
            set->fds[set->count++] = fd;
            continue;
        }
        error = errno;
        if (error != EAFNOSUPPORT && error != EADDRNOTAVAIL) {
            close_fds(set);
            return error;
        }
    }
    return set->count > 0 ? 0 : error;
}

static int open_host(const struct rt_net_address *address, struct rt_listen_set *set,
                     struct rt_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *all = NULL;
    if (address->bracketed) {
        hints.ai_family = AF_INET6;
        hints.ai_flags |= AI_NUMERICHOST;
    }
    int r = getaddrinfo(address->host, NULL, &hints, &all);
    if (r)
        return rt_err_set(err, RT_EIO, "cannot listen on %s: %s", address->host,
                          r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
    /* A port that the system chose for the first address may be taken on the second. */
    int tries = address->port ? 1 : PORT_TRIES;
    do {
        r = open_all(all, address->port, set);
    } while (r == EADDRINUSE && --tries > 0);
    freeaddrinfo(all);
    return r ? fail(err, address, r) : 0;
}

/* ---- UNIX ---- */

/* Removes a socket file that nobody listens on. */
static int clear_path(const struct rt_net_address *address, const struct sockaddr *addr,
                      socklen_t len, struct rt_err *err)
{
    struct stat st;
    if (lstat(address->host, &st))
        return errno == ENOENT ? 0 : fail(err, address, errno);
    if (!S_ISSOCK(st.st_mode))
        return rt_err_set(err, RT_EINVAL,
                          "cannot listen on unix:%s: there is a file that is not a "
                          "socket",
                          address->host);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(err, address, errno);
    bool stale = connect(fd, addr, len) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!stale)
        return rt_err_set(err, RT_EEXIST, "cannot listen on unix:%s: another process does",
                          address->host);
    return unlink(address->host) && errno != ENOENT ? fail(err, address, errno) : 0;
}

static int open_unix(const struct rt_net_address *address, struct rt_listen_set *set,
                     struct rt_err *err)
{
    struct sockaddr_storage storage;
    struct stat st;
    socklen_t len = rt_net_address_unix(address, &storage);
    const struct sockaddr *addr = (const struct sockaddr *)&storage;
    int r = clear_path(address, addr, len, err);
    if (r)
        return r;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, addr, len)) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return fail(err, address, error);
    }
    set->fds[set->count++] = fd;
    memcpy(set->path, address->host, strlen(address->host) + 1);
    if (lstat(set->path, &st) || listen(fd, SOMAXCONN)) {
        int error = errno;
        close_fds(set);
        (void)unlink(set->path); /* bound a moment ago */
        return fail(err, address, error);
    }
    set->device = st.st_dev;
    set->inode = st.st_ino;
    return 0;
}

/* ---- both ---- */

int rt_listen_set_open(struct rt_str text, struct rt_listen_set *ret_set, struct rt_err *err)
{
    struct rt_net_address address;
    struct rt_listen_set set = {.count = 0};
    int r = rt_net_address_parse(text, &address, err);
    if (r)
        return r;
    if (address.unix_path)
        r = open_unix(&address, &set, err);
    else if (strcmp(address.host, "*") == 0)
        r = open_any(&address, &set, err);
    else
        r = open_host(&address, &set, err);
    if (r)
        return r;
    uint16_t port = address.unix_path ? 0 : port_of(set.fds[0]);
    rt_net_address_print(&address, port, set.text, sizeof(set.text));
    *ret_set = set;
    return 0;
}

void rt_listen_set_unlink(struct rt_listen_set *set)
{
    struct stat st;
    if (set->path[0] && lstat(set->path, &st) == 0 && st.st_dev == set->device &&
        st.st_ino == set->inode)
        (void)unlink(set->path);
    set->path[0] = 0;
}

void rt_listen_set_close(struct rt_listen_set *set)
{
    rt_listen_set_unlink(set);
    close_fds(set);
}
