/* What is different between the revisions of Engine.IO: a row for each. All else of the engine is the same for both.
 *
 *                              4                            3
 *   heartbeat                  the server pings             the client pings
 *   binary, WebSocket          a frame of its bytes         the same behind a byte 0x04
 *   binary in text             `b` and base64               `b4` and base64
 *   polling payload            packets joined by 0x1e       `<length>:<packet>`, in UTF-16 code units; with binary data, unless the client
 *                                                           has said b64=1, application/octet-stream (engine_payload3.h)
 *
 * Source: the Engine.IO protocol specification (socket.io project), revisions 4 and 3, and what the reference server does on the wire.
 * Pure. Thread: any. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_REVISION_H
#define RT_PROTO_SOCKETIO_ENGINE_REVISION_H

#include "proto/socketio/engine_payload.h"

struct rt_eio_revision {
    unsigned number;
    bool client_pings;
    struct rt_str binary_type; /* in front of a binary message in a frame of its own */
    struct rt_str base64_type; /* in front of its base64 in text */
    /* One packet from a WebSocket message, as rt_eio_packet_parse(); `parse_bytes` from a binary one, whose slice it returns. */
    int (*parse_text)(struct rt_str text, struct rt_buf *bytes, struct rt_eio_packet *ret_packet);
    int (*parse_bytes)(struct rt_str message, struct rt_eio_packet *ret_packet);
    /* The next packet of a POST's body. 1; 0: there is none left; RT_EINVAL: no such payload; RT_ENOMEM. */
    int (*next)(struct rt_eio_reader *reader, struct rt_buf *bytes,
                struct rt_eio_packet *ret_packet);
    /* Appends the body of a GET's answer, from packets as revision 4 joins them. True: it is application/octet-stream. NULL: they are it. */
    bool (*body)(struct rt_buf *out, struct rt_str packets, bool text_only);
};

extern const struct rt_eio_revision rt_eio_revisions[2]; /* 4, 3 */

#endif
