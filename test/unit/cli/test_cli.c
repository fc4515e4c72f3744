/* Commands as a user meets them: what is printed where, and the exit code; against a broker in this process and against servers that
 * are none. */
#include "unit/app/app_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "cli/cli.h"

enum { WORDS_MAX = 16 };

static struct {
    char out[65536], err[65536]; /* of the command that ran last */
    int served;
    char dir[64];
} t;

static int fake_serve(const struct rt_config *config)
{
    t.served++;
    printf("serving %s\n", config->http.listen.items[0]);
    return 7;
}

/* ---- running a command ---- */

static int redirect(FILE *stream, FILE *file)
{
    fflush(stream);
    int saved = dup(fileno(stream));
    assert_true(saved >= 0);
    assert_true(dup2(fileno(file), fileno(stream)) >= 0);
    return saved;
}

static void restore(FILE *stream, int saved, FILE *file, char *out, size_t size)
{
    fflush(stream);
    assert_true(dup2(saved, fileno(stream)) >= 0);
    close(saved);
    clearerr(stream);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static int run_with(char **environ_, FILE *out, const char *first, va_list rest)
{
    char *argv[WORDS_MAX + 1] = {(char *)(uintptr_t) "rtbroker"};
    int argc = 1;
    FILE *err = tmpfile();
    assert_true(out && err);
    for (const char *word = first; word; word = va_arg(rest, const char *))
        argv[argc++] = (char *)(uintptr_t)word;
    int saved_out = redirect(stdout, out), saved_err = redirect(stderr, err);
    int code = rt_cli_main(argc, argv, environ_, fake_serve);
    restore(stdout, saved_out, out, t.out, sizeof(t.out));
    restore(stderr, saved_err, err, t.err, sizeof(t.err));
    return code;
}

/* Runs `rtbroker WORDS..`; NULL ends them. */
static int run(const char *first, ...)
{
    va_list rest;
    va_start(rest, first);
    int code = run_with(NULL, tmpfile(), first, rest);
    va_end(rest);
    return code;
}

static int run_into(FILE *out, const char *first, ...)
{
    va_list rest;
    va_start(rest, first);
    int code = run_with(NULL, out, first, rest);
    va_end(rest);
    return code;
}

static void expect_text(const char *got, const char *want, int line)
{
    if (!rt_glob_match(rt_str_c(want), rt_str_c(got)))
        fail_msg("line %d: got\n%s\ninstead of\n%s", line, got, want);
}

#define expect_run(code, out_, err_, ...)     \
    do {                                      \
        int code_ = run(__VA_ARGS__, NULL);   \
        expect_text(t.err, (err_), __LINE__); \
        expect_text(t.out, (out_), __LINE__); \
        assert_int_equal(code_, (code));      \
    } while (0)

static const char *file_of(const char *name, const char *text)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", t.dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    snprintf(t.dir, sizeof(t.dir), "/tmp/rtbroker-cli-XXXXXX");
    unsetenv("RTBROKER_URL");
    unsetenv("RTBROKER_API_KEY");
    return mkdtemp(t.dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"a.yaml", "b.yaml", "sock"};
    char path[128];
    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", t.dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(t.dir);
}

/* ---- without a broker ---- */

static void test_help(void **state)
{
    static const char *const commands[] = {"check", "init",   "config", "pub",
                                           "sub",   "health", "schema", "backup"};
    (void)state;
    expect_run(0,
               "rtbroker *: a realtime broker in one process\n*serve*check*init*config*pub*sub*"
               "health*help*Exit codes: 0,*1 *2 *",
               "", "--help");
    char whole[sizeof(t.out)];
    memcpy(whole, t.out, sizeof(whole));
    expect_run(0, "*", "", "help");
    assert_string_equal(t.out, whole);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char want[64];
        snprintf(want, sizeof(want), "rtbroker %s*", commands[i]);
        expect_run(0, want, "", "help", commands[i]);
        expect_run(0, want, "", commands[i], "--help");
    }
    expect_run(0, "rtbroker *.*.* (*)\nbuilt with uv *.*, * rdkafka *.*\n", "", "--version");
    assert_int_equal(t.served, 0);
}

static void test_usage(void **state)
{
    (void)state;
    expect_run(2, "",
               "rtbroker: unknown command \"chekc\"; did you mean check?\nTry `rtbroker "
               "--help`.\n",
               "chekc");
    expect_run(2, "", "rtbroker: unknown option --nope\n*", "--nope");
    expect_run(2, "", "rtbroker: usage: rtbroker sub CHANNEL..\n*", "sub");
    expect_run(2, "", "rtbroker: unknown command \"healht\"; did you mean health?\n*", "help",
               "healht");
    assert_int_equal(t.served, 0);
}

