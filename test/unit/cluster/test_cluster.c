/* Nodes and clusters on one real redis-server, in one thread with a loop for each, and somebody who listens there and repeats or makes up what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cluster/cluster.h"
#include "cluster/envelope.h"
#include "redis_server.h"

#define NODES 3

struct node {
    struct rt_loop *loop;
    struct rt_cluster *cluster; /* NULL: it is not there */
    struct rt_metrics metrics;
    struct rt_buf got; /* "channel=data ", "early N " */
    unsigned taken;    /* how often it heard that its name is another's */
    bool closed;
};

/* What an eavesdropper has heard. */
struct heard {
    char channel[64];
    struct rt_bytes *payload;
};

static struct {
    struct redis_server server;
    struct rt_loop *loop; /* the stranger's */
    struct node nodes[NODES];
    struct rt_redis *stranger;
    struct heard heard[400];
    size_t heard_count;
    bool stranger_closed;
} t;

static void turn(void)
{
    rt_loop_turn(t.loop, 1);
    for (int i = 0; i < NODES; i++)
        if (t.nodes[i].cluster)
            rt_loop_turn(t.nodes[i].loop, 1);
}

#define until(condition)                            \
    do {                                            \
        uint64_t end_ = rt_mono_ms() + 20000;       \
        while (!(condition) && rt_mono_ms() < end_) \
            turn();                                 \
        assert_true(condition);                     \
    } while (0)

/* ---- nodes ---- */

static void early(void *arg, const struct rt_record *record, struct rt_str epoch)
{
    struct node *n = arg;
    (void)epoch;
    rt_buf_printf(&n->got, "early %llu ", (unsigned long long)record->offset);
    rt_stored_unref(record->message);
}

static void deliver(void *arg, struct rt_str channel, struct rt_message *message)
{
    struct node *n = arg;
    rt_buf_add_str(&n->got, channel);
    rt_buf_add_byte(&n->got, '=');
    rt_buf_add_str(&n->got, message->data);
    rt_buf_add_byte(&n->got, ' ');
}

static void name_taken(void *arg, const char *text)
{
    assert_non_null(strstr(text, "node.name"));
    ((struct node *)arg)->taken++;
}

