#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "worker/queue.h"

#define DEADLINE_MS 10000

struct item {
    struct rt_task task;
    unsigned thread;
    unsigned number;
};

static struct item *make_item(unsigned thread, unsigned number, size_t bytes)
{
    struct item *item = rt_calloc(1, sizeof(*item));
    assert_non_null(item);
    item->thread = thread;
    item->number = number;
    item->task.bytes = bytes;
    return item;
}

/* The first of a list, which is then the caller's. */
static struct item *pop_item(struct rt_list *list)
{
    struct rt_list *node = rt_list_pop(list);
    return node ? RT_CONTAINER(node, struct item, task.link) : NULL;
}

static void expect_number(struct rt_list *list, unsigned number)
{
    struct item *item = pop_item(list);
    assert_non_null(item);
    assert_int_equal(item->number, number);
    rt_free(item);
}

/* ---- the queue, one thread ---- */

static void test_capacity(void **state)
{
    (void)state;
    struct rt_queue *q;
    struct rt_list out;
    rt_list_init(&out);
    assert_int_equal(rt_queue_new(3, 100, &q), 0);
    assert_int_equal(rt_queue_push(q, &make_item(0, 1, 60)->task), 0);
    struct item *too_big = make_item(0, 2, 41);
    assert_int_equal(rt_queue_push(q, &too_big->task), RT_EAGAIN);
    too_big->task.bytes = 40;
    assert_int_equal(rt_queue_push(q, &too_big->task), 0); /* was still ours */
    assert_int_equal(rt_queue_items(q), 2);
    assert_int_equal(rt_queue_bytes(q), 100);
    assert_int_equal(rt_queue_push(q, &make_item(0, 3, 0)->task), 0);
    struct item *too_many = make_item(0, 4, 0);
    assert_int_equal(rt_queue_push(q, &too_many->task), RT_EAGAIN);
    /* All at once, in order, behind what is there. */
    rt_list_push(&out, &make_item(0, 0, 0)->task.link);
    assert_true(rt_queue_take(q, &out, 0));
    assert_int_equal(rt_queue_items(q), 0);
    assert_int_equal(rt_queue_bytes(q), 0);
    for (unsigned i = 0; i < 4; i++)
        expect_number(&out, i);
    assert_true(rt_list_empty(&out));
    /* An empty queue takes one of any size. */
    too_many->task.bytes = SIZE_MAX;
    assert_int_equal(rt_queue_push(q, &too_many->task), 0);
    struct item *next = make_item(0, 5, 1);
    assert_int_equal(rt_queue_push(q, &next->task), RT_EAGAIN);
    assert_true(rt_queue_take(q, &out, -1));
    expect_number(&out, 4);
    rt_free(next);
    rt_queue_free(q);
}

static void test_close(void **state)
{
    (void)state;
    struct rt_queue *q;
    struct rt_list out;
    rt_list_init(&out);
    assert_int_equal(rt_queue_new(3, 100, &q), 0);
    assert_int_equal(rt_queue_push(q, &make_item(0, 1, 1)->task), 0);
    rt_queue_close(q);
    rt_queue_close(q);
    struct item *late = make_item(0, 2, 1);
    assert_int_equal(rt_queue_push(q, &late->task), RT_ECLOSED);
    /* What is there is still worked off. */
    assert_true(rt_queue_take(q, &out, -1));
    expect_number(&out, 1);
    assert_false(rt_queue_take(q, &out, -1));
    assert_false(rt_queue_take(q, &out, 1000));
    assert_true(rt_list_empty(&out));
    rt_free(late);
    rt_queue_free(q);
}

static void test_timeout(void **state)
{
    (void)state;
    struct rt_queue *q;
    struct rt_list out;
    rt_list_init(&out);
    assert_int_equal(rt_queue_new(3, 100, &q), 0);
    uint64_t begin = rt_mono_ns();
    assert_true(rt_queue_take(q, &out, 30));
    assert_true(rt_mono_ns() - begin >= 30 * 1000000ull);
    assert_true(rt_list_empty(&out));
    begin = rt_mono_ns();
    assert_true(rt_queue_take(q, &out, 0));
    assert_true(rt_mono_ns() - begin < DEADLINE_MS * 1000000ull);
    rt_queue_free(q);
}

/* ---- threads ---- */

#define PRODUCERS 4
#define EACH      20000

struct run {
    struct rt_queue *q;
    struct rt_mailbox *mailbox;
    unsigned thread;
    atomic_ulong *full;
};

