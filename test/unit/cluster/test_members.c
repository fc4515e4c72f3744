/* Who is in the cluster, on a clock of the test's: proofs, repetitions, names that are used twice. And heartbeats, which nobody else can make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cluster/beat.h"
#include "cluster/members.h"
#include "unit/alloc_loop.h"

/* A process: what it knows, and the number of its last envelope. */
struct process {
    struct rt_members m;
    uint64_t sequence;
};

/* An announcement as it was sent: may be heard again, whenever. */
struct announcement {
    struct rt_buf hello;
    struct rt_parcel parcel;
};

static struct process a, b, c;
static uint64_t now;

static void begin(struct process *p, const char *name, uint64_t started)
{
    rt_members_init(&p->m, name, started);
    rt_members_register(&p->m, &(struct rt_metrics){.first = NULL});
    p->sequence = 0;
}

static int set_up(void **state)
{
    (void)state;
    now = 1000;
    begin(&a, "a", 1);
    begin(&b, "b", 2);
    begin(&c, "c", 3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rt_members_deinit(&a.m);
    rt_members_deinit(&b.m);
    rt_members_deinit(&c.m);
    return 0;
}

static void say(struct process *p, const char *json, struct announcement *out)
{
    out->hello = RT_BUF_INIT;
    rt_members_write(&p->m, &out->hello);
    out->parcel =
        (struct rt_parcel){.purpose = RT_FOR_NODES,
                           .instance = p->m.instance,
                           .sequence = ++p->sequence,
                           .node = rt_str_c(p->m.node),
                           .message = {.data = rt_str_c(json), .key = rt_buf_str(&out->hello)}};
}

/* `to` hears what `from` says now. */
static enum rt_hearing tell(struct process *from, struct process *to)
{
    struct announcement an;
    say(from, "{\"n\":1}", &an);
    enum rt_hearing heard = rt_members_hear(&to->m, &an.parcel, now);
    rt_buf_deinit(&an.hello);
    return heard;
}

/* Its clock says `time`, that of who hears it `wall`. */
static void tell_time(struct process *from, struct process *to, uint64_t time, uint64_t wall)
{
    struct announcement an;
    say(from, "{}", &an);
    an.parcel.message.time = time;
    (void)rt_members_hear(&to->m, &an.parcel, now);
    rt_members_note_clock(&to->m, &an.parcel, wall);
    rt_buf_deinit(&an.hello);
}

/* As when both announce themselves, and answer what is new. */
static void meet(struct process *x, struct process *y)
{
    (void)tell(x, y);
    (void)tell(y, x);
    (void)tell(x, y);
}

static enum rt_admission send_to(struct process *from, struct process *to)
{
    struct rt_parcel p = {
        .purpose = RT_FOR_RELAY, .instance = from->m.instance, .sequence = ++from->sequence};
    return rt_members_admit(&to->m, &p, true);
}

static void add_name(void *arg, struct rt_str name, struct rt_str json)
{
    assert_true(json.len > 1 && json.ptr[0] == '{');
    rt_buf_add_str(arg, name);
    rt_buf_add_byte(arg, ' ');
}

static void expect_nodes(struct process *p, const char *names)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_members_each(&p->m, add_name, &out);
    assert_string_equal(rt_buf_cstr(&out), names);
    rt_buf_deinit(&out);
}

static void who_repeats_our_challenge_is_alive(void **state)
{
    (void)state;
    assert_int_equal(tell(&a, &b), RT_HEARD_NEWS);
    expect_nodes(&b, ""); /* it may be recorded */
    assert_int_equal(send_to(&a, &b), RT_UNPROVEN);
    assert_int_equal(tell(&b, &a), RT_HEARD_NEWS);
    expect_nodes(&a, "b "); /* it has heard a */
    assert_int_equal(tell(&a, &b), RT_HEARD);
    expect_nodes(&b, "a ");
    assert_int_equal(send_to(&a, &b), RT_ADMITTED);
    assert_int_equal(send_to(&b, &a), RT_ADMITTED);
    assert_int_equal(send_to(&c, &a), RT_UNPROVEN);
}

