/* Messages that go to several channels at once, with a copy for each (RT_MESSAGE_COPY). */
#include "unit/hub/hub_test.h"

static const struct rt_encoding ONCE = {.encode = encode, .rooms = true};

static void publish_copy(struct rt_hub *hub, const char *channel, const char *text, uint8_t message,
                         uint8_t copy, uint64_t except)
{
    struct rt_message m = {.data = rt_str_c(text),
                           .flags = RT_MESSAGE_COPY,
                           .id = {message, [15] = copy},
                           .except = except};
    assert_int_equal(rt_hub_publish(hub, rt_str_c(channel), &m), 0);
}

static void who_is_in_several_channels_gets_one_copy(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener l[4];
    for (int i = 0; i < 4; i++)
        listen(&l[i], hub, i < 3 ? &ONCE : &PLAIN);
    join(&l[0], "a");
    join(&l[1], "b");
    join(&l[1], "a");
    join(&l[1], "c");
    join(&l[2], "c");
    join(&l[3], "a"); /* each channel has its own position there */
    join(&l[3], "b");
    for (int turn = 0; turn < 2; turn++) { /* in one turn; with a turn between the copies */
        const char *channels[] = {"a", "b", "c"};
        for (uint8_t i = 0; i < 3; i++) {
            publish_copy(hub, channels[i], "1", (uint8_t)(1 + turn), i, 0);
            if (turn)
                rt_hub_flush(hub);
        }
        publish_copy(hub, "b", "2", (uint8_t)(11 + turn), 0, 0); /* another message */
        rt_hub_flush(hub);
        expect(&l[0], "1 ");
        expect(&l[1], "1 2 ");
        expect(&l[2], "1 ");
        expect(&l[3], "1 1 2 ");
    }
    /* Not for its sender, in none of them. */
    publish_copy(hub, "a", "x", 3, 0, l[1].sub.id);
    publish_copy(hub, "b", "x", 3, 1, l[1].sub.id);
    rt_hub_flush(hub);
    expect(&l[1], "");
    for (int i = 0; i < 4; i++)
        forget(&l[i]);
    rt_hub_free(hub);
}

/* Copies come at different moments: what counts is what one was given. */
static void nobody_misses_both_copies(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener late, leaver, caught, moved;
    listen(&late, hub, &ONCE);
    listen(&leaver, hub, &ONCE);
    listen(&caught, hub, &ONCE);
    listen(&moved, hub, &ONCE);
    join(&late, "b");
    join(&leaver, "a");
    join(&leaver, "b");
    join(&caught, "b");
    join(&caught, "a");
    join(&moved, "a");
    join(&moved, "b");
    publish_copy(hub, "a", "m", 1, 0, 0);
    join(&late, "a"); /* it came too late for the first one */
    rt_hub_catch_up(hub, &caught.sub);
    assert_int_equal(rt_hub_set_encoding(hub, &moved.sub, &UPPER), 0);
    assert_int_equal(rt_hub_set_encoding(hub, &moved.sub, &ONCE), 0);
    assert_int_equal(rt_hub_unsubscribe(hub, &leaver.sub, RT_STR("a")), 0);
    publish_copy(hub, "b", "m", 1, 1, 0);
    rt_hub_catch_up(hub, &caught.sub);
    rt_hub_flush(hub);
    expect(&late, "m ");
    expect(&caught, "m ");
    expect(&moved, "m ");
    expect(&leaver, "m m "); /* rather twice than never */
    struct rt_message m = {.flags = RT_MESSAGE_COPY, .id = {1, [15] = 7}};
    const struct rt_channel *a = rt_hub_channel(hub, RT_STR("a"), false);
    assert_int_equal(rt_hub_copy_stamp(hub, &m, a), 1);
    rt_hub_set_time(hub, 300001); /* forgotten after five minutes */
    (void)rt_hub_expire(hub);
    assert_int_equal(rt_hub_copy_stamp(hub, &m, a), 0);
    publish_copy(hub, "b", "m", 1, 1, 0);
    rt_hub_flush(hub);
    expect(&caught, "m ");
    forget(&late);
    forget(&leaver);
    forget(&caught);
    forget(&moved);
    rt_hub_free(hub);
}

