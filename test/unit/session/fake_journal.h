/* A log that the test plays: it answers at once, or when told to, in any order, with any result; reads are answered from what the
 * test has put in.
 * Include it in one file of a program, after cmocka.h. */
#ifndef TEST_UNIT_SESSION_FAKE_JOURNAL_H
#define TEST_UNIT_SESSION_FAKE_JOURNAL_H

#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "journal/journal.h"

/* Not every program needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"

enum { WAITING_MAX = 64, ROWS_MAX = 64 };

static struct fake_journal {
    struct rt_journal base;
    struct rt_append *appends[WAITING_MAX];
    size_t append_count;
    struct rt_read *reads[WAITING_MAX];
    size_t read_count;
    bool at_once; /* appends are stored within the call */
    int refuse;   /* the code with which appends are refused within the call */
    bool no_reads, congested;
    char epoch[RT_EPOCH_MAX + 1];
    char former_epoch[RT_EPOCH_MAX + 1]; /* whose positions are good as well */
    uint64_t offset;
    /* the rows that it can read, in order */
    struct rt_stored *rows[ROWS_MAX];
    size_t row_count;
    uint64_t top, oldest;
    uint64_t complete; /* 0: all */
    bool page_cut;
    /* as a log that nodes share: what this node has come to; epoch "" is not known */
    uint64_t head;
    void (*closed)(void *arg);
    void *closed_arg;
    bool freed;
} fake;

static struct fake_journal *fake_of(struct rt_journal *j)
{
    return RT_CONTAINER(j, struct fake_journal, base);
}

static void fake_store(struct fake_journal *j, struct rt_append *a, int status)
{
    a->status = status;
    if (status) {
        snprintf(a->text, sizeof(a->text), "the log said %d", status);
        return;
    }
    memcpy(a->position.epoch, j->epoch, sizeof(j->epoch));
    a->position.offset = ++j->offset;
}

static int fake_append(struct rt_journal *base, struct rt_append *a)
{
    struct fake_journal *j = fake_of(base);
    if (j->refuse) {
        fake_store(j, a, j->refuse);
        return j->refuse;
    }
    if (j->at_once) {
        fake_store(j, a, 0);
        return 0;
    }
    assert_true(j->append_count < WAITING_MAX);
    j->appends[j->append_count++] = a;
    return RT_PENDING;
}

static int fake_read(struct rt_journal *base, struct rt_read *read)
{
    struct fake_journal *j = fake_of(base);
    if (j->no_reads)
        return RT_ENOENT;
    assert_true(j->read_count < WAITING_MAX);
    j->reads[j->read_count++] = read;
    return RT_PENDING;
}

static bool fake_congested(const struct rt_journal *base)
{
    return ((const struct fake_journal *)(const void *)base)->congested;
}

static bool fake_healthy(const struct rt_journal *base, const char **ret_text)
{
    (void)base;
    if (ret_text)
        *ret_text = "";
    return true;
}

static void fake_close(struct rt_journal *base, void (*closed)(void *arg), void *arg)
{
    struct fake_journal *j = fake_of(base);
    j->closed = closed;
    j->closed_arg = arg;
}

static void fake_free(struct rt_journal *base)
{
    fake_of(base)->freed = true;
}

static const struct rt_journal_ops FAKE_OPS = {.name = "fake",
                                               .append = fake_append,
                                               .read = fake_read,
                                               .congested = fake_congested,
                                               .healthy = fake_healthy,
                                               .close = fake_close,
                                               .free = fake_free};

static bool fake_position(const struct rt_journal *base, struct rt_str channel,
                          struct rt_position *ret_position)
{
    const struct fake_journal *j = (const struct fake_journal *)(const void *)base;
    (void)channel;
    if (j->epoch[0] == '\0')
        return false;
    memcpy(ret_position->epoch, j->epoch, sizeof(j->epoch));
    ret_position->offset = j->head;
    return true;
}

/* A log that delivers by itself and keeps nothing. */
static const struct rt_journal_ops FAKE_SHARED_OPS = {.name = "fake",
                                                      .delivers = true,
                                                      .append = fake_append,
                                                      .read = fake_read,
                                                      .position = fake_position,
                                                      .congested = fake_congested,
                                                      .healthy = fake_healthy,
                                                      .close = fake_close,
                                                      .free = fake_free};

