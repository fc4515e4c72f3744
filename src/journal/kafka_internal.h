/* The Kafka journal's own state, shared by kafka.c (appends, reports, life), kafka_order.c (what the tail brings, delivery) and kafka_move.c (the number of
 * partitions). Thread: the loop. */
#ifndef RT_JOURNAL_KAFKA_INTERNAL_H
#define RT_JOURNAL_KAFKA_INTERNAL_H

#include "journal/kafka.h"
#include "journal/kafka_count.h"
#include "journal/kafka_dedupe.h"
#include "journal/kafka_marks.h"
#include "journal/kafka_retire.h"
#include "journal/kafka_tail.h"
#include "journal/kafka_view.h"
#include "journal/meter.h"

struct rt_kafka_part {
    struct rt_epoch_name name;
    char epoch[RT_EPOCH_TEXT + 1]; /* "" until named for the first time */
    bool named;                    /* false: it is being looked at, nothing can be appended */
    bool caught_up;                /* for ready() */
    uint64_t tailed;               /* position that the tail has brought last */
    uint64_t marker_known;         /* nameless: what the marker says that was read */
    uint64_t marker_at;            /* nameless: loop time of the last try, 0 none is needed */
    struct rt_epoch_name
        left;             /* its log goes on, or is, for another number of partitions; "" not */
    uint64_t moved_at;    /* when the last marker for another number was handed in, mono ms */
    bool stuck;           /* behind an open transaction of another program */
    uint64_t stuck_since; /* the transaction is as old as this, mono ms */
    uint64_t stuck_at;    /* position of its first record */
    struct rt_dedupe dedupe;
    uint64_t base;    /* the first position that the tail has read of this epoch */
    uint64_t tick_at; /* loop time when the log's clock is to tick */
    bool news;        /* messages have come since it ticked */
    uint32_t bare;    /* own records since one that told the ticks */
};

struct rt_kafka {
    struct rt_journal base;
    struct rt_kafka_options options;
    struct rt_loop *loop;
    struct rt_waker *waker;
    struct rt_timer tick;

    struct rt_producer_options producer_options;
    struct rt_producer *producer; /* NULL: being made */
    struct rt_retire *retire;     /* of the old one; NULL: none */
    bool released;                /* the old one is the thread's */
    struct rt_tail *tail;
    struct rt_thread *tail_thread;
    struct rt_mailbox *batches;
    _Atomic bool tail_ended;

    uint32_t partitions;
    struct rt_sequencer *sequencer;
    struct rt_kafka_part *parts;
    struct rt_keys keys; /* of all partitions */
    uint32_t unnamed;    /* of them */
    uint32_t stuck;      /* of them */
    char stuck_text[200];
    struct rt_view view;
    struct rt_count *count;
    bool moved;           /* the log has been for another number: names say so */
    uint32_t move_failed; /* no memory to go over to this number; 0 not */
    char view_text[120];  /* why the view cannot be acted on */
    struct rt_list taken; /* batches that wait for that, and the next entry of the first */
    size_t taken_at;
    struct rt_buf scratch;

    struct rt_list in_flight; /* rt_append.task.link, oldest first */
    struct rt_list
        held; /* stored, status RT_OK, but where is not known yet, or whether it repeats a key; oldest first */
    struct rt_list resolved; /* of these, what can be answered */
    struct rt_list unsure;   /* stored, but the view is not confirmed; status RT_OK */
    struct rt_map by_id;     /* all four by id of their message */
    size_t records, bytes;   /* of all four */
    size_t max_records, max_bytes;
    struct rt_marks marks;
    bool congested;
    bool ready;
    bool down;      /* the oldest record was too old, nothing has been stored since */
    bool fatal;     /* the producer has to be replaced */
    bool renewing;  /* the same, but what it has is stored before */
    size_t refused; /* bytes in batches that were too large for the topic, not looked at yet */
    uint64_t too_large_told_at; /* monotonic ms */
    bool suspect;               /* brokers seem to be gone: worth a probe */
    uint64_t probe_at;          /* monotonic ns when a probe was handed in; 0: none in flight */
    char text[120];             /* what is wrong, "" nothing */

    struct rt_list misplaced_list; /* kafka_misplaced.c */
    uint32_t copies, copying;      /* of it: all, and those in flight */
    size_t copy_bytes;
    uint64_t copies_at, misplaced_told_at; /* monotonic ms */

    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;

    struct rt_journal_meter meter;
    struct rt_metric produce, tailed, skipped, epochs, restarts, early, waiting, overflowed, moves,
        partition_count, misplaced, misplaced_lost, stuck_count, stuck_age, too_large, unreadable,
        newer, gaps;
    uint64_t overflowed_before; /* by sequencers of former views */
};

