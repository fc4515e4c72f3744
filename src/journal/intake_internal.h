/* What the files of the intake share: intake.c (the loop's side), intake_worker.c (the member's thread), intake_bury.c (dead letters, on that thread).
 * Thread: see each field; what both sides touch is atomic or a queue. */
#ifndef RT_JOURNAL_INTAKE_INTERNAL_H
#define RT_JOURNAL_INTAKE_INTERNAL_H

#include <stdatomic.h>

#include "journal/intake.h"
#include "journal/kafka_producer.h"
#include "journal/offsets.h"

struct rt_intake_part {
    char *topic;
    int32_t partition;
    struct rt_offsets offsets;
};

/* The thread's own. */
struct rt_bury {
    struct rt_intake *in;
    struct rt_producer *producer; /* NULL: not needed yet, or it was broken */
    bool topic_checked;
    bool fatal;
    struct rt_list waiting; /* to be handed to the producer, when their time has come */
    size_t handed;          /* to the producer, not reported */
    uint64_t open_at;       /* mono ms: when opening may be tried again */
};

struct rt_intake {
    struct rt_intake_options options; /* constant */

    /* between the threads */
    struct rt_mailbox *inbox;  /* records to the loop */
    struct rt_queue *returned; /* and back */
    struct rt_waker *waker;
    _Atomic bool stopping, ended, rejoin;
    _Atomic uint32_t generation; /* records of others are void */
    _Atomic uint64_t lag, in_flight, bytes, partitions, dead_letters, burying;
    _Atomic bool paused;

    /* the loop's */
    struct rt_thread *thread;
    uint32_t seen; /* generation that the owner knows of */
    void (*closed)(void *arg);
    void *closed_arg;

    /* the thread's */
    rd_kafka_t *rk;
    struct rt_intake_part *parts;
    size_t part_count;
    struct rt_bury bury;
    bool fatal;
    uint64_t full_since; /* mono ms; 0: there is room */
    uint64_t commit_at, lag_at;
    uint64_t reopen_ms; /* how long the next member has to wait; 0 none was needed yet */
};

/* intake_worker.c. Opens the member's handle (RT_EINVAL: settings); the thread's main; a record's memory. */
int rt_intake_open(struct rt_intake *in, bool warn, struct rt_err *err);
void rt_intake_run(void *intake);
void rt_intake_record_free(struct rt_intake *in, struct rt_intake_record *record);
/* It is done: its offset counts, it is freed. */
void rt_intake_settle(struct rt_intake *in, struct rt_intake_record *record);

/* intake_bury.c */
void rt_bury_init(struct rt_bury *b, struct rt_intake *in);
void rt_bury_add(struct rt_bury *b, struct rt_intake_record *record);
/* Hands over what is due, takes reports. Does not wait, but for a producer that has to be opened. */
void rt_bury_turn(struct rt_bury *b);
bool rt_bury_idle(const struct rt_bury *b);
/* Gives up what is not stored: it is not done. */
void rt_bury_close(struct rt_bury *b);
/* Only checks the settings. */
int rt_bury_check(const struct rt_intake_options *options, struct rt_err *err);

#endif
