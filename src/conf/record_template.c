#include "conf/record_template.h"

/* Bytes before the first brace of either kind. */
static size_t until_brace(struct rt_str text)
{
    size_t n = 0;
    while (n < text.len && text.ptr[n] != '{' && text.ptr[n] != '}')
        n++;
    return n;
}

static enum rt_record_part name_part(struct rt_str inside, struct rt_str *ret_text)
{
    struct rt_str prefix = RT_STR("header:");
    if (rt_str_eq(inside, RT_STR("key")))
        return RT_PART_KEY;
    if (rt_str_eq(inside, RT_STR("topic")))
        return RT_PART_TOPIC;
    if (!rt_str_starts(inside, prefix) || inside.len == prefix.len)
        return RT_PART_WRONG;
    *ret_text = rt_str_of(inside.ptr + prefix.len, inside.len - prefix.len);
    return RT_PART_HEADER;
}

static void take(struct rt_str *rest, size_t n)
{
    rest->ptr += n;
    rest->len -= n;
}

bool rt_record_template_next(struct rt_str *rest, enum rt_record_part *ret_part,
                             struct rt_str *ret_text)
{
    if (rest->len == 0)
        return false;
    size_t n = until_brace(*rest);
    *ret_text = rt_str_of(rest->ptr, n);
    *ret_part = RT_PART_TEXT;
    if (n > 0) {
        take(rest, n);
        return true;
    }
    struct rt_str inside = rt_str_of(rest->ptr + 1, rest->len - 1);
    size_t len = until_brace(inside);
    *ret_text = *rest;
    *ret_part = RT_PART_WRONG;
    if (rest->ptr[0] == '{' && len < inside.len && inside.ptr[len] == '}')
        *ret_part = name_part(rt_str_of(inside.ptr, len), ret_text);
    take(rest, *ret_part == RT_PART_WRONG ? rest->len : len + 2);
    return true;
}

const char *rt_record_template_fault(struct rt_str text)
{
    enum rt_record_part part;
    struct rt_str ignored;
    while (rt_record_template_next(&text, &part, &ignored))
        if (part == RT_PART_WRONG)
            return "allowed are {key}, {topic}, {header:NAME} and text without braces";
    return NULL;
}
