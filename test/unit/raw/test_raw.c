/* Raw endpoints, plain WebSocket and bare Engine.IO: channels, permissions, what a refused or failed publish does, silent peers,
 * backpressure, drain. The log is played by the test. */
#include "unit/engine/wire.h"
#include "unit/session/fake_journal.h"

#include "proto/raw/raw.h"

static const char CONFIG[] =
    "protocols:\n"
    "  socketio: {enabled: false}\n"
    "  raw:\n"
    "    - {path: /echo, channel: '{sid}', max_message: 1000}\n"
    "    - {path: '/raw/{channel}', ping_interval: 10s, ping_timeout: 5s}\n"
    "    - {path: '/in/{channel}/x', channel: 'log:{channel}:{sid}'}\n"
    "    - {path: /news, channel: news, publish: false}\n"
    "    - {path: /inbox, channel: 'log:inbox', subscribe: false}\n"
    "    - {path: /eio/, protocol: engineio, channel: 'log:eio'}\n"
    "    - {path: /eioecho/, protocol: engineio, channel: '{sid}'}\n"
    "    - {path: /eioclosed/, protocol: engineio, channel: 'x'}\n"
    "origins: ['https://good.example']\n"
    "channels:\n"
    "  - {match: 'log:*', log: true, subscribe: anyone, publish: anyone}\n"
    "  - {match: 'open:*', log: false, subscribe: anyone, publish: anyone}\n"
    "  - {match: 'locked:*', log: false, subscribe: nobody, publish: anyone}\n"
    "  - {match: 'quiet:*', log: false, subscribe: anyone, publish: nobody}\n"
    "  - {match: news, log: false, subscribe: nobody, publish: nobody}\n"
    "limits: {message: 2000, channel_name: 40, send_queue: 64KiB}\n";

static struct {
    struct rt_config *config;
    struct rt_broker *broker;
    struct rt_raw *raw;
    bool drained;
    long live;
} t;

static int load(void)
{
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config_args args = {0};
    int status =
        rt_config_load_text(&args, rt_str_c(CONFIG), "raw.yaml", &t.config, &errors, &warnings);
    if (status)
        print_error("%s\n", errors.count ? errors.items[0].text : "out of memory");
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
    return status;
}

static int start(void)
{
    int status = wire_start(0);
    if (status == 0)
        status = rt_broker_new(t.config, &w.loop, &w.metrics, &t.broker, NULL);
    if (status)
        return status;
    fake_journal_init();
    rt_broker_set_journal(t.broker, &fake.base);
    return rt_raw_new(t.config, t.broker, w.http, w.pool, &w.metrics, &t.raw, NULL);
}

static int init(void)
{
    memset(&t, 0, sizeof(t));
    t.live = rt_alloc_live();
    wire_init();
    return load();
}

static int set_up(void **state)
{
    (void)state;
    return init() || start() ? -1 : 0;
}

static void on_drained(void *arg)
{
    (void)arg;
    assert_false(t.drained);
    t.drained = true;
}

static int tear_down(void **state)
{
    (void)state;
    wire_drop_all();
    if (t.raw && !t.drained) {
        rt_raw_drain(t.raw, 0, on_drained, NULL);
        end_turn();
        assert_true(t.drained);
    }
    fake_journal_finish();
    rt_raw_free(t.raw);
    rt_broker_free(t.broker);
    fake_journal_deinit();
    wire_stop();
    rt_config_free(t.config);
    assert_int_equal(rt_alloc_live(), t.live);
    return 0;
}

/* Sends an upgrade request and takes the 101. */
static void open_path(struct peer *p, const char *path)
{
    const char *body = "";
    size_t len = 0;
    request_raw(p, "GET", path, UPGRADE, NULL, 0);
    assert_int_equal(take_answer(p, &body, &len), 101);
}

static struct peer *new_plain(const char *path)
{
    struct peer *p = new_peer();
    open_path(p, path);
    return p;
}

