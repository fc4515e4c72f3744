/* The hub: fan-out by runs, order, exceptions, history. A randomised test compares it with a model that delivers at once, message by message. */
#include "unit/hub/hub_test.h"

static int publish_at(struct rt_hub *hub, const char *channel, const char *text, uint64_t offset)
{
    struct rt_message m = {.data = rt_str_c(text), .offset = offset};
    return rt_hub_publish(hub, rt_str_c(channel), &m);
}

static void publish(struct rt_hub *hub, const char *channel, const char *text)
{
    assert_int_equal(publish_at(hub, channel, text, 0), 0);
}

/* ---- fan-out ---- */

static void many_messages_are_one_piece(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a, b;
    listen(&a, hub, &PLAIN);
    listen(&b, hub, &UPPER);
    join(&a, "x");
    join(&b, "x");
    publish(hub, "x", "one");
    publish(hub, "x", "two");
    assert_true(rt_hub_dirty(hub));
    assert_int_equal(a.pieces, 0); /* nothing before the flush */
    rt_hub_flush(hub);
    assert_false(rt_hub_dirty(hub));
    assert_int_equal(a.pieces, 1);
    expect(&a, "one two ");
    expect(&b, "ONE TWO ");
    forget(&a);
    forget(&b);
    rt_hub_free(hub);
}

static void who_joins_or_leaves_within_a_turn(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a, b, c;
    listen(&a, hub, &PLAIN);
    listen(&b, hub, &PLAIN);
    listen(&c, hub, &PLAIN);
    join(&a, "x");
    join(&c, "x");
    publish(hub, "x", "1");
    join(&b, "x"); /* from now on */
    publish(hub, "x", "2");
    assert_int_equal(rt_hub_unsubscribe(hub, &a.sub, RT_STR("x")), 0); /* gets what was before */
    rt_hub_remove(hub, &c.sub);                                        /* gets nothing more */
    publish(hub, "x", "3");
    rt_hub_flush(hub);
    expect(&a, "1 2 ");
    expect(&b, "2 3 ");
    expect(&c, "");
    assert_int_equal(rt_hub_unsubscribe(hub, &a.sub, RT_STR("x")), RT_ENOENT);
    assert_int_equal(rt_hub_subscribe(hub, &b.sub, RT_STR("x")), RT_EEXIST);
    forget(&a);
    forget(&b);
    forget(&c);
    rt_hub_free(hub);
}

static void catching_up_keeps_order_with_direct_sends(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a, b;
    listen(&a, hub, &PLAIN);
    listen(&b, hub, &PLAIN);
    join(&a, "x");
    join(&b, "x");
    publish(hub, "x", "1");
    rt_hub_catch_up(hub, &a.sub);
    rt_buf_add_c(&a.got, "direct ");
    publish(hub, "x", "2");
    rt_hub_flush(hub);
    expect(&a, "1 direct 2 ");
    expect(&b, "1 2 ");
    forget(&a);
    forget(&b);
    rt_hub_free(hub);
}

static void except_and_volatile(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a, b;
    listen(&a, hub, &PLAIN);
    listen(&b, hub, &PLAIN);
    join(&a, "x");
    join(&b, "x");
    struct rt_message m = {.data = RT_STR("not-a"), .except = a.sub.id};
    struct rt_message v = {.data = RT_STR("maybe"), .flags = RT_MESSAGE_VOLATILE};
    b.writable = false;
    publish(hub, "x", "1");
    assert_int_equal(rt_hub_publish(hub, RT_STR("x"), &m), 0);
    publish(hub, "x", "2");
    assert_int_equal(rt_hub_publish(hub, RT_STR("x"), &v), 0);
    publish(hub, "x", "3");
    rt_hub_flush(hub);
    expect(&a, "1 2 maybe 3 ");
    expect(&b, "1 not-a 2 3 ");
    publish(hub, "x", "4"); /* marks do not outlive their run */
    rt_hub_flush(hub);
    expect(&a, "4 ");
    expect(&b, "4 ");
    forget(&a);
    forget(&b);
    rt_hub_free(hub);
}