static void describe(void *arg, struct rt_buf *out)
{
    (void)arg;
    rt_buf_add_c(out, "\"n\":1");
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static void open_node(struct node *n, struct rt_cluster_options options)
{
    struct rt_err err = {0};
    *n = (struct node){.taken = 0};
    assert_int_equal(rt_loop_new(&n->loop, &err), 0);
    options.loop = n->loop;
    options.metrics = &n->metrics;
    options.redis_url = t.server.url;
    options.prefix = "t:";
    options.name = options.name ? options.name : "rtbroker";
    options.secret = options.secret ? options.secret : "";
    options.second_secret = options.second_secret ? options.second_secret : "";
    options.topic = "log";
    options.partitions = 2;
    options.early = early;
    options.deliver = deliver;
    options.name_taken = name_taken;
    options.describe = describe;
    options.arg = n;
    rt_metrics_init(&n->metrics);
    assert_int_equal(rt_cluster_new(&options, &n->cluster, &err), 0);
}

static void until_settled(const struct node *n)
{
    until(rt_cluster_settled(n->cluster));
}

/* As a process that is killed: it says no goodbye. */
static void kill_node(struct node *n)
{
    rt_cluster_free(n->cluster);
    rt_loop_free(n->loop);
    n->cluster = NULL;
    rt_buf_deinit(&n->got);
}

static unsigned metric(struct node *n, const char *name)
{
    struct rt_buf text = RT_BUF_INIT;
    char line[100];
    rt_metrics_write(&n->metrics, &text);
    (void)snprintf(line, sizeof(line), "\nrtbroker_%s ", name);
    const char *found = strstr(rt_buf_cstr(&text), line);
    assert_non_null(found);
    unsigned value = (unsigned)strtoul(found + strlen(line), NULL, 10);
    rt_buf_deinit(&text);
    return value;
}

static unsigned rejected(struct node *n, const char *reason)
{
    char name[80];
    (void)snprintf(name, sizeof(name), "cluster_rejected_total{reason=\"%s\"}", reason);
    return metric(n, name);
}

static void publish(struct node *n, const char *channel, const char *data)
{
    struct rt_message m = {.data = rt_str_c(data), .kind = RT_KIND_TEXT};
    assert_int_equal(rt_cluster_publish(n->cluster, rt_str_c(channel), &m), 0);
}

/* A subscription stands when something that is published on it comes back from another node. */
static void listen_to(struct node *n, struct node *from, const char *channel)
{
    rt_cluster_occupied(n->cluster, rt_str_c(channel), true);
    uint64_t end = rt_mono_ms() + 20000;
    while (n->got.len == 0 && rt_mono_ms() < end) {
        publish(from, channel, "");
        for (int i = 0; i < 10 && n->got.len == 0; i++)
            turn();
    }
    assert_true(n->got.len > 0);
    publish(from, channel, "end");
    until(n->got.len >= 4 && memcmp(n->got.data + n->got.len - 4, "end ", 4) == 0);
    rt_buf_clear(&n->got);
}

static void expect(struct node *n, const char *text)
{
    assert_string_equal(rt_buf_cstr(&n->got), text);
    rt_buf_clear(&n->got);
}

/* ---- the stranger ---- */

static void overhear(void *arg, struct rt_str channel, struct rt_str payload)
{
    (void)arg;
    struct heard *h = &t.heard[t.heard_count];
    assert_true(t.heard_count++ < sizeof(t.heard) / sizeof(t.heard[0]));
    (void)snprintf(h->channel, sizeof(h->channel), "%.*s", RT_STR_ARG(channel));
    h->payload = rt_bytes_copy(payload.ptr, payload.len);
    assert_non_null(h->payload);
}

static void say(const char *channel, struct rt_str payload)
{
    assert_int_equal(rt_redis_publish(t.stranger, rt_str_c(channel), payload), 0);
}

static bool has_heard(const char *text)
{
    for (size_t i = 0; i < t.heard_count; i++) {
        struct rt_str s = rt_bytes_str(t.heard[i].payload);
        if (memmem(s.ptr, s.len, text, strlen(text)))
            return true;
    }
    return false;
}

static struct rt_str last_with(const char *text)
{
    for (size_t i = t.heard_count; i-- > 0;) {
        struct rt_str s = rt_bytes_str(t.heard[i].payload);
        if (memmem(s.ptr, s.len, text, strlen(text)))
            return s;
    }
    fail_msg("nothing with %s was heard", text);
    return RT_STR_NONE;
}

static int set_up(void **state)
{
    (void)state;
    struct rt_err err = {0};
    struct rt_redis_options options = {.node = "stranger", .prefix = "t:", .on_message = overhear};
    memset(&t, 0, sizeof(t));
    if (!redis_server_start(&t.server, NULL))
        fail_msg("redis-server does not start: apt-get install redis-server");
    assert_int_equal(rt_loop_new(&t.loop, &err), 0);
    options.loop = t.loop;
    options.url = t.server.url;
    assert_int_equal(rt_redis_new(&options, &t.stranger, &err), 0);
    until(rt_redis_up(t.stranger));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        struct node *n = &t.nodes[i];
        if (!n->cluster)
            continue;
        rt_cluster_close(n->cluster, on_closed, &n->closed);
        until(n->closed);
        kill_node(n);
    }
    rt_redis_close(t.stranger, on_closed, &t.stranger_closed);
    until(t.stranger_closed);
    rt_redis_free(t.stranger);
    for (size_t i = 0; i < t.heard_count; i++)
        rt_bytes_unref(t.heard[i].payload);
    rt_loop_free(t.loop);
    redis_server_kill(&t.server);
    redis_server_remove(&t.server);
    return 0;
}

/* Two nodes of one cluster that know each other; b listens to channel x, and the stranger to all that there is. */
static void open_two(const char *secret)
{
    static const char *const channels[] = {"nodes", "n:", "c:x", "p:log:0"};
    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "rtbroker:%s", channels[i]);
        assert_int_equal(rt_redis_subscribe(t.stranger, rt_str_c(name)), 0);
    }
    open_node(&t.nodes[0], (struct rt_cluster_options){.node = "a", .secret = secret});
    open_node(&t.nodes[1], (struct rt_cluster_options){.node = "b", .secret = secret});
    until_settled(&t.nodes[0]);
    until_settled(&t.nodes[1]);
    until(metric(&t.nodes[0], "cluster_nodes") == 2 && metric(&t.nodes[1], "cluster_nodes") == 2);
    listen_to(&t.nodes[1], &t.nodes[0], "x");
}

/* ---- tests ---- */

