/* One partition as the sink sees it: which incarnation its records belong to, which of them come next, which repeat a key.
 *
 *     AWAY -> LOCATE -> [ NAMING -> ] READING -> HELD -> LOCATE
 *
 * NAMING: the incarnation has no name yet, or its old one is void. The log is read for its evidence only, until there is a name; then it is read again from `begin`, and all
 * records from there on go by that name, as with the nodes' tail (journal/kafka_tail.h). Evidence below `frozen` has been looked at by then.
 * HELD: a newer version of rtbroker wrote the next record, and nothing may be stored in front of which it is not. It is looked at again and again, since retention or a log that was made anew
 * may have taken it.
 * Positions are ours (Kafka's offset + 1). Pure. Thread: the sink's. */
#ifndef RT_STORE_SINK_PART_H
#define RT_STORE_SINK_PART_H

#include "journal/kafka_dedupe.h"
#include "journal/kafka_epoch.h"

enum rt_sink_state {
    RT_SINK_AWAY,   /* not ours */
    RT_SINK_LOCATE, /* ours; where to read has to be found out */
    RT_SINK_NAMING,
    RT_SINK_READING,
    RT_SINK_HELD, /* what stands before the record is still to be stored, and it is tried again then */
};

enum rt_sink_step {
    RT_SINK_TAKEN, /* the record is the next one */
    RT_SINK_STALE, /* it is not looked for */
    RT_SINK_NAMED, /* it says that the incarnation has another name: rt_sink_part_adopt(), or read another way */
    RT_SINK_BROKEN, /* it says that records that were read are not in this log */
    RT_SINK_FOUND,  /* there is a name now: read from `begin` */
};

struct rt_sink_part {
    uint32_t index;
    enum rt_sink_state state;
    uint64_t retry_at; /* LOCATE, HELD: when, monotonic ms */
    uint64_t held_at;  /* position of the record that a newer version wrote; 0 none */
    uint32_t held_tries;
    struct rt_epoch_fold fold;
    struct rt_epoch_fold changed;  /* after NAMED: the fold to adopt */
    char epoch[RT_EPOCH_TEXT + 1]; /* of the records read now; "" none yet */
    uint64_t expected;             /* position of the next record to look at */
    uint64_t frozen;
    uint64_t begin;  /* NAMING */
    uint64_t purged; /* of `epoch`: nothing is stored up to here */
    struct rt_dedupe dedupe;
    uint64_t window; /* of keys, ms */
    /* What PostgreSQL has. */
    bool recorded; /* there is a row */
    uint64_t next;
    char stored_epoch[RT_EPOCH_TEXT + 1];
};

/* `keys` counts the memory of its idempotency keys, and lives longer. */
void rt_sink_part_init(struct rt_sink_part *p, uint32_t index, uint64_t window,
                       struct rt_keys_budget *keys);
void rt_sink_part_deinit(struct rt_sink_part *p);
/* Forgets everything: AWAY. */
void rt_sink_part_drop(struct rt_sink_part *p);
/* It is ours, as PostgreSQL has it: LOCATE. RT_EINVAL: `epoch` is none of this partition. */
int rt_sink_part_load(struct rt_sink_part *p, struct rt_str epoch, uint64_t epoch_at, uint64_t next,
                      uint64_t purged);
/* It is ours, and PostgreSQL has nothing: LOCATE. */
void rt_sink_part_load_nothing(struct rt_sink_part *p);
/* READING from `position`, under the name that it has. */
void rt_sink_part_read(struct rt_sink_part *p, uint64_t position);
/* NAMING from `position`; the present name, if there is one, is void. */
void rt_sink_part_name(struct rt_sink_part *p, uint64_t position);
/* The record at `position`, which was TAKEN, cannot be read by this version: HELD in front of it. True: it was not held there before. */
bool rt_sink_part_hold(struct rt_sink_part *p, uint64_t position);
/* The record that the consumer brings. TAKEN: it counts as read; NAMED and BROKEN: nothing changed but `changed`. */
enum rt_sink_step rt_sink_part_look(struct rt_sink_part *p, struct rt_str evidence,
                                    uint64_t position);
/* After NAMED: takes the other name from this record on, which counts as read. */
void rt_sink_part_adopt(struct rt_sink_part *p, uint64_t position);
/* PostgreSQL has everything below `next`, in the epoch `epoch`. */
void rt_sink_part_stored(struct rt_sink_part *p, uint64_t next, const char *epoch);

#endif
