/* What the sink's thread tells the loop: health, figures, its end. A notice board under a mutex: the thread pins up, the loop takes down; nothing is
 * allocated, the loop is woken once for what it has not taken yet. Thread: as said. */
#ifndef RT_STORE_SINK_STATUS_H
#define RT_STORE_SINK_STATUS_H

#include <pthread.h>

#include "base/metrics.h"

struct rt_sink_figures {
    uint64_t rows, batches, dead, repeats, retries, epochs, fenced;
    uint64_t held_tries; /* of partitions that a record of a newer version holds */
    uint64_t owned, lag, held;
};

struct rt_sink_notice {
    bool up;    /* connected, and nothing is wrong */
    bool ended; /* the thread is about to return */
    char text[160];
    struct rt_sink_figures figures;
    struct rt_metric flush; /* histogram: seconds of a statement; since the last take */
};

struct rt_sink_status {
    pthread_mutex_t lock;
    struct rt_sink_notice notice;
    bool pinned; /* something is new */
    void (*wake)(void *arg);
    void *wake_arg;
};

int rt_sink_status_init(struct rt_sink_status *s, void (*wake)(void *arg), void *wake_arg);
void rt_sink_status_deinit(struct rt_sink_status *s);

/* The sink's thread. */
void rt_sink_status_health(struct rt_sink_status *s, bool up, const char *text);
void rt_sink_status_figures(struct rt_sink_status *s, const struct rt_sink_figures *figures);
void rt_sink_status_flush(struct rt_sink_status *s, double seconds);
void rt_sink_status_ended(struct rt_sink_status *s);

/* The loop. */
void rt_sink_status_take(struct rt_sink_status *s, struct rt_sink_notice *ret_notice);
/* An empty histogram of flushes; and adds what a notice has to one. */
struct rt_metric rt_sink_flush_metric(void);
void rt_sink_flush_add(struct rt_metric *to, const struct rt_metric *from);

#endif
