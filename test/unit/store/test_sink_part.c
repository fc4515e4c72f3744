/* A partition as the sink sees it: names of its incarnation. Pure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "store/sink_part.h"

#define A "AAAAAAAAAA"
#define B "BBBBBBBBBB"

static struct rt_keys_budget keys;

static enum rt_sink_step look(struct rt_sink_part *p, const char *evidence, uint64_t position)
{
    return rt_sink_part_look(p, evidence ? rt_str_c(evidence) : RT_STR_NONE, position);
}

static void test_named_from_the_beginning(void **state)
{
    (void)state;
    struct rt_sink_part p;
    rt_sink_part_init(&p, 3, 0, &keys);
    assert_int_equal(look(&p, A "@0", 1), RT_SINK_STALE);
    rt_sink_part_load_nothing(&p);
    rt_sink_part_name(&p, 11);
    assert_int_equal(look(&p, NULL, 10), RT_SINK_STALE);
    assert_int_equal(look(&p, NULL, 11), RT_SINK_TAKEN);
    assert_int_equal(look(&p, A "@11", 12), RT_SINK_FOUND);
    assert_string_equal(p.epoch, A ".3");
    assert_int_equal(p.purged, 10);
    assert_int_equal(p.state, RT_SINK_READING);
    /* All of it is read again under this name, and the evidence that was looked at is not looked at again. */
    assert_int_equal(look(&p, NULL, 11), RT_SINK_TAKEN);
    assert_int_equal(look(&p, B "@11", 12), RT_SINK_TAKEN);
    assert_int_equal(look(&p, A "@12", 13), RT_SINK_TAKEN);
    assert_int_equal(look(&p, A "@12", 13), RT_SINK_STALE);
    rt_sink_part_deinit(&p);
}

static void test_other_name_and_broken(void **state)
{
    (void)state;
    struct rt_sink_part p;
    rt_sink_part_init(&p, 0, 0, &keys);
    assert_int_equal(rt_sink_part_load(&p, RT_STR(A ".0"), 5, 10, 0), 0);
    rt_sink_part_read(&p, 10);
    assert_int_equal(look(&p, B "@2", 10), RT_SINK_TAKEN); /* it had not read our confirmation */
    assert_int_equal(look(&p, B "@9", 11), RT_SINK_NAMED);
    assert_string_equal(p.epoch, A ".0");
    rt_sink_part_adopt(&p, 11);
    assert_string_equal(p.epoch, B ".0");
    assert_int_equal(p.purged, 10);
    assert_int_equal(look(&p, B "@40", 12), RT_SINK_BROKEN);
    assert_int_equal(p.expected, 12);
    /* The void name does not come back. */
    rt_sink_part_name(&p, 7);
    assert_int_equal(look(&p, B "@6", 7), RT_SINK_TAKEN);
    assert_int_equal(look(&p, A "@7", 8), RT_SINK_FOUND);
    assert_int_equal(p.expected, 7);
    rt_sink_part_deinit(&p);
}

/* The topic has got another number of partitions: keys begin anew, and who asks from the beginning of the new epoch is told that there may have been more. */
static void test_other_number(void **state)
{
    (void)state;
    struct rt_sink_part p;
    uint64_t first = 0;
    const struct rt_message m = {.offset = 9, .time = 1000, .key = RT_STR("k")};
    rt_sink_part_init(&p, 3, 1000, &keys);
    assert_int_equal(rt_sink_part_load(&p, RT_STR(A ".3.16"), 5, 10, 2), 0);
    assert_int_equal(p.fold.name.partitions, 16);
    assert_false(rt_dedupe_record(&p.dedupe, RT_STR("c"), &m, &first));
    rt_sink_part_read(&p, 10);
    assert_int_equal(look(&p, A "@9/16", 10), RT_SINK_TAKEN);
    assert_int_equal(look(&p, B "@10/32+", 11), RT_SINK_NAMED);
    rt_sink_part_adopt(&p, 11);
    assert_string_equal(p.epoch, B ".3.32");
    assert_int_equal(p.purged, 10);
    assert_false(rt_dedupe_find(&p.dedupe, RT_STR("c"), &m, &first));
    /* A partition that was added begins with its marker. */
    rt_sink_part_load_nothing(&p);
    rt_sink_part_name(&p, 1);
    assert_int_equal(look(&p, A "@0/32+!", 1), RT_SINK_FOUND);
    assert_string_equal(p.epoch, A ".3.32");
    assert_int_equal(p.purged, 1);
    rt_sink_part_deinit(&p);
}

/* Held in front of a record: it is the next one again, until something lies behind it only. */
static void test_held(void **state)
{
    (void)state;
    struct rt_sink_part p;
    rt_sink_part_init(&p, 1, 0, &keys);
    assert_int_equal(rt_sink_part_load(&p, RT_STR(A ".1"), 1, 5, 0), 0);
    rt_sink_part_read(&p, 5);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(look(&p, A "@4", 5), RT_SINK_TAKEN);
        assert_int_equal(rt_sink_part_hold(&p, 5), i == 1);
        assert_int_equal(p.state, RT_SINK_HELD);
        assert_int_equal(p.held_tries, i);
        assert_int_equal(look(&p, A "@4", 5), RT_SINK_STALE);
        assert_int_equal(look(&p, A "@4", 6), RT_SINK_STALE);
        rt_sink_part_read(&p, 5);
        assert_int_equal(p.held_at, 5);
    }
    rt_sink_part_read(&p, 6); /* retention has taken it */
    assert_int_equal(p.held_at, 0);
    assert_int_equal(look(&p, A "@4", 6), RT_SINK_TAKEN);
    assert_true(rt_sink_part_hold(&p, 6));
    rt_sink_part_name(&p, 3); /* another log */
    assert_int_equal(p.held_at, 0);
    rt_sink_part_deinit(&p);
}

static void test_load_refuses(void **state)
{
    (void)state;
    struct rt_sink_part p;
    rt_sink_part_init(&p, 1, 0, &keys);
    assert_int_equal(rt_sink_part_load(&p, RT_STR(A ".0"), 0, 1, 0), RT_EINVAL);
    assert_int_equal(rt_sink_part_load(&p, RT_STR("A.1"), 0, 1, 0), RT_EINVAL);
    assert_int_equal(rt_sink_part_load(&p, RT_STR(A ".1"), 0, 0, 0), RT_EINVAL);
    assert_int_equal(p.state, RT_SINK_AWAY);
    rt_sink_part_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_from_the_beginning),
        cmocka_unit_test(test_other_name_and_broken),
        cmocka_unit_test(test_other_number),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_load_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
