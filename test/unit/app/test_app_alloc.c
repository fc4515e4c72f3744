/* The main scenario with the n-th allocation of the broker failing, for n up to where none is left: it may refuse, close and be short,
 * but nothing crashes, leaks or stays alive, and what was acknowledged is in the history (or the history says that it has a gap).
 *
 * With SQLite at random distances; the seed is printed and can be given as RT_TEST_SEED. */
#include "unit/app/app_rig.h"
#include "unit/app/client.h"

#include "base/rand.h"

enum { RUNS_MAX = 2000 };

#define SCENARIO                                                                              \
    "http: {listen: ['127.0.0.1:0']}\n"                                                       \
    "api: {keys: [{name: a, key: 'secret-0123456789'}]}\n"                                    \
    "channels: [{match: '*', log: true, subscribe: anyone, publish: anyone, history: {size: " \
    "100, ttl: 1h}}]\n"                                                                       \
    "protocols:\n"                                                                            \
    "  socketio: {recovery: 1m, cors: {origins: ['http://a', 'http://b']}}\n"                 \
    "  raw:\n"                                                                                \
    "    - {path: '/raw/{channel}'}\n"                                                        \
    "socketio:\n"                                                                             \
    "  events:\n"                                                                             \
    "    - {event: join, do: [{join: $1}, {ack: [joined]}]}\n"                                \
    "    - event: say\n"                                                                      \
    "      do: [{publish: {room: room, data: $1, key: $2}}]\n"                                \
    "shutdown: {drain: 2s, jitter: 0s}\n"

static struct {
    uint16_t port;
    bool socketio, raw, polling, api; /* who was told that his message is stored */
    int done;                         /* steps that went as they should */
    char answer[ANSWER_MAX];
} t;

static char t_dir[64]; /* of the log; "": it is in memory */

static void remove_log(void)
{
    static const char *const names[] = {"log", "log-wal", "log-shm", "log-lock"};
    char path[128];
    for (int i = 0; i < 4 && t_dir[0]; i++) {
        snprintf(path, sizeof(path), "%s/%s", t_dir, names[i]);
        (void)unlink(path);
    }
}

