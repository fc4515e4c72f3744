/* Out of memory, ours and SQLite's: opening fails whole, an append or a read fails alone, and afterwards everything works. */
#include "fault_vfs.h"
#include "journal/sqlite_backup.h"
#include "journal_test.h"

/* ---- SQLite's allocator ------------------------------------------------------------------------------------- */

static sqlite3_mem_methods real;
static atomic_long left; /* allocations that still work; below 0: all do */
static atomic_bool hit;

static bool refused(void)
{
    if (atomic_load(&left) < 0 || atomic_fetch_sub(&left, 1) > 0)
        return false;
    atomic_store(&hit, true);
    return true;
}

static void *lean_malloc(int size)
{
    return refused() ? NULL : real.xMalloc(size);
}

static void *lean_realloc(void *ptr, int size)
{
    return refused() ? NULL : real.xRealloc(ptr, size);
}

/* The n-th allocation from now fails, once. */
static void sqlite_fail_at(long n)
{
    atomic_store(&hit, false);
    atomic_store(&left, n - 1);
}

static int install(void **state)
{
    (void)state;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real), SQLITE_OK);
    sqlite3_mem_methods lean = real;
    lean.xMalloc = lean_malloc;
    lean.xRealloc = lean_realloc;
    atomic_store(&left, -1);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &lean), SQLITE_OK);
    return 0;
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* Fails until the n-th allocation is past what opening needs. Never half open: nothing leaks, the lock is free again. */
static void test_open(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    unsigned failures = 0;
    for (unsigned long n = 1;; n++) {
        rt_alloc_fail_at(n, 0);
        int code = try_open(&w);
        int failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        if (code == 0)
            close_journal(&w);
        else
            assert_int_equal(code, RT_ENOMEM);
        rt_loop_turn(w.loop, 0); /* the waker's handle closes */
        if (!failed)
            break;
        failures += code != 0;
    }
    assert_true(failures >= 8);
    long live = rt_alloc_live();
    for (unsigned long n = 1; n <= failures; n++) {
        rt_alloc_fail_at(n, 0);
        if (try_open(&w) == 0)
            close_journal(&w);
        rt_alloc_fail_at(0, 0);
        rt_loop_turn(w.loop, 0);
    }
    rt_loop_turn(w.loop, 0);
    assert_int_equal(rt_alloc_live(), live);
    world_deinit(&w);
}

static void test_open_sqlite(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    close_journal(&w);
    unsigned failures = 0;
    bool more = true;
    for (long n = 1; more; n++) {
        sqlite_fail_at(n);
        int code = try_open(&w);
        atomic_store(&left, -1);
        more = atomic_load(&hit);
        if (code == 0) { /* not every allocation of SQLite is vital */
            assert_int_equal(top_of(&w, "a"), 1);
            close_journal(&w);
        } else {
            assert_true(code == RT_ENOMEM || code == RT_EIO);
            assert_true(w.error[0] != '\0');
            failures++;
        }
        rt_loop_turn(w.loop, 0);
    }
    assert_true(failures > 100);
    open_journal(&w);
    assert_int_equal(store(&w, "a", "x"), 2);
    world_deinit(&w);
}

/* ---- working ------------------------------------------------------------------------------------------------ */

enum { ROUND = 12 };

/* A round of appends to old and new channels, keyed and not, of which some may fail; then all that was answered OK is there, in order. */
struct tally {
    struct world *w;
    uint64_t tops[2]; /* of "a" and "b" */
    uint64_t unknown[2];
    unsigned channels;
    unsigned refused;
    unsigned stops;
};

