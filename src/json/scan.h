/* JSON as raw slices (RFC 8259): checked once where it enters, then walked without a tree and
 * passed on byte for byte.
 *
 * Payloads are never parsed and printed again: that would change numbers. rt_json_check()
 * decides whether a text is one legal JSON value; all other functions may only be given slices
 * of a text that passed it (they are memory-safe on anything, but their answer is meaningless
 * then). Slices point into that text. Thread: any, no state. */
#ifndef RT_JSON_SCAN_H
#define RT_JSON_SCAN_H

#include "base/buf.h"
#include "base/err.h"

enum rt_json_kind {
    RT_JSON_NONE, /* no value: missing */
    RT_JSON_NULL,
    RT_JSON_BOOL,
    RT_JSON_NUMBER,
    RT_JSON_STRING,
    RT_JSON_ARRAY,
    RT_JSON_OBJECT,
};

struct rt_json_limits {
    uint32_t depth;  /* nested arrays and objects, at most 1024; 0: neither */
    uint32_t tokens; /* values and keys in all; 0: no limit */
};

#define RT_JSON_PAYLOAD  ((struct rt_json_limits){64, 0})
#define RT_JSON_ENVELOPE ((struct rt_json_limits){32, 4096})

/* Exactly one value with optional white space around it, valid UTF-8. Escapes of surrogates need
 * not be paired (RFC 8259 section 8.2 allows it), a byte order mark is refused. `*ret_value`
 * (may be NULL) is the value without the white space. RT_EINVAL with offset and reason,
 * RT_ERANGE over a limit. */
int rt_json_check(struct rt_str text, struct rt_json_limits limits, struct rt_str *ret_value,
                  struct rt_err *err);
/* As rt_json_check, but for the first value of `text`: `*ret_rest` (may be NULL) is what follows
 * it, white space included. */
int rt_json_check_prefix(struct rt_str text, struct rt_json_limits limits, struct rt_str *ret_value,
                         struct rt_str *ret_rest, struct rt_err *err);

enum rt_json_kind rt_json_kind(struct rt_str value);
const char *rt_json_kind_name(enum rt_json_kind kind);

/* Walks an array or object: `struct rt_json_iter it = rt_json_iter(v); while (rt_json_next(&it))
 * use(it.key, it.value)`. */
struct rt_json_iter {
    struct rt_str rest;
    struct rt_str key; /* object: the key between its quotes, escapes as they are */
    struct rt_str value;
};
struct rt_json_iter rt_json_iter(struct rt_str container);
bool rt_json_next(struct rt_json_iter *it);

/* Number of items or members; 0 of anything else. */
size_t rt_json_count(struct rt_str container);
/* The member of this (unescaped) name, last of equal names as JSON.parse has it; the item of
 * this index. len 0 and ptr NULL: none. */
struct rt_str rt_json_get(struct rt_str object, struct rt_str name);
struct rt_str rt_json_at(struct rt_str array, size_t index);
/* A path of names and indexes separated by dots: "a.0.b". An empty path is the value itself. A
 * name with a dot in it cannot be reached; an index is written without leading zeros. Each step
 * walks its container: O(text). */
struct rt_str rt_json_path(struct rt_str value, struct rt_str path);

/* Appends the text of a string value (with its quotes) unescaped as UTF-8; a lone surrogate
 * becomes U+FFFD. */
void rt_json_unescape(struct rt_buf *out, struct rt_str string_value);
/* Is the unescaped text of this string value equal to `text`? No allocation. */
bool rt_json_string_is(struct rt_str string_value, struct rt_str text);
/* Non-negative integer without fraction or exponent, at most UINT64_MAX. */
bool rt_json_u64(struct rt_str value, uint64_t *ret_value);

/* Writing: a quoted, escaped string (control characters, quote, backslash; bytes that are no
 * UTF-8 become U+FFFD; U+2028 and U+2029 stay). */
void rt_json_add_string(struct rt_buf *out, struct rt_str text);
/* Copies a JSON value without white space between tokens. */
void rt_json_add_compact(struct rt_buf *out, struct rt_str value);

#endif
