/* A bounded JSON object whose fields we name ourselves (API requests), read with cJSON; payload
 * fields are taken as raw slices of the text.
 *
 * The text is checked first (RT_JSON_ENVELOPE limits outside payloads, no duplicate keys in an
 * object that is opened, no \u0000 and no lone surrogate escape outside payloads, numbers of at
 * most 63 characters), since cJSON alone accepts trailing garbage, is case-insensitive by
 * default and cuts strings at NUL. Only top-level members whose name is in `payloads` are exempt
 * from the token limit, and those are not handed to cJSON (they follow RT_JSON_PAYLOAD). Getters
 * record the first error in the envelope, so that a handler reads all fields and checks once.
 * Ownership: strings live in the envelope, raw slices in the caller's text, which must outlive
 * the envelope. Thread: any, one at a time. */
#ifndef RT_JSON_ENVELOPE_H
#define RT_JSON_ENVELOPE_H

#include "json/scan.h"

struct rt_envelope;

/* `payloads`: NULL-terminated names (NULL: none), which outlive the envelope. RT_EINVAL /
 * RT_ERANGE / RT_ENOMEM with text fit for a client. */
int rt_envelope_parse(struct rt_str text, const char *const *payloads,
                      struct rt_envelope **ret_envelope, struct rt_err *err);
/* NULL is fine. Only for what rt_envelope_parse() gave: nested ones go with it. */
void rt_envelope_free(struct rt_envelope *e);

/* Missing or null: none / `fallback` / count 0. Another type: recorded as "field NAME must be
 * ...". */
struct rt_str rt_envelope_str(struct rt_envelope *e, const char *name);
/* Integers up to 2^53 (and down to -2^53), also written as 3.0 or 3e2; read from the text, so no
 * digit is lost. */
uint64_t rt_envelope_u64(struct rt_envelope *e, const char *name, uint64_t fallback);
int64_t rt_envelope_i64(struct rt_envelope *e, const char *name, int64_t fallback);
bool rt_envelope_bool(struct rt_envelope *e, const char *name, bool fallback);
/* Strings of an array member. Stable until the envelope is freed. */
size_t rt_envelope_strs(struct rt_envelope *e, const char *name, const struct rt_str **ret_items);
/* A nested object as an envelope of its own, owned by the parent; NULL when missing. Its errors
 * are recorded in the parent, with the path: "field a.b must be ...". */
struct rt_envelope *rt_envelope_object(struct rt_envelope *e, const char *name);
/* The raw JSON of any member, none when missing ("null" when it is null). */
struct rt_str rt_envelope_raw(struct rt_envelope *e, const char *name);
/* Names that are neither read by a getter so far nor payloads: the first one, or none. For
 * "unknown field". */
struct rt_str rt_envelope_unread(struct rt_envelope *e);
/* 0, or the first error recorded in this envelope, its parents and what is nested in them. */
int rt_envelope_error(const struct rt_envelope *e, struct rt_err *err);

#endif
