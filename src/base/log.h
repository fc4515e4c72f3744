/* Structured log lines to standard error: `ts level comp msg key=value ...` as text, or one JSON
 * object a line.
 *
 *     rt_log(RT_LOG_WARN, "net", "connection cap reached", rt_kv_u64("cap", cap));
 *
 * Payloads and secrets are never logged. A message (component and text) that repeats more than
 * 10 times within 5 seconds is held back, and the next line that is let through carries
 * suppressed=N. Thread: any; a line is one write(2) of at
 * most 4 KiB: a value ends after 1 KiB with "...", and what does not fit is left out (cut=true).
 * errno is kept. */
#ifndef RT_BASE_LOG_H
#define RT_BASE_LOG_H

#include "base/str.h"

enum rt_log_level { RT_LOG_DEBUG, RT_LOG_INFO, RT_LOG_WARN, RT_LOG_ERROR, RT_LOG_OFF };
enum rt_log_format {
    RT_LOG_AUTO,
    RT_LOG_TEXT,
    RT_LOG_JSON
}; /* auto: text on a terminal, JSON otherwise */

struct rt_kv {
    const char *key; /* NULL: skipped */
    struct rt_str text;
    uint64_t number;
    enum { RT_KV_TEXT, RT_KV_U64, RT_KV_I64 } kind;
};

static inline struct rt_kv rt_kv_str(const char *key, struct rt_str s)
{
    return (struct rt_kv){.key = key, .text = s, .kind = RT_KV_TEXT};
}
static inline struct rt_kv rt_kv_c(const char *key, const char *text)
{
    return rt_kv_str(key, rt_str_c(text));
}
static inline struct rt_kv rt_kv_u64(const char *key, uint64_t n)
{
    return (struct rt_kv){.key = key, .number = n, .kind = RT_KV_U64};
}
static inline struct rt_kv rt_kv_i64(const char *key, int64_t n)
{
    return (struct rt_kv){.key = key, .number = (uint64_t)n, .kind = RT_KV_I64};
}

/* Process-wide, set once at start before threads exist. `node` is copied. */
void rt_log_setup(enum rt_log_level level, enum rt_log_format format, const char *node);
void rt_log_set_level(enum rt_log_level level); /* may be called any time */
bool rt_log_enabled(enum rt_log_level level);
void rt_log_write(enum rt_log_level level, const char *comp, const char *msg,
                  const struct rt_kv *kvs, size_t count);

#define rt_log(level, comp, msg, ...)                                          \
    do {                                                                       \
        if (rt_log_enabled(level)) {                                           \
            const struct rt_kv rt_log_kvs_[] = {{.key = NULL}, ##__VA_ARGS__}; \
            rt_log_write((level), (comp), (msg), rt_log_kvs_,                  \
                         sizeof(rt_log_kvs_) / sizeof(rt_log_kvs_[0]));        \
        }                                                                      \
    } while (0)

#endif
