/* UTF-8 validation (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF), whole or in
 * pieces. Fast for ASCII (tests 16/32 bytes at once). Thread: any; the state is the caller's. */
#ifndef RT_BASE_UTF8_H
#define RT_BASE_UTF8_H

#include "base/str.h"

/* State between pieces: 0 is the start and a legal end. */
struct rt_utf8 {
    uint32_t state;
};

/* False as soon as no continuation could make the text valid (fail fast), and from then on. */
bool rt_utf8_feed(struct rt_utf8 *u, const void *data, size_t len);
static inline bool rt_utf8_complete(const struct rt_utf8 *u)
{
    return u->state == 0;
}
bool rt_utf8_valid(const void *data, size_t len);

/* The length of the valid text at the start, whole characters only. `*ret_bad` is the number of
 * bytes behind it that one U+FFFD replaces (the "maximal subpart" of the Unicode standard and of
 * the WHATWG decoder), 0 when all of it is valid:
 *
 *     for (; len; data += good + bad, len -= good + bad) {
 *         good = rt_utf8_prefix(data, len, &bad);
 *         ... take `good` bytes, then RT_UTF8_REPLACEMENT if `bad`
 *     } */
size_t rt_utf8_prefix(const void *data, size_t len, size_t *ret_bad);

#define RT_UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* The length (1 to 4) of the valid character that starts at `p`, 0 when there is none whole
 * within `len` bytes. */
static inline size_t rt_utf8_char(const uint8_t *p, size_t len)
{
    if (len == 0)
        return 0;
    uint8_t first = p[0];
    if (first < 0x80)
        return 1;
    if (first < 0xe0)
        return first >= 0xc2 && len >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (len < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
        return 0;
    if (first < 0xf0) {
        bool overlong = first == 0xe0 && p[1] < 0xa0;
        bool surrogate = first == 0xed && p[1] > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    if (first > 0xf4 || len < 4 || (p[3] & 0xc0) != 0x80)
        return 0;
    bool overlong = first == 0xf0 && p[1] < 0x90;
    bool too_high = first == 0xf4 && p[1] > 0x8f;
    return overlong || too_high ? 0 : 4;
}

#endif
