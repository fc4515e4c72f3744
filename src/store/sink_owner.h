/* Which partitions this sink writes, among all sinks of the topic.
 *
 * A partition belongs to the session that holds its advisory lock: the very session that writes, so nobody holds a partition longer than he can write to it.
 * A sink announces itself by a shared advisory lock and a row in `holder`, whose lease it renews every second: a session with both and a lease that has not run out is alive.
 * Share: sinks that are alive are ranked by their age; partition i is meant for rank i modulo their number. A sink takes partitions until it has as many as are meant for it, those first,
 * and gives back what is too many. So a sink that comes gets its share within seconds, and little moves.
 * Fence: a session whose lease ran out RT_SINK_LEASE ago, and has not been renewed for RT_SINK_DOUBT more while it was watched, belongs to a process that is frozen or cut off:
 * pg_terminate_backend() ends it (the role needs to be the same, or a member of pg_signal_backend), and with it its locks and what it has not committed. Watched, since after a
 * standstill of the server everybody's lease has run out.
 * Times are the server's. Needs a direct connection: a pooler that shares sessions breaks advisory locks. Thread: the sink's. */
#ifndef RT_STORE_SINK_OWNER_H
#define RT_STORE_SINK_OWNER_H

#include "store/pg.h"
#include "store/sink_part.h"

#define RT_SINK_LEASE    10000u /* ms */
#define RT_SINK_DOUBT    2500u  /* ms */
#define RT_SINK_SUSPECTS 32u    /* watched at a time */

struct rt_sink_suspect {
    int64_t pid;
    int64_t lease;  /* as the server has it */
    uint64_t since; /* monotonic ms; 0: free */
};

struct rt_sink_owner {
    struct rt_pg *pg; /* set by the worker before each use */
    const char *topic, *node;
    char *announce, *look, *clear;
    const struct rt_sink_part *parts;
    uint32_t partitions;
    uint64_t key;        /* of the topic's locks: partition i's is key + 1 + i */
    uint32_t live, rank; /* sinks, this one's place among them; live 0: not known */
    uint32_t share;      /* partitions that are meant for this one */
    uint32_t fenced;     /* sessions that this one has ended */
    struct rt_sink_suspect suspects[RT_SINK_SUSPECTS];
};

/* All pointers must outlive it. */
int rt_sink_owner_init(struct rt_sink_owner *o, const char *schema, const char *topic,
                       const char *node, const struct rt_sink_part *parts, uint32_t partitions);
void rt_sink_owner_deinit(struct rt_sink_owner *o);
/* On a new connection: nothing is held, nobody known; announces. */
int rt_sink_owner_begin(struct rt_sink_owner *o, struct rt_err *err);
/* Renews the lease, looks at the others, ends who is frozen; every second. */
int rt_sink_owner_renew(struct rt_sink_owner *o, struct rt_err *err);
/* Is the partition meant for this sink? */
bool rt_sink_owner_meant(const struct rt_sink_owner *o, uint32_t partition);
/* RT_OK: it is ours. RT_EAGAIN: somebody else's. Otherwise as rt_pg_exec(). */
int rt_sink_owner_take(struct rt_sink_owner *o, uint32_t partition, struct rt_err *err);
int rt_sink_owner_give(struct rt_sink_owner *o, uint32_t partition, struct rt_err *err);

#endif
