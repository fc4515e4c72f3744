/* The receiver on bytes alone: what each stream of frames means, however it is cut. Follows the sections of RFC 6455. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit/ws/frames.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "ws/ws.h"

enum { MAX_MESSAGE = 20 * 1024 * 1024 };

static struct rt_ws_pool *pool;
static struct rt_buf stream; /* what the test under way builds */
static uint32_t max_message;

static int set_up(void **state)
{
    (void)state;
    rt_buf_init(&stream);
    max_message = MAX_MESSAGE;
    return rt_ws_pool_new(NULL, &pool);
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(rt_ws_pool_lent(pool), 0);
    rt_ws_pool_free(pool);
    rt_buf_deinit(&stream);
    return 0;
}

static struct rt_ws_recv receiver(void)
{
    return (struct rt_ws_recv){.pool = pool, .max_message = max_message};
}

/* The log of the stream in pieces of `size` bytes, the first of `first`. */
static char *run(size_t first, size_t size)
{
    struct rt_buf log = RT_BUF_INIT;
    struct rt_ws_recv r = receiver();
    size_t n = first ? first : size;
    for (size_t at = 0; at < stream.len; n = size) {
        n = n < stream.len - at ? n : stream.len - at;
        feed_recv(&r, stream.data + at, n, &log);
        at += n;
    }
    rt_ws_recv_reset(&r);
    assert_null(r.assembly);
    char *text = strdup(rt_buf_cstr(&log));
    rt_buf_deinit(&log);
    return text;
}

static void expect_cut(const char *wanted, size_t first, size_t size)
{
    char *log = run(first, size);
    if (strcmp(log, wanted) != 0)
        fail_msg("pieces of %zu, then %zu:\n%s-- wanted:\n%s", first, size, log, wanted);
    free(log);
}

/* Whole; in two at every place (of short streams); in pieces of several sizes. Then the stream is empty again. */
static void expect(const char *wanted)
{
    static const size_t sizes[] = {1, 2, 3, 7, 14, 64, 997, 4096, 65536};
    assert_true(rt_buf_ok(&stream));
    expect_cut(wanted, 0, SIZE_MAX);
    for (size_t cut = 1; cut < stream.len && stream.len < 700; cut++)
        expect_cut(wanted, cut, SIZE_MAX);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        expect_cut(wanted, 0, sizes[i]);
    rt_buf_clear(&stream);
}

static char *repeated(char c, size_t n)
{
    char *text = malloc(n + 1);
    memset(text, c, n);
    text[n] = '\0';
    return text;
}

/* ---- messages ------------------------------------------------------------------------------- */

static void every_length_form(void **state)
{
    static const size_t lengths[] = {0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 200000};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (unsigned opcode = RT_WS_TEXT; opcode <= RT_WS_BINARY; opcode++) {
            char *payload = repeated(opcode == RT_WS_TEXT ? '*' : '\xfe', lengths[i]);
            struct rt_buf log = RT_BUF_INIT;
            struct rt_ws_item item = {
                .data = (uint8_t *)payload, .len = lengths[i], .text = opcode == RT_WS_TEXT};
            log_item(&log, RT_WS_GOT_MESSAGE, &item);
            add_frame(&stream, 0x80 | opcode, payload, lengths[i]);
            add_text(&stream, 0x81, "next");
            rt_buf_add_c(&log, "T next\n");
            expect(rt_buf_cstr(&log));
            rt_buf_deinit(&log);
            free(payload);
        }
    }
}

static void longer_forms_are_refused(void **state)
{
    static const struct {
        size_t len;
        int form;
    } cases[] = {{0, 16}, {125, 16}, {0, 64}, {125, 64}, {126, 64}, {65535, 64}};
    char *payload = repeated('x', 65535);
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct frame_spec spec = {.first = 0x82, .length_form = cases[i].form};
        add_frame_as(&stream, spec, payload, cases[i].len);
        expect("E 1002 \n");
    }
    static const uint8_t negative[] = {0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4};
    rt_buf_add(&stream, negative, sizeof(negative));
    expect("E 1002 \n");
    free(payload);
}

static void frames_must_be_masked(void **state)
{
    (void)state;
    for (unsigned opcode = 1; opcode <= 2; opcode++) {
        add_frame_as(&stream, (struct frame_spec){.first = 0x80 | opcode, .unmasked = true}, "x",
                     1);
        expect("E 1002 \n");
    }
    add_frame_as(&stream, (struct frame_spec){.first = 0x89, .unmasked = true}, "", 0);
    expect("E 1002 \n");
}

