/* Random bytes from the kernel (buffered per thread) and the identifiers made of them. Thread: any.
 * If the kernel cannot give randomness the process aborts: ids are secrets here. */
#ifndef RT_BASE_RAND_H
#define RT_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rt_random(void *out, size_t len);
/* Uniform in [0, bound), bound > 0. */
uint32_t rt_random_below(uint32_t bound);

#define RT_ID_LEN 20 /* base64url of 15 random bytes */
void rt_random_id(char out[RT_ID_LEN + 1]);

#define RT_UUID_LEN 36
/* RFC 9562 version 7: rises within this process, even within one millisecond and when `wall_ms`
 * goes back (the time in the id then stays ahead until the clock has caught up). */
void rt_uuid7(uint64_t wall_ms, uint8_t out[16]);
void rt_uuid_format(const uint8_t uuid[16], char out[RT_UUID_LEN + 1]);

#endif
