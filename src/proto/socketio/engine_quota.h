/* What sessions over polling may take. They have no connection of their own, so that no limit of connections sees them.
 *
 * For a mount: the number of sessions, and bytes of those over polling. For one address (an IPv4 address, or an IPv6 network of 64 bits): its sessions over
 * polling; half of these, as long as no request has followed their handshake; a quarter of the bytes. Peers without an address (UNIX sockets) have no limit of their own.
 * A session whose handshake no request follows within `confirm_within` is ended. All of it is constant time for each session.
 *
 *     handshake: refuses? -> take .. confirm (the next request) .. give (upgraded to WebSocket, or ended)
 *
 * Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_QUOTA_H
#define RT_PROTO_SOCKETIO_ENGINE_QUOTA_H

#include "base/list.h"
#include "base/map.h"
#include "base/metrics.h"
#include "net/loop.h"

struct rt_eio_mount;
struct rt_eio_address;

enum rt_eio_quota {
    RT_EIO_FITS,
    RT_EIO_MANY,        /* sessions of the mount */
    RT_EIO_MANY_OF_IP,  /* sessions of the address */
    RT_EIO_UNCONFIRMED, /* those of its handshakes that no request has followed */
    RT_EIO_BYTES,       /* memory, of all or of the address */
};

/* What one session has taken. */
struct rt_eio_share {
    struct rt_eio_mount *mount;
    struct rt_eio_address *address; /* NULL: none */
    size_t bytes;                   /* 0: nothing is taken */
    struct rt_list unconfirmed;     /* in quotas.unconfirmed */
    uint64_t confirm_by;            /* loop time */
};

/* Of a mount. */
struct rt_eio_quotas {
    struct rt_map addresses;
    struct rt_list unconfirmed; /* shares, the oldest first */
    struct rt_timer timer;
    size_t bytes;
    struct rt_metric rejected[RT_EIO_BYTES + 1];
};

void rt_eio_quotas_init(struct rt_eio_mount *m);
/* No share may be taken. */
void rt_eio_quotas_deinit(struct rt_eio_mount *m);
/* Why a session over polling of this size cannot be; `remote` is rt_http_request.remote. Counts and logs it. */
enum rt_eio_quota rt_eio_quota_refuses(struct rt_eio_mount *m, const char *remote, size_t bytes);
/* For people; names the option. */
const char *rt_eio_quota_text(enum rt_eio_quota why);
/* RT_ENOMEM. `confirm_by`: loop time, 0 never. */
int rt_eio_quota_take(struct rt_eio_mount *m, const char *remote, size_t bytes, uint64_t confirm_by,
                      struct rt_eio_share *share);
/* A request has followed. Idempotent. */
void rt_eio_quota_confirm(struct rt_eio_share *share);
/* Idempotent. */
void rt_eio_quota_give(struct rt_eio_share *share);

#endif
