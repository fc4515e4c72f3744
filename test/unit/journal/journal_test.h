/* What the tests of the journals share: a folder of its own, a loop, appends and reads with their answers, waiting with a deadline. */
#ifndef TEST_JOURNAL_TEST_H
#define TEST_JOURNAL_TEST_H

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "journal/journal.h"

#define DEADLINE_MS 20000
#define UNUSED      __attribute__((unused))

struct world {
    char dir[64];
    char path[96];
    struct rt_loop *loop;
    struct rt_metrics metrics;
    struct rt_journal *journal;
    struct rt_journal_options options;
    unsigned answers;      /* appends answered, which also numbers them */
    unsigned failed;       /* calls of options.failed */
    unsigned failed_after; /* answers when it was called */
    unsigned relieved;
    unsigned relieved_after; /* answers when it was called */
    bool closed;
    char error[600]; /* of the last open */
};

/* One append and its answer. */
struct pub {
    struct rt_append append; /* first */
    struct world *world;
    unsigned answered; /* 0 not yet, else its number */
    int returned;
    char name[64];
};

/* Turns the loop until it holds; fails the test at the deadline. */
#define WAIT(world, condition)                                                \
    do {                                                                      \
        uint64_t wait_until = rt_mono_ms() + DEADLINE_MS;                     \
        while (!(condition)) {                                                \
            rt_loop_turn((world)->loop, 10);                                  \
            if (rt_mono_ms() > wait_until)                                    \
                fail_msg("%s:%d: never: %s", __FILE__, __LINE__, #condition); \
        }                                                                     \
    } while (0)

UNUSED static void on_failed(void *arg, const char *text)
{
    struct world *w = arg;
    assert_true(text[0] != '\0');
    w->failed++;
    w->failed_after = w->answers;
}

UNUSED static void on_relieved(void *arg)
{
    struct world *w = arg;
    w->relieved++;
    w->relieved_after = w->answers;
}

UNUSED static void on_journal_closed(void *arg)
{
    ((struct world *)arg)->closed = true;
}

UNUSED static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    rt_log_setup(RT_LOG_OFF, RT_LOG_TEXT, "test");
    const char *tmp = getenv("TMPDIR");
    snprintf(w->dir, sizeof(w->dir), "%.40s/journal.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->path, sizeof(w->path), "%s/log.db", w->dir);
    assert_int_equal(rt_loop_new(&w->loop, NULL), 0);
    rt_metrics_init(&w->metrics);
    w->options = (struct rt_journal_options){
        .loop = w->loop,
        .metrics = &w->metrics,
        .idempotency_window = 600000,
        .path = w->path,
        .sync_full = true,
        .failed = on_failed,
        .relieved = on_relieved,
        .arg = w,
    };
}

UNUSED static int try_open(struct world *w)
{
    struct rt_err err = {0};
    rt_metrics_init(&w->metrics);
    w->journal = NULL;
    w->closed = false;
    int code = rt_journal_sqlite(&w->options, &w->journal, &err);
    snprintf(w->error, sizeof(w->error), "%s", err.text);
    return code;
}

UNUSED static void open_journal(struct world *w)
{
    if (try_open(w) != 0)
        fail_msg("cannot open: %s", w->error);
}

UNUSED static void close_journal(struct world *w)
{
    rt_journal_close(w->journal, on_journal_closed, w);
    assert_false(w->closed); /* never from inside */
    WAIT(w, w->closed);
    rt_journal_free(w->journal);
    w->journal = NULL;
}

UNUSED static void reopen(struct world *w)
{
    close_journal(w);
    open_journal(w);
}

UNUSED static void remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(d);
    rmdir(dir);
}

UNUSED static void world_deinit(struct world *w)
{
    if (w->journal)
        close_journal(w);
    rt_loop_free(w->loop);
    remove_dir(w->dir);
}

/* ---- appending ---------------------------------------------------------------------------------------------- */

UNUSED static void on_append(struct rt_append *append)
{
    struct pub *p = (struct pub *)append;
    assert_int_equal(p->answered, 0);
    p->answered = ++p->world->answers;
}

/* A message with the text `data`; `publisher` and `key` may be NULL. */
UNUSED static struct rt_message text_message(const char *data, const char *publisher,
                                             const char *key)
{
    return (struct rt_message){.kind = RT_KIND_TEXT,
                               .data = rt_str_c(data),
                               .time = rt_wall_ms(),
                               .publisher = rt_str_c(publisher),
                               .key = rt_str_c(key)};
}

/* Hands the message in; p->returned has what rt_journal_append() said. */
UNUSED static void append_message(struct world *w, struct pub *p, const char *channel,
                                  const struct rt_message *message)
{
    memset(p, 0, sizeof(*p));
    p->world = w;
    snprintf(p->name, sizeof(p->name), "%s", channel);
    p->append.channel_name = rt_str_c(p->name);
    p->append.message = rt_stored_new(message);
    assert_non_null(p->append.message);
    p->append.done = on_append;
    p->returned = rt_journal_append(w->journal, &p->append);
}

UNUSED static void append_text(struct world *w, struct pub *p, const char *channel,
                               const char *data)
{
    struct rt_message m = text_message(data, NULL, NULL);
    append_message(w, p, channel, &m);
}

UNUSED static void append_key(struct world *w, struct pub *p, const char *channel,
                              const char *publisher, const char *key)
{
    struct rt_message m = text_message("keyed", publisher, key);
    append_message(w, p, channel, &m);
}

