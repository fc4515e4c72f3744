/* Positions of a shared log as tokens name them, and ids that every node knows for ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "journal/sequencer.h"
#include "proto/socketio/remote.h"

#define PARTITIONS 4

struct fake {
    struct rt_journal base;
    const char *epochs[PARTITIONS];
    uint64_t offsets[PARTITIONS];
    uint32_t partitions; /* 0: PARTITIONS */
};

static uint32_t partitions(const struct rt_journal *j)
{
    const struct fake *f = RT_CONTAINER(j, struct fake, base);
    return f->partitions ? f->partitions : PARTITIONS;
}

static const char *delivered(const struct rt_journal *j, uint32_t partition, uint64_t *ret_offset)
{
    const struct fake *f = RT_CONTAINER(j, struct fake, base);
    *ret_offset = f->offsets[partition];
    return f->epochs[partition];
}

static const struct rt_journal_ops ops = {.partitions = partitions, .delivered = delivered};
static const struct rt_journal_ops alone;

static void start(struct fake *f, struct rt_sio_places **ret_places)
{
    *f = (struct fake){.base = {.ops = &ops},
                       .epochs = {"a.0", "b.1", "c.2", "d.3"},
                       .offsets = {10, 0, 1000, 46656}};
    assert_int_equal(rt_sio_places_new(&f->base, ret_places), 0);
}

static void text_of(const struct rt_sio_places *p, const uint64_t *offsets, struct rt_buf *out)
{
    rt_buf_clear(out);
    rt_sio_places_write(p, offsets, out);
}

static void there_and_back(void **state)
{
    (void)state;
    struct fake f;
    struct rt_sio_places *p, *other;
    struct rt_buf out = RT_BUF_INIT;
    uint64_t got[PARTITIONS] = {0, 0, 2000, 0};
    start(&f, &p);
    text_of(p, NULL, &out);
    assert_int_equal(out.len, 0); /* none matters yet */
    rt_sio_places_use(p, RT_STR("room"));
    p->used[2] = p->used[3] = true;
    text_of(p, NULL, &out);
    assert_true(rt_glob_match(RT_STR("~*~*2-rs.3-1000"), rt_buf_str(&out)));
    struct rt_sio_place place = rt_sio_places_of(p, RT_STR("room"));
    assert_int_equal(place.partition, rt_partition_of(RT_STR("room"), PARTITIONS));
    assert_int_equal(place.offset, f.offsets[place.partition]);
    assert_true(rt_sio_places_read(p, rt_buf_str(&out), got));
    assert_int_equal(got[2], 2000); /* only raised */
    assert_int_equal(got[3], 46656);
    /* Another node of the same log reads it, one of another incarnation does not. */
    assert_int_equal(rt_sio_places_new(&f.base, &other), 0);
    assert_true(rt_sio_places_read(other, rt_buf_str(&out), got));
    assert_true(other->base != p->base);
    f.epochs[3] = "e.3";
    assert_false(rt_sio_places_read(other, rt_buf_str(&out), got));
    rt_sio_places_free(other);
    rt_sio_places_free(p);
    rt_buf_deinit(&out);
}

static void given_offsets(void **state)
{
    (void)state;
    struct fake f;
    struct rt_sio_places *p;
    struct rt_buf out = RT_BUF_INIT;
    uint64_t offsets[PARTITIONS] = {0, 7, 0, 35}, got[PARTITIONS] = {0};
    start(&f, &p);
    text_of(p, offsets, &out);
    assert_true(rt_glob_match(RT_STR("~*~1-7.3-z"), rt_buf_str(&out)));
    assert_true(rt_sio_places_read(p, rt_buf_str(&out), got));
    assert_memory_equal(got, offsets, sizeof(got));
    rt_sio_places_free(p);
    rt_buf_deinit(&out);
}

