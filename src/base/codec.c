#include "base/codec.h"

#include "base/err.h"
#include "base/utf8.h"

static const char standard_digits[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_digits[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[16] = "0123456789abcdef";
static const char upper_hex_digits[16] = "0123456789ABCDEF"; /* as RFC 3986 section 2.1 wants */

static void encode64(struct rt_buf *out, struct rt_str in, const char digits[64], bool pad)
{
    if (in.len > SIZE_MAX / 2 - 4) {
        out->failed = true;
        return;
    }
    uint8_t *to = rt_buf_reserve(out, in.len / 3 * 4 + 4);
    if (!to)
        return;
    const uint8_t *start = to;
    const uint8_t *p = (const uint8_t *)in.ptr;
    size_t left = in.len;
    for (; left >= 3; left -= 3, p += 3) {
        uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *to++ = (uint8_t)digits[bits >> 18];
        *to++ = (uint8_t)digits[bits >> 12 & 63];
        *to++ = (uint8_t)digits[bits >> 6 & 63];
        *to++ = (uint8_t)digits[bits & 63];
    }
    if (left) {
        uint32_t bits = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);
        *to++ = (uint8_t)digits[bits >> 18];
        *to++ = (uint8_t)digits[bits >> 12 & 63];
        if (left == 2)
            *to++ = (uint8_t)digits[bits >> 6 & 63];
        for (size_t i = left; pad && i < 3; i++)
            *to++ = '=';
    }
    out->len += (size_t)(to - start);
}

void rt_base64_encode(struct rt_buf *out, const void *data, size_t len)
{
    encode64(out, rt_str_of(data, len), standard_digits, true);
}

void rt_base64url_encode(struct rt_buf *out, const void *data, size_t len)
{
    encode64(out, rt_str_of(data, len), url_digits, false);
}

/* 0 to 63, or one of these. */
enum { DIGIT_BAD = -1, DIGIT_PAD = -2, DIGIT_SPACE = -3 };

static inline int digit64(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    switch (c) {
    case '+':
    case '-':
        return 62;
    case '/':
    case '_':
        return 63;
    case '=':
        return DIGIT_PAD;
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return DIGIT_SPACE;
    default:
        return DIGIT_BAD;
    }
}

/* Four digits, none of them special: the case that is nearly all of a text. */
static inline bool decode_four(const char *in, uint8_t *to)
{
    int bits = 0;
    int all = 0;
    for (int i = 0; i < 4; i++) {
        int digit = digit64((uint8_t)in[i]);
        all |= digit;
        bits = (int)((unsigned)bits << 6) | digit;
    }
    if (all < 0)
        return false;
    to[0] = (uint8_t)(bits >> 16);
    to[1] = (uint8_t)(bits >> 8);
    to[2] = (uint8_t)bits;
    return true;
}

int rt_base64_decode(struct rt_buf *out, struct rt_str text)
{
    uint8_t *to = rt_buf_reserve(out, text.len / 4 * 3 + 3);
    if (!to)
        return RT_ENOMEM;
    const uint8_t *start = to;
    uint32_t bits = 0;
    unsigned digits = 0; /* of the group of four that is being read */
    unsigned pads = 0;
    for (size_t i = 0; i < text.len;) {
        if (digits == 0 && !pads && text.len - i >= 4 && decode_four(text.ptr + i, to)) {
            to += 3;
            i += 4;
            continue;
        }
        int digit = digit64((uint8_t)text.ptr[i++]);
        if (digit == DIGIT_SPACE)
            continue;
        if (digit == DIGIT_PAD) {
            pads++;
            continue;
        }
        if (digit == DIGIT_BAD || pads)
            return RT_EINVAL;
        bits = bits << 6 | (uint32_t)digit;
        if (++digits < 4)
            continue;
        *to++ = (uint8_t)(bits >> 16);
        *to++ = (uint8_t)(bits >> 8);
        *to++ = (uint8_t)bits;
        digits = 0;
    }
    if (digits == 1 || pads > (digits ? 4 - digits : 0))
        return RT_EINVAL;
    if (digits >= 2)
        *to++ = (uint8_t)(digits == 2 ? bits >> 4 : bits >> 10);
    if (digits == 3)
        *to++ = (uint8_t)(bits >> 2);
    out->len += (size_t)(to - start);
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Replaces what is not UTF-8 in the content from `from` on. Rare, so a copy is good enough. */
static void repair_utf8(struct rt_buf *out, size_t from)
{
    struct rt_buf copy = RT_BUF_INIT;
    rt_buf_add(&copy, out->data + from, out->len - from);
    if (!rt_buf_ok(&copy))
        out->failed = true;
    out->len = from;
    struct rt_str rest = rt_buf_str(&copy);
    while (rest.len) {
        size_t bad;
        size_t good = rt_utf8_prefix(rest.ptr, rest.len, &bad);
        rt_buf_add(out, rest.ptr, good);
        if (bad)
            rt_buf_add_str(out, RT_STR(RT_UTF8_REPLACEMENT));
        rest = rt_str_of(rest.ptr + good + bad, rest.len - good - bad);
    }
    rt_buf_deinit(&copy);
}

static void percent_decode(struct rt_buf *out, struct rt_str text, char plus)
{
    size_t from = out->len;
    uint8_t *to = rt_buf_reserve(out, text.len);
    if (!to)
        return;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int high = c == '%' && text.len - i > 2 ? hex_value(text.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text.ptr[i + 2]) : -1;
        if (low >= 0) {
            *to++ = (uint8_t)(high << 4 | low);
            i += 2;
        } else {
            *to++ = (uint8_t)(c == '+' ? plus : c);
        }
    }
    out->len = (size_t)(to - out->data);
    if (!rt_utf8_valid(out->data + from, out->len - from))
        repair_utf8(out, from);
}

void rt_url_decode(struct rt_buf *out, struct rt_str text)
{
    percent_decode(out, text, ' ');
}

void rt_path_decode(struct rt_buf *out, struct rt_str text)
{
    percent_decode(out, text, '+');
}

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void rt_url_encode(struct rt_buf *out, struct rt_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        if (is_unreserved(text.ptr[i])) {
            rt_buf_add_byte(out, c);
            continue;
        }
        const char escape[3] = {'%', upper_hex_digits[c >> 4], upper_hex_digits[c & 15]};
        rt_buf_add(out, escape, sizeof(escape));
    }
}

void rt_hex_encode(struct rt_buf *out, const void *data, size_t len)
{
    const uint8_t *p = data;
    if (len > SIZE_MAX / 2 - 1) {
        out->failed = true;
        return;
    }
    uint8_t *to = rt_buf_reserve(out, len * 2);
    if (!to)
        return;
    for (size_t i = 0; i < len; i++) {
        *to++ = (uint8_t)hex_digits[p[i] >> 4];
        *to++ = (uint8_t)hex_digits[p[i] & 15];
    }
    out->len += len * 2;
}
