/* Names of incarnations: the rules one by one, then many nodes on one log that is cut and made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "journal/kafka_epoch.h"

#define A "aaaaaaaaaa"
#define B "bbbbbbbbbb"
#define C "cccccccccc"
#define D "dddddddddd"

static void expect_read(struct rt_epoch_fold *fold, const char *evidence, uint64_t position,
                        enum rt_epoch_change change, const char *name, uint64_t at)
{
    assert_int_equal(rt_epoch_read(fold, rt_str_c(evidence), position), change);
    assert_string_equal(fold->name.text, name);
    assert_int_equal(fold->at, at);
}

static void test_rules(void **state)
{
    (void)state;
    struct rt_epoch_fold fold = {0};
    expect_read(&fold, NULL, 1, RT_EPOCH_SAME, "", 0);
    expect_read(&fold, D "@1", 1, RT_EPOCH_SAME, "", 0); /* knows what cannot be */
    expect_read(&fold, A "@0", 1, RT_EPOCH_NAMED, A, 1);
    expect_read(&fold, B "@0", 2, RT_EPOCH_SAME, A, 1); /* made up at the same time, later */
    expect_read(&fold, A "@2", 4, RT_EPOCH_SAME, A, 4);
    expect_read(&fold, B "@3", 5, RT_EPOCH_SAME, A, 4);
    expect_read(&fold, B "@4", 6, RT_EPOCH_NAMED, B, 6); /* knew it, and says otherwise */
    expect_read(&fold, A "@9", 7, RT_EPOCH_SAME, B, 6);  /* another one's past: it is barred */
    expect_read(&fold, A "@8", 9, RT_EPOCH_SAME, B, 6);
    expect_read(&fold, B "@10", 10, RT_EPOCH_BROKEN, "", 10);
    expect_read(&fold, B "@9", 11, RT_EPOCH_SAME, "", 10); /* had not read that it is gone */
    expect_read(&fold, B "@11", 12, RT_EPOCH_SAME, "", 10);
    expect_read(&fold, C "@10", 13, RT_EPOCH_NAMED, C, 13);
}

static void test_unreadable(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",         "@",        A,        A "@",          A "@x",
        A "@-1",    "aaaa@1",   A "a@1",  "aaaaa aaaa@1", A "@18446744073709551616",
        "@" A "@1", A "@1/",    A "@1/+", A "@1/0",       A "@1/65536",
        A "@1/x",   A "@1/2/3", A "@1/2-"};
    struct rt_epoch_fold fold = {0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect_read(&fold, texts[i], 10, RT_EPOCH_SAME, "", 0);
}

/* A log made anew, into which records of the old one come that were on their way: more of them than the old log had. */
static void test_on_their_way(void **state)
{
    (void)state;
    struct rt_epoch_fold old = {.whole = false}; /* a name without a number */
    for (uint64_t i = 1; i <= 8; i++)
        expect_read(&old, A "@5", i, RT_EPOCH_SAME, "", 0);
    expect_read(&old, B "@8", 9, RT_EPOCH_NAMED, B, 9);
    expect_read(&old, A "@5", 10, RT_EPOCH_SAME, B, 9);
    /* Records of other programs came first: none of these is where it cannot be. */
    struct rt_epoch_fold fold = {.whole = true};
    for (uint64_t i = 1; i <= 8; i++)
        expect_read(&fold, NULL, i, RT_EPOCH_SAME, "", 0);
    expect_read(&fold, A "@5/2", 9, RT_EPOCH_SAME, "", 0);
    expect_read(&fold, B "@9/2!", 10, RT_EPOCH_NAMED, B, 10);
    expect_read(&fold, A "@9/2", 11, RT_EPOCH_SAME, B, 10);
    expect_read(&fold, C "@9/2!", 12, RT_EPOCH_SAME, B, 10);  /* at the same time as B */
    expect_read(&fold, C "@12/2", 13, RT_EPOCH_NAMED, C, 13); /* it has begun, too */
    /* Who begins in the middle takes what there is. */
    struct rt_epoch_fold middle = {.whole = false};
    expect_read(&middle, A "@5/2", 9, RT_EPOCH_NAMED, A, 9);
    /* More names than are remembered: it goes on as from the middle. */
    for (char c = 'd'; c < 'd' + RT_EPOCH_BEGUN; c++) {
        char text[] = "xxxxxxxxxx@1/2!";
        memset(text, c, RT_EPOCH_NAME);
        (void)rt_epoch_read(&fold, rt_str_c(text), 20);
    }
    assert_false(fold.whole);
    expect_read(&fold, A "@20/2", 21, RT_EPOCH_NAMED, A, 21);
}

