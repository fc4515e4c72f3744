/* The whole broker: start, what goes wrong in a start, stop in order, late stops, a log that fails. */
#include "unit/app/app_rig.h"
#include "unit/app/client.h"

#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LOCAL "http: {listen: ['127.0.0.1:0']}\n"
#define OPEN_CHANNELS                                                                         \
    "channels: [{match: '*', log: true, subscribe: anyone, publish: anyone, history: {size: " \
    "100, ttl: 1h}}]\n"
#define KEYLESS "api: {keys: [{name: a, key: 'secret-0123456789'}]}\n"
#define RAW                            \
    "protocols:\n"                     \
    "  raw:\n"                         \
    "    - {path: '/raw/{channel}'}\n" \
    "    - {path: /eio/, protocol: engineio, channel: e}\n"

static char answer[ANSWER_MAX];
static char dir[64];
static long live;

static int set_up(void **state)
{
    (void)state;
    live = rt_alloc_live();
    client_wait_ms = 5000;
    rt_log_set_level(RT_LOG_OFF);
    snprintf(dir, sizeof(dir), "/tmp/rtbroker-app-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"log", "log-wal", "log-shm", "log-lock", "away", "sock"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(rt_alloc_live(), live);
    return 0;
}

/* ---- start ---- */

static void test_start_and_stop(void **state)
{
    struct server s;
    (void)state;
    server_start(&s, LOCAL OPEN_CHANNELS);
    assert_true(strncmp(s.address, "127.0.0.1:", 10) == 0 && s.port != 0);
    assert_null(rt_app_address(s.app, 1));
    assert_int_equal(http(s.port, "GET", "/healthz", "", answer), 200);
    assert_int_equal(http(s.port, "GET", "/readyz", "", answer), 200);
    assert_int_equal(server_stop(&s), 0);
    assert_int_equal(client_connect(s.port), -1);
}

/* Nothing has to be said but where to listen. */
static void test_addresses(void **state)
{
    struct server s;
    char yaml[1000], path[128];
    struct stat st;
    (void)state;
    snprintf(
        yaml, sizeof(yaml),
        "http: {listen: ['127.0.0.1:0', 'unix:%s/sock'], internal: 'localhost:0'}\n" OPEN_CHANNELS,
        dir);
    server_start(&s, yaml);
    snprintf(path, sizeof(path), "unix:%s/sock", dir);
    assert_string_equal(rt_app_address(s.app, 1), path);
    assert_non_null(rt_app_address(s.app, 2));
    assert_null(rt_app_address(s.app, 3));
    assert_int_equal(stat(path + 5, &st), 0);
    const char *internal = rt_app_address(s.app, 2);
    uint16_t port = (uint16_t)strtoul(strrchr(internal, ':') + 1, NULL, 10);
    assert_int_equal(http(s.port, "GET", "/healthz", "", answer), 404);
    assert_int_equal(http(port, "GET", "/healthz", "", answer), 200);
    assert_int_equal(server_stop(&s), 0);
    assert_int_not_equal(stat(path + 5, &st), 0); /* removed */
}

/* `text`: what the error must say. */
static void expect_no_start(const char *yaml, int code, const char *text)
{
    struct rt_config *config = load_config(yaml);
    struct rt_app *app = NULL;
    struct rt_err err = {0};
    assert_int_equal(rt_app_new(config, &app, &err), code);
    assert_null(app);
    if (!rt_glob_match(rt_str_c(text), rt_str_c(err.text)))
        fail_msg("\"%s\" is not \"%s\"", err.text, text);
    rt_config_free(config);
}

static void test_address_in_use(void **state)
{
    struct server s;
    char yaml[1000];
    (void)state;
    server_start(&s, LOCAL OPEN_CHANNELS);
    long before = rt_alloc_live();
    snprintf(yaml, sizeof(yaml), "http: {listen: ['%s']}\n" OPEN_CHANNELS, s.address);
    expect_no_start(yaml, RT_EEXIST, "*127.0.0.1:*");
    /* After others have been opened, and with a log that is open already. */
    snprintf(
        yaml, sizeof(yaml),
        "http: {listen: ['127.0.0.1:0', 'unix:%s/sock', '%s']}\nstorage: {path: '%s/log'}\n" OPEN_CHANNELS
            RAW,
        dir, s.address, dir);
    expect_no_start(yaml, RT_EEXIST, "*127.0.0.1:*");
    assert_int_equal(rt_alloc_live(), before);
    assert_int_equal(http(s.port, "GET", "/healthz", "", answer), 200); /* the first one lives */
    assert_int_equal(server_stop(&s), 0);
}

static void test_failing_starts(void **state)
{
    char yaml[1000];
    (void)state;
    expect_no_start(LOCAL OPEN_CHANNELS "storage: {path: /nowhere/at/all/log}\n", RT_EIO,
                    "*/nowhere/at/all/log*");
    expect_no_start(LOCAL OPEN_CHANNELS "protocols: {socketio: {client_dir: /nowhere/at/all}}\n",
                    RT_ENOENT, "*/nowhere/at/all*");
    snprintf(yaml, sizeof(yaml), "http: {listen: ['unix:%s']}\n" OPEN_CHANNELS, dir);
    expect_no_start(yaml, RT_EINVAL, "*");
    /* What a checked configuration cannot hold still has the right words. */
    struct rt_config *config = load_config(LOCAL OPEN_CHANNELS);
    struct rt_app *app = NULL;
    struct rt_err err = {0};
    config->http.path_prefix = "prefix";
    assert_int_equal(rt_app_new(config, &app, &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "prefix"));
    rt_config_free(config);
}

#define AWAY                                \
    "kafka: {brokers: ['127.0.0.1:1']}\n"   \
    "redis: {url: 'redis://127.0.0.1:1'}\n" \
    "postgres: {url: 'postgresql://127.0.0.1:1/x'}\n"

static void *interrupt(void *path)
{
    struct stat st;
    uint64_t until = rt_mono_ms() + 20000;
    while (stat(path, &st) != 0 && rt_mono_ms() < until)
        (void)poll(NULL, 0, 5);
    (void)kill(getpid(), SIGTERM);
    return NULL;
}

/* A client of the socket at `path`, once it is there; -1: it never was. */
static int await_socket(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    uint64_t until = rt_mono_ms() + 20000;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    while (rt_mono_ms() < until) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
            client_set_wait(fd);
            return fd;
        }
        close(fd);
        (void)poll(NULL, 0, 5);
    }
    return -1;
}

