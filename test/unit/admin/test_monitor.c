/* Health, readiness, metrics as Prometheus reads them, and the pages of --dev. */
#include "unit/admin/admin_rig.h"

#include <ctype.h>
#include <time.h>

/* ---- health ---- */

static void test_health(void **state)
{
    (void)state;
    start_with(CHANNELS);
    struct peer *p = new_peer();
    t.stopping = true; /* a supervisor must not restart what is stopping */
    request_raw(p, "GET", "/healthz", "", NULL, 0);
    expect_answer(p, 200, "text/plain; charset=utf-8", "ok\n");
    assert_non_null(strstr(answer_head, "Cache-Control: no-store\r\n"));
}

static const char *sick_text;

static bool sick(const struct rt_journal *j, const char **ret_text)
{
    (void)j;
    *ret_text = sick_text;
    return false;
}

/* What /readyz says of a backend since `since`. */
static uint64_t backend_since(struct peer *p, const char *name)
{
    const char *body;
    size_t len;
    char text[2000], key[40];
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    end_turn();
    assert_true(take_answer(p, &body, &len) > 0 && len < sizeof(text));
    memcpy(text, body, len);
    text[len] = '\0';
    snprintf(key, sizeof(key), "\"%s\":{", name);
    const char *from = strstr(text, key);
    assert_non_null(from);
    from = strstr(from, "\"since\":\"");
    assert_non_null(from);
    int y, mo, d, h, mi, s, ms;
    assert_int_equal(sscanf(from + 9, "%d-%d-%dT%d:%d:%d.%dZ\"", &y, &mo, &d, &h, &mi, &s, &ms), 7);
    struct tm tm = {.tm_year = y - 1900,
                    .tm_mon = mo - 1,
                    .tm_mday = d,
                    .tm_hour = h,
                    .tm_min = mi,
                    .tm_sec = s};
    return (uint64_t)timegm(&tm) * 1000 + (uint64_t)ms;
}

static void test_ready(void **state)
{
    (void)state;
    start_with(CHANNELS);
    struct peer *p = new_peer();
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    expect_json(p, 200,
                "{\"ready\":true,\"serving\":true,\"backends\":{\"log\":{\"kind\":\"fake\","
                "\"required\":true,\"up\":true,\"since\":\"*Z\",\"last_error\":\"\"},"
                "\"redis\":{\"kind\":\"redis\",\"required\":false,\"up\":true,*},"
                "\"history\":{\"kind\":\"postgres\",\"required\":true,\"up\":true,*}}}\n");
    struct rt_journal_ops ops = FAKE_OPS;
    ops.healthy = sick;
    sick_text = "disk \"full\"";
    fake.base.ops = &ops;
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    expect_json(p, 503,
                "{\"ready\":false,\"serving\":true,*\"up\":false,\"since\":*,\"last_error\":\"disk "
                "\\\"full\\\"\"},*");
    fake.base.ops = &FAKE_OPS;
    t.stopping = true;
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    expect_json(p, 503, "{\"ready\":false,\"serving\":false,*\"up\":true*");
}

/* What is not required does not make a node unready; when a state began is seen without anybody asking. */
static void test_backends(void **state)
{
    (void)state;
    start_with(CHANNELS);
    struct peer *p = new_peer();
    uint64_t first = backend_since(p, "redis");
    uint64_t until = rt_wall_ms() + 2;
    while (rt_wall_ms() < until) /* the next state begins in another millisecond */
        ;
    t.redis = (struct fake_backend){.text = "no heartbeat"};
    pass(1100);
    uint64_t seen = rt_wall_ms();
    assert_true(backend_since(p, "redis") > first && backend_since(p, "redis") <= seen);
    assert_int_equal(backend_since(p, "history"), first);
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    expect_json(p, 200, "{\"ready\":true,*\"redis\":*\"up\":false,*\"no heartbeat\"*");
    t.redis = (struct fake_backend){.up = true, .text = ""};
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    expect_json(p, 200, "*\"redis\":{*\"up\":true,\"since\":\"*Z\",\"last_error\":\"\"},*");
    t.postgres.up = false;
    request_raw(p, "GET", "/readyz", "", NULL, 0);
    expect_json(p, 503, "{\"ready\":false,\"serving\":true,*");
}

/* ---- metrics ---- */

/* A word of [a-zA-Z_:][a-zA-Z0-9_:]*; its length. */
static size_t name_length(struct rt_str s)
{
    size_t n = 0;
    while (n < s.len && (isalnum((unsigned char)s.ptr[n]) || s.ptr[n] == '_' || s.ptr[n] == ':'))
        n++;
    return n > 0 && !isdigit((unsigned char)s.ptr[0]) ? n : 0;
}

