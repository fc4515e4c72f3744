/* The Redis link against a real redis-server: messages, subscriptions, every way to lose the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "cluster/redis.h"
#include "cluster/redis_url.h"
#include "redis_server.h"

struct fixture {
    struct redis_server server;
    struct rt_loop *loop;
    struct rt_redis *redis;
    struct rt_metrics metrics;
    struct rt_buf got; /* "channel=payload " */
    unsigned received, ups, downs;
    bool closed;
};

static void on_message(void *arg, struct rt_str channel, struct rt_str payload)
{
    struct fixture *f = arg;
    f->received++;
    rt_buf_add_str(&f->got, channel);
    rt_buf_add_byte(&f->got, '=');
    rt_buf_add_str(&f->got, payload);
    rt_buf_add_byte(&f->got, ' ');
}

static void on_state(void *arg, bool up)
{
    struct fixture *f = arg;
    if (up)
        f->ups++;
    else
        f->downs++;
}

static void on_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

#define until(f, condition)                         \
    do {                                            \
        uint64_t end_ = rt_mono_ms() + 20000;       \
        while (!(condition) && rt_mono_ms() < end_) \
            rt_loop_turn((f)->loop, 20);            \
        assert_true(condition);                     \
    } while (0)

static void open_link(struct fixture *f, const char *url, size_t max_output)
{
    struct rt_redis_options options = {.url = url,
                                       .node = "n1",
                                       .prefix = "t:",
                                       .max_output = max_output,
                                       .metrics = &f->metrics,
                                       .on_message = on_message,
                                       .on_state = on_state,
                                       .arg = f};
    struct rt_err err = {0};
    rt_metrics_init(&f->metrics);
    assert_int_equal(rt_loop_new(&f->loop, &err), 0);
    options.loop = f->loop;
    assert_int_equal(rt_redis_new(&options, &f->redis, &err), 0);
}

static void close_link(struct fixture *f)
{
    rt_redis_close(f->redis, on_closed, f);
    until(f, f->closed);
    rt_redis_free(f->redis);
    rt_loop_free(f->loop);
    rt_buf_deinit(&f->got);
}

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    *state = f;
    if (!redis_server_start(&f->server, NULL))
        fail_msg("redis-server does not start: apt-get install redis-server");
    open_link(f, f->server.url, 0);
    until(f, rt_redis_up(f->redis));
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_link(f);
    redis_server_kill(&f->server);
    redis_server_remove(&f->server);
    test_free(f);
    return 0;
}

static unsigned metric(struct fixture *f, const char *name)
{
    struct rt_buf text;
    char line[80];
    rt_buf_init(&text);
    rt_metrics_write(&f->metrics, &text);
    (void)snprintf(line, sizeof(line), "\nrtbroker_%s ", name);
    const char *found = strstr(rt_buf_cstr(&text), line);
    assert_non_null(found);
    unsigned value = (unsigned)strtoul(found + strlen(line), NULL, 10);
    rt_buf_deinit(&text);
    return value;
}

static void expect(struct fixture *f, const char *text)
{
    assert_string_equal(rt_buf_cstr(&f->got), text);
    rt_buf_clear(&f->got);
}

static void publish(struct fixture *f, const char *channel, const char *text)
{
    assert_int_equal(rt_redis_publish(f->redis, rt_str_c(channel), rt_str_c(text)), 0);
}

static void subscribe(struct fixture *f, const char *channel)
{
    assert_int_equal(rt_redis_subscribe(f->redis, rt_str_c(channel)), 0);
}

/* Publishes on a channel until it comes back: its subscription stands, and all that were made before. */
static void settle(struct fixture *f)
{
    unsigned before;
    subscribe(f, "settle");
    do {
        before = f->received;
        publish(f, "settle", "");
        uint64_t end = rt_mono_ms() + 500;
        while (f->received == before && rt_mono_ms() < end)
            rt_loop_turn(f->loop, 10);
    } while (f->received == before);
    rt_redis_unsubscribe(f->redis, RT_STR("settle"));
    rt_buf_clear(&f->got);
    f->received = 0;
}

static void messages_come_in_order(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "a");
    subscribe(f, "b");
    settle(f);
    publish(f, "a", "1");
    publish(f, "b", "2");
    publish(f, "c", "nobody");
    publish(f, "a", "3");
    until(f, f->received >= 3);
    expect(f, "a=1 b=2 a=3 ");
}

