/* Disks that are full, fail or tear, and rows that cannot be stored. After every one of them: what was acknowledged is there. */
#include <signal.h>
#include <sys/resource.h>

#include "fault_vfs.h"
#include "journal_test.h"

#define BOTH (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB)

static void init(struct world *w)
{
    world_init(w);
    fault_register();
    fault_clear();
    w->options.vfs = "fault";
}

static void deinit(struct world *w)
{
    fault_clear();
    world_deinit(w);
}

/* Offsets 1 to `count` are stored, in this process and after a restart. */
static void expect_stored(struct world *w, const char *channel, uint64_t count)
{
    struct page page;
    read_page(w, &page, channel, 0, 0, 100000, false);
    assert_int_equal(page.read.status, RT_OK);
    assert_int_equal(page.read.count, count);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(page.read.messages[i]->m.offset, i + 1);
    assert_int_equal(page.read.top.offset, count);
    release_page(&page);
}

/* Writes find no room for a while: `retry`, unhealthy, and well again without a publish. */
static void test_disk_full_and_back(void **state)
{
    (void)state;
    struct world w;
    struct pub pubs[20];
    const char *text;
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    store(&w, "b", "x");
    w.answers = 0;
    fault_plan(FAULT_WRITE, BOTH, 0, -1, SQLITE_FULL);
    for (int i = 0; i < 20; i++)
        append_text(&w, &pubs[i], i % 2 ? "a" : "b", "x");
    WAIT(&w, w.answers == 20);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pubs[i].append.status, RT_EAGAIN);
        assert_int_equal(pubs[i].append.position.offset, 0);
        assert_non_null(strstr(pubs[i].append.text, "full"));
        assert_int_equal(pubs[i].answered, i + 1);
        release(&pubs[i]);
    }
    WAIT(&w, !rt_journal_healthy(w.journal, &text));
    assert_non_null(strstr(text, "no space left"));
    assert_int_equal((int)sample(&w, "rtbroker_storage_up"), 0);
    assert_int_equal((int)sample(&w, "rtbroker_journal_appends_total{result=\"retry\"}"), 20);
    /* Reading goes on, and so does refusing. */
    expect_stored(&w, "a", 1);
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    int before = atomic_load(&fault.hits);
    WAIT(&w, atomic_load(&fault.hits) > before); /* a probe */
    assert_false(rt_journal_healthy(w.journal, NULL));
    fault_clear();
    WAIT(&w, rt_journal_healthy(w.journal, &text));
    assert_string_equal(text, "");
    assert_int_equal((int)sample(&w, "rtbroker_storage_up"), 1);
    assert_int_equal(store(&w, "a", "x"), 2);
    assert_int_equal(w.failed, 0);
    reopen(&w);
    expect_stored(&w, "a", 2);
    expect_stored(&w, "b", 1);
    assert_int_equal(sql(w.path, "SELECT count(*) FROM meta WHERE name='probe'"), 0);
    deinit(&w);
}

/* A duplicate is answered without a write: it is acknowledged on a full disk, and says nothing about its health. */
static void test_duplicate_on_full_disk(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    init(&w);
    open_journal(&w);
    append_key(&w, &p, "a", "anna", "k");
    await(&p);
    release(&p);
    fault_plan(FAULT_WRITE, BOTH, 0, -1, SQLITE_FULL);
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    WAIT(&w, !rt_journal_healthy(w.journal, NULL));
    append_key(&w, &p, "a", "anna", "k");
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    assert_true(p.append.duplicate);
    release(&p);
    expect_stored(&w, "a", 1);
    assert_false(rt_journal_healthy(w.journal, NULL));
    deinit(&w);
}

