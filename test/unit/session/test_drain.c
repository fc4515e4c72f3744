/* Closing many evenly over a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Not every helper is needed here. */
#pragma GCC diagnostic ignored "-Wunused-function"

#include "unit/http/fake_net.h"

#include "session/drain.h"

static struct {
    struct rt_loop loop;
    struct rt_drain drain;
    int left, closed, asked;
} t;

void rt_timer_start_at(struct rt_loop *loop, struct rt_timer *timer, uint64_t at_ms,
                       void (*fn)(struct rt_timer *))
{
    rt_timer_start(loop, timer, 0, fn);
    timer->expires = at_ms;
}

static bool close_one(void *arg)
{
    assert_ptr_equal(arg, &t);
    t.asked++;
    if (t.left == 0)
        return false;
    t.left--;
    t.closed++;
    return true;
}

static void start(int count, uint64_t ms)
{
    fake_loop_init(&t.loop);
    t.left = count;
    t.closed = t.asked = 0;
    memset(&t.drain, 0, sizeof(t.drain));
    rt_drain_start(&t.drain, &t.loop, (size_t)count, ms, close_one, &t);
    assert_int_equal(t.asked, 0); /* never from inside */
}

static void test_at_once(void **state)
{
    (void)state;
    start(1000, 0);
    fake_advance(&t.loop, 0);
    assert_int_equal(t.closed, 1000);
    assert_int_equal(t.asked, 1001); /* asked until there is nobody left */
    assert_true(rt_list_empty(&t.loop.timers));
}

static void test_nobody(void **state)
{
    (void)state;
    start(0, 60000);
    fake_advance(&t.loop, 0);
    assert_int_equal(t.asked, 1);
    assert_true(rt_list_empty(&t.loop.timers));
}

static void test_evenly(void **state)
{
    static const int counts[] = {1, 7, 100, 5000};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        start(counts[i], 2000);
        for (int ms = 10; ms < 2000; ms += 10) {
            fake_advance(&t.loop, 10);
            int due = (int)((double)counts[i] * ms / 2000);
            assert_true(t.closed >= due - 1 && t.closed <= due + 1);
        }
        fake_advance(&t.loop, 10);
        assert_int_equal(t.closed, counts[i]);
        assert_true(rt_list_empty(&t.loop.timers));
    }
}

/* Who comes meanwhile is closed at the end; who goes by himself is not waited for. */
static void test_changes(void **state)
{
    (void)state;
    start(10, 1000);
    fake_advance(&t.loop, 500);
    t.left += 3;
    fake_advance(&t.loop, 500);
    assert_int_equal(t.closed, 13);
    start(10, 1000);
    fake_advance(&t.loop, 500);
    t.left = 0;
    fake_advance(&t.loop, 200);
    assert_true(t.closed <= 5);
    assert_true(rt_list_empty(&t.loop.timers));
}

/* A loop that was away catches up. */
static void test_late(void **state)
{
    (void)state;
    start(10, 1000);
    fake_advance(&t.loop, 0);
    t.loop.now += 5000;
    fake_advance(&t.loop, 0);
    assert_int_equal(t.closed, 10);
}

static void test_stop(void **state)
{
    (void)state;
    start(10, 1000);
    fake_advance(&t.loop, 500);
    int closed = t.closed;
    rt_drain_stop(&t.drain);
    rt_drain_stop(&t.drain);
    fake_advance(&t.loop, 5000);
    assert_int_equal(t.closed, closed);
    struct rt_drain never = {.loop = NULL};
    rt_drain_stop(&never);
}

static void test_again(void **state)
{
    (void)state;
    start(100, 60000);
    fake_advance(&t.loop, 600);
    assert_true(t.closed <= 2);
    rt_drain_start(&t.drain, &t.loop, (size_t)t.left, 0, close_one, &t);
    fake_advance(&t.loop, 0);
    assert_int_equal(t.closed, 100);
    assert_true(rt_list_empty(&t.loop.timers));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_once), cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_evenly),  cmocka_unit_test(test_changes),
        cmocka_unit_test(test_late),    cmocka_unit_test(test_stop),
        cmocka_unit_test(test_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
