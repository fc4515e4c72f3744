/* Messages of peers that have begun and not ended: one deadline for each, one budget of memory for all, whatever the protocol.
 *
 * A holder is one message: it begins with the first rt_unfinished_hold() and ends with rt_unfinished_end(). What is not over after `timeout` is cut off
 * (RT_UNFINISHED_LATE), unless its reader has been paused: then its time begins anew. When all together pass `memory` those that have begun first are cut off
 * (RT_UNFINISHED_CROWDED): who sends a message in one go is not the oldest for long. All of it is constant time for each message.
 * Metrics: receive_buffer_bytes, messages_cut_off_total{reason="late"|"memory"}.
 * Ownership: holders are embedded by their users, who end them before they free them. Thread: the loop. */
#ifndef RT_NET_UNFINISHED_H
#define RT_NET_UNFINISHED_H

#include "base/err.h"
#include "base/metrics.h"
#include "net/loop.h"

struct rt_unfinished_set;
struct rt_unfinished;

enum rt_unfinished_why { RT_UNFINISHED_LATE, RT_UNFINISHED_CROWDED };

struct rt_unfinished_ops {
    /* The message has been given up and ended: its bytes have to go now, and its connection, too. Comes from a timer, or from inside the hold of another one. */
    void (*cut_off)(struct rt_unfinished *u, enum rt_unfinished_why why);
    /* Is it us who do not read? */
    bool (*paused)(const struct rt_unfinished *u);
};

struct rt_unfinished {
    struct rt_unfinished_set *set; /* NULL: it has not begun */
    const struct rt_unfinished_ops *ops;
    struct rt_list link;
    uint64_t since; /* loop time */
    size_t bytes;
};

struct rt_unfinished_options {
    uint64_t timeout; /* ms; 0: none */
    size_t memory;    /* bytes; 0: no limit */
    struct rt_metrics *metrics;
};

int rt_unfinished_new(struct rt_loop *loop, const struct rt_unfinished_options *options,
                      struct rt_unfinished_set **ret_set);
/* No holder may be left. NULL is fine. */
void rt_unfinished_free(struct rt_unfinished_set *set);
/* The message takes `bytes` now; begins it. RT_ERANGE: more than all may take, although the others were cut off; the caller ends it. Without a set (NULL): 0. */
int rt_unfinished_hold(struct rt_unfinished_set *set, struct rt_unfinished *u,
                       const struct rt_unfinished_ops *ops, size_t bytes);
/* Idempotent. */
void rt_unfinished_end(struct rt_unfinished *u);
/* For people; names the option. */
const char *rt_unfinished_text(enum rt_unfinished_why why);

#endif
