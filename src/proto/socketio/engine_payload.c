/* See engine_payload.h. */
#include "proto/socketio/engine_payload.h"

#include "base/codec.h"
#include "base/err.h"
#include "base/utf8.h"

int rt_eio_packet_parse_base64(struct rt_str encoded, struct rt_buf *bytes,
                               struct rt_eio_packet *ret_packet)
{
    rt_buf_clear(bytes);
    int status = rt_base64_decode(bytes, encoded);
    if (status)
        return status;
    if (!rt_buf_ok(bytes))
        return RT_ENOMEM;
    *ret_packet =
        (struct rt_eio_packet){.type = RT_EIO_MESSAGE, .binary = true, .data = rt_buf_str(bytes)};
    return 0;
}

int rt_eio_packet_parse(struct rt_str text, struct rt_buf *bytes, struct rt_eio_packet *ret_packet)
{
    if (text.len == 0)
        return RT_EINVAL;
    struct rt_str data = rt_str_of(text.ptr + 1, text.len - 1);
    if (text.ptr[0] == 'b')
        return rt_eio_packet_parse_base64(data, bytes, ret_packet);
    if (text.ptr[0] < RT_EIO_OPEN || text.ptr[0] > RT_EIO_NOOP ||
        !rt_utf8_valid(data.ptr, data.len))
        return RT_EINVAL;
    *ret_packet =
        (struct rt_eio_packet){.type = (enum rt_eio_packet_type)text.ptr[0], .data = data};
    return 0;
}

bool rt_eio_payload_next(struct rt_str *rest, struct rt_str *ret_text)
{
    if (!rest->ptr)
        return false;
    *ret_text = rt_str_split(*rest, RT_EIO_SEPARATOR, rest);
    return true;
}