static void ordered_subscribers_get_channels_in_order(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a, b;
    listen(&a, hub, &ORDERED);
    listen(&b, hub, &PLAIN);
    join(&a, "x");
    join(&a, "y");
    join(&b, "x");
    join(&b, "y");
    publish(hub, "x", "1");
    publish(hub, "y", "2");
    publish(hub, "x", "3");
    publish(hub, "y", "4");
    rt_hub_flush(hub);
    expect(&a, "1 2 3 4 ");
    expect(&b, "1 2 3 4 "); /* shares the channels' flushes */
    forget(&a);
    publish(hub, "x", "1");
    publish(hub, "y", "2");
    publish(hub, "x", "3");
    rt_hub_flush(hub);
    expect(&b, "1 3 2 "); /* per channel in order, in few pieces */
    forget(&b);
    rt_hub_free(hub);
}

static void changing_the_encoding_loses_nothing(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a;
    listen(&a, hub, &PLAIN);
    join(&a, "x");
    join(&a, "y");
    publish(hub, "x", "a");
    assert_int_equal(rt_hub_set_encoding(hub, &a.sub, &UPPER), 0);
    publish(hub, "x", "b");
    publish(hub, "y", "c");
    rt_hub_flush(hub);
    expect(&a, "a B C ");
    assert_int_equal(a.sub.count, 2);
    assert_true(rt_hub_is_subscribed(hub, &a.sub, RT_STR("y")));
    forget(&a);
    rt_hub_free(hub);
}

static void removal_inside_deliver_is_safe(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener l[5];
    for (int i = 0; i < 5; i++) {
        listen(&l[i], hub, &PLAIN);
        join(&l[i], "x");
    }
    l[1].removes = &l[0]; /* one that was served */
    l[2].removes = &l[3]; /* one that was not */
    l[4].removes = &l[4]; /* itself */
    publish(hub, "x", "1");
    rt_hub_flush(hub);
    expect(&l[0], "1 ");
    expect(&l[3], "");
    expect(&l[4], "1 ");
    publish(hub, "x", "2");
    rt_hub_flush(hub);
    expect(&l[0], "");
    expect(&l[1], "1 2 ");
    expect(&l[2], "1 2 ");
    expect(&l[4], "");
    assert_int_equal(rt_channel_subscribers(rt_hub_channel(hub, RT_STR("x"), false)), 2);
    for (int i = 0; i < 5; i++)
        forget(&l[i]);
    rt_hub_free(hub);
}

static void large_runs_are_cut(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a;
    listen(&a, hub, &PLAIN);
    join(&a, "x");
    char text[1001];
    for (size_t i = 0; i < 1000; i++)
        text[i] = 'x';
    text[1000] = '\0';
    size_t large = 200000;
    char *huge = malloc(large + 1);
    assert_non_null(huge);
    for (size_t i = 0; i < large; i++)
        huge[i] = 'h';
    huge[large] = '\0';
    for (int i = 0; i < 500; i++)
        publish(hub, "x", text);
    publish(hub, "x", huge);
    assert_true(a.pieces > 1); /* full chunks go out before the flush */
    rt_hub_flush(hub);
    assert_int_equal(a.got.len, 500 * 1001 + large + 1);
    free(huge);
    forget(&a);
    rt_hub_free(hub);
}

static char occupancy[64];

static void note_occupied(void *arg, struct rt_channel *c, bool occupied)
{
    (void)arg;
    size_t len = strlen(occupancy);
    (void)snprintf(occupancy + len, sizeof(occupancy) - len, "%c%.*s ", occupied ? '+' : '-',
                   RT_STR_ARG(rt_channel_name(c)));
}

