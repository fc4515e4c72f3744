/* Each allocation of a scenario fails, one after the other; what is left behind each time is for tear_down() to find.
 * Include it in one file of a program, after cmocka.h. */
#ifndef TEST_UNIT_ALLOC_LOOP_H
#define TEST_UNIT_ALLOC_LOOP_H

#include <stdbool.h>

#include "base/alloc.h"

struct alloc_loop {
    int (*set_up)(void **state);
    void (*prepare)(void); /* with memory, as set_up() */
    int (*start)(void);  /* without it from here on: 0, or a code where an allocation has failed */
    void (*play)(void);  /* once started */
    void (*check)(void); /* likewise, with memory again; NULL: nothing */
    int (*tear_down)(void **state);
};

/* How many there are. */
static unsigned long fail_each_allocation(const struct alloc_loop *l)
{
    enum { MOST = 3000 };
    unsigned long n = 0;
    bool failed = true;
    while (failed) {
        assert_int_equal(l->set_up(NULL), 0);
        l->prepare();
        rt_alloc_fail_at(++n, 0);
        int status = l->start();
        if (status == 0)
            l->play();
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_true(status == 0 || failed);
        if (status == 0 && l->check)
            l->check();
        assert_int_equal(l->tear_down(NULL), 0);
        assert_true(n < MOST);
    }
    return n;
}

#endif
