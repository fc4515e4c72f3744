/* The real tail, src/journal/kafka_tail.c, one step at a time: its thread's main is a loop around what is called here. */
#include "journal/kafka_tail.c"

#include "node.h"

bool sim_tail_step(void *tail)
{
    struct rt_tail *t = tail;
    if (atomic_load(&t->stopping)) {
        rt_tail_run(t); /* ends at once */
        return false;
    }
    if (!rt_batches_have(&t->out))
        return true;
    locate_due(t);
    check(t);
    fill(t);
    return true;
}
