/* What nodes send each other through Redis, and what they keep there.
 *
 * Layout (integers in network byte order; text and bytes are length (u32) and content):
 *   "RT2"  flags u8 (1: has a MAC, 2: has exceptions)  purpose u8  instance u64  sequence u64  cluster  node  channel
 *   a record: partition u32  offset u64  epoch
 *   id 16 bytes  time u64  kind u8  message flags u8
 *   event  publisher  key  data  attachment count u8  attachments
 *   with exceptions: except_in
 *   with a MAC: HMAC-SHA256 (32 bytes) over everything before it and, behind that, the Redis channel or key ("place") that it is for
 * Whoever can write to Redis could otherwise speak to every client: with a secret an envelope without a right MAC is refused. The purpose and the place
 * are under the MAC, so that no envelope passes for another kind, on another channel, or as what another key holds. An envelope ends where its own lengths say: place
 * and content cannot be shifted against each other. `instance` is the sending process, `sequence` rises with each of its envelopes (cluster/members.h).
 * Flags that a node does not know make an envelope one of another version: it is not delivered, so that nobody gets what it would leave out of account.
 * Thread: any, but for that of the keys. */
#ifndef RT_CLUSTER_ENVELOPE_H
#define RT_CLUSTER_ENVELOPE_H

#include "base/buf.h"
#include "base/err.h"
#include "cluster/mac.h"
#include "hub/message.h"

enum rt_purpose {
    RT_FOR_RECORD =
        1, /* a committed record of the log; then partition, epoch and message.offset are set */
    RT_FOR_RELAY, /* a message of an ephemeral channel */
    RT_FOR_NODES, /* a node's announcement */
    RT_FOR_MAIL,  /* from module to module */
    RT_FOR_STATE, /* kept in Redis: it has no sequence */
};

struct rt_parcel {
    enum rt_purpose purpose;
    uint64_t instance; /* not 0 */
    uint64_t sequence;
    struct rt_str cluster, node, channel;
    uint32_t partition;
    struct rt_str epoch;
    struct rt_message message; /* slices; when decoded, into the input */
};

/* Two secrets are good while one is replaced by the other. */
struct rt_parcel_keys {
    struct rt_mac *mac;    /* signs; NULL: there is no secret */
    struct rt_mac *second; /* accepted beside it; NULL: none */
};

/* Appends to `out`. Not carried: `stamp` and `except`. */
void rt_parcel_encode(struct rt_buf *out, const struct rt_parcel_keys *keys, struct rt_str place,
                      const struct rt_parcel *parcel);
/* Who says to have sent it, before anything is checked; 0 where that cannot be read. */
uint64_t rt_parcel_instance(struct rt_str bytes);
/* RT_EINVAL: malformed; RT_ENOENT: another version of the format; RT_EPERM: the MAC is missing or wrong. The message's attachments are put into `attachments`. */
int rt_parcel_decode(struct rt_str bytes, const struct rt_parcel_keys *keys, struct rt_str place,
                     struct rt_str attachments[RT_MAX_ATTACHMENTS], struct rt_parcel *ret_parcel,
                     struct rt_err *err);

#endif
