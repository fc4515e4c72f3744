/* The handshake request as the templates see it: query, headers and the whole object that
 * Socket.IO's server calls `socket.handshake`.
 *
 * All functions append to `out`, JSON where the name says so, and leave it alone when there is
 * nothing. `scratch` is overwritten. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_HANDSHAKE_H
#define RT_PROTO_SOCKETIO_HANDSHAKE_H

#include "proto/socketio/engine.h"

/* Parameters past this many are not seen in the whole query object. */
#define RT_SIO_QUERY_MAX 256

/* The decoded value of a parameter as text; the last of equal names. False: absent. */
bool rt_sio_query_text(struct rt_str query, struct rt_str name, struct rt_buf *scratch,
                       struct rt_buf *out);
/* {"name":"value"}: all parameters, each name once. */
void rt_sio_query_json(struct rt_str query, struct rt_buf *scratch, struct rt_buf *out);
/* A header's value as text, `name` in lower case; several of one name joined by ", " (cookies by ";
 * "). False: absent. */
bool rt_sio_header_text(struct rt_str headers, struct rt_str name, struct rt_buf *out);
void rt_sio_headers_json(struct rt_str headers, struct rt_buf *scratch, struct rt_buf *out);
/* {headers, time, address, xdomain, secure, issued, url, query, auth}. `h` NULL: everything empty.
 * `auth` none: {}. */
void rt_sio_handshake_json(const struct rt_eio_handshake *h, struct rt_str auth,
                           struct rt_buf *scratch, struct rt_buf *out);

#endif
