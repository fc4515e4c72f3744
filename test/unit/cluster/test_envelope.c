#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/envelope.h"

static struct rt_str parts[] = {{"\0\1", 2}, {NULL, 0}, {"three", 5}};

static struct rt_parcel sample(void)
{
    struct rt_parcel p = {.node = RT_STR("n1"),
                          .channel = RT_STR("chat:lobby"),
                          .logged = true,
                          .partition = 7,
                          .epoch = RT_STR("e1.7"),
                          .message = {.event = RT_STR("message"),
                                      .data = RT_STR("{\"a\":1}"),
                                      .attachments = parts,
                                      .attachment_count = 3,
                                      .kind = RT_KIND_JSON,
                                      .flags = RT_MESSAGE_ARGS,
                                      .id = {1, 2, 3, 0xff},
                                      .time = UINT64_C(1795505624416),
                                      .offset = UINT64_C(1) << 40,
                                      .publisher = RT_STR("me"),
                                      .key = RT_STR("k")}};
    return p;
}

static void expect_sample(const struct rt_parcel *p)
{
    struct rt_parcel s = sample();
    assert_true(rt_str_eq(p->node, s.node));
    assert_true(rt_str_eq(p->channel, s.channel));
    assert_true(p->logged);
    assert_int_equal(p->partition, 7);
    assert_true(rt_str_eq(p->epoch, s.epoch));
    assert_true(rt_str_eq(p->message.event, s.message.event));
    assert_true(rt_str_eq(p->message.data, s.message.data));
    assert_true(rt_str_eq(p->message.publisher, s.message.publisher));
    assert_true(rt_str_eq(p->message.key, s.message.key));
    assert_int_equal(p->message.attachment_count, 3);
    for (int i = 0; i < 3; i++)
        assert_true(rt_str_eq(p->message.attachments[i], parts[i]));
    assert_memory_equal(p->message.id, s.message.id, 16);
    assert_true(p->message.time == s.message.time && p->message.offset == s.message.offset);
    assert_int_equal(p->message.kind, s.message.kind);
    assert_int_equal(p->message.flags, s.message.flags);
}

static void what_was_sent_arrives(void **state)
{
    (void)state;
    for (int secret = 0; secret < 2; secret++) {
        struct rt_str key = secret ? RT_STR("secret") : RT_STR_NONE;
        struct rt_parcel in = sample(), out;
        struct rt_str attachments[RT_MAX_ATTACHMENTS];
        struct rt_buf bytes = RT_BUF_INIT;
        rt_parcel_encode(&bytes, key, &in);
        assert_true(rt_buf_ok(&bytes));
        assert_int_equal(rt_parcel_decode(rt_buf_str(&bytes), key, attachments, &out, NULL), 0);
        expect_sample(&out);
        rt_buf_deinit(&bytes);
    }
}

static void an_ephemeral_message_has_no_position(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_buf bytes = RT_BUF_INIT;
    in.logged = false;
    rt_parcel_encode(&bytes, RT_STR_NONE, &in);
    assert_int_equal(rt_parcel_decode(rt_buf_str(&bytes), RT_STR_NONE, attachments, &out, NULL), 0);
    assert_false(out.logged);
    assert_true(out.message.offset == 0);
    assert_true(rt_str_eq(out.message.data, in.message.data));
    rt_buf_deinit(&bytes);
}

static void a_secret_keeps_strangers_out(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_buf plain = RT_BUF_INIT, other = RT_BUF_INIT, good = RT_BUF_INIT;
    rt_parcel_encode(&plain, RT_STR_NONE, &in);
    rt_parcel_encode(&other, RT_STR("another"), &in);
    rt_parcel_encode(&good, RT_STR("secret"), &in);
    struct rt_str secret = RT_STR("secret");
    assert_int_equal(rt_parcel_decode(rt_buf_str(&plain), secret, attachments, &out, NULL),
                     RT_EPERM);
    assert_int_equal(rt_parcel_decode(rt_buf_str(&other), secret, attachments, &out, NULL),
                     RT_EPERM);
    for (size_t i = 4; i < good.len; i++) { /* any changed byte */
        good.data[i] ^= 1;
        assert_int_equal(rt_parcel_decode(rt_buf_str(&good), secret, attachments, &out, NULL),
                         RT_EPERM);
        good.data[i] ^= 1;
    }
    assert_int_equal(rt_parcel_decode(rt_buf_str(&good), secret, attachments, &out, NULL), 0);
    rt_buf_deinit(&plain);
    rt_buf_deinit(&other);
    rt_buf_deinit(&good);
}

static void whatever_is_cut_or_longer_is_malformed(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_buf bytes = RT_BUF_INIT;
    rt_parcel_encode(&bytes, RT_STR_NONE, &in);
    for (size_t len = 0; len < bytes.len; len++) {
        /* A copy of exactly this size, so that a read past it is seen. */
        struct rt_bytes *cut = rt_bytes_copy(bytes.data, len);
        assert_non_null(cut);
        assert_int_equal(rt_parcel_decode(rt_bytes_str(cut), RT_STR_NONE, attachments, &out, NULL),
                         RT_EINVAL);
        rt_bytes_unref(cut);
    }
    rt_buf_add_byte(&bytes, 0);
    assert_int_equal(rt_parcel_decode(rt_buf_str(&bytes), RT_STR_NONE, attachments, &out, NULL),
                     RT_EINVAL);
    rt_buf_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_arrives),
        cmocka_unit_test(an_ephemeral_message_has_no_position),
        cmocka_unit_test(a_secret_keeps_strangers_out),
        cmocka_unit_test(whatever_is_cut_or_longer_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
