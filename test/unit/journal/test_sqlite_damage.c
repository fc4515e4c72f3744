/* Bits that flip on the disk: what is served is what was stored, and what is not served is told. */
#include <sys/mman.h>

#include "journal_test.h"

#define COUNT 12

/* What is stored at an offset; made to be found in the file. */
static void text_of(uint64_t offset, char out[64])
{
    snprintf(out, 64, "message %02u of the channel, unharmed", (unsigned)offset);
}

static struct rt_message message_at(uint64_t offset, const char *text)
{
    struct rt_message m = text_message(text, "publisher", NULL);
    m.event = RT_STR("event");
    m.time = 1000000 + offset * 1000;
    return m;
}

/* A closed file with COUNT messages. */
static void make_file(struct world *w)
{
    world_init(w);
    w->options.idempotency_window = 0;
    open_journal(w);
    for (uint64_t offset = 1; offset <= COUNT; offset++) {
        struct pub p;
        char text[64];
        text_of(offset, text);
        struct rt_message m = message_at(offset, text);
        append_message(w, &p, "a", &m);
        await(&p);
        assert_int_equal(p.append.position.offset, offset);
        release(&p);
    }
    close_journal(w);
}

static void expect_message(const struct rt_message *m)
{
    char text[64];
    text_of(m->offset, text);
    struct rt_message want = message_at(m->offset, text);
    assert_true(m->offset >= 1 && m->offset <= COUNT);
    assert_int_equal(m->time, want.time);
    assert_int_equal(m->kind, want.kind);
    assert_int_equal(m->flags, want.flags);
    assert_true(rt_str_eq(m->event, want.event));
    assert_true(rt_str_eq(m->data, want.data));
    assert_true(rt_str_eq(m->publisher, want.publisher));
    assert_int_equal(m->key.len, 0);
    assert_int_equal(m->attachment_count, 0);
}

/* Page by page, as a client does; returns the offsets that came as bits. All others have been told of. 0 as well when reading failed, which tells all. */
static unsigned read_forward(struct world *w, uint32_t limit)
{
    unsigned got = 0;
    uint64_t at = 0;
    for (;;) {
        struct page page;
        read_page(w, &page, "a", at, 0, limit, false);
        const struct rt_read *read = &page.read;
        if (read->status != RT_OK) {
            assert_int_equal(read->status, RT_EIO);
            release_page(&page);
            return 0;
        }
        if (at < read->floor)
            at = read->floor; /* the gap is told */
        for (size_t i = 0; i < read->count; i++) {
            const struct rt_message *m = &read->messages[i]->m;
            assert_int_equal(m->offset, ++at);
            expect_message(m);
            got |= 1u << m->offset;
        }
        bool more = read->more || read->count == limit;
        assert_true(more || at == read->top.offset); /* nothing is missing at the end */
        release_page(&page);
        if (!more)
            return got;
    }
}

/* All at once, newest first. */
static unsigned read_reverse(struct world *w)
{
    unsigned got = 0;
    struct page page;
    read_page(w, &page, "a", 0, 0, 100, true);
    const struct rt_read *read = &page.read;
    uint64_t at = read->top.offset + 1;
    for (size_t i = 0; i < read->count; i++) {
        const struct rt_message *m = &read->messages[i]->m;
        assert_true(m->offset < at && (m->offset == at - 1 || read->damaged));
        expect_message(m);
        at = m->offset;
        got |= 1u << at;
    }
    assert_true(read->status != RT_OK || read->damaged || at == read->floor + 1);
    release_page(&page);
    return got;
}

#define ALL (((1u << COUNT) - 1) << 1)

static void test_nothing_is_damaged(void **state)
{
    (void)state;
    struct world w;
    make_file(&w);
    open_journal(&w);
    assert_int_equal(read_forward(&w, 100), ALL);
    assert_int_equal(read_forward(&w, 5), ALL);
    assert_int_equal(read_forward(&w, COUNT), ALL);
    assert_int_equal(read_reverse(&w), ALL);
    assert_true(sample(&w, "rtbroker_storage_damaged_reads_total") == 0);
    world_deinit(&w);
}

