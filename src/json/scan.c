/* The walk: trusts what the check has accepted and looks only for the ends of things. Never
 * recurses. */
#include "json/scan.h"

#include "base/utf8.h"
#include "json/lex.h"

static inline struct rt_str slice(const uint8_t *from, const uint8_t *to)
{
    return rt_str_of(from, (size_t)(to - from));
}

/* At the opening quote; behind the closing one. */
static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end)
{
    p++;
    while (p < end) {
#ifdef __SSE2__
        if (end - p >= 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
            __m128i special = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                           _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
            int mask = _mm_movemask_epi8(special);
            if (!mask) {
                p += 16;
                continue;
            }
            p += __builtin_ctz((unsigned)mask);
        }
#endif
        if (*p == '"')
            return p + 1;
        if (*p == '\\' && end - p < 2)
            break;
        p += *p == '\\' ? 2 : 1;
    }
    return end;
}

/* The next quote or bracket. */
static const uint8_t *find_structure(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    /* With bit 5 set [ and ] look like { and }. */
    const __m128i bit = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i folded = _mm_or_si128(v, bit);
        __m128i found = _mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')),
                                     _mm_cmpeq_epi8(folded, _mm_set1_epi8('}')));
        found = _mm_or_si128(found, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
        int mask = _mm_movemask_epi8(found);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
        p += 16;
    }
#endif
    while (p < end && *p != '"' && (*p | 0x20) != '{' && (*p | 0x20) != '}')
        p++;
    return p;
}

static const uint8_t *skip_container(const uint8_t *p, const uint8_t *end)
{
    size_t depth = 0;
    for (p = find_structure(p, end); p < end; p = find_structure(p, end)) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        bool opens = (*p | 0x20) == '{';
        p++;
        if (opens)
            depth++;
        else if (depth <= 1)
            return p;
        else
            depth--;
    }
    return end;
}

/* At the first byte of a value; behind its last one. */
static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
    if (p == end)
        return p;
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    while (p < end && *p != ',' && *p != ']' && *p != '}' && !rt_lex_is_space(*p))
        p++;
    return p;
}

enum rt_json_kind rt_json_kind(struct rt_str value)
{
    if (value.len == 0)
        return RT_JSON_NONE;
    switch (value.ptr[0]) {
    case 'n':
        return RT_JSON_NULL;
    case 't':
    case 'f':
        return RT_JSON_BOOL;
    case '"':
        return RT_JSON_STRING;
    case '[':
        return RT_JSON_ARRAY;
    case '{':
        return RT_JSON_OBJECT;
    default:
        return RT_JSON_NUMBER;
    }
}

const char *rt_json_kind_name(enum rt_json_kind kind)
{
    static const char *const names[] = {"none",   "null",  "boolean", "number",
                                        "string", "array", "object"};
    return names[kind];
}

/* `rest` always ends with the closing bracket, which so tells what is walked. */
struct rt_json_iter rt_json_iter(struct rt_str container)
{
    struct rt_json_iter it = {.rest = RT_STR_NONE};
    if (container.len >= 2 && (container.ptr[0] == '[' || container.ptr[0] == '{'))
        it.rest = rt_str_of(container.ptr + 1, container.len - 1);
    return it;
}

static const uint8_t *skip_space_and(uint8_t mark, const uint8_t *p, const uint8_t *end)
{
    while (p < end && (rt_lex_is_space(*p) || *p == mark))
        p++;
    return p;
}

bool rt_json_next(struct rt_json_iter *it)
{
    if (it->rest.len == 0)
        return false;
    const uint8_t *end = (const uint8_t *)it->rest.ptr + it->rest.len - 1;
    const uint8_t *p = skip_space_and(',', (const uint8_t *)it->rest.ptr, end);
    it->key = RT_STR_NONE;
    if (*end == '}' && p < end) {
        const uint8_t *name = p;
        p = skip_string(p, end);
        if (p - name >= 2)
            it->key = slice(name + 1, p - 1);
        p = skip_space_and(':', p, end);
    }
    const uint8_t *behind = skip_value(p, end);
    if (behind == p) {
        it->rest = it->key = it->value = RT_STR_NONE;
        return false;
    }
    it->value = slice(p, behind);
    it->rest = slice(behind, end + 1);
    return true;
}

