/* See envelope.h. */
#include "cluster/envelope.h"

#define MAGIC    "RT1"
#define FLAG_LOG 1u
#define FLAG_MAC 2u
#define ID_LEN   16u

/* ---- writing ---- */

static void add_u32(struct rt_buf *out, uint32_t value)
{
    uint8_t b[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                    (uint8_t)value};
    rt_buf_add(out, b, sizeof(b));
}

static void add_u64(struct rt_buf *out, uint64_t value)
{
    add_u32(out, (uint32_t)(value >> 32));
    add_u32(out, (uint32_t)value);
}

static void add_text(struct rt_buf *out, struct rt_str s)
{
    if (s.len > UINT32_MAX) {
        out->failed = true;
        return;
    }
    add_u32(out, (uint32_t)s.len);
    rt_buf_add_str(out, s);
}

static void add_message(struct rt_buf *out, const struct rt_message *m)
{
    rt_buf_add(out, m->id, ID_LEN);
    add_u64(out, m->time);
    rt_buf_add_byte(out, m->kind);
    rt_buf_add_byte(out, m->flags);
    add_text(out, m->event);
    add_text(out, m->publisher);
    add_text(out, m->key);
    add_text(out, m->data);
    rt_buf_add_byte(out, m->attachment_count);
    for (uint8_t i = 0; i < m->attachment_count; i++)
        add_text(out, m->attachments[i]);
}

void rt_parcel_encode(struct rt_buf *out, struct rt_mac *mac, const struct rt_parcel *p)
{
    size_t start = out->len;
    uint8_t code[RT_MAC_LEN];
    rt_buf_add_c(out, MAGIC);
    rt_buf_add_byte(out, (uint8_t)((p->logged ? FLAG_LOG : 0) | (mac ? FLAG_MAC : 0)));
    add_text(out, p->node);
    add_text(out, p->channel);
    if (p->logged) {
        add_u32(out, p->partition);
        add_u64(out, p->message.offset);
        add_text(out, p->epoch);
    }
    add_message(out, &p->message);
    if (!mac || !rt_buf_ok(out))
        return;
    if (rt_mac_make(mac, rt_str_of(out->data + start, out->len - start), code))
        rt_buf_add(out, code, sizeof(code));
    else
        out->failed = true;
}

/* ---- reading ---- */

/* What is left; `bad` once something was missing. */
struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct reader *r, size_t len)
{
    if (r->bad || r->left < len) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += len;
    r->left -= len;
    return p;
}

static uint8_t read_u8(struct reader *r)
{
    const uint8_t *p = take(r, 1);
    return p ? *p : 0;
}

static uint32_t read_u32(struct reader *r)
{
    const uint8_t *p = take(r, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static uint64_t read_u64(struct reader *r)
{
    uint64_t high = read_u32(r);
    return high << 32 | read_u32(r);
}

static struct rt_str read_text(struct reader *r)
{
    uint32_t len = read_u32(r);
    const uint8_t *p = take(r, len);
    return p && len > 0 ? rt_str_of(p, len) : RT_STR_NONE;
}

static void read_message(struct reader *r, struct rt_str *attachments, struct rt_message *m)
{
    const uint8_t *id = take(r, ID_LEN);
    if (id)
        memcpy(m->id, id, ID_LEN);
    m->time = read_u64(r);
    m->kind = read_u8(r);
    m->flags = read_u8(r);
    m->event = read_text(r);
    m->publisher = read_text(r);
    m->key = read_text(r);
    m->data = read_text(r);
    m->attachment_count = read_u8(r);
    if (m->kind > RT_KIND_BYTES || m->attachment_count > RT_MAX_ATTACHMENTS)
        r->bad = true;
    for (uint8_t i = 0; !r->bad && i < m->attachment_count; i++)
        attachments[i] = read_text(r);
    m->attachments = m->attachment_count > 0 ? attachments : NULL;
}

/* The content without its MAC, once that is right. */
static int check_mac(struct rt_str *bytes, struct rt_mac *mac, struct rt_err *err)
{
    bool has = bytes->len > 3 && ((uint8_t)bytes->ptr[3] & FLAG_MAC);
    uint8_t code[RT_MAC_LEN];
    if (!has && mac)
        return rt_err_set(err, RT_EPERM, "the envelope has no MAC");
    if (!has)
        return 0;
    if (bytes->len < RT_MAC_LEN + 4)
        return rt_err_set(err, RT_EINVAL, "the envelope is cut short");
    bytes->len -= RT_MAC_LEN;
    if (!mac)
        return 0; /* a node that has a secret talks to one that has none: it may */
    if (!rt_mac_make(mac, *bytes, code) ||
        !rt_str_eq_secret(rt_str_of(code, sizeof(code)),
                          rt_str_of(bytes->ptr + bytes->len, RT_MAC_LEN)))
        return rt_err_set(err, RT_EPERM, "the envelope's MAC is wrong");
    return 0;
}

struct rt_str rt_parcel_sender(struct rt_str bytes)
{
    struct reader r = {.at = (const uint8_t *)bytes.ptr, .left = bytes.len};
    (void)take(&r, sizeof(MAGIC)); /* and the flags */
    return read_text(&r);
}

int rt_parcel_decode(struct rt_str bytes, struct rt_mac *mac,
                     struct rt_str attachments[RT_MAX_ATTACHMENTS], struct rt_parcel *ret_parcel,
                     struct rt_err *err)
{
    if (!rt_str_starts(bytes, RT_STR(MAGIC)))
        return rt_err_set(err, RT_EINVAL, "no envelope of this version");
    int status = check_mac(&bytes, mac, err);
    if (status)
        return status;
    struct reader r = {.at = (const uint8_t *)bytes.ptr + 3, .left = bytes.len - 3};
    struct rt_parcel p = {.logged = (read_u8(&r) & FLAG_LOG) != 0};
    p.node = read_text(&r);
    p.channel = read_text(&r);
    if (p.logged) {
        p.partition = read_u32(&r);
        p.message.offset = read_u64(&r);
        p.epoch = read_text(&r);
    }
    read_message(&r, attachments, &p.message);
    if (r.bad || r.left > 0)
        return rt_err_set(err, RT_EINVAL, "the envelope is malformed");
    *ret_parcel = p;
    return 0;
}