/* The page ends in front of the damage; the next one begins behind it, and says so. */
static void test_where_the_gap_is_told(void **state)
{
    (void)state;
    struct world w;
    struct page page;
    make_file(&w);
    sql(w.path, "UPDATE message SET data='MESSAGE' WHERE offset IN (5, 6, 12)");
    open_journal(&w);
    read_page(&w, &page, "a", 2, 0, 100, false);
    assert_int_equal(page.read.count, 2);
    assert_true(page.read.more);
    assert_true(page.read.floor <= 2);
    release_page(&page);
    read_page(&w, &page, "a", 4, 0, 100, false);
    assert_int_equal(page.read.floor, 6);
    assert_int_equal(page.read.count, 5);
    assert_true(page.read.more);
    release_page(&page);
    read_page(&w, &page, "a", 11, 0, 100, false);
    assert_int_equal(page.read.floor, 12);
    assert_int_equal(page.read.count, 0);
    assert_false(page.read.more);
    release_page(&page);
    read_page(&w, &page, "a", 12, 0, 100, false); /* behind it all is well */
    assert_true(page.read.floor <= 12 && !page.read.damaged);
    release_page(&page);
    read_page(&w, &page, "a", 5, 0, 3, true);
    assert_true(page.read.count == 3 && !page.read.damaged);
    release_page(&page);
    read_page(&w, &page, "a", 8, 0, 3, true);
    assert_true(page.read.count == 3 && page.read.damaged);
    assert_int_equal(page.read.messages[1]->m.offset, 4);
    release_page(&page);
    WAIT(&w, sample(&w, "rtbroker_storage_damaged_reads_total") == 3);
    assert_int_equal(store(&w, "a", "x"), 13); /* writing goes on */
    world_deinit(&w);
}

/* Whatever a row says, and whether it is there at all. */
static void test_every_column(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "time=time+1",
        "id=randomblob(16)",
        "id=x'00'",
        "kind=2",
        "kind=7",
        "flags=flags+1",
        "flags=256",
        "event='evens'",
        "event=NULL",
        "event=''",
        "data='x'",
        "data=CAST(data AS BLOB)||x'00'",
        "attachments=x'00'",
        "except_in='a'",
        "attachments=x'ffffffff00'",
        "publisher='q'",
        "publisher=NULL",
        "key='k'",
        "sum=sum+1",
        "sum=NULL",
        "sum='x'",
        "offset=offset+100",
        "channel_id=channel_id+1",
    };
    static const unsigned victims[] = {1, 7, COUNT};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct world w;
        char text[160];
        unsigned victim = victims[i % 3];
        make_file(&w);
        snprintf(text, sizeof(text), "UPDATE message SET %s WHERE offset=%u", changes[i], victim);
        sql(w.path, text);
        open_journal(&w);
        assert_int_equal(read_forward(&w, 100), ALL & ~(1u << victim));
        assert_int_equal(read_forward(&w, 1), ALL & ~(1u << victim));
        assert_int_equal(read_reverse(&w), ALL & ~(1u << victim));
        world_deinit(&w);
    }
    for (size_t i = 0; i < 3; i++) {
        struct world w;
        char text[160];
        make_file(&w);
        snprintf(text, sizeof(text), "DELETE FROM message WHERE offset=%u", victims[i]);
        sql(w.path, text);
        open_journal(&w);
        assert_int_equal(read_forward(&w, 100), ALL & ~(1u << victims[i]));
        (void)read_reverse(&w);
        world_deinit(&w);
    }
}

/* Two rows that changed places are damage as well. */
static void test_swapped(void **state)
{
    (void)state;
    struct world w;
    make_file(&w);
    sql(w.path, "UPDATE message SET offset=99 WHERE offset=4;"
                "UPDATE message SET offset=4 WHERE offset=9;"
                "UPDATE message SET offset=9 WHERE offset=99");
    open_journal(&w);
    assert_int_equal(read_forward(&w, 100), ALL & ~(1u << 4) & ~(1u << 9));
    world_deinit(&w);
}