/* A publish that finds room again heals as well; every n-th write in turn is the one that finds none. */
static void test_full_at_every_write(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    open_journal(&w);
    uint64_t stored = 0;
    unsigned refused = 0;
    for (int torn = 0; torn < 2; torn++) {
        for (int skip = 0;; skip++) {
            fault_plan(FAULT_WRITE, BOTH, skip, 1, SQLITE_FULL);
            atomic_store(&fault.torn, torn);
            int status = status_of(&w, "a", "x");
            int hits = atomic_load(&fault.hits);
            fault_clear();
            if (status == RT_OK)
                stored++;
            else
                refused++;
            assert_true(status == RT_OK || status == RT_EAGAIN);
            assert_int_equal(status == RT_EAGAIN, hits > 0);
            expect_stored(&w, "a", stored);
            if (hits == 0)
                break;
        }
    }
    assert_true(refused >= 8);
    assert_int_equal(w.failed, 0);
    reopen(&w);
    expect_stored(&w, "a", stored);
    deinit(&w);
}

/* A whole batch is taken back, whatever its size, and its channels' counts with it. */
static void test_max_size(void **state)
{
    (void)state;
    struct world w;
    enum { FLIGHT = 200, SIZE = 3000 };
    struct pub *pubs = calloc(FLIGHT, sizeof(*pubs));
    char data[SIZE + 1];
    const char *text;
    assert_non_null(pubs);
    memset(data, 'x', SIZE);
    data[SIZE] = '\0';
    init(&w);
    w.options.max_size = 2 << 20;
    open_journal(&w);
    uint64_t stored = 0;
    unsigned refused = 0;
    for (int round = 0; round < 10 && refused == 0; round++) {
        w.answers = 0;
        for (int i = 0; i < FLIGHT; i++)
            append_text(&w, &pubs[i], "a", data);
        WAIT(&w, w.answers == FLIGHT);
        for (int i = 0; i < FLIGHT; i++) {
            if (pubs[i].append.status == RT_OK)
                assert_int_equal(pubs[i].append.position.offset, ++stored);
            else if (++refused)
                assert_int_equal(pubs[i].append.status, RT_EAGAIN);
            release(&pubs[i]);
        }
    }
    assert_true(stored >= FLIGHT && refused > 0);
    WAIT(&w, !rt_journal_healthy(w.journal, &text));
    assert_non_null(strstr(text, "storage.max_size"));
    /* Fill it up with single rows: then a restart keeps refusing, and a higher limit heals. */
    while (status_of(&w, "a", data) == RT_OK)
        stored++;
    assert_true(size_of(w.dir, "log.db") <= 2 << 20);
    reopen(&w);
    expect_stored(&w, "a", stored);
    assert_int_equal(status_of(&w, "a", data), RT_EAGAIN);
    close_journal(&w);
    w.options.max_size = 4 << 20;
    open_journal(&w);
    assert_int_equal(store(&w, "a", data), stored + 1);
    assert_int_equal(w.failed, 0);
    free(pubs);
    deinit(&w);
}

/* Full because of what is old: the retention makes room, the probe notices. */
static void test_retention_makes_room(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    char data[3001];
    memset(data, 'x', 3000);
    data[3000] = '\0';
    init(&w);
    w.options.max_size = 1 << 20;
    open_journal(&w);
    struct rt_message old = text_message(data, NULL, NULL);
    old.time = rt_wall_ms() - 3500;
    do {
        append_message(&w, &p, "a", &old);
        await(&p);
        release(&p);
    } while (p.append.status == RT_OK);
    WAIT(&w, !rt_journal_healthy(w.journal, NULL));
    close_journal(&w);
    w.options.retention = 4000;
    open_journal(&w);
    if (status_of(&w, "a", data) != RT_OK) { /* it may be past their time already */
        WAIT(&w, !rt_journal_healthy(w.journal, NULL));
        WAIT(&w, rt_journal_healthy(w.journal, NULL));
    }
    assert_int_equal(status_of(&w, "a", data), RT_OK);
    deinit(&w);
}

static void store_old(struct world *w, int count)
{
    struct pub p;
    struct rt_message old = text_message("x", NULL, NULL);
    old.time = 1000;
    for (int i = 0; i < count; i++) {
        append_message(w, &p, "a", &old);
        await(&p);
        assert_int_equal(p.append.status, RT_OK);
        release(&p);
    }
}

