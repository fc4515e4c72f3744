/* JSONP polling, for pages that can only load scripts: the same payloads, wrapped (Engine.IO protocol, "JSONP"; the
 * reference server's lib/transports/polling-jsonp).
 * A request takes part when its query has `j`, whose digits name the callback: the body of a GET is `___eio[j]("...");`, that of a POST is a
 * form whose field `d` holds the payload, with line feeds written as backslash n.
 * Pure. Thread: any. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_JSONP_H
#define RT_PROTO_SOCKETIO_ENGINE_JSONP_H

#include "base/buf.h"

/* Is this query one of JSONP? Then `digits` gets those of `j` (at most 20). */
bool rt_eio_jsonp_index(struct rt_str query, struct rt_buf *digits);
/* Appends the call of callback `digits` with the payload as a JavaScript string. */
void rt_eio_jsonp_wrap(struct rt_buf *out, struct rt_str digits, struct rt_str payload);
/* Appends the payload of a form body; nothing when there is no field `d`. */
void rt_eio_jsonp_unwrap(struct rt_buf *out, struct rt_str form);

#endif
