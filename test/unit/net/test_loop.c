#include "net_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static struct rt_loop *loop;

static int start_loop(void **state)
{
    (void)state;
    struct rt_err err;
    return rt_loop_new(&loop, &err);
}

static int stop_loop(void **state)
{
    (void)state;
    rt_loop_free(loop);
    return 0;
}

/* ---- timers ---- */

struct note {
    struct rt_timer timer;
    uint64_t started_ns, delay_ms;
    int fired;
    int again; /* restarts itself so many times */
};

static void on_note(struct rt_timer *timer)
{
    struct note *n = RT_CONTAINER(timer, struct note, timer);
    uint64_t now = rt_mono_ns();
    assert_false(timer->active);
    assert_true(now - n->started_ns >= n->delay_ms * 1000000); /* on the exact clock */
    assert_true(rt_loop_now(loop) >= timer->expires);
    n->fired++;
    if (n->again-- > 0) {
        n->started_ns = now;
        rt_timer_start(loop, timer, n->delay_ms, on_note);
    }
}

static void start_note(struct note *n, uint64_t delay_ms, int again)
{
    *n = (struct note){.started_ns = rt_mono_ns(), .delay_ms = delay_ms, .again = again};
    rt_timer_start(loop, &n->timer, delay_ms, on_note);
}

static void test_timers_are_never_early(void **state)
{
    (void)state;
    static struct note notes[60];
    for (size_t i = 0; i < 60; i++)
        start_note(&notes[i], i * 3, 2);
    /* One that is started long after the turn began. */
    while (rt_mono_ns() - notes[0].started_ns < 20 * 1000000)
        ;
    struct note late;
    start_note(&late, 5, 0);
    for (size_t i = 0; i < 60; i++)
        WAIT_FOR(loop, notes[i].fired == 3);
    assert_int_equal(late.fired, 1);
}

static void test_stopped_timers_do_not_fire(void **state)
{
    (void)state;
    struct note a, b, c;
    start_note(&a, 5, 0);
    start_note(&b, 5, 0);
    start_note(&c, 10, 0);
    rt_timer_stop(loop, &a.timer);
    rt_timer_stop(loop, &a.timer);
    WAIT_FOR(loop, c.fired);
    assert_int_equal(a.fired, 0);
    assert_int_equal(b.fired, 1);
    /* One that was never started. */
    struct rt_timer zero = {.active = false};
    rt_timer_stop(loop, &zero);
}

static void test_moved_timer_fires_once(void **state)
{
    (void)state;
    struct note far, end;
    start_note(&far, 4, 0);
    rt_timer_start(loop, &far.timer, 1000000, on_note);
    rt_timer_start(loop, &far.timer, 2, on_note);
    rt_timer_start(loop, &far.timer, 5, on_note);
    start_note(&end, 12, 0);
    WAIT_FOR(loop, end.fired);
    assert_int_equal(far.fired, 1);
}

static int zero_runs;

static void on_zero(struct rt_timer *timer)
{
    if (++zero_runs < 5)
        rt_timer_start(loop, timer, 0, on_zero);
}

static void test_zero_delay_is_the_next_turn(void **state)
{
    (void)state;
    struct rt_timer timer = {.active = false};
    zero_runs = 0;
    rt_timer_start(loop, &timer, 0, on_zero);
    for (int turn = 1; turn <= 5; turn++) {
        rt_loop_turn(loop, 0);
        /* One a turn: libuv may run timers twice in a turn, but not the same one without end. */
        assert_int_equal(zero_runs, turn);
    }
    rt_timer_start_at(loop, &timer, rt_loop_now(loop) - 10, on_zero);
    zero_runs = 4;
    WAIT_FOR(loop, zero_runs == 5);
}

struct heap_timer {
    struct rt_timer timer;
};

static void free_itself(struct rt_timer *timer)
{
    rt_free(RT_CONTAINER(timer, struct heap_timer, timer));
    rt_loop_stop(loop);
}

