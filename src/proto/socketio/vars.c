#include "proto/socketio/vars.h"

#include "base/clock.h"
#include "base/rand.h"
#include "json/scan.h"
#include "proto/socketio/handshake.h"
#include "proto/socketio/packet.h"

static const struct {
    const char *name;
    enum rt_sio_var var;
    enum rt_sio_var_kind kind;
    bool paths;    /* may be followed by .name */
    unsigned uses; /* enum rt_sio_uses */
} table[] = {
    {"args", RT_SIO_VAR_ARGS, RT_SIO_BUILT, true, 0},
    {"auth", RT_SIO_VAR_AUTH, RT_SIO_RAW, true, RT_SIO_USES_AUTH},
    {"event", RT_SIO_VAR_EVENT, RT_SIO_TEXT, false, 0},
    {"namespace", RT_SIO_VAR_NAMESPACE, RT_SIO_TEXT, false, 0},
    {"sid", RT_SIO_VAR_SID, RT_SIO_TEXT, false, 0},
    {"address", RT_SIO_VAR_ADDRESS, RT_SIO_TEXT, false, RT_SIO_USES_HANDSHAKE},
    {"user", RT_SIO_VAR_USER, RT_SIO_TEXT, false, 0},
    {"now", RT_SIO_VAR_NOW, RT_SIO_TEXT, false, 0},
    {"now_ms", RT_SIO_VAR_NOW_MS, RT_SIO_BUILT, false, 0},
    {"uuid", RT_SIO_VAR_UUID, RT_SIO_TEXT, false, 0},
    {"epoch", RT_SIO_VAR_EPOCH, RT_SIO_TEXT, false, 0},
    {"offset", RT_SIO_VAR_OFFSET, RT_SIO_BUILT, false, 0},
    {"query", RT_SIO_VAR_QUERY, RT_SIO_BUILT, true, RT_SIO_USES_HANDSHAKE},
    {"headers", RT_SIO_VAR_HEADERS, RT_SIO_BUILT, true, RT_SIO_USES_HANDSHAKE},
    {"handshake", RT_SIO_VAR_HANDSHAKE, RT_SIO_BUILT, true,
     RT_SIO_USES_HANDSHAKE | RT_SIO_USES_AUTH},
    {"rooms", RT_SIO_VAR_ROOMS, RT_SIO_BUILT, true, 0},
    {"recovered", RT_SIO_VAR_RECOVERED, RT_SIO_BUILT, false, 0},
};
#define VAR_COUNT (sizeof(table) / sizeof(table[0]))

static bool is_arg_number(struct rt_str name)
{
    return name.len == 1 && name.ptr[0] >= '1' && name.ptr[0] <= '9';
}

static void unknown(struct rt_sio_compile *c, const struct rt_mark *mark, struct rt_str name)
{
    const char *names[VAR_COUNT + 1];
    for (size_t i = 0; i < VAR_COUNT; i++)
        names[i] = table[i].name;
    names[VAR_COUNT] = NULL;
    const char *near = rt_conf_suggest(name, names);
    if (near)
        rt_conf_error(c->errors, mark, "unknown variable \"$%.*s\"; did you mean \"$%s\"?",
                      RT_STR_ARG(name), near);
    else
        rt_conf_error(c->errors, mark,
                      "unknown variable \"$%.*s\"; a variable within a text is written {$name}, "
                      "a literal dollar sign at the start $$",
                      (int)(name.len < 60 ? name.len : 60), name.len ? name.ptr : "");
}

/* In this scope there are no arguments or no event. */
static bool in_scope(struct rt_sio_compile *c, const struct rt_mark *mark,
                     const struct rt_sio_ref *ref, struct rt_str name)
{
    bool wrong =
        (rt_sio_ref_is_arg(ref) && !c->has_args) || (ref->var == RT_SIO_VAR_EVENT && !c->has_event);
    if (wrong)
        rt_conf_error(c->errors, mark, "\"$%.*s\" has no meaning %s", RT_STR_ARG(name),
                      c->connecting ? "in on_connect" : "here: no event has come in");
    return !wrong;
}