static void clusters_with_other_names_are_apart(void **state)
{
    (void)state;
    struct node *a = &t.nodes[0], *b = &t.nodes[1], *other = &t.nodes[2];
    open_two(NULL);
    open_node(other, (struct rt_cluster_options){.node = "a", .name = "staging"});
    until_settled(other);
    rt_cluster_occupied(other->cluster, RT_STR("x"), true);
    publish(other, "x", "from staging");
    publish(a, "x", "from a");
    until(b->got.len > 0);
    expect(b, "x=from a ");
    publish(a, "x", "again");
    until(b->got.len > 0);
    assert_int_equal(other->got.len, 0);
    assert_int_equal(metric(other, "cluster_nodes"), 1);
    assert_int_equal(metric(b, "cluster_nodes"), 2);
    assert_int_equal(other->taken + a->taken, 0); /* names are told apart too */
}

/* What is not ours is counted by what is wrong with it, with a secret and without. */
static void strangers_are_counted(void **state)
{
    (void)state;
    struct node *a = &t.nodes[0], *b = &t.nodes[1];
    struct rt_parcel_keys none = {.mac = NULL};
    struct rt_parcel p = {.purpose = RT_FOR_RELAY,
                          .instance = 7,
                          .cluster = RT_STR("staging"),
                          .node = RT_STR("s"),
                          .channel = RT_STR("x"),
                          .message = {.data = RT_STR("forged"), .kind = RT_KIND_TEXT}};
    struct rt_buf bytes = RT_BUF_INIT;
    open_two(NULL);
    say("rtbroker:c:x", RT_STR("hello"));
    rt_parcel_encode(&bytes, &none, RT_STR("c:x"), &p);
    say("rtbroker:c:x", rt_buf_str(&bytes));
    bytes.data[2] = '1';
    say("rtbroker:c:x", rt_buf_str(&bytes));
    rt_buf_clear(&bytes);
    p.cluster = RT_STR("rtbroker");
    p.purpose = RT_FOR_STATE;
    rt_parcel_encode(&bytes, &none, RT_STR("c:x"), &p);
    say("rtbroker:c:x", rt_buf_str(&bytes));
    until(rejected(b, "place") == 1);
    assert_int_equal(rejected(b, "malformed"), 1);
    assert_int_equal(rejected(b, "cluster"), 1);
    assert_int_equal(rejected(b, "version"), 1);
    assert_int_equal(b->got.len, 0);
    assert_int_equal(rejected(a, "place"), 0);
    rt_buf_deinit(&bytes);
}

static void nothing_recorded_counts_again(void **state)
{
    (void)state;
    struct node *a = &t.nodes[0], *b = &t.nodes[1];
    open_two("secret");
    publish(a, "x", "first");
    struct rt_stored *stored = rt_stored_new(
        &(struct rt_message){.data = RT_STR("logged"), .kind = RT_KIND_TEXT, .offset = 5});
    struct rt_record record = {.offset = 5, .channel = RT_STR("l"), .message = stored};
    rt_cluster_committed(a->cluster, &record, RT_STR("e"));
    rt_stored_unref(stored);
    until(b->got.len >= strlen("x=first early 5 ") && has_heard("first") && has_heard("logged"));
    expect(b, "x=first early 5 ");
    /* Again where it was, and elsewhere. */
    say("rtbroker:c:x", last_with("first"));
    until(rejected(b, "replay") == 1);
    say("rtbroker:p:log:0", last_with("first"));
    say("rtbroker:p:log:1", last_with("logged"));
    say("rtbroker:n:", last_with("first"));
    until(rejected(b, "mac") == 3);
    struct rt_parcel_keys none = {.mac = NULL};
    struct rt_parcel forged = {.purpose = RT_FOR_RELAY,
                               .instance = rt_parcel_instance(last_with("first")),
                               .sequence = UINT64_MAX,
                               .cluster = RT_STR("rtbroker"),
                               .node = RT_STR("a"),
                               .channel = RT_STR("x")};
    struct rt_buf bytes = RT_BUF_INIT;
    rt_parcel_encode(&bytes, &none, RT_STR("c:x"), &forged);
    say("rtbroker:c:x", rt_buf_str(&bytes));
    rt_buf_deinit(&bytes);
    until(rejected(b, "mac") == 4);
    /* The process that said it is gone, and whatever it said cannot bring it back: neither to those who knew it nor to one that did not. */
    kill_node(a);
    struct node *c = &t.nodes[2];
    open_node(c, (struct rt_cluster_options){.node = "c", .secret = "secret"});
    until_settled(c);
    until(metric(b, "cluster_nodes") == 3);
    listen_to(c, b, "x");
    unsigned before = rejected(c, "unproven");
    for (size_t i = 0, count = t.heard_count; i < count; i++)
        if (memmem(rt_bytes_str(t.heard[i].payload).ptr, rt_bytes_str(t.heard[i].payload).len,
                   "\0\0\0\1a", 5))
            say(t.heard[i].channel, rt_bytes_str(t.heard[i].payload));
    publish(b, "x", "after all of it");
    until(c->got.len > 0);
    expect(c, "x=after all of it ");
    assert_int_equal(b->got.len, 0);
    assert_true(rejected(c, "unproven") >= before + 2);
    assert_int_equal(metric(c, "cluster_nodes"), 2);
}

