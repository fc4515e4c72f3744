/* The history that outlives memory: rows and how far they reach, as PostgreSQL has them, and the writers that follow the log.
 *
 * Semantics of the real sink (design of the durable path): a batch and the partition's position are one transaction, which commits only where the position is still the one that the
 * batch began at; repetitions of a key are skipped as the nodes skip them; the writer that takes a partition over fills its table of keys from the rows. Two writers may believe
 * at the same time that the partition is theirs (one was frozen). Decisions are those of the real kafka_epoch.c, kafka_dedupe.c and record.c. */
#ifndef TEST_SIM_FAKE_STORE_H
#define TEST_SIM_FAKE_STORE_H

#include "journal/journal.h"
#include "journal/kafka_ticks.h"
#include "sim.h"

#define STORE_WINDOW 3000u /* ms: idempotency keys */

struct store_row {
    struct rt_str channel;
    char epoch[RT_EPOCH_MAX + 1];
    struct rt_stored *message;
    bool repeated; /* skipped as a repetition: no row, but its key counts */
};

struct store_part {
    struct store_row *rows; /* as committed */
    size_t count, cap;
    char epoch[RT_EPOCH_MAX + 1];
    uint64_t next;         /* position of the first record that is not stored */
    uint64_t epoch_at;     /* position of the epoch's last confirmation */
    uint64_t named_to;     /* evidence up to here has been counted */
    struct rt_ticks ticks; /* of the log's clock, up to `next` */
    size_t incarnation;    /* of the log, for the checker */
    uint64_t dead;         /* dead letters */
};
extern struct store_part fake_store[SIM_PARTS];

void store_begin(void);
void store_end(void);
void store_down(bool down);
/* The writers sleep so long between batches. */
void store_slow(uint64_t pause);
/* A second writer takes the partition over while the first one is in the middle of a batch. */
void store_take_over(uint32_t partition);
/* For rt_broker_set_reader(): answers later. */
int store_read(void *host, struct rt_read *read);
/* The host dies: what it asked for is answered with an error. */
void store_forget_host(struct sim_host *host);

#endif
