/* The sequencer: cases by hand, then random logs with peers that lose, repeat, reorder and invent nothing that is not in the log, against
 * a checker that is shown to notice planted faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "journal/sequencer.h"

#define PARTITIONS 3u
#define MOST       4000u

/* What was delivered, by partition. */
struct seen {
    uint64_t offsets[PARTITIONS][MOST];
    uint32_t count[PARTITIONS];
    bool wrong; /* a message that does not belong to its place */
};

static struct rt_str name_of(uint32_t partition)
{
    static const char *const names[PARTITIONS] = {"zero", "", "a longer name"};
    return rt_str_c(names[partition % PARTITIONS]);
}

static void on_deliver(void *arg, const struct rt_record *r)
{
    struct seen *seen = arg;
    char want[32];
    snprintf(want, sizeof(want), "%u/%llu", r->partition, (unsigned long long)r->offset);
    if (!rt_str_eq(r->message->m.data, rt_str_c(want)) || r->message->m.offset != r->offset ||
        !rt_str_eq(r->channel, name_of(r->partition)) || seen->count[r->partition] >= MOST) {
        seen->wrong = true;
        return;
    }
    seen->offsets[r->partition][seen->count[r->partition]++] = r->offset;
}

static int push_record(struct rt_sequencer *s, enum rt_source source, uint32_t partition,
                       uint64_t offset, bool empty)
{
    char data[32];
    char name[16];
    snprintf(data, sizeof(data), "%u/%llu", partition, (unsigned long long)offset);
    struct rt_str channel = name_of(partition);
    memcpy(name, channel.ptr, channel.len + 1); /* may not be used after the call */
    struct rt_message m = {.kind = RT_KIND_TEXT, .data = rt_str_c(data), .offset = offset};
    struct rt_record r = {partition, offset, rt_str_of(name, channel.len), NULL};
    if (!empty) {
        r.message = rt_stored_new(&m);
        assert_non_null(r.message);
    }
    int code = rt_sequencer_push(s, source, &r);
    memset(name, '!', sizeof(name));
    return code;
}

static void tail(struct rt_sequencer *s, uint64_t offset)
{
    assert_int_equal(push_record(s, RT_FROM_TAIL, 0, offset, false), 0);
}

static void peer(struct rt_sequencer *s, uint64_t offset)
{
    assert_int_equal(push_record(s, RT_FROM_PEER, 0, offset, false), 0);
}

static struct rt_sequencer *make(struct seen *seen, uint32_t max_entries, size_t max_bytes)
{
    struct rt_sequencer *s = NULL;
    memset(seen, 0, sizeof(*seen));
    struct rt_sequencer_options o = {PARTITIONS, max_entries, max_bytes, on_deliver, seen};
    assert_int_equal(rt_sequencer_new(&o, &s), 0);
    return s;
}

/* `text` is what partition 0 has delivered: "1 2 3 ". */
static void expect(const struct seen *seen, const char *text)
{
    char got[512] = "";
    size_t len = 0;
    for (uint32_t i = 0; i < seen->count[0]; i++)
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%llu ",
                                (unsigned long long)seen->offsets[0][i]);
    assert_string_equal(got, text);
    assert_false(seen->wrong);
}

/* ---- by hand ------------------------------------------------------------------------------------------------ */

static void test_early_and_late(void **state)
{
    (void)state;
    struct seen seen;
    struct rt_sequencer *s = make(&seen, 0, 0);
    assert_int_equal(rt_sequencer_next(s, 0), 0);
    peer(s, 12); /* unknown position: waits */
    expect(&seen, "");
    rt_sequencer_start(s, 0, 10);
    assert_int_equal(rt_sequencer_next(s, 0), 10);
    peer(s, 10); /* the next one */
    peer(s, 9);  /* below the start */
    expect(&seen, "10 ");
    peer(s, 11); /* and what waited behind it */
    expect(&seen, "10 11 12 ");
    peer(s, 12);
    tail(s, 10);
    tail(s, 11);
    tail(s, 12);
    expect(&seen, "10 11 12 ");
    tail(s, 13);
    expect(&seen, "10 11 12 13 ");
    struct rt_sequencer_stats st = rt_sequencer_stats(s);
    assert_int_equal(st.delivered_from_peer, 3);
    assert_int_equal(st.delivered_from_tail, 1);
    assert_int_equal(st.dropped_as_seen, 5);
    assert_int_equal(st.waiting, 0);
    assert_int_equal(st.waiting_bytes, 0);
    assert_int_equal(rt_sequencer_next(s, 0), 14);
    assert_int_equal(rt_sequencer_next(s, 1), 0); /* partitions are apart */
    rt_sequencer_free(s);
}