static void nothing_is_taken_twice(void **state)
{
    (void)state;
    struct announcement old;
    meet(&a, &b);
    say(&a, "{}", &old);
    assert_int_equal(rt_members_hear(&b.m, &old.parcel, now), RT_HEARD);
    assert_int_equal(rt_members_hear(&b.m, &old.parcel, now), RT_HEARD_AGAIN);
    struct rt_parcel p = {
        .purpose = RT_FOR_RELAY, .instance = a.m.instance, .sequence = ++a.sequence};
    assert_int_equal(rt_members_admit(&b.m, &p, true), RT_ADMITTED);
    assert_int_equal(rt_members_admit(&b.m, &p, true), RT_REPLAYED);
    p.sequence = 1; /* from before it was proven */
    assert_int_equal(rt_members_admit(&b.m, &p, true), RT_REPLAYED);
    assert_int_equal(rt_members_admit(&b.m, &p, false), RT_ADMITTED); /* without a secret */
    rt_buf_deinit(&old.hello);
}

/* Neither by what it said to us nor to others, whether it is only silent or has left; nor does another start of ours make it young again. */
static void what_a_dead_process_said_proves_nothing(void **state)
{
    (void)state;
    struct announcement last, bye;
    meet(&a, &b);
    say(&a, "{}", &last);
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD);
    now += RT_MEMBER_GONE_MS;
    rt_members_expire(&b.m, now);
    expect_nodes(&b, "");
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD_AGAIN);
    assert_int_equal(rt_members_hear(&c.m, &last.parcel, now), RT_HEARD_NEWS);
    assert_int_equal(rt_members_hear(&c.m, &last.parcel, now), RT_HEARD);
    expect_nodes(&c, "");
    rt_members_deinit(&b.m);
    begin(&b, "b", 4);
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD_NEWS);
    expect_nodes(&b, "");
    assert_int_equal(send_to(&a, &b), RT_UNPROVEN);
    meet(&a, &b);
    say(&a, "", &bye);
    assert_int_equal(rt_members_hear(&b.m, &bye.parcel, now), RT_HEARD);
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD_AGAIN);
    expect_nodes(&b, "");
    rt_buf_deinit(&last.hello);
    rt_buf_deinit(&bye.hello);
}

/* Its messages count from the first on, also those that come before its announcement. */
static void who_was_silent_is_still_proven(void **state)
{
    (void)state;
    meet(&a, &b);
    now += RT_MEMBER_GONE_MS - 1;
    rt_members_expire(&b.m, now);
    expect_nodes(&b, "a ");
    now++;
    rt_members_expire(&b.m, now);
    expect_nodes(&b, "");
    assert_int_equal(send_to(&a, &b), RT_ADMITTED);
    (void)tell(&a, &b);
    expect_nodes(&b, "a ");
    assert_int_equal(send_to(&a, &b), RT_ADMITTED);
}

/* Redis was away for longer, and then it was stopped. */
static void who_says_goodbye_late_is_gone_already(void **state)
{
    (void)state;
    struct announcement bye;
    meet(&a, &b);
    now += RT_MEMBER_GONE_MS;
    rt_members_expire(&b.m, now);
    say(&a, "", &bye);
    assert_int_equal(rt_members_hear(&b.m, &bye.parcel, now), RT_HEARD);
    expect_nodes(&b, "");
    (void)tell(&a, &b);
    expect_nodes(&b, "a ");
    rt_buf_deinit(&bye.hello);
}

/* More processes than are remembered: those that were forgotten have to prove themselves again, also with what they had said right before. */
static void who_is_forgotten_is_unknown(void **state)
{
    (void)state;
    struct announcement last;
    meet(&a, &b);
    say(&a, "{}", &last);
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD);
    now += RT_MEMBER_GONE_MS;
    rt_members_expire(&b.m, now);
    for (int i = 0; i < 1000; i++) {
        rt_members_deinit(&c.m);
        begin(&c, "c", 3);
        (void)tell(&c, &b);
    }
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD); /* there is no room */
    assert_int_equal(send_to(&a, &b), RT_UNPROVEN);
    now += RT_MEMBER_GONE_MS;
    rt_members_expire(&b.m, now);
    assert_int_equal(rt_members_hear(&b.m, &last.parcel, now), RT_HEARD_NEWS);
    expect_nodes(&b, "");
    meet(&b, &a);
    expect_nodes(&b, "a ");
    rt_buf_deinit(&last.hello);
}

static void a_name_is_used_once(void **state)
{
    (void)state;
    /* The one that has come just now stops, whatever the clocks say. */
    b.m.node = "a";
    a.m.started = 9;
    a.m.established = true;
    assert_int_equal(tell(&b, &a), RT_HEARD_NEWS);
    assert_int_equal(tell(&a, &b), RT_HEARD_NEWS);
    assert_int_equal(tell(&b, &a), RT_HEARD_NEWS); /* a is going to ask it */
    assert_int_equal(tell(&a, &b), RT_HEARD_TAKEN);
    assert_true(a.m.name_conflicts.value > 0);
    expect_nodes(&a, "");
}