static void servers_do_not_mask(void **state)
{
    struct rt_buf log = RT_BUF_INIT;
    struct rt_ws_recv r = receiver();
    (void)state;
    r.from_server = true;
    add_frame_as(&stream, (struct frame_spec){.first = 0x81, .unmasked = true}, "plain", 5);
    for (size_t i = 0; i < stream.len; i++)
        feed_recv(&r, stream.data + i, 1, &log);
    add_text(&stream, 0x81, "x");
    feed_recv(&r, stream.data, stream.len, &log);
    assert_string_equal(rt_buf_cstr(&log), "T plain\nT plain\nE 1002 \n");
    rt_ws_recv_reset(&r);
    rt_buf_deinit(&log);
}

/* ---- control frames ------------------------------------------------------------------------- */

static void pings_and_pongs(void **state)
{
    (void)state;
    add_text(&stream, 0x89, "");
    add_text(&stream, 0x89, "Hello");
    add_frame(&stream, 0x89, "\x01\xff\xfe", 3);
    add_text(&stream, 0x8a, "");
    add_text(&stream, 0x8a, "nobody asked");
    for (int i = 0; i < 10; i++)
        add_text(&stream, 0x89, "again");
    expect("P \nP Hello\nP \x01\xff\xfe\nO \nO nobody asked\nP again\nP again\nP again\nP again\n"
           "P again\nP again\nP again\nP again\nP again\nP again\n");
}

static void all_ping_lengths(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 125; len += 25) {
        char *payload = repeated('p', len);
        struct rt_buf log = RT_BUF_INIT;
        struct rt_ws_item item = {.data = (uint8_t *)payload, .len = len};
        add_frame(&stream, 0x89, payload, len);
        add_frame(&stream, 0x8a, payload, len);
        log_item(&log, RT_WS_GOT_PING, &item);
        log_item(&log, RT_WS_GOT_PONG, &item);
        expect(rt_buf_cstr(&log));
        rt_buf_deinit(&log);
        free(payload);
    }
}

static void long_control_frames_are_refused(void **state)
{
    char *payload = repeated('p', 70000);
    (void)state;
    for (unsigned first = 0x88; first <= 0x8a; first++) {
        add_frame(&stream, first, payload, 126);
        expect("E 1002 \n");
        add_frame(&stream, first, payload, 70000);
        expect("E 1002 \n");
        add_frame(&stream, first & 0x7f, "", 0); /* fragmented */
        expect("E 1002 \n");
    }
    free(payload);
}

static void reserved_bits_are_refused(void **state)
{
    static const unsigned opcodes[] = {1, 2, 8, 9, 10};
    (void)state;
    for (unsigned rsv = 0x10; rsv <= 0x70; rsv += 0x10) {
        for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
            add_text(&stream, 0x81, "before");
            add_text(&stream, 0x80 | rsv | opcodes[i], "x");
            add_text(&stream, 0x81, "after");
            expect("T before\nE 1002 \n");
        }
    }
}

static void reserved_opcodes_are_refused(void **state)
{
    static const unsigned opcodes[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
    (void)state;
    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        add_text(&stream, 0x81, "before");
        add_text(&stream, 0x80 | opcodes[i], i % 2 ? "x" : "");
        add_text(&stream, 0x89, "");
        expect("T before\nE 1002 \n");
    }
}

/* ---- fragments ------------------------------------------------------------------------------ */

static void fragments_become_messages(void **state)
{
    (void)state;
    add_text(&stream, 0x01, "one ");
    add_text(&stream, 0x00, "two ");
    add_text(&stream, 0x80, "three");
    add_frame(&stream, 0x02, "\x01\x02", 2);
    add_frame(&stream, 0x80, "\x03", 1);
    expect("T one two three\nB \x01\x02\x03\n");
    /* empty ones, with a control frame between any two */
    add_text(&stream, 0x01, "");
    add_text(&stream, 0x89, "1");
    add_text(&stream, 0x00, "");
    add_text(&stream, 0x8a, "2");
    add_text(&stream, 0x00, "middle");
    add_text(&stream, 0x89, "3");
    add_text(&stream, 0x80, "");
    add_text(&stream, 0x81, "whole");
    expect("P 1\nO 2\nP 3\nT middle\nT whole\n");
    add_text(&stream, 0x01, "");
    add_text(&stream, 0x80, "");
    expect("T \n");
    /* a close between fragments ends it all */
    add_text(&stream, 0x01, "half");
    add_close(&stream, 1000, "enough");
    add_text(&stream, 0x80, " more");
    expect("C 1000 enough\n");
}