/* Answers the append that waits at `index` (in order of arrival). */
static void commit_at(size_t index, int status, bool duplicate)
{
    struct fake_journal *j = &fake;
    assert_true(index < j->append_count);
    struct rt_append *a = j->appends[index];
    memmove(j->appends + index, j->appends + index + 1,
            (--j->append_count - index) * sizeof(j->appends[0]));
    fake_store(j, a, status);
    if (duplicate) {
        a->duplicate = true;
        a->position.offset = 1;
        j->offset--;
    }
    a->done(a);
}

static void commit_all(void)
{
    while (fake.append_count > 0)
        commit_at(0, 0, false);
}

static bool takes(const struct rt_read *read, uint64_t offset)
{
    if (read->reverse)
        return (read->since == 0 || offset < read->since) && offset >= read->until;
    return offset > read->since && (read->until == 0 || offset <= read->until);
}

/* As rt_read says. */
static void place_read(const struct fake_journal *j, struct rt_read *read)
{
    read->since = 0;
    for (size_t i = 0; i < j->row_count && !read->found; i++) {
        read->found = j->rows[i]->m.time >= read->time;
        if (read->found == read->reverse)
            read->since = j->rows[i]->m.offset;
    }
    if (read->reverse && !read->found)
        read->since = 0;
}

/* A journal that keeps what it stores looks at the epoch of a position. */
static bool judge_epoch(const struct fake_journal *j, struct rt_read *read)
{
    if (read->status || j->base.ops->delivers || read->epoch[0] == '\0' ||
        strcmp(read->epoch, j->epoch) == 0 || strcmp(read->epoch, j->former_epoch) == 0)
        return true;
    read->status = RT_ERANGE;
    snprintf(read->text, sizeof(read->text), "the position is of another epoch");
    return false;
}

/* Answers the oldest read as a journal would, from `rows`. */
static void answer_read(int status)
{
    struct fake_journal *j = &fake;
    assert_true(j->read_count > 0);
    struct rt_read *read = j->reads[0];
    memmove(j->reads, j->reads + 1, --j->read_count * sizeof(j->reads[0]));
    read->status = status;
    snprintf(read->text, sizeof(read->text), "%s", status ? "the disk is gone" : "");
    if (!judge_epoch(j, read))
        status = read->status;
    memcpy(read->top.epoch, j->epoch, sizeof(j->epoch));
    read->top.offset = j->top;
    read->floor = j->oldest ? j->oldest - 1 : j->top;
    read->complete = j->complete ? j->complete : UINT64_MAX;
    read->more = j->page_cut;
    if (read->by_time)
        place_read(j, read);
    read->messages = rt_calloc(ROWS_MAX, sizeof(struct rt_stored *));
    for (size_t i = 0; !status && i < j->row_count; i++) {
        size_t at = read->reverse ? j->row_count - 1 - i : i;
        if (read->count < read->limit && takes(read, j->rows[at]->m.offset))
            read->messages[read->count++] = rt_stored_ref(j->rows[at]);
    }
    read->done(read);
}

/* One more row in the log, `age` ms old. */
static void add_row(uint64_t offset, const char *data, uint64_t age)
{
    struct rt_message m = {
        .data = rt_str_c(data), .kind = RT_KIND_TEXT, .offset = offset, .time = rt_wall_ms() - age};
    assert_true(fake.row_count < ROWS_MAX);
    struct rt_stored *s = rt_stored_new(&m);
    assert_non_null(s);
    fake.rows[fake.row_count++] = s;
    fake.top = offset;
    if (fake.oldest == 0)
        fake.oldest = offset;
}

static void fake_journal_init(void)
{
    memset(&fake, 0, sizeof(fake));
    fake.base.ops = &FAKE_OPS;
    snprintf(fake.epoch, sizeof(fake.epoch), "E");
}

/* Answers whatever waits. */
static void fake_journal_finish(void)
{
    commit_all();
    while (fake.read_count > 0)
        answer_read(RT_EIO);
}

static void fake_journal_deinit(void)
{
    for (size_t i = 0; i < fake.row_count; i++)
        rt_stored_unref(fake.rows[i]);
    memset(&fake, 0, sizeof(fake));
}

#endif