/* The next thing that it was sent is a Close frame with this code and reason. */
static void expect_close_at(struct peer *p, unsigned code, const char *reason, int line)
{
    end_turn();
    const uint8_t *frame = (const uint8_t *)p->conn->out + p->at;
    size_t len = p->conn->out_len - p->at;
    if (len < 4 || frame[0] != 0x88 || (size_t)frame[1] + 2 != len ||
        (unsigned)(frame[2] << 8 | frame[3]) != code)
        fail_msg("line %d: no Close frame with %u", line, code);
    expect_text_at((const char *)frame + 4, len - 4, reason, "reason", line);
    p->at = p->conn->out_len;
}
#define expect_close(p, code, reason) expect_close_at((p), (code), (reason), __LINE__)

/* ---- plain: frames ---- */

static void test_echo(void **state)
{
    (void)state;
    struct peer *p = new_plain("/echo"), *q = new_plain("/echo");
    ws_text(p, "hello");
    send_frame(p, 0x82, "\xff\1", 2);
    ws_text(p, "");
    expect_frames(p, "T hello\nB \xff\1\nT \n");
    expect_frames(q, ""); /* each has its own channel */
    assert_int_equal(metric("raw_connections", NULL), 2);
    assert_int_equal(metric("raw_opened_total", NULL), 2);
    drop(q);
    assert_int_equal(metric("raw_connections", NULL), 1);
}

/* What was sent in one piece with the request. */
static void test_echo_at_once(void **state)
{
    struct rt_buf out = RT_BUF_INIT;
    (void)state;
    struct peer *p = new_peer();
    rt_buf_printf(&out, "GET /echo HTTP/1.1\r\nHost: h\r\n%s\r\n", UPGRADE);
    add_text(&out, 0x81, "early");
    feed(p, out.data, out.len);
    rt_buf_deinit(&out);
    end_turn();
    const char *body;
    size_t len;
    assert_int_equal(take_answer(p, &body, &len), 101);
    expect_frames(p, "T early\n");
}

static void test_channels(void **state)
{
    (void)state;
    struct peer *a = new_plain("/raw/open:room%201"), *b = new_plain("/raw/open:room%201"),
                *c = new_plain("/raw/open:other+x/y");
    ws_text(a, "one");
    send_frame(b, 0x82, "two", 3);
    expect_frames(a, "T one\nB two\n");
    expect_frames(b, "T one\nB two\n");
    expect_frames(c, "");
    struct rt_hub *hub = rt_broker_hub(t.broker);
    assert_non_null(rt_hub_channel(hub, RT_STR("open:room 1"), false));
    assert_non_null(rt_hub_channel(hub, RT_STR("open:other+x/y"), false)); /* a plus is a plus */
    /* JSON from elsewhere arrives as its text. */
    struct rt_message m = {.data = RT_STR("{\"a\":1}"), .kind = RT_KIND_JSON};
    struct rt_publish p = {.channel = RT_STR("open:room 1"), .message = &m, .trusted = true};
    struct rt_publish_result r;
    assert_int_equal(rt_broker_publish(t.broker, &p, &r), 0);
    expect_frames(b, "T {\"a\":1}\n");
}

static void test_template(void **state)
{
    (void)state;
    struct peer *p = new_plain("/in/abc/x");
    ws_text(p, "x");
    assert_int_equal(fake.append_count, 1);
    struct rt_str name = fake.appends[0]->channel_name;
    assert_true(rt_glob_match(RT_STR("log:abc:????????????????????"), name));
    commit_all();
    expect_frames(p, "T x\n");
}