static void test_timer_may_free_itself(void **state)
{
    (void)state;
    struct heap_timer *t = rt_calloc(1, sizeof(*t));
    rt_timer_start(loop, &t->timer, 1, free_itself);
    assert_int_equal(rt_loop_run(loop), 0);
}

/* ---- turns, hooks, deferred ---- */

static char trace[64];
static void add_trace(char c)
{
    size_t len = strlen(trace);
    assert_true(len + 1 < sizeof(trace));
    trace[len] = c;
    trace[len + 1] = 0;
}

static void hook_a(void *arg)
{
    assert_string_equal(arg, "a");
    add_trace('a');
}

static void hook_b(void *arg)
{
    assert_string_equal(arg, "b");
    add_trace('b');
}

static struct rt_deferred deferred[3];

static void on_deferred(struct rt_deferred *d)
{
    add_trace((char)('0' + (d - deferred)));
    if (d == &deferred[1])
        rt_loop_defer(loop, &deferred[2], on_deferred);
}

static void defer_from_timer(struct rt_timer *timer)
{
    (void)timer;
    add_trace('t');
    rt_loop_defer(loop, &deferred[0], on_deferred);
    rt_loop_defer(loop, &deferred[1], on_deferred);
    add_trace('.');
}

static void test_flush_order(void **state)
{
    (void)state;
    struct rt_timer timer = {.active = false};
    assert_int_equal(rt_loop_add_flush_hook(loop, hook_a, "a"), 0);
    assert_int_equal(rt_loop_add_flush_hook(loop, hook_b, "b"), 0);
    trace[0] = 0;
    rt_timer_start(loop, &timer, 0, defer_from_timer);
    WAIT_FOR(loop, strchr(trace, '2'));
    /* After the callback: hooks, what was deferred, again for what that may have made. */
    assert_non_null(strstr(trace, "t.ab01ab2ab"));
}

static void test_deferred_runs_at_the_latest_with_free(void **state)
{
    (void)state;
    struct rt_loop *other;
    struct rt_err err;
    struct rt_loop *kept = loop;
    assert_int_equal(rt_loop_new(&other, &err), 0);
    loop = other; /* on_deferred() uses it */
    trace[0] = 0;
    rt_loop_defer(other, &deferred[1], on_deferred);
    rt_loop_free(other);
    loop = kept;
    assert_string_equal(trace, "12");
}

static void stop_it(struct rt_timer *timer)
{
    (void)timer;
    rt_loop_stop(loop);
}

static void defer_often(struct rt_deferred *d)
{
    if (++zero_runs < 100)
        rt_loop_defer(loop, d, defer_often);
    else
        rt_loop_stop(loop);
}

static void test_endless_output_does_not_starve_the_poll(void **state)
{
    (void)state;
    struct rt_timer guard = {.active = false};
    zero_runs = 0;
    rt_loop_defer(loop, &deferred[0], defer_often);
    rt_loop_turn(loop, 0);
    assert_in_range(zero_runs, 1, 20); /* not all of them in one turn */
    /* And the poll does not sleep on the rest. */
    rt_timer_start(loop, &guard, DEADLINE_MS, stop_it);
    assert_int_equal(rt_loop_run(loop), 0);
    assert_int_equal(zero_runs, 100);
    assert_true(guard.active);
    rt_timer_stop(loop, &guard);
}

static void test_run_and_stop(void **state)
{
    (void)state;
    struct rt_timer timer = {.active = false};
    rt_timer_start(loop, &timer, 2, stop_it);
    assert_int_equal(rt_loop_run(loop), 0);
    assert_false(timer.active);
    rt_timer_start(loop, &timer, 2, stop_it);
    assert_int_equal(rt_loop_run(loop), 0);
    /* Stopped before it runs: comes back at once. */
    rt_loop_stop(loop);
    assert_int_equal(rt_loop_run(loop), 0);
    rt_timer_start(loop, &timer, 2, stop_it);
    assert_int_equal(rt_loop_run(loop), 0);
    /* A stop outside of a run does not swallow a turn. */
    rt_loop_stop(loop);
    rt_loop_defer(loop, &deferred[2], on_deferred);
    trace[0] = 0;
    rt_loop_turn(loop, 0);
    assert_string_equal(trace, "2");
    assert_int_equal(rt_loop_run(loop), 0);
}

