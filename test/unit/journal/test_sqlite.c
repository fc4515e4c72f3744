/* The SQLite journal in good health: order, positions, reads, keys, back pressure, retention. */
#include "journal_test.h"

static void test_positions_rise(void **state)
{
    (void)state;
    struct world w;
    struct pub pubs[300];
    world_init(&w);
    open_journal(&w);
    assert_string_equal(rt_journal_name(w.journal), "sqlite");
    uint64_t next[3] = {1, 1, 1};
    for (unsigned i = 0; i < 300; i++) {
        char channel[8];
        snprintf(channel, sizeof(channel), "c%u", i % 3);
        append_text(&w, &pubs[i], channel, "x");
        assert_int_equal(pubs[i].returned, RT_PENDING);
        assert_int_equal(pubs[i].answered, 0);
    }
    WAIT(&w, w.answers == 300);
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(pubs[i].answered, i + 1); /* in order */
        assert_int_equal(pubs[i].append.status, RT_OK);
        assert_int_equal(pubs[i].append.position.offset, next[i % 3]++);
        assert_string_equal(pubs[i].append.position.epoch, pubs[0].append.position.epoch);
        release(&pubs[i]);
    }
    assert_int_equal(strlen(pubs[0].append.position.epoch), 12);
    assert_int_equal((int)sample(&w, "rtbroker_journal_appends_total{result=\"ok\"}"), 300);
    assert_int_equal((int)sample(&w, "rtbroker_journal_queue_bytes"), 0);
    assert_int_equal((int)sample(&w, "rtbroker_storage_up"), 1);
    assert_true(sample(&w, "rtbroker_journal_commit_seconds_count") >= 1);
    assert_int_equal((int)sample(&w, "rtbroker_journal_batch_rows_sum"), 300);
    world_deinit(&w);
}

static void test_restart_goes_on(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    world_init(&w);
    open_journal(&w);
    assert_int_equal(store(&w, "a", "one"), 1);
    assert_int_equal(store(&w, "a", "two"), 2);
    read_page(&w, &page, "a", 0, 0, 10, false);
    char epoch[RT_EPOCH_MAX + 1];
    snprintf(epoch, sizeof(epoch), "%s", page.read.top.epoch);
    release_page(&page);
    reopen(&w);
    assert_int_equal(store(&w, "a", "three"), 3);
    assert_int_equal(store(&w, "b", "one"), 1);
    read_page(&w, &page, "a", 0, 0, 10, false);
    assert_int_equal(read_position(&w, "a", epoch, 2, false), RT_OK);
    assert_int_equal(page.read.count, 3);
    release_page(&page);
    close_journal(&w);
    /* A clean close leaves one file (and the lock). */
    assert_false(exists(w.dir, "log.db-wal"));
    assert_int_equal(sql(w.path, "SELECT count(*) FROM message"), 4);
    world_deinit(&w);
}

