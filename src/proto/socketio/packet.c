#include "proto/socketio/packet.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include "conf/config.h"
#include "hub/message.h"
#include "json/scan.h"
#include "proto/socketio/placeholder.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t count_digits(struct rt_str text)
{
    size_t n = 0;
    while (n < text.len && is_digit(text.ptr[n]))
        n++;
    return n;
}

static struct rt_str rest_of(struct rt_str text, size_t from)
{
    return rt_str_of(text.ptr + from, text.len - from);
}

static bool is_binary(enum rt_sio_type type)
{
    return type == RT_SIO_BINARY_EVENT || type == RT_SIO_BINARY_ACK;
}

_Static_assert(RT_CONF_ATTACHMENTS <= RT_MAX_ATTACHMENTS, "what is parsed fits a message");

/* "2-": how many binary messages follow. */
static int parse_attachments(struct rt_str *text, uint32_t max, uint32_t *ret_count,
                             struct rt_err *err)
{
    size_t digits = count_digits(*text);
    if (digits == 0 || digits == text->len || text->ptr[digits] != '-')
        return rt_err_set(err, RT_EINVAL, "binary packet without the number of its attachments");
    uint64_t count;
    if (rt_str_to_u64(rt_str_of(text->ptr, digits), &count) != 0 || count > max)
        return rt_err_set(err, RT_ERANGE, "more than %u attachments", (unsigned)max);
    *ret_count = (uint32_t)count;
    *text = rest_of(*text, digits + 1);
    return 0;
}

/* "/admin,": up to the comma, or to the end when nothing follows. */
static int parse_namespace(struct rt_str *text, struct rt_str *ret_nsp, struct rt_err *err)
{
    *ret_nsp = RT_STR("/");
    if (text->len == 0 || text->ptr[0] != '/')
        return 0;
    const char *comma = memchr(text->ptr, ',', text->len);
    size_t len = comma ? (size_t)(comma - text->ptr) : text->len;
    *ret_nsp = rt_str_of(text->ptr, len);
    *text = rest_of(*text, comma ? len + 1 : len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)ret_nsp->ptr[i];
        if (c < 0x20 || c == 0x7f)
            return rt_err_set(err, RT_EINVAL, "control character in a namespace");
    }
    if (!rt_utf8_valid(ret_nsp->ptr, len))
        return rt_err_set(err, RT_EINVAL, "namespace is not UTF-8");
    return 0;
}

static int parse_id(struct rt_str *text, struct rt_str *ret_id, struct rt_err *err)
{
    size_t digits = count_digits(*text);
    if (digits > RT_SIO_ID_MAX)
        return rt_err_set(err, RT_ERANGE, "acknowledgement id of %zu digits", digits);
    *ret_id = digits ? rt_str_of(text->ptr, digits) : RT_STR_NONE;
    *text = rest_of(*text, digits);
    return 0;
}

/* `text` has no escapes or is compared by its meaning. */
static bool name_is(struct rt_str json, struct rt_str name, bool escaped)
{
    if (escaped)
        return rt_json_string_is(json, name);
    return json.len == name.len + 2 && memcmp(json.ptr + 1, name.ptr, name.len) == 0;
}

static const struct rt_str reserved[] = {
    {"connect", 7},        {"connect_error", 13}, {"disconnect", 10},
    {"disconnecting", 13}, {"newListener", 11},   {"removeListener", 14},
};
#define RESERVED_COUNT (sizeof(reserved) / sizeof(reserved[0]))

bool rt_sio_reserved(struct rt_str event)
{
    for (size_t i = 0; i < RESERVED_COUNT; i++) {
        if (rt_str_eq(event, reserved[i]))
            return true;
    }
    return false;
}

