#include "journal/record.h"

#include "base/map.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "journal/kafka_epoch.h"
#include "json/scan.h"

static const char *const kinds[] = {
    [RT_KIND_JSON] = "json", [RT_KIND_TEXT] = "text", [RT_KIND_BYTES] = "bytes"};
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))
static const char *const excepting_kinds[KINDS] = {[RT_KIND_JSON] = "json; except",
                                                   [RT_KIND_TEXT] = "text; except",
                                                   [RT_KIND_BYTES] = "bytes; except"};

/* Not tighter than what any publisher may have been allowed; the size is limited by Kafka. */
static const struct rt_json_limits limits = {1024, 0};

/* ---- writing ----------------------------------------------------------------------------------------------- */

static void add(struct rt_record_header *headers, size_t *count, const char *name,
                struct rt_str value)
{
    headers[(*count)++] = (struct rt_record_header){name, value};
}

static void add_present(struct rt_record_header *headers, size_t *count, const char *name,
                        struct rt_str value)
{
    if (value.ptr)
        add(headers, count, name, value);
}

size_t rt_record_headers(const struct rt_message *m, struct rt_buf *scratch,
                         struct rt_record_header *headers)
{
    size_t count = 0;
    rt_buf_clear(scratch);
    uint8_t *id = rt_buf_reserve(scratch, RT_UUID_LEN + 1 + 20);
    if (!id)
        return 0;
    rt_uuid_format(m->id, (char *)id);
    scratch->len = RT_UUID_LEN;
    rt_buf_add_u64(scratch, m->time);
    add(headers, &count, "rt-id", rt_str_of(scratch->data, RT_UUID_LEN));
    add(headers, &count, "rt-time",
        rt_str_of(scratch->data + RT_UUID_LEN, scratch->len - RT_UUID_LEN));
    add(headers, &count, "rt-kind",
        rt_str_c(m->except_in.len ? excepting_kinds[m->kind] : kinds[m->kind]));
    add_present(headers, &count, "rt-event", m->event);
    if (m->flags & RT_MESSAGE_ARGS)
        add(headers, &count, "rt-args", RT_STR("1"));
    if (m->flags & RT_MESSAGE_NOT_SENDER)
        add(headers, &count, "rt-except", RT_STR("1"));
    if (m->except_in.len)
        add(headers, &count, "rt-except-in", m->except_in);
    if (m->flags & RT_MESSAGE_COPY)
        add(headers, &count, "rt-copy", RT_STR("1"));
    add_present(headers, &count, "rt-publisher", m->publisher);
    add_present(headers, &count, "rt-key", m->key);
    for (uint8_t i = 0; i < m->attachment_count; i++)
        add(headers, &count, "rt-attachment", m->attachments[i]);
    return count;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_uuid(struct rt_str text, uint8_t out[16])
{
    if (text.len != RT_UUID_LEN)
        return false;
    size_t digits = 0;
    for (size_t i = 0; i < RT_UUID_LEN; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text.ptr[i] != '-')
                return false;
            continue;
        }
        int value = hex_value(text.ptr[i]);
        if (value < 0)
            return false;
        out[digits / 2] = (uint8_t)(digits % 2 ? out[digits / 2] << 4 | value : value);
        digits++;
    }
    return true;
}

static uint64_t fnv(struct rt_str text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (uint8_t)text.ptr[i]) * 0x100000001b3u;
    return h;
}

/* RFC 9562 version 8: 48 bits of timestamp, 12 and 22 of the value's hash, 40 of the offset. */
static void make_id(uint64_t timestamp, uint64_t offset, struct rt_str value, uint8_t out[16])
{
    static const uint64_t key[2] = {0x7274627265636f72u, 0x642d6964u};
    uint64_t hash = value.len <= 65536 ? rt_siphash13(key, value) : fnv(value);
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)(timestamp >> (40 - 8 * i));
    out[6] = (uint8_t)(0x80 | (hash & 0x0f));
    out[7] = (uint8_t)(hash >> 4);
    out[8] = (uint8_t)(0x80 | (hash >> 12 & 0x3f));
    out[9] = (uint8_t)(hash >> 18);
    out[10] = (uint8_t)(hash >> 26);
    for (int i = 0; i < 5; i++)
        out[11 + i] = (uint8_t)(offset >> (32 - 8 * i));
}

