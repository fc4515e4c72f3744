#include "json/envelope.h"

#include <cjson/cJSON.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/map.h"

/* cJSON gets only what is left after the payload members are taken out, and only after
 * rt_json_check() has accepted it under the limits of an envelope: alone it takes 43 MB for 1
 * MiB of "[1,1,...]", accepts trailing garbage and invalid UTF-8 and cuts strings at \u0000. Its
 * tree is never printed and numbers are read from the raw text, since as doubles they lose
 * digits. Members are found through a map of ours, so names are compared exactly and no list is
 * searched. */

#define EXACT_MAX ((uint64_t)1 << 53)

struct field {
    struct rt_str name;
    struct rt_str raw;
    const cJSON *item; /* NULL: a payload */
    bool read;
    struct rt_str *strs; /* made by rt_envelope_strs() */
    struct rt_envelope *object;
};

struct rt_envelope {
    struct rt_envelope *root; /* where errors are kept */
    char *path;               /* NULL, or "outer.inner." for messages; nested ones only */
    struct field *fields;
    size_t count;
    struct rt_map by_name;
    cJSON *tree;       /* root only, owned */
    struct rt_err err; /* root only; code 0: none */
};

/* --- cJSON and memory --- */

static _Thread_local bool cjson_out_of_memory;
static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;

static void *cjson_malloc(size_t size)
{
    void *ptr = rt_malloc(size);
    if (!ptr)
        cjson_out_of_memory = true;
    return ptr;
}

static void set_hooks(void)
{
    cJSON_Hooks hooks = {.malloc_fn = cjson_malloc, .free_fn = rt_free};
    cJSON_InitHooks(&hooks);
}

/* --- Parsing --- */

static struct rt_str field_name(const void *value)
{
    return ((const struct field *)value)->name;
}

static int refuse_name(struct rt_err *err, struct rt_str name, const char *what)
{
    int len = name.len < 64 ? (int)name.len : 64;
    return rt_err_set(err, RT_EINVAL, "field %.*s%s", len, name.ptr ? name.ptr : "", what);
}

static const char *payload_named(const char *const *payloads, struct rt_str key)
{
    struct rt_str quoted = rt_str_of(key.ptr - 1, key.len + 2);
    for (; payloads && *payloads; payloads++) {
        if (rt_json_string_is(quoted, rt_str_c(*payloads)))
            return *payloads;
    }
    return NULL;
}

/* A four-digit escape of a UTF-16 unit, read from a checked text. */
static unsigned unit_at(const char *digits)
{
    unsigned unit = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)digits[i];
        unit = unit << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return unit;
}

/* Escapes that cJSON cannot represent in its NUL-terminated UTF-8. `text` is checked, so a
 * backslash is always within a string. */
static int refuse_escapes(struct rt_str text, struct rt_err *err)
{
    const char *end = text.ptr + text.len;
    const char *p = memchr(text.ptr, '\\', text.len);
    while (p) {
        if (p[1] != 'u') {
            p = memchr(p + 2, '\\', (size_t)(end - p - 2));
            continue;
        }
        unsigned unit = unit_at(p + 2);
        p += 6;
        if (unit == 0)
            return rt_err_set(err, RT_EINVAL, "\\u0000 is not allowed outside of payloads");
        bool high = unit >= 0xd800 && unit < 0xdc00;
        bool pair = high && p[0] == '\\' && p[1] == 'u' && (unit_at(p + 2) & 0xfc00) == 0xdc00;
        if ((high && !pair) || (unit & 0xfc00) == 0xdc00)
            return rt_err_set(err, RT_EINVAL, "an escaped surrogate without its partner");
        if (pair)
            p += 6;
        p = memchr(p, '\\', (size_t)(end - p));
    }
    return 0;
}

#define NUMBER_MAX 63

/* Depending on its version cJSON cannot read longer ones; here none can, so that a request means the
 * same everywhere. */
