/* See engine_revision.h. */
#include "proto/socketio/engine_revision.h"

#include "proto/socketio/engine_payload3.h"

static int parse_bytes(struct rt_str message, struct rt_eio_packet *ret_packet)
{
    *ret_packet = (struct rt_eio_packet){.type = RT_EIO_MESSAGE, .binary = true, .data = message};
    return 0;
}

static int next(struct rt_eio_reader *reader, struct rt_buf *bytes,
                struct rt_eio_packet *ret_packet)
{
    struct rt_str text;
    if (!rt_eio_payload_next(&reader->rest, &text))
        return 0;
    int status = rt_eio_packet_parse(text, bytes, ret_packet);
    return status ? status : 1;
}

const struct rt_eio_revision rt_eio_revisions[2] = {
    {
        .number = 4,
        .binary_type = {"", 0},
        .base64_type = {"b", 1},
        .parse_text = rt_eio_packet_parse,
        .parse_bytes = parse_bytes,
        .next = next,
    },
    {
        .number = 3,
        .client_pings = true,
        .binary_type = {"\4", 1},
        .base64_type = {"b4", 2},
        .parse_text = rt_eio_packet_parse3,
        .parse_bytes = rt_eio_packet_parse_bytes3,
        .next = rt_eio_payload_next3,
        .body = rt_eio_payload_write3,
    },
};
