/* From a written address to bound, listening, non-blocking sockets. Internal to net/.
 * Resolving a name blocks; this runs at start. Thread: the loop. */
#ifndef RT_NET_LISTENER_SOCKETS_H
#define RT_NET_LISTENER_SOCKETS_H

#include <sys/types.h>

#include "net/address.h"

#define RT_LISTEN_MAX 8 /* addresses of one name */

struct rt_listen_set {
    int fds[RT_LISTEN_MAX];
    size_t count;
    char text[300]; /* the address with the real port */
    char path[108]; /* of a UNIX socket, else "" */
    dev_t device;   /* and which file it was when we bound it */
    ino_t inode;
};

/* RT_EEXIST: in use. RT_EINVAL: malformed, or the path is not a socket. RT_EIO: the system
 * refused. */
int rt_listen_set_open(struct rt_str address, struct rt_listen_set *ret_set, struct rt_err *err);
/* Removes the UNIX socket file, if it is still ours. Idempotent. */
void rt_listen_set_unlink(struct rt_listen_set *set);
/* Closes the descriptors and removes the file. */
void rt_listen_set_close(struct rt_listen_set *set);

#endif