/* Asks why a start takes so long, leaves connections open in all states, and loses patience. */
static void *ask_and_interrupt(void *path)
{
    static const char ready[] = "GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    int fd = await_socket(path), idle = await_socket(path), half = await_socket(path);
    (void)client_send(half, ready, 20);
    (void)client_send(fd, ready, sizeof(ready) - 1);
    (void)client_read_all(fd, answer, sizeof(answer));
    (void)kill(getpid(), SIGTERM);
    client_close(fd);
    return (void *)(intptr_t)(idle * 1000 + half); /* closed when the start has ended */
}

static void *interrupt_start(void *(*run)(void *path))
{
    char yaml[1000], path[128];
    pthread_t thread;
    void *result;
    snprintf(path, sizeof(path), "%s/sock", dir);
    snprintf(yaml, sizeof(yaml), "http: {listen: ['unix:%s']}\n" AWAY OPEN_CHANNELS RAW, path);
    assert_int_equal(pthread_create(&thread, NULL, run, path), 0);
    expect_no_start(yaml, RT_ECLOSED, "told to stop*");
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}

static void test_interrupted_start(void **state)
{
    (void)state;
    (void)interrupt_start(interrupt);
    void *left = interrupt_start(ask_and_interrupt);
    client_close((int)((intptr_t)left / 1000));
    client_close((int)((intptr_t)left % 1000));
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, "{\"ready\":false,\"serving\":false,\"backends\":{\"log\":{"
                                   "\"kind\":\"kafka\",\"required\":true,\"up\":false,"));
    assert_non_null(strstr(answer, "\"last_error\":\"Kafka at 127.0.0.1:1 does not answer: "));
    assert_non_null(strstr(answer, "\"redis\":"));
    assert_non_null(strstr(answer, "\"postgres\":"));
}

/* ---- stop ---- */

static void expect_close(int fd, unsigned code)
{
    char frame[256];
    int opcode;
    do
        opcode = ws_next(fd, frame, sizeof(frame));
    while (opcode == 1 || opcode == 9);
    assert_int_equal(opcode, 8);
    assert_int_equal((unsigned char)frame[0] << 8 | (unsigned char)frame[1], code);
}

/* sid and the GET that the client holds. */
static int hold_poll(uint16_t port, char sid[64])
{
    char target[256];
    assert_int_equal(http(port, "GET", "/socket.io/?EIO=4&transport=polling", "", answer), 200);
    snprintf(sid, 64, "%.*s", (int)(strchr(answer + 9, '"') - (answer + 9)), answer + 9);
    snprintf(target, sizeof(target), "/socket.io/?EIO=4&transport=polling&sid=%s", sid);
    return http_begin(port, "GET", target, "");
}

/* Everybody is told in a way that makes him come back. */
static void test_drain(void **state)
{
    struct server s;
    char sid[64], frame[1024];
    (void)state;
    server_start(&s, LOCAL OPEN_CHANNELS KEYLESS RAW "shutdown: {drain: 10s, jitter: 300ms}\n");
    int poll = hold_poll(s.port, sid);
    int sio = ws_open(s.port, "/socket.io/?EIO=4&transport=websocket");
    assert_true(ws_expect(sio, "0{", frame, sizeof(frame)));
    int raw = ws_open(s.port, "/raw/a"), bare = ws_open(s.port, "/eio/?EIO=4&transport=websocket");
    int idle = client_connect(s.port);
    assert_true(raw >= 0 && bare >= 0 && idle >= 0);
    uint64_t begin = rt_mono_ms();
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    expect_close(sio, 1001);
    expect_close(raw, 1001);
    expect_close(bare, 1001);
    assert_int_equal(http_end(poll, answer), 200);
    assert_string_equal(answer, "6");
    client_close(sio);
    client_close(raw);
    client_close(bare);
    client_close(idle);
    assert_int_equal(server_join(&s), 0);
    assert_true(rt_mono_ms() - begin < 9000);
    rt_config_free(s.config);
}

