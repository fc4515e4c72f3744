/* Which records of a partition repeat an idempotency key. A function of the log, so that every node and the sink skip the same ones.
 *
 * The rule: a record is a duplicate when an earlier record of its channel has the same (publisher, key) and is not before the oldest tick of the log's clock
 * (journal/kafka_ticks.h), be that one a duplicate itself or not. So the answer needs no more than the log from that tick on, and who begins to read there comes to the same
 * one. No wall clock is asked, neither the machine's nor the messages' (rt-time).
 * A key is remembered as 128 bits of a keyed hash of channel, publisher and key. Two of them that collide would be taken for one, and the second message for a repetition:
 * with a billion keys in the window the chance is below 10^-20, and nobody can aim at it, since the hash's secret is this process's.
 * Memory: 32 bytes a slot, three of eight to six of eight slots are in use; the table grows and shrinks by doubling. Tables of one budget share its bytes. It grows up
 * to all of them for what the log brings, which cannot be refused; who publishes is to be refused while rt_dedupe_has_room() says no, which leaves an eighth for what is on its way. A
 * key that found no room all the same is lost, and the window has a hole until it is over.
 * Thread: one at a time, for all tables of a budget. */
#ifndef RT_JOURNAL_KAFKA_DEDUPE_H
#define RT_JOURNAL_KAFKA_DEDUPE_H

#include "hub/message.h"
#include "journal/kafka_ticks.h"
#include "journal/keys.h"

struct rt_dedupe_slot;

struct rt_dedupe {
    struct rt_dedupe_slot *slots;
    size_t size; /* slots, 0 or a power of two */
    size_t count;
    struct rt_ticks ticks;
    bool on; /* false: nothing is a duplicate */
    uint64_t
        lost; /* position of the last record whose key is not remembered for want of memory; 0 none */
    uint64_t secret[2];
    struct rt_keys_budget *budget;
};

/* `window` 0: nothing is a duplicate. `budget` lives longer. */
void rt_dedupe_init(struct rt_dedupe *d, uint64_t window, struct rt_keys_budget *budget);
void rt_dedupe_deinit(struct rt_dedupe *d);
/* Forgets everything: another log begins. */
void rt_dedupe_clear(struct rt_dedupe *d);
/* The next record of the log, or one that was read before. `*ret_first` is 0, or the position of the first one with its key: skip it. A message without a key is no duplicate.
 * RT_ENOMEM: it is none, and its key is not remembered; it may be tried again, or rt_dedupe_lose(). */
int rt_dedupe_record(struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                     uint64_t *ret_first);
/* Would a record with this message be a duplicate? Changes nothing. */
bool rt_dedupe_find(const struct rt_dedupe *d, struct rt_str channel, const struct rt_message *m,
                    uint64_t *ret_first);
/* The tick at `position`, whose author knew `known`. True: it counts, and keys that are over are gone. */
bool rt_dedupe_tick(struct rt_dedupe *d, const struct rt_ticks *known, uint64_t position);
/* May a message with another key be published? */
bool rt_dedupe_has_room(const struct rt_dedupe *d);
/* The key of the record at `position` is not remembered. */
void rt_dedupe_lose(struct rt_dedupe *d, uint64_t position);
/* All keys of the window are remembered. */
bool rt_dedupe_whole(const struct rt_dedupe *d);

#endif
