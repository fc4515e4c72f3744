/* Messages as Kafka records and back; records of other producers; headers that contradict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rand.h"
#include "journal/record.h"

static void expect_same(const struct rt_message *got, const struct rt_message *want)
{
    assert_true(rt_str_eq(got->data, want->data));
    assert_true(rt_str_eq(got->event, want->event));
    assert_int_equal(got->event.ptr != NULL, want->event.ptr != NULL);
    assert_true(rt_str_eq(got->publisher, want->publisher));
    assert_int_equal(got->publisher.ptr != NULL, want->publisher.ptr != NULL);
    assert_true(rt_str_eq(got->key, want->key));
    assert_true(rt_str_eq(got->except_in, want->except_in));
    assert_memory_equal(got->id, want->id, 16);
    assert_int_equal(got->time, want->time);
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->flags, want->flags & ~(unsigned)RT_MESSAGE_VOLATILE);
    assert_int_equal(got->attachment_count, want->attachment_count);
    for (size_t i = 0; i < got->attachment_count; i++)
        assert_true(rt_str_eq(got->attachments[i], want->attachments[i]));
}

static void test_there_and_back(void **state)
{
    (void)state;
    const struct rt_str attachments[3] = {RT_STR("\0\1\2"), RT_STR(""), RT_STR("third")};
    const struct rt_message messages[] = {
        {.event = RT_STR("say"),
         .data = RT_STR("[1,{\"_placeholder\":true,\"num\":0}]"),
         .attachments = attachments,
         .attachment_count = 3,
         .kind = RT_KIND_JSON,
         .flags = RT_MESSAGE_ARGS | RT_MESSAGE_COPY | RT_MESSAGE_VOLATILE,
         .id = {1, 2, 3, 0x40, 0xff},
         .time = UINT64_MAX,
         .except = 77,
         .publisher = RT_STR("anna"),
         .key = RT_STR("k\xc3\xa4y"),
         .except_in = RT_STR("out")},
        {.kind = RT_KIND_BYTES,
         .data = RT_STR("a\0b\xff"),
         .time = 5,
         .flags = RT_MESSAGE_NOT_SENDER,
         .publisher = RT_STR("socket"),
         .except_in = RT_STR("/n#a\nb")},
        {.kind = RT_KIND_TEXT, .data = RT_STR("{\"text\":1}"), .event = RT_STR("")},
        {.kind = RT_KIND_JSON, .data = RT_STR("12345678901234567890.10")},
        {.kind = RT_KIND_TEXT, .data = RT_STR("")},
    };
    long live = rt_alloc_live();
    struct rt_buf scratch = RT_BUF_INIT;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct rt_record_header headers[RT_RECORD_HEADERS];
        struct rt_stored *got = NULL;
        size_t count = rt_record_headers(&messages[i], &scratch, headers);
        assert_in_range(count, 3, RT_RECORD_HEADERS - 3);
        assert_int_equal(rt_record_read(messages[i].data, headers, count, 42 + i, 1, &got, NULL),
                         0);
        expect_same(&got->m, &messages[i]);
        assert_int_equal(got->m.offset, 42 + i);
        assert_int_equal(got->m.except, 0);
        assert_int_equal(got->refs, 1);
        rt_stored_unref(got);
    }
    rt_buf_deinit(&scratch);
    assert_int_equal(rt_alloc_live(), live);
}

static void test_known_headers(void **state)
{
    (void)state;
    const struct rt_message m = {.kind = RT_KIND_JSON,
                                 .data = RT_STR("{}"),
                                 .id = {0x01, 0x93, 0xab, 0, 0, 0, 0x70, 0, 0x80},
                                 .time = 1764000000123,
                                 .event = RT_STR("e"),
                                 .publisher = RT_STR("p"),
                                 .key = RT_STR("k")};
    const struct rt_record_header want[] = {
        {"rt-id", RT_STR("0193ab00-0000-7000-8000-000000000000")},
        {"rt-time", RT_STR("1764000000123")},
        {"rt-kind", RT_STR("json")},
        {"rt-event", RT_STR("e")},
        {"rt-publisher", RT_STR("p")},
        {"rt-key", RT_STR("k")},
    };
    struct rt_record_header headers[RT_RECORD_HEADERS];
    struct rt_buf scratch = RT_BUF_INIT;
    assert_int_equal(rt_record_headers(&m, &scratch, headers), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(headers[i].name, want[i].name);
        assert_true(rt_str_eq(headers[i].value, want[i].value));
    }
    assert_true(rt_str_eq(rt_record_header(headers, 6, "rt-key"), RT_STR("k")));
    assert_null(rt_record_header(headers, 6, "rt-none").ptr);
    rt_buf_deinit(&scratch);
}

/* Whoever knows the three plain kinds alone finds no message in a record that is not for all. */
static void test_left_out(void **state)
{
    (void)state;
    const struct rt_message m = {
        .kind = RT_KIND_TEXT, .data = RT_STR("x"), .except_in = RT_STR("a\nb")};
    struct rt_record_header headers[RT_RECORD_HEADERS];
    struct rt_buf scratch = RT_BUF_INIT;
    struct rt_stored *got = NULL;
    size_t count = rt_record_headers(&m, &scratch, headers);
    assert_true(rt_str_eq(rt_record_header(headers, count, "rt-kind"), RT_STR("text; except")));
    assert_true(rt_str_eq(rt_record_header(headers, count, "rt-except-in"), RT_STR("a\nb")));
    rt_buf_deinit(&scratch);

    struct rt_record_header own[] = {{"rt-kind", RT_STR("json; except")}, {"rt-except-in", {0}}};
    assert_int_equal(rt_record_read(RT_STR("1"), own, 1, 1, 1, &got, NULL), RT_EINVAL);
    assert_int_equal(rt_record_read(RT_STR("1"), own, 2, 1, 1, &got, NULL), RT_EINVAL);
    struct rt_buf names = RT_BUF_INIT;
    for (int i = 0; i < RT_MAX_EXCEPTED; i++)
        rt_buf_add_c(&names, i ? "\nab" : "ab");
    own[1].value = rt_buf_str(&names);
    assert_int_equal(rt_record_read(RT_STR("1"), own, 2, 1, 1, &got, NULL), 0);
    assert_true(rt_str_eq(got->m.except_in, rt_buf_str(&names)));
    rt_stored_unref(got);
    rt_buf_add_c(&names, "\nab");
    own[1].value = rt_buf_str(&names);
    assert_int_equal(rt_record_read(RT_STR("1"), own, 2, 1, 1, &got, NULL), RT_EINVAL);
    own[1].value = RT_STR("\xff");
    assert_int_equal(rt_record_read(RT_STR("1"), own, 2, 1, 1, &got, NULL), RT_EINVAL);
    own[0].value = RT_STR("json; what is yet to come");
    assert_int_equal(rt_record_read(RT_STR("1"), own, 1, 1, 1, &got, NULL), RT_EINVAL);
    rt_buf_deinit(&names);
}