/* What follows a set of labels; fails on a malformed one. */
static struct rt_str skip_labels(struct rt_str s)
{
    assert_true(s.ptr[0] == '{');
    do {
        s = rt_str_of(s.ptr + 1, s.len - 1);
        size_t n = name_length(s);
        assert_true(n > 0 && s.len > n + 2 && s.ptr[n] == '=' && s.ptr[n + 1] == '"');
        s = rt_str_of(s.ptr + n + 2, s.len - n - 2);
        while (s.len > 0 && s.ptr[0] != '"') {
            size_t step = s.ptr[0] == '\\' ? 2 : 1;
            assert_true(s.len > step);
            s = rt_str_of(s.ptr + step, s.len - step);
        }
        s = rt_str_of(s.ptr + 1, s.len - 1);
    } while (s.len > 0 && s.ptr[0] == ',');
    assert_true(s.len > 0 && s.ptr[0] == '}');
    return rt_str_of(s.ptr + 1, s.len - 1);
}

struct family {
    struct rt_str name, type;
    int samples;
};

/* A sample's name is that of its family, for histograms with one of three suffixes. */
static void check_sample(struct rt_str line, struct family *f)
{
    size_t n = name_length(line);
    assert_true(n > 0);
    struct rt_str name = rt_str_of(line.ptr, n), rest = rt_str_of(line.ptr + n, line.len - n);
    assert_true(rt_str_starts(name, f->name));
    struct rt_str suffix = rt_str_of(name.ptr + f->name.len, name.len - f->name.len);
    if (rt_str_eq(f->type, RT_STR("histogram")))
        assert_true(rt_str_eq(suffix, RT_STR("_bucket")) || rt_str_eq(suffix, RT_STR("_sum")) ||
                    rt_str_eq(suffix, RT_STR("_count")));
    else
        assert_int_equal(suffix.len, 0);
    if (rest.ptr[0] == '{')
        rest = skip_labels(rest);
    assert_true(rest.len > 1 && rest.ptr[0] == ' ');
    char number[64], *end;
    snprintf(number, sizeof(number), "%.*s", (int)rest.len - 1, rest.ptr + 1);
    (void)strtod(number, &end);
    assert_true(*end == '\0' && end != number);
    f->samples++;
}

static void begin_family(struct rt_str line, struct family *f, struct rt_str *names, size_t *count)
{
    struct rt_str rest = rt_str_of(line.ptr + 7, line.len - 7);
    struct rt_str name = rt_str_split(rest, ' ', &rest);
    if (rt_str_starts(line, RT_STR("# HELP "))) {
        assert_true(rest.len > 3);
        for (size_t i = 0; i < *count; i++)
            assert_false(rt_str_eq(names[i], name)); /* each family once */
        names[(*count)++] = name;
        assert_true(f->name.ptr == NULL || f->samples > 0);
        *f = (struct family){.name = name};
        return;
    }
    assert_true(rt_str_starts(line, RT_STR("# TYPE ")));
    assert_true(rt_str_eq(name, f->name));
    f->type = rest;
    bool total = name.len > 6 && memcmp(name.ptr + name.len - 6, "_total", 6) == 0;
    assert_int_equal(rt_str_eq(rest, RT_STR("counter")), total);
    assert_true(rt_str_starts(name, RT_STR("rtbroker_")));
}

/* The checks of `promtool check metrics` that text alone can fail. */
static void check_exposition(struct rt_str text)
{
    static struct rt_str names[200];
    size_t count = 0;
    struct family f = {.samples = 0};
    assert_true(text.len > 0 && text.ptr[text.len - 1] == '\n');
    while (text.len > 0) {
        struct rt_str line = rt_str_split(text, '\n', &text);
        assert_true(count < 199);
        if (rt_str_starts(line, RT_STR("#")))
            begin_family(line, &f, names, &count);
        else
            check_sample(line, &f);
    }
    assert_true(count > 15);
}