static void test_serve(void **state)
{
    (void)state;
    expect_run(7, "serving 127.0.0.1:1\n", "*", "--dev", "--listen", "127.0.0.1:1");
    assert_int_equal(t.served, 1);
    expect_run(2, "", "*error: *", "--set", "limits.message=nonsense");
    expect_run(2, "", "*cannot*", "--config", "/nowhere/at/all.yaml");
    assert_int_equal(t.served, 1);
}

static void test_check(void **state)
{
    (void)state;
    const char *path = file_of("a.yaml", "channels: [{match: '*', log: true}]\n");
    expect_run(0, "*/a.yaml: ok\n", "*", "check", "--config", path);
    path = file_of("b.yaml", "limits:\n  mesage: 1KB\n  message: many\nnonsense: 1\n");
    expect_run(
        2, "",
        "*/b.yaml:2:3: error: *did you mean*\n*/b.yaml:3:12: error: *\n*/b.yaml:4:1: error: *",
        "check", "--config", path);
    /* The rules of Socket.IO too. */
    path = file_of("b.yaml", "socketio: {events: [{event: x, do: [{nonsense: 1}]}]}\n");
    expect_run(2, "", "*/b.yaml:1:*: error: *", "check", "--config", path);
    expect_run(2, "", "*error: *", "check", "--set", "channels.0.log=maybe");
}

static void test_init_and_config(void **state)
{
    (void)state;
    expect_run(0, "# *", "", "init");
    char sample[sizeof(t.out)];
    memcpy(sample, t.out, sizeof(sample));
    const char *path = file_of("a.yaml", sample);
    expect_run(0, "*: ok\n", "*", "check", "--config", path);
    expect_run(0, "*limits.message*", "*", "config", "--config", path);
    expect_run(0, "*limits.message*", "*", "config", "--defaults", "--config", path);
    expect_run(0, "*RTBROKER_LIMITS_MESSAGE*", "*", "config", "--env", "--config", path);
}

static void test_schema(void **state)
{
    (void)state;
    expect_run(0, "-- Schema of *\"x y\".message *COMMIT;\n", "", "schema", "--schema", "x y");
    expect_run(0, "-- Schema of *\"rtbroker\".message *COMMIT;\n", "*", "schema");
    const char *path = file_of("a.yaml", "postgres: {schema: other}\n");
    expect_run(0, "-- Schema of *\"other\".message *COMMIT;\n", "*", "schema", "--config", path);
    expect_run(2, "", "error: postgres.schema: *pg_x*", "schema", "--schema", "pg_x");
}

static void test_backup(void **state)
{
    (void)state;
    expect_run(2, "", "rtbroker: usage: rtbroker backup --to FILE *", "backup");
    expect_run(2, "", "*error: storage.path is empty: *\n", "backup", "--to", "/tmp/x", "--dev");
    expect_run(1, "", "*error: storage.path /nowhere/log.db: *\n", "backup", "--to", "/tmp/x",
               "--dev", "--set", "storage.path=/nowhere/log.db");
}

static void test_full_disk(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w+");
    if (!full)
        skip();
    assert_int_equal(run_into(full, "init", NULL), 1);
    assert_string_equal(t.err, "rtbroker: cannot write to standard output: No space left on "
                               "device\n");
}

static void test_no_broker(void **state)
{
    char url[64];
    (void)state;
    expect_run(1, "", "rtbroker: unix:/nowhere/sock: *; is the broker running?*\n", "health",
               "--url", "unix:/nowhere/sock");
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", 1);
    expect_run(1, "", "rtbroker: http://127.0.0.1:1: Connection refused; is the broker*", "pub",
               "x", "1", "--url", url);
    expect_run(1, "", "*Connection refused*", "sub", "x", "--url", url);
    expect_run(2, "", "rtbroker: the URL \"https://x\" must begin with http:// or unix: *",
               "health", "--url", "https://x");
    expect_run(2, "", "rtbroker: the URL's address lacks its ]*", "health", "--url", "http://[::1");
    expect_run(1, "", "rtbroker: the host in the URL is too long\n", "health", "--url",
               "http://"
               "0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
               "0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
               "0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
               "01234567890123456789");
    setenv("RTBROKER_URL", url, 1);
    expect_run(1, "", "rtbroker: http://127.0.0.1:1: *", "health");
    expect_run(2, "", "rtbroker: the message is no JSON: *\nA text needs its quotes: '\"hi\"'\n",
               "pub", "x", "hi");
}

/* ---- against a broker ---- */

static const char BROKER[] =
    "http: {listen: ['127.0.0.1:0', 'unix:%s/sock']}\n"
    "api: {keys: [{name: a, key: 'secret-0123456789'}]}\n"
    "channels: [{match: 'log:*', log: true, history: {size: 3, ttl: 1h}}]\n"
    "shutdown: {jitter: 0s, drain: 5s}\n";