static void binary_payloads_are_whole(void **state)
{
    struct fixture *f = *state;
    static const char bytes[] = "\0\r\n$5\r\n\xff";
    struct rt_str payload = {bytes, sizeof(bytes)};
    subscribe(f, "a");
    settle(f);
    assert_int_equal(rt_redis_publish(f->redis, RT_STR("a"), payload), 0);
    until(f, f->received >= 1);
    assert_int_equal(f->got.len, 2 + sizeof(bytes) + 1);
    assert_memory_equal(f->got.data + 2, bytes, sizeof(bytes));
}

static void the_last_wish_about_a_channel_counts(void **state)
{
    struct fixture *f = *state;
    /* Faster than Redis answers: each wish is remembered, one command is in flight. */
    for (int i = 0; i < 25; i++) {
        subscribe(f, "on");
        rt_redis_unsubscribe(f->redis, RT_STR("on"));
        subscribe(f, "on");
        subscribe(f, "off");
        rt_redis_unsubscribe(f->redis, RT_STR("off"));
        rt_redis_unsubscribe(f->redis, RT_STR("never"));
    }
    settle(f);
    publish(f, "off", "x");
    publish(f, "on", "y");
    until(f, f->received >= 1);
    settle(f);
    publish(f, "on", "z");
    until(f, f->received >= 1);
    expect(f, "on=z ");
}

static void a_killed_server_is_found_again(void **state)
{
    struct fixture *f = *state;
    char name[16];
    for (int i = 0; i < 1000; i++) { /* more than one batch */
        (void)snprintf(name, sizeof(name), "c%d", i);
        subscribe(f, name);
    }
    settle(f);
    redis_server_kill(&f->server);
    until(f, f->downs == 1);
    assert_false(rt_redis_up(f->redis));
    assert_int_equal(rt_redis_publish(f->redis, RT_STR("c0"), RT_STR("lost")), RT_EAGAIN);
    assert_true(rt_redis_error(f->redis)[0] != '\0');
    assert_true(redis_server_start(&f->server, NULL));
    until(f, f->ups == 2);
    /* Up means that every subscription stands again. */
    f->received = 0;
    rt_buf_clear(&f->got);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "c%d", i);
        publish(f, name, "m");
    }
    until(f, f->received >= 1000);
    assert_int_equal(f->received, 1000);
}

static void a_frozen_server_is_noticed(void **state)
{
    struct fixture *f = *state;
    redis_server_signal(&f->server, SIGSTOP); /* TCP stays green */
    uint64_t begin = rt_mono_ms();
    until(f, f->downs == 1);
    assert_true(rt_mono_ms() - begin < 15000);
    redis_server_signal(&f->server, SIGCONT);
    until(f, f->ups == 2);
    subscribe(f, "a");
    settle(f);
    publish(f, "a", "1");
    until(f, f->received >= 1);
    expect(f, "a=1 ");
}

/* From a heartbeat on that came back: how long until the silence is noticed. */
static uint64_t time_to_notice(struct fixture *f)
{
    unsigned beats = metric(f, "redis_heartbeat_seconds_count"), downs = f->downs;
    until(f, metric(f, "redis_heartbeat_seconds_count") > beats);
    redis_server_signal(&f->server, SIGSTOP);
    uint64_t begin = rt_mono_ms();
    until(f, f->downs > downs);
    uint64_t took = rt_mono_ms() - begin;
    redis_server_signal(&f->server, SIGCONT);
    until(f, rt_redis_up(f->redis));
    return took;
}

/* A busy machine may be late, but not each time. */
static void silence_is_noticed_after_three_seconds(void **state)
{
    struct fixture *f = *state;
    uint64_t took = time_to_notice(f);
    for (int i = 0; took > 3300 && i < 4; i++)
        took = time_to_notice(f);
    assert_in_range(took, 2500, 3300);
}

static void what_got_no_answer_is_counted(void **state)
{
    struct fixture *f = *state;
    publish(f, "a", "answered");
    settle(f);
    redis_server_signal(&f->server, SIGSTOP);
    for (int i = 0; i < 5; i++)
        publish(f, "a", "perhaps");
    assert_int_equal(metric(f, "redis_unanswered_total"), 0);
    until(f, f->downs == 1);
    assert_int_equal(metric(f, "redis_unanswered_total"), 5);
    assert_int_equal(rt_redis_publish(f->redis, RT_STR("a"), RT_STR("no")), RT_EAGAIN);
    assert_int_equal(metric(f, "redis_dropped_total"), 1);
    redis_server_signal(&f->server, SIGCONT);
    until(f, f->ups == 2);
    assert_int_equal(metric(f, "redis_unanswered_total"), 5);
}

