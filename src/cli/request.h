/* A small blocking HTTP client for the command line: one request, then the answer's status and body, or its bytes as they come.
 *
 * URLs: http://host[:port][/prefix] and unix:/path (the broker's UNIX socket). No TLS: a broker that is reached over TLS is reached through its proxy's machine.
 * Thread: main; blocks. */
#ifndef RT_CLI_REQUEST_H
#define RT_CLI_REQUEST_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct rt_request {
    const char *url;    /* base, NULL: RTBROKER_URL or http://127.0.0.1:8000 */
    const char *key;    /* API key, NULL: RTBROKER_API_KEY or none */
    const char *method; /* "GET", "POST" */
    const char *target; /* "/api/publish" */
    struct rt_str body;
    uint32_t timeout; /* ms without a byte after which it fails; 0: never */
};

/* `*ret_status` is the HTTP status, `body` its body (whole, at most 64 MiB). RT_EINVAL: the URL; RT_EIO: no connection, no HTTP. */
int rt_request_send(const struct rt_request *request, int *ret_status, struct rt_buf *body,
                    struct rt_err *err);
/* The parts, for an answer that is read as it comes. Connects and sends the request; `*ret_fd` is the caller's to close. */
int rt_request_open(const struct rt_request *request, int *ret_fd, struct rt_err *err);
/* More bytes into `in`: their number, 0 at the end, -1 on an error (errno, or out of memory). Blocks until there are some. */
ssize_t rt_request_receive(int fd, struct rt_buf *in);
/* Takes the response's head from the front of `in`. RT_EAGAIN: it is not all there. RT_EIO: it is no HTTP. */
int rt_request_head(struct rt_buf *in, int *ret_status, struct rt_err *err);

#endif