static void round_of_appends(struct tally *t)
{
    struct pub pubs[ROUND];
    char key[24];
    char fresh[24];
    t->w->answers = 0;
    snprintf(fresh, sizeof(fresh), "fresh %u", t->channels++);
    for (int i = 0; i < ROUND; i++) {
        snprintf(key, sizeof(key), "%u.%d", t->channels, i);
        const char *channel = i % 4 == 3 ? fresh : i % 2 ? "a" : "b";
        append_key(t->w, &pubs[i], channel, "anna", i % 3 ? key : NULL);
    }
    WAIT(t->w, t->w->answers == ROUND);
    bool failed[2] = {false, false};
    for (int i = 0; i < ROUND; i++) {
        const struct rt_append *append = &pubs[i].append;
        assert_int_equal(pubs[i].answered, i + 1);
        int which = i % 4 == 3 ? -1 : i % 2;
        t->refused += append->status == RT_EAGAIN;
        if (append->status == RT_EUNKNOWN && which >= 0)
            t->unknown[which]++;
        if (which >= 0 && append->status == RT_OK) {
            assert_false(failed[which]); /* none behind a failed one */
            assert_false(append->duplicate);
            assert_int_equal(append->position.offset, ++t->tops[which]);
        } else if (which >= 0) {
            assert_true(append->status == RT_EAGAIN || append->status == RT_EUNKNOWN);
            failed[which] = true;
        }
        release(&pubs[i]);
    }
}

/* A failed COMMIT is final: the next process finds the unknown ones of the batch, or none of them. */
static void start_again(struct tally *t)
{
    t->stops++;
    t->w->failed = 0;
    reopen(t->w);
    uint64_t a = top_of(t->w, "a");
    uint64_t b = top_of(t->w, "b");
    bool all = a == t->tops[1] + t->unknown[1] && b == t->tops[0] + t->unknown[0];
    assert_true(all || (a == t->tops[1] && b == t->tops[0]));
    t->tops[1] = a;
    t->tops[0] = b;
}

static void expect_tops(struct tally *t)
{
    assert_int_equal(top_of(t->w, "a"), t->tops[1]);
    assert_int_equal(top_of(t->w, "b"), t->tops[0]);
    assert_int_equal(sql(t->w->path, "SELECT count(*) FROM message JOIN channel"
                                     " ON channel_id=channel.id WHERE name='a'"),
                     t->tops[1]);
}