/* The tail passes over offsets: control records, what compaction took. Who waits there is not in the log. */
static void test_gaps_of_the_tail(void **state)
{
    (void)state;
    struct seen seen;
    struct rt_sequencer *s = make(&seen, 0, 0);
    tail(s, 5); /* the tail may begin without start() */
    peer(s, 7);
    peer(s, 9);
    peer(s, 10);
    tail(s, 9);
    expect(&seen, "5 9 10 ");
    peer(s, 12);
    rt_sequencer_start(s, 0, 12); /* the end that the tail has reached */
    expect(&seen, "5 9 10 12 ");
    rt_sequencer_start(s, 0, 3); /* never back */
    assert_int_equal(rt_sequencer_next(s, 0), 13);
    assert_int_equal(rt_sequencer_stats(s).dropped_as_absent, 1);
    peer(s, 14);
    assert_int_equal(push_record(s, RT_FROM_TAIL, 0, 13, true), 0); /* no message in it */
    expect(&seen, "5 9 10 12 14 ");
    rt_sequencer_free(s);
}

static void test_full(void **state)
{
    (void)state;
    struct seen seen;
    struct rt_sequencer *s = make(&seen, 4, 0);
    rt_sequencer_start(s, 0, 1);
    for (uint64_t o = 3; o <= 6; o++)
        peer(s, o);
    assert_int_equal(rt_sequencer_stats(s).waiting, 4);
    peer(s, 8); /* too many: all go, this one too */
    assert_int_equal(rt_sequencer_stats(s).waiting, 0);
    assert_int_equal(rt_sequencer_stats(s).dropped_as_full, 5);
    for (uint64_t o = 1; o <= 8; o++)
        tail(s, o);
    expect(&seen, "1 2 3 4 5 6 7 8 ");
    rt_sequencer_free(s);

    s = make(&seen, 0, 1); /* bytes: none fits */
    rt_sequencer_start(s, 0, 1);
    peer(s, 2);
    peer(s, 1);
    tail(s, 1);
    tail(s, 2);
    expect(&seen, "1 2 ");
    assert_int_equal(rt_sequencer_stats(s).dropped_as_full, 1);
    rt_sequencer_free(s);
}

static void test_made_anew(void **state)
{
    (void)state;
    struct seen seen;
    struct rt_sequencer *s = make(&seen, 0, 0);
    rt_sequencer_start(s, 0, 100);
    peer(s, 105);
    rt_sequencer_reset(s, 0);
    assert_int_equal(rt_sequencer_next(s, 0), 0);
    assert_int_equal(rt_sequencer_stats(s).waiting, 0);
    peer(s, 2);
    rt_sequencer_start(s, 0, 1);
    tail(s, 1);
    expect(&seen, "1 2 ");
    assert_int_equal(push_record(s, RT_FROM_PEER, PARTITIONS, 1, false), RT_EINVAL);
    assert_int_equal(push_record(s, RT_FROM_TAIL, 0, 0, false), RT_EINVAL);
    peer(s, 9); /* freed while it waits */
    rt_sequencer_free(s);
    rt_sequencer_free(NULL);
}

