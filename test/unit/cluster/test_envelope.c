#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/envelope.h"

static struct rt_str parts[] = {{"\0\1", 2}, {NULL, 0}, {"three", 5}};

#define PLACE RT_STR("p:rtbroker:7")

static const struct rt_parcel_keys none = {.mac = NULL};

static struct rt_mac *key_of(const char *secret)
{
    struct rt_mac *mac = NULL;
    assert_int_equal(rt_mac_new(rt_str_c(secret), &mac), 0);
    return mac;
}

static int decode(const struct rt_buf *bytes, const struct rt_parcel_keys *keys,
                  struct rt_str place, struct rt_parcel *ret)
{
    static struct rt_str attachments[RT_MAX_ATTACHMENTS];
    return rt_parcel_decode(rt_buf_str(bytes), keys, place, attachments, ret, NULL);
}

static struct rt_parcel sample(void)
{
    struct rt_parcel p = {.purpose = RT_FOR_RECORD,
                          .instance = UINT64_C(0x8000000000000001),
                          .sequence = UINT64_C(1) << 33,
                          .cluster = RT_STR("rtbroker"),
                          .node = RT_STR("n1"),
                          .channel = RT_STR("chat:lobby"),
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
    assert_int_equal(p->purpose, RT_FOR_RECORD);
    assert_true(rt_str_eq(p->cluster, s.cluster));
    assert_true(p->instance == s.instance && p->sequence == s.sequence);
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
        struct rt_parcel_keys keys = {.mac = secret ? key_of("secret") : NULL};
        struct rt_parcel in = sample(), out;
        struct rt_buf bytes = RT_BUF_INIT;
        rt_parcel_encode(&bytes, &keys, PLACE, &in);
        assert_true(rt_buf_ok(&bytes));
        assert_int_equal(decode(&bytes, &keys, PLACE, &out), 0);
        expect_sample(&out);
        assert_true(rt_parcel_instance(rt_buf_str(&bytes)) == in.instance);
        rt_buf_deinit(&bytes);
        rt_mac_free(keys.mac);
    }
}

/* One flag more: a node that does not know it takes the envelope for one of another version, and gives it to nobody. */
static void who_is_left_out_is_said_by_a_flag(void **state)
{
    (void)state;
    for (int secret = 0; secret < 2; secret++) {
        struct rt_parcel_keys keys = {.mac = secret ? key_of("secret") : NULL};
        struct rt_parcel in = sample(), out;
        struct rt_buf bytes = RT_BUF_INIT;
        in.message.except_in = RT_STR("room:a\nroom:b");
        rt_parcel_encode(&bytes, &keys, PLACE, &in);
        assert_int_equal(bytes.data[3], secret ? 3 : 2);
        assert_int_equal(decode(&bytes, &keys, PLACE, &out), 0);
        expect_sample(&out);
        assert_true(rt_str_eq(out.message.except_in, in.message.except_in));
        assert_true(rt_message_excepts(&out.message, RT_STR("room:b")));
        assert_false(rt_message_excepts(&out.message, RT_STR("room:")));
        rt_buf_deinit(&bytes);
        rt_mac_free(keys.mac);
    }
}

static void an_ephemeral_message_has_no_position(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_buf bytes = RT_BUF_INIT;
    in.purpose = RT_FOR_RELAY;
    rt_parcel_encode(&bytes, &none, PLACE, &in);
    assert_int_equal(decode(&bytes, &none, PLACE, &out), 0);
    assert_int_equal(out.purpose, RT_FOR_RELAY);
    assert_true(out.message.offset == 0);
    assert_true(rt_str_eq(out.message.data, in.message.data));
    rt_buf_deinit(&bytes);
}

static void a_secret_keeps_strangers_out(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_buf plain = RT_BUF_INIT, other = RT_BUF_INIT, good = RT_BUF_INIT;
    struct rt_parcel_keys another = {.mac = key_of("another")}, secret = {.mac = key_of("secret")};
    rt_parcel_encode(&plain, &none, PLACE, &in);
    rt_parcel_encode(&other, &another, PLACE, &in);
    rt_parcel_encode(&good, &secret, PLACE, &in);
    assert_int_equal(decode(&plain, &secret, PLACE, &out), RT_EPERM);
    assert_int_equal(decode(&other, &secret, PLACE, &out), RT_EPERM);
    for (size_t i = 4; i < good.len; i++) { /* any changed byte, the purpose among them */
        good.data[i] ^= 1;
        assert_int_equal(decode(&good, &secret, PLACE, &out), RT_EPERM);
        good.data[i] ^= 1;
    }
    assert_int_equal(decode(&good, &secret, PLACE, &out), 0);
    rt_buf_deinit(&plain);
    rt_buf_deinit(&other);
    rt_buf_deinit(&good);
    rt_mac_free(another.mac);
    rt_mac_free(secret.mac);
}

