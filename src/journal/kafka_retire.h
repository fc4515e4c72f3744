/* Ends a producer on a thread of its own, and makes the next one when there shall be one.
 *
 *     thread: flush or give up -> DRAINED .. waits ..      -> new producer -> MADE -> old one destroyed -> ENDED
 *     loop:   polls the old one         -> release                          -> takes it                 -> free
 *
 * Thread: the loop calls; `wake` is called on the thread whenever the stage has changed. */
#ifndef RT_JOURNAL_KAFKA_RETIRE_H
#define RT_JOURNAL_KAFKA_RETIRE_H

#include "journal/kafka_producer.h"

enum rt_retire_stage { RT_RETIRE_DRAINING, RT_RETIRE_DRAINED, RT_RETIRE_MADE, RT_RETIRE_ENDED };

struct rt_retire;

struct rt_retire_options {
    struct rt_producer *old;                /* belongs to the thread from release on */
    uint32_t flush_ms;                      /* 0: gives up what is left at once */
    const struct rt_producer_options *next; /* lives until ENDED; NULL: none */
    void (*wake)(void *arg);
    void *arg;
};

int rt_retire_start(const struct rt_retire_options *options, struct rt_retire **ret_retire,
                    struct rt_err *err);
enum rt_retire_stage rt_retire_stage(struct rt_retire *r);
/* DRAINED: the loop has polled all reports and will not touch the old one any more. Idempotent. */
void rt_retire_release(struct rt_retire *r);
/* No next one is wanted any more. */
void rt_retire_cancel(struct rt_retire *r);
/* From MADE on: the next producer, once; NULL: none (cancelled). */
struct rt_producer *rt_retire_take(struct rt_retire *r);
/* Waits for the end of the thread: at once when ENDED. A next one that was not taken is freed. NULL is fine. */
void rt_retire_free(struct rt_retire *r);

#endif