/* A refused allocation loses a peer's record, never one of the tail. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct seen seen;
    long live = rt_alloc_live();
    struct rt_sequencer *s = make(&seen, 0, 0);
    rt_sequencer_start(s, 0, 1);
    for (unsigned n = 1; n <= 2; n++) { /* the list, the entry */
        struct rt_message m = {.kind = RT_KIND_TEXT, .data = RT_STR("0/2"), .offset = 2};
        struct rt_record r = {0, 2, RT_STR("zero"), rt_stored_new(&m)};
        rt_alloc_fail_at(n, 0);
        assert_int_equal(rt_sequencer_push(s, RT_FROM_PEER, &r), RT_ENOMEM);
        rt_alloc_fail_at(0, 0);
    }
    struct rt_message m = {.kind = RT_KIND_TEXT, .data = RT_STR("0/1"), .offset = 1};
    struct rt_record r = {0, 1, RT_STR("zero"), rt_stored_new(&m)};
    rt_alloc_fail_at(1, 1);
    assert_int_equal(rt_sequencer_push(s, RT_FROM_TAIL, &r), 0);
    rt_alloc_fail_at(0, 0);
    tail(s, 2);
    expect(&seen, "1 2 ");
    rt_sequencer_free(s);
    rt_alloc_fail_at(1, 0);
    struct rt_sequencer_options o = {PARTITIONS, 0, 0, on_deliver, &seen};
    assert_int_equal(rt_sequencer_new(&o, &s), RT_ENOMEM);
    rt_alloc_fail_at(0, 0);
    assert_int_equal(rt_alloc_live(), live);
}

/* ---- at random ---------------------------------------------------------------------------------------------- */

static uint64_t seed;

static uint32_t below(uint32_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % bound);
}

/* One partition's log: rising offsets with holes; some records hold no message. */
struct log {
    uint64_t offsets[400];
    bool empty[400];
    uint32_t count, tailed;
};

static void make_log(struct log *log)
{
    uint64_t offset = 1 + below(50);
    memset(log, 0, sizeof(*log));
    log->count = 50 + below(350);
    for (uint32_t i = 0; i < log->count; i++) {
        log->offsets[i] = offset;
        log->empty[i] = below(20) == 0;
        offset += below(10) == 0 ? 2 + below(4) : 1;
    }
}

/* NULL, or what is wrong: each message of the log once, in order, nothing else. */
static const char *check(const struct log *log, const uint64_t *got, uint32_t count)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < log->count; i++) {
        if (log->empty[i])
            continue;
        if (at == count)
            return "one is missing at the end";
        if (got[at] != log->offsets[i])
            return got[at] > log->offsets[i] ? "one is missing" : "one came twice or late";
        at++;
    }
    return at == count ? NULL : "one too many";
}

/* Peers know records that are in the log, up to a little ahead of the tail. */
static void random_peer(struct rt_sequencer *s, const struct log *log, uint32_t partition,
                        uint32_t ahead)
{
    uint32_t back = below(6);
    uint32_t i = log->tailed + below(ahead);
    i = i > back ? i - back : 0;
    if (i >= log->count || log->empty[i])
        return;
    bool starve = below(50) == 0;
    struct rt_record r = {partition, log->offsets[i], name_of(partition), NULL};
    char data[32];
    snprintf(data, sizeof(data), "%u/%llu", partition, (unsigned long long)r.offset);
    struct rt_message m = {.kind = RT_KIND_TEXT, .data = rt_str_c(data), .offset = r.offset};
    r.message = rt_stored_new(&m);
    rt_alloc_fail_at(1, 1);
    if (!starve)
        rt_alloc_fail_at(0, 0);
    int code = rt_sequencer_push(s, RT_FROM_PEER, &r);
    rt_alloc_fail_at(0, 0);
    assert_true(code == 0 || (starve && code == RT_ENOMEM));
}