static void the_first_and_the_last_subscriber_are_told(void **state)
{
    (void)state;
    struct rt_hub_options options = {
        .memory = 1 << 20, .rule_of = rule_of, .occupied = note_occupied};
    struct rt_hub *hub = NULL;
    rt_hub_rule_init(&kept);
    rt_hub_rule_init(&ephemeral);
    assert_int_equal(rt_hub_new(&options, &hub), 0);
    struct listener a, b;
    listen(&a, hub, &PLAIN);
    listen(&b, hub, &PLAIN);
    join(&a, "x");
    join(&b, "x");
    join(&b, "y");
    assert_string_equal(occupancy, "+x +y ");
    assert_int_equal(rt_hub_set_encoding(hub, &b.sub, &UPPER), 0); /* nobody left */
    assert_string_equal(occupancy, "+x +y ");
    forget(&b);
    assert_string_equal(occupancy, "+x +y -y ");
    assert_int_equal(rt_hub_unsubscribe(hub, &a.sub, RT_STR("x")), 0);
    assert_string_equal(occupancy, "+x +y -y -x ");
    forget(&a);
    rt_hub_free(hub);
}

/* ---- history ---- */

static void history_keeps_size_and_ttl(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    for (uint64_t i = 1; i <= 5; i++) {
        rt_hub_set_time(hub, i * 100);
        assert_int_equal(publish_at(hub, "k", "m", i), 0);
    }
    struct rt_channel *c = rt_hub_channel(hub, RT_STR("k"), false);
    rt_channel_set_epoch(c, "e");
    assert_int_equal(rt_channel_kept(c), 3);
    assert_int_equal(rt_channel_kept_at(c, 0)->m.offset, 3);
    assert_int_equal(rt_channel_top(c), 5);
    assert_true(rt_channel_covers_offset(c, 2));
    assert_false(rt_channel_covers_offset(c, 1));
    assert_true(rt_channel_covers_stamp(c, 2));
    assert_false(rt_channel_covers_stamp(c, 1));
    assert_true(rt_channel_covers_stamp(c, rt_hub_stamp(hub)));
    rt_hub_set_time(hub, 1350); /* the third is 1050 old */
    rt_hub_expire(hub);
    assert_int_equal(rt_channel_kept(c), 2);
    rt_hub_set_time(hub, 1500);
    rt_hub_expire(hub);
    assert_int_equal(rt_channel_kept(c), 0);
    assert_int_equal(rt_channel_top(c), 5); /* the position stays */
    rt_hub_set_time(hub, 1500 + 60001);
    rt_hub_expire(hub);
    assert_null(rt_hub_channel(hub, RT_STR("k"), false));
    rt_hub_free(hub);
}

/* Messages may have been lost: who has got all that there was does not know of these, though nothing has come since. */
static void what_is_forgotten_was_seen_by_nobody(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    assert_int_equal(publish_at(hub, "k", "m", 1), 0);
    struct rt_channel *c = rt_hub_channel(hub, RT_STR("k"), false);
    rt_channel_set_epoch(c, "e");
    rt_channel_pin(c);
    uint64_t seen = rt_hub_stamp(hub);
    assert_true(rt_channel_covers_stamp(c, seen));
    rt_channel_forget(c);
    assert_int_equal(rt_channel_kept(c), 0);
    assert_false(rt_channel_covers_stamp(c, seen));
    assert_true(rt_channel_covers_stamp(c, rt_hub_stamp(hub))); /* who comes now */
    rt_channel_unpin(c);
    rt_hub_free(hub);
}