static int call(const char *path, const char *body)
{
    char request[1024];
    int fd = client_connect(t.port);
    if (fd < 0)
        return 0;
    int n = snprintf(request, sizeof(request),
                     "POST %s HTTP/1.1\r\nHost: h\r\nX-API-Key: secret-0123456789\r\n"
                     "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     path, strlen(body), body);
    (void)client_send(fd, request, (size_t)n);
    return http_end(fd, t.answer);
}

/* A step that failed is not waited for again. */
static bool step(bool ok)
{
    t.done += ok;
    return ok;
}

/* ---- the clients ---- */

static int join_over_websocket(void)
{
    char frame[4096];
    int fd = ws_open(t.port, "/socket.io/?EIO=4&transport=websocket");
    if (step(fd >= 0) && step(ws_expect(fd, "0{", frame, sizeof(frame))) &&
        step(ws_send(fd, "40")) && step(ws_expect(fd, "40{", frame, sizeof(frame))) &&
        step(ws_send(fd, "421[\"join\",\"room\"]")) &&
        step(ws_expect(fd, "431[\"joined\"]", frame, sizeof(frame))))
        return fd;
    client_close(fd);
    return -1;
}

static void publish_over_websocket(int fd)
{
    char frame[4096];
    if (fd >= 0 && ws_send(fd, "422[\"say\",\"by socketio\",\"k1\"]"))
        t.socketio = step(ws_expect(fd, "432[{\"ok\":true", frame, sizeof(frame)));
}

/* The raw peer sees its own message once it is stored. */
static int publish_raw(void)
{
    char frame[4096];
    int fd = ws_open(t.port, "/raw/room");
    if (step(fd >= 0) && ws_send(fd, "by raw"))
        t.raw = step(ws_expect(fd, "by raw", frame, sizeof(frame)));
    return fd;
}

static bool ask(const char *sid, const char *method, const char *body, const char *want)
{
    char target[200];
    snprintf(target, sizeof(target), "/socket.io/?EIO=4&transport=polling&sid=%s", sid);
    return http(t.port, method, target, body, t.answer) == 200 && strstr(t.answer, want);
}

static void publish_over_polling(void)
{
    char sid[64] = "";
    if (!step(http(t.port, "GET", "/socket.io/?EIO=4&transport=polling", "", t.answer) == 200 &&
              strlen(t.answer) > 9))
        return;
    snprintf(sid, sizeof(sid), "%.*s", (int)strcspn(t.answer + 9, "\""), t.answer + 9);
    if (step(ask(sid, "POST",
                 "40\x1e"
                 "427[\"join\",\"room\"]",
                 "ok")) &&
        step(ask(sid, "GET", "", "40{")) &&
        step(ask(sid, "POST", "428[\"say\",\"by polling\"]", "ok")))
        for (int i = 0; i < 3 && !t.polling; i++)
            t.polling = step(ask(sid, "GET", "", "438[{\"ok\":true"));
    (void)ask(sid, "POST", "41", "ok");
    (void)ask(sid, "POST", "1", "ok");
}

static void publish_over_api(void)
{
    int status = call("/api/publish", "{\"channel\":\"room\",\"data\":\"by api\","
                                      "\"idempotency_key\":\"k2\"}");
    t.api = step(status == 200 && strstr(t.answer, "\"offset\":"));
    step(call("/api/history", "{\"channel\":\"room\",\"limit\":10}") == 200);
}

static void play(void)
{
    int sio = join_over_websocket();
    publish_over_websocket(sio);
    int raw = publish_raw();
    publish_over_polling();
    publish_over_api();
    client_close(sio);
    client_close(raw);
}

/* ---- what must hold ---- */

static void check_history(void)
{
    const struct {
        bool told;
        const char *text;
    } rows[] = {{t.socketio, "\"by socketio\""},
                {t.raw, "\"by raw\""},
                {t.polling, "\"by polling\""},
                {t.api, "\"by api\""}};
    int status =
        call("/api/history", "{\"channel\":\"room\",\"limit\":-1,\"since\":{\"offset\":0}}");
    assert_int_equal(status, 200);
    if (strstr(t.answer, "\"gap\":true")) {
        assert_string_equal(t_dir, ""); /* a disk forgets nothing */
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        const char *first = strstr(t.answer, rows[i].text);
        if (rows[i].told && !first)
            fail_msg("%s was acknowledged and is not in %s", rows[i].text, t.answer);
        if (first && strstr(first + 1, rows[i].text))
            fail_msg("%s is there twice: %s", rows[i].text, t.answer);
    }
}

/* A start that fails leaves nothing behind. True: the n-th allocation failed in it. */
static bool start(struct server *s, struct rt_config *config, unsigned long n, bool *ret_started)
{
    struct rt_err err = {0};
    long live = rt_alloc_live();
    rt_alloc_fail_at(n, 0);
    int status = server_start_with(s, config, &err);
    *ret_started = status == 0;
    if (status == 0)
        return false;
    assert_true(rt_alloc_failed());
    rt_alloc_fail_at(0, 0);
    assert_true(status < 0 && err.text[0] != '\0');
    assert_int_equal(rt_alloc_live(), live);
    return true;
}

/* One run. False: there were fewer than n allocations. */
static bool run(struct rt_config *config, unsigned long n)
{
    struct server s;
    bool started;
    memset(&t, 0, sizeof(t));
    long live = rt_alloc_live();
    remove_log();
    if (start(&s, config, n, &started))
        return true;
    t.port = s.port;
    play();
    bool failed = rt_alloc_failed();
    rt_alloc_fail_at(0, 0);
    check_history();
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(server_join(&s), 0);
    assert_int_equal(rt_alloc_live(), live);
    return failed;
}

static unsigned long seed_of(void)
{
    const char *text = getenv("RT_TEST_SEED");
    uint32_t seed;
    rt_random(&seed, sizeof(seed));
    return text ? strtoul(text, NULL, 10) : seed % 1000000;
}

static bool all_told(void)
{
    return t.socketio && t.raw && t.polling && t.api;
}

/* Up to where no allocation is left, in steps of at most `distance`. */
static void walk(struct rt_config *config, unsigned distance)
{
    unsigned long seed = seed_of(), n = 0, runs = 0;
    struct drand48_data random;
    bool failed = true;
    rt_log_set_level(RT_LOG_OFF);
    print_message("# seed %lu\n", seed);
    (void)srand48_r((long)seed, &random);
    client_wait_ms = 150; /* for what a failure keeps from coming */
    while (failed || !all_told()) {
        long step_by = 0;
        (void)lrand48_r(&random, &step_by);
        n += 1 + (unsigned long)step_by % distance;
        assert_true(++runs < RUNS_MAX);
        failed = run(config, n);
    }
    print_message("# %lu runs, %lu allocations\n", runs, n);
    assert_true(n > 100);
}

static void test_memory_log(void **state)
{
    (void)state;
    struct rt_config *config = load_config(SCENARIO);
    walk(config, 1);
    rt_config_free(config);
}

static void test_sqlite(void **state)
{
    char yaml[2048];
    (void)state;
    snprintf(t_dir, sizeof(t_dir), "/tmp/rtbroker-alloc-XXXXXX");
    assert_non_null(mkdtemp(t_dir));
    snprintf(yaml, sizeof(yaml), SCENARIO "storage: {path: '%s/log'}\n", t_dir);
    struct rt_config *config = load_config(yaml);
    walk(config, 5);
    rt_config_free(config);
    remove_log();
    assert_int_equal(rmdir(t_dir), 0);
}

/* The same for the stop, with everybody still there. */
static void test_stop(void **state)
{
    (void)state;
    struct rt_config *config = load_config(SCENARIO);
    client_wait_ms = 400;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        struct server s;
        bool started;
        long live = rt_alloc_live();
        memset(&t, 0, sizeof(t));
        assert_false(start(&s, config, 0, &started));
        t.port = s.port;
        int sio = join_over_websocket(), raw = ws_open(t.port, "/raw/room");
        (void)http(t.port, "GET", "/socket.io/?EIO=4&transport=polling", "", t.answer);
        rt_alloc_fail_at(n, 0);
        assert_int_equal(kill(getpid(), SIGTERM), 0);
        client_close(sio);
        client_close(raw);
        assert_int_equal(server_join(&s), 0);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_alloc_live(), live);
        assert_true(n < 200);
    }
    rt_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_log),
        cmocka_unit_test(test_sqlite),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
