#include "admin/consume_record.h"

#include <inttypes.h>
#include <stdio.h>

#include "admin/internal.h"
#include "base/map.h"
#include "base/utf8.h"
#include "conf/record_template.h"
#include "json/envelope.h"

void rt_consumed_init(struct rt_consumed *c)
{
    *c = (struct rt_consumed){.call = NULL};
}

static void clear(struct rt_consumed *c)
{
    rt_envelope_free(c->payload);
    rt_envelope_free(c->call);
    c->call = c->payload = NULL;
    rt_buf_clear(&c->channel);
    rt_buf_clear(&c->event);
    rt_buf_clear(&c->data);
    c->message = (struct rt_message){.kind = RT_KIND_JSON};
    c->publish = (struct rt_publish){.message = &c->message, .trusted = true, .api = true};
}

void rt_consumed_deinit(struct rt_consumed *c)
{
    clear(c);
    rt_buf_deinit(&c->channel);
    rt_buf_deinit(&c->event);
    rt_buf_deinit(&c->data);
}

/* ---- the key ---- */

void rt_consumed_key(const struct rt_intake_record *r, char out[RT_RECORD_KEY + 1])
{
    /* A long name is told by its hash. The timestamp tells records apart whose topic was made anew. */
    static const uint64_t hash_key[2] = {0x6b61666b612d696eu, 0x72746b6579u};
    char place[64], name[17];
    size_t len = (size_t)snprintf(place, sizeof(place), "-%" PRIu32 "-%" PRIu64 "-%" PRIx64,
                                  r->partition, r->offset, (uint64_t)r->timestamp);
    struct rt_str topic = rt_str_c(r->topic);
    if (topic.len + len > RT_RECORD_KEY) {
        snprintf(name, sizeof(name), "%016" PRIx64, rt_siphash13(hash_key, topic));
        topic = rt_str_c(name);
    }
    memcpy(out, topic.ptr, topic.len); /* at most 16 + 10 + 19 + 16 + 3 bytes in all */
    memcpy(out + topic.len, place, len + 1);
}

/* ---- mode publish ---- */

/* Appends what the template says. RT_EINVAL: the record lacks a part of it, unless that is `optional`. */
static int expand(const char *template, const struct rt_intake_record *r, bool optional,
                  struct rt_buf *out, struct rt_err *err)
{
    struct rt_str rest = rt_str_c(template), text;
    enum rt_record_part part;
    while (rt_record_template_next(&rest, &part, &text)) {
        struct rt_str value = text;
        if (part == RT_PART_KEY)
            value = r->key;
        else if (part == RT_PART_TOPIC)
            value = rt_str_c(r->topic);
        else if (part == RT_PART_HEADER)
            value = rt_intake_header(r, text);
        if (!value.ptr && !optional && part == RT_PART_KEY)
            return rt_err_set(err, RT_EINVAL, "the record has no key for \"%s\"", template);
        if (!value.ptr && !optional)
            return rt_err_set(err, RT_EINVAL, "the record has no header %.*s for \"%s\"",
                              RT_STR_ARG(text), template);
        rt_buf_add_str(out, value);
    }
    return rt_buf_ok(out) ? 0 : rt_err_nomem(err);
}

static int read_data(struct rt_consumed *c, enum rt_consume_kind kind, struct rt_str value,
                     struct rt_err *err)
{
    struct rt_message *m = &c->message;
    struct rt_str json = RT_STR_NONE;
    bool may_be_json = kind == RT_CONSUME_AUTO || kind == RT_CONSUME_JSON;
    bool is_json = may_be_json && rt_json_check(value, RT_JSON_PAYLOAD, &json, err) == 0;
    if (kind == RT_CONSUME_JSON && !is_json)
        return rt_err_wrap(err, "kind is json, but the value is not"), RT_EINVAL;
    bool is_text = !is_json && kind != RT_CONSUME_BYTES && rt_utf8_valid(value.ptr, value.len);
    if (kind == RT_CONSUME_TEXT && !is_text)
        return rt_err_set(err, RT_EINVAL, "kind is text, but the value is not UTF-8");
    m->kind = is_json ? RT_KIND_JSON : is_text ? RT_KIND_TEXT : RT_KIND_BYTES;
    m->data = value.ptr ? value : RT_STR("");
    if (!is_json)
        return 0;
    rt_json_add_compact(&c->data, json);
    m->data = rt_buf_str(&c->data);
    return rt_buf_ok(&c->data) ? 0 : rt_err_nomem(err);
}

static int read_raw(struct rt_consumed *c, const struct rt_consume_config *section,
                    const struct rt_intake_record *r, struct rt_err *err)
{
    int code = expand(section->channel, r, false, &c->channel, err);
    if (code == 0)
        code = expand(section->event, r, true, &c->event, err);
    if (code == 0)
        code = read_data(c, section->kind, r->value, err);
    if (code < 0)
        return code;
    c->publish.channel = rt_buf_str(&c->channel);
    if (c->event.len > 0)
        c->message.event = rt_buf_str(&c->event);
    if (!rt_utf8_valid(c->event.data, c->event.len))
        return rt_err_set(err, RT_EINVAL, "the event's name is no valid UTF-8");
    if (section->key_header[0] != '\0')
        c->message.key = rt_intake_header(r, rt_str_c(section->key_header));
    if (!rt_utf8_valid(c->message.key.ptr, c->message.key.len))
        return rt_err_set(err, RT_EINVAL, "the idempotency key is no valid UTF-8");
    return 0;
}

/* ---- mode command ---- */

static int read_command(struct rt_consumed *c, struct rt_str value, struct rt_err *err)
{
    static const char *const payloads[] = {"payload", NULL};
    int code = rt_envelope_parse(value, payloads, &c->call, err);
    if (code < 0)
        return code;
    struct rt_str method = rt_envelope_str(c->call, "method");
    struct rt_str payload = rt_envelope_raw(c->call, "payload");
    struct rt_str unread = rt_envelope_unread(c->call);
    code = rt_envelope_error(c->call, err);
    if (code < 0)
        return code;
    if (unread.ptr)
        return rt_err_set(err, RT_EINVAL, "unknown field \"%.*s\"", RT_STR_ARG(unread));
    if (!rt_str_eq(method, RT_STR("publish")))
        return rt_err_set(err, RT_ENOENT, "no such method \"%.*s\"; there is publish",
                          RT_STR_ARG(method));
    code = rt_envelope_parse(payload, rt_admin_payloads, &c->payload, err);
    if (code < 0)
        return rt_err_wrap(err, "payload"), code;
    return rt_admin_read_publish(c->payload, &c->publish, &c->data, err);
}

int rt_consumed_read(struct rt_consumed *c, const struct rt_consume_config *section,
                     const struct rt_intake_record *record, struct rt_err *err)
{
    clear(c);
    int code = section->mode == RT_CONSUME_COMMAND ? read_command(c, record->value, err)
                                                   : read_raw(c, section, record, err);
    if (code == 0 && c->message.key.len == 0) {
        rt_consumed_key(record, c->key);
        c->message.key = rt_str_c(c->key);
    }
    return code;
}