static void recovery_holds_messages_longer(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a;
    kept.recovery = 500;
    listen(&a, hub, &ORDERED);
    join(&a, "k");
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(publish_at(hub, "k", "m", i), 0);
    struct rt_channel *c = rt_hub_channel(hub, RT_STR("k"), false);
    assert_int_equal(rt_channel_kept(c), 10); /* beyond size 3 */
    rt_hub_remove(hub, &a.sub);
    rt_hub_set_time(hub, 400);
    assert_int_equal(publish_at(hub, "k", "m", 11), 0);
    assert_int_equal(rt_channel_kept(c), 11); /* its session may come back */
    rt_hub_set_time(hub, 502);
    assert_int_equal(publish_at(hub, "k", "m", 12), 0);
    assert_int_equal(rt_channel_kept(c), 3);
    forget(&a);
    rt_hub_free(hub);
}

static void memory_is_bounded_over_channels(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(4000);
    char name[16];
    for (uint64_t i = 1; i <= 100; i++) {
        (void)snprintf(name, sizeof(name), "k%u", (unsigned)(i % 7));
        assert_int_equal(publish_at(hub, name, "0123456789", i), 0);
    }
    size_t pos = 0, bytes = 0;
    uint64_t lowest = UINT64_MAX;
    struct rt_channel *c;
    while ((c = rt_hub_next_channel(hub, &pos)))
        for (size_t i = 0; i < rt_channel_kept(c); i++) {
            bytes += rt_channel_kept_at(c, i)->size;
            if (rt_channel_kept_at(c, i)->m.offset < lowest)
                lowest = rt_channel_kept_at(c, i)->m.offset;
        }
    assert_true(bytes <= 4000);
    assert_true(bytes > 1000);
    /* Of all channels together the newest are kept. */
    assert_true(lowest >= 90);
    rt_hub_free(hub);
}

static size_t count_channels(const struct rt_hub *hub)
{
    size_t count = 0;
    for (size_t pos = 0; rt_hub_next_channel(hub, &pos);)
        count++;
    return count;
}

/* A message on each of many channels: `first` and on. */
static void publish_to_many(struct rt_hub *hub, unsigned first, unsigned count)
{
    char name[16];
    for (unsigned i = first; i < first + count; i++) {
        (void)snprintf(name, sizeof(name), "k%u", i);
        assert_int_equal(publish_at(hub, name, "x", i), 0);
    }
}

static void channels_without_end_stay_within_the_memory(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct listener a;
    listen(&a, hub, &PLAIN);
    join(&a, "kept by a");
    assert_int_equal(publish_at(hub, "kept by a", "m", 1), 0);
    publish_to_many(hub, 1, 100000);
    assert_true(count_channels(hub) > 500);
    assert_true(count_channels(hub) < (1 << 20) / sizeof(struct rt_message));
    assert_true(rt_hub_forgotten(hub) > 90000);
    assert_non_null(rt_hub_channel(hub, RT_STR("k100000"), false)); /* the newest stay */
    assert_true(rt_hub_is_subscribed(hub, &a.sub, RT_STR("kept by a")));
    /* Channels that nothing is kept of are bounded alike. */
    struct listener b;
    listen(&b, hub, &PLAIN);
    for (unsigned i = 0; i < 20000; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "e%u", i);
        join(&b, name);
        assert_int_equal(rt_hub_unsubscribe(hub, &b.sub, rt_str_c(name)), 0);
    }
    assert_true(count_channels(hub) < (1 << 20) / sizeof(struct rt_message));
    forget(&a);
    forget(&b);
    rt_hub_free(hub);
}

