/* What nodes send each other through Redis: one record of the log, or one message of an ephemeral channel.
 *
 * Binary, network byte order: magic "RT1", flags (1: has position, 2: has MAC), partition u32, offset u64, time u64, stamp-free id 16, kind u8, message flags u8, except-free; then length-prefixed (u32)
 * epoch, channel, event, publisher, key, data, attachment count u8 and attachments; last, with `cluster.secret`, HMAC-SHA256 (32 bytes) over all before it. Whoever can PUBLISH to Redis could
 * otherwise speak to every client: with a secret an envelope without a right MAC is dropped and counted.
 * `node` (length-prefixed, first field) is the sender, so that a node drops its own.
 * Pure. Thread: any. */
#ifndef RT_CLUSTER_ENVELOPE_H
#define RT_CLUSTER_ENVELOPE_H

#include "base/buf.h"
#include "base/err.h"
#include "hub/message.h"

struct rt_envelope_in {
    struct rt_str node, channel, epoch;
    bool logged; /* partition, message.offset and epoch are set */
    uint32_t partition;
    struct rt_message message; /* slices into the input */
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
};

/* `secret` none: no MAC. Appends to `out`. */
void rt_cluster_encode(struct rt_buf *out, struct rt_str secret, struct rt_str node,
                       struct rt_str channel, struct rt_str epoch, uint32_t partition,
                       const struct rt_message *m);
/* RT_EINVAL: malformed; RT_EPERM: the MAC is missing or wrong. `in->message.attachments` points to in->attachments. */
int rt_cluster_decode(struct rt_str bytes, struct rt_str secret, struct rt_envelope_in *in,
                      struct rt_err *err);

#endif