static void wrong_orders_are_refused(void **state)
{
    (void)state;
    add_text(&stream, 0x80, "no start");
    expect("E 1002 \n");
    add_text(&stream, 0x00, "no start");
    add_text(&stream, 0x80, "x");
    expect("E 1002 \n");
    add_text(&stream, 0x81, "whole");
    add_text(&stream, 0x80, "no start");
    expect("T whole\nE 1002 \n");
    add_text(&stream, 0x01, "a");
    add_text(&stream, 0x80, "b");
    add_text(&stream, 0x00, "c");
    expect("T ab\nE 1002 \n");
    for (unsigned first = 0x01; first <= 0x02; first++) {
        add_text(&stream, 0x01, "open");
        add_text(&stream, first, "another");
        expect("E 1002 \n");
        add_text(&stream, 0x02, "open");
        add_text(&stream, 0x89, "!");
        add_text(&stream, 0x80 | first, "another");
        expect("P !\nE 1002 \n");
    }
}

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

static const char *const valid_texts[] = {
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
    "\xc2\x80",
    "\xdf\xbf",
    "\xe0\xa0\x80",
    "\xed\x9f\xbf",
    "\xee\x80\x80",
    "\xef\xbf\xbd",
    "\xef\xbf\xbe",
    "\xef\xbf\xbf",
    "\xf0\x90\x80\x80",
    "\xf4\x8f\xbf\xbf",
    "a\x7f\xc3\xa9z",
    "plain ASCII that is longer than one block of sixteen \xf0\x9f\x98\x80 and goes on after it",
};

/* Broken at the byte of this index: everything before could still become valid. */
static const struct {
    const char *text;
    size_t at;
} invalid_texts[] = {
    {"\x80", 0},
    {"\xbf", 0},
    {"\xc0\x80", 0},
    {"\xc1\xbf", 0}, /* overlong */
    {"\xe0\x80\x80", 1},
    {"\xe0\x9f\xbf", 1},
    {"\xf0\x80\x80\x80", 1},
    {"\xf0\x8f\xbf\xbf", 1},
    {"\xf8\x88\x80\x80\x80", 0},
    {"\xfc\x84\x80\x80\x80\x80", 0},
    {"\xed\xa0\x80", 1},
    {"\xed\xbf\xbf", 1}, /* surrogates */
    {"\xed\xad\xbf\xed\xb0\x80", 1},
    {"\xf4\x90\x80\x80", 1},
    {"\xf5\x80\x80\x80", 0}, /* over U+10FFFF */
    {"\xfe", 0},
    {"\xff", 0},
    {"\xce\xba\xe1\xbd\xb9\xed\xa0\x80xyz", 6},
    {"abc\xc3(", 4},
    {"\xe2\x28\xa1", 1},
    {"\xf0\x9f\x98z", 3},
    {"sixteen bytes of ASCII and then some: \xff", 38},
};

static void valid_text_passes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(valid_texts) / sizeof(valid_texts[0]); i++) {
        const char *text = valid_texts[i];
        size_t len = strlen(text);
        struct rt_buf log = RT_BUF_INIT;
        struct rt_ws_item item = {.data = (uint8_t *)(uintptr_t)text, .len = len, .text = true};
        log_item(&log, RT_WS_GOT_MESSAGE, &item);
        const char *wanted = rt_buf_cstr(&log);
        add_text(&stream, 0x81, text);
        expect(wanted);
        /* characters cut between fragments, and a fragment for each byte */
        for (size_t cut = 0; cut <= len; cut++) {
            add_frame(&stream, 0x01, text, cut);
            add_frame(&stream, 0x80, text + cut, len - cut);
            expect_cut(wanted, 0, SIZE_MAX);
            expect_cut(wanted, 0, 1);
            rt_buf_clear(&stream);
        }
        for (size_t at = 0; at < len; at++)
            add_frame(&stream, (at + 1 == len ? 0x80 : 0) | (at == 0 ? 1 : 0), text + at, 1);
        expect(wanted);
        rt_buf_deinit(&log);
    }
}

