/* How many partitions a node believes the topic to have, and how long it may act on that belief.
 *
 * A channel's home is a hash modulo that number. Who adds partitions to the topic moves homes, and nodes learn of it at different moments: two views of the topic must never acknowledge
 * messages side by side. The rules:
 *   - Lease. A node acts on its view while the cluster has confirmed it: with an answer (journal/kafka_count.h) asked for within the last RT_VIEW_LEASE_MS. Otherwise, or once another
 *     number was said, it appends nothing, is not ready, and what was on its way is not answered `ok`.
 *   - Grace. Another number is used once it has been said for RT_VIEW_GRACE_MS. By then every other node has seen it, or lost its lease on the old one.
 *   - The log decides. Then any node appends a marker with a name for the new number to each partition (journal/kafka_epoch.h). What stands before the marker is of the old view, what
 *     comes behind it of the new one; so all nodes change at the same positions, however late they read.
 *   - Barrier. A node goes over to the new view when it has delivered all partitions up to their markers. So nothing of the new view is delivered before the old view is complete, and
 *     who is subscribed misses nothing and sees no channel out of order.
 * A node that starts on a log whose names are for another number waits for the grace as well.
 * Bounds: brokers may answer with a number that has not been true for RT_VIEW_GRACE_MS - RT_VIEW_LEASE_MS, no longer. With more (a broker that is cut off from the
 * controller, but not from nodes) a message may be acknowledged that comes to stand behind a marker.
 *
 *     CONFIRMED <-> UNCONFIRMED     an answer is older than the lease, or comes again
 *       both    <-> CHANGED         another number was said; this node goes over, or the former one is said again
 *
 * Pure; times are monotonic ms. Thread: any, one at a time. */
#ifndef RT_JOURNAL_KAFKA_VIEW_H
#define RT_JOURNAL_KAFKA_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#define RT_VIEW_LEASE_MS 8000u
#define RT_VIEW_GRACE_MS 15000u

enum rt_view_state { RT_VIEW_CONFIRMED, RT_VIEW_UNCONFIRMED, RT_VIEW_CHANGED };

struct rt_view {
    uint32_t partitions; /* that this node goes by */
    uint32_t said;       /* by the newest answer */
    uint64_t asked_at;   /* when that was asked for */
    uint64_t since;      /* when `said` was said for the first time, or this node began */
    uint64_t began;      /* when it began to go by `partitions` */
};

/* The cluster has said `partitions`, asked at `asked_at`. */
void rt_view_init(struct rt_view *v, uint32_t partitions, uint64_t asked_at, uint64_t now);
void rt_view_answer(struct rt_view *v, uint32_t partitions, uint64_t asked_at, uint64_t now);
/* The node goes by another number from now on. */
void rt_view_move(struct rt_view *v, uint32_t partitions, uint64_t now);
enum rt_view_state rt_view_state(const struct rt_view *v, uint64_t now);
/* May the number that was said last be put into the log? */
bool rt_view_is_settled(const struct rt_view *v, uint64_t now);

#endif