/* Partitions are added: tokens of before say nothing any more, those of now name the new ones; without memory they name all. */
static void partitions_change(void **state)
{
    (void)state;
    struct fake f;
    struct rt_sio_places *p;
    struct rt_buf old = RT_BUF_INIT, now = RT_BUF_INIT;
    uint64_t got[PARTITIONS] = {0};
    start(&f, &p);
    f.partitions = 2;
    rt_sio_places_recount(p);
    p->used[1] = true;
    text_of(p, NULL, &old);
    f.partitions = PARTITIONS;
    f.epochs[1] = "x.1.4";
    f.epochs[3] = "x.3.4";
    rt_sio_places_recount(p);
    assert_int_equal(p->count, PARTITIONS);
    text_of(p, NULL, &now);
    assert_int_equal(now.len, 0);
    assert_false(rt_sio_places_read(p, rt_buf_str(&old), got));
    rt_alloc_fail_at(1, 0);
    rt_sio_places_recount(p);
    rt_alloc_fail_at(0, 0);
    rt_sio_places_use(p, RT_STR("room"));
    text_of(p, NULL, &now);
    assert_true(rt_glob_match(RT_STR("~*~0-a.1-0.2-rs.3-1000"), rt_buf_str(&now)));
    assert_true(rt_sio_places_read(p, rt_buf_str(&now), got));
    rt_sio_places_free(p);
    rt_buf_deinit(&old);
    rt_buf_deinit(&now);
}

static void what_is_no_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "x",      "~",          "~~",     "~0~",        "~0~1",
        "~0~1-",  "~0~-1",      "~0~4-1", "~0~2-1.1-1", "~0~1-1.",
        "~0~1-A", "~0~1-1.1-1", "~~1-1",  "0~1-1",      "~0~1-1234567890123"};
    struct fake f;
    struct rt_sio_places *p;
    start(&f, &p);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint64_t got[PARTITIONS] = {0};
        assert_false(rt_sio_places_read(p, rt_str_c(wrong[i]), got));
    }
    uint64_t got[PARTITIONS] = {0};
    assert_true(rt_sio_places_read(p, RT_STR_NONE, got));
    rt_sio_places_free(p);
    f.base.ops = &alone;
    assert_int_equal(rt_sio_places_new(&f.base, &p), RT_EINVAL);
}

static void tokens(void **state)
{
    (void)state;
    struct rt_sio_position p;
    assert_true(rt_sio_token_read(RT_STR("1z"), &p));
    assert_int_equal(p.stamp, 71);
    assert_false(p.has_number);
    assert_int_equal(p.places.len, 0);
    assert_true(rt_sio_token_read(RT_STR("0.3~abc~1-2.3-4"), &p));
    assert_true(p.has_number);
    assert_int_equal(p.number, 3);
    assert_true(rt_str_eq(p.places, RT_STR("~abc~1-2.3-4")));
    static const char *const wrong[] = {"", ".", "1.", ".1", "A", "1.2.3", "~0~1-1", "1.zzzzzzzz"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(rt_sio_token_read(rt_str_c(wrong[i]), &p));
}

static void ids(void **state)
{
    (void)state;
    char id[RT_ID_LEN + 1];
    for (int i = 0; i < 1000; i++) {
        rt_sio_remote_make_id(id);
        assert_int_equal(strlen(id), RT_ID_LEN);
        assert_true(rt_sio_remote_is_id(rt_str_c(id)));
        id[i % 16] = id[i % 16] == 'x' ? 'y' : 'x';
        assert_false(rt_sio_remote_is_id(rt_str_c(id)));
    }
    assert_false(rt_sio_remote_is_id(RT_STR("short")));
}

/* What another node wrote, line by line; or somebody else. */
static void rooms_of_a_session(void **state)
{
    (void)state;
    struct rt_str rooms = RT_STR("j1 a ff a room\nj0 0 1 /\nl3 z 5 \n"), name;
    struct rt_sio_place place;
    assert_int_equal(rt_sio_state_next(&rooms, &name, &place), 1);
    assert_true(rt_str_eq(name, RT_STR("a room")));
    assert_int_equal(place.partition, 1);
    assert_int_equal(place.offset, 10);
    assert_int_equal(place.epoch, 555);
    assert_int_equal(rt_sio_state_next(&rooms, &name, &place), 1);
    assert_true(rt_str_eq(name, RT_STR("/")));
    assert_int_equal(rt_sio_state_next(&rooms, &name, &place), 1);
    assert_null(name.ptr);
    assert_int_equal(place.offset, 35);
    assert_int_equal(rt_sio_state_next(&rooms, &name, &place), 0);
    static const char *const wrong[] = {"\n", "j\n", "j1\n", "j1 2\n", "jx- 1 1 r\n", "j1 1 ? r\n"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        rooms = rt_str_c(wrong[i]);
        assert_int_equal(rt_sio_state_next(&rooms, &name, &place), RT_EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(given_offsets),
        cmocka_unit_test(partitions_change),
        cmocka_unit_test(what_is_no_place),
        cmocka_unit_test(tokens),
        cmocka_unit_test(ids),
        cmocka_unit_test(rooms_of_a_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