/* Polling sessions need no connection: also a stop that is late or hurried ends them before it frees them. */
static void test_late_drain(void **state)
{
    struct server s;
    char sid[64];
    (void)state;
    server_start(&s, LOCAL OPEN_CHANNELS RAW "shutdown: {drain: 200ms, jitter: 1m}\n");
    for (int i = 0; i < 5; i++)
        client_close(hold_poll(s.port, sid));
    for (int i = 0; i < 5; i++)
        assert_int_equal(http(s.port, "GET", "/socket.io/?EIO=4&transport=polling", "", answer),
                         200);
    int raw = ws_open(s.port, "/raw/a");
    uint64_t begin = rt_mono_ms();
    assert_int_equal(server_stop(&s), 0);
    assert_true(rt_mono_ms() - begin < 5000);
    client_close(raw);
}

static void test_second_signal(void **state)
{
    struct server s;
    (void)state;
    server_start(&s, LOCAL OPEN_CHANNELS RAW "shutdown: {drain: 1m, jitter: 1m}\n");
    for (int i = 0; i < 5; i++)
        assert_int_equal(http(s.port, "GET", "/socket.io/?EIO=4&transport=polling", "", answer),
                         200);
    int raw[5];
    for (int i = 0; i < 5; i++)
        raw[i] = ws_open(s.port, "/raw/a");
    uint64_t begin = rt_mono_ms();
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    /* Not before the first one has been taken. */
    uint64_t end = rt_mono_ms() + 5000;
    int fd;
    while ((fd = client_connect(s.port)) >= 0 && rt_mono_ms() < end)
        close(fd);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(server_join(&s), 0);
    assert_true(rt_mono_ms() - begin < 10000);
    for (int i = 0; i < 5; i++)
        client_close(raw[i]);
    rt_config_free(s.config);
}

/* ---- the log ---- */

#define PUBLISH "{\"channel\":\"a\",\"data\":\"0123456789012345678901234567890123456789\"}"

static int post(uint16_t port, const char *path, const char *body)
{
    char request[1024];
    int fd = client_connect(port);
    if (fd < 0)
        return 0;
    int n = snprintf(request, sizeof(request),
                     "POST %s HTTP/1.1\r\nHost: h\r\nX-API-Key: secret-0123456789\r\n"
                     "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     path, strlen(body), body);
    (void)client_send(fd, request, (size_t)n);
    return http_end(fd, answer);
}

/* What was acknowledged is there after the next start. */
static void test_restart(void **state)
{
    struct server s;
    char yaml[1000];
    (void)state;
    snprintf(yaml, sizeof(yaml), LOCAL OPEN_CHANNELS KEYLESS "storage: {path: '%s/log'}\n", dir);
    server_start(&s, yaml);
    for (int i = 0; i < 5; i++)
        assert_int_equal(post(s.port, "/api/publish", PUBLISH), 200);
    assert_int_equal(server_stop(&s), 0);
    server_start(&s, yaml);
    assert_int_equal(post(s.port, "/api/history", "{\"channel\":\"a\",\"limit\":-1}"), 200);
    assert_non_null(strstr(answer, "\"offset\":5}}"));
    assert_int_equal(server_stop(&s), 0);
}

/* A log that cannot be written any more (its file was moved away): nothing is acknowledged from then on, and the process says so. */
static void test_log_fails(void **state)
{
    struct server s;
    char yaml[1000], path[128], away[128];
    (void)state;
    snprintf(yaml, sizeof(yaml),
             LOCAL OPEN_CHANNELS KEYLESS
             "storage: {path: '%s/log'}\nshutdown: {drain: 5s, jitter: 5s}\n",
             dir);
    server_start(&s, yaml);
    assert_int_equal(post(s.port, "/api/publish", PUBLISH), 200);
    assert_int_equal(http(s.port, "GET", "/socket.io/?EIO=4&transport=polling", "", answer), 200);
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(away, sizeof(away), "%s/away", dir);
    assert_int_equal(rename(path, away), 0);
    int status = post(s.port, "/api/publish", PUBLISH);
    int code = server_join(&s);
    assert_true(status == 503 || status == 0); /* retry, or the connection went first */
    assert_int_equal(code, 70);
    rt_config_free(s.config);
}

#define app_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        app_test(test_start_and_stop),    app_test(test_addresses),
        app_test(test_address_in_use),    app_test(test_failing_starts),
        app_test(test_interrupted_start), app_test(test_drain),
        app_test(test_late_drain),        app_test(test_second_signal),
        app_test(test_restart),           app_test(test_log_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