static void test_broker(void **state)
{
    struct server s;
    char yaml[1024], url[160], socket_url[160];
    const char *key = "secret-0123456789";
    (void)state;
    snprintf(yaml, sizeof(yaml), BROKER, t.dir);
    server_start(&s, yaml);
    snprintf(url, sizeof(url), "http://%s/", s.address);
    snprintf(socket_url, sizeof(socket_url), "unix:%s/sock", t.dir);
    expect_run(0, "{\"ready\":true,*}\n", "", "health", "--url", url);
    expect_run(0, "{\"ready\":true,*}\n", "", "health", "--url", socket_url);
    expect_run(1, "",
               "rtbroker: the broker answered 401: the API key is missing or unknown; send one "
               "of api.keys as X-API-Key\n",
               "pub", "log:a", "1", "--url", url);
    expect_run(1, "", "rtbroker: the broker answered 404: no rule for channel \"x\"*", "pub", "x",
               "1", "--url", url, "--key", key);
    expect_run(1, "", "rtbroker: the broker answered 404: no rule for this channel; *", "sub", "x",
               "--url", url, "--key", key);
    expect_run(0, "{\"offset\":1,\"epoch\":\"*\"}\n", "", "pub", "log:a", "{\"a\":  1}", "--url",
               url, "--key", key, "--idempotency-key", "k", "--event", "e");
    expect_run(0, "{\"offset\":1,\"epoch\":\"*\",\"duplicate\":true}\n", "", "pub", "log:a", "2",
               "--url", socket_url, "--key", key, "--idempotency-key", "k");
    setenv("RTBROKER_URL", url, 1);
    setenv("RTBROKER_API_KEY", key, 1);
    expect_run(0, "{\"offset\":2,*", "", "pub", "log:a", "\"two\"");
    expect_run(0, "{\"offset\":3,*", "", "pub", "log:a", "--", "-3");
    expect_run(0, "{\"a\":1}\n\"two\"\n", "", "sub", "log:a", "--since", "0", "--count", "2");
    expect_run(0, "{\"data\":\"two\",\"offset\":2,*}\n", "", "sub", "log:a", "--since", "1",
               "--count", "1", "--json");
    expect_run(0, "{\"offset\":4,*", "", "pub", "log:a", "4");
    expect_run(0, "\"two\"\n",
               "rtbroker: log:a: the log no longer reaches back to that position, messages are "
               "missing\n",
               "sub", "log:a", "--since", "0", "--count", "1");
    expect_run(1, "", "rtbroker: the broker answered 400: since must be *", "sub", "log:a",
               "--since", "x");
    FILE *full = fopen("/dev/full", "w+");
    if (full) { /* nobody reads: it does not wait for more */
        assert_int_equal(run_into(full, "sub", "log:a", "--since", "3", NULL), 1);
        expect_text(t.err, "rtbroker: cannot write to standard output: *", __LINE__);
    }
    assert_int_equal(server_stop(&s), 0);
}

struct late_sub {
    struct server *server;
    pthread_t thread;
};

/* Stops the broker once somebody has subscribed. */
static void *stop_when_subscribed(void *arg)
{
    const struct late_sub *l = arg;
    uint64_t end = rt_mono_ms() + 10000;
    char request[] = "POST /api/channels HTTP/1.1\r\nHost: h\r\nX-API-Key: secret-0123456789\r\n"
                     "Connection: close\r\nContent-Length: 2\r\n\r\n{}";
    while (rt_mono_ms() < end) {
        struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(l->server->port)};
        addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        char answer[4096];
        size_t len = 0;
        ssize_t n;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
            send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0)
            while ((n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0)
                len += (size_t)n;
        close(fd);
        answer[len] = '\0';
        if (strstr(answer, "\"num_clients\":1"))
            break;
    }
    kill(getpid(), SIGTERM);
    return NULL;
}

/* The broker goes while somebody listens: an error, not a silent end. */
static void test_broker_stops(void **state)
{
    struct server s;
    char yaml[1024], url[160];
    (void)state;
    snprintf(yaml, sizeof(yaml), BROKER, t.dir);
    server_start(&s, yaml);
    snprintf(url, sizeof(url), "http://%s", s.address);
    struct late_sub l = {.server = &s};
    assert_int_equal(pthread_create(&l.thread, NULL, stop_when_subscribed, &l), 0);
    expect_run(1, "", "rtbroker: the broker ended the stream\n", "sub", "log:a", "--url", url,
               "--key", "secret-0123456789", "--retry", "0");
    pthread_join(l.thread, NULL);
    assert_int_equal(server_join(&s), 0);
    rt_config_free(s.config);
}

