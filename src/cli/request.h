/* A small blocking HTTP client for the command line: one request, then the answer's status and body, or its lines as they come.
 *
 * URLs: http://host[:port][/prefix] and unix:/path (the broker's UNIX socket). No TLS: a broker that is reached over TLS is reached through its proxy's machine.
 * Thread: main; blocks. */
#ifndef RT_CLI_REQUEST_H
#define RT_CLI_REQUEST_H

#include "base/buf.h"
#include "base/err.h"

struct rt_request {
    const char *url;    /* base, NULL: RTBROKER_URL or http://127.0.0.1:8000 */
    const char *key;    /* API key, NULL: RTBROKER_API_KEY or none */
    const char *method; /* "GET", "POST" */
    const char *target; /* "/api/publish" */
    struct rt_str body;
};

/* `*ret_status` is the HTTP status, `body` its body (whole, at most 64 MiB). RT_EINVAL: the URL; RT_EIO: no connection, no HTTP. */
int rt_request_send(const struct rt_request *request, int *ret_status, struct rt_buf *body,
                    struct rt_err *err);
/* Calls `line` for each line of the body (without its end) until it returns false or the stream ends. A status other than 200: the
 * body is collected in `refusal` and no line is called. */
int rt_request_stream(const struct rt_request *request, bool (*line)(void *arg, struct rt_str text),
                      void *arg, int *ret_status, struct rt_buf *refusal, struct rt_err *err);

#endif
