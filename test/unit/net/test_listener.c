#include "net_test.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BUSY "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

/* ---- caps ---- */

static double rejections(const struct fixture *fx)
{
    return metric(fx, "connections_rejected_total", "limit") +
           metric(fx, "connections_rejected_total", "per_ip");
}

/* What a client sees that sends its request, in two parts and after it was refused already, and
 * then reads: the answer and a clean end, no reset. `before`: refusals until then. */
static void expect_refusal(struct fixture *fx, int fd, double before)
{
    struct rt_buf got = RT_BUF_INIT;
    uint8_t byte;
    client_send(fd, "GET / HTTP/1.1\r\n");
    WAIT_FOR(fx->loop, rejections(fx) > before);
    rt_loop_turn(fx->loop, 0);
    client_send(fd, "Host: x\r\n");
    rt_loop_turn(fx->loop, 0);
    client_send(fd, "\r\n");
    WAIT_FOR(fx->loop, (client_read(fd, &got, NULL), got.len >= sizeof(BUSY) - 1));
    ssize_t n = -1;
    WAIT_FOR(fx->loop, (n = recv(fd, &byte, 1, 0)) >= 0 || errno != EAGAIN);
    assert_int_equal(n, 0);
    assert_int_equal(got.len, sizeof(BUSY) - 1);
    assert_memory_equal(got.data, BUSY, got.len);
    rt_buf_deinit(&got);
}

