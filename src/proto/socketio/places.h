/* Positions of a log that nodes share, as tokens name them: for each partition that matters, up to
 * which offset its messages have been delivered. What a client has seen on one node is so known on
 * any other.
 *
 * Text: `~check~p-offset.p-offset...`, numbers in base 36; `check` is made of the epochs of the
 * partitions named, so that offsets of another incarnation of the log are not mistaken for this
 * one's. Partitions matter once a socket that may come back has been in a channel of theirs; before
 * the first one the text is empty. About 8 bytes for each. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_PLACES_H
#define RT_PROTO_SOCKETIO_PLACES_H

#include "base/buf.h"
#include "journal/journal.h"

struct rt_sio_places {
    const struct rt_journal *journal;
    uint64_t base; /* added to stamps: those of different processes are told apart */
    uint32_t count;
    bool *used; /* NULL: there was no memory for it, all count as used */
};

/* RT_EINVAL: the journal has no partitions. */
int rt_sio_places_new(const struct rt_journal *journal, struct rt_sio_places **ret_places);
/* NULL is fine. */
void rt_sio_places_free(struct rt_sio_places *p);
/* The journal has another number of partitions: none is used, offsets of before are void. */
void rt_sio_places_recount(struct rt_sio_places *p);
/* A socket joins this channel. */
void rt_sio_places_use(struct rt_sio_places *p, struct rt_str channel);
/* Where the channel stands: its partition, offset and a check of its epoch. */
struct rt_sio_place {
    uint32_t partition;
    uint32_t epoch;
    uint64_t offset;
};
struct rt_sio_place rt_sio_places_of(const struct rt_sio_places *p, struct rt_str channel);
uint64_t rt_sio_places_delivered(const struct rt_sio_places *p, uint32_t partition);
/* Appends the text: of what was delivered so far when `offsets` is NULL, else of those (one for
 * each partition, 0 none). */
void rt_sio_places_write(const struct rt_sio_places *p, const uint64_t *offsets,
                         struct rt_buf *out);
/* Raises `offsets` (one for each partition) to what the text says. False: it is malformed, or of
 * another incarnation of the log. Empty text is fine. */
bool rt_sio_places_read(const struct rt_sio_places *p, struct rt_str text, uint64_t *offsets);

/* Numbers in base 36, at most 12 digits when read. */
void rt_sio_base36_write(struct rt_buf *out, uint64_t value);
bool rt_sio_base36_read(struct rt_str text, uint64_t *ret_value);

#endif
