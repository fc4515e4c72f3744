/* Opening: what is refused and how it is said. */
#include "fault_vfs.h"
#include "journal/sqlite_lock.h"
#include "journal_test.h"

#include <errno.h>
#include <sys/wait.h>

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static void expect_refusal(struct world *w, int code, const char *words)
{
    assert_int_equal(try_open(w), code);
    assert_null(w->journal);
    if (!strstr(w->error, words) || !strstr(w->error, "log.db"))
        fail_msg("\"%s\" does not say \"%s\" and the file", w->error, words);
}

static void test_no_folder(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    snprintf(w.path, sizeof(w.path), "%s/none/log.db", w.dir);
    expect_refusal(&w, RT_EIO, strerror(ENOENT));
    world_deinit(&w);
}

static void test_a_folder(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    assert_int_equal(mkdir(w.path, 0700), 0);
    expect_refusal(&w, RT_EIO, strerror(EISDIR));
    rmdir(w.path);
    world_deinit(&w);
}

static void test_not_a_database(void **state)
{
    (void)state;
    struct world w;
    char text[5000];
    world_init(&w);
    memset(text, 'x', sizeof(text));
    write_file(w.path, text, sizeof(text));
    expect_refusal(&w, RT_EINVAL, "not a database");
    write_file(w.path, "short", 5);
    expect_refusal(&w, RT_EINVAL, "not a database");
    /* It was left as it was. */
    assert_int_equal(size_of(w.dir, "log.db"), 5);
    world_deinit(&w);
}

static void test_of_another_program(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    sql(w.path, "CREATE TABLE theirs(x)");
    expect_refusal(&w, RT_EINVAL, "another program");
    unlink(w.path);
    sql(w.path, "PRAGMA application_id=77; CREATE TABLE theirs(x)");
    expect_refusal(&w, RT_EINVAL, "another program");
    assert_int_equal(sql(w.path, "SELECT count(*) FROM sqlite_schema"), 1);
    world_deinit(&w);
}

static void test_of_a_newer_version(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    close_journal(&w);
    int64_t version = sql(w.path, "PRAGMA user_version");
    assert_int_equal(version, 4);
    sql(w.path, "PRAGMA user_version=9");
    expect_refusal(&w, RT_EINVAL, "newer rtbroker (schema 9");
    sql(w.path, "PRAGMA user_version=4");
    open_journal(&w);
    assert_int_equal(top_of(&w, "a"), 1);
    world_deinit(&w);
}

static void test_damaged(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    for (int i = 0; i < 200; i++)
        store(&w, "a", "some text that fills pages of the table and of its index");
    close_journal(&w);
    off_t size = size_of(w.dir, "log.db");
    assert_true(size > 8 * 4096);
    int fd = open(w.path, O_WRONLY);
    char zeros[4096] = {0};
    memset(zeros, 0x5a, sizeof(zeros));
    for (off_t page = 4; page < size / 4096; page++)
        assert_int_equal(pwrite(fd, zeros, sizeof(zeros), page * 4096), (ssize_t)sizeof(zeros));
    close(fd);
    expect_refusal(&w, RT_EINVAL, "damaged");
    world_deinit(&w);
}

static void test_read_only(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    close_journal(&w);
    fault_register();
    fault_clear();
    w.options.vfs = "fault";
    atomic_store(&fault.readonly, true);
    expect_refusal(&w, RT_EIO, "read-only");
    fault_clear();
    open_journal(&w);
    assert_int_equal(top_of(&w, "a"), 1);
    world_deinit(&w);
}

/* A new database on a disk that is full, or fails, at any write of its making. */
static void test_created_on_bad_disk(void **state)
{
    (void)state;
    struct world w;
    const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE};
    world_init(&w);
    fault_register();
    w.options.vfs = "fault";
    for (size_t i = 0; i < 2; i++) {
        int refusals = 0;
        for (int skip = 0;; skip++) {
            fault_plan(FAULT_WRITE, SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB, skip, -1, codes[i]);
            int code = try_open(&w);
            bool hit = atomic_load(&fault.hits) > 0;
            fault_clear();
            if (code < 0) {
                assert_int_equal(code, RT_EIO);
                assert_non_null(strstr(w.error, "log.db"));
                refusals++;
                open_journal(&w); /* whatever was left of it does */
            }
            assert_int_equal(store(&w, "a", "x"), 1);
            close_journal(&w);
            unlink(w.path);
            if (!hit)
                break;
        }
        assert_true(refusals >= 5);
    }
    world_deinit(&w);
}

static void test_unknown_vfs(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.options.vfs = "no such thing";
    expect_refusal(&w, RT_EIO, "no such");
    world_deinit(&w);
}

/* A second journal on the same file: in this process, and in another one. */
static void test_locked(void **state)
{
    (void)state;
    struct world w;
    struct world second;
    char process[32];
    world_init(&w);
    world_init(&second);
    open_journal(&w);
    snprintf(process, sizeof(process), "(process %ld)", (long)getpid());
    second.options.path = w.path;
    expect_refusal(&second, RT_EIO, "in use by another rtbroker");
    assert_non_null(strstr(second.error, process));
    /* The refused one did not break the locks of the first: another program cannot take the file over. */
    assert_int_equal(store(&w, "a", "x"), 1);
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(w.path, &other), SQLITE_OK);
    sqlite3_exec(other, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    sqlite3_close(other);
    assert_true(exists(w.dir, "log.db-wal"));
    assert_int_equal(store(&w, "a", "x"), 2);
    close_journal(&w);
    open_journal(&second);
    assert_int_equal(store(&second, "a", "x"), 3);
    close_journal(&second);
    world_deinit(&second);
    world_deinit(&w);
}

/* A second process that has another name for the file. */
static void test_locked_by_another_name(void **state)
{
    (void)state;
    struct world w;
    char process[32], names[2][96];
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    snprintf(process, sizeof(process), "(process %ld)", (long)getpid());
    for (int i = 0; i < 2; i++)
        snprintf(names[i], sizeof(names[i]), "%s/%s", w.dir, i ? "symbolic" : "hard");
    assert_int_equal(link(w.path, names[0]), 0);
    assert_int_equal(symlink(w.path, names[1]), 0);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct rt_db_lock lock = RT_DB_LOCK_INIT;
            struct rt_err err = {0};
            bool refused = rt_db_lock(names[i], &lock, &err) == RT_EIO;
            _exit(refused && strstr(err.text, process) && strstr(err.text, names[i]) ? 0 : 1);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(store(&w, "a", "x"), 2);
    /* Once it is closed another name is as good. */
    close_journal(&w);
    w.options.path = names[0];
    open_journal(&w);
    assert_int_equal(store(&w, "a", "x"), 3);
    world_deinit(&w);
}

/* Messages are nobody else's business. */
static void test_file_mode(void **state)
{
    (void)state;
    struct world w;
    struct stat st;
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    const char *const names[] = {"", "-wal", "-shm", "-lock"};
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s%s", w.path, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_a_folder),
        cmocka_unit_test(test_not_a_database),
        cmocka_unit_test(test_of_another_program),
        cmocka_unit_test(test_of_a_newer_version),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_created_on_bad_disk),
        cmocka_unit_test(test_unknown_vfs),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_locked_by_another_name),
        cmocka_unit_test(test_file_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