static void the_number_of_channels_is_bounded(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    rt_hub_free(hub);
    struct rt_hub_options options = {.memory = 1 << 20, .channels = 4, .rule_of = rule_of};
    assert_int_equal(rt_hub_new(&options, &hub), 0);
    struct rt_channel *c;
    struct listener a;
    listen(&a, hub, &PLAIN);
    join(&a, "e1");
    publish_to_many(hub, 1, 2);
    assert_int_equal(rt_hub_open_channel(hub, RT_STR("idle"), &c), 0);
    assert_int_equal(publish_at(hub, "k1", "x", 3), 0); /* k2 was used longest ago */
    /* First goes what keeps nothing, then what was used longest ago. */
    join(&a, "e2");
    assert_null(rt_hub_channel(hub, RT_STR("idle"), false));
    join(&a, "e3");
    assert_null(rt_hub_channel(hub, RT_STR("k2"), false));
    assert_non_null(rt_hub_channel(hub, RT_STR("k1"), false));
    join(&a, "e4");
    assert_int_equal(rt_hub_forgotten(hub), 3);
    /* Whoever has subscribers stays. */
    assert_int_equal(rt_hub_subscribe(hub, &a.sub, RT_STR("e5")), RT_ERANGE);
    assert_int_equal(publish_at(hub, "k9", "x", 9), RT_ERANGE);
    assert_int_equal(rt_hub_unsubscribe(hub, &a.sub, RT_STR("e1")), 0);
    c = rt_hub_channel(hub, RT_STR("e1"), false);
    rt_channel_pin(c);
    assert_int_equal(rt_hub_subscribe(hub, &a.sub, RT_STR("e5")), RT_ERANGE);
    rt_channel_unpin(c);
    join(&a, "e5");
    assert_int_equal(count_channels(hub), 4);
    forget(&a);
    rt_hub_free(hub);
}

static void memory_that_is_pinned_refuses_more(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(2000);
    struct rt_channel *c;
    char name[16];
    unsigned n = 0;
    int status;
    for (;; n++) {
        (void)snprintf(name, sizeof(name), "k%u", n);
        if ((status = rt_hub_open_channel(hub, rt_str_c(name), &c)) != 0)
            break;
        rt_channel_pin(c);
    }
    assert_int_equal(status, RT_EAGAIN);
    assert_true(n > 0 && n < 10);
    rt_channel_unpin(rt_hub_channel(hub, RT_STR("k0"), false));
    assert_int_equal(rt_hub_open_channel(hub, rt_str_c(name), &c), 0);
    while (--n > 0) {
        (void)snprintf(name, sizeof(name), "k%u", n);
        rt_channel_unpin(rt_hub_channel(hub, rt_str_c(name), false));
    }
    rt_hub_free(hub);
}

/* However many there are: a few rounds of bounded work, all of which may follow at once. */
static void idle_channels_go_in_proportion_to_what_came(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(64 << 20);
    publish_to_many(hub, 1, 50000);
    rt_hub_set_time(hub, 2000); /* past the ttl of the messages */
    unsigned rounds = 0;
    while (rt_hub_expire(hub))
        rounds++;
    assert_true(rounds > 5 && rounds < 50000);
    assert_int_equal(count_channels(hub), 50000);
    rt_hub_set_time(hub, 200000);
    while (rt_hub_expire(hub))
        ;
    assert_int_equal(count_channels(hub), 0);
    assert_int_equal(rt_hub_forgotten(hub), 0); /* none before its time */
    rt_hub_free(hub);
}

static void a_new_epoch_drops_the_old_messages(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    assert_int_equal(publish_at(hub, "k", "m", 7), 0);
    struct rt_channel *c = rt_hub_channel(hub, RT_STR("k"), false);
    rt_channel_set_epoch(c, "one");
    assert_int_equal(rt_channel_kept(c), 1);      /* the first name of the epoch drops nothing */
    assert_false(rt_channel_covers_offset(c, 5)); /* 1..6 were never here */
    assert_true(rt_channel_covers_offset(c, 6));
    rt_channel_set_epoch(c, "two");
    assert_int_equal(rt_channel_kept(c), 0);
    assert_int_equal(rt_channel_top(c), 0);
    assert_string_equal(rt_channel_epoch(c), "two");
    rt_hub_free(hub);
}