struct reading {
    struct rt_message m;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    bool has_id, has_time, has_kind, excepts, marker;
};

static int wrong(struct rt_err *err, const char *name, struct rt_str value, const char *allowed)
{
    int shown = value.len > 60 ? 60 : (int)value.len;
    return rt_err_set(err, RT_EINVAL, "header %s is \"%.*s\", allowed is %s", name, shown,
                      value.ptr ? value.ptr : "", allowed);
}

/* Its number; -1: none that is known. */
static int kind_of(struct rt_str value, bool *ret_excepts)
{
    for (int i = 0; i < KINDS; i++) {
        bool excepts = rt_str_eq(value, rt_str_c(excepting_kinds[i]));
        if (!excepts && !rt_str_eq(value, rt_str_c(kinds[i])))
            continue;
        *ret_excepts = excepts;
        return i;
    }
    return -1;
}

static int read_kind(struct reading *r, struct rt_str value, struct rt_err *err)
{
    bool excepts = false;
    int kind = kind_of(value, &excepts);
    if (kind < 0)
        return wrong(err, "rt-kind", value, "json, text or bytes");
    r->m.kind = (uint8_t)kind;
    r->has_kind = true;
    r->excepts = excepts;
    return 0;
}

static int read_text(struct rt_str *to, const struct rt_record_header *h, size_t most,
                     struct rt_err *err)
{
    if (h->value.len > most || !rt_utf8_valid(h->value.ptr, h->value.len))
        return rt_err_set(err, RT_EINVAL, "header %s has %zu bytes, or is not UTF-8", h->name,
                          h->value.len);
    *to = h->value.ptr ? h->value : RT_STR("");
    return 0;
}

static int read_except(struct reading *r, const struct rt_record_header *h, struct rt_err *err)
{
    struct rt_str list = h->value;
    size_t count = 0;
    for (struct rt_str name = rt_excepted_next(&list); name.ptr; name = rt_excepted_next(&list))
        if (++count > RT_MAX_EXCEPTED)
            return rt_err_set(err, RT_EINVAL, "header rt-except-in has more than %d names",
                              RT_MAX_EXCEPTED);
    return read_text(&r->m.except_in, h, SIZE_MAX, err);
}

static int read_attachment(struct reading *r, struct rt_str value, struct rt_err *err)
{
    if (r->m.attachment_count >= RT_MAX_ATTACHMENTS)
        return rt_err_set(err, RT_EINVAL, "more than %d headers rt-attachment", RT_MAX_ATTACHMENTS);
    r->attachments[r->m.attachment_count++] = value.ptr ? value : RT_STR("");
    return 0;
}

static int read_header(struct reading *r, const struct rt_record_header *h, struct rt_err *err)
{
    struct rt_str name = rt_str_c(h->name);
    if (!rt_str_starts(name, RT_STR("rt-")))
        return 0;
    if (rt_str_eq(name, RT_STR("rt-id"))) {
        r->has_id = true;
        return read_uuid(h->value, r->m.id) ? 0 : wrong(err, h->name, h->value, "a UUID");
    }
    if (rt_str_eq(name, RT_STR("rt-time"))) {
        r->has_time = true;
        return rt_str_to_u64(h->value, &r->m.time) ? wrong(err, h->name, h->value, "milliseconds")
                                                   : 0;
    }
    if (rt_str_eq(name, RT_STR("rt-kind")))
        return read_kind(r, h->value, err);
    if (rt_str_eq(name, RT_STR("rt-event")))
        return read_text(&r->m.event, h, SIZE_MAX, err);
    if (rt_str_eq(name, RT_STR("rt-publisher")))
        return read_text(&r->m.publisher, h, SIZE_MAX, err);
    if (rt_str_eq(name, RT_STR("rt-key")))
        return read_text(&r->m.key, h, RT_RECORD_KEY, err);
    if (rt_str_eq(name, RT_STR("rt-except-in")))
        return read_except(r, h, err);
    if (rt_str_eq(name, RT_STR("rt-attachment")))
        return read_attachment(r, h->value, err);
    if (rt_str_eq(name, RT_STR("rt-args")))
        r->m.flags |= RT_MESSAGE_ARGS;
    if (rt_str_eq(name, RT_STR("rt-except")))
        r->m.flags |= RT_MESSAGE_NOT_SENDER;
    if (rt_str_eq(name, RT_STR("rt-copy")))
        r->m.flags |= RT_MESSAGE_COPY;
    r->marker |= rt_str_eq(name, RT_STR(RT_HEADER_MARKER));
    return 0;
}