/* What a client can make a node say is no session's state. */
static void a_state_is_sealed_for_its_key(void **state)
{
    (void)state;
    struct node *a = &t.nodes[0], *b = &t.nodes[1];
    struct rt_buf sealed = RT_BUF_INIT;
    open_two("secret");
    rt_cluster_seal(a->cluster, RT_STR("s:1"), RT_STR("state"), &sealed);
    struct rt_str text = rt_cluster_unseal(b->cluster, RT_STR("s:1"), rt_buf_str(&sealed));
    assert_true(rt_str_eq(text, RT_STR("state")));
    assert_null(rt_cluster_unseal(b->cluster, RT_STR("s:2"), rt_buf_str(&sealed)).ptr);
    publish(a, "x", "state");
    until(has_heard("state"));
    assert_null(rt_cluster_unseal(b->cluster, RT_STR("c:x"), last_with("state")).ptr);
    assert_int_equal(rejected(b, "mac"), 1);
    assert_int_equal(rejected(b, "place"), 1);
    rt_buf_deinit(&sealed);
}

static void a_secret_is_replaced_while_nodes_run(void **state)
{
    (void)state;
    struct node *a = &t.nodes[0], *b = &t.nodes[1], *c = &t.nodes[2];
    open_node(a, (struct rt_cluster_options){.node = "a", .secret = "1", .second_secret = "2"});
    open_node(b, (struct rt_cluster_options){.node = "b", .secret = "2", .second_secret = "1"});
    open_node(c, (struct rt_cluster_options){.node = "c", .secret = "3"});
    until(metric(a, "cluster_nodes") == 2 && metric(b, "cluster_nodes") == 2);
    listen_to(b, a, "x");
    listen_to(a, b, "x");
    until(rejected(a, "mac") > 0 && rejected(c, "mac") > 0);
}

static void the_second_of_a_name_is_told(void **state)
{
    (void)state;
    struct node *first = &t.nodes[0], *second = &t.nodes[1], *third = &t.nodes[2];
    for (int secret = 0; secret < 2; secret++) {
        struct rt_cluster_options options = {.node = "same", .secret = secret ? "s" : ""};
        open_node(first, options);
        until_settled(first);
        open_node(second, options);
        until(second->taken > 0);
        assert_int_equal(first->taken, 0);
        until(metric(first, "cluster_name_conflicts_total") > 0);
        kill_node(second);
        /* Killed, and there again before anybody has missed it. */
        kill_node(first);
        open_node(third, options);
        until_settled(third);
        assert_int_equal(third->taken, 0);
        kill_node(third);
    }
}

/* A copy of a running process is as far as its original, and tells by what it did not say. */
static void a_copied_process_is_told(void **state)
{
    (void)state;
    struct node *a = &t.nodes[0];
    open_two(NULL);
    until(has_heard("\"n\":1"));
    struct rt_str own = RT_STR_NONE;
    for (size_t i = 0; i < t.heard_count; i++)
        if (strcmp(t.heard[i].channel, "rtbroker:nodes") == 0 &&
            memmem(rt_bytes_str(t.heard[i].payload).ptr, 60, "\0\0\0\1a", 5))
            own = rt_bytes_str(t.heard[i].payload);
    assert_non_null(own.ptr);
    say("rtbroker:nodes", own); /* a repetition is none */
    struct rt_bytes *copy = rt_bytes_copy(own.ptr, own.len);
    ((char *)(uintptr_t)rt_bytes_str(copy).ptr)[13] = 1; /* its sequence: ahead of ours */
    publish(a, "x", "");
    until(t.nodes[1].got.len > 0);
    assert_int_equal(a->taken, 0);
    say("rtbroker:nodes", rt_bytes_str(copy));
    until(a->taken == 1);
    rt_bytes_unref(copy);
}

int main(void)
{
    /* hiredis writes with write(2): the program ignores SIGPIPE, as main.c does. */
    (void)signal(SIGPIPE, SIG_IGN);
#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_server(clusters_with_other_names_are_apart),
        with_server(strangers_are_counted),
        with_server(nothing_recorded_counts_again),
        with_server(a_state_is_sealed_for_its_key),
        with_server(a_secret_is_replaced_while_nodes_run),
        with_server(the_second_of_a_name_is_told),
        with_server(a_copied_process_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
