/* One read of the history as one statement, so that progress and rows are of one snapshot.
 *
 * What it answers is in terms of rt_read: `complete` is progress.next - 1 while the epoch is the partition's, UINT64_MAX for an older one of which something is or was stored, 0 for one that
 * PostgreSQL does not know. The partition is the number behind the epoch's first dot (journal/kafka_epoch.h).
 * Thread: the reader's, with its connection; init and deinit any. */
#ifndef RT_STORE_QUERY_H
#define RT_STORE_QUERY_H

#include "journal/journal.h"
#include "store/pg.h"

#define RT_QUERY_ROWS 10000u /* of a page, whatever the limit */

struct rt_query {
    char epoch[RT_EPOCH_MAX + 1];
    struct rt_str channel;
    uint64_t since, until;
    uint64_t time; /* wall ms; with by_time, as in rt_read */
    uint32_t limit;
    bool reverse, by_time;
};

struct rt_query_result {
    struct rt_stored **messages; /* the caller's, as in rt_read */
    size_t count;
    bool more;
    struct rt_position top;
    uint64_t floor, complete;
    uint64_t since; /* where a question by time began */
    bool found;
};

/* After connecting. */
int rt_query_prepare(struct rt_pg *pg, const char *schema, uint32_t timeout, struct rt_err *err);
/* RT_EIO, RT_ENOMEM; then `ret_result` is untouched. */
int rt_query_run(struct rt_pg *pg, const char *topic, const struct rt_query *query,
                 uint32_t timeout, struct rt_query_result *ret_result, struct rt_err *err);
void rt_query_result_deinit(struct rt_query_result *result);

#endif