/* Copies in any order, between people who come and go: whoever was in a channel when a copy came has the message, once unless it has left a channel
 * that had given it. */
static void copies_against_a_model(void **state)
{
    enum { WHO = 5, WHERE = 4, ROUNDS = 3000 };
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener l[WHO];
    bool in[WHO][WHERE] = {{false}};
    unsigned seed = 7;
#define DRAW(n) ((seed = seed * 1103515245u + 12345u) >> 16) % (n)
    static const char *const names[WHERE] = {"a", "b", "kept", "d"};
    for (int who = 0; who < WHO; who++)
        listen(&l[who], hub, &ONCE);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        bool given[WHO][WHERE] = {{false}}, has[WHO] = {false}, left[WHO] = {false};
        unsigned order = DRAW(WHERE), copies = 1 + DRAW(WHERE);
        for (unsigned copy = 0; copy < copies; copy++) {
            unsigned where = (order + copy * (copies % 2 ? 3 : 1)) % WHERE;
            for (unsigned moves = DRAW(4); moves > 0; moves--) {
                unsigned who = DRAW(WHO), room = DRAW(WHERE);
                if (!in[who][room]) {
                    join(&l[who], names[room]);
                } else {
                    assert_int_equal(rt_hub_unsubscribe(hub, &l[who].sub, rt_str_c(names[room])),
                                     0);
                    left[who] |= given[who][room];
                }
                in[who][room] = !in[who][room];
            }
            struct rt_message m = {
                .data = RT_STR("m"), .flags = RT_MESSAGE_COPY, .offset = where == 2 ? round : 0};
            memcpy(m.id, &round, sizeof(round));
            m.id[15] = (uint8_t)copy;
            assert_int_equal(rt_hub_publish(hub, rt_str_c(names[where]), &m), 0);
            for (int who = 0; who < WHO; who++)
                has[who] |= given[who][where] |= in[who][where];
            if (DRAW(2))
                rt_hub_flush(hub);
            if (DRAW(2))
                rt_hub_catch_up(hub, &l[DRAW(WHO)].sub);
        }
        rt_hub_flush(hub);
        for (int who = 0; who < WHO; who++) {
            size_t got = l[who].got.len / 2;
            if (got < has[who] || (got > has[who] && !left[who]))
                fail_msg("round %u: %d got %zu, due %d", round, who, got, has[who]);
            rt_buf_clear(&l[who].got);
        }
    }
#undef DRAW
    for (int who = 0; who < WHO; who++)
        forget(&l[who]);
    rt_hub_free(hub);
}

/* Whoever publishes to many channels at once cannot make the table grow for ever. */
static void copies_are_forgotten_when_there_are_too_many(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener l;
    listen(&l, hub, &ONCE);
    join(&l, "a");
    struct rt_message first = {.flags = RT_MESSAGE_COPY, .data = RT_STR("m")}, m = first;
    const struct rt_channel *a = rt_hub_channel(hub, RT_STR("a"), false);
    for (uint32_t i = 0; i < 4097; i++) {
        memcpy(m.id, &i, sizeof(i));
        assert_int_equal(rt_hub_publish(hub, RT_STR("a"), &m), 0);
        assert_true(rt_hub_copy_stamp(hub, &m, a) == i + 1);
        assert_true(rt_hub_copy_stamp(hub, &first, a) == (i < 4096 ? 1 : 0));
    }
    forget(&l);
    rt_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_in_several_channels_gets_one_copy),
        cmocka_unit_test(nobody_misses_both_copies),
        cmocka_unit_test(copies_against_a_model),
        cmocka_unit_test(copies_are_forgotten_when_there_are_too_many),
    };
    return cmocka_run_group_tests_name("hub/copies", tests, NULL, NULL);
}