static struct rt_stored *foreign(struct rt_str value, uint64_t offset, uint64_t timestamp)
{
    const struct rt_record_header headers[] = {{"traceparent", RT_STR("\xff")},
                                               {"rt-unknown", RT_STR_NONE}};
    struct rt_stored *got = NULL;
    assert_int_equal(rt_record_read(value, headers, 2, offset, timestamp, &got, NULL), 0);
    assert_int_equal(got->m.time, timestamp);
    assert_int_equal(got->m.id[6] >> 4, 8); /* version */
    assert_int_equal(got->m.id[8] >> 6, 2); /* variant */
    return got;
}

static void expect_foreign(struct rt_str value, int kind, struct rt_str data)
{
    struct rt_stored *got = foreign(value, 7, 1000);
    assert_int_equal(got->m.kind, kind);
    assert_true(rt_str_eq(got->m.data, data));
    rt_stored_unref(got);
}

static void test_other_producers(void **state)
{
    (void)state;
    expect_foreign(RT_STR(" {\"a\":1}\n"), RT_KIND_JSON, RT_STR("{\"a\":1}"));
    expect_foreign(RT_STR("12"), RT_KIND_JSON, RT_STR("12"));
    expect_foreign(RT_STR("hello"), RT_KIND_TEXT, RT_STR("hello"));
    expect_foreign(RT_STR("1 2"), RT_KIND_TEXT, RT_STR("1 2"));
    expect_foreign(RT_STR(""), RT_KIND_TEXT, RT_STR(""));
    expect_foreign(RT_STR_NONE, RT_KIND_TEXT, RT_STR(""));
    expect_foreign(RT_STR("a\xff"), RT_KIND_BYTES, RT_STR("a\xff"));
    /* The same record has the same id on every node, another one another. */
    struct rt_stored *a = foreign(RT_STR("x"), 7, 1000);
    struct rt_stored *others[] = {foreign(RT_STR("x"), 8, 1000), foreign(RT_STR("x"), 7, 1001),
                                  foreign(RT_STR("y"), 7, 1000)};
    struct rt_stored *again = foreign(RT_STR("x"), 7, 1000);
    assert_memory_equal(a->m.id, again->m.id, 16);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_not_equal(a->m.id, others[i]->m.id, 16);
        rt_stored_unref(others[i]);
    }
    rt_stored_unref(a);
    rt_stored_unref(again);
    /* Some of our headers are welcome. */
    const struct rt_record_header some[] = {{"rt-event", RT_STR("say")},
                                            {"rt-kind", RT_STR("text")}};
    assert_int_equal(rt_record_read(RT_STR("1"), some, 2, 1, 2, &a, NULL), 0);
    assert_int_equal(a->m.kind, RT_KIND_TEXT);
    assert_true(rt_str_eq(a->m.event, RT_STR("say")));
    rt_stored_unref(a);
}