static void push_all(void *arg)
{
    struct run *run = arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct item *item = make_item(run->thread, i, 10);
        while (rt_queue_push(run->q, &item->task) == RT_EAGAIN) {
            atomic_fetch_add(run->full, 1);
            sched_yield();
        }
    }
}

struct checked {
    unsigned next[PRODUCERS];
    unsigned total;
};

/* Each producer's items come in its order, none twice, none lost. */
static void check_items(struct checked *c, struct rt_list *list)
{
    for (struct item *item = pop_item(list); item; item = pop_item(list)) {
        assert_true(item->thread < PRODUCERS);
        assert_int_equal(item->number, c->next[item->thread]);
        c->next[item->thread]++;
        c->total++;
        rt_free(item);
    }
}

static void test_producers_and_a_worker(void **state)
{
    (void)state;
    struct rt_queue *q;
    struct rt_thread *threads[PRODUCERS];
    struct run runs[PRODUCERS];
    struct checked checked = {.total = 0};
    struct rt_list out;
    atomic_ulong full = 0;
    rt_list_init(&out);
    assert_int_equal(rt_queue_new(64, 100000, &q), 0);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        runs[i] = (struct run){.q = q, .thread = i, .full = &full};
        assert_int_equal(rt_thread_start("producer", push_all, &runs[i], &threads[i], NULL), 0);
    }
    for (unsigned takes = 0; checked.total < PRODUCERS * EACH; takes++) {
        assert_true(rt_queue_take(q, &out, takes % 3 ? -1 : 5));
        check_items(&checked, &out);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        rt_thread_join(threads[i]);
    assert_int_equal(rt_queue_items(q), 0);
    rt_queue_free(q);
}

/* A worker as they are in the program: takes batches, answers through the mailbox, ends when the
 * queue is closed. */
static void work(void *arg)
{
    struct run *run = arg;
    struct rt_list batch;
    rt_list_init(&batch);
    while (rt_queue_take(run->q, &batch, -1))
        rt_mailbox_post_all(run->mailbox, &batch);
    assert_true(rt_list_empty(&batch));
}

static atomic_int wakes;

static void count_wake(void *arg)
{
    assert_ptr_equal(arg, &wakes);
    atomic_fetch_add(&wakes, 1);
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct run run = {.thread = 0};
    struct rt_thread *worker;
    struct checked checked = {.total = 0};
    struct rt_list out;
    unsigned pushed = 0;
    int seen_wakes = 0;
    rt_list_init(&out);
    atomic_store(&wakes, 0);
    assert_int_equal(rt_queue_new(100, SIZE_MAX, &run.q), 0);
    assert_int_equal(rt_mailbox_new(count_wake, &wakes, &run.mailbox), 0);
    assert_int_equal(rt_thread_start("worker", work, &run, &worker, NULL), 0);
    uint64_t end = rt_mono_ms() + DEADLINE_MS;
    struct item *item = NULL;
    while (checked.total < EACH) {
        assert_true(rt_mono_ms() < end);
        if (!item && pushed < EACH)
            item = make_item(0, pushed, 1);
        if (item && rt_queue_push(run.q, &item->task) == 0) {
            item = NULL;
            pushed++;
        }
        /* Only when there was a wake: none may be missing. */
        if (atomic_load(&wakes) == seen_wakes) {
            sched_yield();
            continue;
        }
        seen_wakes = atomic_load(&wakes);
        (void)rt_mailbox_take(run.mailbox, &out);
        check_items(&checked, &out);
    }
    rt_queue_close(run.q);
    rt_thread_join(worker);
    assert_in_range(atomic_load(&wakes), 1, EACH);
    rt_queue_free(run.q);
    rt_mailbox_free(run.mailbox);
}

static void test_close_wakes_a_waiting_worker(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct run run = {.thread = 0};
        struct rt_thread *worker;
        assert_int_equal(rt_queue_new(1, 1, &run.q), 0);
        assert_int_equal(rt_mailbox_new(count_wake, &wakes, &run.mailbox), 0);
        assert_int_equal(rt_thread_start("worker", work, &run, &worker, NULL), 0);
        rt_queue_close(run.q);
        rt_thread_join(worker);
        rt_queue_free(run.q);
        rt_mailbox_free(run.mailbox);
    }
}

/* ---- the mailbox ---- */

