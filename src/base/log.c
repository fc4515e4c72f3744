#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/utf8.h"

static atomic_int log_level = RT_LOG_INFO;
static enum rt_log_format log_format = RT_LOG_AUTO;
static char log_node[64];

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

void rt_log_setup(enum rt_log_level level, enum rt_log_format format, const char *node)
{
    rt_log_set_level(level);
    log_format = format;
    if (format == RT_LOG_AUTO)
        log_format = isatty(STDERR_FILENO) ? RT_LOG_TEXT : RT_LOG_JSON;
    snprintf(log_node, sizeof(log_node), "%s", node ? node : "");
}

void rt_log_set_level(enum rt_log_level level)
{
    atomic_store(&log_level, level);
}

bool rt_log_enabled(enum rt_log_level level)
{
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed) &&
           level < RT_LOG_OFF;
}

/* --- Holding back repetitions --- */

#define BURST     10
#define WINDOW_MS 5000
#define SETS      32
#define WAYS      4

/* A small cache: an unlucky or ancient message loses its place to a new one, and with it its
 * count of lines held back. */
struct repeat {
    uint64_t key; /* hash of component and text */
    uint64_t since_ms;
    uint32_t count; /* lines in this window; 0: the place is free */
    uint64_t suppressed;
};

static struct repeat repeats[SETS][WAYS];
static pthread_mutex_t repeats_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct repeat *find_repeat(uint64_t key)
{
    struct repeat *set = repeats[key % SETS];
    struct repeat *oldest = set;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].count && set[i].key == key)
            return &set[i];
        if (!set[i].count || (oldest->count && set[i].since_ms < oldest->since_ms))
            oldest = &set[i];
    }
    *oldest = (struct repeat){.key = key};
    return oldest;
}

/* May this line be written? If so, `*ret_suppressed` is the number of equal ones that were held
 * back before it. */
static bool admit(const char *comp, const char *msg, uint64_t *ret_suppressed)
{
    uint64_t key = rt_hash(rt_str_c(msg)) ^ (rt_hash(rt_str_c(comp)) << 1);
    uint64_t now = rt_mono_ms();
    pthread_mutex_lock(&repeats_mutex);
    struct repeat *r = find_repeat(key);
    if (!r->count || now - r->since_ms >= WINDOW_MS) {
        r->since_ms = now;
        r->count = 0;
    }
    bool admitted = r->count < BURST;
    if (admitted) {
        r->count++;
        *ret_suppressed = r->suppressed;
        r->suppressed = 0;
    } else {
        r->suppressed++;
    }
    pthread_mutex_unlock(&repeats_mutex);
    return admitted;
}

/* --- The line --- */

/* On the stack, so that lack of memory can be logged; and no longer than a pipe takes in one
 * piece (PIPE_BUF), so that lines of several threads and processes do not mix. */
#define LINE_MAX_BYTES  4096
#define TAIL_BYTES      24 /* always left for the mark of a cut line, the brace and the line feed */
#define VALUE_MAX_BYTES 1024

struct line {
    char data[LINE_MAX_BYTES];
    size_t len;
    bool json;
    bool full; /* something did not fit */
};

static void put(struct line *l, const char *text, size_t len)
{
    if (l->full || len > LINE_MAX_BYTES - TAIL_BYTES - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->data + l->len, text, len);
    l->len += len;
}

static void put_c(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

/* One character, escaped as JSON wants it. U+0080 to U+009F and DEL too: a terminal would obey
 * them. */
static void put_escaped(struct line *l, const uint8_t *p, size_t len)
{
    unsigned code = p[0];
    if (len == 2 && p[0] == 0xc2 && p[1] < 0xa0)
        code = p[1];
    else if (len > 1)
        code = 0x100;
    char escape[8];
    if (code == '"' || code == '\\') {
        snprintf(escape, sizeof(escape), "\\%c", (char)code);
        put_c(l, escape);
    } else if (code == '\n') {
        put_c(l, "\\n");
    } else if (code == '\t') {
        put_c(l, "\\t");
    } else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
        snprintf(escape, sizeof(escape), "\\u%04x", code);
        put_c(l, escape);
    } else {
        put(l, (const char *)p, len);
    }
}