static void test_turn_waits_no_longer_than_told(void **state)
{
    (void)state;
    uint64_t begin = rt_mono_ns();
    rt_loop_turn(loop, 20);
    uint64_t took = rt_mono_ns() - begin;
    assert_true(took >= 19 * 1000000ull && took < 2000 * 1000000ull);
    begin = rt_mono_ns();
    rt_loop_turn(loop, 0);
    assert_true(rt_mono_ns() - begin < 1000 * 1000000ull);
}

static void test_time(void **state)
{
    (void)state;
    rt_loop_turn(loop, 0);
    uint64_t turn = rt_loop_now(loop), exact = rt_loop_now_exact(loop);
    assert_true(exact >= turn && exact - turn < 1000);
    uint64_t begin = rt_mono_ms();
    while (rt_mono_ms() < begin + 5)
        ;
    assert_int_equal(rt_loop_now(loop), turn);
    assert_true(rt_loop_now_exact(loop) >= begin + 5);
}

static void burn(struct rt_timer *timer)
{
    uint64_t begin = rt_mono_ns();
    while (rt_mono_ns() - begin < 30 * 1000000)
        ;
    timer->active = false;
}

static void test_load(void **state)
{
    (void)state;
    struct rt_timer timer = {.active = false};
    (void)rt_loop_longest_turn(loop);
    rt_timer_start(loop, &timer, 0, burn);
    WAIT_FOR(loop, !timer.active);
    rt_loop_turn(loop, 0);
    assert_true(rt_loop_longest_turn(loop) >= 30);
    assert_int_equal(rt_loop_longest_turn(loop), 0);
    double busy = rt_loop_utilisation(loop);
    assert_true(busy > 0.02 && busy <= 1);
}

/* ---- wakers ---- */

#define THREADS 8
#define WAKES   20000

static atomic_int posted;
static int seen, calls;

static void on_wake(void *arg)
{
    assert_ptr_equal(arg, &seen);
    calls++;
    seen = atomic_load(&posted);
}

static void *storm(void *waker)
{
    for (int i = 0; i < WAKES; i++) {
        atomic_fetch_add(&posted, 1);
        rt_waker_wake(waker);
    }
    return NULL;
}

static void test_waker_storm(void **state)
{
    (void)state;
    struct rt_waker *waker;
    pthread_t threads[THREADS];
    atomic_store(&posted, 0);
    seen = calls = 0;
    assert_int_equal(rt_waker_new(loop, on_wake, &seen, &waker), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm, waker), 0);
    /* Calls coalesce, but the last one is never lost. */
    WAIT_FOR(loop, seen == THREADS * WAKES);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(calls, 1, THREADS * WAKES);
    rt_waker_close(waker);
    rt_loop_turn(loop, 0);
}

static void test_closed_waker_is_silent(void **state)
{
    (void)state;
    struct rt_waker *waker, *other;
    atomic_store(&posted, 7);
    seen = calls = 0;
    assert_int_equal(rt_waker_new(loop, on_wake, &seen, &waker), 0);
    assert_int_equal(rt_waker_new(loop, on_wake, &seen, &other), 0);
    rt_waker_wake(waker);
    rt_waker_close(waker);
    rt_waker_wake(other);
    WAIT_FOR(loop, calls > 0);
    rt_loop_turn(loop, 5);
    assert_int_equal(calls, 1);
    rt_waker_close(other);
    rt_loop_turn(loop, 0);
}

static void stop_on_wake(void *arg)
{
    rt_loop_stop(arg);
}

static void *wake_once(void *waker)
{
    rt_waker_wake(waker);
    return NULL;
}

