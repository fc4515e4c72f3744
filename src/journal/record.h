/* A message as a Kafka record, and back.
 *
 * key: the channel's name. value: `data` as it is (JSON text, text, or bytes), so that consumers written by others read it without us. Headers: `rt-id` (UUID text),
 * `rt-time` (decimal ms), `rt-kind` (json|text|bytes), and where present `rt-event`, `rt-args` ("1"), `rt-publisher`, `rt-key`, `rt-except`, `rt-attachment` (one header for each, in order).
 * A record without our headers (another producer's) is read as JSON when its value is one JSON value, else as text when it is UTF-8, else as bytes; id and time come from the position
 * and the record's timestamp.
 * Pure. Thread: any. */
#ifndef RT_JOURNAL_RECORD_H
#define RT_JOURNAL_RECORD_H

#include "base/err.h"
#include "hub/message.h"

struct rt_record_header {
    const char *name;
    struct rt_str value;
};

#define RT_RECORD_HEADERS (9 + RT_MAX_ATTACHMENTS)

/* Fills up to RT_RECORD_HEADERS headers; text that has to be made is put into `scratch` (which must live as long as the headers). Returns their number. */
struct rt_buf;
size_t rt_record_headers(const struct rt_message *m, struct rt_buf *scratch,
                         struct rt_record_header *headers);
/* A new stored message from value, headers, offset and timestamp (ms). RT_EINVAL: our own headers contradict the value. */
int rt_record_read(struct rt_str value, const struct rt_record_header *headers, size_t count,
                   uint64_t offset, uint64_t timestamp, struct rt_stored **ret_message,
                   struct rt_err *err);

#endif
