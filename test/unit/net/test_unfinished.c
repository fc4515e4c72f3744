/* Messages that do not come to their end: a deadline for each, a budget for all. The clock is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

/* Not every program needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "unit/http/fake_net.h"

#include "net/unfinished.h"

enum { HOLDERS = 8 };

static struct {
    struct rt_loop loop;
    struct rt_metrics metrics;
    struct rt_unfinished_set *set;
    struct holder {
        struct rt_unfinished u;
        bool paused;
    } holders[HOLDERS];
    char log[200]; /* "2 late 3 crowded " */
} t;

static void cut_off(struct rt_unfinished *u, enum rt_unfinished_why why)
{
    size_t len = strlen(t.log);
    assert_null(u->set);
    (void)snprintf(t.log + len, sizeof(t.log) - len, "%d %s ",
                   (int)(RT_CONTAINER(u, struct holder, u) - t.holders),
                   why == RT_UNFINISHED_LATE ? "late" : "crowded");
}

static bool is_paused(const struct rt_unfinished *u)
{
    return RT_CONTAINER(u, const struct holder, u)->paused;
}

static const struct rt_unfinished_ops OPS = {.cut_off = cut_off, .paused = is_paused};

static int hold(int i, size_t bytes)
{
    return rt_unfinished_hold(t.set, &t.holders[i].u, &OPS, bytes);
}

static void expect(const char *log)
{
    assert_string_equal(t.log, log);
    t.log[0] = '\0';
}

static int set_up(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    fake_loop_init(&t.loop);
    rt_metrics_init(&t.metrics);
    struct rt_unfinished_options options = {.timeout = 1000, .memory = 100, .metrics = &t.metrics};
    return rt_unfinished_new(&t.loop, &options, &t.set);
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < HOLDERS; i++)
        rt_unfinished_end(&t.holders[i].u);
    rt_unfinished_free(t.set);
    assert_true(rt_list_empty(&t.loop.timers));
    return 0;
}

static uint64_t metric(const char *name, const char *label)
{
    for (const struct rt_metric *m = t.metrics.first; m; m = m->next)
        if (strcmp(m->name, name) == 0 && (!label || strstr(m->labels, label)))
            return m->value;
    fail_msg("no metric %s", name);
    return 0;
}

static void test_late(void **state)
{
    (void)state;
    assert_int_equal(hold(0, 1), 0);
    fake_advance(&t.loop, 500);
    assert_int_equal(hold(1, 1), 0);
    assert_int_equal(hold(0, 5), 0); /* more of it does not begin anew */
    assert_int_equal(hold(2, 1), 0);
    rt_unfinished_end(&t.holders[2].u);
    fake_advance(&t.loop, 499);
    expect("");
    fake_advance(&t.loop, 1);
    expect("0 late ");
    fake_advance(&t.loop, 500);
    expect("1 late ");
    fake_advance(&t.loop, 5000);
    expect("");
    assert_int_equal(hold(2, 1), 0);
    fake_advance(&t.loop, 1000);
    expect("2 late ");
    assert_int_equal(metric("messages_cut_off_total", "late"), 3);
    assert_int_equal(metric("receive_buffer_bytes", NULL), 0);
}

static void test_paused(void **state)
{
    (void)state;
    assert_int_equal(hold(0, 1), 0);
    assert_int_equal(hold(1, 1), 0);
    t.holders[0].paused = true;
    fake_advance(&t.loop, 1000);
    expect("1 late ");
    t.holders[0].paused = false;
    fake_advance(&t.loop, 999);
    expect("");
    fake_advance(&t.loop, 1);
    expect("0 late ");
}

static void test_crowded(void **state)
{
    (void)state;
    assert_int_equal(hold(0, 40), 0);
    assert_int_equal(hold(1, 40), 0);
    assert_int_equal(hold(2, 20), 0);
    expect("");
    assert_int_equal(hold(2, 50), 0);
    expect("0 crowded ");
    assert_int_equal(hold(3, 90), 0);
    expect("1 crowded 2 crowded ");
    assert_int_equal(hold(4, 10), 0);
    /* The oldest itself: nobody else is cut off for it. */
    assert_int_equal(hold(3, 91), RT_ERANGE);
    rt_unfinished_end(&t.holders[3].u);
    rt_unfinished_end(&t.holders[3].u);
    assert_int_equal(hold(5, 90), 0);
    expect("");
    assert_int_equal(metric("receive_buffer_bytes", NULL), 100);
    assert_int_equal(metric("messages_cut_off_total", "memory"), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_late, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crowded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
