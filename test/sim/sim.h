/* The simulator's core: virtual time, one seeded generator, events, a trace, the first failure.
 *
 * One thread, one run in a process (a run is a child, see main.c), so the state is one global. Nothing here reads a clock or the kernel's randomness: the same seed gives the same run.
 * What the real code asks of its surroundings (net/loop.h, base/clock.h, base/rand.h, worker/queue.h, librdkafka, journal/kafka_producer.h, cluster/redis.h) is answered by the fakes beside
 * this file: they define the same functions, and the linker takes them instead of the real ones. */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "bugs.h"

#define SIM_MS       1000u /* virtual time is in microseconds */
#define SIM_SECOND   1000000u
#define SIM_NODES    3u
#define SIM_PARTS    2u
#define SIM_CHANNELS 5u
#define SIM_CLIENTS  9u
#define SIM_LOAD     (12u * SIM_SECOND) /* publishers and faults end here */
#define SIM_SETTLE   (10u * SIM_SECOND) /* then all has to converge within */
#define SIM_REORDER  32u                /* entries of a node's reorder buffer, per partition */
#define SIM_SECRET   "the nodes' secret"

/* A machine with one process of the broker. Code of a process runs between sim_enter() and sim_leave(). */
struct sim_host {
    uint32_t index;
    uint64_t life; /* counts starts and crashes: an event of an earlier life is stale */
    bool up, frozen;
    int64_t skew; /* ms that its wall clock is wrong by */
    uint64_t lag; /* how far its tail reads behind */
    struct rt_loop *loop;
    void *tail; /* of the thread that the journal started; NULL none */
};

struct sim {
    uint64_t seed;
    enum bug bug;
    bool verbose; /* the trace goes to standard error as it grows */
    uint64_t now;
    uint64_t random[4];
    uint64_t events;       /* that have run */
    uint64_t trace_hash;   /* of all trace lines */
    bool calm;             /* no faults any more */
    bool epochs;           /* this seed makes the topic anew */
    bool skewed;           /* this seed has clocks that are wrong by an hour */
    struct sim_host *host; /* whose code runs; NULL: the world's */
    char failure[400];     /* "" none */
};
extern struct sim sim;

void sim_begin(uint64_t seed, enum bug bug, bool verbose);
/* Frees what waits. */
void sim_end(void);
/* Runs events until `until`, or until something failed. */
void sim_run(uint64_t until);

/* `fn(payload)` after `delay`; returns the zeroed payload of `size` bytes, to be filled at once. It is freed after the call. */
void *sim_post(uint64_t delay, void (*fn)(void *payload), size_t size);

uint64_t sim_random(void);
uint64_t sim_below(uint64_t bound);
/* Uniform in [low, high]. */
uint64_t sim_between(uint64_t low, uint64_t high);
/* True in `per_mille` of 1000 calls. */
bool sim_chance(uint32_t per_mille);
/* The same for a fault: never once all is calm. */
bool sim_fault(uint32_t per_mille);

/* A line of the trace. */
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The first one ends the run. */
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The newest lines of the trace, to standard output as TAP comments. */
void sim_print_trace(void);

/* malloc and realloc that cannot fail. */
void *sim_alloc(size_t size);
void *sim_grow(void *array, size_t count, size_t *cap, size_t item);
void *sim_copy(struct rt_str bytes);

/* fake_loop.c */
struct rt_loop *sim_loop_new(struct sim_host *host);
void sim_loop_free(struct rt_loop *loop);
/* A turn is due in `delay`. */
void sim_loop_kick(struct rt_loop *loop, uint64_t delay);
/* From outside into a process: a packet has come. A turn follows. */
struct sim_host *sim_enter(struct sim_host *host);
void sim_leave(struct sim_host *former);

#endif