static void a_stored_message_is_a_whole_copy(void **state)
{
    (void)state;
    char data[] = "data", event[] = "event", part[] = "part";
    struct rt_str parts[] = {RT_STR_NONE, rt_str_c(part)};
    struct rt_message m = {.data = rt_str_c(data),
                           .event = rt_str_c(event),
                           .attachments = parts,
                           .attachment_count = 2,
                           .key = RT_STR("key"),
                           .publisher = RT_STR("me")};
    struct rt_stored *s = rt_stored_new(&m);
    assert_non_null(s);
    data[0] = event[0] = part[0] = '#';
    parts[1] = RT_STR_NONE;
    assert_true(rt_str_eq(s->m.data, RT_STR("data")));
    assert_true(rt_str_eq(s->m.event, RT_STR("event")));
    assert_true(rt_str_eq(s->m.attachments[1], RT_STR("part")));
    assert_int_equal(s->m.attachments[0].len, 0);
    assert_true(rt_str_eq(s->m.key, RT_STR("key")));
    assert_true(rt_str_eq(s->m.publisher, RT_STR("me")));
    rt_stored_unref(s);
}

/* ---- against a model ---- */

#define PEOPLE 12
#define ROOMS  5
#define STEPS  30000

struct model {
    struct listener l[PEOPLE];
    struct rt_buf due[PEOPLE][ROOMS]; /* what each one is owed of each room */
    bool in[PEOPLE][ROOMS];
    unsigned seed;
};

static unsigned below(struct model *m, unsigned bound)
{
    m->seed = m->seed * 1103515245u + 12345u;
    return (m->seed >> 16) % bound;
}

static const char *const NAMES[ROOMS] = {"a", "b", "k1", "k2", "c"};

static void model_publish(struct model *m, struct rt_hub *hub, unsigned room, unsigned n)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%c%u", 'a' + (char)room, n);
    unsigned sender = below(m, PEOPLE);
    struct rt_message msg = {.data = rt_str_c(text),
                             .except = below(m, 3) == 0 ? m->l[sender].sub.id : 0,
                             .offset = NAMES[room][0] == 'k' ? n : 0};
    assert_int_equal(rt_hub_publish(hub, rt_str_c(NAMES[room]), &msg), 0);
    for (unsigned i = 0; i < PEOPLE; i++)
        if (m->in[i][room] && (msg.except == 0 || msg.except != m->l[i].sub.id)) {
            rt_buf_add_c(&m->due[i][room], text);
            rt_buf_add_byte(&m->due[i][room], ' ');
        }
}

/* What a listener got, split by room (the first letter), is what it was owed. */
static void model_compare(struct model *m)
{
    for (unsigned i = 0; i < PEOPLE; i++) {
        struct rt_buf by_room[ROOMS] = {0};
        struct rt_str rest = rt_buf_str(&m->l[i].got), word;
        while (rest.len > 0) {
            word = rt_str_split(rest, ' ', &rest);
            unsigned room = (unsigned)((word.ptr[0] | 32) - 'a');
            rt_buf_add_str(&by_room[room], word);
            rt_buf_add_byte(&by_room[room], ' ');
        }
        for (unsigned r = 0; r < ROOMS; r++) {
            assert_string_equal(rt_buf_cstr(&by_room[r]), rt_buf_cstr(&m->due[i][r]));
            rt_buf_clear(&m->due[i][r]);
            rt_buf_deinit(&by_room[r]);
        }
        rt_buf_clear(&m->l[i].got);
    }
}

static void model_membership(struct model *m, struct rt_hub *hub, unsigned who, unsigned room)
{
    struct rt_str name = rt_str_c(NAMES[room]);
    if (m->in[who][room]) {
        assert_int_equal(rt_hub_unsubscribe(hub, &m->l[who].sub, name), 0);
        m->in[who][room] = false;
    } else {
        assert_int_equal(rt_hub_subscribe(hub, &m->l[who].sub, name), 0);
        m->in[who][room] = true;
    }
}