/* Every field comes back as it was, bytes with NUL, empty and absent texts included. */
static void test_fields(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    struct page page;
    const struct rt_str attachments[RT_MAX_ATTACHMENTS] = {RT_STR("\0\1\2"), RT_STR(""),
                                                           RT_STR("third")};
    struct rt_message all = {.event = RT_STR("say"),
                             .data = RT_STR("[1,{\"_placeholder\":true,\"num\":0}]"),
                             .attachments = attachments,
                             .attachment_count = RT_MAX_ATTACHMENTS,
                             .kind = RT_KIND_JSON,
                             .flags = RT_MESSAGE_ARGS,
                             .id = {1, 2, 3, 0, 255},
                             .time = 1764000000123,
                             .publisher = RT_STR("anna"),
                             .key = RT_STR("k\xc3\xa4y"),
                             .except_in = RT_STR("b\nc")};
    struct rt_message bytes = {.kind = RT_KIND_BYTES, .data = RT_STR("a\0b\xff"), .time = 5};
    struct rt_message empty = {.kind = RT_KIND_TEXT, .data = RT_STR(""), .event = RT_STR("")};
    const struct rt_message *messages[] = {&all, &bytes, &empty};
    world_init(&w);
    open_journal(&w);
    for (size_t i = 0; i < 3; i++) {
        append_message(&w, &p, "a", messages[i]);
        await(&p);
        assert_int_equal(p.append.status, RT_OK);
        release(&p);
    }
    reopen(&w);
    read_page(&w, &page, "a", 0, 0, 10, false);
    assert_int_equal(page.read.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct rt_message *got = &page.read.messages[i]->m;
        const struct rt_message *want = messages[i];
        assert_int_equal(got->offset, i + 1);
        assert_true(rt_str_eq(got->event, want->event));
        assert_true(rt_str_eq(got->data, want->data));
        assert_true(rt_str_eq(got->publisher, want->publisher));
        assert_true(rt_str_eq(got->key, want->key));
        assert_true(rt_str_eq(got->except_in, want->except_in));
        assert_int_equal(got->kind, want->kind);
        assert_int_equal(got->flags, want->flags);
        assert_int_equal(got->time, want->time);
        assert_memory_equal(got->id, want->id, 16);
        assert_int_equal(got->attachment_count, want->attachment_count);
        for (size_t k = 0; k < got->attachment_count; k++)
            assert_true(rt_str_eq(got->attachments[k], attachments[k]));
        assert_int_equal(page.read.messages[i]->refs, 1);
    }
    release_page(&page);
    world_deinit(&w);
}

static void expect_page(struct world *w, uint64_t since, uint64_t until, uint32_t limit,
                        bool reverse, uint64_t first, size_t count)
{
    struct page page;
    read_page(w, &page, "a", since, until, limit, reverse);
    assert_int_equal(page.read.status, RT_OK);
    assert_int_equal(page.read.top.offset, 10);
    assert_int_equal(page.read.floor, 0);
    assert_int_equal(page.read.count, count);
    assert_false(page.read.more);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(page.read.messages[i]->m.offset, reverse ? first - i : first + i);
    release_page(&page);
}

static void test_reads(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    world_init(&w);
    open_journal(&w);
    for (int i = 0; i < 10; i++) {
        store(&w, "a", "x");
        store(&w, "b", "x");
    }
    expect_page(&w, 0, 0, 100, false, 1, 10);
    expect_page(&w, 0, 0, 3, false, 1, 3);
    expect_page(&w, 4, 0, 100, false, 5, 6);
    expect_page(&w, 4, 7, 100, false, 5, 3);
    expect_page(&w, 4, 7, 2, false, 5, 2);
    expect_page(&w, 10, 0, 100, false, 0, 0);
    expect_page(&w, 99, 0, 100, false, 0, 0);
    expect_page(&w, UINT64_MAX, UINT64_MAX, 100, false, 0, 0);
    expect_page(&w, 0, 0, 100, true, 10, 10);
    expect_page(&w, 0, 0, 3, true, 10, 3);
    expect_page(&w, 4, 0, 100, true, 3, 3);
    expect_page(&w, 9, 6, 100, true, 8, 3);
    expect_page(&w, 9, 6, 2, true, 8, 2);
    expect_page(&w, 1, 0, 100, true, 0, 0);
    expect_page(&w, 0, 0, 0, false, 0, 0);
    read_page(&w, &page, "never seen", 0, 0, 10, false);
    assert_int_equal(page.read.status, RT_OK);
    assert_int_equal(page.read.top.offset, 0);
    assert_int_equal(page.read.floor, 0);
    assert_int_equal(page.read.count, 0);
    assert_int_equal(strlen(page.read.top.epoch), 12);
    release_page(&page);
    world_deinit(&w);
}

static void store_at(struct world *w, const char *channel, uint64_t time)
{
    struct pub p;
    struct rt_message m = text_message("x", NULL, NULL);
    m.time = time;
    append_message(w, &p, channel, &m);
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    release(&p);
}

