/* The Origin header (RFC 6454) against what the configuration allows: browsers let any page open a WebSocket, so the server has to say no.
 * Pure. Thread: any. */
#ifndef RT_HTTP_ORIGIN_H
#define RT_HTTP_ORIGIN_H

#include "http/server.h"

/* Does a pattern (glob; "*" is everything) match this origin? */
bool rt_http_origin_matches(struct rt_str origin, const char *const *patterns, size_t count);
/* No Origin header (no browser), the page's own origin (its host is our Host), or a pattern. */
bool rt_http_origin_allowed(const struct rt_http_request *req, const char *const *patterns,
                            size_t count);

#endif
