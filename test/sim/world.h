/* One run: a cluster, its clients, and what happens to them. */
#ifndef TEST_SIM_WORLD_H
#define TEST_SIM_WORLD_H

#include "sim.h"

/* Runs the seed to its end; sim.failure says what went wrong. */
void world_run(uint64_t seed, enum bug bug, bool verbose);

#endif