static void ask_time(struct world *w, struct page *page, uint64_t time, bool reverse)
{
    memset(page, 0, sizeof(*page));
    page->read = (struct rt_read){.channel_name = RT_STR("a"),
                                  .by_time = true,
                                  .time = time,
                                  .since = 7, /* means nothing */
                                  .limit = 3,
                                  .reverse = reverse,
                                  .done = on_read};
    assert_int_equal(rt_journal_read(w->journal, &page->read), RT_PENDING);
    WAIT(w, page->answered);
    assert_int_equal(page->read.status, RT_OK);
}

/* Against looking at all of them: message i (from 1) of "a" is of times[i]. */
static void check_time(struct world *w, const uint64_t *times, unsigned count, uint64_t time)
{
    struct page page;
    unsigned first = 1;
    while (first <= count && times[first] < time)
        first++;
    bool found = first <= count;
    ask_time(w, &page, time, false);
    if (page.read.found != found || page.read.since != first - 1)
        fail_msg("the first of %llu is %u, told was %llu", (unsigned long long)time, first,
                 (unsigned long long)page.read.since + 1);
    assert_int_equal(page.read.count, count + 1 - first < 3 ? count + 1 - first : 3);
    assert_true(!found || page.read.messages[0]->m.offset == first);
    release_page(&page);
    ask_time(w, &page, time, true);
    assert_int_equal(page.read.found, found);
    assert_int_equal(page.read.since, found ? first : 0);
    assert_int_equal(page.read.count, first - 1 < 3 ? first - 1 : 3);
    assert_true(first == 1 || page.read.messages[0]->m.offset == first - 1);
    release_page(&page);
}

/* Clocks are up to 59 s apart. */
static void test_by_time(void **state)
{
    enum { COUNT = 300 };
    (void)state;
    struct world w;
    struct page page;
    uint64_t times[COUNT + 1], base = 1700000000000;
    world_init(&w);
    open_journal(&w);
    ask_time(&w, &page, base, false); /* no such channel */
    assert_true(!page.read.found && page.read.since == 0 && page.read.count == 0);
    for (unsigned i = 1; i <= COUNT; i++) {
        times[i] = base + i * 1000 + i * 7919 % 59000;
        store_at(&w, "a", times[i]);
        store_at(&w, "b", times[i]);
    }
    for (uint64_t time = base - 60000; time < base + 420000; time += 3700)
        check_time(&w, times, COUNT, time);
    ask_time(&w, &page, UINT64_MAX, false);
    assert_true(!page.read.found && page.read.since == COUNT && page.read.count == 0);
    world_deinit(&w);
}

/* The clock is set back and forth, twice in a row too, and while nobody runs; another channel is used meanwhile. What was published then has wrong times, and is found by them. */
static void test_by_time_set_back(void **state)
{
    enum { PHASE = 25, PHASES = 9, COUNT = PHASE * PHASES };
    static const int minutes[PHASES] = {0, 60, 0, -60, 0, -60, -120, 0, 60};
    (void)state;
    struct world w;
    uint64_t times[COUNT + 1], base = 1700000000000;
    world_init(&w);
    open_journal(&w);
    for (unsigned i = 1; i <= COUNT; i++) {
        unsigned phase = (i - 1) / PHASE;
        times[i] = base + i * 20000 + (uint64_t)(minutes[phase] * (int64_t)60000);
        if (i % PHASE == 1 && phase % 2) {
            close_journal(&w);
            open_journal(&w);
        }
        if (i % PHASE == 2) /* not the one with which the clock is seen to be another */
            store_at(&w, "b", times[i]);
        store_at(&w, "a", times[i]);
    }
    for (uint64_t time = base - 9000000; time < base + 9000000; time += 47000)
        check_time(&w, times, COUNT, time);
    /* Long after: what was is no burden. */
    close_journal(&w);
    sql(w.path, "DELETE FROM message WHERE seq<=(SELECT value FROM meta WHERE name='set_back')");
    open_journal(&w);
    struct page page;
    ask_time(&w, &page, times[COUNT], false);
    assert_int_equal(page.read.since, COUNT - 1);
    release_page(&page);
    world_deinit(&w);
}

