/* The browser client under the endpoint's path (`<script src="/socket.io/socket.io.js">`), from a
 * folder that the configuration names.
 *
 * Only the names that Socket.IO's server serves are known, so no path of a request reaches the file
 * system. The files are read once, at start; they have an ETag of their content and are validated
 * by clients each time. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_FILES_H
#define RT_PROTO_SOCKETIO_FILES_H

#include "http/server.h"

struct rt_sio_files;

/* Reads what the folder has; RT_ENOENT when socket.io.js is not in it, RT_EIO, RT_ERANGE (over 16
 * MiB), RT_ENOMEM. */
int rt_sio_files_new(const char *folder, struct rt_sio_files **ret_files, struct rt_err *err);
void rt_sio_files_free(struct rt_sio_files *files);
/* Answers a GET or HEAD whose path ends in a known name, behind `prefix` and a slash (which `prefix`
 * may end with); `cors`: header lines. False: it is none of ours. `files` may be NULL. */
bool rt_sio_files_serve(const struct rt_sio_files *files, struct rt_str prefix, struct rt_str cors,
                        struct rt_http_request *req);

#endif
