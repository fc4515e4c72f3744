#include "base/str.h"

#include "base/err.h"

static inline unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool rt_str_eq_nocase(struct rt_str a, struct rt_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    }
    return true;
}

struct rt_str rt_str_split(struct rt_str s, char sep, struct rt_str *rest)
{
    const char *at = s.len ? memchr(s.ptr, sep, s.len) : NULL;
    if (!at) {
        *rest = RT_STR_NONE;
        return s;
    }
    size_t len = (size_t)(at - s.ptr);
    *rest = rt_str_of(at + 1, s.len - len - 1);
    return rt_str_of(s.ptr, len);
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct rt_str rt_str_trim(struct rt_str s)
{
    while (s.len && is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

int rt_str_to_u64(struct rt_str s, uint64_t *ret_value)
{
    if (s.len == 0)
        return RT_EINVAL;
    uint64_t value = 0;
    bool over = false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return RT_EINVAL;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        over |= value > UINT64_MAX / 10 || value * 10 > UINT64_MAX - digit;
        value = value * 10 + digit;
    }
    if (over)
        return RT_ERANGE;
    *ret_value = value;
    return 0;
}

/* Only the last star is ever tried again: an earlier one that matched as little as possible
 * leaves all choices to it. So the worst case is pattern length times text length. */
bool rt_glob_match(struct rt_str pattern, struct rt_str s)
{
    size_t p = 0, i = 0;
    bool starred = false;
    size_t after_star = 0, retry = 0;
    while (i < s.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            starred = true;
            after_star = ++p;
            retry = i;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == s.ptr[i])) {
            p++;
            i++;
        } else if (starred) {
            p = after_star;
            i = ++retry;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

bool rt_str_eq_secret(struct rt_str a, struct rt_str b)
{
    if (a.len != b.len)
        return false;
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < a.len; i++)
        difference = (unsigned char)(difference | (unsigned char)(a.ptr[i] ^ b.ptr[i]));
    return difference == 0;
}
