/* What nodes send each other through Redis: one record of the log, or one message of an ephemeral channel.
 *
 * Layout (integers in network byte order; text and bytes are length (u32) and content):
 *   "RT1"  flags u8 (1: logged, 2: has a MAC)  node  channel
 *   logged: partition u32  offset u64  epoch
 *   id 16 bytes  time u64  kind u8  message flags u8
 *   event  publisher  key  data  attachment count u8  attachments
 *   with a MAC: HMAC-SHA256 (32 bytes) over everything before it
 * Whoever can PUBLISH to Redis could otherwise speak to every client: with a secret an envelope without a right
 * MAC is refused. `node` is the sender, so that a node drops its own.
 * Thread: any, but for that of the key. */
#ifndef RT_CLUSTER_ENVELOPE_H
#define RT_CLUSTER_ENVELOPE_H

#include "base/buf.h"
#include "base/err.h"
#include "cluster/mac.h"
#include "hub/message.h"

struct rt_parcel {
    struct rt_str node, channel;
    bool logged; /* then partition, epoch and message.offset are set */
    uint32_t partition;
    struct rt_str epoch;
    struct rt_message message; /* slices; when decoded, into the input */
};

/* `mac` NULL: no MAC. Appends to `out`. Not carried: `stamp` and `except`. */
void rt_parcel_encode(struct rt_buf *out, struct rt_mac *mac, const struct rt_parcel *parcel);
/* Who says to have sent it, before anything is checked; a slice, none where there is no such text. */
struct rt_str rt_parcel_sender(struct rt_str bytes);
/* `mac` NULL: a MAC is not looked at. RT_EINVAL: malformed; RT_EPERM: the MAC is missing or wrong. The message's attachments are put into `attachments`. */
int rt_parcel_decode(struct rt_str bytes, struct rt_mac *mac,
                     struct rt_str attachments[RT_MAX_ATTACHMENTS], struct rt_parcel *ret_parcel,
                     struct rt_err *err);

#endif
