/* What RFC 9112 and 9110 demand of a request head and llhttp does not check. Internal to http/. Pure.
 * Functions return NULL, or why the request is refused. */
#ifndef RT_HTTP_HEAD_H
#define RT_HTTP_HEAD_H

#include "http/parser.h"

/* Of a whole line with its line end: exactly one CRLF, no other CR, no NUL. */
const struct rt_http_refusal *rt_http_check_request_line(struct rt_str line);
const struct rt_http_refusal *rt_http_check_header_line(struct rt_str line);
/* Of the complete head: headers are split already. Fills path, query, upgrade_websocket and expect_continue. */
const struct rt_http_refusal *rt_http_check_head(struct rt_http_message *m);

/* Is `token` (lower case) in this comma-separated list? */
bool rt_http_list_has(struct rt_str list, struct rt_str token);

#endif