static void put_quoted(struct line *l, struct rt_str s)
{
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t left = s.len < VALUE_MAX_BYTES ? s.len : VALUE_MAX_BYTES;
    put_c(l, "\"");
    while (left) {
        size_t len = rt_utf8_char(p, left);
        if (len) {
            put_escaped(l, p, len);
        } else {
            len = 1;
            if (left > 3 || s.len <= VALUE_MAX_BYTES) /* else a character cut by us */
                put_c(l, RT_UTF8_REPLACEMENT);
        }
        p += len;
        left -= len;
    }
    put_c(l, s.len > VALUE_MAX_BYTES ? "...\"" : "\"");
}

/* May a value stand in a text line without quotes? */
static bool is_plain(struct rt_str s)
{
    if (s.len == 0 || s.len > VALUE_MAX_BYTES)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return true;
}

static void put_text_value(struct line *l, struct rt_str s)
{
    if (l->json || !is_plain(s))
        put_quoted(l, s);
    else
        put(l, s.ptr, s.len);
}

static void put_number(struct line *l, const struct rt_kv *kv)
{
    char text[24];
    if (kv->kind == RT_KV_U64)
        snprintf(text, sizeof(text), "%llu", (unsigned long long)kv->number);
    else
        snprintf(text, sizeof(text), "%lld", (long long)kv->number);
    put_c(l, text);
}

/* All of it or nothing. */
static void put_kv(struct line *l, const struct rt_kv *kv)
{
    size_t before = l->len;
    if (l->json) {
        put_c(l, ",");
        put_quoted(l, rt_str_c(kv->key));
        put_c(l, ":");
    } else {
        put_c(l, " ");
        put_c(l, kv->key);
        put_c(l, "=");
    }
    if (kv->kind == RT_KV_TEXT)
        put_text_value(l, kv->text);
    else
        put_number(l, kv);
    if (l->full)
        l->len = before;
}

static void put_head(struct line *l, enum rt_log_level level, const char *comp, const char *msg)
{
    char ts[RT_ISO_TIME_LEN + 1];
    rt_iso_time(rt_wall_ms(), ts);
    const char *name = level_names[level];
    if (l->json) {
        put_c(l, "{\"ts\":\"");
        put_c(l, ts);
        const struct rt_kv head[] = {rt_kv_c("level", name), rt_kv_c("comp", comp),
                                     rt_kv_c("msg", msg)};
        put_c(l, "\"");
        for (size_t i = 0; i < 3; i++)
            put_kv(l, &head[i]);
        return;
    }
    put_c(l, ts);
    put_c(l, " ");
    put_c(l, name);
    put_c(l, " ");
    put_c(l, comp);
    put_c(l, " ");
    struct rt_str text = rt_str_c(msg);
    size_t start = l->len;
    put_quoted(l, text);
    if (!l->full && l->len > start + 2) {
        /* The text reads better without quotes, which here only marked where the escaping ends. */
        memmove(l->data + start, l->data + start + 1, l->len - start - 2);
        l->len -= 2;
    }
}

static void write_out(const char *data, size_t len)
{
    while (len) {
        ssize_t done = write(STDERR_FILENO, data, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* nowhere to complain */
        data += done;
        len -= (size_t)done;
    }
}

void rt_log_write(enum rt_log_level level, const char *comp, const char *msg,
                  const struct rt_kv *kvs, size_t count)
{
    uint64_t suppressed = 0;
    if (!rt_log_enabled(level) || !admit(comp, msg, &suppressed))
        return;
    int saved_errno = errno;
    struct line l;
    l.len = 0;
    l.full = false;
    l.json = log_format == RT_LOG_JSON || (log_format == RT_LOG_AUTO && !isatty(STDERR_FILENO));
    put_head(&l, level, comp, msg);
    if (log_node[0]) {
        const struct rt_kv node = rt_kv_c("node", log_node);
        put_kv(&l, &node);
    }
    if (suppressed) {
        const struct rt_kv held_back = rt_kv_u64("suppressed", suppressed);
        put_kv(&l, &held_back);
    }
    for (size_t i = 0; i < count; i++) {
        if (kvs[i].key)
            put_kv(&l, &kvs[i]);
    }
    const char *cut = !l.full ? "" : l.json ? ",\"cut\":true" : " cut=true";
    l.len += (size_t)snprintf(l.data + l.len, TAIL_BYTES, "%s%s\n", cut, l.json ? "}" : "");
    write_out(l.data, l.len);
    errno = saved_errno;
}