/* The number of partitions is part of the name, in evidence and in the epoch's text. */
static void test_number(void **state)
{
    (void)state;
    struct rt_epoch_fold fold = {0};
    struct rt_epoch_name name;
    uint32_t partition = 0;
    char evidence[RT_EVIDENCE_TEXT + 1], text[RT_EPOCH_TEXT + 1];
    expect_read(&fold, A "@0", 1, RT_EPOCH_NAMED, A, 1);
    assert_int_equal(fold.name.partitions, 0);
    expect_read(&fold, B "@1/16", 2, RT_EPOCH_NAMED, B, 2);
    assert_int_equal(fold.name.partitions, 16);
    assert_false(fold.name.moved);
    rt_epoch_make(&name, 65535, true);
    assert_int_equal(rt_epoch_evidence(&name, UINT64_MAX - 1, false, evidence), RT_EPOCH_NAME + 28);
    expect_read(&fold, evidence, UINT64_MAX, RT_EPOCH_NAMED, name.text, UINT64_MAX);
    assert_int_equal(fold.name.partitions, 65535);
    assert_true(fold.name.moved);
    rt_epoch_text(&name, 65534, text);
    assert_int_equal(rt_epoch_parse(rt_str_c(text), &name, &partition), 0);
    assert_string_equal(name.text, fold.name.text);
    assert_int_equal(name.partitions, 65535);
    assert_int_equal(partition, 65534);
    assert_int_equal(rt_epoch_parse(RT_STR(A ".7"), &name, &partition), 0);
    assert_int_equal(name.partitions, 0);
    assert_int_equal(partition, 7);
    static const char *const wrong[] = {A,         A ".",      A ".x",  A ".1.",     A ".1.0",
                                        A ".1.-1", A ".1.2.3", "a.1.2", A ".1.65536"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(rt_epoch_parse(rt_str_c(wrong[i]), &name, &partition), RT_EINVAL);
}

static void test_text(void **state)
{
    (void)state;
    struct rt_epoch_name name, other;
    char evidence[RT_EVIDENCE_TEXT + 1];
    char text[RT_EPOCH_TEXT + 1];
    rt_epoch_make(&name, 0, false);
    rt_epoch_make(&other, 0, false);
    assert_int_equal(strlen(name.text), RT_EPOCH_NAME);
    assert_string_not_equal(name.text, other.text);
    struct rt_epoch_fold fold = {0};
    size_t len = rt_epoch_evidence(&name, UINT64_MAX - 1, false, evidence);
    assert_int_equal(len, strlen(evidence));
    expect_read(&fold, evidence, UINT64_MAX, RT_EPOCH_NAMED, name.text, UINT64_MAX);
    rt_epoch_text(&name, UINT32_MAX, text);
    assert_int_equal(strlen(text), RT_EPOCH_NAME + 11);
    name.partitions = RT_EPOCH_COUNT;
    rt_epoch_text(&name, RT_EPOCH_COUNT - 1, text);
    assert_int_equal(strlen(text), RT_EPOCH_TEXT);
    name.partitions = 0;
    memcpy(name.text, A, sizeof(A));
    rt_epoch_text(&name, 7, text);
    assert_string_equal(text, A ".7");
}

/* ---- nodes on a log ------------------------------------------------------------------------------------------- */

#define NODES 4
#define MOST  3000

static uint64_t seed;
static uint32_t below(uint32_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % bound);
}

#define FLIGHT 12

struct node {
    struct rt_epoch_fold fold;
    uint64_t next;                             /* position to read */
    bool asked;                                /* a marker of its own is in the log, unread */
    char flight[FLIGHT][RT_EVIDENCE_TEXT + 1]; /* records on their way */
    uint32_t flying;
};

static char records[MOST + 1][RT_EVIDENCE_TEXT + 1];
static uint64_t end; /* last position */
static struct node nodes[NODES];

/* Names that nodes went by before the log was last made anew. */
static char gone[MOST][RT_EPOCH_NAME + 1];
static uint32_t gone_count;

static void land(struct node *n)
{
    for (uint32_t i = 0; i < n->flying && end < MOST; i++)
        memcpy(records[++end], n->flight[i], sizeof(records[0]));
    n->flying = 0;
}

