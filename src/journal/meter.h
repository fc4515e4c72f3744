/* What every journal counts, registered once under the names of docs (prefix rtbroker_):
 * journal_appends_total{result}, journal_duplicates_total, journal_queue_bytes, storage_up.
 * Embedded by the journal, which outlives the last rt_metrics_write(). Thread: the loop. */
#ifndef RT_JOURNAL_METER_H
#define RT_JOURNAL_METER_H

#include "base/metrics.h"
#include "journal/journal.h"

struct rt_journal_meter {
    struct rt_metric ok, retry, unknown, refused, duplicates, queue_bytes, up;
};

/* `metrics` may be NULL. */
void rt_journal_meter_init(struct rt_journal_meter *m, struct rt_metrics *metrics);
/* Counts one answered append. */
void rt_journal_meter_count(struct rt_journal_meter *m, const struct rt_append *append);
/* Sets an append's failure and counts it; returns `code`. */
int rt_journal_refuse(struct rt_journal_meter *m, struct rt_append *append, int code,
                      const char *text);

#endif