static void random_run(struct log *logs, struct seen *seen)
{
    uint32_t ahead = 1 + below(60);
    uint32_t chatter = below(12); /* peers for one of the tail */
    struct rt_sequencer *s = make(seen, 1 + below(40), 200 + below(9000));
    uint32_t left = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        make_log(&logs[p]);
        left += logs[p].count;
        if (below(2) > 0)
            rt_sequencer_start(s, p, logs[p].offsets[0]);
    }
    while (left > 0) {
        uint32_t p = below(PARTITIONS);
        struct log *log = &logs[p];
        for (uint32_t i = below(chatter + 1); i > 0 && rt_sequencer_next(s, p) != 0; i--)
            random_peer(s, log, p, ahead);
        if (log->tailed == log->count)
            continue;
        uint32_t i = log->tailed++;
        left--;
        assert_int_equal(push_record(s, RT_FROM_TAIL, p, log->offsets[i], log->empty[i]), 0);
        assert_true(rt_sequencer_next(s, p) > log->offsets[i]);
    }
    assert_int_equal(rt_sequencer_stats(s).waiting, 0);
    assert_int_equal(rt_sequencer_stats(s).waiting_bytes, 0);
    rt_sequencer_free(s);
}

static void test_random(void **state)
{
    (void)state;
    static struct log logs[PARTITIONS];
    static struct seen seen;
    long live = rt_alloc_live();
    for (uint64_t n = 1; n <= 400; n++) {
        seed = n;
        random_run(logs, &seen);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            const char *wrong = check(&logs[p], seen.offsets[p], seen.count[p]);
            if (wrong || seen.wrong)
                fail_msg("seed %llu partition %u: %s", (unsigned long long)n, p,
                         wrong ? wrong : "a message in a wrong place");
        }
    }
    assert_int_equal(rt_alloc_live(), live);
}

/* A checker that never failed proves nothing. */
static void test_planted_faults(void **state)
{
    (void)state;
    static struct log logs[PARTITIONS];
    static struct seen seen;
    uint64_t bad[MOST + 1];
    for (uint64_t n = 1; n <= 50; n++) {
        seed = n;
        random_run(logs, &seen);
        uint32_t count = seen.count[0];
        size_t size = count * sizeof(bad[0]);
        assert_null(check(&logs[0], seen.offsets[0], count));
        uint32_t at = below(count - 1);
        memcpy(bad, seen.offsets[0], size); /* lost */
        memmove(bad + at, bad + at + 1, (count - at - 1) * sizeof(bad[0]));
        assert_non_null(check(&logs[0], bad, count - 1));
        memcpy(bad, seen.offsets[0], size); /* twice */
        memmove(bad + at + 1, bad + at, (count - at) * sizeof(bad[0]));
        assert_non_null(check(&logs[0], bad, count + 1));
        memcpy(bad, seen.offsets[0], size); /* out of order */
        uint64_t first = bad[at];
        bad[at] = bad[at + 1];
        bad[at + 1] = first;
        assert_non_null(check(&logs[0], bad, count));
    }
}

/* ---- partitions --------------------------------------------------------------------------------------------- */

/* Made with Kafka's own Utils.toPositive(Utils.murmur2(key)). */
static void test_partition_of(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t hash;
    } known[] = {
        {"", 275646681u},
        {"a", 584102524u},
        {"ab", 316155434u},
        {"abc", 479470107u},
        {"abcd", 823834100u},
        {"abcde", 461995741u},
        {"chat:lobby", 215413545u},
        {"/", 690997008u},
        {"/n#room", 100214249u},
        {"news", 604944889u},
        {"k\xc3\xa4"
         "se",
         1077206893u},
        {"a much longer channel name with 0123456789", 379818293u},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct rt_str key = rt_str_c(known[i].key);
        assert_int_equal(rt_partition_of(key, 0x7fffffffu), known[i].hash % 0x7fffffffu);
        assert_int_equal(rt_partition_of(key, 16), known[i].hash % 16);
        assert_int_equal(rt_partition_of(key, 7), known[i].hash % 7);
        assert_int_equal(rt_partition_of(key, 1), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_early_and_late), cmocka_unit_test(test_gaps_of_the_tail),
        cmocka_unit_test(test_full),           cmocka_unit_test(test_made_anew),
        cmocka_unit_test(test_out_of_memory),  cmocka_unit_test(test_random),
        cmocka_unit_test(test_planted_faults), cmocka_unit_test(test_partition_of),
    };
    return cmocka_run_group_tests_name("sequencer", tests, NULL, NULL);
}