size_t rt_json_count(struct rt_str container)
{
    size_t count = 0;
    struct rt_json_iter it = rt_json_iter(container);
    while (rt_json_next(&it))
        count++;
    return count;
}

/* A key as the iterator gives it, with the quotes around it. */
static bool key_is(struct rt_str key, struct rt_str name)
{
    if (!key.ptr)
        return false;
    if (key.len == name.len && (key.len == 0 || memcmp(key.ptr, name.ptr, key.len) == 0))
        return name.len == 0 || !memchr(name.ptr, '\\', name.len);
    if (key.len <= name.len)
        return false; /* an escape is longer than what it stands for */
    return rt_json_string_is(rt_str_of(key.ptr - 1, key.len + 2), name);
}

struct rt_str rt_json_get(struct rt_str object, struct rt_str name)
{
    struct rt_str found = RT_STR_NONE;
    if (rt_json_kind(object) != RT_JSON_OBJECT)
        return found;
    struct rt_json_iter it = rt_json_iter(object);
    while (rt_json_next(&it)) {
        if (key_is(it.key, name))
            found = it.value;
    }
    return found;
}

struct rt_str rt_json_at(struct rt_str array, size_t index)
{
    if (rt_json_kind(array) != RT_JSON_ARRAY)
        return RT_STR_NONE;
    struct rt_json_iter it = rt_json_iter(array);
    while (rt_json_next(&it)) {
        if (index-- == 0)
            return it.value;
    }
    return RT_STR_NONE;
}

/* "0", "17", but not "00": one item has one name. */
static bool is_index(struct rt_str text, uint64_t *ret_index)
{
    return rt_str_to_u64(text, ret_index) == 0 && (text.len == 1 || text.ptr[0] != '0');
}

struct rt_str rt_json_path(struct rt_str value, struct rt_str path)
{
    bool more = path.len > 0;
    while (more && value.len) {
        struct rt_str rest;
        struct rt_str part = rt_str_split(path, '.', &rest);
        uint64_t index;
        if (value.ptr[0] == '{')
            value = rt_json_get(value, part);
        else if (value.ptr[0] == '[' && is_index(part, &index))
            value = rt_json_at(value, (size_t)index);
        else
            value = RT_STR_NONE;
        more = rest.ptr != NULL;
        path = rest;
    }
    return value;
}

bool rt_json_u64(struct rt_str value, uint64_t *ret_value)
{
    return rt_str_to_u64(value, ret_value) == 0;
}

/* --- Strings --- */

struct decoded {
    uint8_t bytes[4];
    size_t len;
};

static void put_utf8(struct decoded *d, uint32_t code)
{
    if (code < 0x80) {
        d->bytes[0] = (uint8_t)code;
        d->len = 1;
        return;
    }
    d->len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = d->len - 1; i > 0; i--) {
        d->bytes[i] = (uint8_t)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    d->bytes[0] = (uint8_t)(lead[d->len] | code);
}

/* At "\u": one UTF-16 unit or a pair of surrogates; a surrogate without its partner is U+FFFD. */
static const uint8_t *decode_unit(const uint8_t *p, const uint8_t *end, struct decoded *d)
{
    int unit = rt_lex_hex4(p + 2, end);
    if (unit < 0) {
        put_utf8(d, 0xfffd);
        return p + 2;
    }
    p += 6;
    if (unit < 0xd800 || unit > 0xdfff) {
        put_utf8(d, (uint32_t)unit);
        return p;
    }
    int low =
        unit < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? rt_lex_hex4(p + 2, end) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        put_utf8(d, 0xfffd);
        return p;
    }
    put_utf8(d, 0x10000 + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
    return p + 6;
}

