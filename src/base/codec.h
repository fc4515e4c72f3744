/* Small text codecs: base64, percent encoding, hexadecimal. All append to `out`; out of memory
 * shows in rt_buf_ok(). Thread: any. */
#ifndef RT_BASE_CODEC_H
#define RT_BASE_CODEC_H

#include "base/buf.h"

/* RFC 4648 section 4 with padding. */
void rt_base64_encode(struct rt_buf *out, const void *data, size_t len);
/* RFC 4648 section 5, no padding: session ids. */
void rt_base64url_encode(struct rt_buf *out, const void *data, size_t len);
/* Lenient, as Engine.IO clients need it: both alphabets, padding optional, white space skipped.
 * RT_EINVAL on any other byte, on data after padding, on more padding than the length needs and
 * on an impossible length; RT_ENOMEM. `out` keeps its length then. */
int rt_base64_decode(struct rt_buf *out, struct rt_str text);
/* application/x-www-form-urlencoded as the WHATWG URL standard decodes it: '+' is a space, a
 * broken escape stays as it is; bytes that are no UTF-8 become U+FFFD. */
void rt_url_decode(struct rt_buf *out, struct rt_str text);
/* The same outside of queries and forms, in paths and user names: a plus is a plus. */
void rt_path_decode(struct rt_buf *out, struct rt_str text);
/* Everything but ALPHA DIGIT - . _ ~ is escaped. */
void rt_url_encode(struct rt_buf *out, struct rt_str text);
/* Lower case. */
void rt_hex_encode(struct rt_buf *out, const void *data, size_t len);

#endif
