/* Which records of a partition repeat an idempotency key. A function of the log, so that every node and the sink skip the same ones.
 *
 * The rule: a record is a duplicate when an earlier record of its channel has the same (publisher, key) and a time not further back than the window, be that one a duplicate
 * itself or not. So the answer needs no more than the log of the last window, and a node that begins to read there comes to the same one. Time is the messages'
 * (rt-time), not the machine's.
 * At most `max_entries` keys of a partition are remembered, the longest unused one goes: with more within the window, repetitions of the oldest pass.
 * Entries out of use for the window and RT_DEDUPE_SKEW are dropped: clocks of nodes may differ by that much.
 * Thread: one at a time. */
#ifndef RT_JOURNAL_KAFKA_DEDUPE_H
#define RT_JOURNAL_KAFKA_DEDUPE_H

#include "base/map.h"
#include "hub/message.h"

#define RT_DEDUPE_ENTRIES 65536u
#define RT_DEDUPE_SKEW    300000u /* ms */

struct rt_dedupe {
    struct rt_map entries;
    struct rt_list by_use; /* longest unused first */
    uint64_t window;       /* ms; 0: nothing is a duplicate */
    uint32_t max_entries;
    uint64_t secret[2];
};

void rt_dedupe_init(struct rt_dedupe *d, uint64_t window, uint32_t max_entries);
void rt_dedupe_deinit(struct rt_dedupe *d);
/* Forgets everything: another log begins. */
void rt_dedupe_clear(struct rt_dedupe *d);
/* The next record of the log. True: skip it; `*ret_first` is the position of the first one with its key. A message without a key is none. Without
 * memory the key is not remembered. */
bool rt_dedupe_record(struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                      uint64_t *ret_first);
/* Would a record with this message be a duplicate? Changes nothing. */
bool rt_dedupe_find(const struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                    uint64_t *ret_first);

#endif
