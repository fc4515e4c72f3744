/* The grammar of RFC 8259: reads every byte once and never recurses. */
#include "json/lex.h"
#include "json/scan.h"

#include "base/utf8.h"

#define DEPTH_MAX 1024 /* whatever the limits say */

struct check {
    const uint8_t *end;
    struct rt_json_limits limits;
    uint32_t depth;
    uint32_t tokens;
    uint64_t objects[DEPTH_MAX / 64]; /* per open container: 1 is an object */
    int code;
    const uint8_t *where;
    const char *reason;
};

/* The functions of the check return the place behind what they read, or this. */
static const uint8_t *refuse(struct check *c, const uint8_t *where, const char *reason)
{
    c->code = RT_EINVAL;
    c->where = where;
    c->reason = reason;
    return NULL;
}

static const uint8_t *refuse_limit(struct check *c, const uint8_t *where, const char *reason)
{
    refuse(c, where, reason);
    c->code = RT_ERANGE;
    return NULL;
}

/* At a backslash. */
static const uint8_t *check_escape(struct check *c, const uint8_t *p)
{
    if (c->end - p < 2)
        return refuse(c, c->end, "the string does not end");
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        if (rt_lex_hex4(p + 2, c->end) < 0)
            return refuse(c, p, "\\u needs four hexadecimal digits");
        return p + 6;
    default:
        return refuse(c, p, "no such escape in a string");
    }
}

/* At the opening quote. */
static const uint8_t *check_string(struct check *c, const uint8_t *p)
{
    p++;
    for (;;) {
        p = rt_lex_skip_plain(p, c->end);
        if (p == c->end)
            return refuse(c, p, "the string does not end");
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            p = check_escape(c, p);
            if (!p)
                return NULL;
            continue;
        }
        if (*p < 0x80)
            return refuse(c, p, "a control character in a string must be escaped");
        do {
            size_t len = rt_utf8_char(p, (size_t)(c->end - p));
            if (!len)
                return refuse(c, p, "not valid UTF-8");
            p += len;
        } while (p < c->end && *p >= 0x80);
    }
}

static const uint8_t *check_digits(struct check *c, const uint8_t *p)
{
    if (p == c->end || !rt_lex_is_digit(*p))
        return refuse(c, p, "a digit is missing in a number");
    while (p < c->end && rt_lex_is_digit(*p))
        p++;
    return p;
}

static const uint8_t *check_number(struct check *c, const uint8_t *p)
{
    if (*p == '-')
        p++;
    bool zero = p < c->end && *p == '0';
    const uint8_t *digits = p;
    p = check_digits(c, p);
    if (!p)
        return NULL;
    if (zero && p - digits > 1)
        return refuse(c, digits, "a number may not start with 0");
    if (p < c->end && *p == '.') {
        p = check_digits(c, p + 1);
        if (!p)
            return NULL;
    }
    if (p < c->end && (*p | 0x20) == 'e') {
        p++;
        if (p < c->end && (*p == '+' || *p == '-'))
            p++;
        p = check_digits(c, p);
    }
    return p;
}

static const uint8_t *check_word(struct check *c, const uint8_t *p, struct rt_str word)
{
    if ((size_t)(c->end - p) < word.len || memcmp(p, word.ptr, word.len) != 0)
        return refuse(c, p, "a value must be one of {, [, a string, a number, true, false, null");
    return p + word.len;
}

static inline bool count_token(struct check *c)
{
    return ++c->tokens <= c->limits.tokens || c->limits.tokens == 0;
}

static inline bool in_object(const struct check *c)
{
    return c->objects[(c->depth - 1) / 64] >> ((c->depth - 1) % 64) & 1;
}

/* A name and its colon. */
static const uint8_t *check_name(struct check *c, const uint8_t *p)
{
    p = rt_lex_skip_space(p, c->end);
    if (p == c->end || *p != '"')
        return refuse(c, p, "a member name in double quotes is missing");
    if (!count_token(c))
        return refuse_limit(c, p, "too many values and names");
    p = check_string(c, p);
    if (!p)
        return NULL;
    p = rt_lex_skip_space(p, c->end);
    if (p == c->end || *p != ':')
        return refuse(c, p, "a colon is missing behind a member name");
    return p + 1;
}