static void append(struct node *n, const struct rt_epoch_name *name, bool begins)
{
    if (n->flying < FLIGHT)
        rt_epoch_evidence(name, n->next - 1, begins, n->flight[n->flying++]);
}

/* What is on its way stays so, whatever its producer does. */
static void start(struct node *n, uint64_t next)
{
    n->fold = (struct rt_epoch_fold){.whole = next == 1};
    n->next = next;
    n->asked = false;
}

static void catch_up(struct node *n, uint32_t most)
{
    for (; n->next <= end && most > 0; n->next++, most--)
        if (rt_epoch_read(&n->fold, rt_str_c(records[n->next]), n->next) != RT_EPOCH_SAME)
            n->asked = false;
    if (n->next > end && !n->fold.name.text[0] && !n->asked) {
        struct rt_epoch_name made;
        rt_epoch_make(&made, 4, false);
        append(n, &made, true);
        n->asked = true;
    }
}

static void turn(struct node *n)
{
    catch_up(n, below(8));
    if (n->fold.name.text[0] && below(2) == 0)
        append(n, &n->fold.name, false);
    if (below(200) == 0) /* starts again, reading the last few */
        start(n, end > 20 ? end - 20 : 1);
    if (below(4) == 0)
        land(n);
}

/* The log is cut at `length` positions; nodes that were beyond notice when they fetch. */
static void cut(uint64_t length)
{
    end = length;
    for (int i = 0; i < NODES; i++)
        if (nodes[i].next > end + 1)
            start(&nodes[i], length > 20 ? length - 20 : 1);
}

/* It is made anew, and all notice. */
static void make_anew(void)
{
    for (int i = 0; i < NODES && gone_count < MOST; i++)
        memcpy(gone[gone_count++], nodes[i].fold.name.text, RT_EPOCH_NAME + 1);
    end = 0;
    for (int i = 0; i < NODES; i++)
        start(&nodes[i], 1);
}

static void test_nodes_agree(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 300; n++) {
        seed = n;
        end = 0;
        gone_count = 0;
        memset(nodes, 0, sizeof(nodes));
        make_anew();
        for (int step = 0; step < 600; step++) {
            turn(&nodes[below(NODES)]);
            if (below(150) == 0)
                below(2) ? make_anew() : cut(end - end / 8);
        }
        for (int i = 0; i < NODES; i++)
            land(&nodes[i]);
        for (int quiet = 0; quiet < 6; quiet++) /* and then they only listen, one speaks */
            for (int i = 0; i < NODES; i++) {
                catch_up(&nodes[i], MOST);
                if (i == 0 && nodes[i].fold.name.text[0])
                    append(&nodes[i], &nodes[i].fold.name, false);
                land(&nodes[i]);
            }
        for (int i = 0; i < NODES; i++) {
            if (strcmp(nodes[i].fold.name.text, nodes[0].fold.name.text) != 0 ||
                !nodes[0].fold.name.text[0])
                fail_msg("seed %llu: node %d says \"%s\", node 0 \"%s\"", (unsigned long long)n, i,
                         nodes[i].fold.name.text, nodes[0].fold.name.text);
        }
        for (uint32_t i = 0; i < gone_count; i++)
            if (strcmp(gone[i], nodes[0].fold.name.text) == 0)
                fail_msg("seed %llu: \"%s\" was the name of a former log", (unsigned long long)n,
                         gone[i]);
    }
}

/* After a cut no position of the new part goes under the old name: who had read the old end and who had not agree on that. */
static void test_cut_is_seen_by_all(void **state)
{
    (void)state;
    struct rt_epoch_fold slow = {0};
    struct rt_epoch_fold late = {0};
    /* positions 1 to 3 were read by all; 4 to 9 were cut off; their reader goes on appending */
    expect_read(&slow, A "@0", 1, RT_EPOCH_NAMED, A, 1);
    expect_read(&slow, A "@2", 3, RT_EPOCH_SAME, A, 3);
    expect_read(&slow, A "@9", 4, RT_EPOCH_BROKEN, "", 4);
    expect_read(&slow, B "@4", 5, RT_EPOCH_NAMED, B, 5);
    expect_read(&late, A "@9", 4, RT_EPOCH_SAME, "", 0);
    expect_read(&late, B "@4", 5, RT_EPOCH_NAMED, B, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_on_their_way),
        cmocka_unit_test(test_nodes_agree),
        cmocka_unit_test(test_cut_is_seen_by_all),
    };
    return cmocka_run_group_tests_name("kafka_epoch", tests, NULL, NULL);
}