static void test_wake_ends_a_wait(void **state)
{
    (void)state;
    struct rt_waker *waker;
    pthread_t thread;
    assert_int_equal(rt_waker_new(loop, stop_on_wake, loop, &waker), 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_once, waker), 0);
    assert_int_equal(rt_loop_run(loop), 0); /* has nothing else to do, and no timer */
    pthread_join(thread, NULL);
    rt_waker_close(waker);
}

/* ---- signals, the end ---- */

static int signals;

static void on_signal(void *arg, int signum)
{
    assert_ptr_equal(arg, &signals);
    assert_int_equal(signum, SIGUSR1);
    signals++;
}

static void test_signal(void **state)
{
    (void)state;
    signals = 0;
    assert_int_equal(rt_loop_on_signal(loop, SIGUSR1, on_signal, &signals), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    WAIT_FOR(loop, signals == 1);
}

/* Runs `fn` in a child; its exit status. */
static int in_child(void (*fn)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        fn();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void nothing(void *arg)
{
    (void)arg;
}

static void leave_a_waker(void)
{
    struct rt_loop *other;
    struct rt_waker *waker;
    if (rt_loop_new(&other, NULL) || rt_waker_new(other, nothing, NULL, &waker))
        _exit(1);
    rt_loop_free(other);
}

static void leave_a_timer(void)
{
    struct rt_loop *other;
    struct rt_timer timer = {.active = false};
    if (rt_loop_new(&other, NULL))
        _exit(1);
    rt_timer_start(other, &timer, 1000, stop_it);
    rt_loop_free(other);
}

static void leave_nothing(void)
{
    struct rt_loop *other;
    struct rt_waker *waker;
    if (rt_loop_new(&other, NULL) || rt_waker_new(other, nothing, NULL, &waker))
        _exit(1);
    rt_waker_close(waker); /* its close callback is still to come */
    rt_loop_free(other);
}

static void test_undead_handles_abort(void **state)
{
    (void)state;
    int status = in_child(leave_a_waker);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = in_child(leave_a_timer);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = in_child(leave_nothing);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        long live = rt_alloc_live();
        struct rt_loop *other = NULL;
        struct rt_waker *waker = NULL;
        struct rt_err err;
        rt_alloc_fail_at(n, 0);
        int r = rt_loop_new(&other, &err);
        int hook = r ? 0 : rt_loop_add_flush_hook(other, nothing, NULL);
        int wake = r ? 0 : rt_waker_new(other, nothing, NULL, &waker);
        int sig = r ? 0 : rt_loop_on_signal(other, SIGUSR2, on_signal, &signals);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(failed, r || hook || wake || sig);
        assert_true((!r || r == RT_ENOMEM) && (!hook || hook == RT_ENOMEM));
        assert_true((!wake || wake == RT_ENOMEM) && (!sig || sig == RT_ENOMEM));
        if (waker)
            rt_waker_close(waker);
        if (other)
            rt_loop_free(other);
        assert_int_equal(rt_alloc_live(), live);
    }
}
#endif

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, start_loop, stop_loop)

int main(void)
{
    rt_log_set_level(RT_LOG_OFF);
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_timers_are_never_early),
        LOOP_TEST(test_stopped_timers_do_not_fire),
        LOOP_TEST(test_moved_timer_fires_once),
        LOOP_TEST(test_zero_delay_is_the_next_turn),
        LOOP_TEST(test_timer_may_free_itself),
        LOOP_TEST(test_flush_order),
        LOOP_TEST(test_deferred_runs_at_the_latest_with_free),
        LOOP_TEST(test_endless_output_does_not_starve_the_poll),
        LOOP_TEST(test_run_and_stop),
        LOOP_TEST(test_turn_waits_no_longer_than_told),
        LOOP_TEST(test_time),
        LOOP_TEST(test_load),
        LOOP_TEST(test_waker_storm),
        LOOP_TEST(test_closed_waker_is_silent),
        LOOP_TEST(test_wake_ends_a_wait),
        LOOP_TEST(test_signal),
        LOOP_TEST(test_undead_handles_abort),
#ifdef RT_TEST
        cmocka_unit_test(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
