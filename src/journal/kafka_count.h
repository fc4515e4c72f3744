/* Asks the cluster how many partitions the topic has, again and again, on a thread of its own: an answer may take as long as the cluster likes.
 *
 * Every RT_COUNT_MS, and RT_COUNT_AGAIN_MS after a question without an answer. Only the newest answer is kept. An answer carries the moment when it was asked for: what
 * it says was true at that moment or later.
 * Thread: new, take, stop, free on the loop. `wake` is called on the thread: it may only signal. */
#ifndef RT_JOURNAL_KAFKA_COUNT_H
#define RT_JOURNAL_KAFKA_COUNT_H

#include <librdkafka/rdkafka.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define RT_COUNT_MS        2000u
#define RT_COUNT_AGAIN_MS  200u
#define RT_COUNT_ANSWER_MS 3000

struct rt_count_options {
    rd_kafka_t *rk;    /* lives until the thread has ended */
    const char *topic; /* likewise */
    void (*wake)(void *arg);
    void *arg;
};

struct rt_count_answer {
    uint64_t asked_at; /* monotonic ms */
    uint32_t partitions;
};

struct rt_count;

int rt_count_new(const struct rt_count_options *options, struct rt_count **ret_count,
                 struct rt_err *err);
/* True: there is an answer since the last call. */
bool rt_count_take(struct rt_count *c, struct rt_count_answer *ret_answer);
/* The thread ends soon, in the worst case after RT_COUNT_ANSWER_MS, and wakes then. */
void rt_count_stop(struct rt_count *c);
bool rt_count_ended(const struct rt_count *c);
/* Waits for the thread's end. NULL is fine. */
void rt_count_free(struct rt_count *c);

#endif
