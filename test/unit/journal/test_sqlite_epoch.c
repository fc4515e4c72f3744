/* Epochs: a run that writes has one of its own, its positions stay good as long as the file has what it wrote. */
#include "fault_vfs.h"
#include "journal_test.h"

#include <sys/wait.h>

/* Stores `count` messages; returns the last offset. */
static uint64_t store_many(struct world *w, const char *channel, unsigned count)
{
    uint64_t offset = 0;
    for (unsigned i = 0; i < count; i++)
        offset = store(w, channel, "x");
    return offset;
}

static void backup_path(const struct world *w, char out[160])
{
    snprintf(out, 160, "%s/backup", w->dir);
}

/* Closes, and keeps a copy of the file. */
static void close_and_copy(struct world *w)
{
    char copy[160];
    backup_path(w, copy);
    close_journal(w);
    assert_false(exists(w->dir, "log.db-wal"));
    copy_file(w->path, copy);
}

/* Closes, puts the copy back, opens. */
static void put_back(struct world *w)
{
    char copy[160];
    backup_path(w, copy);
    close_journal(w);
    copy_file(copy, w->path);
    open_journal(w);
}

static void test_an_epoch_for_each_run_that_writes(void **state)
{
    (void)state;
    struct world w;
    char first[RT_EPOCH_MAX + 1], second[RT_EPOCH_MAX + 1], now[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    get_epoch(&w, first); /* from the start: a position may be told before anything is written */
    assert_int_equal(strlen(first), 12);
    store_many(&w, "a", 3);
    get_epoch(&w, now);
    assert_string_equal(now, first);
    reopen(&w);
    get_epoch(&w, now);
    assert_string_equal(now, first); /* it has written nothing */
    reopen(&w);
    assert_int_equal(store(&w, "a", "x"), 4);
    get_epoch(&w, second);
    assert_string_not_equal(second, first);
    store(&w, "b", "x");
    close_journal(&w);
    assert_int_equal(sql(w.path, "SELECT count(*) FROM epoch"), 2);
    world_deinit(&w);
}

static void test_the_answer_has_the_epoch_that_is_told(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    char now[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    append_key(&w, &p, "a", "", "key");
    await(&p);
    release(&p);
    reopen(&w);
    append_key(&w, &p, "a", "",
               "key"); /* a repetition: the first one's position, in the epoch of now */
    await(&p);
    release(&p);
    get_epoch(&w, now);
    assert_true(p.append.duplicate);
    assert_int_equal(p.append.position.offset, 1);
    assert_string_equal(p.append.position.epoch, now);
    world_deinit(&w);
}

static void test_positions_of_earlier_runs(void **state)
{
    (void)state;
    struct world w;
    char epochs[4][RT_EPOCH_MAX + 1];
    world_init(&w);
    for (unsigned run = 0; run < 4; run++) {
        open_journal(&w);
        store_many(&w, "a", 5);
        store_many(&w, "b", 2);
        get_epoch(&w, epochs[run]);
        for (unsigned earlier = 0; earlier <= run; earlier++) {
            for (uint64_t offset = 0; offset <= 5 * (earlier + 1); offset++)
                assert_int_equal(read_position(&w, "a", epochs[earlier], offset, false), RT_OK);
            /* What a later run wrote was never a position of this one. */
            if (earlier < run)
                assert_int_equal(
                    read_position(&w, "a", epochs[earlier], 5 * (earlier + 1) + 1, false),
                    RT_ERANGE);
        }
        assert_int_equal(read_position(&w, "a", "no such epoch", 1, false), RT_ERANGE);
        assert_int_equal(read_position(&w, "a", "no such epoch", 0, false), RT_ERANGE);
        assert_int_equal(read_position(&w, "a", "", 3, false), RT_OK);
        close_journal(&w);
    }
    world_deinit(&w);
}

static void test_a_file_that_is_put_back(void **state)
{
    (void)state;
    struct world w;
    char kept[RT_EPOCH_MAX + 1], lost[RT_EPOCH_MAX + 1], after[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 50);
    get_epoch(&w, kept);
    close_and_copy(&w);
    open_journal(&w);
    store_many(&w, "a", 50);
    store_many(&w, "only there", 5);
    get_epoch(&w, lost);
    put_back(&w);
    store_many(&w, "a", 70);
    get_epoch(&w, after);
    for (uint64_t offset = 1; offset <= 100; offset += 33) {
        assert_int_equal(read_position(&w, "a", lost, offset, false), RT_ERANGE);
        assert_int_equal(read_position(&w, "only there", lost, offset, false), RT_ERANGE);
        assert_int_equal(read_position(&w, "a", after, offset, false), RT_OK);
        assert_int_equal(read_position(&w, "a", kept, offset, false),
                         offset <= 50 ? RT_OK : RT_ERANGE);
    }
    assert_int_equal(read_position(&w, "a", kept, 50, false), RT_OK);
    assert_int_equal(read_position(&w, "a", kept, 51, false), RT_ERANGE);
    /* Backwards it is what comes before that counts. */
    assert_int_equal(read_position(&w, "a", kept, 51, true), RT_OK);
    assert_int_equal(read_position(&w, "a", kept, 52, true), RT_ERANGE);
    assert_int_equal(read_position(&w, "a", kept, 0, true), RT_OK);
    /* Once more: two futures of the same file. */
    put_back(&w);
    store_many(&w, "a", 90);
    assert_int_equal(read_position(&w, "a", lost, 60, false), RT_ERANGE);
    assert_int_equal(read_position(&w, "a", after, 60, false), RT_ERANGE);
    assert_int_equal(read_position(&w, "a", kept, 50, false), RT_OK);
    world_deinit(&w);
}

/* A copy of the middle of a run, as a backup makes it: both go on from it, neither under the epoch of the run. */
static void test_a_copy_of_a_run(void **state)
{
    (void)state;
    struct world w;
    char run[RT_EPOCH_MAX + 1], copy[160], into[200];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 10);
    get_epoch(&w, run);
    backup_path(&w, copy);
    snprintf(into, sizeof(into), "VACUUM INTO '%s'", copy);
    sql(w.path, into);
    store_many(&w, "a", 10);
    put_back(&w);
    assert_int_equal(top_of(&w, "a"), 10);
    store_many(&w, "a", 20);
    assert_int_equal(read_position(&w, "a", run, 10, false), RT_OK);
    assert_int_equal(read_position(&w, "a", run, 11, false), RT_ERANGE);
    assert_int_equal(read_position(&w, "a", run, 20, false), RT_ERANGE);
    world_deinit(&w);
}

/* Retention deleted what a position stands on. */
static void test_deleted_messages(void **state)
{
    (void)state;
    struct world w;
    char kept[RT_EPOCH_MAX + 1], lost[RT_EPOCH_MAX + 1], all[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 10);
    store_many(&w, "keeps the file from being empty", 1);
    get_epoch(&w, kept);
    close_and_copy(&w);
    open_journal(&w);
    store_many(&w, "a", 10);
    get_epoch(&w, lost);
    put_back(&w);
    store_many(&w, "a", 1);
    close_journal(&w);
    sql(w.path, "UPDATE message SET time=1 WHERE offset<=10");
    w.options.retention = 60000;
    open_journal(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM message") == 1);
    /* Nothing is missing behind the last one that was deleted. */
    assert_int_equal(read_position(&w, "a", kept, 10, false), RT_OK);
    assert_int_equal(read_position(&w, "a", lost, 10, false), RT_ERANGE);
    close_journal(&w);
    sql(w.path, "UPDATE message SET time=1");
    open_journal(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM message") == 0);
    assert_int_equal(read_position(&w, "a", kept, 11, false), RT_ERANGE);
    reopen(&w);
    /* An empty file: neither seq nor offset begin again. */
    assert_int_equal(store(&w, "a", "x"), 12);
    assert_true(sql(w.path, "SELECT seq FROM message") > 12);
    get_epoch(&w, all);
    assert_int_equal(read_position(&w, "a", kept, 12, false), RT_ERANGE);
    assert_int_equal(read_position(&w, "a", all, 12, false), RT_OK);
    world_deinit(&w);
}

/* A file of schema 1 had one epoch: its positions are those of the first run. */
static void test_migration(void **state)
{
    (void)state;
    struct world w;
    char now[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 6);
    close_journal(&w);
    sql(w.path, "DELETE FROM message WHERE offset<=2; DROP TABLE epoch;"
                "DELETE FROM meta WHERE name IN ('purged', 'unsummed');"
                "ALTER TABLE message DROP COLUMN sum;"
                "ALTER TABLE message DROP COLUMN except_in;"
                "INSERT INTO meta(name, value) VALUES('epoch', 'old-epoch-01'),"
                " ('created', '2026-01-01T00:00:00.000Z'), ('unsynced', '');"
                "PRAGMA user_version=1");
    open_journal(&w);
    get_epoch(&w, now);
    assert_string_equal(now, "old-epoch-01");
    assert_int_equal(store(&w, "a", "x"), 7);
    get_epoch(&w, now);
    assert_string_not_equal(now, "old-epoch-01");
    for (uint64_t offset = 0; offset <= 6; offset++)
        assert_int_equal(read_position(&w, "a", "old-epoch-01", offset, false), RT_OK);
    assert_int_equal(read_position(&w, "a", "old-epoch-01", 7, false), RT_ERANGE);
    close_journal(&w);
    assert_int_equal(sql(w.path, "SELECT value FROM meta WHERE name='purged'"), 2);
    assert_int_equal(sql(w.path, "PRAGMA user_version"), 4);
    world_deinit(&w);
}

/* Stores 30 messages in a process that is killed. */
static void store_and_die(struct world *w)
{
    rt_loop_free(w->loop);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        rt_loop_new(&w->loop, NULL);
        w->options.loop = w->loop;
        open_journal(w);
        store_many(w, "a", 30);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(rt_loop_new(&w->loop, NULL), 0);
    w->options.loop = w->loop;
}

/* Killed: what was acknowledged is there, in both modes, and so its positions are good. */
static void test_a_kill(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        struct world w;
        char before[RT_EPOCH_MAX + 1];
        world_init(&w);
        w.options.sync_full = full == 1;
        store_and_die(&w);
        open_journal(&w);
        assert_int_equal(top_of(&w, "a"), 30);
        get_epoch(&w, before);
        store_many(&w, "a", 5);
        assert_int_equal(read_position(&w, "a", before, 30, false), RT_OK);
        assert_int_equal(read_position(&w, "a", before, 31, false), RT_ERANGE);
        world_deinit(&w);
    }
}

/* The write-ahead log is gone: the same as a file that was put back. */
static void test_a_lost_log(void **state)
{
    (void)state;
    struct world w;
    char kept[RT_EPOCH_MAX + 1], lost[RT_EPOCH_MAX + 1], path[160];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 10);
    get_epoch(&w, kept);
    close_journal(&w);
    store_and_die(&w);
    open_journal(&w);
    get_epoch(&w, lost);
    close_journal(&w);
    store_and_die(&w);
    snprintf(path, sizeof(path), "%s-wal", w.path);
    assert_int_equal(unlink(path), 0);
    open_journal(&w);
    assert_int_equal(store(&w, "a", "x"), 41); /* 71 it would be */
    assert_int_equal(read_position(&w, "a", kept, 10, false), RT_OK);
    assert_int_equal(read_position(&w, "a", lost, 40, false), RT_OK);
    assert_int_equal(read_position(&w, "a", lost, 41, false), RT_ERANGE);
    world_deinit(&w);
}

/* It starts on a full disk, and tells positions that stay good. */
static void test_a_start_on_a_full_disk(void **state)
{
    (void)state;
    struct world w;
    char before[RT_EPOCH_MAX + 1], now[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 10);
    get_epoch(&w, before);
    close_journal(&w);
    fault_register();
    fault_clear();
    w.options.vfs = "fault";
    fault_plan(FAULT_WRITE, SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB, 0, -1, SQLITE_FULL);
    open_journal(&w);
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    get_epoch(&w, now);
    assert_string_equal(now, before);
    assert_int_equal(top_of(&w, "a"), 10);
    fault_clear();
    WAIT(&w, rt_journal_healthy(w.journal, NULL));
    assert_int_equal(store(&w, "a", "x"), 11);
    get_epoch(&w, now);
    assert_string_not_equal(now, before);
    assert_int_equal(read_position(&w, "a", before, 10, false), RT_OK);
    assert_int_equal(read_position(&w, "a", before, 11, false), RT_ERANGE);
    world_deinit(&w);
}

/* The table does not grow for ever. */
static void test_only_so_many_epochs(void **state)
{
    (void)state;
    struct world w;
    char first[RT_EPOCH_MAX + 1], second[RT_EPOCH_MAX + 1];
    world_init(&w);
    open_journal(&w);
    store_many(&w, "a", 2);
    get_epoch(&w, first);
    reopen(&w);
    store_many(&w, "a", 2);
    get_epoch(&w, second);
    close_journal(&w);
    sql(w.path, "UPDATE epoch SET id=10001 WHERE id=2");
    open_journal(&w);
    store(&w, "a", "x");
    assert_int_equal(read_position(&w, "a", first, 1, false), RT_ERANGE);
    assert_int_equal(read_position(&w, "a", second, 1, false), RT_OK);
    assert_int_equal(sql(w.path, "SELECT count(*) FROM epoch"), 2);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_epoch_for_each_run_that_writes),
        cmocka_unit_test(test_the_answer_has_the_epoch_that_is_told),
        cmocka_unit_test(test_positions_of_earlier_runs),
        cmocka_unit_test(test_a_file_that_is_put_back),
        cmocka_unit_test(test_a_copy_of_a_run),
        cmocka_unit_test(test_deleted_messages),
        cmocka_unit_test(test_migration),
        cmocka_unit_test(test_a_kill),
        cmocka_unit_test(test_a_lost_log),
        cmocka_unit_test(test_a_start_on_a_full_disk),
        cmocka_unit_test(test_only_so_many_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
