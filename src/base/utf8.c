#include "base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What the bytes so far allow next. The first continuation byte has a narrower range after E0
 * (no overlong form), ED (no surrogate), F0 (no overlong form) and F4 (no more than U+10FFFF). */
enum state {
    START,
    NEED_1,
    NEED_2,
    NEED_3,
    AFTER_E0,
    AFTER_ED,
    AFTER_F0,
    AFTER_F4,
    BROKEN,
};

static const struct {
    uint8_t low, high; /* the range of the next byte */
    uint8_t next;
} continuation[BROKEN] = {
    [NEED_1] = {0x80, 0xbf, START},    [NEED_2] = {0x80, 0xbf, NEED_1},
    [NEED_3] = {0x80, 0xbf, NEED_2},   [AFTER_E0] = {0xa0, 0xbf, NEED_1},
    [AFTER_ED] = {0x80, 0x9f, NEED_1}, [AFTER_F0] = {0x90, 0xbf, NEED_2},
    [AFTER_F4] = {0x80, 0x8f, NEED_2},
};

static uint32_t after_first(uint8_t byte)
{
    if (byte < 0x80)
        return START;
    if (byte < 0xc2)
        return BROKEN;
    if (byte < 0xe0)
        return NEED_1;
    if (byte < 0xf0)
        return byte == 0xe0 ? AFTER_E0 : byte == 0xed ? AFTER_ED : NEED_2;
    if (byte < 0xf5)
        return byte == 0xf0 ? AFTER_F0 : byte == 0xf4 ? AFTER_F4 : NEED_3;
    return BROKEN;
}

static inline uint32_t step(uint32_t state, uint8_t byte)
{
    if (state == START)
        return after_first(byte);
    if (state >= BROKEN || byte < continuation[state].low || byte > continuation[state].high)
        return BROKEN;
    return continuation[state].next;
}

/* The first byte at or after `p` that is not ASCII, or up to 31 bytes before it. */
static inline const uint8_t *skip_ascii(const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 32) {
#ifdef __SSE2__
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + 16));
        if (_mm_movemask_epi8(_mm_or_si128(a, b)))
            break;
#else
        uint64_t words[4];
        memcpy(words, p, sizeof(words));
        if ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080u)
            break;
#endif
        p += 32;
    }
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        if (word & 0x8080808080808080u)
            break;
        p += 8;
    }
    return p;
}

/* Whole characters from `p` on; stops at the first byte that belongs to none. */
static const uint8_t *skip_valid(const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        if (*p < 0x80) {
            p = skip_ascii(p, end);
            while (p < end && *p < 0x80)
                p++;
            continue;
        }
        size_t len = rt_utf8_char(p, (size_t)(end - p));
        if (!len)
            break;
        p += len;
    }
    return p;
}

bool rt_utf8_feed(struct rt_utf8 *u, const void *data, size_t len)
{
    const uint8_t *p = data;
    const uint8_t *end = p ? p + len : p;
    uint32_t state = u->state;
    while (p < end && state != START && state != BROKEN)
        state = step(state, *p++);
    if (state == START) {
        p = skip_valid(p, end);
        /* What is left is either broken or a character cut at the end: at most three steps. */
        while (p < end && state != BROKEN)
            state = step(state, *p++);
    }
    u->state = state;
    return state != BROKEN;
}

bool rt_utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = data;
    const uint8_t *end = p ? p + len : p;
    return skip_valid(p, end) == end;
}

size_t rt_utf8_prefix(const void *data, size_t len, size_t *ret_bad)
{
    const uint8_t *p = data;
    const uint8_t *end = p ? p + len : p;
    const uint8_t *bad = skip_valid(p, end);
    size_t left = (size_t)(end - bad);
    size_t count = 0;
    uint32_t state = START;
    while (count < left) {
        state = step(state, bad[count]);
        if (state == BROKEN)
            break;
        count++;
    }
    /* A byte that cannot even begin a character counts alone. */
    *ret_bad = count == 0 && left ? 1 : count;
    return (size_t)(bad - p);
}
