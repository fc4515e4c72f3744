#include "proto/socketio/nsp.h"

#include "base/alloc.h"
#include "json/scan.h"
#include "proto/socketio/placeholder.h"
#include "proto/socketio/recovery_internal.h"

/* ---- encoding ---- */

static void add_arguments(struct rt_buf *out, const struct rt_message *m)
{
    struct rt_str items;
    switch ((enum rt_kind)m->kind) {
    case RT_KIND_TEXT:
        rt_buf_add_byte(out, ',');
        rt_json_add_string(out, m->data);
        return;
    case RT_KIND_BYTES:
        rt_buf_add_byte(out, ',');
        rt_sio_placeholder_add(out, 0);
        return;
    case RT_KIND_JSON:
        break;
    }
    items = m->flags & RT_MESSAGE_ARGS ? rt_sio_items_after(m->data, 0) : m->data;
    if (items.len == 0)
        return;
    rt_buf_add_byte(out, ',');
    rt_buf_add_str(out, items);
}

/* `42[nsp,]["event",args...]`, with recovery on followed by a token as one more argument. */
static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    const struct rt_sio_encoding *e = (const struct rt_sio_encoding *)(const void *)self;
    struct rt_buf *text = &e->nsp->owner->buf.hub;
    const struct rt_str *attachments = m->attachments;
    size_t count = m->kind == RT_KIND_JSON ? m->attachment_count : 0;
    if (m->kind == RT_KIND_BYTES) {
        attachments = &m->data;
        count = 1;
    }
    rt_buf_clear(text);
    rt_sio_head(text, RT_SIO_EVENT, count, e->nsp->name, RT_STR_NONE);
    rt_buf_add_byte(text, '[');
    rt_json_add_string(text, m->event.len ? m->event : RT_STR("message"));
    add_arguments(text, m);
    if (self->ordered) {
        rt_buf_add_c(text, ",\"");
        rt_sio_token_write(e->nsp->owner->recovery, m->stamp, false, 0, text);
        rt_buf_add_byte(text, '"');
    }
    rt_buf_add_byte(text, ']');
    rt_eio_encode(out, e->form, false, rt_buf_str(text));
    for (size_t i = 0; i < count; i++)
        rt_eio_encode(out, e->form, true, attachments[i]);
    out->failed |= text->failed;
}

/* ---- namespaces ---- */

static struct rt_sio_nsp *take_spare(struct rt_socketio *s)
{
    struct rt_list *node = rt_list_pop(&s->spare);
    if (node)
        return RT_CONTAINER(node, struct rt_sio_nsp, link);
    struct rt_sio_nsp *nsp = rt_calloc(1, sizeof(*nsp));
    if (!nsp)
        return NULL;
    nsp->owner = s;
    rt_list_init(&nsp->link);
    for (int i = 0; i < RT_EIO_FORMS; i++)
        nsp->encodings[i] = (struct rt_sio_encoding){
            .base = {.encode = encode,
                     .ordered = s->recovery != NULL && i < RT_EIO_FORM_POLLING3,
                     .rooms = true},
            .nsp = nsp,
            .form = (enum rt_eio_form)i};
    return nsp;
}

struct rt_sio_nsp *rt_sio_nsp_get(struct rt_socketio *s, struct rt_str name)
{
    struct rt_sio_nsp *nsp = rt_map_get(&s->namespaces, name);
    if (nsp) {
        nsp->refs++;
        return nsp;
    }
    nsp = take_spare(s);
    if (!nsp)
        return NULL;
    char *copy = rt_strndup(name.ptr, name.len);
    nsp->name = rt_str_of(copy, copy ? name.len : 0);
    if (!copy || rt_map_put(&s->namespaces, nsp) != 0) {
        rt_free(copy);
        nsp->name = RT_STR_NONE;
        rt_list_push(&s->spare, &nsp->link);
        return NULL;
    }
    nsp->refs = 1;
    return nsp;
}

void rt_sio_nsp_ref(struct rt_sio_nsp *nsp)
{
    nsp->refs++;
}

void rt_sio_nsp_unref(struct rt_sio_nsp *nsp)
{
    if (--nsp->refs > 0)
        return;
    rt_map_remove(&nsp->owner->namespaces, nsp->name);
    rt_free((char *)(uintptr_t)nsp->name.ptr);
    nsp->name = RT_STR_NONE;
    rt_list_push(&nsp->owner->spare, &nsp->link);
}

void rt_sio_nsp_free_all(struct rt_socketio *s)
{
    struct rt_list *node;
    while ((node = rt_list_pop(&s->spare)))
        rt_free(RT_CONTAINER(node, struct rt_sio_nsp, link));
}

struct rt_str rt_sio_channel_of(const struct rt_sio_nsp *nsp, struct rt_str room,
                                struct rt_buf *out)
{
    rt_buf_clear(out);
    if (nsp->name.len > 1 || room.len == 0 || room.ptr[0] == '/') {
        rt_buf_add_str(out, nsp->name);
        rt_buf_add_byte(out, '#');
    }
    rt_buf_add_str(out, room);
    return rt_buf_str(out);
}

bool rt_sio_room_can_be(struct rt_str room)
{
    for (size_t i = 0; i < room.len; i++)
        if ((uint8_t)room.ptr[i] < 0x20 || room.ptr[i] == 0x7f)
            return false;
    return true;
}

struct rt_str rt_sio_room_of(const struct rt_sio_nsp *nsp, struct rt_str channel)
{
    struct rt_str name = nsp->name;
    if (rt_str_eq(channel, name))
        return RT_STR_NONE;
    if (name.len == 1 && !rt_str_starts(channel, RT_STR("/#")))
        return channel;
    bool own =
        rt_str_starts(channel, name) && channel.len > name.len && channel.ptr[name.len] == '#';
    return own ? rt_str_of(channel.ptr + name.len + 1, channel.len - name.len - 1) : RT_STR_NONE;
}

void rt_sio_split_channel(struct rt_str channel, struct rt_str *ret_nsp, struct rt_str *ret_room)
{
    const char *mark =
        rt_str_starts(channel, RT_STR("/")) ? memchr(channel.ptr, '#', channel.len) : NULL;
    size_t len = mark ? (size_t)(mark - channel.ptr) : 0;
    *ret_nsp = mark ? rt_str_of(channel.ptr, len) : RT_STR("/");
    *ret_room = mark ? rt_str_of(mark + 1, channel.len - len - 1) : channel;
}

bool rt_sio_split_id(struct rt_str channel, struct rt_str *ret_nsp, struct rt_str *ret_id)
{
    if (channel.len < RT_ID_LEN)
        return false;
    size_t prefix = channel.len - RT_ID_LEN;
    if (prefix && channel.ptr[prefix - 1] != '#')
        return false;
    *ret_nsp = prefix ? rt_str_of(channel.ptr, prefix - 1) : RT_STR("/");
    *ret_id = rt_str_of(channel.ptr + prefix, RT_ID_LEN);
    return true;
}
