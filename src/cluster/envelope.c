/* See envelope.h. */
#include "cluster/envelope.h"

#include "cluster/wire.h"

#define MAGIC       "RT2"
#define FLAG_MAC    1u
#define FLAG_EXCEPT 2u
#define ID_LEN      16u
#define HEAD_LEN    21u /* up to the first text */

/* ---- writing ---- */

static void add_message(struct rt_buf *out, const struct rt_message *m)
{
    rt_buf_add(out, m->id, ID_LEN);
    rt_wire_add_u64(out, m->time);
    rt_buf_add_byte(out, m->kind);
    rt_buf_add_byte(out, m->flags);
    rt_wire_add_text(out, m->event);
    rt_wire_add_text(out, m->publisher);
    rt_wire_add_text(out, m->key);
    rt_wire_add_text(out, m->data);
    rt_buf_add_byte(out, m->attachment_count);
    for (uint8_t i = 0; i < m->attachment_count; i++)
        rt_wire_add_text(out, m->attachments[i]);
    if (m->except_in.len)
        rt_wire_add_text(out, m->except_in);
}

void rt_parcel_encode(struct rt_buf *out, const struct rt_parcel_keys *keys, struct rt_str place,
                      const struct rt_parcel *p)
{
    size_t start = out->len;
    uint8_t code[RT_MAC_LEN];
    rt_buf_add_c(out, MAGIC);
    rt_buf_add_byte(
        out, (uint8_t)((keys->mac ? FLAG_MAC : 0) | (p->message.except_in.len ? FLAG_EXCEPT : 0)));
    rt_buf_add_byte(out, (uint8_t)p->purpose);
    rt_wire_add_u64(out, p->instance);
    rt_wire_add_u64(out, p->sequence);
    rt_wire_add_text(out, p->cluster);
    rt_wire_add_text(out, p->node);
    rt_wire_add_text(out, p->channel);
    if (p->purpose == RT_FOR_RECORD) {
        rt_wire_add_u32(out, p->partition);
        rt_wire_add_u64(out, p->message.offset);
        rt_wire_add_text(out, p->epoch);
    }
    add_message(out, &p->message);
    if (!keys->mac || !rt_buf_ok(out))
        return;
    if (rt_mac_make(keys->mac, rt_str_of(out->data + start, out->len - start), place, code))
        rt_buf_add(out, code, sizeof(code));
    else
        out->failed = true;
}

/* ---- reading ---- */

static void read_message(struct rt_wire *r, struct rt_str *attachments, struct rt_message *m)
{
    const uint8_t *id = rt_wire_take(r, ID_LEN);
    if (id)
        memcpy(m->id, id, ID_LEN);
    m->time = rt_wire_read_u64(r);
    m->kind = rt_wire_read_u8(r);
    m->flags = rt_wire_read_u8(r);
    m->event = rt_wire_read_text(r);
    m->publisher = rt_wire_read_text(r);
    m->key = rt_wire_read_text(r);
    m->data = rt_wire_read_text(r);
    m->attachment_count = rt_wire_read_u8(r);
    if (m->kind > RT_KIND_BYTES || m->attachment_count > RT_MAX_ATTACHMENTS)
        r->bad = true;
    for (uint8_t i = 0; !r->bad && i < m->attachment_count; i++)
        attachments[i] = rt_wire_read_text(r);
    m->attachments = m->attachment_count > 0 ? attachments : NULL;
}

static bool is_code_of(struct rt_mac *mac, struct rt_str content, struct rt_str place,
                       struct rt_str code)
{
    uint8_t right[RT_MAC_LEN];
    return mac && rt_mac_make(mac, content, place, right) &&
           rt_str_eq_secret(rt_str_of(right, sizeof(right)), code);
}

/* The content without its MAC, once that is right. */
static int check_mac(struct rt_str *bytes, const struct rt_parcel_keys *keys, struct rt_str place,
                     struct rt_err *err)
{
    bool has = (uint8_t)bytes->ptr[3] & FLAG_MAC;
    if (!has && keys->mac)
        return rt_err_set(err, RT_EPERM, "the envelope has no MAC");
    if (!has)
        return 0;
    if (bytes->len < HEAD_LEN + RT_MAC_LEN)
        return rt_err_set(err, RT_EINVAL, "the envelope is cut short");
    bytes->len -= RT_MAC_LEN;
    if (!keys->mac)
        return 0; /* a node that has a secret talks to one that has none: it may */
    struct rt_str code = rt_str_of(bytes->ptr + bytes->len, RT_MAC_LEN);
    if (is_code_of(keys->mac, *bytes, place, code) || is_code_of(keys->second, *bytes, place, code))
        return 0;
    return rt_err_set(err, RT_EPERM, "the envelope's MAC is wrong");
}

uint64_t rt_parcel_instance(struct rt_str bytes)
{
    struct rt_wire r = rt_wire_of(bytes);
    (void)rt_wire_take(&r, sizeof(MAGIC) + 1); /* flags and purpose too */
    uint64_t instance = rt_wire_read_u64(&r);
    return r.bad ? 0 : instance;
}

static void read_head(struct rt_wire *r, struct rt_parcel *p)
{
    (void)rt_wire_take(r, sizeof(MAGIC)); /* and the flags */
    uint8_t purpose = rt_wire_read_u8(r);
    if (purpose < RT_FOR_RECORD || purpose > RT_FOR_STATE)
        r->bad = true;
    p->purpose = (enum rt_purpose)purpose;
    p->instance = rt_wire_read_u64(r);
    p->sequence = rt_wire_read_u64(r);
    p->cluster = rt_wire_read_text(r);
    p->node = rt_wire_read_text(r);
    p->channel = rt_wire_read_text(r);
}

int rt_parcel_decode(struct rt_str bytes, const struct rt_parcel_keys *keys, struct rt_str place,
                     struct rt_str attachments[RT_MAX_ATTACHMENTS], struct rt_parcel *ret_parcel,
                     struct rt_err *err)
{
    if (bytes.len < HEAD_LEN)
        return rt_err_set(err, RT_EINVAL, "the envelope is cut short");
    if (!rt_str_starts(bytes, RT_STR(MAGIC)))
        return rt_err_set(err, rt_str_starts(bytes, RT_STR("RT")) ? RT_ENOENT : RT_EINVAL,
                          "no envelope of this version");
    int status = check_mac(&bytes, keys, place, err);
    if (status)
        return status;
    uint8_t flags = (uint8_t)bytes.ptr[3];
    if (flags & ~(FLAG_MAC | FLAG_EXCEPT))
        return rt_err_set(err, RT_ENOENT, "an envelope with flags of another version");
    struct rt_wire r = rt_wire_of(bytes);
    struct rt_parcel p = {.partition = 0};
    read_head(&r, &p);
    if (p.purpose == RT_FOR_RECORD) {
        p.partition = rt_wire_read_u32(&r);
        p.message.offset = rt_wire_read_u64(&r);
        p.epoch = rt_wire_read_text(&r);
    }
    read_message(&r, attachments, &p.message);
    if (flags & FLAG_EXCEPT)
        p.message.except_in = rt_wire_read_text(&r);
    if (r.bad || r.left > 0 || p.instance == 0)
        return rt_err_set(err, RT_EINVAL, "the envelope is malformed");
    *ret_parcel = p;
    return 0;
}
