/* The SQLite journal while the machine's clock is set: neither keys nor messages go before their time. */
#include "journal_test.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#define HOUR_MS 3600000

/* By so much the wall clock of this process is wrong. */
static _Atomic int64_t wrong_ms;

/* It stands in front of the C library's, before a sanitizer is ready as well. */
__attribute__((no_sanitize("thread", "address", "undefined"))) int clock_gettime(
    clockid_t clock, struct timespec *ret_time)
{
    long status = syscall(SYS_clock_gettime, clock, ret_time);
    if (status == 0 && clock == CLOCK_REALTIME)
        ret_time->tv_sec += (time_t)(atomic_load(&wrong_ms) / 1000);
    return (int)status;
}

static void set_clock(int64_t ms)
{
    atomic_store(&wrong_ms, ms);
}

static bool stored_as_new(struct world *w, const char *key)
{
    struct pub p;
    struct rt_message m = text_message("x", "anna", key);
    append_message(w, &p, "a", &m);
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    release(&p);
    return !p.append.duplicate;
}

static void reopen_at(struct world *w, int64_t ms)
{
    close_journal(w);
    set_clock(ms);
    open_journal(w);
}

static void test_keys(void **state)
{
    (void)state;
    static const int64_t jumps[] = {HOUR_MS, -HOUR_MS, 48 * HOUR_MS, 0};
    struct world w;
    set_clock(0);
    world_init(&w);
    open_journal(&w);
    assert_true(stored_as_new(&w, "k"));
    for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        char key[16];
        set_clock(jumps[i]);
        snprintf(key, sizeof(key), "after %zu", i);
        assert_true(stored_as_new(&w, key));
        assert_false(stored_as_new(&w, "k"));
        reopen_at(&w, -jumps[i]);
        assert_false(stored_as_new(&w, "k"));
        assert_false(stored_as_new(&w, key));
    }
    world_deinit(&w);
}

#define RETENTION_MS 2000

/* ms from `begin` until all messages are gone. */
static uint64_t gone_after(struct world *w, uint64_t begin)
{
    WAIT(w, sql(w->path, "SELECT count(*) FROM message") == 0);
    return rt_mono_ms() - begin;
}

static void expect_half(uint64_t took)
{
    if (took < RETENTION_MS / 2 - RETENTION_MS / 4)
        fail_msg("messages were gone after %llu ms", (unsigned long long)took);
}

/* Set ahead, the clock of retention follows at twice its speed. */
static void test_retention_set_ahead(void **state)
{
    (void)state;
    struct world w;
    set_clock(0);
    world_init(&w);
    w.options.retention = RETENTION_MS;
    open_journal(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM meta WHERE name='clock'") == 1);
    uint64_t begin = rt_mono_ms();
    for (int k = 0; k < 3; k++)
        (void)store(&w, "a", "x");
    set_clock(HOUR_MS);
    expect_half(gone_after(&w, begin));
    world_deinit(&w);
}

/* Set back, it goes back at once: what is published then is no older than it is. */
static void test_retention_set_back(void **state)
{
    (void)state;
    struct world w;
    set_clock(0);
    world_init(&w);
    w.options.retention = RETENTION_MS;
    open_journal(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM meta WHERE name='clock'") == 1);
    int64_t before = sql(w.path, "SELECT value FROM meta WHERE name='clock'");
    set_clock(-HOUR_MS);
    WAIT(&w, sql(w.path, "SELECT value FROM meta WHERE name='clock'") < before);
    uint64_t begin = rt_mono_ms();
    for (int k = 0; k < 3; k++)
        (void)store(&w, "a", "x");
    expect_half(gone_after(&w, begin));
    world_deinit(&w);
}

static void test_retention_after_restart(void **state)
{
    (void)state;
    struct world w;
    set_clock(0);
    world_init(&w);
    w.options.retention = RETENTION_MS;
    open_journal(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM meta WHERE name='clock'") == 1);
    uint64_t begin = rt_mono_ms();
    (void)store(&w, "a", "x");
    reopen_at(&w, 48 * HOUR_MS);
    (void)store(&w, "a", "from a clock that is ahead");
    (void)store(&w, "a", "the same");
    set_clock(0);
    (void)store(&w, "a", "x"); /* it is old one day, and those before it go with it */
    expect_half(gone_after(&w, begin));
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_retention_set_ahead),
        cmocka_unit_test(test_retention_set_back),
        cmocka_unit_test(test_retention_after_restart),
    };
    return cmocka_run_group_tests_name("sqlite_clock", tests, NULL, NULL);
}