/* Retention on a full disk waits for better times; a disk that fails under it is as final as under a message. */
static void test_retention_meets_faults(void **state)
{
    (void)state;
    struct world w;
    const char *text;
    init(&w);
    open_journal(&w);
    store_old(&w, 30);
    close_journal(&w);
    w.options.retention = 400; /* looks every 100 ms */
    fault_plan(FAULT_WRITE, SQLITE_OPEN_WAL, 0, -1, SQLITE_FULL);
    open_journal(&w);
    WAIT(&w, atomic_load(&fault.hits) >= 3);
    assert_int_equal(sql(w.path, "SELECT count(*) FROM message"), 30);
    assert_true(rt_journal_healthy(w.journal, NULL));
    fault_clear();
    WAIT(&w, sql(w.path, "SELECT count(*) FROM message") == 0);
    assert_int_equal(w.failed, 0);

    fault_plan(FAULT_SYNC, SQLITE_OPEN_WAL, 1, 1, SQLITE_IOERR_FSYNC);
    store_old(&w, 1);
    WAIT(&w, w.failed == 1);
    assert_false(rt_journal_healthy(w.journal, &text));
    assert_non_null(strstr(text, "storage failed"));
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    deinit(&w);
}

/* The disk is full, and then it fails: the probe finds out. */
static void test_probe_meets_fault(void **state)
{
    (void)state;
    struct world w;
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    fault_plan(FAULT_WRITE, BOTH, 0, 1, SQLITE_FULL);
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    fault_plan(FAULT_SYNC, SQLITE_OPEN_WAL, 0, 1, SQLITE_IOERR_FSYNC);
    WAIT(&w, w.failed == 1);
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    close_journal(&w);
    fault_clear();
    open_journal(&w);
    expect_stored(&w, "a", 1);
    deinit(&w);
}

/* The fsync of a commit fails: this batch is unknown, nothing is acknowledged after it, `failed` comes once and last. */
static void test_sync_fails(void **state)
{
    (void)state;
    struct world w;
    struct pub pubs[2000];
    const char *text;
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    w.answers = 0;
    fault_plan(FAULT_SYNC, SQLITE_OPEN_WAL, 0, 1,
               SQLITE_IOERR_FSYNC); /* once: later ones would work */
    for (int i = 0; i < 2000; i++)
        append_text(&w, &pubs[i], "a", "x");
    WAIT(&w, w.answers == 2000 && w.failed);
    unsigned unknown = 0;
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(pubs[i].answered, i + 1);
        if (pubs[i].append.status == RT_EUNKNOWN)
            assert_int_equal(unknown++, i); /* the first batch */
        else
            assert_int_equal(pubs[i].append.status, RT_EAGAIN);
        assert_true(pubs[i].append.text[0] != '\0');
        release(&pubs[i]);
    }
    assert_true(unknown >= 1 && unknown <= 1000);
    assert_int_equal(atomic_load(&fault.hits), 1);
    assert_int_equal(w.failed, 1);
    assert_true(w.failed_after >= unknown);
    assert_false(rt_journal_healthy(w.journal, &text));
    assert_non_null(strstr(text, "storage failed"));
    struct pub late;
    append_text(&w, &late, "b", "x");
    assert_int_equal(late.returned, RT_EAGAIN);
    assert_non_null(strstr(late.append.text, "storage failed"));
    release(&late);
    assert_int_equal((int)sample(&w, "rtbroker_journal_appends_total{result=\"unknown\"}"),
                     (int)unknown);
    assert_int_equal((int)sample(&w, "rtbroker_storage_up"), 0);
    expect_stored(&w, "a", 1);
    close_journal(&w);
    assert_int_equal(w.failed, 1);
    assert_true(exists(w.dir, "log.db-wal")); /* left for the next start to read */
    fault_clear();
    open_journal(&w);
    uint64_t top = top_of(&w, "a"); /* with the unknown batch or without it */
    assert_true(top == 1 || top == 1 + unknown);
    expect_stored(&w, "a", top);
    assert_int_equal(store(&w, "a", "x"), top + 1);
    deinit(&w);
}

