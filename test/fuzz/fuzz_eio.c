/* Engine.IO payloads: an input is the body of a POST, of revision 4, and of revision 3 as text and as bytes, plain and as a form of JSONP. What is read is written again and read back the
 * same; a call of JSONP is the payload as one JSON string; the body that the engine would cut from what it has queued holds the
 * packets that went in. */
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "base/utf8.h"
#include "json/scan.h"
#include "proto/socketio/engine.h"
#include "proto/socketio/engine_jsonp.h"
#include "proto/socketio/engine_payload.h"
#include "proto/socketio/engine_payload3.h"
#include "fuzz/must.h"

/* Writes a packet as the engine writes it for polling: with a separator in front. */
static void write_packet(struct rt_buf *out, const struct rt_eio_packet *p)
{
    if (p->type == RT_EIO_MESSAGE) {
        rt_eio_encode(out, RT_EIO_FORM_POLLING, p->binary, p->data);
        return;
    }
    rt_buf_add_byte(out, RT_EIO_SEPARATOR);
    rt_buf_add_byte(out, (uint8_t)p->type);
    rt_buf_add_str(out, p->data);
}

static bool same(const struct rt_eio_packet *a, const struct rt_eio_packet *b)
{
    return a->type == b->type && a->binary == b->binary && rt_str_eq(a->data, b->data);
}

static void read_back(struct rt_str written, const struct rt_eio_packet *want)
{
    struct rt_buf bytes = RT_BUF_INIT;
    struct rt_eio_packet packet;
    struct rt_str text;
    MUST(written.len > 1 && written.ptr[0] == RT_EIO_SEPARATOR);
    written = rt_str_of(written.ptr + 1, written.len - 1);
    MUST(rt_eio_payload_next(&written, &text));
    MUST(!written.ptr); /* one packet, not more */
    MUST(rt_eio_packet_parse(text, &bytes, &packet) == 0);
    MUST(same(&packet, want));
    rt_buf_deinit(&bytes);
}

/* Text with a separator in it has no form in a payload: it goes as bytes. */
static void check_separator(struct rt_str payload)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_eio_encode(&out, RT_EIO_FORM_POLLING, false, payload);
    bool binary = payload.len > 0 && memchr(payload.ptr, RT_EIO_SEPARATOR, payload.len);
    if (binary || rt_utf8_valid(payload.ptr, payload.len))
        read_back(rt_buf_str(&out), &(struct rt_eio_packet){
                                        .type = RT_EIO_MESSAGE, .binary = binary, .data = payload});
    rt_buf_deinit(&out);
}

static void check_packet(struct rt_str text)
{
    struct rt_buf bytes = RT_BUF_INIT, out = RT_BUF_INIT;
    struct rt_eio_packet packet;
    int status = rt_eio_packet_parse(text, &bytes, &packet);
    MUST(status == 0 || status == RT_EINVAL);
    if (status == 0) {
        MUST(packet.type >= RT_EIO_OPEN && packet.type <= RT_EIO_NOOP);
        MUST(!packet.binary || packet.type == RT_EIO_MESSAGE);
        MUST(packet.binary || rt_utf8_valid(packet.data.ptr, packet.data.len));
        write_packet(&out, &packet);
        MUST(rt_buf_ok(&out));
        read_back(rt_buf_str(&out), &packet);
    }
    rt_buf_deinit(&bytes);
    rt_buf_deinit(&out);
}

static void check_payload(struct rt_str payload)
{
    struct rt_str rest = payload, text;
    size_t packets = 0, separators = 0, bytes = 0;
    for (size_t i = 0; i < payload.len; i++)
        separators += payload.ptr[i] == RT_EIO_SEPARATOR;
    while (rt_eio_payload_next(&rest, &text)) {
        MUST(text.len == 0 || !memchr(text.ptr, RT_EIO_SEPARATOR, text.len));
        check_packet(text);
        packets++;
        bytes += text.len;
    }
    MUST(packets == separators + 1 && bytes + separators == payload.len);
}

/* ---- revision 3 ---- */

/* Both say the same. */
static void same_payload(struct rt_eio_reader a, struct rt_eio_reader b)
{
    struct rt_buf a_bytes = RT_BUF_INIT, b_bytes = RT_BUF_INIT;
    struct rt_eio_packet x, y;
    int status;
    while ((status = rt_eio_payload_next3(&a, &a_bytes, &x)) == 1) {
        MUST(rt_eio_payload_next3(&b, &b_bytes, &y) == 1);
        MUST(same(&x, &y));
    }
    MUST(status == 0 && rt_eio_payload_next3(&b, &b_bytes, &y) == 0);
    rt_buf_deinit(&a_bytes);
    rt_buf_deinit(&b_bytes);
}

