#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/metrics.h"

static void assert_written(const struct rt_metrics *m, const char *wanted)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_metrics_write(m, &out);
    assert_string_equal(rt_buf_cstr(&out), wanted);
    rt_buf_deinit(&out);
}

static double read_number(void *arg)
{
    return *(const double *)arg;
}

static void test_families(void **state)
{
    (void)state;
    double seconds = 0.1;
    struct rt_metric b_slow = {.name = "b_total",
                               .help = "B with \\ and\nline.",
                               .labels = "why=\"slow\"",
                               .type = RT_COUNTER,
                               .value = UINT64_MAX};
    struct rt_metric z = {
        .name = "z_seconds", .help = "Z.", .type = RT_GAUGE, .read = read_number, .arg = &seconds};
    struct rt_metric b_gone = {
        .name = "b_total", .help = "B.", .labels = "why=\"gone\"", .type = RT_COUNTER, .value = 2};
    struct rt_metric a = {.name = "a", .help = NULL, .labels = "", .type = RT_GAUGE, .value = 7};
    struct rt_metrics m;
    rt_metrics_init(&m);
    assert_written(&m, "");
    rt_metrics_register(&m, &b_slow);
    rt_metrics_register(&m, &z);
    rt_metrics_register(&m, &b_gone);
    rt_metrics_register(&m, &a);
    assert_written(&m, "# TYPE rtbroker_a gauge\n"
                       "rtbroker_a 7\n"
                       "# HELP rtbroker_b_total B with \\\\ and\\nline.\n"
                       "# TYPE rtbroker_b_total counter\n"
                       "rtbroker_b_total{why=\"slow\"} 18446744073709551615\n"
                       "rtbroker_b_total{why=\"gone\"} 2\n"
                       "# HELP rtbroker_z_seconds Z.\n"
                       "# TYPE rtbroker_z_seconds gauge\n"
                       "rtbroker_z_seconds 0.1\n");
}

static void test_histogram(void **state)
{
    (void)state;
    static const double bounds[] = {0.005, 1, 10};
    struct rt_metric h = {.name = "wait_seconds",
                          .help = "Waiting.",
                          .labels = "k=\"v\"",
                          .type = RT_HISTOGRAM,
                          .bounds = bounds,
                          .bound_count = 3};
    struct rt_metrics m;
    rt_metrics_init(&m);
    rt_metrics_register(&m, &h);
    const double values[] = {0.001, 0.005, 0.0051, 1, 10, 10.5, 400};
    for (size_t i = 0; i < 7; i++)
        rt_metrics_observe(&h, values[i]);
    h.sum = 421.5; /* written as it is, without the noise of the addition above */
    assert_written(&m, "# HELP rtbroker_wait_seconds Waiting.\n"
                       "# TYPE rtbroker_wait_seconds histogram\n"
                       "rtbroker_wait_seconds_bucket{k=\"v\",le=\"0.005\"} 2\n"
                       "rtbroker_wait_seconds_bucket{k=\"v\",le=\"1\"} 4\n"
                       "rtbroker_wait_seconds_bucket{k=\"v\",le=\"10\"} 5\n"
                       "rtbroker_wait_seconds_bucket{k=\"v\",le=\"+Inf\"} 7\n"
                       "rtbroker_wait_seconds_sum{k=\"v\"} 421.5\n"
                       "rtbroker_wait_seconds_count{k=\"v\"} 7\n");
}

static void test_histogram_edges(void **state)
{
    (void)state;
    static const double bounds[RT_HISTOGRAM_BUCKETS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    struct rt_metric h = {
        .name = "h", .type = RT_HISTOGRAM, .bounds = bounds, .bound_count = RT_HISTOGRAM_BUCKETS};
    rt_metrics_observe(&h, 0);
    rt_metrics_observe(&h, 1.5);
    assert_true(h.sum > 1.49 && h.sum < 1.51);
    rt_metrics_observe(&h, 12);
    rt_metrics_observe(&h, 12.1);
    rt_metrics_observe(&h, (double)NAN); /* above every bound, so that count and buckets agree */
    rt_metrics_observe(&h, (double)INFINITY);
    assert_int_equal(h.buckets[0], 1);
    assert_int_equal(h.buckets[1], 1);
    assert_int_equal(h.buckets[11], 1);
    assert_int_equal(h.buckets[RT_HISTOGRAM_BUCKETS], 3);
}

static void test_numbers(void **state)
{
    (void)state;
    double number = 0;
    struct rt_metric g = {.name = "g", .type = RT_GAUGE, .read = read_number, .arg = &number};
    struct rt_metrics m;
    rt_metrics_init(&m);
    rt_metrics_register(&m, &g);
    const struct {
        double number;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-1.5, "-1.5"},
        {123456789012345, "123456789012345"},
        {1.0 / 3, "0.33333333333333331"},
        {1e300, "1e+300"},
        {(double)INFINITY, "+Inf"},
        {-(double)INFINITY, "-Inf"},
        {(double)NAN, "NaN"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_buf wanted = RT_BUF_INIT;
        number = cases[i].number;
        rt_buf_printf(&wanted, "# TYPE rtbroker_g gauge\nrtbroker_g %s\n", cases[i].text);
        assert_written(&m, rt_buf_cstr(&wanted));
        rt_buf_deinit(&wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_histogram_edges),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