bool rt_sio_ref_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t find_variable(struct rt_str name)
{
    size_t i = 0;
    while (i < VAR_COUNT && !rt_str_eq(name, rt_str_c(table[i].name)))
        i++;
    return i;
}

bool rt_sio_ref_begins(struct rt_str text)
{
    size_t len = 0;
    while (len < text.len && rt_sio_ref_char(text.ptr[len]))
        len++;
    struct rt_str name = rt_str_of(text.ptr, len);
    return is_arg_number(name) || find_variable(name) < VAR_COUNT;
}

bool rt_sio_ref_compile(struct rt_sio_compile *c, const struct rt_mark *mark, struct rt_str text,
                        struct rt_sio_ref *ret_ref)
{
    struct rt_str path;
    struct rt_str name = rt_str_split(text, '.', &path);
    struct rt_sio_ref ref = {.path = path};
    if (is_arg_number(name)) {
        ref.var = RT_SIO_VAR_ARG;
        ref.index = (uint32_t)(name.ptr[0] - '1');
    } else {
        size_t i = find_variable(name);
        if (i == VAR_COUNT) {
            unknown(c, mark, name);
            return false;
        }
        if (path.ptr && !table[i].paths) {
            rt_conf_error(c->errors, mark, "\"$%s\" is no object: nothing may follow it",
                          table[i].name);
            return false;
        }
        ref.var = table[i].var;
        c->uses |= table[i].uses;
    }
    if (path.ptr) {
        ref.path = rt_sio_keep(c, path);
        for (size_t i = 0; ref.var == RT_SIO_VAR_HEADERS && ref.path.ptr && i < path.len; i++) {
            char *lower = (char *)ref.path.ptr + i;
            *lower = (char)(*lower >= 'A' && *lower <= 'Z' ? *lower + ('a' - 'A') : *lower);
        }
    }
    *ret_ref = ref;
    return in_scope(c, mark, &ref, name);
}

bool rt_sio_ref_is_arg(const struct rt_sio_ref *ref)
{
    return ref->var == RT_SIO_VAR_ARG || ref->var == RT_SIO_VAR_ARGS;
}

enum rt_sio_var_kind rt_sio_ref_kind(const struct rt_sio_ref *ref)
{
    bool path = ref->path.ptr != NULL;
    if (ref->var == RT_SIO_VAR_ARG || (ref->var == RT_SIO_VAR_ARGS && path))
        return RT_SIO_RAW;
    if ((ref->var == RT_SIO_VAR_QUERY || ref->var == RT_SIO_VAR_HEADERS) && path)
        return RT_SIO_TEXT;
    for (size_t i = 0; i < VAR_COUNT; i++) {
        if (table[i].var == ref->var)
            return table[i].kind;
    }
    return RT_SIO_RAW;
}

struct rt_str rt_sio_ref_raw(const struct rt_sio_ref *ref, const struct rt_sio_values *v)
{
    struct rt_str value = RT_STR_NONE, path = ref->path;
    if (ref->var == RT_SIO_VAR_AUTH) {
        value = v->auth.len ? v->auth : RT_STR("{}");
    } else if (v->array.len) {
        uint64_t index = ref->index;
        if (ref->var == RT_SIO_VAR_ARGS) {
            struct rt_str first = rt_str_split(ref->path, '.', &path);
            if (rt_str_to_u64(first, &index) != 0 || index > UINT32_MAX)
                return RT_STR_NONE;
        }
        value = rt_json_at(v->array, v->skip + (size_t)index);
    }
    return value.len && path.len ? rt_json_path(value, path) : value;
}

static uint64_t now(struct rt_sio_values *v)
{
    if (v->now == 0)
        v->now = rt_wall_ms();
    return v->now;
}