/* One fault in turn at each call of a kind, each on a fresh journal: unknown or retry, then silence, then a clean start. */
static void fault_at(int call, int code, bool torn, int skip, bool *ret_more)
{
    struct world w;
    init(&w);
    open_journal(&w);
    uint64_t stored = 0;
    fault_plan(call, BOTH, skip, 1, code);
    atomic_store(&fault.torn, torn);
    int status = RT_OK;
    for (int i = 0; i < 40 && status == RT_OK; i++) {
        status = status_of(&w, i % 2 ? "a" : "b", "some text");
        stored += status == RT_OK;
    }
    *ret_more = atomic_load(&fault.hits) > 0;
    if (status != RT_OK) {
        assert_true(status == RT_EUNKNOWN || status == RT_EAGAIN);
        WAIT(&w, w.failed == 1);
        assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    }
    close_journal(&w);
    fault_clear();
    open_journal(&w);
    uint64_t found = top_of(&w, "a") + top_of(&w, "b");
    assert_true(found == stored || (status == RT_EUNKNOWN && found == stored + 1));
    expect_stored(&w, "a", top_of(&w, "a"));
    expect_stored(&w, "b", top_of(&w, "b"));
    assert_int_equal(sql(w.path, "SELECT count(*) FROM message"), found);
    deinit(&w);
}

static void test_io_errors(void **state)
{
    (void)state;
    const struct {
        int call, code;
        bool torn;
    } kinds[] = {{FAULT_WRITE, SQLITE_IOERR_WRITE, false},
                 {FAULT_WRITE, SQLITE_IOERR_WRITE, true},
                 {FAULT_SYNC, SQLITE_IOERR_FSYNC, false},
                 {FAULT_READ, SQLITE_IOERR_READ, false}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        bool more = true;
        int skip = 0;
        for (; more && skip < 300; skip += 1 + skip / 8)
            fault_at(kinds[i].call, kinds[i].code, kinds[i].torn, skip, &more);
        if (kinds[i].call != FAULT_READ) /* everything may be in the cache */
            assert_true(skip > 10);
    }
}

/* The checkpoint's fsync counts as well: the WAL that has the data may not be written over. */
static void test_checkpoint_fails(void **state)
{
    (void)state;
    struct world w;
    enum { SIZE = 60000 };
    char *data = malloc(SIZE + 1);
    assert_non_null(data);
    memset(data, 'x', SIZE);
    data[SIZE] = '\0';
    init(&w);
    open_journal(&w);
    fault_plan(FAULT_SYNC, SQLITE_OPEN_MAIN_DB, 0, 1, SQLITE_IOERR_FSYNC);
    uint64_t stored = 0;
    int status = RT_OK;
    while (status == RT_OK && stored < 2000) {
        status = status_of(&w, "a", data);
        stored += status == RT_OK;
    }
    assert_int_equal(status, RT_EAGAIN); /* it came between two batches */
    assert_true(stored > 100);
    WAIT(&w, w.failed == 1);
    close_journal(&w);
    assert_true(size_of(w.dir, "log.db-wal") > (off_t)(stored * SIZE));
    fault_clear();
    open_journal(&w);
    assert_int_equal(top_of(&w, "a"), stored);
    assert_int_equal(sql(w.path, "SELECT count(*) FROM message"), stored);
    free(data);
    deinit(&w);
}