static int check_event(struct rt_sio_packet *p, struct rt_err *err)
{
    struct rt_json_iter it;
    if (rt_json_kind(p->data) != RT_JSON_ARRAY)
        return rt_err_set(err, RT_EINVAL, "event payload is no array");
    it = rt_json_iter(p->data);
    if (!rt_json_next(&it))
        return rt_err_set(err, RT_EINVAL, "event without a name");
    p->event = it.value;
    if (rt_json_kind(it.value) == RT_JSON_NUMBER)
        return 0;
    if (rt_json_kind(it.value) != RT_JSON_STRING)
        return rt_err_set(err, RT_EINVAL, "event name is neither string nor number");
    bool escaped = memchr(it.value.ptr, '\\', it.value.len) != NULL;
    for (size_t i = 0; i < RESERVED_COUNT; i++) {
        if (name_is(it.value, reserved[i], escaped))
            return rt_err_set(err, RT_EINVAL, "reserved event name \"%s\"", reserved[i].ptr);
    }
    return 0;
}

static int check_data(struct rt_sio_packet *p, struct rt_err *err)
{
    switch (p->type) {
    case RT_SIO_CONNECT:
        if (rt_json_kind(p->data) != RT_JSON_OBJECT)
            return rt_err_set(err, RT_EINVAL, "CONNECT payload is no object");
        return 0;
    case RT_SIO_DISCONNECT:
        return rt_err_set(err, RT_EINVAL, "DISCONNECT with a payload");
    case RT_SIO_EVENT:
    case RT_SIO_BINARY_EVENT:
        return check_event(p, err);
    case RT_SIO_ACK:
    case RT_SIO_BINARY_ACK:
        if (rt_json_kind(p->data) != RT_JSON_ARRAY)
            return rt_err_set(err, RT_EINVAL, "answer's payload is no array");
        return 0;
    case RT_SIO_CONNECT_ERROR:
        break;
    }
    return rt_err_set(err, RT_EINVAL, "CONNECT_ERROR from a client");
}

static int parse_data(struct rt_str text, struct rt_sio_packet *p, struct rt_err *err)
{
    if (text.len == 0)
        return 0;
    int r = rt_json_check(text, RT_JSON_PAYLOAD, &p->data, err);
    if (r == 0)
        r = check_data(p, err);
    if (r == 0 && is_binary(p->type) && rt_sio_placeholder_check(p->data, p->attachments) != 0)
        r = rt_err_set(err, RT_EINVAL, "placeholder of an attachment that there is not");
    return r;
}

int rt_sio_parse(struct rt_str text, uint32_t max_attachments, struct rt_sio_packet *ret_packet,
                 struct rt_err *err)
{
    if (text.len == 0 || text.ptr[0] < '0' || text.ptr[0] > '6')
        return rt_err_set(err, RT_EINVAL, "unknown packet type");
    struct rt_sio_packet p = {.type = (enum rt_sio_type)(text.ptr[0] - '0')};
    if (p.type == RT_SIO_CONNECT_ERROR)
        return rt_err_set(err, RT_EINVAL, "CONNECT_ERROR from a client");
    struct rt_str rest = rest_of(text, 1);
    int r = is_binary(p.type) ? parse_attachments(&rest, max_attachments, &p.attachments, err) : 0;
    if (r == 0)
        r = parse_namespace(&rest, &p.nsp, err);
    if (r == 0)
        r = parse_id(&rest, &p.id, err);
    if (r == 0)
        r = parse_data(rest, &p, err);
    if (r == 0)
        *ret_packet = p;
    return r;
}

struct rt_str rt_sio_items_after(struct rt_str array, size_t skip)
{
    if (array.len < 2)
        return RT_STR_NONE;
    struct rt_str inner = rt_str_trim(rt_str_of(array.ptr + 1, array.len - 2));
    struct rt_json_iter it = rt_json_iter(array);
    for (; skip && rt_json_next(&it); skip--) {
        const char *end = inner.ptr + inner.len;
        const char *behind = it.value.ptr + it.value.len;
        inner = rt_str_trim(rt_str_of(behind, (size_t)(end - behind)));
        if (inner.len && inner.ptr[0] == ',')
            inner = rt_str_trim(rest_of(inner, 1));
    }
    return inner;
}