static void test_mailbox_wakes_only_when_it_was_empty(void **state)
{
    (void)state;
    struct rt_mailbox *m;
    struct rt_list out, more;
    rt_list_init(&out);
    rt_list_init(&more);
    atomic_store(&wakes, 0);
    assert_int_equal(rt_mailbox_new(count_wake, &wakes, &m), 0);
    assert_int_equal(rt_mailbox_take(m, &out), 0);
    rt_mailbox_post_all(m, &more); /* nothing: no wake */
    assert_int_equal(atomic_load(&wakes), 0);
    rt_mailbox_post(m, &make_item(0, 0, 0)->task);
    assert_int_equal(atomic_load(&wakes), 1);
    rt_mailbox_post(m, &make_item(0, 1, 0)->task);
    rt_list_push(&more, &make_item(0, 2, 0)->task.link);
    rt_list_push(&more, &make_item(0, 3, 0)->task.link);
    rt_mailbox_post_all(m, &more);
    assert_true(rt_list_empty(&more));
    assert_int_equal(atomic_load(&wakes), 1);
    assert_int_equal(rt_mailbox_take(m, &out), 4);
    for (unsigned i = 0; i < 4; i++)
        expect_number(&out, i);
    rt_list_push(&more, &make_item(0, 4, 0)->task.link);
    rt_list_push(&more, &make_item(0, 5, 0)->task.link);
    rt_mailbox_post_all(m, &more);
    assert_int_equal(atomic_load(&wakes), 2);
    assert_int_equal(rt_mailbox_take(m, &out), 2);
    expect_number(&out, 4);
    expect_number(&out, 5);
    rt_mailbox_free(m);
}

static void post_all_items(void *arg)
{
    struct run *run = arg;
    for (unsigned i = 0; i < EACH; i++)
        rt_mailbox_post(run->mailbox, &make_item(run->thread, i, 0)->task);
}

static void test_many_posters(void **state)
{
    (void)state;
    struct rt_mailbox *m;
    struct rt_thread *threads[PRODUCERS];
    struct run runs[PRODUCERS];
    struct checked checked = {.total = 0};
    struct rt_list out;
    int seen_wakes = 0;
    rt_list_init(&out);
    atomic_store(&wakes, 0);
    assert_int_equal(rt_mailbox_new(count_wake, &wakes, &m), 0);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        runs[i] = (struct run){.mailbox = m, .thread = i};
        assert_int_equal(rt_thread_start("poster", post_all_items, &runs[i], &threads[i], NULL), 0);
    }
    uint64_t end = rt_mono_ms() + DEADLINE_MS;
    while (checked.total < PRODUCERS * EACH) {
        assert_true(rt_mono_ms() < end);
        if (atomic_load(&wakes) == seen_wakes) {
            sched_yield();
            continue;
        }
        seen_wakes = atomic_load(&wakes);
        (void)rt_mailbox_take(m, &out);
        check_items(&checked, &out);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        rt_thread_join(threads[i]);
    rt_mailbox_free(m);
}

/* ---- threads themselves ---- */

struct thread_facts {
    char name[16];
    bool blocked;
};

static void learn(void *arg)
{
    struct thread_facts *facts = arg;
    sigset_t mask;
    prctl(PR_GET_NAME, facts->name);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    facts->blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
}

static void test_thread(void **state)
{
    (void)state;
    struct thread_facts facts = {.blocked = false};
    struct rt_thread *t;
    sigset_t mask;
    assert_int_equal(rt_thread_start("a-name-that-is-rather-long", learn, &facts, &t, NULL), 0);
    rt_thread_join(t);
    assert_string_equal(facts.name, "a-name-that-is-");
    assert_true(facts.blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &mask); /* ours is as it was */
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct rt_queue *q = NULL;
    struct rt_mailbox *m = NULL;
    struct rt_thread *t = NULL;
    struct thread_facts facts;
    struct rt_err err;
    rt_alloc_fail_at(1, 1);
    assert_int_equal(rt_queue_new(1, 1, &q), RT_ENOMEM);
    assert_int_equal(rt_mailbox_new(count_wake, NULL, &m), RT_ENOMEM);
    assert_int_equal(rt_thread_start("x", learn, &facts, &t, &err), RT_ENOMEM);
    rt_alloc_fail_at(0, 0);
    assert_true(!q && !m && !t);
    assert_int_equal(rt_alloc_live(), live);
}

static int no_leak(void **state)
{
    (void)state;
    return rt_alloc_live() == 0 ? 0 : -1;
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_producers_and_a_worker),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_close_wakes_a_waiting_worker),
        cmocka_unit_test(test_mailbox_wakes_only_when_it_was_empty),
        cmocka_unit_test(test_many_posters),
        cmocka_unit_test(test_thread),
#ifdef RT_TEST
        cmocka_unit_test(test_out_of_memory),
#endif
    };
#ifdef RT_TEST
    return cmocka_run_group_tests(tests, NULL, no_leak);
#else
    return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
