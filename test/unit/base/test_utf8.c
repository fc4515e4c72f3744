#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"

/* The oracle: which bytes can begin a text is read off from the encodings of all code points,
 * written by the definition. Nothing of the validator's ranges is repeated here. */
static uint8_t begins1[1 << 8], begins2[1 << 16];
static uint8_t *begins3;

enum { CANNOT = 0, PART = 1, WHOLE = 2 };

static int encode(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    int len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--, code >>= 6)
        out[i] = 0x80 | (code & 0x3f);
    out[0] = (uint8_t)((0xf00 >> len) | code);
    return len;
}

static int make_oracle(void **state)
{
    (void)state;
    begins3 = rt_calloc(1 << 24, 1);
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xd800 && code < 0xe000)
            continue;
        uint8_t b[4] = {0};
        int len = encode(code, b);
        begins1[b[0]] = len == 1 ? WHOLE : PART;
        if (len >= 2)
            begins2[b[0] << 8 | b[1]] = len == 2 ? WHOLE : PART;
        if (len >= 3)
            begins3[b[0] << 16 | b[1] << 8 | b[2]] = len == 3 ? WHOLE : PART;
    }
    return 0;
}

static int free_oracle(void **state)
{
    (void)state;
    rt_free(begins3);
    return 0;
}

/* The longest part of `p` that can be the start of a text; `*ret_whole`: of which this many
 * bytes are whole characters. */
static size_t viable(const uint8_t *p, size_t len, size_t *ret_whole)
{
    size_t i = 0;
    *ret_whole = 0;
    while (i < len) {
        int s = begins1[p[i]];
        size_t n = 1;
        if (s == PART && i + n < len && begins2[p[i] << 8 | p[i + 1]]) {
            s = begins2[p[i] << 8 | p[i + 1]];
            n = 2;
        }
        if (n == 2 && s == PART && i + n < len && begins3[p[i] << 16 | p[i + 1] << 8 | p[i + 2]]) {
            s = begins3[p[i] << 16 | p[i + 1] << 8 | p[i + 2]];
            n = 3;
        }
        /* Any continuation byte ends a fourth, as all 64 code points of a triple are valid or
         * none. */
        if (n == 3 && s == PART && i + n < len && p[i + 3] >= 0x80 && p[i + 3] < 0xc0) {
            s = WHOLE;
            n = 4;
        }
        if (s == CANNOT)
            return i;
        if (s == PART)
            return i + n;
        i += n;
        *ret_whole = i;
    }
    return i;
}

/* Fed byte by byte: where the validator gives up must be where no text could go on. */
static void check_bytes(const uint8_t *p, size_t len)
{
    size_t whole;
    size_t possible = viable(p, len, &whole);
    struct rt_utf8 u = {0};
    size_t i = 0;
    while (i < len && rt_utf8_feed(&u, p + i, 1))
        i++;
    bool valid = possible == len && whole == len;
    if (i != possible || (i == len && rt_utf8_complete(&u) != valid) ||
        rt_utf8_valid(p, len) != valid)
        fail_msg("%zu bytes %02x %02x %02x %02x: %zu, wanted %zu", len, p[0], len > 1 ? p[1] : 0,
                 len > 2 ? p[2] : 0, len > 3 ? p[3] : 0, i, possible);
}

static void test_all_up_to_three_bytes(void **state)
{
    (void)state;
    uint8_t b[3];
    for (unsigned i = 0; i < 1 << 16; i++) {
        b[0] = (uint8_t)(i >> 8);
        b[1] = (uint8_t)i;
        check_bytes(b, 1);
        check_bytes(b, 2);
    }
    for (unsigned i = 0xc0u << 16; i < 1 << 24; i++) {
        b[0] = (uint8_t)(i >> 16);
        b[1] = (uint8_t)(i >> 8);
        b[2] = (uint8_t)i;
        /* all second bytes, and the third ones at the edges of the ranges */
        if ((b[2] & 0x0f) == 0 || (b[2] & 0x0f) == 0x0f)
            check_bytes(b, 3);
    }
}

static void test_four_bytes(void **state)
{
    (void)state;
    static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f,
                                    0xa0, 0xbf, 0xc0, 0xc2, 0xf0, 0xff};
    for (unsigned first = 0xee; first <= 0xff; first++) {
        for (unsigned second = 0; second <= 0xff; second++) {
            for (size_t i = 0; i < sizeof(edges) * sizeof(edges); i++) {
                uint8_t b[4] = {(uint8_t)first, (uint8_t)second, edges[i / sizeof(edges)],
                                edges[i % sizeof(edges)]};
                check_bytes(b, 4);
            }
        }
    }
}

static void test_every_character(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        uint8_t b[4];
        int len = encode(code, b);
        bool surrogate = code >= 0xd800 && code < 0xe000;
        assert_int_equal(rt_utf8_valid(b, (size_t)len), !surrogate);
        assert_int_equal(rt_utf8_char(b, (size_t)len), surrogate ? 0 : len);
        assert_int_equal(rt_utf8_char(b, (size_t)len - 1), 0);
    }
}