static bool has_long_number(struct rt_str text)
{
    bool in_string = false;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            in_string = c != '"';
            i += c == '\\';
            continue;
        }
        in_string = c == '"';
        bool of_number = (c >= '0' && c <= '9') || (c && strchr("+-.eE", c));
        len = of_number ? len + 1 : 0;
        if (len > NUMBER_MAX)
            return true;
    }
    return false;
}

/* The object without its payload members. */
static int copy_without_payloads(struct rt_str object, const char *const *payloads,
                                 struct rt_buf *out)
{
    const char *separator = "{";
    struct rt_json_iter it = rt_json_iter(object);
    while (rt_json_next(&it)) {
        if (payload_named(payloads, it.key))
            continue;
        rt_buf_add_c(out, separator);
        rt_buf_add(out, it.key.ptr - 1, it.key.len + 2);
        rt_buf_add_byte(out, ':');
        rt_buf_add_str(out, it.value);
        separator = ",";
    }
    rt_buf_add_c(out, separator[0] == '{' ? "{}" : "}");
    return rt_buf_ok(out) ? 0 : RT_ENOMEM;
}

static bool has_payload(struct rt_str object, const char *const *payloads)
{
    struct rt_json_iter it = rt_json_iter(object);
    while (rt_json_next(&it)) {
        if (payload_named(payloads, it.key))
            return true;
    }
    return false;
}

/* `text` is a checked object without payloads. */
static int parse_tree(struct rt_str text, cJSON **ret_tree, struct rt_err *err)
{
    int r = rt_json_check(text, RT_JSON_ENVELOPE, NULL, err);
    if (r == 0)
        r = refuse_escapes(text, err);
    if (r == 0 && has_long_number(text))
        r = rt_err_set(err, RT_EINVAL, "a number has more than %d characters", NUMBER_MAX);
    if (r < 0)
        return r;
    pthread_once(&hooks_once, set_hooks);
    cjson_out_of_memory = false;
    const char *end = NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(text.ptr, text.len, &end, 0);
    if (!tree && cjson_out_of_memory)
        return rt_err_nomem(err);
    if (!tree || end != text.ptr + text.len) {
        cJSON_Delete(tree);
        return rt_err_set(err, RT_EINVAL, "the JSON library cannot read this text");
    }
    *ret_tree = tree;
    return 0;
}

static int add_field(struct rt_envelope *e, struct field *field, struct rt_err *err)
{
    int r = rt_map_put(&e->by_name, field);
    if (r == RT_EEXIST)
        return refuse_name(err, field->name, " is there twice");
    return r < 0 ? rt_err_nomem(err) : 0;
}

