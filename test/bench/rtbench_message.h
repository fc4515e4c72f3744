/* The message of a benchmark: a mark, a sequence number, a time, filler.
 *
 *     offset 0   RT_SWARM_MARK
 *     1..8       sequence number, hexadecimal
 *     9..24      time in nanoseconds (CLOCK_MONOTONIC), hexadecimal
 *     25..       letters that depend on their offset
 *
 * Plain ASCII that JSON need not escape, so it arrives as it was sent, whatever is wrapped around it. */
#ifndef RT_BENCH_MESSAGE_H
#define RT_BENCH_MESSAGE_H

#include "bench_util.h"

enum { RT_MESSAGE_MIN = 26, RT_MESSAGE_MAX = 256 * 1024 };

struct rt_message {
    uint32_t sequence;
    uint64_t time;
};

/* Encodes publishes: masked text frames around a template around a message. */
struct rt_publisher {
    struct rt_bench_template wrap;
    size_t size;      /* of a message */
    size_t frame_len; /* of one publish, always the same */
    uint8_t *frames;  /* room for `room` of them */
    uint32_t room;
    uint8_t *message;
};

/* `room`: how many publishes one encode may hold; `wrap`: template with `$M`, which outlives the publisher. */
void rt_publisher_init(struct rt_publisher *publisher, const char *wrap, size_t size,
                       uint32_t room);
/* Encodes `count` messages from `sequence` on, all with the same time. Returns the frames, valid until the next call. */
const uint8_t *rt_publisher_encode(struct rt_publisher *publisher, uint32_t sequence,
                                   uint32_t count, uint64_t time, size_t *ret_len);

/* Finds the first message in `data`; `size` is what it should have. Returns where it ends, NULL when there is none; ends the
 * program when what stands there is cut or changed. */
const uint8_t *rt_message_decode(const uint8_t *data, size_t len, size_t size,
                                 struct rt_message *ret_message);

#endif
