/* Messages that leave out the subscribers of some channels (rt_message.except_in). */
#include "unit/hub/hub_test.h"

static const struct rt_encoding ROOMS = {.encode = encode, .rooms = true};
static const struct rt_encoding OTHERS = {.encode = encode_upper, .rooms = true};

static void publish_but(struct rt_hub *hub, const char *channel, const char *text,
                        const char *except)
{
    struct rt_message m = {.data = rt_str_c(text), .except_in = rt_str_c(except)};
    assert_int_equal(rt_hub_publish(hub, rt_str_c(channel), &m), 0);
}

static void who_is_in_an_excepted_channel_gets_nothing(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener l[4];
    for (int i = 0; i < 4; i++) {
        listen(&l[i], hub, i == 3 ? &PLAIN : i == 2 ? &OTHERS : &ROOMS);
        join(&l[i], "a");
    }
    join(&l[1], "out");
    join(&l[2], "x");
    join(&l[3], "out"); /* another protocol's: its channels are no rooms of one client */
    publish_but(hub, "a", "m", "out");
    publish_but(hub, "a", "n", "none\nx");
    publish_but(hub, "a", "o", "");
    publish_but(hub, "a", "p", "a");
    publish_but(hub, "a", "q", "ou\nt\n\nxx");
    rt_hub_flush(hub);
    expect(&l[0], "m n o q ");
    expect(&l[1], "n o q ");
    expect(&l[2], "M O Q ");
    expect(&l[3], "m n o p q ");
    for (int i = 0; i < 4; i++)
        forget(&l[i]);
    rt_hub_free(hub);
}

/* What counts is where they were when it was published, not when it is flushed. */
static void comings_and_goings_of_one_turn(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener comes, goes, back, moved, gone;
    struct listener *all[] = {&comes, &goes, &back, &moved, &gone};
    for (size_t i = 0; i < 5; i++) {
        listen(all[i], hub, &ROOMS);
        join(all[i], "a");
    }
    join(&goes, "out");
    join(&back, "out");
    join(&moved, "out");
    join(&gone, "last");
    publish_but(hub, "a", "1", "out\nlast");
    join(&comes, "out");
    assert_int_equal(rt_hub_unsubscribe(hub, &goes.sub, RT_STR("out")), 0);
    assert_int_equal(rt_hub_unsubscribe(hub, &back.sub, RT_STR("out")), 0);
    assert_int_equal(rt_hub_unsubscribe(hub, &gone.sub, RT_STR("last")), 0);
    join(&back, "out");
    assert_int_equal(rt_hub_set_encoding(hub, &moved.sub, &OTHERS), 0);
    publish_but(hub, "a", "2", "out\nlast");
    rt_hub_flush(hub);
    expect(&comes, "1 ");
    expect(&goes, "2 ");
    expect(&back, "");
    expect(&moved, "");
    expect(&gone, "2 ");
    /* The channel goes between publish and flush. */
    rt_hub_set_time(hub, 2);
    join(&gone, "last");
    publish_but(hub, "a", "3", "last");
    rt_hub_remove(hub, &gone.sub);
    rt_hub_set_time(hub, 100000);
    while (rt_hub_expire(hub))
        ;
    assert_null(rt_hub_channel(hub, RT_STR("last"), false));
    rt_hub_flush(hub);
    expect(&goes, "3 ");
    for (size_t i = 0; i < 5; i++)
        forget(all[i]);
    rt_hub_free(hub);
}

static uint64_t own_room; /* whose id is the room "own" */

static uint64_t member_of(void *arg, struct rt_str channel)
{
    (void)arg;
    return rt_str_eq(channel, RT_STR("own")) ? own_room : 0;
}

