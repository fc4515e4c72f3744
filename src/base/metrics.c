#include "base/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void rt_metrics_init(struct rt_metrics *m)
{
    m->first = NULL;
}

/* Kept sorted by name, in the order of registration within a family: writing is then one walk. */
void rt_metrics_register(struct rt_metrics *m, struct rt_metric *metric)
{
    assert(metric->bound_count <= RT_HISTOGRAM_BUCKETS);
    struct rt_metric **at = &m->first;
    while (*at && strcmp((*at)->name, metric->name) <= 0)
        at = &(*at)->next;
    metric->next = *at;
    *at = metric;
}

void rt_metrics_observe(struct rt_metric *histogram, double value)
{
    uint32_t i = 0;
    while (i < histogram->bound_count && !(value <= histogram->bounds[i]))
        i++;
    histogram->buckets[i]++;
    histogram->sum += value;
}

/* The shorter of two forms that reads back as the same number. */
static void add_double(struct rt_buf *out, double value)
{
    if (isnan(value)) {
        rt_buf_add_c(out, "NaN");
        return;
    }
    if (isinf(value)) {
        rt_buf_add_c(out, value > 0 ? "+Inf" : "-Inf");
        return;
    }
    char text[32];
    snprintf(text, sizeof(text), "%.15g", value);
    double back = strtod(text, NULL);
    if (back < value || back > value)
        snprintf(text, sizeof(text), "%.17g", value);
    rt_buf_add_c(out, text);
}

static void add_help(struct rt_buf *out, const char *help)
{
    for (const char *p = help; *p; p++) {
        if (*p == '\\')
            rt_buf_add_c(out, "\\\\");
        else if (*p == '\n')
            rt_buf_add_c(out, "\\n");
        else
            rt_buf_add_byte(out, (uint8_t)*p);
    }
}

static void add_family(struct rt_buf *out, const struct rt_metric *metric)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    if (metric->help) {
        rt_buf_printf(out, "# HELP rtbroker_%s ", metric->name);
        add_help(out, metric->help);
        rt_buf_add_byte(out, '\n');
    }
    rt_buf_printf(out, "# TYPE rtbroker_%s %s\n", metric->name, types[metric->type]);
}

/* "rtbroker_<name><suffix>{<labels>} ", without the value. */
static void add_name(struct rt_buf *out, const struct rt_metric *metric, const char *suffix)
{
    rt_buf_printf(out, "rtbroker_%s%s", metric->name, suffix);
    if (metric->labels && metric->labels[0])
        rt_buf_printf(out, "{%s}", metric->labels);
    rt_buf_add_byte(out, ' ');
}

static void add_bucket(struct rt_buf *out, const struct rt_metric *metric, double bound,
                       uint64_t count)
{
    bool labels = metric->labels && metric->labels[0];
    rt_buf_printf(out, "rtbroker_%s_bucket{%s%sle=\"", metric->name, labels ? metric->labels : "",
                  labels ? "," : "");
    add_double(out, bound);
    rt_buf_printf(out, "\"} %llu\n", (unsigned long long)count);
}

static void add_histogram(struct rt_buf *out, const struct rt_metric *metric)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < metric->bound_count; i++) {
        count += metric->buckets[i];
        add_bucket(out, metric, metric->bounds[i], count);
    }
    count += metric->buckets[metric->bound_count];
    add_bucket(out, metric, (double)INFINITY, count);
    add_name(out, metric, "_sum");
    add_double(out, metric->sum);
    rt_buf_add_byte(out, '\n');
    add_name(out, metric, "_count");
    rt_buf_add_u64(out, count);
    rt_buf_add_byte(out, '\n');
}

static void add_sample(struct rt_buf *out, const struct rt_metric *metric)
{
    if (metric->type == RT_HISTOGRAM) {
        add_histogram(out, metric);
        return;
    }
    add_name(out, metric, "");
    if (metric->read)
        add_double(out, metric->read(metric->arg));
    else
        rt_buf_add_u64(out, metric->value);
    rt_buf_add_byte(out, '\n');
}

void rt_metrics_write(const struct rt_metrics *m, struct rt_buf *out)
{
    const char *family = NULL;
    for (const struct rt_metric *metric = m->first; metric; metric = metric->next) {
        if (!family || strcmp(family, metric->name) != 0)
            add_family(out, metric);
        family = metric->name;
        add_sample(out, metric);
    }
}
