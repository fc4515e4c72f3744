#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rand.h"

/* Every length around the size of the pool: all bytes written, none beside them. */
static void test_fills_exactly(void **state)
{
    (void)state;
    uint8_t out[2002];
    rt_random(NULL, 0);
    for (size_t len = 0; len <= 2000; len += len < 600 ? 1 : 97) {
        uint8_t seen_or = 0, seen_and = 0xff;
        memset(out, 0x5a, sizeof(out));
        rt_random(out + 1, len);
        for (size_t i = 1; i <= len; i++) {
            seen_or |= out[i];
            seen_and &= out[i];
        }
        assert_int_equal(out[0], 0x5a);
        assert_int_equal(out[len + 1], 0x5a);
        if (len >= 32) { /* false alarms: 8 in 2^32 */
            assert_int_equal(seen_or, 0xff);
            assert_int_equal(seen_and, 0);
        }
    }
}

static void test_below_is_uniform(void **state)
{
    (void)state;
    unsigned counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint32_t n = rt_random_below(7);
        assert_true(n < 7);
        counts[n]++;
    }
    for (int i = 0; i < 7; i++) /* 8 standard deviations */
        assert_in_range(counts[i], 10000 - 760, 10000 + 760);
    for (int i = 0; i < 100; i++)
        assert_int_equal(rt_random_below(1), 0);
    /* With this bound taking the remainder would favour the lower half two to one. */
    int low = 0;
    for (int i = 0; i < 10000; i++)
        low += rt_random_below(0xc0000000u) < 0x60000000u;
    assert_in_range(low, 4600, 5400);
}

static void test_ids(void **state)
{
    (void)state;
    char ids[200][RT_ID_LEN + 1];
    for (int i = 0; i < 200; i++) {
        rt_random_id(ids[i]);
        assert_int_equal(strlen(ids[i]), RT_ID_LEN);
        assert_int_equal(strspn(ids[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789-_"),
                         RT_ID_LEN);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(ids[i], ids[j]);
    }
}

static uint64_t uuid_ms(const uint8_t u[16])
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | u[i];
    return ms;
}

static void assert_version_7(const uint8_t u[16])
{
    assert_int_equal(u[6] >> 4, 7);
    assert_int_equal(u[8] >> 6, 2);
}

static void test_uuid_rises(void **state)
{
    (void)state;
    const uint64_t now = 1764398286123;
    uint8_t last[16], next[16];
    rt_uuid7(now, last);
    assert_version_7(last);
    assert_true(uuid_ms(last) == now);
    /* More than the counter holds, within one millisecond, and with a clock that steps back. */
    for (int i = 0; i < 20000; i++) {
        rt_uuid7(now - (i % 3 == 0 ? 5000 : 0), next);
        assert_version_7(next);
        assert_true(memcmp(last, next, 16) < 0);
        memcpy(last, next, 16);
    }
    assert_true(uuid_ms(last) - now < 10);
    rt_uuid7(now + 1000, next);
    assert_true(uuid_ms(next) == now + 1000);
    assert_memory_not_equal(last + 8, next + 8, 8);
}

#define THREADS  4
#define PER_EACH 2000

static uint8_t made[THREADS][PER_EACH][16];

static void *make_uuids(void *arg)
{
    uint8_t(*mine)[16] = arg;
    for (int i = 0; i < PER_EACH; i++)
        rt_uuid7(1764398299000, mine[i]);
    return NULL;
}

static int compare_uuids(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/* Already the first eight bytes differ, whatever the random ones are. */
static void test_uuids_of_threads_differ(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_uuids, made[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int t = 0; t < THREADS; t++) {
        for (int i = 1; i < PER_EACH; i++)
            assert_true(memcmp(made[t][i - 1], made[t][i], 8) < 0);
    }
    qsort(made, (size_t)THREADS * PER_EACH, 16, compare_uuids);
    uint8_t(*all)[16] = made[0];
    for (int i = 1; i < THREADS * PER_EACH; i++)
        assert_memory_not_equal(all[i - 1], all[i], 8);
}

static void test_uuid_format(void **state)
{
    (void)state;
    const uint8_t u[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x7d, 0xef,
                           0x80, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff};
    char text[RT_UUID_LEN + 1];
    rt_uuid_format(u, text);
    assert_string_equal(text, "01234567-89ab-7def-8011-2233445566ff");
}

static void test_fork_does_not_repeat(void **state)
{
    (void)state;
    uint8_t here[16], there[16];
    int ends[2];
    rt_random(here, 1); /* there is a pool */
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rt_random(there, sizeof(there));
        _exit(write(ends[1], there, sizeof(there)) == sizeof(there) ? 0 : 1);
    }
    rt_random(here, sizeof(here));
    assert_int_equal(read(ends[0], there, sizeof(there)), sizeof(there));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_memory_not_equal(here, there, sizeof(here));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fills_exactly),
        cmocka_unit_test(test_below_is_uniform),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_uuid_rises),
        cmocka_unit_test(test_uuids_of_threads_differ),
        cmocka_unit_test(test_uuid_format),
        cmocka_unit_test(test_fork_does_not_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