/* On another channel, or under another key; and no bytes can be moved from the place into the envelope or back. */
static void an_envelope_is_for_one_place(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_parcel_keys keys = {.mac = key_of("secret")};
    struct rt_buf bytes = RT_BUF_INIT, shifted = RT_BUF_INIT;
    in.message.attachment_count = 0;
    rt_parcel_encode(&bytes, &keys, RT_STR("p:a:1"), &in);
    assert_int_equal(decode(&bytes, &keys, RT_STR("p:a:1"), &out), 0);
    static const char *const others[] = {"p:a:2", "p:a:", "p:a:11", "c:p:a:1", ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(decode(&bytes, &keys, rt_str_c(others[i]), &out), RT_EPERM);
    size_t content = bytes.len - RT_MAC_LEN;
    rt_buf_add(&shifted, bytes.data, content);
    rt_buf_add_c(&shifted, "p:");
    rt_buf_add(&shifted, bytes.data + content, RT_MAC_LEN);
    assert_int_equal(decode(&shifted, &keys, RT_STR("a:1"), &out), RT_EINVAL); /* the MAC fits */
    rt_buf_deinit(&bytes);
    rt_buf_deinit(&shifted);
    rt_mac_free(keys.mac);
}

static void two_secrets_are_good_while_one_is_replaced(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_mac *former = key_of("former"), *next = key_of("next");
    struct rt_parcel_keys before = {.mac = former, .second = next};
    struct rt_parcel_keys after = {.mac = next, .second = former}, last = {.mac = next};
    struct rt_buf old = RT_BUF_INIT, new = RT_BUF_INIT;
    rt_parcel_encode(&old, &before, PLACE, &in);
    rt_parcel_encode(&new, &after, PLACE, &in);
    assert_int_equal(decode(&old, &after, PLACE, &out), 0);
    assert_int_equal(decode(&new, &before, PLACE, &out), 0);
    assert_int_equal(decode(&new, &last, PLACE, &out), 0);
    assert_int_equal(decode(&old, &last, PLACE, &out), RT_EPERM);
    rt_buf_deinit(&old);
    rt_buf_deinit(&new);
    rt_mac_free(former);
    rt_mac_free(next);
}

static void other_versions_are_told_from_rubbish(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_buf bytes = RT_BUF_INIT;
    rt_parcel_encode(&bytes, &none, PLACE, &in);
    bytes.data[2] = '1';
    assert_int_equal(decode(&bytes, &none, PLACE, &out), RT_ENOENT);
    bytes.data[0] = 'X';
    assert_int_equal(decode(&bytes, &none, PLACE, &out), RT_EINVAL);
    bytes.data[0] = 'R';
    bytes.data[2] = '2';
    bytes.data[4] = RT_FOR_STATE + 1; /* no such purpose */
    assert_int_equal(decode(&bytes, &none, PLACE, &out), RT_EINVAL);
    rt_buf_deinit(&bytes);
}

/* RFC 4231, cases 1 to 3 and 6; again and again with one key, as a node does. */
static void the_mac_is_hmac_sha256(void **state)
{
    (void)state;
    char aa[131], dd[50], b[20];
    memset(aa, 0xaa, sizeof(aa));
    memset(dd, 0xdd, sizeof(dd));
    memset(b, 0x0b, sizeof(b));
    const struct {
        struct rt_str key, data;
        const char *start;
    } cases[] = {
        {{b, 20}, RT_STR("Hi There"), "\xb0\x34\x4c\x61\xd8\xdb\x38\x53"},
        {RT_STR("Jefe"), RT_STR("what do ya want for nothing?"),
         "\x5b\xdc\xc1\x46\xbf\x60\x75\x4e"},
        {{aa, 20}, {dd, 50}, "\x77\x3e\xa9\x1e\x36\x80\x0e\x46"},
        {{aa, 131},
         RT_STR("Test Using Larger Than Block-Size Key - Hash Key First"),
         "\x60\xe4\x31\x59\x1e\xe0\xb6\x7f"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_mac *mac = NULL;
        uint8_t code[RT_MAC_LEN];
        assert_int_equal(rt_mac_new(cases[i].key, &mac), 0);
        for (int again = 0; again < 3; again++) {
            assert_true(rt_mac_make(mac, cases[i].data, RT_STR_NONE, code));
            assert_memory_equal(code, cases[i].start, 8);
            struct rt_str head = rt_str_of(cases[i].data.ptr, 5);
            struct rt_str rest = rt_str_of(head.ptr + 5, cases[i].data.len - 5);
            assert_true(rt_mac_make(mac, head, rest, code));
            assert_memory_equal(code, cases[i].start, 8);
        }
        rt_mac_free(mac);
    }
}

static void whatever_is_cut_or_longer_is_malformed(void **state)
{
    (void)state;
    struct rt_parcel in = sample(), out;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_buf bytes = RT_BUF_INIT;
    in.message.except_in = RT_STR("out");
    rt_parcel_encode(&bytes, &none, PLACE, &in);
    for (size_t len = 0; len < bytes.len; len++) {
        /* A copy of exactly this size, so that a read past it is seen. */
        struct rt_bytes *cut = rt_bytes_copy(bytes.data, len);
        assert_non_null(cut);
        assert_int_equal(rt_parcel_decode(rt_bytes_str(cut), &none, PLACE, attachments, &out, NULL),
                         RT_EINVAL);
        (void)rt_parcel_instance(rt_bytes_str(cut)); /* reads nothing behind it either */
        rt_bytes_unref(cut);
    }
    rt_buf_add_byte(&bytes, 0);
    assert_int_equal(decode(&bytes, &none, PLACE, &out), RT_EINVAL);
    rt_buf_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_arrives),
        cmocka_unit_test(who_is_left_out_is_said_by_a_flag),
        cmocka_unit_test(an_ephemeral_message_has_no_position),
        cmocka_unit_test(the_mac_is_hmac_sha256),
        cmocka_unit_test(a_secret_keeps_strangers_out),
        cmocka_unit_test(an_envelope_is_for_one_place),
        cmocka_unit_test(two_secrets_are_good_while_one_is_replaced),
        cmocka_unit_test(other_versions_are_told_from_rubbish),
        cmocka_unit_test(whatever_is_cut_or_longer_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