static void invalid_text_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(invalid_texts) / sizeof(invalid_texts[0]); i++) {
        const char *text = invalid_texts[i].text;
        add_text(&stream, 0x81, text);
        expect("E 1007 \n");
        add_text(&stream, 0x01, "ok ");
        add_text(&stream, 0x00, text);
        add_text(&stream, 0x80, " ok");
        expect("E 1007 \n");
        add_text(&stream, 0x82, text); /* binary is not looked at */
        struct rt_buf log = RT_BUF_INIT;
        struct rt_ws_item item = {.data = (uint8_t *)(uintptr_t)text, .len = strlen(text)};
        log_item(&log, RT_WS_GOT_MESSAGE, &item);
        expect(rt_buf_cstr(&log));
        rt_buf_deinit(&log);
    }
    /* cut off in a character */
    for (size_t len = 1; len < 4; len++) {
        add_frame(&stream, 0x81, "\xf0\x9f\x98\x80", len);
        expect("E 1007 \n");
        add_frame(&stream, 0x01, "\xf0\x9f\x98\x80", len);
        add_text(&stream, 0x80, "");
        expect("E 1007 \n");
    }
}

/* The error comes with the first impossible byte, though frame and message go on. */
static void invalid_text_fails_fast(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(invalid_texts) / sizeof(invalid_texts[0]); i++) {
        const char *text = invalid_texts[i].text;
        for (unsigned fin = 0; fin <= 0x80; fin += 0x80) {
            struct rt_buf log = RT_BUF_INIT;
            struct rt_ws_recv r = receiver();
            char payload[120] = {0};
            memcpy(payload, text, strlen(text));
            add_frame(&stream, fin | 1, payload, sizeof(payload));
            size_t first_bad = 6 + invalid_texts[i].at;
            for (size_t at = 0; at < first_bad; at++)
                feed_recv(&r, stream.data + at, 1, &log);
            assert_int_equal(log.len, 0);
            feed_recv(&r, stream.data + first_bad, 1, &log);
            assert_string_equal(rt_buf_cstr(&log), "E 1007 \n");
            rt_ws_recv_reset(&r);
            rt_buf_deinit(&log);
            rt_buf_clear(&stream);
        }
    }
}

/* ---- closing -------------------------------------------------------------------------------- */

static void closes(void **state)
{
    static const unsigned good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                    1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    static const unsigned bad[] = {0,    1,    999,  1004, 1005, 1006, 1015,
                                   1016, 1100, 2000, 2999, 5000, 9999, 65535};
    char wanted[64];
    (void)state;
    add_text(&stream, 0x88, "");
    expect("C 1005 \n");
    add_text(&stream, 0x88, "\x03");
    expect("E 1002 \n");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        add_text(&stream, 0x81, "last");
        add_close(&stream, good[i], "bye");
        add_text(&stream, 0x81, "ignored");
        add_text(&stream, 0x89, "ignored");
        add_close(&stream, 1000, "");
        snprintf(wanted, sizeof(wanted), "T last\nC %u bye\n", good[i]);
        expect(wanted);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        add_close(&stream, bad[i], i % 2 ? "reason" : "");
        add_text(&stream, 0x81, "ignored");
        expect("E 1002 \n");
    }
    add_close(&stream, 1000, "\xce\xba\xe1\xbd\xb9");
    expect("C 1000 \xce\xba\xe1\xbd\xb9\n");
    add_close(&stream, 1000, "\xed\xa0\x80");
    expect("E 1007 \n");
    add_close(&stream, 1000, "cut \xf0\x9f\x98");
    expect("E 1007 \n");
}

