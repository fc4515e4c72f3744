/* See engine_payload3.h. */
#include "proto/socketio/engine_payload3.h"

#include "base/codec.h"
#include "base/err.h"
#include "base/utf8.h"

#define DIGITS_MAX  10u /* of a length: bodies are smaller */
#define LENGTH_ENDS 0xffu

static struct rt_str behind(struct rt_str text, size_t len)
{
    return rt_str_of(text.ptr + len, text.len - len);
}

/* ---- packets ---- */

int rt_eio_packet_parse3(struct rt_str text, struct rt_buf *bytes, struct rt_eio_packet *ret_packet)
{
    if (text.len == 0 || text.ptr[0] != 'b')
        return rt_eio_packet_parse(text, bytes, ret_packet);
    if (text.len < 2 || text.ptr[1] != RT_EIO_MESSAGE)
        return RT_EINVAL; /* only messages are binary */
    return rt_eio_packet_parse_base64(behind(text, 2), bytes, ret_packet);
}

int rt_eio_packet_parse_bytes3(struct rt_str message, struct rt_eio_packet *ret_packet)
{
    if (message.len == 0 || message.ptr[0] != RT_EIO_MESSAGE - '0')
        return RT_EINVAL;
    *ret_packet =
        (struct rt_eio_packet){.type = RT_EIO_MESSAGE, .binary = true, .data = behind(message, 1)};
    return 0;
}

/* ---- reading ---- */

/* The bytes of the next `units` UTF-16 code units. SIZE_MAX: there are fewer, a character ends behind them, or it is no UTF-8. */
static size_t bytes_of(struct rt_str text, uint64_t units)
{
    size_t at = 0;
    while (units > 0) {
        size_t len = rt_utf8_char((const uint8_t *)text.ptr + at, text.len - at);
        uint64_t takes = len == 4 ? 2 : 1; /* a pair of surrogates */
        if (len == 0 || takes > units)
            return SIZE_MAX;
        units -= takes;
        at += len;
    }
    return at;
}

/* The number at the start of `*rest`: digits that begin with the character `zero`, then `end`. Cuts them off. */
static bool take_length(struct rt_str *rest, uint8_t zero, uint8_t end, uint64_t *ret_len)
{
    const uint8_t *p = (const uint8_t *)rest->ptr;
    size_t at = 0;
    uint64_t len = 0;
    while (at < rest->len && at < DIGITS_MAX && p[at] >= zero && p[at] - zero <= 9)
        len = len * 10 + (uint64_t)(p[at++] - zero);
    if (at == 0 || at == rest->len || p[at] != end)
        return false;
    *rest = behind(*rest, at + 1);
    *ret_len = len;
    return true;
}

static int next_of_text(struct rt_eio_reader *reader, struct rt_buf *bytes,
                        struct rt_eio_packet *ret_packet)
{
    while (reader->rest.len > 0) {
        uint64_t units;
        if (!take_length(&reader->rest, '0', ':', &units))
            return RT_EINVAL;
        size_t len = bytes_of(reader->rest, units);
        if (len == SIZE_MAX)
            return RT_EINVAL;
        struct rt_str text = rt_str_of(reader->rest.ptr, len);
        reader->rest = behind(reader->rest, len);
        reader->begun = true;
        if (len == 0)
            continue; /* `0:` is what an empty list is written as */
        int status = rt_eio_packet_parse3(text, bytes, ret_packet);
        return status ? status : 1;
    }
    return reader->begun ? 0 : RT_EINVAL;
}

static int next_of_bytes(struct rt_eio_reader *reader, struct rt_buf *bytes,
                         struct rt_eio_packet *ret_packet)
{
    uint64_t len;
    if (reader->rest.len == 0)
        return 0;
    char kind = reader->rest.ptr[0];
    reader->rest = behind(reader->rest, 1);
    if ((kind != 0 && kind != 1) || !take_length(&reader->rest, 0, LENGTH_ENDS, &len) ||
        len > reader->rest.len)
        return RT_EINVAL;
    struct rt_str packet = rt_str_of(reader->rest.ptr, (size_t)len);
    reader->rest = behind(reader->rest, (size_t)len);
    int status = kind == 0 ? rt_eio_packet_parse3(packet, bytes, ret_packet)
                           : rt_eio_packet_parse_bytes3(packet, ret_packet);
    return status ? status : 1;
}

int rt_eio_payload_next3(struct rt_eio_reader *reader, struct rt_buf *bytes,
                         struct rt_eio_packet *ret_packet)
{
    return reader->octets ? next_of_bytes(reader, bytes, ret_packet)
                          : next_of_text(reader, bytes, ret_packet);
}

/* ---- writing ---- */

static uint64_t utf16_len(struct rt_str text)
{
    uint64_t units = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        units += (c & 0xc0) != 0x80;
        units += c >= 0xf0;
    }
    return units;
}

static bool is_binary(struct rt_str packet)
{
    return packet.len > 0 && packet.ptr[0] == 'b';
}

static void write_text(struct rt_buf *out, struct rt_str packet)
{
    bool binary = is_binary(packet);
    rt_buf_add_u64(out, utf16_len(packet) + (binary ? 1 : 0));
    rt_buf_add_byte(out, ':');
    if (binary) {
        rt_buf_add_c(out, "b4");
        packet = behind(packet, 1);
    }
    rt_buf_add_str(out, packet);
}

static void write_bytes_head(struct rt_buf *out, bool binary, uint64_t len)
{
    struct rt_buf digits = RT_BUF_INIT;
    rt_buf_add_u64(&digits, len);
    rt_buf_add_byte(out, binary);
    for (size_t i = 0; i < digits.len; i++)
        rt_buf_add_byte(out, (uint8_t)(digits.data[i] - '0'));
    rt_buf_add_byte(out, LENGTH_ENDS);
    out->failed |= digits.failed;
    rt_buf_deinit(&digits);
}

static void write_bytes(struct rt_buf *out, struct rt_str packet)
{
    struct rt_buf bytes = RT_BUF_INIT;
    if (!is_binary(packet)) {
        write_bytes_head(out, false, packet.len);
        rt_buf_add_str(out, packet);
        return;
    }
    if (rt_base64_decode(&bytes, behind(packet, 1)) != 0)
        out->failed = true;
    write_bytes_head(out, true, bytes.len + 1);
    rt_buf_add_byte(out, RT_EIO_MESSAGE - '0');
    rt_buf_add_str(out, rt_buf_str(&bytes));
    out->failed |= bytes.failed;
    rt_buf_deinit(&bytes);
}

static bool has_binary(struct rt_str packets)
{
    struct rt_str packet;
    while (rt_eio_payload_next(&packets, &packet)) {
        if (is_binary(packet))
            return true;
    }
    return false;
}

bool rt_eio_payload_write3(struct rt_buf *out, struct rt_str packets, bool text_only)
{
    bool octets = !text_only && has_binary(packets);
    struct rt_str packet;
    while (rt_eio_payload_next(&packets, &packet)) {
        if (octets)
            write_bytes(out, packet);
        else
            write_text(out, packet);
    }
    return octets;
}
