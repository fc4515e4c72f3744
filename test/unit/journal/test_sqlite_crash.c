/* Crashes: a torn or damaged write-ahead log gives a prefix of the commits, kill -9 loses nothing that was acknowledged. */
#include "journal_test.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- torn WAL ----------------------------------------------------------------------------------------------- */

struct bytes {
    uint8_t *data;
    size_t len;
};

static struct bytes slurp(const char *dir, const char *name)
{
    char path[160];
    struct bytes b = {.len = (size_t)size_of(dir, name)};
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    b.data = malloc(b.len + 1);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && b.data);
    assert_int_equal(read(fd, b.data, b.len), b.len);
    close(fd);
    return b;
}

static void spill(const char *dir, const char *name, const uint8_t *data, size_t len)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* The state of a crashed process: the database and a WAL that is treated as the disk might have. */
enum damage { TRUNCATED, FLIPPED, ZEROED_FROM, ZEROED_SECTOR, DAMAGES };

static void lay_out(struct world *w, const struct bytes *db, const struct bytes *wal,
                    enum damage damage, size_t at)
{
    remove_dir(w->dir);
    assert_int_equal(mkdir(w->dir, 0700), 0);
    spill(w->dir, "log.db", db->data, db->len);
    uint8_t *copy = malloc(wal->len);
    assert_non_null(copy);
    memcpy(copy, wal->data, wal->len);
    size_t len = damage == TRUNCATED ? at : wal->len;
    size_t sector = wal->len - at < 512 ? wal->len - at : 512;
    if (damage == FLIPPED && at < wal->len)
        copy[at] ^= 0x10;
    else if (damage == ZEROED_FROM)
        memset(copy + at, 0, wal->len - at);
    else if (damage == ZEROED_SECTOR)
        memset(copy + at, 0, sector);
    spill(w->dir, "log.db-wal", copy, len);
    free(copy);
}

/* Opens, expects messages 1 to k of those that were stored, and that the next one follows; returns k. */
static uint64_t expect_prefix(struct world *w, uint64_t stored)
{
    struct page page;
    char want[32];
    open_journal(w);
    read_page(w, &page, "a", 0, 0, 10000, false);
    assert_int_equal(page.read.status, RT_OK);
    uint64_t count = page.read.count;
    assert_true(count <= stored);
    assert_int_equal(page.read.top.offset, count);
    for (uint64_t i = 0; i < count; i++) {
        const struct rt_message *m = &page.read.messages[i]->m;
        snprintf(want, sizeof(want), "message %u", (unsigned)(i + 1));
        assert_int_equal(m->offset, i + 1);
        assert_true(rt_str_eq(m->data, rt_str_c(want)));
    }
    release_page(&page);
    assert_int_equal(store(w, "a", "next"), count + 1);
    close_journal(w);
    return count;
}

static void test_torn_wal(void **state)
{
    (void)state;
    struct world w;
    enum { STORED = 60, FOLDED = 20 };
    world_init(&w);
    open_journal(&w);
    char data[32];
    for (unsigned i = 1; i <= STORED; i++) {
        snprintf(data, sizeof(data), "message %u", i);
        assert_int_equal(store(&w, "a", data), i);
        if (i == FOLDED) /* these are in the database file */
            reopen(&w);
    }
    struct bytes db = slurp(w.dir, "log.db");
    struct bytes wal = slurp(w.dir, "log.db-wal");
    close_journal(&w);
    assert_true(wal.len > 100000);

    unsigned counts[STORED + 1] = {0};
    const size_t frame = 4096 + 24;
    for (size_t i = 0; i < 240; i++) {
        /* At frames' edges and inside, over the whole file. */
        const size_t within[] = {0, 1, 23, 24, 25, 2000, 4119};
        size_t frames = (wal.len - 32) / frame;
        size_t at = i < 8 ? i * 5 : 32 + (i * frames / 240) * frame + within[i % 7];
        lay_out(&w, &db, &wal, (enum damage)(i / 7 % DAMAGES), at);
        counts[expect_prefix(&w, STORED)]++;
    }
    for (int i = 0; i < FOLDED; i++)
        assert_int_equal(counts[i], 0); /* what the database file has is never lost */
    unsigned different = 0;
    for (int i = FOLDED; i <= STORED; i++)
        different += counts[i] > 0;
    assert_true(different > 20);
    lay_out(&w, &db, &wal, TRUNCATED, wal.len);
    assert_int_equal(expect_prefix(&w, STORED), STORED);
    free(db.data);
    free(wal.data);
    world_deinit(&w);
}

/* ---- kill -9 ------------------------------------------------------------------------------------------------ */

#define CHANNELS 3
#define FLIGHT   40

/* What the child tells through the pipe about each acknowledged message. */
struct ack {
    uint32_t channel;
    uint32_t number; /* its text */
    uint64_t offset;
};

struct child {
    struct world w;
    int pipe;
    uint32_t next; /* number of the next message */
    struct pub pubs[FLIGHT];
};

static void child_append(struct child *c, struct pub *p);

static void on_child_append(struct rt_append *append)
{
    struct pub *p = (struct pub *)append;
    struct child *c = (struct child *)p->world;
    struct ack ack = {.channel = (uint32_t)(p->name[1] - '0'),
                      .number = (uint32_t)p->returned,
                      .offset = append->position.offset};
    if (append->status != RT_OK || write(c->pipe, &ack, sizeof(ack)) != (ssize_t)sizeof(ack))
        _exit(3);
    rt_stored_unref(append->message);
    child_append(c, p);
}

