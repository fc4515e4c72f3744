/* Who is in the cluster: the living processes ("instances"), as they announced themselves.
 *
 * An instance is proven when an announcement of it repeats our present challenge, a random number that ours carry: it has heard us, and so it is
 * alive now. What was recorded in the past repeats no challenge of today. From its proof on the numbers of its envelopes have to rise: Redis keeps
 * the order of a connection, and what was still on its way when that broke is lost. Neither needs a clock.
 * Who falls silent or leaves is gone, but stays proven, with its number: it may be back, and nothing that it sent before counts again. Only when
 * there are too many is one forgotten, and then the challenge is replaced.
 *
 *   unknown --announcement--> heard --announcement that repeats our challenge--> proven <--silence, goodbye / announcement--> gone
 *
 * A name is to be used by one instance. Of two that are alive one asks the other one to go: the one that is established, when the other has come, or come back, just
 * now, else the one that was started first, by what both say of themselves. What they say may change meanwhile, so who is asked goes only when it has not asked itself,
 * or has the higher number: never both. One that died is never proven to its successor.
 * An announcement is JSON for `info`, and beside it: challenge u64  started u64 (wall ms)  rules u64  log u64  flags u8 (1: established)  the instance
 * that is asked to go u64 (0 none), then instance u64 and challenge u64 for each instance heard.
 * Pure: time is passed in. Logs. Thread: one at a time. */
#ifndef RT_CLUSTER_MEMBERS_H
#define RT_CLUSTER_MEMBERS_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/metrics.h"
#include "cluster/envelope.h"

struct rt_members {
    const char *node;
    uint64_t instance, challenge, started;
    uint64_t rules; /* hash of what has to be the same on all nodes */
    uint64_t log;   /* which log this node has; 0: none, or it is not known yet */
    bool established;
    uint64_t asked; /* the instance that we asked to go; 0 none */
    struct rt_map by_instance;
    struct rt_list by_age; /* those that are heard; the one that was heard longest ago first */
    struct rt_list gone;   /* likewise */
    struct rt_metric count, rules_differ, name_conflicts, clock;
};

/* `node` stays the caller's. */
void rt_members_init(struct rt_members *m, const char *node, uint64_t started);
void rt_members_register(struct rt_members *m, struct rt_metrics *metrics);
void rt_members_deinit(struct rt_members *m);

/* What this node's announcement says beside the JSON. */
void rt_members_write(const struct rt_members *m, struct rt_buf *out);

enum rt_hearing {
    RT_HEARD,
    RT_HEARD_NEWS, /* somebody is new, or has a new challenge: announce soon, who waits for that is not proven yet */
    RT_HEARD_TAKEN,  /* our name is another instance's, which asks us to go */
    RT_HEARD_AGAIN,  /* an envelope that was taken already */
    RT_HEARD_NOTHING /* malformed */
};
/* An announcement; none of our own. `now` is monotonic, ms. */
enum rt_hearing rt_members_hear(struct rt_members *m, const struct rt_parcel *parcel, uint64_t now);
/* Who has been silent for RT_MEMBER_GONE_MS is gone. */
void rt_members_expire(struct rt_members *m, uint64_t now);
#define RT_MEMBER_GONE_MS 10000u

enum rt_admission {
    RT_ADMITTED,
    RT_UNPROVEN, /* not known to be alive: it may be recorded */
    RT_REPLAYED, /* taken already */
    RT_STRANGER  /* it has another log: another cluster of the same name */
};
/* Whether anything else of that sender is taken. `strict`: with a secret, where forgery and repetition are kept out. */
enum rt_admission rt_members_admit(struct rt_members *m, const struct rt_parcel *parcel,
                                   bool strict);

/* Calls `fn` for every other node, with its name and announcement (JSON object). */
void rt_members_each(const struct rt_members *m,
                     void (*fn)(void *arg, struct rt_str name, struct rt_str json), void *arg);
/* Is there a node whose rules are others? */
bool rt_members_differ(const struct rt_members *m);
/* What the announcement's time says of its sender's clock; `wall`: this node's, ms. */
void rt_members_note_clock(struct rt_members *m, const struct rt_parcel *parcel, uint64_t wall);
/* By how many ms this node's clock is ahead of the others' (below 0: behind): the median over them, so that one node that is wrong is told from one that is right among
 * three. 0 when there are none. What an announcement was under way counts as being behind; of two after one another the quicker one counts. */
int64_t rt_members_clock(const struct rt_members *m);
#define RT_CLOCK_APART_MS 5000 /* clocks that are further apart are wrong */

#endif