/* At the opening bracket. `*ret_inside`: a value follows; otherwise the container was empty and
 * is closed. */
static const uint8_t *check_open(struct check *c, const uint8_t *p, bool *ret_inside)
{
    if (c->depth >= c->limits.depth || c->depth >= DEPTH_MAX)
        return refuse_limit(c, p, "nested too deeply");
    bool object = *p == '{';
    uint64_t bit = 1ull << (c->depth % 64);
    uint64_t *bits = &c->objects[c->depth / 64];
    *bits = object ? *bits | bit : *bits & ~bit;
    c->depth++;
    p = rt_lex_skip_space(p + 1, c->end);
    *ret_inside = true;
    if (p < c->end && *p == (object ? '}' : ']')) {
        c->depth--;
        *ret_inside = false;
        return p + 1;
    }
    return object ? check_name(c, p) : p;
}

/* Behind a value inside of a container: closes what is closed. With depth left, a value follows. */
static const uint8_t *check_next(struct check *c, const uint8_t *p)
{
    while (c->depth) {
        p = rt_lex_skip_space(p, c->end);
        bool object = in_object(c);
        if (p < c->end && *p == ',')
            return object ? check_name(c, p + 1) : p + 1;
        if (p == c->end || *p != (object ? '}' : ']'))
            return refuse(c, p, object ? "',' or '}' is missing" : "',' or ']' is missing");
        c->depth--;
        p++;
    }
    return p;
}

/* One value or the opening of a container. `*ret_inside` as in check_open(). */
static const uint8_t *check_value(struct check *c, const uint8_t *p, bool *ret_inside)
{
    *ret_inside = false;
    if (p == c->end)
        return refuse(c, p, "a value is missing");
    if (!count_token(c))
        return refuse_limit(c, p, "too many values and names");
    switch (*p) {
    case '"':
        return check_string(c, p);
    case '{':
    case '[':
        return check_open(c, p, ret_inside);
    case 't':
        return check_word(c, p, RT_STR("true"));
    case 'f':
        return check_word(c, p, RT_STR("false"));
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return check_number(c, p);
    default:
        return check_word(c, p, RT_STR("null"));
    }
}

static const uint8_t *check_all(struct check *c, const uint8_t *p)
{
    do {
        bool inside;
        p = check_value(c, rt_lex_skip_space(p, c->end), &inside);
        if (p && !inside)
            p = check_next(c, p);
    } while (p && c->depth);
    return p;
}

static int report(const struct check *c, struct rt_str text, struct rt_err *err)
{
    size_t offset = (size_t)((const char *)c->where - text.ptr);
    return rt_err_set(err, c->code, "JSON, byte %zu: %s", offset, c->reason);
}

int rt_json_check_prefix(struct rt_str text, struct rt_json_limits limits, struct rt_str *ret_value,
                         struct rt_str *ret_rest, struct rt_err *err)
{
    if (!text.ptr)
        text = RT_STR("");
    const uint8_t *p = (const uint8_t *)text.ptr;
    struct check c;
    c.end = p + text.len;
    c.limits = limits;
    c.depth = 0;
    c.tokens = 0; /* objects[] is written before it is read */
    p = rt_lex_skip_space(p, c.end);
    const uint8_t *behind = check_all(&c, p);
    if (!behind)
        return report(&c, text, err);
    if (ret_value)
        *ret_value = rt_str_of(p, (size_t)(behind - p));
    if (ret_rest)
        *ret_rest = rt_str_of(behind, (size_t)(c.end - behind));
    return 0;
}

int rt_json_check(struct rt_str text, struct rt_json_limits limits, struct rt_str *ret_value,
                  struct rt_err *err)
{
    struct rt_str value, rest;
    int r = rt_json_check_prefix(text, limits, &value, &rest, err);
    if (r < 0)
        return r;
    const uint8_t *end = (const uint8_t *)rest.ptr + rest.len;
    const uint8_t *p = rt_lex_skip_space((const uint8_t *)rest.ptr, end);
    if (p != end)
        return rt_err_set(err, RT_EINVAL, "JSON, byte %zu: something follows the value",
                          (size_t)((const char *)p - text.ptr));
    if (ret_value)
        *ret_value = value;
    return 0;
}