/* Walks the raw members and cJSON's side by side: they come in the same order. */
static int build_fields(struct rt_envelope *e, struct rt_str object, const cJSON *items,
                        const char *const *payloads, struct rt_err *err)
{
    e->fields = rt_calloc(rt_json_count(object), sizeof(*e->fields));
    if (!e->fields)
        return rt_err_nomem(err);
    struct rt_json_iter it = rt_json_iter(object);
    while (rt_json_next(&it)) {
        struct field *field = &e->fields[e->count++];
        const char *payload = payload_named(payloads, it.key);
        field->raw = it.value;
        field->name = rt_str_c(payload ? payload : items->string);
        if (!payload) {
            field->item = items;
            items = items->next;
        }
        int r = add_field(e, field, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static struct rt_envelope *new_envelope(struct rt_envelope *root)
{
    struct rt_envelope *e = rt_calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->root = root ? root : e;
    rt_map_init(&e->by_name, field_name);
    return e;
}

static int fill(struct rt_envelope *e, struct rt_str object, const char *const *payloads,
                struct rt_err *err)
{
    struct rt_buf rest = RT_BUF_INIT;
    struct rt_str text = object;
    int r = 0;
    if (has_payload(object, payloads)) {
        r = copy_without_payloads(object, payloads, &rest);
        if (r < 0)
            rt_err_nomem(err);
        text = rt_buf_str(&rest);
    }
    if (r == 0)
        r = parse_tree(text, &e->tree, err);
    if (r == 0)
        r = build_fields(e, object, e->tree->child, payloads, err);
    rt_buf_deinit(&rest);
    return r;
}

int rt_envelope_parse(struct rt_str text, const char *const *payloads,
                      struct rt_envelope **ret_envelope, struct rt_err *err)
{
    struct rt_json_limits limits = RT_JSON_PAYLOAD;
    limits.depth++; /* the object around the payloads */
    struct rt_str object;
    int r = rt_json_check(text, limits, &object, err);
    if (r < 0)
        return r;
    if (rt_json_kind(object) != RT_JSON_OBJECT)
        return rt_err_set(err, RT_EINVAL, "a JSON object is expected, not %s",
                          rt_json_kind_name(rt_json_kind(object)));
    struct rt_envelope *e = new_envelope(NULL);
    if (!e)
        return rt_err_nomem(err);
    r = fill(e, object, payloads, err);
    if (r < 0) {
        rt_envelope_free(e);
        return r;
    }
    *ret_envelope = e;
    return 0;
}

/* Nested ones are at most as deep as RT_JSON_ENVELOPE allows, so the recursion is bounded. */
void rt_envelope_free(struct rt_envelope *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->count; i++) {
        rt_free(e->fields[i].strs);
        rt_envelope_free(e->fields[i].object);
    }
    rt_map_deinit(&e->by_name);
    rt_free(e->fields);
    rt_free(e->path);
    cJSON_Delete(e->tree);
    rt_free(e);
}

/* --- Reading --- */

/* The member, marked as read; NULL when it is missing or null. */
static struct field *take(struct rt_envelope *e, const char *name)
{
    struct field *field = rt_map_get(&e->by_name, rt_str_c(name));
    if (!field)
        return NULL;
    field->read = true;
    return rt_json_kind(field->raw) == RT_JSON_NULL ? NULL : field;
}

static void record(struct rt_envelope *e, const char *name, const char *wanted)
{
    if (e->root->err.code)
        return;
    rt_err_set(&e->root->err, RT_EINVAL, "field %s%s must be %s", e->path ? e->path : "", name,
               wanted);
}

static void record_nomem(struct rt_envelope *e)
{
    if (!e->root->err.code)
        rt_err_nomem(&e->root->err);
}

struct rt_str rt_envelope_str(struct rt_envelope *e, const char *name)
{
    struct field *field = take(e, name);
    if (!field)
        return RT_STR_NONE;
    if (!cJSON_IsString(field->item)) {
        record(e, name, "a string");
        return RT_STR_NONE;
    }
    return rt_str_c(field->item->valuestring);
}

/* An integer of at most 2^53 either way, written in whatever form: 3, 3.0, 3e2. */
static bool to_integer(const struct field *field, uint64_t *ret_magnitude, bool *ret_negative)
{
    if (!cJSON_IsNumber(field->item))
        return false;
    bool negative = field->raw.ptr[0] == '-';
    struct rt_str digits = rt_str_of(field->raw.ptr + negative, field->raw.len - negative);
    uint64_t magnitude;
    if (!rt_json_u64(digits, &magnitude)) {
        double value = negative ? -field->item->valuedouble : field->item->valuedouble;
        if (!(value < (double)EXACT_MAX))
            return false;
        magnitude = (uint64_t)value;
        if ((double)magnitude < value)
            return false;
    }
    *ret_magnitude = magnitude;
    *ret_negative = negative && magnitude > 0;
    return magnitude <= EXACT_MAX;
}

uint64_t rt_envelope_u64(struct rt_envelope *e, const char *name, uint64_t fallback)
{
    struct field *field = take(e, name);
    if (!field)
        return fallback;
    uint64_t magnitude;
    bool negative;
    if (to_integer(field, &magnitude, &negative) && !negative)
        return magnitude;
    record(e, name, "an integer from 0 to 2^53");
    return fallback;
}

int64_t rt_envelope_i64(struct rt_envelope *e, const char *name, int64_t fallback)
{
    struct field *field = take(e, name);
    if (!field)
        return fallback;
    uint64_t magnitude;
    bool negative;
    if (to_integer(field, &magnitude, &negative))
        return negative ? -(int64_t)magnitude : (int64_t)magnitude;
    record(e, name, "an integer from -2^53 to 2^53");
    return fallback;
}

bool rt_envelope_bool(struct rt_envelope *e, const char *name, bool fallback)
{
    struct field *field = take(e, name);
    if (!field)
        return fallback;
    if (rt_json_kind(field->raw) == RT_JSON_BOOL)
        return field->raw.ptr[0] == 't';
    record(e, name, "true or false");
    return fallback;
}

size_t rt_envelope_strs(struct rt_envelope *e, const char *name, const struct rt_str **ret_items)
{
    struct field *field = take(e, name);
    *ret_items = NULL;
    if (!field)
        return 0;
    size_t count = 0;
    bool all_strings = cJSON_IsArray(field->item);
    for (const cJSON *i = all_strings ? field->item->child : NULL; i; i = i->next) {
        all_strings &= cJSON_IsString(i) != 0;
        count++;
    }
    if (!all_strings) {
        record(e, name, "an array of strings");
        return 0;
    }
    if (!field->strs) {
        field->strs = rt_calloc(count, sizeof(*field->strs));
        if (!field->strs) {
            record_nomem(e);
            return 0;
        }
        struct rt_str *to = field->strs;
        for (const cJSON *i = field->item->child; i; i = i->next)
            *to++ = rt_str_c(i->valuestring);
    }
    *ret_items = field->strs;
    return count;
}

/* Errors go to the root's record, which is what the getters of both look at. */
static struct rt_envelope *new_nested(struct rt_envelope *e, const struct field *field)
{
    struct rt_err err = {.code = 0};
    struct rt_envelope *nested = new_envelope(e->root);
    struct rt_buf path = RT_BUF_INIT;
    rt_buf_printf(&path, "%s%s.", e->path ? e->path : "", field->name.ptr);
    const char *text = rt_buf_cstr(&path);
    if (nested && text)
        nested->path = rt_strndup(text, path.len);
    rt_buf_deinit(&path);
    if (!nested || !nested->path)
        rt_err_nomem(&err);
    else
        build_fields(nested, field->raw, field->item->child, NULL, &err);
    if (!err.code)
        return nested;
    if (err.code == RT_EINVAL)
        rt_err_wrap(&err, "field %s%s", e->path ? e->path : "", field->name.ptr);
    if (!e->root->err.code)
        e->root->err = err;
    rt_envelope_free(nested);
    return NULL;
}

struct rt_envelope *rt_envelope_object(struct rt_envelope *e, const char *name)
{
    struct field *field = take(e, name);
    if (!field)
        return NULL;
    if (!cJSON_IsObject(field->item)) {
        record(e, name, "an object");
        return NULL;
    }
    if (!field->object)
        field->object = new_nested(e, field);
    return field->object;
}

struct rt_str rt_envelope_raw(struct rt_envelope *e, const char *name)
{
    struct field *field = rt_map_get(&e->by_name, rt_str_c(name));
    if (!field)
        return RT_STR_NONE;
    field->read = true;
    return field->raw;
}

struct rt_str rt_envelope_unread(struct rt_envelope *e)
{
    for (size_t i = 0; i < e->count; i++) {
        if (!e->fields[i].read && e->fields[i].item)
            return e->fields[i].name;
    }
    return RT_STR_NONE;
}

int rt_envelope_error(const struct rt_envelope *e, struct rt_err *err)
{
    const struct rt_err *first = &e->root->err;
    if (first->code)
        return rt_err_set(err, first->code, "%s", first->text);
    return 0;
}