static void expect_refused(struct rt_str value, const char *name, struct rt_str header)
{
    struct rt_record_header headers[] = {{name, header}};
    struct rt_stored *got = NULL;
    struct rt_err err = {0};
    assert_int_equal(rt_record_read(value, headers, 1, 1, 1, &got, &err), RT_EINVAL);
    assert_int_equal(err.code, RT_EINVAL);
    assert_non_null(strstr(err.text, "rt-"));
    assert_null(got);
}

static void test_contradictions(void **state)
{
    (void)state;
    static const char *const ids[] = {
        "", "0193ab00-0000-7000-8000-00000000000", "0193ab00-0000-7000-8000-0000000000000",
        "0193ab00x0000-7000-8000-000000000000", "0193ab00-0000-7000-8000-00000000000g"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        expect_refused(RT_STR("1"), "rt-id", rt_str_c(ids[i]));
    expect_refused(RT_STR("1"), "rt-id", RT_STR_NONE);
    expect_refused(RT_STR("1"), "rt-time", RT_STR("-1"));
    expect_refused(RT_STR("1"), "rt-time", RT_STR("18446744073709551616"));
    expect_refused(RT_STR("1"), "rt-kind", RT_STR("JSON"));
    expect_refused(RT_STR("{"), "rt-kind", RT_STR("json"));
    expect_refused(RT_STR("1 2"), "rt-kind", RT_STR("json"));
    expect_refused(RT_STR_NONE, "rt-kind", RT_STR("json"));
    expect_refused(RT_STR("\xff"), "rt-kind", RT_STR("text"));
    expect_refused(RT_STR("{}"), "rt-args", RT_STR("1"));
    expect_refused(RT_STR("text"), "rt-args", RT_STR("1"));
    expect_refused(RT_STR("text"), "rt-attachment", RT_STR("x"));
    expect_refused(RT_STR("1"), "rt-event", RT_STR("\xc0"));
    expect_refused(RT_STR("1"), "rt-publisher", RT_STR("\xc0"));
    char key[RT_RECORD_KEY + 1];
    memset(key, 'k', sizeof(key));
    expect_refused(RT_STR("1"), "rt-key", rt_str_of(key, sizeof(key)));
    struct rt_record_header many[RT_MAX_ATTACHMENTS + 1];
    struct rt_stored *got = NULL;
    for (size_t i = 0; i <= RT_MAX_ATTACHMENTS; i++)
        many[i] = (struct rt_record_header){"rt-attachment", RT_STR("x")};
    assert_int_equal(rt_record_read(RT_STR("[]"), many, RT_MAX_ATTACHMENTS, 1, 1, &got, NULL), 0);
    assert_int_equal(got->m.attachment_count, RT_MAX_ATTACHMENTS);
    rt_stored_unref(got);
    assert_int_equal(rt_record_read(RT_STR("[]"), many, RT_MAX_ATTACHMENTS + 1, 1, 1, &got, NULL),
                     RT_EINVAL);
}

/* A kind that is not known: of ours it is a newer version's, whatever else it says; of another program it is wrong. */
static void test_newer_version(void **state)
{
    (void)state;
    char key[RT_RECORD_KEY + 9];
    memset(key, 'k', sizeof(key));
    const struct rt_record_header ours[] = {{"rt-key", rt_str_of(key, sizeof(key))},
                                            {"rt-kind", RT_STR("cbor")},
                                            {RT_HEADER_EPOCH, RT_STR("AAAAAAAAAA@3/4")}};
    struct rt_stored *got = NULL;
    struct rt_err err = {0};
    assert_int_equal(rt_record_read(RT_STR("\xa0"), ours, 3, 4, 1, &got, &err), RT_ENEWER);
    assert_int_equal(err.code, RT_ENEWER);
    assert_non_null(strstr(err.text, "\"cbor\""));
    assert_null(got);
    assert_int_equal(rt_record_read(RT_STR("\xa0"), ours, 2, 4, 1, &got, &err), RT_EINVAL);
    /* Who can read the kind knows what is wrong. */
    const struct rt_record_header wrong[] = {
        {"rt-kind", RT_STR("json")}, ours[2], {"rt-time", RT_STR("x")}};
    assert_int_equal(rt_record_read(RT_STR("1"), wrong, 3, 4, 1, &got, &err), RT_EINVAL);
    const struct rt_record_header no_evidence[] = {ours[1], {RT_HEADER_EPOCH, RT_STR("mine")}};
    assert_int_equal(rt_record_read(RT_STR("1"), no_evidence, 2, 4, 1, &got, &err), RT_EINVAL);
}

static void test_marker_and_channel(void **state)
{
    (void)state;
    const struct rt_record_header marker[] = {{RT_HEADER_MARKER, RT_STR("1")}};
    struct rt_stored *got = NULL;
    assert_int_equal(rt_record_read(RT_STR_NONE, marker, 1, 1, 1, &got, NULL), RT_ENOENT);
    assert_true(rt_record_channel_valid(RT_STR("chat:\xc3\xa4")));
    assert_false(rt_record_channel_valid(RT_STR_NONE));
    assert_false(rt_record_channel_valid(RT_STR("a\nb")));
    assert_false(rt_record_channel_valid(RT_STR("\xff")));
    static char name[RT_RECORD_CHANNEL + 1];
    memset(name, 'n', sizeof(name));
    assert_true(rt_record_channel_valid(rt_str_of(name, RT_RECORD_CHANNEL)));
    assert_false(rt_record_channel_valid(rt_str_of(name, RT_RECORD_CHANNEL + 1)));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const struct rt_message m = {.kind = RT_KIND_TEXT, .data = RT_STR("x")};
    struct rt_record_header headers[RT_RECORD_HEADERS];
    struct rt_buf scratch = RT_BUF_INIT;
    struct rt_stored *got = NULL;
    rt_alloc_fail_at(1, 0);
    assert_int_equal(rt_record_headers(&m, &scratch, headers), 0);
    rt_alloc_fail_at(1, 0);
    assert_int_equal(rt_record_read(RT_STR("x"), NULL, 0, 1, 1, &got, NULL), RT_ENOMEM);
    rt_alloc_fail_at(0, 0);
    assert_int_equal(rt_record_headers(&m, &scratch, headers), 3); /* works again */
    rt_buf_deinit(&scratch);
}

/* Any bytes in headers and value: an answer, and nothing else happens. */
static void test_garbage(void **state)
{
    (void)state;
    static const char *const names[] = {"rt-id",   "rt-time",      "rt-kind", "rt-event",
                                        "rt-args", "rt-publisher", "rt-key",  "rt-attachment"};
    for (int round = 0; round < 20000; round++) {
        char bytes[4][40];
        struct rt_record_header headers[3];
        rt_random(bytes, sizeof(bytes));
        for (size_t i = 0; i < 3; i++)
            headers[i] = (struct rt_record_header){names[rt_random_below(8)],
                                                   rt_str_of(bytes[i], rt_random_below(40))};
        struct rt_stored *got = NULL;
        int code = rt_record_read(rt_str_of(bytes[3], rt_random_below(40)), headers,
                                  rt_random_below(4), 1, 1, &got, NULL);
        assert_true(code == 0 ? got != NULL : code == RT_EINVAL && got == NULL);
        rt_stored_unref(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_known_headers),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_other_producers),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_newer_version),
        cmocka_unit_test(test_marker_and_channel),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
