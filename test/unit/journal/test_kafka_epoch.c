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
    expect_read(&fold, A "@1", 1, RT_EPOCH_SAME, "", 0); /* knows what cannot be */
    expect_read(&fold, A "@0", 1, RT_EPOCH_NAMED, A, 1);
    expect_read(&fold, B "@0", 2, RT_EPOCH_SAME, A, 1); /* made up at the same time, later */
    expect_read(&fold, A "@2", 4, RT_EPOCH_SAME, A, 4);
    expect_read(&fold, B "@3", 5, RT_EPOCH_SAME, A, 4);
    expect_read(&fold, B "@4", 6, RT_EPOCH_NAMED, B, 6); /* knew it, and says otherwise */
    expect_read(&fold, A "@9", 7, RT_EPOCH_SAME, B, 6);  /* another one's past */
    expect_read(&fold, B "@7", 7, RT_EPOCH_BROKEN, "", 7);
    expect_read(&fold, B "@6", 8, RT_EPOCH_SAME, "", 7); /* had not read that it is gone */
    expect_read(&fold, A "@7", 9, RT_EPOCH_NAMED, A, 9);
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
    assert_int_equal(rt_epoch_evidence(&name, UINT64_MAX - 1, evidence), RT_EPOCH_NAME + 28);
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
    size_t len = rt_epoch_evidence(&name, UINT64_MAX - 1, evidence);
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

struct node {
    struct rt_epoch_fold fold;
    uint64_t next; /* position to read */
    bool asked;    /* a marker of its own is in the log, unread */
};

static char records[MOST + 1][RT_EVIDENCE_TEXT + 1];
static uint64_t end; /* last position */
static struct node nodes[NODES];

static void append(struct node *n, const struct rt_epoch_name *name)
{
    if (end < MOST)
        rt_epoch_evidence(name, n->next - 1, records[++end]);
}

static void catch_up(struct node *n, uint32_t most)
{
    for (; n->next <= end && most > 0; n->next++, most--)
        if (rt_epoch_read(&n->fold, rt_str_c(records[n->next]), n->next) != RT_EPOCH_SAME)
            n->asked = false;
    if (n->next > end && !n->fold.name.text[0] && !n->asked) {
        struct rt_epoch_name made;
        rt_epoch_make(&made, 4, false);
        append(n, &made);
        n->asked = true;
    }
}

static void turn(struct node *n)
{
    catch_up(n, below(8));
    if (n->fold.name.text[0] && below(2) == 0)
        append(n, &n->fold.name);
    if (below(200) == 0) /* starts again, reading the last few */
        *n = (struct node){.next = end > 20 ? end - 20 : 1};
}

/* The log is cut at `length` positions; nodes that were beyond notice when they fetch. */
static void cut(uint64_t length)
{
    end = length;
    for (int i = 0; i < NODES; i++)
        if (nodes[i].next > end + 1)
            nodes[i] = (struct node){.next = length > 20 ? length - 20 : 1};
}

static void test_nodes_agree(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 300; n++) {
        seed = n;
        end = 0;
        for (int i = 0; i < NODES; i++)
            nodes[i] = (struct node){.next = 1};
        for (int step = 0; step < 600; step++) {
            turn(&nodes[below(NODES)]);
            if (below(150) == 0)
                cut(below(2) ? 0 : end - end / 8);
        }
        for (int quiet = 0; quiet < 6; quiet++) /* and then they only listen, one speaks */
            for (int i = 0; i < NODES; i++) {
                catch_up(&nodes[i], MOST);
                if (i == 0 && nodes[i].fold.name.text[0])
                    append(&nodes[i], &nodes[i].fold.name);
            }
        for (int i = 0; i < NODES; i++) {
            if (strcmp(nodes[i].fold.name.text, nodes[0].fold.name.text) != 0 ||
                !nodes[0].fold.name.text[0])
                fail_msg("seed %llu: node %d says \"%s\", node 0 \"%s\"", (unsigned long long)n, i,
                         nodes[i].fold.name.text, nodes[0].fold.name.text);
        }
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
        cmocka_unit_test(test_rules),       cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_text),        cmocka_unit_test(test_number),
        cmocka_unit_test(test_nodes_agree), cmocka_unit_test(test_cut_is_seen_by_all),
    };
    return cmocka_run_group_tests_name("kafka_epoch", tests, NULL, NULL);
}
