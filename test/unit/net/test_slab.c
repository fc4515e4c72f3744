#include "net_test.h"

#include "net/slab.h"

#define SIZE    280
#define OBJECTS 2000

struct object {
    uint64_t mark;
    uint16_t slab;
    unsigned char rest[SIZE - 16];
};

static struct object *take(struct rt_slabs *s)
{
    uint16_t slab = 0;
    struct object *o = rt_slabs_take(s, &slab);
    if (o)
        o->slab = slab;
    return o;
}

static void test_dense_and_zeroed(void **state)
{
    (void)state;
    struct rt_slabs s;
    static struct object *objects[OBJECTS];
    rt_slabs_init(&s, SIZE);
    assert_int_equal(s.per_slab, 234);
    for (size_t i = 0; i < OBJECTS; i++) {
        objects[i] = take(&s);
        assert_non_null(objects[i]);
        assert_int_equal(objects[i]->mark, 0);
        memset(objects[i]->rest, 0xee, sizeof(objects[i]->rest));
        objects[i]->mark = i + 1;
        if (i % s.per_slab)
            assert_ptr_equal((char *)objects[i], (char *)objects[i - 1] + SIZE);
    }
    assert_int_equal(s.count, (OBJECTS + 233) / 234);
    /* All of them, in order, none twice. */
    size_t pos = 0, seen = 0;
    for (struct object *o; (o = rt_slabs_next(&s, &pos)) != NULL; seen++)
        assert_ptr_equal(o, objects[seen]);
    assert_int_equal(seen, OBJECTS);
    /* The lowest hole is filled first, and is clean. */
    rt_slabs_give(&s, objects[1500], objects[1500]->slab);
    rt_slabs_give(&s, objects[7], objects[7]->slab);
    struct object *again = take(&s);
    assert_ptr_equal(again, objects[7]);
    for (size_t i = 0; i < sizeof(again->rest); i++)
        assert_int_equal(again->rest[i], 0);
    again = take(&s);
    assert_ptr_equal(again, objects[1500]);
    for (size_t i = 0; i < OBJECTS; i++)
        rt_slabs_give(&s, objects[i], objects[i]->slab);
    rt_slabs_deinit(&s);
}

static size_t slabs_with_memory(const struct rt_slabs *s)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->count; i++)
        n += s->slabs[i].memory != NULL;
    return n;
}

static void test_empty_slabs_are_given_back(void **state)
{
    (void)state;
    struct rt_slabs s;
    static struct object *objects[OBJECTS];
    rt_slabs_init(&s, SIZE);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < OBJECTS; i++)
            objects[i] = take(&s);
        assert_int_equal(slabs_with_memory(&s), 9);
        for (size_t i = OBJECTS; i-- > 100;)
            rt_slabs_give(&s, objects[i], objects[i]->slab);
        assert_int_equal(slabs_with_memory(&s), 2); /* the one in use and one to spare */
        for (size_t i = 0; i < 100; i++)
            rt_slabs_give(&s, objects[i], objects[i]->slab);
        assert_int_equal(slabs_with_memory(&s), 1);
        size_t pos = 0;
        assert_null(rt_slabs_next(&s, &pos));
    }
    rt_slabs_deinit(&s);
}

static void test_random(void **state)
{
    (void)state;
    struct rt_slabs s;
    static struct object *objects[OBJECTS];
    memset(objects, 0, sizeof(objects));
    rt_slabs_init(&s, SIZE);
    uint32_t seed = 12345, live = 0;
    for (int step = 0; step < 100000; step++) {
        seed = seed * 1664525 + 1013904223;
        size_t i = (seed >> 8) % OBJECTS;
        if (objects[i]) {
            assert_int_equal(objects[i]->mark, i + 1);
            rt_slabs_give(&s, objects[i], objects[i]->slab);
            objects[i] = NULL;
            live--;
        } else {
            objects[i] = take(&s);
            assert_int_equal(objects[i]->mark, 0);
            objects[i]->mark = i + 1;
            live++;
        }
    }
    size_t pos = 0;
    for (struct object *o; (o = rt_slabs_next(&s, &pos)) != NULL; live--)
        assert_ptr_equal(o, objects[o->mark - 1]);
    assert_int_equal(live, 0);
    for (size_t i = 0; i < OBJECTS; i++)
        if (objects[i])
            rt_slabs_give(&s, objects[i], objects[i]->slab);
    rt_slabs_deinit(&s);
}

#ifdef RT_TEST
static void test_out_of_memory(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct rt_slabs s;
        static struct object *objects[OBJECTS];
        rt_slabs_init(&s, SIZE);
        rt_alloc_fail_at(n, 0);
        size_t failures = 0;
        for (size_t i = 0; i < OBJECTS; i++) {
            objects[i] = take(&s);
            if (!objects[i]) {
                failures++;
                objects[i] = take(&s); /* once is nothing */
                assert_non_null(objects[i]);
            }
        }
        bool failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(failures, failed);
        for (size_t i = 0; i < OBJECTS; i++)
            rt_slabs_give(&s, objects[i], objects[i]->slab);
        rt_slabs_deinit(&s);
        if (!failed)
            break;
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense_and_zeroed),
        cmocka_unit_test(test_empty_slabs_are_given_back),
        cmocka_unit_test(test_random),
#ifdef RT_TEST
        cmocka_unit_test(test_out_of_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