static void test_paths(void **state)
{
    static const char *const missing[] = {"/in/abc/y", "/in/a/b/x", "/in/abc", "/in/x", "/echo/"};
    (void)state;
    struct peer *p = new_peer();
    for (size_t i = 0; i < 5; i++) {
        request_raw(p, "GET", missing[i], "", NULL, 0);
        expect_answer(p, 404, "application/json", "*not_found*");
    }
    request_raw(p, "GET", "/echo", "", NULL, 0);
    expect_answer(p, 426, "application/json", "*upgrade_required*");
    assert_non_null(strstr(answer_head, "Upgrade: websocket\r\n"));
    request_raw(p, "POST", "/echo", "", "", 0);
    expect_answer(p, 426, "application/json", "*");
    request_raw(p, "GET", "/echo",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                NULL, 0);
    expect_answer(p, 426, "application/json", "*bad_handshake*");
}

static void test_one_way(void **state)
{
    (void)state;
    struct peer *reader = new_plain("/news"), *writer = new_plain("/inbox");
    ws_text(reader, "nobody listens to me");
    ws_text(writer, "letter");
    assert_int_equal(fake.append_count, 1);
    commit_all();
    expect_frames(writer, ""); /* does not receive */
    struct rt_message m = {.data = RT_STR("extra"), .kind = RT_KIND_TEXT};
    struct rt_publish p = {.channel = RT_STR("news"), .message = &m, .trusted = true};
    struct rt_publish_result r;
    assert_int_equal(rt_broker_publish(t.broker, &p, &r), 0);
    expect_frames(reader, "T extra\n"); /* configuration may, whatever the rule says of clients */
    assert_int_equal(metric("publishes_total", "\"ok\""), 2);
}

/* ---- plain: refusals ---- */

