/* What the sink asks PostgreSQL when it takes a partition over, or when the log is not the one that it knows.
 *
 * Thread: the sink's. */
#ifndef RT_STORE_SINK_LOAD_H
#define RT_STORE_SINK_LOAD_H

#include "store/pg.h"
#include "store/sink_consumer.h"
#include "store/sink_part.h"

struct rt_sink_loader {
    struct rt_pg *pg; /* set by the worker before each use */
    const char *topic;
    char *progress, *keys, *begin, *known;
};

/* `topic` must outlive it. */
int rt_sink_loader_init(struct rt_sink_loader *l, const char *schema, const char *topic);
void rt_sink_loader_deinit(struct rt_sink_loader *l);
/* A partition that has just become ours: its progress, and the idempotency keys of the window, as the records up to there fill them. */
int rt_sink_load(struct rt_sink_loader *l, struct rt_sink_part *p, struct rt_err *err);
/* The first row of progress, for what was found by NAMING. RT_EEXIST: there is one. */
int rt_sink_load_begin(struct rt_sink_loader *l, struct rt_sink_part *p, struct rt_err *err);
/* The first offset in [low, high) whose record is not stored, in any epoch of the partition, at its own position; `high` when there is none. What is there is expected to be
 * stored up to some point and not from there on, which is found by halving: records are read from Kafka, so the partition may not be read meanwhile. Markers hold no message: what has nothing else is stored or not, and `*ret_offset` is
 * where such records begin that stand at the end. 1: there is a message that is not stored; 0: there is none; RT_EIO: not found out now. */
int rt_sink_load_parting(struct rt_sink_loader *l, struct rt_sink_consumer *c, uint32_t partition,
                         int64_t low, int64_t high, int64_t *ret_offset, struct rt_err *err);

#endif