/* Each hears the other at a moment when it thinks itself the one to stay: still one of them stops, and never both. */
static void of_two_with_a_name_one_stops(void **state)
{
    (void)state;
    b.m.node = "a";
    for (int seed = 0; seed < 4096; seed++) {
        int stopped = 0;
        rt_members_deinit(&a.m);
        rt_members_deinit(&b.m);
        begin(&a, "a", 1 + (seed & 1));
        begin(&b, "a", 1 + (seed >> 1 & 1));
        for (int step = 0; step < 5 && stopped == 0; step++) {
            a.m.established = seed >> (2 + 2 * step) & 1; /* links come and go */
            b.m.established = seed >> (3 + 2 * step) & 1;
            struct announcement of_a, of_b;
            say(&a, "{}", &of_a); /* they cross */
            say(&b, "{}", &of_b);
            stopped += rt_members_hear(&b.m, &of_a.parcel, now) == RT_HEARD_TAKEN;
            stopped += rt_members_hear(&a.m, &of_b.parcel, now) == RT_HEARD_TAKEN;
            rt_buf_deinit(&of_a.hello);
            rt_buf_deinit(&of_b.hello);
        }
        a.m.established = b.m.established = true;
        for (int step = 0; step < 3 && stopped == 0; step++) {
            stopped += tell(&a, &b) == RT_HEARD_TAKEN;
            if (stopped == 0)
                stopped += tell(&b, &a) == RT_HEARD_TAKEN;
        }
        assert_int_equal(stopped, 1);
    }
}

static void a_restart_at_once_is_no_second_one(void **state)
{
    (void)state;
    meet(&a, &b);
    meet(&a, &c);
    struct announcement last;
    a.m.established = true;
    say(&a, "{}", &last);
    /* a is killed, and there again. Its last words still travel. */
    rt_members_deinit(&a.m);
    begin(&a, "a", 5);
    assert_int_equal(rt_members_hear(&a.m, &last.parcel, now), RT_HEARD_NEWS);
    assert_int_equal(tell(&c, &a), RT_HEARD_NEWS);
    (void)tell(&a, &c);
    (void)tell(&c, &a);
    (void)tell(&a, &c);
    expect_nodes(&c, "a ");
    assert_int_equal(c.m.name_conflicts.value, 0);
    assert_int_equal(a.m.name_conflicts.value, 0);
    rt_buf_deinit(&last.hello);
}

/* A third node sees two that are alive, and counts it. */
static void others_see_two_of_a_name(void **state)
{
    (void)state;
    b.m.node = "a";
    meet(&a, &c);
    meet(&b, &c);
    expect_nodes(&c, "a ");
    assert_int_equal(c.m.name_conflicts.value, 0); /* a may be dead */
    (void)tell(&a, &c);
    assert_int_equal(c.m.name_conflicts.value, 1);
    (void)tell(&b, &c);
    assert_int_equal(c.m.name_conflicts.value, 2);
    expect_nodes(&c, "a ");
}

static void rules_and_logs_are_compared(void **state)
{
    (void)state;
    a.m.rules = b.m.rules = 7;
    meet(&a, &b);
    assert_false(rt_members_differ(&b.m));
    a.m.rules = 8;
    (void)tell(&a, &b);
    assert_true(rt_members_differ(&b.m));
    a.m.rules = 7;
    (void)tell(&a, &b);
    assert_false(rt_members_differ(&b.m));
    a.m.log = 5; /* b does not know its own yet */
    (void)tell(&a, &b);
    assert_int_equal(send_to(&a, &b), RT_ADMITTED);
    b.m.log = 6;
    (void)tell(&a, &b);
    assert_int_equal(send_to(&a, &b), RT_STRANGER);
    expect_nodes(&b, "");
}