/* The disk is full only for the checkpoint: nobody notices. */
static void test_checkpoint_full(void **state)
{
    (void)state;
    struct world w;
    enum { SIZE = 60000 };
    char *data = malloc(SIZE + 1);
    assert_non_null(data);
    memset(data, 'x', SIZE);
    data[SIZE] = '\0';
    init(&w);
    open_journal(&w);
    fault_plan(FAULT_WRITE, SQLITE_OPEN_MAIN_DB, 0, -1, SQLITE_FULL);
    for (uint64_t i = 1; i <= 400; i++)
        assert_int_equal(store(&w, "a", data), i);
    assert_true(atomic_load(&fault.hits) > 0);
    assert_true(rt_journal_healthy(w.journal, NULL));
    fault_clear();
    for (uint64_t i = 401; i <= 500; i++)
        assert_int_equal(store(&w, "a", data), i);
    off_t wal = size_of(w.dir, "log.db-wal");
    for (uint64_t i = 501; i <= 700; i++)
        assert_int_equal(store(&w, "a", data), i);
    assert_int_equal(size_of(w.dir, "log.db-wal"), wal); /* it begins again */
    reopen(&w);
    assert_int_equal(top_of(&w, "a"), 700);
    free(data);
    deinit(&w);
}

/* A read that fails is its own matter. */
static void test_read_fails(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    init(&w);
    open_journal(&w);
    for (int i = 0; i < 50; i++)
        store(&w, "a", "x");
    reopen(&w);
    fault_plan(FAULT_READ, BOTH, 0, -1, SQLITE_IOERR_READ);
    read_page(&w, &page, "a", 0, 0, 100, false);
    assert_int_equal(page.read.status, RT_EIO);
    assert_non_null(strstr(page.read.text, "history cannot be read"));
    assert_int_equal(page.read.count, 0);
    assert_null(page.read.messages);
    fault_clear();
    expect_stored(&w, "a", 50);
    assert_int_equal(w.failed, 0);
    deinit(&w);
}

/* Rows that the database refuses one by one: the others of the batch are stored, those behind them in the channel are not. */
static void test_bad_row(void **state)
{
    (void)state;
    struct world w;
    struct pub pubs[300];
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    close_journal(&w);
    sql(w.path, "CREATE TRIGGER bad BEFORE INSERT ON message WHEN new.data='bad'"
                " BEGIN SELECT raise(ABORT, 'bad'); END");
    open_journal(&w);
    w.answers = 0;
    /* b: all good. a: good ones, then a bad one, then more. new: begins with a bad one. */
    for (int i = 0; i < 300; i++) {
        const char *channel = i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "new";
        bool bad = i == 150 || i == 2;
        append_text(&w, &pubs[i], channel, bad ? "bad" : "good");
    }
    WAIT(&w, w.answers == 300);
    uint64_t a = 1;
    uint64_t b = 0;
    for (int i = 0; i < 300; i++) {
        const struct rt_append *append = &pubs[i].append;
        assert_int_equal(pubs[i].answered, i + 1);
        if (i % 3 == 1) {
            assert_int_equal(append->status, RT_OK);
            assert_int_equal(append->position.offset, ++b);
        } else if (i % 3 == 0 && i < 150) {
            assert_int_equal(append->status, RT_OK);
            assert_int_equal(append->position.offset, ++a);
        } else {
            assert_int_equal(append->status, RT_EAGAIN);
            assert_true(append->text[0] != '\0');
        }
        release(&pubs[i]);
    }
    assert_int_equal(a, 51);
    assert_int_equal(b, 100);
    assert_true(rt_journal_healthy(w.journal, NULL));
    /* Known to the loop by now: new ones are stored. */
    assert_int_equal(store(&w, "a", "x"), 52);
    assert_int_equal(store(&w, "new", "x"), 1);
    assert_int_equal(status_of(&w, "a", "bad"), RT_EAGAIN);
    assert_int_equal(store(&w, "a", "x"), 53);
    reopen(&w);
    expect_stored(&w, "a", 53);
    expect_stored(&w, "b", 100);
    expect_stored(&w, "new", 1);
    deinit(&w);
}

