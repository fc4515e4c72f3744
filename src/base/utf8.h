/* UTF-8 validation (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF), whole or in pieces.
 * Fast for ASCII (tests 16/32 bytes at once). Thread: any; the state is the caller's. */
#ifndef RT_BASE_UTF8_H
#define RT_BASE_UTF8_H

#include "base/str.h"

/* State between pieces: 0 is the start and a legal end. */
struct rt_utf8 {
    uint32_t state;
};

/* False as soon as no continuation could make the text valid (fail fast). */
bool rt_utf8_feed(struct rt_utf8 *u, const void *data, size_t len);
static inline bool rt_utf8_complete(const struct rt_utf8 *u)
{
    return u->state == 0;
}
bool rt_utf8_valid(const void *data, size_t len);

#endif
