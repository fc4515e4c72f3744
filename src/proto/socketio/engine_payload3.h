/* Engine.IO 3 packets and polling payloads (Engine.IO protocol specification, revision 3; the reference server's lib/parser-v3).
 *
 * A payload of text is `<length>:<packet>` for each packet, the length in UTF-16 code units; a binary message in it is `b4` and base64. One of
 * bytes (application/octet-stream) is for each packet: 0x00 (text, as UTF-8) or 0x01 (a binary message), the digits of its length in bytes as
 * bytes of 0 to 9, 0xff, and the packet; the type of a binary message is its first byte.
 * Stricter than the reference: a length says exactly what is there, and does not cut a character.
 * Pure: bytes in, packets out. Thread: any. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_PAYLOAD3_H
#define RT_PROTO_SOCKETIO_ENGINE_PAYLOAD3_H

#include "proto/socketio/engine_payload.h"

/* For struct rt_eio_revision, whose fields say what they do. */
int rt_eio_packet_parse3(struct rt_str text, struct rt_buf *bytes,
                         struct rt_eio_packet *ret_packet);
int rt_eio_packet_parse_bytes3(struct rt_str message, struct rt_eio_packet *ret_packet);
int rt_eio_payload_next3(struct rt_eio_reader *reader, struct rt_buf *bytes,
                         struct rt_eio_packet *ret_packet);
bool rt_eio_payload_write3(struct rt_buf *out, struct rt_str packets, bool text_only);

#endif