static void output_is_bounded(void **state)
{
    struct fixture *f = *state;
    static char big[100000];
    struct rt_str payload = {big, sizeof(big)};
    int r = 0;
    unsigned sent = 0;
    redis_server_signal(&f->server, SIGSTOP);
    while (r == 0 && sent < 1000) {
        r = rt_redis_publish(f->redis, RT_STR("a"), payload);
        sent += r == 0;
    }
    assert_int_equal(r, RT_EAGAIN);
    assert_true(sent > 100 && sent < 200); /* 16 MiB */
    redis_server_signal(&f->server, SIGCONT);
    until(f, rt_redis_publish(f->redis, RT_STR("a"), RT_STR("x")) == 0);
}

static void password_and_database(void **state)
{
    (void)state;
    struct fixture f = {.received = 0};
    char url[256];
    if (!redis_server_start(&f.server, "p@ss/w%"))
        fail_msg("redis-server does not start");
    (void)f;
    /* UNIX URLs have no place for a password: over TCP it is tested by the cluster's tests. Here it must fail, and say why. */
    (void)snprintf(url, sizeof(url), "%s", f.server.url);
    open_link(&f, url, 0);
    until(&f, rt_redis_error(f.redis)[0] != '\0');
    assert_non_null(strstr(rt_redis_error(f.redis), "NOAUTH"));
    assert_false(rt_redis_up(f.redis));
    close_link(&f);
    redis_server_kill(&f.server);
    redis_server_remove(&f.server);
}

static void nobody_there(void **state)
{
    (void)state;
    struct fixture f = {.received = 0};
    open_link(&f, "unix:///nonexistent/socket", 0);
    until(&f, rt_redis_error(f.redis)[0] != '\0');
    close_link(&f);
    f = (struct fixture){.received = 0};
    open_link(&f, "redis://127.0.0.1:1", 0);
    until(&f, rt_redis_error(f.redis)[0] != '\0');
    close_link(&f);
    f = (struct fixture){.received = 0};
    open_link(&f, "redis://no-such-host.invalid", 0);
    until(&f, rt_redis_error(f.redis)[0] != '\0');
    assert_non_null(strstr(rt_redis_error(f.redis), "no-such-host.invalid"));
    close_link(&f);
}

static void urls(void **state)
{
    (void)state;
    struct rt_redis_url u;
    struct rt_err err = {0};
    assert_int_equal(rt_redis_url_parse(RT_STR("redis://"), &u, &err), 0);
    assert_string_equal(u.host, "127.0.0.1");
    assert_int_equal(u.port, 6379);
    assert_int_equal(rt_redis_url_parse(RT_STR("redis://:p%40s/s@h.example:7000/3"), &u, &err), 0);
    assert_string_equal(u.host, "h.example");
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "p@s/s");
    assert_int_equal(u.port, 7000);
    assert_int_equal(u.db, 3);
    assert_int_equal(rt_redis_url_parse(RT_STR("rediss://me:x@[::1]:1"), &u, &err), 0);
    assert_true(u.tls);
    assert_string_equal(u.host, "::1");
    assert_string_equal(u.user, "me");
    assert_int_equal(rt_redis_url_parse(RT_STR("unix:///run/r.sock?db=2"), &u, &err), 0);
    assert_string_equal(u.path, "/run/r.sock");
    assert_int_equal(u.db, 2);
    static const char *const wrong[] = {"",
                                        "http://x",
                                        "redis+sentinel://x",
                                        "redis://h:0",
                                        "redis://h:70000",
                                        "redis://h/x",
                                        "unix://relative",
                                        "unix:///p?x=1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        err.text[0] = '\0';
        assert_int_equal(rt_redis_url_parse(rt_str_c(wrong[i]), &u, &err), RT_EINVAL);
        assert_true(err.text[0] != '\0');
    }
}

struct answer {
    struct rt_redis_reply reply;
    char text[32];
    unsigned count;
};

static void on_answer(void *arg, const struct rt_redis_reply *reply)
{
    struct answer *a = arg;
    a->count++;
    a->reply = *reply;
    a->text[0] = '\0';
    for (size_t i = 0, len = 0; i < reply->count; i++) {
        struct rt_str item = reply->items[i].ptr ? reply->items[i] : RT_STR("-");
        len += (size_t)snprintf(a->text + len, sizeof(a->text) - len, "%.*s ", RT_STR_ARG(item));
        assert_true(len < sizeof(a->text));
    }
}