/* The same over several batches: what is on its way in the channel is refused, other channels go on. */
static void test_bad_row_and_later_batches(void **state)
{
    (void)state;
    struct world w;
    enum { FLIGHT = 3000 };
    struct pub *pubs = calloc(FLIGHT, sizeof(*pubs));
    assert_non_null(pubs);
    init(&w);
    open_journal(&w);
    close_journal(&w);
    sql(w.path, "CREATE TRIGGER bad BEFORE INSERT ON message WHEN new.data='bad'"
                " BEGIN SELECT raise(ABORT, 'bad'); END");
    open_journal(&w);
    for (int i = 0; i < FLIGHT; i++)
        append_text(&w, &pubs[i], i % 2 ? "b" : "a", i == 0 || i == 1001 ? "bad" : "good");
    WAIT(&w, w.answers == FLIGHT);
    for (int i = 0; i < FLIGHT; i++) {
        bool refused = i % 2 == 0 || i >= 1001;
        assert_int_equal(pubs[i].append.status, refused ? RT_EAGAIN : RT_OK);
        release(&pubs[i]);
    }
    expect_stored(&w, "a", 0);
    expect_stored(&w, "b", 500);
    assert_int_equal(status_of(&w, "a", "bad"), RT_EAGAIN);
    assert_int_equal(status_of(&w, "b", "bad"), RT_EAGAIN);
    assert_int_equal(store(&w, "b", "x"), 501);
    assert_int_equal(store(&w, "a", "x"), 1);
    free(pubs);
    deinit(&w);
}

/* Rows that this program never wrote, with a checksum or without: damage, not a crash and not a wrong message. */
static void test_foreign_rows(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    const char *const changes[] = {
        "UPDATE message SET attachments=x'0100'",
        "UPDATE message SET attachments=x'0500000041'",
        "UPDATE message SET attachments=zeroblob(65*4)",
        "UPDATE message SET id=x'00'",
        "UPDATE message SET kind=7",
        "UPDATE message SET kind=-1",
    };
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    close_journal(&w);
    sql(w.path, "UPDATE message SET sum=NULL; UPDATE meta SET value=1 WHERE name='unsummed'");
    open_journal(&w);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        sql(w.path, changes[i]);
        read_page(&w, &page, "a", 0, 0, 10, false);
        assert_int_equal(page.read.status, RT_OK);
        assert_int_equal(page.read.count, 0);
        assert_int_equal(page.read.floor, 1);
        release_page(&page);
        sql(w.path, "UPDATE message SET attachments=NULL, id=zeroblob(16), kind=1");
        expect_stored(&w, "a", 1);
    }
    deinit(&w);
}

/* A refused row leaves no key behind, or its second try would be taken for a duplicate. */
static void test_bad_row_with_key(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    close_journal(&w);
    sql(w.path, "CREATE TRIGGER bad BEFORE INSERT ON recent_key WHEN new.key='bad'"
                " BEGIN SELECT raise(ABORT, 'bad'); END");
    open_journal(&w);
    append_key(&w, &p, "a", "anna", "bad");
    await(&p);
    assert_int_equal(p.append.status, RT_EAGAIN);
    release(&p);
    expect_stored(&w, "a", 1);
    close_journal(&w);
    sql(w.path, "DROP TRIGGER bad");
    open_journal(&w);
    append_key(&w, &p, "a", "anna", "bad");
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    assert_false(p.append.duplicate);
    assert_int_equal(p.append.position.offset, 2);
    release(&p);
    deinit(&w);
}

/* Appends that were on their way when a batch failed fail too; those that come after its answer are stored. */
struct late {
    struct rt_append append; /* first */
    struct world *world;
    struct pub next;
    bool handed_in;
};

static void on_first_failure(struct rt_append *append)
{
    struct late *l = (struct late *)append;
    assert_int_equal(append->status, RT_EAGAIN);
    fault_clear();
    append_text(l->world, &l->next, "a", "after");
    l->handed_in = true;
}