/* Reads queue up to a number; then they are refused, and the others answered all the same. */
static void test_too_many_reads(void **state)
{
    (void)state;
    struct world w;
    enum { MOST = 50000 };
    struct page *pages = calloc(MOST, sizeof(*pages));
    assert_non_null(pages);
    world_init(&w);
    open_journal(&w);
    for (int i = 0; i < 50; i++)
        store(&w, "a", "x");
    int count = 0;
    int code = RT_PENDING;
    for (; count < MOST && code == RT_PENDING; count++) {
        pages[count].read =
            (struct rt_read){.channel_name = RT_STR("a"), .limit = 50, .done = on_read};
        code = rt_journal_read(w.journal, &pages[count].read);
    }
    count--;
    assert_int_equal(code, RT_EAGAIN);
    assert_int_equal(pages[count].read.status, RT_EAGAIN);
    assert_true(pages[count].read.text[0] != '\0');
    for (int i = 0; i < count; i++) {
        WAIT(&w, pages[i].answered);
        assert_int_equal(pages[i].read.status, RT_OK);
        assert_int_equal(pages[i].read.count, 50);
        release_page(&pages[i]);
    }
    assert_false(pages[count].answered);
    free(pages);
    world_deinit(&w);
}

/* A page ends at RT_READ_BYTES and says so; going on from its last message gets the rest, in both directions. */
static void test_large_pages(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    enum { SIZE = 1 << 20, COUNT = 40 };
    char *data = malloc(SIZE + 1);
    assert_non_null(data);
    memset(data, 'x', SIZE);
    data[SIZE] = '\0';
    world_init(&w);
    open_journal(&w);
    for (int i = 0; i < COUNT; i++)
        store(&w, "a", data);
    for (int reverse = 0; reverse < 2; reverse++) {
        uint64_t since = 0;
        size_t seen = 0;
        unsigned pages = 0;
        do {
            read_page(&w, &page, "a", since, 0, 1000, reverse);
            assert_true(page.read.count > 0 && page.read.count <= 17);
            assert_int_equal(page.read.messages[0]->m.offset, reverse ? COUNT - seen : seen + 1);
            since = page.read.messages[page.read.count - 1]->m.offset;
            seen += page.read.count;
            pages++;
            release_page(&page);
        } while (page.read.more);
        assert_int_equal(seen, COUNT);
        assert_true(pages >= 3);
    }
    free(data);
    world_deinit(&w);
}

static void test_duplicates(void **state)
{
    (void)state;
    struct world w;
    struct pub p[6];
    world_init(&w);
    open_journal(&w);
    /* One turn of the loop: most of these share a batch. */
    append_key(&w, &p[0], "a", "anna", "k");
    append_key(&w, &p[1], "a", "anna", "k");
    append_key(&w, &p[2], "a", "bert", "k");
    append_key(&w, &p[3], "a", NULL, "k");
    append_key(&w, &p[4], "a", "anna", NULL);
    append_key(&w, &p[5], "a", "anna", "k");
    WAIT(&w, w.answers == 6);
    const uint64_t offsets[] = {1, 1, 2, 3, 4, 1};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(p[i].append.status, RT_OK);
        assert_int_equal(p[i].append.position.offset, offsets[i]);
        assert_int_equal(p[i].append.duplicate, i == 1 || i == 5);
        assert_string_equal(p[i].append.position.epoch, p[0].append.position.epoch);
        release(&p[i]);
    }
    /* Another batch, and after a restart. */
    for (int round = 0; round < 2; round++) {
        append_key(&w, &p[0], "a", "anna", "k");
        await(&p[0]);
        assert_true(p[0].append.duplicate);
        assert_int_equal(p[0].append.position.offset, 1);
        release(&p[0]);
        append_key(&w, &p[0], "a", NULL, "k");
        await(&p[0]);
        assert_true(p[0].append.duplicate);
        assert_int_equal(p[0].append.position.offset, 3);
        release(&p[0]);
        assert_int_equal(top_of(&w, "a"), 4);
        if (round == 0)
            assert_int_equal((int)sample(&w, "rtbroker_journal_duplicates_total"), 4);
        reopen(&w);
    }
    world_deinit(&w);
}