/* At a backslash; behind the escape. */
static const uint8_t *decode_escape(const uint8_t *p, const uint8_t *end, struct decoded *d)
{
    static const char letters[] = "bfnrt";
    static const char meanings[] = "\b\f\n\r\t";
    if (end - p < 2) {
        put_utf8(d, 0xfffd);
        return end;
    }
    if (p[1] == 'u')
        return decode_unit(p, end, d);
    const char *letter = memchr(letters, p[1], sizeof(letters) - 1);
    put_utf8(d, letter ? (uint32_t)meanings[letter - letters] : p[1]);
    return p + 2;
}

static struct rt_str between_quotes(struct rt_str string_value)
{
    if (string_value.len < 2 || string_value.ptr[0] != '"')
        return RT_STR_NONE;
    return rt_str_of(string_value.ptr + 1, string_value.len - 2);
}

void rt_json_unescape(struct rt_buf *out, struct rt_str string_value)
{
    struct rt_str inner = between_quotes(string_value);
    const uint8_t *p = (const uint8_t *)inner.ptr;
    const uint8_t *end = inner.len ? p + inner.len : p;
    while (p < end) {
        const uint8_t *escape = memchr(p, '\\', (size_t)(end - p));
        if (!escape)
            escape = end;
        rt_buf_add(out, p, (size_t)(escape - p));
        p = escape;
        if (p < end) {
            struct decoded d;
            p = decode_escape(p, end, &d);
            rt_buf_add(out, d.bytes, d.len);
        }
    }
}

bool rt_json_string_is(struct rt_str string_value, struct rt_str text)
{
    if (rt_json_kind(string_value) != RT_JSON_STRING)
        return false;
    struct rt_str inner = between_quotes(string_value);
    const uint8_t *p = (const uint8_t *)inner.ptr;
    const uint8_t *end = inner.len ? p + inner.len : p;
    size_t at = 0;
    while (p < end) {
        struct decoded d = {.bytes = {*p}, .len = 1};
        p = *p == '\\' ? decode_escape(p, end, &d) : p + 1;
        if (d.len > text.len - at || memcmp(text.ptr + at, d.bytes, d.len) != 0)
            return false;
        at += d.len;
    }
    return at == text.len;
}

static void add_escape(struct rt_buf *out, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    static const char codes[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *code = memchr(codes, c, sizeof(codes) - 1);
    if (code) {
        const char two[] = {'\\', letters[code - codes]};
        rt_buf_add(out, two, sizeof(two));
    } else {
        const char six[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        rt_buf_add(out, six, sizeof(six));
    }
}

void rt_json_add_string(struct rt_buf *out, struct rt_str text)
{
    const uint8_t *p = (const uint8_t *)text.ptr;
    const uint8_t *end = text.len ? p + text.len : p;
    const uint8_t *run = p; /* what is copied as it is begins here */
    rt_buf_add_byte(out, '"');
    while (p < end) {
        p = rt_lex_skip_plain(p, end);
        if (p == end)
            break;
        size_t len = *p < 0x80 ? 0 : rt_utf8_char(p, (size_t)(end - p));
        if (len) {
            p += len;
            continue;
        }
        rt_buf_add(out, run, (size_t)(p - run));
        if (*p < 0x80) {
            add_escape(out, *p++);
        } else {
            size_t bad;
            (void)rt_utf8_prefix(p, (size_t)(end - p), &bad);
            rt_buf_add_str(out, RT_STR(RT_UTF8_REPLACEMENT));
            p += bad;
        }
        run = p;
    }
    rt_buf_add(out, run, (size_t)(p - run));
    rt_buf_add_byte(out, '"');
}

void rt_json_add_compact(struct rt_buf *out, struct rt_str value)
{
    const uint8_t *p = (const uint8_t *)value.ptr;
    const uint8_t *end = value.len ? p + value.len : p;
    const uint8_t *run = p;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else if (rt_lex_is_space(*p)) {
            rt_buf_add(out, run, (size_t)(p - run));
            p = rt_lex_skip_space(p, end);
            run = p;
        } else {
            p++;
        }
    }
    rt_buf_add(out, run, (size_t)(p - run));
}
