/* Messages that were sent to subscribers when they were published (`deliver: on_publish`) and whose answer was "unknown": when the log brings one after all, it is not sent again.
 *
 * Each is remembered until it comes, at most RT_EARLY_MS; at most RT_EARLY_MAX, then those that wait longest are forgotten, which is counted: they may be sent twice.
 * Thread: the loop. */
#ifndef RT_SESSION_EARLY_H
#define RT_SESSION_EARLY_H

#include "base/map.h"
#include "base/metrics.h"
#include "hub/message.h"

#define RT_EARLY_MAX 16384u
#define RT_EARLY_MS  600000u

struct rt_early {
    struct rt_map by_id;
    struct rt_list by_age; /* oldest first */
    struct rt_metric forgotten;
};

/* `metrics` may be NULL. */
void rt_early_init(struct rt_early *e, struct rt_metrics *metrics);
void rt_early_deinit(struct rt_early *e);
/* The message, which has its stamp, may come. `now`: monotonic, ms. */
void rt_early_add(struct rt_early *e, const struct rt_message *m, uint64_t now);
/* The stamp that the message was sent with; 0: it was not, or came before. */
uint64_t rt_early_take(struct rt_early *e, const struct rt_message *m);

#endif