/* A key counts for its channel: the position in the answer is always one of the channel that was asked for. */
static void test_key_on_another_channel(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    const char *const channels[] = {"a", "b", "a", "b"};
    const uint64_t offsets[] = {2, 1, 2, 1};
    for (int i = 0; i < 4; i++) {
        append_key(&w, &p, channels[i], "anna", "k");
        await(&p);
        assert_int_equal(p.append.status, RT_OK);
        assert_int_equal(p.append.duplicate, i >= 2);
        assert_int_equal(p.append.position.offset, offsets[i]);
        release(&p);
        if (i == 1)
            reopen(&w);
    }
    world_deinit(&w);
}

static uint64_t keyed_at(struct world *w, const char *key, uint64_t time, bool duplicate)
{
    struct pub p;
    struct rt_message m = text_message("x", "anna", key);
    m.time = time;
    append_message(w, &p, "a", &m);
    await(&p);
    assert_int_equal(p.append.status, RT_OK);
    assert_int_equal(p.append.duplicate, duplicate);
    release(&p);
    return p.append.position.offset;
}

/* Measured by a clock that nobody sets: what messages say of their time moves nothing, a restart neither. */
static void test_window_ends(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    assert_int_equal(keyed_at(&w, "k", 50000, false), 1);
    keyed_at(&w, "ahead", 50000 + 7200000, false);
    keyed_at(&w, "behind", 1, false);
    assert_int_equal(keyed_at(&w, "k", 50000 + 7200000, true), 1);
    reopen(&w);
    assert_int_equal(keyed_at(&w, "k", 99000000, true), 1);
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof(key), "old%d", i);
        keyed_at(&w, key, 60000, false);
    }
    /* Expired keys are deleted: the table holds the window, not the past. */
    w.options.idempotency_window = 200;
    w.options.retention = 200; /* makes the writer look every 50 ms; all are older than that */
    uint64_t began = rt_mono_ms();
    reopen(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM recent_key") == 0);
    keyed_at(&w, "k", 1, false);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM recent_key") == 0);
    assert_true(rt_mono_ms() - began > 200);
    world_deinit(&w);
}