static void test_refused_subscribe(void **state)
{
    static const struct {
        const char *path;
        unsigned code;
        const char *reason;
    } rows[] = {
        {"/raw/none", 4404, "no rule for channel \"none\": add one to `channels`*"},
        {"/raw/locked:x", 4403, "not allowed to subscribe on channel \"locked:x\": set *"},
        {"/raw/", 1008, "the channel's name is empty"},
        {"/raw/a%00b", 1008, "the channel's name has a control character"},
        {"/raw/open:0123456789012345678901234567890123456789", 1009, "*(limits.channel_name)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *p = new_plain(rows[i].path); /* a close code is what a browser shows */
        ws_text(p, "ignored");
        expect_close(p, rows[i].code, rows[i].reason);
        drop(p);
    }
    /* Nothing that came with the request is taken either, though publishing is allowed. */
    struct rt_buf out = RT_BUF_INIT;
    struct peer *p = new_peer(), *q = new_plain("/inbox");
    rt_buf_printf(&out, "GET /raw/locked:x HTTP/1.1\r\nHost: h\r\n%s\r\n", UPGRADE);
    add_text(&out, 0x81, "early");
    feed(p, out.data, out.len);
    rt_buf_deinit(&out);
    assert_int_equal(metric("publishes_total", "\"ok\""), 0);
    (void)q;
}

static void test_refused_publish(void **state)
{
    static char large[2001];
    (void)state;
    struct peer *p = new_plain("/raw/quiet:x");
    ws_text(p, "no");
    expect_close(p, 4403, "not allowed to publish on channel \"quiet:x\": set `publish` *");
    p = new_plain("/raw/open:x");
    memset(large, 'x', sizeof(large));
    send_frame(p, 0x81, large, sizeof(large));
    expect_frames(p, "C 1009 *\n");
    p = new_plain("/echo");
    send_frame(p, 0x81, large, 1001);
    expect_frames(p, "C 1009 *\n");
    p = new_plain("/raw/open:x");
    send_frame(p, 0x81, "\xff", 1);
    expect_frames(p, "C 1007 *\n");
}

static void test_origins(void **state)
{
    (void)state;
    struct peer *p = new_peer();
    request_raw(p, "GET", "/echo", UPGRADE "Origin: https://evil.example\r\n", NULL, 0);
    expect_answer(p, 403, "application/json", "*origin_refused*`origins`*");
    assert_true(p->conn->finished);
    p = new_peer();
    request_raw(p, "GET", "/echo", UPGRADE "Origin: https://good.example\r\n", NULL, 0);
    const char *body;
    size_t len;
    assert_int_equal(take_answer(p, &body, &len), 101);
    p = new_plain("/echo"); /* no browser */
    ws_text(p, "a");
    expect_frames(p, "T a\n");
}

/* ---- plain: the log ---- */

static void test_answers_of_the_log(void **state)
{
    static const struct {
        int status;
        const char *close;
    } rows[] = {
        {RT_EAGAIN, "C 1013 the log said -6\n"},
        {RT_EUNKNOWN, "C 1013 the log said -10\n"},
        {RT_EINVAL, "C 1008 the log said -2\n"},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct peer *p = new_plain("/raw/log:x");
        ws_text(p, "a");
        ws_text(p, "b");
        commit_at(0, 0, false);
        commit_at(0, rows[i].status, false);
        struct rt_buf want = RT_BUF_INIT;
        rt_buf_printf(&want, "T a\n%s", rows[i].close); /* what came before is sent before */
        expect_frames(p, rt_buf_cstr(&want));
        rt_buf_deinit(&want);
        drop(p);
        /* The same within the call. */
        p = new_plain("/raw/log:x");
        fake.refuse = rows[i].status;
        ws_text(p, "c");
        fake.refuse = 0;
        expect_frames(p, rows[i].close);
        drop(p);
    }
}

/* The peer goes while its publishes are on their way: they are stored all the same. */
static void test_gone_while_publishing(void **state)
{
    (void)state;
    struct peer *p = new_plain("/raw/log:x"), *q = new_plain("/raw/log:x");
    ws_text(p, "a");
    ws_text(p, "b");
    drop(p);
    commit_at(0, 0, false);
    commit_at(0, RT_EAGAIN, false);
    expect_frames(q, "T a\n");
    /* And in the same turn as the answer. */
    p = new_plain("/raw/log:x");
    ws_text(p, "c");
    rt_conn_close(p->conn, RT_CLOSE_PEER);
    commit_at(0, RT_EAGAIN, false);
    end_turn();
    expect_frames(q, "");
}

static void test_slow(void **state)
{
    (void)state;
    struct peer *p = new_plain("/raw/open:x"), *q = new_plain("/raw/open:x");
    rt_conn_close(p->conn, RT_CLOSE_SLOW); /* as the queue does at its limit */
    ws_text(q, "a");
    expect_frames(q, "T a\n");
    assert_int_equal(metric("raw_connections", NULL), 1);
}

static void test_close_frame(void **state)
{
    struct rt_buf out = RT_BUF_INIT;
    (void)state;
    struct peer *p = new_plain("/echo");
    add_text(&out, 0x81, "last");
    add_close(&out, 1000, "bye");
    feed(p, out.data, out.len);
    rt_buf_deinit(&out);
    expect_frames(p, "T last\nC 1000 \n"); /* what it published before its close reaches it */
}

/* ---- plain: silence ---- */

static void test_silence(void **state)
{
    (void)state;
    struct peer *p = new_plain("/raw/open:x");
    pass(9999);
    expect_frames(p, "");
    pass(1);
    expect_frames(p, "P \n");
    send_frame(p, 0x8a, "", 0); /* pong */
    pass(5000);
    expect_frames(p, "");
    pass(10000);
    expect_frames(p, "P \n");
    ws_text(p, "anything will do");
    expect_frames(p, "T anything will do\n");
    pass(15000);
    expect_frames(p, "P \n");
    pass(4999);
    assert_false(p->conn->closed);
    pass(1);
    assert_true(p->conn->closed);
    expect_frames(p, "");
}

static void test_talkers_are_not_pinged(void **state)
{
    (void)state;
    struct peer *p = new_plain("/inbox");
    t.config->raw[4].engine.ping_interval = 10000;
    for (int i = 0; i < 20; i++) {
        pass(5000);
        ws_text(p, "x");
        commit_all();
    }
    expect_frames(p, "");
}

/* ---- backpressure ---- */

static void test_congestion(void **state)
{
    (void)state;
    struct peer *p = new_plain("/raw/log:x"), *q = new_plain("/raw/log:x");
    ws_text(p, "a");
    assert_false(p->conn->paused);
    fake.congested = true;
    ws_text(p, "b");
    assert_true(p->conn->paused);
    assert_false(q->conn->paused);
    ws_text(p, "c"); /* had been read already */
    fake.congested = false;
    commit_all();
    expect_frames(q, "T a\nT b\nT c\n");
    rt_broker_relieved(t.broker);
    assert_false(p->conn->paused);
    ws_text(p, "d");
    assert_false(p->conn->paused);
}

/* It is us who do not listen: nobody is taken for dead, and nobody waits for ever. */
static void test_congestion_and_silence(void **state)
{
    (void)state;
    struct peer *p = new_plain("/raw/log:x");
    fake.congested = true;
    ws_text(p, "a");
    pass(60000);
    assert_false(p->conn->closed);
    rt_broker_relieved(t.broker);
    pass(20000);
    expect_frames(p, "P \n");
    pass(5000);
    assert_true(p->conn->closed);
}

static void test_gone_while_congested(void **state)
{
    (void)state;
    struct peer *p = new_plain("/raw/log:x");
    fake.congested = true;
    ws_text(p, "a");
    drop(p);
    rt_broker_relieved(t.broker);
    p = new_plain("/raw/log:x");
    ws_text(p, "b");
    assert_true(p->conn->paused);
    commit_at(1, RT_EAGAIN, false);
    assert_false(p->conn->paused); /* its answer to our close has to be read */
    expect_frames(p, "C 1013 *\n");
    rt_broker_relieved(t.broker);
}

/* ---- bare Engine.IO ---- */

static void open_bare(struct peer *p, const char *path, char sid[64])
{
    char target[128];
    const char *body = "";
    size_t len = 0;
    snprintf(target, sizeof(target), "%s?EIO=4&transport=polling", path);
    request_raw(p, "GET", target, "", NULL, 0);
    end_turn();
    assert_int_equal(take_answer(p, &body, &len), 200);
    const char *end = memchr(body + 9, '"', len - 9); /* behind 0{"sid":" */
    snprintf(sid, 64, "%.*s", (int)(end - body - 9), body + 9);
}

static void bare_request(struct peer *p, const char *path, const char *sid, const char *body)
{
    char target[200];
    snprintf(target, sizeof(target), "%s?EIO=4&transport=polling&sid=%s", path, sid);
    request_raw(p, body ? "POST" : "GET", target, "", body, body ? strlen(body) : 0);
}

static struct peer *new_bare_socket(const char *path)
{
    char target[128];
    snprintf(target, sizeof(target), "%s?EIO=4&transport=websocket", path);
    struct peer *p = new_peer();
    open_path(p, target);
    expect_frames(p, "T * bytes *\n");
    return p;
}

static void test_bare(void **state)
{
    char sid[64];
    (void)state;
    struct peer *p = new_peer(), *q = new_bare_socket("/eio/"), *plain = new_plain("/raw/log:eio");
    open_bare(p, "/eio/", sid);
    bare_request(p, "/eio/", sid,
                 "4a\x1e"
                 "bAQI=");
    expect_answer(p, 200, "text/html", "ok");
    ws_text(q, "4c");
    send_frame(q, 0x82, "\3", 1);
    ws_text(plain, "e");
    assert_int_equal(fake.append_count, 5);
    commit_all();
    bare_request(p, "/eio/", sid, NULL);
    expect_answer(p, 200, "text/plain; charset=UTF-8",
                  "4a\x1e"
                  "bAQI=\x1e"
                  "4c\x1e"
                  "bAw==\x1e"
                  "4e");
    expect_frames(q, "T 4a\nB \1\2\nT 4c\nB \3\nT 4e\n");
    expect_frames(plain, "T a\nB \1\2\nT c\nB \3\nT e\n");
}

static void test_bare_echo(void **state)
{
    char sid[64];
    (void)state;
    struct peer *p = new_peer(), *q = new_bare_socket("/eioecho/");
    open_bare(p, "/eioecho/", sid);
    bare_request(p, "/eioecho/", sid, "4a");
    expect_answer(p, 200, "text/html", "ok");
    bare_request(p, "/eioecho/", sid, NULL);
    expect_answer(p, 200, "text/plain; charset=UTF-8", "4a");
    ws_text(q, "4b");
    expect_frames(q, "T 4b\n");
}

/* Messages that the hub has not handed out yet are not lost in the upgrade, and none comes twice. */
static void test_bare_upgrade(void **state)
{
    char sid[64], target[200];
    (void)state;
    struct peer *p = new_peer(), *ws = new_peer(), *plain = new_plain("/raw/log:eio");
    open_bare(p, "/eio/", sid);
    fake.at_once = true;
    ws_text(plain, "1");
    snprintf(target, sizeof(target), "/eio/?EIO=4&transport=websocket&sid=%s", sid);
    open_path(ws, target);
    ws_text(ws, "2probe");
    expect_frames(ws, "T 3probe\n");
    ws_text(plain, "2");
    ws_text(ws, "5"); /* in the turn of that publish */
    ws_text(plain, "3");
    expect_frames(ws, "T 41\nT 42\nT 43\n");
}

static void test_bare_failures(void **state)
{
    char sid[64];
    (void)state;
    struct peer *p = new_peer(), *q = new_bare_socket("/eio/");
    ws_text(q, "4a");
    ws_text(q, "4b");
    commit_at(0, 0, false);
    commit_at(0, RT_EAGAIN, false);
    expect_frames(q, "T 4a\nC 1013 \n");
    open_bare(p, "/eio/", sid);
    bare_request(p, "/eio/", sid, "4c");
    expect_answer(p, 200, "text/html", "ok");
    commit_at(0, RT_EAGAIN, false);
    bare_request(p, "/eio/", sid, NULL);
    expect_answer(p, 200, "text/plain; charset=UTF-8",
                  "6\x1e"
                  "1");
    struct peer *gone = new_bare_socket("/eio/");
    ws_text(gone, "4d");
    drop(gone);
    commit_at(0, RT_EAGAIN, false);
}

static void test_bare_congestion(void **state)
{
    char sid[64];
    (void)state;
    struct peer *p = new_peer(), *q = new_bare_socket("/eio/");
    open_bare(p, "/eio/", sid);
    fake.congested = true;
    bare_request(p, "/eio/", sid, "4a");
    expect_nothing(p);
    ws_text(q, "4b");
    assert_true(q->conn->paused);
    rt_broker_relieved(t.broker);
    expect_answer(p, 200, "text/html", "ok");
    assert_false(q->conn->paused);
}

/* The 101 cannot be sent: the session ends before its user has seen it. */
static void test_bare_broken(void **state)
{
    (void)state;
    struct peer *p = new_peer();
    p->conn->fail_sends = true;
    request_raw(p, "GET", "/eio/?EIO=4&transport=websocket", UPGRADE, NULL, 0);
    end_turn();
    assert_true(p->conn->closed);
}

/* ---- drain ---- */

static void test_drain(void **state)
{
    char sid[64];
    (void)state;
    struct peer *p = new_plain("/raw/open:x"), *q = new_bare_socket("/eio/"), *r = new_peer();
    open_bare(r, "/eio/", sid);
    bare_request(r, "/eio/", sid, NULL);
    ws_text(p, "a");
    rt_raw_drain(t.raw, 0, on_drained, NULL);
    expect_frames(p, "T a\nC 1001 the broker is shutting down\n");
    expect_frames(q, "C 1001 \n");
    expect_answer(r, 200, "text/plain; charset=UTF-8", "6");
    struct peer *late = new_peer();
    request_raw(late, "GET", "/echo", UPGRADE, NULL, 0);
    expect_answer(late, 503, "application/json", "*shutting_down*");
    assert_false(t.drained);
    drop(p);
    drop(q);
    assert_true(t.drained);
}

static void test_drain_nobody(void **state)
{
    (void)state;
    rt_raw_drain(t.raw, 60000, on_drained, NULL);
    assert_false(t.drained);
    end_turn();
    assert_true(t.drained);
}

static void test_drain_spread(void **state)
{
    struct peer *peers[10];
    int closed = 0;
    (void)state;
    for (int i = 0; i < 10; i++)
        peers[i] = new_plain("/echo");
    rt_raw_drain(t.raw, 1000, on_drained, NULL);
    for (int ms = 100; ms <= 1000; ms += 100) {
        pass(100);
        closed = 0;
        for (int i = 0; i < 10; i++)
            closed += peers[i]->conn->out_len > peers[i]->at;
        assert_true(closed >= ms / 100 - 1 && closed <= ms / 100 + 1);
    }
    pass(20);
    for (int i = 0; i < 10; i++)
        expect_frames(peers[i], "C 1001 *\n");
    wire_drop_all();
    assert_true(t.drained);
}

/* A second call hurries the first; the report comes once. */
static void test_drain_twice(void **state)
{
    (void)state;
    struct peer *p = new_plain("/echo"), *q = new_bare_socket("/eio/");
    rt_raw_drain(t.raw, 60000, on_drained, NULL);
    pass(100);
    rt_raw_drain(t.raw, 0, on_drained, NULL);
    expect_frames(p, "C 1001 *\n");
    expect_frames(q, "C 1001 *\n");
    wire_drop_all();
    assert_true(t.drained);
}

/* ---- allocations ---- */

static void play(void)
{
    struct peer *p = new_peer(), *q = new_peer(), *r = new_peer();
    char target[64] = "/eio/?EIO=4&transport=websocket";
    request_raw(p, "GET", "/raw/log:x%20y", UPGRADE, NULL, 0);
    request_raw(q, "GET", target, UPGRADE, NULL, 0);
    request_raw(r, "GET", "/eio/?EIO=4&transport=polling", "", NULL, 0);
    request_raw(r, "GET", "/echo", "", NULL, 0);
    end_turn();
    ws_text(p, "a");
    ws_text(q, "4b");
    fake.congested = true;
    send_frame(q, 0x82, "c", 1);
    fake.congested = false;
    end_turn();
    commit_all();
    rt_broker_relieved(t.broker);
    end_turn();
    ws_text(p, "d");
    if (fake.append_count > 0)
        commit_at(0, RT_EAGAIN, false);
    end_turn();
}

static void test_allocations(void **state)
{
    unsigned long n = 0;
    bool failed = true;
    (void)state;
    while (failed) {
        assert_int_equal(init(), 0);
        rt_alloc_fail_at(++n, 0);
        int status = start();
        if (status == 0)
            play();
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_true(status == 0 || failed);
        tear_down(NULL);
        assert_true(n < 2000);
    }
    assert_true(n > 50);
}

#define raw_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        raw_test(test_echo),
        raw_test(test_echo_at_once),
        raw_test(test_channels),
        raw_test(test_template),
        raw_test(test_paths),
        raw_test(test_one_way),
        raw_test(test_refused_subscribe),
        raw_test(test_refused_publish),
        raw_test(test_origins),
        raw_test(test_answers_of_the_log),
        raw_test(test_gone_while_publishing),
        raw_test(test_slow),
        raw_test(test_close_frame),
        raw_test(test_silence),
        raw_test(test_talkers_are_not_pinged),
        raw_test(test_congestion),
        raw_test(test_congestion_and_silence),
        raw_test(test_gone_while_congested),
        raw_test(test_bare),
        raw_test(test_bare_echo),
        raw_test(test_bare_upgrade),
        raw_test(test_bare_failures),
        raw_test(test_bare_congestion),
        raw_test(test_bare_broken),
        raw_test(test_drain),
        raw_test(test_drain_nobody),
        raw_test(test_drain_spread),
        raw_test(test_drain_twice),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
