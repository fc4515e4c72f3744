/* The invariants, judged from the outside: from what the log holds, by rules written down here once more, independent of src/. */
#ifndef TEST_SIM_CHECK_H
#define TEST_SIM_CHECK_H

#include "client.h"

/* A client got a message: it is in the log, at that position, with that content. */
void check_delivery(const struct sim_client *c, const struct told *t);
/* A publish was acknowledged: it is in the log, at the position that was told. */
void check_acknowledged(uint32_t publication, const struct told *t);
/* Do two epochs name the same incarnation of the log? */
bool check_same_log(const char *a, const char *b);
/* What is not as it has to be in the end: everything acknowledged exactly once, clients and store have all of the log in its order. NULL: all is well. */
const char *check_all(void);

#endif
