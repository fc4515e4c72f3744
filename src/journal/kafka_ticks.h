/* The clock of a partition's log: what the window of idempotency keys is measured in.
 *
 * Wall clocks are set, and those of nodes differ; and only the log is the same for everybody. So the log itself has ticks: markers (journal/record.h) with the header
 * `rt-tick`. A node appends one when, by its monotonic clock, a quarter of the window has passed since it read the last tick, and something has come since or
 * keys are remembered. A key counts until RT_TICKS ticks have come behind its last use: RT_TICKS - 1 whole intervals at least, which are the window, and one more at most.
 * Several nodes may want to tick at the same time. So each tick tells the ticks that its author knew, and it counts only when there is none among them and
 * itself that the author had not read: everybody who reads the log counts the same ones, and what the author has measured lies between two that count.
 * The first tick of a log tells where its author began to read, RT_TICKS times: what is before is known to nobody for sure.
 * Who begins to read finds the ticks in the header `rt-ticks`, which is on every record with a key, and on some others: it starts at the oldest of them, and knows every
 * key that counts.
 * A position is ours (Kafka's offset + 1). Pure. Thread: any. */
#ifndef RT_JOURNAL_KAFKA_TICKS_H
#define RT_JOURNAL_KAFKA_TICKS_H

#include "base/str.h"

#define RT_TICKS        5u
#define RT_TICKS_TEXT   (RT_TICKS * 21) /* most characters */
#define RT_HEADER_TICK  "rt-tick"       /* the marker is a tick; the ticks that its author knew */
#define RT_HEADER_TICKS "rt-ticks"      /* the ticks that the author of the record knew */

struct rt_ticks {
    uint64_t at[RT_TICKS]; /* positions, newest first; at[0] == 0: none is known */
};

/* Ticks of one who knows none: all of them where it began to read. */
struct rt_ticks rt_ticks_begin(uint64_t position);
/* Writes a header's value, returns its length. */
size_t rt_ticks_write(const struct rt_ticks *ticks, char out[RT_TICKS_TEXT + 1]);
/* The header of the record at `position`. False, and nothing is touched: none, malformed, or not from this log. */
bool rt_ticks_read(struct rt_str text, uint64_t position, struct rt_ticks *ret_ticks);
/* The tick at `position`, whose author knew `known`. True: it counts. */
bool rt_ticks_take(struct rt_ticks *ticks, const struct rt_ticks *known, uint64_t position);
/* A key that was not used at this position or later counts no more; 0: all count. */
uint64_t rt_ticks_oldest(const struct rt_ticks *ticks);
/* ms between two ticks, for a window. */
uint64_t rt_ticks_interval(uint64_t window);

#endif
