#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "base/clock.h"

static void assert_iso(uint64_t ms, const char *wanted)
{
    char text[RT_ISO_TIME_LEN + 1];
    memset(text, '#', sizeof(text));
    rt_iso_time(ms, text);
    assert_string_equal(text, wanted);
    assert_int_equal(strlen(text), RT_ISO_TIME_LEN);
}

static void test_iso_known_times(void **state)
{
    (void)state;
    assert_iso(0, "1970-01-01T00:00:00.000Z");
    assert_iso(999, "1970-01-01T00:00:00.999Z");
    assert_iso(951782400000, "2000-02-29T00:00:00.000Z");
    assert_iso(951868799999, "2000-02-29T23:59:59.999Z");
    assert_iso(951868800000, "2000-03-01T00:00:00.000Z");
    assert_iso(1764398286123, "2025-11-29T06:38:06.123Z");
    assert_iso(4107542400000, "2100-03-01T00:00:00.000Z");
    assert_iso(253402300799999, "9999-12-31T23:59:59.999Z");
    assert_iso(253402300800000, "9999-12-31T23:59:59.999Z");
    assert_iso(UINT64_MAX, "9999-12-31T23:59:59.999Z");
}

/* Every day of 800 years, as libc has it. */
static void test_iso_agrees_with_libc(void **state)
{
    (void)state;
    for (uint64_t day = 0; day < 292194; day++) {
        uint64_t ms = day * 86400000 + day % 86400 * 1000 + day % 1000;
        time_t seconds = (time_t)(ms / 1000);
        struct tm tm;
        char wanted[48], got[RT_ISO_TIME_LEN + 1];
        gmtime_r(&seconds, &tm);
        strftime(wanted, sizeof(wanted), "%Y-%m-%dT%H:%M:%S", &tm);
        rt_iso_time(ms, got);
        assert_memory_equal(got, wanted, 19);
    }
}

static void test_clocks(void **state)
{
    (void)state;
    uint64_t ns = rt_mono_ns();
    uint64_t ms = rt_mono_ms();
    assert_true(ms >= ns / 1000000);
    assert_true(rt_mono_ns() >= ns);
    assert_true(rt_mono_ms() * 1000000 <= rt_mono_ns());
    uint64_t before = (uint64_t)time(NULL);
    uint64_t wall = rt_wall_ms() / 1000;
    uint64_t after = (uint64_t)time(NULL);
    /* time() may lag by a tick of the kernel. */
    assert_true(wall + 1 >= before && wall <= after + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iso_known_times),
        cmocka_unit_test(test_iso_agrees_with_libc),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