static void test_back_pressure(void **state)
{
    (void)state;
    struct world w;
    enum { MOST = 400 };
    struct pub *pubs = calloc(MOST, sizeof(*pubs));
    char data[1001];
    assert_non_null(pubs);
    memset(data, 'x', 1000);
    data[1000] = '\0';
    world_init(&w);
    w.options.queue_bytes = 200000;
    open_journal(&w);
    /* Holds the writer: it cannot begin while another program writes. */
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(w.path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int in_flight = 0;
    int congested_at = 0;
    for (;; in_flight++) {
        assert_true(in_flight < MOST);
        append_text(&w, &pubs[in_flight], "a", data);
        if (pubs[in_flight].returned != RT_PENDING)
            break;
        if (rt_journal_congested(w.journal) && !congested_at)
            congested_at = in_flight + 1;
    }
    assert_int_equal(pubs[in_flight].returned, RT_EAGAIN);
    assert_int_equal(pubs[in_flight].append.status, RT_EAGAIN);
    assert_true(pubs[in_flight].append.text[0] != '\0');
    release(&pubs[in_flight]);
    assert_true(in_flight > 80 && in_flight < 200);
    assert_in_range(congested_at, in_flight * 8 / 10, in_flight * 8 / 10 + 2);
    assert_true(sample(&w, "rtbroker_journal_queue_bytes") > 190000);
    assert_int_equal(w.relieved, 0);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    WAIT(&w, w.answers == (unsigned)in_flight);
    assert_int_equal(w.relieved, 1);
    assert_false(rt_journal_congested(w.journal));
    for (int i = 0; i < in_flight; i++) {
        assert_int_equal(pubs[i].append.status, RT_OK);
        assert_int_equal(pubs[i].append.position.offset, i + 1);
        release(&pubs[i]);
    }
    /* One message is taken whatever its size. */
    w.options.queue_bytes = 100;
    reopen(&w);
    assert_int_equal(store(&w, "a", data), in_flight + 1);
    free(pubs);
    world_deinit(&w);
}

/* Relief comes at half, not at the end. The loop may be late and see several batches at once, so it has some tries. */
static void test_relief_comes_early(void **state)
{
    (void)state;
    struct world w;
    enum { FLIGHT = 20000 };
    struct pub *pubs = calloc(FLIGHT, sizeof(*pubs));
    bool early = false;
    assert_non_null(pubs);
    world_init(&w);
    w.options.queue_bytes = 2 << 20;
    open_journal(&w);
    for (int round = 0; round < 20 && !early; round++) {
        unsigned handed_in = 0;
        w.answers = w.relieved = 0;
        while (handed_in < FLIGHT && !rt_journal_congested(w.journal))
            append_text(&w, &pubs[handed_in++], "a", "x");
        assert_true(rt_journal_congested(w.journal));
        WAIT(&w, w.answers == handed_in);
        assert_int_equal(w.relieved, 1);
        assert_true(w.relieved_after * 2 > handed_in / 2);
        early = w.relieved_after < handed_in;
        for (unsigned i = 0; i < handed_in; i++)
            release(&pubs[i]);
    }
    assert_true(early);
    free(pubs);
    world_deinit(&w);
}

/* A lock that another program keeps: retry, unhealthy, and well again by itself. */
static void test_locked_by_another_program(void **state)
{
    (void)state;
    struct world w;
    const char *text;
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open(w.path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(status_of(&w, "a", "x"), RT_EAGAIN);
    WAIT(&w, !rt_journal_healthy(w.journal, &text));
    assert_non_null(strstr(text, "locked"));
    assert_int_equal((int)sample(&w, "rtbroker_storage_up"), 0);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    WAIT(&w, rt_journal_healthy(w.journal, &text));
    assert_string_equal(text, "");
    assert_int_equal(store(&w, "a", "x"), 2);
    assert_int_equal(w.failed, 0);
    world_deinit(&w);
}

/* Old messages go, the oldest first; an older time stamp behind a younger one waits, so that no channel gets a hole. */
static void test_retention(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    world_init(&w);
    open_journal(&w);
    uint64_t now = rt_wall_ms();
    for (int i = 0; i < 1500; i++)
        store_at(&w, i % 2 ? "a" : "gone", now - 7200000);
    store_at(&w, "a", now);
    store_at(&w, "a", now - 7200000);
    w.options.retention = 3600000;
    reopen(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM message") == 2);
    read_page(&w, &page, "a", 0, 0, 100, false);
    assert_int_equal(page.read.top.offset, 752);
    assert_int_equal(page.read.floor, 750);
    assert_int_equal(page.read.count, 2);
    release_page(&page);
    ask_time(&w, &page, now - 100000,
             false); /* what came before the first may have been of the time */
    assert_true(page.read.found && page.read.since == 0 && page.read.count == 2);
    release_page(&page);
    assert_int_equal(store(&w, "a", "x"), 753);
    world_deinit(&w);
}

/* A channel without messages goes as well, and comes back with offsets that were never given. */
static void test_empty_channels_go(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    for (int i = 0; i < 7; i++)
        store_at(&w, "gone", 1000);
    store(&w, "stays", "x");
    w.options.retention = 3600000;
    reopen(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM message") == 1);
    reopen(&w); /* the next look at channels comes at once after a start */
    WAIT(&w, sql(w.path, "SELECT count(*) FROM channel") == 1);
    assert_int_equal(sql(w.path, "SELECT value FROM meta WHERE name='floor'"), 7);
    assert_int_equal(top_of(&w, "gone"), 7);
    assert_int_equal(store(&w, "gone", "x"), 8);
    assert_int_equal(store(&w, "new", "x"), 8);
    assert_int_equal(store(&w, "stays", "x"), 2);
    reopen(&w);
    assert_int_equal(store(&w, "another", "x"), 8);
    assert_int_equal(store(&w, "gone", "x"), 9);
    world_deinit(&w);
}

/* More channels than the writer caches: each keeps its own count. */
static void test_many_channels(void **state)
{
    (void)state;
    struct world w;
    enum { CHANNELS = 20000, FLIGHT = 5000 };
    struct pub *pubs = calloc(FLIGHT, sizeof(*pubs));
    assert_non_null(pubs);
    world_init(&w);
    open_journal(&w);
    for (uint64_t round = 1; round <= 2; round++) {
        for (int from = 0; from < CHANNELS; from += FLIGHT) {
            w.answers = 0;
            for (int i = 0; i < FLIGHT; i++) {
                char channel[32];
                snprintf(channel, sizeof(channel), "channel %d", from + i);
                append_text(&w, &pubs[i], channel, "x");
            }
            WAIT(&w, w.answers == FLIGHT);
            for (int i = 0; i < FLIGHT; i++) {
                assert_int_equal(pubs[i].append.status, RT_OK);
                assert_int_equal(pubs[i].append.position.offset, round);
                release(&pubs[i]);
            }
        }
    }
    assert_int_equal(sql(w.path, "SELECT count(*) FROM channel WHERE top=2"), CHANNELS);
    free(pubs);
    world_deinit(&w);
}

/* The WAL is written again from its start once it was copied; a reader that stands still only delays that. */
static void test_wal_stays_bounded(void **state)
{
    (void)state;
    struct world w;
    enum { FLIGHT = 64, SIZE = 20000 };
    struct pub pubs[FLIGHT];
    char *data = malloc(SIZE + 1);
    assert_non_null(data);
    memset(data, 'x', SIZE);
    data[SIZE] = '\0';
    world_init(&w);
    open_journal(&w);
    off_t highest = 0;
    for (int round = 0; round < 64; round++) {
        w.answers = 0;
        for (int i = 0; i < FLIGHT; i++)
            append_text(&w, &pubs[i], "a", data);
        WAIT(&w, w.answers == FLIGHT);
        for (int i = 0; i < FLIGHT; i++)
            release(&pubs[i]);
        off_t size = size_of(w.dir, "log.db-wal");
        highest = size > highest ? size : highest;
    }
    assert_true(size_of(w.dir, "log.db") > (off_t)32 << 20);
    assert_true(highest > (off_t)4 << 20 && highest < (off_t)24 << 20);
    free(data);
    world_deinit(&w);
}

/* What is in flight at close is committed and answered, reads too, before closed() comes. */
static void test_close_drains(void **state)
{
    (void)state;
    struct world w;
    enum { FLIGHT = 3000 };
    struct pub *pubs = calloc(FLIGHT, sizeof(*pubs));
    struct page page;
    assert_non_null(pubs);
    world_init(&w);
    open_journal(&w);
    store(&w, "a", "x");
    w.answers = 0;
    for (int i = 0; i < FLIGHT; i++)
        append_text(&w, &pubs[i], "a", "x");
    memset(&page, 0, sizeof(page));
    page.read = (struct rt_read){.channel_name = RT_STR("a"), .limit = 1, .done = on_read};
    assert_int_equal(rt_journal_read(w.journal, &page.read), RT_PENDING);
    rt_journal_close(w.journal, on_journal_closed, &w);
    rt_journal_close(w.journal, on_journal_closed, &w);
    struct pub late;
    append_text(&w, &late, "a", "x");
    assert_int_equal(late.returned, RT_ECLOSED);
    release(&late);
    struct rt_read late_read = {.channel_name = RT_STR("a")};
    assert_int_equal(rt_journal_read(w.journal, &late_read), RT_ECLOSED);
    assert_false(w.closed);
    WAIT(&w, w.closed);
    assert_int_equal(w.answers, FLIGHT);
    assert_true(page.answered);
    release_page(&page);
    for (int i = 0; i < FLIGHT; i++) {
        assert_int_equal(pubs[i].append.status, RT_OK);
        release(&pubs[i]);
    }
    rt_journal_free(w.journal);
    w.journal = NULL;
    free(pubs);
    world_deinit(&w);
}

/* Without close: free waits for the threads, and nothing is left unanswered. */
static void test_free_without_close(void **state)
{
    (void)state;
    struct world w;
    struct pub p;
    world_init(&w);
    open_journal(&w);
    append_text(&w, &p, "a", "x");
    rt_journal_free(w.journal);
    w.journal = NULL;
    assert_int_equal(p.answered, 1);
    assert_int_equal(p.append.status, RT_OK);
    release(&p);
    open_journal(&w);
    assert_int_equal(top_of(&w, "a"), 1);
    world_deinit(&w);
}

/* An answer may hand in the next message. */
struct chain {
    struct pub pub; /* first */
    unsigned left;
};

static void on_link(struct rt_append *append)
{
    struct chain *c = (struct chain *)append;
    assert_int_equal(append->status, RT_OK);
    c->pub.answered++;
    if (--c->left > 0)
        assert_int_equal(rt_journal_append(c->pub.world->journal, append), RT_PENDING);
}

static void test_append_from_answer(void **state)
{
    (void)state;
    struct world w;
    struct chain c = {.left = 50};
    struct rt_message m = text_message("x", NULL, NULL);
    world_init(&w);
    open_journal(&w);
    c.pub.world = &w;
    c.pub.append.channel_name = RT_STR("a");
    c.pub.append.message = rt_stored_new(&m);
    c.pub.append.done = on_link;
    assert_int_equal(rt_journal_append(w.journal, &c.pub.append), RT_PENDING);
    WAIT(&w, c.left == 0);
    assert_int_equal(c.pub.append.position.offset, 50);
    release(&c.pub);
    world_deinit(&w);
}

/* One look for what is old finds an empty channel and empties another one: the second stays until the next look, since its offsets would begin again. */
static void test_a_channel_that_becomes_empty(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    open_journal(&w);
    store(&w, "empty", "x");
    for (unsigned i = 1; i <= 11; i++)
        assert_int_equal(store(&w, "a", "x"), i);
    close_journal(&w);
    sql(w.path, "DELETE FROM message WHERE channel_id=1; UPDATE message SET time=1");
    w.options.retention = 60000;
    open_journal(&w);
    WAIT(&w, sql(w.path, "SELECT count(*) FROM message") == 0);
    assert_int_equal(store(&w, "a", "x"), 12);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions_rise),
        cmocka_unit_test(test_restart_goes_on),
        cmocka_unit_test(test_a_channel_that_becomes_empty),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_by_time),
        cmocka_unit_test(test_by_time_set_back),
        cmocka_unit_test(test_too_many_reads),
        cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_key_on_another_channel),
        cmocka_unit_test(test_window_ends),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_relief_comes_early),
        cmocka_unit_test(test_locked_by_another_program),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_empty_channels_go),
        cmocka_unit_test(test_many_channels),
        cmocka_unit_test(test_wal_stays_bounded),
        cmocka_unit_test(test_close_drains),
        cmocka_unit_test(test_free_without_close),
        cmocka_unit_test(test_append_from_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