static void longest_reason(void **state)
{
    char *reason = repeated('r', 123);
    struct rt_buf log = RT_BUF_INIT;
    struct rt_ws_item item = {.data = (uint8_t *)reason, .len = 123, .code = 1000};
    (void)state;
    log_item(&log, RT_WS_GOT_CLOSE, &item);
    add_close(&stream, 1000, reason);
    expect(rt_buf_cstr(&log));
    rt_buf_deinit(&log);
    free(reason);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void big_messages_are_refused_early(void **state)
{
    static const uint8_t huge[] = {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 1,    2,    3,    4};
    char *payload = repeated('x', 1001);
    (void)state;
    max_message = 1000;
    /* with the header, no byte of payload */
    rt_buf_add(&stream, huge, sizeof(huge));
    expect("E 1009 \n");
    add_frame(&stream, 0x82, payload, 1001);
    stream.len = 8;
    expect("E 1009 \n");
    add_frame(&stream, 0x01, payload, 400);
    add_frame(&stream, 0x00, payload, 600);
    add_frame(&stream, 0x80, "", 0);
    add_frame(&stream, 0x81, "again", 5);
    char *log = run(0, SIZE_MAX);
    assert_non_null(strstr(log, "T 1000 bytes"));
    assert_non_null(strstr(log, "T again"));
    expect(log);
    free(log);
    add_frame(&stream, 0x01, payload, 400);
    add_frame(&stream, 0x89, payload, 125); /* does not count */
    add_frame(&stream, 0x80, payload, 601);
    stream.len -= 601;
    log = run(0, SIZE_MAX);
    assert_non_null(strstr(log, "E 1009"));
    expect(log);
    free(log);
    max_message = 0;
    add_text(&stream, 0x81, "");
    add_text(&stream, 0x81, "x");
    expect("T \nE 1009 \n");
    free(payload);
}

/* A declared length allocates nothing, only what comes does. */
static void declared_lengths_cost_nothing(void **state)
{
    static const uint8_t head[] = {0x82, 0xff, 0, 0, 0, 0, 0x01, 0x00, 0, 0, 1, 2, 3, 4, 'x'};
    (void)state;
#ifdef RT_TEST
    struct rt_ws_recv r[100];
    struct rt_buf log = RT_BUF_INIT;
    long live = rt_alloc_live();
    for (size_t i = 0; i < 100; i++) {
        r[i] = receiver();
        feed_recv(&r[i], head, sizeof(head), &log);
        assert_non_null(r[i].assembly);
    }
    assert_int_equal(rt_ws_pool_lent(pool), 100);
    assert_true(rt_alloc_live() - live <= 200);
    for (size_t i = 0; i < 100; i++)
        rt_ws_recv_reset(&r[i]);
    assert_int_equal(log.len, 0);
    rt_buf_deinit(&log);
#else
    assert_int_equal(sizeof(head), 15);
#endif
}

static void nothing_is_held_between_messages(void **state)
{
    struct rt_ws_recv r = receiver();
    struct rt_buf log = RT_BUF_INIT;
    (void)state;
    add_text(&stream, 0x01, "a");
    size_t middle = stream.len;
    add_text(&stream, 0x80, "b");
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < stream.len; i++) {
            feed_recv(&r, stream.data + i, 1, &log);
            assert_int_equal(r.assembly != NULL, i + 1 < stream.len);
        }
        /* between fragments it is held */
        feed_recv(&r, stream.data, middle, &log);
        assert_non_null(r.assembly);
        feed_recv(&r, stream.data + middle, stream.len - middle, &log);
        assert_null(r.assembly);
    }
    assert_string_equal(rt_buf_cstr(&log), "T ab\nT ab\nT ab\nT ab\nT ab\nT ab\n");
    rt_buf_deinit(&log);
}

/* ---- size and number ------------------------------------------------------------------------ */

/* One message of `total` bytes in fragments of `fragment`, read in blocks as from a socket; returns the ms it took. */
static uint64_t large(size_t total, size_t fragment, bool text)
{
    char *payload = repeated(text ? 't' : '\xfe', total);
    struct rt_buf wanted = RT_BUF_INIT;
    struct rt_ws_item item = {.data = (uint8_t *)payload, .len = total, .text = text};
    log_item(&wanted, RT_WS_GOT_MESSAGE, &item);
    for (size_t at = 0; at < total; at += fragment) {
        size_t n = fragment < total - at ? fragment : total - at;
        unsigned fin = at + n == total ? 0x80 : 0;
        add_frame(&stream, fin | (at > 0 ? 0 : text ? RT_WS_TEXT : RT_WS_BINARY), payload + at, n);
    }
    uint64_t start = rt_mono_ms();
    expect_cut(rt_buf_cstr(&wanted), 0, 65536);
    uint64_t took = rt_mono_ms() - start;
    rt_buf_deinit(&wanted);
    rt_buf_clear(&stream);
    free(payload);
    return took;
}

static void large_messages(void **state)
{
    enum { MIB = 1024 * 1024 };
    (void)state;
    print_message("16 MiB text whole: %llu ms\n",
                  (unsigned long long)large(16 * MIB, 16 * MIB, true));
    print_message("16 MiB in 64 KiB: %llu ms\n", (unsigned long long)large(16 * MIB, 65536, false));
    print_message("4 MiB in 64 B: %llu ms\n", (unsigned long long)large(4 * MIB, 64, true));
    /* 65,536 fragments */
    print_message("64 KiB in 1 B: %llu ms\n", (unsigned long long)large(65536, 1, true));
    large(65536, 1300, true);
}

/* ---- the two paths against each other ------------------------------------------------------- */