static void guess_kind(struct reading *r, struct rt_str value)
{
    struct rt_str json;
    if (value.len > 0 && rt_json_check(value, limits, &json, NULL) == 0) {
        r->m.kind = RT_KIND_JSON;
        r->m.data = json;
    } else {
        r->m.kind = rt_utf8_valid(value.ptr, value.len) ? RT_KIND_TEXT : RT_KIND_BYTES;
    }
}

static int check_value(struct reading *r, struct rt_str value, struct rt_err *err)
{
    r->m.data = value.ptr ? value : RT_STR("");
    if (!r->has_kind)
        guess_kind(r, value);
    else if (r->m.kind == RT_KIND_JSON && rt_json_check(value, limits, &r->m.data, err) < 0)
        return rt_err_wrap(err, "rt-kind is json, but the value is not"), RT_EINVAL;
    else if (r->m.kind == RT_KIND_TEXT && !rt_utf8_valid(value.ptr, value.len))
        return rt_err_set(err, RT_EINVAL, "rt-kind is text, but the value is not UTF-8");
    if (r->excepts && r->m.except_in.len == 0)
        return rt_err_set(err, RT_EINVAL, "rt-kind says except, but there is no rt-except-in");
    bool json = r->m.kind == RT_KIND_JSON;
    if ((r->m.flags & RT_MESSAGE_ARGS) && (!json || rt_json_kind(r->m.data) != RT_JSON_ARRAY))
        return rt_err_set(err, RT_EINVAL, "rt-args is set, but the value is not a JSON array");
    if (r->m.attachment_count > 0 && !json)
        return rt_err_set(err, RT_EINVAL, "rt-attachment is set, but the value is not JSON");
    return 0;
}

/* What cannot be read, or is it only not known yet? */
static int judge_failure(const struct rt_record_header *headers, size_t count, int code,
                         struct rt_err *err)
{
    bool excepts;
    struct rt_str kind = rt_record_header(headers, count, "rt-kind");
    if (code != RT_EINVAL || !kind.ptr || kind_of(kind, &excepts) >= 0 ||
        !rt_epoch_is_evidence(rt_record_header(headers, count, RT_HEADER_EPOCH)))
        return code;
    return rt_err_set(err, RT_ENEWER, "its kind \"%.*s\" is one of a newer version of rtbroker",
                      kind.len > 60 ? 60 : (int)kind.len, kind.ptr);
}

int rt_record_read(struct rt_str value, const struct rt_record_header *headers, size_t count,
                   uint64_t offset, uint64_t timestamp, struct rt_stored **ret_message,
                   struct rt_err *err)
{
    struct reading r;
    memset(&r.m, 0, sizeof(r.m));
    r.has_id = r.has_time = r.has_kind = r.excepts = r.marker = false;
    for (size_t i = 0; i < count; i++) {
        int code = read_header(&r, &headers[i], err);
        if (code < 0)
            return judge_failure(headers, count, code, err);
    }
    if (r.marker)
        return RT_ENOENT;
    int code = check_value(&r, value, err);
    if (code < 0)
        return code;
    r.m.attachments = r.attachments;
    r.m.offset = offset;
    if (!r.has_time)
        r.m.time = timestamp;
    if (!r.has_id)
        make_id(timestamp, offset, value, r.m.id);
    struct rt_stored *stored = rt_stored_new(&r.m);
    if (!stored)
        return rt_err_nomem(err);
    *ret_message = stored;
    return 0;
}

bool rt_record_channel_valid(struct rt_str key)
{
    if (key.len == 0 || key.len > RT_RECORD_CHANNEL || !rt_utf8_valid(key.ptr, key.len))
        return false;
    for (size_t i = 0; i < key.len; i++)
        if ((uint8_t)key.ptr[i] < 0x20 || key.ptr[i] == 0x7f)
            return false;
    return true;
}

struct rt_str rt_record_header(const struct rt_record_header *headers, size_t count,
                               const char *name)
{
    for (size_t i = count; i > 0; i--)
        if (strcmp(headers[i - 1].name, name) == 0)
            return headers[i - 1].value;
    return RT_STR_NONE;
}