static void test_order_after_a_failure(void **state)
{
    (void)state;
    struct world w;
    enum { FLIGHT = 3000 };
    struct pub *pubs = calloc(FLIGHT, sizeof(*pubs));
    struct late l;
    assert_non_null(pubs);
    init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    w.answers = 0;
    fault_plan(FAULT_WRITE, SQLITE_OPEN_WAL, 0, 1, SQLITE_FULL); /* only the first batch */
    struct rt_message m = text_message("first", NULL, NULL);
    memset(&l, 0, sizeof(l));
    l.world = &w;
    l.append.channel_name = RT_STR("a");
    l.append.message = rt_stored_new(&m);
    l.append.done = on_first_failure;
    assert_int_equal(rt_journal_append(w.journal, &l.append), RT_PENDING);
    for (int i = 0; i < FLIGHT; i++)
        append_text(&w, &pubs[i], "a", "x");
    WAIT(&w, l.handed_in && l.next.answered && w.answers == FLIGHT + 1);
    for (int i = 0; i < FLIGHT; i++) {
        assert_int_equal(pubs[i].append.status, RT_EAGAIN);
        release(&pubs[i]);
    }
    assert_int_equal(l.next.append.status, RT_OK);
    assert_int_equal(l.next.append.position.offset, 2);
    release(&l.next);
    rt_stored_unref(l.append.message);
    expect_stored(&w, "a", 2);
    free(pubs);
    deinit(&w);
}

static void limit_file_size(rlim_t limit)
{
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &now), 0);
    now.rlim_cur = limit;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

/* The kernel's own limit, at COMMIT: a full disk, and it heals. */
static void test_file_size_limit(void **state)
{
    (void)state;
    struct world w;
    const char *text = NULL;
    static char data[9000];
    world_init(&w);
    signal(SIGXFSZ, SIG_IGN); /* as main() does */
    memset(data, 'x', sizeof(data) - 1);
    open_journal(&w);
    limit_file_size(300000);
    uint64_t stored = 0;
    while (status_of(&w, "a", data) == RT_OK)
        stored++;
    assert_int_equal(status_of(&w, "a", data), RT_EAGAIN);
    assert_true(stored > 5);
    WAIT(&w, !rt_journal_healthy(w.journal, &text));
    assert_non_null(strstr(text, "no space left"));
    assert_int_equal(top_of(&w, "a"), stored);
    limit_file_size(RLIM_INFINITY);
    WAIT(&w, rt_journal_healthy(w.journal, NULL));
    assert_int_equal(store(&w, "a", data), stored + 1);
    assert_int_equal(w.failed, 0);
    world_deinit(&w);
}

/* Somebody puts another file at the path, or none: nothing is acknowledged that the next start would not find. */
static void test_file_is_replaced(void **state)
{
    (void)state;
    for (int replaced = 0; replaced < 2; replaced++) {
        struct world w;
        char away[160];
        const char *text = NULL;
        world_init(&w);
        snprintf(away, sizeof(away), "%s/away", w.dir);
        open_journal(&w);
        assert_int_equal(store(&w, "a", "x"), 1);
        assert_int_equal(rename(w.path, away), 0);
        if (replaced)
            copy_file(away, w.path);
        assert_int_equal(status_of(&w, "a", "lost"), RT_EAGAIN);
        WAIT(&w, w.failed == 1);
        assert_false(rt_journal_healthy(w.journal, &text));
        assert_non_null(strstr(text, "moved, deleted or replaced"));
        assert_int_equal(status_of(&w, "a", "lost"), RT_EAGAIN);
        world_deinit(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_is_replaced),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_disk_full_and_back),
        cmocka_unit_test(test_duplicate_on_full_disk),
        cmocka_unit_test(test_full_at_every_write),
        cmocka_unit_test(test_max_size),
        cmocka_unit_test(test_retention_makes_room),
        cmocka_unit_test(test_retention_meets_faults),
        cmocka_unit_test(test_probe_meets_fault),
        cmocka_unit_test(test_sync_fails),
        cmocka_unit_test(test_io_errors),
        cmocka_unit_test(test_checkpoint_fails),
        cmocka_unit_test(test_checkpoint_full),
        cmocka_unit_test(test_read_fails),
        cmocka_unit_test(test_bad_row),
        cmocka_unit_test(test_bad_row_and_later_batches),
        cmocka_unit_test(test_foreign_rows),
        cmocka_unit_test(test_bad_row_with_key),
        cmocka_unit_test(test_order_after_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