static void random_traffic_agrees_with_a_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 5; seed++) {
        struct rt_hub *hub = new_hub(5000);
        struct model m = {.seed = seed};
        for (unsigned i = 0; i < PEOPLE; i++)
            listen(&m.l[i], hub, i % 4 == 0 ? &ORDERED : &PLAIN);
        for (unsigned n = 1; n <= STEPS; n++) {
            unsigned who = below(&m, PEOPLE), room = below(&m, ROOMS);
            rt_hub_set_time(hub, n);
            switch (below(&m, 10)) {
            case 0:
                model_membership(&m, hub, who, room);
                break;
            case 1:
                rt_hub_catch_up(hub, &m.l[who].sub);
                break;
            case 2:
                rt_hub_flush(hub);
                model_compare(&m);
                break;
            case 3:
                assert_int_equal(
                    rt_hub_set_encoding(hub, &m.l[who].sub, below(&m, 2) ? &PLAIN : &ORDERED), 0);
                break;
            default:
                model_publish(&m, hub, room, n);
                break;
            }
        }
        rt_hub_flush(hub);
        model_compare(&m);
        for (unsigned i = 0; i < PEOPLE; i++) {
            forget(&m.l[i]);
            for (unsigned r = 0; r < ROOMS; r++)
                rt_buf_deinit(&m.due[i][r]);
        }
        rt_hub_free(hub);
    }
}

#ifdef RT_TEST
/* One scenario, whatever fails in it: no crash, no leak, and who was told of success has it. */
static void scenario(void)
{
    struct rt_hub_options options = {.memory = 1 << 20, .rule_of = rule_of};
    struct rt_hub *hub = NULL;
    rt_hub_rule_init(&kept);
    rt_hub_rule_init(&ephemeral);
    kept.keep = true;
    kept.history_size = 100;
    kept.history_ttl = 1000;
    if (rt_hub_new(&options, &hub))
        return;
    struct listener l[3];
    bool in[3];
    for (int i = 0; i < 3; i++) {
        listen(&l[i], hub, i == 2 ? &ORDERED : &PLAIN);
        in[i] = rt_hub_subscribe(hub, &l[i].sub, RT_STR("k")) == 0;
        (void)rt_hub_subscribe(hub, &l[i].sub, RT_STR("other"));
        assert_int_equal(rt_hub_is_subscribed(hub, &l[i].sub, RT_STR("k")), in[i]);
    }
    bool all = true;
    for (uint64_t n = 1; n <= 20; n++)
        all &= publish_at(hub, "k", "m", n) == 0;
    (void)rt_hub_set_encoding(hub, &l[0].sub, &UPPER);
    rt_hub_flush(hub);
    for (int i = 0; i < 3; i++)
        if (all && in[i] && !l[i].got.failed)
            assert_int_equal(l[i].got.len, 40);
    struct rt_channel *c = rt_hub_channel(hub, RT_STR("k"), false);
    if (c && all)
        assert_int_equal(rt_channel_kept(c), 20);
    else if (c && rt_channel_kept(c) > 0) /* what is kept has no hole */
        assert_int_equal(rt_channel_kept_at(c, rt_channel_kept(c) - 1)->m.offset -
                             rt_channel_kept_at(c, 0)->m.offset + 1,
                         rt_channel_kept(c));
    for (int i = 0; i < 3; i++)
        forget(&l[i]);
    rt_hub_free(hub);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    long before = rt_alloc_live();
    for (unsigned long n = 1;; n++) {
        rt_alloc_fail_at(n, 0);
        scenario();
        int failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_alloc_live(), before);
        if (!failed)
            break;
        assert_true(n < 10000);
    }
}
#endif

