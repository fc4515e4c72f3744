#include "journal/meter.h"

#include <stdio.h>

static struct rt_metric appends(const char *labels)
{
    return (struct rt_metric){.name = "journal_appends_total",
                              .help = "Messages handed to the log, by answer.",
                              .labels = labels,
                              .type = RT_COUNTER};
}

void rt_journal_meter_init(struct rt_journal_meter *m, struct rt_metrics *metrics)
{
    m->ok = appends("result=\"ok\"");
    m->retry = appends("result=\"retry\"");
    m->unknown = appends("result=\"unknown\"");
    m->refused = appends("result=\"refused\"");
    m->duplicates = (struct rt_metric){.name = "journal_duplicates_total",
                                       .help = "Appends answered from their idempotency key.",
                                       .type = RT_COUNTER};
    m->queue_bytes = (struct rt_metric){.name = "journal_queue_bytes",
                                        .help = "Bytes of messages handed in and not yet answered.",
                                        .type = RT_GAUGE};
    m->up = (struct rt_metric){.name = "storage_up",
                               .help = "1 while the log is able to store.",
                               .type = RT_GAUGE,
                               .value = 1};
    struct rt_metric *all[] = {&m->ok,         &m->retry,       &m->unknown, &m->refused,
                               &m->duplicates, &m->queue_bytes, &m->up};
    for (size_t i = 0; metrics && i < sizeof(all) / sizeof(all[0]); i++)
        rt_metrics_register(metrics, all[i]);
}

void rt_journal_meter_count(struct rt_journal_meter *m, const struct rt_append *append)
{
    if (append->status == RT_OK)
        m->ok.value++;
    else if (append->status == RT_EUNKNOWN)
        m->unknown.value++;
    else if (append->status == RT_EINVAL || append->status == RT_ERANGE)
        m->refused.value++;
    else
        m->retry.value++;
    if (append->duplicate)
        m->duplicates.value++;
}

int rt_journal_refuse(struct rt_journal_meter *m, struct rt_append *append, int code,
                      const char *text)
{
    append->status = code;
    snprintf(append->text, sizeof(append->text), "%s", text);
    rt_journal_meter_count(m, append);
    return code;
}
