/* What the sink has read and not stored yet: entries in the order in which they were read.
 *
 * An entry keeps its record until it is stored, since it may turn out to be a dead letter. Entries of one partition are in the order of their positions; what they say of
 * the partition (epoch and so on) is its state behind them. Thread: the sink's. */
#ifndef RT_STORE_SINK_BATCH_H
#define RT_STORE_SINK_BATCH_H

#include <librdkafka/rdkafka.h>

#include "hub/message.h"
#include "store/sink_part.h"

/* ms: the end of the year 294275, about the last that PostgreSQL has. */
#define RT_SINK_TIME_MAX   9223371331200000u
#define RT_SINK_ENTRY_COST 256u /* bytes that an entry counts for besides its record's */

#define RT_SINK_TICKS_TEXT (RT_EPOCH_TEXT + 1 + RT_TICKS_TEXT)

enum rt_sink_kind {
    RT_SINK_ROW,
    RT_SINK_REPEAT, /* repeats the key of the record at `first` */
    RT_SINK_DEAD,   /* cannot be stored */
    RT_SINK_NOTHING /* holds no message: a marker, or offsets that no consumer sees */
};

struct rt_sink_entry {
    uint32_t partition;
    enum rt_sink_kind kind;
    uint64_t position;
    uint64_t first;
    uint64_t epoch_at, purged;
    struct rt_ticks ticks;
    char epoch[RT_EPOCH_TEXT + 1];
    rd_kafka_message_t *record; /* owned; NULL: NOTHING without one */
    struct rt_stored *message;  /* one reference; ROW and REPEAT */
    char sqlstate[6];           /* DEAD */
    char why[160];              /* DEAD: UTF-8 */
};

struct rt_sink_batch {
    struct rt_sink_entry *entries;
    size_t count, max;
    size_t done; /* entries before are stored */
    size_t bytes;
    uint64_t opened_at; /* monotonic ms of the first entry */
};

int rt_sink_batch_init(struct rt_sink_batch *b, size_t max);
void rt_sink_batch_deinit(struct rt_sink_batch *b);
/* Forgets all entries. */
void rt_sink_batch_clear(struct rt_sink_batch *b);
/* Forgets what is not stored of a partition. */
void rt_sink_batch_drop(struct rt_sink_batch *b, uint32_t partition);
/* Is anything of the partition not stored? */
bool rt_sink_batch_has(const struct rt_sink_batch *b, uint32_t partition);
/* A new entry, its partition and the partition's state filled; there must be room. Takes over `record` (may be NULL). */
struct rt_sink_entry *rt_sink_batch_add(struct rt_sink_batch *b, const struct rt_sink_part *p,
                                        uint64_t position, rd_kafka_message_t *record);
/* The entry's message (taken over) becomes a row; or a dead letter at once where it is known that PostgreSQL has no such value: NUL in text, a time beyond its range. */
void rt_sink_entry_row(struct rt_sink_entry *e, struct rt_stored *message);
/* Writes what is stored of the log's clock behind the entry, EPOCH and the ticks, and returns its length; "" when none is known. */
size_t rt_sink_entry_ticks(const struct rt_sink_entry *e, char out[RT_SINK_TICKS_TEXT + 1]);
/* The same read: none when they are not of this epoch. */
struct rt_ticks rt_sink_ticks_read(struct rt_str text, struct rt_str epoch, uint64_t next);
/* `text` may hold any bytes. */
void rt_sink_entry_dead(struct rt_sink_entry *e, const char *sqlstate, const char *text);

#endif
