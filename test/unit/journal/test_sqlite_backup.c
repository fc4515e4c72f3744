/* A copy of the database: whole or not there. That it may be put back is shown by integration/durability. */
#include "journal/sqlite_backup.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "journal_test.h"

struct rig {
    struct world w;
    char to[160];
    struct rt_err err;
};

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    world_init(&r->w);
    snprintf(r->to, sizeof(r->to), "%s/copy.db", r->w.dir);
}

static unsigned files_of(const struct world *w)
{
    unsigned count = 0;
    DIR *d = opendir(w->dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static void expect_refusal(struct rig *r, int code, const char *words)
{
    uint64_t bytes = 77;
    unsigned files = files_of(&r->w);
    assert_int_equal(rt_db_backup(r->w.path, r->to, &bytes, &r->err), code);
    if (!strstr(r->err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", r->err.text, words);
    assert_int_equal(bytes, 77);
    assert_int_equal(files_of(&r->w), files); /* nothing is left behind */
}

/* Beside a journal that is open, with what is still in its write-ahead log. */
static void test_beside_the_writer(void **state)
{
    (void)state;
    struct rig r;
    struct stat st;
    uint64_t bytes = 0;
    rig_init(&r);
    open_journal(&r.w);
    for (int i = 0; i < 300; i++)
        store(&r.w, "a", "some text that fills pages of the table");
    assert_true(size_of(r.w.dir, "log.db-wal") > 0);
    assert_int_equal(rt_db_backup(r.w.path, r.to, &bytes, &r.err), 0);
    assert_int_equal(stat(r.to, &st), 0);
    assert_int_equal(bytes, st.st_size);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(exists(r.w.dir, "copy.db-wal"));
    assert_false(exists(r.w.dir, "copy.db-journal"));
    assert_int_equal(store(&r.w, "a", "x"), 301); /* the writer has its locks */
    expect_refusal(&r, RT_EEXIST, "copy.db: cannot make a backup there: File exists");
    close_journal(&r.w);
    snprintf(r.w.path, sizeof(r.w.path), "%.80s", r.to);
    open_journal(&r.w);
    assert_int_equal(top_of(&r.w, "a"), 300);
    world_deinit(&r.w);
}

/* A database whose broker was killed: what is in its write-ahead log is in the copy, the file itself is left as it is. */
static void test_without_a_writer(void **state)
{
    (void)state;
    struct rig r;
    uint64_t bytes = 0;
    rig_init(&r);
    open_journal(&r.w);
    store(&r.w, "a", "x");
    close_journal(&r.w);
    off_t size = size_of(r.w.dir, "log.db");
    assert_int_equal(rt_db_backup(r.w.path, r.to, &bytes, &r.err), 0);
    assert_int_equal(size_of(r.w.dir, "log.db"), size);
    assert_int_equal(sql(r.to, "SELECT count(*) FROM message"), 1);
    world_deinit(&r.w);
}

static void test_refusals(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    expect_refusal(&r, RT_EIO, "log.db");
    int fd = open(r.w.path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    expect_refusal(&r, RT_EINVAL, "log.db: the file is empty");
    sql(r.w.path, "CREATE TABLE theirs(x)");
    expect_refusal(&r, RT_EINVAL, "another program");
    unlink(r.w.path);
    open_journal(&r.w);
    store(&r.w, "a", "x");
    close_journal(&r.w);
    snprintf(r.to, sizeof(r.to), "%s/none/copy.db", r.w.dir);
    expect_refusal(&r, RT_EIO, strerror(ENOENT));
    snprintf(r.to, sizeof(r.to), "%s", r.w.dir);
    expect_refusal(&r, RT_EEXIST, "File exists");
    snprintf(r.to, sizeof(r.to), "%s", r.w.path);
    expect_refusal(&r, RT_EEXIST, "File exists");
    world_deinit(&r.w);
}

/* There is no room for the copy. */
static void test_no_room(void **state)
{
    (void)state;
    struct rig r;
    struct rlimit old, small = {.rlim_cur = 65536};
    rig_init(&r);
    open_journal(&r.w);
    for (int i = 0; i < 600; i++)
        store(&r.w, "a", "some text that fills pages of the table and makes the file larger");
    close_journal(&r.w);
    assert_true(size_of(r.w.dir, "log.db") > 65536);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_refusal(&r, RT_EIO, "cannot write the copy");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    world_deinit(&r.w);
}

/* A source with damaged pages is no backup. */
static void test_damaged(void **state)
{
    (void)state;
    struct rig r;
    char junk[4096];
    rig_init(&r);
    open_journal(&r.w);
    for (int i = 0; i < 200; i++)
        store(&r.w, "a", "some text that fills pages of the table and of its index");
    close_journal(&r.w);
    off_t size = size_of(r.w.dir, "log.db");
    int fd = open(r.w.path, O_WRONLY);
    memset(junk, 0x5a, sizeof(junk));
    for (off_t page = 5; page < size / 4096; page++)
        assert_int_equal(pwrite(fd, junk, sizeof(junk), page * 4096), (ssize_t)sizeof(junk));
    close(fd);
    expect_refusal(&r, RT_EINVAL, "the copy is not good: the database is damaged (or a -wal");
    world_deinit(&r.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beside_the_writer), cmocka_unit_test(test_without_a_writer),
        cmocka_unit_test(test_refusals),          cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
