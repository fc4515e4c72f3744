#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    int number;
    struct rt_list link;
};

static struct item *item_of(struct rt_list *node)
{
    return RT_CONTAINER(node, struct item, link);
}

/* The numbers in both directions. */
static void assert_order(struct rt_list *head, const int *wanted, size_t count)
{
    size_t i = 0;
    rt_list_for(it, head) {
        assert_true(i < count);
        assert_int_equal(item_of(it)->number, wanted[i++]);
    }
    assert_int_equal(i, count);
    for (struct rt_list *it = head->prev; it != head; it = it->prev)
        assert_int_equal(item_of(it)->number, wanted[--i]);
    assert_int_equal(i, 0);
    assert_int_equal(rt_list_empty(head), count == 0);
}

static void make_items(struct item *items, int count)
{
    for (int i = 0; i < count; i++) {
        items[i].number = i;
        rt_list_init(&items[i].link);
    }
}

static void test_push_and_pop(void **state)
{
    (void)state;
    struct item items[3];
    struct rt_list head;
    make_items(items, 3);
    rt_list_init(&head);
    assert_order(&head, NULL, 0);
    assert_null(rt_list_pop(&head));
    rt_list_push(&head, &items[0].link);
    rt_list_push(&head, &items[1].link);
    rt_list_push_front(&head, &items[2].link);
    assert_order(&head, (int[]){2, 0, 1}, 3);
    assert_ptr_equal(rt_list_pop(&head), &items[2].link);
    assert_true(rt_list_empty(&items[2].link));
    assert_order(&head, (int[]){0, 1}, 2);
}

static void test_remove_is_idempotent(void **state)
{
    (void)state;
    struct item items[3];
    struct rt_list head;
    make_items(items, 3);
    rt_list_init(&head);
    for (int i = 0; i < 3; i++)
        rt_list_push(&head, &items[i].link);
    rt_list_remove(&items[1].link);
    rt_list_remove(&items[1].link);
    assert_order(&head, (int[]){0, 2}, 2);
    rt_list_remove(&items[0].link);
    rt_list_remove(&items[2].link);
    assert_order(&head, NULL, 0);
}

static void test_removal_while_walking(void **state)
{
    (void)state;
    struct item items[5];
    struct rt_list head;
    make_items(items, 5);
    rt_list_init(&head);
    for (int i = 0; i < 5; i++)
        rt_list_push(&head, &items[i].link);
    rt_list_for_safe(it, next, &head) {
        if (item_of(it)->number % 2 == 0)
            rt_list_remove(it);
    }
    assert_order(&head, (int[]){1, 3}, 2);
}

static void test_splice(void **state)
{
    (void)state;
    struct item items[4];
    struct rt_list a, b;
    make_items(items, 4);
    rt_list_init(&a);
    rt_list_init(&b);
    rt_list_splice(&a, &b);
    assert_order(&a, NULL, 0);
    rt_list_push(&b, &items[0].link);
    rt_list_push(&b, &items[1].link);
    rt_list_splice(&a, &b);
    assert_order(&a, (int[]){0, 1}, 2);
    assert_order(&b, NULL, 0);
    rt_list_push(&b, &items[2].link);
    rt_list_push(&b, &items[3].link);
    rt_list_splice(&a, &b);
    assert_order(&a, (int[]){0, 1, 2, 3}, 4);
    rt_list_splice(&a, &b);
    assert_order(&a, (int[]){0, 1, 2, 3}, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_push_and_pop),
        cmocka_unit_test(test_remove_is_idempotent),
        cmocka_unit_test(test_removal_while_walking),
        cmocka_unit_test(test_splice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
