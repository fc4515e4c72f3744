/* Any bytes as JSON: the check and the walk agree with each other, what is written is legal
 * again, and an envelope keeps to its limits. A promise that does not hold aborts. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "json/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool held, const char *promise)
{
    if (held)
        return;
    fprintf(stderr, "fuzz_json: does not hold: %s\n", promise);
    abort();
}

static void visit_string(struct rt_str value)
{
    struct rt_buf text = RT_BUF_INIT, written = RT_BUF_INIT;
    rt_json_unescape(&text, value);
    require(rt_utf8_valid(text.data, text.len), "an unescaped string is UTF-8");
    require(rt_json_string_is(value, rt_buf_str(&text)), "a string is equal to its text");
    rt_json_add_string(&written, rt_buf_str(&text));
    require(rt_json_check(rt_buf_str(&written), RT_JSON_PAYLOAD, NULL, NULL) == 0,
            "a written string is legal");
    require(rt_json_string_is(rt_buf_str(&written), rt_buf_str(&text)),
            "a written string is equal to its text");
    rt_buf_deinit(&text);
    rt_buf_deinit(&written);
}

/* As deep as the payload limit at most. */
static void visit(struct rt_str value)
{
    struct rt_str trimmed;
    require(rt_json_check(value, RT_JSON_PAYLOAD, &trimmed, NULL) == 0, "a slice is a value");
    require(rt_str_eq(value, trimmed), "a slice has no white space around it");
    enum rt_json_kind kind = rt_json_kind(value);
    if (kind == RT_JSON_STRING)
        visit_string(value);
    struct rt_json_iter it = rt_json_iter(value);
    size_t count = 0;
    while (rt_json_next(&it)) {
        count++;
        if (kind == RT_JSON_OBJECT) {
            visit_string(rt_str_of(it.key.ptr - 1, it.key.len + 2));
            struct rt_buf name = RT_BUF_INIT;
            rt_json_unescape(&name, rt_str_of(it.key.ptr - 1, it.key.len + 2));
            require(count > 64 || rt_json_get(value, rt_buf_str(&name)).len,
                    "a member is found by its name");
            rt_buf_deinit(&name);
        }
        visit(it.value);
    }
    require(count == rt_json_count(value), "the count is the number of steps");
    require((rt_json_at(value, 0).len > 0) == (kind == RT_JSON_ARRAY && count > 0),
            "arrays alone have indexes");
}

static void visit_compact(struct rt_str value)
{
    struct rt_buf once = RT_BUF_INIT, twice = RT_BUF_INIT;
    rt_json_add_compact(&once, value);
    rt_json_add_compact(&twice, rt_buf_str(&once));
    require(rt_str_eq(rt_buf_str(&once), rt_buf_str(&twice)), "compact twice is compact once");
    require(rt_json_check(rt_buf_str(&once), RT_JSON_PAYLOAD, NULL, NULL) == 0,
            "compact stays legal");
    rt_buf_deinit(&once);
    rt_buf_deinit(&twice);
}

static void visit_envelope(struct rt_str text)
{
    static const char *const payloads[] = {"data", NULL};
    static const char *const names[] = {"channel", "a", "", "data", "n"};
    struct rt_envelope *e;
    if (rt_envelope_parse(text, payloads, &e, NULL) != 0)
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct rt_str *items;
        struct rt_str s = rt_envelope_str(e, names[i]);
        require(s.len == 0 || rt_utf8_valid(s.ptr, s.len), "a string is UTF-8");
        require(rt_envelope_u64(e, names[i], 0) <= (uint64_t)1 << 53, "an integer is exact");
        (void)rt_envelope_i64(e, names[i], 0);
        (void)rt_envelope_bool(e, names[i], false);
        (void)rt_envelope_strs(e, names[i], &items);
        struct rt_envelope *o = rt_envelope_object(e, names[i]);
        if (o)
            (void)rt_envelope_str(o, "a");
    }
    struct rt_str raw = rt_envelope_raw(e, "data");
    require(!raw.len || rt_json_check(raw, RT_JSON_PAYLOAD, NULL, NULL) == 0, "a payload is legal");
    rt_envelope_free(e);
}

static void visit_garbage(struct rt_str text)
{
    struct rt_buf out = RT_BUF_INIT;
    struct rt_json_iter it = rt_json_iter(text);
    size_t steps = 0;
    while (rt_json_next(&it))
        steps++;
    require(steps <= text.len, "a walk ends");
    (void)rt_json_path(text, RT_STR("a.0.b"));
    rt_json_unescape(&out, text);
    rt_json_add_compact(&out, text);
    rt_buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rt_str text = rt_str_of(data, size);
    struct rt_str value, rest, prefix;
    struct rt_err err = {0};
    int whole = rt_json_check(text, RT_JSON_PAYLOAD, &value, &err);
    require(whole == 0 || (err.code == whole && err.text[0]), "a refusal has a reason");
    if (rt_json_check_prefix(text, RT_JSON_PAYLOAD, &prefix, &rest, NULL) == 0) {
        require(prefix.ptr + prefix.len == rest.ptr, "the rest follows the value");
        require(rt_json_check(prefix, RT_JSON_PAYLOAD, NULL, NULL) == 0, "a prefix is a value");
        visit_compact(prefix);
    } else {
        require(whole != 0, "a legal text has a legal prefix");
    }
    if (whole == 0) {
        require(rt_utf8_valid(data, size), "a legal text is UTF-8");
        visit(value);
    }
    visit_garbage(text);
    visit_envelope(text);
    struct rt_buf string = RT_BUF_INIT;
    rt_json_add_string(&string, text);
    require(rt_json_check(rt_buf_str(&string), RT_JSON_PAYLOAD, NULL, NULL) == 0,
            "a written string is legal");
    rt_buf_deinit(&string);
    return 0;
}