static void add_uuid(struct rt_sio_values *v, struct rt_buf *out)
{
    if (!v->has_uuid) {
        uint8_t uuid[16];
        rt_uuid7(now(v), uuid);
        rt_uuid_format(uuid, v->uuid);
        v->has_uuid = true;
    }
    rt_buf_add(out, v->uuid, RT_UUID_LEN);
}

static bool add_str(struct rt_buf *out, struct rt_str text)
{
    rt_buf_add_str(out, text);
    return true;
}

bool rt_sio_ref_text(const struct rt_sio_ref *ref, struct rt_sio_values *v, struct rt_buf *out)
{
    char time[RT_ISO_TIME_LEN + 1];
    switch (ref->var) {
    case RT_SIO_VAR_EVENT:
        return add_str(out, v->event);
    case RT_SIO_VAR_NAMESPACE:
        return add_str(out, v->nsp);
    case RT_SIO_VAR_SID:
        return add_str(out, v->sid);
    case RT_SIO_VAR_USER:
        return add_str(out, v->user);
    case RT_SIO_VAR_ADDRESS:
        return add_str(out, v->handshake ? v->handshake->address : RT_STR_NONE);
    case RT_SIO_VAR_NOW:
        rt_iso_time(now(v), time);
        return add_str(out, rt_str_of(time, RT_ISO_TIME_LEN));
    case RT_SIO_VAR_UUID:
        add_uuid(v, out);
        return true;
    case RT_SIO_VAR_EPOCH:
        return v->has_position && add_str(out, rt_str_c(v->position.epoch));
    case RT_SIO_VAR_QUERY:
        return v->handshake && rt_sio_query_text(v->handshake->query, ref->path, v->scratch, out);
    case RT_SIO_VAR_HEADERS:
        return v->handshake && rt_sio_header_text(v->handshake->headers, ref->path, out);
    default:
        return false;
    }
}

static void add_whole(const struct rt_sio_ref *ref, struct rt_sio_values *v, struct rt_buf *out)
{
    struct rt_str none = RT_STR_NONE;
    switch (ref->var) {
    case RT_SIO_VAR_ARGS:
        rt_buf_add_byte(out, '[');
        rt_buf_add_str(out, rt_sio_items_after(v->array, v->skip));
        rt_buf_add_byte(out, ']');
        break;
    case RT_SIO_VAR_NOW_MS:
        rt_buf_add_u64(out, now(v));
        break;
    case RT_SIO_VAR_OFFSET:
        rt_buf_add_u64(out, v->position.offset);
        break;
    case RT_SIO_VAR_QUERY:
        rt_sio_query_json(v->handshake ? v->handshake->query : none, v->scratch, out);
        break;
    case RT_SIO_VAR_HEADERS:
        rt_sio_headers_json(v->handshake ? v->handshake->headers : none, v->scratch, out);
        break;
    case RT_SIO_VAR_HANDSHAKE:
        rt_sio_handshake_json(v->handshake, v->auth, v->scratch, out);
        break;
    case RT_SIO_VAR_RECOVERED:
        rt_buf_add_c(out, v->recovered ? "true" : "false");
        break;
    default:
        if (v->rooms)
            v->rooms(v->rooms_arg, out);
        else
            rt_buf_add_c(out, "[]");
    }
}

bool rt_sio_ref_build(const struct rt_sio_ref *ref, struct rt_sio_values *v, struct rt_buf *out)
{
    if (ref->var == RT_SIO_VAR_OFFSET && !v->has_position)
        return false;
    size_t start = out->len;
    add_whole(ref, v, out);
    if (!ref->path.ptr || !rt_buf_ok(out))
        return true;
    /* The part that is asked for moves to the front of what was built. */
    struct rt_str all = rt_str_of(out->data + start, out->len - start);
    struct rt_str part = rt_json_path(all, ref->path);
    if (part.len)
        memmove(out->data + start, part.ptr, part.len);
    out->len = start + part.len;
    return part.len > 0;
}