/* Hands in messages that were made before, then any allocation of the writer fails, the n-th only or all from there. */
static bool append_without_memory(struct tally *t, unsigned long n, bool forever)
{
    struct pub pubs[ROUND];
    const struct rt_str attachment = RT_STR("binary");
    struct rt_message m = text_message("x", NULL, NULL);
    m.attachments = &attachment;
    m.attachment_count = 1;
    memset(pubs, 0, sizeof(pubs));
    t->w->answers = 0;
    for (int i = 0; i < ROUND; i++) {
        pubs[i].world = t->w;
        snprintf(pubs[i].name, sizeof(pubs[i].name), "%d %lu/%d", forever, n, i % 5);
        pubs[i].append.channel_name = rt_str_c(pubs[i].name);
        pubs[i].append.message = rt_stored_new(&m);
        pubs[i].append.done = on_append;
    }
    rt_alloc_fail_at(n, forever);
    for (int i = 0; i < ROUND; i++) /* handing in allocates nothing */
        assert_int_equal(rt_journal_append(t->w->journal, &pubs[i].append), RT_PENDING);
    WAIT(t->w, t->w->answers == ROUND);
    bool hit_one = rt_alloc_failed();
    rt_alloc_fail_at(0, 0);
    uint64_t tops[5] = {0};
    bool failed[5] = {false};
    for (int i = 0; i < ROUND; i++) {
        const struct rt_append *append = &pubs[i].append;
        failed[i % 5] |= append->status != RT_OK;
        assert_true(append->status == RT_OK || append->status == RT_EAGAIN);
        t->refused += append->status != RT_OK;
        if (!failed[i % 5])
            assert_int_equal(append->position.offset, ++tops[i % 5]);
        else
            assert_int_equal(append->status, RT_EAGAIN); /* none behind a failed one */
        release(&pubs[i]);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(top_of(t->w, pubs[i].name), tops[i]);
    return hit_one;
}

/* One allocation that fails is made up for by the second try of the batch; lasting ones fail what needs them. */
static void test_append(void **state)
{
    (void)state;
    struct world w;
    struct tally t = {.w = &w};
    world_init(&w);
    open_journal(&w);
    for (int forever = 0; forever < 2; forever++) {
        unsigned long n = 1;
        while (append_without_memory(&t, n, forever))
            n++;
        assert_true(n > 5);
        assert_int_equal(t.refused > 0, forever);
    }
    round_of_appends(&t);
    expect_tops(&t);
    assert_int_equal(w.failed, 0);
    assert_true(rt_journal_healthy(w.journal, NULL));
    world_deinit(&w);
}

static void test_append_sqlite(void **state)
{
    (void)state;
    struct world w;
    struct tally t = {.w = &w};
    world_init(&w);
    open_journal(&w);
    round_of_appends(&t);
    bool more = true;
    for (long n = 1; more; n++) {
        t.unknown[0] = t.unknown[1] = 0;
        sqlite_fail_at(n);
        round_of_appends(&t);
        atomic_store(&left, -1);
        more = atomic_load(&hit);
        rt_loop_turn(w.loop, 0);
        if (w.failed || t.unknown[0] || t.unknown[1])
            start_again(&t);
        expect_tops(&t);
        round_of_appends(&t); /* heals, and shows that nothing is left behind */
        expect_tops(&t);
    }
    assert_true(t.refused > 0);
    WAIT(&w, rt_journal_healthy(w.journal, NULL));
    world_deinit(&w);
}

static void test_read(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    world_init(&w);
    open_journal(&w);
    for (int i = 0; i < 100; i++)
        store(&w, "a", "x");
    unsigned failures = 0;
    bool more = true;
    for (unsigned long n = 1; more; n++) {
        long live = rt_alloc_live();
        rt_alloc_fail_at(n, 0);
        read_page(&w, &page, "a", 0, 0, 100, n % 2);
        more = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        if (more) {
            assert_int_equal(page.read.status, RT_ENOMEM);
            assert_int_equal(page.read.count, 0);
            assert_true(page.read.text[0] != '\0');
            failures++;
        } else {
            assert_int_equal(page.read.status, RT_OK);
            assert_int_equal(page.read.count, 100);
        }
        release_page(&page);
        assert_int_equal(rt_alloc_live(), live);
    }
    assert_true(failures > 100);
    more = true;
    for (long n = 1; more; n++) {
        sqlite_fail_at(n);
        read_page(&w, &page, "a", 0, 0, 100, n % 2);
        atomic_store(&left, -1);
        more = atomic_load(&hit);
        if (page.read.status != RT_OK) {
            assert_int_equal(page.read.status, RT_ENOMEM);
            assert_int_equal(page.read.count, 0);
        } else {
            assert_int_equal(page.read.count, 100);
        }
        release_page(&page);
    }
    world_deinit(&w);
}

/* ---- a backup ---------------------------------------------------------------------------------------------- */

/* One try; whether it went well. A copy is whole or not there. */
static bool try_backup(const struct world *w, const char *to)
{
    struct rt_err err = {0};
    uint64_t bytes = 0;
    int code = rt_db_backup(w->path, to, &bytes, &err);
    rt_alloc_fail_at(0, 0);
    atomic_store(&left, -1);
    if (code != 0) {
        assert_true(code == RT_ENOMEM || code == RT_EIO);
        assert_true(err.text[0] != '\0');
        assert_false(exists(w->dir, "copy"));
        return false;
    }
    assert_int_equal(sql(to, "SELECT count(*) FROM message"), 3);
    assert_int_equal(unlink(to), 0);
    return true;
}

static unsigned files_of(const char *dir)
{
    unsigned count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static void test_backup(void **state)
{
    (void)state;
    struct world w;
    char to[160];
    world_init(&w);
    snprintf(to, sizeof(to), "%s/copy", w.dir);
    open_journal(&w);
    for (int i = 0; i < 3; i++)
        store(&w, "a", "x");
    unsigned files = files_of(w.dir), failures = 0;
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        rt_alloc_fail_at(n, 0);
        failed = !try_backup(&w, to);
        failures += failed;
    }
    assert_true(failures > 0);
    bool met = true;
    for (long n = 1; met; n++) {
        sqlite_fail_at(n);
        failures += !try_backup(&w, to);
        met = atomic_load(&hit);
        assert_int_equal(files_of(w.dir), files);
    }
    assert_true(failures > 20);
    assert_int_equal(store(&w, "a", "x"), 4);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backup),        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_sqlite),   cmocka_unit_test(test_append),
        cmocka_unit_test(test_append_sqlite), cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
