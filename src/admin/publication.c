/* A message as JSON for backends: {"data":..,"offset":..,"id":..,"time":..,"tags":{..}}.
 *
 * JSON data is embedded as it is; text is a JSON string; bytes are base64 with tags.encoding. Binary attachments
 * of a Socket.IO event follow as a list of base64 strings, in the order of their placeholders. */
#include "admin/internal.h"

#include "base/codec.h"
#include "base/rand.h"
#include "json/scan.h"

static void add_base64(struct rt_buf *out, struct rt_str bytes)
{
    rt_buf_add_byte(out, '"');
    rt_base64_encode(out, bytes.ptr, bytes.len);
    rt_buf_add_byte(out, '"');
}

static void add_data(struct rt_buf *out, const struct rt_message *m)
{
    rt_buf_add_c(out, "\"data\":");
    switch ((enum rt_kind)m->kind) {
    case RT_KIND_JSON:
        rt_json_add_compact(out, m->data);
        break;
    case RT_KIND_TEXT:
        rt_json_add_string(out, m->data);
        break;
    case RT_KIND_BYTES:
        add_base64(out, m->data);
        break;
    }
}

static void add_tags(struct rt_buf *out, const struct rt_message *m)
{
    bool bytes = m->kind == RT_KIND_BYTES;
    if (m->event.len == 0 && !bytes)
        return;
    rt_buf_add_c(out, ",\"tags\":{");
    if (m->event.len > 0) {
        rt_buf_add_c(out, "\"event\":");
        rt_json_add_string(out, m->event);
    }
    if (bytes)
        rt_buf_add_c(out,
                     m->event.len > 0 ? ",\"encoding\":\"base64\"" : "\"encoding\":\"base64\"");
    rt_buf_add_byte(out, '}');
}

static void add_attachments(struct rt_buf *out, const struct rt_message *m)
{
    if (m->attachment_count == 0)
        return;
    rt_buf_add_c(out, ",\"attachments\":[");
    for (uint8_t i = 0; i < m->attachment_count; i++) {
        if (i > 0)
            rt_buf_add_byte(out, ',');
        add_base64(out, m->attachments[i]);
    }
    rt_buf_add_byte(out, ']');
}

void rt_admin_add_publication(struct rt_buf *out, const struct rt_message *m)
{
    char id[RT_UUID_LEN + 1];
    rt_uuid_format(m->id, id);
    rt_buf_add_byte(out, '{');
    add_data(out, m);
    rt_buf_add_c(out, ",\"offset\":");
    rt_buf_add_u64(out, m->offset);
    rt_buf_printf(out, ",\"id\":\"%s\",\"time\":", id);
    rt_buf_add_u64(out, m->time);
    add_tags(out, m);
    add_attachments(out, m);
    rt_buf_add_byte(out, '}');
}