static void rubbish_is_nobody(void **state)
{
    (void)state;
    struct announcement an;
    say(&a, "[]", &an);
    assert_int_equal(rt_members_hear(&b.m, &an.parcel, now), RT_HEARD_NOTHING);
    an.parcel.message.data = RT_STR("{}");
    for (size_t len = 0; len < an.hello.len; len++) {
        an.parcel.message.key.len = len;
        assert_int_equal(rt_members_hear(&b.m, &an.parcel, now), RT_HEARD_NOTHING);
    }
    an.parcel.node = RT_STR_NONE;
    an.parcel.message.key.len = an.hello.len;
    assert_int_equal(rt_members_hear(&b.m, &an.parcel, now), RT_HEARD_NOTHING);
    assert_int_equal(b.m.by_instance.count, 0);
    rt_buf_deinit(&an.hello);
}

static void heartbeats_are_our_own(void **state)
{
    (void)state;
    struct rt_beat ours, other;
    uint8_t first[RT_BEAT_LEN], second[RT_BEAT_LEN], foreign[RT_BEAT_LEN];
    rt_beat_init(&ours);
    rt_beat_init(&other);
    rt_beat_write(&ours, first);
    rt_beat_write(&ours, second);
    rt_beat_write(&other, foreign);
    assert_false(rt_beat_take(&ours, RT_STR("beat")));
    assert_false(rt_beat_take(&ours, rt_str_of(foreign, sizeof(foreign))));
    assert_true(rt_beat_take(&ours, rt_str_of(first, sizeof(first))));
    assert_false(rt_beat_take(&ours, rt_str_of(first, sizeof(first))));
    assert_true(rt_beat_take(&ours, rt_str_of(second, sizeof(second))));
    assert_false(rt_beat_take(&ours, rt_str_of(first, sizeof(first))));
    second[0]++;
    assert_false(rt_beat_take(&ours, rt_str_of(second, sizeof(second))));
}

/* ---- no memory ---- */

static void prepare(void)
{
}

static int start(void)
{
    return 0;
}

static void play(void)
{
    meet(&a, &b);
    meet(&b, &c);
    (void)tell(&a, &b);
}

static void check(void)
{
    meet(&a, &b);
    meet(&b, &c);
    expect_nodes(&b, "a c ");
}

static void without_memory_it_is_heard_the_next_time(void **state)
{
    (void)state;
    static const struct alloc_loop loop = {set_up, prepare, start, play, check, tear_down};
    assert_true(fail_each_allocation(&loop) > 5);
    assert_int_equal(set_up(NULL), 0);
}

/* Among three the one that is wrong says so, and the others do not; of two both do. */
static void clocks_are_compared(void **state)
{
    (void)state;
    static const uint64_t hour = 3600000, wall = 100000000;
    assert_int_equal(rt_members_clock(&a.m), 0);
    meet(&a, &b);
    tell_time(&b, &a, wall, wall + hour);
    assert_int_equal(rt_members_clock(&a.m), hour);
    tell_time(&a, &b, wall + hour, wall);
    assert_int_equal(rt_members_clock(&b.m), -(int64_t)hour);
    meet(&b, &c);
    tell_time(&c, &b, wall + 40, wall);
    assert_int_equal(rt_members_clock(&b.m), -40);
    meet(&a, &c);
    tell_time(&c, &a, wall + 40, wall + hour);
    assert_int_equal(rt_members_clock(&a.m), hour);
    /* An announcement that was under way for long is no clock that is behind; two of them are. */
    tell_time(&c, &b, wall - 9000, wall);
    assert_int_equal(rt_members_clock(&b.m), -40);
    tell_time(&c, &b, wall - 9000, wall);
    assert_int_equal(rt_members_clock(&b.m), 9000);
    tell_time(&c, &b, 0, wall); /* it does not say */
    assert_int_equal(rt_members_clock(&b.m), 9000);
    now += RT_MEMBER_GONE_MS;
    rt_members_expire(&b.m, now);
    assert_int_equal(rt_members_clock(&b.m), 0);
}

int main(void)
{
#define with_three(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        with_three(who_repeats_our_challenge_is_alive),
        with_three(nothing_is_taken_twice),
        with_three(what_a_dead_process_said_proves_nothing),
        with_three(who_was_silent_is_still_proven),
        with_three(who_says_goodbye_late_is_gone_already),
        with_three(who_is_forgotten_is_unknown),
        with_three(a_name_is_used_once),
        with_three(of_two_with_a_name_one_stops),
        with_three(a_restart_at_once_is_no_second_one),
        with_three(others_see_two_of_a_name),
        with_three(rules_and_logs_are_compared),
        with_three(rubbish_is_nobody),
        with_three(without_memory_it_is_heard_the_next_time),
        with_three(clocks_are_compared),
        cmocka_unit_test(heartbeats_are_our_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