/* Of a channel that is not here it is known up to where it has had nothing, where the log is shared. */
static void a_shared_epoch_has_a_floor(void **state)
{
    (void)state;
    struct rt_hub *hub = new_hub(1 << 20);
    struct rt_message m = {.data = RT_STR("x"), .offset = 5};
    assert_true(rt_hub_floor(hub, "E") == UINT64_MAX);
    kept.shared = true;
    kept.recovery = 10;
    rt_channel_set_epoch(rt_hub_channel(hub, RT_STR("k1"), true), "E");
    assert_int_equal(rt_hub_publish(hub, RT_STR("k1"), &m), 0);
    assert_int_equal(rt_hub_floor(hub, "E"), 4);
    /* A channel whose first message comes later: there were none before. */
    struct rt_channel *c = rt_hub_channel(hub, RT_STR("k2"), true);
    rt_channel_set_epoch(c, "E");
    m.offset = 9;
    assert_int_equal(rt_hub_publish(hub, RT_STR("k2"), &m), 0);
    assert_true(rt_channel_covers_offset(c, 4));
    assert_false(rt_channel_covers_offset(c, 3));
    /* An object that is made for a reader knows what the hub does, and no message changes that. */
    c = rt_hub_channel(hub, RT_STR("k3"), true);
    rt_channel_set_epoch(c, "E");
    rt_channel_begin(c, 9);
    assert_int_equal(rt_channel_top(c), 9);
    assert_true(rt_channel_covers_offset(c, 4));
    assert_false(rt_channel_covers_offset(c, 3));
    rt_channel_begin(c, 12); /* it has begun */
    assert_int_equal(rt_channel_top(c), 9);
    c = rt_hub_channel(hub, RT_STR("k4"), true);
    rt_channel_set_epoch(c, "F"); /* of which nothing is known */
    rt_channel_begin(c, 9);
    assert_true(rt_channel_covers_offset(c, 9));
    assert_false(rt_channel_covers_offset(c, 8));
    /* All are forgotten in the end. */
    rt_hub_set_time(hub, 2000);
    rt_hub_expire(hub);
    rt_hub_set_time(hub, 100000);
    rt_hub_expire(hub);
    assert_null(rt_hub_channel(hub, RT_STR("k2"), false));
    assert_int_equal(rt_hub_floor(hub, "E"), 9);
    rt_hub_raise_floor(hub, "E", 20);
    rt_hub_raise_floor(hub, "E", 10);
    rt_hub_raise_floor(hub, "other", 10);
    assert_int_equal(rt_hub_floor(hub, "E"), 20);
    assert_true(rt_hub_floor(hub, "other") == UINT64_MAX);
    rt_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_messages_are_one_piece),
        cmocka_unit_test(a_shared_epoch_has_a_floor),
        cmocka_unit_test(who_joins_or_leaves_within_a_turn),
        cmocka_unit_test(catching_up_keeps_order_with_direct_sends),
        cmocka_unit_test(except_and_volatile),
        cmocka_unit_test(ordered_subscribers_get_channels_in_order),
        cmocka_unit_test(changing_the_encoding_loses_nothing),
        cmocka_unit_test(removal_inside_deliver_is_safe),
        cmocka_unit_test(large_runs_are_cut),
        cmocka_unit_test(the_first_and_the_last_subscriber_are_told),
        cmocka_unit_test(history_keeps_size_and_ttl),
        cmocka_unit_test(what_is_forgotten_was_seen_by_nobody),
        cmocka_unit_test(recovery_holds_messages_longer),
        cmocka_unit_test(memory_is_bounded_over_channels),
        cmocka_unit_test(channels_without_end_stay_within_the_memory),
        cmocka_unit_test(the_number_of_channels_is_bounded),
        cmocka_unit_test(memory_that_is_pinned_refuses_more),
        cmocka_unit_test(idle_channels_go_in_proportion_to_what_came),
        cmocka_unit_test(a_new_epoch_drops_the_old_messages),
        cmocka_unit_test(a_stored_message_is_a_whole_copy),
        cmocka_unit_test(random_traffic_agrees_with_a_model),
#ifdef RT_TEST
        cmocka_unit_test(every_allocation_may_fail),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