static void test_metrics(void **state)
{
    (void)state;
    start_with(CHANNELS ONE_KEY);
    struct peer *p = new_peer();
    call(p, "/api/info", "{}");
    expect_json(p, 200, "*");
    call(p, "/api/nothing", "{}");
    expect_json(p, 404, "*");
    request_raw(p, "GET", "/metrics", "", NULL, 0);
    end_turn();
    const char *body;
    size_t len;
    assert_int_equal(take_answer(p, &body, &len), 200);
    assert_non_null(
        strstr(answer_head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    check_exposition(rt_str_of(body, len));
    static const char *const lines[] = {
        "\nrtbroker_api_requests_total{result=\"ok\"} 1\n",
        "\nrtbroker_api_requests_total{result=\"refused\"} 1\n",
        "\nrtbroker_build_info{version=\"",
        "\nrtbroker_publishes_total{result=\"unknown\"} 0\n",
    };
    for (size_t i = 0; i < 4; i++)
        assert_non_null(memmem(body, len, lines[i], strlen(lines[i])));
}

static double value_of(const char *name)
{
    for (const struct rt_metric *m = w.metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0)
            return m->read ? m->read(m->arg) : (double)m->value;
    fail_msg("no metric %s", name);
    return 0;
}

static void test_process(void **state)
{
    (void)state;
    start_with(CHANNELS);
    assert_true(value_of("process_resident_memory_bytes") > 1e6);
    assert_true(value_of("process_cpu_seconds_total") > 0);
    assert_true(value_of("process_open_fds") == 42); /* asked, not listed */
    assert_true(value_of("process_max_fds") >= 42);
    assert_true(value_of("process_start_time_seconds") > 1.7e9);
}

/* Without an address of their own they are for this machine. */
static void test_strangers(void **state)
{
    static const char *const rows[][3] = {
        {"127.0.0.1", "", "trusted"},
        {"::1", "", "trusted"},
        {"unix:", "", "trusted"},
        {"192.0.2.1", "", ""},
        {"10.0.0.1", "", ""},
        {"127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", ""},
        {"unix:", "Via: 1.1 proxy\r\n", ""},
        {"127.0.0.1", "Forwarded: for=192.0.2.1\r\n", ""},
        {"127.0.0.1", "X-Real-IP: 127.0.0.1\r\n", ""},
    };
    (void)state;
    start_with(CHANNELS);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *p = new_peer_from(rows[i][0]);
        bool trusted = rows[i][2][0] != '\0';
        request_raw(p, "GET", "/metrics", rows[i][1], NULL, 0);
        if (trusted)
            expect_answer(p, 200, "text/plain; version=0.0.4; charset=utf-8", "*rtbroker_*");
        else
            expect_answer(p, 403, "application/json", "*\"internal\"*http.internal*");
        request_raw(p, "GET", "/readyz", rows[i][1], NULL, 0);
        expect_json(p, 200, trusted ? "*last_error*" : "{\"ready\":true}\n");
        request_raw(p, "GET", "/healthz", rows[i][1], NULL, 0);
        expect_answer(p, 200, "text/plain; charset=utf-8", "ok\n");
    }
}

static void test_metrics_off(void **state)
{
    (void)state;
    start_with(CHANNELS "metrics: {enabled: false}\n");
    struct peer *p = new_peer();
    request_raw(p, "GET", "/metrics", "", NULL, 0);
    expect_json(p, 404, "*");
}

/* ---- pages ---- */

static void test_pages(void **state)
{
    (void)state;
    start_with(NULL);
    struct peer *p = new_peer();
    request_raw(p, "GET", "/", "", NULL, 0);
    expect_answer(p, 200, "text/html; charset=utf-8", "<!*");
    assert_non_null(strstr(answer_head, "Content-Security-Policy: default-src 'none';"));
    assert_non_null(strstr(answer_head, "X-Content-Type-Options: nosniff\r\n"));
    char etag[64] = "";
    const char *from = strstr(answer_head, "ETag: ");
    assert_non_null(from);
    snprintf(etag, sizeof(etag), "If-None-Match: %.*s\r\n", (int)strcspn(from + 6, "\r"), from + 6);
    request_raw(p, "GET", "/", etag, NULL, 0);
    expect_answer(p, 304, "", "");
    request_raw(p, "GET", "/index.html", "If-None-Match: \"old\"\r\n", NULL, 0);
    expect_answer(p, 200, "text/html; charset=utf-8", "<!*");
    request_raw(p, "HEAD", "/style.css", "", NULL, 0);
    end_turn();
    assert_non_null(memmem(p->conn->out + p->at, p->conn->out_len - p->at, "HTTP/1.1 200", 12));
    p->at = p->conn->out_len;
    static const char *const missing[] = {"/nothing", "/../demo/index.html", "/demo/index.html",
                                          "//", "/index.html/"};
    for (size_t i = 0; i < 5; i++) {
        request_raw(p, "GET", missing[i], "", NULL, 0);
        expect_json(p, 404, "*not_found*");
    }
    request_raw(p, "POST", "/", "", NULL, 0);
    expect_json(p, 405, "*");
}

static void test_no_pages(void **state)
{
    (void)state;
    start_with(CHANNELS);
    struct peer *p = new_peer();
    request_raw(p, "GET", "/", "", NULL, 0);
    expect_json(p, 404, "*");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rig_test(test_health),      rig_test(test_ready),   rig_test(test_backends),
        rig_test(test_strangers),   rig_test(test_metrics), rig_test(test_process),
        rig_test(test_metrics_off), rig_test(test_pages),   rig_test(test_no_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
