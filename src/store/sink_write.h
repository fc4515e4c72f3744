/* Stores a batch: rows, repetitions, dead letters and the progress of their partitions, in one statement, which is one transaction and one round trip.
 *
 * The statement locks the partitions' rows of `progress` (in their order, so that two writers cannot block each other), and changes nothing unless all of them are as this sink left them
 * (next and epoch): otherwise somebody else has written, and the sink is FENCED from these.
 * Data that the server refuses: the batch is halved until the one record is found, which goes to the dead letters; each part is a transaction of its own with the
 * progress that belongs to it.
 * Thread: the sink's. */
#ifndef RT_STORE_SINK_WRITE_H
#define RT_STORE_SINK_WRITE_H

#include "store/pg.h"
#include "store/sink_batch.h"

enum rt_sink_outcome {
    RT_SINK_STORED, /* all of it; the batch is empty */
    RT_SINK_FENCED, /* `lost` of the writer tells from which partitions */
    RT_SINK_OUTAGE, /* nothing of what is left in the batch; try again later */
    RT_SINK_GONE,   /* the connection is; what was in flight may be stored */
};

struct rt_sink_writer {
    struct rt_pg *pg; /* set by the owner before each use */
    char *plain, *full;
    struct rt_pg_array *arrays;
    const char *topic;
    struct rt_sink_part *parts;
    uint32_t partitions;
    uint32_t *touched; /* partitions of the range at hand */
    uint32_t touched_count;
    const struct rt_sink_entry **last; /* of each partition in the range at hand */
    bool *lost;
    size_t size;      /* most entries of a statement: less after one that was refused */
    uint32_t timeout; /* ms for a statement */
    /* Since the writer was made. */
    uint64_t rows, repeats, dead, batches;
};

/* `topic` and `parts` must outlive it. */
int rt_sink_writer_init(struct rt_sink_writer *w, const char *schema, const char *topic,
                        struct rt_sink_part *parts, uint32_t partitions);
void rt_sink_writer_deinit(struct rt_sink_writer *w);
/* On a new connection. */
int rt_sink_writer_prepare(struct rt_sink_writer *w, struct rt_err *err);
/* OUTAGE and GONE come with a text. */
enum rt_sink_outcome rt_sink_writer_store(struct rt_sink_writer *w, struct rt_sink_batch *b,
                                          struct rt_err *err);

#endif
