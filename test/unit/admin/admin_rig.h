/* The HTTP side of the broker over connections without sockets and a log that the test plays.
 * Include it in one file of a program. */
#ifndef TEST_UNIT_ADMIN_ADMIN_RIG_H
#define TEST_UNIT_ADMIN_ADMIN_RIG_H

#define PEER_ADDRESS "127.0.0.1"
#include "unit/engine/wire.h"
#include "unit/session/fake_journal.h"

#include "admin/admin.h"

/* A service beside the log. */
struct fake_backend {
    bool up;
    const char *text;
};

static struct {
    struct fake_backend redis, postgres;
    bool alone; /* no other nodes */
    struct rt_config *config;
    struct rt_broker *broker;
    struct rt_admin *admin;
    bool stopping;
    size_t clients;
    long live;
} t;

#define CHANNELS                                                               \
    "channels:\n"                                                              \
    "  - {match: 'log:*', log: true, subscribe: anyone, publish: nobody,\n"    \
    "     history: {size: 10, ttl: 1h}}\n"                                     \
    "  - {match: 'quiet:*', log: false, subscribe: nobody, publish: nobody}\n" \
    "limits: {message: 1000, channel_name: 30, send_queue: 4KiB}\n"

#define ONE_KEY \
    "api: {keys: [{name: backend, key: 'secret-0123456789'}, {name: other, key: 'other-0123456789'}]}\n"

static size_t count_clients(void *arg)
{
    assert_ptr_equal(arg, &t);
    return t.clients;
}

static size_t count_descriptors(void *arg)
{
    assert_ptr_equal(arg, &t);
    return 42;
}

static bool is_serving(void *arg)
{
    assert_ptr_equal(arg, &t);
    return !t.stopping;
}

static bool backend_up(void *arg, const char **ret_text)
{
    const struct fake_backend *b = arg;
    *ret_text = b->text;
    return b->up;
}

static bool log_up(void *arg, const char **ret_text)
{
    return rt_journal_healthy(rt_broker_journal(arg), ret_text);
}

static void each_node(void *arg, void (*fn)(void *fn_arg, struct rt_str name, struct rt_str json),
                      void *fn_arg)
{
    assert_ptr_equal(arg, &t);
    fn(fn_arg, RT_STR("n\"2"), RT_STR("{\"version\": \"9\",\"num_clients\":5,\"uid\":\"x\"}"));
    fn(fn_arg, RT_STR("n3"), RT_STR("{}"));
}

static void load(const char *yaml, bool dev)
{
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config_args args = {.dev = dev};
    int status =
        yaml ? rt_config_load_text(&args, rt_str_c(yaml), "rig.yaml", &t.config, &errors, &warnings)
             : rt_config_load(&args, &t.config, &errors, &warnings);
    if (status)
        fail_msg("%s", errors.count ? errors.items[0].text : "out of memory");
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
}

/* 0, or RT_ENOMEM with nothing left behind but what tear_down() takes. */
static int start(void)
{
    int status = wire_start(0);
    if (status == 0)
        status = rt_broker_new(t.config, &w.loop, &w.metrics, &t.broker, NULL);
    if (status)
        return status;
    fake_journal_init();
    rt_broker_set_journal(t.broker, &fake.base);
    const struct rt_backend backends[] = {
        {.name = "log", .kind = "fake", .required = true, .up = log_up, .arg = t.broker},
        {.name = "redis", .kind = "redis", .up = backend_up, .arg = &t.redis},
        {.name = "history",
         .kind = "postgres",
         .required = true,
         .up = backend_up,
         .arg = &t.postgres},
    };
    struct rt_admin_options options = {.config = t.config,
                                       .broker = t.broker,
                                       .http = w.http,
                                       .metrics = &w.metrics,
                                       .loop = &w.loop,
                                       .clients = count_clients,
                                       .serving = is_serving,
                                       .descriptors = count_descriptors,
                                       .each_node = t.alone ? NULL : each_node,
                                       .arg = &t,
                                       .backends = backends,
                                       .backend_count = 3};
    return rt_admin_new(&options, &t.admin, NULL);
}

/* NULL: what --dev has without a file. */
static void start_with(const char *yaml)
{
    load(yaml, yaml == NULL);
    assert_int_equal(start(), 0);
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.live = rt_alloc_live();
    t.alone = true;
    t.redis = t.postgres = (struct fake_backend){.up = true, .text = ""};
    wire_init();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wire_drop_all();
    fake_journal_finish();
    end_turn();
    rt_admin_free(t.admin);
    rt_broker_free(t.broker);
    fake_journal_deinit();
    wire_stop();
    rt_config_free(t.config);
    assert_int_equal(rt_alloc_live(), t.live);
    return 0;
}

#define JSON_TYPE "application/json"

/* POST with the key of CONFIG. */
static void call(struct peer *p, const char *path, const char *body)
{
    request_raw(p, "POST", path, "X-API-Key: secret-0123456789\r\n", body, strlen(body));
}

#define expect_json(p, status, want) expect_answer((p), (status), JSON_TYPE, (want))

#define rig_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