UNUSED static void release(struct pub *p)
{
    rt_stored_unref(p->append.message);
    p->append.message = NULL;
}

UNUSED static void await(struct pub *p)
{
    assert_int_equal(p->returned, RT_PENDING);
    assert_int_equal(p->answered, 0); /* never from inside */
    WAIT(p->world, p->answered);
}

/* Appends, waits, expects it stored; returns the offset. */
UNUSED static uint64_t store(struct world *w, const char *channel, const char *data)
{
    struct pub p;
    append_text(w, &p, channel, data);
    await(&p);
    if (p.append.status != RT_OK)
        fail_msg("not stored: %d %s", p.append.status, p.append.text);
    release(&p);
    return p.append.position.offset;
}

/* The status of one append that is waited for. */
UNUSED static int status_of(struct world *w, const char *channel, const char *data)
{
    struct pub p;
    append_text(w, &p, channel, data);
    if (p.returned == RT_PENDING)
        await(&p);
    release(&p);
    return p.append.status;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

struct page {
    struct rt_read read; /* first */
    bool answered;
};

UNUSED static void on_read(struct rt_read *read)
{
    struct page *page = (struct page *)read;
    assert_false(page->answered);
    page->answered = true;
}

UNUSED static void read_page(struct world *w, struct page *page, const char *channel,
                             uint64_t since, uint64_t until, uint32_t limit, bool reverse)
{
    memset(page, 0, sizeof(*page));
    page->read = (struct rt_read){.channel_name = rt_str_c(channel),
                                  .since = since,
                                  .until = until,
                                  .limit = limit,
                                  .reverse = reverse,
                                  .done = on_read};
    assert_int_equal(rt_journal_read(w->journal, &page->read), RT_PENDING);
    assert_false(page->answered);
    WAIT(w, page->answered);
}

UNUSED static void release_page(struct page *page)
{
    for (size_t i = 0; i < page->read.count; i++)
        rt_stored_unref(page->read.messages[i]);
    rt_free(page->read.messages);
    page->read.messages = NULL;
    page->read.count = 0;
}

/* What a read of one message behind a position says: RT_OK or RT_ERANGE. `reverse`: before it. */
UNUSED static int read_position(struct world *w, const char *channel, const char *epoch,
                                uint64_t offset, bool reverse)
{
    struct page page = {.answered = false};
    page.read = (struct rt_read){.channel_name = rt_str_c(channel),
                                 .since = offset,
                                 .limit = 1,
                                 .reverse = reverse,
                                 .done = on_read};
    snprintf(page.read.epoch, sizeof(page.read.epoch), "%s", epoch);
    assert_int_equal(rt_journal_read(w->journal, &page.read), RT_PENDING);
    WAIT(w, page.answered);
    assert_true(page.read.status == RT_OK || page.read.status == RT_ERANGE);
    assert_true(page.read.status == RT_OK || page.read.text[0] != '\0');
    release_page(&page);
    return page.read.status;
}

/* The epoch that positions are told under now. */
UNUSED static void get_epoch(struct world *w, char ret_epoch[RT_EPOCH_MAX + 1])
{
    struct page page;
    read_page(w, &page, "a", 0, 0, 0, false);
    snprintf(ret_epoch, RT_EPOCH_MAX + 1, "%s", page.read.top.epoch);
    release_page(&page);
}

UNUSED static void copy_file(const char *from, const char *to)
{
    char data[4096];
    int in = open(from, O_RDONLY);
    int out = open(to, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t n = read(in, data, sizeof(data)); n > 0; n = read(in, data, sizeof(data)))
        assert_int_equal(write(out, data, (size_t)n), n);
    close(in);
    close(out);
}

/* The highest offset of a channel. */
UNUSED static uint64_t top_of(struct world *w, const char *channel)
{
    struct page page;
    read_page(w, &page, channel, 0, 0, 0, false);
    assert_int_equal(page.read.status, RT_OK);
    release_page(&page);
    return page.read.top.offset;
}

/* ---- looking into the file ------------------------------------------------------------------------------------ */

/* Runs SQL on the file with a connection of its own; returns the first integer of the first row, -1 without one. */
UNUSED static int64_t sql(const char *path, const char *text)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t value = -1;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    const char *rest = text;
    while (*rest) {
        if (sqlite3_prepare_v2(db, rest, -1, &statement, &rest) != SQLITE_OK)
            fail_msg("%s: %s", text, sqlite3_errmsg(db));
        int code = sqlite3_step(statement);
        if (code == SQLITE_ROW)
            value = sqlite3_column_int64(statement, 0);
        else if (code != SQLITE_DONE)
            fail_msg("%s: %s", text, sqlite3_errmsg(db));
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    return value;
}

UNUSED static bool exists(const char *dir, const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

UNUSED static off_t size_of(const char *dir, const char *name)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* The value of a sample line of the metrics, e.g. `rtbroker_storage_up`; -1 when there is none. */
UNUSED static double sample(struct world *w, const char *name)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_metrics_write(&w->metrics, &out);
    const char *text = rt_buf_cstr(&out);
    assert_non_null(text);
    double value = -1;
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name))
        if ((at == text || at[-1] == '\n') && at[strlen(name)] == ' ')
            value = strtod(at + strlen(name), NULL);
    rt_buf_deinit(&out);
    return value;
}

#endif