static inline struct rt_kafka *rt_kafka_of(const struct rt_journal *j)
{
    return RT_CONTAINER(j, struct rt_kafka, base);
}

/* A record of nothing but evidence. */
struct rt_kafka_marker {
    uint32_t partition;
    const struct rt_epoch_name *name;
    uint64_t known;               /* up to where the partition was read */
    const struct rt_ticks *ticks; /* that are known; NULL none */
    bool tick;                    /* the log's clock ticks, behind `ticks` */
    bool probe;                   /* its report tells whether Kafka stores */
};

/* kafka.c */
int rt_kafka_append_marker(struct rt_kafka *k, const struct rt_kafka_marker *marker);
/* A marker under the name that the partition has. */
int rt_kafka_append_confirmation(struct rt_kafka *k, uint32_t partition, bool probe);

/* kafka_keys.c: the next tick of the log's clock is an interval away. */
void rt_kafka_keys_begin(struct rt_kafka *k, struct rt_kafka_part *part);
/* The tail brings a tick; before anything behind it is delivered. */
void rt_kafka_keys_hear(struct rt_kafka *k, const struct rt_tail_entry *e);
/* Makes the clock tick when it is due. */
void rt_kafka_keys_tick(struct rt_kafka *k, uint32_t partition, uint64_t now);
/* The next record of the partition: 0, or the position of the one that it repeats. */
uint64_t rt_kafka_keys_record(struct rt_kafka *k, const struct rt_record *record,
                              const struct rt_message *m);
/* Why a message may not be published since its key could not be remembered; NULL: it may. */
const char *rt_kafka_keys_refusal(struct rt_kafka *k, const struct rt_kafka_part *part,
                                  const struct rt_message *m);

void rt_kafka_set_position(struct rt_position *position, const struct rt_kafka_part *part,
                           uint64_t offset);

/* kafka_metrics.c. `metrics` may be NULL. */
void rt_kafka_init_metrics(struct rt_kafka *k, struct rt_metrics *metrics);

/* kafka_order.c */
int rt_kafka_order_init(struct rt_kafka *k);
void rt_kafka_order_deinit(struct rt_kafka *k);
void rt_kafka_set_named(struct rt_kafka *k, struct rt_kafka_part *part, bool named);
/* What the tail has posted; gives the batches back. */
void rt_kafka_take_batches(struct rt_kafka *k);
/* What was not taken: after the end. */
void rt_kafka_drop_batches(struct rt_kafka *k);
/* Age of the oldest transaction that holds a partition back, ms; NULL or the partition. */
uint64_t rt_kafka_stuck_age(const struct rt_kafka *k, const struct rt_kafka_part **ret_part);
/* What /readyz says of it. */
const char *rt_kafka_stuck_text(struct rt_kafka *k);
/* Markers and ticks that are due. */
void rt_kafka_order_tick(struct rt_kafka *k);
/* An own record was stored at `position`. */
void rt_kafka_own_record(struct rt_kafka *k, struct rt_append *append, uint64_t position);

/* kafka.c: answers what waits for the view to be confirmed, as far as it can be said now. */
void rt_kafka_answer_unsure(struct rt_kafka *k);

/* kafka_size.c. Kafka has refused the append for its size: counts, and says so. */
void rt_kafka_tell_too_large(struct rt_kafka *k, const struct rt_append *a);
/* Batches were too large: the producer has to be replaced by one that makes smaller ones. */
void rt_kafka_shrink_batches(struct rt_kafka *k);

/* kafka_misplaced.c. A message in another partition than its channel's; those that wait are appended by tick(); deinit() after the last report. */
void rt_kafka_take_misplaced(struct rt_kafka *k, const struct rt_tail_entry *e);
void rt_kafka_misplaced_tick(struct rt_kafka *k);
void rt_kafka_misplaced_deinit(struct rt_kafka *k);

/* kafka_move.c */
/* Why nothing may be appended in the present view; NULL: it may. */
const char *rt_kafka_view_refusal(struct rt_kafka *k);
/* The newest answer of the cluster, and what is due. */
void rt_kafka_view_tick(struct rt_kafka *k);
/* What a report of success means in the present view. RT_OK; RT_EUNKNOWN: another view has begun; RT_EAGAIN: not known yet. `*ret_why` for people. */
int rt_kafka_view_verdict(const struct rt_kafka *k, const struct rt_append *a,
                          const char **ret_why);
/* The tail has left the partition. */
void rt_kafka_take_left(struct rt_kafka *k, const struct rt_tail_entry *e);
/* The tail goes by `partitions` from here on. RT_ENOMEM: nothing has changed. */
int rt_kafka_take_moved(struct rt_kafka *k, uint32_t partitions);
/* May a partition without a name get one? `*ret_moved` tells what kind. */
bool rt_kafka_may_name(const struct rt_kafka *k, bool *ret_moved);

#endif
