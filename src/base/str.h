/* A slice of bytes that somebody else owns: pointer and length, not NUL-terminated, may hold any
 * byte. Thread: any (a value). A slice is valid only as long as its owner says. */
#ifndef RT_BASE_STR_H
#define RT_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rt_str {
    const char *ptr;
    size_t len;
};

#define RT_STR(literal) ((struct rt_str){(literal), sizeof(literal) - 1})
#define RT_STR_NONE     ((struct rt_str){NULL, 0})
/* For printf("%.*s", RT_STR_ARG(s)). */
#define RT_STR_ARG(s) ((int)(s).len), ((s).ptr ? (s).ptr : "")

static inline struct rt_str rt_str_c(const char *text)
{
    return (struct rt_str){text, text ? strlen(text) : 0};
}

static inline struct rt_str rt_str_of(const void *ptr, size_t len)
{
    return (struct rt_str){(const char *)ptr, len};
}

static inline bool rt_str_eq(struct rt_str a, struct rt_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool rt_str_starts(struct rt_str s, struct rt_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* ASCII only, as HTTP header names and tokens want it. */
bool rt_str_eq_nocase(struct rt_str a, struct rt_str b);
/* The part before the first `sep`; `*rest` becomes what follows it (none when `sep` does not
 * occur). */
struct rt_str rt_str_split(struct rt_str s, char sep, struct rt_str *rest);
/* Without leading and trailing spaces, tabs, CR and LF. */
struct rt_str rt_str_trim(struct rt_str s);
/* Digits only, no sign, no space. RT_EINVAL on anything else, RT_ERANGE past UINT64_MAX. */
int rt_str_to_u64(struct rt_str s, uint64_t *ret_value);
/* `*` is any run, `?` one byte, the whole of `s` must match. Linear in practice, never
 * exponential. */
bool rt_glob_match(struct rt_str pattern, struct rt_str s);
/* Compares in time that depends only on the lengths. For secrets. */
bool rt_str_eq_secret(struct rt_str a, struct rt_str b);

#endif
