/* What the check and the walk of scan.h share: classes of bytes and fast skipping. For src/json
 * only. */
#ifndef RT_JSON_LEX_H
#define RT_JSON_LEX_H

#include "base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool rt_lex_is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline const uint8_t *rt_lex_skip_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && rt_lex_is_space(*p))
        p++;
    return p;
}

static inline bool rt_lex_is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The first byte that a string does not hold as it is: quote, backslash, control character, not
 * ASCII. */
static inline const uint8_t *rt_lex_skip_plain(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i special = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash));
        /* signed: below the space are the control characters and everything from 0x80 on */
        special = _mm_or_si128(special, _mm_cmplt_epi8(v, space));
        int mask = _mm_movemask_epi8(special);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
        p += 16;
    }
#else
    const uint64_t ones = 0x0101010101010101u;
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        uint64_t quote = v ^ ones * '"';
        uint64_t backslash = v ^ ones * '\\';
        uint64_t special = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
                           ((v - ones * ' ') & ~v) | v;
        if (special & ones << 7)
            break;
        p += 8;
    }
#endif
    while (p < end && *p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

static inline int rt_lex_hex_value(uint8_t c)
{
    if (rt_lex_is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of four hexadecimal digits, -1 when they are none. */
static inline int rt_lex_hex4(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = rt_lex_hex_value(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

#endif