static void a_channel_may_be_the_room_of_one(void **state)
{
    (void)state;
    struct rt_hub_options options = {.memory = 1 << 20, .rule_of = rule_of, .member_of = member_of};
    struct rt_hub *hub = new_hub(1 << 20);
    rt_hub_free(hub); /* it has set the rules */
    assert_int_equal(rt_hub_new(&options, &hub), 0);
    struct listener l[2];
    for (int i = 0; i < 2; i++) {
        listen(&l[i], hub, &ROOMS);
        join(&l[i], "a");
    }
    own_room = l[1].sub.id;
    publish_but(hub, "a", "m", "own");
    rt_hub_catch_up(hub, &l[1].sub);
    rt_hub_flush(hub);
    expect(&l[0], "m ");
    expect(&l[1], "");
    for (int i = 0; i < 2; i++)
        forget(&l[i]);
    rt_hub_free(hub);
}

/* Copies of one message: who is left out gets none of them, whichever comes first; all others one. */
static void copies_are_left_out_together(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener in, out;
    listen(&in, hub, &ROOMS);
    listen(&out, hub, &ROOMS);
    for (int i = 0; i < 2; i++) {
        join(i ? &out : &in, "a");
        join(i ? &out : &in, "b");
    }
    join(&out, "x");
    for (uint8_t copy = 0; copy < 2; copy++) {
        struct rt_message m = {.data = RT_STR("m"),
                               .flags = RT_MESSAGE_COPY,
                               .id = {1, [15] = copy},
                               .except_in = RT_STR("x")};
        assert_int_equal(rt_hub_publish(hub, copy ? RT_STR("b") : RT_STR("a"), &m), 0);
        if (copy == 0)
            rt_hub_flush(hub);
    }
    rt_hub_flush(hub);
    expect(&in, "m ");
    expect(&out, "");
    forget(&in);
    forget(&out);
    rt_hub_free(hub);
}

/* Nobody gets it who should not, also when there is no memory to note it; a hub may be freed with marks. */
static void without_memory(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        struct rt_hub *hub = new_hub(1 << 20);
        struct listener in, out;
        listen(&in, hub, &ROOMS);
        listen(&out, hub, &ROOMS);
        join(&in, "kept");
        join(&out, "kept");
        join(&out, "x");
        struct rt_message m = {.data = RT_STR("m"), .offset = 1, .except_in = RT_STR("y\nx")};
        rt_alloc_fail_at(n, 0);
        int status = rt_hub_publish(hub, RT_STR("kept"), &m);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_true(failed == (status == RT_ENOMEM));
        const struct rt_channel *c = rt_hub_channel(hub, RT_STR("kept"), false);
        for (size_t i = 0; i < rt_channel_kept(c); i++)
            assert_true(rt_message_excepts(&rt_channel_kept_at(c, i)->m, RT_STR("x")));
        if (n % 2)
            rt_hub_flush(hub);
        expect(&out, "");
        if (!failed && n % 2)
            expect(&in, "m ");
        forget(&in);
        forget(&out);
        rt_hub_free(hub);
        assert_true(n < 50);
    }
    assert_int_equal(rt_alloc_live(), live);
}

/* More names than a message can have: it is not given to anybody, rather than to all. */
static void too_many_names(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener l;
    struct rt_buf names = RT_BUF_INIT;
    listen(&l, hub, &ROOMS);
    join(&l, "a");
    for (int i = 0; i <= RT_MAX_EXCEPTED; i++) {
        struct rt_message m = {.data = RT_STR("m"), .except_in = rt_buf_str(&names)};
        assert_int_equal(rt_hub_publish(hub, RT_STR("a"), &m), 0);
        rt_buf_add_c(&names, i ? "\nx" : "x");
    }
    struct rt_message m = {.data = RT_STR("n"), .except_in = rt_buf_str(&names)};
    assert_int_equal(rt_hub_publish(hub, RT_STR("a"), &m), RT_ENOMEM);
    rt_hub_flush(hub);
    assert_int_equal(l.got.len, 2 * (RT_MAX_EXCEPTED + 1));
    rt_buf_deinit(&names);
    forget(&l);
    rt_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_in_an_excepted_channel_gets_nothing),
        cmocka_unit_test(comings_and_goings_of_one_turn),
        cmocka_unit_test(a_channel_may_be_the_room_of_one),
        cmocka_unit_test(copies_are_left_out_together),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(too_many_names),
    };
    return cmocka_run_group_tests_name("hub/except", tests, NULL, NULL);
}
