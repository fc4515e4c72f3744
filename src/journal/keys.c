#include "journal/keys.h"

#include "base/log.h"

#define SAY_MS 60000u

static double read_count(void *arg)
{
    return (double)((const struct rt_keys *)arg)->budget.keys;
}

static double read_bytes(void *arg)
{
    return (double)((const struct rt_keys *)arg)->budget.used;
}

static double read_reach(void *arg)
{
    const struct rt_keys *k = arg;
    uint64_t since = k->now - k->lost_at;
    return (double)(k->lost_at && since < k->window ? since : k->window) / 1000;
}

void rt_keys_init(struct rt_keys *k, uint64_t window, size_t max, struct rt_metrics *metrics)
{
    *k = (struct rt_keys){.budget = {.max = max}, .window = window};
    k->count = (struct rt_metric){.name = "journal_keys",
                                  .help = "Idempotency keys in memory.",
                                  .type = RT_GAUGE,
                                  .read = read_count,
                                  .arg = k};
    k->bytes = (struct rt_metric){.name = "journal_keys_bytes",
                                  .help = "Memory of the idempotency keys (limits.memory_keys).",
                                  .type = RT_GAUGE,
                                  .read = read_bytes,
                                  .arg = k};
    k->reach = (struct rt_metric){.name = "journal_keys_reach_seconds",
                                  .help = "How far back every idempotency key is known; less than "
                                          "storage.idempotency_window after keys were lost.",
                                  .type = RT_GAUGE,
                                  .read = read_reach,
                                  .arg = k};
    k->refused = (struct rt_metric){.name = "journal_keys_refused_total",
                                    .help = "Messages refused (retry) since there was no room for "
                                            "their idempotency key.",
                                    .type = RT_COUNTER};
    k->lost = (struct rt_metric){.name = "journal_keys_lost_total",
                                 .help = "Idempotency keys of other nodes for which there was no "
                                         "memory: repetitions of them are not recognised.",
                                 .type = RT_COUNTER};
    struct rt_metric *all[] = {&k->count, &k->bytes, &k->reach, &k->refused, &k->lost};
    for (size_t i = 0; metrics && i < sizeof(all) / sizeof(all[0]); i++)
        rt_metrics_register(metrics, all[i]);
}

const char *rt_keys_refuse(struct rt_keys *k, bool whole, uint64_t now)
{
    const char *text = whole ? "idempotency keys fill limits.memory_keys: wait until older ones "
                               "are over, or raise it"
                             : "idempotency keys were lost for want of memory: wait until "
                               "storage.idempotency_window is over";
    k->refused.value++;
    if (k->said_at == 0 || now - k->said_at >= SAY_MS) {
        k->said_at = now ? now : 1;
        rt_log(RT_LOG_WARN, "journal", text, rt_kv_u64("keys", k->budget.keys),
               rt_kv_u64("bytes", k->budget.used), rt_kv_u64("limit", k->budget.max));
    }
    return text;
}

void rt_keys_lose(struct rt_keys *k, uint64_t now)
{
    k->lost.value++;
    if (k->lost_at == 0)
        rt_log(RT_LOG_ERROR, "journal",
               "no memory for idempotency keys that the log brings: repetitions of them are not "
               "recognised (limits.memory_keys)",
               rt_kv_u64("keys", k->budget.keys), rt_kv_u64("bytes", k->budget.used),
               rt_kv_u64("limit", k->budget.max));
    k->lost_at = k->now = now ? now : 1;
}

void rt_keys_heal(struct rt_keys *k)
{
    if (k->lost_at == 0)
        return;
    k->lost_at = 0;
    rt_log(RT_LOG_INFO, "journal", "all idempotency keys of the window are known again");
}
