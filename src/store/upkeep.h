/* Keeps the table of messages in shape: partitions for each day (UTC) made ahead, rows that had to go to the default partition moved to a right one, what is
 * older than the retention dropped.
 *
 * One node at a time does it, whoever gets the advisory lock; others look again later. Each partition is a transaction of its own that gives up after a short
 * wait for its locks, so that neither the writer nor readers queue behind it for long; what failed is tried again.
 * Rows are moved under an exclusive lock of the whole table: a reader that had planned before would look for them where they are no more.
 * Retention drops days that are wholly older, by the earlier one of the node's and the server's clock and an hour besides: a clock that is set ahead takes nothing that should stay. Before that progress.purged and purged.upto rise to the highest offset that goes with them.
 * Rows whose time is more than RT_STORE_UPKEEP_AHEAD days in the future, or RT_STORE_UPKEEP_PAST days in the past while there is no retention, stay in the default partition.
 * Thread: rt_store_upkeep_run() a worker's, with its connection; the rest the loop's. */
#ifndef RT_STORE_UPKEEP_H
#define RT_STORE_UPKEEP_H

#include "base/metrics.h"
#include "net/loop.h"
#include "store/pg.h"

#define RT_STORE_UPKEEP_AHEAD    7
#define RT_STORE_UPKEEP_PAST     3650
#define RT_STORE_UPKEEP_EVERY_MS 300000u

struct rt_store_upkeep_result {
    bool elsewhere; /* another node is at it */
    uint32_t made, dropped;
};

/* The earlier one of this node's and the server's clock, ms. */
int rt_store_upkeep_now(struct rt_pg *pg, uint64_t *ret_now, struct rt_err *err);
/* One round, as if it were `now` (ms). On a failure what was done before stands, and is in `result`. */
int rt_store_upkeep_run(struct rt_pg *pg, const char *schema, uint64_t now, uint64_t retention,
                        struct rt_store_upkeep_result *result, struct rt_err *err);

struct rt_store_upkeep;

/* Strings are copied. */
struct rt_store_upkeep_options {
    struct rt_loop *loop;
    struct rt_metrics *metrics; /* may be NULL; not written after rt_store_upkeep_free() */
    const char *url, *schema;
    const char *name;   /* application_name */
    uint64_t retention; /* ms, 0: never */
};

int rt_store_upkeep_new(const struct rt_store_upkeep_options *options,
                        struct rt_store_upkeep **ret_upkeep, struct rt_err *err);
/* `closed(arg)` from a later turn, once. */
void rt_store_upkeep_close(struct rt_store_upkeep *u, void (*closed)(void *arg), void *arg);
/* After `closed`. NULL is fine. */
void rt_store_upkeep_free(struct rt_store_upkeep *u);

#endif