static void test_connection_cap(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {
        .send_queue = 1000, .max_connections = 3, .refusal = RT_STR(BUSY)};
    int fds[3], refused[5];
    fixture_start(&fx, &options, "127.0.0.1:0");
    for (int i = 0; i < 3; i++)
        serve_one(&fx, &fds[i], 0);
    for (int i = 0; i < 5; i++) {
        double before = rejections(&fx);
        refused[i] = client_connect(port_of(fx.listener), 0);
        expect_refusal(&fx, refused[i], before);
    }
    assert_int_equal(fx.count, 3); /* nobody is told of them */
    assert_int_equal(rt_net_connections(fx.net), 3);
    assert_true(metric(&fx, "connections", NULL) == 3);
    assert_true(metric(&fx, "connections_rejected_total", "limit") == 5);
    assert_true(metric(&fx, "connections_accepted_total", NULL) == 3);
    /* Room again as soon as one has gone. */
    close(fds[1]);
    WAIT_FOR(fx.loop, fx.served[1].closes == 1);
    serve_one(&fx, &fds[1], 0);
    for (int i = 0; i < 5; i++)
        close(refused[i]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

/* More than are told at leisure: all of them get the bytes, and none holds a descriptor for
 * long. */
static void test_a_crowd_at_the_cap(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {
        .send_queue = 1000, .max_connections = 1, .refusal = RT_STR(BUSY)};
    int fd, crowd[200];
    fixture_start(&fx, &options, "127.0.0.1:0");
    serve_one(&fx, &fd, 0);
    for (int i = 0; i < 200; i++)
        crowd[i] = client_connect(port_of(fx.listener), 0);
    for (int i = 0; i < 200; i++) {
        struct rt_buf got = RT_BUF_INIT;
        WAIT_FOR(fx.loop, !client_read(crowd[i], &got, NULL));
        assert_int_equal(got.len, sizeof(BUSY) - 1);
        rt_buf_deinit(&got);
    }
    assert_true(metric(&fx, "connections_rejected_total", "limit") == 200);
    for (int i = 0; i < 200; i++)
        close(crowd[i]);
    close(fd);
    fixture_stop(&fx);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* One address that comes again and again holds few descriptors, so that others get some. */
static void test_a_crowd_of_one_address(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 1000, .max_per_ip = 1, .refusal = RT_STR(BUSY)};
    int fd, crowd[200];
    fixture_start(&fx, &options, "127.0.0.1:0");
    serve_one(&fx, &fd, 0);
    for (int i = 0; i < 200; i++)
        crowd[i] = client_connect(port_of(fx.listener), 0);
    size_t before = open_descriptors();
    WAIT_FOR(fx.loop, metric(&fx, "connections_rejected_total", "per_ip") == 200);
    rt_loop_turn(fx.loop, 0);
    assert_true(open_descriptors() <= before + 32);
    for (int i = 0; i < 200; i++) {
        struct rt_buf got = RT_BUF_INIT;
        WAIT_FOR(fx.loop, !client_read(crowd[i], &got, NULL));
        assert_int_equal(got.len, sizeof(BUSY) - 1);
        rt_buf_deinit(&got);
        close(crowd[i]);
    }
    close(fd);
    fixture_stop(&fx);
}

/* Health checks get through when the public has taken all there is. */
static void test_reserved_listener(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {
        .send_queue = 1000, .max_connections = 2, .max_per_ip = 2, .refusal = RT_STR(BUSY)};
    int fds[2], inside[17], refused;
    struct rt_listener *internal;
    fixture_start(&fx, &options, "127.0.0.1:0");
    assert_int_equal(
        rt_net_listen(fx.net, RT_STR("127.0.0.1:0"), accept_served, &fx, &internal, NULL), 0);
    rt_listener_reserve(internal);
    for (int i = 0; i < 2; i++)
        serve_one(&fx, &fds[i], 0);
    for (int i = 0; i < 16; i++) {
        inside[i] = client_connect(port_of(internal), 0);
        WAIT_FOR(fx.loop, fx.count == 3 + (size_t)i);
    }
    double before = rejections(&fx);
    inside[16] = client_connect(port_of(internal), 0); /* beyond the reserve it is as anybody */
    expect_refusal(&fx, inside[16], before);
    before = rejections(&fx);
    refused = client_connect(port_of(fx.listener), 0);
    expect_refusal(&fx, refused, before);
    close(inside[0]);
    WAIT_FOR(fx.loop, fx.served[2].closes == 1);
    inside[0] = client_connect(port_of(internal), 0);
    WAIT_FOR(fx.loop, fx.count == 19);
    for (int i = 0; i < 17; i++)
        close(inside[i]);
    for (int i = 0; i < 2; i++)
        close(fds[i]);
    close(refused);
    fixture_stop(&fx);
}

static void test_cap_per_address(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_net_options options = {.send_queue = 1000, .max_per_ip = 2, .refusal = RT_STR(BUSY)};
    int fds[2], other, six[3], refused;
    fixture_start(&fx, &options, "127.0.0.1:0");
    for (int i = 0; i < 2; i++)
        serve_one(&fx, &fds[i], 0);
    refused = client_connect(port_of(fx.listener), 0);
    expect_refusal(&fx, refused, rejections(&fx));
    close(refused);
    assert_true(metric(&fx, "connections_rejected_total", "per_ip") == 1);
    /* Another address of the same machine is somebody else. */
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port_of(fx.listener));
    other = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(other, (struct sockaddr *)&to, sizeof(to)), 0);
    WAIT_FOR(fx.loop, fx.count == 3);
    assert_string_equal(rt_conn_peer(fx.served[2].conn), "127.0.0.2");
    /* Room again. */
    close(fds[0]);
    WAIT_FOR(fx.loop, fx.served[0].closes == 1);
    serve_one(&fx, &fds[0], 0);
    refused = client_connect(port_of(fx.listener), 0);
    expect_refusal(&fx, refused, rejections(&fx));
    close(refused);
    /* IPv6, if this machine has it. */
    struct rt_listener *listener6;
    if (!rt_net_listen(fx.net, RT_STR("[::1]:0"), accept_served, &fx, &listener6, NULL)) {
        struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
        to6.sin6_port = htons(port_of(listener6));
        for (int i = 0; i < 3; i++) {
            six[i] = socket(AF_INET6, SOCK_STREAM, 0);
            assert_int_equal(connect(six[i], (struct sockaddr *)&to6, sizeof(to6)), 0);
            assert_int_equal(fcntl(six[i], F_SETFL, O_NONBLOCK), 0);
        }
        WAIT_FOR(fx.loop, fx.count == 6);
        assert_string_equal(rt_conn_peer(fx.served[5].conn), "::1");
        expect_refusal(&fx, six[2], rejections(&fx) - 1);
        for (int i = 0; i < 3; i++)
            close(six[i]);
    }
    close(other);
    for (int i = 0; i < 2; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

/* In a child with a hard limit of 160 descriptors: 80 connections, and 80 to spare. The clients
 * are the parent's. */
static void serve_with_few_descriptors(int out)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct rt_net_options options = {.send_queue = 1000, .refusal = RT_STR(BUSY)};
    struct rlimit small = {.rlim_cur = 100, .rlim_max = 160};
    if (setrlimit(RLIMIT_NOFILE, &small))
        _exit(1);
    fixture_start(fx, &options, "127.0.0.1:0");
    uint16_t port = port_of(fx->listener);
    if (write(out, &port, sizeof(port)) != sizeof(port))
        _exit(2);
    uint64_t end = rt_mono_ms() + DEADLINE_MS;
    while (metric(fx, "connections_rejected_total", "limit") < 4 && rt_mono_ms() < end)
        rt_loop_turn(fx->loop, 10);
    bool good = rt_net_connections(fx->net) == 80 &&
                metric(fx, "connections_rejected_total", "descriptors") == 0;
    WAIT_FOR(fx->loop, rt_net_connections(fx->net) == 0);
    _exit(good ? 0 : 3);
}

static void test_cap_follows_the_descriptor_limit(void **state)
{
    (void)state;
    int fds[84], pipe_fds[2], status = 0;
    uint16_t port = 0;
    struct rt_buf got = RT_BUF_INIT;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0)
        serve_with_few_descriptors(pipe_fds[1]);
    assert_true(pid > 0);
    assert_int_equal(read(pipe_fds[0], &port, sizeof(port)), sizeof(port));
    for (int i = 0; i < 84; i++)
        fds[i] = client_connect(port, 0);
    uint64_t end = rt_mono_ms() + DEADLINE_MS;
    while (client_read(fds[83], &got, NULL) && rt_mono_ms() < end)
        ;
    assert_int_equal(got.len, sizeof(BUSY) - 1);
    for (int i = 0; i < 84; i++)
        close(fds[i]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    rt_buf_deinit(&got);
}

/* Descriptors run out although the cap is below the limit (somebody else in the process uses
 * them). */
static void test_descriptors_run_out(void **state)
{
    (void)state;
    struct fixture fx;
    struct rlimit before, small;
    int hogs[64], fds[4];
    size_t count = 0;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    for (int i = 0; i < 4; i++)
        fds[i] = client_connect(port_of(fx.listener), 0); /* in the backlog */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    small = (struct rlimit){.rlim_cur = (rlim_t)next + 8, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    while (count < 64 && (hogs[count] = dup(0)) >= 0)
        count++;
    assert_true(count < 64);
    WAIT_FOR(fx.loop, metric(&fx, "connections_rejected_total", "descriptors") > 0);
    /* Accepting pauses: no spinning on the listening socket. */
    uint64_t begin = rt_mono_ms();
    int turns = 0;
    while (metric(&fx, "connections_rejected_total", "descriptors") == 1 &&
           rt_mono_ms() - begin < DEADLINE_MS) {
        rt_loop_turn(fx.loop, 50);
        turns++;
    }
    assert_true(rt_mono_ms() - begin >= 95);
    assert_true(turns < 20);
    assert_int_equal(fx.count, 0);
    /* The clients have waited, and are served now. */
    while (count > 0)
        close(hogs[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    WAIT_FOR(fx.loop, fx.count == 4);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

static void test_stop_listening_while_paused(void **state)
{
    (void)state;
    struct fixture fx;
    struct rlimit before, small;
    int hogs[64];
    size_t count = 0;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    int fd = client_connect(port_of(fx.listener), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    small = (struct rlimit){.rlim_cur = (rlim_t)next + 4, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    while (count < 64 && (hogs[count] = dup(0)) >= 0)
        count++;
    WAIT_FOR(fx.loop, metric(&fx, "connections_rejected_total", "descriptors") > 0);
    rt_net_stop_listening(fx.net);
    while (count > 0)
        close(hogs[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    fixture_stop(&fx);
    close(fd);
}

/* ---- accepting ---- */

static void test_a_burst_is_accepted_in_shares(void **state)
{
    (void)state;
    struct fixture fx;
    int fds[200];
    fixture_start(&fx, NULL, "127.0.0.1:0");
    for (int i = 0; i < 200; i++)
        fds[i] = client_connect(port_of(fx.listener), 0);
    size_t before = 0;
    while (fx.count < 200) {
        rt_loop_turn(fx.loop, 100);
        assert_true(fx.count > before && fx.count - before <= 64);
        before = fx.count;
    }
    /* Ids rise in the order of arrival. */
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(fx.served[i].id, i + 1);
    for (int i = 0; i < 200; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

static void stop_listening(struct served *s)
{
    rt_net_stop_listening(s->fx->net);
}

static void test_stop_listening_in_accept(void **state)
{
    (void)state;
    struct fixture fx;
    int a, b;
    uint8_t byte;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    fx.on_accept = stop_listening;
    a = client_connect(port_of(fx.listener), 0);
    b = client_connect(port_of(fx.listener), 0);
    WAIT_FOR(fx.loop, fx.count == 1);
    /* The one in the backlog is turned away; the one that was accepted stays. */
    ssize_t n = -1;
    WAIT_FOR(fx.loop, (n = recv(b, &byte, 1, 0)) == 0 || (n < 0 && errno == ECONNRESET));
    assert_int_equal(fx.count, 1);
    assert_int_equal(fx.served[0].closes, 0);
    close(a);
    close(b);
    fixture_stop(&fx);
}

static void close_even(void *arg, struct rt_conn *conn)
{
    size_t *seen = arg;
    ++*seen;
    if (rt_conn_id(conn) % 2 == 0)
        rt_conn_close(conn, RT_CLOSE_LOCAL);
}

static void test_each_may_close(void **state)
{
    (void)state;
    struct fixture fx;
    int fds[20];
    size_t seen = 0;
    fixture_start(&fx, NULL, "127.0.0.1:0");
    for (int i = 0; i < 20; i++)
        serve_one(&fx, &fds[i], 0);
    rt_net_each(fx.net, close_even, &seen);
    assert_int_equal(seen, 20);
    seen = 0;
    rt_net_each(fx.net, close_even, &seen); /* those that are closing are not shown */
    assert_int_equal(seen, 10);
    WAIT_FOR(fx.loop, rt_net_connections(fx.net) == 10);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    fixture_stop(&fx);
}

/* ---- addresses ---- */

static bool connects(int family, const char *ip, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int fd = socket(family, SOCK_STREAM, 0), r = -1;
    if (family == AF_INET && inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
        r = connect(fd, (struct sockaddr *)&v4, sizeof(v4));
    if (family == AF_INET6 && inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
        r = connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    close(fd);
    return r == 0;
}

static bool have_ipv6(void)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    int r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&v6, sizeof(v6));
    if (fd >= 0)
        close(fd);
    return r == 0;
}

static void test_every_address(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_start(&fx, NULL, "*:0");
    uint16_t port = port_of(fx.listener);
    assert_true(strncmp(rt_listener_address(fx.listener), "*:", 2) == 0 && port > 0);
    assert_true(connects(AF_INET, "127.0.0.1", port));
    WAIT_FOR(fx.loop, fx.count == 1);
    /* IPv4 peers are shown as such on a dual socket. */
    assert_string_equal(rt_conn_peer(fx.served[0].conn), "127.0.0.1");
    if (have_ipv6()) {
        assert_true(connects(AF_INET6, "::1", port));
        WAIT_FOR(fx.loop, fx.count == 2);
    }
    fixture_stop(&fx);
}

static void test_localhost(void **state)
{
    (void)state;
    struct fixture fx;
    fixture_start(&fx, NULL, "localhost:0");
    uint16_t port = port_of(fx.listener);
    assert_true(strncmp(rt_listener_address(fx.listener), "localhost:", 10) == 0 && port > 0);
    assert_true(connects(AF_INET, "127.0.0.1", port) || connects(AF_INET6, "::1", port));
    WAIT_FOR(fx.loop, fx.count > 0);
    fixture_stop(&fx);
}

static void test_refused_addresses(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_listener *other = NULL;
    struct rt_err err = {.code = 0};
    fixture_start(&fx, NULL, "127.0.0.1:0");
    assert_int_equal(rt_net_listen(fx.net, RT_STR("127.0.0.1"), accept_served, &fx, &other, &err),
                     RT_EINVAL);
    struct rt_str taken = rt_str_c(rt_listener_address(fx.listener));
    assert_int_equal(rt_net_listen(fx.net, taken, accept_served, &fx, &other, &err), RT_EEXIST);
    assert_non_null(strstr(err.text, taken.ptr)); /* says which */
    assert_int_equal(rt_net_listen(fx.net, RT_STR("192.0.2.1:0"), accept_served, &fx, &other, &err),
                     RT_EIO);
    assert_int_equal(
        rt_net_listen(fx.net, RT_STR("[not-an-ip]:0"), accept_served, &fx, &other, &err), RT_EIO);
    assert_int_equal(
        rt_net_listen(fx.net, RT_STR("unix:/no/such/dir/x"), accept_served, &fx, &other, &err),
        RT_EIO);
    assert_null(other);
    fixture_stop(&fx);
}

/* ---- UNIX sockets ---- */

static char dir[] = "/tmp/rt-net-test-XXXXXX";
static char path[sizeof(dir) + 16], address[sizeof(path) + 8];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/s.sock", dir);
    snprintf(address, sizeof(address), "unix:%s", path);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    (void)unlink(path);
    int r = rmdir(dir);
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    return r;
}

static int unix_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool path_exists(void)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void answer(struct served *s, uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    assert_int_equal(rt_conn_send_copy(s->conn, "answer", 6), 0);
}

static void test_unix_socket(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_buf got = RT_BUF_INIT;
    struct rt_net_options options = {.send_queue = 1000, .max_per_ip = 1};
    fixture_start(&fx, &options, address);
    fx.on_data = answer;
    assert_string_equal(rt_listener_address(fx.listener), address);
    int a = unix_connect(), b = unix_connect();
    assert_true(a >= 0 && b >= 0);
    WAIT_FOR(fx.loop, fx.count == 2); /* no address, no limit per address */
    assert_string_equal(rt_conn_peer(fx.served[0].conn), "unix:");
    client_send(a, "question");
    client_expect(&fx, a, &got, 6);
    rt_buf_deinit(&got);
    close(a);
    close(b);
    fixture_stop(&fx);
    assert_false(path_exists());
}

static void test_stale_socket_file_is_replaced(void **state)
{
    (void)state;
    struct fixture fx;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 5), 0);
    close(fd); /* as after a crash: the file is there, nobody listens */
    assert_true(path_exists());
    fixture_start(&fx, NULL, address);
    fd = unix_connect();
    assert_true(fd >= 0);
    WAIT_FOR(fx.loop, fx.count == 1);
    close(fd);
    fixture_stop(&fx);
}

static void test_live_socket_and_other_files_are_not_touched(void **state)
{
    (void)state;
    struct fixture fx;
    struct rt_listener *other = NULL;
    struct rt_err err;
    fixture_start(&fx, NULL, address);
    assert_int_equal(rt_net_listen(fx.net, rt_str_c(address), accept_served, &fx, &other, &err),
                     RT_EEXIST);
    assert_non_null(strstr(err.text, "another process"));
    int fd = unix_connect();
    assert_true(fd >= 0); /* still works */
    close(fd);
    /* A file that somebody has put in the place of ours stays. */
    assert_int_equal(unlink(path), 0);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    fixture_stop(&fx);
    assert_true(path_exists());
    fixture_start(&fx, NULL, "127.0.0.1:0");
    assert_int_equal(rt_net_listen(fx.net, rt_str_c(address), accept_served, &fx, &other, &err),
                     RT_EINVAL);
    assert_non_null(strstr(err.text, "not a socket"));
    assert_true(path_exists());
    fixture_stop(&fx);
}

/* ---- memory ---- */

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        long live = rt_alloc_live();
        struct rt_loop *loop;
        struct rt_net *net = NULL;
        struct rt_listener *listener = NULL;
        struct rt_net_options options = {.send_queue = 1, .refusal = RT_STR(BUSY)};
        struct rt_err err;
        assert_int_equal(rt_loop_new(&loop, NULL), 0);
        rt_alloc_fail_at(n, 0);
        int r = rt_net_new(loop, &options, &net, &err);
        if (!r)
            r = rt_net_listen(net, rt_str_c(address), accept_served, NULL, &listener, &err);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(r, failed ? RT_ENOMEM : 0);
        assert_int_equal(path_exists(), !failed);
        if (net) {
            rt_net_stop_listening(net);
            rt_loop_stop(loop);
            assert_int_equal(rt_loop_run(loop), 0);
            rt_net_free(net);
        }
        rt_loop_free(loop);
        assert_int_equal(rt_alloc_live(), live);
    }
}
#endif

#define UNIX_TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    rt_log_set_level(RT_LOG_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_cap),
        cmocka_unit_test(test_a_crowd_at_the_cap),
        cmocka_unit_test(test_cap_per_address),
        cmocka_unit_test(test_a_crowd_of_one_address),
        cmocka_unit_test(test_reserved_listener),
        cmocka_unit_test(test_cap_follows_the_descriptor_limit),
        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_stop_listening_while_paused),
        cmocka_unit_test(test_a_burst_is_accepted_in_shares),
        cmocka_unit_test(test_stop_listening_in_accept),
        cmocka_unit_test(test_each_may_close),
        cmocka_unit_test(test_every_address),
        cmocka_unit_test(test_localhost),
        cmocka_unit_test(test_refused_addresses),
        UNIX_TEST(test_unix_socket),
        UNIX_TEST(test_stale_socket_file_is_replaced),
        UNIX_TEST(test_live_socket_and_other_files_are_not_touched),
#ifdef RT_TEST
        UNIX_TEST(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