static void child_append(struct child *c, struct pub *p)
{
    char text[32];
    uint32_t number = c->next++;
    snprintf(text, sizeof(text), "%u", number);
    snprintf(p->name, sizeof(p->name), "c%u", number % CHANNELS);
    struct rt_message m = text_message(text, "child", NULL);
    p->world = &c->w;
    p->append.channel_name = rt_str_c(p->name);
    p->append.message = rt_stored_new(&m);
    p->append.done = on_child_append;
    p->returned = (int)number;
    if (rt_journal_append(c->w.journal, &p->append) != RT_PENDING)
        _exit(4);
}

/* Appends for ever. */
static void run_child(const struct world *parent, int pipe, uint32_t first)
{
    static struct child c;
    c.w = *parent;
    c.pipe = pipe;
    c.next = first;
    if (rt_loop_new(&c.w.loop, NULL))
        _exit(5);
    c.w.options.loop = c.w.loop;
    c.w.options.path = c.w.path;
    c.w.options.metrics = &c.w.metrics;
    c.w.options.arg = &c.w;
    if (try_open(&c.w))
        _exit(6);
    for (int i = 0; i < FLIGHT; i++)
        child_append(&c, &c.pubs[i]);
    for (;;)
        rt_loop_turn(c.w.loop, 1000);
}

struct acks {
    struct ack *all;
    size_t count, cap;
};

static bool read_ack(int fd, struct ack *ack)
{
    size_t got = 0;
    while (got < sizeof(*ack)) {
        ssize_t n = read(fd, (char *)ack + got, sizeof(*ack) - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static void add_ack(struct acks *acks, const struct ack *ack)
{
    if (acks->count == acks->cap) {
        acks->cap = acks->cap ? acks->cap * 2 : 4096;
        acks->all = realloc(acks->all, acks->cap * sizeof(*acks->all));
        assert_non_null(acks->all);
    }
    acks->all[acks->count++] = *ack;
}

/* Lets a child run until it has acknowledged `enough`, kills it, and reads what it said before it died. */
static void run_and_kill(struct world *w, struct acks *acks, uint32_t first, size_t enough)
{
    int fds[2];
    struct ack ack;
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        run_child(w, fds[1], first);
    }
    close(fds[1]);
    size_t got = 0;
    bool alive = true;
    for (; got < enough && (alive = read_ack(fds[0], &ack)); got++)
        add_ack(acks, &ack);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (alive && read_ack(fds[0], &ack))
        add_ack(acks, &ack);
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status))
        fail_msg("the child ended by itself: %d", WEXITSTATUS(status));
}

static uint32_t number_of(const struct rt_message *m)
{
    char text[16];
    snprintf(text, sizeof(text), "%.*s", RT_STR_ARG(m->data));
    return (uint32_t)strtoul(text, NULL, 10);
}

/* Every acknowledged message stands at its offset, nothing stands twice, the order is the order of sending. Returns the highest number. */
static uint32_t verify_channel(struct world *w, uint32_t channel, const struct acks *acks)
{
    struct page page;
    char name[8];
    snprintf(name, sizeof(name), "c%u", channel);
    read_page(w, &page, name, 0, 0, UINT32_MAX, false);
    assert_int_equal(page.read.status, RT_OK);
    assert_false(page.read.more);
    assert_int_equal(page.read.top.offset, page.read.count);
    uint32_t last = 0;
    for (size_t i = 0; i < page.read.count; i++) {
        const struct rt_message *m = &page.read.messages[i]->m;
        uint32_t number = number_of(m);
        assert_int_equal(m->offset, i + 1);
        assert_int_equal(number % CHANNELS, channel);
        assert_true(number > last); /* rises: in order, and none twice */
        last = number;
    }
    for (size_t i = 0; i < acks->count; i++) {
        const struct ack *ack = &acks->all[i];
        if (ack->channel != channel)
            continue;
        assert_true(ack->offset >= 1 && ack->offset <= page.read.count);
        assert_int_equal(number_of(&page.read.messages[ack->offset - 1]->m), ack->number);
    }
    release_page(&page);
    return last;
}

static void test_kill_9(void **state)
{
    (void)state;
    struct world w;
    struct acks acks = {0};
    uint32_t first = 1;
    unsigned seed = (unsigned)getpid();
    world_init(&w);
    for (int kill = 0; kill < 10; kill++) {
        /* Also within the first commits, and while a checkpoint is likely. */
        size_t enough = kill == 0 ? 1 : 200 + (seed = seed * 1103515245 + 12345) / 65536 % 4000;
        run_and_kill(&w, &acks, first, enough);
        open_journal(&w);
        uint32_t highest = 0;
        for (uint32_t c = 0; c < CHANNELS; c++) {
            uint32_t last = verify_channel(&w, c, &acks);
            highest = last > highest ? last : highest;
        }
        close_journal(&w);
        assert_true(highest >= first);
        first = highest + CHANNELS + 1;
    }
    assert_true(acks.count > 2000);
    free(acks.all);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torn_wal),
        cmocka_unit_test(test_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
