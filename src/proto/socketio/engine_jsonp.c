/* See engine_jsonp.h. */
#include "proto/socketio/engine_jsonp.h"

#include "http/server.h"
#include "json/scan.h"

#define DIGITS_MAX 20u

bool rt_eio_jsonp_index(struct rt_str query, struct rt_buf *digits)
{
    struct rt_buf value = RT_BUF_INIT;
    bool present = rt_http_query(query, "j", &value);
    for (size_t i = 0; present && i < value.len && digits->len < DIGITS_MAX; i++)
        if (value.data[i] >= '0' && value.data[i] <= '9')
            rt_buf_add_byte(digits, value.data[i]);
    rt_buf_deinit(&value);
    return present;
}

/* U+2028 and U+2029 are legal in JSON strings but end a line in older JavaScript. */
static void add_script_safe(struct rt_buf *out, struct rt_str json)
{
    size_t done = 0;
    for (size_t i = 0; i + 2 < json.len; i++) {
        const unsigned char *p = (const unsigned char *)json.ptr + i;
        if (p[0] != 0xe2 || p[1] != 0x80 || (p[2] != 0xa8 && p[2] != 0xa9))
            continue;
        rt_buf_add(out, json.ptr + done, i - done);
        rt_buf_add_c(out, p[2] == 0xa8 ? "\\u2028" : "\\u2029");
        done = i + 3;
        i += 2;
    }
    rt_buf_add(out, json.ptr + done, json.len - done);
}

void rt_eio_jsonp_wrap(struct rt_buf *out, struct rt_str digits, struct rt_str payload)
{
    struct rt_buf json = RT_BUF_INIT;
    rt_json_add_string(&json, payload);
    rt_buf_add_c(out, "___eio[");
    rt_buf_add_str(out, digits);
    rt_buf_add_c(out, "](");
    add_script_safe(out, rt_buf_str(&json));
    rt_buf_add_c(out, ");");
    out->failed |= json.failed;
    rt_buf_deinit(&json);
}

/* Backslash n is a line feed; backslash backslash n is a backslash and an n. */
static void add_unescaped(struct rt_buf *out, struct rt_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        bool slash = text.ptr[i] == '\\';
        if (slash && i + 2 < text.len && text.ptr[i + 1] == '\\' && text.ptr[i + 2] == 'n') {
            rt_buf_add_c(out, "\\n");
            i += 2;
        } else if (slash && i + 1 < text.len && text.ptr[i + 1] == 'n') {
            rt_buf_add_byte(out, '\n');
            i++;
        } else {
            rt_buf_add_byte(out, (uint8_t)text.ptr[i]);
        }
    }
}

void rt_eio_jsonp_unwrap(struct rt_buf *out, struct rt_str form)
{
    struct rt_buf value = RT_BUF_INIT;
    if (rt_http_query(form, "d", &value))
        add_unescaped(out, rt_buf_str(&value));
    out->failed |= value.failed;
    rt_buf_deinit(&value);
}