/* What revision 3 can say is written in the queue's form, then as bodies in both framings, which say the same. */
static void check_revision3(struct rt_str payload, bool octets)
{
    struct rt_eio_reader reader = {.rest = payload, .octets = octets}, whole = reader;
    struct rt_buf bytes = RT_BUF_INIT, queue = RT_BUF_INIT, text = RT_BUF_INIT, mixed = RT_BUF_INIT;
    struct rt_eio_packet packet;
    bool in_text = true;
    size_t left = payload.len + 1;
    int status;
    while ((status = rt_eio_payload_next3(&reader, &bytes, &packet)) == 1) {
        MUST(reader.rest.len < left); /* it comes to an end */
        left = reader.rest.len;
        MUST(packet.type >= RT_EIO_OPEN && packet.type <= RT_EIO_NOOP);
        MUST(!packet.binary || packet.type == RT_EIO_MESSAGE);
        MUST(packet.binary || rt_utf8_valid(packet.data.ptr, packet.data.len));
        in_text &= packet.binary || packet.data.len == 0 ||
                   !memchr(packet.data.ptr, RT_EIO_SEPARATOR, packet.data.len);
        write_packet(&queue, &packet);
    }
    MUST(status == 0 || status == RT_EINVAL);
    if (status == 0 && in_text && queue.len > 0) {
        struct rt_str packets = rt_str_of(queue.data + 1, queue.len - 1);
        MUST(!rt_eio_payload_write3(&text, packets, true));
        bool binary = rt_eio_payload_write3(&mixed, packets, false);
        MUST(rt_buf_ok(&text) && rt_buf_ok(&mixed));
        same_payload(whole, (struct rt_eio_reader){.rest = rt_buf_str(&text)});
        same_payload(whole, (struct rt_eio_reader){.rest = rt_buf_str(&mixed), .octets = binary});
    }
    rt_buf_deinit(&bytes);
    rt_buf_deinit(&queue);
    rt_buf_deinit(&text);
    rt_buf_deinit(&mixed);
}

/* ---- JSONP ---- */

static void check_call(struct rt_str payload)
{
    static const char head[] = "___eio[7](", tail[] = ");";
    struct rt_buf call = RT_BUF_INIT, back = RT_BUF_INIT;
    rt_eio_jsonp_wrap(&call, RT_STR("7"), payload);
    struct rt_str s = rt_buf_str(&call), literal;
    MUST(s.len >= sizeof(head) + sizeof(tail) && memcmp(s.ptr, head, sizeof(head) - 1) == 0);
    MUST(memcmp(s.ptr + s.len - 2, tail, 2) == 0);
    s = rt_str_of(s.ptr + sizeof(head) - 1, s.len - sizeof(head) - sizeof(tail) + 2);
    MUST(rt_json_check(s, RT_JSON_PAYLOAD, &literal, NULL) == 0 && literal.len == s.len);
    MUST(!memmem(s.ptr, s.len, "\xe2\x80\xa8", 3) && !memmem(s.ptr, s.len, "\xe2\x80\xa9", 3));
    rt_json_unescape(&back, literal);
    if (rt_utf8_valid(payload.ptr, payload.len))
        MUST(rt_str_eq(rt_buf_str(&back), payload));
    rt_buf_deinit(&call);
    rt_buf_deinit(&back);
}

/* What a client makes of a payload comes out as it was; where the payload has no backslash, which a client doubles only sometimes. */
static void check_form(struct rt_str payload)
{
    struct rt_buf escaped = RT_BUF_INIT, form = RT_BUF_INIT, back = RT_BUF_INIT;
    for (size_t i = 0; i < payload.len; i++) {
        if (payload.ptr[i] == '\n')
            rt_buf_add_c(&escaped, "\\n");
        else
            rt_buf_add_byte(&escaped, (uint8_t)payload.ptr[i]);
    }
    rt_buf_add_c(&form, "x=y&d=");
    rt_url_encode(&form, rt_buf_str(&escaped));
    rt_eio_jsonp_unwrap(&back, rt_buf_str(&form));
    if (rt_utf8_valid(payload.ptr, payload.len) &&
        (payload.len == 0 || !memchr(payload.ptr, '\\', payload.len)))
        MUST(rt_str_eq(rt_buf_str(&back), payload));
    rt_buf_deinit(&escaped);
    rt_buf_deinit(&form);
    rt_buf_deinit(&back);
}

static void check_index(struct rt_str query)
{
    struct rt_buf digits = RT_BUF_INIT;
    bool is = rt_eio_jsonp_index(query, &digits);
    MUST(is || digits.len == 0);
    MUST(digits.len <= 20);
    for (size_t i = 0; i < digits.len; i++)
        MUST(digits.data[i] >= '0' && digits.data[i] <= '9');
    rt_buf_deinit(&digits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rt_str input = rt_str_of(data, size);
    struct rt_buf form = RT_BUF_INIT;
    check_payload(input);
    check_revision3(input, false);
    check_revision3(input, true);
    check_separator(input);
    check_call(input);
    check_form(input);
    check_index(input);
    rt_eio_jsonp_unwrap(&form, input);
    if (form.len > 0)
        check_payload(rt_buf_str(&form));
    rt_buf_deinit(&form);
    return 0;
}
