/* The sink's thread: its state and its main.
 *
 *     connect -> [ renew, take or give partitions, locate, fill a batch, store it ]* -> give back
 *
 * When the topic has another number of partitions (`wanted`) all is given back and begins anew with that number; rows say by their epochs to which number they belong.
 * Thread: as said; `stopping`, `abort` and `wanted` are set by the loop. */
#ifndef RT_STORE_SINK_WORKER_H
#define RT_STORE_SINK_WORKER_H

#include "store/sink.h"
#include "store/sink_load.h"
#include "store/sink_owner.h"
#include "store/sink_status.h"
#include "store/sink_write.h"

#define RT_SINK_BATCH_BYTES ((size_t)1 << 20)

struct rt_sink_worker {
    struct rt_sink_options options;
    struct rt_sink_status *status;
    _Atomic bool stopping;   /* finish what is in hand */
    _Atomic bool abort;      /* stop waiting for PostgreSQL */
    _Atomic uint32_t wanted; /* partitions; options.partitions is what there is now, 0 nothing */
    struct rt_sink_consumer *consumer;
    struct rt_pg *pg; /* NULL: not connected */
    struct rt_sink_part *parts;
    struct rt_keys_budget keys; /* no cap: the nodes refuse publishers, the sink waits for memory */
    struct rt_sink_batch batch;
    struct rt_sink_writer writer;
    struct rt_sink_owner owner;
    struct rt_sink_loader loader;
    uint64_t renew_at, check_at, retry_at, held_told_at; /* monotonic ms */
    uint32_t failures;                                   /* in a row */
    uint32_t checked;
    struct rt_sink_figures figures;
    struct rt_sink_figures before; /* of what was there with another number of partitions */
    char trouble[160];             /* as pinned */
};

/* On the loop, before and after the thread. */
int rt_sink_worker_init(struct rt_sink_worker *w, const struct rt_sink_options *options,
                        struct rt_sink_status *status, struct rt_err *err);
void rt_sink_worker_deinit(struct rt_sink_worker *w);
/* The thread's main. */
void rt_sink_worker_run(void *worker);

#endif
