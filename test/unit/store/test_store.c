/* The three threads as one: what a start refuses, health, reading, closing. With a real PostgreSQL and no Kafka. */
#include "unit/journal/tsan_c11.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "pg_server.h"
#include "store/store.h"

static struct pg_server server;

static void on_closed(void *arg)
{
    (*(unsigned *)arg)++;
}

static struct rt_store_options options_of(struct rt_loop *loop)
{
    return (struct rt_store_options){.loop = loop,
                                     .url = server.url,
                                     .schema = "store",
                                     .node = "n1",
                                     .brokers = "127.0.0.1:1",
                                     .topic = "t",
                                     .partitions = 1,
                                     .retention = 86400000};
}

static void test_refused(void **state)
{
    (void)state;
    struct rt_loop *loop = NULL;
    struct rt_store *s = NULL;
    struct rt_err err = {0};
    assert_int_equal(rt_loop_new(&loop, NULL), 0);
    struct rt_store_options options = options_of(loop);
    options.schema = "pg_mine";
    assert_int_equal(rt_store_new(&options, &s, &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "postgres.schema"));
    options.schema = "store";
    options.url = "postgresql://h/?nonsense=1";
    assert_int_equal(rt_store_new(&options, &s, &err), RT_EINVAL);
    assert_non_null(strstr(err.text, "nonsense"));
    assert_null(s);
    rt_loop_free(loop);
}

struct asked {
    struct rt_read read; /* first */
    unsigned answers;
};

static void on_read(struct rt_read *read)
{
    ((struct asked *)read)->answers++;
}

static void test_life(void **state)
{
    (void)state;
    struct rt_loop *loop = NULL;
    struct rt_store *s = NULL;
    struct rt_err err = {0};
    assert_int_equal(rt_loop_new(&loop, NULL), 0);
    struct rt_store_options options = options_of(loop);
    if (rt_store_new(&options, &s, &err) != 0)
        fail_msg("%s", err.text);
    const char *text = "";
    assert_false(rt_store_healthy(s, &text));
    assert_true(text[0] != '\0');
    uint64_t until = rt_mono_ms() + 60000;
    struct asked q = {.answers = 0};
    do {
        q = (struct asked){.read = {.channel_name = RT_STR("c"), .limit = 5, .done = on_read}};
        snprintf(q.read.epoch, sizeof(q.read.epoch), "abcdefghij.0");
        assert_int_equal(rt_store_read_arg(s, &q.read), RT_PENDING);
        while (!q.answers && rt_mono_ms() < until)
            rt_loop_turn(loop, 10);
        assert_int_equal(q.answers, 1);
    } while (q.read.status != 0 && rt_mono_ms() < until);
    if (q.read.status)
        fail_msg("%s", q.read.text);
    assert_true(q.read.count == 0 && q.read.complete == 0);
    unsigned closed = 0;
    rt_store_close(s, on_closed, &closed);
    rt_store_close(s, on_closed, &closed);
    assert_int_equal(closed, 0);
    assert_int_equal(rt_store_read(s, &q.read), RT_ECLOSED);
    until = rt_mono_ms() + 60000;
    while (!closed && rt_mono_ms() < until)
        rt_loop_turn(loop, 10);
    assert_int_equal(closed, 1);
    rt_store_free(s);
    rt_loop_free(loop);
}

static int setup(void **state)
{
    (void)state;
    return pg_server_start(&server) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    pg_server_remove(&server);
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    rt_log_setup(RT_LOG_OFF, RT_LOG_TEXT, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_life),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
