#include "journal/sqlite_status.h"

#include <stdio.h>

static const double second_bounds[] = {.0001, .00025, .0005, .001, .0025, .005,
                                       .01,   .025,   .05,   .1,   .5,    1};
static const double row_bounds[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};

struct rt_metric rt_sqlite_commit_metric(void)
{
    return (struct rt_metric){.name = "journal_commit_seconds",
                              .help = "Time of one transaction, begin to commit.",
                              .type = RT_HISTOGRAM,
                              .bounds = second_bounds,
                              .bound_count = sizeof(second_bounds) / sizeof(second_bounds[0])};
}

struct rt_metric rt_sqlite_rows_metric(void)
{
    return (struct rt_metric){.name = "journal_batch_rows",
                              .help = "Messages stored by one transaction.",
                              .type = RT_HISTOGRAM,
                              .bounds = row_bounds,
                              .bound_count = sizeof(row_bounds) / sizeof(row_bounds[0])};
}

void rt_sqlite_status_init(struct rt_sqlite_status *s, void (*wake)(void *arg), void *wake_arg)
{
    pthread_mutex_init(&s->lock, NULL);
    s->notice = (struct rt_sqlite_notice){
        .healthy = true, .commit = rt_sqlite_commit_metric(), .rows = rt_sqlite_rows_metric()};
    s->wake = wake;
    s->wake_arg = wake_arg;
}

void rt_sqlite_status_deinit(struct rt_sqlite_status *s)
{
    pthread_mutex_destroy(&s->lock);
}

void rt_sqlite_status_batch(struct rt_sqlite_status *s, size_t rows, double seconds)
{
    pthread_mutex_lock(&s->lock);
    rt_metrics_observe(&s->notice.commit, seconds);
    rt_metrics_observe(&s->notice.rows, (double)rows);
    pthread_mutex_unlock(&s->lock);
}

void rt_sqlite_status_health(struct rt_sqlite_status *s, bool healthy, const char *text)
{
    pthread_mutex_lock(&s->lock);
    s->notice.healthy = healthy;
    snprintf(s->notice.text, sizeof(s->notice.text), "%s", text);
    pthread_mutex_unlock(&s->lock);
    s->wake(s->wake_arg);
}

/* Wakes only for news: an idle broker sleeps. */
void rt_sqlite_status_room(struct rt_sqlite_status *s, uint64_t used, uint64_t left)
{
    pthread_mutex_lock(&s->lock);
    bool news = s->notice.used != used || s->notice.left != left;
    s->notice.used = used;
    s->notice.left = left;
    pthread_mutex_unlock(&s->lock);
    if (news)
        s->wake(s->wake_arg);
}

void rt_sqlite_status_damaged(struct rt_sqlite_status *s)
{
    pthread_mutex_lock(&s->lock);
    s->notice.damaged++;
    pthread_mutex_unlock(&s->lock);
}

void rt_sqlite_status_fail(struct rt_sqlite_status *s, const char *text)
{
    pthread_mutex_lock(&s->lock);
    s->notice.healthy = false;
    s->notice.failed = true;
    snprintf(s->notice.text, sizeof(s->notice.text), "%s", text);
    pthread_mutex_unlock(&s->lock);
    s->wake(s->wake_arg);
}

/* The wake comes under the lock: as soon as the loop has seen the end it joins the thread and closes the waker. */
static void set_ended(struct rt_sqlite_status *s, bool *flag)
{
    pthread_mutex_lock(&s->lock);
    *flag = true;
    s->wake(s->wake_arg);
    pthread_mutex_unlock(&s->lock);
}

void rt_sqlite_status_writer_ended(struct rt_sqlite_status *s)
{
    set_ended(s, &s->notice.writer_ended);
}

void rt_sqlite_status_reader_ended(struct rt_sqlite_status *s)
{
    set_ended(s, &s->notice.reader_ended);
}

static void reset(struct rt_metric *histogram)
{
    histogram->sum = 0;
    for (uint32_t i = 0; i <= histogram->bound_count; i++)
        histogram->buckets[i] = 0;
}

void rt_sqlite_status_take(struct rt_sqlite_status *s, struct rt_sqlite_notice *ret_notice)
{
    pthread_mutex_lock(&s->lock);
    *ret_notice = s->notice;
    s->notice.damaged = 0;
    reset(&s->notice.commit);
    reset(&s->notice.rows);
    pthread_mutex_unlock(&s->lock);
}

void rt_sqlite_status_add(struct rt_metric *to, const struct rt_metric *from)
{
    to->sum += from->sum;
    for (uint32_t i = 0; i <= from->bound_count; i++)
        to->buckets[i] += from->buckets[i];
}
