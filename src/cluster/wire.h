/* Reading and writing what nodes send: integers in network byte order, text as a length (u32) and content. A value that does not fit or is not there
 * marks the buffer (`failed`) or the reader (`bad`); the user looks once at the end. Thread: any. */
#ifndef RT_CLUSTER_WIRE_H
#define RT_CLUSTER_WIRE_H

#include "base/buf.h"

static inline void rt_wire_add_u32(struct rt_buf *out, uint32_t value)
{
    uint8_t b[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                    (uint8_t)value};
    rt_buf_add(out, b, sizeof(b));
}

static inline void rt_wire_add_u64(struct rt_buf *out, uint64_t value)
{
    rt_wire_add_u32(out, (uint32_t)(value >> 32));
    rt_wire_add_u32(out, (uint32_t)value);
}

static inline void rt_wire_add_text(struct rt_buf *out, struct rt_str s)
{
    if (s.len > UINT32_MAX) {
        out->failed = true;
        return;
    }
    rt_wire_add_u32(out, (uint32_t)s.len);
    rt_buf_add_str(out, s);
}

/* What is left; `bad` once something was missing. */
struct rt_wire {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static inline struct rt_wire rt_wire_of(struct rt_str bytes)
{
    return (struct rt_wire){.at = (const uint8_t *)bytes.ptr, .left = bytes.len};
}

static inline const uint8_t *rt_wire_take(struct rt_wire *r, size_t len)
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

static inline uint8_t rt_wire_read_u8(struct rt_wire *r)
{
    const uint8_t *p = rt_wire_take(r, 1);
    return p ? *p : 0;
}

static inline uint32_t rt_wire_read_u32(struct rt_wire *r)
{
    const uint8_t *p = rt_wire_take(r, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint64_t rt_wire_read_u64(struct rt_wire *r)
{
    uint64_t high = rt_wire_read_u32(r);
    return high << 32 | rt_wire_read_u32(r);
}

/* A slice. */
static inline struct rt_str rt_wire_read_text(struct rt_wire *r)
{
    uint32_t len = rt_wire_read_u32(r);
    const uint8_t *p = rt_wire_take(r, len);
    return p && len > 0 ? rt_str_of(p, len) : RT_STR_NONE;
}

#endif