void rt_sio_head(struct rt_buf *out, enum rt_sio_type type, size_t attachments, struct rt_str nsp,
                 struct rt_str id)
{
    bool binary = attachments > 0 && (type == RT_SIO_EVENT || type == RT_SIO_ACK);
    rt_buf_add_byte(out, (uint8_t)('0' + type + (binary ? RT_SIO_BINARY_EVENT - RT_SIO_EVENT : 0)));
    if (binary) {
        rt_buf_add_u64(out, attachments);
        rt_buf_add_byte(out, '-');
    }
    if (nsp.len != 1) {
        rt_buf_add_str(out, nsp);
        rt_buf_add_byte(out, ',');
    }
    rt_buf_add_str(out, id);
}

struct rt_sio_assembly {
    struct rt_sio_pending pending;
    struct rt_sio_packet packet;
    struct rt_buf bytes; /* all attachments, one behind the other */
    uint32_t have;
    size_t text_len;
    struct rt_str *list; /* attachments; before the last one has come `ptr` is not valid */
    char text[];
};

/* The slice of the original text, in the copy. */
static struct rt_str moved(struct rt_str slice, const char *from, const char *to)
{
    return slice.ptr ? rt_str_of(to + (slice.ptr - from), slice.len) : slice;
}

struct rt_sio_assembly *rt_sio_assembly_new(struct rt_str text, const struct rt_sio_packet *packet)
{
    struct rt_sio_assembly *a = rt_malloc(sizeof(*a) + text.len);
    if (!a)
        return NULL;
    *a = (struct rt_sio_assembly){.packet = *packet, .text_len = text.len};
    a->list = rt_calloc(packet->attachments, sizeof(*a->list));
    if (!a->list) {
        rt_free(a);
        return NULL;
    }
    memcpy(a->text, text.ptr, text.len);
    struct rt_sio_packet *p = &a->packet;
    /* A namespace that was not named is a constant, not part of the text. */
    bool named = p->nsp.ptr >= text.ptr && p->nsp.ptr < text.ptr + text.len;
    if (named)
        p->nsp = moved(p->nsp, text.ptr, a->text);
    p->id = moved(p->id, text.ptr, a->text);
    p->data = moved(p->data, text.ptr, a->text);
    if (p->data.len)
        rt_sio_placeholder_normalise(a->text + (p->data.ptr - a->text), p->data.len,
                                     p->attachments);
    p->event = moved(p->event, text.ptr, a->text);
    return a;
}

void rt_sio_assembly_free(struct rt_sio_assembly *a)
{
    if (!a)
        return;
    rt_unfinished_end(&a->pending.unfinished);
    rt_buf_deinit(&a->bytes);
    rt_free(a->list);
    rt_free(a);
}

struct rt_sio_pending *rt_sio_assembly_pending(struct rt_sio_assembly *a)
{
    return &a->pending;
}

size_t rt_sio_assembly_size(const struct rt_sio_assembly *a)
{
    return sizeof(*a) + a->text_len + a->bytes.cap + a->packet.attachments * sizeof(*a->list);
}

int rt_sio_assembly_add(struct rt_sio_assembly *a, struct rt_str attachment, size_t max_bytes)
{
    size_t have = a->text_len + a->bytes.len;
    if (have > max_bytes || attachment.len > max_bytes - have)
        return RT_ERANGE;
    rt_buf_add_str(&a->bytes, attachment);
    if (!rt_buf_ok(&a->bytes))
        return RT_ENOMEM;
    a->list[a->have++].len = attachment.len;
    if (a->have < a->packet.attachments)
        return 0;
    size_t at = 0;
    for (uint32_t i = 0; i < a->have; i++) {
        a->list[i].ptr = a->list[i].len ? (const char *)a->bytes.data + at : "";
        at += a->list[i].len;
    }
    return 1;
}

const struct rt_sio_packet *rt_sio_assembly_packet(struct rt_sio_assembly *a,
                                                   const struct rt_str **ret_attachments)
{
    *ret_attachments = a->list;
    return &a->packet;
}
