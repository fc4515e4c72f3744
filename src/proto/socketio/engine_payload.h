/* Engine.IO packets, and those of revision 4 in a polling payload: packets joined by 0x1e, text packets as type character and UTF-8, binary messages as
 * `b` and base64 (Engine.IO protocol specification, revision 4, "Payload encoding").
 * Pure: bytes in, packets out. Thread: any. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_PAYLOAD_H
#define RT_PROTO_SOCKETIO_ENGINE_PAYLOAD_H

#include "base/buf.h"

#define RT_EIO_SEPARATOR '\x1e'

enum rt_eio_packet_type {
    RT_EIO_OPEN = '0',
    RT_EIO_CLOSE = '1',
    RT_EIO_PING = '2',
    RT_EIO_PONG = '3',
    RT_EIO_MESSAGE = '4',
    RT_EIO_UPGRADE = '5',
    RT_EIO_NOOP = '6',
};

struct rt_eio_packet {
    enum rt_eio_packet_type type;
    bool binary;
    struct rt_str
        data; /* text: a slice of the input behind the type; binary: in the caller's buffer */
};

/* The body of a POST that is being read. */
struct rt_eio_reader {
    struct rt_str rest; /* starts as the body, never NULL */
    bool octets;        /* it came as application/octet-stream (revision 3) */
    bool begun;         /* something of it has been read */
};

/* One packet from its text form (of a payload, or a WebSocket text frame). Binary messages are decoded into `bytes`
 * (cleared first). RT_EINVAL: empty, unknown type, bad base64, text that is not UTF-8; RT_ENOMEM. */
int rt_eio_packet_parse(struct rt_str text, struct rt_buf *bytes, struct rt_eio_packet *ret_packet);
/* The same for a binary message, from what stands behind its type. */
int rt_eio_packet_parse_base64(struct rt_str encoded, struct rt_buf *bytes,
                               struct rt_eio_packet *ret_packet);

/* Cuts the next packet off a payload; false at the end. `*rest` starts as the payload. An empty payload has one, empty, packet. */
bool rt_eio_payload_next(struct rt_str *rest, struct rt_str *ret_text);

#endif