/* Rows of a file from before there were sums. */
static void test_rows_without_a_sum(void **state)
{
    (void)state;
    struct world w;
    make_file(&w);
    sql(w.path, "ALTER TABLE message DROP COLUMN except_in;"
                "ALTER TABLE message DROP COLUMN sum; DELETE FROM meta WHERE name='unsummed';"
                "PRAGMA user_version=2");
    open_journal(&w);
    assert_int_equal(read_forward(&w, 5), ALL);
    assert_int_equal(read_reverse(&w), ALL);
    assert_int_equal(store(&w, "b", "x"), 1);
    close_journal(&w);
    assert_int_equal(sql(w.path, "SELECT count(*) FROM message WHERE sum IS NULL"), COUNT);
    sql(w.path, "UPDATE message SET sum=NULL"); /* that of the new one is damage */
    open_journal(&w);
    assert_int_equal(read_forward(&w, 5), ALL);
    struct page page;
    read_page(&w, &page, "b", 0, 0, 10, false);
    assert_int_equal(page.read.count, 0);
    assert_int_equal(page.read.floor, 1);
    release_page(&page);
    world_deinit(&w);
}

static void read_from_time(struct world *w, struct page *page, uint64_t time)
{
    memset(page, 0, sizeof(*page));
    page->read = (struct rt_read){
        .channel_name = RT_STR("a"), .by_time = true, .time = time, .limit = 100, .done = on_read};
    assert_int_equal(rt_journal_read(w->journal, &page->read), RT_PENDING);
    WAIT(w, page->answered);
    assert_int_equal(page->read.status, RT_OK);
}

/* A time that is wrong leads to a gap, not past the messages of the time. */
static void test_by_time(void **state)
{
    (void)state;
    static const char *const changes[] = {"time=1", "time=time+1000000000", "data='x'"};
    for (size_t i = 0; i < 3; i++) {
        for (unsigned victim = 5; victim <= COUNT; victim += COUNT - 5) {
            struct world w;
            struct page page;
            char text[160];
            make_file(&w);
            snprintf(text, sizeof(text), "UPDATE message SET %s WHERE offset=%u", changes[i],
                     victim);
            sql(w.path, text);
            open_journal(&w);
            read_from_time(&w, &page, 1000000 + victim * 1000);
            assert_true(page.read.since < victim);
            assert_true(page.read.floor >= victim);
            for (size_t k = 0; k < page.read.count; k++)
                expect_message(&page.read.messages[k]->m);
            release_page(&page);
            world_deinit(&w);
        }
    }
}

static uint8_t *map_file(const struct world *w, size_t *ret_size)
{
    struct stat st;
    int fd = open(w->path, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    close(fd);
    *ret_size = (size_t)st.st_size;
    return bytes;
}

/* A bit of a page of the messages or of their index, wherever it is: what is served is right, what is not is told, or nothing can be read or opened at all. */
static void flip_bits(struct world *w, int64_t page, unsigned *served_all, unsigned *told)
{
    size_t size = 0;
    uint8_t *bytes = map_file(w, &size);
    size_t from = (size_t)(page - 1) * 4096;
    assert_true(page > 1 && from + 4096 <= size);
    for (size_t i = 0, bit = 0; i < 4096; i += bytes[from + i] ? 5 : 101, bit++) {
        uint8_t was = bytes[from + i];
        bytes[from + i] = (uint8_t)(was ^ (1u << bit % 8));
        if (try_open(w) == 0) {
            unsigned got = read_forward(w, 100);
            (void)read_reverse(w);
            close_journal(w);
            *served_all += got == ALL;
            *told += got != ALL;
        }
        bytes[from + i] = was;
    }
    munmap(bytes, size);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    struct world w;
    unsigned served_all = 0, told = 0;
    make_file(&w);
    flip_bits(&w, sql(w.path, "SELECT rootpage FROM sqlite_schema WHERE name='message'"),
              &served_all, &told);
    flip_bits(&w, sql(w.path, "SELECT rootpage FROM sqlite_schema WHERE name='message_position'"),
              &served_all, &told);
    assert_true(served_all > 20 && told > 30);
    open_journal(&w);
    assert_int_equal(read_forward(&w, 100), ALL);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_damaged), cmocka_unit_test(test_where_the_gap_is_told),
        cmocka_unit_test(test_every_column),       cmocka_unit_test(test_swapped),
        cmocka_unit_test(test_rows_without_a_sum), cmocka_unit_test(test_by_time),
        cmocka_unit_test(test_flipped_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