/* Random texts of characters of all lengths and now and then a broken byte, in two pieces cut
 * anywhere: the same answer as whole, and refused with the piece in which it becomes impossible. */
static void test_random_pieces(void **state)
{
    (void)state;
    static const uint32_t codes[] = {'a', 0x7f, 0x80, 0x7ff, 0x800, 0xffff, 0x10000, 0x10ffff};
    uint32_t random = 99;
    int refused = 0;
    for (int round = 0; round < 3000; round++) {
        uint8_t text[260];
        size_t len = 0;
        while (len < 200) {
            random = random * 1664525u + 1013904223u;
            if (random >> 24 == 7)
                text[len++] = (uint8_t)(random >> 8);
            else if (random >> 28 < 12)
                text[len++] = 'x';
            else
                len += (size_t)encode(codes[(random >> 8) % 8], text + len);
        }
        size_t whole, cut = (random >> 12) % len;
        size_t possible = viable(text, len, &whole);
        struct rt_utf8 u = {0};
        assert_int_equal(rt_utf8_feed(&u, text, cut), possible >= cut);
        bool fed = rt_utf8_feed(&u, text + cut, len - cut);
        assert_int_equal(fed, possible == len);
        assert_int_equal(rt_utf8_complete(&u), whole == len);
        assert_int_equal(rt_utf8_valid(text, len), whole == len);
        size_t bad;
        assert_int_equal(rt_utf8_prefix(text, len, &bad), whole);
        assert_int_equal(bad, whole == len ? 0 : possible == whole ? 1 : possible - whole);
        refused += !fed;
    }
    assert_true(refused > 500 && refused < 2900);
}

static bool feed(struct rt_utf8 *u, const char *bytes)
{
    return rt_utf8_feed(u, bytes, strlen(bytes));
}

/* What a WebSocket text message must be refused at, inside an unfinished frame. */
static void test_refused_at_the_first_impossible_byte(void **state)
{
    (void)state;
    struct rt_utf8 u = {0};
    assert_true(feed(&u, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4"));
    assert_false(rt_utf8_complete(&u));
    assert_false(feed(&u, "\x90"));
    assert_false(feed(&u, "\x80\x80"));
    assert_false(feed(&u, "edited"));
    assert_false(rt_utf8_complete(&u));

    static const char *const pairs[][2] = {
        {"\xed", "\xa0"}, {"\xe0", "\x80"}, {"\xf0", "\x8f"}, {"\xf4", "\x90"}, {"\xe1\x80", "a"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        u.state = 0;
        assert_true(feed(&u, pairs[i][0]));
        assert_false(feed(&u, pairs[i][1]));
    }
    static const char *const alone[] = {"\xc0", "\xc1", "\xf5", "\xfe", "\xff", "\x80", "\xbf"};
    for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++) {
        u.state = 0;
        assert_false(feed(&u, alone[i]));
    }
}

/* The fast path reads 32, then 8, then 1 bytes: a broken byte must be seen at every distance
 * from the start and the end. */
static void test_broken_byte_anywhere_in_ascii(void **state)
{
    (void)state;
    for (size_t len = 1; len < 140; len++) {
        uint8_t *text = rt_malloc(len);
        memset(text, 'a', len);
        assert_true(rt_utf8_valid(text, len));
        for (size_t at = 0; at < len; at++) {
            struct rt_utf8 u = {0};
            size_t bad;
            text[at] = 0xff;
            assert_false(rt_utf8_valid(text, len));
            assert_false(rt_utf8_feed(&u, text, len));
            assert_int_equal(rt_utf8_prefix(text, len, &bad), at);
            assert_int_equal(bad, 1);
            text[at] = 'a';
        }
        rt_free(text);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    struct rt_utf8 u = {0};
    size_t bad = 9;
    assert_true(rt_utf8_valid(NULL, 0));
    assert_true(rt_utf8_feed(&u, NULL, 0));
    assert_true(rt_utf8_complete(&u));
    assert_true(feed(&u, "\xe2\x82"));
    assert_true(rt_utf8_feed(&u, NULL, 0));
    assert_false(rt_utf8_complete(&u));
    assert_true(feed(&u, "\xac"));
    assert_true(rt_utf8_complete(&u));
    assert_int_equal(rt_utf8_prefix(NULL, 0, &bad), 0);
    assert_int_equal(bad, 0);
    assert_int_equal(rt_utf8_char(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_up_to_three_bytes),
        cmocka_unit_test(test_four_bytes),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_random_pieces),
        cmocka_unit_test(test_refused_at_the_first_impossible_byte),
        cmocka_unit_test(test_broken_byte_anywhere_in_ascii),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, make_oracle, free_oracle);
}