static uint32_t random_state;

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % bound;
}

static void add_random_frame(bool *message_open)
{
    static const unsigned sizes[] = {1, 4, 126, 130, 300, 5000};
    uint8_t payload[70000];
    size_t len = random_below(sizes[random_below(6)]);
    unsigned kind = random_below(100), first;
    if (kind < 2)
        len = 65530 + random_below(20);
    for (size_t i = 0; i < len; i++)
        payload[i] = (uint8_t)(kind % 3 == 0 ? random_below(256) : ' ' + random_below(90));
    if (kind == 99) {
        first = random_below(256); /* anything */
    } else if (kind < 20) {
        first = 0x80 | (random_below(2) ? RT_WS_PING : RT_WS_PONG);
        len = len < 126 ? len : 125;
    } else {
        bool fin = random_below(2);
        first = (fin ? 0x80 : 0) | (*message_open ? 0 : 2 - (kind % 3 != 0));
        *message_open = !fin;
    }
    add_frame(&stream, first, payload, len);
}

static void both_paths_agree(void **state)
{
    size_t messages = 0;
    (void)state;
    for (uint32_t round = 0; round < 300; round++) {
        bool message_open = false;
        random_state = round * 7919 + 1;
        for (uint32_t n = 1 + random_below(20); n > 0; n--)
            add_random_frame(&message_open);
        char *whole = run(0, SIZE_MAX); /* the fast path wherever it can */
        expect_cut(whole, 0, 1);        /* never */
        expect_cut(whole, random_below(100), 1 + random_below(3000));
        for (const char *at = whole; (at = strchr(at, '\n')) != NULL; at++)
            messages++;
        free(whole);
        rt_buf_clear(&stream);
    }
    assert_true(messages > 1000);
}

#ifdef RT_TEST
static void out_of_memory(void **state)
{
    char *payload = repeated('x', 3000);
    (void)state;
    add_frame(&stream, 0x01, payload, 3000);
    add_frame(&stream, 0x00, payload, 3000);
    add_text(&stream, 0x89, "ping");
    add_frame(&stream, 0x80, payload, 3000);
    free(payload);
    for (unsigned long n = 1; n < 100; n++) {
        struct rt_ws_recv r = receiver();
        struct rt_ws_item item;
        bool failed = false, complete = false;
        long live = rt_alloc_live();
        rt_ws_pool_free(pool); /* what the pool keeps would not be allocated */
        rt_alloc_fail_at(n, 0);
        if (rt_ws_pool_new(NULL, &pool) == 0) {
            r.pool = pool;
            for (size_t at = 0; at < stream.len && !failed; at += 512) {
                size_t len = stream.len - at < 512 ? stream.len - at : 512;
                uint8_t *copy = malloc(len), *p = copy;
                enum rt_ws_got got;
                memcpy(copy, stream.data + at, len);
                while ((got = rt_ws_recv_next(&r, &p, &len, &item)) != RT_WS_GOT_NOTHING) {
                    complete |= got == RT_WS_GOT_MESSAGE;
                    failed |= got == RT_WS_GOT_ERROR && item.code == 1011;
                }
                free(copy);
            }
            rt_ws_recv_reset(&r);
        } else {
            rt_alloc_fail_at(0, 0);
            assert_int_equal(rt_ws_pool_new(NULL, &pool), 0);
            continue;
        }
        bool planned = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(failed, planned);
        assert_int_equal(complete, !planned);
        assert_true(rt_alloc_live() <= live + 3);
        if (!planned) {
            assert_true(n > 3);
            rt_buf_clear(&stream);
            return;
        }
    }
    fail_msg("never without a failure");
}
#endif

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_length_form),
        TEST(longer_forms_are_refused),
        TEST(frames_must_be_masked),
        TEST(servers_do_not_mask),
        TEST(pings_and_pongs),
        TEST(all_ping_lengths),
        TEST(long_control_frames_are_refused),
        TEST(reserved_bits_are_refused),
        TEST(reserved_opcodes_are_refused),
        TEST(fragments_become_messages),
        TEST(wrong_orders_are_refused),
        TEST(valid_text_passes),
        TEST(invalid_text_is_refused),
        TEST(invalid_text_fails_fast),
        TEST(closes),
        TEST(longest_reason),
        TEST(big_messages_are_refused_early),
        TEST(declared_lengths_cost_nothing),
        TEST(nothing_is_held_between_messages),
        TEST(large_messages),
        TEST(both_paths_agree),
#ifdef RT_TEST
        TEST(out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
