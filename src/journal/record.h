/* A message as a Kafka record, and back.
 *
 * key: the channel's name. value: `data` as it is (JSON text, text, or bytes), so that consumers written by others read it without us. Headers: `rt-id` (UUID
 * text), `rt-time` (decimal ms), `rt-kind` (json|text|bytes, with "; except" behind it where there is rt-except-in), and where present `rt-event`, `rt-args` ("1"), `rt-except` ("1": not for its publisher), `rt-except-in` (the text `except_in`), `rt-copy` ("1": of one message in several channels), `rt-publisher`,
 * `rt-key`, `rt-attachment` (one for each, in order). `except`, `offset` and `stamp` are not stored. Besides, every record of ours has `rt-epoch` (journal/kafka_epoch.h), and a record with
 * `rt-marker` holds no message; `rt-tick` and `rt-ticks` are the log's clock (journal/kafka_ticks.h).
 * What a reader has to know to deliver a record rightly stands in rt-kind as well, so that one of an older version, which does not know it, finds no message there instead of giving it
 * to those whom it is not for.
 * Records of other producers: each of the headers may be missing, others are ignored. Without rt-kind the value is JSON when it is one JSON value, else text
 * when it is UTF-8, else bytes (a record without a value: empty text). Without rt-id an id is made of timestamp, offset and value, the same on every node; without
 * rt-time the record's timestamp counts.
 * Records of newer versions: one with `rt-epoch` whose rt-kind is not known here is a node's that knows more. Nothing else of it can be judged, and it is no mistake: who stores the log
 * waits in front of it, who delivers it has a hole in its channel. So whoever gives records a form that this version must not misread gives them a kind of their own.
 * Pure. Thread: any. */
#ifndef RT_JOURNAL_RECORD_H
#define RT_JOURNAL_RECORD_H

#include "base/buf.h"
#include "base/err.h"
#include "hub/message.h"

struct rt_record_header {
    const char *name;
    struct rt_str value;
};

#define RT_RECORD_HEADERS (12 + RT_MAX_ATTACHMENTS)
#define RT_HEADER_EPOCH   "rt-epoch"
#define RT_HEADER_MARKER  "rt-marker"
#define RT_RECORD_CHANNEL 4096   /* most bytes of a channel's name */
#define RT_RECORD_KEY     64     /* most bytes of an idempotency key */
#define RT_RECORD_NAMES   16384u /* that a record has, at most, besides what limits.message counts */

/* Fills up to RT_RECORD_HEADERS headers, without rt-epoch and rt-ticks; text that has to be made is put into `scratch` (cleared first; it must stay as it is
 * as long as the headers are used). Returns their number, 0 when out of memory. */
size_t rt_record_headers(const struct rt_message *m, struct rt_buf *scratch,
                         struct rt_record_header *headers);
/* A new stored message from value, headers, position (goes to m.offset as it is: Kafka's offset + 1) and timestamp (ms). Names and values need not
 * outlive the call. RT_EINVAL: our own headers contradict the value or themselves. RT_ENOENT: a marker, no message. RT_ENEWER: a newer version's. RT_ENOMEM. */
int rt_record_read(struct rt_str value, const struct rt_record_header *headers, size_t count,
                   uint64_t offset, uint64_t timestamp, struct rt_stored **ret_message,
                   struct rt_err *err);
/* Can the record's key be a channel's name? UTF-8, 1 to RT_RECORD_CHANNEL bytes, no control characters. */
bool rt_record_channel_valid(struct rt_str key);
/* The value of the last header of this name; none when there is none. */
struct rt_str rt_record_header(const struct rt_record_header *headers, size_t count,
                               const char *name);

#endif