static int eval(struct fixture *f, const char *script, struct rt_str value, struct answer *a)
{
    struct rt_redis_eval e = {.script = script,
                              .key = RT_STR("k"),
                              .args = &value,
                              .arg_count = 1,
                              .done = on_answer,
                              .arg = a};
    return rt_redis_eval(f->redis, &e, NULL);
}

static void scripts_are_answered_in_order(void **state)
{
    static const char *const scripts[] = {"return redis.call('SET',KEYS[1],ARGV[1])",
                                          "return redis.call('GET',KEYS[1])",
                                          "return redis.call('GET',KEYS[1]..'x')",
                                          "return {KEYS[1],false,ARGV[1]}",
                                          "return 7",
                                          "this is no Lua"};
    static const char *const texts[] = {"- ", "v ", "- ", "t:k - v ", "", ""};
    struct fixture *f = *state;
    struct answer a[6] = {0};
    for (int i = 0; i < 6; i++)
        assert_int_equal(eval(f, scripts[i], RT_STR("v"), &a[i]), 0);
    assert_int_equal(a[0].count, 0);
    until(f, a[5].count == 1);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(a[i].count, 1);
        assert_string_equal(a[i].text, texts[i]);
        assert_int_equal(a[i].reply.status, i == 5 ? RT_EIO : 0);
    }
    assert_int_equal(a[4].reply.number, 7);
}

/* Whatever happens to the server: one answer for each, or none was promised. */
static void scripts_without_an_answer(void **state)
{
    struct fixture *f = *state;
    static struct answer a[2], forgotten; /* the last is answered when the test is over */
    struct rt_redis_call *call = NULL;
    struct rt_redis_eval e = {
        .script = "return 1", .key = RT_STR("k"), .done = on_answer, .arg = &forgotten};
    redis_server_signal(&f->server, SIGSTOP);
    assert_int_equal(eval(f, "return 1", RT_STR("v"), &a[0]), 0);
    assert_int_equal(eval(f, "return 1", RT_STR("v"), &a[1]), 0);
    assert_int_equal(rt_redis_eval(f->redis, &e, &call), 0);
    rt_redis_forget(call);
    until(f, a[1].count == 1); /* no heartbeat comes back */
    assert_int_equal(a[0].count, 1);
    assert_int_equal(a[0].reply.status, RT_EUNKNOWN);
    assert_int_equal(a[1].reply.status, RT_EUNKNOWN);
    assert_int_equal(eval(f, "return 1", RT_STR("v"), &a[0]), RT_EAGAIN);
    redis_server_signal(&f->server, SIGCONT);
    until(f, rt_redis_up(f->redis));
    assert_int_equal(eval(f, "return 1", RT_STR("v"), &a[0]), 0);
    until(f, a[0].count == 2);
    assert_int_equal(a[0].reply.number, 1);
    assert_int_equal(forgotten.count, 0);
    /* The link is closed before the answer. */
    assert_int_equal(eval(f, "return 1", RT_STR("v"), &a[1]), 0);
}

static void scripts_are_bounded(void **state)
{
    struct fixture *f = *state;
    static struct answer a;
    static char big[1 << 20];
    unsigned accepted = 0;
    a = (struct answer){0};
    redis_server_signal(&f->server, SIGSTOP);
    while (eval(f, "return 1", rt_str_of(big, sizeof(big)), &a) == 0)
        assert_true(++accepted < 17);
    assert_int_equal(accepted, 15);
    redis_server_signal(&f->server, SIGCONT);
    until(f, a.count == accepted);
}

int main(void)
{
    /* hiredis writes with write(2): the program ignores SIGPIPE, as main.c does. */
    (void)signal(SIGPIPE, SIG_IGN);
#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(messages_come_in_order),
        with_server(binary_payloads_are_whole),
        with_server(the_last_wish_about_a_channel_counts),
        with_server(a_killed_server_is_found_again),
        with_server(a_frozen_server_is_noticed),
        with_server(silence_is_noticed_after_three_seconds),
        with_server(what_got_no_answer_is_counted),
        with_server(output_is_bounded),
        with_server(scripts_are_answered_in_order),
        with_server(scripts_without_an_answer),
        with_server(scripts_are_bounded),
        cmocka_unit_test(password_and_database),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
