/* The connection of a worker over its life: connecting with backoff and jitter, the schema, what is known of its health.
 *
 * The worker calls rt_link_up() whenever it wants to use the connection; between two tries it says when the next is due. State is told to
 * the loop by a notice under a mutex, logged when it changes.
 * Thread: the worker's; rt_link_state() any, init and deinit when the worker does not run. */
#ifndef RT_STORE_LINK_H
#define RT_STORE_LINK_H

#include <pthread.h>

#include "store/pg.h"

struct rt_link {
    struct rt_pg_options options; /* its strings live as long as the link */
    const char *schema;
    struct rt_pg *pg;  /* NULL: not connected */
    uint64_t next_try; /* monotonic, ms */
    uint32_t tries;    /* failed in a row */
    pthread_mutex_t lock;
    bool up;          /* the last thing that was tried succeeded */
    uint64_t seen_at; /* monotonic, ms: last answer; 0 never */
    char text[200];   /* the last error; "" while up */
};

void rt_link_init(struct rt_link *l, const struct rt_pg_options *options, const char *schema);
void rt_link_deinit(struct rt_link *l); /* closes the connection */
/* Connects, migrates and calls `prepare(pg, arg, err)` (may be NULL) if it is due; true: `pg` can be used. */
bool rt_link_up(struct rt_link *l, int (*prepare)(struct rt_pg *pg, void *arg, struct rt_err *err),
                void *arg);
/* ms until rt_link_up() tries again, 0 when it is due. */
uint64_t rt_link_wait(const struct rt_link *l);
/* The outcome of work on the connection: RT_OK, or the code with its text. Drops the connection when it is gone. */
void rt_link_report(struct rt_link *l, int code, const struct rt_err *err);
/* An idle connection had ended unseen: the next rt_link_up() need not wait. */
void rt_link_hurry(struct rt_link *l);
/* Copies what is known. */
bool rt_link_state(struct rt_link *l, uint64_t *ret_seen_at, char text[200]);

#endif