/* ---- against others ---- */

struct canned {
    int fd;
    uint16_t port;
    const char *answer;
    char request[8192];
    pthread_t thread;
};

static void *answer_once(void *arg)
{
    struct canned *c = arg;
    size_t len = 0;
    int fd = accept(c->fd, NULL, NULL);
    while (!strstr(c->request, "\r\n\r\n") && len < sizeof(c->request) - 1) {
        ssize_t n = recv(fd, c->request + len, sizeof(c->request) - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    (void)send(fd, c->answer, strlen(c->answer), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while (recv(fd, c->request + len, sizeof(c->request) - 1 - len, 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void canned_start(struct canned *c, const char *answer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    *c = (struct canned){.answer = answer};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(c->fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(c->fd, 1), 0);
    assert_int_equal(getsockname(c->fd, (struct sockaddr *)&addr, &len), 0);
    c->port = ntohs(addr.sin_port);
    assert_int_equal(pthread_create(&c->thread, NULL, answer_once, c), 0);
}

static void canned_stop(struct canned *c)
{
    pthread_join(c->thread, NULL);
    close(c->fd);
}

static void test_not_a_broker(void **state)
{
    static const struct {
        const char *answer, *command, *err;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\n<html>", "pub", "rtbroker: the answer is none of a broker's\n"},
        {"HTTP/1.1 200 OK\r\n\r\n{\"x\":1}", "pub", "rtbroker: the answer is none of a broker's\n"},
        {"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "pub", "rtbroker: the broker answered 502\n"},
        {"HTTP/1.1 400 Bad\r\n\r\n{\"message\":\"m\\u00e9\",\"hint\":\"h\"}", "pub",
         "rtbroker: the broker answered 400: m\xc3\xa9; h\n"},
        {"HTTP/1.1 400 Bad\r\n\r\n{\"message\":1}", "sub", "rtbroker: the broker answered 400\n"},
        {"SSH-2.0-OpenSSH\r\n\r\n", "pub", "rtbroker: the answer is no HTTP response\n"},
        {"HTTP/1.1 20", "sub", "rtbroker: the answer is no HTTP response\n"},
        {"HTTP/1.1 abc\r\n\r\n", "pub", "rtbroker: the answer is no HTTP response\n"},
        {"", "health", "rtbroker: the answer is no HTTP response\n"},
        {"HTTP/1.1 200 OK\r\n\r\ndata: {}\n\n:\n\n", "sub",
         "rtbroker: the broker ended the stream\n"},
        {"HTTP/1.1 503 No\r\n\r\nnot ready\n", "health", "not ready\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct canned c;
        char url[64], host[64];
        canned_start(&c, rows[i].answer);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/prefix/", c.port);
        int code;
        if (strcmp(rows[i].command, "pub") == 0)
            code = run("pub", "ch", "1", "--url", url, NULL);
        else if (strcmp(rows[i].command, "sub") == 0)
            code = run("sub", "ch#1", "--since", "E:1", "--url", url, "--retry", "0", NULL);
        else
            code = run("health", "--url", url, NULL);
        canned_stop(&c);
        assert_int_equal(code, 1);
        expect_text(t.err, rows[i].err, (int)i);
        snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", c.port);
        assert_non_null(strstr(c.request, host));
        if (i == 0)
            expect_text(c.request,
                        "POST /prefix/api/publish HTTP/1.1\r\n*{\"data\":1,\"channel\":\"ch\"}",
                        __LINE__);
        if (i == 4)
            expect_text(c.request,
                        "GET /prefix/api/stream?channel=ch%231&since=E%3A1 HTTP/1.1\r\n*",
                        __LINE__);
    }
}

static void test_stream_of_another(void **state)
{
    struct canned c;
    char url[64];
    (void)state;
    canned_start(
        &c, "HTTP/1.1 200 OK\r\n\r\nid: E:1\ndata: {\"data\":[1,\"x\"]}\n\n:\n\ndata: no json\n\n"
            "event: gap\ndata: {}\n\ndata: {\"data\":2}\n\ndata: {\"data\":3}\n\n");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", c.port);
    expect_run(0, "[1,\"x\"]\n*\n2\n", "rtbroker: ch: the log no longer reaches back*\n", "sub",
               "ch", "--since", "0", "--count", "3", "--url", url);
    canned_stop(&c);
}

#define cli_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cli_test(test_help),
        cli_test(test_usage),
        cli_test(test_serve),
        cli_test(test_check),
        cli_test(test_init_and_config),
        cli_test(test_schema),
        cli_test(test_backup),
        cli_test(test_full_disk),
        cli_test(test_no_broker),
        cli_test(test_broker),
        cli_test(test_broker_stops),
        cli_test(test_not_a_broker),
        cli_test(test_stream_of_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
